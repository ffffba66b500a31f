"""Vocabulary files and character vocabularies."""

import gzip
import string

import pytest

from nlptasks.text import Tokenizer, build_character_vocab, load_vocab, save_vocab
from nlptasks.text.vocab import simplify_vocab

SPECIALS = ["[PAD]", "[UNK]", "[CLS]", "[SEP]"]


def write(path, tokens, end="\n"):
    path.write_bytes((end.join(tokens) + end).encode("utf-8"))
    return path


def test_id_is_the_line_number_from_zero(tmp_path):
    path = write(tmp_path / "vocab.txt", [*SPECIALS, "我", "##们", "\u3000", "\u2028"])
    assert load_vocab(path) == {
        "[PAD]": 0, "[UNK]": 1, "[CLS]": 2, "[SEP]": 3, "我": 4, "##们": 5, "\u3000": 6, "\u2028": 7,
    }  # fmt: skip


def test_gzip_windows_line_ends_byte_order_mark_and_missing_last_line_end_read_the_same(tmp_path):
    expected = load_vocab(write(tmp_path / "a.txt", [*SPECIALS, "我"]))
    (tmp_path / "b").write_bytes(gzip.compress((tmp_path / "a.txt").read_bytes()))
    write(tmp_path / "c.txt", [*SPECIALS, "我"], end="\r\n")
    (tmp_path / "d.txt").write_bytes(b"\xef\xbb\xbf" + (tmp_path / "a.txt").read_bytes().rstrip(b"\n"))
    for name in ("b", "c.txt", "d.txt"):
        assert load_vocab(tmp_path / name) == expected


def test_saved_vocabulary_loads_again_in_the_order_of_ids(tmp_path):
    vocab = {"我": 4, **{token: i for i, token in enumerate(SPECIALS)}}
    save_vocab(vocab, tmp_path / "vocab.txt")
    assert (tmp_path / "vocab.txt").read_text(encoding="utf-8").split() == [*SPECIALS, "我"]
    assert load_vocab(tmp_path / "vocab.txt") == vocab
    assert [file.name for file in tmp_path.iterdir()] == ["vocab.txt"]


@pytest.mark.parametrize(
    ("tokens", "message"),
    [
        ([*SPECIALS, "我", "你", "我"], r"vocab\.txt:7: the token '我' stands on line 5 already"),
        (["[PAD]", "[UNK]", "[CLS]", "我"], r"vocab\.txt: the token \[SEP\] is missing among 4 tokens"),
        (
            ["[UNK]", "[PAD]", "[CLS]", "[SEP]"],
            r"vocab\.txt: \[PAD\] must be id 0 \(the first line\).*Received: id 1\.",
        ),
        ([*SPECIALS, "", "我"], r"vocab\.txt:5: expected one token a line. Received: an empty line"),
        (
            [f"{token}\t7" for token in SPECIALS],
            r"\[PAD\] is missing among 4 tokens.*one token a line and nothing else",
        ),
    ],
)
def test_bad_vocabulary_file_is_named_with_its_line(tmp_path, tokens, message):
    with pytest.raises(ValueError, match=message):
        load_vocab(write(tmp_path / "vocab.txt", tokens))


def test_missing_file_and_wrong_encoding_are_named(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"none\.txt: no such file"):
        load_vocab(tmp_path / "none.txt")
    (tmp_path / "gbk.txt").write_bytes("\n".join([*SPECIALS, "我们"]).encode("gb18030"))
    with pytest.raises(ValueError, match=r"gbk\.txt:5: expected UTF-8. Received: byte 0xce at byte offset 24; convert"):
        load_vocab(tmp_path / "gbk.txt")


@pytest.mark.parametrize("ids", [(0, 1, 2, 4), (0, 1, 2, 2)])
def test_ids_with_gaps_or_repeats_are_refused(ids, tmp_path):
    vocab = dict(zip(SPECIALS, ids, strict=True))
    with pytest.raises(ValueError, match="the ids of 4 tokens must be 0 to 3, each once"):
        Tokenizer(vocab)
    with pytest.raises(ValueError, match="must be 0 to 3"):
        save_vocab(vocab, tmp_path / "vocab.txt")


