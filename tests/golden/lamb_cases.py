"""Weights, gradients and settings of LAMB, here and in bert4keras."""

import numpy as np

STEPS = 7
SHAPES = {"dense/kernel": (5, 3), "dense/bias": (3,), "norm/gamma": (7,), "zero/kernel": (2, 3)}
RATE, DECAY, SCHEDULE = 0.02, 0.03, {3: 1.0, 6: 0.25}


def weights():
    """Start values by path; one weight starts at 0, where the trust ratio is 1."""
    random = np.random.default_rng(11)
    found = {path: random.normal(0, 0.5, shape).astype("float32") for path, shape in SHAPES.items()}
    return found | {"zero/kernel": np.zeros(SHAPES["zero/kernel"], "float32")}


def gradients():
    """`(STEPS, ...)` by path; the first step of the bias has none."""
    random = np.random.default_rng(12)
    found = {path: random.normal(0, 1.0, (STEPS, *shape)).astype("float32") for path, shape in SHAPES.items()}
    found["dense/bias"][0] = 0
    return found
