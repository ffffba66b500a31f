"""The record of a run's options, and what a run that goes on is refused."""

import json
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from nlptasks.errors import UserError, flag_of
from nlptasks.train.record import jsonable, read_options, require_new_folder, require_same, write_options


@dataclass
class Inner:
    rate: float = 0.5


@dataclass
class Options:
    train: tuple[Path, ...] = (Path("a/b.txt"), Path("训练.txt"))
    checkpoint: Path | None = None
    output: Path = Path("runs/x")
    resume: bool = False
    seed: int = 3
    inner: Inner = field(default_factory=Inner)


RECORD = {"train": ["a/b.txt", "训练.txt"], "checkpoint": None, "seed": 3, "inner": {"rate": 0.5}}


def test_options_stand_in_the_record_as_json_gives_them_back(tmp_path):
    assert jsonable(Options()) == RECORD
    assert jsonable(Options(), without=("train", "inner")) == {
        "checkpoint": None, "output": "runs/x", "resume": False, "seed": 3,
    }  # fmt: skip
    write_options(tmp_path / "new", jsonable(Options()))
    assert read_options(tmp_path / "new") == RECORD
    assert "训练.txt" in (tmp_path / "new" / "options.json").read_text(encoding="utf-8")


def test_what_json_does_not_hold_is_no_option():
    with pytest.raises(TypeError):
        jsonable(Inner(rate={1}))


def test_a_record_that_is_missing_or_damaged_is_named(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"options\.json: no such file"):
        read_options(tmp_path)
    (tmp_path / "options.json").write_text("[1")
    with pytest.raises(ValueError, match=r"options\.json:1: not valid JSON"):
        read_options(tmp_path)


def test_values_are_compared_as_json_holds_them():
    require_same(json.loads(json.dumps(RECORD)), RECORD | {"train": (Path("a/b.txt"), "训练.txt")}, "run")


def test_another_value_is_refused_with_both():
    with pytest.raises(UserError) as caught:
        require_same(RECORD, RECORD | {"seed": 4, "train": ["c"]}, Path("runs/x"))
    assert caught.value.render(flag_of) == (
        "runs/x: the run was started with seed=3, now seed=4; resume with the same options, or start anew in another "
        "--output."
    )


def test_options_that_an_old_record_lacks_count_as_their_default():
    now = RECORD | {"patience": 0, "files": ()}
    require_same(RECORD, now, "run", defaults={"patience": 0, "files": ()})
    with pytest.raises(UserError, match="started with patience=0, now patience=2"):
        require_same(RECORD, now | {"patience": 2}, "run", defaults={"patience": 0, "files": ()})
    with pytest.raises(UserError, match="started with patience=1, now patience=0"):
        require_same(RECORD | {"patience": 1}, now, "run", defaults={"patience": 0, "files": ()})
    with pytest.raises(UserError, match="started with patience=None, now patience=0"):
        require_same(RECORD, RECORD | {"patience": 0}, "run")
    require_same(RECORD, RECORD | {"notes": None}, "run")


def test_options_that_are_no_more_count_as_their_default():
    require_same(RECORD | {"quick": False}, RECORD, "run", defaults={"quick": False})
    with pytest.raises(UserError, match="started with quick=True, now quick=False"):
        require_same(RECORD | {"quick": True}, RECORD, "run", defaults={"quick": False})


def test_renamed_options_are_the_same_ones():
    former = RECORD | {"max_length": 7}
    require_same(former, RECORD | {"seq_length": 7}, "run", renamed={"max_length": "seq_length"})
    with pytest.raises(UserError, match="started with seq_length=7, now seq_length=8"):
        require_same(
            former, RECORD | {"seq_length": 8}, "run", renamed={"max_length": "seq_length"}, defaults={"seq_length": 8}
        )


def test_a_new_run_goes_into_a_new_or_empty_folder(tmp_path):
    require_new_folder(tmp_path / "a" / "b")
    require_new_folder(tmp_path)
    assert list(tmp_path.iterdir()) == []
    (tmp_path / ".options.a1b2c3d4.json").touch()  # a process was killed while it wrote
    require_new_folder(tmp_path)
    for name in ("vocab.txt", "config.json"):
        (tmp_path / name).touch()
    message = "holds config.json, vocab.txt already; a new run goes into a new or empty folder: give another --output."
    with pytest.raises(UserError) as caught:
        require_new_folder(tmp_path)
    assert caught.value.render(flag_of) == f"{tmp_path}: {message}"
    for name in ("a.bin", "b.bin"):
        (tmp_path / name).touch()
    with pytest.raises(UserError, match=r"holds a\.bin, b\.bin, config\.json and 1 more already"):
        require_new_folder(tmp_path)


def test_a_file_is_no_place_for_a_run(tmp_path):
    (tmp_path / "file").touch()
    (tmp_path / "nowhere").symlink_to(tmp_path / "gone")
    for name, path in (("file", "file"), ("file/run", "file"), ("nowhere", "nowhere")):
        with pytest.raises(UserError, match=rf"{name}: cannot be a folder, because .*{path} is a file; give another"):
            require_new_folder(tmp_path / name)
