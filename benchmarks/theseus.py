"""What BERT-of-Theseus keeps and saves: accuracy of compressed classifiers over three seeds, sizes, latency, step time.

    NLPTASKS_DATA=... python benchmarks/theseus.py --output docs/theseus_scores.md

No pretrained checkpoint is at hand where this was written, so the predecessors are trained from random weights. All
systems of a seed see the same lines. Test lines (the development file) are read once, for the score; the best epoch is
chosen on every tenth training line. A run that is interrupted keeps what it has: give the same --work again.

    NLPTASKS_DATA=... python benchmarks/theseus.py --checkpoint DIR --only iflytek --output theseus.json

compresses a pretrained checkpoint of 12 layers to 6 instead (see finetuning.py), with the replacement and without:
six layers that are fine-tuned directly, for as many steps as all stages together. All lines of the training file, fixed
epochs, the last one scored; the lines of the three seeds differ in their order only.
"""

import argparse
import dataclasses
import functools
import json
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import numpy as np
from finetuning import (
    DROPOUT,
    Plan,
    Record,
    Trainer,
    add_arguments,
    checkpoint_encoder,
    copy_values,
    limited,
    percent,
    without_test,
)
from record import surroundings

from nlptasks.files import write_text
from nlptasks.text.labeled import Columns, LabeledText, read_labeled

ROOT = Path(__file__).parent.parent
SEEDS = (1, 2, 3)
LAYERS, SUCCESSOR_LAYERS = 4, 2
MODEL = ("--hidden-size", "96", "--num-heads", "4", "--ffn-size", "384", "--seq-length", "64", "--pooling", "mean")
TRAINING = ("--batch-size", "32", "--warmup-share", "0.1", "--decay", "--clip-norm", "1")
RATE, LAST_RATE = "1e-3", "3e-4"
TEMPERATURE = 2.0


class Task(NamedTuple):
    """A data set: its files, every how-manieth training line is used, columns, and epochs of the three stages."""

    title: str
    train: str
    test: str
    every: int
    names: tuple[str, ...]
    epochs: tuple[int, int, int]


TASKS = {
    "iflytek": Task(
        "iflytek, 119 classes",
        "classification/iflytek_train.jsonl",
        "classification/iflytek_dev.jsonl",
        1,
        (),
        (10, 3, 2),
    ),
    "chnsenticorp": Task(
        "ChnSentiCorp, 2 classes",
        "classification/chnsenticorp_train.tsv",
        "classification/chnsenticorp_dev.tsv",
        2,
        ("label", "text"),
        (3, 2, 1),
    ),
}
THESEUS = {
    "Theseus, coin, constant 0.5": ("--schedule", "constant", "--rate", "0.5"),
    "Theseus, coin, linear from 0.5": ("--schedule", "linear", "--rate", "0.5"),
    "Theseus, annealed, linear from 0": ("--mixing", "anneal", "--schedule", "linear", "--rate", "0"),
}
PREDECESSOR, SCRATCH = "predecessor", f"{SUCCESSOR_LAYERS} layers from random weights, steps of all stages"
FIRST = f"first {SUCCESSOR_LAYERS} layers of the predecessor, fine-tuned for the steps of stages 2 and 3"
DISTILLED = "the same, with logits distillation"
SYSTEMS = (PREDECESSOR, SCRATCH, FIRST, DISTILLED, *THESEUS)


def split(task: Task, data: Path, folder: Path) -> dict[str, Path]:
    """Writes the training, validation and test lines; returns their files."""
    lines = (data / task.train).read_text(encoding="utf-8").removesuffix("\n").split("\n")[:: task.every]
    test = (data / task.test).read_text(encoding="utf-8").removesuffix("\n").split("\n")
    parts = {"train": [line for i, line in enumerate(lines) if i % 10], "valid": lines[::10], "test": test}
    files = {name: folder / f"{name}{Path(task.train).suffix}" for name in parts}
    for name, part in parts.items():
        write_text(files[name], "".join(f"{line}\n" for line in part))
    return files


