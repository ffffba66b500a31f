"""What texts are conditioned on, and how a model learns of it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

CONDITIONINGS = ("norm", "prefix", "none")
COMBINATIONS = ("sum", "concat")
Condition = Mapping[str, str] | Sequence[float] | np.ndarray
"""labels by column, some of them or none; or a vector"""


@dataclass(frozen=True, kw_only=True)
class Conditions:
    """What texts are conditioned on, and how the model learns of it.

    Args:
        labels: names of the labels by column; empty: the condition is a vector (or there is none).
        vector_size: size of that vector.
        conditioning: "norm" writes the condition into every LayerNorm; "prefix" puts label tokens before the text;
            "none" leaves it out.
        label_size: size of a label's embedding.
        combine: "sum" or "concat": what becomes of the embeddings of several columns.

    Raises:
        ValueError: fields that contradict each other.
    """

    labels: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    vector_size: int | None = None
    conditioning: str = "norm"
    label_size: int = 128
    combine: str = "sum"

    def __post_init__(self) -> None:
        for name, known in (("conditioning", CONDITIONINGS), ("combine", COMBINATIONS)):
            if getattr(self, name) not in known:
                raise ValueError(f"{name} must be one of {known}. Received: {name}={getattr(self, name)!r}.")
        if self.conditioning == "none":
            return
        if bool(self.labels) == (self.vector_size is not None):
            raise ValueError("A condition is labels or a vector: give either labels or vector_size.")
        if self.conditioning == "prefix" and not self.labels:
            raise ValueError('conditioning="prefix" takes labels; a vector needs conditioning="norm".')
        if self.label_size < 1 or (self.vector_size is not None and self.vector_size < 1):
            raise ValueError(f"Sizes must be positive. Received: {self.label_size=}, {self.vector_size=}.")
        for column, names in self.labels.items():
            if not names or len(set(names)) != len(names):
                raise ValueError(f"the labels of {column!r} must be distinct and at least one. Received: {names}.")

    @property
    def size(self) -> int | None:
        """C, the model's `layer_norm_cond_size`; None where the norms have no condition."""
        if self.conditioning != "norm":
            return None
        if self.vector_size is not None:
            return self.vector_size
        return self.label_size * (len(self.labels) if self.combine == "concat" else 1)

    @property
    def num_prefix_tokens(self) -> int:
        """Label tokens that stand before a text."""
        return len(self.labels) if self.conditioning == "prefix" else 0

    @property
    def prefix_tokens(self) -> list[str]:
        """The tokens of the vocabulary that stand for no label and the labels of each column, in this order."""
        count = sum(1 + len(names) for names in self.labels.values()) if self.conditioning == "prefix" else 0
        return [f"[unused{i + 1}]" for i in range(count)]

    def rows(self, given: Sequence[Condition]) -> np.ndarray | None:
        """Label ids `(N, J)`, 0 for none, or vectors `(N, C)`; None where the model has no condition.

        Raises:
            ValueError: an unknown column or label (the known ones are listed), a vector of another size.
        """
        if self.conditioning == "none":
            return None
        if self.labels:
            return np.array([self._label_ids(one) for one in given], "int32")
        return np.array([self._vector(one) for one in given], "float32")

    def _label_ids(self, given: Condition) -> list[int]:
        if not isinstance(given, Mapping):
            raise ValueError(f"expected labels by column ({', '.join(self.labels)}). Received: {given!r:.60}.")
        for column, label in given.items():
            if column not in self.labels:
                raise ValueError(f"unknown condition {column!r}; known are {', '.join(self.labels)}.")
            if label is not None and label not in self.labels[column]:
                raise ValueError(f"unknown {column} {label!r}; known are {', '.join(self.labels[column])}.")
        chosen = ((names, given.get(column)) for column, names in self.labels.items())
        return [0 if label is None else 1 + names.index(label) for names, label in chosen]

    def _vector(self, given: Condition) -> np.ndarray:
        if isinstance(given, Mapping):
            if given:
                raise ValueError(f"expected a vector of {self.vector_size} numbers. Received: labels {dict(given)}.")
            return np.zeros(self.vector_size or 0)
        vector = np.asarray(given, "float32")
        if vector.shape != (self.vector_size,) or not np.isfinite(vector).all():
            raise ValueError(f"expected a vector of {self.vector_size} finite numbers. Received: shape {vector.shape}.")
        return vector
