"""`nlptasks similarity calibrate`: a calibration for an encoder, fitted on texts, and what it changes on pairs."""

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from nlptasks.applications.options import require_input
from nlptasks.applications.results import say_ready
from nlptasks.applications.similarity.calibrating import CalibrationOptions, calibrate_encoder
from nlptasks.applications.similarity.encoder import SentenceEncoder
from nlptasks.console import padded, say
from nlptasks.errors import UserError, told
from nlptasks.files import read_lines
from nlptasks.metrics.similarity import score_pairs
from nlptasks.text import read_texts
from nlptasks.text.groups import Pairs, read_groups, read_pairs
from nlptasks.train.options import TextFiles


@dataclass(kw_only=True)
class Calibrate(CalibrationOptions, TextFiles):
    """Spread out the vectors of an encoder by whitening or a flow, learnt from texts without labels."""

    texts: tuple[Path, ...]
    """files to learn from: plain sentences, groups or pairs, of which the sentences are read"""
    pairs: tuple[Path, ...] = ()
    """files of pairs (text TAB text TAB 0 or 1) to score before and after; their sentences are not learnt from"""
    leave_out: tuple[Path, ...] = ()
    """further files whose sentences are not learnt from"""
    json: bool = False
    """write a JSON object as the last line of the output"""

    def check(self) -> None:
        """Refuses values that are out of range or contradict each other."""
        super().check()
        for path in self.pairs:
            if any(
                path == other or (path.exists() and other.exists() and path.samefile(other)) for other in self.texts
            ):
                raise UserError(
                    "{path}: stands in {field:texts} and in {field:pairs}; what is scored is not learnt from.",
                    path=path,
                )

    def run(self) -> None:
        """Reads, fits, scores."""
        require_input(*self.texts, *self.pairs, *self.leave_out)
        scored = {path: read_pairs(path) for path in self.pairs}
        left_out = {sentence for pairs in scored.values() for sentence in (*pairs.first, *pairs.second)}
        left_out |= {sentence for path in self.leave_out for sentence in sentences_of(path)}
        given = list(dict.fromkeys(sentence for path in self.texts for sentence in sentences_of(path)))
        texts = [sentence for sentence in given if sentence not in left_out]
        if len(texts) < len(given):
            left = len(given) - len(texts)
            say(f"{left} of {len(given)} texts are left out: they are scored, or stand in other files")
        before = self.encoder()
        after = calibrate_encoder(self, before, texts)
        say_ready(self.output, "evaluate, index and search")
        table = {str(path): _change(before, after, pairs) for path, pairs in scored.items()}
        for name, scores in table.items():
            print(name)
            for when, values in scores.items():
                shown = [f"{told(k)} {v if isinstance(v, int) else f'{v:.4f}'}" for k, v in values.items()]
                print(f"  {padded(told(when), 12)} {'  '.join(shown)}")
        if self.json:
            print(json.dumps({"scores": table}, ensure_ascii=False))


def sentences_of(path: Path) -> Sequence[str]:
    """The sentences of a file of groups, pairs or plain sentences."""
    return list(_sentences(path))


def _sentences(path: Path) -> Iterator[str]:
    count = next(iter(read_lines(path)))[1].count("\t") + 1
    if count == 3:
        pairs = read_pairs(path)
        yield from (*pairs.first, *pairs.second)
    elif count == 2:
        yield from read_groups([path]).sentences
    else:
        yield from read_texts(path)


def _change(before: SentenceEncoder, after: SentenceEncoder, pairs: Pairs) -> dict[str, dict[str, float]]:
    """Scores of pairs, before and after."""
    cosines = {
        "uncalibrated": before.similarity(pairs.first, pairs.second),
        "calibrated": after.similarity(pairs.first, pairs.second),
    }
    return {when: score_pairs(np.asarray(values), pairs.labels) for when, values in cosines.items()}
