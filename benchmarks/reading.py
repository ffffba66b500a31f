"""Readers from random weights on SQuAD-style files as published: scores and answering speed of both methods.

    NLPTASKS_DATA=... python benchmarks/reading.py --work runs/benchmark_reading --output docs/reading_scores.md

CMRC2018's training file goes in as it is, long passages in windows; the readers are scored on CMRC2018's trial file and
on DRCD's development file (traditional Chinese), beside the baselines that `evaluate --baselines` knows. Then both
methods answer the same questions against the clock, at this size and at BERT-base size (random weights). A run that is
interrupted keeps what it has: give the same --work again.
"""

import argparse
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
from record import BERT_BASE, surroundings

from nlptasks.files import write_text

ROOT = Path(__file__).parent.parent
TRAIN, TRIAL, DRCD = "cmrc2018_train.json", "cmrc2018_trial.json", "drcd_dev.json"
TRAINING = (
    f"--train {TRAIN} --valid {TRIAL} --valid-limit 100 --checkpoint none --stride 128 --question-length 48 --epochs 4 "
    "--learning-rate 2e-3 --warmup-share 0.05 --decay --clip-norm 1"
)
METHODS = {"seq2seq": "--method seq2seq --practice-share 0.34", "mlm": "--method mlm"}
COLUMNS = {
    "sogou_accuracy": "SogouQA accuracy",
    "sogou_f1": "SogouQA F1",
    "sogou_final": "final",
    "cmrc_em": "CMRC EM",
    "cmrc_f1": "CMRC F1",
}
TIMED = 256  # questions that are answered against the clock
BASE_QUESTIONS, BASE_LENGTHS = 8, (8, 32)
WAYS = {"seq2seq, greedy": ("seq2seq", 1), "seq2seq, 4 beams": ("seq2seq", 4), "mlm": ("mlm", 1)}


def script(data: Path, *arguments: object) -> str:
    """What a run of tasks/reading_comprehension.py in the folder of the data writes to standard output."""
    command = [sys.executable, str(ROOT / "tasks" / "reading_comprehension.py"), *map(str, arguments)]
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    done = subprocess.run(command, env=environment, cwd=data, stdout=subprocess.PIPE, check=True)
    return done.stdout.decode("utf-8")


def kept(path: Path, make: Callable):
    """The JSON of a file, made first where it is not there."""
    if not path.is_file():
        write_text(path, json.dumps(make(), ensure_ascii=False, indent=1) + "\n")
    return json.loads(path.read_text(encoding="utf-8"))


def trained(data: Path, work: Path) -> dict[str, Path]:
    """The run directory of each method; what was interrupted goes on."""
    runs = {method: work / method for method in METHODS}
    for method, run in runs.items():
        if not (run / "scores.json").is_file():
            resume = ["--resume"] if (run / "options.json").is_file() else []
            script(data, "train", *TRAINING.split(), *METHODS[method].split(), "--output", run, *resume)
    return runs


def scored(data: Path, run: Path, name: str) -> dict:
    """The scores that `evaluate` gives a reader, and the baselines, on all questions of a file."""
    output = script(data, "evaluate", "--model", run, "--data", name, "--baselines", TRAIN, "--json")
    return {system: of["all"] for system, of in json.loads(output.splitlines()[-1])["scores"].items()}


def answering_speed(readers: dict, questions: list[tuple[str, list[str]]], repeats: int = 3) -> dict[str, float]:
    """Questions a second of each way: medians, the ways taking turns, after a first time."""
    times: dict[str, list[float]] = {way: [] for way in WAYS}
    for _ in range(1 + repeats):
        for way, (method, beam_size) in WAYS.items():
            started = time.perf_counter()
            readers[method].predict(questions, beam_size=beam_size)
            times[way].append(time.perf_counter() - started)
    return {way: len(questions) / float(np.median(of[1:])) for way, of in times.items()}


def small_speed(data: Path, runs: dict[str, Path]) -> dict[str, float]:
    """Questions a second of the trained readers, passages in windows."""
    from nlptasks import load
    from nlptasks.text import read_questions

    asked = [q for q in read_questions(data / TRIAL) if q.question.strip()][:TIMED]
    pairs = [(q.question, [p.text for p in q.passages]) for q in asked]
    return answering_speed({method: load(run) for method, run in runs.items()}, pairs)


def base_reader(method: str, answer_length: int):
    """A reader of BERT-base size that never ends an answer, so that every one takes the same work."""
    from nlptasks.applications.reading.reader import Reader
    from nlptasks.applications.reading.training import METHODS as ATTENTION
    from nlptasks.applications.reading.windows import ReadingLengths
    from nlptasks.checkpoints.configs import config_from_json
    from nlptasks.core import Transformer
    from nlptasks.text import Tokenizer

    special = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
    characters = [chr(0x3400 + i) for i in range(BERT_BASE["vocab_size"] - len(special))]
    tokenizer = Tokenizer({token: i for i, token in enumerate([*special, *characters])})
    config = config_from_json(BERT_BASE | {"model_type": "bert"}, "BERT-base", attention=ATTENTION[method])
    model = Transformer(config, with_mlm="linear")
    model.build()
    model.mlm.bias.assign(np.where(np.arange(len(tokenizer.vocab)) == tokenizer.sep_id, -100, 0).astype("float32"))
    return Reader(model, tokenizer, ReadingLengths(answer_length=answer_length), method)


