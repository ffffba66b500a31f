"""The segmenter that comes with the package."""

import pytest

import nlptasks
from nlptasks.metrics.segmentation import score_segmentation
from nlptasks.opening import BUNDLED
from nlptasks.text.segmented import read_segmented
from tests.applications.segmentation.segmentation_cases import random_texts, sentences

pytestmark = pytest.mark.once


@pytest.fixture(scope="module")
def segmenter():
    return nlptasks.load("segmenter")


def test_it_is_small_and_has_a_card():
    sizes = {path.name: path.stat().st_size for path in BUNDLED["segmenter"].iterdir()}
    assert sizes.keys() == {"README.md", "config.json", "model.safetensors"}
    assert sum(sizes.values()) < 5_000_000


def test_it_is_saved_byte_for_byte(segmenter, tmp_path):
    segmenter.save(tmp_path)
    for name in ("config.json", "model.safetensors"):
        assert (tmp_path / name).read_bytes() == (BUNDLED["segmenter"] / name).read_bytes()


def test_it_knows_five_standards_and_segments_the_sample(segmenter):
    assert segmenter.standards == ("cnc", "weibo", "sxu", "msr", "pku")
    gold = sentences()
    assert score_segmentation(gold, segmenter.segment(["".join(words) for words in gold]))["f1"] > 0.85
    assert segmenter.segment("今天天气很好。") == ["今天", "天气", "很", "好", "。"]


def test_peculiar_texts_come_out_whole(segmenter, rng):
    texts = random_texts(rng, 3000, 60)
    assert ["".join(words) for words in segmenter.segment(texts, "weibo")] == texts


@pytest.mark.parametrize(
    ("standard", "name", "nth", "limit", "floor"),
    [
        ("cnc", "cnc_dev.txt", 1, 3000, 0.935),
        ("weibo", "nlpcc2016_weibo_train.txt", 10, None, 0.957),
        ("sxu", "sxu_train.txt", 10, None, 0.968),
        ("msr", "msr_part_train.txt", 10, None, 0.949),
        ("pku", "pku_part_train.txt", 10, None, 0.942),
    ],
)
def test_it_scores_what_its_card_says(segmenter, public_data, standard, name, nth, limit, floor):
    gold = read_segmented(public_data / "segmentation" / name)[nth - 1 :: nth][:limit]
    gold = [words for words in gold if "L" not in words]
    found = segmenter.segment(["".join(words) for words in gold], standard)
    assert score_segmentation(gold, found)["f1"] > floor
