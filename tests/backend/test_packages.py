"""What is not in the light base: it is asked for in one line, before a command reads or writes anything."""

import json
import os
import re
import subprocess
import sys
import tomllib

import pytest

from nlptasks import command as command_line
from nlptasks.backend import packages
from nlptasks.backend.packages import KERAS, PACKAGES, choose_backend, naming_packages, require_packages
from nlptasks.errors import MissingPackageError
from tests.test_house_rules import ROOT

PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
EXTRAS = PROJECT["optional-dependencies"]
LIGHT = {
    ("bert4keras", "check"),
    ("reading", "prepare"),
    ("seq2seq", "prepare"),
    ("segmentation", "evaluate"),
    ("segmentation", "segment"),
    ("similarity", "calibrate"),
    ("similarity", "evaluate"),
    ("similarity", "index"),
    ("similarity", "search"),
    ("pretraining", "vocab"),
    ("discovery", "words"),
    ("discovery", "templates"),
    ("discovery", "sentences"),
    ("vectors", "train"),
    ("vectors", "nearest"),
}
"""the commands that the base is enough for"""
REQUIRED = {
    "reading train": "--train a --valid b --output out",
    "reading evaluate": "--model m --data a --predictions out",
    "reading answer": "--model m --question 谁？ --passage 沈月。 --picture out",
    "reading predict": "--model m --data a --output out",
    "segmentation train": "--train a --standard s --output out",
    "similarity train": "--train a --output out",
    "classification train": "--train a --valid b --output out",
    "classification evaluate": "--model m --data a --predictions out",
    "classification predict": "--model m --texts 好 --output out",
    "labeling train": "--train a --valid b --output out",
    "labeling evaluate": "--model m --data a --predictions out",
    "labeling predict": "--model m --texts 好 --output out",
    "multitask train": "--task a=x b=y --valid a=x b=y --output out",
    "conditional train": "--train a --label-columns l --output out",
    "conditional evaluate": "--model m --data a",
    "conditional generate": "--model m --output out",
    "seq2seq train": "--train a --output out",
    "seq2seq evaluate": "--model m --data a --predictions out",
    "seq2seq generate": "--model m --texts 好 --output out",
    "latent train": "--train a --output out",
    "latent evaluate": "--model m --data a",
    "latent encode": "--model m --data a --output out",
    "latent sample": "--model m --output out",
    "latent reconstruct": "--model m --data a --output out",
    "latent interpolate": "--model m --texts 好 坏 --output out",
    "filling fill": "里[MASK]",
    "filling sample": "--length 3",
    "compression train": "--task labeling --train a --valid b --checkpoint c --successor-layers 1 --output out",
    "checkpoint show": "c",
    "checkpoint convert": "c --output out",
    "checkpoint vocabulary": "c --add a --output out",
    "checkpoint layers": "c --count 1 --output out",
    "checkpoint key-size": "c --key-size 8 --output out",
    "pretraining shards": "--input a --vocab v --output out",
    "pretraining train": "--shards s --output out",
    "pretraining topology": "",
    "discovery cluster": "--input a --output out",
}
"""the others, each with what it cannot do without"""


@pytest.fixture
def base(monkeypatch):
    """Nothing is installed but the base; Keras is not loaded, and nobody has chosen a backend."""
    for module in PACKAGES:
        monkeypatch.setitem(sys.modules, module, None)
    monkeypatch.delitem(sys.modules, "torch")  # tyro imports it where it finds the name
    monkeypatch.delitem(sys.modules, "keras")
    monkeypatch.setattr(packages, "is_installed", lambda module: False)
    monkeypatch.delenv("KERAS_BACKEND")
    monkeypatch.setenv("KERAS_HOME", "nowhere")


def test_every_command_is_light_or_says_what_it_needs():
    found = {
        (word, verb)
        for word, verbs in command_line._all_commands().items()
        if isinstance(verbs, dict)
        for verb in verbs
    }
    assert found == LIGHT | {tuple(words.split()) for words in REQUIRED}


