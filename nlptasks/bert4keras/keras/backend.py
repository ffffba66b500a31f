"""`keras.backend` of Keras 2 on `keras.ops`: the functions that scripts call `K.something`.

    from nlptasks.bert4keras.keras import backend as K

    K.eval(K.sum(K.ones((2, 3))))  # 6.0

Their arguments are those of Keras 2. `K.function` and `K.gradients` are small equivalents; what has no place in Keras 3
(sessions, learning phases set from outside) raises one line.
"""

import contextlib
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import keras as _keras
import numpy as np
from keras import ops

from nlptasks.bert4keras.keras.losses import binary_crossentropy as binary_crossentropy
from nlptasks.bert4keras.keras.losses import categorical_crossentropy as categorical_crossentropy
from nlptasks.bert4keras.keras.losses import sparse_categorical_crossentropy as sparse_categorical_crossentropy
from nlptasks.bert4keras.keras.values import (
    batch_get_value as batch_get_value,
)
from nlptasks.bert4keras.keras.values import (
    batch_set_value as batch_set_value,
)
from nlptasks.bert4keras.keras.values import (
    constant as constant,
)
from nlptasks.bert4keras.keras.values import (
    count_params as count_params,
)
from nlptasks.bert4keras.keras.values import (
    eval as eval,
)
from nlptasks.bert4keras.keras.values import (
    function as function,
)
from nlptasks.bert4keras.keras.values import (
    get_value as get_value,
)
from nlptasks.bert4keras.keras.values import (
    gradients as gradients,
)
from nlptasks.bert4keras.keras.values import (
    ones as ones,
)
from nlptasks.bert4keras.keras.values import (
    random_bernoulli as random_bernoulli,
)
from nlptasks.bert4keras.keras.values import (
    random_binomial as random_binomial,
)
from nlptasks.bert4keras.keras.values import (
    random_normal as random_normal,
)
from nlptasks.bert4keras.keras.values import (
    random_uniform as random_uniform,
)
from nlptasks.bert4keras.keras.values import (
    rnn as rnn,
)
from nlptasks.bert4keras.keras.values import (
    seed_of,
)
from nlptasks.bert4keras.keras.values import (
    set_value as set_value,
)
from nlptasks.bert4keras.keras.values import (
    update as update,
)
from nlptasks.bert4keras.keras.values import (
    update_add as update_add,
)
from nlptasks.bert4keras.keras.values import (
    update_sub as update_sub,
)
from nlptasks.bert4keras.keras.values import (
    variable as variable,
)
from nlptasks.bert4keras.keras.values import (
    zeros as zeros,
)
from nlptasks.errors import UserError

epsilon, set_epsilon = _keras.config.epsilon, _keras.config.set_epsilon
floatx, set_floatx = _keras.config.floatx, _keras.config.set_floatx
image_data_format = _keras.config.image_data_format
backend = _keras.config.backend
clear_session = _keras.utils.clear_session
cast, expand_dims, squeeze, transpose = ops.cast, ops.expand_dims, ops.squeeze, ops.transpose
abs, square, sqrt, exp, log, sign = ops.abs, ops.square, ops.sqrt, ops.exp, ops.log, ops.sign
round, sin, cos, tanh = ops.round, ops.sin, ops.cos, ops.tanh
sigmoid, softplus, softsign, hard_sigmoid = ops.sigmoid, ops.softplus, ops.softsign, ops.hard_sigmoid
equal, not_equal, greater, greater_equal = ops.equal, ops.not_equal, ops.greater, ops.greater_equal
less, less_equal, maximum, minimum = ops.less, ops.less_equal, ops.maximum, ops.minimum
zeros_like, ones_like, stop_gradient = ops.zeros_like, ops.ones_like, ops.stop_gradient
stack, tile, identity = ops.stack, ops.tile, lambda x: x
symbolic = lambda function: function  # noqa: E731 - a decorator of Keras 2.3


_OF_SIZES = ("sum", "max", "min", "prod")
"""of sizes from `shape`, these give plain numbers: inside a program of JAX, another number could be no size again"""


