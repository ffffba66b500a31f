"""The picture of a search: what the chains were worth step by step, and how often their moves were accepted."""

from pathlib import Path

import numpy as np

from nlptasks.rewriting.moves import KINDS
from nlptasks.rewriting.sampler import Run
from nlptasks.train.curve import Line, draw_panels

WINDOWS = 20
"""points of the lines of acceptance"""


def draw_trace(run: Run, chains: int, path: Path) -> None:
    """Draws the first chains of a run, and the shares of accepted moves of all of them, as a PNG.

    Args:
        run: what the chains did.
        chains: how many are drawn.
        path: the file to write.
    """
    steps = len(run.accepted)
    values: dict[str, Line] = {
        f"chain {chain + 1}": (range(steps + 1), run.log_p[:, chain].tolist(), "-") for chain in range(chains)
    }
    edges = np.linspace(0, steps, min(WINDOWS, steps) + 1).astype(int)
    accepted: dict[str, Line] = {}
    for number, kind in enumerate(KINDS):
        points = [
            (0.5 * (start + end), float(run.accepted[start:end][tried].mean()))
            for start, end in zip(edges[:-1].tolist(), edges[1:].tolist(), strict=True)
            if (tried := run.kinds[start:end] == number).any()
        ]
        if points:
            x, y = zip(*points, strict=True)
            accepted[kind] = (x, y, "o-")
    draw_panels({"log probability": values, "share of accepted moves": accepted}, "step", path)
