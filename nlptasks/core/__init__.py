"""The Transformer core: config, masks, positions, layers and model."""

from nlptasks.core.config import TransformerConfig
from nlptasks.core.transformer import Transformer

__all__ = ["Transformer", "TransformerConfig"]
