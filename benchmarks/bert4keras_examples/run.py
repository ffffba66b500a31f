"""Runs bert4keras' own examples unchanged and writes a table: example, SHA-256, runs to its end or stops where and why.

    git clone https://github.com/bojone/bert4keras
    python benchmarks/bert4keras_examples/run.py bert4keras/examples --output table.md [--only NAME ...]

The examples name absolute paths below /root: they run in a mount namespace of their own (`unshare -m`, an overlay; it
needs root), where those paths hold what `toys.py` makes. Other packages that examples import (rouge, nltk, sympy,
pandas, opencv-python-headless, cchess, sentencepiece, jieba) come from PYTHONPATH.
"""

import argparse
import hashlib
import os
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

HERE = Path(__file__).resolve().parent
IN_NAMESPACE = """
set -e
mount -t tmpfs none "$WORK/over"
mkdir "$WORK/over/upper" "$WORK/over/work"
mount -t overlay overlay -o "lowerdir=$WORK/toys:/root,upperdir=$WORK/over/upper,workdir=$WORK/over/work" /root
cd "$WORK/run/examples"
exec "$PYTHON" "$BOUNDED" "$SCRIPT"
"""


def run_one(script: Path, work: Path, limit: int) -> tuple[str, str, float]:
    """(how it ended, its last lines, seconds)"""
    environment = os.environ | {
        "WORK": str(work),
        "PYTHON": sys.executable,
        "BOUNDED": str(HERE / "bounded.py"),
        "SCRIPT": script.name,
    }
    start = time.perf_counter()
    try:
        done = subprocess.run(
            ["unshare", "-m", "sh", "-c", IN_NAMESPACE],
            env=environment,
            capture_output=True,
            encoding="utf-8",
            errors="replace",
            timeout=limit,
            check=False,
        )
    except subprocess.TimeoutExpired as error:
        text = (error.stdout or b"").decode("utf-8", "replace")[-300:]
        return "stopped by the time limit", text, time.perf_counter() - start
    seconds = time.perf_counter() - start
    (work / f"{script.stem}.log").write_text(done.stdout + "\n--- stderr\n" + done.stderr, encoding="utf-8")
    if done.returncode == 0:
        return "runs to its end", "", seconds
    told = [line for line in done.stderr.splitlines() if line.strip()]
    where = [line.strip() for line in told if script.name in line]
    return "stops", f"{where[-1] if where else ''} {told[-1] if told else ''}".strip(), seconds


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("examples", type=Path)
    parser.add_argument("--output", type=Path, default=Path("table.md"))
    parser.add_argument("--only", nargs="*")
    parser.add_argument("--limit", type=int, default=600)
    parser.add_argument("--work", type=Path)
    options = parser.parse_args()
    work = options.work or Path(tempfile.mkdtemp())
    (work / "over").mkdir(parents=True, exist_ok=True)
    if not (work / "toys").exists():
        subprocess.run([sys.executable, str(HERE / "toys.py"), str(work / "toys")], check=True)
    scripts = sorted(options.examples.glob("*.py"))
    names = options.only or [script.stem for script in scripts]
    rows = []
    for script in [s for s in scripts if s.stem in names]:
        folder = work / "run" / "examples"
        shutil.rmtree(work / "run", ignore_errors=True)
        folder.mkdir(parents=True)
        for other in scripts:
            shutil.copy(other, folder)
        shutil.copytree(work / "toys" / "examples" / "datasets", folder / "datasets")
        if script.stem == "task_sentiment_integrated_gradients":  # it imports another one, which loads these weights
            run_one(folder / "task_sentiment_albert.py", work, options.limit)
        digest = hashlib.sha256(script.read_bytes()).hexdigest()
        if hashlib.sha256((folder / script.name).read_bytes()).hexdigest() != digest:
            raise SystemExit(f"{script}: was changed")
        end, why, seconds = run_one(folder / script.name, work, options.limit)
        rows.append(f"| {script.stem} | {digest[:12]} | {end} | {why.replace('|', '/')[:240]} | {seconds:.0f} s |")
        print(rows[-1], flush=True)
        head = "| example | SHA-256 | how it ends | where and why | time |\n|---|---|---|---|---|\n"
        options.output.write_text(head + "\n".join(rows) + "\n", encoding="utf-8")
    print(sum("runs to its end" in row for row in rows), "of", len(rows))


if __name__ == "__main__":
    main()
