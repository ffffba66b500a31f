"""What a conditional generator does beside running its network: conditions and prompts to tokens, tokens to texts.
Imports no backend.
"""

import functools
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, ClassVar

import numpy as np

from nlptasks.applications.conditional.conditions import Condition, Conditions
from nlptasks.applications.written import GeneratedText, behind_prompt
from nlptasks.text import TextTokenizer


class TextWriter:
    """A generator whose network is in a subclass: on Keras, or exported.

    Args:
        tokenizer, conditions, seq_length: as `ConditionalGenerator`.
        position_reach: the most tokens of a text.

    Raises:
        ValueError: the vocabulary lacks the tokens of the conditions.
    """

    task: ClassVar[str] = "conditional_generation"

    def __init__(self, tokenizer: TextTokenizer, conditions: Conditions, seq_length: int, position_reach: int) -> None:
        if missing := [token for token in conditions.prefix_tokens if token not in tokenizer.vocab]:
            raise ValueError(
                f'conditioning="prefix" takes {len(conditions.prefix_tokens)} tokens [unused1], [unused2], ... of the '
                f"vocabulary; {missing[0]} is not there. Add them to it, or use conditioning='norm'."
            )
        self.tokenizer, self.conditions, self.seq_length = tokenizer, conditions, seq_length
        self.position_reach = position_reach
        self._prefix_ids = np.array([tokenizer.vocab[token] for token in conditions.prefix_tokens], "int32")

    def continued(self, sampling: Mapping[str, Any], search: Any, forbidden: Sequence[int], **call: Any) -> Any:
        """For each source the sequences that were found, with tokens, score and finished; each network has its own.

        Args:
            sampling: temperature, top_k, top_p, count and seed.
            search: used instead of sampling.
            forbidden: tokens that are never written.
            **call: the other arguments of `Generator.generate`.
        """
        raise NotImplementedError

    def _vectors(self, rows: np.ndarray | None) -> np.ndarray | None:
        raise NotImplementedError

    def _prefixes(self, conditions: np.ndarray | None, count: int) -> list[list[int]]:
        """[CLS] and the label tokens of each row."""
        if conditions is None or not len(self._prefix_ids):
            return [[self.tokenizer.cls_id]] * count
        firsts = np.cumsum([0, *(1 + len(names) for names in self.conditions.labels.values())])[:-1]
        return [[self.tokenizer.cls_id, *self._prefix_ids[firsts + row]] for row in conditions]

    def generate(self, condition: Condition | None = None, count: int = 1, **options: Any) -> list[str]:
        """Writes texts under one condition.

            writer.generate({"sentiment": "positive"}, count=5, top_p=0.95, seed=0)

        Args:
            condition: labels by column, or a vector; None: no condition.
            count: number of texts.
            **options: those of `generate_batch`.

        Returns:
            The texts.

        Raises:
            ValueError: as `generate_batch`.
        """
        return [
            found.text for found in self.generate_batch([{} if condition is None else condition], count, **options)[0]
        ]

    def predict(self, conditions: Sequence[Condition], **options: Any) -> list[GeneratedText]:
        """Writes one text under each condition; `options` are those of `generate_batch`.

        Raises:
            ValueError: as `generate_batch`.
        """
        return [texts[0] for texts in self.generate_batch(conditions, 1, **options)]

    def generate_batch(
        self,
        conditions: Sequence[Condition],
        count: int = 1,
        *,
        prompt: str = "",
        max_length: int | None = None,
        min_length: int = 1,
        temperature: float = 1.0,
        top_k: int | None = None,
        top_p: float | None = None,
        seed: int = 0,
        search: Any = None,
        guidance: float = 1.0,
        repetition_penalty: float = 1.0,
        progress: Callable[[Iterable], Iterable] = iter,
    ) -> list[list[GeneratedText]]:
        """Writes `count` texts under each condition.

        Args:
            conditions: labels by column, or vectors. A column that is left out is unconditioned; `{}` is no condition.
            count: number of texts for each condition.
            prompt: the beginning of every text.
            max_length, min_length: the most and the fewest tokens to generate; None: as many as the model has
                positions.
            temperature, top_k, top_p, seed: see `Sampling`; the same seed gives the same texts.
            search: used instead of sampling; it then decides the number of texts.
            guidance: a value above 1 strengthens the condition (classifier-free guidance, arXiv 2207.12598). It needs
                conditional norms and a model trained with label dropout.
            repetition_penalty: a value above 1 makes tokens that are already in the text less likely.
            progress: wraps the iteration over batches, for example `tqdm`.

        Returns:
            For each condition a list of `GeneratedText`.

        Raises:
            ValueError: an unknown label, a vector of the wrong size, a prompt that is too long, or an option out of
                its range.
        """
        sampling = {"temperature": temperature, "top_k": top_k, "top_p": top_p, "count": count, "seed": seed}
        given, call = self._call(conditions, prompt, max_length, guidance)
        found = self.continued(
            sampling, search, min_length=min_length, repetition_penalty=repetition_penalty, progress=progress, **call
        )
        whole = functools.partial(self._whole, prompt, given)
        return [
            [GeneratedText(whole(t.tokens), float(t.score), len(t.tokens), t.finished) for t in texts]
            for texts in found
        ]

    def _call(
        self, conditions: Sequence[Condition], prompt: str, max_length: int | None, guidance: float
    ) -> tuple[list[int], dict[str, Any]]:
        """The tokens of the prompt, and what each way to generate is told alike."""
        if self.conditions.conditioning == "none" and (wrong := [one for one in conditions if len(one)]):
            raise ValueError(f"the model writes under no condition. Received: {wrong[0]!r:.60}.")
        rows = self.conditions.rows(conditions)
        if guidance != 1.0 and self.conditions.size is None:
            raise ValueError(f"guidance needs a model with conditional norms. Received: guidance={guidance}.")
        given = self.tokenizer.encode(prompt).token_ids[1:-1].tolist() if prompt else []
        sources = [[*prefix, *given] for prefix in self._prefixes(rows, len(conditions))]
        room = self.position_reach - len(sources[0]) + 1 if sources else 1
        if room < 1:
            raise ValueError(f"the prompt has {len(given)} tokens, more than the model has positions; shorten it.")
        never = sorted(self.tokenizer.special_ids - {self.tokenizer.pad_id, self.tokenizer.sep_id})
        return given, {
            "sources": sources,
            "max_length": room if max_length is None else min(max_length, room),
            "forbidden": never,
            "conditions": self._vectors(rows),
            "guidance": guidance,
        }

    def _whole(self, prompt: str, given: Sequence[int], tokens: Sequence[int]) -> str:
        """The prompt as it was given, and the tokens after it as text."""
        return behind_prompt(self.tokenizer.decode, prompt, given, tokens)
