"""Runs a task script in this process."""

import contextlib
import functools
import importlib.util
import io
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any, NamedTuple

import pytest

import nlptasks
from nlptasks.opening import load

ROOT = Path(__file__).parents[2]


class Result(NamedTuple):
    status: int
    out: str
    err: str


def load_script(name: str, folder: str = "tasks") -> ModuleType:
    """The module of `{folder}/{name}.py`."""
    spec = importlib.util.spec_from_file_location(name, ROOT / folder / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # dataclasses look their module up
    spec.loader.exec_module(module)
    return module


def call(script: ModuleType, *arguments: object) -> Result:
    """Its exit status and what it printed."""
    with contextlib.redirect_stdout(io.StringIO()) as out, contextlib.redirect_stderr(io.StringIO()) as err:
        status = script.main([str(argument) for argument in arguments])
    return Result(status, out.getvalue(), err.getvalue())


def assert_refused(result: Result, message: str) -> None:
    """The user got something wrong: status 2, and one line that says what."""
    assert result.status == 2, result
    assert result.err.startswith("error: "), result.err
    assert result.err.count("\n") == 1, result.err
    assert message in result.err


@contextlib.contextmanager
def models_opened_once(*commands: ModuleType) -> Iterator[None]:
    """Inside, `nlptasks.load` and these modules open a directory once, so that what a model computes is compiled once.

    For models that are only read; a directory must not be written again after it was opened.
    """
    opened = functools.cache(load)
    with pytest.MonkeyPatch.context() as patch:
        for module in (nlptasks, *commands):
            patch.setattr(module, "load", lambda directory, expect=None: opened(str(directory), expect))
        yield


def without_steps(patch: pytest.MonkeyPatch) -> list[Any]:
    """Lets training runs change no weight, and compile nothing; returns the list in which their batches are kept."""
    import nlptasks.train.loop

    batches = []

    def compile_nothing(model, optimizer, *arguments, **settings):
        optimizer.build(model.trainable_variables)

        def step(batch, shares=None):
            batches.append(batch)
            return 1.0

        return step

    patch.setattr(nlptasks.train.loop, "compile_train_step", compile_nothing)
    return batches


def kept(log: list[dict[str, Any]], score: str) -> dict[str, Any]:
    """The epoch of a log that a run keeps: the best score, and of equal ones the lowest loss."""
    return max(log, key=lambda row: (row[score], -row["loss"]))


SIZES = ("--hidden-size", "--num-layers", "--num-heads", "--ffn-size", "--vector-size", "--min-count")


def from_checkpoint(directory: Path, *arguments: object) -> list[object]:
    """The arguments of a train command without the sizes that only random weights have, and with a checkpoint."""
    kept: list[object] = []
    for before, argument in zip((None, *arguments), arguments, strict=False):
        if argument not in SIZES and before not in SIZES:
            kept.append(argument)
    return [*kept, "--checkpoint", directory]


def run_files(more: tuple[str, ...] = ()) -> list[str]:
    """What a training run with an encoder leaves behind."""
    names = ["config.json", "curve.png", "log.json", "model.safetensors", "options.json", "resume.safetensors"]
    return sorted([*names, "scores.json", "tokenizer_config.json", "vocab.txt", *more])
