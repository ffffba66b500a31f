"""The graph, the map equation and the page; what needs infomap itself is skipped without it."""

import itertools
import json
import math
import re
import sys

import numpy as np
import pytest

from nlptasks import command
from nlptasks.applications.similarity.index import SentenceIndex
from nlptasks.backend.packages import is_installed
from nlptasks.discovery import cluster_commands
from nlptasks.discovery.communities import Graph, _by_size, find_communities, map_equation, neighbor_graph
from nlptasks.discovery.labels import typical_words
from nlptasks.discovery.page import Group, page
from nlptasks.errors import UserError
from tests.commands.scripts import assert_refused, call

pytestmark = pytest.mark.once
needs_infomap = pytest.mark.skipif(not is_installed("infomap"), reason="infomap is not installed")


def graph_of(*edges):
    ends = np.array([edge[:2] for edge in edges], "int64")
    return Graph(int(ends.max()) + 1, ends, np.array([edge[2] if len(edge) > 2 else 1.0 for edge in edges]))


TRIANGLES = graph_of((0, 1), (1, 2), (0, 2), (2, 3, 0.5), (3, 4), (4, 5), (3, 5))


def entropy(*shares):
    """In bits, of shares that need not sum to 1."""
    return -sum(share / sum(shares) * math.log2(share / sum(shares)) for share in shares if share)


def code_length(graph, communities):
    """The map equation as the article defines it: entropies of the code books, weighted by their use."""
    total = 2 * graph.weights.sum()
    visits, exits = [0.0] * graph.size, dict.fromkeys(communities, 0.0)
    for (a, b), weight in zip(graph.ends.tolist(), graph.weights.tolist(), strict=True):
        visits[a] += weight / total
        visits[b] += weight / total
        if communities[a] != communities[b]:
            exits[communities[a]] += weight / total
            exits[communities[b]] += weight / total
    between = sum(exits.values())
    length = between * entropy(*exits.values()) if between else 0.0
    for name, leaving in exits.items():
        inside = [visit for visit, of in zip(visits, communities, strict=True) if of == name]
        length += (leaving + sum(inside)) * entropy(leaving, *inside) if leaving + sum(inside) else 0.0
    return length


def test_map_equation_is_the_weighted_entropy_of_the_code_books():
    for communities in ([0] * 6, [0, 0, 0, 1, 1, 1], [5, 3, 5, 3, 5, 3], list(range(6))):
        assert map_equation(TRIANGLES, communities) == pytest.approx(code_length(TRIANGLES, communities), abs=1e-12)
    assert map_equation(TRIANGLES, [0, 0, 0, 1, 1, 1]) == pytest.approx(2.053332956, abs=1e-8)  # infomap 2.16


@needs_infomap
@pytest.mark.parametrize("seed", range(5))
def test_infomap_finds_the_best_partition_of_a_small_graph_and_its_length(seed):
    draw = np.random.default_rng(seed)
    pairs = np.array(list(itertools.combinations(range(7), 2)))
    kept = draw.random(len(pairs)) < 0.5
    graph = Graph(7, pairs[kept], draw.integers(1, 5, kept.sum()).astype("float64"))
    found = find_communities(graph, trials=7)
    assert found.bits == pytest.approx(map_equation(graph, [path[0] for path in found.paths]), abs=1e-9)
    assert found.bits_of_one == pytest.approx(map_equation(graph, [0] * 7))
    partitions = {tuple(p) for p in itertools.product(range(3), repeat=7)}  # of up to three communities
    assert found.bits <= min(map_equation(graph, partition) for partition in partitions) + 1e-9


def test_infomap_is_loaded_before_usearch(monkeypatch):
    monkeypatch.setattr("nlptasks.discovery.communities.require_packages", lambda name: None)
    monkeypatch.setitem(sys.modules, "usearch", sys)
    monkeypatch.delitem(sys.modules, "infomap", raising=False)
    with pytest.raises(UserError, match="import infomap first"):
        find_communities(TRIANGLES)


def test_neighbors_are_joined_once_and_not_to_themselves():
    neighbors = np.array([[0, 1, 2], [1, 0, 2], [2, 0, 1]])
    cosines = np.array([[1, 0.9, 0.4], [1, 0.9, 0.6], [1, 0.4, 0.6]])
    graph = neighbor_graph(neighbors, cosines, 0.5)
    assert graph.size == 3
    assert dict(zip(map(tuple, graph.ends.tolist()), graph.weights.tolist(), strict=True)) == {(0, 1): 0.9, (1, 2): 0.6}
    assert len(neighbor_graph(neighbors, -cosines, -1).ends) == 0


def test_communities_are_numbered_by_size_on_each_level():
    paths = [(1, 1), (2, 1), (2, 1), (2, 2), (2, 2), (2, 2)]
    assert _by_size(paths) == [(2, 1), (1, 2), (1, 2), (1, 1), (1, 1), (1, 1)]


