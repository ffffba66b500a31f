"""The vocabulary: a dict from token to id, kept as a text file with one token a line."""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence

from nlptasks.files import PathLike, open_text, write_text
from nlptasks.text.wordpiece import is_ideograph, is_punctuation, is_removed, strip_accents

PAD, UNK, CLS, SEP, MASK = "[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"
REQUIRED_TOKENS = (PAD, UNK, CLS, SEP)
"""what a tokenizer cannot do without"""
SPECIAL_TOKENS = (*REQUIRED_TOKENS, MASK)
"""those and what masked language models read; the one place where special tokens are named"""


def check_vocab(vocab: Mapping[str, int], where: str = "vocab") -> None:
    """Check that a vocabulary can serve a tokenizer.

    Args:
        vocab: token to id.
        where: how an error names it, for instance its path.

    Raises:
        ValueError: [PAD], [UNK], [CLS] or [SEP] is missing, [PAD] is not id 0, or the ids are not 0, 1, 2, ...
    """
    for token in REQUIRED_TOKENS:
        if token not in vocab:
            raise ValueError(
                f"{where}: the token {token} is missing among {len(vocab)} tokens; expected a BERT vocabulary with "
                f"{', '.join(REQUIRED_TOKENS)}, one token a line and nothing else on it."
            )
    if vocab[PAD] != 0:
        raise ValueError(
            f"{where}: {PAD} must be id 0 (the first line), because models read id 0 as padding. "
            f"Received: id {vocab[PAD]}."
        )
    if sorted(vocab.values()) != list(range(len(vocab))):
        raise ValueError(
            f"{where}: the ids of {len(vocab)} tokens must be 0 to {len(vocab) - 1}, each once. Received: ids from "
            f"{min(vocab.values())} to {max(vocab.values())} with gaps or repeats; number the tokens anew."
        )


def load_vocab(path: PathLike) -> dict[str, int]:
    """Read a vocabulary file: UTF-8, plain or gzip, one token a line, the id is the line number from 0.

    Args:
        path: the file, often called vocab.txt.

    Returns:
        Token to id, in the order of the file.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: wrong encoding, a duplicate or empty token, a missing special token, [PAD] not first.
    """
    with open_text(path, own=True) as file:
        lines = file.read().removesuffix("\n").split("\n")
    vocab: dict[str, int] = {}
    for line_number, line in enumerate(lines, 1):
        token = line.removesuffix("\r")
        if not token:
            raise ValueError(f"{path}:{line_number}: expected one token a line. Received: an empty line; remove it.")
        if token in vocab:
            raise ValueError(
                f"{path}:{line_number}: the token {token!r} stands on line {vocab[token] + 1} already; "
                f"a vocabulary holds each token once."
            )
        vocab[token] = len(vocab)
    check_vocab(vocab, str(path))
    return vocab


def simplify_vocab(
    vocab: Mapping[str, int], first: Sequence[str] = REQUIRED_TOKENS
) -> tuple[dict[str, int], list[int]]:
    """Leave out the tokens that BERT's tokenizer never makes, as bert4keras' `load_vocab(simplified=True)` does.

    It cuts Chinese text and punctuation into single characters: a token of several characters that holds an ideograph
    or a punctuation mark ("##中", "...", "[unused1]") is never used. Of the 21,128 tokens of Chinese BERT 13,584 stay.

    Args:
        vocab: token to id.
        first: tokens that stay and come first, in this order (bert4keras: `startswith`).

    Returns:
        The new vocabulary, and the former id of each of its tokens: `keep_tokens` for `build_transformer_model`.

    Raises:
        ValueError: one of `first` is not in the vocabulary.
    """
    if missing := [token for token in first if token not in vocab]:
        raise ValueError(f"the token {missing[0]!r} is not in the vocabulary of {len(vocab)} tokens.")
    kept = list(dict.fromkeys(first))
    for token in sorted(vocab, key=vocab.__getitem__):
        inner = token.removeprefix("##")
        redundant = len(token) > 1 and any(is_ideograph(char) or is_punctuation(char) for char in inner)
        if not redundant and token not in kept[: len(first)]:
            kept.append(token)
    return {token: i for i, token in enumerate(kept)}, [vocab[token] for token in kept]


def save_vocab(vocab: Mapping[str, int], path: PathLike) -> None:
    """Write a vocabulary file, whole or not at all.

    Args:
        vocab: token to id.
        path: the file to write.

    Raises:
        ValueError: the vocabulary is not a valid one, or a token is empty or holds a line end.
    """
    check_vocab(vocab)
    for token in vocab:
        if not token or "\n" in token or token.endswith("\r"):
            raise ValueError(f"{path}: the token {token!r} cannot stand on a line of its own; leave it out.")
    write_text(path, "".join(f"{token}\n" for token in sorted(vocab, key=vocab.__getitem__)))


def build_character_vocab(
    texts: Iterable[str], min_count: int = 1, max_size: int | None = None, lowercase: bool = True
) -> dict[str, int]:
    """Make the vocabulary of a character model, for training from scratch.

    Letters and digits of a word are told apart one by one: each has two tokens, ``c`` at the start of a word and
    ``##c`` inside, so that no word made of known characters is [UNK] (words over 200 characters excepted).

    Args:
        texts: the training texts.
        min_count: leave out characters seen less often.
        max_size: the largest number of tokens; the rarest characters are left out.
        lowercase: whether the tokenizer will lower-case and drop accents.

    Returns:
        Token to id: [PAD], [UNK], [CLS], [SEP], [MASK], then the characters, the most frequent first and the smaller
        code point first among equals.

    Raises:
        TypeError: ``texts`` is one string, or holds something else than strings.
        ValueError: ``min_count`` < 1, or ``max_size`` has no room for the special tokens.
    """
    if min_count < 1:
        raise ValueError(f"min_count must be at least 1. Received: {min_count}.")
    if max_size is not None and max_size < len(SPECIAL_TOKENS):
        raise ValueError(f"max_size must leave room for {len(SPECIAL_TOKENS)} special tokens. Received: {max_size}.")
    if isinstance(texts, str):
        raise TypeError("texts must be an iterable of strings. Received: one string; put it into a list.")
    raw_counts: Counter[str] = Counter()
    for text in texts:
        if not isinstance(text, str):
            raise TypeError(f"texts must hold strings. Received: {type(text).__name__}.")
        raw_counts.update(text)
    counts: Counter[str] = Counter()
    for char, count in raw_counts.items():
        if is_removed(char):
            continue
        for folded in strip_accents(char.lower()) if lowercase else char:
            if not folded.isspace():
                counts[folded] += count
        if char == "Σ" and lowercase:
            counts["ς"] += count  # what a capital sigma becomes at the end of a word
    tokens = list(SPECIAL_TOKENS)
    for char, count in sorted(counts.items(), key=lambda item: (-item[1], item[0])):
        if count < min_count:
            break
        forms = [char] if is_ideograph(char) or is_punctuation(char) else [char, f"##{char}"]
        if max_size is not None and len(tokens) + len(forms) > max_size:
            break
        tokens.extend(forms)
    return {token: token_id for token_id, token in enumerate(tokens)}