def call(script: str, *arguments: object) -> None:
    """Runs a task script, resuming what an interrupted benchmark has left."""
    command = [sys.executable, str(ROOT / "tasks" / script), "train", *map(str, arguments)]
    run = Path(arguments[arguments.index("--output") + 1])
    if (run / "options.json").is_file():
        command.append("--resume")
    done = subprocess.run(command, capture_output=True, encoding="utf-8", check=False, cwd=ROOT)
    if done.returncode:
        raise SystemExit(f"{' '.join(command)}\n{done.stderr[-2000:]}")


def train_system(task: Task, system: str, seed: int, files: dict[str, Path], folder: Path) -> Path:
    """Trains one system; returns its run directory."""
    run = folder / f"run_{SYSTEMS.index(system)}_{seed}"
    predecessor = folder / f"run_0_{seed}"
    columns = ("--columns", *task.names) if task.names else ()
    shared = ("--train", files["train"], "--valid", files["valid"], "--output", run, "--seed", seed)
    shared = (*shared, *columns, *TRAINING)
    first, second, third = task.epochs
    if system in (PREDECESSOR, SCRATCH):
        layers, epochs = (LAYERS, first) if system == PREDECESSOR else (SUCCESSOR_LAYERS, sum(task.epochs))
        sizes = ("--num-layers", layers, "--epochs", epochs, "--learning-rate", RATE)
        call("text_classification.py", *shared, *MODEL, *sizes)
    elif system in THESEUS:
        stages = ("--replacement-epochs", second, "--successor-epochs", third)
        stages += ("--replacement-learning-rate", RATE, "--learning-rate", LAST_RATE)
        given = ("--task", "classification", "--predecessor", predecessor, "--successor-layers", SUCCESSOR_LAYERS)
        call("theseus_compression.py", *shared, *given, *stages, *THESEUS[system])
    else:
        train_student(task, predecessor, files, run, second + third, seed, distilled=system == DISTILLED)
    return run


def train_student(
    task: Task, teacher: Path, files: dict[str, Path], run: Path, epochs: int, seed: int, distilled: bool
) -> None:
    """The teacher's first layers, fine-tuned with its classifier, plainly or with the teacher's logits as well.

    Distillation (arXiv 1503.02531): half cross-entropy with the labels, half that with the teacher's probabilities, at
    temperature 2, times its square.
    """
    from keras import ops

    import nlptasks
    from nlptasks.applications.classification.classifier import ClassificationExamples
    from nlptasks.applications.classification.training import ClassifierOptions
    from nlptasks.applications.compression.theseus import make_successor
    from nlptasks.train.experiment import Experiment
    from nlptasks.train.run import start_run

    start_run(seed)
    old = nlptasks.load(teacher)
    student = make_successor(old, SUCCESSOR_LAYERS)
    training, validation = (read_part(task, files[part]) for part in ("train", "valid"))
    found = old.predict([text.text for text in training]) if distilled else []
    log_p = np.array([[np.log(max(one.scores[label], 1e-30)) for label in old.labels] for one in found], "float32")

    class Taught(ClassificationExamples):
        def arrays(self, indices: np.ndarray, batch_size: int) -> dict:
            batch = dict(super().arrays(indices, batch_size))
            soft = np.exp(log_p[indices] / TEMPERATURE)
            batch["teacher"] = np.zeros_like(batch["targets"])
            batch["teacher"][: len(indices)] = soft / soft.sum(axis=1, keepdims=True)
            return batch

    def taught_loss(batch: dict):
        logits_BC = student.logits(batch["token_ids"], batch["segment_ids"], training=True)
        hard_B = ops.categorical_crossentropy(batch["targets"], logits_BC, from_logits=True)
        soft_B = ops.categorical_crossentropy(batch["teacher"], logits_BC / TEMPERATURE, from_logits=True)
        loss_B = 0.5 * hard_B + 0.5 * TEMPERATURE**2 * soft_B
        return ops.sum(loss_B * batch["weights"]) / ops.maximum(ops.sum(batch["weights"]), 1.0)

    kind = Taught if distilled else ClassificationExamples
    examples = kind(student, [text.text for text in training], [text.labels for text in training], seed)
    if distilled:
        student.loss = taught_loss
    steps = {"epochs": epochs, "batch_size": 32, "learning_rate": float(RATE)}
    steps |= {"warmup_share": 0.1, "decay": True, "clip_norm": 1.0}
    options = ClassifierOptions(output=run, resume=(run / "options.json").is_file(), seed=seed, **steps)
    Experiment(options, student, examples, lambda: {"accuracy": accuracy(student, validation)}, "accuracy").run()


