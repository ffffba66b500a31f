"""Positions: those that attention computes with, rotary (RoFormer), relative (NEZHA) and bucketed (T5), and the rows
that real tokens count to (RoBERTa) in the table of learned ones, which stands in `layers.Embeddings`.

Legend: B batch, T query position, S key position, N heads, H key size.
"""

import functools
import math
from collections.abc import Sequence
from typing import Any

import keras
from keras import ops

from nlptasks.backend import Tensor
from nlptasks.core.config import TransformerConfig

WAVELENGTH = 10000.0


def counted_positions(real_BT: Tensor, pad_id: int) -> Tensor:
    """int32 (B, T): `pad_id` + n at the nth real token of a row, `pad_id` at padding (RoBERTa, arXiv 1907.11692)."""
    real_BT = ops.cast(real_BT, "int32")
    return ops.cumsum(real_BT, axis=1) * real_BT + pad_id


def _frequencies(size: int) -> list[float]:
    return [WAVELENGTH ** (-i / size) for i in range(0, size, 2)]


def sinusoids(position_ids_BT: Tensor, size: int, dtype: str = "float32") -> Tensor:
    """Sine and cosine of every frequency, side by side: `(B, T, size)` (arXiv 1706.03762, section 3.5)."""
    frequencies = ops.convert_to_tensor(_frequencies(size), dtype)
    angles = ops.cast(position_ids_BT, dtype)[..., None] * frequencies
    pairs = ops.stack([ops.sin(angles), ops.cos(angles)], axis=-1)
    return ops.reshape(pairs, (*ops.shape(position_ids_BT), size))


def rotated(x_BTNH: Tensor, sinusoids_BTH: Tensor) -> Tensor:
    """Every pair of neighboring features turned by its position's angle (RoFormer, arXiv 2104.09864), computed in the
    precision of the sinusoids.
    """
    sine, cosine = (sinusoids_BTH[:, :, None, i::2] for i in (0, 1))
    first, second = (ops.cast(x_BTNH[..., i::2], sinusoids_BTH.dtype) for i in (0, 1))
    turned = ops.stack([first * cosine - second * sine, second * cosine + first * sine], axis=-1)
    return ops.cast(ops.reshape(turned, ops.shape(x_BTNH)), x_BTNH.dtype)


@functools.lru_cache(maxsize=8)
def sinusoid_table(rows: int, size: int) -> tuple[tuple[float, ...], ...]:
    """`sinusoids` of positions 0 to rows - 1 in float64: `rows` tuples of `size` numbers; `size` may be odd."""
    waves = [[wave(row * f) for f in _frequencies(size) for wave in (math.sin, math.cos)] for row in range(rows)]
    return tuple(tuple(row[:size]) for row in waves)


def relative_vectors(query_ids_BT: Tensor, key_ids_BS: Tensor, distance: int, size: int) -> Tensor:
    """The vector of each key's distance from each query, cut at `distance`: `(B, T, S, size)`, float32.

    The vectors are fixed sinusoids, one for each distance from -`distance` to `distance` (NEZHA, arXiv 1909.00204).
    """
    table = ops.convert_to_tensor(sinusoid_table(2 * distance + 1, size), "float32")
    return ops.take(table, _places(query_ids_BT, key_ids_BS, distance), axis=0)


def _places(query_ids_BT: Tensor, key_ids_BS: Tensor, farthest: int) -> Tensor:
    """Where each key's distance from each query stands in a table from -`farthest` to `farthest`: int `(B, T, S)`."""
    return ops.clip(key_ids_BS[:, None, :] - query_ids_BT[:, :, None], -farthest, farthest) + farthest


@functools.lru_cache(maxsize=8)
def distance_buckets(count: int, farthest: int, two_sided: bool) -> tuple[int, ...]:
    """The bucket of every distance, key minus query, from -`farthest` to `farthest` (T5, arXiv 1910.10683).

    Half of the buckets of a side hold one distance each, from 0 up; the others divide the rest on a logarithmic scale,
    and the last one holds all from `farthest` on. One-sided: what comes after the query is as distance 0; two-sided: it
    has the second half of the buckets.
    """
    side = count // 2 if two_sided else count
    exact = side // 2

    def bucket(distance: int) -> int:
        if distance < exact:
            return distance
        # the largest k <= log(distance / exact) / log(farthest / exact) * (side - exact), in whole numbers
        steps = side - exact
        k = 0
        while k < steps and farthest ** (k + 1) * exact ** (steps - k - 1) <= distance**steps:
            k += 1
        return min(exact + k, side - 1)

    before = [bucket(distance) for distance in range(farthest, -1, -1)]
    after = [side + bucket(distance) if two_sided else 0 for distance in range(1, farthest + 1)]
    return (*before, *after)


class DistanceScores(keras.layers.Layer):
    """What T5 adds to the scores of all layers of a stack: one number for each head and bucket of distances.

    It is two-sided where a position sees what comes after it.
    """

    def __init__(self, config: TransformerConfig, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.config = config

    def build(self, input_shape: Sequence[int | None] | None = None) -> None:
        config = self.config
        normal = keras.initializers.TruncatedNormal(stddev=config.initializer_range)
        shape = (config.relative_buckets, config.num_heads)
        self.scores = self.add_weight(name="scores", shape=shape, initializer=normal)

    def call(self, query_ids_BT: Tensor, key_ids_BS: Tensor) -> Tensor:
        """`(B, N, T, S)` of the positions of queries and keys."""
        config, farthest = self.config, self.config.relative_distance
        buckets = distance_buckets(config.relative_buckets, farthest, config.attention != "causal")
        places_BTS = _places(query_ids_BT, key_ids_BS, farthest)
        buckets_BTS = ops.take(ops.convert_to_tensor(buckets, "int32"), places_BTS, axis=0)
        return ops.transpose(ops.take(ops.cast(self.scores, self.compute_dtype), buckets_BTS, axis=0), (0, 3, 1, 2))
