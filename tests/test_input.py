"""Input as it is in the world: half characters, true and false, long fields, byte order marks, packed pipes, lists."""

import csv
import gzip
import json

import pytest

from nlptasks import command as command_line
from nlptasks.checkpoints.huggingface import SHARDS, read_huggingface
from nlptasks.files import parse_json, read_json_object, read_line_blocks
from nlptasks.pretraining.corpus import CorpusFormat, Span, read_documents
from nlptasks.text import read_questions, read_texts
from nlptasks.text.conditioned import ConditionColumns, read_conditioned
from nlptasks.text.entities import read_entities
from nlptasks.text.labeled import read_labeled
from nlptasks.text.readers import begins_json_list
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
        ('{"text": true, "label": "a"}', "'text' must be a string. Received: bool"),
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
