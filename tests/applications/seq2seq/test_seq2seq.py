"""Sequence to sequence: only targets are learned, what is written is what the model finds, and limits are kept."""

import numpy as np
import pytest
from keras import ops

import nlptasks
from nlptasks.applications.scratch import scratch_config, transformer_from_scratch
from nlptasks.applications.seq2seq.baselines import baselines_of
from nlptasks.applications.seq2seq.decoding import Decoding
from nlptasks.applications.seq2seq.limits import words_of
from nlptasks.applications.seq2seq.model import Seq2Seq
from nlptasks.applications.seq2seq.samples import PairExamples
from nlptasks.applications.seq2seq.writing import PairLengths
from nlptasks.backend import compile_function
from nlptasks.text import Tokenizer, build_character_vocab
from nlptasks.text.pairs import SourceText
from tests.parity import distance, randomised

SOURCES = ("山上下了一夜的雪。", "河边起风，Ab12来了", "今天很热")
TARGETS = ("夜雪", "起风 ab", "热")
LENGTHS = PairLengths(source_length=13, target_length=6)


def writer(lengths=LENGTHS, spread=0.25):
    tokenizer = Tokenizer(build_character_vocab([*SOURCES, *TARGETS]))
    config = scratch_config(tokenizer.vocab_size, 23, 22, 2, 2, 29, 0.0, attention="unilm")
    return Seq2Seq(randomised(transformer_from_scratch(config, with_mlm="linear"), spread=spread), tokenizer, lengths)


@pytest.fixture(scope="module")
def one():
    return writer()


def uncached(one, source, tokens):
    """log p of each token behind a source, by the whole model without padding and cache."""
    ids = one.encode([source])[0].token_ids
    row = np.concatenate([ids, tokens])[None]
    segments = (np.arange(row.shape[1]) >= len(ids)).astype("int32")[None]
    run = compile_function(lambda a, b: one.model([a, b]), one.model)
    logits = ops.convert_to_numpy(run(row, segments))[0].astype("float64")[len(ids) - 1 : -1]
    return logits, logits - np.log(np.exp(logits).sum(axis=-1, keepdims=True))


def test_a_score_is_that_of_the_target_and_its_end_behind_its_source(one):
    found, lengths = one.score(SOURCES, TARGETS)
    assert lengths.tolist() == [3, 5, 2]
    for source, target, score in zip(SOURCES, TARGETS, found, strict=True):
        tokens = one.tokenizer.encode(target).token_ids[1:]
        log = uncached(one, source, tokens)[1]
        assert score == pytest.approx(log[np.arange(len(tokens)), tokens].sum(), abs=1e-4)
    examples = PairExamples(one, [SourceText(s, (t,)) for s, t in zip(SOURCES, TARGETS, strict=True)])
    loss = float(one.loss(examples.arrays(np.arange(3), 4), training=False))
    assert loss == pytest.approx(-found.sum() / lengths.sum(), rel=1e-5)


@pytest.mark.once
def test_sources_and_targets_are_cut_and_several_targets_are_several_examples(one):
    pairs = [SourceText("山" * 20, ("雪" * 9, "雪")), SourceText("今天", ("热",))]
    examples = PairExamples(one, pairs)
    assert (len(examples), examples.num_cut_sources, examples.num_cut_targets) == (3, 1, 1)
    batch = examples.arrays(np.array([0, 1]), 3)
    assert batch["token_ids"].shape == (3, 19)  # as wide as the longest pair may be
    assert batch["target_weights"].sum(axis=1).tolist() == [6, 2, 0]
    end = one.tokenizer.sep_id
    assert end not in batch["target_ids"][0][:6]  # a target that is cut does not end there
    assert batch["target_ids"][1][:2].tolist() == [one.tokenizer.vocab["雪"], end]
    assert batch["token_ids"][0][12] == end  # a source that is cut ends all the same
    assert batch["segment_ids"][0].tolist() == [0] * 13 + [1] * 6
    assert one.num_cut(["山" * 11, "山" * 12]) == 1


