"""The picture of an answer: its numbers against the equations of attention, and what the page shows."""

import numpy as np
import pytest
from keras import ops

from nlptasks.applications.reading.picture import answer_attention, draw_answer
from nlptasks.applications.reading.windows import normalize
from tests.applications.reading import test_masked
from tests.applications.reading.test_reader import PASSAGES, questions, reader

pytestmark = pytest.mark.once


@pytest.fixture(scope="module", params=["seq2seq", "mlm"])
def some_reader(request):
    return reader() if request.param == "seq2seq" else test_masked.reader(end_bias=1.0)


def answered(one):
    return next((q, p, a) for (q, p), a in zip(questions(), one.predict(questions()), strict=True) if a.text)


def test_maps_are_probabilities_that_the_mask_leaves(some_reader):
    model, rng = some_reader.model, np.random.default_rng(1)
    token_ids = rng.integers(5, model.config.vocab_size, (2, 9)).astype("int32")
    token_ids[1, 7:] = 0
    segment_ids = (np.arange(9) > 5).astype("int32")[None].repeat(2, axis=0)
    hidden, maps = model.encode(token_ids, segment_ids, with_maps=True)
    assert np.allclose(hidden, model.encode(token_ids, segment_ids), atol=1e-6)
    assert len(maps) == len(model.blocks)
    for found in map(ops.convert_to_numpy, maps):
        assert np.allclose(found.sum(axis=-1), 1.0, atol=1e-5)
        assert (found[1, :, :, 7:] < 1e-6).all()
        if model.config.attention == "unilm":
            assert (found[0, :, :6, 6:] < 1e-6).all()
            assert (found[0, :, 6, 7:] < 1e-6).all()


def test_attention_is_given_for_each_character_that_was_read(some_reader):
    question, passages, answer = answered(some_reader)
    found = answer_attention(some_reader, question, passages, answer)
    assert [len(weights) for weights in found] == [len(passages[e.passage]) for e in answer.evidence]
    for weights in found:
        assert weights.max() > 0
        assert (weights >= 0).all()
        assert weights.max() <= 1


def test_attention_is_the_mean_over_what_predicts_each_token_of_the_answer(some_reader):
    question, passages, answer = answered(some_reader)
    tokenizer, evidence = some_reader.tokenizer, answer.evidence[0]
    passage = passages[evidence.passage]
    read = tokenizer.encode(normalize(passage)).token_ids.tolist()
    source = [*read, *tokenizer.encode(question).token_ids[1:].tolist()]
    written = tokenizer.encode(normalize(answer.text)).token_ids[1:-1].tolist()
    masks = [tokenizer.mask_id] * some_reader.lengths.answer_length
    whole = source + (written if some_reader.method == "seq2seq" else masks)
    segments = [[0] * len(source) + [1] * (len(whole) - len(source))]
    maps = [
        ops.convert_to_numpy(m)
        for m in some_reader.model.encode(np.array([whole]), np.array(segments), with_maps=True)[1]
    ]
    # a token is predicted one place before it stands, or at its mask
    predicting = [len(source) - (some_reader.method == "seq2seq") + i for i in range(len(written))]
    looked = np.mean([m[0, head, row, 1:] for m in maps for head in range(m.shape[1]) for row in predicting], axis=0)
    [found, *_] = answer_attention(some_reader, question, passages, answer)
    offsets = tokenizer.encode(normalize(passage)).offsets
    for token in range(1, len(read) - 1):
        assert found[offsets[token][0]] == pytest.approx(looked[token - 1], abs=1e-5)


def test_the_page_shows_question_answer_votes_and_every_passage(some_reader):
    question, passages, answer = answered(some_reader)
    page = draw_answer(some_reader, question + "<b>", passages, answer)
    assert f"<h1>{question}&lt;b&gt;</h1>" in page
    assert f"<p>{answer.text}</p>" in page
    assert page.count("<h2>") == len(passages)
    assert page.count("class=bar") == len(answer.evidence)
    assert page.count("class=piece") == len(answer.text) * sum(e.start is not None for e in answer.evidence)
    assert "<b>" not in page
    empty = draw_answer(some_reader, "谁", PASSAGES[:1], answer.__class__("", 0.0, ()))
    assert "(no answer)" in empty
