"""Sentence similarity: learn vectors of sentences from groups with the same meaning, score them, search with them.

    nlptasks similarity train --train groups.tsv --output runs/similarity
    nlptasks similarity evaluate --model runs/similarity --data groups_dev.tsv
    nlptasks similarity index --model runs/similarity --corpus sentences.txt --output runs/index
    nlptasks similarity search --model runs/similarity --index runs/index --query 问题 --hybrid

Files are lines `group TAB sentence`, or lines `text TAB text TAB 0 or 1` whose positive pairs are chained into groups;
plain or gzip. docs/similarity.md describes the recipe and its scores.
"""

import json
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from nlptasks.applications.options import require_input, require_output
from nlptasks.applications.results import say_ready
from nlptasks.applications.similarity.calibration_commands import Calibrate, sentences_of
from nlptasks.applications.similarity.encoder import SentenceEncoder
from nlptasks.applications.similarity.exporting import PACKAGES_OF, TEXTS, export_vectors
from nlptasks.applications.similarity.index import SentenceIndex
from nlptasks.applications.similarity.index_files import HEADER, former_names
from nlptasks.applications.similarity.scoring import score_encoder
from nlptasks.applications.similarity.surprise import Null
from nlptasks.applications.similarity.training import SimilarityOptions, train_encoder
from nlptasks.console import padded, say
from nlptasks.errors import UserError, told
from nlptasks.files import read_lines
from nlptasks.metrics.angles import chance_among
from nlptasks.metrics.similarity import score_pairs
from nlptasks.opening import load
from nlptasks.text import read_texts
from nlptasks.text.groups import read_groups, read_pairs
from nlptasks.train.options import Options, TextFiles, require_at_least, require_one_of
from nlptasks.train.record import require_new_folder

ADDED = "{output}: {added} sentences added in {seconds:.1f} s, {count} in all"
REMOVED = "{output}: {removed} sentences taken out ({absent} were not there), {count} in all"
CHANGED = (
    "{output}: {removed} sentences taken out ({absent} were not there), {added} sentences added in {seconds:.1f} s, "
    "{count} in all"
)


@dataclass(kw_only=True)
class Train(SimilarityOptions, TextFiles):
    """Train an encoder; the best epoch on held-out groups is kept."""

    train: tuple[Path, ...]
    """training files of groups, or of pairs, whose positive pairs are chained into groups"""
    valid: Path | None = None
    """validation groups; the epoch with the best top-1 is kept; default: every nth training group is held out"""
    leave_out: tuple[Path, ...] = ()
    """files of groups, pairs or plain sentences that must not be trained on"""

    def run(self) -> None:
        """Reads the files and trains."""
        left_out = {sentence for path in self.leave_out for sentence in sentences_of(path)}
        validation = None if self.valid is None else read_groups([self.valid])
        if validation is not None:
            left_out |= set(validation.sentences)
        training = read_groups(self.train, left_out)
        for note in training.notes + (validation.notes if validation is not None else []):
            say(note)
        learned = train_encoder(self, training, validation)
        say_ready(self.output, "evaluate, index and search", learned)


