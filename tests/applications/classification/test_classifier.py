"""Classifiers: what they learn, that batches and padding do not matter, and that a saved one is the same."""

import json

import numpy as np
import pytest
from keras import ops

import nlptasks
from nlptasks.applications.classification.classifier import ClassificationExamples, Classifier
from nlptasks.backend import compile_train_step
from nlptasks.train.optimizers import make_adam
from tests.applications.labeling.label_cases import BAD, GOOD, classifier
from tests.gradients import evaluated


def fit(model, examples, steps, rows):
    step = compile_train_step(model.model, make_adam(1e-2, steps, decay=False), model.loss)
    epoch = 0
    while steps > 0:
        for batch in examples.batches(epoch, rows):
            loss = float(step(examples.arrays(batch, rows)))
            steps -= 1
        epoch += 1
    return loss


def test_a_classifier_learns_its_training_texts_and_says_how_sure_it_is():
    model = classifier()
    texts, labels = GOOD + BAD, [("good",)] * len(GOOD) + [("bad",)] * len(BAD)
    assert fit(model, ClassificationExamples(model, texts, labels), 60, 7) < 0.2
    found = model.predict(texts)
    assert [result.labels for result in found] == labels
    for result in found:
        assert sum(result.scores.values()) == pytest.approx(1)
        assert result.label == max(result.scores, key=result.scores.get)


@pytest.mark.once
def test_a_classifier_of_pairs_reads_both_texts():
    model = classifier(labels=("0", "1"), seq_length=17, pair=True, pooling="mean")
    pairs = [(a, b) for a in GOOD[:4] for b in GOOD[:4]] + [(a, b) for a in GOOD[:4] for b in BAD[:4]]
    labels = [("1",)] * 16 + [("0",)] * 16
    fit(model, ClassificationExamples(model, pairs, labels), 60, 8)
    assert [result.labels for result in model.predict(pairs)] == labels
    first, second = model.classify(("菜很好吃", "房间干净")), model.classify(("菜很好吃", "房间很脏"))
    assert (first.label, second.label) == ("1", "0")


def test_a_classifier_of_several_labels_finds_none_one_or_two():
    model = classifier(labels=("food", "good"), multi_label=True, pooling="mean")
    texts = ("菜很好吃", "菜太咸了", "房间干净", "房间很脏")
    labels = [("food", "good"), ("food",), ("good",), ()]
    fit(model, ClassificationExamples(model, texts, labels), 80, 4)
    found = model.predict(texts)
    assert [set(result.labels) for result in found] == [set(chosen) for chosen in labels]
    assert found[3].label is None
    assert all(found[0].scores[label] > 0.5 for label in ("food", "good"))
    assert all(found[3].scores[label] < 0.5 for label in ("food", "good"))


@pytest.mark.parametrize("pooling", ["first", "mean"])
def test_a_text_has_the_same_scores_alone_and_in_any_batch(pooling):
    model = classifier(seq_length=40, pooling=pooling)
    texts = ["菜", *GOOD, "很满意这里" * 7, "下次还来"]
    together = model.predict(texts, batch_size=3)
    for text, result in zip(texts, together, strict=True):
        alone = model.classify(text)
        assert alone.labels == result.labels
        np.testing.assert_allclose(list(alone.scores.values()), list(result.scores.values()), atol=1e-6)
    assert len({round(result.scores["good"], 5) for result in together}) == len(set(texts))


def test_rows_that_fill_a_batch_do_not_count_in_the_loss():
    model = classifier()
    examples = ClassificationExamples(model, GOOD[:3], [("good",), ("bad",), ("good",)])
    three, seven = examples.arrays(np.arange(3), 3), examples.arrays(np.arange(3), 7)
    found, padded = (
        float(evaluated(lambda batch: model.loss(batch, False), batch, model=model.model)) for batch in (three, seven)
    )
    assert padded == pytest.approx(found, abs=1e-6)
    log_p = [
        np.log(result.scores[label])
        for result, label in zip(model.predict(GOOD[:3]), "gbg", strict=True)
        for label in ({"g": "good", "b": "bad"}[label],)
    ]
    assert found == pytest.approx(-np.mean(log_p), abs=1e-5)


