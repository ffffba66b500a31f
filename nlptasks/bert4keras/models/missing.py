"""The model classes that are not here yet: each says so in one line when it is made."""

from typing import Any

from nlptasks.bert4keras.models.bert import BERT
from nlptasks.errors import UserError


class _Missing(BERT):
    def __init__(self, *args: Any, **kwargs: Any) -> None:
        names = [c.__name__ for c in type(self).__mro__ if c.__module__ == __name__]
        raise UserError(
            "{name} is not available in nlptasks.bert4keras: the models here are BERT, RoBERTa, ALBERT, NEZHA, "
            "RoFormer and ELECTRA.",
            name=names[0],
        )


class RoFormerV2(_Missing):
    """RoFormer-v2."""


class GPT(_Missing):
    """OpenAI's first GPT."""


class GPT2(_Missing):
    """GPT-2, CPM-LM."""


class GPT2_ML(_Missing):
    """GPT2-ML."""


class T5_Base(_Missing):
    """What T5's encoder and decoder share."""


class T5_Encoder(_Missing):
    """T5's encoder."""


class T5_Decoder(_Missing):
    """T5's decoder."""


class T5(_Missing):
    """T5 and mT5."""
