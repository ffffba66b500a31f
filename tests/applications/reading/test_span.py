"""The reader by spans: the best span of all windows by hand-made logits, its loss, its targets, and a whole run."""

import json
import signal

import numpy as np
import pytest
from keras import ops

import nlptasks
import nlptasks.train.progress
from nlptasks.applications.reading import span, spans
from nlptasks.applications.reading.picture import answer_attention, draw_answer
from nlptasks.applications.reading.reader import Reader
from nlptasks.applications.reading.span import row_arrays, span_loss, span_model
from nlptasks.applications.reading.span_samples import SpanExamples
from nlptasks.applications.reading.training import ReaderOptions, best_threshold
from nlptasks.applications.reading.windows import ReadingLengths, SpanLengths
from nlptasks.core import Transformer, TransformerConfig
from nlptasks.text import Passage, Question, Tokenizer, build_character_vocab, open_tokenizer, read_questions
from nlptasks.train.interruption import TrainingInterrupted
from tests.parity import randomised
from tests.text.kinds import save_json

TEXT = "甲乙丙丁戊己庚辛壬癸子丑"
WINDOWS = {"window_length": 9, "question_length": 2, "answer_length": 3, "stride": 4, "width_multiple": 4}


def reader(seed=3, lengths=None, tokenizer=None, threshold=None):
    tokenizer = tokenizer or Tokenizer(build_character_vocab([TEXT, "谁在哪？", "1921"]))
    config = TransformerConfig(
        vocab_size=tokenizer.vocab_size,
        hidden_size=16,
        num_layers=1,
        num_heads=2,
        ffn_size=24,
        max_positions=41,
        pad_id=tokenizer.pad_id,
    )
    model = span_model(Transformer(config))
    randomised(model, seed)
    return Reader(model, tokenizer, SpanLengths(**(WINDOWS | (lengths or {}))), "span", threshold)


def scripted(monkeypatch, some, starts, ends, nulls):
    """Makes the logits of a reader those of its tokens; those of [CLS] are the sum over the row of `nulls`."""
    tables = []
    for values, rest in ((starts, -9.0), (ends, -9.0), (nulls, 0.0)):
        table = np.full(some.tokenizer.vocab_size, rest, "float32")
        for token, value in values.items():
            table[some.tokenizer.token_to_id(token)] = value
        tables.append(table)

    def logits(model, token_ids_RT, *_):
        null_R1 = ops.sum(ops.take(tables[2], token_ids_RT, axis=0), axis=1, keepdims=True)
        return tuple(
            ops.concatenate([null_R1, ops.take(table, token_ids_RT, axis=0)[:, 1:]], axis=1) for table in tables[:2]
        )

    monkeypatch.setattr(span, "span_logits", logits)
    return some


@pytest.mark.parametrize("rows", [1, 64])
def test_windows_compare_by_logits_minus_those_of_cls_and_not_by_softmaxes(monkeypatch, rows):
    # windows 甲乙丙丁戊, 戊己庚辛壬, 辛壬癸子丑: the first is the surest of itself, the last has the largest logits
    starts = {"乙": 3.0, "己": 8.0, "庚": 7.9, "癸": 9.0}
    ends = {"丙": 3.0, "己": 7.9, "庚": 8.0, "子": 9.0}
    nulls = {"甲": 2.0, "己": 1.0, "丑": 8.6}
    some = scripted(monkeypatch, reader(), starts, ends, nulls)
    softmax = [1 / (1 + np.exp(2.0 - 3.0)), 1 / (1 + np.exp(-0.1) + np.exp(1.0 - 8.0)), 1 / (1 + np.exp(-0.4))]
    assert np.argmax(softmax) == 0
    [answer] = some.predict([("谁", [TEXT])], rows=rows)
    assert answer.text == "己庚"
    assert answer.score == pytest.approx(16.0 - 2.0)
    [evidence] = answer.evidence
    assert (evidence.passage, evidence.window, evidence.start, evidence.end) == (0, 1, 5, 7)
    assert evidence.probability == pytest.approx(softmax[1] ** 2, abs=1e-4)


