"""bert4keras' way to call the decoder: `AutoRegressiveDecoder`, one sample at a time, on the compiled loop."""

from collections.abc import Sequence

import numpy as np

from nlptasks.core import Transformer
from nlptasks.generate.beams import Bert4kerasBeamSearch
from nlptasks.generate.generator import Generator
from nlptasks.generate.sampling import Sampling
from nlptasks.generate.search import Hypothesis, Search


class AutoRegressiveDecoder:
    """`beam_search` and `random_sample` under bert4keras' names and meanings.

        decoder = AutoRegressiveDecoder(model, start_id=None, end_id=tokenizer.sep_id, maxlen=32)
        output_ids = decoder.beam_search([token_ids, segment_ids], topk=4)

    Where bert4keras has a `predict` to be written, the model is given here; many samples at once are faster with
    `Generator`.

    Args:
        model: built with `application="lm"` or `"unilm"`.
        start_id: first generated token, given and not predicted; None: there is none.
        end_id: the token that ends a sequence.
        maxlen: most tokens to predict, the end token counted.
        minlen: a sequence of fewer tokens, start and end token counted, does not end. `beam_search` goes on past an
            end token that comes too early, as bert4keras does; `random_sample` does not draw one.
        dtype: "float32" or "bfloat16"; None: what the model computes in.
    """

    def __init__(
        self,
        model: Transformer,
        start_id: int | None,
        end_id: int,
        maxlen: int,
        minlen: int = 1,
        dtype: str | None = None,
    ):
        self.start_id, self.end_id, self.maxlen, self.minlen = start_id, end_id, maxlen, minlen
        self.generator = Generator(model, end_id, dtype)

    def beam_search(
        self, inputs: Sequence[Sequence[int]], topk: int, temperature: float = 1.0, min_ends: int = 1
    ) -> np.ndarray:
        """The best sequence, with its start and end tokens; `topk` is the number of beams.

        Args:
            inputs: `[token_ids]` or `[token_ids, segment_ids]` of one sample.
            min_ends: how many end tokens end a sequence.
        """
        search = Bert4kerasBeamSearch(size=topk, temperature=temperature, min_ends=min_ends)
        return self._generate(inputs, search)[0]

    def random_sample(
        self,
        inputs: Sequence[Sequence[int]],
        n: int,
        topk: int | None = None,
        topp: float | None = None,
        temperature: float = 1.0,
        min_ends: int = 1,
        seed: int | None = None,
    ) -> list[np.ndarray]:
        """`n` sequences drawn at random, in the order of their draws.

        Args:
            topk, topp: draw from the most probable tokens only; see `Sampling`.
            seed: None: from numpy's global state, so that `np.random.seed` governs it.
        """
        seed = int(np.random.randint(2**31)) if seed is None else seed  # noqa: NPY002 - bert4keras' own source
        search = Sampling(temperature=temperature, top_k=topk, top_p=topp, count=n, seed=seed, min_ends=min_ends)
        return self._generate(inputs, search)

    def _generate(self, inputs: Sequence[Sequence[int]], search: Search) -> list[np.ndarray]:
        token_ids, *segment_ids = (np.asarray(x).tolist() for x in inputs)
        segment_ids = segment_ids[0] if segment_ids else [0] * len(token_ids)
        given = [] if self.start_id is None else [self.start_id]
        found = self.generator.generate(
            [token_ids + given],
            search,
            max_length=self.maxlen,
            min_length=max(1, self.minlen - len(given)),
            segment_ids=[segment_ids + [self.generator.generated_segment] * len(given)],
        )
        return [self._ids(given, hypothesis) for hypothesis in found[0]]

    def _ids(self, given: list[int], hypothesis: Hypothesis) -> np.ndarray:
        return np.array(given + hypothesis.tokens + [self.end_id] * hypothesis.finished)
