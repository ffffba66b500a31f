"""What the extended optimizers of bert4keras are given, here and there."""

import numpy as np

STEPS, RATE, DECAY, MOMENTUM = 5, 0.02, 0.03, 0.8
SHAPES = {"embeddings/kernel": (5, 3), "dense/kernel": (3, 4), "dense/bias": (4,)}
FACTORS = {"dense": 0.5, "bias": 0.25}
CASES = ("decay", "rates", "average", "lion")
NESTED = ("rates of decay", "decay of rates", "decay of schedule", "lazy", "uncorrected", "adafactor", "own rate")
"""what the old names alone are held to"""
SCHEDULE, FACTORED = {2: 1.0, 4: 0.5}, 3


def weights():
    """Start values by path."""
    random = np.random.default_rng(31)
    return {path: random.normal(0, 0.5, shape).astype("float32") for path, shape in SHAPES.items()}


def gradients():
    """`(STEPS, ...)` by path."""
    random = np.random.default_rng(32)
    return {path: random.normal(0, 1.0, (STEPS, *shape)).astype("float32") for path, shape in SHAPES.items()}


def gradients_of_rows():
    """The same; of the embeddings, row 1 never has one, and row 2 only in the first and the last step."""
    found = gradients()
    found["embeddings/kernel"][:, 1] = 0
    found["embeddings/kernel"][1:-1, 2] = 0
    return found
