"""`nlptasks sentences`: the sentences of text as it comes out of printed pages."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import tyro

from nlptasks.applications.options import require_output
from nlptasks.console import say
from nlptasks.encodings import current_encoding, undecodable
from nlptasks.files import read_bytes, write_text
from nlptasks.pretraining.corpus import find_files
from nlptasks.text.printed import decoded, printed_sentences
from nlptasks.train.options import TextFiles

READ_AS = "{path}: read as {name}"
WRITTEN = "{output}: {count} sentences of {files} files"


@dataclass(kw_only=True)
class Sentences(TextFiles):
    """Write the sentences of text as it comes out of PDF files, one per line: for indexes, clusters and corpora.

    Lines that the page has cut are joined, page numbers and repeated heads left out, full-width letters and digits and
    radicals replaced, hyphens at line ends removed. A file that is not UTF-8 is read as UTF-16 if it has a byte order
    mark, else as GB18030.
    """

    input: Annotated[tuple[str, ...], tyro.conf.Positional]
    """text files, plain or gzip, and globs"""
    output: Path
    """file to write, one sentence per line"""

    def run(self) -> None:
        """Reads, joins, cuts and writes."""
        paths = [Path(name) for name, size in find_files(self.input) if size]
        require_output(self.output, *paths)
        found: list[str] = []
        for path in paths:
            found += printed_sentences(_text_of(path))
        write_text(self.output, "".join(f"{sentence}\n" for sentence in found))
        say(WRITTEN, output=self.output, count=len(found), files=len(paths))


def _text_of(path: Path) -> str:
    """The text of a file; says which encoding was found where it is not the one that was asked for."""
    data, asked = read_bytes(path), current_encoding()
    read = decoded(data, asked)
    if read is None:
        place = _first_wrong(data, asked)
        raise undecodable(path, data.count(b"\n", 0, place) + 1, data[place:], place, asked)
    text, name = read
    if name not in (asked, "utf-8-sig"):
        say(READ_AS, path=path, name=name)
    return text


def _first_wrong(data: bytes, encoding: str) -> int:
    """Where the first byte stands that is not in the encoding."""
    try:
        data.decode(encoding)
    except UnicodeDecodeError as error:
        return error.start
    return 0
