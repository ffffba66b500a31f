"""Text to integer arrays and back: vocabulary, tokenizer, and readers of data files. Imports no backend."""

from nlptasks.text.base import TextTokenizer
from nlptasks.text.encoding import Encoding
from nlptasks.text.opening import open_tokenizer
from nlptasks.text.readers import Passage, Question, read_json_lines, read_questions, read_texts, read_tsv
from nlptasks.text.tokenizer import Tokenizer
from nlptasks.text.vocab import build_character_vocab, load_vocab, save_vocab

__all__ = [
    "Encoding",
    "Passage",
    "Question",
    "TextTokenizer",
    "Tokenizer",
    "build_character_vocab",
    "load_vocab",
    "open_tokenizer",
    "read_json_lines",
    "read_questions",
    "read_texts",
    "read_tsv",
    "save_vocab",
]
