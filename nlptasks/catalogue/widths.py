"""Text in columns of a terminal, where a Chinese character takes two."""

import re
import unicodedata

_PIECES = re.compile(r"[（「“《]*(?:[!-~]+|[^\s（「“《])[，。；：、？！）」”》…]*|\s+")


def width(text: str) -> int:
    """The number of columns that a text takes: two for a Chinese character, none for a combining mark."""
    return sum(
        0 if unicodedata.combining(character) else 2 if unicodedata.east_asian_width(character) in "WF" else 1
        for character in text
    )


def padded(text: str, columns: int) -> str:
    """A text with spaces behind it, so that it takes at least so many columns of a terminal."""
    return text + " " * (columns - width(text))


def right(text: str, columns: int) -> str:
    """A text with spaces before it, so that it takes at least so many columns of a terminal."""
    return " " * (columns - width(text)) + text


def wrapped(text: str, columns: int, indent: str = "") -> list[str]:
    """The lines of a text, none wider than `columns` if it can be helped.

    A line may end between Chinese characters, but not before a closing mark, behind an opening one or inside a word.
    """
    lines, line = [], ""
    for piece in _PIECES.findall(text):
        if line and width(indent + line + piece.rstrip()) > columns:
            lines.append(line.rstrip())
            line = ""
        line += piece if line else piece.lstrip()
    return [indent + each for each in [*lines, line.rstrip()] if each]
