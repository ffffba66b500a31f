"""What Keras 2 held in global state: whether a call is one of training, and gradients of what it computed."""

from typing import Any

import keras as _keras
from keras import ops

from nlptasks.errors import UserError

_TRAINING: list[bool] = []
"""the phases of the models that are being called, the innermost last"""


class Phase:
    """Says to the layers inside of a call whether it is one of training."""

    def __init__(self, training: Any) -> None:
        self.training = bool(training)

    def __enter__(self) -> None:
        _TRAINING.append(self.training)

    def __exit__(self, *error: object) -> None:
        _TRAINING.pop()


def training_now() -> bool:
    """Whether the innermost call is one of training; False outside of one."""
    return _TRAINING[-1] if _TRAINING else False


def compiled_call(model: Any) -> Any:
    """The model's outputs as a compiled program for all shapes (TensorFlow); None on another backend."""
    if _keras.config.backend() != "tensorflow" or getattr(model, "run_eagerly", False):
        return None
    import tensorflow as tf

    options: dict[str, Any] = {"autograph": False}
    if getattr(model, "inputs", None):
        specs = [tf.TensorSpec(each.shape, each.dtype) for each in model.inputs]
        options["input_signature"] = [specs if len(specs) > 1 else specs[0]]
    return tf.function(lambda inputs: model(inputs, training=False), **options)


def graph_gradients(loss: Any, variables: Any) -> list[Any]:
    """`tf.gradients`; see `backend.gradients`.

    Raises:
        UserError: on another backend, or outside of a step.
    """
    if _keras.config.backend() != "tensorflow":
        raise UserError("K.gradients works on TensorFlow alone: elsewhere, differentiate a function of your own.")
    import tensorflow as tf

    wanted = list(variables) if isinstance(variables, list | tuple) else [variables]
    wanted = [v.value if isinstance(v, _keras.Variable) else v for v in wanted]
    try:
        found = tf.gradients(loss, wanted)
    except (RuntimeError, TypeError, ValueError) as error:
        raise UserError(
            "K.gradients differentiates what the same step computed, inside the call of a layer. {why}",
            why=str(error).splitlines()[0],
        ) from None
    return [None if g is None else ops.convert_to_tensor(g) for g in found]