def test_typical_words_tell_a_group_from_the_rest():
    texts = [["手机", "很", "好"], ["手机", "不", "好"], ["天气", "很", "好"], ["天气", "！"]]
    assert typical_words(texts, [0, 0, 1, 1], 1) == {0: ["手机"], 1: ["天气"]}
    assert typical_words([["，"]], [0]) == {0: []}


def test_page_holds_everything_and_no_text_is_code():
    groups = [
        Group(name, [f"{name}一<script>", "乙</script>"], size, np.eye(3)[size % 3])
        for size, name in ((9, "a<b"), (4, "山"))
    ]
    shown = page("标题 & <i>", "两组", groups)
    assert re.findall(r"(?:src|href)=", shown) == []
    assert "<h1>标题 &amp; &lt;i&gt;</h1>" in shown
    data = re.search(r'id="data">(.*?)</script>', shown, re.DOTALL)[1]
    assert [(row["name"], row["size"], row["texts"][0]) for row in json.loads(data)] == [
        ("a<b", 9, "a<b一<script>"),
        ("山", 4, "山一<script>"),
    ]
    circles = [tuple(map(float, found)) for found in re.findall(r'cx="(.*?)" cy="(.*?)" r="(.*?)"', shown)]
    (x, y, r), (u, v, s) = circles
    assert math.hypot(x - u, y - v) > r + s - 1
    assert page("a", "b", []).count("<circle") == 0


@needs_infomap
def test_cluster_writes_table_summary_and_page(tmp_path):
    lines = [f"怎样{act}{what}密码" for act in ("修改", "找回", "重置", "设置") for what in ("登录", "支付", "银行卡")]
    lines += [f"{day}{place}会下雨吗" for day in ("今天", "明天", "后天", "周末") for place in ("北京", "上海", "山里")]
    path, output = tmp_path / "lines.txt", tmp_path / "out"
    path.write_text("\n".join(lines), encoding="utf-8")
    done = call(
        command, "cluster", "--input", path, "--output", output, "--neighbors", 5, "--min-cosine", 0.3, "--json"
    )
    assert done.status == 0, done.err
    rows = [line.split("\t") for line in (output / "communities.tsv").read_text(encoding="utf-8").splitlines()]
    assert [row[2] for row in rows] == lines
    assert not {row[0] for row in rows[:12]} & {row[0] for row in rows[12:]}
    summary = json.loads((output / "communities.json").read_text(encoding="utf-8"))
    assert sum(group["size"] for group in summary) == len(lines)
    assert all(any(word in group["sentence"] for word in group["words"]) for group in summary)
    told = json.loads(done.out.splitlines()[-1])
    assert told["communities"] == len(summary)
    assert told["bits"] < told["bits_of_one"]
    assert "密码" in (output / "communities.html").read_text(encoding="utf-8")


@needs_infomap
def test_an_interrupted_cluster_command_goes_on(tmp_path, monkeypatch):
    monkeypatch.setattr(cluster_commands, "QUERIES_AT_ONCE", 3)
    lines = [f"{day}{place}会下雨吗" for day in ("今天", "明天", "后天", "周末") for place in ("北京", "上海")]
    (tmp_path / "lines.txt").write_text("\n".join(lines), encoding="utf-8")

    def cluster(name, *more):
        shared = ("--input", tmp_path / "lines.txt", "--output", tmp_path / name, "--neighbors", 3)
        return call(command, "cluster", *shared, *more)

    assert cluster("whole").status == 0
    searched = []

    def nearest(index, queries, k, found=SentenceIndex.nearest):
        searched.append(len(queries))
        if len(searched) == 3:
            raise KeyboardInterrupt
        return found(index, queries, k)

    monkeypatch.setattr(SentenceIndex, "nearest", nearest)
    assert cluster("parts").status == 130
    assert_refused(cluster("parts"), "interrupted: holds an interrupted job; --resume goes on with it, or remove it.")
    assert cluster("parts", "--resume").status == 0
    assert searched == [3, 3, 2, 2]
    names = ["communities.html", "communities.json", "communities.tsv"]
    assert sorted(path.name for path in (tmp_path / "parts").iterdir()) == names
    for name in names:
        assert (tmp_path / "parts" / name).read_bytes() == (tmp_path / "whole" / name).read_bytes()


def test_what_is_wrong_with_a_cluster_command_is_said(tmp_path, monkeypatch):
    monkeypatch.setattr("nlptasks.discovery.cluster_commands.Cluster.packages", lambda self: ())
    shared = ("cluster", "--input", tmp_path / "none.txt", "--output", tmp_path)
    assert_refused(call(command, *shared), "no such file")
    assert_refused(call(command, *shared, "--neighbors", 0), "--neighbors must be at least 1. Received: 0.")
    assert_refused(call(command, *shared, "--min-cosine", 2), "--min-cosine must lie in [-1, 1]. Received: 2.0.")
