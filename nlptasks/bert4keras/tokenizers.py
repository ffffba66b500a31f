"""`bert4keras.tokenizers`: tokens with start and end token, and without lower case unless it is asked for.

`nlptasks.Tokenizer` differs: it lowers by default, and its tokens have no start and end.
"""

import re
import unicodedata
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from nlptasks.bert4keras.snippets import (
    convert_to_unicode,
    is_py2,
    is_string,
    lowercase_and_normalize,
    open,
    truncate_sequences,
)
from nlptasks.text.vocab import CLS, MASK, PAD, SEP, UNK
from nlptasks.text.wordpiece import is_ideograph, is_punctuation

__all__ = [
    "SpTokenizer",
    "Tokenizer",
    "TokenizerBase",
    "convert_to_unicode",
    "is_py2",
    "is_string",
    "load_vocab",
    "lowercase_and_normalize",
    "open",
    "save_vocab",
    "truncate_sequences",
]


def load_vocab(
    dict_path: Any, encoding: str = "utf-8", simplified: bool = False, startswith: Sequence[str] | None = None
) -> Any:
    """A vocabulary file as a dict from token to id.

    Args:
        simplified: leave out the tokens that the tokenizer never makes; then (dict, ids to keep) is returned.
        startswith: the tokens that come first in the simplified vocabulary.
    """
    vocab: dict[str, int] = {}
    with open(dict_path, encoding=encoding) as reader:
        for line in reader:
            words = line.split()
            vocab[words[0] if words else line.strip()] = len(vocab)
    if not simplified:
        return vocab
    rest = (t for t, _ in sorted(vocab.items(), key=lambda item: item[1]) if not Tokenizer._is_redundant(t))
    kept = list(dict.fromkeys([*(startswith or ()), *rest]))
    return {token: i for i, token in enumerate(kept)}, [vocab[token] for token in kept]


def save_vocab(dict_path: Any, token_dict: Mapping[str, int], encoding: str = "utf-8") -> None:
    """Writes a vocabulary, a token a line."""
    with open(dict_path, "w", encoding=encoding) as writer:
        for token, _ in sorted(token_dict.items(), key=lambda item: item[1]):
            writer.write(token + "\n")


class TokenizerBase:
    """What tokenizers share.

    Args:
        token_start, token_end: what begins and ends every text; None: nothing.
        pre_tokenize: cuts a text into words before it is cut into tokens.
        token_translate: tokens that are replaced by others.
    """

    _token_pad_id: int
    _token_unk_id: int
    _token_mask_id: int
    _token_start_id: int
    _token_end_id: int

    def __init__(
        self,
        token_start: str | None = CLS,
        token_end: str | None = SEP,
        pre_tokenize: Callable[[str], Iterable[str]] | None = None,
        token_translate: Mapping[str, str] | None = None,
    ) -> None:
        self._token_pad, self._token_unk, self._token_mask = PAD, UNK, MASK
        self._token_start, self._token_end = token_start, token_end
        self._pre_tokenize = pre_tokenize
        self._token_translate = dict(token_translate or {})
        self._token_translate_inv = {new: old for old, new in self._token_translate.items()}

    def _find_ids(self, find: Callable[[str], int]) -> None:
        for part in ("pad", "unk", "mask", "start", "end"):
            token = getattr(self, f"_token_{part}")
            try:
                setattr(self, f"_token_{part}_id", find(token))
            except (KeyError, TypeError):
                continue

    def tokenize(self, text: str, maxlen: int | None = None) -> list[str]:
        """The tokens of a text, with start and end token; of the last ones so many are left out as `maxlen` asks."""
        tokens = [self._token_translate.get(token) or token for token in self._tokenize(text)]
        tokens = [t for t in (self._token_start,) if t is not None] + tokens
        tokens += [t for t in (self._token_end,) if t is not None]
        if maxlen is not None:
            truncate_sequences(maxlen, -1 - int(self._token_end is not None), tokens)
        return tokens

    def token_to_id(self, token: str) -> int:
        """The id of a token."""
        raise NotImplementedError

    def tokens_to_ids(self, tokens: Iterable[str]) -> list[int]:
        """The ids of tokens."""
        return [self.token_to_id(token) for token in tokens]

    def encode(
        self,
        first_text: Any,
        second_text: Any = None,
        maxlen: int | None = None,
        pattern: str = "S*E*E",
        truncate_from: Any = "right",
    ) -> tuple[list[int], list[int]]:
        """Token ids and segment ids of a text or a pair; either may be tokens already.

        Args:
            maxlen: of the longer text so many tokens are left out as this asks.
            pattern: "S*E*E": one start token; "S*ES*E": the second text has its own.
            truncate_from: "right", "left", or the place that is left out.
        """
        first = self.tokenize(first_text) if is_string(first_text) else first_text
        second = self.tokenize(second_text) if is_string(second_text) else second_text
        if maxlen is not None:
            places = {"right": -int(self._token_end is not None) - 1, "left": int(self._token_start is not None)}
            index = places.get(truncate_from, truncate_from)
            maxlen += second is not None and pattern == "S*E*E"
            truncate_sequences(maxlen, index, first, second)
        token_ids = self.tokens_to_ids(first)
        segment_ids = [0] * len(token_ids)
        if second is not None:
            second = second[int(bool(self._token_start)) :] if pattern == "S*E*E" else second
            token_ids = token_ids + self.tokens_to_ids(second)
            segment_ids = segment_ids + [1] * len(second)
        return token_ids, segment_ids

    def id_to_token(self, i: int) -> str:
        """The token of an id."""
        raise NotImplementedError

    def ids_to_tokens(self, ids: Iterable[int]) -> list[str]:
        """The tokens of ids."""
        return [self.id_to_token(i) for i in ids]

    def decode(self, ids: Iterable[int]) -> str:
        """The text of ids."""
        raise NotImplementedError

    def _tokenize(self, text: str) -> list[str]:
        raise NotImplementedError


