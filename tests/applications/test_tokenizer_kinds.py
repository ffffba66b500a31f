"""Every application on checkpoints whose tokenizer is no vocab.txt, and whose padding is not token 0."""

import json
import os
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

import nlptasks
from nlptasks.applications.classification.classifier import Classifier
from nlptasks.applications.conditional.generator import ConditionalGenerator
from nlptasks.applications.encoder_head import check_vocabulary
from nlptasks.applications.reading.reader import Reader
from nlptasks.applications.similarity.encoder import SentenceEncoder
from nlptasks.applications.similarity.network import TransformerEncoder
from nlptasks.applications.similarity.transformer import TransformerModel
from nlptasks.checkpoints.huggingface import save_directory
from nlptasks.core import Transformer, TransformerConfig
from nlptasks.text import Passage, Question, open_tokenizer
from tests.parity import randomised
from tests.text.kinds import save_json

GOOD, BAD = ["很好，推荐。", "质量不错！", "㈱很好"], ["太差了。", "再也不来了", "质量太差"]
RUN = {"epochs": 2, "batch_size": 4, "dropout": 0.0}


def checkpoint(directory, kind="unigram", attention="bidirectional", position="learned"):
    """A small model with a tokenizer whose padding is token 1."""
    directory.mkdir()
    save_json(directory, kind)
    config = TransformerConfig(
        vocab_size=open_tokenizer(directory).vocab_size,
        hidden_size=24,
        num_layers=2,
        num_heads=3,
        ffn_size=40,
        max_positions=130,
        pad_id=1,
        position=position,
        attention=attention,
        segment_vocab_size=1 if position == "counted" else 2,
    )
    model = Transformer(config, with_mlm="linear")
    model.build()
    save_directory(randomised(model), directory)
    return directory


def swapped(source, target):
    """A copy of a checkpoint in which the tokens 0 and 1 have changed places."""
    target.mkdir()
    values = json.loads((source / "tokenizer.json").read_text(encoding="utf-8"))
    vocab = values["model"]["vocab"]
    vocab[0], vocab[1] = vocab[1], vocab[0]
    other = {0: 1, 1: 0}
    for token in values["added_tokens"]:
        token["id"] = other.get(token["id"], token["id"])
    processor = values["post_processor"]
    if processor["type"] == "TemplateProcessing":
        for token in processor["special_tokens"].values():
            token["ids"] = [other.get(i, i) for i in token["ids"]]
    else:
        for name in ("sep", "cls"):
            processor[name][1] = other.get(processor[name][1], processor[name][1])
    (target / "tokenizer.json").write_text(json.dumps(values, ensure_ascii=False), encoding="utf-8")
    (target / "tokenizer_config.json").write_bytes((source / "tokenizer_config.json").read_bytes())
    config = json.loads((source / "config.json").read_text()) | {"pad_token_id": open_tokenizer(target).pad_id}
    (target / "config.json").write_text(json.dumps(config))
    tensors = load_file(source / "model.safetensors")
    for name, array in tensors.items():
        if name.endswith("word_embeddings.weight") or name.endswith("predictions.bias"):
            tensors[name] = array[[1, 0, *range(2, len(array))]]
    save_file(tensors, target / "model.safetensors")
    return target


@pytest.fixture
def pair(tmp_path):
    """The same checkpoint twice: padding is token 1, and token 0."""
    first = checkpoint(tmp_path / "one")
    second = swapped(first, tmp_path / "zero")
    assert (open_tokenizer(first).pad_id, open_tokenizer(second).pad_id) == (1, 0)
    return first, second


def classified(start, **options):
    texts, labels = [*GOOD, *BAD], ["good"] * 3 + ["bad"] * 3
    if options.pop("pair", False):
        texts = [(text, "很好") for text in texts]
    classifier = Classifier.train(texts, labels, (texts, labels), checkpoint=str(start), **RUN, **options)
    return np.array([list(one.scores.values()) for one in classifier.predict(texts)])


@pytest.mark.parametrize("options", [{"pooling": "mean"}, {"pair": True}])
def test_a_classifier_gives_the_same_wherever_padding_stands(options, pair):
    one, zero = (classified(start, **options) for start in pair)
    assert np.ptp(one) > 1e-3
    np.testing.assert_allclose(one, zero, atol=2e-5)


@pytest.mark.parametrize("kind", ["bpe", "wordpiece"])
def test_a_classifier_takes_other_kinds_and_roberta_s_positions(kind, tmp_path):
    start = checkpoint(tmp_path / "one", kind, position="counted")
    output = tmp_path / "run"
    texts, labels = [*GOOD, *BAD], ["good"] * 3 + ["bad"] * 3
    trained = Classifier.train(texts, labels, (texts, labels), output, checkpoint=str(start), **RUN)
    again = nlptasks.load(output)
    assert again.model.transformer.config.position == "counted"
    assert [one.scores for one in again.predict(texts)] == [one.scores for one in trained.predict(texts)]


