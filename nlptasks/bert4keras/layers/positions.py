"""bert4keras' layers of positions."""

import math
from typing import Any

import keras
from keras import initializers, ops

from nlptasks.bert4keras.backend import sinusoidal_embeddings
from nlptasks.bert4keras.layers.base import PACKAGE, Layer, real_shape


class _Positions(Layer):
    """What layers share that merge positions into `x`, or into `[x, position ids]` those of the ids."""

    def __init__(self, merge_mode: str = "add", custom_position_ids: bool = False, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.merge_mode, self.custom_position_ids = merge_mode, custom_position_ids

    def vectors(self, position_ids: Any) -> Any:
        raise NotImplementedError

    def call(self, inputs: Any) -> Any:
        x, ids = inputs if self.custom_position_ids else (inputs, None)
        ids = ops.arange(ops.shape(x)[1])[None] if ids is None else ids
        found = self.vectors(ids)
        if self.merge_mode == "add":
            return x + found
        if self.merge_mode == "mul":
            return x * (found + 1.0)
        if self.merge_mode == "zero":
            return found
        if not self.custom_position_ids:
            found = ops.tile(found, [ops.shape(x)[0], 1, 1])
        return ops.concatenate([x, found], axis=-1)

    def compute_mask(self, inputs: Any, mask: Any = None) -> Any:
        return mask[0] if isinstance(mask, list | tuple) else mask

    def compute_output_shape(self, input_shape: Any) -> Any:
        rows, length, *width = real_shape(input_shape)
        size: Any = self.output_dim
        if self.merge_mode not in ("add", "mul", "zero"):
            size = width[-1] + size
        return (rows, length, size)

    def get_config(self) -> dict[str, Any]:
        config = {"merge_mode": self.merge_mode, "custom_position_ids": self.custom_position_ids}
        return super().get_config() | config


@keras.saving.register_keras_serializable(PACKAGE)
class PositionEmbedding(_Positions):
    """A table of positions; `hierarchical` extends it to its length squared."""

    def __init__(
        self,
        input_dim: int,
        output_dim: int,
        merge_mode: str = "add",
        hierarchical: Any = None,
        embeddings_initializer: Any = "zeros",
        custom_position_ids: bool = False,
        **kwargs: Any,
    ) -> None:
        super().__init__(merge_mode, custom_position_ids, **kwargs)
        self.input_dim, self.output_dim, self.hierarchical = input_dim, output_dim, hierarchical
        self.embeddings_initializer = initializers.get(embeddings_initializer)

    def build(self, input_shape: Any) -> None:
        shape = (self.input_dim, self.output_dim)
        self.embeddings = self.add_weight(name="embeddings", shape=shape, initializer=self.embeddings_initializer)

    def vectors(self, position_ids: Any) -> Any:
        ids = ops.cast(position_ids, "int32")
        if not self.hierarchical:
            return ops.take(self.embeddings, ids, axis=0)
        share = 0.4 if self.hierarchical is True else self.hierarchical
        table = (self.embeddings - share * self.embeddings[:1]) / (1 - share)
        high, low = (ops.take(table, part, axis=0) for part in (ids // self.input_dim, ids % self.input_dim))
        return share * high + (1 - share) * low

    def get_config(self) -> dict[str, Any]:
        return super().get_config() | {
            "input_dim": self.input_dim,
            "output_dim": self.output_dim,
            "hierarchical": self.hierarchical,
            "embeddings_initializer": initializers.serialize(self.embeddings_initializer),
        }


@keras.saving.register_keras_serializable(PACKAGE)
class SinusoidalPositionEmbedding(_Positions):
    """Sines and cosines of the positions."""

    def __init__(
        self, output_dim: int, merge_mode: str = "add", custom_position_ids: bool = False, **kwargs: Any
    ) -> None:
        super().__init__(merge_mode, custom_position_ids, **kwargs)
        self.output_dim = output_dim

    def vectors(self, position_ids: Any) -> Any:
        return sinusoidal_embeddings(ops.cast(position_ids, "float32"), self.output_dim)

    def get_config(self) -> dict[str, Any]:
        return super().get_config() | {"output_dim": self.output_dim}


@keras.saving.register_keras_serializable(PACKAGE)
class RelativePositionEmbedding(Layer):
    """A vector for each distance of `[q, v]` (arXiv 1803.02155): `(T, S, output_dim)`."""

    def __init__(self, input_dim: int, output_dim: int, embeddings_initializer: Any = "zeros", **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.input_dim, self.output_dim = input_dim, output_dim
        self.embeddings_initializer = initializers.get(embeddings_initializer)

    def build(self, input_shape: Any) -> None:
        shape = (self.input_dim, self.output_dim)
        self.embeddings = self.add_weight(name="embeddings", shape=shape, initializer=self.embeddings_initializer)

    def call(self, inputs: Any) -> Any:
        return ops.take(self.embeddings, self.compute_position_ids(inputs), axis=0)

    def _distances(self, inputs: Any) -> Any:
        query, value = inputs
        return ops.arange(ops.shape(value)[1])[None] - ops.arange(ops.shape(query)[1])[:, None]

    def compute_position_ids(self, inputs: Any) -> Any:
        """Which vector stands for each pair of positions."""
        most = (self.input_dim - 1) // 2
        return ops.clip(self._distances(inputs), -most, most) + most

    def compute_output_shape(self, input_shape: Any) -> Any:
        return (None, None, self.output_dim)

    def compute_mask(self, inputs: Any, mask: Any = None) -> Any:
        return None if mask is None else mask[0]

    def get_config(self) -> dict[str, Any]:
        return super().get_config() | {
            "input_dim": self.input_dim,
            "output_dim": self.output_dim,
            "embeddings_initializer": initializers.serialize(self.embeddings_initializer),
        }


@keras.saving.register_keras_serializable(PACKAGE)
class RelativePositionEmbeddingT5(RelativePositionEmbedding):
    """T5's distances (arXiv 1910.10683): exact near by, in buckets of growing width farther away."""

    def __init__(
        self,
        input_dim: int,
        output_dim: int,
        max_distance: int = 128,
        bidirectional: bool = True,
        embeddings_initializer: Any = "zeros",
        **kwargs: Any,
    ) -> None:
        super().__init__(input_dim, output_dim, embeddings_initializer, **kwargs)
        self.max_distance, self.bidirectional = max_distance, bidirectional

    def compute_position_ids(self, inputs: Any) -> Any:
        """Which bucket each pair of positions falls into."""
        behind, buckets, first = -self._distances(inputs), self.input_dim, 0
        if self.bidirectional:
            buckets //= 2
            first = ops.cast(behind < 0, "int32") * buckets
            behind = ops.abs(behind)
        else:
            behind = ops.maximum(behind, 0)
        exact = buckets // 2
        far = ops.log(ops.cast(ops.maximum(behind, 1), "float32") / exact) / math.log(self.max_distance / exact)
        far = ops.minimum(exact + ops.cast(far * (buckets - exact), "int32"), buckets - 1)
        return first + ops.where(behind < exact, ops.cast(behind, "int32"), far)

    def get_config(self) -> dict[str, Any]:
        config = {"max_distance": self.max_distance, "bidirectional": self.bidirectional}
        return super().get_config() | config
