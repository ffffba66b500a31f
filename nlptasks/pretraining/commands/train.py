"""Pretrains BERT on shards made by `shards`, on a CPU, one GPU, many GPUs or a TPU.

    nlptasks pretraining train --shards runs/shards --output runs/bert --config tiny --num-steps 1000

On 8 GPUs or a TPU slice of 8 chips: `--mesh data=8`. Stopped at any moment (Ctrl-C, SIGTERM, even SIGKILL), the same
command with `--resume` goes on from the last checkpoint and ends with the same weights. See pretraining/README.md.
"""

import os
import sys

os.environ["KERAS_BACKEND"] = "jax"  # before Keras is imported: meshes and TPUs are JAX's
if "--deterministic" in sys.argv:
    os.environ["XLA_FLAGS"] = os.environ.get("XLA_FLAGS", "") + " --xla_gpu_deterministic_ops=true"

import dataclasses
import functools
import json
import re
from dataclasses import dataclass
from pathlib import Path

import jax
import keras
import numpy as np

from nlptasks.applications.options import require_positive
from nlptasks.backend.mesh import check_heads, check_places, parse_mesh, use_mesh
from nlptasks.checkpoints.configs import config_from_json
from nlptasks.checkpoints.huggingface import save_directory
from nlptasks.console import say
from nlptasks.core.transformer import Transformer
from nlptasks.files import read_json_object, write_text
from nlptasks.loading import build_transformer_model, config_file
from nlptasks.pretraining.checkpoints import Checkpoints
from nlptasks.pretraining.configs import named_config, step_flops
from nlptasks.pretraining.loader import Batches, held_out_batches, read_ahead, unigram_baseline
from nlptasks.pretraining.monitor import Monitor
from nlptasks.pretraining.objectives import Objective, parse_mixture
from nlptasks.pretraining.run import RunSettings, everywhere, fused_attention_problem, matmul_rate, run_steps, seek
from nlptasks.pretraining.shards import ShardSet
from nlptasks.pretraining.step import State, make_step, state_of
from nlptasks.text.vocab import load_vocab
from nlptasks.train.optimizers import UNDECAYED, Lamb, PiecewiseLinear
from nlptasks.train.run import PRECISIONS, start_run

OPTIONS, SCORES = "options.json", "scores.json"
# what may differ between a run and its continuation
CHANGEABLE = ("output", "resume", "shards", "checkpoint", "mesh", "save_every", "keep", "log_every", "num_workers")
CHANGEABLE += ("skip_bad_steps", "spike", "tensorboard", "distributed", "coordinator", "num_processes", "process_id")
CHANGEABLE += ("deterministic", "check_digests", "peak_tflops", "learning_rate", "valid_every", "precision")


