"""A training step: the same numbers on every mesh and in any number of parts, and nothing of a bad step."""

import tests.pretraining.jax_only  # noqa: F401, I001

import jax
import keras
import numpy as np
import pytest
from jax import numpy as jnp

from nlptasks.core import Transformer, TransformerConfig
from nlptasks.backend.mesh import MeshDistribution, axes_of, check_heads, check_places, parse_mesh, use_mesh
from nlptasks.pretraining.loader import Batches
from nlptasks.pretraining.objectives import Objective
from nlptasks.pretraining.step import (
    batch_sharding,
    compile_step,
    keep_state,
    loss_sums,
    make_step,
    on_mesh,
    state_of,
    with_rate,
)
from nlptasks.train.optimizers import Lamb, PiecewiseLinear
from nlptasks.train.run import start_run
from tests.pretraining.shard_cases import random_rows, small_vocab

T, V, B = 19, 54, 16


@pytest.fixture(autouse=True)
def _one_device_afterwards():
    yield
    keras.distribution.set_distribution(None)


class Run:
    """A small model on a mesh, and its batches."""

    def __init__(self, mesh=None, name="mlm", dropout=0.1, spike=None, optimizer=None, isolate=True, **changes):
        keras.distribution.set_distribution(None)
        start_run(3)
        self.mesh = None if mesh is None else use_mesh(mesh).device_mesh.backend_mesh
        objective = Objective(name=name, vocab=small_vocab(V), seq_length=T, isolate_documents=isolate)
        config = TransformerConfig(
            vocab_size=V, hidden_size=24, num_layers=1, num_heads=4, ffn_size=36, max_positions=T,
            attention=objective.attention, dropout=dropout, attention_dropout=dropout, initializer_range=0.1,
        )  # fmt: skip
        self.model = Transformer(config, with_mlm="linear")
        self.model.build()
        self.optimizer = optimizer or Lamb(PiecewiseLinear(0.02, {3: 1.0, 50: 0.1}), global_clipnorm=1.0)
        self.state = state_of(self.model, self.optimizer)
        self.batches = Batches(
            rows=random_rows(90, T, V),
            objectives=[objective],
            shares=[1.0],
            batch_size=B,
            num_steps=50,
            seed=2,
            **changes,
        )
        self.program = compile_step(make_step(self.model, self.optimizer, spike), self.state)

    def step(self, number, **changed):
        batch = self.batches[number] | changed
        self.state, metrics = self.program(self.state, on_mesh(batch, batch_sharding(self.mesh)))
        return {name: float(value) for name, value in metrics.items()}

    def losses(self, count):
        return np.array([self.step(number)["loss"] for number in range(count)])

    def weights(self):
        return [np.asarray(value) for value in self.state.trainable]


@pytest.fixture(scope="module")
def losses_of_one_device():
    return Run().losses(12)


@pytest.mark.parametrize("mesh", ["data=8", "data=2,model=2"])
def test_the_loss_curve_does_not_depend_on_the_devices(mesh, losses_of_one_device):
    np.testing.assert_allclose(Run(mesh).losses(12), losses_of_one_device, atol=1e-5)


@pytest.mark.parametrize("name", ["mlm", "unilm"])
def test_accumulated_parts_make_the_update_of_one_large_batch(name):
    """With plain gradient descent the change of the weights is the gradient."""
    changes = []
    for parts in (1, 4):
        run = Run(name=name, dropout=0.0, accumulate=parts, optimizer=keras.optimizers.SGD(1.0))
        before = run.weights()
        run.step(0)
        changes.append([b - a for a, b in zip(before, run.weights(), strict=True)])
    largest = max(float(np.abs(change).max()) for change in changes[0])
    assert largest > 1e-3
    for one, four in zip(*changes, strict=True):
        np.testing.assert_allclose(four, one, atol=1e-6)


