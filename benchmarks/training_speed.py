"""Speed of a training step and of a forward pass beside bert4keras, KerasHub and transformers.

    python benchmarks/training_speed.py --bert4keras ENVIRONMENT/bin/python --output benchmarks/training_speed.md

BERT-base size, vocabulary 21128, equal weights. A step: 16 x 128 tokens, dropout 0.1, cross-entropy of two classes from
the first position, Adam. A forward pass: 8 x 128 tokens, hidden states, which are compared. Each side runs in a process
of its own, one at a time; medians of `--repeats` runs after a first one. KerasHub must be importable (with it its
dependencies kagglehub and kagglesdk). ENVIRONMENT: see tests/golden/make_bert4keras_golden.py.
"""

import argparse
import collections
import json
import os
import re
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
from record import BERT_BASE

ROOT = Path(__file__).parent.parent
STEP, FORWARD = (16, 128), (8, 128)
SIDES = (
    ("bert4keras", "float32"),
    ("nlptasks", "float32"),
    ("nlptasks", "bfloat16"),
    ("KerasHub", "float32"),
    ("KerasHub", "bfloat16"),
    ("transformers", "float32"),
    ("transformers", "bfloat16"),
    ("products", "float32"),
    ("products", "bfloat16"),
)


def tokens(shape: tuple[int, int]) -> np.ndarray:
    """Token ids without padding."""
    return np.random.default_rng(1).integers(200, 21000, shape).astype("int32")


def labels() -> np.ndarray:
    """Classes of the rows of a step."""
    return np.arange(STEP[0]) % 2


def medians(functions: dict, repeats: int) -> dict[str, float]:
    """Median seconds of each function after a first call."""
    found = {}
    for name, function in functions.items():
        function()
        times = []
        for _ in range(repeats):
            start = time.perf_counter()
            function()
            times.append(time.perf_counter() - start)
        found[name] = float(np.median(times))
    return found


def bert4keras(folder: Path, dtype: str, repeats: int) -> dict:
    """bert4keras 0.11.5; makes the weights that all sides read."""
    from bert4keras.backend import keras, set_gelu
    from bert4keras.models import build_transformer_model

    set_gelu("erf")
    encoder = build_transformer_model(str(folder / "config.json"))
    random = np.random.default_rng(0)
    encoder.set_weights([random.normal(0, 0.04, w.shape) + ("gamma" in w.name) for w in encoder.weights])
    encoder.save_weights(str(folder / "weights.h5"))
    first = keras.layers.Lambda(lambda x: x[:, 0])(encoder.output)
    model = keras.models.Model(encoder.input, keras.layers.Dense(2, activation="softmax")(first))
    model.compile(loss="sparse_categorical_crossentropy", optimizer=keras.optimizers.Adam(1e-5))
    x, y = tokens(STEP), tokens(FORWARD)
    hidden = encoder.predict([y, y * 0], verbose=0)
    functions = {
        "step": lambda: model.train_on_batch([x, x * 0], labels()),
        "forward": lambda: encoder.predict_on_batch([y, y * 0]),
    }
    return medians(functions, repeats) | {"hidden": hidden[:, :4].tolist()}


def operations(function, repeats: int) -> dict[str, float]:
    """Seconds in each kind of TensorFlow's operations in one call of a function."""
    import tensorflow as tf
    from tensorflow.tsl.profiler.protobuf import xplane_pb2

    with tempfile.TemporaryDirectory() as directory:
        tf.profiler.experimental.start(directory)
        for _ in range(repeats):
            function()
        tf.profiler.experimental.stop()
        (path,) = Path(directory).rglob("*.xplane.pb")
        space = xplane_pb2.XSpace.FromString(path.read_bytes())
    seconds = collections.Counter()
    for plane in space.planes:
        for event in (event for line in plane.lines for event in line.events):
            name = plane.event_metadata[event.metadata_id].name
            if (operation := re.search(r"[^:]:(_?[A-Z]\w+)$", name)) and "CPU" in plane.name:
                seconds[operation[1]] += event.duration_ps / 1e12 / repeats
    return dict(seconds.most_common(12))


