"""Training a sentence autoencoder. The options alone import no backend."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from nlptasks.applications.options import LARGE, EncoderTraining, Usual
from nlptasks.applications.unread import tell_cut
from nlptasks.errors import UserError
from nlptasks.train import progress
from nlptasks.train.options import require_at_least, require_one_of, require_positive
from nlptasks.train.record import open_run

if TYPE_CHECKING:
    from nlptasks.applications.latent.network import LatentModel
    from nlptasks.text import TextTokenizer

METHODS = ("vae", "aae")
MOST_HELD_OUT = 2000


@dataclass(kw_only=True)
class LatentOptions(EncoderTraining):
    """Options of a sentence autoencoder and its training."""

    USUAL: ClassVar[Mapping[str, Usual]] = {**EncoderTraining.USUAL, LARGE: Usual(1e-4, 5)}

    learning_rate: float | None = None  # type: ignore[assignment] # a number once a run is settled
    """Adam's highest rate; default: 1e-3 from random weights, 1e-4 from a checkpoint"""
    method: str = "vae"
    """vae: each text's distribution is drawn to the normal one by its KL divergence; aae: all texts' together are, by
    an adversary that tells their vectors from normal noise"""
    latent_size: int = 32
    """size of the vector that stands for a text"""
    free_bits: float = 0.25
    """vae: nats of KL divergence that each number of the vector has free, so that the decoder does not learn to do
    without it; 0: none"""
    kl_warmup_share: float = 0.2
    """vae: share of the updates during which the weight of the KL divergence rises from 0 to 1"""
    word_dropout: float = 0.3
    """share of the tokens that the decoder reads as unknown in training, so that it has to ask the vector"""
    adversary_weight: float = 1.0
    """aae: weight of the adversary's loss"""
    hold_out_share: float = 0.02
    """without validation texts: share of the training texts to hold out, at most 2000 texts"""
    seq_length: int = 64
    """the most tokens of [CLS] text [SEP]; longer texts are cut at the end of a sentence"""

    def check(self) -> None:
        """Refuses values that are out of range or contradict each other."""
        super().check()
        require_one_of(self, method=METHODS)
        require_at_least(self, 4, "seq_length")
        require_at_least(self, 1, "latent_size")
        require_at_least(self, 0, "free_bits")
        require_positive(self, "adversary_weight")
        for name in ("word_dropout", "kl_warmup_share"):
            if not 0 <= getattr(self, name) < 1:
                raise UserError(
                    "{field:{name}} must lie in [0, 1). Received: {value}.", name=name, value=getattr(self, name)
                )
        if not 0 < self.hold_out_share < 1:
            raise UserError(
                "{field:hold_out_share} must lie between 0 and 1. Received: {share}.", share=self.hold_out_share
            )
        for name in ("free_bits", "kl_warmup_share"):
            if self.method != "vae" and getattr(self, name) != getattr(LatentOptions, name):
                raise UserError("{field:{name}} goes with {field:method} vae.", name=name)
        if self.method != "aae" and self.adversary_weight != LatentOptions.adversary_weight:
            raise UserError("{field:adversary_weight} goes with {field:method} aae.")


def train_latent(options: LatentOptions, training: Sequence[str], validation: Sequence[str] | None) -> None:
    """Trains a sentence autoencoder into the run directory.

    Of a VAE the epoch with the best objective on `validation` is kept; of an AAE, whose objective has an opponent, the
    last one.

    Args:
        validation: None: a share of `training` is held out for it.

    Raises:
        UserError: options or texts that do not go together.
    """
    if validation is None:
        training, validation = held_out(training, options.hold_out_share, options.seed)
    open_run(options, len(training))

    from nlptasks.applications.encoder import make_tokenizer
    from nlptasks.applications.latent.evaluation import scores_of
    from nlptasks.applications.latent.samples import LatentExamples
    from nlptasks.applications.latent.writer import LatentWriter
    from nlptasks.train.experiment import Experiment, num_updates
    from nlptasks.train.run import start_run

    start_run(options.seed, options.precision, options.mesh)
    tokenizer = make_tokenizer(options, training)
    model = _model(options, tokenizer)
    writer = LatentWriter(model, tokenizer, options.seq_length, options.method)
    writer.free_bits, writer.adversary_weight = options.free_bits, options.adversary_weight
    examples = LatentExamples(writer, training, options.word_dropout, options.seed)
    epochs: Any = options.epochs  # a number, now that the run is settled
    updates = num_updates(options, examples, epochs, options.batch_size) * options.accumulate
    examples.warmup_batches = round(options.kl_warmup_share * updates) if options.method == "vae" else 0
    progress.say(
        f"model: {model.count_params():,} parameters, vocabulary of {tokenizer.vocab_size}; "
        f"vectors of {options.latent_size} numbers ({options.method})"
    )
    progress.say(f"{len(examples)} texts, and {len(validation)} for validation")
    tell_cut(examples.num_cut, len(examples), "texts", options.seq_length)
    keep = "best" if options.method == "vae" else "last"
    Experiment(options, writer, examples, lambda: scores_of(writer, validation), "objective", keep=keep).run()


def _model(options: LatentOptions, tokenizer: TextTokenizer) -> LatentModel:
    from nlptasks.applications.encoder import make_transformer
    from nlptasks.applications.latent.network import LatentModel

    encoder = make_transformer(options, tokenizer, options.seq_length)
    norms: dict[str, Any] = {"layer_norm_cond_size": options.latent_size}
    decoder = make_transformer(options, tokenizer, options.seq_length, application="lm", with_mlm="linear", **norms)
    return LatentModel(encoder, decoder, with_critic=options.method == "aae")


def held_out(texts: Sequence[str], share: float, seed: int) -> tuple[list[str], list[str]]:
    """Texts to train on and to validate on, both in their order.

    Raises:
        UserError: too few texts.
    """
    count = min(MOST_HELD_OUT, math.ceil(share * len(texts)))
    if count >= len(texts):
        raise UserError("{count} training texts are too few to hold one out; give {field:valid}.", count=len(texts))
    chosen = set(np.random.default_rng(seed).permutation(len(texts))[:count].tolist())
    return (
        [text for i, text in enumerate(texts) if i not in chosen],
        [text for i, text in enumerate(texts) if i in chosen],
    )
