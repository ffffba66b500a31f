"""Sentence autoencoders on headlines: what their vectors hold, and how a VAE is kept from doing without them.

    python benchmarks/latent.py --work runs/latent --output benchmarks/latent.md

Headlines of the shared data (`text/news_titles.jsonl.gz` in the folder that NLPTASKS_DATA names), of which some are
held out to choose the epoch by and others to score. Each row is `nlptasks latent train` and `evaluate`; what is there
in `--work` is not done again, and a training that was ended goes on.
"""

import argparse
import gzip
import json
import os
import random
import subprocess
import sys
from pathlib import Path

import numpy as np
from captions import ROOT, call
from record import surroundings

TRAINING, VALID, SCORED = 12000, 500, 1000
USUAL = (
    "--checkpoint none --min-count 2 --hidden-size 128 --num-layers 2 --num-heads 4 --ffn-size 512 --seq-length 40 "
    "--epochs 6 --batch-size 32 --learning-rate 1e-3 --warmup-share 0.05 --decay"
)
MODELS = {
    "VAE": ("", (0, 1, 2)),
    "VAE without free bits, warm-up and word dropout": ("--free-bits 0 --kl-warmup-share 0 --word-dropout 0", (0,)),
    "AAE": ("--method aae", (0, 1, 2)),
}
"""title of a row: the options that make it, and its seeds"""
COLUMNS = {
    "reconstruction": "perplexity, own vector",
    "perplexity": "perplexity, KL paid",
    "kl": "KL, nats",
    "active_units": "active units",
    "other_perplexity": "perplexity, other texts' vectors",
    "gap": "difference, nats a token",
    "spread": "deviation of the vectors",
}


def split(data: Path, work: Path) -> None:
    """Writes the headlines to train on, to choose by and to score."""
    with gzip.open(data / "text" / "news_titles.jsonl.gz", "rt", encoding="utf-8") as file:
        lines = sorted({" ".join(json.loads(line)["text"].split()) for line in file})
    random.Random(0).shuffle(lines)
    work.mkdir(parents=True, exist_ok=True)
    for name, count in (("scored", SCORED), ("valid", VALID), ("train", TRAINING)):
        part, lines = lines[:count], lines[count:]
        (work / f"{name}.txt").write_text("\n".join(part) + "\n", encoding="utf-8")


def scores(run: Path, texts: Path) -> dict[str, float]:
    """What `nlptasks latent evaluate` finds, computed once."""
    kept = run / "evaluation.json"
    if not kept.is_file():
        words = ["-m", "nlptasks", "latent", "evaluate", "--model", run, "--data", texts, "--json"]
        path = os.pathsep.join([str(ROOT), *filter(None, [os.environ.get("PYTHONPATH")])])
        environment = os.environ | {"PYTHONPATH": path, "NLPTASKS_LANG": "en"}
        done = subprocess.run(
            [sys.executable, *map(str, words)], env=environment, check=True, stdout=subprocess.PIPE, text=True
        )
        kept.write_text(done.stdout.splitlines()[-1] + "\n", encoding="utf-8")
    found = json.loads(kept.read_text(encoding="utf-8"))["scores"]
    return {name: found["shuffled"][name] for name in ("other_perplexity", "gap")} | found


def main() -> None:
    """Trains, scores and writes the record."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--work", type=Path, required=True, help="folder for texts and runs")
    parser.add_argument("--data", type=Path, help="default: NLPTASKS_DATA")
    parser.add_argument("--output", type=Path, help="file of the record")
    options = parser.parse_args()
    work = options.work
    if not (work / "train.txt").is_file():
        split(options.data or Path(os.environ["NLPTASKS_DATA"]), work)
    rows = []
    for title, (more, seeds) in MODELS.items():
        found = []
        for seed in seeds:
            run = work / f"{list(MODELS).index(title)}_{seed}"
            if not (run / "scores.json").is_file():
                words = ["--train", work / "train.txt", "--valid", work / "valid.txt", "--seed", seed, "--output", run]
                words += [*USUAL.split(), *more.split()]
                words += ["--resume"] if (run / "options.json").is_file() else []
                call("-m", "nlptasks", "latent", "train", *words)
            found.append(scores(run, work / "scored.txt"))
        cells = []
        for name in COLUMNS:
            values = [one[name] for one in found]
            if name == "perplexity" and "aae" in more:
                cells.append("")  # its training does not bound the divergence
                continue
            spread = f" ({min(values):.3g} to {max(values):.3g})" if len(values) > 1 else ""
            cells.append(f"{np.mean(values):.3g}{spread}")
        rows.append(f"| {title} | {len(seeds)} | " + " | ".join(cells) + " |")
    columns = ["model", "seeds", *COLUMNS.values()]
    text = "\n".join(
        [
            "# Sentence autoencoders",
            "",
            f"Made by `python benchmarks/latent.py --work DIR`, {surroundings('keras', 'tensorflow')}.",
            "",
            f"| {' | '.join(columns)} |",
            "|" + "---|" * len(columns),
            *rows,
            "",
            f"{TRAINING} headlines to train on, {VALID} to choose the epoch by, {SCORED} to score; vectors of 32 "
            "numbers. A mean over the seeds, and their range. With the KL paid it is a bound.",
        ]
    )
    print(text)
    if options.output is not None:
        options.output.write_text(text + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
