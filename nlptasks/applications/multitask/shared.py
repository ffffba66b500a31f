"""Several applications on one encoder: their model, their loss and their examples."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import keras
import numpy as np

from nlptasks.applications.classification.classifier import ClassificationExamples, Classifier, classification_model
from nlptasks.applications.classification.training import constant_score
from nlptasks.applications.classification.training import scores_of as label_scores
from nlptasks.applications.labeling.labeler import Labeler, labeling_model
from nlptasks.applications.labeling.samples import LabelingExamples
from nlptasks.applications.labeling.training import entity_types
from nlptasks.applications.labeling.training import scores_of as entity_scores
from nlptasks.applications.multitask.training import MultiTaskOptions
from nlptasks.backend import Tensor
from nlptasks.core.transformer import Transformer
from nlptasks.text import TextTokenizer
from nlptasks.text.entities import EntityText
from nlptasks.text.labeled import LabeledText
from nlptasks.train.contracts import Examples
from nlptasks.train.toolbox.weighting import LossWeighting, weighted_loss


@dataclass
class SharedTask:
    """One of the tasks.

    Attributes:
        application: on the shared encoder.
        examples: its training examples.
        scores: of its validation texts.
        score_name: the one that counts.
        constant: what one answer to everything reaches.
    """

    application: Any
    examples: Examples
    scores: Callable[[], dict[str, float]]
    score_name: str
    constant: float


def classifying(
    encoder: Transformer,
    tokenizer: TextTokenizer,
    options: MultiTaskOptions,
    training: Sequence[LabeledText],
    validation: Sequence[LabeledText],
    labels: Sequence[str],
) -> SharedTask:
    """A classifier of texts or pairs as one of the tasks."""
    model = classification_model(encoder, len(labels), options.dropout)
    pair = training[0].second_text is not None
    classifier = Classifier(model, tokenizer, labels, options.seq_length, pair=pair)
    texts = [text.text_or_pair for text in training]
    examples = ClassificationExamples(classifier, texts, [text.labels for text in training], options.seed)
    constant = constant_score(validation, "accuracy")
    return SharedTask(classifier, examples, lambda: label_scores(classifier, validation), "accuracy", constant)


def finding(
    encoder: Transformer,
    tokenizer: TextTokenizer,
    options: MultiTaskOptions,
    training: Sequence[EntityText],
    validation: Sequence[EntityText],
) -> SharedTask:
    """A labeler as one of the tasks."""
    types, flat = entity_types(training), options.head == "crf"
    labeler = Labeler(
        labeling_model(encoder, options.head, len(types), options.dropout),
        tokenizer,
        types,
        options.head,
        options.seq_length,
    )
    examples = LabelingExamples(tokenizer, options.seq_length, training, types, flat, options.seed)
    return SharedTask(labeler, examples, lambda: entity_scores(labeler, validation), "f1", 0.0)


class _Shared(keras.Model):
    """The weights of all tasks, those of the encoder once."""

    def __init__(self, encoder: Transformer, models: Sequence[keras.Model], weighting: LossWeighting) -> None:
        super().__init__()
        self.transformer, self.models, self.weighting = encoder, list(models), weighting
        self.built = True


class MultiTask:
    """All tasks as one thing to train; a `Trainable` of `nlptasks.train.contracts`.

    Args:
        encoder: that of every task.
        tasks: by name.
        weighting: what makes their losses one.
    """

    def __init__(self, encoder: Transformer, tasks: Mapping[str, SharedTask], weighting: LossWeighting) -> None:
        self.tasks = dict(tasks)
        self.model = _Shared(encoder, [task.application.model for task in tasks.values()], weighting)
        self._one = weighted_loss(self.model, self.losses, weighting)

    def losses(self, batch: Mapping[str, Any]) -> dict[str, Tensor]:
        """The loss of each task."""
        return {name: task.application.loss(batch[name]) for name, task in self.tasks.items()}

    def loss(self, batch: Mapping[str, Any]) -> Tensor:
        """What the weighting makes of the losses."""
        return self._one(batch)

    def scores(self) -> dict[str, float]:
        """The mean of the scores that count, then all of them, with the name of the task before each."""
        found = {name: task.scores() for name, task in self.tasks.items()}
        counting = [found[name][task.score_name] for name, task in self.tasks.items()]
        each = {f"{name}_{score}": value for name, scores in found.items() for score, value in scores.items()}
        return {"mean": float(np.mean(counting))} | each

    def save(self, directory: str | Path) -> None:
        """Writes each task into a folder of its name, which `nlptasks.load` opens."""
        for name, task in self.tasks.items():
            task.application.save(Path(directory) / name)


class TaskExamples:
    """A batch of every task at a time; where one has fewer, it begins anew.

    Args:
        examples: of each task.
    """

    def __init__(self, examples: Mapping[str, Examples]) -> None:
        self._examples = dict(examples)

    def __len__(self) -> int:
        """How many there are of the largest task."""
        return max(len(each) for each in self._examples.values())

    def num_batches(self, epoch: int, size: int) -> int:
        """As many as the largest task has."""
        return max(each.num_batches(epoch, size) for each in self._examples.values())

    def batches(self, epoch: int, size: int) -> Sequence[Any]:
        """One of each task at a time."""
        count, found = self.num_batches(epoch, size), {}
        for name, each in self._examples.items():
            rounds: list[Any] = []
            while len(rounds) < count:  # a round of its own order each time
                rounds += each.batches(epoch * count + len(rounds), size)
            found[name] = rounds[:count]
        return [{name: batches[i] for name, batches in found.items()} for i in range(count)]

    def arrays(self, batch: Mapping[str, Any], size: int) -> dict[str, Any]:
        """The arrays of each task."""
        return {name: self._examples[name].arrays(one, size) for name, one in batch.items()}

    def weight(self, arrays: Mapping[str, Any]) -> float:
        """The sum over the tasks."""
        return sum(self._examples[name].weight(one) for name, one in arrays.items())