def test_what_is_written_is_the_most_probable_token_each_time(one):
    never = sorted(one.tokenizer.special_ids - {one.tokenizer.sep_id})
    read = [encoding.token_ids for encoding in one.encode(SOURCES)]
    for [found], source, text in zip(
        one.continued(read, Decoding(), 5), SOURCES, one.predict(SOURCES, max_length=5), strict=True
    ):
        tokens = np.array([*found.tokens, *[one.tokenizer.sep_id] * found.finished])
        logits, _ = uncached(one, source, tokens)
        logits[:, never] = -np.inf
        assert logits.argmax(axis=1).tolist() == tokens.tolist()
        log = logits - np.log(np.exp(logits).sum(axis=-1, keepdims=True))
        assert found.score == pytest.approx(log.max(axis=1).sum(), abs=1e-4)
        assert text.text == one.tokenizer.decode(found.tokens)
        assert (text.num_tokens, text.complete) == (len(found.tokens), found.finished)


@pytest.mark.on_jax
def test_a_streamed_text_is_the_one_that_is_written_at_once(one):
    for options in ({}, {"search": "sampling", "seed": 5, "temperature": 0.7}):
        whole = one.predict([SOURCES[0]], max_length=5, **options)[0]
        parts = list(one.stream(SOURCES[0], chunk=2, max_length=5, **options))
        shown = ""
        for part in parts:
            shown = shown[: part.kept] + part.text[part.kept :]
        assert (shown, parts[-1].num_tokens, parts[-1].complete) == (whole.text, whole.num_tokens, whole.complete)
    with pytest.raises(ValueError, match="only one text by greedy search or sampling can be streamed"):
        one.stream(SOURCES[0], search="beam")


@pytest.mark.on_jax
def test_a_prompt_is_the_beginning_and_what_follows_is_as_if_it_had_been_written(one):
    never = sorted(one.tokenizer.special_ids - {one.tokenizer.sep_id})
    [[found]] = one.continued([one.encode([SOURCES[0]])[0].token_ids], Decoding(prompt="热"), 3)
    tokens = np.array([one.tokenizer.vocab["热"], *found.tokens, *[one.tokenizer.sep_id] * found.finished])
    logits, _ = uncached(one, SOURCES[0], tokens)
    logits[:, never] = -np.inf
    assert logits.argmax(axis=1)[1:].tolist() == tokens[1:].tolist()
    [other] = one.predict([SOURCES[0]], max_length=3, prompt="热 ")
    assert other.text.startswith("热 ")
    with pytest.raises(ValueError, match="max_length must be at most 10"):
        one.generate("山", prompt="热", max_length=11)


@pytest.mark.on_jax
def test_beams_come_best_first_and_draws_follow_their_seed(one):
    beams = one.generate_batch(SOURCES, search="beam", beam_size=3, count=3, max_length=5, length_penalty=0.0)
    assert [len(texts) for texts in beams] == [3, 3, 3]
    scores = [[text.log_probability for text in texts] for texts in beams]
    assert scores == [sorted(each, reverse=True) for each in scores]
    drawn = {seed: one.generate_batch(SOURCES, search="sampling", count=2, max_length=5, seed=seed) for seed in (1, 2)}
    assert drawn[1] == one.generate_batch(SOURCES, search="sampling", count=2, max_length=5, seed=1)
    assert drawn[1] != drawn[2]


@pytest.mark.on_jax
def test_limits_keep_a_text_to_its_source(one):
    for found, source in zip(one.predict(SOURCES, extract=True, min_length=2, max_length=5), SOURCES, strict=True):
        assert found.text
        assert found.text in source  # in its own characters: Ab12, not ab12
    both = {"only_source": True, "whole_words": True, "no_repeat": 1, "copy_bonus": 3.0, "length": 3}
    for found, source in zip(one.predict(SOURCES, max_length=11, **both), SOURCES, strict=True):
        tokens = one.tokenizer.tokenize(found.text)
        assert set(tokens) <= set(one.tokenizer.tokenize(source))
        assert len(tokens) == len(set(tokens))
        assert ("ab12" in found.text) == any(token.strip("#").isascii() and token.isalnum() for token in tokens)
    for found in one.predict(SOURCES, min_length=3, max_length=5, only_characters="ab12"):
        assert len(found.text) > 1
        assert set(found.text) <= set("ab12 ")
    first, pieces = (set(one.tokenizer.ids_to_tokens(ids)) for ids in words_of(one.tokenizer))
    assert {"a", "1"} <= first
    assert {"##b", "##2"} <= pieces
    assert not (first | pieces) & {"山", "，", "[UNK]"}


