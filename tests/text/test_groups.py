"""Groups from files: chained, held out, left out, and what the reader says about them."""

import gzip

import numpy as np
import pytest

from nlptasks.text.groups import groups_of, read_groups, read_pairs

PAIRS = "甲一\t甲二\t1\n乙一\t乙二\t1\n甲三\t甲二\t1\n甲一\t乙一\t0\n丙一\t丙二\t0\n"


def write(path, text):
    path.write_bytes(text.encode("utf-8"))
    return path


def as_sets(groups):
    return {frozenset(np.array(groups.sentences)[groups.labels == g]) for g in range(groups.count)}


def test_positive_pairs_are_chained_into_groups(tmp_path):
    groups = read_groups([write(tmp_path / "p.tsv", PAIRS)])
    assert as_sets(groups) == {frozenset({"甲一", "甲二", "甲三"}), frozenset({"乙一", "乙二"})}
    assert groups.notes[0].endswith("p.tsv: 3 of 5 pairs have the same meaning and make 2 groups")


def test_a_long_chain_is_one_group(tmp_path, rng):
    links = [f"s{i}\ts{i + 1}\t1\n" for i in range(3000)]
    rng.shuffle(links)
    assert read_groups([write(tmp_path / "p.tsv", "".join(links))]).count == 1


def test_groups_of_several_files_stay_apart_and_doubles_are_counted(tmp_path):
    first = write(tmp_path / "a.tsv", "1\t甲\n2\t乙\n1\t丙\n1\t甲\n3\t丁\n")
    second = tmp_path / "b.tsv.gz"
    second.write_bytes(gzip.compress("1\t戊\n1\t甲\n".encode()))
    groups = read_groups([first, second])
    assert as_sets(groups) == {frozenset("甲丙"), frozenset("乙"), frozenset("丁"), frozenset("戊甲")}
    assert len(groups.sentences) == 6
    assert groups.notes == [
        f"{first}, {second}: 6 sentences in 4 groups, 2 groups of one sentence, 1 sentences in more than one group"
    ]


def test_sentences_left_out_take_their_pairs_with_them(tmp_path):
    groups = read_groups([write(tmp_path / "p.tsv", PAIRS)], ["甲二"])
    assert as_sets(groups) == {frozenset({"乙一", "乙二"})}
    groups = read_groups([write(tmp_path / "g.tsv", "1\t甲\n1\t乙\n1\t丙\n")], ["乙"])
    assert as_sets(groups) == {frozenset("甲丙")}


def test_held_out_groups_share_no_sentence_with_the_rest(tmp_path):
    lines = "".join(f"{g}\t句{g}{s}\n" for g in range(23) for s in "一二三") + "22\t句4一\n"
    kept, out = read_groups([write(tmp_path / "g.tsv", lines)]).hold_out(5)
    assert as_sets(out) == {frozenset(f"句{g}{s}" for s in "一二三") for g in (4, 9, 14, 19)}
    assert kept.count == 19
    assert not set(kept.sentences) & set(out.sentences)
    assert sorted(set(kept.labels.tolist())) == list(range(19))


def test_pairs_are_read_with_their_labels(tmp_path):
    pairs = read_pairs(write(tmp_path / "p.tsv", PAIRS))
    assert (pairs.first[2], pairs.second[2], pairs.labels.tolist()) == ("甲三", "甲二", [1, 1, 1, 0, 0])


@pytest.mark.parametrize(
    ("content", "text"),
    [
        (b"", "bad.tsv: the file is empty"),
        (b"\n \n", "bad.tsv: the file is empty"),
        (
            "1\t甲\n1\t乙\n1\t".encode() + "丙".encode("gb18030") + b"\n",
            r"bad.tsv:3: expected UTF-8. Received: byte 0x",
        ),
        ("1\t甲\n1 乙\n".encode(), r"bad.tsv:2: expected 2 tab-separated fields \(group, text\). Received: 1"),
        ("甲\n".encode(), r"bad.tsv:1: expected `group TAB text` or `text TAB text TAB 0 or 1`. Received: 1 fields"),
        ("1\t甲\n1\t \n".encode(), "bad.tsv:2: a sentence is empty; write it or remove the line"),
        ("1\t甲\n\t乙\n".encode(), "bad.tsv:2: the group is empty; give it a name"),
        ("1\t甲\n2\t乙\n".encode(), "bad.tsv: no group has two sentences"),
        (
            "甲\t乙\t1\n甲\t乙\t2\n".encode(),
            r"bad.tsv:2: the third field must be 1 \(same meaning\) or 0. Received: '2'",
        ),
        ("甲\t乙\t0\n".encode(), "bad.tsv: no group has two sentences"),
    ],
)
def test_a_bad_file_is_one_line_that_names_the_place(tmp_path, content, text):
    path = tmp_path / "bad.tsv"
    path.write_bytes(content)
    with pytest.raises(ValueError, match=text) as error:
        read_groups([path])
    assert "\n" not in str(error.value)


def test_groups_in_memory_are_those_of_a_file(tmp_path):
    groups = [["甲一", "甲二", "甲一"], ["乙一"], ["丙一", "丙二"]]
    lines = "".join(f"{number}\t{sentence}\n" for number, group in enumerate(groups) for sentence in group)
    read = read_groups([write(tmp_path / "g.tsv", lines)], ["丙一", "乙一"])
    made = groups_of(groups, ["丙一", "乙一"])
    assert made.sentences == read.sentences == ["甲一", "甲二", "丙二"]
    assert made.labels.tolist() == read.labels.tolist() == [0, 0, 1]
    with pytest.raises(ValueError, match=r"no group has two sentences; a group holds sentences that mean the same"):
        groups_of(groups, ["甲一", "丙一"])
    with pytest.raises(ValueError, match=r"no group has two sentences"):
        groups_of([])
    with pytest.raises(ValueError, match=r"group 2: a sentence is empty"):
        groups_of([["甲", "乙"], ["丙", " "]])
    with pytest.raises(TypeError, match=r"group 1: expected the sentences of a group. Received: '甲一'"):
        groups_of(["甲一"])
