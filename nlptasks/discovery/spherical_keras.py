"""The training of spherical vectors on Keras: batches and steps of `spherical.py`, computed by TensorFlow or JAX.

Legend: P pairs of a batch.
"""

from collections.abc import Callable, Iterable, Mapping

import keras
import numpy as np
from keras import ops

from nlptasks.backend import Tensor, compile_train_step
from nlptasks.discovery.spherical import SphericalOptions, SphericalTrainer, Tokens
from nlptasks.train.toolbox.extending import extend
from nlptasks.train.toolbox.spheres import RiemannianSGD

TABLES = ("words", "contexts", "documents")


class SphericalModel(keras.Model):
    """Tables of vectors, and the loss of a batch of them.

    Args:
        rows: number of vectors of each table.
        vector_size, margin: as `SphericalOptions`.
    """

    def __init__(self, rows: Mapping[str, int], vector_size: int, margin: float) -> None:
        super().__init__()
        self.margin = margin
        self.tables = {name: keras.layers.Embedding(count, vector_size, name=name) for name, count in rows.items()}
        for table in self.tables.values():
            table.build()

    def call(self, batch: Mapping[str, Tensor]) -> Tensor:
        """The losses (P,)."""
        center, other = (self.tables["words"](batch[name]) for name in ("centers", "others"))
        target = self.tables["contexts"](batch["contexts"]) + self.tables["documents"](batch["documents"])
        return ops.relu(self.margin - ops.sum((center - other) * target, axis=-1))


class KerasTrainer(SphericalTrainer):
    """Vectors in training, which stand on the device of Keras, documents among them.

    Arguments and methods are those of `SphericalTrainer`. The same options give the same batches, and vectors that are
    equal but for rounding.
    """

    def __init__(self, counts: np.ndarray, documents: np.ndarray, options: SphericalOptions) -> None:
        super().__init__(counts, documents, options)
        rows = {name: len(getattr(self, name)) for name in TABLES}
        self._model = SphericalModel(rows, options.vector_size, options.margin)
        self._optimizer = extend(RiemannianSGD(options.learning_rate), lazy=["embeddings"])
        self._update = compile_train_step(self._model, self._optimizer, self._loss)
        self._give()

    def _loss(self, batch: Mapping[str, Tensor]) -> Tensor:
        return ops.sum(self._model(batch) * batch["real"])

    def _give(self) -> None:
        for name, table in self._model.tables.items():
            table.embeddings.assign(getattr(self, name))

    def _fetch(self) -> None:
        for name, table in self._model.tables.items():
            getattr(self, name)[:] = ops.convert_to_numpy(table.embeddings)

    def train(
        self,
        tokens: Tokens,
        progress: Callable[[Iterable[int]], Iterable[int]] = iter,
        keep: Callable[[], None] = lambda: None,
    ) -> list[float]:
        """As on NumPy; the arrays have the vectors at the end."""
        losses = super().train(tokens, progress, keep)
        self._fetch()
        return losses

    def state(self) -> dict[str, np.ndarray]:
        """As on NumPy."""
        self._fetch()
        return super().state()

    def restore(self, state: Mapping[str, np.ndarray]) -> None:
        """As on NumPy."""
        super().restore(state)
        self._give()

    def step(self, centers: np.ndarray, contexts: np.ndarray, documents: np.ndarray, rate: float) -> float:
        """One step on pairs (P,) of words in documents; returns the sum of the losses."""
        given = {
            "centers": centers,
            "contexts": contexts,
            "documents": documents,
            "others": self.drawn(len(centers)),
            "real": np.ones(len(centers)),
        }
        batch = {}
        for name, values in given.items():  # every batch has the same size, so that there is one program
            batch[name] = np.zeros(self.options.batch_size, "float32" if name == "real" else "int32")
            batch[name][: len(values)] = values
        self._optimizer.learning_rate = rate
        return float(ops.convert_to_numpy(self._update(batch)))
