"""Values and gradients on the backend that is in use; on JAX as one program, since every single operation costs a
compilation there.
"""

import keras
import numpy as np
from keras import ops


def evaluated(function, *arrays, model=None):
    """`function(*arrays)` as numpy arrays; `model`: whose weights it reads."""
    if keras.backend.backend() == "tensorflow":
        return keras.tree.map_structure(ops.convert_to_numpy, function(*arrays))
    from nlptasks.backend import compile_function

    return keras.tree.map_structure(ops.convert_to_numpy, compile_function(function, model)(*arrays))


def gradient(function, value: np.ndarray) -> np.ndarray:
    """d function(value) / d value; `function` returns a scalar tensor."""
    if keras.backend.backend() == "tensorflow":
        import tensorflow as tf

        tensor = tf.convert_to_tensor(value)
        with tf.GradientTape() as tape:
            tape.watch(tensor)
            result = function(tensor)
        return np.array(tape.gradient(result, tensor))
    import jax

    return np.array(jax.jit(jax.grad(function))(jax.numpy.asarray(value)))


def jacobian(function, value: np.ndarray) -> np.ndarray:
    """d function(value)_i / d value_j, `(I, J)`, of a function from a vector to a vector."""
    if keras.backend.backend() == "tensorflow":
        import tensorflow as tf

        tensor = tf.convert_to_tensor(value)
        with tf.GradientTape(persistent=True) as tape:
            tape.watch(tensor)
            result = function(tensor)
        return np.array(tape.jacobian(result, tensor, experimental_use_pfor=False))
    import jax

    return np.array(jax.jit(jax.jacrev(function))(jax.numpy.asarray(value)))


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

    return [ops.convert_to_numpy(value) for value in jax.jit(jax.grad(pure))([v.value for v in variables])]


def tolerance(result) -> float:
    """How far from float64 a result may be: JAX computes in float32 here."""
    return 1e-12 if keras.backend.standardize_dtype(result.dtype) == "float64" else 2e-5
