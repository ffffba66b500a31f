"""The conditional generator: what a condition changes, what padding does not, and what is generated."""

import numpy as np
import pytest
from keras import ops

import nlptasks
from nlptasks.applications.conditional.conditions import Conditions
from nlptasks.applications.conditional.generator import ConditionalGenerator
from nlptasks.applications.conditional.network import conditional_model
from nlptasks.applications.conditional.samples import ConditionalExamples, cut_texts, pieces_of
from nlptasks.applications.scratch import scratch_config, transformer_from_scratch
from nlptasks.applications.written import growing_text
from nlptasks.backend import compile_function
from nlptasks.text import Tokenizer, build_character_vocab
from tests.parity import distance, randomised

LABELS = {"kind": ("酒店", "水果", "书"), "mood": ("bad", "good")}
TEXTS = ("房间很干净。", "苹果不新鲜", "写得好，读了两遍。", "床太小了", "还会再来")
CONDITIONS = (
    {"kind": "酒店", "mood": "good"},
    {"kind": "水果", "mood": "bad"},
    {"mood": "good"},
    {"kind": "酒店"},
    {},
)
MAX_LENGTH = 19


def writer(texts=TEXTS, spread=0.25, **settings):
    conditions = Conditions(**({"labels": LABELS, "label_size": 5} | settings))
    vocab = build_character_vocab(texts)
    tokens = Tokenizer(vocab | {token: len(vocab) + i for i, token in enumerate(conditions.prefix_tokens)})
    config = scratch_config(tokens.vocab_size, MAX_LENGTH, 22, 2, 2, 29, 0.0, attention="causal")
    config = config.replace(layer_norm_cond_size=conditions.size)
    model = conditional_model(transformer_from_scratch(config, with_mlm="linear"), conditions)
    return ConditionalGenerator(randomised(model, spread=spread), tokens, conditions, MAX_LENGTH)


@pytest.fixture(scope="module")
def summed():
    return writer()


@pytest.mark.once
def test_no_condition_scores_as_the_plain_model(summed):
    plain = writer(conditioning="none", labels={})
    values = {w.path.split("/", 1)[1]: w for w in summed.model.transformer.weights}
    for weight in plain.model.transformer.weights:
        weight.assign(values[weight.path.split("/", 1)[1]])
    without, lengths = plain.score(TEXTS, [{}] * 5)
    zero, same = summed.score(TEXTS, [{}] * 5)
    assert lengths.tolist() == same.tolist() == [7, 6, 10, 5, 5]
    assert distance(zero, without) < 1e-5
    assert distance(summed.score(TEXTS, CONDITIONS)[0][:4], without[:4]) > 0.05


@pytest.mark.once
def test_swapping_the_conditions_of_two_rows_swaps_their_scores(summed):
    text, a, b = "房间很干净。", *CONDITIONS[:2]
    one, other = summed.score([text, text], [a, b])[0], summed.score([text, text], [b, a])[0]
    assert distance(one, other[::-1]) < 1e-5
    assert abs(one[0] - one[1]) > 0.05


def test_a_score_is_the_sum_over_the_text_and_its_end_whatever_stands_beside_it(summed):
    together, model = summed.score(TEXTS, CONDITIONS)[0], summed.model.transformer
    run = compile_function(lambda *inputs: model(list(inputs)), model)
    for text, condition, found in zip(TEXTS, CONDITIONS, together, strict=True):
        ids = summed.tokenizer.encode(text).token_ids
        padded = np.pad(ids, (0, MAX_LENGTH - len(ids)))[None]
        vector = ops.convert_to_numpy(summed.condition({"label_ids": summed.conditions.rows([condition])}))
        logits = ops.convert_to_numpy(run(padded, padded * 0, vector))[0].astype("float64")
        log = logits - np.log(np.exp(logits).sum(axis=1, keepdims=True))
        assert found == pytest.approx(log[np.arange(len(ids) - 1), ids[1:]].sum(), abs=1e-4)


