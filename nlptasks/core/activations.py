"""Activations beyond Keras' own, by the names that configs have.

A unit shaped like max(x, a x) is smooth where `erf` or a root stands for the sign: with d = (1 - a) / 2 and
s = (1 + a) / 2, max(x, a x) = s x + d |x|, and |x| is about x erf(m x) or sqrt(x^2 + m^2) (arXiv 2111.04682). At a = 0
and m = sqrt(1/2) the first is GELU. Any function that is no polynomial serves a network with enough units; these differ
in how easily it is trained.
"""

from collections.abc import Callable

from keras import ops

from nlptasks.backend import Tensor

SLOPE = 0.25
"""of the left side of the smooth maximum"""


def smooth_maximum_erf(x: Tensor, slope: float = SLOPE, sharpness: float = 0.5**0.5) -> Tensor:
    """A smooth max(x, slope x) with erf; the sharper, the closer."""
    half = 0.5 * (1.0 - slope)
    return 0.5 * (1.0 + slope) * x + half * x * ops.erf(sharpness * (1.0 - slope) * x)


def smooth_maximum_root(x: Tensor, slope: float = SLOPE, roundness: float = 0.5) -> Tensor:
    """A smooth max(x, slope x) with a root, above it everywhere; the less round, the closer."""
    return 0.5 * (1.0 + slope) * x + 0.5 * ops.sqrt(((1.0 - slope) * x) ** 2 + roundness**2)


ACTIVATIONS: dict[str, Callable[[Tensor], Tensor]] = {
    "smu": smooth_maximum_erf,
    "smu_root": smooth_maximum_root,
    "gelu_new": lambda x: ops.gelu(x, approximate=True),
    "gelu_tanh": lambda x: ops.gelu(x, approximate=True),
    "gelu_pytorch_tanh": lambda x: ops.gelu(x, approximate=True),
    "leaky_relu": lambda x: ops.leaky_relu(x, negative_slope=0.01),  # as in transformers; Keras' own has 0.2
}
"""by their names in configs; all of Keras' go, too (`swish`, `silu`, `mish`, `softplus`, `relu`, ...), and `gelu`"""
