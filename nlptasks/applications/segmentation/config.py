"""The shape of a segmentation network."""

from dataclasses import dataclass
from typing import Any

from nlptasks.applications.segmentation.vocab import UnitVocab
from nlptasks.errors import UserError


@dataclass(frozen=True, kw_only=True)
class SegmentationConfig:
    """A fully convolutional network over units.

    Attributes:
        standards: names of the annotation standards; each has its own biases in every layer.
        unit_size: embedding of a unit.
        pair_size: embedding of a pair of neighboring units; 0: pairs are not read.
        taps: width of the first convolution: positions t - 1 to t + taps - 2.
        channels: channels of each convolution except the last; those after the first have 3 taps.
        residual: add the input of each later convolution to its output.
        head_taps: width of the last convolution, which gives the scores of the four tags; 1 or 3.
    """

    standards: tuple[str, ...]
    unit_size: int = 64
    pair_size: int = 32
    taps: int = 4
    channels: tuple[int, ...] = (48, 48, 48)
    residual: bool = True
    head_taps: int = 1

    def __post_init__(self) -> None:
        if not self.standards or len(set(self.standards)) < len(self.standards):
            raise ValueError(f"standards must be distinct names, at least one. Received: {self.standards}.")
        if self.residual and len(set(self.channels)) > 1:
            raise UserError(
                "residual needs the same number of {field:channels} throughout. Received: {channels}.",
                channels=self.channels,
            )
        if not self.channels or min(self.unit_size, *self.channels) < 1 or self.pair_size < 0:
            raise UserError(
                "{field:unit_size} and {field:channels} must be at least 1, {field:pair_size} at least 0. Received: "
                "unit_size={unit_size}, channels={channels}, pair_size={pair_size}.",
                unit_size=self.unit_size,
                channels=self.channels,
                pair_size=self.pair_size,
            )
        if self.taps not in (3, 4) or self.head_taps not in (1, 3):
            raise ValueError(
                f"taps must be 3 or 4, head_taps 1 or 3. Received: taps={self.taps}, head_taps={self.head_taps}."
            )

    @property
    def reach(self) -> int:
        """The number of units to each side on which the scores of a tag can depend."""
        return 2 + (len(self.channels) - 1) + (self.head_taps - 1) // 2

    def standard_id(self, name: str) -> int:
        """The number of a standard.

        Raises:
            ValueError: it is none of `standards`.
        """
        if name not in self.standards:
            raise ValueError(f"the standard must be one of {', '.join(self.standards)}. Received: {name!r}.")
        return self.standards.index(name)


PRESETS: dict[str, dict[str, Any]] = {
    "default": {},
    "original": {
        "unit_size": 128,
        "pair_size": 0,
        "taps": 3,
        "channels": (128, 32),
        "residual": False,
        "head_taps": 3,
    },
}
"""`original` is the network of 2017: embedding 128, convolutions of kernel 3 with 128, 32 and 4 channels"""


def array_shapes(config: SegmentationConfig, vocab: UnitVocab) -> dict[str, tuple[int, ...]]:
    """Name -> shape of every weight of a network."""
    standards, first = len(config.standards), config.channels[0]
    shapes = {"unit": (vocab.unit_count, config.unit_size), "from_units": (config.taps, config.unit_size, first)}
    if config.pair_size:
        shapes["pair"] = (vocab.pair_count, config.pair_size)
        shapes["from_pairs"] = (config.taps, config.pair_size, first)
    shapes["bias.0"] = (standards, first)
    for i, (former, channels) in enumerate(zip(config.channels, config.channels[1:], strict=False), 1):
        shapes[f"conv.{i}"] = (3, former, channels)
        shapes[f"bias.{i}"] = (standards, channels)
    return shapes | {"head": (config.head_taps, config.channels[-1], 4), "head_bias": (standards, 4)}
