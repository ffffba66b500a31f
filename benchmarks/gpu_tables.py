"""The rows of the table of scores from pretrained checkpoints, side by side on one GPU and within a time limit.

    NLPTASKS_DATA=... python benchmarks/gpu_tables.py pack --output packed
    python benchmarks/gpu_tables.py run --data packed --characters DIR --pieces DIR --output FOLDER --seconds 480
    python benchmarks/gpu_tables.py report --results FOLDER/results.json

`pack` copies what the jobs read, in one archive. `run` starts a process for each job, the important ones first, at most
`--at-once` together: a GPU takes turns between processes, so that one computes while another prepares its next batch.
A job writes its JSON after every run of a seed; at the limit those that go on are stopped, and what they have written
counts. FOLDER receives results.json (what all jobs wrote), logs.txt (the ends of all logs), and the generated texts.
`report` prints tables of means, ranges and bootstrap intervals. `--extra FILE` names a JSON list of further jobs, each
{"name", "command", "minutes"}, with {characters}, {pieces}, {data}, {output} and {work} filled in; "place" says before
which of the others it starts (0: the first), "trial" what a trial adds.

`--trial` adds what makes every job end within seconds on a CPU. Without a `--pieces` or `--characters` the jobs that
need it are left out, and named.
"""

import argparse
import json
import os
import shlex
import signal
import statistics
import subprocess
import sys
import tarfile
import time
from collections import defaultdict
from pathlib import Path
from typing import NamedTuple

from finetuning import interval, percent

from nlptasks.files import write_text

ROOT = Path(__file__).parent.parent
ARCHIVE = "data.tar.xz"
GRACE_SECONDS = 5
LOG_LINES = 15


class Job(NamedTuple):
    """A process.

    Attributes:
        name: of its JSON and its log.
        command: what Python runs in the repository, with places for the options of `run`.
        minutes: about how long it needs alone on an H100.
        trial: what is added for a trial.
        checkpoint: the option that it needs, if any.
        delay: seconds before which it does not start, so that it finds the programs that another has compiled.
    """

    name: str
    command: str
    minutes: float
    trial: str = ""
    checkpoint: str = ""
    delay: float = 0.0


_TUNED = "--limit 32 --max-length 24 --epochs 1 --batch-size 8 --seeds 1 2"
_THESEUS_TRIAL = "--limit 32 --max-length 24 --batch-size 8 --stage-epochs 1 1 1"
_PRECISE = "--precision bfloat16 --output {output}"


def classification(data: str, checkpoint: str, minutes: float, more: str = "", name: str = "") -> Job:
    """A row of benchmarks/classification.py."""
    command = f"benchmarks/classification.py --only {data} --checkpoint {{{checkpoint}}} --work {{work}} {_PRECISE}"
    return Job(name or f"{data}_{checkpoint}", f"{command} {more}".strip(), minutes, _TUNED, checkpoint)


def theseus(seed: int) -> Job:
    """A seed of the compression."""
    command = "benchmarks/theseus.py --only iflytek --checkpoint {pieces} --work {work} " + _PRECISE
    return Job(f"theseus_{seed}", f"{command} --seeds {seed}", 1.5, _THESEUS_TRIAL, "pieces", 80.0 * (seed > 1))


def key_size(number: int, variant: str) -> Job:
    """A variant of larger heads."""
    command = "benchmarks/key_size.py --checkpoint {characters} --work {work} --steps 1000 " + _PRECISE
    trial = "--limit 32 --epochs 1 --steps 2 --seeds 1 2"
    return Job(f"key_size_{number}", f'{command} --variants "{variant}"', 1.5, trial, "characters")


def generation(name: str, checkpoint: str, more: str = "") -> Job:
    """The generator with conditional norms."""
    command = f"benchmarks/conditional_generation.py --checkpoint {checkpoint} --work {{work}} --seeds 1 {_PRECISE}"
    trial = _TUNED.replace("--limit 32", "--limit 64").replace("--seeds 1 2", "--each 1")
    return Job(name, f"{command} {more}".strip(), 1.5, trial, checkpoint.strip("{}").replace("none", ""))


def writing(task: str, start: str, seed: int, pad_to: int) -> Job:
    """A run of benchmarks/seq2seq.py."""
    name = f"{task}_{start.strip('{}')}_{seed}"
    command = f"benchmarks/seq2seq.py --work {{work}} --tasks {task} --starts {start} --seeds {seed} --pad-to {pad_to}"
    command += " --precision bfloat16 --results {output}"
    return Job(name, command, 2, "--rows 16 --epochs 1", "characters" if start == "{characters}" else "")


