"""bert4keras' way to call the decoder: `AutoRegressiveDecoder`, one sample at a time, on the compiled loop."""

from collections.abc import Sequence

import numpy as np

from nlptasks.core import Transformer
from nlptasks.generate.beams import Bert4kerasBeamSearch
from nlptasks.generate.generator import Generator
from nlptasks.generate.sampling import Sampling
from nlptasks.generate.search import Hypothesis, Search


class AutoRegressiveDecoder:
    """Decodes one sample at a time, with bert4keras' names and meanings: `beam_search` and `random_sample`.

        from nlptasks.text import Tokenizer

        tokenizer = Tokenizer.from_directory("runs/bert")
        model = nlptasks.build_transformer_model("runs/bert", "runs/bert", application="unilm")
        decoder = nlptasks.AutoRegressiveDecoder(model, start_id=None, end_id=tokenizer.sep_id, maxlen=32)
        encoding = tokenizer.encode("今天天气很好")
        output_ids = decoder.beam_search([encoding.token_ids, encoding.segment_ids], topk=4)
        tokenizer.decode(output_ids)

    With bert4keras you write a `predict` method; here you pass the model. For many samples, `Generator` is faster.

    Args:
        model: a Transformer built with `application="lm"` or `"unilm"`.
        start_id: first token of every output, which is given and not predicted; None: there is none.
        end_id: the token that ends a sequence.
        maxlen: the most tokens to predict, counting the end token.
        minlen: a sequence with fewer tokens, counting start and end token, does not end. `beam_search` continues past
            an end token that comes too early, as bert4keras does; `random_sample` does not draw one.
        dtype: "float32" or "bfloat16", the type to compute in; None: that of the model.

    Raises:
        ValueError: the model cannot decode, or `end_id` is not one of its tokens.
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
        """Returns the best sequence.

            output_ids = decoder.beam_search([token_ids, segment_ids], topk=4)

        Args:
            inputs: `[token_ids]` or `[token_ids, segment_ids]` of one sample.
            topk: number of beams.
            temperature: logits are divided by it.
            min_ends: number of end tokens that end a sequence.

        Returns:
            Token ids, int `(length,)`, with the start and end tokens.

        Raises:
            ValueError: an argument is out of its range, or the sample does not fit the model.
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
        """Draws `n` sequences at random.

            samples = decoder.random_sample([token_ids, segment_ids], n=5, topp=0.9)

        Args:
            inputs, temperature, min_ends: as in `beam_search`.
            n: number of sequences.
            topk, topp: draw only from the most probable tokens; see `Sampling`.
            seed: seed of the draws; None: it is drawn from numpy's global state, which `np.random.seed` sets.

        Returns:
            The sequences in the order of their draws, token ids with the start and end tokens.

        Raises:
            ValueError: as `beam_search`.
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
