"""Sentence vectors from characters and their runs, beside the same sums written with loops."""

import numpy as np
import pytest

import nlptasks
from nlptasks.applications.similarity.encoder import SentenceEncoder
from nlptasks.applications.similarity.gru import CONFIG, VOCAB, WEIGHTS
from nlptasks.applications.similarity.ngram import NgramModel
from nlptasks.applications.similarity.ngram_runtime import POOLINGS, check_pooling, weight_shapes
from nlptasks.applications.similarity.ngrams import BUCKETS, NgramVocab

TEXTS = ["密码忘了怎么办", "怎样修改密码", "密码", "码", "", "今天有雨吗？密码忘了", "龘", "鱻龘密码", "ＡＢ c码"]
E, HIDDEN, HEADS, CHANNELS = 6, 11, 3, 7


def small_vocab():
    return NgramVocab.build(["密码忘了怎么办", "密码忘了怎样", "怎样修改密码吗", "今天有雨吗"], 12, 9, min_count=1)


def random_model(pooling, seed=0):
    vocab = small_vocab()
    random = np.random.default_rng(seed)
    shapes = weight_shapes(pooling, len(vocab), E, HIDDEN, HEADS, CHANNELS)
    return NgramModel(vocab, {n: random.standard_normal(s).astype("float32") for n, s in shapes.items()}, pooling)


def runs_by_hand(vocab, text):
    """The rows of each character: its own, then those of the known runs that end at it."""
    text = "".join(text.split()).lower() or "\x00"
    text = text.translate({ord("Ａ"): "a", ord("Ｂ"): "b", ord("ａ"): "a", ord("ｂ"): "b", ord("？"): "?"})
    runs = {}
    for place, key in enumerate(vocab.keys.tolist()):
        run = ""
        while key:
            run, key = vocab.characters[key % 2**14 - 1] + run, key // 2**14
        runs[run] = BUCKETS + len(vocab.characters) + place
    found = []
    for i, character in enumerate(text):
        known = character in vocab.characters
        own = BUCKETS + vocab.characters.index(character) if known else ord(character) % BUCKETS
        found.append([own, *(runs[text[a : i + 1]] for a in range(max(0, i - 3), i) if text[a : i + 1] in runs)])
    return found


def vector_by_hand(model, text):
    arrays = {name: array.astype("float64") for name, array in model.runtime.arrays.items()}
    h_TE = np.array([sum(arrays["table"][row] for row in rows) for rows in runs_by_hand(model.vocab, text)])
    z_E = h_TE.sum(0) / np.linalg.norm(h_TE.sum(0)) * E**0.5
    features = [z_E]
    if model.runtime.pooling == "attention":
        for q_E in (z_E @ arrays["query_kernel"]).reshape(HEADS, E):
            share_T = np.exp(h_TE @ q_E / E**0.5)
            features.append(share_T @ h_TE / share_T.sum())
    if model.runtime.pooling == "convolution":
        made_F = np.zeros(CHANNELS)
        for i in range(len(h_TE)):
            total_F = arrays["bias"].copy()
            for place, j in enumerate((i - 1, i, i + 1)):
                if 0 <= j < len(h_TE):
                    total_F += h_TE[j] @ arrays["kernel"][place * E : (place + 1) * E]
            made_F += np.maximum(total_F, 0)
        features.append(made_F / np.linalg.norm(made_F) * CHANNELS**0.5)
    hidden_U = np.maximum(np.concatenate(features) @ arrays["in_kernel"] + arrays["in_bias"], 0)
    y_D = z_E + hidden_U @ arrays["out_kernel"]
    return y_D / np.linalg.norm(y_D)


def test_rows_are_the_characters_and_the_known_runs_that_end_at_each():
    vocab = small_vocab()
    assert len(vocab.keys) == 9
    rows_PO, lengths = vocab.rows(TEXTS)
    start = 0
    for text, length in zip(TEXTS, lengths, strict=True):
        expected = runs_by_hand(vocab, text)
        assert length == len(expected)
        for row_O, own in zip(rows_PO[start : start + length], expected, strict=True):
            assert sorted(row_O[row_O >= 0]) == sorted(own)
            assert row_O[0] == own[0]
        start += length


