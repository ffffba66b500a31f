"""Sequence to sequence: train, score and use a model that writes a text for a text.

    nlptasks seq2seq train --train titles.jsonl --source-column abst --target-column title --output runs/titles
    nlptasks seq2seq evaluate --model runs/titles --data test.jsonl --search beam --lead 20
    nlptasks seq2seq generate --model runs/titles --texts 文章 --search beam

Files are JSON lines, CSV or tab-separated, plain or gzip; columns are chosen by name. docs/seq2seq.md describes the
method.
"""

import dataclasses
import json
import sys
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from nlptasks.applications.options import require_input, require_output
from nlptasks.applications.results import say_ready, write_rows
from nlptasks.applications.seq2seq.baselines import baselines_of
from nlptasks.applications.seq2seq.decoding import Decoding
from nlptasks.applications.seq2seq.training import Seq2SeqOptions, likelihood_of, train_seq2seq
from nlptasks.applications.seq2seq.writing import SourceWriter
from nlptasks.applications.unread import tell_cut, tell_unknown
from nlptasks.console import padded, progress_bar, right, say, width
from nlptasks.errors import UserError, told
from nlptasks.files import STANDARD_INPUT
from nlptasks.metrics.formulas import score_formulas
from nlptasks.metrics.overlap import BERT4KERAS_MODULES, MODULES, score_as_bert4keras, score_overlap
from nlptasks.opening import load
from nlptasks.text.pairs import PairColumns, read_pairs, read_sources
from nlptasks.text.readers import read_questions
from nlptasks.train.options import OnKeras, Options, TextFiles, require_at_least, require_one_of
from nlptasks.train.record import OPTIONS, read_options

SEPARATOR = "|"
"""stands behind an answer in what `prepare` writes"""
KINDS = ("question", "pair")


@dataclass(kw_only=True)
class Train(Seq2SeqOptions, TextFiles):
    """Train a model that writes a text for a text; the best epoch on the validation texts is kept."""

    train: tuple[Path, ...]
    """training files"""
    valid: Path | None = None
    """validation file; default: a share of the training texts is held out"""
    columns: tuple[str, ...] = ()
    """names of all columns, for CSV and tab-separated files without a header line"""
    source_column: str = "source"
    """name of the column (in JSON: the key) that holds the text that is read"""
    target_column: str = "target"
    """name of the column (in JSON: the key) that holds the text that is written, or a list of several"""

    def run(self) -> None:
        """Reads the files and trains."""
        columns = columns_of(dataclasses.asdict(self))
        training = [pair for path in self.train for pair in read_pairs(path, columns)]
        train_seq2seq(self, training, None if self.valid is None else read_pairs(self.valid, columns))
        say_ready(self.output, "generate and evaluate")


@dataclass(kw_only=True)
class Prepare(Options, TextFiles):
    """Write sources and targets out of questions with passages: for asking questions, with the answer or for it."""

    data: Path
    """file of questions with passages and answers, as nlptasks reading takes them"""
    output: Path
    """file to write: JSON lines with source and target"""
    kind: str = "question"
    """question: the target is the question, the source an answer|passage; pair: the target is an answer|question"""

    def check(self) -> None:
        """Refuses values that are out of range."""
        super().check()
        require_one_of(self, kind=KINDS)

    def run(self) -> None:
        """Reads the questions and writes the pairs."""
        require_output(self.output, self.data)
        rows: dict[str, list[str]] = {}
        for question in read_questions(self.data):
            for passage in question.passages:
                if passage.answer and question.question.strip():
                    asked, answer = question.question.strip(), passage.answer.strip()
                    both = f"{answer}{SEPARATOR}{asked}" if self.kind == "pair" else asked
                    source = passage.text if self.kind == "pair" else f"{answer}{SEPARATOR}{passage.text}"
                    rows.setdefault(source, []).append(both)
        if not rows:
            raise UserError("{path}: no passage answers its question; there is nothing to learn.", path=self.data)
        write_rows(self.output, [{"source": s, "target": list(dict.fromkeys(t))} for s, t in rows.items()])


