"""Compressing a model in three stages. The options alone import no backend."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, NamedTuple

from nlptasks.applications.compression.plan import INITS, MIXINGS, SCHEDULES
from nlptasks.applications.distilling import DistillingOptions
from nlptasks.applications.options import (
    COLUMNS_RENAMED,
    SCRATCH,
    FromCheckpoint,
    packages_of_checkpoint,
    weights_in,
)
from nlptasks.bundled import MINI
from nlptasks.errors import UserError
from nlptasks.opening import DISTILLABLE, distillable
from nlptasks.train.options import (
    TrainingOptions,
    require_at_least,
    require_one_of,
    require_positive,
    require_share,
)
from nlptasks.train.record import open_run

STAGES = PREDECESSOR, REPLACEMENT, SUCCESSOR = "predecessor", "replacement", "successor"


@dataclass(kw_only=True)
class CompressionOptions(DistillingOptions, TrainingOptions):
    """Options of a compression and its three stages."""

    RENAMED: ClassVar[dict[str, str]] = COLUMNS_RENAMED | {"max_length": "seq_length"}

    output: Path
    """run directory, new or empty; it receives small model, options, scores, log, curve, and folders of the stages"""
    resume: bool = False
    """continue an interrupted run; finished stages are not run again"""
    task: str
    """the task of the model: classification, labeling or reading"""
    successor_layers: int
    """number of layers of the small model; it must divide that of the predecessor"""

    init: str = "first"
    """layers that the small model starts from: first, the predecessor's first; even, the last one of each group"""
    mixing: str = "coin"
    """coin: in every step each layer is replaced or not, at random; anneal: both versions are computed and blended"""
    schedule: str = "linear"
    """replacement rate over time: constant, or rising to 1, linear (the paper's curriculum) or cosine"""
    rate: float = 0.5
    """replacement rate; with linear and cosine, that of the first step"""
    rise_share: float = 1.0
    """linear, cosine: share of the second stage after which the rate is 1"""

    predecessor_epochs: int = 5
    """epochs of the first stage: the predecessor is fine-tuned"""
    replacement_epochs: int = 5
    """epochs of the second stage: its layers are replaced"""
    successor_epochs: int = 5
    """epochs of the third stage: the small model is fine-tuned"""
    batch_size: int = 32
    """number of examples per batch"""
    learning_rate: float | None = None  # type: ignore[assignment] # a number once a run is settled
    """Adam's highest rate; default: 1e-4 for a small model such as mini (hidden size below 768), else 2e-5"""
    replacement_learning_rate: float | None = None
    """learning rate of the second stage; default: that of the others"""
    warmup_share: float = 0.0
    """share of a stage's updates during which the learning rate rises; needs decay"""
    decay: bool = False
    """decay the learning rate of each stage linearly to 0"""
    patience: int | None = None
    """end the first and the last stage after this many epochs without a better score; default: never"""

    @classmethod
    def from_record(cls, values: Mapping[str, Any]) -> dict[str, Any]:
        """The recorded options of a run, under today's names."""
        found = super().from_record(values)
        return found | ({"checkpoint": SCRATCH} if found.get("checkpoint") is None else {})

    def settle(self, former: Mapping[str, Any] | None, examples: int | None = None) -> None:
        """Decides what is fine-tuned first: as in the run that goes on; else the bundled model or nothing."""
        super().settle(former, examples)
        if self.checkpoint is None:
            self.checkpoint = SCRATCH if self.predecessor else MINI if former is None else former["checkpoint"]
        if self.learning_rate is None:
            self.left_out = ("learning_rate",)
            self.learning_rate = (former or {}).get("learning_rate") or self.usual_learning_rate
        if self.predecessor is None:
            _ = self.source  # its weights are there, or nothing begins

    @property
    def start(self) -> str:
        """What is compressed: `SMALL` or `LARGE`."""
        return weights_in(self.predecessor or self.source)

    @property
    def usual_learning_rate(self) -> float:
        """The rate that suits it."""
        return FromCheckpoint.USUAL[self.start].learning_rate

    def packages(self) -> tuple[str, ...]:
        """The modules without which the command does not begin."""
        return (*super().packages(), *packages_of_checkpoint(self.checkpoint, self.download))

    def check(self) -> None:
        """Refuses values that are out of range or contradict each other."""
        super().check()
        require_one_of(self, task=DISTILLABLE, init=INITS, mixing=MIXINGS, schedule=SCHEDULES)
        require_at_least(self, 1, "predecessor_epochs", "replacement_epochs", "successor_epochs", "batch_size")
        require_positive(self, "replacement_learning_rate")
        require_share(self, "rate")
        if self.schedule == "constant" and self.rate == 0:
            raise UserError("{field:schedule} constant with {field:rate} 0 trains nothing; give a rate above 0.")
        if not 0 < self.rise_share <= 1:
            raise UserError(
                "{field:rise_share} must lie above 0 and be at most 1. Received: {share}.", share=self.rise_share
            )


class Stage(NamedTuple):
    """The result of a stage.

    Attributes:
        name: one of `STAGES`.
        directory: the directory of its model.
        layers, parameters: sizes of the model.
        megabytes: size of its weights as a file.
        score: score on the validation file, in percent.
    """

    name: str
    directory: Path
    layers: int
    parameters: int
    megabytes: float
    score: float


class Compressed(NamedTuple):
    """The result of a run.

    Attributes:
        stages: in their order.
        score_name: the name of their score.
        application: the first word of the commands of the small model.
        learned: whether it does better than one answer to everything.
    """

    stages: list[Stage]
    score_name: str
    application: str
    learned: bool


def compress(options: CompressionOptions) -> Compressed:
    """Fine-tunes a model, replaces its layers, and fine-tunes the smaller one; an interrupted run can be resumed.

        options = CompressionOptions(
            task="classification", train=(Path("a.jsonl"),), valid=Path("b.jsonl"), predecessor=Path("runs/classifier"),
            successor_layers=3, output=Path("runs/small"),
        )
        compress(options).stages[-1].score
        nlptasks.load("runs/small")

    Returns:
        The stages with their scores. The small model is in `options.output`.

    Raises:
        ValueError, FileNotFoundError: options, files and model do not go together.
        TrainingInterrupted: after Ctrl-C; `resume=True` goes on.
    """
    task = distillable(options.task)(options)
    open_run(options)

    from nlptasks.applications.compression.stages import described, run_stages, successor_source

    successor_source(options)  # refuses now what the second stage would refuse hours later
    directories, learned = run_stages(options, task)
    return Compressed(described(task.score_name, directories), task.score_name, task.application, learned)
