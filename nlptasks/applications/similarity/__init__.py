"""Sentence similarity: vectors of sentences, and search with them."""
