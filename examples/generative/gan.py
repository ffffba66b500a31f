"""A GAN whose loss and regularizer are parts to choose: a DCGAN-sized pair on 8 x 8 digits.

    python examples/generative/gan.py --picture gan.png                     # one after the other
    python examples/generative/gan.py --loss hinge --regularizer spectral

The discriminator D learns to score data above what is made, the generator G to be scored as data (arXiv 1406.2661;
with convolutions 1511.06434). r = D(x), f = D(G(z)):

    loss    discriminator, min                  generator, min
    gan     softplus(-r) + softplus(f)          softplus(-f)
    hinge   relu(1 - r) + relu(1 + f)           -f                  (arXiv 1705.02894)
    wgan    -r + f                              -f                  (arXiv 1701.07875)

Where data and what is made lie apart, a D without a bound is right everywhere and G gets no slope to follow; each
regularizer bounds how steep D is:

    gp        10 (|grad D(m)| - 1)^2 at points m between x and G(z)      (arXiv 1704.00028)
    div       2 |grad D(m)|^6: no number that the slope has to be        (WGAN-div, arXiv 1712.01026)
    r1        |grad D(x)|^2 at data                                      (arXiv 1801.04406)
    qp        (r - f)^2 / (20 mean |x - G(z)|): no gradient of a gradient (GAN-QP, arXiv 1811.07296)
    spectral  every kernel's norm at most 1                              (arXiv 1802.05957; here by `spectral_bound`)

Measured: precision and recall of what is made (arXiv 1904.06991). dirac_gan.py says why each converges or not.
Minutes.
"""

import argparse
import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import keras
import numpy as np
from keras import ops
from shared_parts import SIDE, batches, compiled, digits, draw, falling, normal, precision_and_recall, step_of

from nlptasks.backend import value_and_gradient
from nlptasks.generative.residual import spectral_bound
from nlptasks.train.run import start_run

Z, WIDTH, BATCH, RATE = 16, 24, 64, 1e-3
LOSSES: dict[str, tuple[Callable, Callable]] = {
    "gan": (lambda r, f: ops.softplus(-r) + ops.softplus(f), lambda f: ops.softplus(-f)),
    "hinge": (lambda r, f: ops.relu(1 - r) + ops.relu(1 + f), lambda f: -f),
    "wgan": (lambda r, f: f - r, lambda f: -f),
}
REGULARIZERS = ("none", "gp", "div", "r1", "qp", "spectral")
CASES = (("gan", "r1"), ("hinge", "spectral"), ("wgan", "gp"), ("wgan", "div"), ("wgan", "qp"))


class AtMostOne(keras.constraints.Constraint):
    """Kernels whose spectral norm, as matrices with the outputs as columns, is at most 1 after each step."""

    def __call__(self, w: Any) -> Any:
        return w / ops.maximum(1.0, spectral_bound(ops.reshape(ops.convert_to_tensor(w), (-1, w.shape[-1]))))


