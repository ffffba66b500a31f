"""The models of the golden files of bert4keras' GPTs, T5s, RoFormerV2 and GAU-alpha: case -> arguments of its
`build_transformer_model`, what the case adds to the config file, and our name of the model.
"""

from typing import Any, NamedTuple


class Case(NamedTuple):
    """One golden model."""

    arguments: dict[str, Any]
    config: dict[str, Any]


# bert4keras adds the decoder's positions in cross-attention, too, unless it is told not to; T5 has none there
_T5 = {"with_lm": "linear", "cross_position_bias": False}
_GAU = {"hidden_act": "swish", "attention_key_size": 6}
CASES = {
    "gpt": Case({"model": "gpt"}, {"type_vocab_size": 2}),
    "gpt_without_segments": Case({"model": "gpt"}, {"type_vocab_size": 0}),
    "gpt2": Case({"model": "gpt2"}, {"type_vocab_size": 0}),
    "gpt2_ml": Case({"model": "gpt2_ml"}, {"type_vocab_size": 0}),
    "roformer_v2": Case({"model": "roformer_v2", "with_mlm": "linear"}, {"attention_key_size": 4}),
    "roformer_v2_lm": Case({"model": "roformer_v2", "application": "lm"}, {"attention_key_size": 4}),
    "gau_alpha": Case({"model": "gau_alpha", "with_mlm": "linear"}, _GAU),
    "gau_alpha_lm": Case({"model": "gau_alpha", "application": "lm"}, _GAU),
    "t5_1_0": Case({"model": "t5.1.0"} | _T5, {"hidden_act": "relu"}),
    "t5_1_1": Case({"model": "t5.1.1"} | _T5, {"hidden_act": ["gelu", "linear"]}),
    "mt5_1_1": Case({"model": "mt5.1.1"} | _T5, {"hidden_act": ["gelu", "linear"]}),
}
OF_GRAPHS = {
    "t5_cross": Case({"model": "t5.1.1", "with_lm": "linear"}, {"hidden_act": ["gelu", "linear"]}),
}
"""cases that nlptasks.bert4keras alone computes"""
T5_CASES = ("t5_1_0", "t5_1_1", "mt5_1_1")
GAU_CASES = ("gau_alpha", "gau_alpha_lm")
TENSORFLOW = ("gau_alpha", "gpt", "gpt2", "gpt2_ml", "roformer_v2", *T5_CASES)
"""cases whose weights are also recorded as a TensorFlow checkpoint in the layout of their authors"""
