"""Decoding with exported graphs: prefixes are encoded once, then each step feeds one token a continuation.

Legend: R rows (prefixes), K continuations of a row, T prefix slots, V vocabulary.
"""

from typing import Any, NamedTuple, Protocol

import numpy as np

from nlptasks.runtime.graphs import OpenGraph


class Sizes(Protocol):
    """What is read of a Transformer's config."""

    num_layers: int
    num_heads: int
    key_size: int
    value_size: int
    pad_id: int


class State(NamedTuple):
    """The cache of a batch."""

    real_RT: np.ndarray
    condition: tuple[np.ndarray, ...]
    prefix: tuple[Any, ...]
    generated: tuple[Any, ...]
    width: int


class CachedGraphs:
    """The graphs of a Transformer, of a prefix and of a step, as a step function.

    Args:
        first: the graph of a prefix.
        following: the graph of a step.
        sizes: of the Transformer.
    """

    def __init__(self, first: OpenGraph, following: OpenGraph, sizes: Sizes) -> None:
        self.first, self.following, self.sizes = first, following, sizes

    def start(
        self, token_ids_RT: np.ndarray, segment_ids_RT: np.ndarray, width: int, condition_RC: np.ndarray | None = None
    ) -> tuple[np.ndarray, State]:
        """Logits (R, 1, V) of the token after each prefix, and the state of `width` continuations of each."""
        import onnxruntime

        condition = () if condition_RC is None else (condition_RC,)
        arrays = dict(zip(self.first.inputs, (token_ids_RT, segment_ids_RT, *condition), strict=True))
        made = {name: onnxruntime.OrtValue.ortvalue_from_numpy(value) for name, value in arrays.items()}
        logits, *prefix = self.first.session.run_with_ort_values(self.first.outputs, made)
        real_RT = token_ids_RT != self.sizes.pad_id
        real_RT[:, 0] = True
        sizes, shape = self.sizes, (len(token_ids_RT), self.sizes.num_heads, width, 0)
        empty = [np.zeros((*shape, size), "float32") for size in (sizes.key_size, sizes.value_size)] * sizes.num_layers
        generated = tuple(onnxruntime.OrtValue.ortvalue_from_numpy(each) for each in empty)
        return logits.numpy()[:, None], State(real_RT, condition, tuple(prefix), generated, width)

    def step(self, tokens_RK: np.ndarray, state: State) -> tuple[np.ndarray, State]:
        """Logits (R, K, V) after one more token of each continuation, and the state."""
        import onnxruntime

        time = state.generated[0].shape()[3]
        position_R1 = (state.real_RT.sum(axis=1, keepdims=True) + time).astype("int32")
        arrays = (tokens_RK.astype("int32"), position_R1, state.real_RT, *state.condition)
        values = [onnxruntime.OrtValue.ortvalue_from_numpy(np.ascontiguousarray(each)) for each in arrays]
        given = dict(zip(self.following.inputs, [*values, *state.prefix, *state.generated], strict=True))
        logits, *generated = self.following.session.run_with_ort_values(self.following.outputs, given)
        return logits.numpy().reshape(*tokens_RK.shape, -1), state._replace(generated=tuple(generated))

    def follow(self, state: State, parents_RK: np.ndarray) -> State:
        """The state after continuation k of each row went on from its former continuation `parents[r, k]`."""
        import onnxruntime

        if (parents_RK == np.arange(state.width)).all():
            return state
        rows, heads = np.arange(len(parents_RK))[:, None, None], np.arange(self.sizes.num_heads)[None, :, None]
        moved = (value.numpy()[rows, heads, parents_RK[:, None]] for value in state.generated)
        return state._replace(generated=tuple(onnxruntime.OrtValue.ortvalue_from_numpy(each) for each in moved))
