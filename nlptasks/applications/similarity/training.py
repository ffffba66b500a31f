"""Training a sentence encoder. The options alone import no backend."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from nlptasks.applications.options import LARGE, SMALL, EncoderTraining, FromCheckpoint, Usual
from nlptasks.applications.similarity.gru import GruModel
from nlptasks.applications.similarity.gru_runtime import GRU_POOLINGS
from nlptasks.applications.similarity.loss import GroupLoss
from nlptasks.applications.similarity.samples import GroupExamples, check_noise
from nlptasks.applications.similarity.scoring import score_encoder
from nlptasks.applications.sources import SCRATCH
from nlptasks.errors import UserError
from nlptasks.text.characters import CharacterVocab
from nlptasks.text.groups import Groups
from nlptasks.train import progress
from nlptasks.train.contracts import Examples
from nlptasks.train.options import ONE_OF, RANDOM, require_at_least, require_one_of, require_share
from nlptasks.train.record import open_run

if TYPE_CHECKING:
    import keras

    from nlptasks.applications.similarity.encoder import SentenceEncoder

POOLINGS = ("first", "mean")
"""of a Transformer's hidden states"""
GRU = "a GRU"
NUM_HEADS = 4
"""of a Transformer from scratch"""
HYBRID_WEIGHT = 0.7
"""of the lexical score in a hybrid search: (1 - weight) x cosine + weight x BM25; chosen on held-out groups"""


