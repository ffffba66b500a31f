"""What the device at hand can do: fused attention, and its rate of matrix products. JAX only."""

import time

import jax
import keras
import numpy as np
from jax import numpy as jnp

from nlptasks.core.attention import MultiHeadAttention
from nlptasks.core.transformer import Transformer
from nlptasks.train.progress import say


def fuse_attention(model: Transformer, seq_length: int) -> None:
    """Lets a GPU use its fused attention where that computes the same."""
    if not (model.blocks[0].attention.can_fuse() and jax.default_backend() == "gpu"):
        return
    config, policy = model.config, keras.config.dtype_policy().name
    problem = fused_attention_problem(config.num_heads, config.key_size, seq_length, policy)
    model.fused_attention = problem is None
    say("fused attention" if problem is None else f"attention is not fused: {problem}")


def fused_attention_problem(num_heads: int, key_size: int, seq_length: int, dtype: str) -> str | None:
    """Why attention is not fused on this device, or None: it can, and computes what the plain products do there."""
    if jax.default_backend() != "gpu":
        return f"not on {jax.default_backend()}"
    layer = MultiHeadAttention(num_heads * key_size, num_heads, key_size, key_size, dtype=dtype)
    layer.build((None, None, num_heads * key_size))
    random = np.random.default_rng(0)
    hidden = jnp.asarray(random.normal(size=(2, seq_length, num_heads * key_size)), "bfloat16")
    mask = jnp.asarray(np.arange(seq_length) < np.array([[seq_length], [seq_length // 2]]))[:, None]
    try:
        plain, fused = (
            jax.grad(lambda x, f=f: jnp.sum(jnp.square(layer(x, mask, fused=f).astype("float32"))))(hidden)
            for f in (False, True)
        )
    except Exception as error:  # whatever the library for this device says it cannot do
        return " ".join(str(error).split())[:200]
    scale = float(jnp.max(jnp.abs(plain.astype("float32"))))
    far = float(jnp.max(jnp.abs((plain - fused).astype("float32"))))
    return None if far <= 0.05 * scale else f"gradients differ by {far / scale:.1%}"


def matmul_rate(dtype: str, seconds: float = 0.5) -> float:
    """Floating-point operations a second that one device reaches in large square products of `dtype`."""
    size = 1024 if jax.default_backend() == "cpu" else 8192
    a = jnp.ones((size, size), dtype)
    multiply = jax.jit(lambda x: jnp.matmul(x, a) / size)
    x, best = jax.block_until_ready(multiply(a)), float("inf")
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        started = time.perf_counter()
        for _ in range(4):
            x = multiply(x)
        jax.block_until_ready(x)
        best = min(best, (time.perf_counter() - started) / 4)
    return 2.0 * size**3 / best
