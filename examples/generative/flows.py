"""Flows in two dimensions: what each family learns of a density that is known, and of one that hangs together badly.

    python examples/generative/flows.py --picture flows.png

A flow is an invertible map f with a determinant that is cheap, and gives data the density (arXiv 1410.8516, 1605.08803,
1807.03039, 1811.00995; kexue.fm/archives/5776, 5807 and 6482)

    log p(x) = log N(f(x); 0, I) + log |det df/dx|,    trained by raising it

The families of nlptasks/generative are trained on two sets of points. The banana is normal noise bent by x2 <- x2 +
x1^2 - 1, which keeps volume, so that its density is known and the divergence KL(truth | flow) is measured, in nats: 0
is perfect, and additive couplings could be. The two moons are two pieces, which a map that can be undone has to join
by a thread. Measured on held-out points; the way back is compared with the points. Minutes on two cores.
"""

import sys
from pathlib import Path
from typing import Any

import numpy as np
from shared_parts import compiled, falling, run, step_of

from nlptasks.generative.flow import KINDS, make_flow

BLOCKS, SIZE, BATCH = 6, 48, 256


def banana(random: np.random.Generator, count: int) -> np.ndarray:
    """Bent noise, float32 `(count, 2)`."""
    z = random.normal(size=(count, 2))
    return np.stack([z[:, 0], z[:, 1] + z[:, 0] ** 2 - 1], axis=1).astype("float32")


def log_density_of_banana(x: np.ndarray) -> np.ndarray:
    """log p of points `(N, 2)`: that of the noise, since bending keeps volume."""
    x = x.astype("float64")
    z = np.stack([x[:, 0], x[:, 1] - x[:, 0] ** 2 + 1], axis=1)
    return -(z**2).sum(axis=1) / 2 - np.log(2 * np.pi)


def moons(random: np.random.Generator, count: int) -> np.ndarray:
    """Two half circles with noise, float32 `(count, 2)`."""
    angle, upper = np.pi * random.random(count), random.random(count) < 0.5
    x = np.stack([np.cos(angle), np.sin(angle)], axis=1)
    x = np.where(upper[:, None], x, [1, 0.5] - x)
    return (2 * (x - [0.5, 0.25]) + random.normal(0, 0.15, (count, 2))).astype("float32")


def trained(kind: str, draw_points: Any, steps: int, seed: int) -> Any:
    """A flow of a family, after so many steps."""
    random = np.random.default_rng(seed)
    flow = make_flow(kind, 2, BLOCKS, (SIZE, SIZE), seed)
    flow.initialize(draw_points(random, 1000))
    step = step_of([flow], [], lambda batch: flow.loss_of(batch["x"]), falling(2e-3, steps))
    for _ in range(steps):
        step({"x": draw_points(random, BATCH)})
    return flow


def learnt(flow: Any) -> tuple[Any, Any]:
    """log p of points, and points carried to noise and back."""
    return compiled(lambda x: flow.log_prob(x), flow), compiled(lambda x: flow.inverse(flow(x)[0]), flow)


def study(quick: bool, seed: int, picture: Path | None) -> dict[str, Any]:
    """Trains each family on both sets."""
    found: dict[str, Any] = {}
    drawn = []
    kinds = KINDS[:2] if quick else KINDS
    for kind in kinds:
        for name, draw_points in (("banana", banana), ("moons", moons)):
            flow = trained(kind, draw_points, 3 if quick else 2000, seed)
            points = draw_points(np.random.default_rng(seed + 1), 4000)
            density, back = learnt(flow)
            scores = {
                "nats": -float(density(points).mean()),
                "way back off": float(np.abs(back(points) - points).max()),
            }
            if name == "banana":
                scores["divergence"] = float((log_density_of_banana(points) - density(points)).mean())
            found[f"{kind}, {name}"] = scores
            drawn.append((f"{kind}, {name}", density))
    if picture is not None:
        draw(picture, drawn)
    return found


def draw(path: Path, densities: list[tuple[str, Any]]) -> None:
    """The learnt densities."""
    from matplotlib.figure import Figure

    side = np.linspace(-3.5, 3.5, 120)
    grid = np.stack(np.meshgrid(side, side), axis=-1).reshape(-1, 2).astype("float32")
    figure = Figure((2.4 * len(densities) / 2, 5))
    for i, (title, density) in enumerate(densities):
        axes = figure.add_subplot(2, len(densities) // 2, 1 + i // 2 + (i % 2) * (len(densities) // 2))
        axes.imshow(np.exp(density(grid)).reshape(120, 120), origin="lower", extent=(-3.5, 3.5, -3.5, 3.5))
        axes.set_title(title, fontsize=8)
        axes.axis("off")
    figure.savefig(path, dpi=110, bbox_inches="tight")


def main(arguments: list[str] | None = None) -> int:
    """The command line."""
    return run(study, __doc__, arguments)


if __name__ == "__main__":
    sys.exit(main())
