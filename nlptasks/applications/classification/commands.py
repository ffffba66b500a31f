"""Text classification: train, score and use a classifier of texts or of pairs of texts, with one label or several.

    nlptasks classification train --train A.jsonl --valid B.jsonl --checkpoint DIR --output runs/classifier
    nlptasks classification evaluate --model runs/classifier --data test.jsonl
    nlptasks classification predict --model runs/classifier --texts 第一句 第二句

Files are JSON lines, CSV or tab-separated, plain or gzip; columns are chosen by name. A file without a line of
names has them named: --columns label text. Scores beside a linear baseline: docs/classification.md.
"""

import dataclasses
import json
import time
from dataclasses import dataclass
from pathlib import Path

from nlptasks.applications.classification.classifier import ClassificationExamples, Classifier, classification_model
from nlptasks.applications.encoder_head import HEAD
from nlptasks.applications.options import FileColumns, require_empty_run, require_positive
from nlptasks.applications.scratch import scratch_config, transformer_from_scratch
from nlptasks.console import progress_bar, say
from nlptasks.core import Transformer
from nlptasks.files import require_writable, write_text
from nlptasks.loading import build_transformer_model
from nlptasks.metrics.classification import score_labels
from nlptasks.opening import load
from nlptasks.text import Tokenizer, build_character_vocab
from nlptasks.text.labelled import LabelledText, read_labelled, require_known, sort_labels
from nlptasks.train.extras import TrainingExtras
from nlptasks.train.loop import train
from nlptasks.train.optimizers import make_adam
from nlptasks.train.run import start_run

OPTIONS, SCORES = "options.json", "scores.json"
SHOWN = ("accuracy", "macro_f1", "micro_f1")


@dataclass(kw_only=True)
class Train(FileColumns, TrainingExtras):
    """Train a classifier; the best epoch on the validation file is kept."""

    train: tuple[Path, ...]
    """training files"""
    valid: Path
    """validation file: the epoch with the best accuracy (--multi-label: micro F1) is kept"""
    output: Path
    """run directory: model, vocabulary, options, scores, log and curve"""
    checkpoint: str = "none"
    """a BERT to start from: a directory with its config, weights and vocab.txt; or none: train from scratch"""
    resume: bool = False
    """continue an interrupted run"""

    multi_label: bool = False
    """a text may have any number of labels"""
    max_length: int = 128
    """most tokens of [CLS] text [SEP], or of [CLS] text [SEP] text [SEP]; the rest of a text is not read"""
    pooling: str = "first"
    """first: [CLS], as bert4keras has it; mean: of all positions, which suits small models from scratch"""

    epochs: int = 5
    batch_size: int = 32
    learning_rate: float = 2e-5
    """Adam's; 2e-5 suits a BERT-base checkpoint, 5e-4 a small model from scratch"""
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
        columns = self.columns_of(self.multi_label)
        training = [text for path in self.train for text in read_labelled(path, columns)]
        validation = read_labelled(self.valid, columns)
        labels = sort_labels(label for text in training for label in text.labels)
        require_known(((label, text.place) for text in validation for label in text.labels), labels)
        require_empty_run(self.output, OPTIONS, self.resume)

        start_run(self.seed, self.precision, self.mesh)
        tokenizer = self._tokenizer(training)
        model = classification_model(self._encoder(tokenizer), len(labels), self.dropout)
        model.transformer.recompute = self.recompute
        pair = self.second_text is not None
        classifier = Classifier(model, tokenizer, labels, self.max_length, self.multi_label, pair, self.pooling)
        say(f"model: {model.count_params():,} parameters, vocabulary of {tokenizer.vocab_size}, {len(labels)} labels")
        examples = ClassificationExamples(classifier, _texts(training), [text.labels for text in training], self.seed)
        say(f"{len(examples)} texts, {examples.num_cut} of them longer than {self.max_length} tokens (the rest unread)")

        steps = self.num_updates(len(examples), self.batch_size, self.epochs)
        optimizer = make_adam(self.learning_rate, steps, self.warmup_share, self.decay, self.clip_norm, self.ema)
        options = _jsonable(dataclasses.asdict(self))
        for name in ("resume", "output"):  # where a run stands is not what it is: a moved one resumes too
            del options[name]
        if not self.resume:
            write_text(self.output / OPTIONS, json.dumps(options, ensure_ascii=False, indent=1) + "\n")
        score_name = "micro_f1" if self.multi_label else "accuracy"
        progress = train(
            model,
            optimizer,
            classifier.loss,
            epoch_batches=lambda epoch: examples.batches(epoch, self.batch_size),
            make_batch=lambda batch: examples.arrays(batch, self.batch_size),
            epochs=self.epochs,
            validate=lambda: _validation_scores(classifier, validation),
            score_name=score_name,
            save_best=lambda: classifier.save(self.output),
            directory=self.output,
            options=options,
            resume=self.resume,
            progress_bar=progress_bar,
            extras=self,
            weight_of=lambda batch: batch["weights"].sum(),
        )
        best = max(progress.history, key=lambda row: row[score_name])
        write_text(self.output / SCORES, json.dumps({"best": best, "epochs": progress.history}, indent=1) + "\n")
        say(f"best epoch {best['epoch']}: {best}")
        say(f"{self.output}: ready for evaluate and predict")

    def _tokenizer(self, training: list[LabelledText]) -> Tokenizer:
        if self.checkpoint != "none":
            return Tokenizer.from_directory(self.checkpoint)
        if self.vocab is not None:
            return Tokenizer(self.vocab)
        texts = (part for text in training for part in (text.text, text.second_text) if part is not None)
        return Tokenizer(build_character_vocab(texts, self.min_count))

    def _encoder(self, tokenizer: Tokenizer) -> Transformer:
        if self.checkpoint != "none":
            dropouts = {"dropout": self.dropout, "attention_dropout": self.dropout}
            return build_transformer_model(self.checkpoint, self.checkpoint, skip=(HEAD,), **dropouts)
        sizes = (self.hidden_size, self.num_layers, self.num_heads, self.ffn_size)
        return transformer_from_scratch(scratch_config(tokenizer.vocab_size, self.max_length, *sizes, self.dropout))