def _over(function: Callable) -> Callable:
    def reduce(x: Any, axis: Any = None, keepdims: bool = False) -> Any:
        if function.__name__ in _OF_SIZES and isinstance(x, tuple) and {type(size) for size in x} == {int}:
            return int(getattr(np, function.__name__)(x))
        return function(x, axis=axis, keepdims=keepdims)

    reduce.__name__ = function.__name__
    return reduce


sum, mean, max, min, prod = (_over(f) for f in (ops.sum, ops.mean, ops.max, ops.min, ops.prod))
all, any, std, var = (_over(f) for f in (ops.all, ops.any, ops.std, ops.var))
logsumexp = _over(ops.logsumexp)
concatenate = lambda tensors, axis=-1: ops.concatenate(tensors, axis=axis)  # noqa: E731
argmax = lambda x, axis=-1: ops.argmax(x, axis=axis)  # noqa: E731
argmin = lambda x, axis=-1: ops.argmin(x, axis=axis)  # noqa: E731
cumsum = lambda x, axis=0: ops.cumsum(x, axis=axis)  # noqa: E731
cumprod = lambda x, axis=0: ops.cumprod(x, axis=axis)  # noqa: E731
softmax = lambda x, axis=-1: ops.softmax(x, axis=axis)  # noqa: E731
elu = lambda x, alpha=1.0: ops.elu(x, alpha=alpha)  # noqa: E731
pow = lambda x, a: ops.power(x, a)  # noqa: E731
gather = lambda reference, indices: ops.take(reference, ops.cast(indices, "int32"), axis=0)  # noqa: E731
permute_dimensions = lambda x, pattern: ops.transpose(x, pattern)  # noqa: E731
ndim = lambda x: len(x.shape)  # noqa: E731
dtype = lambda x: _keras.backend.standardize_dtype(x.dtype)  # noqa: E731
shape = ops.shape
one_hot = lambda indices, num_classes: ops.one_hot(ops.cast(indices, "int32"), num_classes)  # noqa: E731


def l2_normalize(x: Any, axis: Any = None) -> Any:
    """Divided by the Euclidean norm."""
    return x * ops.rsqrt(ops.maximum(ops.sum(ops.square(x), axis=axis, keepdims=True), 1e-12))


def int_shape(x: Any) -> tuple[int | None, ...]:
    """The shape with None where it is free."""
    return tuple(x.shape)


def is_tensor(x: Any) -> bool:
    """Whether this is a tensor of the backend."""
    return bool(ops.is_tensor(x))


is_keras_tensor = _keras.backend.is_keras_tensor


def reshape(tensor: Any, *args: Any) -> Any:
    """As `reshape(tensor, shape)`, or bert4keras' `reshape(tensor, shape, axis, ...)`: the axis becomes the shape's."""
    if len(args) == 1:
        return ops.reshape(tensor, tuple(args[0]))
    sizes: list[Any] = [[size] for size in ops.shape(tensor)]
    for new, axis in zip(args[::2], args[1::2], strict=True):
        whole, new = sizes[axis][0], list(new)
        if -1 in new:
            known = 1
            for size in new:
                known = known * size if not (isinstance(size, int) and size == -1) else known
            new[new.index(-1)] = whole // known
        sizes[axis] = new
    flat = [size for group in sizes for size in group]
    if len([s for s in flat if not isinstance(s, int)]) == 1:
        flat = [s if isinstance(s, int) else -1 for s in flat]
    return ops.reshape(tensor, tuple(flat))


def flatten(tensor: Any, start: int | None = None, end: int | None = None) -> Any:
    """The axes from `start` to before `end` as one; all of them unless given."""
    sizes = list(ops.shape(tensor))
    start, end = start or 0, end or len(sizes)
    start = start + len(sizes) if start < 0 else start
    product: Any = 1
    for size in sizes[start:end]:
        product = product * size
    return ops.reshape(tensor, (*sizes[:start], product, *sizes[end:]))


def batch_flatten(x: Any) -> Any:
    """All axes but the first as one."""
    return ops.reshape(x, (ops.shape(x)[0], -1))


def dot(x: Any, y: Any) -> Any:
    """The product over the last axis of x and the last but one of y."""
    return ops.dot(x, y)


