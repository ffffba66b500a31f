"""Conditional generation: train, score and use a model that writes texts under labels or vectors.

    nlptasks conditional train --train reviews.tsv --columns category,sentiment,text \\
        --label-columns category sentiment --label-names sentiment:0=negative,1=positive --checkpoint none --output DIR
    nlptasks conditional generate --model DIR --condition sentiment=positive --count 5 --top-p 0.95
    nlptasks conditional evaluate --model DIR --data test.tsv

Files are JSON lines, CSV or tab-separated, plain or gzip; columns are chosen by name. docs/conditional_generation.md
describes the method and has scores.
"""

import dataclasses
import json
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from nlptasks.applications.conditional.conditions import Condition
from nlptasks.applications.conditional.evaluation import gaps
from nlptasks.applications.conditional.training import (
    GeneratorOptions,
    in_pieces,
    require_known_conditions,
    train_generator,
)
from nlptasks.applications.conditional.writing import TextWriter
from nlptasks.applications.options import OnModel, require_input, require_output
from nlptasks.applications.results import say_ready, write_rows
from nlptasks.applications.unread import tell_cut, tell_unknown
from nlptasks.console import progress_bar, say
from nlptasks.errors import UserError, told
from nlptasks.opening import load
from nlptasks.text.conditioned import (
    ConditionColumns,
    ConditionedText,
    parse_label_names,
    read_conditioned,
    read_plain,
    read_vectors,
)
from nlptasks.text.pairs import TABLES
from nlptasks.train.options import OnKeras, Options, TextFiles, require_at_least
from nlptasks.train.record import OPTIONS, read_options

ANOTHER = "another {name}: perplexity {other_perplexity:.2f}, {gap:+.4f} nats a token (95% {low:+.4f} to {high:+.4f})"


@dataclass(kw_only=True)
class Train(GeneratorOptions, TextFiles):
    """Train a generator; the epoch with the best likelihood of the validation texts is kept."""

    train: tuple[Path, ...]
    """training files"""
    valid: Path | None = None
    """validation file; default: a share of the training texts is held out"""
    columns: tuple[str, ...] = ()
    """names of all columns, for CSV and tab-separated files without a header line"""
    text_column: str = "text"
    """name of the column (in JSON: the key) that holds the text"""
    label_columns: tuple[str, ...] = ()
    """names of the columns that hold the labels to condition on"""
    label_names: tuple[str, ...] = ()
    """readable names of labels, for example sentiment:0=negative,1=positive"""
    vector_column: str | None = None
    """instead of labels: the JSON key that holds a vector, as a list of numbers"""
    vectors: tuple[Path, ...] = ()
    """instead of labels: a NumPy file (.npy) for each training file, with one vector (row) per text"""
    valid_vectors: Path | None = None
    """the NumPy file of vectors for the validation file"""

    def check(self) -> None:
        """Refuses values that are out of range or contradict each other."""
        super().check()
        with_vector = self.vector_column is not None or bool(self.vectors)
        if with_vector and self.label_columns:
            raise UserError(
                "a condition is labels or a vector: give {field:label_columns}, or {field:vector_column} or "
                "{field:vectors}."
            )
        if not (with_vector or self.label_columns or self.conditioning == "none"):
            raise UserError(
                "nothing to write under: give {field:label_columns}, {field:vector_column} or {field:vectors}."
            )
        if self.vectors and len(self.vectors) != len(self.train):
            raise UserError(
                "{field:vectors} takes one file for each of {field:train}. Received: {count}.", count=len(self.vectors)
            )
        if self.vectors and self.vector_column is not None:
            raise UserError("give vectors once: {field:vector_column} or {field:vectors}.")
        if (self.valid_vectors is not None) != bool(self.valid is not None and self.vectors):
            raise UserError("{field:valid_vectors} goes with {field:vectors} and {field:valid}; give all or none.")

    def run(self) -> None:
        """Reads the files and trains."""
        options = dataclasses.asdict(self)
        files = zip(self.train, self.vectors or (None,) * len(self.train), strict=True)
        training = [text for path, vectors in files for text in read_texts_and_vectors(path, options, vectors)]
        validation = None
        if self.valid is not None:
            validation = read_texts_and_vectors(self.valid, options, self.valid_vectors)
        train_generator(self, training, validation)
        say_ready(self.output, "generate and evaluate")


