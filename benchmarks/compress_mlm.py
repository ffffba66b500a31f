"""A pretrained encoder of 12 layers made one of 6 under the masked-LM loss: by Theseus, by distillation, or as it is.

    python benchmarks/compress_mlm.py train --model runs/masked_lm/model --rows runs/masked_lm/rows.npz \\
        --method theseus --tokens 5000000 --vocab-cut --output runs/compress_mlm/theseus
    python benchmarks/compress_mlm.py pack --model runs/compress_mlm/theseus --output runs/compress_mlm/packed --bits 8
    python benchmarks/compress_mlm.py input --model runs/masked_lm/model --rows runs/masked_lm/rows.npz

The methods, all from the same model, on the same rows in the same order:

* theseus (arXiv 2002.02925): for `--replacement-share` of the run each pair of layers is, step by step, replaced at
  random by one new layer, which learns among the old ones, more and more often; then the new layers are trained alone.
* layers: some of the layers are taken and trained on.
* distil: the same layers, with two more losses: the divergence from the model's probabilities of the masked tokens, and
  the share of its hidden states' variance that those of the small model leave open.

A run ends after `--tokens`, or after `--seconds` of training (compiling, scoring and saving are not counted; the result
says how long they took). The rate rises over the first steps and falls linearly to 0 at that end, whichever it is.
`--vocab-cut` keeps the tokens that the rows have, and those that any Chinese text needs. The output is a model
directory in float16 with a card, log.jsonl and result.json; it is written again at every scoring. The loss of a line of
the log is what that phase minimises; held-out scores are those of the masked-LM loss in every method. JAX only; with
JAX_COMPILATION_CACHE_DIR set, a program that an earlier run compiled is not compiled again.
"""

import json
import os
import sys
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any, Literal, NamedTuple

os.environ.setdefault("KERAS_BACKEND", "jax")

import jax
import numpy as np
from masked_lm import (
    ORIGIN,
    Pack,
    card,
    held_out_batches,
    held_out_scores,
    save_halves,
)
from masked_rows import Rows, training_order

from nlptasks.applications.compression.distillation import Distillation
from nlptasks.applications.compression.plan import ReplacementSchedule
from nlptasks.applications.compression.theseus import Theseus, with_fewer_layers
from nlptasks.console import parse, run, say
from nlptasks.core.transformer import Transformer
from nlptasks.errors import DivergedError
from nlptasks.files import read_json_object, write_text
from nlptasks.loading import build_transformer_model
from nlptasks.pretraining.compressing import distillation_loss, theseus_loss
from nlptasks.pretraining.devices import fuse_attention
from nlptasks.pretraining.objectives import Objective
from nlptasks.pretraining.shards import vocab_fingerprint
from nlptasks.pretraining.step import Loss, compile_step, keep_state, make_evaluation, make_step, state_of, with_rate
from nlptasks.text import Tokenizer
from nlptasks.text.vocab import SPECIAL_TOKENS, UNK, simplify_vocab
from nlptasks.train.interruption import StopRequested
from nlptasks.train.optimizers import Lamb
from nlptasks.train.record import jsonable
from nlptasks.train.run import start_run

LOG, RESULT = "log.jsonl", "result.json"
AHEAD = 8
"""batches that are made before they are used"""
RUNNING = 2
"""steps that the device may have before it; a time limit is passed by so many at most"""
KEPT_RATES = ("hidden_dropout_prob", "attention_probs_dropout_prob")
"""of config.json: training has no dropout here, fine-tuning has what the model had"""


# Rows and vocabulary


def read_rows(path: Path, tokenizer: Tokenizer) -> Rows:
    """Rows as `masked_lm.py` keeps them; numbers may be stored in smaller types.

    Raises:
        ValueError: they were made with another vocabulary than the model's.
    """
    with np.load(path) as file:
        arrays = dict(file)
    made_with = str(arrays.pop("of", "")).split(" ", 1)[0]
    if made_with and made_with != vocab_fingerprint(tokenizer.vocab):
        raise ValueError(f"{path}: made with another vocabulary than that of the model; give the rows of its own.")
    types = {"token_ids": "int32", "lengths": "int64", "domains": "int64"}
    types |= dict.fromkeys(("word_starts", "document_starts", "held_out"), "bool")
    return Rows(arrays | {name: arrays[name].astype(kind) for name, kind in types.items()})


