"""The gradient of a loss by the variables of a layer, on either backend."""

import keras
from keras import ops


def gradients(loss_function, variables):
    """d loss / d variable of each, as numpy arrays; `loss_function` takes nothing and reads the variables."""
    if keras.backend.backend() == "tensorflow":
        import tensorflow as tf

        with tf.GradientTape() as tape:
            loss = loss_function()
        return [ops.convert_to_numpy(value) for value in tape.gradient(loss, [v.value for v in variables])]
    import jax

    def pure(values):
        with keras.StatelessScope(state_mapping=list(zip(variables, values, strict=True))):
            return loss_function()

    return [ops.convert_to_numpy(value) for value in jax.grad(pure)([v.value for v in variables])]
