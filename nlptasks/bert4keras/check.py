"""Reads a script of bert4keras without running it, and says of each of its names what it is here."""

import ast
from typing import NamedTuple

from nlptasks.bert4keras.names import ATTRIBUTES, MISSING, NAMES, OTHER

SAME, DIFFERENT, ABSENT = "same", "other meaning", "not available"


class Finding(NamedTuple):
    """One name of a script."""

    line: int
    name: str
    state: str
    advice: str


def check_source(source: str | bytes, path: str = "script") -> list[Finding]:
    """What each name of bert4keras in a script is here, in the order of the lines.

        check_source("K.get_session()")[0].state  # "not available"

    Args:
        source: the script; bytes are read in the encoding that their first lines name, by default UTF-8.
        path: its name in an error.

    Raises:
        SyntaxError: it is no Python.
    """
    reader = _Reader()
    reader.visit(ast.parse(source, path))
    return sorted(set(reader.found))


class _Reader(ast.NodeVisitor):
    def __init__(self) -> None:
        self.found: list[Finding] = []
        self.backends = {"K"}
        """names that stand for keras.backend"""

    def _tell(self, line: int, module: str, name: str) -> None:
        key = f"{module}.{name}"
        shown = key if module == "K" else f"bert4keras.{key}"
        if key in MISSING:
            self.found.append(Finding(line, shown, ABSENT, MISSING[key]))
        elif key in OTHER:
            self.found.append(Finding(line, shown, DIFFERENT, OTHER[key]))
        elif module == "K" or name in NAMES[module].split() or name == "*" or module in ("layers", "models"):
            self.found.append(Finding(line, shown, SAME, ""))
        else:
            self.found.append(Finding(line, shown, ABSENT, "bert4keras 0.11.5 has no such name"))

    def visit_ImportFrom(self, node: ast.ImportFrom) -> None:
        package, _, module = (node.module or "").partition(".")
        for alias in node.names:
            if package == "bert4keras" and module in NAMES:
                self._tell(node.lineno, module, alias.name)
            if alias.name == "backend" and package == "keras":
                self.backends.add(alias.asname or alias.name)
        self.generic_visit(node)

    def visit_Import(self, node: ast.Import) -> None:
        for alias in node.names:
            if alias.name == "keras.backend" and alias.asname:
                self.backends.add(alias.asname)

    def visit_Attribute(self, node: ast.Attribute) -> None:
        if isinstance(node.value, ast.Name) and node.value.id in self.backends:
            self._tell(node.lineno, "K", node.attr)
        elif node.attr in ATTRIBUTES:
            self.found.append(Finding(node.lineno, f".{node.attr}", ABSENT, ATTRIBUTES[node.attr]))
        self.generic_visit(node)


def summary(findings: list[Finding]) -> str:
    """One line on how many names are what."""
    names = {finding.name: finding.state for finding in findings}
    counts = [f"{list(names.values()).count(state)} {state}" for state in (SAME, DIFFERENT, ABSENT)]
    return f"{len(names)} {'name' if len(names) == 1 else 'names'}: {', '.join(counts)}"
