"""Directories of applications: config with their settings, weights, vocabulary.

An application is an encoder with a head of its own, or a Transformer whose masked-LM head is all it needs.
"""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import keras
import numpy as np
from keras import ops

from nlptasks.applications.encoder_head import HEAD, EncoderWithHead
from nlptasks.checkpoints.configs import config_from_json
from nlptasks.checkpoints.huggingface import CONFIG, read_huggingface, save_directory
from nlptasks.checkpoints.weights import assign_weights
from nlptasks.core import EncoderDecoder, Transformer, TransformerConfig
from nlptasks.files import read_json_object
from nlptasks.text import TextTokenizer, open_tokenizer


def save_application(
    model: EncoderWithHead | Transformer | EncoderDecoder,
    tokenizer: TextTokenizer,
    directory: str | Path,
    settings: dict[str, Any],
) -> None:
    """Writes config with `settings`, weights of Transformer and head, and vocabulary."""
    head = model.head_weights() if isinstance(model, EncoderWithHead) else {}
    tensors = {name: np.array(ops.convert_to_numpy(w), "float32") for name, w in head.items()}
    tokenizer.save(directory)
    network = model.transformer if isinstance(model, EncoderWithHead) else model
    save_directory(network, directory, tensors=tensors, nlptasks=settings)


def read_settings(
    directory: str | Path, task: str, application: str, renamed: Mapping[str, str] | None = None
) -> dict[str, Any]:
    """The settings that `save_application` wrote, without the task.

    Args:
        task: the task that the directory must have.
        application: the first word of the commands that write it, for errors.
        renamed: names of older directories, and what they are called now.

    Raises:
        ValueError, FileNotFoundError: not a directory of this task.
    """
    path = Path(directory) / CONFIG
    settings = read_json_object(path).get("nlptasks") or {}
    if not isinstance(settings, dict) or settings.get("task") != task:
        raise ValueError(
            f"{path}: holds no {task.replace('_', ' ')} model; train one with nlptasks {application} train."
        )
    return {(renamed or {}).get(name, name): value for name, value in settings.items() if name != "task"}


def load_transformer(directory: str | Path, with_mlm: bool | str = False) -> tuple[Transformer, TextTokenizer]:
    """The Transformer, without a head of the application's own, and the tokenizer that `save_application` wrote.

    Args:
        with_mlm: as in `Transformer`.

    Raises:
        ValueError, FileNotFoundError: one line; something is missing, left over, or of another shape.
    """
    config, arrays = _read(Path(directory))
    model = Transformer(config, with_mlm=with_mlm)
    model.build()
    assign_weights(model, arrays, str(directory), transposed=True)
    return model, open_tokenizer(directory)


def load_application(
    directory: str | Path,
    make_layers: Callable[[TransformerConfig], dict[str, keras.layers.Layer]],
    with_mlm: bool | str = False,
) -> tuple[EncoderWithHead, TextTokenizer]:
    """The encoder with its head and the tokenizer that `save_application` wrote.

    Args:
        make_layers: the layers of the head, for the config of the Transformer.
        with_mlm: as in `Transformer`.

    Raises:
        ValueError, FileNotFoundError: one line; something is missing, left over, or of another shape.
    """
    config, arrays = _read(Path(directory))
    model = EncoderWithHead(Transformer(config, with_mlm=with_mlm), make_layers(config), config.dropout)
    weights = model.head_weights()
    of_head = {name: array for name, array in arrays.items() if name.startswith(HEAD)}
    wrong = [name for name in weights.keys() | of_head.keys() if _shape(weights, name) != _shape(of_head, name)]
    if wrong:
        raise ValueError(
            f"{directory}: the weights of the head do not fit its config.json: {', '.join(sorted(wrong))}; give the "
            "directory as the training run has written it."
        )
    encoder = {name: array for name, array in arrays.items() if not name.startswith(HEAD)}
    assign_weights(model.transformer, encoder, str(directory), transposed=True)
    for name, weight in weights.items():
        weight.assign(of_head[name])
    return model, open_tokenizer(directory)


def _read(directory: Path) -> tuple[TransformerConfig, dict[str, np.ndarray]]:
    config = config_from_json(read_json_object(directory / CONFIG), directory / CONFIG)
    return config, read_huggingface(directory, config)


def _shape(values: Mapping[str, Any], name: str) -> tuple[int, ...] | None:
    return tuple(values[name].shape) if name in values else None
