"""The reader against real bert4keras: decoded answers, and the loss curve of equal training."""

import json

import numpy as np
import pytest
from keras import ops, optimizers

import nlptasks
from nlptasks.applications.reading.voting import AnswerDecoder
from nlptasks.applications.reading.windows import Row
from nlptasks.applications.seq2seq_loss import target_batch, target_log_probabilities, target_loss
from nlptasks.backend import compile_train_step
from tests.golden.reading_cases import END, MAX_ANSWER, questions, training_batches


@pytest.fixture(scope="module")
def recorded(golden):
    return json.loads((golden / "bert4keras" / "reading.json").read_text())


def rows_of(questions):
    """Passages that are read whole, each a row."""
    return [
        Row(q, p, 0, source, text, offsets=None)
        for q, (sources, texts) in enumerate(questions)
        for p, (source, text) in enumerate(zip(sources, texts, strict=True))
    ]


@pytest.fixture(scope="module")
def decoder(golden):
    folder = golden / "bert4keras"
    model = nlptasks.build_transformer_model(folder / "unilm.json", folder / "unilm.h5", application="unilm")
    return AnswerDecoder(model, END)


@pytest.mark.parametrize("mode", ["extractive", "generative"])
def test_answers_equal_those_of_naive_uncached_decoding_in_bert4keras(mode, decoder, recorded):
    def answers(asked):
        return [a.tokens for a in decoder.decode(rows_of(asked), MAX_ANSWER, extractive=mode == "extractive")]

    cases = questions()
    found = answers(cases)
    assert found == recorded[mode]
    assert 0 < sum(not tokens for tokens in found) < len(found)
    alone = [number for number, (sources, _) in enumerate(cases) if len(sources) == 3]  # one number: one program
    assert len(alone) > 3
    for number in alone:
        assert answers(cases[number : number + 1]) == [recorded[mode][number]]


@pytest.mark.parametrize("beam_size", [1, 3])
def test_each_passage_tells_the_probability_of_the_answer_that_running_it_whole_gives(beam_size, decoder):
    rows = rows_of(questions())
    sources, targets, told = [], [], []
    for number, answer in enumerate(decoder.decode(rows, MAX_ANSWER, beam_size)):
        tokens = answer.tokens + [END] * (len(answer.tokens) < MAX_ANSWER)
        for index, log_probability in answer.log_probabilities.items():
            assert rows[index].question == number
            sources.append(rows[index].source)
            targets.append(tokens)
            told.append(log_probability)
    assert len(told) > 20
    batch = target_batch(sources, targets, max_length=29)
    log_p = ops.convert_to_numpy(target_log_probabilities(decoder.model, batch))
    whole = [row[: len(tokens)].sum() for row, tokens in zip(log_p, targets, strict=True)]
    assert told == pytest.approx(whole, abs=1e-4)


def loss_differences(folder):
    """|our loss - bert4keras' loss| of 200 training steps from equal weights on equal batches."""
    recorded = json.loads((folder / "reading.json").read_text())["losses"]
    model = nlptasks.build_transformer_model(folder / "training.json", folder / "training.h5", application="unilm")
    step = compile_train_step(model, optimizers.Adam(1e-3), lambda batch: target_loss(model, batch))
    losses = []
    for token_ids, segment_ids in training_batches():
        lengths, sources = (token_ids != 0).sum(axis=1), (token_ids != 0).sum(axis=1) - segment_ids.sum(axis=1)
        rows = list(zip(token_ids, sources, lengths, strict=True))
        batch = target_batch([ids[:s] for ids, s, _ in rows], [ids[s:n] for ids, s, n in rows], max_length=29)
        losses.append(float(ops.convert_to_numpy(step(batch))))
    assert len(losses) == len(recorded) == 200
    return np.abs(np.array(losses) - recorded)


def test_200_steps_of_equal_training_follow_the_loss_of_bert4keras_within_1e_4(golden):
    assert loss_differences(golden / "bert4keras").max() < 1e-4
