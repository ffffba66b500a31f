"""Options that several applications share, checked when they are made. Imports no backend."""

from dataclasses import dataclass
from pathlib import Path

from nlptasks.checkpoints.layout import packages_of
from nlptasks.errors import UserError
from nlptasks.files import require_writable
from nlptasks.text.labeled import Columns
from nlptasks.train.options import Options, TransformerTraining, require_at_least

SCRATCH = "none"
"""value of `checkpoint` for random weights"""


@dataclass(kw_only=True)
class EncoderTraining(TransformerTraining):
    """A training run of a Transformer that starts from a checkpoint, or from random weights and these sizes."""

    checkpoint: str = SCRATCH
    """pretrained BERT to start from, a directory with config, weights and tokenizer; none: train from scratch"""
    skip_weights: tuple[str, ...] = ()
    """prefixes of weight names that may be missing from the checkpoint or be left over, as the message names them"""
    vocab: Path | None = None
    """from scratch: vocabulary file; default: the characters of the training texts"""
    min_count: int = 1
    """from scratch without a vocabulary file: leave out characters that occur less often than this"""
    hidden_size: int = 128
    """from scratch: width of the hidden states"""
    num_layers: int = 2
    """from scratch: number of layers"""
    num_heads: int = 4
    """from scratch: number of attention heads"""
    ffn_size: int = 512
    """from scratch: inner width of the feed-forward layers"""
    dropout: float = 0.1
    """dropout rate"""

    def check(self) -> None:
        """Refuses values that are out of range or contradict each other."""
        super().check()
        require_at_least(self, 1, "min_count", "hidden_size", "num_layers", "num_heads", "ffn_size")
        if not 0 <= self.dropout < 1:
            raise UserError("{field:dropout} must lie in [0, 1). Received: {value}.", value=self.dropout)

    def packages(self) -> tuple[str, ...]:
        """The modules without which the command does not begin."""
        return (*super().packages(), *packages_of(self.checkpoint))

    @property
    def from_scratch(self) -> bool:
        """Whether the model starts from random weights."""
        return self.checkpoint == SCRATCH


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


COLUMNS_RENAMED = {"text": "text_column", "second_text": "second_text_column", "label": "label_column"}
"""old names of these options, found in records of older runs"""


def require_input(*paths: Path | None) -> None:
    """Refuses missing files before any expensive work begins; None passes."""
    for path in paths:
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