@dataclass(kw_only=True)
class SimilarityOptions(FromCheckpoint):
    """Options of a sentence encoder and its training."""

    RENAMED: ClassVar[dict[str, str]] = {"hold_out": "hold_out_every"}
    SCRATCH_DEFAULTS: ClassVar[dict[str, int]] = {"min_count": 2, "vector_size": 128, "num_layers": 3}
    USUAL: ClassVar[Mapping[str, Usual]] = {
        GRU: Usual(4e-3, 10),
        RANDOM: Usual(1e-3, 10),
        SMALL: Usual(1e-4, 5),
        LARGE: Usual(2e-5, 5),
    }

    hold_out_every: int = 10
    """without validation groups: every nth training group is held out for validation"""

    encoder: str = "gru"
    """the encoder: gru or transformer"""
    checkpoint: str | None = None
    """transformer: pretrained one to start from: mini (comes with the package), or a directory with config, weights and
    tokenizer (./mini for one of that name); none: random weights; default: mini, or none where an option that says
    from scratch is given"""
    pooling: str | None = None
    """gru: last, the last state (default), or mean of all states; transformer: mean (default) or first ([CLS])"""
    seq_length: int = 64
    """the most characters (gru) or tokens (transformer, counting [CLS] and [SEP]) that are read of a sentence"""
    min_count: int | None = None
    """gru, transformer from scratch: characters that occur less often are read as unknown; default: 2"""
    embedding_size: int = 128
    """gru: size of the embedding of a character"""
    vector_size: int | None = None
    """gru: size of a vector; transformer from scratch: hidden size, a multiple of 4; default: 128"""
    mean_weight: float = 0.0
    """gru: weight of the mean of the character embeddings in the final vector; 0: only the GRU"""
    num_layers: int | None = None
    """transformer from scratch: number of layers; default: 3"""
    dropout: float = 0.1
    """dropout rate"""
    token_drop: float = 0.1
    """share of the tokens that are read as unknown in training"""
    order_noise: float = 0.0
    """in training, tokens swap places with others that are less than this many places away; 0: the order is kept"""

    loss: str = "am"
    """the loss: softmax, am (additive margin), a (a simpler A-softmax) or arc"""
    scale: float = 30.0
    """factor by which cosines are multiplied"""
    margin: float | None = None
    """margin of the loss; default: 0.35 for am, 0.5 for arc"""
    class_norm: float = 1.0
    """initial length of the groups' vectors; short vectors change direction faster"""
    sampled_classes: int = 0
    """number of groups that a step compares with, counting those of the batch; 0: all"""

    epochs: int | None = None
    """number of passes over the training data; default: 10, from a checkpoint 5; up to 30 where these are fewer than
    100 updates"""
    batch_size: int = 256
    """number of sentences per batch"""
    learning_rate: float | None = None
    """Adam's highest rate; default: gru 4e-3; transformer 1e-3 from random weights, 1e-4 from a small checkpoint such
    as mini (hidden size below 768), 2e-5 from a larger one"""
    warmup_share: float = 0.05
    """share of the updates during which the learning rate rises; needs decay"""
    decay: bool = True
    """decay the learning rate linearly to 0; without decay it stays constant"""
    hybrid_weight: float = HYBRID_WEIGHT
    """weight of the lexical score in a hybrid search with the model"""

    @classmethod
    def from_record(cls, values: Mapping[str, Any]) -> dict[str, Any]:
        """The recorded options of a run, under today's names."""
        found = super().from_record(values)
        return found | ({"pooling": "first"} if found.get("pooling") == "cls" else {})

    @property
    def from_scratch(self) -> bool:
        """Whether the encoder starts from random weights; a GRU always does."""
        return self.encoder == "gru" or super().from_scratch

    @property
    def could_be_pretrained(self) -> bool:
        """Whether there are pretrained weights to start from instead."""
        return self.encoder != "gru" and self.from_scratch

    @property
    def usual(self) -> Usual:
        """What suits the encoder and the weights it starts from."""
        return self.USUAL[GRU if self.encoder == "gru" else self.start]

    def check(self) -> None:
        """Refuses values that are out of range or contradict each other."""
        super().check()
        require_one_of(self, encoder=("gru", "transformer"))
        require_one_of(self, pooling=GRU_POOLINGS if self.encoder == "gru" else POOLINGS)
        require_at_least(self, 1, "embedding_size")
        require_at_least(self, 1 if self.encoder == "gru" else 3, "seq_length")
        require_share(self, "mean_weight", "hybrid_weight")
        if not 0 <= self.dropout < 1:
            raise UserError("{field:dropout} must lie in [0, 1). Received: {value}.", value=self.dropout)
        check_noise(self.token_drop, self.order_noise)
        self.group_loss()
        self._check_encoder()
        self._check_sampling()

    def _check_encoder(self) -> None:
        """Refuses options that the encoder cannot honor."""
        if self.encoder == "gru":
            if self.checkpoint not in (None, SCRATCH):
                raise UserError("{field:checkpoint} is a Transformer's; it goes with {field:encoder} transformer.")
            for name in ONE_OF:
                if getattr(self, name) is not None:
                    raise UserError(
                        "{field:{name}} moves the token embedding of a Transformer; it goes with {field:encoder} "
                        "transformer.",
                        name=name,
                    )
            if self.recompute:
                raise UserError(
                    "{field:recompute} works inside the layers of a Transformer; it goes with {field:encoder} "
                    "transformer."
                )
            if self.mesh is not None and "model" in self.mesh:
                raise UserError(
                    "{field:mesh} cuts no weight of a GRU; give data alone. Received: {value}.", value=self.mesh
                )
            return
        if self.mean_weight:
            raise UserError("{field:mean_weight} is a GRU's; it goes with {field:encoder} gru.")
        if self.from_scratch and self.sizes()["vector_size"] % NUM_HEADS:
            raise UserError(
                "{field:vector_size} of a Transformer must be a multiple of {heads}, its heads. Received: {value}.",
                heads=NUM_HEADS,
                value=self.vector_size,
            )

    def _check_sampling(self) -> None:
        """Refuses what does not go with groups that differ from step to step."""
        if not self.sampled_classes:
            return
        if self.sampled_classes < self.batch_size:
            raise UserError(
                "{field:sampled_classes} must be 0 (all) or at least {field:batch_size}. Received: {value}.",
                value=self.sampled_classes,
            )
        if self.accumulate > 1:
            raise UserError(
                "{field:accumulate} does not go with {field:sampled_classes}: each batch is compared with groups of "
                "its own."
            )
        for name in ("lookahead", "ema_bias_correction"):
            if getattr(self, name):
                raise UserError(
                    "{field:{name}} does not go with {field:sampled_classes}: it keeps numbers of all groups at once.",
                    name=name,
                )
        if self.mesh is not None:
            raise UserError(
                "{field:mesh} does not go with {field:sampled_classes}: the table of groups stands in the memory of "
                "one process."
            )

    def group_loss(self) -> GroupLoss:
        """How groups are told apart.

        Raises:
            UserError: a loss, margin or scale that there is not.
        """
        return GroupLoss(kind=self.loss, scale=self.scale, margin=self.margin, class_norm=self.class_norm)

    def transformer(self) -> EncoderTraining:
        """The options of the Transformer, as other applications have them."""
        sizes: dict[str, Any] = self.sizes() if self.from_scratch else {}
        if sizes:
            width = sizes.pop("vector_size")
            sizes |= {"hidden_size": width, "num_heads": NUM_HEADS, "ffn_size": NUM_HEADS * width}
        return EncoderTraining(
            output=self.output,
            checkpoint=self.checkpoint,
            skip_weights=self.skip_weights,
            dropout=self.dropout,
            recompute=self.recompute,
            **sizes,
        )


