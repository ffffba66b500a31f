"""An import leaves the process as it was, the backend that is not in use is never imported, and commands are quiet."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import keras
import pytest

from tests.applications.labeling.label_cases import BAD, GOOD
from tests.test_house_rules import JAX_ONLY, ROOT, module_name

BACKEND = keras.backend.backend()

IMPORT_ALL = """
import importlib, json, os, sys
import keras  # first: what it and TensorFlow do to the process is not ours; TensorFlow imports JAX where there is one

def state():
    file = os.fstat(2)
    hidden = sorted(name for name in sys.modules if sys.modules[name] is None)
    finders = [finder for finder in sys.meta_path if type(finder).__module__.startswith("nlptasks")]
    backends = sorted({"tensorflow", "jax", "torch"} & set(sys.modules))
    return dict(os.environ), (file.st_dev, file.st_ino), hidden, finders, backends

before, changed = state(), []
for name in [*sys.argv[1:], "start_run"]:
    if name == "start_run":
        sys.modules["nlptasks.train.run"].start_run(5)
    else:
        importlib.import_module(name)
    if state() != before:
        changed.append(name)
        before = state()
print(json.dumps([changed, sorted(name for name in sys.modules if name.startswith("nlptasks.backend."))]))
"""


def plain_environment():
    """Without what the tests set to keep backends quiet."""
    environment = {name: value for name, value in os.environ.items() if name != "TF_CPP_MIN_LOG_LEVEL"}
    return environment | {"KERAS_BACKEND": BACKEND, "PYTHONPATH": str(ROOT)}


def test_importing_every_module_and_seeding_change_nothing_of_the_process_and_load_one_backend():
    paths = sorted((ROOT / "nlptasks").rglob("*.py"))
    left_out = () if BACKEND == "jax" else JAX_ONLY
    names = [name for name in (module_name(path.relative_to(ROOT)) for path in paths) if name not in left_out]
    other = {"tensorflow": "jax", "jax": "tensorflow"}[BACKEND]
    names.remove(f"nlptasks.backend.{other}")
    assert len(names) > 100
    command = [sys.executable, "-c", IMPORT_ALL, *names]
    done = subprocess.run(command, env=plain_environment(), capture_output=True, encoding="utf-8", check=False)
    assert done.returncode == 0, done.stderr
    changed, modules = json.loads(done.stdout.splitlines()[-1])
    assert changed == []
    wanted = sorted([BACKEND, "mesh", "packages", "programs", "startup"])
    assert modules == [f"nlptasks.backend.{name}" for name in wanted]


FOREIGN = re.compile(r"^[IWEF]\d{4} |absl|tensorflow|TensorFlow|[Cc][Uu][Dd][Aa]|XLA|jax|Warning|WARNING|Traceback")


def test_a_command_says_nothing_but_its_own(tmp_path):
    lines = [json.dumps({"text": text, "label": label}) for label, texts in enumerate((BAD, GOOD)) for text in texts]
    (tmp_path / "texts.jsonl").write_text("\n".join(lines), encoding="utf-8")
    sizes = ("--hidden-size", "6", "--num-layers", "1", "--num-heads", "2", "--ffn-size", "5", "--epochs", "1")
    files = ("--train", "texts.jsonl", "--valid", "texts.jsonl", "--output", "run")
    done = subprocess.run(
        [sys.executable, "-m", "nlptasks.command", "classification", "train", *files, *sizes],
        env=plain_environment(),
        cwd=tmp_path,
        capture_output=True,
        encoding="utf-8",
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert "best epoch 1: accuracy" in done.stderr
    assert [line for line in done.stderr.splitlines() if FOREIGN.search(line)] == []


@pytest.mark.parametrize(
    "line",
    [
        "I0000 00:00:1795686871.376911   12770 cudart_stub.cc:31] Could not find cuda drivers on your machine",
        "WARNING: All log messages before absl::InitializeLog() is called are written to STDERR",
        "E0000 00:00:1795686880.501727   12770 cuda_platform.cc:52] failed call to cuInit: INTERNAL",
    ],
)
def test_a_foreign_line_is_found(line):
    assert FOREIGN.search(line)
    assert not FOREIGN.search(f"model: 1,234 parameters, vocabulary of 99\n{Path('run')}: ready for evaluate")
