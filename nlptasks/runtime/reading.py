"""An exported reader.

Legend: R rows (one a window), T and S positions.
"""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np

from nlptasks.applications.reading.answering import AnswerFinder
from nlptasks.applications.reading.spans import SpanDecoder
from nlptasks.applications.reading.windows import ReadingLengths, SpanLengths
from nlptasks.runtime.decoding import CachedGraphs
from nlptasks.runtime.graphs import open_graph, open_graphs
from nlptasks.runtime.search import log_softmax
from nlptasks.runtime.stored import read_stored, wrong_settings
from nlptasks.runtime.voting import VotingDecoder

_NEVER = np.float32(-1e9)


class ExportedReader(AnswerFinder):
    """A reader on onnxruntime, with the verbs of `Reader`; the passages vote on NumPy.

        reader = nlptasks.load("exported/reader")
        reader.answer("沈月白生于哪年？", ["沈月白生于1921年。"]).text

    Args:
        directory: that `nlptasks export` has written.

    Raises:
        ValueError, FileNotFoundError: one line: what is missing or damaged.
    """

    def __init__(self, directory: str | Path) -> None:
        directory = Path(directory)
        stored = read_stored(directory)
        settings, tokenizer = stored.settings, stored.tokenizer
        try:
            method, threshold, sizes = (settings.pop(name) for name in ("method", "threshold", "sizes"))
            lengths = SpanLengths(**settings) if method == "span" else ReadingLengths(**settings)
        except (TypeError, KeyError) as error:
            raise wrong_settings(directory, error) from None
        super().__init__(tokenizer, lengths, method, threshold)
        if isinstance(lengths, SpanLengths):
            run, most = open_graph(directory / "model.onnx"), lengths.answer_length

            def find(token_ids_RT: Any, segment_ids_RT: Any, inside_RT: Any) -> tuple[np.ndarray, ...]:
                start_RT, end_RT = run(token_ids_RT, segment_ids_RT)
                return best_spans(start_RT, end_RT, inside_RT, most)

            self._decoder = SpanDecoder(find, tokenizer, lengths)
            return
        first, following = open_graphs(directory, "prefix", "step")
        steps = CachedGraphs(first, following, SimpleNamespace(**sizes))
        self._decoder = VotingDecoder(steps, tokenizer.sep_id, tokenizer.pad_id)

    @classmethod
    def from_directory(cls, directory: str | Path) -> "ExportedReader":
        """Opens what `nlptasks export` has written."""
        return cls(directory)


def best_spans(
    start_RT: np.ndarray, end_RT: np.ndarray, inside_RT: np.ndarray, most: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """The best span of each row on NumPy; arguments and result as `span.best_spans`."""
    length = start_RT.shape[1]
    apart_TS = np.arange(length)[None, :] - np.arange(length)[:, None]
    allowed_RTS = inside_RT[:, :, None] & inside_RT[:, None, :] & (apart_TS >= 0) & (apart_TS < most)
    flat = np.where(allowed_RTS, start_RT[:, :, None] + end_RT[:, None, :], _NEVER).reshape(len(start_RT), -1)
    best_R, top_R = flat.argmax(axis=1), flat.max(axis=1)
    possible_RT = inside_RT | (np.arange(length) == 0)
    partition_R = sum(_log_sum(np.where(possible_RT, each, _NEVER)) for each in (start_RT, end_RT))
    return best_R // length, best_R % length, top_R - start_RT[:, 0] - end_RT[:, 0], top_R - partition_R


def _log_sum(values_RT: np.ndarray) -> np.ndarray:
    return values_RT[:, 0] - log_softmax(values_RT)[:, 0]
