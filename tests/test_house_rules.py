"""The rules of the house: who may import whom, what an import costs, and that the README's commands exist."""

import argparse
import ast
import importlib.util
import inspect
import os
import re
import shlex
import subprocess
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path
from types import ModuleType
from typing import NamedTuple

import pytest

import nlptasks
from nlptasks import command as command_line
from nlptasks import console
from nlptasks.text.vocab import SPECIAL_TOKENS

ROOT = Path(__file__).parents[1]
SCRIPT_FOLDERS = ("tasks", "pretraining", "benchmarks", "data", "examples")
README_NAMES = ("README.md", "README.zh-CN.md")

# A module or package of nlptasks: what it may import. Everybody may import the standard library, nlptasks.files and
# nlptasks.errors, nlptasks.encodings.
ARROWS = {
    "__init__": ("nlptasks.backend.packages",),
    "__main__": ("nlptasks.command",),
    "files": (),
    "errors": (),
    "encodings": (),
    "aliases": (),
    "bundled": (),
    "catalogue": (),
    "command": ("nlptasks.aliases", "nlptasks.backend.startup", "nlptasks.catalogue", "nlptasks.console"),
    "console": (
        "tyro",
        "nlptasks.backend.packages",
        "nlptasks.backend.startup",
        "nlptasks.catalogue",
        "nlptasks.train.interruption",
        "nlptasks.train.options",
        "nlptasks.train.progress",
    ),
    "opening": ("nlptasks.applications", "nlptasks.backend.packages", "nlptasks.bundled", "nlptasks.train.contracts"),
    "loading": ("numpy", "nlptasks.checkpoints", "nlptasks.core"),
    "text": ("numpy", "tokenizers", "jieba", "sentencepiece"),
    "metrics": ("numpy", "rouge_score", "sacrebleu", "rouge", "nltk"),
    "backend": ("numpy", "keras"),
    "core": ("keras", "nlptasks.backend"),
    "checkpoints": (
        "numpy",
        "h5py",
        "safetensors",
        "huggingface_hub",
        "modelscope",
        "nlptasks.backend",
        "nlptasks.core",
    ),
    "generate": ("numpy", "keras", "nlptasks.backend", "nlptasks.core", "nlptasks.text.batches"),
    "generative": ("numpy", "keras", "nlptasks.backend"),
    "train": (
        "numpy",
        "keras",
        "matplotlib",
        "safetensors",
        "tqdm",
        "nlptasks.backend",
        "nlptasks.core",
        "nlptasks.text",
        "nlptasks.metrics",
    ),
    "applications": (
        "numpy",
        "keras",
        "safetensors",
        "ahocorasick",
        "tyro",
        "usearch",
        "faiss",
        "nlptasks.bundled",
        "nlptasks.console",
        "nlptasks.opening",
        "nlptasks.loading",
        "nlptasks.generate",
        "nlptasks.generative",
        "nlptasks.checkpoints",
        "nlptasks.train",
        "nlptasks.core",
        "nlptasks.backend",
        "nlptasks.text",
        "nlptasks.metrics",
    ),
    "surgery": (
        "numpy",
        "keras",
        "safetensors",
        "tyro",
        "nlptasks.bundled",
        "nlptasks.console",
        "nlptasks.applications.sources",
        "nlptasks.loading",
        "nlptasks.checkpoints",
        "nlptasks.train",
        "nlptasks.core",
        "nlptasks.backend",
        "nlptasks.text",
    ),
    "bert4keras": (
        "numpy",
        "keras",
        "h5py",
        "tyro",
        "sentencepiece",
        "nlptasks.loading",
        "nlptasks.checkpoints",
        "nlptasks.generate",
        "nlptasks.train",
        "nlptasks.core",
        "nlptasks.backend",
        "nlptasks.text",
    ),
    "batch": (
        "apache_beam",
        "nlptasks.console",
        "nlptasks.opening",
        "nlptasks.bundled",
        "nlptasks.train.options",
        "nlptasks.train.record",
        "nlptasks.backend.packages",
        "nlptasks.backend.startup",
    ),
    "explain": (
        "numpy",
        "keras",
        "nlptasks.console",
        "nlptasks.applications",
        "nlptasks.opening",
        "nlptasks.train",
        "nlptasks.core",
        "nlptasks.backend",
        "nlptasks.text",
    ),
    "serve": (
        "numpy",
        "fastapi",
        "starlette",
        "pydantic",
        "uvicorn",
        "h11",
        "prometheus_client",
        "nlptasks.console",
        "nlptasks.applications",
        "nlptasks.opening",
        "nlptasks.bundled",
        "nlptasks.train.options",
        "nlptasks.backend",
    ),
    "export": (
        "numpy",
        "onnx",
        "onnxruntime",
        "safetensors",
        "keras",
        "nlptasks.console",
        "nlptasks.opening",
        "nlptasks.checkpoints",
        "nlptasks.core",
        "nlptasks.train",
        "nlptasks.text",
    ),
    "runtime": (
        "numpy",
        "onnxruntime",
        "safetensors",
        "nlptasks.applications",
        "nlptasks.backend.packages",
        "nlptasks.text",
    ),
    "pretraining": (
        "numpy",
        "keras",
        "ahocorasick",
        "jieba",
        "matplotlib",
        "tensorboardX",
        "tokenizers",
        "tqdm",
        "apache_beam",
        "array_record",
        "absl",
        "etils",
        "grain",
        "orbax",
        "nlptasks.console",
        "nlptasks.opening",
        "nlptasks.applications",
        "nlptasks.loading",
        "nlptasks.checkpoints",
        "nlptasks.train",
        "nlptasks.core",
        "nlptasks.backend",
        "nlptasks.text",
    ),
    "rewriting": (
        "numpy",
        "keras",
        "nlptasks.backend",
        "nlptasks.bundled",
        "nlptasks.console",
        "nlptasks.core",
        "nlptasks.opening",
        "nlptasks.applications",
        "nlptasks.train",
        "nlptasks.text",
    ),
    "discovery": (
        "numpy",
        "tqdm",
        "tyro",
        "infomap",
        "keras",
        "nlptasks.backend",
        "nlptasks.console",
        "nlptasks.opening",
        "nlptasks.applications",
        "nlptasks.pretraining",
        "nlptasks.train",
        "nlptasks.text",
    ),
}
BACKENDS = ("tensorflow", "jax", "jaxlib", "torch")
# the modules that may name a backend: that of its programs freely, which is imported where Keras runs on it only
BACKEND_MODULES = {"nlptasks.backend.tensorflow": "tensorflow", "nlptasks.backend.jax": "jax"}
# others only inside a function
BACKEND_USERS = {
    "nlptasks.checkpoints.google": "tensorflow",
    "nlptasks.bert4keras.backend": "tensorflow",
    "nlptasks.bert4keras.generators": "tensorflow",
    "nlptasks.bert4keras.keras.phases": "tensorflow",
    "nlptasks.checkpoints.torch_file": "torch",
}
# the modules that run on JAX alone and name it freely; nothing outside of pretraining/ imports them
JAX_ONLY = tuple(
    f"nlptasks.pretraining.{name}"
    for name in ("assembly", "checkpoints", "compressing", "devices", "fitting", "run", "step", "topology", "training")
)
LONGEST_FILE = 350  # lines of a library file
UNSAFE_MODULES = ("pickle", "dill", "cloudpickle", "joblib", "marshal", "shelve")
UNSAFE_CALLS = ("eval", "exec", "torch.load", "enable_unsafe_deserialization", "yaml.load", "read_pickle")
UNSAFE_ARGUMENTS = {"allow_pickle": True, "safe_mode": False, "weights_only": False, "shell": True}


