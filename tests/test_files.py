"""Opening and writing text files."""

import gzip
import os
import subprocess
import sys
import threading

import numpy as np
import pytest
from safetensors.numpy import save_file

from nlptasks.files import atomic_path, open_text, read_lines, require_writable, write_text


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


@pytest.mark.skipif(not os.path.exists("/dev/fd"), reason="no names for open files")
@pytest.mark.parametrize("compress", [bytes, gzip.compress])
def test_a_pipe_that_has_a_name_is_read_once(compress):
    reading, writing = os.pipe()
    os.write(writing, compress("第一行\n".encode()))
    os.close(writing)
    assert list(read_lines(f"/dev/fd/{reading}")) == [(1, "第一行")]
    os.close(reading)


def test_missing_file_and_folder_are_named(tmp_path):
    with (
        pytest.raises(FileNotFoundError, match=r"none\.txt: no such file .*check the spelling"),
        open_text(tmp_path / "none.txt"),
    ):
        pass
    with pytest.raises(ValueError, match=r"expected a file\. Received: a folder"), open_text(tmp_path):
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
        rf"a\.txt:5001: expected UTF-8. Received: byte 0xd6 at byte offset {len(good.encode()) + 3}; convert the file"
    )
    with pytest.raises(ValueError, match=message):
        list(read_lines(tmp_path / "a.txt"))


def test_truncated_and_damaged_gzip_are_named(tmp_path):
    whole = gzip.compress(os.urandom(3000).hex().encode())
    damaged = bytearray(whole)
    damaged[1500] ^= 0xFF
    for content in (whole[:-900], whole[:9], bytes(damaged)):
        (tmp_path / "a.gz").write_bytes(content)
        with pytest.raises(
            ValueError, match=r"a\.gz: expected a whole gzip file. Received: a damaged or truncated one"
        ):
            list(read_lines(tmp_path / "a.gz"))


def test_error_of_the_reader_of_another_text_passes_through(tmp_path):
    write_text(tmp_path / "a.txt", "好\n")
    with pytest.raises(UnicodeDecodeError), open_text(tmp_path / "a.txt"):
        b"\xff".decode("utf-8")


def test_written_text_takes_the_place_of_the_old_one(tmp_path):
    path = tmp_path / "a.txt"
    path.write_text("old", encoding="utf-8")
    with atomic_path(path) as temporary:
        temporary.write_text("half", encoding="utf-8")
        assert path.read_text(encoding="utf-8") == "old"
        assert temporary.suffix == ".txt"  # some writers choose the format by it
        temporary.write_bytes("新\n".encode())
    assert path.read_bytes() == "新\n".encode()
    assert os.listdir(tmp_path) == ["a.txt"]


def test_failure_while_writing_leaves_the_old_file_and_nothing_else(tmp_path):
    path = tmp_path / "a.txt"
    path.write_text("old", encoding="utf-8")

    def write_half():
        with atomic_path(path) as temporary:
            temporary.write_text("half", encoding="utf-8")
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write_half()
    with pytest.raises(UnicodeEncodeError):
        write_text(path, "good \ud800")
    assert path.read_text(encoding="utf-8") == "old"
    assert os.listdir(tmp_path) == ["a.txt"]


def test_written_file_gets_the_permissions_of_any_new_file(tmp_path):
    write_text(tmp_path / "a.txt", "x")
    (tmp_path / "b.txt").write_text("x", encoding="utf-8")
    assert (tmp_path / "a.txt").stat().st_mode == (tmp_path / "b.txt").stat().st_mode


@pytest.mark.skipif(os.name == "nt", reason="permissions of POSIX")
def test_weights_get_the_permissions_of_any_new_file(tmp_path):
    former = os.umask(0o027)
    try:
        with atomic_path(tmp_path / "a.safetensors") as temporary:
            save_file({"a": np.zeros(3, "float32")}, temporary)  # which makes its file for the owner alone
        (tmp_path / "b").write_text("x", encoding="utf-8")
    finally:
        os.umask(former)
    assert (tmp_path / "a.safetensors").stat().st_mode == (tmp_path / "b").stat().st_mode
    assert (tmp_path / "a.safetensors").stat().st_mode & 0o777 == 0o640


def test_symbolic_link_keeps_pointing_to_the_file_it_names(tmp_path):
    (tmp_path / "real.txt").write_text("old", encoding="utf-8")
    (tmp_path / "link.txt").symlink_to(tmp_path / "real.txt")
    write_text(tmp_path / "link.txt", "new")
    assert (tmp_path / "link.txt").is_symlink()
    assert (tmp_path / "real.txt").read_text(encoding="utf-8") == "new"


def test_a_file_keeps_its_permissions(tmp_path):
    path = tmp_path / "secret.txt"
    path.write_text("old")
    path.chmod(0o600)
    write_text(path, "new")
    assert (path.read_text(), path.stat().st_mode & 0o777) == ("new", 0o600)


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="there are no named pipes here")
def test_a_pipe_is_written_into_and_stays_one(tmp_path):
    path, found = tmp_path / "pipe", []
    os.mkfifo(path)
    reader = threading.Thread(target=lambda: found.append(path.read_text(encoding="utf-8")))
    reader.start()
    write_text(path, "今天")
    reader.join()
    assert found == ["今天"]
    assert path.is_fifo()


def test_missing_folders_are_made(tmp_path):
    write_text(tmp_path / "new" / "newer" / "a.txt", "x")
    assert (tmp_path / "new" / "newer" / "a.txt").read_text(encoding="utf-8") == "x"


def test_path_that_cannot_be_written_is_refused_before_anything_is_made(tmp_path):
    write_text(tmp_path / "a.txt", "x")
    for refuse in (require_writable, lambda path: write_text(path, "y")):
        with pytest.raises(ValueError, match=r"expected a file to write\. Received: a folder; name a file inside it"):
            refuse(tmp_path)
        with pytest.raises(ValueError, match=r"b\.txt: cannot be written, because .*a\.txt is a file; name another"):
            refuse(tmp_path / "a.txt" / "folder" / "b.txt")
    require_writable(tmp_path / "new" / "a.txt")
    assert os.listdir(tmp_path) == ["a.txt"]


def test_importing_the_text_package_imports_no_backend():
    code = (
        "import sys, nlptasks.text; "
        "print(sorted({'keras', 'tensorflow', 'jax', 'torch', 'transformers', 'tokenizers'} & set(sys.modules)))"
    )
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert result.stdout.strip() == "[]"


def test_a_damaged_gzip_file_of_bytes_that_are_no_text_is_called_damaged(tmp_path):
    path = tmp_path / "a.gz"
    packed = bytearray(gzip.compress("房间\n".encode() * 50 + b"\xff"))
    packed[-6] ^= 1  # the checksum, which is compared where the file ends: behind the byte that is no UTF-8
    path.write_bytes(bytes(packed))
    with pytest.raises(ValueError, match=r"a\.gz: expected a whole gzip file"), open_text(path) as file:
        list(file)
