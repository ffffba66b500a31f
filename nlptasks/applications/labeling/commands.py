"""Sequence labelling: train, score and use a model that finds the entities of texts.

    nlptasks labeling train --train A.jsonl --valid B.jsonl --checkpoint DIR --output runs/ner
    nlptasks labeling evaluate --model runs/ner --data test.jsonl
    nlptasks labeling predict --model runs/ner --texts 第一句 第二句

Files are CLUENER's JSON lines, or columns of characters with BIO tags; plain or gzip. Heads: --head crf, global-pointer
(entities may nest) or efficient-global-pointer. Scores beside a linear baseline: docs/labeling.md.
"""

import dataclasses
import json
import time
from dataclasses import dataclass
from pathlib import Path

from nlptasks.applications.encoder_head import HEAD
from nlptasks.applications.labeling.labeler import HEADS, Labeler, labeling_model
from nlptasks.applications.labeling.samples import LabelingExamples
from nlptasks.applications.options import require_empty_run, require_positive
from nlptasks.applications.scratch import scratch_config, transformer_from_scratch
from nlptasks.console import progress_bar, say
from nlptasks.core import Transformer
from nlptasks.files import require_writable, write_text
from nlptasks.loading import build_transformer_model
from nlptasks.metrics.entities import score_entities
from nlptasks.opening import load
from nlptasks.text import Tokenizer, build_character_vocab, read_texts
from nlptasks.text.entities import Entity, EntityText, read_entities
from nlptasks.text.labelled import require_known
from nlptasks.train.extras import TrainingExtras
from nlptasks.train.loop import train
from nlptasks.train.optimizers import make_adam
from nlptasks.train.run import start_run

OPTIONS, SCORES = "options.json", "scores.json"
SHOWN = ("precision", "recall", "f1")


