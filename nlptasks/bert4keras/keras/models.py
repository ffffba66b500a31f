"""`Model` as scripts of Keras 2 use it; what differs from Keras' own stands in `Training` and `Storing`."""

from typing import Any

import keras as _keras

from nlptasks.bert4keras.keras.fitting import Training
from nlptasks.bert4keras.keras.layers import Recalling
from nlptasks.bert4keras.keras.phases import Phase
from nlptasks.bert4keras.keras.storing import Storing, load_model

__all__ = ["Model", "Sequential", "clone_model", "load_model", "model_from_json"]

clone_model, model_from_json = _keras.models.clone_model, _keras.models.model_from_json


def _functional() -> Any:
    """Keras' class of models that are made of inputs and outputs."""
    x = _keras.Input((1,))
    return type(_keras.Model(x, _keras.layers.Identity()(x)))


@_keras.saving.register_keras_serializable(__name__)
class Model(Recalling, Training, Storing, _keras.Model):
    """A Keras model that is trained, used and saved as in Keras 2.

        from nlptasks.bert4keras.keras.layers import Dense, Input
        from nlptasks.bert4keras.keras.models import Model

        x = Input(shape=(3,))
        model = Model(x, Dense(2)(x))
        model.predict([[1.0, 2.0, 3.0]]).shape  # (1, 2)

    `fit` takes generators of lists, with batches of any width and targets of None; `predict` takes nested lists;
    `save_weights` takes a name with any ending and writes the HDF5 of Keras 2.
    """

    def __new__(cls, *args: Any, **kwargs: Any) -> Any:
        functional = len(args) > 1 or "outputs" in kwargs
        if functional and not issubclass(cls, FunctionalModel):
            if cls not in _MADE:
                members = {"__module__": cls.__module__, "__qualname__": cls.__qualname__, "__doc__": cls.__doc__}
                _MADE[cls] = type(cls.__name__, (cls, FunctionalModel), members)
            return super().__new__(_MADE[cls])
        return super().__new__(cls)

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        _keras.Model.__init__(self, *args, **kwargs)


_Functional: Any = _functional()
_MADE: dict[type, type] = {}
"""a class of models -> its subclass for models that are made of inputs and outputs"""


@_keras.saving.register_keras_serializable(__name__)
class FunctionalModel(Model, _Functional):
    """A `Model` that is made of inputs and outputs."""

    def __init__(self, inputs: Any = None, outputs: Any = None, name: str | None = None, **kwargs: Any) -> None:
        _Functional.__init__(self, inputs, outputs, name=name, **kwargs)

    @property
    def input(self) -> Any:
        """The input, or a list of them."""
        return self.inputs[0] if len(self.inputs) == 1 else list(self.inputs)

    @property
    def output(self) -> Any:
        """The output, or a list of them."""
        return self.outputs[0] if len(self.outputs) == 1 else list(self.outputs)

    def call(self, inputs: Any, training: bool | None = None, mask: Any = None, **kwargs: Any) -> Any:
        with Phase(training):
            return super().call(inputs, training=training, mask=mask, **kwargs)


_MADE[Model] = FunctionalModel


@_keras.saving.register_keras_serializable(__name__)
class Sequential(Recalling, Training, Storing, _keras.Sequential):
    """Keras' Sequential with the ways of `Model`."""
