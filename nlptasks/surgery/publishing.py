"""A changed checkpoint on disk: whole or not at all, and opened again and compared before anybody can see it.

T positions, V vocabulary
"""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from keras import ops

from nlptasks.checkpoints.bert4keras import HDF5_FILE, write_bert4keras
from nlptasks.checkpoints.configs import OWN_MODEL_TYPE, config_to_json
from nlptasks.checkpoints.families import FAMILIES
from nlptasks.checkpoints.google import write_google
from nlptasks.checkpoints.huggingface import save_directory
from nlptasks.checkpoints.layout import CONFIG
from nlptasks.checkpoints.weights import export_weights
from nlptasks.core.transformer import Transformer
from nlptasks.errors import UserError
from nlptasks.files import new_folder, write_text
from nlptasks.surgery.opened import Opened, heads_of, open_checkpoint, rebuilt
from nlptasks.surgery.options import TOLERANCE

GOOGLE_PREFIX = "bert_model.ckpt"
_GOOGLE_CONFIG, _ALBERT_CONFIG = "bert_config.json", "albert_config.json"
_ROWS, _POSITIONS = 3, 24


def publish(
    opened: Opened,
    output: Path,
    form: str = "nlptasks",
    *,
    bits: int | None = None,
    same_as: Transformer | None = None,
    pairs: tuple[Sequence[int], Sequence[int]] | None = None,
) -> float | None:
    """Writes a checkpoint into a new folder, opens it again there, compares, and only then gives it its name.

    Args:
        opened: what is written.
        form: one of `nlptasks.surgery.options.FORMS`.
        bits: of packed weights, which are compared to nothing.
        same_as: a model whose outputs it must have.
        pairs: ids there, and the ids here of the same tokens; None: every id stands for itself.

    Returns:
        The largest difference |x - y| / max(1, |x|) of an output to that of `same_as`.

    Raises:
        UserError: the format cannot hold it, or what was written is not what was meant; nothing is left behind.
    """
    with new_folder(output) as folder:
        if opened.tokenizer is not None:
            opened.tokenizer.save(folder)
        path, config = _write(opened, folder, form, bits)
        again = open_checkpoint(path, config)
        if bits is None:
            _require_equal(opened.model, again.model, output)
        vocabularies = [one.tokenizer.vocab if one.tokenizer else None for one in (opened, again)]
        if vocabularies[0] != vocabularies[1]:
            raise UserError("{output}: the tokenizer was not read as it was written; nothing is kept.", output=output)
        if same_as is None:
            return None
        found = again.model
        if found.config.attention != same_as.config.attention:  # an argument there, and not in the config
            settings = found.config.replace(attention=same_as.config.attention)
            found = rebuilt(found, settings, export_weights(found))
        distance = largest_difference(same_as, found, pairs)
        if not distance <= TOLERANCE:  # nor no number
            raise UserError(
                "{output}: the outputs differ by {distance:.1e}, more than {most:.0e} x max(1, |x|); nothing is kept.",
                output=output,
                distance=distance,
                most=TOLERANCE,
            )
        return distance


def largest_difference(
    old: Transformer, new: Transformer, pairs: tuple[Sequence[int], Sequence[int]] | None = None
) -> float:
    """The largest |x - y| / max(1, |x|) of any output of two models on random tokens that both have.

    Args:
        pairs: ids of the old model, and the ids of the same tokens in the new one; None: they are the same.
    """
    config, random = old.config, np.random.default_rng(0)
    if pairs is None:
        pairs = (range(config.vocab_size),) * 2
    ids = np.asarray(pairs[0], "int32"), np.asarray(pairs[1], "int32")
    real = np.flatnonzero(ids[0] != config.pad_id)
    length = min(_POSITIONS, config.position_reach or _POSITIONS)
    chosen = random.choice(real, (_ROWS, length))
    segments = np.sort(random.integers(0, max(config.segment_vocab_size, 1), chosen.shape), axis=1).astype("int32")
    more = []
    if config.layer_norm_cond_size is not None:
        more = [random.normal(size=(_ROWS, config.layer_norm_cond_size)).astype("float32")]
    found = []
    for model, tokens in ((old, ids[0]), (new, ids[1])):
        outputs = model([tokens[chosen], segments, *more])
        arrays = [ops.convert_to_numpy(x) for x in (outputs if isinstance(outputs, list | tuple) else [outputs])]
        size = model.config.vocab_size if model.with_mlm else None
        found.append([array[..., tokens] if array.shape[-1] == size else array for array in arrays])
    distances = [np.abs(x - y) / np.maximum(1.0, np.abs(x)) for x, y in zip(*found, strict=True)]
    return float(np.max([one.max() for one in distances]))  # no number where any is none


