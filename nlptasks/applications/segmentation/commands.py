"""Chinese word segmentation by a fully convolutional network: train, score and use a segmenter of several standards.

    nlptasks segmentation train --train A.txt B.txt --standard cnc weibo --output runs/segmenter
    nlptasks segmentation evaluate --model runs/segmenter --gold test.txt --standard cnc
    nlptasks segmentation segment --model runs/segmenter --text 今天天气很好。

Files hold one sentence per line, with white space between words, plain or gzip. docs/segmentation.md describes the
recipe and its scores, docs/scoring.md how they are counted.
"""

import functools
import json
import os
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import tyro

from nlptasks.applications.options import require_input, require_output
from nlptasks.applications.results import say_ready
from nlptasks.applications.segmentation import lines
from nlptasks.applications.segmentation.dictionary import UserDictionary
from nlptasks.applications.segmentation.samples import MASK
from nlptasks.applications.segmentation.segmenter import Segmenter
from nlptasks.applications.segmentation.training import SegmenterOptions, Sentences, train_segmenter
from nlptasks.console import padded
from nlptasks.encodings import is_utf8
from nlptasks.errors import UserError, told
from nlptasks.files import read_text_blocks, write_text
from nlptasks.metrics.segmentation import score_segmentation
from nlptasks.opening import load
from nlptasks.text.segmented import read_segmented
from nlptasks.train.options import Options, TextFiles, require_at_least


@dataclass(kw_only=True)
class Train(SegmenterOptions, TextFiles):
    """Train a segmenter; the epoch with the best mean F1 on the held-out lines is kept."""

    train: tuple[Path, ...]
    """training files with one sentence per line"""
    standard: tuple[str, ...]
    """the annotation standard of each training file, in the order of the files"""
    hold_out_every: tuple[int, ...] = (10,)
    """hold out every nth line of a file and score it after each epoch: one number for all files or one each; 0: none"""

    def check(self) -> None:
        """Refuses values that are out of range or contradict each other."""
        super().check()
        if len(self.standard) != len(self.train):
            raise UserError(
                "{field:standard} takes one name a training file. Received: {files} files, {names} names.",
                files=len(self.train),
                names=len(self.standard),
            )
        every = self.hold_out_every
        if len(every) not in (1, len(self.train)) or min(every) < 0 or 1 in every:
            raise UserError(
                "{field:hold_out_every} takes 0 or 2 and up, once or once a file. Received: {every}.", every=every
            )

    def run(self) -> None:
        """Reads the files and trains."""
        training, held_out = self._read()
        if not any(held_out.values()):
            raise UserError("no line is held out, so no epoch can be chosen; give {field:hold_out_every} 10, say.")
        train_segmenter(self, training, held_out)
        say_ready(self.output, "evaluate and segment")

    def _read(self) -> tuple[list[tuple[str, Sentences]], dict[str, list[list[str]]]]:
        """The training sentences of each file, and the held-out ones of each standard."""
        every = self.hold_out_every * (len(self.train) if len(self.hold_out_every) == 1 else 1)
        training: list[tuple[str, Sentences]] = []
        held_out: dict[str, list[list[str]]] = {}
        for path, standard, nth in zip(self.train, self.standard, every, strict=True):
            sentences = read_segmented(path)
            training.append((standard, [words for i, words in enumerate(sentences, 1) if not nth or i % nth]))
            left = sentences[nth - 1 :: nth] if nth else []
            if standard in self.normalised:  # what a masked word was is not known
                left = [words for words in left if MASK not in words]
            held_out.setdefault(standard, []).extend(left)
        return training, held_out


