"""Compiling the training step for TPUs that are not there, and reading what the compiler says of it. JAX only."""

import re
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import jax
import numpy as np
from jax.experimental import topologies
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from nlptasks.backend.mesh import AXES
from nlptasks.errors import UserError
from nlptasks.pretraining.objectives import Objective
from nlptasks.pretraining.step import State, Step, batch_sharding

GIB = 1 << 30
# GiB of a chip (two devices up to v4) by the generation that a topology names first, as the maker states it
HBM_GIB = {"v2": 16, "v3": 32, "v4": 32, "v5e": 16, "v5p": 95, "v6e": 32}
COLLECTIVES = ("all-reduce", "all-gather", "all-to-all", "collective-permute", "reduce-scatter", "collective-broadcast")
HOST_TRANSFERS = ("infeed", "outfeed", "send", "recv", "MoveToHost", "MoveToDevice")


@dataclass
class Compiled:
    """What is known of a compiled step.

    Attributes:
        num_devices: of the topology.
        bytes_per_device: arguments, results that are not written over them, temporary memory and the program.
        flops: of the whole step over all devices, as the compiler counts them; NaN where it does not.
        collectives: how often each kind of exchange between devices stands in the program.
        host_transfers: how often the program talks to the host.
    """

    num_devices: int
    bytes_per_device: int
    flops: float
    collectives: dict[str, int] = field(default_factory=dict)
    host_transfers: dict[str, int] = field(default_factory=dict)


def topology_mesh(name: str, sizes: Mapping[str, int] | None) -> tuple[Mesh, dict[str, int]]:
    """A mesh over the devices of a topology like `v5e:2x4`, and its sizes; all of them as data where none are given.

    Raises:
        ValueError: the compiler is not installed, it does not know the name, or the mesh has another number of places.
    """
    try:
        devices = topologies.get_topology_desc(name, platform="tpu").devices
    except Exception as error:  # what jax and libtpu raise here differs between versions
        raise ValueError(
            f"no topology {name!r} ({' '.join(str(error).split())[:200]}); install the TPU compiler (pip install "
            "libtpu) and name a slice that exists, as in v5e:2x4, v6e:2x4, v4:2x2x1."
        ) from None
    sizes = dict(sizes or {"data": len(devices), "model": 1})
    if len(devices) != sizes["data"] * sizes["model"]:
        raise UserError(
            "{field:mesh} must have as many places as the topology has devices. Received: data={data},model={model} "
            "for the {count} devices of {name}.",
            **sizes,
            count=len(devices),
            name=name,
        )
    return Mesh(np.array(devices).reshape(sizes["data"], sizes["model"]), AXES), sizes


def memory_of_device(name: str, mesh: Mesh) -> float | None:
    """GiB of a device of a topology, None for a generation that is not known here."""
    devices = list(mesh.devices.flat)
    chips = len({tuple(device.coords) for device in devices})
    memory = HBM_GIB.get(name.partition(":")[0])
    return None if memory is None else memory * chips / len(devices)


def compile_for(step: Step, state: State, objective: Objective, rows: int, accumulate: int, mesh: Mesh) -> Compiled:
    """Compiles the step for a mesh and says what came out.

    Args:
        step: what `make_step` returns.
        state: arrays on a mesh with the same axes, whatever its size.
        rows: of a step, over all devices.
    """

    def there(array: jax.Array) -> jax.ShapeDtypeStruct:
        spec = array.sharding.spec if isinstance(array.sharding, NamedSharding) else PartitionSpec()
        return jax.ShapeDtypeStruct(array.shape, array.dtype, sharding=NamedSharding(mesh, spec))

    state = jax.tree.map(there, state)
    batch = abstract_batch(objective, rows, accumulate, batch_sharding(mesh))
    shardings = jax.tree.map(lambda array: array.sharding, state)
    lowered = jax.jit(step, donate_argnums=0, out_shardings=(shardings, None)).lower(state, batch)
    with tempfile.TemporaryDirectory() as folder:
        # the program as the TPU compiler itself writes it down: jaxlib cannot read every program of libtpu's
        compiled = lowered.compile({"xla_dump_to": folder, "xla_dump_hlo_as_text": True})
        text = "".join(path.read_text(encoding="utf-8") for path in Path(folder).glob("*.after_optimizations.txt"))
    memory = compiled.memory_analysis()
    if not text or memory is None:
        raise RuntimeError("the compiler has written no program down; this version of libtpu cannot be used here.")
    used = memory.argument_size_in_bytes + memory.output_size_in_bytes - memory.alias_size_in_bytes
    used += memory.temp_size_in_bytes + memory.generated_code_size_in_bytes
    return Compiled(
        num_devices=mesh.size,
        bytes_per_device=used,
        flops=float((compiled.cost_analysis() or {}).get("flops", float("nan"))) * mesh.size,
        collectives=_counted(text, COLLECTIVES),
        host_transfers=_counted(text, HOST_TRANSFERS),
    )


def abstract_batch(
    objective: Objective, rows: int, accumulate: int, sharding: NamedSharding | None
) -> dict[str, jax.ShapeDtypeStruct]:
    """The shapes of a step's batch."""
    widths = {"token_ids": objective.seq_length} | {
        f"target_{name}": objective.num_targets for name in ("positions", "ids", "weights")
    }
    if objective.name == "unilm" or objective.segments:
        widths["segment_ids"] = objective.seq_length
    if objective.isolate_documents:
        widths["document_ids"] = objective.seq_length
    kinds = {"target_weights": "float32"}
    return {
        name: jax.ShapeDtypeStruct((accumulate, rows // accumulate, width), kinds.get(name, "int32"), sharding=sharding)
        for name, width in widths.items()
    }


def _counted(text: str, names: Sequence[str]) -> dict[str, int]:
    """How often each instruction stands in a compiled program (the start of an asynchronous pair counts)."""
    found = {name: len(re.findall(rf"(?<![\w%-]){name}(?:-start)?(?:\.\d+)?\(|\"{name}\"", text)) for name in names}
    return {name: count for name, count in found.items() if count}