def base_speed() -> dict[str, dict[str, float]]:
    """Questions a second at BERT-base size: one passage of 256 tokens each."""
    random, found = np.random.default_rng(0), {}
    texts = ["".join(map(chr, row)) for row in random.integers(0x4E00, 0x8000, (BASE_QUESTIONS, 254))]
    pairs = [(text[100:120], [text]) for text in texts]
    for length in BASE_LENGTHS:
        found[str(length)] = answering_speed({method: base_reader(method, length) for method in METHODS}, pairs)
    return found


def table(header: list[str], rows: list[list[str]]) -> list[str]:
    """Lines of a Markdown table."""
    return [f"| {' | '.join(row)} |" for row in (header, ["---"] * len(header), *rows)] + [""]


def score_lines(title: str, scores: dict[str, dict]) -> list[str]:
    """The scores of both readers and the baselines on one file."""
    rows = [
        [system.replace("_", " "), *(f"{of[c]:.2f}" if "cmrc" in c else f"{of[c]:.4f}" for c in COLUMNS)]
        for system, of in scores.items()
    ]
    count = next(iter(scores.values()))["questions"]
    return [f"## {title}: {count} questions", "", *table(["", *COLUMNS.values()], rows)]


def speed_lines(small: dict[str, float], base: dict[str, dict[str, float]]) -> list[str]:
    """Questions a second, both sizes beside each other."""
    header = ["questions a second", "the readers above", *(f"BERT-base, {n} answer tokens" for n in base)]
    rows = [[way, f"{small[way]:.1f}", *(f"{of[way]:.2f}" for of in base.values())] for way in WAYS]
    return [
        "## Answering speed",
        "",
        f"The readers above: the first {TIMED} questions of the trial file, passages in windows. BERT-base size: "
        f"{BASE_QUESTIONS} questions at once with",
        "a passage of 256 tokens each, random weights, answers never end before the length given. Medians of 3 after a "
        "first time, the ways taking turns, float32,",
        f"on {len(os.sched_getaffinity(0))} of the cores.",
        "",
        *table(header, rows),
    ]


def introduction(runs: dict[str, Path]) -> list[str]:
    """How the readers were trained, and for how long."""
    lines = [
        "# Readers from random weights on SQuAD-style files",
        "",
        "Made by `NLPTASKS_DATA=... python benchmarks/reading.py --work runs/benchmark_reading --output "
        "docs/reading_scores.md`,",
        f"{surroundings('keras', 'tensorflow', 'numpy')}.",
        "",
        "CMRC2018 (SQuAD's form, as published) trains readers of 3 layers x 128 from random weights; no pretrained "
        "checkpoint was at hand.",
        "One run each, seed 0. The best epoch was chosen on the first 100 questions of the trial file, which are among "
        "those scored.",
        "",
        "```",
        f"nlptasks reading train {TRAINING} \\",
    ]
    for method, special in METHODS.items():
        log = json.loads((runs[method] / "log.json").read_text(encoding="utf-8"))
        best = json.loads((runs[method] / "scores.json").read_text(encoding="utf-8"))["best"]
        lines.append(
            f"    {special} --output runs/{method}  # {log[-1]['training_seconds'] / 60:.0f} minutes; "
            f"best epoch {best['epoch']}"
        )
    evaluate = f"nlptasks reading evaluate --model runs/seq2seq --data {DRCD} --baselines {TRAIN}"
    return [*lines, evaluate, "```", ""]


def main() -> None:
    """Trains, scores, measures what is not there yet, and writes the record."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--work", type=Path, default=Path("runs/benchmark_reading"), help="kept models and results")
    parser.add_argument("--output", type=Path, required=True, help="the record")
    parser.add_argument("--train-only", action="store_true", help="train and score; leave the speeds to a quiet hour")
    options = parser.parse_args()
    folder = os.environ.get("NLPTASKS_DATA")
    if not folder:
        parser.error("NLPTASKS_DATA is not set: it names a folder of public data sets, see data/README.md")
    data, work = (Path(folder) / "reading_comprehension").resolve(), options.work.resolve()
    runs = trained(data, work)
    lines = introduction(runs)
    for title, name in (("CMRC2018 trial", TRIAL), ("DRCD development file (traditional Chinese)", DRCD)):
        scores = {}
        for method, run in runs.items():
            of = kept(work / f"{method}_{name}", lambda run=run, name=name: scored(data, run, name))
            scores |= {f"reader, {method}": of.pop("reader")} | {k: v for k, v in of.items() if method == "mlm"}
        lines += score_lines(title, scores)
    if options.train_only:
        return
    small = kept(work / "speed_small.json", lambda: small_speed(data, runs))
    lines += speed_lines(small, kept(work / "speed_base.json", base_speed))
    write_text(options.output, "\n".join(lines).rstrip() + "\n")


if __name__ == "__main__":
    main()
