"""The Transformer: embeddings, blocks, and the heads that BERT was trained with.

Legend: B batch, T query position, S key position, D hidden, M chosen positions, V vocabulary.
"""

import functools
from collections.abc import Callable, Sequence
from typing import Any

import keras
from keras import ops

from nlptasks.backend import Tensor, recomputed
from nlptasks.core.attention import KeyValues
from nlptasks.core.blocks import Source, TransformerBlock, added_scores, run_block
from nlptasks.core.config import TransformerConfig
from nlptasks.core.heads import DiscriminatorHead, vocabulary_head
from nlptasks.core.layers import Affine, Dropout, Embeddings, at_positions, layer_norm
from nlptasks.core.masks import attention_mask, padding_mask
from nlptasks.core.positions import DistanceScores, counted_positions, relative_vectors, sinusoids
from nlptasks.core.storing import stored_as


@keras.saving.register_keras_serializable("nlptasks")
class Transformer(keras.Model):
    """BERT (arXiv 1810.04805) with a bidirectional, causal or UNILM attention mask. Its config also makes it an ALBERT,
    ELECTRA, NEZHA, RoFormer or GPT, or one of the two stacks of a T5 (see `TransformerConfig`, `EncoderDecoder`).

        import numpy as np

        config = TransformerConfig(vocab_size=30, hidden_size=8, num_layers=2, num_heads=2, ffn_size=16)
        model = Transformer(config, with_mlm="linear")
        token_ids = np.array([[2, 7, 3]])
        model([token_ids, np.zeros_like(token_ids)])  # logits (1, 3, 30)

    Args:
        config: sizes, attention mask, positions.
        with_pool: adds the pooler, a dense layer with tanh on the first position; a string names another activation.
        with_nsp: adds next-sentence probabilities (and the pooler).
        with_mlm: adds the head over the vocabulary that the config names, that of masked LM where it names none: True
            for probabilities, "linear" for logits.
        with_discriminator: adds ELECTRA's discriminator: True for the probability that a token was replaced, "linear"
            for its logit.
        recompute: in training, the activations inside the blocks are not kept but computed again for the gradient.
        fused_attention: computes attention without keeping the scores in memory, where device and config allow it
            (JAX); results differ only by rounding.
        embeddings: those of another stack, to be shared with it; None: its own.

    Call arguments:
        inputs: `[token_ids, segment_ids]`, both int `(B, T)`, or `token_ids` alone (every segment id is then 0). If
            the config has a `layer_norm_cond_size` C: `[token_ids, segment_ids, condition]` with a condition `(B, C)`,
            or `(B, T, C)` with one for each position.

    Returns:
        The hidden states `(B, T, D)` if there is no head. Otherwise the outputs of the heads in bert4keras' order:
        the pooled state `(B, D)` or the next-sentence probabilities `(B, 2)`, the masked-LM output `(B, T, V)`, the
        discriminator's `(B, T, 1)`. A single output is a tensor, several are a list.

    Raises:
        ValueError: T is larger than `config.position_reach`, or the condition is missing, unexpected or of the wrong
            size.
    """

    built: bool

    def __init__(
        self,
        config: TransformerConfig,
        with_pool: bool | str = False,
        with_nsp: bool = False,
        with_mlm: bool | str = False,
        with_discriminator: bool | str = False,
        recompute: bool = False,
        fused_attention: bool = False,
        embeddings: Embeddings | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        if config.decoder_layers is not None:
            raise ValueError(f"A config with decoder_layers={config.decoder_layers} is that of an EncoderDecoder.")
        for name, value in (("with_mlm", with_mlm), ("with_discriminator", with_discriminator)):
            if value not in (False, True, "linear"):
                raise ValueError(f'{name} must be False, True or "linear". Received: {name}={value!r}.')
        self.config, self.recompute, self.fused_attention = config, recompute, fused_attention
        self.with_pool, self.with_nsp = with_pool, with_nsp
        self.with_mlm, self.with_discriminator = with_mlm, with_discriminator
        dtype, normal = self.dtype_policy, keras.initializers.TruncatedNormal(stddev=config.initializer_range)
        self.embeddings = Embeddings(config, name="embeddings", dtype=dtype) if embeddings is None else embeddings
        count = 1 if config.shared_layers else config.num_layers
        self.blocks = [TransformerBlock(config, name=f"block_{i}", dtype=dtype) for i in range(count)]
        self.final_norm = self.final_dropout = None
        if config.norm_place == "pre":
            self.final_norm = layer_norm(config, "final_norm", dtype)
            self.final_dropout = Dropout(config.dropout, dtype=dtype)
        bucketed = config.position == "bucketed"
        self.distances = DistanceScores(config, name="distances", dtype=dtype) if bucketed else None
        self.pooler = self.nsp = self.mlm = self.discriminator = None
        if with_pool or with_nsp:
            pool_act = with_pool if isinstance(with_pool, str) else "tanh"
            self.pooler = keras.layers.Dense(
                config.hidden_size, activation=pool_act, kernel_initializer=normal, name="pooler", dtype=dtype
            )
        if with_nsp:
            self.nsp = keras.layers.Dense(2, kernel_initializer=normal, name="nsp", dtype=dtype)
        if with_mlm:
            self.mlm = vocabulary_head(config, "mlm", dtype)
        if with_discriminator:
            self.discriminator = DiscriminatorHead(config, name="discriminator", dtype=dtype)

    @property
    def layer_sequence(self) -> list[TransformerBlock]:
        """The blocks in the order in which they run: `num_layers` of them, or one `num_layers` times (ALBERT)."""
        return self.blocks * self.config.num_layers if self.config.shared_layers else self.blocks

    def build(self, input_shape: Sequence[int | None] | None = None) -> None:
        if self.built:
            return
        if not self.embeddings.built:
            self.embeddings.build()
        for layer in (*self.blocks, self.final_norm, self.pooler, self.nsp):
            if layer is not None:
                layer.build((None, None, self.config.hidden_size))
        for head in (self.distances, self.mlm, self.discriminator):
            if head is not None:
                head.build()
        self.built = True

    def call(self, inputs: Any, training: bool | None = None) -> Any:
        inputs = list(inputs) if isinstance(inputs, list | tuple) else [inputs]
        token_ids_BT, segment_ids_BT, condition = inputs + [None] * (3 - len(inputs))
        affines = self.affines(condition)
        hidden_BTD = self.encode(token_ids_BT, segment_ids_BT, affines, training=training)
        outputs = []
        if self.pooler is not None:
            pooled_BD = self.pooler(hidden_BTD[:, 0])
            outputs.append(pooled_BD if self.nsp is None else ops.softmax(ops.cast(self.nsp(pooled_BD), "float32")))
        if self.mlm is not None:
            logits_BTV = self.token_logits(hidden_BTD, affines)
            outputs.append(logits_BTV if self.with_mlm == "linear" else ops.softmax(logits_BTV))
        if self.discriminator is not None:
            logits_BT1 = self.discriminator(hidden_BTD)
            outputs.append(logits_BT1 if self.with_discriminator == "linear" else ops.sigmoid(logits_BT1))
        if not outputs:
            return hidden_BTD
        return outputs[0] if len(outputs) == 1 else outputs

    def affines(self, condition: Tensor | None = None) -> dict[str, Any] | None:
        """What every norm multiplies by and adds under a condition, as `encode`, `encode_step` and `token_logits` take
        it. It is computed once for a forward pass, or for all steps of decoding.

        Returns:
            One `Affine` for "embeddings", a pair for each of the "blocks", one for "mlm" if there is that head; None
            without a condition.

        Raises:
            ValueError: the model takes no condition, or one of another size.
        """
        if condition is None:
            return None
        size, shape = self.config.layer_norm_cond_size, tuple(condition.shape)
        if len(shape) not in (2, 3) or size is None or shape[-1] not in (size, None):
            raise ValueError(
                "A condition must be (batch, size) or (batch, length, size), of the model's layer_norm_cond_size. "
                f"Received: condition of shape {shape}, layer_norm_cond_size={size}."
            )
        norms: list[Any] = [self.embeddings.norm]  # BERT's layout, which alone takes a condition, has all of them
        norms += [norm for block in self.blocks for norm in (block.attention_norm, block.ffn_norm)]
        first, *others = [norm.affine(condition) for norm in norms]
        found = {"embeddings": first, "blocks": list(zip(others[::2], others[1::2], strict=True))}
        return found if self.mlm is None else found | {"mlm": self.mlm.norm.affine(condition)}

    def encode(
        self,
        token_ids_BT: Tensor,
        segment_ids_BT: Tensor | None = None,
        affines: dict[str, Any] | None = None,
        training: bool | None = None,
        with_cache: bool = False,
        with_maps: bool = False,
        document_ids_BT: Tensor | None = None,
        token_vectors_BTE: Tensor | None = None,
        sources: Sequence[Source] | None = None,
        positions_BM: Tensor | None = None,
    ) -> Any:
        """Hidden states `(B, T, D)` under the model's own attention mask; with the keys and values of each block
        (a list of `KeyValues`) if `with_cache`, or its attention probabilities `(B, N, T, S)` if `with_maps`.
        `affines` are those of a condition. With `document_ids_BT`, int, a position sees its own document only.
        `token_vectors_BTE` stand in the place of the tokens' rows of the embedding table. `sources`, one for each
        block, are what the decoder of an `EncoderDecoder` looks at. With `positions_BM`, int, the hidden states are
        those of these positions alone, `(B, M, D)`, and the last block computes no others where the config allows it.
        """
        segment_ids_BT, position_ids_BT, mask_BTS, position = self.layer_inputs(
            token_ids_BT, segment_ids_BT, document_ids_BT
        )
        embedding_affine, layer_affines = self._affines_in_order(affines)
        options = {"training": training, "token_vectors_BTE": token_vectors_BTE}
        hidden_BTD = self.embeddings(token_ids_BT, segment_ids_BT, position_ids_BT, embedding_affine, **options)
        states: list[Any] = []
        added: Tensor | None = None
        residual = self.config.residual_attention_scores
        *layers, last = zip(self.layer_sequence, layer_affines, self._in_order(sources), strict=True)
        chooses = positions_BM is not None and not with_maps and affines is None and last[0].can_choose()
        for block, pair, source in layers if chooses else [*layers, last]:
            with_state = bool(with_cache or with_maps or residual)
            run: Callable[..., Any] = functools.partial(run_block, block, training, with_state, self.fused_attention)
            if self.recompute and training:
                run = recomputed(run, block)
            if not with_state:
                hidden_BTD = run(hidden_BTD, mask_BTS, position, None, pair, source)
                continue
            former = added
            hidden_BTD, cache, own = run(hidden_BTD, mask_BTS, position, former, pair, source)
            states.append(block.attention.probabilities(own, former, mask_BTS[:, None]) if with_maps else cache)
            added = added_scores(residual, added, own)
        if chooses:
            hidden_BTD, cache = last[0].at(hidden_BTD, mask_BTS, positions_BM, training)
            states.append(cache)
        elif positions_BM is not None:
            hidden_BTD = at_positions(hidden_BTD, positions_BM)
        if self.final_norm is not None and self.final_dropout is not None:
            hidden_BTD = self.final_dropout(self.final_norm(hidden_BTD), training=training)
        return (hidden_BTD, states) if with_cache or with_maps else hidden_BTD

    def layer_inputs(
        self, token_ids_BT: Tensor, segment_ids_BT: Tensor | None = None, document_ids_BT: Tensor | None = None
    ) -> tuple[Tensor, Tensor, Tensor, Any]:
        """What embeddings and layers read: segment ids, rows of the position table `(1 or B, T)`, mask `(B, T, S)` and
        the positions that attention takes.

        Raises:
            ValueError: T is more than the positions reach.
        """
        config, length = self.config, token_ids_BT.shape[1]
        if isinstance(length, int) and length > config.position_reach:
            raise ValueError(
                f"The position table reaches {config.position_reach} tokens. Received a sequence of {length}: "
                "cut the text (a smaller --seq-length or max_length) or load a model with more positions."
            )
        if segment_ids_BT is None:
            segment_ids_BT = ops.zeros_like(token_ids_BT)
        mask_BTS = attention_mask(config.attention, token_ids_BT, segment_ids_BT, document_ids_BT, config.pad_id)
        position_ids_BT = ops.arange(ops.shape(token_ids_BT)[1])[None]
        position = self._attention_position(position_ids_BT, position_ids_BT)
        if config.position == "counted":
            position_ids_BT = counted_positions(padding_mask(token_ids_BT, config.pad_id), config.pad_id)
        return segment_ids_BT, position_ids_BT, mask_BTS, position

    def encode_step(
        self,
        token_ids_RK: Tensor,
        segment_ids_RK: Tensor,
        position_ids_R1: Tensor,
        mask_R1S: Tensor,
        prefix: Sequence[KeyValues],
        generated: Sequence[KeyValues],
        time: Tensor,
        affines: dict[str, Any] | None = None,
        sources: Sequence[Source] | None = None,
    ) -> tuple[Tensor, list[KeyValues]]:
        """Hidden states `(R, K, D)` of one new token for each of the K continuations of R prefixes.

        Args:
            mask_R1S: bool, which prefix slots and generated slots (the new token's own included) may be looked at.
            prefix, generated: one `KeyValues` a layer, as `MultiHeadAttention.step` takes them.
            time: slot of the new token among the generated ones.
            affines: those of a condition `(R, C)`.
            sources: as `encode` takes them, of the R rows.

        Returns:
            The hidden states, and `generated` with the new token written in.
        """
        slots_P, slots_A = (ops.arange(x[0].values.shape[-2])[None] for x in (prefix, generated))
        slots_RP = ops.broadcast_to(slots_P, (ops.shape(position_ids_R1)[0], slots_P.shape[1]))
        key_ids_RS = ops.concatenate([slots_RP, position_ids_R1 - time + slots_A], axis=1)
        position = self._attention_position(position_ids_R1, key_ids_RS)
        embedding_affine, layer_affines = self._affines_in_order(affines)
        if self.config.position == "counted":
            position_ids_R1 = position_ids_R1 + self.config.pad_id + 1
        hidden_RKD = self.embeddings(token_ids_RK, segment_ids_RK, position_ids_R1, embedding_affine)
        updated, added = [], None
        caches = zip(prefix, generated, layer_affines, self._in_order(sources), strict=True)
        for block, (seen, recent, pair, source) in zip(self.layer_sequence, caches, strict=True):
            hidden_RKD, recent, own = block.step(
                hidden_RKD, mask_R1S, seen, recent, time, position, added, affines=pair, source=source
            )
            updated.append(recent)
            added = added_scores(self.config.residual_attention_scores, added, own)
        return hidden_RKD if self.final_norm is None else self.final_norm(hidden_RKD), updated

    def _in_order(self, sources: Sequence[Source] | None) -> Sequence[Source | None]:
        """One for each layer.

        Raises:
            ValueError: a decoder without them, or they are given to another stack.
        """
        given = sources is not None
        if given != self.config.cross_attention:
            raise ValueError(
                "A stack with cross_attention needs sources, which EncoderDecoder.read makes, and no other takes any. "
                f"Received: cross_attention={self.config.cross_attention}, sources given: {given}."
            )
        return [None] * self.config.num_layers if sources is None else sources

    def _affines_in_order(self, affines: dict[str, Any] | None) -> tuple[Affine | None, list[Any]]:
        """The `Affine` of the embeddings, and a pair for each layer."""
        count = self.config.num_layers
        if affines is None:
            return None, [(None, None)] * count
        pairs = affines["blocks"]
        return affines["embeddings"], pairs * count if self.config.shared_layers else pairs

    def _attention_position(self, query_ids_BT: Tensor, key_ids_BS: Tensor) -> Any:
        config = self.config
        if config.position == "rotary":
            return sinusoids(query_ids_BT, config.key_size)
        if config.position == "relative":
            return relative_vectors(query_ids_BT, key_ids_BS, config.relative_distance, config.key_size)
        return None if self.distances is None else self.distances(query_ids_BT, key_ids_BS)

    def token_logits(self, hidden_BMD: Tensor, affines: dict[str, Any] | None = None) -> Tensor:
        """Masked-LM logits `(B, M, V)`, float32, of the hidden states at chosen positions."""
        mlm: Any = self.mlm
        return mlm(hidden_BMD, self.embeddings.token.embeddings, affines and affines["mlm"])

    def stored_as(self, dtype: str) -> "Transformer":
        """This model if its weights are stored in `dtype` ("float32", "bfloat16"), else a copy whose weights are.

        A copy computes in `dtype` without casting weights at every use; norms still compute in float32.
        """
        return stored_as(self, dtype)

    def get_config(self) -> dict[str, Any]:
        return {
            "config": self.config.to_dict(),
            "with_pool": self.with_pool,
            "with_nsp": self.with_nsp,
            "with_mlm": self.with_mlm,
            "with_discriminator": self.with_discriminator,
            "recompute": self.recompute,
            "fused_attention": self.fused_attention,
            "name": self.name,
            "dtype": keras.dtype_policies.serialize(self.dtype_policy),
        }

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> "Transformer":
        config = dict(config)
        config["config"] = TransformerConfig(**config["config"])
        return cls(**config)
