"""Reading comprehension: passages and a question in, an answer with its evidence out.

It follows bert4keras' `task_reading_comprehension_by_seq2seq` and `..._by_mlm`, or reads SQuAD as BERT does ("span");
docs/reading.md describes the recipes.
"""

import dataclasses
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, cast

import numpy as np

from nlptasks.applications.encoder_head import EncoderWithHead, check_vocabulary
from nlptasks.applications.reading.masked import MaskedAnswerDecoder
from nlptasks.applications.reading.span import SpanBatch, SpanDecoder, span_layers, span_loss
from nlptasks.applications.reading.training import METHODS, MODES, ReaderOptions, train_reader
from nlptasks.applications.reading.voting import AnswerDecoder, DecodedAnswer
from nlptasks.applications.reading.windows import ReadingLengths, Row, SpanLengths, encode_rows, offsets_of
from nlptasks.applications.seq2seq_loss import TargetBatch, target_loss
from nlptasks.applications.storage import load_application, load_transformer, read_settings, save_application
from nlptasks.core.transformer import Transformer
from nlptasks.errors import UserError
from nlptasks.generate.loop import round_rows
from nlptasks.text import Question, TextTokenizer
from nlptasks.train.experiment import run_folder

Asked = tuple[str, Sequence[str]]
"""a question and the passages to answer it from"""
_BATCHES = 16
"""batches of windows of which a reader by spans finds the answers at once"""


@dataclass(frozen=True)
class Evidence:
    """A passage that supports the answer (one that was not dropped at the first step).

    Attributes:
        passage: index of the passage.
        window: index of the window that was read (`ReadingLengths.stride`); 0 if the passage is not split.
        probability: probability of the whole answer, given this passage alone.
        start, end: the answer is `passages[passage][start:end]`; None if it does not occur there.
    """

    passage: int
    window: int
    probability: float
    start: int | None
    end: int | None


@dataclass(frozen=True)
class Answer:
    """The answer to a question.

    Attributes:
        text: the answer; "" if no passage answers.
        score: for "seq2seq" the sum over the tokens of log(vote) (see `voting.vote`), for "mlm" the log of the
            answer's vote (see `masked.MaskedAnswerDecoder`); comparable between answers to the same question. For
            "span" the logits of the best span minus those of no answer (see `span.best_spans`).
        evidence: the passages that support the answer, the most probable one first.
    """

    text: str
    score: float
    evidence: tuple[Evidence, ...]


