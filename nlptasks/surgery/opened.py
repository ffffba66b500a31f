"""A checkpoint of any known format as a whole: its network with the heads that it has, and its tokenizer."""

import dataclasses
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from nlptasks.checkpoints.configs import OWN_MODEL_TYPE
from nlptasks.checkpoints.families import ROBERTA_TYPES
from nlptasks.checkpoints.layout import config_file
from nlptasks.checkpoints.weights import assign_weights, weight_table
from nlptasks.core.config import TransformerConfig
from nlptasks.core.transformer import Transformer
from nlptasks.errors import UserError
from nlptasks.files import read_json_object
from nlptasks.loading import read_config, read_weights
from nlptasks.text import TextTokenizer, open_tokenizer
from nlptasks.text.opening import TOKENIZER_FILES

_HDF5 = b"\x89HDF"
_POOLER, _NSP = "pooler.dense.", "cls.seq_relationship."
_MLM, _DISCRIMINATOR = "cls.predictions.transform.", "discriminator_predictions."


@dataclass(kw_only=True)
class Opened:
    """A checkpoint that has been opened.

    Attributes:
        path: where it is.
        model: the network, with logits where it has a masked-LM head or a discriminator.
        tokenizer: None where there is none.
        left_over: names of weights that no part of the network took.
        task: of the application whose directory it is; None: a bare network.
        model_type: the family: bert, xlm-roberta, albert, electra, nezha or roformer.
    """

    path: Path
    model: Transformer
    tokenizer: TextTokenizer | None
    left_over: tuple[str, ...]
    task: str | None
    model_type: str

    def bare(self) -> "Opened":
        """This, where it is a bare network with a tokenizer.

        Raises:
            UserError: it is the directory of a trained application, or has no tokenizer.
        """
        if self.task is not None:
            raise UserError(
                "{path}: holds a trained {task}, whose settings belong to its vocabulary and layers; give the "
                "checkpoint that it was trained from.",
                path=self.path,
                task=self.task.replace("_", " "),
            )
        if self.tokenizer is None:
            raise UserError(
                "{path}: no tokenizer beside the weights; copy vocab.txt or tokenizer.json there.", path=self.path
            )
        return self

    def with_model(self, model: Transformer, tokenizer: TextTokenizer | None = None) -> "Opened":
        """This with another network, and maybe another tokenizer."""
        return dataclasses.replace(self, model=model, tokenizer=tokenizer or self.tokenizer)


def open_checkpoint(
    path: str | Path, config: Path | None = None, family: str | None = None, skip: Iterable[str] = ()
) -> Opened:
    """Opens a checkpoint strictly, with all heads that it has.

        opened = open_checkpoint("chinese_L-12_H-768_A-12")
        opened.model.config.num_layers  # 12

    Args:
        path: a directory, or the path of weights in one.
        config: its config; None: the one beside the weights.
        family: as `model` of `build_transformer_model`, for files that do not say it, as NEZHA's.
        skip: prefixes of weight names that are left out, heads among them, or may be missing.

    Raises:
        ValueError, FileNotFoundError: one line; a file is missing or does not fit.
    """
    path, skip = Path(path), tuple(skip)
    folder = path if path.is_dir() else path.parent
    config_path = config or config_file(folder if _is_hdf5(path) else path)
    values = read_json_object(config_path)
    settings = read_config(config_path, family)
    tokenizer = open_tokenizer(folder) if any((folder / name).is_file() for name in TOKENIZER_FILES) else None
    if tokenizer is not None and tokenizer.pad_id != settings.pad_id:
        settings = settings.replace(pad_id=tokenizer.pad_id)
    arrays, transposed = read_weights(path, settings)
    model = built(settings, _heads_of([name for name in arrays if not name.startswith(skip or ("\0",))]))
    names = {slot.name for slot in weight_table(model)}
    own = values.get("nlptasks")
    task = own.get("task") if isinstance(own, dict) else None
    of_task = [name for name in arrays if task is not None and name not in names]
    assign_weights(model, arrays, str(path), transposed=transposed, skip=(*skip, *of_task))
    return Opened(
        path=path,
        model=model,
        tokenizer=tokenizer,
        left_over=tuple(name for name in arrays if name not in names),
        task=task,
        model_type=family_of(settings, values, model),
    )


def built(config: TransformerConfig, heads: Mapping[str, Any]) -> Transformer:
    """A Transformer with fresh weights; `heads` are its arguments beside the config."""
    model = Transformer(config, **heads)
    model.build()
    return model


def heads_of(model: Transformer) -> dict[str, Any]:
    """The heads of a model, as `built` takes them."""
    return {name: getattr(model, name) for name in ("with_pool", "with_nsp", "with_mlm", "with_discriminator")}


def rebuilt(model: Transformer, config: TransformerConfig, arrays: Mapping[str, np.ndarray]) -> Transformer:
    """A model of another config with the same heads and these weights, as `export_weights` gives them."""
    new = built(config, heads_of(model))
    assign_weights(new, arrays, "the changed model", transposed=True)
    return new


def family_of(config: TransformerConfig, values: Mapping[str, Any], model: Transformer) -> str:
    """The family of a config: what it says itself, else what its fields mean."""
    if config.position == "counted":
        return "xlm-roberta"
    by_field = {"relative": "nezha", "rotary": "roformer"}.get(config.position)
    told = values.get("model_type")
    if by_field or told in (None, OWN_MODEL_TYPE, *ROBERTA_TYPES):
        told = "electra" if model.discriminator is not None else "albert" if config.shared_layers else "bert"
    return by_field or str(told)


def _is_hdf5(path: Path) -> bool:
    if not path.is_file():
        return False
    with open(path, "rb") as file:
        return file.read(len(_HDF5)) == _HDF5


def _heads_of(names: Iterable[str]) -> dict[str, Any]:
    """The heads whose weights a checkpoint has."""
    names = list(names)
    pool, nsp, mlm, discriminator = (
        any(name.startswith(prefix) for name in names) for prefix in (_POOLER, _NSP, _MLM, _DISCRIMINATOR)
    )
    return {
        "with_pool": pool,
        "with_nsp": nsp and pool,
        "with_mlm": "linear" if mlm else False,
        "with_discriminator": "linear" if discriminator else False,
    }
