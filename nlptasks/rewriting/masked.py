"""What a masked language model says of words in their text: how fluent they are, and what fits between them.

Legend: B rows, T positions, M masks, V vocabulary.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
from keras import ops

from nlptasks.applications.filling.filler import MaskFiller
from nlptasks.backend import compile_function
from nlptasks.errors import UserError
from nlptasks.rewriting.moves import State
from nlptasks.text.batches import pad, round_up

PASSES = 4
"""a text is read so often, each time with every fourth token masked"""
FEW, ROWS, WIDTH = 8, 64, 8
"""rows are computed so many at a time, the second while there are enough; widths are multiples of the third"""


IMPOSSIBLE = -100.0
"""the mean log probability of a token of an empty text, in nats"""


class MaskedModel:
    """A pretrained Transformer that reads lists of words, each word by itself.

    Args:
        filler: model and tokenizer.
    """

    def __init__(self, filler: MaskFiller) -> None:
        model, self._tokenizer = filler.model, filler.tokenizer
        template = filler.tokenizer.template
        self._before, self._after = list(template.before), list(template.after)
        self._mask, self._pad = filler.mask_id, filler.tokenizer.pad_id
        self.limit = model.config.position_reach - len(self._before) - len(self._after)
        self._ids: dict[str, list[int]] = {}

        def logs_BMV(token_ids_BT: Any, positions_BM: Any) -> Any:
            hidden_BMD = model.encode(token_ids_BT, positions_BM=positions_BM)
            return ops.log_softmax(model.token_logits(hidden_BMD))

        def logs_of(token_ids_BT: Any, positions_BM: Any, targets_BM: Any) -> Any:
            logs = logs_BMV(token_ids_BT, positions_BM)
            return ops.take_along_axis(logs, targets_BM[:, :, None], axis=2)[:, :, 0]

        self._all, self._of = compile_function(logs_BMV, model), compile_function(logs_of, model)

    def tokenize(self, word: str) -> list[int]:
        """The token ids of a word."""
        if word not in self._ids:
            ids = self._tokenizer.encode_batch([word], with_offsets=False)[0].token_ids.tolist()
            self._ids[word] = ids[len(self._before) : len(ids) - len(self._after)]
        return self._ids[word]

    def tokens(self, words: State) -> list[int]:
        """The token ids of words."""
        return [token for word in words for token in self.tokenize(word)]

    def require_room(self, words: State, place: str) -> None:
        """Refuses a text that is too long for the model."""
        if (count := len(self.tokens(words))) > self.limit // 2:
            raise UserError(
                "{place}: has {count} tokens, more than the {most} of a text that is rewritten; give less of it.",
                place=place,
                count=count,
                most=self.limit // 2,
            )

    def fluency(self, states: Sequence[State]) -> np.ndarray:
        """The mean log probability of a token of each text (N,), float64: each token while it and every fourth one are
        masked. An empty text has that of an impossible token.
        """
        rows: list[list[int]] = []
        positions: list[list[int]] = []
        targets: list[list[int]] = []
        of: list[int] = []
        counts = np.zeros(len(states))
        for number, state in enumerate(states):
            ids = self.tokens(state)
            counts[number] = len(ids)
            for start in range(min(PASSES, len(ids))):
                masked = list(ids)
                masked[start::PASSES] = [self._mask] * len(ids[start::PASSES])
                rows.append([*self._before, *masked, *self._after])
                positions.append([len(self._before) + place for place in range(start, len(ids), PASSES)])
                targets.append(ids[start::PASSES])
                of.append(number)
        summed = np.zeros(len(states))
        for indices, width, count in _batches(rows):
            most = -(-width // PASSES)
            places, wanted = (pad([each[i] for i in indices], most, count) for each in (positions, targets))
            ids_BT = pad([rows[i] for i in indices], width, count, self._pad)
            logs_BM = ops.convert_to_numpy(self._of(ids_BT, places, wanted)).astype("float64")
            for i, logs_M in zip(indices, logs_BM, strict=False):
                summed[of[i]] += logs_M[: len(positions[i])].sum()
        return np.where(counts > 0, summed / np.maximum(counts, 1), IMPOSSIBLE).clip(max=0)

    def gap_logs(self, gaps: Sequence[tuple[State, State, int]]) -> list[np.ndarray]:
        """Log probabilities of all tokens at each of the M masks between words, float32 (M, V)."""
        rows, positions = [], []
        for before, behind, length in gaps:
            start = [*self._before, *self.tokens(before)]
            rows.append([*start, *[self._mask] * length, *self.tokens(behind), *self._after])
            positions.append([len(start) + place for place in range(length)])
        found: list[np.ndarray] = [np.zeros(0)] * len(rows)
        for indices, width, count in _batches(rows):
            most = 1 << (max(len(positions[i]) for i in indices) - 1).bit_length()
            ids_BT = pad([rows[i] for i in indices], width, count, self._pad)
            logs_BMV = ops.convert_to_numpy(self._all(ids_BT, pad([positions[i] for i in indices], most, count)))
            for i, logs_MV in zip(indices, logs_BMV, strict=False):
                found[i] = logs_MV[: len(positions[i])]
        return found


def _batches(rows: Sequence[Sequence[int]]) -> list[tuple[list[int], int, int]]:
    """Numbers of rows of like length, the width of their array, and how many rows it has."""
    widths: dict[int, list[int]] = {}
    for number, row in enumerate(rows):
        widths.setdefault(round_up(len(row), WIDTH), []).append(number)
    batches = []
    for width, numbers in sorted(widths.items()):
        while numbers:
            count = ROWS if len(numbers) >= ROWS else FEW
            batches.append((numbers[:count], width, count))
            numbers = numbers[count:]
    return batches
