"""A training run: a train command reads files, builds a model, and calls `Experiment(...).run()`.

options = ClassifierOptions(output="runs/classifier")
open_run(options)
classifier, examples = ...
Experiment(options, classifier, examples, validate=lambda: {"accuracy": 93.0}, score_name="accuracy").run()
"""

import contextlib
import dataclasses
import json
import math
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import keras

from nlptasks.errors import rendered, told
from nlptasks.files import write_text
from nlptasks.train import progress
from nlptasks.train.advice import beyond_constant, likely_cure, tell_unlearned
from nlptasks.train.choosing import best_epoch
from nlptasks.train.continuing import first_epoch
from nlptasks.train.contracts import Examples, Trainable, Validate
from nlptasks.train.curve import NO_SCORES
from nlptasks.train.loop import run_epochs
from nlptasks.train.optimizers import make_rate
from nlptasks.train.options import TrainingOptions
from nlptasks.train.record import SCORES, write_record
from nlptasks.train.toolbox.chosen import optimizer_of

PLAN = "epochs: {epochs}, learning rate {rate:g}, {schedule}"
PLAN_LEFT_OUT = "epochs: {epochs}, learning rate {rate:g}, {schedule} (left out, and chosen for {start}: {left_out})"
BEST, LAST = "best epoch {epoch}: {scores}", "last epoch {epoch}: {scores}"
VALIDATION = "validation: {scores}"


def shown_scores(scores: Mapping[str, float]) -> str:
    """Scores by name, for a person."""
    return progress.listed(f"{told(name)} {value:.4g}" for name, value in scores.items() if name not in NO_SCORES)


@contextlib.contextmanager
def run_folder(output: str | Path | None) -> Iterator[Path]:
    """The folder of a run that Python starts: the given one, or a temporary one."""
    if output is not None:
        yield Path(output)
        return
    with tempfile.TemporaryDirectory() as folder:
        yield Path(folder)


def schedule_in_words(options: TrainingOptions) -> str:
    """What the learning rate does over a run."""
    if not options.decay:
        return "constant"
    rising = f"rising for {options.warmup_share:.0%} of the updates, then " if options.warmup_share else ""
    return f"{rising}falling to 0"


def num_updates(options: TrainingOptions, examples: Examples, epochs: int, size: int) -> int:
    """Number of updates of a whole run, which a schedule needs."""
    return sum(math.ceil(examples.num_batches(epoch, size) / options.accumulate) for epoch in range(epochs))


def make_optimizer(
    options: TrainingOptions, examples: Examples, epochs: int, size: int, learning_rate: float | None = None
) -> keras.optimizers.Optimizer:
    """The optimizer of the options, with a schedule for the whole run, or for the epochs that it was given later;
    `learning_rate` overrides theirs.
    """
    before = num_updates(options, examples, first_epoch(options.parts), size)
    rate = make_rate(
        learning_rate or options.learning_rate,
        num_updates(options, examples, epochs, size) - before,
        options.warmup_share,
        options.decay,
        before,
    )
    return optimizer_of(options, rate)


@dataclass
class Experiment:
    """A training run: the model, its data, and its validation.

    Attributes:
        options: the options of the run.
        trained: the model that is trained and saved.
        examples: the training data.
        validate: returns the scores after an epoch.
        score_name: the score that decides the best epoch; higher is better.
        epochs, size, directory, learning_rate: override the options' `epochs`, `batch_size`, `output` and
            `learning_rate`.
        optimizer: None: the one of the options.
        around_step: wraps the compiled step, which takes a batch and returns its loss.
        keep: "best": the epoch with the best score is saved (see `choosing.best_epoch`); "last": the end of the run is.
        constant: scores of one answer to everything; a run that does not exceed each of them has learned nothing.
        epochs_option, rate_option: the options that hold `epochs` and `learning_rate`.
        more: further entries of `scores.json`.
        learned: after `run`, whether it has.
    """

    options: TrainingOptions
    trained: Trainable
    examples: Examples
    validate: Validate
    score_name: str
    epochs: int = 0
    size: int = 0
    directory: Path | None = None
    learning_rate: float | None = None
    optimizer: keras.optimizers.Optimizer | None = None
    around_step: Callable[[Callable], Callable] | None = None
    keep: str = "best"
    constant: Mapping[str, float] = dataclasses.field(default_factory=dict)
    epochs_option: str = "epochs"
    rate_option: str = "learning_rate"
    more: dict[str, Any] = dataclasses.field(default_factory=dict)
    learned: bool = dataclasses.field(default=True, init=False)

    def __post_init__(self) -> None:
        options: Any = self.options  # those of a Transformer have both
        self.epochs = self.epochs or options.epochs
        self.size = self.size or options.batch_size
        if self.optimizer is None:
            self.optimizer = make_optimizer(self.options, self.examples, self.epochs, self.size, self.learning_rate)

    @property
    def folder(self) -> Path:
        """The folder in which the run writes its state, its log and its model."""
        return self.directory or self.options.output

    def run(self) -> list[dict[str, Any]]:
        """Trains, validates after each epoch, and saves.

        Returns:
            A dict for each epoch: `epoch`, `loss`, the scores, `training_seconds`.

        Raises:
            TrainingInterrupted: after Ctrl-C or SIGTERM, when the state is saved.
            DivergedError: the loss is no longer a finite number.
        """
        write_record(self.options)
        self._tell_plan()
        history = run_epochs(self)
        best = self.kept(history)
        write_text(self.folder / SCORES, json.dumps({"best": best, "epochs": history} | self.more, indent=1) + "\n")
        progress.say(LAST if self.keep == "last" else BEST, epoch=best["epoch"], scores=shown_scores(best))
        if name := beyond_constant(best, self.constant):
            self.learned = False
            tell_unlearned(best, self.constant, name, self._cure())
        return history

    def kept(self, history: Sequence[dict[str, Any]]) -> dict[str, Any]:
        """The epoch whose model stays in the folder: the best one so far, or the last."""
        if self.keep == "last":
            return history[-1]
        return best_epoch(history, self.score_name, self.options.equal_scores)

    def _tell_plan(self) -> None:
        """Says what the run will do, and what of that was left out and follows from the weights."""
        options: Any = self.options
        values = {"rate": self.learning_rate or options.learning_rate, "schedule": schedule_in_words(options)}
        values |= {"epochs": self.epochs, "start": options.start}
        decided = () if self.learning_rate is None else ("learning_rate",)  # by another option
        shown = ", ".join(f"{{field:{name}}}" for name in options.left_out if name not in decided)
        progress.say(PLAN_LEFT_OUT if shown else PLAN, **values, left_out=rendered(shown, {}))

    def _cure(self) -> tuple[str, dict[str, object]]:
        options: Any = self.options
        updates = num_updates(options, self.examples, self.epochs, self.size)
        return likely_cure(
            self.learning_rate or options.learning_rate,
            options.usual_learning_rate,
            options.start,
            updates,
            options.could_be_pretrained,
            self.epochs_option,
            self.rate_option,
        )

    def validated(self) -> dict[str, float]:
        """Computes and shows the scores of the current model."""
        scores = self.validate()
        progress.say(VALIDATION, scores=shown_scores(scores))
        return scores
