"""bert4keras' decoders around a `predict` of the script's own: `AutoRegressiveDecoder` and `ViterbiDecoder`.

They are no names over `nlptasks.generate` and the CRF of labelers, because a script's code stands inside of them:

- `predict` is Python that runs between two steps, on NumPy arrays of the sequences that have not ended, with states of
  any kind, and often with several models. The searches of `nlptasks.generate` are parts of a compiled program around
  one model and its cache, with a fixed number of rows: called step by step from outside, each of their operations
  would be a call of its own, and ended rows would have to be taken out and put back at every step. Where the model is
  a Transformer, `nlptasks.AutoRegressiveDecoder` is that name, and much faster.
- `random_sample` draws from NumPy's global state in bert4keras' order, so that a script with `np.random.seed` writes
  what it wrote; `Sampling` draws from numbers of its own seed, row and step.
- `ViterbiDecoder` takes any scores as arrays, one sentence at a time; the CRF's Viterbi is compiled for each length.

Both searches are held to the same 800 recorded ones of bert4keras.
"""

from collections.abc import Callable, Sequence
from typing import Any, cast

import keras as _keras
import numpy as np

from nlptasks.bert4keras.keras.layers import Layer
from nlptasks.bert4keras.widening import LastToken, Widened
from nlptasks.errors import UserError


def softmax(x: np.ndarray, axis: int = -1) -> np.ndarray:
    """Probabilities of logits."""
    powers = np.exp(x - x.max(axis=axis, keepdims=True))
    return powers / powers.sum(axis=axis, keepdims=True)


class _LastPosition(Layer):
    def call(self, inputs: Any) -> Any:
        return inputs[:, -1]

    def compute_mask(self, inputs: Any, mask: Any = None) -> None:
        return None  # said, so that Keras does not warn of a lost mask


class ViterbiDecoder:
    """The best path through scores of tags.

        ViterbiDecoder(np.zeros((3, 3)), starts=[0]).decode(np.eye(3)).tolist()  # [0, 1, 2]

    Args:
        trans: scores of the transitions from tag to tag.
        starts, ends: the tags that may be first and last; None: all.
    """

    def __init__(self, trans: Any, starts: Sequence[int] | None = None, ends: Sequence[int] | None = None) -> None:
        self.trans, self.num_labels = trans, len(trans)
        tags = range(self.num_labels)
        self.non_starts = [] if starts is None else [tag for tag in tags if tag not in starts]
        self.non_ends = [] if ends is None else [tag for tag in tags if tag not in ends]

    def decode(self, nodes: np.ndarray) -> np.ndarray:
        """The tags of the path; `nodes` are the scores `(length, tags)`."""
        scores = np.array(nodes, "float64")
        scores[0, self.non_starts] -= np.inf
        scores[-1, self.non_ends] -= np.inf
        best, origins = scores[0], []
        for row in scores[1:]:
            into = best[:, None] + self.trans + row[None]
            origins.append(into.argmax(axis=0))
            best = into.max(axis=0)
        path = [int(best.argmax())]
        for origin in reversed(origins):
            path.append(int(origin[path[-1]]))
        return np.array(path[::-1])


