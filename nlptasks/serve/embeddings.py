"""`/v1/embeddings` as OpenAI's clients ask for it."""

import base64
from typing import TYPE_CHECKING, Annotated, Any, Literal

import numpy as np
from fastapi import FastAPI, Request
from fastapi.responses import Response
from pydantic import Field

from nlptasks.serve.contracts import Types, answer, body
from nlptasks.serve.failures import Refused
from nlptasks.serve.light import numbers

if TYPE_CHECKING:
    from nlptasks.serve.app import Serving

EMBEDDINGS = "embeddings"


def add_embeddings(app: FastAPI, serving: "Serving") -> None:
    """Adds the path, for all models that give vectors."""
    from nlptasks.serve.app import as_json

    types = Types(serving.options)
    request_type = body(
        "EmbeddingsRequest",
        model=(str, ...),
        input=(types.text | types.texts, ...),
        encoding_format=(Literal["float", "base64"], "float"),
        dimensions=(Annotated[int, Field(ge=1)] | None, None),
        user=(str | None, None),
    )
    one = answer("Embedding", object=Literal["embedding"], index=int, embedding=list[float] | str)
    usage = answer("Usage", prompt_tokens=int, total_tokens=int)
    response = answer("Embeddings", object=Literal["list"], model=str, data=list[one], usage=usage)  # type: ignore[valid-type]

    async def embed(wanted: Any, request: Request) -> Response:
        service = serving.services.get(wanted.model)
        if service is None or service.embed is None:
            known = ", ".join(name for name, one in serving.services.items() if one.embed)
            raise Refused(404, "unknown_model", f"no model of that name gives vectors; known are {known}.")
        record = request.scope["record"]
        record.model, record.verb = wanted.model, EMBEDDINGS
        size = service.settings["vector_size"]
        if wanted.dimensions not in (None, size):
            raise Refused(422, "invalid_request", f"dimensions: this model gives {size} numbers a text.")
        texts = [wanted.input] if isinstance(wanted.input, str) else wanted.input
        done = await serving.computed(wanted.model, "encode", texts, service.embed, request)
        vectors: list[Any] = list(done.results)
        if wanted.encoding_format == "base64":
            shown: list[Any] = [base64.b64encode(np.asarray(v, "<f4").tobytes()).decode() for v in vectors]
        else:
            shown = numbers(vectors)
        data = [{"object": "embedding", "index": i, "embedding": vector} for i, vector in enumerate(shown)]
        count = sum(map(len, texts))  # characters: an encoder has no other tokens that one could be charged for
        return as_json(
            {
                "object": "list",
                "model": wanted.model,
                "data": data,
                "usage": {"prompt_tokens": count, "total_tokens": count},
            }
        )

    embed.__annotations__["wanted"] = request_type
    about = "Vectors of texts, in the form of OpenAI's interface; `usage` counts characters."
    app.post(f"/v1/{EMBEDDINGS}", response_model=response, summary=about, tags=[EMBEDDINGS])(embed)
