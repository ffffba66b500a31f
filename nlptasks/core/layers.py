"""The parts of a Transformer other than attention and heads.

Legend: B batch, T position, X rows of all of these, D hidden, F inner, E embedding, M chosen positions.
"""

import math
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import keras
from keras import ops

from nlptasks.backend import Tensor, draw_shorts
from nlptasks.core.activations import ACTIVATIONS
from nlptasks.core.config import TransformerConfig


def activation(name: str, training: bool | None = False) -> Callable[[Tensor], Tensor]:
    """That of `ACTIVATIONS`, or Keras' of that name; `gelu` is the exact (erf) one, `gelu_new` the approximation."""
    if name in ACTIVATIONS:
        return ACTIVATIONS[name]
    if name in ("gelu", "gelu_erf"):
        return _gelu_keeping_its_derivative if training else gelu
    return keras.activations.get(name)


def gelu(x: Tensor) -> Tensor:
    """x times the share of the normal distribution that is below x (arXiv 1606.08415).

    Written with erf, in this order, TensorFlow's graph optimizer merges it into the product and bias before it and
    computes it in float32 there; Keras' own, with erfc, takes 5 to 8 times as long.
    """
    return (ops.erf(x * 0.5**0.5) + 1.0) * (x * 0.5)


@ops.custom_gradient
def _gelu_keeping_its_derivative(x: Tensor) -> tuple[Tensor, Callable[..., Tensor]]:
    """`gelu`, computed in float32 at least; only its derivative is kept for the gradient, nothing in between."""
    dtype = keras.backend.standardize_dtype(x.dtype)
    wide = ops.cast(x, "float32") if dtype in ("bfloat16", "float16") else x
    below = (ops.erf(wide * 0.5**0.5) + 1.0) * 0.5
    density = ops.exp(ops.square(wide) * -0.5) * (2 * math.pi) ** -0.5
    derivative = ops.cast(below + wide * density, dtype)

    def gradient(*arguments: Tensor, upstream: Tensor | None = None) -> Tensor:
        if upstream is None:
            (upstream,) = arguments
        return upstream * derivative

    return ops.cast(wide * below, dtype), gradient


@keras.saving.register_keras_serializable("nlptasks")
class Dropout(keras.layers.Dropout):
    """Keras' dropout (arXiv 1207.0580) from 16 random bits for each element instead of 32, which takes half the time.

    The rate is rounded to a multiple of 2^-16.
    """

    def call(self, inputs: Tensor, training: bool = False) -> Tensor:
        if not training or not 0 < self.rate < 1:
            return super().call(inputs, training=training)
        dropped = min(round(self.rate * 2**16), 2**16 - 1)
        kept = draw_shorts(ops.shape(inputs), self.seed_generator) >= dropped
        return inputs * (ops.cast(kept, inputs.dtype) * (2**16 / (2**16 - dropped)))


def at_positions(hidden_BTD: Tensor, positions_BM: Tensor) -> Tensor:
    """The hidden states `(B, M, D)` at chosen positions of each row."""
    rows, length, size = ops.shape(hidden_BTD)
    first_B = ops.arange(rows) * length
    return ops.take(ops.reshape(hidden_BTD, (-1, size)), positions_BM + first_B[:, None], axis=0)


def normal_initializer(initializer_range: float) -> keras.initializers.Initializer:
    return keras.initializers.TruncatedNormal(stddev=initializer_range)


class Affine(NamedTuple):
    """What a norm multiplies by and adds: `(D,)`, or `(B, 1, D)` or `(B, T, D)` under a condition; float32."""

    gamma: Tensor
    beta: Tensor


