"""Titles, questions and word problems: scores of sequence to sequence beside baselines, from several starts.

    NLPTASKS_DATA=... python benchmarks/seq2seq.py --work runs/seq2seq --starts none mini --seeds 0 1 --seconds 240
    NLPTASKS_DATA=... python benchmarks/seq2seq.py --work runs/seq2seq --starts none mini --seeds 0 1 \\
        --output benchmarks/seq2seq.md

Data: `generation/csl_train.jsonl` of NLPTASKS_DATA (titles of abstracts): its last 500 rows are the test, 500 more that
mini's pretraining has not read (every tenth row is kept out of that, see no_leakage.py) are a second one, and no title
and no abstract of either is trained on. `reading_comprehension/multi_passage_*.json` (questions, and questions with
answers, for passages). Word problems of data/make_word_problems.py, whose test templates and numbers training lacks.

A start is `none` (random weights), `mini`, or the folder of a checkpoint; one without a masked-LM head needs `--skip`.
Everything is kept in `--work`, and what is there is not done again. With `--seconds` the command ends after about so
long, and the same command goes on: a training run is interrupted and resumed. `--written FILE` adds what the title
model of the last start makes of every text in FILE, for example benchmarks/seq2seq_texts.txt, which were written for
this project. `--pad-to` gives all batches of a GPU one width, and so one program; `gpu_tables.py` runs it with that.
Needs the extra `scores`, and for the columns of bert4keras `scores-bert4keras`.
"""

import argparse
import importlib.util
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from record import surroundings

ROOT = Path(__file__).parent.parent
TEST, VALID = 500, 200
PATIENCE = 60  # seconds that an interrupted run may take to save itself
COLUMNS = ("perplexity", "rouge_1", "rouge_2", "rouge_l", "bleu", "answer", "computable")
FORMULAS = ("--whole-words", "--only-characters", "0123456789+-*/()", "--formulas")
BEAMS = ("--search", "beam", "--beam-size", "4")
PADDED = (
    "import sys; from nlptasks.applications.examples import padded_to; from nlptasks.command import main\n"
    "with padded_to(int(sys.argv[1])): sys.exit(main(sys.argv[2:]))"
)
"""a command whose batches have widths that are multiples of its first argument"""


@dataclass(frozen=True)
class Task:
    """What is trained and how its texts are written: lengths in tokens, options of training and of writing."""

    lengths: tuple[int, int]
    epochs: dict[str, int]
    writing: tuple[str, ...]
    tests: tuple[str, ...] = ("test",)
    baselines: int | None = 20
    batch_size: int = 16


TASKS = {
    "titles": Task((192, 40), {"none": 8, "mini": 6, "other": 6}, BEAMS, ("test", "unread")),
    "questions": Task((256, 40), {"none": 8, "mini": 6, "other": 6}, BEAMS),
    "pairs": Task((256, 56), {"none": 8, "mini": 6, "other": 6}, BEAMS),
    "problems": Task((64, 24), {"none": 12, "mini": 6, "other": 6}, FORMULAS, baselines=None),
}
RATES = {"none": 1e-3, "mini": 3e-4, "other": 5e-5}
COMMON = ("--warmup-share", "0.1", "--decay", "--clip-norm", "1")


class OutOfTimeError(Exception):
    """The seconds of this call are over."""


def write_rows(path: Path, rows: Iterable[dict]) -> None:
    """JSON lines."""
    path.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows), encoding="utf-8")


def split_titles(rows: list[dict]) -> dict[str, list[dict]]:
    """Training, validation and both tests, as sources with targets."""
    pairs = [{"source": row["abstract"], "target": row["title"]} for row in rows]
    last = pairs[-TEST:]
    unread = [pair for number, pair in enumerate(pairs[:-TEST], 1) if number % 10 == 0][-TEST:]
    seen = {text for pair in (*last, *unread) for text in pair.values()}
    left = [pair for pair in pairs[:-TEST] if not seen & set(pair.values())]
    order = np.random.default_rng(0).permutation(len(left))
    return {
        "test": last,
        "unread": unread,
        "valid": [left[i] for i in order[:VALID]],
        "train": [left[i] for i in sorted(order[VALID:])],
    }


