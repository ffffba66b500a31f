"""Coupling layers: some coordinates pass, and decide what is done to the others (NICE, RealNVP).

    additive (NICE, arXiv 1410.8516):     y = x + (1 - m) t(m x)                     log det = 0
    affine (RealNVP, arXiv 1605.08803):   y = m x + (1 - m) (x exp(s(m x)) + t(m x))   log det = sum (1 - m) s(m x)

Because m y = m x, the networks s and t can be computed again from y, and are never inverted themselves. One layer
leaves the coordinates of its mask as they are, so that masks alternate (kexue.fm/archives/5776 and 5807).

Legend: B batch, D size of a vector.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
from keras import ops

from nlptasks.backend import Tensor
from nlptasks.generative.bijection import Bijection, Perceptron, Series, zeros_of


def half_mask(size: int, second: bool = False) -> np.ndarray:
    """1 where a coordinate passes: the first half of them, or the second.

    half_mask(5).tolist()  # [1.0, 1.0, 1.0, 0.0, 0.0]
    """
    first = np.arange(size) < (size + 1) // 2
    return (first ^ second).astype("float32")


def alternating_mask(size: int, second: bool = False) -> np.ndarray:
    """1 where a coordinate passes: every other one, from the first on, or from the second.

    alternating_mask(5).tolist()  # [1.0, 0.0, 1.0, 0.0, 1.0]
    """
    return (np.arange(size) % 2 == int(second)).astype("float32")


def check_mask(mask: np.ndarray | Sequence[float]) -> np.ndarray:
    """The mask as float32 `(D,)`.

    Raises:
        ValueError: something else than zeros and ones, or all of one kind: nothing passes, or nothing is changed.
    """
    mask = np.asarray(mask, "float32")
    if mask.ndim != 1 or set(mask.tolist()) != {0.0, 1.0}:
        raise ValueError(f"a mask has zeros and ones, both, one for each coordinate. Received: mask={mask.tolist()}.")
    return mask


class AdditiveCoupling(Bijection):
    """y = x + (1 - m) t(m x): volume is kept.

        coupling = AdditiveCoupling(half_mask(4), hidden_sizes=(16,))
        y, log_det = coupling(np.ones((2, 4), "float32"))  # y is x at first, log_det 0

    Args:
        mask: `(D,)`, 1 where a coordinate passes.
        hidden_sizes: of the network t.
    """

    def __init__(
        self, mask: np.ndarray | Sequence[float], hidden_sizes: Sequence[int] = (64, 64), **kwargs: Any
    ) -> None:
        super().__init__(**kwargs)
        self.mask = check_mask(mask)
        self.network = Perceptron(hidden_sizes, len(self.mask), name="network")

    def build(self, input_shape: Sequence[int | None] = ()) -> None:
        self.network.build((None, len(self.mask)))
        self.built = True

    def _shift(self, x_BD: Tensor) -> Tensor:
        return (1 - self.mask) * self.network(x_BD * self.mask)

    def call(self, x_BD: Tensor, series: Series | None = None) -> tuple[Tensor, Tensor]:
        return x_BD + self._shift(x_BD), zeros_of(x_BD)

    def inverse(self, y_BD: Tensor) -> Tensor:
        """The x whose y this is."""
        return y_BD - self._shift(y_BD)


class AffineCoupling(Bijection):
    """y = m x + (1 - m) (x exp(s) + t), with s and t of m x.

    s is held within +-`most` by tanh: without a bound one layer can stretch a vector beyond float32.

        coupling = AffineCoupling(alternating_mask(4), hidden_sizes=(16,))
        y, log_det = coupling(np.ones((2, 4), "float32"))

    Args:
        mask: `(D,)`, 1 where a coordinate passes.
        hidden_sizes: of the network that gives s and t.
        most: bound of |s|.
    """

    def __init__(
        self,
        mask: np.ndarray | Sequence[float],
        hidden_sizes: Sequence[int] = (64, 64),
        most: float = 2.0,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        if not most > 0:
            raise ValueError(f"most must be positive. Received: most={most}.")
        self.mask, self.most = check_mask(mask), most
        self.network = Perceptron(hidden_sizes, 2 * len(self.mask), name="network")

    def build(self, input_shape: Sequence[int | None] = ()) -> None:
        self.network.build((None, len(self.mask)))
        self.built = True

    def _parts(self, x_BD: Tensor) -> tuple[Tensor, Tensor]:
        """Logarithm of the scale, and the shift; both 0 where a coordinate passes."""
        raw_BD, shift_BD = ops.split(self.network(x_BD * self.mask), 2, axis=-1)
        changed = 1 - self.mask
        return changed * self.most * ops.tanh(raw_BD / self.most), changed * shift_BD

    def call(self, x_BD: Tensor, series: Series | None = None) -> tuple[Tensor, Tensor]:
        log_scale_BD, shift_BD = self._parts(x_BD)
        return x_BD * ops.exp(log_scale_BD) + shift_BD, ops.sum(log_scale_BD, axis=-1)

    def inverse(self, y_BD: Tensor) -> Tensor:
        """The x whose y this is."""
        log_scale_BD, shift_BD = self._parts(y_BD)
        return (y_BD - shift_BD) * ops.exp(-log_scale_BD)
