"""Measures `nlptasks serve` under load: requests a second and times at 1, 8 and 64 clients, and whether answers hold.

    python benchmarks/serving.py --classifier runs/classifier --reader runs/demo/reader --seconds 15 --write

The client is wrk (Debian's package), on the same machine. A record goes to benchmarks/serving.md. `--soak MINUTES` asks
all models at once for that long instead, compares every answer with the direct call and watches the memory.
"""

import argparse
import contextlib
import http.client
import json
import os
import random
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

sys.path.insert(0, str(Path(__file__).parent.parent))
from record import surroundings

import nlptasks

RECORD = Path(__file__).with_suffix(".md")
CLIENTS = (1, 8, 64)
SUBJECTS = ("房间", "床铺", "早餐", "前台", "浴室", "菜", "服务员", "电梯")
WORDS = ("很干净", "太咸了", "又小又吵", "很满意", "不太好", "让人放心", "等了很久", "下次还来")
NAMES = ("沈月白", "方大海", "陶安", "林书远")
LUA = """
local bodies = {}
for line in io.lines("%(bodies)s") do bodies[#bodies + 1] = line end
local at, threads = 0, {}
statuses = {}
function setup(thread) threads[#threads + 1] = thread end
function request()
  at = at %% #bodies + 1
  return wrk.format("POST", "%(path)s", {["Content-Type"] = "application/json"}, bodies[at])
end
function response(status) statuses[status] = (statuses[status] or 0) + 1 end
function done(summary, latency)
  local counted = {}
  for _, thread in ipairs(threads) do
    for status, count in pairs(thread:get("statuses")) do
      counted[#counted + 1] = string.format('"%%d": %%d', status, count)
    end
  end
  local e = summary.errors
  local form = '"requests": %%d, "seconds": %%f, "p50": %%f, "p95": %%f, "p99": %%f, "broken": %%d, "statuses": {%%s}'
  io.write(string.format('JSON{' .. form .. '}\\n', summary.requests, summary.duration / 1e6,
    latency:percentile(50) / 1e3, latency:percentile(95) / 1e3,
    latency:percentile(99) / 1e3, e.connect + e.read + e.write + e.timeout, table.concat(counted, ", ")))
end
"""


def classifier_bodies(count: int) -> list[dict]:
    """Texts of 4 to 35 characters."""
    draw = random.Random(1)
    return [
        {"texts": ["，".join(draw.choice(SUBJECTS) + draw.choice(WORDS) for _ in range(draw.randint(1, 5)))]}
        for _ in range(count)
    ]


def reader_bodies(count: int) -> list[dict]:
    """A question with three passages, of which one answers it."""
    draw = random.Random(2)
    found = []
    for _ in range(count):
        name, year = draw.choice(NAMES), draw.randint(1900, 1999)
        passages = [
            f"{name}生于{year}年，{draw.choice(NAMES)}是同乡。",
            f"{name}的老家在青石县。",
            "这一带的河水流得很慢。",
        ]
        found.append({"question": f"{name}生于哪年？", "passages": draw.sample(passages, 3)})
    return found


@contextlib.contextmanager
def server(models: list[str], *options: str) -> Iterator[tuple[int, subprocess.Popen]]:
    """A server that is ready: its port and its process."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    command = [sys.executable, "-m", "nlptasks", "serve", "--model", *models, "--port", str(port), *options]
    with open(os.devnull, "wb") as nothing, subprocess.Popen(command, stderr=nothing) as process:
        try:
            while not ready(port):
                if process.poll() is not None:
                    raise SystemExit("the server did not start; run its command to see why")
                time.sleep(0.1)
            yield port, process
        finally:
            process.send_signal(signal.SIGTERM)
            process.wait(60)


def ready(port: int) -> bool:
    """Whether the server says so."""
    try:
        return ask(port, "/readyz", None)[0] == 200
    except (OSError, http.client.HTTPException):
        return False


def ask(port: int, path: str, body: dict | None) -> tuple[int, dict]:
    """Status and answer of one request."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
    content = None if body is None else json.dumps(body)
    connection.request("GET" if body is None else "POST", path, content, {"Content-Type": "application/json"})
    answer = connection.getresponse()
    found = answer.status, json.loads(answer.read())
    connection.close()
    return found


def load(port: int, path: str, bodies: list[dict], clients: int, seconds: int) -> dict:
    """What wrk measures, once the server has done what the clients before have left behind."""
    ask(port, path, bodies[0])
    with tempfile.TemporaryDirectory() as folder:
        lines, script = Path(folder) / "bodies.jsonl", Path(folder) / "load.lua"
        lines.write_text("\n".join(json.dumps(body) for body in bodies), encoding="utf-8")
        script.write_text(LUA % {"bodies": lines, "path": path}, encoding="utf-8")
        command = ["wrk", "-t1", f"-c{clients}", f"-d{seconds}s", "--timeout", "30s", "-s", str(script)]
        done = subprocess.run([*command, f"http://127.0.0.1:{port}"], capture_output=True, encoding="utf-8", check=True)
    found = json.loads(done.stdout.split("JSON")[1])
    return found | {"clients": clients, "rate": found["requests"] / found["seconds"]}


