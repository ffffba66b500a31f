"""Latent text: train a sentence autoencoder; encode, reconstruct, interpolate and sample texts with it.

    nlptasks latent train --train texts.txt --output runs/latent --checkpoint none
    nlptasks latent evaluate --model runs/latent --data held_out.txt
    nlptasks latent sample --model runs/latent --count 5
    nlptasks latent interpolate --model runs/latent --texts 房间很干净。 苹果不新鲜。 --steps 5

Files have a text a line, or JSON lines with `text`; plain or gzip. docs/generative.md describes the method.
"""

import json
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from nlptasks.applications.latent.training import LatentOptions, train_latent
from nlptasks.applications.options import require_input, require_output
from nlptasks.applications.results import say_ready, write_rows
from nlptasks.applications.unread import tell_cut, tell_unknown
from nlptasks.console import progress_bar, say
from nlptasks.errors import UserError, told
from nlptasks.files import atomic_path
from nlptasks.opening import load
from nlptasks.text import read_texts
from nlptasks.train.options import OnKeras, Options, TextFiles, require_at_least

SHUFFLED = (
    "vectors of other texts: perplexity {other_perplexity:.2f}, {gap:+.4f} nats a token (95% {low:+.4f} to {high:+.4f})"
)


@dataclass(kw_only=True)
class Train(LatentOptions, TextFiles):
    """Train a sentence autoencoder; of a VAE the epoch with the best objective is kept."""

    train: tuple[Path, ...]
    """training files: a text a line, or JSON lines with `text`"""
    valid: Path | None = None
    """validation file; default: a share of the training texts is held out"""

    def run(self) -> None:
        """Reads the files and trains."""
        require_input(*self.train, self.valid)
        training = [text for path in self.train for text in read_texts(path)]
        train_latent(self, training, None if self.valid is None else list(read_texts(self.valid)))
        say_ready(self.output, "evaluate, encode, sample, reconstruct and interpolate")


@dataclass(kw_only=True)
class _OnTexts(Options, OnKeras):
    model: Path
    """the run directory of a model"""


@dataclass(kw_only=True)
class Evaluate(_OnTexts, TextFiles):
    """Compute perplexities, the KL divergence, active units, and what another text's vector costs."""

    data: Path
    """file of texts"""
    seed: int = 0
    """seed of the draws and of the bootstrap"""
    json: bool = False
    """write a JSON object as the last line of the output"""

    def run(self) -> None:
        """Prints the scores."""
        require_input(self.data)
        from nlptasks.applications.latent.evaluation import evaluation

        writer, texts = _open_for(self.model, self.data)
        results = evaluation(writer, texts, self.seed, _bar)
        for name, value in results.items():
            if isinstance(value, dict):
                print(told(SHUFFLED, **value))
            else:
                shown = f"{value:.4g}" if isinstance(value, float) else value
                print(told("{name}: {value}", name=told(name), value=shown))
        if self.json:
            print(json.dumps({"scores": results}, ensure_ascii=False))


@dataclass(kw_only=True)
class Encode(_OnTexts, TextFiles):
    """Write the vectors of texts into a NumPy file, a row a text."""

    data: Path
    """file of texts"""
    output: Path
    """the file to write (.npy); `nlptasks conditional generate --vector` reads it"""

    def run(self) -> None:
        """Reads, encodes, writes."""
        require_input(self.data)
        require_output(self.output, self.data)
        writer, texts = _open_for(self.model, self.data)
        vectors = writer.encode(texts)
        with atomic_path(self.output) as temporary, open(temporary, "wb") as file:
            np.save(file, vectors)
        say(f"{self.output}: {len(texts)} vectors of {vectors.shape[1]} numbers")


@dataclass(kw_only=True)
class _Writing(_OnTexts):
    temperature: float | None = None
    """draw the tokens: below 1 more probable texts, above 1 more varied ones; default: the most probable token"""
    top_p: float | None = None
    """draw only from the most probable tokens whose probabilities add up to this"""
    max_length: int | None = None
    """the most tokens to write; default: as many as the model has positions"""
    seed: int = 0
    """seed of the draws; the same seed writes the same texts"""
    output: Path | None = None
    """write to this file, one JSON object per line, instead of printing"""
    json: bool = False
    """print JSON objects"""

    def check(self) -> None:
        """Refuses values that are out of range or contradict each other."""
        super().check()
        require_at_least(self, 1, "max_length")

    def _options(self) -> dict[str, Any]:
        given = {"temperature": self.temperature, "top_p": self.top_p, "max_length": self.max_length}
        return {"seed": self.seed} | {name: value for name, value in given.items() if value is not None}

    def _show(self, rows: list[dict[str, Any]]) -> None:
        if self.output is not None:
            write_rows(self.output, rows)
            return
        for row in rows:
            print(json.dumps(row, ensure_ascii=False) if self.json else "\t".join(map(str, row.values())))


@dataclass(kw_only=True)
class Sample(_Writing):
    """Write texts from vectors drawn from the normal distribution."""

    count: int = 1
    """number of texts"""

    def check(self) -> None:
        """Refuses values that are out of range or contradict each other."""
        super().check()
        require_at_least(self, 1, "count")

    def run(self) -> None:
        """Prints the texts, or writes them."""
        require_output(self.output)
        options = self._options()
        found = _open(self.model).sample(self.count, **options)
        self._show([{"text": text} for text in found])


@dataclass(kw_only=True)
class Reconstruct(_Writing, TextFiles):
    """Read texts into their vectors and write them again."""

    data: Path
    """file of texts; the output has lines of text TAB what was written"""

    def run(self) -> None:
        """Prints each text and its reconstruction, or writes them."""
        require_input(self.data)
        require_output(self.output, self.data)
        writer, texts = _open_for(self.model, self.data)
        found = writer.reconstruct(texts, **self._options())
        self._show([{"text": text, "reconstruction": other} for text, other in zip(texts, found, strict=True)])


@dataclass(kw_only=True)
class Interpolate(_Writing):
    """Write the texts of the vectors on the line between two texts."""

    texts: tuple[str, ...]
    """the two texts"""
    steps: int = 5
    """number of texts, both ends included"""

    def check(self) -> None:
        """Refuses values that are out of range or contradict each other."""
        super().check()
        require_at_least(self, 2, "steps")
        if len(self.texts) != 2 or not all(text.strip() for text in self.texts):
            raise UserError(
                "{field:texts} takes two texts that are not empty. Received: {count}.", count=len(self.texts)
            )

    def run(self) -> None:
        """Prints the texts, or writes them."""
        require_output(self.output)
        found = _open(self.model).interpolate(*self.texts, steps=self.steps, **self._options())
        self._show([{"text": text} for text in found])


def _open(path: Path) -> Any:
    from nlptasks.applications.latent.writer import LatentWriter

    return load(path, LatentWriter)


def _open_for(path: Path, data: Path) -> tuple[Any, list[str]]:
    """The model and the texts of a file, of which it says what the model does not read."""
    texts = list(read_texts(data))
    writer = _open(path)
    tell_cut(sum(writer.decoder.encode(texts)[1]), len(texts), "texts", writer.seq_length)
    tell_unknown(writer.tokenizer, writer.tokenizer.encode_batch(texts, with_offsets=False), texts, "texts")
    return writer, texts


def _bar(items: Iterable) -> Iterable:
    return progress_bar(items, told("scoring"))


COMMANDS = {
    "train": Train,
    "evaluate": Evaluate,
    "encode": Encode,
    "sample": Sample,
    "reconstruct": Reconstruct,
    "interpolate": Interpolate,
}
