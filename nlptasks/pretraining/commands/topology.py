"""Compiles the training step of `train` for TPUs that are not there: does it fit, what does it exchange?

    nlptasks pretraining topology --config base --batch-per-device 32 --seq-length 512 --topology v5e:2x4

Needs the TPU compiler (`pip install libtpu`) and no TPU; a step takes a minute or two to compile on 2 cores.
"""

import os

os.environ["KERAS_BACKEND"] = "jax"
# the compiler asks the machine it runs on what TPU it has; these are the answers of one that has none
os.environ.setdefault("JAX_PLATFORMS", "cpu")
os.environ.setdefault("TPU_SKIP_MDS_QUERY", "1")
os.environ.setdefault("TPU_WORKER_HOSTNAMES", "localhost")
os.environ.setdefault("TPU_WORKER_ID", "0")
os.environ.setdefault("TPU_ACCELERATOR_TYPE", "v5litepod-8")

import json
import time
from dataclasses import asdict, dataclass

import jax

from nlptasks.applications.options import require_positive
from nlptasks.backend.mesh import check_heads, parse_mesh, use_mesh
from nlptasks.console import say
from nlptasks.core.transformer import Transformer
from nlptasks.pretraining.configs import named_config, step_flops
from nlptasks.pretraining.objectives import ATTENTION, OBJECTIVES, SPECIALS, Objective
from nlptasks.pretraining.step import make_step, state_of
from nlptasks.pretraining.topology import GIB, Compiled, compile_for, memory_of_device, topology_mesh
from nlptasks.train.optimizers import UNDECAYED, Lamb, PiecewiseLinear
from nlptasks.train.run import start_run


