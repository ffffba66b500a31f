"""Texts as samples of an autoencoder: read whole, written again from a vector with some tokens hidden.

Legend: B batch, T position, Z numbers of the latent vector.
"""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, TypedDict

import numpy as np

from nlptasks.applications.examples import ShuffledBatches, padded_width
from nlptasks.text.batches import pad

if TYPE_CHECKING:
    from nlptasks.applications.latent.writer import LatentWriter


class LatentBatch(TypedDict):
    """Padded arrays of one batch."""

    source_ids: np.ndarray  # int32 (B, T): [CLS] text [SEP], which the encoder reads
    token_ids: np.ndarray  # int32 (B, T): [CLS] text, which the decoder reads
    target_ids: np.ndarray  # int32 (B, T): the token that follows each
    target_weights: np.ndarray  # float32 (B, T): 1 where that is a token of the text or its closing [SEP]
    rows: np.ndarray  # float32 (B,): 0 beyond the data
    noise: np.ndarray  # float32 (B, Z): normal; the vector is mean + deviation x noise
    prior: np.ndarray  # float32 (B, Z): normal, what an adversary tells vectors from
    kl_weight: np.ndarray  # float32 (B,)


def source_rows(texts: Sequence[np.ndarray], first_id: int, count: int, limit: int, pad_id: int) -> np.ndarray:
    """[CLS] and the texts, `(count, T)`."""
    rows = [np.concatenate([[first_id], text]) for text in texts]
    found = pad(rows, padded_width(max(map(len, rows)), limit), count, pad_id)
    found[len(rows) :, 0] = first_id
    return found


class LatentExamples(ShuffledBatches):
    """Training texts as batches; what is drawn is a function of seed, epoch and batch alone.

    Args:
        writer: makes arrays of texts.
        texts: the texts.
        word_dropout: share of the tokens that the decoder reads as unknown.
        seed: of the order and of all draws.

    Attributes:
        num_cut: texts of which a part is not read.
        warmup_batches: batches in which the weight of the KL divergence rises from 0 to 1.
    """

    warmup_batches: int = 0

    def __init__(self, writer: "LatentWriter", texts: Sequence[str], word_dropout: float = 0.0, seed: int = 0) -> None:
        self.writer, self.word_dropout = writer, word_dropout
        self.texts, cut = writer.decoder.encode(texts)
        self.num_cut = sum(cut)
        super().__init__([len(text) for text in self.texts], seed)

    def batches(self, epoch: int, size: int) -> list[tuple[int, int, np.ndarray]]:
        """Epoch, number and indices of each batch."""
        return [(epoch, number, indices) for number, indices in enumerate(super().batches(epoch, size))]

    def arrays(self, batch: tuple[int, int, np.ndarray], size: int) -> LatentBatch:
        """One of `batches`, filled up to `size` rows."""
        epoch, number, indices = batch
        random = np.random.default_rng([self.seed, epoch, number])
        found = self.writer.arrays([self.texts[i] for i in indices], size, random)
        step = epoch * self.num_batches(epoch, size) + number
        weight = min(1.0, (step + 1) / self.warmup_batches) if self.warmup_batches else 1.0
        found["kl_weight"] = np.full(size, weight, "float32")
        if self.word_dropout:
            hidden = random.random(found["token_ids"].shape) < self.word_dropout
            hidden[:, 0] = False  # [CLS]
            hidden &= found["target_weights"] > 0
            found["token_ids"][hidden] = self.writer.tokenizer.unk_id
        return found

    def weight(self, arrays: Mapping[str, np.ndarray]) -> float:
        """How many tokens are predicted in a batch."""
        return arrays["target_weights"].sum()
