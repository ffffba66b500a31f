"""The picture of a training run."""

from collections.abc import Mapping, Sequence
from pathlib import Path

from nlptasks.files import atomic_path

NO_SCORES = ("epoch", "loss", "training_seconds")

Line = tuple[Sequence[float], Sequence[float], str]
"""x values, y values, and matplotlib's style"""


def draw_curve(history: Sequence[dict], path: str | Path) -> None:
    """Draws loss and validation scores by epoch, as a PNG.

    Args:
        history: a dict for each epoch: `epoch`, `loss`, and the scores by name.
    """
    epochs = [row["epoch"] for row in history]
    names = [name for name in history[-1] if name not in NO_SCORES]
    scores: dict[str, Line] = {name: (epochs, [row[name] for row in history], "o-") for name in names}
    loss: dict[str, Line] = {"": (epochs, [row["loss"] for row in history], "o-")}
    draw_panels({"training loss": loss, "validation": scores}, "epoch", path)


def draw_panels(panels: Mapping[str, Mapping[str, Line]], along: str, path: str | Path) -> None:
    """Draws panels of lines side by side, as a PNG.

    Args:
        panels: the lines of each panel by its title; in a panel, the lines by their label (empty: no legend).
        along: the label of the x axis, such as "epoch".
    """
    from matplotlib.figure import Figure  # without pyplot, which keeps figures and chooses a window system

    figure = Figure(figsize=(4.5 * len(panels), 3.4))
    axes = figure.subplots(1, len(panels), squeeze=False)[0]
    for axis, (title, lines) in zip(axes, panels.items(), strict=True):
        for label, (x, y, style) in lines.items():
            axis.plot(x, y, style, label=label, markersize=4)
        axis.set(title=title, xlabel=along)
        if any(lines):
            axis.legend()
    figure.subplots_adjust(left=0.07, right=0.98, bottom=0.15, top=0.9, wspace=0.18)
    with atomic_path(path) as temporary:
        figure.savefig(temporary, format="png", dpi=120)
