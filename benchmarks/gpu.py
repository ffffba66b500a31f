"""Masked-LM training on one accelerator within a time limit, and its speed; what `masked_lm.py` does on a CPU. JAX.

    python benchmarks/gpu.py rows --rows runs/rows.npz --output runs/rows.xz
    python benchmarks/gpu.py train --checkpoint DIR --rows runs/rows.xz --output runs/gpu --seconds 300
    python benchmarks/gpu.py peer --seconds 20

`rows` packs the rows of `masked_lm.py` (its `rows.npz`) to travel. `train` trains the head alone, then everything, on
masked whole words and, every so many steps, on UNILM's splits; the rate rises, and falls to 0 at the end of the time,
which is the limit and not a number of steps. It leaves a model directory in float16, `log.jsonl` and `result.json`:
scores of held-out text by domain, tokens and floating-point operations a second, and the measured rate of matrix
products. `peer` times the step of Hugging Face transformers on the same shapes.
"""

import collections
import itertools
import json
import os
import sys
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from dataclasses import dataclass
from multiprocessing import get_context
from pathlib import Path
from typing import Any

os.environ.setdefault("KERAS_BACKEND", "jax")

import numpy as np
from masked_rows import Rows, pack_rows, training_order, unpack_rows

from nlptasks.files import read_json_object, write_text
from nlptasks.pretraining.objectives import Objective
from nlptasks.text import Tokenizer

Batch = dict[str, np.ndarray]
_HELD_OUT_SEED = 20181011
MLM, UNILM = 0, 1
DROPOUT = ("hidden_dropout_prob", "attention_probs_dropout_prob")
"""of config.json"""


# Batches, made by processes


@dataclass(frozen=True, kw_only=True)
class Feed:
    """What makes the batches of a run.

    Attributes:
        rows: the file of `pack_rows`.
        unilm_every: every so manieth batch is one of UNILM's splits; 0: none.
        batches: how many there are at most.
    """

    rows: Path
    vocab: dict[str, int]
    seq_length: int
    mask_rate: float
    batch_size: int
    unilm_every: int
    power: float
    seed: int
    batches: int

    def objectives(self) -> list[Objective]:
        """Masked words, and UNILM's splits."""
        return [
            Objective(name=name, vocab=self.vocab, seq_length=self.seq_length, mask_rate=self.mask_rate)
            for name in ("mlm", "unilm")
        ]

    def kind(self, number: int) -> int:
        """Which of the objectives a batch has."""
        return UNILM if self.unilm_every and number % self.unilm_every == self.unilm_every - 1 else MLM


_feed: Any = None  # of a worker process: (feed, rows, objectives, order)


def _begin(feed: Feed) -> None:
    global _feed
    rows = Rows(unpack_rows(feed.rows))
    order = training_order(rows, feed.power, feed.seed, feed.batches * feed.batch_size)
    _feed = feed, rows, feed.objectives(), order


def _make(number: int) -> Batch:
    feed, rows, objectives, order = _feed
    objective, first = objectives[feed.kind(number)], number * feed.batch_size
    places = range(first, first + feed.batch_size)
    examples = [objective.example(rows[order[p]], np.random.default_rng((feed.seed, p))) for p in places]
    parts = 1 if feed.kind(number) == MLM else 2  # UNILM's logits, one for every token, take the memory
    stacked = {name: np.stack([example[name] for example in examples]) for name in examples[0]}
    return {name: array.reshape(parts, -1, *array.shape[1:]) for name, array in stacked.items()}


def batches(feed: Feed, processes: int) -> Iterator[Batch]:
    """The batches `(A, B, ...)` in order, made ahead by processes."""
    with ProcessPoolExecutor(processes, get_context("spawn"), _begin, (feed,)) as pool:
        waiting: collections.deque[Future[Batch]] = collections.deque()
        for number in range(feed.batches):
            waiting.append(pool.submit(_make, number))
            if len(waiting) > 3 * processes:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()


def held_out_rows(rows: Rows, objective: Objective, most: int, size: int) -> tuple[list[Batch], np.ndarray]:
    """The first held-out rows of each domain, masked always alike, in batches of one size, the last one filled up with
    rows of weight 0; and the domain of each row.
    """
    examples, domains = [], []
    for domain in range(len(rows.names)):
        for place, number in enumerate(np.flatnonzero((rows.domains == domain) & rows.held_out)[:most]):
            examples.append(objective.example(rows[number], np.random.default_rng((_HELD_OUT_SEED, domain, place))))
            domains.append(domain)
    made = []
    for first in range(0, len(examples), size):
        part = examples[first : first + size]
        batch = {name: np.stack([example[name] for example in part]) for name in part[0]}
        missing = size - len(part)
        made.append({n: np.pad(a, [(0, missing)] + [(0, 0)] * (a.ndim - 1)) for n, a in batch.items()})
    return made, np.array(domains)


