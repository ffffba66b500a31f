"""The network of a sentence autoencoder: a Transformer that reads, a vector, and a Transformer that writes under it.

Legend: B batch, T position, D hidden, Z numbers of the latent vector.
"""

from typing import Any

import keras
from keras import ops

from nlptasks.applications.encoder_head import EncoderWithHead, mean_state
from nlptasks.backend import Tensor
from nlptasks.core.transformer import Transformer

POSTERIOR = "posterior"
CRITIC_SIZE = 64


class LatentModel(keras.Model):
    """Reads a text into the mean and the log-variance of a normal distribution, from whose draws it is written again.

    Args:
        encoder: reads; its mean hidden state is what mean and variance come from.
        decoder: writes, a causal Transformer with a `layer_norm_cond_size`, the Z, and a masked-LM head.
        with_critic: adds the adversary of an AAE, which tells vectors of texts from normal noise.
        posterior: the layer of mean and log-variance; None: a fresh one.
    """

    def __init__(
        self,
        encoder: Transformer,
        decoder: Transformer,
        with_critic: bool = False,
        posterior: keras.layers.Layer | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        size = decoder.config.layer_norm_cond_size
        if size is None or decoder.config.attention != "causal":
            raise ValueError("the decoder of a latent model is causal and has a layer_norm_cond_size.")
        self.latent_size, self.pad_id = size, encoder.config.pad_id
        self.reader = EncoderWithHead(
            encoder, {POSTERIOR: posterior or posterior_layer(size)}, encoder.config.dropout, name="reader"
        )
        self.writer = EncoderWithHead(decoder, {}, 0.0, name="writer")
        self.critic: Any = None
        if with_critic:
            hidden = [keras.layers.Dense(CRITIC_SIZE, activation="leaky_relu") for _ in range(2)]
            self.critic = keras.Sequential([*hidden, keras.layers.Dense(1)], name="critic")
            self.critic.build((None, size))
        self.built = True

    def call(self, token_ids_BT: Tensor, training: bool | None = None) -> tuple[Tensor, Tensor]:
        hidden_BTD = self.reader.encode(token_ids_BT, training=training)
        both = self.reader.head_layers[POSTERIOR](mean_state(hidden_BTD, token_ids_BT, self.pad_id))
        mean_BZ, log_variance_BZ = ops.split(ops.cast(both, "float32"), 2, axis=-1)
        return mean_BZ, log_variance_BZ


def posterior_layer(size: int) -> keras.layers.Layer:
    """What makes mean and log-variance of a hidden state."""
    return keras.layers.Dense(2 * size, name=POSTERIOR)


def kl_divergence(mean_BZ: Tensor, log_variance_BZ: Tensor) -> Tensor:
    """KL(N(mean, variance) | N(0, 1)) of each number, `(B, Z)`, in nats."""
    return (ops.square(mean_BZ) + ops.exp(log_variance_BZ) - log_variance_BZ - 1) / 2


def kl_loss(mean_BZ: Tensor, log_variance_BZ: Tensor, rows_B: Tensor, free_bits: float) -> Tensor:
    """The KL divergence of all rows with weight 1, a scalar; the mean over them of each number counts from `free_bits`
    on.
    """
    count = ops.maximum(ops.sum(rows_B), 1.0)
    kl_Z = ops.sum(kl_divergence(mean_BZ, log_variance_BZ) * rows_B[:, None], axis=0) / count
    return count * ops.sum(ops.maximum(kl_Z, free_bits))


def adversary_loss(critic: keras.Model, z_BZ: Tensor, prior_BZ: Tensor, rows_B: Tensor) -> Tensor:
    """The cross-entropy of an adversary over all rows, a scalar, which it makes smaller and the encoder larger."""
    noise_B = ops.softplus(-critic(prior_BZ)[:, 0])
    texts_B = ops.softplus(critic(reversed_gradient(z_BZ))[:, 0])
    return ops.sum((noise_B + texts_B) * rows_B)


def reversed_gradient(x: Tensor) -> Tensor:
    """x, with the gradient of -x: what stands before it makes larger what stands behind it makes smaller."""
    return 2 * ops.stop_gradient(x) - x
