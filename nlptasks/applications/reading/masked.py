"""The reader that predicts a whole answer at once, at masked positions.

It follows bert4keras' `task_reading_comprehension_by_mlm`. A bidirectional Transformer reads
`[CLS] passage [SEP] question [SEP] [MASK] x L`, with segment 1 on the masks, and predicts the answer and its `[SEP]` at
the masks.

Legend: R rows (one a window), L masks, C candidates (tokens of the window, and `[SEP]`), V vocabulary.
"""

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from keras import ops

from nlptasks.applications.reading.voting import DecodedAnswer
from nlptasks.applications.reading.windows import ReadingLengths, Row
from nlptasks.applications.seq2seq_loss import TargetBatch
from nlptasks.backend import compile_function
from nlptasks.core.transformer import Transformer
from nlptasks.errors import UserError
from nlptasks.generate.loop import round_rows, round_width
from nlptasks.text import TextTokenizer
from nlptasks.text.batches import pad, round_up


def masked_batch(
    sources: Sequence[Sequence[int] | np.ndarray],
    answers: Sequence[Sequence[int] | np.ndarray],
    lengths: ReadingLengths,
    mask_id: int,
    batch_size: int | None = None,
    pad_id: int = 0,
) -> TargetBatch:
    """The arrays of a batch whose targets stand at the masks.

    Args:
        sources: `[CLS] passage [SEP] question [SEP]`.
        answers: closed by `[SEP]`.
        batch_size: rows of the arrays; None: as many as there are sources.
    """
    count, masks = batch_size or len(sources), lengths.answer_length
    token_ids, segment_ids, positions = _masked(sources, masks, mask_id, count, lengths.total, pad_id)
    weights = np.zeros((count, masks), "float32")
    for row, answer in enumerate(answers):
        weights[row, : len(answer)] = 1.0
    return TargetBatch(
        token_ids=token_ids,
        segment_ids=segment_ids,
        target_positions=positions,
        target_ids=pad(answers, masks, count),
        target_weights=weights,
    )


