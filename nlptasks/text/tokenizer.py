"""BERT's WordPiece tokenizer: text to ids with offsets, and ids to text."""

import json
import operator
import os
import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from nlptasks.files import PathLike, open_text, parse_json, write_text
from nlptasks.text.encoding import Encoding, Pieces, assemble
from nlptasks.text.joining import join_tokens
from nlptasks.text.vocab import CLS, MASK, PAD, SEP, UNK, check_vocab, load_vocab, save_vocab
from nlptasks.text.wordpiece import MAX_WORD_LENGTH, encode_text, has_rare_character

VOCAB_FILE = "vocab.txt"
CONFIG_FILE = "tokenizer_config.json"
CHUNK = 1024  # texts that the library encodes at once: its encodings take about 100 bytes a token
_SURROGATE = re.compile("[\ud800-\udfff]")


class Tokenizer:
    """Google's WordPiece, on the Rust library `tokenizers`.

        from nlptasks.text import Tokenizer, build_character_vocab

        tokenizer = Tokenizer(build_character_vocab(["今天天气很好。"]))
        tokenizer.tokenize("天气好")  # ['天', '气', '好']
        encoding = tokenizer.encode("天气好", max_length=64)
        tokenizer.decode(encoding.token_ids)  # '天气好'

    The ids equal those of Google's reference code for every character of Unicode; `nlptasks.text.wordpiece` states the
    rules. A text with a character for which the library might break them (`has_rare_character`) is encoded by that
    module instead, more slowly. A special token that is spelled in the text ("[MASK]") is ordinary text: it becomes
    three tokens, never the special id.

    Where bert4keras' tokenizer differs, Google's rule is followed: bert4keras lower-cases before it drops control
    characters, so that a capital sigma before one (``Σ\\x00Α``) counts as the last letter of its word there. Its
    ``decode`` also puts other spaces into English. Everything else is equal; docs/tokenizer.md has the list.

    Args:
        vocab: a dict from token to id, or the path of a vocabulary file; see `load_vocab`.
        lowercase: whether to lower-case and drop accents, as all usual Chinese models do.

    Raises:
        FileNotFoundError, ValueError: as `load_vocab`.
    """

    def __init__(self, vocab: Mapping[str, int] | PathLike, lowercase: bool = True):
        if isinstance(vocab, str | os.PathLike):
            vocab = load_vocab(vocab)
        else:
            check_vocab(vocab)
        self.vocab = dict(vocab)
        self.lowercase = bool(lowercase)
        self._tokens = sorted(self.vocab, key=self.vocab.__getitem__)
        self._library = _build_library(self.vocab, self.lowercase)

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (self.vocab, self.lowercase)

    @property
    def vocab_size(self) -> int:
        """Number of tokens."""
        return len(self._tokens)

    @property
    def pad_id(self) -> int:
        """Id of [PAD], always 0."""
        return self.vocab[PAD]

    @property
    def unk_id(self) -> int:
        """Id of [UNK]."""
        return self.vocab[UNK]

    @property
    def cls_id(self) -> int:
        """Id of [CLS]."""
        return self.vocab[CLS]

    @property
    def sep_id(self) -> int:
        """Id of [SEP]."""
        return self.vocab[SEP]

    @property
    def mask_id(self) -> int:
        """Id of [MASK]; ValueError where the vocabulary has none."""
        if MASK not in self.vocab:
            raise ValueError(
                f"the vocabulary of {self.vocab_size} tokens has no {MASK}; add it to predict masked tokens."
            )
        return self.vocab[MASK]

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
        room = self._room(max_length, num_special=2 if second_texts is None else 3)
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
                encodings.append(assemble(pieces, second_pieces, room, self.cls_id, self.sep_id))
        return encodings

    def tokenize(self, text: str) -> list[str]:
        """Split a text into tokens, without [CLS] and [SEP]; words that cannot be spelled are [UNK]."""
        return self.ids_to_tokens(self.encode(text).token_ids[1:-1])

    def token_to_id(self, token: str) -> int:
        """The id of a token, that of [UNK] for an unknown one."""
        return self.vocab.get(token, self.unk_id)

    def id_to_token(self, token_id: int) -> str:
        """The token with this id; ValueError for an id outside the vocabulary."""
        index = operator.index(token_id)
        if not 0 <= index < len(self._tokens):
            raise ValueError(f"token ids must lie in 0 to {len(self._tokens) - 1}. Received: {index}.")
        return self._tokens[index]

    def ids_to_tokens(self, token_ids: Iterable[int]) -> list[str]:
        """The tokens with these ids; ValueError for an id outside the vocabulary."""
        return [self.id_to_token(token_id) for token_id in token_ids]

    def decode(self, token_ids: Iterable[int]) -> str:
        """Turn ids into readable text.

        Special tokens ([CLS], [UNK], [unused1], ...: all in brackets) are dropped; `join_tokens` says where spaces go.

        Args:
            token_ids: a list or an array [T].

        Returns:
            The text.

        Raises:
            ValueError: an id outside the vocabulary.
        """
        tokens = self.ids_to_tokens(token_ids)
        words = [token for token in tokens if not (len(token) > 2 and token[0] == "[" and token[-1] == "]")]
        return join_tokens(words, compose=self.lowercase)

    def save(self, directory: PathLike) -> None:
        """Write vocab.txt and tokenizer_config.json, as transformers' BertTokenizer reads them too.

        Args:
            directory: the folder, made where it does not exist.
        """
        directory = Path(directory)
        directory.mkdir(parents=True, exist_ok=True)
        save_vocab(self.vocab, directory / VOCAB_FILE)
        config = {"do_lower_case": self.lowercase, "tokenizer_class": "BertTokenizer"}
        write_text(directory / CONFIG_FILE, json.dumps(config, indent=2) + "\n")

    @classmethod
    def from_directory(cls, directory: PathLike) -> "Tokenizer":
        """Open a folder with vocab.txt and, maybe, tokenizer_config.json (without it: lower-casing).

        Args:
            directory: a folder written by `save` or by transformers.

        Returns:
            The tokenizer.

        Raises:
            FileNotFoundError: no vocab.txt there.
            ValueError: a bad file, or a config that asks for rules that this tokenizer does not follow.
        """
        directory = Path(directory)
        path = directory / CONFIG_FILE
        lowercase = _read_lowercase(path) if path.exists() else True
        return cls(directory / VOCAB_FILE, lowercase=lowercase)

    def _split(self, texts: list[str], with_offsets: bool) -> list[Pieces]:
        """Ids and offsets of each text, without special tokens."""
        rare = {index: text for index, text in enumerate(texts) if has_rare_character(text)}
        common = ["" if index in rare else text for index, text in enumerate(texts)] if rare else texts
        encode = self._library.encode_batch if with_offsets else self._library.encode_batch_fast
        pieces: list[Pieces] = [
            (encoding.ids, encoding.offsets if with_offsets else None)
            for encoding in encode(common, add_special_tokens=False)
        ]
        for index, text in rare.items():
            token_ids, offsets = encode_text(text, self.vocab, self.unk_id, self.lowercase)
            pieces[index] = (token_ids, offsets if with_offsets else None)
        return pieces

    @staticmethod
    def _checked(texts: Iterable[str], name: str) -> list[str]:
        if isinstance(texts, str):
            raise TypeError(f"{name} must be a list of str. Received: one str; use encode, or put it into a list.")
        texts = list(texts)
        for index, text in enumerate(texts):
            if not isinstance(text, str):
                raise TypeError(f"{name}[{index}] must be str. Received: {type(text).__name__}.")
        return texts

    @staticmethod
    def _room(max_length: int | None, num_special: int) -> int | None:
        """How many tokens the texts may take."""
        if max_length is None:
            return None
        room = operator.index(max_length) - num_special
        if room < 0:
            form = "[CLS] text [SEP]" if num_special == 2 else "[CLS] text [SEP] text [SEP]"
            raise ValueError(
                f"max_length must be at least {num_special}, the number of special tokens in {form}. "
                f"Received: {max_length}."
            )
        return room


