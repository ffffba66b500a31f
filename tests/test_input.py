"""Input as it is in the world: half characters, true and false, long fields, byte order marks, packed pipes, lists."""

import csv
import dataclasses
import gzip
import io
import json
import sys

import pytest

from nlptasks import command as command_line
from nlptasks import console
from nlptasks.applications.segmentation import lines
from nlptasks.applications.segmentation.dictionary import UserDictionary
from nlptasks.checkpoints.huggingface import SHARDS, read_huggingface
from nlptasks.encodings import text_encoding
from nlptasks.files import parse_json, read_json_object, read_line_blocks
from nlptasks.pretraining.corpus import CorpusFormat, Span, read_blocks, read_documents
from nlptasks.text import read_questions, read_texts
from nlptasks.text.conditioned import ConditionColumns, read_conditioned
from nlptasks.text.entities import read_entities, read_unlabeled
from nlptasks.text.groups import read_groups
from nlptasks.text.labeled import read_labeled
from nlptasks.text.readers import begins_json_list
from nlptasks.text.segmented import read_segmented
from tests.test_command import run

HALF = "\\ud83d"
"""as JSON writes the first half of an emoji"""
CORPUS = CorpusFormat(format="jsonl")
READERS = {
    "labeled": (read_labeled, '{"text": "好%s", "label": "a"}'),
    "a label": (read_labeled, '{"text": "好", "label": "a%s"}'),
    "conditioned": (lambda path: read_conditioned(path, ConditionColumns(labels=("l",))), '{"text": "好%s", "l": "a"}'),
    "entities": (read_entities, '{"text": "沈月%s", "label": {}}'),
    "texts": (lambda path: list(read_texts(path)), '{"text": "好%s"}'),
    "questions": (read_questions, '{"id": "%%d", "question": "谁%s？", "passages": [{"passage": "沈月。"}]}'),
    "a corpus": (lambda path: list(read_documents((Span(str(path)),), CORPUS)), '{"text": "好%s"}'),
    "a range": (lambda path: list(read_documents((Span(str(path), 0, 9999),), CORPUS)), '{"text": "好%s"}'),
}


@pytest.mark.parametrize("reader", READERS)
def test_half_a_character_is_refused_where_it_stands(reader, tmp_path):
    read, line = READERS[reader]
    path = tmp_path / "a.jsonl"
    for half in (HALF, "\\uDE00", HALF + "\\u4e00", HALF + HALF):
        lines = [line % "", line % "\\ud83d\\ude00 \\\\ud83d", line % half]
        path.write_text("".join((text % i if "%d" in text else text) + "\n" for i, text in enumerate(lines)), "utf-8")
        with pytest.raises(ValueError, match=r"a\.jsonl:3: \\u[dD]\w{3} is half of a character .*leave it out\.$"):
            read(path)
    assert parse_json('["\\\\ud83d", "\\ud83d\\ude00"]', path) == ["\\ud83d", "\U0001f600"]


def test_half_a_character_in_a_list_or_a_config_is_refused_with_its_line(tmp_path):
    path = tmp_path / "a.json"
    path.write_text(f'[\n{{"text": "好", "label": "a"}},\n{{"text": "{HALF}", "label": "a"}}]', encoding="utf-8")
    for read in (read_labeled, read_questions):
        with pytest.raises(ValueError, match=r"a\.json:3: \\ud83d is half of a character"):
            read(path)
    path.write_text(f'{{"a":\n"{HALF}"}}', encoding="utf-8")
    with pytest.raises(ValueError, match=r"a\.json:2: \\ud83d is half"):
        read_json_object(path)


def test_bytes_of_the_command_line_that_are_no_text_are_refused(tmp_path, capsys):
    bad = b"\xff".decode("utf-8", "surrogateescape")
    for words in (
        ("segment", "--text", bad),
        ("classification", "predict", "--model", "m", "--texts", "好", bad),
        ("similarity", "search", "--index", "i", "--query", bad),
        ("reading", "answer", "--model", "m", "--question", "谁", "--passage", bad),
        ("conditional", "generate", "--model", "m", "--prompt", bad),
    ):
        assert command_line.main(words) == 2
        option = [word for word in words if word.startswith("--")][-1]
        assert capsys.readouterr().err == f"error: {option} is not UTF-8. Received: '\\udcff'.\n"


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ('{"text": true, "label": "a"}', "'text' must be a string. Received: true or false"),
        ('{"text": "好", "label": false}', "a label must be a string or a whole number. Received: False"),
        ('{"text": "好", "label": [true]}', "must be one label"),
    ],
)
def test_true_and_false_are_no_texts_and_no_labels(line, message, tmp_path):
    path = tmp_path / "a.jsonl"
    path.write_text(line, encoding="utf-8")
    with pytest.raises(ValueError, match=rf"a\.jsonl:1: .*{message}"):
        read_labeled(path)
    with pytest.raises(ValueError, match=r"a\.jsonl:1: '\w+' must be a"):
        read_conditioned(path, ConditionColumns(labels=("label",)))


