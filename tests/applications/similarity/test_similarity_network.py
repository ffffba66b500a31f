"""The encoders: equal to a plain evaluation, untouched by padding, and trained on the groups they should be."""

import keras
import numpy as np
import pytest
from keras import ops

from nlptasks.applications.similarity.gru_runtime import GruRuntime
from nlptasks.applications.similarity.loss import GroupLoss
from nlptasks.applications.similarity.network import GroupClassifier, GruEncoder, TransformerEncoder
from nlptasks.applications.similarity.samples import GroupExamples
from nlptasks.applications.similarity.table import SampledClassifier, SampledExamples
from nlptasks.backend import compile_train_step
from nlptasks.core import Transformer, TransformerConfig
from nlptasks.text.batches import pad
from nlptasks.train.optimizers import make_adam
from nlptasks.train.state import Progress, load_state, save_state
from tests.applications.similarity.similarity_cases import gru_arrays

VOCAB, EMBEDDING, SIZE = 19, 5, 7


def plain_gru(ids, arrays, pooling="last"):
    """float64, one sentence, gate by gate (arXiv 1406.1078, with the reset gate behind the product)."""
    a = {name: array.astype("float64") for name, array in arrays.items()}
    d = a["recurrent_kernel"].shape[0]

    def sigmoid(x):
        return 1 / (1 + np.exp(-x))

    state, states = np.zeros(d), []
    for i in ids:
        x = a["embeddings"][i]
        inputs = [x @ a["kernel"][:, k * d : (k + 1) * d] + a["bias"][0, k * d : (k + 1) * d] for k in range(3)]
        former = [
            state @ a["recurrent_kernel"][:, k * d : (k + 1) * d] + a["bias"][1, k * d : (k + 1) * d] for k in range(3)
        ]
        update, reset = sigmoid(inputs[0] + former[0]), sigmoid(inputs[1] + former[1])
        candidate = np.tanh(inputs[2] + reset * former[2])
        state = update * state + (1 - update) * candidate
        states.append(state)
    vector = states[-1] if pooling == "last" else np.mean(states, axis=0)
    return vector / np.linalg.norm(vector)


def gru(arrays, pooling="last"):
    network = GruEncoder(VOCAB, EMBEDDING, SIZE, pooling=pooling)
    network.build()
    network.assign(arrays)
    return network


@pytest.fixture
def sentences(rng):
    return [rng.integers(1, VOCAB, size=length).astype("int32") for length in (3, 1, 11, 3, 8, 23, 2)]


@pytest.mark.parametrize("pooling", ["last", "mean"])
def test_the_gru_equals_a_float64_evaluation_in_keras_and_in_numpy(sentences, pooling):
    arrays = gru_arrays(VOCAB, EMBEDDING, SIZE)
    expected = np.stack([plain_gru(ids, arrays, pooling) for ids in sentences])
    np.testing.assert_allclose(ops.convert_to_numpy(gru(arrays, pooling)(pad(sentences, 24))), expected, atol=2e-6)
    np.testing.assert_allclose(GruRuntime(arrays, pooling).encode_ids(sentences), expected, atol=2e-6)


@pytest.mark.once
def test_many_batches_in_numpy_equal_one_sentence_at_a_time(rng):
    runtime = GruRuntime(gru_arrays(VOCAB, EMBEDDING, SIZE))
    many = [rng.integers(1, VOCAB, size=length).astype("int32") for length in rng.integers(1, 31, size=1201)]
    one_by_one = np.concatenate([runtime.encode_ids([ids]) for ids in many])
    np.testing.assert_allclose(runtime.encode_ids(many), one_by_one, atol=1e-6)


def small_transformer(pooling="mean", dropout=0.0):
    config = TransformerConfig(
        vocab_size=VOCAB, hidden_size=6, num_layers=2, num_heads=2, ffn_size=13, max_positions=31,
        initializer_range=0.5, dropout=dropout, attention_dropout=dropout,
    )  # fmt: skip
    network = TransformerEncoder(Transformer(config), pooling)
    network.build()
    return network


GRUS = [lambda pooling=pooling: gru(gru_arrays(VOCAB, EMBEDDING, SIZE), pooling) for pooling in ("last", "mean")]


