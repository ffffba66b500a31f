"""Fault drill of pretraining: runs killed at any moment end with the same bits, and damaged checkpoints are found.

    python benchmarks/pretraining_faults.py --output benchmarks/pretraining_faults.md

A short run on invented documents, first undisturbed; then `--kills` times anew with SIGKILL at a random moment between
its first checkpoint and its end, resumed (half of them killed again while they go on, a third with one checkpoint
kept); then `--damages` times with a bit of the newest checkpoint flipped, or a file of it cut short. What is done is
kept in `--work`, and a drill that was stopped goes on. Bits are those of one number of CPU threads: keep the process on
the same cores throughout.
"""

import argparse
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
from record import surroundings
from safetensors.numpy import load_file

ROOT = Path(__file__).parent.parent
CONFIG = {
    "hidden_size": 32,
    "num_hidden_layers": 1,
    "num_attention_heads": 2,
    "intermediate_size": 64,
    "max_position_embeddings": 64,
    "type_vocab_size": 2,
    "hidden_act": "gelu",
    "hidden_dropout_prob": 0.1,
    "attention_probs_dropout_prob": 0.1,
    "initializer_range": 0.05,
}
STEPS = 200


def run(script: str, *arguments: object) -> str:
    """What a script of the project prints."""
    command = [sys.executable, str(ROOT / script), *map(str, arguments)]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout


def prepare(work: Path) -> None:
    """A corpus, its vocabulary, shards, and a config."""
    run("data/make_corpus.py", "--count", 1500, "--seed", 1, "--output", work / "corpus.txt")
    run("pretraining/train_vocab.py", "--input", work / "corpus.txt", "--output", work / "vocab.txt")
    run(
        "pretraining/make_shards.py", "--input", work / "corpus.txt", "--vocab", work / "vocab.txt",
        "--output", work / "shards", "--seq-length", 64,
    )  # fmt: skip
    size = len((work / "vocab.txt").read_text(encoding="utf-8").splitlines())
    (work / "config.json").write_text(json.dumps(CONFIG | {"vocab_size": size}), encoding="utf-8")


def training(work: Path, output: Path) -> list[str]:
    """The command of the run."""
    options = {
        "shards": work / "shards", "output": output, "config": work / "config.json", "num-steps": STEPS,
        "batch-size": 16, "learning-rate": 0.003, "valid-rows": 64, "valid-every": 50, "save-every": 5, "log-every": 10,
        "mesh": "data=1", "peak-tflops": 1,
    }  # fmt: skip
    flags = [part for name, value in options.items() for part in (f"--{name}", str(value))]
    return [sys.executable, str(ROOT / "pretraining" / "pretrain.py"), *flags]


def finish(command: list[str], output: Path) -> str:
    """Starts or resumes the run, lets it end, and returns what it said."""
    begun = (output / "options.json").is_file() or (output / "checkpoints").is_dir()
    result = subprocess.run([*command, *(["--resume"] if begun else [])], capture_output=True, text=True)
    if result.returncode:
        raise SystemExit(f"the run did not end well:\n{result.stderr}")
    return result.stderr


def same(output: Path, reference: Path) -> bool:
    """Whether two models are equal bit by bit."""
    one, other = (load_file(folder / "model.safetensors") for folder in (output, reference))
    return one.keys() == other.keys() and all(np.array_equal(one[n].view("u1"), other[n].view("u1")) for n in one)


def killed(command: list[str], output: Path, seconds: float) -> None:
    """Starts the run and kills it after some time, its children too."""
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True)
    time.sleep(seconds)
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()


def write(path: Path, results: dict) -> None:
    """What is done so far, whole or not at all."""
    path.with_suffix(".new").write_text(json.dumps(results), encoding="utf-8")
    path.with_suffix(".new").replace(path)


def timed(command: list[str], output: Path) -> tuple[float, float]:
    """Seconds to the first checkpoint and to the end of a run."""
    started, first = time.monotonic(), None
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    while process.poll() is None:
        if first is None and last_step(output) != "none":
            first = time.monotonic() - started
        time.sleep(0.05)
    return first, time.monotonic() - started


def last_step(output: Path) -> str:
    """The newest checkpoint folder, sealed or not."""
    found = sorted(path.name for path in (output / "checkpoints").glob("*")) if output.is_dir() else []
    return found[-1] if found else "none"


