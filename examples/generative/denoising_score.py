"""From denoising to generating: a network that removes noise knows the slope of the density, and can be walked uphill.

    python examples/generative/denoising_score.py --picture score.png

To data x add noise, y = x + s e with e ~ N(0, I), and let a network guess the noise from y. The best guess of what is
to be taken away is the slope of the log-density of the noisy data (Vincent 2011; kexue.fm/archives/7038):

    argmin_f E |f(y, s) - (x - y) / s^2|^2  =  grad log p_s(y),     p_s = density of y

so that a denoising autoencoder, r(y) = y + s^2 f(y), is a step uphill. Walking uphill with noise samples from the
density (Langevin):  y <- y + h f(y, s) + sqrt(2 h) e. At one small s the walk does not leave the peak it started at,
so that the shares of the peaks stay wrong; starting at a large s, where there is one hill, and lowering s slowly
(annealed, arXiv 1907.05600) gets them right. The loss is weighed by s^2, which makes all levels count alike: |s f +
e|^2.

Shown on a mixture in two dimensions, whose noisy density is a mixture again, with variance v + s^2: the learnt slope
is compared with the true one, and the shares of the samples with the true weights. A minute on two cores.
"""

import sys
from pathlib import Path
from typing import Any

import numpy as np
from keras import ops
from shared_parts import compiled, falling, normal, perceptron, run, step_of

CENTERS = 3 * np.array([[1, 0], [0, 1], [-1, 0], [0, -1]], "float64")
WEIGHTS, VARIANCE = np.array([0.1, 0.2, 0.3, 0.4]), 0.3**2
MOST, LEAST, LEVELS = 4.0, 0.1, 12
"""noise levels, falling in a geometric row"""
SIZE = 128


def drawn(random: np.random.Generator, count: int) -> np.ndarray:
    """Points of the mixture, float32 `(count, 2)`."""
    chosen = random.choice(len(WEIGHTS), count, p=WEIGHTS)
    return (CENTERS[chosen] + VARIANCE**0.5 * random.normal(size=(count, 2))).astype("float32")


def true_score(y: np.ndarray, s: float) -> np.ndarray:
    """grad log p_s of points `(N, 2)`."""
    total = VARIANCE + s * s
    away = CENTERS[None] - y[:, None].astype("float64")
    logs = np.log(WEIGHTS) - (away**2).sum(axis=-1) / (2 * total)
    share = np.exp(logs - logs.max(axis=1, keepdims=True))
    share /= share.sum(axis=1, keepdims=True)
    return (share[..., None] * away).sum(axis=1) / total


def shares(points: np.ndarray) -> np.ndarray:
    """Which share of points is nearest to each center."""
    nearest = ((points[:, None] - CENTERS) ** 2).sum(axis=-1).argmin(axis=1)
    return np.bincount(nearest, minlength=len(CENTERS)) / len(points)


def study(quick: bool, seed: int, picture: Path | None) -> dict[str, Any]:
    """Trains, compares with the true slope, and samples in both ways."""
    random = np.random.default_rng(seed)
    levels = np.geomspace(MOST, LEAST, LEVELS)
    network = perceptron((3, SIZE, SIZE, SIZE, 2))

    def guess(y: Any, s: Any) -> Any:
        """s times the slope: minus the noise, of the size of one at every level."""
        return network(ops.concatenate([y / ops.sqrt(1 + s * s), ops.log(s)], axis=-1))

    def loss(batch: dict[str, Any]) -> Any:
        y = batch["x"] + batch["s"] * batch["noise"]
        return ops.mean(ops.sum(ops.square(guess(y, batch["s"]) + batch["noise"]), axis=-1))

    count, size = (60, 256) if quick else (5000, 512)
    step = step_of([network], [], loss, falling(2e-3, count))
    for _ in range(count):
        s = np.exp(random.uniform(np.log(LEAST), np.log(MOST), (size, 1))).astype("float32")
        step({"x": drawn(random, size), "s": s, "noise": normal(random, size, 2)})
    slope = compiled(lambda y, s: guess(y, s) / s, network)

    def at(points: np.ndarray, s: float) -> np.ndarray:
        return slope(points.astype("float32"), np.full((len(points), 1), s, "float32"))

    errors = {}
    for s in levels[[0, 4, 8, 11]]:
        points = drawn(random, 4000) + s * normal(random, 4000, 2)
        true = true_score(points, s)
        errors[f"{s:.2f}"] = float(((at(points, s) - true) ** 2).sum() / (true**2).sum()) ** 0.5

    start = MOST * normal(random, 200 if quick else 2000, 2)
    stuck = walk(start, at, [LEAST], 20 if quick else 60 * LEVELS, random)
    annealed = walk(start, at, levels, 3 if quick else 60, random)
    if picture is not None:
        draw(picture, drawn(random, 2000), stuck, annealed)
    return {
        "relative error of the slope": errors,
        "true shares": WEIGHTS.tolist(),
        "langevin": shares(stuck).tolist(),
        "langevin off": float(np.abs(shares(stuck) - WEIGHTS).sum() / 2),
        "annealed": shares(annealed).tolist(),
        "annealed off": float(np.abs(shares(annealed) - WEIGHTS).sum() / 2),
    }


def walk(points: np.ndarray, slope: Any, levels: Any, steps: int, random: np.random.Generator) -> np.ndarray:
    """Langevin at each level in turn; a step is a tenth of the variance that a peak has there."""
    for s in levels:
        h = 0.1 * (VARIANCE + s * s)
        for _ in range(steps):
            points = points + h * slope(points, s) + (2 * h) ** 0.5 * normal(random, *points.shape)
    return points


def draw(path: Path, data: np.ndarray, stuck: np.ndarray, annealed: np.ndarray) -> None:
    """Data and both samples."""
    from matplotlib.figure import Figure

    figure = Figure((9, 3))
    for i, (title, points) in enumerate((("data", data), ("Langevin", stuck), ("annealed Langevin", annealed))):
        axes = figure.add_subplot(1, 3, i + 1, aspect="equal")
        axes.plot(*points.T, ".", markersize=1)
        axes.set(xlim=(-6, 6), ylim=(-6, 6))
        axes.set_title(f"{title}: {np.round(shares(points), 2).tolist()}", fontsize=8)
    figure.savefig(path, dpi=110, bbox_inches="tight")


def main(arguments: list[str] | None = None) -> int:
    """The command line."""
    return run(study, __doc__, arguments)


if __name__ == "__main__":
    sys.exit(main())
