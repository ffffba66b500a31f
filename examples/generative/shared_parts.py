"""What the studies of this folder share: scikit-learn's digits, networks, steps of several players, measures, pictures.

Legend: N pictures, D numbers of one (8 x 8), B batch.
"""

import argparse
import json
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any, NamedTuple

import keras
import numpy as np
from keras import ops

from nlptasks.backend import compile_function, compile_train_step
from nlptasks.train.run import start_run

SIDE, HELD_OUT = 8, 297


class Digits(NamedTuple):
    """Pictures `(N, 64)`, from -1 to 1, and the digit that each shows; the last 297 are held out."""

    train: np.ndarray
    train_labels: np.ndarray
    held_out: np.ndarray
    held_out_labels: np.ndarray


def digits() -> Digits:
    """The 1,797 digits that scikit-learn ships (UCI, Alpaydin and Kaynak)."""
    try:
        from sklearn.datasets import load_digits
    except ModuleNotFoundError:
        sys.exit("this study shows digits of scikit-learn's, which is not installed: pip install scikit-learn")
    found = load_digits()
    order = np.random.default_rng(0).permutation(len(found.data))
    pictures = (found.data[order] / 8 - 1).astype("float32")
    labels = found.target[order]
    return Digits(pictures[:-HELD_OUT], labels[:-HELD_OUT], pictures[-HELD_OUT:], labels[-HELD_OUT:])


def perceptron(sizes: Sequence[int], last: str | None = None, name: str = "network") -> keras.Sequential:
    """Dense layers with leaky relu between them, built.

    Args:
        sizes: numbers that go in, widths of the layers, numbers that come out.
        last: activation of the last layer.
    """
    layers = [keras.layers.Dense(size, "leaky_relu") for size in sizes[1:-1]]
    network = keras.Sequential([*layers, keras.layers.Dense(sizes[-1], last)], name=name)
    network.build((None, sizes[0]))
    return network


def step_of(
    trained: Sequence[Any], used: Sequence[Any], loss: Callable, rate: Any = 1e-3, momentum: float = 0.9
) -> Callable:
    """A compiled step that changes the weights of some networks and reads those of others.

    Args:
        trained, used: networks.
        loss: of a batch, a dict of arrays.
        rate, momentum: of Adam; the rate may be a schedule.
    """
    player = SimpleNamespace(
        trainable_variables=[v for network in trained for v in network.trainable_variables],
        non_trainable_variables=[v for network in trained for v in network.non_trainable_variables]
        + [v for network in used for v in network.variables],
    )
    return compile_train_step(player, keras.optimizers.Adam(rate, beta_1=momentum), loss)


def falling(rate: float, steps: int) -> Any:
    """A learning rate that falls to 0 along a cosine: what two players do to each other comes to rest at the end."""
    return keras.optimizers.schedules.CosineDecay(rate, steps)


def compiled(function: Callable, *networks: Any) -> Callable[..., np.ndarray]:
    """`function(*arrays)` as a NumPy array; it may read the weights of the networks."""
    run = compile_function(function, SimpleNamespace(variables=[v for network in networks for v in network.variables]))
    return lambda *arrays: ops.convert_to_numpy(run(*arrays))


def frozen(network: keras.Model, x: Any) -> Any:
    """What a network makes of x, with a gradient by x but none by its weights."""
    held = [(variable, ops.stop_gradient(variable.value)) for variable in network.variables]
    with keras.StatelessScope(state_mapping=held):
        return network(x)


def batches(pictures: np.ndarray, size: int, count: int, random: np.random.Generator) -> Iterator[np.ndarray]:
    """As many batches as asked for, each drawn anew."""
    for _ in range(count):
        yield pictures[random.integers(0, len(pictures), size)]


def normal(random: np.random.Generator, *shape: int) -> np.ndarray:
    """Normal noise, float32."""
    return random.normal(0, 1, shape).astype("float32")


# Measures


def correlation(a_ND: np.ndarray, b_ND: np.ndarray) -> float:
    """The mean over rows of the correlation of two rows."""
    a_ND, b_ND = (x - x.mean(axis=1, keepdims=True) for x in (a_ND.astype("float64"), b_ND.astype("float64")))
    lengths = np.linalg.norm(a_ND, axis=1) * np.linalg.norm(b_ND, axis=1)
    return float(((a_ND * b_ND).sum(axis=1) / np.maximum(lengths, 1e-12)).mean())


def distances(a_ND: np.ndarray, b_MD: np.ndarray) -> np.ndarray:
    """Euclidean distances `(N, M)`."""
    squares = (a_ND**2).sum(axis=1)[:, None] + (b_MD**2).sum(axis=1) - 2 * a_ND @ b_MD.T
    return np.sqrt(np.maximum(squares, 0))


def radii(pictures: np.ndarray, neighbor: int = 5) -> np.ndarray:
    """How far the so-many-th nearest other picture of each is."""
    return np.sort(distances(pictures, pictures), axis=1)[:, neighbor]


def precision_and_recall(real: np.ndarray, made: np.ndarray, neighbor: int = 5) -> tuple[float, float]:
    """How many of the made pictures lie among real ones, and how many of the real ones among made ones (arXiv
    1904.06991): within the distance of a picture of the other kind to its so-many-th nearest of its own kind.

    The identity fed with noise has no precision, a constant has no recall.
    """
    between = distances(made, real)
    precision = (between <= radii(real, neighbor)[None]).any(axis=1).mean()
    recall = (between <= radii(made, neighbor)[:, None]).any(axis=0).mean()
    return float(precision), float(recall)


def class_means(data: Digits) -> np.ndarray:
    """For each held-out picture the nearest mean of a class: what a reconstruction has to be better than."""
    means = np.stack([data.train[data.train_labels == digit].mean(axis=0) for digit in range(10)])
    return means[distances(data.held_out, means).argmin(axis=1)]


# What a study is run with


def run(study: Callable[[bool, int, Path | None], dict[str, Any]], about: str, arguments: Sequence[str] | None) -> int:
    """The command line of a study: prints its numbers as JSON on the last line.

    Args:
        study: takes whether to be quick, the seed, and where the picture goes.
    """
    parser = argparse.ArgumentParser(description=about.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="a few steps, to see that it runs")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--picture", type=Path, help="file of the picture (.png)")
    options = parser.parse_args(arguments)
    start_run(options.seed)
    found = study(options.quick, options.seed, options.picture)
    print(json.dumps(found))
    return 0


def draw(path: Path | None, rows: Sequence[tuple[str, np.ndarray]], columns: int = 12) -> None:
    """Rows of pictures, each with its title."""
    if path is None:
        return
    from matplotlib.figure import Figure

    figure = Figure((columns * 0.6, len(rows) * 0.8))
    for i, (title, pictures) in enumerate(rows):
        axes = figure.add_subplot(len(rows), 1, i + 1)
        strip = np.concatenate([picture.reshape(SIDE, SIDE) for picture in pictures[:columns]], axis=1)
        axes.imshow(strip, cmap="gray", vmin=-1, vmax=1)
        axes.set_title(title, fontsize=7, loc="left", pad=2)
        axes.axis("off")
    figure.savefig(path, dpi=110, bbox_inches="tight")
