"""More groups than a training step should touch: a table in main memory, of which each step takes some rows.

A step sees the batch's own groups and random other ones. Their rows are put into the model's variables, with the
optimizer's slots of theirs, and come back after it, so that neither time nor memory of a step grows with the number of
groups; a row that is not sampled does not move (as in TensorFlow's LazyAdam).
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import keras
import numpy as np
from keras import ops

from nlptasks.applications.similarity.loss import GroupLoss
from nlptasks.applications.similarity.network import GroupClassifier
from nlptasks.applications.similarity.samples import Batch, GroupExamples
from nlptasks.train.group_losses import sample_classes


class HostTable:
    """Numbers in main memory that save and restore like a variable.

    Attributes:
        value: float32 (C, D).
        variable: where some of its rows stand during a step.
    """

    def __init__(self, value: np.ndarray, variable: keras.Variable) -> None:
        self.value, self.variable = value, variable

    def assign(self, value: np.ndarray) -> None:
        """Takes other numbers of the same shape.

        Raises:
            ValueError: another shape.
        """
        if value.shape != self.value.shape:
            raise ValueError(f"the table has the shape {self.value.shape}. Received: {value.shape}.")
        self.value[...] = value


class SampledClassifier(GroupClassifier):
    """An encoder and a table of groups, trained on some rows at a time.

    Args:
        encoder: gives vectors.
        num_groups: rows of the table.
        rows: how many are trained at a time: those of the batch and random others.
        optimizer: the one that trains it; its slots of the rows are kept in tables, too.
        loss: how groups are told apart.
        seed: of the table's first numbers.

    Attributes:
        host_tables: the groups' vectors, then the slots of each; a training state holds them, too.
    """

    def __init__(
        self,
        encoder: keras.Model,
        num_groups: int,
        rows: int,
        optimizer: keras.optimizers.Optimizer,
        loss: GroupLoss | None = None,
        seed: int = 0,
        **kwargs: Any,
    ) -> None:
        super().__init__(encoder, min(rows, num_groups), loss, **kwargs)
        self.build()
        self.num_groups, self.num_rows = num_groups, min(rows, num_groups)
        size = encoder.vector_size
        random = np.random.default_rng(seed)
        first = random.standard_normal((num_groups, size), dtype="float32")
        first *= self._loss.class_norm * size**-0.5
        optimizer.build(self.trainable_variables)
        slots = [slot for slot in optimizer.variables if _belongs(slot, self.classes)]
        zeros = (HostTable(np.zeros((num_groups, size), "float32"), slot) for slot in slots)
        self.host_tables = (HostTable(first, self.classes), *zeros)

    @property
    def table_bytes(self) -> int:
        """Memory of the tables; it grows with the number of groups, and nothing else does."""
        return sum(table.value.nbytes for table in self.host_tables)

    @property
    def class_vectors(self) -> np.ndarray:
        """The groups' vectors `(C, D)`, of any length: those of the sentences of a group lie around its own.

        It is the table itself, not a copy; a step changes it.
        """
        return self.host_tables[0].value

    def sample(self, batch: Mapping[str, np.ndarray], random: np.random.Generator) -> dict[str, np.ndarray]:
        """A batch with its sampled groups (`classes`, with `log_counts`); its `labels` are rows among them.

        Raises:
            ValueError: the batch alone holds more groups than a step takes.
        """
        classes, log_counts = sample_classes(batch["labels"], self.num_groups, self.num_rows, random)
        if len(classes) != self.num_rows:
            raise ValueError(
                f"a batch holds {len(classes)} groups, and a step takes {self.num_rows}; sample more classes."
            )
        own = np.unique(batch["labels"])
        labels = np.searchsorted(own, batch["labels"]).astype("int32")
        return {**batch, "labels": labels, "log_counts": log_counts, "classes": classes}

    def around(self, step: Callable[[Any], Any]) -> Callable[[Mapping[str, np.ndarray]], Any]:
        """A step that puts the rows of its batch in before and takes them out after."""

        def run(batch: Mapping[str, np.ndarray]) -> Any:
            batch = dict(batch)
            classes = batch.pop("classes")
            for table in self.host_tables:
                table.variable.assign(table.value[classes])
            loss = step(batch)
            for table in self.host_tables:
                table.value[classes] = ops.convert_to_numpy(table.variable.value)
            return loss

        return run


class SampledExamples:
    """Examples whose batches come with their sampled groups, the same ones whenever an epoch is run.

    Args:
        examples: the batches.
        model: samples for them.
        seed: of the sampling.
    """

    def __init__(self, examples: GroupExamples, model: SampledClassifier, seed: int = 0) -> None:
        self._examples, self._model, self._seed = examples, model, seed

    def __len__(self) -> int:
        """How many sentences there are."""
        return len(self._examples)

    def num_batches(self, epoch: int, batch_size: int) -> int:
        """How many batches an epoch has."""
        return self._examples.num_batches(epoch, batch_size)

    def batches(self, epoch: int, batch_size: int) -> Sequence[Batch]:
        """The batches of an epoch."""
        return self._examples.batches(epoch, batch_size)

    def arrays(self, batch: Batch, batch_size: int) -> dict[str, np.ndarray]:
        """The arrays of a batch, as `SampledClassifier.around` takes them."""
        epoch, number, _ = batch
        random = np.random.default_rng([self._seed, epoch, number, 1])
        return self._model.sample(self._examples.arrays(batch, batch_size), random)

    def weight(self, arrays: Mapping[str, np.ndarray]) -> float:
        """How many sentences there are in a batch."""
        return self._examples.weight(arrays)


def _belongs(slot: keras.Variable, variable: keras.Variable) -> bool:
    """Whether an optimizer's variable holds a number for each number of `variable`."""
    name = variable.path.replace("/", "_")
    return tuple(slot.shape) == tuple(variable.shape) and slot.path.split("/")[-1].startswith(name)
