"""Makes the golden file of bert4keras' LAMB: its Adam with weight decay, layer adaptation and a piecewise schedule.

In bert4keras' environment (see make_bert4keras_golden.py), in this folder:

    TF_KERAS=1 python make_lamb_golden.py lamb.npz
"""

import os
import sys

os.environ["TF_KERAS"] = "1"
import numpy as np
from bert4keras.backend import K, keras, tf

keras.optimizers.Optimizer = keras.optimizers.legacy.Optimizer  # the interface bert4keras was written for
from bert4keras.optimizers import (  # noqa: E402
    Adam,
    extend_with_layer_adaptation,
    extend_with_piecewise_linear_lr,
    extend_with_weight_decay,
)
from lamb_cases import DECAY, RATE, SCHEDULE, SHAPES, STEPS, gradients, weights  # noqa: E402


def main(path):
    kind = extend_with_piecewise_linear_lr(extend_with_layer_adaptation(extend_with_weight_decay(Adam)))
    excluded = ["bias", "gamma"]
    results = {}
    for name, adapted in (("lamb", True), ("adamw", False)):
        optimizer = kind(
            learning_rate=RATE,
            weight_decay_rate=DECAY,
            exclude_from_weight_decay=excluded,
            exclude_from_layer_adaptation=excluded if adapted else [""],
            lr_schedule=SCHEDULE,
        )
        variables = [tf.Variable(value, name=path) for path, value in weights().items()]
        rows = gradients()
        for step in range(STEPS):
            optimizer.apply_gradients([(tf.constant(rows[p][step]), v) for p, v in zip(SHAPES, variables, strict=True)])
            for p, v in zip(SHAPES, variables, strict=True):
                results[f"{name}/{step}/{p}"] = K.get_value(v)
    np.savez_compressed(path, **results)


main(sys.argv[1])
