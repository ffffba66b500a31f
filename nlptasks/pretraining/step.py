"""The compiled training step: a pure function of a state and a batch, on any mesh of devices.

`training.py` runs it and `fitting.py` compiles the same function for machines that are not there. JAX only.

Legend: A parts of a step, B rows of a part (over all processes), T position, D hidden, M targets, V vocabulary.
"""

import functools
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple, Protocol

import jax
import keras
import numpy as np
from jax import numpy as jnp
from jax.sharding import NamedSharding, PartitionSpec
from keras import ops

from nlptasks.backend.programs import current_values
from nlptasks.core.config import TransformerConfig
from nlptasks.core.masks import padding_mask
from nlptasks.core.transformer import Transformer

Batch = Mapping[str, jax.Array]
"""the arrays of an `Example`, `(A, B, ...)`, or `(B, ...)` where it is a part"""
Metrics = dict[str, jax.Array]
_MEMORY = 0.99  # of the running mean of losses that a spike is measured against


class Trained(Protocol):
    """A built Keras model that is trained: a Transformer, or one that holds several.

    Attributes:
        config: says which id is padding.
    """

    trainable_variables: Any
    non_trainable_variables: Any

    @property
    def config(self) -> TransformerConfig: ...


class State(NamedTuple):
    """All that a step changes, as arrays; the lists are in the order of the Keras variables."""

    trainable: list[jax.Array]
    others: list[jax.Array]
    """random state of dropout"""
    optimizer: list[jax.Array]
    usual_loss: jax.Array
    """running mean of the losses of good steps, 0 before the first; float32 ()"""


Step = Callable[[State, Batch], tuple[State, Metrics]]
Loss = Callable[[Batch], tuple[jax.Array, jax.Array]]
"""loss(part): the sum over the part's targets, which is differentiated, and how many of them were found"""
Evaluation = Callable[[list[jax.Array], list[jax.Array], Batch], tuple[jax.Array, jax.Array, jax.Array]]


def state_of(model: Trained, optimizer: keras.optimizers.Optimizer) -> State:
    """The state of a built model and its optimizer, where their arrays lie now."""
    optimizer.build(model.trainable_variables)
    trainable = [v.value for v in model.trainable_variables]
    sharding = trainable[0].sharding
    if isinstance(sharding, NamedSharding):
        sharding = NamedSharding(sharding.mesh, PartitionSpec())
    usual_loss = jax.device_put(np.zeros((), "float32"), sharding)
    return State(
        trainable,
        [v.value for v in model.non_trainable_variables],
        [v.value for v in optimizer.variables],
        usual_loss,
    )


def loss_sums(
    model: Transformer, part: Batch, training: bool, encode: Callable[..., jax.Array] | None = None
) -> tuple[jax.Array, jax.Array]:
    """The sum of -log p over the targets of `(B, ...)` arrays, and how many of them were found; float32 scalars.

    Logits are computed at the targets only: `(B, M, V)`.

    Args:
        encode: gives the hidden states in place of `model.encode`; called as that is.
    """
    hidden_BTD = (encode or model.encode)(
        part["token_ids"], part.get("segment_ids"), training=training, document_ids_BT=part.get("document_ids")
    )
    return sums_of_logits(logits_at_targets(model, hidden_BTD, part), part)


def logits_at_targets(model: Transformer, hidden_BTD: jax.Array, part: Batch) -> jax.Array:
    """Logits `(B, M, V)`, float32."""
    positions_BM1 = part["target_positions"][..., None]
    return model.token_logits(jnp.take_along_axis(hidden_BTD, positions_BM1, axis=1, mode="clip"))


def sums_of_logits(logits_BMV: jax.Array, part: Batch) -> tuple[jax.Array, jax.Array]:
    """What `loss_sums` returns, from the logits."""
    weights_BM, ids_BM = part["target_weights"], part["target_ids"]
    loss_BM = ops.sparse_categorical_crossentropy(ids_BM, logits_BMV, from_logits=True)
    # found: no token has a higher logit; a CPU takes much longer for the argmax
    own_BM = jnp.take_along_axis(logits_BMV, ids_BM[..., None], axis=-1, mode="clip")[..., 0]
    hits_BM = own_BM >= jnp.max(logits_BMV, axis=-1)
    return jnp.sum(loss_BM * weights_BM), jnp.sum(hits_BM * weights_BM)


