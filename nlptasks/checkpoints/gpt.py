"""GPT and GPT-2 as transformers stores them <-> canonical names: one matrix for queries, keys and values, and every
matrix as (in, out).
"""

import re
from collections.abc import Mapping
from typing import Any

import numpy as np

from nlptasks.core.config import TransformerConfig

_QKV = "attn.c_attn"
_PARTS = {
    "ln_1": "attention.output.LayerNorm",
    "attn.c_proj": "attention.output.dense",
    "ln_2": "output.LayerNorm",
    "mlp.c_fc": "intermediate.dense",
    "mlp.c_proj": "output.dense",
}
_TABLES = {
    "gpt2": {
        "wte.weight": "embeddings.word_embeddings.weight",
        "wpe.weight": "embeddings.position_embeddings.weight",
        "ln_f.weight": "encoder.LayerNorm.weight",
        "ln_f.bias": "encoder.LayerNorm.bias",
    },
    "openai-gpt": {
        "tokens_embed.weight": "embeddings.word_embeddings.weight",
        "positions_embed.weight": "embeddings.position_embeddings.weight",
    },
}
TYPES = tuple(_TABLES)
_LAYER = re.compile(r"^h\.(\d+)\.(.+)\.(weight|bias)$")
_BUFFERS = re.compile(r"^(h\.\d+\.attn\.(bias|masked_bias)|position_ids)$")


def gpt_values(config: TransformerConfig, model_type: str) -> dict[str, Any]:
    """The config file of a GPT that transformers computes."""
    act = "gelu" if model_type == "openai-gpt" and config.hidden_act == "gelu_new" else config.hidden_act
    values = {
        "model_type": model_type,
        "vocab_size": config.vocab_size,
        "n_embd": config.hidden_size,
        "n_layer": config.num_layers,
        "n_head": config.num_heads,
        "n_positions": config.max_positions,
        "layer_norm_epsilon": config.layer_norm_epsilon,
        "initializer_range": config.initializer_range,
        "attn_pdrop": config.attention_dropout,
        "embd_pdrop": config.dropout,
        "resid_pdrop": config.dropout,
        "pad_token_id": config.pad_id,
    }
    own = {"n_inner": config.ffn_size, "activation_function": act} if model_type == "gpt2" else {"afn": act}
    return values | own


def is_gpt(names: Mapping[str, np.ndarray]) -> bool:
    """Whether the tensors of a file are named as a GPT's of transformers."""
    return any(name.removeprefix("transformer.").startswith("h.0.attn.") for name in names)


def from_gpt(arrays: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Canonical names, kernels as (out, in); what is not known keeps its name."""
    tables = {theirs: ours for table in _TABLES.values() for theirs, ours in table.items()}
    found = {}
    for full, array in arrays.items():
        name = full.removeprefix("transformer.")
        if _BUFFERS.match(name):
            continue
        if name in tables:
            found[tables[name]] = array
        elif name == "lm_head.weight":
            found["cls.predictions.decoder.weight"] = array
        elif match := _LAYER.match(name):
            layer, part, kind = match.groups()
            start = f"encoder.layer.{layer}."
            if part == _QKV:
                for ours, piece in zip(("query", "key", "value"), np.split(array, 3, axis=-1), strict=True):
                    found[f"{start}attention.self.{ours}.{kind}"] = np.ascontiguousarray(piece.T)
            else:
                found[f"{start}{_PARTS[part]}.{kind}" if part in _PARTS else full] = array.T
        else:
            found[full] = array
    return found


def to_gpt(arrays: Mapping[str, np.ndarray], model_type: str) -> dict[str, np.ndarray]:
    """The other way: what `from_gpt` makes the canonical arrays of."""
    tables = {ours: theirs for theirs, ours in _TABLES[model_type].items()}
    parts = {ours: theirs for theirs, ours in _PARTS.items()}
    found = {}
    for name, array in arrays.items():
        if name in tables:
            found[f"transformer.{tables[name]}"] = array
            continue
        _, _, layer, *rest = name.split(".")
        part, kind = ".".join(rest[:-1]), rest[-1]
        start, ours = f"transformer.h.{layer}.", f"encoder.layer.{layer}.attention."
        if part in parts:
            found[f"{start}{parts[part]}.{kind}"] = np.ascontiguousarray(array.T)
        elif part == "attention.self.query":
            pieces = [arrays[f"{ours}self.{one}.{kind}"].T for one in ("query", "key", "value")]
            found[f"{start}{_QKV}.{kind}"] = np.ascontiguousarray(np.concatenate(pieces, axis=-1))
    return found
