"""Many devices: a mesh, and which weights are cut along it. The layout stands beside the model, never inside."""

import re
from collections import Counter
from collections.abc import Mapping, Sequence

import keras
from keras import ops

from nlptasks.backend.programs import Batch, Tensor
from nlptasks.errors import UserError

AXES = ("data", "model")
# A weight's path -> the mesh axis along which each of its own axes is cut (Megatron-LM, arXiv 1909.08053): heads and
# inner units are cut, so that a block needs one sum after attention and one after the feed-forward part.
CUT_WEIGHTS = {
    r"embeddings/token/embeddings$": ("model", None),
    r"attention/(query|key|value)/kernel$": (None, "model"),
    r"attention/(query|key|value)/bias$": ("model",),
    r"attention/output/kernel$": ("model", None),
    r"ffn/inner/kernel$": (None, "model"),
    r"ffn/inner/bias$": ("model",),
    r"ffn/outer/kernel$": ("model", None),
    r"mlm/bias$": ("model",),
}


def parse_mesh(text: str) -> dict[str, int]:
    """The sizes by axis, "data" first, of a text like `data=8` or `data=4,model=2`; an axis left out has size 1.

    Raises:
        UserError: another name, one named twice, or a size below 1.
    """
    sizes: dict[str, int] = {}
    for part in text.split(","):
        name, _, size = part.strip().partition("=")
        if name not in AXES or name in sizes or not size.isdecimal() or int(size) < 1:
            raise UserError(
                "{field:mesh} takes sizes by axis, as in data=8 or data=4,model=2. Received: {text!r}.", text=text
            )
        sizes[name] = int(size)
    return {axis: sizes.get(axis, 1) for axis in AXES}


def axes_of(path: str, shape: tuple[int, ...], sizes: Mapping[str, int]) -> tuple[str | None, ...]:
    """How a weight is cut, by its path: a mesh axis or None for each of its axes.

    A vocabulary that the mesh does not divide is not cut.
    """
    for pattern, axes in CUT_WEIGHTS.items():
        if re.search(pattern, path):
            fits = all(axis is None or size % sizes[axis] == 0 for axis, size in zip(axes, shape, strict=True))
            return axes if fits else (None,) * len(shape)
    return (None,) * len(shape)


class MeshDistribution(keras.distribution.ModelParallel):
    """Batches cut along "data", weights along "model" as `CUT_WEIGHTS` says; everything else is on every device.

    Args:
        sizes: by axis, see `parse_mesh`.
        devices: their names, as `keras.distribution.list_devices` gives them; None: the first ones of all.

    Raises:
        UserError: fewer devices than the mesh has places.
    """

    def __init__(self, sizes: Mapping[str, int], devices: list[str] | None = None):
        count = sizes["data"] * sizes["model"]
        devices = keras.distribution.list_devices() if devices is None else devices
        if len(devices) < count:
            raise UserError(
                "{field:mesh} data={sizes[data]},model={sizes[model]} has {count} places. Received: {found} devices "
                "({names}).",
                sizes=sizes,
                count=count,
                found=len(devices),
                names=", ".join(devices[:8]),
            )
        mesh = keras.distribution.DeviceMesh((sizes["data"], sizes["model"]), AXES, devices[:count])
        layouts = keras.distribution.LayoutMap(mesh)
        super().__init__(layout_map=layouts, batch_dim_name="data", auto_shard_dataset=False)
        self.sizes = dict(sizes)

    def get_data_layout(self, data_shape: Sequence[int]) -> keras.distribution.TensorLayout:
        """How a batch's array is cut: along its first axis where the mesh divides it."""
        cut = bool(data_shape) and data_shape[0] % self.sizes["data"] == 0
        return self._layout((["data"] if cut else [None]) + [None] * (len(data_shape) - 1) if data_shape else [])

    def get_variable_layout(self, variable: keras.Variable) -> keras.distribution.TensorLayout:
        """How a weight is cut, by its path."""
        return self._layout(axes_of(variable.path, tuple(variable.shape), self.sizes))

    def _layout(self, axes: Sequence[str | None]) -> keras.distribution.TensorLayout:
        return keras.distribution.TensorLayout(axes, self.device_mesh)


def use_mesh(text: str) -> MeshDistribution:
    """Makes a mesh of the devices, puts every weight made from now on onto it, and returns it.

    Raises:
        UserError: a mesh that cannot be read, more places than devices, or another backend than JAX.
    """
    sizes = parse_mesh(text)
    if keras.backend.backend() != "jax":
        raise UserError(
            "{field:mesh} runs on JAX; set the environment variable KERAS_BACKEND=jax. Received: {backend}.",
            backend=keras.backend.backend(),
        )
    distribution = MeshDistribution(sizes)
    keras.distribution.set_distribution(distribution)
    return distribution


def over_devices(batch: Batch) -> Batch:
    """A batch's arrays, their first axes cut over the devices of the mesh in use, if there is one.

    An array whose first axis the mesh does not divide is copied to every device: the numbers are the same, but no time
    is saved.
    """
    distribution = keras.distribution.distribution()
    if distribution is None:
        return batch

    def cut(array: Tensor) -> Tensor:
        array = ops.convert_to_numpy(array)
        return keras.distribution.distribute_tensor(array, distribution.get_data_layout(array.shape))

    return keras.tree.map_structure(cut, batch)


def check_heads(num_heads: int, mesh: Mapping[str, int]) -> None:
    """Refuses a mesh that would cut through a head."""
    if num_heads % mesh["model"]:
        raise ValueError(f"the mesh must divide the heads. Received: model={mesh['model']}, num_heads={num_heads}.")


def check_places(processes: Sequence[Sequence[int]], process_count: int) -> None:
    """Refuses a mesh unless every data place lies within one process and all processes have equally many.

    Args:
        processes: for each data place the processes that its devices belong to.
    """
    owners = [set(row) for row in processes]
    counts = Counter(min(row) for row in owners)
    if any(len(row) > 1 for row in owners) or len(counts) < process_count or len(set(counts.values())) > 1:
        raise ValueError(
            "each process must hold as many whole data places of the mesh as the others. Received: places in processes "
            f"{[sorted(row) for row in owners][:16]} of {process_count}; a model axis must fit into one process, and "
            "the mesh must take all devices."
        )
