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
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import keras

from nlptasks.files import write_text
from nlptasks.train import progress
from nlptasks.train.contracts import Examples, Trainable, Validate
from nlptasks.train.curve import NO_SCORES
from nlptasks.train.loop import run_epochs
from nlptasks.train.optimizers import make_adam
from nlptasks.train.options import TrainingOptions
from nlptasks.train.record import OPTIONS, SCORES, jsonable, write_options

BEST, LAST = "best epoch {epoch}: {scores}", "last epoch {epoch}: {scores}"
VALIDATION = "validation: {scores}"


def shown_scores(scores: Mapping[str, float]) -> str:
    """Scores by name, for a person."""
    return ", ".join(f"{name} {value:.4g}" for name, value in scores.items() if name not in NO_SCORES)


@contextlib.contextmanager
def run_folder(output: str | Path | None) -> Iterator[Path]:
    """The folder of a run that Python starts: the given one, or a temporary one."""
    if output is not None:
        yield Path(output)
        return
    with tempfile.TemporaryDirectory() as folder:
        yield Path(folder)


def num_updates(options: TrainingOptions, examples: Examples, epochs: int, size: int) -> int:
    """Number of updates of a whole run, which a schedule needs."""
    return sum(math.ceil(examples.num_batches(epoch, size) / options.accumulate) for epoch in range(epochs))


def make_optimizer(options: TrainingOptions, examples: Examples, epochs: int, size: int) -> keras.optimizers.Optimizer:
    """The optimizer of the options, with a schedule for the whole run."""
    return make_adam(
        options.learning_rate,
        num_updates(options, examples, epochs, size),
        options.warmup_share,
        options.decay,
        options.clip_norm,
        options.ema,
    )


@dataclass
class Experiment:
    """A training run: the model, its data, and its validation.

    Attributes:
        options: the options of the run.
        trained: the model that is trained and saved.
        examples: the training data.
        validate: returns the scores after an epoch.
        score_name: the score that decides the best epoch; higher is better.
        epochs, size, directory: override the options' `epochs`, `batch_size` and `output`.
        optimizer: None: the one of the options.
        around_step: wraps the compiled step, which takes a batch and returns its loss.
        keep: "best": the epoch with the best score is saved; "last": the end of the run is.
        more: further entries of `scores.json`.
    """

    options: TrainingOptions
    trained: Trainable
    examples: Examples
    validate: Validate
    score_name: str
    epochs: int = 0
    size: int = 0
    directory: Path | None = None
    optimizer: keras.optimizers.Optimizer | None = None
    around_step: Callable[[Callable], Callable] | None = None
    keep: str = "best"
    more: dict[str, Any] = dataclasses.field(default_factory=dict)

    def __post_init__(self) -> None:
        options: Any = self.options  # those of a Transformer have both
        self.epochs = self.epochs or options.epochs
        self.size = self.size or options.batch_size
        if self.optimizer is None:
            self.optimizer = make_optimizer(self.options, self.examples, self.epochs, self.size)

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
        if not (self.options.output / OPTIONS).is_file():
            write_options(self.options.output, jsonable(self.options))
        history = run_epochs(self)
        best = history[-1] if self.keep == "last" else max(history, key=lambda row: row[self.score_name])
        write_text(self.folder / SCORES, json.dumps({"best": best, "epochs": history} | self.more, indent=1) + "\n")
        progress.say(LAST if self.keep == "last" else BEST, epoch=best["epoch"], scores=shown_scores(best))
        return history

    def validated(self) -> dict[str, float]:
        """Computes and shows the scores of the current model."""
        scores = self.validate()
        progress.say(VALIDATION, scores=shown_scores(scores))
        return scores