@dataclass(kw_only=True)
class Evaluate(Options, TextFiles):
    """Score an encoder on retrieval within groups, or on pairs."""

    model: str = "similarity"
    """run directory, or similarity: the model that comes with the package"""
    data: Path | None = None
    """file of groups: is another sentence of the same group among the nearest?"""
    pairs: Path | None = None
    """file of pairs (text TAB text TAB 0 or 1): AUC, accuracy at the best threshold, Spearman correlation"""
    hybrid: bool = False
    """with groups: blend the cosine with BM25"""
    baselines: bool = False
    """with groups: also score BM25 and TF-IDF over characters and pairs of characters"""
    json: bool = False
    """write a JSON object as the last line of the output"""

    def check(self) -> None:
        """Refuses values that are out of range or contradict each other."""
        super().check()
        if (self.data is None) == (self.pairs is None):
            raise UserError("give either {field:data} (groups) or {field:pairs}.")
        if self.pairs is not None and (self.hybrid or self.baselines):
            raise UserError("{field:hybrid} and {field:baselines} go with {field:data}.")

    def run(self) -> None:
        """Reads, encodes, scores."""
        require_input(self.data, self.pairs)
        table = self._scores()
        for name, scores in table.items():
            shown = [f"{told(k)} {v if isinstance(v, int) else f'{v:.4f}'}" for k, v in scores.items()]
            print(f"{padded(told(name), 10)} {'  '.join(shown)}")
        if self.json:
            print(json.dumps({"scores": table}))

    def _scores(self) -> dict[str, dict[str, float]]:
        """Scores of the encoder, and of what it is compared with."""
        if self.pairs is not None:
            encoder, pairs = load(self.model, SentenceEncoder), read_pairs(self.pairs)
            encoder.model.tell_unread([*pairs.first, *pairs.second], "sentences")
            cosines = encoder.similarity(pairs.first, pairs.second)
            return {"encoder": score_pairs(cosines, pairs.labels)}
        assert self.data is not None
        encoder, groups = load(self.model, SentenceEncoder), read_groups([self.data])
        for note in groups.notes:
            say(note)
        encoder.model.tell_unread(groups.sentences, "sentences")
        return score_encoder(encoder, groups, self.hybrid, self.baselines)


@dataclass(kw_only=True)
class Index(Options, TextFiles):
    """Put sentences into an index, add them to one, or take them out; or write vectors for other programs."""

    output: Path
    """directory of the index; with --format a new or empty one"""
    corpus: Path | None = None
    """file with one sentence per line, or JSON lines with `text`"""
    model: str = "similarity"
    """run directory, or similarity: the model that comes with the package"""
    add: bool = False
    """add to the index in that directory; nothing in it is computed again"""
    remove: Path | None = None
    """file of sentences, as the corpus, to take out of the index in that directory; before any are added"""
    format: str = "index"
    """index: this command's own; npy, usearch or faiss: a file of vectors for programs that search at scale"""
    index: Path | None = None
    """with --format: directory of an index whose vectors are written, instead of a corpus"""

    def check(self) -> None:
        """Refuses values that are out of range or contradict each other."""
        super().check()
        require_one_of(self, format=("index", *PACKAGES_OF))
        if self.format == "index":
            if self.index is not None:
                raise UserError("{field:index} goes with {field:format} {formats}.", formats=", ".join(PACKAGES_OF))
            if self.corpus is None and self.remove is None:
                raise UserError("give {field:corpus}, or {field:remove} to take sentences out.")
            if self.add and self.corpus is None:
                raise UserError("{field:add} goes with {field:corpus}.")
        elif self.add or self.remove is not None or (self.corpus is None) == (self.index is None):
            raise UserError(
                "{field:format} {form} writes the vectors of either {field:corpus} or {field:index}, and nothing else.",
                form=self.format,
            )

    def packages(self) -> tuple[str, ...]:
        """The modules without which the command does not begin."""
        return PACKAGES_OF.get(self.format, ())

    def run(self) -> None:
        """Reads, encodes, writes."""
        require_input(self.corpus, self.remove)
        if self.format != "index":
            return self._export()
        require_output(self.output / HEADER, self.corpus, self.remove)
        there = self.add or self.remove is not None
        if not there and former_names(self.output):
            raise UserError(
                "{output}: holds an index already; {field:add} adds to it, or give another {field:output}.",
                output=self.output,
            )
        encoder = load(self.model, SentenceEncoder)
        gone, texts = _sentences(self.remove), _sentences(self.corpus)
        encoder.model.tell_unread(texts, "sentences")
        index = encoder.open_index(self.output) if there else encoder.make_index()
        started = time.monotonic()
        known = [text for text in dict.fromkeys(gone) if index.position_of(text) is not None]
        removed = encoder.remove(known, index)
        encoder.add(texts, index)
        index.save(self.output)
        seconds = time.monotonic() - started
        counts = {"removed": removed, "absent": len(set(gone)) - len(known), "added": len(texts), "count": len(index)}
        template = (CHANGED if self.corpus is not None else REMOVED) if gone else ADDED
        say(template, output=self.output, seconds=seconds, **counts)
        return None

    def _export(self) -> None:
        require_new_folder(self.output)
        encoder = load(self.model, SentenceEncoder)
        if self.index is not None:
            index = encoder.open_index(self.index)
            vectors, ids, texts = index.vectors(index.positions), index.positions.tolist(), list(index.texts)
        else:
            texts = _sentences(self.corpus)
            encoder.model.tell_unread(texts, "sentences")
            vectors, ids = encoder.encode(texts), list(range(len(texts)))
        path = export_vectors(self.output, self.format, vectors, ids, texts, encoder.fingerprint)
        say(f"{path}: {len(texts)} vectors of {encoder.vector_size} numbers; {TEXTS} beside it has the sentences")


