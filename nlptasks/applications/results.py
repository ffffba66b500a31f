"""How commands show what a model found: JSON lines in a file, and a table of precision, recall and F1."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from nlptasks.console import say
from nlptasks.files import write_text


def write_rows(path: Path, rows: Sequence[Mapping[str, Any]]) -> None:
    """Writes a JSON object a line, one for each text, and says how many."""
    write_text(path, "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows))
    say(f"{path}: {len(rows)} texts")


def f1_table(head: str, scores: Mapping[str, Mapping[str, Any]]) -> list[str]:
    """The lines of a table of `support`, `precision`, `recall` and `f1`, one line for each name; `head` is above the
    names.
    """
    lines = [f"{head:24}{'support':>10}{'precision':>12}{'recall':>10}{'f1':>10}"]
    for name, one in scores.items():
        lines.append(f"{name:24}{one['support']:>10}{one['precision']:>12.2f}{one['recall']:>10.2f}{one['f1']:>10.2f}")
    return lines
