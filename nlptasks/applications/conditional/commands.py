"""Conditional generation: train, score and use a model that writes texts under labels or vectors.

    nlptasks conditional train --train reviews.tsv --columns category,sentiment,text \\
        --label-columns category sentiment --label-names sentiment:0=negative,1=positive --checkpoint none --output DIR
    nlptasks conditional generate --model DIR --condition sentiment=positive --count 5 --top-p 0.95
    nlptasks conditional evaluate --model DIR --data test.tsv

Files are JSON lines, CSV or tab-separated, plain or gzip; columns are chosen by name. What was measured:
docs/conditional_generation.md.
"""

import dataclasses
import json
import math
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from nlptasks.applications.conditional.conditions import Conditions
from nlptasks.applications.conditional.generator import ConditionalGenerator, conditional_model
from nlptasks.applications.conditional.samples import ConditionalExamples
from nlptasks.applications.options import require_empty_run, require_positive
from nlptasks.applications.scratch import scratch_config, transformer_from_scratch
from nlptasks.console import progress_bar, say
from nlptasks.core import Transformer
from nlptasks.files import read_json_object, write_text
from nlptasks.loading import build_transformer_model
from nlptasks.metrics.generation import likelihood_gap
from nlptasks.opening import load
from nlptasks.text import Tokenizer, build_character_vocab
from nlptasks.text.conditioned import ConditionColumns, parse_label_names, read_conditioned, read_vectors
from nlptasks.text.labelled import sort_labels
from nlptasks.train.extras import TrainingExtras
from nlptasks.train.loop import train
from nlptasks.train.optimizers import make_adam
from nlptasks.train.run import start_run

OPTIONS, SCORES = "options.json", "scores.json"
MOST_HELD_OUT = 2000