def test_the_answer_is_no_piece_of_the_question_not_too_long_and_ends_after_it_starts(monkeypatch):
    starts = {"谁": 50.0, "丁": 6.0, "甲": 5.0, "[SEP]": 60.0}
    ends = {"谁": 50.0, "甲": 9.0, "丁": 7.0, "丙": 3.0, "戊": 1.0, "[SEP]": 60.0}
    asked = [("谁", ["谁在哪？" + TEXT[4:], TEXT[1:3] + TEXT[:1], TEXT[:5]])]
    some = scripted(monkeypatch, reader(), starts, ends, {})
    assert [some.predict(asked)[0].text, some.answer("谁", ["谁在"]).text] == ["谁", "谁"]  # it stands in a passage
    starts |= {"谁": -9.0}
    ends |= {"谁": -9.0}
    some = scripted(monkeypatch, reader(), starts | {"甲": 7.0}, ends | {"甲": 2.0}, {})
    # of at most 3 tokens, 甲乙丙 (10) is; 甲乙丙丁 (14) and 丁 before 甲 are not; 丁 (13) is
    assert some.answer("谁", [TEXT[:5]]).text == "丁"
    some = scripted(monkeypatch, reader(), {"甲": 7.0}, ends | {"甲": 2.0}, {})
    assert some.answer("谁", [TEXT[:5]]).text == "甲乙丙"
    some = scripted(monkeypatch, reader(lengths={"answer_length": 4}), {"甲": 7.0}, ends | {"甲": 2.0}, {})
    assert some.answer("谁", [TEXT[:5]]).text == "甲乙丙丁"


@pytest.mark.once
def test_below_the_threshold_and_in_passages_without_text_there_is_no_answer(monkeypatch):
    some = scripted(monkeypatch, reader(threshold=2.5), {"己": 2.0}, {"己": 2.0, "辛": 1.0}, {"丑": 1.0})
    answer = some.answer("谁", [" ", TEXT[:8]])
    assert (answer.text, answer.score, answer.evidence[0].passage) == ("己", 4.0, 1)
    assert some.answer("谁", ["己丑"]).text == ""
    assert some.answer("谁", ["己丑"]).score == 2.0
    some.threshold = None
    assert some.answer("谁", ["己丑"]).text == "己"
    assert some.answer("谁", [" "]).text == ""


def test_the_loss_is_the_marginal_likelihood_of_all_occurrences(monkeypatch):
    some = reader()
    question = Question("1", "谁", (Passage("己庚丑己庚", "己庚"),), ("己庚",))
    none = Question("2", "谁", (Passage("庚甲", ""),), ())
    starts, ends = (
        {"己": 1.5, "庚": 0.5, "丑": 0.0, "甲": 0.2, "谁": 7.0},
        {"己": 0.3, "庚": 2.5, "丑": -1.0, "甲": 0.1},
    )
    scripted(monkeypatch, some, starts, ends, {"丑": 0.7, "甲": 0.4})
    examples = SpanExamples([question, none], some.tokenizer, some.lengths)
    [batch] = examples.batches(0, 3)
    arrays = examples.arrays(batch, 3)
    assert arrays["weights"].tolist() == [1, 1, 0]

    def softmax(*values):
        return np.exp(values) / np.exp(values).sum()

    # [CLS] 己 庚 丑 己 庚, without the question
    start, end = softmax(0.7, 1.5, 0.5, 0.0, 1.5, 0.5), softmax(0.7, 0.3, 2.5, -1.0, 0.3, 2.5)
    of_answer = start[1] * end[2] + start[4] * end[5]
    of_none = softmax(0.4, 0.5, 0.2)[0] * softmax(0.4, 2.5, 0.1)[0]
    expected = -(np.log(of_answer) + np.log(of_none)) / 2
    assert float(span_loss(some.model, arrays, training=False)) == pytest.approx(expected, abs=1e-5)


