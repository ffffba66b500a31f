"""Explanations: integrals that are complete, methods against their definitions, and what the command writes."""

import json

import numpy as np
import pytest
from keras import ops

from nlptasks import command
from nlptasks.applications.reading.reader import Answer, Evidence, Reader
from nlptasks.applications.reading.span import span_model
from nlptasks.applications.reading.windows import ReadingLengths, SpanLengths
from nlptasks.applications.scratch import scratch_config, transformer_from_scratch
from nlptasks.errors import UserError
from nlptasks.explain.explained import answer_to_question, entity_of_text, label_of_text
from nlptasks.explain.methods import BASELINES, Methods
from nlptasks.explain.page import as_values, draw, of_characters
from nlptasks.text.entities import Entity
from tests.applications.labeling.label_cases import classifier, encoder, labeler, tokenizer

TEXT = "菜很好吃服务差"
QUESTION, PASSAGES = "谁在南山？", ["沈月在南山。"]


def sharpened(application):
    """Larger weights, so that the way from the baseline to the text is curved."""
    random = np.random.default_rng(5)
    for weight in application.model.trainable_variables:
        if "kernel" in weight.path or "embeddings" in weight.path:
            weight.assign(random.normal(0, 0.35, weight.shape))
    return application


@pytest.fixture(scope="module")
def explained():
    return label_of_text(sharpened(classifier()), TEXT, "good")


@pytest.fixture(scope="module")
def methods(explained):
    return Methods(explained)


def span_reader():
    tokens = tokenizer([QUESTION, *PASSAGES])
    return Reader(span_model(encoder(tokens, 68), 0.0), tokens, SpanLengths(window_length=68), "span")


def written_reader(method):
    tokens = tokenizer([QUESTION, *PASSAGES])
    lengths = ReadingLengths(passage_length=9, question_length=7, answer_length=4)
    attention = {"seq2seq": "unilm", "mlm": "bidirectional"}[method]
    config = scratch_config(tokens.vocab_size, lengths.total, 22, 2, 2, 29, 0.0, attention=attention)
    return Reader(transformer_from_scratch(config, with_mlm="linear"), tokens, lengths, method)


def kinds():
    pair = sharpened(classifier(pair=True, pooling="mean", seq_length=19))
    yield "pair", label_of_text(pair, ("菜很好吃", "服务很差"))
    for head in ("crf", "global-pointer"):
        entity = Entity(2, 4, "name", "沈月")
        yield head, entity_of_text(sharpened(labeler(head)), "昨天沈月去了南山。", entity)
    answer = Answer("沈月", 0.0, (Evidence(0, 0, 0.5, 0, 2),))
    for reader in (span_reader(), written_reader("seq2seq"), written_reader("mlm")):
        yield reader.method, answer_to_question(sharpened(reader), QUESTION, PASSAGES, answer)


@pytest.mark.once
def test_the_scores_of_every_application_sum_up_to_the_difference():
    """To 1 % of the difference, and at least to 0.001."""
    names = []
    for name, one in kinds():
        found = Methods(one).integrated_gradients()
        assert abs(found.scores.sum() - (found.value - found.baseline_value)) <= 0.01 * max(
            abs(found.value - found.baseline_value), 0.1
        ), name
        assert found.complete, name
        assert np.abs(found.scores).max() > 1e-3, name
        assert not found.scores[~one.asked].any(), name
        names.append(name)
    assert names == ["pair", "crf", "global-pointer", "span", "seq2seq", "mlm"]


@pytest.mark.parametrize("baseline", BASELINES)
def test_completeness_holds_from_every_baseline_and_steps_are_added_until_it_does(methods, baseline):
    found = methods.integrated_gradients(baseline)
    assert found.complete
    few = methods.integrated_gradients(baseline, most_steps=1)
    assert few.steps < found.steps or few.complete


def test_the_value_is_the_logit_of_the_classifier(explained, methods):
    ids, segments = explained.token_ids[None], explained.segment_ids[None]
    model = sharpened(classifier())
    logits = ops.convert_to_numpy(model.logits(ids, segments, training=False))[0]
    found = methods.integrated_gradients()
    assert found.value == pytest.approx(logits[model.labels.index("good")], abs=1e-4)
    masked = np.where(explained.asked, model.tokenizer.mask_id, explained.token_ids)[None]
    baseline = ops.convert_to_numpy(model.logits(masked, segments, training=False))[0]
    assert found.baseline_value == pytest.approx(baseline[model.labels.index("good")], abs=1e-4)