@dataclass(kw_only=True)
class Train(TrainingExtras):
    """Train a generator; the epoch with the best likelihood of held-out texts is kept."""

    train: tuple[Path, ...]
    """training files"""
    output: Path
    """run directory: model, vocabulary, options, scores, log and curve"""
    valid: Path | None = None
    """validation file; left out, --hold-out of the training texts serve"""
    hold_out: float = 0.02
    """share of the training texts that is held out where there is no --valid; at most 2000"""
    columns: tuple[str, ...] = ()
    """names of all columns of CSV and tab-separated files that do not begin with a line of names"""
    text_column: str = "text"
    """name of the column (in JSON: the key) with the text"""
    label_columns: tuple[str, ...] = ()
    """names of the columns with labels to write under"""
    label_names: tuple[str, ...] = ()
    """what labels are called: sentiment:0=negative,1=positive"""
    vector_column: str | None = None
    """instead of labels: name of the JSON key with a vector, a list of numbers"""
    vectors: tuple[Path, ...] = ()
    """instead of labels: a NumPy file (.npy) of vectors for each training file, a row a text"""
    valid_vectors: Path | None = None
    """the same for --valid"""
    checkpoint: str = "none"
    """a BERT to start from: a directory with its config, weights and vocab.txt; or none: train from scratch"""
    resume: bool = False
    """continue an interrupted run"""

    conditioning: str = "norm"
    """norm: written into every LayerNorm; prefix: label tokens before the text; none: left out"""
    combine: str = "sum"
    """sum or concat: what becomes of the embeddings of several labels"""
    label_size: int = 128
    """size of a label's embedding"""
    condition_hidden_size: int | None = None
    """width of a layer between condition and norms; left out, there is none"""
    condition_hidden_act: str = "linear"
    """its activation"""
    label_dropout: float = 0.1
    """how often a text is shown without its condition, and each of several labels left out"""
    max_length: int = 128
    """most tokens of [CLS] text [SEP]; longer texts are cut at the end of a sentence"""

    epochs: int = 5
    batch_size: int = 32
    learning_rate: float = 1e-4
    """Adam's; 1e-4 suits a BERT-base checkpoint, 1e-3 a small model from scratch"""
    warmup_share: float = 0.0
    """share of the updates in which the learning rate rises; goes with --decay"""
    decay: bool = False
    """let the learning rate fall linearly to 0"""
    clip_norm: float | None = None
    """bound of the gradients' norm"""
    precision: str = "float32"
    """float32 or bfloat16"""
    seed: int = 0

    vocab: Path | None = None
    """vocabulary of a model from scratch; left out, the characters of the training files"""
    min_count: int = 1
    """from scratch without --vocab: leave out characters seen less often"""
    hidden_size: int = 128
    """from scratch: hidden size (and the three below)"""
    num_layers: int = 3
    num_heads: int = 4
    ffn_size: int = 512
    dropout: float = 0.1

    def run(self) -> None:
        require_positive(self, "epochs", "batch_size", "min_count")
        self.check_extras()
        columns = file_columns(self.columns, self.text_column, self.label_columns, self.vector_column, self.label_names)
        if self.vectors and len(self.vectors) != len(self.train):
            raise ValueError(f"--vectors takes one file for each of --train. Received: {len(self.vectors)}.")
        training = [
            text
            for path, vectors in zip(self.train, self.vectors or (None,) * len(self.train), strict=True)
            for text in read_texts_and_vectors(path, columns, vectors)
        ]
        training, validation = self._split(training, columns)
        conditions = self._conditions(training, validation, columns)
        require_empty_run(self.output, OPTIONS, self.resume)

        start_run(self.seed, self.precision, self.mesh)
        tokenizer = self._tokenizer(training, conditions)
        model = conditional_model(self._transformer(tokenizer, conditions), conditions)
        model.transformer.recompute = self.recompute
        writer = ConditionalGenerator(model, tokenizer, conditions, self.max_length)
        rows = conditions.rows(given(training, conditions))
        examples = ConditionalExamples(writer, [t.text for t in training], rows, self.label_dropout, self.seed)
        say(f"model: {model.count_params():,} parameters, vocabulary of {tokenizer.vocab_size}; {_shown(conditions)}")
        say(f"{len(examples)} texts, {examples.num_cut} of them longer than {self.max_length} tokens and cut")

        steps = self.num_updates(len(examples), self.batch_size, self.epochs)
        optimizer = make_adam(self.learning_rate, steps, self.warmup_share, self.decay, self.clip_norm, self.ema)
        options = json.loads(json.dumps(dataclasses.asdict(self), default=str))
        for name in ("resume", "output"):  # where a run stands is not what it is: a moved one resumes too
            del options[name]
        if not self.resume:
            write_text(self.output / OPTIONS, json.dumps(options, ensure_ascii=False, indent=1) + "\n")
        progress = train(
            model,
            optimizer,
            writer.loss,
            epoch_batches=lambda epoch: examples.epoch_batches(epoch, self.batch_size),
            make_batch=lambda batch: examples.arrays(batch, self.batch_size),
            epochs=self.epochs,
            validate=lambda: validation_scores(writer, validation),
            score_name="log_likelihood",
            save_best=lambda: writer.save(self.output),
            directory=self.output,
            options=options,
            resume=self.resume,
            progress_bar=progress_bar,
            extras=self,
            weight_of=lambda batch: batch["target_weights"].sum(),
        )
        best = max(progress.history, key=lambda row: row["log_likelihood"])
        write_text(self.output / SCORES, json.dumps({"best": best, "epochs": progress.history}, indent=1) + "\n")
        say(f"best epoch {best['epoch']}: {best}")
        say(f"{self.output}: ready for generate and evaluate")

    def _split(self, training, columns):
        """Training and validation texts."""
        if self.valid is not None:
            if (self.valid_vectors is None) != (not self.vectors):
                raise ValueError("--valid-vectors goes with --vectors and --valid; give both or neither.")
            return training, read_texts_and_vectors(self.valid, columns, self.valid_vectors)
        if self.valid_vectors is not None:
            raise ValueError("--valid-vectors goes with --valid; give both or neither.")
        if not 0 < self.hold_out < 1:
            raise ValueError(f"--hold-out must lie between 0 and 1. Received: {self.hold_out}.")
        count = min(MOST_HELD_OUT, math.ceil(self.hold_out * len(training)))
        if count >= len(training):
            raise ValueError(f"{self.train[0]}: {len(training)} texts are too few to hold one out; give --valid.")
        held_out = set(np.random.default_rng(self.seed).permutation(len(training))[:count].tolist())
        parts = ([t for i, t in enumerate(training) if (i in held_out) == wanted] for wanted in (False, True))
        return tuple(parts)

    def _conditions(self, training, validation, columns):
        """What the texts are conditioned on; every validation text must fit."""
        with_vector = columns.vector is not None or bool(self.vectors)
        if with_vector and columns.labels:
            raise ValueError(
                "a condition is labels or a vector: give --label-columns, or --vector-column or --vectors."
            )
        if not (with_vector or columns.labels or self.conditioning == "none"):
            raise ValueError("nothing to write under: give --label-columns, --vector-column or --vectors.")
        labels = {c: sort_labels(text.labels[c] for text in training) for c in columns.labels}
        size = len(training[0].vector) if with_vector else None
        found = Conditions(
            labels=labels,
            vector_size=size,
            conditioning=self.conditioning,
            label_size=self.label_size,
            combine=self.combine,
        )
        check_places([*training, *validation], found)
        return found

    def _tokenizer(self, training, conditions) -> Tokenizer:
        if self.checkpoint != "none":
            return Tokenizer.from_directory(self.checkpoint)
        if self.vocab is not None:
            return Tokenizer(self.vocab)
        vocab = build_character_vocab((text.text for text in training), self.min_count)
        return Tokenizer(vocab | {token: len(vocab) + i for i, token in enumerate(conditions.prefix_tokens)})

    def _transformer(self, tokenizer, conditions) -> Transformer:
        of_norms = {"layer_norm_cond_size": conditions.size}
        if conditions.size is not None:
            of_norms["layer_norm_cond_hidden_size"] = self.condition_hidden_size
            of_norms["layer_norm_cond_hidden_act"] = self.condition_hidden_act
        if self.checkpoint != "none":
            dropouts = {"dropout": self.dropout, "attention_dropout": self.dropout}
            return build_transformer_model(
                self.checkpoint, self.checkpoint, application="lm", with_mlm="linear", **dropouts, **of_norms
            )
        sizes = (self.hidden_size, self.num_layers, self.num_heads, self.ffn_size, self.dropout)
        config = scratch_config(tokenizer.vocab_size, self.max_length, *sizes, attention="causal")
        return transformer_from_scratch(config.replace(**of_norms), with_mlm="linear")