def test_sentence_vectors_are_the_same_wherever_padding_stands(pair, tmp_path):
    texts, found = [*GOOD, *BAD, "短"], []
    for number, start in enumerate(pair):
        tokenizer = open_tokenizer(start)
        transformer = nlptasks.build_transformer_model(start, start, skip=["cls."])
        model = TransformerModel(TransformerEncoder(transformer, "mean"), tokenizer, 32)
        encoder = SentenceEncoder(model)
        encoder.save(tmp_path / str(number))
        again = nlptasks.load(tmp_path / str(number))
        np.testing.assert_array_equal(again.encode(texts), encoder.encode(texts))
        found.append(encoder.encode(texts))
    np.testing.assert_allclose(*found, atol=1e-5)


def questions():
    passage = Passage("公司㈱月光在北京成立，有120名员工。", answer="㈱月光")
    other = Passage("沈月白把自行车停在图书馆门口。", answer=None)
    return [Question("1", "哪个公司在北京？", (passage, other), answers=("㈱月光",))] * 16


@pytest.mark.parametrize("method", ["seq2seq", "mlm"])
def test_a_reader_quotes_the_passage_wherever_padding_stands(method, pair):
    asked = questions()[:1]
    answers = []
    for start in pair:
        options = RUN | {"epochs": 6, "learning_rate": 5e-3, "practice_share": 0.0, "negative_ratio": 0.0}
        options |= {"passage_length": 48, "question_length": 24, "answer_length": 16}
        reader = Reader.train(questions(), asked, checkpoint=str(start), method=method, **options)
        passages = [passage.text for passage in asked[0].passages]
        answers.append(reader.answer(asked[0].question, passages))
    assert answers[0].text == answers[1].text
    assert "㈱月光" in answers[0].text
    assert answers[0].text in asked[0].passages[0].text
    assert answers[0].score == pytest.approx(answers[1].score, abs=1e-2)


def test_a_generator_writes_the_same_wherever_padding_stands(pair, tmp_path):
    texts, moods = [*GOOD, *BAD], [{"mood": "good"}] * 3 + [{"mood": "bad"}] * 3
    scores = []
    for number, start in enumerate(pair):
        options = RUN | {"checkpoint": str(start), "label_size": 8}
        writer = ConditionalGenerator.train(texts, moods, (texts, moods), tmp_path / str(number), **options)
        scores.append(writer.score(texts, moods)[0])
        assert writer.tokenizer.pad_id == 1 - number
        again = nlptasks.load(tmp_path / str(number))
        assert again.generate({"mood": "good"}, max_length=4) == writer.generate({"mood": "good"}, max_length=4)
    np.testing.assert_allclose(*scores, rtol=1e-4)


def test_labels_before_the_text_need_tokens_in_the_vocabulary(pair):
    texts, moods = [*GOOD, *BAD], [{"mood": "good"}] * 3 + [{"mood": "bad"}] * 3
    with pytest.raises(ValueError, match=r"\[unused1\] is not there. Add them to it, or use conditioning='norm'"):
        ConditionalGenerator.train(texts, moods, (texts, moods), checkpoint=str(pair[0]), conditioning="prefix", **RUN)


def test_a_padding_that_the_model_does_not_have_is_refused(pair):
    transformer = nlptasks.build_transformer_model(pair[0], pair[0], skip=["cls."])
    with pytest.raises(ValueError, match=r"Padding is token 0 of the tokenizer and 1 of the model \(pad_token_id"):
        check_vocabulary(transformer, open_tokenizer(pair[1]))


@pytest.mark.skipif("NLPTASKS_DATA" not in os.environ, reason="NLPTASKS_DATA names no folder of data")
def test_a_real_model_gives_the_same_wherever_padding_stands(tmp_path):
    zero = Path(os.environ["NLPTASKS_DATA"]) / "checkpoints" / "pieces"
    if not zero.is_dir():
        pytest.skip("checkpoints/pieces is not among the data")
    one, texts, found = (
        swapped(zero, tmp_path / "one"),
        ["query: 今天天气很好", "query: 怎么办理㈱登记½？", "query: 短"],
        [],
    )
    for start in (zero, one):
        tokenizer = open_tokenizer(start)
        network = TransformerEncoder(nlptasks.build_transformer_model(start, start), "mean")
        found.append(TransformerModel(network, tokenizer, 64).encode(texts))
    np.testing.assert_allclose(*found, atol=1e-5)
    assert open_tokenizer(one).pad_id == 1
