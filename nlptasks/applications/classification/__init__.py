"""Text classification: one label or several, of texts or of pairs of texts."""
