"""Accumulation, averages, moved embeddings and recomputation: each equals what it stands for."""

from collections.abc import Callable
from typing import NamedTuple

import keras
import numpy as np
import pytest
from keras import ops

from nlptasks.backend import compile_train_step
from nlptasks.core import Transformer, TransformerConfig
from nlptasks.train.averages import averaged_weights
from nlptasks.train.experiment import Experiment, num_updates
from nlptasks.train.optimizers import make_adam
from nlptasks.train.options import TransformerTraining
from nlptasks.train.perturbation import token_embedding
from nlptasks.train.run import start_run

V, T, ROWS = 31, 7, 10
SIZES = {"vocab_size": V, "hidden_size": 12, "num_layers": 1, "num_heads": 2, "ffn_size": 16, "max_positions": T}


def built(dropout=0.0, recompute=False, **changes):
    start_run(1)
    config = TransformerConfig(**SIZES | changes, dropout=dropout, attention_dropout=dropout)
    model = Transformer(config, with_mlm="linear")
    model.build()
    model.recompute = recompute
    return model


def rows(first, last, seed=3):
    """Rows of very different numbers of real tokens."""
    rng = np.random.default_rng(seed)
    token_ids = rng.integers(1, V, (ROWS, T)).astype("int32")
    weights = (np.arange(T) < 1 + np.arange(ROWS)[:, None] % T).astype("float32")
    return {"token_ids": token_ids[first:last], "weights": weights[first:last]}


def loss_of(model):
    def loss(batch):
        logits = model.token_logits(model.encode(batch["token_ids"], training=True))
        losses = ops.sparse_categorical_crossentropy(batch["token_ids"], logits, from_logits=True)
        return ops.sum(losses * batch["weights"]) / ops.sum(batch["weights"])

    return loss


def values(model):
    return [np.array(ops.convert_to_numpy(v)) for v in model.trainable_variables]


def largest(first, second):
    return max(float(np.abs(a - b).max()) for a, b in zip(first, second, strict=True))


class Gradients:
    """Gives the loss and the gradients of a batch: what one step of plain gradient descent subtracts."""

    def __init__(self, model, **options):
        self.model, self.weights = model, values(model)
        self.step = compile_train_step(model, keras.optimizers.SGD(1.0), loss_of(model), **options)

    def __call__(self, *arguments, weights=None):
        weights = weights or self.weights
        for variable, value in zip(self.model.trainable_variables, weights, strict=True):
            variable.assign(value)
        loss = float(self.step(*arguments))
        return loss, [a - b for a, b in zip(weights, values(self.model), strict=True)]


def test_accumulated_gradients_equal_those_of_the_large_batch():
    parts = [rows(0, 2), rows(2, 7), rows(7, 10)]
    counts = np.array([part["weights"].sum() for part in parts])
    assert len(set(counts)) == 3
    gradients = Gradients(built())
    loss, whole = gradients(rows(0, 10))
    same, sums = gradients(parts, counts / counts.sum())
    assert same == pytest.approx(loss, abs=1e-6)
    assert largest(whole, sums) < 1e-6 < largest(whole, gradients(parts, [1 / 3] * 3)[1])


class Spans:
    """Examples whose batches are given as spans of `rows`."""

    def __init__(self, spans):
        self.spans = spans

    def __len__(self):
        return ROWS

    def num_batches(self, epoch, size):
        return len(self.spans)

    def batches(self, epoch, size):
        return self.spans

    def arrays(self, span, size):
        return rows(*span)

    def weight(self, arrays):
        return arrays["weights"].sum()


class Trained(NamedTuple):
    model: Transformer
    loss: Callable

    def save(self, directory):
        """The runs of these tests keep nothing."""


def run(tmp_path, batches, model=None, validate=None, around_step=None, **settings):
    model = model or built()
    score = iter(range(1000))
    fixed = {"learning_rate": 0.01, "warmup_share": 0.25, "decay": True, "clip_norm": 0.5, "epochs": 2}
    options = TransformerTraining(output=tmp_path, **fixed | settings)
    scores = validate or (lambda: {"score": float(next(score))})
    trained, optimizer = Trained(model, loss_of(model)), make_adam(0.01, 8, 0.25, clip_norm=0.5, ema=options.ema)
    Experiment(options, trained, Spans(batches), scores, "score", optimizer=optimizer, around_step=around_step).run()
    return values(model)


def test_a_run_that_accumulates_counts_updates_and_ends_as_one_with_larger_batches(tmp_path):
    large = run(tmp_path / "a", [(0, 5), (5, 10)])
    small = run(tmp_path / "b", [(0, 2), (2, 5), (5, 6), (6, 10)], accumulate=2)
    assert largest(large, small) < 1e-5


