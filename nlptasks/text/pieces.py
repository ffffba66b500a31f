"""Tokenizers of `sentencepiece` files: XLM-R's and T5's."""

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from nlptasks.errors import UserError
from nlptasks.files import PathLike, atomic_path, write_text
from nlptasks.text.base import TextTokenizer
from nlptasks.text.encoding import Pieces, Template
from nlptasks.text.offsets import exact_offsets

FILES = {"xlm-roberta": "sentencepiece.bpe.model", "t5": "spiece.model"}
"""what the file of each kind is called"""
CONFIG_FILE = "tokenizer_config.json"
SENTINELS = 100
"""tokens <extra_id_99> to <extra_id_0> behind the file's, where nothing else is said"""
_CLASSES = {"xlm-roberta": "XLMRobertaTokenizer", "t5": "T5Tokenizer"}


class PieceTokenizer(TextTokenizer):
    """A `sentencepiece` model with the ids of XLM-R or of T5.

    XLM-R's ids are <s> 0, <pad> 1, </s> 2, <unk> 3, then the file's plus 1, and <mask> last; T5's are the file's, and
    sentinels behind them.

    Args:
        model: the bytes of the file.
        kind: "xlm-roberta" or "t5".
        num_sentinels: of T5.
        more: special tokens behind all others.
        where: how an error names the file.

    Raises:
        UserError: the library `sentencepiece` is not installed, or cannot read the file.
    """

    def __init__(
        self,
        model: bytes,
        kind: str,
        num_sentinels: int = SENTINELS,
        more: Iterable[str] = (),
        where: str = "the model",
    ):
        try:
            from sentencepiece import SentencePieceProcessor
        except ModuleNotFoundError:
            raise UserError(
                "{where}: reading it needs the package sentencepiece (pip install sentencepiece), or a tokenizer.json "
                "in its place.",
                where=where,
            ) from None
        self.kind, self._model, self._num_sentinels, self._more = kind, model, num_sentinels, tuple(more)
        self._library = SentencePieceProcessor()
        try:
            self._library.LoadFromSerializedProto(model)
        except RuntimeError:
            raise UserError(
                "{where}: not a sentencepiece model, or a damaged one; copy it again.", where=where
            ) from None
        pieces = [self._library.id_to_piece(i) for i in range(len(self._library))]
        if kind == "xlm-roberta":
            tokens = ["<s>", "<pad>", "</s>", "<unk>", *pieces[3:], "<mask>"]
            controls = [0, 1, 2, 3, len(tokens) - 1]
            specials = {"cls": 0, "pad": 1, "sep": 2, "unk": 3, "mask": len(tokens) - 1}
            template = Template((0,), (2, 2), (2,), second_segment=0)
        else:
            tokens = pieces + [f"<extra_id_{i}>" for i in reversed(range(num_sentinels))]
            end = self._library.eos_id()
            specials = {"pad": max(self._library.pad_id(), 0), "unk": self._library.unk_id(), "sep": end}
            controls = [*specials.values(), *range(len(pieces), len(tokens))]
            template = Template((), (end,), (end,), second_segment=0)
        controls += range(len(tokens), len(tokens) + len(self._more))
        vocab = {token: i for i, token in enumerate([*tokens, *self._more])}
        super().__init__(vocab, specials, controls, template)

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (self._model, self.kind, self._num_sentinels, self._more)

    def _split(self, texts: list[str], with_offsets: bool) -> list[Pieces]:
        # a Python string may hold a lone surrogate, the library's may not
        texts = [text.encode("utf-8", "replace").decode() if not text.isascii() else text for text in texts]
        if not with_offsets:
            return [(self._own_ids(ids), None) for ids in self._library.encode(texts, return_type=int)]
        found: list[Pieces] = []
        for text, one in zip(texts, self._library.encode(texts, return_type="offset_mapping"), strict=True):
            offsets = exact_offsets(text, one["pieces"], one["offsets"], composes=False)
            found.append((self._own_ids(one["ids"]), offsets))
        return found

    def _own_ids(self, ids: list[int]) -> list[int]:
        if self.kind == "xlm-roberta":
            return [i + 1 if i else 3 for i in ids]
        return ids

    def _join(self, tokens: list[str]) -> str:
        return self._library.decode_pieces(tokens)

    def with_tokens(self, tokens: Iterable[str]) -> "PieceTokenizer":
        """This tokenizer with more special tokens at the end of its vocabulary."""
        return PieceTokenizer(self._model, self.kind, self._num_sentinels, (*self._more, *tokens))

    def save(self, directory: PathLike) -> None:
        """Write the file, as it was read, and tokenizer_config.json."""
        config = {"tokenizer_class": _CLASSES[self.kind], "extra_ids": self._num_sentinels, "more_tokens": self._more}
        if self.kind != "t5":
            del config["extra_ids"]
        if not self._more:
            del config["more_tokens"]
        with atomic_path(Path(directory) / FILES[self.kind]) as temporary:
            temporary.write_bytes(self._model)
        write_text(Path(directory) / CONFIG_FILE, json.dumps(config, ensure_ascii=False, indent=2) + "\n")