@dataclass(kw_only=True)
class Evaluate:
    """Perplexity of texts, under their own conditions and under other ones."""

    model: Path
    """run directory"""
    data: Path
    """texts with labels or vectors, in the columns of the training files"""
    vectors: Path | None = None
    """a NumPy file (.npy) of vectors, for a model that was trained with one"""
    columns: tuple[str, ...] | None = None
    """names of all columns, where they are not those of the training files; () for a file with a line of names"""
    seed: int = 0
    """which other condition is taken, and the bootstrap"""
    json: bool = False
    """the last line of the output is one JSON object"""

    def run(self) -> None:
        if not self.data.is_file():
            raise ValueError(f"{self.data}: no such file; check the spelling of the path.")
        writer, options = load_writer(self.model), read_json_object(self.model / OPTIONS)
        names = options["columns"] if self.columns is None else self.columns
        of_labels = (options["text_column"], options["label_columns"], options["vector_column"], options["label_names"])
        texts = read_texts_and_vectors(self.data, file_columns(names, *of_labels), self.vectors)
        check_places(texts, writer.conditions)
        started = time.monotonic()
        results = gaps(writer, texts, self.seed)
        seconds = time.monotonic() - started
        say(f"{len(texts)} texts in {seconds:.1f} s")
        for name, value in results.items():
            if isinstance(value, dict):
                shown = "perplexity {other_perplexity:.2f}, {gap:+.4f} nats a token (95% {low:+.4f} to {high:+.4f})"
                print(f"another {name}: {shown.format(**value)}")
            else:
                print(f"{name}: {value:.2f}" if isinstance(value, float) else f"{name}: {value}")
        if self.json:
            print(json.dumps({"scores": results, "seconds": seconds}, ensure_ascii=False))


