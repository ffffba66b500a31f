"""Stopping a run so that it can be resumed. Imports no backend."""

import signal
import threading
from collections.abc import Callable
from types import FrameType
from typing import Any


class TrainingInterrupted(Exception):
    """The run was asked to stop; its state is saved, and `--resume` continues it."""


class StopRequested:
    """Within its `with` block, Ctrl-C and SIGTERM only set `requested`, so that no step is left half done.

    A second Ctrl-C interrupts at once. Only the main thread is interrupted; in another one nothing changes.
    """

    def __init__(self) -> None:
        self.requested = False
        self._former: dict[int, Callable[[int, FrameType | None], Any] | int | signal.Handlers | None] = {}

    def __enter__(self) -> "StopRequested":
        of_main = threading.current_thread() is threading.main_thread()
        for number in (signal.SIGINT, signal.SIGTERM) if of_main else ():
            self._former[number] = signal.signal(number, self._handle)
        return self

    def __exit__(self, *exception: object) -> None:
        for number, handler in self._former.items():
            signal.signal(number, handler)

    def _handle(self, number: int, frame: FrameType | None) -> None:
        if self.requested:
            raise KeyboardInterrupt
        self.requested = True
