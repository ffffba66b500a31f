"""How a line of input becomes an item of an application, and a result what is written."""

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from nlptasks.errors import UserError

DIGITS = 6
"""digits behind the point of probabilities and scores"""


@dataclass(frozen=True)
class Form:
    """What an application reads and gives.

    Attributes:
        item: makes an item from the fields of a line; ValueError: what it lacks.
        answer: makes fields of a result.
        settings: the arguments that `predict` takes beside the items.
        seeded: whether the results of a call depend on a `seed` and the place in the call.
    """

    item: Callable[[Mapping[str, Any]], Any]
    answer: Callable[[Any], dict[str, Any]]
    settings: tuple[str, ...] = ()
    seeded: bool = False


def form_of(application: Any) -> Form:
    """The form of what `nlptasks.load_any` returns."""
    form = FORMS[getattr(application, "task", FILLING)]
    return replace(form, item=_pair) if getattr(application, "pair", False) else form


def require_settings(task: str | None, given: Mapping[str, Any]) -> None:
    """Refuses arguments that an application does not take.

    Args:
        task: as a model's config names it; None: a pretrained Transformer, which fills masks.

    Raises:
        UserError: naming them, and those that it takes.
    """
    if task is not None and task not in FORMS:
        raise UserError(
            "{field:model}: a {task} model is not run over files; what is: {known}.", task=task, known=", ".join(FORMS)
        )
    form = FORMS[task or FILLING]
    if unknown := [name for name in given if name not in form.settings]:
        raise UserError(
            "{field:arguments}: this application takes {known}. Received: {unknown}.",
            known=", ".join(form.settings) or "no arguments",
            unknown=", ".join(unknown),
        )


def _of_type(row: Mapping[str, Any], name: str, kind: type) -> Any:
    if name not in row:
        raise ValueError(f"the field {name} is missing")
    if not isinstance(row[name], kind):
        raise ValueError(f"the field {name} must be a {'text' if kind is str else 'list'}")
    return row[name]


def _text(row: Mapping[str, Any]) -> str:
    text: str = _of_type(row, "text", str)
    if not text.strip():
        raise ValueError("the text is empty")
    return text


def _any_text(row: Mapping[str, Any]) -> str:
    text: str = _of_type(row, "text", str)
    return text


def _pair(row: Mapping[str, Any]) -> tuple[str, str]:
    return _text(row), _text({"text": _of_type(row, "second_text", str)})


def _question(row: Mapping[str, Any]) -> tuple[str, list[str]]:
    question, passages = _of_type(row, "question", str), _of_type(row, "passages", list)
    if not question.strip() or not passages:
        raise ValueError("there must be a question, and at least one passage")
    if not all(isinstance(passage, str) and passage.strip() for passage in passages):
        raise ValueError("every passage must be a text that is not empty")
    return question, passages


def _condition(row: Mapping[str, Any]) -> Any:
    condition = row.get("condition", {})
    if not isinstance(condition, dict | list):
        raise ValueError("the field condition must be an object of labels or a list of numbers")
    return condition


def _classified(found: Any) -> dict[str, Any]:
    return {"labels": list(found.labels), "scores": {name: round(x, DIGITS) for name, x in found.scores.items()}}


def _labeled(found: Sequence[Any]) -> dict[str, Any]:
    return {"entities": [{"start": e.start, "end": e.end, "type": e.type, "text": e.text} for e in found]}


def _answered(found: Any) -> dict[str, Any]:
    fields: dict[str, Any] = _rounded(dataclasses.asdict(found))
    return {"answer": fields.pop("text"), **fields}


def _written(found: Any) -> dict[str, Any]:
    fields: dict[str, Any] = _rounded(dataclasses.asdict(found))
    return {"written": fields.pop("text"), **fields}


def _filled(found: Sequence[Any]) -> dict[str, Any]:
    return {"masks": _rounded([dataclasses.asdict(mask) for mask in found])}


def _vector(found: Any) -> dict[str, Any]:
    return {"vector": [float(f"{x:.7g}") for x in found.tolist()]}


def _rounded(value: Any) -> Any:
    """Numbers with `DIGITS` digits behind the point."""
    if isinstance(value, float):
        return round(value, DIGITS)
    if isinstance(value, dict):
        return {name: _rounded(one) for name, one in value.items()}
    return [_rounded(one) for one in value] if isinstance(value, list | tuple) else value


FILLING = "filling"
LIGHT = ("word_segmentation", "sentence_similarity")
"""tasks whose models run without Keras, or load it if theirs is a network"""
SAMPLING = ("prompt", "max_length", "min_length", "temperature", "top_k", "top_p", "seed", "guidance")
WRITING = (
    *("search", "beam_size", "length_penalty", "temperature", "top_k", "top_p", "seed", "prompt", "max_length"),
    *("min_length", "length", "length_strength", "only_source", "only_characters", "extract", "copy_bonus"),
    *("whole_words", "no_repeat", "repetition_penalty"),
)
FORMS = {
    "word_segmentation": Form(_any_text, lambda words: {"words": words}, ("standard",)),
    "text_classification": Form(_text, _classified),
    "sentence_similarity": Form(_text, _vector),
    "sequence_labeling": Form(_text, _labeled),
    "reading_comprehension": Form(_question, _answered, ("mode", "beam_size", "stride")),
    "conditional_generation": Form(_condition, _written, (*SAMPLING, "repetition_penalty"), seeded=True),
    "sequence_to_sequence": Form(_text, _written, WRITING, seeded=True),
    FILLING: Form(_text, _filled, ("top",)),
}
"""task -> its form; a classifier of pairs reads two texts"""
