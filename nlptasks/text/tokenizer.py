"""BERT's WordPiece tokenizer: text to ids with offsets, and ids to text."""

import json
import os
import re
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

from nlptasks.errors import UserError
from nlptasks.files import PathLike, read_json_object, write_text
from nlptasks.text.base import TextTokenizer
from nlptasks.text.encoding import Pieces, Template
from nlptasks.text.joining import join_tokens
from nlptasks.text.vocab import (
    CLS,
    MASK,
    PAD,
    REQUIRED_TOKENS,
    SEP,
    SPECIAL_TOKENS,
    UNK,
    check_vocab,
    load_vocab,
    save_vocab,
)
from nlptasks.text.wordpiece import MAX_WORD_LENGTH, encode_text, fold, has_rare_character

VOCAB_FILE = "vocab.txt"
CONFIG_FILE = "tokenizer_config.json"
JIEBA = "jieba"
"""words of jieba's dictionary, without its hidden Markov model: WoBERT and RoFormer were trained so"""
_CLASSES = (
    *(None, "BertTokenizer", "ElectraTokenizer", "DistilBertTokenizer", "NezhaTokenizer", "ErnieTokenizer"),
    *("MobileBertTokenizer", "MegatronBertTokenizer", "PreTrainedTokenizer", "TokenizersBackend", "RoFormerTokenizer"),
)
_SURROGATE = re.compile("[\ud800-\udfff]")


