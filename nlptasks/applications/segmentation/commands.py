"""Chinese word segmentation by a fully convolutional network: train, score and use a segmenter of several standards.

    nlptasks segmentation train --train A.txt B.txt --standard cnc weibo --output runs/segmenter
    nlptasks segmentation evaluate --model runs/segmenter --gold test.txt --standard cnc
    nlptasks segmentation segment --model runs/segmenter --text 今天天气很好。

Files hold a sentence a line, words separated by white space; plain or gzip. The recipe and its scores, and how they are
counted: docs/segmentation.md and docs/scoring.md.
"""

import dataclasses
import functools
import itertools
import json
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, BinaryIO

import numpy as np
import tyro

from nlptasks.applications.options import require_empty_run, require_positive
from nlptasks.applications.segmentation import lines
from nlptasks.applications.segmentation.config import PRESETS, SegmentationConfig, load_segmenter, save_segmenter
from nlptasks.applications.segmentation.dictionary import UserDictionary
from nlptasks.applications.segmentation.runtime import Runtime
from nlptasks.applications.segmentation.samples import (
    MASK,
    SegmentationExamples,
    gold_tags,
    join_some,
    long_words,
    undo_normalisation,
)
from nlptasks.applications.segmentation.segmenter import Segmenter
from nlptasks.applications.segmentation.vocab import build_unit_vocab
from nlptasks.console import progress_bar, say
from nlptasks.files import not_utf8, read_line_blocks, require_writable, write_text
from nlptasks.metrics.segmentation import score_segmentation
from nlptasks.opening import load
from nlptasks.text.segmented import read_segmented

OPTIONS, SCORES = "options.json", "scores.json"
SPACED_SHARE = 0.06  # sentences that are read with the one before, a space between


