"""Public models: downloaded on request from a server on the loopback, and what is said where nobody asked."""

import hashlib
import json
import os
import subprocess
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

from nlptasks.applications.filling.commands import Fill
from nlptasks.applications.options import EncoderTraining
from nlptasks.applications.sources import located
from nlptasks.backend import packages
from nlptasks.checkpoints.huggingface import read_huggingface, save_directory
from nlptasks.checkpoints.public import fetch, is_public_name
from nlptasks.checkpoints.torch_file import read_torch
from nlptasks.checkpoints.weights import export_weights
from nlptasks.core import Transformer, TransformerConfig
from nlptasks.errors import MissingPackageError, UserError

pytestmark = pytest.mark.once
SHA = "0123456789abcdef0123456789abcdef01234567"
COMMON = {"config.json": b'{"a": 1}', "vocab.txt": b"[PAD]\n", "README.md": b"read me", "flax_model.msgpack": b"flax"}
REPOS = {
    "hfl/with-safetensors": COMMON | {"model.safetensors": b"safe", "pytorch_model.bin": b"pickle"},
    "hfl/with-checkpoint": COMMON
    | {"m.ckpt.index": b"i", "m.ckpt.data-00000-of-00001": b"d", "pytorch_model.bin": b"p"},
    "hfl/with-pickle": COMMON | {"pytorch_model.bin": b"pickle" * 99},
    "hfl/with-nothing": dict(COMMON),
}


class Hub(BaseHTTPRequestHandler):
    """As much of the hub as its package asks for."""

    def answer(self, body):
        path = self.path.split("?")[0]
        name = "/".join(path.removeprefix("/api/models/").strip("/").split("/")[:2])
        file = path.partition(f"/resolve/{SHA}/")[2]
        if name not in REPOS or (file and file not in REPOS[name]):
            self.send_error(404)
            return
        if file:
            data = REPOS[name][file]
        elif "/tree/" in path:
            listed = [{"type": "file", "path": f, "size": len(d), "oid": "0" * 40} for f, d in REPOS[name].items()]
            data = json.dumps(listed).encode()
        else:
            siblings = [{"rfilename": f, "size": len(d)} for f, d in REPOS[name].items()]
            data = json.dumps({"id": name, "sha": SHA, "siblings": siblings, "private": False}).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(data)))
        self.send_header("ETag", f'"{hashlib.sha1(data).hexdigest()}"')
        self.send_header("X-Repo-Commit", SHA)
        self.end_headers()
        if body:
            self.wfile.write(data)

    def do_GET(self):
        self.answer(True)

    def do_HEAD(self):
        self.answer(False)

    def log_message(self, *_):
        pass


@pytest.fixture
def endpoint():
    server = ThreadingHTTPServer(("127.0.0.1", 0), Hub)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()


CODE = """
import sys
from nlptasks.checkpoints.public import fetch
for name in sys.argv[1:]:
    try:
        folder = fetch(name, "hub")
        print(folder.parent.parent.name, sorted(path.name for path in folder.iterdir()))
    except ValueError as error:
        print(str(error))
print("keras" in sys.modules)
"""