class Import(NamedTuple):
    name: str
    line: int
    in_function: bool


def imports_of(source: str) -> list[Import]:
    """Every import of a source, also those inside functions; `from a import b` names a.b, which may be a module."""
    found = []

    def visit(node: ast.AST, in_function: bool) -> None:
        if isinstance(node, ast.Import):
            found.extend(Import(alias.name, node.lineno, in_function) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            module = "." * node.level + (node.module or "")
            found.extend(Import(f"{module}.{alias.name}", node.lineno, in_function) for alias in node.names)
        inside = in_function or isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda)
        for child in ast.iter_child_nodes(node):
            visit(child, inside)

    visit(ast.parse(source), False)
    return found


def starts_with(name: str, *prefixes: str) -> bool:
    return any(name == prefix or name.startswith(f"{prefix}.") for prefix in prefixes)


def arrow_problems(module: str, source: str) -> list[str]:
    """What a module of nlptasks imports against ARROWS and BACKEND_USERS."""
    part = module.split(".")[1] if "." in module else "__init__"
    if part not in ARROWS:
        return [f"{module}: {part} is not among ARROWS; say there what it may import"]
    own = () if part in ("__init__", "files", "encodings", "errors") else (f"nlptasks.{part}",)
    allowed = (*ARROWS[part], *own, "nlptasks.files", "nlptasks.encodings", "nlptasks.errors")
    problems = []
    for name, line, in_function in imports_of(source):
        if starts_with(name, *BACKENDS):
            allowed_backend = "jax" if module in JAX_ONLY else BACKEND_MODULES.get(module)
            if in_function and allowed_backend is None:
                allowed_backend = BACKEND_USERS.get(module)
            if allowed_backend is None or not starts_with(name, allowed_backend):
                problems.append(f"{module}:{line}: names the backend {name}")
        elif name.split(".")[0] not in sys.stdlib_module_names and not starts_with(name, *allowed):
            problems.append(f"{module}:{line}: imports {name}")
    return problems


