"""Makes `runs_0_1`: a stopped and a finished run of every train command, as version 0.1 has written them.

    git worktree add ../nlptasks-0.1 a9fdda9
    KERAS_BACKEND=tensorflow python -m tests.golden.make_runs_golden --repo ../nlptasks-0.1
    KERAS_BACKEND=jax python -m tests.golden.make_runs_golden --repo ../nlptasks-0.1          pretraining
    KERAS_BACKEND=tensorflow python -m tests.golden.make_runs_golden --repo ../nlptasks-0.1 labeling reading

From the top of the repository; the last makes those that are named. Later versions go on with the one and open the
other (tests/test_old_runs.py). An archive a run: `inputs/`, what it reads, all made here; `stopped/`; `run/`, the
finished model; and what that says in 0.1. Their arguments: runs_cases.py beside this file.
"""

import argparse
import io
import os
import subprocess
import sys
import tarfile
import tempfile
from collections.abc import Iterator
from pathlib import Path

import tests.conftest  # noqa: F401 - programs are compiled as the tests compile them, which bits depend on
from tests.golden import runs_cases
from tests.golden.runs_cases import ANSWERS, RUNS, TRAIN, backend_of

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE.parents[1] / "benchmarks"))
from same_numbers import FINISHED, STOPPED, Work  # noqa: E402
from small_runs import INPUTS, Run  # noqa: E402

STATE = "resume.safetensors"


def read_by(run: Run, folder: Path) -> list[Path]:
    """The input files that a run's arguments name."""
    named = [folder / word for word in run.train if word.startswith(INPUTS)]
    found = {path for start in named for path in ([start] if start.is_file() else start.rglob("*"))}
    return sorted(path for path in found if path.is_file())


def needed(folder: Path) -> Iterator[Path]:
    """The files of a run that a continuation needs, and those of a finished model."""
    for path in sorted(path for path in (folder / STOPPED).rglob("*") if path.is_file()):
        if path.name != STATE or not path.with_name("scores.json").exists():  # or else that stage is over
            yield path
    yield from sorted(path for path in (folder / FINISHED).iterdir() if path.is_file() and path.name != STATE)


def pack(target: Path, files: dict[str, bytes]) -> None:
    """Writes an archive whose bytes depend on the files alone."""
    with tarfile.open(target, "w:xz", preset=9) as archive:
        for name, data in sorted(files.items()):
            member = tarfile.TarInfo(name)
            member.size = len(data)
            archive.addfile(member, io.BytesIO(data))


def make(names: list[str], work: Work) -> None:
    """Trains the runs twice, asks the finished models, and packs all that."""
    work.make_inputs()
    for name in names:
        print(name, file=sys.stderr, flush=True)
        script, line, looks = TRAIN[name]
        run = Run(name=name, script=script, train=tuple(line.split()), stop_after=looks)
        work.train(run, FINISHED)
        work.train(run, STOPPED, stop_after=looks)
        folder = work.output / name
        asked = subprocess.run(
            [sys.executable, runs_cases.__file__, folder / FINISHED],
            env=os.environ | {"KERAS_BACKEND": work.backend, "PYTHONPATH": str(work.repo)},
            capture_output=True,
            encoding="utf-8",
            check=False,
        )
        if asked.returncode:
            sys.exit(asked.stderr)
        files = {path.relative_to(work.output).as_posix(): path.read_bytes() for path in read_by(run, work.output)}
        files |= {path.relative_to(folder).as_posix(): path.read_bytes() for path in needed(folder)}
        files[ANSWERS] = asked.stdout.splitlines()[-1].encode()
        pack(RUNS / f"{name}.tar.xz", files)


def main() -> None:
    """Makes the archives; without names, all of the backend."""
    backend = os.environ.get("KERAS_BACKEND", "tensorflow")
    runs = [name for name in TRAIN if backend_of(name) == backend]
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("names", nargs="*", help=f"runs to make: {', '.join(runs)}")
    parser.add_argument("--repo", type=Path, required=True, help="a checkout of version 0.1")
    given = parser.parse_args()
    if unknown := set(given.names) - set(runs):
        parser.error(f"KERAS_BACKEND={backend} has no {', '.join(sorted(unknown))}")
    RUNS.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory() as folder:
        make(given.names or runs, Work(given.repo.absolute(), Path(folder) / "work", backend))
    size = sum(path.stat().st_size for path in RUNS.iterdir())
    print(f"{RUNS.name}: {size / 1e6:.2f} MB")


if __name__ == "__main__":
    main()
