"""Small random models that decode."""

import numpy as np
from keras import ops

from nlptasks.backend import compile_function
from nlptasks.core import Transformer, TransformerConfig
from tests.parity import randomised

V, END = 101, 2


def built(attention="unilm", spread=0.25, **changes):
    sizes = {"vocab_size": V, "hidden_size": 24, "num_layers": 2, "num_heads": 3, "ffn_size": 37, "max_positions": 29}
    model = Transformer(TransformerConfig(**(sizes | {"attention": attention} | changes)), with_mlm="linear")
    model.build()
    return randomised(model, spread=spread)


def built_to_end(*args, bias=5.0, **kwargs):
    """A model that likes the end token, so that sequences of different lengths come out."""
    model = built(*args, **kwargs)
    values = np.array(ops.convert_to_numpy(model.mlm.bias))
    values[END] = bias
    model.mlm.bias.assign(values)
    return model


def some_sources(lengths=(11, 7, 3, 9, 11), seed=6, vocab_size=V):
    rng = np.random.default_rng(seed)
    return [rng.integers(3, vocab_size, length).tolist() for length in lengths]


class Uncached:
    """The model without a cache: `uncached(ids, segments)` are the logits `(V,)` after one row, of any length up to
    `width`. It is compiled for that width alone, which is many times as fast as one program a length.
    """

    def __init__(self, model, width):
        self.run, self.width = compile_function(lambda *inputs: model(list(inputs)), model), width

    def __call__(self, ids, segments, *condition):
        arrays = np.zeros((2, 1, self.width), "int32")
        arrays[0, 0, : len(ids)], arrays[1, 0, : len(ids)] = ids, segments
        return ops.convert_to_numpy(self.run(*arrays, *condition))[0, len(ids) - 1]
