"""Turns lines of UTF-8 into segmented lines, as `nlptasks segment` writes them."""

import contextlib
import json
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from itertools import chain, islice, pairwise
from multiprocessing import get_context
from signal import SIG_IGN, SIGINT, signal
from threading import current_thread, main_thread
from typing import Any

import numpy as np

from nlptasks.applications.segmentation.segmenter import Segmenter
from nlptasks.applications.segmentation.viterbi import TAGS
from nlptasks.errors import UserError
from nlptasks.text.units import LINE_END, SPACE, UNSEEN, code_points, kind_table

SPACED, TAGGED, JSON, TAGGED_JSON = "spaced", "tagged", "json", "tagged json"
Work = Callable[[bytes], bytes]


class LineWriter:
    """Segments whole lines; `writer(lines)` returns the output for them.

    Args:
        segmenter: cuts the lines.
        form: SPACED: the lines, with a space between two words unless there is white space. TAGGED: every character
            except white space as `character/tag`, separated by spaces. JSON: each line is an object with `words` and
            `offsets`, (start, end) in characters; TAGGED_JSON adds `tags`, one per character.
    """

    def __init__(self, segmenter: Segmenter, form: str = SPACED) -> None:
        self.segmenter, self.form = segmenter, form

    def __call__(self, lines: bytes) -> bytes:
        text = lines.decode("utf-8")
        if self.form == SPACED:
            return self._spaced(lines, text)
        bodies = [line.removesuffix("\r") for line in text.removesuffix("\n").split("\n")]
        write = _tagged_line if self.form == TAGGED else self._json_line
        return "".join(f"{write(words)}\n" for words in self.segmenter.segment(bodies)).encode()

    def _spaced(self, lines: bytes, text: str) -> bytes:
        starts = self.segmenter.word_starts(text)
        codes = code_points(text)
        kinds = kind_table().take(codes)
        white = ((kinds == SPACE) | (kinds == LINE_END)) & ~np.isin(codes, UNSEEN)
        starts = starts[1:]
        starts = starts[~(white[starts] | white[starts - 1])]
        data = np.frombuffer(lines, "uint8")
        if len(data) > len(text):  # from characters to bytes
            starts = np.flatnonzero((data & 0xC0) != 0x80)[starts]
        out = np.full(len(data) + len(starts), ord(" "), "uint8")
        keep = np.ones(len(out), bool)
        keep[starts + np.arange(len(starts))] = False
        out[keep] = data
        return out.tobytes()

    def _json_line(self, words: Sequence[str]) -> str:
        ends = np.cumsum([0, *map(len, words)]).tolist()
        line: dict[str, Any] = {"words": words, "offsets": list(pairwise(ends))}
        if self.form == TAGGED_JSON:
            line["tags"] = "".join(map(word_tags, words))
        return json.dumps(line, ensure_ascii=False)


def word_tags(word: str) -> str:
    """The tags of a word's characters: s, or b, m, ..., e."""
    return TAGS[0] if len(word) == 1 else f"b{'m' * (len(word) - 2)}e"


def _tagged_line(words: Sequence[str]) -> str:
    return " ".join(
        f"{char}/{tag}" for word in words for char, tag in zip(word, word_tags(word), strict=True) if not char.isspace()
    )


def write_all(
    writer: Work, make_writer: Callable[[], Work], blocks: Iterable[bytes], processes: int = 1
) -> Iterator[bytes]:
    """Yields what the writer returns for each block, in their order.

    New processes are spawned: one that is forked from a process that has run a backend can hang, and there is no fork
    everywhere. Where there is one block alone, none is started.

    Args:
        writer: the `LineWriter` of this process.
        make_writer: makes the same; it is called once in every other process, to which it can be sent.
        processes: number of processes; only a few blocks are in memory at a time.
    """
    come = _until_failure(blocks)
    first = list(islice(come, 2)) if processes > 1 else []
    if processes == 1 or len(first) < 2:
        yield from map(writer, _as_they_come(chain(first, come)))
        return
    with ProcessPoolExecutor(processes, get_context("spawn"), _start_worker, (make_writer,)) as pool:
        waiting: list[Future] = []
        failure = None
        try:
            for block in chain(first, come):
                if isinstance(block, Exception):
                    failure = block
                    break
                with _workers_deaf_to_ctrl_c():
                    waiting.append(pool.submit(_work, block))
                if len(waiting) > 2 * processes:
                    yield waiting.pop(0).result()
            while waiting:
                yield waiting.pop(0).result()
        except BrokenProcessPool:
            raise UserError(
                "a process ended before its work was done; with {field:processes} 1 it shows why."
            ) from None
        finally:
            pool.shutdown(wait=False, cancel_futures=True)
        if failure is not None:
            raise failure


@contextlib.contextmanager
def _workers_deaf_to_ctrl_c() -> Iterator[None]:
    """A process that starts in this block ignores Ctrl-C, which is for the one that reads."""
    if current_thread() is not main_thread():  # only the main one may say so
        yield
        return
    former = signal(SIGINT, SIG_IGN)
    try:
        yield
    finally:
        signal(SIGINT, former)


def _as_they_come(blocks: Iterable[bytes | Exception]) -> Iterator[bytes]:
    """The blocks; an error among them is raised where it stands."""
    for block in blocks:
        if isinstance(block, Exception):
            raise block
        yield block


def _until_failure(blocks: Iterable[bytes]) -> Iterator[bytes | Exception]:
    """The blocks, and at the end the error that stopped them, so that what came before it can be written."""
    try:
        yield from blocks
    except (ValueError, OSError) as error:
        yield error


_worker: Work | None = None


def _start_worker(make_writer: Callable[[], Work]) -> None:
    global _worker
    signal(SIGINT, SIG_IGN)  # Ctrl-C is for the process that reads
    _worker = make_writer()


def _work(block: bytes) -> bytes:
    assert _worker is not None
    return _worker(block)
