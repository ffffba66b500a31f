"""Training batches of the segmentation network."""

import numpy as np
import pytest

from nlptasks.applications.segmentation.runtime import Runtime
from nlptasks.applications.segmentation.samples import (
    SegmentationExamples,
    gold_tags,
    join_some,
    long_words,
    undo_normalization,
)
from nlptasks.applications.segmentation.viterbi import TAGS
from nlptasks.applications.segmentation.vocab import (
    DIGIT_ID,
    FIRST_CHARACTER,
    LETTER_ID,
    PAD,
    SPACE_ID,
    UNKNOWN,
    UNKNOWN_PAIR,
    build_unit_vocab,
)
from nlptasks.text.units import code_points, split_units
from tests.applications.segmentation.segmentation_cases import random_parts, sentences

pytestmark = pytest.mark.once


def some_examples(**fields):
    samples = [(*gold_tags(words), i % 3) for i, words in enumerate(sentences())]
    _, vocab, _ = random_parts()
    return samples, vocab, SegmentationExamples(samples, vocab, seed=3, **fields)


@pytest.mark.parametrize(
    ("words", "tags"),
    [
        (["今天", "好"], "bes"),
        (["2019年", "10", "月"], "bess"),
        (["图书馆"], "bme"),
        (["New", "York", "好"], "ss"),  # a run is one unit: the end inside it is lost
        (["4S店"], "bme"),
    ],
)
def test_gold_tags_are_those_of_units(words, tags):
    assert "".join(TAGS[tag] for tag in gold_tags(words)[1]) == tags


def test_pairs_are_those_of_neighbors_and_of_the_ends():
    units = split_units(code_points("今天今天今"))
    vocab = build_unit_vocab([units], 1, 1)
    ids = vocab.unit_ids(units)
    pairs = vocab.pair_ids(np.array([[*ids, PAD, PAD]]))[0]
    assert pairs[1] == pairs[3] != pairs[2]
    assert len(set(pairs[[0, 1, 2, 5]].tolist())) == 4
    assert pairs[-2:].tolist() == [0, 0]
    assert vocab.pair_ids(ids[[0, 0]])[1] == UNKNOWN_PAIR


def test_runs_read_the_same_whatever_they_hold():
    texts = [split_units(code_points(text)) for text in ("今2019天abc \n", "今７天Ｘyz\u3000\t\u2028", "今天0Xa8")]
    vocab = build_unit_vocab(texts, 1, 1)
    now, day = (FIRST_CHARACTER + vocab.characters.tolist().index(ord(char)) for char in "今天")
    assert vocab.unit_count == FIRST_CHARACTER + 2
    for text in texts[:2]:
        assert vocab.unit_ids(text).tolist() == [now, DIGIT_ID, day, LETTER_ID, SPACE_ID, PAD]


def test_rare_characters_and_pairs_have_no_id():
    units = split_units(code_points("今今天天今天气"))
    vocab = build_unit_vocab([units], 2, 2)
    assert {chr(code) for code in vocab.characters} == {"今", "天"}
    assert vocab.unit_ids(units).tolist()[-1] == UNKNOWN
    assert len(vocab.pairs) == 1
    assert len(build_unit_vocab([units], 2, None).pairs) == 0


def test_a_batch_holds_the_sentences_it_names():
    samples, vocab, examples = some_examples(unit_drop=0.0, pair_drop=0.0)
    seen = []
    for batch in examples.batches(0, 128):
        unit_ids, pair_ids, standard_ids, targets = examples.arrays(batch, 128)
        assert unit_ids.size <= 128
        assert unit_ids.shape[1] % 16 == 0
        assert (pair_ids == vocab.pair_ids(unit_ids)).all()
        for i, index in enumerate(batch[2]):
            units, tags, standard_id = samples[index]
            length = len(units.starts)
            assert unit_ids[i, :length].tolist() == vocab.unit_ids(units).tolist()
            assert not unit_ids[i, length:].any()
            assert targets[i, :length].argmax(axis=1).tolist() == tags.tolist()
            assert standard_ids[i] == standard_id
            seen.append(index)
    assert sorted(seen) == list(range(len(samples)))


