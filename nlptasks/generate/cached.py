"""Cached decoding: the prefix is encoded once, then each step feeds one token a row.

Legend: R rows, T prefix slots, A generated slots, S = T + A cache slots, V vocabulary.
"""

import numpy as np
from keras import ops

from nlptasks.core.backend import compile_function
from nlptasks.core.layers import at_positions
from nlptasks.core.masks import attention_mask, padding_mask
from nlptasks.core.transformer import Transformer


class CachedDecoder:
    """Runs a causal or UNILM Transformer token by token, equal to running it whole.

    Prefixes of different lengths stand left-aligned in their T slots; the generated token t of every row stands in
    slot T + t, has position `length of its prefix + t` and segment 1, and sees its prefix and what was generated.
    """

    def __init__(self, model: Transformer):
        if model.config.attention == "bidirectional":
            raise ValueError(
                "Decoding token by token needs a causal or UNILM attention mask. Received: "
                'attention=\'bidirectional\'; build the model with application="unilm" or "lm".'
            )
        if model.mlm is None:
            raise ValueError("Decoding needs the masked-LM head: build the model with with_mlm=True.")
        self.model = model
        self._prefill = compile_function(self._prefill_function, model)
        self._step = compile_function(self._step_function, model)
        self._reorder = compile_function(lambda rows, caches: [[_rows(x, rows) for x in c] for c in caches], model)

    def start(self, token_ids_RT: np.ndarray, segment_ids_RT: np.ndarray, capacity: int):
        """Encodes the prefixes (id 0 pads on the right).

        Returns:
            Logits `(R, V)` of the token after each prefix, and the state to hand to `step`.
        """
        lengths_R = np.maximum((token_ids_RT != 0).sum(axis=1), 1).astype("int32")
        logits_RV, caches = self._prefill(token_ids_RT, segment_ids_RT, lengths_R, np.zeros((0, capacity), "int32"))
        return logits_RV, {"prefix": token_ids_RT, "lengths": lengths_R, "caches": caches, "time": 0}

    def step(self, tokens_R: np.ndarray, state: dict, parents_R: np.ndarray | None = None):
        """Feeds one token a row; `parents_R` names the rows of the state that the rows continue (beams).

        Returns:
            Logits `(R, V)` of the next token, and the new state.
        """
        caches, prefix, lengths = state["caches"], state["prefix"], state["lengths"]
        if parents_R is not None and (len(parents_R) != len(lengths) or (parents_R != np.arange(len(lengths))).any()):
            caches = self._reorder(parents_R.astype("int32"), caches)
            prefix, lengths = prefix[parents_R], lengths[parents_R]
        time = np.int32(state["time"])
        logits_RV, caches = self._step(tokens_R.astype("int32"), prefix, lengths, time, caches)
        return logits_RV, {"prefix": prefix, "lengths": lengths, "caches": caches, "time": state["time"] + 1}

    def _prefill_function(self, token_ids_RT, segment_ids_RT, lengths_R, room_0A):
        config, capacity = self.model.config, room_0A.shape[1]
        rows, length = ops.shape(token_ids_RT)[0], ops.shape(token_ids_RT)[1]
        mask_RTT = attention_mask(config.attention, token_ids_RT, segment_ids_RT)
        positions_1T = ops.arange(length)[None, :]
        dtype = self.model.compute_dtype
        empty = [
            tuple(
                ops.zeros((rows, length, config.num_heads, size), dtype)
                for size in (config.key_size, config.value_size)
            )
            for _ in range(config.num_layers)
        ]
        hidden_RTD, caches = self.model.encode_cached(token_ids_RT, segment_ids_RT, positions_1T, mask_RTT, empty, 0)
        last_R1D = at_positions(hidden_RTD, (lengths_R - 1)[:, None])
        room = ((0, 0), (0, capacity), (0, 0), (0, 0))
        return self.model.token_logits(last_R1D)[:, 0], [[ops.pad(x, room) for x in cache] for cache in caches]

    def _step_function(self, tokens_R, prefix_RT, lengths_R, time, caches):
        length = ops.shape(prefix_RT)[1]
        rows, capacity = ops.shape(prefix_RT)[0], ops.shape(caches[0][0])[1] - length
        generated_RA = ops.broadcast_to(ops.arange(capacity)[None, :] <= time, (rows, capacity))
        mask_R1S = ops.concatenate([padding_mask(prefix_RT), generated_RA], axis=1)[:, None]
        tokens_R1, positions_R1 = tokens_R[:, None], (lengths_R + time)[:, None]
        hidden_R1D, caches = self.model.encode_cached(
            tokens_R1, ops.ones_like(tokens_R1), positions_R1, mask_R1S, [tuple(c) for c in caches], length + time
        )
        return self.model.token_logits(hidden_R1D)[:, 0], [list(cache) for cache in caches]


def _rows(x, rows):
    return ops.take(x, rows, axis=0)