def make_step(
    model: Trained,
    optimizer: keras.optimizers.Optimizer,
    spike: float | None = None,
    loss: Loss | None = None,
) -> Step:
    """`step(state, batch) -> (state, metrics)`, to be compiled, with the state donated.

    `loss` computes with the variables of `model`; None: `loss_sums` of it, which is a Transformer then.

    A batch has arrays `(A, B, ...)`. Losses and gradients are summed over all parts and all devices and divided by the
    number of targets in all of them: accumulated parts give the gradients of one large batch, whatever the devices.

    A bad step changes nothing but the random state: its loss or gradient is not finite, or its loss is more than
    `spike` times the usual one.

    Metrics, float32 scalars: `loss` (nats per target), `accuracy`, `targets`, `tokens` (not padding),
    `gradient_norm`, `bad` (0 or 1).
    """
    transformer: Any = model
    add_up = _make_sums(model, loss or functools.partial(loss_sums, transformer, training=True))

    def step(state: State, batch: Batch) -> tuple[State, Metrics]:
        sums = add_up(state, batch)
        targets = jnp.maximum(jnp.sum(batch["target_weights"]), 1.0)
        loss, gradients = sums.loss / targets, [g / targets.astype(g.dtype) for g in sums.gradients]
        norm = jnp.sqrt(sum(jnp.sum(jnp.square(g.astype("float32"))) for g in gradients))
        bad = ~(jnp.isfinite(loss) & jnp.isfinite(norm))
        if spike is not None:
            bad |= (state.usual_loss > 0) & (loss > spike * state.usual_loss)
        state = _next_state(state, sums.others, optimizer, gradients, loss, bad)
        tokens = jnp.sum(padding_mask(batch["token_ids"], model.config.pad_id)).astype("float32")
        metrics = {"loss": loss, "accuracy": sums.hits / targets, "targets": targets, "tokens": tokens}
        return state, metrics | {"gradient_norm": norm, "bad": bad.astype("float32")}

    return step


class _Sums(NamedTuple):
    """Over the parts of a batch: the random state after them, and the sums of losses, targets found and gradients."""

    others: list[jax.Array]
    loss: jax.Array
    hits: jax.Array
    gradients: list[jax.Array]


def _make_sums(model: Trained, loss_of_part: Loss) -> Callable[[State, Batch], _Sums]:
    """`add_up(state, batch)`: computes the parts of a batch one after the other."""
    trainable, others = list(model.trainable_variables), list(model.non_trainable_variables)

    def part_loss(
        trainable_values: list[jax.Array], other_values: list[jax.Array], part: Batch
    ) -> tuple[jax.Array, tuple[list[jax.Array], jax.Array]]:
        mapping = list(zip(trainable + others, [*trainable_values, *other_values], strict=True))
        with keras.StatelessScope(state_mapping=mapping) as scope:
            loss, hits = loss_of_part(part)
        return loss, (list(current_values(scope, others, other_values)), hits)

    differentiated = jax.value_and_grad(part_loss, has_aux=True)

    def add_up(state: State, batch: Batch) -> _Sums:
        def add_part(sums: _Sums, part: Batch) -> tuple[_Sums, None]:
            (loss, (other_values, hits)), new = differentiated(state.trainable, sums.others, part)
            gradients = [a + b for a, b in zip(sums.gradients, new, strict=True)]
            return _Sums(other_values, sums.loss + loss, sums.hits + hits, gradients), None

        if batch["token_ids"].shape[0] == 1:
            part = {name: array[0] for name, array in batch.items()}
            (loss, (other_values, hits)), gradients = differentiated(state.trainable, state.others, part)
            return _Sums(other_values, loss, hits, gradients)
        zero = jnp.zeros((), "float32")
        start = _Sums(state.others, zero, zero, [jnp.zeros_like(value) for value in state.trainable])
        sums, _ = jax.lax.scan(add_part, start, dict(batch))
        return sums

    return add_up