def _masked(
    sources: Sequence[Sequence[int] | np.ndarray], masks: int, mask_id: int, count: int, limit: int, pad_id: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Token ids `(count, T)`, segment ids `(count, T)` and places of the masks `(count, masks)`, behind each source."""
    starts = np.array([len(source) for source in sources] + [1] * (count - len(sources)))
    width = round_up(int(starts.max()) + masks, 16, limit)
    positions = (starts[:, None] + np.arange(masks)).astype("int32")
    token_ids, segment_ids = pad(sources, width, count, pad_id), np.zeros((count, width), "int32")
    rows = np.arange(len(sources))[:, None]
    token_ids[rows, positions[: len(sources)]] = mask_id
    segment_ids[rows, positions[: len(sources)]] = 1
    return token_ids, segment_ids, positions


class _Reading(NamedTuple):
    """The answer of a row: index of the row, probability of no answer, tokens, and their probabilities."""

    row: int
    empty: float
    tokens: list[int]
    probabilities: list[float]


class MaskedAnswerDecoder:
    """Finds the answers of several questions in one pass.

    1. Each window gives an answer, for which the most probable token is taken again and again: an extractive answer may
       only use tokens that extend it to a piece of the window, or the end token. Of a passage's windows with an answer,
       the one remains that gives an empty answer the lowest probability.
    2. Passages vote: an answer's score is sum(s^2) / (sum(s) + 1) over the passages that give it, where s is the mean
       probability of its tokens, counting the end token.

    Args:
        model: bidirectional, with the masked-LM head.
        tokenizer: with a `[MASK]`.
    """

    def __init__(self, model: Transformer, tokenizer: TextTokenizer):
        self.model, self.end_id, self.mask_id = model, tokenizer.sep_id, tokenizer.mask_id
        self._run = compile_function(self._probabilities, model)

    def _probabilities(
        self, token_ids_RT: Any, segment_ids_RT: Any, positions_RL: Any, candidates_RC: Any
    ) -> tuple[Any, Any, Any]:
        """At each mask: the most probable token `(R, L)`, its probability, and that of each candidate `(R, L, C)`."""
        logits_RLV = self.model.token_logits(self.model.encode(token_ids_RT, segment_ids_RT, positions_BM=positions_RL))
        probability_RLV = ops.softmax(logits_RLV)
        is_padding_V = ops.arange(probability_RLV.shape[2], dtype="int32") == self.model.config.pad_id
        of_tokens_RLV = ops.where(is_padding_V, -1.0, probability_RLV)  # padding is no answer
        best_RL, best_probability_RL = ops.argmax(of_tokens_RLV, axis=-1), ops.max(of_tokens_RLV, axis=-1)
        shape = (*ops.shape(probability_RLV)[:2], candidates_RC.shape[1])
        indices_RLC = ops.broadcast_to(candidates_RC[:, None], shape)
        return best_RL, best_probability_RL, ops.take_along_axis(probability_RLV, indices_RLC, axis=-1)

    def decode(
        self, rows: Sequence[Row], max_length: int, beam_size: int = 1, extractive: bool = True
    ) -> list[DecodedAnswer]:
        """The answers.

        Args:
            rows: the rows of all questions, in the order of `encode_rows`; at least one per question.
            max_length: number of masks L.
            beam_size: must be 1, because there is no search.
            extractive: the answer must be a piece of the text of its row.

        Returns:
            An answer for each question.

        Raises:
            UserError: another beam size.
        """
        if beam_size != 1:
            raise UserError(
                "a reader by masked tokens has no beams: {field:beam_size} must be 1. Received: {value}.",
                value=beam_size,
            )
        count = round_rows(len(rows))
        sources, texts = [row.source for row in rows], [row.text for row in rows]
        config = self.model.config
        inputs = _masked(sources, max_length, self.mask_id, count, config.position_reach, config.pad_id)
        candidates = pad([[self.end_id, *text] for text in texts], round_width(1 + max(map(len, texts))), count)
        best, best_probability, candidate_probabilities = map(ops.convert_to_numpy, self._run(*inputs, candidates))
        surest: dict[tuple[int, int], _Reading] = {}  # of each passage that answers
        for r, row in enumerate(rows):
            if extractive:
                tokens, probabilities = self._piece(np.asarray(row.text), candidate_probabilities[r])
            else:
                tokens, probabilities = self._any(best[r], best_probability[r])
            reading = _Reading(r, float(candidate_probabilities[r, 0, 0]), tokens, probabilities)
            passage = row.question, row.passage
            if tokens and (passage not in surest or reading.empty < surest[passage].empty):
                surest[passage] = reading
        readings: list[list[_Reading]] = [[] for _ in range(rows[-1].question + 1)]
        for (question, _), reading in surest.items():
            readings[question].append(reading)
        return [self._vote(given) for given in readings]

    def _piece(self, text: np.ndarray, probability_LC: np.ndarray) -> tuple[list[int], list[float]]:
        """The piece of a window that is taken greedily, and the probability of each of its tokens, the end counted."""
        starts, tokens, probabilities = np.arange(len(text)), [], []
        for step, probability_C in enumerate(probability_LC):
            starts = starts[starts + step < len(text)]
            best = starts[probability_C[1 + starts + step].argmax()] + step if len(starts) else None
            if best is None or probability_C[0] >= probability_C[1 + best]:
                probabilities.append(probability_C[0])
                break
            tokens.append(int(text[best]))
            probabilities.append(probability_C[1 + best])
            starts = starts[text[starts + step] == text[best]]
        return tokens, probabilities

    def _any(self, best_L: np.ndarray, probability_L: np.ndarray) -> tuple[list[int], list[float]]:
        """The most probable tokens up to the end, and the probability of each of them, the end counted."""
        ends = np.flatnonzero(best_L == self.end_id)
        length = int(ends[0]) if len(ends) else len(best_L)
        return best_L[:length].tolist(), probability_L[: length + 1].tolist()

    def _vote(self, readings: Sequence[_Reading]) -> DecodedAnswer:
        """The answer with the highest score, and the rows that give it."""
        scores: dict[tuple[int, ...], list[float]] = {}
        for reading in readings:
            scores.setdefault(tuple(reading.tokens), []).append(float(np.mean(reading.probabilities)))
        if not scores:
            return DecodedAnswer([], 0.0, {})
        votes = {tokens: sum(s * s for s in given) / (sum(given) + 1.0) for tokens, given in scores.items()}
        chosen = max(votes, key=votes.__getitem__)
        log_probabilities = {
            reading.row: float(np.log(np.maximum(reading.probabilities, 1e-38)).sum())
            for reading in readings
            if tuple(reading.tokens) == chosen
        }
        return DecodedAnswer(list(chosen), float(np.log(votes[chosen])), log_probabilities)