@pytest.mark.parametrize("make", [*GRUS, small_transformer])
@pytest.mark.once
def test_padding_and_neighbors_never_change_a_vector(sentences, make):
    network = make()
    together = ops.convert_to_numpy(network(pad(sentences, 29)))
    for i, ids in enumerate(sentences):
        alone = ops.convert_to_numpy(network(pad([ids], max(2, len(ids)))))[0]
        np.testing.assert_allclose(together[i], alone, atol=2e-6)
        assert np.linalg.norm(alone) == pytest.approx(1, abs=1e-6)
    assert np.abs(together[0] - together[3]).max() > 1e-3  # sentences of the same length do differ


@pytest.mark.parametrize("pooling", ["first", "mean"])
@pytest.mark.once
def test_pooling_equals_what_it_says(sentences, pooling):
    network = small_transformer(pooling)
    for ids in sentences:
        hidden = ops.convert_to_numpy(network.transformer(pad([ids], max(2, len(ids)))))[0, : len(ids)].astype(
            "float64"
        )
        expected = hidden[0] if pooling == "first" else hidden.mean(axis=0)
        found = ops.convert_to_numpy(network(pad([ids], 29)))[0]
        np.testing.assert_allclose(found, expected / np.linalg.norm(expected), atol=3e-6)


@pytest.mark.once
def test_a_wrong_pooling_loss_or_scale_is_refused():
    with pytest.raises(ValueError, match=r"pooling must be one of first, mean\. Received: pooling='max'"):
        small_transformer("max")
    with pytest.raises(ValueError, match=r"pooling must be one of last, mean\. Received: pooling='max'"):
        GruEncoder(VOCAB, pooling="max")
    with pytest.raises(ValueError, match=r"class_norm must be positive\. Received: 0"):
        GroupLoss(class_norm=0)
    with pytest.raises(ValueError, match="loss must be one of"):
        GroupLoss(kind="cosine")
    with pytest.raises(ValueError, match="scale must be positive"):
        GroupLoss(scale=0.0)


# Training


def examples(rng, groups=13, seed=1, **options):
    labels = np.repeat(np.arange(groups), 2)
    ids = [
        np.append(rng.integers(1, VOCAB, size=rng.integers(1, 6)), 1 + g % (VOCAB - 1)).astype("int32") for g in labels
    ]
    return GroupExamples(ids, labels, seed=seed, **options)


def train_step(model, optimizer):
    step = compile_train_step(model, optimizer, model.group_loss)
    return model.around(step) if isinstance(model, SampledClassifier) else step


def run(model, step, data, epochs, batch_size=5):
    losses = []
    for epoch in range(epochs):
        for batch in data.batches(epoch, batch_size):
            arrays = data.arrays(batch, batch_size)
            if isinstance(model, SampledClassifier):
                arrays = model.sample(arrays, np.random.default_rng([epoch, batch[1]]))
            losses.append(float(ops.convert_to_numpy(step(arrays))))
    return losses


@pytest.mark.parametrize("kind", ["softmax", "arc"])  # of all, losses and gradients are those of a formula
def test_training_puts_sentences_nearer_to_their_groups(rng, kind):
    keras.utils.set_random_seed(5)
    data = examples(rng)
    model = GroupClassifier(GruEncoder(VOCAB, EMBEDDING, SIZE), 13, GroupLoss(kind=kind, scale=10.0))
    model.build()
    losses = run(model, train_step(model, make_adam(0.05, 1, decay=False)), data, 25)
    assert np.mean(losses[-6:]) < 0.6 * np.mean(losses[:6])


def test_rows_beyond_the_data_do_not_count(rng):
    model = GroupClassifier(GruEncoder(VOCAB, EMBEDDING, SIZE), 13)
    model.build()
    data = examples(rng)
    batch = data.batches(0, 26)[0]
    exact = float(ops.convert_to_numpy(model.group_loss(data.arrays(batch, 26), training=False)))
    padded = float(ops.convert_to_numpy(model.group_loss(data.arrays(batch, 41), training=False)))
    assert padded == pytest.approx(exact, rel=1e-5)


def both_models(rng, rows=13, groups=13):
    """The full classifier and one with sampled groups that starts from the same numbers."""
    keras.utils.set_random_seed(7)
    optimizer = make_adam(0.02, 1, decay=False)
    sampled = SampledClassifier(GruEncoder(VOCAB, EMBEDDING, SIZE), groups, rows, optimizer, seed=2)
    full = GroupClassifier(GruEncoder(VOCAB, EMBEDDING, SIZE), groups)
    full.build()
    full.encoder.assign(sampled.encoder.arrays())
    full.classes.assign(sampled.class_vectors.copy())
    return full, sampled, optimizer


