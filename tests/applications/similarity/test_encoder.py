"""The application and its index: what is saved comes back, an equal is found first, what does not fit is refused."""

import numpy as np
import pytest

import nlptasks
from nlptasks.applications.similarity import gru, index_files
from nlptasks.applications.similarity import index as similarity_index
from nlptasks.applications.similarity.encoder import SentenceEncoder
from nlptasks.applications.similarity.gru import GruModel
from nlptasks.applications.similarity.index import SentenceIndex
from tests.applications.similarity.similarity_cases import SENTENCES, gru_arrays, random_encoder
from tests.text.test_lexical import plain_bm25

pytestmark = pytest.mark.once


def test_vectors_have_length_one_and_similarity_is_their_cosine():
    encoder = random_encoder()
    vectors = encoder.encode(SENTENCES)
    assert vectors.shape == (len(SENTENCES), 7)
    np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), 1, atol=1e-6)
    np.testing.assert_allclose(encoder.encode(SENTENCES[3]), vectors[3:4], atol=1e-6)
    assert encoder.encode([]).shape == (0, 7)
    np.testing.assert_array_equal(encoder.predict(SENTENCES), vectors)
    with pytest.raises(TypeError, match="predict takes a list of sentences; for one sentence call encode"):
        encoder.predict("一")
    assert encoder.similarity(SENTENCES[0], SENTENCES[5]) == pytest.approx(float(vectors[0] @ vectors[5]), abs=1e-6)
    assert encoder.similarity("一样", "一样") == pytest.approx(1.0, abs=1e-6)
    np.testing.assert_allclose(
        encoder.similarity(SENTENCES[:3], SENTENCES[4:7]), (vectors[:3] * vectors[4:7]).sum(axis=1), atol=1e-6
    )
    with pytest.raises(ValueError, match=r"pair by pair\. Received: 1 and 2 sentences"):
        encoder.similarity("一", ["一", "二"])


@pytest.mark.parametrize("half", [False, True])
def test_a_saved_encoder_gives_the_same_vectors(tmp_path, half):
    encoder = random_encoder(seq_length=5)
    encoder.hybrid_weight = 0.25
    encoder.save(tmp_path / "model", half=half)
    again = nlptasks.load(tmp_path / "model")
    assert isinstance(again, SentenceEncoder)
    assert (again.hybrid_weight, again.model.seq_length) == (0.25, 5)
    np.testing.assert_allclose(again.encode(SENTENCES), encoder.encode(SENTENCES), atol=2e-2 if half else 0)
    assert (again.fingerprint == encoder.fingerprint) == (not half)
    assert nlptasks.load(tmp_path / "model").fingerprint == again.fingerprint


def test_a_mean_of_embeddings_is_blended_into_the_cosine(tmp_path, monkeypatch):
    monkeypatch.setattr(gru, "ROWS", 5)
    base = random_encoder().model
    mixed = SentenceEncoder(GruModel(base.vocab, base.arrays, 64, 0.3))
    table = base.arrays["embeddings"].astype("float64")
    means = np.stack([table[ids].mean(axis=0) for ids in base.vocab.encode_batch(SENTENCES)])
    means /= np.linalg.norm(means, axis=1, keepdims=True)
    states = base.encode(SENTENCES)
    vectors = mixed.encode(SENTENCES)
    assert vectors.shape == (len(SENTENCES), mixed.vector_size) == (len(SENTENCES), 7 + 5)
    np.testing.assert_allclose(vectors @ vectors.T, 0.7 * states @ states.T + 0.3 * means @ means.T, atol=1e-5)
    mixed.save(tmp_path)
    again = nlptasks.load(tmp_path)
    np.testing.assert_array_equal(again.encode(SENTENCES), vectors)
    assert again.fingerprint == mixed.fingerprint != random_encoder().fingerprint
    with pytest.raises(ValueError, match=r"mean_weight must lie in \[0, 1\]"):
        GruModel(base.vocab, base.arrays, 64, 1.1)


def test_the_mean_of_the_states_comes_back_and_tells_models_apart(tmp_path):
    base = random_encoder().model
    mean = SentenceEncoder(GruModel(base.vocab, base.arrays, 64, pooling="mean"))
    mean.save(tmp_path)
    again = nlptasks.load(tmp_path)
    np.testing.assert_array_equal(again.encode(SENTENCES), mean.encode(SENTENCES))
    assert np.abs(mean.encode(SENTENCES) - base.encode(SENTENCES)).max() > 0.1
    assert again.fingerprint == mean.fingerprint != SentenceEncoder(base).fingerprint
    with pytest.raises(ValueError, match=r"pooling must be one of last, mean\."):
        GruModel(base.vocab, base.arrays, 64, pooling="cls")


