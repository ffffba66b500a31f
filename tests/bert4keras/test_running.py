"""`python -m nlptasks.bert4keras SCRIPT`: old names in one process, and in those that it starts."""

import os
import subprocess
import sys

import pytest

from nlptasks import command as command_line

pytestmark = pytest.mark.once

SCRIPT = """
import multiprocessing, sys
import beside
from bert4keras.backend import keras, K
from bert4keras.snippets import sequence_padding
from keras.layers import Dense, Input
from keras.models import Model
from keras.callbacks import Callback


def named(n):
    import bert4keras.snippets
    return [n, bert4keras.snippets.sequence_padding.__module__, __name__]


if __name__ == "__main__":
    x = Input(shape=(2,))
    model = Model(x, Dense(3)(x))
    print(type(model).__module__, model.predict([[1, 2]]).shape, sys.argv[1:], beside.VALUE)
    print(issubclass(Callback, keras.callbacks.Callback), K.eval(K.sum(K.ones((2, 3)))))
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        print(pool.map(named, [7]))
"""


def test_a_script_and_its_workers_see_the_old_names(tmp_path):
    (tmp_path / "script.py").write_text(SCRIPT, encoding="utf-8")
    (tmp_path / "beside.py").write_text("VALUE = 'beside'", encoding="utf-8")
    done = subprocess.run(
        [sys.executable, "-m", "nlptasks.bert4keras", str(tmp_path / "script.py"), "one", "--two"],
        env=os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)},
        capture_output=True,
        encoding="utf-8",
        check=False,
    )
    assert done.returncode == 0, done.stderr
    first, second, third = done.stdout.strip().splitlines()[-3:]
    assert first == "nlptasks.bert4keras.keras.models (1, 3) ['one', '--two'] beside"
    assert second == "True 6.0"
    assert third == "[[7, 'nlptasks.bert4keras.snippets', '__mp_main__']]"
    assert not list(tmp_path.rglob("script*.pyc"))


def test_a_script_that_is_not_there_is_named(tmp_path):
    done = subprocess.run(
        [sys.executable, "-m", "nlptasks.bert4keras"], capture_output=True, encoding="utf-8", check=False
    )
    assert done.returncode == 2
    assert done.stderr.splitlines()[-1].startswith("usage: python -m nlptasks.bert4keras SCRIPT")


def test_check_reads_a_script_in_the_encoding_that_it_names(tmp_path, capsys):
    script, missing = tmp_path / "a.py", tmp_path / "b.py"
    source = "from bert4keras.snippets import is_string\ntext = '中文'\n"
    script.write_bytes(f"# -*- coding: gbk -*-\n{source}".encode("gbk"))
    assert command_line.main(["bert4keras", "check", str(script)]) == 0
    assert "1 name: 1 same" in capsys.readouterr().out
    script.write_bytes(source.encode("gbk"))
    assert command_line.main(["bert4keras", "check", str(script)]) == 2
    assert capsys.readouterr().err.startswith(f"error: {script}:2: no Python 3: (unicode error)")
    assert command_line.main(["bert4keras", "check", str(missing)]) == 2
    assert capsys.readouterr().err.startswith(f"error: {missing}: no such file (working folder ")
