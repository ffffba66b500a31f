"""Dirac-GAN: which losses and optimizers of a GAN go round in circles, and which arrive.

    python examples/generative/dirac_gan.py --picture dirac_gan.png

The smallest GAN there is (arXiv 1801.04406): all data are the number 0, the generator makes the number a, and the
discriminator is D(x) = b x. It is at rest in a = b = 0 alone. With the loss f the two of them follow

    a' = -f'(a b) b          generator: down the value        f(t) = t: WGAN;  f(t) = -log(1 + exp(-t)): the first GAN
    b' =  f'(a b) a - r(b)   discriminator: up the value; r is the gradient of its regularizer

Without a regularizer a a' + b b' = 0: a^2 + b^2 never changes, for any loss. **A GAN in continuous time neither
arrives nor leaves; it orbits.** Everything else is what a step adds (kexue.fm/archives/6583 looks at training in this
way):

    simultaneous steps h    multiply the radius by sqrt(1 + h^2) each: they leave       ((1, -h), (h, 1))
    one after the other     keep a^2 + b^2 - h a b: they orbit on an ellipse            ((1, -h), (h, 1 - h^2))
    extragradient           sqrt(1 - h^2 + h^4) < 1: it arrives                         ((1 - h^2, -h), (h, 1 - h^2))
    penalty k b^2 / 2       (gradient penalty at 0, R1) r(b) = k b: arrives like a damped oscillator
    WGAN-div k |b|^p        r(b) = k p b |b|^(p-2), p = 6: no linear friction at b = 0: arrives ever more slowly
    WGAN-GP k (|b|-1)^2     r(b) = 2 k (|b| - 1) sign b: pushes b away from 0, so that data are no place to rest; with
                            k at least 1 it rests beside them, in a = -2 k or 2 k with b = 0, else nowhere

For f(t) = t each of the linear ones is a matrix, whose powers are the closed form: the trajectories below are stepped
as a GAN is trained and compared with it. NumPy alone; runs in a second.
"""

import argparse
import json
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np

START = (1.0, 0.0)
"""a and b at first"""


def slope(loss: str) -> Callable[[float], float]:
    """f' of a loss."""
    return {"wgan": lambda t: 1.0, "gan": lambda t: 1 / (1 + np.exp(t))}[loss]


def friction(regularizer: str, k: float) -> Callable[[float], float]:
    """r(b), the gradient of a regularizer of the discriminator."""
    return {
        "none": lambda b: 0.0,
        "r1": lambda b: k * b,
        "div": lambda b: 6 * k * b * abs(b) ** 4,
        "gp": lambda b: 2 * k * (abs(b) - 1) * np.sign(b or 1.0),
    }[regularizer]


def trajectory(
    steps: int, h: float, how: str = "simultaneous", loss: str = "wgan", regularizer: str = "none", k: float = 1.0
) -> np.ndarray:
    """a and b after each step, `(steps + 1, 2)`.

    Args:
        h: the learning rate.
        how: "simultaneous", "alternating" or "extragradient".
        loss: "wgan" or "gan".
        regularizer, k: "none", "r1", "div" or "gp", and its weight.
    """
    f, r = slope(loss), friction(regularizer, k)
    a, b = START
    found = [(a, b)]
    for _ in range(steps):
        if how == "extragradient":  # looks a step ahead, and goes from here as it would from there
            ahead_a, ahead_b = a - h * f(a * b) * b, b + h * (f(a * b) * a - r(b))
            p, q = ahead_a, ahead_b
        else:
            p, q = a, b
        new_a = a - h * f(p * q) * q
        if how == "alternating":
            p = new_a
        a, b = new_a, b + h * (f(p * q) * p - r(q))
        found.append((a, b))
    return np.array(found)


def matrix(h: float, how: str, k: float = 0.0) -> np.ndarray:
    """The step of a WGAN with friction k b, as a matrix."""
    if how == "alternating":
        return np.array([[1, -h], [h, 1 - h * h - h * k]])
    field = np.array([[0, -1], [1, -k]])
    if how == "extragradient":
        return np.eye(2) + h * field @ (np.eye(2) + h * field)
    return np.eye(2) + h * field


