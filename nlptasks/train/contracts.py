"""What the parts of a run promise each other; everything that is trained and used has these shapes."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar, Protocol, Self

import numpy as np

Arrays = Mapping[str, np.ndarray]
"""the arrays of a batch by name"""


class Application(Protocol):
    """A model with all that it needs to do its job; `nlptasks.load` returns one.

    Attributes:
        task: what its directories say they hold.
    """

    task: ClassVar[str]

    def predict(self, items: Sequence[Any], /) -> Sequence[Any] | np.ndarray:
        """A result for each item; each application also has a verb for one item."""

    def save(self, directory: str | Path) -> None:
        """Writes a directory that `from_directory` opens."""

    @classmethod
    def from_directory(cls, directory: str | Path) -> Self:
        """What `save` wrote.

        Raises:
            ValueError, FileNotFoundError: one line: what is missing or does not fit.
        """


class Trainable(Protocol):
    """What a run trains. Most applications are one; the loop knows nothing else of them.

    Attributes:
        model: the Keras model whose weights move.
    """

    model: Any

    def loss(self, batch: Any) -> Any:
        """A scalar tensor: the mean over the batch."""

    def save(self, directory: str | Path) -> None:
        """Writes the application as it is now."""


class Examples(Protocol):
    """Training examples as batches; what an epoch holds is a function of its number alone, so that runs resume."""

    def __len__(self) -> int:
        """How many examples there are."""

    def num_batches(self, epoch: int, size: int) -> int:
        """How many batches `batches` gives, without making them where that is dear."""

    def batches(self, epoch: int, size: int) -> Sequence[Any]:
        """The batches of an epoch in their order, as `arrays` takes them."""

    def arrays(self, batch: Any, size: int) -> Any:
        """One of them as arrays of one of few shapes."""

    def weight(self, arrays: Any) -> float:
        """Over how much the loss of these arrays is the mean (examples, or tokens); accumulation weighs by it."""


class Distillable(Protocol):
    """What compression needs of a task: its data, how a model of it begins, and its scores.

    It is made from the options of a compression (see `nlptasks.applications.distilling`), and reads its files then.

    Attributes:
        task: what its model directories say.
        application: the first word of its own commands.
        score_name: of `scores`, by which the best epoch is chosen.
    """

    task: ClassVar[str]
    application: ClassVar[str]
    score_name: str

    def start(self) -> Any:
        """An application on the encoder of the checkpoint, with a fresh head."""

    def examples(self, application: Any, seed: int) -> Examples:
        """The training examples."""

    def scores(self, application: Any) -> dict[str, float]:
        """On the validation data, in percent."""


Validate = Callable[[], dict[str, float]]
"""scores of the model as it is, by name"""