def test_gradient_times_input_is_the_derivative_of_scaling_a_token(explained, methods):
    found, table = methods.gradient_times_input(), methods._table[explained.token_ids]
    vectors = np.repeat(table[None], 4, axis=0)
    for row, (place, sign) in enumerate(((2, 1), (2, -1), (5, 1), (5, -1))):
        vectors[row, place] *= 1 + sign * 1e-2
    values = methods._gradients(vectors)[0]
    by_steps = [(values[0] - values[1]) / 2e-2, (values[2] - values[3]) / 2e-2]
    np.testing.assert_allclose(found[[2, 5]], by_steps, rtol=2e-2, atol=1e-3)
    assert found[0] == 0


def test_occlusion_is_what_the_logit_loses_and_the_deletion_curve_follows_the_order(explained, methods):
    found = methods.occlusion()
    ids = np.repeat(explained.token_ids[None], 2, axis=0)
    ids[1, 3] = explained.tokenizer.mask_id
    values = methods.values(ids)
    assert found[3] == pytest.approx(values[0] - values[1], abs=1e-5)
    curve = methods.deletion_curve(found, (0.01, 1.0))
    assert curve[0] == pytest.approx(values[0] - found[explained.asked].max(), abs=1e-5)
    assert curve[1] == pytest.approx(methods.integrated_gradients().baseline_value, abs=1e-4)
    orders = np.stack([found, -found])
    both = methods.deletion_curve(orders, (0.3, 0.6))
    np.testing.assert_allclose(both, [methods.deletion_curve(one, (0.3, 0.6)) for one in orders], atol=1e-5)
    assert (both[0] < both[1]).all()


def test_rollout_is_a_distribution_and_follows_the_attention(explained, methods):
    found = methods.attention_rollout()
    assert (found >= 0).all()
    assert 0 < found.sum() < 1  # the rest flows from special tokens
    maps = explained.transformer.encode(explained.token_ids[None], explained.segment_ids[None], with_maps=True)[1]
    first, second = (0.5 * ops.convert_to_numpy(m)[0].mean(axis=0) + 0.5 * np.eye(len(found)) for m in maps)
    np.testing.assert_allclose(found, (second @ first)[0] * explained.asked, rtol=1e-4, atol=1e-6)


def test_the_page_shades_each_character_and_the_values_name_its_place(explained, methods):
    integrated, others = methods.integrated_gradients(), {"occlusion": methods.occlusion()}
    page = draw(explained, integrated, others)
    assert page.count("<span style=") == 2 * len(TEXT)
    assert "logit of good" in page
    values = as_values(explained, integrated, others)
    assert [row["token"] for row in values["tokens"]] == list(TEXT)
    assert [row["start"] for row in values["tokens"]] == list(range(len(TEXT)))
    assert of_characters(explained, integrated.scores)[0][0] == integrated.scores[1]


def test_texts_of_a_pair_are_told_apart():
    pair = label_of_text(classifier(pair=True, seq_length=19), ("菜很好吃", "服务差"))
    places = [place for place in pair.places if place is not None]
    assert places == [(0, i, i + 1) for i in range(4)] + [(1, i, i + 1) for i in range(3)]


def test_the_command_prints_json_writes_a_page_and_refuses_what_it_cannot_explain(tmp_path, capsys):
    sharpened(classifier()).save(tmp_path / "model")
    given = ["explain", "--model", str(tmp_path / "model"), "--text", TEXT]
    page = tmp_path / "page.html"
    assert command.main([*given, "--label", "bad", "--json", "--output", str(page)]) == 0
    found = json.loads(capsys.readouterr().out)
    assert (found["explained"], found["complete"]) == ("logit of bad", True)
    assert set(found["tokens"][0]) >= {"integrated_gradients", "gradient_times_input", "attention_rollout", "occlusion"}
    assert page.read_text(encoding="utf-8").startswith("<!doctype html>")
    for more, message in (
        (["--label", "other"], "error: other: no label of this model; it has bad, good."),
        (["--baseline", "noise"], "error: --baseline must be one of zero, mask, mean. Received: 'noise'."),
        (["--second-text", "差"], "this classifier reads texts; leave out --second-text."),
        (["--question", "谁？"], "error: give either --text TEXT or --question with --passage."),
    ):
        assert command.main([*given, *more]) == 2
        assert message in capsys.readouterr().err


def test_a_question_without_an_answer_has_nothing_to_explain():
    with pytest.raises(UserError, match="the question has no answer in the passages"):
        answer_to_question(span_reader(), QUESTION, PASSAGES, Answer("", 0.0, ()))
