"""The contracts between the parts of a run; everything that is trained or used fulfills them."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar, Protocol, Self

import numpy as np

Arrays = Mapping[str, np.ndarray]
"""the arrays of a batch by name"""


class Application(Protocol):
    """A model with everything that it needs to do its job; `nlptasks.load` returns one.

    Attributes:
        task: the name of the task in its directories.
    """

    task: ClassVar[str]

    def predict(self, items: Sequence[Any], /) -> Sequence[Any] | np.ndarray:
        """A result for each item; each application also has its own method for one item."""

    def save(self, directory: str | Path) -> None:
        """Writes a directory that `from_directory` opens."""

    @classmethod
    def from_directory(cls, directory: str | Path) -> Self:
        """What `save` wrote.

        Raises:
            ValueError, FileNotFoundError: one line: what is missing or does not fit.
        """


class Trainable(Protocol):
    """The object that a run trains, usually an application; the loop needs nothing else of it.

    Attributes:
        model: the Keras model whose weights are trained.
    """

    model: Any

    def loss(self, batch: Any) -> Any:
        """A scalar tensor: the mean over the batch."""

    def save(self, directory: str | Path) -> None:
        """Writes the application as it is now."""


class Examples(Protocol):
    """Training examples as batches; an epoch depends only on its number, so that runs can be resumed."""

    def __len__(self) -> int:
        """Number of examples."""

    def num_batches(self, epoch: int, size: int) -> int:
        """Number of batches that `batches` gives, without making them if that is expensive."""

    def batches(self, epoch: int, size: int) -> Sequence[Any]:
        """The batches of an epoch in their order, in the form that `arrays` takes."""

    def arrays(self, batch: Any, size: int) -> Any:
        """A batch as arrays, which have one of a few shapes."""

    def weight(self, arrays: Any) -> float:
        """Number of examples or tokens over which the loss of these arrays is the mean; accumulation weights by it."""


class Distillable(Protocol):
    """What compression needs of a task: its data, a new model, and its scores.

    It is made from the options of a compression (see `nlptasks.applications.distilling`), and then reads its files.

    Attributes:
        task: the name of the task in its model directories.
        application: the first word of its own commands.
        score_name: the one of `scores` that decides the best epoch.
    """

    task: ClassVar[str]
    application: ClassVar[str]
    score_name: str

    def start(self) -> Any:
        """Returns an application on the encoder of the checkpoint, with a fresh head."""

    def examples(self, application: Any, seed: int) -> Examples:
        """The training examples."""

    def scores(self, application: Any) -> dict[str, float]:
        """The scores on the validation data, in percent."""

    def constant(self) -> dict[str, float]:
        """Those of one answer to everything, as far as a model must exceed them to have learned something."""


Validate = Callable[[], dict[str, float]]
"""returns the scores of the current model by name"""
