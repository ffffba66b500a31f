"""IGN, idempotent generative networks: one network that projects noise onto the data, and the data onto themselves.

    python examples/generative/ign.py --picture ign.png

A projection applied twice does what it does once. Train one network f, from pictures to pictures, such that (arXiv
2311.01462)

    reconstruction   f(x) = x          data are where nothing moves
    idempotence      f(f(z)) = f(z)    noise goes in one step to where nothing moves
    tightness        of all places where nothing moves, keep no more than the data need

The first two are fulfilled by the identity. The third forbids it: it makes |f(y) - y| large for y = f(z), what a
trained f would let stay. Both speak of f(f(z)) and pull in opposite directions, so that it matters which of the two f
is changed:

    L_idem  = |F(f(z)) - f(z)|      the outer F is held: f(z) moves to where F leaves things as they are
    L_tight = -|f(F(z)) - F(z)|     the inner F is held: the outer f is told to move what it makes

which is a GAN whose discriminator is |f(y) - y|: low for data, high for what is made, and the generator lowers it.
L_tight is bounded by tanh near the reconstruction error, lest it run away. The noise has the mean and covariance of
the data. The identity and a constant are what a broken training ends in: `verdict` measures that neither would pass
(the identity makes no digits, a constant only one), nor would the best flat projections, on principal components.
Minutes on two cores.
"""

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from keras import ops
from shared_parts import (
    batches,
    compiled,
    correlation,
    digits,
    draw,
    falling,
    frozen,
    normal,
    perceptron,
    precision_and_recall,
    run,
    step_of,
)

SIZE, BATCH, NARROW, STEPS, RATE = 256, 64, 16, 4000, 5e-4
IDEMPOTENCE, TIGHTNESS, BOUND = 0.5, 0.2, 1.5
"""weights of the losses against that of the reconstruction, and how many times that the tightness may be"""
ALONE = 0.3
"""share of the steps in which both rise from 0: before data can be rebuilt, a constant is the next place to rest"""
PASSES = {"reconstruction": 0.9, "idempotence": 0.95, "precision": 0.5, "recall": 0.4}
"""what a generative network has to reach; no flat projection has both of the last"""
COMPONENTS = (8, 12, 16, 24)
"""of flat projections"""


def noise_like(pictures: np.ndarray) -> Callable[[np.random.Generator, int], np.ndarray]:
    """Draws normal noise with the mean and covariance of pictures, float32 `(count, 64)`."""
    mean, covariance = pictures.mean(axis=0), np.cov(pictures, rowvar=False)
    values, directions = np.linalg.eigh(covariance)
    root = directions * np.sqrt(np.maximum(values, 0))
    return lambda random, count: (mean + normal(random, count, len(mean)) @ root.T).astype("float32")


def flat(pictures: np.ndarray, components: int) -> Callable[[np.ndarray], np.ndarray]:
    """The projection onto the principal components of pictures: idempotent, and nothing but linear."""
    mean = pictures.mean(axis=0)
    directions = np.linalg.eigh(np.cov(pictures, rowvar=False))[1][:, -components:]
    return lambda x: (mean + (x - mean) @ directions @ directions.T).astype("float32")


def verdict(f: Callable[[np.ndarray], np.ndarray], data: Any, random: np.random.Generator) -> dict[str, Any]:
    """The measures of a network, and whether it passes.

    `reconstruction`: correlation of held-out digits x with f(x). `idempotence`: of f(z) with f(f(z)). `precision`,
    `recall`: of f(z) among the digits.
    """
    once = f(noise_like(data.train)(random, len(data.train)))
    precision, recall = precision_and_recall(data.train, once)
    found = {
        "reconstruction": correlation(data.held_out, f(data.held_out)),
        "idempotence": correlation(once, f(once)),
        "precision": precision,
        "recall": recall,
    }
    return found | {"passes": all(found[name] >= least for name, least in PASSES.items())}


def study(quick: bool, seed: int, picture: Path | None) -> dict[str, Any]:
    """Trains, and judges f beside the identity and a constant."""
    data, random = digits(), np.random.default_rng(seed)
    network = perceptron((64, SIZE, SIZE, NARROW, SIZE, SIZE, 64), "tanh")

    def distance(a: Any, b: Any) -> Any:
        return ops.mean(ops.square(a - b), axis=-1)

    def loss(batch: dict[str, Any]) -> Any:
        made = network(batch["z"])
        rebuilt = distance(network(batch["x"]), batch["x"])
        idempotent = distance(frozen(network, made), made)
        held = ops.stop_gradient(made)
        tight = distance(network(held), held)
        most = BOUND * ops.stop_gradient(ops.mean(rebuilt)) + 1e-6
        tight = ops.tanh(tight / most) * most
        return ops.mean(rebuilt + batch["share"] * (IDEMPOTENCE * idempotent - TIGHTNESS * tight))

    count, noise = 20 if quick else STEPS, noise_like(data.train)
    step = step_of([network], [], loss, falling(RATE, count), 0.5)
    for i, x in enumerate(batches(data.train, BATCH, count, random)):
        share = np.float32(min(1.0, i / (ALONE * count)))
        step({"x": x, "z": noise(random, BATCH), "share": share})
    f = compiled(network, network)
    z = noise(random, 12)
    rows = [("held out", data.held_out), ("f(x)", f(data.held_out)), ("z", z), ("f(z)", f(z)), ("f(f(z))", f(f(z)))]
    draw(picture, rows)
    mean = data.train.mean(axis=0, keepdims=True)
    return {
        "ign": verdict(f, data, random),
        "identity": verdict(lambda x: x, data, random),
        "constant": verdict(lambda x: np.repeat(mean, len(x), axis=0), data, random),
        **{f"{k} components": verdict(flat(data.train, k), data, random) for k in COMPONENTS},
    }


def main(arguments: list[str] | None = None) -> int:
    """The command line."""
    return run(study, __doc__, arguments)


if __name__ == "__main__":
    sys.exit(main())
