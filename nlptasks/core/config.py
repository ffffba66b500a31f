"""The sizes and choices that make one Transformer differ from another."""

import dataclasses
import sys
from dataclasses import dataclass
from typing import Any

ATTENTION_KINDS = ("bidirectional", "causal", "unilm")
POSITION_KINDS = ("learned", "relative", "rotary")
RESIDUAL_KINDS = (None, "previous", "running")


@dataclass(frozen=True, kw_only=True)
class TransformerConfig:
    """Architecture of a BERT-layout Transformer (post-norm). What makes one family differ from another is here:
    ALBERT has `shared_layers`, NEZHA `position="relative"`, RoFormer `position="rotary"`; ALBERT and ELECTRA have an
    `embedding_size` of their own.

    `key_size` (queries and keys) and `value_size` are sizes of one head and are independent of
    `hidden_size / num_heads` (low-rank bottleneck, arXiv 2002.07028). Left out, `value_size` is
    `hidden_size // num_heads` and `key_size` is `value_size`, as in bert4keras.

    position: "learned" absolute positions, a table of `max_positions` rows; "relative" to at most `relative_distance`
        tokens, fixed sinusoids in every attention (NEZHA, arXiv 1909.00204); "rotary" (RoFormer, arXiv 2104.09864).
    hierarchical_position: reaches past the learned table, up to its size squared: position i x max_positions + j is
        the sum of rows i and j, weighted by this share for i (bert4keras; True is its default, 0.4).
    shared_layers: one block run `num_layers` times (ALBERT, arXiv 1909.11942).
    residual_attention_scores: scores of the layer below are added before the softmax: "previous", that layer's own
        (what bert4keras computes; True means it), or "running", the sum over all layers below (RealFormer, arXiv
        2012.11747).
    talking_heads: heads are mixed before and after the softmax (arXiv 2003.02436).
    layer_norm_cond_size: width of a condition that every norm takes (Conditional LayerNorm, bert4keras), projected
        first to `layer_norm_cond_hidden_size` with `layer_norm_cond_hidden_act` if that is given. None: no condition.

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
    embedding_size: int = None  # type: ignore[assignment] # hidden_size, once it is made
    key_size: int = None  # type: ignore[assignment] # value_size
    value_size: int = None  # type: ignore[assignment] # hidden_size / num_heads
    attention: str = "bidirectional"
    position: str = "learned"
    relative_distance: int = 64
    hierarchical_position: float | None = None
    shared_layers: bool = False
    residual_attention_scores: str | None = None
    talking_heads: bool = False
    hidden_act: str = "gelu"
    dropout: float = 0.1
    attention_dropout: float = 0.1
    layer_norm_epsilon: float = 1e-12
    initializer_range: float = 0.02
    layer_norm_cond_size: int | None = None
    layer_norm_cond_hidden_size: int | None = None
    layer_norm_cond_hidden_act: str = "linear"

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
        for name, meaning in (("hierarchical_position", 0.4), ("residual_attention_scores", "previous")):
            if isinstance(getattr(self, name), bool):
                object.__setattr__(self, name, meaning if getattr(self, name) else None)
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
        for name, kinds in _KINDS.items():
            if getattr(self, name) not in kinds:
                raise ValueError(f"{name} must be one of {kinds}. Received: {name}={getattr(self, name)!r}.")
        if self.attention == "unilm" and self.segment_vocab_size < 2:
            raise ValueError(
                'attention="unilm" reads source and target from segment ids 0 and 1. '
                f"Received: attention='unilm', segment_vocab_size={self.segment_vocab_size}."
            )
        self._check_positions()
        self._check_condition()

    def _check_condition(self) -> None:
        for name in ("layer_norm_cond_size", "layer_norm_cond_hidden_size"):
            value = getattr(self, name)
            if value is not None and (isinstance(value, bool) or not isinstance(value, int) or value < 1):
                raise ValueError(f"{name} must be a positive integer or None. Received: {name}={value!r}.")
        if self.layer_norm_cond_hidden_size is not None and self.layer_norm_cond_size is None:
            raise ValueError(
                "layer_norm_cond_hidden_size projects a condition, so layer_norm_cond_size must be given. "
                f"Received: layer_norm_cond_hidden_size={self.layer_norm_cond_hidden_size}, layer_norm_cond_size=None."
            )

    def _check_positions(self) -> None:
        if self.position != "learned" and self.key_size % 2:
            raise ValueError(
                f"Sinusoids come in pairs, so key_size must be even. Received: position={self.position!r}, "
                f"key_size={self.key_size}."
            )
        if self.position == "relative" and self.key_size != self.value_size:
            raise ValueError(
                "Relative positions add one vector to keys and values, so key_size and value_size must be equal. "
                f"Received: position='relative', key_size={self.key_size}, value_size={self.value_size}."
            )
        if (share := self.hierarchical_position) is None:
            return
        if isinstance(share, str) or not 0.0 < share < 1.0:
            raise ValueError(f"hierarchical_position must lie between 0 and 1. Received: {share!r}.")
        if self.position != "learned":
            raise ValueError(
                "hierarchical_position extends a learned table. "
                f"Received: hierarchical_position={share}, position={self.position!r}."
            )

    @property
    def position_reach(self) -> int:
        """The longest sequence that the positions reach, in tokens."""
        if self.position != "learned":
            return sys.maxsize
        return self.max_positions if self.hierarchical_position is None else self.max_positions**2

    def replace(self, **changes: Any) -> "TransformerConfig":
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
    "relative_distance",
)
_KINDS = {
    "attention": ATTENTION_KINDS,
    "position": POSITION_KINDS,
    "residual_attention_scores": RESIDUAL_KINDS,
    "shared_layers": (False, True),
    "talking_heads": (False, True),
}
