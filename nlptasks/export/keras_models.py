"""Applications as functional Keras models: one `.keras` file, or a TensorFlow SavedModel.

Both compute the whole network, without a cache: logits of labels, scores of tags or spans, or of the next tokens.
Legend: B batch, T position, D hidden.
"""

from pathlib import Path
from typing import Any

import keras
from keras import ops

from nlptasks.errors import UserError
from nlptasks.export.writing import exporter_of, write_arrays, write_config
from nlptasks.files import new_folder

MODEL = "model.keras"


def write_keras(application: Any, output: Path) -> list[str]:
    """Writes `model.keras`, the tokenizer and the settings, whole or not at all.

    Args:
        application: what `nlptasks.load` returns.
        output: a new or empty folder.

    Returns:
        The names of the files.

    Raises:
        UserError: an application without a network, or a folder that holds something.
    """
    model = functional(application)
    with new_folder(output) as folder:
        model.save(folder / MODEL)
        return _beside(application, folder, "keras")


def write_saved_model(application: Any, output: Path) -> list[str]:
    """Writes a SavedModel with free batch and length into `saved_model`; otherwise as `write_keras`."""
    model = functional(application)
    with new_folder(output) as folder:
        model.export(folder / "saved_model", format="tf_saved_model", verbose=False)
        return _beside(application, folder, "saved_model")


def _beside(application: Any, folder: Path, form: str) -> list[str]:
    tokenizer = getattr(application, "tokenizer", None) or application.model.tokenizer
    tokenizer.save(folder)
    made = exporter_of(application)(application)
    write_arrays(folder, made.arrays)
    write_config(folder, {"task": application.task, "export": {"format": form}} | made.settings)
    return sorted(path.name for path in folder.iterdir())


def functional(application: Any) -> keras.Model:
    """The network of an application from int32 `token_ids` and `segment_ids` (B, T), and a `condition` if it has one.

    Raises:
        UserError: an application without a network.
    """
    exporter_of(application)
    if application.task == "word_segmentation":
        raise UserError(
            "{field:model}: {name} has no functional Keras network; export it with {field:format} onnx, or use it "
            "as it is, on NumPy.",
            name=type(application).__name__,
        )
    inputs = {name: keras.Input((None,), dtype="int32", name=name) for name in ("token_ids", "segment_ids")}
    model = application.model
    transformer = getattr(getattr(model, "network", model), "transformer", model)
    if (size := transformer.config.layer_norm_cond_size) is not None:
        inputs["condition"] = keras.Input((size,), dtype="float32", name="condition")
    hidden = transformer(list(inputs.values()))
    return keras.Model(inputs, _head(application, hidden, inputs["token_ids"], transformer.config.pad_id))


def _head(application: Any, hidden: Any, token_ids: Any, pad_id: int) -> Any:
    layers = getattr(application.model, "head_layers", {})
    if application.task == "text_classification":
        return layers["classifier"](_pooled(hidden, token_ids, pad_id, application.pooling))
    if application.task == "sentence_similarity":
        pooled = _pooled(hidden, token_ids, pad_id, application.model.network.pooling)
        return keras.layers.UnitNormalization(name="vectors")(pooled)
    if "tags" in layers:
        return layers["tags"](hidden)  # the scores of transitions stand beside the model
    if "pointer" in layers:
        behind = ops.cast(ops.not_equal(token_ids[:, 2:], pad_id), "int32")  # a token of the text is no last one
        return layers["pointer"](hidden[:, 1:], ops.pad(behind, ((0, 0), (0, 1))) > 0)
    return layers["span"](hidden) if "span" in layers else hidden  # else logits, of the masked-LM head


def _pooled(hidden: Any, token_ids: Any, pad_id: int, pooling: str) -> Any:
    if pooling == "first":
        return hidden[:, 0]
    real_BT1 = ops.expand_dims(ops.cast(ops.not_equal(token_ids, pad_id), "float32"), -1)
    return ops.sum(hidden * real_BT1, axis=1) / ops.maximum(ops.sum(real_BT1, axis=1), 1.0)
