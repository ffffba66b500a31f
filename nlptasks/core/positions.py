"""Positions that attention computes with: rotary (RoFormer) and relative (NEZHA). Learned ones are a table in
`layers.Embeddings`.

Legend: B batch, T query position, S key position, H key size.
"""

import numpy as np
from keras import ops

WAVELENGTH = 10000.0


def sinusoids(position_ids_BT, size: int):
    """Sine and cosine of every frequency, side by side: `(B, T, size)`, float32 (arXiv 1706.03762, section 3.5)."""
    frequencies = (WAVELENGTH ** (-np.arange(0, size, 2) / size)).astype("float32")
    angles = ops.cast(position_ids_BT, "float32")[..., None] * frequencies
    pairs = ops.stack([ops.sin(angles), ops.cos(angles)], axis=-1)
    return ops.reshape(pairs, (*ops.shape(position_ids_BT), size))


def rotated(x_BTNH, sinusoids_BTH):
    """Every pair of neighbouring features turned by its position's angle (RoFormer, arXiv 2104.09864)."""
    sine, cosine = (sinusoids_BTH[:, :, None, i::2] for i in (0, 1))
    first, second = (ops.cast(x_BTNH[..., i::2], "float32") for i in (0, 1))
    turned = ops.stack([first * cosine - second * sine, second * cosine + first * sine], axis=-1)
    return ops.cast(ops.reshape(turned, ops.shape(x_BTNH)), x_BTNH.dtype)


def sinusoid_table(rows: int, size: int) -> np.ndarray:
    """`sinusoids` of positions 0 to rows - 1, computed in float64 and rounded: `(rows, size)`; `size` may be odd."""
    angles = np.arange(rows)[:, None] * WAVELENGTH ** (-np.arange(0, size, 2) / size)
    return np.stack([np.sin(angles), np.cos(angles)], axis=-1).reshape(rows, -1)[:, :size].astype("float32")


def relative_vectors(query_ids_BT, key_ids_BS, distance: int, size: int):
    """The vector of each key's distance from each query, cut at `distance`: `(B, T, S, size)`, float32.

    The vectors are fixed sinusoids, one for each distance from -`distance` to `distance` (NEZHA, arXiv 1909.00204).
    """
    offsets_BTS = ops.clip(key_ids_BS[:, None, :] - query_ids_BT[:, :, None], -distance, distance)
    return ops.take(sinusoid_table(2 * distance + 1, size), offsets_BTS + distance, axis=0)
