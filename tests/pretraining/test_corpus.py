"""Files, units and documents: every document once, wherever a file is cut."""

import gzip
import json
import random

import pytest

from nlptasks.pretraining.corpus import CorpusFormat, Span, find_files, plan_units, read_documents
from tests.pretraining.corpora import make_documents

BLANK = CorpusFormat(documents="blank-line")


def read_all(units, form):
    return [document for unit in units for document in read_documents(unit, form)]


@pytest.fixture
def in_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.parametrize("unit_bytes", [1, 2, 7, 50, 333, 10**6])
@pytest.mark.parametrize("end", ["\n", "\r\n"])
def test_lines_are_read_once_wherever_the_file_is_cut(unit_bytes, end, in_folder):
    lines = ["一", "", "二二", "  ", "三a三", *make_documents(3, 1), "末"]
    for last in ("", end):
        (in_folder / "a.txt").write_bytes(b"\xef\xbb\xbf" + (end.join(lines) + last).encode())
        units = plan_units(find_files(["a.txt"]), unit_bytes)
        assert (len(units) > 1) == (unit_bytes < 1000)
        assert read_all(units, CorpusFormat()) == [line for line in lines if line.strip()]


@pytest.mark.parametrize("seed", range(40))
def test_paragraphs_are_read_once_wherever_the_file_is_cut(seed, in_folder):
    choose = random.Random(seed)
    lines = [choose.choice(["", "", "  ", "\u3000", "\x85", "字", "ab 字", "第一句。第二句。"]) for _ in range(30)]
    (in_folder / "a.txt").write_text("\n".join(lines), encoding="utf-8")
    size = (in_folder / "a.txt").stat().st_size
    paragraphs, paragraph = [], []
    for line in [*lines, ""]:
        if line.strip():
            paragraph.append(line)
        elif paragraph:
            paragraphs.append("\n".join(paragraph))
            paragraph = []
    assert read_all([(Span("a.txt"),)], BLANK) == paragraphs
    for cut in range(1, size):
        spans = [(Span("a.txt", 0, cut),), (Span("a.txt", cut, size),)]
        assert read_all(spans, BLANK) == paragraphs, cut


@pytest.mark.parametrize(
    ("text", "paragraphs"),
    [
        ("前\n" + "　" * 5000 + "\n后\n" + "长" * 5000 + "\n尾", ["前", "后\n" + "长" * 5000 + "\n尾"]),
        ("前\n中" + "　" * 5000 + "\n后", ["前\n中" + "　" * 5000 + "\n后"]),
    ],
)
def test_a_line_longer_than_the_look_behind_is_looked_at_whole(text, paragraphs, in_folder):
    (in_folder / "a.txt").write_text(text, encoding="utf-8")
    size = len(text.encode())
    for cut in range(1, size, 211):
        spans = [(Span("a.txt", 0, cut),), (Span("a.txt", cut, size),)]
        assert read_all(spans, BLANK) == paragraphs, cut


def test_json_lines_are_read_plain_packed_and_cut(in_folder):
    documents = ["一\n二", "\u2028", *make_documents(5, 2)]
    content = "\n\n".join(json.dumps({"body": text, "n": 1}, ensure_ascii=False) for text in documents)
    (in_folder / "a.jsonl").write_text(content)
    (in_folder / "b.json.gz").write_bytes(gzip.compress(content.encode()))
    form = CorpusFormat(field="body")
    for unit_bytes in (100, 10**6):
        assert read_all(plan_units(find_files(["a.jsonl", "b.json.gz"]), unit_bytes), form) == documents * 2


def test_a_gzip_file_is_not_cut_and_small_files_are_read_together(in_folder):
    for name, size in (("a", 10), ("b", 20), ("c", 100), ("d", 5), ("e", 0), ("g", 30)):
        (in_folder / f"{name}.txt").write_bytes(b"x" * size)
    (in_folder / "f.gz").write_bytes(gzip.compress(random.Random(1).randbytes(300)))
    units = plan_units(find_files(["*.txt", "*.gz"]), 40)
    assert [[(span.path, span.start, span.end) for span in unit] for unit in units] == [
        [("a.txt", 0, 0), ("b.txt", 0, 0)],
        [("c.txt", 0, 33)],
        [("c.txt", 33, 66)],
        [("c.txt", 66, 100)],
        [("d.txt", 0, 0)],
        [("f.gz", 0, 0)],
        [("g.txt", 0, 0)],
    ]


