"""Draws the floors of the library from its imports, as a Mermaid graph for docs/architecture.md and its Chinese page.

python docs/draw_architecture.py            # prints the graph
python docs/draw_architecture.py --write    # puts it into both pages
"""

import ast
import re
import sys
from pathlib import Path

ROOT = Path(__file__).parents[1]
PAGES = (ROOT / "docs" / "architecture.md", ROOT / "docs" / "zh" / "architecture.md")
EVERYWHERE = {"files", "encodings", "errors", "__init__", "__main__"}
"""modules that everybody may import: their arrows would hide the others; and the door of `python -m nlptasks`"""
BLOCK = re.compile(r"```mermaid\n.*?```\n", re.DOTALL)


def rooms() -> dict[str, set[str]]:
    """The parts of the library, and which others each imports."""
    found: dict[str, set[str]] = {}
    for path in sorted((ROOT / "nlptasks").rglob("*.py")):
        room = path.relative_to(ROOT / "nlptasks").parts[0].removesuffix(".py")
        if room not in EVERYWHERE:
            found.setdefault(room, set()).update(_imported(path.read_text(encoding="utf-8")) - EVERYWHERE - {room})
    return found


def _imported(source: str) -> set[str]:
    names = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and not node.level:
            names |= {f"{node.module}.{alias.name}" for alias in node.names}
    return {name.split(".")[1] for name in names if name.startswith("nlptasks.")}


def floors(arrows: dict[str, set[str]]) -> dict[str, int]:
    """How high each part stands: above everything that it imports.

    Raises:
        ValueError: parts import each other in a circle.
    """
    heights: dict[str, int] = {}
    while len(heights) < len(arrows):
        ready = [room for room, below in arrows.items() if room not in heights and below <= heights.keys()]
        if not ready:
            raise ValueError(f"a circle of imports among {', '.join(sorted(arrows.keys() - heights.keys()))}")
        heights |= {room: 1 + max((heights[other] for other in arrows[room]), default=-1) for room in ready}
    return heights


def graph() -> str:
    """The Mermaid graph: a row a floor, and the arrows that no longer way stands for."""
    arrows = rooms()
    heights = floors(arrows)
    lines = ["```mermaid", "graph TD"]
    for height in sorted(set(heights.values()), reverse=True):
        members = " ~~~ ".join(f"{room}" for room in sorted(heights) if heights[room] == height)
        lines.append(f"  {members}")
    for room in sorted(arrows, key=lambda name: (-heights[name], name)):
        below = arrows[room]
        direct = {other for other in below if not any(other in _reached(arrows, step) for step in below - {other})}
        lines += [f"  {room} --> {other}" for other in sorted(direct)]
    return "\n".join([*lines, "```"]) + "\n"


def _reached(arrows: dict[str, set[str]], start: str) -> set[str]:
    reached, todo = set(), [start]
    while todo:
        for other in arrows[todo.pop()] - reached:
            reached.add(other)
            todo.append(other)
    return reached


if __name__ == "__main__":
    if sys.argv[1:] == ["--write"]:
        for page in PAGES:
            page.write_text(BLOCK.sub(lambda _: graph(), page.read_text(encoding="utf-8")), encoding="utf-8")
    else:
        print(graph(), end="")
