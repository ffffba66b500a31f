"""The teaching of the bundled sentence encoder: what trains computes what ships computes, and texts travel whole."""

import itertools
import sys
from pathlib import Path

import numpy as np
import pytest

from nlptasks.applications.similarity.ngram import NgramModel
from nlptasks.applications.similarity.ngram_runtime import POOLINGS, weight_shapes
from nlptasks.applications.similarity.ngrams import NgramVocab

sys.path[:0] = [str(Path(__file__).parents[2] / "benchmarks")]


import similarity_distil as distil  # noqa: E402

TEXTS = ["密码忘了怎么办", "怎样修改密码", "码", "", "今天有雨吗，密码忘了", "龘"]


@pytest.mark.parametrize("pooling", POOLINGS)
def test_the_student_in_training_is_the_encoder_that_ships(pooling):
    jax = pytest.importorskip("jax", reason="the test extra brings JAX")
    vocab = NgramVocab.build(TEXTS, 12, 17, min_count=1)
    random = np.random.default_rng(0)
    shapes = weight_shapes(pooling, len(vocab), 10, 11, 3, 7)
    arrays = {name: random.standard_normal(shape).astype("float32") for name, shape in shapes.items()}
    rows_NTO = distil.row_matrix(vocab, TEXTS, chunk=4)
    assert rows_NTO.shape == (len(TEXTS), distil.MOST_CHARACTERS, 4)
    with jax.default_matmul_precision("highest"):
        trained = np.asarray(distil.student_vectors(distil.placed(arrays), rows_NTO, pooling))
    np.testing.assert_allclose(trained, NgramModel(vocab, arrays, pooling).encode(TEXTS), atol=1e-5)


def test_an_update_is_adams():
    pytest.importorskip("jax", reason="the test extra brings JAX")
    params = {"a": np.array([1.0, -2.0], "float32")}
    state = distil.adam_state(params)
    expected, mean, square = params["a"].astype("float64"), 0.0, 0.0
    for step, gradient in enumerate([[0.5, -1.0], [0.25, 3.0], [-1.0, 0.0]], 1):
        params, state = distil.adam(params, state, {"a": np.array(gradient, "float32")}, {"a": 0.1})
        mean = 0.9 * mean + 0.1 * np.array(gradient)
        square = 0.98 * square + 0.02 * np.array(gradient) ** 2
        expected = expected - 0.1 * (mean / (1 - 0.9**step)) / np.sqrt(square / (1 - 0.98**step))
    np.testing.assert_allclose(params["a"], expected, rtol=1e-5)


def test_losses_are_least_where_they_should_be():
    pytest.importorskip("jax", reason="the test extra brings JAX")
    random = np.random.default_rng(0)
    t = distil.unit(random.standard_normal((7, 5)).astype("float32"))
    assert float(distil.matched(t, t, 0.1)) < 1e-5 < float(distil.matched(t[::-1], t, 0.1))
    both = np.stack([t, t], 1)
    assert float(distil.in_batch(both, 20.0, 0.1)) < float(distil.in_batch(np.stack([t, t[::-1]], 1), 20.0, 0.1))
    right, wrong = (np.array(c, "float32") for c in ([0.9, 0.8, 0.1], [0.1, 0.8, 0.9]))
    assert float(distil.ranked(right, np.array([1, 1, 0]), 20.0)) < float(
        distil.ranked(wrong, np.array([1, 1, 0]), 20.0)
    )


def test_texts_and_numbers_travel_whole(tmp_path):
    texts = {"one": ["密码", "", "a\tb😀"], "none": [""]}
    arrays = {
        "large": np.array([2**40, 3]),
        "signed": np.array([[-1, 5], [70_000, 2], [0, 1]]),
        "small": np.arange(200),
        "empty": np.zeros((0, 3), "int32"),
    }
    distil.write_packed(tmp_path / "x.xz", texts, arrays)
    back, again = distil.read_packed(tmp_path / "x.xz")
    assert back == texts
    for name, array in arrays.items():
        assert again[name].dtype == ("int64" if name == "large" else "int32")
        np.testing.assert_array_equal(again[name], array)


def test_pieces_are_chosen_joined_and_mixed():
    pieces = distil.Pieces(np.array([7, 8, 9, 7, 5, 6], "uint16"), np.array([3, 1, 2], "int32"))
    again = distil.Pieces.from_arrays(pieces.arrays())
    assert again.ids.tolist() == pieces.ids.tolist()
    some = pieces.select(np.array([2, 0]))
    assert (some.ids.tolist(), some.lengths.tolist()) == ([7, 8, 9, 5, 6], [3, 2])
    assert pieces.joined(some).lengths.tolist() == [3, 1, 2, 3, 2]
    own = [[7, 8, 9], [7], [5, 6]]
    mixed = pieces.mixed(50, 4, np.random.default_rng(0))
    assert mixed.lengths.max() <= 4
    allowed = {tuple(a[:i] + b[j:]) for a in own for b in own for i in range(1, len(a) + 1) for j in range(len(b))}
    bounds = np.cumsum([0, *mixed.lengths])
    assert {tuple(mixed.ids[a:b].tolist()) for a, b in itertools.pairwise(bounds)} <= allowed


def test_a_mixed_sentence_that_is_scored_is_left_out():
    class Letters:
        def id_to_token(self, i):
            return chr(0x4E00 + i)

        def get_vocab_size(self):
            return 20

    pieces = distil.Pieces(np.array([7, 8, 9, 7, 5, 6], "uint16"), np.array([3, 1, 2], "int32"))
    scored = chr(0x4E00 + 5) + "，" + chr(0x4E00 + 6)
    assert pieces.without([scored, "无关"], Letters()).lengths.tolist() == [3, 1]


def test_long_sentences_are_cut_at_commas():
    text = "今天有雨吗？" + "我们等了很久，" * 7 + "走吧"
    parts = list(distil.clauses(text))
    assert "".join(parts) == text
    assert parts[0] == "今天有雨吗？"
    assert max(map(len, parts)) <= distil.MOST_CHARACTERS


def task_of(count=40):
    labels = np.repeat(np.arange(10), 3)
    arrays = {
        "group_rows": np.arange(30),
        "group_labels": labels,
        "pairs": np.array([(i, (i + 1) % 36, i % 2) for i in range(36)]),
        "held_out_every": np.array([5]),
    }
    return distil.Task.of(arrays, count, 0, apart=2), labels


def test_nothing_of_what_is_held_out_is_trained_on_with_its_label():
    task, labels = task_of()
    assert set(task.own) >= {12, 13, 14, 27, 28, 29}
    trained = {int(i) for group in task.groups for i in group} | set(task.pairs[:, :2].ravel().tolist())
    assert not trained & set(task.own.tolist())
    assert set(task.apart) <= {36, 37, 38, 39}
    feed = distil.Batches(task, np.arange(40) % 3, 40, 0)
    for _ in range(20):
        given = feed.next(3, 8, 4, 5)
        assert given["own"].shape == (3, 8)
        assert not set(given["own"].ravel().tolist()) & set(task.apart.tolist())
        both = given["groups"]
        assert (labels[both[..., 0]] == labels[both[..., 1]]).all()
        assert (both[..., 0] != both[..., 1]).all()
        assert all(len(set(row)) == len(row) for row in labels[both[..., 0]].tolist())
        assert set(both.ravel().tolist()) | set(given["pairs"].ravel().tolist()) <= trained
