"""What a checkpoint is, and what can be done with it."""

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open

from nlptasks.checkpoints.huggingface import weight_files
from nlptasks.checkpoints.layout import google_prefix
from nlptasks.checkpoints.packing import is_packed
from nlptasks.checkpoints.weights import weight_table
from nlptasks.console import padded
from nlptasks.errors import told, translated
from nlptasks.surgery.opened import Opened
from nlptasks.text import TextTokenizer, Tokenizer
from nlptasks.text.pieces import FILES, PieceTokenizer
from nlptasks.text.tokenizer import VOCAB_FILE
from nlptasks.text.tokenizer_json import JSON_FILE, JsonTokenizer

_SIZES = (
    *("vocab_size", "hidden_size", "num_layers", "num_heads", "key_size", "value_size", "ffn_size", "max_positions"),
    *("segment_vocab_size", "embedding_size", "attention", "position", "pad_id"),
)
LAYERS = (
    "{num_layers} x {hidden_size}, {num_heads} heads (keys {key_size}, values {value_size}), feed-forward {ffn_size}"
)
EMBEDDING = (
    "{vocab_size} tokens x {embedding_size}, {max_positions} positions ({position}), {segment_vocab_size} segments, "
    "padding {pad_id}"
)
WEIGHTS = "{count:,} in {tensors} tensors, stored as {stored}"
_ON_TEXTS = ("classification", "labeling", "similarity", "reading", "conditional", "seq2seq")


def described(opened: Opened) -> dict[str, Any]:
    """Family, sizes, heads, weights, tokenizer, and which applications it fits."""
    model, config = opened.model, opened.model.config
    heads = {
        "pooler": model.pooler is not None,
        "next sentence": model.nsp is not None,
        "masked LM": model.mlm is not None,
        "discriminator": model.discriminator is not None,
    }
    tensors = {slot.name: list(slot.variable.shape) for slot in weight_table(model)}
    fits = reasons_against(opened)
    return {
        "path": str(opened.path),
        "family": opened.model_type,
        "application": opened.task,
        "sizes": {name: getattr(config, name) for name in _SIZES},
        "parameters": sum(math.prod(shape) for shape in tensors.values()),
        "stored": _stored(opened.path),
        "heads": [head for head, there in heads.items() if there],
        "tensors": tensors,
        "left_over": list(opened.left_over),
        "tokenizer": None if opened.tokenizer is None else _tokenizer(opened.tokenizer),
        "fits": [application for application, reason in fits.items() if reason is None],
        "fits_not": {application: reason for application, reason in fits.items() if reason is not None},
    }


def reasons_against(opened: Opened) -> dict[str, str | None]:
    """For each application None, or why the checkpoint does not fit it."""
    config, tokenizer, model = opened.model.config, opened.tokenizer, opened.model
    general = None
    if opened.task is not None:
        general = f"a trained {opened.task.replace('_', ' ')}: nlptasks.load opens it"
    elif tokenizer is None:
        general = "no tokenizer beside the weights"
    elif tokenizer.vocab_size > config.vocab_size:
        general = f"its tokenizer has {tokenizer.vocab_size} tokens, and its table {config.vocab_size} rows"
    elif config.layer_norm_cond_size is not None:
        general = "its norms read a condition"
    no_cls = no_mask = None
    if tokenizer is not None:
        around = [what for name, what in (("cls", "before"), ("sep", "behind")) if name not in tokenizer.specials]
        no_cls = f"its tokenizer puts no token {around[0]} a text" if around else None
        no_mask = None if "mask" in tokenizer.specials else "its tokenizer has no mask token"
    head = None if model.mlm is not None else "it has no masked-LM head"
    one = "all its layers are one" if config.shared_layers else None
    found: dict[str, str | None] = dict.fromkeys(_ON_TEXTS, general or no_cls)
    found["filling"] = general or no_cls or head or no_mask
    found["compression"] = general or no_cls or one
    found["pretraining"] = general or no_cls or no_mask
    return found


def shown(values: Mapping[str, Any], tensors: bool) -> str:
    """`described` as lines of text."""
    sizes, tokenizer = values["sizes"], values["tokenizer"]
    lines = {
        "family": values["family"],
        "layers": told(LAYERS, **sizes),
        "embedding": told(EMBEDDING, **sizes),
        "weights": told(WEIGHTS, count=values["parameters"], tensors=len(values["tensors"]), stored=values["stored"]),
        "left over": ", ".join(values["left_over"]) or told("nothing"),
        "heads": ", ".join(values["heads"]) or told("none"),
        "tokenizer": told("none") if tokenizer is None else ", ".join(f"{k} {v}" for k, v in tokenizer.items()),
        "fits": ", ".join(values["fits"]) or told("nothing"),
    }
    if values["application"]:
        lines = {"application": values["application"]} | lines
    text = [f"{padded(told(name), 12)} {value}" for name, value in lines.items()]
    reasons: dict[str, list[str]] = {}
    for application, reason in values["fits_not"].items():
        reasons.setdefault(reason, []).append(application)
    for reason, names in reasons.items():
        why = told("{names}: {reason}", names=", ".join(names), reason=translated(reason))
        text.append(f"{padded(told('not'), 12)} {why}")
    if tensors:
        text += [f"  {name} {' x '.join(map(str, shape))}" for name, shape in values["tensors"].items()]
    return "\n".join(text)


def _tokenizer(tokenizer: TextTokenizer) -> dict[str, Any]:
    if isinstance(tokenizer, Tokenizer):
        told = {"file": VOCAB_FILE, "kind": "WordPiece"}
    elif isinstance(tokenizer, JsonTokenizer):
        told = {"file": JSON_FILE, "kind": tokenizer.kind}
    else:
        assert isinstance(tokenizer, PieceTokenizer)
        told = {"file": FILES[tokenizer.kind], "kind": tokenizer.kind}
    return told | {"tokens": tokenizer.vocab_size, "lowercase": tokenizer.lowercase}


def _stored(path: Path) -> str:
    """The types in which the weights are stored."""
    if google_prefix(path) is not None:
        return "a TensorFlow checkpoint"
    try:
        files = weight_files(path)
        kinds = set()
        for file in files:
            with safe_open(file, framework="numpy") as tensors:
                if is_packed(tensors.metadata()):
                    return "packed bits"
                kinds |= {tensors.get_slice(name).get_dtype() for name in tensors.keys()}  # noqa: SIM118 - not a mapping
    except (SafetensorError, OSError, ValueError):
        return "HDF5"
    return ", ".join(sorted(kinds))
