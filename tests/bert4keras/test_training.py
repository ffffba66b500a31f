"""Training as old scripts write it: generators of lists, free widths, targets of None, names with any ending."""

import itertools

import h5py
import keras
import numpy as np
import pytest
from keras import ops

from nlptasks.bert4keras.keras import backend as K
from nlptasks.bert4keras.keras.layers import Dense, Embedding, GlobalAveragePooling1D, Input
from nlptasks.bert4keras.keras.models import Model
from nlptasks.bert4keras.layers import ConditionalRandomField, Loss
from nlptasks.bert4keras.optimizers import Adam, extend_with_exponential_moving_average


def batches(targets=True):
    rng = np.random.default_rng(5)
    while True:
        for width in (5, 9, 7, 3):
            ids = rng.integers(1, 20, (4, width))
            yield [ids, ids * 0], (rng.integers(0, 3, (4, 1)) if targets else None)


def classifier():
    token_ids, segment_ids = Input(shape=(None,)), Input(shape=(None,))
    x = Embedding(20, 6)(token_ids)
    x = keras.layers.Add()([x, Embedding(2, 6)(segment_ids)])
    return Model([token_ids, segment_ids], Dense(3, activation="softmax")(GlobalAveragePooling1D()(x)))


class MeanLoss(Loss):
    def compute_loss(self, inputs, mask=None):
        target, found = inputs
        return K.mean(K.sparse_categorical_crossentropy(target[:, :1] * 0, found))


def test_generators_of_lists_with_changing_widths(tmp_path):
    model = classifier()
    model.compile(loss="sparse_categorical_crossentropy", optimizer=Adam(0.1), metrics=["accuracy"])
    ended = []
    told = keras.callbacks.LambdaCallback(on_epoch_end=lambda epoch, logs: ended.append(logs))
    history = model.fit(batches(), steps_per_epoch=4, epochs=2, callbacks=[told], verbose=0)
    assert list(history.history) == ["accuracy", "loss"]
    assert ended[1]["loss"] == history.history["loss"][1]
    # the epoch's loss is the mean over its batches
    seen = batches()
    losses = [model.test_on_batch(*next(seen))[0] for _ in range(4)]
    assert model.evaluate(batches(), steps=4)[1] == pytest.approx(np.mean(losses), rel=1e-5)
    model.save_weights(tmp_path / "best_model.weights")
    before = model.predict([[[3, 4]], [[0, 0]]])
    for weight in model.weights:
        weight.assign(weight * 0)
    model.load_weights(tmp_path / "best_model.weights")
    assert np.array_equal(model.predict([[[3, 4]], [[0, 0]]]), before)
    inputs, targets = next(batches())
    by_name = {model.output_names[0]: targets}
    assert model.test_on_batch(inputs, by_name) == model.test_on_batch(inputs, targets)
    assert before.flags.writeable
    with h5py.File(tmp_path / "best_model.weights") as file:
        assert "layer_names" in file.attrs
    other = Model(model.inputs, Dense(5)(model.output))
    with pytest.raises(ValueError, match="holds 3 layers with weights, the model has 4"):
        other.load_weights(tmp_path / "best_model.weights")


def test_a_loss_layer_trains_without_targets_and_shows_its_loss():
    model = classifier()
    output = MeanLoss(1)([model.inputs[0], model.output])
    trained = Model(model.inputs, output)
    trained.compile(optimizer=extend_with_exponential_moving_average(Adam, name="AdamEMA")(learning_rate=0.01))
    history = trained.fit(batches(targets=False), steps_per_epoch=3, epochs=1, verbose=0)
    assert history.history["loss"][0] > 0
    weights = [np.array(w.value) for w in trained.trainable_weights]
    trained.optimizer.apply_ema_weights()
    assert not np.array_equal(np.array(trained.trainable_weights[0].value), weights[0])
    trained.optimizer.reset_old_weights()
    assert np.array_equal(np.array(trained.trainable_weights[0].value), weights[0])


