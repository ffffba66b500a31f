"""Segmented sentences -> training batches for the segmentation network."""

import re
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from nlptasks.applications.segmentation.runtime import Runtime
from nlptasks.applications.segmentation.viterbi import B, E, M, S
from nlptasks.applications.segmentation.vocab import (
    FIRST_CHARACTER,
    FIRST_PAIR,
    PAD,
    UNKNOWN,
    UNKNOWN_PAIR,
    UnitVocab,
)
from nlptasks.text.batches import round_up
from nlptasks.text.segmented import word_starts
from nlptasks.text.units import LINE_END, Units, code_points, split_units

LONGEST, WIDTH = 256, 16
"""units of a training row at most, and what its width is a multiple of"""
MASK, NUMBER = "L", "0"
"""what stands for a word of more than four characters, and for a number, in normalized files"""
_NUMBERS = ("0", "0", "0", "0", "0", "0", "0", "0.0", "0%", "0.0%")
_LONG_WORD = re.compile(r"[\u4e00-\u9fff·]{5,}")


def undo_normalization(
    sentences: Sequence[Sequence[str]], long_words: Sequence[str], random: np.random.Generator
) -> list[list[str]]:
    """Sentences of a normalized file as raw text might have read.

    A masked word becomes a random long word of other files, so that the model sees what such words look like, and some
    numbers get a decimal part or a percent sign.
    """

    def word(normal: str) -> str:
        if normal == MASK and long_words:
            return long_words[int(random.integers(len(long_words)))]
        return re.sub(NUMBER, lambda _: _NUMBERS[int(random.integers(len(_NUMBERS)))], normal)

    return [[word(normal) for normal in sentence] for sentence in sentences]


def long_words(sentences: Sequence[Sequence[str]]) -> list[str]:
    """The words of five ideographs or more."""
    return [word for sentence in sentences for word in sentence if _LONG_WORD.fullmatch(word)]


def join_some(sentences: Sequence[Sequence[str]], share: float, random: np.random.Generator) -> list[list[str]]:
    """Joins some sentences to the next one with a space, because raw texts have spaces and the corpora have none."""
    joined: list[list[str]] = []
    glue = random.random(len(sentences)) < share
    for i, sentence in enumerate(sentences):
        if i and glue[i]:
            joined[-1] = [*joined[-1], " ", *sentence]
        else:
            joined.append(list(sentence))
    return joined


def gold_tags(words: Sequence[str]) -> tuple[Units, np.ndarray]:
    """The units of a sentence and the tag of each; a word end inside a unit is lost."""
    units = split_units(code_points("".join(words)))
    is_start = np.zeros(units.length + 1, bool)
    is_start[word_starts(words)] = is_start[units.length] = True
    first = is_start[units.starts]
    last = np.append(first[1:], True)
    return units, np.where(first, np.where(last, S, B), np.where(last, E, M))


class Row(NamedTuple):
    """A training row: where its units stand in the flat arrays, and its standard."""

    start: int
    stop: int
    standard_id: int


Batch = tuple[int, int, list[int]]
"""epoch, number, and the rows of a batch"""


