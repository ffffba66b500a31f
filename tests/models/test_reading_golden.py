"""The reader against real bert4keras: decoded answers, and the loss curve of equal training."""

import json

import numpy as np
import pytest
from keras import ops, optimizers

import nlptasks
from nlptasks.core.backend import compile_train_step
from nlptasks.generate.cached import CachedDecoder
from nlptasks.models.reading_decode import decode_answers
from nlptasks.models.seq2seq import target_loss
from tests.golden.reading_cases import END, MAX_ANSWER, questions, training_batches


@pytest.fixture(scope="module")
def recorded(golden):
    return json.loads((golden / "bert4keras" / "reading.json").read_text())


@pytest.mark.parametrize("mode", ["extractive", "generative"])
@pytest.mark.parametrize("together", [1, 40])
def test_answers_equal_those_of_naive_uncached_decoding_in_bert4keras(mode, together, golden, recorded):
    folder = golden / "bert4keras"
    model = nlptasks.build_transformer_model(folder / "unilm.json", folder / "unilm.h5", application="unilm")
    decoder, found = CachedDecoder(model), []
    cases = questions()
    for start in range(0, len(cases), together):
        sources, passages = zip(*cases[start : start + together], strict=True)
        decoded = decode_answers(
            decoder, sources, passages, END, MAX_ANSWER, extractive=mode == "extractive", row_multiple=8
        )
        found += [answer.tokens for answer in decoded]
    assert found == recorded[mode]
    assert 0 < sum(not tokens for tokens in found) < len(found)


def test_200_steps_of_equal_training_follow_the_loss_of_bert4keras_within_1e_4(golden, recorded):
    folder = golden / "bert4keras"
    model = nlptasks.build_transformer_model(folder / "training.json", folder / "training.h5", application="unilm")
    step = compile_train_step(model, optimizers.Adam(1e-3), lambda batch: target_loss(model, batch))
    losses = []
    for token_ids, segment_ids in training_batches():
        rows, most = len(token_ids), segment_ids.sum(axis=1).max()
        batch = {
            "token_ids": token_ids.astype("int32"),
            "segment_ids": segment_ids.astype("int32"),
            "target_positions": np.zeros((rows, most), "int32"),
            "target_ids": np.zeros((rows, most), "int32"),
            "target_weights": np.zeros((rows, most), "float32"),
        }
        for row in range(rows):
            positions = np.flatnonzero(segment_ids[row])
            batch["target_positions"][row, : len(positions)] = positions - 1
            batch["target_ids"][row, : len(positions)] = token_ids[row, positions]
            batch["target_weights"][row, : len(positions)] = 1
        losses.append(float(ops.convert_to_numpy(step(batch))))
    assert len(losses) == len(recorded["losses"]) == 200
    assert np.abs(np.array(losses) - recorded["losses"]).max() < 1e-4