# Training


@dataclass(kw_only=True)
class Train:
    """Train for a time."""

    checkpoint: Path
    """model directory; one without a masked-LM head gets a fresh one, which is trained alone first"""
    rows: Path
    """written by `rows`"""
    output: Path
    seconds: float
    """of the whole command, compiling and saving included"""
    reserve: float = 35.0
    """of these, for the last scores and saving"""
    seq_length: int = 256
    mask_rate: float = 0.15
    batch_size: int = 256
    unilm_every: int = 4
    """every so manieth step learns UNILM's splits; 0: none"""
    learning_rate: float = 5e-4
    head_learning_rate: float = 2e-3
    head_steps: int = 100
    """with the head alone; 0: none"""
    warmup: float = 0.04
    """share of the time in which the rate rises"""
    weight_decay: float = 0.01
    dropout: float = 0.0
    power: float = 0.7
    """a domain's share goes with its size to this power"""
    held_out: int = 48
    """rows of each domain that are scored"""
    scores: int = 3
    """how often on the way"""
    precision: str = "bfloat16"
    processes: int = 12
    most_steps: int = 20_000
    log_steps: int = 20
    seed: int = 1

    def run(self) -> None:
        self.started = time.monotonic()
        tokenizer = Tokenizer.from_directory(self.checkpoint)
        feed = Feed(
            rows=self.rows,
            vocab=tokenizer.vocab,
            seq_length=self.seq_length,
            mask_rate=self.mask_rate,
            batch_size=self.batch_size,
            unilm_every=self.unilm_every,
            power=self.power,
            seed=self.seed,
            batches=self.most_steps,
        )
        source = batches(feed, self.processes)
        first = next(source)  # the processes start while the model is built
        import keras  # after the processes began

        from nlptasks.train.run import start_run

        start_run(self.seed, self.precision)
        self._log("start", backend=keras.backend.backend())
        self._train(feed, first, source, tokenizer)

    def _log(self, what: str, **values: Any) -> None:
        line = {"what": what, "second": round(time.monotonic() - self.started, 1)} | values
        print(json.dumps(line, ensure_ascii=False), flush=True)
        with open(self.output / "log.jsonl", "a", encoding="utf-8") as file:
            file.write(json.dumps(line, ensure_ascii=False) + "\n")

    def _train(self, feed: Feed, first: Batch, source: Iterator[Batch], tokenizer: Tokenizer) -> None:
        import jax
        from masked_lm import pretrained
        from safetensors import safe_open

        from nlptasks.checkpoints.huggingface import WEIGHTS
        from nlptasks.loading import build_transformer_model
        from nlptasks.pretraining.configs import step_flops
        from nlptasks.pretraining.devices import fused_attention_problem, matmul_rate

        rate = matmul_rate("bfloat16" if self.precision == "bfloat16" else "float32", 1.0)
        self._log("device", kind=jax.devices()[0].device_kind, matmul_tflops=round(rate / 1e12, 1), jax=jax.__version__)
        rates = {"dropout": self.dropout, "attention_dropout": self.dropout}
        with safe_open(self.checkpoint / WEIGHTS, framework="numpy") as file:
            has_head = any(name.startswith("cls.predictions.transform") for name in file.keys())  # noqa: SIM118
        if has_head:
            model = build_transformer_model(
                self.checkpoint, self.checkpoint, with_mlm="linear", attention="unilm", **rates
            )
        else:
            model = pretrained(self.checkpoint, attention="unilm", **rates)
        config = model.config
        problem = (
            ""
            if self.dropout
            else fused_attention_problem(config.num_heads, config.key_size, self.seq_length, "mixed_bfloat16")
        )
        model.fused_attention = problem is None
        self._log("model", weights=model.count_params(), not_fused=problem)
        evaluate = self._evaluation(feed, model)
        flops = [
            step_flops(config, self.batch_size, self.seq_length, objective.num_targets)
            for objective in feed.objectives()
        ]
        source = itertools.chain([first], source)
        result: dict[str, Any] = {"matmul_tflops": rate / 1e12, "before": None}
        head_steps = 0 if has_head else self.head_steps
        if head_steps:
            for layer in (model.embeddings, *model.blocks):
                layer.trainable = False
            run = self._phase("head", model, source, flops)
            run(lambda: self.head_learning_rate, head_steps)
            result["before"] = evaluate()
            self._log("before", **result["before"])
            for layer in (model.embeddings, *model.blocks):
                layer.trainable = True
        run = self._phase("all", model, source, flops)
        begun, end = time.monotonic(), self.started + self.seconds - self.reserve

        def learning_rate() -> float | None:
            done = (time.monotonic() - begun) / (end - begun)
            return None if done >= 1 else self.learning_rate * min(done / self.warmup, (1 - done) / (1 - self.warmup))

        result |= run(learning_rate, self.most_steps - head_steps)
        result["after"] = evaluate()
        self._log("after", **result["after"])
        self._save(model, tokenizer, result)

    def _phase(self, name: str, model: Any, source: Iterator[Batch], flops: Sequence[float]) -> Any:
        """`run(rate, most)`: steps of one program for each kind of batch until `rate()` is None or `most` are done."""
        import jax
        from jax import numpy as jnp

        from nlptasks.pretraining.step import compile_step, keep_state, make_step, state_of, with_rate
        from nlptasks.train.optimizers import Lamb

        optimizer = Lamb(
            1e-3, weight_decay_rate=self.weight_decay, exclude_from_layer_adaptation=("",), global_clipnorm=1.0
        )
        state = state_of(model, optimizer)
        step = compile_step(make_step(model, optimizer), state)

        def run(rate: Any, most: int) -> dict[str, float]:
            nonlocal state, step
            waiting: collections.deque[Any] = collections.deque()
            seen, steps, tokens, compiled = [], 0, 0.0, set()
            begun = time.monotonic()
            work = 0.0
            for batch in itertools.islice(source, most):
                if (now := rate()) is None:
                    break
                shape = batch["target_ids"].shape
                arrays = {n: jnp.asarray(a) for n, a in batch.items()}
                try:
                    state, metrics = step(with_rate(state, optimizer, now), arrays)
                except jax.errors.JaxRuntimeError as error:  # what the library for this device cannot fuse
                    if shape in compiled or not model.fused_attention:
                        raise
                    self._log("not fused", why=" ".join(str(error).split())[:300])
                    model.fused_attention = False
                    step = compile_step(make_step(model, optimizer), state)
                    state, metrics = step(with_rate(state, optimizer, now), arrays)
                if shape not in compiled:
                    compiled.add(shape)
                    jax.block_until_ready(metrics)
                    self._log("compiled", phase=name, shape=shape)
                    begun = time.monotonic()
                    work = tokens = 0.0
                work += flops[0 if shape[-1] < self.seq_length else 1]
                tokens += batch["token_ids"].size
                steps += 1
                waiting.append((shape[-1] < self.seq_length, metrics))
                if len(waiting) > 3:
                    masked, old = waiting.popleft()
                    seen.append((masked, {n: float(v) for n, v in jax.device_get(old).items()}))
                if steps % self.log_steps == 0:
                    self._log(name, step=steps, rate=float(f"{now:.3g}"), **_means(seen))
                    seen = []
            jax.block_until_ready(state.trainable)
            spent = time.monotonic() - begun
            keep_state(model, state)
            numbers = {"steps": steps, "tokens_per_second": tokens / spent, "flops_per_second": work / spent}
            self._log(f"{name} ended", **numbers)
            return numbers

        return run

    def _evaluation(self, feed: Feed, model: Any) -> Any:
        """`evaluate()`: loss and accuracy of the held-out rows by domain, and their mean."""
        import jax
        from jax import numpy as jnp

        from nlptasks.backend import compile_function
        from nlptasks.core.layers import at_positions

        rows = Rows(unpack_rows(self.rows))
        made, domains = held_out_rows(rows, feed.objectives()[MLM], self.held_out, 64)

        def sums(batch: Batch) -> Any:
            logits_BMV = model.token_logits(at_positions(model.encode(batch["token_ids"]), batch["target_positions"]))
            logits_BMV = logits_BMV.astype("float32")
            ids_BM1 = batch["target_ids"][..., None]
            own_BM = jnp.take_along_axis(logits_BMV, ids_BM1, axis=-1)[..., 0]
            loss_BM = jax.nn.logsumexp(logits_BMV, axis=-1) - own_BM
            hits_BM = own_BM >= logits_BMV.max(-1)
            weights_BM = batch["target_weights"]
            return jnp.stack([(loss_BM * weights_BM).sum(-1), (hits_BM * weights_BM).sum(-1), weights_BM.sum(-1)], -1)

        compiled = compile_function(sums, model)

        def evaluate() -> dict[str, Any]:
            found = np.concatenate([np.asarray(compiled(batch)) for batch in made])[: len(domains)]
            scores = {}
            for domain, name in enumerate(rows.names):
                loss, hits, targets = found[domains == domain].sum(0)
                if targets:
                    scores[name] = {"loss": round(loss / targets, 4), "accuracy": round(hits / targets, 4)}
            return {k: float(np.mean([s[k] for s in scores.values()])) for k in ("loss", "accuracy")} | {
                "domains": {n: {k: float(v) for k, v in s.items()} for n, s in scores.items()}
            }

        return evaluate

    def _save(self, model: Any, tokenizer: Tokenizer, result: dict[str, Any]) -> None:
        from masked_lm import ORIGIN, card, save_halves

        kept = read_json_object(self.checkpoint / "config.json")
        rates = {name: kept[name] for name in DROPOUT if name in kept}  # fine-tuning has what the model had
        save_halves(model, tokenizer, self.output / "model", **rates)
        scores = dict(result["after"]["domains"])
        scores["mean of domains"] = {name: result["after"][name] for name in ("loss", "accuracy")}
        tokens = result["steps"] * self.batch_size * self.seq_length
        told = [*ORIGIN, f"{tokens:,} tokens of Chinese text, a part of them as UNILM's splits."]
        title = f"Chinese characters, {model.config.num_layers} layers x {model.config.hidden_size}"
        text = card(title, told, [{"tokens": tokens, "held_out": scores}])
        write_text(self.output / "model" / "README.md", text)
        write_text(self.output / "result.json", json.dumps(result, ensure_ascii=False, indent=1) + "\n")
        self._log("saved")


