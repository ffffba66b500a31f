"""JoSE: vectors of words and of documents on the unit sphere, learned together (Meng et al., arXiv 1911.01196).

A word u beside a context word v in a document d shall be closer to both than a random word u' is, by a margin: the loss
is max(0, m - cos(u, v) - cos(u, d) + cos(u', v) + cos(u', d)). Every vector stays on the sphere: a step follows the
gradient along the sphere, the further the less the vector points against it, and is then normalized.

Legend: W words, N documents, P pairs of a batch, D size of a vector.
"""

import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from nlptasks.errors import UserError
from nlptasks.files import open_text
from nlptasks.train.options import Options, require_at_least, require_positive

BLOCK = 1 << 16
"""tokens whose pairs are shuffled together"""


@dataclass(kw_only=True)
class SphericalOptions(Options):
    """How vectors are trained."""

    vector_size: int = 100
    """length of a vector"""
    window: int = 10
    """the most words between a word and its context, on either side; each word draws its own up to that"""
    margin: float = 1.0
    """how much closer a word shall be to its context and its document than a random word"""
    learning_rate: float = 0.1
    """length of a step at the beginning; it falls to 0"""
    epochs: int = 10
    """how often the text is read"""
    min_count: int = 5
    """leave out words that occur less often"""
    subsample: float = 0.0
    """words with a larger share of the text are passed over now and then; 0: none is"""
    batch_size: int = 1024
    """pairs of a step"""
    seed: int = 0
    """seed of vectors, order and random words"""

    def check(self) -> None:
        """Refuses values that are out of range."""
        super().check()
        require_at_least(self, 1, "window", "epochs", "min_count", "batch_size")
        require_at_least(self, 2, "vector_size")
        require_at_least(self, 0, "seed", "subsample")
        require_positive(self, "margin", "learning_rate")


@dataclass(frozen=True)
class Tokens:
    """Text as numbers of words, behind each other.

    Attributes:
        ids: int32 (T,), in memory or mapped from a file.
        starts: int64 (N + 1,): where each document starts, and the end.
    """

    ids: np.ndarray
    starts: np.ndarray


@dataclass
class Place:
    """Where a training is.

    Attributes:
        losses: of each finished epoch.
        document: the first one that this epoch has not read.
        done: how many tokens all epochs have read.
        summed, pairs: losses and pairs of this epoch so far.
    """

    losses: list[float] = field(default_factory=list)
    document: int = 0
    done: int = 0
    summed: float = 0.0
    pairs: int = 0


def random_directions(rows: np.ndarray, random: np.random.Generator) -> None:
    """Fills rows with directions that are uniform on the sphere, some at a time."""
    for start in range(0, len(rows), BLOCK):
        part = random.standard_normal(rows[start : start + BLOCK].shape)
        rows[start : start + BLOCK] = part / np.linalg.norm(part, axis=1, keepdims=True)


def riemannian_step(vectors: np.ndarray, gradients: np.ndarray, learning_rate: float) -> np.ndarray:
    """Vectors (P, D) of length 1 after a step: -rate (1 + x.g / |g|) (I - x x^T) g, and back to the sphere."""
    lengths = np.maximum(np.linalg.norm(gradients, axis=1, keepdims=True), 1e-12)
    along = (vectors * gradients).sum(axis=1, keepdims=True)
    moved = vectors - learning_rate * (1 + along / lengths) * (gradients - along * vectors)
    return moved / np.linalg.norm(moved, axis=1, keepdims=True)


