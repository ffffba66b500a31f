"""Some of a network's layers as a network of their own."""

from collections.abc import Sequence

from nlptasks.checkpoints.weights import export_weights
from nlptasks.core.transformer import Transformer
from nlptasks.errors import UserError
from nlptasks.surgery.opened import rebuilt
from nlptasks.surgery.options import check_layers

_LAYER = "encoder.layer."


def take_layers(model: Transformer, layers: Sequence[int]) -> Transformer:
    """A Transformer of these layers of another one, in this order, with its embeddings and heads.

        take_layers(model, [1, 3, 5]).config.num_layers  # 3

    Args:
        model: with layers of their own.
        layers: numbers from 0.

    Raises:
        UserError: all layers are one (ALBERT), or one of these is not there.
    """
    if model.config.shared_layers:
        raise UserError(
            "all {count} layers are one and the same (ALBERT); none can be taken.", count=model.config.num_layers
        )
    check_layers(model.config.num_layers, layers)
    arrays = export_weights(model)
    kept = {name: array for name, array in arrays.items() if not name.startswith(_LAYER)}
    for new, old in enumerate(layers):
        prefix = f"{_LAYER}{old}."
        kept |= {f"{_LAYER}{new}.{n[len(prefix) :]}": a for n, a in arrays.items() if n.startswith(prefix)}
    return rebuilt(model, model.config.replace(num_layers=len(layers)), kept)
