"""Checkpoints of a run: Orbax writes the arrays in the background, and a manifest of digests, written last, seals them.

    checkpoints/00001000/state/...       the arrays, each device's part, as Orbax lays them out
    checkpoints/00001000/progress.json   what else a run needs to go on
    checkpoints/00001000/manifest.json   size and SHA-256 of every file above

Orbax restores a file with a flipped bit without noticing. A checkpoint without its manifest, or with a file that
differs from it, is not used: the one before is.
"""

import hashlib
import json
import logging
import threading
from collections.abc import Callable, Mapping
from typing import Any

import jax
import orbax.checkpoint as ocp
from etils import epath

from nlptasks.errors import UserError

MANIFEST, PROGRESS, STATE = "manifest.json", "progress.json", "state"
UNFINISHED = f"it was not finished: no {MANIFEST}"
_DIGITS = 8
_CHUNK = 1 << 22

logger = logging.getLogger(__name__)


class Checkpoints:
    """The checkpoints of one run, the newest `keep` of them.

    Every process of a run makes one; the first process writes manifests and deletes.

    Args:
        directory: where their folders stand.
        keep: how many are kept.

    Use it in a `with` block, so that the last save is finished.
    """

    def __init__(self, directory: epath.PathLike, keep: int = 3):
        self.directory, self.keep = epath.Path(directory), keep
        self._writer = ocp.StandardCheckpointer()
        self._sealing: threading.Thread | None = None
        self._failure: list[BaseException] = []

    def __enter__(self) -> "Checkpoints":
        return self

    def __exit__(self, *exception: object) -> None:
        try:
            self.wait()
        finally:
            self._writer.close()

    def save(self, step: int, state: Any, progress: Mapping[str, Any]) -> None:
        """Starts to save; returns when the arrays are copied, so that the next step may overwrite them.

        Raises:
            RuntimeError, OSError: the save before this one failed.
        """
        self.wait()
        folder = self._folder(step)
        first = jax.process_index() == 0
        if first and folder.exists():  # left by a run that was killed before it was sealed
            folder.rmtree()
        if first:
            folder.mkdir(parents=True)
        self._writer.save(folder / STATE, state, force=True)
        if first:
            arguments = (folder, json.dumps(progress, ensure_ascii=False))
            self._sealing = threading.Thread(target=self._seal, args=arguments, daemon=True)
            self._sealing.start()

    def wait(self) -> None:
        """Waits until the last save is sealed."""
        if self._sealing is not None:
            # first: Orbax tells an error once, and only the thread that seals may hear it, or it would seal nothing
            self._sealing.join()
            self._sealing = None
        self._writer.wait_until_finished()
        if self._failure:
            raise self._failure.pop()

    def _seal(self, folder: epath.Path, progress: str) -> None:
        """Waits for the arrays, writes the rest, the manifest last, and deletes checkpoints beyond `keep`."""
        try:
            self._writer.wait_until_finished()
            (folder / PROGRESS).write_text(progress, encoding="utf-8")
            _replace(folder / MANIFEST, json.dumps({"files": digests(folder)}, indent=1))
            # a newer one was passed over when the run went on from before it
            own, former = int(folder.name), [step for step in self.steps() if step <= int(folder.name)]
            for step in (*former[: -self.keep], *(step for step in self.steps() if step > own)):
                self._folder(step).rmtree()
        except BaseException as error:
            self._failure.append(error)

    def steps(self) -> list[int]:
        """The steps of the checkpoints that are there, sealed or not, ascending."""
        if not self.directory.exists():
            return []
        return sorted(int(f.name) for f in self.directory.iterdir() if f.name.isdecimal() and len(f.name) == _DIGITS)

    def restore_newest(
        self, like: Any, say: Callable[[str], None] = logger.warning
    ) -> tuple[int, Any, dict[str, Any]] | None:
        """Step, state and progress of the newest checkpoint that is whole, or None if there is none at all.

        Args:
            like: a state of the same shapes, cut over the devices as the restored one is to be.
            say: is told why a newer one was passed over.

        Raises:
            ValueError: checkpoints were finished and none is whole, or the whole one holds other shapes.
        """
        steps, unfinished = self.steps(), 0
        for step in reversed(steps):
            folder = self._folder(step)
            if problem := self._agreed(folder):
                say(f"{folder}: not used ({problem}); trying the checkpoint before it.")
                unfinished += problem == UNFINISHED
                continue
            progress = json.loads((folder / PROGRESS).read_text(encoding="utf-8"))
            try:
                return step, self._writer.restore(folder / STATE, jax.tree.map(_abstract, like)), progress
            except (ValueError, KeyError, TypeError) as error:
                what = " ".join(str(error).split())[:200]
                raise UserError(
                    "{folder}: does not fit this model ({what}); resume with the options of the run, or start anew in "
                    "another {field:output}.",
                    folder=folder,
                    what=what,
                ) from None
        if len(steps) > unfinished:
            raise UserError(
                "{directory}: none of its {count} checkpoints is whole; start anew in another {field:output}.",
                directory=self.directory,
                count=len(steps),
            )
        return None

    def _agreed(self, folder: epath.Path) -> str | None:
        """What is wrong with a checkpoint; all processes go by what the first one sees."""
        problem = damage(folder) if jax.process_index() == 0 else ""
        if jax.process_count() == 1:
            return problem
        import numpy as np
        from jax.experimental import multihost_utils

        code = np.frombuffer((problem or "").encode()[:400].ljust(400), "uint8").copy()
        return multihost_utils.broadcast_one_to_all(code).tobytes().decode(errors="replace").strip() or None

    def _folder(self, step: int) -> epath.Path:
        return self.directory / f"{step:0{_DIGITS}}"


