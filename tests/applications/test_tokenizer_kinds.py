"""Every application on checkpoints whose tokenizer is no vocab.txt, and whose padding is not token 0."""

import json

import keras
import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

import nlptasks
from nlptasks.applications.classification.classifier import (
    ClassificationExamples,
    Classifier,
    classification_model,
)
from nlptasks.applications.conditional.generator import ConditionalGenerator
from nlptasks.applications.encoder_head import check_vocabulary
from nlptasks.applications.reading.reader import Reader
from nlptasks.applications.reading.samples import ReadingExamples
from nlptasks.applications.reading.windows import ReadingLengths
from nlptasks.applications.seq2seq.model import Seq2Seq
from nlptasks.applications.seq2seq.writing import PairLengths
from nlptasks.applications.similarity.encoder import SentenceEncoder
from nlptasks.applications.similarity.network import TransformerEncoder
from nlptasks.applications.similarity.transformer import TransformerModel
from nlptasks.checkpoints.huggingface import save_directory
from nlptasks.core import Transformer, TransformerConfig
from nlptasks.text import Passage, Question, open_tokenizer
from tests.parity import randomised
from tests.text.kinds import save_json

pytestmark = pytest.mark.once
GOOD, BAD = ["很好，推荐。", "质量不错！", "㈱很好"], ["太差了。", "再也不来了", "质量太差"]
RUN = {"epochs": 1, "batch_size": 4, "dropout": 0.0}


