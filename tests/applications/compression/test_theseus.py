"""Theseus: what replaces what, that its ends are the predecessor and the successor, and what it trains."""

import functools
import itertools
import json

import numpy as np
import pytest
from keras import ops

import nlptasks
from nlptasks.applications.classification.classifier import Classifier, classification_model
from nlptasks.applications.compression.plan import ReplacementSchedule, initial_layers, module_spans
from nlptasks.applications.compression.theseus import Theseus, make_successor, transformer_of
from nlptasks.applications.labeling.labeler import Labeler, labeling_model
from nlptasks.applications.labeling.samples import LabelingExamples
from nlptasks.applications.reading.reader import Reader
from nlptasks.applications.reading.samples import ReadingExamples
from nlptasks.applications.reading.windows import ReadingLengths, encode_rows
from nlptasks.applications.seq2seq_loss import target_batch, target_log_probabilities
from nlptasks.backend import compile_train_step
from nlptasks.core import Transformer, TransformerConfig
from nlptasks.text import Passage, Question, Tokenizer, build_character_vocab
from nlptasks.train.optimizers import make_adam
from nlptasks.train.run import start_run
from tests.applications.labeling.label_cases import TYPES, entity_texts
from tests.parity import randomised

B, T, LAYERS = 3, 7, 4
TEXTS = ["沈月从南山到东湖。", "方大海从东湖到北门车站。", "谁去了南山？"]
LENGTHS = ReadingLengths(passage_length=14, question_length=8, answer_length=5)


def tokenizer():
    return Tokenizer(build_character_vocab([*TEXTS, *(text.text for text in entity_texts())]))


def application(kind="classification", dropout=0.0, seed=3, **changes):
    """A small one with all weights random, norms and biases included."""
    start_run(seed)
    tokens = tokenizer()
    sizes = {"hidden_size": 10, "num_layers": LAYERS, "num_heads": 2, "ffn_size": 13, "max_positions": 32}
    sizes |= {"vocab_size": tokens.vocab_size, "dropout": dropout, "attention_dropout": dropout} | changes
    if kind == "reading":
        model = Transformer(TransformerConfig(**sizes, attention="unilm"), with_mlm="linear")
        model.build()
        return Reader(randomised(model, seed), tokens, LENGTHS)
    encoder = Transformer(TransformerConfig(**sizes))
    encoder.build()
    randomised(encoder, seed)
    if kind == "classification":
        return Classifier(classification_model(encoder, 2, dropout), tokens, ("a", "b"), T)
    return Labeler(labeling_model(encoder, kind, len(TYPES), dropout, head_size=4), tokens, TYPES, kind, 23)


def batch_of(app):
    if isinstance(app, Reader):
        questions = [
            Question(str(i), TEXTS[2], (Passage(text, "东湖"),), ("东湖",)) for i, text in enumerate(TEXTS[:2])
        ]
        examples = ReadingExamples(questions, app.tokenizer, LENGTHS)
        return dict(examples.arrays(examples.batches(0, 2)[0], 2))
    if isinstance(app, Labeler):
        examples = LabelingExamples(app.tokenizer, app.seq_length, entity_texts(), TYPES, app.head == "crf")
        return dict(examples.arrays(np.arange(5), 5))
    ids = np.random.default_rng(4).integers(5, app.tokenizer.vocab_size, (B, T)).astype("int32")
    ids[1, 5:] = 0
    targets = np.eye(2, dtype="float32")[[0, 1, 1]]
    return {"token_ids": ids, "segment_ids": np.zeros_like(ids), "targets": targets, "weights": np.ones(B, "float32")}


def other_successor(app, num_layers, **settings):
    """A successor whose layers are not the predecessor's, and the mixture of both."""
    successor = make_successor(app, num_layers)
    for i, block in enumerate(
        successor.model.blocks if isinstance(app, Reader) else successor.model.transformer.blocks
    ):
        randomised(block, 40 + i)
    return successor, Theseus(app.model, successor.model, **settings)


