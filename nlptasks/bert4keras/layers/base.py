"""bert4keras' plain layers: embedding, norm, feed-forward, splitting, losses."""

from collections.abc import Callable, Sequence
from typing import Any

import keras
import numpy as np
from keras import activations, initializers, ops

from nlptasks.bert4keras.keras.layers import Layer as _Layer
from nlptasks.bert4keras.keras.layers import layer_class as _keras_layer
from nlptasks.bert4keras.keras.layers import real_positions

PACKAGE = "nlptasks.bert4keras"
Dense: Any = _keras_layer("Dense")
_Embedding: Any = _keras_layer("Embedding")


def integerize_shape(func: Callable) -> Callable:
    """A decorator of old `build` methods; shapes are integers here."""
    return func


class Layer(_Layer):
    """Keras' Layer, which hands its mask on."""

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.supports_masking = True


def real_shape(shape: Any) -> tuple[int | None, ...]:
    """The first shape of a list of shapes, or the shape itself."""
    return tuple(shape[0]) if shape and isinstance(shape[0], list | tuple) else tuple(shape)


def dense(
    layer: Any, units: int, input_size: int, activation: Any = None, bias: bool = True, kernel: Any = None
) -> Any:
    """A built dense layer inside of another one."""
    made = Dense(
        units,
        activation=activation,
        use_bias=bias,
        kernel_initializer=initializers.get(_cloned(kernel or "glorot_uniform")),
        dtype=layer.dtype_policy,
    )
    made.build((None, input_size))
    return made


def _cloned(initializer: Any) -> Any:
    if isinstance(initializer, initializers.Initializer):
        return initializer.__class__.from_config(initializer.get_config())
    return initializer


@keras.saving.register_keras_serializable(PACKAGE)
class Embedding(_Embedding):
    """An embedding whose first position is never masked, and which is a product with its table in `mode="dense"`."""

    def compute_mask(self, inputs: Any, mask: Any = None) -> Any:
        if len(inputs.shape) != 2:
            return mask
        return real_positions(inputs) if self.mask_zero else None

    def call(self, inputs: Any, mode: str = "embedding") -> Any:
        if mode == "embedding":
            return super().call(inputs)
        return ops.matmul(inputs, ops.transpose(ops.cast(self.embeddings, inputs.dtype)))

    def compute_output_shape(self, input_shape: Any) -> Any:
        return (*input_shape, self.output_dim) if len(input_shape) == 2 else (*input_shape[:-1], self.input_dim)

    def compute_output_spec(self, inputs: Any, mode: str = "embedding") -> Any:
        return keras.KerasTensor(self.compute_output_shape(inputs.shape), dtype=self.compute_dtype)


