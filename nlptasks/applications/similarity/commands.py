"""Sentence similarity: learn vectors of sentences from groups with the same meaning, score them, search with them.

    nlptasks similarity train --train groups.tsv --output runs/similarity
    nlptasks similarity evaluate --model runs/similarity --data groups_dev.tsv
    nlptasks similarity index --model runs/similarity --corpus sentences.txt --output runs/index
    nlptasks similarity search --model runs/similarity --index runs/index --query 问题 --hybrid

Files are lines `group TAB sentence`, or lines `text TAB text TAB 0 or 1` whose positive pairs are chained into groups;
plain or gzip. The recipe and its scores: docs/similarity.md.
"""

import dataclasses
import json
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from nlptasks.applications.options import require_empty_run, require_positive
from nlptasks.applications.similarity.encoder import HYBRID_WEIGHT, GruModel, SentenceEncoder
from nlptasks.applications.similarity.index import HEADER
from nlptasks.applications.similarity.samples import GroupExamples, Groups, read_groups, read_pairs
from nlptasks.console import progress_bar, say
from nlptasks.files import read_lines, require_writable, write_text
from nlptasks.metrics.similarity import score_pairs, score_retrieval
from nlptasks.opening import load
from nlptasks.text import read_texts
from nlptasks.text.characters import CharacterVocab
from nlptasks.text.lexical import LexicalIndex

OPTIONS, SCORES = "options.json", "scores.json"


