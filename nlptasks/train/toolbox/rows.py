"""Some rows of a weight, which an optimizer's step takes for the weight itself."""

from typing import Any, NamedTuple

import keras
from keras import ops

from nlptasks.backend import Tensor, put_rows, take_rows


class RowGradient(NamedTuple):
    """The gradient of a few rows; all others have none."""

    rows: Tensor
    """int, each number once"""
    values: Tensor
    """`(rows, ...)`"""


class Rows:
    """Rows of a variable, with the methods of a variable that a step uses.

    Args:
        variable: the whole.
        rows: numbers of its rows, each once.
        key: what the optimizer knows the variable by.
    """

    def __init__(self, variable: Any, rows: Tensor, key: Any) -> None:
        self._variable, self._rows, self._unique_id = variable, rows, key
        self.value = take_rows(variable, rows)
        self.dtype = keras.backend.standardize_dtype(self.value.dtype)
        self.shape = self.value.shape

    def assign(self, value: Tensor) -> None:
        """Sets the rows; `write` puts them into the whole."""
        self.value = ops.cast(value, self.dtype)

    def assign_add(self, value: Tensor) -> None:
        """Adds to the rows."""
        self.assign(self.value + value)

    def assign_sub(self, value: Tensor) -> None:
        """Subtracts from the rows."""
        self.assign(self.value - value)

    def write(self) -> None:
        """Puts the rows into the variable."""
        put_rows(self._variable, self._rows, self.value)

    def __tf_tensor__(self, dtype: Any = None, name: str | None = None) -> Tensor:
        return self.value if dtype is None else ops.cast(self.value, dtype)

    def __add__(self, other: Tensor) -> Tensor:
        return self.value + other

    def __sub__(self, other: Tensor) -> Tensor:
        return self.value - other

    def __mul__(self, other: Tensor) -> Tensor:
        return self.value * other

    def __truediv__(self, other: Tensor) -> Tensor:
        return self.value / other

    def __rsub__(self, other: Tensor) -> Tensor:
        return other - self.value

    __radd__, __rmul__ = __add__, __mul__
