"""The start of a command: notes of a first import are dropped and nothing else, and environments are checked."""

import importlib
import os
import signal
import subprocess
import sys
from pathlib import Path

import keras
import pytest

from nlptasks import console
from nlptasks.backend import startup

ROOT = Path(__file__).parents[2]
NOTE = "I0000 00:00:1795686871.376911   12770 cudart_stub.cc:31] Could not find cuda drivers on your machine"
OLD_NOTE = "2024-11-26 10:00:00.123456: I tensorflow/core/util/port.cc:153] oneDNN custom operations are on."
FATAL = "F0000 00:00:17.3   12770 cpu_feature_guard.cc:9] The library was compiled to use AVX"
LIBRARY = f"""
import os
os.write(2, b'{NOTE}\\n{OLD_NOTE}\\n{FATAL}\\nsaid by the library\\n')
if {{fails}}:
    raise ImportError("broken")
"""


@pytest.fixture
def _awaits(monkeypatch, tmp_path):
    """Finds a `tensorflow` in a folder of its own, which is imported as if nothing had been before."""
    others = [finder for finder in sys.meta_path if not isinstance(finder, startup._QuietImports)]
    monkeypatch.setattr(sys, "meta_path", others)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delenv("TF_CPP_MIN_LOG_LEVEL", raising=False)
    own = {name: module for name, module in sys.modules.items() if name.split(".")[0] in ("keras", "tensorflow")}
    for name in own:
        del sys.modules[name]
    startup.quiet_backends()
    yield
    sys.modules.pop("tensorflow", None)
    sys.modules.update(own)


@pytest.mark.usefixtures("_awaits")
@pytest.mark.parametrize("fails", [False, True])
def test_only_notes_of_the_first_import_are_dropped(tmp_path, capfd, fails):
    (tmp_path / "tensorflow.py").write_text(LIBRARY.format(fails=fails), encoding="utf-8")
    os.write(2, b"before\n")
    if fails:
        with pytest.raises(ImportError, match="broken"):
            importlib.import_module("tensorflow")
    else:
        assert importlib.import_module("tensorflow").__spec__.loader.get_source("tensorflow")
    os.write(2, b"after\n")
    assert capfd.readouterr().err.splitlines() == ["before", FATAL, "said by the library", "after"]


@pytest.mark.usefixtures("_awaits")
def test_it_is_asked_once_and_sets_the_log_level_only_where_there_is_none(monkeypatch):
    count = len(sys.meta_path)
    monkeypatch.setenv("TF_CPP_MIN_LOG_LEVEL", "0")
    startup.quiet_backends()
    assert len(sys.meta_path) == count
    assert os.environ["TF_CPP_MIN_LOG_LEVEL"] == "0"


class Command:
    def __init__(self, **variables):
        self.variables, self.seen = variables, None

    def environment(self):
        return self.variables

    def run(self):
        self.seen = os.environ.get("NLPTASKS_TEST")


def test_a_command_runs_in_the_environment_it_asks_for(monkeypatch):
    monkeypatch.setenv("NLPTASKS_TEST", "former")
    command = Command(NLPTASKS_TEST="wanted", KERAS_BACKEND=keras.backend.backend())
    monkeypatch.setenv("KERAS_BACKEND", keras.backend.backend())
    assert console.run(command) == 0
    assert command.seen == "wanted"


def test_a_command_that_needs_another_backend_than_the_loaded_one_is_refused(monkeypatch, capsys):
    monkeypatch.setenv("KERAS_BACKEND", "former")
    other = "jax" if keras.backend.backend() == "tensorflow" else "tensorflow"
    command = Command(KERAS_BACKEND=other)
    assert console.run(command) == 2
    message = capsys.readouterr().err
    assert message.startswith(f"error: this command runs on {other}: set the environment variable KERAS_BACKEND=")
    assert message.endswith(f"Received: Keras, loaded with {keras.backend.backend()}.\n")
    assert (command.seen, os.environ["KERAS_BACKEND"]) == (None, "former")


SWALLOWS = """
import time
print("loading", flush=True)
try:
    time.sleep(30)
except KeyboardInterrupt:
    pass
"""


@pytest.mark.once
def test_ctrl_c_ends_the_process_though_the_module_being_loaded_would_swallow_it(tmp_path):
    (tmp_path / "tensorflow.py").write_text(SWALLOWS, encoding="utf-8")
    code = (
        "import sys; from nlptasks.backend.startup import quiet_backends; quiet_backends(); import tensorflow; print(1)"
    )
    environment = os.environ | {"PYTHONPATH": f"{tmp_path}{os.pathsep}{ROOT}"}
    command, pipe = [sys.executable, "-c", code], subprocess.PIPE
    with subprocess.Popen(command, stdout=pipe, stderr=pipe, env=environment) as process:
        assert process.stdout.readline() == b"loading\n"
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=20)
    assert (process.returncode, out, err) == (-signal.SIGINT, b"", b"")