def nlptasks(folder: Path, dtype: str, repeats: int) -> dict:
    """This library on TensorFlow."""
    import keras
    from keras import ops

    from nlptasks import build_transformer_model
    from nlptasks.applications.encoder_head import EncoderWithHead
    from nlptasks.backend import compile_function, compile_train_step
    from nlptasks.train.optimizers import make_adam
    from nlptasks.train.run import start_run

    start_run(0, dtype)
    transformer = build_transformer_model(folder, folder, skip=("pooler",))
    model = EncoderWithHead(transformer, {"classifier": keras.layers.Dense(2)}, 0.0)
    x, y, targets = tokens(STEP), tokens(FORWARD), labels().astype("int32")

    def loss(batch):
        logits = model.head_layers["classifier"](model.encode(batch["x"], training=True)[:, 0])
        losses = ops.sparse_categorical_crossentropy(batch["y"], ops.cast(logits, "float32"), from_logits=True)
        return ops.mean(losses)

    stored = transformer.stored_as(dtype)
    forward = compile_function(lambda ids: stored(ids), stored)
    hidden = np.array(ops.convert_to_numpy(ops.cast(forward(y), "float32")))
    step = compile_train_step(model, make_adam(1e-5, 1, decay=False), loss)
    functions = {
        "step": lambda: float(step({"x": x, "y": targets})),
        "forward": lambda: ops.convert_to_numpy(ops.cast(forward(y), "float32")),
    }
    found = medians(functions, repeats) | {"hidden": hidden[:, :4].tolist()}
    return found | {"operations": {name: operations(function, repeats) for name, function in functions.items()}}


def kerashub(folder: Path, dtype: str, repeats: int) -> dict:
    """KerasHub on TensorFlow."""
    import keras
    import keras_hub

    keras.config.set_dtype_policy({"float32": "float32", "bfloat16": "mixed_bfloat16"}[dtype])
    backbone = keras_hub.models.BertBackbone.from_preset(str(folder))
    first = backbone.output["sequence_output"][:, 0]
    model = keras.Model(backbone.input, keras.layers.Dense(2, dtype="float32")(first))
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile(loss=loss, optimizer=keras.optimizers.Adam(1e-5), jit_compile=False)

    def inputs(ids):
        return {"token_ids": ids, "segment_ids": ids * 0, "padding_mask": ids * 0 + 1}

    x, y = inputs(tokens(STEP)), inputs(tokens(FORWARD))
    encoder = keras.Model(backbone.input, backbone.output["sequence_output"])
    encoder.compile(jit_compile=False)
    functions = {
        "step": lambda: model.train_on_batch(x, labels()),
        "forward": lambda: encoder.predict_on_batch(y),
    }
    hidden = np.asarray(encoder.predict_on_batch(y), "float32")
    return medians(functions, repeats) | {"hidden": hidden[:, :4].tolist()}


def transformers(folder: Path, dtype: str, repeats: int) -> dict:
    """transformers on PyTorch: weights in float32, bfloat16 by autocast in steps; weights in bfloat16 forward."""
    import torch
    from transformers import BertModel

    torch.manual_seed(0)
    encoder = BertModel.from_pretrained(folder, add_pooling_layer=False)
    head = torch.nn.Linear(768, 2)
    x, y, targets = (torch.tensor(a).long() for a in (tokens(STEP), tokens(FORWARD), labels()))
    optimizer = torch.optim.Adam([*encoder.parameters(), *head.parameters()], lr=1e-5)

    def step():
        encoder.train()
        optimizer.zero_grad()
        with torch.autocast("cpu", torch.bfloat16, enabled=dtype == "bfloat16"):
            logits = head(encoder(x).last_hidden_state[:, 0])
        torch.nn.functional.cross_entropy(logits.float(), targets).backward()
        optimizer.step()

    stored = BertModel.from_pretrained(folder, add_pooling_layer=False).to(getattr(torch, dtype)).train(False)

    def forward():
        with torch.inference_mode():
            return stored(y).last_hidden_state.float().numpy()

    hidden = forward()
    return medians({"step": step, "forward": forward}, repeats) | {"hidden": hidden[:, :4].tolist()}


def products(folder: Path, dtype: str, repeats: int) -> dict:
    """The matrix products of the layers alone, in a step each with both of its gradients."""
    import tensorflow as tf

    shapes = [(768, 768)] * 4 + [(768, 3072), (3072, 768)]
    weights = [tf.Variable(tf.cast(tf.random.normal(shape), dtype)) for _ in range(12) for shape in shapes]

    def inputs(rows, length):
        flat = {size: tf.cast(tf.random.normal((rows * length, size)), dtype) for size in (768, 3072)}
        heads, scores = (tf.cast(tf.random.normal((rows, 12, length, n)), dtype) for n in (64, length))
        return flat, heads, scores

    def run(flat, heads, scores, gradients):
        found = [tf.matmul(flat[w.shape[0]], w) for w in weights]
        for _ in range(12 * (3 if gradients else 1)):
            found += [tf.matmul(heads, heads, transpose_b=True), tf.matmul(scores, heads)]
        if gradients:
            found += [tf.matmul(flat[w.shape[1]], w, transpose_b=True) for w in weights]
            found += [tf.matmul(flat[w.shape[0]], flat[w.shape[1]], transpose_a=True) for w in weights]
        return found

    step = tf.function(lambda *given: run(*given, True), autograph=False)
    forward = tf.function(lambda *given: run(*given, False), autograph=False)
    x, y = inputs(*STEP), inputs(*FORWARD)
    return medians({"step": lambda: step(*x), "forward": lambda: forward(*y)}, repeats) | {"hidden": None}


