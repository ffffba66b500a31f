"""Texts in, texts out, with a T5 and with a language model."""

import json

import numpy as np
import pytest
from keras import ops

import nlptasks
from nlptasks.bundled import pretrained_path
from nlptasks.checkpoints.huggingface import save_directory
from nlptasks.core import Transformer, TransformerConfig
from nlptasks.errors import UserError
from nlptasks.generate import BeamSearch
from nlptasks.text import Tokenizer
from tests.parity import randomised
from tests.t5 import save_t5

TEXTS = ["今天天气很好", "我们去公园散步"]


@pytest.fixture(scope="module")
def t5_directory(tmp_path_factory):
    return save_t5(tmp_path_factory.mktemp("t5"))


def test_a_t5_writes_for_each_text_what_it_writes_for_it_alone(t5_directory):
    writer = nlptasks.TextGenerator.open(t5_directory)
    found = writer.generate(TEXTS, max_length=7)
    assert found == [writer.generate([text], max_length=7)[0] for text in TEXTS]
    assert list(writer.stream(TEXTS[0], max_length=7))[-1] == found[0]
    assert all(isinstance(text, str) for text in writer.generate(TEXTS, BeamSearch(size=2), max_length=7))


@pytest.mark.once
def test_a_language_model_goes_on_from_a_text_that_it_reads_without_an_end(tmp_path):
    characters = sorted(set("".join(TEXTS)))
    tokens = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *characters]
    tokenizer = Tokenizer({token: i for i, token in enumerate(tokens)})
    sizes = {"vocab_size": tokenizer.vocab_size, "hidden_size": 12, "num_layers": 2, "num_heads": 3, "ffn_size": 48}
    config = TransformerConfig(**sizes, attention="causal", embedding_norm=False, output="tied", norm_place="inner")
    model = Transformer(config, with_mlm="linear")
    model.build()
    save_directory(randomised(model), tmp_path)
    tokenizer.save(tmp_path)
    writer = nlptasks.TextGenerator.open(tmp_path)
    [found] = writer.generate(["今天"], max_length=1)
    ids = tokenizer.encode("今天").token_ids[:-1]
    logits = np.array(ops.convert_to_numpy(model([ids[None], np.zeros_like(ids)[None]])))[0, -1]
    logits[0] = -np.inf
    assert found == tokenizer.decode([int(logits.argmax())])


@pytest.mark.once
def test_what_cannot_write_is_one_line(t5_directory, tmp_path):
    with pytest.raises(UserError, match="text 2 is empty"):
        nlptasks.TextGenerator.open(t5_directory).generate(["今", " "])
    with pytest.raises(UserError, match="reads texts and writes none; give a T5, a GPT"):
        nlptasks.TextGenerator.open(pretrained_path("mini"))
    for file in ("spiece.model", "model.safetensors"):
        (tmp_path / file).write_bytes((t5_directory / file).read_bytes())
    values = json.loads((t5_directory / "config.json").read_text())
    (tmp_path / "config.json").write_text(json.dumps(values | {"vocab_size": 50}))
    with pytest.raises(ValueError, match=r"of another shape: shared\.weight"):
        nlptasks.TextGenerator.open(tmp_path)
