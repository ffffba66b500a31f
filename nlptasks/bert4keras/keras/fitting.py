"""Training and prediction as Keras 2 took them: generators, lists, free widths."""

from collections.abc import Iterator
from typing import Any

import keras as _keras
import numpy as np

from nlptasks.bert4keras.keras.phases import compiled_call
from nlptasks.errors import UserError

_OLD = ("max_queue_size", "workers", "use_multiprocessing", "max_q_size", "pickle_safe")
WIDTH_STEP = 32
"""on JAX, widths of batches are rounded up to a multiple of this, so that few programs are compiled"""


def arrays_of(model: Any, x: Any, free: bool = True) -> list[np.ndarray]:
    """The inputs of a model as arrays, each of its input's type.

    Args:
        x: an array, nested lists, a list with one of these for each input, or a dict by the inputs' names.

    Raises:
        UserError: there is not one for each input.
    """
    inputs = getattr(model, "inputs", None) or [None]
    if isinstance(x, dict):
        x = [x[i.name] for i in inputs]
    if len(inputs) == 1:
        single = isinstance(x, list | tuple) and len(x) == 1 and hasattr(x[0], "dtype")
        x = [x[0] if single else x]
    if len(x) != len(inputs):
        raise UserError(
            "{name} has {wanted} inputs ({names}). Received: {count}.",
            name=model.name,
            wanted=len(inputs),
            names=", ".join(i.name for i in inputs),
            count=len(x),
        )
    return [_array(value, None if i is None else i.dtype) for value, i in zip(x, inputs, strict=True)]


def _array(value: Any, dtype: str | None) -> np.ndarray:
    array = np.asarray(value)
    wanted = dtype if dtype and dtype != "bfloat16" else ("float32" if array.dtype == "float64" else None)
    return array if wanted is None else array.astype(wanted, copy=False)


def targets_of(y: Any) -> Any:
    """Targets as arrays; None stays."""
    if y is None or isinstance(y, dict):
        return y
    if isinstance(y, tuple) or (isinstance(y, list) and y and hasattr(y[0], "shape") and len(y[0].shape) > 0):
        found = [_array(each, None) for each in y]
        return found[0] if len(found) == 1 else found
    return _array(y, None)


def is_batches(x: Any) -> bool:
    """Whether this yields batches one by one."""
    return isinstance(x, Iterator)


def _parts(batch: Any) -> tuple[Any, Any, Any]:
    if not isinstance(batch, tuple):
        return batch, None, None
    return (*batch, None, None)[:3]


