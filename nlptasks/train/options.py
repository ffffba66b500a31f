"""The options that all train commands share, checked when they are made. Imports no backend."""

import contextlib
import contextvars
import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

from nlptasks.backend.packages import KERAS
from nlptasks.encodings import UTF_8
from nlptasks.errors import UserError
from nlptasks.train.choosing import LOWEST_LOSS
from nlptasks.train.toolbox.patterns import parsed_factors

PRECISIONS = ("float32", "bfloat16")
RANDOM = "random weights"
ONE_OF = ("fgm", "pgd", "freelb", "vat", "gradient_penalty", "r_drop")
"""options that change the loss; a run has one of them at most"""
OPTIMIZERS = ("adam", "lion", "tiger", "adafactor")
TOGETHER = (("lookahead", "ema"), ("lazy_embeddings", "layer_adaptation"), ("piecewise_rate", "decay"))
"""pairs of options of which one is to be left out"""

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
        # none is an option: what the user left out and the run decided, the parts of a run before this one, and its
        # rule for epochs with the same score
        self.left_out: tuple[str, ...] = ()
        self.parts: tuple[dict[str, Any], ...] = ()
        self.equal_scores: str = LOWEST_LOSS
        if not _parsing.get():
            self.check()

    def check(self) -> None:
        """Refuses values that are out of range or contradict each other."""


def require_at_least(options: object, least: int, *names: str) -> None:
    """Refuses fields that are below `least`; None (left out) passes."""
    for name in names:
        value = getattr(options, name)
        if value is not None and not value >= least:
            raise UserError(
                "{field:{name}} must be at least {least}. Received: {value}.", name=name, least=least, value=value
            )


def require_positive(options: object, *names: str) -> None:
    """Refuses fields that are not above 0; None (left out) passes, and a field that there is not."""
    for name in names:
        value = getattr(options, name, None)
        if value is not None and not 0 < value < math.inf:
            raise UserError("{field:{name}} must be positive. Received: {value}.", name=name, value=value)


def require_finite(options: object, *names: str) -> None:
    """Refuses fields that are no finite numbers."""
    for name in names:
        if not math.isfinite(value := getattr(options, name)):
            raise UserError("{field:{name}} must be a number. Received: {value}.", name=name, value=value)


def require_seed(options: object, bits: int = 32) -> None:
    """Refuses a `seed` that the generators of random numbers do not take."""
    seed = getattr(options, "seed", None)
    if seed is not None and not 0 <= seed < 2**bits:
        raise UserError("{field:seed} must be from 0 to {most}. Received: {seed}.", most=2**bits - 1, seed=seed)


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


def check_optimizer(options: "TrainingOptions") -> None:
    """Refuses settings of the optimizer that are out of range or make no sense together."""
    require_one_of(options, optimizer=OPTIMIZERS)
    require_at_least(options, 1, "lookahead")
    require_positive(options, "weight_decay", "layer_decay")
    if not 0 < options.lookahead_rate <= 1:
        raise UserError("{field:lookahead_rate} must lie in (0, 1]. Received: {value}.", value=options.lookahead_rate)
    if options.ema_bias_correction and options.ema is None:
        raise UserError("{field:ema_bias_correction} goes with {field:ema}.")
    for name in ("piecewise_rate", "learning_rate_of"):
        if (text := getattr(options, name)) is not None:
            parsed_factors(text, name, whole=name == "piecewise_rate")
    for one, other in TOGETHER:
        if getattr(options, one, None) and getattr(options, other, None):
            raise UserError(
                "{field:{one}} and {field:{other}} do not go together; leave one of them out.", one=one, other=other
            )
    if options.optimizer == "adafactor" and (options.layer_adaptation or options.lazy_embeddings):
        name = next(each for each in ("layer_adaptation", "lazy_embeddings") if getattr(options, each))
        raise UserError(
            "{field:optimizer} adafactor makes steps as long as the weights from means over rows and columns; leave "
            "{field:{name}} out.",
            name=name,
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
    ema_bias_correction: bool = False
    """the average weighs the first updates as all others; without it, it begins with the whole first weights"""
    optimizer: str = "adam"
    """adam, lion, tiger or adafactor; lion and tiger want a rate about ten times as small as adam's"""
    weight_decay: float | None = None
    """share of a weight, times the rate, that it loses in an update, for example 0.01; biases and norms lose nothing"""
    layer_adaptation: bool = False
    """each weight makes a step as long as itself (LAMB), biases and norms excepted"""
    piecewise_rate: str | None = None
    """multiplier of the learning rate, linear between updates: 1000=1,5000=0.1 rises from 0 to 1, then falls to 0.1"""
    learning_rate_of: str | None = None
    """factors of the learning rate for weights by name: "embeddings*=0.1,block_0/*=0.5"; all that fit are multiplied"""
    lookahead: int | None = None
    """after this many updates slow weights move towards the weights and replace them; the slow ones are saved"""
    lookahead_rate: float = 0.5
    """how far the slow weights move, 1 is all the way"""
    lazy_embeddings: bool = False
    """of the token embedding only the rows of a batch's tokens move: faster with a large vocabulary on TensorFlow"""
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
        require_seed(self)
        require_share(self, "warmup_share")
        require_one_of(self, precision=PRECISIONS)
        if self.warmup_share and not self.decay:
            raise UserError(
                "{field:warmup_share} goes with {field:decay}. Received: {share} without it.", share=self.warmup_share
            )
        if self.ema is not None and not 0 < self.ema < 1:
            raise UserError("{field:ema} must lie between 0 and 1. Received: {value}.", value=self.ema)
        check_optimizer(self)


@dataclass(kw_only=True)
class TransformerTraining(TrainingOptions):
    """Options of every training run of a Transformer."""

    epochs: int = 5
    """number of passes over the training data"""
    batch_size: int = 32
    """number of examples per batch"""
    layer_decay: float | None = None
    """rate of a layer over that of the one above it, for example 0.95; the embeddings have the lowest rate"""
    fgm: float | None = None
    """adversarial training (fast gradient method): move the token embedding this far, for example 0.5"""
    pgd: float | None = None
    """adversarial training in several steps: move the token embedding up to this far, for example 0.5"""
    freelb: float | None = None
    """adversarial training with the mean loss of all steps (FreeLB): move the token embedding up to this far"""
    adversarial_steps: int = 3
    """number of steps of pgd and freelb"""
    vat: float | None = None
    """virtual adversarial training of a classifier: answers this far away shall be the same"""
    gradient_penalty: float | None = None
    """share of the squared gradient by the token embedding in the loss, for example 0.1"""
    r_drop: float | None = None
    """weight of the difference between two passes of a classifier with different dropout, for example 1"""
    recompute: bool = False
    """compute activations inside the layers again for the gradient instead of keeping them: less memory, more time"""
    mesh: str | None = None
    """devices to train on: data=8, or data=4,model=2 to split the weights, too; needs KERAS_BACKEND=jax"""

    def check(self) -> None:
        """Refuses values that are out of range or contradict each other."""
        super().check()
        require_at_least(self, 1, "epochs", "batch_size")
        require_at_least(self, 1, "adversarial_steps")
        require_positive(self, *ONE_OF)
        given = [name for name in ONE_OF if getattr(self, name) is not None]
        if len(given) > 1:
            raise UserError(
                "{field:{one}} and {field:{other}} do not go together; leave one of them out.",
                one=given[0],
                other=given[1],
            )
