"""Readers of conditioned texts: what they return, and one line for each mistake."""

import json

import numpy as np
import pytest

from nlptasks.text.conditioned import ConditionColumns, parse_label_names, read_conditioned, read_vectors

NAMES = {"mood": {"0": "bad", "1": "good"}}
COLUMNS = ConditionColumns(labels=("kind", "mood"), names=("kind", "mood", "text"), label_names=NAMES)


def written(path, text):
    path.write_text(text, encoding="utf-8")
    return path


def test_labels_are_read_by_column_and_called_by_their_names(tmp_path):
    path = written(tmp_path / "a.tsv", "酒店\t1\t房间干净\n\n水果\t0\t不新鲜\n")
    found = read_conditioned(path, COLUMNS)
    assert [(one.text, dict(one.labels), one.vector) for one in found] == [
        ("房间干净", {"kind": "酒店", "mood": "good"}, None),
        ("不新鲜", {"kind": "水果", "mood": "bad"}, None),
    ]
    assert found[1].place == f"{path}:3"


def test_json_lines_hold_numbers_as_labels_and_vectors(tmp_path):
    path = written(
        tmp_path / "a.jsonl", '{"text": "甲", "v": [1, -2.5], "n": 3}\n{"text": "乙", "v": [0, 1], "n": 4}\n'
    )
    found = read_conditioned(path, ConditionColumns(vector="v"))
    assert np.array_equal([one.vector for one in found], [[1, -2.5], [0, 1]])
    assert [dict(one.labels) for one in read_conditioned(path, ConditionColumns(labels=("n",)))] == [
        {"n": "3"},
        {"n": "4"},
    ]


def test_names_of_labels_are_parsed():
    assert parse_label_names(["mood:0=bad,1=good", "kind:a=b=c"]) == NAMES | {"kind": {"a": "b=c"}}
    for wrong in ("mood", "mood:", ":0=bad", "mood:0=bad,1", "mood:0=", "mood:0=a,0=b"):
        with pytest.raises(ValueError, match="expected column:label=name"):
            parse_label_names([wrong])


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("酒店\t1", r"a.tsv:2: expected 3 fields \(kind, mood, text\). Received: 2"),
        ("酒店\t1\t ", "a.tsv:2: 'text' is empty"),
        ("酒店\t\t好", "a.tsv:2: 'mood' must be a label"),
        ("酒店\t2\t好", r"a.tsv:2: the mood '2' has no name in label_names \(0, 1\)"),
    ],
)
def test_a_bad_line_is_named(tmp_path, line, message):
    with pytest.raises(ValueError, match=message):
        read_conditioned(written(tmp_path / "a.tsv", f"酒店\t1\t好\n{line}\n"), COLUMNS)


@pytest.mark.parametrize("vector", [[1, 2, 3], [], "x", [1, None], [1, True], [1, float("nan")]])
def test_a_bad_vector_is_named(tmp_path, vector):
    path = written(
        tmp_path / "a.jsonl", f'{{"text": "甲", "v": [1, 2]}}\n{{"text": "乙", "v": {json.dumps(vector)}}}\n'
    )
    with pytest.raises(ValueError, match=r"a.jsonl:2: 'v' (must be a list of finite numbers|has 3 numbers)"):
        read_conditioned(path, ConditionColumns(vector="v"))


def test_a_missing_column_and_columns_that_contradict_are_named(tmp_path):
    path = written(tmp_path / "a.csv", "kind,words\n酒店,好\n")
    with pytest.raises(ValueError, match=r"a.csv:1: the first line has no column 'text' .*text_column and label"):
        read_conditioned(path, ConditionColumns(labels=("kind",)))
    with pytest.raises(ValueError, match="'mood' must stand once among the names"):
        ConditionColumns(labels=("mood",), names=("text", "kind"))
    with pytest.raises(ValueError, match="'mood' is not one of the label columns"):
        ConditionColumns(labels=("kind",), label_names=NAMES)
    with pytest.raises(ValueError, match="different columns"):
        ConditionColumns(labels=("text",))


def test_vectors_are_read_from_numpy_files_and_nothing_is_unpickled(tmp_path):
    path = tmp_path / "v.npy"
    np.save(path, np.array([[1, 2], [3, 4]], "int16"))
    assert np.array_equal(read_vectors(path, 2), np.array([[1, 2], [3, 4]], "float32"))
    np.save(path, np.float64([1.5, 2]))
    assert np.array_equal(read_vectors(path), [[1.5, 2.0]])
    with pytest.raises(ValueError, match=r"expected 3 rows, one a text\. Received: 1"):
        read_vectors(path, 3)
    for array, message in (
        (np.array([[1.0, np.inf]]), "row 0 .* not finite"),
        (np.zeros((2, 2, 2)), r"\(rows, size\)"),
        (np.array(["a"]), r"\(rows, size\)"),
        (np.array([{}], dtype=object), "not a NumPy file"),
    ):
        np.save(path, array, allow_pickle=True)
        with pytest.raises(ValueError, match=message):
            read_vectors(path)
    with pytest.raises(ValueError, match="not a NumPy file"):
        read_vectors(written(tmp_path / "x.npy", "text"))
    with pytest.raises(FileNotFoundError):
        read_vectors(tmp_path / "none.npy")
