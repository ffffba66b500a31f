"""What a person has who installs the wheel: every command of every application, in an empty folder, on ten lines.

    python -m pip wheel . --no-deps --wheel-dir dist
    python -m venv fresh && fresh/bin/pip install "dist/nlptasks-0.2.0-py3-none-any.whl[tensorflow,index,export]"
    python benchmarks/installed_wheel.py --bin fresh/bin

With `--base`, of an environment that has the wheel and no extra: the commands that the base is enough for run, and each
other one names the missing packages in one line and leaves nothing behind.

Prints a line a command with its time; ends with status 1 where one fails or prints what cannot be parsed.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

WHO = ("沈月", "方大海", "林小舟", "郑云", "白露")
TINY = "--hidden-size 16 --num-layers 2 --num-heads 2 --ffn-size 16 --epochs 1 --learning-rate 1e-3 --batch-size 4"


def write_files() -> None:
    """Ten lines for each application, in the working folder."""
    questions, labeled, entities, groups, segmented, written = [], [], [], [], [], []
    for i in range(10):
        name, year = WHO[i % 5], 1900 + i
        passages = [
            {"passage": f"{name}生于{year}年。", "answer": f"{year}年"},
            {"passage": "这里没有。", "answer": ""},
        ]
        questions.append({"id": str(i), "question": f"{name}生于哪年？", "passages": passages})
        labeled.append({"text": f"{name}说{'很好' if i % 2 else '太差'}", "label": "good" if i % 2 else "bad"})
        entities.append({"text": f"{name}来了", "label": {"name": {name: [[0, len(name) - 1]]}}})
        groups.append(f"{i // 2}\t{name}{'怎么' if i % 2 else '如何'}走")
        segmented.append(f"{name} 今天 来 了 。")
        written.append({"text": f"{name}说很好。", "mood": "up" if i % 2 else "down"})
    rows = {
        "questions.jsonl": questions,
        "labeled.jsonl": labeled,
        "entities.jsonl": entities,
        "written.jsonl": written,
    }
    for name, objects in rows.items():
        Path(name).write_text("".join(json.dumps(o, ensure_ascii=False) + "\n" for o in objects), encoding="utf-8")
    Path("groups.tsv").write_text("\n".join(groups) + "\n", encoding="utf-8")
    Path("segmented.txt").write_text("\n".join(segmented) + "\n", encoding="utf-8")
    Path("corpus.txt").write_text("".join(f"{line.replace(' ', '')}\n" for line in segmented * 8), encoding="utf-8")
    Path("sentences.txt").write_text("\n".join(line.split("\t")[1] for line in groups) + "\n", encoding="utf-8")


def last_json(out: str) -> object:
    """The last line of the output, which is JSON."""
    return json.loads(out.splitlines()[-1])


def anything(out: str) -> object:
    """Results for people: one line at least."""
    assert out.strip(), "nothing on standard output"
    return out


def nothing(out: str) -> object:
    """A command that writes files alone."""
    return out


DISCOVERY: list[tuple[str, Callable[[str], object]]] = [
    ("discover --input corpus.txt --freedom --json", last_json),
    ("discover --input corpus.txt --dictionary words.txt --output words.tsv", nothing),
    ("discovery templates --input sentences.txt --json", last_json),
    ("vectors train --input corpus.txt --output jose --vector-size 8 --epochs 1 --json", last_json),
    ("vectors nearest --vectors jose --word 今天 --json", last_json),
    ("sentences corpus.txt --output read.txt", nothing),
]
LENGTHS = "--passage-length 24 --question-length 12 --answer-length 8"
COMMANDS: list[tuple[str, Callable[[str], object]]] = [
    (f"reading train --train questions.jsonl --valid questions.jsonl --output reader {TINY} {LENGTHS}", nothing),
    ("reading evaluate --model reader --data questions.jsonl --json", last_json),
    ("reading answer --model reader --question 沈月生于哪年？ --passage 沈月生于1900年。 --json", last_json),
    ("reading predict --model reader --data questions.jsonl --json", last_json),
    ("reading prepare --webqa questions.jsonl --sogouqa questions.jsonl --output mixed", nothing),
    (
        "segmentation train --train segmented.txt --standard cnc --output segmenter --hold-out-every 5 --epochs 1",
        nothing,
    ),
    ("segmentation evaluate --model segmenter --gold segmented.txt --json", last_json),
    ("segmentation segment --model segmenter --text 今天来了 --json", last_json),
    ("segment --text 今天天气很好", anything),
    ("similarity train --train groups.tsv --output similar --hold-out-every 3 --epochs 1 --batch-size 4", nothing),
    ("similarity evaluate --model similar --data groups.tsv --json", last_json),
    ("similarity index --model similar --corpus sentences.txt --output index", nothing),
    ("similarity search --model similar --index index --query 沈月怎么走 --json", last_json),
    (f"classification train --train labeled.jsonl --valid labeled.jsonl --output classifier {TINY}", nothing),
    ("classification evaluate --model classifier --data labeled.jsonl --json", last_json),
    ("classification predict --model classifier --texts 沈月说很好 --json", last_json),
    ("classification train --train labeled.jsonl --valid labeled.jsonl --output adapted --epochs 1", nothing),
    ("fill 今天天气[MASK]好 --json", last_json),
    ("checkpoint show mini --json", last_json),
    ("checkpoint layers mini --count 3 --output three", nothing),
    ("fill 今天天气[MASK]好 --model three --json", last_json),
    (f"labeling train --train entities.jsonl --valid entities.jsonl --output labeler {TINY}", nothing),
    ("labeling evaluate --model labeler --data entities.jsonl --json", last_json),
    ("labeling predict --model labeler --texts 沈月来了 --json", last_json),
    (
        f"conditional train --train written.jsonl --label-columns mood --output writer --hold-out-share 0.2 {TINY}",
        nothing,
    ),
    ("conditional evaluate --model writer --data written.jsonl --json", last_json),
    ("conditional generate --model writer --condition mood=up --count 2 --max-length 8 --json", last_json),
    (
        "seq2seq train --train labeled.jsonl --source-column text --target-column label --output pairs "
        f"--source-length 24 --target-length 8 --hold-out-share 0.2 {TINY}",
        nothing,
    ),
    ("seq2seq generate --model pairs --texts 沈月说很好 --json", last_json),
    ("filling sample --length 3 --sweeps 1", anything),
    (
        "compression train --task classification --train labeled.jsonl --valid labeled.jsonl --predecessor classifier "
        "--successor-layers 1 --replacement-epochs 1 --successor-epochs 1 --batch-size 4 --output small",
        anything,
    ),
    ("classification predict --model small --texts 沈月说很好 --json", last_json),
    (
        "multitask train --task mood=labeled.jsonl names=entities.jsonl "
        f"--valid mood=labeled.jsonl names=entities.jsonl --labeling names --output both {TINY}",
        nothing,
    ),
    ("labeling predict --model both/names --texts 沈月来了 --json", last_json),
    ("explain --model classifier --text 沈月说很好 --json", last_json),
    ("export --model classifier --output exported", nothing),
    ("classification predict --model exported --texts 沈月说很好 --json", last_json),
    *DISCOVERY,
    ("rewrite --text 今天天气很好 --words words.txt --steps 3 --chains 1 --json", last_json),
]
PRETRAINING: list[tuple[str, Callable[[str], object]]] = [
    ("pretraining vocab --input corpus.txt --output vocab.txt --vocab-size 200", anything),
    ("pretraining shards --input corpus.txt --vocab vocab.txt --output shards --seq-length 32 --json", last_json),
    (
        "pretraining train --shards shards --output bert --config tiny --num-steps 2 --batch-size 4 --valid-rows 4 "
        "--json",
        last_json,
    ),
]
"""these need the extra `pretraining`"""


LIGHT: list[tuple[str, Callable[[str], object]]] = [
    ("segment --text 今天天气很好", anything),
    ("segmentation evaluate --gold segmented.txt --json", last_json),
    ("similarity evaluate --data groups.tsv --hybrid --baselines --json", last_json),
    ("similarity index --corpus sentences.txt --output index", nothing),
    ("similarity search --index index --query 沈月怎么走 --hybrid --json", last_json),
    ("similarity index --index index --format npy --output vectors", nothing),
    ("reading prepare --webqa questions.jsonl --sogouqa questions.jsonl --output mixed", nothing),
    *DISCOVERY,
    PRETRAINING[0],
]
"""these need the base alone"""


def needs_packages(line: str) -> bool:
    """Whether the base is not enough for a command."""
    verbs = {" ".join(words.split()[:2]) for words, _ in LIGHT} | {"segmentation segment"}
    return " ".join(line.split()[:2]) not in verbs and not line.startswith("segment ")


def run(program: Path, line: str) -> subprocess.CompletedProcess:
    """Runs a command; the clone is not on its path."""
    environment = {name: value for name, value in os.environ.items() if name not in ("PYTHONPATH", "KERAS_BACKEND")}
    return subprocess.run([program, *line.split()], capture_output=True, encoding="utf-8", env=environment, check=False)


def problem_of(program: Path, line: str, parse: Callable[[str], object]) -> str:
    """What is wrong with a command that shall run; "" for nothing."""
    done = run(program, line)
    if done.returncode:
        return f"status {done.returncode}: {done.stderr[-300:]}"
    try:
        parse(done.stdout)
    except (AssertionError, ValueError, IndexError) as error:
        return f"output: {error!r}: {done.stdout[-300:]}"
    return ""


def problem_of_refusal(program: Path, line: str) -> str:
    """What is wrong with a command that shall name missing packages; "" for nothing."""
    before = sorted(Path().rglob("*"))
    done = run(program, line)
    if done.returncode != 2 or done.stdout or done.stderr.count("\n") != 1 or "pip install" not in done.stderr:
        return f"status {done.returncode}: {done.stdout[-100:]}{done.stderr[-300:]}"
    return "" if sorted(Path().rglob("*")) == before else "left something behind"


def megabytes(environment: Path) -> float:
    """What is installed, without what the environment itself brought."""
    [packages] = environment.glob("lib/python*/site-packages")
    own = ("pip", "setuptools", "pkg_resources", "_distutils_hack", "distutils-precedence")
    files = [path for path in packages.rglob("*") if path.is_file()]
    counted = [path for path in files if not path.relative_to(packages).parts[0].startswith(own)]
    return sum(path.stat().st_size for path in counted) / 1e6


def main() -> int:
    """Runs the commands; returns the exit status."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--bin", type=Path, required=True, help="folder of the environment's programs")
    parser.add_argument("--pretraining", action="store_true", help="also the commands of the extra `pretraining`")
    parser.add_argument("--base", action="store_true", help="the environment has no extra")
    options = parser.parse_args()
    program, failed = options.bin.absolute() / "nlptasks", 0
    asked = [*(LIGHT if options.base else COMMANDS), *(PRETRAINING if options.pretraining else [])]
    refused = [line for line, _ in COMMANDS + PRETRAINING if needs_packages(line)] if options.base else []
    with tempfile.TemporaryDirectory() as folder:
        os.chdir(folder)
        write_files()
        for line, parse in [*asked, *[(line, None) for line in refused]]:
            started = time.monotonic()
            problem = problem_of_refusal(program, line) if parse is None else problem_of(program, line, parse)
            failed += bool(problem)
            said = problem or ("ok" if parse else "names what is missing")
            print(f"{time.monotonic() - started:6.1f} s  {said:4}  nlptasks {line}", flush=True)
        os.chdir("/")
    if options.base:
        print(f"{megabytes(options.bin.absolute().parent):.1f} MB of site-packages without pip and setuptools")
    print(f"{failed} failed" if failed else "all commands did what they should")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