def loss_of_mixture(app, theseus):
    return lambda batch: app.loss(batch, encode=functools.partial(theseus.encode, rate=batch["rate"]))


def train_step(app, theseus):
    return compile_train_step(theseus, make_adam(1e-2, 1, decay=False), loss_of_mixture(app, theseus))


def values(layer):
    return [np.array(ops.convert_to_numpy(weight)) for weight in layer.weights]


def hidden(encode, batch):
    return ops.convert_to_numpy(encode(batch["token_ids"], batch["segment_ids"], training=False))


# Layers


@pytest.mark.parametrize(
    ("layers", "successor", "spans"),
    [
        (12, 6, [(0, 2), (2, 4), (4, 6), (6, 8), (8, 10), (10, 12)]),
        (12, 4, [(0, 3), (3, 6), (6, 9), (9, 12)]),
        (12, 3, [(0, 4), (4, 8), (8, 12)]),
        (6, 3, [(0, 2), (2, 4), (4, 6)]),
        (6, 2, [(0, 3), (3, 6)]),
    ],
)
@pytest.mark.once
def test_each_successor_layer_replaces_a_group_of_layers(layers, successor, spans):
    assert [(span.start, span.stop) for span in module_spans(layers, successor)] == spans
    assert initial_layers(layers, successor, "first") == list(range(successor))
    assert initial_layers(layers, successor, "even") == [stop - 1 for _, stop in spans]


@pytest.mark.parametrize(
    ("layers", "successor", "possible"),
    [
        (12, 5, "it can have 1, 2, 3, 4, 6."),
        (6, 6, "1, 2, 3."),
        (6, 0, "1, 2, 3."),
        (7, 3, "have 1."),
        (1, 1, "one layer"),
    ],
)
@pytest.mark.once
def test_layers_that_do_not_divide_are_refused_with_the_possible_numbers(layers, successor, possible):
    with pytest.raises(ValueError, match=rf"Received: {layers} layers, {successor} successor layers; .*{possible}"):
        module_spans(layers, successor)


@pytest.mark.parametrize(("init", "sources"), [("first", (0, 1)), ("even", (1, 3))])
@pytest.mark.once
def test_a_successor_starts_from_its_predecessors_layers_and_copies_the_rest(init, sources):
    for kind in ("classification", "efficient-global-pointer", "reading"):
        old = application(kind)
        new = make_successor(old, 2, init)
        mine, its = transformer_of(old.model), transformer_of(new.model)
        pairs = [(mine.embeddings, its.embeddings)]
        pairs += [(mine.blocks[source], block) for source, block in zip(sources, its.blocks, strict=True)]
        if kind == "reading":
            pairs.append((mine.mlm, its.mlm))
        else:
            pairs += [(layer, new.model.head_layers[name]) for name, layer in old.model.head_layers.items()]
        compared = 0
        for a, b in pairs:
            for x, y in zip(values(a), values(b), strict=True):
                np.testing.assert_array_equal(x, y)
                compared += 1
        assert compared == len(new.model.weights)
        assert its.config == mine.config.replace(num_layers=2)


# The mixture

FAMILIES = {
    "bert": {},
    "albert": {"shared_layers": True, "embedding_size": 9},
    "nezha": {"position": "relative", "key_size": 4, "value_size": 4},
    "roformer": {"position": "rotary", "key_size": 6},
    "previous scores": {"residual_attention_scores": "previous"},
    "running scores": {"residual_attention_scores": "running", "talking_heads": True},
}


@pytest.mark.parametrize(
    ("family", "mixing"), [(family, "coin") for family in FAMILIES] + [("bert", "anneal"), ("running scores", "anneal")]
)
def test_rate_0_is_the_predecessor_and_rate_1_the_successor(family, mixing):
    app = application(**FAMILIES[family])
    successor, theseus = other_successor(app, 2, mixing=mixing)
    batch = batch_of(app)
    old, new = (hidden(one.model.transformer.encode, batch) for one in (app, successor))
    assert abs(old - new).max() > 0.1
    for rate, wanted in ((0.0, old), (1.0, new)):
        found = hidden(functools.partial(theseus.encode, rate=np.float32(rate)), batch)
        np.testing.assert_allclose(found, wanted, atol=1e-5)


