"""A GRU encoder on NumPy alone: many short sentences at once, no padding computed.

Legend: N sentences, L those still running, D vector.
"""

from collections.abc import Mapping, Sequence

import numpy as np

BATCH = 512
GRU_POOLINGS = ("last", "mean")
GRU_WEIGHTS = ("embeddings", "kernel", "recurrent_kernel", "bias")


class GruRuntime:
    """Computes what `GruEncoder` computes.

    The product of every character's embedding with the input weights is made once; a step is then a row of that table
    and one product with the state. Sentences go in batches sorted by length, and a sentence that has ended is no longer
    computed.

    Args:
        arrays: the weights, as `GruEncoder.arrays` gives them.
        pooling: "last": the state at the last character; "mean": the mean of the states at all of them.

    Raises:
        ValueError: another pooling.
    """

    def __init__(self, arrays: Mapping[str, np.ndarray], pooling: str = "last") -> None:
        self.pooling = check_pooling(pooling)
        arrays = {name: np.asarray(array, "float32") for name, array in arrays.items()}
        size = self.vector_size = arrays["recurrent_kernel"].shape[0]
        inputs_bias, state_bias = arrays["bias"]
        scale = np.ones(3 * size, "float32")
        scale[: 2 * size] = 0.5  # sigmoid(x) = (1 + tanh(x / 2)) / 2, and tanh is the faster
        table = arrays["embeddings"] @ arrays["kernel"] + inputs_bias
        table[:, : 2 * size] += state_bias[: 2 * size]
        self._table = table * scale
        self._recurrent = np.ascontiguousarray(arrays["recurrent_kernel"] * scale)
        self._candidate_bias = state_bias[2 * size :]

    def encode_ids(self, token_ids: Sequence[np.ndarray]) -> np.ndarray:
        """Vectors `(N, D)` of length 1, float32; each row of ids holds at least one, and none is padding."""
        vectors = np.zeros((len(token_ids), self.vector_size), "float32")
        lengths = np.array([len(ids) for ids in token_ids], "int64")
        order = np.argsort(-lengths, kind="stable")
        for start in range(0, len(order), BATCH):
            rows = order[start : start + BATCH]
            vectors[rows] = self._states([token_ids[i] for i in rows], lengths[rows])
        return vectors / np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), 1e-6)

    def _states(self, token_ids: Sequence[np.ndarray], lengths: np.ndarray) -> np.ndarray:
        size = self.vector_size
        flat = np.concatenate(token_ids)
        starts = np.cumsum(lengths) - lengths
        running = np.searchsorted(-lengths, -np.arange(1, lengths[0] + 1), side="right")
        state = np.zeros((len(token_ids), size), "float32")
        total = np.zeros_like(state) if self.pooling == "mean" else None
        for step, count in enumerate(running.tolist()):
            state_LD = state[:count]
            read = self._table.take(flat.take(starts[:count] + step), axis=0)
            kept = state_LD @ self._recurrent
            gates = read[:, : 2 * size]
            gates += kept[:, : 2 * size]
            np.tanh(gates, out=gates)
            gates *= 0.5
            gates += 0.5
            candidate = kept[:, 2 * size :]
            candidate += self._candidate_bias
            candidate *= gates[:, size:]
            candidate += read[:, 2 * size :]
            np.tanh(candidate, out=candidate)
            state_LD -= candidate
            state_LD *= gates[:, :size]
            state_LD += candidate
            if total is not None:
                total[:count] += state_LD
        return state if total is None else total  # as good as the mean: `encode_ids` divides by the length


def check_pooling(pooling: str) -> str:
    """The pooling of a GRU, after it was checked."""
    if pooling not in GRU_POOLINGS:
        raise ValueError(f"pooling must be one of {', '.join(GRU_POOLINGS)}. Received: pooling={pooling!r}.")
    return pooling
