"""The classes that `extend_with_*` make: the toolbox's `Extended`, with bert4keras' arguments and names of weights.

Names over the toolbox, but for three things that bert4keras has in another way:

- extensions change a step in the order in which their classes are nested, the innermost first; the toolbox has one
  order. So each is one of the toolbox's changes of a step, in that order;
- `include_in_lazy_optimization` keeps rows without a gradient where they are, while their moments go on; the toolbox's
  lazy rows keep their moments, too, and cost less;
- expressions and names are looked for in bert4keras' names of weights (`Transformer-0-FeedForward-Norm/gamma`).

Accumulation, Lookahead and averages stand behind all changes, however they are nested: an average is that of the
weights before Lookahead moves them.
"""

from collections.abc import Callable, Iterator
from typing import Any, ClassVar, NamedTuple

import keras as _keras
import numpy as np
from keras import ops

from nlptasks.bert4keras.naming import old_name
from nlptasks.bert4keras.snippets import string_matching
from nlptasks.train.toolbox.changes import Change, adapted, decayed, scaled
from nlptasks.train.toolbox.extended import SHARED, Extended, Rule
from nlptasks.train.toolbox.extending import require_extendable


class Extension(NamedTuple):
    """What a class is extended with.

    Attributes:
        defaults: its arguments.
        change: of the step of a weight, from the optimizer and bert4keras' name of the weight; None: none.
        options: of `Extended`, from the arguments.
        members: methods of the class.
    """

    defaults: dict[str, Any]
    change: Callable[[Any, str], Change | None] | None = None
    options: Callable[[dict[str, Any]], dict[str, Any]] | None = None
    members: tuple[Callable, ...] = ()


class OldExtended(Extended):
    """An optimizer with bert4keras' extensions; a subclass says of what.

    Its arguments are those of the optimizer inside and of the extensions.
    """

    kind: ClassVar[Any]
    extensions: ClassVar[tuple[Extension, ...]] = ()

    def __init__(self, *args: Any, name: str | None = None, **kwargs: Any) -> None:
        given = {n: kwargs.pop(n, v) for extension in self.extensions for n, v in extension.defaults.items()}
        inner = self.kind(*args, **kwargs)
        require_extendable(inner)
        options: dict[str, Any] = {}
        for extension in self.extensions:
            options |= extension.options(given) if extension.options else {}
        super().__init__(inner, **options, name=name or type(self).__name__)
        for argument, value in given.items():
            setattr(self, argument, value)

    @property
    def lr(self) -> Any:
        """The learning rate."""
        return self.learning_rate

    def rules_of(self, variables: Any) -> list[Rule]:
        return [Rule(1.0, tuple(self._changes(old_name(variable))), False) for variable in variables]

    def _changes(self, name: str) -> Iterator[Change]:
        for extension in self.extensions:
            if extension.change and (change := extension.change(self, name)):
                yield change

    def get_config(self) -> dict[str, Any]:
        own = _keras.optimizers.Optimizer.get_config(self)
        config = self.inner.get_config() | {key: own[key] for key in ("name", *SHARED)}
        if config["learning_rate"] is not None:
            config["learning_rate"] = own["learning_rate"]
        arguments = [name for extension in self.extensions for name in extension.defaults]
        return config | {name: _plain(getattr(self, name)) for name in arguments}

    @classmethod
    def from_config(cls, config: dict[str, Any], custom_objects: Any = None) -> Any:
        config = dict(config)
        if isinstance(config["learning_rate"], dict):
            config["learning_rate"] = _keras.saving.deserialize_keras_object(config["learning_rate"], custom_objects)
        return cls(**config)


def _plain(value: Any) -> Any:
    """A list or dict out of TensorFlow's wrapper of an attribute."""
    kind = next((kind for kind in (list, dict) if isinstance(value, kind)), None)
    return value if kind is None else kind(value)


def extended_with(optimizer: Any, extension: Extension) -> Any:
    """A subclass of an optimizer's class, or of what extends it, with one extension more.

    AdamW = extended_with(Adam, WEIGHT_DECAY)
    """
    old = issubclass(optimizer, OldExtended)
    kind, before = (optimizer.kind, optimizer.extensions) if old else (optimizer, ())
    members: dict[str, Any] = {member.__name__: member for member in extension.members}
    members |= {"kind": kind, "extensions": (*before, extension), "__module__": __name__}
    return type("NewOptimizer", (optimizer if old else OldExtended,), members)


def _excluded(argument: str, make: Callable[[Any], Change]) -> Callable[[Any, str], Change | None]:
    """A change of all weights but those whose names one of an argument's expressions fits."""

    def change(optimizer: Any, name: str) -> Change | None:
        return None if string_matching(name, getattr(optimizer, argument)) else make(optimizer)

    return change


def _factor(optimizer: Any, name: str) -> Change | None:
    factor = 1.0
    for part, value in optimizer.paramwise_lr_schedule.items():
        factor *= value if part in name else 1.0
    return None if factor == 1.0 else scaled(factor)


def _moving_rows(optimizer: Any, name: str) -> Change | None:
    names = optimizer.include_in_lazy_optimization
    return rows_with_gradient if names and string_matching(name, names) else None


def rows_with_gradient(moved: Any, before: Any, rate: Any, gradient: Any) -> Any:
    """The step of the rows whose gradient is not all 0.

    moved = rows_with_gradient(moved, before, rate, gradient)
    """
    moves = ops.any(ops.not_equal(gradient, 0), axis=-1, keepdims=True)
    return moved * ops.cast(moves, moved.dtype)


def apply_ema_weights(self: Any, bias_correction: bool = True) -> None:
    """Keeps the weights and puts their average in their place."""
    if not self.built or not int(ops.convert_to_numpy(self.iterations)):
        return  # before the first step there is none
    self.old_weights = [np.array(ops.convert_to_numpy(variable)) for variable in self._trainable_variables]
    for variable, average in zip(self._trainable_variables, self.averaged(bias_correction), strict=True):
        variable.assign(average)


def reset_old_weights(self: Any) -> None:
    """Puts the weights back."""
    for variable, value in zip(self._trainable_variables, self.old_weights, strict=True):
        variable.assign(value)


WEIGHT_DECAY = Extension(
    {"weight_decay_rate": 0.01, "exclude_from_weight_decay": []},
    change=_excluded("exclude_from_weight_decay", lambda optimizer: decayed(optimizer.weight_decay_rate)),
)
LAYER_ADAPTATION = Extension(
    {"exclude_from_layer_adaptation": []}, change=_excluded("exclude_from_layer_adaptation", lambda _: adapted)
)
PARAMETER_WISE_LR = Extension({"paramwise_lr_schedule": {}}, change=_factor)
LAZY_OPTIMIZATION = Extension({"include_in_lazy_optimization": []}, change=_moving_rows)
PIECEWISE_LINEAR_LR = Extension({"lr_schedule": {0: 1}}, options=lambda given: {"piecewise_lr": given["lr_schedule"]})
GRADIENT_ACCUMULATION = Extension(
    {"grad_accum_steps": 2}, options=lambda given: {"accumulate": given["grad_accum_steps"]}
)
LOOKAHEAD = Extension(
    {"steps_per_slow_update": 5, "slow_step_size": 0.5},
    options=lambda given: {"lookahead": given["steps_per_slow_update"], "lookahead_rate": given["slow_step_size"]},
)
EXPONENTIAL_MOVING_AVERAGE = Extension(
    {"ema_momentum": 0.999},
    options=lambda given: {"average": given["ema_momentum"]},
    members=(apply_ema_weights, reset_old_weights),
)