def test_fields_of_csv_have_any_length_and_the_bound_of_the_process_stays(tmp_path):
    path, text, bound = tmp_path / "a.csv", "好" * 200_000, csv.field_size_limit()
    path.write_text(f'text,label\n"{text}",a\n短,b\n', encoding="utf-8")
    found = read_labeled(path)
    assert [(one.text, one.labels) for one in found] == [(text, ("a",)), ("短", ("b",))]
    assert csv.field_size_limit() == bound


def test_a_config_may_begin_with_a_byte_order_mark(tmp_path):
    (tmp_path / "config.json").write_text('{"a": 1}', encoding="utf-8-sig")
    assert read_json_object(tmp_path / "config.json") == {"a": 1}
    (tmp_path / SHARDS).write_text('{"weight_map": {"a": "none.safetensors"}}', encoding="utf-8-sig")
    with pytest.raises(ValueError, match=r"none\.safetensors"):
        read_huggingface(tmp_path, None)


@pytest.mark.parametrize("more", [(), ("--processes", "2"), ("--json",)])
def test_a_byte_order_mark_before_a_text_is_no_word(more, tmp_path):
    mark, text = b"\xef\xbb\xbf", "今天天气很好\n今天\ufeff好\n".encode()
    expected = run(*more, data=text)[0]
    assert run(*more, data=mark + text)[0] == expected
    (tmp_path / "a.txt").write_bytes(mark + text)
    (tmp_path / "b.txt").write_bytes(mark)
    assert run(*more, tmp_path / "b.txt", tmp_path / "a.txt", "-", data=mark + text)[0] == expected * 2
    err = run(*more, data=mark + b"ab\n\xff", expected=2)[1]
    assert "standard input:2: expected UTF-8. Received: byte 0xff at byte offset 6;" in err


def test_standard_input_may_be_packed(tmp_path):
    text = "今天天气很好\n" * 3
    packed = gzip.compress(b"\xef\xbb\xbf" + text.encode())
    assert run(data=packed)[0] == run(data=text)[0]
    assert "standard input: expected a whole gzip file" in run(data=packed[:-9], expected=2)[1]
    (tmp_path / "a").write_bytes(packed)
    with open(tmp_path / "a", "rb") as file:
        assert b"".join(read_line_blocks(file)).endswith(text.encode())


def test_a_text_where_a_file_is_expected_is_told():
    err = run("今天天气很好", expected=2)[1]
    assert err == (
        "error: 今天天气很好: no such file; text comes from files, from standard input or from --text, "
        "and words of the command line are names of files.\n"
    )


@pytest.mark.parametrize("indent", [None, 1])
def test_lists_of_objects_are_read_like_lines(indent, tmp_path):
    path = tmp_path / "a.json"

    def write(*objects):
        path.write_text("\n" + json.dumps(objects, ensure_ascii=False, indent=indent), encoding="utf-8")

    write({"text": "好", "label": "a"}, {"text": "坏", "label": "b"})
    found = read_labeled(path)
    assert [(one.text, one.labels, one.place) for one in found] == [
        ("好", ("a",), f"{path}: item 1"),
        ("坏", ("b",), f"{path}: item 2"),
    ]
    assert list(read_texts(path)) == ["好", "坏"]
    assert read_conditioned(path, ConditionColumns(labels=("label",)))[1].labels == {"label": "b"}
    write({"text": "好", "label": "a"}, {"text": "坏"})
    with pytest.raises(ValueError, match=r"a\.json: item 2: the key 'label' is missing"):
        read_labeled(path)
    write({"text": "沈月来了", "label": {"人名": {"沈月": [[0, 1]]}}})
    [one] = read_entities(path)
    assert [(e.start, e.end, e.type) for e in one.entities] == [(0, 2, "人名")]


