"""What `keras.backend` does beside arithmetic: variables and their values, random numbers, functions, recurrences."""

from collections.abc import Callable, Iterable, Sequence
from typing import Any

import keras as _keras
import numpy as np
from keras import ops

from nlptasks.errors import UserError

floatx = _keras.config.floatx


def constant(value: Any, dtype: str | None = None, shape: Any = None, name: str | None = None) -> Any:
    """A tensor that does not change."""
    filled = ops.convert_to_tensor(np.asarray(value), dtype=dtype or floatx())
    return filled if shape is None else ops.broadcast_to(filled, shape)


def zeros(shape: Sequence[int], dtype: str | None = None, name: str | None = None) -> Any:
    """Zeros."""
    return ops.zeros(shape, dtype=dtype or floatx())


def ones(shape: Sequence[int], dtype: str | None = None, name: str | None = None) -> Any:
    """Ones."""
    return ops.ones(shape, dtype=dtype or floatx())


def variable(value: Any, dtype: str | None = None, name: str | None = None, constraint: Any = None) -> Any:
    """A variable with this value."""
    return _keras.Variable(np.asarray(value), dtype=dtype or floatx(), name=_plain(name))


def _plain(name: str | None) -> str | None:
    return name.replace("/", "_") if name else None


def random_uniform(shape: Any, minval: float = 0.0, maxval: float = 1.0, dtype: Any = None, seed: Any = None) -> Any:
    """Numbers drawn evenly from a range."""
    return _keras.random.uniform(tuple(shape), minval, maxval, dtype=dtype, seed=seed_of(seed))


def random_normal(shape: Any, mean: float = 0.0, stddev: float = 1.0, dtype: Any = None, seed: Any = None) -> Any:
    """Numbers of a normal distribution."""
    return _keras.random.normal(tuple(shape), mean, stddev, dtype=dtype, seed=seed_of(seed))


def random_binomial(shape: Any, p: float = 0.0, dtype: Any = None, seed: Any = None) -> Any:
    """Ones with probability p, else zeros; drawn anew at every call."""
    draws = _keras.random.uniform(tuple(shape), seed=seed_of(seed))
    return ops.cast(draws < p, dtype or floatx())


random_bernoulli = random_binomial
_DRAWS: list[Any] = []


def seed_of(seed: int | None) -> Any:
    """Keras 2 drew from a state of the backend; one generator of ours stands for it."""
    if seed is not None:
        return _keras.random.SeedGenerator(seed)
    if not _DRAWS:
        _DRAWS.append(_keras.random.SeedGenerator())
    return _DRAWS[0]


def get_value(x: Any) -> Any:
    """The value as a NumPy array; a number if it has no axes."""
    return np.asarray(ops.convert_to_numpy(x))[()]


eval = get_value


def set_value(x: Any, value: Any) -> None:
    """Gives a variable another value."""
    x.assign(np.asarray(value))


def batch_get_value(tensors: Iterable[Any]) -> list[Any]:
    """The values of several variables."""
    return [get_value(x) for x in tensors]


def batch_set_value(tuples: Iterable[tuple[Any, Any]]) -> None:
    """Gives several variables other values."""
    for x, value in tuples:
        set_value(x, value)


def count_params(x: Any) -> int:
    """How many numbers a variable holds."""
    return int(np.prod(x.shape))


def update(x: Any, new_x: Any) -> Any:
    """Gives a variable another value, in a step; returns it."""
    x.assign(new_x)
    return x


def update_add(x: Any, increment: Any) -> Any:
    """Adds to a variable."""
    x.assign_add(increment)
    return x


def update_sub(x: Any, decrement: Any) -> Any:
    """Subtracts from a variable."""
    x.assign_sub(decrement)
    return x


def gradients(loss: Any, variables: Any) -> list[Any]:
    """The gradients of a tensor that the same step computed (TensorFlow).

    Raises:
        UserError: on another backend, or outside of a step.
    """
    from nlptasks.bert4keras.keras.phases import graph_gradients

    return graph_gradients(loss, variables)


def function(inputs: Sequence[Any], outputs: Any, updates: Any = None, name: str | None = None) -> Callable:
    """`f(arrays)` with the values of `outputs`, both of which belong to one functional model."""
    from nlptasks.bert4keras.keras.models import Model

    if updates:
        raise UserError("K.function has no updates on Keras 3: write a train_step of a Model instead.")
    wanted = list(outputs) if isinstance(outputs, list | tuple) else [outputs]
    model = Model(list(inputs), wanted)

    def run(arrays: Sequence[Any]) -> Any:
        found = model.predict(list(arrays))
        found = found if isinstance(found, list) else [found]
        return found if isinstance(outputs, list | tuple) else found[0]

    return run


def rnn(
    step_function: Callable,
    inputs: Any,
    initial_states: Sequence[Any],
    go_backwards: bool = False,
    mask: Any = None,
    constants: Any = None,
    unroll: bool = False,
    input_length: int | None = None,
) -> tuple[Any, Any, list[Any]]:
    """Runs a step along the second axis; returns the last output, all outputs and the last states."""
    if mask is not None or constants is not None:
        raise UserError("K.rnn takes no mask and no constants here: let the step read them from its inputs.")
    along = ops.swapaxes(inputs, 0, 1)
    along = ops.flip(along, axis=0) if go_backwards else along

    def step(states: Any, x: Any) -> tuple[Any, Any]:
        output, states = step_function(x, list(states))
        return list(states), output

    states, outputs = ops.scan(step, list(initial_states), along)
    outputs = ops.swapaxes(outputs, 0, 1)
    return outputs[:, -1], outputs, list(states)
