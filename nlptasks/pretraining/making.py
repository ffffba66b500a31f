"""Making a folder of shards: a plan, a shard a unit of the corpus, and `meta.json` when all are there.

What stands in the folder depends on the corpus, the vocabulary and the options, not on who made which shard when. So a
run that was stopped goes on with the shards that are missing, and machines may share the work.
"""

import contextlib
import dataclasses
import hashlib
import json
import shutil
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from nlptasks.encodings import UTF_8, is_utf8
from nlptasks.errors import UserError
from nlptasks.files import PathLike, open_text, read_json_object, write_text
from nlptasks.pretraining.corpus import CorpusFormat, find_files, plan_units, read_documents
from nlptasks.pretraining.packing import COUNTS, SHORTEST_ROW, Packer, too_short
from nlptasks.pretraining.shards import FORMAT_VERSION, META_FILE, read_meta, vocab_fingerprint, write_meta, write_shard
from nlptasks.pretraining.words import SEGMENTERS, make_word_cutter
from nlptasks.text import TextTokenizer, Tokenizer
from nlptasks.text import open_tokenizer as open_any
from nlptasks.text.vocab import SPECIAL_TOKENS
from nlptasks.train.options import require_one_of
from nlptasks.train.record import require_new_folder

FAILED = "failed"
"""key of a plan that ended in an error: other settings may replace it"""
PLAN_FILE, PARTS_FOLDER, SUFFIX = "plan.json", ".parts", ".arrayrecord"
REPORT_EVERY = 64
"""rows between two reports of progress"""


@dataclass(frozen=True, kw_only=True)
class ShardOptions:
    """What decides the rows, beside corpus and vocabulary.

    Attributes:
        seq_length: the most tokens of a row.
        segmenter: where words come from: jieba, fcn or none.
        user_dict: file of words that fcn prefers or avoids.
        format, documents, field, encoding: see `CorpusFormat`.
        isolate_documents: whether training by default hides the documents of a row from each other.
        shard_bytes: about how many bytes of text go into a shard.
    """

    seq_length: int = 512
    segmenter: str = "jieba"
    format: str = "auto"
    documents: str = "line"
    field: str = "text"
    isolate_documents: bool = False
    shard_bytes: int = 1 << 26
    encoding: str = UTF_8
    user_dict: str | None = None

    def __post_init__(self) -> None:
        if self.seq_length < SHORTEST_ROW:
            raise too_short(self.seq_length)
        require_one_of(self, segmenter=SEGMENTERS)
        if self.user_dict is not None and self.segmenter != "fcn":
            raise UserError("{field:user_dict} goes with {field:segmenter} fcn. Received: {name}.", name=self.segmenter)
        if self.shard_bytes < 1:
            raise ValueError(f"a shard must hold some text. Received: shard_bytes={self.shard_bytes}.")
        self.corpus_format()

    def corpus_format(self) -> CorpusFormat:
        """How files are read."""
        return CorpusFormat(format=self.format, documents=self.documents, field=self.field, encoding=self.encoding)


def open_tokenizer(path: PathLike, lowercase: bool = True) -> TextTokenizer:
    """The tokenizer of a vocabulary that pretraining can use.

    Args:
        path: a vocab.txt, or a folder with a tokenizer (whose tokenizer_config.json then decides about case).
        lowercase: for a file.

    Raises:
        FileNotFoundError, ValueError: one line; all special tokens that are missing are named.
    """
    path = Path(path)
    if path.is_dir() and not (path / "vocab.txt").is_file():
        tokenizer = open_any(path)
        tokenizer.cls_id, tokenizer.sep_id, tokenizer.mask_id  # noqa: B018 - each says so where it is missing
        return tokenizer
    file = path / "vocab.txt" if path.is_dir() else path
    with open_text(file, own=True) as lines:
        tokens = {line.rstrip("\r\n") for line in lines}
    if missing := [token for token in SPECIAL_TOKENS if token not in tokens]:
        raise ValueError(
            f"{file}: a vocabulary for pretraining needs {', '.join(missing)}, which it lacks among {len(tokens)} "
            f"tokens; add a line for each ([PAD] the first), or make one with `nlptasks pretraining vocab`."
        )
    return open_any(path) if path.is_dir() else Tokenizer(path, lowercase)


