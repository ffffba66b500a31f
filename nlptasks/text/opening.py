"""The way in to a tokenizer: `open_tokenizer` takes a directory as people have them."""

import os
from pathlib import Path

from nlptasks.errors import UserError
from nlptasks.files import PathLike, read_json_object
from nlptasks.text.base import TextTokenizer
from nlptasks.text.pieces import FILES, SENTINELS, PieceTokenizer
from nlptasks.text.tokenizer import CONFIG_FILE, VOCAB_FILE, Tokenizer, class_name, wordpiece_of_json
from nlptasks.text.tokenizer_json import JSON_FILE, JsonTokenizer

_PIECE_CLASSES = {"xlm-roberta": ("XLMRobertaTokenizer",), "t5": ("T5Tokenizer", "MT5Tokenizer")}
TOKENIZER_FILES = (VOCAB_FILE, JSON_FILE, *FILES.values())
"""by one of them a directory is known to have a tokenizer"""
_GENERIC = (None, "PreTrainedTokenizer", "TokenizersBackend")
"""classes that say nothing of a file"""


def open_tokenizer(directory: PathLike) -> TextTokenizer:
    """The tokenizer of a directory: vocab.txt, tokenizer.json, sentencepiece.bpe.model or spiece.model.

    The path of a checkpoint in it does, too. Of several files vocab.txt is taken, then tokenizer.json, unless
    tokenizer_config.json names a class that has another. A tokenizer.json with BERT's rules is a `Tokenizer`.

    Raises:
        FileNotFoundError: none of the files is there.
        UserError, ValueError: one line; a file that cannot be read, or a class or flag that is not followed.
    """
    directory = Path(directory)
    if not directory.is_dir():
        if not (directory.is_file() or Path(f"{directory}.index").is_file()):
            raise FileNotFoundError(
                f"{directory}: no such checkpoint (working folder {os.getcwd()}); check the spelling of the path."
            )
        directory = directory.parent
    config = read_json_object(directory / CONFIG_FILE) if (directory / CONFIG_FILE).is_file() else {}
    name = class_name(config)
    has_json = (directory / JSON_FILE).is_file()
    if (directory / VOCAB_FILE).is_file() and not (has_json and name in _GENERIC[1:]):
        tokenizer = Tokenizer.from_directory(directory)
        if not (more := _added_behind(directory, config, tokenizer.vocab_size)):
            return tokenizer
        if not has_json:
            raise UserError(
                "{path}: lacks {token!r} and other tokens that were added behind it; save the tokenizer with "
                "transformers once more, which writes tokenizer.json.",
                path=directory / VOCAB_FILE,
                token=more[0],
            )
    if has_json:
        return wordpiece_of_json(directory / JSON_FILE) or JsonTokenizer.from_directory(directory)
    for kind, file in FILES.items():
        path = directory / file
        if path.is_file():
            if name not in (*_GENERIC, *_PIECE_CLASSES[kind]):
                raise UserError(
                    "{path}: {name} gives other ids to it than {known}, which is known; save the tokenizer with "
                    "transformers once more, which writes tokenizer.json.",
                    path=path,
                    name=name,
                    known=_PIECE_CLASSES[kind][0],
                )
            return PieceTokenizer(
                path.read_bytes(), kind, _sentinels(directory, config), config.get("more_tokens", ()), str(path)
            )
    raise FileNotFoundError(
        f"{directory}: holds none of {VOCAB_FILE}, {JSON_FILE}, {', '.join(FILES.values())}; a model comes with one. "
        "(From vocab.json and merges.txt, transformers makes tokenizer.json: save the tokenizer once more.)"
    )


def _added_behind(directory: Path, config: dict, size: int) -> list[str]:
    """Words and other tokens of texts, none of them special, that have ids behind those of vocab.txt."""
    entries = config.get("added_tokens_decoder")
    added = {str(entry.get("content")): int(i) for i, entry in (entries or {}).items() if not entry.get("special")}
    path = directory / "added_tokens.json"
    if entries is None and path.is_file():
        added |= read_json_object(path)
    return [token for token, i in added.items() if i >= size]


def _sentinels(directory: Path, config: dict) -> int:
    """How many a T5 has behind its file: what tokenizer_config.json says; else 100, but none where that is an mT5's."""
    if config.get("extra_ids") is not None:
        return int(config["extra_ids"])
    path = directory / "config.json"
    model_type = read_json_object(path).get("model_type") if path.is_file() else None
    return 0 if model_type == "mt5" else SENTINELS