class SegmentationExamples:
    """Batches of sentences.

    In training, rare units and pairs are sometimes read as unknown, rarer ones more often, so that the model learns to
    work without them.

    Args:
        sentences: units, tags and standard id of each.
        vocab: gives their ids.
        unit_drop, pair_drop: a unit seen n times is dropped with probability drop / (drop + n), a pair likewise.
        seed: of dropping and shuffling.
    """

    def __init__(
        self,
        sentences: Sequence[tuple[Units, np.ndarray, int]],
        vocab: UnitVocab,
        unit_drop: float = 0.3,
        pair_drop: float = 0.2,
        seed: int = 0,
    ) -> None:
        self.vocab, self.seed = vocab, seed
        ids = [vocab.unit_ids(units) for units, _, _ in sentences]
        bounds = np.cumsum([0, *map(len, ids)])
        self._kinds = np.concatenate([units.kinds for units, _, _ in sentences])
        self._codes = np.concatenate([units.codes for units, _, _ in sentences])
        self.unit_ids = np.concatenate(ids)
        self.targets = np.eye(4, dtype="float32")[np.concatenate([tags for _, tags, _ in sentences])]
        self.soft_targets: np.ndarray | None = None
        self.own_share = 1.0
        self.rows = [
            Row(at, min(at + LONGEST, stop), standard_id)
            for start, stop, (_, _, standard_id) in zip(bounds[:-1], bounds[1:], sentences, strict=True)
            for at in range(start, stop, LONGEST)
        ]
        self._unit_drop = _drop_rates(self.unit_ids, vocab.unit_count, unit_drop, FIRST_CHARACTER)
        pairs = np.concatenate([vocab.pair_ids(row) for row in ids])
        self._pair_drop = _drop_rates(pairs, vocab.pair_count, pair_drop, FIRST_PAIR)

    def __len__(self) -> int:
        """How many rows there are: sentences, long ones cut."""
        return len(self.rows)

    def learn_from(self, teachers: Sequence[Runtime], own_share: float, teacher_share: float) -> None:
        """Makes distributions of other models the targets, for every sentence under every standard.

        Args:
            teachers: their mean is the target.
            own_share: how often a sentence is read under its own standard and not under a random one.
            teacher_share: their share of the target under its own standard; the annotated tags are the rest.
        """
        soft = np.zeros((len(teachers[0].config.standards), *self.targets.shape), "float16")
        starts = np.array([row.start for row in self.rows])
        at = np.arange(len(self.unit_ids)) + np.searchsorted(starts, np.arange(len(self.unit_ids)), side="right")
        kinds = np.full(at[-1] + 1, LINE_END, "uint8")  # one between two rows: they do not see each other
        codes = np.zeros(len(kinds), "uint32")
        kinds[at], codes[at] = self._kinds, self._codes
        everything = Units(np.arange(len(kinds)), kinds, codes, len(kinds))
        for teacher in teachers:
            unit_ids = teacher.vocab.unit_ids(everything)
            for standard_id in range(len(soft)):
                soft[standard_id] += _softmax(teacher.scores(unit_ids, standard_id)[at]) / len(teachers)
        for row in self.rows:
            part, gold = soft[row.standard_id, row.start : row.stop], self.targets[row.start : row.stop]
            part[:] = teacher_share * part.astype("float32") + (1 - teacher_share) * gold
        self.soft_targets, self.own_share = soft, own_share

    def num_batches(self, epoch: int, batch_units: int) -> int:
        """How many batches an epoch has; which rows come together, and so this, differs from epoch to epoch."""
        return len(self.batches(epoch, batch_units))

    def batches(self, epoch: int, batch_units: int) -> list[Batch]:
        """The batches of an epoch, as `arrays` takes them; rows of similar length together.

        Args:
            batch_units: units of a batch at most, padding included (one row may have more).
        """
        random = np.random.default_rng([self.seed, epoch])
        order = random.permutation(len(self.rows))
        groups: list[list[int]] = []
        for start in range(0, len(order), 4096):
            part = sorted(order[start : start + 4096].tolist(), key=lambda i: self.rows[i].start - self.rows[i].stop)
            while part:
                count = self._row_count(self.rows[part[0]], batch_units)
                groups.append(part[:count])
                part = part[count:]
        return [(epoch, number, groups[i]) for number, i in enumerate(random.permutation(len(groups)).tolist())]

    @staticmethod
    def _row_count(longest: Row, batch_units: int) -> int:
        return max(1, batch_units // round_up(longest.stop - longest.start, WIDTH))

    def weight(self, arrays: Sequence[np.ndarray]) -> float:
        """How many real units there are in a batch."""
        return float(np.count_nonzero(arrays[0] != PAD))

    def arrays(self, batch: Batch, batch_units: int) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
        """Unit ids (B, T), pair ids (B, T + 1), standard ids (B,) and target distributions (B, T, K)."""
        epoch, number, indices = batch
        random = np.random.default_rng([self.seed, epoch, number])
        rows = [self.rows[i] for i in indices]
        width = round_up(rows[0].stop - rows[0].start, WIDTH)
        count = self._row_count(rows[0], batch_units)
        unit_ids = np.zeros((count, width), "int32")
        standard_ids = np.zeros(count, "int32")
        targets = np.zeros((count, width, 4), "float32")
        for i, row in enumerate(rows):
            length = row.stop - row.start
            standard_id, chosen = row.standard_id, self.targets
            if self.soft_targets is not None:
                if random.random() > self.own_share:
                    standard_id = int(random.integers(len(self.soft_targets)))
                chosen = self.soft_targets[standard_id]
            unit_ids[i, :length], targets[i, :length] = (
                self.unit_ids[row.start : row.stop],
                chosen[row.start : row.stop],
            )
            standard_ids[i] = standard_id
        pair_ids = self.vocab.pair_ids(unit_ids)
        unit_ids[random.random(unit_ids.shape) < self._unit_drop[unit_ids]] = UNKNOWN
        pair_ids[random.random(pair_ids.shape) < self._pair_drop[pair_ids]] = UNKNOWN_PAIR
        return unit_ids, pair_ids, standard_ids, targets


def _drop_rates(ids: np.ndarray, count: int, drop: float, first: int) -> np.ndarray:
    rates = drop / (drop + np.bincount(ids, minlength=count)) if drop else np.zeros(count)
    rates[:first] = 0.0
    return rates


def _softmax(scores: np.ndarray) -> np.ndarray:
    shifted = np.exp(scores - scores.max(axis=-1, keepdims=True))
    return shifted / shifted.sum(axis=-1, keepdims=True)
