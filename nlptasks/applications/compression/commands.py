"""BERT-of-Theseus: compress a fine-tuned classifier, labeler or reader into one with fewer layers.

    nlptasks compression train --task classification --train A.jsonl --valid B.jsonl \
        --checkpoint DIR --successor-layers 6 --output runs/small
    nlptasks compression train --task labeling --train A.jsonl --valid B.jsonl \
        --predecessor runs/ner --successor-layers 3 --output runs/small_ner

Three stages: the predecessor is fine-tuned (or given), its groups of layers are replaced by single layers while these
are trained, and the successor alone is fine-tuned. The result is an ordinary model directory, used like any other: with
evaluate and predict of the task's own script, or `nlptasks.load`. The method and its scores: docs/theseus.md.
"""

import abc
import dataclasses
import functools
import json
import math
import os
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import numpy as np

# the gradient of a branch makes TensorFlow warn of its own type inference, many lines that mean nothing here
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

from nlptasks.applications.classification.classifier import ClassificationExamples, Classifier, classification_model
from nlptasks.applications.compression.theseus import (
    MIXINGS,
    ReplacementSchedule,
    Theseus,
    initial_layers,
    make_successor,
    transformer_of,
)
from nlptasks.applications.encoder_head import HEAD, read_settings
from nlptasks.applications.labeling.labeler import HEADS, Labeler, labeling_model
from nlptasks.applications.labeling.samples import LabelingExamples
from nlptasks.applications.options import FileColumns, require_empty_run, require_positive
from nlptasks.applications.reading.reader import Reader
from nlptasks.applications.reading.samples import ReadingExamples
from nlptasks.applications.reading.windows import ReadingLengths
from nlptasks.checkpoints.configs import config_from_json
from nlptasks.console import progress_bar, say
from nlptasks.files import read_json_object, write_text
from nlptasks.loading import build_transformer_model, config_file
from nlptasks.metrics.classification import score_labels
from nlptasks.metrics.entities import score_entities
from nlptasks.metrics.reading import score_reading
from nlptasks.opening import load
from nlptasks.text import Tokenizer, read_questions
from nlptasks.text.entities import read_entities
from nlptasks.text.labelled import read_labelled, require_known, sort_labels
from nlptasks.train.loop import train
from nlptasks.train.optimizers import make_adam
from nlptasks.train.run import start_run

OPTIONS, SCORES, WEIGHTS = "options.json", "scores.json", "model.safetensors"
STAGES = PREDECESSOR, REPLACEMENT, SUCCESSOR = "predecessor", "replacement", "successor"


