"""Search is handed a table, not a model: what it finds is compared with every sequence there is."""

import itertools

import numpy as np
import pytest

from nlptasks.generate.constraints import SubstringConstraint
from nlptasks.generate.search import beam_search

END, V, MOST = 2, 5, 4


class Table:
    """Log scores of the next token given all tokens so far, drawn once for each prefix; samples differ."""

    def __init__(self, seed):
        self.seed, self.known = seed, {}

    def __getitem__(self, prefix):
        if prefix not in self.known:
            random = np.random.default_rng([self.seed, len(prefix), *prefix])
            p = random.random(V) ** 3
            self.known[prefix] = np.log(p / p.sum())
        return self.known[prefix]

    def score(self, sequence):
        return sum(self[sequence[:i]][token] for i, token in enumerate(sequence))


class Steps:
    """The step function over one table a sample; it follows the beams as a cache would."""

    def __init__(self, tables, beams):
        self.tables, self.prefixes = tables, [[()] * beams for _ in tables]

    def __call__(self, tokens, parents):
        if tokens is not None:
            self.prefixes = [
                [rows[parents[q, k]] + (int(tokens[q, k]),) for k in range(len(rows))]
                for q, rows in enumerate(self.prefixes)
            ]
        return np.array([[table[p] for p in rows] for table, rows in zip(self.tables, self.prefixes, strict=True)])


def every_sequence():
    others = [i for i in range(V) if i != END]
    for n in range(MOST + 1):
        for body in itertools.product(others, repeat=n):
            if n < MOST:
                yield (*body, END)
            else:
                yield body


def found(tables, beams):
    return beam_search(Steps(tables, beams), len(tables), END, MOST, beams)


def test_a_wide_beam_finds_the_best_of_all_sequences():
    tables = [Table(seed) for seed in range(7)]
    for table, hypothesis in zip(tables, found(tables, 200), strict=True):
        best = max(every_sequence(), key=table.score)
        assert tuple(hypothesis.tokens) == tuple(t for t in best if t != END)
        assert hypothesis.score == pytest.approx(table.score(best))


def test_greedy_takes_the_best_token_each_time():
    tables = [Table(seed) for seed in range(20, 31)]
    for table, hypothesis in zip(tables, found(tables, 1), strict=True):
        prefix = ()
        while len(prefix) < MOST and END not in prefix:
            prefix += (int(table[prefix].argmax()),)
        assert hypothesis.tokens == [t for t in prefix if t != END]


@pytest.mark.parametrize("beams", [1, 3])
def test_a_sample_finds_the_same_whatever_else_is_in_the_batch(beams):
    tables = [Table(seed) for seed in range(40, 53)]
    alone = [found([table], beams)[0] for table in tables]
    assert found(tables, beams) == alone


def test_every_choice_is_told_the_last_one_included():
    told = []
    tables = [Table(3)]
    steps = Steps(tables, 2)
    hypothesis = beam_search(steps, 1, END, MOST, 2, on_choice=lambda tokens, parents: told.append((tokens, parents)))[
        0
    ]
    prefixes = [(), ()]
    for tokens, parents in told:
        prefixes = [prefixes[parents[0, k]] + (int(tokens[0, k]),) for k in range(2)]
    assert [t for t in prefixes[0] if t != END] == hypothesis.tokens


def test_a_substring_constraint_allows_what_continues_some_text():
    texts = [[4, 7, 4, 9], [7, 5]]
    constraint = SubstringConstraint(texts)
    assert constraint.allowed().tolist() == [4, 5, 7, 9]
    after = constraint.after(7)
    assert after.allowed().tolist() == [4, 5]
    assert after.after(4).allowed().tolist() == [9]
    assert after.after(5).allowed().tolist() == []  # the text ends there, nothing crosses to another
    assert constraint.after(9).allowed().tolist() == []
    assert SubstringConstraint([]).allowed().tolist() == []


def test_a_substring_constraint_equals_brute_force(rng):
    texts = [rng.integers(0, 4, n).tolist() for n in (9, 1, 6)]
    for length in range(4):
        for prefix in itertools.product(range(4), repeat=length):
            constraint = SubstringConstraint(texts)
            for token in prefix:
                constraint = constraint.after(token)
            expected = {
                text[i + length]
                for text in texts
                for i in range(len(text) - length)
                if tuple(text[i : i + length]) == prefix
            }
            assert set(constraint.allowed().tolist()) == expected