def is_common(token: str) -> bool:
    """Whether any Chinese text may have it: one of the 3,755 most common characters, or a letter, digit or mark."""
    if token.removeprefix("##").isascii():
        return len(token.removeprefix("##")) == 1
    try:
        code = token.encode("gb2312")
    except UnicodeEncodeError:
        return False
    return len(token) == 1 and (0xB0 <= code[0] <= 0xD7 or code[0] in (0xA1, 0xA3))  # first level; punctuation


def cut_vocab(vocab: dict[str, int], token_ids: np.ndarray, entries: int, min_count: int) -> dict[str, int]:
    """The tokens to keep, with their former ids: special ones, common ones, and the most frequent of the others."""
    known, former = simplify_vocab(vocab, SPECIAL_TOKENS)
    counts = np.bincount(token_ids, minlength=len(vocab))
    order = sorted(zip(known, former, strict=True), key=lambda pair: -counts[pair[1]])
    kept = {token for token in known if token in SPECIAL_TOKENS or is_common(token)}
    for token, i in order:
        if len(kept) >= entries or counts[i] < min_count:
            break
        kept.add(token)
    return {token: i for token, i in zip(known, former, strict=True) if token in kept}


class Batches(Iterator[tuple[dict[str, jax.Array], int]]):
    """Masked batches `(1, B, ...)`, or split ones `(2, B / 2, ...)`, on the device, each with the number of its tokens.

    They have no end, are made ahead in threads, and follow from the seed and their number. NumPy lets others work
    while it computes.
    """

    def __init__(
        self,
        rows: Rows,
        objective: Objective,
        order: np.ndarray,
        size: int,
        seed: int,
        threads: int = 3,
        unilm_every: int = 0,
    ):
        self.rows, self.objective, self.order, self.size, self.seed = rows, objective, order, size, seed
        self.splitting, self.unilm_every = replace(objective, name="unilm"), unilm_every
        self.starts = np.cumsum(rows.lengths) - rows.lengths
        self.pool, self.number, self.waiting = ThreadPoolExecutor(threads), 0, deque()

    def __next__(self) -> tuple[dict[str, jax.Array], int]:
        while len(self.waiting) < AHEAD:
            self.waiting.append(self.pool.submit(self.made, self.number))
            self.number += 1
        return self.waiting.popleft().result()

    def made(self, number: int) -> tuple[dict[str, jax.Array], int]:
        """The batch of a number."""
        picked = self.order[np.arange(number * self.size, (number + 1) * self.size) % len(self.order)]
        lengths = self.rows.lengths[picked]
        firsts, total = np.cumsum(lengths) - lengths, int(lengths.sum())
        places = np.repeat(self.starts[picked] - firsts, lengths) + np.arange(total)
        arrays = [self.rows.arrays[name][places] for name in ("token_ids", "word_starts")]
        random = np.random.default_rng([self.seed, number])
        if self.unilm_every and number % self.unilm_every == self.unilm_every - 1:
            batch, parts = self.splitting.split_batch(*arrays, lengths, random), 2  # logits at every token: two halves
        else:
            batch, parts = self.objective.masked_batch(*arrays, lengths, random), 1
        return jax.device_put({n: array.reshape(parts, -1, *array.shape[1:]) for n, array in batch.items()}), total

    def close(self) -> None:
        self.pool.shutdown(cancel_futures=True)


class Scores:
    """Scores of a model on the held-out rows, masked as `masked_lm.py` masks them; one compiled program a model.

    Args:
        rows, tokenizer: before anything is cut.
        new_ids: of each token of that vocabulary its id in the model's.
    """

    def __init__(self, rows: Rows, objective: Objective, new_ids: np.ndarray, most: int):
        self.names, self.batches = rows.names, []
        for domain, batch in held_out_batches(rows, objective, most, most):
            batch |= {name: new_ids[batch[name]] for name in ("token_ids", "target_ids")}
            missing = most - len(batch["token_ids"])
            self.batches.append((domain, {n: np.pad(a, [(0, missing), (0, 0)]) for n, a in batch.items()}))

    def of(self, model: Transformer) -> Callable[[], dict[str, dict[str, float]]]:
        """A function that scores the model as it is then."""
        evaluate = jax.jit(make_evaluation(model))

        def score() -> dict[str, dict[str, float]]:
            values = [[v.value for v in part] for part in (model.trainable_variables, model.non_trainable_variables)]
            return held_out_scores(lambda batch: evaluate(*values, batch), self.batches, self.names)

        return score


