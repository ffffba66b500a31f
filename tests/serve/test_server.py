"""The server as a process: it starts, answers, is patient only so long, and finishes what it has accepted."""

import http.client
import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from nlptasks import command as command_line
from nlptasks.backend import packages
from nlptasks.errors import UserError
from nlptasks.serve.settings import KEY_VARIABLE, ServeOptions

ROOT = Path(__file__).parents[2]
pytestmark = pytest.mark.once


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ("--model a=nothing", "--model a: nothing is no directory"),
        ("--model segmenter segmenter=x", "--model: the name 'segmenter' is given twice"),
        ("--model ../x", "--model takes NAME=DIR, where NAME consists of letters"),
        ("--model segmenter --max-batch 0", "--max-batch must be at least 1. Received: 0."),
        ("--model segmenter --max-queue 3", "--max-queue must be at least 64. Received: 3."),
        ("--model segmenter --port 70000", "--port must be at most 65535"),
        ("--model segmenter --host 0.0.0.0", "set the environment variable NLPTASKS_API_KEY, or give --without-key"),
    ],
)
def test_a_wrong_option_is_one_line(words, message, monkeypatch, capsys):
    monkeypatch.delenv(KEY_VARIABLE, raising=False)
    from nlptasks.serve import commands

    monkeypatch.setattr(commands.Serve, "packages", lambda self: ())
    monkeypatch.setattr(commands, "say", lambda *given, **values: None)
    if "--host" in words:
        pytest.importorskip("fastapi", reason="the server needs the extra `serve`")
    assert command_line.main(["serve", *words.split()]) == 2
    err = capsys.readouterr().err
    assert message in err
    assert err.startswith("error: ")
    assert err.count("\n") == 1


def test_what_is_not_installed_is_named_before_anything_is_opened(monkeypatch, capsys):
    monkeypatch.setattr(packages, "is_installed", lambda module: module not in ("uvicorn", "prometheus_client"))
    assert command_line.main(["serve", "--model", "a=nothing"]) == 2
    assert capsys.readouterr().err == (
        "error: uvicorn and prometheus-client are not installed, and this needs them: "
        'pip install "uvicorn>=0.37,<1" "prometheus-client>=0.21,<1".\n'
    )


def test_options_come_whole_into_another_process():
    given = ServeOptions(model=("a=b", "segmenter"), host="0.0.0.0", wait_ms=3.5, warm_up=False)
    assert ServeOptions.from_json(given.to_json()) == given
    assert given.directories() == {"a": "b", "segmenter": "segmenter"}


def test_a_key_opens_the_server_to_other_machines():
    away = ServeOptions(model=("segmenter",), host="0.0.0.0")
    with pytest.raises(UserError, match="other machines could use this server"):
        away.require_key({KEY_VARIABLE: ""})
    assert away.require_key({KEY_VARIABLE: "k"}) == "k"
    assert ServeOptions(model=("segmenter",), host="0.0.0.0", without_key=True).require_key({}) is None
    for host in ("127.0.0.1", "127.9.9.9", "localhost", "::1"):
        assert ServeOptions(model=("segmenter",), host=host).require_key({}) is None


@pytest.fixture(scope="module")
def server():
    pytest.importorskip("fastapi", reason="the server needs the extra `serve`")
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    command = [sys.executable, "-m", "nlptasks", "serve", "--model", "segmenter", "--port", str(port)]
    command += ["--read-seconds", "1", "--wait-ms", "400", "--workers", "2"]
    environment = {name: value for name, value in os.environ.items() if name != KEY_VARIABLE}
    with subprocess.Popen(command, cwd=ROOT, stderr=subprocess.PIPE, encoding="utf-8", env=environment) as process:
        lines = []
        reading = threading.Thread(target=lambda: lines.extend(process.stderr), daemon=True)
        reading.start()
        until = time.monotonic() + 120  # a loaded machine takes long to start two processes
        while not ready(port):
            assert process.poll() is None, lines
            assert time.monotonic() < until
            time.sleep(0.05)
        yield process, port, lines
        process.kill()
        process.wait()
        reading.join()


def ready(port):
    try:
        return ask(port, "GET", "/readyz")[0] == 200
    except OSError:
        return False


def ask(port, method, path, body=None):
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=20)
    headers = {"Content-Type": "application/json"} if body is not None else {}
    connection.request(method, path, None if body is None else json.dumps(body), headers)
    answer = connection.getresponse()
    found = answer.status, answer.read()
    connection.close()
    return found


def test_no_answer_waits_for_an_acknowledgment(server):
    connection, seconds = http.client.HTTPConnection("127.0.0.1", server[1], timeout=20), []
    for _ in range(40):  # the first ones are acknowledged at once
        started = time.monotonic()
        connection.request("GET", "/healthz")
        connection.getresponse().read()
        seconds.append(time.monotonic() - started)
    connection.close()
    assert min(seconds[30:]) < 0.035


def test_the_command_serves_and_lets_go_of_who_says_nothing_and_finishes_what_it_took(server):
    process, port, lines = server
    body = {"texts": ["今天天气很好"]}
    status, content = ask(port, "POST", "/v1/segmenter/segment", body)
    assert (status, json.loads(content)["results"][0]["words"]) == (200, ["今天", "天气", "很", "好"])
    with socket.create_connection(("127.0.0.1", port), timeout=10) as silent:
        silent.sendall(b"GET / HTTP/1.1\r\nHost: 127.0.0.1\r\nX-Slow: ")
        started = time.monotonic()
        assert silent.recv(100) == b""
        assert 0.5 < time.monotonic() - started < 5
    answers = []
    late = threading.Thread(target=lambda: answers.append(ask(port, "POST", "/v1/segmenter/segment", body)))
    late.start()
    time.sleep(0.15)  # it has been taken, and waits for others for 0.4 s
    process.send_signal(signal.SIGTERM)
    late.join()
    assert answers[0][0] == 200
    process.wait(20)
    with pytest.raises(OSError, match=r"refused|reset"):
        ask(port, "GET", "/healthz")
    time.sleep(0.2)
    assert sum('"verb": "segment"' in line for line in lines) == 2
    assert not any("Traceback" in line for line in lines)
