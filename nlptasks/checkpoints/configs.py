"""Foreign config files (`bert_config.json`, `config.json`) <-> `TransformerConfig`."""

import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from nlptasks.checkpoints.families import (
    DEFAULTS,
    ENCODER_DECODERS,
    FAMILIES,
    MODELS,
    ROBERTA_TYPES,
    transformers_family,
)
from nlptasks.checkpoints.gpt import TYPES as GPT_TYPES
from nlptasks.checkpoints.gpt import gpt_values
from nlptasks.checkpoints.t5 import t5_fields, t5_values
from nlptasks.core.config import TransformerConfig

OWN_MODEL_TYPE = "nlptasks"
# our field: the names it has elsewhere, best first
_NAMES = {
    "vocab_size": ("vocab_size",),
    "hidden_size": ("hidden_size", "d_model", "n_embd"),
    "num_layers": ("num_hidden_layers", "num_layers", "n_layer"),
    "num_heads": ("num_attention_heads", "num_heads", "n_head"),
    "ffn_size": ("intermediate_size", "d_ff", "n_inner"),
    "max_positions": ("max_position_embeddings", "max_position", "n_positions"),
    "segment_vocab_size": ("type_vocab_size", "segment_vocab_size"),
    "pad_id": ("pad_token_id",),
    "embedding_size": ("embedding_size",),
    "key_size": ("attention_key_size",),
    "value_size": ("attention_head_size", "d_kv"),
    "hidden_act": ("hidden_act", "activation_function", "afn"),
    "dropout": ("hidden_dropout_prob", "dropout_rate", "resid_pdrop"),
    "attention_dropout": ("attention_probs_dropout_prob", "attention_dropout_rate", "attn_pdrop"),
    "layer_norm_epsilon": ("layer_norm_eps", "layer_norm_epsilon"),
    "initializer_range": ("initializer_range",),
    "attention": ("attention",),
    "position": ("position",),
    "relative_distance": ("max_relative_position", "relative_attention_max_distance"),
    "hierarchical_position": ("hierarchical_position",),
    "shared_layers": ("shared_layers",),
    "residual_attention_scores": ("residual_attention_scores",),
    "talking_heads": ("talking_heads",),
    "layer_norm_cond_size": ("layer_norm_cond_size",),
    "layer_norm_cond_hidden_size": ("layer_norm_cond_hidden_size",),
    "layer_norm_cond_hidden_act": ("layer_norm_cond_hidden_act",),
    "norm_place": ("norm_place",),
    "norm": ("norm",),
    "embedding_norm": ("embedding_norm",),
    "use_bias": ("use_bias",),
    "attention_scale": ("attention_scale",),
    "gated_attention": ("gated_attention",),
    "gated_ffn": ("gated_ffn",),
    "output": ("output",),
    "relative_buckets": ("relative_attention_num_buckets",),
    "cross_attention": ("cross_attention",),
    "decoder_layers": ("num_decoder_layers",),
}
# written only where they are not what they are for BERT
_LAYOUT = (
    *("norm_place", "norm", "embedding_norm", "use_bias", "attention_scale", "gated_attention", "gated_ffn", "output"),
    *("relative_buckets", "cross_attention", "decoder_layers"),
)
# those that transformers' files do not have
_OWN_NAMES = (
    "attention_key_size",
    "attention_head_size",
    "attention",
    "position",
    "max_relative_position",
    "hierarchical_position",
    "shared_layers",
    "residual_attention_scores",
    "talking_heads",
    "layer_norm_cond_size",
    "layer_norm_cond_hidden_size",
    "layer_norm_cond_hidden_act",
)
_REQUIRED = ("vocab_size", "hidden_size", "num_layers", "num_heads", "ffn_size")
# what other programs can switch on in such a file and this core does not compute: (key, harmless values)
_UNSUPPORTED = (
    ("position_embedding_type", (None, "absolute")),
    ("shared_segment_embeddings", (None, False)),
    ("compound_tokens", (None,)),
    ("add_cross_attention", (None, False)),
    ("num_hidden_groups", (None, 1)),
    ("inner_group_num", (None, 1)),
    ("rotary_value", (None, False)),
    ("scale_attn_weights", (None, True)),
    ("scale_attn_by_inverse_layer_idx", (None, False)),
)
# the model that a file is of when it is asked for as another
_SAME_FILES = {"roberta": "bert", "albert_unshared": "albert", "gpt": "openai-gpt"}
_SAME_FILES |= {"t5.1.0": "t5", "t5.1.1": "t5", "mt5.1.1": "mt5"}


