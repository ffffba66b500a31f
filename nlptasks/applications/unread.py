"""What a model does not read of what it is given: a line for each kind, once a command. Imports no backend."""

from collections.abc import Iterable, Sequence

import numpy as np

from nlptasks.console import say
from nlptasks.text import Encoding, TextTokenizer
from nlptasks.text.characters import CharacterVocab, normalize

CUT = "{count} of {total} {what} are longer than {most} tokens; the rest of them is not read."
CUT_CHARACTERS = "{count} of {total} {what} are longer than {most} characters; the rest of them is not read."
CUT_WINDOWS = (
    "{count} of {total} {what} are longer than {most} tokens; the rest of them is not read ({field:stride} N reads "
    "them in windows)."
)
UNKNOWN = (
    "{unknown} of {tokens} tokens ({share:.1%}) in the {what} are not in the model's vocabulary and are read as one "
    "and the same: {shown}"
)
SHOWN = 8
"""pieces of text that are shown"""


def tell_cut(count: int, total: int, what: str, most: int, characters: bool = False, windows: bool = False) -> None:
    """Says how many texts are not read to their ends, if any are.

    Args:
        what: the texts, in one word.
        characters: whether these are counted, not tokens.
        windows: whether they could be read in windows.
    """
    if count:
        cut = CUT_WINDOWS if windows else CUT_CHARACTERS if characters else CUT
        say(cut, count=count, total=total, what=what, most=most)


def tell_unknown(
    tokenizer: TextTokenizer, encodings: Sequence[Encoding], texts: Sequence[str | Sequence[str]], what: str
) -> None:
    """Says what share of the tokens a model does not know, if it does not know some.

    Args:
        encodings: of the texts, which may be pairs.
        what: the texts, in one word.
    """
    special = np.array(sorted(tokenizer.special_ids - {tokenizer.unk_id}), "int64")
    unknown = [int((encoding.token_ids == tokenizer.unk_id).sum()) for encoding in encodings]
    tokens = sum(len(encoding) - int(np.isin(encoding.token_ids, special).sum()) for encoding in encodings)
    found = (text for text, count in zip(texts, unknown, strict=True) if count)
    parts = (part for text in found for part in ([text] if isinstance(text, str) else text))
    _tell(sum(unknown), tokens, (piece for part in parts for piece in _unknown_pieces(tokenizer, part)), what)


def tell_unknown_characters(vocab: CharacterVocab, texts: Iterable[str], what: str) -> None:
    """Says what share of the characters a model of characters does not know, if it does not know some."""
    characters = [character for text in texts for character in normalize(text)]
    unknown = [character for character in characters if character not in vocab.tokens]
    _tell(len(unknown), len(characters), iter(unknown), what)


def _tell(unknown: int, tokens: int, pieces: Iterable[str], what: str) -> None:
    if not unknown:
        return
    shown: dict[str, None] = {}
    for piece in pieces:
        shown[piece] = None
        if len(shown) > SHOWN:
            break
    names = " ".join(list(shown)[:SHOWN]) + (" ..." if len(shown) > SHOWN else "")
    say(UNKNOWN, unknown=unknown, tokens=tokens, share=unknown / tokens, what=what, shown=names)


def _unknown_pieces(tokenizer: TextTokenizer, text: str) -> list[str]:
    encoding = tokenizer.encode(text)
    assert encoding.offsets is not None  # asked for by default
    places = encoding.offsets[encoding.token_ids == tokenizer.unk_id]
    return [text[start:end] for start, end in places if start < end]