def sources(*folders: str) -> Iterator[tuple[Path, str]]:
    for folder in folders:
        for path in sorted((ROOT / folder).rglob("*.py")):
            yield path.relative_to(ROOT), path.read_text(encoding="utf-8")


def module_name(path: Path) -> str:
    return ".".join(path.with_suffix("").parts).removesuffix(".__init__")


# Arrows


def test_every_module_imports_along_the_arrows():
    found = list(sources("nlptasks"))
    assert len(found) > 20
    assert [problem for path, text in found for problem in arrow_problems(module_name(path), text)] == []


@pytest.mark.parametrize(
    ("module", "source"),
    [
        ("nlptasks.core.layers", "import numpy"),
        ("nlptasks.core.layers", "from nlptasks.applications import reading"),
        ("nlptasks.core.layers", "from nlptasks import applications"),
        ("nlptasks.text.vocab", "def f():\n    from keras import ops"),
        ("nlptasks.metrics.reading", "import nlptasks.text.readers"),
        ("nlptasks.generate.search", "from nlptasks.text.tokenizer import Tokenizer"),
        ("nlptasks.checkpoints.weights", "from ..applications import reading"),
        ("nlptasks.checkpoints.google", "import tensorflow"),
        ("nlptasks.checkpoints.google", "def f():\n    import jax"),
        ("nlptasks.backend.programs", "def f():\n    from tensorflow import nest"),
        ("nlptasks.backend.jax", "import tensorflow"),
        ("nlptasks.backend.tensorflow", "def f():\n    import jax"),
        ("nlptasks.applications.reading.reader", "def f():\n    import tensorflow as tf"),
        ("nlptasks.backend.programs", "from nlptasks.core import Transformer"),
        ("nlptasks.train.loop", "from nlptasks.console import say"),
        ("nlptasks.applications.reading.reader", "from tasks import reading_comprehension"),
        ("nlptasks.train.loop", "from nlptasks.applications.reading.reader import Reader"),
        ("nlptasks.loading", "from nlptasks.train.run import start_run"),
        ("nlptasks.files", "from nlptasks.text import Tokenizer"),
        ("nlptasks.text.vocab", "from nlptasks.pretraining.shards import Row"),
        ("nlptasks.train.loop", "import nlptasks.pretraining"),
        ("nlptasks.pretraining.shards", "from nlptasks.generate.search import greedy"),
        ("nlptasks", "import keras"),
        ("nlptasks.core.layers", "from nlptasks.bert4keras.layers import Loss"),
        ("nlptasks.applications.reading.reader", "import nlptasks.bert4keras"),
        ("nlptasks.utils.misc", "import os"),
    ],
)
def test_an_import_against_the_arrows_is_found(module, source):
    assert len(arrow_problems(module, source)) == 1


@pytest.mark.parametrize(
    ("module", "source"),
    [
        ("nlptasks.backend.tensorflow", "import tensorflow as tf"),
        ("nlptasks.backend.jax", "import jax\nimport numpy\nfrom jax.numpy import linalg"),
        ("nlptasks.checkpoints.google", "def f():\n    from tensorflow.train import load_checkpoint"),
        (
            "nlptasks.core.layers",
            "from nlptasks.core.config import TransformerConfig\nfrom keras import ops\nimport re",
        ),
        ("nlptasks.generate.search", "from nlptasks.text.batches import pad"),
        (
            "nlptasks.applications.reading.reader",
            "from nlptasks.train.loop import train\nimport nlptasks.files",
        ),
    ],
)
def test_an_import_along_the_arrows_passes(module, source):
    assert arrow_problems(module, source) == []