def checkpoint(directory, kind="unigram", attention="bidirectional", position="learned"):
    """A small model with a tokenizer whose padding is token 1."""
    directory.mkdir()
    save_json(directory, kind)
    config = TransformerConfig(
        vocab_size=open_tokenizer(directory).vocab_size,
        hidden_size=24,
        num_layers=1,
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


@pytest.fixture(scope="module")
def pair(tmp_path_factory):
    """The same checkpoint twice: padding is token 1, and token 0."""
    directory = tmp_path_factory.mktemp("pair")
    first = checkpoint(directory / "one")
    second = swapped(first, directory / "zero")
    assert (open_tokenizer(first).pad_id, open_tokenizer(second).pad_id) == (1, 0)
    return first, second


def test_a_classifier_gives_the_same_wherever_padding_stands(pair):
    texts, losses, found = [(text, "很好") for text in (*GOOD, *BAD)], [], []
    for start in pair:
        keras.utils.set_random_seed(5)
        encoder = nlptasks.build_transformer_model(start, start, skip=["cls."])
        model = classification_model(encoder, 2, dropout=0.0)
        classifier = Classifier(model, open_tokenizer(start), ["good", "bad"], 32, pair=True, pooling="mean")
        examples = ClassificationExamples(classifier, texts, [["good"]] * 3 + [["bad"]] * 3)
        losses.append(float(classifier.loss(examples.arrays(np.arange(6), 7), training=False)))
        found.append([list(one.scores.values()) for one in classifier.predict(texts)])
    assert np.ptp(found[0]) > 1e-3
    np.testing.assert_allclose(*found, atol=1e-5)
    assert losses[0] == pytest.approx(losses[1], rel=1e-5)


def test_a_classifier_trains_on_bytes_with_roberta_s_positions(tmp_path):
    start = checkpoint(tmp_path / "one", "bpe", position="counted")
    texts, labels = [*GOOD, *BAD], ["good"] * 3 + ["bad"] * 3
    trained = Classifier.train(texts, labels, (texts, labels), tmp_path / "run", checkpoint=str(start), **RUN)
    config = trained.model.transformer.config
    assert (config.position, config.pad_id, trained.tokenizer.kind) == ("counted", 1, "BPE")
    assert trained.tokenizer.pad_id == 1


def test_sentence_vectors_are_the_same_wherever_padding_stands(pair, tmp_path):
    texts, found = [*GOOD, *BAD, "短"], []
    for start in pair:
        transformer = nlptasks.build_transformer_model(start, start, skip=["cls."])
        encoder = SentenceEncoder(TransformerModel(TransformerEncoder(transformer, "mean"), open_tokenizer(start), 32))
        found.append(encoder.encode(texts))
    np.testing.assert_allclose(*found, atol=1e-5)
    encoder.save(tmp_path)
    np.testing.assert_array_equal(nlptasks.load(tmp_path).encode(texts), found[-1])


LENGTHS = {"passage_length": 48, "question_length": 24, "answer_length": 16}


def questions():
    passage = Passage("公司㈱月光在北京成立，有120名员工。", answer="㈱月光")
    other = Passage("沈月白把自行车停在图书馆门口。", answer=None)
    return [Question("1", "哪个公司在北京？", (passage, other), answers=("㈱月光",))] * 16


def same_answers(readers, method):
    """The answer of both readers, whose losses and answers are the same."""
    asked, losses, answers = questions()[:1], [], []
    for reader in readers:
        examples = ReadingExamples(asked, reader.tokenizer, reader.lengths, 0.0, method=method)
        losses.append(float(reader.loss(examples.arrays(examples.batches(0, 1)[0], 2), training=False)))
        answers.append(reader.answer(asked[0].question, [passage.text for passage in asked[0].passages]))
    assert losses[0] == pytest.approx(losses[1], rel=1e-5)
    assert answers[0].text == answers[1].text
    assert answers[0].score == pytest.approx(answers[1].score, rel=1e-4)
    return answers[0]


def test_a_reader_by_masked_tokens_quotes_the_passage_wherever_padding_stands(pair, tmp_path):
    options = RUN | LENGTHS | {"epochs": 16, "learning_rate": 1e-2, "negative_ratio": 0.0, "method": "mlm"}
    reader = Reader.train(questions(), questions()[:1], tmp_path / "run", checkpoint=str(pair[0]), **options)
    other = nlptasks.load(swapped(tmp_path / "run", tmp_path / "swapped"))
    answer = same_answers((reader, other), "mlm")
    assert "㈱月光" in answer.text
    assert answer.text in questions()[0].passages[0].text


def test_a_reader_reads_the_same_wherever_padding_stands(pair):
    def reader(start):
        model = nlptasks.build_transformer_model(start, start, application="unilm", with_mlm="linear")
        return Reader(model, open_tokenizer(start), ReadingLengths(**LENGTHS))

    same_answers([reader(start) for start in pair], "seq2seq")


def test_a_generator_writes_the_same_wherever_padding_stands(pair, tmp_path):
    texts, moods = [*GOOD, *BAD], [{"mood": "good"}] * 3 + [{"mood": "bad"}] * 3
    options = RUN | {"checkpoint": str(pair[0]), "label_size": 8}
    writer = ConditionalGenerator.train(texts, moods, (texts, moods), tmp_path / "run", **options)
    other = nlptasks.load(swapped(tmp_path / "run", tmp_path / "swapped"))
    assert (writer.tokenizer.pad_id, other.tokenizer.pad_id) == (1, 0)
    np.testing.assert_allclose(writer.score(texts, moods)[0], other.score(texts, moods)[0], rtol=1e-4)
    assert writer.generate({"mood": "good"}, max_length=4) == other.generate({"mood": "good"}, max_length=4)


def test_labels_before_the_text_need_tokens_in_the_vocabulary(pair):
    texts, moods = [*GOOD, *BAD], [{"mood": "good"}] * 3 + [{"mood": "bad"}] * 3
    with pytest.raises(ValueError, match=r"\[unused1\] is not there. Add them to it, or use conditioning='norm'"):
        ConditionalGenerator.train(texts, moods, (texts, moods), checkpoint=str(pair[0]), conditioning="prefix", **RUN)


def test_a_padding_that_the_model_does_not_have_is_refused(pair):
    transformer = nlptasks.build_transformer_model(pair[0], pair[0], skip=["cls."])
    with pytest.raises(ValueError, match=r"Padding is token 0 of the tokenizer and 1 of the model \(pad_token_id"):
        check_vocabulary(transformer, open_tokenizer(pair[1]))


def test_a_writer_scores_a_pair_alone_as_beside_a_longer_one(tmp_path):
    path = checkpoint(tmp_path / "unilm", attention="unilm")
    tokenizer = open_tokenizer(path)
    model = nlptasks.build_transformer_model(
        path, path, application="unilm", with_mlm="linear", pad_id=tokenizer.pad_id
    )
    writer = Seq2Seq(model, tokenizer, PairLengths(source_length=40, target_length=8))
    sources = [GOOD[0], GOOD[0] * 3]
    (together, lengths), (alone, _) = writer.score(sources, BAD[:2]), writer.score(sources[:1], BAD[:1])
    assert together[0] == pytest.approx(alone[0], abs=1e-4)
    assert lengths[0] == len(tokenizer.encode(BAD[0])) - 1  # behind what stands before a text
    found = writer.predict(sources, max_length=4)
    assert found[0].text == writer.generate(sources[0], max_length=4)
    with pytest.raises(ValueError, match=r"whole_words needs a vocab\.txt of WordPiece"):
        writer.generate(sources[0], whole_words=True)
