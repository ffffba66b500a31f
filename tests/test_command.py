"""The `nlptasks` command, in processes of its own."""

import gzip
import json
import os
import signal
import subprocess
import sys
import time
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest

import nlptasks
from nlptasks.applications.segmentation.storage import save_segmenter
from nlptasks.command import main
from tests.applications.segmentation.segmentation_cases import (
    PECULIAR,
    random_parts,
    random_segmenter,
    random_texts,
    sentences,
)

ROOT = Path(__file__).parents[1]
COMMAND = [sys.executable, "-m", "nlptasks.command", "segment"]
TEXT = "".join("".join(words) + "\n" for words in sentences())


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    directory = tmp_path_factory.mktemp("segmenter")
    save_segmenter(directory, *random_parts())
    return directory


@pytest.fixture
def segmenter(model):
    return nlptasks.load(model)


def run(*arguments, data=b"", expected=0):
    data = data.encode() if isinstance(data, str) else data
    done = subprocess.run([*COMMAND, *map(str, arguments)], input=data, capture_output=True, cwd=ROOT, check=False)
    assert done.returncode == expected, done.stderr.decode()
    return done.stdout, done.stderr.decode()


def start(*arguments):
    pipe = subprocess.PIPE
    command = [*COMMAND, *map(str, arguments)]
    return subprocess.Popen(command, stdin=pipe, stdout=pipe, stderr=pipe, cwd=ROOT)


def spaced(segmenter, line):
    """A line as it shall come out, worked out word by word."""
    words = segmenter.segment(line)
    out = words[0] if words else ""
    for before, word in pairwise(words):
        white = before[-1:].isspace() or word[:1].isspace()
        out += word if white else f" {word}"
    return out


def test_lines_come_out_with_spaces_between_words_and_otherwise_byte_for_byte(model, segmenter, rng):
    characters = PECULIAR.replace("\n", "").replace("\ud800", "").replace("\udfff", "")
    lines = [text.replace("\n", "") for text in random_texts(rng, 300, 40, characters)]
    lines = [line.encode("utf-8", "ignore").decode() for line in lines]
    text = "\n".join([*TEXT.splitlines(), *lines, "今天 我们\r", "", "  ", "\ufeff今天", "北京大学"])
    out, err = run("--model", model, data=text)
    assert err == ""
    assert out.decode().split("\n") == [spaced(segmenter, line) for line in text.split("\n")]
    assert not out.endswith(b"\n")
    again, _ = run("--model", model, "--standard", "second", data=f"{text}\n")
    assert again.endswith(b"\n")
    assert again != out


def test_spaces_stand_between_characters_where_most_are_ascii(model, segmenter):
    line = "a plain sentence with 今天 and éß我们 inside"
    assert run("--model", model, data=line)[0].decode() == spaced(segmenter, line)


def test_a_bad_line_far_down_is_named_by_its_number(model):
    data = b"ab\n" * 100_000 + b"\xff\n"
    err = run("--model", model, data=data, expected=2)[1]
    assert err.startswith("error: standard input:100001: expected UTF-8. Received: byte 0xff at byte offset 300000;")


def test_processes_and_files_change_nothing(model, tmp_path):
    plain, packed = tmp_path / "a.txt", tmp_path / "b.gz"
    plain.write_text(TEXT * 700, encoding="utf-8")
    packed.write_bytes(gzip.compress(TEXT.encode()))
    out, _ = run("--model", model, plain, "-", packed, data=TEXT)
    expected, _ = run("--model", model, data=TEXT * 702)
    assert out == expected
    assert len(out) > 1_000_000
    assert run("--model", model, "--processes", "2", plain, "-", packed, data=TEXT)[0] == expected


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="peak memory is read from /proc")
def test_a_long_line_without_signs_in_bounded_memory(model, rng):
    line = "".join(rng.choice(list("我们在北京大学读书今天"), 1_000_000))
    code = (
        "import sys\nfrom nlptasks.command import main\n"
        f"status = main(['segment', '--model', {str(model)!r}])\n"
        "print(*[row.split()[1] for row in open('/proc/self/status') if 'VmHWM' in row], file=sys.stderr)\n"
        "sys.exit(status)"
    )
    done = subprocess.run([sys.executable, "-c", code], input=line.encode(), capture_output=True, cwd=ROOT, check=True)
    assert done.stdout.decode().replace(" ", "") == line
    assert done.stdout.count(b" ") > 100_000
    assert int(done.stderr.split()[-1]) < 400_000  # KiB; the whole line's arrays at once would take more