def test_scripts_import_no_other_script_and_no_backend():
    stems = {path.stem for path, _ in sources("tasks")}
    assert "reading_comprehension" in stems
    for path, text in sources("tasks"):
        for name, line, _ in imports_of(text):
            assert not starts_with(name, "tasks", *BACKENDS, *(stems - {path.stem})), f"{path}:{line}: {name}"


def too_long(files: Iterable[tuple[Path, str]]) -> list[str]:
    """The files that have more than LONGEST_FILE lines."""
    lengths = {path: len(text.splitlines()) for path, text in files}
    return [f"{path}: {length} lines" for path, length in lengths.items() if length > LONGEST_FILE]


def test_no_library_file_is_longer_than_one_reads_in_a_sitting():
    found = list(sources("nlptasks"))
    assert len(found) > 100
    assert too_long(found) == []


def test_a_file_that_is_too_long_is_found():
    assert too_long([(Path("a.py"), "x\n" * 350), (Path("b.py"), "x\n" * 351)]) == ["b.py: 351 lines"]


# Files name their encoding


def unnamed_encodings(path: Path | str, source: str) -> list[str]:
    """Where a file is opened as text and its encoding is left to the platform."""
    problems = []
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Call) and not {"encoding", None} & {each.arg for each in node.keywords}:
            function = node.func
            owner = ast.unparse(function.value) if isinstance(function, ast.Attribute) else None
            name = function.attr if isinstance(function, ast.Attribute) else getattr(function, "id", "")
            given = [each.value if isinstance(each, ast.Constant) else None for each in node.args]
            named = [each.value for each in node.keywords if each.arg == "mode"]
            mode = getattr(named[0], "value", None) if named else None
            if name == "open" and owner in (None, "io", "codecs"):
                found = "b" not in (mode or (given[1:2] or ["r"])[0] or "")
            elif name == "open" and owner in ("gzip", "lzma", "bz2"):
                found = "t" in (mode or (given[1:2] or ["rb"])[0] or "t")
            elif name == "open":  # a path's, or another method of that name
                mode = mode or (given[:1] or ["r"])[0]
                found = owner != "self" and isinstance(mode, str) and set(mode) <= set("rwaxbt+") and "b" not in mode
            elif name in ("read_text", "write_text") and owner is not None:
                found = len(node.args) < (2 if name == "write_text" else 1)
            elif name == "TextIOWrapper":
                found = len(node.args) < 2
            else:
                found = name == "fdopen" and "b" not in (mode or (given[1:2] or ["r"])[0] or "")
            if found:
                problems.append(f"{path}:{node.lineno}: {ast.unparse(node)[:60]}")
    return problems


def test_every_file_that_is_opened_as_text_names_its_encoding():
    found = list(sources("nlptasks", *SCRIPT_FOLDERS))
    assert [problem for path, text in found for problem in unnamed_encodings(path, text)] == []


@pytest.mark.parametrize(
    "source",
    [
        "open(path)",
        "open(path, 'w')",
        "open(path, mode)",
        "io.open(path, mode='a')",
        "gzip.open(path, 'rt')",
        "path.open()",
        "path.open('w')",
        "path.read_text()",
        "path.write_text(text)",
        "io.TextIOWrapper(file)",
        "os.fdopen(number)",
    ],
)
def test_a_file_without_an_encoding_is_found(source):
    assert len(unnamed_encodings("a.py", source)) == 1


def test_bytes_and_named_encodings_pass():
    source = (
        "open(path, 'rb')\nopen(path, encoding='utf-8')\ngzip.open(path)\npath.read_text('utf-8')\nIndex.open('folder')"
    )
    assert unnamed_encodings("a.py", source) == []


# What an import costs


