"""Foreign config files (`bert_config.json`, `config.json`) <-> `TransformerConfig`."""

from collections.abc import Mapping
from pathlib import Path

from nlptasks.core.config import TransformerConfig

OWN_MODEL_TYPE = "nlptasks"
# our field: the names it has elsewhere, best first
_NAMES = {
    "vocab_size": ("vocab_size",),
    "hidden_size": ("hidden_size",),
    "num_layers": ("num_hidden_layers",),
    "num_heads": ("num_attention_heads",),
    "ffn_size": ("intermediate_size",),
    "max_positions": ("max_position_embeddings", "max_position"),
    "segment_vocab_size": ("type_vocab_size", "segment_vocab_size"),
    "embedding_size": ("embedding_size",),
    "key_size": ("attention_key_size",),
    "value_size": ("attention_head_size",),
    "hidden_act": ("hidden_act",),
    "dropout": ("hidden_dropout_prob", "dropout_rate"),
    "attention_dropout": ("attention_probs_dropout_prob", "attention_dropout_rate"),
    "layer_norm_epsilon": ("layer_norm_eps",),
    "initializer_range": ("initializer_range",),
    "attention": ("attention",),
}
_REQUIRED = ("vocab_size", "hidden_size", "num_layers", "num_heads", "ffn_size")
# what other programs can switch on in such a file and this core does not compute: (key, harmless values)
_UNSUPPORTED = (
    ("position_embedding_type", (None, "absolute")),
    ("hierarchical_position", (None, False)),
    ("residual_attention_scores", (None, False)),
    ("shared_segment_embeddings", (None, False)),
    ("compound_tokens", (None,)),
    ("add_cross_attention", (None, False)),
)
_TRANSFORMERS_ACTIVATIONS = ("gelu", "gelu_new", "relu", "silu", "swish", "tanh", "sigmoid")


def config_from_json(values: Mapping[str, object], source: str | Path, **overrides: object) -> TransformerConfig:
    """A config from the names of Google, Hugging Face and bert4keras; `overrides` take our names or theirs."""
    ours = {foreign: name for name, foreigns in _NAMES.items() for foreign in foreigns} | {n: n for n in _NAMES}
    if unknown := [name for name in overrides if name not in ours]:
        raise ValueError(f"{source}: unknown config field(s) {', '.join(unknown)}. Known: {', '.join(_NAMES)}.")
    model_type = values.get("model_type", "bert")
    if model_type not in ("bert", OWN_MODEL_TYPE):
        raise ValueError(
            f"{source}: model_type {model_type!r} is another architecture; BERT-layout checkpoints (Chinese "
            "RoBERTa among them) say 'bert' or nothing."
        )
    for key, harmless in _UNSUPPORTED:
        if values.get(key) not in harmless:
            raise ValueError(f"{source}: {key}={values[key]!r} is not supported by this model.")
    fields = {}
    for name, foreigns in _NAMES.items():
        found = [values[foreign] for foreign in foreigns if values.get(foreign) is not None]
        if found:
            fields[name] = found[0]
    if values.get("is_decoder"):
        fields.setdefault("attention", "causal")
    fields |= {ours[name]: value for name, value in overrides.items()}
    if missing := [_NAMES[name][0] for name in _REQUIRED if name not in fields]:
        raise ValueError(f"{source}: lacks {', '.join(missing)}; is it a BERT config?")
    try:
        return TransformerConfig(**fields)
    except (TypeError, ValueError) as error:
        raise ValueError(f"{source}: {error}") from None


def config_to_json(config: TransformerConfig, *, with_pool=False, with_nsp=False, with_mlm=False) -> dict:
    """A `config.json`: `model_type` is `bert` exactly where transformers computes the same function."""
    values = {_NAMES[name][0]: value for name, value in config.to_dict().items() if name != "attention"}
    faithful = (
        config.key_size == config.value_size == config.hidden_size / config.num_heads
        and config.embedding_size == config.hidden_size
        and config.segment_vocab_size > 0
        and config.attention != "unilm"
        and config.hidden_act in _TRANSFORMERS_ACTIVATIONS
        and with_pool in (False, True, "tanh")
    )
    if faithful:
        for name in ("attention_key_size", "attention_head_size", "embedding_size"):
            del values[name]
        head = "BertForPreTraining" if with_nsp else "BertForMaskedLM" if with_mlm else "BertModel"
        if config.attention == "causal":
            values["is_decoder"] = True
            head = "BertLMHeadModel" if with_mlm and not with_nsp else head
        values |= {"model_type": "bert", "architectures": [head], "position_embedding_type": "absolute"}
    else:
        values |= {"model_type": OWN_MODEL_TYPE, "architectures": ["Transformer"], "attention": config.attention}
    values |= {"pad_token_id": 0, "dtype": "float32"}
    return dict(sorted(values.items()))
