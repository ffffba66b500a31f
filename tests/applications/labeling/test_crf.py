"""The CRF against the enumeration of all paths in float64, and against bert4keras."""

import itertools

import numpy as np
import pytest
from keras import ops

from nlptasks.applications.labeling.crf import LinearChainCRF
from nlptasks.backend import compile_function
from tests.golden.heads_cases import inputs, weight
from tests.gradients import gradient, tolerance

T, K = 5, 3
LENGTHS = (5, 3, 1, 0)


@pytest.fixture
def crf(rng):
    layer = LinearChainCRF(K)
    layer.build()
    for variable in layer.weights:
        variable.assign(rng.normal(0, 1.5, variable.shape))
    return layer


@pytest.fixture
def scores(rng):
    return rng.normal(0, 2, (len(LENGTHS), T, K))


MASK = np.arange(T)[None, :] < np.array(LENGTHS)[:, None]


def paths(layer, scores_TK, length):
    """Every path with its score, term by term in float64."""
    variables = (layer.first_weights, layer.transition_weights, layer.last_weights)
    first, steps, last = (np.array(ops.convert_to_numpy(v), "float64") * layer.lr_multiplier for v in variables)
    found = {}
    for path in itertools.product(range(K), repeat=length):
        score = sum(scores_TK[i, tag] for i, tag in enumerate(path))
        score += sum(steps[a, b] for a, b in itertools.pairwise(path))
        found[path] = score + (first[path[0]] + last[path[-1]] if path else 0.0)
    return found


def test_log_partition_sums_over_all_paths_of_each_length(crf, scores):
    found = crf.log_partition(scores, MASK)
    wanted = [np.logaddexp.reduce(list(paths(crf, s, n).values())) for s, n in zip(scores, LENGTHS, strict=True)]
    np.testing.assert_allclose(ops.convert_to_numpy(found), wanted, rtol=tolerance(found), atol=tolerance(found))


@pytest.mark.once
def test_path_score_is_that_of_the_path_and_tags_behind_the_mask_do_not_matter(crf, scores, rng):
    tags = rng.integers(0, K, (len(LENGTHS), T))
    found = crf.path_score(scores, tags, MASK)
    wanted = [paths(crf, s, n)[tuple(t[:n])] for s, n, t in zip(scores, LENGTHS, tags, strict=True)]
    np.testing.assert_allclose(ops.convert_to_numpy(found), wanted, rtol=tolerance(found), atol=tolerance(found))
    other = np.where(MASK, tags, (tags + 1) % K)
    assert (ops.convert_to_numpy(crf.path_score(scores, other, MASK)) == ops.convert_to_numpy(found)).all()


def test_viterbi_finds_the_best_of_all_paths(crf, rng):
    for _ in range(5):
        scores = rng.normal(0, 2, (len(LENGTHS), T, K))
        tags, best = crf.viterbi(scores, MASK)
        for row, length in enumerate(LENGTHS):
            every = paths(crf, scores[row], length)
            path = max(every, key=every.get)
            assert tuple(ops.convert_to_numpy(tags)[row]) == path + (0,) * (T - length)
            assert float(best[row]) == pytest.approx(every[path], abs=1e-5)
    assert (ops.convert_to_numpy(crf(scores, MASK)) == ops.convert_to_numpy(tags)).all()


@pytest.mark.once
def test_viterbi_keeps_to_the_allowed_tags_and_is_the_best_among_them(crf, scores):
    first, following = np.array([True, False, True]), np.array([[1, 0, 1], [1, 1, 0], [0, 1, 1]], bool)
    tags, _ = crf.viterbi(scores * 9, MASK, first, following)
    for row, length in enumerate(LENGTHS[:3]):
        every = {
            path: score
            for path, score in paths(crf, scores[row] * 9, length).items()
            if first[path[0]] and all(following[a, b] for a, b in itertools.pairwise(path))
        }
        assert tuple(ops.convert_to_numpy(tags)[row, :length]) == max(every, key=every.get)


def test_the_gradient_of_the_loss_is_marginal_minus_target(crf, scores, rng):
    tags = rng.integers(0, K, (len(LENGTHS), T))
    found = gradient(lambda s: ops.sum(crf.loss(s, tags, MASK)), scores)
    wanted = np.zeros_like(scores)
    for row, length in enumerate(LENGTHS):
        every = paths(crf, scores[row], length)
        total = np.logaddexp.reduce(list(every.values()))
        for path, score in every.items():
            for i, tag in enumerate(path):
                wanted[row, i, tag] += np.exp(score - total)
        for i in range(length):
            wanted[row, i, tags[row, i]] -= 1
    np.testing.assert_allclose(found, wanted, atol=tolerance(found) * 10)


