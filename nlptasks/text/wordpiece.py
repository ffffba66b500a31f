"""The rules of BERT's WordPiece in plain Python, with offsets.

`nlptasks.text.tokenizer.Tokenizer` runs on the Rust library `tokenizers`, which follows the same rules except for some
rare characters. Texts that hold one (`has_rare_character`) are encoded here, so that the ids always are those of
Google's reference (https://github.com/google-research/bert, tokenization.py) with the Unicode tables of the running
Python:

1. drop control and format characters, NUL and U+FFFD; every space separator, tab and line end becomes a space;
2. every CJK ideograph is a word of its own;
3. per word, if asked: lower case, canonical decomposition, and drop the non-spacing marks (accents);
4. every punctuation character is a word of its own, and so is every ASCII symbol;
5. cut each word, longest match first, into a piece of the vocabulary and pieces that start with ``##``; a word that
   cannot be cut, or is longer than 200 characters, is ``[UNK]``.
"""

import re
import unicodedata
from collections.abc import Collection, Iterator, Mapping

MAX_WORD_LENGTH = 200

# The characters on which `tokenizers` is known to agree with the rules: blocks that are full, or where later Unicode
# versions add only letters and symbols. Left out, for the library departs there or may:
#   capital sigma            lower case at the end of a word is another letter; the library has one form
#   U+302E, U+302F           marks that stay: where marks change places, the library shifts an offset by one
#   surrogates               a Python string may hold one; the library refuses it
#   private use              Google keeps them as letters, the library drops them
#   U+2B820-2B91F            ideographs (extension E) that the library does not set apart
#   scripts not listed       marks, punctuation and capitals younger than the library's Unicode tables
# Tests send every character of these blocks, and random mixtures of them, through both.
_RARE_CHARACTER = re.compile(
    "[^"
    "\0-\u03a2\u03a4-\u05ff"  # Latin, Greek, Cyrillic, Armenian, Hebrew
    "\u0620-\u06ff\u0900-\u097f\u0e00-\u0e7f"  # Arabic, Devanagari, Thai
    "\u1100-\u11ff\uac00-\ud7a3"  # Hangul
    "\u1e00-\u2bff\u2e00-\u2e42"  # more Latin and Greek, punctuation, symbols
    "\u2e80-\u302d\u3030-\ua4cf"  # CJK radicals, punctuation, kana, ideographs; Yi
    "\uf900-\ufaff\ufe00-\uffff"  # CJK compatibility, full width
    "\U0001f000-\U0001faff"  # emoji
    "\U00020000-\U0002b81f\U0002b920-\U0003fffd"  # ideographs of the planes 2 and 3
    "]"
)

_IDEOGRAPH_RANGES = (
    (0x4E00, 0x9FFF),
    (0x3400, 0x4DBF),
    (0x20000, 0x2A6DF),
    (0x2A700, 0x2B73F),
    (0x2B740, 0x2B81F),
    (0x2B820, 0x2CEAF),
    (0xF900, 0xFAFF),
    (0x2F800, 0x2FA1F),
)


def has_rare_character(text: str) -> bool:
    """Whether the text holds a character on which the library `tokenizers` may leave BERT's rules."""
    return not text.isascii() and _RARE_CHARACTER.search(text) is not None


def is_ideograph(char: str) -> bool:
    """Whether BERT sets this character apart as a Chinese character."""
    code = ord(char)
    return code >= 0x3400 and any(first <= code <= last for first, last in _IDEOGRAPH_RANGES)


def is_punctuation(char: str) -> bool:
    """Whether BERT sets this character apart as punctuation: Unicode's, and every ASCII symbol."""
    if char.isascii():
        return "!" <= char <= "~" and not char.isalnum()
    return unicodedata.category(char).startswith("P")


def is_removed(char: str) -> bool:
    """Whether BERT drops this character: control and format characters, NUL, U+FFFD."""
    return char == "\ufffd" or (char not in "\t\n\r" and unicodedata.category(char) in ("Cc", "Cf"))


def strip_accents(text: str) -> str:
    """Canonical decomposition without the non-spacing marks."""
    return "".join(char for char in unicodedata.normalize("NFD", text) if unicodedata.category(char) != "Mn")


def _raw_words(text: str) -> Iterator[list[tuple[str, int]]]:
    """Steps 1 and 2: words as lists of (character, position in the text)."""
    word: list[tuple[str, int]] = []
    for position, char in enumerate(text):
        if is_removed(char):
            continue
        if is_ideograph(char):
            yield word
            yield [(char, position)]
            word = []
        elif char.isspace():
            yield word
            word = []
        else:
            word.append((char, position))
    yield word


