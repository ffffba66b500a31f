"""`nlptasks checkpoint`: each verb on small checkpoints, and what it refuses."""

import json
import shutil

import numpy as np
import pytest
from keras import ops

import nlptasks
from nlptasks.checkpoints.huggingface import save_directory
from nlptasks.command import main
from nlptasks.core import Transformer, TransformerConfig
from nlptasks.surgery.opened import open_checkpoint
from nlptasks.surgery.options import even_layers
from nlptasks.surgery.publishing import largest_difference
from nlptasks.text import Tokenizer, open_tokenizer
from tests.parity import TOLERANCE, randomised

pytestmark = pytest.mark.once
TOKENS = [
    "[PAD]",
    "[unused1]",
    "[UNK]",
    "[CLS]",
    "[SEP]",
    "[MASK]",
    *"今天气很好我们去山上",
    "run",
    "##ning",
    "##s",
    "walk",
]
VOCAB = {token: i for i, token in enumerate(TOKENS)}


def made(directory, tokenizer=None, **changes):
    """A directory with a small network and a tokenizer; returns the network."""
    tokenizer = tokenizer or Tokenizer(VOCAB)
    sizes = {"vocab_size": tokenizer.vocab_size, "hidden_size": 12, "num_layers": 2, "num_heads": 3, "ffn_size": 17}
    heads = {name: changes.pop(name) for name in ("with_pool", "with_nsp", "with_mlm") if name in changes}
    config = TransformerConfig(**(sizes | {"max_positions": 19, "pad_id": tokenizer.pad_id} | changes))
    model = Transformer(config, **({"with_mlm": "linear"} | heads))
    model.build()
    save_directory(randomised(model), directory)
    tokenizer.save(directory)
    return model


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    directory = tmp_path_factory.mktemp("saved")
    made(directory)
    return directory


@pytest.fixture
def checkpoint(saved, tmp_path):
    shutil.copytree(saved, tmp_path / "old")
    return tmp_path / "old"


def run(*words, expected=0):
    assert main(["checkpoint", *map(str, words)]) == expected


def hidden(model, ids):
    return ops.convert_to_numpy(model.encode(np.array([ids], "int32")))


# show


def test_show_says_family_sizes_tokenizer_and_what_it_fits(checkpoint, capsys):
    run("show", checkpoint, "--json")
    values = json.loads(capsys.readouterr().out)
    assert (values["family"], values["heads"], values["stored"]) == ("bert", ["masked LM"], "F32")
    assert values["sizes"]["num_layers"] == 2
    assert values["tokenizer"] == {"file": "vocab.txt", "kind": "WordPiece", "tokens": len(VOCAB), "lowercase": True}
    assert values["parameters"] == sum(int(np.prod(shape)) for shape in values["tensors"].values())
    assert "filling" in values["fits"]
    assert values["fits_not"] == {}
    run("show", checkpoint, "--tensors")
    text = capsys.readouterr().out
    assert "2 x 12, 3 heads (keys 4, values 4), feed-forward 17" in text
    assert "  encoder.layer.1.output.dense.weight 17 x 12\n" in text


def test_show_says_what_does_not_fit_and_why(tmp_path, capsys):
    made(tmp_path / "a", with_mlm=False, shared_layers=True)
    run("show", tmp_path / "a")
    assert "not          filling: it has no masked-LM head\nnot          compression: all its layers are one\n" in (
        capsys.readouterr().out
    )
    (tmp_path / "a" / "vocab.txt").unlink()
    run("show", tmp_path / "a", "--json")
    values = json.loads(capsys.readouterr().out)
    assert values["fits"] == []
    assert set(values["fits_not"].values()) == {"no tokenizer beside the weights"}


def test_an_application_is_shown_and_not_changed(checkpoint, tmp_path, capsys):
    config = json.loads((checkpoint / "config.json").read_text())
    (checkpoint / "config.json").write_text(json.dumps(config | {"nlptasks": {"task": "text_classification"}}))
    run("show", checkpoint)
    assert capsys.readouterr().out.startswith("application  text_classification\n")
    run("layers", checkpoint, "--count", 1, "--output", tmp_path / "new", expected=2)
    assert "holds a trained text classification, whose settings belong to" in capsys.readouterr().err


# convert


