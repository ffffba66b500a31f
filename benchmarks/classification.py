"""Classifiers and labelers from scratch beside character TF-IDF with a linear model: three seeds, mean and spread.

    pip install -e ".[benchmarks]"
    NLPTASKS_DATA=... python benchmarks/classification.py --output docs/classification_scores.md

Both are fitted to the same training lines; the best epoch, or the strength of the linear model's penalty, is chosen on
every tenth line of the training file, and the development file is read once, for the score. LCQMC has a development
file only: every fifth pair of it is the test, and pairs that share a sentence with a test pair are not trained on.
A run that is interrupted keeps the scores it has: give the same --work again.

    NLPTASKS_DATA=... python benchmarks/classification.py --checkpoint DIR --only iflytek --output iflytek.json

fine-tunes a pretrained checkpoint instead (see finetuning.py): all training lines, fixed epochs, the last one scored;
of several learning rates the best on the held-out tenth. `--more-pairs` trains LCQMC's model on pairs of other data
sets first, without those that share a sentence with a test pair.
"""

import argparse
import datetime
import importlib.metadata
import json
import os
import platform
import resource
import statistics
import subprocess
import sys
import time
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
    chosen_rate,
    held_out,
    limited,
    percent,
    without_test,
)

from nlptasks.files import write_text
from nlptasks.metrics.classification import score_labels
from nlptasks.metrics.entities import score_entities
from nlptasks.text.entities import EntityText, read_entities
from nlptasks.text.labeled import Columns, read_labeled

ROOT = Path(__file__).parent.parent
SEEDS = (1, 2, 3)
SCRATCH = ("--checkpoint", "none", "--warmup-share", "0.1", "--decay", "--clip-norm", "1")
CLASSIFIER = (*SCRATCH, "--learning-rate", "1e-3", "--pooling", "mean")


class Task(NamedTuple):
    """A data set: its files, the options of its columns, and of training."""

    title: str
    train: str
    test: str | None
    columns: tuple[str, ...]
    options: tuple[str, ...]


TASKS = {
    "chnsenticorp": Task(
        "ChnSentiCorp, 2 classes",
        "classification/chnsenticorp_train.tsv",
        "classification/chnsenticorp_dev.tsv",
        ("--columns", "label", "text"),
        (*CLASSIFIER, "--seq-length", "96", "--epochs", "2", "--batch-size", "32"),
    ),
    "iflytek": Task(
        "iflytek, 119 classes",
        "classification/iflytek_train.jsonl",
        "classification/iflytek_dev.jsonl",
        (),
        (*CLASSIFIER, "--seq-length", "128", "--epochs", "6", "--batch-size", "32"),
    ),
    "lcqmc": Task(
        "LCQMC pairs, 2 classes",
        "similarity/lcqmc_dev.tsv",
        None,
        ("--columns", "a", "b", "label", "--text-column", "a", "--second-text-column", "b"),
        (*CLASSIFIER, "--seq-length", "64", "--epochs", "5", "--batch-size", "32"),
    ),
    "cluener": Task(
        "CLUENER, 10 types",
        "sequence_labeling/cluener_train.jsonl",
        "sequence_labeling/cluener_dev.jsonl",
        (),
        (*SCRATCH, "--learning-rate", "2e-3", "--seq-length", "64", "--epochs", "4", "--batch-size", "64"),
    ),
}
HEADS = ("crf", "global-pointer", "efficient-global-pointer")
MORE_PAIRS = ("similarity/afqmc_train.tsv", "similarity/bq_dev.tsv", "similarity/oppo_dev.tsv")


class Tuning(NamedTuple):
    """How a checkpoint is fine-tuned on a data set where the command line does not say."""

    epochs: int
    rates: tuple[float, ...]
    batch_size: int
    seq_length: int


TUNING = {
    "chnsenticorp": Tuning(4, (1e-4,), 32, 192),
    "iflytek": Tuning(12, (1e-4, 2e-4), 32, 256),
    "lcqmc": Tuning(5, (1e-4, 2e-4), 32, 64),
    "cluener": Tuning(8, (1e-4, 2e-4), 32, 64),
}
MORE_EPOCHS, MORE_RATE = 2, 1e-4


