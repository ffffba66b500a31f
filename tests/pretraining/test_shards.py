"""Records, shards and what a folder of shards refuses."""

import hashlib
import json
import multiprocessing
import pickle

import numpy as np
import pytest

from nlptasks.pretraining.shards import (
    FORMAT_VERSION,
    META_FILE,
    Row,
    ShardSet,
    decode_row,
    encode_row,
    read_meta,
    vocab_fingerprint,
    write_meta,
    write_shard,
)
from nlptasks.text import Tokenizer, save_vocab

VOCAB = {token: i for i, token in enumerate(["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *"山水风云雨"])}
ROWS_OF_SHARDS = (5, 3, 7)


def make_row(number: int, vocab_size: int = len(VOCAB)) -> Row:
    """A row that its number determines."""
    rng = np.random.default_rng(number)
    length = int(rng.integers(3, 12))
    token_ids = rng.integers(5, vocab_size, length).astype("int32")
    token_ids[0], token_ids[-1] = 2, 3
    return Row(token_ids, rng.random(length) < 0.6, rng.random(length) < 0.3)


def assert_same(row: Row, expected: Row) -> None:
    for name, dtype in (("token_ids", "int32"), ("word_starts", "bool"), ("document_starts", "bool")):
        array = getattr(row, name)
        assert array.dtype == dtype, name
        np.testing.assert_array_equal(array, getattr(expected, name), name)


@pytest.fixture
def folder(tmp_path):
    """Three shards of 5, 3 and 7 rows."""
    entries, number = [], 0
    for shard, count in enumerate(ROWS_OF_SHARDS):
        records = [encode_row(make_row(number + i), 2) for i in range(count)]
        entries.append(write_shard(tmp_path / f"shard-{shard}.arrayrecord", records))
        number += count
    Tokenizer(VOCAB).save(tmp_path)
    write_meta(
        tmp_path,
        {
            "format_version": FORMAT_VERSION,
            "vocab_fingerprint": vocab_fingerprint(VOCAB),
            "vocab_size": len(VOCAB),
            "seq_length": 12,
            "options": {"isolate_documents": True},
            "shards": entries,
        },
    )
    return tmp_path


def flip_bit(path, at):
    data = bytearray(path.read_bytes())
    data[at] ^= 4
    path.write_bytes(data)


def test_a_record_is_version_ids_and_flags_byte_by_byte():
    row = Row(np.array([2, 300, 3], "int32"), np.array([True, False, True]), np.array([True, True, False]))
    assert encode_row(row, 2) == bytes([1, 2, 0, 44, 1, 3, 0, 3, 2, 1])
    assert encode_row(row, 4) == bytes([1, 2, 0, 0, 0, 44, 1, 0, 0, 3, 0, 0, 0, 3, 2, 1])


@pytest.mark.parametrize(("id_bytes", "vocab_size"), [(2, 65536), (4, 65537)])
def test_a_decoded_record_is_the_row(id_bytes, vocab_size):
    for number in range(20):
        row = make_row(number, vocab_size)
        row.token_ids[1] = vocab_size - 1
        assert_same(decode_row(encode_row(row, id_bytes), id_bytes), row)


@pytest.mark.parametrize("record", [b"", b"\1", b"\1" + bytes(7), b"\2" + bytes(9), b"\1" + bytes(3)])
def test_a_record_of_another_format_is_refused(record):
    with pytest.raises(ValueError, match=r"expected a record of version 1 with 3 bytes a token. Received: \d+ bytes"):
        decode_row(record, 2)


def test_rows_are_counted_through_all_shards(folder):
    shards = ShardSet(folder)
    assert len(shards) == sum(ROWS_OF_SHARDS)
    for number in (14, 0, 4, 5, 7, 8, 3):
        assert_same(shards[number], make_row(number))
    assert_same(shards[-1], make_row(14))
    assert_same(shards[np.int64(6)], make_row(6))
    for number in (15, -16):
        with pytest.raises(IndexError, match=f"rows are 0 to 14. Received: {number}"):
            shards[number]
    assert shards.isolate_documents is True
    assert (shards.seq_length, shards.vocab_size, shards.skipped) == (12, len(VOCAB), [])
    assert shards.tokenizer().vocab == VOCAB


def _read_rows(shards, numbers, queue):
    queue.put([shards[number].token_ids.tolist() for number in numbers])


@pytest.mark.filterwarnings("ignore:os.fork:RuntimeWarning")  # another test of the process may have loaded JAX
@pytest.mark.parametrize("method", ["fork", "spawn"])
def test_a_set_that_was_read_from_is_read_in_another_process(folder, method):
    shards, numbers = ShardSet(folder), [11, 2, 6]
    shards[0], shards[13]
    context = multiprocessing.get_context(method)
    queue = context.SimpleQueue()
    process = context.Process(target=_read_rows, args=(shards, numbers, queue))
    process.start()
    process.join(60)
    assert process.exitcode == 0
    assert queue.get() == [make_row(number).token_ids.tolist() for number in numbers]


def test_a_pickled_set_reads_the_same_rows(folder):
    shards = ShardSet(folder)
    shards[3]
    assert_same(pickle.loads(pickle.dumps(shards))[9], make_row(9))


def test_a_set_is_told_by_its_contents_not_by_its_place(folder, tmp_path_factory):
    elsewhere = tmp_path_factory.mktemp("elsewhere") / "shards"
    elsewhere.symlink_to(folder)
    assert repr(ShardSet(elsewhere)) == repr(ShardSet(folder))
    meta = read_meta(folder)
    meta["shards"] = meta["shards"][:2]
    write_meta(folder, meta)
    assert repr(ShardSet(folder)).startswith("ShardSet(rows=8, sha256=")
    assert "rows=15" not in repr(ShardSet(folder))


def test_shards_without_meta_are_unfinished(folder):
    (folder / META_FILE).unlink()
    with pytest.raises(
        FileNotFoundError, match=r"meta\.json: no such file, .* unfinished; run `nlptasks pretraining shards` for"
    ):
        ShardSet(folder)


def test_shards_of_another_format_are_refused(folder):
    write_meta(folder, read_meta(folder) | {"format_version": 7})
    with pytest.raises(ValueError, match=r"meta\.json: expected shards of format version 1. Received: 7; make"):
        ShardSet(folder)


def test_another_vocabulary_is_refused_and_both_are_named(folder, tmp_path):
    other = VOCAB | {"雪": len(VOCAB)}
    save_vocab(other, tmp_path / "other.txt")
    ours, theirs = vocab_fingerprint(VOCAB)[:12], vocab_fingerprint(other)[:12]
    ShardSet(folder, VOCAB)
    ShardSet(folder, folder / "vocab.txt")
    with pytest.raises(
        ValueError, match=rf"another vocabulary \(10 tokens, fingerprint {ours}\) than .*other\.txt \(11 .* {theirs}\)"
    ):
        ShardSet(folder, tmp_path / "other.txt")
    swapped = VOCAB | {"山": VOCAB["水"], "水": VOCAB["山"]}
    with pytest.raises(ValueError, match=r"another vocabulary .* than the vocabulary"):
        ShardSet(folder, swapped)


def test_the_fingerprint_is_the_digest_of_the_file(folder):
    assert vocab_fingerprint(VOCAB) == hashlib.sha256((folder / "vocab.txt").read_bytes()).hexdigest()


@pytest.mark.parametrize("damage", ["missing", "truncated"])
def test_an_unreadable_shard_is_named_and_left_out_on_request_only(folder, damage):
    path = folder / "shard-1.arrayrecord"
    data = path.read_bytes()
    path.unlink() if damage == "missing" else path.write_bytes(data[:-1])
    what = "there is no such file" if damage == "missing" else f"{len(data) - 1} bytes instead of {len(data)}"
    with pytest.raises(ValueError, match=rf"shard-1\.arrayrecord: unreadable shard \(.*{what}\); copy it again"):
        ShardSet(folder)
    shards = ShardSet(folder, skip_unreadable=True)
    assert shards.skipped == ["shard-1.arrayrecord"]
    assert len(shards) == 12
    assert_same(shards[5], make_row(8))


def test_a_flipped_bit_is_found_by_the_digest_and_when_the_row_is_read(folder):
    flip_bit(folder / "shard-2.arrayrecord", (folder / "shard-2.arrayrecord").stat().st_size - 20)
    shards = ShardSet(folder)  # sizes are right
    with pytest.raises(ValueError, match=r"shard-2\.arrayrecord: unreadable shard \(its SHA-256 is not the one"):
        shards.check()
    with pytest.raises(ValueError, match=r"shard-2\.arrayrecord: unreadable shard"):
        ShardSet(folder, check_digests=True)
    shards = ShardSet(folder, skip_unreadable=True, check_digests=True)
    assert shards.skipped == ["shard-2.arrayrecord"]
    shards.check()


def test_a_row_that_cannot_be_read_names_its_shard(folder):
    path = folder / "shard-0.arrayrecord"
    for at in np.random.default_rng(3).integers(0, path.stat().st_size, 9).tolist():
        data = path.read_bytes()
        flip_bit(path, at)
        for number in (0, 3):
            try:
                row = ShardSet(folder)[number]
            except ValueError as error:
                if "shard-0.arrayrecord: unreadable shard (" not in str(error):
                    raise
            else:
                assert_same(row, make_row(number))
        path.write_bytes(data)
    path.write_bytes(bytes(path.stat().st_size))
    with pytest.raises(ValueError, match=r"shard-0\.arrayrecord: unreadable shard \(row 2: "):
        ShardSet(folder)[2]


def test_another_shard_of_the_same_size_is_found_when_a_row_is_read(folder):
    path = folder / "shard-0.arrayrecord"
    size = path.stat().st_size
    assert write_shard(path, [encode_row(make_row(i), 2) for i in range(4)])["bytes"] == size
    with pytest.raises(ValueError, match=r"shard-0\.arrayrecord: .*row 1: it holds 4 rows instead of 5"):
        ShardSet(folder)[1]


def test_no_readable_shard_is_an_error_even_on_request(folder):
    for path in folder.glob("*.arrayrecord"):
        path.unlink()
    with pytest.raises(ValueError, match="holds no readable row; make the shards again"):
        ShardSet(folder, skip_unreadable=True)


def test_meta_lists_the_files_as_they_are(folder):
    meta = json.loads((folder / META_FILE).read_text())
    assert [shard["rows"] for shard in meta["shards"]] == list(ROWS_OF_SHARDS)
    for shard in meta["shards"]:
        assert shard["bytes"] == (folder / shard["name"]).stat().st_size


def test_a_shard_whose_records_fail_leaves_no_file(tmp_path):
    def records():
        yield b"\1abc"
        raise ValueError("broken")

    with pytest.raises(ValueError, match="broken"):
        write_shard(tmp_path / "a.arrayrecord", records())
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    "value", [{}, {"shards": 1}, {"shards": [{"name": "a", "rows": 1}]}, {"shards": [], "options": {}}]
)
def test_a_damaged_index_of_shards_gets_one_line_with_its_path(value, tmp_path):
    (tmp_path / META_FILE).write_text(json.dumps({"format_version": FORMAT_VERSION} | value), encoding="utf-8")
    with pytest.raises(ValueError, match=r"meta\.json: damaged, for a setting or a shard is missing in it; make"):
        ShardSet(tmp_path)
