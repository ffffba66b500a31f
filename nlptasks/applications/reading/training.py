"""Training a reader. The options alone import no backend."""

from __future__ import annotations

import dataclasses
import functools
import itertools
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

from nlptasks.applications.options import LARGE, SMALL, SimplifyingTraining, Usual
from nlptasks.applications.reading.windows import ReadingLengths, SpanLengths, normalize
from nlptasks.errors import UserError
from nlptasks.metrics.reading import cmrc_question_score, score_reading
from nlptasks.text import Question, TextTokenizer
from nlptasks.train import progress
from nlptasks.train.options import require_at_least, require_one_of, require_share
from nlptasks.train.record import open_run

if TYPE_CHECKING:
    import keras

    from nlptasks.applications.reading.answering import AnswerFinder
    from nlptasks.applications.reading.reader import Reader
    from nlptasks.applications.reading.samples import ReadingExamples
    from nlptasks.applications.reading.span_samples import SpanExamples

METHODS = {"seq2seq": "unilm", "mlm": "bidirectional", "span": "bidirectional"}
"""how an answer is predicted: the attention that the model needs"""
MODES = ("extractive", "generative")


@dataclass(kw_only=True)
class ReaderOptions(SimplifyingTraining):
    """Options of a reader and its training."""

    SCRATCH_DEFAULTS: ClassVar[dict[str, int]] = SimplifyingTraining.SCRATCH_DEFAULTS | {"num_layers": 3}
    USUAL: ClassVar[Mapping[str, Usual]] = {**SimplifyingTraining.USUAL, SMALL: Usual(1e-4, 8), LARGE: Usual(1e-5, 8)}

    learning_rate: float | None = None  # type: ignore[assignment] # a number once a run is settled
    """Adam's highest rate; default: 1e-3 from random weights, 1e-4 from a small checkpoint such as mini (hidden size
    below 768), 1e-5 from a larger one"""
    epochs: int | None = None  # type: ignore[assignment] # a number once a run is settled
    """number of passes over the training data; default: 20 from random weights, 8 from a checkpoint; up to 30 where
    these are fewer than 100 updates"""
    vocab: Path | None = None
    """from scratch: vocabulary file; default: the characters of the training questions"""
    num_layers: int | None = None
    """from scratch: number of layers; default: 3"""

    passage_length: int = 256
    """seq2seq, mlm: the most tokens of [CLS] passage [SEP]"""
    window_length: int = 384
    """span: the most tokens of [CLS] question [SEP] window [SEP]"""
    question_length: int = 64
    """the most tokens of question [SEP]"""
    answer_length: int | None = None
    """the most tokens of answer [SEP], default: 32; span: of an answer, default: 128"""
    stride: int | None = None
    """read longer passages in windows that start this many tokens apart; default: longer passages are cut; span: half
    of what fits into a window beside the longest question, at most 128"""
    width_multiple: int = 128
    """span: pad windows to a multiple of this; as much as the window length makes one shape, which compiles once"""
    method: str = "seq2seq"
    """seq2seq: write the answer token by token; mlm: predict it at once, at masked positions; span: point at it"""
    negative_ratio: float | None = None
    """how often a passage without an answer is drawn, default: uniformly; span: share of windows without an answer"""
    practice_share: float = 0.0
    """share of the run, at its start, in which the model practices finding and copying text; for random weights"""
    valid_limit: int | None = None
    """the most validation questions to score after an epoch"""

    def check(self) -> None:
        """Refuses values that are out of range or contradict each other."""
        super().check()
        require_at_least(self, 1, "valid_limit")
        require_share(self, "practice_share", *(["negative_ratio"] if self.negative_ratio is not None else []))
        require_one_of(self, method=tuple(METHODS))
        lengths = self.lengths()
        self.answer_length, self.stride = lengths.answer_length, lengths.stride  # recorded as what they stand for
        if self.practice_share and self.method != "seq2seq":
            raise UserError(
                "{field:practice_share} goes with {field:method} seq2seq. Received: {method}.", method=self.method
            )

    def lengths(self) -> ReadingLengths | SpanLengths:
        """Most tokens of each part of a sample.

        Raises:
            UserError: a part has no room for text.
        """
        names = ("answer_length", "stride")
        given = {name: getattr(self, name) for name in names if getattr(self, name) is not None}
        if self.method == "span":
            sizes = {"window_length": self.window_length, "width_multiple": self.width_multiple}
            if given.get("stride") == 0:  # what is left out there; here it is given
                require_at_least(self, 1, "stride")
            return SpanLengths(question_length=self.question_length, **sizes, **given)
        return ReadingLengths(passage_length=self.passage_length, question_length=self.question_length, **given)


