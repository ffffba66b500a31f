"""Pretrains BERT on shards made by `shards`, on a CPU, one GPU, many GPUs or a TPU.

    nlptasks pretraining train --shards runs/shards --output runs/bert --config tiny --num-steps 1000

On 8 GPUs or a TPU slice of 8 chips: `--mesh data=8`. Stopped at any moment (Ctrl-C, SIGTERM, even SIGKILL), the same
command with `--resume` continues from the last checkpoint and ends with the same weights. See pretraining/README.md.
"""

import json
import os
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from nlptasks.applications.sources import Downloading, check_download, located, packages_of_checkpoint
from nlptasks.backend.packages import KERAS
from nlptasks.console import padded
from nlptasks.errors import UserError, told
from nlptasks.train.options import PRECISIONS, Options, require_at_least, require_one_of, require_positive
from nlptasks.train.record import OPTIONS, require_new_folder

OPTIMIZERS = ("adamw", "lamb")
DETERMINISTIC = "--xla_gpu_deterministic_ops=true"


@dataclass(kw_only=True)
class Pretrain(Downloading, Options):
    """Pretrain BERT on shards."""

    shards: Path
    """folder written by `nlptasks pretraining shards`"""
    output: Path
    """run directory; it receives checkpoints during the run, and the model at the end"""
    config: str = "base"
    """size of the model: tiny, mini, small, base or large; a + after the name gives larger keys; or a config.json"""
    checkpoint: Path | None = None
    """start from this model instead of random weights: a directory, or a file of weights (bert4keras' HDF5, a
    TensorFlow checkpoint) with the config in the same folder or given as --config FILE.json"""
    skip_weights: tuple[str, ...] = ()
    """prefixes of weight names that may be missing from the checkpoint or be left over, as the message names them"""
    objective: str = "mlm"
    """mlm, lm or unilm, or a mixture over the steps, for example mlm=2,unilm=1"""
    mask_rate: float = 0.15
    """mlm: share of a row's tokens to predict"""
    isolate_documents: bool | None = None
    """let tokens attend only to their own document; default: as recorded in the shards"""
    num_steps: int = 100_000
    """number of updates of the whole run"""
    batch_size: int = 256
    """rows per update, over all devices and parts"""
    accumulate: int = 1
    """compute the rows of an update in this many parts, one after the other: less memory, the same gradients"""
    learning_rate: float = 1e-4
    """highest learning rate"""
    schedule: str | None = None
    """multipliers of the learning rate at given steps, linear in between, for example 10000=1,100000=0; default: up
    during the first 1 % of the steps, then down to 0"""
    optimizer: str = "adamw"
    """adamw or lamb (for large batches)"""
    weight_decay: float = 0.01
    """weight decay of all weights except biases and norms"""
    clip_norm: float | None = 1.0
    """largest global norm of the gradients; larger gradients are scaled down to it"""
    ema: float | None = None
    """save an exponential average of the weights with this momentum; validation uses the weights themselves"""
    dropout: float | None = None
    """dropout rate of hidden states; default: the config's (0.1)"""
    attention_dropout: float | None = None
    """dropout rate of attention; default: the config's (0.1); 0 lets a GPU use fused attention"""
    precision: str = "float32"
    """float32 or bfloat16"""
    recompute: bool = False
    """compute activations inside the layers again for the gradient instead of keeping them"""
    mesh: str | None = None
    """devices to train on: data=8, or data=4,model=2 to split the weights, too; default: all devices as data"""
    valid_rows: int = 512
    """number of rows to hold out for validation; 0: none"""
    valid_every: int = 1000
    """number of steps between two validations"""
    save_every: int = 1000
    """number of steps between two checkpoints"""
    keep: int = 3
    """number of checkpoints to keep"""
    log_every: int = 50
    """number of steps between two lines of the log"""
    num_workers: int = 0
    """number of processes that prepare batches; 0: threads of the main process"""
    spike: float | None = None
    """treat a step as bad if its loss is this many times the usual one"""
    skip_bad_steps: int = 0
    """skip up to this many bad steps (not finite, or a spike) before the run stops"""
    skip_unreadable: bool = False
    """skip shards that cannot be read, and count them"""
    check_digests: bool = False
    """read every shard once before the run and compare its SHA-256"""
    tensorboard: bool = False
    """also write TensorBoard events"""
    deterministic: bool = False
    """on GPUs: get the same bits in every run, at some cost of speed"""
    peak_tflops: float | None = None
    """peak TFLOP/s of one device, for MFU; default: the rate of a matrix product, measured at the start"""
    distributed: bool = False
    """this is one of several processes on a TPU pod or a cluster that JAX detects"""
    coordinator: str | None = None
    """HOST:PORT of the first process, if JAX does not detect the cluster"""
    num_processes: int | None = None
    """with --coordinator: number of processes"""
    process_id: int | None = None
    """with --coordinator: number of this process, from 0"""
    seed: int = 0
    """seed of weights, order, masks and dropout"""
    resume: bool = False
    """continue from the newest intact checkpoint in --output"""
    json: bool = False
    """write the last scores as a JSON object on the last line of the output"""

    def check(self) -> None:
        """Refuses values that are out of range or contradict each other."""
        super().check()
        counts = ("num_steps", "batch_size", "accumulate", "valid_every", "save_every", "keep", "log_every")
        require_at_least(self, 1, *counts)
        require_at_least(self, 0, "valid_rows", "num_workers", "skip_bad_steps", "weight_decay")
        require_positive(self, "learning_rate", "clip_norm", "spike", "peak_tflops")
        check_download(self.download)
        require_one_of(self, optimizer=OPTIMIZERS, precision=PRECISIONS)
        from nlptasks.pretraining.objectives import parse_mixture

        parse_mixture(self.objective)
        self.multipliers()
        self._check_processes()

    def multipliers(self) -> dict[int, float]:
        """The multipliers of the learning rate by step, as `PiecewiseLinear` takes them.

        Raises:
            UserError: `schedule` cannot be read.
        """
        if self.schedule is None:
            rising = max(1, self.num_steps // 100)
            return {0: 1 / rising, rising: 1.0, self.num_steps + 1: 0.0}
        try:
            points = [part.split("=") for part in self.schedule.split(",")]
            return {int(step): float(value) for step, value in points}
        except ValueError:
            raise UserError(
                "{field:schedule} takes steps and multipliers, as in 10000=1,100000=0. Received: {schedule!r}.",
                schedule=self.schedule,
            ) from None

    def _check_processes(self) -> None:
        alone = self.num_processes is None and self.process_id is None
        if self.coordinator is None and not alone:
            raise UserError("{field:num_processes} and {field:process_id} go with {field:coordinator}.")
        if self.coordinator is not None and self.distributed:
            raise UserError(
                "{field:coordinator} is for processes that nothing tells about each other; leave {field:distributed} "
                "out."
            )
        if self.coordinator is not None and (self.num_processes is None or self.process_id is None):
            raise UserError("{field:coordinator} goes with {field:num_processes} and {field:process_id}.")

    def environment(self) -> dict[str, str]:
        """Environment variables to set before Keras is imported: meshes and TPUs need JAX."""
        variables = {"KERAS_BACKEND": "jax"}
        flags = os.environ.get("XLA_FLAGS", "").split()
        if self.deterministic and DETERMINISTIC not in flags:
            variables["XLA_FLAGS"] = " ".join([*flags, DETERMINISTIC])
        return variables

    def packages(self) -> tuple[str, ...]:
        """The modules without which the command does not begin."""
        own = ("grain", "array_record", "orbax.checkpoint", *["tensorboardX"] * self.tensorboard)
        return (*KERAS, *own, *packages_of_checkpoint(self._checkpoint, self.download))

    @property
    def _checkpoint(self) -> str | None:
        return None if self.checkpoint is None else str(self.checkpoint)

    @property
    def source(self) -> Path | None:
        """The model that the run starts from; None: random weights."""
        return None if self._checkpoint is None else located(self._checkpoint, self.download)

    @property
    def checkpoint_folder(self) -> Path:
        """The folder of the run's checkpoints."""
        return self.output / "checkpoints"

    def run(self) -> None:
        """Trains, and leaves a model directory."""
        self._check_folders()
        _ = self.source  # its weights are there, or nothing begins
        from nlptasks.pretraining.training import pretrain

        scores = pretrain(self)
        if scores is not None:
            print(json.dumps(scores) if self.json else _shown(scores))

    def _check_folders(self) -> None:
        for path in (self.shards, self.output):
            if re.match(r"\w+:/", str(path)):
                raise UserError(
                    "{path}: buckets are read and written as folders; mount it (gcsfuse, say) and name that.",
                    path=path,
                )
        begun = self.checkpoint_folder.is_dir() or (self.output / OPTIONS).is_file()
        if self.resume and not begun:
            raise UserError(
                "{output}: no interrupted run here; leave {field:resume} out to start one.", output=self.output
            )
        if begun and not self.resume:
            raise UserError(
                "{output}: holds a run already; {field:resume} continues it, or give another {field:output}.",
                output=self.output,
            )
        if not begun:
            require_new_folder(self.output)


def _shown(scores: dict[str, Any]) -> str:
    """A line for each score."""
    return "\n".join(f"{padded(told(name), 20)}{value:>14,.6g}" for name, value in scores.items())
