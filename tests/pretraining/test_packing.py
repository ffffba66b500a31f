"""Rows equal those of a plain reimplementation: a list of tokens a sentence, one after the other."""

import unicodedata

import jieba
import numpy as np
import pytest

from nlptasks.pretraining import packing
from nlptasks.pretraining.packing import COUNTS, Packer
from nlptasks.pretraining.shards import decode_row
from nlptasks.pretraining.words import JiebaWords, make_word_cutter
from tests.pretraining.corpora import ODD, make_documents, small_tokenizer
from tests.text.plain_sentences import plain_sentences

jieba.setLogLevel(60)


@pytest.fixture(scope="module")
def tokenizer():
    return small_tokenizer()


@pytest.fixture(scope="module")
def jieba_words():
    return JiebaWords()


def plain_tokens(sentence, tokenizer):
    """(id, starts a word) of every token: words of jieba.lcut, tokens of the tokenizer."""
    word_of = [number for number, word in enumerate(jieba.lcut(sentence)) for _ in word]
    encoding = tokenizer.encode(sentence)
    tokens, last = [], None
    for token_id, (begin, _) in zip(encoding.token_ids[1:-1].tolist(), encoding.offsets[1:-1].tolist(), strict=True):
        token = tokenizer.id_to_token(token_id)
        starts = word_of[begin] != last and not (token.startswith("##") and len(token) > 2)
        tokens.append((token_id, starts))
        last = word_of[begin]
    return tokens


def plain_rows(documents, tokenizer, seq_length):
    """bert4keras' packing; a sentence longer than a row starts one, and is cut where a word starts."""
    room = seq_length - 2
    rows, row = [], []
    for number, document in enumerate(documents):
        for sentence in plain_sentences(document):
            rest = [(token_id, starts, number) for token_id, starts in plain_tokens(sentence, tokenizer)]
            pieces = []
            if len(rest) > room and row:
                rows.append(row)
                row = []
            while len(rest) > room:
                cuts = [i for i in range(1, room + 1) if rest[i][1]]
                cut = cuts[-1] if cuts else room
                pieces.append(rest[:cut])
                rest = rest[cut:]
                rest[0] = (rest[0][0], True, number)
            for piece in [*pieces, rest]:
                if len(row) + len(piece) > room:
                    rows.append(row)
                    row = []
                row = row + piece
    rows.append(row)
    return [
        (
            [tokenizer.cls_id, *(token[0] for token in row), tokenizer.sep_id],
            [True, *(token[1] for token in row), True],
            [True, *(i > 0 and row[i][2] != row[i - 1][2] for i in range(len(row))), False],
        )
        for row in rows
        if row
    ]


def rows_of(packer, documents):
    return [tuple(array.tolist() for array in decode_row(record, 2)) for record in packer.records(documents)]


@pytest.mark.parametrize("seq_length", [8, 13, 37, 128, 509])
def test_rows_are_those_of_the_plain_packing(seq_length, tokenizer, jieba_words):
    documents = [*make_documents(60, 4), *ODD, *make_documents(7, 5)]
    found = rows_of(Packer(tokenizer, jieba_words, seq_length), documents)
    assert found == plain_rows(documents, tokenizer, seq_length)
    assert max(len(row[0]) for row in found) <= seq_length


@pytest.mark.parametrize("chunk", [1, 17, 100])
def test_rows_do_not_depend_on_how_much_is_worked_on_at_a_time(chunk, tokenizer, jieba_words, monkeypatch):
    documents = [document for document in make_documents(40, 6) if "\n" not in document]
    expected = rows_of(Packer(tokenizer, jieba_words, 19), documents)
    monkeypatch.setattr(packing, "CHUNK", max(chunk, 60))
    if chunk == 1:  # every document alone
        monkeypatch.setattr(packing, "_batches", lambda documents: ([(document, True)] for document in documents))
    assert rows_of(Packer(tokenizer, jieba_words, 19), documents) == expected


def test_a_document_longer_than_a_chunk_stays_one_document(tokenizer, jieba_words, monkeypatch):
    document = "".join(make_documents(30, 8))
    packer = Packer(tokenizer, jieba_words, 31)
    expected = rows_of(packer, [document])
    monkeypatch.setattr(packing, "CHUNK", 97)
    assert rows_of(packer, [document]) == expected
    assert packer.counts["documents"] == 1
    assert all(sum(starts) == 1 for _, _, starts in expected)


def test_text_without_a_mark_is_read_to_its_end_in_chunks(tokenizer, monkeypatch):
    monkeypatch.setattr(packing, "CHUNK", 23)
    found = rows_of(Packer(tokenizer, make_word_cutter("none"), 11), ["的" * 100])
    assert sum(len(ids) - 2 for ids, _, _ in found) == 100


def test_counts_are_those_of_a_count_by_hand(tokenizer, jieba_words):
    packer = Packer(tokenizer, jieba_words, 12)
    documents = ["林小舟找到了雨伞。龘龘！", "  ", "很" * 25 + "。", "b" + "usb" * 8]
    rows = rows_of(packer, documents)
    ids = [token_id for row in rows for token_id in row[0][1:-1]]
    assert dict(packer.counts) == {
        "documents": 4,
        "empty_documents": 1,
        "characters": sum(map(len, documents)),
        "sentences": 4,
        "rows": len(rows),
        "tokens": len(ids),
        "unknown_tokens": ids.count(tokenizer.unk_id),
        "split_sentences": packer.counts["split_sentences"],
        "split_words": packer.counts["split_words"],
    }
    assert set(packer.counts) == set(COUNTS)
    assert packer.counts["split_sentences"] == 2
    assert packer.counts["split_words"] == sum(
        (len(tokenizer.tokenize(word)) - 1) // 10 for word in [*jieba.lcut(documents[2]), documents[3]]
    )
    assert packer.counts["unknown_tokens"] == 2
    rows_of(packer, documents[:1])
    assert packer.counts["documents"] == 1


def test_no_token_of_the_corpus_is_lost(tokenizer, jieba_words):
    documents = [*make_documents(20, 9), *ODD]
    found = [i for ids, _, _ in rows_of(Packer(tokenizer, jieba_words, 8), documents) for i in ids[1:-1]]
    expected = [
        i for document in documents for s in plain_sentences(document) for i in tokenizer.encode(s).token_ids[1:-1]
    ]
    assert found == expected


def test_a_word_that_is_split_goes_on_as_a_word(tokenizer, jieba_words):
    found = rows_of(Packer(tokenizer, jieba_words, 9), ["wi" * 12])
    assert len(found) > 1
    assert all(starts[1] for _, starts, _ in found)


def test_a_row_without_room_for_text_is_refused(tokenizer):
    with pytest.raises(ValueError, match=r"^seq_length must be at least 8: .* Received: 7\."):
        Packer(tokenizer, make_word_cutter("none"), 7)


def test_the_rare_documents_are_rare_enough():
    assert {unicodedata.category(char) for document in ODD for char in document} >= {"Cf", "Co", "Mn", "So", "Zs", "Zl"}
    assert np.char.str_len(np.array(ODD)).max() > 200
