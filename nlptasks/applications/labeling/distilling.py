"""What compression needs of labeling. Imports no backend before a model is made."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar

from nlptasks.applications.distilling import (
    DistillingOptions,
    encoder_of_checkpoint,
    model_settings,
    require_own_options,
    require_trained_labels,
)
from nlptasks.applications.labeling.training import HEADS, NOTHING_FOUND, LabelerOptions, entity_types, scores_of
from nlptasks.text.entities import read_entities
from nlptasks.text.labeled import require_known
from nlptasks.train.options import require_one_of

if TYPE_CHECKING:
    from nlptasks.applications.labeling.labeler import Labeler
    from nlptasks.applications.labeling.samples import LabelingExamples


class DistillableLabeler:
    """Entities of texts; a `Distillable` of `nlptasks.train.contracts`.

    Args:
        options: name the files, which are read and compared with the settings of a given predecessor.

    Raises:
        ValueError, FileNotFoundError: files, options and predecessor do not fit together.
    """

    task: ClassVar[str] = "sequence_labeling"
    application: ClassVar[str] = "labeling"
    defaults: ClassVar[dict[str, Any]] = {"head": "crf", "seq_length": 128}
    score_name = "f1"

    def __init__(self, options: DistillingOptions):
        require_own_options(options, self.application, self.defaults)
        require_one_of(options, head=HEADS)
        self.options = options
        self.settings = model_settings(
            options, self.task, self.application, self.defaults, renamed=LabelerOptions.RENAMED
        )
        self.training = [text for path in options.train for text in read_entities(path)]
        self.validation = read_entities(options.valid)[: options.valid_limit]
        self.types = entity_types(self.training)
        known = self.settings.get("types", self.types)
        require_trained_labels(self.types, known, options.predecessor)
        require_known(((entity.type, text.place) for text in self.validation for entity in text.entities), known)

    def start(self) -> Labeler:
        """A labeler on the encoder of the checkpoint, with a fresh head."""
        from nlptasks.applications.encoder import pretrained_tokenizer
        from nlptasks.applications.labeling.labeler import Labeler, labeling_model

        tokenizer = pretrained_tokenizer(self.options.source)
        encoder = encoder_of_checkpoint(self.options, tokenizer.pad_id)
        model = labeling_model(encoder, self.settings["head"], len(self.types), self.options.dropout)
        return Labeler(model, tokenizer, self.types, **self.settings)

    def examples(self, application: Labeler, seed: int) -> LabelingExamples:
        """The training texts."""
        from nlptasks.applications.labeling.samples import LabelingExamples

        flat = application.head == "crf"
        return LabelingExamples(
            application.tokenizer, application.seq_length, self.training, application.types, flat, seed
        )

    def scores(self, application: Labeler) -> dict[str, float]:
        """Precision, recall and F1 of the validation texts, in percent."""
        return scores_of(application, self.validation)

    def constant(self) -> dict[str, float]:
        """The score of finding nothing."""
        return NOTHING_FOUND
