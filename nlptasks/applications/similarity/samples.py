"""Groups of sentences with the same meaning: read, checked, held out, and made into batches."""

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from nlptasks.files import read_lines
from nlptasks.text.batches import length_sorted_batches, pad, round_up

WIDTH = 4
"""what the width of a batch is a multiple of"""


@dataclass(frozen=True)
class Groups:
    """Sentences and the group each belongs to.

    Attributes:
        sentences: the texts.
        labels: int64, the group of each, 0 to `count - 1`.
        notes: what the reader of a file may want to know, a line each.
    """

    sentences: list[str]
    labels: np.ndarray
    notes: list[str] = field(default_factory=list)

    @property
    def count(self) -> int:
        """How many groups there are."""
        return int(self.labels.max()) + 1 if len(self.labels) else 0

    def select(self, wanted: np.ndarray) -> "Groups":
        """The sentences where `wanted` (bool) is true, groups counted anew."""
        chosen = np.flatnonzero(wanted)
        labels = np.unique(self.labels[chosen], return_inverse=True)[1]
        return Groups([self.sentences[i] for i in chosen], labels, self.notes)

    def hold_out(self, every: int) -> tuple["Groups", "Groups"]:
        """Without every so manieth group, and those alone; sentences that stand in both stay in the second only."""
        out = self.labels % every == every - 1
        held = {self.sentences[i] for i in np.flatnonzero(out)}
        kept = np.array([sentence not in held for sentence in self.sentences], bool) & ~out
        return self.select(kept), self.select(out)


@dataclass(frozen=True)
class Pairs:
    """Pairs of sentences; `labels` is 1 where they mean the same, else 0."""

    first: list[str]
    second: list[str]
    labels: np.ndarray


def read_pairs(path: str | Path) -> Pairs:
    """Pairs of a file: text, text, and 1 or 0, separated by tabs.

    Raises:
        ValueError, FileNotFoundError: one line that names the file and the line.
    """
    rows = []
    for number, fields in _rows(path, 3, "text, text, 0 or 1"):
        if fields[2] not in ("0", "1"):
            raise ValueError(
                f"{path}:{number}: the third field must be 1 (same meaning) or 0, received {fields[2]!r}; correct it."
            )
        rows.append(fields)
    first, second, labels = zip(*rows, strict=True)
    return Pairs(list(first), list(second), np.array(labels, "int64"))


def read_groups(paths: Sequence[str | Path], leave_out: Iterable[str] = ()) -> Groups:
    """Groups of files: lines `group, text`, or lines `text, text, 0 or 1`, whose positive pairs are chained.

    Groups with the same name in two files are different ones. A sentence counts once in its group; one that stands in
    several groups stays in each. Both are counted in the notes, and so are groups of one sentence.

    Args:
        leave_out: sentences that are passed over, with the pairs that hold them.

    Raises:
        ValueError, FileNotFoundError: one line that names the file and the line; no group has two sentences.
    """
    leave_out, notes = frozenset(leave_out), []
    members: dict[object, dict[str, None]] = {}
    for path in paths:
        if _field_count(path) == 2:
            for number, (group, sentence) in _rows(path, 2, "group, text"):
                if not group.strip():
                    raise ValueError(f"{path}:{number}: the group is empty; give it a name.")
                if sentence not in leave_out:
                    members.setdefault((str(path), group), {})[sentence] = None
        else:
            pairs = read_pairs(path)
            chained = _chain(pairs, leave_out)
            members |= {(str(path), root): dict.fromkeys(sentences) for root, sentences in chained.items()}
            notes.append(
                f"{path}: {int(pairs.labels.sum())} of {len(pairs.labels)} pairs have the same meaning and make "
                f"{len(chained)} groups"
            )
    sentences = [sentence for group in members.values() for sentence in group]
    labels = np.repeat(np.arange(len(members)), [len(group) for group in members.values()])
    names = ", ".join(map(str, paths))
    single = sum(len(group) == 1 for group in members.values())
    if single == len(members):
        raise ValueError(f"{names}: no group has two sentences; lines `group TAB text` of one group share its name.")
    repeated = sum(n > 1 for n in Counter(sentences).values())
    notes.append(
        f"{names}: {len(sentences)} sentences in {len(members)} groups, {single} groups of one sentence, "
        f"{repeated} sentences in more than one group"
    )
    return Groups(sentences, labels, notes)