def test_the_average_is_validated_and_the_weights_themselves_train_on(tmp_path):
    momentum, seen, model, steps = 0.7, [], built(), []

    def recording(step):
        def run(batch):
            loss = step(batch)
            steps.append(values(model))
            return loss

        return run

    def validate():
        seen.append(values(model))
        return {"score": 1.0}

    run(tmp_path, [(0, 5), (5, 10)], model, validate=validate, around_step=recording, ema=momentum)
    average = steps[0]
    for i, now in enumerate(steps[1:], 1):
        average = [momentum * a + (1 - momentum) * b for a, b in zip(average, now, strict=True)]
        if i in (1, 3):
            assert largest(average, seen[i // 2]) < 1e-6
            assert largest(now, seen[i // 2]) > 1e-4
    assert largest(values(model), steps[-1]) == 0.0


@pytest.mark.once
def test_averages_of_an_optimizer_without_them_change_nothing():
    model = built()
    before = values(model)
    for optimizer in (make_adam(0.01, 8), make_adam(0.01, 8, ema=0.9)):
        optimizer.build(model.trainable_variables)
        with averaged_weights(model, optimizer):
            assert largest(before, values(model)) == 0.0


def test_the_gradient_is_taken_where_the_embedding_was_moved_along_its_own_gradient():
    epsilon, batch, model = 0.4, rows(0, 10), built()
    index = [v is token_embedding(model) for v in model.trainable_variables].index(True)
    plain, other = Gradients(model), built()
    perturbed = Gradients(other, perturbed=token_embedding(other), perturbation=epsilon)

    def where_it_is_moved(batch):
        clean = plain(batch)[1][index]
        weights = list(plain.weights)
        weights[index] = weights[index] + epsilon * clean / np.linalg.norm(clean)
        return plain(batch, weights=weights)

    clean_loss, clean = plain(batch)
    assert largest([clean[index]], [clean[index] * 0]) > 1e-3
    loss, wanted = where_it_is_moved(batch)
    found_loss, found = perturbed(batch)
    assert found_loss == pytest.approx(loss, rel=1e-5)
    assert found_loss > clean_loss + 0.01  # it grows there
    # the step itself starts from the embedding as it was
    assert largest(found, wanted) < 1e-5 < 1e-3 < largest(found, clean)
    parts = [rows(0, 5), rows(5, 10)]  # it is moved for each of several batches anew
    first, second = (where_it_is_moved(part)[1] for part in parts)
    wanted = [0.25 * a + 0.75 * b for a, b in zip(first, second, strict=True)]
    assert largest(perturbed(parts, [0.25, 0.75])[1], wanted) < 1e-5


@pytest.mark.parametrize(
    "changes", [{}, {"num_layers": 2, "residual_attention_scores": "running", "position": "relative"}], ids=str
)
def test_recomputed_layers_give_the_same_gradients_also_with_dropout(changes):
    found = {}
    for recompute in (False, True):
        model = built(0.3, recompute, **changes)
        step = compile_train_step(model, keras.optimizers.SGD(0.5), loss_of(model))
        losses = [float(step(rows(0, 10))) for _ in range(3)]
        found[recompute] = losses, values(model)
    assert found[True][0] == pytest.approx(found[False][0], rel=1e-5)
    assert len(set(found[True][0])) == 3
    assert largest(found[True][1], found[False][1]) < 1e-5


@pytest.mark.once
def test_updates_are_counted_by_epoch(tmp_path):
    options = TransformerTraining(output=tmp_path, accumulate=3)
    assert num_updates(options, Spans([(0, 1)] * 7), epochs=4, size=1) == 4 * 3


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"accumulate": 0}, "accumulate must be at least 1. Received: 0"),
        ({"batch_size": 0}, "batch_size must be at least 1. Received: 0"),
        ({"patience": 0}, "patience must be at least 1"),
        ({"ema": 1.0}, "ema must lie between 0 and 1"),
        ({"fgm": 0.0}, "fgm must be positive"),
        ({"learning_rate": -1.0}, "learning_rate must be positive"),
        ({"clip_norm": 0.0}, "clip_norm must be positive"),
        ({"warmup_share": 1.5, "decay": True}, r"warmup_share must lie in \[0, 1\]"),
        ({"warmup_share": 0.5}, "warmup_share goes with decay"),
        ({"optimizer": "sgd"}, "optimizer must be one of adam, lion, tiger, adafactor. Received: 'sgd'"),
        ({"weight_decay": 0.0}, "weight_decay must be positive"),
        ({"layer_decay": -1.0}, "layer_decay must be positive"),
        ({"lookahead": 0}, "lookahead must be at least 1"),
        ({"lookahead_rate": 1.5}, r"lookahead_rate must lie in \(0, 1\]"),
        ({"ema_bias_correction": True}, "ema_bias_correction goes with ema"),
        ({"lookahead": 5, "ema": 0.9}, "lookahead and ema do not go together"),
        (
            {"lazy_embeddings": True, "layer_adaptation": True},
            "lazy_embeddings and layer_adaptation do not go together",
        ),
        ({"piecewise_rate": "3=1", "decay": True}, "piecewise_rate and decay do not go together"),
        ({"piecewise_rate": "a=1"}, "piecewise_rate takes STEP=FACTOR pairs"),
        ({"learning_rate_of": "a"}, "learning_rate_of takes PATTERN=FACTOR pairs"),
        ({"optimizer": "adafactor", "lazy_embeddings": True}, "leave lazy_embeddings out"),
        ({"adversarial_steps": 0}, "adversarial_steps must be at least 1"),
        ({"fgm": 0.1, "vat": 0.1}, "fgm and vat do not go together"),
        ({"precision": "float8"}, "precision must be one of float32, bfloat16. Received: 'float8'"),
    ],
)
@pytest.mark.once
def test_options_that_cannot_be_are_refused_at_birth(settings, message):
    with pytest.raises(ValueError, match=message):
        TransformerTraining(output="a", **settings)


@pytest.mark.once
def test_the_moved_embedding_is_that_of_one_transformer():
    dense = keras.Sequential([keras.layers.Dense(2)])
    dense.build((None, 3))
    with pytest.raises(ValueError, match="fgm moves the token embedding of a Transformer; this model has 0"):
        token_embedding(dense)
