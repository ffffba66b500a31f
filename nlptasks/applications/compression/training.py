"""Compressing a model in three stages. The options alone import no backend."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, NamedTuple

from nlptasks.applications.compression.plan import INITS, MIXINGS, SCHEDULES
from nlptasks.applications.distilling import DistillingOptions
from nlptasks.applications.options import COLUMNS_RENAMED, SCRATCH
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
    """What is compressed, into how many layers, and how each stage is trained."""

    RENAMED: ClassVar[dict[str, str]] = COLUMNS_RENAMED | {"max_length": "seq_length"}

    output: Path
    """run directory, new or empty: the small model, options, scores, log and curve; the stages before it in folders of
    their own"""
    resume: bool = False
    """continue an interrupted run; stages that are finished are not run again"""
    task: str
    """classification, labeling or reading"""
    successor_layers: int
    """layers of the small model; they must divide the predecessor's"""

    init: str = "first"
    """what the small model starts from: the predecessor's first layers, or even: the last one of each group"""
    mixing: str = "coin"
    """coin: a layer is replaced or not, by chance, in every step; anneal: both are computed and blended"""
    schedule: str = "linear"
    """of the replacement rate: constant, or rising to 1 in a linear way (the paper's curriculum) or along a cosine"""
    rate: float = 0.5
    """the replacement rate, with linear and cosine of the first step"""
    rise_share: float = 1.0
    """with linear and cosine: share of the second stage after which the rate is 1"""

    predecessor_epochs: int = 5
    replacement_epochs: int = 5
    successor_epochs: int = 5
    batch_size: int = 32
    """examples of a batch"""
    replacement_learning_rate: float | None = None
    """of the second stage; left out, that of the others"""
    warmup_share: float = 0.0
    """share of a stage's updates in which the learning rate rises; goes with decay"""
    decay: bool = False
    """let the learning rate of each stage fall linearly to 0"""
    patience: int | None = None
    """end the first and the last stage after this many epochs without a better score; left out, all epochs are run"""

    @classmethod
    def from_record(cls, values: Mapping[str, Any]) -> dict[str, Any]:
        """The options that a run has written, in today's names."""
        found = super().from_record(values)
        return found | ({"checkpoint": SCRATCH} if found.get("checkpoint") is None else {})

    def check(self) -> None:
        """Refuses values that are wrong by themselves or contradict each other."""
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
    """What a stage has made.

    Attributes:
        name: one of `STAGES`.
        directory: where its model is.
        layers, parameters: of the model.
        megabytes: of its weights as a file.
        score: on the validation file, in percent.
    """

    name: str
    directory: Path
    layers: int
    parameters: int
    megabytes: float
    score: float


class Compressed(NamedTuple):
    """What a run has made: its stages, the name of their score, and the application that the small model is of."""

    stages: list[Stage]
    score_name: str
    application: str


def compress(options: CompressionOptions) -> Compressed:
    """Fine-tunes a model, replaces its layers, fine-tunes the smaller one; an interrupted run goes on where it was.

        options = CompressionOptions(
            task="classification", train=(Path("a.jsonl"),), valid=Path("b.jsonl"), predecessor=Path("runs/classifier"),
            successor_layers=3, output=Path("runs/small"),
        )
        compress(options).stages[-1].score
        nlptasks.load("runs/small")

    Returns:
        The stages with their scores; the small model stands in `options.output`.

    Raises:
        ValueError, FileNotFoundError: options, files and model do not go together.
        TrainingInterrupted: after Ctrl-C; `resume=True` goes on.
    """
    task = distillable(options.task)(options)
    open_run(options)

    from nlptasks.applications.compression.stages import described, run_stages, successor_source

    successor_source(options)  # refuses now what the second stage would refuse hours later
    directories = run_stages(options, task)
    return Compressed(described(task.score_name, directories), task.score_name, task.application)