def _rows(path, count, names):
    for number, line in read_lines(path):
        fields = line.split("\t")
        if len(fields) != count:
            raise ValueError(
                f"{path}:{number}: expected {count} tab-separated fields ({names}), received {len(fields)}; "
                "correct the line."
            )
        for text in fields[1:] if count == 2 else fields[:2]:
            if not text.strip():
                raise ValueError(f"{path}:{number}: a sentence is empty; write it or remove the line.")
        yield number, fields


def _field_count(path) -> int:
    number, line = next(iter(read_lines(path)))
    count = line.count("\t") + 1
    if count not in (2, 3):
        raise ValueError(
            f"{path}:{number}: expected `group TAB text` or `text TAB text TAB 0 or 1`, received {count} fields; "
            "correct the line."
        )
    return count


def _chain(pairs: Pairs, leave_out: frozenset[str]) -> dict[str, list[str]]:
    """Sentences joined by positive pairs, by the first one of each group."""
    root: dict[str, str] = {}

    def find(sentence: str) -> str:
        path = []
        while root.setdefault(sentence, sentence) != sentence:
            path.append(sentence)
            sentence = root[sentence]
        for passed in path:
            root[passed] = sentence
        return sentence

    for a, b, label in zip(pairs.first, pairs.second, pairs.labels, strict=True):
        if label and a not in leave_out and b not in leave_out:
            root[find(b)] = find(a)
    groups: dict[str, list[str]] = {}
    for sentence in list(root):
        groups.setdefault(find(sentence), []).append(sentence)
    return groups


class GroupExamples:
    """Batches of sentences and the groups they belong to.

    Args:
        token_ids: ids of each sentence.
        labels: its group.
        token_drop: share of the tokens that are read as unknown while training, others in every epoch.
        order_noise: tokens change places with others that are nearer than so many places, otherwise in every epoch; 0
            and 1 leave them in their order.
        unknown_id: the id of an unknown token.
        edges: tokens at both ends that are never dropped or moved.
        limit: batches are not rounded up beyond this width.
        seed: of shuffling, dropping and moving.
    """

    def __init__(
        self,
        token_ids: Sequence[np.ndarray],
        labels: np.ndarray,
        token_drop: float = 0.0,
        unknown_id: int = 1,
        edges: int = 0,
        limit: int | None = None,
        seed: int = 0,
        order_noise: float = 0.0,
    ):
        if not order_noise >= 0.0:
            raise ValueError(f"order_noise must be at least 0. Received: {order_noise=}.")
        if not 0.0 <= token_drop < 1.0:
            raise ValueError(f"token_drop must lie in [0, 1). Received: {token_drop=}.")
        self.token_ids, self.labels, self.seed = token_ids, labels, seed
        self._token_drop, self._unknown_id, self._edges, self._limit = token_drop, unknown_id, edges, limit
        self._lengths = np.array([len(ids) for ids in token_ids])
        self._order_noise = order_noise

    def __len__(self) -> int:
        return len(self.token_ids)

    def batches(self, epoch: int, batch_size: int) -> list[tuple[int, int, np.ndarray]]:
        """(epoch, number, indices) of the batches of an epoch; sentences of similar length together."""
        random = np.random.default_rng([self.seed, epoch])
        groups = length_sorted_batches(self._lengths, batch_size, random, window=20)
        return [(epoch, number, indices) for number, indices in enumerate(groups)]

    def arrays(self, batch: tuple[int, int, np.ndarray], batch_size: int) -> dict[str, np.ndarray]:
        """`token_ids` (B, T), `labels` (B,) and `weights` (B,), 0 for rows beyond the data."""
        epoch, number, indices = batch
        random = np.random.default_rng([self.seed, epoch, number])
        width = round_up(int(self._lengths[indices].max()), WIDTH, self._limit)
        token_ids = pad([self.token_ids[i] for i in indices], width, batch_size)
        position = np.arange(width)[None]
        lengths = np.zeros((batch_size, 1), "int64")
        lengths[: len(indices), 0] = self._lengths[indices]
        inside = (position >= self._edges) & (position < lengths - self._edges)
        if self._token_drop:
            token_ids[(random.random(token_ids.shape) < self._token_drop) & inside] = self._unknown_id
        if self._order_noise:
            moved = np.where(inside, random.random(token_ids.shape), position >= self._edges)  # what is behind stays so
            places = position + self._order_noise * moved
            token_ids = np.take_along_axis(token_ids, np.argsort(places, axis=1, kind="stable"), axis=1)
        token_ids[len(indices) :, 0] = self._unknown_id
        labels, weights = np.zeros(batch_size, "int32"), np.zeros(batch_size, "float32")
        labels[: len(indices)], weights[: len(indices)] = self.labels[indices], 1.0
        return {"token_ids": token_ids, "labels": labels, "weights": weights}
