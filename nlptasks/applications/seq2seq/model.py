"""Sequence to sequence: a Transformer with UniLM's mask reads a source and writes a target behind it, as in bert4keras'
`task_seq2seq_autotitle`, or a T5 does; see docs/seq2seq.md.
"""

import dataclasses
import functools
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from keras import ops

from nlptasks.applications.encoder_head import check_vocabulary
from nlptasks.applications.seq2seq.decoding import Decoding
from nlptasks.applications.seq2seq.limits import constraints_of
from nlptasks.applications.seq2seq.networks import SourceBatch, network_of
from nlptasks.applications.seq2seq.samples import target_ids
from nlptasks.applications.seq2seq.training import Seq2SeqOptions, train_seq2seq
from nlptasks.applications.seq2seq.writing import PairLengths, SourceWriter
from nlptasks.applications.seq2seq_loss import TargetBatch, mean_loss
from nlptasks.applications.storage import load_transformer, read_settings, save_application
from nlptasks.applications.written import PartialText, behind_prompt, growing_text
from nlptasks.backend import compile_function
from nlptasks.core import EncoderDecoder, Transformer
from nlptasks.errors import UserError
from nlptasks.generate import BeamSearch, Generator, Greedy, Sampling
from nlptasks.generate.search import Search
from nlptasks.loading import build_encoder_decoder, has_decoder
from nlptasks.text import TextTokenizer, open_tokenizer
from nlptasks.text.batches import length_sorted_batches
from nlptasks.text.pairs import given_pairs
from nlptasks.train.experiment import run_folder


