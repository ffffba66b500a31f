"""`nlptasks discovery templates`: what many sentences share."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from nlptasks.applications.options import require_input, require_output
from nlptasks.applications.segmentation.segmenter import Segmenter
from nlptasks.discovery.templates import Template, TemplateRules, find_templates
from nlptasks.files import write_text
from nlptasks.opening import load
from nlptasks.text import read_texts
from nlptasks.train.options import TextFiles, require_at_least


@dataclass(kw_only=True)
class Templates(TemplateRules, TextFiles):
    """Find the templates of sentences: fixed words in order, with slots (*) between them, and what fills the slots."""

    input: Path
    """file with one sentence per line, or JSON lines with `text`"""
    output: Path | None = None
    """file to write; default: standard output. Lines of template, number of sentences, and the fillers of each slot"""
    segmenter: str = "segmenter"
    """what cuts words: run directory, or segmenter: the model that comes with the package"""
    fillers: int = 5
    """number of fillers to show for each slot"""
    json: bool = False
    """write a JSON object a line: parts (null is a slot), frequency, fillers"""

    def check(self) -> None:
        """Refuses values that are out of range."""
        super().check()
        require_at_least(self, 1, "fillers")

    def run(self) -> None:
        """Cuts, finds, writes."""
        require_input(self.input)
        require_output(self.output, self.input)
        segmenter = load(self.segmenter, Segmenter)
        cut = segmenter.segment([" ".join(text.split()) for text in read_texts(self.input)])
        sentences = [[word for word in words if word.strip()] for words in cut]
        lines = [self._line(each) for each in find_templates(sentences, self)]
        if self.output is not None:
            write_text(self.output, "".join(f"{line}\n" for line in lines))
        elif lines:
            print("\n".join(lines))

    def _line(self, found: Template) -> str:
        shown = [slot.most_common(self.fillers) for slot in found.fillers]
        if self.json:
            row: dict[str, Any] = {"parts": found.parts, "frequency": found.frequency, "fillers": shown}
            return json.dumps(row, ensure_ascii=False)
        slots = [" ".join(f"{filler}({number})" for filler, number in slot) for slot in shown]
        return "\t".join([str(found), str(found.frequency), *slots])
