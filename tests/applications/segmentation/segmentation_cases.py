"""Small segmenters for the tests, with random weights: what must hold for any weights holds for theirs."""

from itertools import pairwise
from pathlib import Path

import numpy as np

from nlptasks.applications.segmentation.config import PRESETS, SegmentationConfig, array_shapes
from nlptasks.applications.segmentation.runtime import Runtime
from nlptasks.applications.segmentation.segmenter import Segmenter
from nlptasks.applications.segmentation.vocab import UnitVocab, build_unit_vocab
from nlptasks.text.segmented import read_segmented
from nlptasks.text.units import code_points, split_units

SAMPLE = Path(__file__).parents[3] / "data" / "segmentation_sample.txt"
SMALL = {"unit_size": 7, "pair_size": 5, "channels": (11, 11, 11)}
# what goes wrong first: white space of all kinds, line ends, marks, joiners, surrogates, full width, flags, controls
PECULIAR = (
    "我们在北京大学读书今天，。！“” \u3000\t\r\n\v\x85\u2028\ufeffabXYａＢ０１29\x00\x1b"
    "\u0301\u200d👨👩🏽🇨🇳\ud800\udfff…—한국ไทย"
)


def sentences() -> list[list[str]]:
    return read_segmented(SAMPLE)


def random_parts(preset="default", seed=0, **fields) -> tuple[SegmentationConfig, UnitVocab, dict[str, np.ndarray]]:
    """Config, vocabulary of the sample, and weights that keep the scores' variance."""
    fields = (SMALL if preset == "default" else {}) | fields
    config = SegmentationConfig(standards=("first", "second", "third"), **PRESETS[preset] | fields)
    units = [split_units(code_points("".join(words))) for words in sentences()]
    vocab = build_unit_vocab(units, 1, 2 if config.pair_size else None)
    random = np.random.default_rng(seed)
    shapes = array_shapes(config, vocab)
    arrays = {name: random.normal(0, shape[-2] ** -0.5, shape) for name, shape in shapes.items() if "bias" not in name}
    arrays |= {name: random.normal(0, 0.3, shape) for name, shape in shapes.items() if "bias" in name}
    arrays |= {name: random.normal(0, 1, shapes[name]) for name in ("unit", "pair") if name in shapes}
    arrays = {name: array.astype("float32") for name, array in arrays.items()}
    ids = np.concatenate([vocab.unit_ids(text) for text in units])
    for standard in range(3):  # no tag is more likely than another, so that words of all lengths come out
        arrays["head_bias"][standard] -= Runtime(config, vocab, arrays).scores(ids, standard).mean(axis=0)
    return config, vocab, arrays


def random_segmenter(preset="default", seed=0, **fields) -> Segmenter:
    return Segmenter(Runtime(*random_parts(preset, seed, **fields)))


def random_texts(random, count, length=24, characters=PECULIAR) -> list[str]:
    """Texts of peculiar and of random characters, some empty."""
    pool = np.array(list(characters))
    texts = []
    for _ in range(count):
        chars = random.choice(pool, random.integers(length))
        codes = random.integers(0, 0x110000, len(chars))
        anywhere = random.random(len(chars)) < 0.2
        texts.append("".join(chr(c) if a else s for c, a, s in zip(codes, anywhere, chars, strict=True)))
    return texts


def spans(words) -> set[tuple[int, int]]:
    ends = np.cumsum([0, *map(len, words)]).tolist()
    return set(pairwise(ends))