class Seq2Seq(SourceWriter):
    """Writes a text for a text.

        writer = nlptasks.load("runs/titles")
        writer.generate("本文介绍了一种新的分词方法……", search="beam")

    Args:
        model: a Transformer with `attention="unilm"` and the masked-LM head, or an `EncoderDecoder` (T5).
        tokenizer: has the vocabulary of the model.
        lengths: the most tokens of source and target; None: the defaults.

    Raises:
        UserError: model, tokenizer and lengths do not fit together.
    """

    def __init__(
        self, model: Transformer | EncoderDecoder, tokenizer: TextTokenizer, lengths: PairLengths | None = None
    ):
        check_vocabulary(model, tokenizer)
        self.network: Any = network_of(model)
        super().__init__(tokenizer, lengths or PairLengths(), model.config.position_reach)
        self.model = model
        self._score = compile_function(lambda batch: self._row_log_probabilities(batch), model)

    def loss(self, batch: TargetBatch | SourceBatch, training: bool = True) -> Any:
        """Mean cross-entropy of the batch's target tokens, in nats."""
        return mean_loss(self.network.log_probabilities(batch, training), batch["target_weights"])

    def _row_log_probabilities(self, batch: TargetBatch | SourceBatch) -> Any:
        return ops.sum(self.network.log_probabilities(batch) * batch["target_weights"], axis=1)

    def score(
        self,
        sources: Sequence[str],
        targets: Sequence[str],
        batch_size: int = 32,
        progress: Callable[[Iterable], Iterable] = iter,
    ) -> tuple[np.ndarray, np.ndarray]:
        """Computes how probable targets are for their sources.

            writer.score(["文章……"], ["题目"])

        Returns:
            For each target log p in nats (float64), and the number of its tokens after cutting, counting `[SEP]`.

        Raises:
            UserError: an empty source.
        """
        self._require_texts(sources)
        read = [one.token_ids for one in self.encode(sources)]
        written = target_ids(self, targets)[0]
        lengths = np.array([len(ids) for ids in written])
        scores = np.zeros(len(read))
        together = np.array([len(ids) for ids in read]) + lengths
        for indices in progress(length_sorted_batches(together, batch_size)):
            chosen = [read[i] for i in indices], [written[i] for i in indices]
            batch = self.network.batch(*chosen, batch_size, self.lengths)
            scores[indices] = ops.convert_to_numpy(self._score(batch))[: len(indices)]
        return scores, lengths

    @functools.cached_property
    def _generator(self) -> Generator:
        return Generator(self.model, self.tokenizer.sep_id)

    def continued(
        self,
        sources: Sequence[np.ndarray],
        decoding: Decoding,
        max_length: int,
        progress: Callable[[Iterable], Iterable] = iter,
    ) -> Sequence[Sequence[Any]]:
        """What the search finds behind each source."""
        call = self._call(sources, decoding, max_length)
        found = self._generator.generate(progress=progress, **call)
        return [hypotheses[: decoding.count] for hypotheses in found]

    def _call(self, sources: Sequence[np.ndarray], decoding: Decoding, max_length: int) -> dict[str, Any]:
        return self.network.prefixes(sources, self.prompt_ids(decoding)) | {
            "search": search_of(decoding),
            "max_length": max_length,
            "min_length": decoding.min_length,
            "repetition_penalty": decoding.repetition_penalty,
            "constraints": constraints_of(
                decoding,
                self.tokenizer,
                [self.inner(ids) for ids in sources],
                max_length,
                self.prompt_ids(decoding),
            ),
        }

    def stream(self, source: str, *, chunk: int = 4, row: int = 0, **options: Any) -> Iterator[PartialText]:
        """Writes one text and shows it while it grows; the last one is what `generate` gives.

            for part in writer.stream("文章……"):
                print(part.text[part.kept :], end="", flush=True)

        Args:
            chunk: number of tokens between two parts.
            row: the place of the source among several: what is drawn is what `generate_batch` draws there.
            **options: as `generate`; the search is greedy or sampling.

        Returns:
            An iterator of `PartialText`, one every `chunk` tokens.

        Raises:
            UserError: as `generate`, at once; another search, or `extract`, whose text is known at the end only.
        """
        decoding = Decoding(**options)
        if decoding.search == "beam" or decoding.count != 1 or decoding.extract:
            raise UserError(
                "only one text by greedy search or sampling can be streamed; leave {field:count} and {field:extract} "
                "out, and beams."
            )
        max_length = self._room(decoding)
        self._require_texts([source])
        call = self._call([self.encode([source])[0].token_ids], decoding, max_length)
        if decoding.search == "sampling":
            call["search"] = call["search"].replace(first_row=row)
        join = functools.partial(behind_prompt, self.tokenizer.decode, decoding.prompt, self.prompt_ids(decoding))
        return growing_text(self._generator.stream(chunk=chunk, **call), join, max_length)

    @classmethod
    def train(
        cls,
        sources: Sequence[str],
        targets: Sequence[str | Sequence[str]],
        valid: tuple[Sequence[str], Sequence[str | Sequence[str]]] | None = None,
        output: str | Path | None = None,
        **options: Any,
    ) -> "Seq2Seq":
        """Trains a model as `nlptasks seq2seq train` does; the best epoch on `valid` is kept.

            sources, targets = ["今天下雨", "明天下雪"] * 8, ["雨", "雪"] * 8
            writer = Seq2Seq.train(sources, targets, epochs=20)
            writer.generate("今天下雨")

        Args:
            sources, targets: the training texts; a source may have several targets.
            valid: validation sources and targets; None: a share of the training texts is held out.
            output: the run directory: new or empty, or with `resume=True` that of an interrupted run. None: no
                directory is kept.
            **options: fields of `Seq2SeqOptions`: `checkpoint`, `epochs`, `learning_rate`, ...

        Raises:
            UserError, ValueError: options or texts that do not go together.
            TrainingInterrupted: after Ctrl-C; `resume=True` goes on.
        """
        with run_folder(output) as folder:
            settings = Seq2SeqOptions(output=folder, **options)
            train_seq2seq(settings, given_pairs(sources, targets), None if valid is None else given_pairs(*valid))
            return cls.from_directory(folder)

    def save(self, directory: str | Path) -> None:
        """Writes a directory that `nlptasks.load` opens: config, weights, vocabulary."""
        save_application(self.model, self.tokenizer, directory, {"task": self.task} | dataclasses.asdict(self.lengths))

    @classmethod
    def from_directory(cls, directory: str | Path) -> "Seq2Seq":
        """Opens what `save` or a training run has written.

        Raises:
            ValueError, FileNotFoundError: one line: what is missing or does not fit.
        """
        settings = read_settings(directory, cls.task, "seq2seq")
        model: Transformer | EncoderDecoder
        if has_decoder(directory):
            model, tokenizer = build_encoder_decoder(directory, directory), open_tokenizer(directory)
        else:
            model, tokenizer = load_transformer(directory, with_mlm="linear")
        try:
            return cls(model, tokenizer, PairLengths(**settings))
        except (TypeError, ValueError) as error:
            raise ValueError(f"{directory}: {error}") from None


def search_of(decoding: Decoding) -> Search:
    """The search of the options."""
    if decoding.search == "greedy":
        return Greedy()
    if decoding.search == "beam":
        return BeamSearch(size=decoding.beam_size, length_penalty=decoding.length_penalty, returned=decoding.count)
    names = ("temperature", "top_k", "top_p", "count", "seed")
    return Sampling(**{name: getattr(decoding, name) for name in names})