def test_the_loss_is_the_mean_over_tokens_of_all_texts_without_padding(summed):
    texts, rows = summed.encode(TEXTS)[0], summed.conditions.rows(CONDITIONS)
    scores, lengths = summed.score(TEXTS, CONDITIONS)
    loss = float(summed.loss(summed.arrays(texts, rows, 7), training=False))
    assert loss == pytest.approx(-scores.sum() / lengths.sum(), rel=1e-5)


@pytest.mark.parametrize("combine", ["sum", "concat"])
@pytest.mark.once
def test_embeddings_of_labels_are_summed_or_put_side_by_side(combine):
    one = writer(combine=combine)
    tables = [ops.convert_to_numpy(table.embeddings) for table in one.model.head_layers.values()]
    found = ops.convert_to_numpy(one.condition({"label_ids": one.conditions.rows(CONDITIONS)}))
    kinds = np.array([tables[0][1], tables[0][2], tables[0][0] * 0, tables[0][1], tables[0][0] * 0])
    moods = np.array([tables[1][2], tables[1][1], tables[1][2], tables[1][0] * 0, tables[1][0] * 0])
    wanted = kinds + moods if combine == "sum" else np.concatenate([kinds, moods], axis=1)
    assert np.allclose(found, wanted)


@pytest.mark.once
def test_label_tokens_stand_before_the_text_and_are_not_predicted():
    one = writer(conditioning="prefix")
    batch = one.arrays(one.encode(TEXTS[:3])[0], one.conditions.rows(CONDITIONS[:3]), 3)
    first = one.tokenizer.vocab["[unused1]"]
    # [unused1] stands for no kind, the next three for the kinds, then no mood and the moods
    assert batch["token_ids"][:, :3].tolist() == [
        [2, first + 1, first + 6],
        [2, first + 2, first + 5],
        [2, first, first + 6],
    ]
    assert batch["target_weights"].sum(axis=1).tolist() == [7, 6, 10]
    assert (batch["target_weights"][:, :2] == 0).all()
    assert batch["target_ids"][0, 2:9].tolist() == one.tokenizer.encode("房间很干净。").token_ids[1:].tolist()
    scores = one.score(TEXTS, CONDITIONS)[0]
    assert distance(scores, one.score(TEXTS, [{}] * 5)[0]) > 0.01
    found = [drafts[0].text for drafts in one.generate_batch(CONDITIONS, seed=3)]
    assert not any("unused" in text or "[" in text for text in found)
    with pytest.raises(ValueError, match="guidance needs a model with conditional norms"):
        one.generate({}, guidance=2.0)


@pytest.mark.once
def test_vectors_are_conditions_too_and_zeros_are_none():
    one = writer(labels={}, vector_size=3)
    vectors = np.random.default_rng(2).normal(0, 1, (5, 3)).astype("float32")
    under, without = one.score(TEXTS, list(vectors))[0], one.score(TEXTS, [{}] * 5)[0]
    assert distance(under, without) > 0.05
    assert distance(one.score(TEXTS, np.zeros((5, 3)))[0], without) < 1e-6
    [first], [second] = one.generate_batch([vectors[0], vectors[0]], max_length=3, top_k=1)
    assert first.text == second.text
    for wrong in (vectors[0, :2], {"mood": "good"}, [1.0, np.nan, 0.0]):
        with pytest.raises(ValueError, match="expected a vector of 3"):
            one.generate(wrong)


def test_generation_repeats_with_its_seed_follows_its_prompt_and_its_score_is_that_of_the_text(summed):
    options = {"count": 3, "top_p": 0.9, "max_length": 6}
    first = summed.generate_batch(CONDITIONS, seed=4, prompt="房间 ", **options)
    assert first == summed.generate_batch(CONDITIONS, seed=4, prompt="房间 ", **options)
    assert first != summed.generate_batch(CONDITIONS, seed=5, prompt="房间 ", **options)
    assert [len(some) for some in first] == [3] * 5
    assert all(one.text.startswith("房间 ") and one.num_tokens <= 6 for some in first for one in some)
    ended = [(one, c) for some, c in zip(summed.generate_batch(CONDITIONS, 8), CONDITIONS, strict=True) for one in some]
    ended = [(one, c) for one, c in ended if one.complete and one.text]
    assert len(ended) > 3
    scores, lengths = summed.score([one.text for one, _ in ended], [c for _, c in ended])
    same = [i for i, (one, _) in enumerate(ended) if lengths[i] == one.num_tokens + 1]
    assert len(same) > 3
    # padding and special tokens are never drawn, and scores are those of the model restricted so
    assert all(ended[i][0].log_probability >= scores[i] - 1e-3 for i in same)