def test_a_bracket_in_columns_of_tags_begins_no_list(tmp_path):
    assert all(map(begins_json_list, ("[", " [ {", '[{"a"')))
    assert not any(map(begins_json_list, ("[ O", "[\tO", "[1]")))
    (tmp_path / "a.txt").write_text("[ O\n沈 B-人名\n月 I-人名\n", encoding="utf-8")
    assert read_entities(tmp_path / "a.txt")[0].text == "[沈月"


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("similarity", "search", "--index", "i", "--query", " "), "--query is empty; ask something."),
        (
            ("reading", "answer", "--model", "m", "--question", "", "--passage", "a"),
            "--question is empty; ask something.",
        ),
        (
            ("reading", "answer", "--model", "m", "--question", "谁", "--passage", "a", ""),
            "--passage: text 2 is empty; there is nothing to read.",
        ),
    ],
)
def test_empty_texts_of_the_command_line_are_refused_alike(words, message, capsys):
    assert command_line.main(words) == 2
    assert capsys.readouterr().err == f"error: {message}\n"


GB = "gb18030"
TEXTS_OF = {
    "labeled": (lambda path: [one.text for one in read_labeled(path)], "text\tlabel\n好房\ta\n坏房\tb\n"),
    "texts": (lambda path: list(read_texts(path)), "好房\n坏房\n"),
    "entities": (lambda path: [one.text for one in read_entities(path)], "沈 B-人\n月 I-人\n\n好 O\n"),
    "segmented": (read_segmented, "今天 天气\n很 好\n"),
    "groups": (lambda path: read_groups([path]).sentences, "1\t好房\n1\t不错\n"),
    "a dictionary": (lambda path: UserDictionary.from_file(path).words, "好房,20\n"),
    "questions": (read_questions, '[{"id": "1", "question": "谁？", "passages": [{"passage": "沈月。"}]}]'),
}


@pytest.mark.parametrize("kind", TEXTS_OF)
def test_text_in_gb18030_is_read_as_such_and_otherwise_refused_with_the_option(kind, tmp_path):
    read, text = TEXTS_OF[kind]
    good, bad = tmp_path / "a.txt", tmp_path / "b.txt"
    good.write_text(text, encoding="utf-8")
    bad.write_bytes(gzip.compress(text.encode(GB)))
    expected = read(good)
    with text_encoding("GBK"):
        assert read(bad) == expected
    with pytest.raises(ValueError, match=r"b\.txt:\d: expected UTF-8\..*, or give encoding gb18030\.$"):
        read(bad)
    bad.write_bytes(b"a\n\xff\n")
    with (
        text_encoding(GB),
        pytest.raises(ValueError, match=r"b\.txt:2: expected gb18030\. Received: byte 0xff"),
    ):
        list(read_texts(bad))


@pytest.mark.parametrize("encoding", ["utf-16-le", "utf-16-be"])
def test_text_in_utf16_is_refused_as_what_it_is(encoding, tmp_path):
    path = tmp_path / "a.txt"
    path.write_bytes("\ufeff好房\n坏房\n".encode(encoding))
    for name in ("utf-8", GB):
        with text_encoding(name), pytest.raises(ValueError, match=r"a\.txt: begins with the byte order mark of UTF-16"):
            list(read_texts(path))
    assert "a.txt: begins with the byte order mark of UTF-16; convert it" in run(path, expected=2)[1]


def test_a_folder_in_place_of_a_file_is_refused_as_what_it_is(tmp_path, capsys):
    for words in (["segment"], ["similarity", "index", "--output", "i", "--corpus"]):
        assert command_line.main([*words, str(tmp_path)]) == 2
        err = capsys.readouterr().err
        assert err == f"error: {tmp_path}: expected a file. Received: a folder; name a file inside it.\n"


