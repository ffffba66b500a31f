"""Turns questions with passages into the token sequences of the reader.

A sample is `[CLS] passage [SEP] question [SEP] answer [SEP]`, segment 1 on the answer and its closing `[SEP]`.
"""

import dataclasses
import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from nlptasks.applications.reading.masked import masked_batch
from nlptasks.applications.reading.windows import ReadingLengths, encode_windows, normalize, offsets_of
from nlptasks.applications.seq2seq_loss import TargetBatch, target_batch
from nlptasks.errors import UserError, told
from nlptasks.text import Encoding, Passage, Question, TextTokenizer
from nlptasks.text.batches import length_sorted_batches
from nlptasks.train.progress import listed

MASKED_SHARE, MASKED_QUESTION_SHARE = 0.15, 0.4


class Sample(NamedTuple):
    """Ids of `[CLS] passage [SEP]`, `question [SEP]` and `answer [SEP]`."""

    passage: np.ndarray
    question: np.ndarray
    answer: np.ndarray
    hidden: np.ndarray = np.empty(0, "int64")
    """positions of passage and question that are replaced by `[MASK]` and predicted, too"""


def find_answer(answers: Iterable[str], passage: str) -> str | None:
    """The target: the first answer whose space-separated parts all occur in `passage`, with the parts joined by `,`.

    Both are normalized in the same way, and compared without case if lower-casing keeps their length.
    """
    text = comparable(normalize(passage))
    for answer in answers:
        parts = [normalize(part) for part in answer.split(" ") if part]
        if parts and all(comparable(part) in text for part in parts):
            return ",".join(parts)
    return None


def comparable(text: str) -> str:
    """The text as answers are compared: in lower case if that keeps its length."""
    lowered = text.lower()
    return lowered if len(lowered) == len(text) else text


@dataclass
class TargetCounts:
    """The number of passages by what happened to their answers; it is printed before training."""

    kept: int = 0
    """the passage, cut to its length, contains an answer, which is the target"""
    cut: int = 0
    """the answer is beyond the cut, or is too long (then its beginning is the target)"""
    lost: int = 0
    """according to the file the passage answers, but no answer occurs in it literally: the target is empty"""
    empty: int = 0
    """the passage has no answer: the target is empty"""

    def __str__(self) -> str:
        return listed(f"{told(name)} {count}" for name, count in dataclasses.asdict(self).items())