@pytest.mark.parametrize("pooling", POOLINGS)
def test_vectors_are_those_of_the_definition_alone_and_in_a_list(pooling):
    model = random_model(pooling)
    expected = np.array([vector_by_hand(model, text) for text in TEXTS])
    vectors = model.encode(TEXTS)
    np.testing.assert_allclose(vectors, expected, atol=1e-5)
    np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), 1, atol=1e-6)
    for text, vector in zip(TEXTS, vectors, strict=True):
        np.testing.assert_allclose(model.encode([text])[0], vector, atol=1e-5)
    many = [TEXTS[i] for i in np.random.default_rng(1).integers(len(TEXTS), size=300)]
    np.testing.assert_allclose(model.encode(many), [expected[TEXTS.index(text)] for text in many], atol=1e-5)
    assert model.encode([]).shape == (0, E)


def test_unknown_characters_do_not_all_look_alike():
    vectors = random_model("sum").encode(["龘", "鱻", "😀", "龘"])
    cosines = vectors @ vectors.T
    assert cosines[0, 3] > 0.9999
    assert cosines[0, 1] < 0.99
    assert cosines[0, 2] < 0.99


@pytest.mark.parametrize("pooling", POOLINGS)
def test_a_saved_encoder_opens_with_the_same_vectors(pooling, tmp_path):
    encoder = SentenceEncoder(random_model(pooling), 0.3)
    encoder.save(tmp_path / "full")
    again = nlptasks.load(tmp_path / "full")
    assert np.array_equal(again.encode(TEXTS), encoder.encode(TEXTS))
    assert (again.fingerprint, again.hybrid_weight) == (encoder.fingerprint, 0.3)
    encoder.save(tmp_path / "half", half=True)
    packed = nlptasks.load(tmp_path / "half")
    assert packed.fingerprint != encoder.fingerprint
    assert ((packed.encode(TEXTS) * encoder.encode(TEXTS)).sum(1) > 0.9).all()
    packed.save(tmp_path / "again", half=True)
    for name in (CONFIG, VOCAB, WEIGHTS):
        assert (tmp_path / "again" / name).read_bytes() == (tmp_path / "half" / name).read_bytes()
    packed.add(["密码忘了怎么办", "今天有雨吗"])
    assert packed.most_similar("今天有雨吗")[0].text == "今天有雨吗"


def test_a_directory_that_does_not_fit_is_one_line(tmp_path):
    SentenceEncoder(random_model("sum")).save(tmp_path)
    vocab, config, weights = (tmp_path / name for name in (VOCAB, CONFIG, WEIGHTS))
    whole, settings, bytes_ = vocab.read_text("utf-8"), config.read_text("utf-8"), weights.read_bytes()
    vocab.write_text(whole + "鱻\n", "utf-8")
    with pytest.raises(ValueError, match=r"model.safetensors: the weights do not fit the vocabulary"):
        nlptasks.load(tmp_path)
    vocab.unlink()
    with pytest.raises(FileNotFoundError, match=r"vocab.txt: no such file"):
        nlptasks.load(tmp_path)
    vocab.write_text(whole, "utf-8")
    config.write_text(settings.replace('"sum"', '"max"'), "utf-8")
    with pytest.raises(ValueError, match="pooling must be one of sum, attention, convolution"):
        nlptasks.load(tmp_path)
    config.write_text(settings.replace('"pooling"', '"pool"'), "utf-8")
    with pytest.raises(ValueError, match="lacks or misstates 'pooling'"):
        nlptasks.load(tmp_path)
    config.write_text(settings, "utf-8")
    weights.write_bytes(bytes_[:-8])
    with pytest.raises(ValueError, match="not a readable safetensors file"):
        nlptasks.load(tmp_path)


def test_half_a_surrogate_pair_is_no_character_of_a_vocabulary():
    vocab = NgramVocab.build(["\ud800密\ud800密"], 5, 5)
    assert vocab.characters == ["密"]
    assert vocab.rows(["\ud800"])[1].tolist() == [1]


def test_a_vocabulary_refuses_what_it_cannot_number():
    with pytest.raises(ValueError, match="each once"):
        NgramVocab(["密", "密"], np.zeros(0, "int64"))
    with pytest.raises(ValueError, match="must ascend"):
        NgramVocab(["密"], np.array([3, 3]))
    with pytest.raises(ValueError, match="pooling='max'"):
        check_pooling("max")
    with pytest.raises(TypeError, match=r"texts\[1\] must be str"):
        random_model("sum").encode(["密", None])
    with pytest.raises(TypeError, match="one str"):
        random_model("sum").encode("密")
