"""The training loop that every script shares: epochs, validation, best model, interruption and resumption."""

import functools
import json
import time
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

import keras
import numpy as np
from keras import ops

from nlptasks.backend.programs import compile_train_step
from nlptasks.files import atomic_path, write_text
from nlptasks.train.extras import TrainingExtras, averaged_weights, token_embedding
from nlptasks.train.interruption import StopRequested, TrainingInterrupted
from nlptasks.train.state import Progress, load_state, save_state

STATE, LOG, CURVE = "resume.safetensors", "log.json", "curve.png"
SAVE_SECONDS = 600  # a killed run loses no more than this


def train(
    model: keras.Model,
    optimizer: keras.optimizers.Optimizer,
    loss_function: Callable,
    epoch_batches: Callable[[int], Sequence],
    make_batch: Callable,
    epochs: int,
    validate: Callable[[], dict[str, float]],
    score_name: str,
    save_best: Callable[[], None],
    directory: str | Path,
    options: dict,
    resume: bool = False,
    progress_bar: Callable[[Iterable, str, int, int], Iterable] | None = None,
    around_step: Callable[[Callable], Callable] | None = None,
    extras: TrainingExtras | None = None,
    weight_of: Callable[[dict], float] | None = None,
) -> Progress:
    """Trains for some epochs; the best one by `validate` is saved.

    Interrupted at any step and resumed, a run ends with the same weights as an uninterrupted one.

    Args:
        loss_function: `loss_function(batch)`, a scalar tensor.
        epoch_batches: the batches of an epoch in their order, a function of the epoch's number alone.
        make_batch: one of them as arrays.
        validate: scores after an epoch; `score_name` among them is better when it is higher.
        save_best: saves the model as it is; called after each best epoch.
        directory: the run's directory; the resumable state, `log.json` and `curve.png` are written there.
        options: what identifies the run: resuming with others is refused.
        progress_bar: `progress_bar(items, description, total, initial)` wraps an epoch's batches.
        around_step: makes of the compiled step, which takes a batch and returns its loss, the one that is run.
        extras: accumulation, averages, perturbation; None: none of them. (Averages are kept by the optimizer, see
            `make_adam`; layers are recomputed by the Transformer, see `Transformer.recompute`.)
        weight_of: over how much a batch's loss is the mean (its tokens, say); accumulation weighs losses by it.

    Raises:
        TrainingInterrupted: after Ctrl-C or SIGTERM, when the state is saved.
    """
    directory, extras = Path(directory), extras or TrainingExtras()
    perturbed = None if extras.fgm is None else token_embedding(model)
    step = compile_train_step(model, optimizer, loss_function, perturbed=perturbed, perturbation=extras.fgm or 0.0)
    if extras.accumulate > 1:
        step, make_batch = _accumulating(step, weight_of), _each(make_batch)
    if around_step is not None:
        step = around_step(step)
    state = directory / STATE
    progress = Progress()
    if resume and state.is_file():  # a run that was killed before its first save starts anew
        progress = load_state(state, model, optimizer, options)
    with StopRequested() as stop:
        while progress.epoch < epochs:
            batches = _grouped(epoch_batches(progress.epoch), extras.accumulate)
            save = functools.partial(save_state, state, model, optimizer, progress, options)
            _run_epoch(step, batches, make_batch, progress, epochs, stop, progress_bar, save)
            if stop.requested:
                save()
                raise TrainingInterrupted
            with averaged_weights(model, optimizer):
                scores = validate()
                _finish_epoch(progress, len(batches), scores, directory)
                if scores[score_name] > progress.best:
                    progress.best = scores[score_name]
                    save_best()
            save()
    return progress


def _grouped(batches, count):
    return batches if count == 1 else [batches[i : i + count] for i in range(0, len(batches), count)]


def _each(make_batch):
    return lambda group: [make_batch(batch) for batch in group]


def _accumulating(step, weight_of):
    """A step on several batches whose loss is the mean over all that is in them."""

    def run(group):
        weights = np.array([float(weight_of(batch)) for batch in group])
        return step(group, weights / max(weights.sum(), 1.0))

    return run


def _run_epoch(step, batches, make_batch, progress, epochs, stop, progress_bar, save):
    """Runs the epoch from `progress.batch` on, saving now and then; returns early when a stop is requested."""
    started = saved = time.monotonic()
    remaining = batches[progress.batch :]
    description = f"epoch {progress.epoch + 1}/{epochs}"
    items = remaining if progress_bar is None else progress_bar(remaining, description, len(batches), progress.batch)
    for item in items:
        loss = float(ops.convert_to_numpy(step(make_batch(item))))
        if not np.isfinite(loss):
            raise FloatingPointError(
                f"the loss became {loss} in epoch {progress.epoch + 1}, batch {progress.batch + 1}; "
                "lower --learning-rate or use --precision float32."
            )
        progress.batch += 1
        progress.loss_sum += loss
        if hasattr(items, "set_postfix_str"):
            items.set_postfix_str(f"loss {progress.loss_sum / progress.batch:.4f}", refresh=False)
        if stop.requested:
            break
        if time.monotonic() - saved > SAVE_SECONDS:
            save()
            saved = time.monotonic()
    progress.seconds += time.monotonic() - started


def _finish_epoch(progress, batches, scores, directory):
    row = {"epoch": progress.epoch + 1, "loss": progress.loss_sum / max(1, batches), **scores}
    progress.history.append(row | {"training_seconds": round(progress.seconds, 1)})
    progress.epoch, progress.batch, progress.loss_sum = progress.epoch + 1, 0, 0.0
    write_text(directory / LOG, json.dumps(progress.history, indent=1, ensure_ascii=False) + "\n")
    draw_curve(progress.history, directory / CURVE)


def draw_curve(history: Sequence[dict], path: str | Path) -> None:
    """Loss and validation scores by epoch, as a PNG."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    figure, (left, right) = pyplot.subplots(1, 2, figsize=(9, 3.4), layout="constrained")
    epochs = [row["epoch"] for row in history]
    left.plot(epochs, [row["loss"] for row in history], marker="o")
    left.set(title="training loss", xlabel="epoch")
    for name in history[-1]:
        if name not in ("epoch", "loss", "training_seconds"):
            right.plot(epochs, [row[name] for row in history], marker="o", label=name)
    right.set(title="validation", xlabel="epoch")
    right.legend()
    with atomic_path(path) as temporary:
        figure.savefig(temporary, dpi=120)
    pyplot.close(figure)
