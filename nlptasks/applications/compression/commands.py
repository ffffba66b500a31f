"""BERT-of-Theseus: compress a fine-tuned classifier, labeler or reader into one with fewer layers.

    nlptasks compression train --task classification --train A.jsonl --valid B.jsonl \
        --checkpoint DIR --successor-layers 6 --output runs/small
    nlptasks compression train --task labeling --train A.jsonl --valid B.jsonl \
        --predecessor runs/ner --successor-layers 3 --output runs/small_ner

Three stages: the predecessor is fine-tuned (or given), its groups of layers are replaced by single layers while these
are trained, and the successor alone is fine-tuned. The result is an ordinary model directory, used like any other: with
evaluate and predict of the task's own commands, or `nlptasks.load`. The method and its scores: docs/theseus.md.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from nlptasks.applications.compression.training import CompressionOptions, Stage, compress
from nlptasks.applications.results import say_ready
from nlptasks.console import padded, right
from nlptasks.errors import told
from nlptasks.train.options import TextFiles


@dataclass(kw_only=True)
class Train(CompressionOptions, TextFiles):
    """Fine-tune a model, replace its layers by fewer, fine-tune the small model; Ctrl-C saves the run in any stage."""

    def run(self) -> None:
        """Runs the stages that are not finished, and prints what each has made."""
        found = compress(self)
        print(_table(found.score_name, found.stages))
        say_ready(self.output, f"evaluate and predict of nlptasks {found.application}", found.learned)


def _table(score_name: str, stages: Sequence[Stage]) -> str:
    heads = right(told("layers"), 8) + right(told("parameters"), 14) + right("MB", 8) + right(told(score_name), 12)
    lines = [" " * 16 + heads]
    for stage in stages:
        sizes = f"{stage.layers:>8}{stage.parameters:>14,}{stage.megabytes:>8.1f}"
        lines.append(f"{padded(told(stage.name), 16)}{sizes}{stage.score:>12.2f}")
    return "\n".join(lines)


COMMANDS = {"train": Train}
