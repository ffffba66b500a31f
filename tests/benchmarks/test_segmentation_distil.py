"""The rows that a segmenter is taught on, its forward pass on JAX, and what raw text is left out."""

import sys
from pathlib import Path

import numpy as np
import pytest

sys.path[:0] = [str(Path(__file__).parents[2] / "benchmarks")]

import segmentation_distil as distil  # noqa: E402
from segmentation import FILES  # noqa: E402

from nlptasks.applications.segmentation import runtime as numpy_runtime  # noqa: E402
from nlptasks.applications.segmentation.config import SegmentationConfig, array_shapes  # noqa: E402
from nlptasks.applications.segmentation.runtime import Runtime  # noqa: E402
from nlptasks.applications.segmentation.samples import gold_tags  # noqa: E402
from nlptasks.applications.segmentation.vocab import build_unit_vocab  # noqa: E402
from nlptasks.checkpoints.packing import EIGHT_BITS, FOUR_BITS, pack_rows, unpack_rows  # noqa: E402

SENTENCES = [
    ["修表匠", "在", "山顶", "的", "气象站", "里", "睡着", "了", "。"],
    ["他", "梦见", "2024年", "的", "iPhone", "，", "还有", "一", "条", "会", "唱歌", "的", "鱼", "！"],
    ["海风", "吹", "了", "一", "夜", "。"] * 20,
    ["好", " ", "的"],
]
SPECIAL = ["[PAD]", *(f"[unused{i}]" for i in range(1, 100)), "[UNK]", "[CLS]", "[SEP]", "2024", "iphone"]
VOCAB = {
    token: i
    for i, token in enumerate([*SPECIAL, *"修表匠在山顶的气象站里睡着了。他梦见年，还有一条会唱歌鱼！海风吹夜好"])
}


def layout():
    tokens = distil.UnitTokens(VOCAB)
    texts = [distil.text_of(SENTENCES, tokens), distil.text_of([["".join(words)] for words in SENTENCES], tokens)]
    parts = [(2, "sxu", texts[0]), (distil.RAW, "", texts[1]), (distil.SCORED, "cnc", texts[0])]
    return tokens, distil.lay_out(parts, tokens, multiple=3, seed=5)


def test_every_unit_has_one_place_and_its_tag():
    tokens, found = layout()
    at = found.scored["cnc"]
    gold = [gold_tags(words) for words in SENTENCES]
    np.testing.assert_array_equal(found.tags.flat[at], np.concatenate([tags for _, tags in gold]))
    np.testing.assert_array_equal(found.codes.flat[at], np.concatenate([units.codes for units, _ in gold]))
    for what in (2, distil.RAW):
        rows = found.own == what
        units = (found.tokens[rows] > 0) & ~np.isin(found.tokens[rows], [tokens.standard, tokens.separator])
        assert units.sum() == len(at)
    assert len(found.own) % 3 == 0
    assert np.flatnonzero(found.own == distil.SCORED)[-1] == len(found.own) - 1


def test_a_run_is_one_token_and_a_long_sentence_ends_at_a_stop():
    tokens, found = layout()
    words = {number: token for token, number in VOCAB.items()}
    text = distil.text_of(SENTENCES, tokens)
    read = [words[number] for number in text.tokens[text.starts[1] : text.stops[1]]]
    assert read == [*"他梦见", "2024", "年", "的", "iphone", *"，还有一条会唱歌的鱼！"]
    assert [words[text.tokens[stop - 1]] for stop in text.stops[2:-1]] == ["。", "。"]
    assert max(text.stops - text.starts) <= distil.WIDTH - 2
    starts = found.tokens == tokens.standard
    ends = found.tokens == tokens.separator
    assert (starts.sum(1) == ends.sum(1)).all()
    np.testing.assert_array_equal(found.sentences[starts], np.cumsum(starts, axis=1)[starts])
    np.testing.assert_array_equal(found.sentences[ends], np.cumsum(starts, axis=1)[ends])


def test_rows_hold_every_piece_without_overlap():
    random = np.random.default_rng(3)
    lengths = random.integers(2, 29, 500)
    rows, places = distil.fill_rows(lengths.tolist(), 29)
    used = np.zeros((rows.max() + 1, 29), int)
    for row, place, length in zip(rows, places, lengths, strict=True):
        used[row, place : place + length] += 1
    assert used.max() == 1
    assert used.mean() > 0.95


def test_a_student_scores_units_as_the_segmenter_that_is_saved(monkeypatch):
    pytest.importorskip("jax", reason="the test extra brings JAX")
    monkeypatch.setattr(numpy_runtime, "TABLE_TYPE", "int32")  # another test compares the rounding to 16 bits
    monkeypatch.setattr(numpy_runtime, "LARGEST_SUM", 2**30)
    config = SegmentationConfig(standards=distil.STANDARDS, unit_size=7, pair_size=5, channels=(11, 11, 11))
    vocab = build_unit_vocab([gold_tags(words)[0] for words in SENTENCES[:3]], 1, 1)
    random = np.random.default_rng(2)
    arrays = {name: random.normal(size=shape).astype("float32") for name, shape in array_shapes(config, vocab).items()}
    student = object.__new__(distil.Student)
    student.config = config
    _, found = layout()
    unit_ids = vocab.unit_ids(found.units).reshape(found.kinds.shape)
    standards = np.full(len(unit_ids), 3)
    scores = student.scores(arrays, unit_ids, vocab.pair_ids(unit_ids), standards, rounded=1.0)
    levels = {"unit": EIGHT_BITS, "pair": FOUR_BITS}
    stored = {
        name: unpack_rows(*pack_rows(array, levels[name]), levels[name], array.shape[1]) if name in levels else array
        for name, array in arrays.items()
    }
    runtime = Runtime(config, vocab, stored)
    flat = np.asarray(scores).reshape(-1, 4)[found.scored["cnc"]]
    at = 0
    for words in SENTENCES[:2]:  # those that no row cuts
        own = runtime.scores(vocab.unit_ids(gold_tags(words)[0]), 3)
        np.testing.assert_allclose(flat[at : at + len(own)], own, rtol=1e-4, atol=1e-3)
        at += len(own)


def test_scores_that_were_computed_before_give_the_words_they_say():
    _, found = layout()
    tags = found.tags.flat[found.scored["cnc"]]
    config = SegmentationConfig(standards=distil.STANDARDS)
    given = (config, np.array([ord("了")], "uint32"), {"cnc": np.eye(4, dtype="float16")[tags]})
    scores = distil.scores_of(given, {"cnc": SENTENCES}, {"cnc": {"海风"}})["standards"]["cnc"]
    assert (scores["f1"], scores["oov_recall"]) == (100.0, 100.0)
    assert scores["oov_rate"] == round(100 * (1 - 20 / sum(map(len, SENTENCES))), 2)


def test_raw_text_with_a_stretch_of_held_out_text_is_left_out(tmp_path):
    for name, _ in FILES.values():
        (tmp_path / name).write_text("无 关\n", encoding="utf-8")
    lines = ["别 的 话"] * 9 + ["0月 , 修表匠 在 山顶 L 修好 了 那 只 停 了 很 久 的 钟"]
    (tmp_path / "msr_part_train.txt").write_text("\n".join(lines), encoding="utf-8")
    forbidden = distil.held_out_shingles(tmp_path)
    assert not forbidden.isdisjoint(distil.shingles("五月，修表匠在山顶气象站修好了那只停了很久的钟。"))
    assert forbidden.isdisjoint(distil.shingles("修表匠在山顶气象站修好了别的钟，那只鱼停了很久。"))