@dataclass(kw_only=True)
class Train:
    """Train an encoder; the best epoch on held-out groups is kept."""

    train: tuple[Path, ...]
    """training files: groups, or pairs whose positive ones are chained into groups"""
    output: Path
    """run directory: model, options, scores, log and curve"""
    valid: Path | None = None
    """groups that choose the epoch by top-1; left out, every --hold-out-th group of the training files does"""
    hold_out: int = 10
    """every so manieth group is held out of the training where --valid is not given"""
    leave_out: tuple[Path, ...] = ()
    """files of groups, pairs or plain sentences: no sentence of theirs is trained on"""
    resume: bool = False
    """continue an interrupted run"""

    encoder: str = "gru"
    """gru, or transformer"""
    checkpoint: str = "none"
    """transformer: a BERT to start from, a directory with its config, weights and vocab.txt; none: from scratch"""
    pooling: str | None = None
    """gru: last (state, the default) or mean (of all states); transformer: mean (the default) or cls"""
    seq_length: int = 64
    """characters, or tokens with [CLS] and [SEP], that are read of a sentence"""
    min_count: int = 2
    """characters seen less often are unknown"""
    embedding_size: int = 128
    """gru: of a character"""
    vector_size: int = 128
    """gru: of a sentence; transformer from scratch: hidden size"""
    mean_weight: float = 0.0
    """gru: of the mean of the characters' embeddings in the vector that is used; 0: the GRU's last state alone"""
    num_layers: int = 3
    """transformer from scratch"""
    dropout: float = 0.1
    token_drop: float = 0.1
    """share of the tokens read as unknown while training"""
    order_noise: float = 0.0
    """tokens change places with others nearer than so many places while training; 0: they keep their order"""

    loss: str = "am"
    """softmax, am (additive margin), a (the simpler A-softmax) or arc"""
    scale: float = 30.0
    margin: float | None = None
    """left out: am 0.35, arc 0.5"""
    class_norm: float = 1.0
    """length that the groups' vectors start with; short ones turn faster"""
    sampled_classes: int = 0
    """groups that a step compares with, the batch's own among them; 0: all"""

    epochs: int = 10
    batch_size: int = 256
    learning_rate: float = 4e-3
    """Adam's highest; 4e-3 suits a GRU, 2e-5 a BERT checkpoint"""
    warmup_share: float = 0.05
    """share of the updates in which the learning rate rises; then it falls linearly to 0"""
    hybrid_weight: float = HYBRID_WEIGHT
    """of the lexical score in a hybrid search of the model"""
    precision: str = "float32"
    """float32 or bfloat16"""
    seed: int = 0

    def run(self) -> None:
        require_positive(self, "epochs", "batch_size", "min_count", "embedding_size", "vector_size", "num_layers")
        if self.encoder not in ("gru", "transformer"):
            raise ValueError(f"encoder must be gru or transformer. Received: encoder={self.encoder!r}.")
        if not 0.0 <= self.mean_weight <= 1.0 or not 0.0 <= self.hybrid_weight <= 1.0:
            raise ValueError(
                "--mean-weight and --hybrid-weight must lie in [0, 1]. Received: "
                f"{self.mean_weight}, {self.hybrid_weight}."
            )
        if 0 < self.sampled_classes < self.batch_size or self.sampled_classes < 0:
            raise ValueError(
                f"--sampled-classes must be 0 (all) or at least --batch-size. Received: {self.sampled_classes}."
            )
        training, validation = self._read()
        require_empty_run(self.output, OPTIONS, self.resume)

        # Keras here: the other commands do without it
        from nlptasks.applications.similarity.network import GroupClassifier, GroupLoss
        from nlptasks.applications.similarity.table import SampledClassifier
        from nlptasks.backend import programs  # noqa: F401 - first: it imports keras
        from nlptasks.train.loop import train
        from nlptasks.train.optimizers import make_adam
        from nlptasks.train.run import start_run

        loss = GroupLoss(kind=self.loss, scale=self.scale, margin=self.margin, class_norm=self.class_norm)
        start_run(self.seed, self.precision)
        network, examples, make_encoder = self._encoder(training)
        steps = self.epochs * len(examples.batches(0, self.batch_size))
        optimizer = make_adam(self.learning_rate, steps, self.warmup_share)
        if self.sampled_classes:
            model = SampledClassifier(network, training.count, self.sampled_classes, optimizer, loss, self.seed)
            say(f"table of {training.count:,} groups: {model.table_bytes / 2**20:,.1f} MiB, {model.num_rows} a step")
        else:
            model = GroupClassifier(network, training.count, loss)
            model.build()
        say(f"model: {network.count_params():,} parameters; {len(examples)} sentences in {training.count} groups")

        options = json.loads(json.dumps(dataclasses.asdict(self), default=str))
        for name in ("resume", "output"):  # where a run stands is not what it is: a moved one resumes too
            del options[name]
        if not self.resume:
            write_text(self.output / OPTIONS, json.dumps(options, ensure_ascii=False, indent=1) + "\n")

        def make_batch(batch):
            arrays = examples.arrays(batch, self.batch_size)
            if not self.sampled_classes:
                return arrays
            return model.sample(arrays, np.random.default_rng([self.seed, *batch[:2], 1]))

        progress = train(
            model,
            optimizer,
            model.group_loss,
            epoch_batches=lambda epoch: examples.batches(epoch, self.batch_size),
            make_batch=make_batch,
            epochs=self.epochs,
            validate=lambda: _validation_scores(make_encoder(), validation),
            score_name="top1",
            save_best=lambda: make_encoder().save(self.output),
            directory=self.output,
            options=options,
            resume=self.resume,
            progress_bar=progress_bar,
            around_step=model.around if self.sampled_classes else None,
        )
        best = max(progress.history, key=lambda row: row["top1"])
        write_text(self.output / SCORES, json.dumps({"best": best, "epochs": progress.history}, indent=1) + "\n")
        say(f"best epoch {best['epoch']}: {best}")
        say(f"{self.output}: ready for evaluate, index and search")

    def _read(self) -> tuple[Groups, Groups]:
        """Training groups and those that choose the epoch."""
        left_out = {sentence for path in self.leave_out for sentence in _sentences_of(path)}
        if self.valid is not None:
            validation = read_groups([self.valid])
            training = read_groups(self.train, left_out | set(validation.sentences))
            notes = training.notes + validation.notes
        else:
            if self.hold_out < 2:
                raise ValueError(f"--hold-out must be at least 2, or give --valid. Received: {self.hold_out}.")
            whole = read_groups(self.train, left_out)
            training, validation = whole.hold_out(self.hold_out)
            notes = whole.notes
            if not len(training.labels) or not (np.bincount(validation.labels) > 1).any():
                raise ValueError(f"every {self.hold_out}th group holds no two sentences; give --valid FILE.")
        for note in notes:
            say(note)
        return training, validation

    def _encoder(self, training: Groups):
        """The network, its training examples, and what makes the application of its present weights."""
        options = {"labels": training.labels, "token_drop": self.token_drop, "seed": self.seed}
        options["order_noise"] = self.order_noise
        if self.encoder == "transformer":
            model = self._transformer(training.sentences)
            tokenizer = model.tokenizer
            ids = model.token_ids(training.sentences)
            examples = GroupExamples(ids, unknown_id=tokenizer.unk_id, edges=1, limit=self.seq_length, **options)
            return model.network, examples, lambda: SentenceEncoder(model, self.hybrid_weight)
        from nlptasks.applications.similarity.network import GruEncoder

        vocab = CharacterVocab.build(training.sentences, self.min_count)
        pooling = self.pooling or "last"
        network = GruEncoder(len(vocab), self.embedding_size, self.vector_size, self.dropout, pooling)
        examples = GroupExamples(vocab.encode_batch(training.sentences, self.seq_length), **options)

        def make_encoder() -> SentenceEncoder:
            model = GruModel(vocab, network.arrays(), self.seq_length, self.mean_weight, pooling)
            return SentenceEncoder(model, self.hybrid_weight)

        return network, examples, make_encoder

    def _transformer(self, sentences):
        from nlptasks.applications.scratch import scratch_config, transformer_from_scratch
        from nlptasks.applications.similarity.network import TransformerEncoder
        from nlptasks.applications.similarity.transformer import TransformerModel
        from nlptasks.loading import build_transformer_model
        from nlptasks.text import Tokenizer, build_character_vocab

        if self.checkpoint != "none":
            tokenizer = Tokenizer.from_directory(self.checkpoint)
            drop = {"dropout": self.dropout, "attention_dropout": self.dropout}
            transformer = build_transformer_model(self.checkpoint, self.checkpoint, **drop)
        else:
            tokenizer = Tokenizer(build_character_vocab(sentences, self.min_count))
            sizes = (self.vector_size, self.num_layers, 4, 4 * self.vector_size)
            config = scratch_config(tokenizer.vocab_size, self.seq_length, *sizes, self.dropout)
            transformer = transformer_from_scratch(config, equal_keys=True)
        return TransformerModel(TransformerEncoder(transformer, self.pooling or "mean"), tokenizer, self.seq_length)


