"""What a pretraining run is made of, from its options: rows, batches, devices, model and optimizer. JAX only."""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import jax
import keras
import numpy as np

from nlptasks.backend.mesh import check_heads, check_places, parse_mesh, use_mesh
from nlptasks.checkpoints.configs import config_from_json
from nlptasks.checkpoints.layout import config_file
from nlptasks.core.config import TransformerConfig
from nlptasks.core.transformer import Transformer
from nlptasks.errors import UserError
from nlptasks.files import read_json_object
from nlptasks.loading import build_transformer_model
from nlptasks.pretraining.configs import named_config
from nlptasks.pretraining.devices import fuse_attention
from nlptasks.pretraining.loader import Batches
from nlptasks.pretraining.objectives import Objective, parse_mixture
from nlptasks.pretraining.shards import ShardSet
from nlptasks.text import open_tokenizer
from nlptasks.text.opening import TOKENIZER_FILES
from nlptasks.train.optimizers import UNDECAYED, Lamb, PiecewiseLinear
from nlptasks.train.progress import say
from nlptasks.train.run import start_run

if TYPE_CHECKING:
    from nlptasks.pretraining.commands.train import Pretrain


@dataclass(frozen=True, kw_only=True)
class Assembly:
    """The parts of a run; everything follows from the options.

    Attributes:
        sizes: of the mesh, by axis.
        rate: the learning rate by step.
    """

    rows: ShardSet
    batches: Batches
    sizes: dict[str, int]
    mesh: jax.sharding.Mesh
    model: Transformer
    optimizer: keras.optimizers.Optimizer
    rate: PiecewiseLinear

    @property
    def main_objective(self) -> Objective:
        """The one that most steps have; it is the one that held-out rows are scored with."""
        return self.batches.objectives[int(np.argmax(self.batches.shares))]


def assemble(options: "Pretrain") -> Assembly:
    """Makes the parts; nothing is written.

    Raises:
        ValueError, FileNotFoundError: one line: shards, vocabulary, model, mesh and batch do not fit each other.
    """
    rate = PiecewiseLinear(options.learning_rate, options.multipliers())
    rows = open_rows(options)
    objectives = make_objectives(options, rows)
    start_run(options.seed, options.precision)
    sizes = parse_mesh(options.mesh or f"data={jax.device_count()}")
    if options.batch_size % (options.accumulate * sizes["data"]):
        raise UserError(
            "{field:batch_size} must be a multiple of {field:accumulate} x the data places of the mesh. "
            "Received: {batch_size}, {accumulate} x {places}.",
            batch_size=options.batch_size,
            accumulate=options.accumulate,
            places=sizes["data"],
        )
    mesh = use_mesh(f"data={sizes['data']},model={sizes['model']}").device_mesh.backend_mesh
    check_places([[device.process_index for device in row] for row in mesh.devices], jax.process_count())
    model = build_model(options, rows, objectives)
    check_heads(model.config.num_heads, sizes)
    return Assembly(
        rows=rows,
        batches=make_batches(options, rows, objectives),
        sizes=sizes,
        mesh=mesh,
        model=model,
        optimizer=make_optimizer(options, rate),
        rate=rate,
    )


def open_rows(options: "Pretrain") -> ShardSet:
    """The shards, made with the vocabulary of the model that the run goes on from, if there is one."""
    vocab: dict[str, int] | Path | None = options.shards / "vocab.txt"
    if options.source is not None:
        vocab = _vocab_beside(options.source) or vocab
    if isinstance(vocab, Path) and not vocab.is_file():
        vocab = None  # the shards have a tokenizer of another kind
    rows = ShardSet(
        options.shards, vocab=vocab, skip_unreadable=options.skip_unreadable, check_digests=options.check_digests
    )
    if rows.skipped:
        say(f"{len(rows.skipped)} unreadable shards left out: {', '.join(rows.skipped)}")
    return rows


