"""Tokenizers of `tokenizer.json`: WordPiece, Unigram or BPE, whatever the library `tokenizers` can read."""

import json
import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from nlptasks.errors import UserError
from nlptasks.files import PathLike, read_json_object, write_text
from nlptasks.text.base import TextTokenizer
from nlptasks.text.encoding import Pieces, Template
from nlptasks.text.joining import join_tokens
from nlptasks.text.offsets import exact_offsets
from nlptasks.text.vocab import CLS, MASK, PAD, SEP, UNK

JSON_FILE, CONFIG_FILE = "tokenizer.json", "tokenizer_config.json"
# what a special token is called: in tokenizer_config.json, best first, and in files that do not say
_SPECIALS = {
    "pad": (("pad_token",), (PAD, "<pad>")),
    "unk": (("unk_token",), (UNK, "<unk>")),
    "cls": (("cls_token", "bos_token"), (CLS, "<s>")),
    "sep": (("sep_token", "eos_token"), (SEP, "</s>")),
    "mask": (("mask_token",), (MASK, "<mask>")),
}
_SURROGATE = re.compile("[\ud800-\udfff]")


class JsonTokenizer(TextTokenizer):
    """A `tokenizer.json` on the Rust library `tokenizers`.

    Args:
        source: the text of the file.
        config: tokenizer_config.json, for the names of special tokens; the file's own added tokens are looked at where
            it says nothing.
        where: how an error names the file.

    Raises:
        UserError: the library cannot read it, or it has no padding or unknown token.
    """

    def __init__(self, source: str, config: Mapping[str, Any] | None = None, where: str = JSON_FILE):
        import tokenizers  # here, so that reading files does not wait for it

        self._source, self._config = source, dict(config or {})
        try:
            values, library = json.loads(source), tokenizers.Tokenizer.from_str(source)
        except Exception as error:  # the library raises plain ones
            message = str(error).splitlines()[0]
            raise UserError(
                "{where}: not a tokenizer that can be read ({message}).", where=where, message=message
            ) from None
        vocab = library.get_vocab(with_added_tokens=True)
        added = {token["content"]: token for token in values.get("added_tokens") or ()}
        library.no_truncation()
        library.no_padding()
        specials, template = _special_ids(self._config, vocab, added), _template(library)
        if template is None:
            before, after = ((specials[name],) if name in specials else () for name in ("cls", "sep"))
            template = Template(before, after, after)
        else:  # what stands around texts is the file's own word
            for name, ids in (("cls", template.before), ("sep", template.after)):
                if ids:
                    specials[name] = ids[0]
        for name, what in (("pad", "padding"), ("unk", "unknown")):
            if name not in specials:
                raise UserError(
                    "{where}: names no {what} token; name it in tokenizer_config.json beside it ({key}_token).",
                    where=where,
                    what=what,
                    key=name,
                )
        special = {token for token, entry in added.items() if entry.get("special")}
        special |= {token for token, i in vocab.items() if i in specials.values()}
        super().__init__(vocab, specials, (vocab[token] for token in special), template)
        self.kind: str = type(library.model).__name__  # older files do not say it
        self.lowercase = bool((values.get("normalizer") or {}).get("lowercase"))
        self._decoder = library.decoder
        self._library, self._renumbered = _without_specials(values, self.kind, special, vocab)

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (self._source, self._config)

    def _split(self, texts: list[str], with_offsets: bool) -> list[Pieces]:
        # a Python string may hold a lone surrogate, the library's may not
        texts = [_SURROGATE.sub("\ufffd", text) for text in texts]
        encode = self._library.encode_batch if with_offsets else self._library.encode_batch_fast
        pieces: list[Pieces] = []
        for text, encoding in zip(texts, encode(texts, add_special_tokens=False), strict=True):
            ids = encoding.ids
            if self._renumbered:
                ids = [self._renumbered.get(i, i) for i in ids]
            offsets = None
            if with_offsets:
                offsets = exact_offsets(text, encoding.tokens, encoding.offsets, self.kind != "WordPiece")
            pieces.append((ids, offsets))
        return pieces

    def _join(self, tokens: list[str]) -> str:
        if self.kind == "WordPiece":
            return join_tokens(tokens, compose=self.lowercase)
        return "".join(tokens) if self._decoder is None else self._decoder.decode(tokens)

    def with_tokens(self, tokens: Iterable[str]) -> "JsonTokenizer":
        """This tokenizer with more special tokens at the end of its vocabulary."""
        values = self.values()
        flags = dict.fromkeys(("single_word", "lstrip", "rstrip", "normalized"), False)
        more = [{"id": self.vocab_size + i, "content": t, **flags, "special": True} for i, t in enumerate(tokens)]
        return self.with_values(values | {"added_tokens": [*(values.get("added_tokens") or ()), *more]})

    def values(self) -> dict[str, Any]:
        """What the file holds."""
        return json.loads(self._source)

    def with_values(self, values: Mapping[str, Any]) -> "JsonTokenizer":
        """The tokenizer of a changed file, with the same names of special tokens."""
        return JsonTokenizer(json.dumps(values, ensure_ascii=False), self._config)

    def save(self, directory: PathLike) -> None:
        """Write tokenizer.json, as it was read, and tokenizer_config.json."""
        names = {_SPECIALS[name][0][0]: self.id_to_token(i) for name, i in self.specials.items()}
        config = {"tokenizer_class": "PreTrainedTokenizerFast", **names}
        write_text(Path(directory) / JSON_FILE, self._source)
        write_text(Path(directory) / CONFIG_FILE, json.dumps(config, ensure_ascii=False, indent=2) + "\n")

    @classmethod
    def from_directory(cls, directory: PathLike) -> "JsonTokenizer":
        """Open a folder with tokenizer.json and, maybe, tokenizer_config.json or special_tokens_map.json.

        Raises:
            UserError, FileNotFoundError, ValueError: one line that names the file.
        """
        directory = Path(directory)
        config: dict[str, Any] = {}
        for name in ("special_tokens_map.json", CONFIG_FILE):
            if (directory / name).is_file():
                config |= read_json_object(directory / name)
        names = {key for keys, _ in _SPECIALS.values() for key in keys}
        config = {key: value for key, value in config.items() if key in names}
        path = directory / JSON_FILE
        read_json_object(path)
        return cls(path.read_text(encoding="utf-8"), config, str(path))