def brute_force_loss(scores, tags, transitions):
    """-log p of one path, by adding up all paths."""

    def score(path):
        steps = sum(transitions[a, b] for a, b in itertools.pairwise(path))
        return sum(scores[i, t] for i, t in enumerate(path)) + steps

    every = [score(path) for path in itertools.product(range(scores.shape[1]), repeat=len(scores))]
    return np.log(np.sum(np.exp(every))) - score(tags)


def test_a_loss_makes_sizes_of_a_shape():
    def flat(y_true, y_pred):
        sizes = K.shape(y_pred)
        one_axis = K.reshape(y_pred, (sizes[0], -1, K.prod(sizes[2:])))
        return K.mean(K.square(one_axis), axis=[1, 2]) + 0 * K.cast(K.max(sizes[1:]), K.floatx())

    x = Input(shape=(3, 2, 4))
    model = Model(x, Dense(5)(x))
    model.compile(loss=flat, optimizer=Adam(0.0))
    values = np.random.default_rng(3).normal(size=(2, 3, 2, 4)).astype("float32")
    found = model.train_on_batch(values, values[:, :1, 0, 0])
    assert float(np.ravel(found)[0]) == pytest.approx(float(np.mean(np.square(model.predict(values)))), rel=1e-5)


def test_the_crf_loss_is_the_sum_over_all_paths():
    crf = ConditionalRandomField(lr_multiplier=100)
    rng = np.random.default_rng(2)
    scores = rng.normal(0, 1, (2, 4, 3)).astype("float32")
    mask = np.array([[True] * 4, [True] * 3 + [False]])
    masked = crf(scores, mask=mask)
    tags = np.array([[0, 2, 1, 1], [2, 2, 0, 0]])
    transitions = np.asarray(K.eval(crf.trans))
    lengths = (4, 3)
    wanted = [brute_force_loss(scores[i, :n], tags[i, :n], transitions) for i, n in enumerate(lengths)]
    np.testing.assert_allclose(np.asarray(crf.sparse_loss(tags, masked)), wanted, rtol=1e-5)
    right = (scores.argmax(axis=2) == tags)[mask].mean()
    assert float(crf.sparse_accuracy(tags, masked)) == pytest.approx(right)
    assert np.asarray(ops.convert_to_numpy(crf._trans)).max() < 0.02


@pytest.mark.once
def test_old_files_load_with_layers_of_other_names(tmp_path):
    model = classifier()
    values = [np.random.default_rng(i).normal(0, 1, w.shape) for i, w in enumerate(model.weights)]
    with h5py.File(tmp_path / "old.weights", "w") as file:  # as Keras 2 wrote it, counting its layers from elsewhere
        names = ["input_9", "embedding_7", "embedding_8", "dense_12"]
        file.attrs["layer_names"] = [name.encode() for name in names]
        for name, arrays in zip(names, ([], values[:1], values[1:2], values[2:]), strict=True):
            group = file.create_group(name)
            group.attrs["weight_names"] = [f"{name}/w{i}:0".encode() for i in range(len(arrays))]
            for i, array in enumerate(arrays):
                group.create_dataset(f"{name}/w{i}:0", data=array)
    model.load_weights(tmp_path / "old.weights")
    for weight, value in zip(model.weights, values, strict=True):
        np.testing.assert_allclose(np.asarray(weight.value), value, rtol=1e-6)
    with pytest.raises(FileNotFoundError, match="no such weights"):
        model.load_weights(tmp_path / "nothing.weights")


class Counting(Model):
    """A class of a script's own, with a training step of its own."""

    steps = 0

    def train_step(self, *args, **kwargs):
        type(self).steps += 1
        return super().train_step(*args, **kwargs)


@pytest.mark.once
def test_a_class_of_the_users_may_be_functional_or_not():
    base = classifier()
    model = Counting(base.inputs, base.output)
    assert isinstance(model, Counting)
    assert model.layers == base.layers
    model.compile(loss="sparse_categorical_crossentropy", optimizer="sgd")
    model.fit(batches(), steps_per_epoch=1, verbose=0)
    assert type(model).steps == 1

    class Written(Model):
        def call(self, inputs):
            return inputs * 2

    assert np.asarray(Written()(np.ones((1, 2)))).tolist() == [[2, 2]]