def read_part(task: Task, path: Path) -> list[LabeledText]:
    """The texts of a file with their labels."""
    return read_labeled(path, Columns(names=task.names or None))


def accuracy(classifier, texts: list[LabeledText]) -> float:
    """Percent of the texts whose label is found."""
    found = classifier.predict([text.text for text in texts])
    return 100 * statistics.mean(one.labels == text.labels for one, text in zip(found, texts, strict=True))


def measured(name: str, system: str, seed: int, files: dict[str, Path], folder: Path, finished: bool) -> list[dict]:
    """The result of one run, from `folder` where it is there already; none if it is not and only those are wanted."""
    path = folder / f"score_{SYSTEMS.index(system)}_{seed}.json"
    if finished and not path.is_file():
        return []
    if not path.is_file():
        import nlptasks

        print(f"{name}: {system}, seed {seed}", file=sys.stderr, flush=True)
        started = time.monotonic()
        run = train_system(TASKS[name], system, seed, files, folder)
        result = {"test": accuracy(nlptasks.load(run), read_part(TASKS[name], files["test"]))}
        write_text(path, json.dumps(result | {"seconds": time.monotonic() - started}))
    return [json.loads(path.read_text(encoding="utf-8"))]


def accuracy_table(name: str, results: dict[str, list[dict]], files: dict[str, Path]) -> list[str]:
    """Mean and spread (lowest to highest) of each system on one data set, and its distance from the predecessor."""
    counts = {part: sum(1 for _ in path.open(encoding="utf-8")) for part, path in files.items()}
    epochs = " + ".join(map(str, TASKS[name].epochs))
    lines = [
        f"## {TASKS[name].title}",
        "",
        f"{counts['train']} training, {counts['valid']} validation and {counts['test']} test lines; epochs of the "
        f"three stages: {epochs}. Percent of the test lines; mean (lowest to highest).",
        "",
        "| system | layers | runs | accuracy | minus predecessor, seed by seed |",
        "|---|---|---|---|---|",
    ]
    for system, runs in results.items():
        if not runs:
            continue
        values = [run["test"] for run in runs]
        pairs = [run["test"] - of["test"] for run, of in zip(runs, results[PREDECESSOR], strict=False)]
        shown = ", ".join(f"{value:+.2f}" for value in pairs) if system != PREDECESSOR else ""
        layers = LAYERS if system == PREDECESSOR else SUCCESSOR_LAYERS
        spread = f"{statistics.mean(values):.2f} ({min(values):.2f} to {max(values):.2f})"
        lines.append(f"| {system} | {layers} | {len(values)} | {spread} | {shown} |")
    return [*lines, ""]


# From a checkpoint

FINE_TUNED, COMPRESSED, DIRECT, FROM_PREDECESSOR = (
    "predecessor",
    "Theseus",
    "first half of the checkpoint's layers, steps of all stages",
    "first half of the predecessor's layers, steps of stages 2 and 3",
)


@dataclasses.dataclass(frozen=True)
class Tuning:
    """How a checkpoint is compressed where the command line does not say."""

    epochs: tuple[int, int, int] = (12, 10, 6)
    learning_rate: float = 1e-4
    replacement_rate: float = 2e-4  # of learning
    batch_size: int = 32
    seq_length: int = 128
    rise_share: float = 0.8  # of the replacement, after which all layers are replaced