# Training


class Clock:
    """How far a run is, by its tokens or by the seconds that it trained."""

    def __init__(self, tokens: int | None, seconds: float | None, began: float | None = None):
        """With `began`, the time is counted from there and never stops."""
        self.tokens, self.seconds, self.done, self.stopped = tokens, seconds, 0, 0.0
        self.stops, self.began = began is None, time.monotonic() if began is None else began

    @property
    def trained(self) -> float:
        """Seconds without the pauses."""
        return time.monotonic() - self.began - self.stopped

    @property
    def share(self) -> float:
        """From 0 at the start to 1 at the end of the run."""
        return self.done / self.tokens if self.tokens else self.trained / self.seconds

    @contextmanager
    def paused(self) -> Iterator[None]:
        """What is done inside is no training."""
        began = time.monotonic()
        yield
        self.stopped += (time.monotonic() - began) * self.stops


class Phase(NamedTuple):
    """A part of a run: what is trained, by which loss, until which share of the run."""

    name: str
    model: Any
    loss: Loss
    end: float
    replacing: bool = False


@dataclass(kw_only=True)
class Train:
    """Make a small model; prints its scores."""

    model: Path
    """directory of the large model, with its masked-LM head and vocab.txt"""
    rows: Path
    """rows.npz of masked_lm.py"""
    output: Path
    method: Literal["theseus", "layers", "distil"]
    tokens: int | None = None
    """length of the run, or"""
    seconds: float | None = None
    """of training"""
    count_all: bool = False
    """count compiling, scoring and saving as training: the run ends so many seconds after it began"""
    layers: int = 6
    init: Literal["even", "first"] = "even"
    """layers to start from: the last of each group, or the lowest"""
    vocab_cut: bool = False
    """keep only tokens that the rows have, and common ones"""
    entries: int = 12_000
    """of a cut vocabulary, at most"""
    min_count: int = 5
    """how often the rows have a token that is kept and not common"""
    batch_size: int = 512
    """rows of a step"""
    learning_rate: float = 5e-4
    warmup_share: float = 0.04
    """of the run, in which the rate rises, in each phase"""
    weight_decay: float = 0.01
    clip_norm: float = 1.0
    replacement_share: float = 0.6
    """theseus: of the run, while layers are replaced"""
    replacement_rate: float = 0.5
    """theseus: at the start; it rises linearly to 1"""
    soft_weight: float = 1.0
    """distil: of the divergence"""
    hidden_weight: float = 1.0
    """distil: of the hidden states"""
    temperature: float = 1.0
    """distil: of the probabilities"""
    mask_rate: float = 0.15
    unilm_every: int = 0
    """every so manieth step learns UNILM's splits, for a model with its masks; 0: none"""
    power: float = 0.5
    """a domain's share goes with its size to this power"""
    precision: str = "bfloat16"
    seed: int = 1
    held_out_rows: int = 48
    """of each domain, that are scored"""
    scorings: int = 4
    """in the run, at equal distances"""
    log_steps: int = 50
    score_model: bool = False
    """score the large model, too"""
    threads: int = 3
    """that make batches"""

    def run(self) -> None:
        self._options, self._wall, self._log = jsonable(self), time.monotonic(), []
        self._check()
        start_run(self.seed, self.precision)
        tokenizer = Tokenizer.from_directory(self.model)
        rows = read_rows(self.rows, tokenizer)
        objective = self._objective(tokenizer.vocab, int(rows.lengths.max()))
        kept = {token: i for i, token in enumerate(sorted(tokenizer.vocab, key=tokenizer.vocab.__getitem__))}
        if self.vocab_cut:
            kept = cut_vocab(kept, rows.arrays["token_ids"], self.entries, self.min_count)
        new_ids = np.full(tokenizer.vocab_size, list(kept).index(UNK), "int32")
        new_ids[list(kept.values())] = np.arange(len(kept))
        scores = Scores(rows, objective, new_ids, self.held_out_rows)
        former = float((rows.arrays["token_ids"] == tokenizer.unk_id).mean())
        rows.arrays["token_ids"] = new_ids[rows.arrays["token_ids"]]
        self._tokenizer = Tokenizer({token: i for i, token in enumerate(kept)}, tokenizer.lowercase)
        unknown = float((rows.arrays["token_ids"] == self._tokenizer.unk_id).mean())
        self._told = {"vocabulary": len(kept), "unknown_share": unknown, "unknown_share_uncut": former}
        keep = {"keep_tokens": list(kept.values())} if self.vocab_cut else {}
        teacher = build_transformer_model(
            self.model, self.model, with_mlm="linear", dropout=0.0, attention_dropout=0.0, **keep
        )
        fuse_attention(teacher, objective.seq_length)
        self._student = with_fewer_layers(teacher, self.layers, self.init)
        self._score = scores.of(self._student)
        write_text(self.output / LOG, "")
        if self.score_model:
            self._told["large_model_held_out"] = scores.of(teacher)()
            self._add({"phase": "the large model", "tokens": 0, "held_out": self._told["large_model_held_out"]})
        own = self._objective(self._tokenizer.vocab, objective.seq_length)
        order = training_order(rows, self.power, self.seed)
        batches = Batches(rows, own, order, self.batch_size, self.seed, self.threads, self.unilm_every)
        try:
            with StopRequested() as stop:
                self._train(self._phases(teacher), batches, stop)
        finally:
            batches.close()

    def _check(self) -> None:
        if (self.tokens is None) == (self.seconds is None):
            raise ValueError("give either --tokens or --seconds, above 0: where the run ends.")
        if (self.tokens or self.seconds or 0) <= 0:
            raise ValueError("--tokens and --seconds must be above 0.")
        if (self.output / RESULT).is_file():
            raise ValueError(f"{self.output}: holds a finished run; name another --output.")
        self.output.mkdir(parents=True, exist_ok=True)

    def _objective(self, vocab: dict[str, int], seq_length: int) -> Objective:
        return Objective(name="mlm", vocab=vocab, seq_length=seq_length, mask_rate=self.mask_rate)

    def _phases(self, teacher: Transformer) -> list[Phase]:
        student = self._student
        if self.method == "distil":
            both = Distillation(teacher, student)
            weights = {name: getattr(self, name) for name in ("soft_weight", "hidden_weight", "temperature")}
            return [Phase("distil", both, partial(distillation_loss, both, **weights), 1.0)]
        alone = Phase("alone", student, None, 1.0)
        if self.method == "layers":
            return [alone]
        theseus = Theseus(teacher, student, mixing="coin", seed=self.seed)
        return [Phase("replacement", theseus, partial(theseus_loss, theseus), self.replacement_share, True), alone]

    def _train(self, phases: list[Phase], batches: Batches, stop: StopRequested) -> None:
        self._clock = Clock(self.tokens, self.seconds, self._wall if self.count_all else None)
        self._steps, self._firsts = 0, {}
        with self._clock.paused():
            self._record("start")
        begin = 0.0
        for phase in phases:
            self._run_phase(phase, begin, batches, stop)
            begin = phase.end
        with self._clock.paused():
            self._record("end")
        self._finish(stop.requested)

    def _run_phase(self, phase: Phase, begin: float, batches: Batches, stop: StopRequested) -> None:
        clock = self._clock
        with clock.paused():
            optimizer = Lamb(
                self.learning_rate,
                weight_decay_rate=self.weight_decay,
                exclude_from_layer_adaptation=("",),  # AdamW
                global_clipnorm=self.clip_norm,
            )
            state = state_of(phase.model, optimizer)
            step = compile_step(make_step(phase.model, optimizer, loss=phase.loss), state)
        schedule = ReplacementSchedule(start=self.replacement_rate)
        window, waiting = Window(clock), deque()
        scored = int(clock.share * self.scorings)
        while (share := clock.share) < phase.end and not stop.requested:
            rate = self.learning_rate * (1 - share) * min(1.0, (share - begin) / self.warmup_share + 1e-3)
            replaced = schedule((share - begin) / (phase.end - begin)) if phase.replacing else None
            batch, tokens = next(batches)
            if replaced is not None:
                batch["rate"] = np.full(len(batch["token_ids"]), replaced, "float32")
            kind = "unilm" if "segment_ids" in batch else "masked"
            first = (program := f"{phase.name}, {kind}") not in self._firsts
            if first:
                began = time.monotonic()
                with clock.paused():
                    state, metrics = step(with_rate(state, optimizer, rate), batch)
                    jax.block_until_ready(metrics)
                self._firsts[program] = round(time.monotonic() - began, 2)
            else:
                state, metrics = step(with_rate(state, optimizer, rate), batch)
            self._steps += 1
            clock.done += tokens
            waiting.append((kind, metrics, 0 if first else tokens))
            if len(waiting) > RUNNING:  # looks at a step while later ones run
                window.add(*waiting.popleft())
            if window.steps >= self.log_steps:
                self._add(self._place(phase.name, len(waiting)) | window.close(rate, replaced))
            if int(clock.share * self.scorings) > scored and clock.share < 1:
                scored = int(clock.share * self.scorings)
                jax.block_until_ready(state)
                with clock.paused():
                    keep_state(phase.model, state)
                    self._record(phase.name)
        while waiting:
            window.add(*waiting.popleft())
        if window.steps:
            self._add(self._place(phase.name) | window.close(rate, replaced))
        keep_state(phase.model, state)

    def _place(self, phase: str, running: int = 0) -> dict[str, Any]:
        """Where the run is; of the steps begun, `running` are not known to be done."""
        seconds = round(self._clock.trained, 2)
        return {"phase": phase, "step": self._steps - running, "tokens": self._clock.done, "seconds": seconds}

    def _record(self, phase: str) -> None:
        """Scores the small model and writes it."""
        self._add(self._place(phase) | {"held_out": self._score()})
        values = read_json_object(self.model / "config.json")
        rates = {name: values[name] for name in KEPT_RATES if name in values}
        save_halves(self._student, self._tokenizer, self.output, **rates)
        write_text(self.output / "README.md", self._card())

    def _card(self) -> str:
        done, config = self._clock.done, self._student.config
        how = {
            "theseus": "by BERT-of-Theseus (arXiv 2002.02925) under the masked-LM loss",
            "layers": "by taking layers and training on under the masked-LM loss",
            "distil": "by distillation of logits and hidden states under the masked-LM loss",
        }[self.method]
        told = [
            *ORIGIN[:-1],
            "vocabulary of Chinese BERT (Google, Apache-2.0), trained on with a masked-LM head, and cut to",
            f"{config.num_layers} layers {how} on {done:,} tokens of Chinese text.",
            f"{config.vocab_size:,} tokens are in the vocabulary.",
        ]
        text = card(f"Chinese characters, {config.num_layers} layers x {config.hidden_size}", told, self._log)
        path = self.model / "README.md"
        if path.is_file():  # what is known of the model that this one was made of
            title, _, rest = path.read_text(encoding="utf-8").partition("\n## Licence")[0].partition("\n")
            head, licence = text.split("\n## Licence", 1)
            large = f"{title.removeprefix('# ')}, of which it was made"
            text = f"{head}\n## {large}\n\n{rest.strip()}\n\n## Licence{licence}"
        return text

    def _finish(self, stopped: bool) -> None:
        speeds = [line["tokens_per_second"] for line in self._log if "tokens_per_second" in line]
        result = {
            "method": self.method,
            "options": self._options,
            "device": jax.devices()[0].device_kind,
            "tokens": self._clock.done,
            "steps": self._steps,
            "seconds": round(self._clock.trained, 2),
            "wall_seconds": round(time.monotonic() - self._wall, 2),
            "first_step_seconds": self._firsts,
            "tokens_per_second": float(np.median(speeds)) if speeds else None,
            "parameters": int(sum(np.prod(v.shape) for v in self._student.trainable_variables)),
            "ended_early": stopped,
            **self._told,
            "held_out": self._log[-1]["held_out"],
        }
        text = json.dumps(result, ensure_ascii=False, indent=2)
        write_text(self.output / RESULT, text + "\n")
        print(text)

    def _add(self, line: dict[str, Any]) -> None:
        self._log.append(line)
        text = json.dumps(line, ensure_ascii=False)
        say(text)
        with open(self.output / LOG, "a", encoding="utf-8") as file:
            file.write(text + "\n")