@pytest.mark.parametrize("kind", ["crf", "reading"])
def test_the_loss_at_rate_0_and_1_is_that_of_predecessor_and_successor(kind):
    app = application(kind, num_layers=2)
    successor, theseus = other_successor(app, 1)
    batch = batch_of(app)
    old, new = (float(one.loss(batch, training=False)) for one in (app, successor))
    assert abs(old - new) > 0.01
    for rate, wanted in ((0.0, old), (1.0, new)):
        found = float(app.loss(batch, training=False, encode=functools.partial(theseus.encode, rate=rate)))
        assert found == pytest.approx(wanted, abs=1e-5)


def by_hand(app, successor, shares, batch):
    """The hidden states where each module (embeddings first) is the successor's to the share given."""
    old, new = app.model.transformer, successor.model.transformer
    segment_ids, position_ids, mask, position = old.layer_inputs(batch["token_ids"], batch["segment_ids"])

    def embedded(model):
        return ops.convert_to_numpy(model.embeddings(batch["token_ids"], segment_ids, position_ids))

    x = (1 - shares[0]) * embedded(old) + shares[0] * embedded(new)
    size = len(old.blocks) // len(new.blocks)
    for number, block in enumerate(new.blocks):
        y = x
        for one in old.blocks[number * size : (number + 1) * size]:
            y = ops.convert_to_numpy(one(y, mask, position))
        x = (1 - shares[number + 1]) * y + shares[number + 1] * ops.convert_to_numpy(block(x, mask, position))
    return x


@pytest.mark.once
def test_annealing_blends_every_module():
    app = application()
    successor, theseus = other_successor(app, 2, mixing="anneal", replace_embeddings=True)
    randomised(successor.model.transformer.embeddings, 9)
    batch = batch_of(app)
    found = hidden(functools.partial(theseus.encode, rate=np.float32(0.3)), batch)
    np.testing.assert_allclose(found, by_hand(app, successor, [0.3] * 3, batch), atol=1e-5)


def value_step(theseus, function):
    """A training step of the value of a function whose gradient is 0: to compile the real one would take long."""

    def loss(batch):
        kept = 1e-9 * sum(ops.sum(weight) for weight in theseus.trainable_variables)
        return ops.stop_gradient(function(batch)) + kept

    return compile_train_step(theseus, make_adam(1e-12, 1, decay=False), loss)


@pytest.fixture(scope="module")
def drawn():
    """How often each of the 8 ways to draw embeddings and two modules came, in 300 steps at rate 0.7."""
    app = application()
    successor, theseus = other_successor(app, 2, replace_embeddings=True)
    randomised(successor.model.transformer.embeddings, 9)
    batch = batch_of(app)
    weights = np.random.default_rng(6).normal(size=(B, T, 10)).astype("float32")
    ways = list(itertools.product([0, 1], repeat=3))
    sums = np.array([(by_hand(app, successor, way, batch) * weights).sum() for way in ways])

    def total(batch):
        return ops.sum(theseus.encode(**batch, training=True) * weights)

    step = value_step(theseus, total)
    counts = dict.fromkeys(ways, 0)
    given = {"token_ids_BT": batch["token_ids"], "segment_ids_BT": batch["segment_ids"]} | {"rate": np.float32(0.7)}
    for _ in range(300):
        distance = abs(float(step(given)) - sums)
        assert np.sort(distance)[0] < 1e-3 < 1e-2 < np.sort(distance)[1]  # it is one of them, and which is clear
        counts[ways[int(distance.argmin())]] += 1
    return counts


