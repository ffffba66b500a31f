"""The way in to what is ready to use: `load`. It imports what the application needs, and no backend for a segmenter."""

import importlib
from collections.abc import Callable
from pathlib import Path
from typing import Any, ClassVar, Protocol, TypeVar, overload

from nlptasks.backend.packages import KERAS, naming_packages, require_packages
from nlptasks.bundled import bundled_models
from nlptasks.errors import UserError
from nlptasks.files import read_json_object
from nlptasks.train.contracts import Distillable

BUNDLED = bundled_models()
"""the models that come with the package"""
_APPLICATIONS = {
    "reading_comprehension": ("nlptasks.applications.reading.reader", "Reader"),
    "sentence_similarity": ("nlptasks.applications.similarity.encoder", "SentenceEncoder"),
    "word_segmentation": ("nlptasks.applications.segmentation.segmenter", "Segmenter"),
    "text_classification": ("nlptasks.applications.classification.classifier", "Classifier"),
    "conditional_generation": ("nlptasks.applications.conditional.generator", "ConditionalGenerator"),
    "sequence_labeling": ("nlptasks.applications.labeling.labeler", "Labeler"),
    "sequence_to_sequence": ("nlptasks.applications.seq2seq.model", "Seq2Seq"),
    "latent_text": ("nlptasks.applications.latent.writer", "LatentWriter"),
}
_EXPORTED = {
    "reading_comprehension": ("nlptasks.runtime.reading", "ExportedReader"),
    "sentence_similarity": ("nlptasks.runtime.similarity", "ExportedEncoder"),
    "word_segmentation": ("nlptasks.runtime.segmentation", "ExportedSegmenter"),
    "text_classification": ("nlptasks.runtime.classification", "ExportedClassifier"),
    "conditional_generation": ("nlptasks.runtime.conditional", "ExportedGenerator"),
    "sequence_labeling": ("nlptasks.runtime.labeling", "ExportedLabeler"),
}
"""what opens the graphs that `nlptasks export` has written"""
_DISTILLABLES = {
    "classification": ("nlptasks.applications.classification.distilling", "DistillableClassifier"),
    "labeling": ("nlptasks.applications.labeling.distilling", "DistillableLabeler"),
    "reading": ("nlptasks.applications.reading.distilling", "DistillableReader"),
}
DISTILLABLE = tuple(_DISTILLABLES)
"""the applications whose models can be compressed"""
_CONFIGS = ("config.json", "bert_config.json")


class _Tasked(Protocol):
    """An application, on Keras or exported, or what both have in common."""

    task: ClassVar[str]


_Expected = TypeVar("_Expected", bound=_Tasked)


@overload
def load(directory: str | Path) -> Any: ...
@overload
def load(directory: str | Path, expect: type[_Expected]) -> _Expected: ...


def load(directory: str | Path, expect: type[Any] | None = None) -> Any:
    """Opens the application that was saved in `directory`.

        segmenter = nlptasks.load("segmenter")
        segmenter.segment("今天天气很好")  # ['今天', '天气', '很', '好']

    Args:
        directory: a directory that a training run or `save` has written, or the name of a model that comes with the
            package: "segmenter" or "similarity"; or graphs that `nlptasks export` has written, which run on onnxruntime
            without Keras.
        expect: the class that the application must have, for example `nlptasks.Reader`; None: any.

    Returns:
        The application, ready to use: a `Reader` with `.answer(question, passages)`, a `Segmenter` with
        `.segment(text)`, a `SentenceEncoder` with `.encode(texts)` and `.most_similar(query)`, a `Classifier` with
        `.classify(text)`, a `Labeler` with `.label(text)`, a `ConditionalGenerator` with `.generate(condition)`, a
        `Seq2Seq` with `.generate(source)`, or a `LatentWriter` with `.encode(texts)` and `.sample(count)`. Each of them
        has `.predict(items)` for many items.

    Raises:
        UserError, FileNotFoundError: the directory does not exist, holds no application of this library, or holds
            another one than `expect`. The message is one line.
        MissingPackageError: what the application runs on is not installed.
    """
    path = BUNDLED.get(str(directory), Path(directory))
    if not path.exists():
        raise FileNotFoundError(
            f"{path}: no such directory; give the one that a training run has written, or the name of a model that "
            f"comes with the package ({', '.join(BUNDLED)})."
        )
    settings = _settings(path)
    task = settings.get("task")
    if task not in _APPLICATIONS:
        raise UserError(
            "{path}: holds no application of this library (task {task!r}; known: {known}). Load a bare network with "
            "nlptasks.build_transformer_model, or nlptasks.MaskFiller to fill masks.",
            path=path,
            task=task,
            known=", ".join(_APPLICATIONS),
        )
    module, name = _APPLICATIONS[task]
    if expect is not None and task != expect.task:
        wanted, wanted_name = _APPLICATIONS[expect.task]
        raise UserError(
            "{path}: holds a {name}, expected a {wanted}; give a directory that `nlptasks {application} train` has "
            "written.",
            path=path,
            name=name,
            wanted=wanted_name,
            application=wanted.split(".")[2],
        )
    if (exported := settings.get("export")) is not None:
        if exported.get("format") != "onnx" or task not in _EXPORTED:
            raise UserError(
                "{path}: was exported for another program (format {format!r}); nlptasks runs what `nlptasks export` "
                "writes with {field:format} onnx.",
                path=path,
                format=exported.get("format"),
            )
        module, name = _EXPORTED[task]
    with naming_packages():
        return getattr(importlib.import_module(module), name).from_directory(path)


def load_any(directory: str | Path) -> Any:
    """Opens an application as `load` does, and a pretrained Transformer as a `MaskFiller`.

        load_any("segmenter").segment("今天天气很好")

    Args:
        directory: as for `load`, or a directory with a pretrained Transformer, or the name of one.

    Raises:
        UserError, FileNotFoundError, MissingPackageError: as `load` and `MaskFiller.open`.
    """
    path = BUNDLED.get(str(directory), Path(directory))
    if not path.is_dir() or "nlptasks" in read_json_object(_config_file(path)):
        return load(directory)
    require_packages(*KERAS)
    with naming_packages():
        return importlib.import_module("nlptasks.applications.filling.filler").MaskFiller.open(path)


def task_of(directory: Path) -> str | None:
    """The task of the application in a directory, as its config names it; None: there is none.

    Raises:
        FileNotFoundError, ValueError: there is no config, or it cannot be read.
    """
    return _settings(directory).get("task")


def is_exported(directory: str | Path) -> bool:
    """Whether `nlptasks export` has written a folder; of one that is missing or damaged, not."""
    try:
        return "export" in _settings(BUNDLED.get(str(directory), Path(directory)))
    except (OSError, ValueError):
        return False


def _settings(path: Path) -> dict[str, Any]:
    """What the config of a folder says about its application."""
    settings = read_json_object(_config_file(path)).get("nlptasks", {})
    return settings if isinstance(settings, dict) else {}


def distillable(application: str) -> Callable[[Any], Distillable]:
    """What compression needs of an application.

    Args:
        application: one of `DISTILLABLE`.

    Returns:
        A class, made from `applications.distilling.DistillingOptions`.
    """
    module, name = _DISTILLABLES[application]
    return getattr(importlib.import_module(module), name)


def _config_file(path: Path) -> Path:
    for name in _CONFIGS:
        if (path / name).is_file():
            return path / name
    raise FileNotFoundError(f"{path}: holds neither {' nor '.join(_CONFIGS)}.")
