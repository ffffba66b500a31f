"""Models that own layers of a graph, while a saved model is read: layers of one owner find each other here."""

import contextlib
from collections.abc import Callable, Iterator
from typing import Any

_OPEN: list[dict[str, Any]] = []


@contextlib.contextmanager
def owners() -> Iterator[None]:
    """Layers that are read inside share their owner."""
    _OPEN.append({})
    try:
        yield
    finally:
        _OPEN.pop()


def owner(key: str, make: Callable[[], Any]) -> Any:
    """The owner of that key, made by the first layer that asks."""
    if not _OPEN:
        return make()
    if key not in _OPEN[-1]:
        _OPEN[-1][key] = make()
    return _OPEN[-1][key]
