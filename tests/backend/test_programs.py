"""The programs of a backend: which module is chosen, what is drawn, and which branch runs."""

import gc
import math
import random
import threading

import keras
import numpy as np
import pytest
from keras import ops

import nlptasks.backend
from nlptasks.backend import (
    apply_adam,
    compile_function,
    compile_train_step,
    draw_shorts,
    fused_attention,
    run_one,
)
from nlptasks.core import Transformer, TransformerConfig
from nlptasks.train.run import start_run


def test_names_are_those_of_the_backend_in_use():
    modules = {
        getattr(nlptasks.backend, name).__module__ for name in ("compile_function", "compile_train_step", "run_one")
    }
    assert modules == {f"nlptasks.backend.{keras.backend.backend()}"}
    assert set(nlptasks.backend.__all__) == set(dir(nlptasks.backend))
    assert (apply_adam is None, fused_attention is None) == {"tensorflow": (False, True), "jax": (True, False)}[
        keras.backend.backend()
    ]
    with pytest.raises(AttributeError, match="has no attribute 'compile_all'"):
        nlptasks.backend.compile_all  # noqa: B018


def test_a_backend_that_is_not_supported_is_refused(monkeypatch):
    monkeypatch.setattr(keras.backend, "backend", lambda: "torch")
    with pytest.raises(ValueError, match=r"runs on TensorFlow and JAX: .* Received: KERAS_BACKEND=torch"):
        nlptasks.backend.compile_function  # noqa: B018


def numbers_of_a_run():
    """Initial weights, dropout and the other sources."""
    model = keras.Sequential([keras.Input((3,)), keras.layers.Dense(7), keras.layers.Dropout(0.5)])
    seen = ops.convert_to_numpy(model(np.ones((5, 3), "float32"), training=True))
    return seen, np.random.rand(), random.random()  # noqa: NPY002


def test_a_run_is_seeded_as_keras_seeds():
    start_run(5)
    found = numbers_of_a_run()
    keras.utils.set_random_seed(5)
    for mine, reference in zip(found, numbers_of_a_run(), strict=True):
        np.testing.assert_array_equal(mine, reference)
    start_run(6)
    assert (found[0] != numbers_of_a_run()[0]).any()


@pytest.mark.parametrize("shape", [(5, 7, 3), (2, 211, 101)])
def test_shorts_are_equally_probable_whole_numbers_of_16_bits(shape):
    drawn = ops.convert_to_numpy(draw_shorts(shape, keras.random.SeedGenerator(7)))
    assert drawn.dtype == np.uint16
    assert drawn.shape == shape
    count = drawn.size
    assert abs(drawn.mean() / 65535 - 0.5) < 4.5 / math.sqrt(12 * count)
    bits = (drawn.reshape(-1, 1) >> np.arange(16)) & 1
    assert (np.abs(bits.mean(axis=0) - 0.5) < 4.5 * 0.5 / math.sqrt(count)).all()


def test_one_branch_runs_and_leaves_its_random_state():
    """The branches draw once and twice."""
    source, twin = keras.random.SeedGenerator(3), keras.random.SeedGenerator(3)

    def draw(generator, times):
        return sum(keras.random.uniform((4,), seed=generator) for _ in range(times))

    for first, times in ((True, 1), (False, 2)):
        found = run_one(ops.convert_to_tensor(first), lambda: draw(source, 1), lambda: draw(source, 2), [source.state])
        np.testing.assert_allclose(found, draw(twin, times), rtol=1e-6)
        np.testing.assert_array_equal(source.state.value, twin.state.value)


@pytest.mark.once
def test_a_training_that_is_over_leaves_no_graph_behind():
    """Nor, with it, its weights: TensorFlow registers the gradients of `custom_gradient` for good."""

    def graphs():
        gc.collect()
        return sum(type(each).__name__ == "FuncGraph" for each in gc.get_objects())

    def train():
        config = TransformerConfig(vocab_size=11, hidden_size=6, num_layers=2, num_heads=2, ffn_size=7)
        model = Transformer(config, recompute=True)
        model.build()
        token_ids = np.arange(10).reshape(2, 5)

        def loss(batch):
            return ops.mean(ops.square(model.encode(batch, training=True)))

        losses = [compile_train_step(model, keras.optimizers.Adam(0.1), loss)(token_ids) for _ in range(2)]
        assert float(losses[0]) != float(losses[1])
        return compile_function(lambda ids: model.encode(ids), model)(token_ids)

    before = graphs()
    train()
    keras.utils.clear_session()
    assert graphs() <= before  # less where what a test before left went with it


@pytest.mark.once
def test_a_program_takes_no_gradients_of_another_thread_along():
    import tensorflow as tf

    from nlptasks.backend import tensorflow as programs

    other = programs._program(tf.custom_gradient(lambda x: (2 * x, lambda change: 2 * change)), jit=False)
    thread = threading.Thread(target=other, args=(np.ones(2, "float32"),))

    def traced(x):
        thread.start()
        thread.join(0.5)
        return x

    program = programs._program(traced, jit=False)
    program(np.ones(2, "float32"))
    thread.join()
    known = set(programs._registered)
    del program
    gc.collect()
    assert set(programs._registered) == known
