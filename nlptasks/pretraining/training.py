"""A whole pretraining run: begun or taken up where it stopped, trained, saved. JAX only."""

import functools
import json
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import jax
import keras
import numpy as np
from jax.experimental import multihost_utils

from nlptasks.checkpoints.huggingface import save_directory
from nlptasks.core.config import TransformerConfig
from nlptasks.core.transformer import Transformer
from nlptasks.errors import UserError, told
from nlptasks.files import write_text
from nlptasks.pretraining.assembly import Assembly, assemble
from nlptasks.pretraining.checkpoints import Checkpoints
from nlptasks.pretraining.configs import step_flops
from nlptasks.pretraining.devices import matmul_rate
from nlptasks.pretraining.loader import held_out_batches, read_ahead, unigram_baseline
from nlptasks.pretraining.monitor import Monitor
from nlptasks.pretraining.run import Progress, RunSettings, everywhere, run_steps, seek
from nlptasks.pretraining.step import State, make_step, state_of
from nlptasks.pretraining.together import (
    Place,
    Together,
    accepted,
    ending_together,
    joined,
    listening,
    own_address,
)
from nlptasks.train.progress import say
from nlptasks.train.record import OPTIONS, SCORES, jsonable, read_options, require_same, write_options

if TYPE_CHECKING:
    from nlptasks.pretraining.commands.train import Pretrain

DESCRIPTION = (
    "{weights:,} weights ({layers} layers, hidden {hidden}), {rows:,} rows of {tokens} tokens, {batch} a step on "
    "{mesh} ({device}); {flops:.3f} TFLOP a step, peak {peak:.2f} TFLOP/s"
)
BASELINE = "unigram baseline on the held-out rows: perplexity {perplexity:.2f}, accuracy {accuracy:.2%}"
_LONGEST_PLACE = 512
"""bytes of the address that the first process sends to the others"""
MOST_HELD_OUT = 0.2
"""share of the rows that may be held out without a word"""
MANY_HELD_OUT = (
    "{held_out} of {rows} rows are held out and not trained on; {field:valid_rows} {tenth} would hold out a tenth."
)
# what may differ between a run and its continuation; the model stands in the record whole, in place of its config
CHANGEABLE: tuple[str, ...] = (
    "output",
    "resume",
    "shards",
    "checkpoint",
    "skip_weights",
    "mesh",
    "save_every",
    "keep",
    "log_every",
    "num_workers",
)
CHANGEABLE += (
    "json",
    "skip_bad_steps",
    "spike",
    "tensorboard",
    "distributed",
    "coordinator",
    "num_processes",
    "process_id",
)
CHANGEABLE += ("json",)
CHANGEABLE += ("deterministic", "check_digests", "peak_tflops", "learning_rate", "valid_every", "precision", "config")


def pretrain(options: "Pretrain") -> dict[str, Any] | None:
    """Runs until the last step and leaves a model directory.

    Args:
        options: checked; the folder of the run is new, or holds what it resumes.

    Returns:
        What `scores.json` holds; None in processes other than the first.

    Raises:
        ValueError, FileNotFoundError: one line: what does not fit, before anything is written.
        TrainingInterrupted: SIGTERM or Ctrl-C; the state is saved.
        DivergedError: a bad step too many.
    """
    require_jax()
    with ending_together(join_processes(options)):
        return _pretrain(options)


def _pretrain(options: "Pretrain") -> dict[str, Any] | None:
    run = assemble(options)
    state = state_of(run.model, run.optimizer)
    with Checkpoints(options.checkpoint_folder.absolute(), options.keep) as checkpoints:
        state, progress = begin(options, run, state, checkpoints)
        flops, peak = step_cost(options, run), peak_rate(options, run.sizes)
        say_first(description(options, run, flops, peak))
        baseline = tell_baseline(options, run)
        monitor = make_monitor(options, progress, flops, peak)
        try:
            state = train(options, run, state, checkpoints, monitor, progress)
        finally:
            monitor.close()
    weights = everywhere(final_weights(options, run, state))
    if not is_first():
        return None
    save_model(options, run, weights)
    scores = last_scores(options, monitor, baseline)
    write_text(options.output / SCORES, json.dumps(scores, indent=1) + "\n")
    return scores


