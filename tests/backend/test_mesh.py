"""Task scripts on several devices: the weights of one device, up to rounding."""

import json

import keras
import numpy as np
import pytest
from safetensors.numpy import load_file

from nlptasks.backend import over_devices
from nlptasks.train.run import start_run
from tests.applications.labeling.label_cases import BAD, GOOD
from tests.commands.scripts import call, load_script


@pytest.fixture(autouse=True)
def _one_device_afterwards():
    yield
    keras.distribution.set_distribution(None)


@pytest.mark.skipif(keras.backend.backend() != "jax", reason="meshes are JAX's: KERAS_BACKEND=jax")
def test_a_classifier_trained_on_a_mesh_has_the_weights_of_one_device(tmp_path):
    script = load_script("text_classification")
    lines = [json.dumps({"text": text, "label": label}) for label, texts in enumerate((BAD, GOOD)) for text in texts]
    (tmp_path / "texts.jsonl").write_text("\n".join(lines), encoding="utf-8")
    given = ("--train", tmp_path / "texts.jsonl", "--valid", tmp_path / "texts.jsonl", "--epochs", 2, "--batch-size", 4)
    sizes = ("--hidden-size", 24, "--num-layers", 1, "--num-heads", 2, "--ffn-size", 28, "--max-length", 19)
    found = {}
    for mesh in ((), ("--mesh", "data=4"), ("--mesh", "data=2,model=2", "--accumulate", 2)):
        keras.distribution.set_distribution(None)
        output = tmp_path / "-".join(["run", *map(str, mesh)])
        result = call(
            script, "train", *given, *sizes, *mesh, "--output", output, "--dropout", 0, "--learning-rate", 0.01
        )
        assert result.status == 0, result.err
        log = json.loads((output / "log.json").read_text(encoding="utf-8"))
        found[mesh] = ([row["accuracy"] for row in log], load_file(output / "model.safetensors"))
    alone, cut = found[()], found["--mesh", "data=4"]
    assert alone[0] == cut[0]
    for name, expected in alone[1].items():
        np.testing.assert_allclose(cut[1][name], expected, atol=2e-4, err_msg=name)
    largest = max(np.abs(array).max() for array in alone[1].values())
    assert largest > 0.1
    assert found["--mesh", "data=2,model=2", "--accumulate", 2][0][-1] >= 0.5


@pytest.mark.skipif(keras.backend.backend() != "jax", reason="meshes are JAX's: KERAS_BACKEND=jax")
def test_a_batch_is_cut_over_the_devices_where_the_mesh_divides_it():
    start_run(1, mesh="data=4")
    cut = over_devices({"even": np.ones((8, 3)), "odd": np.ones((7, 3))})
    shapes = {name: {shard.data.shape for shard in array.addressable_shards} for name, array in cut.items()}
    assert shapes == {"even": {(2, 3)}, "odd": {(7, 3)}}
    keras.distribution.set_distribution(None)
    plain = {"even": np.ones((8, 3))}
    assert over_devices(plain) is plain


@pytest.mark.skipif(keras.backend.backend() == "jax", reason="JAX has meshes")
def test_a_mesh_on_another_backend_is_refused_with_the_way_out():
    with pytest.raises(ValueError, match="mesh runs on JAX; set the environment variable KERAS_BACKEND=jax"):
        start_run(1, mesh="data=2")
