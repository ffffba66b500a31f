"""The optimizer that `extend` makes: another one's steps, and what is done before and after them."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import keras
from keras import ops

from nlptasks.backend import Tensor, dense, gradient_rows, read, update_if
from nlptasks.errors import UserError
from nlptasks.train.optimizers import PiecewiseLinear
from nlptasks.train.toolbox.changes import Change, adapted, decayed
from nlptasks.train.toolbox.patterns import UNDECAYED, factor_of, fits_any, layer_factors, require_fitting
from nlptasks.train.toolbox.rows import RowGradient, Rows
from nlptasks.train.toolbox.transforms import Transform, transformed

logger = logging.getLogger(__name__)
SHARED = ("clipnorm", "clipvalue", "global_clipnorm", "loss_scale_factor", "use_ema", "ema_momentum")
"""settings of an optimizer that the extended one takes over"""


class Rule(NamedTuple):
    """What is done to one weight."""

    factor: float
    """of its learning rate"""
    changes: tuple[Change, ...]
    """of its step, in their order"""
    lazy: bool


@keras.saving.register_keras_serializable("nlptasks")
class Extended(keras.optimizers.Optimizer):
    """An optimizer with extensions; `extend` makes it, checks its arguments and describes them.

    For each update: gradients are changed, averaged over the batches and clipped; each weight makes the step of
    the optimizer inside, decays, and is adapted; last come the averages and Lookahead. `iterations` counts updates.
    """

    def __init__(
        self,
        optimizer: keras.optimizers.Optimizer,
        *,
        weight_decay: float | None = None,
        layer_adaptation: bool = False,
        exclude: Sequence[str] = UNDECAYED,
        piecewise_lr: Mapping[int, float] | None = None,
        rates: Mapping[str, float] | None = None,
        layer_decay: float | None = None,
        transforms: Sequence[Transform] = (),
        accumulate: int = 1,
        lookahead: int | None = None,
        lookahead_rate: float = 0.5,
        lazy: Sequence[str] = (),
        average: float | None = None,
        name: str = "extended",
        **kwargs: Any,
    ) -> None:
        config = optimizer.get_config()
        rate = kwargs.pop("learning_rate", None) or optimizer._learning_rate
        rate = float(ops.convert_to_numpy(rate)) if isinstance(rate, keras.Variable) else rate
        super().__init__(learning_rate=rate, name=name, **{key: config[key] for key in SHARED} | kwargs)
        off = {
            "use_ema": False,
            "clipnorm": None,
            "clipvalue": None,
            "global_clipnorm": None,
            "loss_scale_factor": None,
        }
        own_rate = config["learning_rate"] is None  # Adafactor's, of bert4keras: it follows from the step
        self._inner = type(optimizer).from_config(config | off | ({} if own_rate else {"learning_rate": rate}))
        self.decay, self.layer_adaptation, self.exclude = weight_decay, layer_adaptation, tuple(exclude)
        self.piecewise_lr = None if piecewise_lr is None else {int(k): float(v) for k, v in piecewise_lr.items()}
        self._multiplier = None if piecewise_lr is None else PiecewiseLinear(1.0, self.piecewise_lr or {})
        self.rates, self.layer_decay, self.transforms = dict(rates or {}), layer_decay, tuple(transforms)
        self.accumulate, self.lookahead, self.lookahead_rate = accumulate, lookahead, lookahead_rate
        self.lazy, self.average_momentum = tuple(lazy), average
        self._rules: list[Rule] = []
        self._told: list[str] = []

    @property
    def inner(self) -> keras.optimizers.Optimizer:
        """The optimizer that makes the steps."""
        return self._inner

    def build(self, variables: Sequence[keras.Variable]) -> None:
        if self.built:
            return
        variables = list(variables)
        self._rules = self.rules_of(variables)
        super().build(variables)
        self._inner._iterations = self._iterations  # one count of updates for both
        self._inner.build(variables)
        own = {id(variable) for variable in self._variables}
        for variable in self._inner.variables[1:]:
            if id(variable) not in own and variable is not self._inner._learning_rate:
                self._track_variable(variable)
        self._sums = self._kept(variables, "sum") if self.accumulate > 1 else []
        self._counted = self.add_variable((), dtype="int32", name="batches") if self.accumulate > 1 else None
        self._averages = self._kept(variables, "corrected_average") if self.average_momentum is not None else []
        self._slow = self._kept(variables, "slow") if self.lookahead is not None else []
        for slow, variable in zip(self._slow, variables, strict=False):
            slow.assign(ops.copy(variable.value))  # a copy: JAX gives both buffers away in a step
        for transform in self.transforms:
            for variable in getattr(transform, "variables", ()):
                self._track_variable(variable)
        for index, rule in enumerate(self._rules):
            if rule.lazy:
                self._require_rows(index)

    def _kept(self, variables: Sequence[keras.Variable], name: str) -> list[keras.Variable]:
        return self.add_optimizer_variables(variables, [name])[0]

    def rules_of(self, variables: Sequence[keras.Variable]) -> list[Rule]:
        """What is done to each weight."""
        paths = [variable.path for variable in variables]
        require_fitting(paths, self.rates)
        if self.lazy and not any(fits_any(path, self.lazy) for path in paths):
            require_fitting(paths, self.lazy)
        depths = [1.0] * len(paths) if self.layer_decay is None else layer_factors(paths, self.layer_decay)
        return [self._rule(path, factor) for path, factor in zip(paths, depths, strict=True)]

    def _rule(self, path: str, factor: float) -> Rule:
        changes: list[Change] = []
        if not fits_any(path, self.exclude):
            changes += [decayed(self.decay)] if self.decay else []
            changes += [adapted] if self.layer_adaptation else []
        return Rule(factor * factor_of(path, self.rates), tuple(changes), fits_any(path, self.lazy))

    def _slots(self, index: int) -> dict[str, keras.Variable]:
        """What the optimizer inside keeps for a weight, by the name of its list."""
        lists = {
            name: value
            for name, value in vars(self._inner).items()
            if isinstance(value, list) and name not in ("_variables", "_trainable_variables")
        }
        of_weight = {name: value[index] for name, value in lists.items() if len(value) == len(self._rules)}
        return {name: slot for name, slot in of_weight.items() if isinstance(slot, keras.Variable)}

    def _require_rows(self, index: int) -> None:
        weight = self._trainable_variables[index]
        for slot in self._slots(index).values():
            if tuple(slot.shape) != tuple(weight.shape) or len(weight.shape) < 2:
                raise UserError(
                    "lazy updates need an optimizer that keeps numbers for each row alone. Received: {optimizer}.",
                    optimizer=type(self._inner).__name__,
                )

    def takes_rows(self, variable: keras.Variable) -> bool:
        """Whether the gradient of a weight may come as a few of its rows."""
        return self._rules[self._get_variable_index(variable)].lazy and self.accumulate == 1 and not self.transforms

    # One update

    def apply(self, grads: Sequence[Tensor], trainable_variables: Sequence[keras.Variable] | None = None) -> None:
        super().apply(grads, trainable_variables)
        if self._counted is not None:  # the batches between two updates are no updates
            self._iterations.assign_sub(ops.cast(ops.not_equal(self._counted, 0), self._iterations.dtype))

    def _backend_apply_gradients(self, grads: Sequence[Tensor], variables: Sequence[Any]) -> None:
        grads = [self._prepared(g, v) for g, v in zip(grads, variables, strict=True)]
        if self._counted is None:
            self._update(grads, variables)
            return
        sums = [self._sums[self._get_variable_index(v)] for v in variables]
        for total, gradient in zip(sums, grads, strict=True):
            self.assign_add(total, gradient)
        self.assign(self._counted, (self._counted + 1) % self.accumulate)

        def finish() -> None:
            self._update([value_of(total) / self.accumulate for total in sums], variables)
            for total in sums:
                self.assign(total, ops.zeros(total.shape, total.dtype))

        update_if(ops.equal(self._counted, 0), finish, [*self._trainable_variables, *self.variables])

    def _prepared(self, gradient: Tensor, variable: keras.Variable) -> Tensor | RowGradient:
        if self.takes_rows(variable):
            if (rows := gradient_rows(gradient)) is not None:
                return RowGradient(*rows)
            path = self._trainable_variables[self._get_variable_index(variable)].path
            if keras.backend.backend() == "tensorflow" and path not in self._told:
                logger.warning(
                    "%s: its gradient has all rows (an output layer may share it); lazy updates save no time", path
                )
                self._told.append(path)
        gradient = dense(gradient)
        for transform in self.transforms:
            gradient = transformed(transform, self._iterations, gradient, variable)
        return gradient

    def _clip_gradients(self, grads: Sequence[Tensor | RowGradient]) -> list[Tensor | RowGradient]:
        clipped = super()._clip_gradients([g.values if isinstance(g, RowGradient) else g for g in grads])
        pairs = zip(grads, clipped, strict=True)
        return [RowGradient(g.rows, c) if isinstance(g, RowGradient) else c for g, c in pairs]

    def _update(self, grads: Sequence[Tensor | RowGradient], variables: Sequence[Any]) -> None:
        if hasattr(self._inner, "start_update"):
            self._inner.start_update()
        rate = self.learning_rate
        for gradient, variable in zip(self._clip_gradients(grads), variables, strict=True):
            self.update_step(gradient, variable, rate)
        if self.use_ema:
            self._update_model_variables_moving_average(self._trainable_variables)
        if self.average_momentum is not None:
            for mean, variable in zip(self._averages, self._trainable_variables, strict=True):
                self.assign_add(mean, (1.0 - self.average_momentum) * (variable - mean))
        if self.lookahead is not None:
            due = ops.equal((self._iterations + 1) % self.lookahead, 0)
            update_if(due, self._synchronize, [*self._trainable_variables, *self._slow])

    def _synchronize(self) -> None:
        for slow, variable in zip(self._slow, self._trainable_variables, strict=True):
            self.assign_add(slow, self.lookahead_rate * (variable - slow))
            self.assign(variable, ops.copy(slow.value))

    def _get_current_learning_rate(self) -> Tensor:
        rate = super()._get_current_learning_rate()
        return rate if self._multiplier is None else rate * self._multiplier(self._iterations)

    def update_step(self, gradient: Tensor | RowGradient, variable: Any, learning_rate: Tensor) -> None:
        index = self._get_variable_index(variable)
        rule = self._rules[index]
        rate = ops.cast(learning_rate, variable.dtype)
        rate = rate if rule.factor == 1.0 else rate * rule.factor
        if isinstance(gradient, RowGradient):
            self._step_of_rows(gradient, index, rate)
        elif rule.lazy:
            self._masked_step(gradient, variable, index, rate)
        else:
            self._step(self._inner, gradient, variable, rate, rule)

    def _step(self, inner: Any, gradient: Tensor, variable: Any, rate: Tensor, rule: Rule) -> None:
        if not rule.changes:
            inner.update_step(gradient, variable, rate)
            return
        before = value_of(variable)
        inner.update_step(gradient, variable, rate)
        moved = value_of(variable) - before
        for change in rule.changes:
            moved = change(moved, before, rate, gradient)
        self.assign(variable, before + moved)

    def _step_of_rows(self, gradient: RowGradient, index: int, rate: Tensor) -> None:
        """The step of the rows that have a gradient; the others are not even read."""
        whole = self._trainable_variables[index]
        key = self._inner._var_key(whole)
        rows = Rows(whole, gradient.rows, key)
        slots = {name: Rows(slot, gradient.rows, key) for name, slot in self._slots(index).items()}
        view = object.__new__(type(self._inner))
        vars(view).update(vars(self._inner) | {name: {index: slot} for name, slot in slots.items()})
        self._step(view, ops.cast(gradient.values, rows.dtype), rows, rate, self._rules[index])
        for each in (rows, *slots.values()):
            each.write()

    def _masked_step(self, gradient: Tensor, variable: Any, index: int, rate: Tensor) -> None:
        """The step of a weight whose gradient has all rows, of which those that are 0 count as none."""
        axes = tuple(range(1, len(variable.shape)))
        moves = ops.any(ops.not_equal(gradient, 0), axis=axes, keepdims=True)
        changed = [variable, *self._slots(index).values()]
        before = [value_of(each) for each in changed]
        self._step(self._inner, gradient, variable, rate, self._rules[index])
        for each, former in zip(changed, before, strict=True):
            self.assign(each, ops.where(moves, value_of(each), former))

    def kept_weights(self) -> list[Tensor] | None:
        """The values that are saved as the model, in the order of the weights; None where they are the weights."""
        if not int(ops.convert_to_numpy(self._iterations)):
            return None
        if self.lookahead is not None:
            return [ops.copy(slow.value) for slow in self._slow]
        return None if self.average_momentum is None else self.averaged()

    def averaged(self, corrected: bool = True) -> list[Tensor]:
        """The averages of the weights after an update; corrected: they weigh the first updates as all others."""
        momentum = self.average_momentum or 0.0
        share = 1.0 - momentum ** int(ops.convert_to_numpy(self._iterations)) if corrected else 1.0
        return [mean.value / share for mean in self._averages]

    def get_config(self) -> dict[str, Any]:
        config = super().get_config()
        del config["weight_decay"]
        return config | {
            "optimizer": keras.saving.serialize_keras_object(self._inner),
            "weight_decay": self.decay,
            "layer_adaptation": self.layer_adaptation,
            "exclude": self.exclude,
            "piecewise_lr": self.piecewise_lr,
            "rates": self.rates,
            "layer_decay": self.layer_decay,
            "transforms": [keras.saving.serialize_keras_object(each) for each in self.transforms],
            "accumulate": self.accumulate,
            "lookahead": self.lookahead,
            "lookahead_rate": self.lookahead_rate,
            "lazy": self.lazy,
            "average": self.average_momentum,
        }

    @classmethod
    def from_config(cls, config: dict[str, Any], custom_objects: Any = None) -> Extended:
        config = dict(config)
        for name in ("optimizer", "learning_rate"):
            if isinstance(config[name], dict):
                config[name] = keras.saving.deserialize_keras_object(config[name])
        config["transforms"] = [keras.saving.deserialize_keras_object(each) for each in config["transforms"]]
        return cls(**config)


def value_of(variable: Any) -> Tensor:
    """The value of a variable, or of rows of one, as it is now."""
    return variable.value if isinstance(variable, Rows) else read(variable)
