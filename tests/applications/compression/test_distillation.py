"""Distillation: what is compared with what, and the numbers of its losses."""

import numpy as np
import pytest
from keras import ops

from nlptasks.applications.compression.distillation import Distillation, divergence, hidden_loss, unexplained_share
from nlptasks.applications.compression.theseus import with_fewer_layers
from nlptasks.core import Transformer, TransformerConfig
from nlptasks.train.run import start_run
from tests.parity import randomised

B, T, V, D = 3, 7, 31, 10


def teacher_of(num_layers=4):
    start_run(3)
    sizes = {"hidden_size": D, "num_heads": 2, "ffn_size": 13, "max_positions": T}
    model = Transformer(TransformerConfig(vocab_size=V, num_layers=num_layers, dropout=0.2, **sizes), with_mlm="linear")
    model.build()
    return randomised(model, 3)


def tokens():
    ids = np.random.default_rng(4).integers(5, V, (B, T)).astype("int32")
    ids[1, 5:] = 0
    return ids


def test_each_student_layer_is_compared_with_the_last_of_its_group():
    teacher, ids = teacher_of(), tokens()
    student = with_fewer_layers(teacher, 2, "even")
    own, its = Distillation(teacher, student).states(ids)
    assert len(own) == len(its) == 2
    for states, model in ((own, student), (its, teacher)):
        np.testing.assert_allclose(states[-1], model.encode(ids), atol=1e-6)
    first_two = with_fewer_layers(teacher, 2, "first")
    np.testing.assert_allclose(its[0], first_two.encode(ids), atol=1e-5)


def test_the_teacher_is_frozen_and_has_no_dropout():
    teacher, ids = teacher_of(), tokens()
    both = Distillation(teacher, with_fewer_layers(teacher, 2))
    assert {id(v) for v in both.trainable_variables} == {id(v) for v in both.student.trainable_variables}
    (own, its), (again, same) = (both.states(ids, training=True) for _ in range(2))
    np.testing.assert_array_equal(its[-1], same[-1])
    assert np.abs(ops.convert_to_numpy(own[-1] - again[-1])).max() > 1e-3


def test_unexplained_share_is_that_of_real_tokens_and_of_no_scale(rng):
    teacher = rng.normal(size=(B, T, D)).astype("float32") + 5
    real = np.ones((B, T), bool)
    real[1, 5:] = False
    mean = teacher[real].mean(axis=0)
    assert float(unexplained_share(teacher, teacher, real)) == 0
    assert float(unexplained_share(np.broadcast_to(mean, teacher.shape), teacher, real)) == pytest.approx(1, rel=1e-5)
    student = teacher + rng.normal(size=teacher.shape).astype("float32")
    share = float(unexplained_share(student, teacher, real))
    wanted = ((student - teacher)[real] ** 2).sum() / ((teacher[real] - mean) ** 2).sum()
    assert share == pytest.approx(wanted, rel=1e-5)
    assert float(unexplained_share(student * 9, teacher * 9, real)) == pytest.approx(share, rel=1e-4)
    student[1, 5:] += 100
    assert float(unexplained_share(student, teacher, real)) == pytest.approx(share, rel=1e-5)
    ids = np.where(real, 7, 0).astype("int32")
    assert float(hidden_loss([student, teacher], [teacher, teacher], ids)) == pytest.approx(share / 2, rel=1e-5)


@pytest.mark.parametrize("temperature", [1.0, 2.5])
def test_divergence_is_that_of_the_probabilities(rng, temperature):
    student, teacher = (rng.normal(size=(B, V)).astype("float32") * 3 for _ in range(2))
    p, q = (np.exp(x / temperature) / np.exp(x / temperature).sum(-1, keepdims=True) for x in (teacher, student))
    wanted = temperature**2 * (p * np.log(p / q)).sum(-1)
    np.testing.assert_allclose(divergence(student, teacher, temperature), wanted, rtol=1e-4)
    np.testing.assert_allclose(divergence(teacher, teacher, temperature), 0, atol=1e-5)
