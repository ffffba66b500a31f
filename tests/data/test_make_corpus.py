"""The generator of documents: reproducible in every format, and many different ones."""

import gzip
import importlib.util
import json
import subprocess
import sys
from pathlib import Path

SCRIPT = Path(__file__).parents[2] / "data" / "make_corpus.py"


def _load_script():
    spec = importlib.util.spec_from_file_location("make_corpus", SCRIPT)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_all_formats_hold_the_same_documents(tmp_path):
    expected = _load_script().documents(13, 7)
    for name in ("a.txt", "a.txt.gz", "a.jsonl", "a.jsonl.gz"):
        command = [sys.executable, SCRIPT, "--count", "13", "--seed", "7", "--output", tmp_path / name]
        subprocess.run(command, check=True)
        data = (tmp_path / name).read_bytes()
        text = (gzip.decompress(data) if name.endswith(".gz") else data).decode()
        lines = text.removesuffix("\n").split("\n")
        assert ([json.loads(line)["text"] for line in lines] if "jsonl" in name else lines) == expected
    assert gzip.decompress((tmp_path / "a.txt.gz").read_bytes()) == (tmp_path / "a.txt").read_bytes()


def test_documents_differ_from_each_other_and_between_seeds():
    documents = _load_script().documents
    assert len(set(documents(400, 1))) > 390
    assert documents(400, 1) == documents(400, 1)
    assert len(set(documents(400, 1)) & set(documents(400, 2))) < 10
