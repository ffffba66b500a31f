"""What the commands of checkpoints know before there is a network. Imports no backend."""

from collections.abc import Sequence

from nlptasks.errors import UserError

FORMS = ("nlptasks", "huggingface", "google", "bert4keras")
"""formats that are written"""
TOLERANCE = 1e-5
"""the largest |x - y| / max(1, |x|) of an output where the function must stay the same"""


def even_layers(num_layers: int, count: int) -> list[int]:
    """Numbers, from 0, of so many layers, evenly: the last one of each group; of 12 layers 4 are 2, 5, 8, 11.

    Raises:
        UserError: there are not so many.
    """
    if not 1 <= count <= num_layers:
        raise UserError("{field:count} must lie between 1 and {most}. Received: {count}.", most=num_layers, count=count)
    return [(i + 1) * num_layers // count - 1 for i in range(count)]


def check_layers(num_layers: int, layers: Sequence[int]) -> None:
    """Refuses numbers of layers that are not there.

    Raises:
        UserError: names the first one.
    """
    if outside := [layer for layer in layers if not 0 <= layer < num_layers]:
        raise UserError(
            "{field:layers} must lie in 0 to {last}. Received: {layer}.", last=num_layers - 1, layer=outside[0]
        )
