"""Draws the picture of docs/keras.md: runs the examples of the page and compares curves with what the cells predict.

python docs/draw_ode.py
"""

import re
from pathlib import Path

import matplotlib
import numpy as np

matplotlib.use("Agg")
from matplotlib import pyplot as plt

PAGE = Path(__file__).parent / "keras.md"


def main() -> None:
    """Writes docs/keras_ode.png."""
    names: dict = {}
    blocks = re.findall(r"^```python\n(.*?)^```$", PAGE.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL)
    for block in blocks[:4]:
        exec(compile(block, str(PAGE), "exec"), names)
    figure, axes = plt.subplots(1, 2, figsize=(9, 3.2))
    cases = (("grown", "growth", "rates", 0.5, ("y",)), ("hunted", "hunt", "shares", 0.2, ("prey", "predator")))
    for axis, (curve, field, parameters, h, labels) in zip(axes, cases, strict=True):
        observed = names[curve]
        predicted = names["path"](names[field], names[parameters], observed[0], h, len(observed) - 1)
        times = h * np.arange(len(observed))
        for i, label in enumerate(labels):
            axis.plot(times, observed[:, i], "o", markersize=3, color=f"C{i}", label=label)
            axis.plot(times, predicted[:, i], color=f"C{i}")
        axis.set_xlabel("time")
        axis.set_title(", ".join(f"{value:.3f}" for value in names[parameters]))
        axis.legend()
    figure.tight_layout()
    figure.savefig(PAGE.with_name("keras_ode.png"), dpi=70)


if __name__ == "__main__":
    main()