@keras.saving.register_keras_serializable("nlptasks")
class LayerNorm(keras.layers.Layer):
    """Layer normalization over the last axis (arXiv 1607.06450), computed in float32.

    Of the kind "rms" it divides by the root of the mean square, without mean and beta (arXiv 1910.07467); of the kind
    "unit" it has no gamma either.

    With a `condition_size` C it is conditional: gamma + W_gamma c and beta + W_beta c for a condition vector c. Both
    matrices start at zero, so that a plain checkpoint computes what it did.

    Args:
        epsilon: added to the variance.
        condition_size: C; None: no condition.
        condition_hidden_size: width of a projection of the condition before both matrices; None: no projection.
        condition_hidden_act: its activation.
        initializer_range: standard deviation of the projection's truncated normal.
        kind: "layer", "rms" or "unit".
    """

    def __init__(
        self,
        epsilon: float = 1e-12,
        condition_size: int | None = None,
        condition_hidden_size: int | None = None,
        condition_hidden_act: str = "linear",
        initializer_range: float = 0.02,
        kind: str = "layer",
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.epsilon, self.condition_size, self.kind = epsilon, condition_size, kind
        self.condition_hidden_size, self.condition_hidden_act = condition_hidden_size, condition_hidden_act
        self.initializer_range = initializer_range
        self.condition_hidden = self.condition_gamma = self.condition_beta = self.gamma = self.beta = None

    def build(self, input_shape: Sequence[int | None]) -> None:
        width = input_shape[-1]
        if self.kind != "unit":
            self.gamma = self.add_weight(name="gamma", shape=(width,), initializer="ones")
        if self.kind == "layer":
            self.beta = self.add_weight(name="beta", shape=(width,), initializer="zeros")
        if (size := self.condition_size) is None:
            return
        if self.condition_hidden_size is not None:
            shape = (size, self.condition_hidden_size)
            normal = normal_initializer(self.initializer_range)
            self.condition_hidden = self.add_weight(name="condition_hidden", shape=shape, initializer=normal)
            size = self.condition_hidden_size
        self.condition_gamma = self.add_weight(name="condition_gamma", shape=(size, width), initializer="zeros")
        self.condition_beta = self.add_weight(name="condition_beta", shape=(size, width), initializer="zeros")

    def affine(self, condition: Tensor | None = None) -> Affine:
        """The norm's `Affine`, under the condition if given: `(B, C)`, or `(B, T, C)` with one for each position."""
        gamma, beta = _as_float32(self.gamma), _as_float32(self.beta)
        if condition is None:
            return Affine(gamma, beta)
        condition = ops.cast(condition, "float32")
        if self.condition_hidden is not None:
            act = activation(self.condition_hidden_act)
            condition = act(ops.matmul(condition, ops.cast(self.condition_hidden, "float32")))
        if len(condition.shape) == 2:
            condition = condition[:, None]
        return Affine(
            gamma + ops.matmul(condition, ops.cast(self.condition_gamma, "float32")),
            beta + ops.matmul(condition, ops.cast(self.condition_beta, "float32")),
        )

    def call(self, x: Tensor, affine: Affine | None = None) -> Tensor:
        x = ops.cast(x, "float32")
        centered = x - ops.mean(x, axis=-1, keepdims=True) if self.kind == "layer" else x
        variance = ops.mean(ops.square(centered), axis=-1, keepdims=True)
        normal = centered * ops.rsqrt(variance + self.epsilon)
        gamma, beta = self.affine() if affine is None else affine
        gamma, beta = _as_float32(gamma), _as_float32(beta)  # Keras casts what a layer is given
        normal = normal if gamma is None else normal * gamma
        return ops.cast(normal if beta is None else normal + beta, self.compute_dtype)

    def compute_output_shape(
        self, input_shape: Sequence[int | None], *args: Any, **kwargs: Any
    ) -> Sequence[int | None]:
        return input_shape

    def get_config(self) -> dict[str, Any]:
        return super().get_config() | {
            "epsilon": self.epsilon,
            "condition_size": self.condition_size,
            "condition_hidden_size": self.condition_hidden_size,
            "condition_hidden_act": self.condition_hidden_act,
            "initializer_range": self.initializer_range,
            "kind": self.kind,
        }


def _as_float32(weight: Tensor | None) -> Any:
    return None if weight is None else ops.cast(weight, "float32")


def layer_norm(config: TransformerConfig, name: str, dtype: Any) -> LayerNorm:
    """A `LayerNorm` with the sizes of the config."""
    return LayerNorm(
        config.layer_norm_epsilon,
        config.layer_norm_cond_size,
        config.layer_norm_cond_hidden_size,
        config.layer_norm_cond_hidden_act,
        config.initializer_range,
        config.norm,
        name=name,
        dtype=dtype,
    )


@keras.saving.register_keras_serializable("nlptasks")
class FeedForward(keras.layers.Layer):
    """Two dense layers with an activation between them; gated: the activated one times another (arXiv 2002.05202)."""

    def __init__(
        self,
        hidden_size: int,
        ffn_size: int,
        hidden_act: str = "gelu",
        initializer_range: float = 0.02,
        use_bias: bool = True,
        gated: bool = False,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.hidden_size, self.ffn_size = hidden_size, ffn_size
        self.hidden_act, self.initializer_range = hidden_act, initializer_range
        self.use_bias, self.gated = use_bias, gated
        settings = {"kernel_initializer": normal_initializer(initializer_range), "dtype": self.dtype_policy}
        settings["use_bias"] = use_bias
        self.inner = keras.layers.Dense(ffn_size, name="inner", **settings)
        self.gate = keras.layers.Dense(ffn_size, name="gate", **settings) if gated else None
        self.outer = keras.layers.Dense(hidden_size, name="outer", **settings)

    def build(self, input_shape: Sequence[int | None]) -> None:
        self.inner.build(input_shape)
        if self.gate is not None:
            self.gate.build(input_shape)
        self.outer.build((*input_shape[:-1], self.ffn_size))

    def call(self, hidden_BTD: Tensor, training: bool | None = None) -> Tensor:
        flat_XD = ops.reshape(hidden_BTD, (-1, self.hidden_size))  # so that biases are merged into the products
        inner_XF = activation(self.hidden_act, training)(self.inner(flat_XD))
        inner_XF = inner_XF if self.gate is None else inner_XF * self.gate(flat_XD)
        flat_XD = self.outer(inner_XF)
        return ops.reshape(flat_XD, (*ops.shape(hidden_BTD)[:-1], self.hidden_size))

    def compute_output_shape(self, input_shape: Sequence[int | None]) -> Sequence[int | None]:
        return input_shape

    def get_config(self) -> dict[str, Any]:
        return super().get_config() | {
            "hidden_size": self.hidden_size,
            "ffn_size": self.ffn_size,
            "hidden_act": self.hidden_act,
            "initializer_range": self.initializer_range,
            "use_bias": self.use_bias,
            "gated": self.gated,
        }


class Embeddings(keras.layers.Layer):
    """Token + segment + learned position embeddings, as far as there are; normalized, and mapped to the hidden size
    where that differs.
    """

    def __init__(self, config: TransformerConfig, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.config = config
        initializer = normal_initializer(config.initializer_range)
        settings = {"output_dim": config.embedding_size, "embeddings_initializer": initializer}
        settings["dtype"] = self.dtype_policy
        self.token = keras.layers.Embedding(config.vocab_size, name="token", **settings)
        self.position = None
        if config.position in ("learned", "counted"):
            self.position = keras.layers.Embedding(config.max_positions, name="position", **settings)
        self.segment = None
        if config.segment_vocab_size:
            self.segment = keras.layers.Embedding(config.segment_vocab_size, name="segment", **settings)
        self.norm = layer_norm(config, "norm", self.dtype_policy) if config.embedding_norm else None
        self.dropout = Dropout(config.dropout, dtype=self.dtype_policy)
        self.mapping = None
        if config.embedding_size != config.hidden_size:
            settings = {"kernel_initializer": initializer, "use_bias": config.use_bias, "dtype": self.dtype_policy}
            self.mapping = keras.layers.Dense(config.hidden_size, name="mapping", **settings)

    def build(self, input_shape: Sequence[int | None] | None = None) -> None:
        for table in (self.token, self.position, self.segment):
            if table is not None:
                table.build((None, None))
        if self.norm is not None:
            self.norm.build((None, None, self.config.embedding_size))
        if self.mapping is not None:
            self.mapping.build((None, None, self.config.embedding_size))

    def call(
        self,
        token_ids_BT: Tensor,
        segment_ids_BT: Tensor | None = None,
        position_ids_BT: Tensor | None = None,
        affine: Affine | None = None,
        training: bool | None = None,
        token_vectors_BTE: Tensor | None = None,
    ) -> Tensor:
        x_BTE = self.token(token_ids_BT) if token_vectors_BTE is None else token_vectors_BTE
        if self.position is not None:
            if position_ids_BT is None:
                position_ids_BT = ops.arange(ops.shape(token_ids_BT)[1])[None, :]
            x_BTE = x_BTE + self._positions(self.position, position_ids_BT)
        if self.segment is not None:
            if segment_ids_BT is None or self.config.segment_vocab_size == 1:
                segment_ids_BT = ops.zeros_like(token_ids_BT)
            x_BTE = x_BTE + self.segment(segment_ids_BT)
        x_BTE = self.dropout(x_BTE if self.norm is None else self.norm(x_BTE, affine), training=training)
        return x_BTE if self.mapping is None else self.mapping(x_BTE)

    def _positions(self, table: keras.layers.Embedding, position_ids_BT: Tensor) -> Tensor:
        share, rows = self.config.hierarchical_position, self.config.max_positions
        if share is None:
            return table(position_ids_BT)
        # bert4keras: the table r becomes e = (r - share r[0]) / (1 - share), so that the first rows stay what they were
        first_11E = table(ops.zeros((1, 1), "int32"))
        high_BTE, low_BTE = table(position_ids_BT // rows), table(position_ids_BT % rows)
        return (low_BTE - share * first_11E) + share / (1 - share) * (high_BTE - share * first_11E)