def prepare(folder: Path) -> None:
    """bert4keras' weights as a directory that all others read."""
    from nlptasks import build_transformer_model
    from nlptasks.checkpoints.huggingface import save_directory

    skip = ("pooler",)  # fresh; KerasHub wants one in the file
    model = build_transformer_model(folder / "config.json", folder / "weights.h5", with_pool=True, skip=skip)
    save_directory(model, folder / "bert")
    names = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
    (folder / "bert" / "vocab.txt").write_text(
        "\n".join([*names, *(f"t{i}" for i in range(21123))]) + "\n", encoding="utf-8"
    )


def launch(python: str, side: str, folder: Path, dtype: str, repeats: int) -> dict:
    """What one side found."""
    environment = os.environ | {"KERAS_BACKEND": "tensorflow", "TF_KERAS": "1", "TF_CPP_MIN_LOG_LEVEL": "3"}
    command = [python, __file__, "--side", side, "--folder", str(folder), "--dtype", dtype, "--repeats", str(repeats)]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    if done.returncode:
        sys.exit(f"{side}, {dtype}: {done.stderr[-2000:]}")
    return json.loads(done.stdout.splitlines()[-1])


def measure(options) -> str:
    """Runs every side and writes the record."""
    from record import surroundings

    results = {}
    with tempfile.TemporaryDirectory() as directory:
        folder = Path(directory)
        (folder / "config.json").write_text(json.dumps(BERT_BASE), encoding="utf-8")
        for side, dtype in SIDES:
            python, place = (options.bert4keras, folder) if side == "bert4keras" else (sys.executable, folder / "bert")
            results[side, dtype] = launch(python, side.lower(), place, dtype, options.repeats)
            if side == "bert4keras":
                prepare(folder)
    lines = [
        "# Speed of training",
        "",
        "Made by `python benchmarks/training_speed.py --bert4keras ENVIRONMENT/bin/python "
        f"--repeats {options.repeats} --output benchmarks/training_speed.md`,",
        surroundings("keras", "tensorflow", "keras_hub", "transformers", "torch"),
        f"and bert4keras 0.11.5 on tensorflow-cpu 2.12. All ran on {len(os.sched_getaffinity(0))} of the cores.",
        "",
        f"BERT-base. Step: {STEP[0]} x {STEP[1]} tokens; forward: {FORWARD[0]} x {FORWARD[1]}; medians of "
        f"{options.repeats} after a first one. Distance: the largest of hidden states from bert4keras'.",
        "",
        "| | step, s | times bert4keras | forward, s | times bert4keras | distance |",
        "|---|---|---|---|---|---|",
    ]
    base = results["bert4keras", "float32"]
    for (side, dtype), found in results.items():
        far = found["hidden"] and f"{np.abs(np.subtract(found['hidden'], base['hidden'])).max():.1e}"
        cells = [f"{found[k]:.3f} | {base[k] / found[k]:.2f}" for k in ("step", "forward")]
        lines.append(f"| {side}, {dtype} | {' | '.join(cells)} | {far or '-'} |")
    return "\n".join(lines + where_time_goes(results)) + "\n"


def where_time_goes(results: dict) -> list[str]:
    """The operations of this library's passes in bfloat16, beside the products that no program can leave out."""
    ours, least = results["nlptasks", "bfloat16"], results["products", "bfloat16"]
    lines = ["", "## Where the time of bfloat16 goes", ""]
    for name in ("step", "forward"):
        spent = ", ".join(f"{of} {1000 * seconds:.0f}" for of, seconds in ours["operations"][name].items())
        lines += [
            f"A {name} takes {ours[name] / least[name]:.2f} times as long as its matrix products alone. Milliseconds",
            f"by operation (the sum over threads, TensorFlow's profiler): {spent}.",
            "",
        ]
    return lines[:-1]


def main() -> None:
    """Runs one side, or all of them."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--bert4keras", help="the Python of an environment with bert4keras")
    parser.add_argument("--output", type=Path, help="write the record there; else it is printed")
    parser.add_argument("--repeats", type=int, default=3)
    for hidden in ("--side", "--folder", "--dtype"):
        parser.add_argument(hidden, help=argparse.SUPPRESS)
    options = parser.parse_args()
    sys.path.insert(0, str(ROOT))
    if options.side:
        sides = {f.__name__: f for f in (bert4keras, nlptasks, kerashub, transformers, products)}
        print(json.dumps(sides[options.side](Path(options.folder), options.dtype, options.repeats)))
        return
    if not options.bert4keras:
        parser.error("give --bert4keras ENVIRONMENT/bin/python")
    text = measure(options)
    if options.output:
        options.output.write_text(text, encoding="utf-8")
    print(text)


if __name__ == "__main__":
    main()
