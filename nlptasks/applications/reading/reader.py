"""Reading comprehension: passages and a question in, an answer with its evidence out.

After bert4keras' `task_reading_comprehension_by_seq2seq` and `..._by_mlm`; the recipe is described in docs/reading.md.
"""

import dataclasses
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from nlptasks.applications.reading.masked import MaskedAnswerDecoder
from nlptasks.applications.reading.voting import AnswerDecoder, DecodedAnswer
from nlptasks.applications.reading.windows import ReadingLengths, encode_sources, source_ids
from nlptasks.applications.seq2seq_loss import TargetBatch, target_loss
from nlptasks.checkpoints.configs import config_from_json
from nlptasks.checkpoints.huggingface import CONFIG, read_huggingface, save_directory
from nlptasks.checkpoints.weights import assign_weights
from nlptasks.core.transformer import Transformer
from nlptasks.files import read_json_object
from nlptasks.text import Encoding, Tokenizer

MODES = ("extractive", "generative")
METHODS = {"seq2seq": "unilm", "mlm": "bidirectional"}
"""how an answer is predicted: the attention that the model needs"""


@dataclass(frozen=True)
class Evidence:
    """A passage that survived the first step.

    Attributes:
        passage: its index among the passages given.
        window: which of its windows was read, 0 where it has one (`ReadingLengths.stride`).
        probability: of the whole answer, read from this passage alone.
        start, end: the answer is `passages[passage][start:end]`; None where it does not occur there.
    """

    passage: int
    window: int
    probability: float
    start: int | None
    end: int | None


@dataclass(frozen=True)
class Answer:
    """An answer; `text` is "" when no passage answers.

    Attributes:
        score: sum over the tokens of log(vote), see `reading_decode.vote`, or log of the answer's vote, see
            `reading_mlm.MaskedAnswerDecoder`; comparable between answers of one question.
        evidence: the passages that survived, most probable first.
    """

    text: str
    score: float
    evidence: tuple[Evidence, ...]


