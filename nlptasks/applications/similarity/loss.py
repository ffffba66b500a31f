"""How groups of sentences are told apart in training. Imports no backend."""

from dataclasses import dataclass

from nlptasks.train.margins import SCALE, check_loss
from nlptasks.train.options import require_positive


@dataclass(frozen=True, kw_only=True)
class GroupLoss:
    """How groups are told apart; see `nlptasks.train.group_losses`.

    Attributes:
        kind: "softmax", "am", "a" or "arc".
        scale: factor of the cosines.
        margin: None: the usual one of the kind.
        class_norm: length, about, of the groups' vectors before training. The loss looks at their directions only, and
            Adam moves a number by the learning rate whatever its size: short vectors turn faster.

    Raises:
        UserError: another kind, a margin that it does not take, a scale or length that is not positive.
    """

    kind: str = "am"
    scale: float = SCALE
    margin: float | None = None
    class_norm: float = 1.0

    def __post_init__(self) -> None:
        check_loss(self.kind, self.margin)
        require_positive(self, "scale", "class_norm")
