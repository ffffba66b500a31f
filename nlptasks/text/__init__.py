"""Text to integer arrays and back: vocabulary, tokenizer, and readers of data files. Imports no backend."""

from nlptasks.text.files import atomic_writer, open_text, read_lines, write_text_atomically
from nlptasks.text.readers import Passage, Question, read_json_lines, read_questions, read_texts, read_tsv
from nlptasks.text.tokenizer import Encoding, Tokenizer
from nlptasks.text.vocab import build_character_vocab, load_vocab, save_vocab

__all__ = [
    "Encoding",
    "Passage",
    "Question",
    "Tokenizer",
    "atomic_writer",
    "build_character_vocab",
    "load_vocab",
    "open_text",
    "read_json_lines",
    "read_lines",
    "read_questions",
    "read_texts",
    "read_tsv",
    "save_vocab",
    "write_text_atomically",
]
