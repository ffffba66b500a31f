"""What every tokenizer offers: the applications know no more of one than this."""

import operator
from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping

from nlptasks.errors import UserError
from nlptasks.files import PathLike
from nlptasks.text.encoding import Encoding, Pieces, Template, assemble

CHUNK = 1024  # texts that are encoded at once: the encodings of `tokenizers` take about 100 bytes a token


class TextTokenizer(ABC):
    """Text to ids with offsets, and ids to text.

    A special token spelled in a text ("[MASK]", "</s>") is text and never becomes the special id.

    Args:
        vocab: token to id.
        specials: the ids of "pad" and "unk", and of "cls", "sep" and "mask" where there are such.
        special_ids: all ids that no text becomes and that `decode` leaves out.
        template: what stands around texts.

    Attributes:
        vocab_size: rows that a model needs.
        lowercase: whether it lower-cases and drops accents.
        context_free: whether a piece of a text is cut as it is within the text, word by word.
    """

    lowercase: bool = False
    context_free: bool = False

    def __init__(
        self, vocab: Mapping[str, int], specials: Mapping[str, int], special_ids: Iterable[int], template: Template
    ) -> None:
        self.vocab, self.specials, self.template = dict(vocab), dict(specials), template
        self.special_ids = frozenset(special_ids)
        self.vocab_size = 1 + max(self.vocab.values())
        self._tokens = {token_id: token for token, token_id in self.vocab.items()}

    @property
    def pad_id(self) -> int:
        """Id of padding."""
        return self.specials["pad"]

    @property
    def unk_id(self) -> int:
        """Id of what the vocabulary cannot spell."""
        return self.specials["unk"]

    @property
    def cls_id(self) -> int:
        """Id of what stands before a text ([CLS], <s>); UserError where nothing does."""
        return self._special("cls", "[CLS] or <s>, to stand before a text")

    @property
    def sep_id(self) -> int:
        """Id of what closes a text ([SEP], </s>); UserError where nothing does."""
        return self._special("sep", "[SEP] or </s>, to close a text")

    @property
    def mask_id(self) -> int:
        """Id of what hides a token ([MASK], <mask>); UserError where nothing does."""
        return self._special("mask", "[MASK] or <mask>, to hide a token that is to be predicted")

    def _special(self, name: str, use: str) -> int:
        if name not in self.specials:
            raise UserError(
                "the vocabulary of {size} tokens has no {use}; give a model that was trained with one.",
                size=self.vocab_size,
                use=use,
            )
        return self.specials[name]

    @abstractmethod
    def _split(self, texts: list[str], with_offsets: bool) -> list[Pieces]:
        """Ids and offsets of each text, without special tokens."""

    @abstractmethod
    def _join(self, tokens: list[str]) -> str:
        """The text of tokens, none of them special."""

    @abstractmethod
    def save(self, directory: PathLike) -> None:
        """Write files that `open_tokenizer` opens into a folder, made where it does not exist."""

    @abstractmethod
    def with_tokens(self, tokens: Iterable[str]) -> "TextTokenizer":
        """This tokenizer with more special tokens at the end of its vocabulary."""

    def encode(self, text: str, second_text: str | None = None, max_length: int | None = None) -> Encoding:
        """Encode a text or a pair of texts.

        Args:
            text: the text.
            second_text: the second one of a pair.
            max_length: the largest number of tokens, special ones included. While there are more, the last token of the
                longer text goes, of the first text where both are equally long (bert4keras' rule).

        Returns:
            The encoding.

        Raises:
            TypeError: a text is not a str.
            ValueError: ``max_length`` has no room for the special tokens.
        """
        for name, value in (("text", text), ("second_text", second_text)):
            if not isinstance(value, str) and (name == "text" or value is not None):
                raise TypeError(f"{name} must be str. Received: {type(value).__name__}.")
        return self.encode_batch([text], None if second_text is None else [second_text], max_length)[0]

    def encode_batch(
        self,
        texts: Iterable[str],
        second_texts: Iterable[str] | None = None,
        max_length: int | None = None,
        with_offsets: bool = True,
    ) -> list[Encoding]:
        """Encode many texts or pairs at once, on all cores (one, where TOKENIZERS_PARALLELISM=false is set).

        Args:
            texts: the texts.
            second_texts: as many second texts.
            max_length: see `encode`.
            with_offsets: whether offsets are wanted; it is faster without.

        Returns:
            An encoding for each, in order, not padded.

        Raises:
            TypeError: an item is not a str.
            ValueError: as `encode`, or the two lists differ in length.
        """
        room = self._room(max_length, pair=second_texts is not None)
        texts = self._checked(texts, "texts")
        if second_texts is not None:
            second_texts = self._checked(second_texts, "second_texts")
            if len(texts) != len(second_texts):
                raise ValueError(
                    f"texts and second_texts must pair up. Received: {len(texts)} and {len(second_texts)}; "
                    f"give as many of both."
                )
        encodings: list[Encoding] = []
        for start in range(0, len(texts), CHUNK):
            part = slice(start, start + CHUNK)
            first = self._split(texts[part], with_offsets)
            second = [None] * len(first) if second_texts is None else self._split(second_texts[part], with_offsets)
            for pieces, second_pieces in zip(first, second, strict=True):
                encodings.append(assemble(pieces, second_pieces, room, self.template))
        return encodings

    def tokenize(self, text: str) -> list[str]:
        """Split a text into tokens, without special ones; words that cannot be spelled are [UNK]."""
        ids = self.encode(text).token_ids
        return self.ids_to_tokens(ids[len(self.template.before) : len(ids) - len(self.template.after)])

    def token_to_id(self, token: str) -> int:
        """The id of a token, that of [UNK] for an unknown one."""
        return self.vocab.get(token, self.unk_id)

    def id_to_token(self, token_id: int) -> str:
        """The token with this id; ValueError for an id outside the vocabulary."""
        index = operator.index(token_id)
        if index not in self._tokens:
            raise ValueError(f"token ids must lie in 0 to {self.vocab_size - 1}. Received: {index}.")
        return self._tokens[index]

    def ids_to_tokens(self, token_ids: Iterable[int]) -> list[str]:
        """The tokens with these ids; ValueError for an id outside the vocabulary."""
        return [self.id_to_token(token_id) for token_id in token_ids]

    def decode(self, token_ids: Iterable[int]) -> str:
        """Turn ids into readable text; special tokens ([CLS], [UNK], [unused1], </s>, ...) are left out.

        Args:
            token_ids: a list or an array [T].

        Returns:
            The text.

        Raises:
            ValueError: an id outside the vocabulary.
        """
        ids = [operator.index(token_id) for token_id in token_ids]
        tokens = self.ids_to_tokens(ids)
        return self._join([token for i, token in zip(ids, tokens, strict=True) if i not in self.special_ids])

    @staticmethod
    def _checked(texts: Iterable[str], name: str) -> list[str]:
        if isinstance(texts, str):
            raise TypeError(f"{name} must be a list of str. Received: one str; use encode, or put it into a list.")
        texts = list(texts)
        for index, text in enumerate(texts):
            if not isinstance(text, str):
                raise TypeError(f"{name}[{index}] must be str. Received: {type(text).__name__}.")
        return texts

    def _room(self, max_length: int | None, pair: bool) -> int | None:
        """How many tokens the texts may take."""
        if max_length is None:
            return None
        before, between, after = self.template.before, self.template.between if pair else (), self.template.after
        num_special = len(before) + len(between) + len(after)
        room = operator.index(max_length) - num_special
        if room < 0:
            parts = [*map(self.id_to_token, before), "text", *map(self.id_to_token, between), *["text"] * pair]
            form = " ".join([*parts, *map(self.id_to_token, after)])
            raise ValueError(
                f"max_length must be at least {num_special}, the number of special tokens in {form}. "
                f"Received: {max_length}."
            )
        return room