def prepare(work: Path, task: str) -> None:
    """Writes the files of a task, once."""
    folder = work / task
    if (folder / "train.jsonl").is_file():
        return
    folder.mkdir(parents=True, exist_ok=True)
    if task == "problems":
        for split, count in (("test", 1000), ("valid", VALID), ("train", 20000)):
            words = ["--count", str(count), "--seed", "1", "--split", split, "--output", folder / f"{split}.jsonl"]
            subprocess.run([sys.executable, ROOT / "data" / "make_word_problems.py", *words], check=True)
        return
    data = Path(os.environ["NLPTASKS_DATA"])
    if task == "titles":
        lines = (data / "generation" / "csl_train.jsonl").read_text(encoding="utf-8").splitlines()
        parts = split_titles([json.loads(line) for line in lines])
    else:
        kind, parts = {"questions": "question", "pairs": "pair"}[task], {}
        for split, name in (("test", "dev"), ("train", "train")):
            path, output = data / "reading_comprehension" / f"multi_passage_{name}.json", folder / "all.jsonl"
            run("prepare", "--data", path, "--kind", kind, "--output", output)
            parts[split] = [json.loads(line) for line in output.read_text(encoding="utf-8").splitlines()]
        seen = {row["source"] for row in parts["test"]}
        parts["train"] = [row for row in parts["train"] if row["source"] not in seen]
        parts["valid"], parts["train"] = parts["train"][:VALID], parts["train"][VALID:]
        parts["test"] = parts["test"][:TEST]
    for split in sorted(parts, key=lambda name: name == "train"):  # the file that is looked for is the last one
        write_rows(folder / f"{split}.jsonl", parts[split])


def run(*words: object, until: float | None = None, pad_to: int | None = None) -> str:
    """What `nlptasks seq2seq ...` writes to standard output; it is ended at `until`, and then saves itself."""
    program = ["-m", "nlptasks"] if pad_to is None else ["-c", PADDED, str(pad_to)]
    command = [sys.executable, *program, "seq2seq", *map(str, words)]
    path = os.pathsep.join([str(ROOT), *filter(None, [os.environ.get("PYTHONPATH")])])
    environment = os.environ | {"PYTHONPATH": path, "NLPTASKS_LANG": "en"}
    process = subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True, encoding="utf-8")
    try:
        out, _ = process.communicate(timeout=None if until is None else max(1.0, until - time.monotonic()))
    except BaseException as error:  # also where this command is ended: the run saves itself
        process.terminate()
        try:
            process.communicate(timeout=PATIENCE)
        except subprocess.TimeoutExpired:
            process.kill()
            process.communicate()
        if isinstance(error, subprocess.TimeoutExpired):
            raise OutOfTimeError from None
        raise
    if process.returncode:
        sys.exit(f"{' '.join(command)}: status {process.returncode}")
    return out


def start_kind(start: str) -> str:
    """Which settings a start takes."""
    return start if start in ("none", "mini") else "other"


def run_name(start: str, seed: int, rows: int | None) -> str:
    """The folder of a run."""
    return f"{Path(start).name}_{seed}" + ("" if rows is None else f"_{rows}")


def first_rows(path: Path, count: int | None) -> Path:
    """The file, or one of its first rows."""
    if count is None:
        return path
    shorter = path.with_stem(f"{path.stem}_{count}")
    lines = path.read_text(encoding="utf-8").splitlines(keepends=True)[:count]
    shorter.write_text("".join(lines), encoding="utf-8")
    return shorter


def one_run(work: Path, task: str, start: str, seed: int, options: argparse.Namespace, until: float | None) -> dict:
    """The scores of a run by test, trained as far as it is not yet."""
    plan, kind = TASKS[task], start_kind(start)
    folder = work / task / run_name(start, seed, options.rows)
    train = first_rows(work / task / "train.jsonl", options.rows)
    if not (folder / "scores.json").is_file():
        epochs, rate = options.epochs or plan.epochs[kind], options.learning_rate or RATES[kind]
        words = ["--train", train, "--valid", work / task / "valid.jsonl", "--checkpoint", start]
        words += ["--source-length", plan.lengths[0], "--target-length", plan.lengths[1], "--output", folder]
        words += ["--epochs", epochs, "--learning-rate", rate, "--batch-size", plan.batch_size, "--seed", seed]
        words += ["--precision", options.precision, *COMMON]
        words += ["--skip-weights", *options.skip] if kind == "other" and options.skip else []
        words += ["--resume"] if (folder / "options.json").is_file() else []
        run("train", *words, until=until, pad_to=options.pad_to)
    found = {}
    for test in plan.tests:
        results = folder / f"{test}.json"
        if not results.is_file():
            data = first_rows(work / task / f"{test}.jsonl", options.rows)
            words = ["--model", folder, "--data", data, *plan.writing, "--json"]
            words += ["--lead", plan.baselines] if plan.baselines else []
            words += ["--predictions", folder / f"{test}_written.jsonl"]
            both = all(importlib.util.find_spec(module) for module in ("rouge", "nltk"))
            words += ["--bert4keras"] if both else []
            out = run("evaluate", *words, until=until, pad_to=options.pad_to)
            results.write_text(out.splitlines()[-1] + "\n", encoding="utf-8")
        found[test] = json.loads(results.read_text(encoding="utf-8"))["scores"]
    return found


