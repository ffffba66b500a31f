"""The reader that predicts a whole answer at once, at masked positions.

After bert4keras' `task_reading_comprehension_by_mlm`. A bidirectional Transformer reads
`[CLS] passage [SEP] question [SEP] [MASK] x L`, segment 1 on the masks, and predicts the answer and its closing `[SEP]`
there.

Legend: R rows (one a window), L masks, C candidates (tokens of the window, and `[SEP]`), V vocabulary.
"""

from collections.abc import Sequence

import numpy as np
from keras import ops

from nlptasks.applications.reading.voting import DecodedAnswer
from nlptasks.applications.reading.windows import ReadingLengths, window_places
from nlptasks.applications.seq2seq_loss import TargetBatch
from nlptasks.backend.programs import compile_function
from nlptasks.core.layers import at_positions
from nlptasks.core.transformer import Transformer
from nlptasks.generate.loop import round_rows, round_width
from nlptasks.text import Tokenizer
from nlptasks.text.batches import pad, round_up


def masked_batch(
    sources: Sequence[Sequence[int]],
    answers: Sequence[Sequence[int]],
    lengths: ReadingLengths,
    mask_id: int,
    batch_size: int | None = None,
) -> TargetBatch:
    """Sources, `[CLS] passage [SEP] question [SEP]`, and answers, closed by `[SEP]`; the targets stand at the masks."""
    count, masks = batch_size or len(sources), lengths.answer_length
    token_ids, segment_ids, positions = _masked(sources, masks, mask_id, count, lengths.total)
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


def _masked(sources, masks, mask_id, count, limit):
    """Token ids, segment ids and places of the masks, behind each source."""
    starts = np.array([len(source) for source in sources] + [1] * (count - len(sources)))
    width = round_up(int(starts.max()) + masks, 16, limit)
    positions = (starts[:, None] + np.arange(masks)).astype("int32")
    token_ids, segment_ids = pad(sources, width, count), np.zeros((count, width), "int32")
    rows = np.arange(len(sources))[:, None]
    token_ids[rows, positions[: len(sources)]] = mask_id
    segment_ids[rows, positions[: len(sources)]] = 1
    return token_ids, segment_ids, positions


class MaskedAnswerDecoder:
    """Finds the answers of several questions in one pass.

    1. Each window gives its answer, token by token the most probable: extractive, among those that continue it as a
       piece of the window (and the end); else among all. Of a passage's windows with an answer the one that thinks
       least of an empty one stays.
    2. Passages vote: an answer's score is sum(s^2) / (sum(s) + 1) over those that give it, s being the mean probability
       of its tokens, the end counted.

    Args:
        model: bidirectional, with the masked-LM head.
        tokenizer: with a `[MASK]`.
    """

    def __init__(self, model: Transformer, tokenizer: Tokenizer):
        self.model, self.end_id, self.mask_id = model, tokenizer.sep_id, tokenizer.mask_id
        self._run = compile_function(self._probabilities, model)

    def _probabilities(self, token_ids_RT, segment_ids_RT, positions_RL, candidates_RC):
        hidden_RTD = self.model.encode(token_ids_RT, segment_ids_RT)
        logits_RLV = self.model.token_logits(at_positions(hidden_RTD, positions_RL))
        probability_RLV = ops.softmax(logits_RLV)
        best_RL = 1 + ops.argmax(probability_RLV[:, :, 1:], axis=-1)
        of_best_RL = ops.max(probability_RLV[:, :, 1:], axis=-1)
        shape = (*ops.shape(probability_RLV)[:2], candidates_RC.shape[1])
        indices_RLC = ops.broadcast_to(candidates_RC[:, None], shape)
        return best_RL, of_best_RL, ops.take_along_axis(probability_RLV, indices_RLC, axis=-1)

    def decode(
        self,
        sources: Sequence[Sequence[Sequence[Sequence[int]]]],
        passages: Sequence[Sequence[Sequence[Sequence[int]]]],
        max_length: int,
        beam_size: int = 1,
        extractive: bool = True,
    ) -> list[DecodedAnswer]:
        """The answers.

        Args:
            sources: for each question, passage and window, the ids of `[CLS] window [SEP] question [SEP]`.
            passages: for each of them the ids of the window alone.
            max_length: masks, L.
            beam_size: 1; there is nothing to search.

        Raises:
            ValueError: another beam size.
        """
        if beam_size != 1:
            raise ValueError(f"A reader by masked tokens has no beams. Received: beam_size={beam_size}.")
        places = window_places(sources)
        rows, texts = ([sides[q][p][w] for q, p, w in places] for sides in (sources, passages))
        count = round_rows(len(rows))
        inputs = _masked(rows, max_length, self.mask_id, count, self.model.config.position_reach)
        candidates = pad([[self.end_id, *text] for text in texts], round_width(1 + max(map(len, texts))), count)
        best, of_best, of_candidates = map(ops.convert_to_numpy, self._run(*inputs, candidates))
        answers: dict[tuple[int, int], tuple] = {}
        for row, ((q, p, w), text) in enumerate(zip(places, texts, strict=True)):
            empty = float(of_candidates[row, 0, 0])
            if extractive:
                tokens, probabilities = self._piece(np.asarray(text), of_candidates[row])
            else:
                tokens, probabilities = self._any(best[row], of_best[row])
            if tokens and ((q, p) not in answers or empty < answers[q, p][0]):
                answers[q, p] = empty, w, tokens, probabilities
        return [self._vote(q, {p: of for (i, p), of in answers.items() if i == q}) for q in range(len(sources))]

    def _piece(self, text, probability_LC):
        """The piece of a window that is taken greedily."""
        starts, tokens, probabilities = np.arange(len(text)), [], []
        for step, of in enumerate(probability_LC):
            starts = starts[starts + step < len(text)]
            best = starts[of[1 + starts + step].argmax()] + step if len(starts) else None
            if best is None or of[0] >= of[1 + best]:
                probabilities.append(of[0])
                break
            tokens.append(int(text[best]))
            probabilities.append(of[1 + best])
            starts = starts[text[starts + step] == text[best]]
        return tokens, probabilities

    def _any(self, best_L, probability_L):
        ends = np.flatnonzero(best_L == self.end_id)
        length = int(ends[0]) if len(ends) else len(best_L)
        return best_L[:length].tolist(), probability_L[: length + 1].tolist()

    def _vote(self, question, found):
        """The answer with the highest score, and the passages that give it."""
        scores: dict[tuple, list[float]] = {}
        for _, _, tokens, probabilities in found.values():
            scores.setdefault(tuple(tokens), []).append(float(np.mean(probabilities)))
        if not scores:
            return DecodedAnswer([], 0.0, {})
        votes = {tokens: sum(s * s for s in of) / (sum(of) + 1.0) for tokens, of in scores.items()}
        chosen = max(votes, key=votes.__getitem__)
        given = {
            (p, w): float(np.log(np.maximum(probabilities, 1e-38)).sum())
            for p, (_, w, tokens, probabilities) in found.items()
            if tuple(tokens) == chosen
        }
        return DecodedAnswer(list(chosen), float(np.log(votes[chosen])), given)
