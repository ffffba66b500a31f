"""Options that several applications share, checked when they are made. Imports no backend."""

import dataclasses
import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

from nlptasks.applications.sources import SCRATCH, Downloading, check_download, located, packages_of_checkpoint
from nlptasks.bundled import MINI
from nlptasks.checkpoints.layout import hidden_size_of
from nlptasks.errors import UserError
from nlptasks.files import require_writable
from nlptasks.opening import is_exported
from nlptasks.text.labeled import Columns
from nlptasks.train.options import RANDOM, OnKeras, Options, TransformerTraining, require_at_least

SMALL, LARGE = "small pretrained weights", "pretrained weights"
LARGE_SIZE = 768
"""hidden size from which on pretrained weights are large, as BERT-base's"""

FEWEST_UPDATES, MOST_EPOCHS = 100, 30
"""few examples are read so often that they make this many updates, but no oftener than this"""


@dataclass(frozen=True)
class Usual:
    """What a run does where it is not told: values that learn from the weights it starts from."""

    learning_rate: float
    epochs: int


def weights_in(checkpoint: Path) -> str:
    """`SMALL` or `LARGE`, by the hidden size of a checkpoint; `LARGE` where it cannot be read."""
    size = hidden_size_of(checkpoint)
    return SMALL if size is not None and size < LARGE_SIZE else LARGE


@dataclass(kw_only=True)
class FromCheckpoint(Downloading, TransformerTraining):
    """A training run of a Transformer that starts from a checkpoint, or from random weights of given sizes.

    Where no checkpoint is named, an option that only random weights have (one of `SCRATCH_DEFAULTS`, or a vocabulary)
    asks for them; without one, the run starts from the pretrained model that comes with the package.
    """

    SCRATCH_DEFAULTS: ClassVar[dict[str, int]] = {}
    """options that only random weights have, and their values where they are not given"""
    USUAL: ClassVar[Mapping[str, Usual]] = {RANDOM: Usual(1e-3, 20), SMALL: Usual(1e-4, 5), LARGE: Usual(2e-5, 5)}
    """learning rate and epochs where they are not given, by what a run starts from"""

    learning_rate: float | None = None  # type: ignore[assignment] # a number once a run is settled
    """Adam's highest rate; default: 1e-3 from random weights, 1e-4 from a small checkpoint such as mini (hidden size
    below 768), 2e-5 from a larger one"""
    epochs: int | None = None  # type: ignore[assignment] # a number once a run is settled
    """number of passes over the training data; default: 20 from random weights, 5 from a checkpoint; up to 30 where
    these are fewer than 100 updates"""
    checkpoint: str | None = None
    """pretrained Transformer to start from: mini (comes with the package), or a directory with config, weights and
    tokenizer (./mini for one of that name); none: random weights; default: mini, or none where an option that says
    from scratch is given"""
    skip_weights: tuple[str, ...] = ()
    """prefixes of weight names that may be missing from the checkpoint or be left over, as the message names them"""

    @classmethod
    def from_record(cls, values: Mapping[str, Any]) -> dict[str, Any]:
        """The recorded options of a run, under today's names; one that names no checkpoint is of random weights."""
        found = super().from_record(values)
        found["checkpoint"] = found.get("checkpoint") or SCRATCH
        return found | cls._sizes_of(found, found["checkpoint"] == SCRATCH)

    @classmethod
    def _sizes_of(cls, values: Mapping[str, Any], from_scratch: bool) -> dict[str, int | None]:
        """The options that only random weights have as a record holds them."""
        given = {name: values.get(name) for name in cls.SCRATCH_DEFAULTS}
        if not from_scratch:
            return dict.fromkeys(given)
        return {name: cls.SCRATCH_DEFAULTS[name] if value is None else value for name, value in given.items()}

    def settle(self, former: Mapping[str, Any] | None, examples: int | None = None) -> None:
        """Decides what the run starts from: as the one that goes on; else by the rule above."""
        super().settle(former, examples)
        if self.checkpoint is None:
            self.checkpoint = SCRATCH if self.from_scratch else MINI if former is None else former["checkpoint"]
        for name, value in self._sizes_of(vars(self), self.from_scratch).items():
            setattr(self, name, value)
        if not self.from_scratch:
            _ = self.source  # its weights are there, or nothing begins
        usual = dataclasses.asdict(self.usual)
        if examples is not None:
            updates = math.ceil(examples / (self.batch_size * self.accumulate))
            usual["epochs"] = max(usual["epochs"], min(MOST_EPOCHS, math.ceil(FEWEST_UPDATES / updates)))
        self.left_out = tuple(name for name in usual if getattr(self, name) is None)
        for name in self.left_out:
            setattr(self, name, (former or {}).get(name) or usual[name])

    def check(self) -> None:
        """Refuses values that are out of range or contradict each other."""
        super().check()
        check_download(self.download)
        require_at_least(self, 1, *self.SCRATCH_DEFAULTS)
        if not self.from_scratch and (given := self._scratch_options()):
            raise UserError(
                "{field:{name}} goes with random weights. Received: {field:checkpoint} {checkpoint}; leave one of them "
                "out.",
                name=given[0],
                checkpoint=self.checkpoint,
            )

    def packages(self) -> tuple[str, ...]:
        """The modules without which the command does not begin."""
        return (*super().packages(), *packages_of_checkpoint(self.checkpoint, self.download))

    @property
    def from_scratch(self) -> bool:
        """Whether the model starts from random weights."""
        return self.checkpoint == SCRATCH or (self.checkpoint is None and bool(self._scratch_options()))

    @property
    def start(self) -> str:
        """What the run starts from: `RANDOM`, `SMALL` or `LARGE`."""
        return RANDOM if self.from_scratch else weights_in(self.source)

    @property
    def could_be_pretrained(self) -> bool:
        """Whether there are pretrained weights to start from instead."""
        return self.from_scratch

    @property
    def usual(self) -> Usual:
        """What suits these weights."""
        return self.USUAL[self.start]

    @property
    def usual_learning_rate(self) -> float:
        """The rate that suits these weights."""
        return self.usual.learning_rate

    @property
    def source(self) -> Path:
        """The pretrained Transformer that a run starts from, unless it starts from random weights."""
        return located(self.checkpoint or MINI, self.download)

    def sizes(self) -> dict[str, int]:
        """The options that only random weights have, where they are not given as they are then."""
        return {name: size for name, size in self._sizes_of(vars(self), True).items() if size is not None}

    def _scratch_options(self) -> list[str]:
        return [name for name in ("vocab", *self.SCRATCH_DEFAULTS) if getattr(self, name, None) is not None]


