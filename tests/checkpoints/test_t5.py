"""T5 v1.0, v1.1 and mT5 against transformers, live, both directions, on random weights; and Google's names."""

import copy
import json

import numpy as np
import pytest
from keras import ops
from safetensors.numpy import load_file, save_file

import nlptasks
from nlptasks.checkpoints.huggingface import save_directory
from tests.checkpoints.test_huggingface import compare
from tests.parity import TOLERANCE, distance

torch = pytest.importorskip("torch", reason="the test extra brings torch")
transformers = pytest.importorskip("transformers", reason="the test extra brings transformers")

V, D, H, F = 83, 30, 7, 41
# name: their class, their config, our model
CASES = {
    "t5_1_0": ("T5", {}, "t5"),
    "t5_1_0_gated": ("T5", {"feed_forward_proj": "gated-silu"}, "t5"),
    "t5_1_1": ("T5", {"feed_forward_proj": "gated-gelu", "tie_word_embeddings": False}, "t5"),
    "mt5": ("MT5", {"tie_word_embeddings": False}, "mt5"),
}


def some_ids():
    """Sources, of which one is padded, and targets that begin with <pad>."""
    rng = np.random.default_rng(4)
    source, target = rng.integers(1, V, (3, 19)).astype("int32"), rng.integers(1, V, (3, 11)).astype("int32")
    source[1, 13:] = 0
    target[:, 0] = 0
    return source, target


def saved(case, directory):
    """Their random model of the case, saved in that folder, with a head of its own where it has one."""
    kind, changes, _ = CASES[case]
    sizes = {"vocab_size": V, "d_model": D, "d_kv": H, "d_ff": F, "num_layers": 2, "num_decoder_layers": 3}
    config = getattr(transformers, f"{kind}Config")(**(sizes | {"num_heads": 5} | changes))
    torch.manual_seed(3)
    model = getattr(transformers, f"{kind}ForConditionalGeneration")(config)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            wide = 0.15 if parameter.ndim > 1 else 0.3  # scores are not scaled
            parameter.copy_(torch.randn_like(parameter) * wide + (1.0 if "layer_norm" in name else 0.0))
        if changes.get("tie_word_embeddings") is False:
            model.lm_head.weight = torch.nn.Parameter(torch.randn_like(model.lm_head.weight) * 0.15)
    # as the public files are, with every weight and the config's own word on the head
    tensors = {name: tensor.numpy().copy() for name, tensor in model.state_dict().items()}
    save_file(tensors, directory / "model.safetensors", metadata={"format": "pt"})
    values = config.to_dict() | {"tie_word_embeddings": changes.get("tie_word_embeddings", True)}
    values.pop("scale_decoder_outputs", None)
    (directory / "config.json").write_text(json.dumps(values))
    return model


def theirs(model, source, target):
    """What their model computes in float64."""
    source, target = (torch.tensor(x.astype("int64")) for x in (source, target))
    with torch.no_grad():
        model = copy.deepcopy(model).double().eval()
        return model(input_ids=source, decoder_input_ids=target, attention_mask=(source != 0).long()).logits


@pytest.mark.parametrize("case", CASES)
def test_we_load_theirs(case, tmp_path):
    inputs, model = some_ids(), saved(case, tmp_path)
    ours = nlptasks.build_encoder_decoder(tmp_path, tmp_path)
    untied = case in ("t5_1_1", "mt5")
    assert (ours.config.output, ours.config.decoder_layers) == ("untied" if untied else "scaled", 3)
    assert compare(ours(list(inputs)), theirs(model, *inputs), inputs[1] + 1) < TOLERANCE


@pytest.mark.once
@pytest.mark.parametrize("case", CASES)
def test_they_load_ours(case, tmp_path):
    inputs = some_ids()
    saved(case, tmp_path)
    ours = nlptasks.build_encoder_decoder(tmp_path, tmp_path)
    save_directory(ours, tmp_path / "ours", **({"model_type": "mt5"} if case == "mt5" else {}))
    kind = getattr(transformers, f"{CASES[case][0]}ForConditionalGeneration")
    loaded, report = kind.from_pretrained(tmp_path / "ours", output_loading_info=True)
    assert not report["unexpected_keys"]
    assert not report["missing_keys"]
    assert compare(ours(list(inputs)), theirs(loaded, *inputs), inputs[1] + 1) < TOLERANCE
    again = nlptasks.build_encoder_decoder(tmp_path / "ours", tmp_path / "ours")
    assert distance(ops.convert_to_numpy(again(list(inputs))), ops.convert_to_numpy(ours(list(inputs)))) == 0


