"""Equal weights, equal inputs: our outputs against those that real bert4keras 0.11.5 computed (tests/golden)."""

import numpy as np
import pytest
from keras import ops

import nlptasks
from tests.golden.bert4keras_cases import CASES
from tests.parity import TOLERANCE, at_real_positions, distance


@pytest.fixture(scope="module")
def outputs(golden):
    with np.load(golden / "bert4keras" / "outputs.npz", allow_pickle=False) as file:
        return dict(file)


def check(model, outputs, case):
    token_ids, segment_ids = outputs["token_ids"], outputs["segment_ids"]
    values = model([token_ids, segment_ids])
    values = values if isinstance(values, list) else [values]
    assert len(values) == sum(name.startswith(f"{case}_") and name[len(case) + 1 :].isdigit() for name in outputs)
    for i, value in enumerate(values):
        value = at_real_positions(ops.convert_to_numpy(value), token_ids)
        assert distance(value, at_real_positions(outputs[f"{case}_{i}"], token_ids)) < TOLERANCE


@pytest.mark.parametrize("case", CASES)
def test_hdf5_weights_of_bert4keras_give_its_outputs(case, golden, outputs):
    folder = golden / "bert4keras"
    model = nlptasks.build_transformer_model(folder / f"{case}.json", folder / f"{case}.h5", **CASES[case])
    check(model, outputs, case)


def test_a_google_checkpoint_gives_the_outputs_of_bert4keras(golden, outputs):
    folder = golden / "bert4keras"
    case = "pool_nsp_mlm"
    model = nlptasks.build_transformer_model(folder / f"{case}.json", folder / "google.ckpt", **CASES[case])
    check(model, outputs, case)


def test_heads_not_asked_for_are_passed_over(golden, outputs):
    folder = golden / "bert4keras"
    model = nlptasks.build_transformer_model(folder / "encoder.json", folder / "google.ckpt")
    whole = nlptasks.build_transformer_model(
        folder / "pool_nsp_mlm.json", folder / "google.ckpt", **CASES["pool_nsp_mlm"]
    )
    inputs = outputs["token_ids"], outputs["segment_ids"]
    ours, reference = model(list(inputs)), whole.encode(*inputs)
    assert distance(ops.convert_to_numpy(ours), ops.convert_to_numpy(reference)) == 0