@dataclass(kw_only=True)
class Train(FileColumns):
    """Fine-tune a model, replace its layers, fine-tune the smaller one; Ctrl-C saves the run in any stage."""

    task: str
    """classification, labeling or reading"""
    train: tuple[Path, ...]
    """training files, as the task's own script reads them"""
    valid: Path
    """validation file: it chooses the best epoch of the first and the last stage"""
    output: Path
    """run directory: the small model, options, scores, log and curve; the stages before it in folders of their own"""
    successor_layers: int
    """layers of the small model; they must divide the predecessor's"""
    checkpoint: Path | None = None
    """a BERT to fine-tune first: a directory with its config, weights and vocab.txt"""
    predecessor: Path | None = None
    """instead of --checkpoint: the run directory of a model of this task that is fine-tuned already"""
    resume: bool = False
    """continue an interrupted run; stages that are finished are not run again"""

    init: str = "first"
    """what the small model starts from: the predecessor's first layers, or even: the last one of each group"""
    mixing: str = "coin"
    """coin: a layer is replaced or not, by chance, in every step; anneal: both are computed and blended"""
    schedule: str = "linear"
    """of the replacement rate: constant, or rising to 1 in a linear way (the paper's curriculum) or along a cosine"""
    rate: float = 0.5
    """the replacement rate, with linear and cosine of the first step"""
    rise_share: float = 1.0
    """with linear and cosine: share of the second stage after which the rate is 1"""
    replace_embeddings: bool = False
    """replace the embeddings, too; else they stay the predecessor's until the last stage"""

    predecessor_epochs: int = 5
    replacement_epochs: int = 5
    successor_epochs: int = 5
    batch_size: int = 32
    learning_rate: float = 2e-5
    """Adam's; 2e-5 suits a BERT-base checkpoint"""
    replacement_learning_rate: float | None = None
    """of the second stage; left out, --learning-rate"""
    warmup_share: float = 0.0
    """share of a stage's updates in which the learning rate rises; goes with --decay"""
    decay: bool = False
    """let the learning rate of each stage fall linearly to 0"""
    clip_norm: float | None = None
    """bound of the gradients' norm"""
    dropout: float = 0.1
    """of a predecessor from --checkpoint, and its successor"""
    precision: str = "float32"
    """float32 or bfloat16"""
    seed: int = 0

    multi_label: bool = False
    """classification: a text may have any number of labels"""
    pooling: str | None = None
    """classification: first (the default) or mean; this and the settings below are those of --predecessor if given"""
    max_length: int | None = None
    """classification, labeling: most tokens read at once, 128 where left out"""
    head: str | None = None
    """labeling: crf (the default), global-pointer or efficient-global-pointer"""
    passage_length: int | None = None
    """reading: most tokens of [CLS] passage [SEP], 256 where left out"""
    question_length: int | None = None
    """reading: most tokens of question [SEP], 64 where left out"""
    answer_length: int | None = None
    """reading: most tokens of answer [SEP], 32 where left out"""
    negative_ratio: float | None = None
    """reading: how often a passage without an answer is drawn; left out, passages are drawn uniformly"""
    valid_limit: int | None = None
    """reading: score no more than this many validation questions after an epoch"""

    def run(self) -> None:
        require_positive(self, "batch_size", "predecessor_epochs", "replacement_epochs", "successor_epochs")
        require_positive(self, "valid_limit")
        if self.task not in JOBS:
            raise ValueError(f"--task must be one of {', '.join(JOBS)}. Received: {self.task}.")
        if (self.checkpoint is None) == (self.predecessor is None):
            raise ValueError("give either --checkpoint DIR (to fine-tune first) or --predecessor RUN_DIR.")
        self._check_replacement()
        job = JOBS[self.task](self)
        require_empty_run(self.output, OPTIONS, self.resume)
        options = self._recorded()
        if self.resume:
            _require_same(self.output / OPTIONS, options)
        start_run(self.seed, self.precision)
        first = self.predecessor or self.output / PREDECESSOR
        if self.predecessor is None and not (first / SCORES).is_file():
            seed = self._begin(PREDECESSOR)
            self._fine_tune(job, job.start(self), first, self.predecessor_epochs, seed, options)
        replaced = self.output / REPLACEMENT
        if not (replaced / SCORES).is_file():
            self._replace(job, first, replaced, options)
        if not (self.output / SCORES).is_file():
            seed = self._begin(SUCCESSOR)
            self._fine_tune(job, load(replaced), self.output, self.successor_epochs, seed, options)
        former, best = (read_json_object(folder / SCORES) for folder in (replaced, self.output))
        rows = [former["predecessor"], former["best"], best["best"]]
        print(_table(job.score_name, [first, replaced, self.output], rows))
        say(f"{self.output}: ready for evaluate and predict of nlptasks {job.application}")

    def _check_replacement(self) -> None:
        """Refuses now what the second stage would refuse hours later."""
        if not 0 < self.rise_share <= 1:
            raise ValueError(f"--rise-share must lie above 0 and be at most 1. Received: {self.rise_share}.")
        if self.mixing not in MIXINGS:
            raise ValueError(f"--mixing must be one of {', '.join(MIXINGS)}. Received: {self.mixing}.")
        ReplacementSchedule(kind=self.schedule, start=self.rate)
        for rate in (self.learning_rate, self._replacement_learning_rate()):
            make_adam(rate, 1, self.warmup_share, self.decay, self.clip_norm)
        path = config_file(self.checkpoint or self.predecessor)
        num_layers = config_from_json(read_json_object(path), path).num_layers
        initial_layers(num_layers, self.successor_layers, self.init)

    def _replacement_learning_rate(self) -> float:
        rate = self.replacement_learning_rate
        return self.learning_rate if rate is None else rate

    def _recorded(self) -> dict:
        options = json.loads(json.dumps(dataclasses.asdict(self), default=str))
        for name in ("resume", "output"):  # where a run stands is not what it is: a moved one resumes too
            del options[name]
        return options

    def _begin(self, stage: str) -> int:
        """Seeds a stage by itself, so that it is the same whether those before it ran in this process or not."""
        number = STAGES.index(stage)
        seed = len(STAGES) * self.seed + number
        start_run(seed, self.precision)
        say(f"stage {number + 1} of {len(STAGES)}: {stage}")
        return seed

    def _replace(self, job, first: Path, directory: Path, options: dict) -> None:
        """The second stage. Its last weights go on, not those of its best epoch: the schedule leads to them."""
        seed = self._begin(REPLACEMENT)
        predecessor = load(first)
        before = job.scores(predecessor)
        successor = make_successor(predecessor, self.successor_layers, self.init)
        theseus = Theseus(predecessor.model, successor.model, self.replace_embeddings, self.mixing, seed)
        examples = job.examples(predecessor, seed)
        steps = math.ceil(len(examples) / self.batch_size)
        rise = max(1, round(self.rise_share * steps * self.replacement_epochs))
        schedule = ReplacementSchedule(kind=self.schedule, start=self.rate, rise_steps=rise)

        def loss(batch: dict):
            return predecessor.loss(batch, encode=functools.partial(theseus.encode, rate=batch["rate"]))

        def arrays(numbered: tuple) -> dict:
            step, batch = numbered
            return {**examples.arrays(batch, self.batch_size), "rate": np.asarray(schedule(step), "float32")}

        progress = self._fit(
            theseus,
            loss,
            steps=steps,
            epochs=self.replacement_epochs,
            learning_rate=self._replacement_learning_rate(),
            epoch_batches=lambda epoch: list(enumerate(examples.batches(epoch, self.batch_size), epoch * steps)),
            make_batch=arrays,
            validate=lambda: _told(job.scores(successor)),
            score_name=job.score_name,
            save_best=lambda: None,
            directory=directory,
            options=options,
        )
        successor.save(directory)
        _write_scores(directory, progress.history, progress.history[-1], predecessor=before)

    def _fine_tune(self, job, application, directory: Path, epochs: int, seed: int, options: dict) -> None:
        """The first and the third stage: trains all of an application and saves its best epoch."""
        examples = job.examples(application, seed)
        progress = self._fit(
            application.model,
            application.loss,
            steps=math.ceil(len(examples) / self.batch_size),
            epochs=epochs,
            learning_rate=self.learning_rate,
            epoch_batches=lambda epoch: examples.batches(epoch, self.batch_size),
            make_batch=lambda batch: examples.arrays(batch, self.batch_size),
            validate=lambda: _told(job.scores(application)),
            score_name=job.score_name,
            save_best=lambda: application.save(directory),
            directory=directory,
            options=options,
        )
        _write_scores(directory, progress.history, max(progress.history, key=lambda row: row[job.score_name]))

    def _fit(self, model, loss, *, steps: int, epochs: int, learning_rate: float, options: dict, **arguments):
        if not (self.output / OPTIONS).is_file():  # now that nothing was refused
            write_text(self.output / OPTIONS, json.dumps(options, ensure_ascii=False, indent=1) + "\n")
        optimizer = make_adam(learning_rate, steps * epochs, self.warmup_share, self.decay, self.clip_norm)
        shared = {"options": options, "resume": self.resume, "progress_bar": progress_bar}
        return train(model, optimizer, loss, epochs=epochs, **shared, **arguments)


