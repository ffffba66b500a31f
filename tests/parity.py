"""The tolerance of every parity check, and the comparison at real (unpadded) positions."""

import numpy as np

TOLERANCE = 1e-5


def distance(value, reference) -> float:
    """The largest |value - reference| / max(1, |reference|)."""
    value, reference = np.asarray(value, "float64"), np.asarray(reference, "float64")
    assert value.shape == reference.shape, (value.shape, reference.shape)
    return float((np.abs(value - reference) / np.maximum(1.0, np.abs(reference))).max())


def at_real_positions(value, token_ids):
    """The rows of `value` (B, T, ...) at tokens other than padding; pooled outputs (B, ...) pass as they are."""
    value = np.asarray(value)
    if value.ndim < 3:
        return value
    real = np.asarray(token_ids) != 0
    real[:, 0] = True
    return value[real]


def randomised(model, seed=3, spread=0.25):
    """Gives a model weights under which every term matters, norms included."""
    random = np.random.default_rng(seed)
    for variable in model.trainable_variables:
        centre = 1.0 if variable.path.endswith("gamma") else 0.0
        variable.assign(random.normal(centre, spread, tuple(variable.shape)).astype("float32"))
    return model
