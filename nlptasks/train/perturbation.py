"""The weight that the fast gradient method moves (arXiv 1605.07725)."""

import keras

from nlptasks.errors import UserError


def token_embedding(model: keras.Model) -> keras.Variable:
    """The token embedding of a model with one Transformer.

    Raises:
        UserError: there is none, or there are several.
    """
    found = [v for v in model.trainable_variables if v.path.endswith("embeddings/token/embeddings")]
    if len(found) != 1:
        raise UserError(
            "{field:fgm} moves the token embedding of a Transformer; this model has {count}.", count=len(found)
        )
    return found[0]
