"""The trainer of raw text: a killed run ends as an undisturbed one, its counts, and what it leaves out."""

import gzip
import json
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import keras
import numpy as np
import pytest
from safetensors.numpy import load_file

ROOT = Path(__file__).parents[2]
SCRIPT = ROOT / "benchmarks" / "masked_lm.py"
sys.path[:0] = [str(ROOT / "benchmarks"), str(ROOT / "data")]

import no_leakage  # noqa: E402
from make_corpus import sentence  # noqa: E402

SCORED = "清晨，修表匠在山顶气象站找到了一只铜钟。只此一句，别处没有！"
OPTIONS = {
    "tokens": 9000,
    "head-tokens": 3000,
    "warmup-tokens": 500,
    "learning-rate": 3e-3,
    "batch-size": 7,
    "seq-length": 40,
    "evaluate-tokens": 4000,
    "held-out-rows": 5,
    "log-steps": 5,
    "save-seconds": 0,
}
OPTIONS = [part for name, value in OPTIONS.items() for part in (f"--{name}", value)]


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    """A data folder with two domains, one scored file and a bare encoder."""
    from nlptasks.checkpoints.huggingface import save_directory
    from nlptasks.core import Transformer, TransformerConfig
    from nlptasks.text import build_character_vocab, save_vocab

    folder, choose = tmp_path_factory.mktemp("data"), random.Random(3)
    texts = {name: ["".join(sentence(choose) for _ in range(3)) for _ in range(150)] for name in ("letters", "notes")}
    texts["notes"][:3] = [
        "修表匠在城里，只此一句，别处没有！" + texts["notes"][0],
        SCORED.replace("，", " , "),
        "只此一句，别处没有！",
    ]
    for name, documents in texts.items():
        path = folder / "text" / f"{name}.jsonl.gz"
        path.parent.mkdir(exist_ok=True)
        lines = "".join(json.dumps({"text": text}, ensure_ascii=False) + "\n" for text in documents)
        path.write_bytes(gzip.compress(lines.encode()))
    (folder / "classification").mkdir()
    scored = json.dumps({"text": SCORED, "label": "1"}, ensure_ascii=False)
    (folder / "classification" / "tnews_dev.jsonl").write_text(scored + "\n", encoding="utf-8")
    vocab = build_character_vocab([*texts["letters"], *texts["notes"]])
    sizes = {"hidden_size": 30, "num_layers": 2, "num_heads": 5, "ffn_size": 41, "max_positions": 43}
    keras.utils.set_random_seed(3)
    model = Transformer(TransformerConfig(vocab_size=len(vocab), **sizes))
    model.build()
    save_directory(model, folder / "checkpoints" / "characters")
    save_vocab(vocab, folder / "checkpoints" / "characters" / "vocab.txt")
    return folder


def run_script(data, *arguments):
    import masked_lm

    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("NLPTASKS_DATA", str(data))
        return masked_lm.main([str(part) for part in arguments])


def log(state):
    """The lines of the log, less those that tell the time."""
    lines = [json.loads(line) for line in (state / "log.jsonl").read_text(encoding="utf-8").splitlines()]
    return [{k: v for k, v in line.items() if not k.startswith("tokens_per")} for line in lines]


@pytest.fixture(scope="module")
def undisturbed(data, tmp_path_factory):
    state = tmp_path_factory.mktemp("undisturbed")
    assert run_script(data, "train", "--state", state, *OPTIONS) == 0
    return state


