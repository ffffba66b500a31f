"""Questions with passages -> the reader's token sequences.

A sample is `[CLS] passage [SEP] question [SEP] answer [SEP]`, segment 1 on the answer and its closing `[SEP]`.
"""

import dataclasses
import itertools
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from nlptasks.models.seq2seq import TargetBatch, target_batch
from nlptasks.text import Encoding, Question, Tokenizer
from nlptasks.text.batches import length_sorted_batches

_COMMAS = str.maketrans(dict.fromkeys(" 、；，", ","))


@dataclass(frozen=True, kw_only=True)
class ReadingLengths:
    """Most tokens of each part of a sample, its special tokens included.

    Raises:
        ValueError: a part has no room for one token of text.
    """

    passage_length: int = 256
    """`[CLS]` passage `[SEP]`"""
    question_length: int = 64
    """question `[SEP]`"""
    answer_length: int = 32
    """answer `[SEP]`"""

    def __post_init__(self) -> None:
        for name, least in (("passage_length", 3), ("question_length", 2), ("answer_length", 2)):
            if getattr(self, name) < least:
                raise ValueError(f"{name} must be at least {least}. Received: {name}={getattr(self, name)}.")

    @property
    def total(self) -> int:
        """Most tokens of a whole sample: positions the model needs."""
        return self.passage_length + self.question_length + self.answer_length


def normalise(text: str) -> str:
    """Space, ideographic comma, semicolon and comma become `,`: one character for one, so offsets stay true.

    bert4keras' reader rewrites passages so; here answers are rewritten alike, or those with such a mark are lost.
    """
    return text.translate(_COMMAS)


def source_ids(passage: Encoding, question: Encoding) -> list[int]:
    """`[CLS] passage [SEP] question [SEP]`, from the encodings `[CLS] passage [SEP]` and `[CLS] question [SEP]`."""
    return [*passage.token_ids.tolist(), *question.token_ids[1:].tolist()]


def encode_sources(
    tokenizer: Tokenizer, lengths: ReadingLengths, passages: Sequence[str], questions: Sequence[str]
) -> tuple[list[Encoding], list[Encoding]]:
    """Encodings of normalised passages, and of questions (as `[CLS] question [SEP]`)."""
    return (
        tokenizer.encode_batch([normalise(p) for p in passages], max_length=lengths.passage_length),
        tokenizer.encode_batch(questions, max_length=lengths.question_length + 1),
    )


def find_answer(answers: Iterable[str], passage: str) -> str | None:
    """The first answer all of whose space-separated parts occur in `passage`, as the target: parts joined by `,`.

    Both are normalised alike, and compared without case where lower-casing keeps their length.
    """
    text = _comparable(normalise(passage))
    for answer in answers:
        parts = [normalise(part) for part in answer.split(" ") if part]
        if parts and all(_comparable(part) in text for part in parts):
            return ",".join(parts)
    return None


def _comparable(text: str) -> str:
    lowered = text.lower()
    return lowered if len(lowered) == len(text) else text


@dataclass
class TargetCounts:
    """What became of the answers, counted by passages: printed before training."""

    kept: int = 0
    """the passage, as cut to its length, holds an answer: it is the target"""
    cut: int = 0
    """an answer is beyond the cut, or longer than the target may be (then its beginning is the target)"""
    lost: int = 0
    """the file says that the passage answers, but no answer stands in it word for word: the target is empty"""
    empty: int = 0
    """no answer in this passage: the target is empty"""

    def __str__(self) -> str:
        return ", ".join(f"{name} {count}" for name, count in dataclasses.asdict(self).items())


