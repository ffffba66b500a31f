"""Opens models and says what each of them offers."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

from nlptasks.bundled import bundled_models
from nlptasks.errors import UserError
from nlptasks.opening import load_any
from nlptasks.serve.contracts import Service
from nlptasks.serve.settings import ServeOptions, require_model


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
    return service_of(load_any(path), options)


def service_of(application: Any, options: ServeOptions) -> Service:
    """What an application offers.

    Args:
        application: what `nlptasks.load` returns, or a `MaskFiller`.
        options: those of the server; their limits are in the types of the requests.

    Raises:
        UserError: there is no service for it.
    """
    makers, task = _makers(), getattr(application, "task", "filling")
    if task not in makers:
        raise UserError(
            "{name} is not served; what is: {known}.", name=type(application).__name__, known=", ".join(makers)
        )
    return makers[task](application, options)


def _makers() -> dict[str, Callable[[Any, ServeOptions], Service]]:
    from nlptasks.serve import light, networks

    return {
        "word_segmentation": light.segmentation,
        "sentence_similarity": light.similarity,
        "text_classification": networks.classification,
        "sequence_labeling": networks.labeling,
        "reading_comprehension": networks.reading,
        "conditional_generation": networks.generation,
        "sequence_to_sequence": networks.writing,
        "filling": networks.filling,
    }
