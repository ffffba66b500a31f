"""A checkpoint fits whole or not at all; the message lists what was wanted and what was left over."""

import json

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

import nlptasks
from nlptasks.checkpoints.huggingface import save_directory
from nlptasks.core import Transformer, TransformerConfig
from tests.parity import randomised

SIZES = {"vocab_size": 31, "hidden_size": 12, "num_layers": 2, "num_heads": 3, "ffn_size": 17, "max_positions": 19}


@pytest.fixture
def folder(tmp_path):
    model = Transformer(TransformerConfig(**SIZES), with_pool=True, with_mlm="linear")
    model.build()
    save_directory(randomised(model), tmp_path)
    return tmp_path


def edit(folder, change):
    tensors = load_file(folder / "model.safetensors")
    change(tensors)
    save_file(tensors, folder / "model.safetensors")


def test_a_missing_weight_is_named(folder):
    edit(folder, lambda tensors: tensors.pop("bert.encoder.layer.1.output.dense.bias"))
    with pytest.raises(ValueError, match=r"missing: encoder.layer.1.output.dense.bias\."):
        nlptasks.build_transformer_model(folder, folder)


def test_a_weight_left_over_is_named(folder):
    edit(folder, lambda tensors: tensors.update({"tagger.weight": np.zeros((2, 12), "float32")}))
    with pytest.raises(ValueError, match=r"left over: tagger.weight\."):
        nlptasks.build_transformer_model(folder, folder)
    nlptasks.build_transformer_model(folder, folder, skip=["tagger."])


def test_a_head_that_the_file_lacks_is_an_error_unless_named(folder):
    with pytest.raises(ValueError, match=r"missing: cls\.seq_relationship\.weight, cls\.seq_relationship\.bias"):
        nlptasks.build_transformer_model(folder, folder, with_nsp=True)
    nlptasks.build_transformer_model(folder, folder, with_nsp=True, skip=["cls.seq_relationship."])


def test_another_size_is_named_with_both_shapes(folder):
    with pytest.raises(ValueError, match=r"attention.self.query.weight \(model \(12, 15\), file \(12, 12\)\)"):
        nlptasks.build_transformer_model(folder, folder, key_size=5)


def test_layers_left_over_are_an_error(folder):
    with pytest.raises(ValueError, match=r"left over: encoder.layer.1.*and 10 more"):
        nlptasks.build_transformer_model(folder, folder, num_layers=1)


def test_an_output_matrix_that_is_not_the_embedding_is_refused(folder):
    def untie(tensors):
        tensors["cls.predictions.decoder.weight"] = tensors["bert.embeddings.word_embeddings.weight"] + 1

    edit(folder, untie)
    with pytest.raises(ValueError, match=r"not tied: cls\.predictions\.decoder\.weight"):
        nlptasks.build_transformer_model(folder, folder)


def test_a_refused_checkpoint_changes_nothing(folder):
    from nlptasks.loading import load_weights

    model = Transformer(TransformerConfig(**SIZES))
    model.build()
    before = [np.asarray(v.value) for v in model.trainable_variables]
    edit(folder, lambda tensors: tensors.pop("bert.encoder.layer.1.output.LayerNorm.bias"))
    with pytest.raises(ValueError, match="does not fit"):
        load_weights(model, folder)
    assert all((a == np.asarray(v.value)).all() for a, v in zip(before, model.trainable_variables, strict=True))


def test_keep_tokens_cuts_embedding_and_output_bias(folder):
    keep = [0, 7, 3, 30]
    whole = nlptasks.build_transformer_model(folder, folder, with_mlm="linear")
    cut = nlptasks.build_transformer_model(folder, folder, with_mlm="linear", keep_tokens=keep)
    token_ids = np.array([[1, 2, 3]], "int32")
    kept = np.asarray(whole(np.asarray(keep)[token_ids]))[:, :, keep]
    assert np.allclose(np.asarray(cut(token_ids)), kept, atol=1e-5)
    with pytest.raises(ValueError, match=r"keep_tokens must lie in \[0, 31\). Received: 31"):
        nlptasks.build_transformer_model(folder, folder, keep_tokens=[0, 31])


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"model_type": "bloom"}, "model_type 'bloom' is another architecture"),
        ({"hidden_size": None}, "lacks hidden_size; is it a BERT config"),
        ({"position_embedding_type": "relative_key"}, "position_embedding_type='relative_key' is not supported"),
        ({"num_attention_heads": 5}, "multiple of num_heads"),
    ],
)
def test_a_config_that_cannot_be_computed_is_refused(folder, change, message):
    values = json.loads((folder / "config.json").read_text()) | change
    (folder / "config.json").write_text(json.dumps(values))
    with pytest.raises(ValueError, match=message) as error:
        nlptasks.build_transformer_model(folder, folder)
    assert str(error.value).startswith(str(folder / "config.json"))
    assert "\n" not in str(error.value)


def test_files_that_are_not_checkpoints_are_named(folder, tmp_path):
    build = nlptasks.build_transformer_model
    with pytest.raises(FileNotFoundError, match=r"nowhere: no such checkpoint"):
        build(folder, tmp_path / "nowhere")
    (tmp_path / "broken.h5").write_bytes(b"no hdf5")
    with pytest.raises(ValueError, match=r"broken.h5: not a readable HDF5 file"):
        build(folder, tmp_path / "broken.h5")
    (tmp_path / "cut.safetensors").write_bytes((folder / "model.safetensors").read_bytes()[:200])
    with pytest.raises(ValueError, match=r"cut.safetensors: not a readable safetensors file"):
        build(folder, tmp_path / "cut.safetensors")
    (tmp_path / "broken.ckpt.index").write_bytes(b"no checkpoint")
    with pytest.raises(ValueError, match=r"broken.ckpt: not a readable TensorFlow checkpoint"):
        build(folder, tmp_path / "broken.ckpt")
    (tmp_path / "pickled").mkdir()
    (tmp_path / "pickled" / "pytorch_model.bin").write_bytes(b"")
    with pytest.raises(ValueError, match=r"pytorch_model.bin: not a file of weights alone"):
        build(folder, tmp_path / "pickled")
    with pytest.raises(FileNotFoundError, match=r"holds neither config.json nor bert_config.json"):
        build(tmp_path / "pickled", folder)
    with pytest.raises(ValueError, match=r"unknown config field\(s\) hiden_size"):
        build(folder, folder, hiden_size=3)
