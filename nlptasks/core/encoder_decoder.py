"""T5: an encoder that reads a source, and a decoder that writes a target while it looks at the source.

    source_ids (B, S) -> embeddings -> blocks of the encoder -> norm -> (B, S, D)
                                                     keys and values for every block of the decoder, made once
                                                                           |
    target_ids (B, T) -> the same embeddings -> blocks of the decoder, each: itself so far, the source, feed-forward
                                                                           |
                                              logits (B, T, V) <- output <- norm

Position t of the target, which begins with a start token (<pad>), gives the logits of its token t + 1.

Legend: B batch, S source position, T target position, D hidden, V vocabulary.
"""

from collections.abc import Sequence
from typing import Any

import keras

from nlptasks.backend import Tensor
from nlptasks.core.blocks import Source
from nlptasks.core.config import TransformerConfig
from nlptasks.core.masks import padding_mask
from nlptasks.core.storing import stored_as
from nlptasks.core.transformer import Transformer


@keras.saving.register_keras_serializable("nlptasks")
class EncoderDecoder(keras.Model):
    """T5 (arXiv 1910.10683), v1.0, v1.1 and mT5, as its config says: two `Transformer`s with the same embeddings.

        import numpy as np

        config = TransformerConfig(
            vocab_size=30, hidden_size=8, num_layers=2, decoder_layers=2, num_heads=2, ffn_size=16,
            segment_vocab_size=0, norm_place="pre", norm="rms", layer_norm_epsilon=1e-6, use_bias=False,
            embedding_norm=False, attention_scale=False, position="bucketed", relative_distance=128,
            hidden_act="relu", output="scaled",
        )
        model = EncoderDecoder(config)
        model([np.array([[5, 7, 1]]), np.array([[0, 9]])])  # logits (1, 2, 30)

    Args:
        config: with `decoder_layers`.
        recompute: as in `Transformer`.

    Call arguments:
        inputs: `[source_ids, target_ids]`, int `(B, S)` and `(B, T)`.

    Returns:
        Logits `(B, T, V)`, float32.
    """

    built: bool

    def __init__(self, config: TransformerConfig, recompute: bool = False, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        if config.decoder_layers is None:
            raise ValueError("An EncoderDecoder needs a config with decoder_layers. Received: decoder_layers=None.")
        self.config, self.recompute = config, recompute
        settings = {"recompute": recompute, "dtype": self.dtype_policy}
        self.encoder = Transformer(config.encoder, name="encoder", **settings)
        shared = self.encoder.embeddings
        self.decoder = Transformer(config.decoder, with_mlm="linear", embeddings=shared, name="decoder", **settings)

    def build(self, input_shape: Sequence[int | None] | None = None) -> None:
        if self.built:
            return
        self.encoder.build()
        self.decoder.build()
        self.built = True

    def call(self, inputs: Sequence[Tensor], training: bool | None = None) -> Tensor:
        source_ids_BS, target_ids_BT = inputs
        hidden_BTD = self.decode(target_ids_BT, self.read(source_ids_BS, training), training)
        return self.decoder.token_logits(hidden_BTD)

    def read(self, source_ids_BS: Tensor, training: bool | None = None) -> list[Source]:
        """What the blocks of the decoder look at; with a cache, it is all of the source that decoding needs."""
        hidden_BSD = self.encoder.encode(source_ids_BS, training=training)
        mask_B1S = padding_mask(source_ids_BS, self.config.pad_id)[:, None]
        crosses = [block.cross for block in self.decoder.layer_sequence]
        return [Source(cross.remember(hidden_BSD), mask_B1S) for cross in crosses if cross is not None]

    def decode(self, target_ids_BT: Tensor, sources: Sequence[Source], training: bool | None = None) -> Tensor:
        """Hidden states `(B, T, D)` of the target; `decoder.token_logits` makes logits of those that are wanted."""
        return self.decoder.encode(target_ids_BT, training=training, sources=sources)

    def stored_as(self, dtype: str) -> "EncoderDecoder":
        """This model if its weights are stored in `dtype`, else a copy whose weights are; see `Transformer`."""
        return stored_as(self, dtype)

    def get_config(self) -> dict[str, Any]:
        return {
            "config": self.config.to_dict(),
            "recompute": self.recompute,
            "name": self.name,
            "dtype": keras.dtype_policies.serialize(self.dtype_policy),
        }

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> "EncoderDecoder":
        return cls(**config | {"config": TransformerConfig(**config["config"])})
