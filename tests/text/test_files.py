"""Opening and writing text files."""

import gzip
import os
import subprocess
import sys

import pytest

from nlptasks.text import atomic_writer, open_text, read_lines, write_text_atomically


def test_plain_gzip_and_byte_order_mark_read_the_same_whatever_the_name(tmp_path):
    data = "第一行\r\n\n第二行\u2028还是\n".encode()
    for name, content in (
        ("a.txt", data),
        ("b.txt", gzip.compress(data)),
        ("c.gz", data),
        ("d.gz", gzip.compress(b"\xef\xbb\xbf" + data)),
    ):
        (tmp_path / name).write_bytes(content)
        assert list(read_lines(tmp_path / name)) == [(1, "第一行"), (3, "第二行\u2028还是")]
        with open_text(str(tmp_path / name)) as file:
            assert file.read().encode() == data


def test_missing_file_and_folder_are_named(tmp_path):
    with (
        pytest.raises(FileNotFoundError, match=r"none\.txt: no such file .*check the spelling"),
        open_text(tmp_path / "none.txt"),
    ):
        pass
    with pytest.raises(ValueError, match="expected a file, received a folder"), open_text(tmp_path):
        pass


@pytest.mark.parametrize("content", [b"", b"\n \n\t\n"])
def test_file_without_text_is_an_error(tmp_path, content):
    (tmp_path / "a.txt").write_bytes(content)
    with pytest.raises(ValueError, match=r"a\.txt: the file is empty"):
        list(read_lines(tmp_path / "a.txt"))


@pytest.mark.parametrize("compress", [bytes, gzip.compress])
def test_wrong_encoding_names_line_and_byte_far_into_the_file(tmp_path, compress):
    good = "这一行没有问题。\n" * 5000
    (tmp_path / "a.txt").write_bytes(compress(good.encode() + b"ok \xd6\xd0\n"))
    message = (
        rf"a\.txt:5001: expected UTF-8, received byte 0xd6 at byte offset {len(good.encode()) + 3}; convert the file"
    )
    with pytest.raises(ValueError, match=message):
        list(read_lines(tmp_path / "a.txt"))


def test_truncated_and_damaged_gzip_are_named(tmp_path):
    whole = gzip.compress(os.urandom(3000).hex().encode())
    damaged = bytearray(whole)
    damaged[1500] ^= 0xFF
    for content in (whole[:-900], whole[:9], bytes(damaged)):
        (tmp_path / "a.gz").write_bytes(content)
        with pytest.raises(ValueError, match=r"a\.gz: expected a whole gzip file, received a damaged or truncated one"):
            list(read_lines(tmp_path / "a.gz"))


def test_error_of_the_reader_of_another_text_passes_through(tmp_path):
    write_text_atomically(tmp_path / "a.txt", "好\n")
    with pytest.raises(UnicodeDecodeError), open_text(tmp_path / "a.txt"):
        b"\xff".decode("utf-8")


def test_written_text_takes_the_place_of_the_old_one(tmp_path):
    path = tmp_path / "a.txt"
    path.write_text("old", encoding="utf-8")
    with atomic_writer(path) as file:
        file.write("新\n")
        assert path.read_text(encoding="utf-8") == "old"
    assert path.read_bytes() == "新\n".encode()
    assert os.listdir(tmp_path) == ["a.txt"]


def test_failure_while_writing_leaves_the_old_file_and_nothing_else(tmp_path):
    path = tmp_path / "a.txt"
    path.write_text("old", encoding="utf-8")

    def write_half():
        with atomic_writer(path) as file:
            file.write("half")
            file.flush()
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write_half()
    with pytest.raises(UnicodeEncodeError):
        write_text_atomically(path, "good \ud800")
    assert path.read_text(encoding="utf-8") == "old"
    assert os.listdir(tmp_path) == ["a.txt"]


def test_symbolic_link_keeps_pointing_to_the_file_it_names(tmp_path):
    (tmp_path / "real.txt").write_text("old", encoding="utf-8")
    (tmp_path / "link.txt").symlink_to(tmp_path / "real.txt")
    write_text_atomically(tmp_path / "link.txt", "new")
    assert (tmp_path / "link.txt").is_symlink()
    assert (tmp_path / "real.txt").read_text(encoding="utf-8") == "new"


def test_missing_folder_is_named(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"there is no folder .*nowhere to write into; create it first"):
        write_text_atomically(tmp_path / "nowhere" / "a.txt", "x")


def test_importing_the_text_package_imports_no_backend():
    code = (
        "import sys, nlptasks.text; "
        "print(sorted({'keras', 'tensorflow', 'jax', 'torch', 'transformers', 'tokenizers'} & set(sys.modules)))"
    )
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert result.stdout.strip() == "[]"
