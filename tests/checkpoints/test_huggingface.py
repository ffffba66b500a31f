"""Against transformers, live, both directions: we load theirs, they load ours."""

import copy
import json

import numpy as np
import pytest
from keras import ops
from safetensors.numpy import load_file, save_file

import nlptasks
from nlptasks.checkpoints.huggingface import save_directory
from nlptasks.core import Transformer, TransformerConfig
from tests.parity import TOLERANCE, at_real_positions, distance, randomised

torch = pytest.importorskip("torch", reason="the test extra brings torch")
transformers = pytest.importorskip("transformers", reason="the test extra brings transformers")

V, D, L, N, F, P = 83, 30, 3, 5, 41, 37
SIZES = {"vocab_size": V, "hidden_size": D, "num_layers": L, "num_heads": N, "ffn_size": F, "max_positions": P}


def some_inputs():
    """Token and segment ids; the second row is padded."""
    rng = np.random.default_rng(4)
    token_ids = rng.integers(1, V, (3, 17)).astype("int32")
    segment_ids = np.zeros_like(token_ids)
    segment_ids[:, 8:] = 1
    token_ids[1, 11:] = 0
    segment_ids[1, 11:] = 0
    return token_ids, segment_ids


@pytest.fixture(scope="module")
def inputs():
    return some_inputs()


def theirs(model, inputs):
    """What their model computes in float64, so that the distance is our own rounding and not theirs too."""
    token_ids, segment_ids = (torch.tensor(x.astype("int64")) for x in inputs)
    with torch.no_grad():
        return (
            copy.deepcopy(model)
            .double()
            .eval()(input_ids=token_ids, token_type_ids=segment_ids, attention_mask=(token_ids != 0).to(torch.int64))
        )


def their_model(kind, **changes):
    torch.manual_seed(3)
    sizes = {
        "vocab_size": V,
        "hidden_size": D,
        "num_hidden_layers": L,
        "num_attention_heads": N,
        "intermediate_size": F,
        "max_position_embeddings": P,
        "initializer_range": 0.25,
    }
    config = kind.config_class(**(sizes | changes))
    model = kind(config)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if "LayerNorm" in name or name.endswith("bias"):
                parameter.add_(torch.randn_like(parameter) * 0.3)
    return model


def compare(value, reference, token_ids):
    """The largest distance at real positions."""
    value, reference = ops.convert_to_numpy(value), reference.numpy()
    return distance(at_real_positions(value, token_ids), at_real_positions(reference, token_ids))


def check(value, reference, token_ids):
    assert compare(value, reference, token_ids) < TOLERANCE


def test_we_load_a_pretraining_model_of_theirs(inputs, tmp_path):
    model = their_model(transformers.BertForPreTraining)
    model.save_pretrained(tmp_path)
    ours = nlptasks.build_transformer_model(tmp_path, tmp_path, with_nsp=True, with_mlm="linear")
    reference = theirs(model, inputs)
    nsp, logits = ours(list(inputs))
    check(logits, reference.prediction_logits, inputs[0])
    check(nsp, torch.softmax(reference.seq_relationship_logits, -1), inputs[0])


@pytest.mark.parametrize("activation", ["gelu", "gelu_new", "relu"])
@pytest.mark.once
def test_we_load_a_bare_model_of_theirs_without_prefix(activation, inputs, tmp_path):
    model = their_model(transformers.BertModel, hidden_act=activation)
    model.save_pretrained(tmp_path)
    reference = theirs(model, inputs)
    ours = nlptasks.build_transformer_model(tmp_path / "config.json", tmp_path)
    check(ours(list(inputs)), reference.last_hidden_state, inputs[0])
    pooled = nlptasks.build_transformer_model(tmp_path, tmp_path / "model.safetensors", with_pool=True)
    check(pooled(list(inputs)), reference.pooler_output, inputs[0])


def test_we_load_a_causal_model_of_theirs(inputs, tmp_path):
    model = their_model(transformers.BertLMHeadModel, is_decoder=True)
    model.save_pretrained(tmp_path)
    ours = nlptasks.build_transformer_model(tmp_path, tmp_path, application="lm", with_mlm="linear")
    check(ours(list(inputs)), theirs(model, inputs).logits, inputs[0])


@pytest.mark.once
def test_old_layer_norm_names_load(inputs, tmp_path):
    model = their_model(transformers.BertModel)
    model.save_pretrained(tmp_path)
    tensors = load_file(tmp_path / "model.safetensors")
    old = {
        "bert." + name.replace("LayerNorm.weight", "LayerNorm.gamma").replace("LayerNorm.bias", "LayerNorm.beta"): value
        for name, value in tensors.items()
    }
    assert any("gamma" in name for name in old)
    save_file(old | {"bert.embeddings.position_ids": np.arange(P)[None]}, tmp_path / "model.safetensors")
    ours = nlptasks.build_transformer_model(tmp_path, tmp_path)
    check(ours(list(inputs)), theirs(model, inputs).last_hidden_state, inputs[0])


