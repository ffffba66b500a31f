"""The gated attention unit (arXiv 2202.10447), as GAU-alpha has it: attention and feed-forward layer in one.

Legend: B batch, T query position, S key position, X rows of both, N = 1 heads, H key size, J value size.
"""

import math
from collections.abc import Sequence
from typing import Any

import keras
from keras import ops

from nlptasks.backend import Tensor
from nlptasks.core.attention import MultiHeadAttention
from nlptasks.core.layers import activation
from nlptasks.core.positions import rotated

_FEWEST, _USUAL = 16, 512
"""visible positions: the fewest that scores are scaled for, and those at which they are not scaled at all"""


@keras.saving.register_keras_serializable("nlptasks")
class GatedAttention(MultiHeadAttention):
    """One head of attention whose values are as wide as a feed-forward layer and are multiplied by a gate:

        gate, value, shared = act(x W);  output = (gate * probabilities value) W_o

    Queries and keys are `shared` times a vector each. Scores are multiplied by log(n) / log(512) for n visible
    positions (at least 16), so that texts of all lengths are looked at alike sharply (softmax plus).

    Args:
        hidden_act: the activation. The others are those of `MultiHeadAttention`.
    """

    def __init__(self, *args: Any, hidden_act: str = "swish", **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.hidden_act = hidden_act

    def _make_projections(self) -> None:
        self.inner = self._dense(2 * self.value_size + self.key_size, "inner")

    def build(self, hidden_shape: Sequence[int | None]) -> None:
        self.inner.build(hidden_shape)
        self.output_dense.build((*hidden_shape[:-1], self.value_size))
        self.query_scale = self.add_weight(name="query_gamma", shape=(self.key_size,), initializer="ones")
        self.key_scale = self.add_weight(name="key_gamma", shape=(self.key_size,), initializer="ones")

    def can_fuse(self) -> bool:
        """Never: its softmax is another one."""
        return False

    def probabilities(self, score_BNTS: Tensor, added_BNTS: Tensor, mask_B1TS: Tensor) -> Tensor:
        """The softmax of scores that are the sharper the more positions are visible."""
        visible_B1T1 = ops.sum(ops.cast(mask_B1TS, "float32"), axis=-1, keepdims=True)
        sharper_B1T1 = ops.log(ops.maximum(visible_B1T1, _FEWEST)) / math.log(_USUAL)
        return super().probabilities(ops.cast(score_BNTS, "float32") * sharper_B1T1, added_BNTS, mask_B1TS)

    def _project(self, hidden_BTD: Tensor, position: Any) -> tuple[Tensor, Tensor, Tensor, Tensor | None]:
        length, flat_XD = ops.shape(hidden_BTD)[1], ops.reshape(hidden_BTD, (-1, hidden_BTD.shape[-1]))
        inner_XF = activation(self.hidden_act)(self.inner(flat_XD))
        parts = ops.split(inner_XF, [self.value_size, 2 * self.value_size], axis=-1)
        gate_BT1J, value_BT1J, shared_BT1H = (ops.reshape(x, (-1, length, 1, x.shape[-1])) for x in parts)
        query_BT1H = self._scaled(shared_BT1H * ops.cast(self.query_scale, self.compute_dtype))
        key_BT1H = shared_BT1H * ops.cast(self.key_scale, self.compute_dtype)
        if self.position == "rotary":
            query_BT1H, key_BT1H = rotated(query_BT1H, position), rotated(key_BT1H, position)
        return query_BT1H, key_BT1H, value_BT1J, gate_BT1J

    def get_config(self) -> dict[str, Any]:
        return super().get_config() | {"hidden_act": self.hidden_act}
