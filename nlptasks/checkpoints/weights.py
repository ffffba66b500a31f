"""The weight table of a model, and strict loading: every variable once, nothing missing, nothing left over.

The canonical names are Hugging Face's for BERT, without the `bert.` prefix, and for T5; the other formats translate to
them.
"""

import logging
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from nlptasks.core.config import TransformerConfig
from nlptasks.core.encoder_decoder import EncoderDecoder
from nlptasks.core.gated import GatedAttention
from nlptasks.core.heads import OutputHead
from nlptasks.core.positions import sinusoid_table
from nlptasks.core.transformer import Transformer
from nlptasks.errors import some_of

logger = logging.getLogger(__name__)
# Present in many files, never ours: buffers, and the output matrix tied to the embedding.
TOLERATED = ("embeddings.position_ids", "cls.predictions.decoder.", "encoder.embed_positions.")
_COPIES = ("encoder.embed_tokens.", "decoder.embed_tokens.", "lm_head.weight")
"""of the table of tokens, in files of T5"""
TOLERATED_ENDS = (
    ".relative_positions_encoding.positions_encoding",  # NEZHA's vectors, spread over all positions
    "EncDecAttention.relative_attention_bias.weight",  # which old files of T5 have and no program reads
)
HEADS = ("pooler.", "cls.", "discriminator_predictions.", "generator")
MLM_HEAD = "cls.predictions."
# What other programs leave in a file beside the model: heads of the tasks it was trained for, slots of an optimizer.
# They are passed over, and counted in one line.
_TASK_HEADS = re.compile(r"^(classifier|qa_outputs|score|output_(weights|bias)|logits|lm_loss|out_proj)\b")
OPTIMIZER = re.compile(
    r"[/.]((adam|lamb)_[mv]|(Adam|LAMB|AdamWeightDecay|Lamb)\w*|ExponentialMovingAverage|accum\w*|momentum)(_\d+)?$"
    r"|^(global_step|beta\d_power\w*)$|^(loss_scale|good_steps|current_loss_scale)"
)
CONDITION = ".condition_"
RELATIVE_TABLE = "encoder.relative_positions"
TIED = {
    "cls.predictions.decoder.weight": "embeddings.word_embeddings.weight",
    "cls.predictions.decoder.bias": "cls.predictions.bias",
    "lm_head.weight": "shared.weight",
    "encoder.embed_tokens.weight": "shared.weight",
    "decoder.embed_tokens.weight": "shared.weight",
}
_OF_VOCABULARY = (*TIED.values(), "lm_head.weight")
"""those whose rows stand for tokens"""


class Slot(NamedTuple):
    """One variable, its canonical name, and whether Hugging Face stores it as (out, in)."""

    variable: Any  # of Keras
    name: str
    transposed: bool = False


def weight_table(model: Transformer | EncoderDecoder) -> list[Slot]:
    """Every weight of `model` in a fixed order."""
    if isinstance(model, EncoderDecoder):
        return _encoder_decoder_table(model)
    embeddings = model.embeddings
    slots = [Slot(embeddings.token.embeddings, "embeddings.word_embeddings.weight")]
    if embeddings.segment is not None:
        slots.append(Slot(embeddings.segment.embeddings, "embeddings.token_type_embeddings.weight"))
    if embeddings.position is not None:
        slots.append(Slot(embeddings.position.embeddings, "embeddings.position_embeddings.weight"))
    slots += _norm(embeddings.norm, "embeddings.LayerNorm")
    slots += _dense(embeddings.mapping, "encoder.embedding_hidden_mapping_in")
    for i, block in enumerate(model.blocks):
        prefix = f"encoder.layer.{i}."
        if isinstance(block.attention, GatedAttention):
            slots += _dense(block.attention.inner, prefix + "attention.self.inner")
            slots.append(Slot(block.attention.query_scale, prefix + "attention.self.query_scale"))
            slots.append(Slot(block.attention.key_scale, prefix + "attention.self.key_scale"))
        else:
            slots += _dense(block.attention.query, prefix + "attention.self.query")
            slots += _dense(block.attention.key, prefix + "attention.self.key")
            slots += _dense(block.attention.value, prefix + "attention.self.value")
        slots += _dense(block.attention.output_dense, prefix + "attention.output.dense")
        slots += _norm(block.attention_norm, prefix + "attention.output.LayerNorm")
        if block.ffn is not None:
            slots += _dense(block.ffn.inner, prefix + "intermediate.dense")
            slots += _dense(block.ffn.gate, prefix + "intermediate.gate")
            slots += _dense(block.ffn.outer, prefix + "output.dense")
        slots += _norm(block.ffn_norm, prefix + "output.LayerNorm")
        if block.attention.talking_heads:
            slots.append(Slot(block.attention.score_mixing, prefix + "attention.self.score_mixing"))
            slots.append(Slot(block.attention.probability_mixing, prefix + "attention.self.probability_mixing"))
    slots += _norm(model.final_norm, "encoder.LayerNorm")
    if model.distances is not None:
        slots.append(Slot(model.distances.scores, "encoder.distance_scores"))
    slots += _dense(model.pooler, "pooler.dense") + _dense(model.nsp, "cls.seq_relationship")
    if isinstance(model.mlm, OutputHead):
        slots += [] if model.mlm.table is None else [Slot(model.mlm.table, "lm_head.weight")]
    elif model.mlm is not None:
        slots += _dense(model.mlm.dense, "cls.predictions.transform.dense")
        slots += _norm(model.mlm.norm, "cls.predictions.transform.LayerNorm")
        slots.append(Slot(model.mlm.bias, "cls.predictions.bias"))
    if model.discriminator is not None:
        slots += _dense(model.discriminator.dense, "discriminator_predictions.dense")
        slots += _dense(model.discriminator.prediction, "discriminator_predictions.dense_prediction")
    return slots


