"""Weights that bert4keras saved with `model.save_weights("x.weights")` (Keras 2 HDF5).

Such a file has one group a layer; inside, the weights stand in the order in which the layer made them.
"""

import re
from collections.abc import Sequence
from pathlib import Path

import h5py
import numpy as np

from nlptasks.checkpoints.weights import CONDITION, RELATIVE_TABLE

_ATTENTION = ("self.query", "self.key", "self.value", "output.dense")
_LAYERS = {
    "Embedding-Token": ("embeddings.word_embeddings",),
    "Embedding-Segment": ("embeddings.token_type_embeddings",),
    "Embedding-Position": ("embeddings.position_embeddings",),
    "Embedding-Norm": ("embeddings.LayerNorm",),
    "Embedding-Mapping": ("encoder.embedding_hidden_mapping_in",),
    "Pooler-Dense": ("pooler.dense",),
    "NSP-Proba": ("cls.seq_relationship",),
    "MLM-Dense": ("cls.predictions.transform.dense",),
    "MLM-Norm": ("cls.predictions.transform.LayerNorm",),
    "MLM-Bias": ("cls.predictions",),
    "Discriminator-Dense": ("discriminator_predictions.dense",),
    "Discriminator-Prediction": ("discriminator_predictions.dense_prediction",),
}
_BLOCK = re.compile(r"^Transformer-(?:(\d+)-)?(MultiHeadSelfAttention|FeedForward)(-Norm)?$")
_LEAVES = {"kernel": "weight", "bias": "bias", "gamma": "weight", "beta": "bias", "embeddings": "weight"}


def _modules(layer: str) -> tuple[str, ...] | None:
    """The canonical modules of a bert4keras layer, in the order of its weights."""
    if layer in _LAYERS:
        return _LAYERS[layer]
    if not (match := _BLOCK.match(layer)):
        return None
    prefix, kind, norm = f"encoder.layer.{match[1] or 0}.", match[2], match[3]  # ALBERT's one block has no number
    if kind == "FeedForward":
        return (prefix + "output.LayerNorm",) if norm else (prefix + "intermediate.dense", prefix + "output.dense")
    if norm:
        return (prefix + "attention.output.LayerNorm",)
    return tuple(prefix + "attention." + name for name in _ATTENTION)


def read_bert4keras(path: str | Path) -> dict[str, np.ndarray]:
    """Canonical name -> array, kernels as (in, out); weights of unknown layers keep the file's own names."""
    try:
        with h5py.File(path, "r") as file:
            root = file.get("model_weights", file)
            if "layer_names" not in root.attrs:
                raise ValueError(f"{path}: not Keras 2 HDF5 weights (no layer_names); Keras 3 files load with Keras.")
            arrays: dict[str, np.ndarray] = {}
            for layer in map(_text, root.attrs["layer_names"]):
                names = [_text(name) for name in root[layer].attrs["weight_names"]]
                arrays |= _layer_arrays(layer, names, [root[layer][name][()] for name in names])
            return arrays
    except OSError as error:
        raise ValueError(f"{path}: not a readable HDF5 file ({str(error).splitlines()[0]}).") from None


def _layer_arrays(layer: str, names: Sequence[str], values: Sequence[np.ndarray]) -> dict[str, np.ndarray]:
    if layer == "Embedding-Relative-Position":
        return {RELATIVE_TABLE: values[0]}
    modules = _modules(layer)
    if modules is None:
        return dict(zip(names, values, strict=True))
    if layer.endswith("-Norm"):
        # a conditional norm's kernels: of the hidden projection, if there is one, of beta, and of gamma
        count = sum(name.split("/")[-1].startswith("kernel") for name in names)
        modules = modules + tuple(f"{modules[0]}{CONDITION}{part}" for part in ("hidden", "beta", "gamma")[3 - count :])
    seen: dict[str, int] = {}
    arrays = {}
    for name, value in zip(names, values, strict=True):
        leaf = name.split("/")[-1].split(":")[0]
        index = seen[leaf] = seen.get(leaf, 0 if leaf == "kernel" and layer.endswith("-Norm") else -1) + 1
        known = leaf in _LEAVES and index < len(modules)
        canonical = f"{modules[index]}.{_LEAVES[leaf]}" if known else name
        arrays[canonical] = value
    return arrays


def _text(name: bytes | str) -> str:
    return name.decode() if isinstance(name, bytes) else str(name)