def table(results: dict[str, dict]) -> list[str]:
    """A table for each task and test: baselines and runs below each other."""
    lines = []
    for place in dict.fromkeys((task, test) for task, _, _ in results for test in TASKS[task].tests):
        chosen = {(start, seed): found[place[1]] for (task, start, seed), found in results.items() if task == place[0]}
        first = next(iter(chosen.values()))
        names = [*COLUMNS, *(name for name in first["model"] if name.startswith("bert4keras"))]
        names = [name for name in names if name in first["model"]]
        lines += [
            "",
            f"## {place[0]}, {place[1]}",
            "",
            "| | " + " | ".join(names) + " |",
            "|---" * (1 + len(names)) + "|",
        ]
        rows = {name: scores for name, scores in first.items() if name != "model"}
        rows |= {f"{Path(start).name}, seed {seed}": found["model"] for (start, seed), found in chosen.items()}
        for name, scores in rows.items():
            cells = (f"{scores[column]:.2f}" if column in scores else "" for column in names)
            lines.append(f"| {name} | " + " | ".join(cells) + " |")
    return lines


def written(model: Path, path: Path) -> list[str]:
    """What a title model makes of each text of a file, all of them as they come."""
    rows = run("generate", "--model", model, "--data", path, *BEAMS, "--json").splitlines()
    return ["", "## Titles of texts written for this", ""] + [
        f"- {row['text']} ({row['source'][:24]}…)" for row in map(json.loads, rows)
    ]


def main() -> None:
    """Trains, scores, and writes the record when everything is there."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--work", type=Path, required=True, help="folder for data, runs and results")
    parser.add_argument("--tasks", nargs="+", choices=list(TASKS), default=list(TASKS))
    parser.add_argument("--starts", nargs="+", default=["none", "mini"], help="none, mini, or folders of checkpoints")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1])
    parser.add_argument("--epochs", type=int, help="instead of each task's own number, for a trial")
    parser.add_argument("--learning-rate", type=float, help="instead of each start's own")
    parser.add_argument("--rows", type=int, help="train on and score so many rows of each task only, for a trial")
    parser.add_argument("--precision", choices=("float32", "bfloat16"), default="float32")
    parser.add_argument("--pad-to", type=int, help="widths of batches are multiples of this")
    parser.add_argument("--skip", nargs="+", default=[], help="--skip-weights of checkpoints in folders")
    parser.add_argument("--seconds", type=float, help="end after about so long; the same command goes on")
    parser.add_argument("--written", type=Path, help="texts, one a line, that get titles")
    parser.add_argument("--results", type=Path, help="JSON of the scores, written after every run")
    parser.add_argument("--output", type=Path, help="the record, written when all runs are there")
    options = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    until = None if options.seconds is None else time.monotonic() + options.seconds
    results: dict = {}
    try:
        for task in options.tasks:
            prepare(options.work, task)
            for start in options.starts:
                for seed in options.seeds:
                    results[task, start, seed] = one_run(options.work, task, start, seed, options, until)
                    print("\n".join(table(results)[-2:]), flush=True)
                    if options.results is not None:
                        rows = [{"task": key[0], "seed": key[2], "scores": found} for key, found in results.items()]
                        options.results.write_text(json.dumps(rows, ensure_ascii=False) + "\n", encoding="utf-8")
    except OutOfTimeError:
        print(f"time is over with {len(results)} runs done; the same command goes on.", flush=True)
        return
    head = f"Made by `{' '.join(['python', 'benchmarks/seq2seq.py', *sys.argv[1:]])}`, "
    lines = ["# Sequence to sequence", "", head + surroundings("keras", "tensorflow") + ".", *table(results)]
    if options.written is not None and "titles" in options.tasks:
        name = run_name(options.starts[-1], options.seeds[0], options.rows)
        lines += written(options.work / "titles" / name, options.written)
    if options.output is not None:
        options.output.write_text("\n".join(lines) + "\n", encoding="utf-8")
    print("\n".join(lines))


if __name__ == "__main__":
    main()
