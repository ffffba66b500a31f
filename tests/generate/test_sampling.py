"""Draws follow the distribution that temperature, top-k and the nucleus leave, and nothing else in the batch."""

import numpy as np
import pytest

from nlptasks.generate import Sampling
from nlptasks.generate import sampling as sampling_module
from tests.generate.tables import compiled, log_softmax, run
from tests.golden.search_cases import END, MOST, NODES, V, table

DRAWS = 20_000
# the 99.9 % quantiles of chi-square with 1 to 10 degrees of freedom
QUANTILES = (10.828, 13.816, 16.266, 18.467, 20.515, 22.458, 24.322, 26.124, 27.877, 29.588)
P = np.array([0.3, 0.02, 0.05, 0.25, 0.08, 0.1, 0.2])


def expected(temperature, top_k, top_p):
    """The distribution, straight from the definitions."""
    p = P ** (1 / temperature)
    p /= p.sum()
    order = np.argsort(-p)
    keep = order[: top_k or V]
    q = np.zeros(V)
    q[keep] = p[keep] / p[keep].sum()
    if top_p:
        total, kept = 0.0, []
        for token in keep:
            kept.append(token)
            total += q[token]
            if total >= top_p:
                break
        q[[t for t in range(V) if t not in kept]] = 0
    return q / q.sum()


@pytest.fixture(scope="module", params=[2, 256])  # below and above the size of the nucleus: both ways to find it
def few(request):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sampling_module, "FEW_CANDIDATES", request.param)
        compiled.cache_clear()
        yield
    compiled.cache_clear()


@pytest.mark.parametrize(
    ("temperature", "top_k", "top_p"),
    [
        (1.0, None, None),
        (0.7, None, None),
        (1.0, 3, None),
        (1.0, None, 0.7),
        (1.5, None, 0.9),
        (1.3, 5, 0.8),
        (1, 9, 1),
    ],
)
@pytest.mark.on_jax
def test_draws_follow_the_truncated_distribution(temperature, top_k, top_p, few):
    search = Sampling(temperature=temperature, top_k=top_k, top_p=top_p, count=DRAWS, seed=11)
    logits = np.broadcast_to(np.log(P) + 1.7, (1, NODES, V))
    [drawn], _ = run(search, logits, 1)
    tokens = [END if one.finished else one.tokens[0] for one in drawn]
    observed, q = np.bincount(tokens, minlength=V), expected(temperature, top_k, top_p)
    assert (observed[q == 0] == 0).all()
    goal = q[q > 0] * DRAWS
    assert ((observed[q > 0] - goal) ** 2 / goal).sum() < QUANTILES[len(goal) - 2]


@pytest.mark.on_jax
def test_the_score_is_the_models_log_probability():
    tables = np.array([table(3)])
    [[one]], _ = run(Sampling(temperature=2.0, seed=5), tables, MOST)
    logs, node, total = log_softmax(tables[0].astype("float64")), 0, 0.0
    for token in one.tokens + [END] * one.finished:
        total += logs[node][token]
        node = node * V + token + 1
    assert one.score == pytest.approx(total, abs=1e-5)


SETTINGS = [{}, {"top_k": 4}, {"top_p": 0.8, "temperature": 1.2}]


@pytest.mark.parametrize(
    "settings", [pytest.param(s, marks=[pytest.mark.on_jax] if s else []) for s in SETTINGS], ids=str
)
def test_a_draw_depends_on_seed_row_and_step_only(settings):
    tables = np.array([table(seed) for seed in range(8)])

    def drawn(count, rows, seed=7):
        found, _ = run(Sampling(count=count, seed=seed, **settings), tables[rows], MOST, rows=rows)
        return [[one.tokens for one in of] for of in found]

    together = drawn(3, list(range(8)))
    for row in range(8):
        assert drawn(3, [row]) == [together[row]]
        if not settings:
            assert drawn(1, [row]) == [together[row][:1]]
    assert drawn(3, list(range(8)), seed=8) != together
    assert len({str(tokens) for of in together for tokens in of}) > 8


@pytest.mark.on_jax
def test_equal_sources_and_their_draws_come_out_differently():
    tables = np.array([table(3)] * 8)
    found, _ = run(Sampling(count=3, seed=7, temperature=4.0), tables, MOST)
    assert len({tuple(of[0].tokens) for of in found}) > 3
    assert len({tuple(one.tokens) for one in found[0]}) > 1


def test_few_programs_serve_any_number_of_candidates():
    assert len({Sampling(top_k=k).signature() for k in range(1, 100_000, 7)}) <= 18
    found = [run(Sampling(top_k=k, seed=3), 4 * [table(5)], MOST)[0] for k in (V, V + 1, 10**9)]
    assert found[0] == found[1] == found[2]


def test_the_coldest_draws_are_greedy():
    tables = [table(seed) for seed in range(4)]
    cold, greedy = (run(search, tables, MOST)[0] for search in (Sampling(temperature=1e-44), Sampling(top_k=1)))
    assert [of[0].tokens for of in cold] == [of[0].tokens for of in greedy]


@pytest.mark.once
def test_wrong_settings_are_refused():
    for settings, message in [
        ({"temperature": 0.0}, "temperature must be above 0"),
        ({"top_k": 0}, "top_k must be at least 1"),
        ({"top_p": 1.5}, "top_p must be above 0 and at most 1"),
        ({"seed": 2**64}, r"seed at least 0 and below 2\*\*64"),
        ({"count": 0}, "count must be at least 1"),
    ]:
        with pytest.raises(ValueError, match=message):
            Sampling(**settings)