def modules_after(code: str, *names: str, **environment: str) -> set[str]:
    """Which of these top-level modules are there after the code ran in a Python of its own."""
    code += f"\nimport sys\nprint(*sorted({{name.split('.')[0] for name in sys.modules}} & {set(names)!r}))"
    done = subprocess.run(
        [sys.executable, "-c", code],
        env=os.environ | environment,
        cwd=ROOT,
        capture_output=True,
        encoding="utf-8",
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return set(done.stdout.splitlines()[-1].split())


HEAVY = (
    "keras",
    *BACKENDS,
    "numpy",
    "h5py",
    "safetensors",
    "tokenizers",
    "transformers",
    "matplotlib",
    "jieba",
    "tyro",
)


def test_importing_the_package_imports_nothing_heavy():
    assert modules_after("import nlptasks; dir(nlptasks); nlptasks.__version__", *HEAVY) == set()
    assert modules_after("import nlptasks, numpy", *HEAVY) == {"numpy"}  # the look at sys.modules does see


def test_text_and_metrics_import_no_keras_and_no_backend():
    code = "import nlptasks.text.batches, nlptasks.metrics.reading, nlptasks.metrics.baselines, nlptasks.files"
    assert modules_after(f"{code}\nimport nlptasks\nnlptasks.Tokenizer", *HEAVY) == {"numpy"}


READER_ON_JAX = """
import sys, tempfile
import keras
from keras import ops
import nlptasks
from nlptasks.backend import compile_train_step
from nlptasks.applications.reading.reader import Reader
from nlptasks.applications.reading.samples import ReadingExamples
from nlptasks.applications.reading.windows import ReadingLengths
from nlptasks.applications.scratch import transformer_from_scratch
from nlptasks.applications.seq2seq_loss import target_loss
from nlptasks.text import Passage, Question
from nlptasks.train.optimizers import make_adam
from nlptasks.applications.reading import commands

vocab = {token: i for i, token in enumerate(["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *"沈月是谁山。？"])}
tokenizer, lengths = nlptasks.Tokenizer(vocab), ReadingLengths(passage_length=7, question_length=5, answer_length=3)
model = transformer_from_scratch(nlptasks.TransformerConfig(
    vocab_size=len(vocab), hidden_size=6, num_layers=1, num_heads=2, ffn_size=5, max_positions=15, attention="unilm"
), with_mlm="linear", equal_keys=True)
questions = [Question("1", "谁？", (Passage("是沈月。", "沈月"), Passage("山。", "")), ("沈月",))]
examples = ReadingExamples(questions, tokenizer, lengths)
step = compile_train_step(model, make_adam(0.1, 1), lambda batch: target_loss(model, batch))
before = ops.convert_to_numpy(model.embeddings.token.embeddings).copy()
loss = float(step(examples.arrays(examples.batches(0, 1)[0], 1)))
assert loss > 0
assert (ops.convert_to_numpy(model.embeddings.token.embeddings) != before).any()
reader = Reader(model, tokenizer, lengths)
with tempfile.TemporaryDirectory() as directory:
    reader.save(directory)
    loaded = nlptasks.load(directory)
asked = ("谁？", ["是沈月。", "山。"])
assert loaded.answer(*asked) == reader.answer(*asked)
assert keras.backend.backend() == "jax"
"""


def test_reader_trains_saves_and_answers_on_jax_without_tensorflow():
    found = modules_after(READER_ON_JAX, "tensorflow", "torch", "jax", KERAS_BACKEND="jax")
    assert found == {"jax"}


# Sources


def dotted(node: ast.expr) -> str:
    """`a.b.c` of a name or attribute, "" for anything else."""
    if isinstance(node, ast.Attribute):
        return f"{dotted(node.value)}.{node.attr}".removeprefix(".")
    return node.id if isinstance(node, ast.Name) else ""


def unsafe_problems(path: object, source: str) -> list[str]:
    """Whatever could run code that stands in a data file or in an argument."""
    problems = [
        f"{path}:{line}: imports {name}" for name, line, _ in imports_of(source) if starts_with(name, *UNSAFE_MODULES)
    ]
    for node in ast.walk(ast.parse(source)):
        if not isinstance(node, ast.Call):
            continue
        name = dotted(node.func)
        weights_only = [k for k in node.keywords if k.arg == "weights_only" and ast.unparse(k.value) == "True"]
        if name == "torch.load" and weights_only:
            continue  # reads tensors, runs nothing
        if name in UNSAFE_CALLS or name.split(".")[-1] in UNSAFE_CALLS[3:]:
            problems.append(f"{path}:{node.lineno}: calls {name}")
        for keyword in node.keywords:
            value = keyword.value.value if isinstance(keyword.value, ast.Constant) else None
            if keyword.arg in UNSAFE_ARGUMENTS and value is UNSAFE_ARGUMENTS[keyword.arg]:
                problems.append(f"{path}:{node.lineno}: {name}({keyword.arg}={value})")
    return problems


def test_sources_open_no_pickle_and_run_no_text_as_code():
    found = list(sources("nlptasks", *SCRIPT_FOLDERS))
    assert [problem for path, text in found for problem in unsafe_problems(path, text)] == []


@pytest.mark.parametrize(
    "source",
    [
        "import pickle",
        "def f():\n    from joblib import load",
        "numpy.load(path, allow_pickle=True)",
        "keras.models.load_model(path, safe_mode=False)",
        "keras.config.enable_unsafe_deserialization()",
        "torch.load(path)",
        "torch.load(path, weights_only=flag)",
        "eval(text)",
        "subprocess.run(text, shell=True)",
    ],
)
def test_an_unsafe_load_is_found(source):
    assert len(unsafe_problems("a.py", source)) == 1
    assert unsafe_problems("a.py", "numpy.load(path, allow_pickle=False)\nmodel.eval(1)\nstate.load(path)") == []


def named_specials(source: str) -> list[str]:
    """The special tokens that stand in a source as strings of their own."""
    constants = (node.value for node in ast.walk(ast.parse(source)) if isinstance(node, ast.Constant))
    return [value for value in constants if value in SPECIAL_TOKENS]


def test_special_tokens_are_named_in_one_file():
    found = {str(path): named_specials(text) for path, text in sources("nlptasks")}
    assert [path for path, names in found.items() if names] == ["nlptasks/text/vocab.py"]
    assert named_specials('vocab["[MASK]"]  # "[SEP]"') == ["[MASK]"]


MACHINE_PATH = re.compile(r"(?<![\w.:/~-])/(?:home|root|Users|tmp|work|mnt|scratch|data)/\w|[A-Z]:\\\w")
TEXT_SUFFIXES = {".py", ".md", ".toml", ".cfg", ".txt", ".json", ".yml", ".yaml", ".sh", ""}


def project_texts() -> Iterator[Path]:
    """The text files of the project, without what is installed or made."""
    for folder in ("nlptasks", *SCRIPT_FOLDERS, "docs", "tests", ".ci"):
        yield from (path for path in sorted((ROOT / folder).rglob("*")) if "__pycache__" not in path.parts)
    yield from (path for path in sorted(ROOT.iterdir()) if not path.name.startswith("."))


def test_no_file_names_a_path_of_one_machine():
    found, problems = 0, []
    for path in project_texts():
        if path.is_file() and path.suffix in TEXT_SUFFIXES and path != Path(__file__):
            found += 1
            for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1):
                if MACHINE_PATH.search(line):
                    problems.append(f"{path.relative_to(ROOT)}:{number}: {line.strip()[:100]}")
    assert found > 60
    assert problems == []


