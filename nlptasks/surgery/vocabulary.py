"""Another vocabulary for a checkpoint: fewer tokens, more of them, or those of another tokenizer."""

import json
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from nlptasks.checkpoints.weights import export_weights
from nlptasks.errors import UserError
from nlptasks.surgery.opened import Opened, rebuilt
from nlptasks.text import TextTokenizer, Tokenizer
from nlptasks.text.tokenizer_json import JsonTokenizer

_TABLE, _BIAS = "embeddings.word_embeddings.weight", "cls.predictions.bias"
_BATCH = 256
_SPACE, _INNER = "\u2581", "##"  # how a piece begins at the start of a word, and how one within a word does
_CUTTABLE = ("Unigram", "WordPiece", "WordLevel")


@dataclass(kw_only=True)
class Changed:
    """A checkpoint with another vocabulary.

    Attributes:
        opened: the checkpoint.
        pairs: ids of the tokens that kept their rows: the former ones, and those of now.
        pieces: how many new tokens have the mean of former pieces.
        unknown: how many have the row of the unknown token, with noise.
    """

    opened: Opened
    pairs: tuple[list[int], list[int]]
    pieces: int = 0
    unknown: int = 0


def cut_vocabulary(opened: Opened, keep: Iterable[int]) -> Changed:
    """Leaves out all tokens but these, and those that the tokenizer cannot do without, in their former order.

    Raises:
        UserError: the tokenizer cannot be cut.
    """
    tokenizer = _tokenizer(opened)
    kept = sorted({*keep, *_needed(tokenizer)})
    return _changed(opened, _cut_tokenizer(tokenizer, kept, opened.path))


def add_tokens(opened: Opened, tokens: Sequence[str]) -> Changed:
    """Adds tokens at the end of the vocabulary, each with the mean of the rows of the pieces that it was cut into.

    Raises:
        UserError: the tokenizer takes no more, or one of them is there already.
    """
    tokenizer = _tokenizer(opened)
    if known := [token for token in tokens if token in tokenizer.vocab]:
        raise UserError("{token!r} is in the vocabulary already; leave it out.", token=known[0])
    size = tokenizer.vocab_size
    if isinstance(tokenizer, Tokenizer):
        new: TextTokenizer = tokenizer.with_vocab(tokenizer.vocab | {t: size + i for i, t in enumerate(tokens)})
    elif isinstance(tokenizer, JsonTokenizer):
        flags = {"single_word": False, "lstrip": False, "rstrip": False, "normalized": True, "special": False}
        values = tokenizer.values()
        more = [{"id": size + i, "content": token, **flags} for i, token in enumerate(tokens)]
        new = tokenizer.with_values(values | {"added_tokens": [*(values.get("added_tokens") or ()), *more]})
    else:
        raise _not_cuttable(opened.path)
    return _changed(opened, new)


def replace_vocabulary(opened: Opened, tokenizer: TextTokenizer) -> Changed:
    """Moves a network to another tokenizer.

    A token has the row of the same token, else the mean of the pieces into which the former tokenizer cuts it, else
    the row of the unknown token with a little noise. Special tokens have the rows of those with the same job.

    Raises:
        UserError: positions are counted from the padding id, which differs.
    """
    config = opened.model.config
    if config.position == "counted" and config.pad_id != tokenizer.pad_id:
        raise UserError(
            "positions are counted from the padding id, which is {old} here and {new} in the other tokenizer; give "
            "one with the same.",
            old=config.pad_id,
            new=tokenizer.pad_id,
        )
    return _changed(opened, tokenizer)


def seen_tokens(tokenizer: TextTokenizer, texts: Iterable[str], min_count: int) -> set[int]:
    """The ids that occur so often, at least, in these texts."""
    counts = np.zeros(tokenizer.vocab_size, "int64")
    for part in _parts(texts):
        for encoding in tokenizer.encode_batch(part, with_offsets=False):
            np.add.at(counts, encoding.token_ids, 1)
    return set(np.flatnonzero(counts >= min_count).tolist())


def listed_tokens(tokenizer: TextTokenizer, tokens: Iterable[str], where: str) -> set[int]:
    """The ids of tokens of a list.

    Raises:
        UserError: one of them is no token.
    """
    found = set()
    for number, token in enumerate(tokens, 1):
        if token not in tokenizer.vocab:
            raise UserError("{where}:{number}: {token!r} is no token.", where=where, number=number, token=token)
        found.add(tokenizer.vocab[token])
    return found


def never_made(tokenizer: TextTokenizer, tokens: Iterable[str]) -> list[str]:
    """Those of these tokens that the tokenizer does not make even of their own text."""
    return [
        token
        for token in tokens
        if not token.startswith(_INNER) and token not in tokenizer.tokenize(token.replace(_SPACE, " ").strip())
    ]