@dataclass(kw_only=True)
class Evaluate:
    """Score an encoder: retrieval within held-out groups, or pairs told apart."""

    model: str = "similarity"
    """run directory, or similarity: the one that comes with the package"""
    data: Path | None = None
    """groups: is another sentence of the same group among the nearest?"""
    pairs: Path | None = None
    """pairs, text TAB text TAB 0 or 1: AUC, accuracy at the best threshold, Spearman"""
    hybrid: bool = False
    """--data: blend the cosine with BM25"""
    baselines: bool = False
    """--data: also score BM25 and TF-IDF over characters and pairs of characters"""
    json: bool = False
    """the last line of the output is one JSON object"""

    def run(self) -> None:
        if (self.data is None) == (self.pairs is None):
            raise ValueError("give either --data (groups) or --pairs.")
        if self.pairs is not None and (self.hybrid or self.baselines):
            raise ValueError("--hybrid and --baselines go with --data.")
        groups = None if self.data is None else read_groups([self.data])
        pairs = None if self.pairs is None else read_pairs(self.pairs)
        encoder = _encoder(self.model)
        if groups is not None:
            for note in groups.notes:
                say(note)
            table = _retrieval(encoder, groups, self.hybrid, self.baselines)
        else:
            table = {"encoder": score_pairs(encoder.similarity(pairs.first, pairs.second), pairs.labels)}
        for name, scores in table.items():
            print(
                f"{name:10} "
                + "  ".join(f"{k} {v}" if isinstance(v, int) else f"{k} {v:.4f}" for k, v in scores.items())
            )
        if self.json:
            print(json.dumps({"scores": table}))


