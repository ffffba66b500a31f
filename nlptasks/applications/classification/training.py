"""Training a classifier. The options alone import no backend."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

from nlptasks.applications.options import EncoderTraining
from nlptasks.applications.unread import tell_cut
from nlptasks.errors import UserError
from nlptasks.metrics.classification import score_labels
from nlptasks.text.labeled import LabeledText, require_known, sort_labels
from nlptasks.train import progress
from nlptasks.train.options import require_at_least, require_one_of, require_positive
from nlptasks.train.record import open_run

if TYPE_CHECKING:
    from nlptasks.applications.classification.classifier import Classifier

POOLINGS = ("first", "mean")
MIXED = ("embeddings", "vector")
SHOWN = ("accuracy", "macro_f1", "micro_f1")


@dataclass(kw_only=True)
class ClassifierOptions(EncoderTraining):
    """Options of a classifier and its training."""

    RENAMED: ClassVar[dict[str, str]] = {"max_length": "seq_length"}

    multi_label: bool = False
    """a text may have any number of labels"""
    seq_length: int = 128
    """the most tokens of [CLS] text [SEP] or [CLS] text [SEP] text [SEP]; longer texts are cut"""
    pooling: str = "first"
    """first: the state of [CLS], as in bert4keras; mean: the mean of all positions, for small models from scratch"""
    mixup: float | None = None
    """train on mixtures of two texts and their labels, with shares of a beta distribution, for example 0.2"""
    mixup_at: str = "embeddings"
    """what mixup mixes: embeddings, those of the tokens, or vector, what the output layer reads"""
    sample_pairing: bool = False
    """train on means of the embeddings of two texts with the label of the first; not in the last fifth of the epochs"""
    label_smoothing: float = 0.0
    """share of a label that all labels get in equal parts, for example 0.1"""

    def check(self) -> None:
        """Refuses values that are out of range or contradict each other."""
        super().check()
        require_positive(self, "mixup")
        require_one_of(self, mixup_at=MIXED)
        if self.mixup is not None and self.sample_pairing:
            raise UserError(
                "{field:{one}} and {field:{other}} do not go together; leave one of them out.",
                one="mixup",
                other="sample_pairing",
            )
        if not 0 <= self.label_smoothing < 1:
            raise UserError(
                "{field:label_smoothing} must lie in [0, 1). Received: {value}.", value=self.label_smoothing
            )
        if self.label_smoothing and self.multi_label:
            raise UserError("{field:label_smoothing} is for one label of each text; leave {field:multi_label} out.")
        require_at_least(self, 4, "seq_length")
        require_one_of(self, pooling=POOLINGS)


def train_classifier(
    options: ClassifierOptions, training: Sequence[LabeledText], validation: Sequence[LabeledText]
) -> bool:
    """Trains a classifier, and keeps the epoch with the best accuracy (with several labels: micro F1) on `validation`
    in the run directory.

    Returns:
        Whether the classifier does better than one answer to everything.

    Raises:
        UserError: options or texts that do not go together.
    """
    labels = sort_labels(label for text in training for label in text.labels)
    require_known(((label, text.place) for text in validation for label in text.labels), labels)
    open_run(options, len(training))

    from nlptasks.applications.classification.classifier import (
        ClassificationExamples,
        Classifier,
        classification_model,
    )
    from nlptasks.applications.classification.mixing import MixedExamples
    from nlptasks.applications.encoder import make_tokenizer, make_transformer
    from nlptasks.train.experiment import Experiment
    from nlptasks.train.run import start_run

    start_run(options.seed, options.precision, options.mesh)
    tokenizer = make_tokenizer(options, (part for text in training for part in text.parts))
    encoder = make_transformer(options, tokenizer, options.seq_length)
    model = classification_model(encoder, len(labels), options.dropout)
    pair = training[0].second_text is not None
    classifier = Classifier(model, tokenizer, labels, options.seq_length, options.multi_label, pair, options.pooling)
    examples: Any = ClassificationExamples(
        classifier, [text.text_or_pair for text in training], [text.labels for text in training], options.seed
    )
    if options.mixup is not None or options.sample_pairing or options.label_smoothing:
        examples = MixedExamples(examples, options)
    progress.say(
        f"model: {model.count_params():,} parameters, vocabulary of {tokenizer.vocab_size}, {len(labels)} labels; "
        f"{len(examples)} texts"
    )
    tell_cut(examples.num_cut, len(examples), "texts", options.seq_length)
    score_name = "micro_f1" if options.multi_label else "accuracy"
    constant = {score_name: constant_score(validation, score_name)}
    run = Experiment(
        options, classifier, examples, lambda: scores_of(classifier, validation), score_name, constant=constant
    )
    run.run()
    return run.learned


def constant_score(texts: Sequence[LabeledText], score_name: str) -> float:
    """The score, in percent, of giving every text the most frequent label."""
    counts = Counter(label for text in texts for label in text.labels)
    answer = tuple(label for label, _ in counts.most_common(1))
    return score_labels([text.labels for text in texts], [answer] * len(texts))[score_name]


def labeled_texts(texts: Sequence[str | Sequence[str]], labels: Sequence[str | Sequence[str]]) -> list[LabeledText]:
    """Texts or pairs with their labels, as the readers of files give them.

    Raises:
        UserError: as many labels as texts are needed, and at least one.
    """
    if len(texts) != len(labels) or not len(texts):
        raise UserError(
            "each text needs its labels, and at least one is needed. Received: {texts} texts, {labels} labels.",
            texts=len(texts),
            labels=len(labels),
        )
    pairs = [(text, None) if isinstance(text, str) else tuple(text) for text in texts]
    chosen = [(label,) if isinstance(label, str) else tuple(label) for label in labels]
    both = enumerate(zip(pairs, chosen, strict=True))
    return [LabeledText(pair[0], pair[1], label, f"item {number}") for number, (pair, label) in both]


def scores_of(classifier: Classifier, texts: Sequence[LabeledText]) -> dict[str, float]:
    """Accuracy and F1 in percent, by name."""
    found = classifier.predict([text.text_or_pair for text in texts])
    scores = score_labels([text.labels for text in texts], [result.labels for result in found])
    return {name: scores[name] for name in SHOWN}