def test_the_loss_is_the_mean_over_targets_of_full_logits():
    run = Run(dropout=0.0)
    batch = {name: array[0] for name, array in run.batches[0].items()}
    hidden = run.model.encode(batch["token_ids"], training=False, document_ids_BT=batch["document_ids"])
    logits = np.asarray(run.model.token_logits(hidden), "float64")
    log_p = logits - np.log(np.exp(logits).sum(-1, keepdims=True))
    losses, hits = [], []
    for row in range(B):
        for position, target, weight in zip(
            batch["target_positions"][row], batch["target_ids"][row], batch["target_weights"][row], strict=True
        ):
            if weight:
                losses.append(-log_p[row, position, target])
                hits.append(logits[row, position].argmax() == target)
    metrics = run.step(0)
    assert metrics["loss"] == pytest.approx(np.mean(losses), abs=2e-6)
    assert metrics["accuracy"] == pytest.approx(np.mean(hits), abs=1e-6)
    assert metrics["targets"] == len(losses)
    assert metrics["tokens"] == (batch["token_ids"] != 0).sum()


def test_another_document_of_the_row_changes_nothing():
    run = Run(dropout=0.0)
    batch = {name: np.array(array[0]) for name, array in run.batches[0].items()}
    row = next(i for i in range(B) if len(set(batch["document_ids"][i])) == 2)
    other = batch | {"token_ids": batch["token_ids"].copy()}
    second = (batch["document_ids"][row] == 2) & (batch["token_ids"][row] > 4)
    other["token_ids"][row, second] = 5 + (batch["token_ids"][row, second] + 1) % (V - 5)

    def hidden(arrays, isolated):
        documents = arrays["document_ids"] if isolated else None
        return np.asarray(run.model.encode(arrays["token_ids"], training=False, document_ids_BT=documents))[row]

    first = batch["document_ids"][row] == 1
    np.testing.assert_allclose(hidden(other, True)[first], hidden(batch, True)[first], atol=1e-6)
    assert np.abs(hidden(other, False)[first] - hidden(batch, False)[first]).max() > 1e-3


def test_a_step_that_is_not_finite_changes_no_weight_and_no_moment():
    run = Run()
    run.step(0)
    before, slots = run.weights(), [np.asarray(value) for value in run.state.optimizer]
    broken = np.full_like(run.batches[1]["target_weights"], np.nan)
    assert run.step(1, target_weights=broken)["bad"] == 1
    for old, new in zip(before + slots, run.weights() + list(run.state.optimizer), strict=True):
        np.testing.assert_array_equal(new, old)
    assert run.step(2)["bad"] == 0
    assert any((old != new).any() for old, new in zip(before, run.weights(), strict=True))


def test_a_spike_is_measured_against_the_usual_loss():
    run = Run(spike=1.2)
    usual = [run.step(number) for number in range(8)]
    assert not any(metrics["bad"] for metrics in usual)
    before = run.weights()
    wrong = np.zeros_like(run.batches[8]["target_ids"])  # padding is never a target: its loss is far off
    run.state = run.state._replace(usual_loss=jnp.asarray(1.0, "float32"))
    metrics = run.step(8, target_ids=wrong)
    assert metrics["bad"] == 1
    assert metrics["loss"] > 1.2
    for old, new in zip(before, run.weights(), strict=True):
        np.testing.assert_array_equal(new, old)
    assert float(run.state.usual_loss) == 1.0


def test_only_gradients_are_summed_over_data_places():
    run = Run("data=8")
    batch = on_mesh(run.batches[0], batch_sharding(run.mesh))
    step = make_step(run.model, run.optimizer)
    text = jax.jit(step, donate_argnums=0).lower(run.state, batch).compile().as_text()
    assert "all-reduce" in text
    for name in ("all-gather", "all-to-all", "collective-permute", "reduce-scatter"):
        assert f" {name}(" not in text, name


def test_weights_are_cut_where_the_mesh_divides_them():
    run = Run("data=2,model=4")
    paths = {v.path.partition("/")[2]: v.value for v in run.model.trainable_variables}
    query = paths["block_0/attention/query/kernel"]
    assert {shard.data.shape for shard in query.addressable_shards} == {(24, 6)}
    table = next(value for path, value in paths.items() if path.endswith("embeddings/token/embeddings"))
    assert {shard.data.shape for shard in table.addressable_shards} == {(V, 24)}, "54 tokens are not cut by 4"
    assert axes_of("bert/embeddings/token/embeddings", (56, 24), {"model": 4}) == ("model", None)
    momentum = next(v for v in run.optimizer.variables if "query_kernel_momentum" in v.path)
    assert {shard.data.shape for shard in momentum.value.addressable_shards} == {(24, 6)}


