"""What a row becomes when it is drawn: masked tokens to restore, next tokens, or the second part of a split.

Examples are made while training reads, and depend on the row and on the random numbers handed in alone: a corpus is
stored once, and every epoch masks it anew.

Legend: L tokens of a row, T width of the arrays, M targets an example.
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np

from nlptasks.errors import UserError
from nlptasks.pretraining.masking import choose_words, split_rows
from nlptasks.pretraining.shards import Row
from nlptasks.text.batches import round_up
from nlptasks.text.vocab import SPECIAL_TOKENS

OBJECTIVES = ("mlm", "lm", "unilm")
ATTENTION = {"mlm": "bidirectional", "lm": "causal", "unilm": "unilm"}
_NAMES = ("pad", "unk", "cls", "sep", "mask")  # of SPECIAL_TOKENS
MASKED, KEPT = 0.8, 0.1  # shares of the chosen tokens; the rest becomes random tokens (arXiv 1810.04805)

Example = dict[str, np.ndarray]
"""int32 `token_ids (T,)`, `target_positions (M,)`, `target_ids (M,)`, float32 `target_weights (M,)` (0 where there are
fewer targets than M); int32 `segment_ids (T,)` where the objective has two; int32 `document_ids (T,)` where documents
do not see each other."""


class _Parts(NamedTuple):
    """What an objective makes of a row, without padding: three arrays `(L,)`, and positions and ids of the targets."""

    token_ids: np.ndarray
    segment_ids: np.ndarray
    document_ids: np.ndarray
    positions: np.ndarray
    targets: np.ndarray


@dataclass(frozen=True, kw_only=True)
class Objective:
    """One way to make examples of rows.

    Args:
        name: "mlm", masked tokens, whole words at a time (arXiv 1810.04805, 1906.08101); "lm", each token from those
            before it; "unilm", the part behind a random split from the part before it, with a [SEP] between them
            (arXiv 1905.03197).
        vocab: token to id.
        specials: ids of "pad", "unk", "cls", "sep" and "mask"; None: those of BERT's names in `vocab`.
        special_ids: all ids that are no word; None: those of tokens in brackets.
        seq_length: T.
        mask_rate: share of a row's tokens that "mlm" chooses; special tokens are never chosen, nor put in.
        isolate_documents: positions see their own document only.
        segments: "lm" marks its tokens as segment 1: a model with the mask of "unilm" then reads them as causal.

    Raises:
        ValueError: an unknown name, a rate outside (0, 1), a vocabulary without one of the special tokens.
    """

    name: str
    vocab: Mapping[str, int]
    seq_length: int
    mask_rate: float = 0.15
    isolate_documents: bool = False
    segments: bool = False
    specials: Mapping[str, int] | None = None
    special_ids: Collection[int] | None = None
    _ids: dict[str, int] = field(init=False, repr=False, compare=False)
    """`specials`, or what stands for them"""
    _ordinary: np.ndarray = field(init=False, repr=False, compare=False)
    """ids of the tokens that may be put in at random"""

    def __post_init__(self) -> None:
        if self.name not in OBJECTIVES:
            raise ValueError(f"an objective is one of {', '.join(OBJECTIVES)}. Received: {self.name!r}.")
        if not 0 < self.mask_rate < 1:
            raise UserError("{field:mask_rate} must lie between 0 and 1. Received: {rate}.", rate=self.mask_rate)
        names = dict(zip(_NAMES, SPECIAL_TOKENS, strict=True))
        ids = self.specials or {name: self.vocab[token] for name, token in names.items() if token in self.vocab}
        if missing := [token for name, token in names.items() if name not in ids]:
            raise ValueError(f"the vocabulary lacks {', '.join(missing)}; add them, [PAD] as the first token.")
        if self.specials is None and ids["pad"] != 0:
            raise ValueError(f"[PAD] must be token 0 of the vocabulary. Received: {ids['pad']}.")
        object.__setattr__(self, "_ids", dict(ids))
        if self.special_ids is None:
            ordinary = [i for token, i in self.vocab.items() if not (token.startswith("[") and token.endswith("]"))]
        else:
            ordinary = [i for i in self.vocab.values() if i not in self.special_ids]
        object.__setattr__(self, "_ordinary", np.array(sorted(ordinary), "int32"))
        if not ordinary:
            raise ValueError("the vocabulary holds special tokens only.")

    @property
    def attention(self) -> str:
        """The attention kind of a `TransformerConfig` that learns this objective alone."""
        return ATTENTION[self.name]

    @property
    def num_targets(self) -> int:
        """M, the same for every example."""
        if self.name != "mlm":
            return self.seq_length
        return round_up(int(np.ceil(self.mask_rate * self.seq_length)), 8, self.seq_length)

    def example(self, row: Row, random: np.random.Generator) -> Example:
        """The arrays of one row; the same numbers of `random` make the same example."""
        make = {"mlm": self._masked, "lm": self._causal, "unilm": self._split}[self.name]
        parts = make(row, random)
        example = {
            "token_ids": _padded(parts.token_ids, self.seq_length, self._ids["pad"]),
            "target_positions": _padded(parts.positions, self.num_targets),
            "target_ids": _padded(parts.targets, self.num_targets),
            "target_weights": _padded(np.ones(len(parts.positions), "float32"), self.num_targets),
        }
        if self.name == "unilm" or self.segments:
            example["segment_ids"] = _padded(parts.segment_ids, self.seq_length)
        if self.isolate_documents:
            # padding counts to the last document, so that no row of the mask is empty
            example["document_ids"] = np.full(self.seq_length, parts.document_ids[-1], "int32")
            example["document_ids"][: len(parts.document_ids)] = parts.document_ids
        return example

    def masked_batch(
        self,
        token_ids_L: np.ndarray,
        word_starts_L: np.ndarray,
        lengths_B: np.ndarray,
        random: np.random.Generator,
    ) -> Example:
        """The arrays `(B, ...)` of many rows, which stand one after the other; of "mlm" without `isolate_documents`.

        What `example` makes of each, at once and with other draws: on a core several million tokens a second.
        """
        assert self.name == "mlm"
        assert not self.isolate_documents
        count, width = len(lengths_B), self.num_targets
        found = choose_words(token_ids_L, word_starts_L, lengths_B, self.mask_rate, width, random, self._special_ids)
        shown_L = self._changed(token_ids_L, found.places, random)
        token_ids = np.full((count, self.seq_length), self._ids["pad"], "int32")
        token_ids[np.arange(self.seq_length) < lengths_B[:, None]] = shown_L
        firsts_B = np.cumsum(lengths_B) - lengths_B
        values = {
            "target_positions": found.places - firsts_B[found.rows],
            "target_ids": token_ids_L[found.places],
            "target_weights": np.ones(len(found.places), "float32"),
        }
        example = {"token_ids": token_ids}
        for name, array in values.items():
            example[name] = np.zeros((count, width), "float32" if array.dtype.kind == "f" else "int32")
            example[name][found.rows, found.numbers] = array
        return example

    def split_batch(
        self,
        token_ids_L: np.ndarray,
        word_starts_L: np.ndarray,
        lengths_B: np.ndarray,
        random: np.random.Generator,
    ) -> Example:
        """The same for "unilm"."""
        assert self.name == "unilm"
        assert not self.isolate_documents
        pad, sep = self._ids["pad"], self._ids["sep"]
        shown, splits, lengths = split_rows(token_ids_L, word_starts_L, lengths_B, self.seq_length, sep, random)
        columns = np.arange(self.seq_length)
        real, after = columns < lengths[:, None], columns > splits[:, None]
        shown[~real] = pad
        positions = np.minimum(splits[:, None] + columns, self.seq_length - 2)
        counted = columns < (lengths - 1 - splits)[:, None]
        ids = np.take_along_axis(shown, positions + 1, axis=1)
        return {
            "token_ids": shown,
            "segment_ids": (real & after).astype("int32"),
            "target_positions": np.where(counted, positions, 0).astype("int32"),
            "target_ids": np.where(counted, ids, 0).astype("int32"),
            "target_weights": counted.astype("float32"),
        }

    def _changed(self, ids: np.ndarray, places: np.ndarray, random: np.random.Generator) -> np.ndarray:
        """The ids with those at the chosen places masked, changed or kept."""
        draw = random.random(len(places))
        shown = ids.copy()
        shown[places[draw < MASKED]] = self._ids["mask"]
        changed = places[draw >= MASKED + KEPT]
        shown[changed] = self._ordinary[random.integers(0, len(self._ordinary), len(changed))]
        return shown

    def _masked(self, row: Row, random: np.random.Generator) -> _Parts:
        ids, length = row.token_ids, len(row.token_ids)
        positions = chosen_positions(row, self.mask_rate, self.num_targets, random, self._special_ids)
        shown = self._changed(ids, positions, random)
        return _Parts(shown, np.zeros(length, "int32"), np.cumsum(row.document_starts), positions, ids[positions])

    def _causal(self, row: Row, random: np.random.Generator) -> _Parts:
        documents = np.cumsum(row.document_starts)
        positions = np.arange(len(row.token_ids) - 1)
        if self.isolate_documents:  # nothing before it says how a document begins
            positions = positions[documents[1:] == documents[:-1]]
        targets = row.token_ids[positions + 1]
        return _Parts(row.token_ids, np.ones(len(documents), "int32"), documents, positions, targets)

    def _split(self, row: Row, random: np.random.Generator) -> _Parts:
        ids, starts, documents = row.token_ids, row.word_starts, np.cumsum(row.document_starts)
        if len(ids) == self.seq_length:  # room for the [SEP] put in
            ids, starts, documents = (np.delete(x, -2) for x in (ids, starts, documents))
        splits = 2 + np.flatnonzero(starts[2:-1])  # each part has a word at least
        split = int(random.choice(splits)) if len(splits) else len(ids) - 1
        shown = np.insert(ids, split, self._ids["sep"])
        documents = np.insert(documents, split, documents[split - 1])
        segments = (np.arange(len(shown)) > split).astype("int32")
        positions = np.arange(split, len(shown) - 1)
        if self.isolate_documents:
            positions = positions[documents[positions + 1] == documents[positions]]
        return _Parts(shown, segments, documents, positions, shown[positions + 1])

    @property
    def unpredicted_ids(self) -> list[int]:
        """Tokens that are never a target: [SEP] closes rows where the next token is predicted."""
        return [self._ids[name] for name in _NAMES if self.name == "mlm" or name != "sep"]

    @property
    def _special_ids(self) -> np.ndarray:
        return np.array([self._ids[name] for name in _NAMES])


def chosen_positions(
    row: Row, rate: float, most: int, random: np.random.Generator, special_ids: Sequence[int] | np.ndarray
) -> np.ndarray:
    """Positions of whole words, drawn until `rate` of the tokens are chosen; ascending, at most `most`.

    A word that crosses the bound is taken if half of it or more lies within, so that the share is right on average;
    at least one word is taken. No position holds one of `special_ids`.
    """
    ordinary = ~np.isin(row.token_ids, special_ids)
    words = np.cumsum(row.word_starts | ~ordinary)
    numbers, owners = np.unique(words[ordinary], return_inverse=True)  # of each ordinary token its word, from 0
    if not len(numbers):
        return np.zeros(0, "int64")
    order = random.permutation(len(numbers))
    sizes = np.bincount(owners)[order]
    ends = np.cumsum(sizes)
    taken = (ends - sizes / 2 < max(1.0, rate * int(ordinary.sum()))) & (ends <= most)
    taken[0] = sizes[0] <= most
    chosen = np.zeros(len(numbers), "bool")
    chosen[order[taken]] = True
    return np.flatnonzero(ordinary)[chosen[owners]]


def _padded(values: np.ndarray, length: int, fill: int = 0) -> np.ndarray:
    array = np.full(length, fill, "float32" if values.dtype.kind == "f" else "int32")
    array[: len(values)] = values
    return array


def parse_mixture(text: str) -> dict[str, float]:
    """The objectives of a text like `mlm` or `mlm=2,unilm=1`, and their shares, which sum to 1.

    Raises:
        ValueError: an unknown objective, one named twice, or a weight that is not positive.
    """
    weights: dict[str, float] = {}
    for part in text.split(","):
        name, _, weight = part.strip().partition("=")
        try:
            value = float(weight or 1)
        except ValueError:
            value = -1.0
        if name not in OBJECTIVES or name in weights or not 0 < value < float("inf"):
            raise UserError(
                "{field:objective} takes {objectives}, or several with positive weights (mlm=2,unilm=1). "
                "Received: {text!r}.",
                objectives=", ".join(OBJECTIVES),
                text=text,
            )
        weights[name] = value
    total = sum(weights.values())
    return {name: weight / total for name, weight in weights.items()}
