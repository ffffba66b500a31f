"""The tokenizer against bert4keras' (golden file), the `tokenizers` library, and by hand."""

import copy
import json
import re
import unicodedata

import numpy as np
import pytest
import tokenizers

from nlptasks.text import Tokenizer, build_character_vocab
from nlptasks.text.wordpiece import encode_text, has_rare_character, split_words
from tests.golden import make_tokenizer_golden as maker

WORDS = "我 们 爱 北 京 天 。 ， , . ' % : / python ##s 3 12 it s a b c un ##aff ##able cafe Cafe i"
VOCAB = {token: i for i, token in enumerate(["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *WORDS.split()])}


@pytest.fixture(scope="module")
def tokenizer():
    return Tokenizer(VOCAB)


@pytest.fixture(scope="module")
def lines():
    return maker.compose_lines()


@pytest.fixture(scope="module")
def reference(golden):
    with np.load(golden / "tokenizer.npz") as file:
        return dict(file)


@pytest.fixture(scope="module")
def composed_tokenizer():
    return Tokenizer(maker.compose_vocab())


@pytest.fixture(scope="module")
def encodings(composed_tokenizer, lines):
    return composed_tokenizer.encode_batch(lines)


def is_sigma_beside_removed_character(line):
    """The one rule where bert4keras leaves Google's: it lower-cases before it removes control characters."""
    removed = r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\ufffd]"
    return re.search(rf"Σ[^\s\w]*{removed}|{removed}[^\s\w]*Σ", line) is not None


def test_composed_lines_are_those_the_golden_file_was_made_of(reference):
    assert maker.digest_of_composed() == str(reference["composed"])
    assert str(reference["source"]) == "bert4keras 0.11.5"


def test_ids_equal_bert4keras_on_composed_lines(composed_tokenizer, lines, encodings, reference):
    excluded = different = 0
    for line, encoding, digest in zip(lines, encodings, reference["ids"], strict=True):
        same = maker.line_digest(encoding.token_ids) == digest
        if is_sigma_beside_removed_character(line):
            excluded += 1
            different += not same
        else:
            assert same, f"{line!a}: {composed_tokenizer.ids_to_tokens(encoding.token_ids)}"
    assert len(lines) == 12600
    assert (excluded, different) == (125, 25)


def test_cased_ids_equal_bert4keras_on_composed_lines(lines, reference):
    tokenizer = Tokenizer(maker.compose_vocab(), lowercase=False)
    for line, encoding, digest in zip(lines, tokenizer.encode_batch(lines), reference["cased_ids"], strict=True):
        assert maker.line_digest(encoding.token_ids) == digest, f"{line!a}"


def test_sampled_ids_equal_bert4keras_one_by_one(composed_tokenizer, lines, reference):
    expected = np.split(reference["sample"], np.cumsum(reference["sample_lengths"])[:-1])
    for line, ids in zip(lines[:: maker.SAMPLE_EVERY], expected, strict=True):
        if not is_sigma_beside_removed_character(line):
            assert composed_tokenizer.encode(line).token_ids.tolist() == ids.tolist(), f"{line!a}"


def test_offsets_equal_the_rematch_of_bert4keras(lines, encodings, reference):
    compared = 0
    for line, encoding, digest in zip(lines, encodings, reference["offsets"], strict=True):
        if "İ" in line or is_sigma_beside_removed_character(line):
            continue  # its rematch counts letters after lower-casing, where İ has become two
        compared += 1
        assert maker.offsets_digest(encoding.offsets) == digest, f"{line!a}"
    assert compared == 12191


def test_truncated_pairs_equal_bert4keras(composed_tokenizer, lines, reference):
    pairs = maker.compose_pairs(lines)
    compared = 0
    for (first, second, length), ids, segments in zip(
        pairs, reference["pair_ids"], reference["pair_segments"], strict=True
    ):
        if is_sigma_beside_removed_character(first + second):
            continue
        compared += 1
        encoding = composed_tokenizer.encode(first, second, max_length=length)
        assert maker.line_digest(encoding.token_ids) == ids, f"{first!a} {second!a} {length}"
        assert maker.line_digest(encoding.segment_ids) == segments
    assert compared > 500


def test_capital_sigma_before_a_control_character_follows_google():
    vocab = {token: i for i, token in enumerate(["[PAD]", "[UNK]", "[CLS]", "[SEP]", "α", "##σ", "##ς", "##α"])}
    assert Tokenizer(vocab).tokenize("ΑΣ\x00Α") == ["α", "##σ", "##α"]
    assert Tokenizer(vocab).tokenize("ΑΣ Α") == ["α", "##ς", "α"]
    assert Tokenizer(vocab).tokenize("ΑΣ") == ["α", "##ς"]


def test_every_character_of_unicode_splits_as_in_the_tokenizers_library():
    """An independent implementation; where it leaves Google's rules or has other Unicode tables, it is left out."""
    normalizer = tokenizers.normalizers.BertNormalizer(lowercase=True)
    splitter = tokenizers.pre_tokenizers.BertPreTokenizer()

    def rare(code):  # private use, extension E, surrogates, capital sigma
        return 0xD800 <= code <= 0xF8FF or code >= 0xF0000 or 0x2B820 <= code <= 0x2B91F or code == 0x3A3

    def is_old(char):  # assigned in the Unicode tables of 2002, which every table since has
        return unicodedata.ucd_3_2_0.category(char) not in ("Cn", "Cs")

    codes = [code for code in range(0x110000) if not rare(code) and is_old(chr(code))]
    young_tables = {0x166D, 0x1734, 0x180F, 0x1885, 0x1886}  # categories that changed since
    codes = [code for code in codes if code not in young_tables]
    text = " ".join(f"a{chr(code)}b" for code in codes)
    expected = [word for word, _ in splitter.pre_tokenize_str(normalizer.normalize_str(text))]
    assert [word for word, _ in split_words(text, lowercase=True)] == expected
    assert len(codes) > 90000


@pytest.mark.parametrize("lowercase", [True, False])
def test_every_common_character_is_split_by_the_library_as_the_rules_say(lowercase):
    """Words and offsets; what the installed library or the running Python does otherwise belongs to the rare ones."""
    library = Tokenizer(VOCAB, lowercase=lowercase)._library
    count = 0
    for first in range(0, 0x40000, 0x4000):
        codes = range(first, min(first + 0x4000, 0x40000))
        chars = [
            char for char in map(chr, codes) if not has_rare_character(char) and unicodedata.category(char) != "Cn"
        ]
        count += len(chars)
        text = " ".join(f"a{char}b" for char in chars)
        split = tokenizers.PreTokenizedString(text)
        split.normalize(library.normalizer.normalize)
        library.pre_tokenizer.pre_tokenize(split)
        words = [(word, span) for word, span, _ in split.get_splits("original", "char")]
        rules = [(word, (at[0], at[-1] + 1)) for word, at in split_words(text, lowercase)]
        for theirs, ours in zip(words, rules, strict=True):
            assert theirs == ours, ascii((theirs, ours))
    assert count > 100000


@pytest.mark.parametrize("lowercase", [True, False])
def test_mixtures_of_common_characters_encode_in_the_library_as_the_rules_say(lowercase):
    random = np.random.default_rng(7)
    blocks = [(0, 0x7F), (0x61, 0x7A), (0x300, 0x36F), (0xA0, 0x24F), (0x370, 0x52F), (0x590, 0x5FF), (0x620, 0x6FF)]
    blocks += [(0x900, 0x97F), (0xE00, 0xE7F), (0x1100, 0x11FF), (0x1E00, 0x2BFF), (0x3000, 0x33FF), (0x4E00, 0x4E40)]
    blocks += [(0xAC00, 0xAC70), (0xF900, 0xF940), (0xFE00, 0xFFFF), (0x1F300, 0x1F6FF), (0x2F800, 0x2F840)]
    texts = []
    for _ in range(4000):
        some = [blocks[i] for i in random.choice(len(blocks), 4)]
        codes = [random.integers(first, last + 1) for first, last in some for _ in range(random.integers(0, 12))]
        texts.append("".join(chr(code) for code in random.permutation(codes).astype(int)))
    texts = [text for text in texts if not has_rare_character(text)]
    vocab = build_character_vocab(texts[::2], lowercase=lowercase)  # some characters of the others are unknown
    known = 0
    for text, encoding in zip(texts, Tokenizer(vocab, lowercase).encode_batch(texts), strict=True):
        token_ids, offsets = encode_text(text, vocab, 1, lowercase)
        assert encoding.token_ids[1:-1].tolist() == token_ids, ascii(text)
        assert encoding.offsets[1:-1].tolist() == [list(pair) for pair in offsets], ascii(text)
        known += sum(token_id != 1 for token_id in token_ids)
    assert len(texts) > 3000
    assert known > 30000


@pytest.mark.parametrize(
    "text", ["ΑΣ", "a\u302eb", "我\ud83d", "\ue123", "\U0002b820", "\U0002b91f", "\u1abf", "\U00010d50", "\U000f0000"]
)
def test_characters_on_which_the_library_departs_are_rare(text):
    assert has_rare_character(text)


def test_usual_chinese_text_is_common():
    assert not has_rare_character(
        "今天，我们用Python 3.12写“程序”——好极了！😀 ①②Ⅳ １２３ ㎡ ℃ → 〇 𠀀 カタカナ 한글 Ünïcödé Москва α\u3000\n"
    )
    assert not has_rare_character("")


def test_encoding_of_one_text_has_the_layout_of_bert(tokenizer):
    encoding = tokenizer.encode("我爱Python。")
    assert tokenizer.ids_to_tokens(encoding.token_ids) == ["[CLS]", "我", "爱", "python", "。", "[SEP]"]
    assert encoding.segment_ids.tolist() == [0] * 6
    assert encoding.offsets.tolist() == [[0, 0], [0, 1], [1, 2], [2, 8], [8, 9], [0, 0]]
    assert encoding.token_ids.dtype == encoding.segment_ids.dtype == encoding.offsets.dtype == np.int32
    assert len(encoding) == 6


def test_encoding_of_a_pair_has_segment_one_after_the_first_separator(tokenizer):
    encoding = tokenizer.encode("我们", "unaffable 北京")
    assert tokenizer.ids_to_tokens(encoding.token_ids) == (
        ["[CLS]", "我", "们", "[SEP]", "un", "##aff", "##able", "北", "京", "[SEP]"]
    )
    assert encoding.segment_ids.tolist() == [0, 0, 0, 0, 1, 1, 1, 1, 1, 1]
    assert encoding.offsets.tolist()[4:9] == [[0, 2], [2, 5], [5, 9], [10, 11], [11, 12]]


@pytest.mark.parametrize(
    ("max_length", "expected"),
    [
        (11, "[CLS] 我 们 爱 北 京 [SEP] a b c [SEP]"),
        (10, "[CLS] 我 们 爱 北 [SEP] a b c [SEP]"),
        (9, "[CLS] 我 们 爱 [SEP] a b c [SEP]"),
        (8, "[CLS] 我 们 [SEP] a b c [SEP]"),
        (7, "[CLS] 我 们 [SEP] a b [SEP]"),
        (4, "[CLS] [SEP] a [SEP]"),
        (3, "[CLS] [SEP] [SEP]"),
    ],
)
def test_truncation_takes_the_last_token_of_the_longer_text_and_of_the_first_when_equal(
    tokenizer, max_length, expected
):
    encoding = tokenizer.encode("我们爱北京", "a b c", max_length=max_length)
    assert " ".join(tokenizer.ids_to_tokens(encoding.token_ids)) == expected
    assert len(encoding.offsets) == len(encoding.segment_ids) == max_length


def test_truncation_of_one_text_keeps_the_separator(tokenizer):
    assert tokenizer.ids_to_tokens(tokenizer.encode("我们爱北京", max_length=4).token_ids) == [
        "[CLS]",
        "我",
        "们",
        "[SEP]",
    ]
    assert tokenizer.encode("我们爱北京", max_length=2).token_ids.tolist() == [tokenizer.cls_id, tokenizer.sep_id]


def test_batch_equals_one_by_one(composed_tokenizer, lines):
    firsts, seconds = lines[:300], lines[300:600]
    for pair in (None, seconds):
        batch = composed_tokenizer.encode_batch(firsts, pair, max_length=17)
        for i, encoding in enumerate(batch):
            single = composed_tokenizer.encode(firsts[i], pair and pair[i], max_length=17)
            for name in ("token_ids", "segment_ids", "offsets"):
                np.testing.assert_array_equal(getattr(encoding, name), getattr(single, name))


def test_batches_longer_than_a_chunk_keep_their_order(tokenizer):
    texts = [f"{'我' * (i % 7)}a" for i in range(5003)]
    assert [len(encoding) for encoding in tokenizer.encode_batch(texts)] == [i % 7 + 3 for i in range(5003)]
    assert tokenizer.encode_batch([]) == []


def test_rare_texts_among_common_ones_keep_their_places(tokenizer):
    texts = ["我", "爱\ue123", "北京", "\ud83d", "ΑΣ", "天"]
    for batch in (tokenizer.encode_batch(texts), tokenizer.encode_batch(texts, with_offsets=False)):
        tokens = [" ".join(tokenizer.ids_to_tokens(encoding.token_ids[1:-1])) for encoding in batch]
        assert tokens == ["我", "爱 [UNK]", "北 京", "[UNK]", "[UNK]", "天"]


def test_without_offsets_ids_and_segments_are_the_same(composed_tokenizer, lines):
    pairs = (lines[:400], lines[400:800], 30)
    for with_offsets, without in zip(
        composed_tokenizer.encode_batch(*pairs),
        composed_tokenizer.encode_batch(*pairs, with_offsets=False),
        strict=True,
    ):
        assert without.offsets is None
        np.testing.assert_array_equal(without.token_ids, with_offsets.token_ids)
        np.testing.assert_array_equal(without.segment_ids, with_offsets.segment_ids)


def test_vocabulary_may_hold_a_lone_surrogate():
    tokenizer = Tokenizer(build_character_vocab(["我\ud83d"]))
    assert tokenizer.tokenize("\ud83d我") == ["\ud83d", "我"]


def test_special_tokens_spelled_in_text_are_text(tokenizer):
    assert tokenizer.mask_id not in tokenizer.encode("[MASK]").token_ids
    assert tokenizer.sep_id not in tokenizer.encode("[SEP]").token_ids[1:-1]


def test_word_of_200_characters_is_cut_and_one_of_201_is_unknown():
    vocab = {"[PAD]": 0, "[UNK]": 1, "[CLS]": 2, "[SEP]": 3, "a": 4, "##a": 5}
    assert len(Tokenizer(vocab).tokenize("a" * 200)) == 200
    assert Tokenizer(vocab).tokenize("a" * 201) == ["[UNK]"]


def test_lone_surrogates_and_private_characters_are_unknown_words(tokenizer):
    assert tokenizer.tokenize("我\ud83d爱\ue123a") == ["我", "[UNK]", "爱", "[UNK]"]


def test_cased_tokenizer_keeps_case_and_accents():
    assert Tokenizer(VOCAB, lowercase=False).tokenize("Cafe cafe café") == ["Cafe", "cafe", "[UNK]"]
    assert Tokenizer(VOCAB).tokenize("Cafe CAFÉ") == ["cafe", "cafe"]


def fold(text):
    text = "".join(char for char in text if char != "\ufffd" and unicodedata.category(char) not in ("Cc", "Cf"))
    return "".join(char for char in unicodedata.normalize("NFD", text.lower()) if unicodedata.category(char) != "Mn")


def check_offsets(tokenizer, lines, encodings):
    """text[start:end] is the piece, lower-cased and without accents; or holds it, where one letter became several."""
    exact = partial = 0
    for line, encoding in zip(lines, encodings, strict=True):
        last_end = 0
        for token_id, (start, end) in zip(encoding.token_ids[1:-1], encoding.offsets[1:-1].tolist(), strict=True):
            assert start < end
            if token_id == tokenizer.unk_id:
                continue
            piece = tokenizer.id_to_token(token_id)
            piece = piece[2:] if len(piece) > 2 and piece.startswith("##") else piece
            folded = fold(line[start:end]).replace("ς", "σ")
            if folded == piece.replace("ς", "σ"):
                exact += 1
                assert start >= last_end
            else:
                partial += 1
                assert piece in folded
                assert (
                    len(unicodedata.normalize("NFD", line[start])) > 1
                    or len(unicodedata.normalize("NFD", line[end - 1])) > 1
                )
            last_end = end
    return exact, partial


def test_offsets_point_at_the_text_that_a_token_came_from(composed_tokenizer, lines, encodings):
    exact, partial = check_offsets(composed_tokenizer, lines, encodings)
    assert exact > 200000
    assert partial < 0.05 * exact  # pieces of Hangul syllables, ligatures of marks


def test_offsets_and_round_trip_hold_on_public_text(public_data):
    path = public_data / "reading_comprehension" / "webqa_dev.json"
    tokenizer = Tokenizer(public_data / "vocab" / "vocab.txt")
    items = json.loads(path.read_text(encoding="utf-8"))
    lines = [passage["passage"] for item in items for passage in item["passages"]]
    encodings = tokenizer.encode_batch(lines)
    exact, partial = check_offsets(tokenizer, lines, encodings)
    assert partial < 0.001 * exact
    check_round_trip(tokenizer, lines, encodings)


def check_round_trip(tokenizer, lines, encodings):
    """What was decoded encodes to the same ids, where no word was unknown."""
    count = 0
    for line, encoding in zip(lines, encodings, strict=True):
        if tokenizer.unk_id not in encoding.token_ids:
            count += 1
            again = tokenizer.encode(tokenizer.decode(encoding.token_ids))
            assert again.token_ids.tolist() == encoding.token_ids.tolist(), line
    return count


def test_decoded_text_encodes_to_the_same_ids(composed_tokenizer, lines, encodings):
    assert check_round_trip(composed_tokenizer, lines, encodings) > 2000


def test_tokens_and_ids_turn_into_each_other(tokenizer):
    assert tokenizer.token_to_id("北") == VOCAB["北"]
    assert tokenizer.token_to_id("東") == tokenizer.unk_id == 1
    assert tokenizer.id_to_token(np.int32(VOCAB["北"])) == "北"
    assert (tokenizer.vocab_size, tokenizer.pad_id, tokenizer.cls_id, tokenizer.sep_id) == (len(VOCAB), 0, 2, 3)
    with pytest.raises(ValueError, match=rf"token ids must lie in 0 to {len(VOCAB) - 1}. Received: {len(VOCAB)}\."):
        tokenizer.id_to_token(len(VOCAB))
    with pytest.raises(ValueError, match=r"token ids must lie in 0 to .*. Received: -1\."):
        tokenizer.decode([-1])


def test_wrong_arguments_are_named(tokenizer):
    with pytest.raises(TypeError, match=r"^text must be str. Received: bytes\.$"):
        tokenizer.encode(b"abc")
    with pytest.raises(TypeError, match=r"^second_text must be str. Received: int\.$"):
        tokenizer.encode("a", 3)
    with pytest.raises(TypeError, match=r"^texts\[1\] must be str. Received: NoneType\.$"):
        tokenizer.encode_batch(["a", None])
    with pytest.raises(TypeError, match=r"texts must be a list of str\. Received: one str"):
        tokenizer.encode_batch("abc")
    with pytest.raises(ValueError, match=r"texts and second_texts must pair up\. Received: 2 and 1"):
        tokenizer.encode_batch(["a", "b"], ["c"])
    with pytest.raises(ValueError, match=r"max_length must be at least 2, .* \[CLS\] text \[SEP\]. Received: 1\."):
        tokenizer.encode("a", max_length=1)
    with pytest.raises(ValueError, match=r"max_length must be at least 3, .*. Received: 2\."):
        tokenizer.encode("a", "b", max_length=2)


def test_missing_mask_token_is_an_error_only_when_asked_for():
    tokenizer = Tokenizer({"[PAD]": 0, "[UNK]": 1, "[CLS]": 2, "[SEP]": 3})
    with pytest.raises(ValueError, match=r"the vocabulary of 4 tokens has no \[MASK\]"):
        _ = tokenizer.mask_id


def test_saved_directory_opens_again_and_in_transformers(tmp_path, composed_tokenizer, lines):
    composed_tokenizer.save(tmp_path / "model")
    again = Tokenizer.from_directory(tmp_path / "model")
    assert again.vocab == composed_tokenizer.vocab
    assert again.lowercase is True
    assert sorted(file.name for file in (tmp_path / "model").iterdir()) == ["tokenizer_config.json", "vocab.txt"]
    Tokenizer(VOCAB, lowercase=False).save(tmp_path / "cased")
    assert Tokenizer.from_directory(tmp_path / "cased").lowercase is False
    transformers = pytest.importorskip("transformers", reason="the test extra brings transformers")
    theirs = transformers.BertTokenizer.from_pretrained(tmp_path / "model")
    for line in ("今天我们在河边喜欢Python 3.14。", "Café naïve, 2024年!"):
        assert theirs(line)["input_ids"] == composed_tokenizer.encode(line).token_ids.tolist()
    assert transformers.BertTokenizer.from_pretrained(tmp_path / "cased").tokenize("Cafe") == ["Cafe"]


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ("{", r"tokenizer_config\.json:1: not valid JSON"),
        ("[]", "expected a JSON object. Received: a list"),
        ('{"do_lower_case": 1}', "do_lower_case must be true or false. Received: 1"),
        ('{"do_lower_case": true, "strip_accents": false}', "Received: strip_accents False"),
        ('{"tokenize_chinese_chars": false}', "Received: tokenize_chinese_chars false"),
    ],
)
def test_config_that_asks_for_other_rules_is_refused(tmp_path, tokenizer, config, message):
    tokenizer.save(tmp_path)
    (tmp_path / "tokenizer_config.json").write_text(config, encoding="utf-8")
    with pytest.raises(ValueError, match=message):
        Tokenizer.from_directory(tmp_path)


def test_directory_without_vocabulary_is_named(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"vocab\.txt: no such file"):
        Tokenizer.from_directory(tmp_path)


def test_a_copied_tokenizer_encodes_the_same(tokenizer):
    again = copy.deepcopy(tokenizer)
    assert again.encode("我爱Python").token_ids.tolist() == tokenizer.encode("我爱Python").token_ids.tolist()