JOBS = [  # the important ones first
    classification("chnsenticorp", "pieces", 1),
    classification("iflytek", "pieces", 1.5),
    classification("lcqmc", "pieces", 0.5),
    classification("cluener", "characters", 1),
    classification("lcqmc", "pieces", 1, "--more-pairs --batch-size 64 --learning-rate 1e-4", "lcqmc_more_pieces"),
    theseus(1),
    generation("generation", "{characters}"),
    theseus(2),
    theseus(3),
    classification("chnsenticorp", "characters", 1),
    classification("iflytek", "characters", 1.5, "--learning-rate 2e-4"),
    classification("lcqmc", "characters", 0.5, "--learning-rate 1e-4"),
    key_size(1, "as it is"),
    key_size(2, "key_size doubled"),
    key_size(3, "key_size doubled, talking heads"),
    classification("cluener", "characters", 1, "--head crf --learning-rate 2e-4", "cluener_crf_characters"),
    generation("generation_from_random", "none"),
    writing("titles", "mini", 0, 232),
    writing("titles", "{characters}", 0, 232),
    writing("titles", "mini", 1, 232),
    writing("problems", "mini", 0, 88),
    writing("questions", "mini", 0, 296),
    writing("pairs", "mini", 0, 312),
    writing("titles", "none", 0, 232),
    writing("problems", "{characters}", 0, 88),
    writing("problems", "mini", 1, 88),
    writing("problems", "none", 0, 88),
    writing("questions", "{characters}", 0, 296),
    writing("questions", "mini", 1, 296),
    writing("questions", "none", 0, 296),
    writing("pairs", "{characters}", 0, 312),
    writing("pairs", "mini", 1, 312),
    writing("pairs", "none", 0, 312),
]
FILES = (
    "classification/chnsenticorp_train.tsv",
    "classification/chnsenticorp_dev.tsv",
    "classification/iflytek_train.jsonl",
    "classification/iflytek_dev.jsonl",
    "classification/online_shopping_10_cats.tsv",
    "similarity/lcqmc_dev.tsv",
    "similarity/afqmc_train.tsv",
    "similarity/bq_dev.tsv",
    "similarity/oppo_dev.tsv",
    "sequence_labeling/cluener_train.jsonl",
    "sequence_labeling/cluener_dev.jsonl",
    "generation/csl_train.jsonl",
    "reading_comprehension/multi_passage_train.json",
    "reading_comprehension/multi_passage_dev.json",
)
"""what the jobs read below NLPTASKS_DATA"""


# pack


def pack(options: argparse.Namespace) -> None:
    """Writes one archive of the files, and prints its size."""
    options.output.mkdir(parents=True, exist_ok=True)
    data = Path(os.environ["NLPTASKS_DATA"])
    files = [*FILES, *options.more]
    with tarfile.open(options.output / ARCHIVE, "w:xz", preset=9) as archive:
        for name in files:
            archive.add(data / name, name, filter=_plain)
    plain, packed = sum((data / name).stat().st_size for name in files), (options.output / ARCHIVE).stat().st_size
    print(f"{options.output / ARCHIVE}: {len(files)} files, {plain / 1e6:.1f} MB, packed {packed / 1e6:.1f} MB")


def _plain(member: tarfile.TarInfo) -> tarfile.TarInfo:
    """Without owners, times and read-only folders."""
    member.uid = member.gid = member.mtime = 0
    member.uname = member.gname = ""
    member.mode = 0o644
    return member


def unpacked(folder: Path, work: Path) -> Path:
    """The folder of the data: as it is, or its archive unpacked."""
    if not (folder / ARCHIVE).is_file():
        return folder.resolve()
    target = (work / "data").resolve()
    with tarfile.open(folder / ARCHIVE) as archive:
        archive.extractall(target, filter="data")
    return target


# run


class Running(NamedTuple):
    """A process that was started."""

    job: Job
    process: subprocess.Popen
    started: float


