"""Readers of the data files of the tasks: questions with passages, JSON lines, tab-separated columns, plain texts.

All of them read UTF-8, plain or gzip. Whatever is wrong with a file is one line that names the file, the line or the
item (counted from 1), the rule and what to do.
"""

import json
import logging
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from nlptasks.errors import JSON_NAMES
from nlptasks.files import STANDARD_INPUT, PathLike, open_text, parse_json, read_lines, read_text_blocks, write_text

logger = logging.getLogger(__name__)

_FORMATS = (
    "a list of {id, question, passages: [{passage, answer}]} (WebQA), the same as one object a line, or SQuAD's "
    "{data: [{paragraphs: [{context, qas}]}]}"
)


@dataclass(frozen=True)
class Passage:
    """A text that may answer a question.

    Attributes:
        text: the passage.
        answer: the answer that it gives, "" for none.
        start: where the answer begins in the text according to the file, which may be wrong; None if it does not say.
    """

    text: str
    answer: str
    start: int | None = field(default=None, compare=False)


@dataclass(frozen=True)
class Question:
    """A question with the passages to answer it from.

    Attributes:
        id: unique in its file.
        question: the text of the question.
        passages: at least one.
        answers: all distinct gold answers in the order of the file; empty where there is none.
    """

    id: str
    question: str
    passages: tuple[Passage, ...]
    answers: tuple[str, ...]


def read_questions(path: PathLike) -> list[Question]:
    """Read reading-comprehension data: WebQA or SogouQA (a JSON list, or JSON lines), or SQuAD and its kin.

    In WebQA's format a passage without an answer has "" or no ``answer``. In SQuAD's (also DRCD, CMRC2018 in both its
    published layouts, SQuAD 2 with unanswerable questions) a question has one passage, its paragraph, which carries the
    first gold answer; all gold answers are in ``answers``. An empty question is an error in WebQA's format and a logged
    warning in SQuAD's, because CMRC2018 was published with one.

    Args:
        path: the file, UTF-8, plain or gzip.

    Returns:
        The questions in the order of the file.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: anything wrong inside, naming the place.
    """
    questions: list[Question] = []
    places: dict[str, str] = {}
    for where, item in _items(path):
        for question, place in _parse_item(item, where):
            if question.id in places:
                raise ValueError(
                    f"{place}: the id {question.id!r} stands at {places[question.id]} already; ids must be unique, "
                    f"because predictions are stored by id."
                )
            places[question.id] = place
            questions.append(question)
    if not questions:
        raise ValueError(f"{path}: the file holds no question; expected {_FORMATS}.")
    return questions


def write_questions(questions: Iterable[Question], path: PathLike) -> None:
    """Write questions as WebQA does: a JSON list, an item a line; whole or not at all."""
    items = (
        {
            "id": question.id,
            "question": question.question,
            "passages": [{"passage": passage.text, "answer": passage.answer} for passage in question.passages],
        }
        for question in questions
    )
    write_text(path, "[\n" + ",\n".join(json.dumps(item, ensure_ascii=False) for item in items) + "\n]\n")


def _items(path: PathLike) -> Iterator[tuple[str, Any]]:
    """The top-level items of a JSON file or of JSON lines, each with its place."""
    with open_text(path) as file:
        text = file.read()
    if not text.strip():
        raise ValueError(f"{path}: the file is empty; expected {_FORMATS}.")
    try:
        data = parse_json(text, path)
    except (json.JSONDecodeError, RecursionError):
        if not _is_json_lines(text):
            _parse_json(text, path)  # raises, naming the place
        for line_number, line in read_lines(path):
            yield f"{path}:{line_number}", _parse_json(line, path, line_number)
        return
    if isinstance(data, dict):
        if not {"data", "paragraphs", "qas", "question"} & data.keys():
            raise ValueError(f"{path}: expected {_FORMATS}. Received: an object with the keys {_keys(data)}.")
        data = _get(data, "data", list, str(path)) if "data" in data else [data]
    if not isinstance(data, list):
        raise ValueError(f"{path}: expected {_FORMATS}. Received: {JSON_NAMES[type(data)]} at the top.")
    for index, item in enumerate(data, 1):
        yield f"{path}: item {index}", item


