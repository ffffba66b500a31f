"""nlptasks: Chinese-first NLP applications on Keras 3.

Public names are resolved on first use: importing the package imports no backend.
"""

import importlib

__version__ = "0.2.0"

_PUBLIC = {
    "build_encoder_decoder": "nlptasks.loading",
    "build_transformer_model": "nlptasks.loading",
    "load": "nlptasks.opening",
    "EncoderDecoder": "nlptasks.core",
    "Transformer": "nlptasks.core",
    "TransformerConfig": "nlptasks.core",
    "Generator": "nlptasks.generate",
    "AutoRegressiveDecoder": "nlptasks.bert4keras.cached",
    "Classifier": "nlptasks.applications.classification.classifier",
    "ConditionalGenerator": "nlptasks.applications.conditional.generator",
    "Labeler": "nlptasks.applications.labeling.labeler",
    "LatentWriter": "nlptasks.applications.latent.writer",
    "MaskFiller": "nlptasks.applications.filling.filler",
    "Reader": "nlptasks.applications.reading.reader",
    "Segmenter": "nlptasks.applications.segmentation.segmenter",
    "SentenceEncoder": "nlptasks.applications.similarity.encoder",
    "Seq2Seq": "nlptasks.applications.seq2seq.model",
    "TextGenerator": "nlptasks.applications.writing.text_generator",
    "Tokenizer": "nlptasks.text",
    "UserDictionary": "nlptasks.applications.segmentation.dictionary",
}
__all__ = [*_PUBLIC, "__version__"]


def __getattr__(name: str) -> object:
    if name in _PUBLIC:
        from nlptasks.backend.packages import naming_packages

        with naming_packages():
            return getattr(importlib.import_module(_PUBLIC[name]), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted(__all__)
