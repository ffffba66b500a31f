"""Search without usearch: every vector compared, the same neighbors, an index of its own kind that grows."""

import numpy as np
import pytest

from nlptasks.applications.similarity import vectors
from nlptasks.applications.similarity.vectors import GRAPH, ROWS, new_vectors
from nlptasks.backend import packages
from nlptasks.errors import MissingPackageError
from tests.applications.similarity.similarity_cases import SENTENCES, random_encoder

pytestmark = pytest.mark.once


@pytest.fixture
def without_usearch(monkeypatch):
    monkeypatch.setattr(vectors, "is_installed", lambda module: False)
    monkeypatch.setattr(packages, "is_installed", lambda module: False)


@pytest.mark.parametrize("scores_at_once", [1, 50, 1 << 24])
def test_rows_find_what_a_graph_finds_when_it_compares_everything(rng, monkeypatch, scores_at_once):
    monkeypatch.setattr(vectors, "SCORES_AT_ONCE", scores_at_once)
    given = rng.standard_normal((23, 7)).astype("float32")
    given /= np.linalg.norm(given, axis=1, keepdims=True)
    queries = given[:5] + 0.1
    found = []
    for suffix in (ROWS, GRAPH):
        held = new_vectors(7, suffix)
        for keys in (np.arange(9), np.arange(9, 23)):
            held.add(keys.astype("uint64"), given[keys])
        assert len(held) == 23
        np.testing.assert_allclose(held.get(np.array([3, 17], "uint64")), given[[3, 17]], atol=1e-3)
        found.append(held.search(queries, 4, exact=True))
    np.testing.assert_array_equal(found[0].keys, found[1].keys)
    np.testing.assert_allclose(found[0].distances, found[1].distances, atol=2e-3)
    np.testing.assert_allclose(1 - found[0].distances[:, 0], (queries @ given.T).max(axis=1), atol=2e-3)


def test_an_index_without_usearch_grows_and_stays_what_it_is(tmp_path, without_usearch, monkeypatch):
    encoder = random_encoder()
    encoder.make_index(SENTENCES[:9]).save(tmp_path)
    index = encoder.open_index(tmp_path)
    encoder.add(SENTENCES[9:])
    index.save(tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "index.json", "lexical.1.npz", "texts.1.txt", "vectors.1.npy",
    ]  # fmt: skip
    monkeypatch.undo()
    again, whole = random_encoder(), random_encoder()
    again.open_index(tmp_path)
    whole.add(SENTENCES)
    for hybrid in (False, True):
        for sentence in SENTENCES:
            found, expected = again.most_similar(sentence, 4, hybrid), whole.most_similar(sentence, 4, hybrid)
            assert [match.text for match in found] == [match.text for match in expected]
    again.add(["又一句"])
    assert again.most_similar("又一句", 1)[0].position == len(SENTENCES)


def test_a_graph_is_not_opened_without_usearch(tmp_path, monkeypatch, request):
    random_encoder().make_index(SENTENCES).save(tmp_path)
    request.getfixturevalue("without_usearch")
    with pytest.raises(MissingPackageError, match=r'usearch is not installed.*pip install "usearch>=2\.17,<3"\.$'):
        random_encoder().open_index(tmp_path)


@pytest.mark.parametrize("damage", ["gone", "empty", "cut", "another size"])
def test_damaged_rows_are_one_line(tmp_path, without_usearch, damage):
    random_encoder().make_index(SENTENCES).save(tmp_path)
    path = tmp_path / "vectors.0.npy"
    whole = path.read_bytes()
    path.unlink()
    if damage == "another size":
        np.save(path, np.zeros((len(SENTENCES), 3), "float16"))
    elif damage != "gone":
        path.write_bytes(b"" if damage == "empty" else whole[: len(whole) // 2])
    with pytest.raises(ValueError, match="the index is damaged") as error:
        random_encoder().open_index(tmp_path)
    assert "\n" not in str(error.value)
