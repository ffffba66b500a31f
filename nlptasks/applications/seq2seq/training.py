"""Training a sequence-to-sequence model. The options alone import no backend."""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

from nlptasks.applications.holding import held_out
from nlptasks.applications.options import SimplifyingTraining
from nlptasks.applications.seq2seq.writing import PairLengths
from nlptasks.applications.unread import tell_cut
from nlptasks.errors import UserError
from nlptasks.metrics.overlap import MODULES, score_overlap
from nlptasks.text.pairs import SourceText
from nlptasks.train import progress
from nlptasks.train.options import require_at_least, require_one_of
from nlptasks.train.record import open_run

if TYPE_CHECKING:
    from nlptasks.applications.seq2seq.model import Seq2Seq
    from nlptasks.core import EncoderDecoder, Transformer
    from nlptasks.text import TextTokenizer

BEST_BY = {"likelihood": "log_likelihood", "rouge_l": "rouge_l"}
"""what may decide the best epoch, and the name of that score"""


@dataclass(kw_only=True)
class Seq2SeqOptions(SimplifyingTraining):
    """Options of a sequence-to-sequence model and its training."""

    SCRATCH_DEFAULTS: ClassVar[dict[str, int]] = SimplifyingTraining.SCRATCH_DEFAULTS | {"num_layers": 3}

    num_layers: int | None = None
    """from scratch: number of layers; default: 3"""

    hold_out_share: float = 0.02
    """without validation texts: share of the training texts to hold out, at most 2000 texts"""
    source_length: int = 256
    """the most tokens of [CLS] source [SEP]; of longer sources the rest is not read"""
    target_length: int = 64
    """the most tokens of target [SEP]; of longer targets the rest is not learned"""
    best_by: str = "likelihood"
    """what decides the best epoch: likelihood of the validation targets, or rouge_l of texts written greedily"""
    valid_limit: int | None = None
    """the most validation sources to score after an epoch"""

    def check(self) -> None:
        """Refuses values that are out of range or contradict each other."""
        super().check()
        require_one_of(self, best_by=tuple(BEST_BY))
        require_at_least(self, 1, "valid_limit")
        self.lengths()

    def lengths(self) -> PairLengths:
        """Most tokens of each part of a sample.

        Raises:
            UserError: a part has no room for text.
        """
        return PairLengths(source_length=self.source_length, target_length=self.target_length)

    def packages(self) -> tuple[str, ...]:
        """The modules without which the command does not begin."""
        return (*super().packages(), *(MODULES if self.best_by == "rouge_l" else ()))


def train_seq2seq(
    options: Seq2SeqOptions, training: Sequence[SourceText], validation: Sequence[SourceText] | None
) -> None:
    """Trains a model; the best epoch on `validation` is kept in the run directory.

    Args:
        validation: None: a share of `training` is held out for it.

    Raises:
        UserError: options or texts that do not go together.
    """
    if validation is None:
        training, validation = held_out(training, options.hold_out_share, options.seed)
    validation = validation[: options.valid_limit]
    if not training or not validation:
        raise UserError(
            "at least one source is needed to train on, and one to validate on. Received: {training} and {validation}.",
            training=len(training),
            validation=len(validation),
        )
    open_run(options, sum(len(pair.targets) for pair in training))

    from nlptasks.applications.seq2seq.model import Seq2Seq
    from nlptasks.applications.seq2seq.samples import PairExamples
    from nlptasks.train.experiment import Experiment
    from nlptasks.train.run import start_run

    start_run(options.seed, options.precision, options.mesh)
    lengths = options.lengths()
    model, tokenizer = _network(options, training, lengths)
    writer = Seq2Seq(model, tokenizer, lengths)
    examples = PairExamples(writer, training, options.seed)
    progress.say(f"model: {model.count_params():,} parameters, vocabulary of {tokenizer.vocab_size}")
    progress.say(f"{len(training)} sources with {len(examples)} targets, and {len(validation)} for validation")
    tell_cut(examples.num_cut_sources, len(training), "sources", lengths.source_length)
    tell_cut(examples.num_cut_targets, len(examples), "targets", lengths.target_length)
    validate = functools.partial(scores_of, writer, validation, options.best_by == "rouge_l")
    Experiment(options, writer, examples, validate, BEST_BY[options.best_by]).run()


def _network(
    options: Seq2SeqOptions, training: Sequence[SourceText], lengths: PairLengths
) -> tuple[Transformer | EncoderDecoder, TextTokenizer]:
    """The model that the run starts from, and its tokenizer."""
    from nlptasks.applications.encoder import make_tokenizer, make_transformer, pretrained_encoder_decoder, simplified
    from nlptasks.loading import has_decoder

    if not options.from_scratch and has_decoder(options.source):
        return pretrained_encoder_decoder(options)
    texts = (text for pair in training for text in (pair.source, *pair.targets))
    tokenizer, kept = simplified(options, make_tokenizer(options, texts))
    settings: dict[str, Any] = {"application": "unilm", "with_mlm": "linear", "equal_keys": True, **kept}
    return make_transformer(options, tokenizer, lengths.total, **settings), tokenizer


def likelihood_of(
    writer: Seq2Seq, pairs: Sequence[SourceText], bar: Callable[[Iterable], Iterable] = iter
) -> dict[str, float]:
    """Log likelihood in nats per token of all targets, and perplexity."""
    sources = [pair.source for pair in pairs for _ in pair.targets]
    targets = [target for pair in pairs for target in pair.targets]
    scores, lengths = writer.score(sources, targets, progress=bar)
    mean = float(scores.sum() / lengths.sum())
    return {"log_likelihood": mean, "perplexity": math.exp(-mean)}


def scores_of(writer: Seq2Seq, pairs: Sequence[SourceText], overlap: bool) -> dict[str, float]:
    """Likelihood and perplexity, and, if asked for, ROUGE and BLEU of texts that are written greedily, in percent."""
    found: dict[str, float] = dict(likelihood_of(writer, pairs))
    if overlap:
        written = [one.text for one in writer.predict([pair.source for pair in pairs])]
        found |= score_overlap(written, [pair.targets for pair in pairs])
    return found
