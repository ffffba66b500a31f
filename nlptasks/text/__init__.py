"""Text to integer arrays and back: vocabulary, tokenizer, and readers of data files. Imports no backend."""

from nlptasks.text.readers import Passage, Question, read_json_lines, read_questions, read_texts, read_tsv
from nlptasks.text.tokenizer import Encoding, Tokenizer
from nlptasks.text.vocab import build_character_vocab, load_vocab, save_vocab

__all__ = [
    "Encoding",
    "Passage",
    "Question",
    "Tokenizer",
    "build_character_vocab",
    "load_vocab",
    "read_json_lines",
    "read_questions",
    "read_texts",
    "read_tsv",
    "save_vocab",
]