class ReadingExamples:
    """The samples of a list of questions. Every passage is tokenized once; an epoch draws one for each question.

    Args:
        questions: the data.
        tokenizer, lengths: as the reader's.
        negative_ratio: how often a passage without an answer is drawn for a question that has both kinds; None draws
            uniformly over its passages, as bert4keras does.
        seed: with the epoch's number it decides every draw and the order of batches.
        method: the reader's.
        practice_epochs: number of epochs at the start, possibly a fraction, in which the model practices on the
            passages. Every other question is replaced by a quotation from the passage, and the answer is what follows
            it: this teaches to find a place and to copy from it. A share of the tokens is masked and predicted (BERT,
            arXiv 1810.04805): this teaches that names recur. Practice needs no answers, and helps a model that starts
            from random weights.

    Attributes:
        counts: what happened to the answers.

    Raises:
        UserError: a ratio outside [0, 1].
    """

    def __init__(
        self,
        questions: Sequence[Question],
        tokenizer: TextTokenizer,
        lengths: ReadingLengths,
        negative_ratio: float | None = None,
        seed: int = 0,
        method: str = "seq2seq",
        practice_epochs: float = 0.0,
    ):
        if negative_ratio is not None and not 0.0 <= negative_ratio <= 1.0:
            raise UserError("{field:negative_ratio} must lie in [0, 1]. Received: {value}.", value=negative_ratio)
        self.negative_ratio, self.seed, self.practice_epochs = negative_ratio, seed, practice_epochs
        self._lengths, self._tokenizer, self._method = lengths, tokenizer, method
        self.counts = TargetCounts()
        sizes = [len(question.passages) for question in questions]
        self._first = np.concatenate([[0], np.cumsum(sizes)])
        passages = [passage for question in questions for passage in question.passages]
        owners = np.repeat(np.arange(len(questions)), sizes)
        windows = self._encoded(passages)
        self._windows = [ids for passage_windows in windows for ids, _ in passage_windows]
        self._first_window = np.concatenate([[0], np.cumsum([len(passage_windows) for passage_windows in windows])])
        self._window_owners = np.repeat(owners, [len(passage_windows) for passage_windows in windows])
        self._questions = [
            encoding.token_ids[1:]
            for encoding in tokenizer.encode_batch(
                [question.question for question in questions],
                max_length=lengths.question_length + 1,
                with_offsets=False,
            )
        ]
        answers = [
            answer
            for owner, passage, passage_windows in zip(owners.tolist(), passages, windows, strict=True)
            for answer in self._target_texts(questions[owner], passage, [text for _, text in passage_windows])
        ]
        if tokenizer.context_free:
            self._targets = self._target_ids(answers)
        else:
            encoded = [window for of_passage in self._encoded_windows(passages) for window in of_passage]
            texts = [normalize(passage.text) for passage in passages]
            owned = [text for text, of_passage in zip(texts, windows, strict=True) for _ in of_passage]
            self._targets = [self._covering(*one) for one in zip(answers, owned, encoded, strict=True)]

    def __len__(self) -> int:
        return len(self._questions)

    def _encoded(self, passages: Sequence[Passage]) -> list[list[tuple[np.ndarray, str]]]:
        """Ids and text of each passage's windows; only where there are several, or a cut, are offsets needed."""
        tokenizer, lengths = self._tokenizer, self._lengths
        texts = [passage.text for passage in passages]
        windows = encode_windows(tokenizer, lengths, texts, with_offsets=False)
        found = [[(passage_windows[0].token_ids, text)] for passage_windows, text in zip(windows, texts, strict=True)]
        full = [i for i, passage_windows in enumerate(windows) if len(passage_windows[0]) == lengths.passage_length]
        again = encode_windows(tokenizer, lengths, [texts[i] for i in full])
        for i, passage_windows in zip(full, again, strict=True):
            # the first window begins where the text does
            starts = [0, *(int(offsets_of(window)[1][0]) for window in passage_windows[1:])]
            found[i] = [
                (window.token_ids, texts[i][start : offsets_of(window)[-2][1]])
                for window, start in zip(passage_windows, starts, strict=True)
            ]
        return found

    def _encoded_windows(self, passages: Sequence[Passage]) -> list[list[Encoding]]:
        return encode_windows(self._tokenizer, self._lengths, [passage.text for passage in passages])

    def _covering(self, answer: str, text: str, window: Encoding) -> np.ndarray:
        """The tokens of a window that an answer lies on, closed by `[SEP]`.

        A tokenizer whose pieces depend on what stands around them would cut the answer alone in another way, and what
        is no piece of the passage cannot be found there.
        """
        end, most = np.array([self._tokenizer.sep_id], "int32"), self._lengths.answer_length
        if not answer:
            return end
        starts, ends = offsets_of(window)[1:-1].T
        text, first = comparable(text), int(starts[0])
        start = text.find(comparable(answer), first)
        parts = [answer] if start >= 0 else answer.split(",")  # parts of an answer that stand apart
        found = []
        for part in parts:
            start = text.find(comparable(part), first)
            found.append(window.token_ids[1:-1][(starts < start + len(part)) & (ends > start)])
        comma = self._tokenizer.encode(",").token_ids[-2:-1]
        ids = np.concatenate([piece for one in found for piece in (comma, one)][1:])
        if len(ids) >= most:
            self.counts.kept -= 1
            self.counts.cut += 1
        return np.append(ids[: most - 1], end)

    def _target_texts(self, question: Question, passage: Passage, kept: Sequence[str]) -> list[str]:
        """The answer that each window of a passage gives, "" for none."""
        targets = [find_answer(question.answers, text) for text in kept]
        if any(targets):
            self.counts.kept += 1
        elif not passage.answer:
            self.counts.empty += 1
        elif find_answer((passage.answer, *question.answers), passage.text):
            self.counts.cut += 1
        else:
            self.counts.lost += 1
        return [target or "" for target in targets]

    def _target_ids(self, answers: Sequence[str]) -> list[np.ndarray]:
        """The tokens of each answer, cut to its length and closed by `[SEP]`."""
        tokenizer, lengths = self._tokenizer, self._lengths
        end = np.array([tokenizer.sep_id], "int32")
        targets = [end] * len(answers)
        some = [i for i, answer in enumerate(answers) if answer]
        encoded = tokenizer.encode_batch([answers[i] for i in some], with_offsets=False)
        for i, encoding in zip(some, encoded, strict=True):
            ids = encoding.token_ids[1:-1]  # without [CLS] and [SEP]
            if len(ids) >= lengths.answer_length:
                self.counts.kept -= 1
                self.counts.cut += 1
            targets[i] = np.append(ids[: lengths.answer_length - 1], end)
        return targets

    def draw(self, epoch: int) -> np.ndarray:
        """For each question the window that is read in this epoch; one that answers, if its passage has any."""
        random = np.random.default_rng((self.seed, epoch, 0))
        chosen = np.empty(len(self), "int64")
        for q in range(len(self)):
            candidates = np.arange(self._first[q], self._first[q + 1])
            if self.negative_ratio is not None:
                empty = np.array([not len(self._answering(i)) for i in candidates])
                if empty.any() and not empty.all():
                    candidates = candidates[empty == (random.random() < self.negative_ratio)]
            passage = candidates[random.integers(len(candidates))]
            windows = np.arange(self._first_window[passage], self._first_window[passage + 1])
            if len(windows) > 1:
                answering = self._answering(passage)
                windows = answering if len(answering) else windows
                chosen[q] = windows[random.integers(len(windows))]
            else:
                chosen[q] = windows[0]
        return chosen

    def _answering(self, passage: int) -> np.ndarray:
        """The windows of a passage that hold an answer."""
        windows = range(self._first_window[passage], self._first_window[passage + 1])
        return np.array([i for i in windows if len(self._targets[i]) > 1], "int64")

    def num_batches(self, epoch: int, size: int) -> int:
        """How many batches an epoch has. Where practice ends inside it, both of its parts may end in a smaller one."""
        practiced = self._num_practiced(epoch)
        return math.ceil(practiced / size) + math.ceil((len(self) - practiced) / size)

    def batches(self, epoch: int, size: int) -> list[list[Sample]]:
        """The samples of an epoch in batches, those of practice first; a function of seed, epoch and size alone."""
        random = np.random.default_rng((self.seed, epoch, 1))
        drawn = random.permutation(self.draw(epoch))
        practiced = self._num_practiced(epoch)
        practice = [_practice(self._sample(i), random) for i in drawn[:practiced]]
        return [
            [part[i] for i in batch]
            for part in (practice, [self._sample(i) for i in drawn[practiced:]])
            for batch in length_sorted_batches([len(s.passage) + len(s.question) for s in part], size, random)
        ]

    def _num_practiced(self, epoch: int) -> int:
        return round(len(self) * min(1.0, max(0.0, self.practice_epochs - epoch)))

    def _sample(self, window: int) -> Sample:
        return Sample(self._windows[window], self._questions[self._window_owners[window]], self._targets[window])

    def weight(self, arrays: TargetBatch) -> float:
        """How many target tokens there are in a batch."""
        return arrays["target_weights"].sum()

    def arrays(self, batch: Sequence[Sample], size: int) -> TargetBatch:
        """One batch as arrays, padded to `size` rows."""
        sources = [np.concatenate([sample.passage, sample.question]) for sample in batch]
        if self._method == "mlm":
            answers = [sample.answer for sample in batch]
            mask_id, pad_id = self._tokenizer.mask_id, self._tokenizer.pad_id
            return masked_batch(sources, answers, self._lengths, mask_id, size, pad_id)
        hidden = [sample.hidden for sample in batch]
        return target_batch(
            sources,
            [sample.answer for sample in batch],
            size,
            self._lengths.total,
            hidden=hidden,
            mask_id=self._tokenizer.mask_id if any(map(len, hidden)) else None,
            pad_id=self._tokenizer.pad_id,
        )


def _practice(sample: Sample, random: np.random.Generator) -> Sample:
    if random.random() < 0.5:
        sample = _quotation(sample, random)
    share = np.repeat([MASKED_SHARE, MASKED_QUESTION_SHARE], [len(sample.passage), len(sample.question)])
    hidden = 1 + np.flatnonzero(random.random(len(share) - 2) < share[1:-1])
    return sample._replace(hidden=hidden[hidden != len(sample.passage) - 1])


def _quotation(sample: Sample, random: np.random.Generator) -> Sample:
    """The sample with a piece of its passage as the question, and what follows that piece as the answer."""
    passage, end = sample.passage, sample.question[-1:]
    quoted, following = int(random.integers(2, 7)), int(random.integers(1, 9))
    start = random.integers(1, max(2, len(passage) - quoted - following))
    answer = passage[start + quoted : start + quoted + following]
    question = np.append(passage[start : start + quoted], end)
    return sample._replace(question=question, answer=np.append(answer[answer != end], end))
