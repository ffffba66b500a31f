"""Draw colored shapes, describe them in Chinese, and write captions and features: what a caption is learned from.

    python data/make_shapes.py --count 4000 --seed 1 --split train --output runs/shapes_train
    python data/make_shapes.py --count 500 --seed 1 --split test --output runs/shapes_test

writes `shapes_train.tsv` (a caption a line, under the heading `text`) and `shapes_train.npy` (a row of numbers for each
picture: its colors in a grid of 12 x 12). A picture has one shape, or one on the left and one on the right, of any size
and a little off their places, on a bright ground with noise. Some pairs of a color and a shape (`HELD_OUT`) never occur
in training; each test picture has one of them. `--show N` prints the first pictures as text. The same arguments give
the same bytes.
"""

import argparse
import sys
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).parent.parent))
from nlptasks.files import atomic_path, write_text

SIDE, GRID = 24, 12
COLORS = {
    "红色": (0.9, 0.1, 0.1),
    "黄色": (0.95, 0.85, 0.1),
    "蓝色": (0.1, 0.2, 0.9),
    "绿色": (0.1, 0.7, 0.2),
    "紫色": (0.55, 0.1, 0.7),
    "黑色": (0.05, 0.05, 0.05),
}
SHAPES = ("圆形", "正方形", "三角形", "十字形")
HELD_OUT = {
    ("红色", "三角形"),
    ("黄色", "正方形"),
    ("蓝色", "圆形"),
    ("绿色", "十字形"),
    ("紫色", "正方形"),
    ("黑色", "三角形"),
}
PAIRS = [(color, shape) for color in COLORS for shape in SHAPES]
SPLITS = ("train", "valid", "test")
GROUND, NOISE = 0.9, 0.03


def mask_of(shape: str, row: float, column: float, radius: float) -> np.ndarray:
    """The pixels of a shape, bool (SIDE, SIDE)."""
    y, x = np.mgrid[:SIDE, :SIDE] - np.array([row, column])[:, None, None]
    if shape == "圆形":
        return x**2 + y**2 <= radius**2
    if shape == "正方形":
        return np.maximum(abs(x), abs(y)) <= 0.85 * radius
    if shape == "三角形":
        return (abs(y) <= radius) & (2 * abs(x) <= y + radius)
    thin = radius / 3
    return (np.minimum(abs(x), abs(y)) <= thin) & (np.maximum(abs(x), abs(y)) <= radius)


def picture(random: np.random.Generator, pairs: list[tuple[str, str]]) -> np.ndarray:
    """The colors of a picture (SIDE, SIDE, 3) in 0 to 1."""
    canvas = np.full((SIDE, SIDE, 3), GROUND)
    columns = [SIDE / 2 - 0.5] if len(pairs) == 1 else [SIDE / 4 - 0.5, 3 * SIDE / 4 - 0.5]
    for (color, shape), column in zip(pairs, columns, strict=True):
        radius = random.uniform(4.0, 5.5)
        row, column = SIDE / 2 + random.uniform(-4, 4), column + random.uniform(-0.5, 0.5)
        canvas[mask_of(shape, row, column, radius)] = COLORS[color]
    return np.clip(canvas + random.normal(0, NOISE, canvas.shape), 0, 1)


def caption(pairs: list[tuple[str, str]]) -> str:
    """What a picture shows."""
    one, *more = (f"{color}的{shape}" for color, shape in pairs)
    return f"左边是{one}，右边是{more[0]}。" if more else f"一个{one}。"


def features(canvas: np.ndarray) -> np.ndarray:
    """The mean colors of a grid, in -1 to 1, float32 (GRID * GRID * 3,)."""
    step = SIDE // GRID
    return (2 * canvas.reshape(GRID, step, GRID, step, 3).mean(axis=(1, 3)) - 1).reshape(-1).astype("float32")


def drawn(count: int, seed: int, split: str) -> tuple[list[str], np.ndarray]:
    """Captions and pictures (count, SIDE, SIDE, 3) of a split."""
    random = np.random.default_rng([seed, SPLITS.index(split)])
    known, held = [pair for pair in PAIRS if pair not in HELD_OUT], sorted(HELD_OUT)
    captions, pictures = [], []
    for _ in range(count):
        pairs = [known[random.integers(len(known))] for _ in range(random.integers(1, 3))]
        if split == "test":
            pairs[random.integers(len(pairs))] = held[random.integers(len(held))]
        captions.append(caption(pairs))
        pictures.append(picture(random, pairs))
    return captions, np.array(pictures)


def shown(canvas: np.ndarray) -> str:
    """A picture as text: the first letter of the nearest color, a dot for the ground."""
    places = np.array([(GROUND,) * 3, *COLORS.values()])
    nearest = ((canvas[::2, :, None] - places) ** 2).sum(axis=-1).argmin(axis=-1)
    return "\n".join("".join(".RYBGPK"[i] for i in row) for row in nearest)


def main() -> None:
    """Writes both files."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--count", type=int, default=4000, help="number of pictures")
    parser.add_argument("--seed", type=int, default=1, help="the same seed draws the same pictures")
    parser.add_argument("--split", choices=SPLITS, default="train", help="held-out pairs are in test pictures only")
    parser.add_argument("--output", type=Path, required=True, help="name of both files, without .tsv and .npy")
    parser.add_argument("--show", type=int, default=0, help="print so many pictures as text")
    options = parser.parse_args()
    captions, pictures = drawn(options.count, options.seed, options.split)
    for text, canvas in list(zip(captions, pictures, strict=True))[: options.show]:
        print(f"{text}\n{shown(canvas)}\n")
    try:
        write_text(options.output.with_suffix(".tsv"), "".join(f"{line}\n" for line in ("text", *captions)))
        with atomic_path(options.output.with_suffix(".npy")) as path, path.open("wb") as file:
            np.save(file, np.array([features(canvas) for canvas in pictures]), allow_pickle=False)
    except (ValueError, OSError) as error:
        parser.error(str(error))


if __name__ == "__main__":
    main()
