"""The reader by masked tokens: what it reads, its answers against a slow decoding, and its vote."""

import unicodedata
from collections import defaultdict

import numpy as np
import pytest
from keras import ops

import nlptasks
from nlptasks.applications.reading.masked import masked_batch
from nlptasks.applications.reading.reader import Reader
from nlptasks.applications.reading.samples import ReadingExamples
from nlptasks.applications.reading.windows import ReadingLengths, encode_windows, normalize, source_ids
from nlptasks.applications.seq2seq_loss import target_loss
from nlptasks.core import Transformer, TransformerConfig
from nlptasks.text import Passage, Question, Tokenizer, build_character_vocab
from tests.applications.reading.test_reader import PASSAGES, questions
from tests.parity import randomised

LENGTHS = ReadingLengths(passage_length=40, question_length=12, answer_length=5)


def reader(seed=3, lengths=LENGTHS, end_bias=0.0):
    tokenizer = Tokenizer(build_character_vocab([normalize(text.replace("龘", "")) for text in PASSAGES]))
    sizes = {"vocab_size": tokenizer.vocab_size, "hidden_size": 16, "num_layers": 2, "num_heads": 2, "ffn_size": 24}
    model = Transformer(TransformerConfig(**sizes, max_positions=LENGTHS.total), with_mlm="linear")
    model.build()
    randomised(model, seed)
    model.mlm.bias.assign(model.mlm.bias + ops.one_hot(tokenizer.sep_id, tokenizer.vocab_size) * end_bias)
    return Reader(model, tokenizer, lengths, "mlm")


@pytest.fixture(scope="module")
def some_reader():
    return reader(end_bias=2.5)


def probabilities(one, window, question):
    """Of every token at every mask, run alone and without padding."""
    source = source_ids(window, one.tokenizer.encode(question, max_length=LENGTHS.question_length + 1))
    masks = one.lengths.answer_length
    ids = np.array([source + [one.tokenizer.mask_id] * masks])
    segments = np.array([[0] * len(source) + [1] * masks])
    logits = ops.convert_to_numpy(one.model([ids, segments]))[0, len(source) :].astype("float64")
    return np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)


def slow_answer(one, question, passages):
    """By definition: continuations looked up among the n-grams of the passage, votes of whole answers."""
    end, given = one.tokenizer.sep_id, defaultdict(list)
    for passage in passages:
        [[window]] = encode_windows(one.tokenizer, one.lengths, [passage])
        text, p = window.token_ids[1:-1].tolist(), probabilities(one, window, question)
        answer, chosen = [], []
        for step in range(len(p)):
            n = len(answer)
            allowed = {end} | {text[i + n] for i in range(len(text) - n) if text[i : i + n] == answer}
            token = max(allowed, key=lambda t: p[step, t])
            chosen.append(p[step, token])
            if token == end:
                break
            answer.append(token)
        if answer:
            given[tuple(answer)].append(np.mean(chosen))
    votes = {answer: sum(s * s for s in of) / (sum(of) + 1) for answer, of in given.items()}
    best = max(votes, key=votes.get, default=())
    return list(best), float(np.log(votes[best])) if votes else 0.0


@pytest.mark.once
def test_answers_are_those_of_the_slow_definition(some_reader):
    found = some_reader.predict(questions())
    assert 0 < sum(not answer.text for answer in found) < len(found)
    for (question, passages), answer in zip(questions(), found, strict=True):
        tokens, score = slow_answer(some_reader, question, passages)
        assert answer.score == pytest.approx(score, abs=1e-4)
        pieces = [token.removeprefix("##") for token in some_reader.tokenizer.ids_to_tokens(tokens)]
        folded = unicodedata.normalize("NFD", normalize(answer.text).lower()).replace("\u0301", "")
        assert folded == "".join(pieces)
        for e in answer.evidence:
            assert passages[e.passage][e.start : e.end]


@pytest.mark.on_jax
def test_passages_that_give_the_same_answer_vote_for_it_together():
    one = reader(end_bias=1.0)
    (question, passages), answer = next(
        (q, a) for q, a in zip(questions(), one.predict(questions()), strict=True) if a.text
    )
    giver = passages[answer.evidence[0].passage]
    alone, twice = (one.answer(question, [giver] * n) for n in (1, 2))
    assert alone.text == twice.text == answer.text
    s = np.exp(alone.score)
    mean = (s + np.sqrt(s * s + 4 * s)) / 2  # s = m^2 / (m + 1)
    assert np.exp(twice.score) == pytest.approx(2 * mean**2 / (2 * mean + 1), rel=1e-4)
    assert [e.passage for e in twice.evidence] == [0, 1]