def split(task: Task, data: Path, folder: Path) -> dict[str, Path]:
    """Writes the training, validation and test lines; returns their files."""
    lines = (data / task.train).read_text(encoding="utf-8").removesuffix("\n").split("\n")
    if task.test is None:
        test, lines = lines[::5], [line for i, line in enumerate(lines) if i % 5]
        sentences = {sentence for line in test for sentence in line.split("\t")[:2]}
        lines = [line for line in lines if not sentences & set(line.split("\t")[:2])]
    else:
        test = (data / task.test).read_text(encoding="utf-8").removesuffix("\n").split("\n")
    parts = {"train": [line for i, line in enumerate(lines) if i % 10], "valid": lines[::10], "test": test}
    files = {}
    for name, part in parts.items():
        files[name] = folder / f"{name}{Path(task.train).suffix}"
        write_text(files[name], "".join(f"{line}\n" for line in part))
    return files


def network_score(name: str, head: str | None, seed: int, files: dict[str, Path], folder: Path) -> dict:
    """Trains with the script, scores on the test file with the script, and counts the seconds of processor time."""
    task = TASKS[name]
    script = ROOT / "tasks" / ("sequence_labeling.py" if head else "text_classification.py")
    run = folder / f"run_{head}_{seed}_{os.getpid()}"
    special = ("--head", head) if head else ()
    before, started = resource.getrusage(resource.RUSAGE_CHILDREN), time.monotonic()
    arguments = ["train", "--train", files["train"], "--valid", files["valid"], "--output", run, "--seed", seed]
    _call(script, *arguments, *special, *task.columns, *task.options)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    columns = () if head else task.columns
    output = _call(script, "evaluate", "--model", run, "--data", files["test"], "--json", *columns)
    scores = json.loads(output.splitlines()[-1])["scores"]
    return {
        "scores": {key: value for key, value in scores.items() if isinstance(value, float)},
        "processor_seconds": after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime,
        "seconds": time.monotonic() - started,
        "best_epoch": json.loads((run / "scores.json").read_text(encoding="utf-8"))["best"]["epoch"],
    }


def _call(script: Path, *arguments: object) -> str:
    command = [sys.executable, str(script), *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, encoding="utf-8", check=False, cwd=ROOT)
    if done.returncode:
        raise SystemExit(f"{' '.join(command)}\n{done.stderr[-2000:]}")
    return done.stdout


def classification_baseline(name: str, files: dict[str, Path]) -> dict:
    """Character 1- to 3-grams, TF-IDF, linear SVM. Of a pair: |a - b| and a * b of the two sentences' weights."""
    from scipy import sparse
    from sklearn.feature_extraction.text import TfidfVectorizer
    from sklearn.svm import LinearSVC

    pair = "--second-text-column" in TASKS[name].columns
    names = {"chnsenticorp": ("label", "text"), "iflytek": None, "lcqmc": ("text", "second", "label")}[name]
    columns = Columns(second_text="second" if pair else None, names=names)
    parts = {part: read_labeled(path, columns) for part, path in files.items()}
    vectorizer = TfidfVectorizer(analyzer="char", ngram_range=(1, 3), sublinear_tf=True, min_df=2)
    train = parts["train"]
    vectorizer.fit([text.text for text in train] + ([text.second_text for text in train] if pair else []))

    def features(texts):
        first = vectorizer.transform([text.text for text in texts])
        if not pair:
            return first
        second = vectorizer.transform([text.second_text for text in texts])
        return sparse.hstack([abs(first - second), first.multiply(second)]).tocsr()

    found = {part: features(texts) for part, texts in parts.items()}
    gold = {part: [text.labels for text in texts] for part, texts in parts.items()}
    best = None
    for strength in (0.03, 0.1, 0.3, 1.0, 3.0):
        model = LinearSVC(C=strength).fit(found["train"], [labels[0] for labels in gold["train"]])
        scores = score_labels(gold["valid"], [(label,) for label in model.predict(found["valid"])])
        if best is None or scores["accuracy"] > best[0]:
            best = scores["accuracy"], strength, model
    scores = score_labels(gold["test"], [(label,) for label in best[2].predict(found["test"])])
    return {"scores": {k: v for k, v in scores.items() if isinstance(v, float)}, "chosen": f"C={best[1]}"}


def character_features(text: str) -> list[list[str]]:
    """For each character the characters and pairs of two to its left and right, each with its place."""
    padded = f"··{text}··"
    rows = []
    for i in range(2, len(padded) - 2):
        row = [f"{k}{padded[i + k]}" for k in range(-2, 3)]
        row += [f"{k}{padded[i + k : i + k + 2]}" for k in range(-2, 2)]
        rows.append([*row, f"t{padded[i - 1 : i + 2]}"])
    return rows