def _told(scores: dict[str, float]) -> dict[str, float]:
    say("validation: " + ", ".join(f"{name} {value:.2f}" for name, value in scores.items()))
    return scores


class Job(abc.ABC):
    """What a task brings: its data, how a model of it begins, and its scores.

    Attributes:
        task: what its model directories say.
        application: the first word of its own commands.
        score_name: of `scores`, by which the best epoch is chosen.
        defaults: settings of the model that the options leave out.
    """

    task: str
    application: str
    score_name: str
    defaults: ClassVar[dict]

    def __init__(self, options: Train):
        self.settings = _settings(options, self)
        self.training = [text for path in options.train for text in self.read(path, options)]
        self.validation = self.read(options.valid, options)[: options.valid_limit]

    @abc.abstractmethod
    def read(self, path: Path, options: Train) -> list:
        """What a data file holds."""

    @abc.abstractmethod
    def start(self, options: Train):
        """An application on the encoder of --checkpoint, with a fresh head."""

    @abc.abstractmethod
    def examples(self, application, seed: int):
        """The training batches."""

    @abc.abstractmethod
    def scores(self, application) -> dict[str, float]:
        """On the validation file, in percent."""


class ClassificationJob(Job):
    """Texts or pairs of texts, one label or several."""

    task, application = Classifier.task, "classification"
    defaults: ClassVar = {"multi_label": False, "pooling": "first", "max_length": 128}

    def __init__(self, options: Train):
        super().__init__(options)
        self.score_name = "micro_f1" if self.settings["multi_label"] else "accuracy"
        self.labels = sort_labels(label for text in self.training for label in text.labels)
        known = self.settings.get("labels", self.labels)
        _require_labels(self.labels, known, options.predecessor)
        require_known(((label, text.place) for text in self.validation for label in text.labels), known)

    def read(self, path, options):
        pair = options.second_text is not None
        if self.settings.get("pair", pair) != pair:
            hint = "name the second column with --second-text" if not pair else "leave --second-text out"
            raise ValueError(f"{options.predecessor}: reads {'texts' if pair else 'pairs of texts'}; {hint}.")
        return read_labelled(path, options.columns_of(self.settings["multi_label"]))

    def start(self, options):
        tokenizer = Tokenizer.from_directory(options.checkpoint)
        model = classification_model(_encoder(options), len(self.labels), options.dropout)
        return Classifier(model, tokenizer, self.labels, pair=options.second_text is not None, **self.settings)

    def examples(self, application, seed):
        labels = [text.labels for text in self.training]
        return ClassificationExamples(application, _texts(self.training), labels, seed)

    def scores(self, application):
        found = application.predict(_texts(self.validation))
        scores = score_labels([text.labels for text in self.validation], [result.labels for result in found])
        return {name: scores[name] for name in ("accuracy", "macro_f1", "micro_f1")}


