"""Pretrains BERT on shards made by `shards`, on a CPU, one GPU, many GPUs or a TPU.

    nlptasks pretraining train --shards runs/shards --output runs/bert --config tiny --num-steps 1000

On 8 GPUs or a TPU slice of 8 chips: `--mesh data=8`. Stopped at any moment (Ctrl-C, SIGTERM, even SIGKILL), the same
command with `--resume` goes on from the last checkpoint and ends with the same weights. See pretraining/README.md.
"""

import json
import os
import re
from dataclasses import dataclass
from pathlib import Path

from nlptasks.errors import UserError
from nlptasks.train.options import PRECISIONS, Options, require_at_least, require_one_of, require_positive
from nlptasks.train.record import OPTIONS, require_new_folder

OPTIMIZERS = ("adamw", "lamb")
DETERMINISTIC = "--xla_gpu_deterministic_ops=true"


@dataclass(kw_only=True)
class Pretrain(Options):
    """Pretrain BERT on shards."""

    shards: Path
    """folder written by `nlptasks pretraining shards`"""
    output: Path
    """folder of the run: checkpoints while it goes on, the model at its end"""
    config: str = "base"
    """tiny, mini, small, base or large, with a + behind the name for larger keys, or a config.json"""
    checkpoint: Path | None = None
    """go on from this model instead of random weights: a directory, or a file of weights (bert4keras' HDF5, a
    TensorFlow checkpoint) with its config beside it or given as --config FILE.json"""
    objective: str = "mlm"
    """mlm, lm or unilm, or a mixture by steps: mlm=2,unilm=1"""
    mask_rate: float = 0.15
    """share of a row's tokens that mlm hides"""
    isolate_documents: bool | None = None
    """tokens see their own document only; left out, what the shards were made for"""
    num_steps: int = 100_000
    """updates of the whole run"""
    batch_size: int = 256
    """rows of an update, over all devices and parts"""
    accumulate: int = 1
    """how many parts an update's rows are computed in, one after the other: less memory, the same gradients"""
    learning_rate: float = 1e-4
    """the highest rate"""
    schedule: str | None = None
    """multipliers of the rate at steps, linear between them: 10000=1,100000=0; left out, up for 1 % of the steps and
    down to 0"""
    optimizer: str = "adamw"
    """adamw or lamb (for large batches)"""
    weight_decay: float = 0.01
    """of all weights but biases and norms"""
    clip_norm: float | None = 1.0
    """bound of the gradients' global norm"""
    ema: float | None = None
    """save an exponential moving average of the weights with this momentum; validation takes the weights themselves"""
    dropout: float | None = None
    """of hidden states; left out, the config's (0.1)"""
    attention_dropout: float | None = None
    """of attention; left out, the config's (0.1); 0 lets a GPU use its fused attention"""
    precision: str = "float32"
    """float32 or bfloat16"""
    recompute: bool = False
    """keep no activations inside the layers and compute them again for the gradient"""
    mesh: str | None = None
    """devices: data=8, or data=4,model=2 to cut the weights, too; left out, all devices as data"""
    valid_rows: int = 512
    """rows held out for validation; 0: none"""
    valid_every: int = 1000
    """steps between two validations"""
    save_every: int = 1000
    """steps between two checkpoints"""
    keep: int = 3
    """checkpoints kept"""
    log_every: int = 50
    """steps between two lines of the log"""
    num_workers: int = 0
    """processes that prepare batches; 0: threads"""
    spike: float | None = None
    """a step whose loss is this many times the usual one is bad"""
    skip_bad_steps: int = 0
    """leave out this many bad steps (not finite, or a spike) before stopping"""
    skip_unreadable: bool = False
    """leave out shards that cannot be read, and count them"""
    check_digests: bool = False
    """read every shard once before the run and compare its SHA-256"""
    tensorboard: bool = False
    """also write TensorBoard events"""
    deterministic: bool = False
    """on GPUs: the same bits in every run, at some cost"""
    peak_tflops: float | None = None
    """rate of one device that MFU is measured against; left out, that of its matrix product, measured at the start"""
    distributed: bool = False
    """one of several processes of a TPU pod or a cluster that tells JAX about itself"""
    coordinator: str | None = None
    """HOST:PORT of the first process, where the cluster does not tell JAX about it"""
    num_processes: int | None = None
    """with --coordinator: how many processes"""
    process_id: int | None = None
    """with --coordinator: which one this is, from 0"""
    seed: int = 0
    """of weights, order, masks and dropout"""
    resume: bool = False
    """go on from the newest whole checkpoint in --output"""

    def check(self) -> None:
        """Refuses values that are wrong by themselves or contradict each other."""
        super().check()
        counts = ("num_steps", "batch_size", "accumulate", "valid_every", "save_every", "keep", "log_every")
        require_at_least(self, 1, *counts)
        require_at_least(self, 0, "valid_rows", "num_workers", "skip_bad_steps", "weight_decay")
        require_positive(self, "learning_rate", "clip_norm", "spike", "peak_tflops")
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
        """What must stand in the environment before Keras is imported: meshes and TPUs are JAX's."""
        variables = {"KERAS_BACKEND": "jax"}
        flags = os.environ.get("XLA_FLAGS", "").split()
        if self.deterministic and DETERMINISTIC not in flags:
            variables["XLA_FLAGS"] = " ".join([*flags, DETERMINISTIC])
        return variables

    @property
    def checkpoint_folder(self) -> Path:
        """Where the run keeps its checkpoints."""
        return self.output / "checkpoints"

    def run(self) -> None:
        """Trains, and leaves a model directory."""
        self._check_folders()
        from nlptasks.pretraining.training import pretrain

        scores = pretrain(self)
        if scores is not None:
            print(json.dumps(scores))

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
