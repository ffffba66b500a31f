"""Whitening and flows of sentence vectors: Spearman on pairs before and after, learnt from other sentences.

    NLPTASKS_DATA=... python benchmarks/calibrate.py --work DIR --encoders similarity mini base \
        --output benchmarks/calibrate.md

Calibrations are learnt from sentences that stand in no pair set, of one of two kinds: "bank", those of
similarity/groups_train.tsv and afqmc_train.tsv, or "general", short ones of text/ and the questions of
reading_comprehension/. The pair sets are only scored, the first --pairs of each (atec.tsv is none: the groups were made
of it). What could be gained at the best "own" tells: learnt from those sentences of the first set that are not scored.
Vectors are kept in --work in parts, and each row of the table is kept when it is computed: a run that was stopped goes
on where it was. With --seconds it stops by itself.

An encoder is the name of a bundled one, or a pretrained Transformer, of which the mean hidden states are taken. The
time is of the calibration alone, on --batch vectors, the best of ten.
"""

import argparse
import json
import os
import re
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from record import surroundings

from nlptasks.applications.similarity.calibrating import CalibrationOptions
from nlptasks.applications.similarity.calibration import Calibration, fit_whitening
from nlptasks.applications.similarity.calibration_commands import sentences_of
from nlptasks.bundled import bundled_models, pretrained_names
from nlptasks.files import write_text
from nlptasks.metrics.similarity import score_pairs
from nlptasks.opening import load
from nlptasks.text import read_texts
from nlptasks.text.groups import read_pairs

SETS = ("lcqmc_dev", "bq_dev", "afqmc_dev", "oppo_dev")
BANK = ("groups_train.tsv", "afqmc_train.tsv")
TEXTS, QUESTIONS = ("c3", "news_titles", "reviews"), ("cmrc2018_train", "webqa_dev")
SHORT = (4, 40)
"""characters of a sentence of general texts"""
ROW = ("encoder", "learnt from", "texts", "pairs", "method")
"""what tells the rows of the table apart"""
POWERS, SHARES = (0.0, 0.5, 1.0), (1.0, 0.5)
PART = 1000


