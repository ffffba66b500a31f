"""The script from shards to a model, stopped and resumed, and what it refuses."""

import tests.pretraining.jax_only  # noqa: F401, I001

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace

import keras
import numpy as np
import pytest
from safetensors.numpy import load_file

from nlptasks.loading import build_transformer_model
from nlptasks.pretraining import training
from nlptasks.pretraining.monitor import Monitor
from nlptasks.pretraining.run import Progress
from nlptasks.text.vocab import save_vocab
from tests.commands.scripts import call, load_script
from tests.pretraining.shard_cases import random_rows, small_vocab, write_shards

T, ROWS, STEPS = 19, 120, 24
CONFIG = {
    "vocab_size": 53, "hidden_size": 24, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 36,
    "max_position_embeddings": 23, "type_vocab_size": 2, "hidden_act": "gelu", "hidden_dropout_prob": 0.1,
    "attention_probs_dropout_prob": 0.1, "initializer_range": 0.1,
}  # fmt: skip


@pytest.fixture(autouse=True)
def _one_device_afterwards():
    yield
    keras.distribution.set_distribution(None)
    keras.config.set_dtype_policy("float32")


@pytest.fixture(scope="module")
def script():
    return load_script("pretrain", "pretraining")


@pytest.fixture(scope="module")
def inputs(tmp_path_factory):
    folder = tmp_path_factory.mktemp("inputs")
    (folder / "config.json").write_text(json.dumps(CONFIG))
    write_shards(folder / "shards", random_rows(ROWS, T), T)
    return folder


def arguments(inputs, output, *more):
    given = {
        "shards": inputs / "shards", "output": output, "config": inputs / "config.json", "num-steps": STEPS,
        "batch-size": 8, "learning-rate": 0.01, "valid-rows": 20, "valid-every": 12, "save-every": 6, "log-every": 4,
        "mesh": "data=1", "peak-tflops": 1,
    }  # fmt: skip
    return [*(part for name, value in given.items() for part in (f"--{name}", value)), "--json", *more]


@pytest.fixture(scope="module")
def finished(script, inputs, tmp_path_factory):
    output = tmp_path_factory.mktemp("runs") / "whole"
    result = call(script, *arguments(inputs, output))
    assert result.status == 0, result.err
    return output, result


def logged(output, *columns):
    lines = [line.split(",") for line in (output / "log.csv").read_text().splitlines()]
    places = [lines[0].index(column) for column in ("step", *columns)]
    return [[line[place] for place in places] for line in lines[1:]]


def test_a_run_leaves_a_model_that_learned_and_says_how_it_went(finished):
    output, result = finished
    expected = ["checkpoints", "config.json", "curve.png", "log.csv", "model.safetensors", "options.json"]
    expected += ["scores.json", "tokenizer_config.json", "vocab.txt"]
    assert sorted(path.name for path in output.iterdir()) == expected
    scores = json.loads(result.out.splitlines()[-1])
    assert scores == json.loads((output / "scores.json").read_text())
    assert scores["valid_perplexity"] < scores["unigram_perplexity"] * 1.2
    assert [row[0] for row in logged(output)] == ["4", "8", "12", "12", "16", "20", "24", "24"]
    losses = [float(loss) for _, loss in logged(output, "loss") if loss]
    assert losses[-1] < losses[0]
    assert sorted(path.name for path in (output / "checkpoints").iterdir()) == ["00000012", "00000018", "00000024"]
    assert json.loads((output / "options.json").read_text())["given"]["learning_rate"] == 0.01
    assert "unigram baseline on the held-out rows" in result.err
    assert ("rows are held out and not trained on; --valid-rows" in result.err) == (ROWS < 100)
    assert "step 24/24" in result.err


def test_the_model_opens_here_and_in_transformers_with_equal_logits(finished):
    import torch
    from transformers import BertForMaskedLM

    output, _ = finished
    row = random_rows(1, T, seed=9)[0].token_ids[None]
    ours = build_transformer_model(output, output, with_mlm="linear")
    theirs = BertForMaskedLM.from_pretrained(output).eval()
    with torch.no_grad():
        expected = theirs(torch.tensor(row, dtype=torch.long)).logits.numpy()
    found = np.asarray(ours([row, np.zeros_like(row)]))
    np.testing.assert_allclose(found, expected, atol=1e-5 * max(1, np.abs(expected).max()))


class Killed(Exception):
    """Stands for the end of the process."""


