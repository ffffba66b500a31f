"""Masked-LM training of a pretrained encoder on the raw text: whole words, by domain, in pieces of any length.

    NLPTASKS_DATA=... python benchmarks/masked_lm.py train --state runs/masked_lm
    NLPTASKS_DATA=... python benchmarks/masked_lm.py export --state runs/masked_lm --output runs/masked_lm/model
    NLPTASKS_DATA=... python benchmarks/masked_lm.py pack --model runs/masked_lm/model --output runs/masked_lm/packed
    NLPTASKS_DATA=... python benchmarks/masked_lm.py evaluate --state runs/masked_lm --model runs/masked_lm/model
    NLPTASKS_DATA=... python benchmarks/masked_lm.py speed

`checkpoints/characters` has no masked-LM head: a fresh one is trained alone first ("before" is where that ends), then
everything. The same command goes on where a run stopped or was killed, at the latest state (one every ten minutes),
and sees the same examples in the same order. `--tokens` may change between pieces: the rate falls linearly to 0 there.

Each file of the `text` folder is a domain. What benchmarks score is left out (`no_leakage.py`); every fiftieth document
by its hash is held out, and no sentence of those is trained on. Domains are drawn in proportion to a power of their
size below 1, so that small ones count. `log.jsonl` in the state folder has a line for every few steps, and the scores
of the held-out text by domain.
"""

import itertools
import json
import os
import resource
import sys
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

os.environ.setdefault("KERAS_BACKEND", "tensorflow")

import keras
import numpy as np
from keras import ops
from masked_rows import Rows, training_order
from no_leakage import documents, evaluation_keys, key, keys_of, task_texts, text_files, without
from safetensors import safe_open
from safetensors.numpy import load_file, save_file

from nlptasks.backend import compile_function, compile_train_step
from nlptasks.checkpoints.huggingface import WEIGHTS, save_directory
from nlptasks.checkpoints.weights import weight_table
from nlptasks.console import parse, run, say
from nlptasks.core.layers import at_positions
from nlptasks.core.transformer import Transformer
from nlptasks.errors import DivergedError
from nlptasks.files import atomic_path, write_text
from nlptasks.loading import build_transformer_model
from nlptasks.pretraining.objectives import Objective
from nlptasks.pretraining.packing import Packer
from nlptasks.pretraining.shards import Row, decode_row, id_bytes_for, vocab_fingerprint
from nlptasks.pretraining.words import make_word_cutter
from nlptasks.text import Tokenizer
from nlptasks.text.vocab import SPECIAL_TOKENS, load_vocab, simplify_vocab
from nlptasks.train.adam import Adam
from nlptasks.train.interruption import StopRequested
from nlptasks.train.record import OPTIONS, jsonable, read_options, require_same, write_options
from nlptasks.train.run import start_run
from nlptasks.train.state import Progress, load_state, save_state

CHECKPOINT = "checkpoints/characters"
STATE, ROWS, LOG, PID = "state.safetensors", "rows.npz", "log.jsonl", "pid"
HELD_OUT_NTH, HELD_OUT_SEED = 50, 20181011
HEAD, ALL = 0, 1
UNDECAYED = ["bias$", "gamma$", "beta$"]
ORIGIN = (
    "The encoder of multilingual-e5-small (intfloat; 12 layers, hidden size 384, 12 heads), moved onto the",
    "vocabulary of Chinese BERT (Google, Apache-2.0), and trained on with a masked-LM head: whole words,",
)
LICENCE = """MIT License

Copyright (c) 2023 Intfloat contributors

Permission is hereby granted, free of charge, to any person obtaining a copy of this software and associated
documentation files (the "Software"), to deal in the Software without restriction, including without limitation the
rights to use, copy, modify, merge, publish, distribute, sublicense, and/or sell copies of the Software, and to permit
persons to whom the Software is furnished to do so, subject to the following conditions:

The above copyright notice and this permission notice shall be included in all copies or substantial portions of the
Software.

THE SOFTWARE IS PROVIDED "AS IS", WITHOUT WARRANTY OF ANY KIND, EXPRESS OR IMPLIED, INCLUDING BUT NOT LIMITED TO THE
WARRANTIES OF MERCHANTABILITY, FITNESS FOR A PARTICULAR PURPOSE AND NONINFRINGEMENT. IN NO EVENT SHALL THE AUTHORS OR
COPYRIGHT HOLDERS BE LIABLE FOR ANY CLAIM, DAMAGES OR OTHER LIABILITY, WHETHER IN AN ACTION OF CONTRACT, TORT OR
OTHERWISE, ARISING FROM, OUT OF OR IN CONNECTION WITH THE SOFTWARE OR THE USE OR OTHER DEALINGS IN THE SOFTWARE.
"""