class Tokenizer(TextTokenizer):
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
        pre_tokenize: cuts a text, lower-cased, into words that joined are the text; those in the vocabulary are tokens,
            the others are cut as ever. "jieba" is the cut that WoBERT and word RoFormer were trained with; a function
            of your own works, too, but cannot be saved. None: no words.
        never_split: words between spaces and ideographs that are one token each, as they are ("[unused1]"). A special
            token with a job ("[MASK]") is none: spelled in a text it is text.
        basic_tokenize: False: nothing is dropped, lower-cased or set apart; words are what stands between spaces.

    Raises:
        FileNotFoundError, ValueError: as `load_vocab`; or an unknown `pre_tokenize`.
    """

    def __init__(
        self,
        vocab: Mapping[str, int] | PathLike,
        lowercase: bool = True,
        pre_tokenize: str | Callable[[str], Iterable[str]] | None = None,
        never_split: Iterable[str] = (),
        basic_tokenize: bool = True,
    ):
        if isinstance(pre_tokenize, str) and pre_tokenize != JIEBA:
            raise ValueError(f"pre_tokenize must be {JIEBA!r}, a function or None. Received: {pre_tokenize!r}.")
        if isinstance(vocab, str | os.PathLike):
            vocab = load_vocab(vocab)
        else:
            check_vocab(vocab)
        self.lowercase, self.pre_tokenize = bool(lowercase and basic_tokenize), pre_tokenize
        self.never_split = tuple(sorted(set(never_split) - set(SPECIAL_TOKENS)))
        self.basic_tokenize = basic_tokenize
        self.context_free = pre_tokenize is None
        special = [i for token, i in vocab.items() if len(token) > 2 and token[0] == "[" and token[-1] == "]"]
        special = [i for i in special if i not in {vocab.get(token) for token in self.never_split}]
        names = {"pad": PAD, "unk": UNK, "cls": CLS, "sep": SEP, "mask": MASK}
        specials = {name: vocab[token] for name, token in names.items() if token in vocab}
        after = (specials["sep"],)
        super().__init__(vocab, specials, special, Template((specials["cls"],), after, after))
        self._library = _build_library(self.vocab, self.lowercase)

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (self.vocab, self.lowercase, self.pre_tokenize, self.never_split, self.basic_tokenize)

    def _join(self, tokens: list[str]) -> str:
        """`join_tokens` says where spaces go."""
        return join_tokens(tokens, compose=self.lowercase)

    def with_tokens(self, tokens: Iterable[str]) -> "Tokenizer":
        """This tokenizer with more tokens at the end of its vocabulary; those in brackets are special."""
        return self.with_vocab(self.vocab | {token: self.vocab_size + i for i, token in enumerate(tokens)})

    def with_vocab(self, vocab: Mapping[str, int]) -> "Tokenizer":
        """A tokenizer of the same rules with another vocabulary."""
        return Tokenizer(vocab, self.lowercase, self.pre_tokenize, self.never_split, self.basic_tokenize)

    def save(self, directory: PathLike) -> None:
        """Write vocab.txt and tokenizer_config.json, as transformers' BertTokenizer reads them too.

        Args:
            directory: the folder, made where it does not exist.

        Raises:
            UserError: it cuts words with a function.
        """
        if callable(self.pre_tokenize):
            raise UserError('a function that cuts words cannot be saved; use pre_tokenize="jieba", or None.')
        directory = Path(directory)
        directory.mkdir(parents=True, exist_ok=True)
        save_vocab(self.vocab, directory / VOCAB_FILE)
        config: dict[str, Any] = {"do_lower_case": self.lowercase, "tokenizer_class": "BertTokenizer"}
        if self.pre_tokenize is not None:
            config |= {"tokenizer_class": "RoFormerTokenizer", "pre_tokenize": self.pre_tokenize}
        if self.never_split:
            config["never_split"] = self.never_split
        if not self.basic_tokenize:
            config["do_basic_tokenize"] = False
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
        return cls(directory / VOCAB_FILE, **(_read_config(path) if path.exists() else {}))

    def _split(self, texts: list[str], with_offsets: bool) -> list[Pieces]:
        """Ids and offsets of each text, without special tokens."""
        if self.pre_tokenize is not None:
            return [self._split_by_words(text, with_offsets) for text in texts]
        plain = bool(self.never_split) or not self.basic_tokenize  # what the library has no rule for
        rare = {index: text for index, text in enumerate(texts) if plain or has_rare_character(text)}
        common = ["" if index in rare else text for index, text in enumerate(texts)] if rare else texts
        encode = self._library.encode_batch if with_offsets else self._library.encode_batch_fast
        pieces: list[Pieces] = [
            (encoding.ids, encoding.offsets if with_offsets else None)
            for encoding in encode(common, add_special_tokens=False)
        ]
        for index, text in rare.items():
            token_ids, offsets = self._encode_plainly(text)
            pieces[index] = (token_ids, offsets if with_offsets else None)
        return pieces

    def _encode_plainly(self, text: str) -> tuple[list[int], list[tuple[int, int]]]:
        rules = (self.lowercase, frozenset(self.never_split), self.basic_tokenize)
        return encode_text(text, self.vocab, self.unk_id, *rules)

    def _split_by_words(self, text: str, with_offsets: bool) -> Pieces:
        cut = _jieba_words if self.pre_tokenize == JIEBA else self.pre_tokenize
        assert callable(cut)
        folded = fold(text) if self.lowercase else [(char, position) for position, char in enumerate(text)]
        whole, places = "".join(char for char, _ in folded), [position for _, position in folded]
        token_ids: list[int] = []
        offsets: list[tuple[int, int]] = []
        taken = 0
        for word in cut(whole):
            known = word in self.vocab and self.vocab[word] not in self.special_ids and not word.startswith("##")
            found = ([self.vocab[word]], [(0, len(word))]) if known else self._encode_plainly(word)
            token_ids += found[0]
            offsets += [(places[taken + start], places[taken + end - 1] + 1) for start, end in found[1]]
            taken += len(word)
        if taken != len(whole):
            raise ValueError(f"pre_tokenize must lose no character of a text. Received: {taken} of {len(whole)}.")
        return token_ids, offsets if with_offsets else None


def _jieba_words(text: str) -> list[str]:
    import jieba

    jieba.setLogLevel("WARNING")
    return jieba.lcut(text, HMM=False)


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


def class_name(config: Mapping[str, Any]) -> str | None:
    """The `tokenizer_class` of a tokenizer_config.json without its ending "Fast"; None where there is none."""
    name = config.get("tokenizer_class")
    return None if name is None else str(name).removesuffix("Fast")


def wordpiece_of_json(path: Path) -> Tokenizer | None:
    """The tokenizer of a tokenizer.json with exactly the rules of BERT, as transformers saves it; None for others."""
    values = read_json_object(path)
    model, rules = values.get("model") or {}, values.get("normalizer") or {}
    if not (isinstance(model, dict) and isinstance(rules, dict)):
        return None  # and the library says what is wrong with it
    lowercase = rules.get("lowercase", True)
    bert = {"type": "BertNormalizer", "clean_text": True, "handle_chinese_chars": True}
    if (
        (model.get("type"), model.get("unk_token"), model.get("continuing_subword_prefix")) != ("WordPiece", UNK, "##")
        or any(rules.get(key) != value for key, value in bert.items())
        or rules.get("strip_accents") not in (None, lowercase)
        or (values.get("pre_tokenizer") or {}).get("type") != "BertPreTokenizer"
    ):
        return None
    added = values.get("added_tokens") or ()
    vocab = dict(model["vocab"]) | {token["content"]: token["id"] for token in added}
    known = all(token in vocab for token in REQUIRED_TOKENS) and vocab[PAD] == 0
    plain = known and sorted(vocab.values()) == list(range(len(vocab)))
    return Tokenizer(vocab, lowercase) if plain and all(token["special"] for token in added) else None


def _read_config(path: Path) -> dict[str, Any]:
    """What a tokenizer_config.json says of `Tokenizer`'s arguments; rules that are not ours are refused."""
    config = read_json_object(path)
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
    never_split = config.get("never_split") or ()
    if not (isinstance(never_split, list | tuple) and all(isinstance(word, str) for word in never_split)):
        raise UserError(
            "{path}: never_split must be a list of words. Received: {value!r}.", path=path, value=never_split
        )
    name = class_name(config)
    if name not in _CLASSES:
        raise ValueError(
            f"{path}: vocab.txt is read by the rules of BertTokenizer or RoFormerTokenizer. Received: tokenizer_class "
            f"{config['tokenizer_class']}; correct it if its rules are BERT's, or give a tokenizer.json."
        )
    words = config.get("pre_tokenize", JIEBA if name == "RoFormerTokenizer" else None)
    basic = config.get("do_basic_tokenize", True) is not False
    return {
        "lowercase": lowercase,
        "pre_tokenize": words,
        "never_split": tuple(never_split),
        "basic_tokenize": basic,
    }