def test_json_lines_hold_words_offsets_and_tags(model, segmenter):
    text = "今天，我们 在北京\r\n\n大学iPhone6"
    out, _ = run("--model", model, "--json", data=text)
    lines = [json.loads(line) for line in out.decode().splitlines()]
    for line, found in zip(["今天，我们 在北京", "", "大学iPhone6"], lines, strict=True):
        assert found["words"] == segmenter.segment(line)
        assert [line[start:end] for start, end in found["offsets"]] == found["words"]
    tagged = [json.loads(line) for line in run("--model", model, "--json", "--tags", data=text)[0].splitlines()]
    assert [found["words"] for found in tagged] == [found["words"] for found in lines]
    for found in tagged:
        ends = np.cumsum([len(word) for word in found["words"]]) - 1
        assert [tag in "se" for tag in found["tags"]] == [i in ends for i in range(len(found["tags"]))]


def test_tags_stand_behind_characters(model, tmp_path):
    words = tmp_path / "words.txt"
    words.write_text("今天天气,inf\n好,inf\n真\n", encoding="utf-8")
    out, _ = run("--model", model, "--tags", "--user-dict", words, data="今天天气 好\n\n")
    assert out.decode() == "今/b 天/m 天/m 气/e 好/s\n\n"
    words.write_text("天 气,inf\n好,inf\n", encoding="utf-8")
    out, _ = run("--model", model, "--tags", "--user-dict", words, data="好 \ufeff\u3000天 气\n")
    assert out.decode().split(" ")[-2:] == ["天/b", "气/e\n"]
    assert [token[1] for token in out.decode().rstrip("\n").split(" ")] == ["/"] * 4  # with \ufeff, which is none


def test_lines_come_out_as_they_come_in(model):
    with start("--model", model) as process:
        for _ in range(3):
            process.stdin.write("今天我们\n".encode())
            process.stdin.flush()
            assert process.stdout.readline().decode().replace(" ", "") == "今天我们\n"
        process.stdin.close()
        assert process.wait(20) == 0


@pytest.mark.parametrize("processes", ["1", "2"])
def test_a_closed_pipe_is_quiet(model, tmp_path, processes):
    path = tmp_path / "a.txt"
    path.write_text(TEXT * 3000, encoding="utf-8")
    with start("--model", model, "--processes", processes, path) as process:
        process.stdout.read(100)
        process.stdout.close()
        assert process.stderr.read() == b""
        assert process.wait(20) == 141


@pytest.mark.parametrize("processes", ["1", "2"])
def test_ctrl_c_is_quiet(model, processes):
    with start("--model", model, "--processes", processes) as process:
        process.stdin.write("今天\n".encode() * 100)
        process.stdin.flush()
        time.sleep(5)  # it waits for more by now, on a busy machine too
        process.send_signal(signal.SIGINT)
        assert process.stderr.read() == b""
        assert process.wait(20) == 130


def test_bytes_that_are_not_utf8_are_named_and_the_lines_before_come_out(model, tmp_path):
    path = tmp_path / "a.txt"
    path.write_bytes("今天\n我们\n".encode() + "北京\n".encode("gb18030") + "大学\n".encode())
    for processes in ("1", "2"):
        out, err = run("--model", model, "--processes", processes, path, expected=2)
        assert out.decode().replace(" ", "") == "今天\n我们\n"
        assert err.startswith(
            f"error: {path}:3: expected UTF-8. Received: byte 0xb1 at byte offset 14; convert the file"
        )
        assert err.count("\n") == 1
    assert "standard input:1: expected UTF-8" in run("--model", model, data=b"\x80", expected=2)[1]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("nothing.txt",), "error: nothing.txt: no such file"),
        (("tests",), "error: tests: expected a file. Received: a folder"),
        (("--standard", "ctb"), "error: the standard must be one of first, second, third. Received: 'ctb'."),
        (("--processes", "0"), "error: --processes must be at least 1. Received: 0."),
        (("--user-dict", "nothing.txt"), "error: nothing.txt: no such file"),
        (("--user-dict", "pyproject.toml"), "error: pyproject.toml:"),
    ],
)
def test_mistakes_are_one_line_and_status_2(model, arguments, message):
    out, err = run("--model", model, *arguments, data="好\n", expected=2)
    assert err.startswith(message)
    assert err.count("\n") == 1
    assert out == b""


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="a full disk is played by /dev/full")
def test_a_full_disk_is_one_line(model):
    with open("/dev/full", "wb") as full:
        command = [*COMMAND, "--model", str(model)]
        done = subprocess.run(command, input="好\n".encode(), stdout=full, stderr=-1, cwd=ROOT, check=False)
    assert (done.returncode, done.stderr.decode()) == (2, "error: No space left on device\n")


