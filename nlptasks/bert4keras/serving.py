"""`WebServing`: functions of a script as pages of a small HTTP server, on the standard library."""

import json
import threading
import urllib.parse
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any


class WebServing:
    """Serves functions that return what JSON can hold.

        web = WebServing(port=8864)
        web.route("/double", lambda n: 2 * n, {"n": (int, True)})
        web.start()  # http://127.0.0.1:8864/double?n=3

    Args:
        host, port: where it listens.
        server: not read; the server is the standard library's.
    """

    def __init__(self, host: str = "0.0.0.0", port: int = 8000, server: str = "paste") -> None:
        self.host, self.port, self.server = host, port, server
        self.pages: dict[tuple[str, str], Callable[[dict[str, str]], str]] = {}
        self.lock = threading.Lock()

    def wraps(self, func: Callable, arguments: dict[str, Any], method: str = "GET") -> Callable[[dict[str, str]], str]:
        """The function of a page: strings in, JSON out.

        Args:
            arguments: name -> (how to convert its string or None, whether it must be there).
        """

        def answer(given: dict[str, str]) -> str:
            out: dict[str, Any] = {"code": 0, "desc": "succeeded", "data": {}}
            values = {}
            for name, (convert, needed) in arguments.items():
                if name in given:
                    values[name] = given[name] if convert is None else convert(given[name])
                elif needed:
                    return json.dumps({"code": 1, "desc": f'lack of "{name}" argument', "data": {}}, ensure_ascii=False)
            try:
                with self.lock:  # one model, one request at a time
                    out["data"] = func(**values)
            except Exception as error:  # whatever the script's function raises is told to the caller
                out |= {"code": 2, "desc": str(error)}
            return json.dumps(out, ensure_ascii=False)

        return answer

    def route(self, path: str, func: Callable, arguments: dict[str, Any], method: str = "GET") -> None:
        """Adds a page."""
        self.pages[method, path] = self.wraps(func, arguments, method)

    def make_server(self) -> ThreadingHTTPServer:
        """The server, not started."""
        pages = self.pages

        class Handler(BaseHTTPRequestHandler):
            def _answer(self, method: str, query: str) -> None:
                page = pages.get((method, urllib.parse.urlsplit(self.path).path))
                given = dict(urllib.parse.parse_qsl(query, keep_blank_values=True))
                body = b"" if page is None else page(given).encode()
                self.send_response(404 if page is None else 200)
                self.send_header("Content-Type", "application/json; charset=utf-8")
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def do_GET(self) -> None:
                self._answer("GET", urllib.parse.urlsplit(self.path).query)

            def do_POST(self) -> None:
                length = int(self.headers.get("Content-Length") or 0)
                self._answer("POST", self.rfile.read(length).decode())

            def log_message(self, format: str, *args: Any) -> None:
                return None

        return ThreadingHTTPServer((self.host, self.port), Handler)

    def start(self) -> None:
        """Serves until the program is interrupted."""
        with self.make_server() as server:
            server.serve_forever()