@pytest.mark.parametrize("words", REQUIRED)
def test_a_command_without_its_packages_is_one_line_and_leaves_nothing(words, base, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    with monkeypatch.context() as environment:  # a command may set variables
        environment.setattr(os, "environ", dict(os.environ))
        status = command_line.main([*words.split(), *REQUIRED[words].split()])
    out, err = capsys.readouterr()
    assert (status, out) == (2, "")
    first = {"pretraining shards": "array-record>=0.7", "discovery cluster": "infomap>=2.16,<3"}
    package = first.get(words, "keras>=3.12,<4")
    assert re.fullmatch(rf'error: .* not installed, and this needs (it|them): pip install "{package}"( .*|\.)\n', err)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("words", "package"), [("--segmenter fcn", None), ("", "jieba"), ("--runner DirectRunner", "apache-beam")]
)
def test_shards_ask_for_what_their_options_use(words, package, monkeypatch, capsys, tmp_path):
    monkeypatch.setattr(
        packages, "is_installed", lambda module: module in ("array_record", "jieba") and module != package
    )
    line = ["pretraining", "shards", "--input", "none.txt", "--vocab", "none.txt", "--output", str(tmp_path / "out")]
    assert command_line.main([*line, *words.split()]) == 2
    err = capsys.readouterr().err
    assert (f"{package} is not installed, and this needs it" if package else "none.txt: no such file") in err


def test_a_tensorflow_checkpoint_asks_for_tensorflow_whatever_the_backend(tmp_path, monkeypatch, capsys):
    (tmp_path / "bert_model.ckpt.index").touch()
    monkeypatch.setattr(packages, "is_installed", lambda module: module != "tensorflow")
    monkeypatch.setenv("KERAS_BACKEND", "jax")
    line = ["labeling", "train", "--train", "a", "--valid", "b", "--output", str(tmp_path / "out"), "--checkpoint"]
    assert command_line.main([*line, str(tmp_path)]) == 2
    wanted = 'error: tensorflow is not installed, and this needs it: pip install "tensorflow>=2.18,<3".\n'
    assert capsys.readouterr().err == wanted
    (tmp_path / "model.safetensors").touch()
    assert command_line.main([*line, str(tmp_path)]) == 2
    assert capsys.readouterr().err.startswith("error: a: no such file")


def test_the_backend_that_is_named_is_the_one_that_keras_would_take(base, tmp_path, monkeypatch):
    pip = r'pip install "keras>=3.12,<4" "h5py>=3.11" "matplotlib>=3.8" '
    with pytest.raises(MissingPackageError) as error:
        require_packages(*KERAS)
    assert str(error.value) == (
        "keras, h5py, matplotlib and tensorflow are not installed, and this needs them: "
        f'{pip}"tensorflow>=2.18,<3" (or jax in place of tensorflow, with KERAS_BACKEND=jax).'
    )
    (tmp_path / "keras.json").write_text('{"backend": "jax"}', encoding="utf-8")
    monkeypatch.setenv("KERAS_HOME", str(tmp_path))
    with pytest.raises(MissingPackageError, match=r"or tensorflow in place of jax, with KERAS_BACKEND=tensorflow"):
        require_packages(*KERAS)
    monkeypatch.setenv("KERAS_BACKEND", "jax")
    with pytest.raises(MissingPackageError) as error:
        require_packages(*KERAS)
    assert str(error.value).endswith(f'{pip}"jax>=0.6".')


@pytest.mark.parametrize(
    ("installed", "said", "file", "chosen"),
    [
        (("jax",), None, None, "jax"),
        (("tensorflow", "jax"), None, None, None),  # Keras takes TensorFlow by itself
        (("tensorflow", "jax"), None, "jax", None),  # and what its own file says
        (("tensorflow",), None, "jax", "tensorflow"),
        (("tensorflow",), "jax", None, "jax"),
        ((), None, None, None),
    ],
)
def test_a_command_takes_the_backend_that_is_installed(installed, said, file, chosen, base, tmp_path, monkeypatch):
    monkeypatch.setattr(packages, "is_installed", lambda module: module in installed)
    environment = {"KERAS_HOME": str(tmp_path)} | ({"KERAS_BACKEND": said} if said else {})
    monkeypatch.setattr(os, "environ", environment)
    if file:
        (tmp_path / "keras.json").write_text(json.dumps({"backend": file}), encoding="utf-8")
    choose_backend()
    assert environment.get("KERAS_BACKEND") == chosen