def compare(port: int, case: "Case", direct: list, stop: Callable[[int], bool], seconds: float = 0.0) -> dict:
    """Asks from 8 threads and compares every answer with the direct call.

    Args:
        direct: the results of the direct calls.
        stop: whether so many rounds of all requests are enough.
        seconds: between two requests of a thread.
    """
    counts, lock = Counter(asked=0, wrong=0, lost=0), threading.Lock()

    def client(number: int) -> None:
        rounds = 0
        while not stop(rounds):
            for i in range(number, len(case.bodies), 8):
                started = time.monotonic()
                try:
                    status, answer = ask(port, case.path, case.bodies[i])
                except (OSError, http.client.HTTPException):
                    status, answer = 0, {}
                with lock:
                    counts["asked"] += 1
                    counts["lost"] += status not in (200, 429)
                    counts["refused"] += status == 429
                    counts["wrong"] += status == 200 and case.shown(answer) != direct[i]
                if seconds:
                    time.sleep(max(0.0, seconds - (time.monotonic() - started)))
                    if stop(rounds):
                        break
            rounds += 1

    threads = [threading.Thread(target=client, args=(i,)) for i in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return dict(counts)


def soak(port: int, process: int, todo: list["Case"], minutes: float, rate: float) -> Iterator[str]:
    """Lines of the record on all cases at once for some minutes; the memory is taken every 10 s."""
    until, found, kept = time.monotonic() + 60 * minutes, {}, [memory(process)]

    def one(case: Case) -> None:
        pause = 8 * len(todo) / rate
        found[case.title] = compare(port, case, directs[case.title], lambda _: time.monotonic() >= until, pause)

    directs = {case.title: case.direct() for case in todo}
    threads = [threading.Thread(target=one, args=(case,)) for case in todo]
    for thread in threads:
        thread.start()
    while any(thread.is_alive() for thread in threads):
        time.sleep(10)
        kept.append(memory(process))
    sixth = kept[len(kept) // 6]
    yield f"{minutes:g} minutes, all models at once, about {rate:g} requests a second from {8 * len(todo)} clients:"
    yield ""
    for title, counts in found.items():
        yield f"- {title.split(',')[0]}: {told(counts)}."
    yield (
        f"- Memory of the server: {sixth:.0f} MB after {minutes / 6:.1f} minutes, {max(kept):.0f} MB at most, "
        f"{kept[-1]:.0f} MB at the end: {kept[-1] / sixth:.3f} times."
    )


def told(counts: dict) -> str:
    """Counts in words."""
    return (
        f"{counts['asked']} requests, {counts['wrong']} answers unlike the direct call's, {counts['lost']} lost, "
        f"{counts.get('refused', 0)} with status 429"
    )


def memory(process: int) -> float:
    """Resident memory of a process in MB."""
    lines = Path(f"/proc/{process}/status").read_text(encoding="utf-8").splitlines()
    return next(int(line.split()[1]) / 1024 for line in lines if line.startswith("VmRSS"))


def children(process: int) -> list[int]:
    """The processes below one that serve."""
    tasks = Path(f"/proc/{process}/task/{process}/children").read_text(encoding="utf-8").split()
    return [int(child) for child in tasks if b"spawn_main" in Path(f"/proc/{child}/cmdline").read_bytes()]


def killed_worker(case: "Case", settle: float) -> dict:
    """What clients see when one of two workers is killed, and how long a server is silent that has lost both.

    Args:
        settle: seconds after which a new worker has loaded its model.
    """
    path, body = case.path, case.bodies[0]
    with server([case.model], "--workers", "2") as (port, process):
        time.sleep(settle)
        os.kill(children(process.pid)[0], signal.SIGKILL)
        statuses = Counter[object]()
        for _ in range(200):
            try:
                statuses[ask(port, path, body)[0]] += 1
            except (OSError, http.client.HTTPException):
                statuses["lost"] += 1
        while len(children(process.pid)) < 2 or process.poll() is not None:
            time.sleep(0.1)
        time.sleep(settle)
        for child in children(process.pid):
            os.kill(child, signal.SIGKILL)
        started = time.monotonic()
        while True:
            with contextlib.suppress(OSError, http.client.HTTPException):
                if ask(port, path, body)[0] == 200:
                    break
            time.sleep(0.05)
        return {"seconds": time.monotonic() - started, "statuses": dict(statuses)}


def row(found: dict) -> str:
    """A line of the table."""
    statuses = ", ".join(f"{status}: {count}" for status, count in sorted(found["statuses"].items()))
    times = " | ".join(f"{found[name]:.1f}" for name in ("p50", "p95", "p99"))
    return f"| {found['clients']} | {found['rate']:.1f} | {times} | {statuses} | {found['broken']} |"


class Case(NamedTuple):
    """What is asked under load.

    Attributes:
        title: with the size of a request.
        model: as `--model` takes it.
        path: of the requests.
        bodies: of the requests.
        direct: the results of the direct calls.
        shown: the same of an answer.
    """

    title: str
    model: str
    path: str
    bodies: list[dict]
    direct: Callable[[], list]
    shown: Callable[[dict], object]


def cases(classifier: Path | None, reader: Path | None) -> list[Case]:
    """Segmentation, and what there are models for."""
    opinions, answers = classifier_bodies(200), reader_bodies(100)
    found = [
        Case(
            "Segmentation, one text of 4 to 35 characters (NumPy alone)",
            "segmenter",
            "/v1/segmenter/segment",
            opinions,
            lambda: nlptasks.load("segmenter").segment([body["texts"][0] for body in opinions]),
            lambda answer: answer["results"][0]["words"],
        )
    ]
    if classifier is not None:
        found.append(
            Case(
                "Classification, one text of 4 to 35 characters",
                f"opinions={classifier}",
                "/v1/opinions/classify",
                opinions,
                lambda: [one.label for one in nlptasks.load(classifier).predict([b["texts"][0] for b in opinions])],
                lambda answer: answer["results"][0]["label"],
            )
        )
    if reader is not None:
        found.append(
            Case(
                "Reading, a question with three passages",
                f"reader={reader}",
                "/v1/reader/answer",
                answers,
                lambda: [one.text for one in nlptasks.load(reader).predict([tuple(b.values()) for b in answers])],
                lambda answer: answer["text"],
            )
        )
    return found


def measured(port: int, case: Case, seconds: int) -> Iterator[str]:
    """Lines of the record on a case under load."""
    load(port, case.path, case.bodies, 8, 2)
    found = [load(port, case.path, case.bodies, clients, seconds) for clients in CLIENTS]
    yield from [f"## {case.title}", "", "| clients | requests/s | p50 ms | p95 ms | p99 ms | statuses | broken |"]
    yield from ["|---|---|---|---|---|---|---|", *map(row, found), ""]
    if not found[0]["requests"]:
        yield from ["No request of a single client was answered in that time.", ""]
        return
    rate, slow = found[1]["rate"] / found[0]["rate"], found[1]["p99"] / found[0]["p99"]
    yield from [f"8 clients: {rate:.2f} times the requests a second of one, and {slow:.2f} times its p99.", ""]


def checked(port: int, case: Case) -> str:
    """A line of the record on its answers, each asked for once from 8 clients."""
    return f"- {case.title.split(',')[0]}: {told(compare(port, case, case.direct(), lambda rounds: rounds == 1))}."


def main() -> None:
    """Measures, and prints the record, or writes it as it grows."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--classifier", type=Path, help="a classifier of texts")
    parser.add_argument("--reader", type=Path, help="a reader")
    parser.add_argument("--seconds", type=int, default=15, help="of each load")
    parser.add_argument("--soak", type=float, default=0.0, help="minutes of all models at once; no loads then")
    parser.add_argument("--rate", type=float, default=20.0, help="requests a second of the soak")
    parser.add_argument("--record", type=Path, default=RECORD, help="file of the record")
    parser.add_argument("--note", default="", help="what else the machine did, for the record")
    parser.add_argument("--write", action="store_true", help="write the record")
    given = parser.parse_args()
    if shutil.which("wrk") is None:
        raise SystemExit("wrk is not installed (Debian: apt-get install wrk)")
    cores = len(os.sched_getaffinity(0))
    lines = [
        "# The server under load",
        "",
        f"`python benchmarks/serving.py`, {surroundings('keras', 'tensorflow', 'fastapi', 'uvicorn')}; client: wrk on "
        f"the same {cores} core{'s' if cores > 1 else ''}, {given.seconds} s each. {given.note}".strip(),
        "",
    ]

    def add(*more: str) -> None:
        lines.extend(more)
        print("\n".join(more), flush=True)
        if given.write:
            given.record.write_text("\n".join(lines).rstrip() + "\n", encoding="utf-8")

    todo = cases(given.classifier, given.reader)
    started = time.monotonic()
    with server([case.model for case in todo]) as (port, process):
        add(f"From the command to ready, {len(todo)} models loaded and warm: {time.monotonic() - started:.1f} s.", "")
        if given.soak:
            add("## Soak", "", *soak(port, process.pid, todo, given.soak, given.rate))
            return
        for case in todo:
            add(*measured(port, case, given.seconds))
        add("## Answers beside the direct calls, from 8 clients", "")
        for case in todo:
            add(checked(port, case))
    add("", "## A killed worker", "")
    for case in todo[:2]:
        killed = killed_worker(case, 5 if case.model == "segmenter" else 20)
        add(
            f"- {case.title.split(',')[0]}, `--workers 2`: after `kill -9` on one, 200 requests in turn got "
            f"these statuses: {killed['statuses']}. After `kill -9` on both, a new one answered in "
            f"{killed['seconds']:.1f} s.",
        )


if __name__ == "__main__":
    main()
