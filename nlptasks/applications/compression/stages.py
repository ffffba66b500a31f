"""The three stages of a compression, each an experiment of its own; stages that are finished are not run again."""

import functools
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from nlptasks.applications.compression.plan import ReplacementSchedule, initial_layers
from nlptasks.applications.compression.theseus import Theseus, make_successor, transformer_of
from nlptasks.applications.compression.training import (
    PREDECESSOR,
    REPLACEMENT,
    STAGES,
    SUCCESSOR,
    CompressionOptions,
    Stage,
)
from nlptasks.checkpoints.configs import config_from_json
from nlptasks.checkpoints.huggingface import WEIGHTS
from nlptasks.checkpoints.layout import config_file
from nlptasks.files import read_json_object
from nlptasks.opening import load
from nlptasks.train import progress
from nlptasks.train.advice import beyond_constant
from nlptasks.train.contracts import Distillable, Examples
from nlptasks.train.experiment import Experiment
from nlptasks.train.record import SCORES
from nlptasks.train.run import start_run


def successor_source(options: CompressionOptions) -> list[int]:
    """The layers of the predecessor that the successor's start from.

    Raises:
        ValueError, FileNotFoundError: there is no predecessor, or its layers cannot be grouped so.
    """
    path = config_file(options.predecessor or options.source)
    num_layers = config_from_json(read_json_object(path), path).num_layers
    return initial_layers(num_layers, options.successor_layers, options.init)


def run_stages(options: CompressionOptions, task: Distillable) -> tuple[list[Path], bool]:
    """Runs what is not finished; returns the directories of the three models, and whether the last has learned."""
    start_run(options.seed, options.precision)
    first, replaced = options.predecessor or options.output / PREDECESSOR, options.output / REPLACEMENT
    if options.predecessor is None and not (first / SCORES).is_file():
        seed = _begin(PREDECESSOR, options)
        _fine_tune(options, task, task.start(), first, PREDECESSOR, seed)
    if not (replaced / SCORES).is_file():
        _replace(options, task, first, replaced)
    if not (options.output / SCORES).is_file():
        seed = _begin(SUCCESSOR, options)
        _fine_tune(options, task, load(replaced), options.output, SUCCESSOR, seed)
    best = read_json_object(options.output / SCORES)["best"]
    return [first, replaced, options.output], beyond_constant(best, task.constant()) is None


def _begin(stage: str, options: CompressionOptions) -> int:
    """Seeds a stage by itself, so that it is the same whether those before it ran in this process or not."""
    number = STAGES.index(stage)
    seed = len(STAGES) * options.seed + number
    start_run(seed, options.precision)
    progress.say(f"stage {number + 1} of {len(STAGES)}: {stage}")
    return seed


def _epochs(options: CompressionOptions, stage: str) -> int:
    return getattr(options, f"{stage}_epochs")


def _fine_tune(
    options: CompressionOptions, task: Distillable, application: Any, directory: Path, stage: str, seed: int
) -> None:
    """The first and the third stage: trains all of an application and keeps its best epoch."""
    examples = task.examples(application, seed)
    Experiment(
        options,
        application,
        examples,
        lambda: task.scores(application),
        task.score_name,
        epochs=_epochs(options, stage),
        epochs_option=f"{stage}_epochs",
        directory=directory,
        constant=task.constant(),
    ).run()


def _replace(options: CompressionOptions, task: Distillable, first: Path, directory: Path) -> None:
    """The second stage. Its last weights go on, not those of its best epoch: the schedule leads to them."""
    seed = _begin(REPLACEMENT, options)
    predecessor = load(first)
    before = task.scores(predecessor)
    successor = make_successor(predecessor, options.successor_layers, options.init)
    theseus = Theseus(predecessor.model, successor.model, options.replace_embeddings, options.mixing, seed)
    epochs, size = _epochs(options, REPLACEMENT), options.batch_size
    examples = RatedExamples(task.examples(predecessor, seed), options, epochs, size)
    Experiment(
        options,
        Replacement(theseus, predecessor, successor),
        examples,
        lambda: task.scores(successor),
        task.score_name,
        epochs=epochs,
        epochs_option=f"{REPLACEMENT}_epochs",
        directory=directory,
        learning_rate=options.replacement_learning_rate,
        rate_option="learning_rate" if options.replacement_learning_rate is None else "replacement_learning_rate",
        keep="last",
        constant=task.constant(),
        more={"predecessor": before},
    ).run()


class Replacement:
    """A predecessor in which a successor's layers are trained; a `Trainable` of `nlptasks.train.contracts`.

    Args:
        model: of both.
        predecessor: the application whose loss is taken.
        successor: the application that is saved.
    """

    def __init__(self, model: Theseus, predecessor: Any, successor: Any):
        self.model, self.predecessor, self.successor = model, predecessor, successor

    def loss(self, batch: dict[str, Any]) -> Any:
        """The predecessor's loss with a share of its layers replaced, `batch["rate"]`."""
        return self.predecessor.loss(batch, encode=functools.partial(self.model.encode, rate=batch["rate"]))

    def save(self, directory: str | Path) -> None:
        """Writes the successor."""
        self.successor.save(directory)


class RatedExamples:
    """Examples whose arrays tell the replacement rate of their step, too.

    Args:
        examples: the task's.
        options: the schedule of the rate.
        epochs, size: of the stage.
    """

    def __init__(self, examples: Examples, options: CompressionOptions, epochs: int, size: int):
        self.examples = examples
        steps = sum(examples.num_batches(epoch, size) for epoch in range(epochs))
        rise_steps = max(1, round(options.rise_share * steps))
        self.schedule = ReplacementSchedule(kind=options.schedule, start=options.rate, rise_steps=rise_steps)

    def __len__(self) -> int:
        return len(self.examples)

    def num_batches(self, epoch: int, size: int) -> int:
        """How many batches an epoch has."""
        return self.examples.num_batches(epoch, size)

    def batches(self, epoch: int, size: int) -> Sequence[tuple[int, Any]]:
        """The number of the step, counted from the first epoch, and the batch."""
        before = sum(self.num_batches(earlier, size) for earlier in range(epoch))
        return list(enumerate(self.examples.batches(epoch, size), before))

    def arrays(self, batch: tuple[int, Any], size: int) -> dict[str, np.ndarray]:
        """The arrays of the batch, and `rate`, a scalar."""
        step, inner = batch
        return {**self.examples.arrays(inner, size), "rate": np.asarray(self.schedule(step), "float32")}

    def weight(self, arrays: Any) -> float:
        """That of the task's examples."""
        return self.examples.weight(arrays)


def described(score_name: str, directories: Sequence[Path]) -> list[Stage]:
    """The models of a finished run: predecessor, replaced, successor."""
    replaced, best = (read_json_object(folder / SCORES) for folder in directories[1:])
    rows = [replaced["predecessor"], replaced["best"], best["best"]]
    stages = []
    for name, directory, row in zip(STAGES, directories, rows, strict=True):
        model = load(directory).model
        layers, megabytes = transformer_of(model).config.num_layers, (directory / WEIGHTS).stat().st_size / 1e6
        stages.append(Stage(name, directory, layers, model.count_params(), megabytes, row[score_name]))
    return stages