def train_reader(options: ReaderOptions, training: Sequence[Question], validation: Sequence[Question]) -> bool:
    """Trains a reader; the epoch with the best CMRC F1 on `validation` is kept in the run directory.

    Returns:
        Whether the reader does better than one that never answers.

    Raises:
        UserError: options or questions that do not go together.
    """
    validation = validation[: options.valid_limit]
    _check_questions(training, validation)
    open_run(options, len(training))

    from nlptasks.applications.encoder import make_transformer
    from nlptasks.applications.reading.reader import Reader
    from nlptasks.applications.reading.span import span_model
    from nlptasks.train.experiment import Experiment
    from nlptasks.train.run import start_run

    start_run(options.seed, options.precision, options.mesh)
    lengths = options.lengths()
    tokenizer, kept = _tokenizer(options, training)
    transformer = make_transformer(
        options,
        tokenizer,
        lengths.total,
        application="unilm" if options.method == "seq2seq" else "encoder",
        with_mlm=False if options.method == "span" else "linear",
        equal_keys=True,
        **kept,
    )
    model = span_model(transformer, options.dropout) if options.method == "span" else transformer
    reader = Reader(model, tokenizer, lengths, options.method)
    assert options.epochs is not None
    practice_epochs = options.practice_share * options.epochs
    examples = make_examples(reader, training, options.negative_ratio, options.seed, practice_epochs)
    progress.say(f"model: {model.count_params():,} parameters, vocabulary of {tokenizer.vocab_size}")
    what = "windows" if options.method == "span" else "questions"
    progress.say(f"{len(examples)} {what}; answers by passage: {examples.counts}")
    optimizer = _optimizer(options, len(examples)) if practice_epochs else None
    validate = functools.partial(fitted_scores if options.method == "span" else scores_of, reader, validation)
    more = {"answers": dataclasses.asdict(examples.counts)}
    constant = never_answered(validation)
    run = Experiment(options, reader, examples, validate, "cmrc_f1", optimizer=optimizer, constant=constant, more=more)
    run.run()
    return run.learned


def make_examples(
    reader: Reader,
    questions: Sequence[Question],
    negative_ratio: float | None = None,
    seed: int = 0,
    practice_epochs: float = 0.0,
) -> ReadingExamples | SpanExamples:
    """The training examples of a reader; see those classes."""
    from nlptasks.applications.reading.samples import ReadingExamples
    from nlptasks.applications.reading.span_samples import SpanExamples

    lengths = reader.lengths
    if isinstance(lengths, SpanLengths):
        return SpanExamples(questions, reader.tokenizer, lengths, negative_ratio, seed)
    method = reader.method
    return ReadingExamples(questions, reader.tokenizer, lengths, negative_ratio, seed, method, practice_epochs)


def _check_questions(training: Sequence[Question], validation: Sequence[Question]) -> None:
    """Refuses lists that nothing can be learned from or scored on; files are checked by their reader already."""
    if not training or not validation:
        raise UserError(
            "at least one question is needed to train on, and one to validate on. Received: {training} and "
            "{validation}.",
            training=len(training),
            validation=len(validation),
        )
    if without := [question.id for question in (*training, *validation) if not question.passages]:
        raise UserError("the question {name!r} has no passages; give it at least one.", name=without[0])
    names = [question.id for question in validation]
    if len(set(names)) < len(names):
        raise UserError("the ids of validation questions must be unique, because answers are stored by id.")


def _tokenizer(options: ReaderOptions, training: Sequence[Question]) -> tuple[TextTokenizer, dict[str, list[int]]]:
    """The tokenizer, and, where it keeps only some tokens of the checkpoint, which: `keep_tokens`."""
    from nlptasks.applications.encoder import make_tokenizer, simplified

    questions = ((q.question, *q.answers, *(passage.text for passage in q.passages)) for q in training)
    tokenizer = make_tokenizer(options, (normalize(text) for texts in questions for text in texts))
    return simplified(options, tokenizer)


