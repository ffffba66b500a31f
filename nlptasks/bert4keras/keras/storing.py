"""Weights and models in files of any name: HDF5 as Keras 2 writes it, TensorFlow's format of tf.keras, Keras' own.

Weights stand in a layer's group in bert4keras' order. Reading matches layers by name, and what is left in its order.
"""

import os
import re
import shutil
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import h5py
import keras as _keras
import numpy as np

from nlptasks.bert4keras.keras.owners import owners
from nlptasks.checkpoints.google import read_variables
from nlptasks.errors import UserError, some_of

_ATTRIBUTE = 64512  # the most bytes of an attribute in HDF5
_KERAS = (".keras", ".weights.h5")


def weights_of(layer: Any) -> list[Any]:
    """The weights of a layer in bert4keras' order."""
    ordered = getattr(layer, "ordered_weights", None)
    if ordered is not None:
        return list(ordered())
    if isinstance(layer, _keras.Model):
        return [weight for inner in layer.layers for weight in weights_of(inner)]
    return list(layer.weights)


def _weighted(model: Any) -> list[tuple[str, list[Any]]]:
    return [(layer.name, weights) for layer in model.layers if (weights := weights_of(layer))]


class Turned:
    """A matrix as the files of bert4keras hold it, which we have the other way round; it takes both."""

    def __init__(self, weight: Any, name: str) -> None:
        self.weight, self.name, self.path = weight, name, weight.path
        self.shape = tuple(weight.shape)[::-1]

    @property
    def value(self) -> np.ndarray:
        """The matrix."""
        return np.asarray(self.weight.value).T

    def fits(self, value: np.ndarray) -> bool:
        """Whether it can be assigned."""
        return value.shape in (self.shape, self.shape[::-1])

    def assign(self, value: np.ndarray) -> None:
        """Sets it, from a file of bert4keras or from one of ours that is older."""
        self.weight.assign(value.T if value.shape == self.shape else value)


class Storing:
    """`save_weights`, `load_weights` and `save` under names with any ending."""

    def save_weights(self, filepath: Any, overwrite: bool = True, save_format: Any = None, **options: Any) -> None:
        """Writes the weights as Keras 2 writes them in HDF5, whatever the ending of the name.

        model.save_weights("best_model.weights")
        """
        if str(filepath).endswith(".weights.h5"):
            super().save_weights(str(filepath), overwrite=overwrite)  # type: ignore[misc]
            return
        with tempfile.NamedTemporaryFile(dir=Path(filepath).resolve().parent, delete=False) as file:
            written = Path(file.name)
        try:
            with h5py.File(written, "w") as file:
                _write(file, self)
            _ordinary_mode(written)
            os.replace(written, filepath)
        finally:
            written.unlink(missing_ok=True)

    def load_weights(self, filepath: Any, by_name: bool = False, skip_mismatch: bool = False, **options: Any) -> None:
        """Loads weights that this class, Keras 2 or tf.keras saved for the same model, its own head included.

            model.load_weights("best_model.weights")

        Raises:
            FileNotFoundError, UserError: there is no such file, or it is of another model; nothing is loaded then.
        """
        path = str(filepath)
        if path.endswith(".weights.h5") and _is_keras_3(path):
            super().load_weights(path, skip_mismatch=skip_mismatch)  # type: ignore[misc]
        elif os.path.exists(path + ".index"):
            _load(self, _tensorflow_layers(path), path, False, skip_mismatch, named=False)
        elif os.path.exists(path):
            _load(self, _hdf5_layers(path), path, by_name, skip_mismatch)
        else:
            raise FileNotFoundError(f"{path}: no such weights.")

    def save(self, filepath: Any, overwrite: bool = True, include_optimizer: bool = True, **options: Any) -> None:
        """Writes the whole model as Keras does, under a name with any ending; `load_model` reads it."""
        if str(filepath).endswith(_KERAS[0]):
            super().save(filepath, overwrite=overwrite)  # type: ignore[misc]
            return
        with tempfile.TemporaryDirectory(dir=Path(filepath).resolve().parent) as folder:
            written = os.path.join(folder, "model.keras")
            super().save(written)  # type: ignore[misc]
            os.replace(written, filepath)


