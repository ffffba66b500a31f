"""Rows travel unchanged, batches follow from their number, and a run within a time learns and leaves a whole model."""

import tests.pretraining.jax_only  # noqa: F401, I001

import json
import sys
from pathlib import Path

import numpy as np
import pytest

sys.path[:0] = [str(Path(__file__).parents[2] / "benchmarks")]

import gpu  # noqa: E402

from nlptasks.checkpoints.huggingface import save_directory  # noqa: E402
from nlptasks.core import Transformer, TransformerConfig  # noqa: E402
from nlptasks.loading import build_transformer_model  # noqa: E402
from nlptasks.text import Tokenizer  # noqa: E402
from tests.pretraining.shard_cases import SPECIALS, random_rows  # noqa: E402

T, V = 24, 60


def words():
    return {token: i for i, token in enumerate([*SPECIALS, *(chr(0x3400 + i) for i in range(V - len(SPECIALS)))])}


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """rows.npz, rows.xz, and the directory of a small model without a masked-LM head."""
    folder = tmp_path_factory.mktemp("gpu")
    config = TransformerConfig(
        vocab_size=V, hidden_size=32, num_layers=2, num_heads=2, ffn_size=32, max_positions=T, dropout=0.1
    )
    model = Transformer(config)
    model.build()
    save_directory(model, folder / "model")
    Tokenizer(words()).save(folder / "model")
    rows = random_rows(200, T, 20)
    arrays = {name: np.concatenate([getattr(row, name) for row in rows]) for name in rows[0]._fields}
    arrays |= {"lengths": np.array([len(row.token_ids) for row in rows]), "domains": np.arange(200) % 2}
    arrays |= {"held_out": np.arange(200) % 9 == 0, "names": np.array(["letters", "notes"])}
    np.savez(folder / "rows.npz", of=np.array("any"), **arrays)
    gpu.Pack(rows=folder / "rows.npz", output=folder / "rows.xz").run()
    return folder


def feed_of(files, **changes):
    settings = {
        "rows": files / "rows.xz", "vocab": words(), "seq_length": T, "mask_rate": 0.2, "batch_size": 8,
        "unilm_every": 3, "power": 0.5, "seed": 5, "batches": 6,
    }  # fmt: skip
    return gpu.Feed(**settings | changes)


def test_packed_rows_are_those_that_were_packed(files):
    with np.load(files / "rows.npz") as file:
        arrays = {name: file[name] for name in file.files if name != "of"}
    back = gpu.unpack_rows(files / "rows.xz")
    assert back.keys() == arrays.keys()
    assert all(np.array_equal(array, back[name]) for name, array in arrays.items())


def test_no_held_out_row_is_trained_on_and_every_row_comes_once_a_pass(files):
    rows = gpu.Rows(gpu.unpack_rows(files / "rows.xz"))
    order = gpu.training_order(rows, 0.5, 1, 400)
    assert not rows.held_out[order].any()
    own = order[rows.domains[order] == 0]
    count = int((~rows.held_out & (rows.domains == 0)).sum())
    assert len(set(own[:count])) == count


def test_batches_of_processes_are_those_of_one(files):
    feed = feed_of(files)
    gpu._begin(feed)
    alone = [gpu._make(number) for number in range(feed.batches)]
    made = list(gpu.batches(feed, 2))
    assert [batch["token_ids"].shape for batch in made] == [(1, 8, T), (1, 8, T), (2, 4, T)] * 2
    for one, other in zip(alone, made, strict=True):
        assert all(np.array_equal(array, other[name]) for name, array in one.items())


def test_a_run_within_a_time_learns_and_leaves_a_whole_model(files, tmp_path):
    run = gpu.Train(
        checkpoint=files / "model", rows=files / "rows.xz", output=tmp_path, seconds=600, reserve=0, seq_length=T,
        batch_size=16, learning_rate=1e-2, head_learning_rate=1e-2, head_steps=8, most_steps=120, held_out=10,
        precision="float32", processes=1, log_steps=10,
    )  # fmt: skip
    run.run()
    result = json.loads((tmp_path / "result.json").read_text(encoding="utf-8"))
    assert result["after"]["loss"] < result["before"]["loss"] - 0.3
    assert set(result["after"]["domains"]) == {"letters", "notes"}
    assert result["steps"] == 112
    model = build_transformer_model(tmp_path / "model", tmp_path / "model", with_mlm="linear")
    assert (model.config.num_layers, model.config.dropout) == (2, 0.1)
    assert "MIT License" in (tmp_path / "model" / "README.md").read_text(encoding="utf-8")


def test_a_model_with_a_head_goes_on_with_it(files, tmp_path):
    settings = {
        "rows": files / "rows.xz", "seconds": 600, "reserve": 0, "seq_length": T, "batch_size": 16,
        "learning_rate": 1e-2, "head_steps": 8, "held_out": 10, "precision": "float32", "processes": 1,
    }  # fmt: skip
    results = []
    for name, checkpoint, steps in (("first", files / "model", 80), ("second", tmp_path / "first" / "model", 1)):
        (tmp_path / name).mkdir()
        gpu.Train(checkpoint=checkpoint, output=tmp_path / name, most_steps=steps, **settings).run()
        results.append(json.loads((tmp_path / name / "result.json").read_text(encoding="utf-8")))
    assert results[1]["before"] is None
    assert abs(results[1]["after"]["loss"] - results[0]["after"]["loss"]) < 0.1