def _next_state(
    state: State,
    others: list[jax.Array],
    optimizer: keras.optimizers.Optimizer,
    gradients: list[jax.Array],
    loss: jax.Array,
    bad: jax.Array,
) -> State:
    """The state after a step: updated by the gradients, or as it was, with the new random state, where it is bad."""
    new_trainable, new_optimizer = optimizer.stateless_apply(state.optimizer, gradients, state.trainable)
    usual = jnp.where(state.usual_loss > 0, _MEMORY * state.usual_loss + (1 - _MEMORY) * loss, loss)

    def unless_bad(new: list[jax.Array], old: list[jax.Array]) -> list[jax.Array]:
        return [jnp.where(bad, b, a) for a, b in zip(new, old, strict=True)]

    return State(
        unless_bad(new_trainable, state.trainable),
        others,
        unless_bad(new_optimizer, state.optimizer),
        jnp.where(bad, state.usual_loss, usual),
    )


def with_rate(state: State, optimizer: keras.optimizers.Optimizer, rate: float) -> State:
    """The state with another learning rate, for an optimizer that was made with a number and not with a schedule."""
    (place,) = [i for i, v in enumerate(optimizer.variables) if v.path.endswith("learning_rate")]
    values = list(state.optimizer)
    values[place] = jnp.asarray(rate, values[place].dtype)
    return state._replace(optimizer=values)


def keep_state(model: Trained, state: State) -> None:
    """Puts a state into the variables of the model; the next step, which takes the arrays, takes them away again."""
    for variable, value in zip(model.trainable_variables, state.trainable, strict=True):
        variable.assign(value)
    for variable, value in zip(model.non_trainable_variables, state.others, strict=True):
        variable.assign(value)


def batch_sharding(mesh: jax.sharding.Mesh | None) -> NamedSharding | None:
    """How arrays `(A, B, ...)` lie on a mesh: B is cut along "data". None without a mesh."""
    return None if mesh is None else NamedSharding(mesh, PartitionSpec(None, "data"))


def compile_step(step: Step, state: State) -> Step:
    """The step as compiled programs, one for each shape of batch. The new state is written where the old one was, and
    is cut over the devices as it was.
    """
    shardings = jax.tree.map(lambda array: array.sharding, state)
    jitted = jax.jit(step, donate_argnums=0, out_shardings=(shardings, None))
    programs: dict[tuple, jax.stages.Compiled] = {}

    def run(state: State, batch: Batch) -> tuple[State, Metrics]:
        shapes = tuple((name, array.shape) for name, array in sorted(batch.items()))
        if shapes not in programs:
            # compiled here and not by a call, which would do so twice: Keras' arrays and the step's own are cut alike
            # but do not say so in the same words
            programs[shapes] = jitted.lower(state, batch).compile()
        return programs[shapes](state, batch)

    return run


def on_mesh(batch: Mapping[str, np.ndarray], sharding: NamedSharding | None) -> dict[str, jax.Array]:
    """This process's rows `(A, B of this process, ...)` as arrays of all processes."""
    if sharding is None:
        return {name: jnp.asarray(array) for name, array in batch.items()}
    return {name: jax.make_array_from_process_local_data(sharding, array) for name, array in batch.items()}


def make_evaluation(model: Transformer) -> Evaluation:
    """`evaluate(trainable, others, part)`, to be compiled: `loss_sums` without dropout, and the sum of weights."""
    variables = [*model.trainable_variables, *model.non_trainable_variables]

    def evaluate(
        trainable_values: list[jax.Array], other_values: list[jax.Array], part: Batch
    ) -> tuple[jax.Array, jax.Array, jax.Array]:
        mapping = list(zip(variables, [*trainable_values, *other_values], strict=True))
        with keras.StatelessScope(state_mapping=mapping):
            return *loss_sums(model, part, training=False), jnp.sum(part["target_weights"])

    return evaluate
