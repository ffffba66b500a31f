"""Titles a second beside bert4keras' autotitle recipe on equal random weights, after the tokens were compared.

    python benchmarks/seq2seq_speed.py --bert4keras ENVIRONMENT/bin/python --output benchmarks/seq2seq_speed.md

BERT-base size, UNILM, sources of 128 tokens, 32 new tokens with the end token suppressed. bert4keras decodes one source
at a time, as its `task_seq2seq_autotitle` does; ours decodes 16 together, and one for comparison. A training step is of
8 pairs of 128 + 32 tokens. Each side runs in a process of its own, one at a time; a time is the best of two runs after
a first one (bert4keras: of one). ENVIRONMENT: see tests/golden/make_bert4keras_golden.py.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
from record import BERT_BASE, surroundings

ROOT = Path(__file__).parent.parent
CLS, END, SOURCE, NEW, TOGETHER, BEAMS, PAIRS = 101, 102, 128, 32, 16, 3, 8


def sources(count: int) -> np.ndarray:
    """`[CLS] ... [SEP]` of random tokens `(count, SOURCE)`."""
    ids = np.random.default_rng(1).integers(200, 21000, (count, SOURCE))
    ids[:, 0], ids[:, -1] = CLS, END
    return ids


def targets() -> np.ndarray:
    """Random tokens and an end `(PAIRS, NEW)`."""
    ids = np.random.default_rng(2).integers(200, 21000, (PAIRS, NEW))
    ids[:, -1] = END
    return ids


def timed(function, repeats: int) -> tuple:
    """What the first call gives, and the best time of the later ones."""
    result, times = function(), []
    for _ in range(repeats):
        start = time.perf_counter()
        function()
        times.append(time.perf_counter() - start)
    return result, min(times)


def bert4keras(folder: Path) -> dict:
    """bert4keras 0.11.5: makes the weights that both sides read, then writes titles and trains."""
    import tensorflow as tf

    tf.keras.optimizers.Optimizer = tf.keras.optimizers.legacy.Optimizer  # the class that its optimizers extend
    from bert4keras.backend import K, keras, set_gelu
    from bert4keras.layers import Loss
    from bert4keras.models import build_transformer_model
    from bert4keras.optimizers import Adam
    from bert4keras.snippets import AutoRegressiveDecoder

    set_gelu("erf")
    model = build_transformer_model(str(folder / "config.json"), application="unilm")
    random = np.random.default_rng(0)
    model.set_weights([random.normal(0, 0.04, w.shape) + ("gamma" in w.name) for w in model.weights])
    model.save_weights(str(folder / "weights.h5"))

    class AutoTitle(AutoRegressiveDecoder):
        @AutoRegressiveDecoder.wraps(default_rtype="probas")
        def predict(self, inputs, output_ids, states):
            token_ids, segment_ids = inputs
            token_ids = np.concatenate([token_ids, output_ids], 1)
            segment_ids = np.concatenate([segment_ids, np.ones_like(output_ids)], 1)
            p = self.last_token(model).predict([token_ids, segment_ids], verbose=0)
            p[:, [0, END]] = 0
            return p

    title, ids = AutoTitle(None, END, NEW), sources(2)
    found = {}
    for name, topk in (("greedy", 1), ("beam", BEAMS)):
        title.beam_search([ids[0], np.zeros(SOURCE, int)], topk=topk)
        start = time.perf_counter()
        written = title.beam_search([ids[1], np.zeros(SOURCE, int)], topk=topk)
        found[name] = {"titles_per_second": 1 / (time.perf_counter() - start), "tokens": np.array(written).tolist()}

    class CrossEntropy(Loss):
        def compute_loss(self, inputs, mask=None):
            y_true, y_mask, y_pred = inputs
            loss = K.sparse_categorical_crossentropy(y_true[:, 1:], y_pred[:, :-1])
            y_mask = K.cast(y_mask[:, 1:], K.floatx())
            return K.sum(loss * y_mask) / K.sum(y_mask)

    output = CrossEntropy(2)(model.inputs + model.outputs)
    trained = keras.models.Model(model.inputs, output)
    trained.compile(optimizer=Adam(1e-5))
    rows = np.concatenate([sources(PAIRS), targets()], axis=1)
    segments = np.repeat([[0] * SOURCE + [1] * NEW], PAIRS, axis=0)
    loss, seconds = timed(lambda: float(trained.train_on_batch([rows, segments])), 1)
    return found | {"loss": loss, "pairs_per_second": PAIRS / seconds}


def ours(folder: Path) -> dict:
    """This library, on the backend of this process."""
    from nlptasks import build_transformer_model
    from nlptasks.applications.seq2seq_loss import target_batch, target_loss
    from nlptasks.backend import compile_train_step
    from nlptasks.generate import BeamSearch, Generator, Greedy, forbid
    from nlptasks.train.optimizers import make_adam

    paths, more = (folder / "config.json", folder / "weights.h5"), {"application": "unilm", "with_mlm": "linear"}
    model = build_transformer_model(*paths, dropout=0.0, attention_dropout=0.0, **more)
    generator, found = Generator(model, END, batch_size=TOGETHER), {}
    for name, search in (("greedy", Greedy()), ("beam", BeamSearch(size=BEAMS, length_penalty=0.0))):
        for count in (1, TOGETHER):
            ids = sources(max(2, count))[1 : 1 + count] if count == 1 else sources(count)
            call = {"max_length": NEW, "constraints": [forbid([END])]}
            written, seconds = timed(lambda: generator.generate(ids.tolist(), search, **call), 2)  # noqa: B023 - called here
            place = 0 if count == 1 else 1
            found[f"{name}_{count}"] = {
                "titles_per_second": count / seconds,
                "tokens": [int(token) for token in written[place][0].tokens],
            }
    optimizer = make_adam(1e-5, 1)
    step = compile_train_step(model, optimizer, lambda batch: target_loss(model, batch))
    batch = target_batch(sources(PAIRS), targets())
    loss, seconds = timed(lambda: float(step(batch)), 2)
    return found | {"loss": loss, "pairs_per_second": PAIRS / seconds}


def launch(python: str, side: str, folder: Path, backend: str = "tensorflow") -> dict:
    """What one side found."""
    environment = os.environ | {"KERAS_BACKEND": backend, "TF_KERAS": "1", "TF_CPP_MIN_LOG_LEVEL": "3"}
    if side == "ours":
        environment["PYTHONPATH"] = str(ROOT)
    done = subprocess.run(
        [python, __file__, "--side", side, "--folder", str(folder)],
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        sys.exit(done.stderr)
    return json.loads(done.stdout.splitlines()[-1])


def record(theirs: dict, mine: dict[str, dict]) -> list[str]:
    """The tables; tokens that differ end the program."""
    for backend, found in mine.items():
        for name in ("greedy", "beam"):
            for count in (1, TOGETHER):
                if found[f"{name}_{count}"]["tokens"] != theirs[name]["tokens"]:
                    sys.exit(f"{backend}, {name}, {count} together: other tokens than bert4keras; nothing is recorded.")
    lines = [
        "# Titles a second",
        "",
        f"Made by `python benchmarks/seq2seq_speed.py --bert4keras ENVIRONMENT/bin/python`, {surroundings('keras')}. "
        f"BERT-base size, sources of {SOURCE} tokens, {NEW} new tokens; tokens of all sides are equal.",
        "",
        "| case | side | a second | times bert4keras |",
        "|---|---|---|---|",
    ]
    for name in ("greedy", "beam"):
        base = theirs[name]["titles_per_second"]
        lines.append(f"| {name} | bert4keras, one at a time | {base:.3f} | 1 |")
        for backend, found in mine.items():
            for count in (1, TOGETHER):
                rate = found[f"{name}_{count}"]["titles_per_second"]
                lines.append(f"| {name} | {backend}, {count} together | {rate:.2f} | {rate / base:.1f} |")
    base = theirs["pairs_per_second"]
    lines.append(f"| training step | bert4keras (loss {theirs['loss']:.4f}) | {base:.2f} | 1 |")
    for backend, found in mine.items():
        rate = found["pairs_per_second"]
        lines.append(f"| training step | {backend} (loss {found['loss']:.4f}) | {rate:.2f} | {rate / base:.2f} |")
    return lines


def main() -> None:
    """Runs both sides, one after the other."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--bert4keras", help="the Python of an environment with bert4keras")
    parser.add_argument("--backends", nargs="+", default=["tensorflow", "jax"])
    parser.add_argument("--output", type=Path, help="file of the record")
    parser.add_argument("--side", help=argparse.SUPPRESS)
    parser.add_argument("--folder", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.side is not None:
        print(json.dumps({"bert4keras": bert4keras, "ours": ours}[options.side](options.folder)))
        return
    with tempfile.TemporaryDirectory() as directory:
        folder = Path(directory)
        config = BERT_BASE | {"hidden_dropout_prob": 0.0, "attention_probs_dropout_prob": 0.0}  # losses are compared
        (folder / "config.json").write_text(json.dumps(config), encoding="utf-8")
        theirs = launch(options.bert4keras, "bert4keras", folder)
        mine = {backend: launch(sys.executable, "ours", folder, backend) for backend in options.backends}
    lines = record(theirs, mine)
    print("\n".join(lines))
    if options.output is not None:
        options.output.write_text("\n".join(lines) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
