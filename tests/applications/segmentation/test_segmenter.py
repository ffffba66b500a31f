"""The segmenter: nothing of a text is lost, and no text changes another's words."""

import copy
import pickle

import numpy as np
import pytest

import nlptasks
from nlptasks.applications.segmentation import runtime
from nlptasks.applications.segmentation import segmenter as segmentation
from nlptasks.applications.segmentation.dictionary import UserDictionary
from nlptasks.applications.segmentation.segmenter import Segmenter
from nlptasks.applications.segmentation.storage import save_segmenter
from nlptasks.opening import BUNDLED
from tests.applications.segmentation.segmentation_cases import random_parts, random_segmenter, random_texts, sentences

pytestmark = pytest.mark.once


@pytest.mark.parametrize("preset", ["default", "original"])
def test_the_words_of_ten_thousand_texts_make_the_texts_again(rng, preset):
    texts = random_texts(rng, 10_000)
    words = random_segmenter(preset).segment(texts)
    assert ["".join(found) for found in words] == texts
    assert all(word for found in words for word in found)


@pytest.mark.parametrize(
    "text",
    [
        "",
        " ",
        "\n",
        "\r\n",
        "\x00",
        "\ud800",
        "a" * 3000,
        "\u3000\t " * 500,
        "\n" * 1000,
        "👨\u200d👩" * 300,
        "\u0301" * 99,
    ],
)
def test_odd_texts_come_out_whole(text):
    assert "".join(random_segmenter().segment(text)) == text


def test_a_list_is_segmented_as_each_text_alone(rng):
    segmenter, texts = random_segmenter(), [*random_texts(rng, 700), "今天" * 200, "", ""]
    together = segmenter.segment(texts, "second")
    assert together == [segmenter.segment(text, "second") for text in texts]
    order = rng.permutation(len(texts))
    assert segmenter.segment([texts[i] for i in order], "second") == [together[i] for i in order]
    assert segmenter.segment([]) == []


def test_lines_do_not_see_each_other(rng):
    segmenter = random_segmenter()
    lines = [text.replace("\r", "") for text in random_texts(rng, 400)]
    words = [word for line in lines for word in (*segmenter.segment(line), "\n")]
    assert segmenter.segment("\n".join(lines)) == words[:-1]


def test_parts_are_segmented_as_the_whole(rng, monkeypatch):
    segmenter = random_segmenter()
    characters = np.array(list("我们在北京大学读书今天a1，"))
    line = "".join(rng.choice(characters, 3000))
    text = "\n".join([line[:100], line, "", line[:1999], line[500:1700]])
    whole = segmenter.segment(text)
    for chunk, block in ((97, 12), (500, 64), (1024, 2048)):
        monkeypatch.setattr(segmentation, "CHUNK", chunk)
        monkeypatch.setattr(segmentation, "LOOK_AHEAD", 60)
        monkeypatch.setattr(runtime, "BLOCK", block)
        assert segmenter.segment(text) == whole


def test_a_word_longer_than_a_stretch_is_not_cut(monkeypatch):
    monkeypatch.setattr(segmentation, "CHUNK", 50)
    monkeypatch.setattr(segmentation, "LOOK_AHEAD", 10)
    text = "好" + "a" * 1000 + "今天" + " " * 500 + "天"
    words = random_segmenter().segment(text)
    assert "".join(words) == text
    assert "a" * 1000 in words[0] + words[1]
    assert " " * 500 in words


def test_signs_and_white_space_stand_apart():
    words = random_segmenter().segment("今天，天气 很好。\r\n“好”！")
    for apart in ("，", " ", "。", "\r\n", "“", "”", "！"):
        assert apart in words


def test_a_dictionary_word_may_hold_signs_and_spaces():
    segmenter = random_segmenter()
    segmenter.dictionary = UserDictionary({"New York，好": 100.0})
    assert segmenter.segment("在New York，好。") == ["在", "New York，好", "。"]


