"""Mixtures of texts: what they are, where they change nothing, and what mixup penalizes."""

import numpy as np
import pytest
from keras import ops

from nlptasks.applications.classification.classifier import ClassificationExamples
from nlptasks.applications.classification.mixing import MixedExamples, mixed_logits
from nlptasks.applications.classification.training import ClassifierOptions
from nlptasks.errors import UserError
from tests.applications.labeling.label_cases import BAD, GOOD, classifier

TEXTS = [*GOOD[:3], "菜很好吃服务差", *BAD[:3]]
LABELS = [("good",)] * 3 + [("bad",)] * 4


def examples(model, **options):
    settings = ClassifierOptions(output="x", **{"epochs": 5, "seed": 3} | options)
    return MixedExamples(ClassificationExamples(model, TEXTS, LABELS, 3), settings)


def first(mixed, epoch=0, size=8):
    return mixed.arrays(mixed.batches(epoch, size)[0], size)


@pytest.mark.once
def test_targets_are_mixed_as_the_inputs_are_and_padding_rows_have_no_partner():
    model = classifier()
    found, plain = first(examples(model, mixup=0.4)), first(examples(model, label_smoothing=0.1))
    share, partners = found["embedding_shares"][:, None], found["partners"]
    np.testing.assert_allclose(plain["targets"][0], np.where(plain["targets"][0] > 0.5, 0.95, 0.05), rtol=1e-6)
    hard = (plain["targets"] > 0.5).astype("float32")
    np.testing.assert_allclose(found["targets"], share * hard + (1 - share) * hard[partners], rtol=1e-6)
    assert sorted(partners[:7]) == list(range(7))
    assert (partners[7], found["embedding_shares"][7], found["weights"][7]) == (7, 1, 0)
    again = first(examples(model, mixup=0.4))
    assert all((found[name] == again[name]).all() for name in found)
    assert not (found["embedding_shares"] == first(examples(model, mixup=0.4), epoch=1)["embedding_shares"]).all()


@pytest.mark.once
def test_pairing_keeps_the_first_label_and_rests_in_the_last_epochs():
    mixed = examples(classifier(), sample_pairing=True)
    plain = first(examples(classifier(), label_smoothing=0.0, mixup=None))
    found = [first(mixed, epoch) for epoch in range(5)]
    assert (found[0]["targets"] == plain["targets"]).all()
    paired = [(arrays["embedding_shares"][:7] == 0.5).sum() for arrays in found]
    assert min(paired[:4]) >= 6  # a text may be its own partner
    assert paired[4] == 0


def test_a_mixture_of_a_text_with_itself_is_the_text_and_shares_are_symmetric():
    model = classifier(pooling="mean")
    batch = first(examples(model, mixup=0.4))
    ids, segments = batch["token_ids"], batch["segment_ids"]
    logits = ops.convert_to_numpy(model.logits(ids, segments, training=False))
    other = {"partners": np.roll(np.arange(8), 1).astype("int32")}
    for name in ("embedding_shares", "vector_shares"):
        base = {"token_ids": ids, "segment_ids": segments}
        own = mixed_logits(model, base | {"partners": np.arange(8), name: np.full(8, 0.3, "float32")}, False)
        np.testing.assert_allclose(ops.convert_to_numpy(own), logits, atol=1e-5)
        at_0 = mixed_logits(model, base | other | {name: np.zeros(8, "float32")}, False)
        if name == "vector_shares":
            np.testing.assert_allclose(ops.convert_to_numpy(at_0), np.roll(logits, 1, axis=0), atol=1e-5)
            half = mixed_logits(model, base | other | {name: np.full(8, 0.5, "float32")}, False)
            np.testing.assert_allclose(ops.convert_to_numpy(half), (logits + np.roll(logits, 1, axis=0)) / 2, atol=1e-5)
        else:
            half = ops.convert_to_numpy(mixed_logits(model, base | other | {name: np.full(8, 0.5, "float32")}, False))
            assert np.abs(half[:6] - logits[:6]).max() > 1e-4


@pytest.mark.once
def test_the_second_order_of_mixup_is_a_penalty_of_the_jacobian():
    """Where a network fits its data, mixing inputs and targets by a small share e adds e^2 |J (x' - x) - (y' - y)|^2
    to the squared error: the network shall be as steep between texts as their labels differ, and no steeper.
    """
    random = np.random.default_rng(1)
    a, b = random.normal(size=(5, 7)), random.normal(size=(7, 2))

    def network(x):
        return np.tanh(x @ a) @ b

    x, other = random.normal(size=(2, 5)), random.normal(size=(2, 5))
    way, targets, others = other - x, network(x), network(other)
    jacobian = np.stack([np.diag(1 - np.tanh(row @ a) ** 2) @ b for row in x])
    penalty = ((np.einsum("rd,dh,rho->ro", way, a, jacobian) - (others - targets)) ** 2).sum()
    for share in (1e-2, 1e-3):
        mixed = network(x + share * way) - (targets + share * (others - targets))
        assert (mixed**2).sum() / share**2 == pytest.approx(penalty, rel=20 * share)


@pytest.mark.once
@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"mixup": 0.0}, "mixup must be positive"),
        ({"mixup_at": "ids"}, "mixup_at must be one of embeddings, vector"),
        ({"mixup": 0.2, "sample_pairing": True}, "mixup and sample_pairing do not go together"),
        ({"label_smoothing": 1.0}, r"label_smoothing must lie in \[0, 1\)"),
        ({"label_smoothing": 0.1, "multi_label": True}, "label_smoothing is for one label of each text"),
    ],
)
def test_options_that_cannot_be_are_refused(options, message):
    with pytest.raises(UserError, match=message):
        ClassifierOptions(output="x", **options)
