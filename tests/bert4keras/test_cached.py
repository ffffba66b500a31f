"""bert4keras' names: what `AutoRegressiveDecoder` returns is what running everything again would give."""

import numpy as np
import pytest

import nlptasks
from tests.generate.models import END, Uncached, built_to_end, some_sources

MOST, START = 7, 9


@pytest.fixture(scope="module")
def model():
    return built_to_end(bias=1.0)


def naive_beam_search(uncached, source, beams, given):
    """bert4keras' loop, written down plainly over the uncached model; padding is left out."""
    running = [([], 0.0)]
    for _ in range(MOST):
        candidates = []
        for tokens, score in running:
            ids = source + given + tokens
            logits = uncached(ids, [0] * len(source) + [1] * (len(ids) - len(source))).astype("float64")
            p = np.exp(logits - logits.max())
            logs = np.log(p / p.sum() + 1e-12)
            candidates += [([*tokens, token], score + logs[token]) for token in range(1, len(logs))]
        running = sorted(candidates, key=lambda one: -one[1])[:beams]
        if running[0][0][-1] == END:
            break
        running = [one for one in running if one[0][-1] != END]
        beams = len(running)
    return given + running[0][0]


@pytest.mark.parametrize("start", [None, START])
def test_beam_search_is_bert4keras_own_on_the_uncached_model(model, start):
    decoder = nlptasks.AutoRegressiveDecoder(model, start, END, MOST)
    uncached = Uncached(model, 20)
    given, lengths = [] if start is None else [start], set()
    for source in some_sources():
        found = decoder.beam_search([source, [0] * len(source)], topk=3).tolist()
        assert found == naive_beam_search(uncached, source, 3, given)
        lengths.add(len(found))
    assert len(lengths) > 1 or start is not None


@pytest.mark.on_jax
def test_random_samples_obey_numpys_seed_and_the_lengths(model):
    decoder = nlptasks.AutoRegressiveDecoder(model, None, END, MOST, minlen=3)
    drawn = []
    for seed in (1, 1, 2):
        np.random.seed(seed)  # noqa: NPY002 - what users of bert4keras do
        drawn.append([ids.tolist() for ids in decoder.random_sample([some_sources()[0]], n=6, topk=50, topp=0.95)])
    assert drawn[0] == drawn[1] != drawn[2]
    assert all(3 <= len(ids) <= MOST for of in drawn for ids in of)
    assert all(END not in ids[:-1] for of in drawn for ids in of)
