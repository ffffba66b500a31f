"""Putting WordPiece tokens back together into text as a person would write it.

WordPiece throws the spaces away, so this is a best guess; but a safe one: a space is left out only where the tokenizer
would split anyway, so that the text encodes to the same tokens again.
"""

import unicodedata
from collections.abc import Iterable, Sequence

from nlptasks.text.wordpiece import is_ideograph, is_punctuation

# How a token sits beside its neighbors: (no space before it, no space after it).
Fit = tuple[bool, bool]
WORD: Fit = (False, False)
OPENING: Fit = (False, True)
CLOSING: Fit = (True, False)
TIGHT: Fit = (True, True)

_TIGHT_SYMBOLS = frozenset("-_/\\+=<>*~^|`@–—…·")
_OPENING_SYMBOLS = frozenset("$£€#¿¡")
_CONTRACTIONS = frozenset(("s", "t", "re", "ve", "m", "d", "ll", "clock"))
_DOMAINS = ("com", "cn", "net", "org", "edu", "gov", "io", "ai", "co", "uk", "de", "jp", "hk", "tw")
_FILE_SUFFIXES = (
    "html",
    "htm",
    "php",
    "pdf",
    "txt",
    "doc",
    "docx",
    "xls",
    "csv",
    "py",
    "js",
    "json",
    "zip",
    "jpg",
    "png",
)
_DOMAINS_AND_SUFFIXES = frozenset(_DOMAINS + _FILE_SUFFIXES)


def join_tokens(tokens: Iterable[str], compose: bool = True) -> str:
    """Join WordPiece tokens into text.

    No space stands beside Chinese characters and punctuation, one stands between other words, and ASCII punctuation
    goes where English puts it, numbers, versions, abbreviations, contractions and web addresses included.

    Args:
        tokens: pieces without special tokens, ``##`` marking those that continue a word.
        compose: whether to put decomposed letters (Hangul syllables, say) together again; for tokens of a lower-casing
            tokenizer, which takes them apart.

    Returns:
        The text.
    """
    words: list[str] = []
    for token in tokens:
        if token.startswith("##") and len(token) > 2:
            if words:
                words[-1] += token[2:]
            else:
                words.append(token[2:])
        else:
            words.append(token)
    fits = _fit_all(words)
    parts = []
    for position, word in enumerate(words):
        if position and not (fits[position - 1][1] or fits[position][0]):
            parts.append(" ")
        parts.append(word)
    text = "".join(parts)
    return unicodedata.normalize("NFC", text) if compose else text


def _is_chinese(word: str) -> bool:
    """Chinese characters, and the punctuation of Chinese text: CJK symbols, full-width and vertical forms."""
    char = word[-1]
    if is_ideograph(char):
        return True
    return len(word) == 1 and is_punctuation(char) and ("\u3000" <= char <= "\u303f" or "\ufe10" <= char <= "\uffef")


def _at(words: Sequence[str], position: int) -> str:
    return words[position] if 0 <= position < len(words) else ""


def _fit_all(words: Sequence[str]) -> list[Fit]:
    fits: list[Fit] = []
    in_address = False
    open_quotes: set[str] = set()
    quotes_left = {quote: sum(word == quote for word in words) for quote in "'\""}
    quotes_left["'"] -= sum(_is_apostrophe(words, position) for position in range(len(words)))
    for position, word in enumerate(words):
        before, after = _at(words, position - 1), _at(words, position + 1)
        if _is_chinese(word):
            fit, in_address = TIGHT, False
        elif not (len(word) == 1 and is_punctuation(word)):
            fit = WORD
            in_address = in_address and not (before and fits[-1] == WORD)
        elif (before and _is_chinese(before)) or (in_address and word not in ",;!") or _is_apostrophe(words, position):
            fit = TIGHT
        elif word in quotes_left:
            fit = _fit_quote(word, open_quotes, quotes_left[word])
        else:
            fit = _fit_punctuation(words, position)
            in_address = (word == ":" and fit == TIGHT and after == "/") or (word == "@" and fit == TIGHT)
        if word in quotes_left and not _is_apostrophe(words, position):
            quotes_left[word] -= 1
        fits.append(fit)
    return fits


def _is_apostrophe(words: Sequence[str], position: int) -> bool:
    """Whether this is the sign inside it's, o'brien, d'accord."""
    before, after = _at(words, position - 1), _at(words, position + 1)
    letters = before[-1:].isalpha() and after[:1].isalpha()
    return words[position] in ("'", "’") and letters and (after in _CONTRACTIONS or len(before) == 1)


def _fit_quote(quote: str, open_quotes: set[str], quotes_left: int) -> Fit:
    """A straight quotation mark: the first of a pair opens; one without a partner stands like an apostrophe."""
    if quote in open_quotes:
        open_quotes.discard(quote)
        return CLOSING
    if quotes_left > 1:
        open_quotes.add(quote)
        return OPENING
    return CLOSING


def _fit_punctuation(words: Sequence[str], position: int) -> Fit:
    """Any punctuation but Chinese and straight quotation marks."""
    word, before, after = words[position], _at(words, position - 1), _at(words, position + 1)
    between_digits = before[-1:].isdigit() and after[:1].isdigit()
    if word == ".":
        single_letters = len(before) == len(after) == 1 and before.isalpha() and after.isalpha()
        inside = between_digits or single_letters or before == "www" or (before and after in _DOMAINS_AND_SUFFIXES)
        return TIGHT if inside else CLOSING
    if word == ",":
        thousands = between_digits and len(before) <= 3 and len(after) == 3 and after.isdigit()
        return TIGHT if thousands else CLOSING
    if word == ":":
        address = after == "/" and _at(words, position + 2) == "/"
        return TIGHT if between_digits or address else CLOSING
    if word == "@":
        return TIGHT if before and _is_mail_domain(words, position + 1) else OPENING
    if word == "&":
        return TIGHT if len(before) <= 2 and len(after) <= 2 else WORD
    if word == "+":
        return CLOSING if before == "+" else TIGHT  # "c++ is", but "1+1"
    if word == "#" and before in ("c", "f"):
        return CLOSING
    category = unicodedata.category(word)
    if word in _TIGHT_SYMBOLS or category in ("Pd", "Pc"):
        return TIGHT
    if word in _OPENING_SYMBOLS or category in ("Ps", "Pi"):
        return OPENING
    if word in "§•†‡":
        return WORD
    return CLOSING


def _is_mail_domain(words: Sequence[str], position: int) -> bool:
    """Whether the words from here on read like the host of a mail address: word . word . com."""
    while _at(words, position + 1) == ".":
        if _at(words, position + 2) in _DOMAINS_AND_SUFFIXES:
            return True
        position += 2
    return False