@pytest.mark.on_jax
def test_windows_of_one_passage_give_one_answer(some_reader):
    long = "长江流过上海，全长6300公里。" * 3
    lengths = ReadingLengths(passage_length=14, question_length=12, answer_length=5, stride=4)
    one = Reader(some_reader.model, some_reader.tokenizer, lengths, "mlm")
    [windows] = encode_windows(one.tokenizer, lengths, [long])
    end, compared = one.tokenizer.sep_id, 0
    for question, _ in questions():
        empty = {w: probabilities(one, window, question)[0, end] for w, window in enumerate(windows)}
        found = one.answer(question, [long])
        for e in found.evidence:
            better = [w for w in empty if empty[w] < empty[e.window] - 1e-6]
            cut = Reader(
                one.model, one.tokenizer, ReadingLengths(passage_length=14, question_length=12, answer_length=5), "mlm"
            )
            for w in better:  # the windows that think less of an empty answer have none of their own
                place = windows[w].offsets
                assert cut.answer(question, [long[place[1][0] : place[-2][1]]]).text == ""
            compared += 1
    assert compared


def test_a_sample_is_passage_question_and_masks_and_its_loss_counts_the_answer_alone(some_reader):
    tokenizer = some_reader.tokenizer
    question = Question("1", "谁在上海？", (Passage(PASSAGES[2], "上海"),), ("上海",))
    examples = ReadingExamples([question], tokenizer, LENGTHS, method="mlm")
    batch = examples.arrays(examples.batches(0, 1)[0], 2)
    ids = batch["token_ids"][0]
    shown = "".join(tokenizer.ids_to_tokens(ids[ids > 0]))
    assert shown.startswith("[CLS]长江流过上海")
    assert shown.endswith("[SEP]" + "[MASK]" * 5)
    assert (batch["segment_ids"][0] == (ids == tokenizer.mask_id)).all()
    assert (ids[batch["target_positions"][0]] == tokenizer.mask_id).all()
    assert tokenizer.ids_to_tokens(batch["target_ids"][0][:3]) == ["上", "海", "[SEP]"]
    assert batch["target_weights"].tolist() == [[1, 1, 1, 0, 0], [0] * 5]
    loss = float(target_loss(some_reader.model, batch, training=False))
    [[window]] = encode_windows(tokenizer, LENGTHS, [PASSAGES[2]])
    p = probabilities(some_reader, window, "谁在上海？")
    assert loss == pytest.approx(-np.log(p[range(3), batch["target_ids"][0][:3]]).mean(), abs=1e-4)


@pytest.mark.on_jax
def test_padding_and_neighbours_do_not_change_a_masked_batch():
    sources, answers = [[2, 5, 3, 6, 3], [2, 5, 6, 7, 3, 6, 8, 3]], [[7, 3], [3]]
    both = masked_batch(sources, answers, LENGTHS, 4, 3)
    for row, (source, answer) in enumerate(zip(sources, answers, strict=True)):
        alone = masked_batch([source], [answer], LENGTHS, 4)
        width = len(source) + LENGTHS.answer_length
        assert (alone["token_ids"][0, :width] == both["token_ids"][row, :width]).all()
        assert (both["token_ids"][row, width:] == 0).all()
        assert (alone["target_positions"][0] == both["target_positions"][row]).all()


@pytest.mark.once
def test_a_saved_reader_keeps_its_method_and_beams_are_refused(some_reader, tmp_path):
    some_reader.save(tmp_path)
    again = nlptasks.load(tmp_path)
    assert again.method == "mlm"
    question, passages = questions()[0]
    assert again.answer(question, passages) == some_reader.answer(question, passages)
    with pytest.raises(ValueError, match="has no beams"):
        again.answer(question, passages, beam_size=2)
    with pytest.raises(ValueError, match=r"method must be one of .* attention 'bidirectional'"):
        Reader(some_reader.model, some_reader.tokenizer, LENGTHS)


@pytest.mark.on_jax
def test_a_generative_answer_takes_the_most_probable_tokens_until_the_end(some_reader):
    question, passages = questions()[1]
    answer = some_reader.answer(question, passages[:1], mode="generative")
    [[window]] = encode_windows(some_reader.tokenizer, LENGTHS, passages[:1])
    best = 1 + probabilities(some_reader, window, question)[:, 1:].argmax(axis=1)
    ends = np.flatnonzero(best == some_reader.tokenizer.sep_id)
    assert answer.text == some_reader.tokenizer.decode(best[: ends[0]] if len(ends) else best)
