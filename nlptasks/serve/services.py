"""Opens models and says what each of them offers."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

from nlptasks.backend.packages import KERAS, require_packages
from nlptasks.bundled import bundled_models
from nlptasks.files import read_json_object
from nlptasks.opening import load
from nlptasks.serve.contracts import Service
from nlptasks.serve.settings import ServeOptions, require_model

_CONFIGS = ("config.json", "bert_config.json")


def open_services(options: ServeOptions) -> dict[str, Service]:
    """The services of all models, by name.

    Raises:
        UserError, ValueError, FileNotFoundError: one line: a model is missing or damaged.
        MissingPackageError: what a model runs on is not installed.
    """
    bundled = bundled_models()
    paths = {name: require_model(name, given, bundled) for name, given in options.directories().items()}
    return {name: open_service(path, options) for name, path in paths.items()}


def open_service(path: Path, options: ServeOptions) -> Service:
    """The service of the model in a directory; one without an application's head fills masks."""
    configs = [path / name for name in _CONFIGS if (path / name).is_file()]
    if not configs or "nlptasks" in read_json_object(configs[0]):
        return service_of(load(path), options)
    require_packages(*KERAS)
    from nlptasks.applications.filling.filler import MaskFiller

    return service_of(MaskFiller.open(path), options)


def service_of(application: Any, options: ServeOptions) -> Service:
    """What an application offers.

    Args:
        application: what `nlptasks.load` returns, or a `MaskFiller`.
        options: those of the server; their limits are in the types of the requests.
    """
    return _makers()[getattr(application, "task", "filling")](application, options)


def _makers() -> dict[str, Callable[[Any, ServeOptions], Service]]:
    from nlptasks.serve import light, networks

    return {
        "word_segmentation": light.segmentation,
        "sentence_similarity": light.similarity,
        "text_classification": networks.classification,
        "sequence_labeling": networks.labeling,
        "reading_comprehension": networks.reading,
        "conditional_generation": networks.generation,
        "filling": networks.filling,
    }