def data_folder() -> Path:
    """The folder of public data sets.

    Raises:
        ValueError: NLPTASKS_DATA is not set.
    """
    if not os.environ.get("NLPTASKS_DATA"):
        raise ValueError("NLPTASKS_DATA must name the data folder (with text/ and checkpoints/ in it); it is not set.")
    return Path(os.environ["NLPTASKS_DATA"])


# Text


def read_domain(texts: Iterable[str], evaluated: set[int]) -> tuple[list[str], list[str]]:
    """The documents of a domain to train on, and those held out; neither has what benchmarks score."""
    kept = [text for document in texts if (text := without(document, evaluated))]
    held_out = [text for text in kept if key(text) % HELD_OUT_NTH == 0]
    keys = set().union(*map(keys_of, held_out))
    return [text for document in kept if (text := without(document, keys))], held_out


def make_rows(
    tokenizer: Tokenizer, seq_length: int, data: Path, limit: int | None, task_text: bool
) -> dict[str, np.ndarray]:
    """The arrays of `Rows`. Held-out documents of all domains are packed like the others, and shuffled."""
    sources = {path.name.split(".")[0]: documents(path) for path in text_files(data)}
    if task_text:
        sources |= task_texts(data)
    evaluated = set().union(*evaluation_keys(data).values())
    id_bytes = id_bytes_for(tokenizer.vocab_size)
    packer = Packer(tokenizer, make_word_cutter("jieba"), seq_length)
    rows: list[Row] = []
    domains, flags, names = [], [], []
    for domain, (name, source) in enumerate(sources.items()):
        names.append(name)
        for is_held_out, texts in enumerate(read_domain(source, evaluated)):
            made = [decode_row(record, id_bytes) for record in packer.records(texts[:limit])]
            order = np.random.default_rng([HELD_OUT_SEED, domain]).permutation(len(made)) if is_held_out else None
            rows += made if order is None else [made[i] for i in order]
            domains += [domain] * len(made)
            flags += [bool(is_held_out)] * len(made)
        say(f"{names[-1]}: {sum(flag == 0 for d, flag in zip(domains, flags, strict=True) if d == domain)} rows")
    return {
        "token_ids": np.concatenate([row.token_ids for row in rows]).astype("int32"),
        "word_starts": np.concatenate([row.word_starts for row in rows]),
        "document_starts": np.concatenate([row.document_starts for row in rows]),
        "lengths": np.array([len(row.token_ids) for row in rows]),
        "domains": np.array(domains),
        "held_out": np.array(flags),
        "names": np.array(names),
    }


def kept_rows(
    folder: Path, tokenizer: Tokenizer, seq_length: int, data: Path, limit: int | None, task_text: bool
) -> Rows:
    """Those in the state folder, made first where they are not there."""
    path, of = folder / ROWS, f"{vocab_fingerprint(tokenizer.vocab)} {seq_length} {limit}" + " task text" * task_text
    if not path.is_file():
        arrays = make_rows(tokenizer, seq_length, data, limit, task_text)
        with atomic_path(path) as temporary, open(temporary, "wb") as file:
            np.savez(file, of=np.array(of), **arrays)
    with np.load(path) as file:
        arrays = dict(file)
    if str(arrays.pop("of")) != of:
        raise ValueError(f"{path}: made with another vocabulary, --seq-length or --limit; name another --state.")
    return Rows(arrays)


def batch_of(rows: Rows, numbers: np.ndarray, objective: Objective, seeds: list[list[int]]) -> dict[str, np.ndarray]:
    """Masked examples of rows, `(B, ...)`; each row's masks follow from its seed alone."""
    pairs = zip(numbers.tolist(), seeds, strict=True)
    examples = [objective.example(rows[i], np.random.default_rng(seed)) for i, seed in pairs]
    return {name: np.stack([example[name] for example in examples]) for name in examples[0]}