def _is_json_lines(text: str) -> bool:
    """Whether a text that is no JSON reads like JSON lines: one of the first two lines is an object by itself."""
    for line in text.strip().split("\n", 2)[:2]:
        try:
            if isinstance(json.loads(line), dict):
                return True
        except (json.JSONDecodeError, RecursionError):
            continue
    return False


def _parse_json(text: str, path: PathLike, line_number: int | None = None) -> Any:
    try:
        return parse_json(text, path, line_number or 1)
    except json.JSONDecodeError as error:
        line = error.lineno if line_number is None else line_number
        raise ValueError(
            f"{path}:{line}: invalid JSON at column {error.colno}: {error.msg}; correct the file there."
        ) from None
    except RecursionError:
        raise ValueError(f"{path}:{line_number or 1}: the JSON is nested too deeply; expected {_FORMATS}.") from None


def _parse_item(item: Any, where: str) -> Iterator[tuple[Question, str]]:
    """The questions of one top-level item, each with its place."""
    if not isinstance(item, dict):
        raise ValueError(f"{where}: expected an object. Received: {JSON_NAMES[type(item)]}.")
    if "paragraphs" in item:
        for index, paragraph in enumerate(_get(item, "paragraphs", list, where), 1):
            yield from _parse_paragraph(paragraph, f"{where}, paragraph {index}")
    elif "qas" in item:
        yield from _parse_paragraph(item, where)
    else:
        yield _parse_webqa(item, where), where


def _parse_webqa(item: dict, where: str) -> Question:
    question_id, question = _get_id(item, "id", where), _get(item, "question", str, where)
    if not question.strip():
        raise ValueError(f"{where}: the question is empty; write it, or leave the item out.")
    passages = []
    for index, entry in enumerate(_get(item, "passages", list, where), 1):
        place = f"{where}, passage {index}"
        if not isinstance(entry, dict):
            raise ValueError(f"{place}: expected {{passage, answer}}. Received: {JSON_NAMES[type(entry)]}.")
        answer = "" if entry.get("answer") is None else _get(entry, "answer", str, place)
        passages.append(Passage(_get(entry, "passage", str, place), answer))
    if not passages:
        raise ValueError(f"{where}: the question has no passages; give it at least one, or leave it out.")
    answers = dict.fromkeys(passage.answer for passage in passages if passage.answer)
    return Question(question_id, question, tuple(passages), tuple(answers))


def _parse_paragraph(paragraph: Any, where: str) -> Iterator[tuple[Question, str]]:
    if not isinstance(paragraph, dict):
        raise ValueError(f"{where}: expected {{context, qas}}. Received: {JSON_NAMES[type(paragraph)]}.")
    prefix = "context_text" in paragraph  # CMRC2018's other layout: context_text, query_text, query_id
    context = _get(paragraph, "context_text" if prefix else "context", str, where)
    for index, entry in enumerate(_get(paragraph, "qas", list, where), 1):
        place = f"{where}, question {index}"
        if not isinstance(entry, dict):
            raise ValueError(f"{place}: expected {{id, question, answers}}. Received: {JSON_NAMES[type(entry)]}.")
        question_id = _get_id(entry, "query_id" if prefix else "id", place)
        question = _get(entry, "query_text" if prefix else "question", str, place)
        if not question.strip():  # CMRC2018 was published with one, and its scorer counts it
            logger.warning("%s: the question %r is empty.", place, question_id)
        starts: dict[str, int | None] = {}  # of each answer, in their order
        for number, answer in enumerate(_get(entry, "answers", list, place) if "answers" in entry else [], 1):
            text, start = (answer, None) if isinstance(answer, str) else _answer(answer, f"{place}, answer {number}")
            if text:
                starts.setdefault(text, start)
        if entry.get("is_impossible") is True:
            starts = {}
        first, start = next(iter(starts.items()), ("", None))
        yield Question(question_id, question, (Passage(context, first, start),), tuple(starts)), place


def _answer(answer: Any, where: str) -> tuple[str, int | None]:
    if not isinstance(answer, dict):
        raise ValueError(f"{where}: expected a string or {{text}}. Received: {JSON_NAMES[type(answer)]}.")
    start = answer.get("answer_start")
    return _get(answer, "text", str, where), start if isinstance(start, int) else None


def _keys(item: Mapping[str, Any]) -> str:
    return ", ".join(sorted(map(repr, item))) or "none"