class Compression:
    """A data set, a checkpoint, and the programs that all seeds share."""

    def __init__(self, task: Task, files: dict[str, Path], options: argparse.Namespace) -> None:
        from nlptasks.text import open_tokenizer
        from nlptasks.text.labeled import sort_labels

        self.options, self.tuning = options, Tuning()
        self.length = options.max_length or self.tuning.seq_length
        self.size = options.batch_size or self.tuning.batch_size
        self.epochs = options.stage_epochs or self.tuning.epochs
        training = read_part(task, files["train"]) + read_part(task, files["valid"])
        test = read_part(task, files["test"])
        self.training = limited(without_test(training, test, lambda text: (text.text,)), options.limit)
        self.test = limited(test, options.limit)
        self.labels = sort_labels(label for text in self.training for label in text.labels)
        self.tokenizer = open_tokenizer(options.checkpoint)
        self.whole = self.half = self.mixed = None

    def fresh(self, seed: int):
        """A classifier on the checkpoint."""
        from nlptasks.applications.classification.classifier import Classifier, classification_model

        encoder = checkpoint_encoder(self.options, seed, self.tokenizer.pad_id)
        model = classification_model(encoder, len(self.labels), DROPOUT)
        return Classifier(model, self.tokenizer, self.labels, self.length, pooling="mean")

    def successor(self, classifier, seed: int):
        """Half of its layers."""
        from nlptasks.applications.compression.theseus import make_successor
        from nlptasks.train.run import start_run

        start_run(seed, self.options.precision)
        count = classifier.model.transformer.config.num_layers // 2
        successor = make_successor(classifier, count, self.options.init)
        successor.model.transformer.fused_attention = self.options.fused_attention
        return successor

    def run(self, trainer: Trainer, epochs: int, seed: int, rate: float | None = None) -> dict:
        """Trains what the trainer holds."""
        from nlptasks.applications.classification.classifier import ClassificationExamples

        texts, labels = [text.text for text in self.training], [text.labels for text in self.training]
        examples = ClassificationExamples(self.whole.application, texts, labels, seed)
        if trainer is self.mixed:
            from nlptasks.applications.compression.stages import RatedExamples

            schedule = argparse.Namespace(schedule="linear", rate=0.5, rise_share=self.tuning.rise_share)
            examples = RatedExamples(examples, schedule, epochs, self.size)
        rate = rate or (self.options.learning_rate or [self.tuning.learning_rate])[0]
        return trainer.run(examples, Plan(epochs, rate, self.size))

    def items(self, classifier) -> list[int]:
        """1 for every test text whose label is found."""
        found = classifier.predict([text.text for text in self.test])
        return [int(one.labels == text.labels) for one, text in zip(found, self.test, strict=True)]

    def seed(self, seed: int, record: Record) -> None:
        """All systems of a seed."""
        first, second, third = self.epochs
        self.start_predecessor(seed)
        ran = self.run(self.whole, first, seed)
        self.add(record, FINE_TUNED, seed, self.whole.application, ran)
        old = self.whole.application

        self.start_replacement(self.successor(old, seed), seed)
        ran = self.run(self.mixed, second, seed + 100, self.tuning.replacement_rate)
        record.write(replaced={**record.content.get("replaced", {}), str(seed): ran})
        last = self.run(self.half, third, seed + 200)
        self.add(record, COMPRESSED, seed, self.half.application, last)

        self.half.become(self.successor(old, seed))
        ran = self.run(self.half, second + third, seed + 100)
        self.add(record, FROM_PREDECESSOR, seed, self.half.application, ran)

        self.half.become(self.successor(self.fresh(seed), seed))
        ran = self.run(self.half, first + second + third, seed)
        self.add(record, DIRECT, seed, self.half.application, ran)

    def start_predecessor(self, seed: int) -> None:
        """The checkpoint with a fresh head."""
        made = self.fresh(seed)
        if self.whole is None:
            self.whole = Trainer(made)
        else:
            self.whole.application.model.trainable = True  # the replacement has frozen it
            self.whole.become(made)

    def start_replacement(self, successor, seed: int) -> None:
        """The predecessor as it is now, and a successor, as one model; `half` trains the successor alone."""
        import nlptasks.applications.compression.theseus as library
        from nlptasks.applications.compression.stages import Replacement

        old = self.whole.application
        if self.half is None:
            self.half = Trainer(successor)
        else:
            self.half.become(successor)
        # a branch that is skipped waits for the GPU to tell which: two branches of half a small model cost less
        library.run_one = computed_both
        model = library.Theseus(old.model, self.half.application.model, seed=seed)
        if self.mixed is None:
            self.mixed = Trainer(Replacement(model, old, self.half.application))
            return
        copy_values(self.mixed.application.model, model)

    def add(self, record: Record, system: str, seed: int, classifier, ran: dict) -> None:
        """Scores a system and writes it down."""
        items = self.items(classifier)
        record.add(
            system,
            seed,
            percent(items),
            items,
            group="Theseus",
            layers=classifier.model.transformer.config.num_layers,
            **ran,
        )


