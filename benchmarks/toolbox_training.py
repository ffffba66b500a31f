"""The fine-tuning runs of `toolbox.py`: optimizers, mixtures of texts, and several tasks; each finished run is kept.

All runs start from the first layers of `mini` and read the first tokens of a text. What a seed decides is the training
texts that are drawn, the head, the order and the dropout; the texts that choose the epoch and those that are scored
are the same for all. Runs with one number of examples have the same epochs and batches, whatever their options.
"""

import json
import shutil
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from nlptasks.text.labeled import Columns, LabeledText, read_labeled

VALID, TEST, RESAMPLES = 100, 600, 2000
"""texts that choose the epoch, texts that are scored, and samples of a bootstrap"""
ALL = 0
"""as a number of examples: all there are"""


class Source(NamedTuple):
    """Files of labeled texts; without a second one, the first texts of the shuffled first one are scored."""

    training: str
    scored: str | None
    columns: Columns


SETS = {
    "ChnSentiCorp": Source(
        "classification/chnsenticorp_train.tsv",
        "classification/chnsenticorp_dev.tsv",
        Columns(names=("label", "text")),
    ),
    "iflytek": Source("classification/iflytek_train.jsonl", "classification/iflytek_dev.jsonl", Columns()),
    "titles": Source("classification/thucnews_titles_dev.tsv", None, Columns(names=("text", "label"))),
}
EPOCHS_AND_BATCHES = {("ChnSentiCorp", ALL): (1, 32)}
FEW, MORE, WHOLE = (8, 8), (4, 16), (4, 32)
"""epochs and batch size of up to 100 examples, of up to 1000, and of others"""
COMMON: dict[str, Any] = {"decay": True, "warmup_share": 0.1, "learning_rate": 5e-4}
OPTIMIZERS: dict[str, dict[str, Any]] = {
    "Adam": {},
    "weight decay 0.01 and layer decay 0.9": {"weight_decay": 0.01, "layer_decay": 0.9},
    "Lookahead, 5 updates": {"lookahead": 5},
    "Lion at a tenth of the rate": {"optimizer": "lion", "learning_rate": 5e-5},
    "FGM 0.5": {"fgm": 0.5},
    "R-Drop 1": {"r_drop": 1.0},
}
REGULARISERS: dict[str, dict[str, Any]] = {
    "none": {},
    "mixup 0.2": {"mixup": 0.2},
    "SamplePairing": {"sample_pairing": True},
    "label smoothing 0.1": {"label_smoothing": 0.1},
}
TASKS = {"reviews": "ChnSentiCorp", "titles": "titles"}
TASK_EXAMPLES, EXPLAINED = 1000, 2000
WEIGHTINGS = ("fixed", "real-time", "uncertainty", "pcgrad")


class Kept:
    """Results in a file, a line of JSON each, so that a command that was ended goes on.

    Args:
        path: the file, new or of a command before.
        seconds: after so many, nothing more is begun.
    """

    def __init__(self, path: Path, seconds: float = float("inf")) -> None:
        self.path, self.until = path, time.monotonic() + seconds
        path.parent.mkdir(parents=True, exist_ok=True)
        self.found: dict[str, Any] = {}
        text = path.read_text(encoding="utf-8") if path.is_file() else ""
        for line in text.splitlines(keepends=True):
            if line.endswith("\n"):  # the last one may be of a command that was ended as it wrote
                row = json.loads(line)
                self.found[_name(row["key"])] = row["value"]
        if not text.endswith("\n") and text:
            path.write_text(text[: text.rfind("\n") + 1], encoding="utf-8")

    def of(self, key: Mapping[str, Any], measure: Callable[[], Any]) -> Any:
        """The result of this key, measured if it is not there; None where there is no time to begin."""
        name = _name(key)
        if name not in self.found and time.monotonic() < self.until:
            self.found[name] = measure()
            with self.path.open("a", encoding="utf-8") as file:
                file.write(json.dumps({"key": key, "value": self.found[name]}, ensure_ascii=False) + "\n")
            print(f"{name}", flush=True)
        return self.found.get(name)


