"""Compiles the training step of `train` for TPUs that you do not have: does it fit, and what do the devices exchange?

    nlptasks pretraining topology --config base --batch-per-device 32 --seq-length 512 --topology v5e:2x4

Needs the TPU compiler (`pip install libtpu`) and no TPU; a step takes a minute or two to compile on 2 cores.
"""

import json
import os
from dataclasses import dataclass
from typing import Any

from nlptasks.console import padded
from nlptasks.errors import UserError, told
from nlptasks.train.options import PRECISIONS, OnKeras, Options, require_at_least, require_one_of

OBJECTIVES = ("mlm", "lm", "unilm")
MEMORY = "{gib_per_device:.2f} GiB a device of {room}"
TOO_MUCH = "{gib_per_device:.2f} GiB a device of {room}: does not fit"
OPERATIONS = "{tera:.2f} TFLOP a step, {ratio:.3f} x the analytic count"
OPTIMIZERS = ("adamw", "lamb")
# the compiler asks the machine it runs on what TPU it has; these are the answers of one that has none
NO_TPU = {
    "JAX_PLATFORMS": "cpu",
    "TPU_SKIP_MDS_QUERY": "1",
    "TPU_WORKER_HOSTNAMES": "localhost",
    "TPU_WORKER_ID": "0",
    "TPU_ACCELERATOR_TYPE": "v5litepod-8",
}


@dataclass(kw_only=True)
class Check(Options, OnKeras):
    """Compile the training step for TPU topologies."""

    topology: tuple[str, ...] = ("v5e:2x4",)
    """TPU slices by their JAX names: v5e:2x4, v6e:2x4, v4:2x2x1, v5p:2x2x1"""
    config: str = "base"
    """size of the model: tiny, mini, small, base or large; a + after the name gives larger keys"""
    batch_per_device: int = 32
    """number of rows on each device"""
    seq_length: int = 512
    """number of tokens per row"""
    vocab_size: int = 21128
    """size of the vocabulary"""
    objective: str = "mlm"
    """mlm, lm or unilm"""
    isolate_documents: bool = False
    """let tokens attend only to their own document"""
    accumulate: int = 1
    """number of parts in which a step is computed"""
    optimizer: str = "adamw"
    """adamw or lamb"""
    precision: str = "bfloat16"
    """bfloat16 or float32"""
    recompute: bool = False
    """compute activations inside the layers again for the gradient instead of keeping them"""
    mesh: str | None = None
    """mesh of devices, for example data=4,model=2; default: all devices as data"""
    largest: bool = False
    """also find the largest batch that fits (several more compilations)"""
    json: bool = False
    """print one JSON object per topology"""

    def check(self) -> None:
        """Refuses values that are out of range or contradict each other."""
        super().check()
        require_at_least(self, 1, "batch_per_device", "seq_length", "vocab_size", "accumulate")
        require_one_of(self, objective=OBJECTIVES, optimizer=OPTIMIZERS, precision=PRECISIONS)
        if self.batch_per_device % self.accumulate:
            raise UserError(
                "{field:batch_per_device} must be a multiple of {field:accumulate}. Received: {rows}, {parts}.",
                rows=self.batch_per_device,
                parts=self.accumulate,
            )

    def environment(self) -> dict[str, str]:
        """Environment variables to set before Keras is imported; those that are set already are kept."""
        return {"KERAS_BACKEND": "jax"} | {name: os.environ.get(name, value) for name, value in NO_TPU.items()}

    def run(self) -> None:
        """Compiles, and prints what came out of each topology."""
        from nlptasks.pretraining.fitting import check_topologies

        for found in check_topologies(self):
            print(json.dumps(found) if self.json else _text(found), flush=True)


def _text(found: dict[str, Any]) -> str:
    rows = {}
    values = found | {"room": found["hbm_gib"] or "?"}
    if "gib_per_device" not in found:
        rows["memory"] = told("does not fit into the {room} GiB of a device", **values)
    else:
        rows["memory"] = told(MEMORY if found["fits"] else TOO_MUCH, **values)
        rows["operations"] = told(OPERATIONS, tera=found["flops"] / 1e12, ratio=found["flops_ratio"])
        rows["collectives"], rows["host"] = _counts(found["collectives"]), _counts(found["host_transfers"])
    if "largest_batch_per_device" in found:
        rows["largest"] = told("{largest_batch_per_device} rows a device", **values)
    lines = [told("{topology}: {config}, {batch_per_device} x {seq_length} a device, {mesh}", **values)]
    return "\n".join([*lines, *(f"  {padded(told(name), 12)} {value}" for name, value in rows.items())])


def _counts(counts: dict[str, int]) -> str:
    return ", ".join(f"{count} {name}" for name, count in counts.items()) or told("none")
