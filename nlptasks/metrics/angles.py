"""The angle between two random vectors of n dimensions, exactly: how surprising is a cosine?

For directions that are uniform on the sphere, (1 + cosine) / 2 has the distribution Beta((n - 1) / 2, (n - 1) / 2), and
the angle the density sin(angle)^(n - 2), scaled. n need not be whole: the effective dimension of real vectors is not.
"""

import math

import numpy as np

TERMS = 400
"""of the continued fraction; a few hundred suffice for any n below a million"""
_TINY = 1e-300


def log_density(cosines: np.ndarray, dimension: float) -> np.ndarray:
    """The logarithm of the density of the cosine, which is largest at 0 for n > 3.

        math.exp(log_density(np.array([0.0]), 3)[0])  # 0.5

    Raises:
        ValueError: the dimension is not above 1, where there are no angles.
    """
    _check(dimension)
    scale = math.lgamma(dimension / 2) - math.lgamma((dimension - 1) / 2) - 0.5 * math.log(math.pi)
    squares = np.square(np.asarray(cosines, "float64"))
    return scale + (dimension - 3) / 2 * np.log1p(-np.minimum(squares, 1 - 1e-16))


def angle_moments(dimension: float) -> tuple[float, float]:
    """Mean and variance of the angle in radians: pi / 2, and half the trigamma function of n / 2.

    angle_moments(2)[1]  # uniform on [0, pi]: pi^2 / 12

    """
    _check(dimension)
    place, variance = dimension / 2, 0.0
    while place < 12:  # up to where the asymptotic series is exact
        variance += 1 / place**2
        place += 1
    series = 1 / place + 1 / (2 * place**2) + 1 / (6 * place**3) - 1 / (30 * place**5) + 1 / (42 * place**7)
    return math.pi / 2, (variance + series - 1 / (30 * place**9)) / 2


def log_tail(cosines: np.ndarray, dimension: float) -> np.ndarray:
    """The logarithm of the probability that two random directions have at least this cosine.

    It is exact where the probability itself is too small for a number.

    Args:
        cosines: any shape, in [-1, 1].
        dimension: n, above 1.
    """
    _check(dimension)
    cosines = np.clip(np.asarray(cosines, "float64"), -1, 1)
    half = _log_upper(np.abs(cosines), (dimension - 1) / 2)
    return np.where(cosines >= 0, half, np.log1p(-np.exp(np.minimum(half, math.log(0.5)))))


def tail(cosines: np.ndarray, dimension: float) -> np.ndarray:
    """The probability that two random directions have at least this cosine."""
    return np.exp(log_tail(cosines, dimension))


def chance_among(log_probabilities: np.ndarray, count: int) -> np.ndarray:
    """The probability that at least one of `count` independent trials succeeds, 1 - (1 - p)^count, from log p."""
    probabilities = np.exp(log_probabilities)
    with np.errstate(divide="ignore"):
        return -np.expm1(count * np.log1p(-probabilities))


def kolmogorov_distance(probabilities: np.ndarray) -> float:
    """How far the distribution of p-values is from the uniform one: the largest difference of the two."""
    ordered = np.sort(np.ravel(probabilities))
    steps = np.arange(len(ordered) + 1) / len(ordered)
    return float(max((steps[1:] - ordered).max(), (ordered - steps[:-1]).max()))


def _check(dimension: float) -> None:
    if not dimension > 1:
        raise ValueError(f"angles take a dimension above 1. Received: {dimension}.")


def _log_upper(cosines: np.ndarray, a: float) -> np.ndarray:
    """log P(C >= c) for c >= 0: the regularized incomplete beta function at (1 - c) / 2 with both parameters a.

    Its continued fraction by the method of Lentz (Numerical Recipes, 6.4), which converges fast below 1 / 2.
    """
    x = (1 - cosines) / 2
    beta = 2 * math.lgamma(a) - math.lgamma(2 * a)
    with np.errstate(divide="ignore"):
        front = a * (np.log(x) + np.log1p(-x)) - beta - math.log(a)
    below = 1 / _away(1 - 2 * a * x / (a + 1))
    above, fraction = np.ones_like(x), below
    for m in range(1, TERMS):
        for factor in (
            m * (a - m) * x / ((a + 2 * m - 1) * (a + 2 * m)),
            -(a + m) * (2 * a + m) * x / ((a + 2 * m) * (a + 2 * m + 1)),
        ):
            below = 1 / _away(1 + factor * below)
            above = _away(1 + factor / above)
            fraction = fraction * below * above
        if np.all(np.abs(below * above - 1) < 1e-14):
            break
    return front + np.log(fraction)


def _away(values: np.ndarray) -> np.ndarray:
    """The values, with what is nearly 0 replaced."""
    return np.where(np.abs(values) < _TINY, _TINY, values)