@pytest.mark.parametrize(("step", "how"), [(9, "killed"), (13, "terminated"), (3, "killed")])
def test_a_stopped_run_ends_with_the_same_bits(script, inputs, finished, tmp_path, monkeypatch, step, how):
    output, add = tmp_path / "run", Monitor.add

    def stop(monitor, number, *values):
        if number == step and how == "killed":
            raise Killed
        if number == step:
            os.kill(os.getpid(), signal.SIGTERM)
        add(monitor, number, *values)

    monkeypatch.setattr(Monitor, "add", stop)
    if how == "killed":
        with pytest.raises(Killed):
            call(script, *arguments(inputs, output))
    else:
        result = call(script, *arguments(inputs, output))
        assert result.status == 130
        assert "--resume continues it" in result.err
    assert not (output / "model.safetensors").exists()
    monkeypatch.setattr(Monitor, "add", add)
    result = call(script, *arguments(inputs, output, "--resume", "--keep", 2))
    assert result.status == 0, result.err
    assert ("going on from step" in result.err) == (step > 6)
    weights, expected = (load_file(folder / "model.safetensors") for folder in (output, finished[0]))
    assert all(np.array_equal(weights[name], expected[name]) for name in expected)
    columns = ("loss", "accuracy", "learning_rate", "valid_loss")
    assert logged(output, *columns) == logged(finished[0], *columns)


