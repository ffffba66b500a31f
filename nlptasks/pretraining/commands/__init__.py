"""Pretraining: from raw text to shards of rows, and from shards to a trained BERT."""

import importlib

VERBS = {"vocab": "TrainVocab", "shards": "MakeShards", "train": "Pretrain", "topology": "Check"}


def load(verbs: list[str]) -> dict[str, type]:
    """The commands of these verbs; the modules of the others are not imported, since they choose a backend."""
    return {verb: getattr(importlib.import_module(f"{__name__}.{verb}"), VERBS[verb]) for verb in verbs}