def run(options: argparse.Namespace) -> None:
    """Starts jobs until all are done or the time is over, and collects."""
    began, work, told = time.monotonic(), options.work.resolve(), []
    signal.signal(signal.SIGTERM, lambda *_: told.append("stop"))  # whoever stops this wants what there is
    work.mkdir(parents=True, exist_ok=True)
    data = unpacked(options.data or Path(os.environ["NLPTASKS_DATA"]), work)
    given = {name: getattr(options, name) for name in ("characters", "pieces")}
    own = [
        job if job.name.startswith("key_size") else job._replace(command=f"{job.command} --fused-attention")
        for job in JOBS
    ]
    jobs = with_extra(own if options.fused_attention else JOBS, options.extra)
    jobs = [job for job in jobs if not options.only or job.name in options.only]
    without = [job.name for job in jobs if job.checkpoint and given[job.checkpoint] is None]
    waiting = [job for job in jobs if job.name not in without]
    times: dict[str, dict] = {name: {"status": "no checkpoint given"} for name in without}
    running: list[Running] = []
    environment = os.environ | {
        "NLPTASKS_DATA": str(data),
        "KERAS_BACKEND": "jax",
        "PYTHONPATH": f"{ROOT}{os.pathsep}{os.environ.get('PYTHONPATH', '')}",
        "PYTHONUNBUFFERED": "1",
        "XLA_PYTHON_CLIENT_PREALLOCATE": "false",
        "JAX_COMPILATION_CACHE_DIR": str(work / "programs"),
        "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0.5",
        "TOKENIZERS_PARALLELISM": "false",
        "OMP_NUM_THREADS": "2",
    }
    while waiting or running:
        for one in list(running):
            if one.process.poll() is not None:
                running.remove(one)
                seconds, status = time.monotonic() - one.started, one.process.returncode
                times[one.job.name] = {"status": "done" if status == 0 else f"failed ({status})", "seconds": seconds}
                print(f"{time.monotonic() - began:5.0f} s  {one.job.name}: {times[one.job.name]}", flush=True)
        if told or time.monotonic() - began > options.seconds:
            break
        ready = [job for job in waiting if options.trial or job.delay <= time.monotonic() - began]
        for job in ready[: max(0, options.at_once - len(running))]:
            waiting.remove(job)
            running.append(start(job, options, given, data, work, environment))
        time.sleep(0.2)
    times |= {job.name: {"status": "not started"} for job in waiting}
    for one in running:
        times[one.job.name] = {"status": "stopped at the limit", "seconds": time.monotonic() - one.started}
    stop(running)
    collect(options, jobs, times, work)


def start(job: Job, options: argparse.Namespace, given: dict, data: Path, work: Path, environment: dict) -> Running:
    """Starts the process of a job."""
    places = {name: path if path is None else path.resolve() for name, path in given.items()}
    places |= {"data": data, "output": work / f"{job.name}.json", "work": work / f"{job.name}_work"}
    command = [sys.executable, *(part.format(**places) for part in shlex.split(job.command))]
    if options.trial:
        command += shlex.split(job.trial.format(**places))
    with (work / f"{job.name}.log").open("w", encoding="utf-8") as log:
        log.write(shlex.join(command) + "\n")
        log.flush()
        process = subprocess.Popen(command, cwd=ROOT, env=environment, stdout=log, stderr=log)
    return Running(job, process, time.monotonic())


def stop(running: list[Running]) -> None:
    """Ends processes: first as Ctrl-C's end would, after some seconds at once."""
    for one in running:
        one.process.send_signal(signal.SIGTERM)
    deadline = time.monotonic() + GRACE_SECONDS
    for one in running:
        try:
            one.process.wait(max(0.1, deadline - time.monotonic()))
        except subprocess.TimeoutExpired:
            one.process.kill()
            one.process.wait()


def with_extra(jobs: list[Job], path: Path | None) -> list[Job]:
    """The jobs and those of a JSON file at their places."""
    found = list(jobs)
    for row in reversed(json.loads(path.read_text(encoding="utf-8")) if path else []):
        found.insert(row.pop("place", len(jobs)), Job(**row))
    return found


def collect(options: argparse.Namespace, jobs: list[Job], times: dict[str, dict], work: Path) -> None:
    """Writes results.json, texts.json and logs.txt."""
    options.output.mkdir(parents=True, exist_ok=True)
    results, texts, logs = {}, {}, []
    for job in jobs:
        told = times[job.name]
        results[job.name] = {"command": f"python {job.command}", **told}
        path = work / f"{job.name}.json"
        if path.is_file():
            found = json.loads(path.read_text(encoding="utf-8"))
            if isinstance(found, dict) and "texts" in found:
                texts[job.name] = found.pop("texts")
            results[job.name]["result"] = found
        log = work / f"{job.name}.log"
        lines = (
            log.read_text(encoding="utf-8", errors="replace").replace("\r", "\n").splitlines() if log.is_file() else []
        )
        shown = LOG_LINES if told["status"] == "done" else 3 * LOG_LINES
        logs += [f"=== {job.name}: {told}", *lines[:1], *(line[:400] for line in lines[1:][-shown:]), ""]
    write_text(options.output / "results.json", json.dumps(results, ensure_ascii=False) + "\n")
    write_text(options.output / "logs.txt", "\n".join(logs))
    if texts:
        write_text(options.output / "texts.json", json.dumps(texts, ensure_ascii=False) + "\n")
    for job in jobs:
        print(f"{job.name}: {times[job.name]}")
    print("\n".join(tables(results)))


# report


