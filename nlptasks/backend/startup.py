"""What a command does to its process before it runs: environment variables, and quiet backends.

Keras is not imported here: a command that needs none never pays for it.
"""

import contextlib
import functools
import importlib.abc
import importlib.machinery
import os
import re
import signal
import sys
import tempfile
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from types import ModuleType

from nlptasks.errors import UserError

_NOTES = re.compile(
    rb"^WARNING: All log messages before absl::InitializeLog|^To enable the following instructions:"
    rb"|(?:^I\d{4}|: I) .*(?:port\.cc:\d+\] oneDNN|cpu_feature_guard\.cc|cudart_stub\.cc)"
    rb"|(?:^E\d{4}|: E) .*cuda_platform\.cc:\d+\] failed call to cuInit"
)


def quiet_backends() -> None:
    """Keeps TensorFlow from writing what is no concern of a user to standard error; call it before Keras is imported.

    Its own warnings of what it compiles are switched off by its log level, unless the environment sets another one.
    The notes that its libraries write while they load come before any log level is read; they are dropped while Keras
    and TensorFlow are imported for the first time, if they ever are.
    """
    # 2: with 1, the gradient of a branch prints many lines about TensorFlow's own type inference
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    finder = _QuietImports()
    if finder.awaited and not any(isinstance(other, _QuietImports) for other in sys.meta_path):
        sys.meta_path.insert(0, finder)


def set_environment(variables: Mapping[str, str]) -> None:
    """Sets the environment variables that a command asks for; call it before Keras is imported.

    Raises:
        UserError: they ask for another backend than the one that Keras has been loaded with.
    """
    wanted, keras = variables.get("KERAS_BACKEND"), sys.modules.get("keras")
    if wanted is not None and keras is not None and keras.backend.backend() != wanted:
        raise UserError(
            "this command runs on {wanted}: set the environment variable KERAS_BACKEND={wanted} before Keras is "
            "imported. Received: Keras, loaded with {loaded}.",
            wanted=wanted,
            loaded=keras.backend.backend(),
        )
    os.environ.update(variables)


class _QuietImports(importlib.abc.MetaPathFinder):
    """Finds what the other finders find, and drops TensorFlow's notes while the modules named below are loaded."""

    def __init__(self) -> None:
        self.awaited = {"keras", "tensorflow"} - sys.modules.keys()

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> importlib.machinery.ModuleSpec | None:
        """The spec of an awaited module, else None."""
        if fullname not in self.awaited:
            return None
        others = (finder.find_spec(fullname, path, target) for finder in sys.meta_path if finder is not self)
        spec = next((spec for spec in others if spec is not None), None)
        if spec is not None and spec.loader is not None:
            load = functools.partial(self._load, spec.loader.exec_module)
            spec.loader.exec_module = load  # type: ignore[method-assign] # of this module alone
        return spec

    def _load(self, exec_module: Callable[[ModuleType], None], module: ModuleType) -> None:
        with ended_by_ctrl_c(), _without_notes():
            exec_module(module)
            if module.__name__ == "keras" and module.backend.backend() == "tensorflow":
                sys.modules["tensorflow"].config.list_physical_devices()  # looks for a GPU, and says so
        self.awaited.discard(module.__name__)
        if not self.awaited and self in sys.meta_path:
            sys.meta_path.remove(self)


@contextlib.contextmanager
def ended_by_ctrl_c() -> Iterator[None]:
    """Inside, Ctrl-C ends the process as it ends any program, without a traceback: nothing is begun yet.

    An exception would not do: a module that is being loaded may swallow it. A process that was told to ignore Ctrl-C
    (one that a shell runs in the background, say) goes on ignoring it.
    """
    former = signal.getsignal(signal.SIGINT)
    alone = threading.current_thread() is threading.main_thread()
    if former is not signal.default_int_handler or not alone:
        yield
        return
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, former)


@contextlib.contextmanager
def _without_notes() -> Iterator[None]:
    """Drops the known notes from file descriptor 2; anything else is passed on when the block is left."""
    try:
        saved = os.dup(2)
    except OSError:  # no standard error
        yield
        return
    with tempfile.TemporaryFile() as captured:
        os.dup2(captured.fileno(), 2)
        try:
            yield
        finally:
            os.dup2(saved, 2)
            captured.seek(0)
            with contextlib.suppress(OSError):  # nobody reads
                for line in captured:
                    if not _NOTES.search(line):
                        os.write(saved, line)
            os.close(saved)
