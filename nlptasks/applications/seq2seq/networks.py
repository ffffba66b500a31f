"""The networks that write a target for a source: what a batch is to each, and how it is decoded.

Legend: B batch, S source position, M target tokens a row, V vocabulary.
"""

from collections.abc import Sequence
from typing import Any, TypedDict

import numpy as np
from keras import ops

from nlptasks.applications.examples import width_multiple
from nlptasks.applications.seq2seq.writing import PairLengths
from nlptasks.applications.seq2seq_loss import TARGET_MULTIPLE, TargetBatch, target_batch, target_log_probabilities
from nlptasks.backend import Tensor
from nlptasks.core import EncoderDecoder, Transformer
from nlptasks.errors import UserError
from nlptasks.text.batches import pad, round_up

Ids = Sequence[np.ndarray]
"""the tokens of each text, with those that close it"""


class OneStack:
    """A Transformer with UniLM's mask, which reads `[CLS] source [SEP] target [SEP]` as one row.

    Raises:
        UserError: it has another mask.
    """

    def __init__(self, model: Transformer) -> None:
        if model.config.attention != "unilm":
            raise UserError(
                "a sequence-to-sequence model needs the UNILM mask. Received: a model with attention {attention!r}; "
                'build it with application="unilm".',
                attention=model.config.attention,
            )
        self.model = model

    def batch(self, sources: Ids, targets: Ids, size: int, lengths: PairLengths) -> TargetBatch:
        """Sources and targets as arrays, filled up to `size` rows."""
        pad_id = self.model.config.pad_id
        return target_batch(sources, targets, size, lengths.total, width_multiple(), pad_id=pad_id)

    def log_probabilities(self, batch: TargetBatch, training: bool = False) -> Tensor:
        """log p of each target token `(B, M)`, float32."""
        return target_log_probabilities(self.model, batch, training)

    def prefixes(self, sources: Ids, prompt: Sequence[int]) -> dict[str, Any]:
        """What `Generator` goes on from: each source, and the tokens with which every target begins."""
        return {
            "sources": [[*ids.tolist(), *prompt] for ids in sources],
            "segment_ids": [[0] * len(ids) + [1] * len(prompt) for ids in sources],
        }


class SourceBatch(TypedDict):
    """Padded arrays of one batch; `target_weights` is 0 where a row has fewer targets than M."""

    source_ids: np.ndarray  # int32 (B, S)
    former_ids: np.ndarray  # int32 (B, M): the token before each target, the start token before the first one
    target_ids: np.ndarray  # int32 (B, M)
    target_weights: np.ndarray  # float32 (B, M)


class TwoStacks:
    """T5: an encoder reads the source, and a decoder writes the target behind a start token, which is padding.

    The methods are those of `OneStack`.
    """

    def __init__(self, model: EncoderDecoder) -> None:
        self.model = model

    def batch(self, sources: Ids, targets: Ids, size: int, lengths: PairLengths) -> SourceBatch:
        """Sources and targets as arrays, filled up to `size` rows."""
        pad_id = self.model.config.pad_id
        width = round_up(max(map(len, sources)), width_multiple(), lengths.source_length)
        most = round_up(max(map(len, targets)), TARGET_MULTIPLE)
        target_ids = pad(targets, most, size, pad_id)
        start = np.full((size, 1), pad_id, "int32")
        return SourceBatch(
            source_ids=pad(sources, width, size, pad_id),
            former_ids=np.concatenate([start, target_ids[:, :-1]], axis=1),
            target_ids=target_ids,
            target_weights=pad([np.ones(len(ids)) for ids in targets], most, size).astype("float32"),
        )

    def log_probabilities(self, batch: SourceBatch, training: bool = False) -> Tensor:
        """log p of each target token `(B, M)`, float32."""
        logits_BMV = self.model([batch["source_ids"], batch["former_ids"]], training=training)
        return -ops.sparse_categorical_crossentropy(batch["target_ids"], logits_BMV, from_logits=True)

    def prefixes(self, sources: Ids, prompt: Sequence[int]) -> dict[str, Any]:
        """What `Generator` takes: the sources.

        Raises:
            UserError: there is a prompt.
        """
        if prompt:
            raise UserError("{field:prompt} goes with a model of one stack; leave it out: this one is a T5.")
        return {"sources": [ids.tolist() for ids in sources]}


def network_of(model: Transformer | EncoderDecoder) -> OneStack | TwoStacks:
    """The network of a model."""
    return TwoStacks(model) if isinstance(model, EncoderDecoder) else OneStack(model)
