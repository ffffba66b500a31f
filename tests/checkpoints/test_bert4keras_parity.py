"""Equal weights, equal inputs: our outputs against those that real bert4keras 0.11.5 computed (tests/golden)."""

import shutil

import numpy as np
import pytest
from keras import ops

import nlptasks
from tests.golden.bert4keras_cases import CASES, GOOGLE
from tests.parity import TOLERANCE, at_real_positions, distance


def golden_outputs(folder):
    """The recorded inputs and outputs by name."""
    with np.load(folder / "outputs.npz", allow_pickle=False) as file:
        return dict(file)


def fed(case, outputs):
    """What the case's model was called on."""
    condition = [outputs[name] for name in (f"{case}_condition",) if name in outputs]
    return [outputs["token_ids"], outputs["segment_ids"], *condition]


def largest_distance(folder, case, checkpoint, outputs):
    """The largest distance of any output of the case at real positions."""
    model = nlptasks.build_transformer_model(folder / f"{case}.json", folder / checkpoint, **CASES[case])
    token_ids = outputs["token_ids"]
    values = model(fed(case, outputs))
    values = values if isinstance(values, list) else [values]
    recorded = [name for name in outputs if name.rpartition("_")[0] == case and name.rpartition("_")[2].isdigit()]
    assert len(values) == len(recorded) > 0
    return max(
        distance(
            at_real_positions(ops.convert_to_numpy(value), token_ids),
            at_real_positions(outputs[f"{case}_{i}"], token_ids),
        )
        for i, value in enumerate(values)
    )


@pytest.fixture(scope="module")
def outputs(golden):
    return golden_outputs(golden / "bert4keras")


@pytest.mark.parametrize("case", CASES)
def test_hdf5_weights_of_bert4keras_give_its_outputs(case, golden, outputs):
    assert largest_distance(golden / "bert4keras", case, f"{case}.h5", outputs) < TOLERANCE


@pytest.mark.parametrize("case", GOOGLE)
def test_a_google_checkpoint_gives_the_outputs_of_bert4keras(case, golden, outputs):
    assert largest_distance(golden / "bert4keras", case, GOOGLE[case], outputs) < TOLERANCE


def test_googles_directory_layout_loads_as_a_directory(golden, outputs, tmp_path):
    folder = golden / "bert4keras"
    shutil.copy(folder / "encoder.json", tmp_path / "bert_config.json")
    for file in folder.glob("google.ckpt.*"):
        shutil.copy(file, tmp_path / file.name.replace("google", "bert_model"))
    inputs = [outputs["token_ids"], outputs["segment_ids"]]
    model = nlptasks.build_transformer_model(tmp_path, tmp_path)
    reference = nlptasks.build_transformer_model(folder / "encoder.json", folder / "google.ckpt")
    assert distance(ops.convert_to_numpy(model(inputs)), ops.convert_to_numpy(reference(inputs))) == 0


def test_heads_not_asked_for_are_passed_over(golden, outputs):
    folder = golden / "bert4keras"
    model = nlptasks.build_transformer_model(folder / "encoder.json", folder / "google.ckpt")
    whole = nlptasks.build_transformer_model(
        folder / "pool_nsp_mlm.json", folder / "google.ckpt", **CASES["pool_nsp_mlm"]
    )
    inputs = outputs["token_ids"], outputs["segment_ids"]
    ours, reference = model(list(inputs)), whole.encode(*inputs)
    assert distance(ops.convert_to_numpy(ours), ops.convert_to_numpy(reference)) == 0
