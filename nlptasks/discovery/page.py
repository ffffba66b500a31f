"""A page that shows communities: a map of circles, and the sentences of the one that is clicked; one file."""

import html
import json
import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

SHOWN, EXAMPLES = 300, 50
"""the largest communities are drawn, each with so many sentences"""
WIDTH, HEIGHT, ROUNDS = 960, 640, 300
_PAGE = """<!doctype html>
<html lang="zh"><head><meta charset="utf-8"><title>{title}</title><style>
body {{ font: 15px/1.5 sans-serif; margin: 1.5em auto; max-width: 1000px; color: #222; }}
svg {{ width: 100%; border: 1px solid #ddd; border-radius: 6px; }}
circle {{ stroke: #fff; cursor: pointer; }} circle.chosen {{ stroke: currentColor; stroke-width: 3; }}
ol {{ columns: 22em; }} li {{ break-inside: avoid; }}
text {{ pointer-events: none; text-anchor: middle; fill: #111; }}
@media (prefers-color-scheme: dark) {{ body {{ background: #181818; color: #ddd; }} svg {{ border-color: #444; }} }}
</style></head><body><h1>{title}</h1><p>{about}</p>
<svg viewBox="0 0 {width} {height}" role="img" aria-label="{title}">{circles}</svg>
<h2 id="name"></h2><ol id="texts"></ol>
<script type="application/json" id="data">{data}</script><script>
const groups = JSON.parse(document.getElementById("data").textContent);
function show(number) {{
  const group = groups[number];
  document.getElementById("name").textContent = group.name + " (" + group.size + ")";
  document.getElementById("texts").replaceChildren(...group.texts.map(text => {{
    const item = document.createElement("li"); item.textContent = text; return item; }}));
  document.querySelectorAll("circle").forEach((each, i) => each.classList.toggle("chosen", i === number));
}}
document.querySelectorAll("circle").forEach((each, i) => each.addEventListener("click", () => show(i)));
if (groups.length) show(0);
</script></body></html>
"""


@dataclass(frozen=True)
class Group:
    """A community as the page shows it.

    Attributes:
        name: its typical words.
        texts: some of its sentences, the most central first.
        size: how many it has.
        center: the mean of their vectors.
    """

    name: str
    texts: Sequence[str]
    size: int
    center: np.ndarray


def page(title: str, about: str, groups: Sequence[Group]) -> str:
    """The page, as HTML with everything in it; groups of the same topic lie beside each other."""
    groups = sorted(groups, key=lambda group: -group.size)[:SHOWN]
    circles = []
    if groups:
        radii = np.sqrt([group.size for group in groups])
        radii *= math.sqrt(0.45 * WIDTH * HEIGHT / math.pi / np.square(radii).sum())
        radii = np.clip(radii, 3, HEIGHT / 3)
        places = _places(np.stack([group.center for group in groups]), radii)
        for number, (group, (x, y), radius) in enumerate(zip(groups, places, radii, strict=True)):
            name = html.escape(group.name)
            hue = number * 137.5 % 360
            circles.append(
                f'<circle cx="{x:.1f}" cy="{y:.1f}" r="{radius:.1f}" fill="hsl({hue:.0f} 60% 75%)">'
                f"<title>{name} ({group.size})</title></circle>"
            )
            if radius > 18:
                circles.append(_label(group.name, x, y, radius))
    rows = [{"name": each.name, "size": each.size, "texts": list(each.texts)[:EXAMPLES]} for each in groups]
    data = json.dumps(rows, ensure_ascii=False).replace("<", "\\u003c")  # no text ends the script
    return _PAGE.format(
        title=html.escape(title),
        about=html.escape(about),
        circles="".join(circles),
        data=data,
        width=WIDTH,
        height=HEIGHT,
    )


def _label(name: str, x: float, y: float, radius: float) -> str:
    """The words of a name within its circle, three and more of them in two lines."""
    words = name.split()
    half = (len(words) + 1) // 2 if len(words) > 2 else len(words)
    lines = [" ".join(part) for part in (words[:half], words[half:]) if part]
    widest = max((sum(0.55 if sign.isascii() else 1.0 for sign in line) for line in lines), default=1.0)
    size = max(8.0, min(20.0, 1.6 * radius / widest))
    first = y + size / 3 - 0.6 * size * (len(lines) - 1)
    spans = (
        f'<tspan x="{x:.1f}" y="{first + 1.2 * size * number:.1f}">{html.escape(line)}</tspan>'
        for number, line in enumerate(lines)
    )
    return f'<text font-size="{size:.1f}">{"".join(spans)}</text>'


def _places(centers: np.ndarray, radii: np.ndarray) -> np.ndarray:
    """Places (G, 2) of circles: the two main axes of their centers, then moved apart until hardly any overlap."""
    centered = centers - centers.mean(axis=0)
    axes = np.linalg.svd(centered, full_matrices=False)[2][:2]
    places = np.zeros((len(centers), 2))
    places[:, : len(axes)] = centered @ axes.T
    spread = np.abs(places).max(axis=0)
    margin = np.array([WIDTH, HEIGHT]) / 2
    places = margin + 0.8 * margin * places / np.where(spread > 0, spread, 1)
    reach = radii[:, None] + radii[None, :] + 2
    step = np.arange(len(places))
    places += 0.01 * np.stack([np.cos(step), np.sin(step)], axis=1)  # no two at one place
    for _ in range(ROUNDS):
        apart = places[:, None] - places[None, :]
        distance = np.maximum(np.linalg.norm(apart, axis=2), 1e-6)
        overlap = np.maximum(reach - distance, 0)
        np.fill_diagonal(overlap, 0)
        places += 0.25 * (apart / distance[:, :, None] * overlap[:, :, None]).sum(axis=1)
        low = np.minimum(radii, HEIGHT / 2)[:, None]
        places = np.clip(places, low, 2 * margin - low)
    return places
