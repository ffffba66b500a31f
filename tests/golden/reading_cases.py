"""What the two reading golden files are computed on, there and here: seeded ids, no text."""

import numpy as np

V, END = 67, 35  # vocabulary of the `unilm` golden model; its likeliest id plays [SEP], so that passages drop out
MAX_ANSWER = 7
STEPS, BATCH, SOURCE, TARGET = 200, 6, 15, 5


def questions():
    """Lists of sources (`[CLS] passage [SEP] question [SEP]`) with their passages' ids, of ragged lengths."""
    random = np.random.RandomState(5)
    found = []
    for _ in range(40):
        question = _ids(random, random.randint(2, 5))
        passages = [_ids(random, random.randint(2, 13)) for _ in range(random.randint(1, 5))]
        found.append(([[1, *passage, END, *question, END] for passage in passages], passages))
    return found


def _ids(random, count):
    ids = random.randint(5, V, count)
    return np.where(ids == END, END + 1, ids).tolist()


def training_batches():
    """Token and segment ids `(BATCH, SOURCE + TARGET)` a step; the target copies a piece of the source."""
    random = np.random.RandomState(9)
    for _ in range(STEPS):
        token_ids = random.randint(5, V, (BATCH, SOURCE + TARGET))
        segment_ids = np.zeros_like(token_ids)
        for row in range(BATCH):
            source, target = random.randint(9, SOURCE + 1), random.randint(1, TARGET + 1)
            start = random.randint(0, source - target)
            copied = token_ids[row, start : start + target - 1].copy()
            token_ids[row, source : source + target - 1] = copied
            token_ids[row, source + target - 1] = END
            token_ids[row, source + target :] = 0
            segment_ids[row, source : source + target] = 1
        yield token_ids, segment_ids