def require_jax() -> None:
    """Refuses another backend."""
    if keras.backend.backend() != "jax":
        raise UserError(
            "pretraining runs on JAX: set the environment variable KERAS_BACKEND=jax before Keras is imported. "
            "Received: {backend}.",
            backend=keras.backend.backend(),
        )


def join_processes(options: "Pretrain") -> Together | None:
    """Connects this process to the others, before any device is used; None: it is alone."""
    if options.coordinator is not None:
        jax.distributed.initialize(options.coordinator, options.num_processes, options.process_id)
    elif options.distributed:
        jax.distributed.initialize()
    index, count = jax.process_index(), jax.process_count()
    if count == 1:
        return None
    server, place = None, Place("", 0, "")
    if is_first():
        given = None if options.coordinator is None else options.coordinator.rpartition(":")[0].strip("[]")
        server, place = listening(given or own_address())
    sent = np.frombuffer(json.dumps(place).encode().ljust(_LONGEST_PLACE), "uint8")
    place = Place(*json.loads(multihost_utils.broadcast_one_to_all(sent).tobytes()))
    return joined(place, index, count) if server is None else accepted(server, place, count)


def is_first() -> bool:
    """Whether this process is the one that writes and speaks."""
    return jax.process_index() == 0


def say_first(line: str) -> None:
    """Says a line once, however many processes there are."""
    if is_first():
        say(line)


def identity(options: "Pretrain", run: Assembly) -> dict[str, Any]:
    """The options that make a run what it is, as they stand in JSON."""
    values = jsonable(options, without=CHANGEABLE)
    return values | json.loads(json.dumps({"model": run.model.config.to_dict(), "shards": repr(run.rows)}))


def _require_same_run(former: Mapping[str, Any], now: Mapping[str, Any], options: "Pretrain") -> None:
    """Refuses another run; fields of the model that are younger than its record count as their defaults."""
    model = TransformerConfig(**former["model"]).to_dict()
    require_same({**former, "model": model}, now, options.output)


def begin(options: "Pretrain", run: Assembly, state: State, checkpoints: Checkpoints) -> tuple[State, Progress]:
    """Goes on from the newest whole checkpoint of a run, or records the options of a new one.

    Raises:
        UserError: the run was started with other options.
    """
    own = identity(options, run)
    progress = Progress(options=own, workers=options.num_workers)
    if (restored := checkpoints.restore_newest(state, say)) is not None:
        step, state, stored = restored
        progress = Progress(**stored)
        _require_same_run(progress.options, own, options)
        say(f"going on from step {step}")
    elif (options.output / OPTIONS).is_file():
        _require_same_run(read_options(options.output)["run"], own, options)
        say("no checkpoint was finished; beginning anew")
    elif is_first():
        write_options(options.output, {"run": own, "given": jsonable(options, without=())})
    if progress.workers != options.num_workers:
        progress.count_from_here(options.num_workers)
    return state, progress


def train(
    options: "Pretrain",
    run: Assembly,
    state: State,
    checkpoints: Checkpoints,
    monitor: Monitor,
    progress: Progress,
) -> State:
    """Runs the steps that are left; see `run_steps`."""
    batches = read_ahead(run.batches, options.num_workers, first=progress.first)
    seek(batches, progress.data)
    valid_batch = valid_batch_size(options, run.sizes)
    held_out = functools.partial(held_out_batches, run.rows, run.main_objective, options.valid_rows, valid_batch)
    settings = RunSettings(
        num_steps=options.num_steps,
        save_every=options.save_every,
        valid_every=options.valid_every,
        skip_bad_steps=options.skip_bad_steps,
        learning_rate=run.rate,
    )
    step = make_step(run.model, run.optimizer, options.spike)
    return run_steps(step, run.model, state, batches, held_out, settings, checkpoints, monitor, progress, run.mesh)