@pytest.mark.parametrize("extreme", [1e4, -1e4, 1e30, -1e30])
def test_loss_and_gradient_are_finite_at_extreme_scores(crf, extreme):
    scores = np.zeros((len(LENGTHS), T, K), "float32")
    scores[:, ::2, 1] = extreme
    tags = np.ones((len(LENGTHS), T), "int32")
    assert np.isfinite(ops.convert_to_numpy(crf.loss(scores, tags, MASK))).all()
    found = gradient(lambda s: ops.sum(crf.loss(s, tags, MASK)), scores)
    assert np.isfinite(found).all()
    assert (found[~MASK] == 0).all()


@pytest.mark.once
def test_scores_behind_the_mask_change_nothing(crf, scores, rng):
    tags = rng.integers(0, K, (len(LENGTHS), T))
    other = np.where(MASK[:, :, None], scores, 77.0)
    for a, b in zip(crf.viterbi(scores, MASK), crf.viterbi(other, MASK), strict=True):
        assert (ops.convert_to_numpy(a) == ops.convert_to_numpy(b)).all()
    first, second = (ops.convert_to_numpy(crf.loss(s, tags, MASK)) for s in (scores, other))
    assert (first == second).all()
    assert first[3] == 0


@pytest.mark.once
def test_a_fresh_layer_takes_every_position_by_itself(scores):
    layer = LinearChainCRF(K)
    layer.build()
    mask = np.ones(scores.shape[:2], bool)
    assert (ops.convert_to_numpy(layer(scores, mask)) == scores.argmax(-1)).all()
    tags = scores.argmin(-1)
    log_p = scores - np.logaddexp.reduce(scores, axis=-1, keepdims=True)
    wanted = -np.take_along_axis(log_p, tags[..., None], -1)[..., 0].sum(1)
    np.testing.assert_allclose(ops.convert_to_numpy(layer.loss(scores, tags, mask)), wanted, rtol=1e-5)


@pytest.mark.once
def test_lr_multiplier_scales_the_weights(scores, rng):
    plain, scaled = LinearChainCRF(K), LinearChainCRF(K, lr_multiplier=10.0)
    for layer in (plain, scaled):
        layer.build()
    for a, b in zip(plain.weights, scaled.weights, strict=True):
        value = rng.normal(0, 1, a.shape)
        a.assign(value)
        b.assign(value / 10)
    found, wanted = scaled.log_partition(scores, MASK), plain.log_partition(scores, MASK)
    np.testing.assert_allclose(ops.convert_to_numpy(found), ops.convert_to_numpy(wanted), rtol=1e-5, atol=1e-5)
    assert LinearChainCRF.from_config(scaled.get_config()).lr_multiplier == 10.0


def test_one_compiled_program_serves_one_position_and_many(crf, scores):
    run = compile_function(lambda s, m: crf.viterbi(s, m)[0], None if not hasattr(crf, "variables") else crf)
    short, mask = scores[:, :1].astype("float32"), MASK[:, :1]
    assert (ops.convert_to_numpy(run(short, mask)) == ops.convert_to_numpy(crf(short, mask))).all()
    long = scores.astype("float32")
    assert (ops.convert_to_numpy(run(long, MASK)) == ops.convert_to_numpy(crf(long, MASK))).all()


def test_the_loss_equals_that_of_bert4keras(golden):
    x = inputs()
    layer = LinearChainCRF(x["scores"].shape[-1])
    layer.build()
    layer.transition_weights.assign(weight("transitions", tuple(layer.transition_weights.shape)))
    found = ops.convert_to_numpy(layer.loss(x["scores"], x["tags"], x["mask"]))
    np.testing.assert_allclose(found, np.load(golden / "heads.npz")["crf_loss"], rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("wrong", [{"num_tags": 0}, {"num_tags": 3, "lr_multiplier": 0}])
def test_a_layer_without_tags_or_with_no_rate_is_refused(wrong):
    with pytest.raises(ValueError, match="num_tags must be at least 1 and lr_multiplier positive"):
        LinearChainCRF(**wrong)
