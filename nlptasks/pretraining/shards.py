"""Shards: the rows that pretraining reads, in ArrayRecord files beside one `meta.json`.

A row is `[CLS] text [SEP]` without padding. Beside each token stands whether it starts a word and whether it starts a
document, so that masking is drawn anew whenever a row is read, and attention may stop at documents.

A record: one byte with the version of the format, the ids (little endian, `id_bytes` bytes each), one byte of flags
for each token (bit 0 word start, bit 1 document start). Records are stored one by one (`group_size:1`), for random
access.

L tokens of a row
"""

import hashlib
import json
import os
from bisect import bisect_right
from collections.abc import Iterable, Mapping
from itertools import accumulate
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from nlptasks.errors import UserError
from nlptasks.files import PathLike, atomic_path, read_json_object, write_text
from nlptasks.text import TextTokenizer, load_vocab, open_tokenizer

if TYPE_CHECKING:
    from array_record.python.array_record_module import ArrayRecordReader

FORMAT_VERSION = 1
META_FILE = "meta.json"
WORD_START, DOCUMENT_START = 1, 2
WRITER_OPTIONS = "group_size:1"
READER_OPTIONS = "readahead_buffer_size:0"
_VERSION_BYTE = bytes([FORMAT_VERSION])


class Row(NamedTuple):
    """A row of tokens.

    Attributes:
        token_ids: int32 (L,), first [CLS], last [SEP], L at most the `seq_length` of the shards.
        word_starts: bool (L,), whether a token starts a word; special tokens are words.
        document_starts: bool (L,), whether the part of a document starts here. [CLS] belongs to the first document, so
            it is True at [CLS] and not at the token behind it; [SEP] belongs to the last. `cumsum(document_starts)`
            numbers the documents of the row from 1.
    """

    token_ids: np.ndarray
    word_starts: np.ndarray
    document_starts: np.ndarray


def id_bytes_for(vocab_size: int) -> int:
    """Bytes of a stored id: 2 where they suffice, else 4."""
    return 2 if vocab_size <= 1 << 16 else 4


def encode_row(row: Row, id_bytes: int) -> bytes:
    """The record of a row."""
    flags = row.word_starts * np.uint8(WORD_START) + row.document_starts * np.uint8(DOCUMENT_START)
    return _VERSION_BYTE + row.token_ids.astype(f"<u{id_bytes}").tobytes() + flags.astype("uint8").tobytes()


def decode_row(record: bytes, id_bytes: int) -> Row:
    """The row of a record.

    Raises:
        ValueError: another version of the format, or a length that no row has.
    """
    length, rest = divmod(len(record) - 1, id_bytes + 1)
    if rest or length < 2 or record[0] != FORMAT_VERSION:
        raise ValueError(
            f"expected a record of version {FORMAT_VERSION} with {id_bytes + 1} bytes a token. Received: {len(record)} "
            f"bytes that start with {record[:1].hex() or 'nothing'}; make the shards again with "
            f"`nlptasks pretraining shards`."
        )
    token_ids = np.frombuffer(record, f"<u{id_bytes}", length, 1).astype("int32")
    flags = np.frombuffer(record, "uint8", length, 1 + length * id_bytes)
    return Row(token_ids, flags & WORD_START != 0, flags & DOCUMENT_START != 0)


def vocab_fingerprint(vocab: Mapping[str, int]) -> str:
    """SHA-256 of the tokens in the order of their ids, one per line: that of a vocab.txt with `\\n` line ends."""
    lines = "".join(f"{token}\n" for token in sorted(vocab, key=vocab.__getitem__))
    return hashlib.sha256(lines.encode("utf-8", "surrogatepass")).hexdigest()


