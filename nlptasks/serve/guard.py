"""What every request passes before an application hears of it: key, host, size, depth and time; and its record."""

import asyncio
import contextlib
import hmac
import json
import re
import secrets
from collections.abc import Awaitable, Callable, Mapping, MutableMapping
from typing import Any

from nlptasks.serve.failures import Refused, refusal
from nlptasks.serve.records import Metrics, Record, logger
from nlptasks.serve.settings import ServeOptions

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]
DEEPEST = 16
"""levels of lists and objects in a body"""
OPEN = ("/", "/docs", "/healthz", "/readyz")
"""paths that are answered without a key, beside the files of the page"""
_BRACKETS = re.compile(rb'"(?:[^"\\]++|\\.)*+"?|[\[{\]}]', re.DOTALL)
_HEADERS = (
    (b"x-content-type-options", b"nosniff"),
    (b"referrer-policy", b"no-referrer"),
    (b"x-frame-options", b"DENY"),
    (
        b"content-security-policy",
        b"default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src 'self' data:; "
        b"base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    ),
)


class _Gone(ConnectionError):
    """The client has left, or takes nothing of its answer."""


class Guard:
    """An ASGI application around another one.

    Args:
        app: what answers the requests that pass.
        options: the limits.
        key: what requests must bring as `Authorization: Bearer KEY`; None: nothing.
        open_paths: paths that are answered without it.
        verbs: path -> model and verb, for the records.
        metrics: are told of every request.
    """

    def __init__(
        self,
        app: Any,
        options: ServeOptions,
        key: str | None,
        open_paths: frozenset[str],
        verbs: Mapping[str, tuple[str, str]],
        metrics: Metrics,
    ) -> None:
        self.app, self.options, self.verbs, self.metrics = app, options, verbs, metrics
        self.key, self.open_paths = None if key is None else key.encode(), open_paths

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answers a request."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        client = (scope.get("client") or ("",))[0]
        record = Record(secrets.token_hex(8), scope["method"], scope["path"], client)
        record.model, record.verb = self.verbs.get(scope["path"], (None, None))
        scope["record"] = record
        answering = _Answering(send, record, self.options.read_seconds)
        try:
            self._check(scope)
            body = await self._body(scope, receive)
            await self.app(scope, _replayed(body, receive), answering)
        except (_Gone, asyncio.CancelledError) as error:
            record.values["gone"] = True
            if isinstance(error, asyncio.CancelledError):  # the time that a server may take to stop is over
                if not record.status:
                    with contextlib.suppress(_Gone, OSError):
                        await _refuse(answering, Refused(503, "stopping", "the server was stopped before it was done."))
                raise
            record.status = record.status or 499
        except Exception as error:
            told = refusal(error)
            if told is None:
                logger.exception("request %s failed", record.request_id)
                told = failure(record)
            if not record.status:
                await _refuse(answering, told)
        finally:
            self.metrics.note(record)

    def _check(self, scope: Scope) -> None:
        headers = dict(scope["headers"])
        host = re.sub(rb":\d+$", b"", headers.get(b"host", b"")).decode("latin-1")
        if self.options.hosts and host not in self.options.hosts:
            raise Refused(421, "wrong_host", "this server does not answer under this name; see --allowed-hosts.")
        given = headers.get(b"authorization", b"")
        if self.key is not None and scope["path"] not in self.open_paths:
            right = hmac.compare_digest(given, b"Bearer " + self.key)
            if not right:
                raise Refused(401, "wrong_key", "a key is needed, and the right one: Authorization: Bearer KEY.")
        if scope["method"] == "POST":
            kind = headers.get(b"content-type", b"").split(b";")[0].strip().lower()
            if kind != b"application/json":
                raise Refused(415, "wrong_type", "the body must be JSON: Content-Type: application/json.")
            length = headers.get(b"content-length", b"0")
            if not length.isdigit() or int(length[:20]) > self._most():
                raise self._too_large()

    def _most(self) -> int:
        return self.options.max_body_kib * 1024

    def _too_large(self) -> Refused:
        return Refused(413, "too_large", f"a body may have at most {self.options.max_body_kib} KiB.")

    async def _body(self, scope: Scope, receive: Receive) -> bytes:
        """The whole body, within time, size and depth."""
        parts, size = [], 0
        try:
            async with asyncio.timeout(self.options.read_seconds):
                while True:
                    message = await receive()
                    if message["type"] == "http.disconnect":
                        raise _Gone("the client left")
                    parts.append(message.get("body", b""))
                    size += len(parts[-1])
                    if size > self._most():
                        raise self._too_large()
                    if not message.get("more_body", False):
                        break
        except TimeoutError:
            raise Refused(408, "too_slow", "the request took too long to arrive.") from None
        body = b"".join(parts)
        if scope["method"] == "POST":
            check_depth(body)
        return body


def failure(record: Record) -> Refused:
    """What the client is told where the server is at fault."""
    return Refused(500, "server_error", f"the server failed; its log says why, under {record.request_id}.")


def check_depth(body: bytes) -> None:
    """Refuses JSON that is nested deeper than any request is.

    Raises:
        Refused: it is.
    """
    depth = 0
    for found in _BRACKETS.finditer(body):
        sign = found[0][:1]
        if sign in b"[{":
            depth += 1
            if depth > DEEPEST:
                raise Refused(400, "too_deep", f"the body may have at most {DEEPEST} levels of lists and objects.")
        elif sign in b"]}":
            depth -= 1


class _Answering:
    """Sends an answer with the headers that all have, and gives up on a client that takes nothing."""

    def __init__(self, send: Send, record: Record, seconds: float) -> None:
        self.send, self.record, self.seconds = send, record, seconds

    async def __call__(self, message: MutableMapping[str, Any]) -> None:
        if message["type"] == "http.response.start":
            self.record.status = message["status"]
            own = [*_HEADERS, (b"x-request-id", self.record.request_id.encode())]
            message = {**message, "headers": [*message.get("headers", ()), *own]}
        try:
            async with asyncio.timeout(self.seconds):
                await self.send(message)
        except TimeoutError:
            raise _Gone("the client takes nothing") from None


def _replayed(body: bytes, receive: Receive) -> Receive:
    """Gives the body that was read, and then what comes after it: that the client leaves."""
    messages = [{"type": "http.request", "body": body, "more_body": False}]

    async def replay() -> MutableMapping[str, Any]:
        return messages.pop() if messages else await receive()

    return replay


async def _refuse(send: Send, told: Refused) -> None:
    body = json.dumps(told.body, ensure_ascii=False).encode("utf-8", "replace")
    headers = [(b"content-type", b"application/json"), (b"content-length", str(len(body)).encode())]
    headers += [(name.encode(), value.encode()) for name, value in told.headers.items()]
    if told.status in (408, 413):  # what is left of the body is not read
        headers.append((b"connection", b"close"))
    await send({"type": "http.response.start", "status": told.status, "headers": headers})
    await send({"type": "http.response.body", "body": body})