class Training:
    """`fit`, `predict` and `evaluate` of Keras 2 for a model."""

    stop_training: bool
    history: Any
    _keeping_metrics = False

    def reset_metrics(self) -> None:
        """Sets the metrics to their start; not between the batches of an epoch."""
        if not self._keeping_metrics:
            super().reset_metrics()  # type: ignore[misc]

    def _kept(self, step: Any, batch: Any, **options: Any) -> dict[str, Any]:
        """The logs of a step on a batch, averaged over the batches since the metrics were set to their start."""
        self._keeping_metrics = True
        try:
            return step(*_parts(batch), return_dict=True, **options)
        finally:
            self._keeping_metrics = False

    def _by_output(self, y: Any) -> Any:
        """Targets in a dict by the names of the outputs as Keras takes them of a model with a list of outputs."""
        names = getattr(self, "output_names", None)
        if not isinstance(y, dict) or not names or not set(names) <= set(y):
            return y
        found = [y[name] for name in names]
        return found[0] if len(found) == 1 else found

    def compute_loss(self, x: Any = None, y: Any = None, y_pred: Any = None, *args: Any, **options: Any) -> Any:
        """The loss of a batch; see Keras."""
        return super().compute_loss(x, self._by_output(y), y_pred, *args, **options)  # type: ignore[misc]

    def compute_metrics(self, x: Any, y: Any, y_pred: Any, sample_weight: Any = None) -> Any:
        """The metrics so far; see Keras."""
        return super().compute_metrics(x, self._by_output(y), y_pred, sample_weight)  # type: ignore[misc]

    def fit(self, x: Any = None, y: Any = None, batch_size: int | None = None, epochs: int = 1, **options: Any) -> Any:
        """Trains; see Keras. `x` may be a generator of (inputs, targets), whose batches may have any width.

        model.fit(data.forfit(), steps_per_epoch=len(data), epochs=3)
        """
        options = {name: value for name, value in options.items() if name not in _OLD}
        if is_batches(x):
            return self._fit_batches(x, epochs, **options)
        if not _is_data_set(x):
            x, y = arrays_of(self, x), targets_of(y)
            x = x[0] if len(x) == 1 else x
            if (known := options.get("validation_data")) is not None and not _is_data_set(known):
                options["validation_data"] = (arrays_of(self, known[0]), *map(targets_of, known[1:]))
        return super().fit(x, y, batch_size=batch_size, epochs=epochs, **options)  # type: ignore[misc]

    fit_generator = fit

    def _fit_batches(
        self,
        batches: Any,
        epochs: int,
        steps_per_epoch: int | None = None,
        verbose: Any = "auto",
        callbacks: Any = None,
        validation_data: Any = None,
        validation_steps: int | None = None,
        validation_freq: int = 1,
        class_weight: Any = None,
        initial_epoch: int = 0,
        shuffle: bool = True,
    ) -> Any:
        if steps_per_epoch is None and epochs > initial_epoch + 1:
            raise UserError("steps_per_epoch must be given with a generator of batches, which has no end.")
        verbose = 1 if verbose == "auto" else verbose
        tell = _keras.callbacks.CallbackList(
            callbacks,
            add_history=True,
            add_progbar=verbose != 0,
            verbose=verbose,
            epochs=epochs,
            steps=steps_per_epoch,
            model=self,
        )
        self.stop_training = False
        tell.on_train_begin()
        logs: dict[str, Any] = {}
        for epoch in range(initial_epoch, epochs):
            self.reset_metrics()
            tell.on_epoch_begin(epoch)
            step = 0
            while steps_per_epoch is None or step < steps_per_epoch:
                batch = next(batches, None)
                if batch is None:
                    break
                tell.on_train_batch_begin(step)
                logs = self._kept(self.train_on_batch, batch, class_weight=class_weight)
                tell.on_train_batch_end(step, logs)
                step += 1
                if self.stop_training:
                    break
            logs = dict(logs)
            if validation_data is not None and (epoch + 1) % validation_freq == 0:
                logs |= self._validate(validation_data, validation_steps)
            tell.on_epoch_end(epoch, logs)
            if self.stop_training:
                break
        tell.on_train_end(logs)
        return self.history

    def _validate(self, data: Any, steps: int | None) -> dict[str, Any]:
        inputs, targets = (data, None) if is_batches(data) or _is_data_set(data) else (data[0], data[1])
        found = self.evaluate(inputs, targets, steps=steps, verbose=0, return_dict=True)
        return {f"val_{name}": value for name, value in found.items()}

    def train_on_batch(self, x: Any, y: Any = None, sample_weight: Any = None, **options: Any) -> Any:
        """One step on lists of arrays of any width; see Keras."""
        x, y = _widened(self, arrays_of(self, x), targets_of(y))
        return super().train_on_batch(_one(x), y, sample_weight, **options)  # type: ignore[misc]

    def test_on_batch(self, x: Any, y: Any = None, sample_weight: Any = None, **options: Any) -> Any:
        """The losses and metrics of one batch; see Keras."""
        x, y = _widened(self, arrays_of(self, x), targets_of(y))
        return super().test_on_batch(_one(x), y, sample_weight, **options)  # type: ignore[misc]

    def evaluate(self, x: Any = None, y: Any = None, batch_size: int | None = None, **options: Any) -> Any:
        """Losses and metrics; see Keras. `x` may be a generator."""
        options = {name: value for name, value in options.items() if name not in _OLD}
        if is_batches(x):
            self.reset_metrics()
            logs, steps = {}, options.get("steps")
            for count, batch in enumerate(x):
                if count == steps:
                    break
                logs = self._kept(self.test_on_batch, batch)
            return logs if options.get("return_dict") else list(logs.values())
        if not _is_data_set(x):
            x, y = _one(arrays_of(self, x)), targets_of(y)
        return super().evaluate(x, y, batch_size=batch_size, **options)  # type: ignore[misc]

    evaluate_generator = evaluate

    def predict(
        self, x: Any, batch_size: int | None = None, verbose: Any = 0, steps: int | None = None, **options: Any
    ) -> Any:
        """The outputs as arrays, for arrays, nested lists or a generator of inputs.

        A call costs what the compiled program costs: it makes no data set and no progress bar.

            model.predict([[token_ids], [segment_ids]])
        """
        if is_batches(x):
            pieces = []
            for count, batch in enumerate(x):
                if count == steps:
                    break
                pieces.append(self.predict_on_batch(_parts(batch)[0]))
            return _joined(pieces)
        if _is_data_set(x):
            return super().predict(x, batch_size=batch_size, verbose=verbose, steps=steps)  # type: ignore[misc]
        arrays, size = arrays_of(self, x), batch_size or 32
        rows = len(arrays[0])
        if rows <= size:
            return self._predict_arrays(arrays)
        starts = range(0, rows, size)
        return _joined([self._predict_arrays([array[i : i + size] for array in arrays]) for i in starts])

    predict_generator = predict

    def predict_on_batch(self, x: Any) -> Any:
        """The outputs for one batch."""
        return self._predict_arrays(arrays_of(self, x))

    def _predict_arrays(self, arrays: list[np.ndarray]) -> Any:
        if not hasattr(self, "_program"):
            self._program = compiled_call(self)
        if self._program is None:
            return _writable(super().predict_on_batch(_one(arrays)))  # type: ignore[misc]
        return _writable(self._program(_one(arrays)))