@dataclass(kw_only=True)
class Evaluate(Options, TextFiles):
    """Score a segmenter on a segmented text, which it reads without the spaces."""

    gold: Path
    """segmented text with one sentence per line"""
    model: str = "segmenter"
    """run directory, or segmenter: the model that comes with the package"""
    predictions: Path | None = None
    """score this segmented file instead of the model's words"""
    standard: str | None = None
    """annotation standard to follow; default: the first one of the model"""
    train_words: Path | None = None
    """segmented training text: also score the recall of words in it and of words not in it"""
    user_dict: Path | None = None
    """dictionary of words to prefer or avoid, as for `segment`"""
    hold_out_every: int = 1
    """score only every nth line, the lines that `train` holds out"""
    skip: str | None = None
    """leave out lines that contain this word (L in normalized files)"""
    output: Path | None = None
    """write the segmented text to this file"""
    json: bool = False
    """write a JSON object as the last line of the output"""

    def check(self) -> None:
        """Refuses values that are out of range or contradict each other."""
        super().check()
        require_at_least(self, 1, "hold_out_every")

    def run(self) -> None:
        """Reads, segments, scores."""
        inputs = (self.gold, self.predictions, self.train_words, self.user_dict)
        require_input(*inputs)
        require_output(self.output, *inputs)
        lines_of_gold = read_segmented(self.gold)
        numbers = range(self.hold_out_every - 1, len(lines_of_gold), self.hold_out_every)
        scored = [number for number in numbers if self.skip not in lines_of_gold[number]]
        if not scored:
            raise UserError(
                "{path}: no line is left to score of {count}; make {field:hold_out_every} smaller, or give no "
                "{field:skip}.",
                path=self.gold,
                count=len(lines_of_gold),
            )
        gold = [lines_of_gold[number] for number in scored]
        train_words = None
        if self.train_words is not None:
            train_words = {word for words in read_segmented(self.train_words) for word in words}
        started = time.monotonic()
        if self.predictions is not None:
            predicted = read_segmented(self.predictions)
            if len(predicted) == len(lines_of_gold):  # of the whole file
                predicted = [predicted[number] for number in scored]
        else:
            dictionary = None if self.user_dict is None else UserDictionary.from_file(self.user_dict)
            segmenter = _segmenter(self.model, self.standard, dictionary)
            predicted = segmenter.predict(["".join(words) for words in gold])
        seconds = time.monotonic() - started
        scores = score_segmentation(gold, predicted, train_words)
        if self.output is not None:
            write_text(self.output, "".join(f"{' '.join(words)}\n" for words in predicted))
        for name, value in scores.items():
            shown = str(value) if isinstance(value, int) else f"{value:.4f}"
            print(f"{padded(told(name), 16)} {shown:>10}")
        if self.json:
            print(json.dumps({"scores": scores, "seconds": seconds}))


@dataclass(kw_only=True)
class Segment(Options, TextFiles):
    """Cut Chinese text into words: lines stay as they are, with a space between two words.

    White space of the text is kept and not doubled.
    """

    files: Annotated[tuple[str, ...], tyro.conf.Positional] = ()
    """UTF-8 text files, plain or gzip; no file, or -: standard input, which may be gzip, too"""
    text: str | None = None
    """segment this text instead of files"""
    tags: bool = False
    """write every character with its tag, like `字/b`: s is a single-character word; b, m, e are begin, middle, end"""
    json: bool = False
    """write a JSON object per line, with words and offsets, and with --tags the tags of the characters"""
    user_dict: Path | None = None
    """dictionary of words to prefer or avoid, with lines `word,multiplier` or jieba's `word frequency tag`"""
    standard: str | None = None
    """annotation standard: cnc, weibo, sxu, msr or pku; default: the first one of the model"""
    model: str = "segmenter"
    """a run directory, or segmenter: the model that comes with the package"""
    processes: int = 1
    """number of processes"""

    def check(self) -> None:
        """Refuses values that are out of range or contradict each other."""
        super().check()
        require_at_least(self, 1, "processes")
        if self.text is not None and self.files:
            raise UserError("give either files or {field:text}.")
        for name in self.files:
            if name != "-" and not os.path.exists(name):
                raise FileNotFoundError(
                    f"{name}: no such file; text comes from files, from standard input or from --text, and words of the"
                    " command line are names of files."
                )

    def run(self) -> None:
        """Writes words as they come."""
        forms = {(False, False): lines.SPACED, (True, False): lines.TAGGED, (False, True): lines.JSON}
        form = forms.get((self.tags, self.json), lines.TAGGED_JSON)
        dictionary = None if self.user_dict is None else UserDictionary.from_file(self.user_dict)
        make_writer = functools.partial(_make_writer, self.model, self.standard, dictionary, form)
        writer = make_writer()  # what is wrong with the arguments shows before anything is read
        blocks = _blocks(self.files or ("-",))
        if self.text is not None:
            blocks = iter([f"{self.text}\n".encode()])
        for block in lines.write_all(writer, make_writer, blocks, self.processes):
            if hasattr(sys.stdout, "buffer") and not (sys.stdout.isatty() and not is_utf8(sys.stdout.encoding)):
                sys.stdout.buffer.write(block)
            else:  # a notebook's, one that was redirected, or a terminal that has an encoding of its own
                sys.stdout.write(block.decode())
            sys.stdout.flush()


def _blocks(files: Sequence[str]) -> Iterator[bytes]:
    """The text of files, of which each but the last ends with a line end."""
    for number, file in enumerate(files, 1):
        last = b"\n"
        for block in read_text_blocks(file):
            yield (last := block)
        if number < len(files) and not last.endswith(b"\n"):
            yield b"\n"


def _make_writer(model: str, standard: str | None, dictionary: UserDictionary | None, form: str) -> lines.LineWriter:
    return lines.LineWriter(_segmenter(model, standard, dictionary), form)


def _segmenter(model: str, standard: str | None, dictionary: UserDictionary | None) -> Segmenter:
    segmenter = load(model, Segmenter)
    if standard is not None:
        segmenter.runtime.config.standard_id(standard)
        segmenter.standard = standard
    if dictionary is not None:
        segmenter.dictionary = dictionary
    return segmenter


COMMANDS = {"train": Train, "evaluate": Evaluate, "segment": Segment}
