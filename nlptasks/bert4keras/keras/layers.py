"""Keras' layers with the methods of Keras 2: `get_output_at` and its kin, masks as they were.

    from nlptasks.bert4keras.keras.layers import Dense

    x = Input(shape=(3,))
    Dense(2)(x)

A name that is not here is the class of Keras with these methods added, as a subclass.
"""

from collections.abc import Sequence
from typing import Any

import keras as _keras
from keras import ops

from nlptasks.errors import UserError

Input = _keras.Input


class Recalling:
    """What a layer of Keras 2 knew about the places where it was called."""

    _inbound_nodes: list[Any]
    name: str

    def get_output_at(self, node_index: int) -> Any:
        """The output of the call of that number; -1 is the last one.

            layer.get_output_at(-1)

        Raises:
            UserError: the layer was called less often.
        """
        return _single(self._node(node_index).output_tensors)

    def get_input_at(self, node_index: int) -> Any:
        """The input of the call of that number; see `get_output_at`."""
        return _single(self._node(node_index).input_tensors)

    def get_output_shape_at(self, node_index: int) -> Any:
        """The shape of the output of the call of that number."""
        return _shapes(self.get_output_at(node_index))

    def get_input_shape_at(self, node_index: int) -> Any:
        """The shape of the input of the call of that number."""
        return _shapes(self.get_input_at(node_index))

    def _node(self, index: int) -> Any:
        try:
            return self._inbound_nodes[index]
        except IndexError:
            raise UserError(
                "{name}: was called {count} times. Received: node_index={index}.",
                name=self.name,
                count=len(self._inbound_nodes),
                index=index,
            ) from None


def _single(tensors: Sequence[Any]) -> Any:
    return tensors[0] if len(tensors) == 1 else list(tensors)


def _shapes(tensors: Any) -> Any:
    return [tuple(x.shape) for x in tensors] if isinstance(tensors, list) else tuple(tensors.shape)


_MADE: dict[type, type] = {}


def recalling(layer: type) -> type:
    """The subclass of a Keras layer that has the methods of `Recalling`; always the same one."""
    if issubclass(layer, Recalling):
        return layer
    if layer not in _MADE:
        members = {"__module__": __name__, "__doc__": layer.__doc__, "__qualname__": layer.__name__}
        made = type(layer.__name__, (Recalling, layer), members)
        _MADE[layer] = _keras.saving.register_keras_serializable(__name__)(made)
    return _MADE[layer]


def real_positions(token_ids: Any, pad_id: int = 0) -> Any:
    """`core.masks.padding_mask` in operations that tensors of free length take, too."""
    first = ops.ones_like(token_ids[:, :1], dtype="bool")
    return ops.concatenate([first, ops.not_equal(token_ids[:, 1:], pad_id)], axis=1)


Layer: Any = recalling(_keras.layers.Layer)
_Add: Any = recalling(_keras.layers.Add)
_Average: Any = recalling(_keras.layers.GlobalAveragePooling1D)
_Lambda: Any = recalling(_keras.layers.Lambda)
_Max: Any = recalling(_keras.layers.GlobalMaxPooling1D)


@_keras.saving.register_keras_serializable(__name__)
class Add(_Add):
    """The sum; masked where any input that has a mask is masked."""

    def compute_mask(self, inputs: Any, mask: Any = None) -> Any:
        found = [m for m in mask if m is not None] if isinstance(mask, list | tuple) else []
        if not found:
            return None
        joined = found[0]
        for other in found[1:]:
            joined = ops.logical_and(joined, other)
        return joined


@_keras.saving.register_keras_serializable(__name__)
class GlobalAveragePooling1D(_Average):
    """The mean over the real positions, as bert4keras defines it anew."""

    def call(self, inputs: Any, mask: Any = None) -> Any:
        axis = 1 if self.data_format == "channels_last" else 2
        if mask is None:
            return ops.mean(inputs, axis=axis)
        real = ops.cast(mask, inputs.dtype)
        real = real[..., None] if axis == 1 else real[:, None]
        return ops.sum(inputs * real, axis=axis) / ops.sum(real, axis=axis)


@_keras.saving.register_keras_serializable(__name__)
class GlobalMaxPooling1D(_Max):
    """The maximum over the real positions, as bert4keras defines it anew."""

    def __init__(self, data_format: str = "channels_last", **kwargs: Any) -> None:
        super().__init__(data_format=data_format, **kwargs)
        self.supports_masking = True

    def call(self, inputs: Any, mask: Any = None) -> Any:
        axis = 1 if self.data_format == "channels_last" else 2
        if mask is not None:
            real = mask[..., None] if axis == 1 else mask[:, None]
            inputs = ops.where(real, inputs, float("-inf"))
        return ops.max(inputs, axis=axis)

    def compute_mask(self, inputs: Any, mask: Any = None) -> None:
        return None


@_keras.saving.register_keras_serializable(__name__)
class Lambda(_Lambda):
    """A function as a layer. The mask ends here unless one is given, without a warning, as in Keras 2."""

    def __init__(self, function: Any, output_shape: Any = None, mask: Any = None, **kwargs: Any) -> None:
        super().__init__(function, output_shape=output_shape, mask=mask, **kwargs)
        self.supports_masking = True


def layer_names() -> list[str]:
    """The names that `from keras.layers import *` brings."""
    return [name for name in dir(_keras.layers) if not name.startswith("_")]


def layer_class(name: str) -> Any:
    """The class of that name here."""
    return globals().get(name) or __getattr__(name)


def __getattr__(name: str) -> Any:
    if name.startswith("__"):
        raise AttributeError(name)
    value = getattr(_keras.layers, name)
    if isinstance(value, type) and issubclass(value, _keras.layers.Layer):
        value = recalling(value)
    globals()[name] = value
    return value


__all__ = [*layer_names(), "Recalling", "layer_class", "real_positions", "recalling"]