@pytest.mark.once
def test_a_head_that_is_left_out_is_the_table_of_tokens(tmp_path):
    inputs, model = some_ids(), saved("mt5", tmp_path)
    tensors = load_file(tmp_path / "model.safetensors")
    names = [name for name in tensors if "embed_tokens" in name or name == "lm_head.weight"]
    save_file({name: array for name, array in tensors.items() if name not in names}, tmp_path / "model.safetensors")
    model.lm_head.weight = model.shared.weight
    ours = nlptasks.build_encoder_decoder(tmp_path, tmp_path)
    assert compare(ours(list(inputs)), theirs(model, *inputs), inputs[1] + 1) < TOLERANCE


@pytest.mark.once
@pytest.mark.parametrize("case", ["t5_1_0", "t5_1_1"])
def test_kept_tokens_have_the_logits_that_they_had(case, tmp_path):
    source, target = some_ids()
    saved(case, tmp_path)
    whole = nlptasks.build_encoder_decoder(tmp_path, tmp_path)
    kept = [0, 1, *sorted({*source.ravel(), *target.ravel()} - {0, 1})[::2], 82]
    new = {old: i for i, old in enumerate(kept)}
    source, target = (np.vectorize(lambda i: i if i in new else 1)(x) for x in (source, target))
    expected = ops.convert_to_numpy(whole([source, target]))[..., kept]
    small = nlptasks.build_encoder_decoder(tmp_path, tmp_path, keep_tokens=kept)
    found = small([np.vectorize(new.get)(x) for x in (source, target)])
    assert small.config.vocab_size == len(kept)
    assert distance(ops.convert_to_numpy(found), expected) < TOLERANCE


@pytest.mark.once
def test_one_that_transformers_cannot_compute_is_a_model_of_ours(tmp_path):
    inputs = some_ids()
    saved("t5_1_0", tmp_path)
    ours = nlptasks.build_encoder_decoder(tmp_path, talking_heads=True)
    save_directory(ours, tmp_path / "ours")
    values = json.loads((tmp_path / "ours" / "config.json").read_text())
    assert (values["model_type"], values["architectures"]) == ("nlptasks", ["EncoderDecoder"])
    again = nlptasks.build_encoder_decoder(tmp_path / "ours", tmp_path / "ours")
    assert distance(ops.convert_to_numpy(again(list(inputs))), ops.convert_to_numpy(ours(list(inputs)))) == 0


@pytest.mark.once
@pytest.mark.parametrize(
    ("change", "arguments", "message"),
    [
        ({}, {"model": "mt5"}, r"model_type 't5' in the file, but model='mt5' was asked for"),
        ({}, {"model": "bert"}, r"model must be one of \('t5', .*Received: model='bert'"),
        ({"model_type": "bert"}, {}, r"config\.json: Attention to an encoder goes with norm_place"),
        ({}, {"position": "learned"}, r"means position='bucketed'\. Received: position='learned'"),
        ({"decoder_start_token_id": 5}, {}, r"decoder_start_token_id=5 is not supported by this model"),
        ({"d_ff": 43}, {}, r"DenseReluDense\.wi\.weight \(model \(30, 43\), file \(30, 41\)\)"),
        ({}, {"keep_tokens": [0, 83]}, r"keep_tokens must lie in \[0, 83\)\. Received: 83"),
    ],
)
def test_what_does_not_fit_is_one_clear_line(change, arguments, message, tmp_path):
    saved("t5_1_0", tmp_path)
    values = json.loads((tmp_path / "config.json").read_text())
    (tmp_path / "config.json").write_text(json.dumps(values | change))
    with pytest.raises(ValueError, match=message) as error:
        nlptasks.build_encoder_decoder(tmp_path, tmp_path, **arguments)
    assert "\n" not in str(error.value)
    with pytest.raises(ValueError, match=r"config\.json: "):
        nlptasks.build_transformer_model(tmp_path, tmp_path)
