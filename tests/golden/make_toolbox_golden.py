"""Makes the golden file of bert4keras' extended optimizers, where their updates are right.

In bert4keras' environment (see make_bert4keras_golden.py), in this folder:

    TF_KERAS=1 python make_toolbox_golden.py toolbox.npz
"""

import os
import sys

os.environ["TF_KERAS"] = "1"
import numpy as np
from bert4keras.backend import K, keras, tf

keras.optimizers.Optimizer = keras.optimizers.legacy.Optimizer  # the interface bert4keras was written for
from bert4keras.optimizers import (  # noqa: E402
    Adam,
    LionV2,
    extend_with_exponential_moving_average_v2,
    extend_with_parameter_wise_lr_v2,
    extend_with_weight_decay_v2,
)
from toolbox_cases import CASES, DECAY, FACTORS, MOMENTUM, RATE, SHAPES, STEPS, gradients, weights  # noqa: E402

KINDS = {
    "decay": (extend_with_weight_decay_v2(Adam), {"weight_decay_rate": DECAY, "exclude_from_weight_decay": ["bias"]}),
    "rates": (extend_with_parameter_wise_lr_v2(Adam), {"paramwise_lr_schedule": FACTORS}),
    "average": (extend_with_exponential_moving_average_v2(Adam), {"ema_momentum": MOMENTUM}),
    "lion": (LionV2, {}),
}


def main(path):
    results = {}
    for name in CASES:
        kind, settings = KINDS[name]
        optimizer = kind(learning_rate=RATE, **settings)
        variables = [tf.Variable(value, name=path) for path, value in weights().items()]
        rows = gradients()
        for step in range(STEPS):
            optimizer.apply_gradients([(tf.constant(rows[p][step]), v) for p, v in zip(SHAPES, variables, strict=True)])
            if name == "average":
                optimizer.apply_ema_weights()
            for p, v in zip(SHAPES, variables, strict=True):
                results[f"{name}/{step}/{p}"] = K.get_value(v)
            if name == "average":
                optimizer.reset_old_weights()
    np.savez_compressed(path, **results)


main(sys.argv[1])
