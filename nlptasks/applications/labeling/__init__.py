"""Sequence labeling: the entities of texts."""