@dataclass(kw_only=True)
class Train(TrainingExtras):
    """Train a labeler; the epoch with the best entity F1 on the validation file is kept."""

    train: tuple[Path, ...]
    """training files"""
    valid: Path
    """validation file"""
    output: Path
    """run directory: model, vocabulary, options, scores, log and curve"""
    head: str = "crf"
    """crf, global-pointer or efficient-global-pointer"""
    checkpoint: str = "none"
    """a BERT to start from: a directory with its config, weights and vocab.txt; or none: train from scratch"""
    resume: bool = False
    """continue an interrupted run"""

    max_length: int = 128
    """most tokens read at once, [CLS] and [SEP] included; longer texts are cut into windows at sentence ends"""
    head_size: int = 64
    """of a pointer's queries and keys"""
    crf_lr_multiplier: float = 1.0
    """how many times as fast as the rest the CRF's transitions learn; 100 to 1000 with a small learning rate"""

    epochs: int = 10
    batch_size: int = 32
    learning_rate: float = 2e-5
    """Adam's; 2e-5 suits a BERT-base checkpoint, 1e-3 a small model from scratch"""
    warmup_share: float = 0.0
    """share of the updates in which the learning rate rises; goes with --decay"""
    decay: bool = False
    """let the learning rate fall linearly to 0"""
    clip_norm: float | None = None
    """bound of the gradients' norm"""
    precision: str = "float32"
    """float32 or bfloat16"""
    seed: int = 0

    vocab: Path | None = None
    """vocabulary of a model from scratch; left out, the characters of the training files"""
    min_count: int = 1
    """from scratch without --vocab: leave out characters seen less often"""
    hidden_size: int = 128
    """from scratch: hidden size (and the three below)"""
    num_layers: int = 2
    num_heads: int = 4
    ffn_size: int = 512
    dropout: float = 0.1

    def run(self) -> None:
        require_positive(self, "epochs", "batch_size", "min_count")
        self.check_extras()
        if self.head not in HEADS:
            raise ValueError(f"--head must be one of {', '.join(HEADS)}. Received: {self.head}.")
        training = [text for path in self.train for text in read_entities(path)]
        validation = read_entities(self.valid)
        types = sorted({entity.type for text in training for entity in text.entities})
        if not types:
            raise ValueError(f"{self.train[0]}: no text has an entity; there is nothing to learn.")
        require_known(((e.type, text.place) for text in validation for e in text.entities), types)
        require_empty_run(self.output, OPTIONS, self.resume)

        start_run(self.seed, self.precision, self.mesh)
        tokenizer = self._tokenizer(training)
        encoder = self._encoder(tokenizer)
        model = labeling_model(encoder, self.head, len(types), self.dropout, self.head_size, self.crf_lr_multiplier)
        model.transformer.recompute = self.recompute
        labeler = Labeler(model, tokenizer, types, self.head, self.max_length)
        say(f"model: {model.count_params():,} parameters, vocabulary of {tokenizer.vocab_size}, {len(types)} types")
        examples = LabelingExamples(tokenizer, self.max_length, training, types, self.head == "crf", self.seed)
        _tell(examples, training, self.max_length)

        steps = self.num_updates(len(examples), self.batch_size, self.epochs)
        optimizer = make_adam(self.learning_rate, steps, self.warmup_share, self.decay, self.clip_norm, self.ema)
        options = _jsonable(dataclasses.asdict(self))
        for name in ("resume", "output"):  # where a run stands is not what it is: a moved one resumes too
            del options[name]
        if not self.resume:
            write_text(self.output / OPTIONS, json.dumps(options, ensure_ascii=False, indent=1) + "\n")
        progress = train(
            model,
            optimizer,
            labeler.loss,
            epoch_batches=lambda epoch: examples.batches(epoch, self.batch_size),
            make_batch=lambda batch: examples.arrays(batch, self.batch_size),
            epochs=self.epochs,
            validate=lambda: _validation_scores(labeler, validation),
            score_name="f1",
            save_best=lambda: labeler.save(self.output),
            directory=self.output,
            options=options,
            resume=self.resume,
            progress_bar=progress_bar,
            extras=self,
            weight_of=lambda batch: batch["weights"].sum(),
        )
        best = max(progress.history, key=lambda row: row["f1"])
        write_text(self.output / SCORES, json.dumps({"best": best, "epochs": progress.history}, indent=1) + "\n")
        say(f"best epoch {best['epoch']}: {best}")
        say(f"{self.output}: ready for evaluate and predict")

    def _tokenizer(self, training: list[EntityText]) -> Tokenizer:
        if self.checkpoint != "none":
            return Tokenizer.from_directory(self.checkpoint)
        if self.vocab is not None:
            return Tokenizer(self.vocab)
        return Tokenizer(build_character_vocab((text.text for text in training), self.min_count))

    def _encoder(self, tokenizer: Tokenizer) -> Transformer:
        if self.checkpoint != "none":
            dropouts = {"dropout": self.dropout, "attention_dropout": self.dropout}
            return build_transformer_model(self.checkpoint, self.checkpoint, skip=(HEAD,), **dropouts)
        sizes = (self.hidden_size, self.num_layers, self.num_heads, self.ffn_size)
        return transformer_from_scratch(scratch_config(tokenizer.vocab_size, self.max_length, *sizes, self.dropout))


@dataclass(kw_only=True)
class Evaluate:
    """Score a labeler on a file: an entity is right when both its ends and its type are."""

    model: Path
    """run directory"""
    data: Path
    """texts with entities"""
    predictions: Path | None = None
    """write a JSON object a line there: text, gold and predicted entities"""
    json: bool = False
    """the last line of the output is one JSON object"""

    def run(self) -> None:
        texts = read_entities(self.data)
        if self.predictions is not None:
            require_writable(self.predictions)
        labeler = load_labeler(self.model)
        require_known(((e.type, text.place) for text in texts for e in text.entities), labeler.types)
        started = time.monotonic()
        found = _predict(labeler, [text.text for text in texts])
        seconds = time.monotonic() - started
        say(f"{len(texts)} texts in {seconds:.1f} s")
        scores = score_entities([_keys(text.entities) for text in texts], [_keys(entities) for entities in found])
        if self.predictions is not None:
            both = zip(texts, found, strict=True)
            _write(self.predictions, [_row(t.text, entities) | {"gold": _dicts(t.entities)} for t, entities in both])
        print(_table(scores))
        if self.json:
            print(json.dumps({"scores": scores, "seconds": seconds}, ensure_ascii=False))