def character_tags(text: EntityText) -> list[str]:
    """BIO tags; of entities that overlap the longest stays."""
    tags = ["O"] * len(text.text)
    for entity in sorted(text.entities, key=lambda e: (e.start - e.end, e)):
        if set(tags[entity.start : entity.end]) == {"O"}:
            tags[entity.start : entity.end] = [f"I-{entity.type}"] * (entity.end - entity.start)
            tags[entity.start] = f"B-{entity.type}"
    return tags


def entities_of_tags(tags: list[str]) -> list[tuple[int, int, str]]:
    """The entities of BIO tags; an I that continues nothing begins one."""
    found: list[tuple[int, int, str]] = []
    for i, tag in enumerate(tags):
        kind = tag[2:]
        if tag.startswith("I") and found and found[-1][1:] == (i, kind):
            found[-1] = (found[-1][0], i + 1, kind)
        elif tag != "O":
            found.append((i, i + 1, kind))
    return found


def labeling_baseline(files: dict[str, Path], seed: int) -> dict:
    """Each character by itself: TF-IDF of the n-grams around it, linear SVM (by SGD) over the BIO tags."""
    from sklearn.feature_extraction.text import TfidfVectorizer
    from sklearn.linear_model import SGDClassifier

    parts = {part: read_entities(path) for part, path in files.items()}
    rows = {part: [row for text in texts for row in character_features(text.text)] for part, texts in parts.items()}
    vectorizer = TfidfVectorizer(analyzer=lambda row: row, min_df=2)
    found = {"train": vectorizer.fit_transform(rows["train"])}
    found |= {part: vectorizer.transform(rows[part]) for part in ("valid", "test")}
    tags = np.array([tag for text in parts["train"] for tag in character_tags(text)])

    def score(model, part):
        predicted, at, entities = model.predict(found[part]).tolist(), 0, []
        for text in parts[part]:
            entities.append(entities_of_tags(predicted[at : at + len(text.text)]))
            at += len(text.text)
        return score_entities([[(e.start, e.end, e.type) for e in text.entities] for text in parts[part]], entities)

    best = None
    for alpha in (1e-6, 3e-6, 1e-5):
        model = SGDClassifier(alpha=alpha, max_iter=8, tol=None, random_state=seed).fit(found["train"], tags)
        f1 = score(model, "valid")["f1"]
        if best is None or f1 > best[0]:
            best = f1, alpha, model
    scores = score(best[2], "test")
    return {"scores": {k: v for k, v in scores.items() if isinstance(v, float)}, "chosen": f"alpha={best[1]}"}


def measured(name: str, system: str, seed: int, files: dict[str, Path], folder: Path) -> dict:
    """The result of one run, from `folder` where it is there already."""
    path = folder / f"{system}_{seed}.json"
    if not path.is_file():
        print(f"{name}: {system}, seed {seed}", file=sys.stderr, flush=True)
        before = time.process_time()
        if system != "baseline":
            result = network_score(name, system if system in HEADS else None, seed, files, folder)
        elif name == "cluener":
            result = labeling_baseline(files, seed)
        else:
            result = classification_baseline(name, files)
        result.setdefault("processor_seconds", time.process_time() - before)
        write_text(path, json.dumps(result))
    return json.loads(path.read_text(encoding="utf-8"))


def table(name: str, results: dict[str, list[dict]], files: dict[str, Path]) -> list[str]:
    """Mean and spread (lowest to highest) of each system on one data set."""
    columns = ("precision", "recall", "f1") if name == "cluener" else ("accuracy", "macro_f1", "micro_f1")
    counts = {part: sum(1 for _ in path.open(encoding="utf-8")) for part, path in files.items()}
    lines = [
        f"## {TASKS[name].title}",
        "",
        f"{counts['train']} training, {counts['valid']} validation and {counts['test']} test lines.",
        "",
        "| system | runs | " + " | ".join(columns) + " | processor seconds a run |",
        "|---|---" + "|---" * len(columns) + "|---|",
    ]
    for system, runs in results.items():
        cells = []
        for column in columns:
            values = [run["scores"][column] for run in runs]
            spread = f" ({min(values):.2f} to {max(values):.2f})" if len(values) > 1 else ""
            cells.append(f"{statistics.mean(values):.2f}{spread}")
        linear = "linear model of the characters around" if name == "cluener" else "character TF-IDF + linear SVM"
        label = {"baseline": linear, "classifier": "Transformer from scratch"}.get(system, system)
        seconds = statistics.mean(run["processor_seconds"] for run in runs)
        lines.append(f"| {label} | {len(runs)} | " + " | ".join(cells) + f" | {seconds:.0f} |")
    return [*lines, "", f"Options of training: `{' '.join(TASKS[name].options)}`", ""]


