"""The generator of pictures: reproducible, captions that say what is drawn, and pairs that training never sees."""

import re
import subprocess
import sys

import numpy as np
import pytest

from tests.commands.scripts import ROOT, load_script

pytestmark = pytest.mark.once
script = load_script("make_shapes", "data")


def pairs_in(caption):
    return set(re.findall(f"({'|'.join(script.COLORS)})的({'|'.join(script.SHAPES)})", caption))


def test_the_same_arguments_draw_the_same_pictures(tmp_path):
    for name in ("a", "b"):
        command = [sys.executable, ROOT / "data" / "make_shapes.py", "--count", "9", "--output", tmp_path / name]
        done = subprocess.run([*command, "--show", "1"], check=True, capture_output=True, text=True)
    assert (tmp_path / "a.npy").read_bytes() == (tmp_path / "b.npy").read_bytes()
    assert (tmp_path / "a.tsv").read_text(encoding="utf-8") == (tmp_path / "b.tsv").read_text(encoding="utf-8")
    lines = (tmp_path / "a.tsv").read_text(encoding="utf-8").splitlines()
    assert (lines[0], len(lines)) == ("text", 10)
    assert done.stdout.splitlines()[0] == lines[1]
    assert np.load(tmp_path / "a.npy").shape == (9, 432)


def test_held_out_pairs_are_in_every_test_picture_and_in_no_other():
    found = {split: [pairs_in(text) for text in script.drawn(300, 2, split)[0]] for split in script.SPLITS}
    assert all(pairs & script.HELD_OUT for pairs in found["test"])
    assert not any(pairs & script.HELD_OUT for split in ("train", "valid") for pairs in found[split])
    seen = {pair for pairs in found["train"] for pair in pairs}
    assert seen == set(script.PAIRS) - script.HELD_OUT
    assert {color for color, _ in seen} == set(script.COLORS)  # each color and each shape is known by itself
    assert {shape for _, shape in seen} == set(script.SHAPES)


def test_a_picture_shows_what_its_caption_says():
    captions, pictures = script.drawn(60, 5, "train")
    places = np.array(list(script.COLORS.values()))
    for text, canvas in zip(captions, pictures, strict=True):
        colors = re.findall("|".join(script.COLORS), text)
        halves = [canvas] if len(colors) == 1 else [canvas[:, : script.SIDE // 2], canvas[:, script.SIDE // 2 :]]
        for color, half in zip(colors, halves, strict=True):
            pixels = half[half.min(axis=-1) < 0.6]
            nearest = ((pixels[:, None] - places) ** 2).sum(axis=-1).argmin(axis=-1)
            assert list(script.COLORS)[np.bincount(nearest).argmax()] == color
        assert script.features(canvas).min() >= -1