def test_sampling_all_groups_trains_as_the_full_loss_does(rng):
    full, sampled, optimizer = both_models(rng)
    data = examples(rng)
    expected = run(full, train_step(full, make_adam(0.02, 1, decay=False)), data, 3)
    found = run(sampled, train_step(sampled, optimizer), data, 3)
    np.testing.assert_allclose(found, expected, rtol=2e-4)
    np.testing.assert_allclose(sampled.class_vectors, ops.convert_to_numpy(full.classes), atol=2e-3)
    for name, array in full.encoder.arrays().items():
        np.testing.assert_allclose(sampled.encoder.arrays()[name], array, atol=2e-3)


@pytest.mark.once
def test_groups_start_with_vectors_of_the_length_asked_for():
    for loss, length in ((GroupLoss(), 1.0), (GroupLoss(class_norm=0.1), 0.1)):
        keras.utils.set_random_seed(3)
        full = GroupClassifier(GruEncoder(VOCAB, EMBEDDING, 211), 307, loss)
        full.build()
        optimizer = make_adam(0.02, 1, decay=False)
        sampled = SampledClassifier(GruEncoder(VOCAB, EMBEDDING, 211), 307, 13, optimizer, loss, seed=2)
        for vectors in (ops.convert_to_numpy(full.classes), sampled.class_vectors):
            np.testing.assert_allclose(np.linalg.norm(vectors, axis=1).mean(), length, rtol=0.01)


def test_a_step_moves_the_sampled_rows_alone_and_their_slots_come_back(rng):
    _, sampled, optimizer = both_models(rng, rows=6)
    data = examples(rng)
    step = train_step(sampled, optimizer)
    before = [table.value.copy() for table in sampled.host_tables]
    assert len(before) == 3  # vectors, and Adam's two slots
    batch = sampled.sample(data.arrays(data.batches(0, 5)[0], 5), rng)
    step(batch)
    others = np.setdiff1d(np.arange(13), batch["classes"])
    assert len(others) == 7
    for old, table in zip(before, sampled.host_tables, strict=True):
        np.testing.assert_array_equal(table.value[others], old[others])
        assert (table.value[batch["classes"]] != old[batch["classes"]]).any(axis=1).all()


@pytest.mark.once
def test_labels_become_rows_of_the_sampled_groups(rng):
    _, sampled, _ = both_models(rng, rows=11, groups=1009)
    labels = np.array([1008, 3, 3, 500, 0])
    batch = sampled.sample({"labels": labels}, rng)
    np.testing.assert_array_equal(batch["classes"][batch["labels"]], labels)
    assert np.exp(batch["log_counts"]).sum() == pytest.approx(1009, rel=1e-5)


@pytest.mark.once
def test_examples_with_sampled_groups_are_the_same_whenever_an_epoch_is_run(rng):
    _, sampled, _ = both_models(rng, rows=7)
    plain = examples(rng)
    data = SampledExamples(plain, sampled, seed=4)
    assert (len(data), data.num_batches(1, 5)) == (26, 6)
    batch = data.batches(1, 5)[2]
    first, again, other = (data.arrays(b, 5) for b in (batch, batch, data.batches(2, 5)[2]))
    assert data.weight(first) == plain.weight(plain.arrays(batch, 5)) == len(batch[2])
    np.testing.assert_array_equal(first["classes"], again["classes"])
    assert len(first["classes"]) == 7
    assert first["classes"].tolist() != other["classes"].tolist()


@pytest.mark.once
def test_more_groups_in_a_batch_than_rows_are_refused(rng):
    _, sampled, _ = both_models(rng, rows=3)
    with pytest.raises(ValueError, match="a batch holds 4 groups, and a step takes 3; sample more classes"):
        sampled.sample({"labels": np.array([1, 2, 3, 4])}, rng)


def test_a_step_touches_as_much_for_a_thousand_groups_as_for_a_hundred_thousand(rng):
    shapes, sizes = [], []
    for groups in (1_000, 100_000):
        _, sampled, _ = both_models(rng, rows=17, groups=groups)
        batch = sampled.sample({"labels": np.array([1, 2, 3, 5, 8])}, rng)
        shapes.append({name: array.shape for name, array in batch.items()})
        shapes.append([tuple(variable.shape) for variable in sampled.trainable_variables])
        sizes.append(sampled.table_bytes)
    assert shapes[:2] == shapes[2:]
    assert sizes == [3 * 4 * SIZE * groups for groups in (1_000, 100_000)]


