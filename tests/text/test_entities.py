"""Texts with entities in CLUENER's format and in columns, and one clear line for whatever is wrong with a file."""

import json

import pytest

from nlptasks.text.entities import Entity, read_entities

TEXT = "沈月去了南山图书馆。"


def write(folder, text, name="a.jsonl", encoding="utf-8"):
    path = folder / name
    path.write_bytes(text.encode(encoding))
    return path


def line(label, text=TEXT):
    return json.dumps({"text": text, "label": label}, ensure_ascii=False) + "\n"


def test_cluener_spans_become_pieces_of_the_text_in_their_order_nested_ones_too(tmp_path):
    label = {"place": {"南山图书馆": [[4, 8]], "南山": [[4, 5]]}, "name": {"沈月": [[0, 1]]}}
    (found,) = read_entities(write(tmp_path, line(label)))
    assert found.text == TEXT
    assert found.entities == (
        Entity(0, 2, "name", "沈月"),
        Entity(4, 6, "place", "南山"),
        Entity(4, 9, "place", "南山图书馆"),
    )
    assert all(TEXT[e.start : e.end] == e.text for e in found.entities)


COLUMNS = """沈\tB-name
月\tI-name
去\tO
南\tB-place
山\tI-place

A1 NN B-x
队 NN E-x
赢 NN S-y
你 NN S-y
好 NN I-y
吗 NN M-y
呢 NN I-x
"""


def test_columns_become_texts_with_the_same_entities(tmp_path):
    first, second = read_entities(write(tmp_path, COLUMNS, "a.bio"))
    assert (first.text, second.text) == ("沈月去南山", "A1队赢你好吗呢")
    assert first.entities == (Entity(0, 2, "name", "沈月"), Entity(3, 5, "place", "南山"))
    assert [(e.text, e.type) for e in second.entities] == [
        ("A1队", "x"),
        ("赢", "y"),
        ("你", "y"),
        ("好吗", "y"),
        ("呢", "x"),
    ]
    assert [text.place.rsplit(":", 1)[1] for text in (first, second)] == ["1", "7"]


def test_two_entities_side_by_side_stay_two(tmp_path):
    (found,) = read_entities(write(tmp_path, "甲 B-x\n乙 B-x\n丙 I-x\n丁 I-z", "a.txt"))
    assert [(e.start, e.end, e.type) for e in found.entities] == [(0, 1, "x"), (1, 3, "x"), (3, 4, "z")]


@pytest.mark.parametrize(
    ("text", "at", "message"),
    [
        (
            line({}) + line({"name": {"沈月": [[0, 10]]}}),
            2,
            r"the span \[0, 10\] of '沈月' \(name\) leaves the text of 10",
        ),
        (line({"name": {"沈月": [[1, 0]]}}), 1, r"leaves the text .*count from 0 to 9"),
        (line({"name": {"沈月": [[-1, 0]]}}), 1, "leaves the text"),
        (line({"name": {"沈月": [[1, 2]]}}), 1, r"the span \[1, 2\] of '沈月' \(name\) reads '月去'; correct"),
        (line({"name": {"沈月": [0, 1]}}), 1, r"must be \[first, last\], two whole numbers. Received: 0"),
        (line({"name": [[0, 1]]}), 1, "'name' must be an object from entities to spans"),
        (line({}, " "), 1, "the text is empty"),
        ('{"text": "a"}\n', 1, "the key 'label' is missing"),
        ("甲 O\n乙 X-a\n", 2, "'X-a' is not a tag; expected O, or B, I, M, E or S with a type"),
        ("甲 O\n乙 B\n", 2, "'B' is not a tag"),
        ("甲 O\n\n乙\n", 3, "expected a character and its tag"),
    ],
)
def test_what_is_wrong_with_a_line_is_said_with_its_number(tmp_path, text, at, message):
    path = write(tmp_path, text)
    with pytest.raises(ValueError, match=message) as error:
        read_entities(path)
    assert str(error.value).startswith(f"{path}:{at}: ")
    assert "\n" not in str(error.value)


def test_an_empty_file_and_one_of_another_encoding_are_refused(tmp_path):
    with pytest.raises(ValueError, match="the file is empty"):
        read_entities(write(tmp_path, "\n"))
    with pytest.raises(ValueError, match=r":2: expected UTF-8"):
        read_entities(write(tmp_path, "a O\n沈 O\n", encoding="gb18030"))
