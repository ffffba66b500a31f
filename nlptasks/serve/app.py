"""The web application: a path for each verb of each model, OpenAI's embeddings, health, metrics and the page."""

import asyncio
import contextlib
import importlib
import json
from collections.abc import AsyncIterator, Mapping
from pathlib import Path
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import Response, StreamingResponse
from starlette.exceptions import HTTPException

from nlptasks.serve.batching import Batcher
from nlptasks.serve.contracts import Service, Verb
from nlptasks.serve.embeddings import add_embeddings
from nlptasks.serve.failures import Refused, invalid, refusal
from nlptasks.serve.guard import OPEN, Guard, failure
from nlptasks.serve.records import Metrics, logger
from nlptasks.serve.settings import ServeOptions

PAGE = Path(__file__).parent / "page"
_TYPES = {".html": "text/html", ".css": "text/css", ".js": "text/javascript", ".svg": "image/svg+xml"}
_ABOUT = 'Errors are `{"error": {"message", "type", "code"}}`; 429 means: later, as `retry-after` says.'


class Serving:
    """What stands behind the paths: models, their batchers, and how far the server is.

    Attributes:
        ready: whether everything is warm, and the server is not being stopped.
    """

    def __init__(self, services: Mapping[str, Service], options: ServeOptions) -> None:
        self.services, self.options, self.ready = services, options, False
        self.batchers = {
            name: Batcher(options.max_batch, options.wait_ms / 1000, options.max_queue, options.max_streams)
            for name in services
        }
        self.metrics = Metrics(self.batchers)

    async def answer(self, name: str, verb: Verb, wanted: Any, request: Request) -> Response:
        """Computes what a request wants."""
        stream = verb.stream(wanted) if verb.stream is not None else None
        if stream is not None:
            events = self.batchers[name].stream(stream)
            first = await anext(events)  # what is wrong with the request shows before the answer begins
            return StreamingResponse(_sent(first, events), media_type="text/event-stream")
        asked = verb.ask(wanted)
        done = await self.computed(name, asked.key, asked.items, asked.compute, request)
        return as_json(asked.answer(done.results))

    async def computed(self, name: str, key: Any, items: Any, compute: Any, request: Request) -> Any:
        """The results of a batcher, within the time that a request may take."""
        try:
            async with asyncio.timeout(self.options.request_seconds):
                done = await self.batchers[name].submit(key, items, compute)
        except TimeoutError:
            raise Refused(504, "too_slow", "the answer took too long; ask for less at once.") from None
        request.scope["record"].add(len(items), done)
        return done

    async def warm_up(self) -> None:
        """Computes the usual shapes of every model; then the server is ready."""
        for name, service in self.services.items() if self.options.warm_up else ():
            for verb in service.verbs.values():
                for given in verb.warm:
                    await self._warm(name, verb, verb.request.model_validate(given))
        self.ready = True

    async def _warm(self, name: str, verb: Verb, wanted: Any) -> None:
        stream = verb.stream(wanted) if verb.stream is not None else None
        try:
            if stream is not None:
                async for _ in self.batchers[name].stream(stream):
                    pass
                return
            asked = verb.ask(wanted)
            await self.batchers[name].run(lambda: asked.compute(asked.items))
        except Exception:  # it would fail likewise when it is asked for, with its own reason
            logger.warning("warming up %s failed", name, exc_info=True)

    @contextlib.asynccontextmanager
    async def lifespan(self, _app: Any) -> AsyncIterator[None]:
        """From the start of the server to its end, at which all that was accepted is done."""
        for batcher in self.batchers.values():
            batcher.start()
        warming = asyncio.create_task(self.warm_up())
        yield
        self.ready = False
        warming.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await warming
        await asyncio.gather(*(batcher.stop() for batcher in self.batchers.values()))


def make_app(services: Mapping[str, Service], options: ServeOptions, key: str | None = None) -> Any:
    """The application, for an ASGI server.

        from nlptasks.serve.app import make_app
        from nlptasks.serve.services import open_services
        from nlptasks.serve.settings import ServeOptions

        options = ServeOptions(model=("segmenter",))
        app = make_app(open_services(options), options)

    Args:
        services: name -> what is served under it.
        options: limits and times.
        key: what requests must bring; None: nothing.
    """
    serving = Serving(services, options)
    app = FastAPI(
        title="nlptasks",
        version=importlib.import_module("nlptasks").__version__,
        description=_ABOUT,
        lifespan=serving.lifespan,
        docs_url=None,
        redoc_url=None,
    )
    for name, service in services.items():
        for word, verb in service.verbs.items():
            _add_verb(app, serving, name, word, verb)
    if any(service.embed for service in services.values()):
        add_embeddings(app, serving)
    _add_information(app, serving)
    pages = _add_pages(app)

    async def explain(request: Request, error: Exception) -> Response:
        return _refused(_told(request, error))

    for kind in (RequestValidationError, HTTPException, Refused, ValueError, TypeError, Exception):
        app.add_exception_handler(kind, explain)
    verbs = {f"/v1/{name}/{word}": (name, word) for name, service in services.items() for word in service.verbs}
    return Guard(app, options, key, frozenset({*OPEN, *pages}), verbs, serving.metrics)


