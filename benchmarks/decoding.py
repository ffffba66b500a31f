"""Decoding speed beside bert4keras and transformers on equal random weights, after their tokens were compared.

    python benchmarks/decoding.py --bert4keras ENVIRONMENT/bin/python --output benchmarks/decoding.md

BERT-base size, vocabulary 21128, `application="lm"` on all sides, sources of 128 tokens, 32 new tokens with the end
token suppressed; the reader case has one question with 10 passages of 320 tokens (UNILM, extractive, greedy).
ENVIRONMENT holds bert4keras 0.11.5 with tensorflow-cpu 2.12 (see tests/golden/make_bert4keras_golden.py); transformers
and torch come with the test extra. One side runs at a time, each in a process of its own; a case's time is the best of
`--repeats` runs after a first one. On a GPU: `--gpu`, which needs no bert4keras.
"""

import argparse
import datetime
import json
import os
import platform
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
from record import BERT_BASE

ROOT = Path(__file__).parent.parent
END, NEVER, PREFIX, NEW, PASSAGES, PASSAGE = 102, -1, 128, 32, 10, 320
SIZES = {
    "vocab_size": 21128,
    "hidden_size": 768,
    "num_layers": 12,
    "num_heads": 12,
    "ffn_size": 3072,
}
# case -> samples, beams
CASES = {"greedy, batch 1": (1, 1), "beam 4, batch 1": (1, 4), "greedy, batch 16": (16, 1)}
GPU_CASES = {f"greedy, batch {n}": (n, 1) for n in (1, 16, 128)}
READER = "reader, 10 passages, extractive greedy"


def sources(count: int) -> np.ndarray:
    """Source token ids `(count, PREFIX)`."""
    return np.random.default_rng(1).integers(200, 21000, (count, PREFIX))


def passages() -> np.ndarray:
    """The reader's sources `(PASSAGES, PASSAGE)`: [CLS], a passage, [SEP], one question, [SEP]."""
    rng = np.random.default_rng(2)
    ids = rng.integers(200, 21000, (PASSAGES, PASSAGE))
    ids[:, 0], ids[:, -22], ids[:, -1] = 101, 102, 102
    ids[:, -21:-1] = ids[0, -21:-1]
    return ids


def timed(function, repeats: int):
    """The result of the first call, and the best time of `repeats` later ones in seconds."""
    result, times = function(), []
    for _ in range(repeats):
        start = time.perf_counter()
        function()
        times.append(time.perf_counter() - start)
    return result, min(times)


# One side a process: each prints {"times": {case: seconds}, "tokens": {case: [[...]]}, ...} on its last line.


def ours(folder: Path, dtype: str, repeats: int, gpu: bool) -> dict:
    """This library, on the backend of this process."""
    from keras import ops

    from nlptasks import build_transformer_model
    from nlptasks.applications.reading.voting import AnswerDecoder
    from nlptasks.applications.reading.windows import Row
    from nlptasks.generate import BeamSearch, Generator, Greedy, forbid

    model = build_transformer_model(folder, folder, application="lm", with_mlm="linear").stored_as(dtype)
    generator, found = Generator(model, END, batch_size=128), {"times": {}, "tokens": {}}
    for case, (count, beams) in (GPU_CASES if gpu else CASES).items():
        rows, search = sources(count).tolist(), BeamSearch(size=beams, length_penalty=0.0) if beams > 1 else Greedy()

        def run(rows=rows, search=search):
            return generator.generate(rows, search, max_length=NEW, constraints=[forbid([END])])

        result, found["times"][case] = timed(run, repeats)
        found["tokens"][case] = [of[0].tokens for of in result]
    decoder = AnswerDecoder(
        build_transformer_model(folder, folder, application="unilm", with_mlm="linear").stored_as(dtype), NEVER
    )
    ids = passages()
    rows = [Row(0, p, 0, source.tolist(), source[1:-22], offsets=None) for p, source in enumerate(ids)]
    [answer], found["times"][READER] = timed(lambda: decoder.decode(rows, NEW), repeats)
    found["tokens"][READER] = [answer.tokens]
    found["logits"] = ops.convert_to_numpy(model([sources(1), sources(1) * 0]))[0, -1].astype(float).tolist()
    found["matmul"] = matmul_rate(dtype, model)
    return found