def hardware() -> str:
    """Processor, cores, and the versions that matter."""
    model = platform.processor()
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.is_file():
        model = next(
            (line.split(":")[1].strip() for line in cpuinfo.open(encoding="utf-8") if line.startswith("model name")),
            model,
        )
    packages = ", ".join(f"{p} {importlib.metadata.version(p)}" for p in ("keras", "scikit-learn", "numpy"))
    return f"{os.cpu_count()} cores ({model}), no GPU; {packages}."


def from_checkpoint(name: str, options: argparse.Namespace, data: Path, folder: Path) -> None:
    """Fine-tunes the checkpoint on a data set with each seed and writes the scores on the test lines."""
    from nlptasks.applications.examples import padded_to

    default = TUNING[name]
    length = options.max_length or default.seq_length
    plan = Plan(options.epochs or default.epochs, 0.0, options.batch_size or default.batch_size)
    kind = CheckpointLabeler if name == "cluener" else CheckpointClassifier
    files = split(TASKS[name], data, folder)
    task = kind(TASKS[name], files, options, length)
    title = f"{name}, other pairs first" if options.more_pairs else name
    title = f"{name}, {options.head}" if name == "cluener" else title
    record = Record(options.output, task=title, checkpoint=str(options.checkpoint), plan=plan._asdict(), length=length)
    trainer = None

    def trained(texts: list, seed: int, rate: float) -> dict:
        nonlocal trainer
        made = task.make(seed)
        if trainer is None:
            trainer = Trainer(made)
        else:
            trainer.become(made)
        told = {}
        if options.more_pairs:
            first = plan._replace(epochs=MORE_EPOCHS, learning_rate=MORE_RATE)  # as large a batch: the same program
            told = {"first": trainer.run(task.examples(trainer.application, task.more, seed), first)}
        ran = trainer.run(task.examples(trainer.application, texts, seed), plan._replace(learning_rate=rate))
        return ran | told

    def tried(rate: float) -> float:
        most, least = held_out(task.training)
        trained(most, options.seeds[0], rate)
        return percent(task.items(trainer.application, least))

    with padded_to(options.pad_to or length):
        rate, tries = chosen_rate(options.learning_rate or default.rates, tried)
        record.write(rates_on_held_out=tries)
        for seed in options.seeds:
            ran = trained(task.training, seed, rate)
            items = task.items(trainer.application, task.test)
            record.add(title, seed, percent(items), items, group=name, rate=rate, **ran)


class CheckpointClassifier:
    """A data set of texts or pairs, and classifiers on a checkpoint."""

    def __init__(self, task: Task, files: dict[str, Path], options: argparse.Namespace, length: int) -> None:
        from nlptasks.text import open_tokenizer
        from nlptasks.text.labeled import sort_labels

        names = {"label": ("label", "text"), "a": ("text", "second", "label")}
        self.pair = "--second-text-column" in task.columns
        columns = Columns(
            second_text="second" if self.pair else None, names=names[task.columns[1]] if task.columns else None
        )
        self.options, self.length = options, length
        training = _in_order(*(read_labeled(files[part], columns) for part in ("train", "valid")))
        test = read_labeled(files["test"], columns)
        self.training = limited(without_test(training, test, _parts), options.limit)
        self.test = limited(test, options.limit)
        self.labels = sort_labels(label for text in self.training for label in text.labels)
        self.tokenizer = open_tokenizer(options.checkpoint)
        self.more = []
        if options.more_pairs:
            data = Path(os.environ["NLPTASKS_DATA"])
            more = [text for name in MORE_PAIRS for text in read_labeled(data / name, columns)]
            self.more = limited(without_test(more, test, _parts), options.limit)

    def make(self, seed: int):
        """A classifier on the checkpoint with a fresh head."""
        from nlptasks.applications.classification.classifier import Classifier, classification_model

        encoder = checkpoint_encoder(self.options, seed, self.tokenizer.pad_id)
        model = classification_model(encoder, len(self.labels), DROPOUT)
        return Classifier(model, self.tokenizer, self.labels, self.length, False, self.pair, "mean")

    def examples(self, classifier, texts: list, seed: int):
        """The texts as training examples."""
        from nlptasks.applications.classification.classifier import ClassificationExamples

        return ClassificationExamples(classifier, [t.text_or_pair for t in texts], [t.labels for t in texts], seed)

    def items(self, classifier, texts: list) -> list[int]:
        """1 for every text whose label is found."""
        found = classifier.predict([text.text_or_pair for text in texts])
        return [int(one.labels == text.labels) for one, text in zip(found, texts, strict=True)]


