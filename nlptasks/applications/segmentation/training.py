"""Training a segmenter. The options alone import no backend."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

import numpy as np

from nlptasks.applications.segmentation.config import PRESETS, SegmentationConfig
from nlptasks.applications.segmentation.runtime import Runtime
from nlptasks.applications.segmentation.samples import (
    SegmentationExamples,
    gold_tags,
    join_some,
    long_words,
    undo_normalization,
)
from nlptasks.applications.segmentation.vocab import build_unit_vocab
from nlptasks.errors import UserError
from nlptasks.metrics.segmentation import score_segmentation
from nlptasks.text.units import Units
from nlptasks.train import progress
from nlptasks.train.options import TrainingOptions, require_at_least, require_one_of, require_share
from nlptasks.train.record import open_run

if TYPE_CHECKING:
    from nlptasks.applications.segmentation.segmenter import Segmenter

Sentences = Sequence[Sequence[str]]
"""sentences as lists of words"""
SPACED_SHARE = 0.06
"""this share of the sentences is joined to the sentence before, with a space between"""


@dataclass(kw_only=True)
class SegmenterOptions(TrainingOptions):
    """Options of a segmenter and its training."""

    RENAMED: ClassVar[dict[str, str]] = {"hold_out": "hold_out_every"}

    normalised: tuple[str, ...] = ()
    """standards whose files are normalized: 0 for numbers, X for Latin text, L for words longer than four characters"""
    preset: str = "default"
    """default; or original, the network of 2017"""
    teacher: tuple[Path, ...] = ()
    """run directories of segmenters with the same standards; the model also learns their mean prediction"""

    unit_size: int | None = None
    """size of the embedding of a unit; default: the preset's"""
    pair_size: int | None = None
    """size of the embedding of a pair of neighboring units; 0: no pairs; default: the preset's"""
    channels: tuple[int, ...] | None = None
    """channels of each convolution; default: the preset's"""
    min_count: int = 2
    """characters that occur less often are read as unknown"""
    min_pair_count: int = 2
    """pairs that occur less often are read as unknown"""

    epochs: int = 4
    """number of passes over the training data"""
    batch_units: int = 8192
    """number of units per batch, counting padding"""
    learning_rate: float = 3e-3
    """Adam's highest rate"""
    warmup_share: float = 0.1
    """share of the updates during which the learning rate rises; needs decay"""
    decay: bool = True
    """decay the learning rate linearly to 0; without decay it stays constant"""
    dropout: float = 0.2
    """dropout rate"""
    unit_drop: float = 0.3
    """a unit seen n times in training is read as unknown with probability unit_drop / (unit_drop + n)"""
    pair_drop: float = 0.2
    """the same for pairs: pair_drop / (pair_drop + n)"""
    own_share: float = 0.5
    """with teachers: how often a sentence is read under its own standard and not under a random one"""
    teacher_share: float = 0.3
    """with teachers: their share of the target under a sentence's own standard; the annotated words are the rest"""

    def check(self) -> None:
        """Refuses values that are out of range or contradict each other."""
        super().check()
        require_at_least(self, 1, "epochs", "batch_units", "min_count", "min_pair_count")
        require_at_least(self, 0, "unit_drop", "pair_drop")
        require_share(self, "own_share", "teacher_share")
        require_one_of(self, preset=tuple(PRESETS))
        if not 0 <= self.dropout < 1:
            raise UserError("{field:dropout} must lie in [0, 1). Received: {value}.", value=self.dropout)
        self.network(("any",))

    def network(self, standards: Sequence[str]) -> SegmentationConfig:
        """The shape of the network for these standards.

        Raises:
            UserError: sizes that do not go together.
        """
        given = {name: getattr(self, name) for name in ("unit_size", "pair_size", "channels")}
        given = {name: value for name, value in given.items() if value is not None}
        return SegmentationConfig(standards=tuple(dict.fromkeys(standards)), **PRESETS[self.preset] | given)