def _special_ids(config: Mapping[str, Any], vocab: Mapping[str, int], added: Mapping[str, Any]) -> dict[str, int]:
    """The ids of "pad", "unk", "cls", "sep" and "mask", as far as there are such.

    Args:
        config: names of tokens, as tokenizer_config.json has them: strings, or objects with their "content".
        vocab: token to id.
        added: tokens of the file among which usual names are looked for.
    """
    found = {}
    for name, (keys, usual) in _SPECIALS.items():
        given = [config.get(key) for key in keys]
        named = [value.get("content") if isinstance(value, dict) else value for value in given]
        candidates = [token for token in (*named, *filter(added.__contains__, usual)) if token in vocab]
        if candidates:
            found[name] = vocab[str(candidates[0])]
    return found


def _template(library: Any) -> Template | None:
    """What the file's post-processor puts around texts; None: nothing."""
    if library.post_processor is None:
        return None
    single, pair = library.encode("a"), library.encode("a", "a")
    is_text = [not special for special in single.special_tokens_mask]
    if not any(is_text) or all(is_text):
        return None
    start, stop = is_text.index(True), len(is_text) - is_text[::-1].index(True)
    before, after = single.ids[:start], single.ids[stop:]
    length = stop - start
    between = pair.ids[start + length : len(pair.ids) - len(after) - length]
    return Template(tuple(before), tuple(between), tuple(after), pair.type_ids[-1 - len(after)])


def _without_specials(
    values: dict[str, Any], kind: str, special: set[str], vocab: Mapping[str, int]
) -> tuple[Any, dict[int, int]]:
    """The library's tokenizer that makes no special token of text, and the ids that it has other numbers for."""
    import tokenizers

    model = dict(values["model"])
    hidden = special - {model.get("unk_token")}
    if kind == "Unigram":  # whose special pieces have the best score of all
        model["vocab"] = [[_unreachable(i) if t in hidden else t, s] for i, (t, s) in enumerate(model["vocab"])]
    else:
        merges = [pair.split(" ") if isinstance(pair, str) else pair for pair in model.get("merges") or ()]
        hidden -= {part for pair in merges for part in (*pair, "".join(pair))}  # of BPE: what others are made of
        model["vocab"] = {_unreachable(i) if t in hidden else t: i for t, i in model["vocab"].items()}
    kept = [token for token in values.get("added_tokens") or () if token["content"] not in special]
    changed = values | {
        "model": model,
        "added_tokens": kept,
        "post_processor": None,
        "truncation": None,
        "padding": None,
    }
    library = tokenizers.Tokenizer.from_str(json.dumps(changed, ensure_ascii=False))
    numbers = [(int(library.token_to_id(token["content"]) or 0), vocab[token["content"]]) for token in kept]
    return library, {theirs: ours for theirs, ours in numbers if theirs != ours}


def _unreachable(token_id: int) -> str:
    """A token that no text holds: its first character is none."""
    return f"\ufdd0{token_id}"
