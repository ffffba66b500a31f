"""Training several tasks on one encoder. The options alone import no backend."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from nlptasks.applications.options import EncoderTraining
from nlptasks.errors import UserError
from nlptasks.text.entities import EntityText, read_entities
from nlptasks.text.labeled import Columns, LabeledText, read_labeled, require_known, sort_labels
from nlptasks.train import progress
from nlptasks.train.options import require_at_least, require_one_of
from nlptasks.train.record import open_run
from nlptasks.train.toolbox.strategies import STRATEGIES

if TYPE_CHECKING:
    from nlptasks.applications.multitask.shared import SharedTask

Texts = list[LabeledText] | list[EntityText]
HEADS = ("crf", "global-pointer", "efficient-global-pointer")


@dataclass(kw_only=True)
class MultiTaskOptions(EncoderTraining):
    """Options of a run that trains several tasks."""

    task: tuple[str, ...]
    """NAME=FILE for each task: its name, and its training texts with keys or columns text and label"""
    valid: tuple[str, ...]
    """NAME=FILE for each task: its validation texts"""
    labeling: tuple[str, ...] = ()
    """names of the tasks that find entities; the others classify"""
    pairs: tuple[str, ...] = ()
    """names of the tasks that classify pairs; the second text has the key or column second_text"""
    weighting: str = "fixed"
    """how the losses become one: fixed, initial, prior, real-time, generalized-mean, uncertainty, normalized-gradients,
    pcgrad"""
    weights: tuple[float, ...] = ()
    """fixed: weights of the losses, in the order of the tasks; prior: what each loss is divided by"""
    power: float = 2.0
    """generalized-mean: its power"""
    head: str = "global-pointer"
    """labeling: the head: crf, global-pointer or efficient-global-pointer"""
    seq_length: int = 128
    """the most tokens of a text; longer texts are cut, or read in windows where entities are found"""

    def check(self) -> None:
        """Refuses values that are out of range or contradict each other."""
        super().check()
        require_one_of(self, weighting=STRATEGIES, head=HEADS)
        require_at_least(self, 4, "seq_length")
        names = list(self.files("task"))
        if len(names) < 2:
            raise UserError("{field:task} takes two tasks at least. Received: {count}.", count=len(names))
        if sorted(self.files("valid")) != sorted(names):
            raise UserError(
                "{field:valid} names other tasks than {field:task}: {valid}, not {tasks}.",
                valid=", ".join(self.files("valid")),
                tasks=", ".join(names),
            )
        for name in (*self.labeling, *self.pairs):
            if name not in names or (name in self.labeling and name in self.pairs):
                raise UserError(
                    "{name}: {field:labeling} and {field:pairs} take names of tasks ({tasks}), each at most once.",
                    name=name,
                    tasks=", ".join(names),
                )
        if self.weights and (len(self.weights) != len(names) or not all(weight > 0 for weight in self.weights)):
            raise UserError("weights must be {count} positive numbers, one for each task.", count=len(names))
        if self.weighting == "prior" and self.labeling and not self.weights:
            raise UserError("{field:weighting} prior knows no prior loss of entities; give {field:weights}.")
        if not self.power:
            raise UserError("{field:power} must not be 0; real-time is its limit there.")

    def files(self, field: str) -> dict[str, Path]:
        """The files of the tasks by name.

        Raises:
            UserError: a part is no `NAME=FILE`, or a name comes twice.
        """
        found: dict[str, Path] = {}
        for part in getattr(self, field):
            name, equals, file = part.partition("=")
            if not (name and equals and file) or name in found or not name.isidentifier():
                raise UserError(
                    "{field:{name}} takes NAME=FILE, each name once. Received: {part!r}.", name=field, part=part
                )
            found[name] = Path(file)
        return found

    def read(self, field: str) -> dict[str, Texts]:
        """The texts of the tasks by name."""
        found: dict[str, Texts] = {}
        for name, path in self.files(field).items():
            second = "second_text" if name in self.pairs else None
            columns = Columns(text="text", second_text=second, label="label")
            found[name] = read_entities(path) if name in self.labeling else read_labeled(path, columns)
        return found


def prior_losses(training: Mapping[str, Texts]) -> tuple[float, ...]:
    """The loss of one answer to everything, in nats: the entropy of the labels."""
    found = []
    for texts in training.values():
        counts = Counter(label for text in texts for label in text.labels)  # type: ignore[union-attr]
        shares = [count / sum(counts.values()) for count in counts.values()]
        found.append(-sum(share * math.log(share) for share in shares))
    return tuple(found)


def train_tasks(options: MultiTaskOptions) -> bool:
    """Trains all tasks, and keeps the epoch with the best mean of their scores, each task in a folder of its name.

    Returns:
        Whether every task does better than one answer to everything.

    Raises:
        UserError: options or texts that do not go together.
    """
    training, validation = options.read("task"), options.read("valid")
    labels = {
        name: sort_labels(label for text in texts for label in text.labels)  # type: ignore[union-attr]
        for name, texts in training.items()
        if name not in options.labeling
    }
    for name, known in labels.items():
        places: Any = ((label, text.place) for text in validation[name] for label in text.labels)  # type: ignore[union-attr]
        require_known(places, known)
    open_run(options, max(len(texts) for texts in training.values()))

    from nlptasks.applications.encoder import make_tokenizer, make_transformer
    from nlptasks.applications.multitask.shared import MultiTask, TaskExamples, classifying, finding
    from nlptasks.train.experiment import Experiment
    from nlptasks.train.run import start_run
    from nlptasks.train.toolbox.weighting import LossWeighting

    start_run(options.seed, options.precision, options.mesh)
    words = (part for texts in training.values() for text in texts for part in _parts(text))
    tokenizer = make_tokenizer(options, words)
    encoder = make_transformer(options, tokenizer, options.seq_length)
    tasks: dict[str, SharedTask] = {}
    for name, texts in training.items():
        task: Any = finding if name in options.labeling else partial(classifying, labels=labels[name])
        tasks[name] = task(encoder, tokenizer, options, texts, validation[name])
    weights = options.weights or (prior_losses(training) if options.weighting == "prior" else None)
    weighting = LossWeighting(len(tasks), options.weighting, weights, options.power)
    trained = MultiTask(encoder, tasks, weighting)
    progress.say(f"model: {trained.model.count_params():,} parameters, {len(tasks)} tasks: {', '.join(tasks)}")
    constant = {f"{name}_{task.score_name}": task.constant for name, task in tasks.items()}
    examples = TaskExamples({name: task.examples for name, task in tasks.items()})
    run = Experiment(options, trained, examples, trained.scores, "mean", constant=constant)
    run.run()
    return run.learned


def _parts(text: LabeledText | EntityText) -> tuple[str, ...]:
    return text.parts if isinstance(text, LabeledText) else (text.text,)
