"""Pretraining: from raw text to shards of rows, and from shards to a trained Transformer."""
