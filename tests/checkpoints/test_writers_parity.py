"""GPTs, T5s, RoFormerV2 and GAU-alpha: equal weights and inputs give what bert4keras 0.11.5 computed (tests/golden)."""

import numpy as np
import pytest
from keras import ops

import nlptasks
from tests.golden.writers_cases import CASES, GAU_CASES, T5_CASES, TENSORFLOW
from tests.parity import TOLERANCE, at_real_positions, distance


@pytest.fixture(scope="module")
def outputs(golden):
    with np.load(golden / "writers" / "outputs.npz", allow_pickle=False) as file:
        return dict(file)


def largest_distance(folder, case, file, outputs):
    """The largest distance of any logit of the case at real positions."""
    arguments, source = CASES[case].arguments, outputs["token_ids"]
    path = folder / f"{case}.json"
    if case in T5_CASES:
        model = nlptasks.build_encoder_decoder(path, folder / file, model=arguments["model"])
        value = ops.convert_to_numpy(model([source, outputs["target_ids"]]))
        if case != "t5_1_0":  # there, bert4keras scales the hidden states, and T5 does not
            value = value * model.config.hidden_size**-0.5
        ids = outputs["target_ids"]
    else:
        application = arguments.get("application", "encoder" if case in ("roformer_v2", "gau_alpha") else "lm")
        options = {"application": application, "with_mlm": True if "application" in arguments else "linear"}
        options |= {"model": arguments["model"]} | ({} if case in GAU_CASES else {"hidden_act": "gelu_new"})
        model = nlptasks.build_transformer_model(path, folder / file, **options)
        value, ids = ops.convert_to_numpy(model([source, outputs["segment_ids"]])), source
    return distance(at_real_positions(value, ids), at_real_positions(outputs[case], ids))


@pytest.mark.parametrize("case", CASES)
def test_hdf5_weights_of_bert4keras_give_its_outputs(case, golden, outputs):
    assert largest_distance(golden / "writers", case, f"{case}.h5", outputs) < TOLERANCE


@pytest.mark.parametrize("case", TENSORFLOW)
@pytest.mark.once
def test_a_checkpoint_of_the_authors_gives_the_outputs_of_bert4keras(case, golden, outputs):
    assert largest_distance(golden / "writers", case, f"{case}.ckpt", outputs) < TOLERANCE