def in_a_process(endpoint, cache, *names, **more):
    pytest.importorskip("huggingface_hub", reason="the test extra brings huggingface_hub")
    environment = os.environ | {"HF_ENDPOINT": endpoint, "HF_HOME": str(cache), "HF_HUB_OFFLINE": "0"} | more
    environment |= {"PYTHONPATH": str(Path(__file__).parents[2])}
    done = subprocess.run(
        [sys.executable, "-c", CODE, *names], env=environment, capture_output=True, encoding="utf-8", check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines(), done.stderr


def test_what_can_be_read_best_is_downloaded_from_the_endpoint_into_the_cache(endpoint, tmp_path):
    names = [*REPOS, "hfl/with-spelling-mistake"]
    lines, shown = in_a_process(endpoint, tmp_path, *names)
    assert lines[:3] == [
        "models--hfl--with-safetensors ['config.json', 'model.safetensors', 'vocab.txt']",
        "models--hfl--with-checkpoint ['config.json', 'm.ckpt.data-00000-of-00001', 'm.ckpt.index', 'vocab.txt']",
        "models--hfl--with-pickle ['config.json', 'pytorch_model.bin', 'vocab.txt']",
    ]
    assert lines[3].startswith("hfl/with-nothing: holds no weights that can be read (model.safetensors, a TensorFlow")
    assert lines[4].startswith("hfl/with-spelling-mistake: could not be downloaded with huggingface_hub (")
    assert lines[5] == "False"
    assert "100%" in shown  # a progress bar
    again, _ = in_a_process("http://127.0.0.1:9", tmp_path, "hfl/with-safetensors", HF_HUB_OFFLINE="1")
    assert again[0] == lines[0]  # from the cache


def test_a_stand_in_for_modelscope_is_asked_for_the_same_files(tmp_path, monkeypatch):
    asked = []

    def snapshot_download(model_id, allow_patterns, local_files_only=False):
        asked.append((model_id, allow_patterns[-1]))
        (tmp_path / "pytorch_model.bin").write_bytes(b"") if "pytorch_model.bin" in allow_patterns else None
        return str(tmp_path)

    module = ModuleType("modelscope.hub.snapshot_download")
    module.snapshot_download = snapshot_download
    for name in ("modelscope", "modelscope.hub"):
        monkeypatch.setitem(sys.modules, name, ModuleType(name))
    monkeypatch.setitem(sys.modules, "modelscope.hub.snapshot_download", module)
    monkeypatch.setattr(packages, "is_installed", lambda module: True)
    fetch.cache_clear()
    assert located("owner/model", "modelscope") == tmp_path
    assert asked == [("owner/model", p) for p in ("model-*-of-*.safetensors", "*.ckpt*", "pytorch_model.bin")]
    fetch.cache_clear()


def test_nothing_is_downloaded_where_nobody_asked(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    options = EncoderTraining(output=tmp_path / "run", checkpoint="hfl/some-model")
    with pytest.raises(
        UserError, match=r"hfl/some-model: no such folder .* download hub or download modelscope downloads"
    ):
        options.settle(None)
    with pytest.raises(UserError, match=r"download must be one of hub, modelscope\. Received: 'web'"):
        EncoderTraining(output=tmp_path / "run", checkpoint="hfl/some-model", download="web")
    monkeypatch.setattr(packages, "is_installed", lambda module: module != "modelscope")
    assert Fill(texts=("a",), model="hfl/some-model", download="modelscope").packages()[-1] == "modelscope"
    with pytest.raises(MissingPackageError, match="modelscope is not installed, and this needs it"):
        located("hfl/some-model", "modelscope")
    assert list(tmp_path.iterdir()) == []


def test_a_path_that_is_there_is_no_public_name(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert is_public_name("hfl/some-model")
    assert not any(map(is_public_name, ("mini", "./hfl/model", "/hfl/model", "a/b/c", "a/", "..", "a/.b")))
    (tmp_path / "hfl").mkdir()
    (tmp_path / "hfl" / "model.ckpt.index").touch()
    assert not is_public_name("hfl/model.ckpt")
    (tmp_path / "hfl" / "some-model").mkdir()
    assert not is_public_name("hfl/some-model")
    assert located("hfl/some-model") == Path("hfl/some-model")


# pytorch_model.bin


def test_a_pickle_of_tensors_is_read_and_one_that_runs_something_is_not(tmp_path):
    torch = pytest.importorskip("torch", reason="the test extra brings torch")
    model = Transformer(TransformerConfig(vocab_size=11, hidden_size=6, num_layers=1, num_heads=2, ffn_size=5))
    model.build()
    save_directory(model, tmp_path / "a")
    (tmp_path / "a" / "model.safetensors").unlink()
    weights = export_weights(model)
    tensors = {f"bert.{name}": torch.from_numpy(array) for name, array in weights.items()}
    torch.save(tensors, tmp_path / "a" / "pytorch_model.bin")
    found = read_huggingface(tmp_path / "a", model.config)
    assert found.keys() == weights.keys()
    assert all(np.array_equal(found[name], array) for name, array in weights.items())
    torch.save({"x": tensors["bert.embeddings.LayerNorm.weight"].bfloat16()}, tmp_path / "half.bin")
    assert read_torch(tmp_path / "half.bin")["x"].dtype == np.float32
    torch.save({"x": tmp_path}, tmp_path / "path.bin")  # an object of some class
    with pytest.raises(UserError, match=r"path\.bin: not a file of weights alone"):
        read_torch(tmp_path / "path.bin")
