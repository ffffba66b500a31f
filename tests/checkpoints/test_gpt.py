"""GPT and GPT-2 against transformers, live, both directions, on random weights."""

import copy
import json

import numpy as np
import pytest
from keras import ops

import nlptasks
from nlptasks.checkpoints.huggingface import save_directory
from tests.checkpoints.test_huggingface import compare
from tests.parity import TOLERANCE, distance

torch = pytest.importorskip("torch", reason="the test extra brings torch")
transformers = pytest.importorskip("transformers", reason="the test extra brings transformers")

V, D, P = 83, 30, 37
# name: their class, their config, our arguments
CASES = {
    "gpt2": ("GPT2Model", {}, {}),
    "gpt2_lm": ("GPT2LMHeadModel", {"n_inner": 41, "activation_function": "relu"}, {"application": "lm"}),
    "gpt": ("OpenAIGPTModel", {}, {}),
    "gpt_lm": ("OpenAIGPTLMHeadModel", {"afn": "silu"}, {"application": "lm", "model": "gpt"}),
}


def some_ids():
    token_ids = np.random.default_rng(4).integers(1, V, (3, 17)).astype("int32")
    token_ids[1, 11:] = 0
    return token_ids


def saved(case, directory):
    """Their random model of the case, saved there."""
    kind, changes, _ = CASES[case]
    kind = getattr(transformers, kind)
    sizes = {"vocab_size": V, "n_embd": D, "n_layer": 3, "n_head": 5, "n_positions": P, "pad_token_id": 0}
    torch.manual_seed(3)
    model = kind(kind.config_class(**(sizes | {"initializer_range": 0.25} | changes)))
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if "ln_" in name or name.endswith("bias"):
                parameter.add_(torch.randn_like(parameter) * 0.3)
    model.save_pretrained(directory)
    return model


def theirs(model, token_ids):
    """What their model computes in float64."""
    token_ids = torch.tensor(token_ids.astype("int64"))
    with torch.no_grad():
        found = copy.deepcopy(model).double().eval()(input_ids=token_ids, attention_mask=(token_ids != 0).long())
    return found.logits if hasattr(found, "logits") else found.last_hidden_state


def built(case, directory):
    arguments = CASES[case][2]
    linear = {"with_mlm": "linear"} if "application" in arguments else {}
    return nlptasks.build_transformer_model(directory, directory, **arguments, **linear)


@pytest.mark.parametrize("case", CASES)
def test_we_load_theirs(case, tmp_path):
    token_ids, model = some_ids(), saved(case, tmp_path)
    ours = built(case, tmp_path)
    assert (ours.config.attention, ours.config.norm_place) == ("causal", "pre" if "gpt2" in case else "post")
    assert compare(ours(token_ids), theirs(model, token_ids), token_ids) < TOLERANCE


@pytest.mark.once
@pytest.mark.parametrize("case", CASES)
def test_they_load_ours(case, tmp_path):
    token_ids = some_ids()
    saved(case, tmp_path)
    ours = built(case, tmp_path)
    save_directory(ours, tmp_path / "ours")
    kind = getattr(transformers, CASES[case][0])
    loaded, report = kind.from_pretrained(tmp_path / "ours", output_loading_info=True)
    assert not report["unexpected_keys"]
    assert not report["missing_keys"]
    assert json.loads((tmp_path / "ours" / "config.json").read_text())["architectures"] == [CASES[case][0]]
    assert compare(ours(token_ids), theirs(loaded, token_ids), token_ids) < TOLERANCE


@pytest.mark.once
def test_a_gpt2_without_padding_takes_its_end_for_it(tmp_path):
    saved("gpt2", tmp_path)
    values = json.loads((tmp_path / "config.json").read_text())
    (tmp_path / "config.json").write_text(json.dumps(values | {"pad_token_id": None, "eos_token_id": 82}))
    ours = nlptasks.build_transformer_model(tmp_path, tmp_path, application="lm")
    assert ours.config.pad_id == 82
    generator = nlptasks.Generator(ours, end_id=82)  # which may be generated, though it is padding
    assert generator.generate([[5, 0, 7]], max_length=3)


@pytest.mark.parametrize(
    ("model", "changes"),
    [
        ("gau_alpha", {"attention_key_size": 6}),
        ("gpt2_ml", {}),
        ("roformer_v2", {"hidden_act": "relu"}),
        ("gpt", {"type_vocab_size": 3}),
    ],
)
@pytest.mark.once
def test_one_that_transformers_does_not_have_is_a_model_of_ours(model, changes, tmp_path):
    config = {"vocab_size": V, "hidden_size": D, "num_hidden_layers": 2, "num_attention_heads": 5}
    config |= {"intermediate_size": 41, "max_position_embeddings": P} | changes
    (tmp_path / "config.json").write_text(json.dumps(config))
    ours = nlptasks.build_transformer_model(tmp_path, model=model, application="lm", with_mlm="linear")
    save_directory(ours, tmp_path / "ours")
    assert json.loads((tmp_path / "ours" / "config.json").read_text())["model_type"] == "nlptasks"
    again = nlptasks.build_transformer_model(tmp_path / "ours", tmp_path / "ours", application="lm", with_mlm="linear")
    assert again.config == ours.config
    token_ids = some_ids()
    assert distance(ops.convert_to_numpy(again(token_ids)), ops.convert_to_numpy(ours(token_ids))) == 0
