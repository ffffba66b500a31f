"""An exported labeler.

Legend: B batch, T first position of a span, S last position, K tag, N type, H head size.
"""

from pathlib import Path
from typing import Any

import numpy as np

from nlptasks.applications.labeling.predicting import EntityFinder
from nlptasks.applications.labeling.probabilities import best_paths
from nlptasks.runtime.graphs import open_graph
from nlptasks.runtime.stored import read_stored, wrong_settings

_NEVER, _WAVELENGTH = -1e9, 10000.0


class ExportedLabeler(EntityFinder):
    """A labeler on onnxruntime, with the verbs of `Labeler`; the best tags are found on NumPy.

        labeler = nlptasks.load("exported/ner")
        labeler.label("沈月昨天去了南山图书馆。")

    Args:
        directory: that `nlptasks export` has written.

    Raises:
        ValueError, FileNotFoundError: one line: what is missing or damaged.
    """

    def __init__(self, directory: str | Path) -> None:
        stored = read_stored(Path(directory))
        settings, self._arrays = stored.settings, stored.arrays
        self._head_size = settings.pop("head_size", 0)
        try:
            super().__init__(stored.tokenizer, **settings)
            if self.head == "crf":
                self._weights = tuple(self._arrays[name] for name in ("first", "transitions", "last"))
        except (TypeError, KeyError) as error:
            raise wrong_settings(Path(directory), error) from None
        self._run = open_graph(Path(directory) / "model.onnx")

    def path_weights(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """The scores of first tags `(K,)`, transitions `(K, K)` and last tags `(K,)`."""
        first_K, transitions_KK, last_K = self._weights
        return first_K, transitions_KK, last_K

    def tag_scores(self, token_ids_BT: Any, segment_ids_BT: Any, mask_BT: Any) -> tuple[np.ndarray, np.ndarray]:
        """The best tags `(B, T)`, and the scores of all `(B, T, K)`."""
        scores_BTK = self._run(token_ids_BT, segment_ids_BT)[0][:, 1:]
        return best_paths(scores_BTK, mask_BT, self.path_weights(), self._allowed), scores_BTK

    def span_scores(self, token_ids_BT: Any, segment_ids_BT: Any, mask_BT: Any) -> np.ndarray:
        """The scores of all spans `(B, N, T, T)`."""
        both, *kinds = (each[:, 1:] for each in self._run(token_ids_BT, segment_ids_BT))
        if kinds:
            score_BTS = self._products(both[..., ::2], both[..., 1::2])
            bias_BNT = kinds[0].transpose(0, 2, 1) / 2
            score_BNTS = score_BTS[:, None] + bias_BNT[:, ::2, None, :] + bias_BNT[:, 1::2, :, None]
        else:
            rows, length, _ = both.shape
            both_BNTH = both.reshape(rows, length, len(self.types), -1).transpose(0, 2, 1, 3)
            score_BNTS = self._products(both_BNTH[..., : self._head_size], both_BNTH[..., self._head_size :])
        visible_BTS = mask_BT[:, :, None] & mask_BT[:, None, :]
        visible_BTS &= np.arange(mask_BT.shape[1])[:, None] <= np.arange(mask_BT.shape[1])
        return np.where(visible_BTS[:, None], score_BNTS, np.float32(_NEVER))

    def _products(self, query: np.ndarray, key: np.ndarray) -> np.ndarray:
        """Scaled products of queries and keys `(..., T, H)`, which rotary positions have turned."""
        size = self._head_size
        waves = np.array([_WAVELENGTH ** (-i / size) for i in range(0, size, 2)], "float32")
        angles_TH = np.arange(query.shape[-2], dtype="float32")[:, None] * waves
        sine, cosine = np.sin(angles_TH), np.cos(angles_TH)
        turned = []
        for x in (query, key):
            first, second = x[..., ::2], x[..., 1::2]
            turned.append(np.concatenate([first * cosine - second * sine, second * cosine + first * sine], axis=-1))
        return turned[0] @ np.swapaxes(turned[1], -1, -2) * np.float32(size**-0.5)

    @classmethod
    def from_directory(cls, directory: str | Path) -> "ExportedLabeler":
        """Opens what `nlptasks export` has written."""
        return cls(directory)
