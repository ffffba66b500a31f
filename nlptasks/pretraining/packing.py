"""Documents to rows: sentences, tokens with word starts, and as many whole sentences to a row as fit.

The packing is bert4keras' (`pretraining/data_utils.py`): sentence after sentence goes into the row until the next would
not fit, across documents. A sentence that is longer than a row starts a row and is cut at word starts, where bert4keras
drops its rest.
"""

from bisect import bisect_right
from collections import Counter
from collections.abc import Iterable, Iterator

import numpy as np

from nlptasks.errors import UserError
from nlptasks.pretraining.shards import DOCUMENT_START, WORD_START, Row, encode_row, id_bytes_for
from nlptasks.pretraining.tokens import LineTokenizer
from nlptasks.pretraining.words import WordCutter
from nlptasks.text import TextTokenizer
from nlptasks.text.sentences import sentence_ends, split_sentences

CHUNK = 1 << 16
"""about how many characters are worked on at a time"""
SHORTEST_ROW = 8
_FLAGS = WORD_START | DOCUMENT_START
COUNTS = {
    "documents": "documents",
    "empty_documents": "documents without a token",
    "characters": "characters",
    "sentences": "sentences",
    "rows": "rows",
    "tokens": "tokens of the text, [CLS] and [SEP] not counted",
    "unknown_tokens": "of which [UNK]",
    "split_sentences": "sentences longer than a row, which go on in the next",
    "split_words": "rows that end within a word, because it is longer than a row",
}
"""what is counted, and what it means"""


def too_short(seq_length: int) -> UserError:
    """The error for rows that are too short to hold text."""
    return UserError(
        "{field:seq_length} must be at least {least}: a row is [CLS], text and [SEP]. Received: {seq_length}.",
        least=SHORTEST_ROW,
        seq_length=seq_length,
    )


class Packer:
    """Makes the records of one shard out of documents, in order.

    Args:
        tokenizer: encodes the text.
        cut_words: says where words start.
        seq_length: the most tokens of a row, [CLS] and [SEP] counted.

    Attributes:
        counts: see `COUNTS`.

    Raises:
        ValueError: ``seq_length`` below 8.
    """

    def __init__(self, tokenizer: TextTokenizer, cut_words: WordCutter, seq_length: int):
        if seq_length < SHORTEST_ROW:
            raise too_short(seq_length)
        self.counts: Counter[str] = Counter(dict.fromkeys(COUNTS, 0))
        self._room = seq_length - 2
        self._encode, self._cut_words = LineTokenizer(tokenizer), cut_words
        self._id_bytes = id_bytes_for(tokenizer.vocab_size)
        self._cls, self._sep, self._unk = tokenizer.cls_id, tokenizer.sep_id, tokenizer.unk_id

    def records(self, documents: Iterable[str]) -> Iterator[bytes]:
        """The records of all rows; `counts` describes them once the last one is out."""
        self.counts = Counter(dict.fromkeys(COUNTS, 0))
        ids, flags, ends = np.zeros(0, "int32"), np.zeros(0, "uint8"), np.zeros(0, "int64")
        whole = True  # whether the last row ended with a sentence
        for parts in _batches(documents):
            new_ids, new_flags, new_ends = self._tokens(parts)
            ends = np.concatenate([ends, new_ends + len(ids)])
            ids, flags = np.concatenate([ids, new_ids]), np.concatenate([flags, new_flags])
            start, listed = 0, ends.tolist()
            while len(ids) - start > self._room:
                stop = self._row_end(flags, listed, start, whole)
                whole = listed[bisect_right(listed, stop) - 1] == stop
                yield self._record(ids[start:stop], flags[start:stop])
                start = stop
            ids, flags, ends = ids[start:], flags[start:], ends[ends > start] - start
        if len(ids):
            yield self._record(ids, flags)

    def _tokens(self, parts: list[tuple[str, bool]]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Ids, flags, and where sentences end, of parts of documents (text, whether its document starts here)."""
        texts = ["\n".join(split_sentences(text)) for text, _ in parts]
        joined = "\n".join(texts)
        tokens = self._encode(joined)
        word_numbers = np.cumsum(self._cut_words(joined))[tokens.begins]
        starts_word = np.diff(word_numbers, prepend=-1) > 0
        line_ends = np.flatnonzero(np.frombuffer(joined.encode("utf-32-le", "surrogatepass"), "uint32") == 10)
        ends = np.unique(np.append(np.searchsorted(tokens.begins, line_ends), len(tokens.ids)))
        ends = ends[ends > 0]
        flags = (starts_word & ~tokens.continues) * np.uint8(WORD_START)
        first = np.cumsum([0, *(len(text) + 1 for text in texts)])
        first = np.searchsorted(tokens.begins, first)
        new = np.array([is_new for _, is_new in parts])
        at = first[:-1][new]
        flags[at[at < len(flags)]] |= DOCUMENT_START  # a document without tokens leaves its flag to the next
        self.counts.update(
            characters=sum(len(text) for text, _ in parts),
            sentences=len(ends),
            tokens=len(tokens.ids),
            unknown_tokens=int(np.count_nonzero(tokens.ids == self._unk)),
            documents=int(new.sum()),
            empty_documents=int((new & (first[1:] == first[:-1])).sum()),
        )
        return tokens.ids, flags, ends

    def _row_end(self, flags: np.ndarray, ends: list[int], start: int, whole: bool) -> int:
        """Where the row that starts at token `start` ends: behind its last whole sentence, or within a longer one."""
        last = start + self._room
        at = bisect_right(ends, last)
        if at and ends[at - 1] > start:
            return ends[at - 1]
        self.counts["split_sentences"] += whole
        words = np.flatnonzero(flags[start + 1 : last + 1] & WORD_START)
        if len(words):
            return start + 1 + int(words[-1])
        self.counts["split_words"] += 1
        flags[last] |= WORD_START  # what is left of the word is one of its own
        return last

    def _record(self, ids: np.ndarray, flags: np.ndarray) -> bytes:
        self.counts["rows"] += 1
        token_ids = np.concatenate([[self._cls], ids, [self._sep]])
        flags = np.concatenate([[_FLAGS], flags, [WORD_START]])
        flags[1] &= WORD_START  # [CLS] stands for the first document already
        return encode_row(Row(token_ids, flags & WORD_START != 0, flags & DOCUMENT_START != 0), self._id_bytes)


def _batches(documents: Iterable[str]) -> Iterator[list[tuple[str, bool]]]:
    """Parts of documents in lists of about CHUNK characters; a longer document comes in parts that end sentences."""
    batch: list[tuple[str, bool]] = []
    size = 0
    for document in documents:
        start = 0
        while True:
            stop = _part_end(document, start)
            batch.append((document[start:stop], start == 0))
            size += stop - start
            if size >= CHUNK:
                yield batch
                batch, size = [], 0
            if stop == len(document):
                break
            start = stop
    if batch:
        yield batch


def _part_end(text: str, start: int) -> int:
    """Where the part of a document that starts at `start` ends: at most CHUNK characters on, behind a sentence."""
    if len(text) - start <= CHUNK:
        return len(text)
    stop = max(text.rfind("\n", start, start + CHUNK), start)
    for end in sentence_ends(text, start, start + CHUNK):
        if end < start + CHUNK:  # there, what closes the sentence may follow
            stop = max(stop, end)
    return stop if stop > start else start + CHUNK