def test_files_are_sorted_and_each_stands_once(in_folder):
    (in_folder / "sub").mkdir()
    for name in ("b.txt", "a.txt", "sub/c.txt"):
        (in_folder / name).write_text(name)
    expected = [("a.txt", 5), ("b.txt", 5), ("sub/c.txt", 9)]
    assert find_files(["**/*.txt", "./a.txt", "b.txt"]) == expected
    (in_folder / "[odd].txt").write_text("x")
    assert find_files(["[odd].txt"]) == [("[odd].txt", 1)]


@pytest.mark.parametrize(
    ("patterns", "error", "message"),
    [
        (["no.txt"], FileNotFoundError, r"no\.txt: no such file \(working folder .*\); check the spelling"),
        (["a.txt", "*.csv"], FileNotFoundError, r"\*\.csv: no file matches \(working"),
        (["."], ValueError, r"\.: expected files. Received: a folder; write \./\*"),
        (["empty.txt"], ValueError, r"the corpus is empty: 1 files of 0 bytes \(empty\.txt\)"),
    ],
)
def test_a_corpus_that_is_not_there_is_named(patterns, error, message, in_folder):
    (in_folder / "a.txt").write_text("x")
    (in_folder / "empty.txt").write_text("")
    with pytest.raises(error, match=message):
        find_files(patterns)


@pytest.mark.parametrize("cut", [False, True])
def test_bytes_that_are_not_utf8_are_named_with_file_and_line(cut, in_folder):
    (in_folder / "a.txt").write_bytes("一行\n二行\n".encode() + "三行".encode("gb18030") + "\n四".encode())
    size = (in_folder / "a.txt").stat().st_size
    unit = (Span("a.txt", 9, size),) if cut else (Span("a.txt"),)
    with pytest.raises(ValueError, match=r"a\.txt:3: expected UTF-8. Received: byte 0xc8 at byte offset 14; convert"):
        list(read_documents(unit, CorpusFormat()))


@pytest.mark.parametrize("cut", [False, True])
@pytest.mark.parametrize(
    ("line", "message"),
    [
        ('{"body": "x"}', r"expected an object with a string at 'text'. Received: the keys 'body'; name the key"),
        ('{"text": 3}', r"Received: the keys 'text'"),
        ('["text"]', r"expected an object with a string at 'text'. Received: a list"),
        ("正文", r"expected one JSON object a line \(Expecting value.*\); for plain text give format text"),
    ],
)
def test_a_json_line_without_a_text_is_named_with_file_and_line(line, message, cut, in_folder):
    content = '{"text": "一"}\n\n' + line + "\n"
    (in_folder / "a.jsonl").write_text(content)
    unit = (Span("a.jsonl", 3, len(content.encode())),) if cut else (Span("a.jsonl"),)
    with pytest.raises(ValueError, match=rf"a\.jsonl:3: .*{message}"):
        list(read_documents(unit, CorpusFormat()))


def test_a_broken_gzip_file_is_named(in_folder):
    data = gzip.compress("".join(make_documents(50, 1)).encode())
    (in_folder / "a.txt.gz").write_bytes(data[:-20])
    with pytest.raises(
        ValueError, match=r"a\.txt\.gz: expected a whole gzip file. Received: a damaged or truncated one"
    ):
        list(read_documents((Span("a.txt.gz"),), CorpusFormat()))


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("format", "csv", r"^format must be one of auto, text, jsonl\. Received: 'csv'"),
        ("documents", "page", r"^documents must be one of line, blank-line\. Received: 'page'"),
    ],
)
def test_an_unknown_format_is_refused(name, value, message):
    with pytest.raises(ValueError, match=message):
        CorpusFormat(**{name: value})
