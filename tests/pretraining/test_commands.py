"""The commands as the command line sees them: light to import, and the environment that each asks for."""

from pathlib import Path

import pytest

from nlptasks.pretraining.commands import COMMANDS
from nlptasks.pretraining.commands.topology import Check
from nlptasks.pretraining.commands.train import Pretrain
from tests.test_house_rules import modules_after

HEAVY = ("keras", "tensorflow", "jax", "torch", "grain", "orbax", "array_record", "jieba", "tokenizers", "matplotlib")


@pytest.mark.parametrize("words", [[], ["train"], ["topology"], ["vocab"], ["shards"]])
def test_a_command_is_read_without_what_only_running_it_needs(words):
    code = "import contextlib\nfrom nlptasks.command import main\nwith contextlib.suppress(SystemExit):\n"
    code += f"    main(['pretraining', *{words}, '--help'])"
    assert modules_after(code, "tyro", "numpy", *HEAVY) == {"tyro"}


def test_importing_the_commands_leaves_the_environment_as_it_was():
    code = "import os\nbefore = dict(os.environ)\nfrom nlptasks.pretraining.commands import COMMANDS\n"
    assert modules_after(f"{code}assert before == dict(os.environ)", "tyro", "numpy", *HEAVY) == set()
    assert list(COMMANDS) == ["vocab", "shards", "train", "topology"]


def pretrain(**options):
    return Pretrain(shards=Path("shards"), output=Path("run"), **options)


def test_training_runs_on_jax_and_on_request_with_the_same_bits(monkeypatch):
    monkeypatch.setenv("XLA_FLAGS", "--xla_a=1")
    assert pretrain().environment() == {"KERAS_BACKEND": "jax"}
    asked = pretrain(deterministic=True).environment()
    assert asked == {"KERAS_BACKEND": "jax", "XLA_FLAGS": "--xla_a=1 --xla_gpu_deterministic_ops=true"}
    monkeypatch.setenv("XLA_FLAGS", asked["XLA_FLAGS"])
    assert pretrain(deterministic=True).environment() == {"KERAS_BACKEND": "jax"}
    monkeypatch.delenv("XLA_FLAGS")
    assert pretrain(deterministic=True).environment()["XLA_FLAGS"] == "--xla_gpu_deterministic_ops=true"


def test_the_compiler_is_told_of_no_tpu_unless_a_person_told_it_something(monkeypatch):
    monkeypatch.setenv("TPU_WORKER_ID", "3")
    monkeypatch.delenv("TPU_ACCELERATOR_TYPE", raising=False)
    asked = Check().environment()
    assert (asked["KERAS_BACKEND"], asked["TPU_WORKER_ID"]) == ("jax", "3")
    assert asked["TPU_ACCELERATOR_TYPE"] == "v5litepod-8"


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"num_steps": 0}, "num_steps must be at least 1. Received: 0."),
        ({"optimizer": "sgd"}, "optimizer must be one of adamw, lamb. Received: 'sgd'."),
        ({"schedule": "10"}, "schedule takes steps and multipliers, as in 10000=1,100000=0. Received: '10'."),
        ({"objective": "bert"}, "objective takes mlm, lm, unilm"),
        ({"process_id": 1}, "num_processes and process_id go with coordinator."),
    ],
)
def test_python_is_told_of_fields(options, message):
    with pytest.raises(ValueError, match=message.replace(".", r"\.")) as caught:
        pretrain(**options)
    assert "--" not in str(caught.value)
