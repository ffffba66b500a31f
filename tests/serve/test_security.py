"""What strangers may try: bodies, paths, keys, names, and clients that are slow or leave."""

import asyncio
import builtins
import json
import re
import time
from pathlib import Path

import pytest

pytest.importorskip("fastapi", reason="the server needs the extra `serve`")

from nlptasks.serve import app as app_module
from nlptasks.serve.app import make_app
from nlptasks.serve.guard import DEEPEST, check_depth
from nlptasks.serve.services import open_services
from tests.serve.cases import ask, call, echo_service, log_lines, message_of, options, part, records, running

pytestmark = pytest.mark.once
SAY = "/v1/echo/say"
PAGE = Path(app_module.__file__).parent / "page"


def echoes(compute=list):
    return {"echo": echo_service(compute)}


def json_body(content):
    return {"content": content, "headers": {"content-type": "application/json"}}


# Bodies


def test_a_body_that_says_it_is_too_large_is_not_read():
    [found] = ask(echoes(), ("POST", SAY, {"json": {"texts": ["好" * 3000]}}), settings=options(max_body_kib=8))
    assert (found.status_code, message_of(found)) == (413, "a body may have at most 8 KiB.")


def test_a_body_that_turns_out_too_large_is_read_no_further():
    app, read = make_app(echoes(), options(max_body_kib=8)), []

    async def endless():
        read.append(1)
        return part(b"x" * 1000, more=True)

    sent = asyncio.run(call(app, SAY, [endless] * 30))
    assert sent[0]["status"] == 413
    assert len(read) == 9
    assert (b"connection", b"close") in sent[0]["headers"]


@pytest.mark.parametrize("opening", ["[", '{"a":'])
def test_a_deep_body_is_refused_before_it_is_parsed(opening):
    [found] = ask(echoes(), ("POST", SAY, json_body(opening * 100_000)))
    assert (found.status_code, message_of(found)) == (400, "the body may have at most 16 levels of lists and objects.")


def test_depth_is_counted_outside_of_strings_and_quickly():
    check_depth(json.dumps({"texts": ["[[[{" * 100, '\\"[' * 100]}).encode())
    check_depth(b"[]" * 1000 + b"[" * DEEPEST)
    started = time.monotonic()
    check_depth(b'"' + b'\\"[' * 300_000)  # a string without its end
    check_depth(b'"' + b"\\" * 900_001)
    assert time.monotonic() - started < 2


@pytest.mark.parametrize(
    ("content", "status"),
    [
        (b"", 422),
        (b"{", 422),
        (b"\xff\xfe", 422),
        (b'{"texts": [NaN]}', 422),
        (b'{"texts": ["\\ud83d"]}', 422),
        (b'{"texts": ["a"], "texts": ["b"]}', 200),
        (b'{"texts": {"$ref": "file:///etc/passwd"}}', 422),
        (b'{"__proto__": {}, "texts": ["a"]}', 422),
        (b"1" * 6000, 400),
    ],
)
def test_a_strange_body_is_one_line(content, status):
    [found] = ask(echoes(), ("POST", SAY, json_body(content)))
    assert found.status_code == status
    if status != 200:
        assert message_of(found)


@pytest.mark.parametrize("kind", [None, "text/plain", "application/x-www-form-urlencoded", "multipart/form-data"])
def test_a_page_elsewhere_cannot_post_without_being_asked_first(kind):
    headers = {"content-type": kind} if kind else {}
    [found] = ask(echoes(), ("POST", SAY, {"content": b'{"texts": ["a"]}', "headers": headers}))
    assert (found.status_code, "access-control-allow-origin" in found.headers) == (415, False)


# Paths


@pytest.mark.parametrize(
    "path",
    [
        "/../pyproject.toml",
        "/page.js/../../server.py",
        "/%2e%2e/%2e%2e/etc/passwd",
        "/..%2f..%2fetc%2fpasswd",
        "//etc/passwd",
        "/server.py",
        "/page.css%00.html",
        "/v1/../../etc/passwd",
        "/v1/echo/say/../../../x",
        "/v1/echo/..",
    ],
)
def test_no_path_leads_to_a_file(path, monkeypatch):
    async def run():
        async with running(echoes()) as client:
            opened = []
            real = builtins.open
            monkeypatch.setattr(builtins, "open", lambda *given, **more: opened.append(given) or real(*given, **more))
            found = await call(client.app, path, [part(b"")], method="GET")
            return found, opened

    sent, opened = asyncio.run(run())
    assert (sent[0]["status"], opened) == (404, [])
    assert b"root:" not in sent[1]["body"]


def test_a_model_is_a_name_and_never_a_path():
    services = open_services(options(model=("similarity",)))
    names = ["../../etc", "/etc/passwd", "nlptasks/bundled/similarity", "similarity\x00", ""]
    found = ask(services, *(("POST", "/v1/embeddings", {"json": {"model": name, "input": "好"}}) for name in names))
    assert [answer.status_code for answer in found] == [404] * len(names)
    assert not any(name in answer.text for name, answer in zip(names, found, strict=True) if name)


# Keys and hosts