def test_token_that_cannot_stand_on_a_line_is_not_written(tmp_path):
    vocab = {token: i for i, token in enumerate([*SPECIALS, "a\nb"])}
    with pytest.raises(ValueError, match="cannot stand on a line of its own"):
        save_vocab(vocab, tmp_path / "vocab.txt")
    assert list(tmp_path.iterdir()) == []


def test_character_vocabulary_is_sorted_by_count_then_code_point():
    vocab = build_character_vocab(["我我你B。", "b2 你我é"])
    assert list(vocab) == [
        *SPECIALS, "[MASK]", "我", "b", "##b", "你", "2", "##2", "e", "##e", "。",
    ]  # fmt: skip
    assert list(vocab.values()) == list(range(len(vocab)))


def test_no_word_of_known_characters_is_unknown():
    letters = string.ascii_letters + string.digits
    texts = [letters, "ひらがなカタカナ", "한국어", "ΟΔΟΣ ΑΣ", "café ½ ℃ 〇 ☀ ﬁ", "हिन्दी", "😀👍🏽", "\ue000"]
    for lowercase in (True, False):
        tokenizer = Tokenizer(build_character_vocab(texts, lowercase=lowercase), lowercase=lowercase)
        for text in [*texts, letters[::-1], "なカひ국☀éB7", "ΣΑΣ", "ΣΑ"]:
            if lowercase or "é" not in text:
                assert "[UNK]" not in tokenizer.tokenize(text), text


def test_rare_characters_are_left_out_by_count_and_by_size():
    texts = ["我我我你你b"]
    assert list(build_character_vocab(texts, min_count=2))[5:] == ["我", "你"]
    assert list(build_character_vocab(texts, max_size=6))[5:] == ["我"]
    assert list(build_character_vocab(texts, max_size=8))[5:] == ["我", "你"], "a letter comes with both forms or not"
    assert list(build_character_vocab(texts, max_size=9))[5:] == ["我", "你", "b", "##b"]
    assert list(build_character_vocab([]))[5:] == []


def test_wrong_arguments_are_named():
    with pytest.raises(ValueError, match=r"min_count must be at least 1\. Received: 0"):
        build_character_vocab(["a"], min_count=0)
    with pytest.raises(ValueError, match=r"max_size must leave room for 5 special tokens\. Received: 4"):
        build_character_vocab(["a"], max_size=4)
    with pytest.raises(TypeError, match="Received: one string; put it into a list"):
        build_character_vocab("abc")
    with pytest.raises(TypeError, match=r"texts must hold strings\. Received: int"):
        build_character_vocab(["a", 3])


def test_a_simplified_vocabulary_is_bert4keras_own():
    lines = "[PAD] [unused1] [UNK] [CLS] [SEP] [MASK] ！ a ##a 中 ##中 ... ab ##ab a. ① ##① é ##é 3 ##3 « ##« の ##の"
    vocab = {token: i for i, token in enumerate([*lines.split(), "中国", "##-", "-", "ｶﾞ"])}
    found, former = simplify_vocab(vocab, ["[PAD]", "[MASK]", "[UNK]", "[CLS]", "[SEP]"])
    # what bert4keras 0.11.5 prints: load_vocab(path, simplified=True, startswith=the same)
    wanted = "[PAD] [MASK] [UNK] [CLS] [SEP] ！ a ##a 中 ab ##ab ① ##① é ##é 3 ##3 « の ##の - ｶﾞ"
    assert " ".join(found) == wanted
    assert former == [0, 5, 2, 3, 4, 6, 7, 8, 9, 12, 13, 15, 16, 17, 18, 19, 20, 21, 23, 24, 27, 28]
    assert list(found.values()) == list(range(22))
    with pytest.raises(ValueError, match=r"the token '\[X\]' is not in the vocabulary of 29 tokens"):
        simplify_vocab(vocab, ["[X]"])


def test_simplifying_the_public_vocabulary_changes_no_text(public_data):
    vocab = load_vocab(public_data / "vocab" / "vocab.txt")
    found, former = simplify_vocab(vocab)
    assert len(found) == 13584
    whole, simple = Tokenizer(vocab), Tokenizer(found)
    for text in ("房间很干净，早餐也好。", "BERT-base的第12层...", "Καλημέρα の ①②③ café中国"):
        assert [former[i] for i in simple.encode(text).token_ids] == whole.encode(text).token_ids.tolist()
