"""Text classification: train, score and use a classifier of texts or of pairs of texts, with one label or several.

    nlptasks classification train --train A.jsonl --valid B.jsonl --checkpoint DIR --output runs/classifier
    nlptasks classification evaluate --model runs/classifier --data test.jsonl
    nlptasks classification predict --model runs/classifier --texts 第一句 第二句

Files are JSON lines, CSV or tab-separated, plain or gzip; columns are chosen by name. For a file without a header line,
name the columns: --columns label text. docs/classification.md has scores next to those of a linear baseline.
"""

import json
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from nlptasks.applications.classification.predicting import Classification, TextClassifier
from nlptasks.applications.classification.training import SHOWN, ClassifierOptions, train_classifier
from nlptasks.applications.options import COLUMNS_RENAMED, FileColumns, OnModel, require_input, require_output
from nlptasks.applications.results import f1_table, say_ready, write_rows
from nlptasks.applications.unread import tell_cut, tell_unknown
from nlptasks.console import padded, progress_bar, say
from nlptasks.errors import UserError, told
from nlptasks.metrics.classification import score_labels
from nlptasks.opening import load
from nlptasks.text.labeled import LabeledText, read_labeled, require_known
from nlptasks.train.options import TextFiles


@dataclass(kw_only=True)
class Train(FileColumns, ClassifierOptions, TextFiles):
    """Train a classifier; the best epoch on the validation file is kept."""

    RENAMED: ClassVar[dict[str, str]] = ClassifierOptions.RENAMED | COLUMNS_RENAMED

    train: tuple[Path, ...]
    """training files"""
    valid: Path
    """validation file; the epoch with the best accuracy on it (with several labels: micro F1) is kept"""

    def run(self) -> None:
        """Reads the files and trains."""
        columns = self.columns_of(self.multi_label)
        training = [text for path in self.train for text in read_labeled(path, columns)]
        learned = train_classifier(self, training, read_labeled(self.valid, columns))
        say_ready(self.output, "evaluate and predict", learned)


@dataclass(kw_only=True)
class Evaluate(FileColumns, OnModel, TextFiles):
    """Score a classifier on a file."""

    model: Path
    """the run directory of a model"""
    data: Path
    """file of texts with labels"""
    predictions: Path | None = None
    """write text, gold labels and prediction to this file, one JSON object per line"""
    json: bool = False
    """write a JSON object as the last line of the output"""

    def run(self) -> None:
        require_input(self.data)
        require_output(self.predictions, self.data)
        classifier = _load(self.model, self)
        texts = read_labeled(self.data, self.columns_of(classifier.multi_label))
        require_known(((label, text.place) for text in texts for label in text.labels), classifier.labels)
        started = time.monotonic()
        found = _predict(classifier, texts)
        seconds = time.monotonic() - started
        say(f"{len(texts)} texts in {seconds:.1f} s")
        scores = score_labels([text.labels for text in texts], [result.labels for result in found])
        if self.predictions is not None:
            write_rows(
                self.predictions,
                [_row(text, one) | {"gold": list(text.labels)} for text, one in zip(texts, found, strict=True)],
            )
        print(_table(scores))
        if self.json:
            print(json.dumps({"scores": scores, "seconds": seconds}, ensure_ascii=False))


@dataclass(kw_only=True)
class Predict(FileColumns, OnModel, TextFiles):
    """Classify texts from the command line or from a file."""

    model: Path
    """the run directory of a model"""
    texts: tuple[str, ...] = ()
    """one or more texts; a classifier of pairs takes first text, second text, first text, ..."""
    data: Path | None = None
    """file of texts; labels in it are not read"""
    output: Path | None = None
    """write to this file, one JSON object per line, instead of printing"""
    json: bool = False
    """print one JSON object per text, with the scores of all labels"""

    def run(self) -> None:
        if bool(self.texts) == (self.data is not None):
            raise UserError("give either {field:texts} TEXT... or {field:data} FILE.")
        require_input(self.data)
        require_output(self.output, self.data)
        classifier = _load(self.model, self) if self.data is not None else load_classifier(self.model)
        if self.data is not None:
            texts = read_labeled(self.data, self.columns_of(classifier.multi_label, with_label=False))
        else:
            texts = self._given(classifier.pair)
        found = _predict(classifier, texts)
        rows = [_row(text, result) for text, result in zip(texts, found, strict=True)]
        if self.output is not None:
            write_rows(self.output, rows)
            return
        for row in rows:
            print(json.dumps(row, ensure_ascii=False) if self.json else _shown(row))

    def _given(self, pair: bool) -> list[LabeledText]:
        if pair and len(self.texts) % 2:
            raise UserError(
                "{field:texts} takes pairs for this classifier. Received: {count} texts; add one.",
                count=len(self.texts),
            )
        if empty := [i for i, text in enumerate(self.texts, 1) if not text.strip()]:
            raise UserError("{field:texts}: text {number} is empty; there is nothing to classify.", number=empty[0])
        if pair:
            return [LabeledText(a, b, (), "") for a, b in zip(self.texts[::2], self.texts[1::2], strict=True)]
        return [LabeledText(text, None, (), "") for text in self.texts]


def load_classifier(path: Path) -> TextClassifier:
    """The classifier of a directory: of a run, for which Keras is imported only here, or exported."""
    return load(path, TextClassifier)


def _load(path: Path, columns: FileColumns) -> TextClassifier:
    classifier = load_classifier(path)
    if classifier.pair != (columns.second_text_column is not None):
        hint = "name the second column with" if classifier.pair else "leave out"
        raise UserError(
            "{path}: this classifier reads {what}; {hint} {field:second_text_column}.",
            path=path,
            what="pairs of texts" if classifier.pair else "texts",
            hint=hint,
        )
    return classifier


def _predict(classifier: TextClassifier, texts: Sequence[LabeledText]) -> list[Classification]:
    given = [text.text_or_pair for text in texts]
    encodings, cut = classifier.encode(given)
    tell_cut(cut, len(texts), "texts", classifier.seq_length)
    tell_unknown(classifier.tokenizer, encodings, given, "texts")

    def bar(items: Iterable) -> Iterable:
        return progress_bar(items, told("classifying"))

    return classifier.predict(given, progress=bar)


def _row(text: LabeledText, result: Classification) -> dict:
    row = {"text": text.text, "labels": list(result.labels)}
    if text.second_text is not None:
        row["second_text"] = text.second_text
    return row | {"scores": {label: round(score, 6) for label, score in result.scores.items()}}


def _shown(row: dict) -> str:
    """The labels with their scores, and the text, with tabs between."""
    text = " / ".join(row[name] for name in ("text", "second_text") if name in row)
    scores = ",".join(f"{row['scores'][label]:.3f}" for label in row["labels"])
    return f"{','.join(row['labels']) or '-'}\t{scores or '-'}\t{text}"


def _table(scores: dict) -> str:
    lines = [f"{padded(told('texts'), 24)}{scores['texts']:>10}"]
    lines += [f"{padded(told(name), 24)}{scores[name]:>10.2f}" for name in SHOWN]
    return "\n".join([*lines, "", *f1_table(told("label"), scores["labels"])])


COMMANDS = {"train": Train, "evaluate": Evaluate, "predict": Predict}