def matmul_rate(dtype: str, model) -> float:
    """Floating-point operations a second of a large matrix product on this backend."""
    from keras import ops

    from nlptasks.backend import compile_function

    size = 3072
    a = ops.cast(np.random.default_rng(3).normal(size=(size, size)), dtype)
    jit = None if dtype == "bfloat16" else True
    product = compile_function(lambda x: ops.sum(ops.matmul(ops.matmul(x, x), x)), model, jit)
    return 4 * size**3 / timed(lambda: float(ops.convert_to_numpy(ops.cast(product(a), "float32"))), 3)[1]


def theirs(folder: Path, dtype: str, repeats: int, gpu: bool) -> dict:
    """transformers' `generate`."""
    import torch
    from transformers import BertLMHeadModel

    device = "cuda" if gpu else "cpu"
    model = BertLMHeadModel.from_pretrained(folder / "lm").to(getattr(torch, dtype)).to(device).train(False)
    found = {"times": {}, "tokens": {}}
    for case, (count, beams) in (GPU_CASES if gpu else CASES).items():
        ids = torch.tensor(sources(count)).to(device)

        def run(ids=ids, beams=beams):
            with torch.inference_mode():
                sequences = model.generate(
                    ids,
                    attention_mask=torch.ones_like(ids),
                    max_new_tokens=NEW,
                    num_beams=beams,
                    length_penalty=0.0,
                    do_sample=False,
                    suppress_tokens=[0, END],
                    pad_token_id=0,
                    bos_token_id=101,
                    eos_token_id=END,
                )
            return sequences[:, PREFIX:].tolist()

        found["tokens"][case], found["times"][case] = timed(run, repeats)
    with torch.inference_mode():
        found["logits"] = model(torch.tensor(sources(1)).to(device)).logits[0, -1].float().tolist()
    return found


def bert4keras(folder: Path, dtype: str, repeats: int, gpu: bool) -> dict:
    """bert4keras 0.11.5: makes the weights that all sides read, then decodes one sample at a time, as it does."""
    from bert4keras.backend import set_gelu
    from bert4keras.models import build_transformer_model
    from bert4keras.snippets import AutoRegressiveDecoder

    set_gelu("erf")
    model = build_transformer_model(str(folder / "config.json"), application="lm")
    random = np.random.default_rng(0)
    values = [random.normal(0, 0.04, w.shape) + ("gamma" in w.name) for w in model.weights]
    model.set_weights(values)
    model.save_weights(str(folder / "weights.h5"))
    reader = build_transformer_model(str(folder / "config.json"), application="unilm")
    reader.load_weights(str(folder / "weights.h5"))

    class Decoder(AutoRegressiveDecoder):
        @AutoRegressiveDecoder.wraps("probas")
        def predict(self, inputs, output_ids, states):
            token_ids = np.concatenate([inputs[0], output_ids], 1)
            p = self.last_token(model).predict([token_ids, np.zeros_like(token_ids)], verbose=0)
            p[:, [0, END]] = 0
            return p

    class Reader(AutoRegressiveDecoder):
        @AutoRegressiveDecoder.wraps("probas")
        def predict(self, inputs, output_ids, states):
            ids, so_far = passages(), output_ids[0].tolist()
            token_ids = np.concatenate([ids, np.repeat(output_ids, len(ids), 0)], 1)
            segment_ids = np.concatenate([ids * 0, np.ones((len(ids), len(so_far)), int)], 1)
            p = self.last_token(reader).predict([token_ids, segment_ids], verbose=0)
            p = (p**2).sum(0) / (p.sum(0) + 1)
            allowed, n = np.zeros(len(p), bool), len(so_far)
            for text in ids[:, 1:-22].tolist():
                allowed[[text[i + n] for i in range(len(text) - n) if text[i : i + n] == so_far]] = True
            return np.where(allowed, p, 0)[None]

    decoder, found = Decoder(None, END, NEW), {"times": {}, "tokens": {}}
    for case, (count, beams) in CASES.items():
        rows = sources(count)

        def run(rows=rows, beams=beams):
            return [decoder.beam_search([row], topk=beams).tolist() for row in rows]

        if count == 1:
            found["tokens"][case], found["times"][case] = timed(run, min(repeats, 2))
        else:  # minutes long, and its program is warm
            start = time.perf_counter()
            found["tokens"][case] = run()
            found["times"][case] = time.perf_counter() - start
    answer, found["times"][READER] = timed(lambda: Reader(None, END, NEW).beam_search([np.array([0])], 1), 1)
    found["tokens"][READER] = [answer.tolist()]
    return found


