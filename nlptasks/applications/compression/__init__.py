"""Compression: a fine-tuned model becomes one with fewer layers."""
