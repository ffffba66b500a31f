"""`bert4keras.backend`: functions on tensors that bert4keras adds to Keras' own, on `keras.ops`."""

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import keras as _keras
from keras import ops

from nlptasks.bert4keras import keras as keras
from nlptasks.bert4keras.gelu import set_gelu as set_gelu
from nlptasks.bert4keras.keras import backend as K
from nlptasks.bert4keras.keras.backend import flatten as flatten
from nlptasks.bert4keras.keras.backend import reshape as reshape
from nlptasks.bert4keras.keras.backend import where as where
from nlptasks.errors import UserError
from nlptasks.train import losses
from nlptasks.train.optimizers import PiecewiseLinear

is_tf_keras = 1
do_recompute = 0
INF = float("inf")
dtype = K.dtype_of


def get_available_gpus() -> list[str]:
    """The names of the GPUs."""
    try:
        return list(_keras.distribution.list_devices("gpu"))
    except (RuntimeError, ValueError):
        return []


def gelu_erf(x: Any) -> Any:
    """The exact gelu (arXiv 1606.08415)."""
    return ops.gelu(x, approximate=False)


def gelu_tanh(x: Any) -> Any:
    """Its approximation with tanh."""
    return ops.gelu(x, approximate=True)


def swish(x: Any) -> Any:
    """x times its sigmoid."""
    return ops.silu(x)


def leaky_relu(x: Any, alpha: float = 0.2) -> Any:
    """x, times alpha where it is negative."""
    return ops.leaky_relu(x, negative_slope=alpha)


def piecewise_linear(t: Any, schedule: Mapping[int, float], from_zero: bool = True) -> Any:
    """Linear between the points of the schedule, from 0 at step 0 unless that is given; after them it stays."""
    points = {int(step): float(value) for step, value in schedule.items()}
    first = {} if from_zero else {0: points[min(points)]}
    return PiecewiseLinear(1.0, first | points)(t)


def search_layer(inputs: Any, name: str, exclude_from: set | None = None) -> Any:
    """The layer of that name behind a layer or a layer's output; None if there is none."""
    seen: set[int] = set() if exclude_from is None else {id(layer) for layer in exclude_from}
    history = None if isinstance(inputs, _keras.layers.Layer) else inputs._keras_history
    todo = [inputs if history is None else history.operation]
    while todo:
        layer = todo.pop()
        if id(layer) in seen:
            continue
        seen.add(id(layer))
        if layer.name == name:
            return layer
        todo += list(getattr(layer, "layers", []))
        for node in layer._inbound_nodes:
            todo += [parent.operation for parent in node.parent_nodes]
    return None


def align(tensor: Any, axes: Sequence[int], ndim: int | None = None) -> Any:
    """The tensor with its axes at other places: axis i becomes axis `axes[i]` of `ndim`, the others have size 1."""
    if len(axes) != len(tensor.shape) or not (ndim or min(axes) >= 0):
        raise UserError("align takes a place for each axis. Received: {axes}.", axes=list(axes))
    ndim = ndim or max(axes) + 1
    places = {axis % ndim for axis in axes}
    for axis in range(ndim):
        if axis not in places:
            tensor = ops.expand_dims(tensor, axis)
    return tensor


def sequence_masking(
    x: Any, mask: Any = None, value: Any = 0, axis: Any = None, bias: Any = None, return_mask: bool = False
) -> Any:
    """`x` with `value` where `mask` (B, T) or a bool `bias` is False; a float bias is added.

    Args:
        axis: the axis of positions, or several of them; 1 unless given.
        return_mask: return the mask at the places of x's axes, too.
    """
    if mask is not None:
        axes = list(axis) if isinstance(axis, list | tuple) else [1 if axis is None else axis]
        axes = [a % len(x.shape) for a in axes]
        mask = ops.cast(mask, "bool")
        whole = align(mask, [0, axes[0]], len(x.shape))
        for other in axes[1:]:
            whole = ops.logical_and(whole, align(mask, [0, other], len(x.shape)))
        mask = whole
    if bias is not None:
        if dtype(bias) == "bool":
            mask = bias if mask is None else ops.logical_and(mask, bias)
        else:
            x = x + ops.cast(bias, x.dtype)
    if mask is not None:
        x = ops.where(mask, x, ops.cast(float(value), x.dtype))
    return (x, mask) if return_mask else x


def batch_gather(params: Any, indices: Any) -> Any:
    """For each row of `params` (B, N, ...) the entries at `indices` (B, M)."""
    indices = ops.cast(indices, "int32")
    axis = len(indices.shape) - 1
    while len(indices.shape) < len(params.shape):
        indices = indices[..., None]
    return ops.take_along_axis(params, indices, axis=axis)


def pool1d(
    x: Any,
    pool_size: int,
    strides: int = 1,
    padding: str = "valid",
    data_format: str | None = None,
    pool_mode: str = "max",
) -> Any:
    """Pooling of a sequence of vectors."""
    pool = ops.max_pool if pool_mode == "max" else ops.average_pool
    return pool(x, pool_size, strides, padding, data_format)


def divisible_temporal_padding(x: Any, n: int) -> Any:
    """Zeros behind a sequence, so that n divides its length."""
    more = -ops.shape(x)[1] % n
    return ops.pad(x, [(0, 0), (0, more)] + [(0, 0)] * (len(x.shape) - 2))


