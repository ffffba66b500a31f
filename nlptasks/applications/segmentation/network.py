"""The segmentation network on Keras: what `nlptasks segmentation` trains.

B batch, T unit, C channels, K tags (s, b, m, e)
"""

from collections.abc import Mapping

# isort: off
import nlptasks.backend.programs  # noqa: F401 - first: it imports keras without TensorFlow's notes
import keras

# isort: on
import numpy as np
from keras import ops

from nlptasks.applications.segmentation.config import SegmentationConfig, array_shapes
from nlptasks.applications.segmentation.vocab import NO_PAIR, PAD, UnitVocab


class SegmentationNetwork(keras.Model):
    """Convolutions over the embeddings of units and of pairs of neighbouring units.

    Its input is `(unit_ids (B, T), pair_ids (B, T + 1), standard_ids (B,))`, see `UnitVocab`; its output the tags'
    scores (B, T, K). Padding scores as nothing: a row's scores are those it has on its own.

    Args:
        dropout: of the embeddings and before every later convolution, while training.
    """

    def __init__(self, config: SegmentationConfig, vocab: UnitVocab, dropout: float = 0.0):
        super().__init__()
        self.config, self.shapes = config, array_shapes(config, vocab)
        self.dropouts = [keras.layers.Dropout(dropout) for _ in range(len(config.channels) + 1)]

    def build(self, input_shape=None):
        for name, shape in self.shapes.items():
            initializer = "zeros" if "bias" in name else keras.initializers.GlorotUniform()
            if len(shape) == 2 and "bias" not in name:
                initializer = keras.initializers.RandomNormal(stddev=0.1)
            variable = self.add_weight(shape=shape, initializer=initializer, name=name.replace(".", "_"))
            setattr(self, name.replace(".", "_"), variable)
        super().build(input_shape)

    def call(self, unit_ids, pair_ids, standard_ids, training: bool = False):
        config = self.config
        real_BT1 = _real(unit_ids, PAD)
        x_BTC = ops.take(self.unit, unit_ids, axis=0) * real_BT1
        x_BTC = _convolve(self.dropouts[0](x_BTC, training=training), self.from_units)
        if config.pair_size:
            pairs = ops.take(self.pair, pair_ids, axis=0) * _real(pair_ids, NO_PAIR)
            pairs = self.dropouts[0](pairs, training=training)
            x_BTC = x_BTC + _convolve(pairs, self.from_pairs)[:, : ops.shape(unit_ids)[1]]
        x_BTC = ops.relu(x_BTC + self._bias("bias_0", standard_ids)) * real_BT1
        for i in range(1, len(config.channels)):
            h_BTC = self.dropouts[i](x_BTC, training=training)
            h_BTC = ops.relu(_convolve(h_BTC, getattr(self, f"conv_{i}")) + self._bias(f"bias_{i}", standard_ids))
            x_BTC = (x_BTC + h_BTC if config.residual else h_BTC) * real_BT1
        x_BTC = self.dropouts[-1](x_BTC, training=training)
        return _convolve(x_BTC, self.head) + self._bias("head_bias", standard_ids)

    def _bias(self, name, standard_ids):
        return ops.take(getattr(self, name), standard_ids, axis=0)[:, None]

    def arrays(self) -> dict[str, np.ndarray]:
        """The weights by name, as `segmentation_config.save_segmenter` and `Runtime` take them."""
        return {name: np.array(getattr(self, name.replace(".", "_")).value) for name in self.shapes}

    def assign_arrays(self, arrays: Mapping[str, np.ndarray]) -> None:
        """Takes over weights by name."""
        for name in self.shapes:
            getattr(self, name.replace(".", "_")).assign(arrays[name])


def tag_loss(network: SegmentationNetwork, batch):
    """Mean cross-entropy of the real units' tags, whose targets are distributions (B, T, K)."""
    unit_ids, pair_ids, standard_ids, targets = batch
    scores_BTK = network(unit_ids, pair_ids, standard_ids, training=True)
    losses_BT = -ops.sum(targets * ops.log_softmax(scores_BTK, axis=-1), axis=-1)
    real_BT = _real(unit_ids, PAD)[..., 0]
    return ops.sum(losses_BT * real_BT) / ops.maximum(1.0, ops.sum(real_BT))


def _real(ids, padding):
    return ops.cast(ops.not_equal(ids, padding), "float32")[..., None]


def _convolve(x, kernel):
    """Tap k of the kernel reads position t + k - 1, zeros outside (one tap reads t)."""
    taps = kernel.shape[0]
    before = 0 if taps == 1 else 1
    x = ops.pad(x, [[0, 0], [before, taps - 1 - before], [0, 0]])
    return ops.conv(x, kernel, padding="valid")