# Model


def pretrained(checkpoint: Path, **overrides: object) -> Transformer:
    """The checkpoint's encoder under a fresh masked-LM head; `overrides` are fields of its config."""
    bare = build_transformer_model(checkpoint, checkpoint, model="bert", **overrides)
    model = Transformer(bare.config, with_mlm="linear")
    model.build()
    values = {slot.name: slot.variable for slot in weight_table(bare)}
    for slot in weight_table(model):
        if slot.name in values:
            slot.variable.assign(values[slot.name].value)
    # the head's output is multiplied with token vectors: scores of about 1, however long those are
    lengths = np.linalg.norm(np.asarray(model.embeddings.token.embeddings.value), axis=1)
    model.mlm.norm.gamma.assign(ops.full_like(model.mlm.norm.gamma.value, 1 / max(1.0, float(lengths.mean()))))
    return model


def loss_and_hits(model: Transformer, batch: dict, training: bool):
    """Over the masked tokens of a batch: the sum of -log p, how many have the highest score, and how many there are."""
    hidden_BTD = model.encode(batch["token_ids"], training=training)
    logits_BMV = model.token_logits(at_positions(hidden_BTD, batch["target_positions"]))
    loss_BM = ops.sparse_categorical_crossentropy(batch["target_ids"], logits_BMV, from_logits=True)
    found_BM = ops.cast(ops.argmax(logits_BMV, axis=-1), "int32")
    hits_BM = ops.cast(ops.equal(found_BM, batch["target_ids"]), "float32")
    weights_BM = batch["target_weights"]
    return ops.sum(loss_BM * weights_BM), ops.sum(hits_BM * weights_BM), ops.sum(weights_BM)


def held_out_batches(rows: Rows, objective: Objective, most: int, batch_size: int) -> list[tuple[int, dict]]:
    """(domain, batch) of the first held-out rows of each domain, masked always alike."""
    batches = []
    for domain in range(len(rows.names)):
        numbers = np.flatnonzero((rows.domains == domain) & rows.held_out)[:most]
        for start in range(0, len(numbers), batch_size):
            part = numbers[start : start + batch_size]
            seeds = [[HELD_OUT_SEED, domain, start + i] for i in range(len(part))]
            batches.append((domain, batch_of(rows, part, objective, seeds)))
    return batches


def held_out_scores(evaluate, batches: list[tuple[int, dict]], names: list[str]) -> dict[str, dict[str, float]]:
    """Loss (nats a masked token), perplexity and accuracy by domain, and the mean of the domains."""
    sums = np.zeros((len(names), 3))
    for domain, batch in batches:
        sums[domain] += [float(value) for value in evaluate(batch)]
    scores = {}
    for name, (loss, hits, targets) in zip(names, sums, strict=True):
        if targets:
            mean = loss / targets
            scores[name] = {"loss": mean, "perplexity": float(np.exp(mean)), "accuracy": hits / targets}
    mean = {k: float(np.mean([own[k] for own in scores.values()])) for k in ("loss", "perplexity", "accuracy")}
    scores["mean of domains"] = mean
    return {name: {k: round(float(v), 4) for k, v in own.items()} for name, own in scores.items()}


# Commands


@dataclass(kw_only=True)
class Shared:
    """What several commands take."""

    checkpoint: Path | None = None
    """the pretrained encoder; left out: checkpoints/characters of the data folder"""
    seq_length: int = 128
    mask_rate: float = 0.15
    held_out_rows: int = 48
    """of each domain, that are scored"""
    limit: int | None = None
    """only so many documents of each domain, for trials"""
    task_text: bool = False
    """also train on the texts of the tasks' training files, without their labels"""
    precision: str = "float32"
    """float32, or bfloat16 where the processor multiplies that faster: `speed` tells"""

    def source(self) -> Path:
        return self.checkpoint or data_folder() / CHECKPOINT

    def objective(self, tokenizer: Tokenizer) -> Objective:
        return Objective(name="mlm", vocab=tokenizer.vocab, seq_length=self.seq_length, mask_rate=self.mask_rate)

    def rows(self, folder: Path, tokenizer: Tokenizer) -> Rows:
        return kept_rows(folder, tokenizer, self.seq_length, data_folder(), self.limit, self.task_text)


