"""What compression needs of reading. Imports no backend before a model is made."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar

from nlptasks.applications.distilling import DistillingOptions, model_settings, require_own_options
from nlptasks.applications.reading.training import make_examples, never_answered, scores_of
from nlptasks.applications.reading.windows import ReadingLengths
from nlptasks.errors import UserError
from nlptasks.text import read_questions
from nlptasks.train.options import require_share

if TYPE_CHECKING:
    from nlptasks.applications.reading.reader import Reader
    from nlptasks.applications.reading.samples import ReadingExamples
    from nlptasks.applications.reading.span_samples import SpanExamples


class DistillableReader:
    """Questions with passages, answered token by token, or as the predecessor does; a `Distillable` of
    `nlptasks.train.contracts`.

    Args:
        options: name the files, which are read and compared with the settings of a given predecessor.

    Raises:
        ValueError, FileNotFoundError: files, options and predecessor do not fit together.
    """

    task: ClassVar[str] = "reading_comprehension"
    application: ClassVar[str] = "reading"
    defaults: ClassVar[dict[str, Any]] = {"passage_length": 256, "question_length": 64, "answer_length": 32}
    score_name = "cmrc_f1"

    def __init__(self, options: DistillingOptions):
        require_own_options(options, self.application, (*self.defaults, "negative_ratio"))
        if options.replace_embeddings:
            raise UserError(
                "{field:replace_embeddings} does not go with {field:task} reading: the table of embeddings is the "
                "reader's output matrix, too, which stays the predecessor's while layers are replaced; leave it out."
            )
        if options.negative_ratio is not None:
            require_share(options, "negative_ratio")
        self.options = options
        self.settings = model_settings(options, self.task, self.application, self.defaults)
        if options.predecessor is None:
            ReadingLengths(**self.settings)  # refuses lengths without room
        self.training = [question for path in options.train for question in read_questions(path)]
        self.validation = read_questions(options.valid)[: options.valid_limit]

    def start(self) -> Reader:
        """A reader on the Transformer of the checkpoint, which has the masked-LM head."""
        from nlptasks.applications.encoder import pretrained_tokenizer
        from nlptasks.applications.reading.reader import Reader
        from nlptasks.loading import build_transformer_model

        path, rate, skip = self.options.source, self.options.dropout, self.options.skip_weights
        tokenizer = pretrained_tokenizer(path)
        config: dict[str, Any] = {"dropout": rate, "attention_dropout": rate, "pad_id": tokenizer.pad_id}
        model = build_transformer_model(path, path, application="unilm", with_mlm="linear", skip=skip, **config)
        return Reader(model, tokenizer, ReadingLengths(**self.settings))

    def examples(self, application: Reader, seed: int) -> ReadingExamples | SpanExamples:
        """The training questions."""
        return make_examples(application, self.training, self.options.negative_ratio, seed)

    def scores(self, application: Reader) -> dict[str, float]:
        """CMRC's exact match and F1 of the validation questions, in percent."""
        scores = scores_of(application, self.validation)
        return {name: scores[name] for name in ("cmrc_em", "cmrc_f1")}

    def constant(self) -> dict[str, float]:
        """The score of a reader that never answers."""
        return {"cmrc_f1": never_answered(self.validation)["cmrc_f1"]}
