"""The model as a step function: prefixes are encoded once, then each step feeds one token a continuation.

Legend: R rows (prefixes), K continuations of a row, T prefix slots, A generated slots, S = T + A, V vocabulary.
"""

from typing import Any

from keras import ops

from nlptasks.backend import Tensor
from nlptasks.core import EncoderDecoder, Transformer
from nlptasks.core.attention import KeyValues
from nlptasks.core.config import TransformerConfig
from nlptasks.core.masks import padding_mask
from nlptasks.generate.search import take_continuations


class CachedSteps:
    """A causal or UNILM Transformer token by token, equal to running it whole. Its methods run inside a program.

    Prefixes of different lengths stand left-aligned in their T slots; the generated token t of every continuation
    stands in generated slot t, has position `length of its prefix + t` and segment `generated_segment`, and sees its
    prefix and what was generated before it. The keys and values of a prefix are stored once for all continuations.

    Of an encoder-decoder, the encoder reads the rows, once, and the prefix of its decoder is the start token alone;
    what the decoder looks at is stored once for all continuations, too.

    Args:
        generated_segment: segment id of generated tokens; None: 1 for UNILM, 0 for a causal model.

    Raises:
        ValueError: the model has no mask or no head to decode with.
    """

    normalized = False  # gives logits, not log scores

    def __init__(self, model: Transformer | EncoderDecoder, generated_segment: int | None = None):
        self.whole = model
        model = model.decoder if isinstance(model, EncoderDecoder) else model
        config = model.config
        if config.attention == "bidirectional":
            raise ValueError(
                "Decoding token by token needs a causal or UNILM attention mask. Received: "
                'attention=\'bidirectional\'; build the model with application="unilm" or "lm".'
            )
        if model.mlm is None:
            raise ValueError("Decoding needs the masked-LM head: build the model with with_mlm=True.")
        if generated_segment is None:
            generated_segment = int(config.attention == "unilm")
        one_for_all = config.segment_vocab_size == 1  # the ids steer the mask only
        if not one_for_all and not 0 <= generated_segment < max(1, config.segment_vocab_size):
            raise ValueError(
                f"generated_segment must be one of the model's {config.segment_vocab_size} segments. "
                f"Received: generated_segment={generated_segment}."
            )
        self.model, self.generated_segment = model, generated_segment

    def start(self, inputs: dict[str, Any], width: int, capacity: int) -> tuple[Tensor, dict[str, Any]]:
        """Encodes the prefixes.

        Args:
            inputs: `{"token_ids": (R, T), "segment_ids": (R, T)}`, int32, padded on the right; and, for a model with
                conditional norms, `"condition": (R, C)`; and a scalar `"guidance"` where that is to be strengthened.
            width: K.
            capacity: A.

        Returns:
            Logits `(R, 1, V)` of the token after each prefix, and the state that `__call__` and `follow` take.
        """
        config, guidance = self.model.config, inputs.get("guidance")
        token_ids_RT, segment_ids_RT = inputs["token_ids"], inputs["segment_ids"]
        affines = self.model.affines(_with_zeros(inputs.get("condition"), guidance))
        token_ids_RT, segment_ids_RT = _twice(token_ids_RT, guidance), _twice(segment_ids_RT, guidance)
        sources = None
        if isinstance(self.whole, EncoderDecoder):
            sources = self.whole.read(token_ids_RT)
            # decoders start with <pad>; that of a second slot is padding, for Keras warns of a softmax of one number
            token_ids_RT = ops.full((ops.shape(token_ids_RT)[0], 2), config.pad_id, "int32")
            segment_ids_RT = ops.zeros_like(token_ids_RT)
        real_RT = padding_mask(token_ids_RT, config.pad_id)
        lengths_R = ops.sum(ops.cast(real_RT, "int32"), axis=1)
        last_R1D, prefix = self.model.encode(
            token_ids_RT,
            segment_ids_RT,
            affines,
            with_cache=True,
            sources=sources,
            positions_BM=(lengths_R - 1)[:, None],
        )
        shape = (ops.shape(token_ids_RT)[0], width, config.num_heads, capacity)
        generated = [
            KeyValues(*(ops.zeros((*shape, size), x.dtype) for size, x in zip(_sizes(config), cache, strict=True)))
            for cache in prefix
        ]
        state = {"real": real_RT, "lengths": lengths_R, "prefix": prefix, "generated": generated}
        state |= {} if affines is None else {"affines": affines}
        state |= {} if guidance is None else {"guidance": guidance}
        state |= {} if sources is None else {"sources": sources}
        return _guided(self.model.token_logits(last_R1D, affines), guidance), state

    def __call__(self, tokens_RK: Tensor, state: dict[str, Any], time: Tensor) -> tuple[Tensor, dict[str, Any]]:
        """Feeds token `time` (from 0) of every continuation: logits `(R, K, V)` of the next one, and the state."""
        affines, guidance = state.get("affines"), state.get("guidance")
        tokens_RK = _twice(tokens_RK, guidance)
        real_RT, capacity = state["real"], state["generated"][0].keys.shape[3]
        recent_RA = ops.broadcast_to(ops.arange(capacity)[None] <= time, (ops.shape(real_RT)[0], capacity))
        mask_R1S = ops.concatenate([real_RT, recent_RA], axis=1)[:, None]
        segments_RK = ops.full_like(tokens_RK, self.generated_segment)
        positions_R1 = state["lengths"][:, None] + time
        cache = (state["prefix"], state["generated"])
        hidden_RKD, generated = self.model.encode_step(
            tokens_RK, segments_RK, positions_R1, mask_R1S, *cache, time, affines, state.get("sources")
        )
        return _guided(self.model.token_logits(hidden_RKD, affines), guidance), state | {"generated": generated}

    def follow(self, state: dict[str, Any], tokens_RK: Tensor, parents_RK: Tensor | None) -> dict[str, Any]:
        """The state after continuation k of each row went on from its former continuation `parents[r, k]`.

        `parents` is None where every continuation went on from itself.
        """
        if parents_RK is None:
            return state
        parents_RK = _twice(parents_RK, state.get("guidance"))
        generated = [KeyValues(*(take_continuations(x, parents_RK) for x in cache)) for cache in state["generated"]]
        return state | {"generated": generated}


def cache_bytes(
    config: TransformerConfig, prefixes: int, prefix_length: int, generated_length: int, width: int, itemsize: int = 4
) -> int:
    """Bytes of keys and values: the prefix is stored once for each sample, generated tokens for each continuation."""
    slots = prefixes * (prefix_length + width * generated_length)
    return config.num_layers * config.num_heads * sum(_sizes(config)) * slots * itemsize


def _sizes(config: TransformerConfig) -> tuple[int, int]:
    return config.key_size, config.value_size


def _twice(rows: Tensor, guidance: Tensor | None) -> Tensor:
    """With guidance every row is decoded twice: under its condition, and, further down, under none."""
    return rows if guidance is None else ops.concatenate([rows, rows], axis=0)


def _with_zeros(condition_RC: Tensor, guidance: Tensor | None) -> Tensor:
    return condition_RC if guidance is None else ops.concatenate([condition_RC, ops.zeros_like(condition_RC)], axis=0)


def _guided(logits_RKV: Tensor, guidance: Tensor | None) -> Tensor:
    """Classifier-free guidance (arXiv 2207.12598): away from what is likely without the condition."""
    if guidance is None:
        return logits_RKV
    under_RKV, without_RKV = ops.split(logits_RKV, 2, axis=0)
    return without_RKV + guidance * (under_RKV - without_RKV)