class Window:
    """What happened since the last line of the log."""

    def __init__(self, clock: Clock):
        self._clock = clock
        self._restart()

    def _restart(self) -> None:
        self.steps, self._tokens, self._began = 0, 0, self._clock.trained
        self._bad, self._sums = 0, {kind: np.zeros(3) for kind in ("masked", "unilm")}

    def add(self, kind: str, metrics: dict[str, jax.Array], tokens: int) -> None:
        values = {name: float(value) for name, value in jax.device_get(metrics).items()}
        self.steps, self._tokens = self.steps + 1, self._tokens + tokens
        if values["bad"]:
            self._bad += 1
            return
        self._sums[kind] += values["targets"] * np.array([values["loss"], values["accuracy"], 1.0])

    def close(self, rate: float, replaced: float | None) -> dict[str, float]:
        if self._bad == self.steps:
            raise DivergedError("all of {steps} steps are not finite; lower {field:learning_rate}.", steps=self.steps)
        seconds = self._clock.trained - self._began
        line: dict[str, float] = {}
        for prefix, (loss, hits, targets) in zip(("", "unilm_"), self._sums.values(), strict=True):
            if targets:
                line |= {f"{prefix}loss": round(loss / targets, 4), f"{prefix}accuracy": round(hits / targets, 4)}
        line |= {
            "learning_rate": float(f"{rate:.3g}"),
            "tokens_per_second": round(self._tokens / max(seconds, 1e-9), 1),
        }
        line |= {} if replaced is None else {"replacement_rate": round(replaced, 3)}
        line |= {"bad_steps": self._bad} if self._bad else {}
        self._restart()
        return line


