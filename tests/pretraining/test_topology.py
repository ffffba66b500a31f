"""The step for a TPU that is not there, where its compiler is installed."""

import tests.pretraining.jax_only  # noqa: F401, I001

import importlib.util
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from nlptasks.pretraining.configs import named_config, step_flops
from nlptasks.pretraining.topology import _counted
from tests.commands.scripts import ROOT


def test_instructions_are_counted_in_a_program():
    text = """
      %all-reduce.3 = (f32[2]{0}, f32[]) all-reduce(%a, %b), channel_id=1
      %all-reduce-start.1 = f32[4]{0} all-reduce-start(%c), channel_id=2
      %all-reduce-done.1 = f32[4]{0} all-reduce-done(%all-reduce-start.1)
      %fusion = f32[4]{0} fusion(%all-reduce.3), kind=kLoop
      %x = f32[4] custom-call(%y), custom_call_target="MoveToHost"
    """
    assert _counted(text, ("all-reduce", "all-gather")) == {"all-reduce": 2}
    assert _counted(text, ("infeed", "MoveToHost")) == {"MoveToHost": 1}


def test_operations_are_those_of_the_matrix_products():
    """BERT-base: 85 million weights in its blocks, 2 operations a weight and position, three times."""
    config = named_config("base", 21128, 512)
    blocks = 12 * (4 * 768 * 768 + 2 * 768 * 3072)
    attention = 12 * 2 * 512 * 768
    head = 80 / 512 * 768 * (768 + 21128)
    assert step_flops(config, 32, 512, 80) == pytest.approx(6 * 32 * 512 * (blocks + attention + head))
    assert named_config("small+", 100, 64).key_size == 128
    assert named_config("small+", 100, 64).value_size == 64
    assert named_config("tiny", 100, 1024).max_positions == 1024
    with pytest.raises(ValueError, match=r"^config is tiny, mini, small, base, large"):
        named_config("medium", 100, 64)


def test_the_step_of_a_small_model_compiles_for_a_slice_of_eight_chips():
    apart = Path(sys.prefix) / "tpu"  # where make installs it
    if not (apart / "libtpu").is_dir() and importlib.util.find_spec("libtpu") is None:
        pytest.skip("the TPU compiler is not installed: pip install libtpu")
    script = ROOT / "pretraining" / "check_topology.py"
    sizes = ("--config", "tiny", "--batch-per-device", "8", "--seq-length", "64", "--vocab-size", "512")
    environment = os.environ | {
        "PYTHONPATH": os.pathsep.join([str(ROOT), str(apart), os.environ.get("PYTHONPATH", "")])
    }
    for name in ("XLA_FLAGS", "JAX_DISABLE_MOST_OPTIMIZATIONS"):  # as in use, not as tests/conftest.py has it
        environment.pop(name, None)
    done = subprocess.run(
        [sys.executable, str(script), *sizes, "--json"],
        env=environment,
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    found = json.loads(done.stdout)
    assert set(found["collectives"]) == {"all-reduce"}
    assert found["host_transfers"] == {}
    assert found["num_devices"] == 8
    assert 0.9 < found["flops_ratio"] < 1.3
    assert 0 < found["gib_per_device"] < 1
