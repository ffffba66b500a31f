"""A large model made small under the masked-LM loss: every method learns, ends where it was told, and writes it all."""

import tests.pretraining.jax_only  # noqa: F401, I001

import json
import sys
import time
from pathlib import Path

import keras
import numpy as np
import pytest
from safetensors.numpy import load_file

ROOT = Path(__file__).parents[2]
sys.path[:0] = [str(ROOT / "benchmarks")]

import compress_mlm  # noqa: E402
from compress_mlm import Train  # noqa: E402
from masked_lm import ORIGIN, card  # noqa: E402

from nlptasks.applications.compression.theseus import Theseus  # noqa: E402
from nlptasks.checkpoints.huggingface import save_directory  # noqa: E402
from nlptasks.core import Transformer, TransformerConfig  # noqa: E402
from nlptasks.loading import build_transformer_model  # noqa: E402
from nlptasks.pretraining.shards import vocab_fingerprint  # noqa: E402
from nlptasks.text import Tokenizer  # noqa: E402
from tests.pretraining.shard_cases import SPECIALS, random_rows  # noqa: E402

T, V, NEVER = 23, 61, 11  # tokens that no row has
DOMAINS = ("letters", "notes")
SETTINGS = {
    "layers": 2, "batch_size": 16, "learning_rate": 2e-2, "precision": "float32", "held_out_rows": 10,
    "log_steps": 5, "scorings": 2, "tokens": 12_000, "warmup_share": 0.1,
}  # fmt: skip


def words(size=V):
    """Rare ideographs, which no rule keeps."""
    return {token: i for i, token in enumerate([*SPECIALS, *(chr(0x3400 + i) for i in range(size - len(SPECIALS)))])}


def uneven_rows(count):
    """Rows whose tokens are mostly the same few: that is learned in some steps."""
    random, rows = np.random.default_rng(7), random_rows(count, T, V - NEVER)
    for row in rows:
        row.token_ids[1:-1] = np.minimum(5 + random.geometric(0.3, len(row.token_ids) - 2), V - NEVER - 1)
    rows[0].token_ids[1:6] = np.arange(5, 10)
    return [*rows, *random_rows(60, T, V - NEVER)]


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """A model of 4 layers that has learned nothing, and rows."""
    folder = tmp_path_factory.mktemp("large")
    keras.utils.set_random_seed(5)
    sizes = {"hidden_size": 32, "num_layers": 4, "num_heads": 2, "ffn_size": 48, "max_positions": 67}
    model = Transformer(TransformerConfig(vocab_size=V, initializer_range=0.1, **sizes), with_mlm="linear")
    model.build()
    save_directory(model, folder / "model", dtype="float32")
    Tokenizer(words()).save(folder / "model")
    told = [*ORIGIN, "nine tokens of Chinese text."]
    (folder / "model" / "README.md").write_text(card("A large model", told, []), encoding="utf-8")
    rows = uneven_rows(240)
    held_out = np.arange(len(rows)) % 9 == 0
    arrays = {name: np.concatenate([getattr(row, name) for row in rows]) for name in rows[0]._fields}
    arrays |= {
        "lengths": np.array([len(row.token_ids) for row in rows]),
        "domains": np.arange(len(rows)) % 2,
        "held_out": held_out,
        "names": np.array(DOMAINS),
        "of": np.array(f"{vocab_fingerprint(words())} {T} None"),
    }
    np.savez(folder / "rows.npz", **arrays)
    return folder


def train(files, output, method, **changes):
    """Runs it; returns the result and the lines of the log."""
    settings = SETTINGS | changes
    Train(model=files / "model", rows=files / "rows.npz", output=output, method=method, **settings).run()
    lines = (output / "log.jsonl").read_text(encoding="utf-8").splitlines()
    return json.loads((output / "result.json").read_text(encoding="utf-8")), [json.loads(line) for line in lines]


def mean(line):
    return line["held_out"]["mean of domains"]["loss"]


@pytest.mark.parametrize("method", ["theseus", "layers", "distil"])
def test_every_method_lowers_the_loss_and_writes_a_whole_model(files, tmp_path, method):
    more = {"theseus": {"unilm_every": 3}, "distil": {"precision": "bfloat16"}, "layers": {}}[method]
    result, log = train(files, tmp_path, method, vocab_cut=True, min_count=1, entries=V, **more)
    scored = [line for line in log if "held_out" in line]
    assert [line["phase"] for line in scored][:: len(scored) - 1] == ["start", "end"]
    assert mean(scored[-1]) < mean(scored[0]) - 0.4
    assert set(scored[-1]["held_out"]) == {*DOMAINS, "mean of domains"}
    assert {"loss", "accuracy", "tokens", "tokens_per_second", "learning_rate"} <= set(log[1])
    assert 12_000 <= result["tokens"] < 12_000 + 16 * T
    assert result["held_out"] == scored[-1]["held_out"]
    assert result["vocabulary"] == V - NEVER
    assert result["unknown_share"] == 0
    assert len(result["first_step_seconds"]) == (4 if method == "theseus" else 1)
    tensors = load_file(tmp_path / "model.safetensors")
    assert {array.dtype.name for array in tensors.values()} == {"float16"}
    config = json.loads((tmp_path / "config.json").read_text(encoding="utf-8"))
    assert (config["num_hidden_layers"], config["hidden_dropout_prob"], config["dtype"]) == (2, 0.1, "float16")
    assert Tokenizer.from_directory(tmp_path).vocab_size == config["vocab_size"] == V - NEVER
    for attention in ("bidirectional", "unilm"):
        model = build_transformer_model(tmp_path, tmp_path, with_mlm="linear", attention=attention)
        logits = np.asarray(model([np.array([[2, 9, 3]]), np.zeros((1, 3), "int32")]))
        assert logits.shape == (1, 3, V - NEVER)
    text = (tmp_path / "README.md").read_text(encoding="utf-8")
    assert text.startswith("# Chinese characters, 2 layers x 32\n")
    assert "## A large model, of which it was made\n\nThe encoder of multilingual-e5-small" in text
    assert text.count("Copyright (c) 2023 Intfloat") == 1