def _encoder_decoder_table(model: EncoderDecoder) -> list[Slot]:
    """By transformers' names of T5."""
    slots, mlm = [Slot(model.encoder.embeddings.token.embeddings, "shared.weight")], model.decoder.mlm
    for stack, name in ((model.encoder, "encoder"), (model.decoder, "decoder")):
        if stack.distances is not None:
            bias = f"{name}.block.0.layer.0.SelfAttention.relative_attention_bias.weight"
            slots.append(Slot(stack.distances.scores, bias))
        for i, block in enumerate(stack.blocks):
            parts: list[Any] = [("SelfAttention", block.attention, block.attention_norm)]
            parts += [] if block.cross is None else [("EncDecAttention", block.cross, block.cross_norm)]
            start = f"{name}.block.{i}.layer."
            for place, (part, attention, norm) in enumerate(parts):
                layers = (attention.query, attention.key, attention.value, attention.output_dense)
                for letter, layer in zip("qkvo", layers, strict=True):
                    slots += _dense(layer, f"{start}{place}.{part}.{letter}")
                slots += _norm(norm, f"{start}{place}.layer_norm")
            start += f"{len(parts)}."
            ffn: Any = block.ffn
            inner = "wi" if ffn.gate is None else "wi_0"
            for part, layer in ((inner, ffn.inner), ("wi_1", ffn.gate), ("wo", ffn.outer)):
                slots += _dense(layer, f"{start}DenseReluDense.{part}")
            slots += _norm(block.ffn_norm, f"{start}layer_norm")
        slots += _norm(stack.final_norm, f"{name}.final_layer_norm")
    table = mlm.table if isinstance(mlm, OutputHead) else None
    return slots if table is None else [*slots, Slot(table, "lm_head.weight")]


def _dense(layer: Any, name: str) -> list[Slot]:
    if layer is None:
        return []
    slots = [Slot(layer.kernel, f"{name}.weight", True)]
    return slots if layer.bias is None else [*slots, Slot(layer.bias, f"{name}.bias")]


def _norm(layer: Any, name: str) -> list[Slot]:
    if layer is None:
        return []
    weights = ((layer.gamma, "weight"), (layer.beta, "bias"))
    slots = [Slot(weight, f"{name}.{part}") for weight, part in weights if weight is not None]
    kernels = {"hidden": layer.condition_hidden, "beta": layer.condition_beta, "gamma": layer.condition_gamma}
    return slots + [Slot(v, f"{name}{CONDITION}{part}.weight", True) for part, v in kernels.items() if v is not None]


def export_weights(model: Transformer | EncoderDecoder) -> dict[str, np.ndarray]:
    """Canonical name -> float32 array as Hugging Face lays it out."""
    return {
        slot.name: np.ascontiguousarray(_oriented(np.asarray(slot.variable.value, "float32"), slot.transposed))
        for slot in weight_table(model)
    }


