"""Text generation under conditions, which are written into the LayerNorms of a causal Transformer.

It follows bert4keras' `task_conditional_language_model`. Two alternatives are there for comparison: label tokens before
the text (CTRL, arXiv 1909.05858), and no condition. See docs/conditional_generation.md.

Legend: B batch, T position, J label column, C size of a condition.
"""

import dataclasses
import functools
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from keras import ops

from nlptasks.applications.conditional.conditions import Condition, Conditions
from nlptasks.applications.conditional.network import condition_tables
from nlptasks.applications.conditional.samples import ConditionalBatch, cut_texts, lm_arrays
from nlptasks.applications.conditional.training import GeneratorOptions, conditioned_texts, train_generator
from nlptasks.applications.conditional.writing import TextWriter
from nlptasks.applications.encoder_head import EncoderWithHead, check_fit
from nlptasks.applications.storage import load_application, read_settings, save_application
from nlptasks.applications.written import PartialText, growing_text
from nlptasks.backend import compile_function
from nlptasks.generate import Generator, Sampling
from nlptasks.generate.constraints import forbid
from nlptasks.text import TextTokenizer
from nlptasks.text.batches import length_sorted_batches
from nlptasks.train.experiment import run_folder


class ConditionalGenerator(TextWriter):
    """Writes texts under conditions.

        writer = nlptasks.load("runs/reviews")
        writer.generate({"sentiment": "positive"}, count=5, top_p=0.95)

    Args:
        model: from `network.conditional_model`.
        tokenizer: has the vocabulary of the model.
        conditions: the labels or the vectors that the texts are conditioned on.
        seq_length: the most tokens of a training text, counting `[CLS]`, label tokens and `[SEP]`.

    Raises:
        ValueError: the parts do not fit together.
    """

    def __init__(self, model: EncoderWithHead, tokenizer: TextTokenizer, conditions: Conditions, seq_length: int = 128):
        check_fit(model.transformer, tokenizer, seq_length)
        if model.transformer.config.layer_norm_cond_size != conditions.size:
            raise ValueError(
                f"The model has layer_norm_cond_size={model.transformer.config.layer_norm_cond_size}, these conditions "
                f"need {conditions.size}."
            )
        super().__init__(tokenizer, conditions, seq_length, model.transformer.config.position_reach)
        self.model = model
        self._score = compile_function(lambda batch: self._row_log_probabilities(batch), model)

    def condition(self, batch: Mapping[str, Any]) -> Any:
        """The condition vectors `(B, C)` of a batch, float32, zero for no condition; None without conditional norms."""
        if self.conditions.size is None:
            return None
        if "vectors" in batch:
            return batch["vectors"]
        ids_BJ, tables = batch["label_ids"], self.model.head_layers.values()
        parts = []
        for j, table in enumerate(tables):
            shown_B1 = ops.cast(ids_BJ[:, j : j + 1] > 0, "float32")
            parts.append(ops.cast(table(ids_BJ[:, j]), "float32") * shown_B1)
        return ops.concatenate(parts, axis=-1) if self.conditions.combine == "concat" else sum(parts[1:], parts[0])

    def log_probabilities(self, batch: ConditionalBatch, training: bool = False) -> Any:
        """log p of each target token `(B, T)`, float32."""
        transformer = self.model.transformer
        affines = transformer.affines(self.condition(batch))
        hidden_BTD = transformer.encode(batch["token_ids"], None, affines, training=training)
        logits_BTV = transformer.token_logits(hidden_BTD, affines)
        return -ops.sparse_categorical_crossentropy(batch["target_ids"], logits_BTV, from_logits=True)

    def loss(self, batch: ConditionalBatch, training: bool = True) -> Any:
        """Mean cross-entropy over the tokens of the texts and their `[SEP]`: a scalar in nats."""
        weights_BT = batch["target_weights"]
        total = ops.sum(self.log_probabilities(batch, training) * weights_BT)
        return -total / ops.maximum(ops.sum(weights_BT), 1.0)

    def _row_log_probabilities(self, batch: ConditionalBatch) -> Any:
        return ops.sum(self.log_probabilities(batch) * batch["target_weights"], axis=1)

    def encode(self, texts: Sequence[str]) -> tuple[list[np.ndarray], list[bool]]:
        """Token ids of texts, cut at sentence ends, and for each whether it was cut; see `cut_texts`."""
        return cut_texts(self.tokenizer, texts, self.seq_length - 1 - self.conditions.num_prefix_tokens)

    def arrays(self, texts: Sequence[np.ndarray], conditions: np.ndarray | None, count: int) -> ConditionalBatch:
        """Encoded texts under `conditions` (from `Conditions.rows`) as arrays of `count` rows."""
        prefixes, pad_id = self._prefixes(conditions, len(texts)), self.tokenizer.pad_id
        batch = lm_arrays(prefixes, texts, count, self.seq_length, pad_id)
        if self.conditions.size is None or conditions is None:
            return batch
        rows = np.zeros((count, conditions.shape[1]), conditions.dtype)
        rows[: len(texts)] = conditions
        if self.conditions.labels:
            batch["label_ids"] = rows
        else:
            batch["vectors"] = rows
        return batch

    def score(
        self,
        texts: Sequence[str],
        conditions: Sequence[Condition],
        batch_size: int = 32,
        progress: Callable[[Iterable], Iterable] = iter,
    ) -> tuple[np.ndarray, np.ndarray]:
        """Computes how probable texts are under conditions.

            writer.score(["房间很干净。"], [{"sentiment": "negative"}])

        Args:
            texts: the texts; a text longer than `seq_length` is cut.
            conditions: the condition of each text: labels by column, or a vector.

        Returns:
            For each text log p in nats (float64), and the number of its tokens after cutting, counting `[SEP]`.

        Raises:
            ValueError: an empty text, or a condition that does not fit.
        """
        encoded, rows = self.encode(texts)[0], self.conditions.rows(conditions)
        lengths = np.array([len(ids) for ids in encoded])
        scores = np.zeros(len(texts))
        for indices in progress(length_sorted_batches(lengths, batch_size)):
            chosen = None if rows is None else rows[indices]
            batch = self.arrays([encoded[i] for i in indices], chosen, batch_size)
            scores[indices] = ops.convert_to_numpy(self._score(batch))[: len(indices)]
        return scores, lengths

    def stream(
        self,
        condition: Condition | None = None,
        *,
        prompt: str = "",
        max_length: int | None = None,
        min_length: int = 1,
        guidance: float = 1.0,
        repetition_penalty: float = 1.0,
        chunk: int = 4,
        **sampling: Any,
    ) -> Iterator[PartialText]:
        """Writes one text and shows it while it grows; the last one is what `generate` gives.

            for part in writer.stream({"sentiment": "positive"}, seed=3):
                print(part.text[part.kept :], end="", flush=True)

        Args:
            chunk: number of tokens between two parts. The others (`temperature` and so on, too) as `generate_batch`.

        Returns:
            An iterator of `PartialText`, one every `chunk` tokens.

        Raises:
            ValueError: as `generate_batch`, at once.
        """
        given, call = self._call([{} if condition is None else condition], prompt, max_length, guidance)
        call |= {"search": Sampling(**sampling), "min_length": min_length, "chunk": chunk}
        call["constraints"] = [forbid(call.pop("forbidden"))]
        pieces = self._generator.stream(repetition_penalty=repetition_penalty, **call)
        return growing_text(pieces, functools.partial(self._whole, prompt, given), call["max_length"])

    @functools.cached_property
    def _generator(self) -> Generator:
        return Generator(self.model.transformer, self.tokenizer.sep_id)

    def continued(self, sampling: Mapping[str, Any], search: Any, forbidden: Sequence[int], **call: Any) -> Any:
        """What the search finds after each source; see `TextWriter.continued`."""
        search = search or Sampling(**sampling)
        return self._generator.generate(search=search, constraints=[forbid(forbidden)], **call)

    def _vectors(self, rows: np.ndarray | None) -> np.ndarray | None:
        if self.conditions.size is None or rows is None:
            return None
        return ops.convert_to_numpy(self.condition({"label_ids" if self.conditions.labels else "vectors": rows}))

    @classmethod
    def train(
        cls,
        texts: Sequence[str],
        conditions: Sequence[Condition],
        valid: tuple[Sequence[str], Sequence[Condition]] | None = None,
        output: str | Path | None = None,
        **options: Any,
    ) -> "ConditionalGenerator":
        """Trains a generator as `nlptasks conditional train` does; the epoch best in likelihood on `valid` is kept.

            texts, moods = ["很好。", "太差了。"] * 4, [{"mood": "good"}, {"mood": "bad"}] * 4
            writer = ConditionalGenerator.train(texts, moods, epochs=20)
            writer.generate({"mood": "good"}, count=3)

        Args:
            texts, conditions: the training texts, each with its labels by column or with a vector.
            valid: validation texts and conditions; None: a share of the training texts is held out (`hold_out_share`).
            output: the run directory: new or empty, or with `resume=True` that of an interrupted run. None: no
                directory is kept.
            **options: fields of `GeneratorOptions`: `checkpoint`, `conditioning`, `epochs`, `learning_rate`, ...

        Raises:
            UserError, ValueError: options, texts or conditions that do not go together.
            TrainingInterrupted: after Ctrl-C; `resume=True` goes on.
        """
        with run_folder(output) as folder:
            settings = GeneratorOptions(output=folder, **options)
            validation = None if valid is None else conditioned_texts(*valid)
            train_generator(settings, conditioned_texts(texts, conditions), validation)
            return cls.from_directory(folder)

    def save(self, directory: str | Path) -> None:
        """Writes a directory that `nlptasks.load` opens: config, weights, vocabulary."""
        settings = {"task": self.task, "seq_length": self.seq_length} | dataclasses.asdict(self.conditions)
        save_application(self.model, self.tokenizer, directory, settings)

    @classmethod
    def from_directory(cls, directory: str | Path) -> "ConditionalGenerator":
        """Opens what `save` or a training run has written.

        Raises:
            ValueError, FileNotFoundError: one line: what is missing or does not fit.
        """
        settings = read_settings(directory, cls.task, "conditional", {"max_length": "seq_length"})
        try:
            seq_length = settings.pop("seq_length")
            labels = {column: tuple(names) for column, names in settings.pop("labels").items()}
            conditions = Conditions(labels=labels, **settings)
        except (KeyError, TypeError, AttributeError) as error:
            raise ValueError(f"{directory}: config.json lacks or misnames a setting ({error}).") from None
        model, tokenizer = load_application(directory, lambda config: condition_tables(conditions), with_mlm="linear")
        return cls(model, tokenizer, conditions, seq_length)
