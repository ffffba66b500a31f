"""GLANN: a generator without an adversary, by optimizing the latent vectors themselves, and a map that draws them.

    python examples/generative/glann.py --picture glann.png

Two steps, each a plain minimum (arXiv 1812.08985):

    1. GLO (arXiv 1707.05776)   min over G and z_1 ... z_n of  sum_i |G(z_i) - x_i|^2,  z_i in the unit ball
    2. IMLE (arXiv 1809.09087)  min over T of  sum_i min_j |T(e_j) - z_i|^2,  e_j ~ N(0, I) drawn anew

In the first every picture owns a vector, which is a weight like any other: an autoencoder without an encoder, and
nothing says how the vectors lie. The second maps noise onto them. For each *vector* the nearest drawn one is pulled
towards it, and not the other way around: no vector is left without noise nearby, so that no mode is lost, which a GAN
does not promise. A sample is G(T(e)).

Measured: how well the pictures are rebuilt, those that were held out too (by optimizing a vector for each, G fixed),
and precision and recall of samples beside those of G on a normal distribution fitted to the vectors. A minute on two
cores.
"""

import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import keras
import numpy as np
from keras import ops
from shared_parts import (
    class_means,
    compiled,
    correlation,
    digits,
    distances,
    draw,
    normal,
    perceptron,
    precision_and_recall,
    run,
    step_of,
)

Z, SIZE, BATCH = 16, 256, 250
DRAWN = 6
"""noise vectors drawn for each latent vector"""


def table_of(count: int, random: np.random.Generator) -> Any:
    """A latent vector for each picture."""
    start = (normal(random, count, Z) * Z**-0.5).astype("float32")
    table = keras.Variable(start, name="vectors")
    return SimpleNamespace(table=table, trainable_variables=[table], non_trainable_variables=[], variables=[table])


def in_ball(z: Any) -> Any:
    """Vectors that are at most 1 long."""
    return z / ops.maximum(ops.sqrt(ops.sum(ops.square(z), axis=-1, keepdims=True) + 1e-12), 1.0)


def fitted(pictures: np.ndarray, generator: Any, learn: bool, steps: int, random: np.random.Generator) -> np.ndarray:
    """The vectors of pictures, with the generator learning at the same time, or held."""
    vectors = table_of(len(pictures), random)

    def loss(batch: dict[str, Any]) -> Any:
        z = in_ball(ops.take(vectors.table, batch["rows"], axis=0))
        return ops.mean(ops.sum(ops.square(generator(z) - batch["x"]), axis=-1))

    step = step_of([vectors], [generator], loss, 1e-2)
    learning = step_of([generator], [vectors], loss, 1e-3) if learn else None
    size = min(BATCH, len(pictures))
    for _ in range(steps):
        rows = random.permutation(len(pictures))[:size].astype("int32")
        batch = {"rows": rows, "x": pictures[rows]}
        step(batch)
        if learning is not None:
            learning(batch)
    return compiled(in_ball)(ops.convert_to_numpy(vectors.table))


def mapped(vectors: np.ndarray, rounds: int, random: np.random.Generator) -> Any:
    """The network that maps noise onto the vectors."""
    network = perceptron((Z, SIZE, SIZE, Z), name="map")
    apply = compiled(network, network)
    step = step_of([network], [], lambda b: ops.mean(ops.sum(ops.square(network(b["noise"]) - b["z"]), axis=-1)), 1e-3)
    for _ in range(rounds):
        noise = normal(random, DRAWN * len(vectors), Z)
        nearest = distances(vectors, apply(noise)).argmin(axis=1)
        for rows in np.array_split(random.permutation(len(vectors)), 6):
            step({"noise": noise[nearest[rows]], "z": vectors[rows]})
    return apply


def study(quick: bool, seed: int, picture: Path | None) -> dict[str, Any]:
    """Fits both, and measures."""
    data, random = digits(), np.random.default_rng(seed)
    generator = perceptron((Z, SIZE, SIZE, 64), "tanh", name="generator")
    vectors = fitted(data.train, generator, True, 20 if quick else 3000, random)
    held_out = fitted(data.held_out, generator, False, 20 if quick else 600, random)
    draw_vectors = mapped(vectors, 3 if quick else 150, random)
    make = compiled(generator, generator)
    made = make(draw_vectors(normal(random, len(data.train), Z)))
    gaussian = random.multivariate_normal(vectors.mean(axis=0), np.cov(vectors, rowvar=False), len(data.train))
    plain = make(gaussian.astype("float32"))
    rebuilt = make(held_out)
    draw(picture, [("held out", data.held_out), ("G(z) of them", rebuilt), ("G(T(e))", made), ("G(normal)", plain)])
    names = ("precision", "recall")
    return {
        "reconstruction": correlation(data.train, make(vectors)),
        "reconstruction, held out": correlation(data.held_out, rebuilt),
        "nearest class mean": correlation(data.held_out, class_means(data)),
        "glann": dict(zip(names, precision_and_recall(data.train, made), strict=True)),
        "normal": dict(zip(names, precision_and_recall(data.train, plain), strict=True)),
    }


def main(arguments: list[str] | None = None) -> int:
    """The command line."""
    return run(study, __doc__, arguments)


if __name__ == "__main__":
    sys.exit(main())
