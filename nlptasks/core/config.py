"""The config of a Transformer: its sizes and its variants."""

import dataclasses
import sys
from dataclasses import dataclass
from typing import Any

ATTENTION_KINDS = ("bidirectional", "causal", "unilm")
POSITION_KINDS = ("learned", "counted", "relative", "rotary", "bucketed")
NORM_PLACES = ("post", "pre", "inner")
NORM_KINDS = ("layer", "rms", "unit")
OUTPUT_KINDS = ("masked_lm", "tied", "scaled", "untied")
RESIDUAL_KINDS = (None, "previous", "running")


@dataclass(frozen=True, kw_only=True)
class TransformerConfig:
    """The architecture of a Transformer, BERT's where nothing is said; checked when it is made, and never changed.

        config = TransformerConfig(vocab_size=21128, hidden_size=768, num_layers=12, num_heads=12, ffn_size=3072)
        config.replace(attention="unilm").key_size  # 64

    The families differ in these fields: ALBERT has `shared_layers`, NEZHA has `position="relative"`, RoFormer has
    `position="rotary"`, and ALBERT and ELECTRA have their own `embedding_size`. Those that write:

    - GPT: attention="causal", embedding_norm=False, output="tied";
    - GPT-2: the same, and norm_place="pre";
    - GPT2-ML: attention="causal", norm_place="inner", output="tied";
    - T5 v1.0: norm_place="pre", norm="rms", use_bias=False, embedding_norm=False, attention_scale=False,
      position="bucketed", output="scaled", and decoder_layers;
    - T5 v1.1 and mT5: the same, but gated_ffn=True and output="untied".

    RoFormerV2 has position="rotary", norm="unit", use_bias=False, output="tied", and GAU-alpha gated_attention=True
    beside these.

    Args:
        vocab_size, hidden_size, num_layers, num_heads: the usual sizes.
        ffn_size: inner width of the feed-forward layers.
        max_positions: rows of the table of learned positions.
        segment_vocab_size: number of segment ids; 1: every token has the same, and segment ids only steer the "unilm"
            mask; 0: no segment embedding.
        embedding_size: width of the token embedding; None: `hidden_size`.
        key_size, value_size: size of one head's queries and keys, and of its values, both independent of
            `hidden_size / num_heads` (low-rank bottleneck, arXiv 2002.07028). None: `value_size` is
            `hidden_size // num_heads`, and `key_size` is `value_size`, as in bert4keras.
        attention: "bidirectional", "causal" or "unilm".
        position: "learned" (a table of absolute positions), "relative" (fixed sinusoids of the distance in every
            attention; NEZHA, arXiv 1909.00204), "rotary" (RoFormer, arXiv 2104.09864), "counted": a table whose row
            for the nth real token, counted from 1, is `pad_id` + n, and `pad_id` for padding (RoBERTa, 1907.11692), or
            "bucketed": a learned score of the distance for every head, the same in all layers (T5, arXiv 1910.10683).
        pad_id: the id of the padding token.
        relative_distance: with relative and bucketed positions, the largest distance that is told apart, in tokens.
        relative_buckets: number of buckets of distances; half of them are of one distance each.
        hierarchical_position: extends learned positions to `max_positions` squared: position i x max_positions + j is
            the weighted sum of rows i and j, and this is the weight of row i (bert4keras; True: its default, 0.4).
        shared_layers: one block runs `num_layers` times (ALBERT, arXiv 1909.11942).
        residual_attention_scores: adds scores from lower layers before the softmax: "previous" (or True), those of the
            layer below, as bert4keras does; "running", the sum over all layers below (RealFormer, arXiv 2012.11747).
        talking_heads: mixes the heads before and after the softmax (arXiv 2003.02436).
        norm_place: "post": behind every residual sum; "pre": before every part, and one behind the last block; "inner":
            before and behind the feed-forward layer, inside and outside of its residual sum.
        norm: "layer"; "rms": divides by the root of the mean square, without mean and beta (arXiv 1910.07467); "unit":
            the same without gamma.
        embedding_norm: normalizes the embeddings.
        use_bias: of all dense layers in blocks.
        attention_scale: divides scores by the root of `key_size`.
        hidden_act: activation of the feed-forward layers and of the masked-LM head.
        gated_attention: one head whose values are `ffn_size` wide and gated, and no feed-forward layer (GAU, arXiv
            2202.10447).
        gated_ffn: the activated inner layer is multiplied by another one (arXiv 2002.05202).
        output: the head over the vocabulary: "masked_lm" (BERT's: dense, activation, norm, the token embedding, bias);
            "tied": the token embedding alone; "scaled": the same, of hidden states times hidden_size ** -0.5; "untied":
            a matrix of its own.
        dropout, attention_dropout: rates for hidden states and for attention probabilities.
        layer_norm_epsilon: added to the variance in every norm.
        initializer_range: standard deviation of fresh weights.
        layer_norm_cond_size: width of a condition that every norm reads (Conditional LayerNorm, bert4keras). None: no
            condition.
        layer_norm_cond_hidden_size, layer_norm_cond_hidden_act: width and activation of a layer that the condition
            passes first; None: there is no such layer.
        cross_attention: every block also looks at the states of an encoder.
        decoder_layers: of an `EncoderDecoder`; None: one stack.

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
    pad_id: int = 0
    embedding_size: int = None  # type: ignore[assignment] # hidden_size, once it is made
    key_size: int = None  # type: ignore[assignment] # value_size
    value_size: int = None  # type: ignore[assignment] # hidden_size / num_heads
    attention: str = "bidirectional"
    position: str = "learned"
    relative_distance: int = 64
    relative_buckets: int = 32
    hierarchical_position: float | None = None
    shared_layers: bool = False
    residual_attention_scores: str | None = None
    talking_heads: bool = False
    norm_place: str = "post"
    norm: str = "layer"
    embedding_norm: bool = True
    use_bias: bool = True
    attention_scale: bool = True
    hidden_act: str = "gelu"
    gated_attention: bool = False
    gated_ffn: bool = False
    output: str = "masked_lm"
    dropout: float = 0.1
    attention_dropout: float = 0.1
    layer_norm_epsilon: float = 1e-12
    initializer_range: float = 0.02
    layer_norm_cond_size: int | None = None
    layer_norm_cond_hidden_size: int | None = None
    layer_norm_cond_hidden_act: str = "linear"
    cross_attention: bool = False
    decoder_layers: int | None = None

    def __post_init__(self) -> None:
        if self.value_size is None and self.gated_attention:
            object.__setattr__(self, "value_size", self.ffn_size)
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
        if isinstance(self.pad_id, bool) or not isinstance(self.pad_id, int) or not 0 <= self.pad_id < self.vocab_size:
            raise ValueError(
                f"pad_id must lie in [0, vocab_size). Received: pad_id={self.pad_id!r}, vocab_size={self.vocab_size}."
            )
        if not isinstance(self.segment_vocab_size, int) or self.segment_vocab_size < 0:
            raise ValueError(
                "segment_vocab_size must be 0 (no segments) or more. "
                f"Received: segment_vocab_size={self.segment_vocab_size!r}."
            )
        for name in ("dropout", "attention_dropout"):
            if not 0.0 <= getattr(self, name) < 1.0:
                raise ValueError(f"{name} must be at least 0 and below 1. Received: {name}={getattr(self, name)!r}.")
        for name in ("layer_norm_epsilon", "initializer_range"):
            value = getattr(self, name)
            if isinstance(value, bool) or not isinstance(value, int | float) or not 0 < value < float("inf"):
                raise ValueError(f"{name} must be a positive number. Received: {name}={value!r}.")
        for name, kinds in _KINDS.items():
            if getattr(self, name) not in kinds:
                raise ValueError(f"{name} must be one of {kinds}. Received: {name}={getattr(self, name)!r}.")
        if self.attention == "unilm" and self.segment_vocab_size < 1:
            raise ValueError(
                'attention="unilm" reads source and target from segment ids 0 and 1. '
                f"Received: attention='unilm', segment_vocab_size={self.segment_vocab_size}."
            )
        self._check_positions()
        self._check_layout()
        self._check_condition()

    def _check_layout(self) -> None:
        if self.decoder_layers is not None and self.decoder_layers < 1:
            raise ValueError(
                f"decoder_layers must be a positive integer or None. Received: decoder_layers={self.decoder_layers}."
            )
        if self.decoder_layers is not None and self.attention != "bidirectional":
            raise ValueError(
                "The encoder of an encoder-decoder sees its whole source. Received: "
                f"decoder_layers={self.decoder_layers}, attention={self.attention!r}."
            )
        if (self.cross_attention or self.decoder_layers is not None) and self.norm_place != "pre":
            raise ValueError(
                f'Attention to an encoder goes with norm_place="pre". Received: norm_place={self.norm_place!r}.'
            )
        if self.gated_attention and (self.num_heads, self.norm_place, self.use_bias) != (1, "post", False):
            raise ValueError(
                "Gated attention has one head, a norm behind it and no biases. Received: "
                f"num_heads={self.num_heads}, norm_place={self.norm_place!r}, use_bias={self.use_bias}."
            )
        if self.gated_attention and self.value_size != self.ffn_size:
            raise ValueError(
                "The values of gated attention are ffn_size wide. Received: "
                f"value_size={self.value_size}, ffn_size={self.ffn_size}."
            )
        if self.output != "masked_lm" and self.embedding_size != self.hidden_size:
            raise ValueError(
                f"output={self.output!r} multiplies hidden states by the token embedding. Received: "
                f"embedding_size={self.embedding_size}, hidden_size={self.hidden_size}."
            )

    def _check_condition(self) -> None:
        if self.layer_norm_cond_size is not None and not self.has_bert_layout:
            others = ", ".join(f"{name}={getattr(self, name)!r}" for name in _LAYOUT)
            raise ValueError(
                "A condition is read by the norms of BERT's layout. Received: layer_norm_cond_size="
                f"{self.layer_norm_cond_size}, {others}."
            )
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
        if self.position == "counted" and self.max_positions <= self.pad_id + 1:
            raise ValueError(
                "Counted positions begin behind pad_id, so max_positions must be more than pad_id + 1. Received: "
                f"pad_id={self.pad_id}, max_positions={self.max_positions}."
            )
        if self.position in ("relative", "rotary") and self.key_size % 2:
            raise ValueError(
                f"Sinusoids come in pairs, so key_size must be even. Received: position={self.position!r}, "
                f"key_size={self.key_size}."
            )
        if self.position == "relative" and self.key_size != self.value_size:
            raise ValueError(
                "Relative positions add one vector to keys and values, so key_size and value_size must be equal. "
                f"Received: position='relative', key_size={self.key_size}, value_size={self.value_size}."
            )
        if self.position == "bucketed" and not 4 <= self.relative_buckets < 2 * self.relative_distance:
            raise ValueError(
                "relative_buckets must be at least 4 and below 2 x relative_distance. Received: relative_buckets="
                f"{self.relative_buckets}, relative_distance={self.relative_distance}."
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
        """The length of the longest sequence that the model can read, in tokens."""
        if self.position in ("relative", "rotary", "bucketed"):
            return sys.maxsize
        if self.position == "counted":
            return self.max_positions - self.pad_id - 1
        return self.max_positions if self.hierarchical_position is None else self.max_positions**2

    @property
    def has_bert_layout(self) -> bool:
        """Whether norms, dense layers and head are as in BERT."""
        return all(getattr(self, name) == value for name, value in _LAYOUT.items()) and not self.cross_attention

    @property
    def encoder(self) -> "TransformerConfig":
        """That of the encoder of an encoder-decoder."""
        return self.replace(decoder_layers=None)

    @property
    def decoder(self) -> "TransformerConfig":
        """That of the decoder of an encoder-decoder: it sees its past, and the states of the encoder."""
        layers = self.decoder_layers or self.num_layers
        return self.replace(decoder_layers=None, num_layers=layers, attention="causal", cross_attention=True)

    def replace(self, **changes: Any) -> "TransformerConfig":
        """Returns a copy with some fields changed; the copy is checked, too."""
        return dataclasses.replace(self, **changes)

    def to_dict(self) -> dict[str, object]:
        """Returns the fields as a dict; `TransformerConfig(**config.to_dict())` equals `config`."""
        return dataclasses.asdict(self)


_LAYOUT = {
    "norm_place": "post",
    "norm": "layer",
    "embedding_norm": True,
    "use_bias": True,
    "attention_scale": True,
    "gated_attention": False,
    "gated_ffn": False,
    "output": "masked_lm",
}
"""BERT's"""
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
    "relative_buckets",
)
_KINDS = {
    "attention": ATTENTION_KINDS,
    "position": POSITION_KINDS,
    "residual_attention_scores": RESIDUAL_KINDS,
    "shared_layers": (False, True),
    "talking_heads": (False, True),
    "norm_place": NORM_PLACES,
    "norm": NORM_KINDS,
    "embedding_norm": (False, True),
    "use_bias": (False, True),
    "attention_scale": (False, True),
    "gated_attention": (False, True),
    "gated_ffn": (False, True),
    "output": OUTPUT_KINDS,
    "cross_attention": (False, True),
}
