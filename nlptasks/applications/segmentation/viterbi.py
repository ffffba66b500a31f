"""Viterbi over the tags s, b, m, e of many pieces of text at once, exactly as one after the other.

A piece is a run of units that starts and ends at word boundaries. K tags, N units of all pieces, L lanes: pieces that
advance in lock-step, so that a step is a few operations on arrays.
"""

import numpy as np

TAGS = "sbme"
S, B, M, E = range(4)
FIRST_FROM = np.array([S, S, B, B])
"""by tag: the two tags that may stand before it, first ..."""
SECOND_FROM = np.array([E, E, M, M])
"""... and second"""
IMPOSSIBLE, FORBIDDEN = -1e18, -1e4
"""scores of an illegal tag and of a forbidden word, which is still returned if there is no alternative"""
LONGEST_LANE, FEW_UNITS = 128, 160
"""longer pieces, and pieces with fewer units in total, are decoded one by one, because a Python loop is faster then"""


def decode(scores_NK: np.ndarray, transitions: np.ndarray, lengths: np.ndarray) -> np.ndarray:
    """The best legal tags of every piece; its first tag is s or b, its last s or e.

    Args:
        scores_NK: tag scores of the units, piece after piece.
        transitions: (K, K) score of a step from tag (row) to tag (column); only legal steps are read.
        lengths: units of each piece, all positive; they sum to N.

    Returns:
        (N,) tags.
    """
    if len(scores_NK) <= FEW_UNITS:
        return np.array(_one_by_one(scores_NK, transitions, lengths), "uint8")
    starts = np.cumsum(lengths) - lengths
    tags = np.empty(len(scores_NK), "uint8")
    short = lengths <= LONGEST_LANE
    if short.any():
        _in_lock_step(scores_NK, transitions, starts[short], lengths[short], tags)
    for start, length in zip(starts[~short].tolist(), lengths[~short].tolist(), strict=True):
        tags[start : start + length] = _one_by_one(scores_NK[start : start + length], transitions, np.array([length]))
    return tags


def _in_lock_step(
    scores_NK: np.ndarray, transitions: np.ndarray, starts: np.ndarray, lengths: np.ndarray, tags: np.ndarray
) -> None:
    """Writes the tags of pieces of similar length into `tags`: step t of all lanes stands together."""
    order = np.argsort(-lengths, kind="stable")
    starts = starts[order]
    # lanes that are at least t + 1 long, for every step t
    active = len(lengths) - np.searchsorted(np.sort(lengths), np.arange(lengths.max()), side="right")
    ends = np.cumsum(active)
    steps = [slice(end - k, end) for k, end in zip(active, ends, strict=True)]
    take = np.concatenate([starts[:k] + t for t, k in enumerate(active)])
    scores_KN = np.asarray(scores_NK.take(take, axis=0).T, "float64", order="C")
    came = np.empty(len(take), "uint8")
    state_KL = scores_KN[:, steps[0]].copy()
    state_KL[[M, E]] = IMPOSSIBLE
    for k, here in zip(active[1:], steps[1:], strict=True):
        came[here] = _advance(state_KL[:, :k], scores_KN[:, here], transitions)
    tag = np.where(state_KL[E] > state_KL[S], E, S).astype("uint8")
    found = np.empty(len(take), "uint8")
    for k, here in zip(active[::-1], steps[::-1], strict=True):
        found[here] = tag[:k]
        tag[:k] = _TAG_BEFORE.take(came[here] * np.uint8(4) + tag[:k], mode="clip")
    tags[take] = found


def _advance(state_KL: np.ndarray, scores_KL: np.ndarray, transitions: np.ndarray) -> np.ndarray:
    """Moves the best scores on by a unit, in place; returns where they came from, a bit a tag: from SECOND_FROM."""
    moved: list[np.ndarray] = []
    came: np.ndarray | None = None
    for tag in range(4):
        i, j = FIRST_FROM[tag], SECOND_FROM[tag]
        one, two = state_KL[i] + transitions[i, tag], state_KL[j] + transitions[j, tag]
        second = (two > one).view("uint8")
        came = second if came is None else np.bitwise_or(came, second << tag, out=came)
        np.maximum(one, two, out=one)
        one += scores_KL[tag]
        moved.append(one)
    for tag in range(4):
        state_KL[tag] = moved[tag]
    assert came is not None
    return came