@pytest.mark.parametrize(
    ("form", "files"),
    [
        ("huggingface", {"config.json", "model.safetensors"}),
        ("google", {"bert_config.json", "bert_model.ckpt.index", "bert_model.ckpt.data-00000-of-00001"}),
        ("bert4keras", {"bert_config.json", "bert4keras.h5"}),
    ],
)
def test_a_checkpoint_goes_into_every_format_and_back(form, files, checkpoint, tmp_path, capsys):
    run("convert", checkpoint, "--to", form, "--output", tmp_path / form)
    assert {path.name for path in (tmp_path / form).iterdir()} == files | {"vocab.txt", "tokenizer_config.json"}
    assert f"a bert as {form}, outputs equal to 0.0e+00" in capsys.readouterr().err
    run("convert", tmp_path / form, "--output", tmp_path / "back")
    for name in ("config.json", "model.safetensors", "vocab.txt"):
        assert (tmp_path / "back" / name).read_bytes() == (checkpoint / name).read_bytes()


def test_weights_of_a_format_without_such_a_model_are_refused_and_nothing_is_left(tmp_path, capsys):
    made(tmp_path / "old", key_size=5)
    for form in ("huggingface", "google"):
        status = 2 if form == "huggingface" else 0
        run("convert", tmp_path / "old", "--to", form, "--output", tmp_path / form, expected=status)
    assert "transformers computes no such model (key_size 5 beside value_size 4); convert" in capsys.readouterr().err
    assert open_checkpoint(tmp_path / "google").model.config.key_size == 5
    assert sorted(path.name for path in tmp_path.iterdir()) == ["google", "old"]


def test_a_causal_model_goes_to_where_that_is_an_argument(tmp_path, capsys):
    made(tmp_path / "old", attention="causal")
    run("convert", tmp_path / "old", "--to", "bert4keras", "--output", tmp_path / "new")
    assert "outputs equal to 0.0e+00" in capsys.readouterr().err
    assert open_checkpoint(tmp_path / "new").model.config.attention == "bidirectional"


def test_packed_weights_are_near(checkpoint, tmp_path, capsys):
    made(checkpoint, hidden_size=72, ffn_size=64)
    run("convert", checkpoint, "--bits", 8, "--output", tmp_path / "packed")
    run("show", tmp_path / "packed")
    assert "stored as packed bits" in capsys.readouterr().out
    assert 0 < largest_difference(open_checkpoint(checkpoint).model, open_checkpoint(tmp_path / "packed").model) < 1


def test_what_is_read_otherwise_than_it_was_written_is_not_kept(checkpoint, tmp_path, monkeypatch, capsys):
    from nlptasks.surgery import publishing

    def save_another(model, directory, **options):
        save_directory(randomised(model, seed=8), directory, **options)
        randomised(model)

    monkeypatch.setattr(publishing, "save_directory", save_another)
    run("convert", checkpoint, "--output", tmp_path / "new", expected=2)
    assert "was not read as it was written; nothing is kept" in capsys.readouterr().err
    assert [path.name for path in tmp_path.iterdir()] == ["old"]


def test_a_folder_that_holds_something_is_not_written_to(checkpoint, tmp_path, capsys):
    (tmp_path / "new").mkdir()
    (tmp_path / "new" / "notes.txt").write_text("mine")
    run("layers", checkpoint, "--count", 1, "--output", tmp_path / "new", expected=2)
    assert "holds notes.txt already" in capsys.readouterr().err


# vocabulary


def test_tokens_that_no_text_has_are_left_out_and_the_others_compute_the_same(checkpoint, tmp_path, capsys):
    (tmp_path / "texts.txt").write_text("今天running\n今天气好\n", encoding="utf-8")
    (tmp_path / "tokens.txt").write_text("山\n上\n", encoding="utf-8")
    made_of = ("--texts", tmp_path / "texts.txt", "--tokens", tmp_path / "tokens.txt", "--output", tmp_path / "new")
    run("vocabulary", checkpoint, *made_of)
    new, old = open_checkpoint(tmp_path / "new"), open_checkpoint(checkpoint)
    assert list(new.tokenizer.vocab) == ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *"今天气好山上", "run", "##ning"]
    told = f"13 tokens instead of {len(VOCAB)}, 13 with their rows, 0 with the mean of their pieces, 0 near"
    assert told in capsys.readouterr().err
    text = "今天山上running"
    ids = [opened.tokenizer.encode(text).token_ids for opened in (new, old)]
    np.testing.assert_allclose(hidden(new.model, ids[0]), hidden(old.model, ids[1]), atol=1e-6)


