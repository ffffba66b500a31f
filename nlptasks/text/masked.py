"""Texts in which masks are spelled, as arrays in which the mask tokens stand. Imports no backend."""

import re
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from nlptasks.errors import UserError
from nlptasks.text.base import TextTokenizer
from nlptasks.text.encoding import Encoding
from nlptasks.text.vocab import MASK


@dataclass(frozen=True)
class MaskedText:
    """A text with M masks, encoded.

    Attributes:
        encoding: T tokens, without offsets; special ones around the text, as `TextTokenizer.encode` puts them.
        positions: the masks' places among the tokens, ascending.
        spans: start and end of each mask in the text.
    """

    encoding: Encoding
    positions: tuple[int, ...]
    spans: tuple[tuple[int, int], ...]

    def between(self, text: str) -> list[str]:
        """What stands before, between and behind the masks of its text."""
        starts, ends = [0, *(end for _, end in self.spans)], [*(start for start, _ in self.spans), len(text)]
        return [text[start:end] for start, end in zip(starts, ends, strict=True)]


def encode_masked(tokenizer: TextTokenizer, texts: Sequence[str]) -> list[MaskedText]:
    """Encodes texts in which masks are spelled: as [MASK], or as the tokenizer's own mask token.

    What stands between masks is cut into tokens by itself; white space before a mask is dropped. So do BERT's tokenizer
    and XLM-R's in transformers.

        encode_masked(tokenizer, ["今天天气[MASK]好"])[0].positions  # (5,)

    Args:
        tokenizer: has a mask token.
        texts: with any number of masks, none included.

    Returns:
        A `MaskedText` for each.

    Raises:
        UserError: the tokenizer has no mask token.
    """
    own = tokenizer.id_to_token(tokenizer.mask_id)
    pattern = re.compile("|".join(map(re.escape, dict.fromkeys((MASK, own)))))
    parts: list[str] = []
    for text in texts:
        *firsts, last = pattern.split(text)
        parts += [*(part.rstrip() for part in firsts), last]
    before, after = tokenizer.template.before, tokenizer.template.after
    encoded = iter(tokenizer.encode_batch(parts, with_offsets=False))
    found = []
    for text in texts:
        spans = tuple(match.span() for match in pattern.finditer(text))
        ids, positions = list(before), []
        for i in range(len(spans) + 1):
            if i:
                positions.append(len(ids))
                ids.append(tokenizer.mask_id)
            part = next(encoded).token_ids
            ids += part[len(before) : len(part) - len(after)].tolist()
        token_ids = np.array([*ids, *after], np.int32)
        found.append(MaskedText(Encoding(token_ids, np.zeros_like(token_ids), None), tuple(positions), spans))
    return found


def require_masks(masked: Sequence[MaskedText], most: int, places: Sequence[str]) -> None:
    """Refuses texts without a mask, and those that are too long.

    Args:
        most: tokens that a model reads.
        places: where each text is from, for the message.
    """
    for one, place in zip(masked, places, strict=True):
        if not one.positions:
            raise UserError("{place}: has no mask; write {mask} where a token is wanted.", place=place, mask=MASK)
        if len(one.encoding) > most:
            raise UserError(
                "{place}: has {count} tokens, more than the {most} that the model reads; give less of it.",
                place=place,
                count=len(one.encoding),
                most=most,
            )