class Reader:
    """Answers questions from passages.

    Args:
        model: a Transformer with the masked-LM head, with `attention="unilm"` for "seq2seq", bidirectional for "mlm".
        tokenizer: with the vocabulary of the model.
        lengths: most tokens of passage, question and answer.
        method: "seq2seq": one token after the other, all passages voting on each; "mlm": the whole answer at once, at
            masked positions, passages voting on answers.

    Raises:
        ValueError: model, tokenizer and lengths do not fit together.
    """

    task = "reading_comprehension"

    def __init__(
        self,
        model: Transformer,
        tokenizer: Tokenizer,
        lengths: ReadingLengths | None = None,
        method: str = "seq2seq",
    ):
        self.model, self.tokenizer, self.method = model, tokenizer, method
        self.lengths = lengths or ReadingLengths()
        if METHODS.get(method) != model.config.attention:
            raise ValueError(
                f"method must be one of {tuple(METHODS)} and fit the model's attention "
                f"({', '.join(f'{m}: {a}' for m, a in METHODS.items())}). "
                f"Received: method={method!r}, attention={model.config.attention!r}."
            )
        if tokenizer.vocab_size != model.config.vocab_size:
            raise ValueError(
                f"The tokenizer (vocab.txt) has {tokenizer.vocab_size} tokens and the model (config.json) "
                f"{model.config.vocab_size}; give the vocabulary that the model was trained with."
            )
        if self.lengths.total > model.config.position_reach:
            raise ValueError(
                f"passage_length + question_length + answer_length = {self.lengths.total} is more than the model's "
                f"{model.config.position_reach} positions; make one of them smaller."
            )
        seq2seq = method == "seq2seq"
        self._decoder = AnswerDecoder(model, tokenizer.sep_id) if seq2seq else MaskedAnswerDecoder(model, tokenizer)

    def answer(self, question: str, passages: Sequence[str], mode: str = "extractive", beam_size: int = 1) -> Answer:
        """The answer to one question.

        Args:
            question: the question.
            passages: one or more texts; what is beyond `passage_length` tokens is not read.
            mode: "extractive" (the answer is a piece of a passage, returned as its original characters) or
                "generative" (any tokens).
            beam_size: 1 is greedy search.

        Raises:
            ValueError: an empty question, no passages, or an unknown mode.
        """
        return self.answer_batch([(question, passages)], mode, beam_size)[0]

    def answer_batch(
        self,
        questions: Sequence[tuple[str, Sequence[str]]],
        mode: str = "extractive",
        beam_size: int = 1,
        rows: int = 64,
        progress: Callable[[Iterable], Iterable] = iter,
    ) -> list[Answer]:
        """The answers to many questions, `(question, passages)` each.

        Args:
            rows: passages encoded together; more is faster and takes more memory.
            progress: wraps the iteration over batches (`tqdm`, say).
        """
        if mode not in MODES:
            raise ValueError(f"mode must be one of {MODES}. Received: mode={mode!r}.")
        if beam_size < 1 or rows < 1:
            raise ValueError(f"beam_size and rows must be at least 1. Received: {beam_size=}, {rows=}.")
        for index, (question, passages) in enumerate(questions):
            if not question.strip():
                raise ValueError(f"question {index} is empty; ask something.")
            if isinstance(passages, str) or not len(passages):
                raise ValueError(f"question {index} needs a list of at least one passage.")
        answers: list[Answer | None] = [None] * len(questions)
        for group in progress(self._groups(questions, rows)):
            for index, answer in zip(
                group, self._answer_group([questions[i] for i in group], mode, beam_size), strict=True
            ):
                answers[index] = answer
        return answers

    def _groups(self, questions, rows):
        """Indices of questions in groups of at most about `rows` windows, the longest texts together."""
        longest = [max(map(len, passages)) + len(question) for question, passages in questions]
        groups, room = [], 0
        for index in np.argsort([-n for n in longest], kind="stable"):
            count = sum(self.lengths.most_windows(passage) for passage in questions[index][1])
            if count > room:
                groups.append([])
                room = rows
            groups[-1].append(int(index))
            room -= count
        return groups

    def _answer_group(self, questions, mode, beam_size):
        texts = [text for _, passages in questions for text in passages]
        owners = [q for q, (_, passages) in enumerate(questions) for _ in passages]
        encodings, encoded = encode_sources(self.tokenizer, self.lengths, texts, [q for q, _ in questions])
        of_question = [
            [e for e, owner in zip(encodings, owners, strict=True) if owner == q] for q in range(len(questions))
        ]
        decoded = self._decoder.decode(
            [[[source_ids(e, encoded[q]) for e in of] for of in passages] for q, passages in enumerate(of_question)],
            [[[e.token_ids[1:-1] for e in of] for of in passages] for passages in of_question],
            self.lengths.answer_length,
            beam_size,
            mode == "extractive",
        )
        return [
            self._answer(found, passages, of_question[q], mode)
            for q, (found, (_, passages)) in enumerate(zip(decoded, questions, strict=True))
        ]

    def _answer(self, found: DecodedAnswer, passages: Sequence[str], encodings: Sequence[list[Encoding]], mode: str):
        evidence = []
        for (index, window), log_probability in found.log_probabilities.items():
            start, end = _find(found.tokens, encodings[index][window])
            evidence.append(Evidence(index, window, float(np.exp(log_probability)), start, end))
        evidence.sort(key=lambda e: -e.probability)
        text = self.tokenizer.decode(found.tokens)
        if mode == "extractive":
            located = next((e for e in evidence if e.start is not None), None)
            text = passages[located.passage][located.start : located.end] if located else ""
        return Answer(text, found.score, tuple(evidence))

    def loss(self, batch: TargetBatch, training: bool = True, encode: Callable | None = None):
        """`target_loss` of the batch."""
        return target_loss(self.model, batch, training, encode)

    def on_transformer(self, transformer: Transformer) -> "Reader":
        """The same reader on another transformer."""
        return Reader(transformer, self.tokenizer, self.lengths, self.method)

    def save(self, directory: str | Path) -> None:
        """Writes a directory that `nlptasks.load` opens: config, weights, vocabulary."""
        directory = Path(directory)
        directory.mkdir(parents=True, exist_ok=True)
        self.tokenizer.save(directory)
        settings = {"task": self.task, "method": self.method} | dataclasses.asdict(self.lengths)
        save_directory(self.model, directory, nlptasks=settings)

    @classmethod
    def from_directory(cls, directory: str | Path) -> "Reader":
        """The reader that `save` wrote.

        Raises:
            ValueError, FileNotFoundError: one line: what is missing or does not fit.
        """
        directory = Path(directory)
        values = read_json_object(directory / CONFIG)
        settings = dict(values.get("nlptasks") or {})
        if settings.pop("task", None) != cls.task:
            raise ValueError(f"{directory / CONFIG}: not a reader; train one with nlptasks reading train.")
        model = Transformer(config_from_json(values, directory / CONFIG), with_mlm="linear")
        model.build()
        assign_weights(model, read_huggingface(directory, model.config), str(directory), transposed=True)
        tokenizer = Tokenizer.from_directory(directory)
        try:
            method = settings.pop("method", "seq2seq")
            return cls(model, tokenizer, ReadingLengths(**settings), method)
        except (TypeError, ValueError) as error:
            raise ValueError(f"{directory}: {error}") from None


def _find(tokens: Sequence[int], encoding: Encoding) -> tuple[int | None, int | None]:
    """Where `tokens` first occur in a passage, as character offsets; (None, None) where they do not."""
    ids = encoding.token_ids[1:-1]
    if tokens and len(tokens) <= len(ids):
        windows = np.lib.stride_tricks.sliding_window_view(ids, len(tokens))
        starts = np.flatnonzero((windows == np.asarray(tokens)).all(axis=1))
        if len(starts):
            first = starts[0] + 1
            return int(encoding.offsets[first][0]), int(encoding.offsets[first + len(tokens) - 1][1])
    return None, None