@dataclass(kw_only=True)
class Train(Shared):
    """Train, or go on where it stopped."""

    state: Path
    """folder of the state, the rows, the log and the process number (`pid`)"""
    tokens: int = 25_000_000
    """of the whole run; may change when it goes on"""
    head_tokens: int = 1_000_000
    """of these, with the head alone"""
    learning_rate: float = 2e-4
    head_learning_rate: float = 1e-3
    """constant, while the head is alone"""
    warmup_tokens: int = 250_000
    """in which the rate rises once everything is trained"""
    batch_size: int = 16
    """rows of a step"""
    weight_decay: float = 0.01
    clip_norm: float = 1.0
    dropout: float = 0.0
    """while training; the model keeps that of its config"""
    power: float = 0.5
    """a domain's share goes with its size to this power"""
    seed: int = 1
    evaluate_tokens: int = 500_000
    """between two scores of the held-out text"""
    log_steps: int = 5
    """between two lines of the log, and of states at least"""
    save_seconds: float = 600.0

    def run(self) -> None:
        start_run(self.seed, self.precision)
        self._check_options()
        write_text(self.state / PID, f"{os.getpid()}\n")
        try:
            with StopRequested() as stop:
                self._train(stop)
        finally:
            (self.state / PID).unlink(missing_ok=True)

    def _check_options(self) -> None:
        """Refuses to go on with options that make another run, and keeps those of a new one."""
        free = ("state", "tokens", "checkpoint", "evaluate_tokens", "held_out_rows", "log_steps", "save_seconds")
        options = jsonable(self, without=free)
        if (self.state / STATE).is_file() and (self.state / OPTIONS).is_file():
            require_same(read_options(self.state), options, self.state)
        else:
            write_options(self.state, options)

    def _train(self, stop: StopRequested) -> None:
        tokenizer = Tokenizer.from_directory(self.source())
        objective, rows = self.objective(tokenizer), self.rows(self.state, tokenizer)
        order = training_order(rows, self.power, self.seed)
        ends = np.cumsum(rows.lengths[order])[self.batch_size - 1 :: self.batch_size]
        self._before = np.append(0, ends)  # tokens before each step
        first_of = {phase: int(np.searchsorted(self._before, bound)) for phase, bound in self._bounds().items()}
        model = pretrained(self.source(), dropout=self.dropout, attention_dropout=self.dropout)
        scored = held_out_batches(rows, objective, self.held_out_rows, self.batch_size)
        evaluate = compile_function(lambda batch: loss_and_hits(model, batch, False), model)
        path, resumed = self.state / STATE, (self.state / STATE).is_file()
        progress = read_progress(path) if resumed else Progress()
        optimizer = None
        self._record(progress, None, rewrite=True)
        while progress.epoch <= ALL:
            phase, end = progress.epoch, first_of[progress.epoch + 1]
            optimizer = self._optimizer(model, phase)
            step, counts = make_step(model, optimizer)
            if resumed:
                progress, resumed = load_state(path, model, optimizer), False
                optimizer.learning_rate = self._rate(phase, max(0, progress.batch - 1))  # which the state leaves open
                say(f"going on at {self._before[progress.batch]} tokens")
            elif progress.batch == 0:
                scores = held_out_scores(evaluate, scored, rows.names)
                self._record(progress, {"phase": "start", "held_out": scores})
            window, saved = Window(counts), time.monotonic()
            while progress.batch < end and not stop.requested:
                number = progress.batch
                optimizer.learning_rate = self._rate(phase, number)
                picked = slice(number * self.batch_size, (number + 1) * self.batch_size)
                seeds = [[self.seed, place] for place in range(picked.start, picked.stop)]
                loss = float(step(batch_of(rows, order[picked], objective, seeds)))
                if not np.isfinite(loss):
                    raise DivergedError(
                        "the loss became {loss} in step {number}; lower {field:learning_rate}.",
                        loss=loss,
                        number=number,
                    )
                progress.batch += 1
                tokens = int(self._before[progress.batch])
                window.add(tokens - int(self._before[number]))
                logged = progress.batch % self.log_steps == 0
                if logged:
                    self._record(progress, {"phase": ("head", "all")[phase], **window.close(self._rate(phase, number))})
                due = tokens // self.evaluate_tokens > self._before[number] // self.evaluate_tokens
                if due and progress.batch < end:
                    scores = held_out_scores(evaluate, scored, rows.names)
                    self._record(progress, {"phase": ("head", "all")[phase], "held_out": scores})
                    window = Window(counts)
                if logged and time.monotonic() - saved > self.save_seconds:  # between two windows of the log
                    save_state(path, model, optimizer, progress)
                    saved = time.monotonic()
            if stop.requested:
                save_state(path, model, optimizer, progress)
                say(f"stopped at {self._before[progress.batch]} tokens; the same command goes on.")
                return
            scores = held_out_scores(evaluate, scored, rows.names)
            self._record(progress, {"phase": ("head alone: before", "end")[phase], "held_out": scores})
            progress.epoch += 1
            if progress.epoch <= ALL:
                optimizer = self._optimizer(model, progress.epoch)
                optimizer.build(model.trainable_variables)
            save_state(path, model, optimizer, progress)

    def _bounds(self):
        """Tokens at which each phase, and the run, ends."""
        return {HEAD + 1: self.head_tokens, ALL + 1: self.tokens}

    def _rate(self, phase: int, number: int) -> float:
        if phase == HEAD:
            return self.head_learning_rate
        done = float(self._before[number + 1])
        rising = (done - self.head_tokens) / max(1, self.warmup_tokens)
        falling = (self.tokens - done) / max(1, self.tokens - self.head_tokens - self.warmup_tokens)
        return self.learning_rate * min(max(min(rising, falling), 0.0), 1.0)

    def _optimizer(self, model: Transformer, phase: int) -> Adam:
        for layer in (model.embeddings, *model.blocks):
            layer.trainable = phase == ALL
        optimizer = Adam(self.learning_rate, weight_decay=self.weight_decay, global_clipnorm=self.clip_norm)
        optimizer.exclude_from_weight_decay(var_names=UNDECAYED)
        return optimizer

    def _record(self, progress: Progress, values: dict | None, rewrite: bool = False) -> None:
        """Adds a line to the log and to the state; a state that is gone on from decides what the log holds."""
        if values is not None:
            values = {"tokens": int(self._before[progress.batch]), "step": progress.batch, **values}
            progress.history.append(values)
            say(json.dumps(values, ensure_ascii=False))
        lines = progress.history if rewrite else progress.history[-1:]
        if rewrite:
            write_text(self.state / LOG, "".join(json.dumps(line, ensure_ascii=False) + "\n" for line in lines))
        else:
            with open(self.state / LOG, "a", encoding="utf-8") as file:
                file.write(json.dumps(lines[0], ensure_ascii=False) + "\n")


