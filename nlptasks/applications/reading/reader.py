"""Reading comprehension: passages and a question in, an answer with its evidence out.

It follows bert4keras' `task_reading_comprehension_by_seq2seq` and `..._by_mlm`, or reads SQuAD as BERT does ("span");
docs/reading.md describes the recipes.
"""

import dataclasses
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, cast

from nlptasks.applications.encoder_head import EncoderWithHead, check_vocabulary
from nlptasks.applications.reading.answering import Answer, AnswerFinder, Asked, Evidence
from nlptasks.applications.reading.masked import MaskedAnswerDecoder
from nlptasks.applications.reading.span import SpanBatch, SpanDecoder, span_finder, span_layers, span_loss
from nlptasks.applications.reading.training import METHODS, ReaderOptions, train_reader
from nlptasks.applications.reading.voting import AnswerDecoder
from nlptasks.applications.reading.windows import ReadingLengths, SpanLengths
from nlptasks.applications.seq2seq_loss import TargetBatch, target_loss
from nlptasks.applications.storage import load_application, load_transformer, read_settings, save_application
from nlptasks.core.transformer import Transformer
from nlptasks.errors import UserError
from nlptasks.text import Question, TextTokenizer
from nlptasks.train.experiment import run_folder

__all__ = ["Answer", "Asked", "Evidence", "Reader"]


