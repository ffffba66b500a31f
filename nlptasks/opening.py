"""The way in to what is ready to use: `load`. It imports what the application needs, and no backend for a segmenter."""

import importlib
from pathlib import Path

from nlptasks.files import read_json_object

BUNDLED = {name: Path(__file__).parent / "bundled" / name for name in ("segmenter", "similarity")}
"""the models that come with the package"""
_APPLICATIONS = {
    "reading_comprehension": ("nlptasks.applications.reading.reader", "Reader"),
    "sentence_similarity": ("nlptasks.applications.similarity.encoder", "SentenceEncoder"),
    "word_segmentation": ("nlptasks.applications.segmentation.segmenter", "Segmenter"),
    "text_classification": ("nlptasks.applications.classification.classifier", "Classifier"),
    "conditional_generation": ("nlptasks.applications.conditional.generator", "ConditionalGenerator"),
    "sequence_labeling": ("nlptasks.applications.labeling.labeler", "Labeler"),
}
_CONFIGS = ("config.json", "bert_config.json")


def load(directory: str | Path):
    """The application saved in `directory`, ready to use.

    A `Reader` has `.answer(question, passages)`, a `Segmenter` `.segment(text)`, a `SentenceEncoder` `.encode(texts)`
    and `.most_similar(query)`, a `Classifier` `.classify(text)` and `.predict(texts)`, a `Labeler` `.label(text)` and
    `.predict(texts)`, a `ConditionalGenerator` `.generate(condition)`.

    Args:
        directory: what a training run has written, or the name of a model that comes with the package: "segmenter",
            "similarity".

    Raises:
        ValueError, FileNotFoundError: one line; the directory holds no application of this library.
    """
    path = BUNDLED.get(str(directory), Path(directory))
    if not path.exists():
        raise FileNotFoundError(
            f"{path}: no such directory; give the one that a training run has written, or the name of a model that "
            f"comes with the package ({', '.join(BUNDLED)})."
        )
    settings = read_json_object(_config_file(path)).get("nlptasks", {})
    task = settings.get("task") if isinstance(settings, dict) else None
    if task not in _APPLICATIONS:
        raise ValueError(
            f"{path}: holds no application of this library (task {task!r}; known: {', '.join(_APPLICATIONS)}). "
            "Load a bare network with nlptasks.build_transformer_model."
        )
    module, name = _APPLICATIONS[task]
    return getattr(importlib.import_module(module), name).from_directory(path)


def _config_file(path: Path) -> Path:
    for name in _CONFIGS:
        if (path / name).is_file():
            return path / name
    raise FileNotFoundError(f"{path}: holds neither {' nor '.join(_CONFIGS)}.")