def make_step(model: Transformer, optimizer: Adam):
    """The compiled step, and the variable that sums loss, hits and targets of the steps (3,)."""
    counts = keras.Variable(np.zeros(3, "float32"), trainable=False, dtype="float32")

    def loss_function(batch):
        loss, hits, targets = loss_and_hits(model, batch, True)
        counts.assign_add(ops.stack([loss, hits, targets]))
        return loss / ops.maximum(targets, 1.0)

    return compile_train_step(model, optimizer, loss_function), counts


class Window:
    """What happened since the last line of the log."""

    def __init__(self, counts: keras.Variable):
        self._counts = counts
        self._restart()

    def _restart(self):
        self._counts.assign(np.zeros(3, "float32"))
        self._tokens, self._started, self._used = 0, time.monotonic(), _processor_seconds()

    def add(self, tokens: int) -> None:
        self._tokens += tokens

    def close(self, rate: float) -> dict[str, float]:
        loss, hits, targets = (float(value) for value in ops.convert_to_numpy(self._counts.value))
        seconds, used = time.monotonic() - self._started, _processor_seconds() - self._used
        line = {
            "loss": round(loss / targets, 4),
            "accuracy": round(hits / targets, 4),
            "learning_rate": float(f"{rate:.3g}"),
            "tokens_per_second": round(self._tokens / seconds, 1),
            "tokens_per_processor_second": round(self._tokens / used, 1),
        }
        self._restart()
        return line


