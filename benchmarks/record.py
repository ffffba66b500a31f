"""What every record of a measurement says of its surroundings."""

import datetime
import importlib.metadata
import os
import platform
import shutil
import subprocess

BERT_BASE = {
    "vocab_size": 21128,
    "hidden_size": 768,
    "num_hidden_layers": 12,
    "num_attention_heads": 12,
    "intermediate_size": 3072,
    "max_position_embeddings": 512,
    "type_vocab_size": 2,
    "hidden_act": "gelu",
    "hidden_dropout_prob": 0.1,
    "attention_probs_dropout_prob": 0.1,
    "initializer_range": 0.02,
}
"""`bert_config.json` of Chinese BERT-base"""


def versions(*modules: str) -> str:
    """The installed version of each module, whatever its distribution is called."""
    distributions = importlib.metadata.packages_distributions()
    return ", ".join(f"{name} {importlib.metadata.version(distributions[name][0])}" for name in modules)


def _device() -> str:
    """The graphics card, as its driver names it."""
    if shutil.which("nvidia-smi") is None:
        return "no GPU"
    found = subprocess.run(["nvidia-smi", "--query-gpu=name", "--format=csv,noheader"], capture_output=True, text=True)
    return found.stdout.strip().replace("\n", ", ") or "no GPU"


def surroundings(*modules: str) -> str:
    """Date, processor, Python and the versions of `modules`."""
    machine = f"{os.cpu_count()} cores {platform.machine()}"
    return f"{datetime.date.today()}, {machine}, {_device()}, Python {platform.python_version()}, {versions(*modules)}"
