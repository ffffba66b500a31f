"""The `nlptasks` command: what is ready to use, from files or standard input to standard output."""

import contextlib
import functools
import itertools
import os
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, BinaryIO

import tyro

OK, USAGE, INTERRUPTED, BROKEN_PIPE = 0, 2, 130, 141


@dataclass(kw_only=True)
class Segment:
    """Cut Chinese text into words: every line as it is, with a space between two words.

    White space that stands in the text stays and is not doubled.
    """

    files: Annotated[tuple[str, ...], tyro.conf.Positional] = ()
    """UTF-8 text files, plain or gzip; none, or -: standard input"""
    tags: bool = False
    """write every character with its tag, as `字/b`: s a word, b m e its beginning, middle and end"""
    json: bool = False
    """write a JSON object a line: words and offsets, with --tags also the characters' tags"""
    user_dict: Path | None = None
    """words to cut out or never to cut out: lines `word,multiplier`, or jieba's `word frequency tag`"""
    standard: str | None = None
    """annotation standard: cnc, weibo, sxu, msr or pku; left out, the model's first"""
    model: str = "segmenter"
    """a run directory, or the model that comes with the package"""
    processes: int = 1
    """how many work at a time"""

    def run(self) -> None:
        if self.processes < 1:
            raise ValueError(f"--processes must be at least 1. Received: {self.processes}.")
        from nlptasks.models import segmentation_lines as lines

        forms = {(False, False): lines.SPACED, (True, False): lines.TAGGED, (False, True): lines.JSON}
        form = forms.get((self.tags, self.json), lines.TAGGED_JSON)
        make_writer = functools.cache(functools.partial(_make_writer, self.model, self.standard, self.user_dict, form))
        make_writer()  # what is wrong with the arguments shows before anything is read
        blocks = itertools.chain.from_iterable(map(_checked_blocks, self.files or ("-",)))
        for block in lines.write_all(make_writer, blocks, self.processes):
            sys.stdout.buffer.write(block)
            sys.stdout.buffer.flush()


def _make_writer(model, standard, user_dict, form):
    from nlptasks.applications import load
    from nlptasks.models.segmentation import Segmenter
    from nlptasks.models.segmentation_dictionary import UserDictionary
    from nlptasks.models.segmentation_lines import LineWriter

    segmenter = load(model)
    if not isinstance(segmenter, Segmenter):
        raise ValueError(f"{model}: not a segmenter; give the run directory of one.")
    if standard is not None:
        segmenter.runtime.config.standard_id(standard)
        segmenter.standard = standard
    if user_dict is not None:
        segmenter.dictionary = UserDictionary.from_file(user_dict)
    return LineWriter(segmenter, form)


def _checked_blocks(name: str) -> Iterator[bytes]:
    """The lines of a file in blocks; those before a line that is not UTF-8 come out before the error."""
    from nlptasks.files import not_utf8, read_line_blocks

    source: str | BinaryIO = sys.stdin.buffer if name == "-" else name
    shown = "standard input" if name == "-" else name
    line_number, byte_offset = 1, 0
    for block in read_line_blocks(source):
        try:
            block.decode("utf-8")
        except UnicodeDecodeError as error:
            good = block.rfind(b"\n", 0, error.start) + 1
            if good:
                yield block[:good]
            line_number += block.count(b"\n", 0, error.start)
            raise not_utf8(shown, line_number, block[error.start], byte_offset + error.start) from None
        yield block
        line_number += block.count(b"\n")
        byte_offset += len(block)


def main(arguments: list[str] | None = None) -> int:
    """Runs the command; returns its exit status."""
    commands = {"segment": Segment}
    command = tyro.extras.subcommand_cli_from_dict(
        commands,
        prog="nlptasks",
        description=__doc__,
        args=arguments,
        config=(tyro.conf.OmitArgPrefixes, tyro.conf.FlagCreatePairsOff),
    )
    try:
        command.run()
        sys.stdout.flush()
    except KeyboardInterrupt:
        return INTERRUPTED
    except BrokenPipeError:
        with contextlib.suppress(OSError):
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # so that the last flush is quiet too
        return BROKEN_PIPE
    except (ValueError, OSError) as error:
        text = getattr(error, "strerror", None) or str(error)
        if getattr(error, "filename", None):
            text = f"{error.filename}: {text}"
        print(f"error: {' '.join(text.split())}", file=sys.stderr)
        return USAGE
    return OK


if __name__ == "__main__":
    sys.exit(main())