def test_every_module_is_drawn_by_itself_with_the_rate_as_its_probability(drawn):
    for way, count in drawn.items():
        expected = 300 * 0.7 ** sum(way) * 0.3 ** (3 - sum(way))
        assert abs(count - expected) < 4 * expected**0.5, drawn


def test_dropout_goes_on_changing_inside_the_layers_that_are_drawn():
    app = application(dropout=0.3, num_layers=2)
    _, theseus = other_successor(app, 1)
    theseus.predecessor.dropout.rate = 0.0
    transformer_of(theseus.predecessor).embeddings.dropout.rate = 0.0
    step = value_step(theseus, loss_of_mixture(app, theseus))
    for rate in (0.0, 1.0):
        losses = [float(step(batch_of(app) | {"rate": np.float32(rate)})) for _ in range(5)]
        assert len(set(losses)) == 5, (rate, losses)


# Training


@pytest.mark.parametrize(
    ("kind", "settings"),
    [("classification", {"replace_embeddings": True}), ("classification", {"mixing": "anneal"}), ("reading", {})],
)
def test_exactly_the_successors_weights_move_while_layers_are_replaced(kind, settings):
    app = application(kind, dropout=0.1, num_layers=2)
    successor, theseus = other_successor(app, 1, **settings)
    new = transformer_of(successor.model)
    moving = [new.embeddings] if settings.get("replace_embeddings") else []
    moving += new.blocks
    trained = {id(weight) for layer in moving for weight in layer.weights}
    assert {id(v) for v in theseus.trainable_variables} == trained
    every = [*app.model.weights, *successor.model.weights]
    before = [np.array(ops.convert_to_numpy(weight)) for weight in every]
    step = train_step(app, theseus)
    for _ in range(8):
        assert np.isfinite(float(step(batch_of(app) | {"rate": np.float32(0.6)})))
    for weight, value in zip(every, before, strict=True):
        moved = abs(ops.convert_to_numpy(weight) - value).max()
        assert (moved > 1e-4) == (id(weight) in trained) or is_key_bias(weight), (weight.path, moved)


def test_a_step_at_rate_1_moves_the_layers_as_training_the_successor_does():
    """The gradient through the branch that is taken, and the frozen layers that follow, is the plain one; only the
    successor alone trains the rest of its weights, too.
    """
    app = application()
    assert {id(v) for v in app.model.trainable_variables} == {id(v) for v in app.model.weights}
    successor, theseus = other_successor(app, 2)
    batch, alone = batch_of(app), make_successor(app, 2)
    for mine, its in zip(alone.model.transformer.blocks, successor.model.transformer.blocks, strict=True):
        for weight, value in zip(mine.weights, values(its), strict=True):
            weight.assign(value)
    frozen, first = values(app.model), values(alone.model)
    one = float(train_step(app, theseus)(batch | {"rate": np.float32(1.0)}))
    other = float(compile_train_step(alone.model, make_adam(1e-2, 1, decay=False), alone.loss)(batch))
    assert one == pytest.approx(other, abs=1e-5)
    assert all((x == y).all() for x, y in zip(values(app.model), frozen, strict=True))
    for mine, its in zip(alone.model.transformer.blocks, successor.model.transformer.blocks, strict=True):
        for weight, x, y in zip(mine.weights, values(mine), values(its), strict=True):
            if not is_key_bias(weight):
                np.testing.assert_allclose(x, y, atol=2e-4, err_msg=weight.path)
    for weight, x, y in zip(alone.model.weights, values(alone.model), first, strict=True):
        assert abs(x - y).max() > 1e-4 or is_key_bias(weight), weight.path


def is_key_bias(weight):
    """Softmax does not see it: its gradient is rounding."""
    return "key" in weight.path and "bias" in weight.path


# What is handed on


