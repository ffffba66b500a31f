"""O-GAN: the discriminator of a GAN that is an encoder as well, at no cost.

    python examples/generative/o_gan.py --picture o_gan.png

A discriminator computes many features of a picture and ends in one number. Written as D(x) = T(E(x)) with E(x) of as
many numbers as the generator's noise z, all of its work stands in E, and T can be as simple as the mean of the
numbers. Then the rest of E(x), what is left without its mean and its length, is free, and is asked to be z (arXiv
1903.01931, kexue.fm/archives/6409):

    N(v) = (v - mean v) / deviation v,    corr(u, v) = mean(N(u) N(v)),    T(v) = mean v

    discriminator:  min  L_D(T(E(x)), T(E(G(z)))) - w corr(z, E(G(z)))
    generator:      min  L_G(T(E(G(z))))          - w corr(z, E(G(z)))

The mean and the rest are orthogonal, hence the O: the GAN's game is played along one direction of E, the decoding of z
in all others. After training G(N(E(x))) is a reconstruction of x, although no picture was ever compared with one.

E sees every picture with a little noise, and G is fed N(z). Without the noise G could write z in differences that are
too small to be seen, which E would read in what G makes and look for in vain in data.

The game here is GAN-QP (arXiv 1811.07296), which needs no Lipschitz bound: with d = T(E(x)) - T(E(G(z))) and the mean
distance |x - G(z)|,  L_D = -d + d^2 / (2 * 10 |x - G(z)|), L_G = d.

Measured on digits that were held out: the correlation of x and G(N(E(x))), beside that of the nearest class mean, and
of z and E(G(z)). Minutes on two cores.
"""

import sys
from pathlib import Path
from typing import Any

import numpy as np
from keras import ops
from shared_parts import (
    batches,
    class_means,
    compiled,
    correlation,
    digits,
    draw,
    falling,
    normal,
    perceptron,
    precision_and_recall,
    run,
    step_of,
)

Z, SIZE, BATCH, STEPS, RATE = 20, 256, 64, 6000, 5e-4
WEIGHT, NOISE = 5.0, 0.15
"""of the correlation, and on the pictures that E sees"""


def normalized(v: Any) -> Any:
    """Vectors without their mean, at deviation 1."""
    v = v - ops.mean(v, axis=-1, keepdims=True)
    return v / ops.sqrt(ops.mean(ops.square(v), axis=-1, keepdims=True) + 1e-8)


def study(quick: bool, seed: int, picture: Path | None) -> dict[str, Any]:
    """Trains, and measures on held-out digits."""
    data, random = digits(), np.random.default_rng(seed)
    generator = perceptron((Z, SIZE, SIZE, 64), "tanh", name="generator")
    encoder = perceptron((64, SIZE, SIZE, Z), name="encoder")

    def parts(batch: dict[str, Any]) -> tuple[Any, Any, Any]:
        """d, the distance of the pictures, and the correlation."""
        z = normalized(batch["z"])
        made = generator(z)
        code = encoder(made + NOISE * batch["of made"])
        d = ops.mean(encoder(batch["x"] + NOISE * batch["of x"]), axis=-1) - ops.mean(code, axis=-1)
        return d, ops.mean(ops.abs(batch["x"] - made), axis=-1), ops.mean(z * normalized(code), axis=-1)

    def loss_of_encoder(batch: dict[str, Any]) -> Any:
        d, distance, follows = parts(batch)
        return ops.mean(-d + ops.square(d) / (20 * ops.stop_gradient(distance)) - WEIGHT * follows)

    def loss_of_generator(batch: dict[str, Any]) -> Any:
        d, _, follows = parts(batch)
        return ops.mean(d - WEIGHT * follows)

    def drawn(x: np.ndarray) -> dict[str, np.ndarray]:
        noise = {name: normal(random, len(x), 64) for name in ("of x", "of made")}
        return {"x": x, "z": normal(random, len(x), Z), **noise}

    count = 20 if quick else STEPS
    step_e = step_of([encoder], [generator], loss_of_encoder, falling(RATE, count), 0.5)
    step_g = step_of([generator], [encoder], loss_of_generator, falling(RATE, count // 2), 0.5)
    for i, x in enumerate(batches(data.train, BATCH, count, random)):
        step_e(drawn(x))
        if i % 2:
            step_g(drawn(x))

    make = compiled(lambda z: generator(normalized(z)), generator)
    rebuild = compiled(lambda x: generator(normalized(encoder(x))), generator, encoder)
    z = normal(random, len(data.train), Z)
    made = make(z)
    precision, recall = precision_and_recall(data.train, made)
    rebuilt = rebuild(data.held_out)
    draw(picture, [("held out", data.held_out), ("G(N(E(x)))", rebuilt), ("G(z)", made)])
    return {
        "reconstruction": correlation(data.held_out, rebuilt),
        "nearest class mean": correlation(data.held_out, class_means(data)),
        "E(G(z)) follows z": correlation(z, compiled(encoder, encoder)(made)),
        "precision": precision,
        "recall": recall,
    }


def main(arguments: list[str] | None = None) -> int:
    """The command line."""
    return run(study, __doc__, arguments)


if __name__ == "__main__":
    sys.exit(main())