def shown(some, arrays, row):
    """The occurrences of the answer that are targets, as text."""
    ids = arrays["token_ids"][row]
    pairs = [(arrays["starts"][row, k], arrays["ends"][row, k]) for k in np.flatnonzero(arrays["counted"][row])]
    return ["".join(some.tokenizer.ids_to_tokens(ids[start : end + 1])) for start, end in pairs]


@pytest.mark.once
def test_every_window_is_read_and_points_at_all_occurrences_in_it_or_at_cls(tmp_path):
    some = reader()
    entry = {"id": "1", "question": "谁在哪？", "answers": [{"text": "戊己", "answer_start": 3}]}  # it stands at 4
    other = {"id": "2", "question": "谁", "answers": [{"text": "乙", "answer_start": 1}, {"text": "甲乙"}]}
    context = TEXT + "戊己"
    data = {"data": [{"paragraphs": [{"context": context, "qas": [entry, other]}]}]}
    path = tmp_path / "squad.json"
    path.write_text(json.dumps(data), encoding="utf-8")
    questions = read_questions(path)
    assert [question.passages[0].start for question in questions] == [3, 1]
    lost = Question("3", "谁", (Passage(TEXT, "没有"), Passage(TEXT[:3], "")), ("没有",))
    cut = Question("4", "谁", (Passage(TEXT, TEXT[:8]),), (TEXT[:8],))
    examples = SpanExamples([*questions, lost, cut], some.tokenizer, some.lengths)
    # the question is cut to its first character: windows 甲乙丙丁戊, 戊己庚辛壬, 壬癸子丑戊, 癸子丑戊己
    targets = {}
    for batch in examples.batches(0, 3):
        arrays = examples.arrays(batch, 3)
        assert arrays["token_ids"].shape == (3, 9) or arrays["token_ids"].shape == (3, 8)
        for row, window in enumerate(batch):
            targets[int(window)] = shown(some, arrays, row)
            tail = arrays["token_ids"][row][arrays["inside"][row]]
            assert (arrays["segment_ids"][row][1:3] == 0).all()
            assert arrays["segment_ids"][row].sum() == len(tail) + 1
    cls = ["[CLS]"]
    expected = [cls, ["戊己"], cls, ["戊己"], ["甲乙", "乙"], cls, cls, cls, cls]
    assert [targets[i] for i in range(9)] == expected
    counts = examples.counts
    assert (counts.kept, counts.repaired, counts.inside, counts.cut, counts.lost, counts.empty) == (2, 1, 0, 1, 1, 1)
    few = SpanExamples(questions, some.tokenizer, some.lengths, negative_ratio=0.25)
    assert (len(few), few.num_batches(0, 3)) == (4, 2)
    assert len({tuple(sorted(np.concatenate(few.batches(epoch, 3)).tolist())) for epoch in range(9)}) > 1


@pytest.mark.once
def test_answers_whose_ends_fall_inside_a_token_are_counted_and_read_with_the_whole_token():
    some = reader(lengths={"window_length": 15})
    tokenizer = Tokenizer({**some.tokenizer.vocab, "1921": some.tokenizer.vocab_size})

    def targets(text, answer):
        examples = SpanExamples([Question("1", "谁", (Passage(text, answer),), (answer,))], tokenizer, some.lengths)
        one = reader(tokenizer=tokenizer)
        return shown(one, examples.arrays(np.arange(1), 1), 0), examples.counts.inside_share

    assert targets("甲1921乙", "19") == (["1921"], 1.0)
    assert targets("甲1921乙", "1921乙") == (["1921乙"], 0.0)
    assert targets("甲1921乙丙1 9", "1") == (["1"], 0.0)  # where it can be read exactly, there alone


