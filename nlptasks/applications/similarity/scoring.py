"""How well an encoder finds sentences of the same group. Imports no backend."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from nlptasks.metrics.similarity import score_retrieval
from nlptasks.text.groups import Groups
from nlptasks.text.lexical import LexicalIndex

if TYPE_CHECKING:
    from nlptasks.applications.similarity.encoder import SentenceEncoder


def score_encoder(
    encoder: SentenceEncoder, groups: Groups, hybrid: bool = False, baselines: bool = False
) -> dict[str, dict[str, float]]:
    """Retrieval within groups: is another sentence of the same group among the nearest?

    Args:
        hybrid: also score the blend of the cosine with BM25.
        baselines: also score BM25 and TF-IDF over characters and pairs of characters.

    Returns:
        What `score_retrieval` returns, under "encoder" and, if asked for, "hybrid", "bm25" and "tfidf".
    """
    vectors, sentences = encoder.encode(groups.sentences), groups.sentences
    table = {"encoder": score_retrieval(lambda a, b: vectors[a:b] @ vectors.T, groups.labels)}
    if not (hybrid or baselines):
        return table
    lexical = LexicalIndex.build(sentences)

    def words(a: int, b: int) -> np.ndarray:
        return np.stack([lexical.bm25(sentence) for sentence in sentences[a:b]])

    if hybrid:
        weight = encoder.hybrid_weight
        table["hybrid"] = score_retrieval(
            lambda a, b: (1 - weight) * (vectors[a:b] @ vectors.T) + weight * words(a, b), groups.labels
        )
    if baselines:
        tfidf = lexical.tfidf()
        table["bm25"] = score_retrieval(words, groups.labels)
        table["tfidf"] = score_retrieval(
            lambda a, b: np.stack([tfidf.scores(sentence) for sentence in sentences[a:b]]), groups.labels
        )
    return table
