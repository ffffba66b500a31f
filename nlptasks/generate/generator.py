"""Text generation from token ids: batches, searches, constraints and streaming over one compiled loop."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

import numpy as np
from keras import ops

from nlptasks.core import EncoderDecoder, Transformer
from nlptasks.core.config import TransformerConfig
from nlptasks.generate import constraints as c
from nlptasks.generate.cached import CachedSteps
from nlptasks.generate.loop import DecodingLoop, round_capacity, round_rows, round_width
from nlptasks.generate.search import NO_TOKEN, Greedy, Hypothesis, Limits, Search

MOST_LOOPS = 32
"""of different searches and lengths whose programs are kept, the last used ones"""


class Generator:
    """Continues token sequences with a causal or UNILM Transformer, or writes what an encoder-decoder makes of them.

        from nlptasks.generate import BeamSearch, Generator
        from nlptasks.text import Tokenizer

        tokenizer = Tokenizer.from_directory("runs/bert")
        model = nlptasks.build_transformer_model("runs/bert", "runs/bert", application="unilm")
        generator = Generator(model, end_id=tokenizer.sep_id)
        source_ids = tokenizer.encode("今天天气很好").token_ids.tolist()
        [[best]] = generator.generate([source_ids], BeamSearch(size=4), max_length=32)
        tokenizer.decode(best.tokens)

    Args:
        model: a Transformer built with `application="lm"` or `"unilm"`, or an `EncoderDecoder` (T5).
        end_id: the token that ends a sequence; None: no token does.
        dtype: "float32" or "bfloat16", the type to compute in; None: that of the model. Weights of another type are
            converted once, when the generator is made: after more training, make a new one.
        generated_segment: segment id of generated tokens; None: 1 for UNILM, 0 for a causal model.
        batch_size: number of sources that are decoded together.

    Raises:
        ValueError: the model cannot decode, or an argument is out of its range.
    """

    def __init__(
        self,
        model: Transformer | EncoderDecoder,
        end_id: int | None,
        dtype: str | None = None,
        generated_segment: int | None = None,
        batch_size: int = 16,
    ) -> None:
        if end_id is not None and not 0 <= end_id < model.config.vocab_size:
            raise ValueError(
                f"end_id must be one of the model's {model.config.vocab_size} tokens. Received: end_id={end_id}."
            )
        if batch_size < 1:
            raise ValueError(f"batch_size must be at least 1. Received: batch_size={batch_size}.")
        self.config, self.batch_size = model.config, batch_size
        self.end_id = NO_TOKEN if end_id is None else end_id
        self._model = model.stored_as(dtype or model.compute_dtype)
        self._steps = CachedSteps(self._model, generated_segment)
        self.generated_segment = self._steps.generated_segment
        self._loops: dict[tuple[Search, int], DecodingLoop] = {}

    def generate(
        self,
        sources: Sequence[Sequence[int]],
        search: Search | None = None,
        *,
        max_length: int,
        min_length: int = 1,
        repetition_penalty: float = 1.0,
        constraints: Sequence[c.Constraint] = (),
        segment_ids: Sequence[Sequence[int]] | None = None,
        conditions: np.ndarray | None = None,
        guidance: float = 1.0,
        progress: Callable[[Iterable], Iterable] = iter,
    ) -> list[list[Hypothesis]]:
        """Continues every source.

            [[best]] = generator.generate([source_ids], max_length=32)
            drawn = generator.generate([source_ids], Sampling(top_p=0.9, count=5), max_length=32)

        Args:
            sources: token ids. Padding must not be among them, and it is never generated.
            search: `Greedy()` (the default), `Sampling(...)`, `BeamSearch(...)` or `Bert4kerasBeamSearch(...)`.
            max_length, min_length: the most and the fewest tokens to generate, counting the end token.
            repetition_penalty: a value above 1 makes tokens of the source and of the generated text less likely.
            constraints: further limits on the next token, from nlptasks/generate/constraints.py.
            segment_ids: segment ids of the sources; None: all 0.
            conditions: `(sources, C)`, a vector for each source, for a model with conditional norms.
            guidance: a value above 1 strengthens the condition: logits are extrapolated from those under the zero
                condition to those under the source's condition and beyond (arXiv 2207.12598). It doubles the work.
            progress: wraps the iteration over batches, for example `tqdm`.

        Returns:
            For each source a list of `Hypothesis`, the best one first: `tokens` without the end token, `score` in
            nats, and whether it `finished`. The search decides how many there are.

        Raises:
            ValueError: a source is empty, an id is outside the vocabulary, source and generated tokens are more than
                the model has positions, or the conditions do not fit.
        """
        call = _Call(sources, segment_ids, search or Greedy(), Limits(max_length, min_length), conditions, guidance)
        call.check(self.config)
        restrictions = self._restrictions(call, repetition_penalty, constraints)
        results: list[list[Hypothesis]] = [[] for _ in sources]
        order = np.argsort([-len(source) for source in sources], kind="stable").tolist()
        for rows in progress([order[i : i + self.batch_size] for i in range(0, len(order), self.batch_size)]):
            loop, state = self._start(call, rows, restrictions)
            state = loop.proceed(state, np.int32(max_length))
            for row, hypotheses in zip(rows, call.search.hypotheses(state["found"]), strict=False):
                results[row] = hypotheses
        return results

    def stream(
        self,
        sources: Sequence[Sequence[int]],
        search: Search | None = None,
        *,
        max_length: int,
        min_length: int = 1,
        repetition_penalty: float = 1.0,
        constraints: Sequence[c.Constraint] = (),
        segment_ids: Sequence[Sequence[int]] | None = None,
        conditions: np.ndarray | None = None,
        guidance: float = 1.0,
        chunk: int = 4,
    ) -> Iterator[list[list[int]]]:
        """Yields tokens while they are generated. Joined, the pieces are what `generate` returns.

            for [piece] in generator.stream([source_ids], max_length=32, chunk=4):
                print(tokenizer.decode(piece), end="", flush=True)

        All sources are decoded as one batch; the search is `Greedy()` or `Sampling(count=1)`.

        Args:
            chunk: steps between two pieces. The other arguments are those of `generate`.

        Yields:
            For each source the token ids of the last `chunk` steps, without end tokens.

        Raises:
            ValueError: as `generate`; another search, or `chunk` is below 1.
        """
        call = _Call(sources, segment_ids, search or Greedy(), Limits(max_length, min_length), conditions, guidance)
        call.check(self.config)
        if call.search.width != 1 or call.search.revises:
            raise ValueError(f"Only greedy search and sampling with count=1 can be streamed. Received: {search}.")
        if chunk < 1:
            raise ValueError(f"chunk must be at least 1. Received: chunk={chunk}.")
        if not len(sources):
            return iter(())
        restrictions = self._restrictions(call, repetition_penalty, constraints)
        return self._pieces(call, restrictions, chunk)

    def _pieces(self, call: "_Call", restrictions: Sequence[c.Constraint], chunk: int) -> Iterator[list[list[int]]]:
        rows = list(range(len(call.sources)))
        loop, state = self._start(call, rows, restrictions)
        shown = [0] * len(rows)
        for until in range(1, call.limits.max_length + chunk, chunk):
            state = loop.proceed(state, np.int32(min(until, call.limits.max_length)))
            tokens = [ranked[0].tokens for ranked in call.search.hypotheses(state["found"])][: len(rows)]
            yield [ids[n:] for ids, n in zip(tokens, shown, strict=True)]
            shown = [len(ids) for ids in tokens]
            if bool(ops.convert_to_numpy(state["done"])):
                return

    def _restrictions(self, call: "_Call", penalty: float, constraints: Sequence[c.Constraint]) -> list[c.Constraint]:
        """The constraints of a call, the usual ones first: padding is never generated (in GPT-2, it is the end)."""
        usual = [] if self.config.pad_id == self.end_id else [c.forbid([self.config.pad_id])]
        if penalty != 1.0:
            usual.append(c.repetition_penalty(penalty))
        if call.limits.min_length > 1 and not call.search.may_pass_ends:
            usual.append(c.min_length(call.limits.min_length))
        return [*usual, *constraints]

    def _start(
        self, call: "_Call", rows: list[int], restrictions: Sequence[c.Constraint]
    ) -> tuple[DecodingLoop, dict[str, Any]]:
        count, capacity = round_rows(len(rows)), round_capacity(call.limits.max_length)
        search = call.search.replace(end_id=self.end_id)
        key = (search.signature(), capacity)
        loop = self._loops.pop(key, None) or DecodingLoop(self._steps, search.signature(), capacity, self._model)
        self._loops[key] = loop  # the last one now
        while len(self._loops) > MOST_LOOPS:
            self._loops.pop(next(iter(self._loops)), None)
        all_rows = rows + [-1] * (count - len(rows))
        sources = [call.sources[row] if row >= 0 else [] for row in all_rows]
        batch = c.Batch(sources, all_rows, self.config.vocab_size, self.end_id)
        state = loop.start(
            call.arrays(rows, count, self.config),
            search.inputs(all_rows, call.limits, capacity),
            tuple(start(batch) for start in restrictions),
            np.array([row >= 0 for row in all_rows]),
        )
        return loop, state


class _Call:
    """The arguments of one call, checked."""

    def __init__(
        self,
        sources: Sequence[Sequence[int]],
        segment_ids: Sequence[Sequence[int]] | None,
        search: Search,
        limits: Limits,
        conditions: np.ndarray | None,
        guidance: float,
    ) -> None:
        self.sources, self.segment_ids, self.search, self.limits = sources, segment_ids, search, limits
        self.conditions = None if conditions is None else np.asarray(conditions, "float32")
        self.guidance = guidance

    def check(self, config: TransformerConfig) -> None:
        if not 1 <= self.limits.min_length <= self.limits.max_length:
            raise ValueError(
                "Lengths must be 1 <= min_length <= max_length. "
                f"Received: min_length={self.limits.min_length}, max_length={self.limits.max_length}."
            )
        for row, source in enumerate(self.sources):
            ids = np.asarray(source)
            if ids.ndim != 1 or not len(ids):
                raise ValueError(f"source {row} must be a list of at least one token id.")
            if ids.dtype.kind not in "iu":
                raise ValueError(f"source {row}: token ids must be integers. Received: {ids.dtype}.")
            wrong = (ids < 0) | (ids >= config.vocab_size) | (ids == config.pad_id)
            if wrong.any():
                least = 1 if config.pad_id == 0 else 0
                raise ValueError(
                    f"source {row}: token ids must be {least} to {config.vocab_size - 1} ({config.pad_id} is padding). "
                    f"Received: {ids[wrong][0]}."
                )
            if len(ids) + self.limits.max_length - 1 > config.position_reach:
                raise ValueError(
                    f"source {row}: {len(ids)} tokens and max_length={self.limits.max_length} do not fit into the "
                    f"model's {config.position_reach} positions; shorten the source or generate less."
                )
            if self.segment_ids is not None and len(self.segment_ids[row]) != len(ids):
                raise ValueError(
                    f"source {row} has {len(ids)} tokens and {len(self.segment_ids[row])} segment ids; give one each."
                )
            segments = np.asarray([] if self.segment_ids is None else self.segment_ids[row])
            if len(segments) and not ((segments >= 0) & (segments < max(config.segment_vocab_size, 1))).all():
                raise ValueError(
                    f"source {row}: segment ids must be 0 to {max(config.segment_vocab_size, 1) - 1}. "
                    f"Received: {segments.tolist()}."
                )

        self._check_conditions(config)

    def _check_conditions(self, config: TransformerConfig) -> None:
        size, given = config.layer_norm_cond_size, self.conditions
        if given is not None and (size is None or given.shape != (len(self.sources), size)):
            raise ValueError(
                f"conditions must be ({len(self.sources)}, {size}): one vector for each source, of the model's "
                f"layer_norm_cond_size. Received: shape {given.shape}."
            )
        if not self.guidance >= 0 or (self.guidance != 1 and given is None):
            raise ValueError(
                f"guidance must be at least 0 and goes with conditions. Received: guidance={self.guidance}, "
                f"conditions {'not ' if given is None else ''}given."
            )

    def arrays(self, rows: list[int], count: int, config: TransformerConfig) -> dict[str, Any]:
        longest = max(len(self.sources[row]) for row in rows)
        token_ids = np.full((count, min(round_width(longest), config.position_reach)), config.pad_id, "int32")
        segment_ids = np.zeros_like(token_ids)
        for i, row in enumerate(rows):
            token_ids[i, : len(self.sources[row])] = self.sources[row]
            if self.segment_ids is not None:
                segment_ids[i, : len(self.segment_ids[row])] = self.segment_ids[row]
        arrays: dict[str, Any] = {"token_ids": token_ids, "segment_ids": segment_ids}
        if self.conditions is not None:
            arrays["condition"] = np.zeros((count, self.conditions.shape[1]), "float32")
            arrays["condition"][: len(rows)] = self.conditions[rows]
            if self.guidance != 1:
                arrays["guidance"] = np.float32(self.guidance)
        return arrays
