"""The models of the bert4keras golden files: case -> arguments of `build_transformer_model`, there and here."""

CASES = {
    "encoder": {},
    "pool": {"with_pool": True},
    "pool_nsp_mlm": {"with_pool": True, "with_nsp": True, "with_mlm": True},
    "mlm_linear": {"with_mlm": "linear"},
    "lm": {"application": "lm"},
    "unilm": {"application": "unilm"},
    "key_size": {"application": "unilm", "with_mlm": "linear"},
    "head_size": {"with_mlm": "linear"},
    "key_and_head_size": {"application": "lm"},
    "embedding_size": {"with_mlm": "linear"},
    "roberta": {"model": "roberta", "with_mlm": "linear"},
}
# what the case adds to the config file
EXTRA_CONFIG = {
    "key_size": {"attention_key_size": 17},
    "head_size": {"attention_head_size": 7},
    "key_and_head_size": {"attention_key_size": 5, "attention_head_size": 11},
    "embedding_size": {"embedding_size": 13},
}
