"""The reader's decoding: all passages of a question vote on each token of one answer, wholly on the device.

Legend: Q questions, R rows (one a window of a passage), P passages, K beams, S positions of a passage, V vocabulary.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
from keras import ops

from nlptasks.applications.reading.answering import DecodedAnswer
from nlptasks.applications.reading.windows import Row
from nlptasks.core import Transformer
from nlptasks.generate.beams import Bert4kerasBeamSearch
from nlptasks.generate.cached import CachedSteps
from nlptasks.generate.constraints import Substring
from nlptasks.generate.loop import DecodingLoop, round_capacity, round_rows, round_width
from nlptasks.generate.search import IMPOSSIBLE, Greedy, Limits, Search, take_continuations
from nlptasks.text.batches import pad


def vote(probability_RKV: Any, owner_R: Any, count: int) -> Any:
    """The score `(count, K, V)` of each token over the rows of each question: sum(p^2) / (sum(p) + 1)."""
    squares_QKV = ops.segment_sum(ops.square(probability_RKV), owner_R, num_segments=count)
    return squares_QKV / (ops.segment_sum(probability_RKV, owner_R, num_segments=count) + 1.0)


def best_windows(alive_R: Any, empty_R: Any, passage_R: Any) -> Any:
    """Which rows remain, bool `(R,)`: for each passage, of its rows that are alive, the first one with the lowest
    probability of no answer.
    """
    count = alive_R.shape[0]
    surest_R = ops.where(alive_R, 1.0 - empty_R, -1.0)
    best_P = ops.segment_max(surest_R, passage_R, num_segments=count)
    best_R = ops.logical_and(alive_R, surest_R == ops.take(best_P, passage_R))
    order_R = ops.where(best_R, count - ops.arange(count, dtype="int32"), 0)
    first_P = ops.segment_max(order_R, passage_R, num_segments=count)
    return ops.logical_and(best_R, order_R == ops.take(first_P, passage_R))


class VotingSteps:
    """The step function of the search: feeds tokens to every passage and lets the passages of a question vote.

    1. Before any constraint, a passage whose most probable first token is the end token is dropped; if all are dropped,
       the answer is empty. Of a passage in several windows, only the window remains that gives the end token the lowest
       probability. So a long passage has one vote, too.
    2. Extractive: a token is allowed if it extends the answer to a substring of a remaining passage; the end token is
       always allowed.
    3. The remaining passages `vote`; beams add log(score + 1e-12).
    """

    normalized = True

    def __init__(self, cached: CachedSteps, end_id: int):
        self.cached, self.end_id = cached, end_id

    def start(self, inputs: dict[str, Any], width: int, capacity: int) -> tuple[Any, dict[str, Any]]:
        """Scores of the first token `(Q, 1, V)`, and the state of the search.

        `inputs`: those of the cached steps, "owner" `(R,)`, "real" `(R,)`, "passage" `(R,)` (windows of one passage
        have one number) and "questions" `(Q,)`; "substring" is a tuple of the extractive constraint, or empty.
        """
        logits_R1V, cached = self.cached.start(inputs, width, capacity)
        probability_R1V = ops.softmax(logits_R1V)
        alive_R = ops.logical_and(inputs["real"], ops.argmax(logits_R1V[:, 0], axis=-1) != self.end_id)
        alive_R = best_windows(alive_R, probability_R1V[:, 0, self.end_id], inputs["passage"])
        state = {
            "cached": cached,
            "owner": inputs["owner"],
            "questions": inputs["questions"],
            "alive": alive_R,
            "substring": tuple(
                s._replace(matches_RKS=ops.logical_and(s.matches_RKS, alive_R[:, None, None]))
                for s in inputs["substring"]
            ),
            "log": ops.zeros_like(probability_R1V[:, :, 0]),
            "ended": ops.zeros_like(inputs["questions"])[:, None],
        }
        return self._scores(probability_R1V, state, 0), state | {"probability": probability_R1V}

    def __call__(self, tokens_QK: Any, state: dict[str, Any], time: Any) -> tuple[Any, dict[str, Any]]:
        """Scores of the next token `(Q, K, V)` after each beam's latest one, and the new state."""
        tokens_RK = ops.take(tokens_QK, state["owner"], axis=0)
        logits_RKV, cached = self.cached(tokens_RK, state["cached"], time)
        probability_RKV = ops.softmax(logits_RKV)
        return self._scores(probability_RKV, state, time), state | {"cached": cached, "probability": probability_RKV}

    def _scores(self, probability_RKV: Any, state: dict[str, Any], time: Any) -> Any:
        alive_R, count = state["alive"], state["questions"].shape[0]
        counted_RKV = ops.where(alive_R[:, None, None], probability_RKV, 0.0)
        scores_QKV = ops.log(vote(counted_RKV, state["owner"], count) + 1e-12)
        for substring in state["substring"]:
            scores_QKV = substring.restrict(scores_QKV, time)
        survivors_Q = ops.segment_sum(ops.cast(alive_R, "int32"), state["owner"], num_segments=count)
        is_end_V = ops.arange(scores_QKV.shape[2], dtype="int32") == self.end_id
        return ops.where(survivors_Q[:, None, None] > 0, scores_QKV, ops.where(is_end_V, 0.0, IMPOSSIBLE))

    def follow(self, state: dict[str, Any], tokens_QK: Any, parents_QK: Any) -> dict[str, Any]:
        """The state after a step: probabilities of the beams' tokens, which beams ended, and what is allowed next."""
        probability_RKV, owner_R = state["probability"], state["owner"]
        width, vocab_size = probability_RKV.shape[1:]
        if parents_QK is None:
            parents_QK = ops.zeros_like(tokens_QK) + ops.arange(width, dtype="int32")
        parents_RK, tokens_RK = ops.take(parents_QK, owner_R, axis=0), ops.take(tokens_QK, owner_R, axis=0)
        flat = ops.reshape(probability_RKV, (-1, width * vocab_size))
        gain_RK = ops.log(ops.maximum(take_continuations(flat, parents_RK * vocab_size + tokens_RK), 1e-38))
        ended_QK = take_continuations(state["ended"], parents_QK)
        gain_RK = ops.where(ops.take(ended_QK, owner_R, axis=0), 0.0, gain_RK)
        return {
            "cached": self.cached.follow(state["cached"], tokens_RK, parents_RK if width > 1 else None),
            "owner": owner_R,
            "questions": state["questions"],
            "alive": state["alive"],
            "substring": tuple(s.follow(tokens_QK, parents_QK) for s in state["substring"]),
            "log": take_continuations(state["log"], parents_RK) + gain_RK,
            "ended": ops.logical_or(ended_QK, tokens_QK == self.end_id),
        }


