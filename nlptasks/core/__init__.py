"""The Transformer core: config, masks, layers, model, and the backend seam."""

from nlptasks.backend import programs  # noqa: F401 - first: it imports keras
from nlptasks.core.config import TransformerConfig
from nlptasks.core.transformer import Transformer

__all__ = ["Transformer", "TransformerConfig"]
