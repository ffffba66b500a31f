"""Runs the web application under uvicorn, in one process or in several that are watched."""

import asyncio
import logging
import math
import os
import socket
import sys
import tempfile
from typing import Any

import h11
import uvicorn
from uvicorn.protocols.http.h11_impl import H11Protocol

from nlptasks.serve.app import make_app
from nlptasks.serve.records import SHARED_VARIABLE
from nlptasks.serve.services import open_services
from nlptasks.serve.settings import KEY_VARIABLE, ServeOptions

_OPTIONS_VARIABLE = "NLPTASKS_SERVE_OPTIONS"
_CONNECTIONS = 512
"""connections at once; uvicorn answers 503 to more"""


def serve(options: ServeOptions) -> None:
    """Serves until the process is told to stop.

    Raises:
        UserError, ValueError, OSError: one line: a model is missing, or the port is taken.
    """
    key = options.require_key(os.environ)
    write_log()
    family = socket.AF_INET6 if ":" in options.host else socket.AF_INET
    with socket.create_server((options.host, options.port), family=family, backlog=2048) as listening:
        if options.workers == 1:
            app = make_app(open_services(options), options, key)
            uvicorn.Server(uvicorn.Config(app, **_settings(options))).run(sockets=[listening])
            return
    # the port is free: the supervisor opens it again
    with tempfile.TemporaryDirectory() as shared:
        os.environ[_OPTIONS_VARIABLE], os.environ[SHARED_VARIABLE] = options.to_json(), shared
        place: dict[str, Any] = {"host": options.host, "port": options.port, "workers": options.workers}
        uvicorn.run("nlptasks.serve.server:worker_app", factory=True, **place, **_settings(options))


def worker_app() -> Any:
    """The application of one of several processes."""
    write_log()
    options = ServeOptions.from_json(os.environ[_OPTIONS_VARIABLE])
    PatientProtocol.seconds = options.read_seconds
    return make_app(open_services(options), options, os.environ.get(KEY_VARIABLE) or None)


def _settings(options: ServeOptions) -> dict[str, Any]:
    """uvicorn's settings."""
    PatientProtocol.seconds = options.read_seconds
    return {
        "http": PatientProtocol,
        "ws": "none",
        "loop": "asyncio",
        "lifespan": "on",
        "log_config": None,
        "access_log": False,
        "server_header": False,
        "proxy_headers": False,
        "limit_concurrency": _CONNECTIONS,
        "timeout_keep_alive": 15,
        "timeout_graceful_shutdown": math.ceil(options.stop_seconds),
        "timeout_worker_healthcheck": 60,  # loading and compiling may keep a process busy
    }


def write_log() -> None:
    """The lines of the log go to standard error: one of JSON for each request, and plain ones of the server."""
    for name in ("nlptasks.serve", "uvicorn.error"):
        logger = logging.getLogger(name)
        if not logger.handlers:
            logger.addHandler(logging.StreamHandler(sys.stderr))
        logger.setLevel(logging.INFO)
        logger.propagate = False


class PatientProtocol(H11Protocol):
    """Closes connections whose request line and headers do not come in time; bodies have a time of their own."""

    seconds = 10.0
    _timer: asyncio.TimerHandle | None = None

    def connection_made(self, transport: Any) -> None:
        """A client is there; now it must ask."""
        super().connection_made(transport)
        # asyncio does so only where the listening socket names its protocol; an answer would wait 40 ms for an ACK
        transport.get_extra_info("socket").setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._timer = self.loop.call_later(self.seconds, transport.close)

    def data_received(self, data: bytes) -> None:
        """Something came: all headers, or a part of them."""
        super().data_received(data)
        waits = self.conn.their_state is h11.IDLE
        if self._timer is not None and not waits:
            self._timer.cancel()
            self._timer = None
        elif self._timer is None and waits:
            self._timer = self.loop.call_later(self.seconds, self.transport.close)

    def connection_lost(self, exc: Exception | None) -> None:
        """The client is gone."""
        if self._timer is not None:
            self._timer.cancel()
        super().connection_lost(exc)