class LabelingJob(Job):
    """Entities of texts."""

    task, application, score_name = Labeler.task, "labeling", "f1"
    defaults: ClassVar = {"head": "crf", "max_length": 128}

    def __init__(self, options: Train):
        super().__init__(options)
        if self.settings["head"] not in HEADS:
            raise ValueError(f"--head must be one of {', '.join(HEADS)}. Received: {self.settings['head']}.")
        self.types = sorted({entity.type for text in self.training for entity in text.entities})
        if not self.types:
            raise ValueError(f"{options.train[0]}: no text has an entity; there is nothing to learn.")
        known = self.settings.get("types", self.types)
        _require_labels(self.types, known, options.predecessor)
        require_known(((e.type, text.place) for text in self.validation for e in text.entities), known)

    def read(self, path, options):
        return read_entities(path)

    def start(self, options):
        tokenizer = Tokenizer.from_directory(options.checkpoint)
        model = labeling_model(_encoder(options), self.settings["head"], len(self.types), options.dropout)
        return Labeler(model, tokenizer, self.types, **self.settings)

    def examples(self, application, seed):
        known = application.types
        return LabelingExamples(
            application.tokenizer, application.max_length, self.training, known, application.head == "crf", seed
        )

    def scores(self, application):
        found = application.predict([text.text for text in self.validation])
        gold = [text.entities for text in self.validation]
        scores = score_entities(*([[(e.start, e.end, e.type) for e in x] for x in side] for side in (gold, found)))
        return {name: scores[name] for name in ("precision", "recall", "f1")}


