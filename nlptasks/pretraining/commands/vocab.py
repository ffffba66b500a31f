"""Makes a WordPiece vocabulary from a corpus: special tokens first, and each Chinese character is a token.

    nlptasks pretraining vocab --input corpus/*.txt --output runs/vocab.txt --vocab-size 21128

Files are read in the same formats as by `shards`; see pretraining/README.md.
"""

import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from nlptasks.console import progress_bar
from nlptasks.errors import UserError, told
from nlptasks.files import require_writable
from nlptasks.pretraining.corpus import CorpusFormat, find_files, plan_units, read_documents
from nlptasks.train.options import TextFiles

UNIT_BYTES = 1 << 24
WRITTEN = "{output}: {tokens} tokens: {special} special, {characters} characters, {pieces} pieces of words"


@dataclass(kw_only=True)
class TrainVocab(TextFiles):
    """Make a vocabulary."""

    input: tuple[str, ...]
    """files and globs of the corpus: text or JSON lines, plain or gzip"""
    output: Path
    """vocab.txt to write"""
    vocab_size: int = 21128
    """the most tokens, counting special tokens"""
    min_frequency: int = 2
    """leave out characters and pieces that occur less often than this"""
    format: str = "auto"
    """format of the files: text, jsonl, or auto: by the file names"""
    field: str = "text"
    """JSON lines: key of the text"""
    cased: bool = False
    """keep upper case and accents"""

    def run(self) -> None:
        """Reads the corpus twice and writes the vocabulary."""
        require_writable(self.output)
        form, files = CorpusFormat(format=self.format, field=self.field, encoding=self.encoding), find_files(self.input)
        if self.output.exists() and any(os.path.samefile(path, self.output) for path, _ in files):
            raise UserError(
                "{output}: is a file of the corpus and would be overwritten; give another {field:output}.",
                output=self.output,
            )
        from nlptasks.pretraining.vocabulary import RESERVED_TOKENS, train_vocab
        from nlptasks.text import save_vocab

        units = plan_units(files, UNIT_BYTES)

        def texts() -> Iterator[str]:
            for unit in progress_bar(units, told("reading")):
                yield from read_documents(unit, form)

        vocab = train_vocab(texts, self.vocab_size, self.min_frequency, not self.cased)
        save_vocab(vocab, self.output)
        rest = list(vocab)[len(RESERVED_TOKENS) :]
        characters = sum(len(token.removeprefix("##")) == 1 for token in rest)
        counts = {"tokens": len(vocab), "special": len(RESERVED_TOKENS), "characters": characters}
        print(told(WRITTEN, output=self.output, pieces=len(rest) - characters, **counts))