def test_an_epoch_depends_on_its_number_alone():
    _, _, examples = some_examples()
    _, _, others = some_examples()
    assert examples.batches(1, 128) == others.batches(1, 128) != examples.batches(0, 128)
    batch = examples.batches(1, 128)[2]
    for one, two in zip(examples.arrays(batch, 128), others.arrays(batch, 128), strict=True):
        assert (one == two).all()


def test_an_epoch_is_counted_and_a_batch_weighs_its_real_units():
    samples, _, examples = some_examples()
    assert len(examples) == len(samples)
    batches = examples.batches(2, 128)
    assert examples.num_batches(2, 128) == len(batches)
    weights = [examples.weight(examples.arrays(batch, 128)) for batch in batches]
    assert weights[0] == sum(len(samples[i][0].starts) for i in batches[0][2])
    assert sum(weights) == len(examples.unit_ids)


def test_rare_units_are_dropped_the_oftener():
    samples, vocab, examples = some_examples(unit_drop=0.3, pair_drop=0.3)
    dropped, total = np.zeros(vocab.unit_count), np.zeros(vocab.unit_count)
    for epoch in range(60):
        for batch in examples.batches(epoch, 512):
            unit_ids = examples.arrays(batch, 512)[0]
            for i, index in enumerate(batch[2]):
                true = vocab.unit_ids(samples[index][0])
                np.add.at(total, true, 1)
                np.add.at(dropped, true, unit_ids[i, : len(true)] != true)
    counts = total / 60
    known = np.arange(vocab.unit_count) >= FIRST_CHARACTER
    assert dropped[~known].sum() == 0
    for n in (1, 2, 5):
        share = dropped[known & (counts == n)].sum() / total[known & (counts == n)].sum()
        assert share == pytest.approx(0.3 / (0.3 + n), rel=0.25)


def test_long_sentences_are_cut_into_rows():
    _, vocab, _ = random_parts()
    words = ["好"] * 600
    examples = SegmentationExamples([(*gold_tags(words), 0)], vocab)
    assert [(row.start, row.stop) for row in examples.rows] == [(0, 256), (256, 512), (512, 600)]


def test_teachers_targets_are_their_mean_and_mixed_with_the_gold_tags():
    samples, _, examples = some_examples()
    teachers = [Runtime(*random_parts(seed=seed)) for seed in (1, 2)]
    examples.learn_from(teachers, own_share=0.5, teacher_share=0.25)
    row = examples.rows[4]
    assert row.standard_id == 1
    ids = teachers[0].vocab.unit_ids(samples[4][0])
    for standard_id in range(3):
        scores = np.stack([teacher.scores(ids, standard_id) for teacher in teachers]).astype("float64")
        expected = (np.exp(scores) / np.exp(scores).sum(axis=-1, keepdims=True)).mean(axis=0)
        if standard_id == 1:
            expected = 0.25 * expected + 0.75 * np.eye(4)[samples[4][1]]
        np.testing.assert_allclose(examples.soft_targets[standard_id, row.start : row.stop], expected, atol=2e-3)
    read = np.concatenate(
        [examples.arrays(b, 128)[2][: len(b[2])] for e in range(30) for b in examples.batches(e, 128)]
    )
    own = np.concatenate([np.array(b[2]) % 3 for e in range(30) for b in examples.batches(e, 128)])
    assert np.mean(read == own) == pytest.approx(0.5 + 0.5 / 3, abs=0.05)


def test_masked_words_and_numbers_become_what_they_may_have_been(rng):
    long = long_words([["阿尔巴尼亚", "人民", "abcdefg"], ["哈萨克斯坦"]])
    assert long == ["阿尔巴尼亚", "哈萨克斯坦"]
    raw = undo_normalization([["L", "0年", "X"]] * 200, long, rng)
    assert {words[0] for words in raw} == set(long)
    assert {words[1] for words in raw} == {"0年", "0.0年", "0%年", "0.0%年"}
    assert {words[2] for words in raw} == {"X"}


def test_some_sentences_are_joined_by_a_space(rng):
    joined = join_some([["今"], ["天"], ["好"]] * 300, 0.25, rng)
    assert "".join(word for words in joined for word in words).replace(" ", "") == "今天好" * 300
    assert sum(words.count(" ") for words in joined) == 900 - len(joined)
    assert 0.18 < 1 - len(joined) / 900 < 0.32
    assert join_some([["今"], ["天"]], 0.0, rng) == [["今"], ["天"]]