def load_model(filepath: Any, custom_objects: Any = None, compile: bool = True, **options: Any) -> Any:
    """Reads a model that `save` wrote, under a name with any ending.

    model = load_model("test.model")
    """
    with owners(), tempfile.TemporaryDirectory() as folder:
        path = str(filepath)
        if not path.endswith((".keras", ".h5", ".hdf5")) and os.path.isfile(path):
            path = shutil.copyfile(path, os.path.join(folder, "model.keras"))
        return _keras.saving.load_model(path, custom_objects=custom_objects, compile=compile)


def _ordinary_mode(path: Path) -> None:
    mask = os.umask(0)
    os.umask(mask)
    path.chmod(0o666 & ~mask)


def _write(file: Any, model: Any) -> None:
    file.attrs["backend"] = b"tensorflow"
    file.attrs["keras_version"] = b"2.3.1"
    _write_names(file, "layer_names", [layer.name for layer in model.layers])
    for layer in model.layers:
        group = file.create_group(layer.name)
        weights = weights_of(layer)
        names = _weight_names(layer.name, weights)
        _write_names(group, "weight_names", names)
        for name, weight in zip(names, weights, strict=True):
            group.create_dataset(name, data=np.asarray(weight.value, "float32"))


def _weight_names(layer: str, weights: Sequence[Any]) -> list[str]:
    names: list[str] = []
    for weight in weights:
        name, count = f"{layer}/{weight.name}", 0
        while f"{name}_{count}:0" in names or (count == 0 and f"{name}:0" in names):
            count += 1
        names.append(f"{name}_{count}:0" if count else f"{name}:0")
    return names


