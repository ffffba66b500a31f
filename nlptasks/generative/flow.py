"""A flow: bijections one after the other, which carry data to a normal distribution, and back.

    log p(x) = log N(z; 0, I) + log |det dz/dx|,    z = f_n(... f_1(x))

Training raises log p(x) of data (`loss`); a sample is the inverse of normal noise.

Legend: B batch, D size of a vector.
"""

import math
from collections.abc import Sequence
from typing import Any

import keras
import numpy as np
from keras import ops

from nlptasks.backend import Tensor
from nlptasks.generative.bijection import Bijection, Series, zeros_of
from nlptasks.generative.couplings import AdditiveCoupling, AffineCoupling, alternating_mask, half_mask
from nlptasks.generative.mixing import ActNorm, Invertible1x1
from nlptasks.generative.residual import InvertibleResidual

KINDS = ("nice", "realnvp", "glow", "residual")


class Flow(keras.Model):
    """Bijections in a row, and the density that they give to vectors.

        flow = make_flow("glow", size=4, blocks=2, hidden_sizes=(16,))
        flow.initialize(vectors)
        z, log_det = flow(vectors)
        flow.inverse(z)  # the vectors again
        flow.log_prob(vectors)  # (B,)

    Args:
        size: D.
        bijections: of vectors of that size, the first one first.
    """

    built: bool

    def __init__(self, size: int, bijections: Sequence[Bijection], **kwargs: Any) -> None:
        super().__init__(**kwargs)
        if not bijections:
            raise ValueError("a flow has at least one bijection. Received: none.")
        self.size = size
        self.bijections: list[Any] = list(bijections)

    def build(self, input_shape: Sequence[int | None] = ()) -> None:
        for bijection in self.bijections:
            if not bijection.built:
                bijection.build((None, self.size))
        self.built = True

    def call(self, x_BD: Tensor, series: Series | None = None) -> tuple[Tensor, Tensor]:
        x_BD = ops.convert_to_tensor(x_BD)
        log_det_B = zeros_of(x_BD)
        for bijection in self.bijections:
            x_BD, more_B = bijection(x_BD, series=series)
            log_det_B = log_det_B + more_B
        return x_BD, log_det_B

    def inverse(self, z_BD: Tensor) -> Tensor:
        """The vectors that `call` carries to z."""
        for bijection in reversed(self.bijections):
            z_BD = bijection.inverse(z_BD)
        return z_BD

    def log_prob(self, x_BD: Tensor, series: Series | None = None) -> Tensor:
        """log p(x) of each row in nats, `(B,)`."""
        z_BD, log_det_B = self(x_BD, series=series)
        return log_det_B - ops.sum(ops.square(z_BD), axis=-1) / 2 - self.size * math.log(2 * math.pi) / 2

    def loss_of(self, x_BD: Tensor, series: Series | None = None) -> Tensor:
        """Mean of -log p(x) over the rows and D: a scalar in nats."""
        return -ops.mean(self.log_prob(x_BD, series)) / self.size

    def sample(self, count: int, seed: int = 0, temperature: float = 1.0) -> np.ndarray:
        """Vectors drawn from the density, float32 `(count, D)`; below 1 a `temperature` draws nearer to the middle."""
        noise = np.random.default_rng(seed).normal(0, temperature, (count, self.size)).astype("float32")
        return ops.convert_to_numpy(self.inverse(noise))

    def initialize(self, x_BD: np.ndarray) -> None:
        """Starts from data what does so: each bijection sees what those before it make of the data."""
        self.build()
        for bijection in self.bijections:
            bijection.initialize(x_BD)
            x_BD = ops.convert_to_numpy(bijection(x_BD)[0])


def make_flow(
    kind: str, size: int, blocks: int = 4, hidden_sizes: Sequence[int] = (64, 64), seed: int = 0, bound: float = 0.9
) -> Flow:
    """A flow of one of the families.

        flow = make_flow("realnvp", size=2, blocks=6, hidden_sizes=(32, 32))

    Args:
        kind: "nice": additive couplings with the halves in turn, then a scale; "realnvp": affine couplings with every
            other coordinate in turn; "glow": actnorm, invertible 1x1 and an affine coupling a block; "residual":
            actnorm and an invertible residual block.
        size: D, at least 2.
        blocks: how many there are.
        hidden_sizes: of the networks inside.
        seed: of the rotations of "glow".
        bound: of the contractions of "residual".

    Raises:
        ValueError: an unknown kind, or a size or number that is too small.
    """
    if kind not in KINDS:
        raise ValueError(f"kind must be one of {', '.join(KINDS)}. Received: kind={kind!r}.")
    if size < 2 or blocks < 1:
        raise ValueError(f"size must be at least 2 and blocks at least 1. Received: {size=}, {blocks=}.")
    parts: list[Bijection] = []
    for i in range(blocks):
        if kind == "nice":
            parts.append(AdditiveCoupling(half_mask(size, bool(i % 2)), hidden_sizes, name=f"coupling_{i}"))
        elif kind == "realnvp":
            parts.append(AffineCoupling(alternating_mask(size, bool(i % 2)), hidden_sizes, name=f"coupling_{i}"))
        elif kind == "glow":
            parts += [ActNorm(size, name=f"norm_{i}"), Invertible1x1(size, seed + i, name=f"mix_{i}")]
            parts.append(AffineCoupling(half_mask(size), hidden_sizes, name=f"coupling_{i}"))
        else:
            parts.append(ActNorm(size, name=f"norm_{i}"))
            parts.append(InvertibleResidual(size, hidden_sizes, bound, name=f"block_{i}"))
    if kind == "nice":
        parts.append(ActNorm(size, name="scale"))
    return Flow(size, parts)
