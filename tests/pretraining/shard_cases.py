"""Small shards of random words, made without a corpus."""

import numpy as np

from nlptasks.pretraining.shards import (
    FORMAT_VERSION,
    Row,
    encode_row,
    id_bytes_for,
    vocab_fingerprint,
    write_meta,
    write_shard,
)
from nlptasks.text.vocab import save_vocab

SPECIALS = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]")


def small_vocab(size=53):
    """Specials, then single letters and numbers."""
    return {token: i for i, token in enumerate([*SPECIALS, *(f"t{i}" for i in range(size - len(SPECIALS)))])}


def random_rows(count, seq_length, vocab_size=53, seed=0):
    """Rows of 7 tokens to `seq_length`; what comes next depends on what came before, so that there is something to
    learn. Words of 1 to 3 tokens; a second document starts in every other row."""
    random = np.random.default_rng(seed)
    rows = []
    for number in range(count):
        length = int(random.integers(7, seq_length + 1))
        ids = np.full(length, 2, "int32")
        ids[1] = random.integers(5, vocab_size)
        for i in range(2, length - 1):
            ids[i] = 5 + (ids[i - 1] * 7 + 3 + random.integers(0, 2)) % (vocab_size - 5)
        ids[-1] = 3
        words = random.random(length) < 0.6
        words[[0, 1, -1]] = True
        documents = np.zeros(length, "bool")
        documents[0] = True
        if number % 2:
            documents[length // 2] = words[length // 2] = True
        rows.append(Row(ids, words, documents))
    return rows


def write_shards(directory, rows, seq_length, vocab=None, num_shards=3, isolate_documents=False):
    """A folder as make_shards.py leaves it."""
    vocab = vocab or small_vocab()
    directory.mkdir(parents=True)
    save_vocab(vocab, directory / "vocab.txt")
    id_bytes, shards = id_bytes_for(len(vocab)), []
    for number in range(num_shards):
        part = rows[number * len(rows) // num_shards : (number + 1) * len(rows) // num_shards]
        path = directory / f"shard-{number:05}.array_record"
        shards.append(write_shard(path, (encode_row(row, id_bytes) for row in part)))
    meta = {"format_version": FORMAT_VERSION, "vocab_fingerprint": vocab_fingerprint(vocab), "vocab_size": len(vocab)}
    meta |= {"seq_length": seq_length, "options": {"isolate_documents": isolate_documents}, "shards": shards}
    write_meta(directory, meta)
    return directory