def _write_names(group: Any, name: str, values: Sequence[str]) -> None:
    encoded = [value.encode() for value in values]
    parts = 1
    while any(sum(map(len, encoded[i::parts])) > _ATTRIBUTE // 2 for i in range(parts)):
        parts += 1
    if parts == 1:
        group.attrs[name] = np.array(encoded, dtype=f"S{max(map(len, encoded), default=1)}")
        return
    size = -(-len(encoded) // parts)
    for i in range(parts):
        group.attrs[f"{name}{i}"] = encoded[i * size : (i + 1) * size]


def _names(group: Any, name: str) -> list[str]:
    if name in group.attrs:
        found = list(group.attrs[name])
    else:
        found, i = [], 0
        while f"{name}{i}" in group.attrs:
            found += list(group.attrs[f"{name}{i}"])
            i += 1
    return [value.decode() if isinstance(value, bytes) else str(value) for value in found]


def _is_keras_3(path: str) -> bool:
    with h5py.File(path, "r") as file:
        return "layer_names" not in file.attrs and "model_weights" not in file


def _hdf5_layers(path: str) -> list[tuple[str, list[np.ndarray]]]:
    try:
        with h5py.File(path, "r") as file:
            root = file.get("model_weights", file)
            layers = [(name, root[name]) for name in _names(root, "layer_names")]
            return [
                (name, [group[weight][()] for weight in weights])
                for name, group in layers
                if (weights := _names(group, "weight_names"))
            ]
    except OSError as error:
        raise UserError("{path}: no readable HDF5 file ({why}).", path=path, why=str(error).splitlines()[0]) from None


_PART = re.compile(r"layer_with_weights-(\d+)/")
_ORDER = ("embeddings", "query", "q_", "qu_", "uq_", "i_", "k_", "v_", "i0_", "i1_", "p_", "o_", "beta", "gamma")
_CONDITIONED = ("hidden_dense", "beta_dense", "gamma_dense")
_LEAVES = ("embeddings", "beta", "gamma", "kernel", "recurrent_kernel", "bias")


def _tensorflow_layers(path: str) -> list[tuple[str, list[np.ndarray]]]:
    """The layers of a file that tf.keras wrote: numbered in the order of the model, each weight under its attribute."""
    groups: dict[str, list[tuple[str, np.ndarray]]] = {}
    suffix = "/.ATTRIBUTES/VARIABLE_VALUE"
    for name, value in read_variables(path, "layer_with_weights-", suffix).items():
        number = _PART.match(name)
        if number and ".OPTIMIZER_SLOT" not in name:
            groups.setdefault(number[1], []).append((name[: -len(suffix)], value))
    ordered = sorted(groups.items(), key=lambda item: int(item[0]))
    return [(number, [value for _, value in sorted(group, key=_rank)]) for number, group in ordered]


def _rank(item: tuple[str, np.ndarray]) -> tuple[Any, ...]:
    parts = item[0].split("/")[1:]
    inner = tuple(int(p.rsplit("-", 1)[1]) for p in parts[:-1] if p.startswith("layer_with_weights-"))
    owner = parts[-2] if len(parts) > 1 else ""
    if owner in _CONDITIONED:
        place = len(_ORDER) + _CONDITIONED.index(owner)
    else:
        place = next((i for i, start in enumerate(_ORDER) if owner.startswith(start)), 0)
    leaf = _LEAVES.index(parts[-1]) if parts[-1] in _LEAVES else len(_LEAVES)
    return (*inner, place, leaf, parts[-1])


def _load(
    model: Any,
    found: list[tuple[str, list[np.ndarray]]],
    path: str,
    by_name: bool,
    skip_mismatch: bool,
    named: bool = True,
) -> None:
    wanted = _weighted(model)
    fixed = [f for f in found if f[0].endswith(("Relative-Position", "Rotary-Position"))]
    known = {name for name, _ in wanted}
    found = [f for f in found if f not in fixed or f[0] in known] if named else found
    if not named:
        found = [f for f in found if not _is_fixed(f[1], wanted, found)]
    pairs, rest_found, rest_wanted = [], list(found), list(wanted)
    if named:
        by = dict(found)
        for name, weights in wanted:
            if name in by and _fits(weights, by[name]):
                pairs.append((name, weights, by[name]))
                rest_wanted.remove(next(w for w in rest_wanted if w[0] == name))
                rest_found.remove(next(f for f in rest_found if f[0] == name))
    if not by_name:
        if len(rest_found) != len(rest_wanted) and not skip_mismatch:
            raise UserError(
                "{path}: holds {count} layers with weights, the model has {wanted}. Left in the file: {left}; wanted: "
                "{missing}. Build the model with the script that saved the weights.",
                path=path,
                count=len(found),
                wanted=len(wanted),
                left=_short(rest_found),
                missing=_short(rest_wanted),
            )
        pairs += [(n, w, values) for (n, w), (_, values) in zip(rest_wanted, rest_found, strict=False)]
    for name, weights, values in pairs:
        if not _fits(weights, values) and not skip_mismatch:
            raise UserError(
                "{path}: the layer {name} has weights {ours}, the file has {theirs}.",
                path=path,
                name=name,
                ours=[tuple(w.shape) for w in weights],
                theirs=[v.shape for v in values],
            )
    for _, weights, values in pairs:
        if _fits(weights, values):
            for weight, value in zip(weights, values, strict=True):
                weight.assign(value)


def _is_fixed(values: list[np.ndarray], wanted: Sequence[Any], found: Sequence[Any]) -> bool:
    """A table of fixed vectors (NEZHA) that our layer computes and does not store."""
    if len(found) <= len(wanted) or len(values) != 1 or values[0].ndim != 2:
        return False
    return not values[0].size or bool(np.allclose(values[0][:, 0] ** 2 + values[0][:, 1] ** 2, 1.0, atol=1e-4))


def _fits(weights: Sequence[Any], values: Sequence[np.ndarray]) -> bool:
    def fits(weight: Any, value: np.ndarray) -> bool:
        return weight.fits(value) if isinstance(weight, Turned) else tuple(weight.shape) == value.shape

    return len(weights) == len(values) and all(map(fits, weights, values))


def _short(layers: Sequence[tuple[str, Any]]) -> str:
    return some_of([name for name, _ in layers], 4) or "none"
