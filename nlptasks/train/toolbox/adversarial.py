"""Losses at moved embeddings and of two passes: PGD, FreeLB, virtual adversarial training, gradient penalty, R-Drop.

Each one takes a loss function of a batch and returns another one, so that a step needs to know nothing of it. The table
of the token embeddings is moved as a whole, as `fgm` moves it; distances are Euclidean norms of the whole table.
"""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import keras
from keras import ops

from nlptasks.backend import Tensor, read, value_and_gradient
from nlptasks.backend.programs import assign_all, current_values
from nlptasks.errors import UserError
from nlptasks.train.options import ONE_OF
from nlptasks.train.progress import say

Loss = Callable[[Any], Tensor]
TINY = 1e-12


class MovedTable:
    """A model's function as one of the value of its token embeddings.

    Args:
        model: all variables that the function reads or changes are its own.
        table: the embeddings.
    """

    def __init__(self, model: keras.Model, table: keras.Variable) -> None:
        self.table = table
        self._trainable = [variable for variable in model.trainable_variables if variable is not table]
        self._others = list(model.non_trainable_variables)

    def at(self, function: Callable[[], Tensor], value: Tensor) -> tuple[Tensor, list[Tensor]]:
        """The result of `function()` where the table has another value, and the random state after it.

        No variable changes: each call draws the same dropout as any other before `draw`.
        """
        trainable = [read(variable) for variable in self._trainable]
        state = [read(variable) for variable in self._others]
        variables, values = [self.table, *self._trainable, *self._others], [value, *trainable, *state]
        with keras.StatelessScope(state_mapping=list(zip(variables, values, strict=True))) as scope:
            result = function()
        return result, list(current_values(scope, self._others, state))

    def gradient(self, function: Callable[[], Tensor], value: Tensor) -> tuple[Tensor, Tensor]:
        """Value and gradient of a scalar function at a value of the table."""
        return value_and_gradient(lambda moved: self.at(function, moved)[0], value)

    def draw(self, state: Sequence[Tensor]) -> None:
        """Goes on to a random state."""
        assign_all(self._others, state)


def _direction(gradient: Tensor) -> Tensor:
    return gradient / (ops.sqrt(ops.sum(ops.square(gradient))) + TINY)


def _within(delta: Tensor, radius: float) -> Tensor:
    norm = ops.sqrt(ops.sum(ops.square(delta)))
    return delta * ops.minimum(1.0, radius / (norm + TINY))


def pgd(moved: MovedTable, loss: Loss, radius: float, steps: int, size: float | None = None) -> Loss:
    """The loss where the table is moved by projected gradient ascent (arXiv 1706.06083).

    Args:
        radius: how far at most.
        steps: of the ascent.
        size: of one step; None: `1.5 radius / steps`.
    """
    size = 1.5 * radius / steps if size is None else size

    def moved_loss(batch: Any) -> Tensor:
        start = read(moved.table)
        delta = ops.zeros_like(start)
        for _ in range(steps):
            _, gradient = moved.gradient(lambda: loss(batch), ops.stop_gradient(start + delta))
            delta = ops.stop_gradient(_within(delta + size * _direction(gradient), radius))
        value, state = moved.at(lambda: loss(batch), start + delta)
        moved.draw(state)
        return value

    return moved_loss


def freelb(moved: MovedTable, loss: Loss, radius: float, steps: int, size: float | None = None) -> Loss:
    """The mean of the losses along an ascent (FreeLB, arXiv 1909.11764), which begins where the table is.

    Args:
        radius, size: as in `pgd`.
        steps: losses that are averaged; the first one is that of the table itself.
    """
    size = 1.5 * radius / steps if size is None else size

    def mean_loss(batch: Any) -> Tensor:
        start = read(moved.table)
        delta, total = ops.zeros_like(start), 0.0
        state: list[Tensor] = []
        for step in range(steps):
            value, state = moved.at(lambda: loss(batch), start + delta)
            total = total + value / steps
            if step + 1 < steps:
                _, gradient = moved.gradient(lambda: loss(batch), ops.stop_gradient(start + delta))
                delta = ops.stop_gradient(_within(delta + size * _direction(gradient), radius))
        moved.draw(state)
        return total

    return mean_loss


def penalized(moved: MovedTable, loss: Loss, strength: float) -> Loss:
    """The loss plus `strength / 2` times the squared norm of its gradient by the table."""

    def with_penalty(batch: Any) -> Tensor:
        start = read(moved.table)
        value, gradient = moved.gradient(lambda: loss(batch), start)
        _, state = moved.at(lambda: loss(batch), ops.stop_gradient(start))
        moved.draw(state)
        return value + 0.5 * strength * ops.sum(ops.square(gradient))

    return with_penalty


