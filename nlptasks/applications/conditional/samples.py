"""Texts under conditions as training samples: cut at sentence ends, conditions dropped now and then.

Legend: B batch, T position, J label column, C size of a condition.
"""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, NotRequired, TypedDict

import numpy as np

from nlptasks.applications.examples import ShuffledBatches, padded_width
from nlptasks.text import TextTokenizer
from nlptasks.text.batches import pad
from nlptasks.text.sentences import sentence_ends

if TYPE_CHECKING:
    from nlptasks.applications.conditional.generator import ConditionalGenerator


class ConditionalBatch(TypedDict):
    """Padded arrays of one batch."""

    token_ids: np.ndarray  # int32 (B, T): what is read
    target_ids: np.ndarray  # int32 (B, T): the token that follows each
    target_weights: np.ndarray  # float32 (B, T): 1 where that is a token of the text or its closing [SEP]
    label_ids: NotRequired[np.ndarray]  # int32 (B, J), 0: none
    vectors: NotRequired[np.ndarray]  # float32 (B, C), zeros: none


def cut_texts(tokenizer: TextTokenizer, texts: Sequence[str], room: int) -> tuple[list[np.ndarray], list[bool]]:
    """The tokens of the longest whole sentences at the beginning of each text that fit.

    Args:
        room: most tokens, the closing `[SEP]` included.

    Returns:
        Ids, closed by `[SEP]`, and whether something was left out. A first sentence that alone does not fit is cut
        where the room ends and has no `[SEP]`: a text does not end there.

    Raises:
        ValueError: a text is empty, or has no token.
    """
    found, cut = [], []
    for index, (text, encoding) in enumerate(zip(texts, tokenizer.encode_batch(texts), strict=True)):
        ids = encoding.token_ids[1:]
        if len(ids) < 2:
            raise ValueError(f"text {index} is empty; there is nothing to learn from.")
        cut.append(len(ids) > room)
        if cut[-1]:
            assert encoding.offsets is not None  # asked for by default
            ends = encoding.offsets[1:-1, 1]
            fits = np.searchsorted(ends, list(sentence_ends(text, full_stops=True, lines=True)), "right")
            kept = max(fits[fits < room], default=0)
            ids = np.append(ids[:kept], ids[-1]) if kept else ids[:room]
        found.append(ids)
    return found, cut


def pieces_of(tokenizer: TextTokenizer, text: str, room: int) -> list[str]:
    """A text in pieces of as many whole sentences as fit; a sentence that is longer is cut where the room ends.

    Args:
        room: most tokens of a piece, the closing `[SEP]` included.
    """
    encoding = tokenizer.encode(text)
    assert encoding.offsets is not None  # asked for by default
    before, after = len(tokenizer.template.before), len(tokenizer.template.after)
    ends = encoding.offsets[before : len(encoding) - after, 1]  # of the tokens, in characters
    stops = np.searchsorted(ends, list(sentence_ends(text, full_stops=True, lines=True)), "right")
    pieces, start, first = [], 0, 0
    while first < len(ends):
        fitting = stops[(stops > first) & (stops < first + room)]
        last = len(ends) if len(ends) < first + room else max(fitting, default=first + room - 1)
        stop = len(text) if last == len(ends) else int(ends[last - 1])
        pieces.append(text[start:stop].strip())
        start, first = stop, int(last)
    return pieces or [text]


def lm_arrays(
    prefixes: Sequence[Sequence[int]],
    texts: Sequence[Sequence[int] | np.ndarray],
    count: int,
    limit: int,
    pad_id: int = 0,
) -> ConditionalBatch:
    """A batch without conditions, of texts behind prefixes that are read and not predicted."""
    rows = [np.concatenate([prefix, text]) for prefix, text in zip(prefixes, texts, strict=True)]
    width = padded_width(max(map(len, rows)) - 1, limit)
    batch = ConditionalBatch(
        token_ids=pad([row[:-1] for row in rows], width, count, pad_id),
        target_ids=pad([row[1:] for row in rows], width, count),
        target_weights=np.zeros((count, width), "float32"),
    )
    for row, (prefix, text) in enumerate(zip(prefixes, texts, strict=True)):
        batch["target_weights"][row, len(prefix) - 1 : len(prefix) - 1 + len(text)] = 1.0
    return batch


class ConditionalExamples(ShuffledBatches):
    """Training texts with their conditions, as batches.

    Args:
        writer: a `ConditionalGenerator`; it makes arrays of texts and conditions.
        texts: the texts.
        conditions: rows of label ids `(N, J)` or of vectors `(N, C)`; None: none.
        label_dropout: how often a text is shown without its condition; with several label columns each label is
            also left out apart, as often.
        seed: of the order and of what is left out.

    Attributes:
        num_cut: texts of which a part is not read.
    """

    def __init__(
        self,
        writer: "ConditionalGenerator",
        texts: Sequence[str],
        conditions: np.ndarray | None,
        label_dropout: float = 0.0,
        seed: int = 0,
    ):
        if not 0.0 <= label_dropout < 1.0:
            raise ValueError(f"label_dropout must lie in [0, 1). Received: label_dropout={label_dropout}.")
        self.writer, self.label_dropout = writer, label_dropout
        self.texts, cut = writer.encode(texts)
        self.num_cut = sum(cut)
        self.conditions = conditions
        super().__init__([len(text) for text in self.texts], seed)

    def arrays(self, batch: tuple[int, np.ndarray], batch_size: int) -> ConditionalBatch:
        """One of `batches`, filled up to `batch_size` rows."""
        epoch, indices = batch
        conditions = self.conditions
        if conditions is not None:
            conditions = conditions[indices] * self._shown(epoch, indices, conditions)
        return self.writer.arrays([self.texts[i] for i in indices], conditions, batch_size)

    def batches(self, epoch: int, size: int) -> list[tuple[int, np.ndarray]]:
        """The epoch, which decides what is left out, and the indices of the texts of each batch."""
        return [(epoch, indices) for indices in super().batches(epoch, size)]

    def weight(self, arrays: Mapping[str, np.ndarray]) -> float:
        """How many tokens are predicted in a batch."""
        return arrays["target_weights"].sum()

    def _shown(self, epoch: int, indices: np.ndarray, conditions: np.ndarray) -> np.ndarray:
        """0 where a condition, or one label of it, is left out; a function of seed, epoch and text alone."""
        columns = conditions.shape[1] if self.writer.conditions.labels else 1
        random = np.random.default_rng([self.seed, epoch, 1])
        draws = random.random((len(conditions), 1 + columns))[indices] >= self.label_dropout
        shown = draws[:, :1] & draws[:, 1:] if columns > 1 else draws[:, :1]
        return shown.astype(conditions.dtype)