class ReadingJob(Job):
    """Questions with passages, answered by sequence to sequence."""

    task, application, score_name = Reader.task, "reading", "cmrc_f1"
    defaults: ClassVar = {"passage_length": 256, "question_length": 64, "answer_length": 32}

    def __init__(self, options: Train):
        super().__init__(options)
        self.negative_ratio = options.negative_ratio
        if options.replace_embeddings:
            raise ValueError(
                "--replace-embeddings does not go with --task reading: the table of embeddings is the reader's output "
                "matrix, too, which stays the predecessor's while layers are replaced; leave it out."
            )

    def read(self, path, options):
        return read_questions(path)

    def start(self, options):
        dropouts = {"dropout": options.dropout, "attention_dropout": options.dropout}
        model = build_transformer_model(
            options.checkpoint, options.checkpoint, application="unilm", with_mlm="linear", **dropouts
        )
        return Reader(model, Tokenizer.from_directory(options.checkpoint), ReadingLengths(**self.settings))

    def examples(self, application, seed):
        return ReadingExamples(
            self.training, application.tokenizer, application.lengths, self.negative_ratio, seed, application.method
        )

    def scores(self, application):
        asked = [question for question in self.validation if question.question.strip()]
        answers = application.answer_batch([(q.question, [p.text for p in q.passages]) for q in asked])
        found = {question.id: "" for question in self.validation}
        found |= {question.id: answer.text for question, answer in zip(asked, answers, strict=True)}
        scores = score_reading(self.validation, found)["all"]
        return {name: scores[name] for name in ("cmrc_em", "cmrc_f1")}


JOBS = {"classification": ClassificationJob, "labeling": LabelingJob, "reading": ReadingJob}


def _settings(options: Train, job: Job) -> dict:
    """Those of the predecessor, else those of the options, else the defaults."""
    given = {name: getattr(options, name) for name in job.defaults}
    if options.predecessor is None:
        return {name: job.defaults[name] if value is None else value for name, value in given.items()}
    settings = read_settings(options.predecessor, job.task, job.application)
    for name, value in given.items():
        if value not in (None, False, settings.get(name)):
            raise ValueError(
                f"--{name.replace('_', '-')} {value} is not what {options.predecessor} has, {settings.get(name)}; "
                "leave it out: the predecessor's settings hold."
            )
    return settings


def _encoder(options: Train):
    dropouts = {"dropout": options.dropout, "attention_dropout": options.dropout}
    return build_transformer_model(options.checkpoint, options.checkpoint, skip=(HEAD,), **dropouts)


def _texts(texts: list) -> list:
    return [text.text if text.second_text is None else (text.text, text.second_text) for text in texts]


def _require_labels(labels, known, path: Path) -> None:
    if unknown := [label for label in labels if label not in known]:
        raise ValueError(
            f"{path}: the predecessor does not know {len(unknown)} of the {len(labels)} labels of the training files "
            f"({', '.join(unknown[:5])}; it knows {', '.join(known[:5])}{', ...' if len(known) > 5 else ''}); give the "
            "files that it was trained on."
        )
    if missing := [label for label in known if label not in labels]:
        say(f"note: the training files have no example of {len(missing)} labels of the predecessor: {missing[:5]}")


def _require_same(path: Path, options: dict) -> None:
    former = read_json_object(path)
    for name in sorted(former.keys() | options.keys()):
        if former.get(name) != options.get(name):
            raise ValueError(
                f"{path}: the run was started with {name}={former.get(name)!r}, now {name}={options.get(name)!r}; "
                "resume with the same options, or start anew in another --output."
            )


def _write_scores(directory: Path, history: list[dict], best: dict, **more: object) -> None:
    write_text(directory / SCORES, json.dumps({"best": best, "epochs": history} | more, indent=1) + "\n")


def _table(score_name: str, directories: list[Path], scores: list[dict]) -> str:
    lines = [f"{'':16}{'layers':>8}{'parameters':>14}{'MB':>8}{score_name:>12}"]
    for stage, directory, row in zip(STAGES, directories, scores, strict=True):
        model = load(directory).model
        megabytes = (directory / WEIGHTS).stat().st_size / 1e6
        sizes = f"{transformer_of(model).config.num_layers:>8}{model.count_params():>14,}{megabytes:>8.1f}"
        lines.append(f"{stage:16}{sizes}{row[score_name]:>12.2f}")
    return "\n".join(lines)


COMMANDS = {"train": Train}