class Reader(AnswerFinder):
    """Answers questions from passages.

        reader = nlptasks.load("runs/reader")
        answer = reader.answer("沈月白生于哪年？", ["沈月白生于1921年。", "陶安的老家在青石县。"])
        print(answer.text, answer.evidence)

    Args:
        model: a Transformer with the masked-LM head; `attention` is "unilm" for "seq2seq", "bidirectional" for "mlm".
            For "span" from `span.span_model`.
        tokenizer: has the vocabulary of the model.
        lengths: the most tokens of passage, question and answer; None: the defaults. For "span" `SpanLengths`.
        method: "seq2seq" writes one token at a time, and all passages vote on each; "mlm" predicts whole answers at
            masked positions, and the passages vote on the answers; "span" points at the best one of all spans.
        threshold: "span": the score that an answer must exceed; None: every question is answered.

    Raises:
        UserError: model, tokenizer, lengths and method do not fit together.
    """

    def __init__(
        self,
        model: Transformer | EncoderWithHead,
        tokenizer: TextTokenizer,
        lengths: ReadingLengths | SpanLengths | None = None,
        method: str = "seq2seq",
        threshold: float | None = None,
    ):
        config = model.config if isinstance(model, Transformer) else model.transformer.config
        if METHODS.get(method) != config.attention:
            raise UserError(
                "{field:method} must be one of {methods} and fit the model's attention ({attentions}). Received: "
                "{method!r}, and a model with attention {attention!r}.",
                methods=", ".join(METHODS),
                attentions=", ".join(f"{name}: {attention}" for name, attention in METHODS.items()),
                method=method,
                attention=config.attention,
            )
        super().__init__(
            tokenizer, lengths or (SpanLengths() if method == "span" else ReadingLengths()), method, threshold
        )
        self.model = model
        transformer = model if isinstance(model, Transformer) else model.transformer
        check_vocabulary(transformer, tokenizer)
        if self.lengths.total > config.position_reach:
            raise UserError(
                "{field:window_length} = {total} is more than the model's {most} positions; make it smaller."
                if isinstance(self.lengths, SpanLengths)
                else "{field:passage_length} + {field:question_length} + {field:answer_length} = {total} is more than "
                "the model's {most} positions; make one of them smaller.",
                total=self.lengths.total,
                most=config.position_reach,
            )
        self._decoder = self._made_decoder()

    def _made_decoder(self) -> AnswerDecoder | MaskedAnswerDecoder | SpanDecoder:
        model, lengths = self.model, self.lengths
        if isinstance(model, EncoderWithHead) and isinstance(lengths, SpanLengths) and self.method == "span":
            return SpanDecoder(span_finder(model, lengths), self.tokenizer, lengths)
        if isinstance(model, Transformer) and isinstance(lengths, ReadingLengths) and self.method != "span":
            if self.method == "seq2seq":
                return AnswerDecoder(model, self.tokenizer.sep_id)
            return MaskedAnswerDecoder(model, self.tokenizer)
        raise UserError(
            "{field:method} span takes a model of span_model and SpanLengths, the others a Transformer and "
            "ReadingLengths. Received: {method!r}, {model} and {lengths}.",
            method=self.method,
            model=type(model).__name__,
            lengths=type(lengths).__name__,
        )

    def loss(self, batch: TargetBatch | SpanBatch, training: bool = True, encode: Callable | None = None) -> Any:
        """Mean cross-entropy of the batch's target tokens, or of its windows (see `span.span_loss`), in nats.

        Args:
            encode: as in `target_loss`.
        """
        if isinstance(self.model, EncoderWithHead):
            return span_loss(self.model, cast(SpanBatch, batch), training, encode)
        if training and encode is None:
            encode = self.model.encode  # all positions: a stopped run of version 0.1 goes on with the draws it had
        return target_loss(self.model, cast(TargetBatch, batch), training, encode)

    def on_transformer(self, transformer: Transformer) -> "Reader":
        """Returns this reader on another transformer of the same hidden size; a head is copied."""
        model = self.model
        if isinstance(model, EncoderWithHead):
            model = model.on_transformer(transformer, span_layers(transformer.config))
        else:
            model = transformer
        return Reader(model, self.tokenizer, self.lengths, self.method, self.threshold)

    @classmethod
    def train(
        cls,
        questions: Sequence[Question],
        valid: Sequence[Question],
        output: str | Path | None = None,
        **options: Any,
    ) -> "Reader":
        """Trains a reader as `nlptasks reading train` does, and keeps the epoch with the best CMRC F1 on `valid`.

            from nlptasks.text import Passage, Question

            passage = Passage("沈月住在山上。", answer="沈月")
            questions = [Question("1", "谁住在山上？", (passage,), answers=("沈月",))]
            reader = Reader.train(questions, valid=questions, epochs=40)
            reader.answer("谁住在山上？", ["沈月住在山上。"]).text

        Args:
            questions: the training questions; `nlptasks.text.read_questions` reads them from a file.
            valid: validation questions.
            output: the run directory: new or empty, or with `resume=True` that of an interrupted run. None: no
                directory is kept.
            **options: fields of `ReaderOptions`: `checkpoint`, `epochs`, `learning_rate`, ...

        Raises:
            UserError: options or questions that do not go together.
            TrainingInterrupted: after Ctrl-C; `resume=True` goes on.
        """
        with run_folder(output) as folder:
            train_reader(ReaderOptions(output=folder, **options), questions, valid)
            return cls.from_directory(folder)

    def save(self, directory: str | Path) -> None:
        """Writes a directory that `nlptasks.load` opens: config, weights, vocabulary."""
        settings = {"task": self.task, "method": self.method} | dataclasses.asdict(self.lengths)
        if self.method == "span":
            settings["threshold"] = self.threshold
        save_application(self.model, self.tokenizer, directory, settings)

    @classmethod
    def from_directory(cls, directory: str | Path) -> "Reader":
        """Opens what `save` or a training run has written.

        Raises:
            ValueError, FileNotFoundError: one line: what is missing or does not fit.
        """
        settings = read_settings(directory, cls.task, "reading")
        method, threshold = settings.pop("method", "seq2seq"), settings.pop("threshold", None)
        model: Transformer | EncoderWithHead
        if method == "span":
            model, tokenizer = load_application(directory, span_layers)
        else:
            model, tokenizer = load_transformer(directory, with_mlm="linear")
        try:
            lengths = SpanLengths(**settings) if method == "span" else ReadingLengths(**settings)
            return cls(model, tokenizer, lengths, method, threshold)
        except (TypeError, ValueError) as error:
            raise ValueError(f"{directory}: {error}") from None