@dataclass(kw_only=True)
class Generate:
    """Write texts under a condition."""

    model: Path
    """run directory"""
    condition: tuple[str, ...] = ()
    """labels: sentiment=positive category=酒店; left out, none"""
    vector: Path | None = None
    """a NumPy file (.npy) of vectors: texts are written under each"""
    count: int = 1
    """how many texts under a condition"""
    prompt: str = ""
    """how every text begins"""
    temperature: float = 1.0
    """below 1 is bolder, above 1 more varied"""
    top_k: int | None = None
    """only the k most probable tokens"""
    top_p: float | None = None
    """only the most probable tokens whose probabilities reach this sum"""
    guidance: float = 1.0
    """above 1 the condition counts for more; takes twice the work"""
    max_length: int | None = None
    """most tokens to write; left out, as many as the model has positions"""
    min_length: int = 1
    """fewest tokens to write"""
    seed: int = 0
    """the same seed writes the same texts"""
    output: Path | None = None
    """write a JSON object a line there instead of printing"""
    json: bool = False
    """print JSON objects: condition, text, log probability, tokens, whether the text came to its end"""

    def run(self) -> None:
        require_positive(self, "count", "max_length", "min_length")
        if self.condition and self.vector is not None:
            raise ValueError("give --condition or --vector, not both.")
        labels = parse_condition(self.condition)
        vectors = None if self.vector is None else read_vectors(self.vector)
        writer = load_writer(self.model)
        chosen = [labels] if vectors is None else list(vectors)
        started = time.monotonic()
        found = writer.generate_batch(
            chosen,
            self.count,
            prompt=self.prompt,
            max_length=self.max_length,
            min_length=self.min_length,
            temperature=self.temperature,
            top_k=self.top_k,
            top_p=self.top_p,
            seed=self.seed,
            guidance=self.guidance,
        )
        say(f"{sum(map(len, found))} texts in {time.monotonic() - started:.1f} s, the model's compilation included")
        rows = [
            {"condition": labels if vectors is None else {"vector": i}} | dataclasses.asdict(one)
            for i, of in enumerate(found)
            for one in of
        ]
        if self.output is not None:
            write_text(self.output, "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows))
            say(f"{self.output}: {len(rows)} texts")
            return
        for row in rows:
            print(json.dumps(row, ensure_ascii=False) if self.json else row["text"])


def file_columns(names, text, labels, vector, label_names) -> ConditionColumns:
    """The options as the reader takes them; names may stand apart or with commas between them."""
    names = tuple(name for part in names for name in part.split(",") if name)
    return ConditionColumns(
        text=text, labels=tuple(labels), vector=vector, names=names or None, label_names=parse_label_names(label_names)
    )


def read_texts_and_vectors(path: Path, columns: ConditionColumns, vectors: Path | None):
    """The texts of a file, with the vectors of another one if there is one."""
    texts = read_conditioned(path, columns)
    if vectors is None:
        return texts
    if columns.vector is not None:
        raise ValueError("give vectors once: --vector-column or --vectors.")
    rows = read_vectors(vectors, len(texts))
    return [dataclasses.replace(text, vector=row) for text, row in zip(texts, rows, strict=True)]


def parse_condition(values: tuple[str, ...]) -> dict[str, str]:
    """What `sentiment=positive category=酒店` says."""
    found = {}
    for value in values:
        column, equals, label = value.partition("=")
        if not (column and equals and label) or column in found:
            raise ValueError(f"--condition: expected column=label, each column once. Received: {value!r}.")
        found[column] = label
    return found


def given(texts, conditions: Conditions) -> list:
    """The condition of each text, as `Conditions.rows` takes it."""
    return [text.vector if conditions.vector_size is not None else text.labels for text in texts]


def check_places(texts, conditions: Conditions) -> None:
    """Refuses a text whose condition the model does not know, naming its file and line."""
    if conditions.conditioning == "none":
        return
    for text in texts:
        if (text.vector is None) != (conditions.vector_size is None):
            wanted = "labels" if text.vector is not None else f"vectors of {conditions.vector_size} numbers"
            raise ValueError(f"{text.place}: this model writes under {wanted}; give those.")
        try:
            conditions.rows(given([text], conditions))
        except ValueError as error:
            raise ValueError(f"{text.place}: {error}") from None


def load_writer(path: Path) -> ConditionalGenerator:
    """The generator of a run directory; ValueError where it holds another application."""
    writer = load(path)
    if not isinstance(writer, ConditionalGenerator):
        raise ValueError(f"{path}: not a conditional generator; give the run directory of one.")
    return writer


def validation_scores(writer: ConditionalGenerator, texts) -> dict[str, float]:
    """Log likelihood per token of the texts under their conditions, and perplexity."""
    scores, lengths = writer.score([text.text for text in texts], given(texts, writer.conditions))
    mean = float(scores.sum() / lengths.sum())
    say(f"validation: perplexity {math.exp(-mean):.3f} of {int(lengths.sum())} tokens")
    return {"log_likelihood": mean, "perplexity": math.exp(-mean)}


def other_conditions(texts, conditions: Conditions, seed: int) -> dict[str, list]:
    """By label column: the texts' conditions with another label in it; or "vector": another text's vector."""
    random = np.random.default_rng(seed)
    if conditions.vector_size is not None:
        order = random.permutation(len(texts))
        others = dict(zip(order.tolist(), np.roll(order, 1).tolist(), strict=True))
        return {"vector": [texts[others[i]].vector for i in range(len(texts))]}
    found = {}
    for column, names in conditions.labels.items():
        if len(names) > 1:
            steps = random.integers(1, len(names), len(texts))
            places = (names.index(text.labels[column]) + step for text, step in zip(texts, steps, strict=True))
            found[column] = [
                dict(text.labels) | {column: names[place % len(names)]}
                for text, place in zip(texts, places, strict=True)
            ]
    return found


def gaps(writer: ConditionalGenerator, texts, seed: int) -> dict:
    """Perplexity, and what each kind of other condition costs."""
    written = [text.text for text in texts]
    own, lengths = writer.score(written, given(texts, writer.conditions), progress=progress_bar)
    results = {
        "texts": len(texts),
        "tokens": int(lengths.sum()),
        "perplexity": float(np.exp(-own.sum() / lengths.sum())),
    }
    if writer.conditions.conditioning == "none":
        return results
    for column, others in other_conditions(texts, writer.conditions, seed).items():
        other = writer.score(written, others, progress=progress_bar)[0]
        results[column] = dataclasses.asdict(likelihood_gap(own, other, lengths, seed=seed))
    return results


def _shown(conditions: Conditions) -> str:
    if conditions.vector_size is not None:
        return f"vectors of {conditions.vector_size} numbers ({conditions.conditioning})"
    columns = (f"{column}: {len(names)} labels" for column, names in conditions.labels.items())
    return f"{', '.join(columns) or 'no labels'} ({conditions.conditioning})"


COMMANDS = {"train": Train, "evaluate": Evaluate, "generate": Generate}
