"""The generator: batches, lengths, streaming, few programs, and agreement with transformers."""

import pytest

from nlptasks.checkpoints.huggingface import save_directory
from nlptasks.generate import BeamSearch, Bert4kerasBeamSearch, Generator, Greedy, Sampling, allow_only, forbid
from tests.generate.models import END, Uncached, V, built_to_end, some_sources

SEARCHES = [Greedy(), BeamSearch(size=3, returned=2), Bert4kerasBeamSearch(size=2), Sampling(count=2, top_p=0.9)]


@pytest.fixture(scope="module")
def model():
    return built_to_end(bias=1.0, num_layers=1)


@pytest.fixture(scope="module")
def generator(model):
    return Generator(model, END, batch_size=8)


def uncached_greedy(uncached, source, most):
    ids, segments, tokens = list(source), [0] * len(source), []
    while len(tokens) < most:
        token = int(uncached(ids, segments)[1:].argmax()) + 1  # never padding
        if token == END:
            return tokens
        tokens.append(token)
        ids, segments = [*ids, token], [*segments, 1]
    return tokens


def test_greedy_equals_uncached_decoding_of_each_source(model, generator):
    sources = some_sources()
    found = generator.generate(sources, max_length=13)
    uncached = Uncached(model, 24)
    assert [of[0].tokens for of in found] == [uncached_greedy(uncached, source, 13) for source in sources]
    assert len({len(of[0].tokens) for of in found}) > 1


@pytest.mark.parametrize("search", SEARCHES, ids=repr)
def test_a_source_gives_the_same_whatever_else_is_in_the_batch(generator, search):
    sources = some_sources()
    together = generator.generate(sources, search, max_length=9)
    among_others = generator.generate([sources[0], *some_sources(seed=8)[:-1]], search, max_length=9)
    alone = (
        among_others
        if isinstance(search, Bert4kerasBeamSearch)
        else generator.generate(sources[:1], search, max_length=9)
    )
    assert [one.tokens for one in together[0]] == [one.tokens for one in alone[0]]
    assert [one.tokens for one in together[0]] == [one.tokens for one in among_others[0]]
    assert all(len(of) == len(together[0]) for of in together)


@pytest.mark.on_jax
def test_sources_of_several_batches_come_back_in_order(model, generator):
    sources, search = some_sources(), Sampling(count=2, top_p=0.9)
    batched = Generator(model, END, batch_size=2).generate(sources, search, max_length=9)
    together = generator.generate(sources, search, max_length=9)
    assert [[one.tokens for one in of] for of in batched] == [[one.tokens for one in of] for of in together]


@pytest.mark.parametrize("search", [Greedy(), Sampling(seed=3, temperature=2.0)], ids=repr)
@pytest.mark.parametrize("chunk", [4, *(pytest.param(chunk, marks=pytest.mark.on_jax) for chunk in (1, 50))])
def test_streamed_pieces_joined_are_what_generate_gives(generator, search, chunk):
    sources = some_sources((5, 8, 3))
    whole = generator.generate(sources, search, max_length=13)
    pieces = list(generator.stream(sources, search, max_length=13, chunk=chunk))
    joined = [[token for piece in pieces for token in piece[row]] for row in range(3)]
    assert joined == [of[0].tokens for of in whole]
    assert len(pieces) > 1 or chunk == 50


@pytest.mark.on_jax
def test_lengths_and_repetition_are_bounded(generator):
    sources = some_sources()
    for search in (Greedy(), BeamSearch(size=3, returned=2), Sampling(count=2, top_p=0.9, temperature=3.0)):
        found = generator.generate(sources, search, max_length=8, min_length=6)
        assert all(6 <= len(of[0].tokens) + of[0].finished <= 8 for of in found)
    free = generator.generate(sources, max_length=13)
    held = generator.generate(sources, max_length=13, repetition_penalty=50.0)
    assert any(len(set(of[0].tokens)) < len(of[0].tokens) for of in free)
    assert all(len(set(of[0].tokens)) == len(of[0].tokens) for of in held)


@pytest.mark.on_jax
def test_constraints_reach_the_right_source_in_every_batch(generator):
    sources = some_sources()
    sets = [[10 + row, 20 + row] for row in range(len(sources))]
    found = generator.generate(sources, max_length=5, min_length=5, constraints=[allow_only(sets), forbid([12])])
    for row, of in enumerate(found):
        assert set(of[0].tokens) <= set(sets[row]) - {12}
        assert of[0].tokens


