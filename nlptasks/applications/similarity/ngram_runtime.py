"""A sentence encoder of characters and their runs, on NumPy alone: one table, a pooling, and a small network behind.

Legend: N sentences, P characters of all, O orders of runs, T characters of one, E embedding (= D vector), H heads, F
features, U hidden units.
"""

from collections.abc import Iterator, Mapping

import numpy as np

BATCH = 128
"""sentences at a time: what they read of the table stays in a processor's cache"""
POOLINGS = ("sum", "attention", "convolution")
_TINY = 1e-6


def weight_shapes(pooling: str, rows: int, size: int, hidden: int, heads: int, channels: int) -> dict[str, tuple]:
    """The weights of an encoder, by name.

    Args:
        rows, size: of the table.
        hidden: units of the network behind the pooling.
        heads: of attention.
        channels: of the convolution.
    """
    features = {"sum": size, "attention": (1 + heads) * size, "convolution": size + channels}[check_pooling(pooling)]
    shapes: dict[str, tuple] = {
        "table": (rows, size),
        "in_kernel": (features, hidden),
        "in_bias": (hidden,),
        "out_kernel": (hidden, size),
    }
    if pooling == "attention":
        shapes["query_kernel"] = (size, heads * size)
    if pooling == "convolution":
        shapes |= {"kernel": (3 * size, channels), "bias": (channels,)}
    return shapes


def check_pooling(pooling: str) -> str:
    """The pooling, after it was checked."""
    if pooling not in POOLINGS:
        raise ValueError(f"pooling must be one of {', '.join(POOLINGS)}. Received: pooling={pooling!r}.")
    return pooling


class NgramRuntime:
    """Turns rows of the table into vectors.

    A character stands for the sum of the rows that end at it, a sentence for their sum at length sqrt(E), z. To z come
    the features of the pooling: with attention, for each head the mean of the characters weighted by their products
    with a query made from z; with a convolution, the sum over the characters of relu(kernel x three neighbors). A
    vector is z + out_kernel x relu(in_kernel x features + in_bias), at length 1.

    Args:
        arrays: the weights, of the shapes that `weight_shapes` gives.
        pooling: "sum", "attention" or "convolution".
    """

    def __init__(self, arrays: Mapping[str, np.ndarray], pooling: str = "sum") -> None:
        self.pooling = check_pooling(pooling)
        self.arrays = {name: np.ascontiguousarray(array, "float32") for name, array in arrays.items()}
        self.vector_size = self.arrays["table"].shape[1]

    def encode_rows(self, rows_PO: np.ndarray, lengths: np.ndarray) -> np.ndarray:
        """Vectors (N, D) of length 1, float32, from what `NgramVocab.rows` gives."""
        order = np.argsort(lengths, kind="stable")
        starts, sizes = (np.cumsum(lengths) - lengths)[order], lengths[order]
        ends = np.cumsum(sizes)
        places = np.repeat(starts - (ends - sizes), sizes) + np.arange(len(rows_PO))
        rows_PO = rows_PO.take(places, axis=0)  # sentences of one length stand together
        vectors = np.empty((len(lengths), self.vector_size), "float32")
        for start in range(0, len(order), BATCH):
            stop = min(start + BATCH, len(order))
            part = rows_PO[ends[start] - sizes[start] : ends[stop - 1]]
            vectors[order[start:stop]] = self._encode(part, sizes[start:stop])
        return vectors

    def _encode(self, rows_PO: np.ndarray, lengths: np.ndarray) -> np.ndarray:
        """Of sentences in the order of their length."""
        table = self.arrays["table"]
        h_PE = table.take(rows_PO[:, 0], axis=0)
        for row_P in rows_PO.T[1:]:
            found = np.flatnonzero(row_P >= 0)
            h_PE[found] += table.take(row_P[found], axis=0)
        same = _runs(lengths)
        z_NE = _at_length(np.concatenate([part.sum(axis=1) for part in _parts(h_PE, same)]))
        features = z_NE
        if self.pooling == "attention":
            features = np.concatenate([z_NE, self._attended(h_PE, z_NE, same)], axis=1)
        elif self.pooling == "convolution":
            features = np.concatenate([z_NE, self._convolved(h_PE, lengths, same)], axis=1)
        hidden_NU = features @ self.arrays["in_kernel"]
        hidden_NU += self.arrays["in_bias"]
        np.maximum(hidden_NU, 0, out=hidden_NU)
        y_ND = z_NE + hidden_NU @ self.arrays["out_kernel"]
        return y_ND / np.maximum(np.linalg.norm(y_ND, axis=1, keepdims=True), _TINY)

    def _attended(self, h_PE: np.ndarray, z_NE: np.ndarray, same: list[tuple[int, int]]) -> np.ndarray:
        size = self.vector_size
        q_NHE = (z_NE @ self.arrays["query_kernel"]).reshape(len(z_NE), -1, size) * np.float32(size**-0.5)
        found, start = np.empty_like(q_NHE), 0
        for h_NTE in _parts(h_PE, same):
            stop = start + len(h_NTE)
            score_NHT = q_NHE[start:stop] @ h_NTE.transpose(0, 2, 1)
            score_NHT -= score_NHT.max(axis=2, keepdims=True)
            np.exp(score_NHT, out=score_NHT)
            score_NHT /= score_NHT.sum(axis=2, keepdims=True)
            found[start:stop] = score_NHT @ h_NTE
            start = stop
        return found.reshape(len(z_NE), -1)

    def _convolved(self, h_PE: np.ndarray, lengths: np.ndarray, same: list[tuple[int, int]]) -> np.ndarray:
        size, kernel = self.vector_size, self.arrays["kernel"]
        made_PF = h_PE @ kernel[size : 2 * size]
        before_PF, after_PF = h_PE[:-1] @ kernel[:size], h_PE[1:] @ kernel[2 * size :]
        ends = np.cumsum(lengths[:-1]) - 1
        before_PF[ends] = 0  # the neighbor is of another sentence
        after_PF[ends] = 0
        made_PF[1:] += before_PF
        made_PF[:-1] += after_PF
        made_PF += self.arrays["bias"]
        np.maximum(made_PF, 0, out=made_PF)
        return _at_length(np.concatenate([part.sum(axis=1) for part in _parts(made_PF, same)]))


def _runs(lengths: np.ndarray) -> list[tuple[int, int]]:
    """Each length among ascending ones, and how often it stands there."""
    found, counts = np.unique(lengths, return_counts=True)
    return list(zip(found.tolist(), counts.tolist(), strict=True))


def _parts(x_PE: np.ndarray, same: list[tuple[int, int]]) -> Iterator[np.ndarray]:
    """Views (n, T, E) of the sentences of each length."""
    start = 0
    for length, count in same:
        stop = start + length * count
        yield x_PE[start:stop].reshape(count, length, -1)
        start = stop


def _at_length(x: np.ndarray) -> np.ndarray:
    """Rows at length sqrt(columns)."""
    return x * (np.float32(x.shape[1] ** 0.5) / np.maximum(np.linalg.norm(x, axis=1, keepdims=True), _TINY))
