"""T5 and mT5: their config files, and the names of their weights in TensorFlow and bert4keras files.

Canonical names are those of transformers.
"""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from nlptasks.checkpoints.google import read_variables
from nlptasks.core.config import TransformerConfig

TABLE, OUTPUT = "shared.weight", "lm_head.weight"
_ACTIVATIONS = {"gated-gelu": "gelu_new"}
"""the one whose name does not say it: there, gelu is the approximation"""
_RENAMED = (
    (r"^shared/embedding$", TABLE),
    (r"^decoder/logits/kernel$", OUTPUT),
    (r"^(encoder|decoder)/(?:final_layer|rms)_norm/scale$", r"\1.final_layer_norm.weight"),
    (r"/block_0*(\d+)/layer_0*(\d+)/", r".block.\1.layer.\2."),
    (r"\.(?:layer|rms)_norm/scale$", ".layer_norm.weight"),
    (r"Attention/(q|k|v|o)$", r"Attention.\1.weight"),
    (r"/relative_attention_bias$", ".relative_attention_bias.weight"),
    (r"DenseReluDense/(\w+)/kernel$", r"DenseReluDense.\1.weight"),
)
_HDF5_BLOCK = re.compile(r"^(Encoder|Decoder)-Transformer-(\d+)-(MultiHeadSelf|MultiHeadCross|FeedForward)\w*(-Norm)?$")
_HDF5_LAYERS = {
    "Encoder-Embedding-Relative-Position": ("encoder.block.0.layer.0.SelfAttention.relative_attention_bias.weight",),
    "Decoder-Embedding-Relative-Position": ("decoder.block.0.layer.0.SelfAttention.relative_attention_bias.weight",),
    "Encoder-Output-Norm": ("encoder.final_layer_norm.weight",),
    "Decoder-Output-Norm": ("decoder.final_layer_norm.weight",),
    "Decoder-Output-LM": (OUTPUT,),
}


def t5_fields(values: Mapping[str, Any]) -> dict[str, Any]:
    """What a T5's config file says by names of its own: the feed-forward layer, the head, the decoder's layers."""
    fields: dict[str, Any] = {}
    if (form := values.get("feed_forward_proj")) is not None:
        fields["gated_ffn"] = form.startswith("gated-")
        fields["hidden_act"] = _ACTIVATIONS.get(form, form.removeprefix("gated-"))
    if isinstance(acts := values.get("hidden_act"), list):  # bert4keras
        fields["gated_ffn"], fields["hidden_act"] = len(acts) > 1, _ACTIVATIONS.get(f"gated-{acts[0]}", acts[0])
    # transformers 5 says in every file that the head is tied, and by this key whether it is
    scaled = values.get("scale_decoder_outputs", values.get("tie_word_embeddings"))
    if scaled is not None and values.get("model_type") != "mt5":
        fields["output"] = "scaled" if scaled else "untied"
    layers = values.get("num_layers", values.get("num_hidden_layers"))
    if values.get("num_decoder_layers") is not None or layers is not None:
        fields["decoder_layers"] = values.get("num_decoder_layers") or layers
    return fields


def t5_values(config: TransformerConfig) -> dict[str, Any] | None:
    """The config file under which transformers computes the same function; None: it has none."""
    fixed = {"norm_place": "pre", "norm": "rms", "use_bias": False, "embedding_norm": False, "attention_scale": False}
    fixed |= {"position": "bucketed", "segment_vocab_size": 0, "shared_layers": False, "talking_heads": False}
    if any(getattr(config, name) != value for name, value in fixed.items()) or config.residual_attention_scores:
        return None
    if config.output not in ("scaled", "untied") or config.key_size != config.value_size:
        return None
    act, known = config.hidden_act, ("relu", "gelu_new", "silu", "swish")
    if act not in (known if config.gated_ffn else (*known, "gelu")):
        return None
    if config.gated_ffn:
        act = "gated-gelu" if act == "gelu_new" else f"gated-{act}"
    return {
        "model_type": "t5",
        "architectures": ["T5ForConditionalGeneration"],
        "vocab_size": config.vocab_size,
        "d_model": config.hidden_size,
        "d_kv": config.key_size,
        "d_ff": config.ffn_size,
        "num_layers": config.num_layers,
        "num_decoder_layers": config.decoder_layers,
        "num_heads": config.num_heads,
        "relative_attention_num_buckets": config.relative_buckets,
        "relative_attention_max_distance": config.relative_distance,
        "dropout_rate": config.dropout,
        "layer_norm_epsilon": config.layer_norm_epsilon,
        "feed_forward_proj": act,
        "tie_word_embeddings": config.output == "scaled",
        "is_encoder_decoder": True,
        "pad_token_id": config.pad_id,
        "decoder_start_token_id": config.pad_id,
        "eos_token_id": 1,
    }


def read_t5_variables(prefix: str | Path) -> dict[str, np.ndarray]:
    """Canonical name -> array of Google's checkpoint, kernels as (in, out); slots of the optimizer are passed over."""
    found = {}
    for full, array in read_variables(prefix).items():
        if "_slot_" in full or full == "global_step":
            continue
        name = full
        for pattern, replacement in _RENAMED:
            name = re.sub(pattern, replacement, name)
        turned = name == OUTPUT or name.endswith("relative_attention_bias.weight")
        found[name] = array.T if turned else array
    return found


def of_hdf5(arrays: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """The weights of bert4keras' HDF5 file, whose table of tokens has the name that BERT's has, and whose output matrix
    is a dense layer's; in older files of nlptasks.bert4keras it stands as it is here.
    """
    found = {TABLE if name == "embeddings.word_embeddings.weight" else name: a for name, a in arrays.items()}
    if OUTPUT in found and found[OUTPUT].shape[0] == found[TABLE].shape[1]:
        found[OUTPUT] = found[OUTPUT].T
    return found


def hdf5_names(layer: str, count: int) -> tuple[str, ...] | None:
    """The canonical names of the `count` weights of a layer of bert4keras' T5, in its order; None: no such layer."""
    if layer in _HDF5_LAYERS:
        return _HDF5_LAYERS[layer]
    if not (match := _HDF5_BLOCK.match(layer)):
        return None
    stack, block, kind, norm = match[1].lower(), match[2], match[3], match[4]
    place = {"MultiHeadSelf": 0, "MultiHeadCross": 1, "FeedForward": 1 if stack == "encoder" else 2}[kind]
    start = f"{stack}.block.{block}.layer.{place}."
    if norm:
        return (start + "layer_norm.weight",)
    if kind == "FeedForward":
        inner = ("wi",) if count == 2 else ("wi_0", "wi_1")
        return tuple(f"{start}DenseReluDense.{name}.weight" for name in (*inner, "wo"))
    part = "SelfAttention" if kind == "MultiHeadSelf" else "EncDecAttention"
    return tuple(f"{start}{part}.{name}.weight" for name in "qkvo")
