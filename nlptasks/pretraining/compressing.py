"""Losses under which a pretrained model loses layers while pretraining goes on, for `make_step`. JAX only."""

import functools

import jax
from jax import numpy as jnp

from nlptasks.applications.compression.distillation import Distillation, divergence, hidden_loss
from nlptasks.applications.compression.theseus import Theseus, transformer_of
from nlptasks.pretraining.step import Batch, logits_at_targets, loss_sums, sums_of_logits


def theseus_loss(theseus: Theseus, part: Batch) -> tuple[jax.Array, jax.Array]:
    """`loss_sums` of the predecessor with a share of its layers replaced, `part["rate"]`, a scalar.

    Embeddings and head are the predecessor's, which do not change.
    """
    encode = functools.partial(theseus.encode, rate=part["rate"])
    return loss_sums(transformer_of(theseus.predecessor), part, training=True, encode=encode)


def distillation_loss(
    both: Distillation,
    part: Batch,
    soft_weight: float = 1.0,
    hidden_weight: float = 1.0,
    temperature: float = 1.0,
) -> tuple[jax.Array, jax.Array]:
    """The student's `loss_sums`, and for every target the divergence of its logits from the teacher's, times
    `soft_weight`, and the share of the teacher's hidden states that it leaves open, times `hidden_weight`.
    """
    own, its = both.states(
        part["token_ids"], part.get("segment_ids"), training=True, document_ids_BT=part.get("document_ids")
    )
    logits_BMV = logits_at_targets(both.student, own[-1], part)
    loss, hits = sums_of_logits(logits_BMV, part)
    weights_BM = part["target_weights"]
    if soft_weight:
        teacher_BMV = jax.lax.stop_gradient(logits_at_targets(both.teacher, its[-1], part))
        loss += soft_weight * jnp.sum(divergence(logits_BMV, teacher_BMV, temperature) * weights_BM)
    if hidden_weight:
        far = hidden_loss(own, its, part["token_ids"], both.config.pad_id)
        loss += hidden_weight * far * jnp.sum(weights_BM)
    return loss, hits