@dataclass(kw_only=True)
class Evaluate(FileColumns):
    """Score a classifier on a file."""

    model: Path
    """run directory"""
    data: Path
    """texts with labels"""
    predictions: Path | None = None
    """write a JSON object a line there: text, gold labels and prediction"""
    json: bool = False
    """the last line of the output is one JSON object"""

    def run(self) -> None:
        require_readable_first(self.data, self.predictions)
        classifier = _load(self.model, self)
        texts = read_labelled(self.data, self.columns_of(classifier.multi_label))
        require_known(((label, text.place) for text in texts for label in text.labels), classifier.labels)
        started = time.monotonic()
        found = _predict(classifier, texts)
        seconds = time.monotonic() - started
        say(f"{len(texts)} texts in {seconds:.1f} s")
        scores = score_labels([text.labels for text in texts], [result.labels for result in found])
        if self.predictions is not None:
            _write(
                self.predictions,
                [_row(text, one) | {"gold": list(text.labels)} for text, one in zip(texts, found, strict=True)],
            )
        print(_table(scores))
        if self.json:
            print(json.dumps({"scores": scores, "seconds": seconds}, ensure_ascii=False))


@dataclass(kw_only=True)
class Predict(FileColumns):
    """Classify texts of the command line, or those of a file."""

    model: Path
    """run directory"""
    texts: tuple[str, ...] = ()
    """one or more texts; for a classifier of pairs: the first and second text of each in turn"""
    data: Path | None = None
    """a file with texts; its labels, if it has any, are not read"""
    output: Path | None = None
    """write a JSON object a line there instead of printing"""
    json: bool = False
    """print JSON objects, with the scores of all labels"""

    def run(self) -> None:
        if bool(self.texts) == (self.data is not None):
            raise ValueError("give either --texts TEXT... or --data FILE.")
        if self.data is not None:
            require_readable_first(self.data, self.output)
        elif self.output is not None:
            require_writable(self.output)
        classifier = _load(self.model, self) if self.data is not None else load_classifier(self.model)
        if self.data is not None:
            texts = read_labelled(self.data, self.columns_of(classifier.multi_label, with_label=False))
        else:
            texts = self._given(classifier.pair)
        found = _predict(classifier, texts)
        rows = [_row(text, result) for text, result in zip(texts, found, strict=True)]
        if self.output is not None:
            _write(self.output, rows)
            return
        for row in rows:
            shown = " / ".join(row[name] for name in ("text", "second_text") if name in row)
            print(json.dumps(row, ensure_ascii=False) if self.json else f"{','.join(row['labels']) or '-'}\t{shown}")

    def _given(self, pair: bool) -> list[LabelledText]:
        if pair and len(self.texts) % 2:
            raise ValueError(f"--texts takes pairs for this classifier, received {len(self.texts)} texts; add one.")
        if empty := [i for i, text in enumerate(self.texts, 1) if not text.strip()]:
            raise ValueError(f"--texts: text {empty[0]} is empty; there is nothing to classify.")
        if pair:
            return [LabelledText(a, b, (), "") for a, b in zip(self.texts[::2], self.texts[1::2], strict=True)]
        return [LabelledText(text, None, (), "") for text in self.texts]


