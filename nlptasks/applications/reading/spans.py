"""The windows of a reader that points at the answer as arrays, and the answers from its best spans. Imports no backend.

Legend: R rows (one a window), T positions.
"""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from nlptasks.applications.examples import width_multiple
from nlptasks.applications.reading.answering import DecodedAnswer
from nlptasks.applications.reading.windows import Row, SpanLengths
from nlptasks.errors import UserError
from nlptasks.text import TextTokenizer
from nlptasks.text.batches import pad, round_up


def row_arrays(
    rows: Sequence[Row], count: int, lengths: SpanLengths, tokenizer: TextTokenizer
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Token ids, segment ids and which tokens are the passage's, `(count, T)`; T is rounded up as `lengths` say."""
    multiple = width_multiple(lengths.width_multiple)
    width = round_up(max(len(row.source) for row in rows), multiple, lengths.window_length)
    token_ids = pad([row.source for row in rows], width, count, tokenizer.pad_id)
    segment_ids, inside = np.zeros((count, width), "int32"), np.zeros((count, width), bool)
    for r, row in enumerate(rows):
        first = first_of_text(row, tokenizer)
        segment_ids[r, first : len(row.source)] = tokenizer.template.second_segment
        inside[r, first : first + len(row.text)] = True
    return token_ids, segment_ids, inside


def first_of_text(row: Row, tokenizer: TextTokenizer) -> int:
    """The position in a row of the first token of its window."""
    return len(row.source) - len(tokenizer.template.after) - len(row.text)


class SpanDecoder:
    """Finds the answers of several questions: of each, the span with the best score in all windows of all passages.

    Args:
        find: gives first and last position, score and log p of the best span of each row, as `span.best_spans`, from
            the arrays of `row_arrays`.
        tokenizer: puts a [CLS] before texts.
        lengths: of the rows.
    """

    def __init__(self, find: Callable[..., Any], tokenizer: TextTokenizer, lengths: SpanLengths) -> None:
        self._run, self._tokenizer, self._lengths = find, tokenizer, lengths

    def decode(
        self,
        rows: Sequence[Row],
        batch_size: int,
        beam_size: int = 1,
        extractive: bool = True,
        threshold: float | None = None,
    ) -> list[DecodedAnswer]:
        """The answers.

        Args:
            rows: the rows of all questions, in the order of `encode_rows`; at least one per question.
            batch_size: rows that are read together; a batch that has fewer is padded.
            beam_size: must be 1, because there is no search.
            extractive: must be true: an answer is a piece of a passage.
            threshold: a question whose best score is not above it has no answer; None: every question has one.

        Returns:
            An answer for each question.

        Raises:
            UserError: another beam size or mode.
        """
        if beam_size != 1:
            raise UserError(
                "a reader by spans has no beams: {field:beam_size} must be 1. Received: {value}.", value=beam_size
            )
        if not extractive:
            raise UserError("a reader by spans gives pieces of the passages: {field:mode} must be extractive.")
        order = np.argsort([len(row.source) for row in rows], kind="stable")
        batches = [order[i : i + batch_size] for i in range(0, len(order), batch_size)]
        # all are started before the first is waited for
        found = [
            self._run(*row_arrays([rows[i] for i in batch], batch_size, self._lengths, self._tokenizer))
            for batch in batches
        ]
        firsts, lasts, scores, log_probabilities = (np.empty(len(rows)) for _ in range(4))
        for batch, outputs in zip(batches, found, strict=True):
            for values, output in zip((firsts, lasts, scores, log_probabilities), outputs, strict=True):
                values[batch] = np.asarray(output)[: len(batch)]
        best: dict[int, int] = {}
        for r, row in enumerate(rows):
            if row.question not in best or scores[r] > scores[best[row.question]]:
                best[row.question] = r
        answers = []
        for r in best.values():
            row, first = rows[r], first_of_text(rows[r], self._tokenizer)
            if not len(row.text) or (threshold is not None and scores[r] <= threshold):
                answers.append(DecodedAnswer([], float(scores[r]), {}))
                continue
            place = slice(int(firsts[r]) - first, int(lasts[r]) - first + 1)
            tokens = [int(token) for token in row.text[place]]
            answers.append(DecodedAnswer(tokens, float(scores[r]), {r: float(log_probabilities[r])}, {r: place}))
        return answers