def bandwidth() -> float:
    """Bytes a second that all cores together read from memory."""
    from concurrent.futures import ThreadPoolExecutor

    cores = os.cpu_count() or 1
    parts = [np.ones(2**26, "float32") for _ in range(cores)]
    with ThreadPoolExecutor(cores) as pool:
        seconds = timed(lambda: list(pool.map(lambda x: float(x.max()), parts)), 5)[1]
    return cores * parts[0].nbytes / seconds


def limit(case: str, itemsize: int, rate: float, bytes_per_second: float) -> float:
    """Seconds that reading the weights and the cache at every step, or the arithmetic, take at the least."""
    d, f, layers = SIZES["hidden_size"], SIZES["ffn_size"], SIZES["num_layers"]
    body, head = layers * (4 * d * d + 2 * d * f), SIZES["vocab_size"] * d
    rows, beams, length = (PASSAGES, 1, PASSAGE) if case == READER else (*(CASES | GPU_CASES)[case], PREFIX)
    attention = layers * 2 * d * length  # a query's products with all keys and values
    cache = layers * 2 * d * (rows * length + rows * beams * NEW / 2)
    prefill = 2 * rows * length * (body + attention) / rate
    read = (body + head + cache) * itemsize / bytes_per_second
    compute = 2 * rows * beams * (body + head + attention) / rate
    return prefill + (NEW - 1) * max(read, compute)


def launch(python: str, side: str, folder: Path, dtype: str, options, backend: str = "tensorflow") -> dict:
    """What one side found."""
    environment = os.environ | {"KERAS_BACKEND": backend, "TF_KERAS": "1", "TF_CPP_MIN_LOG_LEVEL": "3"}
    command = [python, __file__, "--side", side, "--folder", str(folder), "--dtype", dtype]
    command += ["--repeats", str(options.repeats)] + ["--gpu"] * options.gpu
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    if done.returncode:
        sys.exit(done.stderr)
    return json.loads(done.stdout.splitlines()[-1])


def prepare(folder: Path, from_bert4keras: bool) -> None:
    """The weights in our directory layout, for transformers and for us."""
    from nlptasks import build_transformer_model
    from nlptasks.checkpoints.huggingface import save_directory

    weights = folder / "weights.h5" if from_bert4keras else None
    model = build_transformer_model(folder / "config.json", weights, application="lm")
    save_directory(model, folder / "lm")


def measure(options) -> str:
    """Runs every side and writes the record."""
    with tempfile.TemporaryDirectory() as directory:
        folder, results = Path(directory), {}
        (folder / "config.json").write_text(json.dumps(BERT_BASE), encoding="utf-8")
        if options.bert4keras:
            results["bert4keras"] = launch(options.bert4keras, "bert4keras", folder, "float32", options)
        prepare(folder, bool(options.bert4keras))
        for backend, dtype in (("jax", "float32"), ("jax" if options.gpu else "tensorflow", "bfloat16")):
            results[f"ours, {backend} {dtype}"] = launch(sys.executable, "ours", folder / "lm", dtype, options, backend)
        if not options.gpu:
            results["ours, tensorflow float32"] = launch(sys.executable, "ours", folder / "lm", "float32", options)
        for dtype in ("float32", "bfloat16"):
            results[f"transformers {dtype}"] = launch(sys.executable, "theirs", folder, dtype, options)
    return record(results, options)


def equality(results: dict) -> list[str]:
    """Compares tokens in float32 and the first logits in bfloat16; exits where float32 tokens differ."""
    reference, lines = results["ours, jax float32"], []
    for side, found in results.items():
        if "bfloat16" in side:
            far = np.abs(np.subtract(found["logits"], reference["logits"])).max()
            lines.append(f"- {side}: largest distance of the first token's logits from float32: {far:.3f}")
            continue
        for case, tokens in found["tokens"].items():
            if tokens != reference["tokens"][case]:
                sys.exit(f"{side}, {case}: tokens differ from ours on jax in float32; nothing is timed.")
    spread = np.ptp(reference["logits"])
    return [
        f"- tokens of all cases: equal ({'; '.join(side for side in results if 'bfloat16' not in side)})",
        *lines,
        f"- spread of these logits: {spread:.2f}",
    ]