def require_readable_first(data: Path, output: Path | None) -> None:
    """Finds what is wrong with the paths before the model is loaded."""
    if not data.is_file():
        raise ValueError(f"{data}: no such file; check the spelling of the path.")
    if output is not None:
        require_writable(output)


def load_classifier(path: Path) -> Classifier:
    """The classifier of a run directory; ValueError where it holds another application."""
    classifier = load(path)
    if not isinstance(classifier, Classifier):
        raise ValueError(f"{path}: not a classifier; give the run directory of one.")
    return classifier


def _load(path: Path, columns: FileColumns) -> Classifier:
    classifier = load_classifier(path)
    if classifier.pair != (columns.second_text is not None):
        hint = "name the second column with --second-text" if classifier.pair else "leave --second-text out"
        raise ValueError(f"{path}: this classifier reads {'pairs of texts' if classifier.pair else 'texts'}; {hint}.")
    return classifier


def _texts(texts: list[LabelledText]) -> list:
    return [text.text if text.second_text is None else (text.text, text.second_text) for text in texts]


def _predict(classifier: Classifier, texts: list[LabelledText], bar: bool = True):
    given = _texts(texts)
    if bar and (cut := classifier.encode(given)[1]):
        say(
            f"{cut} of {len(texts)} texts are longer than {classifier.max_length} tokens; the rest of them is not read."
        )
    return classifier.predict(given, progress=(lambda items: progress_bar(items, "classifying")) if bar else iter)


def _validation_scores(classifier: Classifier, validation: list[LabelledText]) -> dict[str, float]:
    found = _predict(classifier, validation, bar=False)
    scores = score_labels([text.labels for text in validation], [result.labels for result in found])
    scores = {name: scores[name] for name in SHOWN}
    say("validation: " + ", ".join(f"{name} {value:.2f}" for name, value in scores.items()))
    return scores


def _row(text: LabelledText, result) -> dict:
    row = {"text": text.text, "labels": list(result.labels)}
    if text.second_text is not None:
        row["second_text"] = text.second_text
    return row | {"scores": {label: round(score, 6) for label, score in result.scores.items()}}


def _write(path: Path, rows: list[dict]) -> None:
    write_text(path, "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows))
    say(f"{path}: {len(rows)} texts")


def _table(scores: dict) -> str:
    lines = [f"{'texts':24}{scores['texts']:>10}"] + [f"{name:24}{scores[name]:>10.2f}" for name in SHOWN]
    lines += ["", f"{'label':24}{'support':>10}{'precision':>12}{'recall':>10}{'f1':>10}"]
    for label, values in scores["labels"].items():
        lines.append(
            f"{label:24}{values['support']:>10}{values['precision']:>12.2f}{values['recall']:>10.2f}{values['f1']:>10.2f}"
        )
    return "\n".join(lines)


def _jsonable(values: dict) -> dict:
    return json.loads(json.dumps(values, default=str))


COMMANDS = {"train": Train, "evaluate": Evaluate, "predict": Predict}