def test_an_import_that_fails_names_the_packages(base):
    with pytest.raises(MissingPackageError, match="keras, h5py, matplotlib and tensorflow are not installed"):
        _import("keras")
    with pytest.raises(MissingPackageError, match=r'orbax-checkpoint is not .* "orbax-checkpoint>=0\.11\.10"\.'):
        _import("orbax.checkpoint")
    with pytest.raises(ModuleNotFoundError, match="No module named 'nothing_of_ours'"):
        _import("nothing_of_ours")


def _import(name):
    with naming_packages():
        raise ModuleNotFoundError(f"No module named {name!r}", name=name)


BASE_ALONE = """
import sys
for name in sys.argv[1].split(","):
    sys.modules[name] = None
import nlptasks
assert nlptasks.load("segmenter").segment("今天天气很好") == ["今天", "天气", "很", "好"]
encoder = nlptasks.load("similarity")
encoder.add(["怎样修改密码", "今天会下雨吗"])
assert encoder.most_similar("密码怎么改", top=1, hybrid=True)[0].text == "怎样修改密码"
for use in (lambda: nlptasks.Reader, lambda: nlptasks.build_transformer_model):
    try:
        use()
    except ModuleNotFoundError as error:
        print(error)
"""


def test_the_base_segments_and_finds_sentences_and_the_rest_names_its_packages():
    modules = ["torch", "jaxlib", *(module for module in PACKAGES if "." not in module)]
    environment = {name: value for name, value in os.environ.items() if name != "KERAS_BACKEND"}
    environment |= {"KERAS_HOME": "nowhere"}
    done = subprocess.run(
        [sys.executable, "-c", BASE_ALONE, ",".join(modules)],
        env=environment,
        cwd=ROOT,
        capture_output=True,
        encoding="utf-8",
        check=False,
    )
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    assert len(lines) == 2
    assert all(line.startswith("keras, h5py, matplotlib and tensorflow are not installed") for line in lines)


# What pyproject.toml says


def test_the_base_is_light():
    names = {re.split(r"[><=\[]", requirement)[0] for requirement in PROJECT["dependencies"]}
    assert names == {"numpy", "tokenizers", "safetensors", "tqdm", "tyro", "pyahocorasick"}


def test_errors_and_extras_ask_for_the_same_versions():
    lines = [line for extra in ("all", "test", "communities") for line in EXTRAS[extra]]
    declared = {re.split(r"[><=\[]", line)[0]: line for line in lines}
    for requirement in PACKAGES.values():
        assert declared[requirement.split(">")[0]] == requirement
    everywhere = {line for lines in EXTRAS.values() for line in lines}
    bounds = {}
    for line in everywhere | set(PROJECT["dependencies"]):
        bounds.setdefault(re.sub(r"\[.*?\]", "", re.split(r"[><=]", line)[0]), set()).add(re.sub(r"\[.*?\]", "", line))
    assert {name: found for name, found in bounds.items() if len(found) > 1} == {}


def test_every_extra_with_a_backend_brings_what_a_network_needs():
    keras = {PACKAGES[module] for module in KERAS}
    backends = {name for name, lines in EXTRAS.items() if any(re.match("tensorflow|jax", line) for line in lines)}
    assert backends == {"tensorflow", "tensorflow-cuda", "jax", "pretraining", "cuda", "tpu", "all", "test"}
    for name in backends:
        assert keras <= set(EXTRAS[name]), name
    own = {PACKAGES[module] for module in ("grain", "array_record", "orbax.checkpoint", "tensorboardX", "jieba")}
    for name in ("pretraining", "cuda", "tpu", "all", "test"):
        assert own <= set(EXTRAS[name]), name


def test_no_extra_names_this_project():
    assert [line for lines in EXTRAS.values() for line in lines if re.match(r"nlptasks\b", line)] == []
