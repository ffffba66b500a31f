"""Packed weights: how far off they are, what comes back exactly, and damaged files."""

import json
from pathlib import Path

import numpy as np
import pytest
from safetensors import safe_open
from safetensors.numpy import load_file, save_file

import nlptasks
from nlptasks.checkpoints.packing import (
    EIGHT_BITS,
    FOUR_BITS,
    METADATA,
    load_packed,
    pack_rows,
    save_packed,
    unpack_rows,
)
from tests.test_house_rules import modules_after

pytestmark = pytest.mark.once

R, C = 61, 89
BUNDLED = next(iter(sorted(Path(nlptasks.__file__).parent.glob("*/segmenter/model.safetensors"))))


@pytest.fixture
def array(rng):
    """Rows of very different sizes, one of zeros, one of a single number."""
    array = rng.normal(size=(R, C)).astype("float32") * np.exp(rng.normal(size=(R, 1)) * 2).astype("float32")
    array[3] = 0
    array[5] = 0
    array[5, 7] = -0.5
    return array


@pytest.fixture
def arrays(array):
    return {"matrix": array, "small": array[:2, :3], "vector": array[0]}


def scales_of(array, block):
    """The largest absolute value of each number's block, counted in a loop."""
    found = np.empty_like(array)
    for start in range(0, array.shape[1], block or array.shape[1]):
        part = slice(start, start + (block or array.shape[1]))
        found[:, part] = np.abs(array[:, part]).max(axis=1, keepdims=True)
    return found


@pytest.mark.parametrize("block", [None, 1, 7, 32, 89, 101])
@pytest.mark.parametrize("levels", [FOUR_BITS, EIGHT_BITS])
def test_every_number_is_within_half_a_step_of_its_block(array, levels, block):
    back = unpack_rows(*pack_rows(array, levels, block), levels, C, block)
    assert back.shape == array.shape
    # half a step, and what float16 rounds off a scale, times `levels`: 2^-11 of it, or 2^-25 where it is below 2^-14
    bound = scales_of(array, block) * (0.5 / levels + 2**-11) + levels * 2**-25 + 1e-6
    assert (np.abs(back - array) <= bound).all()
    assert (back[3] == 0).all()


@pytest.mark.parametrize("block", [None, 1, 7, 32])
@pytest.mark.parametrize("levels", [FOUR_BITS, EIGHT_BITS])
def test_what_was_packed_once_comes_back_exactly(array, levels, block):
    array[8] *= 1e-5  # scales that float16 holds in few bits
    if levels > FOUR_BITS:
        array[np.abs(array) < levels * 1e-5] = 0
    stored, scale = pack_rows(array, levels, block)
    once = unpack_rows(stored, scale, levels, C, block)
    again = pack_rows(once, levels, block)
    np.testing.assert_array_equal(again[0], stored)
    np.testing.assert_array_equal(again[1], scale)


