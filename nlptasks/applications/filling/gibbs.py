"""Texts drawn from a masked language model: one token after another is masked and drawn anew (Gibbs sampling).

It follows bert4keras' `basic_gibbs_sampling_via_mlm`; the masked LM as a Markov random field: arXiv 1902.04094.

Legend: B chain, T position, V vocabulary.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass

import numpy as np
from keras import ops

from nlptasks.applications.filling.filler import MaskFiller
from nlptasks.errors import UserError
from nlptasks.text.batches import pad
from nlptasks.text.masked import encode_masked


@dataclass(frozen=True)
class GibbsSampler:
    """Draws texts from the distribution that a masked language model's guesses define.

        GibbsSampler(nlptasks.MaskFiller.open("mini")).sample("今天[MASK][MASK]很好", count=3)

    Args:
        filler: the model.
        temperature: logits are divided by it; below 1: more probable tokens.
        top_k: draw only from the k most probable tokens.
        seed: of the draws; a chain depends on it and on its own number alone.

    Raises:
        UserError: a value out of its range.
    """

    filler: MaskFiller
    temperature: float = 1.0
    top_k: int | None = None
    seed: int = 0

    def __post_init__(self) -> None:
        if not self.temperature > 0:
            raise UserError(
                "{field:{name}} must be positive. Received: {value}.", name="temperature", value=self.temperature
            )
        if self.top_k is not None and self.top_k < 1:
            raise UserError(
                "{field:{name}} must be at least {least}. Received: {value}.", name="top_k", least=1, value=self.top_k
            )

    def sample(
        self, text: str, count: int = 1, sweeps: int = 20, progress: Callable[[Iterable], Iterable] = iter
    ) -> list[str]:
        """Draws texts.

        Args:
            text: where every chain begins. If it has masks, they are what is drawn, and the rest stays; if not, all of
                it is drawn anew.
            count: number of texts, each from a chain of its own.
            sweeps: how often each token is drawn, in an order that changes; a mask stays one until its first draw.
            progress: wraps the iteration over sweeps, for example `tqdm`.

        Returns:
            The texts, as the tokens are joined; white space before a mask is dropped.

        Raises:
            UserError: no tokens, or more than the model reads.
        """
        tokenizer, template = self.filler.tokenizer, self.filler.tokenizer.template
        [masked] = encode_masked(tokenizer, [text])
        ids_T = masked.encoding.token_ids
        inner = range(len(template.before), len(ids_T) - len(template.after))
        positions = np.array(masked.positions or list(inner), "int32")
        limit = self.filler.model.config.position_reach
        if not len(positions) or len(ids_T) > limit:
            raise UserError(
                "the text has {count} tokens to draw, and {total} in all; the model reads 1 to {most}.",
                count=len(positions),
                total=len(ids_T),
                most=limit,
            )
        chains_BT, rows = np.tile(ids_T, (count, 1)), np.arange(count)
        randoms = [np.random.default_rng([self.seed, chain]) for chain in range(count)]
        for _ in progress(range(sweeps)):
            orders_BM = np.array([random.permutation(positions) for random in randoms])
            for places_B in orders_BM.T:
                chains_BT[rows, places_B] = self.filler.mask_id
                logits_BV = self._logits(chains_BT, places_B)
                uniforms = [random.random() for random in randoms]
                chains_BT[rows, places_B] = [self._draw(*each) for each in zip(logits_BV, uniforms, strict=True)]
        return [tokenizer.decode(ids[inner.start : inner.stop]) for ids in chains_BT]

    def _logits(self, chains_BT: np.ndarray, places_B: np.ndarray) -> np.ndarray:
        """Logits `(B, V)` of one place of each chain; no special token is drawn."""
        ids_BT = pad(list(chains_BT), chains_BT.shape[1], None, self.filler.tokenizer.pad_id)
        found = self.filler._logits(ids_BT, np.zeros_like(ids_BT), places_B[:, None].astype("int32"))
        logits_BV = np.array(ops.convert_to_numpy(found), "float64")[:, 0]
        logits_BV[:, sorted(self.filler.tokenizer.special_ids)] = -np.inf
        return logits_BV

    def _draw(self, logits_V: np.ndarray, uniform: float) -> int:
        if self.top_k is not None:
            least = np.partition(logits_V, -min(self.top_k, len(logits_V)))[-min(self.top_k, len(logits_V))]
            logits_V = np.where(logits_V >= least, logits_V, -np.inf)
        weights_V = np.exp((logits_V - logits_V.max()) / self.temperature)
        reached_V = np.cumsum(weights_V)
        return int(np.searchsorted(reached_V, uniform * reached_V[-1], side="right"))
