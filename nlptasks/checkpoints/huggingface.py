"""Directories laid out as Hugging Face lays them (`config.json`, `model.safetensors`); ours are such directories."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save_file

from nlptasks.checkpoints.configs import OWN_MODEL_TYPE, config_to_json
from nlptasks.checkpoints.families import FAMILIES, canonical_name, check_family, family_name
from nlptasks.checkpoints.gpt import TYPES as GPT_TYPES
from nlptasks.checkpoints.gpt import from_gpt, is_gpt, to_gpt
from nlptasks.checkpoints.layout import BIN, CONFIG, SHARDS, WEIGHTS
from nlptasks.checkpoints.packing import is_packed, load_packed, save_packed
from nlptasks.checkpoints.torch_file import read_torch
from nlptasks.checkpoints.weights import export_weights
from nlptasks.core.config import TransformerConfig
from nlptasks.core.encoder_decoder import EncoderDecoder
from nlptasks.core.positions import sinusoid_table
from nlptasks.core.transformer import Transformer
from nlptasks.files import atomic_path, read_json_object, write_text


def read_huggingface(path: str | Path, config: TransformerConfig) -> dict[str, np.ndarray]:
    """Canonical name -> float32 array, dense kernels as (out, in). `path` is a directory or a `.safetensors` file,
    packed or not; weights of another family than `config`'s are refused.
    """
    path = Path(path)
    arrays: dict[str, np.ndarray] = {}
    for file in weight_files(path):
        if file.name == BIN:
            arrays |= read_torch(file)
            continue
        try:
            with safe_open(file, framework="numpy") as tensors:
                packed = is_packed(tensors.metadata())
                if not packed:
                    arrays |= {name: _float32(tensors, name) for name in tensors.keys()}  # noqa: SIM118 - not a mapping
        except (SafetensorError, OSError) as error:
            raise ValueError(f"{file}: not a readable safetensors file ({error}).") from None
        if packed:
            arrays |= load_packed(file)
    check_family(arrays, config, str(path))
    if is_gpt(arrays):
        arrays = from_gpt(arrays)
    return {canonical_name(name): array for name, array in arrays.items()}


def _float32(tensors: Any, name: str) -> np.ndarray:
    try:
        array = tensors.get_tensor(name)
    except TypeError:  # bfloat16, which numpy alone does not know
        raise ValueError(f"{name} is stored in a type numpy cannot read; save the checkpoint as float32.") from None
    return array.astype("float32") if array.dtype.kind == "f" or array.dtype.itemsize == 2 else array


def weight_files(path: Path) -> list[Path]:
    """The files of weights of a directory, or the file itself: safetensors, else torch's."""
    if path.is_file() and path.name != SHARDS:
        return [path]
    path = path.parent if path.is_file() else path
    if (path / WEIGHTS).is_file():
        return [path / WEIGHTS]
    if (path / SHARDS).is_file():
        shards = read_json_object(path / SHARDS).get("weight_map")
        if not (isinstance(shards, dict) and shards and all(_is_file_name(name) for name in shards.values())):
            raise ValueError(f"{path / SHARDS}: names no file of weights (weight_map); copy it again.")
        return [path / name for name in sorted(set(shards.values()))]
    if (path / BIN).is_file():
        return [path / BIN]
    raise FileNotFoundError(f"{path}: no {WEIGHTS} in this directory.")


def _is_file_name(name: object) -> bool:
    return isinstance(name, str) and name not in ("", ".", "..") and Path(name).name == name and "\0" not in name


def save_directory(
    model: Transformer | EncoderDecoder,
    directory: str | Path,
    tensors: Mapping[str, np.ndarray] | None = None,
    bits: int | None = None,
    block: int | None = 32,
    **extra: object,
) -> None:
    """Writes `model.safetensors`, with `tensors` added, then `config.json`, with the keys of `extra`; each file appears
    whole or not at all.

    Args:
        bits: 4 or 8: matrices are packed (see `save_packed`), and `config.json` has a `model_type` of ours, because
            transformers cannot read them.
    """
    directory = Path(directory)
    directory.mkdir(parents=True, exist_ok=True)
    names = ("with_pool", "with_nsp", "with_mlm", "with_discriminator")
    heads = {name: getattr(model, name, False) for name in names}
    values = config_to_json(model.config, **heads) | extra
    model_type = values["model_type"]
    if model_type not in FAMILIES:
        model_type = "roberta" if model.config.position == "counted" else "bert"
    if bits is not None:
        values |= {"model_type": OWN_MODEL_TYPE, "architectures": ["Transformer"], "dtype": f"{bits} bits"}
    own = export_weights(model)
    if model_type in GPT_TYPES:
        own = to_gpt(own, model_type)
    elif not isinstance(model, EncoderDecoder):
        own = {family_name(name, model_type): array for name, array in own.items()}
    if model_type == "roformer":  # which stores its sinusoids, all sines first
        table = np.asarray(sinusoid_table(model.config.max_positions, model.config.key_size), "float32")
        own["roformer.encoder.embed_positions.weight"] = np.concatenate([table[:, 0::2], table[:, 1::2]], axis=1)
    own |= dict(tensors or {})
    with atomic_path(directory / WEIGHTS) as temporary:
        if bits is None:
            save_file(own, temporary, metadata={"format": "pt"})
        else:
            save_packed(temporary, own, bits, block)
    write_text(directory / CONFIG, json.dumps(values, ensure_ascii=False, indent=2) + "\n")