def _optimizer(options: ReaderOptions, num_questions: int) -> keras.optimizers.Optimizer:
    """The optimizer. Its schedule does not count the extra batch of an epoch in which practice ends."""
    from nlptasks.train.optimizers import make_adam

    assert options.learning_rate is not None
    assert options.epochs is not None
    updates = options.epochs * math.ceil(math.ceil(num_questions / options.batch_size) / options.accumulate)
    return make_adam(
        options.learning_rate, updates, options.warmup_share, options.decay, options.clip_norm, options.ema
    )


def answers_of(
    reader: AnswerFinder,
    questions: Sequence[Question],
    mode: str = "extractive",
    beam_size: int = 1,
    progress: Callable[[Iterable], Iterable] = iter,
    stride: int | None = None,
) -> dict[str, str]:
    """The text of each question's answer by the question's id; a blank question (CMRC2018 has one) has the answer "".

    Args:
        mode, beam_size, progress, stride: as in `Reader.predict`.
    """
    asked, given = _asked(questions)
    answers = reader.predict(given, mode, beam_size, progress=progress, stride=stride)
    found = {question.id: answer.text for question, answer in zip(asked, answers, strict=True)}
    return {question.id: found.get(question.id, "") for question in questions}


def _asked(questions: Sequence[Question]) -> tuple[list[Question], list[tuple[str, list[str]]]]:
    """The questions that are not blank, also as `Reader.predict` takes them."""
    asked = [question for question in questions if question.question.strip()]
    return asked, [(question.question, [passage.text for passage in question.passages]) for question in asked]


def scores_of(reader: Reader, questions: Sequence[Question]) -> dict[str, float]:
    """CMRC's exact match and F1 in percent, by name, of all questions and of those that have an answer."""
    return _shown_scores(questions, answers_of(reader, questions))


def _shown_scores(questions: Sequence[Question], answers: Mapping[str, str]) -> dict[str, float]:
    scores = score_reading(questions, answers)
    found = {name: scores["all"][name] for name in ("cmrc_em", "cmrc_f1")}
    return found | {f"answerable_{name}": scores["answerable"][name] for name in ("cmrc_em", "cmrc_f1")}


def never_answered(questions: Sequence[Question]) -> dict[str, float]:
    """The scores of a reader that never answers: the F1 of all questions, and no exact match of those with answers."""
    scores = _shown_scores(questions, {question.id: "" for question in questions})
    return {name: scores[name] for name in ("cmrc_f1", "answerable_cmrc_em")}


def fitted_scores(reader: Reader, questions: Sequence[Question]) -> dict[str, float]:
    """The scores of a reader by spans whose threshold is made the best one for these questions."""
    asked, given = _asked(questions)
    reader.threshold = None
    answers = reader.predict(given)
    reader.threshold = threshold = best_threshold(asked, [(answer.text, answer.score) for answer in answers])
    texts = {q.id: a.text for q, a in zip(asked, answers, strict=True) if threshold is None or a.score > threshold}
    return _shown_scores(questions, {question.id: texts.get(question.id, "") for question in questions})


def best_threshold(questions: Sequence[Question], answers: Sequence[tuple[str, float]]) -> float | None:
    """The score above which to answer, for the best CMRC F1 on `questions`; None: always.

    It lies half way between two scores; of equally good ones the lowest is taken.

    Args:
        answers: for each question the best answer and its score.
    """
    gains = []
    for question, (text, score) in zip(questions, answers, strict=True):
        answerable = any(answer.strip() for answer in question.answers)
        gains.append((score, cmrc_question_score(text, question.answers)[1] if answerable else -1.0))
    gains.sort(reverse=True)
    totals = [0.0, *itertools.accumulate(gain for _, gain in gains)]
    count = max(range(len(totals)), key=lambda n: (totals[n], n))
    if count == len(gains):
        return None
    return gains[0][0] if count == 0 else (gains[count - 1][0] + gains[count][0]) / 2
