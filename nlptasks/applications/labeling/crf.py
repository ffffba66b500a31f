"""Linear-chain conditional random field (Lafferty, McCallum, Pereira 2001): a score for every path of tags.

Legend: B batch, T position, K tag, X a tag's score and then the mask.
"""

from typing import Any

import keras
from keras import ops

from nlptasks.core.attention import MASKED_SCORE


@keras.saving.register_keras_serializable("nlptasks")
class LinearChainCRF(keras.layers.Layer):
    """The score of a path is the sum of its tags' scores, of its transitions, and of its first and last tag's.

    bert4keras' `ConditionalRandomField` has no scores for the first and the last tag; the rest is equal. A fresh layer
    has zeros everywhere, so that its best path is the best tag at every position.

    Args:
        num_tags: number of tags K.
        lr_multiplier: how many times as fast as other weights the layer learns; the weights are stored divided by it.

    All methods take scores `(B, T, K)` and a bool mask `(B, T)`, True at real positions, which come first in a row. A
    row without any has one path, the empty one, of score 0. They compute in float32, in float64 for float64 scores.
    """

    def __init__(self, num_tags: int, lr_multiplier: float = 1.0, **kwargs: Any):
        super().__init__(**kwargs)
        if num_tags < 1 or lr_multiplier <= 0:
            raise ValueError(
                f"num_tags must be at least 1 and lr_multiplier positive. Received: {num_tags=}, {lr_multiplier=}."
            )
        self.num_tags, self.lr_multiplier = num_tags, lr_multiplier

    def build(self, input_shape: Any = None) -> None:
        size = self.num_tags
        self.transition_weights = self.add_weight(name="transitions", shape=(size, size), initializer="zeros")
        self.first_weights = self.add_weight(name="first", shape=(size,), initializer="zeros")
        self.last_weights = self.add_weight(name="last", shape=(size,), initializer="zeros")

    def call(self, scores_BTK: Any, mask_BT: Any) -> Any:
        """The best paths; see `viterbi`."""
        return self.viterbi(scores_BTK, mask_BT)[0]

    def loss(self, scores_BTK: Any, tags_BT: Any, mask_BT: Any) -> Any:
        """-log p of each row's path, `(B,)`, in nats."""
        return self.log_partition(scores_BTK, mask_BT) - self.path_score(scores_BTK, tags_BT, mask_BT)

    def log_partition(self, scores_BTK: Any, mask_BT: Any) -> Any:
        """Log of the sum of exp(score) over all paths, `(B,)`."""
        scores_BTK, mask_BT, first_K, transitions_KK, last_K = self._parts(scores_BTK, mask_BT)

        def step(state_BK: Any, later_BX: Any) -> tuple[Any, Any]:
            score_BK, real_B1 = _split(later_BX)
            following_BK = ops.logsumexp(state_BK[:, :, None] + transitions_KK, axis=1) + score_BK
            return ops.where(real_B1, following_BK, state_BK), state_BK

        state_BK, _ = ops.scan(step, first_K + scores_BTK[:, 0], _later(scores_BTK, mask_BT))
        return ops.where(mask_BT[:, 0], ops.logsumexp(state_BK + last_K, axis=1), 0.0)

    def path_score(self, scores_BTK: Any, tags_BT: Any, mask_BT: Any) -> Any:
        """Score of one path a row, `(B,)`; tags beyond the mask may be any."""
        scores_BTK, mask_BT, first_K, transitions_KK, last_K = self._parts(scores_BTK, mask_BT)
        tags_BT = ops.cast(tags_BT, "int32")
        of_tags_BT = ops.take_along_axis(scores_BTK, tags_BT[:, :, None], axis=2)[:, :, 0]
        score_B = ops.sum(ops.where(mask_BT, of_tags_BT, 0.0), axis=1)
        steps_BT = ops.take(ops.reshape(transitions_KK, (-1,)), tags_BT[:, :-1] * self.num_tags + tags_BT[:, 1:])
        score_B = score_B + ops.sum(ops.where(mask_BT[:, 1:], steps_BT, 0.0), axis=1)
        length_B = ops.sum(ops.cast(mask_BT, "int32"), axis=1)
        final_B1 = ops.take_along_axis(tags_BT, ops.maximum(length_B - 1, 0)[:, None], axis=1)
        ends_B = ops.take(first_K, tags_BT[:, 0]) + ops.take(last_K, final_B1[:, 0])
        return score_B + ops.where(mask_BT[:, 0], ends_B, 0.0)

    def viterbi(
        self, scores_BTK: Any, mask_BT: Any, allowed_first_K: Any = None, allowed_KK: Any = None
    ) -> tuple[Any, Any]:
        """The path of highest score of each row.

        Args:
            allowed_first_K: bool, which tags may begin a row; None for all.
            allowed_KK: bool, which tag may follow which; None for all.

        Returns:
            Tags `(B, T)`, int32, 0 beyond the mask, and the paths' scores `(B,)`.
        """
        scores_BTK, mask_BT, first_K, transitions_KK, last_K = self._parts(scores_BTK, mask_BT)
        if allowed_first_K is not None:
            first_K = ops.where(allowed_first_K, first_K, MASKED_SCORE)
        if allowed_KK is not None:
            transitions_KK = ops.where(allowed_KK, transitions_KK, MASKED_SCORE)
        transposed_KK = ops.transpose(transitions_KK)

        def forward(state_BK: Any, later_BX: Any) -> tuple[Any, Any]:
            score_BK, real_B1 = _split(later_BX)
            following_BK = ops.max(state_BK[:, :, None] + transitions_KK, axis=1) + score_BK
            return ops.where(real_B1, following_BK, state_BK), state_BK

        def backward(tag_B: Any, state_BX: Any) -> tuple[Any, Any]:
            state_BK, real_B1 = _split(state_BX)  # of a position, and whether the next one, which has tag_B, is real
            origin_BK = state_BK + ops.take(transposed_KK, tag_B, axis=0)
            tag_B = ops.where(real_B1[:, 0], ops.cast(ops.argmax(origin_BK, axis=1), "int32"), tag_B)
            return tag_B, tag_B

        later_TBX = _later(scores_BTK, mask_BT)
        state_BK, state_TBK = ops.scan(forward, first_K + scores_BTK[:, 0], later_TBX)
        state_BK = state_BK + last_K
        final_B = ops.cast(ops.argmax(state_BK, axis=1), "int32")
        state_TBX = ops.concatenate([state_TBK, later_TBX[:, :, -1:]], axis=2)
        _, tags_TB = ops.scan(backward, final_B, state_TBX, reverse=True)
        score_B = ops.where(mask_BT[:, 0], ops.max(state_BK, axis=1), 0.0)
        return ops.where(mask_BT, _transposed(tags_TB), 0), score_B

    def _parts(self, scores_BTK: Any, mask_BT: Any) -> tuple[Any, ...]:
        scores_BTK = ops.convert_to_tensor(scores_BTK)
        if scores_BTK.dtype != "float64":
            scores_BTK = ops.cast(scores_BTK, "float32")
        weights = (self.first_weights, self.transition_weights, self.last_weights)
        parts = [ops.cast(weight, scores_BTK.dtype) * self.lr_multiplier for weight in weights]
        return scores_BTK, ops.cast(mask_BT, "bool"), *parts

    def compute_output_shape(self, scores_shape: Any, mask_shape: Any = None) -> Any:
        return scores_shape[:2]

    def get_config(self) -> dict[str, Any]:
        return super().get_config() | {"num_tags": self.num_tags, "lr_multiplier": self.lr_multiplier}


def _later(scores_BTK: Any, mask_BT: Any) -> Any:
    """Scores and mask of all positions but the first, as one array with positions in front, X = K + 1 (keras.ops.scan
    takes only one whose length is not known on TensorFlow); one masked position stands behind the last, so that a row
    of one position is no special case.
    """
    both_BTX = ops.concatenate([scores_BTK, ops.cast(mask_BT, scores_BTK.dtype)[:, :, None]], axis=2)
    both_BTX = ops.concatenate([both_BTX[:, 1:], ops.zeros_like(both_BTX[:, :1])], axis=1)
    return ops.transpose(both_BTX, (1, 0, 2))


def _split(both_BX: Any) -> tuple[Any, Any]:
    """Scores `(B, K)` and mask `(B, 1)`."""
    return both_BX[:, :-1], both_BX[:, -1:] > 0.5


def _transposed(tags_TB: Any) -> Any:
    """By way of float32: on processors without AVX-512 TensorFlow prints an error where it transposes integers."""
    return ops.cast(ops.transpose(ops.cast(tags_TB, "float32")), "int32")
