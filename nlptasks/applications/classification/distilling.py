"""What compression needs of classification. Imports no backend before a model is made."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from nlptasks.applications.classification.training import POOLINGS, ClassifierOptions, constant_score, scores_of
from nlptasks.applications.distilling import (
    COLUMNS,
    DistillingOptions,
    encoder_of_checkpoint,
    model_settings,
    require_own_options,
    require_trained_labels,
)
from nlptasks.errors import UserError
from nlptasks.text.labeled import LabeledText, read_labeled, require_known, sort_labels
from nlptasks.train.options import require_one_of

if TYPE_CHECKING:
    from nlptasks.applications.classification.classifier import ClassificationExamples, Classifier


class DistillableClassifier:
    """Texts or pairs of texts, with one label or several; a `Distillable` of `nlptasks.train.contracts`.

    Args:
        options: name the files, which are read and compared with the settings of a given predecessor.

    Raises:
        ValueError, FileNotFoundError: files, options and predecessor do not fit together.
    """

    task: ClassVar[str] = "text_classification"
    application: ClassVar[str] = "classification"
    defaults: ClassVar[dict[str, Any]] = {"multi_label": False, "pooling": "first", "seq_length": 128}

    def __init__(self, options: DistillingOptions):
        require_own_options(options, self.application, (*self.defaults, *COLUMNS))
        require_one_of(options, pooling=POOLINGS)
        self.options = options
        self.settings = model_settings(
            options, self.task, self.application, self.defaults, renamed=ClassifierOptions.RENAMED
        )
        self.training = [text for path in options.train for text in self._read(path)]
        self.validation = self._read(options.valid)[: options.valid_limit]
        self.score_name = "micro_f1" if self.settings["multi_label"] else "accuracy"
        self.labels = sort_labels(label for text in self.training for label in text.labels)
        known = self.settings.get("labels", self.labels)
        require_trained_labels(self.labels, known, options.predecessor)
        require_known(((label, text.place) for text in self.validation for label in text.labels), known)

    def _read(self, path: Path) -> list[LabeledText]:
        pair = self.options.second_text_column is not None
        if self.settings.get("pair", pair) != pair:
            raise UserError(
                "{predecessor}: this classifier reads {what}; {hint} {field:second_text_column}.",
                predecessor=self.options.predecessor,
                what="texts" if pair else "pairs of texts",
                hint="leave out" if pair else "name the second column with",
            )
        return read_labeled(path, self.options.columns_of(self.settings["multi_label"]))

    def start(self) -> Classifier:
        """A classifier on the encoder of the checkpoint, with a fresh head."""
        from nlptasks.applications.classification.classifier import Classifier, classification_model
        from nlptasks.applications.encoder import pretrained_tokenizer

        tokenizer = pretrained_tokenizer(self.options.source)
        encoder = encoder_of_checkpoint(self.options, tokenizer.pad_id)
        model = classification_model(encoder, len(self.labels), self.options.dropout)
        pair = self.options.second_text_column is not None
        return Classifier(model, tokenizer, self.labels, pair=pair, **self.settings)

    def examples(self, application: Classifier, seed: int) -> ClassificationExamples:
        """The training texts."""
        from nlptasks.applications.classification.classifier import ClassificationExamples

        texts = [text.text_or_pair for text in self.training]
        return ClassificationExamples(application, texts, [text.labels for text in self.training], seed)

    def scores(self, application: Classifier) -> dict[str, float]:
        """Accuracy and F1 of the validation texts, in percent."""
        return scores_of(application, self.validation)

    def constant(self) -> dict[str, float]:
        """The score of giving every text the most frequent label."""
        return {self.score_name: constant_score(self.validation, self.score_name)}