def train_encoder(options: SimilarityOptions, training: Groups, validation: Groups | None = None) -> bool:
    """Trains a sentence encoder; the epoch with the best top-1 on `validation` is kept in the run directory.

    Args:
        validation: None: every nth group of `training`.

    Returns:
        Whether the encoder finds sentences of a group.

    Raises:
        UserError: options or groups that do not go together.
    """
    if validation is None:
        training, validation = _split(training, options.hold_out_every)
    open_run(options, len(training.labels))

    from nlptasks.applications.similarity.network import GroupClassifier, TrainableEncoder
    from nlptasks.applications.similarity.table import SampledClassifier, SampledExamples
    from nlptasks.train.experiment import Experiment, make_optimizer
    from nlptasks.train.run import start_run

    assert options.epochs is not None
    start_run(options.seed, options.precision, options.mesh)
    network, sentences, make_encoder = _encoder(options, training)
    examples: Examples = sentences
    optimizer = make_optimizer(options, examples, options.epochs, options.batch_size)
    loss, around_step = options.group_loss(), None
    model: GroupClassifier
    if options.sampled_classes:
        model = SampledClassifier(network, training.count, options.sampled_classes, optimizer, loss, options.seed)
        examples, around_step = SampledExamples(sentences, model, options.seed), model.around
        megabytes = model.table_bytes / 2**20
        progress.say(f"table of {training.count:,} groups: {megabytes:,.1f} MiB, {model.num_rows} a step")
    else:
        model = GroupClassifier(network, training.count, loss)
        model.build()
    progress.say(f"model: {network.count_params():,} parameters; {len(examples)} sentences in {training.count} groups")
    run = Experiment(
        options,
        TrainableEncoder(model, make_encoder),
        examples,
        validate=lambda: scores_of(make_encoder(), validation),
        score_name="top1",
        optimizer=optimizer,
        around_step=around_step,
        constant={"top1": 0.0},
    )
    run.run()
    return run.learned


def scores_of(encoder: SentenceEncoder, groups: Groups) -> dict[str, float]:
    """Shares of the sentences for which another one of their group is found, from 0 to 1, as `top1`, `top5`, ..."""
    scores = score_encoder(encoder, groups)["encoder"]
    return {name: round(value, 4) for name, value in scores.items() if name != "queries"}


def _split(groups: Groups, every: int) -> tuple[Groups, Groups]:
    """Training groups, and every nth one, which choose the epoch."""
    if every < 2:
        raise UserError("{field:hold_out_every} must be at least 2, or give {field:valid}. Received: {n}.", n=every)
    training, validation = groups.hold_out(every)
    if not len(training.labels) or not (np.bincount(validation.labels) > 1).any():
        raise UserError(
            "every {n}th group holds no two sentences; give {field:valid}, or another {field:hold_out_every}.", n=every
        )
    return training, validation


def _encoder(
    options: SimilarityOptions, training: Groups
) -> tuple[keras.Model, GroupExamples, Callable[[], SentenceEncoder]]:
    """The network, its training examples, and what makes the application of its present weights."""
    from nlptasks.applications.encoder import make_tokenizer, make_transformer
    from nlptasks.applications.similarity.encoder import SentenceEncoder
    from nlptasks.applications.similarity.network import GruEncoder, TransformerEncoder
    from nlptasks.applications.similarity.transformer import TransformerModel

    noise: dict[str, Any] = {"token_drop": options.token_drop, "order_noise": options.order_noise}
    noise["seed"] = options.seed
    if options.encoder == "transformer":
        own = options.transformer()
        tokenizer = make_tokenizer(own, training.sentences)
        transformer = make_transformer(own, tokenizer, options.seq_length, equal_keys=True)
        pooled = TransformerEncoder(transformer, options.pooling or "mean")
        model = TransformerModel(pooled, tokenizer, options.seq_length)
        ids = model.token_ids(training.sentences)
        examples = GroupExamples(
            ids,
            training.labels,
            unknown_id=tokenizer.unk_id,
            edges=1,
            limit=options.seq_length,
            pad_id=tokenizer.pad_id,
            **noise,
        )
        return pooled, examples, lambda: SentenceEncoder(model, options.hybrid_weight)
    sizes = options.sizes()
    vocab = CharacterVocab.build(training.sentences, sizes["min_count"])
    pooling = options.pooling or "last"
    network = GruEncoder(len(vocab), options.embedding_size, sizes["vector_size"], options.dropout, pooling)
    examples = GroupExamples(vocab.encode_batch(training.sentences, options.seq_length), training.labels, **noise)

    def make_encoder() -> SentenceEncoder:
        model = GruModel(vocab, network.arrays(), options.seq_length, options.mean_weight, pooling)
        return SentenceEncoder(model, options.hybrid_weight)

    return network, examples, make_encoder
