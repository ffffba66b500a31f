"""Makes the golden files of weights that a script of bert4keras saved, its own head included, in both formats.

TF_KERAS=1 python tests/golden/make_old_weights_golden.py   # in bert4keras' environment (CONTRIBUTING.md)

Writes old_weights.h5 (HDF5), old_weights.tf (TensorFlow's format), and old_weights.json: inputs and outputs.
"""

import json
import os
import tempfile
from pathlib import Path

os.environ["TF_KERAS"] = "1"
import numpy as np
import tensorflow as tf

tf.keras.optimizers.Optimizer = tf.keras.optimizers.legacy.Optimizer
from bert4keras.models import build_transformer_model  # noqa: E402

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


def main() -> None:
    with tempfile.NamedTemporaryFile("w", suffix=".json", encoding="utf-8") as file:
        json.dump(CONFIG, file)
        file.flush()
        bert = build_transformer_model(file.name, return_keras_model=False)
    x = tf.keras.layers.Lambda(lambda x: x[:, 0])(bert.model.output)
    x = tf.keras.layers.Dense(7, activation="tanh")(x)
    model = tf.keras.models.Model(bert.model.input, tf.keras.layers.Dense(3, activation="softmax")(x))
    rng = np.random.default_rng(11)
    model.set_weights([rng.normal(0, 0.5, w.shape).astype("float32") for w in model.weights])
    tokens = np.array(TOKENS)
    outputs = model([tokens, tokens * 0], training=False).numpy()
    model.save_weights(HERE / "old_weights.h5")
    model.save_weights(HERE / "old_weights.tf", save_format="tf")
    (HERE / "checkpoint").unlink()
    told = {"config": CONFIG, "tokens": TOKENS, "outputs": outputs.tolist()}
    (HERE / "old_weights.json").write_text(json.dumps(told), encoding="utf-8")


if __name__ == "__main__":
    main()
