"""How surprising a cosine is: the chance that two sentences that have nothing to do with each other reach it.

The vectors of real sentences are no random directions: they lie around a common mean, and in fewer dimensions than they
have. Legend: N vectors, P pairs, D size of a vector.
"""

from dataclasses import dataclass

import numpy as np

from nlptasks.errors import UserError, told
from nlptasks.metrics.angles import kolmogorov_distance, log_tail

PAIRS = 100_000
"""random pairs, on which a null distribution is estimated, and others on which it is tested"""
LARGEST_DISTANCE = 0.03
"""Kolmogorov distance between the p-values of random pairs and uniform ones up to which the formula is used"""
BY_FORMULA = (
    "p-values by the formula, for centered vectors of effective dimension {dimension:.1f} (Kolmogorov distance "
    "{distance:.3f} on held-out pairs)"
)
COUNTED = (
    "p-values counted on {count} random pairs of the index, none below {least:.0e} (Kolmogorov distance {counted:.3f} "
    "on held-out pairs); the formula does not hold for these vectors ({distance:.3f})"
)
LEAST_SENTENCES, SAMPLE, PAIRS_AT_ONCE = 200, 20_000, 2000


@dataclass(frozen=True)
class Null:
    """The distribution of the cosines of unrelated sentences.

    Attributes:
        center: mean of the vectors (D,), which is taken away before the formula is used.
        dimension: effective dimension of what is left: 1 / variance of the cosine of two random vectors.
        cosines: cosines of random pairs as they are, ascending: the empirical distribution.
        distance: Kolmogorov distance of the formula's p-values of held-out random pairs from uniform ones.
        empirical_distance: the same, of the empirical distribution's.
    """

    center: np.ndarray
    dimension: float
    cosines: np.ndarray
    distance: float
    empirical_distance: float

    @property
    def holds(self) -> bool:
        """Whether the formula describes the vectors; else the empirical distribution is used."""
        return self.distance <= LARGEST_DISTANCE

    @classmethod
    def of(cls, vectors: np.ndarray, seed: int = 0) -> "Null":
        """Estimated on one half of the vectors (N, D), and tested on pairs of the other half; then both halves count.

        Raises:
            UserError: there are too few vectors.
        """
        if len(vectors) < LEAST_SENTENCES:
            raise UserError(
                "p-values take an index of at least {least} sentences, of which random pairs are drawn. Received: "
                "{count}.",
                least=LEAST_SENTENCES,
                count=len(vectors),
            )
        random = np.random.default_rng(seed)
        vectors = vectors[random.permutation(len(vectors))[:SAMPLE]].astype("float32")
        center = vectors[::2].mean(axis=0)
        known, held_out = _random_cosines(vectors[::2], center, random), _random_cosines(vectors[1::2], center, random)
        cosines = np.sort(known[0])
        dimension = max(1.0 / float(np.mean(known[1] ** 2)), 1.5)
        by_formula, counted = np.exp(log_tail(held_out[1], dimension)), np.exp(_log_share(cosines, held_out[0]))
        everything = np.sort(np.concatenate([known[0], held_out[0]]))
        return cls(center, dimension, everything, kolmogorov_distance(by_formula), kolmogorov_distance(counted))

    def log_p_values(self, queries: np.ndarray, found: np.ndarray) -> np.ndarray:
        """Logarithms of the chance that unrelated sentences are as similar as each pair of rows (P, D)."""
        if self.holds:
            return log_tail(_cosines(queries, found, self.center), self.dimension)
        return _log_share(self.cosines, _cosines(queries, found, 0 * self.center))

    def __str__(self) -> str:
        count = len(self.cosines)
        return told(
            BY_FORMULA if self.holds else COUNTED,
            dimension=self.dimension,
            distance=self.distance,
            counted=self.empirical_distance,
            count=count,
            least=1 / (count + 1),
        )


def _random_cosines(vectors: np.ndarray, center: np.ndarray, random: np.random.Generator) -> list[np.ndarray]:
    """The cosines of PAIRS random pairs of different rows: as they are, and from the center."""
    first = random.integers(0, len(vectors), PAIRS)
    second = (first + random.integers(1, len(vectors), PAIRS)) % len(vectors)
    found = []
    for rows in (_unit(vectors), _unit(vectors - center)):
        parts = (slice(start, start + PAIRS_AT_ONCE) for start in range(0, PAIRS, PAIRS_AT_ONCE))
        found.append(np.concatenate([_products(rows[first[part]], rows[second[part]]) for part in parts]))
    return found


def _cosines(first: np.ndarray, second: np.ndarray, center: np.ndarray) -> np.ndarray:
    """Cosines (P,) of rows (P, D) from which the center was taken."""
    return _products(_unit(first - center), _unit(second - center))


def _unit(rows: np.ndarray) -> np.ndarray:
    return rows / np.maximum(np.linalg.norm(rows, axis=1, keepdims=True), 1e-12)


def _products(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    return np.einsum("pd,pd->p", first, second).astype("float64")


def _log_share(cosines: np.ndarray, values: np.ndarray) -> np.ndarray:
    """Logarithm of the share of sorted cosines that are at least as large, the value itself counted as one of them."""
    above = len(cosines) - np.searchsorted(cosines, values, side="left")
    return np.log((above + 1) / (len(cosines) + 1))