class ShardMaker:
    """Makes the shards of one folder, each by its number. It may be sent to other processes.

    Args:
        inputs: files and globs.
        tokenizer: encodes the text.
        directory: the folder.
        options: see `ShardOptions`.

    Attributes:
        units: what each shard is made of.

    Raises:
        FileNotFoundError, ValueError: as `find_files`.
    """

    def __init__(
        self, inputs: Iterable[PathLike], tokenizer: TextTokenizer, directory: PathLike, options: ShardOptions
    ):
        self.tokenizer, self.directory, self.options = tokenizer, Path(directory), options
        self.files = find_files(inputs)
        self.units = plan_units(self.files, options.shard_bytes)
        self._packer: Packer | None = None
        self._began: list[str] = []

    def __getstate__(self) -> dict[str, Any]:
        return self.__dict__ | {"_packer": None}

    def __call__(self, number: int, report: Callable[[int], None] | None = None) -> dict[str, Any]:
        """Make shard `number` and note it as finished.

        Args:
            report: called now and then with the number of tokens made since.

        Returns:
            What `meta.json` will say of it.
        """
        if self._packer is None:
            cut_words = make_word_cutter(self.options.segmenter, self.options.user_dict)
            self._packer = Packer(self.tokenizer, cut_words, self.options.seq_length)
        documents = read_documents(self.units[number], self.options.corpus_format())
        records = _reported(self._packer, documents, report)
        entry = write_shard(self._shard_path(number), records) | {"counts": dict(self._packer.counts)}
        write_text(self._part_path(number), json.dumps(entry) + "\n")
        return entry

    def start(self, overwrite: bool = False) -> list[int]:
        """Prepare the folder; returns the numbers of the shards that are still to be made.

        Args:
            overwrite: throw away the shards that are there.

        Raises:
            ValueError: shards of something else stand there, or anything but shards.
        """
        path = self.directory / PLAN_FILE
        plan = self._plan()
        begun = path.is_file()
        if not begun:
            require_new_folder(self.directory)
        elif overwrite:
            self._clear()
        elif differing := _differences(former := read_json_object(path), plan):
            overwrite = bool(former.get(FAILED))
            if overwrite:
                self._clear()
            else:
                raise UserError(
                    "{directory}: holds shards made with other settings ({differing}); give another {field:output}, or "
                    "{field:overwrite} to replace them.",
                    directory=self.directory,
                    differing=differing,
                )
        if overwrite or not begun:  # first of all: it says whose folder this is
            self._write_plan(plan)
        there = _names(self.directory)
        self.tokenizer.save(self.directory)
        self._began = [] if begun else [PLAN_FILE, *(_names(self.directory) - there)]
        self.remove_temporary_files()
        found = self._finished()
        missing = [number for number in range(len(self.units)) if number not in found]
        if missing and (self.directory / META_FILE).is_file():
            for number, entry in found.items():
                write_text(self._part_path(number), json.dumps(entry) + "\n")
            (self.directory / META_FILE).unlink()
        return missing

    def remove_temporary_files(self) -> None:
        """Remove what processes that were killed have left half written; no process may be at work."""
        for folder in (self.directory, self.directory / PARTS_FOLDER):
            for left in folder.glob(".shard-*"):
                left.unlink()

    def give_up(self) -> None:
        """Let a run that ended in an error stand in nobody's way: other settings may replace it, and where it began the
        folder and finished no shard, nothing is left.
        """
        if self._finished() or not self._began:
            self._write_plan(self._plan() | {FAILED: True})
            return
        self._clear()
        for name in self._began:
            (self.directory / name).unlink(missing_ok=True)
        with contextlib.suppress(OSError):  # something else stands in it
            self.directory.rmdir()

    def _write_plan(self, plan: dict[str, Any]) -> None:
        write_text(self.directory / PLAN_FILE, json.dumps(plan, ensure_ascii=False, indent=1) + "\n")

    def finish(self) -> dict[str, Any]:
        """Write `meta.json` once all shards are there; returns it.

        Raises:
            ValueError: a shard is missing, or the corpus holds no text.
        """
        found = self._finished()
        if missing := [number for number in range(len(self.units)) if number not in found]:
            raise ValueError(
                f"{self.directory}: {len(missing)} of {len(self.units)} shards are missing, the first is "
                f"{self._shard_path(missing[0]).name}; run the same command again, which makes what is missing."
            )
        shards = [found[number] for number in range(len(self.units))]
        counts = {name: sum(shard["counts"][name] for shard in shards) for name in COUNTS}
        if not counts["rows"]:
            raise ValueError(f"the corpus is empty: {len(self.files)} files with no text ({self.files[0][0]}, ...).")
        meta = {name: value for name, value in self._plan().items() if name != "files"}
        meta |= {"vocab_size": self.tokenizer.vocab_size, "seq_length": self.options.seq_length}
        meta |= {"counts": counts, "shards": shards}
        write_meta(self.directory, meta)
        shutil.rmtree(self.directory / PARTS_FOLDER, ignore_errors=True)
        return meta

    def _plan(self) -> dict[str, Any]:
        options = dataclasses.asdict(self.options) | {"lowercase": self.tokenizer.lowercase}
        if is_utf8(self.options.encoding):  # as plans of older versions
            del options["encoding"]
        if self.options.user_dict is None:
            del options["user_dict"]
        else:  # the words count, wherever they are
            options["user_dict"] = hashlib.sha256(Path(self.options.user_dict).read_bytes()).hexdigest()
        return {
            "format_version": FORMAT_VERSION,
            "vocab_fingerprint": vocab_fingerprint(self.tokenizer.vocab),
            "options": options,
            "files": [list(file) for file in self.files],
        }

    def _shard_path(self, number: int) -> Path:
        return self.directory / f"shard-{number:05d}{SUFFIX}"

    def _part_path(self, number: int) -> Path:
        return self.directory / PARTS_FOLDER / f"shard-{number:05d}.json"

    def _finished(self) -> dict[int, dict[str, Any]]:
        """The entries, by number, of the shards that are noted as finished and are there in full size."""
        noted: dict[str, dict[str, Any]] = {}
        if (self.directory / META_FILE).is_file():
            noted = {entry["name"]: entry for entry in read_meta(self.directory)["shards"]}
        found = {}
        for number in range(len(self.units)):
            path, part = self._shard_path(number), self._part_path(number)
            entry = noted.get(path.name) or (read_json_object(part) if part.is_file() else None)
            if entry and path.is_file() and path.stat().st_size == entry.get("bytes"):
                found[number] = entry
        return found

    def _clear(self) -> None:
        (self.directory / META_FILE).unlink(missing_ok=True)
        shutil.rmtree(self.directory / PARTS_FOLDER, ignore_errors=True)
        for path in self.directory.glob(f"shard-*{SUFFIX}"):
            path.unlink()


def _reported(packer: Packer, documents: Iterable[str], report: Callable[[int], None] | None) -> Iterator[bytes]:
    """The records; the tokens made are reported in between."""
    told = 0
    for row, record in enumerate(packer.records(documents), 1):
        yield record
        if report and not row % REPORT_EVERY:
            report(packer.counts["tokens"] - told)
            told = packer.counts["tokens"]
    if report:
        report(packer.counts["tokens"] - told)


def _names(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()}


def _differences(found: dict[str, Any], wanted: dict[str, Any]) -> str:
    """The settings that differ, with both values."""
    pairs = [(name, found.get(name), value) for name, value in wanted.items() if name not in ("options", "files")]
    options = found.get("options", {})
    names = {**wanted["options"], **options}  # an option at its default may be left out on either side
    pairs += [(name, options.get(name), wanted["options"].get(name)) for name in names]
    told = [f"{name} {theirs!s:.12} instead of {ours!s:.12}" for name, theirs, ours in pairs if theirs != ours]
    if found.get("files") != wanted["files"]:
        told.append("other names or sizes of corpus files")
    return ", ".join(told)
