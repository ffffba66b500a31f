"""Weights as bert4keras saves and loads them, `model.save_weights("x.weights")` (Keras 2 HDF5).

Such a file has one group a layer; inside, the weights stand in the order in which the layer made them.
"""

import re
from collections.abc import Iterator, Sequence
from pathlib import Path

import h5py
import numpy as np

from nlptasks.checkpoints.t5 import hdf5_names
from nlptasks.checkpoints.weights import CONDITION, RELATIVE_TABLE, export_weights
from nlptasks.core.positions import sinusoid_table
from nlptasks.core.transformer import Transformer
from nlptasks.errors import UserError

HDF5_FILE = "bert4keras.h5"
"""what a file of such weights is called in a directory of them"""
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
    "Output-Norm": ("encoder.LayerNorm",),  # GPT-2
}
_BLOCK = re.compile(r"^Transformer-(?:(\d+)-)?(MultiHeadSelfAttention|FeedForward)(-Norm(?:-[01])?)?$")
_GATED = re.compile(r"^Transformer-(\d+)-GatedAttentionUnit$")
_LEAVES = {"kernel": "weight", "bias": "bias", "gamma": "weight", "beta": "bias", "embeddings": "weight"}


def _modules(layer: str) -> tuple[str, ...] | None:
    """The canonical modules of a bert4keras layer, in the order of its weights."""
    if layer in _LAYERS:
        return _LAYERS[layer]
    if not (match := _BLOCK.match(layer)):
        return None
    prefix, kind, norm = f"encoder.layer.{match[1] or 0}.", match[2], match[3]  # ALBERT's one block has no number
    if norm == "-Norm-0":  # GPT2-ML has both of its norms there
        return (prefix + "attention.output.LayerNorm",)
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
    except KeyError as error:
        raise ValueError(f"{path}: not Keras 2 HDF5 weights ({error.args[0]}); copy the file again.") from None
    except OSError as error:
        raise ValueError(f"{path}: not a readable HDF5 file ({str(error).splitlines()[0]}).") from None


def _layer_arrays(layer: str, names: Sequence[str], values: Sequence[np.ndarray]) -> dict[str, np.ndarray]:
    if layer == "Embedding-Relative-Position":
        return {RELATIVE_TABLE: values[0]}
    modules = _modules(layer)
    if match := _GATED.match(layer):  # its kernels, and its vectors, come in this order each
        start = f"encoder.layer.{match[1]}.attention."
        kernels = iter(("self.inner.weight", "output.dense.weight"))
        vectors = iter(("self.query_scale", "self.key_scale"))
        ours = [start + next(kernels if "kernel" in name.split("/")[-1] else vectors) for name in names]
        return dict(zip(ours, values, strict=True))
    if modules is None and (theirs := hdf5_names(layer, len(names))) is not None:
        return dict(zip(theirs, values, strict=True))
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


def write_bert4keras(path: str | Path, model: Transformer) -> None:
    """Writes what bert4keras' model of the same config and heads loads with `model.load_weights(path)`.

    Keras 2 reads the layers in the order of the file, which is that of bert4keras' models.

    Raises:
        UserError: bert4keras has no such model.
    """
    config = model.config
    unknown = {
        "another layout than BERT's": not config.has_bert_layout,
        "positions counted from the padding id": config.position == "counted",
        "padding other than id 0": config.pad_id != 0,
        "a layer_norm_eps other than 1e-12": config.layer_norm_epsilon != 1e-12,
        "talking heads": config.talking_heads,
        "scores added over all layers": config.residual_attention_scores == "running",
        "both heads of ELECTRA": bool(model.with_mlm and model.with_discriminator),
    }
    if has := [what for what, there in unknown.items() if there]:
        raise UserError("bert4keras knows no model with {what}; convert it to nlptasks instead.", what=has[0])
    arrays, layers = export_weights(model), list(_layers_of(model))
    with h5py.File(path, "w") as file:
        file.attrs["layer_names"] = [layer.encode() for layer in layers]
        file.attrs["backend"], file.attrs["keras_version"] = b"tensorflow", b"2.12.0"
        for layer in layers:
            weights = dict(_layer_weights(layer, arrays, model))
            group = file.create_group(layer)
            group.attrs["weight_names"] = [name.encode() for name in weights]
            for name, array in weights.items():
                group.create_dataset(name, data=array)


def _layers_of(model: Transformer) -> Iterator[str]:
    """The layers with weights of bert4keras' model, in the order in which Keras 2 lists them."""
    config, embeddings = model.config, model.embeddings
    there = {
        "Embedding-Token": True,
        "Embedding-Segment": embeddings.segment is not None,
        "Embedding-Position": embeddings.position is not None,
        "Embedding-Norm": True,
        "Embedding-Mapping": embeddings.mapping is not None,
        "Embedding-Relative-Position": config.position == "relative",
    }
    yield from (layer for layer, wanted in there.items() if wanted)
    for i in range(len(model.blocks)):
        block = "Transformer-" if config.shared_layers else f"Transformer-{i}-"
        for part in ("MultiHeadSelfAttention", "MultiHeadSelfAttention-Norm", "FeedForward", "FeedForward-Norm"):
            yield block + part
    pooler = ["Pooler-Dense"] if model.pooler is not None else []
    if model.mlm is not None:
        yield from ("MLM-Dense", "MLM-Norm")
    if model.nsp is not None:  # one layer later, so that the pooler comes one place sooner
        yield from pooler
    if model.mlm is not None:
        yield "MLM-Bias"
    yield from ["NSP-Proba"] if model.nsp is not None else pooler
    if model.discriminator is not None:
        yield from ("Discriminator-Dense", "Discriminator-Prediction")


def _layer_weights(layer: str, arrays: dict[str, np.ndarray], model: Transformer) -> Iterator[tuple[str, np.ndarray]]:
    """Names and arrays of one layer of the file, in its order."""
    if layer == "Embedding-Relative-Position":
        config = model.config
        table = np.asarray(sinusoid_table(2 * config.relative_distance + 1, config.key_size), "float32")
        yield f"{layer}/embeddings:0", table
        return
    modules = _modules(layer)
    assert modules is not None  # a layer of `_layers_of`
    if layer == "MLM-Bias":
        yield f"{layer}/beta:0", arrays[f"{modules[0]}.bias"]
    elif layer.endswith("-Norm"):
        yield f"{layer}/beta:0", arrays[f"{modules[0]}.bias"]
        yield f"{layer}/gamma:0", arrays[f"{modules[0]}.weight"]
        kernels = (arrays.get(f"{modules[0]}{CONDITION}{part}.weight") for part in ("hidden", "beta", "gamma"))
        for name, kernel in zip(("dense", "dense_1", "dense_2"), (k for k in kernels if k is not None), strict=False):
            yield f"{layer}/{name}/kernel:0", kernel.T
    elif len(modules) == 1 and layer.startswith("Embedding-") and layer != "Embedding-Mapping":
        yield f"{layer}/embeddings:0", arrays[f"{modules[0]}.weight"]
    else:
        for i, module in enumerate(modules):
            inner = "" if len(modules) == 1 else "dense/" if i == 0 else f"dense_{i}/"
            yield f"{layer}/{inner}kernel:0", arrays[f"{module}.weight"].T
            yield f"{layer}/{inner}bias:0", arrays[f"{module}.bias"]