def _get(item: Mapping[str, Any], key: str, kind: type, where: str) -> Any:
    """A value that must be there and of one type."""
    if key not in item:
        raise ValueError(f"{where}: the key {key!r} is missing. Received: {_keys(item)}; add it.")
    value = item[key]
    if not isinstance(value, kind) or (isinstance(value, bool) and kind not in (bool, object)):
        raise ValueError(f"{where}: {key!r} must be {JSON_NAMES[kind]}. Received: {JSON_NAMES[type(value)]}.")
    return value


def _get_id(item: Mapping[str, Any], key: str, where: str) -> str:
    value = item.get(key)
    if isinstance(value, int) and not isinstance(value, bool):
        return str(value)
    if not (value := _get(item, key, str, where)):
        raise ValueError(f"{where}: {key!r} is empty; give the question an id of its own.")
    return value


def read_json_lines(path: PathLike, fields: Sequence[str] | Mapping[str, type]) -> Iterator[dict[str, Any]]:
    """Read a file with one JSON object a line, or a JSON list of objects.

    Args:
        path: the file, UTF-8, plain or gzip; blank lines are skipped.
        fields: the keys that every object must have; as a mapping, with the type of each (str, int, float, list, ...).

    Yields:
        A dict with these keys alone.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: an empty file, a line that is not a JSON object, a missing key, a value of another type.
    """
    return (item for _, item in read_placed_json(path, fields))


def read_placed_json(
    path: PathLike, fields: Sequence[str] | Mapping[str, type]
) -> Iterator[tuple[str, dict[str, Any]]]:
    """The same objects, each with its place: file and line, or the number of an item of a list."""
    if isinstance(fields, str):
        raise TypeError("fields must be a list of keys. Received: one str.")
    types = fields if isinstance(fields, Mapping) else dict.fromkeys(fields, object)
    for where, item in _placed_values(path):
        if not isinstance(item, dict):
            raise ValueError(f"{where}: expected a JSON object. Received: {JSON_NAMES[type(item)]}.")
        yield where, {key: _get(item, key, kind, where) for key, kind in types.items()}


def begins_json_list(line: str) -> bool:
    """Whether the first line of a file begins a JSON list of objects, and not a line of text that has a bracket."""
    return re.match(r"\s*\[\s*(\{|$)", line) is not None


def _placed_values(path: PathLike) -> Iterator[tuple[str, Any]]:
    _, first = next(read_lines(path))
    if begins_json_list(first):
        with open_text(path) as file:
            values = _parse_json(file.read(), path)
        yield from ((f"{path}: item {number}", value) for number, value in enumerate(values, 1))
        return
    for line_number, line in read_lines(path):
        yield f"{path}:{line_number}", _parse_json(line, path, line_number)


def read_tsv(path: PathLike, columns: Sequence[str]) -> Iterator[tuple[str, ...]]:
    """Read a file of tab-separated columns without header and quoting.

    Args:
        path: the file, UTF-8, plain or gzip; blank lines are skipped.
        columns: the names of the columns, for the errors; their number is checked on every line.

    Yields:
        The fields of a line.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: an empty file, a line with another number of columns.
    """
    if isinstance(columns, str):
        raise TypeError("columns must be a list of names. Received: one str.")
    for line_number, line in read_lines(path):
        fields = tuple(line.split("\t"))
        if len(fields) != len(columns):
            raise ValueError(
                f"{path}:{line_number}: expected {len(columns)} tab-separated fields ({', '.join(columns)}). Received: "
                f"{len(fields)}; correct the line."
            )
        yield fields


def read_texts(path: PathLike) -> Iterator[str]:
    """Read texts, one a line; from a file named ``.jsonl`` or ``.json`` (or with ``.gz``) the ``text`` of each object.

    Args:
        path: the file, UTF-8, plain or gzip, or - for standard input; blank lines are skipped.

    Yields:
        The texts.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: an empty file, or as `read_json_lines`.
    """
    if str(path).removesuffix(".gz").endswith((".jsonl", ".json")):
        for item in read_json_lines(path, {"text": str}):
            yield item["text"]
    elif str(path) == STANDARD_INPUT:
        for block in read_text_blocks(STANDARD_INPUT):
            yield from (line for line in block.decode().replace("\r\n", "\n").split("\n") if line.strip())
    else:
        for _, line in read_lines(path):
            yield line