def _write(opened: Opened, folder: Path, form: str, bits: int | None) -> tuple[Path, Path]:
    """Writes weights and config; returns their paths."""
    model, family = opened.model, opened.model_type
    if form in ("nlptasks", "huggingface"):
        if form == "huggingface" and _own_type(model):
            raise UserError(
                "{path}: transformers computes no such model ({what}); convert it to nlptasks, the same layout "
                "with a model_type of its own.",
                path=opened.path,
                what=_what_is_own(opened),
            )
        save_directory(model, folder, bits=bits)
        return folder, folder / CONFIG
    if form == "google":
        write_google(folder / GOOGLE_PREFIX, model, family)
        config = folder / (_ALBERT_CONFIG if family == "albert" else _GOOGLE_CONFIG)
        path = folder
    else:
        path = folder / HDF5_FILE
        write_bert4keras(path, model)
        config = folder / _GOOGLE_CONFIG
    write_text(config, json.dumps(foreign_config(opened), indent=2) + "\n")
    return path, config


def foreign_config(opened: Opened) -> dict[str, Any]:
    """The config for Google's code and bert4keras, which take the kind of attention and positions as arguments."""
    config = opened.model.config
    values = {**config_to_json(config.replace(talking_heads=False)), "model_type": opened.model_type}
    plain = config_to_json(config.replace(attention="unilm"))  # our own type: every name is there
    own = {
        "attention_key_size": config.key_size != config.value_size,
        "attention_head_size": config.value_size * config.num_heads != config.hidden_size,
        "embedding_size": config.embedding_size != config.hidden_size,
        "max_relative_position": config.position == "relative",
        "hierarchical_position": config.hierarchical_position is not None,
        "residual_attention_scores": config.residual_attention_scores is not None,
        "layer_norm_cond_size": config.layer_norm_cond_size is not None,
        "layer_norm_cond_hidden_size": config.layer_norm_cond_hidden_size is not None,
        "layer_norm_cond_hidden_act": config.layer_norm_cond_hidden_size is not None,
    }
    usual: tuple[str, ...] = (
        "vocab_size",
        "hidden_size",
        "num_hidden_layers",
        "num_attention_heads",
        "intermediate_size",
    )
    usual += ("max_position_embeddings", "type_vocab_size", "hidden_act", "hidden_dropout_prob")
    usual += ("attention_probs_dropout_prob", "initializer_range", "layer_norm_eps", "pad_token_id")
    wanted = [*usual, *(name for name, there in own.items() if there)]
    found = {name: plain[name] for name in wanted} | {"model_type": values["model_type"]}
    if config.residual_attention_scores is not None:
        found["residual_attention_scores"] = True  # bert4keras' name of "previous"
    return found


def _own_type(model: Transformer) -> bool:
    return config_to_json(model.config, **heads_of(model))["model_type"] not in FAMILIES


def _what_is_own(opened: Opened) -> str:
    """Why transformers has no such model, in few words."""
    config, model = opened.model.config, opened.model
    reasons = {
        f"key_size {config.key_size} beside value_size {config.value_size}": config.key_size != config.value_size,
        "value_size that is not hidden_size / num_heads": config.value_size * config.num_heads != config.hidden_size,
        "talking heads": config.talking_heads,
        "norms that read a condition": config.layer_norm_cond_size is not None,
        f"attention {config.attention}": config.attention == "unilm",
        "NEZHA's positions": config.position == "relative",
        "residual attention scores": config.residual_attention_scores is not None,
        "hierarchical positions": config.hierarchical_position is not None,
        f"a {opened.model_type} with a pooler or another head": bool(model.with_pool or model.with_nsp),
    }
    return next((what for what, there in reasons.items() if there), f"its mixture of {OWN_MODEL_TYPE}'s options")


def _require_equal(meant: Transformer, found: Transformer, output: Path) -> None:
    """Every weight that was written is bit by bit the one that was meant."""
    wanted, there = export_weights(meant), export_weights(found)
    wrong = [name for name in wanted.keys() | there.keys() if not _equal(wanted.get(name), there.get(name))]
    if wrong or meant.config.replace(attention="bidirectional") != found.config.replace(attention="bidirectional"):
        what = f"the weight {sorted(wrong)[0]}" if wrong else "the config"
        raise UserError("{output}: {what} was not read as it was written; nothing is kept.", output=output, what=what)


def _equal(one: np.ndarray | None, other: np.ndarray | None) -> bool:
    return one is not None and other is not None and np.array_equal(one, other)
