"""Training on mixtures of texts: mixup, SamplePairing, and smoothed labels.

What is drawn follows from the seed, the epoch and the batch, so that a resumed run mixes as one that was never stopped.

Legend: B batch, T position, E size of an embedding, D hidden, C label.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from keras import ops

from nlptasks.applications.classification.training import ClassifierOptions
from nlptasks.backend import Tensor

if TYPE_CHECKING:
    from nlptasks.applications.classification.classifier import ClassificationExamples, Classifier

QUIET_SHARE = 0.2
"""of the epochs, the last ones, in which SamplePairing rests"""


class MixedExamples:
    """Classification examples, each with the partner that it is mixed with and its own share of the mixture.

    Args:
        examples: the texts.
        options: `mixup`, `mixup_at`, `sample_pairing`, `label_smoothing`, `epochs` and `seed`.
    """

    def __init__(self, examples: ClassificationExamples, options: ClassifierOptions) -> None:
        self._examples, self._options = examples, options
        self.num_cut = examples.num_cut

    def __len__(self) -> int:
        """Number of examples."""
        return len(self._examples)

    def num_batches(self, epoch: int, size: int) -> int:
        """How many batches an epoch has."""
        return self._examples.num_batches(epoch, size)

    def batches(self, epoch: int, size: int) -> Sequence[Any]:
        """Epoch, number and examples of each batch."""
        return [(epoch, i, indices) for i, indices in enumerate(self._examples.batches(epoch, size))]

    def weight(self, arrays: Mapping[str, np.ndarray]) -> float:
        """How many examples there are in a batch."""
        return arrays["weights"].sum()

    def arrays(self, batch: Any, size: int) -> dict[str, np.ndarray]:
        """The arrays of a batch: `partners`, int32 `(B,)`, and `embedding_shares` or `vector_shares`, float32."""
        epoch, number, indices = batch
        options, count = self._options, len(indices)
        last = options.epochs or 0  # settled where a run is
        arrays: dict[str, Any] = dict(self._examples.arrays(indices, size))
        random = np.random.default_rng([options.seed, epoch, number, 2])
        partners, shares = np.arange(size), np.ones(size, "float32")
        partners[:count] = random.permutation(count)
        targets = arrays["targets"]
        if options.label_smoothing:
            targets = (1 - options.label_smoothing) * targets + options.label_smoothing / targets.shape[1]
        if options.mixup is not None:
            shares[:count] = random.beta(options.mixup, options.mixup, count)
            targets = shares[:, None] * targets + (1 - shares[:, None]) * targets[partners]
        elif options.sample_pairing and epoch < last - math.ceil(QUIET_SHARE * last):
            shares[:count] = 0.5
        partners = np.where(shares == 1, np.arange(size), partners)
        name = "vector_shares" if options.mixup is not None and options.mixup_at == "vector" else "embedding_shares"
        return arrays | {"targets": targets.astype("float32"), "partners": partners.astype("int32"), name: shares}


def mixed_logits(classifier: Classifier, batch: Mapping[str, Any], training: bool) -> Tensor:
    """Logits `(B, C)` of mixtures: of the token embeddings, or of the vectors that the head reads.

    A mixture of texts is as long as the longer one; where the shorter one has ended, the embedding of padding is mixed
    in.
    """
    token_ids_BT, segment_ids_BT, partners_B = batch["token_ids"], batch["segment_ids"], batch["partners"]
    if "vector_shares" in batch:
        share_B1 = ops.convert_to_tensor(batch["vector_shares"])[:, None]
        pooled_BD = ops.cast(classifier.pooled(token_ids_BT, segment_ids_BT, training=training), "float32")
        mixed_BD = share_B1 * pooled_BD + (1.0 - share_B1) * ops.take(pooled_BD, partners_B, axis=0)
        return ops.cast(classifier.model.head_layers["classifier"](mixed_BD), "float32")
    transformer = classifier.model.transformer
    share_B11 = ops.convert_to_tensor(batch["embedding_shares"])[:, None, None]
    others_BT, segments_BT = (ops.take(x, partners_B, axis=0) for x in (token_ids_BT, segment_ids_BT))
    table = transformer.embeddings.token
    own_BTE, other_BTE = table(token_ids_BT), table(others_BT)
    share_B11 = ops.cast(share_B11, own_BTE.dtype)
    mixed_BTE = share_B11 * own_BTE + (1.0 - share_B11) * other_BTE
    ended_BT = ops.equal(token_ids_BT, classifier.tokenizer.pad_id)
    ids_BT = ops.where(ended_BT, others_BT, token_ids_BT)  # real where one of them is
    segments_BT = ops.where(ended_BT, segments_BT, segment_ids_BT)

    def encode(token_ids: Tensor, segment_ids: Tensor, training: bool | None = None) -> Tensor:
        return transformer.encode(token_ids, segment_ids, training=training, token_vectors_BTE=mixed_BTE)

    return classifier.logits(ids_BT, segments_BT, training=training, encode=encode)
