"""Does a change leave every number as it was? Short runs of all train commands, before and after, bit for bit.

    python benchmarks/same_numbers.py record --repo OLD --output before            the code as it was
    python benchmarks/same_numbers.py record --repo NEW --output after             the code as it is now
    python benchmarks/same_numbers.py compare before after
    python benchmarks/same_numbers.py resume --repo NEW --kept before --output resumed
    python benchmarks/same_numbers.py compare before resumed

`record` runs each command twice, once to its end and once stopped in its midst; it notes the log, the scores, a digest
of every saved tensor, and what evaluate and the application's verb say of the model. `resume` finishes the stopped runs
with other code, which must end the same, and opens the finished models with it. `compare` prints a line a run and exits
with 1 where anything differs. Bits are the same on one kind of processor with one number of cores only: pin both
(`taskset -c 0`). About 12 minutes a record on a core; on JAX most of it is compiling, which a folder of programs
(JAX_COMPILATION_CACHE_DIR, with JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS=0) spares all but the first. The runs:
small_runs.py beside this file.
"""

import argparse
import contextlib
import csv
import hashlib
import io
import json
import os
import runpy
import shutil
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

from safetensors import safe_open
from small_runs import INPUTS, MODEL, Run, makers, small_runs, uses_of, write_inputs

TIMES = ("training_seconds", "seconds", "tokens_per_second", "mfu")
"""what no two runs agree in"""
REPORT = "report.json"
FINISHED, STOPPED, KEPT = "run", "stopped", "kept"
INTERRUPTED = 130
OWN = ("options.json", "curve.png")
"""files of a run that are not compared: new options may come, and pictures hold no numbers"""


# One process


def run_commands(commands: Sequence[Sequence[str]], stop_after: int | None = None) -> list[dict]:
    """Runs scripts one after the other in this process: status and standard output of each.

    Args:
        commands: script and arguments.
        stop_after: the training loop is told to stop when it has looked so often.
    """
    if stop_after is not None:
        _stop_after(stop_after)
    results = []
    for command in commands:
        sys.argv, sys.path[0] = list(command), str(Path(command[0]).parent)
        status = 0
        with contextlib.redirect_stdout(io.StringIO()) as out:
            try:
                runpy.run_path(command[0], run_name="__main__")
            except SystemExit as end:
                status = end.code or 0
        results.append({"status": status, "printed": [_untimed_line(line) for line in out.getvalue().splitlines()]})
    return results


def _stop_after(looks: int) -> None:
    from nlptasks.train.interruption import StopRequested

    seen = iter(range(1, sys.maxsize))
    StopRequested.requested = property(lambda stop: next(seen) >= looks, lambda stop, value: None)


def _in_process(repo: Path, folder: Path, backend: str, commands, log: Path, stop_after: int | None = None):
    """The same in a process of its own, in `folder`, with the code of `repo`; standard error goes to `log`."""
    log.parent.mkdir(parents=True, exist_ok=True)
    results = log.with_suffix(".results.json")
    task = {"commands": [(str(repo / script), *rest) for script, *rest in commands], "stop_after": stop_after}
    environment = os.environ | {"KERAS_BACKEND": backend, "PYTHONPATH": str(repo), "CUDA_VISIBLE_DEVICES": "-1"}
    environment |= {"TF_CPP_MIN_LOG_LEVEL": "3", "PYTHONDONTWRITEBYTECODE": "1"}
    with open(log, "w", encoding="utf-8") as errors:
        done = subprocess.run(
            [sys.executable, __file__, "commands", "--results", str(results.absolute())],
            input=json.dumps(task),
            cwd=folder,
            env=environment,
            stderr=errors,
            encoding="utf-8",
            check=False,
        )
    if done.returncode:
        raise RuntimeError(f"{log}: the process ended with {done.returncode}; its last lines say why.")
    found = json.loads(results.read_text(encoding="utf-8"))
    results.unlink()
    return found


# What is noted of a run


def _untimed(value):
    if isinstance(value, dict):
        return {name: _untimed(item) for name, item in value.items() if name not in TIMES}
    return [_untimed(item) for item in value] if isinstance(value, list) else value


def _untimed_line(line: str):
    try:
        return _untimed(json.loads(line))
    except json.JSONDecodeError:
        return line