def tables(results: dict) -> list[str]:
    """Lines of Markdown: every system's scores, and differences of systems on the same items."""
    runs: dict[str, list[dict]] = defaultdict(list)
    for name, job in results.items():
        for one in job.get("result", {}).get("runs", []) if isinstance(job.get("result"), dict) else []:
            family = name.rstrip("0123456789").rstrip("_")
            runs[f"{family}: {one['system']}"].append(one)
    lines = [
        "| system | seeds | mean (lowest to highest) | 95% over items | seconds a run | tokens a run |",
        "|---" * 6 + "|",
    ]
    for system, found in runs.items():
        scores, items = [one["score"] for one in found], [one["items"] for one in found]
        low_high = "-"
        if items[0] and len({len(of) for of in items}) == 1:
            low_high = "{:.2f} to {:.2f}".format(*interval(items))
        seconds, tokens = (statistics.mean(one.get(key, 0) for one in found) for key in ("seconds", "tokens"))
        if told := [f"{one['test']['nats_a_character']:.4f} nats a character" for one in found if "test" in one]:
            low_high = ", ".join(told)
        spread = f"{statistics.mean(scores):.2f} ({min(scores):.2f} to {max(scores):.2f})"
        lines.append(f"| {system} | {len(found)} | {spread} | {low_high} | {seconds:.0f} | {tokens:,.0f} |")
    return [*lines, "", *differences(runs), *written(results)]


def written(results: dict) -> list[str]:
    """The scores of texts that were written, a line for each run and test."""
    lines = [
        f"{name}, {test}: " + ", ".join(f"{score} {value:.2f}" for score, value in found["model"].items())
        for name, job in results.items()
        for row in (job["result"] if isinstance(job.get("result"), list) else [])
        for test, found in row["scores"].items()
    ]
    return ["", *lines] if lines else []


def differences(runs: dict[str, list[dict]]) -> list[str]:
    """Of systems that answer the same items, on the seeds that both have."""
    lines = ["| system minus another | seeds | difference | 95%, paired over items |", "|---" * 4 + "|"]
    groups: dict[str, list[str]] = defaultdict(list)
    for system, found in runs.items():
        groups[found[0].get("group", system)].append(system)
    for systems in groups.values():
        for i, base in enumerate(systems):
            for system in systems[i + 1 :]:
                mine, its = ({one["seed"]: one["items"] for one in runs[name]} for name in (system, base))
                seeds = sorted(mine.keys() & its.keys())
                if not seeds or not mine[seeds[0]] or len(mine[seeds[0]]) != len(its[seeds[0]]):
                    continue
                pair = [[of[seed] for seed in seeds] for of in (mine, its)]
                shift = statistics.mean(percent(a) - percent(b) for a, b in zip(*pair, strict=True))
                low, high = interval(*pair)
                lines.append(f"| {system} minus {base} | {len(seeds)} | {shift:+.2f} | {low:+.2f} to {high:+.2f} |")
    return lines if len(lines) > 2 else []


def report(options: argparse.Namespace) -> None:
    """Prints the tables of a file of results."""
    print("\n".join(tables(json.loads(options.results.read_text(encoding="utf-8")))))


def main() -> None:
    """Packs, runs or reports."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    verbs = parser.add_subparsers(dest="verb", required=True)
    verb = verbs.add_parser("pack", help="copy what the jobs read into one archive")
    verb.add_argument("--output", type=Path, required=True)
    verb.add_argument("--more", nargs="*", default=[], help="further files below NLPTASKS_DATA")
    verb = verbs.add_parser("run", help="run the jobs and collect what they wrote")
    verb.add_argument("--data", type=Path, help="folder of `pack`, or of the data; default: NLPTASKS_DATA")
    verb.add_argument("--characters", type=Path, help="checkpoint with Chinese BERT's vocabulary and a masked-LM head")
    verb.add_argument("--pieces", type=Path, help="checkpoint with a vocabulary of pieces")
    verb.add_argument("--output", type=Path, required=True, help="folder of results.json and logs.txt")
    verb.add_argument("--work", type=Path, default=Path("runs/gpu_tables"), help="folder of everything else")
    verb.add_argument("--seconds", type=float, default=480, help="after which running jobs are stopped")
    verb.add_argument("--at-once", type=int, default=10, help="the most jobs at a time")
    verb.add_argument("--only", nargs="*", help="names of jobs")
    verb.add_argument("--extra", type=Path, help="JSON file of further jobs")
    verb.add_argument(
        "--fused-attention", action="store_true", help="jobs here but key_size drop no attention, and compute it fused"
    )
    verb.add_argument("--trial", action="store_true", help="few lines and steps, to see every job end")
    verb = verbs.add_parser("report", help="print tables of what `run` collected")
    verb.add_argument("--results", type=Path, required=True)
    verb = verbs.add_parser("list", help="print the jobs")
    options = parser.parse_args()
    if options.verb == "list":
        for job in JOBS:
            print(f"{job.name:26}{job.minutes:5.1f} min  python {job.command}")
        return
    {"pack": pack, "run": run, "report": report}[options.verb](options)


if __name__ == "__main__":
    main()
