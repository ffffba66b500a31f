"""An exported conditional generator.

Legend: R rows (sources), K draws of a row, C size of a condition, V vocabulary.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np

from nlptasks.applications.conditional.conditions import Conditions
from nlptasks.applications.conditional.writing import TextWriter
from nlptasks.errors import UserError
from nlptasks.runtime.decoding import CachedGraphs
from nlptasks.runtime.graphs import open_graphs
from nlptasks.runtime.search import Beam, Draws
from nlptasks.runtime.stored import read_stored, wrong_settings
from nlptasks.text.batches import pad

BATCH = 16


class ExportedGenerator(TextWriter):
    """A conditional generator on onnxruntime; it draws what `ConditionalGenerator` draws from the same seed.

        writer = nlptasks.load("exported/reviews")
        writer.generate({"sentiment": "positive"}, count=5, top_p=0.95)

    Args:
        directory: that `nlptasks export` has written.

    Raises:
        ValueError, FileNotFoundError: one line: what is missing or damaged.
    """

    def __init__(self, directory: str | Path) -> None:
        directory = Path(directory)
        stored = read_stored(directory)
        try:
            settings = dict(stored.settings["conditions"])
            labels = {column: tuple(names) for column, names in settings.pop("labels").items()}
            conditions, self._sizes = Conditions(labels=labels, **settings), stored.settings["sizes"]
            reach, seq_length = self._sizes["position_reach"], stored.settings["seq_length"]
            super().__init__(stored.tokenizer, conditions, seq_length, reach)
            if conditions.size is not None and labels:
                self._tables = [stored.arrays[f"condition_{j}"] for j in range(len(labels))]
        except (TypeError, KeyError, AttributeError) as error:
            raise wrong_settings(directory, error) from None
        first, following = open_graphs(directory, "prefix", "step")
        self._steps = CachedGraphs(first, following, SimpleNamespace(**self._sizes))

    def continued(  # type: ignore[override] # names what the other takes as a mapping
        self,
        sampling: Mapping[str, Any],
        search: Any,
        forbidden: Sequence[int],
        *,
        sources: Sequence[Sequence[int]],
        max_length: int,
        min_length: int = 1,
        repetition_penalty: float = 1.0,
        conditions: np.ndarray | None = None,
        guidance: float = 1.0,
        progress: Callable[[Iterable], Iterable] = iter,
    ) -> list[list[Beam]]:
        """What is drawn after each source; see `TextWriter.continued`.

        Raises:
            UserError: another search than sampling.
        """
        if search is not None:
            raise UserError("an exported generator draws its texts: leave search out. Received: {value}.", value=search)
        found: list[list[Beam]] = [[] for _ in sources]
        options = dict(sampling, longest=max_length, shortest=min_length, end_id=self.tokenizer.sep_id)
        for start in progress(range(0, len(sources), BATCH)):
            rows = list(range(start, min(start + BATCH, len(sources))))
            draws = Draws(rows, **options)
            vectors = None if conditions is None else np.asarray(conditions, "float32")[rows]
            limits = _Limits(
                [sources[i] for i in rows], self._sizes["vocab_size"], draws, forbidden, repetition_penalty
            )
            limits.never[self.tokenizer.pad_id] = True
            self._write(draws, [sources[i] for i in rows], limits, vectors, guidance, max_length)
            for row, drawn in zip(rows, draws.found(), strict=True):
                found[row] = drawn
        return found

    def _write(
        self,
        draws: Draws,
        sources: Sequence[Sequence[int]],
        limits: "_Limits",
        condition_RC: np.ndarray | None,
        guidance: float,
        max_length: int,
    ) -> None:
        twice = 2 if guidance != 1.0 and condition_RC is not None else 1
        token_ids = pad(sources, max(map(len, sources)), len(sources), self.tokenizer.pad_id)
        if twice == 2 and condition_RC is not None:  # further down, without the condition
            condition_RC = np.concatenate([condition_RC, np.zeros_like(condition_RC)])
        token_ids = np.concatenate([token_ids] * twice)
        width = draws.ended_QK.shape[1]
        logits, state = self._steps.start(token_ids, np.zeros_like(token_ids), width, condition_RC)
        for time in range(max_length):
            if twice == 2:
                under, without = np.split(logits, 2)
                logits = without + np.float32(guidance) * (under - without)
            tokens_RK = draws.choose(limits.restricted(logits, time), time)
            if draws.ended_QK.all() or time + 1 == max_length:
                return
            limits.follow(tokens_RK)
            logits, state = self._steps.step(np.concatenate([tokens_RK] * twice), state)

    def _vectors(self, rows: np.ndarray | None) -> np.ndarray | None:
        if self.conditions.size is None or rows is None:
            return None
        if not self.conditions.labels:
            return rows
        parts = [table[rows[:, j]] * (rows[:, j : j + 1] > 0) for j, table in enumerate(self._tables)]
        return np.concatenate(parts, axis=1) if self.conditions.combine == "concat" else sum(parts[1:], parts[0])

    @classmethod
    def from_directory(cls, directory: str | Path) -> "ExportedGenerator":
        """Opens what `nlptasks export` has written."""
        return cls(directory)


class _Limits:
    """Which tokens may come next, and how likely those are that were there before."""

    def __init__(
        self,
        sources: Sequence[Sequence[int]],
        vocab_size: int,
        draws: Draws,
        forbidden: Sequence[int],
        penalty: float,
    ) -> None:
        if not penalty > 0:
            raise ValueError(f"repetition_penalty must be above 0. Received: repetition_penalty={penalty}.")
        self.never, self.penalty, self._draws = np.zeros(vocab_size, bool), np.float32(penalty), draws
        self.never[list(forbidden)] = True
        self._seen_RKV = np.zeros((*draws.ended_QK.shape, vocab_size), bool)
        for row, source in enumerate(sources):
            self._seen_RKV[row, :, list(source)] = True

    def restricted(self, logits_RKV: np.ndarray, time: int) -> np.ndarray:
        """The logits of what may come next."""
        if self.penalty != 1.0:
            punished = np.where(logits_RKV < 0, logits_RKV * self.penalty, logits_RKV / self.penalty)
            logits_RKV = np.where(self._seen_RKV, punished, logits_RKV)
        logits_RKV = np.where(self.never, -np.inf, logits_RKV)
        if time + 1 < self._draws.shortest:
            logits_RKV[..., self._draws.end_id] = -np.inf
        return logits_RKV

    def follow(self, tokens_RK: np.ndarray) -> None:
        """Notes what was chosen."""
        rows, draws = np.indices(tokens_RK.shape)
        self._seen_RKV[rows, draws, tokens_RK] = True
