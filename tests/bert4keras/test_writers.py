"""The graphs of GPTs, T5s, RoFormerV2 and GAU-alpha compute what real bert4keras 0.11.5 computed (tests/golden)."""

import shutil

import h5py
import numpy as np
import pytest
from keras import ops

from nlptasks.bert4keras.gelu import set_gelu
from nlptasks.bert4keras.models import build_transformer_model
from tests.golden.writers_cases import CASES, OF_GRAPHS, T5_CASES
from tests.parity import TOLERANCE, at_real_positions, distance


@pytest.fixture(scope="module")
def outputs(golden):
    with np.load(golden / "writers" / "outputs.npz", allow_pickle=False) as file:
        return dict(file)


def built(case, folder, **more):
    arguments = (CASES | OF_GRAPHS)[case].arguments | more
    if case.startswith("gpt"):
        arguments["final_activation"] = "linear"
    set_gelu("tanh")
    try:
        return build_transformer_model(str(folder / f"{case}.json"), str(folder / f"{case}.h5"), **arguments)
    finally:
        set_gelu("erf")


def at_both(model, case, outputs):
    """What model and bert4keras compute at real positions."""
    two = case in (*T5_CASES, *OF_GRAPHS)
    source, ids = outputs["token_ids"], outputs["target_ids" if two else "token_ids"]
    fed = [source, ids] if two else [source, outputs["segment_ids"]][: len(model.inputs)]
    value = ops.convert_to_numpy(model(fed))
    return at_real_positions(value, ids), at_real_positions(outputs[case], ids)


@pytest.mark.parametrize(
    "case",
    [
        case if case in ("gpt2_ml", "gau_alpha_lm", "t5_cross") else pytest.param(case, marks=pytest.mark.once)
        for case in [*CASES, *OF_GRAPHS]
    ],
)
def test_the_graph_computes_what_bert4keras_computes(case, golden, outputs):
    assert distance(*at_both(built(case, golden / "writers"), case, outputs)) < TOLERANCE


@pytest.mark.once
def test_a_t5_has_an_encoder_and_a_decoder_of_their_own(golden, outputs):
    t5 = built("t5_1_1", golden / "writers", return_keras_model=False, name="T5")
    source, target = outputs["token_ids"], outputs["target_ids"]
    states = t5.encoder.predict(source, verbose=0)
    alone = t5.decoder.predict([states[3:4, :5], target[3:4]], verbose=0)  # a row of five tokens, without its padding
    assert distance(alone, outputs["t5_1_1"][3:4]) < TOLERANCE
    names = {layer.name for layer in t5.model.layers}
    assert {"Embedding-Token", "Decoder-Transformer-1-MultiHeadCrossAttention-Norm", "Decoder-Output-LM"} <= names
    assert [one.name for one in (t5.encoder, t5.decoder)] == ["T5_Encoder", "T5_Decoder"]


@pytest.mark.once
@pytest.mark.parametrize(
    ("case", "layer", "names"),
    [
        ("mt5_1_1", "Decoder-Output-LM", ["kernel"]),
        ("gau_alpha", "Transformer-1-GatedAttentionUnit", ["kernel", "query_gamma", "key_gamma", "kernel_1"]),
    ],
)
def test_saved_weights_have_the_shapes_and_the_order_of_bert4keras(case, layer, names, golden, outputs, tmp_path):
    folder, path = golden / "writers", tmp_path / "ours.weights"
    model = built(case, folder)
    model.save_weights(path)
    with h5py.File(folder / f"{case}.h5") as theirs, h5py.File(path) as ours:
        written = [name.decode() for name in ours[layer].attrs["weight_names"]]
        assert written == [f"{layer}/{name}:0" for name in names]
        for mine, its in zip(written, theirs[layer].attrs["weight_names"], strict=True):
            assert (ours[layer][mine][()] == theirs[layer][its][()]).all()
    if case == "mt5_1_1":
        older = _with_the_matrix_of_an_older_version(path, tmp_path / "older.weights")
        assert loaded(model, older, case, outputs) < TOLERANCE
    for file in (path, folder / f"{case}.h5"):
        assert loaded(model, file, case, outputs) < TOLERANCE


def loaded(model, path, case, outputs):
    """The distance to bert4keras after all weights were zero and came from that file."""
    for weight in model.weights:
        weight.assign(ops.zeros_like(weight))
    model.load_weights(path)
    return distance(*at_both(model, case, outputs))


def _with_the_matrix_of_an_older_version(path, copy):
    """A file whose output matrix has a row for each token."""
    shutil.copyfile(path, copy)
    name = "Decoder-Output-LM/Decoder-Output-LM/kernel:0"
    with h5py.File(copy, "r+") as file:
        turned = file[name][()].T
        del file[name]
        file[name] = turned
    return copy
