"""Checkpoints: what one is, in another format, with another vocabulary, fewer layers or larger heads.

    nlptasks checkpoint show DIR
    nlptasks checkpoint convert DIR --to google --output NEW
    nlptasks checkpoint vocabulary DIR --texts corpus.txt --output NEW
    nlptasks checkpoint layers DIR --count 6 --output NEW
    nlptasks checkpoint key-size DIR --key-size 64 --output NEW

What is written stands in a new folder, whole or not at all: it is opened again and compared before the folder has its
name. docs/checkpoints.md says what each verb does.
"""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import tyro

from nlptasks.applications.sources import Downloading, check_download, located, packages_of_checkpoint
from nlptasks.console import say
from nlptasks.errors import UserError, told
from nlptasks.files import read_lines
from nlptasks.surgery.options import FORMS, even_layers
from nlptasks.text import TextTokenizer, Tokenizer, open_tokenizer, read_texts
from nlptasks.train.options import OnKeras, Options, TextFiles, require_at_least, require_one_of
from nlptasks.train.record import require_new_folder

if TYPE_CHECKING:
    from nlptasks.surgery.opened import Opened
    from nlptasks.surgery.vocabulary import Changed

FAMILIES = ("bert", "roberta", "xlm-roberta", "albert", "albert_unshared", "electra", "nezha", "roformer")

NEW_TOKENS = (
    "{tokens} tokens instead of {had}, {kept} with their rows, {pieces} with the mean of their pieces, {unknown} near "
    "the unknown token"
)
NEVER_MADE = "; {count} of the new ones the tokenizer never makes of a text ({example})"


@dataclass(kw_only=True)
class OneCheckpoint(Downloading, Options, OnKeras):
    """Options of every verb: the checkpoint, and what it leaves open."""

    checkpoint: Annotated[str, tyro.conf.Positional]
    """mini (comes with the package), a directory with config, weights and tokenizer, or the path of weights in one"""
    config: Path | None = None
    """config of the checkpoint; default: the one beside the weights"""
    family: str | None = None
    """what the config is of, where it does not say: bert, roberta, xlm-roberta, albert, albert_unshared, electra, nezha
    or roformer"""
    skip_weights: tuple[str, ...] = ()
    """prefixes of weight names to leave out (pooler., for example), or that may be missing"""

    def check(self) -> None:
        """Refuses values that are out of range."""
        super().check()
        check_download(self.download)
        require_one_of(self, family=FAMILIES)

    def packages(self) -> tuple[str, ...]:
        """The modules without which the command does not begin."""
        return (*super().packages(), *packages_of_checkpoint(self.checkpoint, self.download))

    def open(self) -> "Opened":
        """The checkpoint."""
        path = located(self.checkpoint, self.download)  # a missing one shows before Keras is imported
        from nlptasks.surgery.opened import open_checkpoint

        return open_checkpoint(path, self.config, self.family, self.skip_weights)


@dataclass(kw_only=True)
class Show(OneCheckpoint):
    """Say what a checkpoint is: family, sizes, weights, tokenizer, and which applications it fits."""

    tensors: bool = False
    """also list the name and shape of each weight"""
    json: bool = False
    """write one JSON object"""

    def run(self) -> None:
        """Opens it and prints."""
        opened = self.open()
        from nlptasks.surgery.showing import described, shown

        values = described(opened)
        print(json.dumps(values, ensure_ascii=False) if self.json else shown(values, self.tensors))


@dataclass(kw_only=True)
class IntoFolder(OneCheckpoint):
    """Options of every verb that writes."""

    output: Path
    """folder of the new checkpoint, new or empty"""

    def run(self) -> None:
        """Opens it, changes it and writes it."""
        require_new_folder(self.output)
        said = self.change(self.open().bare())
        say(f"{self.output}: {said}")

    def change(self, opened: "Opened") -> str:
        """Writes the changed checkpoint; returns what was done."""
        raise NotImplementedError


@dataclass(kw_only=True)
class Convert(IntoFolder):
    """Write a checkpoint in another format, with equal outputs."""

    to: str = "nlptasks"
    """nlptasks (Hugging Face's layout, with a model_type of its own where transformers has no such model), huggingface
    (only what transformers computes), google (a TensorFlow checkpoint) or bert4keras (HDF5)"""
    bits: int | None = None
    """with --to nlptasks: 4 or 8, matrices in so many bits; the outputs are then only near"""

    def check(self) -> None:
        """Refuses values that are out of range or contradict each other."""
        super().check()
        require_one_of(self, to=FORMS)
        if self.bits is not None and (self.bits not in (4, 8) or self.to != "nlptasks"):
            raise UserError(
                "{field:bits} is 4 or 8, and goes with {field:to} nlptasks. Received: {bits}.", bits=self.bits
            )

    def packages(self) -> tuple[str, ...]:
        """The modules without which the command does not begin."""
        return (*super().packages(), *(("tensorflow",) if self.to == "google" else ()))

    def change(self, opened: "Opened") -> str:
        """Writes it; returns what was done."""
        from nlptasks.surgery.publishing import publish

        distance = publish(opened, self.output, self.to, bits=self.bits, same_as=None if self.bits else opened.model)
        done = told("a {family} as {form}", family=opened.model_type, form=self.to)
        return done + (told(" in {bits} bits", bits=self.bits) if self.bits else _equal(distance))