@pytest.mark.once
def test_a_streamed_text_grows_into_the_one_that_is_generated_at_once(summed):
    for seed in range(3):
        options = {"seed": seed, "prompt": "房间 ", "top_p": 0.9, "max_length": 6}
        [[whole]] = summed.generate_batch([CONDITIONS[0]], **options)
        parts = list(summed.stream(CONDITIONS[0], chunk=2, **options))
        shown = ""
        for part in parts:
            shown = shown[: part.kept] + part.text[part.kept :]
            assert shown == part.text
        assert (shown, parts[-1].num_tokens, parts[-1].complete) == (whole.text, whole.num_tokens, whole.complete)
        assert [part.done for part in parts] == [False] * (len(parts) - 1) + [True]
    with pytest.raises(ValueError, match="unknown mood"):
        summed.stream({"mood": "fine"})  # at once, before anything is written


@pytest.mark.once
def test_a_later_token_may_change_how_a_text_is_joined():
    def join(tokens):
        return {1: "it '", 2: "it's", 3: "it's so"}[len(tokens)]

    parts = list(growing_text([[[7]], [[8]], [[9]]], join, 4))
    assert [(part.text, part.kept) for part in parts] == [("it '", 0), ("it's", 2), ("it's so", 4), ("it's so", 7)]
    assert parts[-1].complete
    assert not list(growing_text([[[7, 8, 9]]], join, 3))[-1].complete


def test_a_saved_generator_scores_the_same(summed, tmp_path):
    for one in (summed, writer(labels={}, vector_size=3), writer(conditioning="prefix")):
        folder = tmp_path / str(id(one))
        one.save(folder)
        again = nlptasks.load(folder)
        assert isinstance(again, ConditionalGenerator)
        assert (again.conditions, again.seq_length) == (one.conditions, MAX_LENGTH)
        given = [np.ones(3), {}] if one.conditions.vector_size else CONDITIONS[:2]
        assert np.array_equal(again.score(TEXTS[:2], given)[0], one.score(TEXTS[:2], given)[0])


@pytest.mark.once
def test_texts_are_cut_at_the_end_of_a_sentence():
    tokens = Tokenizer(build_character_vocab(["甲乙丙丁。！”OK.a"]))

    def shown(text, room):
        [ids], [cut] = cut_texts(tokens, [text], room)
        return "".join(tokens.ids_to_tokens(ids)), cut

    assert shown("甲乙。丙丁！", 7) == ("甲乙。丙丁！[SEP]", False)
    assert shown("甲乙。丙丁！", 6) == ("甲乙。[SEP]", True)
    assert shown("甲乙。丙丁！", 4) == ("甲乙。[SEP]", True)
    assert shown("甲乙。丙丁！", 3) == ("甲乙。", True)  # no whole sentence: no end
    assert shown("甲！”丙丁丙丁丙丁", 7) == ("甲！”[SEP]", True)
    assert shown("甲！”丙丁丙丁丙丁", 3) == ("甲！”", True)
    assert shown("O.K. 丙丁丙丁", 7) == ("o.k.[SEP]", True)
    with pytest.raises(ValueError, match="text 1 is empty"):
        cut_texts(tokens, ["甲", " "], 5)