class Answers(NamedTuple):
    """What a model says of a batch, for losses that compare two of its passes."""

    loss: Tensor
    """of this pass, a scalar"""
    logits: Tensor
    """`(B, C)`"""
    weights: Tensor
    """`(B,)`: 0 for rows that fill the batch"""
    independent: bool
    """each logit is a label of its own (sigmoid); else one label of all (softmax)"""


Answer = Callable[[Any], Answers]


def divergence(first: Answers, second: Answers) -> Tensor:
    """Mean Kullback-Leibler divergence of the second from the first, in nats: sum p log(p / q)."""
    if first.independent:
        p = ops.sigmoid(first.logits)
        positive = ops.log_sigmoid(first.logits) - ops.log_sigmoid(second.logits)
        negative = ops.log_sigmoid(-first.logits) - ops.log_sigmoid(-second.logits)
        each_B = ops.sum(p * positive + (1.0 - p) * negative, axis=-1)
    else:
        logs = ops.log_softmax(first.logits), ops.log_softmax(second.logits)
        each_B = ops.sum(ops.exp(logs[0]) * (logs[0] - logs[1]), axis=-1)
    return ops.sum(each_B * first.weights) / ops.maximum(ops.sum(first.weights), 1.0)


def virtual(moved: MovedTable, answer: Answer, radius: float, rounds: int = 1, weight: float = 1.0) -> Loss:
    """The loss plus the divergence between the answers at the table and at its worst neighbor (VAT, arXiv 1704.03976).

    Labels are not needed for the second part. The direction is found by power iteration from a fixed random one.

    Args:
        radius: distance of the neighbor.
        rounds: of the power iteration.
        weight: of the divergence.
    """

    def with_virtual(batch: Any) -> Tensor:
        start = read(moved.table)
        answers, state = moved.at(lambda: answer(batch), start)
        value = answers.loss
        answers = answers._replace(logits=ops.stop_gradient(answers.logits))
        # the same in each step: a drawn one would be a further state of the run
        direction = _direction(keras.random.normal(start.shape, seed=1))
        for _ in range(rounds):
            _, gradient = moved.gradient(
                lambda: divergence(answers, answer(batch)), ops.stop_gradient(start + 1e-3 * radius * direction)
            )
            direction = ops.stop_gradient(_direction(gradient))
        apart, _ = moved.at(lambda: divergence(answers, answer(batch)), start + radius * direction)
        moved.draw(state)
        return value + weight * apart

    return with_virtual


def r_drop(answer: Answer, alpha: float) -> Loss:
    """The mean loss of two passes plus `alpha` times their symmetric divergence (R-Drop, arXiv 2106.14448).

    The passes draw different dropout; without dropout the divergence is 0 and the loss the usual one.

    Args:
        alpha: weight of `(KL(p, q) + KL(q, p)) / 2`.
    """

    def twice(batch: Any) -> Tensor:
        first, second = answer(batch), answer(batch)
        total = 0.5 * (first.loss + second.loss)
        return total + 0.5 * alpha * (divergence(first, second) + divergence(second, first))

    return twice


def changed_loss(trained: Any, options: Any, table: Callable[[keras.Model, str], keras.Variable]) -> Loss:
    """The loss of a run: that of what it trains, or what an option makes of it.

    Args:
        trained: has `loss`, and `answers` where two passes are compared.
        options: of the run; those of a network without a Transformer have none of these.
        table: finds the token embeddings of a model.

    Raises:
        UserError: the model does not go with the option.
    """
    chosen = [name for name in ONE_OF if getattr(options, name, None) is not None and name != "fgm"]
    if not chosen:
        return trained.loss
    name, strength = chosen[0], getattr(options, chosen[0])
    answer: Any = getattr(trained, "answers", None)
    if name in ("vat", "r_drop") and answer is None:
        raise UserError("{field:{name}} compares the answers of a classifier; this model gives none.", name=name)
    if name == "r_drop":
        return r_drop(answer, strength)
    moved = MovedTable(trained.model, table(trained.model, name))
    if name == "gradient_penalty":
        _keep_activations(trained.model)
        return penalized(moved, trained.loss, strength)
    if name == "vat":
        return virtual(moved, answer, strength)
    return (pgd if name == "pgd" else freelb)(moved, trained.loss, strength, options.adversarial_steps)


def _keep_activations(model: keras.Model) -> None:
    """TensorFlow's recomputation has no second derivative, which a penalty of gradients takes."""
    recomputing = [layer for layer in model._flatten_layers() if getattr(layer, "recompute", False)]
    if keras.backend.backend() == "tensorflow" and recomputing:
        for layer in recomputing:
            layer.recompute = False
        say("on TensorFlow a gradient penalty keeps all activations, whether they are to be recomputed or not")