def loss_and_gradients(
    center: np.ndarray, context: np.ndarray, document: np.ndarray, other: np.ndarray, margin: float
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Losses (P,), the gradient at the words (the random words' is its negative), and that at context and document."""
    difference, target = center - other, context + document
    losses = margin - (difference * target).sum(axis=1)
    active = losses > 0
    return np.maximum(losses, 0), -target * active[:, None], -difference * active[:, None]


class SphericalTrainer:
    """Vectors in training.

    Args:
        counts: how often each word occurs, (W,).
        documents: float32 (N, D), in memory or mapped from a file; filled here.
        options: how they are trained.
    """

    def __init__(self, counts: np.ndarray, documents: np.ndarray, options: SphericalOptions) -> None:
        self.options, self.documents, self.place = options, documents, Place()
        self._random = np.random.default_rng(options.seed)
        self.words = np.empty((len(counts), options.vector_size), "float32")
        self.contexts = np.empty_like(self.words)
        for rows in (self.words, self.contexts, self.documents):
            random_directions(rows, self._random)
        noise = np.cumsum(counts**0.75)
        self._noise = noise / noise[-1]
        share = counts / counts.sum()
        often = np.maximum(share / options.subsample, 1e-12) if options.subsample else np.zeros(len(counts)) + 1e-12
        self._kept = np.minimum(1, np.sqrt(1 / often) + 1 / often)

    def train(
        self,
        tokens: Tokens,
        progress: Callable[[Iterable[int]], Iterable[int]] = iter,
        keep: Callable[[], None] = lambda: None,
    ) -> list[float]:
        """Trains from where `place` is; returns the mean loss of each epoch.

        Args:
            progress: wraps the iteration over epochs (`tqdm`).
            keep: called after each block of documents, and before the first one; it may save `state`.
        """
        total, at = len(tokens.ids) * self.options.epochs, self.place
        keep()
        for _ in progress(range(len(at.losses), self.options.epochs)):
            for start, end in _blocks(tokens.starts):
                if start < at.document:
                    continue
                rate = self.options.learning_rate * max(1 - at.done / max(total, 1), 1e-4)
                for batch in self._batches(tokens, start, end):
                    at.summed += self.step(*batch, rate)
                    at.pairs += len(batch[0])
                at.done += int(tokens.starts[end] - tokens.starts[start])
                at.document = end
                if end < len(tokens.starts) - 1:
                    keep()
            at.losses.append(at.summed / max(at.pairs, 1))
            at.document, at.summed, at.pairs = 0, 0.0, 0
            keep()
        return at.losses

    def state(self) -> dict[str, np.ndarray]:
        """All that a training goes on from, bit for bit: vectors, place, and the random numbers to come."""
        told = json.dumps({"place": vars(self.place), "random": self._random.bit_generator.state}).encode()
        vectors = {"words": self.words, "contexts": self.contexts, "documents": self.documents}
        return vectors | {"told": np.frombuffer(told, "uint8")}

    def restore(self, state: Mapping[str, np.ndarray]) -> None:
        """Goes back to a `state`."""
        for name in ("words", "contexts", "documents"):
            getattr(self, name)[:] = state[name]
        told = json.loads(state["told"].tobytes())
        self.place = Place(**told["place"])
        self._random.bit_generator.state = told["random"]

    def step(self, centers: np.ndarray, contexts: np.ndarray, documents: np.ndarray, rate: float) -> float:
        """One step on pairs (P,) of words in documents; returns the sum of the losses."""
        others = self.drawn(len(centers))
        losses, at_words, at_rest = loss_and_gradients(
            self.words[centers],
            self.contexts[contexts],
            self.documents[documents],
            self.words[others],
            self.options.margin,
        )
        active = losses > 0
        both = np.concatenate([centers[active], others[active]])
        _update(self.words, both, np.concatenate([at_words[active], -at_words[active]]), rate)
        _update(self.contexts, contexts[active], at_rest[active], rate)
        _update(self.documents, documents[active], at_rest[active], rate)
        return float(losses.sum())

    def drawn(self, count: int) -> np.ndarray:
        """Random words (count,), int32."""
        return np.searchsorted(self._noise, self._random.random(count)).astype("int32")

    def _batches(self, tokens: Tokens, start: int, end: int) -> Iterator[tuple[np.ndarray, np.ndarray, np.ndarray]]:
        """The pairs of some documents in a random order: words, context words, documents."""
        first, last = tokens.starts[start], tokens.starts[end]
        ids = np.asarray(tokens.ids[first:last])
        of = np.repeat(np.arange(start, end), np.diff(tokens.starts[start : end + 1]))
        kept = self._random.random(len(ids)) < self._kept[ids]
        ids, of = ids[kept], of[kept]
        reach = self._random.integers(1, self.options.window + 1, len(ids))
        found: list[tuple[np.ndarray, np.ndarray]] = []
        places = np.arange(len(ids))
        for distance in range(1, min(self.options.window, len(ids) - 1) + 1):
            left, right = places[:-distance], places[distance:]
            same = of[left] == of[right]
            for a, b in ((left, right), (right, left)):
                within = same & (reach[a] >= distance)
                found.append((a[within], b[within]))
        if not found:
            return
        center, context = (np.concatenate(each) for each in zip(*found, strict=True))
        order = self._random.permutation(len(center))
        size = self.options.batch_size
        for part in (order[at : at + size] for at in range(0, len(order), size)):
            yield ids[center[part]], ids[context[part]], of[center[part]]


def _update(rows: np.ndarray, places: np.ndarray, gradients: np.ndarray, rate: float) -> None:
    """A step of the rows at some places, each once, with the sum of its gradients."""
    if not len(places):
        return
    order = np.argsort(places, kind="stable")
    ordered = places[order]
    starts = np.flatnonzero(np.concatenate([[True], ordered[1:] != ordered[:-1]]))
    distinct = ordered[starts]
    rows[distinct] = riemannian_step(rows[distinct], np.add.reduceat(gradients[order], starts, axis=0), rate)


def _blocks(starts: np.ndarray) -> Iterator[tuple[int, int]]:
    """Ranges of documents with about BLOCK tokens each."""
    first = 0
    while first < len(starts) - 1:
        last = int(np.searchsorted(starts, starts[first] + BLOCK, side="left"))
        last = min(max(last, first + 1), len(starts) - 1)
        yield first, last
        first = last


def word2vec_lines(names: Sequence[str], vectors: np.ndarray) -> Iterator[str]:
    """The lines of a file in the text format of word2vec, which gensim's `KeyedVectors` reads."""
    yield f"{len(names)} {vectors.shape[1]}\n"
    for name, vector in zip(names, vectors, strict=True):
        yield f"{name} {' '.join(f'{value:.6f}' for value in vector.tolist())}\n"


def read_word2vec(path: Path) -> tuple[list[str], np.ndarray]:
    """Names and vectors of such a file.

    Raises:
        UserError: a line that does not fit.
    """
    names: list[str] = []
    with open_text(path, own=True) as file:
        count, size = _header(path, file.readline())
        vectors = np.empty((count, size), "float32")
        for number, line in enumerate(file):
            name, *values = line.rstrip("\n").rsplit(" ", size)
            try:
                vectors[number] = np.array(values, "float32")
            except (ValueError, IndexError):
                raise _not_word2vec(path, number + 2) from None
            names.append(name)
    if len(names) < count:
        raise _not_word2vec(path, len(names) + 2)
    return names, vectors


def _header(path: Path, line: str) -> tuple[int, int]:
    parts = line.split()
    if len(parts) != 2 or not all(part.isdecimal() for part in parts) or not int(parts[1]):
        raise _not_word2vec(path, 1)
    return int(parts[0]), int(parts[1])


def _not_word2vec(path: Path, line: int) -> UserError:
    return UserError(
        "{path}:{line}: expected word2vec's text format: number of words and size, then a word and its numbers a line.",
        path=path,
        line=line,
    )