def _digest(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def _tensors(path: Path) -> dict[str, str]:
    """A digest of shape, type and bytes of every tensor of a file."""
    found = {}
    with safe_open(path, framework="numpy") as file:
        for name in sorted(file.keys()):
            array = file.get_tensor(name)
            found[name] = _digest(f"{array.dtype}{array.shape}".encode() + array.tobytes())
    return found


def describe(directory: Path) -> dict:
    """Config, log, scores, digests of the tensors and of the other files of a run, its earlier stages included."""
    found = {}
    for path in sorted(path for path in directory.rglob("*") if path.is_file()):
        name = path.relative_to(directory).as_posix()
        if path.name in OWN or "checkpoints" in path.parts:
            continue
        if path.suffix == ".json":
            found[name] = _untimed(json.loads(path.read_text(encoding="utf-8")))
        elif path.name == "log.csv":
            with open(path, encoding="utf-8", newline="") as file:
                found[name] = _untimed(list(csv.DictReader(file)))
        elif path.suffix == ".safetensors":
            found[name] = _tensors(path)
        else:
            found[name] = _digest(path.read_bytes())
    return found


class Work:
    """A folder of runs, made with the code of one repository.

    Args:
        repo: whose scripts are run.
        output: the folder; it must not be there.
        backend: of Keras.
    """

    def __init__(self, repo: Path, output: Path, backend: str):
        self.repo, self.output, self.backend = repo.absolute(), output, backend
        output.mkdir(parents=True)
        (output / "backend.txt").write_text(backend, encoding="utf-8")

    def process(self, commands, log: str, stop_after: int | None = None) -> list[dict]:
        """See `run_commands`."""
        path = (self.output / "logs" / log).with_suffix(".txt")
        return _in_process(self.repo, self.output, self.backend, commands, path, stop_after)

    def make_inputs(self) -> None:
        """Writes what the runs read."""
        write_inputs(self.output / INPUTS)
        results = self.process(makers(self.backend), INPUTS)
        files = sorted(path for path in (self.output / INPUTS).rglob("*") if path.is_file())
        digests = {path.relative_to(self.output).as_posix(): _digest(path.read_bytes()) for path in files}
        self._report(INPUTS, {"printed": results, "files": digests})

    def train(self, run: Run, kind: str, *more: str, stop_after: int | None = None) -> dict:
        """Trains to the end, or until it is stopped."""
        command = (run.script, *run.train, "--output", f"{run.name}/{kind}", *more)
        result = self.process([command], f"{run.name}-{kind}", stop_after)[0]
        expected = 0 if stop_after is None else INTERRUPTED
        if result["status"] != expected:
            raise RuntimeError(f"{run.name}: ended with {result['status']} instead of {expected}; see its log.")
        for picture in (self.output / run.name / kind).rglob("curve.png"):
            picture.unlink()
        return result

    def finish(self, runs: Sequence[Run], results: dict[str, dict], kinds: Sequence[str]) -> None:
        """Asks all models in one fresh process and writes the reports; each kind of directory must say the same."""
        asked = [
            (run.name, kind, [part.replace(MODEL, f"{run.name}/{kind}") for part in use])
            for run in runs
            for kind in kinds
            for use in uses_of(run)
        ]
        answers = self.process([use for _, _, use in asked], "uses") if asked else []
        for run in runs:
            report = {"printed": results[run.name]}
            for kind in kinds:
                said = [a for (name, k, _), a in zip(asked, answers, strict=True) if (name, k) == (run.name, kind)]
                report[f"uses of {kind}"] = _without_directory(said, f"{run.name}/{kind}")
            self._report(run.name, report)

    def _report(self, name: str, report: dict) -> None:
        (self.output / name).mkdir(exist_ok=True)
        text = json.dumps(report, ensure_ascii=False, indent=1, sort_keys=True)
        (self.output / name / REPORT).write_text(text + "\n", encoding="utf-8")


def _without_directory(value, directory: str):
    return json.loads(json.dumps(value, ensure_ascii=False).replace(directory, MODEL))


def _chosen(backend: str, only: Sequence[str], hidden: int) -> list[Run]:
    runs = small_runs(hidden)
    if unknown := set(only) - {run.name for run in runs}:
        raise SystemExit(f"--only: there is no {', '.join(sorted(unknown))}; there are {[run.name for run in runs]}")
    wanted = {need for run in runs if run.name in only for need in run.needs} | set(only)
    return [run for run in runs if backend in run.backends and (not only or run.name in wanted)]


# Commands


def record(repo: Path, output: Path, backend: str, only: Sequence[str], hidden: int) -> None:
    """Runs everything with the code of `repo`."""
    work, runs = Work(repo, output, backend), _chosen(backend, only, hidden)
    work.make_inputs()
    (output / "hidden.txt").write_text(str(hidden), encoding="utf-8")
    results = {}
    for run in runs:
        print(run.name, file=sys.stderr, flush=True)
        results[run.name] = work.train(run, FINISHED)
        work.train(run, STOPPED, stop_after=run.stop_after)
    work.finish(runs, results, [FINISHED])


def resume(repo: Path, kept: Path, output: Path, only: Sequence[str]) -> None:
    """Finishes the stopped runs of a record, and opens its finished ones, with the code of `repo`."""
    backend, hidden = ((kept / f"{name}.txt").read_text(encoding="utf-8") for name in ("backend", "hidden"))
    work = Work(repo, output, backend)
    runs = [run for run in _chosen(backend, only, int(hidden)) if (kept / run.name / REPORT).is_file()]
    shutil.copytree(kept / INPUTS, output / INPUTS)
    results = {}
    for run in runs:
        print(run.name, file=sys.stderr, flush=True)
        shutil.copytree(kept / run.name / STOPPED, output / run.name / FINISHED)
        shutil.copytree(kept / run.name / FINISHED, output / run.name / KEPT)
        results[run.name] = work.train(run, FINISHED, "--resume")
    work.finish(runs, results, [FINISHED, KEPT])


def compare(before: Path, after: Path, only: Sequence[str]) -> bool:
    """Prints a line a run; True where all are equal."""
    names = [sorted(path.parent.name for path in folder.glob(f"*/{REPORT}")) for folder in (before, after)]
    equal = bool(names[0])
    for name in only or sorted(set(names[0]) | set(names[1])):
        if name == INPUTS and name not in names[1]:
            continue  # resumed runs read those of the record
        if name not in names[0] or name not in names[1]:
            print(f"{name:28} not in {after if name in names[0] else before}")
            equal = False
            continue
        first, second = (json.loads((f / name / REPORT).read_text(encoding="utf-8")) for f in (before, after))
        for folder, report in ((before, first), (after, second)):
            report["directory"] = describe(folder / name / FINISHED)
            report.setdefault(f"uses of {KEPT}", report.get(f"uses of {FINISHED}"))
        found = list(differences(first, second))
        print(f"{name:28} {'equal' if not found else f'{len(found)} differences'}")
        for line in found[:8]:
            print(f"    {line}")
        equal &= not found
    return equal


def differences(a, b, path: str = "") -> Iterator[str]:
    """Where two JSON values differ."""
    if isinstance(a, dict) and isinstance(b, dict):
        for name in sorted(a.keys() | b.keys()):
            if name not in a or name not in b:
                yield f"{path}/{name}: only {'before' if name in a else 'after'}"
            else:
                yield from differences(a[name], b[name], f"{path}/{name}")
    elif isinstance(a, list) and isinstance(b, list) and len(a) == len(b):
        for i, (x, y) in enumerate(zip(a, b, strict=True)):
            yield from differences(x, y, f"{path}/{i}")
    elif a != b or type(a) is not type(b):
        yield f"{path}: {_short(a)} -> {_short(b)}"


def _short(value) -> str:
    text = json.dumps(value, ensure_ascii=False)
    return text if len(text) <= 60 else f"{text[:57]}..."


def main() -> int:
    """Runs the command; returns its exit status."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    commands = parser.add_subparsers(dest="command", required=True)
    common = {"type": Path, "required": True}
    for name in ("record", "resume"):
        one = commands.add_parser(name)
        one.add_argument("--repo", help="the checkout whose scripts are run", **common)
        one.add_argument("--output", help="a folder that is not there yet", **common)
        one.add_argument("--only", nargs="+", default=[], metavar="NAME", help="these runs and those they need")
        if name == "record":
            one.add_argument("--backend", choices=("tensorflow", "jax"), default="tensorflow")
            one.add_argument("--hidden", type=int, default=16, help="size of models from scratch")
        else:
            one.add_argument("--kept", help="what record has written", **common)
    one = commands.add_parser("compare")
    one.add_argument("before", type=Path)
    one.add_argument("after", type=Path)
    one.add_argument("--only", nargs="+", default=[], metavar="NAME", help="these runs")
    one = commands.add_parser("commands", help="(for the others) runs the commands of standard input")
    one.add_argument("--results", **common)
    options = vars(parser.parse_args())
    command = options.pop("command")
    if command == "commands":
        results = run_commands(**json.load(sys.stdin))
        options["results"].write_text(json.dumps(results, ensure_ascii=False), encoding="utf-8")
        return 0
    if command == "compare":
        return 0 if compare(**options) else 1
    {"record": record, "resume": resume}[command](**options)
    return 0


if __name__ == "__main__":
    sys.exit(main())
