"""The multi-label cross-entropies equal their formula in float64 and bert4keras' numbers, and stay finite."""

import numpy as np
import pytest
from keras import ops

from nlptasks.bert4keras import backend
from nlptasks.core.attention import MASKED_SCORE
from nlptasks.train import losses
from nlptasks.train.losses import multilabel_categorical_crossentropy, sparse_multilabel_categorical_crossentropy
from tests.golden.heads_cases import inputs
from tests.gradients import gradient, tolerance

R, C = 5, 7


def plain(targets, scores):
    """The definition, one class after the other, in float64."""
    found = []
    for target_C, score_C in zip(targets, scores, strict=True):
        negative = sum(np.exp(s) * (1 - t) for t, s in zip(target_C, score_C, strict=True) if s > MASKED_SCORE / 2)
        positive = sum(np.exp(-s) * t for t, s in zip(target_C, score_C, strict=True) if s > MASKED_SCORE / 2)
        found.append(np.log1p(negative) + np.log1p(positive))
    return np.array(found)


@pytest.mark.parametrize("soft", [False, True])
def test_the_loss_is_its_definition(rng, soft):
    scores = rng.normal(0, 3, (R, C))
    targets = rng.uniform(0, 1, (R, C)) if soft else (rng.uniform(0, 1, (R, C)) > 0.6).astype("float64")
    loss = multilabel_categorical_crossentropy(targets, scores)
    np.testing.assert_allclose(ops.convert_to_numpy(loss), plain(targets, scores), rtol=tolerance(loss))


def test_no_positive_and_all_positive_rows_are_their_definition(rng):
    scores = rng.normal(0, 3, (2, C))
    targets = np.array([np.zeros(C), np.ones(C)])
    loss = multilabel_categorical_crossentropy(targets, scores)
    np.testing.assert_allclose(ops.convert_to_numpy(loss), plain(targets, scores), rtol=tolerance(loss))


def test_masked_classes_do_not_count_whatever_their_target(rng):
    scores, targets = rng.normal(0, 3, (R, C)), (rng.uniform(0, 1, (R, C)) > 0.5).astype("float64")
    masked = scores.copy()
    masked[:, 2:4] = MASKED_SCORE
    targets[:, 2:4] = [1, 0]
    kept = [0, 1, 4, 5, 6]
    loss = multilabel_categorical_crossentropy(targets, masked)
    without = multilabel_categorical_crossentropy(targets[:, kept], scores[:, kept])
    np.testing.assert_allclose(ops.convert_to_numpy(loss), ops.convert_to_numpy(without), rtol=tolerance(loss))


def test_the_sparse_loss_equals_the_dense_one_with_fewer_and_repeated_ids(rng):
    scores = rng.normal(0, 3, (R, 3, C))
    ids = np.full((R, 3, 4), -1)
    targets = np.zeros((R, 3, C))
    for row in range(R):
        for part in range(3):
            chosen = rng.permutation(C)[: rng.integers(0, 4)]
            ids[row, part, : len(chosen)] = chosen
            targets[row, part, chosen] = 1
    ids[0, 0] = [6, 6, 0, -1]
    targets[0, 0] = np.eye(C)[6] + np.eye(C)[0]
    loss = sparse_multilabel_categorical_crossentropy(ids, scores)
    wanted = plain(targets.reshape(-1, C), scores.reshape(-1, C)).reshape(R, 3)
    np.testing.assert_allclose(ops.convert_to_numpy(loss), wanted, rtol=tolerance(loss))


def test_the_sparse_loss_does_not_cancel_where_one_positive_outweighs_all(rng):
    scores = np.array([[40.0, 0.0, -1.0]])
    loss = ops.convert_to_numpy(sparse_multilabel_categorical_crossentropy(np.array([[0]]), scores))
    np.testing.assert_allclose(loss, [np.log(1 + 1 + np.exp(-1.0)) + np.exp(-40.0)], rtol=1e-6)


@pytest.mark.parametrize("extreme", [0.0, 80.0, 1e4, -1e4, 1e8, -1e8])
def test_gradients_are_finite_at_extreme_scores_and_masked_rows(extreme):
    scores = np.full((3, C), extreme, "float32")
    scores[1] = MASKED_SCORE
    scores[2, ::2] *= -1
    targets = np.zeros((3, C), "float32")
    targets[:, 1] = 1
    found = gradient(lambda s: ops.sum(multilabel_categorical_crossentropy(targets, s)), scores)
    assert np.isfinite(found).all()
    assert (found[1] == 0).all()
    sparse = gradient(lambda s: ops.sum(sparse_multilabel_categorical_crossentropy(np.full((3, 1), 1), s)), scores)
    np.testing.assert_allclose(sparse, found, rtol=1e-6)


def test_the_gradient_pulls_positives_up_and_negatives_down(rng):
    scores, targets = rng.normal(0, 1, (R, C)).astype("float32"), (rng.uniform(0, 1, (R, C)) > 0.5).astype("float32")
    found = gradient(lambda s: ops.sum(multilabel_categorical_crossentropy(targets, s)), scores)
    assert (found[targets == 1] < 0).all()
    assert (found[targets == 0] > 0).all()


@pytest.mark.parametrize("names", [losses, backend], ids=["ours", "old"])
def test_losses_equal_those_of_bert4keras(names, golden):
    wanted, x = np.load(golden / "heads.npz"), inputs()
    loss = {
        "soft": names.multilabel_categorical_crossentropy(x["targets"], x["logits"]),
        "hard": names.multilabel_categorical_crossentropy((x["targets"] > 0.3).astype("float32"), x["logits"]),
        "sparse": names.sparse_multilabel_categorical_crossentropy(np.tile([[0, 4]], (13, 1)), x["logits"]),
    }
    for name, values in loss.items():
        np.testing.assert_allclose(ops.convert_to_numpy(values), wanted[name], rtol=2e-5, atol=1e-5, err_msg=name)
