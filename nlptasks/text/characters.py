"""Character ids for models that read characters alone: no words, no special tokens, many texts at once."""

import unicodedata
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence

import numpy as np

from nlptasks.files import PathLike
from nlptasks.text.units import code_points
from nlptasks.text.vocab import REQUIRED_TOKENS, UNK, load_vocab, save_vocab

UNKNOWN = 1


def normalize(text: str) -> str:
    """Compatibility forms (full-width letters, say) and upper case folded, white space taken out."""
    return "".join(unicodedata.normalize("NFKC", text).lower().split())


class CharacterVocab:
    """Ids of characters.

    Args:
        tokens: token to id; tokens of one character count, [PAD] is 0 and [UNK] 1.

    Raises:
        ValueError: [UNK] is not id 1.
    """

    def __init__(self, tokens: Mapping[str, int]):
        if tokens.get(UNK) != UNKNOWN:
            raise ValueError(f"{UNK} must be id {UNKNOWN} of a character vocabulary. Received: {tokens.get(UNK)}.")
        self.tokens = dict(tokens)
        self._table = np.full(0x110000, UNKNOWN, "int32")
        single = [(ord(token), index) for token, index in tokens.items() if len(token) == 1]
        if single:
            codes, ids = zip(*single, strict=True)
            self._table[list(codes)] = ids

    @classmethod
    def build(cls, texts: Iterable[str], min_count: int = 1) -> "CharacterVocab":
        """The characters seen so often, the most frequent first."""
        counts = Counter(char for text in texts for char in normalize(text))
        kept = sorted((char for char, n in counts.items() if n >= min_count), key=lambda c: (-counts[c], c))
        return cls({token: i for i, token in enumerate([*REQUIRED_TOKENS, *kept])})

    @classmethod
    def from_file(cls, path: PathLike) -> "CharacterVocab":
        """The vocabulary that `save` wrote."""
        tokens = load_vocab(path)
        try:
            return cls(tokens)
        except ValueError as error:
            raise ValueError(f"{path}: {error}") from None

    def save(self, path: PathLike) -> None:
        """Writes one token a line."""
        save_vocab(self.tokens, path)

    def __len__(self) -> int:
        return len(self.tokens)

    def encode_batch(self, texts: Sequence[str], max_length: int | None = None) -> list[np.ndarray]:
        """int32 ids of each text, at most so many; a text without a character is one [UNK].

        Raises:
            TypeError: not a list of strings.
        """
        if isinstance(texts, str):
            raise TypeError("texts must be a list of str. Received: one str; put it into a list.")
        for index, text in enumerate(texts):
            if not isinstance(text, str):
                raise TypeError(f"texts[{index}] must be str. Received: {type(text).__name__}.")
        cut = [normalize(text)[:max_length] or "\x00" for text in texts]
        ids = self._table.take(code_points("".join(cut)))
        return np.split(ids, np.cumsum([len(text) for text in cut])[:-1]) if cut else []