def generator_of() -> keras.Sequential:
    """Noise `(B, 16)` to pictures `(B, 64)`."""
    layers = keras.layers
    network = keras.Sequential(
        [
            layers.Dense(4 * WIDTH, "leaky_relu"),
            layers.Reshape((2, 2, WIDTH)),
            layers.Conv2DTranspose(WIDTH, 4, 2, "same", activation="leaky_relu"),
            layers.Conv2DTranspose(WIDTH // 2, 4, 2, "same", activation="leaky_relu"),
            layers.Conv2D(1, 3, padding="same", activation="tanh"),
            layers.Reshape((SIDE * SIDE,)),
        ],
        name="generator",
    )
    network.build((None, Z))
    return network


def critic_of(regularizer: str, head: keras.layers.Layer | None = None) -> keras.Sequential:
    """Pictures to scores `(B, 1)`, or to as many as a head of its own gives."""
    layers = keras.layers
    bound: dict[str, Any] = {"kernel_constraint": AtMostOne()} if regularizer == "spectral" else {}
    network = keras.Sequential(
        [
            layers.Reshape((SIDE, SIDE, 1)),
            layers.Conv2D(WIDTH, 4, 2, "same", activation="leaky_relu", **bound),
            layers.Conv2D(2 * WIDTH, 4, 2, "same", activation="leaky_relu", **bound),
            layers.Flatten(),
            layers.Dense(1, **bound) if head is None else head,
        ],
        name="critic",
    )
    network.build((None, SIDE * SIDE))
    return network


def penalty(critic: keras.Model, regularizer: str, batch: dict[str, Any], made: Any, r: Any, f: Any) -> Any:
    """What a regularizer adds to the discriminator's loss, `(B,)` or a number."""
    x = ops.convert_to_tensor(batch["x"])
    if regularizer == "qp":
        distance = ops.mean(ops.abs(x - made), axis=-1, keepdims=True)
        return ops.square(r - f) / (20 * distance)
    if regularizer in ("gp", "div", "r1"):
        at = x if regularizer == "r1" else batch["between"] * x + (1 - batch["between"]) * made
        slope = value_and_gradient(lambda a: ops.sum(critic(a)), ops.stop_gradient(at))[1]
        squared = ops.sum(ops.square(slope), axis=-1, keepdims=True)
        if regularizer == "gp":
            return 10 * ops.square(ops.sqrt(squared + 1e-12) - 1)
        return 2 * squared**3 if regularizer == "div" else squared
    return 0.0


def train(
    pictures: np.ndarray,
    loss: str,
    regularizer: str,
    steps: int,
    random: np.random.Generator,
    head: keras.layers.Layer | None = None,
) -> tuple[keras.Sequential, keras.Sequential]:
    """Generator and critic after so many steps of each."""
    generator, critic = generator_of(), critic_of(regularizer, head)
    of_critic, of_generator = LOSSES[loss]

    def critic_loss(batch: dict[str, Any]) -> Any:
        made = ops.stop_gradient(generator(batch["z"]))
        r, f = critic(batch["x"]), critic(made)
        return ops.mean(of_critic(r, f) + penalty(critic, regularizer, batch, made, r, f))

    def generator_loss(batch: dict[str, Any]) -> Any:
        return ops.mean(of_generator(critic(generator(batch["z"]))))

    step_d = step_of([critic], [generator], critic_loss, falling(RATE, steps), 0.5)
    step_g = step_of([generator], [critic], generator_loss, falling(RATE, steps), 0.5)
    for x in batches(pictures, BATCH, steps, random):
        between = random.random((BATCH, 1)).astype("float32")
        step_d({"x": x, "z": normal(random, BATCH, Z), "between": between})
        step_g({"z": normal(random, BATCH, Z)})
    return generator, critic


def sampled(generator: keras.Model, count: int, random: np.random.Generator) -> np.ndarray:
    """Pictures of noise."""
    return compiled(generator, generator)(normal(random, count, Z))


def main(arguments: list[str] | None = None) -> int:
    """The command line; prints its numbers as JSON on the last line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--loss", choices=LOSSES)
    parser.add_argument("--regularizer", choices=REGULARIZERS, default="none")
    parser.add_argument("--steps", type=int, default=2000)
    parser.add_argument("--quick", action="store_true", help="a few steps, to see that it runs")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--picture", type=Path, help="file of the picture (.png)")
    options = parser.parse_args(arguments)
    start_run(options.seed)
    data, found, rows = digits(), {}, [("data", digits().train)]
    cases = CASES if options.loss is None else ((options.loss, options.regularizer),)
    for loss, regularizer in cases[:1] if options.quick else cases:
        random = np.random.default_rng(options.seed)
        generator, _ = train(data.train, loss, regularizer, 3 if options.quick else options.steps, random)
        made = sampled(generator, len(data.train), random)
        precision, recall = precision_and_recall(data.train, made)
        found[f"{loss}, {regularizer}"] = {"precision": precision, "recall": recall}
        print(f"{loss:6} {regularizer:9} precision {precision:.3f}  recall {recall:.3f}", flush=True)
        rows.append((f"{loss}, {regularizer}", made))
    draw(options.picture, rows)
    print(json.dumps(found))
    return 0


if __name__ == "__main__":
    sys.exit(main())
