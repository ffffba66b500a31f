"""A small random T5 in a folder, with a tokenizer of `sentencepiece`."""

import pytest

from nlptasks.checkpoints.huggingface import save_directory
from nlptasks.core import EncoderDecoder, TransformerConfig
from nlptasks.text import open_tokenizer
from tests.parity import randomised
from tests.text.kinds import piece_model

MORE_ROWS = 28
"""as T5's rows, which are more than its tokens"""
SIZES = {
    "hidden_size": 12,
    "num_layers": 2,
    "decoder_layers": 3,
    "num_heads": 3,
    "ffn_size": 17,
    "value_size": 5,
}
T5 = {
    "segment_vocab_size": 0,
    "norm_place": "pre",
    "norm": "rms",
    "layer_norm_epsilon": 1e-6,
    "use_bias": False,
    "embedding_norm": False,
    "attention_scale": False,
    "position": "bucketed",
    "relative_buckets": 8,
    "relative_distance": 6,
    "hidden_act": "relu",
    "output": "scaled",
}


def save_t5(directory, **changes):
    """Writes config, weights and, where no tokenizer.json is there, spiece.model; returns the folder."""
    if not (directory / "tokenizer.json").is_file():
        pytest.importorskip("sentencepiece", reason="the test extra brings sentencepiece")
        (directory / "spiece.model").write_bytes(piece_model("t5"))
    rows = open_tokenizer(directory).vocab_size + MORE_ROWS
    model = EncoderDecoder(TransformerConfig(**SIZES | T5 | {"vocab_size": rows} | changes))
    model.build()
    save_directory(randomised(model, spread=0.5), directory)
    return directory