def from_checkpoint(name: str, options: argparse.Namespace, data: Path, folder: Path) -> None:
    """Compresses the checkpoint on a data set with each seed and writes the scores on the test lines."""
    from nlptasks.applications.examples import padded_to

    compression = Compression(TASKS[name], split(TASKS[name], data, folder), options)
    about = {"epochs": compression.epochs, "batch_size": compression.size, "length": compression.length}
    record = Record(options.output, task=f"Theseus, {name}", checkpoint=str(options.checkpoint), **about)
    with padded_to(options.pad_to or compression.length):
        for seed in options.seeds:
            compression.seed(seed, record)


def random_classifier(layers: int, hidden: int, heads: int, vocab: int, length: int):
    """A classifier of these sizes from random weights."""
    from nlptasks.applications.classification.classifier import Classifier, classification_model
    from nlptasks.applications.scratch import scratch_config, transformer_from_scratch
    from nlptasks.text import Tokenizer, build_character_vocab

    tokens = build_character_vocab([chr(0x4E00 + i) for i in range(vocab)])
    tokenizer = Tokenizer(tokens)
    config = scratch_config(tokenizer.vocab_size, length, hidden, layers, heads, 4 * hidden, 0.1)
    model = classification_model(transformer_from_scratch(config), 2)
    return Classifier(model, tokenizer, ("0", "1"), length)


def classification_batch(classifier, rows: int, length: int) -> dict:
    """Random tokens without padding."""
    random = np.random.default_rng(7)
    targets = np.eye(len(classifier.labels), dtype="float32")[random.integers(0, len(classifier.labels), rows)]
    ids = random.integers(5, classifier.tokenizer.vocab_size, (rows, length)).astype("int32")
    return {
        "token_ids": ids,
        "segment_ids": np.zeros_like(ids),
        "targets": targets,
        "weights": np.ones(rows, "float32"),
    }


def interleaved(calls: dict[str, Callable], repeats: int, seconds: float) -> dict[str, list[float]]:
    """Seconds of each call, one after another in turn, so that what else runs on the machine hits all alike."""
    for function in calls.values():
        for _ in range(2):
            function()
    found: dict[str, list[float]] = {name: [] for name in calls}
    started = time.monotonic()
    for _ in range(repeats):
        for name, function in calls.items():
            before = time.perf_counter()
            function()
            found[name].append(time.perf_counter() - before)
        if time.monotonic() - started > seconds:
            break
    return found