def test_fingerprints_differ_where_vectors_would():
    base = random_encoder().model
    others = [
        random_encoder(seed=4),
        random_encoder(seq_length=3),
        SentenceEncoder(GruModel(base.vocab.build(SENTENCES[:5]), gru_arrays(len(base.vocab)), 64)),
    ]
    prints = {SentenceEncoder(base).fingerprint, *(other.fingerprint for other in others)}
    assert len(prints) == 4
    assert random_encoder().fingerprint in prints


@pytest.mark.parametrize("exact_below", [0, 1000])
@pytest.mark.parametrize("hybrid", [False, True])
def test_search_finds_an_exact_duplicate_first(monkeypatch, exact_below, hybrid):
    monkeypatch.setattr(similarity_index, "EXACT_BELOW", exact_below)
    encoder = random_encoder()
    encoder.add(SENTENCES)
    for position, sentence in enumerate(SENTENCES):
        best = encoder.most_similar(sentence, 3, hybrid=hybrid)[0]
        assert (best.text, best.position) == (sentence, position)
        if not hybrid:
            assert best.score == pytest.approx(1.0, abs=2e-3)  # the index holds half precision


def test_the_nearest_are_those_of_a_full_comparison(rng, monkeypatch):
    random = rng.normal(size=(997, 11)).astype("float32")
    vectors = random / np.linalg.norm(random, axis=1, keepdims=True)
    index = SentenceIndex(11, "x")
    index.add([f"句{i}" for i in range(500)], vectors[:500])
    index.add([f"句{i}" for i in range(500, 997)], vectors[500:])
    expected = np.argsort(-(vectors[:53] @ vectors.T), axis=1)[:, :10]
    for exact, least in ((True, 0.99), (False, 0.95)):
        keys, cosines = index.nearest(vectors[:53], 10, exact)
        shared = np.mean([len(set(a) & set(b)) / 10 for a, b in zip(keys.tolist(), expected.tolist(), strict=True)])
        assert shared >= least
        np.testing.assert_allclose(cosines, np.take_along_axis(vectors[:53] @ vectors.T, keys, axis=1), atol=3e-3)


def test_a_hybrid_score_is_the_blend_of_both(rng):
    encoder = random_encoder()
    encoder.hybrid_weight = 0.3
    encoder.add(SENTENCES)
    query = "红烧肉怎么改"
    words = plain_bm25(query, SENTENCES, relative=True)
    expected = 0.7 * (encoder.encode(SENTENCES) @ encoder.encode([query])[0]) + 0.3 * np.array(words)
    found = encoder.most_similar(query, len(SENTENCES), hybrid=True)
    assert [m.position for m in found] == np.argsort(-expected, kind="stable").tolist()
    np.testing.assert_allclose([m.score for m in found], np.sort(expected)[::-1], atol=2e-3)
    assert [m.text for m in found] == [SENTENCES[m.position] for m in found]
    plain = encoder.most_similar(query, len(SENTENCES))
    np.testing.assert_allclose(
        [m.score for m in plain], np.sort(encoder.encode(SENTENCES) @ encoder.encode([query])[0])[::-1], atol=2e-3
    )


def test_what_is_found_by_words_alone_is_a_candidate(monkeypatch):
    monkeypatch.setattr(similarity_index, "CANDIDATES", 1)
    encoder = random_encoder()
    encoder.hybrid_weight = 1.0
    encoder.add(SENTENCES)
    assert encoder.most_similar("请教红烧肉", 1, hybrid=True)[0].text == "请教红烧肉怎么烧"


def results(encoder, hybrid=True):
    found = [encoder.most_similar(sentence, 4, hybrid) for sentence in SENTENCES]
    return [[(m.text, m.position) for m in row] for row in found], [[m.score for m in row] for row in found]


@pytest.mark.parametrize("exact_below", [0, 1000])
def test_a_saved_index_finds_the_same_and_grows_without_a_rebuild(tmp_path, monkeypatch, exact_below):
    monkeypatch.setattr(similarity_index, "EXACT_BELOW", exact_below)
    whole, encoder = random_encoder(), random_encoder()
    whole.add(SENTENCES)
    encoder.make_index(SENTENCES[:9]).save(tmp_path)
    index = encoder.open_index(tmp_path)
    encoded = []
    monkeypatch.setattr(
        encoder.model, "encode", lambda texts, old=encoder.model.encode: encoded.append(texts) or old(texts)
    )
    encoder.add(SENTENCES[9:])
    assert encoded == [SENTENCES[9:]]  # nothing that was there is computed again
    assert len(index) == len(SENTENCES)
    index.save(tmp_path)
    again = random_encoder()
    again.open_index(tmp_path)
    expected, scores = results(whole)
    for other in (encoder, again):
        found, found_scores = results(other)
        assert found == expected
        np.testing.assert_allclose(found_scores, scores, atol=1e-6)
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "index.json", "lexical.1.npz", "texts.1.txt", "vectors.1.usearch",
    ]  # fmt: skip