def _vocab_beside(checkpoint: Path) -> dict[str, int] | Path | None:
    """The vocabulary of a checkpoint: the path of its vocab.txt, or that of a tokenizer of another kind, if any."""
    folder = checkpoint if checkpoint.is_dir() else checkpoint.parent
    if (folder / "vocab.txt").is_file():
        return folder / "vocab.txt"
    return dict(open_tokenizer(folder).vocab) if any((folder / name).is_file() for name in TOKENIZER_FILES) else None


def make_objectives(options: "Pretrain", rows: ShardSet) -> list[Objective]:
    """The ways to make examples."""
    tokenizer, mixture = rows.tokenizer(), parse_mixture(options.objective)
    isolate = rows.isolate_documents if options.isolate_documents is None else options.isolate_documents
    return [
        Objective(
            name=name,
            vocab=tokenizer.vocab,
            specials=tokenizer.specials,
            special_ids=tokenizer.special_ids,
            seq_length=rows.seq_length,
            mask_rate=options.mask_rate,
            isolate_documents=isolate,
            segments=len(mixture) > 1 and name == "lm",
        )
        for name in mixture
    ]


def make_batches(options: "Pretrain", rows: ShardSet, objectives: list[Objective]) -> Batches:
    """The batches of this process."""
    return Batches(
        rows=rows,
        objectives=objectives,
        shares=list(parse_mixture(options.objective).values()),
        batch_size=options.batch_size,
        num_steps=options.num_steps,
        accumulate=options.accumulate,
        seed=options.seed,
        num_held_out=options.valid_rows,
        process_index=jax.process_index(),
        process_count=jax.process_count(),
    )


def build_model(options: "Pretrain", rows: ShardSet, objectives: list[Objective]) -> Transformer:
    """A built model that reads the rows: from the checkpoint, or with random weights.

    Raises:
        ValueError, FileNotFoundError: a config or checkpoint that cannot be read or does not fit the rows.
    """
    attention = objectives[0].attention if len(objectives) == 1 else "unilm"
    rates = {"dropout": options.dropout, "attention_dropout": options.attention_dropout}
    overrides: dict[str, Any] = {name: rate for name, rate in rates.items() if rate is not None}
    overrides |= {"attention": attention, "pad_id": rows.tokenizer().pad_id}
    own_config = Path(options.config) if options.config.endswith(".json") else None
    if options.source is not None:
        given = own_config or options.source
        path = config_file(given if given.suffix == ".json" or given.is_dir() else given.parent)
        model = build_transformer_model(path, options.source, with_mlm="linear", skip=options.skip_weights, **overrides)
    else:
        if own_config is not None:
            config = config_from_json(read_json_object(own_config), own_config, None, **overrides)
        else:
            config = named_config(options.config, rows.vocab_size, rows.seq_length, **overrides)
        model = Transformer(config, with_mlm="linear")
        model.build()
    _require_fit(model.config, rows)
    model.recompute = options.recompute
    fuse_attention(model, rows.seq_length)
    return model


def _require_fit(config: TransformerConfig, rows: ShardSet) -> None:
    if config.vocab_size != rows.vocab_size:
        raise UserError(
            "{shards}: rows of {theirs} tokens do not fit a model of {ours}; make shards with the model's vocab.txt, "
            "or give another {field:config}.",
            shards=rows.directory,
            theirs=rows.vocab_size,
            ours=config.vocab_size,
        )
    if config.position_reach < rows.seq_length:
        raise UserError(
            "{shards}: rows of {length} tokens are longer than the model's {reach} positions; make shards with a "
            "smaller {field:seq_length}, or give another {field:config}.",
            shards=rows.directory,
            length=rows.seq_length,
            reach=config.position_reach,
        )


def make_optimizer(options: "Pretrain", rate: PiecewiseLinear) -> keras.optimizers.Optimizer:
    """LAMB, or AdamW, which is LAMB that adapts no weight."""
    settings: dict[str, Any] = {"global_clipnorm": options.clip_norm, "use_ema": options.ema is not None}
    if options.ema is not None:
        settings["ema_momentum"] = options.ema
    unadapted = UNDECAYED if options.optimizer == "lamb" else ("",)
    return Lamb(rate, weight_decay_rate=options.weight_decay, exclude_from_layer_adaptation=unadapted, **settings)
