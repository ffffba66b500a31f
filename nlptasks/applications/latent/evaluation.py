"""What the vectors of a sentence autoencoder hold: how well texts are written from them, and what that costs."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from nlptasks.metrics.generation import likelihood_gap

if TYPE_CHECKING:
    from nlptasks.applications.latent.writer import LatentWriter

ACTIVE = 0.01
"""variance of a number's mean over the texts from which on it tells them apart (arXiv 1509.00519)"""
SEED = 0
"""of the draws of a validation: all epochs are compared on the same noise"""


def scores_of(
    writer: LatentWriter, texts: Sequence[str], progress: Callable[[Iterable], Iterable] = iter, seed: int = SEED
) -> dict[str, float]:
    """Scores of texts.

    Returns:
        `objective`: what training raises, in nats a token (of an AAE without its adversary); `reconstruction`: the
        perplexity under a vector drawn from the text's own distribution; `perplexity`: the bound that it gives for the
        model as a whole, with the KL divergence paid (no bound of an AAE's, which does not train it); `kl`: nats a
        text; `active_units`: numbers of the vector that differ between texts.
    """
    return _scores(writer, texts, progress, seed)[0]


def _scores(
    writer: LatentWriter, texts: Sequence[str], progress: Callable[[Iterable], Iterable], seed: int
) -> tuple[dict[str, float], np.ndarray, np.ndarray, np.ndarray]:
    mean_NZ, deviation_NZ = writer.posterior(texts)
    drawn_NZ = mean_NZ + deviation_NZ * np.random.default_rng(seed).normal(0, 1, mean_NZ.shape).astype("float32")
    log_p_N, lengths_N = writer.decoder.score(texts, list(drawn_NZ), progress=progress)
    variance_NZ = deviation_NZ.astype("float64") ** 2
    kl_NZ = (mean_NZ.astype("float64") ** 2 + variance_NZ - np.log(variance_NZ) - 1) / 2
    tokens, kl = int(lengths_N.sum()), float(kl_NZ.sum() / len(texts))
    written = -float(log_p_N.sum()) / tokens
    paid = np.maximum(kl_NZ.mean(axis=0), writer.free_bits).sum() * len(texts) / tokens if writer.method == "vae" else 0
    scores = {
        "objective": -(written + float(paid)),
        "reconstruction": math.exp(written),
        "perplexity": math.exp(written + kl * len(texts) / tokens),
        "kl": kl,
        "active_units": float((mean_NZ.var(axis=0) > ACTIVE).sum()),
    }
    return scores, drawn_NZ, log_p_N, lengths_N


def evaluation(
    writer: LatentWriter, texts: Sequence[str], seed: int = 0, progress: Callable[[Iterable], Iterable] = iter
) -> dict[str, Any]:
    """The scores of texts, what they lose under another text's vector, and how near the vectors are to the normal
    distribution.

    Returns:
        `texts`, `tokens`, those of `scores_of`, `shuffled`, the fields of a `LikelihoodGap` with the vectors of other
        texts, and `spread`: the deviation of all texts' vectors, a mean over their numbers; 1 under the normal
        distribution.

    Raises:
        ValueError: fewer than two texts: no other one's vector.
    """
    if len(texts) < 2:
        raise ValueError(f"shuffled vectors need at least two texts. Received: {len(texts)}.")
    scores, drawn_NZ, own_N, lengths_N = _scores(writer, texts, progress, seed)
    order = np.random.default_rng(seed).permutation(len(texts))
    other_NZ = np.empty_like(drawn_NZ)
    other_NZ[order] = drawn_NZ[np.roll(order, 1)]
    other_N = writer.decoder.score(texts, list(other_NZ), progress=progress)[0]
    return {
        "texts": len(texts),
        "tokens": int(lengths_N.sum()),
        **scores,
        "shuffled": dataclasses.asdict(likelihood_gap(own_N, other_N, lengths_N, seed=seed)),
        "spread": float(drawn_NZ.std(axis=0).mean()),
    }
