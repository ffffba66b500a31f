"""Shared by all tests: quiet backends, small models, and where the golden files are."""

import os
import signal
from importlib import metadata
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
os.environ.setdefault("CUDA_VISIBLE_DEVICES", "-1")
os.environ["NLPTASKS_LANG"] = "en"  # whatever the locale is
os.environ.setdefault("JAX_NUM_CPU_DEVICES", "8")  # for tests of meshes; others use the first
# Compiling takes most of the time on JAX. A program is compiled once for all workers and later runs, and without the
# passes that make it run fast, which small models do not need.
os.environ.setdefault("JAX_COMPILATION_CACHE_DIR", str(Path(__file__).parents[1] / ".pytest_cache" / "jax_programs"))
os.environ.setdefault("JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS", "0")
os.environ.setdefault("JAX_DISABLE_MOST_OPTIMIZATIONS", "1")
# These halve it again; TensorFlow, too, compiles its decoding loops with XLA. A process ends when it names a flag that
# its version does not know.
if os.environ.get("KERAS_BACKEND") == "jax" and metadata.version("jaxlib").startswith("0.10."):
    os.environ.setdefault("XLA_FLAGS", "--xla_cpu_use_fusion_emitters=false")
elif metadata.version("tensorflow").startswith("2.21."):
    os.environ.setdefault(
        "XLA_FLAGS",
        "--xla_cpu_use_fusion_emitters=false --xla_backend_optimization_level=0 "
        "--xla_llvm_disable_expensive_passes=true",
    )

import numpy as np
import pytest

GOLDEN = Path(__file__).parent / "golden"
# A shell that starts the tests in the background has them ignore Ctrl-C, and so the commands that they start.
signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(scope="session")
def golden():
    """The folder of golden files."""
    return GOLDEN


@pytest.fixture
def rng():
    return np.random.default_rng(5)


@pytest.fixture(scope="session")
def public_data():
    """The folder of public data sets, or a skip that says how to get it."""
    folder = os.environ.get("NLPTASKS_DATA")
    if not folder:
        pytest.skip("NLPTASKS_DATA is not set: it names a folder of public data sets, see data/README.md")
    return Path(folder)
