"""WoBERT and LaBSE, BERTs with vocabularies of their own: texts through tokenizer and model, against transformers."""

import json

import numpy as np
import pytest
from keras import ops

import nlptasks
from nlptasks.text import open_tokenizer
from tests.checkpoints.test_huggingface import their_model, theirs, torch, transformers
from tests.parity import TOLERANCE, distance

pytestmark = pytest.mark.once
SPECIALS = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]")


def saved(directory, tokens, config):
    """A random BERT of transformers with that vocabulary."""
    (directory / "vocab.txt").write_text("\n".join([*SPECIALS, *tokens]), encoding="utf-8")
    (directory / "tokenizer_config.json").write_text(json.dumps(config))
    model = their_model(transformers.BertModel, vocab_size=len(SPECIALS) + len(tokens))
    model.save_pretrained(directory)
    return model


def batch(tokenizer, texts):
    """Token ids and segment ids, padded."""
    rows = [one.token_ids for one in tokenizer.encode_batch(texts)]
    token_ids = np.zeros((len(rows), max(map(len, rows))), "int32")
    for i, row in enumerate(rows):
        token_ids[i, : len(row)] = row
    return token_ids, np.zeros_like(token_ids)


def test_a_labse_tells_cases_apart_and_its_vector_is_the_normalized_pooled_state(tmp_path):
    model = saved(tmp_path, ["Apple", "apple", "é", "##s", "苹", "果"], {"do_lower_case": False})
    tokenizer = open_tokenizer(tmp_path)
    assert tokenizer.tokenize("Apple apples é苹果APPLE") == ["Apple", "apple", "##s", "é", "苹", "果", "[UNK]"]
    inputs = batch(tokenizer, ["Apple", "apples 苹果"])
    ours = ops.convert_to_numpy(nlptasks.build_transformer_model(tmp_path, tmp_path, with_pool=True)(list(inputs)))
    expected = torch.nn.functional.normalize(theirs(model, inputs).pooler_output).numpy()
    assert distance(ours / np.linalg.norm(ours, axis=1, keepdims=True), expected) < TOLERANCE


def test_a_wobert_reads_the_words_of_its_vocabulary_and_the_characters_of_others(tmp_path):
    pytest.importorskip("jieba", reason="the test extra brings jieba")
    model = saved(tmp_path, ["北京", "大学", "北", "京", "天", "气"], {"pre_tokenize": "jieba"})
    tokenizer = open_tokenizer(tmp_path)
    assert tokenizer.tokenize("北京天气") == ["北京", "天", "气"]
    inputs = batch(tokenizer, ["北京天气", "北京"])
    ours = ops.convert_to_numpy(nlptasks.build_transformer_model(tmp_path, tmp_path)(list(inputs)))
    expected = theirs(model, inputs).last_hidden_state.numpy()
    assert distance(ours[0], expected[0]) < TOLERANCE
    assert distance(ours[1, :3], expected[1, :3]) < TOLERANCE