def closed_form(steps: int, h: float, how: str, k: float = 0.0) -> np.ndarray:
    """a and b after each step by the powers of the matrix, from its eigenvalues."""
    values, vectors = np.linalg.eig(matrix(h, how, k).astype("complex128"))
    start = np.linalg.solve(vectors, np.array(START))
    powers = values[None] ** np.arange(steps + 1)[:, None]
    return ((powers * start) @ vectors.T).real


def continuous(times: np.ndarray, k: float = 0.0) -> np.ndarray:
    """a and b in continuous time from (1, 0): with friction k < 2 a damped oscillator.

    a'' + k a' + a = 0 with a' = -b: a = e^(-k t / 2) (cos wt + k / (2w) sin wt), b = e^(-k t / 2) sin wt / w.
    """
    w = (1 - k * k / 4) ** 0.5
    fall, wt = np.exp(-k * times / 2), w * times
    return np.stack([fall * (np.cos(wt) + k / (2 * w) * np.sin(wt)), fall * np.sin(wt) / w], axis=1)


def study(steps: int = 400, h: float = 0.1) -> dict[str, dict[str, float]]:
    """For each way to train: how far the end is from rest, and how far the steps are from the closed form."""
    found = {}
    for name, how, k in (
        ("simultaneous", "simultaneous", 0.0),
        ("alternating", "alternating", 0.0),
        ("extragradient", "extragradient", 0.0),
        ("simultaneous, R1", "simultaneous", 0.5),
        ("alternating, R1", "alternating", 0.5),
    ):
        path = trajectory(steps, h, how, regularizer="r1" if k else "none", k=k)
        off = np.abs(path - closed_form(steps, h, how, k)).max() / np.abs(path).max()
        found[name] = {"radius": float(np.hypot(*path[-1])), "off": float(off)}
    for name, more in (
        ("alternating, first GAN", {"loss": "gan"}),
        ("alternating, WGAN-div", {"regularizer": "div", "k": 1.0}),
        ("alternating, WGAN-GP", {"regularizer": "gp", "k": 1.0}),
    ):
        path = trajectory(steps, h, "alternating", **more)
        found[name] = {"radius": float(np.hypot(*path[-1]))}
    return found


def draw(path: Path, steps: int = 300, h: float = 0.1) -> None:
    """The trajectories, and what theory says of them in dots."""
    from matplotlib.figure import Figure

    figure = Figure((10, 6.4))
    cases = (
        ("simultaneous: leaves", {"how": "simultaneous"}, 0.0),
        ("alternating: orbits", {"how": "alternating"}, 0.0),
        ("extragradient: arrives", {"how": "extragradient"}, 0.0),
        ("R1, k = 0.5: arrives", {"how": "alternating", "regularizer": "r1", "k": 0.5}, 0.5),
        ("WGAN-div, p = 6: slower and slower", {"how": "alternating", "regularizer": "div"}, None),
        ("WGAN-GP, k = 1: rests in a = -2", {"how": "alternating", "regularizer": "gp"}, None),
    )
    for i, (title, settings, k) in enumerate(cases):
        axes = figure.add_subplot(2, 3, i + 1)
        stepped = trajectory(steps, h, **settings)
        axes.plot(*stepped.T, linewidth=0.8)
        if k is not None:
            axes.plot(*closed_form(steps, h, settings["how"], k)[::9].T, ".", markersize=3)
        axes.plot(0, 0, "+", color="black")
        axes.set_title(title, fontsize=9)
        axes.set_aspect("equal", "datalim")
    figure.tight_layout()
    figure.savefig(path, dpi=90)


def main(arguments: list[str] | None = None) -> int:
    """Prints the table as JSON on the last line, and draws."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="fewer steps")
    parser.add_argument("--picture", type=Path, help="file of the picture (.png)")
    options = parser.parse_args(arguments)
    found = study(100 if options.quick else 400)
    for name, values in found.items():
        print(f"{name:28}" + "  ".join(f"{key} {value:.3g}" for key, value in values.items()))
    if options.picture is not None:
        draw(options.picture)
    print(json.dumps(found))
    return 0


if __name__ == "__main__":
    sys.exit(main())
