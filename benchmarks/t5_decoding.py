"""Speed of T5 beside transformers: decoding and a training step, on equal random weights, after tokens were compared.

    python benchmarks/t5_decoding.py --output benchmarks/t5_decoding.md

T5-small's size (v1.0) with a vocabulary of 32,000, float32 on CPU, sources of 128 tokens, 32 new tokens, the end token
suppressed, greedy and beam 4, batches of 1 and 16. A training step is of 8 pairs of 128 and 32 tokens, without dropout,
by Adam; its first loss is compared. One side runs at a time, each in a process of its own with as many threads as this
one may use; a time is the best of `--repeats` runs after a first one.
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
from record import surroundings

ROOT = Path(__file__).parent.parent
SOURCE, NEW, END, PAD, PAIRS = 128, 32, 1, 0, 8
SIZES = {
    "vocab_size": 32000,
    "d_model": 512,
    "d_kv": 64,
    "d_ff": 2048,
    "num_layers": 6,
    "num_heads": 8,
    "dropout_rate": 0,
}
CASES = {
    "greedy, batch 1": (1, 1),
    "beam 4, batch 1": (1, 4),
    "greedy, batch 16": (16, 1),
    "beam 4, batch 16": (16, 4),
}
STEP = "training step"
SIDES = ("nlptasks, TensorFlow", "nlptasks, JAX", "transformers")


def sources(count: int) -> np.ndarray:
    """Source token ids `(count, SOURCE)`."""
    return np.random.default_rng(1).integers(200, 31000, (count, SOURCE))


def targets() -> np.ndarray:
    """Target token ids `(PAIRS, NEW)`."""
    return np.random.default_rng(2).integers(200, 31000, (PAIRS, NEW))


def timed(function, repeats: int):
    """The result of the first call, and the best time of `repeats` later ones in seconds."""
    result, times = function(), []
    for _ in range(repeats):
        start = time.perf_counter()
        function()
        times.append(time.perf_counter() - start)
    return result, min(times)


def make_model(folder: Path) -> None:
    """A random T5 that does not write the same token for ever."""
    import torch
    import transformers

    torch.manual_seed(7)
    model = transformers.T5ForConditionalGeneration(transformers.T5Config(**SIZES, decoder_start_token_id=PAD))
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if parameter.ndim == 2:
                wide = 1.0 if name.startswith("shared") else parameter.shape[1] ** -0.5
                parameter.copy_(torch.randn_like(parameter) * wide)
    model.save_pretrained(folder)


def ours(folder: Path, repeats: int) -> dict:
    """This library, on the backend of this process."""
    from keras import ops

    import nlptasks
    from nlptasks.backend import compile_train_step
    from nlptasks.generate import BeamSearch, Greedy, forbid
    from nlptasks.train.optimizers import make_adam

    model = nlptasks.build_encoder_decoder(folder, folder)
    generator, found = nlptasks.Generator(model, END), {}
    for case, (count, beams) in CASES.items():
        search = BeamSearch(size=beams, length_penalty=0.0) if beams > 1 else Greedy()
        rows = sources(count).tolist()

        def run(rows=rows, search=search):
            return generator.generate(rows, search, max_length=NEW, constraints=[forbid([END])])

        result, seconds = timed(run, repeats)
        found[case] = (seconds, [ranked[0].tokens for ranked in result])

    def loss(batch):
        return ops.mean(ops.sparse_categorical_crossentropy(batch["labels"], model(batch["inputs"]), from_logits=True))

    labels = targets().astype("int32")
    shifted = np.pad(labels[:, :-1], ((0, 0), (1, 0)), constant_values=PAD)
    batch = {"inputs": [sources(PAIRS).astype("int32"), shifted], "labels": labels}
    step = compile_train_step(model, make_adam(1e-5, 1), loss)
    result, seconds = timed(lambda: float(step(batch)), repeats)
    return found | {STEP: (seconds, result)}


def theirs(folder: Path, repeats: int) -> dict:
    """transformers' `generate`."""
    import torch
    from transformers import T5ForConditionalGeneration

    model, found = T5ForConditionalGeneration.from_pretrained(folder).train(False), {}
    for case, (count, beams) in CASES.items():
        ids = torch.tensor(sources(count))
        arguments = {"num_beams": beams, "do_sample": False, "max_new_tokens": NEW, "length_penalty": 0.0}
        arguments |= {"suppress_tokens": [PAD, END], "attention_mask": torch.ones_like(ids)}
        arguments |= {"decoder_start_token_id": PAD, "pad_token_id": PAD, "eos_token_id": END}

        def run(ids=ids, arguments=arguments):
            with torch.inference_mode():
                return model.generate(ids, **arguments)

        result, seconds = timed(run, repeats)
        found[case] = (seconds, result[:, 1:].tolist())

    optimizer, ids, labels = torch.optim.Adam(model.parameters(), 1e-5), torch.tensor(sources(PAIRS)), targets()

    def step():
        optimizer.zero_grad(set_to_none=True)
        loss = model(input_ids=ids, labels=torch.tensor(labels)).loss
        loss.backward()
        optimizer.step()
        return float(loss.detach())

    result, seconds = timed(step, repeats)
    return found | {STEP: (seconds, result)}