def train_segmenter(
    options: SegmenterOptions, training: Sequence[tuple[str, Sentences]], validation: Mapping[str, Sentences]
) -> None:
    """Trains a segmenter; the epoch with the best mean F1 on `validation` is kept in the run directory.

    Args:
        training: annotation standards, each with sentences; a standard may come more than once.
        validation: sentences by standard.

    Raises:
        UserError: options or sentences that do not go together.
    """
    config = options.network([standard for standard, _ in training])
    held_out = {standard: sentences for standard, sentences in validation.items() if len(sentences)}
    _require_sentences(training, held_out)
    teachers = [_teacher(path, config) for path in options.teacher]
    open_run(options)

    from nlptasks.applications.segmentation.network import SegmentationNetwork, TrainableSegmenter
    from nlptasks.applications.segmentation.segmenter import Segmenter
    from nlptasks.train.experiment import Experiment
    from nlptasks.train.run import start_run

    start_run(options.seed, options.precision)
    samples = _samples(options, training, config)
    vocab = build_unit_vocab(
        [units for units, _, _ in samples], options.min_count, options.min_pair_count if config.pair_size else None
    )
    examples = SegmentationExamples(samples, vocab, options.unit_drop, options.pair_drop, options.seed)
    if teachers:
        examples.learn_from(teachers, options.own_share, options.teacher_share)
    network = SegmentationNetwork(config, vocab, options.dropout)
    network.build()
    progress.say(
        f"model: {network.count_params():,} parameters, {vocab.unit_count} units, {vocab.pair_count} pairs; "
        f"{len(samples)} sentences of {len(examples.unit_ids):,} units"
    )
    trained = TrainableSegmenter(network, vocab)
    Experiment(
        options,
        trained,
        examples,
        validate=lambda: scores_of(Segmenter(trained.runtime()), held_out),
        score_name="mean_f1",
        size=options.batch_units,
    ).run()


def scores_of(segmenter: Segmenter, held_out: Mapping[str, Sentences]) -> dict[str, float]:
    """F1 in percent under every standard, as `NAME_f1`, and their mean, as `mean_f1`."""
    found = {}
    for standard, sentences in held_out.items():
        predicted = segmenter.predict(["".join(words) for words in sentences], standard)
        found[f"{standard}_f1"] = round(100 * score_segmentation(sentences, predicted)["f1"], 3)
    found["mean_f1"] = round(sum(found.values()) / len(found), 3)
    return found


def _require_sentences(training: Sequence[tuple[str, Sentences]], held_out: Mapping[str, Sentences]) -> None:
    """Refuses what cannot be trained on, or what no epoch can be chosen by."""
    standards = [standard for standard, sentences in training if len(sentences)]
    if not standards:
        raise UserError("there is no sentence to train on; hold out fewer, or give more.")
    if not held_out:
        raise UserError("no sentence is held out, so no epoch can be chosen.")
    if unknown := [standard for standard in held_out if standard not in standards]:
        raise UserError(
            "the held-out sentences are of the standard {unknown!r}, which is not trained; trained are {known}.",
            unknown=unknown[0],
            known=", ".join(dict.fromkeys(standards)),
        )


def _teacher(path: Path, config: SegmentationConfig) -> Runtime:
    from nlptasks.applications.segmentation.segmenter import Segmenter
    from nlptasks.opening import load

    teacher = load(path, Segmenter).runtime
    if teacher.config.standards != config.standards:
        raise UserError(
            "{path}: the standards of a {field:teacher} must be {wanted}. Received: {found}.",
            path=path,
            wanted=", ".join(config.standards),
            found=", ".join(teacher.config.standards),
        )
    return teacher


def _samples(
    options: SegmenterOptions, training: Sequence[tuple[str, Sentences]], config: SegmentationConfig
) -> list[tuple[Units, np.ndarray, int]]:
    """Units, tags and standard id of every sentence."""
    random = np.random.default_rng(options.seed)
    raw = [sentences for standard, sentences in training if standard not in options.normalised]
    replacements = [word for sentences in raw for word in long_words(sentences)]
    samples = []
    for standard, sentences in training:
        if standard in options.normalised:
            sentences = undo_normalization(sentences, replacements, random)
        for words in join_some(sentences, SPACED_SHARE, random):
            samples.append((*gold_tags(words), config.standard_id(standard)))
    return samples