@dataclass(kw_only=True)
class EncoderTraining(FromCheckpoint):
    """A training run of a Transformer, with the usual sizes."""

    SCRATCH_DEFAULTS: ClassVar[dict[str, int]] = {
        "min_count": 1,
        "hidden_size": 128,
        "num_layers": 2,
        "num_heads": 4,
        "ffn_size": 512,
    }

    vocab: Path | None = None
    """from scratch: vocabulary file; default: the characters of the training texts"""
    min_count: int | None = None
    """from scratch without a vocabulary file: leave out characters that occur less often than this; default: 1"""
    hidden_size: int | None = None
    """from scratch: width of the hidden states; default: 128"""
    num_layers: int | None = None
    """from scratch: number of layers; default: 2"""
    num_heads: int | None = None
    """from scratch: number of attention heads; default: 4"""
    ffn_size: int | None = None
    """from scratch: inner width of the feed-forward layers; default: 512"""
    dropout: float = 0.1
    """dropout rate"""

    def check(self) -> None:
        """Refuses values that are out of range or contradict each other."""
        super().check()
        if not 0 <= self.dropout < 1:
            raise UserError("{field:dropout} must lie in [0, 1). Received: {value}.", value=self.dropout)


@dataclass(kw_only=True)
class SimplifyingTraining(EncoderTraining):
    """A training run of a Transformer whose vocabulary may be cut."""

    simplify_vocab: bool = False
    """drop tokens of the checkpoint's vocabulary that never occur in Chinese text (13,585 of 21,128 remain)"""

    def check(self) -> None:
        """Refuses values that are out of range or contradict each other."""
        super().check()
        if self.simplify_vocab and self.from_scratch:
            raise UserError("{field:simplify_vocab} goes with {field:checkpoint} DIR, whose vocabulary it cuts.")


@dataclass(kw_only=True)
class FileColumns(Options):
    """The columns to read from files of labeled texts."""

    text_column: str = "text"
    """name of the column (in JSON: the key) that holds the text"""
    second_text_column: str | None = None
    """name of the column that holds the second text of a pair"""
    label_column: str = "label"
    """name of the column that holds the label or labels"""
    columns: tuple[str, ...] = ()
    """names of all columns, for CSV and tab-separated files without a header line"""
    label_separator: str = ","
    """separator between several labels in CSV and tab-separated files"""

    def columns_of(self, multi_label: bool, with_label: bool = True) -> Columns:
        """The options in the form that the reader of files takes."""
        return Columns(
            text=self.text_column,
            second_text=self.second_text_column,
            label=self.label_column if with_label else None,
            names=self.columns or None,
            separator=self.label_separator if multi_label else None,
        )


class OnModel(OnKeras):
    """Part of a command that uses a model: it runs on Keras, or on onnxruntime if it was exported."""

    model: Path

    def packages(self) -> tuple[str, ...]:
        """The modules without which the command does not begin."""
        return ("onnxruntime",) if is_exported(self.model) else super().packages()


COLUMNS_RENAMED = {"text": "text_column", "second_text": "second_text_column", "label": "label_column"}
"""old names of these options, found in records of older runs"""


def require_input(*paths: Path | None) -> None:
    """Refuses missing files before any expensive work begins; None passes."""
    for path in paths:
        if path is not None and path.is_dir():
            raise ValueError(f"{path}: expected a file. Received: a folder; name a file inside it.")
        if path is not None and not path.is_file():
            raise FileNotFoundError(f"{path}: no such file; check the spelling of the path.")


def require_output(path: Path | None, *inputs: Path | None) -> None:
    """Refuses a file that cannot be written, or that is one of the files that are read; None passes.

    Raises:
        UserError, OSError: in one line.
    """
    if path is None:
        return
    for given in inputs:
        if given is not None and path.exists() and given.exists() and path.samefile(given):
            raise UserError("{path}: is read, too, and would be lost; give another file for the output.", path=path)
    require_writable(path)
