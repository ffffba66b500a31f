"""Checkpoints as other programs leave them: any name, heads and slots of their own, without the head that is wanted."""

import json
import logging
import shutil

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

import nlptasks
from nlptasks.applications.encoder import make_tokenizer, make_transformer
from nlptasks.applications.options import EncoderTraining
from nlptasks.checkpoints.huggingface import save_directory
from nlptasks.checkpoints.weights import export_weights
from nlptasks.core import Transformer, TransformerConfig
from nlptasks.errors import UserError
from nlptasks.text import Tokenizer, build_character_vocab
from tests.parity import randomised
from tests.text.kinds import piece_model

pytestmark = pytest.mark.once
VOCAB = build_character_vocab(["今天天气很好"])
SIZES = {
    "vocab_size": len(VOCAB),
    "hidden_size": 12,
    "num_layers": 1,
    "num_heads": 3,
    "ffn_size": 17,
    "max_positions": 19,
}


def made(**changes):
    model = Transformer(TransformerConfig(**(SIZES | changes)), with_mlm="linear")
    model.build()
    return randomised(model)


def google_names(model):
    """Google's names of a model's weights, kernels as (in, out)."""
    for name, array in export_weights(model).items():
        name = name.replace("encoder.layer.", "encoder.layer_")
        if not name.startswith("cls."):
            name = "bert." + name
        name = name.replace("LayerNorm.weight", "LayerNorm.gamma").replace("LayerNorm.bias", "LayerNorm.beta")
        if name.endswith("_embeddings.weight"):
            name = name.removesuffix(".weight")
        elif name.endswith(".weight"):
            name, array = name.removesuffix("weight") + "kernel", array.T
        name = name.replace("cls.predictions.bias", "cls.predictions.output_bias")
        yield name.replace(".", "/"), array


def save_google(directory, prefix, model, slots=()):
    """Writes a TensorFlow checkpoint, each weight with such slots."""
    import tensorflow as tf

    weights = list(google_names(model))
    with tf.Graph().as_default(), tf.compat.v1.Session() as session:
        for name, array in weights:
            for suffix in ("", *slots):
                tf.compat.v1.get_variable(name + suffix, initializer=tf.constant(array))
        session.run(tf.compat.v1.global_variables_initializer())
        tf.compat.v1.train.Saver().save(session, str(directory / prefix))
    (directory / "checkpoint").unlink()


def write_config(directory, name="bert_config.json"):
    config = {
        "vocab_size": len(VOCAB),
        "hidden_size": 12,
        "num_hidden_layers": 1,
        "num_attention_heads": 3,
        "intermediate_size": 17,
        "max_position_embeddings": 19,
        "type_vocab_size": 2,
        "hidden_act": "gelu",
    }
    (directory / name).write_text(json.dumps(config))


@pytest.fixture(scope="module")
def google(tmp_path_factory):
    """A directory with two steps of a run of another program."""
    directory, former, model = tmp_path_factory.mktemp("google"), made(), made()
    save_google(directory, "model.ckpt-900", former)
    save_google(directory, "model.ckpt-20000", model, slots=("/AdamWeightDecayOptimizer", "/ExponentialMovingAverage"))
    write_config(directory)
    Tokenizer(VOCAB).save(directory)
    return directory, model


def same(ours, model):
    token_ids = np.array([[2, 5, 6, 3]], "int32")
    return np.abs(np.asarray(ours.encode(token_ids)) - np.asarray(model.encode(token_ids))).max() < 1e-5


@pytest.mark.parametrize("path", ["", "model.ckpt-20000", "model.ckpt-20000.index", "model.ckpt-20000.meta"])
def test_any_path_of_a_tensorflow_checkpoint_opens(path, google, caplog):
    directory, model = google
    given = directory / path
    options = EncoderTraining(output=directory / "run", checkpoint=str(given))
    tokenizer = make_tokenizer(options, [])
    assert tokenizer.vocab == VOCAB
    with caplog.at_level(logging.WARNING):
        ours = make_transformer(options, tokenizer, 19)
    assert same(ours, model)
    slots = 2 * len(export_weights(model))
    [record] = caplog.records
    assert record.getMessage().startswith(f"{given}: {slots} weights of other tasks or of an optimizer left over (")


def test_the_config_may_have_another_name(google, tmp_path):
    directory, model = google
    for file in directory.glob("model.ckpt-20000*"):
        shutil.copy(file, tmp_path / file.name)
    write_config(tmp_path, "bert_config_rbt2.json")
    (tmp_path / "tokenizer_config.json").write_text("{}")
    assert same(nlptasks.build_transformer_model(tmp_path, tmp_path), model)


