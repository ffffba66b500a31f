"""The Transformer core: config, masks, positions, layers and models."""

from nlptasks.core.config import TransformerConfig
from nlptasks.core.encoder_decoder import EncoderDecoder
from nlptasks.core.transformer import Transformer

__all__ = ["EncoderDecoder", "Transformer", "TransformerConfig"]