def config_from_json(
    values: Mapping[str, Any], source: str | Path, model: str | None = None, **overrides: Any
) -> TransformerConfig:
    """A config from the names of Google, Hugging Face and bert4keras; `overrides` take our names or theirs.

    Args:
        model: a name of `MODELS` or `ENCODER_DECODERS`; None: what the file's `model_type` says, "bert" where it says
            nothing.

    Raises:
        ValueError: the file is of another architecture, lacks a size, or asks for what this core does not compute; an
            override is unknown or contradicts `model`.
    """
    ours = {foreign: name for name, foreigns in _NAMES.items() for foreign in foreigns} | {n: n for n in _NAMES}
    if unknown := [name for name in overrides if name not in ours]:
        raise ValueError(f"{source}: unknown config field(s) {', '.join(unknown)}. Known: {', '.join(_NAMES)}.")
    fixed = _family_fields(values, source, model)
    unsupported = list(_UNSUPPORTED)
    if (model or values.get("model_type")) in ENCODER_DECODERS:  # their decoder begins with padding
        unsupported.append(("decoder_start_token_id", (None, values.get("pad_token_id", 0))))
    for key, harmless in unsupported:
        if values.get(key) not in harmless:
            raise ValueError(f"{source}: {key}={values[key]!r} is not supported by this model.")
    fields = {}
    for name, foreigns in _NAMES.items():
        found = [values[foreign] for foreign in foreigns if values.get(foreign) is not None]
        if found:
            fields[name] = found[0]
    if fixed.get("position") == "counted":
        fields.setdefault("pad_id", 1)  # RoBERTa's, where the file does not say
    if values.get("is_decoder"):
        fields.setdefault("attention", "causal")
    overrides = {ours[name]: value for name, value in overrides.items()}
    fields = _writers_fields(values, fields, model, overrides)
    for name, value in fixed.items():
        if (fields | overrides).get(name, value) != value:
            received, meant = (fields | overrides)[name], model or values.get("model_type", "roberta")
            raise ValueError(f"{source}: model={meant!r} means {name}={value!r}. Received: {name}={received!r}.")
    fields |= fixed | overrides
    if missing := [_NAMES[name][0] for name in _REQUIRED if name not in fields]:
        raise ValueError(f"{source}: lacks {', '.join(missing)}; is it a BERT config?")
    try:
        return TransformerConfig(**fields)
    except (TypeError, ValueError) as error:
        raise ValueError(f"{source}: {error}") from None


def _writers_fields(
    values: Mapping[str, Any], fields: dict[str, Any], model: str | None, overrides: dict[str, Any]
) -> dict[str, Any]:
    """The fields of a file of a GPT or T5, with those that it says otherwise or not at all; others as they are."""
    name = str(model or values.get("model_type"))
    defaults = DEFAULTS.get(name, {})
    if (defaults.get("attention"), overrides.get("attention")) == ("causal", "bidirectional"):
        del overrides["attention"]  # a GPT sees what came before, whatever it is used for
    if name in ENCODER_DECODERS:
        fields |= {"segment_vocab_size": 0} | t5_fields(values)
        fields.setdefault("attention_dropout", fields.get("dropout", 0.1))
    if name in (*GPT_TYPES, "gpt") and "hidden_size" in fields:
        fields.setdefault("ffn_size", 4 * fields["hidden_size"])
    if name == "gau_alpha" and "hidden_size" in fields:  # one head, whatever the file says; bert4keras reads its size
        fields.setdefault("key_size", fields["hidden_size"] // fields.get("num_heads", 1))
        fields["num_heads"] = 1
        fields.pop("value_size", None)
    if values.get("afn") == "gelu":  # there, that is the approximation
        fields["hidden_act"] = "gelu_new"
    if name == "gpt2" and isinstance(values.get("eos_token_id"), int):  # it has no padding of its own
        fields.setdefault("pad_id", values["eos_token_id"])
    return defaults | fields


def _family_fields(values: Mapping[str, Any], source: object, model: str | None) -> dict[str, Any]:
    """What the model's name, given or read in the file, says about the config."""
    model_type = values.get("model_type")
    if model_type is None and any("Roberta" in str(name) for name in values.get("architectures") or ()):
        model_type = "roberta"  # files that are older than `model_type`
    if model_type in ROBERTA_TYPES and model in (None, *ROBERTA_TYPES):
        return MODELS["xlm-roberta"]
    if model_type in ROBERTA_TYPES and model == "bert":
        return {}  # Chinese models that say roberta, and are BERTs
    models = MODELS | (ENCODER_DECODERS if model in ENCODER_DECODERS else {})
    if model_type not in (None, OWN_MODEL_TYPE, *models):
        known = ", ".join(name for name in MODELS if name not in _SAME_FILES)
        raise ValueError(f"{source}: model_type {model_type!r} is another architecture; known are {known}.")
    if model is not None and model_type not in (None, OWN_MODEL_TYPE, model, _SAME_FILES.get(model)):
        raise ValueError(f"{source}: model_type {model_type!r} in the file, but model={model!r} was asked for.")
    return models.get(model or model_type or "", {})


def config_to_json(
    config: TransformerConfig,
    *,
    with_pool: bool | str = False,
    with_nsp: bool = False,
    with_mlm: bool | str = False,
    with_discriminator: bool | str = False,
) -> dict:
    """A `config.json`: its `model_type` is a family of transformers exactly where transformers computes the same
    function, and our own elsewhere.
    """
    berts = {field.name: field.default for field in dataclasses.fields(config)}
    fields = config.to_dict().items()
    values = {_NAMES[name][0]: v for name, v in fields if name not in _LAYOUT or v != berts[name]}
    model_type = transformers_family(config, with_pool, with_nsp, with_mlm, with_discriminator)
    if config.decoder_layers is not None:
        values = t5_values(config) or values | {"model_type": OWN_MODEL_TYPE, "architectures": ["EncoderDecoder"]}
    elif model_type is None:
        values |= {"model_type": OWN_MODEL_TYPE, "architectures": ["Transformer"]}
    elif model_type in GPT_TYPES:
        family = FAMILIES[model_type]
        values = gpt_values(config, model_type) | {"architectures": [family.causal_lm if with_mlm else family.encoder]}
    else:
        family, causal = FAMILIES[model_type], config.attention == "causal"
        for name in (*_OWN_NAMES, *(["embedding_size"] if model_type == "bert" else [])):
            del values[name]
        head = family.pretraining if with_nsp or with_discriminator else family.masked_lm if with_mlm else None
        if causal:
            values["is_decoder"] = True
            head = family.causal_lm if with_mlm and not with_nsp else head
        values |= {"model_type": model_type, "architectures": [head or family.encoder]}
        if model_type == "bert":
            values["position_embedding_type"] = "absolute"
    values |= {"dtype": "float32"}
    return dict(sorted(values.items(), key=lambda item: item[0]))