@pytest.mark.parametrize("line", ['open("/home/me/a")', "cd /tmp/x", r"C:\Users", "(/Users/me/bert)"])
def test_a_path_of_one_machine_is_found(line):
    assert MACHINE_PATH.search(line)
    assert not MACHINE_PATH.search("https://a.org/home/x ../data/a runs/data/x ~/data/x docs/tmp/y")


# What stands under this name on PyPI is a stranger's: whoever typed such a command would run it.
OFFERED = re.compile(
    r"(?<![\w.\]])nlptasks\[[a-z]|\b(?:pip3?|uv|pipx) (?:install|download|add|run)\b.*?[\s\"']nlptasks\b(?![-./])"
)


def test_no_text_offers_the_name_on_pypi():
    problems = []
    for path in project_texts():
        if path.is_file() and path.suffix in TEXT_SUFFIXES and path != Path(__file__):
            for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1):
                if OFFERED.search(line):
                    problems.append(f"{path.relative_to(ROOT)}:{number}: {line.strip()[:100]}")
    assert problems == []


@pytest.mark.parametrize(
    "line",
    [
        "pip install nlptasks",
        'pip install -U "nlptasks"',
        "needs Beam: pip install 'nlptasks[beam]'.",
        'tpu = ["jax[tpu]>=0.6", "nlptasks[pretraining]"]',
        "uv pip install jax nlptasks==0.2.0",
        "python -m pip download nlptasks --dest wheels",
    ],
)
def test_a_text_that_offers_the_name_on_pypi_is_found(line):
    assert OFFERED.search(line)
    assert not OFFERED.search(
        'pip install "dist/nlptasks-0.2.0-py3-none-any.whl[jax]" ./nlptasks-0.2.0-py3-none-any.whl'
    )
    assert not OFFERED.search('settings["nlptasks"]')


