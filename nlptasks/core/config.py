"""The sizes and choices that make one Transformer differ from another."""

import dataclasses
from dataclasses import dataclass

ATTENTION_KINDS = ("bidirectional", "causal", "unilm")


@dataclass(frozen=True, kw_only=True)
class TransformerConfig:
    """Architecture of a BERT-layout Transformer (post-norm, learned absolute positions).

    `key_size` (queries and keys) and `value_size` are sizes of one head and are independent of
    `hidden_size / num_heads` (low-rank bottleneck, arXiv 2002.07028). Left out, `value_size` is
    `hidden_size // num_heads` and `key_size` is `value_size`, as in bert4keras.

    Raises:
        ValueError: two fields contradict each other, or one is out of its range.
    """

    vocab_size: int
    hidden_size: int
    num_layers: int
    num_heads: int
    ffn_size: int
    max_positions: int = 512
    segment_vocab_size: int = 2
    embedding_size: int | None = None
    key_size: int | None = None
    value_size: int | None = None
    attention: str = "bidirectional"
    hidden_act: str = "gelu"
    dropout: float = 0.1
    attention_dropout: float = 0.1
    layer_norm_epsilon: float = 1e-12
    initializer_range: float = 0.02

    def __post_init__(self) -> None:
        if self.value_size is None and isinstance(self.hidden_size, int) and self.num_heads:
            if self.hidden_size % self.num_heads:
                raise ValueError(
                    "hidden_size must be a multiple of num_heads unless value_size is given. "
                    f"Received: hidden_size={self.hidden_size}, num_heads={self.num_heads}."
                )
            object.__setattr__(self, "value_size", self.hidden_size // self.num_heads)
        if self.key_size is None:
            object.__setattr__(self, "key_size", self.value_size)
        if self.embedding_size is None:
            object.__setattr__(self, "embedding_size", self.hidden_size)
        for name in _POSITIVE:
            value = getattr(self, name)
            if isinstance(value, bool) or not isinstance(value, int) or value < 1:
                raise ValueError(f"{name} must be a positive integer. Received: {name}={value!r}.")
        if not isinstance(self.segment_vocab_size, int) or self.segment_vocab_size < 0:
            raise ValueError(
                "segment_vocab_size must be 0 (no segments) or more. "
                f"Received: segment_vocab_size={self.segment_vocab_size!r}."
            )
        for name in ("dropout", "attention_dropout"):
            if not 0.0 <= getattr(self, name) < 1.0:
                raise ValueError(f"{name} must be at least 0 and below 1. Received: {name}={getattr(self, name)!r}.")
        if self.attention not in ATTENTION_KINDS:
            raise ValueError(f"attention must be one of {ATTENTION_KINDS}. Received: attention={self.attention!r}.")
        if self.attention == "unilm" and self.segment_vocab_size < 2:
            raise ValueError(
                'attention="unilm" reads source and target from segment ids 0 and 1. '
                f"Received: attention='unilm', segment_vocab_size={self.segment_vocab_size}."
            )

    def replace(self, **changes: object) -> "TransformerConfig":
        """A copy with some fields changed, checked again."""
        return dataclasses.replace(self, **changes)

    def to_dict(self) -> dict[str, object]:
        """The fields as a plain dict; `TransformerConfig(**config.to_dict())` is equal to `config`."""
        return dataclasses.asdict(self)


_POSITIVE = (
    "vocab_size",
    "hidden_size",
    "num_layers",
    "num_heads",
    "ffn_size",
    "max_positions",
    "embedding_size",
    "key_size",
    "value_size",
)
