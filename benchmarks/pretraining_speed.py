"""Speed of a pretraining step: on a CPU beside bert4keras, on a GPU beside transformers.

    python benchmarks/pretraining_speed.py cpu --bert4keras ENV/bin/python --output benchmarks/pretraining_speed.md
    python benchmarks/pretraining_speed.py gpu --output benchmarks/pretraining_speed_gpu.md

CPU: the "tiny" config, 32 rows of 128 tokens, float32, vocabulary 21128, 15 % masked, AdamW. bert4keras' step is that
of its pretraining script: logits of the whole vocabulary at every position. Weights and batch are equal, and so is the
loss without dropout. ENV: see tests/golden/make_bert4keras_golden.py.

GPU: base and large at 128 and 512 tokens, bfloat16, beside transformers with torch.compile and its fused attention,
whose head is called at the masked positions only, as here. MFU: operations counted from the matrix products, against
the rate of large bfloat16 matrix products measured on the same card in the same run.
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

ROOT = Path(__file__).parent.parent
VOCAB = 21128
CPU_SHAPE = ("tiny", 32, 128)
GPU_SHAPES = (("base", 256, 128), ("base", 64, 512), ("large", 128, 128), ("large", 32, 512))
RATE, DECAY = 1e-4, 0.01


def batch_of(rows: int, length: int) -> dict[str, np.ndarray]:
    """Random tokens of which 15 % are masked, the same for every side."""
    random = np.random.default_rng(1)
    ids = random.integers(200, 21000, (rows, length)).astype("int32")
    count = -(-int(np.ceil(0.15 * length)) // 8) * 8
    positions = np.sort(np.argsort(random.random((rows, length)), axis=1)[:, :count], axis=1).astype("int32")
    targets = np.take_along_axis(ids, positions, axis=1)
    shown = ids.copy()
    np.put_along_axis(shown, positions, 103, axis=1)
    return {"shown": shown, "ids": ids, "positions": positions, "targets": targets}


def timed(step, repeats: int) -> float:
    """Median seconds of a step after two first ones."""
    times = []
    for number in range(repeats + 2):
        start = time.perf_counter()
        step()
        if number > 1:
            times.append(time.perf_counter() - start)
    return float(np.median(times))


def bert4keras(folder: Path, name: str, rows: int, length: int, repeats: int) -> dict:
    """bert4keras 0.11.5; makes the weights."""
    from bert4keras.backend import K, keras, set_gelu

    keras.optimizers.Optimizer = keras.optimizers.legacy.Optimizer
    from bert4keras.models import build_transformer_model
    from bert4keras.optimizers import Adam, extend_with_weight_decay

    set_gelu("erf")
    bert = build_transformer_model(str(folder / "config.json"), with_mlm="linear")
    random = np.random.default_rng(0)
    bert.set_weights([random.normal(0, 0.04, w.shape) + ("gamma" in w.name) for w in bert.weights])
    bert.save_weights(str(folder / "weights.h5"))
    batch = batch_of(rows, length)
    masked = np.zeros((rows, length), "float32")
    np.put_along_axis(masked, batch["positions"], 1, axis=1)

    def loss(inputs):
        true, logits, mask = inputs
        each = K.sparse_categorical_crossentropy(true, logits, from_logits=True)
        return K.sum(each * mask) / (K.sum(mask) + K.epsilon())

    ids, mask = keras.layers.Input((None,), dtype="int64"), keras.layers.Input((None,))
    found = keras.layers.Lambda(loss, name="mlm_loss")([ids, bert.output, mask])
    model = keras.models.Model([*bert.inputs, ids, mask], found)
    optimizer = extend_with_weight_decay(Adam)(
        RATE, weight_decay_rate=DECAY, exclude_from_weight_decay=["Norm", "bias"]
    )
    model.compile(loss=lambda true, predicted: predicted, optimizer=optimizer)
    x = [batch["shown"], batch["shown"] * 0, batch["ids"], masked]
    value = float(np.mean(model.predict_on_batch(x)))
    return {"loss": value, "seconds": timed(lambda: model.train_on_batch(x, np.zeros(rows)), repeats)}


def nlptasks(folder: Path, name: str, rows: int, length: int, repeats: int) -> dict:
    """This library: the step of pretrain.py."""
    import jax
    import keras

    from nlptasks.core import Transformer
    from nlptasks.loading import build_transformer_model
    from nlptasks.pretraining.configs import named_config, step_flops
    from nlptasks.pretraining.devices import fused_attention_problem, matmul_rate
    from nlptasks.pretraining.step import compile_step, loss_sums, make_step, state_of
    from nlptasks.train.optimizers import Lamb, PiecewiseLinear
    from nlptasks.train.run import start_run

    on_gpu = jax.default_backend() == "gpu"
    start_run(0, "bfloat16" if on_gpu else "float32")
    if on_gpu:
        model = Transformer(named_config(name, VOCAB, length, attention_dropout=0.0), with_mlm="linear")
        model.build()
        model.fused_attention = fused_attention_problem(model.config.num_heads, 64, length, "mixed_bfloat16") is None
    else:
        model = build_transformer_model(folder / "config.json", folder / "weights.h5", with_mlm="linear")
    batch = batch_of(rows, length)
    arrays = {"token_ids": batch["shown"], "target_positions": batch["positions"], "target_ids": batch["targets"]}
    arrays["target_weights"] = np.ones(batch["targets"].shape, "float32")
    loss = float(loss_sums(model, arrays, training=False)[0]) / batch["targets"].size
    optimizer = Lamb(PiecewiseLinear(RATE, {0: 1.0}), weight_decay_rate=DECAY, exclude_from_layer_adaptation=("",))
    state = state_of(model, optimizer)
    program = compile_step(make_step(model, optimizer), state)
    arrays = jax.device_put({key: array[None] for key, array in arrays.items()})

    def step():
        nonlocal state
        state, metrics = program(state, arrays)
        jax.block_until_ready(metrics)

    seconds = timed(step, repeats)
    keras.distribution.set_distribution(None)
    flops = step_flops(model.config, rows, length, batch["targets"].shape[1])
    rate = matmul_rate("bfloat16" if on_gpu else "float32", 2.0)
    return {"loss": loss, "seconds": seconds, "flops": flops, "peak": rate}


def transformers(folder: Path, name: str, rows: int, length: int, repeats: int) -> dict:
    """transformers on one GPU."""
    import torch
    from transformers import BertConfig, BertForMaskedLM

    layers, hidden, heads = {"base": (12, 768, 12), "large": (24, 1024, 16)}[name]
    config = BertConfig(
        vocab_size=VOCAB, hidden_size=hidden, num_hidden_layers=layers, num_attention_heads=heads,
        intermediate_size=4 * hidden, attention_probs_dropout_prob=0.0, attn_implementation="sdpa",
    )  # fmt: skip
    torch.manual_seed(0)
    torch.set_float32_matmul_precision("high")
    model = BertForMaskedLM(config).cuda().train()
    optimizer = torch.optim.AdamW(model.parameters(), lr=RATE, weight_decay=DECAY, fused=True)
    batch = {key: torch.tensor(array).long().cuda() for key, array in batch_of(rows, length).items()}

    @torch.compile
    def loss_of(shown, positions, targets):
        hidden_states = model.bert(shown).last_hidden_state
        chosen = torch.gather(hidden_states, 1, positions[..., None].expand(-1, -1, hidden))
        logits = model.cls(chosen)
        return torch.nn.functional.cross_entropy(logits.float().flatten(0, 1), targets.flatten())

    def step():
        with torch.autocast("cuda", torch.bfloat16):
            loss = loss_of(batch["shown"], batch["positions"], batch["targets"])
        loss.backward()
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        torch.cuda.synchronize()
        return loss

    return {"loss": float(step()), "seconds": timed(step, repeats)}


def launch(python: str, side: str, folder: Path, shape: tuple, repeats: int) -> dict:
    """What one side found, in a process of its own."""
    backend = {"bert4keras": "tensorflow"}.get(side, "jax")
    environment = os.environ | {"KERAS_BACKEND": backend, "TF_KERAS": "1", "TF_CPP_MIN_LOG_LEVEL": "3"}
    command = [python, __file__, side, "--folder", str(folder), "--shape", *map(str, shape), "--repeats", str(repeats)]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    if done.returncode:
        sys.exit(f"{side}: {done.stderr[-2000:]}")
    return json.loads(done.stdout.splitlines()[-1])


def cpu(options) -> list[str]:
    """The table beside bert4keras."""
    from nlptasks.pretraining.configs import SIZES

    name, rows, length = CPU_SHAPE
    layers, hidden, heads = SIZES[name]
    config = {
        "vocab_size": VOCAB, "hidden_size": hidden, "num_hidden_layers": layers, "num_attention_heads": heads,
        "intermediate_size": 4 * hidden, "max_position_embeddings": 512, "type_vocab_size": 2, "hidden_act": "gelu",
        "hidden_dropout_prob": 0.1, "attention_probs_dropout_prob": 0.1, "initializer_range": 0.02,
    }  # fmt: skip
    with tempfile.TemporaryDirectory() as directory:
        (Path(directory) / "config.json").write_text(json.dumps(config), encoding="utf-8")
        theirs = launch(options.bert4keras, "bert4keras", Path(directory), CPU_SHAPE, options.repeats)
        ours = launch(sys.executable, "nlptasks", Path(directory), CPU_SHAPE, options.repeats)
    return [
        f"Config {name}, {rows} x {length} tokens, float32; medians of {options.repeats} steps after two.",
        "",
        "| | step, s | rows a second | times bert4keras | loss without dropout |",
        "|---|---|---|---|---|",
        *(
            f"| {side} | {found['seconds']:.3f} | {rows / found['seconds']:.0f} | "
            f"{theirs['seconds'] / found['seconds']:.2f} | {found['loss']:.5f} |"
            for side, found in (("bert4keras 0.11.5, tensorflow-cpu 2.12", theirs), ("nlptasks, JAX", ours))
        ),
    ]


def gpu(options) -> list[str]:
    """The table beside transformers."""
    lines = [
        "| config | rows x tokens | nlptasks, rows/s | MFU | transformers, rows/s | MFU | times transformers |",
        "|---|---|---|---|---|---|---|",
    ]
    for shape in GPU_SHAPES:
        name, rows, length = shape
        ours, theirs = (
            launch(sys.executable, side, Path(), shape, options.repeats) for side in ("nlptasks", "transformers")
        )
        ours_rate, theirs_rate = rows / ours["seconds"], rows / theirs["seconds"]
        shares = [ours["flops"] / found["seconds"] / ours["peak"] for found in (ours, theirs)]
        lines.append(
            f"| {name} | {rows} x {length} | {ours_rate:,.0f} | {shares[0]:.1%} | {theirs_rate:,.0f} | "
            f"{shares[1]:.1%} | {ours_rate / theirs_rate:.2f} |"
        )
    return [*lines, "", f"Measured matrix products, bfloat16: {ours['peak'] / 1e12:.0f} TFLOP/s."]


def main() -> None:
    """Runs one side, or a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    sides = {f.__name__: f for f in (bert4keras, nlptasks, transformers)}
    parser.add_argument("what", choices=("cpu", "gpu", *sides), metavar="cpu|gpu")
    parser.add_argument("--bert4keras", help="the Python of an environment with bert4keras (cpu)")
    parser.add_argument("--output", type=Path, help="write the record there; else it is printed")
    parser.add_argument("--repeats", type=int, default=20)
    parser.add_argument("--folder", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--shape", nargs=3, help=argparse.SUPPRESS)
    options = parser.parse_args()
    sys.path.insert(0, str(ROOT))
    if options.what in sides:
        name, rows, length = options.shape
        print(json.dumps(sides[options.what](options.folder, name, int(rows), int(length), options.repeats)))
        return
    from record import surroundings

    if options.what == "cpu" and not options.bert4keras:
        parser.error("give --bert4keras ENVIRONMENT/bin/python")
    table = (cpu if options.what == "cpu" else gpu)(options)
    modules = ("keras", "jax") if options.what == "cpu" else ("keras", "jax", "torch", "transformers")
    command = f"Made by `python benchmarks/pretraining_speed.py {options.what} ...`, {surroundings(*modules)}"
    text = "\n".join(["# Speed of a pretraining step", "", command, "", *table]) + "\n"
    if options.output:
        options.output.write_text(text, encoding="utf-8")
    print(text)


if __name__ == "__main__":
    main()
