"""Reading comprehension: train, score and use a model that answers a question from several passages.

    nlptasks reading train --train A.json --valid B.json --checkpoint DIR --output runs/reader
    nlptasks reading evaluate --model runs/reader --data test.json
    nlptasks reading answer --model runs/reader --question 问题 --passage 篇章一 篇章二
    nlptasks reading predict --model runs/reader --data test.json --output answers.tsv

Files are WebQA/SogouQA JSON, JSON lines, or SQuAD-style JSON (CMRC2018, DRCD), plain or gzip. docs/reading.md describes
the recipe and its scores, docs/scoring.md how they are counted.
"""

import dataclasses
import json
import random
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import numpy as np

from nlptasks.applications.options import OnModel, require_input, require_output
from nlptasks.applications.reading import answering
from nlptasks.applications.reading.training import MODES, ReaderOptions, answers_of, train_reader
from nlptasks.applications.results import say_ready
from nlptasks.applications.unread import tell_cut, tell_unknown
from nlptasks.console import padded, progress_bar, right, say
from nlptasks.errors import UserError, told
from nlptasks.files import STANDARD_INPUT, write_text
from nlptasks.metrics.baselines import fit_baselines
from nlptasks.metrics.reading import cmrc_question_score, score_reading
from nlptasks.opening import is_exported, load
from nlptasks.text import Passage, Question, read_questions, read_texts
from nlptasks.text.readers import write_questions
from nlptasks.train.options import Options, TextFiles, require_at_least, require_one_of

NOTHING = "(no answer)"
CHARACTERS = "characters {start} to {end}"
IN_PASSAGE = "passage {passage}: probability {probability:.3f}, {where}"
IN_WINDOW = "passage {passage}, window {window}: probability {probability:.3f}, {where}"
RIGHT = "right: {right} of {count} questions, by exact match."


@dataclass(kw_only=True)
class Train(ReaderOptions, TextFiles):
    """Train a reader; the best epoch on the validation file is kept."""

    train: tuple[Path, ...]
    """training files"""
    valid: Path
    """validation file; the epoch with the best CMRC F1 on all its questions is kept"""

    def run(self) -> None:
        """Reads the files and trains."""
        training = [question for path in self.train for question in read_questions(path)]
        learned = train_reader(self, training, read_questions(self.valid))
        say_ready(self.output, "evaluate, answer and predict", learned)


@dataclass(kw_only=True)
class Prepare(TextFiles):
    """Mix WebQA and SogouQA into train.json and valid.json, as bert4keras' recipe does.

    SogouQA is shuffled with a seed, and every third question goes into the validation file. The training file holds the
    other questions of SogouQA twice, and WebQA.
    """

    webqa: Path
    """WebQA.json"""
    sogouqa: Path
    """SogouQA.json"""
    output: Path
    """folder for both files"""
    seed: int = 0
    """seed of the order"""

    def run(self) -> None:
        """Reads both files and writes the mixture."""
        webqa, sogou = read_questions(self.webqa), read_questions(self.sogouqa)
        for name in ("train.json", "valid.json"):
            require_output(self.output / name, self.webqa, self.sogouqa)
        order = np.random.default_rng(self.seed).permutation(len(sogou))
        valid = [sogou[i] for i in order[::3]]
        rest = [sogou[i] for place, i in enumerate(order) if place % 3]
        if not rest:
            raise UserError(
                "{path}: {count} questions cannot be split; at least 2 are needed.", path=self.sogouqa, count=len(sogou)
            )
        # ids are unique in a file: the second time, and where both sets use one, they are told apart
        again = [dataclasses.replace(question, id=f"{question.id}#2") for question in rest]
        taken = {question.id for question in rest + again}
        others = [dataclasses.replace(q, id=f"webqa/{q.id}") if q.id in taken else q for q in webqa]
        for name, questions in (("train.json", rest + again + others), ("valid.json", valid)):
            write_questions(questions, self.output / name)
            say(f"{self.output / name}: {len(questions)} questions")


@dataclass(kw_only=True)
class Decoding(Options, OnModel, TextFiles):
    """Options of decoding."""

    model: Path
    """the run directory of a reader"""
    mode: str = "extractive"
    """extractive: the answer is a piece of a passage; generative: the answer may be any text"""
    beam_size: int = 1
    """number of beams; 1: greedy search"""
    stride: int | None = None
    """read longer passages in windows that start this many tokens apart; default: as in training"""

    def check(self) -> None:
        """Refuses values that are out of range."""
        super().check()
        require_one_of(self, mode=MODES)
        require_at_least(self, 1, "beam_size", "stride")


