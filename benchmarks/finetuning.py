"""Runs from a checkpoint, several in one process: what the tables of scores from pretrained weights share.

A run is what the train command does with `--warmup-share 0.1 --decay --clip-norm 1` where its last epoch is kept. What
differs is for the clock of a GPU: all runs of one structure use the programs that were compiled for the first, batches
are padded to few widths, nothing waits for a loss before the next step is started, and no state is saved. Where several
learning rates are given, the one that scores best on a tenth of the training lines, held out for it, is used for all
seeds, which train on all the lines. The scored file is read for nothing else.
"""

import argparse
import json
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from record import surroundings

from nlptasks.files import write_text

WARMUP, CLIP_NORM, DROPOUT = 0.1, 1.0, 0.1
RESAMPLES = 4000


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """What every run from a checkpoint can be told; what is left out is the benchmark's own setting."""
    group = parser.add_argument_group("from a checkpoint", "with these --output is a JSON file of the runs")
    group.add_argument("--checkpoint", type=Path, help="directory with config, weights and tokenizer")
    group.add_argument("--seeds", "--seed", type=int, nargs="+", default=[1, 2, 3])
    group.add_argument("--epochs", type=int)
    group.add_argument("--learning-rate", type=float, nargs="+", help="several: chosen on a tenth of the training file")
    group.add_argument("--batch-size", type=int)
    group.add_argument("--max-length", type=int, help="tokens that are read of a text")
    group.add_argument("--pad-to", type=int, help="widths are multiples of this; default: --max-length, one program")
    group.add_argument("--precision", choices=("float32", "bfloat16"), default="float32")
    group.add_argument(
        "--fused-attention", action="store_true", help="no dropout of attention, whose scores a GPU then never keeps"
    )
    group.add_argument("--limit", type=int, help="the most lines of every file, for a trial")


def checkpoint_encoder(options: argparse.Namespace, seed: int, pad_id: int) -> Any:
    """The encoder of the checkpoint without heads, after a start with the seed and the precision of the run."""
    from nlptasks.applications.encoder_head import HEAD
    from nlptasks.loading import build_transformer_model
    from nlptasks.train.run import start_run

    start_run(seed, options.precision)
    path = options.checkpoint
    rates = {"dropout": DROPOUT, "attention_dropout": 0.0 if options.fused_attention else DROPOUT}
    model = build_transformer_model(path, path, application="encoder", skip=(HEAD,), pad_id=pad_id, **rates)
    model.fused_attention = options.fused_attention
    return model


class Plan(NamedTuple):
    """How long and how fast a run learns."""

    epochs: int
    learning_rate: float
    batch_size: int


class Trainer:
    """Trains applications of one structure one after another, with one set of compiled programs.

    Args:
        application: the first one; its variables receive the values of the others, and its programs are theirs.
        more: models whose variables belong to it beside those of `application.model`.
    """

    def __init__(self, application: Any, more: Sequence[Any] = ()) -> None:
        from nlptasks.backend import compile_train_step
        from nlptasks.train.optimizers import make_adam

        self.application, self.more = application, more
        # a constant rate is a variable of the optimizer, so that schedules share a program
        self.optimizer = make_adam(1.0, 1, decay=False, clip_norm=CLIP_NORM)
        self.step = compile_train_step(application.model, self.optimizer, application.loss)
        self.start = [np.array(variable.value) for variable in self.optimizer.variables]

    def run(self, examples: Any, plan: Plan) -> dict[str, float]:
        """Trains what `application` is now; returns the mean loss of the last epoch, steps, tokens, seconds."""
        for variable, value in zip(self.optimizer.variables, self.start, strict=True):
            variable.assign(value)
        counts = [examples.num_batches(epoch, plan.batch_size) for epoch in range(plan.epochs)]
        rates = schedule(plan.learning_rate, sum(counts))
        started, tokens, loss = time.monotonic(), 0, 0.0
        for epoch in range(plan.epochs):
            total = 0.0
            for batch in examples.batches(epoch, plan.batch_size):
                arrays = examples.arrays(batch, plan.batch_size)
                tokens += arrays["token_ids"].size
                self.optimizer.learning_rate.assign(next(rates))
                total = total + self.step(arrays)  # on the device: reading a loss would wait for it
            loss = float(total) / counts[epoch]
            if not np.isfinite(loss):
                raise SystemExit(f"the loss is no number in epoch {epoch + 1}, with {plan}")
        seconds = time.monotonic() - started
        return {"loss": loss, "steps": sum(counts), "tokens": tokens, "seconds": round(seconds, 1)}

    def become(self, other: Any, more: Sequence[Any] = ()) -> None:
        """Takes over the values of another application of the same structure, its seeds included."""
        copy_values(self.application.model, other.model)
        for mine, its in zip(self.more, more, strict=True):
            copy_values(mine, its)


