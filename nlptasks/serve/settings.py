"""The options of a server. Imports neither a web framework nor a backend."""

import dataclasses
import ipaddress
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from nlptasks.errors import UserError
from nlptasks.train.options import Options, require_at_least, require_positive

KEY_VARIABLE = "NLPTASKS_API_KEY"
"""environment variable with the key that requests must bring"""
NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,63}")


@dataclass(kw_only=True)
class ServeOptions(Options):
    """Options of a server."""

    model: tuple[str, ...]
    """models to serve, each as NAME=DIR, or the name of one that comes with the package: segmenter similarity mini"""
    host: str = "127.0.0.1"
    """address to listen on; another one than the loopback wants a key, or --without-key"""
    port: int = 8000
    """port to listen on"""
    without_key: bool = False
    """serve other machines although the environment variable NLPTASKS_API_KEY holds no key"""
    allowed_hosts: tuple[str, ...] = ()
    """names under which requests may ask for the server; default: those of the loopback, or any on another address"""

    workers: int = 1
    """number of processes; each loads all models, and one that dies is replaced"""
    max_batch: int = 32
    """the most items of several requests that are computed together"""
    wait_ms: float = 2.0
    """milliseconds for which a request waits for others to be joined with"""
    max_queue: int = 256
    """the most items that wait for a model; requests beyond get status 429"""
    max_streams: int = 8
    """the most texts that are written as streams at once, for each model; requests beyond get status 429"""
    warm_up: bool = True
    """compile the usual shapes before the server says that it is ready"""

    max_items: int = 64
    """the most texts of a request"""
    max_characters: int = 10_000
    """the most characters of a text"""
    max_tokens: int = 256
    """the most tokens that a request lets a generator write"""
    max_body_kib: int = 1024
    """the largest body of a request, in KiB"""
    read_seconds: float = 10.0
    """a client must have sent its request within this time, and must take each piece of the answer within it"""
    request_seconds: float = 60.0
    """a request that has no answer within this time gets status 504"""
    stop_seconds: float = 30.0
    """how long a server that is stopped goes on with what it has accepted"""

    def check(self) -> None:
        """Refuses values that are out of range or contradict each other."""
        super().check()
        require_at_least(self, 1, "workers", "max_batch", "max_streams", "max_items", "max_characters", "max_tokens")
        require_at_least(self, 1, "max_body_kib")
        require_at_least(self, 0, "wait_ms", "port")
        require_positive(self, "read_seconds", "request_seconds", "stop_seconds")
        require_at_least(self, self.max_items, "max_queue")
        if self.port > 65535:
            raise UserError("{field:port} must be at most 65535. Received: {value}.", value=self.port)
        self.directories()

    def directories(self) -> dict[str, str]:
        """Name -> directory or bundled name of each model.

        Raises:
            UserError: none is given, a name twice, or one that cannot stand in an address.
        """
        found: dict[str, str] = {}
        if not self.model:
            raise UserError("{field:model} takes at least one model, as NAME=DIR.")
        for word in self.model:
            name, _, directory = word.partition("=")
            if not NAME.fullmatch(name):
                raise UserError(
                    "{field:model} takes NAME=DIR, where NAME consists of letters, digits, '-', '_' and '.'. Received: "
                    "{word!r}.",
                    word=word,
                )
            if name in found:
                raise UserError("{field:model}: the name {name!r} is given twice; choose another one.", name=name)
            found[name] = directory or name
        return found

    @property
    def on_loopback(self) -> bool:
        """Whether only this machine can reach the server."""
        if self.host == "localhost":
            return True
        try:
            return ipaddress.ip_address(self.host).is_loopback
        except ValueError:
            return False

    @property
    def hosts(self) -> tuple[str, ...]:
        """The values of a Host header that are answered, without port; empty: all."""
        if self.allowed_hosts or not self.on_loopback:
            return self.allowed_hosts
        return ("localhost", "127.0.0.1", "[::1]", self.host)

    def require_key(self, environment: Mapping[str, str]) -> str | None:
        """The key that requests must bring; None: none.

        Raises:
            UserError: other machines could use the server without one, and nobody has allowed that.
        """
        key = environment.get(KEY_VARIABLE) or None
        if key is None and not self.on_loopback and not self.without_key:
            raise UserError(
                "{field:host} {host}: other machines could use this server without a key; set the environment variable "
                "{variable}, or give {field:without_key}.",
                host=self.host,
                variable=KEY_VARIABLE,
            )
        return key

    def to_json(self) -> str:
        """The options as text, for another process."""
        return json.dumps({field.name: getattr(self, field.name) for field in dataclasses.fields(ServeOptions)})

    @classmethod
    def from_json(cls, text: str) -> "ServeOptions":
        """What `to_json` wrote."""
        values: dict[str, Any] = json.loads(text)
        given: dict[str, Any] = {name: tuple(v) if isinstance(v, list) else v for name, v in values.items()}
        return cls(**given)


def require_model(name: str, directory: str, bundled: Mapping[str, Path]) -> Path:
    """The directory of a model, which is there.

    Raises:
        UserError: it is not.
    """
    path = bundled.get(directory, Path(directory))
    if not path.is_dir():
        raise UserError(
            "{field:model} {name}: {path} is no directory; give NAME=DIR with the one that a training run has written, "
            "or the name of a model that comes with the package ({known}).",
            name=name,
            path=directory,
            known=", ".join(bundled),
        )
    return path