@pytest.mark.once
def test_pieces_with_their_own_special_tokens_are_read_too(tmp_path):
    save_json(tmp_path, "unigram")
    tokenizer = open_tokenizer(tmp_path)
    sizes = {"window_length": 23, "question_length": 12, "stride": 3}
    some = reader(tokenizer=tokenizer, lengths=sizes)
    text = "公司㈱质量很好，推荐，有120名员工，太差了，再也不来了。"
    question = Question("1", "哪个公司很好？", (Passage(text, "㈱质量很"),), ("㈱质量很",))
    examples = SpanExamples([question], tokenizer, some.lengths)
    assert examples.counts.kept == 1
    arrays = examples.arrays(examples.batches(0, 64)[0], 64)
    found = set()
    for row in np.flatnonzero((arrays["starts"] > 0).any(axis=1)):
        found.add(tokenizer.decode(arrays["token_ids"][row, arrays["starts"][row, 0] : arrays["ends"][row, 0] + 1]))
    assert found == {"株质很"}  # of (株), which ㈱ becomes, and of 量 what is unknown is not shown
    answer = some.answer("哪个公司很好？", [text])
    assert answer.text == text[answer.evidence[0].start : answer.evidence[0].end] != ""


@pytest.mark.once
def test_the_threshold_is_where_the_f1_is_best():
    questions = [
        Question(str(i), "谁", (Passage(TEXT, a),), (a,) if a else ()) for i, a in enumerate(("甲", "", "乙", ""))
    ]
    answers = [("甲", 5.0), ("丙", 3.0), ("乙", 4.0), ("丙", -1.0)]
    assert best_threshold(questions, answers) == 3.5
    assert best_threshold(questions[::2], answers[::2]) is None
    assert best_threshold(questions[1::2], answers[1::2]) == 3.0
    assert best_threshold(questions[:1], [("丙", 1.0)]) is None


def test_a_saved_reader_answers_the_same_from_many_windows(tmp_path):
    some = reader(threshold=-7.0)
    asked = [("谁", [TEXT, TEXT[::-1]]), ("谁在哪？", [TEXT[3:9]]), ("哪", [TEXT * 3]), ("哪里？", ["戊"])]
    whole = some.predict(asked)
    for one, other in zip(some.predict(asked, rows=2), whole, strict=True):
        assert (one.text, one.score) == (other.text, pytest.approx(other.score, abs=1e-4))
    some.save(tmp_path)
    again = nlptasks.load(tmp_path, nlptasks.Reader)
    assert (again.method, again.lengths, again.threshold) == ("span", some.lengths, -7.0)
    assert again.predict(asked) == whole
    assert any(answer.text for answer in whole)
    for (_, passages), answer in zip(asked, whole, strict=True):
        for e in answer.evidence:
            assert answer.text == passages[e.passage][e.start : e.end]
    assert again.on_transformer(some.model.transformer).predict(asked) == whole  # its head is copied
    [weights] = answer_attention(again, *asked[0], whole[0])
    assert 0 < weights.max() <= 1
    assert f"<p>{whole[0].text}</p>" in draw_answer(again, *asked[0], whole[0])


@pytest.mark.once
def test_with_windows_of_one_width_every_batch_has_one_shape(monkeypatch):
    some = reader(lengths={"width_multiple": 9})
    questions = [Question(str(n), "谁", (Passage(TEXT[:n] * 2, TEXT[:1]),), (TEXT[:1],)) for n in range(1, 12)]
    examples = SpanExamples(questions, some.tokenizer, some.lengths)
    arrays = [examples.arrays(batch, 4) for epoch in range(2) for batch in examples.batches(epoch, 4)]
    assert {(a["token_ids"].shape, a["starts"].shape, a["weights"].shape) for a in arrays} == {((4, 9), (4, 2), (4,))}
    shapes = []
    monkeypatch.setattr(spans, "row_arrays", lambda *given: shapes.append(given[1]) or row_arrays(*given))
    some.predict([(q.question, [q.passages[0].text]) for q in questions], rows=2)
    assert len(shapes) > 9
    assert set(shapes) == {2}