class Reader:
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

    task: ClassVar[str] = "reading_comprehension"

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
        self.model, self.tokenizer, self.method, self.threshold = model, tokenizer, method, threshold
        self.lengths = lengths or (SpanLengths() if method == "span" else ReadingLengths())
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
            return SpanDecoder(model, self.tokenizer, lengths)
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

    def answer(
        self,
        question: str,
        passages: Sequence[str],
        mode: str = "extractive",
        beam_size: int = 1,
        stride: int | None = None,
    ) -> Answer:
        """Answers one question.

            reader.answer("沈月白生于哪年？", ["沈月白生于1921年。", "陶安的老家在青石县。"]).text

        Args:
            question: the question.
            passages: one or more texts. Of a passage longer than `passage_length` tokens the rest is not read, unless
                there is a stride.
            mode: "extractive": the answer is a piece of a passage, in its original characters; "generative": the
                answer may be any text.
            beam_size: number of beams; 1: greedy search.
            stride: longer passages are read in windows that start this many tokens apart; None: as in training.

        Returns:
            An `Answer`: `text` ("" if no passage answers), `score` and `evidence`.

        Raises:
            UserError: an empty question, no passages, an unknown mode, or `beam_size` is below 1.
        """
        return self.predict([(question, passages)], mode, beam_size, stride=stride)[0]

    def predict(
        self,
        questions: Sequence[Asked],
        mode: str = "extractive",
        beam_size: int = 1,
        rows: int = 64,
        progress: Callable[[Iterable], Iterable] = iter,
        stride: int | None = None,
    ) -> list[Answer]:
        """Answers many questions.

        Args:
            questions: pairs `(question, passages)`.
            mode, beam_size, stride: as in `answer`.
            rows: number of windows that are read together; more are faster and take more memory.
            progress: wraps the iteration over batches, for example `tqdm`.

        Returns:
            An `Answer` for each question.

        Raises:
            UserError: as `answer`.
        """
        if mode not in MODES:
            raise UserError(
                "{field:mode} must be one of {modes}. Received: {mode!r}.", modes=", ".join(MODES), mode=mode
            )
        for name, value in (("beam_size", beam_size), ("rows", rows)):
            if value < 1:
                raise UserError(
                    "{field:{name}} must be at least {least}. Received: {value}.", name=name, least=1, value=value
                )
        for index, (question, passages) in enumerate(questions):
            if not question.strip():
                raise UserError("question {index} is empty; ask something.", index=index)
            if isinstance(passages, str) or not len(passages):
                raise UserError("question {index} needs a list of at least one passage.", index=index)
        answers: dict[int, Answer] = {}
        lengths = self.lengths if stride is None else dataclasses.replace(self.lengths, stride=stride)
        together = rows * _BATCHES if self.method == "span" else rows
        most = [sum(map(lengths.most_windows, passages)) for _, passages in questions]
        size = min(rows, round_rows(sum(most)))  # of all batches of a reader by spans
        for group in progress(self._groups(questions, most, together)):
            found = self._answer_group([questions[i] for i in group], lengths, mode, beam_size, size)
            answers |= zip(group, found, strict=True)
        return [answers[index] for index in range(len(questions))]

    answer_batch = predict  # the name of version 0.1

    def _groups(self, questions: Sequence[Asked], most: Sequence[int], rows: int) -> list[list[int]]:
        """Indices of questions in groups of about `rows` windows or fewer; questions with long texts come together."""
        longest = [max(map(len, passages)) + len(question) for question, passages in questions]
        groups: list[list[int]] = []
        room = 0
        for index in np.argsort([-n for n in longest], kind="stable"):
            if most[index] > room:
                groups.append([])
                room = rows
            groups[-1].append(int(index))
            room -= most[index]
        return groups

    def _answer_group(
        self, questions: Sequence[Asked], lengths: ReadingLengths | SpanLengths, mode: str, beam_size: int, size: int
    ) -> Iterator[Answer]:
        rows, extractive = encode_rows(self.tokenizer, lengths, questions), mode == "extractive"
        if isinstance(self._decoder, SpanDecoder):
            decoded = self._decoder.decode(rows, size, beam_size, extractive, self.threshold)
        else:
            decoded = self._decoder.decode(rows, self.lengths.answer_length, beam_size, extractive)
        for found, (_, passages) in zip(decoded, questions, strict=True):
            yield self._answer(found, passages, rows, mode)

    def _answer(self, found: DecodedAnswer, passages: Sequence[str], rows: Sequence[Row], mode: str) -> Answer:
        evidence = []
        for index, log_probability in found.log_probabilities.items():
            row = rows[index]
            start, end = _place(found.places[index], row) if index in found.places else _find(found.tokens, row)
            evidence.append(Evidence(row.passage, row.window, float(np.exp(log_probability)), start, end))
        evidence.sort(key=lambda e: -e.probability)
        text = self.tokenizer.decode(found.tokens)
        if mode == "extractive":
            located = next((e for e in evidence if e.start is not None), None)
            text = passages[located.passage][located.start : located.end] if located else ""
        return Answer(text, found.score, tuple(evidence))

    def loss(self, batch: TargetBatch | SpanBatch, training: bool = True, encode: Callable | None = None) -> Any:
        """Mean cross-entropy of the batch's target tokens, or of its windows (see `span.span_loss`), in nats.

        Args:
            encode: as in `target_loss`.
        """
        if isinstance(self.model, EncoderWithHead):
            return span_loss(self.model, cast(SpanBatch, batch), training, encode)
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


def _place(tokens: slice, row: Row) -> tuple[int, int]:
    """Where tokens of a row's text lie in its passage."""
    offsets = offsets_of(row)[tokens]
    return int(offsets[0][0]), int(offsets[-1][1])


def _find(tokens: Sequence[int], row: Row) -> tuple[int | None, int | None]:
    """The first occurrence of `tokens` in a row, as offsets in its passage; (None, None) if there is none."""
    if tokens and len(tokens) <= len(row.text):
        windows = np.lib.stride_tricks.sliding_window_view(row.text, len(tokens))
        starts = np.flatnonzero((windows == np.asarray(tokens)).all(axis=1))
        if len(starts):
            first, offsets = starts[0], offsets_of(row)
            return int(offsets[first][0]), int(offsets[first + len(tokens) - 1][1])
    return None, None