def _name(key: Mapping[str, Any]) -> str:
    return json.dumps(key, ensure_ascii=False, sort_keys=True)


class Setting(NamedTuple):
    """What all runs of a table share."""

    data: Path
    work: Path
    kept: Kept
    layers: int
    length: int
    seeds: int

    def checkpoint(self) -> Path:
        """The first layers of `mini`, made if they are not there."""
        from nlptasks.command import main

        cut = self.work / f"mini_{self.layers}"
        if not cut.exists():
            numbers = [str(number) for number in range(self.layers)]
            if main(["checkpoint", "layers", "mini", "--layers", *numbers, "--output", str(cut)]):
                raise SystemExit(1)
        return cut


def shuffled(path: Path, columns: Columns) -> list[LabeledText]:
    """The lines of a file in an order that is always the same."""
    lines = read_labeled(path, columns)
    return [lines[i] for i in np.random.default_rng(7).permutation(len(lines))]


def split(
    data: Path, name: str, count: int, seed: int
) -> tuple[list[LabeledText], list[LabeledText], list[LabeledText]]:
    """Texts to train on, to choose the epoch by (those with a label that is trained), and to score."""
    source = SETS[name]
    lines = shuffled(data / source.training, source.columns)
    if source.scored is None:
        test, lines = lines[:TEST], lines[TEST:]
    else:
        test = shuffled(data / source.scored, source.columns)[:TEST]
    valid, pool = lines[:VALID], lines[VALID:]
    training = [pool[i] for i in np.random.default_rng(seed).permutation(len(pool))[: count or None]]
    known = {text.labels for text in training}
    return training, [text for text in valid if text.labels in known], test


def right(classifier: Any, texts: Sequence[LabeledText]) -> str:
    """For each text 1 where the answer is its label, else 0."""
    answers = classifier.predict([text.text for text in texts])
    return "".join(str(int(a.label == t.labels[0])) for a, t in zip(answers, texts, strict=True))


def plan(name: str, count: int) -> dict[str, int]:
    """Epochs and batch size."""
    usual = WHOLE if count == ALL or count > 1000 else FEW if count <= 100 else MORE
    return dict(zip(("epochs", "batch_size"), EPOCHS_AND_BATCHES.get((name, count), usual), strict=True))


def trained_alone(
    setting: Setting, name: str, count: int, seed: int, options: Mapping[str, Any], keep: bool = False
) -> Any:
    """The scored texts of one classifier, and its folder if it is kept; a run that was ended goes on where it was."""
    given = COMMON | plan(name, count) | {"pooling": "mean"} | dict(options)
    key = {"set": name, "count": count, "seed": seed, "layers": setting.layers, "length": setting.length} | given

    def train() -> dict[str, Any]:
        from nlptasks.applications.classification.classifier import Classifier

        training, valid, test = split(setting.data, name, count, seed)
        folder = _folder(setting, key)
        given["resume"] = (folder / "options.json").is_file()
        texts, labels = [text.text for text in training], [text.labels[0] for text in training]
        chosen = [text.text for text in valid], [text.labels[0] for text in valid]
        started = time.process_time()
        classifier = Classifier.train(
            texts, labels, chosen, output=folder, checkpoint=str(setting.checkpoint()), seq_length=setting.length,
            seed=seed, **given,
        )  # fmt: skip
        seconds = round(time.process_time() - started, 1)
        found = {"right": {name: right(classifier, test)}, "seconds": seconds}
        _finished(folder, keep)
        return found | ({"folder": str(folder.relative_to(setting.work))} if keep else {})

    return setting.kept.of(key, train)


def classifier_to_explain(setting: Setting) -> Path | None:
    """The folder of a classifier of reviews; None: not run."""
    found = _to_explain(setting)
    return None if found is None else setting.work / found["folder"]


def explained_in_words(setting: Setting) -> str:
    """What that classifier is."""
    accuracy = 100 * correct([_to_explain(setting)], "ChnSentiCorp").mean()
    return (
        f"\nThe classifier: `mini` cut to {setting.layers} of its 6 layers, from the first on, two epochs of "
        f"{EXPLAINED} reviews, {accuracy:.1f} % of {TEST} reviews right.\n"
    )