@pytest.mark.once
def test_what_does_not_fit_a_reader_by_spans_is_refused():
    some = reader()
    with pytest.raises(ValueError, match=r"beam_size must be 1\. Received: 2"):
        some.answer("谁", [TEXT], beam_size=2)
    with pytest.raises(ValueError, match="mode must be extractive"):
        some.answer("谁", [TEXT], mode="generative")
    with pytest.raises(ValueError, match="method span takes a model of span_model and SpanLengths"):
        Reader(some.model, some.tokenizer, ReadingLengths(passage_length=9, question_length=5, answer_length=5), "span")
    with pytest.raises(ValueError, match="window_length = 384 is more than the model's 41 positions"):
        Reader(some.model, some.tokenizer, None, "span")
    with pytest.raises(ValueError, match=r"stride must lie in 1 to 4"):
        SpanLengths(**WINDOWS | {"stride": 5})
    assert [SpanLengths(window_length=n).stride for n in (384, 167, 68)] == [128, 50, 1]
    with pytest.raises(ValueError, match=r"window_length must be at least 6"):
        SpanLengths(**WINDOWS | {"window_length": 5})
    with pytest.raises(ValueError, match="no window of the training questions is left"):
        SpanExamples([Question("1", "谁", (Passage(TEXT, "没"),), ("没",))], some.tokenizer, some.lengths)


def laughing(number):
    """A question whose answer repeats one character, which a small reader soon points at."""
    passages = (
        Passage(f"第{number}号山没有人笑。", ""),
        Passage(f"在第{number}号山笑{'哈' * 4}，笑了很久很久。", "哈" * 4),
    )
    return Question(str(number), f"第{number}号山怎么笑？", passages, ("哈" * 4,))


@pytest.mark.once
def test_a_stride_that_is_left_out_follows_from_the_window_and_one_of_0_is_refused():
    small = {"output": "x", "method": "span", "window_length": 96, "question_length": 32}
    assert ReaderOptions(**small).stride == 30
    assert ReaderOptions(**small, stride=7).stride == 7
    with pytest.raises(ValueError, match=r"stride must be at least 1. Received: 0"):
        ReaderOptions(**small, stride=0)


OPTIONS = {"method": "span", "window_length": 24, "question_length": 11, "stride": 7, "epochs": 3, "batch_size": 8}
OPTIONS |= {"learning_rate": 1e-2, "hidden_size": 16, "num_layers": 1, "num_heads": 2, "ffn_size": 16}


@pytest.mark.on_jax
def test_a_run_learns_and_resumed_ends_as_one_that_was_not_interrupted(tmp_path, monkeypatch):
    training, valid = [laughing(number) for number in range(24)], [laughing(number) for number in range(30, 34)]
    whole = Reader.train(training, valid, tmp_path / "whole", **OPTIONS)
    log, scores = (json.loads((tmp_path / "whole" / f"{name}.json").read_text()) for name in ("log", "scores"))
    assert log[2]["loss"] < 0.5 * log[0]["loss"]
    assert scores["best"]["cmrc_em"] == 100
    assert scores["answers"] == {"kept": 24, "inside": 0, "repaired": 0, "cut": 0, "lost": 0, "empty": 24}
    answer = whole.answer("第71号山怎么笑？", [passage.text for passage in laughing(71).passages])
    assert (answer.text, answer.evidence[0].passage) == ("哈哈哈哈", 1)

    def interrupt(items, description, *_):
        for number, item in enumerate(items):
            if (description, number) == ("epoch 2/3", 1):
                signal.raise_signal(signal.SIGINT)
            yield item

    with monkeypatch.context() as patch:
        patch.setattr(nlptasks.train.progress, "progress_bar", interrupt)
        with pytest.raises(TrainingInterrupted):
            Reader.train(training, valid, tmp_path / "run", **OPTIONS)
    Reader.train(training, valid, tmp_path / "run", **OPTIONS, resume=True)
    for name in ("model.safetensors", "config.json"):
        assert (tmp_path / "run" / name).read_bytes() == (tmp_path / "whole" / name).read_bytes()
