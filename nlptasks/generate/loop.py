"""The decoding loop as two compiled programs: encode and choose the first token; then step until all are done.

Legend: Q samples, K continuations, V vocabulary.
"""

from typing import Any

import keras
from keras import ops

from nlptasks.backend import Tensor, compile_function
from nlptasks.generate.search import Search
from nlptasks.text.batches import round_rows

__all__ = ["DecodingLoop", "round_capacity", "round_rows", "round_width"]

# Array sizes are rounded up to few values, so that a process compiles few programs.
_WIDTHS = (16, 32, 64, 96, 128, 192)
_LONG_WIDTH, _CAPACITY = 64, 16


def round_width(length: int) -> int:
    """Prefix slots: 16, 32, 64, 96, 128, then multiples of 64."""
    return next((width for width in _WIDTHS if width >= length), -(-length // _LONG_WIDTH) * _LONG_WIDTH)


def round_capacity(length: int) -> int:
    """Slots for generated tokens: multiples of 16."""
    return -(-length // _CAPACITY) * _CAPACITY


class DecodingLoop:
    """Runs a step function under a search and constraints, wholly on the device.

    Args:
        steps: the step function: `start(inputs, width, capacity)` gives scores `(Q, 1, V)` of the first token and a
            state; `steps(tokens_QK, state, time)` feeds token `time` and gives the scores `(Q, K, V)` of the next
            one; `follow(state, tokens_QK, parents_QK)` is told of every choice and gives the state; `normalized` says
            that the scores are log scores already.
        search: one of this package's searches.
        capacity: the most tokens to generate.
        model: the model whose weights the step function reads; None: it reads none.
    """

    def __init__(self, steps: Any, search: Search, capacity: int, model: keras.Model | None) -> None:
        self.steps, self.search, self.capacity = steps, search, capacity
        # Measured on CPU: XLA is faster in float32 and several times slower in bfloat16 (benchmarks/decoding.py).
        jit = True if model is not None and model.compute_dtype == "float32" else None
        self._start = compile_function(self._start_function, model, jit)
        self._proceed = compile_function(self._proceed_function, model, jit)

    def start(
        self, inputs: Any, search_inputs: dict[str, Tensor], constraints: tuple[Any, ...], real_Q: Tensor
    ) -> dict[str, Any]:
        """Encodes the sources and chooses the first tokens.

        Args:
            inputs: what the step function starts from.
            search_inputs: `search.inputs(...)`.
            constraints: a tuple of started constraints.
            real_Q: bool; samples that are False only pad the array.

        Returns:
            The state that `proceed` takes and gives: a dict with "time" (tokens so far), "found", "done".
        """
        return self._start(inputs, search_inputs, constraints, real_Q)

    def proceed(self, state: dict[str, Any], until: Tensor) -> dict[str, Any]:
        """Goes on until every sequence has `until` tokens or is done."""
        return self._proceed(state, until)

    def _start_function(
        self, inputs: Any, search_inputs: dict[str, Tensor], constraints: tuple[Any, ...], real_Q: Tensor
    ) -> dict[str, Any]:
        scores_Q1V, state = self.steps.start(inputs, self.search.width, self.capacity)
        found = self.search.begin(search_inputs, real_Q, self.capacity)
        return self._choose(scores_Q1V, state, found, constraints, search_inputs, 0)

    def _proceed_function(self, state: dict[str, Any], until: Tensor) -> dict[str, Any]:
        def body(state: dict[str, Any]) -> tuple[dict[str, Any]]:
            scores_QKV, steps = self.steps(state["tokens"], state["steps"], state["time"] - 1)
            return (
                self._choose(
                    scores_QKV, steps, state["found"], state["constraints"], state["search_inputs"], state["time"]
                ),
            )

        def going(state: dict[str, Any]) -> Tensor:
            return ops.logical_and(state["time"] < until, ops.logical_not(state["done"]))

        return ops.while_loop(going, body, (state,))[0]

    def _choose(
        self,
        scores_QKV: Tensor,
        steps: Any,
        found: Any,
        constraints: tuple[Any, ...],
        search_inputs: dict[str, Tensor],
        time: Tensor,
    ) -> dict[str, Any]:
        normalize = (lambda x: x) if self.steps.normalized else self.search.normalize
        if self.search.normalize_first:
            scores_QKV = normalize(scores_QKV)
        for constraint in constraints:
            scores_QKV = constraint.restrict(scores_QKV, time)
        if not self.search.normalize_first:
            scores_QKV = normalize(scores_QKV)
        tokens_QK, parents_QK, found = self.search.choose(scores_QKV, found, search_inputs, time)
        return {
            "time": ops.convert_to_tensor(time + 1, "int32"),
            "tokens": tokens_QK,
            "steps": self.steps.follow(steps, tokens_QK, parents_QK),
            "constraints": tuple(c.follow(tokens_QK, parents_QK) for c in constraints),
            "found": found,
            "done": self.search.done(found),
            "search_inputs": search_inputs,
        }
