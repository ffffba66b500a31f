"""A Transformer as the sentence encoder."""

import numpy as np
import pytest
from keras import ops

import nlptasks
from nlptasks.applications.similarity.encoder import SentenceEncoder
from nlptasks.applications.similarity.network import TransformerEncoder
from nlptasks.applications.similarity.transformer import TransformerModel
from nlptasks.core import Transformer, TransformerConfig
from nlptasks.text import Tokenizer, build_character_vocab
from tests.applications.similarity.similarity_cases import SENTENCES


def model(pooling="mean", seq_length=13):
    tokenizer = Tokenizer(build_character_vocab(SENTENCES))
    config = TransformerConfig(
        vocab_size=tokenizer.vocab_size, hidden_size=6, num_layers=1, num_heads=2, ffn_size=11, max_positions=17,
        initializer_range=0.5,
    )  # fmt: skip
    return TransformerModel(TransformerEncoder(Transformer(config), pooling), tokenizer, seq_length)


@pytest.mark.once
def test_vectors_are_the_networks_one_by_one(monkeypatch):
    ours = model()
    vectors = SentenceEncoder(ours).encode([*SENTENCES, "很" * 40])
    for sentence, vector in zip([*SENTENCES, "很" * 40], vectors, strict=True):
        ids = ours.tokenizer.encode(sentence, max_length=13).token_ids
        np.testing.assert_allclose(ops.convert_to_numpy(ours.network(ids[None]))[0], vector, atol=2e-6)


@pytest.mark.parametrize("pooling", ["first", "mean"])
@pytest.mark.once
def test_it_saves_and_loads_with_the_same_vectors_and_fingerprint(tmp_path, pooling):
    encoder = SentenceEncoder(model(pooling))
    encoder.save(tmp_path)
    again = nlptasks.load(tmp_path)
    assert again.model.network.pooling == pooling
    np.testing.assert_allclose(again.encode(SENTENCES), encoder.encode(SENTENCES), atol=1e-6)
    assert again.fingerprint == encoder.fingerprint
    again.add(SENTENCES)
    assert again.most_similar(SENTENCES[4], 1)[0].position == 4


@pytest.mark.once
def test_a_directory_of_the_former_name_of_a_pooling_is_read(tmp_path):
    encoder = SentenceEncoder(model("first"))
    encoder.save(tmp_path)
    config = tmp_path / "config.json"
    config.write_text(config.read_text(encoding="utf-8").replace('"first"', '"cls"'), encoding="utf-8")
    again = nlptasks.load(tmp_path)
    assert again.model.network.pooling == "first"
    assert again.fingerprint == encoder.fingerprint
    assert SentenceEncoder(model("mean")).fingerprint != encoder.fingerprint


@pytest.mark.once
def test_what_does_not_fit_is_refused(tmp_path):
    ours = model()
    with pytest.raises(ValueError, match=r"seq_length must lie in 3 to 17, the positions of the model"):
        TransformerModel(ours.network, ours.tokenizer, 18)
    with pytest.raises(ValueError, match="give the vocabulary that the model was trained with"):
        TransformerModel(ours.network, Tokenizer(build_character_vocab(["山"])), 13)
    with pytest.raises(ValueError, match="only a GRU's weights are saved in float16"):
        SentenceEncoder(ours).save(tmp_path, half=True)
