"""What the applications that can be compressed share: the options that they read, and the settings of their models.

Imports no backend.
"""

import dataclasses
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from nlptasks.applications.options import FileColumns
from nlptasks.applications.sources import SCRATCH, Downloading, check_download, located
from nlptasks.bundled import MINI
from nlptasks.errors import UserError
from nlptasks.train.options import require_at_least
from nlptasks.train.progress import say

if TYPE_CHECKING:
    from nlptasks.core.transformer import Transformer


@dataclass(kw_only=True)
class DistillingOptions(Downloading, FileColumns):
    """The data of a task, and the model to compress."""

    train: tuple[Path, ...]
    """training files, in the formats of the task's own train command"""
    valid: Path
    """validation file; it decides the best epoch of the first and the last stage"""
    checkpoint: str | None = None
    """pretrained Transformer to fine-tune first: mini (comes with the package), or a directory with config, weights and
    tokenizer (./mini for one of that name); default: mini, unless a predecessor is given"""
    skip_weights: tuple[str, ...] = ()
    """prefixes of weight names that may be missing from the checkpoint or be left over, as the message names them"""
    predecessor: Path | None = None
    """instead of a checkpoint: the run directory of a fine-tuned model of this task"""
    dropout: float = 0.1
    """dropout rate of a predecessor from a checkpoint and of its successor"""
    replace_embeddings: bool = False
    """also replace the embeddings; otherwise the predecessor's are used until the last stage"""
    valid_limit: int | None = None
    """the most validation examples to score after an epoch"""

    multi_label: bool = False
    """classification: a text may have any number of labels"""
    pooling: str | None = None
    """classification: first (the default) or mean; a given predecessor decides this and the settings below"""
    seq_length: int | None = None
    """classification, labeling: the most tokens that are read at once; default: 128"""
    head: str | None = None
    """labeling: crf (the default), global-pointer or efficient-global-pointer"""
    passage_length: int | None = None
    """reading: the most tokens of [CLS] passage [SEP]; default: 256"""
    question_length: int | None = None
    """reading: the most tokens of question [SEP]; default: 64"""
    answer_length: int | None = None
    """reading: the most tokens of answer [SEP]; default: 32"""
    negative_ratio: float | None = None
    """reading: how often a passage without an answer is drawn; default: passages are drawn uniformly"""

    def check(self) -> None:
        """Refuses values that are out of range or contradict each other."""
        super().check()
        check_download(self.download)
        require_at_least(self, 1, "valid_limit")
        if self.predecessor is None and self.checkpoint == SCRATCH:
            raise UserError(
                "random weights are nothing to compress: give {field:checkpoint} DIR (to fine-tune first) or "
                "{field:predecessor} RUN_DIR."
            )
        if self.predecessor is not None and self.checkpoint not in (None, SCRATCH):
            raise UserError("give either {field:checkpoint} DIR (to fine-tune first) or {field:predecessor} RUN_DIR.")
        if not 0 <= self.dropout < 1:
            raise UserError("{field:dropout} must lie in [0, 1). Received: {value}.", value=self.dropout)

    @property
    def source(self) -> Path:
        """The pretrained Transformer that is fine-tuned first, unless a predecessor is given."""
        return located(self.checkpoint or MINI, self.download)


COLUMNS = tuple(field.name for field in dataclasses.fields(FileColumns))
"""options of the tasks whose files have columns"""
_OF_ALL = (
    "train",
    "valid",
    "checkpoint",
    "download",
    "skip_weights",
    "predecessor",
    "dropout",
    "replace_embeddings",
    "valid_limit",
)


def require_own_options(options: DistillingOptions, application: str, own: Collection[str]) -> None:
    """Refuses options that belong to other tasks and would be ignored.

    Args:
        application: the task that is compressed.
        own: the options that it reads, beside those that every task does.
    """
    for field in dataclasses.fields(DistillingOptions):
        if field.name not in (*_OF_ALL, *own) and getattr(options, field.name) != field.default:
            raise UserError(
                "{field:{name}} does not go with {field:task} {application}; leave it out.",
                name=field.name,
                application=application,
            )


def model_settings(
    options: DistillingOptions,
    task: str,
    application: str,
    defaults: Mapping[str, Any],
    renamed: Mapping[str, str] | None = None,
) -> dict[str, Any]:
    """The settings of the model: the predecessor's, else those that are given, else the defaults.

    Args:
        task, application, renamed: as in `read_settings`.
        defaults: what a setting is that the options leave out.

    Raises:
        UserError: a setting is given that is not the predecessor's.
        ValueError, FileNotFoundError: the predecessor is no model of this task.
    """
    given = {name: getattr(options, name) for name in defaults}
    if options.predecessor is None:
        return {name: defaults[name] if value is None else value for name, value in given.items()}
    from nlptasks.applications.storage import read_settings

    settings = read_settings(options.predecessor, task, application, renamed)
    for name, value in given.items():
        if value not in (None, False, settings.get(name)):
            raise UserError(
                "{field:{name}} {value} is not what {predecessor} has, {has}; leave it out: the predecessor's settings "
                "hold.",
                name=name,
                value=value,
                predecessor=options.predecessor,
                has=settings.get(name),
            )
    return settings


def require_trained_labels(labels: Sequence[str], known: Sequence[str], path: Path | None) -> None:
    """Refuses labels of the training files that the predecessor at `path` does not know; tells what the files lack."""
    if unknown := [label for label in labels if label not in known]:
        raise UserError(
            "{path}: the predecessor does not know {unknown} of the {count} labels of the training files ({shown}; it "
            "knows {known}); give the files that it was trained on.",
            path=path,
            unknown=len(unknown),
            count=len(labels),
            shown=", ".join(unknown[:5]),
            known=", ".join(known[:5]) + (", ..." if len(known) > 5 else ""),
        )
    if missing := [label for label in known if label not in labels]:
        shown = ", ".join(missing[:5]) + (", ..." if len(missing) > 5 else "")
        say(f"note: the training files have no example of {len(missing)} labels of the predecessor: {shown}")


def encoder_of_checkpoint(options: DistillingOptions, pad_id: int) -> "Transformer":
    """The encoder of the checkpoint without a head, with the dropout of the options and the tokenizer's padding."""
    from nlptasks.applications.encoder_head import HEAD
    from nlptasks.loading import build_transformer_model

    path, rate = options.source, options.dropout
    rates: dict[str, Any] = {"dropout": rate, "attention_dropout": rate}
    return build_transformer_model(path, path, skip=(HEAD, *options.skip_weights), pad_id=pad_id, **rates)
