"""Invertible residual blocks: y = x + g(x) has an inverse because g is a contraction (i-ResNet, arXiv 1811.00995).

Three things make it a flow (kexue.fm/archives/6482):

1. **The bound.** Where |g(a) - g(b)| <= c |a - b| with c < 1, x = y - g(x) has one solution, and iterating it gains a
   factor c a step. Dense layers have the Lipschitz constant of their matrices' spectral norms; each matrix is divided
   by an upper bound of its norm (`spectral_bound`), so that the product stays below c. Power iteration, which papers
   use, approaches the norm from below: its g may be no contraction. Here the bound is Gram iteration's (arXiv
   2305.16173): |W| <= |(W'W)^(2^(k-1))|_F^(1/2^k), always from above.
2. **The series.** log det(I + J) = tr log(I + J) = tr J - tr J^2 / 2 + tr J^3 / 3 - ..., J = dg/dx. Traces are
   estimated by products with noise, tr J^k = E[v' J^k v] (Hutchinson), each power one more vector-Jacobian product.
3. **Where it ends.** Cut after n terms it is off by no more than `truncation_bound`. Russian roulette (residual flows,
   arXiv 1906.02735) ends it after a random number N of terms and divides the k-th by P(N >= k): no bias at all, for
   more variance, which is finite where c^2 < 1 - stop.

Legend: B batch, D size of a vector, K terms.
"""

import itertools
import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from keras import ops

from nlptasks.backend import Tensor, value_and_gradient
from nlptasks.generative.bijection import Bijection, Series, zeros_of

SQUARINGS = 6
"""of `spectral_bound`: it is then at most rank^(1/128) times the norm, 3 percent above it for rank 64"""
TOLERANCE = 1e-7
_TINY = 1e-30


def spectral_bound(kernel: Tensor, squarings: int = SQUARINGS) -> Tensor:
    """An upper bound of the largest singular value of a matrix, a scalar; the more squarings, the closer.

    float(spectral_bound(np.diag([3.0, 2.0, 1.0]).astype("float32")))  # 3.0, to four digits
    """
    gram = ops.transpose(kernel) if kernel.shape[0] < kernel.shape[1] else kernel
    log_scale: Any = 0.0
    for _ in range(squarings):
        norm = _frobenius(gram)
        gram = gram / norm
        log_scale = 2 * (log_scale + ops.log(norm))
        gram = ops.matmul(ops.transpose(gram), gram)
    return ops.exp((log_scale + ops.log(_frobenius(gram))) / 2**squarings)


def _frobenius(matrix: Tensor) -> Tensor:
    return ops.sqrt(ops.sum(ops.square(matrix)) + _TINY)


def series_weights(terms: int) -> np.ndarray:
    """What the first terms of the series are multiplied by: one each."""
    return np.ones(terms, "float32")


def roulette_weights(random: np.random.Generator, rows: int, sure: int = 4, stop: float = 0.15) -> np.ndarray:
    """Weights of as many terms as chance wants: the mean of the cut series is then the whole one.

    Each call may give another number of terms K, and a compiled program is compiled for each of them.

    Args:
        random: draws N for each row.
        rows: B.
        sure: terms that are always there.
        stop: the chance to end after each further one; 1 - stop should be above the square of the blocks' `bound`.

    Returns:
        float32 `(K, B)`, 0 where a row has ended.
    """
    if sure < 0 or not 0 < stop < 1:
        raise ValueError(f"sure must be at least 0 and stop between 0 and 1. Received: {sure=}, {stop=}.")
    more_B = random.geometric(stop, rows)
    step_K1 = np.arange(int(more_B.max()))[:, None]
    reached_KB = np.where(step_K1 < more_B, (1 - stop) ** -step_K1.astype("float64"), 0.0)
    return np.concatenate([np.ones((sure, rows)), reached_KB]).astype("float32")


def truncation_bound(size: int, bound: float, terms: int) -> float:
    """How far the series of `size` dimensions, cut after `terms`, can be from the log-determinant.

    |J| <= bound, so the k-th term is at most size x bound^k / k; all those that were left out add up to this.
    """
    return size * (-math.log1p(-bound) - sum(bound**k / k for k in range(1, terms + 1)))


