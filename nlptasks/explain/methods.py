"""How much each token counts: integrated gradients, gradient x input, attention rollout, and occlusion.

Legend: B rows, T position, N heads, E size of an embedding.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from keras import ops

from nlptasks.backend import compile_function, value_and_gradient
from nlptasks.errors import UserError
from nlptasks.explain.explained import Explained

BASELINES = ("zero", "mask", "mean")
"""what stands in the place of a token's embedding where nothing is said: zeros, that of the mask, the table's mean"""
TOLERANCE, LEAST_DIFFERENCE = 0.01, 0.1
"""completeness: the sum of the attributions misses the difference by this share of it, or of the least one"""
FIRST_STEPS, MOST_STEPS = 15, 960  # with both ends, the first points are one batch of ROWS
ROWS = 16
"""rows that are computed at a time"""


@dataclass(frozen=True)
class Integrated:
    """Integrated gradients of one row.

    Attributes:
        scores: float64 `(T,)`, 0 for tokens that are not asked about.
        value, baseline_value: the number for the text and for the baseline.
        steps: of the integral.
        error: how far the sum of the scores is from `value - baseline_value`.
    """

    scores: np.ndarray
    value: float
    baseline_value: float
    steps: int
    error: float

    @property
    def complete(self) -> bool:
        """Whether the error is within the tolerance."""
        return self.error <= TOLERANCE * max(abs(self.value - self.baseline_value), LEAST_DIFFERENCE)


class Methods:
    """All methods on one row of tokens; the programs are compiled once.

        methods = Methods(label_of_text(classifier, "房间很干净"))
        methods.integrated_gradients().scores

    Args:
        explained: the number and the row.
        like: has explained the same number of a row of the same length; its programs are used.
    """

    _value: Callable[..., Any]
    _gradient: Callable[..., Any]
    _table: np.ndarray
    _gradient_at_text: np.ndarray | None = None

    def __init__(self, explained: Explained, like: "Methods | None" = None) -> None:
        self.explained = explained
        ids, segments = explained.token_ids[None], explained.segment_ids[None]
        self._ids, self._segments = ids.astype("int32"), segments.astype("int32")
        transformer = explained.transformer

        def value_of_ids(token_ids: Any, segment_ids: Any) -> Any:
            return explained.value(token_ids, segment_ids)

        def with_gradient(token_ids: Any, segment_ids: Any, vectors: Any) -> Any:
            def total(x: Any) -> Any:
                return ops.sum(explained.value(token_ids, segment_ids, x))

            value = explained.value(token_ids, segment_ids, vectors)
            return value, value_and_gradient(total, vectors)[1]

        self._value = compile_function(value_of_ids, transformer) if like is None else like._value
        self._gradient = compile_function(with_gradient, transformer) if like is None else like._gradient
        self._table = (
            like._table
            if like is not None
            else np.asarray(ops.convert_to_numpy(ops.cast(transformer.embeddings.token.embeddings, "float32")))
        )

    def _repeated(self, count: int) -> tuple[np.ndarray, np.ndarray]:
        return np.repeat(self._ids, count, axis=0), np.repeat(self._segments, count, axis=0)

    def values(self, token_ids: np.ndarray) -> np.ndarray:
        """The number for each of several rows like the one that is explained, `(B,)`."""
        found = []
        for start in range(0, len(token_ids), ROWS):
            part = token_ids[start : start + ROWS].astype("int32")
            filled = np.concatenate([part, np.repeat(self._ids, ROWS - len(part), axis=0)])
            value = ops.convert_to_numpy(self._value(filled, np.repeat(self._segments, ROWS, axis=0)))
            found.append(value[: len(part)])
        return np.concatenate(found).astype("float64")

    def _gradients(self, vectors: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Values `(B,)` and gradients `(B, T, E)` at vectors."""
        values, gradients = [], []
        for start in range(0, len(vectors), ROWS):
            part = vectors[start : start + ROWS]
            filled = np.concatenate([part, np.repeat(part[:1], ROWS - len(part), axis=0)]).astype("float32")
            value, gradient = self._gradient(*self._repeated(ROWS), filled)
            values.append(ops.convert_to_numpy(value)[: len(part)])
            gradients.append(ops.convert_to_numpy(gradient)[: len(part)])
        return np.concatenate(values).astype("float64"), np.concatenate(gradients).astype("float64")

    def baseline(self, kind: str) -> np.ndarray:
        """The vectors `(T, E)` from which the path to the text begins; special tokens keep their own.

        Raises:
            UserError: an unknown kind.
        """
        if kind not in BASELINES:
            raise UserError(
                "{field:{name}} must be one of {allowed}. Received: {value!r}.",
                name="baseline",
                allowed=", ".join(BASELINES),
                value=kind,
            )
        mask = self._table[self.explained.tokenizer.mask_id] if kind == "mask" else None
        chosen = mask if mask is not None else self._table.mean(axis=0) * (kind == "mean")
        own = self._table[self._ids[0]]
        return np.where(self.explained.asked[:, None], chosen, own)

    def integrated_gradients(self, baseline: str = "mask", most_steps: int = MOST_STEPS) -> Integrated:
        """The gradients on the straight way from the baseline to the text, times the way (arXiv 1703.01365).

        The integral is taken by the trapezoid rule; its steps are doubled, and the points that are there are kept,
        until the scores sum up to the difference of both ends (see `Integrated.complete`) or are `most_steps`.
        """
        start, end = self.baseline(baseline), self._table[self._ids[0]]
        way = end - start
        steps = FIRST_STEPS
        values, gradients = self._gradients(start + np.linspace(0, 1, steps + 1)[:, None, None] * way)
        low, high = values[0], values[-1]
        total = gradients.sum(axis=0) - (gradients[0] + gradients[-1]) / 2
        self._gradient_at_text = gradients[-1]
        while True:
            scores = (total / steps * way).sum(axis=-1)
            found = Integrated(scores, float(high), float(low), steps, abs(float(scores.sum() - (high - low))))
            if found.complete or steps >= most_steps:
                return found
            for middle in np.array_split((np.arange(steps) + 0.5) / steps, -(-steps // ROWS)):
                total = total + self._gradients(start + middle[:, None, None] * way)[1].sum(axis=0)
            steps *= 2

    def gradient_times_input(self) -> np.ndarray:
        """The gradient by each token's embedding times the embedding, `(T,)`: the first order of leaving it out."""
        return (self._at_text() * self._table[self._ids[0]]).sum(axis=-1) * self.explained.asked

    def gradient_norm(self) -> np.ndarray:
        """The Euclidean norm of the gradient by each token's embedding, `(T,)`; it has no sign."""
        return np.linalg.norm(self._at_text(), axis=-1) * self.explained.asked

    def _at_text(self) -> np.ndarray:
        """The gradient by each token's embedding, `(T, E)`; the end of an integral's way is there already."""
        if self._gradient_at_text is None:
            self._gradient_at_text = self._gradients(self._table[self._ids[0]][None])[1][0]
        return self._gradient_at_text

    def attention_rollout(self) -> np.ndarray:
        """How much of each token flows into the positions that are read, `(T,)` (arXiv 2005.00928).

        Each layer's attention, the mean of its heads, is averaged with the identity for the residual, and all layers
        are multiplied. It has no sign, and is the same for all labels.
        """
        maps = self.explained.transformer.encode(self._ids, self._segments, with_maps=True)[1]
        flow = np.eye(self._ids.shape[1])
        for one in maps:
            mean = ops.convert_to_numpy(ops.cast(one, "float32"))[0].mean(axis=0).astype("float64")
            mixed = 0.5 * mean + 0.5 * np.eye(len(mean))
            flow = mixed / mixed.sum(axis=-1, keepdims=True) @ flow
        return flow[list(self.explained.readers)].mean(axis=0) * self.explained.asked

    def occlusion(self) -> np.ndarray:
        """How much the number falls where a token is replaced by the mask, `(T,)`."""
        asked = np.flatnonzero(self.explained.asked)
        rows = np.repeat(self._ids, len(asked) + 1, axis=0)
        rows[np.arange(len(asked)), asked] = self.explained.tokenizer.mask_id
        values, scores = self.values(rows), np.zeros(self._ids.shape[1])
        scores[asked] = values[-1] - values[:-1]
        return scores

    def deletion_curve(self, scores: np.ndarray, shares: tuple[float, ...] = (0.1, 0.2, 0.3, 0.5)) -> np.ndarray:
        """The number where the tokens with the highest scores are replaced by the mask, for each share of them.

        Args:
            scores: `(T,)`, or `(M, T)` for several orders at once, whose curves are the rows of the result.
        """
        asked, rows = np.flatnonzero(self.explained.asked), []
        for one in np.atleast_2d(scores):
            order = asked[np.argsort(-one[asked], kind="stable")]
            for share in shares:
                row = self._ids[0].copy()
                row[order[: max(1, round(share * len(order)))]] = self.explained.tokenizer.mask_id
                rows.append(row)
        return self.values(np.array(rows)).reshape(*np.shape(scores)[:-1], len(shares))


METHODS: dict[str, Callable[[Methods], np.ndarray]] = {
    "gradient_times_input": Methods.gradient_times_input,
    "attention_rollout": Methods.attention_rollout,
    "occlusion": Methods.occlusion,
}
"""those beside integrated gradients"""