@dataclass(kw_only=True)
class Vocabulary(IntoFolder, TextFiles):
    """Leave tokens out, add some, or move to the vocabulary of another tokenizer.

    A new token has the mean of the rows of the pieces that it was cut into.
    """

    texts: tuple[Path, ...] = ()
    """text files, one text per line or JSON lines with `text`; tokens that do not occur there are left out"""
    min_count: int = 1
    """with --texts: leave out tokens that occur less often than this"""
    tokens: Path | None = None
    """file with one token per line; all others are left out, or with --texts those that are in neither"""
    add: Path | None = None
    """file with one new token per line"""
    replace: Path | None = None
    """vocab.txt or directory of another tokenizer, whose tokens take the place of all"""

    def check(self) -> None:
        """Refuses values that are out of range or contradict each other."""
        super().check()
        require_at_least(self, 1, "min_count")
        cut = bool(self.texts) or self.tokens is not None
        if not cut and self.add is None and self.replace is None:
            raise UserError("give one of {field:texts}, {field:tokens}, {field:add} and {field:replace}.")
        if self.replace is not None and (cut or self.add is not None):
            raise UserError("{field:replace} takes the place of all tokens; leave the other options out.")

    def change(self, opened: "Opened") -> str:
        """Changes the vocabulary; returns what was done."""
        from nlptasks.surgery import vocabulary
        from nlptasks.surgery.publishing import publish

        tokenizer, more = opened.tokenizer, ""
        assert tokenizer is not None  # `bare` asks for one
        added = [] if self.add is None else [line.strip() for _, line in read_lines(self.add)]
        if self.replace is not None:
            changed = vocabulary.replace_vocabulary(opened, _tokenizer_at(self.replace))
        elif self.texts or self.tokens is not None:
            keep = vocabulary.seen_tokens(tokenizer, _texts_of(self.texts), self.min_count)
            if self.tokens is not None:
                listed = [line.strip() for _, line in read_lines(self.tokens)]
                keep |= vocabulary.listed_tokens(tokenizer, listed, str(self.tokens))
            changed = vocabulary.cut_vocabulary(opened, keep)
            if added:
                changed = _joined(changed, vocabulary.add_tokens(changed.opened, added))
        else:
            changed = vocabulary.add_tokens(opened, added)
        new = changed.opened.tokenizer
        assert new is not None
        if useless := vocabulary.never_made(new, added):
            more = told(NEVER_MADE, count=len(useless), example=useless[0])
        distance = publish(changed.opened, self.output, same_as=opened.model, pairs=changed.pairs)
        counts = {"kept": len(changed.pairs[0]), "pieces": changed.pieces, "unknown": changed.unknown}
        return told(NEW_TOKENS, tokens=new.vocab_size, had=tokenizer.vocab_size, **counts) + _equal(distance) + more


@dataclass(kw_only=True)
class Layers(IntoFolder):
    """Take some of the layers, in their order."""

    layers: tuple[int, ...] = ()
    """numbers of the layers, from 0"""
    count: int | None = None
    """so many layers, evenly: the last one of each group"""

    def check(self) -> None:
        """Refuses values that are out of range or contradict each other."""
        super().check()
        if bool(self.layers) == (self.count is not None):
            raise UserError("give either {field:layers} or {field:count}.")

    def change(self, opened: "Opened") -> str:
        """Takes the layers; returns what was done."""
        from nlptasks.surgery.layers import take_layers
        from nlptasks.surgery.publishing import publish

        had = opened.model.config.num_layers
        layers = list(self.layers) if self.count is None else even_layers(had, self.count)
        publish(opened.with_model(take_layers(opened.model, layers)), self.output)
        return told("layers {layers} of {had}", layers=", ".join(map(str, layers)), had=had)


@dataclass(kw_only=True)
class KeySize(IntoFolder):
    """Give the heads larger queries and keys, with equal outputs; new columns learn in further training."""

    key_size: int
    """the new size of a head's queries and keys"""
    talking_heads: bool = False
    """also mix the heads, at first by the identity"""
    seed: int = 0
    """seed of the new columns of the keys"""

    def change(self, opened: "Opened") -> str:
        """Grows the heads; returns what was done."""
        from nlptasks.checkpoints.growing import grow_key_size
        from nlptasks.surgery.publishing import publish

        had = opened.model.config.key_size
        grown = grow_key_size(opened.model, self.key_size, talking_heads=self.talking_heads or None, seed=self.seed)
        distance = publish(opened.with_model(grown), self.output, same_as=opened.model)
        return told("key_size {size} instead of {had}", size=self.key_size, had=had) + _equal(distance)


def _joined(first: "Changed", second: "Changed") -> "Changed":
    """Two changes, one after the other, as one."""
    former = dict(zip(first.pairs[1], first.pairs[0], strict=True))
    both = [(former[old], new) for old, new in zip(*second.pairs, strict=True) if old in former]
    second.pairs = ([old for old, _ in both], [new for _, new in both])
    return second


def _tokenizer_at(path: Path) -> TextTokenizer:
    return Tokenizer(path) if path.is_file() else open_tokenizer(path)


def _texts_of(paths: tuple[Path, ...]) -> Iterator[str]:
    for path in paths:
        yield from read_texts(path)


def _equal(distance: float | None) -> str:
    return "" if distance is None else told(", outputs equal to {distance:.1e}", distance=distance)


COMMANDS = {"show": Show, "convert": Convert, "vocabulary": Vocabulary, "layers": Layers, "key-size": KeySize}