def schedule(peak: float, total: int) -> Iterator[float]:
    """The rate of each step: up over a tenth of them, then down to 0, as `WarmupLinearDecay`."""
    warmup = int(total * WARMUP)
    for step in range(total):
        rising, falling = (step + 1) / max(1, warmup), (total - step) / max(1, total - warmup)
        yield peak * min(1.0, rising, falling)


def copy_values(mine: Any, its: Any) -> None:
    """Gives every variable of a model the value of the other's; both have the same layers in the same order."""
    for variable, other in zip(mine.variables, its.variables, strict=True):
        if tuple(variable.shape) != tuple(other.shape):
            raise ValueError(f"{variable.path} is {tuple(variable.shape)}, {other.path} {tuple(other.shape)}")
        variable.assign(np.array(other.value))  # a copy: JAX donates each buffer once


class Record:
    """The runs of a process, written as soon as each is done, so that a process that is stopped keeps them."""

    def __init__(self, path: Path, **about: Any) -> None:
        self.path, self.content = path, {**about, "surroundings": surroundings("keras", "numpy"), "runs": []}

    def add(self, system: str, seed: int, score: float, items: list, **more: Any) -> None:
        """A finished run.

        Args:
            items: of every scored text, in their order: 1 or 0, or the counts of entities right, found and wanted.
        """
        more = {k: str(v) if isinstance(v, Path) else v for k, v in more.items()}
        self.content["runs"].append({"system": system, "seed": seed, "score": score, **more, "items": items})
        told = {k: v for k, v in more.items() if not isinstance(v, list | dict)}
        print(f"{system}, seed {seed}: {score:.2f} {told}", flush=True)
        self.write()

    def write(self, **more: Any) -> None:
        """Writes what there is, with further keys."""
        self.content |= more
        self.path.parent.mkdir(parents=True, exist_ok=True)
        write_text(self.path, json.dumps(self.content, ensure_ascii=False) + "\n")


def limited(rows: list, limit: int | None) -> list:
    """So many of the rows, from the whole of the file."""
    return rows[:: max(1, len(rows) // limit)][:limit] if limit else rows


def without_test(training: list, test: list, parts: Callable[[Any], Sequence[str]]) -> list:
    """The training texts of which no part equals one of a test text by the loose match of no_leakage.py."""
    from no_leakage import key

    tested = {key(part) for text in test for part in parts(text)} - {0}
    kept = [text for text in training if not tested & {key(part) for part in parts(text)}]
    print(f"{len(kept)} of {len(training)} training texts: the others stand in the test texts", flush=True)
    return kept


def held_out(lines: Sequence[Any]) -> tuple[list, list]:
    """Nine tenths and every tenth of the training lines."""
    return [line for i, line in enumerate(lines) if i % 10], list(lines[::10])


def chosen_rate(rates: Sequence[float], score: Callable[[float], float]) -> tuple[float, dict[str, float]]:
    """The rate with the best score on held-out training lines, and the scores; one rate alone is not tried."""
    if len(rates) == 1:
        return rates[0], {}
    scores = {rate: score(rate) for rate in rates}
    print(f"on the held-out tenth: {scores}", flush=True)
    return max(scores, key=scores.__getitem__), {str(rate): value for rate, value in scores.items()}


# Scores of items


def percent(items: Sequence) -> float:
    """Accuracy of 1s and 0s, or F1 of counts (right, found, wanted)."""
    counts = np.asarray(items, "float64")
    return float(_percent_of_sums(counts.sum(axis=0), len(counts)))


def _percent_of_sums(sums: np.ndarray, count: int) -> np.ndarray:
    """Scores of sums over `count` items; the last axis is that of the three counts, if there are such."""
    if sums.ndim and sums.shape[-1] == 3:
        right, found, wanted = np.moveaxis(sums, -1, 0)
        return 200 * right / np.maximum(1.0, found + wanted)
    return 100 * sums / count


def interval(runs: Sequence[Sequence], others: Sequence[Sequence] | None = None, seed: int = 0) -> tuple[float, float]:
    """95 percent of the mean score of runs, or of its difference to other runs on the same items: a bootstrap that
    draws items, each with what all runs made of it.
    """
    parts = [np.mean(np.asarray(one, "float64"), axis=0) for one in (runs, others) if one is not None]
    count = len(parts[0])
    drawn = np.random.default_rng(seed).integers(0, count, (RESAMPLES, count))
    scores = [_percent_of_sums(part[drawn].sum(axis=1), count) for part in parts]
    low, high = np.percentile(scores[0] if others is None else scores[0] - scores[1], (2.5, 97.5))
    return float(low), float(high)