@pytest.mark.on_jax
def test_the_log_probability_of_a_beam_is_that_of_its_tokens(one):
    for penalty in (0.0, 1.0, 2.0):
        for source in SOURCES:
            [text] = one.predict([source], search="beam", beam_size=3, max_length=4, length_penalty=penalty)
            [[found]] = one.continued(
                [one.encode([source])[0].token_ids], Decoding(search="beam", beam_size=3, length_penalty=penalty), 4
            )
            tokens = np.array([*found.tokens, *[one.tokenizer.sep_id] * found.finished])
            log = uncached(one, source, tokens)[1]
            total = log[np.arange(len(tokens)), tokens].sum()
            never = sorted(one.tokenizer.special_ids - {one.tokenizer.sep_id})
            left = 1 - np.exp(log[:, never]).sum(axis=1)  # what the other tokens share
            assert text.log_probability == pytest.approx(total, abs=1e-3 + abs(np.log(left).sum()))


def test_where_limits_leave_nothing_the_text_is_not_complete_and_has_no_score(one):
    for search in ("greedy", "sampling", "beam"):
        [found] = one.predict(["山"], search=search, only_source=True, no_repeat=1, min_length=4, max_length=5)
        assert (found.log_probability, found.complete) == (None, False)
        assert set(found.text) <= {"山"}


@pytest.mark.on_jax
def test_streams_of_several_sources_draw_as_one_call_does(one):
    options = {"search": "sampling", "seed": 4, "max_length": 5}
    whole = [text.text for text in one.predict([SOURCES[0]] * 4, **options)]
    assert len(set(whole)) > 1
    assert [list(one.stream(SOURCES[0], row=i, **options))[-1].text for i in range(4)] == whole


def test_a_saved_model_scores_the_same(one, tmp_path):
    one.save(tmp_path / "run")
    again = nlptasks.load(tmp_path / "run", Seq2Seq)
    assert again.lengths == LENGTHS
    assert distance(again.score(SOURCES, TARGETS)[0], one.score(SOURCES, TARGETS)[0]) == 0


@pytest.mark.once
def test_what_does_not_fit_is_one_line(one):
    for call, message in (
        (lambda: one.generate(" "), "source 0 is empty; there is nothing to write for."),
        (lambda: one.generate("山", max_length=12), "max_length must be at most 11, the positions that the longest"),
        (lambda: one.generate("山", min_length=7), "min_length must be at most max_length. Received: 7 and 6."),
        (lambda: one.generate("山", search="best"), "search must be one of greedy, beam, sampling. Received: 'best'."),
        (lambda: one.generate("山", search="beam", count=5), "count must be at most 4 with search beam. Received: 5"),
        (lambda: one.generate("山", only_characters=" "), "only_characters names no character; leave it out to"),
        (lambda: one.generate("山", only_characters="ж"), "only_characters: no token of the model is made of these"),
        (lambda: one.generate("山", prompt="热" * 11), "prompt has 11 tokens, and the longest source leaves positions"),
        (lambda: one.generate("山", copy_bonus=float("inf")), "copy_bonus must be a number. Received: inf."),
        (lambda: one.generate("山", length_penalty=float("nan")), "length_penalty must be at least 0. Received: nan."),
        (lambda: one.generate("山", temperature=float("inf")), "temperature must be positive. Received: inf."),
        (lambda: one.generate("山", seed=-1), "seed must be from 0 to 18446744073709551615. Received: -1."),
        (lambda: one.generate("山", top_p=0.0), "top_p must lie above 0 and be at most 1. Received: 0.0."),
        (lambda: Decoding(no_repeat=0), "no_repeat must be at least 1. Received: 0."),
        (lambda: PairLengths(target_length=1), "target_length must be at least 2. Received: 1."),
        (
            lambda: Seq2Seq(one.model, one.tokenizer, PairLengths(source_length=20, target_length=6)),
            "source_length + target_length = 26 is more than the model's 23 positions; make one of them smaller.",
        ),
    ):
        with pytest.raises(ValueError) as error:  # noqa: PT011 - the message is compared
            call()
        assert str(error.value).startswith(message)


@pytest.mark.once
def test_baselines_are_what_they_are_called():
    assert baselines_of(["  山上下雪。\n河边起风！"], 3) == {
        "lead": ["山上下"],
        "first_sentence": ["山上下雪。"],
        "copy": ["  山上下雪。\n河边起风！"],
    }
