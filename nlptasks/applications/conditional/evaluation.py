"""What the conditions of a generator are worth: likelihood of texts under their own and under other ones."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from nlptasks.applications.conditional.conditions import Condition, Conditions
from nlptasks.applications.conditional.training import given_conditions
from nlptasks.metrics.generation import likelihood_gap
from nlptasks.text.conditioned import ConditionedText

if TYPE_CHECKING:
    from nlptasks.applications.conditional.generator import ConditionalGenerator


def likelihood(writer: ConditionalGenerator, texts: Sequence[ConditionedText]) -> dict[str, float]:
    """Log likelihood in nats per token of texts under their conditions, and perplexity."""
    scores, lengths = writer.score([text.text for text in texts], given_conditions(texts, writer.conditions))
    mean = float(scores.sum() / lengths.sum())
    return {"log_likelihood": mean, "perplexity": math.exp(-mean)}


def other_conditions(texts: Sequence[ConditionedText], conditions: Conditions, seed: int) -> dict[str, list[Condition]]:
    """By label column: the texts' conditions with another label in it; or "vector": another text's vector.

    A column with one label only has no other, and is left out.
    """
    random = np.random.default_rng(seed)
    if conditions.vector_size is not None:
        order = random.permutation(len(texts))
        others = dict(zip(order.tolist(), np.roll(order, 1).tolist(), strict=True))
        vectors = given_conditions(texts, conditions)
        return {"vector": [vectors[others[i]] for i in range(len(texts))]}
    found: dict[str, list[Condition]] = {}
    for column, names in conditions.labels.items():
        if len(names) > 1:
            steps = random.integers(1, len(names), len(texts))
            places = (names.index(text.labels[column]) + step for text, step in zip(texts, steps, strict=True))
            found[column] = [
                dict(text.labels) | {column: names[place % len(names)]}
                for text, place in zip(texts, places, strict=True)
            ]
    return found


def gaps(
    writer: ConditionalGenerator,
    texts: Sequence[ConditionedText],
    seed: int = 0,
    progress: Callable[[Iterable], Iterable] = iter,
) -> dict[str, Any]:
    """What each kind of condition is worth.

    Args:
        texts: with conditions that the model knows.
        seed: which other condition is taken, and the bootstrap.
        progress: wraps the iteration over batches.

    Returns:
        `texts`, `tokens`, `perplexity`, and by column (or for "vector") the fields of a `LikelihoodGap`.
    """
    written = [text.text for text in texts]
    own, lengths = writer.score(written, given_conditions(texts, writer.conditions), progress=progress)
    results: dict[str, Any] = {
        "texts": len(texts),
        "tokens": int(lengths.sum()),
        "perplexity": float(np.exp(-own.sum() / lengths.sum())),
    }
    if writer.conditions.conditioning == "none":
        return results
    for column, others in other_conditions(texts, writer.conditions, seed).items():
        other = writer.score(written, others, progress=progress)[0]
        results[column] = dataclasses.asdict(likelihood_gap(own, other, lengths, seed=seed))
    return results