@dataclass(kw_only=True)
class Check:
    """Compile the training step for TPU topologies."""

    topology: tuple[str, ...] = ("v5e:2x4",)
    """slices, as JAX names them: v5e:2x4, v6e:2x4, v4:2x2x1, v5p:2x2x1"""
    config: str = "base"
    """tiny, mini, small, base or large, with a + behind it for larger keys"""
    batch_per_device: int = 32
    """rows a device"""
    seq_length: int = 512
    """tokens of a row"""
    vocab_size: int = 21128
    """of the model"""
    objective: str = "mlm"
    """mlm, lm or unilm"""
    isolate_documents: bool = False
    """tokens see their own document only"""
    accumulate: int = 1
    """parts of a step"""
    optimizer: str = "adamw"
    """adamw or lamb"""
    precision: str = "bfloat16"
    """bfloat16 or float32"""
    recompute: bool = False
    """keep no activations inside of the layers"""
    mesh: str | None = None
    """data=4,model=2, say; left out, all devices as data"""
    largest: bool = False
    """also find the largest batch that fits (several more compilations)"""
    json: bool = False
    """one JSON object a topology, on standard output"""

    def run(self) -> None:
        """Compile and print."""
        require_positive(self, "batch_per_device", "seq_length", "vocab_size", "accumulate")
        if self.objective not in OBJECTIVES:
            raise ValueError(f"--objective is one of {', '.join(OBJECTIVES)}. Received: {self.objective!r}.")
        if self.batch_per_device % self.accumulate:
            raise ValueError(
                f"--batch-per-device must be a multiple of --accumulate. Received: {self.batch_per_device}, "
                f"{self.accumulate}."
            )
        sizes = None if self.mesh is None else parse_mesh(self.mesh)
        model_places = 1 if sizes is None else sizes["model"]
        jax.config.update("jax_num_cpu_devices", model_places)
        start_run(0, self.precision)
        use_mesh(f"data=1,model={model_places}")  # weights are cut as on the slice, without its data places
        model = self._model()
        check_heads(model.config.num_heads, {"model": model_places})
        optimizer = Lamb(
            PiecewiseLinear(1e-4, {1000: 1.0}),
            exclude_from_layer_adaptation=UNDECAYED if self.optimizer == "lamb" else ("",),
            global_clipnorm=1.0,
        )
        state, step = state_of(model, optimizer), make_step(model, optimizer)
        for name in self.topology:
            self._check(name, sizes, model, state, step)

    def _model(self) -> Transformer:
        config = named_config(self.config, self.vocab_size, self.seq_length, attention=ATTENTION[self.objective])
        model = Transformer(config, with_mlm="linear")
        model.build()
        model.recompute = self.recompute
        return model

    def _objective(self) -> Objective:
        vocab = {token: i for i, token in enumerate((*SPECIALS, "字"))}  # only shapes are read from it
        return Objective(
            name=self.objective,
            vocab=vocab,
            seq_length=self.seq_length,
            isolate_documents=self.isolate_documents,
        )

    def _check(self, name, sizes, model, state, step) -> None:
        mesh, sizes = topology_mesh(name, sizes)
        objective, memory = self._objective(), memory_of_device(name, mesh)

        def compiled(rows_per_device) -> Compiled | None:
            """None where the compiler refuses what is far beyond the memory."""
            started = time.monotonic()
            try:
                result = compile_for(step, state, objective, rows_per_device * sizes["data"], self.accumulate, mesh)
            except jax.errors.JaxRuntimeError as error:
                if "RESOURCE_EXHAUSTED" not in str(error):
                    raise
                result = None
            say(f"{name}: {rows_per_device} rows a device compiled in {time.monotonic() - started:.0f} s")
            return result

        result = compiled(self.batch_per_device)
        rows = self.batch_per_device * sizes["data"]
        found = {
            "topology": name,
            "config": self.config,
            "batch_per_device": self.batch_per_device,
            "seq_length": self.seq_length,
            "hbm_gib": memory,
            "fits": result is not None and (memory is None or result.bytes_per_device <= memory * GIB),
        }
        if result is not None:
            analytic = step_flops(model.config, rows, self.seq_length, objective.num_targets)
            found |= asdict(result) | {
                "analytic_flops": analytic,
                "flops_ratio": result.flops / analytic,
                "gib_per_device": round(result.bytes_per_device / GIB, 2),
            }
        if self.largest and memory:
            found["largest_batch_per_device"] = self._largest(compiled, memory * GIB)
        print(json.dumps(found) if self.json else _text(found, sizes))

    def _largest(self, compiled, memory: int) -> int:
        """The largest multiple of 8 x the parts that fits, 0 if none: from how memory grows, then by compiling."""
        unit = 8 * self.accumulate

        def used(rows):
            result = compiled(rows)
            return float("inf") if result is None else result.bytes_per_device

        fits, fitting = unit, used(unit)
        if fitting > memory:
            return 0
        tried, beyond = 2 * unit, float("inf")
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


def _text(found, sizes) -> str:
    lines = [
        f"{found['topology']}: {found['config']}, {found['batch_per_device']} x {found['seq_length']} a device, "
        f"data={sizes['data']},model={sizes['model']}"
    ]
    if "gib_per_device" not in found:
        lines.append(f"  memory       does not fit into the {found['hbm_gib'] or '?'} GiB of a device")
    else:
        fits = "" if found["fits"] else ": does not fit"
        lines += [
            f"  memory       {found['gib_per_device']:.2f} GiB a device of {found['hbm_gib'] or '?'}{fits}",
            f"  operations   {found['flops'] / 1e12:.2f} TFLOP a step, {found['flops_ratio']:.3f} x the analytic count",
            f"  collectives  {_counts(found['collectives'])}",
            f"  host         {_counts(found['host_transfers'])}",
        ]
    if "largest_batch_per_device" in found:
        lines.append(f"  largest      {found['largest_batch_per_device']} rows a device")
    return "\n".join(lines)


def _counts(counts) -> str:
    return ", ".join(f"{count} {name}" for name, count in counts.items()) or "none"
