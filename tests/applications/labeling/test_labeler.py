"""Labelers: what they learn, that batches and windows do not matter, and that a saved one is the same."""

import itertools

import numpy as np
import pytest

import nlptasks
from nlptasks.applications.labeling.labeler import Labeler, labeling_model
from nlptasks.applications.labeling.samples import LabelingExamples
from nlptasks.applications.labeling.training import HEADS
from tests.applications.classification.test_classifier import fit
from tests.applications.labeling.label_cases import TYPES, entity_texts, labeler
from tests.gradients import evaluated

TEXTS = entity_texts()


def flat(entities):
    """Without the places inside others."""
    return [e for e in entities if not any(o != e and o.start <= e.start and e.end <= o.end for o in entities)]


@pytest.fixture(scope="module", params=HEADS)
def trained(request):
    model = labeler(request.param)
    examples = LabelingExamples(model.tokenizer, model.seq_length, TEXTS, TYPES, request.param == "crf")
    fit(model, examples, 120, 6)
    return model


def test_a_labeler_finds_the_entities_that_it_was_trained_on_nested_ones_with_a_pointer(trained):
    found = trained.predict([text.text for text in TEXTS])
    wanted = [list(text.entities) for text in TEXTS]
    assert found == ([flat(entities) for entities in wanted] if trained.head == "crf" else wanted)
    for text, entities in zip(TEXTS, found, strict=True):
        assert all(text.text[e.start : e.end] == e.text for e in entities)


@pytest.mark.once
def test_a_text_has_the_same_entities_alone_and_in_any_batch(trained):
    texts = [text.text for text in TEXTS] + ["车", "昨天"]
    together = trained.predict(texts, batch_size=5)
    assert [trained.label(text) for text in texts] == together
    assert any(together)


@pytest.mark.once
def test_a_text_of_several_windows_is_read_sentence_by_sentence(trained):
    sentences = [text.text for text in TEXTS if text.text.endswith("。")]
    long = "".join(sentences)
    assert len(long) > 2 * trained.seq_length
    wanted, start = [], 0
    for sentence in sentences:
        wanted += [(e.start + start, e.end + start, e.type) for e in trained.label(sentence)]
        start += len(sentence)
    narrow = Labeler(trained.model, trained.tokenizer, trained.types, trained.head, seq_length=15)
    assert narrow.num_windows([long, "昨天"]) == [len(sentences), 1]
    found = narrow.label(long)
    assert [(e.start, e.end, e.type) for e in found] == wanted
    assert all(long[e.start : e.end] == e.text for e in found)


def test_a_saved_labeler_is_the_same(trained, tmp_path):
    trained.save(tmp_path)
    loaded = nlptasks.load(tmp_path)
    assert isinstance(loaded, Labeler)
    assert (loaded.types, loaded.head, loaded.seq_length) == (TYPES, trained.head, 23)
    texts = [text.text for text in TEXTS]
    assert loaded.predict(texts) == trained.predict(texts)


@pytest.mark.parametrize("head", HEADS)
def test_rows_that_fill_a_batch_do_not_count_in_the_loss(head):
    model = labeler(head)
    examples = LabelingExamples(model.tokenizer, model.seq_length, TEXTS, TYPES, head == "crf")

    def loss_of(rows, count):
        batch = examples.arrays(np.array(rows), count)
        return float(evaluated(lambda batch: model.loss(batch, False), batch, model=model.model))

    loss = [loss_of(range(3), count) for count in (3, 7)]
    assert loss[0] == pytest.approx(loss[1], rel=1e-5)
    one_by_one = [loss_of([i], 1) for i in range(3)]
    assert loss[0] == pytest.approx(np.mean(one_by_one), rel=1e-5)


@pytest.mark.once
def test_an_untrained_crf_still_gives_tags_that_follow_each_other():
    model = labeler("crf")
    for weight in model.model.head_weights().values():
        weight.assign(np.random.default_rng(1).normal(0, 3, weight.shape))
    for text, entities in zip(TEXTS, model.predict([text.text for text in TEXTS]), strict=True):
        assert all(0 <= e.start < e.end <= len(text.text) for e in entities)
        assert all(a.end <= b.start for a, b in itertools.pairwise(entities))


@pytest.mark.parametrize(
    ("texts", "error", "message"),
    [
        ("一个", TypeError, "texts must be a list; for one text call label"),
        (["昨天", ""], ValueError, "item 1: the text is empty"),
        ([3], TypeError, "item 0: expected str"),
    ],
)
@pytest.mark.once
def test_texts_it_cannot_read_are_refused(texts, error, message):
    with pytest.raises(error, match=message):
        labeler().predict(texts)


@pytest.mark.once
def test_an_unknown_head_and_no_types_are_refused():
    model = labeler()
    with pytest.raises(ValueError, match="head must be one of"):
        labeling_model(model.model.transformer, "softmax", 2)
    with pytest.raises(ValueError, match="types is empty"):
        Labeler(model.model, model.tokenizer, (), "crf", 23)
