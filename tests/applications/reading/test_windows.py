"""Long passages: their windows, what is learned from them, and that they vote as one passage."""

import dataclasses

import numpy as np
import pytest
from keras import ops

from nlptasks.applications.reading.reader import Reader
from nlptasks.applications.reading.samples import ReadingExamples
from nlptasks.applications.reading.voting import best_windows
from nlptasks.applications.reading.windows import (
    ReadingLengths,
    encode_rows,
    encode_windows,
    split_windows,
)
from nlptasks.text import Passage, Question, Tokenizer, build_character_vocab
from tests.applications.reading.test_reader import reader

TEXT = "甲乙丙丁戊己庚辛壬癸子丑"


@pytest.fixture(scope="module")
def tokenizer():
    return Tokenizer(build_character_vocab([TEXT, "谁在哪？"]))


def lengths(stride=3, passage_length=7):
    return ReadingLengths(passage_length=passage_length, question_length=5, answer_length=6, stride=stride)


def shown(tokenizer, encoding):
    return "".join(tokenizer.ids_to_tokens(encoding.token_ids[1:-1]))


@pytest.mark.once
def test_windows_begin_a_stride_apart_and_the_last_ends_with_the_text(tokenizer):
    [found] = encode_windows(tokenizer, lengths(), [TEXT])
    assert [shown(tokenizer, e) for e in found] == ["甲乙丙丁戊", "丁戊己庚辛", "庚辛壬癸子", "辛壬癸子丑"]
    assert all(e.token_ids[0] == tokenizer.cls_id and e.token_ids[-1] == tokenizer.sep_id for e in found)
    for encoding in found:
        start, end = encoding.offsets[1][0], encoding.offsets[-2][1]
        assert TEXT[start:end] == shown(tokenizer, encoding)
    [short] = encode_windows(tokenizer, lengths(), [TEXT[:5]])
    assert [shown(tokenizer, e) for e in short] == ["甲乙丙丁戊"]
    [cut] = encode_windows(tokenizer, lengths(None), [TEXT])
    assert [shown(tokenizer, e) for e in cut] == ["甲乙丙丁戊"]


@pytest.mark.once
def test_rows_know_the_question_the_passage_and_the_window_they_are_of(tokenizer):
    questions = [("谁", [TEXT, TEXT[:5]]), ("谁在哪？", [TEXT[2:9]])]
    rows = encode_rows(tokenizer, lengths(), questions)
    assert [(row.question, row.passage, row.window) for row in rows] == [
        *((0, 0, window) for window in range(4)),
        (0, 1, 0),
        (1, 0, 0),
        (1, 0, 1),
    ]
    for row in rows:
        question, passages = questions[row.question]
        text = passages[row.passage][row.offsets[0][0] : row.offsets[-1][1]]
        assert "".join(tokenizer.ids_to_tokens(row.text)) == text
        assert "".join(tokenizer.ids_to_tokens(row.source)) == f"[CLS]{text}[SEP]{question}[SEP]"


@pytest.mark.once
def test_every_token_stands_in_a_window_of_full_length_for_any_stride(tokenizer):
    for count in range(1, 25):
        encoding = tokenizer.encode(TEXT * 2, max_length=count + 2)
        for room in range(1, 9):
            for stride in range(1, room + 1):
                found = split_windows(encoding, room + 2, stride)
                assert {len(e) for e in found} == {min(count, room) + 2}
                covered = {int(i) for e in found for i in e.offsets[1:-1, 0]}
                assert covered == set(range(count))
                assert len(found) <= lengths(stride, room + 2).most_windows(
                    TEXT[:count] if count <= 12 else "x" * count
                )


@pytest.mark.once
def test_a_stride_beyond_the_window_is_refused():
    for stride in (0, 6):
        with pytest.raises(ValueError, match="stride must lie in 1 to 5"):
            lengths(stride)


@pytest.mark.once
def test_training_draws_the_windows_that_hold_the_answer(tokenizer):
    question = Question("1", "谁在哪？", (Passage(TEXT, "壬癸"),), ("壬癸",))
    examples = ReadingExamples([question], tokenizer, lengths(), seed=1)
    seen = set()
    for epoch in range(20):
        (sample,) = examples.batches(epoch, 1)[0]
        seen.add("".join(tokenizer.ids_to_tokens(sample.passage[1:-1])))
        assert "".join(tokenizer.ids_to_tokens(sample.answer)) == "壬癸[SEP]"
    assert seen == {"庚辛壬癸子", "辛壬癸子丑"}
    assert (examples.counts.kept, examples.counts.cut) == (1, 0)
    beyond = ReadingExamples([question], tokenizer, lengths(None), seed=1)
    assert (beyond.counts.kept, beyond.counts.cut) == (0, 1)


def test_of_a_passage_the_surest_living_window_stays():
    alive = np.array([True, True, True, False, True, True, False, True])
    empty = np.array([0.5, 0.2, 0.2, 0.0, 0.9, 0.1, 0.3, 0.6], "float32")
    passage = np.array([0, 0, 0, 0, 1, 2, 3, 2], "int32")
    found = ops.convert_to_numpy(best_windows(alive, empty, passage))
    assert found.tolist() == [False, True, False, False, True, True, False, False]


@pytest.mark.once
def test_a_long_passage_votes_as_its_surest_window_alone_would():
    long, short = "长江流过上海，全长6300公里。" * 3, "三个人坐着。"
    plain = reader()
    sizes = dataclasses.replace(plain.lengths, passage_length=14)
    windowed, cut = (Reader(plain.model, plain.tokenizer, dataclasses.replace(sizes, stride=s)) for s in (4, None))
    compared = 0
    for question in ("谁", "长江", "三个人流过", "公司"):
        rows = encode_rows(plain.tokenizer, windowed.lengths, [(question, [long])])
        assert len(rows) > 3
        logits = [ops.convert_to_numpy(plain.model([np.array([row.source])]))[0, -1] for row in rows]
        answering = [i for i, of in enumerate(logits) if of.argmax() != plain.tokenizer.sep_id]
        empty = [float(np.exp(of - of.max())[plain.tokenizer.sep_id] / np.exp(of - of.max()).sum()) for of in logits]
        found = windowed.answer(question, [long, short])
        assert cut.answer(question, [long, short], stride=4) == found  # a stride of the moment is one of the reader
        if not answering:
            assert all(e.passage for e in found.evidence)
            continue
        surest = min(answering, key=empty.__getitem__)
        place = rows[surest].offsets
        alone = cut.answer(question, [long[place[0][0] : place[-1][1]], short])
        assert (found.text, found.score) == (alone.text, pytest.approx(alone.score, abs=1e-4))
        [evidence] = [e for e in found.evidence if e.passage == 0]
        assert evidence.window == surest
        if evidence.start is not None:
            assert long[evidence.start : evidence.end] == found.text
        compared += 1
    assert compared > 1