def main() -> None:
    """Encodes, calibrates, scores, writes the record."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--work", type=Path, required=True, help="folder for vectors and rows")
    parser.add_argument("--data", type=Path, help="folder of the data sets; default: NLPTASKS_DATA")
    parser.add_argument("--encoders", nargs="+", default=["similarity", "mini"])
    parser.add_argument("--learn", choices=("bank", "general", "own"), default="bank", help="what kind of sentences")
    parser.add_argument("--texts", type=int, default=20_000, help="sentences to learn from")
    parser.add_argument("--sets", nargs="+", choices=SETS, default=SETS)
    parser.add_argument("--pairs", type=int, default=4000, help="pairs of each set")
    parser.add_argument("--flow", nargs="*", type=int, default=[], help="seeds of flows")
    parser.add_argument("--flow-epochs", type=int, default=5)
    parser.add_argument("--batch", type=int, default=64)
    parser.add_argument("--seconds", type=float, default=float("inf"), help="stop after this time")
    parser.add_argument("--output", type=Path, help="the record to write")
    options = parser.parse_args()
    folder = options.data or Path(os.environ["NLPTASKS_DATA"])
    pairs = {name: read_pairs(folder / "similarity" / f"{name}.tsv") for name in SETS}
    scored = {s for one in pairs.values() for s in (*one.first, *one.second)}
    if options.learn == "own":
        own = pairs[options.sets[0]]
        scored = {*own.first[: options.pairs], *own.second[: options.pairs]}
        given = dict.fromkeys(s for s in (*own.first, *own.second) if s not in scored)
    else:
        given = dict.fromkeys(s for s in learnt_from(folder, options.learn) if s not in scored)
    chosen = np.random.default_rng(0).permutation(len(given))[: options.texts]
    given = list(given)
    texts = [given[i] for i in chosen]
    count = options.pairs
    asked = {
        name: ([*one.first[:count], *one.second[:count]], one.labels[:count])
        for name, one in pairs.items()
        if name in options.sets
    }
    deadline = time.monotonic() + options.seconds
    options.work.mkdir(parents=True, exist_ok=True)
    for encoder in options.encoders:
        found = Vectors(encoder, options.work, deadline)
        training = found.of(options.learn, texts)
        sets = {name: (found.of(name, sentences), labels) for name, (sentences, labels) in asked.items()}
        if training is None or any(vectors is None for vectors, _ in sets.values()):
            print(f"{encoder}: stopped; the same command goes on")
            return
        measure(Path(encoder).name, training, sets, options, deadline)  # no path of this machine in a record
    if options.output is not None:
        write_text(options.output, record(options))


def learnt_from(folder: Path, kind: str) -> Iterator[str]:
    """The sentences of a kind."""
    if kind == "bank":
        for name in BANK:
            yield from sentences_of(folder / "similarity" / name)
        return
    for name in QUESTIONS:
        text = (folder / "reading_comprehension" / f"{name}.json").read_text(encoding="utf-8")
        yield from (json.loads(f'"{found}"') for found in re.findall(r'"question": "((?:[^"\\]|\\.)*)"', text))
    for name in TEXTS:
        for text in read_texts(folder / "text" / f"{name}.jsonl.gz"):
            for line in text.splitlines():
                line = re.sub("^[男女]：", "", line).strip()
                if SHORT[0] <= len(line) <= SHORT[1]:
                    yield line


class Vectors:
    """The vectors of an encoder, in parts that are kept.

    Args:
        name: of the encoder.
        work: folder of the parts.
        deadline: no part is begun after it.
    """

    def __init__(self, name: str, work: Path, deadline: float) -> None:
        self.name, self.work, self.deadline, self.encoder = name, work, deadline, None

    def of(self, what: str, texts: list[str]) -> np.ndarray | None:
        """The vectors of texts; None: the time is over."""
        parts = []
        for start in range(0, len(texts), PART):
            path = self.work / f"{Path(self.name).name}.{what}.{len(texts)}.{start}.npy"
            if not path.is_file():
                if time.monotonic() > self.deadline:
                    return None
                vectors = self._opened().encode(texts[start : start + PART])
                np.save(path, vectors.astype("float16"))
            parts.append(np.load(path).astype("float32"))
        return np.concatenate(parts)

    def _opened(self) -> object:
        if self.encoder is None:
            if self.name in bundled_models() and self.name not in pretrained_names():
                self.encoder = load(self.name)
            else:
                self.encoder = CalibrationOptions(output=self.work, checkpoint=self.name).encoder()
        return self.encoder


def measure(name: str, training: np.ndarray, sets: dict, options: argparse.Namespace, deadline: float) -> None:
    """Adds the rows that are not there yet."""
    path = options.work / "rows.jsonl"
    rows = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()] if path.is_file() else []
    known = {tuple(row[name] for name in ROW) for row in rows}
    size = training.shape[1]
    ways: dict[str, object] = {"none": None}
    for power in POWERS:
        for share in SHARES:
            keep = round(size * share)
            ways[f"whitening, power {power}, {keep} numbers"] = (keep, power)
    ways |= {f"flow, seed {seed}": seed for seed in options.flow}
    for method, how in ways.items():
        row = dict(zip(ROW, (name, options.learn, len(training), options.pairs, method), strict=True))
        if tuple(row.values()) in known or time.monotonic() > deadline:
            continue
        started = time.monotonic()
        if how is None:
            apply = None
        elif isinstance(how, tuple):
            apply = fit_whitening(training, *how)
        else:
            apply = flow_of(training, how, options)
        row["seconds"] = round(time.monotonic() - started, 1)
        row |= {key: round(spearman(apply, *value), 4) for key, value in sets.items()}
        row["ms"] = round(milliseconds(apply, training[: options.batch]), 5)
        with path.open("a", encoding="utf-8") as file:
            file.write(json.dumps(row) + "\n")
        print(json.dumps(row), flush=True)


def spearman(calibration: Calibration | None, vectors: np.ndarray, labels: np.ndarray) -> float:
    """Of the first half of vectors with the second."""
    vectors = vectors if calibration is None else calibration(vectors)
    half = len(vectors) // 2
    return score_pairs((vectors[:half] * vectors[half:]).sum(axis=1), labels)["spearman"]


def milliseconds(calibration: Calibration | None, vectors: np.ndarray) -> float:
    """Of a calibration, for one vector of a batch; the best of ten."""
    if calibration is None:
        return 0.0
    times = []
    for _ in range(10):
        started = time.perf_counter()
        calibration(vectors)
        times.append(time.perf_counter() - started)
    return 1000 * min(times) / len(vectors)


def flow_of(training: np.ndarray, seed: int, options: argparse.Namespace) -> Calibration:
    """A flow, trained as the command trains it."""
    from nlptasks.applications.similarity.encoder import SentenceEncoder
    from nlptasks.applications.similarity.flow_map import train_flow
    from nlptasks.train.record import open_run

    class Given:
        """Stands for the model of the vectors, which is not saved."""

        encoder, vector_size = "given", training.shape[1]

        def save(self, directory: Path, settings: dict, half: bool = False) -> None:
            """Saves nothing: the calibration stands beside it."""

    with tempfile.TemporaryDirectory() as folder:
        run = CalibrationOptions(output=Path(folder), method="flow", epochs=options.flow_epochs, seed=seed)
        open_run(run, len(training))
        train_flow(run, SentenceEncoder(Given()), training)
        return Calibration.from_directory(Path(folder), "flow")


def record(options: argparse.Namespace) -> str:
    """The table of all rows, in the order of what tells them apart."""
    rows = [json.loads(line) for line in (options.work / "rows.jsonl").read_text(encoding="utf-8").splitlines()]
    rows.sort(key=lambda row: [str(row[name]) for name in ROW])
    lines = ["# Calibrated sentence vectors", "", surroundings("numpy", "keras"), ""]
    lines += [
        "Spearman, in hundredths, on the first pairs of each set, as many as the row says where there are so many; "
        "`benchmarks/calibrate.py` says which sentences a calibration is learnt from. Power 0 only centers. A set that "
        "was not scored has no number.",
        "",
    ]
    lines += [f"| {' | '.join((*ROW, *SETS))} | ms a vector |", "|" + "---|" * (len(ROW) + len(SETS) + 1)]
    for row in rows:
        cells = [f"{row[name]:,}" if isinstance(row[name], int) else row[name] for name in ROW]
        cells += [f"{100 * row[name]:.2f}" if name in row else "" for name in SETS]
        lines.append(f"| {' | '.join(cells)} | {row['ms']:.4f} |")
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    main()