@dataclass(kw_only=True)
class Using(Decoding, OnKeras, TextFiles):
    """Options of a command that writes texts."""

    model: Path
    """the run directory of a model"""
    columns: tuple[str, ...] | None = None
    """names of all columns, if they differ from those of the training files; () for a file with a header line"""
    source_column: str | None = None
    """name of the column that holds the text that is read, if it differs from that of the training files"""

    def written_columns(self, **more: str | None) -> PairColumns:
        """The columns of a file: as in training, but for those that are given."""
        given = {"columns": self.columns, "source_column": self.source_column} | more
        return columns_of(_recorded(self.model) | {name: value for name, value in given.items() if value is not None})

    def decoding(self) -> dict[str, Any]:
        """The options of writing alone."""
        return {field.name: getattr(self, field.name) for field in dataclasses.fields(Decoding)}


@dataclass(kw_only=True)
class Evaluate(Using):
    """Score a model on a file: perplexity of the targets, and ROUGE and BLEU of what it writes."""

    data: Path
    """file of sources with targets, with the columns of the training files"""
    target_column: str | None = None
    """name of the column that holds the targets, if it differs from that of the training files"""
    limit: int | None = None
    """read this many sources of the file only"""
    predictions: Path | None = None
    """write to this file: a JSON object a line, with source, targets and the text that was written"""
    lead: int | None = None
    """also score baselines: so many characters of the source's beginning, its first sentence, all of it"""
    words: bool = False
    """also count ROUGE by words, cut by the bundled segmenter"""
    bert4keras: bool = False
    """also count ROUGE and BLEU as bert4keras' scripts do, by the packages rouge and nltk"""
    formulas: bool = False
    """the targets are formulas: also compare their values"""
    json: bool = False
    """write a JSON object as the last line of the output"""

    def check(self) -> None:
        """Refuses values that are out of range or contradict each other."""
        super().check()
        require_at_least(self, 1, "limit", "lead")

    def packages(self) -> tuple[str, ...]:
        """The modules without which the command does not begin."""
        return (*super().packages(), *MODULES, *(BERT4KERAS_MODULES if self.bert4keras else ()))

    def run(self) -> None:
        """Writes, and prints the scores."""
        require_input(self.data)
        require_output(self.predictions, self.data)
        writer: Any = load_writer(self.model)
        pairs = read_pairs(self.data, self.written_columns(target_column=self.target_column))[: self.limit]
        sources, references = [pair.source for pair in pairs], [pair.targets for pair in pairs]
        _tell_unread(writer, sources)
        likelihood = likelihood_of(writer, pairs, _scoring)
        started = time.monotonic()
        written = [one.text for one in writer.predict(sources, _writing, **self.decoding())]
        seconds = time.monotonic() - started
        say(f"{len(sources)} texts in {seconds:.1f} s, the model's compilation included")
        if self.predictions is not None:
            rows = zip(sources, references, written, strict=True)
            write_rows(self.predictions, [{"source": s, "targets": list(t), "written": w} for s, t, w in rows])
        scores = {"model": likelihood | self._scores(written, references)}
        for name, texts in baselines_of(sources, self.lead).items() if self.lead is not None else ():
            scores[name] = self._scores(texts, references)
        print(told("{name}: {value}", name=told("perplexity"), value=f"{likelihood['perplexity']:.2f}"))
        print("\n".join(_table(scores)))
        if self.json:
            print(json.dumps({"scores": scores, "texts": len(sources), "seconds": seconds}, ensure_ascii=False))

    def _scores(self, written: Sequence[str], references: Sequence[Sequence[str]]) -> dict[str, float]:
        cut = load("segmenter").segment if self.words else None
        found = score_overlap(written, references, cut)
        if self.bert4keras:
            found |= {f"bert4keras_{name}": value for name, value in score_as_bert4keras(written, references).items()}
        return found | (score_formulas(written, references) if self.formulas else {})


