"""The driver of the tables: order, the limit, and what it collects."""

import json
import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]
COPY = "import shutil, sys; shutil.copy(*sys.argv[1:3])"
RUNS = [
    {"system": name, "seed": seed, "score": 50.0, "items": items, "group": "same", "seconds": 3, "tokens": 700}
    for name, items in (("first", [1, 1, 0, 1, 0, 0]), ("second", [1, 0, 0, 1, 0, 1]))
    for seed in (1, 2)
]


def jobs(folder):
    def copying(name, then=""):
        return f'-c "{COPY}{then}" {folder / name} {{output}}'

    return [
        {"name": "good", "command": copying("runs.json"), "minutes": 1},
        {"name": "bad", "command": "-c \"raise SystemExit('the reason')\"", "minutes": 1, "place": 0},
        {"name": "endless", "command": copying("none.json", "; import time; time.sleep(60)"), "minutes": 1},
        {"name": "late", "command": copying("none.json"), "minutes": 1},
        {"name": "titles", "command": copying("written.json"), "minutes": 1, "place": 1},
        {"name": "lacking", "command": "{pieces}", "minutes": 1, "checkpoint": "pieces"},
    ]


def test_what_is_done_failed_stopped_and_never_started_is_collected(tmp_path):
    for name, runs in (("runs.json", RUNS), ("none.json", [])):
        (tmp_path / name).write_text(json.dumps({"runs": runs}), encoding="utf-8")
    titles = [
        {"task": "titles", "seed": 0, "scores": {"test": {"model": {"rouge_l": 48.5}, "lead": {"rouge_l": 29.7}}}}
    ]
    (tmp_path / "written.json").write_text(json.dumps(titles), encoding="utf-8")
    (tmp_path / "jobs.json").write_text(json.dumps(jobs(tmp_path)), encoding="utf-8")
    script, names = ROOT / "benchmarks" / "gpu_tables.py", [job["name"] for job in jobs(tmp_path)]
    command = [sys.executable, script, "run", "--data", tmp_path, "--work", tmp_path / "work", "--only", *names]
    command += ["--extra", tmp_path / "jobs.json", "--output", tmp_path / "out", "--seconds", 6, "--at-once", 1]
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    done = subprocess.run(list(map(str, command)), capture_output=True, text=True, env=environment, check=False)
    assert done.returncode == 0, done.stderr
    results = json.loads((tmp_path / "out" / "results.json").read_text(encoding="utf-8"))
    assert {name: of["status"] for name, of in results.items()} == {
        "bad": "failed (1)",
        "good": "done",
        "titles": "done",
        "endless": "stopped at the limit",
        "late": "not started",
        "lacking": "no checkpoint given",
    }
    assert next(iter(results)) == "bad"
    assert results["good"]["result"]["runs"] == RUNS
    assert results["endless"]["result"]["runs"] == []
    assert "the reason" in (tmp_path / "out" / "logs.txt").read_text(encoding="utf-8")
    assert "| good: first | 2 | 50.00 (50.00 to 50.00) |" in done.stdout
    assert "| good: second minus good: first | 2 | +0.00 | " in done.stdout
    assert "titles, test: rouge_l 48.50\n" in done.stdout
