"""Checkpoints looked at, converted and changed: what `nlptasks checkpoint` does."""
