"""The weight that adversarial training moves (fast gradient method, arXiv 1605.07725, and its kin)."""

import keras

from nlptasks.errors import UserError


def token_embedding(model: keras.Model, name: str = "fgm") -> keras.Variable:
    """The token embedding of a model with one Transformer.

    Args:
        name: the option that moves it, for the message.

    Raises:
        UserError: there is none, or there are several.
    """
    found = [v for v in model.trainable_variables if v.path.endswith("embeddings/token/embeddings")]
    if len(found) != 1:
        raise UserError(
            "{field:{name}} moves the token embedding of a Transformer; this model has {count}.",
            name=name,
            count=len(found),
        )
    return found[0]
