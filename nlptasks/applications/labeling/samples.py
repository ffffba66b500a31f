"""Texts with entities -> windows of tokens, tags and spans; and back to pieces of the text.

A window is a stretch of a text's tokens that the model reads at once. Positions here count the tokens of a window from
0, without [CLS] and [SEP].
"""

import re
from collections.abc import Sequence
from typing import NamedTuple, TypedDict

import numpy as np

from nlptasks.applications.examples import ShuffledBatches, padded_inputs, padded_width
from nlptasks.text import Encoding, TextTokenizer
from nlptasks.text.entities import Entity, EntityText
from nlptasks.text.sentences import sentence_ends

OUTSIDE = "O"
_PAUSES = re.compile(r"[，、,：:\s]")


class Window(NamedTuple):
    """A stretch of a text.

    Attributes:
        text: number of the text.
        encoding: its tokens; offsets count in the whole text.
    """

    text: int
    encoding: Encoding

    @property
    def offsets(self) -> np.ndarray:
        """Where the tokens stand, without [CLS] and [SEP], `(T, 2)`."""
        assert self.encoding.offsets is not None  # `cut_windows` asks for them
        return self.encoding.offsets[1:-1]


class Span(NamedTuple):
    """An entity in a window: first and last token, both included, and the number of its type."""

    first: int
    last: int
    type_id: int


def cut_windows(tokenizer: TextTokenizer, texts: Sequence[str], seq_length: int) -> list[Window]:
    """All tokens of the texts in windows of at most `seq_length` tokens, [CLS] and [SEP] included.

    A text that is too long is cut behind the last sentence end that fits, else behind the last comma or space, else
    anywhere. A text without tokens (spaces) has no window.
    """
    windows = []
    for number, (text, encoding) in enumerate(zip(texts, tokenizer.encode_batch(texts), strict=True)):
        assert encoding.offsets is not None  # asked for by default
        ids, offsets, room = encoding.token_ids[1:-1], encoding.offsets[1:-1], seq_length - 2
        start = 0
        while start < len(ids):
            stop = min(start + room, len(ids))
            if stop < len(ids):
                stop = start + _cut(text, offsets[start : stop + 1])
            part_ids = np.concatenate([[tokenizer.cls_id], ids[start:stop], [tokenizer.sep_id]]).astype("int32")
            part_offsets = np.concatenate([[[0, 0]], offsets[start:stop], [[0, 0]]]).astype("int32")
            windows.append(Window(number, Encoding(part_ids, np.zeros_like(part_ids), part_offsets)))
            start = stop
    return windows


def _cut(text: str, offsets: np.ndarray) -> int:
    """How many of the tokens, the last excepted, belong to the window."""
    first, next_start, next_end = int(offsets[0, 0]), int(offsets[-1, 0]), int(offsets[-1, 1])
    sentences = sentence_ends(text, first, next_end, semicolons=True, lines=True)
    pauses = (match.end() for match in _PAUSES.finditer(text, first, next_start))
    for ends in (sentences, pauses):
        last = max((end for end in ends if end <= next_start), default=first)
        if kept := int(np.searchsorted(offsets[:-1, 1], last, "right")):
            return kept
    return len(offsets) - 1


def window_spans(window: Window, entities: Sequence[Entity], types: Sequence[str]) -> list[Span]:
    """The entities of the text that begin at the beginning of a token of the window and end at the end of one."""
    starts = {int(start): i for i, (start, _) in enumerate(window.offsets)}
    ends = {int(end): i for i, (_, end) in enumerate(window.offsets)}
    found = [
        Span(starts[e.start], ends[e.end], types.index(e.type)) for e in entities if e.start in starts and e.end in ends
    ]
    return [span for span in found if span.first <= span.last]


def entities_of(
    text: str,
    window: Window,
    spans: Sequence[Span],
    types: Sequence[str],
    probabilities: Sequence[float] | None = None,
) -> list[Entity]:
    """The spans of a window as pieces of the text, with the probability of each where they are given."""
    found, known = [], [None] * len(spans) if probabilities is None else probabilities
    for (first, last, type_id), sure in zip(spans, known, strict=True):
        start, end = int(window.offsets[first][0]), int(window.offsets[last][1])
        found.append(Entity(start, end, types[type_id], text[start:end], sure))
    return found


def tag_names(types: Sequence[str]) -> list[str]:
    """The tags of the types: O, then B and I of each."""
    return [OUTSIDE] + [f"{letter}-{kind}" for kind in types for letter in "BI"]


def allowed_tags(num_types: int) -> tuple[np.ndarray, np.ndarray]:
    """Which tags may begin a text, bool (K,), and which may follow which, bool (K, K): an I follows its own B or I."""
    count = 1 + 2 * num_types
    inside = np.arange(count) % 2 == 0
    inside[0] = False
    kind = (np.arange(count) + 1) // 2
    return ~inside, ~inside[None, :] | (kind[:, None] == kind[None, :])


