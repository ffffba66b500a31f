"""Larger heads for a trained Transformer, which computes what it did before and can learn more."""

import numpy as np

from nlptasks.checkpoints.weights import assign_weights, export_weights
from nlptasks.core.transformer import Transformer

_QUERY, _KEY = ".attention.self.query.", ".attention.self.key."


def grow_key_size(
    model: Transformer, key_size: int, *, talking_heads: bool | None = None, seed: int = 0
) -> Transformer:
    """A copy of a Transformer with larger queries and keys (arXiv 2002.07028) and the same outputs.

        larger = grow_key_size(model, 64)
        larger.config.key_size  # 64

    The new columns of the queries are zero, so that they change nothing, and those of the keys are random, so that
    the queries' have a gradient: were both zero, neither would ever move. The old queries are multiplied by
    sqrt(new / old size), by which the scores are divided.

    Args:
        model: with learned or counted positions; its other weights are copied.
        key_size: more than that of `model`, or the same.
        talking_heads: True: heads are mixed, too (arXiv 2003.02436), at first by the identity; None: as in `model`.
        seed: of the new columns.

    Returns:
        A `Transformer` with the same heads.

    Raises:
        ValueError: the new size is smaller, positions are part of attention (their sinusoids are spread over the size
            of the keys), or `talking_heads=False` would take away mixing that is there.
    """
    old = model.config
    if key_size < old.key_size:
        raise ValueError(f"key_size can only grow from {old.key_size}. Received: key_size={key_size}.")
    if old.position in ("rotary", "relative"):
        raise ValueError(
            f"key_size={old.key_size} cannot grow with position={old.position!r}, whose sinusoids are spread over it."
        )
    if talking_heads is None:
        talking_heads = old.talking_heads
    if old.talking_heads and not talking_heads:
        raise ValueError("the model has talking heads, which cannot be taken away without changing what it computes.")
    new = Transformer(
        old.replace(key_size=key_size, talking_heads=talking_heads),
        model.with_pool,
        model.with_nsp,
        model.with_mlm,
        model.with_discriminator,
        model.recompute,
    )
    new.build()
    random, arrays = np.random.default_rng(seed), export_weights(model)
    for name, array in arrays.items():
        if _QUERY in name or _KEY in name:
            spread = old.initializer_range if _KEY in name and array.ndim == 2 else 0.0
            factor = (key_size / old.key_size) ** 0.5 if _QUERY in name and old.attention_scale else 1.0
            arrays[name] = _widened(array * factor, old.num_heads, key_size, spread, random)
    if talking_heads and not old.talking_heads:
        for i in range(len(new.blocks)):
            for mixing in ("score_mixing", "probability_mixing"):
                arrays[f"encoder.layer.{i}.attention.self.{mixing}"] = np.eye(old.num_heads, dtype="float32")
    assign_weights(new, arrays, "the smaller model", transposed=True)
    return new


def _widened(
    array: np.ndarray, num_heads: int, key_size: int, spread: float, random: np.random.Generator
) -> np.ndarray:
    """Rows of a kernel (out, in) or entries of a bias, by heads: those that are there, and normal ones behind them."""
    old = array.reshape(num_heads, -1, *array.shape[1:])
    shape = (num_heads, key_size - old.shape[1], *old.shape[2:])
    fresh = random.normal(0.0, spread, shape).astype("float32") if spread else np.zeros(shape, "float32")
    return np.concatenate([old, fresh], axis=1).reshape(-1, *array.shape[1:]).astype("float32")