def test_albert_config_says_that_it_is_an_albert(tmp_path):
    write_config(tmp_path, "albert_config.json")
    assert nlptasks.build_transformer_model(tmp_path).config.shared_layers


@pytest.fixture
def folder(tmp_path):
    save_directory(made(), tmp_path)
    return tmp_path


def edit(folder, change):
    tensors = load_file(folder / "model.safetensors")
    change(tensors)
    save_file(tensors, folder / "model.safetensors")


def test_heads_and_slots_of_other_programs_are_counted_in_one_line(folder, caplog):
    more = {"classifier.weight": 2, "classifier.bias": 1, "qa_outputs.bias": 1, "output_weights": 3, "x.accum": 2}
    edit(folder, lambda tensors: tensors.update({name: np.zeros(size, "float32") for name, size in more.items()}))
    nlptasks.build_transformer_model(folder, folder)
    [record] = caplog.records
    assert record.getMessage().startswith(f"{folder}: 5 weights of other tasks or of an optimizer left over (")
    assert "\n" not in record.getMessage()


def without_head(tensors):
    for name in [name for name in tensors if name.startswith("cls.")]:
        del tensors[name]


def test_a_model_without_the_masked_lm_head_gets_a_fresh_one(folder, caplog):
    edit(folder, without_head)
    ours = nlptasks.build_transformer_model(folder, folder, with_mlm="linear")
    assert [record.getMessage() for record in caplog.records] == [f"{folder}: has no masked-LM head: fresh weights"]
    assert np.isfinite(np.asarray(ours(np.array([[2, 5, 3]], "int32")))).all()
    assert np.asarray(ours.mlm.dense.kernel.value).any()


def test_a_part_of_the_masked_lm_head_is_not_enough(folder):
    edit(folder, lambda tensors: tensors.pop("cls.predictions.bias"))
    with pytest.raises(ValueError, match=r"missing: cls\.predictions\.bias\."):
        nlptasks.build_transformer_model(folder, folder, with_mlm=True)


def test_a_complete_model_says_nothing(folder, caplog):
    nlptasks.build_transformer_model(folder, folder, with_mlm=True)
    assert not caplog.records


def test_a_run_can_name_what_else_to_skip(folder):
    edit(folder, lambda tensors: tensors.update({"tagger.weight": np.zeros(3, "float32")}))
    Tokenizer(VOCAB).save(folder)
    options = {"output": folder / "run", "checkpoint": str(folder)}
    tokenizer = make_tokenizer(EncoderTraining(**options), [])
    with pytest.raises(ValueError, match=r"left over: tagger\.weight.*--skip-weights"):
        make_transformer(EncoderTraining(**options), tokenizer, 19)
    make_transformer(EncoderTraining(**options, skip_weights=("tagger.",)), tokenizer, 19)


@pytest.mark.parametrize(
    "text",
    [
        "{",
        "{}",
        '{"weight_map": {"a": 1}}',
        '{"weight_map": {}}',
        '{"weight_map": {"a": "../b"}}',
        '{"weight_map": {"a": ""}}',
    ],
)
def test_a_damaged_index_of_shards_gets_one_line_with_its_path(text, folder):
    (folder / "model.safetensors").unlink()
    index = folder / "model.safetensors.index.json"
    index.write_text(text)
    with pytest.raises(ValueError, match=r"model\.safetensors\.index\.json:") as error:
        nlptasks.build_transformer_model(folder, folder)
    assert "\n" not in str(error.value)


def test_shards_open_by_their_index(folder):
    tensors = load_file(folder / "model.safetensors")
    (folder / "model.safetensors").unlink()
    names = sorted(tensors)
    for number, part in enumerate((names[:9], names[9:])):
        save_file({name: tensors[name] for name in part}, folder / f"model-{number}.safetensors")
    files = {name: f"model-{int(name in names[9:])}.safetensors" for name in names}
    index = folder / "model.safetensors.index.json"
    index.write_text(json.dumps({"weight_map": files}))
    by_index, by_folder = (nlptasks.build_transformer_model(path, path) for path in (index, folder))
    assert same(by_index, by_folder)


def test_a_tokenizer_that_puts_nothing_before_a_text_is_refused_in_one_line(folder):
    pytest.importorskip("sentencepiece", reason="the test extra brings sentencepiece")
    (folder / "spiece.model").write_bytes(piece_model())
    options = EncoderTraining(output=folder / "run", checkpoint=str(folder))
    with pytest.raises(UserError, match=r"its tokenizer puts nothing before a text, as T5's and GPT's do not"):
        make_tokenizer(options, [])