@pytest.mark.once
def test_a_compressed_classifier_is_an_ordinary_smaller_directory(tmp_path):
    torch = pytest.importorskip("torch", reason="the test extra brings torch")
    transformers = pytest.importorskip("transformers", reason="the test extra brings transformers")
    app = application(num_layers=2)
    successor, _ = other_successor(app, 1)
    successor.save(tmp_path)
    loaded = nlptasks.load(tmp_path)
    texts = ["沈月去南山", "东湖"]
    assert loaded.predict(texts) == successor.predict(texts)
    config = json.loads((tmp_path / "config.json").read_text(encoding="utf-8"))
    app.save(tmp_path / "whole")
    whole = json.loads((tmp_path / "whole" / "config.json").read_text(encoding="utf-8"))
    assert config == whole | {"num_hidden_layers": 1}
    theirs = transformers.BertModel.from_pretrained(tmp_path, add_pooling_layer=False).eval()
    ids = successor.encode(texts[:1])[0][0].token_ids[None]
    with torch.no_grad():
        wanted = theirs(input_ids=torch.tensor(ids, dtype=torch.long)).last_hidden_state.numpy()
    np.testing.assert_allclose(
        hidden(successor.model.transformer.encode, {"token_ids": ids, "segment_ids": None}), wanted, atol=1e-5
    )


@pytest.mark.once
def test_a_compressed_reader_decodes_with_its_cache_what_it_computes_without(tmp_path):
    make_successor(application("reading", num_layers=2), 1, "even").save(tmp_path)
    small = nlptasks.load(tmp_path)
    [row] = encode_rows(small.tokenizer, LENGTHS, [(TEXTS[2], TEXTS[:1])])
    source = row.source
    found = small._decoder.decode([row], 5, 1, False)[0]
    assert len(found.tokens) > 0
    ended = len(found.tokens) < LENGTHS.answer_length
    target = [*found.tokens, small.tokenizer.sep_id] if ended else list(found.tokens)
    log_p = ops.convert_to_numpy(target_log_probabilities(small.model, target_batch([source], [target])))[0]
    assert found.log_probabilities[0] == pytest.approx(log_p[: len(target)].sum(), abs=1e-4)


# Schedules and refusals


@pytest.mark.once
def test_the_schedules_are_their_formulas():
    rates = {kind: ReplacementSchedule(kind=kind, start=0.2, rise_steps=8) for kind in ("constant", "linear", "cosine")}
    assert [rates["constant"](step) for step in (0, 5, 99)] == [0.2] * 3
    assert [rates["linear"](step) for step in (0, 2, 4, 8, 99)] == pytest.approx([0.2, 0.4, 0.6, 1, 1])
    quarter = 0.2 + 0.8 * (1 - np.cos(np.pi / 4)) / 2
    assert [rates["cosine"](step) for step in (0, 2, 4, 8, 99)] == pytest.approx([0.2, quarter, 0.6, 1, 1])


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"kind": "step"}, "schedule must be one of"),
        ({"start": 1.5}, r"must lie in \[0, 1\]. Received: rate=1.5"),
        ({"kind": "constant", "start": 0.0}, "a constant replacement rate of 0 trains nothing"),
        ({"rise_steps": 0}, "rise_steps must be at least 1"),
    ],
)
@pytest.mark.once
def test_a_schedule_that_cannot_be_is_refused(settings, message):
    with pytest.raises(ValueError, match=message):
        ReplacementSchedule(**settings)


@pytest.mark.once
def test_parts_that_do_not_fit_are_refused():
    app = application(num_layers=2)
    successor = make_successor(app, 1)
    with pytest.raises(ValueError, match="mixing must be one of"):
        Theseus(app.model, successor.model, mixing="dice")
    wider = make_successor(application(num_layers=2, ffn_size=17), 1)
    with pytest.raises(ValueError, match=r"must agree in all but their layers\. Received: ffn_size=13 and 17"):
        Theseus(app.model, wider.model)
    with pytest.raises(ValueError, match="init must be one of"):
        make_successor(app, 1, "last")
    reader = application("reading", num_layers=2)
    with pytest.raises(ValueError, match="leave replace_embeddings out"):
        Theseus(reader.model, make_successor(reader, 1).model, replace_embeddings=True)