def _processor_seconds() -> float:
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime


def read_progress(path: Path) -> Progress:
    """Where the run of a state stands."""
    with safe_open(path, framework="numpy") as file:
        return Progress(**json.loads(file.metadata()["progress"]))


def read_weights(path: Path) -> list[np.ndarray]:
    """Those of the model of a state, in the order of `weights_of`."""
    with safe_open(path, framework="numpy") as file:
        names = [name for name in file.keys() if name.startswith("model.")]  # noqa: SIM118 - not a mapping
        arrays = [file.get_tensor(f"model.{i}") for i in range(len(names))]
    return [array for array in arrays if array.dtype.kind == "f"]


def weights_of(model: Transformer) -> list[keras.Variable]:
    """The variables without the random states, of which a model has the more the more dropout it has."""
    return [variable for variable in model.variables if "float" in keras.backend.standardize_dtype(variable.dtype)]


@dataclass(kw_only=True)
class Export(Shared):
    """Write the newest state as a model directory in float16, with its vocabulary and card."""

    state: Path
    output: Path

    def run(self) -> None:
        source, path = self.source(), self.state / STATE
        progress, model = read_progress(path), pretrained(source)  # with the dropout of its config
        for variable, array in zip(weights_of(model), read_weights(path), strict=True):
            variable.assign(array)
        save_halves(model, Tokenizer.from_directory(source), self.output)
        tokens = progress.history[-1]["tokens"] if progress.history else 0
        told = [*ORIGIN, f"{tokens:,} tokens of Chinese text."]
        write_text(self.output / "README.md", card("Chinese characters, 12 layers x 384", told, progress.history))
        print(f"{self.output}: {tokens} tokens")


def save_halves(model: Transformer, tokenizer: Tokenizer, output: Path, **config: object) -> None:
    """Writes a model directory in float16, with its vocabulary; `config` has keys of config.json to write over."""
    save_directory(model, output, dtype="float16", **config)
    tensors = {name: array.astype("float16") for name, array in load_file(output / WEIGHTS).items()}
    with atomic_path(output / WEIGHTS) as temporary:
        save_file(tensors, temporary, metadata={"format": "pt"})
    tokenizer.save(output)


def card(title: str, told: list[str], history: list[dict]) -> str:
    """A model card: what is told of origin and training, the scores of a log's last line with scores, licence."""
    lines = [f"# {title}", "", *told]
    if scored := [line for line in history if "held_out" in line]:
        lines += [
            "",
            f"Held-out text, after {scored[-1]['tokens']:,} tokens:",
            "",
            "| domain | loss | accuracy |",
            "|---|---|---|",
        ]
        lines += [f"| {n} | {s['loss']:.3f} | {s['accuracy']:.3f} |" for n, s in scored[-1]["held_out"].items()]
    return "\n".join([*lines, "", "## Licence of the weights", "", LICENCE])


@dataclass
class Pack:
    """Cut a model directory to the tokens that Chinese text needs and store it in few bits."""

    model: Path
    output: Path
    bits: int = 4
    block: int = 64
    """numbers that share a scale"""
    vocab: Path | None = None
    """keep the tokens of this vocab.txt; left out: what `simplify_vocab` keeps"""

    def run(self) -> None:
        tokenizer = Tokenizer.from_directory(self.model)
        if self.vocab is None:
            vocab, keep_tokens = simplify_vocab(tokenizer.vocab, SPECIAL_TOKENS)
        else:
            vocab = load_vocab(self.vocab)
            keep_tokens = [tokenizer.vocab[token] for token in vocab]
        model = build_transformer_model(
            self.model, self.model, with_mlm="linear", keep_tokens=keep_tokens, attention="bidirectional"
        )
        save_directory(model, self.output, bits=self.bits, block=self.block)
        Tokenizer(vocab, tokenizer.lowercase).save(self.output)
        packed = build_transformer_model(self.output, self.output, with_mlm="linear")
        text = (self.model / "README.md").read_text(encoding="utf-8").split("\n## Licence", 1)
        off = distance(model, packed)
        told = f"Packed: {len(vocab)} tokens, {self.bits} bits, a scale for every {self.block} numbers.\n{off}"
        write_text(self.output / "README.md", f"{text[0]}\n{told}\n\n## Licence{text[1]}")
        print(f"{self.output}: {(self.output / WEIGHTS).stat().st_size / 1e6:.2f} MB. {off}")


