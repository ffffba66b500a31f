"""Sampling under a condition: speed beside bert4keras' `random_sample` on equal weights.

    python benchmarks/conditional_speed.py --bert4keras ENVIRONMENT/bin/python

BERT-base size, `application="lm"`, conditional norms with a condition of 128 numbers; 16 samples of 64 tokens of one
condition, nucleus 0.95, the end token suppressed. The distributions of the first token are compared before. Each side
runs in a process of its own, one at a time; a time is the best of some runs after a first one (bert4keras: one run
after one of 4 tokens; it takes a minute). ENVIRONMENT: see tests/golden/make_bert4keras_golden.py.
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
from record import BERT_BASE

ROOT = Path(__file__).parent.parent
SAMPLES, NEW, TOP_P, CLS, END = 16, 64, 0.95, 101, 102
CONDITION = np.random.default_rng(4).normal(0, 0.1, 128).astype("float32")
OURS = (("tensorflow", "float32"), ("tensorflow", "bfloat16"), ("jax", "float32"))


def bert4keras(folder: Path, dtype: str) -> dict:
    """bert4keras 0.11.5: makes the weights that both sides read, then samples."""
    from bert4keras.backend import keras, set_gelu
    from bert4keras.models import build_transformer_model
    from bert4keras.snippets import AutoRegressiveDecoder

    set_gelu("erf")
    condition = keras.layers.Input((len(CONDITION),))
    model = build_transformer_model(
        str(folder / "config.json"), application="lm", layer_norm_cond=condition, additional_input_layers=condition
    )
    random = np.random.default_rng(0)
    model.set_weights([random.normal(0, 0.04, w.shape) + ("gamma" in w.name) for w in model.weights])
    model.save_weights(str(folder / "weights.h5"))

    class Decoder(AutoRegressiveDecoder):
        @AutoRegressiveDecoder.wraps("probas")
        def predict(self, inputs, output_ids, states):
            token_ids = np.concatenate([np.full((len(output_ids), 1), CLS), output_ids], 1).astype("int32")
            conditions = np.repeat(CONDITION[None], len(token_ids), axis=0)
            last = self.last_token(model)
            p = last.predict([token_ids, np.zeros_like(token_ids), conditions], verbose=0)
            p[:, [0, END]] = 0
            return p / p.sum(axis=1, keepdims=True)

    first = Decoder(None, END, 4)
    probability = first.predict([CONDITION], np.zeros((1, 0), "int32"), None)[0][0]
    first.random_sample([CONDITION], SAMPLES, topp=TOP_P)
    start = time.perf_counter()
    found = Decoder(None, END, NEW).random_sample([CONDITION], SAMPLES, topp=TOP_P)
    seconds = time.perf_counter() - start
    assert [len(one) for one in found] == [NEW] * SAMPLES
    return {"seconds": seconds, "first": probability.astype(float).tolist()}


def ours(folder: Path, dtype: str) -> dict:
    """This library, on the backend of this process."""
    from keras import ops

    from nlptasks import build_transformer_model
    from nlptasks.generate import Generator, Sampling, forbid

    model = build_transformer_model(
        folder / "config.json",
        folder / "weights.h5",
        application="lm",
        with_mlm="linear",
        layer_norm_cond_size=len(CONDITION),
    )
    inputs = [np.array([[CLS]]), np.array([[0]]), CONDITION[None]]
    logits = ops.convert_to_numpy(model(inputs))[0, 0].astype("float64")
    logits[[0, END]] = -np.inf
    first = np.exp(logits - logits.max())
    generator = Generator(model, END, dtype=dtype)
    search, times = Sampling(count=SAMPLES, top_p=TOP_P, seed=1), []
    for _ in range(4):
        start = time.perf_counter()
        [found] = generator.generate(
            [[CLS]], search, max_length=NEW, constraints=[forbid([END])], conditions=CONDITION[None]
        )
        times.append(time.perf_counter() - start)
    assert [len(one.tokens) for one in found] == [NEW] * SAMPLES
    return {"seconds": min(times[1:]), "first": (first / first.sum()).tolist()}


def launch(python: str, side: str, folder: Path, dtype: str = "float32", backend: str = "tensorflow") -> dict:
    """What one side found."""
    environment = os.environ | {"KERAS_BACKEND": backend, "TF_KERAS": "1", "TF_CPP_MIN_LOG_LEVEL": "3"}
    command = [python, __file__, "--side", side, "--folder", str(folder), "--dtype", dtype]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    if done.returncode:
        sys.exit(done.stderr)
    return json.loads(done.stdout.splitlines()[-1])


def measure(python: str) -> dict:
    """Seconds of each side, and the largest distance of log probabilities of the first token in float32."""
    with tempfile.TemporaryDirectory() as directory:
        folder = Path(directory)
        (folder / "config.json").write_text(json.dumps(BERT_BASE), encoding="utf-8")
        theirs = launch(python, "bert4keras", folder)
        seconds, distance = {"bert4keras": theirs["seconds"]}, 0.0
        for backend, dtype in OURS:
            mine = launch(sys.executable, "ours", folder, dtype, backend)
            seconds[f"nlptasks, {backend}, {dtype}"] = mine["seconds"]
            allowed = np.array(mine["first"]) > 0
            logs = [np.log(np.array(one["first"])[allowed]) for one in (mine, theirs)]
            distance = max(distance, float(np.abs(logs[0] - logs[1]).max()))
    if distance > 1e-3:
        sys.exit(f"the sides compute different distributions (by {distance} nats); nothing is recorded.")
    return {"seconds": seconds, "distance": distance}


def main() -> None:
    """Runs one side, or all of them."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--bert4keras", help="the Python of an environment with bert4keras")
    for hidden in ("--side", "--folder", "--dtype"):
        parser.add_argument(hidden, help=argparse.SUPPRESS)
    options = parser.parse_args()
    sys.path.insert(0, str(ROOT))
    if options.side:
        side = {"ours": ours, "bert4keras": bert4keras}[options.side]
        print(json.dumps(side(Path(options.folder), options.dtype)))
    elif options.bert4keras:
        print(json.dumps(measure(options.bert4keras), indent=1))
    else:
        parser.error("give --bert4keras ENVIRONMENT/bin/python")


if __name__ == "__main__":
    main()
