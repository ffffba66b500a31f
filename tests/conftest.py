"""Shared by all tests: quiet backends, small models, and where the golden files are."""

import os
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
os.environ.setdefault("CUDA_VISIBLE_DEVICES", "-1")
os.environ.setdefault("JAX_NUM_CPU_DEVICES", "8")  # for tests of meshes; others use the first

import numpy as np
import pytest

GOLDEN = Path(__file__).parent / "golden"


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