def _tag_before() -> np.ndarray:
    """The tag before, by `4 * came + tag`."""
    came, tag = np.divmod(np.arange(64), 4)
    return np.where(came >> tag & 1, SECOND_FROM[tag], FIRST_FROM[tag]).astype("uint8")


_TAG_BEFORE = _tag_before()


def _one_by_one(scores_NK: np.ndarray, transitions: np.ndarray, lengths: np.ndarray) -> list[int]:
    """The same sums in the same order, piece after piece."""
    scores = scores_NK.tolist()
    (ss, sb, _, _), (_, _, bm, be), (_, _, mm, me), (es, eb, _, _) = transitions.tolist()
    tags: list[int] = []
    at = 0
    for length in lengths.tolist():
        trail = []
        (s, b, _, _), m, e = scores[at], IMPOSSIBLE, IMPOSSIBLE
        for score_s, score_b, score_m, score_e in scores[at + 1 : at + length]:
            s1, s2, b1, b2, m1, m2, e1, e2 = s + ss, e + es, s + sb, e + eb, b + bm, m + mm, b + be, m + me
            trail.append((E if s2 > s1 else S, E if b2 > b1 else S, M if m2 > m1 else B, M if e2 > e1 else B))
            s = (s2 if s2 > s1 else s1) + score_s
            b = (b2 if b2 > b1 else b1) + score_b
            m = (m2 if m2 > m1 else m1) + score_m
            e = (e2 if e2 > e1 else e1) + score_e
        tag = E if e > s else S
        path = [tag]
        for before in reversed(trail):
            tag = before[tag]
            path.append(tag)
        tags += reversed(path)
        at += length
    return tags


def best_words(scores_NK: np.ndarray, transitions: np.ndarray, forbidden: set[tuple[int, int]]) -> np.ndarray:
    """The best legal tags of one piece without certain words, exactly: a search over words instead of tags.

    Args:
        scores_NK: tag scores of the piece's units.
        transitions: (K, K) as for `decode`.
        forbidden: forbidden words, as (first unit, unit after the last); one is still returned if there is no
            alternative.

    Returns:
        (N,) tags.
    """
    scores, n = scores_NK.astype("float64"), len(scores_NK)
    # a word i:j of two units or more scores opening[i] + closing[j]: inside[] sums the m in between
    inside = np.concatenate([[0.0], np.cumsum(scores[:, M] + transitions[M, M])])
    best = np.full((n + 1, 2), IMPOSSIBLE * 1e6)  # by position and kind of the last word: one unit, or more
    best[0] = 0.0
    came = np.zeros((n + 1, 2, 2), "int64")
    step = np.array([[transitions[S, S], transitions[S, B]], [transitions[E, S], transitions[E, B]]])
    for j in range(1, n + 1):
        for i in range(j):
            if j - i == 1:
                kind, score = 0, scores[i, S]
            else:
                kind, score = 1, scores[i, B] + scores[j - 1, E]
                if j - i == 2:
                    score += transitions[B, E]
                else:
                    score += transitions[B, M] + inside[j - 1] - inside[i + 1] - transitions[M, M] + transitions[M, E]
            if (i, j) in forbidden:
                score += FORBIDDEN
            before = best[i] + (step[:, kind] if i else 0.0)
            last = int(before[1] > before[0])
            if before[last] + score > best[j, kind]:
                best[j, kind] = before[last] + score
                came[j, kind] = i, last
    tags, j, kind = np.empty(n, "uint8"), n, int(best[n, 1] > best[n, 0])
    while j:
        i, last = came[j, kind]
        tags[i:j] = M
        tags[i], tags[j - 1] = (S, S) if j - i == 1 else (B, E)
        j, kind = i, last
    return tags
