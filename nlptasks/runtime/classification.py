"""An exported classifier."""

from pathlib import Path

import numpy as np

from nlptasks.applications.classification.predicting import TextClassifier
from nlptasks.runtime.graphs import open_graph
from nlptasks.runtime.stored import read_stored, wrong_settings


class ExportedClassifier(TextClassifier):
    """A classifier on onnxruntime, with the verbs of `Classifier`.

        classifier = nlptasks.load("exported/classifier")
        classifier.classify("房间很干净").label

    Args:
        directory: that `nlptasks export` has written.

    Raises:
        ValueError, FileNotFoundError: one line: what is missing or damaged.
    """

    def __init__(self, directory: str | Path) -> None:
        stored = read_stored(Path(directory))
        try:
            super().__init__(stored.tokenizer, **stored.settings)
        except TypeError as error:
            raise wrong_settings(Path(directory), error) from None
        self._run = open_graph(Path(directory) / "model.onnx")

    def label_logits(self, token_ids_BT: np.ndarray, segment_ids_BT: np.ndarray) -> np.ndarray:
        """Logits of the labels `(B, C)`."""
        return self._run(token_ids_BT, segment_ids_BT)[0]

    @classmethod
    def from_directory(cls, directory: str | Path) -> "ExportedClassifier":
        """Opens what `nlptasks export` has written."""
        return cls(directory)
