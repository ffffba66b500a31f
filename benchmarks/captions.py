"""Captions of pictures: how often they are right where a color and a shape never came together in training.

    python benchmarks/captions.py --work runs/captions --output benchmarks/captions.md

Pictures of data/make_shapes.py; a causal Transformer of random weights with their features as the condition of its
norms, as in bert4keras' image caption example (`nlptasks conditional train --vectors`). Captions are written greedily.
What is there in `--work` is not done again.
"""

import argparse
import json
import os
import re
import signal
import subprocess
import sys
from collections import Counter
from pathlib import Path

from record import surroundings

ROOT = Path(__file__).parent.parent
PICTURES = {
    "train": ("train", 6000, 1),
    "valid": ("valid", 300, 1),
    "known": ("valid", 500, 2),
    "test": ("test", 500, 1),
}
"""file: split, number and seed of its pictures; `valid` chooses the best epoch and is not scored"""
TRAINING = (
    "--checkpoint none --seq-length 24 --hidden-size 128 --num-layers 2 --num-heads 4 --ffn-size 256 --epochs 8 "
    "--batch-size 32 --learning-rate 1e-3 --warmup-share 0.05 --decay --condition-hidden-size 128 "
    "--condition-hidden-act relu --label-dropout 0"
)


def call(*words: object) -> None:
    """Runs a script of this clone; where this command is ended, a training run saves itself."""
    path = os.pathsep.join([str(ROOT), *filter(None, [os.environ.get("PYTHONPATH")])])
    environment = os.environ | {"PYTHONPATH": path, "NLPTASKS_LANG": "en"}
    process = subprocess.Popen([sys.executable, *map(str, words)], env=environment)
    try:
        if process.wait():
            sys.exit(f"{' '.join(map(str, words))}: status {process.returncode}")
    except BaseException:
        process.terminate()
        process.wait()
        raise


def lines(path: Path) -> list[str]:
    """The captions of a file."""
    return path.read_text(encoding="utf-8").splitlines()[1:]


def scores(written: list[str], wanted: list[str]) -> dict[str, float]:
    """Percent of captions that are right, and of those with the right colors and shapes."""

    def share(part: str) -> float:
        same = (re.findall(part, a) == re.findall(part, b) for a, b in zip(written, wanted, strict=True))
        return 100 * sum(same) / len(wanted)

    return {"caption": share(".+"), "colors": share("..(?=的)"), "shapes": share("(?<=的).+?(?=[，。])")}


def main() -> None:
    """Draws, trains, writes captions and scores them."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--work", type=Path, required=True, help="folder for pictures and runs")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1])
    parser.add_argument("--output", type=Path, help="file of the record")
    options = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    work = options.work
    for name, (split, count, seed) in PICTURES.items():
        if not (work / f"{name}.npy").is_file():
            words = ["--count", count, "--split", split, "--seed", seed, "--output", work / name]
            call(ROOT / "data" / "make_shapes.py", *words)
    train, test = lines(work / "train.tsv"), lines(work / "test.tsv")
    frequent = Counter(train).most_common(1)[0][0]
    results = {"the most frequent caption": scores([frequent] * len(test), test)}
    for seed in options.seeds:
        run = work / f"run_{seed}"
        if not (run / "scores.json").is_file():
            words = ["--train", work / "train.tsv", "--vectors", work / "train.npy", "--valid", work / "valid.tsv"]
            words += ["--valid-vectors", work / "valid.npy", "--seed", seed, "--output", run, *TRAINING.split()]
            words += ["--resume"] if (run / "options.json").is_file() else []
            call("-m", "nlptasks", "conditional", "train", *words)
        for split, wanted in (("known", lines(work / "known.tsv")), ("test", test)):
            output = run / f"{split}_written.jsonl"
            if not output.is_file():
                words = ["--model", run, "--vector", work / f"{split}.npy", "--top-k", 1, "--output", output]
                call("-m", "nlptasks", "conditional", "generate", *words)
            written = [json.loads(line)["text"] for line in output.read_text(encoding="utf-8").splitlines()]
            name = "pairs of training" if split == "known" else "pairs held out"
            results[f"seed {seed}, {name}"] = scores(written, wanted)
    found = [
        "# Captions of pictures",
        "",
        f"Made by `python benchmarks/captions.py --work DIR`, {surroundings('keras', 'tensorflow')}. Percent.",
        "",
        "| | caption | colors | shapes |",
        "|---|---|---|---|",
    ]
    for name, values in results.items():
        found.append(f"| {name} | " + " | ".join(f"{value:.1f}" for value in values.values()) + " |")
    print("\n".join(found))
    if options.output is not None:
        options.output.write_text("\n".join(found) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
