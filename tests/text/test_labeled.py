"""Labeled texts of three formats, and one clear line for whatever is wrong with a file."""

import gzip

import pytest

from nlptasks.text.labeled import Columns, read_labeled, require_known, sort_labels


def write(folder, name, text, encoding="utf-8"):
    path = folder / name
    path.write_bytes(text.encode(encoding))
    return path


def read(*arguments, **columns):
    return [(t.text, t.second_text, t.labels) for t in read_labeled(*arguments, Columns(**columns))]


def test_the_three_formats_give_the_same_texts_by_name(tmp_path):
    wanted = [("菜很咸", None, ("0",)), ("房间，干净", None, ("1",))]
    tsv = write(tmp_path, "a.tsv", "no\tlabel\ttext\n1\t0\t菜很咸\n\n2\t1\t房间，干净\r\n")
    comma = write(tmp_path, "a.csv", 'text,no,label\n菜很咸,1,0\n"房间，干净",2,1\n')
    lines = write(tmp_path, "a.jsonl", '{"text": "菜很咸", "label": 0, "x": 1}\n{"label": "1", "text": "房间，干净"}\n')
    for path in (tsv, comma, lines):
        assert read(path) == wanted, path
    assert [text.place for text in read_labeled(tsv)] == [f"{tsv}:2", f"{tsv}:4"]
    packed = tmp_path / "a.jsonl.gz"
    packed.write_bytes(gzip.compress(lines.read_bytes()))
    assert read(packed) == wanted


def test_a_file_without_a_line_of_names_has_them_named(tmp_path):
    path = write(tmp_path, "a.tsv", "甲\t乙\t1\n丙\t丁\t0\n")
    found = read(path, text="a", second_text="b", names=("a", "b", "label"))
    assert found == [("甲", "乙", ("1",)), ("丙", "丁", ("0",))]
    assert read(path, text="b", label=None, names=("a", "b", "label")) == [("乙", None, ()), ("丁", None, ())]


def test_csv_fields_in_quotes_hold_commas_quotes_and_line_ends(tmp_path):
    path = write(tmp_path, "a.csv", 'label,text\n好,"一,""二""\n三"\n坏,四\n')
    assert read(path) == [('一,"二"\n三', None, ("好",)), ("四", None, ("坏",))]
    assert [text.place for text in read_labeled(path)] == [f"{path}:2", f"{path}:4"]


def test_several_labels_come_as_a_list_or_separated_and_once_each(tmp_path):
    path = write(tmp_path, "a.jsonl", '{"text": "甲", "label": ["b", 1, "b"]}\n{"text": "乙", "label": []}\n')
    assert read(path, separator=",") == [("甲", None, ("b", "1")), ("乙", None, ())]
    path = write(tmp_path, "a.tsv", "text\tlabel\n甲\tb; a\n乙\t\n")
    assert read(path, separator=";") == [("甲", None, ("b", "a")), ("乙", None, ())]


@pytest.mark.parametrize(
    ("name", "text", "columns", "line", "message"),
    [
        ("a.tsv", "甲\t1\n", {}, 1, r"the first line has no column 'text' \(it reads '甲', '1'\); .*columns"),
        ("a.tsv", "text\tlabel\n甲\t1\n乙\n", {}, 3, r"expected 2 fields \(text, label\). Received: 1"),
        ("a.tsv", "text\tlabel\n \t1\n", {}, 2, "'text' is empty; write the text, or leave the line out"),
        ("a.tsv", "text\tlabel\n甲\t \n", {}, 2, "'label' is empty; write the label"),
        ("a.tsv", "x\ttext\tlabel\n甲\t\t1\n", {"second_text": "x"}, 2, "'text' is empty"),
        ("a.csv", 'text,label\n甲,1\n"乙,0\n', {}, 3, "not valid CSV"),
        ("a.jsonl", '{"text": "甲", "label": 1}\n{"text": "甲"}\n', {}, 2, "the key 'label' is missing"),
        ("a.jsonl", '{"text": "甲", "label": ["a", "b"]}\n', {}, 1, "must be one label.*multi_label"),
        ("a.jsonl", '{"text": "甲", "label": {"a": 1}}\n', {}, 1, "a label must be a string or a whole number"),
        ("a.jsonl", '{"text": 3, "label": 1}\n', {}, 1, "'text' must be a string. Received: a number"),
        ("a.jsonl", '{"text": "甲"', {}, 1, "invalid JSON"),
    ],
)
def test_what_is_wrong_with_a_line_is_said_with_its_number(tmp_path, name, text, columns, line, message):
    path = write(tmp_path, name, text)
    with pytest.raises(ValueError, match=message) as error:
        read(path, **columns)
    assert str(error.value).startswith(f"{path}:{line}: ")
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("name", ["a.tsv", "a.csv", "a.jsonl"])
def test_an_empty_file_one_of_another_encoding_and_none_are_refused(tmp_path, name):
    with pytest.raises(ValueError, match="the file is empty"):
        read(write(tmp_path, name, "\n\n"))
    with pytest.raises(ValueError, match=r":2: expected UTF-8.*iconv -f GB18030"):
        read(write(tmp_path, name, "text\n菜\n" if name != "a.jsonl" else '{"text": "a", "label": 1}\n菜', "gb18030"))
    with pytest.raises(FileNotFoundError, match="no such file"):
        read(tmp_path / f"none_{name}")


def test_a_file_with_names_alone_is_refused(tmp_path):
    with pytest.raises(ValueError, match="holds a header and no text"):
        read(write(tmp_path, "a.tsv", "text\tlabel\n"))


def test_columns_that_contradict_each_other_are_refused():
    with pytest.raises(ValueError, match="must be different columns"):
        Columns(text="a", label="a")
    with pytest.raises(ValueError, match=r"'label' must stand once among the names of columns\. Received: text, x"):
        Columns(names=("text", "x"))


def test_a_label_unseen_in_training_is_named_with_its_place_and_the_known_ones():
    require_known([("a", "f:1")], ["a", "b"])
    with pytest.raises(ValueError, match=r"f:2: the label 'c' .*\(known labels: a, b\)"):
        require_known([("a", "f:1"), ("c", "f:2")], ["a", "b"])
    with pytest.raises(ValueError, match=r"known labels: 0, .*, 19 and 5 more\)"):
        require_known([("x", "f:1")], map(str, range(25)))


def test_whole_numbers_are_sorted_as_such_and_before_names():
    assert sort_labels(["b", "10", "9", "a", "9", "-1"]) == ("-1", "9", "10", "a", "b")
