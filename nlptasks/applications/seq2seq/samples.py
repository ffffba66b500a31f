"""Sources and targets as training samples: the tokens of each, which a network makes batches of."""

from collections.abc import Mapping, Sequence

import numpy as np

from nlptasks.applications.examples import ShuffledBatches
from nlptasks.applications.seq2seq.writing import SourceWriter
from nlptasks.text.pairs import SourceText


def target_ids(writer: SourceWriter, targets: Sequence[str]) -> tuple[list[np.ndarray], int]:
    """The tokens of each target, cut to their length, and closed by `[SEP]`; and how many were cut.

    A target that is cut has no `[SEP]`: the text does not end there.
    """
    room, before = writer.lengths.target_length, len(writer.tokenizer.template.before)
    encodings = writer.tokenizer.encode_batch(targets, with_offsets=False)
    ids = [one.token_ids[before:] for one in encodings]
    return [each[:room] for each in ids], sum(len(each) > room for each in ids)


class PairExamples(ShuffledBatches):
    """Sources with their targets as batches; a source with several targets is as many examples.

    Args:
        writer: has the tokenizer and the lengths.
        pairs: the data.
        seed: of the order.

    Attributes:
        num_cut_sources, num_cut_targets: of which a part is not read.
    """

    def __init__(self, writer: SourceWriter, pairs: Sequence[SourceText], seed: int = 0):
        self._writer = writer
        sources = [pair.source for pair in pairs]
        self._sources = [one.token_ids for one in writer.encode(sources)]
        self.num_cut_sources = writer.num_cut(sources)
        self._owners = np.repeat(np.arange(len(pairs)), [len(pair.targets) for pair in pairs])
        targets = [target for pair in pairs for target in pair.targets]
        self._targets, self.num_cut_targets = target_ids(writer, targets)
        lengths = [len(self._sources[owner]) + len(ids) for owner, ids in zip(self._owners, self._targets, strict=True)]
        super().__init__(lengths, seed)

    def arrays(self, batch: np.ndarray, size: int) -> Mapping[str, np.ndarray]:
        """One of `batches`, filled up to `size` rows."""
        sources = [self._sources[self._owners[i]] for i in batch]
        targets = [self._targets[i] for i in batch]
        return self._writer.network.batch(sources, targets, size, self._writer.lengths)

    def weight(self, arrays: Mapping[str, np.ndarray]) -> float:
        """How many target tokens there are in a batch."""
        return float(arrays["target_weights"].sum())