def _changed(opened: Opened, new: TextTokenizer) -> Changed:
    """The network of `opened` for another tokenizer."""
    old, model = _tokenizer(opened), opened.model
    if old.vocab_size > model.config.vocab_size:
        raise UserError(
            "{path}: the tokenizer has {tokens} tokens, and the network rows for {rows}; they are not of one model.",
            path=opened.path,
            tokens=old.vocab_size,
            rows=model.config.vocab_size,
        )
    same, pieces, unknown = _sources(old, new)
    arrays = export_weights(model)
    for name in (_TABLE, _BIAS):
        if name in arrays:
            former = arrays[name]
            rows = np.zeros((new.vocab_size, *former.shape[1:]), "float32")
            rows[list(same)] = former[list(same.values())]
            for token_id, parts in pieces.items():
                rows[token_id] = former[parts].mean(axis=0)
            spread = model.config.initializer_range if name == _TABLE else 0.0
            rows[unknown] = former[old.unk_id] + np.random.default_rng(0).normal(0.0, spread, rows[unknown].shape)
            arrays[name] = rows
    config = model.config.replace(vocab_size=new.vocab_size, pad_id=new.pad_id)
    changed = opened.with_model(rebuilt(model, config, arrays), new)
    return Changed(opened=changed, pairs=(list(same.values()), list(same)), pieces=len(pieces), unknown=len(unknown))


def _sources(old: TextTokenizer, new: TextTokenizer) -> tuple[dict[int, int], dict[int, list[int]], list[int]]:
    """New id -> former id of the same token; new id -> former pieces; new ids that nothing stands for."""
    same = {i: old.specials[name] for name, i in new.specials.items() if name in old.specials}
    missing = {}
    for token, i in new.vocab.items():
        names = (token, _SPACE + token, token.removeprefix(_SPACE))
        known = [name for name in names if name in old.vocab and old.vocab[name] not in old.special_ids]
        if token in old.vocab and i not in same:
            same[i] = old.vocab[token]
        elif known and i not in same and i not in new.special_ids:
            same[i] = old.vocab[known[0]]
        elif i not in same:
            missing[i] = token
    pieces, unknown = {}, [i for i in missing if i in new.special_ids]
    texts = {i: token.removeprefix(_INNER).replace(_SPACE, " ").strip() for i, token in missing.items()}
    wanted = [i for i in missing if i not in new.special_ids]
    before, after, space = len(old.template.before), len(old.template.after), old.vocab.get(_SPACE)
    for part in _parts(wanted):
        for i, encoding in zip(part, old.encode_batch([texts[i] for i in part], with_offsets=False), strict=True):
            ids = [int(k) for k in encoding.token_ids[before : len(encoding.token_ids) - after]]
            ids = [k for k in ids if k != old.unk_id]
            ids = [k for k in ids if k != space] or ids
            if ids:
                pieces[i] = ids
            else:
                unknown.append(i)
    return same, pieces, sorted(unknown)


def _needed(tokenizer: TextTokenizer) -> set[int]:
    """Ids that every cut keeps: special tokens with a job, all up to padding, and pieces that spell bytes."""
    template = tokenizer.template
    needed = {*tokenizer.specials.values(), *template.before, *template.between, *template.after}
    needed |= set(range(tokenizer.pad_id + 1))
    return needed | {i for token, i in tokenizer.vocab.items() if len(token) == 6 and token.startswith("<0x")}


def _cut_tokenizer(tokenizer: TextTokenizer, kept: Sequence[int], path: Path) -> TextTokenizer:
    numbers = {former: i for i, former in enumerate(kept)}
    if isinstance(tokenizer, Tokenizer):
        return tokenizer.with_vocab({tokenizer.id_to_token(former): i for former, i in numbers.items()})
    if not isinstance(tokenizer, JsonTokenizer) or tokenizer.kind not in _CUTTABLE:
        raise _not_cuttable(path)
    values = tokenizer.values()
    model = dict(values["model"])
    if tokenizer.kind == "Unigram":
        model["vocab"] = [entry for i, entry in enumerate(model["vocab"]) if i in numbers]
        model["unk_id"] = numbers[model["unk_id"]]
    else:
        model["vocab"] = {token: numbers[i] for token, i in model["vocab"].items() if i in numbers}
    added = [
        token | {"id": numbers[token["id"]]} for token in values.get("added_tokens") or () if token["id"] in numbers
    ]
    changed = values | {"model": model, "added_tokens": added}
    changed["post_processor"] = _renumbered(values.get("post_processor"), numbers)
    return tokenizer.with_values(changed)


def _renumbered(processor: Any, numbers: dict[int, int]) -> Any:
    """A post-processor of tokenizer.json with other ids for its special tokens."""
    if not isinstance(processor, dict):
        return processor
    processor = json.loads(json.dumps(processor))
    for special in (processor.get("special_tokens") or {}).values():
        special["ids"] = [numbers[i] for i in special["ids"]]
    for name in ("sep", "cls"):
        if name in processor:
            processor[name][1] = numbers[processor[name][1]]
    if "processors" in processor:
        processor["processors"] = [_renumbered(one, numbers) for one in processor["processors"]]
    return processor


def _tokenizer(opened: Opened) -> TextTokenizer:
    tokenizer = opened.bare().tokenizer
    assert tokenizer is not None  # `bare` asks for one
    return tokenizer


def _parts(items: Iterable[Any]) -> Iterator[list[Any]]:
    part: list[Any] = []
    for item in items:
        part.append(item)
        if len(part) == _BATCH:
            yield part
            part = []
    if part:
        yield part


def _not_cuttable(path: Path) -> UserError:
    return UserError(
        "{path}: the vocabulary of a vocab.txt can be changed, and that of a tokenizer.json of the kinds {kinds}; of a "
        "sentencepiece file, transformers makes a tokenizer.json: save the tokenizer once more.",
        path=path,
        kinds=", ".join(_CUTTABLE),
    )
