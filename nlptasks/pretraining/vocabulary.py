"""A WordPiece vocabulary from a corpus, for people without one.

Characters first: every Chinese character and punctuation mark that is frequent enough is a token of its own, every
letter is two (at the start of a word and inside). What room is left goes to pieces of words in alphabets, found by the
trainer of the `tokenizers` library.
"""

import re
from collections.abc import Callable, Iterable, Iterator

from nlptasks.errors import UserError
from nlptasks.text import build_character_vocab
from nlptasks.text.vocab import SPECIAL_TOKENS, UNK
from nlptasks.text.wordpiece import has_rare_character

RESERVED_TOKENS = (*SPECIAL_TOKENS, *(f"[unused{i}]" for i in range(1, 101)))
"""[PAD] is id 0; the unused ones are for users who need tokens of their own"""
_MOST_CHARACTERS = 0x110000
# Ideographs, and the punctuation and full-width signs beside them: no word pieces are made of them.
_NO_WORDS = re.compile("[\u2e80-\u2fdf\u3000-\u303f\u3400-\u9fff\uf900-\ufaff\uff00-\uffef\U00020000-\U0003ffff]+")


def train_vocab(
    texts: Callable[[], Iterable[str]], vocab_size: int, min_frequency: int = 2, lowercase: bool = True
) -> dict[str, int]:
    """Make a vocabulary. The same texts give the same one.

    Memory grows with the number of different words in alphabets, not with the corpus.

    Args:
        texts: returns the texts; it is called twice.
        vocab_size: the most tokens, special ones counted.
        min_frequency: characters and pieces seen less often are left out.
        lowercase: whether the tokenizer will lower-case and drop accents.

    Returns:
        Token to id: `RESERVED_TOKENS`, then characters, then pieces, the most frequent first.

    Raises:
        ValueError: no room for the special tokens, or no text.
    """
    if vocab_size <= len(RESERVED_TOKENS):
        raise UserError(
            "{field:vocab_size} must be over {specials}, the number of special tokens. Received: {vocab_size}.",
            specials=len(RESERVED_TOKENS),
            vocab_size=vocab_size,
        )
    if min_frequency < 1:
        raise UserError("{field:min_frequency} must be at least 1. Received: {given}.", given=min_frequency)
    specials = len(SPECIAL_TOKENS)  # which come with the characters
    room = vocab_size - len(RESERVED_TOKENS) + specials
    characters = list(build_character_vocab(texts(), min_frequency, room, lowercase))[specials:]
    if not characters:
        raise ValueError(f"the corpus holds no character {min_frequency} times or more; give more text.")
    tokens = dict.fromkeys([*RESERVED_TOKENS, *characters])
    if len(tokens) < vocab_size:
        for piece in _train_pieces(texts(), vocab_size, min_frequency, lowercase, characters):
            if len(tokens) == vocab_size:
                break
            tokens.setdefault(piece)
    return {token: i for i, token in enumerate(tokens)}


def _train_pieces(
    texts: Iterable[str], vocab_size: int, min_frequency: int, lowercase: bool, characters: list[str]
) -> Iterator[str]:
    """Pieces of more than one letter, the most useful first."""
    import tokenizers
    from tokenizers import models, normalizers, pre_tokenizers, trainers

    library = tokenizers.Tokenizer(models.WordPiece({}, unk_token=UNK))
    library.normalizer = normalizers.BertNormalizer(lowercase=lowercase, strip_accents=lowercase)
    library.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    # The trainer numbers inner letters as it meets them, in an order that differs from run to run, and decides between
    # equally frequent pairs by number: so they are numbered beforehand.
    inner = sorted(token for token in characters if len(token) > 2)
    trainer = trainers.WordPieceTrainer(
        vocab_size=vocab_size + 2 * len(characters) + len(inner),
        min_frequency=min_frequency,
        special_tokens=inner,
        limit_alphabet=_MOST_CHARACTERS,
        show_progress=False,
    )
    library.train_from_iterator((_words_of(text) for text in texts), trainer)
    known = set(characters)
    found = library.get_vocab()
    for piece in sorted(found, key=found.__getitem__):
        letters = piece.removeprefix("##")
        if len(letters) > 1 and all(letter in known for letter in letters):
            yield piece


def _words_of(text: str) -> str:
    """The text without what no word pieces are made of."""
    return _NO_WORDS.sub(" ", text) if not has_rare_character(text) else ""
