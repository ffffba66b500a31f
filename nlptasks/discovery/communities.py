"""Communities of sentences: a graph of nearest neighbors, and the groups in which a random walk on it stays.

The communities are those of the `infomap` package (mapequation.org; GPL-3.0-or-later as version 2.16 states, AGPL
before), which is installed on its own. Legend: N nodes, E edges.
"""

import importlib
import sys
from collections.abc import Sequence
from types import ModuleType
from typing import NamedTuple

import numpy as np

from nlptasks.backend.packages import require_packages
from nlptasks.errors import UserError

QUERIES_AT_ONCE = 4096


class Graph(NamedTuple):
    """An undirected graph.

    Attributes:
        size: N.
        ends: int64 (E, 2), the smaller number first, each pair once.
        weights: float64 (E,), positive.
    """

    size: int
    ends: np.ndarray
    weights: np.ndarray


class Communities(NamedTuple):
    """What Infomap found.

    Attributes:
        paths: for each node its community, from the top level down: (1,), or (1, 3) in the third part of the first.
        flow: for each node the share of its time that a random walk spends there.
        bits: length of the code, in bits a step.
        bits_of_one: the same, with all nodes in one community.
    """

    paths: list[tuple[int, ...]]
    flow: np.ndarray
    bits: float
    bits_of_one: float


def neighbor_graph(neighbors: np.ndarray, cosines: np.ndarray, least: float) -> Graph:
    """Joins each node to its nearest ones.

    Args:
        neighbors: int64 (N, k), numbers of nodes; the node itself, if it is among them, is passed over.
        cosines: their cosines (N, k); the weights of the edges.
        least: pairs with a smaller cosine, or one that is not positive, are not joined.
    """
    size = len(neighbors)
    first = np.repeat(np.arange(size), neighbors.shape[1])
    second, weights = neighbors.ravel().astype("int64"), cosines.ravel().astype("float64")
    kept = (first != second) & (weights >= least) & (weights > 0)
    low, high = np.minimum(first, second)[kept], np.maximum(first, second)[kept]
    _, once = np.unique(low * size + high, return_index=True)
    return Graph(size, np.stack([low, high], axis=1)[once], weights[kept][once])


def find_communities(graph: Graph, hierarchical: bool = False, trials: int = 3, seed: int = 1) -> Communities:
    """The communities of a graph; a node without edges is one of its own.

    Args:
        graph: the graph.
        hierarchical: communities of communities, as many levels as make the code shorter; otherwise one level.
        trials: searches from different beginnings, of which the best counts.
        seed: of these.

    Raises:
        MissingPackageError: infomap is not installed.
        UserError: usearch was loaded before it.
    """
    infomap = load_infomap()
    search = infomap.Infomap(silent=True, two_level=not hierarchical, seed=seed, num_trials=trials)
    search.add_nodes(range(graph.size))
    if len(graph.ends):
        search.add_links(np.column_stack([graph.ends, graph.weights]))
    result = search.run()
    paths: list[tuple[int, ...]] = [()] * graph.size
    flow = np.zeros(graph.size)
    for node in result.nodes(states=True):
        paths[node.node_id], flow[node.node_id] = tuple(node.path[:-1]), node.flow
    bits = float(result.codelength)
    return Communities(_by_size(paths), flow, bits, map_equation(graph, [0] * graph.size))


def load_infomap() -> ModuleType:
    """The package, which only who asks for communities has. It does not work where usearch was loaded before it.

    Raises:
        MissingPackageError: it is not installed.
        UserError: usearch was loaded before it.
    """
    require_packages("infomap")
    if "usearch" in sys.modules and "infomap" not in sys.modules:
        raise UserError("infomap fails where usearch was loaded before it: import infomap first.")
    return importlib.import_module("infomap")


def map_equation(graph: Graph, communities: Sequence[int]) -> float:
    """The length, in bits a step, of a code for a random walk on an undirected graph, of two levels.

    Rosvall and Bergstrom, PNAS 2008: with q_i the share of steps that leave community i, q their sum, and p_a the share
    of time at node a, it is f(q) - 2 sum f(q_i) - sum f(p_a) + sum f(q_i + sum of p_a in i), where f(x) = x log2 x.

        graph = Graph(2, np.array([[0, 1]]), np.array([1.0]))
        map_equation(graph, [0, 0])  # 1.0
    """
    total = 2 * graph.weights.sum()
    visits = np.bincount(graph.ends.ravel(), np.repeat(graph.weights, 2), graph.size) / (total or 1)
    _, numbers = np.unique(np.asarray(communities), return_inverse=True)
    leaves = numbers[graph.ends[:, 0]] != numbers[graph.ends[:, 1]]
    count = int(numbers.max()) + 1
    exits = np.bincount(numbers[graph.ends[leaves]].ravel(), np.repeat(graph.weights[leaves], 2), count) / (total or 1)
    inside = np.bincount(numbers, visits, count)
    return float(_f(exits.sum()) - 2 * _f(exits).sum() - _f(visits).sum() + _f(exits + inside).sum())


def _f(values: np.ndarray) -> np.ndarray:
    values = np.asarray(values, "float64")
    return values * np.log2(np.where(values > 0, values, 1.0))


def _by_size(paths: list[tuple[int, ...]]) -> list[tuple[int, ...]]:
    """The same communities, on each level numbered by size, the largest first."""
    sizes: dict[tuple[int, ...], int] = {}
    for path in paths:
        for depth in range(1, len(path) + 1):
            sizes[path[:depth]] = sizes.get(path[:depth], 0) + 1
    names: dict[tuple[int, ...], tuple[int, ...]] = {(): ()}
    seen: dict[tuple[int, ...], int] = {}
    for path in sorted(sizes, key=lambda path: (len(path), -sizes[path], path)):
        seen[path[:-1]] = seen.get(path[:-1], 0) + 1
        names[path] = (*names[path[:-1]], seen[path[:-1]])
    return [names[path] for path in paths]
