"""A page that shades a text by how much its characters count, and the same as JSON values."""

from collections.abc import Mapping, Sequence
from html import escape
from typing import Any

import numpy as np

from nlptasks.explain.explained import Explained
from nlptasks.explain.methods import Integrated

_STYLE = (
    "body{font-family:sans-serif;max-width:50em;margin:2em auto;line-height:1.8}"
    ".for{color:#a21}.against{color:#14a}td{padding-right:1em}"
)


def of_characters(explained: Explained, scores: np.ndarray) -> list[np.ndarray]:
    """For each text a number for each character: that of its token, 0 where no token stands."""
    found = [np.zeros(len(text)) for text in explained.texts]
    for place, score in zip(explained.places, scores, strict=True):
        if place is not None:
            text, start, end = place
            found[text][start:end] = score
    return found


def as_values(explained: Explained, integrated: Integrated, others: Mapping[str, np.ndarray]) -> dict[str, Any]:
    """An explanation as JSON values."""
    tokens = []
    for i, place in enumerate(explained.places):
        if place is None:
            continue
        text, start, end = place
        row: dict[str, Any] = {"text": text, "start": start, "end": end, "token": explained.texts[text][start:end]}
        row["integrated_gradients"] = round(float(integrated.scores[i]), 6)
        row |= {name: round(float(scores[i]), 6) for name, scores in others.items()}
        tokens.append(row)
    return {
        "explained": explained.what,
        "value": round(integrated.value, 6),
        "baseline_value": round(integrated.baseline_value, 6),
        "steps": integrated.steps,
        "completeness_error": round(integrated.error, 6),
        "complete": integrated.complete,
        "texts": list(explained.texts),
        "tokens": tokens,
    }


def draw(explained: Explained, integrated: Integrated, others: Mapping[str, np.ndarray]) -> str:
    """A self-contained HTML page: the texts, shaded once for each method."""
    parts = [
        f"<!doctype html><html lang=zh><meta charset=utf-8><title>{escape(explained.what)}</title>",
        f"<style>{_STYLE}</style><h1>{escape(explained.what)}: {integrated.value:.3f}</h1>",
        f"<p>{integrated.baseline_value:.3f} without the text; the scores of its tokens sum up to the difference, "
        f"{integrated.value - integrated.baseline_value:+.3f}, within {integrated.error:.4f} ({integrated.steps} "
        "steps). <span class=for>red</span>: speaks for it; <span class=against>blue</span>: speaks against it.</p>",
    ]
    for name, scores in {"integrated_gradients": integrated.scores, **others}.items():
        parts.append(f"<h2>{escape(name.replace('_', ' '))}</h2>")
        largest = max(float(np.abs(scores).max()), 1e-12)
        shaded = of_characters(explained, scores)
        parts += [f"<p>{_shaded(text, each, largest)}</p>" for text, each in zip(explained.texts, shaded, strict=True)]
    return "\n".join([*parts, "</html>", ""])


def _shaded(text: str, scores: np.ndarray | Sequence[float], largest: float) -> str:
    spans = []
    for char, score in zip(text, scores, strict=True):
        color = "220,60,40" if score > 0 else "40,90,220"
        style = f"background:rgba({color},{abs(score) / largest:.2f})"
        spans.append(f"<span style='{style}' title='{score:+.4f}'>{escape(char)}</span>")
    return "".join(spans)
