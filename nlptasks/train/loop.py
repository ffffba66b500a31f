"""The training loop that every run shares: epochs, validation, best model, interruption and resumption."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from keras import ops

from nlptasks.backend import compile_train_step
from nlptasks.errors import DivergedError, told
from nlptasks.files import write_text
from nlptasks.train import progress as shown
from nlptasks.train.averages import averaged_weights
from nlptasks.train.choosing import comparable
from nlptasks.train.continuing import first_epoch
from nlptasks.train.curve import draw_curve
from nlptasks.train.interruption import StopRequested, TrainingInterrupted
from nlptasks.train.perturbation import token_embedding
from nlptasks.train.state import Progress, load_state, save_state
from nlptasks.train.toolbox.adversarial import changed_loss

if TYPE_CHECKING:
    from nlptasks.train.experiment import Experiment

STATE, LOG, CURVE = "resume.safetensors", "log.json", "curve.png"
SAVE_SECONDS = 600  # a killed run loses no more than this
DRAW_SECONDS = 30  # drawing takes as long as many steps of a small model


def run_epochs(run: Experiment) -> list[dict[str, Any]]:
    """Trains for the epochs of a run, and saves its model.

    Interrupted at any step and resumed, a run ends with the same weights as an uninterrupted one. Its directory
    receives the resumable state, `log.json` and `curve.png`.

    Returns:
        A dict for each epoch: `epoch`, `loss`, the scores, `training_seconds`.

    Raises:
        TrainingInterrupted: after Ctrl-C or SIGTERM, when the state is saved.
        DivergedError: the loss is no longer a finite number.
    """
    model, optimizer, state = run.trained.model, run.optimizer, run.folder / STATE
    step = _step(run)
    progress = Progress()
    if run.options.resume and state.is_file():  # a run that was killed before its first save starts anew
        progress = load_state(state, model, optimizer)

    def save() -> None:
        save_state(state, model, optimizer, progress)

    drawn = time.monotonic()
    with StopRequested() as stop:
        while progress.epoch < run.epochs and not _is_past_patience(run, progress):
            batches = _grouped(run.examples.batches(progress.epoch, run.size), run.options.accumulate)
            _run_epoch(run, step, batches, progress, stop, save)
            if stop.requested:
                save()
                _draw(progress, run.folder)
                raise TrainingInterrupted
            _require_finite(model, progress)
            with averaged_weights(model, optimizer):
                scores = run.validated()
                _finish_epoch(progress, len(batches), scores, run.folder)
                if run.keep == "best" and run.kept(progress.history) is progress.history[-1]:
                    run.trained.save(run.folder)
            save()
            if time.monotonic() - drawn > DRAW_SECONDS:
                _draw(progress, run.folder)
                drawn = time.monotonic()
    _draw(progress, run.folder)
    if run.keep == "last":
        with averaged_weights(model, optimizer):
            run.trained.save(run.folder)
    return progress.history


def _step(run: Experiment) -> Callable[[Any], Any]:
    """The compiled step of a run; it takes what `_grouped` gives, as arrays."""
    fgm = getattr(run.options, "fgm", None)
    perturbed = None if fgm is None else token_embedding(run.trained.model)
    loss = changed_loss(run.trained, run.options, token_embedding)
    step = compile_train_step(run.trained.model, run.optimizer, loss, perturbed=perturbed, perturbation=fgm or 0.0)
    if run.options.accumulate > 1:
        step = _accumulating(step, run.examples.weight)
    return step if run.around_step is None else run.around_step(step)


def _is_past_patience(run: Experiment, progress: Progress) -> bool:
    """Whether the last epochs, as many as the patience allows, brought no better score; a lower loss is none."""
    first = first_epoch(getattr(run.options, "parts", ()))  # further epochs are counted anew
    scores = [comparable(row[run.score_name]) for row in progress.history[first:]]
    if run.options.patience is None or run.keep == "last" or not scores:
        return False
    since_best = len(scores) - 1 - scores.index(max(scores))
    return since_best >= run.options.patience


def _grouped(batches: Sequence[Any], count: int) -> Sequence[Any]:
    return batches if count == 1 else [batches[i : i + count] for i in range(0, len(batches), count)]


def _accumulating(step: Callable, weight: Callable[[Any], float]) -> Callable:
    """A step on several batches; its loss is the mean over all their examples or tokens."""

    def run_group(group: Sequence[Any]) -> Any:
        weights = np.array([float(weight(batch)) for batch in group])
        return step(group, weights / max(weights.sum(), 1.0))

    return run_group


def _run_epoch(
    run: Experiment,
    step: Callable,
    batches: Sequence[Any],
    progress: Progress,
    stop: StopRequested,
    save: Callable[[], None],
) -> None:
    """Runs the epoch from `progress.batch` on and saves regularly; returns early if a stop is requested."""
    started = saved = time.monotonic()
    description = told("epoch {epoch}/{epochs}", epoch=progress.epoch + 1, epochs=run.epochs)
    items = shown.progress_bar(batches[progress.batch :], description, len(batches), progress.batch)
    for item in items:
        if run.options.accumulate == 1:
            arrays = run.examples.arrays(item, run.size)
        else:
            arrays = [run.examples.arrays(batch, run.size) for batch in item]
        loss = float(ops.convert_to_numpy(step(arrays)))
        if not np.isfinite(loss):
            raise DivergedError(
                "the loss became {loss} in epoch {epoch}, batch {batch}; lower {field:learning_rate} or use "
                "{field:precision} float32.",
                loss=loss,
                epoch=progress.epoch + 1,
                batch=progress.batch + 1,
            )
        progress.batch += 1
        progress.loss_sum += loss
        if hasattr(items, "set_postfix_str"):
            items.set_postfix_str(told("loss {loss:.4f}", loss=progress.loss_sum / progress.batch), refresh=False)
        if stop.requested:
            break
        if time.monotonic() - saved > SAVE_SECONDS:
            save()
            saved = time.monotonic()
    progress.seconds += time.monotonic() - started


def _require_finite(model: Any, progress: Progress) -> None:
    """Refuses to go on with weights that are no numbers: the last update, which no loss has shown, may have made them
    so.
    """
    sums = [ops.sum(ops.cast(variable.value, "float32")) for variable in model.trainable_variables]
    if not np.isfinite(ops.convert_to_numpy(ops.stack(sums))).all():
        raise DivergedError(
            "the weights became no numbers at the end of epoch {epoch}; lower {field:learning_rate} or use "
            "{field:precision} float32.",
            epoch=progress.epoch + 1,
        )


def _finish_epoch(progress: Progress, batches: int, scores: dict[str, float], directory: Path) -> None:
    row = {"epoch": progress.epoch + 1, "loss": progress.loss_sum / max(1, batches), **scores}
    progress.history.append(row | {"training_seconds": round(progress.seconds, 1)})
    progress.epoch, progress.batch, progress.loss_sum = progress.epoch + 1, 0, 0.0
    write_text(directory / LOG, json.dumps(progress.history, indent=1, ensure_ascii=False) + "\n")


def _draw(progress: Progress, directory: Path) -> None:
    if progress.history:
        draw_curve(progress.history, directory / CURVE)
