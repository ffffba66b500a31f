"""Makes the golden file of bert4keras' CRF, GlobalPointer, EfficientGlobalPointer and multi-label cross-entropies.

In bert4keras' environment (see make_bert4keras_golden.py), in this folder:

    TF_KERAS=1 python make_heads_golden.py heads.npz
"""

import os
import sys

os.environ["TF_KERAS"] = "1"
import numpy as np
from bert4keras.backend import (
    K,
    keras,
    multilabel_categorical_crossentropy,
    sparse_multilabel_categorical_crossentropy,
    tf,
)
from bert4keras.layers import ConditionalRandomField, EfficientGlobalPointer, GlobalPointer
from heads_cases import H, N, inputs, weight


class WithMask(keras.layers.Layer):
    """Hands a mask on to the layer behind it, as an embedding with `mask_zero` does."""

    def call(self, inputs):
        return inputs[0] + 0.0

    def compute_mask(self, inputs, mask=None):
        return K.cast(inputs[1], "bool")


def run(layer, x, mask, names):
    """The layer's output for weights made from names."""
    first, second = keras.layers.Input(x.shape[1:]), keras.layers.Input(mask.shape[1:])
    model = keras.models.Model([first, second], layer(WithMask()([first, second])))
    assert len(layer.weights) == len(names), [w.name for w in layer.weights]
    for variable, name in zip(layer.weights, names, strict=True):
        K.set_value(variable, weight(name, tuple(variable.shape)))
    return model.predict([x, mask.astype("float32")], verbose=0)


def main(path):
    x, results = inputs(), {}
    crf = ConditionalRandomField()
    masked = run(crf, x["scores"], x["mask"], ["transitions"])
    results["crf_loss"] = K.eval(crf.sparse_loss(tf.constant(x["tags"]), tf.constant(masked)))
    pointer = GlobalPointer(N, H)
    results["pointer"] = run(pointer, x["hidden"], x["mask"], ["dense_kernel", "dense_bias"])
    efficient = EfficientGlobalPointer(N, H)
    names = ["span_kernel", "span_bias", "type_kernel", "type_bias"]
    results["efficient"] = run(efficient, x["hidden"], x["mask"], names)
    logits, targets = tf.constant(x["logits"]), tf.constant(x["targets"])
    results["soft"] = K.eval(multilabel_categorical_crossentropy(targets, logits))
    hard = tf.cast(targets > 0.3, "float32")
    results["hard"] = K.eval(multilabel_categorical_crossentropy(hard, logits))
    ids = tf.constant(np.tile(np.array([[0, 4]]), (13, 1)))
    results["sparse"] = K.eval(sparse_multilabel_categorical_crossentropy(ids, logits))
    spans = np.zeros(results["pointer"].shape, "float32")
    spans[0, 0, 1, 3] = spans[0, 1, 2, 2] = spans[1, 0, 0, 3] = 1
    flat = (-1, spans.shape[2] * spans.shape[3])
    loss = multilabel_categorical_crossentropy(spans.reshape(flat), tf.constant(results["pointer"].reshape(flat)))
    results["pointer_loss"] = K.eval(loss)
    np.savez_compressed(path, **results)
    print({name: value.shape for name, value in results.items()}, K.eval(tf.reduce_mean(loss)))


if __name__ == "__main__":
    main(sys.argv[1])