def kill_at_line(data, state, lines):
    """Runs the training in a process of its own, and kills it when its log has so many lines."""
    process = subprocess.Popen(
        [sys.executable, str(SCRIPT), "train", "--state", str(state), *map(str, OPTIONS)],
        env=os.environ | {"NLPTASKS_DATA": str(data), "KERAS_BACKEND": "tensorflow", "PYTHONPATH": str(ROOT)},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    deadline = time.monotonic() + 300
    while not (state / "log.jsonl").is_file() or len(log(state)) < lines:
        assert process.poll() is None
        assert time.monotonic() < deadline
        time.sleep(0.02)
    process.send_signal(signal.SIGKILL)
    process.communicate()


def end_at_line(data, state, lines, monkeypatch):
    """Runs the training in this process until its log has so many lines, where it ends without saving anything."""
    import masked_lm

    class Ended(Exception):
        pass

    record = masked_lm.Train._record

    def record_and_end(self, progress, *arguments, **options):
        record(self, progress, *arguments, **options)
        if len(progress.history) == lines:
            raise Ended

    monkeypatch.setattr(masked_lm.Train, "_record", record_and_end)
    with pytest.raises(Ended):
        run_script(data, "train", "--state", state, *OPTIONS)
    monkeypatch.undo()


def test_run_that_ended_anywhere_goes_on_and_ends_as_an_undisturbed_one(data, undisturbed, tmp_path, monkeypatch):
    end_at_line(data, tmp_path, 4, monkeypatch)  # in the first phase
    kill_at_line(data, tmp_path, 14)  # in the second
    assert run_script(data, "train", "--state", tmp_path, *OPTIONS) == 0
    assert log(tmp_path) == log(undisturbed)
    ours, theirs = (load_file(folder / "state.safetensors") for folder in (tmp_path, undisturbed))
    assert ours.keys() == theirs.keys()
    for name in ours:
        np.testing.assert_array_equal(ours[name], theirs[name], err_msg=name)


def test_loss_falls_and_a_run_exports_what_it_ends_with(data, undisturbed, tmp_path, capsys):
    scored = [line for line in log(undisturbed) if "held_out" in line]
    assert [line["phase"] for line in scored] == ["start", "head alone: before", "all", "all", "end"]
    losses = [line["held_out"]["mean of domains"]["loss"] for line in scored]
    assert losses[-1] < min(losses[:2]) - 0.1
    assert run_script(data, "export", "--state", undisturbed, "--output", tmp_path) == 0
    assert load_file(tmp_path / "model.safetensors")["bert.embeddings.word_embeddings.weight"].dtype == "float16"
    assert "Copyright (c) 2023 Intfloat" in (tmp_path / "README.md").read_text(encoding="utf-8")
    options = ["--state", undisturbed, "--seq-length", 40, "--held-out-rows", 5]
    capsys.readouterr()
    assert run_script(data, "evaluate", "--model", tmp_path, *options) == 0
    found = json.loads(capsys.readouterr().out)
    for name, own in found.items():
        assert own["loss"] == pytest.approx(scored[-1]["held_out"][name]["loss"], abs=0.01)


def test_loss_and_hits_are_those_counted_by_hand(rng):
    from masked_lm import loss_and_hits

    from nlptasks.core import Transformer, TransformerConfig

    V, D, B, T, M = 53, 30, 3, 11, 4
    config = TransformerConfig(vocab_size=V, hidden_size=D, num_layers=2, num_heads=5, ffn_size=41, max_positions=T)
    model = Transformer(config, with_mlm="linear")
    token_ids = rng.integers(1, V, (B, T)).astype("int32")
    positions = np.stack([np.sort(rng.permutation(T)[:M]) for _ in range(B)]).astype("int32")
    weights = np.ones((B, M), "float32")
    weights[1, 2:] = 0
    logits = np.asarray(model([token_ids, np.zeros_like(token_ids)]), "float64")
    targets = rng.integers(1, V, (B, M)).astype("int32")
    targets[0, 0] = logits[0, positions[0, 0]].argmax()  # one right, and one that does not count
    targets[1, 3] = logits[1, positions[1, 3]].argmax()
    loss, hits = 0.0, 0
    for row in range(B):
        for place, target in list(zip(positions[row], targets[row], strict=True))[: 2 if row == 1 else M]:
            scores = logits[row, place]
            loss += np.log(np.exp(scores).sum()) - scores[target]
            hits += scores.argmax() == target
    batch = {"token_ids": token_ids, "target_positions": positions, "target_ids": targets, "target_weights": weights}
    found = [float(value) for value in loss_and_hits(model, batch, False)]
    assert found == pytest.approx([loss, hits, 10], rel=1e-5)
    assert hits >= 1


def test_scored_documents_and_sentences_are_left_out(data):
    keys = set().union(*no_leakage.evaluation_keys(data).values())
    first, whole, alone, *others = no_leakage.documents(data / "text" / "notes.jsonl.gz")
    assert no_leakage.without(whole, keys) == no_leakage.without(alone, keys) == ""
    assert no_leakage.without(first, keys) == first  # part of a sentence only
    assert no_leakage.without("先说别的。只此一句，别处没有！\n再说别的。", keys) == "先说别的。\n再说别的。"
    assert [no_leakage.without(text, keys) for text in others] == others


def test_held_out_sentences_are_not_trained_on(data):
    from masked_lm import documents, read_domain

    training, held_out = read_domain(documents(data / "text" / "letters.jsonl.gz"), set())
    assert held_out
    sentences = {no_leakage.key(s) for text in held_out for s in no_leakage.split_sentences(text)}
    assert not any(sentences & no_leakage.keys_of(text) for text in training)


def test_other_options_than_those_of_the_state_are_refused(data, undisturbed, capsys):
    assert run_script(data, "train", "--state", undisturbed, *OPTIONS, "--seed", "2") == 2
    refusal = capsys.readouterr().err.splitlines()[-1]
    assert refusal.startswith(f"error: {undisturbed}: the run was started with seed=1, now")
