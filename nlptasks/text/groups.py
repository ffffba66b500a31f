"""Readers of groups of sentences with the same meaning, and of pairs."""

from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from nlptasks.errors import UserError
from nlptasks.files import PathLike, read_lines


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

    @property
    def is_single(self) -> bool:
        """Whether no group has two sentences."""
        return len(self.sentences) == self.count

    def select(self, wanted: np.ndarray) -> "Groups":
        """The sentences where `wanted` (bool) is true, groups counted anew."""
        chosen = np.flatnonzero(wanted)
        labels = np.unique(self.labels[chosen], return_inverse=True)[1]
        return Groups([self.sentences[i] for i in chosen], labels, self.notes)

    def hold_out(self, every: int) -> tuple["Groups", "Groups"]:
        """Without every nth group, and those groups alone.

        Returns:
            The kept groups and the held-out ones; a sentence that stands in both stays in the held-out ones only.
        """
        out = self.labels % every == every - 1
        held = {self.sentences[i] for i in np.flatnonzero(out)}
        kept = np.array([sentence not in held for sentence in self.sentences], bool) & ~out
        return self.select(kept), self.select(out)


@dataclass(frozen=True)
class Pairs:
    """Pairs of sentences.

    Attributes:
        first, second: the sentences.
        labels: int64, 1 where they mean the same, else 0.
    """

    first: list[str]
    second: list[str]
    labels: np.ndarray


def read_pairs(path: PathLike) -> Pairs:
    """Pairs of a file: text, text, and 1 or 0, separated by tabs.

    Raises:
        ValueError, FileNotFoundError: one line that names the file and the line.
    """
    rows = []
    for number, fields in _rows(path, 3, "text, text, 0 or 1"):
        if fields[2] not in ("0", "1"):
            raise ValueError(
                f"{path}:{number}: the third field must be 1 (same meaning) or 0. Received: {fields[2]!r}; correct it."
            )
        rows.append(fields)
    first, second, labels = zip(*rows, strict=True)
    return Pairs(list(first), list(second), np.array(labels, "int64"))


def read_groups(paths: Sequence[PathLike], leave_out: Iterable[str] = ()) -> Groups:
    """Groups of files: lines `group, text`, or lines `text, text, 0 or 1`, whose positive pairs are chained.

    Groups with the same name in two files are different ones. A sentence counts once in its group; one that stands in
    several groups stays in each. Both are counted in the notes, and so are groups of one sentence.

    Args:
        leave_out: sentences that are passed over, with the pairs that hold them.

    Raises:
        ValueError, FileNotFoundError: one line that names the file and the line; no group has two sentences.
    """
    leave_out = frozenset(leave_out)
    notes: list[str] = []
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
    names = ", ".join(map(str, paths))
    groups = _make_groups(members.values(), notes)
    if groups.is_single:
        raise ValueError(f"{names}: no group has two sentences; lines `group TAB text` of one group share its name.")
    single = int((np.bincount(groups.labels) == 1).sum())
    repeated = sum(n > 1 for n in Counter(groups.sentences).values())
    notes.append(
        f"{names}: {len(groups.sentences)} sentences in {groups.count} groups, {single} groups of one sentence, "
        f"{repeated} sentences in more than one group"
    )
    return groups


def groups_of(groups: Iterable[Iterable[str]], leave_out: Iterable[str] = ()) -> Groups:
    """Groups that stand in memory, as `read_groups` gives those of a file.

    Args:
        groups: the sentences of each.
        leave_out: sentences that are passed over; a group of which nothing is left is none.

    Raises:
        UserError: a sentence is empty, or no group has two sentences.
    """
    leave_out = frozenset(leave_out)
    members = []
    for number, group in enumerate(groups, 1):
        sentences = list(group)
        if isinstance(group, str) or not all(isinstance(sentence, str) for sentence in sentences):
            raise TypeError(f"group {number}: expected the sentences of a group. Received: {group!r:.60}.")
        if not all(sentence.strip() for sentence in sentences):
            raise UserError("group {number}: a sentence is empty; write it or leave it out.", number=number)
        members.append(dict.fromkeys(sentence for sentence in sentences if sentence not in leave_out))
    found = _make_groups([group for group in members if group], [])
    if found.is_single:
        raise UserError("no group has two sentences; a group holds sentences that mean the same.")
    return found


def _make_groups(members: Collection[Mapping[str, None]], notes: list[str]) -> Groups:
    sentences = [sentence for group in members for sentence in group]
    sizes = np.array([len(group) for group in members], "int64")
    return Groups(sentences, np.repeat(np.arange(len(members)), sizes), notes)


def _rows(path: PathLike, count: int, names: str) -> Iterator[tuple[int, list[str]]]:
    """The numbers of the lines and their fields, as many as `names` says; texts are checked."""
    for number, line in read_lines(path):
        fields = line.split("\t")
        if len(fields) != count:
            raise ValueError(
                f"{path}:{number}: expected {count} tab-separated fields ({names}). Received: {len(fields)}; "
                "correct the line."
            )
        for text in fields[1:] if count == 2 else fields[:2]:
            if not text.strip():
                raise ValueError(f"{path}:{number}: a sentence is empty; write it or remove the line.")
        yield number, fields


def _field_count(path: PathLike) -> int:
    """2 for groups, 3 for pairs, by the first line."""
    number, line = next(iter(read_lines(path)))
    count = line.count("\t") + 1
    if count not in (2, 3):
        raise ValueError(
            f"{path}:{number}: expected `group TAB text` or `text TAB text TAB 0 or 1`. Received: {count} fields; "
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