@dataclass(kw_only=True)
class Evaluate(OnKeras, TextFiles):
    """Compute the perplexity of texts under their own conditions and under other ones."""

    model: Path
    """the run directory of a model"""
    data: Path
    """file of texts with labels or vectors, with the columns of the training files"""
    vectors: Path | None = None
    """NumPy file (.npy) of vectors, for a model that was trained with one"""
    columns: tuple[str, ...] | None = None
    """names of all columns, if they differ from those of the training files; () for a file with a header line"""
    seed: int = 0
    """seed of the choice of other conditions and of the bootstrap"""
    json: bool = False
    """write a JSON object as the last line of the output"""

    def run(self) -> None:
        """Prints the perplexities."""
        require_input(self.data, self.vectors)
        writer: Any = load_generator(self.model)
        former = {"label_columns": list(writer.conditions.labels)} | _recorded(self.model)
        options = former if self.columns is None else former | {"columns": self.columns}
        texts = read_texts_and_vectors(self.data, options, self.vectors)
        require_known_conditions(texts, writer.conditions)
        if former.get("split"):
            texts = in_pieces(writer.tokenizer, writer.conditions, writer.seq_length, texts)
        written = [text.text for text in texts]
        encodings = writer.tokenizer.encode_batch(written, with_offsets=False)
        room = writer.seq_length - 1 - writer.conditions.num_prefix_tokens
        tell_cut(sum(len(one) - 2 > room for one in encodings), len(texts), "texts", writer.seq_length)
        tell_unknown(writer.tokenizer, encodings, written, "texts")
        started = time.monotonic()
        results = gaps(writer, texts, self.seed, _bar)
        seconds = time.monotonic() - started
        say(f"{len(texts)} texts in {seconds:.1f} s")
        for name, value in results.items():
            if isinstance(value, dict):
                print(told(ANOTHER, name=name, **value))
            else:
                shown = f"{value:.2f}" if isinstance(value, float) else value
                print(told("{name}: {value}", name=told(name), value=shown))
        if self.json:
            print(json.dumps({"scores": results, "seconds": seconds}, ensure_ascii=False))


