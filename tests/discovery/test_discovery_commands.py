"""`nlptasks discover`, in this process."""

import json
import random

import pytest

from nlptasks import command
from nlptasks.applications.segmentation.dictionary import UserDictionary
from tests.commands.scripts import assert_refused, call

pytestmark = pytest.mark.once
WORDS = ["图书馆", "自行车", "河流", "在", "去", "山", "上", "走", "和", "我", "你", "骑"]


@pytest.fixture
def path(tmp_path):
    path = tmp_path / "lines.txt"
    draw = random.Random(3)
    lines = ("".join(draw.choices(WORDS, k=7)) for _ in range(200))
    path.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")
    return path


def discover(*arguments):
    return call(command, "discover", "--processes", 1, *arguments)


def test_words_are_printed_or_written_as_a_table_and_as_a_dictionary(path, tmp_path):
    printed = discover("--input", path, "--freedom")
    assert printed.status == 0
    rows = [line.split("\t") for line in printed.out.splitlines()]
    assert {row[0] for row in rows} >= {"图书馆", "自行车", "河流"}
    assert all(len(row) == 4 and int(row[1]) >= 5 for row in rows)
    table, words = tmp_path / "new" / "words.tsv", tmp_path / "words.txt"
    done = discover("--input", path, "--freedom", "--output", table, "--dictionary", words, "--json")
    assert json.loads(done.out)["count"] == len(rows)
    assert table.read_text(encoding="utf-8") == printed.out
    assert set(UserDictionary.from_file(words).words) == {row[0] for row in rows}
    shown = json.loads(discover("--input", path, "--json").out)["words"]
    assert [word["word"] for word in shown] == [row[0] for row in rows]


def test_a_folder_of_counts_goes_on_with_the_same_job_only(path, tmp_path):
    first = discover("--input", path, "--work", tmp_path / "work")
    assert first.status == 0
    assert discover("--input", path, "--work", tmp_path / "work").out == first.out
    other = discover("--input", path, "--work", tmp_path / "work", "--min-count", 3)
    assert_refused(other, "holds the counts of other files or options; give another --work, or remove it.")


def test_pages_become_sentences_whatever_their_encodings(tmp_path):
    pages = tmp_path / "pages"
    pages.mkdir()
    (pages / "1.txt").write_text("换油之前先停机，等待十\n分钟。\n\n- 1 -\n", encoding="utf-8")
    (pages / "2.txt").write_text("病假需要\n证明。\n", encoding="gb18030")
    (pages / "3.txt").write_text("会议纪要\n", encoding="utf-16")
    done = call(command, "sentences", pages / "*.txt", "--output", tmp_path / "all.txt")
    assert (done.status, done.out) == (0, "")
    assert (tmp_path / "all.txt").read_text(
        encoding="utf-8"
    ) == "换油之前先停机，等待十分钟。\n病假需要证明。\n会议纪要\n"
    assert [line.split(": ")[-1] for line in done.err.splitlines()] == [
        *("read as gb18030", "read as utf-16", "3 sentences of 3 files"),
    ]
    folder = call(command, "sentences", pages, "--output", tmp_path / "all.txt")
    assert_refused(folder, f"{pages}: expected files. Received: a folder; write {pages}/*, or the files in it.")
    (pages / "4.txt").write_bytes(b"a\n\xff\xff\n")
    assert_refused(
        call(command, "sentences", pages / "4.txt", "--output", tmp_path / "b.txt"), "4.txt:2: expected UTF-8"
    )


def test_what_is_wrong_is_said_in_one_line(path, tmp_path):
    assert_refused(discover("--input", tmp_path / "nothing.txt"), "no such file")
    assert_refused(discover("--input", path, "--output", path), "is read, too, and would be lost")
    assert_refused(discover("--input", path, "--min-count", 0), "--min-count must be at least 1. Received: 0.")
    assert_refused(discover("--input", path, "--format", "jsonl"), "lines.txt:1: expected one JSON object a line")
    path.write_bytes(b"ab\n\xff\n")
    assert_refused(discover("--input", path), "lines.txt:2: expected UTF-8. Received: byte 0xff")