def measured(side: str, folder: Path, repeats: int) -> dict:
    """One side in a process of its own."""
    environment = os.environ | {"KERAS_BACKEND": "jax" if "JAX" in side else "tensorflow", "PYTHONPATH": str(ROOT)}
    command = [sys.executable, __file__, "--side", side, "--folder", str(folder), "--repeats", str(repeats)]
    done = subprocess.run(command, env=environment, stdout=subprocess.PIPE, check=True, text=True)
    return json.loads(done.stdout.splitlines()[-1])


def table(results: dict[str, dict]) -> str:
    """Samples a second, and how many times transformers' rate that is; tokens are compared with its."""
    lines = [
        "# Speed of T5",
        "",
        "Made by `python benchmarks/t5_decoding.py`,",
        f"{surroundings('keras', 'tensorflow', 'jax', 'transformers', 'torch')}.",
        f"Sources of {SOURCE} tokens, {NEW} new tokens, float32, random weights of T5-small's size. Samples a second;",
        "in brackets, times transformers' rate, and the share of tokens that are equal to its (the step: the loss).",
        "",
        "| case | " + " | ".join(results) + " |",
        "|---|" + "---|" * len(results),
    ]
    for case, (count, _) in CASES.items():
        reference, expected = results["transformers"][case]
        cells = []
        for side, of_side in results.items():
            seconds, tokens = of_side[case]
            equal = np.mean(np.asarray(tokens)[:, :NEW] == np.asarray(expected)[:, :NEW])
            more = "" if side == "transformers" else f" ({reference / seconds:.2f}, {equal:.0%})"
            cells.append(f"{count / seconds:.2f}{more}")
        lines.append(f"| {case} | {' | '.join(cells)} |")
    reference, cells = results["transformers"][STEP][0], []
    for side, of_side in results.items():
        seconds, loss = of_side[STEP]
        more = "" if side == "transformers" else f"{reference / seconds:.2f}, "
        cells.append(f"{PAIRS / seconds:.2f} ({more}loss {loss:.4f})")
    lines.append(f"| {STEP} of {PAIRS} pairs | {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


def main() -> None:
    """Measures all sides and prints or writes the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--output", type=Path, help="write the table there; else it is printed")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--side", choices=SIDES, help=argparse.SUPPRESS)
    parser.add_argument("--folder", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.side:
        sys.path.insert(0, str(ROOT))
        print(json.dumps((theirs if options.side == "transformers" else ours)(options.folder, options.repeats)))
        return
    with tempfile.TemporaryDirectory() as folder:
        make_model(Path(folder))
        text = table({side: measured(side, Path(folder), options.repeats) for side in SIDES})
    if options.output is None:
        print(text, end="")
    else:
        options.output.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