def root_mean_square(x: Any, axis: Any = None, keepdims: bool = False) -> Any:
    """The root of the mean of squares."""
    return ops.sqrt(ops.mean(ops.square(x), axis=axis, keepdims=keepdims))


def attention_normalize(a: Any, mask: Any = None, axis: int = -1, method: str = "softmax", bias: Any = None) -> Any:
    """Scores as weights: "softmax", "squared_relu" (arXiv 2202.10447) or "softmax_plus" (scaled by the log length)."""
    a, mask = sequence_masking(a, mask, -1e9 if method != "squared_relu" else -INF, axis, bias, True)
    if method == "softmax":
        return ops.softmax(a, axis=axis)
    if mask is None:
        length = ops.cast(ops.shape(a)[-1], "float32")
    else:
        length = ops.sum(ops.cast(mask, "float32"), axis=axis, keepdims=True)
    if method == "squared_relu":
        return ops.square(ops.relu(a)) / length
    if method == "softmax_plus":
        return ops.softmax(a * ops.log(ops.maximum(length, 16.0)) / math.log(512), axis=axis)
    return a


def sinusoidal_embeddings(pos: Any, dim: int, base: float = 10000) -> Any:
    """Sines and cosines of positions (..., T), side by side: (..., T, dim)."""
    frequencies = ops.power(float(base), -2.0 * ops.cast(ops.arange(dim // 2), "float32") / dim)
    angles = ops.cast(pos, "float32")[..., None] * frequencies
    pairs = ops.stack([ops.sin(angles), ops.cos(angles)], axis=-1)
    return ops.reshape(pairs, (*ops.shape(pos), dim))


@_keras.saving.register_keras_serializable("nlptasks.bert4keras")
class Sinusoidal(_keras.initializers.Initializer):
    """Sines and cosines as the start of a table of positions (arXiv 1706.03762)."""

    def __call__(self, shape: Any, dtype: Any = None) -> Any:
        return sinusoidal_embeddings(ops.arange(shape[0]), shape[1])


def apply_rotary_position_embeddings(sinusoidal: Any, *tensors: Any) -> Any:
    """Tensors (B, T, ..., D) turned by their positions (arXiv 2104.09864); `sinusoidal` is (B or 1, T, D)."""
    axes = len(tensors[0].shape)
    while len(sinusoidal.shape) < axes:
        sinusoidal = ops.expand_dims(sinusoidal, 2)
    sine, cosine = (ops.repeat(sinusoidal[..., i::2], 2, axis=-1) for i in (0, 1))
    found = []
    for tensor in tensors:
        turned = ops.stack([-tensor[..., 1::2], tensor[..., ::2]], axis=axes)
        found.append(tensor * cosine + ops.reshape(turned, ops.shape(tensor)) * sine)
    return found[0] if len(found) == 1 else found


def multilabel_categorical_crossentropy(y_true: Any, y_pred: Any) -> Any:
    """Cross-entropy of several labels at once: every target's score above 0, the others' below; targets may be soft."""
    return losses.multilabel_categorical_crossentropy(y_true, y_pred)


def sparse_multilabel_categorical_crossentropy(y_true: Any, y_pred: Any, mask_zero: bool = False) -> Any:
    """The same for targets that are lists of label numbers; with `mask_zero` the number 0 is padding.

    No name over `nlptasks.train.losses`, where a number that is repeated counts once: here it counts each time.
    """
    zeros = ops.zeros_like(y_pred[..., :1])
    y_pred = ops.concatenate([y_pred, zeros], axis=-1)
    y_true = ops.cast(y_true, "int32")
    lowest = highest = y_pred
    if mask_zero:
        lowest = ops.concatenate([zeros + INF, y_pred[..., 1:]], axis=-1)
        highest = ops.concatenate([zeros - INF, y_pred[..., 1:]], axis=-1)
    positive = ops.concatenate([ops.take_along_axis(lowest, y_true, axis=-1), zeros], axis=-1)
    positive_loss = ops.logsumexp(-positive, axis=-1)
    all_loss = ops.logsumexp(highest, axis=-1)
    share = ops.logsumexp(ops.take_along_axis(highest, y_true, axis=-1), axis=-1) - all_loss
    rest = ops.clip(1.0 - ops.exp(share), _keras.config.epsilon(), 1.0)
    return positive_loss + all_loss + ops.log(rest)


def symbolic(f: Callable) -> Callable:
    """A decorator of old Keras; it changes nothing."""
    return f


def recompute_grad(call: Callable) -> Callable:
    """A decorator of calls; `nlptasks.build_transformer_model(recompute=True)` recomputes activations."""
    return call


def graph_mode_decorator(f: Callable, *args: Any, **kwargs: Any) -> Any:
    """Not available: `keras.ops.custom_gradient` gives a function a gradient of its own."""
    raise UserError("graph_mode_decorator is not available: keras.ops.custom_gradient gives a function its gradient.")


custom_objects = {
    "gelu_erf": gelu_erf,
    "gelu_tanh": gelu_tanh,
    "gelu": gelu_erf,
    "root_mean_square": root_mean_square,
    "swish": swish,
    "leaky_relu": leaky_relu,
    "Sinusoidal": Sinusoidal,
    "multilabel_categorical_crossentropy": multilabel_categorical_crossentropy,
    "initializer": Sinusoidal,
}


def __getattr__(name: str) -> Any:
    if name == "tf":
        import tensorflow

        return tensorflow
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
