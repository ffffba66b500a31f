"""The loop of a pretraining run: steps, held-out rows, checkpoints, and what happens when something goes wrong."""

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import grain
import jax
import numpy as np
from jax.experimental import multihost_utils
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from nlptasks.core.transformer import Transformer
from nlptasks.errors import DivergedError
from nlptasks.pretraining.checkpoints import Checkpoints
from nlptasks.pretraining.monitor import Monitor
from nlptasks.pretraining.objectives import Example
from nlptasks.pretraining.step import Metrics, State, Step, batch_sharding, compile_step, make_evaluation, on_mesh
from nlptasks.train.interruption import StopRequested, TrainingInterrupted
from nlptasks.train.optimizers import PiecewiseLinear

_AGREE_SECONDS, _AGREE_STEPS = 2.0, 10  # processes ask each other whether to stop at least this often


@dataclass(kw_only=True)
class RunSettings:
    """At which steps a run saves, validates and ends; they are counted from 1."""

    num_steps: int
    save_every: int
    valid_every: int
    learning_rate: PiecewiseLinear
    skip_bad_steps: int = 0
    """how many bad steps are left out before the run stops"""


@dataclass(kw_only=True)
class Progress:
    """Where a run stands beside its arrays; every checkpoint holds it as one JSON object with these keys."""

    options: Mapping[str, Any]
    """what makes the run what it is, compared when it goes on"""
    workers: int
    """how many processes prepare batches; `data` is their state"""
    step: int = 0
    """steps done"""
    skipped: int = 0
    """bad steps left out"""
    seconds: float = 0.0
    pending: Sequence[Mapping[str, float]] = ()
    """metrics of the steps since the last row of the log"""
    first: int = 0
    """the step that `data` is counted from"""
    data: Any = None
    """Grain's state; None: at `first`"""

    def count_from_here(self, workers: int) -> None:
        """Another number of workers has another kind of state: its batches begin with the next step."""
        self.workers, self.first, self.data = workers, self.step, None


def run_steps(
    step_function: Step,
    model: Transformer,
    state: State,
    batches: grain.DatasetIterator,
    held_out: Callable[[], Iterator[Example]],
    settings: RunSettings,
    checkpoints: Checkpoints,
    monitor: Monitor,
    progress: Progress,
    mesh: Mesh | None = None,
) -> State:
    """Runs until `settings.num_steps` and returns the state.

    Args:
        step_function: what `make_step` returns.
        batches: Grain's iterator; its state goes into every checkpoint.
        held_out: the batches `(B, ...)` of rows to validate on.
        progress: where the run stands; brought up to date at every checkpoint.

    Raises:
        TrainingInterrupted: SIGTERM or Ctrl-C; the state is saved.
        DivergedError: a bad step too many; it names the step.
    """
    step_function = compile_step(step_function, state)
    validate = _validation(model, held_out, mesh)
    sharding, step, waiting = batch_sharding(mesh), progress.step, None
    first, anyone = step, _Agreement(step)

    def save() -> None:
        progress.step, progress.data = step, _plain(batches.get_state())
        progress.skipped, progress.seconds, progress.pending = monitor.skipped, monitor.seconds, monitor.pending
        checkpoints.save(step, state, vars(progress))

    with StopRequested() as stop:
        while step < settings.num_steps:
            state, metrics = step_function(state, on_mesh(next(batches), sharding))
            step += 1
            if waiting is not None:  # look at a step while the next one runs
                _judge(*waiting, settings, monitor)
            elif step == first + 1:
                jax.block_until_ready(metrics)
                monitor.restart_clock()  # compiled
            waiting = (step, metrics)
            last, stopping = step == settings.num_steps, anyone(stop.requested, step)
            saving, validating = step % settings.save_every == 0, step % settings.valid_every == 0
            if last or stopping or saving or validating:
                _judge(*waiting, settings, monitor)
                waiting = None
            if validate is not None and (last or validating):
                monitor.add_validation(step, *validate(state))
            if last or stopping or saving:
                save()
            if stopping and not last:
                checkpoints.wait()
                raise TrainingInterrupted
    return state