@dataclass(kw_only=True)
class Index:
    """Put the sentences of a file into an index, or add them to one."""

    corpus: Path
    """sentences, one a line; or JSON lines with `text`"""
    output: Path
    """directory of the index"""
    model: str = "similarity"
    """run directory, or similarity: the one that comes with the package"""
    add: bool = False
    """add to the index that stands there; nothing in it is computed again"""

    def run(self) -> None:
        require_writable(self.output / HEADER)
        if not self.add and (self.output / HEADER).is_file():
            raise ValueError(f"{self.output}: holds an index already; --add adds to it, or give another --output.")
        texts = [" ".join(text.split()) for text in read_texts(self.corpus)]
        encoder = _encoder(self.model)
        index = encoder.open_index(self.output) if self.add else encoder.make_index()
        started = time.monotonic()
        encoder.add(texts, index)
        index.save(self.output)
        say(f"{self.output}: {len(texts)} sentences added in {time.monotonic() - started:.1f} s, {len(index)} in all")


@dataclass(kw_only=True)
class Search:
    """Find the sentences of an index that are most similar to a query."""

    index: Path
    """directory of the index"""
    model: str = "similarity"
    """the one that made the index"""
    query: str | None = None
    queries: Path | None = None
    """a file with a query a line; the output has lines query TAB score TAB sentence"""
    top: int = 10
    """how many"""
    hybrid: bool = False
    """blend the cosine with BM25 over characters and pairs of characters"""
    json: bool = False
    """print one JSON list of {text, score, position}; with --queries a list of such lists"""

    def run(self) -> None:
        if (self.query is None) == (self.queries is None):
            raise ValueError("give either --query or --queries.")
        require_positive(self, "top")
        queries = [self.query] if self.queries is None else [line for _, line in read_lines(self.queries)]
        encoder = _encoder(self.model)
        encoder.open_index(self.index)
        found = encoder.most_similar_batch(queries, self.top, self.hybrid)
        if self.json:
            shown = [[match._asdict() for match in matches] for matches in found]
            print(json.dumps(shown if self.queries is not None else shown[0], ensure_ascii=False))
            return
        for query, matches in zip(queries, found, strict=True):
            for match in matches:
                before = "" if self.queries is None else f"{query}\t"
                print(f"{before}{match.score:.4f}\t{match.text}")


def _retrieval(encoder: SentenceEncoder, groups: Groups, hybrid: bool, baselines: bool) -> dict[str, dict[str, float]]:
    vectors, sentences = encoder.encode(groups.sentences), groups.sentences
    table = {"encoder": score_retrieval(lambda a, b: vectors[a:b] @ vectors.T, groups.labels)}
    if not (hybrid or baselines):
        return table
    lexical = LexicalIndex.build(sentences)

    def words(a: int, b: int) -> np.ndarray:
        return np.stack([lexical.bm25(sentence) for sentence in sentences[a:b]])

    if hybrid:
        weight = encoder.hybrid_weight
        table["hybrid"] = score_retrieval(
            lambda a, b: (1 - weight) * (vectors[a:b] @ vectors.T) + weight * words(a, b), groups.labels
        )
    if baselines:
        tfidf = lexical.tfidf()
        table["bm25"] = score_retrieval(words, groups.labels)
        table["tfidf"] = score_retrieval(
            lambda a, b: np.stack([tfidf.scores(sentence) for sentence in sentences[a:b]]), groups.labels
        )
    return table


def _validation_scores(encoder: SentenceEncoder, groups: Groups) -> dict[str, float]:
    scores = _retrieval(encoder, groups, False, False)["encoder"]
    found = {name: round(value, 4) for name, value in scores.items() if name != "queries"}
    say("validation: " + ", ".join(f"{name} {value:.4f}" for name, value in found.items()))
    return found


def _sentences_of(path: Path) -> list[str]:
    """The sentences of a file of groups, pairs or plain sentences."""
    count = next(iter(read_lines(path)))[1].count("\t") + 1
    if count == 3:
        pairs = read_pairs(path)
        return pairs.first + pairs.second
    return read_groups([path]).sentences if count == 2 else list(read_texts(path))


def _encoder(model: str) -> SentenceEncoder:
    encoder = load(model)
    if not isinstance(encoder, SentenceEncoder):
        raise ValueError(f"{model}: not a sentence encoder; give the run directory of one.")
    return encoder


COMMANDS = {"train": Train, "evaluate": Evaluate, "index": Index, "search": Search}
