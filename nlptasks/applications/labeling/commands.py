"""Sequence labeling: train, score and use a model that finds the entities of texts.

    nlptasks labeling train --train A.jsonl --valid B.jsonl --checkpoint DIR --output runs/ner
    nlptasks labeling evaluate --model runs/ner --data test.jsonl
    nlptasks labeling predict --model runs/ner --texts 第一句 第二句

Files are CLUENER's JSON lines, or columns of characters with BIO tags; plain or gzip. Heads: --head crf, global-pointer
(entities may nest) or efficient-global-pointer. docs/labeling.md has scores next to those of a linear baseline.
"""

import dataclasses
import json
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from nlptasks.applications.labeling.predicting import EntityFinder
from nlptasks.applications.labeling.training import LabelerOptions, span_keys, train_labeler
from nlptasks.applications.options import OnModel, require_input, require_output
from nlptasks.applications.results import f1_table, say_ready, write_rows
from nlptasks.applications.unread import tell_unknown
from nlptasks.console import progress_bar, say
from nlptasks.errors import UserError, told
from nlptasks.metrics.entities import score_entities
from nlptasks.opening import load
from nlptasks.text.entities import Entity, read_entities, read_unlabeled
from nlptasks.text.labeled import require_known
from nlptasks.train.options import TextFiles


@dataclass(kw_only=True)
class Train(LabelerOptions, TextFiles):
    """Train a labeler; the epoch with the best entity F1 on the validation file is kept."""

    train: tuple[Path, ...]
    """training files"""
    valid: Path
    """validation file"""

    def run(self) -> None:
        """Reads the files and trains."""
        training = [text for path in self.train for text in read_entities(path)]
        learned = train_labeler(self, training, read_entities(self.valid))
        say_ready(self.output, "evaluate and predict", learned)


@dataclass(kw_only=True)
class Evaluate(OnModel, TextFiles):
    """Score a labeler on a file; an entity is right if its start, its end and its type are right."""

    model: Path
    """the run directory of a model"""
    data: Path
    """file of texts with entities"""
    predictions: Path | None = None
    """write text, gold and predicted entities to this file, one JSON object per line"""
    json: bool = False
    """write a JSON object as the last line of the output"""

    def run(self) -> None:
        """Prints the scores."""
        require_input(self.data)
        require_output(self.predictions, self.data)
        texts = read_entities(self.data)
        labeler = load_labeler(self.model)
        require_known(((e.type, text.place) for text in texts for e in text.entities), labeler.types)
        started = time.monotonic()
        found = _predict(labeler, [text.text for text in texts])
        seconds = time.monotonic() - started
        say(f"{len(texts)} texts in {seconds:.1f} s")
        scores = score_entities(
            [span_keys(text.entities) for text in texts], [span_keys(entities) for entities in found]
        )
        if self.predictions is not None:
            both = zip(texts, found, strict=True)
            write_rows(
                self.predictions, [_row(t.text, entities) | {"gold": _dicts(t.entities)} for t, entities in both]
            )
        print("\n".join(f1_table(told("type"), {told("all"): scores, **scores["types"]})))
        if self.json:
            print(json.dumps({"scores": scores, "seconds": seconds}, ensure_ascii=False))


@dataclass(kw_only=True)
class Predict(OnModel, TextFiles):
    """Find the entities in texts from the command line or from a file."""

    model: Path
    """the run directory of a model"""
    texts: tuple[str, ...] = ()
    """one or more texts"""
    data: Path | None = None
    """file with one text per line, a .jsonl file with objects that have a `text`, or columns as for training"""
    output: Path | None = None
    """write to this file, one JSON object per line, instead of printing"""
    json: bool = False
    """print one JSON object per text"""

    def run(self) -> None:
        """Prints the entities, or writes them."""
        if bool(self.texts) == (self.data is not None):
            raise UserError("give either {field:texts} TEXT... or {field:data} FILE.")
        require_input(self.data)
        require_output(self.output, self.data)
        texts = list(self.texts) if self.data is None else read_unlabeled(self.data)
        if empty := [i for i, text in enumerate(texts, 1) if not text.strip()]:
            if self.data is None:
                raise UserError("{field:texts}: text {number} is empty; there is nothing to label.", number=empty[0])
            raise UserError(
                "{path}: text {number} is empty; there is nothing to label.", path=self.data, number=empty[0]
            )
        labeler = load_labeler(self.model)
        found = _predict(labeler, texts)
        rows = [_row(text, entities) for text, entities in zip(texts, found, strict=True)]
        if self.output is not None:
            write_rows(self.output, rows)
            return
        for row in rows:
            if self.json:
                print(json.dumps(row, ensure_ascii=False))
                continue
            print(row["text"])
            for entity in row["entities"]:
                place, sure = f"{entity['start']}-{entity['end']}", f"{entity['probability']:.3f}"
                print(f"  {place}\t{entity['type']}\t{sure}\t{entity['text']}")


def load_labeler(path: Path) -> EntityFinder:
    """The labeler of a directory: of a run, for which Keras is imported only here, or exported."""
    return load(path, EntityFinder)


def _predict(labeler: EntityFinder, texts: Sequence[str]) -> list[list[Entity]]:
    if long := sum(count > 1 for count in labeler.num_windows(texts)):
        say(
            f"{long} of {len(texts)} texts are longer than {labeler.seq_length} tokens and are read in several windows."
        )

    encodings = labeler.tokenizer.encode_batch(texts, with_offsets=False)
    tell_unknown(labeler.tokenizer, encodings, texts, "texts")

    def bar(items: Iterable) -> Iterable:
        return progress_bar(items, told("labeling"))

    return labeler.predict(texts, progress=bar)


def _dicts(entities: Iterable[Entity]) -> list[dict[str, Any]]:
    """Entities for JSON; those that no model has found have no probability."""
    rows = [dataclasses.asdict(entity) for entity in entities]
    for row in rows:
        sure = row.pop("probability")
        row |= {} if sure is None else {"probability": round(sure, 6)}
    return rows


def _row(text: str, entities: Iterable[Entity]) -> dict[str, Any]:
    return {"text": text, "entities": _dicts(entities)}


COMMANDS = {"train": Train, "evaluate": Evaluate, "predict": Predict}