class CheckpointLabeler:
    """A data set of texts with entities, and labelers on a checkpoint."""

    def __init__(self, task: Task, files: dict[str, Path], options: argparse.Namespace, length: int) -> None:
        from nlptasks.applications.labeling.training import entity_types
        from nlptasks.text import open_tokenizer

        self.options, self.length = options, length
        training = _in_order(*(read_entities(files[part]) for part in ("train", "valid")))
        test = read_entities(files["test"])
        self.training = limited(without_test(training, test, lambda text: (text.text,)), options.limit)
        self.test = limited(test, options.limit)
        self.types = entity_types(self.training)
        self.tokenizer = open_tokenizer(options.checkpoint)

    def make(self, seed: int):
        """A labeler on the checkpoint with a fresh head."""
        from nlptasks.applications.labeling.labeler import Labeler, labeling_model

        encoder = checkpoint_encoder(self.options, seed, self.tokenizer.pad_id)
        # the transitions of a CRF learn too slowly at the rate of a pretrained encoder
        model = labeling_model(encoder, self.options.head, len(self.types), DROPOUT, crf_lr_multiplier=100.0)
        return Labeler(model, self.tokenizer, self.types, self.options.head, self.length)

    def examples(self, labeler, texts: list, seed: int):
        """The texts as training examples."""
        from nlptasks.applications.labeling.samples import LabelingExamples

        flat = self.options.head == "crf"
        return LabelingExamples(self.tokenizer, self.length, texts, self.types, flat, seed)

    def items(self, labeler, texts: list) -> list[list[int]]:
        """Of every text how many entities are right, found and wanted."""
        from nlptasks.applications.labeling.training import span_keys

        rows = []
        for text, found in zip(texts, labeler.predict([text.text for text in texts]), strict=True):
            gold, mine = set(span_keys(text.entities)), set(span_keys(found))
            rows.append([len(gold & mine), len(mine), len(gold)])
        return rows


def _parts(text) -> tuple[str, ...]:
    """A text, or both of a pair."""
    return tuple(text.parts)


def _in_order(most: list, least: list) -> list:
    """The training lines as `split` found them: every tenth, the first one too, is one of `least`."""
    rest, tenths = iter(most), iter(least)
    return [next(tenths) if i % 10 == 0 else next(rest) for i in range(len(most) + len(least))]


def main() -> None:
    """Measures what is not measured yet and writes the tables."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--output", type=Path, required=True, help="Markdown file with the tables")
    parser.add_argument("--head", choices=HEADS, default="global-pointer", help="of CLUENER's model on a checkpoint")
    parser.add_argument("--more-pairs", action="store_true", help="LCQMC from a checkpoint: other pairs first")
    add_arguments(parser)
    parser.add_argument("--work", type=Path, default=Path("runs/benchmark_classification"), help="folder of the runs")
    parser.add_argument("--only", nargs="*", choices=list(TASKS), default=list(TASKS), help="some of the data sets")
    options = parser.parse_args()
    folder = os.environ.get("NLPTASKS_DATA")
    if not folder:
        parser.error("NLPTASKS_DATA is not set: it names a folder of public data sets, see data/README.md")
    if options.checkpoint is not None:
        if len(options.only) != 1 or (options.more_pairs and options.only != ["lcqmc"]):
            parser.error("--checkpoint goes with one data set: name it with --only; --more-pairs with lcqmc.")
        from_checkpoint(options.only[0], options, Path(folder), options.work.resolve() / options.only[0])
        return
    lines = [
        "# Scores of classifiers and labelers",
        "",
        "`NLPTASKS_DATA=... python benchmarks/classification.py --output docs/classification_scores.md`",
        "",
        f"{datetime.date.today()}, {hardware()} Percent; mean of the runs (lowest to highest).",
        "The models are small Transformers trained from random weights: no pretrained checkpoint is used.",
        "",
    ]
    for name in options.only:
        work = options.work.resolve() / name
        files = split(TASKS[name], Path(folder), work)
        systems = {"baseline": SEEDS if name == "cluener" else SEEDS[:1]}
        systems |= dict.fromkeys(HEADS if name == "cluener" else ("classifier",), SEEDS)
        results = {}
        for system, seeds in systems.items():
            results[system] = [measured(name, system, seed, files, work) for seed in seeds]
        lines += table(name, results, files)
        write_text(options.output, "\n".join(lines).rstrip() + "\n")


if __name__ == "__main__":
    main()