def _build_library(vocab: Mapping[str, int], lowercase: bool) -> Any:
    """The same tokenizer as a `tokenizers.Tokenizer`, without special tokens."""
    import tokenizers  # here, so that reading files does not wait for it
    from tokenizers import models, normalizers, pre_tokenizers

    # A Python string may hold a lone surrogate, the library's may not; a text with one never comes there.
    vocab = {token: token_id for token, token_id in vocab.items() if not _SURROGATE.search(token)}
    library = tokenizers.Tokenizer(models.WordPiece(vocab, unk_token=UNK, max_input_chars_per_word=MAX_WORD_LENGTH))
    library.normalizer = normalizers.BertNormalizer(lowercase=lowercase, strip_accents=lowercase)
    library.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    return library


def _read_lowercase(path: Path) -> bool:
    """Read do_lower_case from a tokenizer_config.json, and refuse rules that are not ours."""
    with open_text(path) as file:
        try:
            config = parse_json(file.read(), path)
        except json.JSONDecodeError as error:
            raise ValueError(f"{path}:{error.lineno}: invalid JSON at column {error.colno}: {error.msg}.") from None
    if not isinstance(config, dict):
        raise ValueError(f"{path}: expected a JSON object. Received: {type(config).__name__}.")
    lowercase = config.get("do_lower_case", True)
    if not isinstance(lowercase, bool):
        raise ValueError(f"{path}: do_lower_case must be true or false. Received: {lowercase!r}.")
    if config.get("strip_accents") not in (None, lowercase):
        raise ValueError(
            f"{path}: accents are dropped exactly when do_lower_case is true ({lowercase}). Received: strip_accents "
            f"{config['strip_accents']!r}; remove it if the model was not trained with it."
        )
    if config.get("tokenize_chinese_chars", True) is not True:
        raise ValueError(f"{path}: Chinese characters are always split. Received: tokenize_chinese_chars false.")
    return lowercase