def _add_verb(app: FastAPI, serving: Serving, name: str, word: str, verb: Verb) -> None:
    async def endpoint(wanted: Any, request: Request) -> Response:
        return await serving.answer(name, verb, wanted, request)

    endpoint.__annotations__["wanted"] = verb.request
    app.post(
        f"/v1/{name}/{word}", response_model=verb.answer, summary=verb.about, tags=[name], operation_id=f"{name}_{word}"
    )(endpoint)


def _add_information(app: FastAPI, serving: Serving) -> None:
    @app.get("/v1/models", summary="The models, what they do, and what may be asked of them.", tags=["server"])
    async def models() -> Response:
        rows = [
            {
                "id": name,
                "object": "model",
                "created": 0,
                "owned_by": "nlptasks",
                "task": service.task,
                "verbs": list(service.verbs) + (["embeddings"] if service.embed else []),
                "settings": service.settings,
            }
            for name, service in serving.services.items()
        ]
        return as_json({"object": "list", "data": rows})

    @app.get("/healthz", summary="The process lives.", tags=["server"])
    async def health() -> Response:
        return as_json({"status": "ok"})

    @app.get("/readyz", summary="All models are loaded and warm (200), or not yet (503).", tags=["server"])
    async def readiness() -> Response:
        return as_json({"ready": serving.ready}, 200 if serving.ready else 503)

    @app.get("/metrics", summary="Metrics in Prometheus' text form.", tags=["server"])
    async def metrics() -> Response:
        return Response(serving.metrics.text(), media_type="text/plain; version=0.0.4")


def _add_pages(app: FastAPI) -> list[str]:
    """The files of the page, which are read now: no path of a request is ever opened."""
    paths = []
    for file in sorted(PAGE.iterdir()):
        if file.suffix not in _TYPES:
            continue
        path = {"index.html": "/", "docs.html": "/docs"}.get(file.name, f"/{file.name}")
        app.get(path, include_in_schema=False)(_page(file.read_bytes(), _TYPES[file.suffix]))
        paths.append(path)
    return paths


def _page(content: bytes, kind: str) -> Any:
    async def page() -> Response:
        return Response(content, media_type=kind, headers={"cache-control": "no-cache"})

    return page


async def _sent(first: tuple[str, Mapping[str, Any]], events: AsyncIterator[Any]) -> AsyncIterator[bytes]:
    """Server-sent events."""
    try:
        yield _event(*first)
        async for kind, data in events:
            yield _event(kind, data)
    except Exception:
        logger.exception("a stream failed")
        yield _event("error", Refused(500, "server_error", "the server failed; its log says why.").body)
    finally:
        await events.aclose()  # type: ignore[attr-defined] # a generator


def _event(kind: str, data: Mapping[str, Any]) -> bytes:
    return f"event: {kind}\ndata: {json.dumps(data, ensure_ascii=False)}\n\n".encode()


def as_json(values: Mapping[str, Any], status: int = 200) -> Response:
    """An answer in JSON."""
    content = json.dumps(values, ensure_ascii=False, separators=(",", ":")).encode("utf-8", "replace")
    return Response(content, status, media_type="application/json")


def _told(request: Request, error: Exception) -> Refused:
    """What is said of an error. One that no client causes is logged: here, or by the guard, which it reaches."""
    if isinstance(error, RequestValidationError):
        return invalid(error.errors())
    if isinstance(error, HTTPException):
        return Refused(error.status_code, "http", str(error.detail))
    told = refusal(error)
    if told is None and isinstance(error, ValueError | TypeError):
        logger.error("request %s failed", request.scope["record"].request_id, exc_info=error)
    return told or failure(request.scope["record"])


def _refused(told: Refused) -> Response:
    answer = as_json(told.body, told.status)
    answer.headers.update(told.headers)
    return answer
