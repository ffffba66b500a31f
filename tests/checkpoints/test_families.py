"""ALBERT, ELECTRA and RoFormer against transformers, live, both directions; what fits no family is refused."""

import json

import numpy as np
import pytest
from keras import ops
from safetensors.numpy import load_file, save_file

import nlptasks
from nlptasks.checkpoints.families import FAMILIES
from nlptasks.checkpoints.huggingface import save_directory
from tests.checkpoints.test_huggingface import D, check, some_inputs, their_model, theirs
from tests.parity import TOLERANCE, distance

torch = pytest.importorskip("torch", reason="the test extra brings torch")
transformers = pytest.importorskip("transformers", reason="the test extra brings transformers")

E = 22
# name: their class, their config, our arguments, their output
CASES = {
    "albert": ("AlbertModel", {}, {}, "last_hidden_state"),
    "albert_pool": ("AlbertModel", {}, {"with_pool": True}, "pooler_output"),
    "albert_mlm": ("AlbertForMaskedLM", {"hidden_act": "gelu_new"}, {"with_mlm": "linear"}, "logits"),
    "albert_unshared": ("AlbertModel", {}, {"model": "albert_unshared"}, "last_hidden_state"),
    "electra": ("ElectraModel", {}, {}, "last_hidden_state"),
    "electra_discriminator": ("ElectraForPreTraining", {}, {"with_discriminator": "linear"}, "logits"),
    "electra_mlm": ("ElectraForMaskedLM", {}, {"with_mlm": "linear"}, "logits"),
    "electra_lm": (
        "ElectraForCausalLM",
        {"is_decoder": True},
        {"application": "lm", "with_mlm": "linear"},
        "logits",
    ),
    "electra_without_mapping": ("ElectraForPreTraining", {"embedding_size": D}, {"with_discriminator": True}, None),
    "roformer": ("RoFormerModel", {}, {}, "last_hidden_state"),
    "roformer_mlm": ("RoFormerForMaskedLM", {"embedding_size": D}, {"with_mlm": "linear"}, "logits"),
    "roformer_lm": (
        "RoFormerForCausalLM",
        {"is_decoder": True},
        {"application": "lm", "with_mlm": "linear"},
        "logits",
    ),
}


def saved(case, directory):
    """Their random model of the case, saved there."""
    kind, changes, _, _ = CASES[case]
    model = their_model(getattr(transformers, kind), **({"embedding_size": E} | changes))
    model.save_pretrained(directory)
    return model


def ours_and_theirs(case, model, ours, inputs):
    """The output of both, in their shape."""
    value, field = ours(list(inputs)), CASES[case][3]
    reference = theirs(model, inputs)
    reference = torch.sigmoid(reference.logits) if field is None else getattr(reference, field)
    return (ops.squeeze(value, -1) if "ForPreTraining" in CASES[case][0] else value), reference


@pytest.mark.parametrize("case", CASES)
def test_we_load_theirs(case, tmp_path):
    inputs, model = some_inputs(), saved(case, tmp_path)
    ours = nlptasks.build_transformer_model(tmp_path, tmp_path, **CASES[case][2])
    check(*ours_and_theirs(case, model, ours, inputs), inputs[0])


@pytest.mark.parametrize("case", [case for case in CASES if case != "albert_unshared"])
@pytest.mark.once
def test_they_load_ours(case, tmp_path):
    inputs = some_inputs()
    saved(case, tmp_path / "theirs")
    arguments = CASES[case][2]
    ours = nlptasks.build_transformer_model(tmp_path / "theirs", tmp_path / "theirs", **arguments)
    save_directory(ours, tmp_path / "ours")
    kind = getattr(transformers, CASES[case][0])
    loaded, report = kind.from_pretrained(tmp_path / "ours", output_loading_info=True)
    assert report["missing_keys"] <= ({"pooler.weight", "pooler.bias"} if case == "albert" else set())
    assert not report["unexpected_keys"]
    config = json.loads((tmp_path / "ours" / "config.json").read_text())
    assert config["architectures"] == [kind.__name__]
    check(*ours_and_theirs(case, loaded, ours, inputs), inputs[0])
    check(ours.encode(*inputs), theirs(loaded.base_model, inputs).last_hidden_state, inputs[0])


def test_an_albert_pretraining_model_of_theirs_loads_with_both_heads(tmp_path):
    inputs, model = some_inputs(), their_model(transformers.AlbertForPreTraining, embedding_size=E)
    model.save_pretrained(tmp_path)
    ours = nlptasks.build_transformer_model(tmp_path, tmp_path, model="albert", with_nsp=True, with_mlm="linear")
    reference = theirs(model, inputs)
    order, logits = ours(list(inputs))
    check(logits, reference.prediction_logits, inputs[0])
    check(order, torch.softmax(reference.sop_logits, -1), inputs[0])
    save_directory(ours, tmp_path / "again")
    check(logits, theirs(type(model).from_pretrained(tmp_path / "again"), inputs).prediction_logits, inputs[0])