def test_the_standard_is_a_condition(rng):
    segmenter = random_segmenter()
    text = "".join(rng.choice(list("我们在北京大学读书今天"), 200))
    found = {name: tuple(segmenter.segment(text, name)) for name in segmenter.standards}
    assert len(set(found.values())) == 3
    segmenter.standard = "third"
    assert tuple(segmenter.segment(text)) == found["third"]


def test_cut_and_lcut_are_jiebas(rng):
    segmenter, text = random_segmenter(), "今天我们在北京大学读书。"
    assert segmenter.lcut(text) == list(segmenter.cut(text)) == segmenter.segment(text)
    assert isinstance(segmenter.lcut(text), list)


def test_mistakes_are_named():
    segmenter = random_segmenter()
    with pytest.raises(ValueError, match=r"the standard must be one of first, second, third\. Received: 'ctb'"):
        segmenter.segment("好", "ctb")
    with pytest.raises(TypeError, match=r"segment takes a string or strings\. Received: int"):
        segmenter.segment(["好", 5])
    with pytest.raises(TypeError, match=r"predict takes a list of texts; for one text call segment"):
        segmenter.predict("好")
    with pytest.raises(TypeError, match=r"Received: bytes"):
        segmenter.segment(["好".encode()])


@pytest.mark.parametrize("preset", ["default", "original"])
def test_a_saved_segmenter_segments_alike(tmp_path, rng, preset):
    random_segmenter(preset).save(tmp_path)
    loaded = nlptasks.load(tmp_path)
    assert isinstance(loaded, Segmenter)
    assert loaded.standards == ("first", "second", "third")
    texts = ["".join(words) for words in sentences()]
    again = tmp_path / "again"
    loaded.save(again)  # tables of few bits are the same tables again
    for name in ("config.json", "model.safetensors"):
        assert (again / name).read_bytes() == (tmp_path / name).read_bytes()
    assert nlptasks.load(again).predict(texts) == loaded.segment(texts)
    found, expected = random_segmenter(preset).segment(texts), loaded.segment(texts)
    same = np.mean([a == b for a, b in zip(found, expected, strict=True)])
    assert same > 0.5  # rounding to 8 bits shifts the scores of random weights a little


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda path: (path / "model.safetensors").unlink(), r"model\.safetensors: no such file"),
        (lambda path: (path / "model.safetensors").write_bytes(b"no"), r"model\.safetensors: not a readable"),
        (lambda path: (path / "config.json").write_text("[]"), r"config\.json: expected a JSON object"),
        (
            lambda path: (path / "config.json").write_text('{"nlptasks": {"task": "word_segmentation"}}'),
            r"config\.json: not a segmenter's config",
        ),
        (
            lambda path: (path / "config.json").write_text(
                (path / "config.json").read_text().replace('"unit_size": 7', '"unit_size": 9')
            ),
            r"model\.safetensors: from_units must have the shape \(4, 9, 11\), found \(4, 7, 11\)",
        ),
    ],
)
def test_a_damaged_directory_is_one_line(tmp_path, damage, message):
    save_segmenter(tmp_path, *random_parts())
    damage(tmp_path)
    with pytest.raises((ValueError, FileNotFoundError), match=message):
        nlptasks.load(tmp_path)


def test_a_segmenter_pickles_to_about_the_size_of_its_files():
    segmenter = nlptasks.load("segmenter")
    segmenter.dictionary.add("海燕 手环")
    expected = segmenter.segment("买海燕 手环，5G时代")
    data = pickle.dumps(segmenter)
    stored = sum(path.stat().st_size for path in BUNDLED["segmenter"].iterdir())
    assert len(data) < 1.5 * stored
    again = pickle.loads(data)
    assert again.segment("买海燕 手环，5G时代") == expected
    for name, array in segmenter.runtime.arrays.items():
        assert np.array_equal(again.runtime.arrays[name], array)


def test_weights_that_were_never_rounded_pickle_as_they_are():
    segmenter = random_segmenter()
    again = copy.deepcopy(segmenter)
    for name, array in segmenter.runtime.arrays.items():
        assert np.array_equal(again.runtime.arrays[name], array)
