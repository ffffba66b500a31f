"""Precision, recall and F1 of entities: an entity is right if its start, end and type are."""

from collections import Counter
from collections.abc import Collection, Sequence

from nlptasks.metrics.classification import ratios


def score_entities(
    gold: Sequence[Collection[tuple[int, int, str]]], predicted: Sequence[Collection[tuple[int, int, str]]]
) -> dict:
    """Scores of predicted entities, `(start, end, type)` each, in percent.

    Args:
        gold, predicted: the entities of each text; one that stands twice counts once.

    Returns:
        `texts`; `precision`, `recall`, `f1` and `support` of all entities together; `macro_f1`, the mean over the types
        that occur in either; `types`: the four of each type.

    Raises:
        ValueError: the two differ in length.
    """
    if len(gold) != len(predicted):
        raise ValueError(f"expected as many predictions as texts. Received: {len(predicted)} and {len(gold)}.")
    right: Counter[str] = Counter()
    found: Counter[str] = Counter()
    wanted: Counter[str] = Counter()
    for one, other in zip(gold, predicted, strict=True):
        one, other = set(one), set(other)
        wanted.update(kind for _, _, kind in one)
        found.update(kind for _, _, kind in other)
        right.update(kind for _, _, kind in one & other)
    types = {kind: ratios(right[kind], found[kind], wanted[kind]) for kind in sorted(wanted.keys() | found.keys())}
    total = ratios(right.total(), found.total(), wanted.total())
    macro = sum(values["f1"] for values in types.values()) / len(types) if types else 0.0
    return {"texts": len(gold), **total, "macro_f1": macro, "types": types}
