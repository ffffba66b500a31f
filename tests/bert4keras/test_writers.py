"""The graphs of GPTs, T5s and RoFormerV2 compute what real bert4keras 0.11.5 computed (tests/golden)."""

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


@pytest.mark.parametrize(
    "case",
    [
        case if case in ("gpt2_ml", "t5_cross") else pytest.param(case, marks=pytest.mark.once)
        for case in [*CASES, *OF_GRAPHS]
    ],
)
def test_the_graph_computes_what_bert4keras_computes(case, golden, outputs):
    model = built(case, golden / "writers")
    two = case in (*T5_CASES, *OF_GRAPHS)
    source, ids = outputs["token_ids"], outputs["target_ids" if two else "token_ids"]
    fed = [source, ids] if two else [source, outputs["segment_ids"]][: len(model.inputs)]
    value = ops.convert_to_numpy(model(fed))
    assert distance(at_real_positions(value, ids), at_real_positions(outputs[case], ids)) < TOLERANCE


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
