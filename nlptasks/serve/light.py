"""The services that run on NumPy: the segmenter and the sentence encoder (of which some run a network)."""

import functools
from collections.abc import Sequence
from typing import Annotated, Any

import numpy as np
from pydantic import Field

from nlptasks.applications.segmentation.segmenter import Segmenter
from nlptasks.applications.similarity.encoder import SentenceEncoder
from nlptasks.serve.contracts import Asked, Service, Types, Verb, answer, body, one_of
from nlptasks.serve.settings import ServeOptions


def segmentation(segmenter: Segmenter, options: ServeOptions) -> Service:
    """Serves a segmenter: `segment`."""
    types = Types(options)
    standard = one_of(segmenter.standards)
    request = body(
        "SegmentRequest",
        texts=(types.some(types.any_text), ...),
        standard=(standard, segmenter.standard),
    )
    segmented = answer("Segmented", words=list[str])

    def ask(wanted: Any) -> Asked:
        return Asked(
            ("segment", wanted.standard),
            wanted.texts,
            functools.partial(segmenter.predict, standard=wanted.standard),
            lambda found: {"standard": wanted.standard, "results": [{"words": words} for words in found]},
        )

    response = answer("SegmentAnswer", standard=standard, results=list[segmented])  # type: ignore[valid-type]
    verb = Verb("Cuts each text into words; joined, the words are the text.", request, response, ask)
    return Service(
        segmenter.task, {"segment": verb}, {"standards": segmenter.standards, "standard": segmenter.standard}
    )


def similarity(encoder: SentenceEncoder, options: ServeOptions) -> Service:
    """Serves a sentence encoder: `encode`, `rank`, and OpenAI's embeddings."""
    types = Types(options)
    encode_request = body("EncodeRequest", texts=(types.texts, ...))
    vectors = answer("EncodeAnswer", vectors=list[list[float]])
    rank_request = body(
        "RankRequest", query=(types.text, ...), texts=(types.texts, ...), top=(Annotated[int, Field(ge=1)], 10)
    )
    match = answer("Match", text=str, score=float, position=int)
    matches = answer("RankAnswer", matches=list[match])  # type: ignore[valid-type]

    def ask_vectors(wanted: Any) -> Asked:
        return Asked("encode", wanted.texts, encoder.encode, lambda found: {"vectors": numbers(found)})

    def ask_rank(wanted: Any) -> Asked:
        def ranked(found: Sequence[Any]) -> dict[str, Any]:
            query, *others = np.asarray(found)
            scores = np.stack(others) @ query
            best = np.argsort(-scores, kind="stable")[: wanted.top].tolist()
            return {"matches": [{"text": wanted.texts[i], "score": float(scores[i]), "position": i} for i in best]}

        return Asked("encode", [wanted.query, *wanted.texts], encoder.encode, ranked)

    # some encoders run a network, which has a program for each power of two of texts
    counts = [1 << power for power in range(options.max_batch.bit_length()) if 1 << power <= options.max_items]
    warm = [{"texts": ["好" * length] * count} for length in (10, 26, 58) for count in counts]
    verbs = {
        "encode": Verb("The vector of each text, of length 1.", encode_request, vectors, ask_vectors, warm=warm),
        "rank": Verb("The texts most similar to a query, with their cosines.", rank_request, matches, ask_rank),
    }
    return Service(encoder.task, verbs, {"vector_size": encoder.vector_size}, encoder.encode)


def numbers(vectors: Sequence[Any]) -> list[list[float]]:
    """Vectors as lists, each number with as many digits as a float32 has."""
    return [[float(f"{x:.7g}") for x in vector] for vector in np.asarray(vectors, "float32").tolist()]