def test_a_new_token_has_the_mean_of_its_former_pieces(checkpoint, tmp_path, capsys):
    (tmp_path / "new.txt").write_text("runs\n好山\n犬\n", encoding="utf-8")
    run("vocabulary", checkpoint, "--add", tmp_path / "new.txt", "--output", tmp_path / "new")
    told = capsys.readouterr().err
    assert "2 with the mean of their pieces, 1 near the unknown token, outputs equal to" in told
    assert "1 of the new ones the tokenizer never makes of a text (好山)" in told
    old, new = open_checkpoint(checkpoint), open_checkpoint(tmp_path / "new")
    table = np.array(new.model.embeddings.token.embeddings)
    former = np.array(old.model.embeddings.token.embeddings)
    np.testing.assert_array_equal(table[: len(VOCAB)], former)
    for token, pieces in (("runs", ["run", "##s"]), ("好山", ["好", "山"])):
        expected = former[[VOCAB[piece] for piece in pieces]].mean(axis=0)
        np.testing.assert_allclose(table[new.tokenizer.vocab[token]], expected, atol=1e-7)
        bias = np.array(new.model.mlm.bias)[new.tokenizer.vocab[token]]
        assert bias == pytest.approx(np.array(old.model.mlm.bias)[[VOCAB[piece] for piece in pieces]].mean(), abs=1e-7)
    near = np.abs(table[new.tokenizer.vocab["犬"]] - former[VOCAB["[UNK]"]])
    assert 0 < near.max() < 0.1
    run("vocabulary", checkpoint, "--add", checkpoint / "vocab.txt", "--output", tmp_path / "more", expected=2)
    assert "'[PAD]' is in the vocabulary already" in capsys.readouterr().err


UNIGRAM = [["<pad>", 0.0], ["<s>", 0.0], ["</s>", 0.0], ["<unk>", 0.0], ["▁", -2.0], ["今天", -3.0]]
UNIGRAM += [[piece, -4.0 - i] for i, piece in enumerate(["今", "天", "气", "好", "▁run", "s", "天气"])] + [
    ["<mask>", 0.0]
]


def write_unigram(directory):
    """A tokenizer.json as that of the multilingual models: Unigram pieces, and a template with special tokens."""
    flags = {"single_word": False, "lstrip": False, "rstrip": False, "normalized": False, "special": True}
    names = [piece for piece, _ in UNIGRAM]
    specials = ["<pad>", "<s>", "</s>", "<unk>", "<mask>"]
    around = [{"SpecialToken": {"id": "<s>", "type_id": 0}}, {"Sequence": {"id": "A", "type_id": 0}}]
    around.append({"SpecialToken": {"id": "</s>", "type_id": 0}})
    values = {
        "version": "1.0",
        "added_tokens": [{"id": names.index(token), "content": token} | flags for token in specials],
        "normalizer": {"type": "NFKC"},
        "pre_tokenizer": {"type": "Metaspace", "replacement": "▁", "prepend_scheme": "always", "split": True},
        "post_processor": {
            "type": "TemplateProcessing",
            "single": around,
            "pair": [*around, {"Sequence": {"id": "B", "type_id": 0}}, around[-1]],
            "special_tokens": {t: {"id": t, "ids": [names.index(t)], "tokens": [t]} for t in ("<s>", "</s>")},
        },
        "decoder": {"type": "Metaspace", "replacement": "▁", "prepend_scheme": "always", "split": True},
        "model": {"type": "Unigram", "unk_id": 3, "vocab": UNIGRAM, "byte_fallback": False},
    }
    directory.mkdir(parents=True)
    (directory / "tokenizer.json").write_text(json.dumps(values), encoding="utf-8")
    (directory / "tokenizer_config.json").write_text(json.dumps({"pad_token": "<pad>"}))


def test_pieces_of_a_tokenizer_json_are_cut_and_texts_of_the_others_stay_as_they_were(tmp_path):
    write_unigram(tmp_path / "old")
    tokenizer = open_tokenizer(tmp_path / "old")
    made(tmp_path / "old", tokenizer)
    (tmp_path / "texts.txt").write_text("今天气好\n", encoding="utf-8")
    run("vocabulary", tmp_path / "old", "--texts", tmp_path / "texts.txt", "--output", tmp_path / "new")
    new = open_tokenizer(tmp_path / "new")
    assert new.vocab_size < tokenizer.vocab_size
    assert new.tokenize("今天气好") == tokenizer.tokenize("今天气好") == ["▁", "今天", "气", "好"]
    assert new.encode("今天气好").token_ids[0] == new.vocab["<s>"]
    assert new.mask_id == new.vocab_size - 1