def file_digest(path: PathLike) -> str:
    """SHA-256 of a file's bytes."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def write_shard(path: PathLike, records: Iterable[bytes]) -> dict[str, Any]:
    """Write an ArrayRecord file whole or not at all.

    Returns:
        What `meta.json` says of it: `name`, `rows`, `bytes`, `sha256`.
    """
    from array_record.python.array_record_module import ArrayRecordWriter

    path, rows = Path(path), 0
    with atomic_path(path) as temporary:
        writer = ArrayRecordWriter(str(temporary), WRITER_OPTIONS)
        try:
            for record in records:
                writer.write(record)
                rows += 1
        finally:
            writer.close()
        entry = {"name": path.name, "rows": rows, "bytes": temporary.stat().st_size, "sha256": file_digest(temporary)}
    return entry


def write_meta(directory: PathLike, meta: Mapping[str, Any]) -> None:
    """Write `meta.json`, the last file of a finished set of shards."""
    write_text(Path(directory) / META_FILE, json.dumps(meta, ensure_ascii=False, indent=1) + "\n")


def read_meta(directory: PathLike) -> dict[str, Any]:
    """Read `meta.json`.

    Raises:
        FileNotFoundError, ValueError: one line: none there (the shards are unfinished), or not one of ours.
    """
    path = Path(directory) / META_FILE
    if not path.is_file():
        raise FileNotFoundError(
            f"{path}: no such file, so the shards are missing or unfinished; run `nlptasks pretraining shards` for "
            f"this folder (again): it goes on where it stopped."
        )
    meta = read_json_object(path)
    if meta.get("format_version") != FORMAT_VERSION:
        raise ValueError(
            f"{path}: expected shards of format version {FORMAT_VERSION}. Received: {meta.get('format_version')!r}; "
            f"make them again with `nlptasks pretraining shards`."
        )
    if not _is_whole(meta):
        raise UserError(
            "{path}: damaged, for a setting or a shard is missing in it; make the shards again with `nlptasks "
            "pretraining shards --overwrite`.",
            path=path,
        )
    return meta


def _is_whole(meta: Mapping[str, Any]) -> bool:
    try:
        numbers = [
            meta["seq_length"],
            meta["vocab_size"],
            *(shard[n] for shard in meta["shards"] for n in ("rows", "bytes")),
        ]
        names = [shard["name"] for shard in meta["shards"]]
        return (
            isinstance(meta["options"]["isolate_documents"], bool)
            and all(type(number) is int for number in numbers)
            and all(isinstance(name, str) and Path(name).name == name for name in names)
        )
    except (KeyError, TypeError):
        return False


class ShardSet:
    """All rows of a folder of shards, read at random: `shards[i]` is a `Row`.

    It may stand as the source of a Grain data set, and it may be pickled and forked: files are opened where they are
    read.

    Args:
        directory: what `nlptasks pretraining shards` has written.
        vocab: the vocabulary of the model (token to id, or the path of a vocab.txt), to be compared with that of the
            shards; None: not compared.
        skip_unreadable: leave shards out that are missing, have another size or (with `check_digests`) other bytes,
            instead of an error.
        check_digests: read every file once and compare its SHA-256; sizes are always compared.

    Attributes:
        meta: `meta.json` as a dict.
        seq_length, vocab_size: of the rows.
        isolate_documents: whether training hides the documents of a row from each other, unless it is told otherwise.
        skipped: names of the shards left out.

    Raises:
        FileNotFoundError, ValueError: one line: unfinished shards, another vocabulary, an unreadable shard.
    """

    def __init__(
        self,
        directory: PathLike,
        vocab: Mapping[str, int] | PathLike | None = None,
        skip_unreadable: bool = False,
        check_digests: bool = False,
    ):
        self.directory = Path(directory)
        self.meta = read_meta(self.directory)
        self.seq_length: int = self.meta["seq_length"]
        self.vocab_size: int = self.meta["vocab_size"]
        self.isolate_documents: bool = self.meta["options"]["isolate_documents"]
        if vocab is not None:
            self._check_vocab(vocab)
        self.shards, self.skipped = [], []
        for shard in self.meta["shards"]:
            if problem := self._problem(shard, check_digests):
                if not skip_unreadable:
                    raise ValueError(problem)
                self.skipped.append(shard["name"])
            else:
                self.shards.append(shard)
        self._ends = list(accumulate(shard["rows"] for shard in self.shards))
        if not self._ends or not self._ends[-1]:
            raise ValueError(
                f"{self.directory}: holds no readable row; make the shards again with `nlptasks pretraining shards`."
            )
        self._id_bytes = id_bytes_for(self.vocab_size)
        self._readers: dict[int, ArrayRecordReader] = {}
        self._process = os.getpid()

    def tokenizer(self) -> TextTokenizer:
        """The tokenizer that made the rows."""
        return open_tokenizer(self.directory)

    def check(self) -> None:
        """Read every file that is in use once and compare its SHA-256.

        Raises:
            ValueError: one line that names the first one that differs.
        """
        for shard in self.shards:
            if problem := self._problem(shard, True):
                raise ValueError(problem)

    def __len__(self) -> int:
        return self._ends[-1]

    def __getitem__(self, index: int) -> Row:
        """Row `index` of all.

        Raises:
            IndexError: there is no such row.
            ValueError: the shard cannot be read; the error names it.
        """
        index = index.__index__()
        if not -len(self) <= index < len(self):
            raise IndexError(f"rows are 0 to {len(self) - 1}. Received: {index}.")
        index %= len(self)
        number = bisect_right(self._ends, index)
        shard = self.shards[number]
        at = index - self._ends[number] + shard["rows"]
        try:
            (record,) = self._reader(number).read([at])
            return decode_row(record, self._id_bytes)
        except (RuntimeError, ValueError, IndexError) as error:
            raise ValueError(self._unreadable(shard, f"row {at}: {error}")) from None

    def __repr__(self) -> str:
        digest = hashlib.sha256("".join(shard["sha256"] for shard in self.shards).encode()).hexdigest()
        return f"ShardSet(rows={len(self)}, sha256={digest[:16]})"

    def __getstate__(self) -> dict[str, Any]:
        return self.__dict__ | {"_readers": {}}

    def _reader(self, number: int) -> "ArrayRecordReader":
        from array_record.python.array_record_module import ArrayRecordReader

        if self._process != os.getpid():  # the readers' threads stayed in the process that forked
            self._readers, self._process = {}, os.getpid()
        if number not in self._readers:
            shard = self.shards[number]
            reader = ArrayRecordReader(str(self.directory / shard["name"]), READER_OPTIONS)
            if reader.num_records() != shard["rows"]:
                found = f"it holds {reader.num_records()} rows instead of {shard['rows']}"
                reader.close()
                raise ValueError(found)
            self._readers[number] = reader
        return self._readers[number]

    def _problem(self, shard: Mapping[str, Any], check_digest: bool) -> str | None:
        path = self.directory / shard["name"]
        if not path.is_file():
            return self._unreadable(shard, "there is no such file")
        if path.stat().st_size != shard["bytes"]:
            return self._unreadable(shard, f"it has {path.stat().st_size} bytes instead of {shard['bytes']}")
        if check_digest and file_digest(path) != shard["sha256"]:
            return self._unreadable(shard, "its SHA-256 is not the one in meta.json")
        return None

    def _unreadable(self, shard: Mapping[str, Any], what: str) -> str:
        return (
            f"{self.directory / shard['name']}: unreadable shard ({what}); copy it again, or delete it and run the "
            f"same `nlptasks pretraining shards` again, which makes what is missing, or skip unreadable shards."
        )

    def _check_vocab(self, vocab: Mapping[str, int] | PathLike) -> None:
        where = "the vocabulary" if isinstance(vocab, Mapping) else vocab
        vocab = vocab if isinstance(vocab, Mapping) else load_vocab(vocab)
        theirs, ours = vocab_fingerprint(vocab), self.meta["vocab_fingerprint"]
        if theirs != ours:
            raise ValueError(
                f"{self.directory}: made with another vocabulary ({self.vocab_size} tokens, fingerprint {ours[:12]}) "
                f"than {where} ({len(vocab)} tokens, fingerprint {theirs[:12]}); use the vocab.txt beside the shards, "
                f"or make shards with this vocabulary."
            )
