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
L_tight is bounded by tanh near the reconstruction error, lest it run away. The identity and a constant are what a
broken training ends in: `verdict` measures that neither would pass (the identity makes no digits, a constant only
one). Minutes on two cores.
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
    frozen,
    normal,
    perceptron,
    precision_and_recall,
    run,
    step_of,
)

SIZE, BATCH, NARROW = 256, 128, 32
IDEMPOTENCE, TIGHTNESS, BOUND = 1.0, 0.1, 1.5
"""weights of the losses against that of the reconstruction, and how many times that the tightness may be"""
PASSES = {"reconstruction": 0.9, "idempotence": 0.9, "precision": 0.3, "recall": 0.3}
"""what a generative network has to reach"""


def verdict(f: Callable[[np.ndarray], np.ndarray], data: Any, random: np.random.Generator) -> dict[str, Any]:
    """The measures of a network, and whether it passes.

    `reconstruction`: correlation of held-out digits with f(x). `idempotence`: 1 - |f(f(z)) - f(z)| / |f(z) - z|, how
    much of the way is gone in the first step. `precision`, `recall`: of f(z) among the digits.
    """
    z = normal(random, len(data.train), 64)
    once = f(z)
    twice = f(once)
    moved = np.linalg.norm(once - z, axis=1).mean()
    precision, recall = precision_and_recall(data.train, once)
    found = {
        "reconstruction": correlation(data.held_out, f(data.held_out)),
        "idempotence": float(1 - np.linalg.norm(twice - once, axis=1).mean() / moved) if moved > 1e-6 else 0.0,
        "precision": precision,
        "recall": recall,
    }
    return found | {"passes": all(found[name] >= least for name, least in PASSES.items())}


def study(quick: bool, seed: int, picture: Path | None) -> dict[str, Any]:
    """Trains, and judges f beside the identity and a constant."""
    data, random = digits(), np.random.default_rng(seed)
    network = perceptron((64, SIZE, SIZE, NARROW, SIZE, SIZE, 64), "tanh")

    def distance(a: Any, b: Any) -> Any:
        return ops.mean(ops.abs(a - b), axis=-1)

    def loss(batch: dict[str, Any]) -> Any:
        made = network(batch["z"])
        rebuilt = distance(network(batch["x"]), batch["x"])
        idempotent = distance(frozen(network, made), made)
        held = ops.stop_gradient(made)
        tight = distance(network(held), held)
        most = BOUND * ops.stop_gradient(ops.mean(rebuilt)) + 1e-6
        tight = ops.tanh(tight / most) * most
        return ops.mean(rebuilt + IDEMPOTENCE * idempotent - TIGHTNESS * tight)

    step = step_of([network], [], loss, 1e-4, 0.5)
    for x in batches(data.train, BATCH, 20 if quick else 6000, random):
        step({"x": x, "z": normal(random, BATCH, 64)})
    f = compiled(network, network)
    z = normal(random, 12, 64)
    draw(picture, [("held out", data.held_out), ("f(x)", f(data.held_out)), ("f(z)", f(z)), ("f(f(z))", f(f(z)))])
    mean = data.train.mean(axis=0, keepdims=True)
    return {
        "ign": verdict(f, data, random),
        "identity": verdict(lambda x: x, data, random),
        "constant": verdict(lambda x: np.repeat(mean, len(x), axis=0), data, random),
    }


def main(arguments: list[str] | None = None) -> int:
    """The command line."""
    return run(study, __doc__, arguments)


if __name__ == "__main__":
    sys.exit(main())
