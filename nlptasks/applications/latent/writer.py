"""A sentence autoencoder: texts as vectors near a normal distribution, and texts written from such vectors.

The decoder is a conditional generator (`nlptasks/applications/conditional`) whose condition, written into every
LayerNorm, is the latent vector. Two ways to keep the vectors near N(0, I), so that noise can be written out:

    VAE (arXiv 1312.6114; of sentences 1511.06349)   max  E_q(z|x) log p(x|z) - KL(q(z|x) | N(0, I))
    AAE (arXiv 1511.05644)                           max  E_q(z|x) log p(x|z), and an adversary that tells z of texts
                                                     from noise is left without an answer

A decoder that sees the words before learns to do without z, and the KL falls to 0 (collapse). Against it stand free
bits (arXiv 1606.04934: the KL of each number costs nothing below a floor), a weight of the KL that rises from 0, and
words that the decoder is not shown. docs/generative.md has what they gave.

Legend: B batch, T position, N texts, Z numbers of the latent vector.
"""

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
from keras import ops

from nlptasks.applications.conditional.conditions import Conditions
from nlptasks.applications.conditional.generator import ConditionalGenerator
from nlptasks.applications.conditional.samples import lm_arrays
from nlptasks.applications.encoder_head import check_fit
from nlptasks.applications.latent.network import POSTERIOR, LatentModel, adversary_loss, kl_loss, posterior_layer
from nlptasks.applications.latent.samples import LatentBatch, source_rows
from nlptasks.applications.latent.training import METHODS, LatentOptions, train_latent
from nlptasks.applications.storage import load_application, read_settings, save_application
from nlptasks.backend import Tensor, compile_function
from nlptasks.errors import UserError
from nlptasks.text import TextTokenizer
from nlptasks.text.batches import length_sorted_batches
from nlptasks.train.experiment import run_folder

DECODER = "decoder"
"""folder of the decoder, which is a conditional generator of its own"""