def test_recomputed_layers_make_the_same_losses(losses_of_one_device):
    again = Run()
    again.model.recompute = True
    np.testing.assert_allclose(again.losses(4), losses_of_one_device[:4], atol=2e-6)


def test_fused_attention_makes_the_same_losses():
    plain, fused = Run(dropout=0.0), Run(dropout=0.0)
    fused.model.fused_attention = True
    assert fused.model.blocks[0].attention.can_fuse()
    np.testing.assert_allclose(fused.losses(4), plain.losses(4), atol=2e-6)
    with_dropout = Run(dropout=0.1).model.blocks[0].attention
    assert not with_dropout.can_fuse(), "probabilities that are never in memory cannot be dropped"


def test_meshes_that_cannot_be_are_refused():
    assert parse_mesh("model=2,data=4") == {"data": 4, "model": 2}
    for text in ("", "data", "data=0", "rows=2", "data=2,data=2", "data=-1"):
        with pytest.raises(ValueError, match="mesh takes sizes by axis"):
            parse_mesh(text)
    with pytest.raises(ValueError, match=r"has 64 places. Received: \d+ devices"):
        MeshDistribution({"data": 32, "model": 2})
    with pytest.raises(ValueError, match=r"the mesh must divide the heads\. Received: model=3, num_heads=4"):
        check_heads(4, {"data": 1, "model": 3})


def test_data_places_lie_within_processes_as_many_in_each():
    check_places([[0], [0], [1], [1]], 2)
    check_places([[0, 0], [1, 1]], 2)
    check_places([[1], [0]], 2)
    for processes, count in (([[0, 0, 1, 1]], 2), ([[0], [0]], 2), ([[0], [0], [1]], 2), ([[0, 1], [0, 1]], 2)):
        with pytest.raises(ValueError, match="each process must hold as many whole data places of the mesh"):
            check_places(processes, count)


def test_evaluation_draws_no_dropout():
    run = Run(dropout=0.5)
    part = {name: array[0] for name, array in run.batches[0].items()}
    first, again = (float(loss_sums(run.model, part, training=False)[0]) for _ in range(2))
    assert first == again
    assert float(loss_sums(run.model, part, training=True)[0]) != first


def test_loss_given_to_the_step_is_what_it_minimises_and_reports():
    """Twice the loss has twice the gradient, and the same accuracy."""
    run = Run(optimizer=keras.optimizers.SGD(0.1), dropout=0.0)
    before = run.weights()
    plain = run.step(0)
    moved = [a - b for a, b in zip(run.weights(), before, strict=True)]
    other = Run(optimizer=keras.optimizers.SGD(0.1), dropout=0.0)

    def twice(part):
        loss, hits = loss_sums(other.model, part, training=True)
        return 2 * loss, hits

    other.program = compile_step(make_step(other.model, other.optimizer, loss=twice), other.state)
    doubled = other.step(0)
    assert doubled["loss"] == pytest.approx(2 * plain["loss"], rel=1e-5)
    assert doubled["accuracy"] == plain["accuracy"]
    for a, b, change in zip(other.weights(), before, moved, strict=True):
        np.testing.assert_allclose(a - b, 2 * change, atol=1e-6)


def test_rate_put_into_the_state_is_the_rate_of_the_next_step():
    moved = []
    for rate in (0.0, 0.2):
        run = Run(optimizer=keras.optimizers.SGD(0.1), dropout=0.0)
        before = run.weights()
        run.state = with_rate(run.state, run.optimizer, rate)
        run.step(0)
        moved.append(max(np.abs(a - b).max() for a, b in zip(run.weights(), before, strict=True)))
    assert moved[0] == 0
    assert moved[1] > 1e-3


def test_state_kept_in_the_model_is_that_of_the_last_step():
    run = Run()
    run.losses(3)
    keep_state(run.model, run.state)
    for value, variable in zip(run.weights(), run.model.trainable_variables, strict=True):
        np.testing.assert_array_equal(value, np.asarray(variable.value))
    assert np.isfinite(run.step(3)["loss"])