def test_a_time_limit_ends_the_run_with_a_rate_near_zero(files, tmp_path):
    began = time.monotonic()
    result, log = train(files, tmp_path, "layers", tokens=None, seconds=1.5, log_steps=1)
    assert 1.5 <= result["seconds"] < 3
    assert result["wall_seconds"] <= time.monotonic() - began
    rates = [line["learning_rate"] for line in log if "learning_rate" in line]
    assert max(rates) == pytest.approx(SETTINGS["learning_rate"], rel=0.2)
    assert rates[-1] < 0.2 * max(rates)


def test_time_limit_may_count_everything(files, tmp_path):
    result, _ = train(files, tmp_path, "layers", tokens=None, seconds=2.0, count_all=True)
    assert result["seconds"] >= 2
    assert result["wall_seconds"] - result["seconds"] < 0.5


def test_first_part_of_theseus_changes_new_layers_alone_and_ends_as_they_are_alone(files, tmp_path, monkeypatch):
    held = {}
    phases = Train._phases

    def first_only(self, teacher):
        found = phases(self, teacher)
        held.update(teacher=teacher, student=self._student, theseus=found[0].model)
        held["before"] = [np.asarray(v) for v in teacher.weights + self._student.embeddings.weights]
        return [found[0]._replace(end=1.0)]

    monkeypatch.setattr(Train, "_phases", first_only)
    _, log = train(files, tmp_path, "theseus")
    shares = [line["replacement_rate"] for line in log if "replacement_rate" in line]
    assert shares == sorted(shares)
    assert shares[0] < 0.65
    assert shares[-1] > 0.95
    teacher, student, theseus = held["teacher"], held["student"], held["theseus"]
    assert isinstance(theseus, Theseus)
    for before, weight in zip(held["before"], teacher.weights + student.embeddings.weights, strict=True):
        np.testing.assert_array_equal(before, np.asarray(weight))
    token_ids = np.random.default_rng(2).integers(5, V, (3, T), "int32")
    token_ids[1, 13:] = 0
    alone = np.asarray(student.encode(token_ids))
    np.testing.assert_allclose(np.asarray(theseus.encode(token_ids, rate=1.0)), alone, atol=1e-6)
    saved = build_transformer_model(tmp_path, tmp_path, with_mlm="linear")
    np.testing.assert_allclose(np.asarray(saved.encode(token_ids)), alone, atol=0.02)
    assert np.abs(np.asarray(theseus.encode(token_ids, rate=0.0)) - alone).max() > 0.1


def test_same_run_twice_in_half_precision_gives_the_same_model(files, tmp_path):
    for name in "ab":
        train(files, tmp_path / name, "theseus", tokens=2000, precision="bfloat16")
    ours, theirs = (load_file(tmp_path / name / "model.safetensors") for name in "ab")
    for name in ours:
        np.testing.assert_array_equal(ours[name], theirs[name], err_msg=name)


def test_rows_of_another_vocabulary_and_a_run_without_an_end_are_refused(files, tmp_path, capsys):
    other = tmp_path / "other"
    save_directory(build_transformer_model(files / "model", files / "model", with_mlm="linear"), other)
    Tokenizer(dict(zip(words(), [*range(V - 2), V - 1, V - 2], strict=True))).save(other)
    line = ["train", "--rows", str(files / "rows.npz"), "--output", str(tmp_path / "out"), "--method", "layers"]
    assert compress_mlm.main([*line, "--model", str(other), "--tokens", "9"]) == 2
    assert "another vocabulary" in capsys.readouterr().err
    assert compress_mlm.main([*line, "--model", str(files / "model")]) == 2
    assert "either --tokens or --seconds" in capsys.readouterr().err


@pytest.mark.parametrize("bits", [8, 4])
def test_packed_model_has_a_card_with_its_distance_and_scores(files, tmp_path, bits):
    train(files, tmp_path / "small", "layers", tokens=2000)
    given = ["--model", tmp_path / "small", "--output", tmp_path / "packed", "--bits", bits, "--held-out-rows", 10]
    given += ["--rows", files / "rows.npz", "--source", files / "model"]
    assert compress_mlm.main(["pack", *map(str, given)]) == 0
    text = (tmp_path / "packed" / "README.md").read_text(encoding="utf-8")
    assert f"{bits} bits" in text
    assert "hidden states off by" in text
    assert "| float16 |" in text
    assert "Copyright (c) 2023 Intfloat" in text
    assert json.loads((tmp_path / "packed" / "config.json").read_text(encoding="utf-8"))["dtype"] == f"{bits} bits"


def test_common_characters_letters_and_marks_are_kept_whatever_the_rows_have():
    tokens = [*SPECIALS, "的", "麤", "，", "7", "a", "##a", "##ab", "abc"]
    vocab = {token: i for i, token in enumerate(tokens)}
    found = compress_mlm.cut_vocab(vocab, np.array([12, 12, 12]), entries=11, min_count=1)
    assert list(found) == [*SPECIALS, "的", "，", "7", "a", "##a", "abc"]
    assert [tokens[i] for i in found.values()] == list(found)
