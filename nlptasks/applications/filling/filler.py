"""Filling masks: a text with masks in, the most probable tokens of each mask out.

Legend: B batch, T position, M mask, V vocabulary.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from keras import ops

from nlptasks.applications.encoder_head import check_vocabulary
from nlptasks.applications.examples import prediction_batches
from nlptasks.backend import compile_function
from nlptasks.bundled import MINI, pretrained_path
from nlptasks.core.transformer import Transformer
from nlptasks.errors import UserError
from nlptasks.loading import build_transformer_model, load_weights
from nlptasks.text import TextTokenizer, open_tokenizer
from nlptasks.text.batches import pad
from nlptasks.text.masked import MaskedText, encode_masked, require_masks


@dataclass(frozen=True)
class Candidate:
    """A token that may stand at a mask.

    Attributes:
        token: as the vocabulary spells it: "##ing" and "▁好" are pieces of words.
        probability: over the whole vocabulary, given the text and its other masks.
    """

    token: str
    probability: float


@dataclass(frozen=True)
class FilledMask:
    """A mask of a text, and what may stand there.

    Attributes:
        start, end: the mask is `text[start:end]`.
        candidates: the most probable tokens, the best one first.
    """

    start: int
    end: int
    candidates: tuple[Candidate, ...]

    @property
    def token(self) -> str:
        """The most probable token."""
        return self.candidates[0].token


class MaskFiller:
    """Finds the tokens that a pretrained Transformer expects at the masks of a text.

        filler = nlptasks.MaskFiller.open("mini")
        filler.fill("今天天气[MASK]好")[0].candidates

    Several masks in a text are filled one by one: the probabilities of each are those while the others are masked.

    Args:
        model: a Transformer with the masked-LM head; it reads `(B, T)` tokens and gives logits `(B, M, V)` at M masks.
        tokenizer: has the vocabulary of the model, and a mask token.

    Raises:
        UserError: model and tokenizer do not fit together, or lack the head or the mask token.
    """

    def __init__(self, model: Transformer, tokenizer: TextTokenizer):
        if model.mlm is None:
            raise UserError("the model has no masked-LM head, so nothing can be filled; give with_mlm=True.")
        check_vocabulary(model, tokenizer)
        self.model, self.tokenizer, self.mask_id = model, tokenizer, tokenizer.mask_id

        def logits_of(token_ids_BT: Any, segment_ids_BT: Any, positions_BM: Any) -> Any:
            return model.token_logits(model.encode(token_ids_BT, segment_ids_BT, positions_BM=positions_BM))

        self._logits = compile_function(logits_of, model)

    @classmethod
    def open(cls, model: str | Path = MINI) -> "MaskFiller":
        """Opens a pretrained model.

            nlptasks.MaskFiller.open("chinese_L-12_H-768_A-12")

        Args:
            model: "mini", which comes with the package, or a directory with config, weights and tokenizer ("./mini" for
                one of that name), in any format of `nlptasks.build_transformer_model`.

        Raises:
            UserError, ValueError, FileNotFoundError: one line: what is missing or does not fit.
        """
        path = pretrained_path(model) if isinstance(model, str) else model
        tokenizer = open_tokenizer(path)
        found = build_transformer_model(path, with_mlm="linear", pad_id=tokenizer.pad_id)
        if load_weights(found, path):
            raise UserError(
                "{path}: has no masked-LM head, so nothing can be filled with it; give a model as it was pretrained.",
                path=path,
            )
        return cls(found, tokenizer)

    def fill(self, text: str, top: int = 5) -> list[FilledMask]:
        """Fills the masks of one text.

            filler.fill("他在[MASK][MASK]大学读书", top=3)[0].token

        Args:
            text: with at least one mask, spelled [MASK] or as the tokenizer's own mask token (`<mask>`).
            top: the most candidates of each mask.

        Returns:
            A `FilledMask` for each mask, in their order.

        Raises:
            UserError: no mask, more tokens than the model reads, or `top` below 1.
        """
        return self.predict([text], top)[0]

    def predict(
        self,
        texts: Sequence[str],
        top: int = 5,
        batch_size: int = 32,
        progress: Callable[[Iterable], Iterable] = iter,
    ) -> list[list[FilledMask]]:
        """Fills the masks of each text of a list.

        Args:
            texts, top: as `fill`.
            batch_size: number of texts that are read together; it changes the speed, not the result.
            progress: wraps the iteration over batches, for example `tqdm`.

        Returns:
            For each text a list of `FilledMask`.

        Raises:
            UserError: as `fill`; the message counts texts from 1.
            TypeError: a text is not a str, or one str was given instead of a list.
        """
        if top < 1:
            raise UserError("{field:top} must be at least 1. Received: {value}.", value=top)
        if isinstance(texts, str):
            raise TypeError("texts must be a list; for one text call fill.")
        return self.fill_encoded(self.encode(texts), top, batch_size, progress)

    def encode(self, texts: Sequence[str], places: Sequence[str] | None = None) -> list[MaskedText]:
        """Tokenizes texts with masks, as `predict` does; an error names the place of a text, where places are given."""
        masked = encode_masked(self.tokenizer, texts)
        numbers = [f"text {number}" for number in range(1, 1 + len(texts))]
        require_masks(masked, self.model.config.position_reach, numbers if places is None else places)
        return masked

    def fill_encoded(
        self,
        masked: Sequence[MaskedText],
        top: int = 5,
        batch_size: int = 32,
        progress: Callable[[Iterable], Iterable] = iter,
    ) -> list[list[FilledMask]]:
        """As `predict`, of texts from `encode`."""
        found: list[list[FilledMask]] = [[] for _ in masked]
        limit, size = self.model.config.position_reach, min(batch_size, max(1, len(masked)))
        encodings = [one.encoding for one in masked]
        for indices, inputs in progress(list(prediction_batches(encodings, size, limit, self.tokenizer.pad_id))):
            rows = [masked[i].positions for i in indices]
            width = 1 << (max(map(len, rows)) - 1).bit_length()  # few widths, so that few programs are compiled
            logits_BMV = ops.convert_to_numpy(self._logits(*inputs, pad(rows, width, size)))
            for i, logits_MV in zip(indices, logits_BMV, strict=False):
                best = [self._best(logits_V, top) for logits_V in logits_MV[: len(masked[i].positions)]]
                spans = zip(masked[i].spans, best, strict=True)
                found[i] = [FilledMask(start, end, one) for (start, end), one in spans]
        return found

    def _best(self, logits_V: np.ndarray, top: int) -> tuple[Candidate, ...]:
        weights_V = np.exp(logits_V.astype("float64") - logits_V.max())
        weights_V /= weights_V.sum()
        ids = np.argsort(-weights_V, kind="stable")[:top]
        return tuple(Candidate(self.tokenizer.id_to_token(int(i)), float(weights_V[i])) for i in ids)
