"""Checkpoints: whole or not used."""

import tests.pretraining.jax_only  # noqa: F401, I001

import json

import jax
import numpy as np
import pytest
from jax import numpy as jnp

from nlptasks.pretraining.checkpoints import MANIFEST, PROGRESS, Checkpoints, damage

STEPS = (3, 5, 8, 13)


def state_of(step, width=7):
    random = np.random.default_rng(step)
    return {
        "weights": [jnp.asarray(random.normal(size=(5, width)).astype("float32")), jnp.arange(3) + step],
        "usual": jnp.asarray(float(step), "float32"),
    }


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    folder = tmp_path_factory.mktemp("run") / "checkpoints"
    with Checkpoints(folder, keep=3) as checkpoints:
        for step in STEPS:
            checkpoints.save(step, state_of(step), {"step": step, "data": {"next_index": step}})
    return folder


@pytest.fixture
def copy(saved, tmp_path):
    """A copy that may be damaged."""
    import shutil

    return shutil.copytree(saved, tmp_path / "checkpoints")


def restored(folder, like=None):
    said = []
    with Checkpoints(folder) as checkpoints:
        found = checkpoints.restore_newest(like or state_of(0), said.append)
    return found, said


def files(folder):
    return sorted(path for path in folder.rglob("*") if path.is_file())


def test_the_newest_is_restored_bit_by_bit_and_the_last_ones_are_kept(saved):
    (step, state, progress), said = restored(saved)
    assert step == 13
    assert not said
    assert progress == {"step": 13, "data": {"next_index": 13}}
    jax.tree.map(np.testing.assert_array_equal, state, state_of(13))
    assert sorted(path.name for path in saved.iterdir()) == ["00000005", "00000008", "00000013"]


def test_every_flipped_bit_and_every_cut_is_found_and_the_one_before_is_used(copy):
    random = np.random.default_rng(0)
    newest = copy / "00000013"
    assert damage(newest) is None
    whole = [path for path in files(newest) if path.stat().st_size]
    assert len(whole) >= 8
    for path in whole:
        content = path.read_bytes()
        flipped, at = bytearray(content), int(random.integers(len(content)))
        flipped[at] ^= 1 << int(random.integers(8))
        for broken in (bytes(flipped), content[: int(random.integers(len(content)))]):
            path.write_bytes(broken)
            (step, state, _), said = restored(copy)
            assert step == 8, path
            jax.tree.map(np.testing.assert_array_equal, state, state_of(8))
            assert len(said) == 1
            assert "00000013: not used (" in said[0]
            assert "trying the checkpoint before it" in said[0]
        path.write_bytes(content)
    assert damage(newest) is None


def test_a_checkpoint_that_was_not_sealed_is_not_used_and_is_written_anew(copy):
    (copy / "00000013" / MANIFEST).unlink()
    (step, _, _), said = restored(copy)
    assert step == 8
    assert "it was not finished: no manifest.json" in said[0]
    with Checkpoints(copy) as checkpoints:
        checkpoints.save(13, state_of(14), {"step": 13})
    (step, state, _), said = restored(copy)
    assert (step, said) == (13, [])
    jax.tree.map(np.testing.assert_array_equal, state, state_of(14))


def test_a_run_killed_in_its_first_save_begins_anew(copy):
    for folder in copy.iterdir():
        (folder / MANIFEST).unlink()
    found, said = restored(copy)
    assert found is None
    assert len(said) == 3


def test_a_branch_that_was_passed_over_neither_counts_nor_stays(copy):
    (copy / "00000013" / MANIFEST).unlink()
    with Checkpoints(copy, keep=1) as checkpoints:
        assert checkpoints.restore_newest(state_of(0), lambda line: None)[0] == 8
        checkpoints.save(9, state_of(9), {"step": 9})
    assert [path.name for path in copy.iterdir()] == ["00000009"]
    assert restored(copy)[0][0] == 9


def test_missing_and_foreign_files_are_named(copy):
    folder = copy / "00000013"
    (folder / PROGRESS).unlink()
    assert damage(folder) == "progress.json is missing"
    folder = copy / "00000008"
    (folder / "state" / "more").write_text("x")
    assert damage(folder) == "state/more does not belong to it"
    folder = copy / "00000005"
    manifest = json.loads((folder / MANIFEST).read_text())
    manifest["files"][PROGRESS]["bytes"] += 1
    (folder / MANIFEST).write_text(json.dumps(manifest))
    assert "progress.json has" in damage(folder)
    with pytest.raises(ValueError, match="none of its 3 checkpoints is whole; start anew"):
        restored(copy)


def test_no_checkpoint_is_no_error(tmp_path):
    assert restored(tmp_path / "none") == (None, [])


def test_a_checkpoint_of_another_model_is_refused(saved):
    with pytest.raises(ValueError, match="00000013: does not fit this model"):
        restored(saved, state_of(0, width=9))


def test_what_went_wrong_in_the_background_is_raised(tmp_path):
    with pytest.raises(TypeError, match="not JSON serializable"), Checkpoints(tmp_path / "c") as checkpoints:
        checkpoints.save(1, state_of(1), {"step": object()})


def test_a_state_that_could_not_be_written_is_not_sealed(tmp_path, monkeypatch):
    with Checkpoints(tmp_path / "c") as checkpoints:
        checkpoints.save(1, state_of(1), {"step": 1})

        def fail():
            raise OSError("no space left")

        checkpoints.wait()
        with monkeypatch.context() as patch:
            patch.setattr(checkpoints._writer, "wait_until_finished", fail)
            checkpoints._seal(checkpoints._folder(2), "{}")
        with pytest.raises(OSError, match="no space left"):
            checkpoints.wait()
    assert [path.name for path in (tmp_path / "c").iterdir()] == ["00000001"]