@pytest.mark.once
def test_a_long_text_is_read_in_pieces_of_whole_sentences():
    tokens = Tokenizer(build_character_vocab(["甲乙丙丁。！”OK.a"]))
    for text, room, pieces in (
        ("甲乙。丙丁！甲", 8, ["甲乙。丙丁！甲"]),
        ("甲乙。丙丁！甲", 7, ["甲乙。丙丁！", "甲"]),
        ("甲乙。丙丁！甲", 5, ["甲乙。", "丙丁！甲"]),
        ("甲乙丙丁甲乙丙丁。丙", 4, ["甲乙丙", "丁甲乙", "丙丁。", "丙"]),
        ("O.K. 丙丁丙丁", 7, ["O.K.", "丙丁丙丁"]),
    ):
        assert pieces_of(tokens, text, room) == pieces
        encoded, cut = cut_texts(tokens, pieces, room)
        assert not any(cut)
        assert all(len(ids) <= room for ids in encoded)


@pytest.mark.once
def test_label_dropout_leaves_out_all_or_single_labels_and_depends_on_seed_and_epoch_alone(summed):
    texts, rows = TEXTS * 200, np.ones((1000, 2), "int32")
    examples = ConditionalExamples(summed, texts, rows, label_dropout=0.2, seed=3)
    shown = np.concatenate([examples.arrays(b, 50)["label_ids"] for b in examples.batches(0, 50)])
    # all: 0.2; else each with 0.2: both left out 0.2 + 0.8 * 0.04
    assert abs((shown.sum(axis=1) == 0).mean() - 0.232) < 0.04
    assert abs((shown[:, 0] == 0).mean() - 0.36) < 0.05
    again = ConditionalExamples(summed, texts, rows, label_dropout=0.2, seed=3)
    pairs = [(a, examples.arrays(a, 50)["label_ids"]) for a in again.batches(4, 50)[:3]]
    assert all(np.array_equal(again.arrays(a, 50)["label_ids"], found) for a, found in pairs)
    first, second = (examples.arrays((epoch, np.arange(50)), 50)["label_ids"] for epoch in (0, 1))
    assert not np.array_equal(first, second)
    none = ConditionalExamples(summed, texts, rows, label_dropout=0.0)
    assert (none.arrays((0, np.arange(50)), 50)["label_ids"] == 1).all()


@pytest.mark.once
def test_conditions_that_contradict_each_other_are_refused():
    for settings, message in (
        ({"labels": LABELS, "vector_size": 3}, "either labels or vector_size"),
        ({}, "either labels or vector_size"),
        ({"vector_size": 3, "conditioning": "prefix"}, 'a vector needs conditioning="norm"'),
        ({"labels": LABELS, "conditioning": "token"}, "conditioning must be one of"),
        ({"labels": LABELS, "combine": "mean"}, "combine must be one of"),
        ({"labels": {"mood": ()}}, "the labels of 'mood' must be distinct and at least one"),
        ({"labels": LABELS, "label_size": 0}, "Sizes must be positive"),
    ):
        with pytest.raises(ValueError, match=message):
            Conditions(**settings)


@pytest.mark.once
def test_an_unknown_label_lists_the_known_ones_and_parts_must_fit(summed):
    with pytest.raises(ValueError, match="unknown mood 'fine'; known are bad, good"):
        summed.generate({"mood": "fine"})
    with pytest.raises(ValueError, match="unknown condition 'color'; known are kind, mood"):
        summed.generate({"color": "red"})
    with pytest.raises(ValueError, match="the prompt has 24 tokens, more than the model has positions"):
        summed.generate({}, prompt="房间很干" * 6)
    wide, tokens = Conditions(labels=LABELS, label_size=10), Conditions(labels=LABELS, conditioning="prefix")
    with pytest.raises(ValueError, match="layer_norm_cond_size=5, these conditions need 10"):
        ConditionalGenerator(summed.model, summed.tokenizer, wide, MAX_LENGTH)
    plain = writer(conditioning="none", labels={})
    with pytest.raises(ValueError, match=r"7 tokens \[unused1\], .* \[unused1\] is not there"):
        ConditionalGenerator(plain.model, plain.tokenizer, tokens, MAX_LENGTH)