def _judge(step: int, metrics: Metrics, settings: RunSettings, monitor: Monitor) -> None:
    """Takes the metrics of a step, which waits for the devices; stops the run at a bad step too many."""
    values = {name: float(value) for name, value in jax.device_get(metrics).items()}
    if values["bad"]:
        monitor.skipped += 1
        what = f"step {step}: loss {values['loss']:.4g}, gradient norm {values['gradient_norm']:.4g}"
        if monitor.skipped > settings.skip_bad_steps:
            raise DivergedError(
                "{what}: not finite, or a spike; the step was not applied. Resume with a lower {field:learning_rate} "
                "or {field:precision} float32, or let {field:skip_bad_steps} leave out more than {most}.",
                what=what,
                most=settings.skip_bad_steps,
            )
        monitor.say(f"{what}: left out ({monitor.skipped} of at most {settings.skip_bad_steps}).")
    monitor.add(step, values, settings.learning_rate.at(step - 1 - monitor.skipped))


def _validation(
    model: Transformer, held_out: Callable[[], Iterator[Example]], mesh: Mesh | None
) -> Callable[[State], tuple[float, float]] | None:
    """`validate(state) -> (loss, accuracy)` over the held-out rows, or None where there are none."""
    if next(iter(held_out()), None) is None:
        return None
    evaluate = jax.jit(make_evaluation(model))
    sharding = None if mesh is None else NamedSharding(mesh, PartitionSpec("data"))
    index, count = jax.process_index(), jax.process_count()

    def validate(state: State) -> tuple[float, float]:
        totals = np.zeros(3)
        for batch in held_out():
            rows = len(batch["token_ids"]) // count
            mine = {name: array[index * rows : (index + 1) * rows] for name, array in batch.items()}
            found = evaluate(state.trainable, state.others, on_mesh(mine, sharding))
            totals += np.array([float(value) for value in jax.device_get(found)])
        return totals[0] / max(1.0, totals[2]), totals[1] / max(1.0, totals[2])

    return validate


class _Agreement:
    """Whether any process was asked to stop; all give the same answer at the same step.

    They ask each other every few seconds, counted in steps of the slowest process.
    """

    def __init__(self, step: int) -> None:
        self._last, self._next, self._asked = step, step + 1, time.monotonic()

    def __call__(self, requested: bool, step: int) -> bool:
        if jax.process_count() == 1:
            return requested
        if step < self._next:
            return False
        now = time.monotonic()
        seconds = (now - self._asked) / max(1, step - self._last)
        found = multihost_utils.process_allgather(np.array([float(requested), seconds]))
        wait = int(_AGREE_SECONDS / max(float(found[:, 1].max()), 1e-6))
        self._last, self._next, self._asked = step, step + min(_AGREE_STEPS, max(1, wait)), now
        return bool(found[:, 0].any())


def _plain(value: Any) -> Any:
    """Grain's state as JSON holds it."""
    return value.decode("ascii") if isinstance(value, bytes) else value


def seek(batches: grain.DatasetIterator, saved: Any) -> None:
    """Puts Grain's iterator where a checkpoint left it; None leaves it at its beginning."""
    if saved is None:
        return
    own = batches.get_state()
    batches.set_state(saved.encode("ascii") if isinstance(own, bytes) else saved)


def everywhere(arrays: list[jax.Array]) -> list[np.ndarray]:
    """The whole of arrays that are cut over devices, in every process."""
    if all(array.is_fully_addressable for array in arrays):
        return [np.asarray(array) for array in arrays]
    sharding = arrays[0].sharding
    assert isinstance(sharding, NamedSharding)  # nothing but a mesh cuts arrays over processes
    whole = jax.jit(lambda x: x, out_shardings=NamedSharding(sharding.mesh, PartitionSpec()))
    return [np.asarray(whole(array).addressable_data(0)) for array in arrays]