@dataclass(kw_only=True)
class Search(Options, TextFiles):
    """Find the sentences of an index that are most similar to a query."""

    index: Path
    """directory of the index"""
    model: str = "similarity"
    """the model that made the index"""
    query: str | None = None
    """sentence to search for"""
    queries: Path | None = None
    """file with one query per line; the output has lines of query TAB score TAB sentence"""
    top: int = 10
    """number of sentences to show for each query"""
    hybrid: bool = False
    """blend the cosine with BM25 over characters and pairs of characters"""
    p_value: bool = False
    """also show how surprising a score is: the chance that an unrelated sentence reaches it, and that any one of as
    many as the index holds does"""
    json: bool = False
    """print one JSON list of {text, score, position}, with --p-value also {p_value, p_value_of_any}; for a file of
    queries, a list of such lists"""

    def check(self) -> None:
        """Refuses values that are out of range or contradict each other."""
        super().check()
        if (self.query is None) == (self.queries is None):
            raise UserError("give either {field:query} or {field:queries}.")
        if self.query is not None and not self.query.strip():
            raise UserError("{field:query} is empty; ask something.")
        if self.p_value and self.hybrid:
            raise UserError("{field:p_value} is of the cosine alone, and does not go with {field:hybrid}.")
        require_at_least(self, 1, "top")

    def run(self) -> None:
        """Searches and prints."""
        require_input(self.queries)
        encoder = load(self.model, SentenceEncoder)
        queries = [line for _, line in read_lines(self.queries)] if self.queries is not None else [str(self.query)]
        index = encoder.open_index(self.index)
        if not len(index):
            raise UserError(
                "{path}: the index holds no sentence; add some with nlptasks similarity index {field:add}.",
                path=self.index,
            )
        null = Null.of(index.vectors(index.positions)) if self.p_value else None  # refused before the search
        found = encoder.most_similar_batch(queries, self.top, self.hybrid)
        encoder.model.tell_unread(queries, "queries")
        rows = [[match._asdict() for match in matches] for matches in found]
        if null is not None:
            say(str(null))
            for query, row in zip(encoder.encode(queries), rows, strict=True):
                _add_p_values(row, null, query, index)
        if self.json:
            print(json.dumps(rows if self.queries is not None else rows[0], ensure_ascii=False))
            return
        for query, row in zip(queries, rows, strict=True):
            for match in row:
                before = "" if self.queries is None else f"{' '.join(query.split())}\t"
                chances = f"{match['p_value']:.1e}\t{match['p_value_of_any']:.1e}\t" if self.p_value else ""
                print(f"{before}{match['score']:.4f}\t{chances}{match['text']}")


def _add_p_values(row: list[dict[str, Any]], null: Null, query: np.ndarray, index: SentenceIndex) -> None:
    """Adds the chances to what was found for a query."""
    vectors = index.vectors(np.array([match["position"] for match in row], "int64"))
    logs = null.log_p_values(np.broadcast_to(query, vectors.shape), vectors)
    for match, one, any_one in zip(row, np.exp(logs), chance_among(logs, len(index)), strict=True):
        match |= {"p_value": float(one), "p_value_of_any": float(any_one)}


def _sentences(path: Path | None) -> list[str]:
    """The sentences of a corpus as an index holds them."""
    return [] if path is None else [" ".join(text.split()) for text in read_texts(path)]


COMMANDS = {"train": Train, "evaluate": Evaluate, "calibrate": Calibrate, "index": Index, "search": Search}