def test_a_corpus_in_gb18030_is_the_same_in_ranges(tmp_path):
    lines = [f"第{i}行的文字" for i in range(40)]
    path = tmp_path / "a.txt"
    path.write_bytes("".join(f"{line}\n" for line in lines).encode(GB))
    size = path.stat().st_size
    form = CorpusFormat(format="text", encoding=GB)
    spans = [Span(str(path), size * i // 3, size * (i + 1) // 3) for i in range(3)]
    assert list(read_documents(spans, form)) == lines == list(read_documents((Span(str(path)),), form))
    assert "\n".join(read_blocks(spans, form)).split() == lines
    with pytest.raises(ValueError, match=r"a\.txt:1: expected UTF-8"):
        list(read_documents(spans, CorpusFormat(format="text")))


@pytest.mark.parametrize("name", ["utf-16", "none-such", "utf-7", "base64"])
def test_an_encoding_that_does_not_contain_ascii_is_refused(name, capsys):
    assert command_line.main(["segment", "--text", "好", "--encoding", name]) == 2
    err = capsys.readouterr().err
    assert err.startswith(
        "error: --encoding must be an encoding that contains ASCII, such as utf-8, gb18030, gbk or big5."
    )
    assert f"Received: '{name}'" in err


READ_FROM = {"train", "data", "gold", "corpus", "queries", "input", "webqa", "files", "passages", "texts", "task"}


def test_every_command_that_reads_text_has_the_option():
    without = {("pretraining", "train"), ("pretraining", "topology")}  # they read shards
    without.add(("latent", "interpolate"))  # its texts stand on the command line
    for word, verbs in command_line._all_commands().items():
        for verb, command in verbs.items() if isinstance(verbs, dict) else [("", verbs)]:
            names = {field.name for field in dataclasses.fields(command)}
            reads = names & READ_FROM
            assert ("encoding" in names) == (bool(reads) and (word, verb) not in without), (word, verb)


def test_segment_reads_gb18030_and_writes_utf8(tmp_path):
    text = "今天天气很好。\n我们去公园\n"
    (tmp_path / "a.txt").write_bytes(text.encode(GB))
    assert run("--encoding", GB, tmp_path / "a.txt")[0] == run(data=text.encode())[0]


@pytest.mark.parametrize(
    ("line", "character"),
    [
        ("\u3000 O", "\u3000"),
        ("\u3000 n O", "\u3000"),
        ("\u00a0 n O", "\u00a0"),
        ("  O", " "),
        ("  n O", " "),
        (" \tn\tO", " "),
        ("   O", " "),
        (" 沈 B-人", "沈"),
    ],
)
def test_a_space_may_be_a_character_of_columns(line, character, tmp_path):
    (tmp_path / "a.txt").write_text(f"沈 n B-人\n{line}\n月 n I-人\n", encoding="utf-8")
    assert read_entities(tmp_path / "a.txt")[0].text == f"沈{character}月"
    (tmp_path / "b.txt").write_text("\u3000 O\n", encoding="utf-8")
    with pytest.raises(ValueError, match=r"b\.txt:1: the text is empty"):
        read_entities(tmp_path / "b.txt")


def test_columns_are_read_as_such_where_texts_are_to_be_labeled(tmp_path):
    columns, plain = "沈 B-人\n月 I-人\n来 O\n\n好 O\n", "沈月来了\n好 O\n"
    for name, text, expected in (
        ("a.bio", columns, ["沈月来", "好"]),
        ("a.txt", columns, ["沈月来", "好"]),
        ("b.bio", "好 O\n", ["好"]),
        ("b.txt", plain, ["沈月来了", "好 O"]),
        ("c.txt", "好 O\n", ["好 O"]),
        ("d.jsonl", '{"text": "沈月"}\n', ["沈月"]),
    ):
        (tmp_path / name).write_text(text, encoding="utf-8")
        assert read_unlabeled(tmp_path / name) == expected, name
    (tmp_path / "e.bio").write_text("沈月来了\n", encoding="utf-8")
    with pytest.raises(ValueError, match=r"e\.bio:1: expected a character and its tag"):
        read_unlabeled(tmp_path / "e.bio")


def test_texts_come_from_standard_input_too(monkeypatch):
    monkeypatch.setattr(
        "sys.stdin", io.TextIOWrapper(io.BufferedReader(io.BytesIO("好\r\n\n坏".encode())), encoding="utf-8")
    )
    assert list(read_texts("-")) == ["好", "坏"]


class Saying:
    def run(self):
        sys.stdout.write("好\U0001f600")


class Terminal(io.TextIOWrapper):
    def isatty(self):
        return True


def test_a_character_that_the_output_lacks(monkeypatch, capsys):
    monkeypatch.setattr("sys.stdout", io.TextIOWrapper(io.BytesIO(), encoding="gbk"))
    assert console.run(Saying()) == 2
    assert "which lacks the character '\\U0001f600'; set the environment" in capsys.readouterr().err
    terminal = Terminal(io.BytesIO(), encoding="gbk")
    monkeypatch.setattr("sys.stdout", terminal)
    assert command_line.main(["segment", "--text", "好\U0001f600"]) == 0
    assert terminal.buffer.getvalue().decode("gbk").split() == ["好", "?"]


def test_one_block_starts_no_process_and_more_are_spawned(monkeypatch):
    def no_pool(processes, context, *_):
        raise RuntimeError(context.get_start_method())

    monkeypatch.setattr(lines, "ProcessPoolExecutor", no_pool)
    assert list(lines.write_all(bytes.upper, None, [b"a"], 2)) == [b"A"]
    with pytest.raises(RuntimeError, match="spawn"):
        list(lines.write_all(bytes.upper, None, [b"a", b"b"], 2))