@dataclass(kw_only=True)
class Generate(Options, OnModel):
    """Write texts under a condition."""

    model: Path
    """the run directory of a model"""
    condition: tuple[str, ...] = ()
    """labels to write under, for example sentiment=positive category=酒店; default: no condition"""
    vector: Path | None = None
    """NumPy file (.npy) of vectors; texts are written under each of them"""
    count: int = 1
    """number of texts per condition"""
    prompt: str = ""
    """the beginning of every text"""
    temperature: float = 1.0
    """below 1: more probable texts; above 1: more varied texts"""
    top_k: int | None = None
    """draw only from the k most probable tokens"""
    top_p: float | None = None
    """draw only from the most probable tokens whose probabilities add up to this"""
    guidance: float = 1.0
    """above 1: strengthen the condition; takes twice the work"""
    max_length: int | None = None
    """the most tokens to write; default: as many as the model has positions"""
    min_length: int = 1
    """the fewest tokens to write"""
    seed: int = 0
    """seed of the draws; the same seed writes the same texts"""
    output: Path | None = None
    """write to this file, one JSON object per line, instead of printing"""
    json: bool = False
    """print JSON objects: condition, text, log probability, number of tokens, and whether the text is complete"""

    def check(self) -> None:
        """Refuses values that are out of range or contradict each other."""
        super().check()
        require_at_least(self, 1, "count", "max_length", "min_length")
        if self.condition and self.vector is not None:
            raise UserError("give {field:condition} or {field:vector}, not both.")

    def run(self) -> None:
        """Prints the texts, or writes them."""
        require_input(self.vector)
        require_output(self.output, self.vector)
        labels = parse_condition(self.condition)
        vectors = None if self.vector is None else read_vectors(self.vector)
        writer = load_generator(self.model)
        chosen: list[Condition] = [labels] if vectors is None else list(vectors)
        started = time.monotonic()
        found = writer.generate_batch(
            chosen,
            self.count,
            prompt=self.prompt,
            max_length=self.max_length,
            min_length=self.min_length,
            temperature=self.temperature,
            top_k=self.top_k,
            top_p=self.top_p,
            seed=self.seed,
            guidance=self.guidance,
        )
        if self.prompt:
            tell_unknown(writer.tokenizer, [writer.tokenizer.encode(self.prompt)], [self.prompt], "prompt")
        say(f"{sum(map(len, found))} texts in {time.monotonic() - started:.1f} s, the model's compilation included")
        rows = [
            {"condition": labels if vectors is None else {"vector": i}} | dataclasses.asdict(one)
            for i, texts in enumerate(found)
            for one in texts
        ]
        if self.output is not None:
            write_rows(self.output, rows)
            return
        for row in rows:
            print(json.dumps(row, ensure_ascii=False) if self.json else row["text"])


def columns_of(options: Mapping[str, Any]) -> ConditionColumns:
    """The options of a run in the form that the reader takes; names may be separate words or joined by commas."""
    names = tuple(name for part in options.get("columns", ()) for name in part.split(",") if name not in ("", "()"))
    return ConditionColumns(
        text=options.get("text_column", "text"),
        labels=tuple(options.get("label_columns", ())),
        vector=options.get("vector_column"),
        names=names or None,
        label_names=parse_label_names(options.get("label_names", ())),
    )


def _recorded(model: Path) -> dict[str, Any]:
    """The recorded options of a run; empty for a model that was saved without a run."""
    return GeneratorOptions.from_record(read_options(model)) if (model / OPTIONS).is_file() else {}


def read_texts_and_vectors(path: Path, options: Mapping[str, Any], vectors: Path | None) -> list[ConditionedText]:
    """The texts of a file, with the vectors of a second file if one is given.

    Without conditions, a file that is none of `TABLES` and whose columns are not named has a text a line.
    """
    columns = columns_of(options)
    plain = not str(path).removesuffix(".gz").endswith(TABLES) and columns.names is None
    if plain and options.get("conditioning") == "none":
        return read_plain(path)
    texts = read_conditioned(path, columns)
    if vectors is None:
        return texts
    if columns.vector is not None:
        raise UserError("the texts have vectors in {column!r}; leave {field:vectors} out.", column=columns.vector)
    rows = read_vectors(vectors, len(texts))
    return [dataclasses.replace(text, vector=row) for text, row in zip(texts, rows, strict=True)]


def parse_condition(values: Sequence[str]) -> dict[str, str]:
    """The labels by column that `sentiment=positive category=酒店` names.

    Raises:
        UserError: a value of another form, or a column twice.
    """
    found: dict[str, str] = {}
    for value in values:
        column, equals, label = value.partition("=")
        if not (column and equals and label) or column in found:
            raise UserError(
                "{field:condition}: expected column=label, each column once. Received: {value!r}.", value=value
            )
        found[column] = label
    return found


def load_generator(path: Path) -> TextWriter:
    """The generator of a directory: of a run, for which Keras is imported only here, or exported."""
    return load(path, TextWriter)


def _bar(items: Iterable) -> Iterable:
    return progress_bar(items, told("scoring"))


COMMANDS = {"train": Train, "evaluate": Evaluate, "generate": Generate}