def latency_table(title: str, classifiers: dict[int, object], length: int, seconds: float) -> list[str]:
    """Parameters, megabytes and latency of classifiers by their number of layers; the first is what others beat."""
    from keras import ops

    lines = [f"### {title}", "", "| layers | parameters | MB | batch 1, ms | faster | batch 16, ms | faster |"]
    lines.append("|---|---|---|---|---|---|---|")
    times = {}
    for rows in (1, 16):
        calls = {}
        for layers, classifier in classifiers.items():
            batch = classification_batch(classifier, rows, length)
            inputs = (batch["token_ids"], batch["segment_ids"])
            calls[layers] = lambda c=classifier, i=inputs: ops.convert_to_numpy(c._score(*i))
        times[rows] = interleaved(calls, 40, seconds)
    for layers, classifier in classifiers.items():
        count = classifier.model.count_params()
        cells = [f"{layers}", f"{count:,}", f"{4 * count / 1e6:.1f}"]
        for rows in (1, 16):
            mine, whole = times[rows][layers], times[rows][max(classifiers)]
            ratios = sorted(w / m for w, m in zip(whole, mine, strict=True))
            low, high = ratios[len(ratios) // 10], ratios[-1 - len(ratios) // 10]
            cells.append(f"{1000 * statistics.median(mine):.1f}")
            cells.append(
                "1" if layers == max(classifiers) else f"{statistics.median(ratios):.2f} ({low:.2f} to {high:.2f})"
            )
        lines.append("| " + " | ".join(cells) + " |")
    return [*lines, ""]


def computed_both(predicate, first: Callable, second: Callable, random_state: object) -> tuple:
    """What stands for `run_one` to measure what skipping saves: both branches, and a choice between their results."""
    from keras import ops

    return tuple(ops.where(predicate, x, y) for x, y in zip(first(), second(), strict=True))


def step_table(
    title: str,
    make: Callable,
    successors: tuple[int, ...],
    rows: int,
    length: int,
    seconds: float,
    all_kinds: bool = True,
) -> list[str]:
    """Time of a stage-2 step relative to the predecessor's fine-tuning step, at rate 0.5."""
    import nlptasks.applications.compression.theseus as library
    from nlptasks.backend import compile_train_step
    from nlptasks.train.optimizers import make_adam

    whole = make()
    layers = whole.model.transformer.config.num_layers
    plain = compile_train_step(whole.model, make_adam(1e-6, 10, decay=False), whole.loss)
    batch = classification_batch(whole, rows, length)
    calls = {"fine-tuning": lambda: float(plain(batch))}
    first = library.run_one
    for count in successors:
        for kind, choose, mixing in (
            ("coin, one branch computed", first, "coin"),
            ("coin, both computed", computed_both, "coin"),
            ("annealed", first, "anneal"),
        )[: None if all_kinds else 1]:
            old = make()
            theseus = library.Theseus(old.model, library.make_successor(old, count).model, mixing=mixing)
            optimizer = make_adam(1e-6, 10, decay=False)

            def loss(b, old=old, theseus=theseus):
                return old.loss(b, encode=functools.partial(theseus.encode, rate=b["rate"]))

            step = compile_train_step(theseus, optimizer, loss)
            mixed = {**batch, "rate": np.float32(0.5)}
            library.run_one = choose
            float(step(mixed))  # traced here
            library.run_one = first
            calls[f"{layers} to {count}, {kind}"] = lambda step=step, mixed=mixed: float(step(mixed))
    times = interleaved(calls, 40, seconds)
    lines = [f"### {title}", "", "| step | mean, ms | relative to fine-tuning |", "|---|---|---|"]
    base = statistics.mean(times["fine-tuning"])
    for name, values in times.items():
        lines.append(f"| {name} | {1000 * statistics.mean(values):.0f} | {statistics.mean(values) / base:.2f} |")
    return [*lines, ""]


def speed(part: str, seconds: float) -> list[str]:
    """The tables of one part of the speed measurements."""
    import keras

    backend = keras.backend.backend()
    if part == "latency_base":
        base = {n: random_classifier(n, 768, 12, 21123, 512) for n in (12, 6, 3)}
        return latency_table(f"BERT-base, 64 tokens, {backend}", base, 64, seconds)
    if part == "latency_small":
        small = {n: random_classifier(n, 96, 4, 3000, 64) for n in (LAYERS, SUCCESSOR_LAYERS)}
        return latency_table(f"The measured models, 64 tokens, {backend}", small, 64, seconds)
    if part == "steps_small":
        make = functools.partial(random_classifier, LAYERS, 96, 4, 3000, 64)
        title = f"The measured models, 32 x 64 tokens, {backend}"
        return step_table(title, make, (SUCCESSOR_LAYERS,), 32, 64, seconds)
    # a small vocabulary: the optimizer's copies of BERT's would not fit into the memory of a small machine
    make = functools.partial(random_classifier, 12, 768, 12, 3000, 64)
    title = f"BERT-base with a vocabulary of 3005, 8 x 64 tokens, {backend}"
    return step_table(title, make, (6,), 8, 64, seconds, all_kinds=False)


SPEED = ("latency_base", "latency_small", "steps_small", "steps_base")
BACKENDS = {"steps_small": ("tensorflow", "jax")}  # the others on the default one


def speed_lines(part: str, backend: str, seconds: float, work: Path) -> list[str]:
    """Those of a process of its own, or of `work` where they were measured already."""
    path = work / f"{part}_{backend}.md"
    if not path.is_file():
        print(f"{part} on {backend}", file=sys.stderr, flush=True)
        command = [sys.executable, __file__, "--part", part, "--output", str(path), "--seconds", str(seconds)]
        environment = os.environ | {"KERAS_BACKEND": backend, "TF_CPP_MIN_LOG_LEVEL": "2"}
        subprocess.run(command, env=environment, check=True)
    return path.read_text(encoding="utf-8").splitlines()


def main() -> None:
    """Measures what is not measured yet and writes the tables."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--output", type=Path, required=True, help="Markdown file with the tables")
    parser.add_argument("--work", type=Path, default=Path("runs/benchmark_theseus"), help="folder of the runs")
    parser.add_argument("--only", nargs="*", choices=[*TASKS, "speed"], default=[*TASKS, "speed"])
    parser.add_argument("--finished", action="store_true", help="tables of the accuracies that are there; no training")
    parser.add_argument("--part", choices=SPEED, help="one speed measurement, in this process and backend")
    parser.add_argument("--seconds", type=float, default=60, help="of each speed measurement, about")
    add_arguments(parser)
    parser.add_argument("--stage-epochs", type=int, nargs=3, help="from a checkpoint: epochs of the three stages")
    parser.add_argument("--init", choices=("first", "even"), default="first", help="layers of the successor's start")
    options = parser.parse_args()
    if options.part:
        write_text(options.output, "\n".join(speed(options.part, options.seconds)) + "\n")
        return
    work = options.work.resolve()
    if options.checkpoint is not None:
        if len(options.only) != 1 or options.only[0] not in TASKS or not os.environ.get("NLPTASKS_DATA"):
            parser.error("--checkpoint goes with one data set, named with --only, in the folder NLPTASKS_DATA.")
        name = options.only[0]
        from_checkpoint(name, options, Path(os.environ["NLPTASKS_DATA"]), work / name)
        return
    lines = [
        "# What BERT-of-Theseus keeps and saves",
        "",
        "`NLPTASKS_DATA=... python benchmarks/theseus.py --output docs/theseus_scores.md`",
        "",
        surroundings("keras", "tensorflow", "jax") + ".",
        "",
    ]
    tasks = [name for name in options.only if name in TASKS]
    if tasks and not os.environ.get("NLPTASKS_DATA"):
        parser.error("NLPTASKS_DATA is not set: it names a folder of public data sets, see data/README.md")
    files = {name: split(TASKS[name], Path(os.environ["NLPTASKS_DATA"]), work / name) for name in tasks}
    results: dict[str, dict[str, list]] = {name: {system: [] for system in SYSTEMS} for name in tasks}
    for seed in SEEDS:
        for name in tasks:
            for system in SYSTEMS:
                results[name][system] += measured(name, system, seed, files[name], work / name, options.finished)
    if tasks:
        lines += [
            f"Predecessors of {LAYERS} layers, 96 hidden, 4 heads, 384 ffn, from random weights: no pretrained "
            "checkpoint is used.",
            "",
        ]
    done, wanted = (
        sum(len(runs) for name in tasks for runs in results[name].values()),
        len(tasks) * len(SYSTEMS) * len(SEEDS),
    )
    if done < wanted:
        told = (
            f"**{done} of {wanted} runs are finished**: where a table has one run of a system there is no spread yet, "
        )
        lines += [f"{told}and differences of a point or two mean nothing.", ""]
    for name in tasks:
        lines += accuracy_table(name, results[name], files[name])
    if "speed" in options.only:
        cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
        lines += [
            "## Size and speed",
            "",
            f"On {cores} core(s). The rows of a table are called in turn, so that other load hits all alike. Latency: "
            "medians; `faster` is the median of the ratios of calls made in the same turn (10 to 90 percent of them). "
            "Steps: means, replacement rate 0.5.",
            "",
        ]
        for part in SPEED:
            for backend in BACKENDS.get(part, ("tensorflow",)):
                lines += speed_lines(part, backend, options.seconds, work)
    write_text(options.output, "\n".join(lines).rstrip() + "\n")


if __name__ == "__main__":
    main()