def _to_explain(setting: Setting) -> Any:
    return trained_alone(setting, "ChnSentiCorp", EXPLAINED, 0, {"epochs": 2}, keep=True)


def trained_together(setting: Setting, weighting: str, seed: int) -> Any:
    """The scored texts of two classifiers on one encoder."""
    given = COMMON | plan("", TASK_EXAMPLES) | {"weighting": weighting}
    shared = {"layers": setting.layers, "length": setting.length}
    key = {"tasks": TASKS, "count": TASK_EXAMPLES, "seed": seed} | shared | given

    def train() -> dict[str, Any]:
        import nlptasks
        from nlptasks.applications.multitask.training import MultiTaskOptions, train_tasks

        folder, scored = _folder(setting, key), {}
        files: dict[str, list[str]] = {"task": [], "valid": []}
        for task, name in TASKS.items():
            training, valid, scored[task] = split(setting.data, name, TASK_EXAMPLES, seed)
            for part, texts in (("task", training), ("valid", valid)):
                path = setting.work / f"{task}_{part}_{seed}.jsonl"
                rows = ({"text": text.text, "label": text.labels[0]} for text in texts)
                path.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows), encoding="utf-8")
                files[part].append(f"{task}={path}")
        started = time.process_time()
        train_tasks(
            MultiTaskOptions(
                task=tuple(files["task"]), valid=tuple(files["valid"]), output=folder, seed=seed,
                checkpoint=str(setting.checkpoint()), seq_length=setting.length,
                resume=(folder / "options.json").is_file(), **given,
            )
        )  # fmt: skip
        found = {name: right(nlptasks.load(folder / task), scored[task]) for task, name in TASKS.items()}
        seconds = round(time.process_time() - started, 1)
        _finished(folder, keep=False)
        return {"right": found, "seconds": seconds}

    return setting.kept.of(key, train)


def _folder(setting: Setting, key: Mapping[str, Any]) -> Path:
    parts = [f"{name}={value}" for name, value in key.items() if isinstance(value, str | int | float | bool)]
    return setting.work / "runs" / ",".join(parts)


def _finished(folder: Path, keep: bool) -> None:
    """Drops a run's folder, or what of it only a run that goes on needs."""
    import gc

    import keras

    (folder / "resume.safetensors").unlink()
    if not keep:
        shutil.rmtree(folder)
    keras.utils.clear_session()
    gc.collect()


def correct(runs: Sequence[Any], name: str) -> np.ndarray:
    """1 or 0 for each run and each scored text, `(runs, texts)`."""
    return np.array([[int(one) for one in run["right"][name]] for run in runs], "float64")


def compared(ours: np.ndarray, base: np.ndarray) -> str:
    """The difference of two accuracies in points, and its interval over the texts, which both have scored.

    Args:
        ours, base: from `correct`, of the same seeds.
    """
    apart = 100 * (ours.mean(axis=0) - base.mean(axis=0))
    random = np.random.default_rng(3)
    drawn = [apart[random.integers(0, len(apart), len(apart))].mean() for _ in range(RESAMPLES)]
    low, high = np.percentile(drawn, [2.5, 97.5])
    return f"{apart.mean():+.1f} ({low:+.1f} to {high:+.1f})"


def row_of(first: str, runs: Sequence[Any], base: Sequence[Any], name: str) -> str:
    """A row of a table: accuracy, its spread over the seeds, and the difference to other runs of the same seeds."""
    there = [run for run in runs if run is not None]
    if not there:
        return f"| {first} | 0 | not run | | |"
    scores = 100 * correct(there, name).mean(axis=1)
    spread = f"{scores.std(ddof=1):.1f}, {scores.min():.1f} to {scores.max():.1f}" if len(scores) > 1 else ""
    both = [(a, b) for a, b in zip(runs, base, strict=True) if a is not None and b is not None]
    apart = "" if runs is base or not both else compared(*(correct(each, name) for each in zip(*both, strict=True)))
    missing = f", {len(runs) - len(there)} not run" if len(there) < len(runs) else ""
    return f"| {first} | {len(there)}{missing} | {scores.mean():.1f} | {spread} | {apart} |"