@dataclass(kw_only=True)
class Evaluate(Decoding):
    """Score a reader on a file: all questions, answerable ones, and unanswerable ones."""

    data: Path
    """file of questions with answers"""
    predictions: Path | None = None
    """write the answers to this file, as lines of id TAB answer"""
    baselines: tuple[Path, ...] = ()
    """training files: also score trivial baselines, fitted to these files"""
    json: bool = False
    """write a JSON object as the last line of the output"""

    def run(self) -> None:
        """Answers, prints the scores, and writes the answers."""
        questions = read_questions(self.data)
        training = [question for path in self.baselines for question in read_questions(path)]
        require_output(self.predictions, self.data, *self.baselines)
        reader = load_reader(self.model)
        started = time.monotonic()
        answers = answers_of(reader, questions, self.mode, self.beam_size, _bar, self.stride)
        seconds = time.monotonic() - started
        _tell_unread(reader, questions, self.stride)
        say(f"{len(questions)} questions in {seconds:.1f} s")
        scores = {"reader": score_reading(questions, answers)}
        if training:
            for name, predict in fit_baselines(training).items():
                scores[name] = score_reading(questions, {q.id: predict(q) for q in questions})
        if self.predictions is not None:
            _write_answers(self.predictions, answers)
        print(_table(scores))
        if self.json:
            print(json.dumps({"scores": scores, "seconds": seconds}, ensure_ascii=False))


@dataclass(kw_only=True)
class Answer(Decoding):
    """Answer one question from passages, and show which passages support the answer."""

    question: str
    """the question"""
    passage: tuple[str, ...] = ()
    """one or more passages"""
    passages: Path | None = None
    """file with one passage per line, or a .jsonl file with objects that have a `text`; -: standard input"""
    picture: Path | None = None
    """write an HTML page that shows what the tokens of the answer attended to, and the vote"""
    json: bool = False
    """print the answer with its evidence as one JSON object"""

    def check(self) -> None:
        """Refuses a missing question or missing passages."""
        super().check()
        if not self.question.strip():
            raise UserError("{field:question} is empty; ask something.")
        if bool(self.passage) == (self.passages is not None):
            raise UserError("{field:question} needs {field:passage} TEXT... or {field:passages} FILE.")
        if empty := [number for number, passage in enumerate(self.passage, 1) if not passage.strip()]:
            raise UserError("{field:passage}: text {number} is empty; there is nothing to read.", number=empty[0])

    def run(self) -> None:
        """Answers, draws and prints."""
        if self.picture is not None and is_exported(self.model):
            raise UserError("{field:picture} needs the run directory: an exported reader shows no attention.")
        given = None if self.passages is None or str(self.passages) == STANDARD_INPUT else self.passages
        require_input(given)
        require_output(self.picture, given)
        texts = list(self.passage if self.passages is None else read_texts(self.passages))
        reader = load_reader(self.model)
        answer = reader.answer(self.question, texts, self.mode, self.beam_size, self.stride)
        passages = tuple(Passage(text, answer="") for text in texts)
        _tell_unread(reader, [Question("", self.question, passages, answers=())], self.stride)
        if self.picture is not None:
            from nlptasks.applications.reading.picture import draw_answer

            write_text(self.picture, draw_answer(cast(Any, reader), self.question, texts, answer, self.stride))
        print(json.dumps(dataclasses.asdict(answer), ensure_ascii=False) if self.json else _shown(answer))


