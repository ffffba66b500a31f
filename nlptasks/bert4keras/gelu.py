"""Which gelu a model of bert4keras computes: `set_gelu` holds for the models that are built after it."""

from typing import Any

from nlptasks.errors import UserError

_CHOSEN = ["erf"]


def set_gelu(version: str) -> None:
    """Chooses between the exact gelu ("erf") and its approximation ("tanh") for models built from now on.

    set_gelu("tanh")
    """
    if version.lower() not in ("erf", "tanh"):
        raise UserError("{field:version} must be erf or tanh. Received: {version!r}.", version=version)
    _CHOSEN[0] = version.lower()


def chosen_activation(name: Any) -> Any:
    """The activation that a config's name means."""
    return "gelu_tanh" if name == "gelu" and _CHOSEN[0] == "tanh" else name
