"""Viterbi over the tags s, b, m, e of many pieces of text at once, exactly as one after the other.

A piece is a run of units that starts and ends at word boundaries. The score of its tags is the sum of theirs. Behind a
unit a word is over (s, e) or goes on (b, m), and nothing else counts for what may follow: two states, from each of
which two tags lead. Of the best scores of both only the difference matters, `ahead`: that of going on minus that of
being over. N units of all pieces, L lanes: pieces that advance in lock-step, so that a step is a few operations on
arrays.
"""

import numpy as np

TAGS = "sbme"
S, B, M, E = range(4)
OVER, GOES_ON = range(2)
"""states"""
FROM_OVER, FROM_GOES_ON = slice(S, B + 1), slice(E, B, -1)
"""the tags by the state before them; both lead to OVER, GOES_ON"""
_TAG_BETWEEN = np.array([[S, B], [E, M]], "uint8").ravel()
"""by 2 * the state before + the state behind"""
_S_B, _S_M, _E_B, _E_M = ((over, over, going, going) for over, going in ((S, B), (S, M), (E, B), (E, M)))
"""the tag of a unit where a word is over behind it or goes on, by the tag of the next one: s and b follow OVER"""
IMPOSSIBLE, FORBIDDEN = -1e18, -1e4
"""scores of an illegal tag and of a forbidden word, which is still returned if there is no alternative"""
LONGEST_LANE, FEW_UNITS = 128, 160
"""longer pieces, and pieces with fewer units in total, are decoded one by one, because a Python loop is faster then"""


def decode(scores_NK: np.ndarray, apart: np.ndarray) -> np.ndarray:
    """The best legal tags: s for every unit that is `apart`, and the best ones for each piece between those.

    The first tag of a piece is s or b, its last s or e.

    Args:
        scores_NK: tag scores of the units.
        apart: (N,) bool.

    Returns:
        (N,) tags.
    """
    if len(apart) <= FEW_UNITS:
        return np.frombuffer(bytearray(_one_by_one(scores_NK, apart)), "uint8")
    edges = np.concatenate([[-1], apart.nonzero()[0], [len(apart)]])
    lengths = edges[1:] - edges[:-1] - 1
    some = lengths > 0
    starts, lengths = edges[:-1][some] + 1, lengths[some]
    tags = np.full(len(apart), S, "uint8")
    short = lengths <= LONGEST_LANE
    if short.any():
        _in_lock_step(scores_NK, starts[short], lengths[short], tags)
    for start, length in zip(starts[~short].tolist(), lengths[~short].tolist(), strict=True):
        here = slice(start, start + length)
        tags[here] = _one_by_one(scores_NK[here], apart[here])
    return tags


def _in_lock_step(scores_NK: np.ndarray, starts: np.ndarray, lengths: np.ndarray, tags: np.ndarray) -> None:
    """Writes the tags of pieces of similar length into `tags`: step t of all lanes stands together."""
    order = np.argsort(-lengths, kind="stable")
    starts = starts[order]
    # lanes that are at least t + 1 long, for every step t
    active = len(lengths) - np.searchsorted(np.sort(lengths), np.arange(lengths.max()), side="right")
    ends = np.cumsum(active)
    steps = [slice(end - k, end) for k, end in zip(active, ends, strict=True)]
    take = np.concatenate([starts[:k] + t for t, k in enumerate(active)])
    scores_KN = np.asarray(scores_NK.take(take, axis=0).T, "float64", order="C")
    of_over_2N, of_going_on_2N = scores_KN[FROM_OVER], scores_KN[FROM_GOES_ON]
    came_2N = np.empty((2, len(take)), bool)  # by the state behind a unit: the one before it
    ahead_L = np.full(len(lengths), IMPOSSIBLE)
    for k, here in zip(active, steps, strict=True):
        one_2L, two_2L = of_over_2N[:, here], ahead_L[:k] + of_going_on_2N[:, here]
        np.greater(two_2L, one_2L, out=came_2N[:, here])
        best_2L = np.maximum(one_2L, two_2L, out=two_2L)
        np.subtract(best_2L[GOES_ON], best_2L[OVER], out=ahead_L[:k])
    behind, before = np.empty(len(take), bool), np.empty(len(take), bool)
    state = np.zeros(len(lengths), bool)
    for k, here in zip(active[::-1], steps[::-1], strict=True):
        behind[here] = state[:k]
        state[:k] = before[here] = np.where(state[:k], came_2N[GOES_ON, here], came_2N[OVER, here])
    tags[take] = _TAG_BETWEEN.take(2 * before.view("uint8") + behind)


def _one_by_one(scores_NK: np.ndarray, apart: np.ndarray) -> list[int]:
    """The same sums in the same order, unit after unit."""
    best: list[tuple[int, ...]] = []  # of each unit, by the tag of the next one
    ahead = IMPOSSIBLE
    for (s, b, m, e), alone in zip(scores_NK.tolist(), apart.tolist(), strict=True):
        if alone:
            best.append(_S_B)
            ahead = IMPOSSIBLE
            continue
        m, e = ahead + m, ahead + e
        if e > s:
            best.append(_E_M if m > b else _E_B)
            ahead = (m if m > b else b) - e
        else:
            best.append(_S_M if m > b else _S_B)
            ahead = (m if m > b else b) - s
    tag = S
    tags = [tag := here[tag] for here in reversed(best)]
    tags.reverse()
    return tags


def best_words(scores_NK: np.ndarray, forbidden: set[tuple[int, int]]) -> np.ndarray:
    """The best legal tags of one piece without certain words, exactly: a search over words instead of tags.

    Args:
        scores_NK: tag scores of the piece's units.
        forbidden: forbidden words, as (first unit, unit after the last); one is still returned if there is no
            alternative.

    Returns:
        (N,) tags.
    """
    scores, n = scores_NK.astype("float64"), len(scores_NK)
    inside = np.concatenate([[0.0], np.cumsum(scores[:, M])]).tolist()
    singles, begins, ends = (scores[:, tag].tolist() for tag in (S, B, E))
    starts_of: dict[int, list[int]] = {}
    for i, j in forbidden:
        starts_of.setdefault(j, []).append(i)
    best, came = [0.0], [0]  # by position: of the words before it, and where the last of them starts
    begun = np.empty(n)  # by start i of a word i:j of several units: all of its score that j has no part in
    top, top_start = -np.inf, -1  # the best of these
    for j in range(1, n + 1):
        if j > 1:
            i = j - 2
            begun[i] = best[i] + begins[i] - inside[i + 1]
            if begun[i] >= top:
                top, top_start = begun[i], i
        alone, behind = best[j - 1] + singles[j - 1], inside[j - 1] + ends[j - 1]
        blocked = starts_of.get(j, ())
        if j - 1 in blocked:
            alone += FORBIDDEN
        found, start = top + behind, top_start
        if top_start in blocked:  # the next best, or a forbidden one all the same
            others = begun[: j - 1].copy()
            others[[i for i in blocked if i < j - 1]] += FORBIDDEN
            start = j - 2 - int(np.argmax(others[::-1]))
            found = others[start] + behind
        if alone >= found:
            found, start = alone, j - 1
        best.append(found)
        came.append(start)
    tags, j = np.empty(n, "uint8"), n
    while j:
        i = came[j]
        tags[i:j] = M
        tags[i], tags[j - 1] = (S, S) if j - i == 1 else (B, E)
        j = i
    return tags
