"""How many times its compiled call a script's `predict` of one row costs, as in the loop of a decoder.

python benchmarks/bert4keras_examples/predict.py
"""

import json
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

from nlptasks.bert4keras.models import build_transformer_model

CONFIG = {
    "vocab_size": 60,
    "hidden_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "intermediate_size": 64,
    "hidden_act": "gelu",
    "max_position_embeddings": 40,
    "type_vocab_size": 2,
}


def median(function: Callable[[], object], calls: int = 200) -> float:
    """Milliseconds of a call."""
    seconds = []
    for _ in range(calls):
        start = time.perf_counter()
        function()
        seconds.append(time.perf_counter() - start)
    return 1000 * float(np.median(seconds))


def main() -> None:
    """Prints three rounds."""
    import tensorflow as tf

    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "config.json")
        path.write_text(json.dumps(CONFIG), encoding="utf-8")
        model = build_transformer_model(str(path), application="unilm")
    ids = np.random.default_rng(0).integers(5, 60, (1, 12))
    inputs = [ids, np.zeros_like(ids)]
    model.predict(inputs)
    tensors = [tf.constant(each.astype("float32")) for each in inputs]
    for _ in range(3):
        call = median(lambda: model._program(tensors).numpy())
        predict = median(lambda: model.predict(inputs))
        print(f"compiled call {call:.3f} ms, predict {predict:.3f} ms, ratio {predict / call:.2f}", flush=True)


if __name__ == "__main__":
    main()
