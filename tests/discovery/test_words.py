"""Words of raw text, beside the same procedure written with dictionaries."""

import math
import random
from collections import Counter
from itertools import pairwise

import numpy as np
import pytest

from nlptasks.discovery import passes
from nlptasks.discovery.characters import keys_of, packed, spell
from nlptasks.discovery.counting import Counter as SpillingCounter
from nlptasks.discovery.counting import count_keys, merge
from nlptasks.discovery.freedom import freedom
from nlptasks.discovery.lexicon import by_length
from nlptasks.discovery.passes import Corpus
from nlptasks.discovery.words import WordRules, discover
from nlptasks.errors import UserError
from nlptasks.pretraining.corpus import CorpusFormat, Span, plan_units, read_blocks, read_documents

pytestmark = pytest.mark.once
LEXICON = [
    "山",
    "水",
    "河流",
    "沿着",
    "图书馆",
    "自行车",
    "马铃薯",
    "电视节目",
    "自然语言处理",
    "ABC",
    "2024",
    "卡拉OK",
]


@pytest.fixture(scope="module")
def lines():
    """Sentences of invented grammar: words in any order, with commas."""
    draw = random.Random(7)
    weights = [9, 8, 6, 5, 4, 4, 3, 3, 2, 2, 2, 2]
    return ["".join(draw.choices([*LEXICON, "，"], [*weights, 6], k=draw.randint(3, 11))) for _ in range(900)]


@pytest.fixture(scope="module")
def path(lines, tmp_path_factory):
    path = tmp_path_factory.mktemp("corpus") / "lines.txt"
    path.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")
    return path


def found(path, folder, unit_bytes=1 << 20, rules=None, **options):
    units = plan_units([(str(path), path.stat().st_size)], unit_bytes)
    return discover(Corpus(units, CorpusFormat(), folder, **options), rules or WordRules(min_length=1))


def is_run(a, b):
    return all(c.isascii() for c in a + b) and a.isalpha() == b.isalpha()


def best_parts(word, counts, total):
    """The most probable division of a word into shorter ones, and its log-probability."""
    best = {0: (0.0, ())}
    for end in range(1, len(word) + 1):
        if end < len(word) and is_run(word[end - 1], word[end]):
            continue
        options = []
        for start in best:
            part = word[start:end]
            if part != word and (part in counts or len(part) == 1):
                score = math.log(counts[part]) if part in counts else 0.0
                options.append((best[start][0] + score - math.log(total), (*best[start][1], part)))
        if options:
            best[end] = max(options)
    return best.get(len(word), (-math.inf, ()))


def plain_words(lines, min_count=5, min_information=1.0):
    """The definition, with dictionaries of strings."""
    pieces = ["".join(c if c != "，" else " " for c in line).split() for line in lines]
    pieces = [piece for line in pieces for piece in line]
    characters = Counter(c for piece in pieces for c in piece)
    pairs = Counter(piece[i : i + 2] for piece in pieces for i in range(len(piece) - 1))
    strong = set()
    for pair, count in pairs.items():
        joint = math.log(count / pairs.total())
        alone = sum(math.log(characters[c] / characters.total()) for c in pair)
        if count >= min_count and joint - alone > min_information:
            strong.add(pair)
    fragments = Counter()
    for piece in pieces:
        fragment = piece[0]
        for a, b in pairwise(piece):
            if a + b in strong or is_run(a, b):
                fragment += b
            else:
                fragments[fragment] += 1
                fragment = b
        fragments[fragment] += 1
    counts = {word: count for word, count in fragments.items() if count >= min_count and len(word) <= 16}
    for length in sorted({len(word) for word in counts}, reverse=True):
        if length == 1:
            break
        total, former = sum(counts.values()), dict(counts)
        for word in [word for word in former if len(word) == length]:
            score, parts = best_parts(word, former, total)
            if math.log(former[word] / total) - score < length - 1:
                del counts[word]
                for part in parts:
                    if part in counts:
                        counts[part] += former[word]
    return counts


def test_words_and_counts_are_those_of_the_definition(lines, path, tmp_path):
    words = found(path, tmp_path / "work")
    assert {word.word: word.frequency for word in words} == {
        word: count for word, count in plain_words(lines).items() if not word.isdigit()
    }
    assert {word for word in LEXICON if len(word) > 1 and not word.isdigit()} <= {word.word for word in words}
    assert [word.frequency for word in words] == sorted((word.frequency for word in words), reverse=True)


def same_words(some, others):
    assert [word[:2] for word in some] == [word[:2] for word in others]
    assert [word[2:] for word in some] == [pytest.approx(word[2:]) for word in others]


def test_small_memory_and_small_units_change_nothing(path, tmp_path, monkeypatch):
    rules = WordRules(freedom=True)
    whole = found(path, tmp_path / "a", rules=rules)
    monkeypatch.setattr(passes, "CHUNK", 301)
    same_words(found(path, tmp_path / "b", 1 << 12, rules, rows=23), whole)
    assert len(list((tmp_path / "b").glob("pairs-000000-pairs-*.npy"))) > 1  # it did spill


def test_several_processes_count_the_same(path, tmp_path):
    units = plan_units([(str(path), path.stat().st_size)], 1 << 14)
    assert len(units) > 1
    counted = {}
    for processes in (1, 2):
        corpus = Corpus(units, CorpusFormat(), tmp_path / f"{processes}", processes)
        numbers, runs = corpus.read("pairs", passes.count_pairs)
        counted[processes] = [numbers, *(row.tolist() for run in runs("pairs") for row in run)]
    assert counted[1] == counted[2]