def damage(folder: Path, chance: random.Random) -> str:
    """Flips a bit of a file of a checkpoint or cuts it short; says what."""
    path = chance.choice([path for path in sorted(folder.rglob("*")) if path.is_file() and path.stat().st_size])
    content, name = bytearray(path.read_bytes()), path.relative_to(folder).as_posix()
    at = chance.randrange(len(content))
    if chance.random() < 0.5:
        content[at] ^= 1 << chance.randrange(8)
        path.write_bytes(bytes(content))
        return f"bit of byte {at} of {name}"
    path.write_bytes(bytes(content[:at]))
    return f"{name} cut to {at} of {len(content)} bytes"


def main() -> None:
    """Runs the drill and writes its record."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--output", type=Path, required=True, help="the record to write")
    parser.add_argument("--work", type=Path, default=Path("runs/faults"), help="folder for the runs")
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("--damages", type=int, default=20)
    options = parser.parse_args()
    work = options.work.absolute()
    work.mkdir(parents=True, exist_ok=True)
    os.environ["JAX_COMPILATION_CACHE_DIR"] = str(work / "programs")
    os.environ["JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS"] = "0"
    reference, done = work / "undisturbed", work / "done.json"
    if not done.is_file():
        prepare(work)
        finish(training(work, reference), reference)
        first, length = timed(training(work, work / "timed"), work / "timed")  # now that its programs are compiled
        write(done, {"first": first, "length": length, "kills": [], "finds": []})
    results = json.loads(done.read_text(encoding="utf-8"))
    first, length, kills, finds = (results[name] for name in ("first", "length", "kills", "finds"))
    for number in range(len(kills), options.kills):
        output = work / f"killed_{number}"
        shutil.rmtree(output, ignore_errors=True)
        moment = random.Random(number).uniform(0.9 * first, length)
        more = ["--keep", "1"] if number % 3 == 0 else []
        killed([*training(work, output), *more], output, moment)
        if number % 2 and (output / "options.json").is_file():  # and once more, while it goes on
            killed([*training(work, output), *more, "--resume"], output, moment)
        step = last_step(output)
        finish(training(work, output), output)
        kills.append((moment, step, same(output, reference)))
        print(f"kill {number + 1}: after {moment:.1f} s, newest checkpoint {step}: {kills[-1][2]}", file=sys.stderr)
        shutil.rmtree(output)
        write(done, results)
    for number in range(len(finds), options.damages):
        output = work / f"damaged_{number}"
        shutil.rmtree(output, ignore_errors=True)
        shutil.copytree(reference, output)
        what = damage(output / "checkpoints" / last_step(output), random.Random(1000 + number))
        said = finish(training(work, output), output)
        found = f"{STEPS:08}: not used" in said and f"going on from step {STEPS - 5}" in said
        finds.append((what, found, same(output, reference)))
        print(f"damage {number + 1}: {what}: found {found}, same {finds[-1][2]}", file=sys.stderr)
        shutil.rmtree(output)
        write(done, results)
    lines = [
        "# Fault drill of pretraining",
        "",
        f"`python benchmarks/pretraining_faults.py --output benchmarks/{options.output.name}`",
        "",
        surroundings("keras", "jax", "grain", "orbax"),
        "",
        f"A run of {STEPS} steps with a checkpoint every 5 takes {length:.1f} s, its first checkpoint {first:.1f} s.",
        "",
        f"**Killed (SIGKILL) and resumed: {sum(ok for *_, ok in kills)} of {len(kills)} ended with the same bits.**",
        "",
        "| killed after | newest checkpoint | same weights |",
        "|---|---|---|",
        *(f"| {moment:.1f} s | {step} | {'yes' if ok else 'NO'} |" for moment, step, ok in kills),
        "",
        f"**Damaged newest checkpoint: {sum(found for _, found, _ in finds)} of {len(finds)} found, and the one before "
        f"used; {sum(ok for *_, ok in finds)} of {len(finds)} ended with the same bits.**",
        "",
        "| damage | found | same weights |",
        "|---|---|---|",
        *(f"| {what} | {'yes' if f else 'NO'} | {'yes' if ok else 'NO'} |" for what, f, ok in finds),
    ]
    options.output.write_text("\n".join(lines) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
