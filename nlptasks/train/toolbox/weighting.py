"""How the losses of several tasks become one: strategies on losses, and on the gradients of each.

Legend: K tasks.
"""

import functools
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import keras
from keras import ops

from nlptasks.backend import Tensor, read, value_and_gradient
from nlptasks.errors import UserError
from nlptasks.train.toolbox.strategies import ON_GRADIENTS, STRATEGIES

TINY = 1e-12


@keras.saving.register_keras_serializable("nlptasks")
class LossWeighting(keras.layers.Layer):
    """One loss of several.

    With losses L_i and gradients g_i:

    - `fixed`: the sum of w_i L_i;
    - `initial`: the sum of L_i / (L_i of the first batch);
    - `prior`: the sum of L_i / (loss of one answer to everything, for example the entropy of the labels);
    - `real-time`: the sum of L_i / (its own value, held fixed): the gradient of the log of the geometric mean;
    - `generalized-mean`: (mean of L_i^p)^(1/p); p = 1 is the mean, p -> 0 the geometric mean, a large p the largest;
    - `uncertainty`: the sum of L_i exp(-s_i) / 2 + s_i / 2 with learned s_i (arXiv 1705.07115);
    - `normalized-gradients`: an update along the sum of g_i / |g_i|;
    - `pcgrad`: each g_i loses its part against another g_j, one after the other (arXiv 2001.06782, in a fixed order).

    Scaling a loss leaves the direction of the update as it is under `initial`, `prior` and `real-time`; scaling it or
    adding a constant under `normalized-gradients`; the others follow the scale.

        weighting = LossWeighting(2, "real-time")
        loss = weighting([loss_a, loss_b])

    Args:
        tasks: how many there are.
        strategy: one of `STRATEGIES`.
        weights: fixed: of the tasks; default: 1 each. prior: what each loss is divided by.
        power: generalized mean.

    Raises:
        UserError: an unknown strategy, or weights that do not fit.
    """

    built: bool

    def __init__(
        self,
        tasks: int,
        strategy: str = "fixed",
        weights: Sequence[float] | None = None,
        power: float = 2.0,
        name: str = "weighting",
        **kwargs: Any,
    ) -> None:
        super().__init__(name=name, dtype="float32", **kwargs)
        if strategy not in STRATEGIES:
            raise UserError(
                "{field:{name}} must be one of {allowed}. Received: {value!r}.",
                name="weighting",
                allowed=", ".join(STRATEGIES),
                value=strategy,
            )
        if strategy == "prior" and weights is None:
            raise UserError("the prior strategy needs the loss of one answer to everything for each task.")
        if weights is not None and (len(weights) != tasks or not all(weight > 0 for weight in weights)):
            raise UserError("weights must be {count} positive numbers, one for each task.", count=tasks)
        if not power:
            raise UserError("{field:power} must not be 0; real-time is its limit there.")
        self.tasks, self.strategy, self.power = tasks, strategy, power
        self.fixed = tuple(1.0 for _ in range(tasks)) if weights is None else tuple(weights)
        self.build()

    def build(self, input_shape: Any = None) -> None:
        if self.built:
            return
        if self.strategy == "initial":
            self.first = self.add_weight(shape=(self.tasks,), initializer="zeros", trainable=False, name="first")
        if self.strategy == "uncertainty":
            self.log_variances = self.add_weight(shape=(self.tasks,), initializer="zeros", name="log_variances")
        self.built = True

    def call(self, losses: Sequence[Tensor]) -> Tensor:
        """The one loss; of a strategy on gradients the plain sum."""
        losses_K = ops.stack([ops.cast(loss, "float32") for loss in losses])
        if self.strategy in ("fixed", *ON_GRADIENTS):
            return ops.sum(losses_K * ops.convert_to_tensor(self.fixed, "float32"))
        if self.strategy == "prior":
            return ops.sum(losses_K / ops.convert_to_tensor(self.fixed, "float32"))
        if self.strategy == "initial":
            now_K = ops.stop_gradient(losses_K)
            held_K = read(self.first)
            first_K = ops.where(held_K > 0, held_K, now_K)
            self.first.assign(first_K)
            return ops.sum(losses_K / ops.maximum(ops.stop_gradient(first_K), TINY))
        if self.strategy == "real-time":
            return ops.sum(losses_K / ops.maximum(ops.stop_gradient(losses_K), TINY))
        if self.strategy == "generalized-mean":
            return ops.power(ops.mean(ops.power(ops.maximum(losses_K, TINY), self.power)), 1.0 / self.power)
        return 0.5 * ops.sum(losses_K * ops.exp(-self.log_variances) + self.log_variances)

    def get_config(self) -> dict[str, Any]:
        config = super().get_config()
        del config["dtype"]
        return config | {
            "tasks": self.tasks,
            "strategy": self.strategy,
            "weights": self.fixed,
            "power": self.power,
        }


def gradient_shares(strategy: str, products_KK: Tensor) -> Tensor:
    """The share of each task's gradient in the update, `(K,)`, from the inner products of the gradients."""
    count = products_KK.shape[0]
    squares_K = ops.maximum(ops.diagonal(products_KK), TINY)
    if strategy == "normalized-gradients":
        return 1.0 / ops.sqrt(squares_K)
    identity, total_K = ops.eye(count, dtype=products_KK.dtype), ops.zeros((count,), products_KK.dtype)
    for i in range(count):
        mine_K = identity[i]
        for j in range(count):
            if j != i:
                against = ops.minimum(ops.sum(mine_K * products_KK[:, j]), 0.0)
                mine_K = mine_K - against / squares_K[j] * identity[j]
        total_K = total_K + mine_K
    return total_K


def weighted_loss(
    model: keras.Model, losses: Callable[[Any], Mapping[str, Tensor]], weighting: LossWeighting
) -> Callable[[Any], Tensor]:
    """A loss of a batch whose gradient is what a strategy makes of the gradients of several losses.

    Args:
        model: its trainable variables are those that count, the weighting's are among them.
        losses: of a batch, by task, in an order that stays.
        weighting: what makes them one.
    """
    trainable, others = list(model.trainable_variables), list(model.non_trainable_variables)

    def one(batch: Any) -> Tensor:
        if weighting.strategy not in ON_GRADIENTS:
            return weighting(list(losses(batch).values()))
        state = [read(variable) for variable in others]  # all see the same dropout

        def of_task(number: int, values: Sequence[Tensor]) -> Tensor:
            mapping = list(zip([*trainable, *others], [*values, *state], strict=True))
            with keras.StatelessScope(state_mapping=mapping):
                return list(losses(batch).values())[number]

        values = [read(variable) for variable in trainable]
        gradients = [
            value_and_gradient(functools.partial(of_task, i), [ops.stop_gradient(v) for v in values])[1]
            for i in range(weighting.tasks)
        ]
        products = [
            [sum(ops.sum(a * b) for a, b in zip(one, other, strict=True)) for other in gradients] for one in gradients
        ]
        shares_K = gradient_shares(weighting.strategy, ops.stack([ops.stack(row) for row in products]))
        found_K = ops.stack(list(losses(batch).values()))
        return ops.sum(found_K * ops.stop_gradient(shares_K))

    return one
