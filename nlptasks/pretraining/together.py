"""Several processes end together: where one fails, the others say why and end; one that is killed is missed at once.

JAX's own processes would wait for each other until its time-outs, minutes later. Here each process holds a connection
to the first one, which passes on what it hears. What comes over them must begin with a secret of the run.
"""

import contextlib
import hmac
import json
import multiprocessing
import os
import secrets
import socket
import threading
import time
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

from nlptasks.console import USAGE, say_error
from nlptasks.errors import UserError
from nlptasks.train.interruption import TrainingInterrupted
from nlptasks.train.progress import say

_SECONDS = 10.0
"""how long a process waits for the others: to be reached, to have heard of a failure, to end by itself"""
_KEEP_ALIVE = {"TCP_KEEPIDLE": 10, "TCP_KEEPINTVL": 5, "TCP_KEEPCNT": 4}
"""a machine that has lost its power or its network is missed after 30 s"""
DONE, FAILED = "done", "failed"


class Place(NamedTuple):
    """Where the first process listens.

    Attributes:
        host, port: its address.
        secret: what its connections begin with.
    """

    host: str
    port: int
    secret: str


class Together:
    """The connections of this process; `start` begins to listen to them.

    Args:
        index, count: the number of this process, and how many there are.
        links: number of a process -> the connection to it: in the first process to all others, in others to the first.
    """

    def __init__(self, index: int, count: int, links: Mapping[int, socket.socket]) -> None:
        self.index, self.count, self.links = index, count, dict(links)
        self._leaving = threading.Event()
        self._open = set(links)
        self._ending = threading.Lock()

    def start(self) -> None:
        """Listens, each connection in a thread of its own."""
        for number, link in self.links.items():
            threading.Thread(target=self._listen, args=(number, link), daemon=True).start()

    def _listen(self, number: int, link: socket.socket) -> None:
        told: dict[str, Any] = {}
        with contextlib.suppress(OSError, ValueError), link.makefile("rb") as lines:
            for line in lines:
                told = json.loads(line)
                if told.get("end") == FAILED:
                    break
        self._open.discard(number)
        if told.get("end") == DONE or self._leaving.is_set():
            return
        if told.get("end") == FAILED:
            self.end(told["process"], told["reason"])
        self.end(number, None)

    def tell(self, values: Mapping[str, Any]) -> None:
        """Says something to all that are connected."""
        line = (json.dumps(values, ensure_ascii=False) + "\n").encode()
        for link in self.links.values():
            with contextlib.suppress(OSError):
                link.sendall(line)

    def end(self, process: int, reason: str | None) -> None:
        """Ends this process, because another one has failed; the main thread may be waiting for it for ever."""
        with self._ending:  # the first reason counts
            told = reason or "it ended without a word (killed, or its machine was lost)"
            if self.index == 0:
                self.tell({"end": FAILED, "process": process, "reason": told})
            say_error(
                UserError(
                    "process {process} of {count} failed: {reason}; this one stops, too. {field:resume} goes on from "
                    "the last checkpoint, when all of them are started again.",
                    process=process,
                    count=self.count,
                    reason=told,
                )
            )
            self._exit()

    def leave(self, reason: str | None) -> None:
        """Says that this process is done, or why it has failed; the others hear it before it ends."""
        self._leaving.set()
        if reason is None:
            self.tell({"end": DONE})
            return
        self.tell({"end": FAILED, "process": self.index, "reason": reason})
        until = time.monotonic() + _SECONDS
        while self._open and time.monotonic() < until:
            time.sleep(0.05)
        threading.Thread(target=self._exit_late, daemon=True).start()

    def _exit_late(self) -> None:
        """Ends this process if it does not end by itself: JAX waits on the way out for processes that are gone."""
        while threading.main_thread().is_alive():
            time.sleep(0.2)
        time.sleep(_SECONDS)
        self._exit()

    def _exit(self) -> None:
        for child in multiprocessing.active_children():  # those that prepare batches
            child.kill()
        os._exit(USAGE)


@contextlib.contextmanager
def ending_together(together: Together | None) -> Iterator[None]:
    """Inside, a failure of this process is told to the others, and one of theirs ends this process.

    Args:
        together: None: this process is alone.
    """
    if together is None:
        yield
        return
    together.start()
    try:
        yield
    except TrainingInterrupted:  # all of them have agreed on it
        together.leave(None)
        raise
    except BaseException as error:
        together.leave(" ".join(f"{error or type(error).__name__}".split()))
        raise
    together.leave(None)


def listening(host: str) -> tuple[socket.socket, Place]:
    """A socket of the first process, and where the others find it.

    Args:
        host: the name of this machine that the others use.
    """
    family = socket.getaddrinfo(host, 0, type=socket.SOCK_STREAM)[0][0]
    own = host if _is_loopback(host) else ("::" if family == socket.AF_INET6 else "0.0.0.0")
    server = socket.create_server((own, 0), family=family)
    return server, Place(host, server.getsockname()[1], secrets.token_hex(16))


def accepted(server: socket.socket, place: Place, count: int) -> Together:
    """The connections of the first process, which waits for those of all others; a line says which did not come."""
    links: dict[int, socket.socket] = {}
    until = time.monotonic() + 3 * _SECONDS
    with server:
        while len(links) < count - 1:
            server.settimeout(max(0.01, until - time.monotonic()))
            try:
                link, _ = server.accept()
                link.settimeout(_SECONDS)
                secret, number = link.makefile("rb").readline(100).decode("ascii").split()
            except TimeoutError:
                if time.monotonic() < until:
                    continue
                absent = sorted(set(range(1, count)) - set(links))
                say(
                    "processes {absent} did not reach {host}:{port}: a failure of theirs will be noticed late; let the "
                    "firewall pass the port.",
                    absent=", ".join(map(str, absent[:8])),
                    host=place.host,
                    port=place.port,
                )
                break
            except ValueError:  # a stranger
                link.close()
                continue
            if not hmac.compare_digest(secret, place.secret):
                link.close()
                continue
            links[int(number)] = _prepared(link)
    return Together(0, count, links)


def joined(place: Place, index: int, count: int) -> Together | None:
    """The connection of another process to the first one; None, with a line that says so, if there is no way."""
    try:
        link = socket.create_connection((place.host, place.port), timeout=_SECONDS)
        link.sendall(f"{place.secret} {index}\n".encode("ascii"))
    except OSError as error:
        say(
            "process {index} cannot reach {host}:{port} ({error}): a failure will be noticed late.",
            index=index,
            host=place.host,
            port=place.port,
            error=str(error),
        )
        return None
    return Together(index, count, {0: _prepared(link)})


def own_address() -> str:
    """The address of this machine that others are likely to reach: that of the network to which most goes."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe, contextlib.suppress(OSError):
        probe.connect(("192.0.2.1", 9))  # an address for documentation; nothing is sent
        return str(probe.getsockname()[0])
    return socket.gethostbyname(socket.gethostname())


def _is_loopback(host: str) -> bool:
    return host in ("localhost", "::1") or host.startswith("127.")


def _prepared(link: socket.socket) -> socket.socket:
    link.settimeout(None)
    link.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    for name, value in _KEEP_ALIVE.items():
        if hasattr(socket, name):
            link.setsockopt(socket.IPPROTO_TCP, getattr(socket, name), value)
    return link