def test_without_the_key_nothing_but_the_page_and_the_health_is_answered():
    key = "秘密 key"
    headers = [
        {},
        {"authorization": "Bearer wrong"},
        {"authorization": "秘密 key".encode()},
        {"authorization": b"Basic " + key.encode()},
        {"authorization": b"Bearer " + key.encode()[:-1]},
        {"authorization": b"Bearer " + key.encode()},
    ]
    wanted = [401] * 5 + [200]
    for path in ("/v1/models", "/metrics", "/openapi.json"):
        found = ask(echoes(), *(("GET", path, {"headers": one}) for one in headers), key=key)
        assert [answer.status_code for answer in found] == wanted
        assert found[0].headers["www-authenticate"] == "Bearer"
    say = [("POST", SAY, {"json": {"texts": ["a"]}, "headers": one}) for one in headers]
    assert [answer.status_code for answer in ask(echoes(), *say, key=key)] == wanted
    free = ask(echoes(), *(("GET", path, {}) for path in ("/", "/docs", "/page.js", "/healthz", "/readyz")), key=key)
    assert [answer.status_code for answer in free[:4]] == [200] * 4
    assert not any("echo" in answer.text for answer in free[:2])  # the page does not know the models


def test_another_name_for_this_machine_is_refused():
    names = {
        "127.0.0.1": 200,
        "localhost:8000": 200,
        "[::1]:8000": 200,
        "evil.example": 421,
        "localhost.evil.example": 421,
    }
    found = ask(echoes(), *(("GET", "/healthz", {"headers": {"host": name}}) for name in names))
    assert [answer.status_code for answer in found] == list(names.values())
    given = options(host="0.0.0.0", without_key=True, allowed_hosts=("nlp.example",))
    found = ask(
        echoes(), *(("GET", "/healthz", {"headers": {"host": name}}) for name in ("nlp.example", "x")), settings=given
    )
    assert [answer.status_code for answer in found] == [200, 421]


# Clients


def test_a_body_that_trickles_is_given_up():
    app = make_app(echoes(), options(read_seconds=0.1))

    async def trickle():
        await asyncio.sleep(0.04)
        return part(b" ", more=True)

    async def feed():
        started = time.monotonic()
        sent = await call(app, SAY, [trickle] * 20)
        return sent, time.monotonic() - started

    sent, seconds = asyncio.run(feed())
    assert (sent[0]["status"], seconds < 0.6) == (408, True)


def test_a_client_that_leaves_while_a_text_is_written_ends_the_writing():
    state = {"steps": 0, "closed": False}

    def stream(wanted):
        def steps():
            try:
                while state["steps"] < 1000:
                    state["steps"] += 1
                    time.sleep(0.005)
                    yield "part", {"kept": 0, "new": "x"}
            finally:
                state["closed"] = True

        return steps

    async def run():
        async with running({"echo": echo_service(list, stream)}) as client:

            async def leaves():
                await asyncio.sleep(0.05)
                return {"type": "http.disconnect"}

            sent = await call(client.app, SAY, [part(b'{"texts": ["a"]}'), leaves])
            await asyncio.sleep(0.05)
            return sent

    with log_lines() as lines:
        sent = asyncio.run(run())
    assert (sent[0]["status"], state["closed"]) == (200, True)
    assert 1 < state["steps"] < 100
    assert records(lines)[-1]["path"] == SAY


def test_a_client_that_takes_nothing_is_let_go():
    def stream(wanted):
        return lambda: iter([("part", {"new": "x"})] * 3)

    async def run():
        app = make_app({"echo": echo_service(list, stream)}, options(read_seconds=0.1))
        async with app.app.router.lifespan_context(app.app):

            async def stuck(scope, receive, send):
                async def never(message):
                    await asyncio.Event().wait()

                await app(scope, receive, never)

            started = time.monotonic()
            await call(stuck, SAY, [part(b'{"texts": ["a"]}')])
            return time.monotonic() - started

    with log_lines() as lines:
        assert asyncio.run(run()) < 2
    assert records(lines)[-1]["gone"]


# What is told


def test_a_fault_of_the_server_is_logged_and_not_told():
    def broken(items):
        raise RuntimeError("secret: /srv/models/private")

    def foreign(items):
        int("secret")

    for compute, said in ((broken, "secret: /srv"), (foreign, "invalid literal")):
        with log_lines() as lines:
            [found] = ask(echoes(compute), ("POST", SAY, {"json": {"texts": ["a"]}}))
        assert found.status_code == 500
        assert "secret" not in found.text
        assert found.headers["x-request-id"] in message_of(found)
        assert any(said in line and found.headers["x-request-id"] in line for line in lines)


def test_the_page_needs_nothing_from_outside_and_lets_no_text_become_code():
    found = ask(echoes(), *(("GET", path, {}) for path in ("/", "/docs", "/page.css", "/cards.js", "/icon.svg")))
    for answer in found:
        assert answer.status_code == 200
        policy = answer.headers["content-security-policy"]
        assert "default-src 'none'; script-src 'self'; style-src 'self'" in policy
        assert answer.headers["x-content-type-options"] == "nosniff"
    outside = re.compile(r"(?:https?:)?//(?!www\.w3\.org/2000/svg)[\w.]+\.\w", re.ASCII)
    for path in sorted(PAGE.iterdir()):
        text = path.read_text(encoding="utf-8")
        links = [line for line in text.splitlines() if outside.search(line) and not line.strip().startswith("//")]
        assert links == [], path.name
        assert not re.search(r"innerHTML|outerHTML|insertAdjacent|document\.write|eval\(|new Function", text), path.name
        assert " on" not in re.sub(r"\s+", " ", "".join(re.findall(r"<[a-z][^>]*>", text))) or path.suffix != ".html"