def record(results: dict, options) -> str:
    """The record as Markdown."""
    import importlib.metadata

    names = ("keras", "tensorflow", "jax", "transformers", "torch")
    versions = []
    for name in names:
        for package in (name, f"{name}-cpu"):
            try:
                versions.append(f"{name} {importlib.metadata.version(package)}")
                break
            except importlib.metadata.PackageNotFoundError:
                continue
    speed, cases = bandwidth(), [*(GPU_CASES if options.gpu else CASES), READER]
    lines = [
        "# Decoding speed",
        "",
        f"Made by `python benchmarks/decoding.py --bert4keras ENVIRONMENT/bin/python`, {datetime.date.today()}, "
        f"{options.hardware or platform.machine()}, {os.cpu_count()} cores, Python {platform.python_version()},",
        f"{', '.join(versions)}; bert4keras 0.11.5 on tensorflow-cpu 2.12.",
        f"Sources of {PREFIX} tokens, {NEW} new tokens; reader: {PASSAGES} passages of {PASSAGE} tokens. Seconds "
        f"a call, best of {options.repeats}; programs compiled before.",
        "",
        "Equality, checked before anything is written:",
        "",
        *equality(results),
        "",
        "| case | " + " | ".join(results) + " |",
        "|---|" + "---|" * len(results),
    ]
    for case in cases:
        cells = [f"{found['times'][case]:.3f}" if case in found["times"] else "-" for found in results.values()]
        lines.append(f"| {case} | " + " | ".join(cells) + " |")
    mine, rates = {side: found for side, found in results.items() if side.startswith("ours")}, {}
    for side, found in mine.items():
        dtype = side.split()[-1]
        rates[dtype] = max(rates.get(dtype, 0.0), found["matmul"])
    lines += [
        "",
        "| case | side | times faster than bert4keras | than transformers, same precision | limit, s | of it |",
    ]
    lines.append("|---|---|---|---|---|---|")
    for case in cases:
        for side, found in mine.items():
            dtype, seconds = side.split()[-1], found["times"][case]
            peer, same = results.get("bert4keras", {"times": {}})["times"], results[f"transformers {dtype}"]["times"]
            least = limit(case, 4 if dtype == "float32" else 2, rates[dtype], speed)
            ratios = [f"{times[case] / seconds:.1f}" if case in times else "-" for times in (peer, same)]
            lines.append(f"| {case} | {side} | {' | '.join(ratios)} | {least:.3f} | {least / seconds:.0%} |")
    lines += [
        "",
        f"Limit: reading weights and cache at {speed / 1e9:.0f} GB/s (measured) at every step, or the arithmetic where "
        "it takes longer, after a prefill at the best matmul rate measured ("
        + ", ".join(f"{dtype} {rate / 1e9:.0f} GFLOP/s" for dtype, rate in rates.items())
        + ").",
    ]
    return "\n".join(lines) + "\n"


def main() -> None:
    """Runs one side, or all of them."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--bert4keras", help="the Python of an environment with bert4keras")
    parser.add_argument("--output", type=Path, help="write the record there; else it is printed")
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--hardware", help="the processor's name, for the record")
    parser.add_argument("--gpu", action="store_true", help="batch 1, 16 and 128 on a GPU, JAX beside transformers")
    for hidden in ("--side", "--folder", "--dtype"):
        parser.add_argument(hidden, help=argparse.SUPPRESS)
    options = parser.parse_args()
    sys.path.insert(0, str(ROOT))
    if options.side:
        side = {"ours": ours, "theirs": theirs, "bert4keras": bert4keras}[options.side]
        print(json.dumps(side(Path(options.folder), options.dtype, options.repeats, options.gpu)))
        return
    text = measure(options)
    if options.output:
        options.output.write_text(text, encoding="utf-8")
    print(text)


if __name__ == "__main__":
    main()
