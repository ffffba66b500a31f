"""What stands between couplings: scales that start from data, and invertible mixtures of coordinates.

    actnorm:   y = (x + b) exp(s)                     log det = sum s            (Glow, arXiv 1807.03039)
    1x1:       y = x W,  W = P L (U + diag(exp(s)))     log det = sum s
    exp(UV'):  y = x M', M = exp(U V')                  log det = tr(V' U)

Both of Glow act on the last axis of any array, so that they are its 1x1 convolutions for pictures; the
log-determinant of a picture counts each of its places.

**The explicit map that is always invertible** (kexue.fm/archives/6407). exp(A) has the inverse exp(-A) whatever A is,
and det exp(A) = exp(tr A), but it is a series of matrices. For A = x y' of rank one all powers are multiples of A,
A^k = (y'x)^(k-1) A, and the series closes:

    exp(x y') = I + (e^c - 1)/c x y',   c = y'x;      inverse: I + (e^-c - 1)/c x y';      det = e^c

`ExponentialMap` has any rank r: with x and y of r columns the same holds with the r x r matrix Y'X for c and
phi(Z) = (e^Z - I) Z^-1 = I + Z/2! + Z^2/3! + ... for (e^c - 1)/c.

Legend: B batch, D size of a vector, R rank.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
from keras import ops

from nlptasks.backend import Tensor
from nlptasks.generative.bijection import Bijection, Series, places_of, zeros_of

SQUARINGS, TERMS = 8, 10
"""of `phi`: a matrix is halved so often before its series is summed to so many terms"""
_TINY = 1e-6


class ActNorm(Bijection):
    """y = (x + b) exp(s), where b and s start so that the first batch has mean 0 and variance 1.

        norm = ActNorm(3)
        norm.initialize(np.random.default_rng(0).normal(2, 5, (100, 3)))

    Args:
        size: D.
    """

    def __init__(self, size: int, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.size = size

    def build(self, input_shape: Sequence[int | None] = ()) -> None:
        self.shift = self.add_weight((self.size,), "zeros", name="shift")
        self.log_scale = self.add_weight((self.size,), "zeros", name="log_scale")
        self.built = True

    def initialize(self, x_BD: Tensor) -> None:
        """Takes mean and deviation of each coordinate from data."""
        rows = np.asarray(ops.convert_to_numpy(x_BD)).reshape(-1, self.size)
        self.shift.assign(-rows.mean(axis=0))
        self.log_scale.assign(-np.log(rows.std(axis=0) + _TINY))

    def call(self, x_BD: Tensor, series: Series | None = None) -> tuple[Tensor, Tensor]:
        log_det = places_of(x_BD) * ops.sum(self.log_scale) + zeros_of(x_BD)
        return (x_BD + self.shift) * ops.exp(self.log_scale), log_det

    def inverse(self, y_BD: Tensor) -> Tensor:
        """The x whose y this is."""
        return y_BD * ops.exp(-self.log_scale) - self.shift


class Invertible1x1(Bijection):
    """y = x W: every coordinate mixed with every other one. W starts as a rotation.

    W = P L (U + diag(sign exp(s))) with a fixed permutation P, ones on L's diagonal and zeros on U's, so that the
    determinant is read off, and both ways need triangular systems only.

        mix = Invertible1x1(4, seed=0)
        y, log_det = mix(np.eye(4, dtype="float32"))  # y is W, log_det 0 at first

    Args:
        size: D.
        seed: of the rotation.
    """

    def __init__(self, size: int, seed: int = 0, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.size, self.seed = size, seed

    def build(self, input_shape: Sequence[int | None] = ()) -> None:
        size = self.size
        rotation = np.linalg.qr(np.random.default_rng(self.seed).normal(size=(size, size)))[0]
        order, lower, upper = factors_of(rotation)
        diagonal = np.diag(upper)
        permutation = np.eye(size)[:, order]
        self.permutation = self.add_weight((size, size), "zeros", trainable=False, name="permutation")
        self.sign = self.add_weight((size,), "ones", trainable=False, name="sign")
        self.lower = self.add_weight((size, size), "zeros", name="lower")
        self.upper = self.add_weight((size, size), "zeros", name="upper")
        self.log_scale = self.add_weight((size,), "zeros", name="log_scale")
        values = (permutation, np.sign(diagonal), np.tril(lower, -1), np.triu(upper, 1), np.log(np.abs(diagonal)))
        weights = (self.permutation, self.sign, self.lower, self.upper, self.log_scale)
        for weight, value in zip(weights, values, strict=True):
            weight.assign(value.astype("float32"))
        self.built = True

    def _triangles(self) -> tuple[Tensor, Tensor]:
        below = np.tril(np.ones((self.size, self.size), "float32"), -1)
        lower = self.lower * below + np.eye(self.size, dtype="float32")
        return lower, self.upper * below.T + ops.diag(self.sign * ops.exp(self.log_scale))

    def matrix(self) -> Tensor:
        """W, `(D, D)`."""
        lower, upper = self._triangles()
        return ops.matmul(ops.matmul(self.permutation, lower), upper)

    def call(self, x_BD: Tensor, series: Series | None = None) -> tuple[Tensor, Tensor]:
        return ops.matmul(x_BD, self.matrix()), places_of(x_BD) * ops.sum(self.log_scale) + zeros_of(x_BD)

    def inverse(self, y_BD: Tensor) -> Tensor:
        """The x whose y this is."""
        lower, upper = self._triangles()
        columns = ops.transpose(ops.reshape(y_BD, (-1, self.size)))
        columns = ops.solve_triangular(ops.transpose(upper), columns, lower=True)
        columns = ops.solve_triangular(ops.transpose(lower), columns, lower=False)
        return ops.reshape(ops.matmul(ops.transpose(columns), ops.transpose(self.permutation)), ops.shape(y_BD))


class ExponentialMap(Bijection):
    """y = exp(U V') x, invertible whatever U and V are; see the top of the file.

        mix = ExponentialMap(5, rank=1)
        y, log_det = mix(np.ones((2, 5), "float32"))

    Args:
        size: D.
        rank: R, columns of U and V.
    """

    def __init__(self, size: int, rank: int = 1, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        if not 1 <= rank <= size:
            raise ValueError(f"rank must lie in 1 to size. Received: rank={rank}, size={size}.")
        self.size, self.rank = size, rank

    def build(self, input_shape: Sequence[int | None] = ()) -> None:
        self.u = self.add_weight((self.size, self.rank), "glorot_normal", name="u")
        self.v = self.add_weight((self.size, self.rank), "glorot_normal", name="v")
        self.built = True

    def _applied(self, x_BD: Tensor, sign: float) -> Tensor:
        inner_RR = ops.matmul(ops.transpose(self.v), self.u) * sign
        left_DR = ops.matmul(self.u, phi(inner_RR)) * sign
        return x_BD + ops.matmul(ops.matmul(x_BD, self.v), ops.transpose(left_DR))

    def call(self, x_BD: Tensor, series: Series | None = None) -> tuple[Tensor, Tensor]:
        return self._applied(x_BD, 1.0), ops.sum(self.u * self.v) + zeros_of(x_BD)

    def inverse(self, y_BD: Tensor) -> Tensor:
        """The x whose y this is: the same map of -U."""
        return self._applied(y_BD, -1.0)


def phi(z_RR: Tensor) -> Tensor:
    """(e^Z - I) Z^-1 = sum of Z^k / (k + 1)!, also where Z has no inverse.

    The series is summed for Z / 2^8, then doubled: phi(2Z) = phi(Z) (e^Z + I) / 2.
    """
    one_RR, part_RR = ops.eye(z_RR.shape[0], dtype=z_RR.dtype), z_RR / 2.0**SQUARINGS
    found_RR = one_RR
    for k in range(TERMS, 0, -1):
        found_RR = one_RR + ops.matmul(part_RR, found_RR) / (k + 1)
    # e^Z - I, which is doubled as (1 + a)^2 - 1 = a (a + 2): a small Z keeps its digits
    power_RR = ops.matmul(part_RR, found_RR)
    for _ in range(SQUARINGS):
        found_RR = found_RR + ops.matmul(found_RR, power_RR) / 2
        power_RR = 2 * power_RR + ops.matmul(power_RR, power_RR)
    return found_RR


def factors_of(matrix: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """A square matrix as P L U with partial pivoting.

    Returns:
        The order of rows (`matrix[order] == L @ U`), L with ones on its diagonal, and U.
    """
    upper, size = np.array(matrix, "float64"), len(matrix)
    lower, order = np.eye(size), np.arange(size)
    for i in range(size):
        best = i + int(np.argmax(np.abs(upper[i:, i])))
        for array in (upper, order):
            array[[i, best]] = array[[best, i]]
        lower[[i, best], :i] = lower[[best, i], :i]
        lower[i + 1 :, i] = upper[i + 1 :, i] / upper[i, i]
        upper[i + 1 :] -= lower[i + 1 :, i : i + 1] * upper[i]
    return order, lower, upper