@pytest.mark.parametrize("width", [5, 8])
@pytest.mark.parametrize("levels", [EIGHT_BITS, FOUR_BITS])
def test_a_table_comes_back_within_half_a_level_and_packs_to_the_same_bytes(rng, levels, width):
    table = rng.normal(size=(13, width)).astype("float32") * 10.0 ** rng.integers(-9, 4, (13, 1))
    table[3] = 0.0
    stored, scale = pack_rows(table, levels)
    assert stored.nbytes == 13 * (width if levels == EIGHT_BITS else (width + 1) // 2)
    again = unpack_rows(stored, scale, levels, width)
    assert again.dtype == np.float32
    step = np.maximum(np.abs(table).max(axis=1, keepdims=True) / levels, 1e-6)
    assert (np.abs(again - table) <= 0.51 * step).all()
    twice = pack_rows(again, levels)
    assert (twice[0] == stored).all()
    assert (twice[1] == scale).all()


def test_whole_numbers_are_kept_two_in_a_byte():
    stored, scale = pack_rows(np.array([[7.0, -7.0, 1.0, 0.0, -3.0]]), FOUR_BITS)
    assert scale.tolist() == [[1.0]]
    assert stored.tolist() == [[15 + 1 * 16, 9 + 8 * 16, 5 + 8 * 16]]
    assert unpack_rows(stored, scale, FOUR_BITS).tolist() == [[7, -7, 1, 0, -3, 0]]


def test_scales_of_another_block_are_refused(array):
    stored, scale = pack_rows(array, FOUR_BITS, 32)
    with pytest.raises(ValueError, match=r"scale must have the shape \(61, 6\)\. Received: \(61, 3\)\."):
        unpack_rows(stored, scale, FOUR_BITS, C, 16)


@pytest.mark.parametrize(("name", "levels"), [("unit", EIGHT_BITS), ("pair", FOUR_BITS)])
def test_bundled_segmenter_is_stored_in_these_bytes(name, levels):
    tensors = load_file(BUNDLED)
    stored, scale = tensors[name], tensors[f"{name}.scale"]
    array = unpack_rows(stored, scale, levels)
    again, scale_again = pack_rows(array, levels)
    assert (again.dtype, scale_again.dtype) == (stored.dtype, scale.dtype)
    np.testing.assert_array_equal(again, stored)
    np.testing.assert_array_equal(scale_again, scale)


def test_file_holds_matrices_in_few_bits_and_the_rest_in_float16(arrays, tmp_path):
    path = tmp_path / "a.safetensors"
    save_packed(path, arrays, block=32)
    stored, back = load_file(path), load_packed(path)
    assert {name: array.dtype.name for name, array in stored.items()} == {
        "matrix": "uint8",
        "matrix.scale": "float16",
        "small": "float16",
        "vector": "float16",
    }
    assert stored["matrix"].shape == (R, 45)
    assert stored["matrix.scale"].shape == (R, 3)
    np.testing.assert_array_equal(back["matrix"], unpack_rows(*pack_rows(arrays["matrix"], 7, 32), 7, C, 32))
    np.testing.assert_array_equal(back["vector"], arrays["vector"].astype("float16"))
    assert {array.dtype.name for array in back.values()} == {"float32"}
    save_packed(tmp_path / "b.safetensors", back, block=32)
    assert (tmp_path / "b.safetensors").read_bytes() == path.read_bytes()


def test_bits_may_differ_by_name(arrays, tmp_path):
    arrays["other"] = arrays["third"] = arrays["matrix"]
    save_packed(tmp_path / "a", arrays, bits=lambda name: {"matrix": 8, "other": 0}.get(name, 4), block=None)
    stored = load_file(tmp_path / "a")
    assert [stored[name].dtype.name for name in ("matrix", "other", "third")] == ["int8", "float16", "uint8"]
    assert stored["matrix.scale"].shape == (R, 1)
    off = {name: np.abs(array - arrays[name]).max() for name, array in load_packed(tmp_path / "a").items()}
    assert off["other"] < off["matrix"] < off["third"]


def test_what_cannot_be_packed_is_refused(arrays, tmp_path):
    with pytest.raises(ValueError, match=r"bits must be 4, 8, or 0 for float16\. Received: bits=5 for matrix\."):
        save_packed(tmp_path / "a", arrays, bits=5)
    with pytest.raises(ValueError, match=r"block must be at least 1, or None\. Received: block=0\."):
        save_packed(tmp_path / "a", arrays, block=0)
    with pytest.raises(ValueError, match=r"matrix cannot be packed: there is a tensor matrix\.scale already\."):
        save_packed(tmp_path / "a", arrays | {"matrix.scale": arrays["vector"]})
    for value in (np.nan, np.inf, 1e6):
        arrays["matrix"][1, 1] = value
        with pytest.raises(ValueError, match="matrix holds numbers that are not finite, or too large for float16"):
            save_packed(tmp_path / "a", arrays)
    assert not list(tmp_path.iterdir())


def refused(path):
    with pytest.raises(ValueError, match=r".") as caught:
        load_packed(path)
    message = str(caught.value)
    assert "\n" not in message
    assert message.startswith(f"{path}: ")
    return message


def test_damaged_files_are_refused_in_one_line(arrays, tmp_path):
    path = tmp_path / "a.safetensors"
    save_packed(path, arrays)
    whole, tensors = path.read_bytes(), load_file(path)
    with safe_open(path, framework="numpy") as file:
        told = json.loads(file.metadata()[METADATA])
    for place in (len(whole) - 1, len(whole) - 2000, len(whole) // 2):  # bits of tensors
        path.write_bytes(whole[:place] + bytes([whole[place] ^ 4]) + whole[place + 1 :])
        assert "damaged: its tensors are not those that were written" in refused(path)
    for cut in (0, 5, 100, len(whole) - 1):
        path.write_bytes(whole[:cut])
        assert "not a readable safetensors file" in refused(path)
    save_file(tensors, path)
    assert "not a packed file" in refused(path)

    def save(told):
        save_file(tensors, path, metadata={METADATA: told})

    for wrong in ("", "{", "[]", "7", '{"sha256": ""}', json.dumps({"sha256": told["sha256"], "tensors": 1})):
        save(wrong)
        assert "damaged" in refused(path)
    way = told["tensors"]["matrix"]
    changes = ({"bits": 5}, {"block": 0}, {"block": 7}, {"block": "x"}, {"more": 1}, {"columns": 700})
    for tensors_told in ({"matrix": {}}, {"other": way}, {"vector": way}, *({"matrix": way | c} for c in changes)):
        save(json.dumps(told | {"tensors": tensors_told}))
        assert "in its metadata does not fit its tensors" in refused(path)
    with pytest.raises(FileNotFoundError, match="no such file"):
        load_packed(tmp_path / "b")


def test_packed_directory_opens_like_any_other(tmp_path):
    from nlptasks.checkpoints.huggingface import save_directory
    from nlptasks.core import Transformer, TransformerConfig

    config = TransformerConfig(
        vocab_size=211, hidden_size=30, num_layers=2, num_heads=5, ffn_size=141, max_positions=37
    )
    model = Transformer(config, with_mlm="linear")
    model.build()
    token_ids = np.array([[2, 3, 5, 7, 11, 13], [17, 19, 23, 0, 0, 0]], "int32")
    expected = np.asarray(model([token_ids, np.zeros_like(token_ids)]))
    off = {}
    for bits in (4, 8):
        save_directory(model, tmp_path / str(bits), bits=bits)
        opened = nlptasks.build_transformer_model(tmp_path / str(bits), tmp_path / str(bits), with_mlm="linear")
        off[bits] = np.abs(np.asarray(opened([token_ids, np.zeros_like(token_ids)])) - expected).max()
    assert 0 < off[8] < off[4] < 0.2 * np.abs(expected).max()
    assert json.loads((tmp_path / "4" / "config.json").read_text())["model_type"] == "nlptasks"
    path = tmp_path / "4" / "model.safetensors"
    whole = path.read_bytes()
    path.write_bytes(whole[:-1] + bytes([whole[-1] ^ 1]))
    with pytest.raises(ValueError, match="damaged: its tensors are not those that were written"):
        nlptasks.build_transformer_model(tmp_path / "4", tmp_path / "4", with_mlm="linear")


def test_packing_needs_no_backend():
    assert modules_after("import nlptasks.checkpoints.packing", "keras", "tensorflow", "jax", "torch") == set()
