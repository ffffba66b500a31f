"""What the tests of the server share: clients in this process, services that tests can see into, and a log."""

import asyncio
import contextlib
import json
import logging

import httpx

from nlptasks.serve.app import make_app
from nlptasks.serve.contracts import Asked, Service, Types, Verb, answer, body
from nlptasks.serve.settings import ServeOptions

BASE = "http://127.0.0.1"


def options(**changes):
    return ServeOptions(**({"model": ("segmenter",), "warm_up": False, "wait_ms": 20.0} | changes))


def echo_service(compute, stream=None, **settings):
    """A service of one verb, whose results are what `compute` gives for its texts."""
    request = body("EchoRequest", texts=(list[Types(options()).any_text], ...), group=(str, ""))
    verb = Verb(
        "Says it again.",
        request,
        answer("EchoAnswer", results=list[str]),
        lambda wanted: Asked(wanted.group, wanted.texts, compute, lambda found: {"results": list(found)}),
        stream,
    )
    return Service("echo", {"say": verb}, settings)


@contextlib.asynccontextmanager
async def running(services, settings=None, key=None, **more):
    """A client of an application that runs in this process; `client.app` is the application."""
    app = make_app(services, settings or options(), key)
    async with app.app.router.lifespan_context(app.app):
        transport = httpx.ASGITransport(app, raise_app_exceptions=False)
        async with httpx.AsyncClient(transport=transport, base_url=BASE, **more) as client:
            client.app = app
            yield client


def ask(services, *requests, settings=None, key=None, **more):
    """The answers to requests (method, path, arguments of httpx) that come one after the other."""

    async def run():
        async with running(services, settings, key, **more) as client:
            return [await client.request(method, path, **given) for method, path, given in requests]

    return asyncio.run(run())


async def call(app, path, messages, method="POST", sent=None):
    """Calls an application without a client library: returns what it sends. Messages may be functions to await."""
    scope = {
        "type": "http",
        "asgi": {"version": "3.0", "spec_version": "2.3"},
        "http_version": "1.1",
        "method": method,
        "path": path,
        "raw_path": path.encode(),
        "query_string": b"",
        "root_path": "",
        "scheme": "http",
        "server": ("127.0.0.1", 80),
        "client": ("127.0.0.1", 1),
        "headers": [(b"host", b"127.0.0.1"), (b"content-type", b"application/json")],
    }
    messages = iter(messages)
    sent = [] if sent is None else sent

    async def next_message():
        message = next(messages, None)
        if message is None:
            await asyncio.Event().wait()
        return await message() if callable(message) else message

    async def send(message):
        sent.append(message)

    await app(scope, next_message, send)
    return sent


def part(content, more=False):
    return {"type": "http.request", "body": content, "more_body": more}


def message_of(response):
    """The one line that an error says."""
    found = response.json()
    assert set(found) == {"error"}
    assert found["error"]["code"] == response.status_code
    assert "\n" not in found["error"]["message"]
    return found["error"]["message"]


@contextlib.contextmanager
def log_lines():
    """The lines that the server logs."""
    found = []

    class Handler(logging.Handler):
        def emit(self, record):
            found.append(record.getMessage() if not record.exc_info else self.format(record))

    handler, logger = Handler(), logging.getLogger("nlptasks.serve")
    logger.addHandler(handler)
    level, _ = logger.level, logger.setLevel(logging.INFO)
    try:
        yield found
    finally:
        logger.removeHandler(handler)
        logger.setLevel(level)


def records(lines):
    return [json.loads(line) for line in lines if line.startswith("{")]