def batch_dot(x: Any, y: Any, axes: Any = None) -> Any:
    """The product of each row of a batch, over one axis of each."""
    if axes is None:
        axes = (len(x.shape) - 1, len(y.shape) - 2 if len(y.shape) > 2 else 1)
    first, second = (axes, axes) if isinstance(axes, int) else axes
    return _keras.layers.Dot(axes=(first % len(x.shape), second % len(y.shape)))([x, y])


def repeat_elements(x: Any, rep: int, axis: int) -> Any:
    """Each element of an axis `rep` times in a row."""
    return ops.repeat(x, rep, axis=axis)


def repeat(x: Any, n: int) -> Any:
    """`(B, D)` to `(B, n, D)`."""
    return ops.repeat(x[:, None], n, axis=1)


def reverse(x: Any, axes: int | Sequence[int]) -> Any:
    """The tensor with some axes turned round."""
    return ops.flip(x, axis=axes)


def arange(start: Any, stop: Any = None, step: int = 1, dtype: str = "int32") -> Any:
    """As NumPy's."""
    return ops.arange(start, stop, step, dtype=dtype) if stop is not None else ops.arange(0, start, step, dtype=dtype)


def clip(x: Any, min_value: float, max_value: float) -> Any:
    """The values cut to a range."""
    return ops.clip(x, min_value, max_value)


def relu(x: Any, alpha: float = 0.0, max_value: float | None = None, threshold: float = 0.0) -> Any:
    """Keras' relu."""
    return _keras.activations.relu(x, negative_slope=alpha, max_value=max_value, threshold=threshold)


def dropout(x: Any, level: float, noise_shape: Any = None, seed: int | None = None) -> Any:
    """A share `level` of the values set to zero, the rest scaled up."""
    return _keras.random.dropout(x, level, noise_shape=noise_shape, seed=seed_of(seed))


def where(cond: Any, x: Any, y: Any) -> Any:
    """With broadcasting, as bert4keras extends it."""
    if dtype_of(x) is None and dtype_of(y) is not None:
        x = ops.cast(x, dtype_of(y))
    elif dtype_of(y) is None and dtype_of(x) is not None:
        y = ops.cast(y, dtype_of(x))
    return ops.where(ops.cast(cond, "bool"), x, y)


def dtype_of(x: Any) -> str | None:
    """The type of a tensor or array; None for a number."""
    found = getattr(x, "dtype", None)
    return None if found is None else _keras.backend.standardize_dtype(found)


def switch(condition: Any, then_expression: Any, else_expression: Any) -> Any:
    """One of two tensors, or of the results of two functions."""
    then, other = (f() if callable(f) else f for f in (then_expression, else_expression))
    condition = ops.cast(condition, "bool")
    while len(condition.shape) < len(then.shape):
        condition = condition[..., None]
    return ops.where(condition, then, other)


def in_train_phase(x: Any, alt: Any, training: Any = None) -> Any:
    """x in training, else alt; either may be a function. Without `training`, what the layer around it was told."""
    if training is None:
        training = learning_phase()
    if isinstance(training, bool | int):
        chosen = x if training else alt
        return chosen() if callable(chosen) else chosen
    return switch(training, x, alt)


def in_test_phase(x: Any, alt: Any, training: Any = None) -> Any:
    """The contrary of `in_train_phase`."""
    return in_train_phase(alt, x, training)


def learning_phase() -> bool:
    """Whether the call that is running is one of training."""
    from nlptasks.bert4keras.keras.phases import training_now

    return training_now()


@contextlib.contextmanager
def name_scope(name: str) -> Iterator[None]:
    """Names of operations; they have none here."""
    yield


_UIDS: dict[str, int] = {}


def get_uid(prefix: str = "") -> int:
    """A number that was not given before."""
    _UIDS[prefix] = _UIDS.get(prefix, 0) + 1
    return _UIDS[prefix]


_GONE = (
    "get_session",
    "set_session",
    "set_learning_phase",
    "placeholder",
    "get_updates",
    "manual_variable_initialization",
)


def __getattr__(name: str) -> Any:
    if name in _GONE:
        raise UserError(
            "K.{name} belongs to the sessions of TensorFlow 1 and has no place in Keras 3: a model computes when it "
            "is called, `training=True` stands for the learning phase.",
            name=name,
        )
    found = getattr(ops, name, None)
    if found is None:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return found
