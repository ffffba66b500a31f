"""Makes the golden files of real bert4keras: small random models, their weights in two formats, and their outputs.

Runs in an environment of its own (Python 3.11): `pip install "tensorflow-cpu==2.12.*"`, then
`pip install --no-deps bert4keras==0.11.5`; then, in this folder:

    TF_KERAS=1 python make_bert4keras_golden.py bert4keras
"""

import json
import os
import sys
from pathlib import Path

os.environ["TF_KERAS"] = "1"
import numpy as np
from bert4keras.backend import K, keras, set_gelu, tf
from bert4keras.models import build_transformer_model
from bert4keras_cases import CASES, EXTRA_CONFIG, GOOGLE

set_gelu("erf")
V, D, L, N, F, P = 67, 18, 2, 3, 31, 29  # vocabulary, hidden, layers, heads, feed-forward, positions
BASE = {
    "vocab_size": V,
    "hidden_size": D,
    "num_hidden_layers": L,
    "num_attention_heads": N,
    "intermediate_size": F,
    "max_position_embeddings": P,
    "type_vocab_size": 2,
    "hidden_act": "gelu",
    "hidden_dropout_prob": 0.1,
    "attention_probs_dropout_prob": 0.1,
    "initializer_range": 0.02,
}


def inputs():
    """Five ragged rows: padding, two segments, an interleaved segment, and a row that starts with id 0."""
    random = np.random.RandomState(7)
    token_ids = random.randint(1, V, (5, 23))
    segment_ids = np.zeros_like(token_ids)
    for row, (length, source) in enumerate([(23, 11), (19, 7), (12, 12), (5, 2), (17, 9)]):
        token_ids[row, length:] = 0
        segment_ids[row, source:length] = 1
    segment_ids[4, 11:13] = 0
    token_ids[2, 0] = 0
    return token_ids, segment_ids


def randomise(model):
    """Weights that make every term matter: norms away from 1 and 0, biases away from 0."""
    random = np.random.RandomState(11)
    for weight in model.trainable_weights:
        shape = K.int_shape(weight)
        name = weight.name.split("/")[-1]
        spread = 0.25 if len(shape) == 2 else 0.3
        value = random.normal(0, spread, shape) + (1.0 if name.startswith("gamma") else 0.0)
        K.set_value(weight, value.astype("float32"))


def main(output):
    output.mkdir(parents=True, exist_ok=True)
    token_ids, segment_ids = inputs()
    results = {"token_ids": token_ids.astype("int32"), "segment_ids": segment_ids.astype("int32")}
    for name, arguments in CASES.items():
        K.clear_session()
        config = {**BASE, **EXTRA_CONFIG.get(name, {})}
        config_path = output / (name + ".json")
        config_path.write_text(json.dumps(config, indent=1, sort_keys=True) + "\n")
        fed, arguments = [token_ids, segment_ids], dict(arguments)
        if size := config.get("layer_norm_cond_size"):
            condition = np.random.RandomState(5).normal(size=(len(token_ids), size)).astype("float32")
            fed.append(condition)
            results[f"{name}_condition"] = condition
            layer = keras.layers.Input((size,))
            arguments |= {"layer_norm_cond": layer, "additional_input_layers": layer}
        transformer = build_transformer_model(str(config_path), return_keras_model=False, **arguments)
        model = transformer.model
        randomise(model)
        model.save_weights(str(output / (name + ".h5")))
        predicted = model.predict(fed, verbose=0)
        predicted = predicted if isinstance(predicted, list) else [predicted]
        for i, value in enumerate(predicted):
            results[f"{name}_{i}"] = value.astype("float32")
        if name in GOOGLE:
            values = {}
            for layer, names in transformer.variable_mapping().items():
                if layer in transformer.layers:
                    weights = K.batch_get_value(transformer.layers[layer].trainable_weights)
                    values.update(zip(names, weights, strict=True))
            if "cls/seq_relationship/output_weights" in values:
                values["cls/seq_relationship/output_weights"] = values["cls/seq_relationship/output_weights"].T
            if name == "pool_nsp_mlm":
                values["bert/pooler/dense/kernel/adam_m"] = np.zeros((D, D), "float32")
            with tf.Graph().as_default(), tf.compat.v1.Session() as session:
                for key, value in values.items():
                    tf.compat.v1.get_variable(key, initializer=value)
                tf.compat.v1.get_variable("global_step", initializer=np.int64(3))
                session.run(tf.compat.v1.global_variables_initializer())
                tf.compat.v1.train.Saver().save(session, str(output / GOOGLE[name]), write_meta_graph=False)
            (output / "checkpoint").unlink()
    np.savez_compressed(str(output / "outputs.npz"), **results)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