def distance(model: Transformer, packed: Transformer) -> str:
    """How far hidden states and logits of a packed model are from the one it was made of, on random tokens."""
    first = min(106, model.config.vocab_size // 2)  # behind what is no word
    token_ids = np.random.default_rng(1).integers(first, model.config.vocab_size, (8, 64), "int32")
    hidden = [np.asarray(own.encode(token_ids)) for own in (model, packed)]
    logits = [np.asarray(own.token_logits(states)) for own, states in zip((model, packed), hidden, strict=True)]
    cosine = (hidden[0] * hidden[1]).sum(-1) / np.linalg.norm(hidden[0], axis=-1) / np.linalg.norm(hidden[1], axis=-1)
    parts = []
    for name, (ours, theirs) in (("hidden states", hidden), ("logits", logits)):
        off = np.abs(ours - theirs)
        size = np.abs(ours).mean()
        parts.append(f"{name} off by {off.max():.3f} at most, {off.mean():.4f} on average (they are {size:.3f})")
    return f"On random tokens {'; '.join(parts)}; cosine of the hidden states {cosine.mean():.4f}."


@dataclass(kw_only=True)
class Evaluate(Shared):
    """Score a model directory on the held-out text; its vocabulary may be a part of the checkpoint's."""

    state: Path
    """folder of the rows"""
    model: Path
    batch_size: int = 16

    def run(self) -> None:
        start_run(1, self.precision)
        tokenizer = Tokenizer.from_directory(self.source())
        own = Tokenizer.from_directory(self.model)
        new_ids = np.full(tokenizer.vocab_size, own.unk_id, "int32")
        for token, i in tokenizer.vocab.items():
            new_ids[i] = own.vocab.get(token, own.unk_id)
        rows = self.rows(self.state, tokenizer)
        batches = held_out_batches(rows, self.objective(tokenizer), self.held_out_rows, self.batch_size)
        for _, batch in batches:
            batch |= {name: new_ids[batch[name]] for name in ("token_ids", "target_ids")}
        model = build_transformer_model(self.model, self.model, with_mlm="linear")
        evaluate = compile_function(lambda batch: loss_and_hits(model, batch, False), model)
        print(json.dumps(held_out_scores(evaluate, batches, rows.names), ensure_ascii=False))


@dataclass(kw_only=True)
class Speed(Shared):
    """Tokens a second of training everything, by precision and batch size."""

    batch_sizes: tuple[int, ...] = (8, 16, 32)
    seconds: float = 10.0

    def run(self) -> None:
        for precision, batch_size in itertools.product(("float32", "bfloat16"), self.batch_sizes):
            start_run(1, precision)
            model = pretrained(self.source(), dropout=0.0, attention_dropout=0.0)
            step, _ = make_step(model, Adam(1e-5, weight_decay=0.01, global_clipnorm=1.0))
            random, shape = np.random.default_rng(1), (batch_size, round(self.mask_rate * self.seq_length))
            batch = {
                "token_ids": random.integers(1000, 8000, (batch_size, self.seq_length), "int32"),
                "target_positions": random.integers(0, self.seq_length, shape, "int32"),
                "target_ids": random.integers(1000, 8000, shape, "int32"),
                "target_weights": np.ones(shape, "float32"),
            }
            float(step(batch))
            steps, started = 0, time.monotonic()
            while time.monotonic() - started < self.seconds:
                float(step(batch))
                steps += 1
            rate = steps * batch_size * self.seq_length / (time.monotonic() - started)
            print(f"{precision}, {batch_size} rows: {rate:.0f} tokens a second", flush=True)


COMMANDS = {"train": Train, "export": Export, "evaluate": Evaluate, "pack": Pack, "speed": Speed}


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the command of the line; returns its exit status."""
    return run(parse(COMMANDS, __doc__, sys.argv[1:] if arguments is None else arguments, Path(__file__).name))


if __name__ == "__main__":
    sys.exit(main())