class ReadingExamples:
    """The samples of a list of questions: every passage tokenized once, one passage a question drawn an epoch.

    Args:
        questions: the data.
        tokenizer, lengths: as the reader's.
        negative_ratio: how often a passage without an answer is drawn for a question that has both kinds; None draws
            uniformly over its passages, as bert4keras does.
        seed: with the epoch's number it decides every draw and the order of batches.
    """

    def __init__(
        self,
        questions: Sequence[Question],
        tokenizer: Tokenizer,
        lengths: ReadingLengths,
        negative_ratio: float | None = None,
        seed: int = 0,
    ):
        if negative_ratio is not None and not 0.0 <= negative_ratio <= 1.0:
            raise ValueError(f"negative_ratio must lie in [0, 1]. Received: negative_ratio={negative_ratio}.")
        self.negative_ratio, self.seed, self._longest = negative_ratio, seed, lengths.total
        self.counts = TargetCounts()
        sizes = [len(question.passages) for question in questions]
        self._first = np.concatenate([[0], np.cumsum(sizes)])
        texts = [passage.text for question in questions for passage in question.passages]
        encodings, encoded_questions = encode_sources(tokenizer, lengths, texts, [q.question for q in questions])
        owners = np.repeat(np.arange(len(questions)), sizes)
        answers = [
            self._target_text(questions[owner], passage, encoding)
            for owner, passage, encoding in zip(
                owners, itertools.chain.from_iterable(q.passages for q in questions), encodings, strict=True
            )
        ]
        self._passages = [encoding.token_ids for encoding in encodings]
        self._questions = [encoding.token_ids[1:] for encoding in encoded_questions]
        self._owners = owners
        self._targets = self._target_ids(answers, tokenizer, lengths)

    def __len__(self) -> int:
        return len(self._questions)

    def _target_text(self, question, passage, encoding):
        kept = passage.text[: encoding.offsets[-2][1]] if len(encoding) > 2 else ""
        target = find_answer(question.answers, kept)
        if target is not None:
            self.counts.kept += 1
        elif not passage.answer:
            self.counts.empty += 1
        elif find_answer((passage.answer, *question.answers), passage.text):
            self.counts.cut += 1
        else:
            self.counts.lost += 1
        return target or ""

    def _target_ids(self, answers, tokenizer, lengths):
        longest = lengths.answer_length + 1  # with [CLS], which the target does not have
        targets = [encoding.token_ids[1:] for encoding in tokenizer.encode_batch(answers)]
        cut = sum(len(target) > lengths.answer_length for target in targets)
        self.counts.kept -= cut
        self.counts.cut += cut
        closed = tokenizer.encode_batch(answers, max_length=longest)
        return [encoding.token_ids[1:] for encoding in closed]

    def draw(self, epoch: int) -> np.ndarray:
        """For each question the passage it is visited with in this epoch."""
        random = np.random.default_rng((self.seed, epoch, 0))
        chosen = np.empty(len(self), "int64")
        for q in range(len(self)):
            candidates = np.arange(self._first[q], self._first[q + 1])
            if self.negative_ratio is not None:
                empty = np.array([len(self._targets[i]) == 1 for i in candidates])
                if empty.any() and not empty.all():
                    candidates = candidates[empty == (random.random() < self.negative_ratio)]
            chosen[q] = candidates[random.integers(len(candidates))]
        return chosen

    def batches(self, epoch: int, batch_size: int) -> list[np.ndarray]:
        """The samples of an epoch in batches, as indices for `batch`; a function of seed and epoch alone."""
        chosen = self.draw(epoch)
        lengths = [len(self._passages[i]) + len(self._questions[self._owners[i]]) for i in chosen]
        random = np.random.default_rng((self.seed, epoch, 1))
        return [chosen[batch] for batch in length_sorted_batches(lengths, batch_size, random)]

    def batch(self, indices: Sequence[int], batch_size: int) -> TargetBatch:
        """The arrays of one batch, padded to `batch_size` rows."""
        sources = [[*self._passages[i], *self._questions[self._owners[i]]] for i in indices]
        return target_batch(sources, [self._targets[i] for i in indices], batch_size, self._longest)
