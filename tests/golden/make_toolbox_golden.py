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
    AdaFactorV2,
    Adam,
    LionV2,
    extend_with_exponential_moving_average_v2,
    extend_with_lazy_optimization_v2,
    extend_with_parameter_wise_lr_v2,
    extend_with_piecewise_linear_lr_v2,
    extend_with_weight_decay_v2,
)
from toolbox_cases import (  # noqa: E402
    CASES,
    DECAY,
    FACTORED,
    FACTORS,
    MOMENTUM,
    NESTED,
    RATE,
    SCHEDULE,
    SHAPES,
    STEPS,
    gradients,
    gradients_of_rows,
    weights,
)

KINDS = {
    "decay": (extend_with_weight_decay_v2(Adam), {"weight_decay_rate": DECAY, "exclude_from_weight_decay": ["bias"]}),
    "rates": (extend_with_parameter_wise_lr_v2(Adam), {"paramwise_lr_schedule": FACTORS}),
    "average": (extend_with_exponential_moving_average_v2(Adam), {"ema_momentum": MOMENTUM}),
    "lion": (LionV2, {}),
    "rates of decay": (
        extend_with_parameter_wise_lr_v2(extend_with_weight_decay_v2(Adam)),
        {"weight_decay_rate": DECAY, "paramwise_lr_schedule": FACTORS},
    ),
    "decay of rates": (
        extend_with_weight_decay_v2(extend_with_parameter_wise_lr_v2(Adam)),
        {"weight_decay_rate": DECAY, "paramwise_lr_schedule": FACTORS},
    ),
    "decay of schedule": (
        extend_with_weight_decay_v2(extend_with_piecewise_linear_lr_v2(Adam)),
        {"weight_decay_rate": DECAY, "lr_schedule": SCHEDULE},
    ),
    "lazy": (extend_with_lazy_optimization_v2(Adam), {"include_in_lazy_optimization": ["embeddings"]}),
    "uncorrected": (Adam, {"bias_correction": False}),
    "adafactor": (
        AdaFactorV2,
        {"beta1": 0.5, "min_dim_size_to_factor": FACTORED, "exclude_from_parameter_scale": ["bias"]},
    ),
    "own rate": (AdaFactorV2, {"learning_rate": None, "beta2": 0.9}),
}


def main(path):
    results = {}
    for name in CASES + NESTED:
        kind, settings = KINDS[name]
        optimizer = kind(**{"learning_rate": RATE} | settings)
        variables = [tf.Variable(value, name=path) for path, value in weights().items()]
        rows = gradients_of_rows() if name == "lazy" else gradients()
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