def _writable(found: Any) -> Any:
    """Scripts write into what `predict` gave them."""
    if isinstance(found, list | tuple):
        return [_writable(each) for each in found]
    array = np.asarray(found)
    return array if array.flags.writeable else array.copy()


def _joined(pieces: list[Any]) -> Any:
    if isinstance(pieces[0], list):
        return [np.concatenate(each) for each in zip(*pieces, strict=True)]
    return np.concatenate(pieces)


def _one(arrays: list[np.ndarray]) -> Any:
    return arrays[0] if len(arrays) == 1 else arrays


def _is_data_set(x: Any) -> bool:
    return (type(x).__module__.split(".")[0] in ("tensorflow", "torch") and hasattr(x, "__iter__")) or isinstance(
        x, _keras.utils.PyDataset
    )


def _widened(model: Any, x: list[np.ndarray], y: Any) -> tuple[list[np.ndarray], Any]:
    """On JAX, the width of the first input rounded up where it is free, and all of that width with it that are free."""
    if _keras.config.backend() != "jax" or x[0].ndim < 2:
        return x, y
    inputs = getattr(model, "inputs", None)
    free = [len(each.shape) > 1 and each.shape[1] is None for each in inputs] if inputs else [True] * len(x)
    if not free[0]:
        return x, y
    width = x[0].shape[1]
    more = -width % WIDTH_STEP

    def wider(array: Any) -> Any:
        if array is None or not more or np.ndim(array) < 2 or np.shape(array)[1] != width:
            return array
        return np.pad(array, [(0, 0), (0, more)] + [(0, 0)] * (array.ndim - 2))

    x = [wider(array) if may else array for array, may in zip(x, free, strict=True)]
    if isinstance(y, dict):
        return x, {name: wider(array) for name, array in y.items()}
    return x, [wider(array) for array in y] if isinstance(y, list) else wider(y)