class AnswerDecoder:
    """Decodes the answers of several questions, with different numbers of passages, as one batch.

    Args:
        model: built with `application="unilm"`.
        end_id: the token that closes an answer.
    """

    def __init__(self, model: Transformer, end_id: int):
        self.model, self.end_id = model, end_id
        self._steps = VotingSteps(CachedSteps(model), end_id)
        self._loops: dict[tuple[int, int], DecodingLoop] = {}

    def decode(
        self, rows: Sequence[Row], max_length: int, beam_size: int = 1, extractive: bool = True
    ) -> list[DecodedAnswer]:
        """The answers; see `VotingSteps` for how they are found.

        Args:
            rows: the rows of all questions, in the order of `encode_rows`; at least one per question.
            max_length: the most tokens of an answer, counting the end token.
            beam_size: 1: greedy search; otherwise ended beams keep their places, and the best beam ends the search.
            extractive: the answer must be a piece of the text of a remaining row.

        Returns:
            An answer for each question.
        """
        count = rows[-1].question + 1
        size, capacity = round_rows(count), round_capacity(max_length)
        search: Search = Greedy(end_id=self.end_id)
        if beam_size > 1:
            search = Bert4kerasBeamSearch(end_id=self.end_id, size=beam_size, keep_ended=True)
        if (beam_size, capacity) not in self._loops:
            self._loops[beam_size, capacity] = DecodingLoop(self._steps, search, capacity, self.model)
        loop, limits = self._loops[beam_size, capacity], Limits(max_length)
        inputs = self._inputs(rows, size, extractive)
        state = loop.start(inputs, search.inputs(range(size), limits, capacity), (), np.arange(size) < count)
        state = loop.proceed(state, np.int32(max_length))
        return self._answers(state, search, rows)

    def _inputs(self, rows: Sequence[Row], size: int, extractive: bool) -> dict[str, Any]:
        """The inputs of the steps, in arrays of a few shapes; `size`: number of questions, counting padding."""
        count = round_rows(len(rows))
        width = min(round_width(max(len(row.source) for row in rows)), self.model.config.position_reach)
        token_ids_RT = pad([row.source for row in rows], width, count, self.model.config.pad_id)
        owners = [row.question for row in rows]
        passages = np.cumsum([row.window == 0 for row in rows]) - 1  # numbers over all questions
        texts = [row.text for row in rows]
        return {
            "token_ids": token_ids_RT,
            "segment_ids": np.zeros_like(token_ids_RT),
            "owner": np.array(owners + [0] * (count - len(rows)), "int32"),
            "real": np.arange(count) < len(rows),
            "passage": np.append(passages, np.arange(len(rows), count)).astype("int32"),
            "questions": np.zeros(size, bool),
            "substring": (Substring.start(texts, owners, self.end_id, count),) if extractive else (),
        }

    def _answers(self, state: dict[str, Any], search: Search, rows: Sequence[Row]) -> list[DecodedAnswer]:
        alive_R, log_RK = (ops.convert_to_numpy(state["steps"][name]) for name in ("alive", "log"))
        best_Q, found = search.best(state["found"]), search.hypotheses(state["found"])
        survivors: list[dict[int, float]] = [{} for _ in range(rows[-1].question + 1)]
        for r, row in enumerate(rows):
            if alive_R[r]:
                survivors[row.question][r] = float(log_RK[r, best_Q[row.question]])
        return [
            DecodedAnswer(found[q][0].tokens, found[q][0].score, surviving) for q, surviving in enumerate(survivors)
        ]
