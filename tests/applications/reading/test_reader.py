"""The reader: the vote, the extractive answer as original characters, evidence, saving."""

import numpy as np
import pytest
from keras import ops

import nlptasks
from nlptasks.applications.reading.reader import Reader
from nlptasks.applications.reading.voting import vote
from nlptasks.applications.reading.windows import ReadingLengths, encode_rows, normalize
from nlptasks.core import Transformer, TransformerConfig
from nlptasks.text import Tokenizer, build_character_vocab
from tests.parity import randomised

PASSAGES = [
    "ＡＢＣ公司在Beijing、上海设有ＡＢＣ中心。",
    "Café里坐着三个人；龘字很难写。",
    "长江流过上海，全长6300公里。",
]
LENGTHS = ReadingLengths(passage_length=40, question_length=12, answer_length=9)


def reader(seed=3, **changes):
    tokenizer = Tokenizer(build_character_vocab([normalize(text.replace("龘", "")) for text in PASSAGES]))
    sizes = {"vocab_size": tokenizer.vocab_size, "hidden_size": 16, "num_layers": 1, "num_heads": 2, "ffn_size": 24}
    config = TransformerConfig(**(sizes | {"max_positions": LENGTHS.total, "attention": "unilm"} | changes))
    model = Transformer(config, with_mlm="linear")
    model.build()
    return Reader(randomised(model, seed), tokenizer, LENGTHS)


@pytest.fixture(scope="module")
def some_reader():
    return reader()


def test_the_vote_is_the_formula():
    p = np.array([[[0.5, 0.1]], [[0.3, 0.9]], [[0.25, 0.0]], [[0.0, 0.7]]], "float32")
    votes = ops.convert_to_numpy(vote(p, np.array([1, 0, 1, 1]), 2))
    expected = [[[0.09 / 1.3, 0.81 / 1.9]], [[(0.25 + 0.0625) / 1.75, 0.5 / 1.8]]]
    assert votes == pytest.approx(np.array(expected))


def questions(count=12):
    rng = np.random.default_rng(8)
    texts = "谁在公司里写字流过长江上海三个"
    return [
        (
            "".join(rng.choice(list(texts), rng.integers(1, 9))),
            [PASSAGES[i] for i in rng.permutation(3)[: rng.integers(1, 4)]],
        )
        for _ in range(count)
    ]


@pytest.mark.once
def test_an_extractive_answer_is_a_piece_of_the_original_passage(some_reader):
    answers = some_reader.predict(questions())
    assert any(answer.text for answer in answers)
    for answer, (_, passages) in zip(answers, questions(), strict=True):
        if not answer.text:
            continue
        located = [e for e in answer.evidence if e.start is not None]
        assert passages[located[0].passage][located[0].start : located[0].end] == answer.text
        assert [e.probability for e in answer.evidence] == sorted(
            (e.probability for e in answer.evidence), reverse=True
        )


@pytest.mark.once
def test_case_full_width_and_unknown_characters_come_back_as_they_were():
    from nlptasks.applications.reading.answering import _find

    some = reader()
    for passage, piece in (
        (PASSAGES[0], "ＡＢＣ公司"),
        (PASSAGES[1], "Café里"),
        (PASSAGES[1], "人；龘字"),
        (PASSAGES[0], "Beijing、上海"),
    ):
        [row] = encode_rows(some.tokenizer, LENGTHS, [("谁", [passage])])
        wanted = some.tokenizer.encode(piece.replace("、", ",").replace("；", ",")).token_ids[1:-1].tolist()
        start, end = _find(wanted, row)
        assert passage[start:end] == piece


@pytest.mark.on_jax
def test_answers_do_not_depend_on_what_else_is_asked(some_reader):
    asked = questions(12)
    assert {len(passages) for _, passages in asked} == {1, 2, 3}
    together = some_reader.predict(asked, rows=5)
    compared = 0
    for (question, passages), answer in zip(asked, together, strict=True):
        if len(passages) == 2:  # each number of passages would be a program of its own
            alone = some_reader.answer(question, passages)
            assert (alone.text, alone.score) == (answer.text, pytest.approx(answer.score, abs=1e-4))
            compared += 1
    assert compared >= 3


@pytest.mark.on_jax
def test_a_question_whose_passages_all_drop_out_has_an_empty_answer(some_reader):
    some = reader()
    some.model.mlm.bias.assign(ops.one_hot(some.tokenizer.sep_id, some.tokenizer.vocab_size) * 1e4)
    answer = some.answer("谁", PASSAGES)
    assert answer.text == ""
    assert answer.evidence == ()
    assert answer.score == 0


@pytest.mark.on_jax
def test_beams_never_score_below_greedy_search(some_reader):
    greedy = some_reader.predict(questions())
    wide = some_reader.predict(questions(), beam_size=3)
    assert all(w.score >= g.score - 1e-5 for w, g in zip(wide, greedy, strict=True))
    assert any(w.text != g.text for w, g in zip(wide, greedy, strict=True))


def test_the_name_of_version_0_1_still_answers(some_reader):
    assert Reader.answer_batch is Reader.predict


def test_a_saved_reader_answers_the_same(some_reader, tmp_path):
    some_reader.save(tmp_path)
    again = nlptasks.load(tmp_path)
    assert again.lengths == some_reader.lengths
    assert again.predict(questions()) == some_reader.predict(questions())


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("", PASSAGES), "question 0 is empty"),
        (("谁", []), "at least one passage"),
        (("谁", "not a list"), "needs a list"),
        (("谁", PASSAGES, "creative"), "mode must be one of"),
        (("谁", PASSAGES, "extractive", 0), "at least 1"),
    ],
)
@pytest.mark.once
def test_a_call_that_makes_no_sense_is_refused(some_reader, arguments, message):
    with pytest.raises(ValueError, match=message):
        some_reader.answer(*arguments)


@pytest.mark.once
def test_parts_that_do_not_fit_together_are_refused(some_reader, tmp_path):
    with pytest.raises(ValueError, match=r"more than the model's 61 positions"):
        Reader(some_reader.model, some_reader.tokenizer, ReadingLengths())
    with pytest.raises(ValueError, match=r"tokens and the model"):
        Reader(some_reader.model, Tokenizer(build_character_vocab(["别的"])), LENGTHS)
    some_reader.save(tmp_path)
    (tmp_path / "vocab.txt").unlink()
    with pytest.raises(FileNotFoundError, match="vocab"):
        nlptasks.load(tmp_path)
    (tmp_path / "config.json").write_text("{}")
    with pytest.raises(ValueError, match="holds no application of this library"):
        nlptasks.load(tmp_path)
