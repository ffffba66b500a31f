"""What a labeler does beside running its network: texts to windows, scores to entities. Imports no backend.

Legend: B batch, T position after [CLS], K tag, N entity type.
"""

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, ClassVar

import numpy as np

from nlptasks.applications.examples import prediction_batches
from nlptasks.applications.labeling.probabilities import PathSums, sigmoid
from nlptasks.applications.labeling.samples import (
    Span,
    allowed_tags,
    cut_windows,
    entities_of,
    tags_to_spans,
    text_mask,
)
from nlptasks.text import TextTokenizer
from nlptasks.text.entities import Entity


class EntityFinder:
    """A labeler whose network is in a subclass: on Keras, or exported.

    Args:
        tokenizer, types, head, seq_length: as `Labeler`.
    """

    task: ClassVar[str] = "sequence_labeling"

    def __init__(self, tokenizer: TextTokenizer, types: Sequence[str], head: str, seq_length: int) -> None:
        self.tokenizer, self.types, self.head, self.seq_length = tokenizer, tuple(types), head, seq_length
        self._allowed = allowed_tags(len(self.types))

    def tag_scores(self, token_ids_BT: Any, segment_ids_BT: Any, mask_BT: Any) -> tuple[np.ndarray, np.ndarray]:
        """The best tags `(B, T)`, and the scores of all `(B, T, K)`; each network has its own."""
        raise NotImplementedError

    def span_scores(self, token_ids_BT: Any, segment_ids_BT: Any, mask_BT: Any) -> np.ndarray:
        """The scores of all spans `(B, N, T, T)`; each network has its own."""
        raise NotImplementedError

    def path_weights(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """The scores of first tags `(K,)`, transitions `(K, K)` and last tags `(K,)`; each network has its own."""
        raise NotImplementedError

    def num_windows(self, texts: Sequence[str]) -> list[int]:
        """Number of windows in which each text is read: 1 for a text of at most `seq_length` tokens."""
        counts = Counter(window.text for window in cut_windows(self.tokenizer, texts, self.seq_length))
        return [counts[number] for number in range(len(texts))]

    def label(self, text: str) -> list[Entity]:
        """Finds the entities of one text.

            labeler.label("沈月昨天去了南山图书馆。")

        Returns:
            A list of `Entity` in their order: `start`, `end`, `type`, `text`, with `entity.text ==
            text[entity.start : entity.end]`, and `probability`: of the entity as a whole under the CRF, or the sigmoid
            of a pointer's score, which ranks entities but is not calibrated.

        Raises:
            ValueError, TypeError: the text is empty, or not a string.
        """
        return self.predict([text])[0]

    def predict(
        self, texts: Sequence[str], batch_size: int = 64, progress: Callable[[Iterable], Iterable] = iter
    ) -> list[list[Entity]]:
        """Finds the entities of each text of a list.

        Args:
            texts: strings of any length.
            batch_size: number of windows that are read together; it changes the speed, not the result.
            progress: wraps the iteration over batches, for example `tqdm`.

        Returns:
            For each text its entities, as `label` gives them.

        Raises:
            ValueError, TypeError: an empty text, or something other than a list of strings.
        """
        if isinstance(texts, str):
            raise TypeError("texts must be a list; for one text call label.")
        texts = list(texts)
        for index, text in enumerate(texts):
            if not isinstance(text, str):
                raise TypeError(f"item {index}: expected str. Received: {type(text).__name__}.")
            if not text.strip():
                raise ValueError(f"item {index}: the text is empty; there is nothing to label.")
        windows = cut_windows(self.tokenizer, texts, self.seq_length)
        found: list[list[Entity]] = [[] for _ in texts]
        encodings = [window.encoding for window in windows]
        size, pad_id = min(batch_size, max(1, len(windows))), self.tokenizer.pad_id
        batches = list(prediction_batches(encodings, size, self.seq_length, pad_id))
        for indices, (token_ids, segment_ids) in progress(batches):
            mask = text_mask([encodings[i] for i in indices], len(token_ids), token_ids.shape[1] - 1)
            lengths = [len(windows[index].offsets) for index in indices]
            for index, (spans, sure) in zip(indices, self._spans(token_ids, segment_ids, mask, lengths), strict=True):
                window = windows[index]
                found[window.text] += entities_of(texts[window.text], window, spans, self.types, sure)
        return [sorted(entities) for entities in found]

    def _spans(self, token_ids: Any, segment_ids: Any, mask: Any, lengths: Sequence[int]) -> Iterator[Any]:
        """For each row that is not there to fill the batch: the spans, and how sure each is."""
        if self.head == "crf":
            tags_BT, scores_BTK = self.tag_scores(token_ids, segment_ids, mask)
            sums = PathSums.of(scores_BTK, mask, self.path_weights(), self._allowed)
            for row, length in enumerate(lengths):
                spans = tags_to_spans(tags_BT[row, :length])
                yield spans, [sums.probability(row, span, length) for span in spans]
            return
        score_BNTS = self.span_scores(token_ids, segment_ids, mask)
        for row, _ in enumerate(lengths):
            spans = [Span(int(first), int(last), int(kind)) for kind, first, last in np.argwhere(score_BNTS[row] > 0)]
            yield spans, [float(sigmoid(score_BNTS[row, kind, first, last])) for first, last, kind in spans]