def table(first: str, base: str, rows: Sequence[str]) -> str:
    """A table of rows of `row_of`."""
    columns = f"{first} | seeds | accuracy % | deviation and range over seeds | minus {base} (95 % over texts)"
    return f"| {columns} |\n|{'---|' * (columns.count('|') + 1)}\n" + "\n".join(rows)


def about(setting: Setting, part: str, rows: Sequence[str], more: str) -> str:
    """What stands below a table."""
    left = [row for row in rows if "not run" in row]
    note = f"\nNot run: `python benchmarks/toolbox.py --part {part} --work DIR` goes on with these." if left else ""
    return (
        f"\n\n`mini` cut to {setting.layers} of its 6 layers, from the first on, {setting.length} tokens, "
        f"learning rate {COMMON['learning_rate']:g} rising and falling, {TEST} scored texts, one core of the two; "
        f"{VALID} texts of the training file choose the epoch. {more}{note}\n"
    )


def by_options(
    setting: Setting, name: str, count: int, seeds: Sequence[int], variants: Mapping[str, Mapping[str, Any]]
) -> dict[str, list[Any]]:
    """The runs of each set of options, one for each seed; all sets of a seed are run before the next seed."""
    runs: dict[str, list[Any]] = {title: [] for title in variants}
    for seed in seeds:
        for title, options in variants.items():
            runs[title].append(trained_alone(setting, name, count, seed, options))
    return runs


def training(setting: Setting, examples: int) -> str:
    """A table of ways to train on few reviews."""
    name = "ChnSentiCorp"
    runs = by_options(setting, name, examples, range(setting.seeds), OPTIMIZERS)
    rows = [row_of(title, each, runs["Adam"], name) for title, each in runs.items()]
    epochs = plan(name, examples)
    more = f"{examples} reviews of {name}, {epochs['epochs']} epochs of batches of {epochs['batch_size']}."
    return table("options", "Adam", rows) + about(setting, "training", rows, more)


def regularisers(setting: Setting, examples: Sequence[int], sets: Sequence[str]) -> str:
    """A table of mixtures of texts and smoothed labels."""
    rows = []
    for name in sets:
        for count in examples:
            runs = by_options(setting, name, count, range(setting.seeds), REGULARISERS)
            begin = f"{name} | {count or 'all'} | "
            rows += [row_of(begin + title, each, runs["none"], name) for title, each in runs.items()]
    plans = "; ".join(
        f"{count or 'all'}: {', '.join('{epochs} x {batch_size}'.format(**plan(name, count)) for name in sets)}"
        for count in examples
    )
    more = f"Epochs and batch size by number of examples ({', '.join(sets)}): {plans}."
    return table("set | examples | options", "none", rows) + about(setting, "regularisers", rows, more)


def tasks(setting: Setting) -> str:
    """A table of two tasks together and each of them alone."""
    alone: dict[str, list[Any]] = {task: [] for task in TASKS}
    together: dict[str, list[Any]] = {weighting: [] for weighting in WEIGHTINGS}
    for seed in range(setting.seeds):
        for task, name in TASKS.items():
            alone[task].append(trained_alone(setting, name, TASK_EXAMPLES, seed, {"pooling": "first"}))
        for weighting in WEIGHTINGS:
            together[weighting].append(trained_together(setting, weighting, seed))
    rows = []
    for task, name in TASKS.items():
        rows.append(row_of(f"{task} | alone", alone[task], alone[task], name))
        rows += [row_of(f"{task} | {weighting}", runs, alone[task], name) for weighting, runs in together.items()]
    epochs = plan("", TASK_EXAMPLES)
    more = (
        f"{TASK_EXAMPLES} reviews of ChnSentiCorp (2 labels) and {TASK_EXAMPLES} titles of THUCNews (10 labels), "
        f"{epochs['epochs']} epochs of batches of {epochs['batch_size']}; together each update reads a batch of both."
    )
    return table("task | losses", "alone", rows) + about(setting, "tasks", rows, more)