def test_a_model_that_is_none_is_refused(tmp_path, capsys):
    assert main(["segment", "--model", str(tmp_path / "none")]) == 2
    assert "none: no such directory" in capsys.readouterr().err


MODULE = [sys.executable, "-m", "nlptasks"]


@pytest.mark.parametrize("words", [["--version"], ["-V"]])
def test_the_version_is_told(words):
    done = subprocess.run([*MODULE, *words], cwd=ROOT, capture_output=True, encoding="utf-8", check=True)
    assert (done.stdout, done.stderr) == (f"nlptasks {nlptasks.__version__}\n", "")


@pytest.mark.parametrize(
    "words", [["--help"], ["--version"], ["labeling", "--help"], ["segment", "--help"], ["--print-completion", "bash"]]
)
def test_help_into_a_closed_pipe_is_quiet(words):
    reading, writing = os.pipe()
    os.close(reading)
    done = subprocess.run([*MODULE, *words], cwd=ROOT, stdout=writing, stderr=-1, encoding="utf-8", check=False)
    os.close(writing)
    assert (done.returncode, done.stderr) == (141, "")


def test_a_script_knows_the_verbs_of_its_application():
    command = [sys.executable, ROOT / "tasks" / "sequence_labeling.py", "evaluate"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, encoding="utf-8", check=False)
    assert done.returncode == 2
    assert "nlptasks labeling evaluate" in done.stderr


SLOW_IMPORT = """
import builtins, sys, time
import nlptasks.command
find = builtins.__import__

def slow(name, *rest):
    if name == "tyro":
        print("importing", flush=True)
        time.sleep(30)
    return find(name, *rest)

builtins.__import__ = slow
sys.argv[1:] = ["segment", "--text", "好"]
sys.exit(nlptasks.command.main())
"""


def test_ctrl_c_while_modules_are_loaded_is_quiet():
    command, pipe = [sys.executable, "-c", SLOW_IMPORT], subprocess.PIPE
    with subprocess.Popen(command, cwd=ROOT, stdout=pipe, stderr=pipe) as process:
        assert process.stdout.readline() == b"importing\n"
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=20)
    assert (process.returncode, out, err) == (-signal.SIGINT, b"", b"")


def test_help_and_segmenting_import_no_backend(model):
    code = (
        "import sys\nfrom nlptasks.command import main\n"
        "try:\n    main(sys.argv[1:])\nexcept SystemExit:\n    pass\n"
        "print(*sorted({'keras', 'tensorflow', 'jax', 'torch', 'numpy'} & set(sys.modules)))"
    )
    for arguments, loaded in (
        (["--help"], ""),
        (["segment", "--help"], "numpy"),
        (["segment", "--model", str(model)], "numpy"),
    ):
        done = subprocess.run(
            [sys.executable, "-c", code, *arguments],
            input="好\n".encode(),
            capture_output=True,
            env=os.environ | {"KERAS_BACKEND": "jax"},
            cwd=ROOT,
            check=True,
        )
        assert done.stdout.decode().splitlines()[-1] == loaded


def test_random_segmenters_of_the_tests_are_what_was_saved(segmenter):
    texts = TEXT.splitlines()
    same = np.mean([a == b for a, b in zip(random_segmenter().segment(texts), segmenter.segment(texts), strict=True)])
    assert same > 0.5


def test_a_shell_completes_applications_verbs_and_options(tmp_path):
    script = tmp_path / "completion.bash"
    done = subprocess.run([*COMMAND[:-1], "--print-completion", "bash"], cwd=ROOT, capture_output=True, check=True)
    script.write_bytes(done.stdout)

    def completed(*words):
        line = " ".join(words)
        code = (
            f"source {script}; COMP_WORDS=({line}); COMP_CWORD={len(words) - 1}; COMP_LINE='{line}'; "
            'COMP_POINT=${#COMP_LINE}; set -- $(complete -p nlptasks); $3; echo "${COMPREPLY[@]}"'
        )
        return subprocess.run(["bash", "-c", code], capture_output=True, encoding="utf-8", check=True).stdout.split()

    assert completed("nlptasks", "cla") == ["classification"]
    assert completed("nlptasks", "pretraining", "sh") == ["shards"]
    assert completed("nlptasks", "classification", "train", "--seq") == ["--seq-length"]
    assert "--tags" in completed("nlptasks", "segment", "--ta")
