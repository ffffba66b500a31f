"""`bert4keras.models`: `build_transformer_model`, which returns a functional Keras model, and the model classes."""

from typing import Any

from nlptasks.bert4keras.backend import get_available_gpus
from nlptasks.bert4keras.keras.models import Model
from nlptasks.bert4keras.layers import *  # noqa: F403 - as in bert4keras
from nlptasks.bert4keras.layers import BatchConcat, BatchSplit
from nlptasks.bert4keras.layers import __all__ as _layers
from nlptasks.bert4keras.models.base import Transformer, read_config
from nlptasks.bert4keras.models.bert import (
    ALBERT,
    BERT,
    ELECTRA,
    NEZHA,
    ALBERT_Unshared,
    LM_Mask,
    RoFormer,
    UniLM_Mask,
)
from nlptasks.bert4keras.models.t5 import T5, T5_Base, T5_Decoder, T5_Encoder
from nlptasks.bert4keras.models.writers import GPT, GPT2, GPT2_ML, GAU_alpha, RoFormerV2
from nlptasks.bert4keras.snippets import (
    delete_arguments,
    insert_arguments,
    is_string,
    orthogonally_resize,
    string_matching,
)
from nlptasks.errors import UserError

CLASSES: dict[str, Any] = {
    "bert": BERT,
    "albert": ALBERT,
    "albert_unshared": ALBERT_Unshared,
    "roberta": BERT,
    "nezha": NEZHA,
    "roformer": RoFormer,
    "roformer_v2": RoFormerV2,
    "gau_alpha": GAU_alpha,
    "electra": ELECTRA,
    "gpt": GPT,
    "gpt2": GPT2,
    "gpt2_ml": GPT2_ML,
    "t5": T5,
    "t5_encoder": T5_Encoder,
    "t5_decoder": T5_Decoder,
}
_T5 = ("t5.1.0", "t5.1.1", "mt5.1.1")


def extend_with_language_model(BaseModel: Any) -> Any:
    """The class with the mask of a language model."""

    class LanguageModel(LM_Mask, BaseModel):
        """A language model."""

        with_mlm: Any

        def __init__(self, *args: Any, **kwargs: Any) -> None:
            super().__init__(*args, **kwargs)
            self.with_mlm = self.with_mlm or True

    return LanguageModel


def extend_with_unified_language_model(BaseModel: Any) -> Any:
    """The class with UniLM's mask."""

    class UnifiedLanguageModel(UniLM_Mask, BaseModel):
        """A sequence-to-sequence model in one stack."""

        with_mlm: Any

        def __init__(self, *args: Any, **kwargs: Any) -> None:
            super().__init__(*args, **kwargs)
            self.with_mlm = self.with_mlm or True

    return UnifiedLanguageModel


def build_transformer_model(
    config_path: Any = None,
    checkpoint_path: Any = None,
    model: Any = "bert",
    application: str = "encoder",
    return_keras_model: bool = True,
    **kwargs: Any,
) -> Any:
    """Builds a functional Keras model with bert4keras' layer names; its weights are those of one `Transformer`.

        model = build_transformer_model("bert_config.json", "bert_model.ckpt")
        model.get_layer("Transformer-3-FeedForward-Norm").output

    Args:
        config_path: a JSON file; None: all fields are given as arguments.
        checkpoint_path: any format that `nlptasks.build_transformer_model` reads.
        model: a name or a class.
        application: "encoder", "lm" or "unilm".
        return_keras_model: else the object that has `.model`, `.inputs`, `.apply_main_layers` and so on.
        **kwargs: fields of the config and of the classes.

    Raises:
        UserError, ValueError, FileNotFoundError: one line says what is wrong.
    """
    configs = read_config(config_path) if config_path is not None else {}
    configs |= kwargs
    for name, other in (
        ("max_position", configs.get("max_position_embeddings", 512)),
        ("dropout_rate", configs.get("hidden_dropout_prob")),
        ("attention_dropout_rate", configs.get("attention_probs_dropout_prob")),
        ("segment_vocab_size", configs.get("type_vocab_size", 2)),
    ):
        configs.setdefault(name, other)
    found = _class_of(model)
    if (version := _version_of(model)) is not None:
        configs["version"] = version
    application = application.lower()
    if application in ("lm", "unilm") and model in ("electra", "t5"):
        raise UserError("{model} is not built as {application}.", model=model, application=application)
    if application == "lm":
        found = extend_with_language_model(found)
    elif application == "unilm":
        found = extend_with_unified_language_model(found)
    transformer = found(**configs)
    transformer.build(**configs)
    if checkpoint_path is not None:
        transformer.load_weights_from_checkpoint(checkpoint_path)
    return transformer.model if return_keras_model else transformer


def _class_of(model: Any) -> Any:
    if not isinstance(model, str):
        return model
    name = model.lower()
    for version in _T5:
        if name.startswith(version):
            return CLASSES["t5" + name[len(version) :]]
    if name not in CLASSES:
        raise UserError("{field:model} must be one of {known}. Received: {model!r}.", known=tuple(CLASSES), model=model)
    return CLASSES[name]


def _version_of(model: Any) -> str | None:
    """Which T5 a name means, where it says so."""
    versions = (v for v in ("t5.1.1", "mt5.1.1") if isinstance(model, str) and model.lower().startswith(v))
    return next(versions, None)


def data_parallel(model: Any, devices: Any = None, parts: Any = None) -> Any:
    """The model on several devices: on Keras 3 that is `keras.distribution` or a strategy around the script."""
    if devices is None or devices == 1 or (isinstance(devices, list) and len(devices) == 1):
        return Model(model.inputs, model.outputs)
    raise UserError(
        "data_parallel over several devices is not available: on JAX set keras.distribution.DataParallel() before the "
        "model is built, on TensorFlow build it in the scope of tf.distribute.MirroredStrategy()."
    )


__all__ = [
    *_layers,
    "ALBERT",
    "BERT",
    "ELECTRA",
    "GPT",
    "GPT2",
    "NEZHA",
    "T5",
    "ALBERT_Unshared",
    "BatchConcat",
    "BatchSplit",
    "GAU_alpha",
    "GPT2_ML",
    "LM_Mask",
    "Model",
    "RoFormer",
    "RoFormerV2",
    "T5_Base",
    "T5_Decoder",
    "T5_Encoder",
    "Transformer",
    "UniLM_Mask",
    "build_transformer_model",
    "data_parallel",
    "delete_arguments",
    "extend_with_language_model",
    "extend_with_unified_language_model",
    "get_available_gpus",
    "insert_arguments",
    "is_string",
    "orthogonally_resize",
    "string_matching",
]
