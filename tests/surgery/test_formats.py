"""Checkpoints in other formats: what is written is what bert4keras and Google wrote, byte for byte of the weights."""

import h5py
import numpy as np
import pytest

from nlptasks.checkpoints.bert4keras import write_bert4keras
from nlptasks.checkpoints.google import write_google
from nlptasks.core import Transformer, TransformerConfig
from nlptasks.surgery.opened import open_checkpoint
from tests.golden.bert4keras_cases import CASES, GOOGLE

pytestmark = pytest.mark.once
FAMILY = {case: options.get("model") for case, options in CASES.items()}


def layers(path):
    """The layers with weights of a file of bert4keras, in their order, each with its weights."""
    with h5py.File(path) as file:
        names = [name.decode() if isinstance(name, bytes) else name for name in file.attrs["layer_names"]]
        found = []
        for layer in names:
            weights = [w.decode() if isinstance(w, bytes) else w for w in file[layer].attrs["weight_names"]]
            if weights:
                found.append((layer, [(w, file[layer][w][()]) for w in weights]))
        return found


@pytest.mark.parametrize("case", CASES)
def test_a_file_for_bert4keras_is_the_one_that_bert4keras_wrote(case, golden, tmp_path):
    folder = golden / "bert4keras"
    opened = open_checkpoint(folder / f"{case}.h5", folder / f"{case}.json", FAMILY[case])
    assert opened.left_over in ((), ("encoder.relative_positions",))
    write_bert4keras(tmp_path / "again.h5", opened.model)
    theirs, ours = layers(folder / f"{case}.h5"), layers(tmp_path / "again.h5")
    assert [name for name, _ in ours] == [name for name, _ in theirs]
    for (layer, weights), (_, wanted) in zip(ours, theirs, strict=True):
        assert [name for name, _ in weights] == [name for name, _ in wanted], layer
        for (name, array), (_, expected) in zip(weights, wanted, strict=True):
            # NEZHA's sinusoids are computed, all else is copied
            near = 1e-6 if layer == "Embedding-Relative-Position" else 0.0
            np.testing.assert_allclose(array, expected, atol=near, rtol=0, err_msg=name)


@pytest.mark.parametrize("case", GOOGLE)
def test_a_tensorflow_checkpoint_has_the_names_and_arrays_of_googles(case, golden, tmp_path):
    from tensorflow.train import load_checkpoint

    folder = golden / "bert4keras"
    source = folder / GOOGLE[case]
    opened = open_checkpoint(source, folder / f"{case}.json", FAMILY[case])
    write_google(tmp_path / "again.ckpt", opened.model, opened.model_type)
    theirs, ours = load_checkpoint(str(source)), load_checkpoint(str(tmp_path / "again.ckpt"))
    wanted = set(theirs.get_variable_to_shape_map()) - set(opened.left_over)
    assert set(ours.get_variable_to_shape_map()) == wanted
    for name in wanted:
        np.testing.assert_array_equal(ours.get_tensor(name), theirs.get_tensor(name), err_msg=name)


def model(**changes):
    made = Transformer(
        TransformerConfig(vocab_size=11, hidden_size=6, num_layers=1, num_heads=2, ffn_size=5, **changes)
    )
    made.build()
    return made


@pytest.mark.parametrize(
    ("changes", "what"),
    [
        ({"position": "counted", "pad_id": 1}, "positions counted from the padding id"),
        ({"talking_heads": True}, "talking heads"),
        ({"pad_id": 1}, "padding other than id 0"),
        ({"layer_norm_epsilon": 1e-5}, "a layer_norm_eps other than 1e-12"),
    ],
)
def test_what_another_program_has_no_model_for_is_refused_by_name(changes, what, tmp_path):
    with pytest.raises(ValueError, match=f"bert4keras knows no model with {what}"):
        write_bert4keras(tmp_path / "x.h5", model(**changes))
    with pytest.raises(ValueError, match=f"Google's checkpoints know no model with {what}"):
        write_google(tmp_path / "x.ckpt", model(**changes), "bert")
    assert list(tmp_path.iterdir()) == []
