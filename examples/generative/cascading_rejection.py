"""Cascading rejection: a discriminator that has to find one more reason after each that it found.

    python examples/generative/cascading_rejection.py --picture rejection.png

A discriminator's last layer is a product of features v with one vector w: all that decides lies along w, and what else
v knows is not asked. Here what lies along w is taken away (the rejection of v from w), the rest is scored by another
vector, and so on (arXiv 1911.10979):

    v_1 = v,    s_i = v_i . w_i,    v_(i+1) = v_i - (v_i . u_i) u_i,   u_i = w_i / |w_i|

Each score goes into the loss of the GAN, which is their mean. v_(i+1) is orthogonal to w_i, so that each score has to
be earned by other features; a generator has to be right in all of them. It costs a few products.

Measured beside the same GAN (hinge loss, spectral norm) with one score: precision and recall of what is made, and how
much of v the scores can see, as the number of directions that they span. Minutes on two cores.
"""

import sys
from pathlib import Path
from typing import Any

import keras
import numpy as np
from gan import AtMostOne, sampled, train
from keras import ops
from shared_parts import digits, draw, precision_and_recall, run

COUNT = 4


class CascadingRejection(keras.layers.Layer):
    """Features `(B, F)` to `count` scores `(B, count)`, each of what the vectors of those before leave.

    Args:
        count: number of scores.
    """

    built: bool

    def __init__(self, count: int, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.count = count

    def build(self, input_shape: Any) -> None:
        shape, bound = (input_shape[-1], 1), AtMostOne()  # as the one score that it stands beside
        self.kernels = [
            self.add_weight(shape, "glorot_uniform", constraint=bound, name=f"w_{i}") for i in range(self.count)
        ]
        self.built = True

    def parts(self, v: Any) -> list[Any]:
        """v_1 to v_count."""
        found = [v]
        for w in self.kernels[:-1]:
            u = w / ops.sqrt(ops.sum(ops.square(w)) + 1e-12)
            v = v - ops.matmul(ops.matmul(v, u), ops.transpose(u))
            found.append(v)
        return found

    def call(self, v: Any) -> Any:
        return ops.concatenate(
            [ops.matmul(part, w) for part, w in zip(self.parts(v), self.kernels, strict=True)], axis=-1
        )


def directions_seen(critic: keras.Model) -> int:
    """How many directions of the features the scores depend on: the rank of their slopes."""
    head = critic.layers[-1]
    size = head.weights[0].shape[0]
    scores = ops.convert_to_numpy(head(np.eye(size, dtype="float32"))) - ops.convert_to_numpy(
        head(np.zeros((1, size), "float32"))
    )
    return int(np.linalg.matrix_rank(scores, tol=1e-4))


def study(quick: bool, seed: int, picture: Path | None) -> dict[str, Any]:
    """Trains with one score and with several."""
    data, found, rows = digits(), {}, [("data", digits().train)]
    for name, head in (("one score", None), (f"{COUNT} scores", CascadingRejection(COUNT))):
        random = np.random.default_rng(seed)
        generator, critic = train(data.train, "hinge", "spectral", 3 if quick else 2000, random, head)
        made = sampled(generator, len(data.train), random)
        precision, recall = precision_and_recall(data.train, made)
        found[name] = {"precision": precision, "recall": recall, "directions": directions_seen(critic)}
        rows.append((name, made))
    draw(picture, rows)
    return found


def main(arguments: list[str] | None = None) -> int:
    """The command line."""
    return run(study, __doc__, arguments)


if __name__ == "__main__":
    sys.exit(main())