# Packing, and the input alone


@dataclass
class PackSmall(Pack):
    """Store a model directory in few bits; with --rows and --source both are scored on the held-out text."""

    rows: Path | None = None
    """rows.npz"""
    source: Path | None = None
    """directory whose vocab.txt the rows were made with"""
    held_out_rows: int = 48
    mask_rate: float = 0.15

    def run(self) -> None:
        if (self.rows is None) != (self.source is None):
            raise ValueError("--rows and --source go together.")
        super().run()
        if self.rows is None:
            return
        start_run(1)
        tokenizer, own = (Tokenizer.from_directory(path) for path in (self.source, self.model))
        rows = read_rows(self.rows, tokenizer)
        length = int(rows.lengths.max())
        objective = Objective(name="mlm", vocab=tokenizer.vocab, seq_length=length, mask_rate=self.mask_rate)
        lines = ["Held-out text, means of the domains:", "", "| | loss | accuracy |", "|---|---|---|"]
        for name, path in (("float16", self.model), (f"{self.bits} bits", self.output)):
            own = Tokenizer.from_directory(path)
            new_ids = np.array([own.vocab.get(t, own.unk_id) for t in sorted(tokenizer.vocab, key=tokenizer.vocab.get)])
            model = build_transformer_model(path, path, with_mlm="linear")
            found = Scores(rows, objective, new_ids.astype("int32"), self.held_out_rows).of(model)()["mean of domains"]
            lines.append(f"| {name} | {found['loss']:.4f} | {found['accuracy']:.4f} |")
        head, licence = (self.output / "README.md").read_text(encoding="utf-8").split("\n## Licence", 1)
        write_text(self.output / "README.md", "\n".join([head, *lines, "", f"## Licence{licence}"]))
        print("\n".join(lines))