@pytest.mark.once
def test_few_programs_are_compiled(model, monkeypatch):
    generator, traced = Generator(model, END, batch_size=8), []
    start = generator._steps.start
    monkeypatch.setattr(generator._steps, "start", lambda *args: traced.append(args) or start(*args))
    for count in (5, 6, 7, 8, 8, 6):
        for length in (1, 5, 16):
            generator.generate(some_sources([length] * count), max_length=1 + count)
    assert len(traced) == 2  # 6 and 8 rows, 16 slots for prefixes, 16 for what is generated


@pytest.mark.on_jax
def test_no_end_token_means_full_length(model):
    found = Generator(model, None).generate(some_sources(), max_length=13)
    assert all(len(of[0].tokens) == 13 and not of[0].finished for of in found)


@pytest.mark.on_jax
def test_wrong_calls_are_refused(generator, model):
    for arguments, message in [
        ({"sources": [[]]}, "source 0 must be a list of at least one token id"),
        ({"sources": [[5], [7, 0]]}, "source 1: token ids must be 1 to 100 .0 is padding.. Received: 0"),
        ({"sources": [[101]]}, "source 0: token ids must be 1 to 100"),
        ({"sources": [[5] * 20], "max_length": 11}, "20 tokens and max_length=11 do not fit into the model's 29"),
        ({"min_length": 9}, "1 <= min_length <= max_length. Received: min_length=9, max_length=4"),
        ({"segment_ids": [[0, 0]]}, "source 0 has 1 tokens and 2 segment ids"),
    ]:
        with pytest.raises(ValueError, match=message):
            generator.generate(**({"sources": [[5]], "max_length": 4} | arguments))
    assert len(generator.generate([[5] * 20], max_length=10, min_length=10)[0][0].tokens) >= 9
    with pytest.raises(ValueError, match="Only greedy search and sampling with count=1 can be streamed"):
        generator.stream([[5]], BeamSearch(size=2), max_length=4)
    with pytest.raises(ValueError, match="end_id must be one of the model's 101 tokens"):
        Generator(model, V)
    assert generator.generate([], max_length=4) == []


@pytest.mark.parametrize(
    ("beams", "penalty", "stopping"),
    [
        (3, 1.0, False),
        *(pytest.param(*rest, marks=pytest.mark.on_jax) for rest in ((1, 1.0, False), (3, 0.0, False), (3, 1.0, True))),
        pytest.param(3, 1.6, "never", marks=pytest.mark.on_jax),
    ],
)
def test_beam_search_agrees_with_transformers(their_lm, beams, penalty, stopping):
    generator, lm, torch = their_lm
    sources = some_sources([7] * 6, vocab_size=31)
    search = BeamSearch(
        size=beams, length_penalty=penalty, returned=beams, patient=stopping == "never", first_come=stopping is True
    )
    if beams == 1:
        search = Greedy()
    ours = generator.generate(sources, search, max_length=9, min_length=3, repetition_penalty=1.3)
    with torch.inference_mode():
        theirs = lm.generate(
            torch.tensor(sources),
            attention_mask=torch.ones(6, 7, dtype=torch.int64),
            max_new_tokens=9,
            min_new_tokens=2,
            num_beams=beams,
            num_return_sequences=beams,
            length_penalty=penalty,
            early_stopping=stopping,
            repetition_penalty=1.3,
            suppress_tokens=[0],
            do_sample=False,
            eos_token_id=END,
            pad_token_id=0,
            bos_token_id=1,
            return_dict_in_generate=True,
            output_scores=True,
        )
    sequences = [row[7:].tolist() for row in theirs.sequences]
    expected = [row[: row.index(END)] if END in row else row for row in sequences]
    flat = [one for of in ours for one in of]
    assert [one.tokens for one in flat] == expected
    assert any(one.finished for one in flat)
    if beams > 1:
        scores = theirs.sequences_scores.numpy()
        assert [one.score for one in flat] == pytest.approx(scores, abs=1e-4)


@pytest.fixture(scope="module")
def their_lm(tmp_path_factory):
    torch = pytest.importorskip("torch", reason="the test extra brings torch")
    transformers = pytest.importorskip("transformers", reason="the test extra brings transformers")
    model = built_to_end("causal", spread=0.35, vocab_size=31, num_layers=1)
    directory = tmp_path_factory.mktemp("lm")
    save_directory(model, directory)
    return Generator(model, END), transformers.BertLMHeadModel.from_pretrained(directory), torch