def test_a_damaged_newest_checkpoint_is_passed_over_with_a_message(script, inputs, finished, tmp_path):
    output = shutil.copytree(finished[0], tmp_path / "run")
    (output / "model.safetensors").unlink()
    newest = output / "checkpoints" / "00000024"
    largest = max((path for path in newest.rglob("*") if path.is_file()), key=lambda path: path.stat().st_size)
    content = bytearray(largest.read_bytes())
    content[len(content) // 2] ^= 1
    largest.write_bytes(content)
    result = call(script, *arguments(inputs, output, "--resume", "--mesh", "data=2"))
    assert result.status == 0, result.err
    assert "00000024: not used (state" in result.err
    assert "going on from step 18" in result.err
    weights, expected = (load_file(folder / "model.safetensors") for folder in (output, finished[0]))
    for name in expected:  # on another number of devices: the same up to rounding
        np.testing.assert_allclose(weights[name], expected[name], atol=1e-4, err_msg=name)


def test_a_run_killed_in_its_first_save_begins_anew_with_the_same_bits(script, inputs, finished, tmp_path):
    output = shutil.copytree(finished[0], tmp_path / "run")
    (output / "model.safetensors").unlink()
    for folder in (output / "checkpoints").iterdir():
        (folder / "manifest.json").unlink()
    other = call(script, *arguments(inputs, output, "--resume", "--batch-size", 4))
    assert "the run was started with batch_size=8, now batch_size=4" in other.err
    result = call(script, *arguments(inputs, output, "--resume", "--num-workers", 1))
    assert result.status == 0, result.err
    assert "no checkpoint was finished; beginning anew" in result.err
    weights, expected = (load_file(folder / "model.safetensors") for folder in (output, finished[0]))
    assert all(np.array_equal(weights[name], expected[name]) for name in expected)


def test_a_run_goes_on_with_another_number_of_workers(script, inputs, finished, tmp_path):
    output = shutil.copytree(finished[0], tmp_path / "run")
    (output / "model.safetensors").unlink()
    (output / "checkpoints" / "00000024" / "manifest.json").unlink()
    result = call(script, *arguments(inputs, output, "--resume", "--num-workers", 2))
    assert result.status == 0, result.err
    assert "going on from step 18" in result.err
    weights, expected = (load_file(folder / "model.safetensors") for folder in (output, finished[0]))
    assert all(np.array_equal(weights[name], expected[name]) for name in expected)


def test_bert4keras_weights_are_a_start(script, tmp_path, golden):
    """A file of weights with its config beside it, as `--config` names it."""
    config = json.loads((golden / "bert4keras" / "mlm_linear.json").read_text())
    vocab = small_vocab(config["vocab_size"])
    shards = write_shards(tmp_path / "shards", random_rows(40, 9, config["vocab_size"]), 9, vocab=vocab)
    weights = golden / "bert4keras" / "mlm_linear.h5"
    given = ("--checkpoint", weights, "--config", weights.with_suffix(".json"))
    more = ("--num-steps", 2, "--batch-size", 8, "--valid-rows", 4, "--mesh", "data=1", "--peak-tflops", 1)
    result = call(script, "--shards", shards, "--output", tmp_path / "run", *given, *more, "--valid-every", 1)
    assert result.status == 0, result.err


def test_bad_steps_stop_the_run_with_their_number_or_are_left_out(script, inputs, tmp_path):
    huge = ("--learning-rate", 1e30, "--clip-norm", 1e30, "--optimizer", "adamw", "--schedule", "0=1")
    result = call(script, *arguments(inputs, tmp_path / "stopped", *huge))
    assert result.status == 2
    assert "error: step 2: loss" in result.err
    assert "the step was not applied" in result.err
    result = call(script, *arguments(inputs, tmp_path / "going", *huge, "--skip-bad-steps", 100))
    assert result.status == 0, result.err
    assert json.loads(result.out.splitlines()[-1])["skipped"] == STEPS - 1
    assert "left out (23 of at most 100)" in result.err


def test_a_mixture_averages_and_goes_on_from_a_model(script, inputs, finished, tmp_path):
    output = tmp_path / "run"
    more = ("--checkpoint", finished[0], "--objective", "mlm=1,unilm=1,lm=1", "--ema", 0.9, "--optimizer", "lamb")
    result = call(
        script, *arguments(inputs, output, *more, "--accumulate", 2, "--precision", "bfloat16", "--tensorboard")
    )
    assert result.status == 0, result.err
    events = b"".join(path.read_bytes() for path in (output / "tensorboard").iterdir())
    assert b"valid_perplexity" in events
    assert b"tokens_per_second" in events
    first, last = (json.loads((folder / "scores.json").read_text()) for folder in (finished[0], output))
    assert last["valid_loss"] < first["valid_loss"] + 0.1
    weights = load_file(output / "model.safetensors")
    assert {array.dtype for array in weights.values()} == {np.dtype("float32")}


@pytest.mark.parametrize(
    ("more", "message"),
    [
        (("--objective", "bert"), "--objective takes mlm, lm, unilm"),
        (("--optimizer", "sgd"), "--optimizer must be one of adamw, lamb"),
        (("--schedule", "10"), "--schedule takes steps and multipliers, as in 10000=1,100000=0"),
        (("--precision", "float8"), "--precision must be one of float32, bfloat16"),
        (("--mesh", "data=3"), "--batch-size must be a multiple of --accumulate x the data places"),
        (("--mesh", "data=8,model=2"), "has 16 places. Received: 8 devices"),
        (("--mesh", "data=1,model=4"), "the mesh must divide the heads. Received: model=4, num_heads=2"),
        (("--valid-rows", ROWS), "--valid-rows must leave rows to train on"),
        (("--config", "huge"), "--config is tiny, mini, small, base, large"),
        (("--config", "tiny", "--mask-rate", 2), "--mask-rate must lie between 0 and 1"),
        (("--resume",), "no interrupted run here; leave --resume out"),
        (("--coordinator", "localhost:1"), "--coordinator goes with --num-processes and --process-id"),
        (("--num-processes", 2), "--num-processes and --process-id go with --coordinator"),
        (("--coordinator", "localhost:1", "--distributed"), "leave --distributed out"),
        (("--output", "gs://bucket/run"), "buckets are read and written as folders; mount it"),
        (("--num-steps", 0), "--num-steps must be at least 1"),
        (("--clip-norm", 0), "--clip-norm must be positive"),
    ],
)
def test_options_that_cannot_be_are_one_line(script, inputs, tmp_path, more, message):
    result = call(script, *arguments(inputs, tmp_path / "run", *more))
    assert result.status == 2
    errors = [line for line in result.err.splitlines() if "error" in line]
    assert len(errors) == 1
    assert message in errors[0]
    assert not (tmp_path / "run").exists()


def test_other_options_than_the_runs_are_refused(script, inputs, finished):
    result = call(script, *arguments(inputs, finished[0]))
    assert "holds a run already; --resume continues it" in result.err
    result = call(script, *arguments(inputs, finished[0], "--resume", "--seed", 4))
    assert result.status == 2
    assert "the run was started with seed=0, now seed=4" in result.err


def contents(folder):
    return {path.relative_to(folder): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_a_new_run_writes_over_nothing(script, inputs, finished, tmp_path):
    """Not over the model that it starts from, nor over any other file."""
    model = tmp_path / "model"
    model.mkdir()
    for name in ("config.json", "model.safetensors", "vocab.txt"):
        shutil.copy(finished[0] / name, model)
    for output, more in ((model, ("--checkpoint", model)), (model, ()), (inputs / "shards", ()), (inputs, ())):
        before = contents(output)
        result = call(script, *arguments(inputs, output, *more))
        assert result.status == 2
        assert "already; a new run goes into a new or empty folder: give another --output." in result.err
        assert contents(output) == before
    result = call(script, *arguments(inputs, model / "vocab.txt"))
    assert (result.status, "vocab.txt: cannot be a folder" in result.err) == (2, True)


def test_a_checkpoint_of_the_first_version_is_read():
    """Its progress as version 0.1.0 wrote it."""
    stored = {"step": 7, "skipped": 1, "seconds": 2.5, "pending": [{"loss": 3.0}], "first": 2, "data": {"last": 6}}
    stored |= {"options": {"seed": 0}, "workers": 0}
    progress = Progress(**stored)
    assert json.loads(json.dumps(vars(progress))) == stored
    progress.count_from_here(2)
    assert vars(progress) == stored | {"workers": 2, "first": 7, "data": None}


def test_shards_that_do_not_fit_the_model_are_refused(script, inputs, finished, tmp_path):
    rows = random_rows(30, 29)
    long = write_shards(tmp_path / "long", rows, 29)
    result = call(script, *arguments(inputs, tmp_path / "run", "--shards", long, "--valid-rows", 2))
    assert "rows of 29 tokens are longer than the model's 23 positions" in result.err
    other = small_vocab()
    other["t999"] = other.pop("t0")
    save_vocab(dict(sorted(other.items(), key=lambda item: item[1])), tmp_path / "vocab.txt")
    foreign = write_shards(tmp_path / "foreign", random_rows(30, T), T, vocab=other)
    more = ("--shards", foreign, "--valid-rows", 2, "--checkpoint", finished[0])
    result = call(script, *arguments(inputs, tmp_path / "run", *more))
    assert "made with another vocabulary" in result.err
    (inputs / "small.json").write_text(json.dumps(CONFIG | {"vocab_size": 50}))
    result = call(script, *arguments(inputs, tmp_path / "run", "--config", inputs / "small.json"))
    assert "rows of 53 tokens do not fit a model of 50" in result.err
    result = call(script, *arguments(inputs, tmp_path / "run", "--shards", tmp_path))
    assert "meta.json: no such file, so the shards are missing or unfinished" in result.err


def two_processes(inputs, output, devices, *more):
    """The command as two processes that are connected."""
    with socket.socket() as free:
        free.bind(("localhost", 0))
        port = free.getsockname()[1]
    root = Path(__file__).parents[2]
    environment = os.environ | {"JAX_NUM_CPU_DEVICES": str(devices), "PYTHONPATH": str(root), "KERAS_BACKEND": "jax"}
    base = [sys.executable, str(root / "pretraining" / "pretrain.py")]
    base += [str(value) for value in arguments(inputs, output, "--mesh", f"data={2 * devices}", *more)]
    base += ["--coordinator", f"localhost:{port}", "--num-processes", "2", "--process-id"]
    return [
        subprocess.Popen([*base, str(i)], env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        for i in range(2)
    ]


def test_a_process_that_is_killed_ends_the_other_with_its_reason(inputs, tmp_path):
    first, second = two_processes(inputs, tmp_path / "run", 1, "--num-steps", 1_000_000, "--valid-rows", 0)
    try:
        for line in first.stderr:
            if "step 8/" in line:
                break
        os.kill(second.pid, signal.SIGKILL)
        started = time.monotonic()
        said = first.communicate(timeout=60)[1]
        assert time.monotonic() - started < 60
    finally:
        first.kill()
        second.kill()
        second.communicate()
    assert first.returncode == 2, said
    assert "error: process 1 of 2 failed: it ended without a word (killed, or its machine was lost)" in said


def test_two_processes_of_two_devices_make_the_curve_of_one(inputs, finished, tmp_path):
    output = tmp_path / "run"
    processes = two_processes(inputs, output, 2)
    ends = [process.communicate(timeout=300) for process in processes]
    assert [process.returncode for process in processes] == [0, 0], ends
    for mine, theirs in zip(logged(output, "loss"), logged(finished[0], "loss"), strict=True):
        assert mine[0] == theirs[0]
        assert (not mine[1]) == (not theirs[1])
        if mine[1]:
            assert float(mine[1]) == pytest.approx(float(theirs[1]), abs=1e-5)
    weights, expected = (load_file(folder / "model.safetensors") for folder in (output, finished[0]))
    for name in expected:
        np.testing.assert_allclose(weights[name], expected[name], atol=1e-4, err_msg=name)


@pytest.mark.parametrize(("held_out", "told"), [(50, True), (5, False)])
def test_a_large_share_of_held_out_rows_is_told(held_out, told, monkeypatch, capsys):
    monkeypatch.setattr(training, "unigram_baseline", lambda *_: {"perplexity": 2.0, "accuracy": 0.5})
    run = SimpleNamespace(rows=range(100), main_objective=None)
    training.tell_baseline(SimpleNamespace(valid_rows=held_out), run)
    *notes, last = capsys.readouterr().err.splitlines()
    assert last == "unigram baseline on the held-out rows: perplexity 2.00, accuracy 50.00%"
    assert notes == ["50 of 100 rows are held out and not trained on; valid_rows 10 would hold out a tenth."] * told
