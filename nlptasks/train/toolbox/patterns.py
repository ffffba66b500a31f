"""Weights chosen by the names in their paths. Imports no backend."""

import re
from collections.abc import Iterable, Mapping, Sequence
from fnmatch import fnmatchcase

from nlptasks.errors import UserError

UNDECAYED = ("*bias*", "gamma", "beta")
"""patterns of the weights that are usually neither decayed nor adapted: biases and norms"""
_BLOCK = re.compile(r"(?:^|/)block_(\d+)/")


def fits(path: str, pattern: str) -> bool:
    """Whether a pattern fits a path from one of its parts to the end.

        fits("transformer/block_0/ffn/inner/bias", "block_0/*")  # True
        fits("transformer/block_0/ffn/inner/bias", "bias")  # True

    Args:
        path: names with slashes between them.
        pattern: `*` stands for any characters, slashes among them, `?` for one.
    """
    parts = path.split("/")
    return any(fnmatchcase("/".join(parts[i:]), pattern) for i in range(len(parts)))


def fits_any(path: str, patterns: Iterable[str]) -> bool:
    """Whether one of the patterns fits."""
    return any(fits(path, pattern) for pattern in patterns)


def require_fitting(paths: Sequence[str], patterns: Iterable[str]) -> None:
    """Refuses a pattern that fits no weight.

    Raises:
        UserError: naming the pattern, and some weights.
    """
    for pattern in patterns:
        if not any(fits(path, pattern) for path in paths):
            raise UserError(
                "{pattern}: fits no weight; the weights are {some}, ...",
                pattern=pattern,
                some=", ".join(paths[:: max(1, len(paths) // 4)][:4]),
            )


def factor_of(path: str, rates: Mapping[str, float]) -> float:
    """The product of the factors whose patterns fit a path; 1 where none does."""
    product = 1.0
    for pattern, factor in rates.items():
        product *= factor if fits(path, pattern) else 1.0
    return product


def layer_factors(paths: Sequence[str], decay: float) -> list[float]:
    """A factor for each weight: with L blocks, `decay ** (L - i)` for block i from 0 on, `decay ** (L + 1)` for the
    embeddings before them, and 1 for what follows.

    Raises:
        UserError: no weight stands in a block.
    """
    found = [_BLOCK.search(path) for path in paths]
    numbers = [None if match is None else int(match[1]) for match in found]
    if all(number is None for number in numbers):
        raise UserError("{field:layer_decay} is for a Transformer with blocks; this model has none.")
    count = 1 + max(number for number in numbers if number is not None)
    factors = []
    for path, number in zip(paths, numbers, strict=True):
        before = fits(path, "embeddings/*/*") or fits(path, "embedding_projection/*")
        depth = count - number if number is not None else count + 1 if before else 0
        factors.append(decay**depth)
    return factors


def parsed_factors(text: str, name: str, whole: bool = False) -> dict[str, float]:
    """The factors of `embeddings*=0.1,block_0/*=0.5` by pattern.

    Args:
        text: pairs with commas between them.
        name: of the option, for the message.
        whole: the left sides are whole numbers, steps.

    Raises:
        UserError: a part is no pair, or a factor is not a number from 0 on.
    """
    found: dict[str, float] = {}
    for part in text.split(","):
        key, equals, value = part.strip().rpartition("=")
        try:
            factor = float(value)
        except ValueError:
            factor = -1.0
        if not equals or not key or not 0 <= factor < float("inf") or (whole and not key.isdecimal()):
            raise UserError(
                "{field:{name}} takes {what} with commas between them, factors from 0 on. Received: {part!r}.",
                name=name,
                what="STEP=FACTOR pairs" if whole else "PATTERN=FACTOR pairs",
                part=part.strip(),
            )
        found[key.strip()] = factor
    return found
