"""Cached decoding of an encoder-decoder equals running it whole, and generates what transformers generates."""

import numpy as np
import pytest
from keras import ops, tree

from nlptasks.backend import compile_function
from nlptasks.generate import BeamSearch, Generator, Sampling
from nlptasks.generate.cached import CachedSteps
from tests.core.test_encoder_decoder import V, t5
from tests.generate.models import some_sources
from tests.parity import TOLERANCE, distance

R, K, S, A = 3, 2, 11, 5
LENGTHS = (11, 7, 3)


@pytest.mark.parametrize("changes", [{}, {"gated_ffn": True, "output": "untied", "hidden_act": "gelu_new"}])
def test_cached_logits_equal_uncached_ones_at_every_step(changes, rng):
    model = t5(**changes)
    steps = CachedSteps(model)
    start = compile_function(lambda inputs: steps.start(inputs, K, A), model)
    step, follow = compile_function(steps, model), compile_function(steps.follow, model)
    whole = compile_function(lambda *inputs: model(list(inputs)), model)
    source = rng.integers(1, V, (R, S)).astype("int32")
    for row, length in enumerate(LENGTHS):
        source[row, length:] = 0
    logits, state = start({"token_ids": source, "segment_ids": np.zeros_like(source)})
    generated = np.zeros((R, 1, 0), "int32")
    for time in range(A):
        width = generated.shape[1]
        targets = np.zeros((R * width, A + 1), "int32")  # the first token is <pad>, which is 0
        targets[:, 1 : 1 + time] = generated.reshape(R * width, time)
        expected = ops.convert_to_numpy(whole(np.repeat(source, width, axis=0), targets))[:, time]
        assert distance(ops.convert_to_numpy(logits).reshape(R * width, V), expected) < TOLERANCE
        parents = rng.integers(0, width, (R, K)).astype("int32")
        tokens = rng.integers(1, V, (R, K)).astype("int32")
        generated = np.concatenate([generated[np.arange(R)[:, None], parents], tokens[:, :, None]], axis=2)
        logits, state = step(tokens, follow(state, tokens, parents), np.int32(time))


def test_the_source_is_stored_once_whatever_the_number_of_beams(rng):
    model = t5()
    source = rng.integers(1, V, (R, S)).astype("int32")
    _, state = CachedSteps(model).start({"token_ids": source, "segment_ids": source * 0}, K, A)
    config = model.config
    for look in state["sources"]:
        shapes = [tuple(x.shape) for x in tree.flatten(look)]
        assert shapes == [(R, 3, config.key_size, S), (R, 3, S, config.value_size), (R, 1, S)]


def test_streamed_sampled_and_beam_searched_texts_come_from_one_loop():
    model, sources = t5(), some_sources((5, 3), vocab_size=V)
    generator = Generator(model, end_id=1)
    [[best], _] = generator.generate(sources, max_length=6)
    pieces = [piece for [piece, _] in generator.stream(sources, max_length=6, chunk=2)]
    assert [token for piece in pieces for token in piece] == best.tokens
    assert 0 not in best.tokens
    drawn = generator.generate(sources, Sampling(count=2, seed=3), max_length=6)
    assert [len(ranked) for ranked in drawn] == [2, 2]


@pytest.mark.once
@pytest.mark.parametrize("beams", [1, 3])
def test_generated_tokens_equal_those_of_transformers(beams, tmp_path):
    torch = pytest.importorskip("torch", reason="the test extra brings torch")
    transformers = pytest.importorskip("transformers", reason="the test extra brings transformers")
    from nlptasks.checkpoints.huggingface import save_directory

    model = t5(decoder_layers=2)  # as many as the encoder has: the cache of transformers' generate makes no more
    save_directory(model, tmp_path)
    theirs = transformers.T5ForConditionalGeneration.from_pretrained(tmp_path)
    source = np.array(some_sources((7,), vocab_size=V)[0])
    arguments = {"num_beams": beams, "do_sample": False, "max_new_tokens": 8, "bad_words_ids": [[0]]}
    expected = theirs.generate(torch.tensor(source[None]), **arguments)[0, 1:].tolist()
    search = BeamSearch(size=beams) if beams > 1 else None
    [[best]] = Generator(model, end_id=1).generate([source.tolist()], search, max_length=8)
    assert best.tokens == [token for token in expected if token not in (0, 1)]
