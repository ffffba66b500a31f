"""Layers that score paths of tags: the CRF and the maximum-entropy Markov model, with their losses.

Padding is told in the scores: a masked position holds -inf.
"""

from typing import Any

import keras
from keras import ops

from nlptasks.bert4keras.backend import sequence_masking
from nlptasks.bert4keras.keras.backend import sparse_categorical_crossentropy
from nlptasks.bert4keras.layers.base import PACKAGE, Layer

INF = float("inf")


class _Tagging(Layer):
    """What both share: the learning rate's factor, masked scores, counting right tags."""

    def __init__(self, lr_multiplier: float = 1, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.lr_multiplier = lr_multiplier

    def slow_weight(self, name: str, shape: Any) -> Any:
        """A weight that learns `lr_multiplier` times as fast: it is stored divided by that."""
        factor, start = self.lr_multiplier, keras.initializers.GlorotUniform()

        def initializer(shape: Any, dtype: Any = None) -> Any:
            return start(shape, dtype=dtype) / factor

        return self.add_weight(name=name, shape=shape, initializer=initializer)

    def compute_mask(self, inputs: Any, mask: Any = None) -> None:
        return None

    def call(self, inputs: Any, mask: Any = None) -> Any:
        return sequence_masking(inputs, mask, -INF, 1)

    def compute_output_shape(self, input_shape: Any) -> Any:
        return input_shape

    def dense_accuracy(self, y_true: Any, y_pred: Any) -> Any:
        """The share of right tags among the real ones; targets are one-hot."""
        return self.sparse_accuracy(ops.argmax(y_true, axis=2), y_pred)

    def sparse_accuracy(self, y_true: Any, y_pred: Any) -> Any:
        """The same for targets that are tags."""
        raise NotImplementedError

    def get_config(self) -> dict[str, Any]:
        return super().get_config() | {"lr_multiplier": self.lr_multiplier}


def real(y_pred: Any) -> Any:
    """bool (B, T): the positions that are not masked."""
    return ops.all(ops.not_equal(y_pred, -INF), axis=2)


def tags(y_true: Any, y_pred: Any) -> Any:
    """Targets as int32 (B, T)."""
    return ops.cast(ops.reshape(y_true, ops.shape(y_pred)[:-1]), "int32")


def share_right(y_true: Any, y_pred: Any) -> Any:
    """The share of real positions whose best tag is the target."""
    counted = ops.cast(real(y_pred), "float32")
    found = ops.cast(ops.argmax(y_pred, axis=2), "int32")
    right = ops.cast(ops.equal(tags(y_true, y_pred), found), "float32")
    return ops.sum(right * counted) / ops.sum(counted)


@keras.saving.register_keras_serializable(PACKAGE)
class ConditionalRandomField(_Tagging):
    """A linear-chain CRF on scores; `compile(loss=CRF.sparse_loss, metrics=[CRF.sparse_accuracy])`."""

    def build(self, input_shape: Any) -> None:
        self._trans = self.slow_weight("trans", (input_shape[-1], input_shape[-1]))

    @property
    def trans(self) -> Any:
        """The scores of transitions."""
        return self.lr_multiplier * ops.convert_to_tensor(self._trans)

    def target_score(self, y_true: Any, y_pred: Any) -> Any:
        """The scores of the target paths; targets are one-hot, with zeros at padding."""
        of_tags = ops.einsum("bni,bni->b", y_true, y_pred)
        return of_tags + ops.einsum("bni,ij,bnj->b", y_true[:, :-1], self.trans, y_true[:, 1:])

    def log_norm_step(self, inputs: Any, states: Any) -> Any:
        """One position further: the log of the sum over paths, for each last tag."""
        scores, counted = inputs[:, :-1], inputs[:, -1:]
        before = states[0]
        after = ops.logsumexp(before[:, :, None] + self.trans[None], axis=1) + scores
        after = counted * after + (1 - counted) * before
        return after, [after]

    def dense_loss(self, y_true: Any, y_pred: Any) -> Any:
        """-log p of each row's path; targets are one-hot."""
        counted = real(y_pred)[..., None]
        y_true = ops.where(counted, ops.cast(y_true, y_pred.dtype), 0.0)
        y_pred = ops.where(counted, y_pred, 0.0)
        target = self.target_score(y_true, y_pred)
        along = ops.concatenate([y_pred, ops.cast(counted, y_pred.dtype)], axis=2)[:, 1:]

        def step(state: Any, x: Any) -> Any:
            state, _ = self.log_norm_step(x, [state])
            return state, None

        last, _ = ops.scan(step, y_pred[:, 0], ops.transpose(along, (1, 0, 2)))
        return ops.logsumexp(last, axis=1) - target

    def sparse_loss(self, y_true: Any, y_pred: Any) -> Any:
        """-log p of each row's path; targets are tags."""
        return self.dense_loss(ops.one_hot(tags(y_true, y_pred), y_pred.shape[-1], dtype=y_pred.dtype), y_pred)

    def sparse_accuracy(self, y_true: Any, y_pred: Any) -> Any:
        """The share of real positions whose best tag is the target."""
        return share_right(y_true, y_pred)


@keras.saving.register_keras_serializable(PACKAGE)
class MaximumEntropyMarkovModel(_Tagging):
    """A Markov model in both directions; used as the CRF is, and faster.

    Args:
        hidden_dim: rank of the transitions; None: full.
    """

    def __init__(self, lr_multiplier: float = 1, hidden_dim: int | None = None, **kwargs: Any) -> None:
        super().__init__(lr_multiplier, **kwargs)
        self.hidden_dim = hidden_dim

    def build(self, input_shape: Any) -> None:
        size = input_shape[-1]
        if self.hidden_dim is None:
            self._trans = self.slow_weight("trans", (size, size))
        else:
            self._l_trans = self.slow_weight("l_trans", (size, self.hidden_dim))
            self._r_trans = self.slow_weight("r_trans", (size, self.hidden_dim))

    @property
    def trans(self) -> Any:
        """The scores of transitions."""
        return self.lr_multiplier * ops.convert_to_tensor(self._trans)

    @property
    def l_trans(self) -> Any:
        """Their left factor."""
        return self.lr_multiplier * ops.convert_to_tensor(self._l_trans)

    @property
    def r_trans(self) -> Any:
        """Their right factor."""
        return self.lr_multiplier * ops.convert_to_tensor(self._r_trans)

    def reverse_sequence(self, inputs: Any, mask: Any = None) -> Any:
        """Each row turned round, its padding left where it is."""
        if mask is None:
            return [ops.flip(x, axis=1) for x in inputs]
        length = ops.cast(ops.sum(mask, axis=1), "int32")[:, None]
        position = ops.arange(ops.shape(mask)[1])[None]
        order = ops.where(position < length, length - 1 - position, position)
        return [ops.take_along_axis(x, order if len(x.shape) == 2 else order[..., None], axis=1) for x in inputs]

    def _scores(self, y_true: Any, y_pred: Any, go_backwards: bool) -> tuple[Any, Any, Any]:
        counted = ops.cast(real(y_pred), "float32")
        y_true = tags(y_true, y_pred)
        if go_backwards:
            y_true, y_pred = self.reverse_sequence([y_true, y_pred], counted)
        if self.hidden_dim is None:
            history = ops.take(ops.transpose(self.trans) if go_backwards else self.trans, y_true, axis=0)
        else:
            left, right = (self.r_trans, self.l_trans) if go_backwards else (self.l_trans, self.r_trans)
            history = ops.einsum("bnd,kd->bnk", ops.take(left, y_true, axis=0), right)
        history = ops.concatenate([y_pred[:, :1], history[:, :-1]], axis=1)
        return y_true, (y_pred + history) / 2, counted

    def basic_loss(self, y_true: Any, y_pred: Any, go_backwards: bool = False) -> Any:
        """The mean of -log p over real positions, in one direction; targets are tags."""
        y_true, scores, counted = self._scores(y_true, y_pred, go_backwards)
        scores = ops.where(counted[..., None] > 0, scores, 0.0)
        loss = sparse_categorical_crossentropy(y_true, scores, from_logits=True)
        return ops.sum(loss * counted) / ops.sum(counted)

    def sparse_loss(self, y_true: Any, y_pred: Any) -> Any:
        """The mean over both directions; targets are tags."""
        return (self.basic_loss(y_true, y_pred, False) + self.basic_loss(y_true, y_pred, True)) / 2

    def dense_loss(self, y_true: Any, y_pred: Any) -> Any:
        """The same for one-hot targets."""
        return self.sparse_loss(ops.argmax(y_true, axis=2), y_pred)

    def basic_accuracy(self, y_true: Any, y_pred: Any, go_backwards: bool = False) -> Any:
        """The share of right tags in one direction."""
        y_true, scores, counted = self._scores(y_true, y_pred, go_backwards)
        right = ops.cast(ops.equal(y_true, ops.cast(ops.argmax(scores, axis=2), "int32")), "float32")
        return ops.sum(right * counted) / ops.sum(counted)

    def sparse_accuracy(self, y_true: Any, y_pred: Any) -> Any:
        """The mean over both directions; targets are tags."""
        return (self.basic_accuracy(y_true, y_pred, False) + self.basic_accuracy(y_true, y_pred, True)) / 2

    def get_config(self) -> dict[str, Any]:
        return super().get_config() | {"hidden_dim": self.hidden_dim}