def test_a_shared_and_an_unshared_albert_start_equal_and_hold_different_weights(tmp_path):
    saved("albert", tmp_path)
    shared = nlptasks.build_transformer_model(tmp_path, tmp_path)
    unshared = nlptasks.build_transformer_model(tmp_path, tmp_path, model="albert_unshared")
    inputs = some_inputs()
    values = [ops.convert_to_numpy(model(list(inputs))) for model in (shared, unshared)]
    assert distance(*values) < TOLERANCE
    layers = shared.config.num_layers
    block = shared.blocks[0].count_params()
    assert unshared.count_params() == shared.count_params() + (layers - 1) * block
    save_directory(unshared, tmp_path / "unshared")  # which is what transformers calls ELECTRA
    assert json.loads((tmp_path / "unshared" / "config.json").read_text())["model_type"] == "electra"
    again = nlptasks.build_transformer_model(tmp_path / "unshared", tmp_path / "unshared")
    assert distance(ops.convert_to_numpy(again(list(inputs))), values[1]) == 0


def test_a_nezha_file_of_transformers_4_loads_whether_or_not_it_holds_the_fixed_vectors(tmp_path):
    config = {"model_type": "nezha", "vocab_size": 31, "hidden_size": 12, "num_hidden_layers": 2}
    config |= {"num_attention_heads": 3, "intermediate_size": 17, "max_relative_position": 5}
    (tmp_path / "config.json").write_text(json.dumps(config))
    fresh = nlptasks.build_transformer_model(tmp_path)
    assert (fresh.config.position, fresh.config.relative_distance) == ("relative", 5)
    save_directory(fresh, tmp_path / "ours")
    tensors = load_file(tmp_path / "ours" / "model.safetensors")
    named = {name.replace("bert.", "nezha."): array for name, array in tensors.items()}
    vectors = "nezha.encoder.layer.0.attention.self.relative_positions_encoding.positions_encoding"
    save_file(named | {vectors: np.zeros((3, 3, 4), "float32")}, tmp_path / "model.safetensors")
    again = nlptasks.build_transformer_model(tmp_path, tmp_path)
    token_ids = np.arange(1, 24)[None]
    assert distance(ops.convert_to_numpy(again(token_ids)), ops.convert_to_numpy(fresh(token_ids))) == 0


@pytest.mark.parametrize(
    ("case", "arguments", "message"),
    [
        ("albert", {"model": "bert"}, r"model_type 'albert' in the file, but model='bert' was asked for"),
        ("roformer", {"model": "nezha"}, r"model_type 'roformer' in the file, but model='nezha' was asked for"),
        ("electra", {"model": "roberta"}, r"model_type 'electra' in the file, but model='roberta' was asked for"),
        ("roformer", {"position": "learned"}, r"means position='rotary'. Received: position='learned'"),
        ("roformer", {"model": "roberto"}, r"model must be one of .*Received: model='roberto'"),
        ("albert", {"hidden_size": 40}, r"model \(40, 40\), file \(30, 30\)"),
    ],
)
def test_another_family_or_size_is_one_clear_line(case, arguments, message, tmp_path):
    saved(case, tmp_path)
    with pytest.raises(ValueError, match=message) as error:
        nlptasks.build_transformer_model(tmp_path, tmp_path, **arguments)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("family", ["albert", "roformer"])
def test_the_weights_of_another_family_under_a_silent_config_are_named(family, tmp_path):
    saved(family, tmp_path)
    values = json.loads((tmp_path / "config.json").read_text())
    del values["model_type"]
    (tmp_path / "config.json").write_text(json.dumps(values))
    with pytest.raises(ValueError, match=rf'a checkpoint of the {family} family.*model="{family}"'):
        nlptasks.build_transformer_model(tmp_path, tmp_path)
    nlptasks.build_transformer_model(tmp_path, tmp_path, model=family)


def test_an_albert_of_several_groups_is_refused(tmp_path):
    saved("albert", tmp_path)
    values = json.loads((tmp_path / "config.json").read_text()) | {"num_hidden_groups": 3}
    (tmp_path / "config.json").write_text(json.dumps(values))
    with pytest.raises(ValueError, match="num_hidden_groups=3 is not supported"):
        nlptasks.build_transformer_model(tmp_path, tmp_path)


def test_every_class_named_in_the_table_exists_in_transformers():
    for model_type, family in FAMILIES.items():
        for name in family[:4]:
            assert name is None or getattr(transformers, name).config_class.model_type == model_type