@dataclass(kw_only=True)
class Pretrain:
    """Pretrain BERT on shards."""

    shards: Path
    """folder written by make_shards.py"""
    output: Path
    """folder of the run: checkpoints while it goes on, the model at its end"""
    config: str = "base"
    """tiny, mini, small, base or large, with a + behind it for larger keys, or a config.json"""
    checkpoint: Path | None = None
    """go on from this model instead of random weights: a directory, or a file of weights (bert4keras' HDF5, a
    TensorFlow checkpoint) with its config beside it or given as --config FILE.json"""
    objective: str = "mlm"
    """mlm, lm or unilm, or a mixture by steps: mlm=2,unilm=1"""
    mask_rate: float = 0.15
    """share of a row's tokens that mlm hides"""
    isolate_documents: bool | None = None
    """tokens see their own document only; left out, what the shards were made for"""
    num_steps: int = 100_000
    """updates of the whole run"""
    batch_size: int = 256
    """rows of an update, over all devices and parts"""
    accumulate: int = 1
    """parts in which an update's rows are computed one after the other: less memory, the same gradients"""
    learning_rate: float = 1e-4
    """the highest rate"""
    schedule: str | None = None
    """multipliers of the rate at steps, linear between them: 10000=1,100000=0; left out, up for 1 % of the steps and
    down to 0"""
    optimizer: str = "adamw"
    """adamw or lamb (for large batches)"""
    weight_decay: float = 0.01
    """of all weights but biases and norms"""
    clip_norm: float | None = 1.0
    """bound of the gradients' global norm"""
    ema: float | None = None
    """exponential moving average of the weights with this momentum, validated no differently but saved as the model"""
    dropout: float | None = None
    """of hidden states; left out, the config's (0.1)"""
    attention_dropout: float | None = None
    """of attention; left out, the config's (0.1); 0 lets a GPU use its fused attention"""
    precision: str = "float32"
    """float32 or bfloat16"""
    recompute: bool = False
    """keep no activations inside of the layers and compute them again for the gradient"""
    mesh: str | None = None
    """devices: data=8, or data=4,model=2 to cut the weights, too; left out, all devices as data"""
    valid_rows: int = 512
    """rows held out for validation; 0: none"""
    valid_every: int = 1000
    """steps between two validations"""
    save_every: int = 1000
    """steps between two checkpoints"""
    keep: int = 3
    """checkpoints kept"""
    log_every: int = 50
    """steps of a line of the log"""
    num_workers: int = 0
    """processes that prepare batches; 0: threads"""
    spike: float | None = None
    """a loss so many times the usual one is a bad step"""
    skip_bad_steps: int = 0
    """leave out so many bad steps (not finite, or a spike) before stopping"""
    skip_unreadable: bool = False
    """leave shards out that cannot be read, counted"""
    check_digests: bool = False
    """read every shard once before the run and compare its SHA-256"""
    tensorboard: bool = False
    """also write TensorBoard events"""
    deterministic: bool = False
    """on GPUs: the same bits in every run, at some cost"""
    peak_tflops: float | None = None
    """rate of one device that MFU is measured against; left out, that of its matrix product, measured at the start"""
    distributed: bool = False
    """one of several processes of a TPU pod or a cluster that tells JAX about itself"""
    coordinator: str | None = None
    """HOST:PORT of the first process, where nothing tells"""
    num_processes: int | None = None
    """with --coordinator: how many processes"""
    process_id: int | None = None
    """with --coordinator: which one this is, from 0"""
    seed: int = 0
    """of weights, order, masks and dropout"""
    resume: bool = False
    """go on from the newest whole checkpoint in --output"""

    def run(self) -> None:
        """Read, build, train, save."""
        self._check()
        self._join()
        first = jax.process_index() == 0
        rows = ShardSet(
            self.shards,
            vocab=self._vocab_file(),
            skip_unreadable=self.skip_unreadable,
            check_digests=self.check_digests,
        )
        if rows.skipped:
            say(f"{len(rows.skipped)} unreadable shards left out: {', '.join(rows.skipped)}")
        vocab = load_vocab(self.shards / "vocab.txt")
        mixture = parse_mixture(self.objective)
        isolate = rows.isolate_documents if self.isolate_documents is None else self.isolate_documents
        objectives = [
            Objective(
                name=name,
                vocab=vocab,
                seq_length=rows.seq_length,
                mask_rate=self.mask_rate,
                isolate_documents=isolate,
                segments=len(mixture) > 1 and name == "lm",
            )
            for name in mixture
        ]
        start_run(self.seed, self.precision)
        sizes = parse_mesh(self.mesh or f"data={jax.device_count()}")
        self._check_rows(sizes)
        mesh = use_mesh(f"data={sizes['data']},model={sizes['model']}").device_mesh.backend_mesh
        check_places([[device.process_index for device in row] for row in mesh.devices], jax.process_count())
        model = self._model(rows, objectives)
        check_heads(model.config.num_heads, sizes)
        optimizer = self._optimizer()
        state = state_of(model, optimizer)
        batches = Batches(
            rows=rows,
            objectives=objectives,
            shares=list(mixture.values()),
            batch_size=self.batch_size,
            num_steps=self.num_steps,
            accumulate=self.accumulate,
            seed=self.seed,
            num_held_out=self.valid_rows,
            process_index=jax.process_index(),
            process_count=jax.process_count(),
        )
        with Checkpoints((self.output / "checkpoints").absolute(), self.keep) as checkpoints:
            options = self._identity(model, rows)
            progress = {"step": 0, "skipped": 0, "seconds": 0.0, "pending": [], "first": 0, "data": None}
            progress |= {"options": options, "workers": self.num_workers}
            if (restored := checkpoints.restore_newest(state, say)) is not None:
                step, state, progress = restored
                self._compare(progress["options"], options)
                say(f"going on from step {step}")
            elif (self.output / OPTIONS).is_file():
                self._compare(read_json_object(self.output / OPTIONS)["run"], options)
                say("no checkpoint was finished; beginning anew")
            elif first:
                self.output.mkdir(parents=True, exist_ok=True)
                given = json.loads(json.dumps(dataclasses.asdict(self), default=str))
                write_text(self.output / OPTIONS, json.dumps({"run": options, "given": given}, indent=1) + "\n")
            if progress["workers"] != self.num_workers:  # whose state is of another kind: count from here
                progress |= {"workers": self.num_workers, "first": progress["step"], "data": None}
            iterator = read_ahead(batches, self.num_workers, first=progress["first"])
            seek(iterator, progress["data"])
            main = objectives[int(np.argmax(batches.shares))]
            flops, peak = self._rates(model, objectives, batches.shares, rows.seq_length, sizes)
            if first:
                say(self._description(model, rows, flops, peak, sizes))
            baseline = unigram_baseline(rows, main, self.valid_rows) if self.valid_rows else {}
            if first and baseline:
                say(
                    f"unigram baseline on the held-out rows: perplexity {baseline['perplexity']:.2f}, "
                    f"accuracy {baseline['accuracy']:.2%}"
                )
            monitor = Monitor(
                self.output if first else None,
                self.num_steps,
                self.log_every,
                flops,
                peak,
                say if first else lambda line: None,
                first_step=progress["step"],
                seconds=progress["seconds"],
                skipped=progress["skipped"],
                pending=progress["pending"],
                tensorboard=self.tensorboard,
            )
            held_out = functools.partial(held_out_batches, rows, main, self.valid_rows, self._valid_batch(sizes))
            settings = RunSettings(
                num_steps=self.num_steps,
                save_every=self.save_every,
                valid_every=self.valid_every,
                skip_bad_steps=self.skip_bad_steps,
                learning_rate=PiecewiseLinear(self.learning_rate, self._multipliers()),
            )
            try:
                program = make_step(model, optimizer, self.spike)
                state = run_steps(
                    program, model, state, iterator, held_out, settings, checkpoints, monitor, progress, mesh
                )
            finally:
                monitor.close()
        self._save(state, model, optimizer, rows, first, baseline, monitor)

    def _check(self) -> None:
        """What is wrong with the options alone."""
        require_positive(
            self, "num_steps", "batch_size", "accumulate", "valid_every", "save_every", "keep", "log_every"
        )
        for name, least in (("valid_rows", 0), ("num_workers", 0), ("skip_bad_steps", 0), ("weight_decay", 0)):
            if getattr(self, name) < least:
                raise ValueError(
                    f"--{name.replace('_', '-')} must be at least {least}. Received: {getattr(self, name)}."
                )
        for name in ("learning_rate", "clip_norm", "spike", "peak_tflops"):
            if getattr(self, name) is not None and not getattr(self, name) > 0:
                raise ValueError(f"--{name.replace('_', '-')} must be positive. Received: {getattr(self, name)}.")
        if self.optimizer not in ("adamw", "lamb"):
            raise ValueError(f"--optimizer is adamw or lamb. Received: {self.optimizer!r}.")
        if self.precision not in PRECISIONS:
            raise ValueError(f"--precision is one of {', '.join(PRECISIONS)}. Received: {self.precision!r}.")
        for path in (self.shards, self.output):
            if re.match(r"\w+:/", str(path)):
                raise ValueError(
                    f"{path}: buckets are read and written as folders; mount it (gcsfuse, say) and name that."
                )
        if self.coordinator is None and (self.num_processes is not None or self.process_id is not None):
            raise ValueError("--num-processes and --process-id go with --coordinator.")
        if self.coordinator is not None and self.distributed:
            raise ValueError(
                "--coordinator is for processes that nothing tells about each other; leave --distributed out."
            )
        parse_mixture(self.objective)
        self._multipliers()
        there = (self.output / "checkpoints").is_dir() or (self.output / OPTIONS).is_file()
        if there and not self.resume:
            raise ValueError(f"{self.output}: holds a run already; --resume continues it, or give another --output.")
        if self.resume and not there:
            raise ValueError(f"{self.output}: no interrupted run here; leave --resume out to start one.")

    def _join(self) -> None:
        """Meets the other processes, before any device is used."""
        if self.coordinator is not None:
            if self.num_processes is None or self.process_id is None:
                raise ValueError("--coordinator goes with --num-processes and --process-id.")
            jax.distributed.initialize(self.coordinator, self.num_processes, self.process_id)
        elif self.distributed:
            jax.distributed.initialize()

    def _vocab_file(self) -> Path:
        """The vocabulary that the shards must have been made with."""
        if self.checkpoint is not None:
            path = (self.checkpoint if self.checkpoint.is_dir() else self.checkpoint.parent) / "vocab.txt"
            if path.is_file():
                return path
        return self.shards / "vocab.txt"

    def _check_rows(self, sizes) -> None:
        if self.batch_size % (self.accumulate * sizes["data"]):
            raise ValueError(
                "--batch-size must be a multiple of --accumulate x the data places of the mesh. "
                f"Received: {self.batch_size}, {self.accumulate} x {sizes['data']}."
            )

    def _valid_batch(self, sizes) -> int:
        """Rows of a validation batch: about as many as a part has, and a multiple of the mesh."""
        return max(1, min(64, self.batch_size // self.accumulate) // sizes["data"]) * sizes["data"]

    def _model(self, rows: ShardSet, objectives: list[Objective]) -> Transformer:
        attention = objectives[0].attention if len(objectives) == 1 else "unilm"
        rates = {"dropout": self.dropout, "attention_dropout": self.attention_dropout}
        overrides = {name: rate for name, rate in rates.items() if rate is not None} | {"attention": attention}
        if self.checkpoint is not None:
            given = Path(self.config) if self.config.endswith(".json") else self.checkpoint
            path = config_file(given if given.suffix == ".json" or given.is_dir() else given.parent)
            model = build_transformer_model(path, self.checkpoint, with_mlm="linear", **overrides)
        else:
            if self.config.endswith(".json"):
                path = Path(self.config)
                config = config_from_json(read_json_object(path), path, None, **overrides)
            else:
                config = named_config(self.config, rows.vocab_size, rows.seq_length, **overrides)
            model = Transformer(config, with_mlm="linear")
            model.build()
        config = model.config
        if config.vocab_size != rows.vocab_size:
            raise ValueError(
                f"{self.shards}: rows of {rows.vocab_size} tokens do not fit a model of {config.vocab_size}; make "
                "shards with the model's vocab.txt, or give another --config."
            )
        if config.position_reach < rows.seq_length:
            raise ValueError(
                f"{self.shards}: rows of {rows.seq_length} tokens are longer than the model's {config.position_reach} "
                "positions; make shards with a smaller --seq-length, or give another --config."
            )
        model.recompute = self.recompute
        if model.blocks[0].attention.can_fuse() and jax.default_backend() == "gpu":
            policy = keras.config.dtype_policy().name
            problem = fused_attention_problem(config.num_heads, config.key_size, rows.seq_length, policy)
            model.fused_attention = problem is None
            say("fused attention" if problem is None else f"attention is not fused: {problem}")
        return model

    def _multipliers(self) -> dict[int, float]:
        if self.schedule is None:
            rising = max(1, self.num_steps // 100)
            return {0: 1 / rising, rising: 1.0, self.num_steps + 1: 0.0}
        try:
            points = [part.split("=") for part in self.schedule.split(",")]
            found = {int(step): float(value) for step, value in points}
        except ValueError:
            raise ValueError(
                f"--schedule takes steps and multipliers, as in 10000=1,100000=0. Received: {self.schedule!r}."
            ) from None
        PiecewiseLinear(self.learning_rate, found)
        return found

    def _optimizer(self) -> keras.optimizers.Optimizer:
        rate = PiecewiseLinear(self.learning_rate, self._multipliers())
        settings = {"global_clipnorm": self.clip_norm, "use_ema": self.ema is not None}
        if self.ema is not None:
            settings["ema_momentum"] = self.ema
        unadapted = UNDECAYED if self.optimizer == "lamb" else ("",)  # LAMB that adapts no weight is AdamW
        return Lamb(rate, weight_decay_rate=self.weight_decay, exclude_from_layer_adaptation=unadapted, **settings)

    def _identity(self, model: Transformer, rows: ShardSet) -> dict:
        """The options that make a run what it is, as they stand in JSON."""
        values = {n: v for n, v in dataclasses.asdict(self).items() if n not in (*CHANGEABLE, "config")}
        values["model"] = model.config.to_dict()
        values["shards"] = repr(rows)
        return json.loads(json.dumps(values, default=str))

    def _compare(self, former: dict, options: dict) -> None:
        """Refuses to go on with what makes another run."""
        for name in sorted(former.keys() | options.keys()):
            if former.get(name) != options.get(name):
                raise ValueError(
                    f"{self.output}: the run was started with {name}={former.get(name)!r}, now "
                    f"{name}={options.get(name)!r}; resume with the same options, or start anew in another --output."
                )

    def _rates(self, model, objectives, shares, seq_length, sizes):
        """Operations of a step on average, and what all devices can do in a second."""
        flops = sum(
            share * step_flops(model.config, self.batch_size, seq_length, objective.num_targets)
            for share, objective in zip(shares, objectives, strict=True)
        )
        dtype = "bfloat16" if self.precision == "bfloat16" else "float32"
        rate = matmul_rate(dtype) if self.peak_tflops is None else self.peak_tflops * 1e12
        # CPU devices share their cores
        devices = 1 if jax.default_backend() == "cpu" else sizes["data"] * sizes["model"]
        return flops, rate * devices

    def _description(self, model, rows, flops, peak, sizes) -> str:
        config = model.config
        return (
            f"{model.count_params():,} weights ({config.num_layers} layers, hidden {config.hidden_size}), "
            f"{len(rows):,} rows of {rows.seq_length} tokens, {self.batch_size} a step on data={sizes['data']},"
            f"model={sizes['model']} ({jax.devices()[0].device_kind}); {flops / 1e12:.3f} TFLOP a step, "
            f"peak {peak / 1e12:.2f} TFLOP/s"
        )

    def _save(self, state: State, model, optimizer, rows, first, baseline, monitor) -> None:
        """The model directory, with the averages where they are kept."""
        weights = state.trainable
        if self.ema is not None:
            kept = [i for i, variable in enumerate(optimizer.variables) if variable.path.endswith("_average")]
            weights = [state.optimizer[i] for i in kept]
        weights = everywhere(weights)
        if not first:
            return
        keras.distribution.set_distribution(None)
        whole = Transformer.from_config(model.get_config())  # the one that was trained lies in parts on the devices
        whole.build()
        for variable, value in zip(whole.trainable_variables, weights, strict=True):
            variable.assign(value)
        save_directory(whole, self.output)
        rows.tokenizer().save(self.output)
        held_out = [row for row in monitor.rows if "valid_loss" in row][-1:]
        scores = {name: row[name] for row in held_out for name in row if name.startswith("valid_")}
        scores |= {"steps": self.num_steps, "skipped": monitor.skipped, "seconds": round(monitor.seconds, 1)}
        scores |= {f"unigram_{name}": value for name, value in baseline.items()}
        write_text(self.output / SCORES, json.dumps(scores, indent=1) + "\n")
        print(json.dumps(scores))
