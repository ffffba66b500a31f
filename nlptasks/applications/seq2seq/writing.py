"""What a sequence-to-sequence model does beside running its network: sources to tokens, tokens to texts.

Imports no backend.
"""

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from nlptasks.applications.seq2seq.decoding import Decoding
from nlptasks.applications.written import GeneratedText, behind_prompt
from nlptasks.errors import UserError
from nlptasks.text import Encoding, TextTokenizer


@dataclass(frozen=True, kw_only=True)
class PairLengths:
    """The most tokens of each part of a sample, counting its special tokens.

    Raises:
        UserError: a part has no room for a token of text.
    """

    source_length: int = 256
    """`[CLS]` source `[SEP]`"""
    target_length: int = 64
    """target `[SEP]`"""

    def __post_init__(self) -> None:
        for name, least in (("source_length", 3), ("target_length", 2)):
            if getattr(self, name) < least:
                raise UserError(
                    "{field:{name}} must be at least {least}. Received: {value}.",
                    name=name,
                    least=least,
                    value=getattr(self, name),
                )

    @property
    def total(self) -> int:
        """The most tokens of a whole sample, which is the number of positions that the model needs."""
        return self.source_length + self.target_length


class SourceWriter:
    """A writer of targets whose network is in a subclass.

    Args:
        tokenizer, lengths: as `Seq2Seq`.
        position_reach: the most tokens of a source and its target.

    Raises:
        UserError: the lengths do not fit the model.
    """

    task: ClassVar[str] = "sequence_to_sequence"
    network: Any
    """what makes batches and prefixes for the network"""

    def __init__(self, tokenizer: TextTokenizer, lengths: PairLengths, position_reach: int) -> None:
        self.tokenizer, self.lengths, self.position_reach = tokenizer, lengths, position_reach
        if lengths.total > position_reach:
            raise UserError(
                "{field:source_length} + {field:target_length} = {total} is more than the model's {most} positions; "
                "make one of them smaller.",
                total=lengths.total,
                most=position_reach,
            )

    def continued(
        self,
        sources: Sequence[np.ndarray],
        decoding: Decoding,
        max_length: int,
        progress: Callable[[Iterable], Iterable],
    ) -> Sequence[Sequence[Any]]:
        """For each source the sequences that were found, with tokens, score and finished; each network has its own."""
        raise NotImplementedError

    def encode(self, sources: Sequence[str], with_offsets: bool = False) -> list[Encoding]:
        """`[CLS]` source `[SEP]` of each source, cut to its length."""
        return self.tokenizer.encode_batch(sources, max_length=self.lengths.source_length, with_offsets=with_offsets)

    def inner(self, source: np.ndarray) -> np.ndarray:
        """The tokens of a source without those that stand around it."""
        template = self.tokenizer.template
        return source[len(template.before) : len(source) - len(template.after)]

    def num_cut(self, sources: Sequence[str]) -> int:
        """How many sources are not read to their ends."""
        limit = self.lengths.source_length
        full = [text for text, one in zip(sources, self.encode(sources), strict=True) if len(one) == limit]
        return sum(len(one) > limit for one in self.tokenizer.encode_batch(full, with_offsets=False))

    def generate(self, source: str, **options: Any) -> str:
        """Writes one text for a source.

            writer.generate("文章……", search="beam", beam_size=4)

        Args:
            source: the text that is read; of one longer than `source_length` tokens the rest is not.
            **options: fields of `Decoding`: `search`, `beam_size`, `max_length`, `only_source`, ...

        Returns:
            The text, the best one if there are several.

        Raises:
            UserError: an empty source, or an option out of its range.
        """
        return self.generate_batch([source], **options)[0][0].text

    def predict(
        self, sources: Sequence[str], progress: Callable[[Iterable], Iterable] = iter, **options: Any
    ) -> list[GeneratedText]:
        """Writes one text for each source; see `generate_batch`.

        Raises:
            UserError: as `generate`.
        """
        return [texts[0] for texts in self.generate_batch(sources, progress, **options)]

    def generate_batch(
        self, sources: Sequence[str], progress: Callable[[Iterable], Iterable] = iter, **options: Any
    ) -> list[list[GeneratedText]]:
        """Writes texts for each source.

        Args:
            sources: the texts that are read.
            progress: wraps the iteration over batches, for example `tqdm`.
            **options: fields of `Decoding`; `count` is the number of texts for each source.

        Returns:
            For each source a list of `GeneratedText`, the best one first.

        Raises:
            UserError: as `generate`.
        """
        decoding = Decoding(**options)
        max_length = self._room(decoding)
        self._require_texts(sources)
        encodings = self.encode(sources, with_offsets=decoding.extract)
        found = self.continued([one.token_ids for one in encodings], decoding, max_length, progress)
        return [
            [self._written(hypothesis, source, encoding, decoding) for hypothesis in hypotheses]
            for hypotheses, source, encoding in zip(found, sources, encodings, strict=True)
        ]

    def prompt_ids(self, decoding: Decoding) -> list[int]:
        """The tokens of the prompt."""
        return self.inner(self.tokenizer.encode(decoding.prompt).token_ids).tolist() if decoding.prompt else []

    @staticmethod
    def _require_texts(sources: Sequence[str]) -> None:
        for number, source in enumerate(sources):
            if not source.strip():
                raise UserError("source {number} is empty; there is nothing to write for.", number=number)

    def _room(self, decoding: Decoding) -> int:
        """The most tokens to write."""
        given = len(self.prompt_ids(decoding))
        most = self.position_reach - self.lengths.source_length - given + 1
        if most < 1:
            raise UserError(
                "{field:prompt} has {given} tokens, and the longest source leaves positions for {most}; shorten it.",
                given=given,
                most=most + given - 1,
            )
        usual = max(1, self.lengths.target_length - given)
        wanted = usual if decoding.max_length is None else decoding.max_length
        if wanted > most:
            raise UserError(
                "{field:max_length} must be at most {most}, the positions that the longest source leaves. Received: "
                "{value}.",
                most=most,
                value=wanted,
            )
        if decoding.min_length > wanted:
            raise UserError(
                "{field:min_length} must be at most {field:max_length}. Received: {least} and {most}.",
                least=decoding.min_length,
                most=wanted,
            )
        return wanted

    def _written(self, found: Any, source: str, encoding: Encoding, decoding: Decoding) -> GeneratedText:
        tokens, score = found.tokens, float(found.score)
        if math.isnan(score):  # a draw among no tokens
            tokens = []
        if decoding.extract:
            text = decoding.prompt + self._piece(tokens, source, encoding)
        else:
            text = behind_prompt(self.tokenizer.decode, decoding.prompt, self.prompt_ids(decoding), tokens)
        if not math.isfinite(score):
            return GeneratedText(text, None, len(tokens), False)
        if decoding.search == "beam":  # whose scores are compared by length
            score *= (len(tokens) + found.finished) ** decoding.length_penalty
        return GeneratedText(text, score, len(tokens), found.finished)

    def _piece(self, tokens: Sequence[int], source: str, encoding: Encoding) -> str:
        """The characters of the source that these tokens stand for, where they first stand there."""
        ids, offsets = self.inner(encoding.token_ids), encoding.offsets
        assert offsets is not None  # asked for
        offsets = self.inner(offsets)
        for start in range(len(ids) - len(tokens) + 1 if len(tokens) else 0):
            if (ids[start : start + len(tokens)] == np.asarray(tokens)).all():
                return source[offsets[start][0] : offsets[start + len(tokens) - 1][1]]
        return ""
