"""Gradients of a function of arrays, on the backend that is in use."""

import keras
import numpy as np


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

    return np.array(jax.grad(function)(jax.numpy.asarray(value)))


def tolerance(result) -> float:
    """How far from float64 a result may be: JAX computes in float32 here."""
    return 1e-12 if keras.backend.standardize_dtype(result.dtype) == "float64" else 2e-5
