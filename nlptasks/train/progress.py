"""What a person sees of a run: lines and bars on standard error; standard output is for results."""

import sys
from collections.abc import Iterable

from tqdm.auto import tqdm


def say(message: str) -> None:
    """Shows a line, above the bar if there is one."""
    tqdm.write(message, file=sys.stderr)


def progress_bar(items: Iterable, description: str = "", total: int | None = None, initial: int = 0) -> tqdm:
    """The items, with a bar that counts them.

    Args:
        total: how many there are, where `items` has no length or is only the rest of them.
        initial: how many were done before.
    """
    return tqdm(items, desc=description, total=total, initial=initial, file=sys.stderr, mininterval=0.5)