@keras.saving.register_keras_serializable(PACKAGE)
class ScaleOffset(Layer):
    """Times gamma, plus beta, on the last axis; both may be numbers, and both may depend on a condition."""

    def __init__(
        self,
        scale: Any = True,
        offset: Any = True,
        conditional: bool = False,
        hidden_units: int | None = None,
        hidden_activation: Any = "linear",
        hidden_initializer: Any = "glorot_uniform",
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.scale, self.offset, self.conditional = scale, offset, conditional
        self.hidden_units, self.hidden_activation = hidden_units, activations.get(hidden_activation)
        self.hidden_initializer = initializers.get(hidden_initializer)
        self.hidden_dense = self.beta_dense = self.gamma_dense = None

    def build(self, input_shape: Any) -> None:
        width: Any = real_shape(input_shape)[-1]
        if self.offset is True:
            self.beta = self.add_weight(name="beta", shape=(width,), initializer="zeros")
        if self.scale is True:
            self.gamma = self.add_weight(name="gamma", shape=(width,), initializer="ones")
        if self.conditional:
            size = input_shape[1][-1]
            if self.hidden_units is not None:
                settings = {"activation": self.hidden_activation, "bias": False, "kernel": self.hidden_initializer}
                self.hidden_dense = dense(self, self.hidden_units, size, **settings)
                size = self.hidden_units
            if self.offset is not False and self.offset is not None:
                self.beta_dense = dense(self, width, size, bias=False, kernel="zeros")
            if self.scale is not False and self.scale is not None:
                self.gamma_dense = dense(self, width, size, bias=False, kernel="zeros")

    def compute_mask(self, inputs: Any, mask: Any = None) -> Any:
        return mask[0] if self.conditional and mask is not None else mask

    def call(self, inputs: Any) -> Any:
        condition = None
        if self.conditional:
            inputs, condition = inputs
            condition = condition if self.hidden_dense is None else self.hidden_dense(condition)
            while len(condition.shape) < len(inputs.shape):
                condition = condition[:, None]
        if self.scale is not False and self.scale is not None:
            gamma = self.gamma if self.scale is True else self.scale
            inputs = inputs * (gamma if self.gamma_dense is None else gamma + self.gamma_dense(condition))
        if self.offset is not False and self.offset is not None:
            beta = self.beta if self.offset is True else self.offset
            inputs = inputs + (beta if self.beta_dense is None else beta + self.beta_dense(condition))
        return inputs

    def compute_output_shape(self, input_shape: Any) -> Any:
        return real_shape(input_shape)

    def get_config(self) -> dict[str, Any]:
        return super().get_config() | {
            "scale": self.scale,
            "offset": self.offset,
            "conditional": self.conditional,
            "hidden_units": self.hidden_units,
            "hidden_activation": activations.serialize(self.hidden_activation),
            "hidden_initializer": initializers.serialize(self.hidden_initializer),
        }


@keras.saving.register_keras_serializable(PACKAGE)
class LayerNormalization(ScaleOffset):
    """Layer normalization (arXiv 1607.06450), under a condition where `conditional`: called with [x, condition]."""

    def __init__(
        self, zero_mean: bool = True, unit_variance: bool = True, epsilon: float | None = None, **kwargs: Any
    ) -> None:
        super().__init__(**kwargs)
        self.zero_mean, self.unit_variance = zero_mean, unit_variance
        self.epsilon = epsilon or keras.config.epsilon()

    def call(self, inputs: Any) -> Any:
        x, *condition = inputs if self.conditional else (inputs,)
        if self.zero_mean:
            x = x - ops.mean(x, axis=-1, keepdims=True)
        if self.unit_variance:
            x = x * ops.rsqrt(ops.mean(ops.square(x), axis=-1, keepdims=True) + self.epsilon)
        return super().call([x, *condition] if self.conditional else x)

    def get_config(self) -> dict[str, Any]:
        config = {"zero_mean": self.zero_mean, "unit_variance": self.unit_variance, "epsilon": self.epsilon}
        return super().get_config() | config


@keras.saving.register_keras_serializable(PACKAGE)
class FeedForward(Layer):
    """Two dense layers; of several activations, the further ones gate the first (arXiv 2002.05202)."""

    def __init__(
        self,
        units: int,
        activation: Any = "relu",
        use_bias: bool = True,
        kernel_initializer: Any = "glorot_uniform",
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.units, self.use_bias = units, use_bias
        self.activation = [
            activations.get(act) for act in (activation if isinstance(activation, list) else [activation])
        ]
        self.kernel_initializer = initializers.get(kernel_initializer)

    def build(self, input_shape: Any) -> None:
        width = input_shape[-1]
        settings = {"bias": self.use_bias, "kernel": self.kernel_initializer}
        self.i_denses = [dense(self, self.units, width, act, **settings) for act in self.activation]
        self.o_dense = dense(self, width, self.units, **settings)

    @property
    def i0_dense(self) -> Any:
        """The first dense layer."""
        return self.i_denses[0]

    def call(self, inputs: Any) -> Any:
        x = self.i_denses[0](inputs)
        for gate in self.i_denses[1:]:
            x = x * gate(inputs)
        return self.o_dense(x)

    def compute_output_shape(self, input_shape: Any) -> Any:
        return input_shape

    def get_config(self) -> dict[str, Any]:
        return super().get_config() | {
            "units": self.units,
            "activation": [activations.serialize(act) for act in self.activation],
            "use_bias": self.use_bias,
            "kernel_initializer": initializers.serialize(self.kernel_initializer),
        }


@keras.saving.register_keras_serializable(PACKAGE)
class Concatenate1D(Layer):
    """Sequences one behind the other; those without a mask count as real."""

    def call(self, inputs: Any) -> Any:
        return ops.concatenate(inputs, axis=1)

    def compute_mask(self, inputs: Any, mask: Any = None) -> Any:
        if mask is None or all(m is None for m in mask):
            return None
        masks = [ops.ones_like(x[..., 0], dtype="bool") if m is None else m for x, m in zip(inputs, mask, strict=True)]
        return ops.concatenate(masks, axis=1)


@keras.saving.register_keras_serializable(PACKAGE)
class BatchSplit(Layer):
    """Splits the rows of a batch: into so many parts, or in the proportion of a list."""

    def __init__(self, parts: Any, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.parts = parts

    def call(self, inputs: Any) -> Any:
        if isinstance(inputs, list):
            return [piece for each in inputs for piece in self.call(each)]
        count = len(self.parts) if np.ndim(self.parts) else self.parts
        rows = ops.shape(inputs)[0]
        if np.ndim(self.parts):
            shares = np.cumsum(self.parts) / np.sum(self.parts)
            ends = [ops.cast(ops.cast(rows, "float32") * float(share), "int32") for share in shares]
        else:
            ends = [-(-rows // count) * (i + 1) for i in range(count)]
        starts = [0, *ends]
        return [inputs[starts[i] :] if i == count - 1 else inputs[starts[i] : ends[i]] for i in range(count)]

    def compute_mask(self, inputs: Any, mask: Any = None) -> Any:
        if isinstance(mask, list):
            return [piece for each, m in zip(inputs, mask, strict=True) for piece in self.compute_mask(each, m)]
        count = len(self.parts) if np.ndim(self.parts) else self.parts
        return [None] * count if mask is None else self.call(mask)

    def get_config(self) -> dict[str, Any]:
        return super().get_config() | {"parts": self.parts}


@keras.saving.register_keras_serializable(PACKAGE)
class BatchConcat(Layer):
    """Puts the rows of several batches together."""

    def call(self, inputs: Sequence[Any]) -> Any:
        return ops.concatenate(list(inputs), axis=0)

    def compute_mask(self, inputs: Any, mask: Any = None) -> Any:
        if isinstance(mask, list) and mask and all(m is not None for m in mask):
            return ops.concatenate(mask, axis=0)
        return None


@keras.saving.register_keras_serializable(PACKAGE)
class Loss(Layer):
    """A layer that adds a loss of its inputs: override `compute_loss(inputs, mask)`.

    Args:
        output_axis: which of the inputs it returns, a number or a list; None: all.
    """

    def __init__(self, output_axis: Any = None, **kwargs: Any) -> None:
        super().__init__(autocast=False, **kwargs)
        self.output_axis = output_axis

    def call(self, inputs: Any, mask: Any = None) -> Any:
        self.add_loss(self.compute_loss(inputs, mask))
        return self._chosen(inputs)

    def compute_loss(self, inputs: Any, mask: Any = None) -> Any:
        """The loss, a scalar."""
        raise NotImplementedError

    def add_metric(self, value: Any, name: str | None = None, **options: Any) -> None:
        """Shows a value in the progress, as Keras 2 did: a metric of the layer's that averages it."""
        found = getattr(self, "_shown", {})
        if name not in found:
            self._shown = found | {name: keras.metrics.Mean(name=name or "value")}
        self._shown[name].update_state(value)

    def _chosen(self, found: Any) -> Any:
        if self.output_axis is None:
            return found
        if isinstance(self.output_axis, list | tuple):
            return [found[i] for i in self.output_axis]
        return found[self.output_axis]

    def compute_output_spec(self, inputs: Any, *args: Any, **kwargs: Any) -> Any:
        chosen = self._chosen(inputs)
        if isinstance(chosen, list | tuple):
            return [keras.KerasTensor(x.shape, dtype=x.dtype) for x in chosen]
        return keras.KerasTensor(chosen.shape, dtype=chosen.dtype)

    def compute_mask(self, inputs: Any, mask: Any = None) -> Any:
        return None if mask is None else self._chosen(mask)

    def get_config(self) -> dict[str, Any]:
        config = super().get_config() | {"output_axis": self.output_axis}
        return {name: value for name, value in config.items() if name != "autocast"}