def test_a_network_moves_to_the_vocabulary_of_another_tokenizer(tmp_path):
    write_unigram(tmp_path / "old")
    old = made(tmp_path / "old", open_tokenizer(tmp_path / "old"))
    Tokenizer(VOCAB).save(tmp_path / "other")
    run("vocabulary", tmp_path / "old", "--replace", tmp_path / "other", "--output", tmp_path / "new")
    former, table = np.array(old.embeddings.token.embeddings), None
    opened = open_checkpoint(tmp_path / "new")
    table, pieces = np.array(opened.model.embeddings.token.embeddings), [piece for piece, _ in UNIGRAM]
    same = {"[CLS]": "<s>", "[SEP]": "</s>", "[PAD]": "<pad>", "[MASK]": "<mask>", "天": "天", "run": "▁run"}
    for token, piece in same.items():
        np.testing.assert_array_equal(table[VOCAB[token]], former[pieces.index(piece)])
    assert opened.tokenizer.vocab == VOCAB
    assert opened.model.config.vocab_size == len(VOCAB)


def test_a_vocabulary_of_merges_is_refused(tmp_path, capsys):
    write_unigram(tmp_path / "old")
    path = tmp_path / "old" / "tokenizer.json"
    values = json.loads(path.read_text(encoding="utf-8"))
    names = [piece for piece, _ in UNIGRAM]
    values["model"] = {
        "type": "BPE",
        "vocab": {name: i for i, name in enumerate(names)},
        "merges": [],
        "unk_token": "<unk>",
    }
    path.write_text(json.dumps(values), encoding="utf-8")
    made(tmp_path / "old", open_tokenizer(tmp_path / "old"))
    (tmp_path / "texts.txt").write_text("今天\n", encoding="utf-8")
    options = ("--texts", tmp_path / "texts.txt", "--output", tmp_path / "new")
    run("vocabulary", tmp_path / "old", *options, expected=2)
    assert "tokenizer.json of the kinds Unigram, WordPiece, WordLevel" in capsys.readouterr().err


# layers and key size


def test_layers_are_taken_in_their_order(checkpoint, tmp_path, capsys):
    run("layers", checkpoint, "--layers", 1, 0, "--output", tmp_path / "two")
    assert "layers 1, 0 of 2" in capsys.readouterr().err
    old, new = open_checkpoint(checkpoint).model, open_checkpoint(tmp_path / "two").model
    for mine, layer in enumerate((1, 0)):
        for ours, theirs in zip(new.blocks[mine].weights, old.blocks[layer].weights, strict=True):
            np.testing.assert_array_equal(np.array(ours), np.array(theirs))
    run("layers", checkpoint, "--layers", 0, 2, "--output", tmp_path / "none", expected=2)
    assert "--layers must lie in 0 to 1. Received: 2." in capsys.readouterr().err
    assert even_layers(12, 4) == [2, 5, 8, 11]
    assert even_layers(12, 5)[-1] == 11


def test_heads_grow_without_changing_the_function(checkpoint, tmp_path, capsys):
    run("key-size", checkpoint, "--key-size", 7, "--output", tmp_path / "large")
    assert "key_size 7 instead of 4, outputs equal to" in capsys.readouterr().err
    new = open_checkpoint(tmp_path / "large").model
    assert new.config.key_size == 7
    assert largest_difference(open_checkpoint(checkpoint).model, new) <= TOLERANCE
    model = nlptasks.build_transformer_model(tmp_path / "large", tmp_path / "large")
    assert model.config.key_size == 7


def test_a_layer_of_all_and_heads_that_are_left_out(tmp_path, capsys):
    made(tmp_path / "albert", shared_layers=True, with_pool=True, with_nsp=True)
    run("layers", tmp_path / "albert", "--count", 1, "--output", tmp_path / "new", expected=2)
    assert "all 2 layers are one and the same (ALBERT)" in capsys.readouterr().err
    shutil.rmtree(tmp_path / "albert")
    made(tmp_path / "bert", with_pool=True, with_nsp=True)
    leave_out = ("--skip-weights", "pooler.", "cls.")
    run("convert", tmp_path / "bert", *leave_out, "--output", tmp_path / "bare")
    assert open_checkpoint(tmp_path / "bare").model.pooler is None
    assert open_checkpoint(tmp_path / "bare").model.mlm is None
