"""A step function over tables, so that search is tested without a model: every sequence so far has its own row."""

import functools

import numpy as np
from keras import ops

from nlptasks.generate.loop import DecodingLoop
from nlptasks.generate.search import Limits, take_continuations
from tests.golden.search_cases import END


class TableSteps:
    """Logits of sample q after the sequence of number n: `table[q, n]`; `child` numbers the sequences."""

    def __init__(self, normalized):
        self.normalized = normalized

    def start(self, inputs, width, capacity):
        table_QNV = inputs["table"]
        state = {"table": table_QNV, "node": ops.zeros_like(table_QNV[:, :1, 0], "int32")}
        return table_QNV[:, :1], state

    def __call__(self, tokens_QK, state, time):
        return take_continuations(state["table"], state["node"]), state

    def follow(self, state, tokens_QK, parents_QK):
        node_QK = state["node"] if parents_QK is None else take_continuations(state["node"], parents_QK)
        vocab_size = state["table"].shape[2]
        return state | {"node": node_QK * vocab_size + tokens_QK + 1}


@functools.cache
def compiled(search, max_length, normalized):
    return DecodingLoop(TableSteps(normalized), search, max_length, None)


def run(search, tables, max_length, min_length=1, constraints=(), rows=None, normalized=False):
    """The hypotheses of each table, and the loop's last state."""
    search = search.replace(end_id=END)
    rows = range(len(tables)) if rows is None else rows
    loop = compiled(search.signature(), max_length, normalized)
    inputs = search.inputs(rows, Limits(max_length, min_length), max_length)
    tables = np.asarray(tables, "float32")
    state = loop.start({"table": tables}, inputs, tuple(constraints), np.ones(len(tables), bool))
    state = loop.proceed(state, np.int32(max_length))
    return search.hypotheses(state["found"]), state


def log_softmax(logits):
    shifted = logits - logits.max(axis=-1, keepdims=True)
    return shifted - np.log(np.exp(shifted).sum(axis=-1, keepdims=True))