@dataclass(kw_only=True)
class Input:
    """Tokens a second that one core masks: row by row, and as batches."""

    model: Path
    rows: Path
    batch_size: int = 512
    batches: int = 40
    mask_rate: float = 0.15

    def run(self) -> None:
        tokenizer = Tokenizer.from_directory(self.model)
        rows = read_rows(self.rows, tokenizer)
        length = int(rows.lengths.max())
        objective = Objective(name="mlm", vocab=tokenizer.vocab, seq_length=length, mask_rate=self.mask_rate)
        batches = Batches(rows, objective, training_order(rows, 0.5, 1), self.batch_size, 1)
        began, picked = time.process_time(), batches.order[: self.batch_size]
        for i in picked.tolist():
            objective.example(rows[i], np.random.default_rng(i))
        print(
            f"row by row: {rows.lengths[picked].sum() / (time.process_time() - began):,.0f} tokens a second of a core"
        )
        began = time.process_time()
        tokens = sum(batches.made(number)[1] for number in range(self.batches))
        print(f"as batches: {tokens / (time.process_time() - began):,.0f} tokens a second of a core")
        batches.close()


COMMANDS = {"train": Train, "pack": PackSmall, "input": Input}


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the command of the line; returns its exit status."""
    return run(parse(COMMANDS, __doc__, sys.argv[1:] if arguments is None else arguments, Path(__file__).name))


if __name__ == "__main__":
    sys.exit(main())