_CLOSING = re.compile(r"' (re|m|s|t|ve|d|ll) ")
_WIDE_MARKS = (
    "".join(map(chr, (*range(0xFF02, 0xFF10), *range(0xFF1A, 0xFF21), *range(0xFF3B, 0xFF41), *range(0xFF5B, 0xFF61))))
    + "\uff62\uff63\uff64\u3000\u3001\u3003"
    + "".join(map(chr, range(0x3008, 0x3012)))
    + "".join(map(chr, range(0x3014, 0x3020)))
    + "\u3030\u303e\u303f\u2013\u2014\u2018\u2019\u201b\u201c\u201d\u201e\u201f\u2026\u2027\ufe4f\ufe51\ufe54\u00b7"
    + "\uff01\uff1f\uff61\u3002"
)
_MARKS = re.compile("([" + re.escape(_WIDE_MARKS + "+-/={(<[") + "]) ")


class Tokenizer(TokenizerBase):
    """BERT's tokenizer on a vocabulary, a dict or a file.

    tokenizer = Tokenizer("vocab.txt", do_lower_case=True)
    token_ids, segment_ids = tokenizer.encode("今天天气很好")
    """

    def __init__(self, token_dict: Any, do_lower_case: bool = False, word_maxlen: int = 200, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self._token_dict: Mapping[str, int] = token_dict if isinstance(token_dict, Mapping) else load_vocab(token_dict)
        self._do_lower_case, self._word_maxlen = do_lower_case, word_maxlen
        self._token_dict_inv = {i: token for token, i in self._token_dict.items()}
        self._vocab_size = len(self._token_dict)
        self._find_ids(self._token_dict.__getitem__)

    def token_to_id(self, token: str) -> int:
        """The id of a token, or that of unknown ones."""
        found = self._token_dict.get(token)
        return self._token_unk_id if found is None else found

    def id_to_token(self, i: int) -> str:
        """The token of an id."""
        return self._token_dict_inv[i]

    def decode(self, ids: Iterable[int], tokens: Sequence[str] | None = None) -> str:
        """The text of ids, without special tokens, and without spaces between Chinese characters."""
        text = ""
        kept = [t for t in tokens or self.ids_to_tokens(ids) if not self._is_special(t)]
        for i, token in enumerate(kept):
            if token[:2] == "##":
                text += token[2:]
            elif len(token) == 1 and is_ideograph(token):
                text += token
            elif len(token) == 1 and is_punctuation(token):
                text += token + " "
            elif i > 0 and is_ideograph(text[-1]):
                text += token
            else:
                text += " " + token
        text = _CLOSING.sub(r"'\1 ", re.sub(" +", " ", text))
        return re.sub(r"(\d\.) (\d)", r"\1\2", _MARKS.sub(r"\1", text)).strip()

    def _tokenize(self, text: str, pre_tokenize: bool = True) -> list[str]:
        text = lowercase_and_normalize(text) if self._do_lower_case else text
        if pre_tokenize and self._pre_tokenize is not None:
            words = list(self._pre_tokenize(text))
            return [t for w in words for t in ([w] if w in self._token_dict else self._tokenize(w, False))]
        spaced = []
        for ch in text:
            if is_punctuation(ch) or is_ideograph(ch):
                spaced.append(f" {ch} ")
            elif self._is_space(ch):
                spaced.append(" ")
            elif not (ch in "\0\ufffd" or self._is_control(ch)):
                spaced.append(ch)
        return [piece for word in "".join(spaced).split() for piece in self._word_piece_tokenize(word)]

    def _word_piece_tokenize(self, word: str) -> list[str]:
        """The longest pieces from the left; a word that cannot be cut stays whole."""
        if len(word) > self._word_maxlen:
            return [word]
        pieces, start = [], 0
        while start < len(word):
            for end in range(len(word), start, -1):
                piece = ("##" if start else "") + word[start:end]
                if piece in self._token_dict:
                    break
            else:
                return [word]
            pieces.append(piece)
            start = end
        return pieces

    @staticmethod
    def stem(token: str) -> str:
        """A token without the ## of its beginning."""
        return token[2:] if token[:2] == "##" else token

    @staticmethod
    def _is_space(ch: str) -> bool:
        return ch in " \n\r\t" or unicodedata.category(ch) == "Zs"

    @staticmethod
    def _is_punctuation(ch: str) -> bool:
        return is_punctuation(ch)

    @staticmethod
    def _cjk_punctuation() -> str:
        return _WIDE_MARKS

    @staticmethod
    def _is_cjk_character(ch: str) -> bool:
        return is_ideograph(ch)

    @staticmethod
    def _is_control(ch: str) -> bool:
        return unicodedata.category(ch) in ("Cc", "Cf")

    @staticmethod
    def _is_special(ch: str) -> bool:
        return bool(ch) and ch[0] == "[" and ch[-1] == "]"

    @staticmethod
    def _is_redundant(token: str) -> bool:
        """Whether the tokenizer never makes it: several characters with one that stands alone among them."""
        return len(token) > 1 and any(is_ideograph(ch) or is_punctuation(ch) for ch in Tokenizer.stem(token))

    def rematch(self, text: str, tokens: Iterable[str]) -> list[list[int]]:
        """For each token the places of its characters in the text; nothing for special tokens."""
        text = text.lower() if self._do_lower_case else text
        normal, places = "", []
        for i, ch in enumerate(text):
            ch = lowercase_and_normalize(ch) if self._do_lower_case else ch
            ch = "".join(c for c in ch if not (c in "\0\ufffd" or self._is_control(c)))
            normal += ch
            places += [i] * len(ch)
        found: list[list[int]] = []
        offset = 0
        for token in tokens:
            if self._is_special(token):
                found.append([])
                continue
            token = self.stem(token)
            start = normal.index(token, offset)
            offset = start + len(token)
            found.append(places[start:offset])
        return found


class SpTokenizer(TokenizerBase):
    """A SentencePiece model with the ways of `Tokenizer` (needs the package `sentencepiece`)."""

    def __init__(self, sp_model_path: Any, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        import sentencepiece

        self.sp_model = sentencepiece.SentencePieceProcessor()
        self.sp_model.Load(str(sp_model_path))
        if self.sp_model.pad_id() >= 0:
            self._token_pad = self.sp_model.id_to_piece(self.sp_model.pad_id())
        self._token_unk = self.sp_model.id_to_piece(self.sp_model.unk_id())
        self._vocab_size = self.sp_model.get_piece_size()
        self._find_ids(self.sp_model.piece_to_id)

    def token_to_id(self, token: str) -> int:
        """The id of a piece."""
        return self.sp_model.piece_to_id(token)

    def id_to_token(self, i: int) -> str:
        """The piece of an id; nothing beyond the model's."""
        return self.sp_model.id_to_piece(int(i)) if i < self._vocab_size else ""

    def decode(self, ids: Iterable[int]) -> str:
        """The text of ids."""
        pieces = [self._token_translate_inv.get(piece) or piece for piece in self.ids_to_tokens(ids)]
        return self.sp_model.decode_pieces(pieces)

    def _tokenize(self, text: str) -> list[str]:
        text = " ".join(self._pre_tokenize(text)) if self._pre_tokenize is not None else text
        return self.sp_model.encode_as_pieces(text)

    def _is_special(self, i: int) -> bool:
        return self.sp_model.is_control(i) or self.sp_model.is_unknown(i) or self.sp_model.is_unused(i)

    def _is_decodable(self, i: int) -> bool:
        return i < self._vocab_size and not self._is_special(i)