def _abstract(array: jax.Array) -> jax.ShapeDtypeStruct:
    return jax.ShapeDtypeStruct(array.shape, array.dtype, sharding=array.sharding)


def _replace(path: epath.Path, text: str) -> None:
    """Writes a small file whole or not at all."""
    temporary = path.with_name(f".{path.name}")
    temporary.write_text(text, encoding="utf-8")
    temporary.rename(path)


def _files(folder: epath.Path) -> list[str]:
    """Every file below a folder but the manifest, as relative names, in order."""
    found, waiting = [], [folder]
    while waiting:
        for path in waiting.pop().iterdir():
            if path.is_dir():
                waiting.append(path)
            elif path.name.lstrip(".") != MANIFEST:
                found.append(path.relative_to(folder).as_posix())
    return sorted(found)


def _digest(path: epath.Path) -> str:
    sha = hashlib.sha256()
    with path.open("rb") as file:
        while chunk := file.read(_CHUNK):
            sha.update(chunk)
    return sha.hexdigest()


def digests(folder: epath.Path) -> dict[str, dict[str, Any]]:
    """Size and SHA-256 of every file below a folder, the manifest left out."""
    return {name: {"bytes": (folder / name).stat().length, "sha256": _digest(folder / name)} for name in _files(folder)}


def damage(folder: epath.PathLike) -> str | None:
    """What keeps a checkpoint from being whole, in words; None if it is.

    Every byte is read: a flipped bit, a file too many, too few or too short is found.
    """
    folder = epath.Path(folder)
    try:
        if not (folder / MANIFEST).exists():
            return UNFINISHED
        expected = json.loads((folder / MANIFEST).read_text(encoding="utf-8"))["files"]
        there = _files(folder)
        for name, entry in expected.items():
            path = folder / name
            if name not in there:
                return f"{name} is missing"
            if (size := path.stat().length) != entry["bytes"]:
                return f"{name} has {size} bytes instead of {entry['bytes']}"
            if _digest(path) != entry["sha256"]:
                return f"{name} is not what was written"
        if not any(name.startswith(f"{STATE}/") for name in expected):
            return f"{STATE} is missing"
        if extra := sorted(set(there) - set(expected)):
            return f"{extra[0]} does not belong to it"
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        return f"{MANIFEST} cannot be read: {error}"
    return None