def fold(text: str) -> list[tuple[str, int]]:
    """A whole text as step 3 makes it: its characters, each with the position that it came from."""
    return _fold([(char, position) for position, char in enumerate(text)])


def _fold(word: list[tuple[str, int]]) -> list[tuple[str, int]]:
    """Step 3. The whole word is lower-cased at once: a capital sigma looks at its neighbors."""
    lowered = "".join(char for char, _ in word).lower()
    if lowered.isascii() and len(lowered) == len(word):
        return [(char, position) for char, (_, position) in zip(lowered, word, strict=True)]
    folded, taken = [], 0
    for char, position in word:
        length = len(char.lower())
        for part in unicodedata.normalize("NFD", lowered[taken : taken + length]):
            folded.append((part, position))
        taken += length
    # Canonical order: a run of marks is sorted by combining class, across the characters that they came from.
    start = 0
    while start < len(folded):
        end = start + 1
        if unicodedata.combining(folded[start][0]):
            while end < len(folded) and unicodedata.combining(folded[end][0]):
                end += 1
            folded[start:end] = sorted(folded[start:end], key=lambda item: unicodedata.combining(item[0]))
        start = end
    return [(char, position) for char, position in folded if unicodedata.category(char) != "Mn"]


def split_words(
    text: str, lowercase: bool, never_split: Collection[str] = frozenset()
) -> Iterator[tuple[str, list[int]]]:
    """Split a text into words, steps 1 to 4.

    Args:
        text: any string.
        lowercase: whether to lower-case and to drop accents.
        never_split: words that stay as they are where step 2 gives them, or step 3.

    Yields:
        The word, and for each of its characters the position in ``text`` that it came from.
    """
    for raw in _raw_words(text):
        folded = raw
        if lowercase and not (never_split and _spelled(raw) in never_split):
            folded = _fold(raw)
        if never_split and _spelled(folded) in never_split:
            yield _spelled(folded), [position for _, position in folded]
            continue
        word = ""
        positions: list[int] = []
        for char, position in folded:
            if not is_punctuation(char):
                word += char
                positions.append(position)
                continue
            if word:
                yield word, positions
            yield char, [position]
            word, positions = "", []
        if word:
            yield word, positions


def _spelled(word: list[tuple[str, int]]) -> str:
    return "".join(char for char, _ in word)


def _cut(word: str, vocab: Mapping[str, int]) -> list[tuple[int, int, int]] | None:
    """Step 5: (id, start, end) of the pieces of one word, or None where the vocabulary cannot spell it."""
    if len(word) > MAX_WORD_LENGTH:
        return None
    pieces, start = [], 0
    while start < len(word):
        prefix = "##" if start else ""
        for end in range(len(word), start, -1):
            token_id = vocab.get(prefix + word[start:end])
            if token_id is not None:
                pieces.append((token_id, start, end))
                start = end
                break
        else:
            return None
    return pieces


def encode_text(
    text: str,
    vocab: Mapping[str, int],
    unk_id: int,
    lowercase: bool,
    never_split: Collection[str] = frozenset(),
    basic: bool = True,
) -> tuple[list[int], list[tuple[int, int]]]:
    """Encode a text by the rules above.

    Args:
        text: any string, lone surrogates included.
        vocab: token to id.
        unk_id: the id of a word that the vocabulary cannot spell.
        lowercase: whether to lower-case and to drop accents.
        never_split: words that are one token each; see `split_words`.
        basic: False: steps 1 to 4 are left out, and words are what stands between spaces.

    Returns:
        The ids, and for each the (start, end) of the characters of ``text`` that it stands for.
    """
    token_ids, offsets = [], []
    words = split_words(text, lowercase, never_split) if basic else _between_spaces(text)
    for word, positions in words:
        whole = [(vocab.get(word, unk_id), 0, len(word))] if word in never_split else _cut(word, vocab)
        for token_id, start, end in whole or [(unk_id, 0, len(word))]:
            token_ids.append(token_id)
            offsets.append((positions[start], positions[end - 1] + 1))
    return token_ids, offsets


def _between_spaces(text: str) -> Iterator[tuple[str, list[int]]]:
    """The words between spaces, and the positions of their characters."""
    start = 0
    for word in text.split():
        start = text.index(word, start)
        yield word, list(range(start, start + len(word)))
        start += len(word)