@pytest.mark.once
def test_the_mean_is_taken_over_real_positions():
    model = classifier(pooling="mean")
    encodings, _ = model.encode(["菜很好吃"])
    ids = encodings[0].token_ids[None]
    hidden = evaluated(model.model.transformer.encode, ids, model=model.model)[0]
    dense = model.model.head_layers["classifier"]
    wanted = hidden.mean(axis=0) @ ops.convert_to_numpy(dense.kernel) + ops.convert_to_numpy(dense.bias)
    padded = np.pad(ids, [(0, 0), (0, 5)])
    found = evaluated(model.logits, padded, np.zeros_like(padded), model=model.model)[0]
    np.testing.assert_allclose(found, wanted, atol=1e-5)


@pytest.mark.once
def test_what_is_beyond_the_length_is_cut_and_counted():
    model = classifier(seq_length=6)
    encodings, cut = model.encode(["菜很好吃", "很满意这里"])
    assert (cut, [len(encoding) for encoding in encodings]) == (1, [6, 6])
    assert model.classify("很满意这里").scores == pytest.approx(model.classify("很满意这菜").scores)
    assert ClassificationExamples(model, ["菜很好吃", "很满意这里"], [("bad",)] * 2).num_cut == 1


def test_a_saved_classifier_is_the_same(tmp_path):
    model = classifier(labels=("0", "1", "10"), pooling="mean")
    model.save(tmp_path)
    loaded = nlptasks.load(tmp_path)
    assert isinstance(loaded, Classifier)
    assert (loaded.labels, loaded.seq_length, loaded.pooling) == (("0", "1", "10"), 11, "mean")
    for one, other in zip(model.predict(GOOD), loaded.predict(GOOD), strict=True):
        assert one == other


@pytest.mark.once
def test_the_encoder_of_a_saved_classifier_opens_in_transformers(tmp_path):
    torch = pytest.importorskip("torch", reason="the test extra brings torch")
    transformers = pytest.importorskip("transformers", reason="the test extra brings transformers")
    model = classifier()
    model.save(tmp_path)
    theirs = transformers.BertModel.from_pretrained(tmp_path, add_pooling_layer=False).eval()
    ids = model.encode(["很满意这里"])[0][0].token_ids[None]
    with torch.no_grad():
        wanted = theirs(input_ids=torch.tensor(ids, dtype=torch.long)).last_hidden_state.numpy()
    found = evaluated(model.model.transformer.encode, ids, model=model.model)
    np.testing.assert_allclose(found, wanted, atol=1e-5)


@pytest.mark.once
def test_a_head_that_does_not_fit_its_config_is_refused(tmp_path):
    classifier().save(tmp_path)
    config = json.loads((tmp_path / "config.json").read_text(encoding="utf-8"))
    config["nlptasks"]["labels"].append("more")
    (tmp_path / "config.json").write_text(json.dumps(config), encoding="utf-8")
    with pytest.raises(ValueError, match=r"weights of the head do not fit .*head\.classifier\.bias"):
        nlptasks.load(tmp_path)
    del config["nlptasks"]["labels"]
    (tmp_path / "config.json").write_text(json.dumps(config), encoding="utf-8")
    with pytest.raises(ValueError, match=r"lacks or misnames a setting .*labels"):
        nlptasks.load(tmp_path)


@pytest.mark.parametrize(
    ("texts", "error", "message"),
    [
        ("一个", TypeError, "texts must be a list; for one text call classify"),
        (["菜", " "], ValueError, "item 1: the text is empty"),
        ([("菜", "菜")], ValueError, "item 0: this classifier reads texts"),
        (["菜", 3], TypeError, "item 1"),
    ],
)
@pytest.mark.once
def test_texts_it_cannot_read_are_refused(texts, error, message):
    with pytest.raises(
        (error, TypeError) if error is TypeError else error, match=message if error is ValueError else None
    ):
        classifier().predict(texts)


@pytest.mark.once
def test_parts_that_do_not_fit_are_refused():
    good = classifier()
    with pytest.raises(ValueError, match="labels must be distinct and at least 2"):
        Classifier(good.model, good.tokenizer, ("a",), 11)
    with pytest.raises(ValueError, match="seq_length must lie in 4 to 11"):
        Classifier(good.model, good.tokenizer, ("a", "b"), seq_length=12)
    with pytest.raises(ValueError, match="pooling must be one of"):
        Classifier(good.model, good.tokenizer, ("a", "b"), 11, pooling="max")
    with pytest.raises(ValueError, match="reads pairs of texts"):
        Classifier(good.model, good.tokenizer, ("a", "b"), 11, pair=True).predict(["菜"])


@pytest.mark.once
def test_no_text_has_no_result():
    assert classifier().predict([]) == []
