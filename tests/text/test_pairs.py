"""Sources with their targets: every format gives the same, equal sources are one, mistakes name their place."""

import gzip
import json

import pytest

from nlptasks.text.pairs import PairColumns, SourceText, given_pairs, read_pairs, read_sources

pytestmark = pytest.mark.once
COLUMNS = PairColumns(source="abst", target="title")
ROWS = [("山上下雪。", "雪"), ("河边起风。", "风"), ("山上下雪。", "山雪")]
EXPECTED = [("山上下雪。", ("雪", "山雪")), ("河边起风。", ("风",))]


def found(path, columns=COLUMNS):
    return [(pair.source, pair.targets) for pair in read_pairs(path, columns)]


def test_every_format_gives_the_same_and_equal_sources_are_one(tmp_path):
    objects = [json.dumps({"abst": a, "title": t, "id": 1}, ensure_ascii=False) for a, t in ROWS]
    (tmp_path / "a.jsonl").write_text("\n".join(objects), encoding="utf-8")
    (tmp_path / "a.tsv").write_text("title\tabst\n" + "".join(f"{t}\t{a}\n" for a, t in ROWS), encoding="utf-8")
    (tmp_path / "a.csv.gz").write_bytes(
        gzip.compress(("abst,title\n" + "".join(f"{a},{t}\n" for a, t in ROWS)).encode())
    )
    (tmp_path / "bare.tsv").write_text("".join(f"{a}\t{t}\n" for a, t in ROWS), encoding="utf-8")
    several = [{"abst": a, "title": list(t)} for a, t in EXPECTED]
    (tmp_path / "b.json").write_text(json.dumps(several), encoding="utf-8")
    for name in ("a.jsonl", "a.tsv", "a.csv.gz", "b.json"):
        assert found(tmp_path / name) == EXPECTED, name
        assert read_sources(tmp_path / name, COLUMNS) in ([a for a, _ in ROWS], [a for a, _ in EXPECTED])
    bare = PairColumns(source="abst", target="title", names=("abst", "title"))
    assert found(tmp_path / "bare.tsv", bare) == EXPECTED
    assert read_pairs(tmp_path / "a.jsonl", COLUMNS)[1].place.endswith("a.jsonl:2")


def test_sources_alone_are_the_lines_of_a_text(tmp_path):
    (tmp_path / "a.txt").write_text("山上\n\n河边\tb\n", encoding="utf-8")
    assert read_sources(tmp_path / "a.txt") == ["山上", "河边\tb"]


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("a.jsonl", '{"abst": "山"}', r"a\.jsonl:1: the key 'title' is missing. Received: 'abst'; add it"),
        ("a.jsonl", '{"abst": " ", "title": "山"}', r"a\.jsonl:1: 'abst' is empty; write the text"),
        ("a.jsonl", '{"abst": "山", "title": ["雪", ""]}', r"a\.jsonl:1: 'title' is empty"),
        ("a.jsonl", '{"abst": "山", "title": []}', r"a\.jsonl:1: 'title' is an empty list"),
        ("a.jsonl", '{"abst": 3, "title": "山"}', r"a\.jsonl:1: 'abst' must be a string. Received: a number"),
        (
            "a.tsv",
            "abst\twords\n山\t雪\n",
            r"a\.tsv:1: the first line has no column 'title' \(it reads 'abst',",
        ),
        ("a.tsv", "abst\ttitle\n", r"a\.tsv: the file holds a header and no text"),
        ("a.tsv", "abst\ttitle\n山\n", r"a\.tsv:2: expected 2 fields"),
    ],
)
def test_a_mistake_names_its_place(name, text, message, tmp_path):
    (tmp_path / name).write_text(text, encoding="utf-8")
    with pytest.raises(ValueError, match=message):
        read_pairs(tmp_path / name, COLUMNS)


def test_pairs_of_a_program_are_those_of_a_file():
    assert given_pairs(["山", "河"], ["雪", ["风", "雨"]]) == [
        SourceText("山", ("雪",), "item 0"),
        SourceText("河", ("风", "雨"), "item 1"),
    ]
    for sources, targets, message in (
        (["山"], [], "Received: 1 sources, 0 targets"),
        (["山", ""], ["雪", "风"], "item 1: 'source' is empty"),
        (["山"], [[]], "item 0: 'target' is an empty list"),
        (["山"], [["雪", None]], "item 0: 'target' must be a string"),
    ):
        with pytest.raises(ValueError, match=message):
            given_pairs(sources, targets)
    with pytest.raises(ValueError, match=r"must be two columns\. Received: 'a' for both"):
        PairColumns(source="a", target="a")