class AutoRegressiveDecoder:
    """Beam search and sampling around `predict`, which a script's class overrides and decorates with `wraps`.

    `nlptasks.AutoRegressiveDecoder` is another class: it takes a model and decodes with a cache, compiled.

    Args:
        start_id: first token of every output; None: there is none.
        end_id: the token that ends a sequence.
        maxlen: the most tokens to predict.
        minlen: the fewest tokens of an output.
    """

    def __init__(self, start_id: int | None, end_id: int, maxlen: int, minlen: int = 1) -> None:
        self.start_id, self.end_id, self.maxlen, self.minlen = start_id, end_id, maxlen, minlen
        self.models: dict[Any, Any] = {}
        self.first_output_ids = np.zeros((1, 0), int) if start_id is None else np.array([[start_id]])

    @staticmethod
    def wraps(default_rtype: str = "probas", use_states: bool = False) -> Callable:
        """A decorator of `predict`: it says whether that returns probabilities or logits, and whether states."""

        def decorate(predict: Callable) -> Callable:
            def wrapped(
                self: Any, inputs: Any, output_ids: Any, states: Any, temperature: float = 1, rtype: str = default_rtype
            ) -> tuple[Any, Any]:
                if rtype not in ("probas", "logits"):
                    raise UserError("{field:rtype} must be probas or logits. Received: {rtype!r}.", rtype=rtype)
                found = predict(self, inputs, output_ids, states)
                scores, states = found if use_states else (found, None)
                if default_rtype == "logits":
                    scores = softmax(scores / temperature)
                elif temperature != 1:
                    scores = np.power(scores, 1.0 / temperature)
                    scores = scores / scores.sum(axis=-1, keepdims=True)
                return (scores if rtype == "probas" else np.log(scores + 1e-12)), states

            return wrapped

        return decorate

    def last_token(self, model: Any) -> Any:
        """The model that returns the last position only, made once."""
        if model not in self.models:
            self.models[model] = LastToken(model.inputs, [_LastPosition()(output) for output in model.outputs])
            if _keras.config.backend() == "jax":
                self.models[model].widened = Widened(model)
        return self.models[model]

    def predict(self, inputs: Any, output_ids: Any, states: Any = None) -> Any:
        """(scores or probabilities, states) of the next token; a script's class overrides it."""
        raise NotImplementedError

    def beam_search(
        self, inputs: Any, topk: int, states: Any = None, temperature: float = 1, min_ends: int = 1
    ) -> np.ndarray:
        """The best sequence of one sample with `topk` beams, token ids."""
        inputs, predict = [np.array([each]) for each in inputs], cast(Any, self.predict)  # `wraps` adds arguments
        ids, totals = self.first_output_ids, np.zeros(1)
        for step in range(self.maxlen):
            scores, states = predict(inputs, ids, states, temperature, "logits")
            if step == 0:
                inputs = [np.repeat(each, topk, axis=0) for each in inputs]
            joint = totals[:, None] + scores
            chosen = joint.argpartition(-topk, axis=None)[-topk:]
            parents, tokens = np.unravel_index(chosen, joint.shape)
            ids, totals = np.concatenate([ids[parents], tokens[:, None]], axis=1), joint.ravel()[chosen]
            if ids.shape[1] < self.minlen:
                continue
            ended = (ids[:, -1] == self.end_id) & ((ids == self.end_id).sum(axis=1) >= min_ends)
            best = totals.argmax()
            if ended[best]:
                return ids[best]
            if ended.any():
                inputs = [each[~ended] for each in inputs]
                ids, totals = ids[~ended], totals[~ended]
                topk = len(ids)
        return ids[totals.argmax()]

    def random_sample(
        self,
        inputs: Any,
        n: int,
        topk: int | None = None,
        topp: float | None = None,
        states: Any = None,
        temperature: float = 1,
        min_ends: int = 1,
    ) -> list[np.ndarray]:
        """`n` sequences of one sample, drawn from the `topk` most probable tokens, or the most probable ones that have
        `topp` together.
        """
        inputs, predict = [np.array([each]) for each in inputs], cast(Any, self.predict)
        ids, found = self.first_output_ids, []
        for step in range(self.maxlen):
            probabilities, states = predict(inputs, ids, states, temperature, "probas")
            probabilities = probabilities / probabilities.sum(axis=1, keepdims=True)
            if step == 0:
                probabilities = np.repeat(probabilities, n, axis=0)
                inputs = [np.repeat(each, n, axis=0) for each in inputs]
                ids = np.repeat(ids, n, axis=0)
            ids = np.concatenate([ids, _drawn(probabilities, topk, topp)[:, None]], axis=1)
            if ids.shape[1] < self.minlen:
                continue
            ended = (ids[:, -1] == self.end_id) & ((ids == self.end_id).sum(axis=1) >= min_ends)
            if ended.any():
                found += list(ids[ended])
                inputs, ids = [each[~ended] for each in inputs], ids[~ended]
                if not len(ids):
                    break
        return found + list(ids)


def _drawn(probabilities: np.ndarray, topk: int | None, topp: float | None) -> np.ndarray:
    """A token of each row, drawn from NumPy's global state in bert4keras' order of draws."""
    kept = order = None
    if topk is not None:
        kept = probabilities.argpartition(-topk, axis=1)[:, -topk:]
        probabilities = np.take_along_axis(probabilities, kept, axis=1)
        probabilities = probabilities / probabilities.sum(axis=1, keepdims=True)
    if topp is not None:
        order = probabilities.argsort(axis=1)[:, ::-1]
        probabilities = np.take_along_axis(probabilities, order, axis=1)
        beyond = np.roll(np.cumsum(probabilities, axis=1) >= topp, 1, axis=1)
        beyond[:, 0] = False
        probabilities = np.where(beyond, 0, probabilities)
        probabilities = probabilities / probabilities.sum(axis=1, keepdims=True)
    rows = [np.random.choice(len(row), p=row) for row in probabilities]  # noqa: NPY002 - what np.random.seed sets
    drawn = np.array(rows)[:, None]
    for places in (order, kept):
        drawn = drawn if places is None else np.take_along_axis(places, drawn, axis=1)
    return drawn[:, 0]
