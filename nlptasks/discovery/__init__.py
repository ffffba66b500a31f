"""What text tells without labels: its words, and communities of its sentences."""

from nlptasks.discovery.passes import Corpus
from nlptasks.discovery.words import Word, WordRules, discover

__all__ = ["Corpus", "Word", "WordRules", "discover"]
