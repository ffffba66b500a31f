"""Texts in, texts out: a pretrained encoder-decoder or language model with its tokenizer."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

from nlptasks.checkpoints.layout import config_file
from nlptasks.core import EncoderDecoder, Transformer
from nlptasks.errors import UserError
from nlptasks.files import read_json_object
from nlptasks.generate import Generator, forbid
from nlptasks.generate.search import Search
from nlptasks.loading import build_encoder_decoder, build_transformer_model, has_decoder, read_config
from nlptasks.text import TextTokenizer, open_tokenizer


class TextGenerator:
    """Writes what a T5 makes of a text, or what a GPT goes on with.

        writer = nlptasks.TextGenerator.open("mt5-small")
        writer.generate(["今天天气很好，我们去公园散步。"], max_length=32)

    Args:
        model: an `EncoderDecoder`, or a causal `Transformer` with its head.
        tokenizer: of that model; the model may have more rows than it has tokens.
        end_id: the token that ends a text; None: the one that closes a text for the tokenizer (</s>, [SEP]).
        dtype: as in `Generator`.

    Raises:
        UserError: model and tokenizer do not fit together, or nothing ends a text.
    """

    def __init__(
        self,
        model: EncoderDecoder | Transformer,
        tokenizer: TextTokenizer,
        end_id: int | None = None,
        dtype: str | None = None,
    ):
        rows = model.config.vocab_size
        if tokenizer.vocab_size > rows:
            raise UserError(
                "The tokenizer has {tokens} tokens and the model (config.json) {rows}; give the vocabulary that the "
                "model was trained with.",
                tokens=tokenizer.vocab_size,
                rows=rows,
            )
        self.model, self.tokenizer = model, tokenizer
        self.generator = Generator(model, tokenizer.sep_id if end_id is None else end_id, dtype)
        unnamed = range(tokenizer.vocab_size, rows)
        self._constraints = [forbid(list(unnamed))] if unnamed else []

    @classmethod
    def open(cls, checkpoint: str | Path, dtype: str | None = None) -> "TextGenerator":
        """Opens a pretrained model.

            nlptasks.TextGenerator.open("t5-small")

        Args:
            checkpoint: a directory with config, weights and tokenizer of a T5, mT5, GPT or GPT-2, or of a Transformer
                that was trained as a language model.
            dtype: as in `Generator`.

        Raises:
            UserError, ValueError, FileNotFoundError: one line: what is missing or does not fit.
        """
        path = Path(checkpoint)
        tokenizer = open_tokenizer(path)
        values = read_json_object(config_file(path))
        end_id = values.get("eos_token_id")
        end_id = end_id if isinstance(end_id, int) and 0 <= end_id < tokenizer.vocab_size else None
        if has_decoder(path):
            return cls(build_encoder_decoder(path, path), tokenizer, end_id, dtype)
        if read_config(config_file(path)).attention != "causal":
            raise UserError(
                "{path}: reads texts and writes none; give a T5, a GPT, or a model that was trained as one.", path=path
            )
        model = build_transformer_model(path, path, application="lm", with_mlm="linear", pad_id=tokenizer.pad_id)
        return cls(model, tokenizer, end_id, dtype)

    def generate(
        self,
        texts: Sequence[str],
        search: Search | None = None,
        *,
        max_length: int = 64,
        progress: Callable[[Iterable], Iterable] = iter,
        **options: Any,
    ) -> list[str]:
        """Writes a text for each text.

            writer.generate(["北京是"], nlptasks.generate.BeamSearch(size=4), max_length=16)

        Args:
            texts: the sources of a T5, or the beginnings that a GPT goes on from (which are not repeated).
            search: as in `Generator.generate`; None: the most probable token at each step.
            max_length: the most tokens to write.
            progress: wraps the iteration over batches, for example `tqdm`.
            **options: further ones of `Generator.generate`: `min_length`, `repetition_penalty`, `constraints`.

        Returns:
            The best text for each.

        Raises:
            UserError, ValueError: a text is empty, or as `Generator.generate`.
            TypeError: a text is not a str, or one str was given instead of a list.
        """
        constraints = [*self._constraints, *options.pop("constraints", ())]
        found = self.generator.generate(
            self._sources(texts), search, max_length=max_length, constraints=constraints, progress=progress, **options
        )
        return [self.tokenizer.decode(ranked[0].tokens) for ranked in found]

    def stream(
        self, text: str, search: Search | None = None, *, max_length: int = 64, chunk: int = 4, **options: Any
    ) -> Iterator[str]:
        """Yields what has been written so far, longer every `chunk` tokens; the last one is what `generate` returns.

            for text in writer.stream("北京是", max_length=16):
                print(text)

        Raises:
            UserError, ValueError: as `generate`.
        """
        constraints, tokens = [*self._constraints, *options.pop("constraints", ())], []
        options |= {"max_length": max_length, "chunk": chunk, "constraints": constraints}
        for (piece,) in self.generator.stream(self._sources([text]), search, **options):
            tokens += piece
            yield self.tokenizer.decode(tokens)

    def _sources(self, texts: Sequence[str]) -> list[list[int]]:
        """What the model reads; a GPT reads no end."""
        encodings = self.tokenizer.encode_batch(texts, with_offsets=False)
        for number, text in enumerate(texts, 1):
            if not text.strip():
                raise UserError("text {number} is empty; give at least one character.", number=number)
        cut = 0 if isinstance(self.model, EncoderDecoder) else len(self.tokenizer.template.after)
        sources = [encoding.token_ids.tolist() for encoding in encodings]
        return [ids[: len(ids) - cut] for ids in sources]
