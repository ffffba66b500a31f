"""Runs of version 0.1 stay good: a stopped one goes on and ends as it would have, a finished one says what it said.

`golden/runs_0_1` holds one of every train command; `golden/make_runs_golden.py` has made them. On the machine that made
them a continued run ends with the same bits. Elsewhere a matrix product may add its terms in another order, which
training makes larger, so that weights and losses are compared up to TOLERANCE.
"""

import csv
import json
import re
import tarfile
from pathlib import Path

import keras
import numpy as np
import pytest
from safetensors.numpy import load_file

from nlptasks import command
from nlptasks.errors import UserError
from nlptasks.train.options import TrainingOptions
from nlptasks.train.record import open_run, read_options
from tests.commands.scripts import call, load_script
from tests.golden.runs_cases import ANSWERS, RUNS, TRAIN, answers, backend_of

NAMES = [name for name in TRAIN if backend_of(name) == keras.backend.backend()]
TIMES = ("training_seconds", "seconds", "tokens_per_second", "mfu")
TOLERANCE = 1e-4
# run, old and new name of an option, its value and another, and what is said of them
RENAMED = [
    ("segmentation", "--hold-out", "--hold-out-every", "5", "7", "hold_out_every=[5], now hold_out_every=[7]"),
    ("similarity", "--hold-out", "--hold-out-every", "5", "7", "hold_out_every=5, now hold_out_every=7"),
    ("conditional", "--hold-out", "--hold-out-share", "0.1", "0.2", "hold_out_share=0.1, now hold_out_share=0.2"),
    ("conditional", "--max-length", "--seq-length", "32", "23", "seq_length=32, now seq_length=23"),
    ("classification", "--max-length", "--seq-length", "32", "23", "seq_length=32, now seq_length=23"),
    ("classification", "--text", "--text-column", "text", "a", "text_column='text', now text_column='a'"),
    ("labeling", "--max-length", "--seq-length", "24", "23", "seq_length=24, now seq_length=23"),
    ("compression", "--max-length", "--seq-length", "32", "23", "seq_length=32, now seq_length=23"),
    ("compression", "--label", "--label-column", "label", "a", "label_column='label', now label_column='a'"),
]
RENAMED = [case for case in RENAMED if case[0] in NAMES]


def unpacked(name: str, folder: Path) -> Path:
    """The folder in which a run was made, with its inputs."""
    with tarfile.open(RUNS / f"{name}.tar.xz") as archive:
        archive.extractall(folder, filter="data")
    return folder


@pytest.fixture
def here(tmp_path, monkeypatch):
    """An empty folder, in which the test stands."""
    monkeypatch.chdir(tmp_path)
    yield tmp_path
    keras.distribution.set_distribution(None)


def resumed(name: str, *more: str) -> TrainingOptions:
    """The options with which a stopped run goes on."""
    return command.parse([name, *TRAIN[name][1].split(), "--output", "stopped", "--resume", *more])


def logged(directory: Path) -> list[dict]:
    """The rows of a run's log, without times."""
    if (directory / "log.csv").is_file():
        with open(directory / "log.csv", encoding="utf-8", newline="") as file:
            rows = [{name: float(value) for name, value in row.items() if value} for row in csv.DictReader(file)]
    else:
        rows = json.loads((directory / "log.json").read_text(encoding="utf-8"))
    return [{name: value for name, value in row.items() if name not in TIMES} for row in rows]


def close(value, tolerance: float):
    """What equals `value`, numbers up to a tolerance."""
    if isinstance(value, dict):
        return {name: close(item, tolerance) for name, item in value.items()}
    if isinstance(value, list):
        return [close(item, tolerance) for item in value]
    return pytest.approx(value, rel=tolerance, abs=tolerance) if isinstance(value, float) else value


@pytest.mark.parametrize("name", NAMES)
def test_a_stopped_run_goes_on_and_ends_as_it_would_have(name, here):
    stopped, finished = unpacked(name, here) / "stopped", here / "run"
    assert not (stopped / "scores.json").exists()
    script, line, _ = TRAIN[name]
    place = Path(script)
    main = load_script(place.stem, place.parent.name)
    result = call(main, *line.split(), "--output", "stopped", "--resume")
    assert result.status == 0, result.err
    assert logged(stopped) == close(logged(finished), TOLERANCE)
    now, then = (load_file(directory / "model.safetensors") for directory in (stopped, finished))
    assert now.keys() == then.keys()
    for weight, value in then.items():
        if not weight.endswith("attention.self.key.bias"):  # no loss depends on it: its gradient is rounding alone
            np.testing.assert_allclose(now[weight], value, rtol=TOLERANCE, atol=TOLERANCE, err_msg=weight)


@pytest.mark.parametrize("name", NAMES)
def test_a_finished_model_says_what_it_said(name, here):
    said = json.loads((unpacked(name, here) / ANSWERS).read_text(encoding="utf-8"))
    assert said
    assert answers(here / "run") == close(said, 1e-6)


@pytest.mark.parametrize("name", [name for name in NAMES if name != "pretraining"])
def test_an_option_younger_than_a_run_counts_as_its_default(name, here):
    assert "patience" not in read_options(unpacked(name, here) / "stopped")
    open_run(resumed(name))
    with pytest.raises(UserError, match="was started with patience=None, now patience=2;"):
        open_run(resumed(name, "--patience", "2"))


@pytest.mark.parametrize(("name", "old", "new", "value", "other", "said"), RENAMED)
def test_an_option_is_that_of_the_run_under_either_name(name, old, new, value, other, said, here):
    assert old.lstrip("-").replace("-", "_") in read_options(unpacked(name, here) / "stopped")
    for option in (old, new):
        open_run(resumed(name, option, value))
        with pytest.raises(UserError, match=re.escape(f"was started with {said};")):
            open_run(resumed(name, option, other))
