"""How commands show what a model found: JSON lines in a file, and a table of precision, recall and F1."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from nlptasks.console import padded, right, say, width
from nlptasks.errors import told
from nlptasks.files import write_text

READY = "{output}: ready for {verbs}"


def say_ready(output: Path, verbs: str, learned: bool = True) -> None:
    """Says what can be done with a run directory, unless the run has learned nothing, which was said already."""
    if learned:
        say(READY, output=output, verbs=verbs)


def write_rows(path: Path, rows: Sequence[Mapping[str, Any]]) -> None:
    """Writes a JSON object a line, one for each text, and says how many."""
    write_text(path, "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows))
    say(f"{path}: {len(rows)} texts")


def f1_table(head: str, scores: Mapping[str, Mapping[str, Any]]) -> list[str]:
    """The lines of a table of `support`, `precision`, `recall` and `f1`, one line for each name; `head` is above the
    names.
    """
    first = max(24, *(2 + width(name) for name in (head, *scores)))
    heads = (
        right(told("support"), 10) + right(told("precision"), 12) + right(told("recall"), 10) + right(told("f1"), 10)
    )
    lines = [padded(head, first) + heads]
    for name, one in scores.items():
        numbers = f"{one['support']:>10}{one['precision']:>12.2f}{one['recall']:>10.2f}{one['f1']:>10.2f}"
        lines.append(padded(name, first) + numbers)
    return lines
