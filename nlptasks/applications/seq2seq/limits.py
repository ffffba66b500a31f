"""The constraints under which a text is written for a source."""

import re
from collections.abc import Sequence
from functools import lru_cache

import numpy as np

from nlptasks.applications.seq2seq.decoding import Decoding
from nlptasks.errors import UserError
from nlptasks.generate import allow_only, copying, extractive, forbid, near_length, no_repeat, whole_words
from nlptasks.generate.constraints import Constraint
from nlptasks.text import TextTokenizer, Tokenizer

PIECE = "##"
"""begins a token of WordPiece that goes on with a word"""
_WORD = re.compile("[0-9A-Za-z]+")


def constraints_of(
    decoding: Decoding,
    tokenizer: TextTokenizer,
    texts: Sequence[np.ndarray],
    max_length: int,
    prompt: Sequence[int] = (),
) -> list[Constraint]:
    """What the options allow behind each source.

    Args:
        texts: the tokens of the sources, without those that stand around a text.
        prompt: the tokens that every text begins with.

    Raises:
        UserError: `whole_words` with a tokenizer that is not WordPiece, or no token has the characters allowed.
    """
    lists = [ids.tolist() for ids in texts]
    found = [forbid(sorted(tokenizer.special_ids - {tokenizer.pad_id, tokenizer.sep_id}))]
    if decoding.only_source:
        found.append(allow_only([sorted(set(ids)) for ids in lists]))
    if decoding.only_characters is not None:
        found.append(allow_only(tokens_of(tokenizer, decoding.only_characters)))
    if decoding.whole_words:
        found.append(whole_words(lists, *words_of(tokenizer)))
    if decoding.no_repeat is not None:
        found.append(no_repeat(decoding.no_repeat, max_length, prompt))
    if decoding.copy_bonus:
        found.append(copying(lists, decoding.copy_bonus))
    if decoding.length is not None:
        found.append(near_length(decoding.length, decoding.length_strength))
    if decoding.extract:
        found.append(extractive([[ids] for ids in lists]))
    return found


@lru_cache(maxsize=8)
def tokens_of(tokenizer: TextTokenizer, characters: str) -> tuple[int, ...]:
    """The tokens whose text has no other characters.

    Raises:
        UserError: there are none.
    """
    allowed = set(characters)
    texts = {i: tokenizer.decode([i]) for i in range(tokenizer.vocab_size) if i not in tokenizer.special_ids}
    found = tuple(i for i, text in texts.items() if set(text) <= allowed)
    if not any(texts[i] for i in found):
        raise UserError(
            "{field:only_characters}: no token of the model is made of these alone. Received: {value!r}.",
            value=characters,
        )
    return found


@lru_cache(maxsize=8)
def words_of(tokenizer: TextTokenizer) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """The tokens that numbers and words in Latin letters begin with, and those that go on with a word.

    Raises:
        UserError: another tokenizer than WordPiece.
    """
    if not isinstance(tokenizer, Tokenizer):
        raise UserError("{field:whole_words} needs a vocab.txt of WordPiece, which this model does not have.")
    first = tuple(i for token, i in tokenizer.vocab.items() if _WORD.fullmatch(token))
    return first, tuple(i for token, i in tokenizer.vocab.items() if token.startswith(PIECE))
