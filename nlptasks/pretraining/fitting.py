"""Whether a training step fits onto devices that are not there, and how large a batch does. JAX only."""

import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import jax

from nlptasks.backend.mesh import check_heads, parse_mesh, use_mesh
from nlptasks.core.transformer import Transformer
from nlptasks.pretraining.configs import named_config, step_flops
from nlptasks.pretraining.objectives import ATTENTION, Objective
from nlptasks.pretraining.step import State, Step, make_step, state_of
from nlptasks.pretraining.topology import GIB, Compiled, compile_for, memory_of_device, topology_mesh
from nlptasks.text.vocab import SPECIAL_TOKENS
from nlptasks.train.optimizers import UNDECAYED, Lamb, PiecewiseLinear
from nlptasks.train.progress import say
from nlptasks.train.run import start_run

if TYPE_CHECKING:
    from nlptasks.pretraining.commands.topology import Check

CompileRows = Callable[[int], Compiled | None]
"""compile(rows a device) -> what came out, None where the compiler refuses what is far beyond the memory"""


def check_topologies(options: "Check") -> Iterator[dict[str, Any]]:
    """Compiles the step for each topology.

    Yields:
        What came out, as JSON holds it: `topology`, `config`, `batch_per_device`, `seq_length`, `mesh`, `hbm_gib` (None
        where it is not known), `fits`, and unless the compiler refused the step the fields of `Compiled`,
        `analytic_flops`, `flops_ratio`, `gib_per_device`; `largest_batch_per_device` where it is asked for.

    Raises:
        ValueError: a topology or mesh that cannot be, or a compiler that is not installed.
    """
    sizes = None if options.mesh is None else parse_mesh(options.mesh)
    model_places = 1 if sizes is None else sizes["model"]
    jax.config.update("jax_num_cpu_devices", model_places)
    start_run(0, options.precision)
    use_mesh(f"data=1,model={model_places}")  # weights are cut as on the slice, without its data places
    model = build_model(options)
    check_heads(model.config.num_heads, {"model": model_places})
    optimizer = Lamb(
        PiecewiseLinear(1e-4, {1000: 1.0}),
        exclude_from_layer_adaptation=UNDECAYED if options.optimizer == "lamb" else ("",),
        global_clipnorm=1.0,
    )
    state, step = state_of(model, optimizer), make_step(model, optimizer)
    for name in options.topology:
        yield check_topology(options, name, sizes, model, state, step)


def check_topology(
    options: "Check", name: str, sizes: dict[str, int] | None, model: Transformer, state: State, step: Step
) -> dict[str, Any]:
    """Compiles the step for one topology; returns what `check_topologies` yields."""
    mesh, sizes = topology_mesh(name, sizes)
    objective, memory = make_objective(options), memory_of_device(name, mesh)

    def compile_rows(rows: int) -> Compiled | None:
        started = time.monotonic()
        try:
            result = compile_for(step, state, objective, rows * sizes["data"], options.accumulate, mesh)
        except jax.errors.JaxRuntimeError as error:
            if "RESOURCE_EXHAUSTED" not in str(error):
                raise
            result = None
        say(f"{name}: {rows} rows a device compiled in {time.monotonic() - started:.0f} s")
        return result

    result = compile_rows(options.batch_per_device)
    rows = options.batch_per_device * sizes["data"]
    flops = step_flops(model.config, rows, options.seq_length, objective.num_targets)
    mesh_text = f"data={sizes['data']},model={sizes['model']}"
    found = {"topology": name} | summary(options, mesh_text, memory, result, flops)
    if options.largest and memory:
        found["largest_batch_per_device"] = largest_batch(compile_rows, memory * GIB, 8 * options.accumulate)
    return found


def build_model(options: "Check") -> Transformer:
    """The model, with random weights."""
    attention = ATTENTION[options.objective]
    config = named_config(options.config, options.vocab_size, options.seq_length, attention=attention)
    model = Transformer(config, with_mlm="linear")
    model.build()
    model.recompute = options.recompute
    return model


def make_objective(options: "Check") -> Objective:
    """The objective; only shapes are read from it."""
    return Objective(
        name=options.objective,
        vocab={token: i for i, token in enumerate((*SPECIAL_TOKENS, "字"))},
        seq_length=options.seq_length,
        isolate_documents=options.isolate_documents,
    )


def summary(
    options: "Check", mesh: str, memory: float | None, result: Compiled | None, analytic_flops: float
) -> dict[str, Any]:
    """What is known of a compiled step, see `check_topologies`; `result` None: the compiler refused it."""
    found = {
        "config": options.config,
        "batch_per_device": options.batch_per_device,
        "seq_length": options.seq_length,
        "mesh": mesh,
        "hbm_gib": memory,
        "fits": result is not None and (memory is None or result.bytes_per_device <= memory * GIB),
    }
    if result is None:
        return found
    return (
        found
        | asdict(result)
        | {
            "analytic_flops": analytic_flops,
            "flops_ratio": result.flops / analytic_flops,
            "gib_per_device": round(result.bytes_per_device / GIB, 2),
        }
    )


def largest_batch(compile_rows: CompileRows, memory: float, unit: int) -> int:
    """The largest multiple of `unit` rows that fits, 0 if none: guessed from how memory grows, then compiled.

    Args:
        memory: bytes of a device.
    """

    def used(rows: int) -> float:
        result = compile_rows(rows)
        return float("inf") if result is None else result.bytes_per_device

    fits, fitting = unit, used(unit)
    if fitting > memory:
        return 0
    tried, beyond = 2 * unit, sys.maxsize
    while fits < tried < beyond:
        now = used(tried)
        if now > memory:
            beyond = tried
        if now == float("inf"):  # refused: nothing is known of its memory
            tried = fits + (tried - fits) // (2 * unit) * unit
            continue
        growth = max(1.0, (now - fitting) / (tried - fits))
        if now <= memory:
            fits, fitting = tried, now
        tried = min(fits + int((memory - fitting) / growth) // unit * unit, beyond - unit)
    return fits