def spans_to_tags(spans: Sequence[Span], length: int) -> np.ndarray:
    """Numbers of BIO tags, int32 (length,); a span that overlaps one before it is left out, the longest come first."""
    tags = np.zeros(length, "int32")
    for first, last, type_id in sorted(spans, key=lambda span: (span.first - span.last, span)):
        if not tags[first : last + 1].any():
            tags[first : last + 1] = 2 + 2 * type_id
            tags[first] = 1 + 2 * type_id
    return tags


def tags_to_spans(tags: Sequence[int] | np.ndarray) -> list[Span]:
    """The spans of a sequence of BIO tags in which every I follows its own B or I."""
    spans: list[Span] = []
    for i, tag in enumerate(tags):
        if tag % 2 == 1:
            spans.append(Span(i, i, (int(tag) - 1) // 2))
        elif tag > 0:
            spans[-1] = spans[-1]._replace(last=i)
    return spans


class LabelingBatch(TypedDict):
    """Padded arrays of one batch; positions of tags and spans count from the first token behind [CLS]."""

    token_ids: np.ndarray  # int32 (B, T)
    segment_ids: np.ndarray  # int32 (B, T)
    mask: np.ndarray  # bool (B, T - 1): True at tokens of the text
    tags: np.ndarray  # int32 (B, T - 1): for a CRF
    spans: np.ndarray  # int32 (B, N, M): for a pointer: first * (T - 1) + last of each entity of a type, -1 fills
    weights: np.ndarray  # float32 (B,): 0 for rows that fill the batch


class LabelingExamples(ShuffledBatches):
    """Training texts with their entities, as batches.

    Args:
        tokenizer, seq_length: see `cut_windows`.
        texts: with entities of known types.
        types: the types in their order.
        flat: whether entities must not overlap (a CRF's); of those that do, the longest stays.
        seed: of the order.

    Attributes:
        num_lost: entities that cannot be learned: an edge inside a token, or a window's end inside.
        num_overlapping: entities left out because of `flat`.
        num_windows_cut: texts that are too long for one window.
    """

    def __init__(
        self,
        tokenizer: TextTokenizer,
        seq_length: int,
        texts: Sequence[EntityText],
        types: Sequence[str],
        flat: bool,
        seed: int = 0,
    ):
        self.seq_length, self.num_types, self.pad_id = seq_length, len(types), tokenizer.pad_id
        self.windows = cut_windows(tokenizer, [text.text for text in texts], seq_length)
        self.spans = [window_spans(window, texts[window.text].entities, types) for window in self.windows]
        found = sum(map(len, self.spans))
        self.num_lost = sum(len(text.entities) for text in texts) - found
        self.tags = [
            spans_to_tags(spans, len(window.offsets)) for window, spans in zip(self.windows, self.spans, strict=True)
        ]
        kept = sum(int((tags % 2 == 1).sum()) for tags in self.tags)
        self.num_overlapping = found - kept if flat else 0
        self.num_windows_cut = len(
            {w.text for w, v in zip(self.windows, self.windows[1:], strict=False) if w[0] == v[0]}
        )
        super().__init__([len(window.encoding) for window in self.windows], seed)

    def arrays(self, indices: np.ndarray, batch_size: int) -> LabelingBatch:
        """One batch, filled up to `batch_size` rows."""
        encodings = [self.windows[i].encoding for i in indices]
        token_ids, segment_ids = padded_inputs(encodings, batch_size, self.seq_length, self.pad_id)
        length = token_ids.shape[1] - 1
        tags = np.zeros((batch_size, length), "int32")
        grouped: list[list[list[int]]] = [[[] for _ in range(self.num_types)] for _ in range(batch_size)]
        for row, index in enumerate(indices):
            tags[row, : len(self.tags[index])] = self.tags[index]
            for first, last, type_id in self.spans[index]:
                grouped[row][type_id].append(first * length + last)
        # entities of a type are padded with the width: 4 at 16 tokens
        most = padded_width(4 * max(len(ids) for row in grouped for ids in row), 4 * length) // 4
        spans = np.full((batch_size, self.num_types, most), -1, "int32")
        for row, by_type in enumerate(grouped):
            for type_id, ids in enumerate(by_type):
                spans[row, type_id, : len(ids)] = ids
        weights = (np.arange(batch_size) < len(indices)).astype("float32")
        mask = text_mask(encodings, batch_size, length)
        return LabelingBatch(
            token_ids=token_ids, segment_ids=segment_ids, mask=mask, tags=tags, spans=spans, weights=weights
        )


def text_mask(encodings: Sequence[Encoding], count: int, length: int) -> np.ndarray:
    """True at the tokens of the texts, which stand behind [CLS] and before [SEP]: bool `(count, length)`."""
    lengths = np.zeros(count, "int32")
    lengths[: len(encodings)] = [len(encoding) - 2 for encoding in encodings]
    return np.arange(length)[None, :] < lengths[:, None]
