"""Tokens of many lines equal those of the tokenizer, line by line."""

import random

import numpy as np
import pytest

from nlptasks.pretraining import tokens as module
from nlptasks.pretraining.tokens import LineTokenizer
from nlptasks.text import Tokenizer, open_tokenizer
from tests.pretraining.corpora import ODD, make_documents, small_tokenizer
from tests.text.kinds import save_json, strings


def expected(tokenizer, lines):
    """Ids and beginnings of the lines joined by line ends."""
    ids, begins, at = [], [], 0
    for line in lines:
        encoding = tokenizer.encode(line)
        ids += encoding.token_ids[1:-1].tolist()
        begins += (encoding.offsets[1:-1, 0] + at).tolist()
        at += len(line) + 1
    return ids, begins


def assert_equal(tokenizer, encode, lines):
    found = encode("\n".join(lines))
    ids, begins = expected(tokenizer, lines)
    assert found.ids.tolist() == ids
    assert found.begins.tolist() == begins
    pieces = tokenizer.ids_to_tokens(ids)
    assert found.continues.tolist() == [piece.startswith("##") and len(piece) > 2 for piece in pieces]
    assert (found.ids.dtype, found.continues.dtype) == ("int32", "bool")


@pytest.fixture(scope="module", params=[True, False], ids=["lower case", "cased"])
def tokenizer(request):
    return small_tokenizer(request.param)


@pytest.fixture(scope="module")
def encode(tokenizer):
    return LineTokenizer(tokenizer)


def test_tokens_are_those_of_the_tokenizer(tokenizer, encode):
    lines = [line for document in [*make_documents(80, 2), *ODD] for line in document.split("\n")]
    assert_equal(tokenizer, encode, lines)
    assert_equal(tokenizer, encode, lines)  # now every run is known


def test_random_characters_are_encoded_alike(tokenizer, encode):
    choose = random.Random(7)
    alphabet = "".join(ODD) + "\ud800\x0b\x85\x00 \t豈\uf900\u3000"
    lines = [
        "".join(choose.choice(alphabet.replace("\n", "")) for _ in range(choose.randrange(20))) for _ in range(3000)
    ]
    assert_equal(tokenizer, encode, lines)


def test_every_character_of_the_table_is_encoded_alike(tokenizer, encode):
    lines = [
        f"a{chr(code)}b{chr(code)}" for code in [*range(1, 0x3100), *range(0xF900, 0x10000), *range(0x2F800, 0x2FA20)]
    ]
    lines = [line for line in lines if "\n" not in line]
    assert_equal(tokenizer, encode, lines)


def test_ideographs_are_looked_up_and_unknown_ones_are_unk(tokenizer, encode):
    found = encode("很龘很")
    known = tokenizer.vocab["很"]
    np.testing.assert_array_equal(found.ids, [known, tokenizer.unk_id, known])


def test_nothing_is_no_token(encode):
    for text in ("", "\n", " \n　\n"):
        assert [array.tolist() for array in encode(text)] == [[], [], []]


def test_a_full_memory_of_runs_starts_afresh(tokenizer, monkeypatch):
    monkeypatch.setattr(module, "REMEMBERED", 3)
    encode = LineTokenizer(tokenizer)
    for start in range(0, 40, 8):
        assert_equal(tokenizer, encode, [f"word{i} w{i}x 字{i}" for i in range(start, start + 8)])
    assert len(encode._known) < 40


def test_long_runs_are_not_remembered(tokenizer):
    encode = LineTokenizer(tokenizer)
    assert_equal(tokenizer, encode, ["a" * 64, "b" * 65])
    assert set(encode._known) == {"a" * 64}


def test_a_capital_sigma_looks_over_punctuation_at_its_neighbors():
    vocab = small_tokenizer().vocab
    for token in ("α", "##σ", "##ς", "'"):
        vocab.setdefault(token, len(vocab))
    tokenizer = Tokenizer(vocab)
    assert_equal(tokenizer, LineTokenizer(tokenizer), ["ΑΣ'Α ΑΣ' ΑΣ", "αα"])
    assert tokenizer.tokenize("ΑΣ'Α ΑΣ") == ["α", "##σ", "'", "α", "α", "##ς"]


@pytest.mark.parametrize("kind", ["unigram", "bpe"])
def test_tokenizers_of_other_kinds_encode_line_by_line(kind, tmp_path):
    save_json(tmp_path, kind)
    tokenizer = open_tokenizer(tmp_path)
    lines = [line.replace("\n", " ") for line in strings(300)] + ["", " "]
    tokens = LineTokenizer(tokenizer)("\n".join(lines))
    encodings = tokenizer.encode_batch(lines)
    assert tokens.ids.tolist() == [i for encoding in encodings for i in encoding.token_ids[1:-1]]
    assert (np.diff(tokens.begins) >= 0).all()
    assert not tokens.continues.any()
    starts = np.cumsum([0, *(len(line) + 1 for line in lines)])
    for start, stop, encoding in zip(starts, starts[1:], encodings, strict=False):
        mine = tokens.begins[(tokens.begins >= start) & (tokens.begins < stop)]
        assert mine.tolist() == (start + encoding.offsets[1:-1, 0]).tolist()