def test_every_public_name_has_a_docstring():
    for name in nlptasks.__all__:
        value = getattr(nlptasks, name)
        if name == "__version__":
            assert re.fullmatch(r"\d+\.\d+\.\d+", value)
            continue
        assert inspect.isclass(value) or inspect.isfunction(value), name
        assert value.__doc__, name
        if inspect.isclass(value):
            for member, function in vars(value).items():
                if inspect.isfunction(function) and not member.startswith("_") and member not in OVERRIDDEN:
                    assert function.__doc__, f"{name}.{member}"


OVERRIDDEN = {"build", "call", "get_config", "compute_output_shape"}  # documented by Keras


# The README's commands


def commands_in(text: str) -> list[str]:
    """The commands of the fenced blocks and of inline code, continued lines joined, without environment variables."""
    fenced = re.findall(r"^```(\w*)\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)
    blocks = [block for language, block in fenced if language in ("", "sh", "bash", "shell", "console")]
    inline = re.findall(r"`([^`\n]+)`", re.sub(r"^```.*?^```$", "", text, flags=re.MULTILINE | re.DOTALL))
    lines = [line for block in blocks for line in block.replace("\\\n", " ").splitlines()] + inline
    lines = [part for line in lines for part in re.split(r"\s\|\s", line)]
    lines = [
        re.sub(r"^\s*(?:[$>] )?(?:[A-Z_]+=\S+ +)*(?:\S*/)?(?=python|make\b|nlptasks\s)", "", line) for line in lines
    ]
    return [line for line in lines if re.match(r"(?:python3?|make|nlptasks)\s+\S", line)]


def make(target: str) -> list[str]:
    """The commands of a target of the Makefile, which make prints without running them."""
    done = subprocess.run(
        ["make", "--dry-run", "--always-make", target], cwd=ROOT, capture_output=True, encoding="utf-8", check=False
    )
    assert done.returncode == 0, done.stderr
    return commands_in(f"```\n{done.stdout}```")


class ParsedError(Exception):
    """The command line was understood."""


def load_script(path: Path) -> ModuleType:
    spec = importlib.util.spec_from_file_location(f"checked_{path.stem}", path)
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # dataclasses look their module up
    spec.loader.exec_module(module)
    return module


def check_script(path: Path, arguments: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """Lets a script read its command line, and do nothing else."""
    monkeypatch.syspath_prepend(path.parent)  # as Python does for a script
    module, parse = load_script(path), argparse.ArgumentParser.parse_args

    def stop(command: object) -> None:
        raise ParsedError

    def parse_and_stop(*given: object, **named: object) -> None:
        parse(*given, **named)
        raise ParsedError

    with monkeypatch.context() as patched:
        patched.setattr(argparse.ArgumentParser, "parse_args", parse_and_stop)
        patched.setattr(sys, "argv", [str(path), *arguments])
        patched.setattr(console, "run", stop)  # of scripts that stand for a command
        for value in vars(module).values():
            if inspect.isclass(value) and value.__module__ == module.__name__ and hasattr(value, "run"):
                patched.setattr(value, "run", stop)
        with pytest.raises(ParsedError):
            module.main()


def check_command(command: str, monkeypatch: pytest.MonkeyPatch) -> None:
    program, *words = shlex.split(command, comments=True)
    if program == "nlptasks" and words[0] == command_line.COMPLETION:
        assert words[1] in ("bash", "zsh", "tcsh")
    elif program == "nlptasks" and words[0] in command_line.VERSION:
        assert len(words) == 1
    elif program == "nlptasks" and words[-1] == "--help":
        assert not words[:-1] or words[0] in command_line.APPLICATIONS
    elif program == "nlptasks":
        assert command_line.parse(words)
        paths = [word for word in words if word.startswith(("tests/", *(f"{folder}/" for folder in SCRIPT_FOLDERS)))]
        assert [path for path in paths if not (ROOT / path).exists()] == [], command
    elif program == "make":
        for word in words:
            for inner in make(word):
                check_command(inner, monkeypatch)
    elif words[0] == "-m":
        paths = [word for word in words[2:] if word.startswith(("tests", *SCRIPT_FOLDERS))]
        assert importlib.util.find_spec(words[1]), command
        assert [path for path in paths if not (ROOT / path).exists()] == [], command
    elif words[0] != "-c":
        assert (ROOT / words[0]).is_file(), f"{command}: there is no {words[0]}"
        check_script(ROOT / words[0], words[1:], monkeypatch)


@pytest.mark.parametrize("name", README_NAMES)
def test_commands_of_the_readme_name_files_and_options_that_exist(name, monkeypatch):
    commands = commands_in((ROOT / name).read_text(encoding="utf-8"))
    assert {"make demo", "make test"} <= set(commands)
    assert any(command.startswith("nlptasks reading train") for command in commands)
    assert any(command.startswith("nlptasks segment") for command in commands)
    for command in commands:
        try:
            check_command(command, monkeypatch)
        except SystemExit:
            pytest.fail(f"{name}: the script does not know the options of: {command}")


@pytest.mark.parametrize("name", ["README.md", "README.zh-CN.md"])
def test_the_table_of_commands_has_a_row_for_each(name):
    rows = re.findall(r"^\| (`.*?)\|", (ROOT / name).read_text(encoding="utf-8"), re.MULTILINE)
    assert {word for row in rows for word in re.findall(r"`(\w+)`", row)} >= set(command_line.APPLICATIONS)


def test_commands_of_the_walk_through_pretraining_name_options_that_exist(monkeypatch):
    commands = commands_in((ROOT / "pretraining" / "README.md").read_text(encoding="utf-8"))
    scripts = {command.split()[1] for command in commands}
    names = ("train_vocab", "make_shards", "pretrain", "check_topology")
    assert {f"pretraining/{name}.py" for name in names} <= scripts
    for command in commands:
        try:
            check_command(command, monkeypatch)
        except SystemExit:
            pytest.fail(f"the script does not know the options of: {command}")


@pytest.mark.parametrize(
    ("command", "error"),
    [
        ("python tasks/reading.py train", AssertionError),
        ("python tasks/reading_comprehension.py train --train a --valid b --output c --epoch 3", SystemExit),
        ("python tasks/reading_comprehension.py predict --model a --beam-size many", SystemExit),
        ("python data/make_reading_questions.py --output a --questions 3", SystemExit),
        ("python -m pytest tests/nothing_here", AssertionError),
        ("nlptasks cut data/segmentation_sample.txt", SystemExit),
        ("nlptasks segment --tag", SystemExit),
        ("nlptasks segment --processes many", SystemExit),
        ("nlptasks segment data/nothing_here.txt", AssertionError),
        ("make nothing", AssertionError),
    ],
)
def test_a_command_that_does_not_exist_is_found(command, error, monkeypatch, capsys):
    with pytest.raises(error):
        check_command(command, monkeypatch)


def test_commands_are_found_in_blocks_and_in_inline_code():
    text = "a `make lint` b\n```\n$ A=1 .venv/bin/python x.py \\\n  --b 1\nls\n```\n"
    text += "```python\nmake = 1\n```\n`python y.py`\n`nlptasks.load`\n```sh\necho 好 | nlptasks segment --tags\n```\n"
    assert [re.sub(" +", " ", command) for command in commands_in(text)] == [
        "python x.py --b 1",
        "nlptasks segment --tags",
        "make lint",
        "python y.py",
    ]


@pytest.mark.parametrize("name", README_NAMES)
def test_links_of_the_readme_lead_to_files(name):
    links = re.findall(r"\]\(([^)#:\s]+)(?:#[^)]*)?\)", (ROOT / name).read_text(encoding="utf-8"))
    assert len(links) > 2
    assert [link for link in links if not (ROOT / link).exists()] == []


def test_the_picture_of_the_house_is_what_the_code_says():
    drawn = load_script(ROOT / "docs" / "draw_architecture.py").graph()
    assert drawn in (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8")
    assert "  command --> console\n" in drawn
