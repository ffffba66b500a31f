"""The last position of a model's outputs by few programs: what `AutoRegressiveDecoder.last_token` runs on JAX.

JAX compiles a program for every shape, and a decoder asks with one more token at each step, and with fewer rows when
texts have ended. So the inputs are padded on the right to a multiple of `WIDTH_STEP`, and the output is taken where the
last token stands; the last row is repeated up to a power of two. This is right where no position sees those after it,
which holds for the masks of language models and of UniLM, and where no row sees another; whether it holds for a model
is tried out at its first call.
"""

from collections.abc import Callable
from typing import Any

import numpy as np
from keras import ops

from nlptasks.bert4keras.keras.fitting import WIDTH_STEP
from nlptasks.bert4keras.keras.layers import Input, Layer
from nlptasks.bert4keras.keras.models import Model

POSITIONS = "Embedding-Position"
"""how the names of layers of positions end, behind a prefix of the script"""


class LastToken(Model):
    """A model that returns the last position; its predictions are made by `widened` where that is set."""

    widened: "Widened | None" = None

    def _predict_arrays(self, arrays: list[np.ndarray]) -> Any:
        exact = super()._predict_arrays
        return exact(arrays) if self.widened is None else self.widened(arrays, exact)


class Widened:
    """A model's outputs at the last position of inputs that are padded to few widths.

    Args:
        model: its inputs of two axes, the second free, are token ids `(B, T)` and what goes with them.

    Attributes:
        holds: whether padding changes nothing; None: not tried yet.
    """

    def __init__(self, model: Any) -> None:
        place = Input(shape=(1,), dtype="int32")
        outputs = [_AtPlace()([output, place]) for output in model.outputs]
        self.program = Model([*model.inputs, place], outputs)
        self.free = [len(each.shape) == 2 and each.shape[1] is None for each in model.inputs]
        places = [layer for layer in model.layers if layer.name.endswith(POSITIONS)]
        tables = [layer.weights[0].shape[0] for layer in places if layer.weights]
        self.most = min(tables, default=None)
        self.holds: bool | None = None

    def __call__(self, arrays: list[np.ndarray], exact: Callable[[list[np.ndarray]], Any]) -> Any:
        """The outputs for `arrays`; `exact` computes them without padding."""
        widths = {array.shape[1] for array, free in zip(arrays, self.free, strict=True) if free}
        width = max(widths, default=0)
        more, rows = -width % WIDTH_STEP, len(arrays[0])
        missing = (1 << (rows - 1).bit_length()) - rows if rows else 0
        if self.holds is False or len(widths) != 1 or (self.most is not None and width + more > self.most):
            return exact(arrays)
        place = np.full((rows + missing, 1), width - 1, "int32")
        padded = [_with_rows(array, missing) for array in self._padded(arrays, more)]
        found = self.program.predict_on_batch([*padded, place])
        found = [each[:rows] for each in found] if isinstance(found, list | tuple) else found[:rows]
        if self.holds is None and (more or missing):
            wanted = exact(arrays)
            self.holds = all(map(_equal, _listed(found), _listed(wanted)))
            return wanted
        return found

    def _padded(self, arrays: list[np.ndarray], more: int) -> list[np.ndarray]:
        """Token ids, the first array with a free width, go on with 0, segments with their last one."""
        found, mode = [], "constant"
        for array, free in zip(arrays, self.free, strict=True):
            if free:
                array, mode = np.pad(array, [(0, 0), (0, more)], mode=mode), "edge"  # type: ignore[call-overload]
            found.append(array)
        return found


def _with_rows(array: np.ndarray, more: int) -> np.ndarray:
    """With the last row so many times more."""
    return np.concatenate([array, np.repeat(array[-1:], more, axis=0)]) if more else array


class _AtPlace(Layer):
    """`(B, T, ...)` and the position of all rows, `(B, 1)` -> `(B, ...)`."""

    def call(self, inputs: Any) -> Any:
        x, place = inputs
        return ops.take(x, place[0, 0], axis=1)

    def compute_mask(self, inputs: Any, mask: Any = None) -> None:
        return None


def _equal(found: np.ndarray, wanted: np.ndarray) -> bool:
    return np.allclose(found, wanted, rtol=1e-4, atol=1e-5 * max(1.0, float(np.abs(wanted).max())))


def _listed(found: Any) -> list[np.ndarray]:
    return list(found) if isinstance(found, list | tuple) else [found]