def assign_weights(
    model: Transformer | EncoderDecoder,
    arrays: Mapping[str, np.ndarray],
    source: str,
    *,
    transposed: bool,
    keep_tokens: Sequence[int] | None = None,
    skip: Iterable[str] = (),
    fresh: Iterable[str] = (),
) -> list[str]:
    """Loads `arrays` into `model`; either every weight fits or none is changed.

    Heads of other tasks and slots of optimizers in `arrays` are left over; one line of the log counts them.

    Args:
        arrays: canonical name -> array.
        source: what to call the file in an error.
        transposed: dense kernels come as (out, in), as Hugging Face stores them.
        keep_tokens: rows of the vocabulary to keep, in their new order.
        skip: name prefixes that may be missing or left over.
        fresh: name prefixes of heads that stay as they start where the file has nothing of them.

    Returns:
        Those of `fresh` that did.

    Raises:
        ValueError: lists what the model wanted and did not find, what was left over, and what has another shape.
    """
    skip = tuple(skip)
    relative = arrays.get(RELATIVE_TABLE)
    slots, arrays = weight_table(model), {n: array for n, array in arrays.items() if n != RELATIVE_TABLE}
    other_positions = _other_relative_positions(model.config, relative)
    wanted = {slot.name for slot in slots}
    missing = [slot.name for slot in slots if slot.name not in arrays and not slot.name.startswith(skip or ("\0",))]
    if not any(CONDITION in name for name in arrays):  # a plain checkpoint: conditional norms stay as they start
        missing = [name for name in missing if CONDITION not in name]
    started = [head for head in fresh if _lacks(arrays, missing, head)]
    missing = [name for name in missing if not name.startswith(tuple(started) or ("\0",))]
    known = (*TOLERATED, *HEADS, *skip, *(_COPIES if isinstance(model, EncoderDecoder) else ()))
    left = [n for n in arrays if not (n in wanted or n.startswith(known) or n.endswith(TOLERATED_ENDS))]
    foreign = [n for n in left if OPTIMIZER.search(n) or _TASK_HEADS.search(n)]
    left = [n for n in left if n not in set(foreign)]
    values, misfits = [], []
    for slot in slots:
        if slot.name not in arrays:
            continue
        value = _oriented(np.asarray(arrays[slot.name]), transposed and slot.transposed)
        if keep_tokens is not None and slot.name in _OF_VOCABULARY and max(keep_tokens, default=-1) < len(value):
            value = value[np.asarray(keep_tokens)]
        if value.shape != tuple(slot.variable.shape):
            misfits.append(f"{slot.name} (model {tuple(slot.variable.shape)}, file {value.shape})")
        values.append((slot.variable, value))
    both = [(name, tied) for name, tied in TIED.items() if name in arrays and tied in arrays and name not in wanted]
    untied = [name for name, tied in both if _differ(arrays, name, tied)]
    problems = [("missing", missing), ("left over", left), ("of another shape", misfits), ("not tied", untied)]
    problems.append(("not the sinusoids that NEZHA fixes", other_positions))
    told = "; ".join(f"{kind}: {some_of(names, 6)}" for kind, names in problems if names)
    if told:
        raise ValueError(
            f"{source}: the checkpoint does not fit the model. {told}. Check the config beside the "
            "checkpoint, or name prefixes that may be passed over with skip=[...] (of a command: --skip-weights)."
        )
    for variable, value in values:
        variable.assign(value)
    if foreign:
        count = len(foreign)
        logger.warning(
            "%s: %d weights of other tasks or of an optimizer left over (%s)", source, count, some_of(foreign, 2)
        )
    return started


def _lacks(arrays: Mapping[str, np.ndarray], missing: Iterable[str], head: str) -> bool:
    """Whether a head is wanted and nothing of it is there; the tied matrix is no part of it."""
    there = (n for n in arrays if n.startswith(head) and n not in TIED and not OPTIMIZER.search(n))
    return not any(there) and any(name.startswith(head) for name in missing)


def unshared(arrays: Mapping[str, np.ndarray], num_layers: int) -> dict[str, np.ndarray]:
    """ALBERT's one layer as `num_layers` layers of their own; arrays that hold several are returned as they are."""
    first, more = "encoder.layer.0.", dict(arrays)
    if not any(name.startswith("encoder.layer.1.") for name in arrays):
        for name, value in arrays.items():
            if name.startswith(first):
                more |= {f"encoder.layer.{i}.{name[len(first) :]}": value for i in range(num_layers)}
    return more


def _other_relative_positions(config: TransformerConfig, table: np.ndarray | None) -> list[str]:
    if table is None:
        return []
    fixed = np.asarray(sinusoid_table(2 * config.relative_distance + 1, config.key_size))
    same = config.position == "relative" and table.shape == fixed.shape and np.allclose(table, fixed, atol=1e-5)
    return [] if same else [RELATIVE_TABLE]


def _differ(arrays: Mapping[str, np.ndarray], name: str, tied: str) -> bool:
    return arrays[name].shape != arrays[tied].shape or not np.array_equal(arrays[name], arrays[tied])


def _oriented(array: np.ndarray, transposed: bool) -> np.ndarray:
    return array.T if transposed else array