@dataclass(kw_only=True)
class Predict:
    """Find the entities of texts of the command line, or of those of a file."""

    model: Path
    """run directory"""
    texts: tuple[str, ...] = ()
    """one or more texts"""
    data: Path | None = None
    """a file of texts: one a line, or in a .jsonl file the `text` of each object"""
    output: Path | None = None
    """write a JSON object a line there instead of printing"""
    json: bool = False
    """print JSON objects"""

    def run(self) -> None:
        if bool(self.texts) == (self.data is not None):
            raise ValueError("give either --texts TEXT... or --data FILE.")
        texts = list(self.texts) if self.data is None else list(read_texts(self.data))
        if empty := [i for i, text in enumerate(texts, 1) if not text.strip()]:
            raise ValueError(f"{self.data or '--texts'}: text {empty[0]} is empty; there is nothing to label.")
        if self.output is not None:
            require_writable(self.output)
        labeler = load_labeler(self.model)
        found = _predict(labeler, texts)
        rows = [_row(text, entities) for text, entities in zip(texts, found, strict=True)]
        if self.output is not None:
            _write(self.output, rows)
            return
        for row in rows:
            if self.json:
                print(json.dumps(row, ensure_ascii=False))
                continue
            print(row["text"])
            for entity in row["entities"]:
                print(f"  {entity['start']}-{entity['end']}\t{entity['type']}\t{entity['text']}")


def load_labeler(path: Path) -> Labeler:
    """The labeler of a run directory; ValueError where it holds another application."""
    labeler = load(path)
    if not isinstance(labeler, Labeler):
        raise ValueError(f"{path}: not a labeler; give the run directory of one.")
    return labeler


def _predict(labeler: Labeler, texts: list[str]) -> list[list[Entity]]:
    if long := sum(count > 1 for count in labeler.num_windows(texts)):
        say(
            f"{long} of {len(texts)} texts are longer than {labeler.max_length} tokens and are read in several windows."
        )
    return labeler.predict(texts, progress=lambda items: progress_bar(items, "labelling"))


def _tell(examples: LabelingExamples, training: list[EntityText], max_length: int) -> None:
    entities = sum(len(text.entities) for text in training)
    say(f"{len(training)} texts in {len(examples)} windows of at most {max_length} tokens, {entities} entities")
    if examples.num_windows_cut:
        say(f"{examples.num_windows_cut} texts are longer than one window and are read in several")
    if examples.num_lost:
        say(
            f"{examples.num_lost} entities cannot be learnt: they begin or end inside a token, or a window ends in them"
        )
    if examples.num_overlapping:
        say(f"{examples.num_overlapping} entities overlap longer ones, which a CRF cannot learn; a pointer can")


def _keys(entities) -> list[tuple[int, int, str]]:
    return [(entity.start, entity.end, entity.type) for entity in entities]


def _dicts(entities: list[Entity]) -> list[dict]:
    return [dataclasses.asdict(entity) for entity in entities]


def _row(text: str, entities: list[Entity]) -> dict:
    return {"text": text, "entities": _dicts(entities)}


def _validation_scores(labeler: Labeler, validation: list[EntityText]) -> dict[str, float]:
    found = labeler.predict([text.text for text in validation])
    scores = score_entities([_keys(text.entities) for text in validation], [_keys(entities) for entities in found])
    scores = {name: scores[name] for name in SHOWN}
    say("validation: " + ", ".join(f"{name} {value:.2f}" for name, value in scores.items()))
    return scores


def _write(path: Path, rows: list[dict]) -> None:
    write_text(path, "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows))
    say(f"{path}: {len(rows)} texts")


def _table(scores: dict) -> str:
    lines = [f"{'type':24}{'support':>10}{'precision':>12}{'recall':>10}{'f1':>10}"]
    for name, values in {"all": scores, **scores["types"]}.items():
        lines.append(
            f"{name:24}{values['support']:>10}{values['precision']:>12.2f}{values['recall']:>10.2f}{values['f1']:>10.2f}"
        )
    return "\n".join(lines)


def _jsonable(values: dict) -> dict:
    return json.loads(json.dumps(values, default=str))


COMMANDS = {"train": Train, "evaluate": Evaluate, "predict": Predict}