class InvertibleResidual(Bijection):
    """y = x + g(x), with g a dense network of Lipschitz constant below `bound`.

        block = InvertibleResidual(2, hidden_sizes=(16, 16), bound=0.9)
        y, log_det = block(np.ones((3, 2), "float32"))  # the log-determinant of the whole Jacobian
        noise = np.sign(np.random.default_rng(0).normal(size=(3, 2))).astype("float32")
        y, log_det = block(np.ones((3, 2), "float32"), series=Series(noise, series_weights(8)))  # an estimate

    Args:
        size: D.
        hidden_sizes: of g.
        bound: c, below 1.
    """

    def __init__(self, size: int, hidden_sizes: Sequence[int] = (64, 64), bound: float = 0.9, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        if not 0 < bound < 1:
            raise ValueError(f"bound must lie between 0 and 1, or there is no inverse. Received: bound={bound}.")
        self.size, self.hidden_sizes, self.bound = size, tuple(hidden_sizes), bound

    def build(self, input_shape: Sequence[int | None] = ()) -> None:
        widths = (self.size, *self.hidden_sizes, self.size)
        self.kernels = [
            self.add_weight(shape, "glorot_uniform", name=f"kernel_{i}")
            for i, shape in enumerate(itertools.pairwise(widths))
        ]
        self.biases = [self.add_weight((width,), "zeros", name=f"bias_{i}") for i, width in enumerate(widths[1:])]
        self.built = True

    def contraction(self, x_BD: Tensor) -> Tensor:
        """g(x)."""
        share = self.bound ** (1 / len(self.kernels))
        for i, (kernel, bias) in enumerate(zip(self.kernels, self.biases, strict=True)):
            kernel = ops.convert_to_tensor(kernel)
            x_BD = ops.matmul(x_BD, kernel * ops.minimum(1.0, share / spectral_bound(kernel))) + bias
            if i + 1 < len(self.kernels):
                x_BD = ops.tanh(x_BD)  # of Lipschitz constant 1, and smooth, as a log-determinant's gradient wants
        return x_BD

    def _back(self, x_BD: Tensor, w_BD: Tensor) -> Tensor:
        """w' J of each row."""
        return value_and_gradient(lambda x: ops.sum(self.contraction(x) * w_BD), x_BD)[1]

    def call(self, x_BD: Tensor, series: Series | None = None) -> tuple[Tensor, Tensor]:
        y_BD = x_BD + self.contraction(x_BD)
        return y_BD, self._whole(x_BD) if series is None else self._estimate(x_BD, series)

    def _whole(self, x_BD: Tensor) -> Tensor:
        one_DD = np.eye(self.size, dtype="float32")
        rows = [self._back(x_BD, ops.broadcast_to(one_DD[i], ops.shape(x_BD))) for i in range(self.size)]
        return ops.slogdet(one_DD + ops.stack(rows, axis=1))[1]

    def _estimate(self, x_BD: Tensor, series: Series) -> Tensor:
        noise_BD, total_B = ops.convert_to_tensor(series.noise), zeros_of(x_BD)
        power_BD = noise_BD
        for k in range(1, series.weights.shape[0] + 1):
            power_BD = self._back(x_BD, power_BD)
            term_B = ops.sum(power_BD * noise_BD, axis=-1) * ((-1) ** (k + 1) / k)
            total_B = total_B + series.weights[k - 1] * term_B
        return total_B

    def inverse(self, y_BD: Tensor) -> Tensor:
        """The x whose y this is, by x <- y - g(x) until it stands still."""
        y_BD = ops.convert_to_tensor(y_BD)
        most = math.ceil(math.log(TOLERANCE) / math.log(self.bound))

        def moving(x_BD: Tensor, moved: Tensor) -> Tensor:
            return moved > TOLERANCE * (1 - self.bound)

        def step(x_BD: Tensor, moved: Tensor) -> tuple[Tensor, Tensor]:
            found_BD = y_BD - self.contraction(x_BD)
            return found_BD, ops.max(ops.abs(found_BD - x_BD))

        start = (y_BD, ops.convert_to_tensor(np.inf, y_BD.dtype))
        return ops.while_loop(moving, step, start, maximum_iterations=most)[0]
