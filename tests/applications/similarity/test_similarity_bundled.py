"""The sentence encoder that comes with the package."""

from pathlib import Path

import numpy as np
import pytest

import nlptasks
from nlptasks.metrics.similarity import score_retrieval
from nlptasks.opening import BUNDLED
from nlptasks.text.groups import read_groups
from nlptasks.text.lexical import LexicalIndex
from tests.test_house_rules import modules_after

pytestmark = pytest.mark.once

SAMPLE = Path(__file__).parents[3] / "data" / "similarity_sample.tsv"


@pytest.fixture(scope="module")
def encoder():
    return nlptasks.load("similarity")


def test_it_is_small_and_has_a_card():
    sizes = {path.name: path.stat().st_size for path in BUNDLED["similarity"].iterdir()}
    assert sizes.keys() == {"README.md", "config.json", "model.safetensors", "vocab.txt"}
    assert sum(sizes.values()) < 12_000_000


def test_it_finds_questions_in_other_words_as_the_readme_says(encoder):
    groups = read_groups([SAMPLE.with_name("similarity_questions.tsv")])
    vectors, lexical = encoder.encode(groups.sentences), LexicalIndex.build(groups.sentences)
    scores = {
        "encoder": score_retrieval(lambda a, b: vectors[a:b] @ vectors.T, groups.labels),
        "bm25": score_retrieval(lambda a, b: np.stack([lexical.bm25(s) for s in groups.sentences[a:b]]), groups.labels),
    }
    assert {name: round(100 * found["top1"]) for name, found in scores.items()} == {"encoder": 95, "bm25": 47}


def test_it_finds_sentences_that_mean_the_same(encoder):
    groups = read_groups([SAMPLE])
    vectors = encoder.encode(groups.sentences)
    assert score_retrieval(lambda a, b: vectors[a:b] @ vectors.T, groups.labels)["top1"] > 0.8
    assert encoder.similarity("钥匙丢了怎么办", "钥匙掉了怎么办") > 0.3 + encoder.similarity(
        "钥匙丢了怎么办", "今天有雨吗"
    )
    assert encoder.vector_size == 256
    assert 0 < encoder.hybrid_weight < 1


def test_vectors_have_length_one_whatever_the_text(encoder):
    texts = ["", " ", "\ud800", "\x00\n", "👍" * 500, "ＡＢＣ", "abc"]
    vectors = encoder.encode(texts)
    np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), 1, atol=1e-5)
    np.testing.assert_allclose(vectors[5], vectors[6], atol=1e-6)


def test_it_beats_bm25_with_it_on_the_development_groups(encoder, public_data):
    from nlptasks.text.lexical import LexicalIndex

    groups = read_groups([public_data / "similarity" / "groups_dev.tsv"])
    vectors, lexical = encoder.encode(groups.sentences), LexicalIndex.build(groups.sentences)
    words = np.stack([lexical.bm25(sentence) for sentence in groups.sentences])
    weight = encoder.hybrid_weight
    both = (1 - weight) * (vectors @ vectors.T) + weight * words
    bm25, hybrid = (score_retrieval(lambda a, b, s=s: s[a:b], groups.labels) for s in (words, both))
    assert hybrid["top1"] > bm25["top1"] + 0.002
    assert all(hybrid[name] > bm25[name] + 0.01 for name in ("top5", "top10"))


def test_it_loads_and_encodes_without_keras():
    code = "import nlptasks\nnlptasks.load('similarity').encode(['今天'])"
    assert modules_after(code, "keras", "tensorflow", "jax", "torch", "usearch") == set()