@dataclass(kw_only=True)
class Train:
    """Train a segmenter; the epoch with the best mean F1 on the held-out lines is kept."""

    train: tuple[Path, ...]
    """training files, a sentence a line"""
    standard: tuple[str, ...]
    """the annotation standard of each training file, in the same order"""
    output: Path
    """run directory: model, options, scores, log and curve"""
    normalised: tuple[str, ...] = ()
    """standards whose files hold 0 for numbers, X for Latin runs and L for words of more than four characters"""
    hold_out: tuple[int, ...] = (10,)
    """every how manieth line of a file is held out of training and scored after an epoch, one number for all files or
    one each; 0: none"""
    preset: str = "default"
    """default, or original: the network of 2017"""
    teacher: tuple[Path, ...] = ()
    """run directories of segmenters with the same standards, whose mean is learnt too"""
    resume: bool = False
    """continue an interrupted run"""

    unit_size: int | None = None
    """embedding of a unit (this and the two below: left out, the preset's)"""
    pair_size: int | None = None
    """embedding of a pair of neighbouring units; 0: none"""
    channels: tuple[int, ...] | None = None
    """channels of each convolution"""
    min_count: int = 2
    """characters seen less often are unknown"""
    min_pair_count: int = 2
    """and pairs"""

    epochs: int = 4
    batch_units: int = 8192
    learning_rate: float = 3e-3
    """Adam's highest: it rises, then falls linearly to 0"""
    warmup_share: float = 0.1
    """share of the updates in which it rises"""
    dropout: float = 0.2
    unit_drop: float = 0.3
    """a unit seen n times in training is read as unknown with probability unit_drop / (unit_drop + n)"""
    pair_drop: float = 0.2
    """likewise for pairs"""
    own_share: float = 0.5
    """with --teacher: how often a sentence is read under its own standard; else under any"""
    teacher_share: float = 0.3
    """with --teacher: of the target under its own standard; the rest are the annotated words"""
    seed: int = 0

    def run(self) -> None:
        require_positive(self, "epochs", "batch_units", "min_count", "min_pair_count")
        from nlptasks.applications.segmentation.network import SegmentationNetwork, tag_loss
        from nlptasks.train.loop import train
        from nlptasks.train.optimizers import make_adam
        from nlptasks.train.run import start_run

        held_out, training = self._read()
        config = self._config()
        require_empty_run(self.output, OPTIONS, self.resume)
        teachers = [self._teacher(path, config) for path in self.teacher]

        start_run(self.seed)
        samples = self._samples(training, config)
        vocab = build_unit_vocab(
            [units for units, _, _ in samples], self.min_count, self.min_pair_count if config.pair_size else None
        )
        examples = SegmentationExamples(samples, vocab, self.unit_drop, self.pair_drop, self.seed)
        if teachers:
            examples.learn_from(teachers, self.own_share, self.teacher_share)
        network = SegmentationNetwork(config, vocab, self.dropout)
        network.build()
        say(
            f"model: {network.count_params():,} parameters, {vocab.unit_count} units, {vocab.pair_count} pairs; "
            f"{len(samples)} sentences of {len(examples.unit_ids):,} units"
        )
        steps = sum(len(examples.batches(epoch, self.batch_units)) for epoch in range(self.epochs))
        optimizer = make_adam(self.learning_rate, steps, self.warmup_share)

        options = json.loads(json.dumps(dataclasses.asdict(self), default=str))
        for name in ("resume", "output"):  # where a run stands is not what it is: a moved one resumes too
            del options[name]
        if not self.resume:
            write_text(self.output / OPTIONS, json.dumps(options, ensure_ascii=False, indent=1) + "\n")

        progress = train(
            network,
            optimizer,
            lambda batch: tag_loss(network, batch),
            epoch_batches=lambda epoch: examples.batches(epoch, self.batch_units),
            make_batch=lambda batch: examples.arrays(batch, self.batch_units),
            epochs=self.epochs,
            validate=lambda: _validation_scores(Segmenter(Runtime(config, vocab, network.arrays())), held_out),
            score_name="mean_f1",
            save_best=lambda: save_segmenter(self.output, config, vocab, network.arrays()),
            directory=self.output,
            options=options,
            resume=self.resume,
            progress_bar=progress_bar,
        )
        best = max(progress.history, key=lambda row: row["mean_f1"])
        write_text(self.output / SCORES, json.dumps({"best": best, "epochs": progress.history}, indent=1) + "\n")
        say(f"best epoch {best['epoch']}: {best}")
        say(f"{self.output}: ready for evaluate and segment")

    def _read(self):
        """Held-out sentences by standard, and the training sentences of each file with its standard."""
        if len(self.standard) != len(self.train):
            raise ValueError(
                f"--standard takes one name a training file. Received: {len(self.train)} files, "
                f"{len(self.standard)} names."
            )
        if len(self.hold_out) not in (1, len(self.train)) or min(self.hold_out) < 0 or 1 in self.hold_out:
            raise ValueError(f"--hold-out takes 0 or 2 and up, once or once a file. Received: {self.hold_out}.")
        every = self.hold_out * len(self.train) if len(self.hold_out) == 1 else self.hold_out
        held_out: dict[str, list[list[str]]] = {}
        training = []
        for path, standard, nth in zip(self.train, self.standard, every, strict=True):
            sentences = read_segmented(path)
            kept = [words for number, words in enumerate(sentences, 1) if not nth or number % nth]
            training.append((kept, standard))
            left = [words for number, words in enumerate(sentences, 1) if nth and number % nth == 0]
            if standard in self.normalised:  # what a masked word was is not known
                left = [words for words in left if MASK not in words]
            held_out.setdefault(standard, []).extend(left)
        held_out = {standard: sentences for standard, sentences in held_out.items() if sentences}
        if not held_out:
            raise ValueError("no line is held out, so no epoch can be chosen; give --hold-out 10, say.")
        return held_out, training

    def _config(self) -> SegmentationConfig:
        if self.preset not in PRESETS:
            raise ValueError(f"preset must be one of {tuple(PRESETS)}. Received: preset={self.preset!r}.")
        given = {name: getattr(self, name) for name in ("unit_size", "pair_size", "channels")}
        given = {name: value for name, value in given.items() if value is not None}
        return SegmentationConfig(standards=tuple(dict.fromkeys(self.standard)), **PRESETS[self.preset] | given)

    def _teacher(self, path: Path, config: SegmentationConfig) -> Runtime:
        teacher = Runtime(*load_segmenter(path))
        if teacher.config.standards != config.standards:
            raise ValueError(f"{path}: the standards must be {config.standards}, found {teacher.config.standards}.")
        return teacher

    def _samples(self, training, config):
        """Units, tags and standard id of every sentence."""
        random = np.random.default_rng(self.seed)
        raw = [sentences for sentences, standard in training if standard not in self.normalised]
        replacements = [word for sentences in raw for word in long_words(sentences)]
        samples = []
        for sentences, standard in training:
            if standard in self.normalised:
                sentences = undo_normalisation(sentences, replacements, random)
            for words in join_some(sentences, SPACED_SHARE, random):
                samples.append((*gold_tags(words), config.standard_id(standard)))
        return samples


