"""What compression replaces and how fast, before there is a model. Imports no backend."""

import math
from dataclasses import dataclass

INITS = ("first", "even")
MIXINGS = ("coin", "anneal")
SCHEDULES = ("constant", "linear", "cosine")


def module_spans(num_layers: int, num_successor_layers: int) -> list[range]:
    """The predecessor's layers that each successor layer replaces, groups of one size in their order.

    Raises:
        ValueError: the layers cannot be grouped so; the possible numbers are named.
    """
    if not 1 <= num_successor_layers < num_layers or num_layers % num_successor_layers:
        possible = [str(n) for n in range(1, num_layers) if num_layers % n == 0]
        told = f"it can have {', '.join(possible)}" if possible else "it has one layer only and cannot be compressed"
        raise ValueError(
            "The successor's layers must divide the predecessor's, and be fewer. Received: "
            f"{num_layers} layers, {num_successor_layers} successor layers; {told}."
        )
    size = num_layers // num_successor_layers
    return [range(start, start + size) for start in range(0, num_layers, size)]


def initial_layers(num_layers: int, num_successor_layers: int, init: str) -> list[int]:
    """Which layer of the predecessor each successor layer starts from.

    Args:
        init: "first", the lowest ones, as bert4keras' example does; "even", the last one of each group.

    Raises:
        ValueError: as `module_spans`, and another init.
    """
    if init not in INITS:
        raise ValueError(f"init must be one of {INITS}. Received: init={init!r}.")
    spans = module_spans(num_layers, num_successor_layers)
    return [span[-1] for span in spans] if init == "even" else list(range(len(spans)))


@dataclass(frozen=True, kw_only=True)
class ReplacementSchedule:
    """The replacement rate of each training step.

    Attributes:
        kind: "constant"; "linear", the paper's curriculum min(1, start + (1 - start) step / rise_steps); "cosine", the
            same rise along half a cosine.
        start: the rate of the first step, or of all.
        rise_steps: after so many steps the rate is 1; unused where it is constant.

    Raises:
        ValueError: another kind, or a number out of its range.
    """

    kind: str = "linear"
    start: float = 0.5
    rise_steps: int = 1

    def __post_init__(self) -> None:
        if self.kind not in SCHEDULES:
            raise ValueError(f"schedule must be one of {SCHEDULES}. Received: schedule={self.kind!r}.")
        if not 0 <= self.start <= 1:
            raise ValueError(f"the replacement rate must lie in [0, 1]. Received: rate={self.start}.")
        if self.kind == "constant" and self.start == 0:
            raise ValueError("a constant replacement rate of 0 trains nothing. Received: schedule='constant', rate=0.")
        if self.rise_steps < 1:
            raise ValueError(f"rise_steps must be at least 1. Received: rise_steps={self.rise_steps}.")

    def __call__(self, step: int) -> float:
        """The rate of a step, counted from 0."""
        if self.kind == "constant":
            return self.start
        share = min(1.0, step / self.rise_steps)
        if self.kind == "cosine":
            share = (1 - math.cos(math.pi * share)) / 2
        return self.start + (1 - self.start) * share