@pytest.mark.once
def test_sharded_files_load(inputs, tmp_path):
    model = their_model(transformers.BertModel)
    model.save_pretrained(tmp_path, max_shard_size="20KB")
    assert not (tmp_path / "model.safetensors").exists()
    ours = nlptasks.build_transformer_model(tmp_path, tmp_path)
    check(ours(list(inputs)), theirs(model, inputs).last_hidden_state, inputs[0])


@pytest.mark.once
def test_half_precision_files_load_within_their_rounding(inputs, tmp_path):
    model = their_model(transformers.BertModel)
    reference = theirs(model, inputs).last_hidden_state.numpy()
    for dtype in (torch.float16, torch.bfloat16):
        model.to(dtype).save_pretrained(tmp_path)
        ours = nlptasks.build_transformer_model(tmp_path, tmp_path)
        value = at_real_positions(ops.convert_to_numpy(ours(list(inputs))), inputs[0])
        assert distance(value, at_real_positions(reference, inputs[0])) < (0.05 if dtype == torch.float16 else 0.5)


def ours(attention="bidirectional", **heads):
    model = Transformer(TransformerConfig(**SIZES, attention=attention), **heads)
    model.build()
    return randomised(model)


def test_they_load_a_bert_of_ours(inputs, tmp_path):
    model = ours(with_pool=True)
    save_directory(model, tmp_path)
    loaded, report = transformers.BertModel.from_pretrained(tmp_path, output_loading_info=True)
    assert not report["missing_keys"]
    assert not report["unexpected_keys"]
    check(model.encode(*inputs), theirs(loaded, inputs).last_hidden_state, inputs[0])
    check(model(list(inputs)), theirs(loaded, inputs).pooler_output, inputs[0])


@pytest.mark.once
def test_they_load_the_heads_of_ours(inputs, tmp_path):
    model = ours(with_nsp=True, with_mlm="linear")
    save_directory(model, tmp_path)
    loaded, report = transformers.AutoModelForPreTraining.from_pretrained(tmp_path, output_loading_info=True)
    assert not report["missing_keys"]
    check(model(list(inputs))[1], theirs(loaded, inputs).prediction_logits, inputs[0])


@pytest.mark.once
def test_they_load_a_causal_model_of_ours(inputs, tmp_path):
    model = ours("causal", with_mlm="linear")
    save_directory(model, tmp_path)
    loaded = transformers.AutoModelForCausalLM.from_pretrained(tmp_path)
    check(model(list(inputs)), theirs(loaded, inputs).logits, inputs[0])


UNFAITHFUL = [
    {"attention": "unilm"},
    {"key_size": 7},
    {"value_size": 4},
    {"segment_vocab_size": 0},
    {"position": "relative"},
    {"position": "rotary", "key_size": 8},
    {"talking_heads": True},
    {"residual_attention_scores": "previous"},
    {"residual_attention_scores": "running"},
    {"hierarchical_position": 0.4},
    {"shared_layers": True},
    {"shared_layers": True, "embedding_size": 11, "attention": "causal"},
    {"embedding_size": 11, "hidden_act": "gelu_new"},
]


@pytest.mark.parametrize("changes", UNFAITHFUL)
@pytest.mark.once
def test_they_refuse_what_they_could_not_compute_faithfully(changes, tmp_path):
    model = Transformer(TransformerConfig(**(SIZES | changes)), with_mlm="linear")
    model.build()
    save_directory(randomised(model), tmp_path)
    assert json.loads((tmp_path / "config.json").read_text())["model_type"] == "nlptasks"
    with pytest.raises(ValueError, match="nlptasks"):
        transformers.AutoModel.from_pretrained(tmp_path)


@pytest.mark.parametrize("changes", [*UNFAITHFUL, {}, {"attention": "causal"}])
@pytest.mark.once
def test_a_directory_of_ours_comes_back_equal(changes, inputs, tmp_path):
    config = TransformerConfig(**(SIZES | {"hidden_act": "gelu_new", "layer_norm_epsilon": 1e-5} | changes))
    model = Transformer(config, with_nsp=True, with_mlm="linear")
    model.build()
    save_directory(randomised(model), tmp_path)
    application = {"bidirectional": "encoder", "causal": "lm", "unilm": "unilm"}[config.attention]
    again = nlptasks.build_transformer_model(
        tmp_path, tmp_path, application=application, with_nsp=True, with_mlm="linear"
    )
    assert again.config == config
    for value, reference in zip(again(list(inputs)), model(list(inputs)), strict=True):
        assert distance(ops.convert_to_numpy(value), ops.convert_to_numpy(reference)) == 0
