"""The segmentation network on Keras: what `nlptasks segmentation` trains.

B batch, T unit, C channels, K tags (s, b, m, e)
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import keras
import numpy as np
from keras import ops

from nlptasks.applications.segmentation.config import SegmentationConfig, array_shapes
from nlptasks.applications.segmentation.runtime import Runtime
from nlptasks.applications.segmentation.storage import save_segmenter
from nlptasks.applications.segmentation.vocab import NO_PAIR, PAD, UnitVocab


class SegmentationNetwork(keras.Model):
    """Convolutions over the embeddings of units and of pairs of neighboring units.

    Its input is `(unit_ids (B, T), pair_ids (B, T + 1), standard_ids (B,))`, see `UnitVocab`; its output the tags'
    scores (B, T, K). Padding does not change the scores of a row.

    Args:
        dropout: dropout rate in training, for the embeddings and before every later convolution.
    """

    def __init__(self, config: SegmentationConfig, vocab: UnitVocab, dropout: float = 0.0) -> None:
        super().__init__()
        self.config, self.shapes = config, array_shapes(config, vocab)
        self.dropouts = [keras.layers.Dropout(dropout) for _ in range(len(config.channels) + 1)]

    def build(self, input_shape: Any = None) -> None:
        for name, shape in self.shapes.items():
            initializer = "zeros" if "bias" in name else keras.initializers.GlorotUniform()
            if len(shape) == 2 and "bias" not in name:
                initializer = keras.initializers.RandomNormal(stddev=0.1)
            variable = self.add_weight(shape=shape, initializer=initializer, name=name.replace(".", "_"))
            setattr(self, name.replace(".", "_"), variable)
        super().build(input_shape)

    def call(self, unit_ids: Any, pair_ids: Any, standard_ids: Any, training: bool = False) -> Any:
        config = self.config
        real_BT1 = _real(unit_ids, PAD, self.compute_dtype)
        x_BTC = ops.take(self.unit, unit_ids, axis=0) * real_BT1
        x_BTC = _convolve(self.dropouts[0](x_BTC, training=training), self.from_units)
        if config.pair_size:
            pairs = ops.take(self.pair, pair_ids, axis=0) * _real(pair_ids, NO_PAIR, self.compute_dtype)
            pairs = self.dropouts[0](pairs, training=training)
            x_BTC = x_BTC + _convolve(pairs, self.from_pairs)[:, : ops.shape(unit_ids)[1]]
        x_BTC = ops.relu(x_BTC + self._bias("bias_0", standard_ids)) * real_BT1
        for i in range(1, len(config.channels)):
            h_BTC = self.dropouts[i](x_BTC, training=training)
            h_BTC = ops.relu(_convolve(h_BTC, getattr(self, f"conv_{i}")) + self._bias(f"bias_{i}", standard_ids))
            x_BTC = (x_BTC + h_BTC if config.residual else h_BTC) * real_BT1
        x_BTC = self.dropouts[-1](x_BTC, training=training)
        return _convolve(x_BTC, self.head) + self._bias("head_bias", standard_ids)

    def _bias(self, name: str, standard_ids: Any) -> Any:
        return ops.take(getattr(self, name), standard_ids, axis=0)[:, None]

    def arrays(self) -> dict[str, np.ndarray]:
        """The weights by name, as `save_segmenter` and `Runtime` take them; copies."""
        return {name: np.array(getattr(self, name.replace(".", "_")).value) for name in self.shapes}

    def assign_arrays(self, arrays: Mapping[str, np.ndarray]) -> None:
        """Takes the weights that `arrays` gave, or those of `load_segmenter`: a segmenter to be trained further.

        Raises:
            KeyError, ValueError: a weight is missing, or has another shape.
        """
        for name in self.shapes:
            getattr(self, name.replace(".", "_")).assign(arrays[name])


def tag_loss(network: SegmentationNetwork, batch: tuple[Any, Any, Any, Any]) -> Any:
    """Mean cross-entropy of the real units' tags, in nats; a float32 scalar.

    Args:
        batch: unit ids (B, T), pair ids (B, T + 1), standard ids (B,), and the tags' target distributions (B, T, K).
    """
    unit_ids, pair_ids, standard_ids, targets = batch
    scores_BTK = ops.cast(network(unit_ids, pair_ids, standard_ids, training=True), "float32")
    losses_BT = -ops.sum(targets * ops.log_softmax(scores_BTK, axis=-1), axis=-1)
    real_BT = _real(unit_ids, PAD, "float32")[..., 0]
    return ops.sum(losses_BT * real_BT) / ops.maximum(1.0, ops.sum(real_BT))


@dataclass
class TrainableSegmenter:
    """What a run trains: a network, with everything needed to save it as a segmenter."""

    model: SegmentationNetwork
    vocab: UnitVocab

    def loss(self, batch: tuple[Any, Any, Any, Any]) -> Any:
        """See `tag_loss`."""
        return tag_loss(self.model, batch)

    def runtime(self) -> Runtime:
        """The current network, ready to use."""
        return Runtime(self.model.config, self.vocab, self.model.arrays())

    def save(self, directory: str | Path) -> None:
        """Writes a directory that `nlptasks.load` opens."""
        save_segmenter(directory, self.model.config, self.vocab, self.model.arrays())


def _real(ids: Any, padding: int, dtype: str) -> Any:
    """1 where an id is not padding, else 0; one axis more."""
    return ops.cast(ops.not_equal(ids, padding), dtype)[..., None]


def _convolve(x: Any, kernel: Any) -> Any:
    """Tap k of the kernel reads position t + k - 1, zeros outside (one tap reads t)."""
    taps = kernel.shape[0]
    before = 0 if taps == 1 else 1
    x = ops.pad(x, [[0, 0], [before, taps - 1 - before], [0, 0]])
    return ops.conv(x, kernel, padding="valid")
