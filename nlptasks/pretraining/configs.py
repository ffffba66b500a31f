"""Sizes to pretrain, and what a step of one costs."""

from typing import Any

from nlptasks.core.config import TransformerConfig
from nlptasks.errors import UserError

# layers, hidden, heads: the BERT models of arXiv 1810.04805 and 1908.08962; the feed-forward part is 4 x hidden
SIZES = {
    "tiny": (2, 128, 2),
    "mini": (4, 256, 4),
    "small": (4, 512, 8),
    "base": (12, 768, 12),
    "large": (24, 1024, 16),
}
LARGER_KEYS = 128
"""key_size of the sizes with a "+" (low-rank bottleneck, arXiv 2002.07028), in place of 64"""


def named_config(name: str, vocab_size: int, seq_length: int, **overrides: Any) -> TransformerConfig:
    """The config of size `tiny`, `mini`, `small`, `base` or `large`; a `+` behind the name gives heads larger keys.

    Args:
        vocab_size: of the shards.
        seq_length: positions are 512, or as many as the rows need.
        **overrides: fields of `TransformerConfig`.

    Raises:
        ValueError: another name.
    """
    plain = name.removesuffix("+")
    if plain not in SIZES:
        raise UserError(
            "{field:config} is {sizes}, one of them with a + for larger keys, or a JSON file. Received: {name!r}.",
            sizes=", ".join(SIZES),
            name=name,
        )
    layers, hidden, heads = SIZES[plain]
    fields: dict[str, Any] = {
        "vocab_size": vocab_size,
        "hidden_size": hidden,
        "num_layers": layers,
        "num_heads": heads,
        "ffn_size": 4 * hidden,
        "max_positions": max(512, seq_length),
        "key_size": LARGER_KEYS if name.endswith("+") else None,
    }
    return TransformerConfig(**fields | overrides)


def step_flops(config: TransformerConfig, rows: int, seq_length: int, num_targets: int) -> float:
    """Floating-point operations of a training step, counted from the matrix products: 3 x those of the forward pass.

    Blocks (2 x weights x positions), attention (every position against every one), and the vocabulary head at the
    targets. Padding counts as work; what is computed again (recompute) does not.
    """
    heads, keys, values, hidden = config.num_heads, config.key_size, config.value_size, config.hidden_size
    weights = hidden * heads * (2 * keys + 2 * values) + 2 * hidden * config.ffn_size
    attention = seq_length * heads * (keys + values)
    blocks = config.num_layers * seq_length * (weights + attention)
    mapping = 0 if config.embedding_size == hidden else seq_length * config.embedding_size * hidden
    head = num_targets * config.embedding_size * (hidden + config.vocab_size)
    return 3.0 * 2.0 * rows * (blocks + mapping + head)