@dataclass(kw_only=True)
class Predict(Decoding):
    """Answer the questions of a file."""

    data: Path
    """file of questions with passages; needs --output, --show or --json"""
    output: Path | None = None
    """write the answers to this file, as lines of id TAB answer"""
    show: int = 0
    """print this many questions, drawn at random, with their passages and answers"""
    seed: int = 0
    """seed of the questions that --show draws"""
    json: bool = False
    """print one JSON object that maps id to answer, as the last line"""

    def check(self) -> None:
        """Refuses to run if the answers would go nowhere."""
        super().check()
        require_at_least(self, 0, "show")
        if self.output is None and not self.show and not self.json:
            raise UserError("{field:data} needs {field:output} FILE, {field:show} N or {field:json}.")

    def run(self) -> None:
        """Answers, writes and prints."""
        questions = read_questions(self.data)
        require_output(self.output, self.data)
        drawn = random.Random(self.seed).sample(questions, min(self.show, len(questions)))
        if self.output is None and not self.json:
            questions = drawn
        reader = load_reader(self.model)
        bar = iter if self.output is None else _bar
        answers = answers_of(reader, questions, self.mode, self.beam_size, bar, self.stride)
        _tell_unread(reader, questions, self.stride)
        if self.output is not None:
            _write_answers(self.output, answers)
        for question in drawn:
            _show(question, answers[question.id])
        if drawn and any(question.answers for question in questions):
            right = sum(cmrc_question_score(answers[q.id], q.answers or [""])[0] for q in questions)
            say(RIGHT, right=int(right), count=len(questions))
        if self.json:
            print(json.dumps(answers, ensure_ascii=False))


def load_reader(path: Path) -> answering.AnswerFinder:
    """The reader of a directory: of a run, for which Keras is imported only here, or exported."""
    return load(path, answering.AnswerFinder)


def _tell_unread(reader: answering.AnswerFinder, questions: Sequence[Question], stride: int | None) -> None:
    """Says what of the questions and passages is not read, or read as unknown."""
    from nlptasks.applications.reading.windows import ReadingLengths

    lengths, tokenizer = reader.lengths, reader.tokenizer
    asked = list(dict.fromkeys(question.question for question in questions if question.question.strip()))
    given = list(dict.fromkeys(passage.text for question in questions for passage in question.passages))
    of_asked, of_given = (tokenizer.encode_batch(texts, with_offsets=False) for texts in (asked, given))
    if isinstance(lengths, ReadingLengths) and (lengths.stride if stride is None else stride) is None:
        cut = sum(len(encoding) > lengths.passage_length for encoding in of_given)
        tell_cut(cut, len(given), "passages", lengths.passage_length, windows=True)
    cut = sum(len(encoding) - 1 > lengths.question_length for encoding in of_asked)
    tell_cut(cut, len(asked), "questions", lengths.question_length)
    tell_unknown(tokenizer, of_asked, asked, "questions")
    tell_unknown(tokenizer, of_given, given, "passages")


def _bar(groups: Iterable) -> Iterable:
    return progress_bar(groups, told("answering"))


def _show(question: Question, answer: str) -> None:
    print("\n" + told("question {text}", text=question.question))
    for number, passage in enumerate(question.passages, 1):
        print(told("passage {number} {text}", number=number, text=passage.text))
    nothing = told(NOTHING)
    print(
        told("answer {text}    expected {gold}", text=answer or nothing, gold=" / ".join(question.answers) or nothing)
    )


def _write_answers(path: Path, answers: Mapping[str, str]) -> None:
    lines = [f"{key}\t{' '.join(answer.split())}\n" for key, answer in answers.items()]
    write_text(path, "".join(lines))
    say(f"{path}: {len(lines)} answers")


def _table(scores: Mapping[str, Mapping[str, Any]]) -> str:
    columns = ("sogou_accuracy", "sogou_f1", "sogou_final", "cmrc_em", "cmrc_f1")
    heads = right(told("questions"), 10) + "".join(right(told(name), 16) for name in columns)
    lines = [" " * 24 + heads]
    for name, sections in scores.items():
        for section, values in sections.items():
            if values["questions"]:
                label = told(name) if section == "all" else f"  {told(section)}"
                cells = "".join(f"{values[c]:16.2f}" if "cmrc" in c else f"{values[c]:16.4f}" for c in columns)
                lines.append(f"{padded(label, 24)}{values['questions']:>10}{cells}")
    return "\n".join(lines)


def _shown(answer: answering.Answer) -> str:
    lines = [answer.text or told(NOTHING)]
    for e in answer.evidence:
        where = told(CHARACTERS, start=e.start, end=e.end) if e.start is not None else told("not literally in it")
        template = IN_WINDOW if e.window else IN_PASSAGE
        lines.append(
            "  " + told(template, passage=e.passage + 1, window=e.window + 1, probability=e.probability, where=where)
        )
    return "\n".join(lines)


COMMANDS = {"prepare": Prepare, "train": Train, "evaluate": Evaluate, "answer": Answer, "predict": Predict}
