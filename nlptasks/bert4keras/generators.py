"""`DataGenerator`: batches of a data set, in order or drawn at random."""

from collections.abc import Iterator
from typing import Any

import numpy as np


class DataGenerator:
    """The base of a script's generator, which overrides `__iter__(self, random=False)`.

    Args:
        data: a sequence, or an iterable of unknown length.
        batch_size: rows of a batch.
        buffer_size: how many entries an iterable of unknown length is shuffled within.
    """

    def __init__(self, data: Any, batch_size: int = 32, buffer_size: int | None = None) -> None:
        self.data, self.batch_size = data, batch_size
        self.steps: Any = -(-len(data) // batch_size) if hasattr(data, "__len__") else None
        self.buffer_size = buffer_size or batch_size * 1000

    def __len__(self) -> int:
        return self.steps

    def sample(self, random: bool = False) -> Iterator[tuple[bool, Any]]:
        """(whether this is the last one, entry), in order or at random."""
        entries = iter(self._shuffled() if random else self.data)
        current = next(entries)
        for following in entries:
            yield False, current
            current = following
        yield True, current

    def _shuffled(self) -> Iterator[Any]:
        if self.steps is not None:
            for i in np.random.permutation(len(self.data)):  # noqa: NPY002 - what a script's np.random.seed sets
                yield self.data[i]
            return
        held: list[Any] = []
        full = False
        for entry in self.data:
            held.append(entry)
            if full:
                yield held.pop(np.random.randint(len(held)))  # noqa: NPY002 - as above
            full = full or len(held) == self.buffer_size
        while held:
            yield held.pop(np.random.randint(len(held)))  # noqa: NPY002 - as above

    def __iter__(self, random: bool = False) -> Iterator[Any]:
        raise NotImplementedError

    def forfit(self, random: bool = True) -> Iterator[Any]:
        """Batches for training, without an end."""
        while True:
            yield from self.__iter__(random)

    def fortest(self, random: bool = False) -> Iterator[Any]:
        """Their inputs, without an end."""
        while True:
            for batch in self.__iter__(random):
                yield batch[0]

    def to_dataset(self, types: Any, shapes: Any, names: Any = None, padded_batch: bool = False) -> Any:
        """A `tf.data.Dataset` of what `__iter__` yields (TensorFlow).

        Args:
            types, shapes: of one entry.
            names: of inputs and targets, where they are dicts.
            padded_batch: entries of different lengths are filled up in a batch.
        """
        import tensorflow as tf

        def named(keys: Any, values: Any) -> Any:
            if isinstance(keys, str):
                return {keys: values}
            if isinstance(keys[0], str):
                return dict(zip(keys, values, strict=True))
            return tuple(dict(zip(k, v, strict=True)) for k, v in zip(keys, values, strict=True))

        def entries() -> Iterator[Any]:
            for entry in self.forfit():
                yield entry if names is None else named(names, entry)

        if names is not None:
            types, shapes = named(names, types), named(names, shapes)
        if padded_batch:
            found = tf.data.Dataset.from_generator(entries, output_types=types)
            return found.padded_batch(self.batch_size, shapes)
        return tf.data.Dataset.from_generator(entries, output_types=types, output_shapes=shapes).batch(self.batch_size)