@dataclass(kw_only=True)
class Generate(Using):
    """Write texts for texts of the command line, of a file or of standard input."""

    texts: tuple[str, ...] = ()
    """one or more texts to write for"""
    data: Path | None = None
    """file of texts: a column of JSON lines, CSV or .tsv, or one text a line; -: standard input"""
    stream: bool = False
    """show a text while it is written; greedy search or sampling"""
    output: Path | None = None
    """write to this file, one JSON object per line, instead of printing"""
    json: bool = False
    """print JSON objects: source, text, log probability, number of tokens, and whether the text is complete"""

    def check(self) -> None:
        """Refuses values that are out of range or contradict each other."""
        super().check()
        if bool(self.texts) == (self.data is not None):
            raise UserError("give either {field:texts} TEXT... or {field:data} FILE.")
        if empty := [number for number, text in enumerate(self.texts, 1) if not text.strip()]:
            raise UserError("{field:texts}: text {number} is empty; there is nothing to write for.", number=empty[0])
        if self.stream and (self.output is not None or self.json):
            raise UserError("{field:stream} prints texts; leave {field:output} and {field:json} out.")

    def run(self) -> None:
        """Prints the texts, or writes them."""
        given = None if self.data is None or str(self.data) == STANDARD_INPUT else self.data
        require_input(given)
        require_output(self.output, given)
        sources = (
            list(self.texts) if self.data is None else read_sources(self.data, self.written_columns(target_column=""))
        )
        writer: Any = load_writer(self.model)
        _tell_unread(writer, sources)
        if self.stream:
            for place, source in enumerate(sources):
                _show(writer.stream(source, row=place, **self.decoding()))
            return
        bar = iter if self.output is None else _writing
        found = writer.generate_batch(sources, bar, **self.decoding())
        rows = [
            {"source": source} | dataclasses.asdict(one)
            for source, texts in zip(sources, found, strict=True)
            for one in texts
        ]
        if self.output is not None:
            write_rows(self.output, rows)
            return
        for row in rows:
            print(json.dumps(row, ensure_ascii=False) if self.json else row["text"])


def columns_of(options: Mapping[str, Any]) -> PairColumns:
    """The options of a run in the form that the reader takes; names may be separate words or joined by commas."""
    names = tuple(name for part in options.get("columns") or () for name in part.split(",") if name not in ("", "()"))
    return PairColumns(
        source=options.get("source_column", "source"),
        target=options.get("target_column", "target") or None,
        names=names or None,
    )


def _recorded(model: Path) -> dict[str, Any]:
    """The recorded options of a run; empty for a model that was saved without a run."""
    return Seq2SeqOptions.from_record(read_options(model)) if (model / OPTIONS).is_file() else {}


def load_writer(path: Path) -> SourceWriter:
    """The model of a directory; Keras is imported only here."""
    return load(path, SourceWriter)


def _tell_unread(writer: SourceWriter, sources: Sequence[str]) -> None:
    """Says what of the sources is not read, or read as unknown."""
    tell_cut(writer.num_cut(sources), len(sources), "sources", writer.lengths.source_length)
    tell_unknown(writer.tokenizer, writer.encode(sources), sources, "sources")


def _show(parts: Iterable[Any]) -> None:
    """Prints a text while it grows; where its beginning changes, it starts anew on the next line."""
    shown = 0
    for part in parts:
        if part.kept < shown:
            sys.stdout.write("\n" + part.text)
        else:
            sys.stdout.write(part.text[shown:])
        sys.stdout.flush()
        shown = len(part.text)
    sys.stdout.write("\n")


def _table(scores: Mapping[str, Mapping[str, float]]) -> list[str]:
    """A line for each writer, a column for each score that all of them have."""
    columns = [name for name in scores["model"] if name not in ("log_likelihood", "perplexity")]
    widths = [max(12, 2 + width(told(name))) for name in columns]
    lines = [" " * 16 + "".join(right(told(name), wide) for name, wide in zip(columns, widths, strict=True))]
    for name, values in scores.items():
        cells = (f"{values[column]:{wide}.2f}" for column, wide in zip(columns, widths, strict=True))
        lines.append(padded(told(name), 16) + "".join(cells))
    return lines


def _scoring(items: Iterable) -> Iterable:
    return progress_bar(items, told("scoring"))


def _writing(items: Iterable) -> Iterable:
    return progress_bar(items, told("writing"))


COMMANDS = {"train": Train, "prepare": Prepare, "evaluate": Evaluate, "generate": Generate}
