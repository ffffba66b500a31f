"""Text without labels: the words of raw text, templates and communities of sentences.

    nlptasks discover --input corpus/*.txt --output runs/words.tsv --dictionary runs/words.txt
    nlptasks segment --user-dict runs/words.txt --text 今天天气很好。
    nlptasks sentences pages/*.txt --output sentences.txt
    nlptasks cluster --input sentences.txt --output runs/communities

docs/discovery.md describes the methods and what they reach.
"""

import contextlib
import json
import math
import os
import signal
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tqdm import tqdm

from nlptasks.applications.options import require_output
from nlptasks.console import say
from nlptasks.discovery.cluster_commands import Cluster
from nlptasks.discovery.passes import UNIT_BYTES, Corpus, fingerprint
from nlptasks.discovery.sentence_commands import Sentences
from nlptasks.discovery.template_commands import Templates
from nlptasks.discovery.words import Word, WordRules, as_dictionary, as_table, discover
from nlptasks.errors import UserError
from nlptasks.files import write_text
from nlptasks.pretraining.corpus import CorpusFormat, find_files, plan_units
from nlptasks.pretraining.workers import usable_cores
from nlptasks.train.options import TextFiles, require_at_least, require_positive
from nlptasks.train.progress import on_terminal

SETTINGS = "settings.json"


@dataclass(kw_only=True)
class Words(WordRules, TextFiles):
    """Find the words of raw text: characters that cling together, and are more than their parts.

    Without --output and --dictionary the words go to standard output, one a line, with frequency and score.
    """

    input: tuple[str, ...]
    """files and globs of the corpus: text or JSON lines, plain or gzip"""
    output: Path | None = None
    """file to write: lines of word, frequency, score and, with --freedom, freedom, separated by tabs"""
    dictionary: Path | None = None
    """file to write: a user dictionary of the words, as `nlptasks segment --user-dict` reads it"""
    multiplier: float = 6.0
    """how strongly the dictionary asks for its words; above 1"""
    format: str = "auto"
    """format of the files: text, jsonl (one JSON object per line), or auto: by the file names"""
    field: str = "text"
    """JSON lines: key of the text"""
    processes: int | None = None
    """number of processes; default: one per core"""
    megabytes: int = 256
    """about how much memory the counts of each process take; more goes to disk"""
    work: Path | None = None
    """folder for what is counted: the same command goes on there after an interruption; default: a temporary one"""
    json: bool = False
    """print one JSON object at the end: the number of words, seconds, and without files the words"""

    def check(self) -> None:
        """Refuses values that are out of range or contradict each other."""
        super().check()
        require_at_least(self, 1, "processes", "megabytes")
        require_positive(self, "multiplier")

    def run(self) -> None:
        """Reads the corpus and writes its words."""
        files = find_files(self.input)
        for path in (self.output, self.dictionary):
            require_output(path, *(Path(name) for name, _ in files))
        form = CorpusFormat(format=self.format, field=self.field, encoding=self.encoding)
        start = time.perf_counter()
        with self._folder(files) as folder, self._bar() as bar:

            def tell(name: str, done: int, count: int) -> None:
                bar.set_description(name, refresh=False)
                bar.total = count
                bar.update(done - bar.n)

            rows = self.megabytes * (1 << 20) // 64  # sorting a row of two numbers takes about so many bytes
            units = plan_units(files, UNIT_BYTES)
            corpus = Corpus(units, form, folder, self.processes or usable_cores(), rows, tell)
            words = discover(corpus, self)
        if self.output is not None:
            write_text(self.output, "".join(f"{line}\n" for line in as_table(words)))
        if self.dictionary is not None:
            write_text(self.dictionary, "".join(f"{line}\n" for line in as_dictionary(words, self.multiplier)))
        seconds = time.perf_counter() - start
        shown = self.output is None and self.dictionary is None
        if self.json:
            found = {"words": [_json_row(word) for word in words]} if shown else {}
            print(json.dumps({"count": len(words), "seconds": round(seconds, 2), **found}, ensure_ascii=False))
        elif shown:
            sys.stdout.writelines(f"{line}\n" for line in as_table(words))
        say(f"{len(words)} words, {seconds:.1f} s")

    @contextlib.contextmanager
    def _folder(self, files: list[tuple[str, int]]) -> Iterator[Path]:
        """Where the counts go; one that the user named is refused if it holds counts of another job."""
        former = signal.signal(signal.SIGTERM, signal.default_int_handler)
        try:
            if self.work is None:
                with tempfile.TemporaryDirectory(prefix="nlptasks-discover-") as name:
                    yield Path(name)
                return
            rules = {name: getattr(self, name) for name in WordRules.__dataclass_fields__ if name != "min_length"}
            stamps = [(os.path.abspath(path), size, os.stat(path).st_mtime_ns) for path, size in files]
            form = [self.format, self.field, self.encoding]
            settings = fingerprint({"rules": rules, "files": stamps, "format": form})
            self.work.mkdir(parents=True, exist_ok=True)
            path = self.work / SETTINGS
            if path.is_file() and json.loads(path.read_text(encoding="utf-8")) != settings:
                raise UserError(
                    "{folder}: holds the counts of other files or options; give another {field:work}, or remove it.",
                    folder=self.work,
                )
            write_text(path, json.dumps(settings))
            yield self.work
        finally:
            signal.signal(signal.SIGTERM, former)

    def _bar(self) -> tqdm:
        return tqdm(unit=" units", mininterval=0.5, disable=not on_terminal(), file=sys.stderr, leave=False)


def _json_row(word: Word) -> dict[str, Any]:
    """The values of a word; null for what is infinite, which JSON has not, and for what was not asked for."""
    return word._asdict() | ({} if math.isfinite(word.score) else {"score": None})


COMMANDS = {"words": Words, "templates": Templates, "cluster": Cluster, "sentences": Sentences}
