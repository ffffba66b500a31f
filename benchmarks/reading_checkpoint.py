"""A reader of a pretrained checkpoint on CMRC2018: trains --method span (or seq2seq) and scores the trial file.

    NLPTASKS_DATA=... python benchmarks/reading_checkpoint.py --checkpoint DIR --output span.json --precision bfloat16

Trained on cmrc2018_train.json, scored once on cmrc2018_trial.json by CMRC2018's rule. The best epoch, the best of
several --learning-rate and the threshold of span are chosen on a tenth of the training contexts, never on the scored
questions. Contexts that multi_passage_dev.json has pieces of are left out of both parts, so that the reader may be
scored on that file, too. A run that is interrupted goes on: give the same --work again.
"""

import argparse
import json
import os
import time
from pathlib import Path
from typing import Any

import keras
import numpy as np
from record import surroundings

from nlptasks import load
from nlptasks.applications.reading.reader import Reader
from nlptasks.applications.reading.training import answers_of, make_examples
from nlptasks.files import write_text
from nlptasks.metrics.reading import score_reading
from nlptasks.text import Question, read_questions
from nlptasks.train.run import start_run

TRAIN, TRIAL, MULTIPLE = "cmrc2018_train.json", "cmrc2018_trial.json", "multi_passage_dev.json"
HELD_OUT = 10  # every tenth context, in an order that does not depend on --seed
LENGTHS: dict[str, dict[str, int]] = {
    "span": {"question_length": 64, "answer_length": 128},
    "seq2seq": {"passage_length": 320, "stride": 128, "question_length": 64, "answer_length": 96},
}
SCHEDULE: dict[str, Any] = {"warmup_share": 0.1, "decay": True, "clip_norm": 1.0}


def split(data: Path) -> tuple[list[Question], list[Question], int]:
    """The training questions, those held out, and how many contexts were left out of both."""
    pieces = {passage.text for question in read_questions(data / MULTIPLE) for passage in question.passages}
    questions = read_questions(data / TRAIN)
    contexts = list(dict.fromkeys(question.passages[0].text for question in questions))
    kept = [context for context in contexts if not any(piece in context for piece in pieces)]
    order = np.random.default_rng(0).permutation(len(kept))
    held_out = {kept[i] for i in order[::HELD_OUT]}
    others = set(kept) - held_out
    return (
        [question for question in questions if question.passages[0].text in others],
        [question for question in questions if question.passages[0].text in held_out],
        len(contexts) - len(kept),
    )


def trained(
    run: Path, training: list[Question], held_out: list[Question], rate: float, given: argparse.Namespace
) -> dict[str, Any]:
    """The record of a run with one learning rate; what was interrupted goes on."""
    options = {
        name: getattr(given, name) for name in ("checkpoint", "method", "epochs", "batch_size", "precision", "seed")
    }
    options |= LENGTHS[given.method] | SCHEDULE
    if given.method == "span":
        options |= {"window_length": given.window_length, "stride": given.window_length // 3}
        options |= {"width_multiple": given.window_length} if given.one_shape else {}
    resume = (run / "options.json").is_file()  # a run that has ended is opened, or refused where options differ
    Reader.train(training, held_out, run, learning_rate=rate, resume=resume, **options)
    record = json.loads((run / "scores.json").read_text(encoding="utf-8"))
    return {"learning_rate": rate, "directory": str(run), "options": options | {"learning_rate": rate}} | record


def scored(run: Path, questions: list[Question]) -> dict[str, Any]:
    """Exact match, F1, answers a second (the second time: without compiling), and what was read inside of tokens."""
    reader = load(run, Reader)
    answers_of(reader, questions)
    started = time.perf_counter()
    answers = answers_of(reader, questions)
    seconds = time.perf_counter() - started
    scores = score_reading(questions, answers)["all"]
    found = {name: scores[name] for name in ("questions", "blank", "cmrc_em", "cmrc_f1")}
    found["answers_per_second"] = len(questions) / seconds
    if reader.method == "span":
        found |= {"threshold": reader.threshold, "inside_share": make_examples(reader, questions).counts.inside_share}
    return found


def main() -> None:
    """Trains with each rate, chooses one, scores it and writes the record."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--checkpoint", required=True, help="directory of a pretrained model, or none")
    parser.add_argument("--output", type=Path, required=True, help="the results, JSON")
    parser.add_argument("--work", type=Path, default=Path("runs/reading_checkpoint"), help="folder of the runs")
    parser.add_argument("--method", choices=tuple(LENGTHS), default="span")
    parser.add_argument("--epochs", type=int, default=3)
    parser.add_argument("--learning-rate", type=float, nargs="+", default=[1e-4], help="one, or several to choose from")
    parser.add_argument("--batch-size", type=int, default=32)
    parser.add_argument("--precision", default="float32", help="float32 or bfloat16")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--limit", type=int, help="for trials: the most questions of each part")
    parser.add_argument("--window-length", type=int, default=384, help="span: tokens of a window with its question")
    parser.add_argument("--one-shape", action="store_true", help="span: pad all windows to one length")
    given = parser.parse_args()
    folder = os.environ.get("NLPTASKS_DATA")
    if not folder:
        parser.error("NLPTASKS_DATA is not set: it names a folder of public data sets, see data/README.md")
    data = Path(folder) / "reading_comprehension"
    training, held_out, left_out = split(data)
    trial = read_questions(data / TRIAL)
    training, held_out, trial = (questions[: given.limit] for questions in (training, held_out, trial))
    started = time.perf_counter()
    runs = [
        trained(given.work / f"{given.method}_{rate:g}_{given.seed}_{given.limit}", training, held_out, rate, given)
        for rate in given.learning_rate
    ]
    seconds = time.perf_counter() - started
    best = max(runs, key=lambda run: run["best"]["cmrc_f1"])
    start_run(given.seed, given.precision)
    record = {
        "method": given.method,
        "checkpoint": given.checkpoint,
        "seed": given.seed,
        "backend": keras.backend.backend(),
        "surroundings": surroundings("keras", "numpy"),
        "questions": {"training": len(training), "held_out": len(held_out), "contexts_left_out": left_out},
        "training_seconds": round(seconds, 1),
        "learning_rate": best["learning_rate"],
        "epoch": best["best"]["epoch"],
        "trial": scored(Path(best["directory"]), trial),
        "runs": runs,
    }
    if given.method == "span":
        kept = best["answers"]
        record["training_inside_share"] = kept["inside"] / max(1, kept["kept"])
    write_text(given.output, json.dumps(record, ensure_ascii=False, indent=1) + "\n")
    print(json.dumps(record["trial"], ensure_ascii=False))


if __name__ == "__main__":
    main()