@dataclass(kw_only=True)
class Evaluate:
    """Score a segmenter on segmented text, read without its spaces."""

    gold: Path
    """segmented text, a sentence a line"""
    model: str = "segmenter"
    """run directory, or segmenter: the one that comes with the package"""
    predictions: Path | None = None
    """score this segmented file instead of the model's words"""
    standard: str | None = None
    """annotation standard to segment by; left out, the model's first"""
    train_words: Path | None = None
    """segmented training text: also the recall of words that occur there and of words that do not"""
    user_dict: Path | None = None
    every: int = 1
    """only every so manieth line, as train holds them out"""
    skip: str | None = None
    """leave out lines that hold this word (L in normalised files)"""
    output: Path | None = None
    """write the words there"""
    json: bool = False
    """the last line of the output is one JSON object"""

    def run(self) -> None:
        require_positive(self, "every")
        gold = [words for number, words in enumerate(read_segmented(self.gold), 1) if number % self.every == 0]
        gold = [words for words in gold if self.skip not in words]
        train_words = None
        if self.train_words is not None:
            train_words = {word for words in read_segmented(self.train_words) for word in words}
        if self.output is not None:
            require_writable(self.output)
        started = time.monotonic()
        if self.predictions is not None:
            predicted = read_segmented(self.predictions)
        else:
            predicted = _segmenter(self.model, self.standard, self.user_dict).segment(
                ["".join(words) for words in gold]
            )
        seconds = time.monotonic() - started
        scores = score_segmentation(gold, predicted, train_words)
        if self.output is not None:
            write_text(self.output, "".join(f"{' '.join(words)}\n" for words in predicted))
        for name, value in scores.items():
            print(f"{name:16} {value:>10}" if isinstance(value, int) else f"{name:16} {value:>10.4f}")
        if self.json:
            print(json.dumps({"scores": scores, "seconds": seconds}))


@dataclass(kw_only=True)
class Segment:
    """Cut Chinese text into words: every line as it is, with a space between two words.

    White space that stands in the text stays and is not doubled.
    """

    files: Annotated[tuple[str, ...], tyro.conf.Positional] = ()
    """UTF-8 text files, plain or gzip; none, or -: standard input"""
    text: str | None = None
    """this text instead of files"""
    tags: bool = False
    """write every character with its tag, as `字/b`: s a word, b m e its beginning, middle and end"""
    json: bool = False
    """write a JSON object a line: words and offsets, with --tags also the characters' tags"""
    user_dict: Path | None = None
    """words to cut out or never to cut out: lines `word,multiplier`, or jieba's `word frequency tag`"""
    standard: str | None = None
    """annotation standard: cnc, weibo, sxu, msr or pku; left out, the model's first"""
    model: str = "segmenter"
    """a run directory, or segmenter: the model that comes with the package"""
    processes: int = 1
    """how many work at a time"""

    def run(self) -> None:
        require_positive(self, "processes")
        if self.text is not None and self.files:
            raise ValueError("give either files or --text.")
        forms = {(False, False): lines.SPACED, (True, False): lines.TAGGED, (False, True): lines.JSON}
        form = forms.get((self.tags, self.json), lines.TAGGED_JSON)
        make_writer = functools.cache(functools.partial(_make_writer, self.model, self.standard, self.user_dict, form))
        make_writer()  # what is wrong with the arguments shows before anything is read
        blocks = itertools.chain.from_iterable(map(_checked_blocks, self.files or ("-",)))
        if self.text is not None:
            blocks = iter([f"{self.text}\n".encode()])
        for block in lines.write_all(make_writer, blocks, self.processes):
            if hasattr(sys.stdout, "buffer"):
                sys.stdout.buffer.write(block)
            else:  # a notebook's, or one that was redirected
                sys.stdout.write(block.decode())
            sys.stdout.flush()


def _make_writer(model: str, standard: str | None, user_dict: Path | None, form: str) -> lines.LineWriter:
    return lines.LineWriter(_segmenter(model, standard, user_dict), form)


def _checked_blocks(name: str) -> Iterator[bytes]:
    """The lines of a file in blocks; those before a line that is not UTF-8 come out before the error."""
    source: str | BinaryIO = sys.stdin.buffer if name == "-" else name
    shown = "standard input" if name == "-" else name
    line_number, byte_offset = 1, 0
    for block in read_line_blocks(source):
        try:
            block.decode("utf-8")
        except UnicodeDecodeError as error:
            good = block.rfind(b"\n", 0, error.start) + 1
            if good:
                yield block[:good]
            line_number += block.count(b"\n", 0, error.start)
            raise not_utf8(shown, line_number, block[error.start], byte_offset + error.start) from None
        yield block
        line_number += block.count(b"\n")
        byte_offset += len(block)


def _segmenter(model: str, standard: str | None, user_dict: Path | None) -> Segmenter:
    segmenter = load(model)
    if not isinstance(segmenter, Segmenter):
        raise ValueError(f"{model}: not a segmenter; give the run directory of one.")
    if standard is not None:
        segmenter.runtime.config.standard_id(standard)
        segmenter.standard = standard
    if user_dict is not None:
        segmenter.dictionary = UserDictionary.from_file(user_dict)
    return segmenter


def _validation_scores(segmenter: Segmenter, held_out) -> dict[str, float]:
    found = {}
    for standard, sentences in held_out.items():
        predicted = segmenter.segment(["".join(words) for words in sentences], standard)
        found[f"{standard}_f1"] = round(100 * score_segmentation(sentences, predicted)["f1"], 3)
    found["mean_f1"] = round(sum(found.values()) / len(found), 3)
    say("validation: " + ", ".join(f"{name} {value:.2f}" for name, value in found.items()))
    return found


COMMANDS = {"train": Train, "evaluate": Evaluate, "segment": Segment}
