"""What a person sees of a run: lines and bars on standard error; standard output is for results.

In a terminal a bar is redrawn; into a file go a few plain lines.
"""

import functools
import sys
import time
from collections import deque
from collections.abc import Iterable, Iterator, Sized
from typing import Any, TypeVar

from tqdm.auto import tqdm

from nlptasks.errors import rendered, told, translated

T = TypeVar("T")
LINE_SECONDS, QUARTER_SECONDS = 600.0, 10.0
"""seconds after which a file gets another line; and those that must lie between two quarters of the work"""


def say(message: str, **values: object) -> None:
    """Shows a line, above the bar if there is one.

    Args:
        message: a line, or with `values` a template in the form of `UserError`.
    """
    write_line(rendered(message, values) if values else translated(message))


def write_line(line: str) -> None:
    """Shows a line as it is, above the bar if there is one."""
    tqdm.write(line, file=sys.stderr)


def listed(words: Iterable[str]) -> str:
    """Words with the commas of the user's language between them."""
    return functools.reduce(lambda first, second: told("{first}, {second}", first=first, second=second), words)


def on_terminal() -> bool:
    """Whether standard error is a terminal, where a bar can be redrawn."""
    return sys.stderr is not None and sys.stderr.isatty()


class Pace:
    """How long an item takes, without those that take far longer, because a program is compiled for them.

    Args:
        outlier: how many times as long as a short one an item may take to be counted.
    """

    def __init__(self, outlier: float = 10.0):
        self.outlier, self._seconds = outlier, deque[float](maxlen=256)

    def add(self, seconds: float) -> None:
        """Counts an item."""
        self._seconds.append(seconds)

    @property
    def seconds(self) -> float | None:
        """Seconds an item; None where there are too few to tell."""
        if len(self._seconds) < 2:
            return None
        short = sorted(self._seconds)[(len(self._seconds) - 1) // 4]
        usual = [one for one in self._seconds if one <= self.outlier * short] or [short]
        return sum(usual) / len(usual)


class _Bar(tqdm):
    """A bar in a terminal, whose time left is that of the usual pace."""

    def __init__(self, *arguments: Any, **settings: Any):
        self.pace = Pace()
        super().__init__(*arguments, **settings)

    def __iter__(self) -> Iterator:
        try:
            yield from _timed(self.iterable, self.pace, self.update)
        finally:
            self.close()

    @property
    def format_dict(self) -> dict[str, Any]:
        """As tqdm's, with the rate of the usual pace; 0 shows as unknown."""
        found, seconds = super().format_dict, self.pace.seconds
        return found | {"rate": 1 / seconds if seconds else 0}


class _Lines:
    """What a bar says in plain lines: at a quarter of the work, after ten minutes, and at the end."""

    def __init__(self, items: Iterable, description: str, total: int | None, initial: int):
        self.iterable, self.description, self.n = items, description, initial
        self.total = total if total is not None else len(items) if isinstance(items, Sized) else None
        self.pace, self.postfix = Pace(), ""
        self._started = self._shown = time.monotonic()
        self._quarter = self._quarter_of(initial)

    def _quarter_of(self, n: int) -> int:
        return 4 * n // self.total if self.total else 0

    def __iter__(self) -> Iterator:
        yield from _timed(self.iterable, self.pace, self._update)
        self._show()

    def set_postfix_str(self, text: str, refresh: bool = True) -> None:
        """What stands behind the numbers."""
        self.postfix = text

    def _update(self) -> None:
        self.n += 1
        since, quarter = time.monotonic() - self._shown, self._quarter_of(self.n)
        at_quarter = self._quarter < quarter < 4 and since > QUARTER_SECONDS
        if at_quarter or (since > LINE_SECONDS and self.n != self.total):
            self._show()
            self._quarter = quarter

    def _show(self) -> None:
        self._shown = time.monotonic()
        took = tqdm.format_interval(self._shown - self._started)
        template = "{done} in {time}" if self.total is None else "{done} of {total} in {time}"
        words = [told(template, done=self.n, total=self.total, time=took)]
        if self.total is not None and self.n < self.total and self.pace.seconds is not None:
            words.append(told("{time} left", time=tqdm.format_interval((self.total - self.n) * self.pace.seconds)))
        words += [self.postfix] if self.postfix else []
        line = listed(words)
        write_line(told("{what}: {line}", what=self.description, line=line) if self.description else line)


def _timed(items: Iterable[T], pace: Pace, update: Any) -> Iterator[T]:
    started = time.monotonic()
    for item in items:
        yield item
        now = time.monotonic()
        pace.add(now - started)
        started = now
        update()


def progress_bar(items: Iterable, description: str = "", total: int | None = None, initial: int = 0) -> Any:
    """The items, with a bar that counts them; where standard error is no terminal, with a few lines.

    Args:
        total: how many there are, where `items` has no length or is only the rest of them.
        initial: how many were done before.

    Returns:
        An iterable with a method `set_postfix_str`, as tqdm's.
    """
    if not on_terminal():
        return _Lines(items, description, total, initial)
    return _Bar(items, desc=description, total=total, initial=initial, file=sys.stderr, mininterval=0.5)