def make_monitor(options: "Pretrain", progress: Progress, flops: float, peak: float) -> Monitor:
    """The monitor of the run; in processes other than the first it writes and says nothing."""
    return Monitor(
        options.output if is_first() else None,
        options.num_steps,
        options.log_every,
        flops,
        peak,
        say_first,
        first_step=progress.step,
        seconds=progress.seconds,
        skipped=progress.skipped,
        pending=progress.pending,
        tensorboard=options.tensorboard,
    )


def tell_baseline(options: "Pretrain", run: Assembly) -> dict[str, float]:
    """Says, and returns, what a guess that knows only how often tokens occur scores on the held-out rows."""
    if not options.valid_rows:
        return {}
    count = len(run.rows)
    if is_first() and MOST_HELD_OUT * count < options.valid_rows:
        say(MANY_HELD_OUT, held_out=options.valid_rows, rows=count, tenth=count // 10)
    baseline = unigram_baseline(run.rows, run.main_objective, options.valid_rows)
    say_first(told(BASELINE, **baseline))
    return baseline


def valid_batch_size(options: "Pretrain", sizes: dict[str, int]) -> int:
    """Rows of a validation batch: about as many as a part has, and a multiple of the mesh."""
    return max(1, min(64, options.batch_size // options.accumulate) // sizes["data"]) * sizes["data"]


def step_cost(options: "Pretrain", run: Assembly) -> float:
    """Floating-point operations of a step on average."""
    batches = run.batches
    return sum(
        share * step_flops(run.model.config, options.batch_size, run.rows.seq_length, objective.num_targets)
        for share, objective in zip(batches.shares, batches.objectives, strict=True)
    )


def peak_rate(options: "Pretrain", sizes: dict[str, int]) -> float:
    """Floating-point operations that all devices can do in a second."""
    dtype = "bfloat16" if options.precision == "bfloat16" else "float32"
    rate = matmul_rate(dtype) if options.peak_tflops is None else options.peak_tflops * 1e12
    # CPU devices share their cores
    return rate * (1 if jax.default_backend() == "cpu" else sizes["data"] * sizes["model"])


def description(options: "Pretrain", run: Assembly, flops: float, peak: float) -> str:
    """One line: model, rows, devices."""
    config, sizes = run.model.config, run.sizes
    return told(
        DESCRIPTION,
        weights=run.model.count_params(),
        layers=config.num_layers,
        hidden=config.hidden_size,
        rows=len(run.rows),
        tokens=run.rows.seq_length,
        batch=options.batch_size,
        mesh=f"data={sizes['data']},model={sizes['model']}",
        device=jax.devices()[0].device_kind,
        flops=flops / 1e12,
        peak=peak / 1e12,
    )


def final_weights(options: "Pretrain", run: Assembly, state: State) -> list[jax.Array]:
    """The trained weights, or their averages where those are kept."""
    if options.ema is None:
        return state.trainable
    pairs = zip(run.optimizer.variables, state.optimizer, strict=True)
    return [value for variable, value in pairs if variable.path.endswith("_average")]


def save_model(options: "Pretrain", run: Assembly, weights: list[Any]) -> None:
    """Writes the model directory."""
    keras.distribution.set_distribution(None)
    whole = Transformer.from_config(run.model.get_config())  # the one that was trained lies in parts on the devices
    whole.build()
    for variable, value in zip(whole.trainable_variables, weights, strict=True):
        variable.assign(value)
    save_directory(whole, options.output)
    run.rows.tokenizer().save(options.output)


def last_scores(options: "Pretrain", monitor: Monitor, baseline: dict[str, float]) -> dict[str, Any]:
    """The last scores on the held-out rows, and what the run took."""
    held_out = [row for row in monitor.rows if "valid_loss" in row][-1:]
    scores = {name: row[name] for row in held_out for name in row if name.startswith("valid_")}
    scores |= {"steps": options.num_steps, "skipped": monitor.skipped, "seconds": round(monitor.seconds, 1)}
    return scores | {f"unigram_{name}": value for name, value in baseline.items()}
