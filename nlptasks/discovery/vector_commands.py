"""Vectors of words and documents, learned from raw text.

    nlptasks vectors train --input corpus/*.txt --output runs/vectors
    nlptasks vectors nearest --vectors runs/vectors --word 天气

docs/discovery.md describes the method and what it reaches.
"""

import json
import os
import time
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import chain
from pathlib import Path

import numpy as np

from nlptasks.applications.segmentation.segmenter import Segmenter
from nlptasks.console import progress_bar, say
from nlptasks.discovery.cutting import FILES, cut_documents, open_cut
from nlptasks.discovery.interrupted import state_folder
from nlptasks.discovery.passes import UNIT_BYTES, fingerprint
from nlptasks.discovery.spherical import SphericalOptions, SphericalTrainer, read_word2vec, word2vec_lines
from nlptasks.errors import UserError, told
from nlptasks.files import atomic_path, require_writable, write_text
from nlptasks.opening import load
from nlptasks.pretraining.corpus import CorpusFormat, find_files, plan_units, read_documents
from nlptasks.train.options import OnKeras, Options, TextFiles, require_at_least, require_one_of

JOSE, SPACES = "jose", "spaces"
NUMPY, ON_KERAS = "numpy", "keras"
WORDS, DOCUMENTS = "words.txt", "documents.npy"
TRAINING = "training.npz"
SAVE_SECONDS = 30.0
"""an interrupted training loses at most so much, and a block of documents"""


@dataclass(kw_only=True)
class TrainVectors(SphericalOptions, OnKeras, TextFiles):
    """Learn vectors of words and documents on the unit sphere (JoSE).

    A document is a line of a text file, or a JSON line.
    """

    input: tuple[str, ...]
    """files and globs of the corpus: text or JSON lines, plain or gzip"""
    output: Path
    """folder to write: words.txt, in word2vec's text format, and documents.npy, a row a document"""
    method: str = JOSE
    """how vectors are learned: jose"""
    engine: str = NUMPY
    """what computes the steps: numpy, or keras (TensorFlow or JAX), which holds all vectors in memory"""
    segmenter: str = "segmenter"
    """what cuts words: a run directory; segmenter: the model that comes with the package; spaces: white space"""
    format: str = "auto"
    """format of the files: text, jsonl (one JSON object per line), or auto: by the file names"""
    field: str = "text"
    """JSON lines: key of the text"""
    resume: bool = False
    """go on with an interrupted training; it ends with the same vectors as an uninterrupted one"""
    json: bool = False
    """write a JSON object as the last line of the output"""

    def check(self) -> None:
        """Refuses values that are out of range."""
        super().check()
        require_one_of(self, method=(JOSE,), engine=(NUMPY, ON_KERAS))

    def packages(self) -> tuple[str, ...]:
        """The modules without which the command does not begin."""
        return super().packages() if self.engine == ON_KERAS else ()

    def run(self) -> None:
        """Cuts, trains, writes."""
        files = find_files(self.input)
        units = plan_units(files, UNIT_BYTES)
        form = CorpusFormat(format=self.format, field=self.field, encoding=self.encoding)
        for name in (WORDS, DOCUMENTS):
            require_writable(self.output / name)
        started = time.monotonic()
        with state_folder(
            self.output, self._settings(files, form), self.resume, (TRAINING, *FILES), TRAINING
        ) as folder:
            found = open_cut(folder)
            if found is None:
                cut = load(self.segmenter, Segmenter).segment if self.segmenter != SPACES else _split
                documents = chain.from_iterable(read_documents(unit, form) for unit in units)
                found = cut_documents(documents, cut, folder, self.min_count)
            tokens, names, counts = found
            if len(names) < 2:
                raise UserError(
                    "a text takes two words that occur {field:min_count} times. Received: {count}; give more text, or "
                    "a smaller number.",
                    count=len(names),
                )
            size = (len(tokens.starts) - 1, self.vector_size)
            with atomic_path(self.output / DOCUMENTS) as path:
                rows = np.lib.format.open_memmap(path, "w+", "float32", size)
                trainer = self._trainer()(counts, rows, self)
                keeper = Keeper(trainer, folder)
                losses = trainer.train(tokens, lambda epochs: progress_bar(epochs, told("epochs")), keeper.keep)
                rows.flush()
                del rows, trainer.documents
            del tokens, found
        write_text(self.output / WORDS, "".join(word2vec_lines(names, trainer.words)))
        seconds = time.monotonic() - started
        say(f"{self.output}: {len(names)} words, {size[0]} documents, loss {losses[-1]:.3f}, {seconds:.1f} s")
        if self.json:
            print(json.dumps({"words": len(names), "documents": size[0], "losses": losses, "seconds": seconds}))

    def _trainer(self) -> type[SphericalTrainer]:
        if self.engine == NUMPY:
            return SphericalTrainer
        from nlptasks.discovery.spherical_keras import KerasTrainer

        return KerasTrainer

    def _settings(self, files: Sequence[tuple[str, int]], form: CorpusFormat) -> str:
        """A short name of all that decides the vectors."""
        stamps = [(os.path.abspath(path), size, os.stat(path).st_mtime_ns) for path, size in files]
        options = {
            name: getattr(self, name) for name in (*SphericalOptions.__dataclass_fields__, "segmenter", "engine")
        }
        return fingerprint({"options": options, "files": stamps, "format": vars(form)})


class Keeper:
    """Saves a training now and then, and at first goes back to what was saved.

    Args:
        trainer: the training.
        folder: where its state is.
    """

    def __init__(self, trainer: SphericalTrainer, folder: Path) -> None:
        self._trainer, self._path, self._saved = trainer, folder / TRAINING, time.monotonic()
        if self._path.is_file():
            with np.load(self._path) as state:
                trainer.restore(state)

    def keep(self) -> None:
        """Saves, if the last time was long ago."""
        if time.monotonic() - self._saved >= SAVE_SECONDS:
            with atomic_path(self._path) as path, open(path, "wb") as file:
                np.savez(file, **self._trainer.state())  # type: ignore[arg-type] # no array has the name of an argument
            self._saved = time.monotonic()


@dataclass(kw_only=True)
class Nearest(Options):
    """Show the words that are nearest to a word."""

    vectors: Path
    """folder that `train` wrote, or any file in word2vec's text format"""
    word: str
    """the word"""
    top: int = 10
    """number of words to show"""
    json: bool = False
    """print one JSON list of {word, score}"""

    def check(self) -> None:
        """Refuses values that are out of range."""
        super().check()
        require_at_least(self, 1, "top")

    def run(self) -> None:
        """Reads, compares, prints."""
        names, vectors = read_word2vec(self.vectors / WORDS if self.vectors.is_dir() else self.vectors)
        if self.word not in names:
            raise UserError("{vectors}: has no vector for {word}.", vectors=self.vectors, word=self.word)
        place = names.index(self.word)
        vectors /= np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), 1e-12)
        scores = vectors @ vectors[place]
        best = [row for row in np.argsort(-scores, kind="stable").tolist() if row != place][: self.top]
        if self.json:
            print(json.dumps([{"word": names[i], "score": float(scores[i])} for i in best], ensure_ascii=False))
        else:
            print("\n".join(f"{scores[row]:.4f}\t{names[row]}" for row in best))


def _split(texts: list[str]) -> list[list[str]]:
    return [text.split() for text in texts]


COMMANDS = {"train": TrainVectors, "nearest": Nearest}
