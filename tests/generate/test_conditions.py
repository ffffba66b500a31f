"""Decoding under conditions: equal to running the whole sequence; guidance is its formula."""

import numpy as np
import pytest

from nlptasks.generate import BeamSearch, Generator, Greedy, Sampling
from tests.generate.models import END, Uncached, built_to_end, some_sources

C, MOST, WIDTH = 3, 9, 24


@pytest.fixture(scope="module")
def model():
    return built_to_end("causal", bias=1.0, layer_norm_cond_size=C, num_layers=1)


@pytest.fixture(scope="module")
def generator(model):
    return Generator(model, END)


@pytest.fixture(scope="module")
def conditions():
    return np.random.default_rng(8).normal(0, 1.5, (5, C)).astype("float32")


def greedy(uncached, source, condition, guidance):
    """Greedy decoding, every token from the whole sequence in float64 arithmetic on two sets of logits."""
    tokens = []
    while len(tokens) < MOST:
        ids = [*source, *tokens]
        under, without = (uncached(ids, 0, c[None])[1:].astype("float64") for c in (condition, condition * 0))
        token = int((without + guidance * (under - without)).argmax()) + 1
        if token == END:
            break
        tokens.append(token)
    return tokens


@pytest.mark.parametrize("guidance", [0.0, pytest.param(1.0, marks=pytest.mark.on_jax), 2.5])
def test_greedy_under_a_condition_equals_uncached_decoding(guidance, model, generator, conditions):
    uncached = Uncached(model, WIDTH)
    sources = some_sources()
    found = generator.generate(sources, max_length=MOST, conditions=conditions, guidance=guidance)
    expected = [greedy(uncached, *pair, guidance) for pair in zip(sources, conditions, strict=True)]
    assert [of[0].tokens for of in found] == expected


def test_half_precision_decodes_under_conditions_and_guidance(model, conditions):
    generator = Generator(model, END, dtype="bfloat16")
    [first, second] = generator.generate(some_sources()[:2], max_length=4, conditions=conditions[:2], guidance=1.5)
    assert len(first[0].tokens) <= 4
    assert np.isfinite(second[0].score)


@pytest.mark.on_jax
def test_conditions_change_what_is_generated_and_none_is_the_zero_condition(generator, conditions):
    sources = some_sources()
    plain = generator.generate(sources, max_length=MOST)
    zero = generator.generate(sources, max_length=MOST, conditions=np.zeros_like(conditions))
    under = generator.generate(sources, max_length=MOST, conditions=conditions)
    assert [of[0].tokens for of in plain] == [of[0].tokens for of in zero]
    assert [of[0].tokens for of in plain] != [of[0].tokens for of in under]


@pytest.mark.parametrize(
    "search", [Greedy(), BeamSearch(size=3), Sampling(count=4, top_p=0.9, temperature=2.0)], ids=repr
)
@pytest.mark.on_jax
def test_swapped_sources_and_conditions_give_swapped_results(search, generator, conditions):
    source = some_sources()[0]
    pair = [
        generator.generate([source] * 2, search, max_length=MOST, conditions=c) for c in conditions[[[0, 1], [1, 0]]]
    ]
    if not isinstance(search, Sampling):  # a sample's draws belong to its place
        assert [h.tokens for h in pair[0][0]] == [h.tokens for h in pair[1][1]]
        assert [h.tokens for h in pair[0][1]] == [h.tokens for h in pair[1][0]]
    assert [h.tokens for h in pair[0][0]] != [h.tokens for h in pair[1][0]]


@pytest.mark.on_jax
def test_streaming_under_a_condition_gives_what_generate_gives(generator, conditions):
    sources = some_sources()
    options = {"max_length": MOST, "conditions": conditions, "guidance": 1.5}
    pieces = list(generator.stream(sources, **options, chunk=2))
    joined = [[token for piece in pieces for token in piece[row]] for row in range(len(sources))]
    assert joined == [of[0].tokens for of in generator.generate(sources, **options)]


@pytest.mark.once
def test_conditions_that_do_not_fit_are_refused(generator, conditions):
    sources = some_sources()
    with pytest.raises(ValueError, match=r"conditions must be \(5, 3\).*Received: shape \(4, 3\)"):
        generator.generate(sources, max_length=3, conditions=conditions[:4])
    with pytest.raises(ValueError, match=r"conditions must be \(5, None\)"):
        Generator(built_to_end("causal"), END).generate(sources, max_length=3, conditions=conditions)
    with pytest.raises(ValueError, match=r"guidance=2\.0, conditions not given"):
        generator.generate(sources, max_length=3, guidance=2.0)
