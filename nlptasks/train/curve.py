"""The picture of a run."""

from collections.abc import Sequence
from pathlib import Path

from nlptasks.files import atomic_path

NO_SCORES = ("epoch", "loss", "training_seconds")


def draw_curve(history: Sequence[dict], path: str | Path) -> None:
    """Loss and validation scores by epoch, as a PNG.

    Args:
        history: a row an epoch: `epoch`, `loss`, and the scores by name.
    """
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    figure, (left, right) = pyplot.subplots(1, 2, figsize=(9, 3.4), layout="constrained")
    epochs = [row["epoch"] for row in history]
    left.plot(epochs, [row["loss"] for row in history], marker="o")
    left.set(title="training loss", xlabel="epoch")
    for name in history[-1]:
        if name not in NO_SCORES:
            right.plot(epochs, [row[name] for row in history], marker="o", label=name)
    right.set(title="validation", xlabel="epoch")
    right.legend()
    with atomic_path(path) as temporary:
        figure.savefig(temporary, dpi=120)
    pyplot.close(figure)
