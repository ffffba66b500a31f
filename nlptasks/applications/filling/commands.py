"""Filling masks: the most probable tokens at the masks of a text, with their probabilities.

    nlptasks fill "今天天气[MASK]好"
    nlptasks fill --model DIR --top 3 --json < texts.txt
    nlptasks filling sample --text "今天[MASK][MASK]很好" --count 3

The model is the pretrained one that comes with the package, or any other one with its masked-LM head.
"""

import dataclasses
import json
import sys
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any

import tyro

from nlptasks.applications.sources import Downloading, check_download, located, packages_of_checkpoint
from nlptasks.applications.unread import tell_unknown
from nlptasks.bundled import MINI
from nlptasks.console import progress_bar
from nlptasks.errors import UserError, told
from nlptasks.files import read_text_blocks
from nlptasks.train.options import OnKeras, Options, TextFiles, require_at_least, require_positive, require_seed

if TYPE_CHECKING:
    from nlptasks.applications.filling.filler import FilledMask


@dataclass(kw_only=True)
class Fill(Downloading, Options, OnKeras, TextFiles):
    """Find the most probable tokens for each [MASK] of a text, with their probabilities.

    Below each text a line for each token: the number of the mask, the token and its probability, separated by tabs.
    """

    texts: Annotated[tuple[str, ...], tyro.conf.Positional] = ()
    """texts with masks, spelled [MASK] or as the model's own mask token; none: the lines of standard input"""
    model: str = MINI
    """mini: the pretrained model that comes with the package; or a directory with config, weights and tokenizer (./mini
    for one of that name)"""
    top: int = 5
    """the most tokens of each mask"""
    json: bool = False
    """print one JSON object per text: the text, and for each mask its place and its candidates"""

    def check(self) -> None:
        """Refuses values that are out of range."""
        super().check()
        check_download(self.download)
        require_at_least(self, 1, "top")

    def packages(self) -> tuple[str, ...]:
        """The modules without which the command does not begin."""
        return (*super().packages(), *packages_of_checkpoint(self.model, self.download))

    def run(self) -> None:
        """Prints what is found, of lines as they come."""
        path = located(self.model, self.download)  # a missing model shows before Keras is imported
        from nlptasks.applications.filling.filler import MaskFiller

        filler = MaskFiller.open(path)
        given = [{f"text {number}": text for number, text in enumerate(self.texts, 1)}]
        for texts in given if self.texts else _lines():
            masked = filler.encode(list(texts.values()), list(texts))
            parts = [one.between(text) for one, text in zip(masked, texts.values(), strict=True)]
            tell_unknown(filler.tokenizer, [one.encoding for one in masked], parts, "texts")
            for text, masks in zip(texts.values(), filler.fill_encoded(masked, self.top), strict=True):
                print(_json(text, masks) if self.json else _table(text, masks))
            sys.stdout.flush()


def _lines() -> Iterator[dict[str, str]]:
    """The lines of standard input that are not blank, by their places, as many at a time as there are."""
    number = 1
    for block in read_text_blocks("-"):
        lines = [line.removesuffix("\r") for line in block.decode("utf-8").removesuffix("\n").split("\n")]
        yield {f"standard input:{i}": line for i, line in enumerate(lines, number) if line.strip()}
        number += len(lines)


def _json(text: str, masks: Iterable["FilledMask"]) -> str:
    row: dict[str, Any] = {"text": text, "masks": [dataclasses.asdict(mask) for mask in masks]}
    return json.dumps(row, ensure_ascii=False)


def _table(text: str, masks: Iterable["FilledMask"]) -> str:
    found = [(number, one) for number, mask in enumerate(masks, 1) for one in mask.candidates]
    return "\n".join([text, *(f"  {number}\t{one.token}\t{one.probability:.4f}" for number, one in found)])


@dataclass(kw_only=True)
class Sample(Downloading, Options, OnKeras):
    """Draw texts from a masked language model: one token after another is masked and drawn anew (Gibbs sampling)."""

    text: str | None = None
    """where a text begins: its masks are drawn and the rest stays; without masks, all of it is drawn anew"""
    length: int | None = None
    """instead of a text: begin with so many masks"""
    count: int = 1
    """number of texts"""
    sweeps: int = 20
    """how often each token is drawn"""
    temperature: float = 1.0
    """below 1: more probable texts; above 1: more varied texts"""
    top_k: int | None = None
    """draw only from the k most probable tokens"""
    seed: int = 0
    """seed of the draws; the same seed writes the same texts"""
    model: str = MINI
    """mini: the pretrained model that comes with the package; or a directory with config, weights and tokenizer (./mini
    for one of that name)"""

    def check(self) -> None:
        """Refuses values that are out of range or contradict each other."""
        super().check()
        check_download(self.download)
        require_at_least(self, 1, "count", "sweeps", "length", "top_k")
        require_positive(self, "temperature")
        require_seed(self, 64)
        if (self.text is None) == (self.length is None):
            raise UserError("give {field:text} TEXT or {field:length} N, and not both.")

    def packages(self) -> tuple[str, ...]:
        """The modules without which the command does not begin."""
        return (*super().packages(), *packages_of_checkpoint(self.model, self.download))

    def run(self) -> None:
        """Draws and prints."""
        path = located(self.model, self.download)
        from nlptasks.applications.filling.filler import MaskFiller
        from nlptasks.applications.filling.gibbs import GibbsSampler

        filler = MaskFiller.open(path)
        text = filler.tokenizer.id_to_token(filler.mask_id) * (self.length or 0) if self.text is None else self.text
        sampler = GibbsSampler(filler, self.temperature, self.top_k, self.seed)
        for drawn in sampler.sample(text, self.count, self.sweeps, _bar):
            print(drawn)


def _bar(sweeps: Iterable) -> Iterable:
    return progress_bar(sweeps, told("drawing"))


COMMANDS = {"fill": Fill, "sample": Sample}
