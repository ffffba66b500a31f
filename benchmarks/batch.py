"""Measures `nlptasks batch` on 1 and 2 workers, and what happens when a worker is killed.

    python benchmarks/batch.py --model runs/classifier --lines 4000 --write

The input is made here: files of JSON lines, one with lines that cannot be computed. The results of 1 and of 2 workers,
and of a job whose worker was killed and that was begun again, must be the same bytes. The record goes to
benchmarks/batch.md.
"""

import argparse
import contextlib
import gzip
import json
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent.parent))
from record import surroundings

from nlptasks.batch.watched import workers_below

RECORD = Path(__file__).with_suffix(".md")
SUBJECTS = ("房间", "床铺", "早餐", "前台", "浴室", "菜", "服务员", "电梯")
WORDS = ("很干净", "太咸了", "又小又吵", "很满意", "不太好", "让人放心", "等了很久", "下次还来")
BAD = ("{broken", '{"id": "no text"}', '{"text": 5}')


def make_input(folder: Path, files: int, lines: int) -> None:
    """Files of texts of 4 to 35 characters; the first one has three lines that are wrong."""
    draw = random.Random(1)
    for number in range(files):
        rows = []
        for line in range(lines // files):
            text = "，".join(draw.choice(SUBJECTS) + draw.choice(WORDS) for _ in range(draw.randint(1, 5)))
            rows.append(json.dumps({"id": f"{number}-{line}", "text": text}, ensure_ascii=False))
        if not number:
            rows[1:1] = BAD
        with gzip.open(folder / f"part-{number:02d}.jsonl.gz", "wt", encoding="utf-8") as file:
            file.write("\n".join(rows) + "\n")


def command(model: str, folder: Path, output: Path, workers: int) -> list[str]:
    """The command line of a job."""
    words = ["--model", model, "--input", f"{folder}/part-*.jsonl.gz", "--output", str(output), "--json"]
    return [sys.executable, "-m", "nlptasks", "batch", *words, "--workers", str(workers)]


def timed(words: list[str]) -> tuple[float, dict, str]:
    """Seconds of a job, its counts, and what it said."""
    started = time.monotonic()
    done = subprocess.run(words, capture_output=True, encoding="utf-8", check=False)
    if done.returncode:
        raise SystemExit(f"{' '.join(words)}: status {done.returncode}\n{done.stderr}")
    return time.monotonic() - started, json.loads(done.stdout), done.stderr


def killed(words: list[str], output: Path) -> tuple[float, int, str]:
    """Kills a worker when a shard is finished: seconds to the end of the job, its status, and its last line."""
    with subprocess.Popen(words, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, encoding="utf-8") as process:
        while not [*output.glob("part-*")]:
            if process.poll() is not None:
                raise SystemExit(process.stderr.read())
            time.sleep(0.02)
        victims = workers_below(process.pid)
        os.kill(min(victims), signal.SIGKILL)
        started = time.monotonic()
        said = process.communicate(timeout=120)[1]
        seconds = time.monotonic() - started
    time.sleep(1)
    left = [pid for pid in victims if alive(pid)]
    if left:
        raise SystemExit(f"workers are left: {left}")
    return seconds, process.returncode, said.strip().splitlines()[-1]


def alive(pid: int) -> bool:
    """Whether a process is there and no zombie."""
    with contextlib.suppress(OSError):
        return Path(f"/proc/{pid}/stat").read_text(encoding="ascii").rsplit(")", 1)[1].split()[0] != "Z"
    return False


def contents(folder: Path) -> dict[str, bytes]:
    """Name -> bytes of all files."""
    return {str(path.relative_to(folder)): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


def main() -> None:
    """Measures, and prints the record or writes it."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", default="segmenter", help="directory of a model, or the name of a bundled one")
    parser.add_argument("--lines", type=int, default=40_000, help="of the input")
    parser.add_argument("--files", type=int, default=8, help="of the input")
    parser.add_argument("--note", default="", help="what else the machine did, for the record")
    parser.add_argument("--write", action="store_true", help="write the record")
    given = parser.parse_args()
    os.environ["PYTHONPATH"] = str(Path(__file__).parent.parent)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "in").mkdir()
        make_input(folder / "in", given.files, given.lines)
        times = {}
        for workers in (1, 2):
            output = folder / f"out{workers}"
            times[workers], counts, _ = timed(command(given.model, folder / "in", output, workers))
        again, nothing, _ = timed(command(given.model, folder / "in", output, 2))
        output = folder / "killed"
        words = command(given.model, folder / "in", output, 2)
        seconds, status, reason = killed(words, output)
        there = len([*output.glob("part-*")])
        rest, finished, _ = timed(words)
        expected = contents(folder / "out1")
        same = [contents(folder / "out2") == expected, contents(output) == expected]
    lines = [
        "# A job over files",
        "",
        f"`python benchmarks/batch.py --lines {given.lines} --files {given.files}`, "
        f"{surroundings('apache_beam', 'numpy')}. {given.note}".strip(),
        "",
        f"Model: {Path(given.model).name}. {counts['rows']} lines in {counts['shards']} files, {counts['bad']} of them "
        "set aside. Times are of the whole command; a worker computes on one core.",
        "",
        "| workers | seconds | lines/s |",
        "|---|---|---|",
        *(f"| {workers} | {took:.1f} | {counts['rows'] / took:.0f} |" for workers, took in times.items()),
        "",
        f"- The same command once more: {again:.1f} s, {nothing['computed']} files computed.",
        f"- `kill -9` on one of two workers when {there} of {given.files} files were there: the command ended "
        f"{seconds:.1f} s later with status {status}, and no process was left: `{reason.replace(name, 'DIR')}`",
        f"- The same command then: {rest:.1f} s, {finished['computed']} files computed.",
        f"- The bytes of 2 workers are those of 1: {same[0]}; those of the job that was killed: {same[1]}.",
    ]
    print("\n".join(lines))
    if given.write:
        RECORD.write_text("\n".join(lines) + "\n", encoding="utf-8")
    if not all(same):
        raise SystemExit(1)


if __name__ == "__main__":
    main()