def test_an_interrupted_job_reads_only_what_is_missing(path, tmp_path, monkeypatch):
    whole = found(path, tmp_path / "a", 1 << 13)
    (tmp_path / "a" / "fragments-000001.json").unlink()
    told = []
    monkeypatch.setattr("nlptasks.discovery.passes.count_pairs", None)  # nobody counts pairs again
    assert found(path, tmp_path / "a", 1 << 13, tell=lambda *what: told.append(what)) == whole
    count = len(list((tmp_path / "a").glob("pairs-*.json")))
    assert told == [("pairs", count, count), ("fragments", count - 1, count), ("fragments", count, count)]


def test_freedom_is_the_entropy_of_neighbors_on_either_side(tmp_path):
    path = tmp_path / "a.txt"
    path.write_text("甲图书馆乙\n丙图书馆乙\n丁图书馆戊\n甲图书馆图书馆乙\n", encoding="utf-8")
    units = np.frombuffer("图书馆".encode("utf-16-le"), "uint16")
    lexicon = by_length(np.stack(keys_of(packed(units), np.array([0]), np.array([3]), 1)), np.array([1]))
    left, right = freedom(Corpus(plan_units([(str(path), 99)], 1 << 20), CorpusFormat(), tmp_path), lexicon)[3][:, 0]
    shares = {"left": (2, 1, 1, 1), "right": (3, 1, 1)}
    expected = {side: -sum(n / 5 * math.log(n / 5) for n in counts) for side, counts in shares.items()}
    assert {"left": left, "right": right} == pytest.approx(expected)


def test_runs_of_digits_and_letters_are_never_cut(tmp_path):
    path = tmp_path / "a.txt"
    path.write_text("在2023年\n在2024年\n在2019年\n用abcd写\n用abce写\n" * 7, encoding="utf-8")
    words = {word.word for word in found(path, tmp_path / "work")}
    assert not any(len(word) < 4 for word in words if word.isascii())
    assert not any(word.isdigit() for word in words)


def test_text_without_words_is_refused(tmp_path):
    path = tmp_path / "a.txt"
    path.write_text("，。！\n山\n", encoding="utf-8")
    with pytest.raises(UserError, match="no two neighboring characters"):
        found(path, tmp_path / "work")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"min_count": 0}, "min_count must be at least 1. Received: 0"),
        ({"min_length": 5, "max_length": 3}, "max_length must be at least min_length. Received: 3 and 5"),
        ({"min_freedom": 0.5}, "min_freedom goes with freedom"),
        ({"min_information": math.nan}, "min_information must be a number"),
        ({"min_probability": 2.0}, "min_probability must lie in"),
    ],
)
def test_rules_out_of_range_are_refused(options, message):
    with pytest.raises(UserError, match=message):
        WordRules(**options)


def test_words_are_packed_and_spelled():
    units = np.frombuffer("自然语言处理好".encode("utf-16-le"), "uint16")
    for length in (1, 3, 4, 5, 7):
        keys = np.stack(keys_of(packed(units), np.array([0]), np.array([length]), -(-length // 4)))
        assert spell(keys, length) == ["自然语言处理好"[:length]]


@pytest.mark.parametrize("columns", [1, 2])
def test_spilled_counts_are_the_counts(columns, tmp_path):
    draw = np.random.default_rng(5)
    counters, expected = [SpillingCounter(tmp_path / f"part{n}", 41) for n in range(3)], Counter()
    for turn in range(30):
        keys = draw.integers(0, 19, (columns, 17)).astype("uint64") << np.uint64(40)
        expected.update(map(tuple, keys.T.tolist()))
        counters[turn % 3].add(count_keys(*keys))
    for counter in counters:
        counter.close()
    for rows in (7, 1000):
        merged = np.concatenate(list(merge(sorted(tmp_path.glob("part*.npy")), rows)), axis=1)
        assert {tuple(row[:-1]): row[-1] for row in merged.T.tolist()} == expected
        assert sorted(merged.T.tolist()) == merged.T.tolist()


@pytest.mark.parametrize("form", ["text", "jsonl"])
def test_blocks_hold_the_lines_of_a_unit(form, tmp_path):
    lines = [f"第{'〇' * (n % 13)}{n}行" for n in range(101)]
    path = tmp_path / "a"
    path.write_text("".join((f'{{"text": "{x}"}}' if form == "jsonl" else x) + "\n" for x in lines), encoding="utf-8")
    size = path.stat().st_size
    for unit in ((Span(str(path)),), (Span(str(path), 0, size // 3),), (Span(str(path), size // 3, size),)):
        blocks = list(read_blocks(unit, CorpusFormat(format=form), 97))
        assert len(blocks) > 1 or not unit[0].end
        joined = "\n".join(block.removesuffix("\n") for block in blocks)
        assert joined.split("\n") == list(read_documents(unit, CorpusFormat(format=form)))
    if form == "text":
        path.write_bytes(b"a\n" * 50 + b"\xff\n" + b"a\n" * 50)
        with pytest.raises(ValueError, match=r":51: expected UTF-8\. Received: byte 0xff at byte offset 100"):
            list(read_blocks((Span(str(path), 10, 200),), CorpusFormat(format=form), 32))