def _means(seen: Sequence[tuple[bool, dict[str, float]]]) -> dict[str, float]:
    """Loss and accuracy of masked words, the loss of splits, and bad steps."""
    found: dict[str, float] = {}
    for masked, kind in ((True, "mlm"), (False, "unilm")):
        if own := [metrics for is_masked, metrics in seen if is_masked == masked]:
            found |= {f"{kind}_{k}": round(float(np.mean([m[k] for m in own])), 4) for k in ("loss", "accuracy")}
    return found | {"bad": sum(metrics["bad"] for _, metrics in seen)}


@dataclass(kw_only=True)
class Pack:
    """Pack rows to travel."""

    rows: Path
    """rows.npz of the state folder of masked_lm.py"""
    output: Path

    def run(self) -> None:
        with np.load(self.rows) as file:
            arrays = {name: file[name] for name in file.files if name != "of"}
        pack_rows(arrays, self.output)
        back = unpack_rows(self.output)
        assert all(np.array_equal(arrays[name], back[name]) for name in arrays)
        print(f"{self.output}: {self.output.stat().st_size / 1e6:.1f} MB, {int(arrays['lengths'].sum()):,} tokens")


@dataclass(kw_only=True)
class Peer:
    """Time the masked-LM step of transformers (PyTorch, bfloat16 autocast, scaled dot product attention)."""

    seconds: float = 15.0
    batch_size: int = 256
    seq_length: int = 256
    layers: int = 12
    hidden: int = 384
    heads: int = 12
    vocab_size: int = 21128

    def run(self) -> None:
        import torch
        import transformers

        device = "cuda" if torch.cuda.is_available() else "cpu"
        config = transformers.BertConfig(
            vocab_size=self.vocab_size,
            hidden_size=self.hidden,
            num_hidden_layers=self.layers,
            num_attention_heads=self.heads,
            intermediate_size=4 * self.hidden,
            hidden_dropout_prob=0.0,
            attention_probs_dropout_prob=0.0,
            attn_implementation="sdpa",
        )
        model = transformers.BertForMaskedLM(config).to(device).train()
        optimizer = torch.optim.AdamW(model.parameters(), lr=1e-4, fused=device == "cuda")
        ids = torch.randint(1000, 8000, (self.batch_size, self.seq_length), device=device)
        labels = torch.where(torch.rand(ids.shape, device=device) < 0.15, ids, -100)

        def step() -> None:
            with torch.autocast(device, torch.bfloat16):
                loss = model(input_ids=ids, labels=labels).loss
            loss.backward()
            torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            optimizer.step()
            optimizer.zero_grad(set_to_none=True)
            steps.append(loss.detach())

        def wait() -> None:
            if device == "cuda":
                torch.cuda.synchronize()

        steps: list[Any] = []
        for _ in range(3):
            step()
        wait()
        steps.clear()
        started = time.monotonic()
        while time.monotonic() - started < self.seconds:
            step()
            if len(steps) % 10 == 0:
                wait()
        wait()
        rate = len(steps) * self.batch_size * self.seq_length / (time.monotonic() - started)
        versions = f"transformers {transformers.__version__}, torch {torch.__version__}"
        print(f"{versions}, {device}: {rate:.0f} tokens a second", flush=True)


COMMANDS = {"rows": Pack, "train": Train, "peer": Peer}


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the command of the line; returns its exit status."""
    from nlptasks.console import parse, run

    return run(parse(COMMANDS, __doc__, sys.argv[1:] if arguments is None else arguments, Path(__file__).name))


if __name__ == "__main__":
    sys.exit(main())
