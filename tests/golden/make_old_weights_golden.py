"""Makes the golden files of weights that a script of bert4keras saved, its own head included, in both formats.

TF_KERAS=1 python tests/golden/make_old_weights_golden.py   # in bert4keras' environment (CONTRIBUTING.md)
TF_KERAS=0 KERAS=FOLDER python tests/golden/make_old_weights_golden.py   # with Keras 2.3.1 in that folder

Writes old_weights.h5 (HDF5), old_weights.tf (TensorFlow's format), and old_weights.json: inputs and outputs. Of other
families and of conditional norms, old_NAME.tf with its entry in old_families.json. The second command writes
old_weights_keras_2.h5 alone, the same weights by Keras 2.3.1 itself; below, what that wants of today's Python and
TensorFlow. It comes from `pip install --no-deps --target FOLDER keras==2.3.1 keras_applications keras_preprocessing six
pyyaml`.
"""

import collections
import collections.abc
import json
import os
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf
from tensorflow.python.framework import ops

if os.environ["TF_KERAS"] == "1":
    tf.keras.optimizers.Optimizer = tf.keras.optimizers.legacy.Optimizer
else:
    tf.compat.v1.disable_v2_behavior()
    _ = tf.keras.metrics.MeanIoU  # TensorFlow's own Keras is loaded, and put away
    for name in [name for name in sys.modules if name.split(".")[0] == "keras"]:
        del sys.modules[name]
    sys.path.insert(0, os.environ["KERAS"])
    collections.Iterable = collections.abc.Iterable
    ops._TensorLike, ops.is_dense_tensor_like = tf.Tensor, lambda x: isinstance(x, tf.Tensor | tf.Variable)
from bert4keras.backend import keras
from bert4keras.models import build_transformer_model

HERE = Path(__file__).resolve().parent
CONFIG = {
    "vocab_size": 13,
    "hidden_size": 6,
    "num_hidden_layers": 1,
    "num_attention_heads": 3,
    "intermediate_size": 11,
    "hidden_act": "gelu",
    "hidden_dropout_prob": 0.1,
    "attention_probs_dropout_prob": 0.1,
    "max_position_embeddings": 5,
    "type_vocab_size": 2,
}
TOKENS = [[2, 7, 5, 3], [2, 9, 3, 0]]
FAMILIES = {
    "conditional": {"layer_norm_cond_hidden_size": 5, "layer_norm_cond_hidden_act": "tanh"},
    "nezha": {"model": "nezha"},
    "albert": {"model": "albert"},
}
CONDITION = [[0.5, -1.0, 0.25, 2.0], [1.0, 0.0, -0.5, 0.75]]


def family(name: str, settings: dict) -> dict:
    """Saves a fine-tuned model of a family; returns what it was asked and said."""
    config = CONFIG | {"num_hidden_layers": 2, "hidden_size": 12}
    if name == "albert":
        config |= {"embedding_size": 5}
    given, inputs = dict(settings), [np.array(TOKENS), np.array(TOKENS) * 0]
    if name == "conditional":
        condition = keras.layers.Input(shape=(len(CONDITION[0]),))
        given |= {"layer_norm_cond": condition, "additional_input_layers": condition}
        inputs.append(np.array(CONDITION, "float32"))
    with tempfile.NamedTemporaryFile("w", suffix=".json", encoding="utf-8") as file:
        json.dump(config, file)
        file.flush()
        bert = build_transformer_model(file.name, return_keras_model=False, **given)
    x = keras.layers.Lambda(lambda x: x[:, 0])(bert.model.output)
    model = keras.models.Model(bert.model.inputs, keras.layers.Dense(3, activation="softmax")(x))
    rng = np.random.default_rng(13)
    for weight in model.trainable_weights:  # NEZHA's vectors of distances are fixed
        weight.assign(rng.normal(0, 0.3, weight.shape).astype("float32"))
    outputs = model(inputs, training=False).numpy()
    model.save_weights(HERE / f"old_{name}.tf", save_format="tf")
    return {"config": config, "settings": settings, "outputs": outputs.tolist()}


def classifier() -> Any:
    """A fine-tuned model with a head of its own."""
    with tempfile.NamedTemporaryFile("w", suffix=".json", encoding="utf-8") as file:
        json.dump(CONFIG, file)
        file.flush()
        bert = build_transformer_model(file.name, return_keras_model=False)
    x = keras.layers.Lambda(lambda x: x[:, 0])(bert.model.output)
    x = keras.layers.Dense(7, activation="tanh")(x)
    model = keras.models.Model(bert.model.input, keras.layers.Dense(3, activation="softmax")(x))
    rng = np.random.default_rng(11)
    shapes = [value.shape for value in model.get_weights()]
    model.set_weights([rng.normal(0, 0.5, shape).astype("float32") for shape in shapes])
    return model


def main() -> None:
    model = classifier()
    if os.environ["TF_KERAS"] != "1":
        model.save_weights(str(HERE / "old_weights_keras_2.h5"))
        return
    tokens = np.array(TOKENS)
    outputs = model([tokens, tokens * 0], training=False).numpy()
    model.save_weights(HERE / "old_weights.h5")
    model.save_weights(HERE / "old_weights.tf", save_format="tf")
    told = {"config": CONFIG, "tokens": TOKENS, "outputs": outputs.tolist()}
    (HERE / "old_weights.json").write_text(json.dumps(told), encoding="utf-8")
    others = {name: family(name, settings) for name, settings in FAMILIES.items()}
    told = {"tokens": TOKENS, "condition": CONDITION, "families": others}
    (HERE / "old_families.json").write_text(json.dumps(told), encoding="utf-8")
    (HERE / "checkpoint").unlink()


if __name__ == "__main__":
    main()
