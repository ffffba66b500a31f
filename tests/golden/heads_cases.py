"""Inputs of the golden file of heads: also read by the tests, in another environment."""

import numpy as np

B, T, D, K, N, H = 3, 7, 11, 5, 2, 6
LENGTHS = (7, 4, 1)


def inputs() -> dict[str, np.ndarray]:
    """Hidden states, tag scores, tags, mask, and scores and targets of a multi-label classifier."""
    random = np.random.RandomState(3)
    return {
        "hidden": random.normal(0, 1, (B, T, D)).astype("float32"),
        "scores": random.normal(0, 2, (B, T, K)).astype("float32"),
        "tags": random.randint(0, K, (B, T)).astype("int32"),
        "mask": np.arange(T)[None, :] < np.array(LENGTHS)[:, None],
        "logits": random.normal(0, 4, (13, 9)).astype("float32"),
        "targets": np.round(random.uniform(0, 1, (13, 9)) ** 3, 1).astype("float32"),
    }


def weight(name: str, shape: tuple[int, ...]) -> np.ndarray:
    """The weight of that name: the same in both environments."""
    seed = sum((i + 1) * ord(char) for i, char in enumerate(name)) % 100003
    return np.random.RandomState(seed).normal(0, 0.5, shape).astype("float32")
