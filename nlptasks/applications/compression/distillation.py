"""Distillation of a pretrained Transformer into one of fewer layers: of its logits (arXiv 1503.02531) and of its hidden
states (arXiv 1909.10351).

Legend: B batch, T position, D hidden, V vocabulary.
"""

from typing import Any

import keras
from keras import ops

from nlptasks.applications.compression.plan import module_spans
from nlptasks.applications.compression.theseus import run_layers
from nlptasks.core.config import TransformerConfig
from nlptasks.core.masks import padding_mask
from nlptasks.core.transformer import Transformer

_TINY = 1e-6


class Distillation(keras.Model):
    """A frozen teacher, and a student with fewer layers, which is trained.

        teacher = Transformer(TransformerConfig(vocab_size=30, hidden_size=8, num_layers=4, num_heads=2, ffn_size=16))
        teacher.build()
        both = Distillation(teacher, with_fewer_layers(teacher, 2, "even"))

    Args:
        teacher, student: both built.

    Raises:
        ValueError: the student's layers do not divide the teacher's.
    """

    def __init__(self, teacher: Transformer, student: Transformer, **kwargs: Any):
        super().__init__(**kwargs)
        self.spans = module_spans(teacher.config.num_layers, student.config.num_layers)
        self.teacher, self.student = teacher, student
        self.teacher.trainable = False
        self.built = True

    @property
    def config(self) -> TransformerConfig:
        """The student's."""
        return self.student.config

    def states(
        self, token_ids_BT: Any, segment_ids_BT: Any = None, training: bool | None = None, document_ids_BT: Any = None
    ) -> tuple[list[Any], list[Any]]:
        """Hidden states `(B, T, D)` behind each layer of the student, and behind the last layer of each of the groups
        that these stand for; the teacher's are computed without dropout.
        """
        inputs = token_ids_BT, segment_ids_BT, document_ids_BT
        own = _states(self.student, [range(i, i + 1) for i in range(len(self.spans))], inputs, training)
        return own, [ops.stop_gradient(state) for state in _states(self.teacher, self.spans, inputs, False)]


def _states(transformer: Transformer, spans: list[range], inputs: tuple, training: bool | None) -> list[Any]:
    token_ids_BT, segment_ids_BT, document_ids_BT = inputs
    segment_ids_BT, position_ids_BT, mask_BTS, position = transformer.layer_inputs(
        token_ids_BT, segment_ids_BT, document_ids_BT
    )
    state: tuple = (transformer.embeddings(token_ids_BT, segment_ids_BT, position_ids_BT, training=training),)
    found, layers = [], transformer.layer_sequence
    for span in spans:
        state = run_layers(transformer, [layers[i] for i in span], state, mask_BTS, position, training)
        found.append(state[0])
    return found


def unexplained_share(student_BTD: Any, teacher_BTD: Any, real_BT: Any) -> Any:
    """The share of the variance of the teacher's hidden states that the student's leave open, over the real tokens: 0
    where both are equal, 1 for a student that knows the mean only. A float32 scalar, whatever the scale of the states.
    """
    student_BTD, teacher_BTD = ops.cast(student_BTD, "float32"), ops.cast(teacher_BTD, "float32")
    weights_BT1 = ops.cast(real_BT, "float32")[..., None]
    mean_D = ops.sum(teacher_BTD * weights_BT1, axis=(0, 1)) / ops.maximum(ops.sum(weights_BT1), 1.0)
    variance = ops.sum(ops.square(teacher_BTD - mean_D) * weights_BT1)
    return ops.sum(ops.square(student_BTD - teacher_BTD) * weights_BT1) / ops.maximum(variance, _TINY)


def hidden_loss(student: list[Any], teacher: list[Any], token_ids_BT: Any, pad_id: int = 0) -> Any:
    """The mean of `unexplained_share` over the layers that `Distillation.states` returns."""
    real_BT = padding_mask(token_ids_BT, pad_id)
    shares = [unexplained_share(own, its, real_BT) for own, its in zip(student, teacher, strict=True)]
    return sum(shares) / len(shares)


def divergence(student_V: Any, teacher_V: Any, temperature: float = 1.0) -> Any:
    """Kullback-Leibler divergence of the student's probabilities from the teacher's, from logits `(..., V)`.

    Both logits are divided by the temperature; the result is multiplied by its square, so that gradients stay as large.
    """
    student_V, teacher_V = (ops.cast(x, "float32") / temperature for x in (student_V, teacher_V))
    log_teacher_V = ops.log_softmax(teacher_V)
    apart_V = log_teacher_V - ops.log_softmax(student_V)
    return temperature**2 * ops.sum(ops.exp(log_teacher_V) * apart_V, axis=-1)
