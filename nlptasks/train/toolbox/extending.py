"""`extend`: any Keras optimizer with decay, adaptation, rates, accumulation, Lookahead, lazy rows and averages."""

from collections.abc import Mapping, Sequence

import keras

from nlptasks.errors import UserError
from nlptasks.train.optimizers import Lamb
from nlptasks.train.toolbox.extended import Extended
from nlptasks.train.toolbox.patterns import UNDECAYED
from nlptasks.train.toolbox.transforms import Transform

ALREADY = "{what} of {optimizer} and of extend do not go together; leave one of them out."


def extend(
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
) -> Extended:
    """Returns an optimizer that makes the steps of another one, extended in any combination that makes sense.

        optimizer = extend(keras.optimizers.Adam(1e-4), weight_decay=0.01, lookahead=5)

    The moving average of Keras (`use_ema`) and its clipping are right, so that the extended optimizer takes them over
    from the given one. Patterns are those of `patterns.fits`; each must fit a weight.

    Args:
        optimizer: a new one; it is not changed.
        weight_decay: decoupled (arXiv 1711.05101): a weight loses `rate * weight_decay` of itself in an update.
        layer_adaptation: a step as long as its weight (LAMB, arXiv 1904.00962), the decay in it.
        exclude: patterns of the weights that are neither decayed nor adapted.
        piecewise_lr: `{update: multiplier}` of the learning rate, linear in between and constant after the last; 0 at
            update 0 unless that is given.
        rates: `{pattern: factor}` of the learning rate; the factors of all patterns that fit are multiplied.
        layer_decay: the rate of each block is that of the block above it times this.
        transforms: `(gradient, variable) -> gradient`, in their order, before accumulation and clipping.
        accumulate: the gradients of so many batches are averaged for one update; schedules count updates.
        lookahead: after so many updates slow weights move towards the weights, which then become them (arXiv
            1907.08610). Slow weights start as the weights, and they are what a run saves; moments are kept.
        lookahead_rate: how far they move, 1 is all the way.
        lazy: patterns of embeddings of which only rows with a gradient move, their moments and decay with them; in
            Keras' `fit` on TensorFlow with `jit_compile=False`, because XLA knows no rows of unknown number.
        average: momentum of an average of the weights with bias correction, which a run saves: it weighs the first
            updates as all others, while Keras' begins with the whole first weights.

    Returns:
        The optimizer. `iterations` counts its updates.

    Raises:
        UserError: a value is out of range, or a combination makes no sense.
    """
    _check_values(weight_decay, layer_decay, accumulate, lookahead, lookahead_rate, average, rates)
    require_extendable(optimizer, weight_decay, layer_adaptation, piecewise_lr)
    if lookahead is not None and (average is not None or optimizer.use_ema):
        raise UserError("Lookahead and an average of the weights both say which weights are saved; leave one out.")
    if average is not None and optimizer.use_ema:
        raise UserError(ALREADY, what="the average", optimizer=type(optimizer).__name__)
    if lazy and (layer_adaptation or _adapts_by_weights(optimizer)):
        raise UserError(
            "lazy updates move single rows, layer adaptation needs the whole weight; leave one of them out."
        )
    if lazy and optimizer.loss_scale_factor is not None:
        raise UserError("lazy updates take gradients as they are; leave out the optimizer's loss_scale_factor.")
    if optimizer.use_ema and optimizer.ema_overwrite_frequency is not None:
        raise UserError(
            "the average of an extended optimizer is what a run saves; leave out the optimizer's "
            "ema_overwrite_frequency, or use lookahead, which writes the weights over."
        )
    return Extended(
        optimizer,
        weight_decay=weight_decay,
        layer_adaptation=layer_adaptation,
        exclude=exclude,
        piecewise_lr=piecewise_lr,
        rates=rates,
        layer_decay=layer_decay,
        transforms=transforms,
        accumulate=accumulate,
        lookahead=lookahead,
        lookahead_rate=lookahead_rate,
        lazy=lazy,
        average=average,
    )


def _adapts_by_weights(optimizer: keras.optimizers.Optimizer) -> bool:
    """Whether a step is as long as the weight that it moves."""
    return isinstance(optimizer, Lamb | keras.optimizers.Lamb) or getattr(optimizer, "relative", False)


def _check_values(
    weight_decay: float | None,
    layer_decay: float | None,
    accumulate: int,
    lookahead: int | None,
    lookahead_rate: float,
    average: float | None,
    rates: Mapping[str, float] | None,
) -> None:
    least_one = {"accumulate": accumulate, "lookahead": 1 if lookahead is None else lookahead}
    for name, count in least_one.items():
        if count < 1:
            raise UserError(
                "{field:{name}} must be at least {least}. Received: {value}.", name=name, least=1, value=count
            )
    for name, value in {"weight_decay": weight_decay, "layer_decay": layer_decay}.items():
        if value is not None and not value > 0:
            raise UserError("{field:{name}} must be positive. Received: {value}.", name=name, value=value)
    if not 0 < lookahead_rate <= 1:
        raise UserError("{field:lookahead_rate} must lie in (0, 1]. Received: {value}.", value=lookahead_rate)
    if average is not None and not 0 < average < 1:
        raise UserError("{field:average} must lie between 0 and 1. Received: {value}.", value=average)
    for pattern, factor in (rates or {}).items():
        if not 0 <= factor < float("inf"):
            raise UserError("{pattern}: a factor of the rate is a number from 0 on.", pattern=pattern)


def require_extendable(
    optimizer: keras.optimizers.Optimizer,
    weight_decay: float | None = None,
    layer_adaptation: bool = False,
    piecewise_lr: Mapping[int, float] | None = None,
) -> None:
    """Refuses an optimizer that cannot be extended, or not so.

    require_extendable(keras.optimizers.Adam(1e-4), weight_decay=0.01)

    Raises:
        UserError: it was built, does more than to move each weight for itself, or does what it is to be extended by.
    """
    name, base = type(optimizer).__name__, keras.optimizers.Optimizer
    if optimizer.built:
        raise UserError("{optimizer}: has made a step already; extend a new one.", optimizer=name)
    own = getattr(type(optimizer), "start_update", None) is None and type(optimizer).apply is not base.apply
    if own or type(optimizer)._backend_update_step is not base._backend_update_step:
        raise UserError(
            "{optimizer}: does more in a step than to move each weight for itself, and cannot be extended.",
            optimizer=name,
        )
    lamb = isinstance(optimizer, Lamb | keras.optimizers.Lamb)
    if optimizer.weight_decay is not None or (weight_decay is not None and isinstance(optimizer, Lamb)):
        raise UserError(ALREADY, what="weight decay", optimizer=name)
    relative = isinstance(optimizer, keras.optimizers.Adafactor) or getattr(optimizer, "relative", False)
    if layer_adaptation and (lamb or relative):
        raise UserError(ALREADY, what="layer adaptation", optimizer=name)
    if optimizer.gradient_accumulation_steps:
        raise UserError(ALREADY, what="accumulation", optimizer=name)
    schedule = isinstance(optimizer._learning_rate, keras.optimizers.schedules.LearningRateSchedule)
    if piecewise_lr is not None and schedule:
        raise UserError(ALREADY, what="the schedule", optimizer=name)