def test_an_opened_index_that_is_saved_where_it_was_can_still_grow(tmp_path):
    encoder = random_encoder()
    encoder.make_index([*SENTENCES, "有\r回车"]).save(tmp_path)
    index = encoder.open_index(tmp_path)
    index.save(tmp_path)
    encoder.add(["又一句"])
    assert encoder.most_similar("又一句", 1)[0].position == len(SENTENCES) + 1
    assert encoder.most_similar("有\r回车", 1)[0].text == "有\r回车"
    assert encoder.most_similar_batch([]) == []


def test_the_index_of_another_model_is_refused(tmp_path):
    random_encoder().make_index(SENTENCES).save(tmp_path)
    random_encoder().open_index(tmp_path)
    other = random_encoder(seed=4)
    with pytest.raises(ValueError, match=f"made by another model .its fingerprint is {random_encoder().fingerprint}"):
        other.open_index(tmp_path)
    assert other.index is None


def test_a_save_that_fails_leaves_the_former_index(tmp_path, monkeypatch):
    encoder = random_encoder()
    encoder.make_index(SENTENCES[:4]).save(tmp_path)
    index = encoder.open_index(tmp_path)
    encoder.add(["又一句"])

    def fail(*_):
        raise OSError("disk full")

    with monkeypatch.context() as patched:
        patched.setattr(index_files, "write_text", fail)
        with pytest.raises(OSError, match="disk full"):
            index.save(tmp_path)
    assert len(random_encoder().open_index(tmp_path)) == 4
    index.save(tmp_path)
    assert len(random_encoder().open_index(tmp_path)) == 5


@pytest.mark.parametrize("part", ["vectors.0.usearch", "texts.0.txt", "lexical.0.npz"])
@pytest.mark.parametrize("damage", ["gone", "empty", "cut"])
def test_a_damaged_index_is_one_line(tmp_path, part, damage):
    random_encoder().make_index(SENTENCES).save(tmp_path)
    path = tmp_path / part
    whole = path.read_bytes()
    path.unlink()
    if damage != "gone":
        path.write_bytes(b"" if damage == "empty" else whole[: len(whole) // 2])
    with pytest.raises(ValueError, match="the index is damaged") as error:
        random_encoder().open_index(tmp_path)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("header", "text"),
    [("{}", "not an index of sentences"), ('{"files": 3}', "not an index of sentences"), ("[", "not valid JSON")],
)
def test_a_bad_header_is_one_line(tmp_path, header, text):
    (tmp_path / "index.json").write_text(header, encoding="utf-8")
    with pytest.raises(ValueError, match=text):
        SentenceIndex.open(tmp_path)


def test_what_cannot_be_searched_or_added_is_refused(tmp_path):
    encoder = random_encoder()
    with pytest.raises(ValueError, match=r"nothing to search; add sentences with .add\(texts\)"):
        encoder.most_similar("什么")
    with pytest.raises(FileNotFoundError, match=r"index\.json: no such file; make an index with"):
        encoder.open_index(tmp_path)
    encoder.add(SENTENCES[:2])
    assert next(m.position for m in encoder.most_similar(SENTENCES[0], 99)) == 0
    assert len(encoder.most_similar(SENTENCES[0], 99)) == 2
    with pytest.raises(ValueError, match="top must be at least 1"):
        encoder.most_similar("什么", 0)
    with pytest.raises(ValueError, match="holds no line end"):
        encoder.add(["一\n二"])
    with pytest.raises(ValueError, match="expected vectors of the shape"):
        encoder.index.add(["一"], np.zeros((1, 3), "float32"))
    with pytest.raises(ValueError, match=r"hybrid_weight must lie in \[0, 1\]"):
        SentenceEncoder(encoder.model, 1.5)
    assert len(encoder.index) == 2


def test_a_model_directory_that_does_not_fit_is_one_line(tmp_path):
    random_encoder().save(tmp_path)
    weights, config = tmp_path / gru.WEIGHTS, tmp_path / gru.CONFIG
    whole, settings = weights.read_bytes(), config.read_text(encoding="utf-8")
    for damage, text in ((b"", "not a readable safetensors file"), (whole[:-8], "not a readable safetensors file")):
        weights.write_bytes(damage)
        with pytest.raises(ValueError, match=text):
            nlptasks.load(tmp_path)
    weights.write_bytes(whole)
    for old, new, text in (
        ('"gru"', '"lstm"', "encoder must be gru, ngrams or transformer. Received: 'lstm'"),
        ('"seq_length"', '"length"', "lacks or misstates 'seq_length'"),
    ):
        config.write_text(settings.replace(old, new), encoding="utf-8")
        with pytest.raises(ValueError, match=text):
            nlptasks.load(tmp_path)
    config.write_text(settings, encoding="utf-8")
    vocab = tmp_path / gru.VOCAB
    vocab.write_text(vocab.read_text(encoding="utf-8") + "龘\n", encoding="utf-8")
    with pytest.raises(ValueError, match=r"the weights do not fit vocab.txt"):
        nlptasks.load(tmp_path)
