"""Readers of texts with entities: CLUENER's JSON lines, and columns of characters with BIO tags.

Offsets here are Python's: an entity is `text[start:end]`.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from nlptasks.files import PathLike, open_text, read_lines
from nlptasks.text.readers import begins_json_list, read_placed_json, read_texts

_BEGIN, _INSIDE, _END, _SINGLE = "B", ("I", "M"), "E", "S"
_COLUMN_NAMES = (".bio", ".bioes", ".bmes", ".conll")


@dataclass(frozen=True, order=True)
class Entity:
    """A piece of a text with its type.

    Attributes:
        start, end: the entity is `text[start:end]`.
        type: for instance "company".
        text: the piece itself.
        probability: how sure the model is that has found it; None where no model has. It does not count where entities
            are compared.
    """

    start: int
    end: int
    type: str
    text: str
    probability: float | None = field(default=None, compare=False)


@dataclass(frozen=True)
class EntityText:
    """A text with its entities in their order, which may overlap and nest.

    Attributes:
        place: file and line where it starts, for errors.
    """

    text: str
    entities: tuple[Entity, ...]
    place: str


def read_entities(path: PathLike) -> list[EntityText]:
    """Read texts with entities.

    A file whose first character is `{` holds JSON lines as CLUENER's: `text`, and `label`: for each type the entities
    with their first and last character, both included, from 0; one that begins with `[{` holds a list of the same. Any
    other file holds a character (or a word: the text is then all words without spaces) and its tag on a line, with a
    tab or spaces between, other columns in the middle, and an empty line behind each text. A character may be a space
    of any width. Tags: `O`, and with a type
    behind a hyphen `B`, `I` (or `M`), `E`, `S`; an `I` or `E` that continues nothing begins an entity, as in CoNLL's
    scorer.

    Args:
        path: the file, UTF-8, plain or gzip.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: an empty file, an empty text, a span that is not in the text, a tag that is none.
    """
    _, first = next(read_lines(path))
    in_json = first.lstrip().startswith("{") or begins_json_list(first)
    return list(_read_json(path) if in_json else _read_columns(path))


def read_unlabeled(path: PathLike) -> list[str]:
    """Read texts to label: those of columns as `read_entities` reads them, whose tags are left out, or plain ones.

    Columns are what a file named ``.bio``, ``.bioes``, ``.bmes`` or ``.conll`` (or with ``.gz``) holds, and any other
    whose first text has at least two lines and a tag at the end of each. Everything else is read by `read_texts`.

    Raises:
        FileNotFoundError, ValueError: as `read_entities` and `read_texts`.
    """
    name = str(path).removesuffix(".gz")
    if name.endswith(_COLUMN_NAMES) or (not name.endswith((".json", ".jsonl")) and _begins_with_columns(path)):
        return [text.text for text in _read_columns(path)]
    return list(read_texts(path))


def _begins_with_columns(path: PathLike) -> bool:
    count = 0
    with open_text(path) as file:
        for line in file:
            line = line.rstrip("\r\n")
            if not line.strip():
                if count:
                    break
                continue
            try:
                _fields(line, "")
            except ValueError:
                return False
            count += 1
    return count > 1


def _read_json(path: PathLike) -> Iterator[EntityText]:
    for place, item in read_placed_json(path, {"text": str, "label": dict}):
        text = item["text"]
        if not text.strip():
            raise ValueError(f"{place}: the text is empty; write it, or leave the line out.")
        entities = set()
        for kind, names in item["label"].items():
            if not isinstance(names, dict):
                raise ValueError(f"{place}: {kind!r} must be an object from entities to spans. Received: {names!r}.")
            for name, spans in names.items():
                for span in spans if isinstance(spans, list) else [spans]:
                    entities.add(_checked(text, kind, name, span, place))
        yield EntityText(text, tuple(sorted(entities)), place)


def _checked(text: str, kind: str, name: str, span: Any, place: str) -> Entity:
    whole = isinstance(span, list) and len(span) == 2 and all(type(value) is int for value in span)
    if not whole:
        raise ValueError(f"{place}: a span of {name!r} must be [first, last], two whole numbers. Received: {span!r}.")
    first, last = span
    if not 0 <= first <= last < len(text):
        raise ValueError(
            f"{place}: the span {span} of {name!r} ({kind}) leaves the text of {len(text)} characters; correct first "
            f"and last character, which count from 0 to {len(text) - 1}."
        )
    if text[first : last + 1] != name:
        raise ValueError(
            f"{place}: the span {span} of {name!r} ({kind}) reads {text[first : last + 1]!r}; correct the span or the "
            "entity (first and last character, both included)."
        )
    return Entity(first, last + 1, kind, name)


def _read_columns(path: PathLike) -> Iterator[EntityText]:
    tokens: list[str] = []
    tags: list[tuple[str, str]] = []
    start = 1
    with open_text(path) as file:
        for number, line in enumerate(file, 1):
            line = line.rstrip("\r\n")
            if not line.strip():
                if tokens:
                    yield _from_tags(tokens, tags, f"{path}:{start}")
                tokens, tags = [], []
                continue
            if not tokens:
                start = number
            token, tag = _fields(line, f"{path}:{number}")
            tokens.append(token)
            tags.append(tag)
    if tokens:
        yield _from_tags(tokens, tags, f"{path}:{start}")


def _fields(line: str, place: str) -> tuple[str, tuple[str, str]]:
    if "\t" in line:
        fields = line.split("\t")
    else:  # the first sign is the character, whatever it is: a space of any width, too
        rest, *others = line[1:].split(" ")
        fields = [(line[0] + rest).strip(" ") or " ", *filter(None, others)]
    if len(fields) < 2 or not fields[0]:
        raise ValueError(
            f"{place}: expected a character and its tag, with a tab or a space between. Received: {line[:40]!r}."
        )
    letter, _, kind = fields[-1].partition("-")
    known = letter in (_BEGIN, *_INSIDE, _END, _SINGLE) and kind
    if fields[-1] != "O" and not known:
        raise ValueError(
            f"{place}: {fields[-1]!r} is not a tag; expected O, or B, I, M, E or S with a type, as in B-company."
        )
    return fields[0], (letter, kind)


def _from_tags(tokens: list[str], tags: list[tuple[str, str]], place: str) -> EntityText:
    text, entities = "".join(tokens), []
    if not text.strip():
        raise ValueError(f"{place}: the text is empty; write it, or leave the line out.")
    starts = [0]
    for token in tokens:
        starts.append(starts[-1] + len(token))
    opened: int | None = None
    for i, (letter, kind) in enumerate(tags):
        if letter == "O":
            opened = None
            continue
        if opened is None or letter in (_BEGIN, _SINGLE):
            opened = i
        following = tags[i + 1] if i + 1 < len(tags) else ("O", "")
        goes_on = letter not in (_END, _SINGLE) and following[0] in (*_INSIDE, _END) and following[1] == kind
        if not goes_on:
            start, end = starts[opened], starts[i + 1]
            entities.append(Entity(start, end, kind, text[start:end]))
            opened = None
    return EntityText(text, tuple(entities), place)
