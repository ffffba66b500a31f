"""Fitting a calibration to an encoder. The options, and whitening, import no backend."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from nlptasks.applications.similarity.calibration import METHODS, CalibratedModel, fit_whitening
from nlptasks.errors import UserError
from nlptasks.train import progress
from nlptasks.train.options import TrainingOptions, require_at_least, require_one_of, require_positive, require_share
from nlptasks.train.record import open_run, write_record

if TYPE_CHECKING:
    from nlptasks.applications.similarity.encoder import SentenceEncoder

OF_A_FLOW = ("blocks", "hidden_size", "noise", "hold_out_share", "epochs", "batch_size")
"""options that whitening does not have"""


@dataclass(kw_only=True)
class CalibrationOptions(TrainingOptions):
    """Options of a calibration."""

    model: str = "similarity"
    """run directory of an encoder, or similarity: the model that comes with the package"""
    checkpoint: str | None = None
    """instead of an encoder: a pretrained Transformer whose mean hidden states are the vectors: mini (comes with the
    package), or a directory with config, weights and tokenizer"""
    seq_length: int = 64
    """with a checkpoint: the most tokens that are read of a sentence, [CLS] and [SEP] included"""
    method: str = "whitening"
    """whitening (seconds), or flow (minutes)"""
    keep: int | None = None
    """whitening: how many numbers of a vector are kept, those of the largest spread; default: all"""
    power: float = 1.0
    """whitening: from 0, centered only, to 1, every direction has the same spread"""
    blocks: int = 4
    """flow: number of blocks"""
    hidden_size: int = 256
    """flow: width of the networks in its couplings"""
    noise: float = 0.2
    """flow: noise on the training vectors, as a share of their deviation"""
    hold_out_share: float = 0.05
    """flow: share of the texts that is held out to choose the epoch"""
    epochs: int = 10
    """flow: number of passes over the texts"""
    batch_size: int = 256
    """flow: number of texts per batch"""
    learning_rate: float = 1e-3
    """flow: Adam's highest rate"""

    def check(self) -> None:
        """Refuses values that are out of range or contradict each other."""
        super().check()
        require_one_of(self, method=METHODS)
        require_at_least(self, 1, "keep", "blocks", "hidden_size", "epochs", "batch_size")
        require_positive(self, "noise")
        require_share(self, "power")
        if not 0 < self.hold_out_share < 1:
            raise UserError(
                "{field:hold_out_share} must lie between 0 and 1. Received: {share}.", share=self.hold_out_share
            )
        if self.checkpoint is not None and self.model != CalibrationOptions.model:
            raise UserError("give {field:model} or {field:checkpoint}, not both.")
        if self.checkpoint is None and self.seq_length != CalibrationOptions.seq_length:
            raise UserError("{field:seq_length} goes with {field:checkpoint}.")
        if self.method == "flow" and (self.keep is not None or self.power != 1.0):
            raise UserError("{field:keep} and {field:power} go with {field:method} whitening.")
        changed = [name for name in OF_A_FLOW if getattr(self, name) != getattr(CalibrationOptions, name)]
        if self.method == "whitening" and changed:
            raise UserError("{field:{name}} goes with {field:method} flow.", name=changed[0])

    def packages(self) -> tuple[str, ...]:
        """The modules without which the command does not begin: whitening runs on NumPy."""
        return super().packages() if self.method == "flow" or self.checkpoint is not None else ()

    def encoder(self) -> SentenceEncoder:
        """What is calibrated.

        Raises:
            UserError, ValueError, FileNotFoundError: one line; there is no such model.
        """
        from nlptasks.applications.similarity.encoder import SentenceEncoder
        from nlptasks.opening import load

        if self.checkpoint is None:
            return load(self.model, SentenceEncoder)
        from nlptasks.applications.similarity.transformer import TransformerModel

        return SentenceEncoder(TransformerModel.of_checkpoint(self.checkpoint, self.seq_length))


def calibrate_encoder(options: CalibrationOptions, encoder: SentenceEncoder, texts: Sequence[str]) -> SentenceEncoder:
    """Fits a calibration and writes the calibrated encoder into the run directory.

    Args:
        encoder: one without a calibration.
        texts: to fit it on; those that scores are computed on are not among them.

    Raises:
        UserError: options or texts that do not go together, or an encoder that has a calibration.
    """
    from nlptasks.applications.similarity.encoder import SentenceEncoder

    if isinstance(encoder.model, CalibratedModel):
        raise UserError("the model of {field:model} is calibrated already; give the one that it was made from.")
    texts = list(dict.fromkeys(texts))
    open_run(options, len(texts))
    vectors = encoder.encode(texts)
    if options.method == "flow":
        from nlptasks.applications.similarity.flow_map import train_flow

        train_flow(options, encoder, vectors)
        return SentenceEncoder.from_directory(options.output)
    calibrated = encoder.calibrated(fit_whitening(vectors, options.keep, options.power))
    calibrated.save(options.output)
    write_record(options)
    kept, size = calibrated.vector_size, encoder.vector_size
    progress.say(f"whitening of {len(texts)} texts: {kept} of {size} numbers of a vector are kept")
    return calibrated
