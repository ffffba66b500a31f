"""The options that all train commands share, checked when they are made. Imports no backend."""

import contextlib
import contextvars
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

from nlptasks.backend.packages import KERAS
from nlptasks.encodings import UTF_8
from nlptasks.errors import UserError

PRECISIONS = ("float32", "bfloat16")
RANDOM = "random weights"

_parsing: contextvars.ContextVar[bool] = contextvars.ContextVar("parsing", default=False)


@contextlib.contextmanager
def unchecked() -> Iterator[None]:
    """Inside this block options are not checked; the caller must call their `check` later."""
    token = _parsing.set(True)
    try:
        yield
    finally:
        _parsing.reset(token)


@dataclass(kw_only=True)
class Options:
    """Options that refuse to exist with a wrong value.

    Raises:
        UserError: naming the option, what it may be and what arrived.
    """

    def __post_init__(self) -> None:
        # neither is an option: what the user left out and the run decided, and the parts of a run before this one
        self.left_out: tuple[str, ...] = ()
        self.parts: tuple[dict[str, Any], ...] = ()
        if not _parsing.get():
            self.check()

    def check(self) -> None:
        """Refuses values that are out of range or contradict each other."""


def require_at_least(options: object, least: int, *names: str) -> None:
    """Refuses fields that are below `least`; None (left out) passes."""
    for name in names:
        value = getattr(options, name)
        if value is not None and value < least:
            raise UserError(
                "{field:{name}} must be at least {least}. Received: {value}.", name=name, least=least, value=value
            )


def require_positive(options: object, *names: str) -> None:
    """Refuses fields that are not above 0; None (left out) passes."""
    for name in names:
        value = getattr(options, name)
        if value is not None and not value > 0:
            raise UserError("{field:{name}} must be positive. Received: {value}.", name=name, value=value)


def require_share(options: object, *names: str) -> None:
    """Refuses fields outside [0, 1]."""
    for name in names:
        value = getattr(options, name)
        if not 0 <= value <= 1:
            raise UserError("{field:{name}} must lie in [0, 1]. Received: {value}.", name=name, value=value)


def require_one_of(options: object, **choices: tuple[str, ...]) -> None:
    """Refuses fields that are none of their choices; None (left out) passes."""
    for name, allowed in choices.items():
        value = getattr(options, name)
        if value is not None and value not in allowed:
            raise UserError(
                "{field:{name}} must be one of {allowed}. Received: {value!r}.",
                name=name,
                allowed=", ".join(allowed),
                value=value,
            )


@dataclass(kw_only=True)
class TextFiles:
    """Part of a command that reads text files."""

    encoding: str = UTF_8
    """encoding of the text that is read, for example gb18030; what is written is UTF-8"""


class OnKeras:
    """Part of a command that runs a network: Keras must be installed, and a backend."""

    def packages(self) -> tuple[str, ...]:
        """The modules without which the command does not begin."""
        return KERAS


@dataclass(kw_only=True)
class TrainingOptions(Options, OnKeras):
    """Options of every training run."""

    output: Path
    """run directory, new or empty; it receives model, options, scores, log and curve"""
    resume: bool = False
    """continue an interrupted run"""

    learning_rate: float = 2e-5
    """Adam's highest rate; 2e-5 suits a BERT-base checkpoint, 5e-4 to 1e-3 a small model from scratch"""
    warmup_share: float = 0.0
    """share of the updates during which the learning rate rises; needs decay"""
    decay: bool = False
    """decay the learning rate linearly to 0"""
    clip_norm: float | None = None
    """largest norm of the gradients; larger gradients are scaled down to it"""
    accumulate: int = 1
    """number of batches per update; N batches give the update of one batch that is N times as large"""
    ema: float | None = None
    """momentum of an exponential average of the weights, for example 0.999; the average is validated and saved"""
    patience: int | None = None
    """stop after this many epochs without a better score; default: never"""
    precision: str = "float32"
    """float32 or bfloat16"""
    seed: int = 0
    """seed of weights, order and dropout"""

    RENAMED: ClassVar[dict[str, str]] = {}
    """old names of options, found in records of older runs, and their names now"""

    @property
    def start(self) -> str:
        """What the run starts from, in words."""
        return RANDOM

    @property
    def could_be_pretrained(self) -> bool:
        """Whether there are pretrained weights to start from instead."""
        return False

    @property
    def usual_learning_rate(self) -> float:
        """The rate that suits what the run starts from."""
        return type(self).learning_rate

    @classmethod
    def from_record(cls, values: Mapping[str, Any]) -> dict[str, Any]:
        """The recorded options of a run, under today's names."""
        return {cls.RENAMED.get(name, name): value for name, value in values.items()}

    def settle(self, former: Mapping[str, Any] | None, examples: int | None = None) -> None:
        """Decides what was left open, so that the record says it; `open_run` calls this.

        Args:
            former: the record of the run that goes on, from `from_record`; None: the run is new.
            examples: number of training examples; None: not known.
        """

    def check(self) -> None:
        """Refuses values that are out of range or contradict each other."""
        super().check()
        require_at_least(self, 1, "accumulate", "patience")
        require_positive(self, "learning_rate", "clip_norm")
        require_share(self, "warmup_share")
        require_one_of(self, precision=PRECISIONS)
        if self.warmup_share and not self.decay:
            raise UserError(
                "{field:warmup_share} goes with {field:decay}. Received: {share} without it.", share=self.warmup_share
            )
        if self.ema is not None and not 0 < self.ema < 1:
            raise UserError("{field:ema} must lie between 0 and 1. Received: {value}.", value=self.ema)


@dataclass(kw_only=True)
class TransformerTraining(TrainingOptions):
    """Options of every training run of a Transformer."""

    epochs: int = 5
    """number of passes over the training data"""
    batch_size: int = 32
    """number of examples per batch"""
    fgm: float | None = None
    """adversarial training (fast gradient method): move the token embedding this far, for example 0.5"""
    recompute: bool = False
    """compute activations inside the layers again for the gradient instead of keeping them: less memory, more time"""
    mesh: str | None = None
    """devices to train on: data=8, or data=4,model=2 to split the weights, too; needs KERAS_BACKEND=jax"""

    def check(self) -> None:
        """Refuses values that are out of range or contradict each other."""
        super().check()
        require_at_least(self, 1, "epochs", "batch_size")
        require_positive(self, "fgm")