class LatentWriter:
    """Texts to vectors, and vectors to texts.

        writer = nlptasks.load("runs/latent")
        writer.reconstruct(["房间很干净。"])
        writer.interpolate("房间很干净。", "苹果不新鲜。", steps=5)
        writer.sample(3, seed=1)

    Args:
        model: reads and writes.
        tokenizer: has the vocabulary of both.
        seq_length: the most tokens of a text, counting `[CLS]` and `[SEP]`.
        method: "vae" or "aae".

    Attributes:
        decoder: the conditional generator that writes; its condition is the latent vector.
        free_bits, adversary_weight: of the loss, see `LatentOptions`.

    Raises:
        ValueError: the parts do not fit together.
    """

    task: ClassVar[str] = "latent_text"

    def __init__(self, model: LatentModel, tokenizer: TextTokenizer, seq_length: int = 64, method: str = "vae") -> None:
        if method not in METHODS:
            raise ValueError(f"method must be one of {', '.join(METHODS)}. Received: method={method!r}.")
        check_fit(model.reader.transformer, tokenizer, seq_length)
        self.model, self.tokenizer, self.seq_length, self.method = model, tokenizer, seq_length, method
        conditions = Conditions(vector_size=model.latent_size)
        self.decoder = ConditionalGenerator(model.writer, tokenizer, conditions, seq_length)
        self.free_bits, self.adversary_weight = LatentOptions.free_bits, LatentOptions.adversary_weight
        self._read = compile_function(lambda token_ids: model(token_ids, training=False), model)

    @property
    def latent_size(self) -> int:
        """Z."""
        return self.model.latent_size

    # Training

    def arrays(self, texts: Sequence[np.ndarray], count: int, random: np.random.Generator) -> LatentBatch:
        """Encoded texts as arrays of `count` rows, with fresh noise."""
        cls_id, pad_id = self.tokenizer.cls_id, self.tokenizer.pad_id
        written = lm_arrays([[cls_id]] * len(texts), texts, count, self.seq_length, pad_id)
        noise, prior = random.normal(0, 1, (2, count, self.latent_size)).astype("float32")
        return LatentBatch(
            source_ids=source_rows(texts, cls_id, count, self.seq_length, pad_id),
            token_ids=written["token_ids"],
            target_ids=written["target_ids"],
            target_weights=written["target_weights"],
            rows=(np.arange(count) < len(texts)).astype("float32"),
            noise=noise,
            prior=prior,
            kl_weight=np.ones(count, "float32"),
        )

    def loss(self, batch: LatentBatch, training: bool = True) -> Tensor:
        """Nats a token: what writing costs, and what keeps the vectors near the normal distribution."""
        mean_BZ, log_variance_BZ = self.model(batch["source_ids"], training=training)
        z_BZ = mean_BZ + ops.exp(log_variance_BZ / 2) * batch["noise"]
        under: Any = {**batch, "vectors": z_BZ}
        log_p_BT = self.decoder.log_probabilities(under, training)
        written = -ops.sum(log_p_BT * batch["target_weights"])
        if self.method == "vae":
            kl = kl_loss(mean_BZ, log_variance_BZ, batch["rows"], self.free_bits)
            kept = batch["kl_weight"][0] * kl
        else:
            kept = self.adversary_weight * adversary_loss(self.model.critic, z_BZ, batch["prior"], batch["rows"])
        return (written + kept) / ops.maximum(ops.sum(batch["target_weights"]), 1.0)

    # Texts to vectors

    def posterior(self, texts: Sequence[str], batch_size: int = 32) -> tuple[np.ndarray, np.ndarray]:
        """Means and deviations of the distributions of texts, float32 `(N, Z)` each.

        Raises:
            ValueError: an empty text.
        """
        encoded = self.decoder.encode(texts)[0]
        mean_NZ, deviation_NZ = np.zeros((2, len(encoded), self.latent_size), "float32")
        for rows in length_sorted_batches([len(ids) for ids in encoded], batch_size):
            chosen = [encoded[i] for i in rows]
            ids = source_rows(chosen, self.tokenizer.cls_id, batch_size, self.seq_length, self.tokenizer.pad_id)
            mean, log_variance = (ops.convert_to_numpy(part)[: len(rows)] for part in self._read(ids))
            mean_NZ[rows], deviation_NZ[rows] = mean, np.exp(log_variance / 2)
        return mean_NZ, deviation_NZ

    def encode(self, texts: Sequence[str]) -> np.ndarray:
        """The vectors of texts, float32 `(N, Z)`: the means of their distributions.

            writer.encode(["房间很干净。"]).shape  # (1, 32)

        Raises:
            TypeError, ValueError: something other than a list of texts that are not empty.
        """
        if isinstance(texts, str):
            raise TypeError("encode takes a list of texts.")
        return self.posterior(texts)[0]

    def predict(self, items: Sequence[str]) -> np.ndarray:
        """The vectors of a list of texts, as `encode` gives them."""
        return self.encode(items)

    # Vectors to texts

    def decode(self, vectors_NZ: np.ndarray | Iterable[np.ndarray], **options: Any) -> list[str]:
        """The text of each vector; the most probable token at each step unless `options` say otherwise.

        Args:
            vectors_NZ: of Z numbers each.
            **options: those of `ConditionalGenerator.generate_batch`: `temperature`, `top_p`, `seed`, `max_length`, ...

        Raises:
            ValueError: a vector of another size, or an option out of its range.
        """
        greedy: dict[str, Any] = {} if options.keys() & {"temperature", "top_k", "top_p", "search"} else {"top_k": 1}
        return [found[0].text for found in self.decoder.generate_batch(list(vectors_NZ), 1, **greedy, **options)]

    def reconstruct(self, texts: Sequence[str], **options: Any) -> list[str]:
        """Each text read into its vector and written from it; `options` as `decode`."""
        return self.decode(self.encode(texts), **options)

    def interpolate(self, first: str, second: str, steps: int = 5, **options: Any) -> list[str]:
        """Texts of the vectors on the line from one text's to another's, both ends included; `options` as `decode`.

        Raises:
            UserError: fewer than 2 steps.
        """
        if steps < 2:
            raise UserError("{field:steps} must be at least {least}. Received: {value}.", least=2, value=steps)
        start, end = self.encode([first, second])
        share = np.linspace(0, 1, steps, dtype="float32")[:, None]
        return self.decode((1 - share) * start + share * end, **options)

    def sample(self, count: int = 1, seed: int = 0, **options: Any) -> list[str]:
        """Texts of vectors drawn from the normal distribution; `options` as `decode`.

        Raises:
            UserError: a count below 1.
        """
        if count < 1:
            raise UserError("{field:count} must be at least {least}. Received: {value}.", least=1, value=count)
        drawn = np.random.default_rng(seed).normal(0, 1, (count, self.latent_size)).astype("float32")
        return self.decode(drawn, **{"seed": seed, **options})

    # Making and storing

    @classmethod
    def train(
        cls,
        texts: Sequence[str],
        valid: Sequence[str] | None = None,
        output: str | Path | None = None,
        **options: Any,
    ) -> "LatentWriter":
        """Trains an autoencoder as `nlptasks latent train` does.

            writer = LatentWriter.train(["房间很好。", "苹果很甜。"] * 8, epochs=20, hidden_size=64, latent_size=8)
            writer.encode(["苹果很好。"])

        Args:
            texts: the training texts.
            valid: validation texts; None: a share of the training texts is held out (`hold_out_share`).
            output: the run directory: new or empty, or with `resume=True` that of an interrupted run. None: no
                directory is kept.
            **options: fields of `LatentOptions`: `method`, `latent_size`, `checkpoint`, `epochs`, ...

        Raises:
            UserError, ValueError: options or texts that do not go together.
            TrainingInterrupted: after Ctrl-C; `resume=True` goes on.
        """
        with run_folder(output) as folder:
            train_latent(LatentOptions(output=folder, **options), texts, valid)
            return cls.from_directory(folder)

    def save(self, directory: str | Path) -> None:
        """Writes a directory that `nlptasks.load` opens; its folder `decoder` is a conditional generator."""
        directory = Path(directory)
        self.decoder.save(directory / DECODER)
        settings = {"task": self.task, "method": self.method, "latent_size": self.latent_size}
        settings |= {"seq_length": self.seq_length, "free_bits": self.free_bits}  # a part of the objective
        save_application(self.model.reader, self.tokenizer, directory, settings)

    @classmethod
    def from_directory(cls, directory: str | Path) -> "LatentWriter":
        """Opens what `save` or a training run has written.

        Raises:
            ValueError, FileNotFoundError: one line: what is missing or does not fit.
        """
        settings = read_settings(directory, cls.task, "latent")
        try:
            method, size, seq_length = settings["method"], int(settings["latent_size"]), int(settings["seq_length"])
            free_bits = float(settings.get("free_bits", LatentOptions.free_bits))
        except (KeyError, TypeError, ValueError) as error:
            raise ValueError(f"{directory}: config.json lacks or misnames a setting ({error}).") from None
        reader, tokenizer = load_application(directory, lambda config: {POSTERIOR: posterior_layer(size)})
        decoder = ConditionalGenerator.from_directory(Path(directory) / DECODER)
        if decoder.conditions.vector_size != size:
            raise ValueError(
                f"{directory}: its encoder makes vectors of {size} numbers, and its decoder reads "
                f"{decoder.conditions.vector_size}; copy the whole directory again."
            )
        parts: Mapping[str, Any] = reader.head_layers
        model = LatentModel(reader.transformer, decoder.model.transformer, posterior=parts[POSTERIOR])
        found = cls(model, tokenizer, seq_length, method)
        found.free_bits = free_bits
        return found
