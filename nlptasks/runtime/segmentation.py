"""An exported segmenter.

Legend: N units, R rows: units, and padding between lines.
"""

from pathlib import Path
from typing import Any

import numpy as np

from nlptasks.applications.segmentation.config import SegmentationConfig
from nlptasks.applications.segmentation.runtime import MARGIN
from nlptasks.applications.segmentation.segmenter import Segmenter
from nlptasks.applications.segmentation.vocab import PAD, UnitVocab
from nlptasks.errors import UserError
from nlptasks.runtime.graphs import open_graph
from nlptasks.runtime.stored import read_stored, wrong_settings


class ExportedTags:
    """Tag scores of units on onnxruntime, in place of `segmentation.runtime.Runtime`.

    Args:
        directory: that `nlptasks export` has written.

    Raises:
        ValueError, FileNotFoundError: one line: what is missing or damaged.
    """

    def __init__(self, directory: Path) -> None:
        stored = read_stored(directory, with_tokenizer=False)
        try:
            settings: dict[str, Any] = {
                name: tuple(v) if isinstance(v, list) else v for name, v in stored.settings.items()
            }
            self.config, self.vocab = SegmentationConfig(**settings), UnitVocab.from_arrays(dict(stored.arrays))
        except (TypeError, KeyError) as error:
            raise wrong_settings(directory, error) from None
        self._run = open_graph(directory / "model.onnx")

    @property
    def arrays(self) -> dict[str, np.ndarray]:
        """Refuses: the weights are in the graph."""
        raise UserError("an exported model is not saved again; copy its folder.")

    def scores(self, unit_ids: np.ndarray, standard_id: int) -> np.ndarray:
        """Scores (N, K) of the units of a text under an annotation standard; PAD separates lines."""
        ends = unit_ids == PAD
        at = np.arange(len(unit_ids))
        if ends.any():  # lines stand further apart, as in training
            at[1:] += (MARGIN - 1) * np.cumsum(ends[:-1])
        rows_R = np.full(at[-1:].sum() + 1, PAD, "int32")
        rows_R[at] = unit_ids
        pairs = [self.vocab.pair_ids(rows_R)[None].astype("int32")] if self.config.pair_size else []
        (scores,) = self._run(rows_R[None], *pairs, np.array([standard_id], "int32"))
        return scores[0][at]


class ExportedSegmenter(Segmenter):
    """A segmenter on onnxruntime, with the verbs of `Segmenter`, which needs NumPy alone and is as fast on a processor.

        segmenter = nlptasks.load("exported/segmenter")
        segmenter.segment("今天天气很好")

    Args:
        runtime, standard, dictionary: as `Segmenter`.
    """

    @classmethod
    def from_directory(cls, directory: str | Path) -> "ExportedSegmenter":
        """Opens what `nlptasks export` has written."""
        return cls(ExportedTags(Path(directory)))  # type: ignore[arg-type] # has what a segmenter reads of a Runtime
