"""Names of the strategies for the losses of several tasks (see `weighting`). Imports no backend."""

STRATEGIES = (
    "fixed",
    "initial",
    "prior",
    "real-time",
    "generalized-mean",
    "uncertainty",
    "normalized-gradients",
    "pcgrad",
)
ON_GRADIENTS = ("normalized-gradients", "pcgrad")
"""strategies that see the gradients of each task, which are computed once more for it"""