def test_a_saved_state_holds_the_table(rng, tmp_path):
    _, sampled, optimizer = both_models(rng, rows=6)
    data = examples(rng)
    step = train_step(sampled, optimizer)
    run(sampled, step, data, 1)
    save_state(tmp_path / "state", sampled, optimizer, Progress(epoch=1))
    expected = run(sampled, step, data, 2)
    _, again, optimizer = both_models(rng, rows=6)
    load_state(tmp_path / "state", again, optimizer)
    found = run(again, train_step(again, optimizer), data, 2)
    assert found == expected
    np.testing.assert_array_equal(again.class_vectors, sampled.class_vectors)


# Batches


@pytest.mark.once
def test_an_epoch_holds_every_sentence_once_and_its_order_is_its_own(rng):
    data = examples(rng)
    assert data.num_batches(0, 5) == len(data.batches(0, 5)) == 6
    orders = [np.concatenate([indices for _, _, indices in data.batches(epoch, 5)]).tolist() for epoch in (0, 0, 1)]
    assert sorted(orders[0]) == list(range(26))
    assert orders[0] == orders[1] != orders[2]


@pytest.mark.once
def test_dropped_tokens_are_inside_and_others_in_every_epoch(rng):
    labels = np.zeros(40, "int64")
    ids = [np.array([2, *[9] * 11, 3], "int32")] * 40
    data = GroupExamples(ids, labels, token_drop=0.3, unknown_id=1, edges=1, seed=4)
    first, again, other = (data.arrays(data.batches(epoch, 40)[0], 41)["token_ids"] for epoch in (0, 0, 1))
    np.testing.assert_array_equal(first, again)
    assert (first != other).any()
    assert (first[:40, 0] == 2).all()
    assert (first[:40, 12] == 3).all()
    assert (first[:40, 13:] == 0).all()
    assert (first[40] == [1] + [0] * (first.shape[1] - 1)).all()
    share = (first[:40, 1:12] == 1).mean()
    assert 0.2 < share < 0.4
    assert set(np.unique(first[:40, 1:12])) == {1, 9}


@pytest.mark.once
def test_tokens_move_less_than_the_order_noise_and_the_edges_stay():
    lengths = (13, 5, 2)
    ids = [np.array([2, *range(10, 8 + length), 3], "int32") for length in lengths]
    data = GroupExamples(ids, np.zeros(3, "int64"), edges=1, seed=4, order_noise=3.0)
    epochs = [data.arrays(data.batches(epoch, 3)[0], 5)["token_ids"] for epoch in (0, 0, *range(1, 31))]
    np.testing.assert_array_equal(epochs[0], epochs[1])
    assert (epochs[0] != epochs[2]).any()
    moves = []
    for rows in epochs:
        assert (rows[3:] == [1] + [0] * 15).all()
        for row in rows[:3]:
            length = int((row != 0).sum())
            assert length in lengths
            assert (row[0], row[length - 1], row[length:].tolist()) == (2, 3, [0] * (16 - length))
            assert sorted(row[1 : length - 1]) == list(range(10, 8 + length))
            moves += (row[1 : length - 1] - np.arange(10, 8 + length)).tolist()
    assert set(np.abs(moves)) == {0, 1, 2}


@pytest.mark.parametrize("order_noise", [0.0, 1.0])
@pytest.mark.once
def test_tokens_keep_their_order_without_noise(rng, order_noise):
    plain, noisy = (examples(np.random.default_rng(1), token_drop=0.3, order_noise=n) for n in (0.0, order_noise))
    for batch in plain.batches(2, 7):
        for name, array in plain.arrays(batch, 7).items():
            np.testing.assert_array_equal(noisy.arrays(batch, 7)[name], array, err_msg=name)
    with pytest.raises(ValueError, match="order_noise must be at least 0"):
        examples(rng, order_noise=-1.0)


@pytest.mark.once
def test_a_width_is_not_rounded_up_beyond_the_limit():
    data = GroupExamples([np.ones(7, "int32")] * 2, np.array([0, 1]), limit=7)
    assert data.arrays(data.batches(0, 2)[0], 2)["token_ids"].shape == (2, 7)
    with pytest.raises(ValueError, match=r"token_drop must lie in \[0, 1\)"):
        GroupExamples([], np.zeros(0), token_drop=1.0)
