"""Options of training that every script offers; each at its default is the plain loop."""

import contextlib
import math
from collections.abc import Iterator
from dataclasses import dataclass

import keras
from keras import ops


@dataclass(kw_only=True)
class TrainingExtras:
    """What a run may do besides plain steps.

    Raises:
        ValueError: a number out of its range.
    """

    accumulate: int = 1
    """batches whose gradients make one update, as one batch so many times as large would"""
    ema: float | None = None
    """exponential moving average of the weights with this momentum (0.999, say); validated and saved in their place"""
    fgm: float | None = None
    """train on token embeddings moved this far (0.5, say) to where the loss grows (fast gradient method)"""
    recompute: bool = False
    """keep no activations inside of the layers and compute them again for the gradient: less memory, more time"""

    mesh: str | None = None
    """devices to train on: data=8, or data=4,model=2 to cut the weights, too (with KERAS_BACKEND=jax); left out, one"""

    def num_updates(self, num_examples: int, batch_size: int, epochs: int) -> int:
        """Updates of a whole run; a schedule counts them."""
        return epochs * math.ceil(math.ceil(num_examples / batch_size) / self.accumulate)

    def check_extras(self) -> None:
        """Refuses numbers out of their range."""
        if self.accumulate < 1:
            raise ValueError(f"--accumulate must be at least 1. Received: {self.accumulate}.")
        if self.ema is not None and not 0 < self.ema < 1:
            raise ValueError(f"--ema must lie between 0 and 1. Received: {self.ema}.")
        if self.fgm is not None and not self.fgm > 0:
            raise ValueError(f"--fgm must be positive. Received: {self.fgm}.")


def token_embedding(model: keras.Model) -> keras.Variable:
    """The token embedding of a model with one Transformer.

    Raises:
        ValueError: there is none, or there are several.
    """
    found = [v for v in model.trainable_variables if v.path.endswith("embeddings/token/embeddings")]
    if len(found) != 1:
        raise ValueError(f"--fgm moves the token embedding of a Transformer; this model has {len(found)}.")
    return found[0]


@contextlib.contextmanager
def averaged_weights(model: keras.Model, optimizer: keras.optimizers.Optimizer) -> Iterator[None]:
    """Inside, the model has the moving averages of its weights, if the optimizer keeps them and has made a step."""
    if not optimizer.use_ema or not int(ops.convert_to_numpy(optimizer.iterations)):
        yield
        return
    own = [ops.copy(variable.value) for variable in model.trainable_variables]
    optimizer.finalize_variable_values(model.trainable_variables)
    try:
        yield
    finally:
        for variable, value in zip(model.trainable_variables, own, strict=True):
            variable.assign(value)
