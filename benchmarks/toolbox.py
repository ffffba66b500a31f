"""The training toolbox measured: overhead of each extension, lazy rows, a comparison of optimizers, and explanations.

    python benchmarks/toolbox.py --part overhead --output benchmarks/toolbox.md
    python benchmarks/toolbox.py --part lazy --output benchmarks/toolbox.md
    NLPTASKS_DATA=... python benchmarks/toolbox.py --part training --output benchmarks/toolbox.md
    NLPTASKS_DATA=... python benchmarks/toolbox.py --part explain --model runs/classifier --output benchmarks/toolbox.md

Each part replaces its own section of the record. Overhead: a step of the bundled `mini` with a classifier's head on
16 x 128 tokens, each extension against plain Adam; steps alternate, so that other work on the machine meets both. Lazy:
an embedding of 250,000 rows. Training: reviews of `classification/` of NLPTASKS_DATA, a few hundred of them, several
seeds. Explain: deletion curves of a trained classifier.
"""

import argparse
import contextlib
import io
import re
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from record import surroundings

SHAPE, RATE = (16, 128), 1e-4
WIDTH = 48
"""tokens of the rows that are explained"""
REVIEWS = "classification/chnsenticorp_{part}.tsv"
EXTENSIONS: dict[str, dict[str, Any]] = {
    "extended by nothing": {},
    "weight decay": {"weight_decay": 0.01},
    "layer adaptation and decay": {"layer_adaptation": True, "weight_decay": 0.01},
    "piecewise rate": {"piecewise_lr": {0: 1, 1000: 0.1}},
    "rates by name": {"rates": {"embeddings*": 0.1}},
    "layer decay": {"layer_decay": 0.95},
    "lookahead (5)": {"lookahead": 5},
    "corrected average": {"average": 0.999},
    "lazy embeddings": {"lazy": ("embeddings/token/embeddings",)},
}


def interleaved(functions: dict[str, Callable[[], Any]], repeats: int) -> dict[str, np.ndarray]:
    """Seconds of each call of functions that take turns, after a first one."""
    for function in functions.values():
        function()
    times: dict[str, list[float]] = {name: [] for name in functions}
    for _ in range(repeats):
        for name, function in functions.items():
            start = time.perf_counter()
            function()
            times[name].append(time.perf_counter() - start)
    return {name: np.array(each) for name, each in times.items()}


def overhead(repeats: int, seconds: float) -> str:
    """A table of the time of a step against that of plain Adam, as the median of the ratios of neighboring steps."""
    from nlptasks.applications.classification.classifier import classification_model
    from nlptasks.backend import compile_train_step
    from nlptasks.bundled import MINI, bundled_models
    from nlptasks.loading import build_transformer_model
    from nlptasks.train.adam import Adam
    from nlptasks.train.toolbox.extending import extend
    from nlptasks.train.toolbox.kinds import KINDS

    folder = bundled_models()[MINI]
    random = np.random.default_rng(1)
    ids = random.integers(200, 11000, SHAPE).astype("int32")
    targets = np.eye(2, dtype="float32")[np.arange(SHAPE[0]) % 2]

    def step_of(optimizer: Any) -> Callable[[], float]:
        from keras import ops

        transformer = build_transformer_model(folder / "config.json", folder)
        model = classification_model(transformer, 2)
        head = model.head_layers["classifier"]

        def loss(batch: Any) -> Any:
            hidden = model.encode(batch, training=True)
            return ops.mean(ops.categorical_crossentropy(targets, head(hidden[:, 0]), from_logits=True))

        step = compile_train_step(model, optimizer, loss)
        return lambda: float(step(ids))

    plain = step_of(Adam(RATE))
    rows = []
    makers: dict[str, Callable[[], Any]] = {
        name: (lambda o=o: extend(Adam(RATE), **o)) for name, o in EXTENSIONS.items()
    }
    makers |= {name: (lambda k=kind: k(RATE)) for name, kind in KINDS.items() if name != "adam"}
    started = time.monotonic()
    for name, make in makers.items():
        if time.monotonic() - started > seconds:
            break
        times = interleaved({"plain": plain, "other": step_of(make())}, repeats)
        ratio = float(np.median(times["other"] / times["plain"]))
        rows.append(f"| {name} | {np.median(times['plain']):.3f} | {np.median(times['other']):.3f} | {ratio:.3f} |")
    head = "| optimizer | Adam, s | this one, s | ratio |\n|---|---|---|---|\n"
    return head + "\n".join(rows) + f"\n\nMedians of {repeats} steps; the ratio is the median of those of neighbors.\n"


def lazy(repeats: int) -> str:
    """A table of the time of a step with an embedding of 250,000 rows."""
    import keras
    from keras import ops

    from nlptasks.backend import compile_train_step
    from nlptasks.train.adam import Adam
    from nlptasks.train.toolbox.extending import extend

    random = np.random.default_rng(2)
    ids = random.integers(1, 250_000, SHAPE).astype("int32")

    def step_of(optimizer: Any) -> Callable[[], float]:
        table, head = keras.layers.Embedding(250_000, 128, name="token"), keras.layers.Dense(1)
        model = keras.Sequential(
            [keras.Input(SHAPE[1:], dtype="int32"), table, keras.layers.GlobalAveragePooling1D(), head]
        )
        step = compile_train_step(model, optimizer, lambda batch: ops.mean(ops.square(model(batch) - 1.0)))
        return lambda: float(step(ids))

    steps = {"Adam": step_of(Adam(RATE)), "extended": step_of(extend(Adam(RATE)))}
    steps["lazy"] = step_of(extend(Adam(RATE), lazy=("token/embeddings",)))
    times = interleaved(steps, repeats)
    rows = [f"| {name} | {1000 * np.median(each):.1f} |" for name, each in times.items()]
    return (
        "| optimizer | step, ms |\n|---|---|\n" + "\n".join(rows) + f"\n\nMedians of {repeats} steps that take turns.\n"
    )


VARIANTS: dict[str, dict[str, Any]] = {
    "Adam": {},
    "weight decay and layer decay": {"weight_decay": 0.01, "layer_decay": 0.9},
    "lookahead": {"lookahead": 5},
    "R-Drop": {"r_drop": 1.0},
    "FGM": {"fgm": 0.5},
    "mixup": {"mixup": 0.2},
    "label smoothing": {"label_smoothing": 0.1},
}


def training(data: Path, examples: int, seeds: int, variants: list[str]) -> str:
    """A table of accuracies after fine-tuning `mini` on a few reviews."""
    from nlptasks.applications.classification.classifier import Classifier

    texts, labels = reviews(data, "train", examples)
    others = reviews(data, "dev", 900)
    valid, (test_texts, test_labels) = tuple(each[:300] for each in others), tuple(each[300:] for each in others)
    rows = []
    for name in variants:
        scores = []
        for seed in range(seeds):
            with contextlib.redirect_stderr(io.StringIO()), tempfile.TemporaryDirectory() as folder:
                output = Path(folder) / "run"
                options = {"epochs": 3, "seq_length": 96, "seed": seed} | VARIANTS[name]
                found = Classifier.train(texts, labels, valid, output=output, checkpoint="mini", **options)
            answers = [one.label for one in found.predict(test_texts)]
            scores.append(100 * float(np.mean([a == b for a, b in zip(answers, test_labels, strict=True)])))
        rows.append(
            f"| {name} | {np.mean(scores):.1f} | {np.std(scores):.1f} | {min(scores):.1f} to {max(scores):.1f} |"
        )
    head = "| options | accuracy | standard deviation | range |\n|---|---|---|---|\n"
    return (
        head + "\n".join(rows) + f"\n\n{examples} reviews, 3 epochs, {seeds} seeds; 600 reviews that chose no epoch.\n"
    )


def reviews(data: Path, part: str, count: int) -> tuple[list[str], list[str]]:
    """The first texts of a file and their labels."""
    from nlptasks.text.labeled import Columns, read_labeled

    found = read_labeled(data / REVIEWS.format(part=part), Columns(text="text", label="label", names=("label", "text")))
    chosen = np.random.default_rng(7).permutation(len(found))[:count]
    return [found[i].text for i in chosen], [found[i].labels[0] for i in chosen]


def explain(data: Path, directory: Path, count: int, seconds: float) -> str:
    """A table of deletion curves: how far the label's logit falls where the tokens that count most are masked."""
    import nlptasks
    from nlptasks.explain.explained import label_of_text
    from nlptasks.explain.methods import Methods

    classifier = nlptasks.load(directory)
    texts = [text[:40] for text in reviews(data, "dev", count)[0]]
    names = (
        "integrated gradients",
        "gradient x input",
        "gradient norm",
        "attention rollout",
        "occlusion",
        "random order",
    )
    falls: dict[str, list[float]] = {name: [] for name in names}
    random, incomplete, steps, programs = np.random.default_rng(3), 0, [], {}
    started = time.monotonic()
    for text in texts:
        if time.monotonic() - started > seconds:
            break
        explained = label_of_text(classifier, text, width=WIDTH)
        methods = programs[explained.what] = Methods(explained, programs.get(explained.what))
        found = methods.integrated_gradients()
        incomplete, steps = incomplete + (not found.complete), [*steps, found.steps]
        scores = (
            found.scores,
            methods.gradient_times_input(),
            methods.gradient_norm(),
            methods.attention_rollout(),
            methods.occlusion(),
            random.random(len(found.scores)),
        )
        for name, each in zip(names, scores, strict=True):
            falls[name].append(found.value - float(methods.deletion_curve(each).mean()))
    best = np.array(falls[names[0]])
    rows = []
    for name, each in falls.items():
        apart = best - np.array(each)
        drawn = [np.mean(apart[random.integers(0, len(apart), len(apart))]) for _ in range(2000)]
        low, high = np.percentile(drawn, [2.5, 97.5])
        interval = "" if name == names[0] else f"{np.mean(apart):+.3f} ({low:+.3f} to {high:+.3f})"
        rows.append(f"| {name} | {np.mean(each):.3f} | {interval} |")
    head = "| order | mean fall of the logit | integrated gradients minus this one (95 %) |\n|---|---|---|\n"
    tail = (
        f"\n\n{len(steps)} reviews of at most 40 characters; mean over 10, 20, 30 and 50 % of the tokens masked; "
        f"intervals are paired bootstraps. Completeness within 1 %: {len(steps) - incomplete} of {len(steps)}; steps: "
        f"median {int(np.median(steps))}, at most {max(steps)}.\n"
    )
    return head + "\n".join(rows) + tail


TITLES = {"overhead": "Overhead", "lazy": "Lazy rows", "training": "Fine-tuning", "explain": "Explanations"}


def write_section(path: Path, part: str, text: str) -> None:
    """Puts a section into the record, in the place of the one that is there."""
    import keras

    title, backend = TITLES[part], keras.backend.backend()
    section = f"## {title} ({backend})\n\n{surroundings('keras', backend)}\n\n{text}\n"
    record = path.read_text(encoding="utf-8") if path.exists() else "# The training toolbox, measured\n\n"
    pattern = re.compile(rf"^## {title} \({backend}\)\n.*?(?=^## |\Z)", re.MULTILINE | re.DOTALL)
    record = pattern.sub(lambda _: section, record) if pattern.search(record) else record + section
    path.write_text(record, encoding="utf-8")


def main() -> None:
    """Runs one part and writes its section."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--part", choices=TITLES, required=True)
    parser.add_argument("--repeats", type=int, default=15)
    parser.add_argument("--examples", type=int, default=100)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--variants", nargs="+", choices=VARIANTS, default=list(VARIANTS))
    parser.add_argument("--model", type=Path)
    parser.add_argument("--texts", type=int, default=200)
    parser.add_argument(
        "--seconds", type=float, default=float("inf"), help="overhead, explain: begin nothing after this"
    )
    parser.add_argument("--data", type=Path, help="default: NLPTASKS_DATA")
    parser.add_argument("--output", type=Path)
    given = parser.parse_args()
    if given.part in ("training", "explain"):
        import os

        given.data = given.data or Path(os.environ["NLPTASKS_DATA"])
    text = {
        "overhead": lambda: overhead(given.repeats, given.seconds),
        "lazy": lambda: lazy(given.repeats),
        "training": lambda: training(given.data, given.examples, given.seeds, given.variants),
        "explain": lambda: explain(given.data, given.model, given.texts, given.seconds),
    }[given.part]()
    print(text)
    if given.output is not None:
        write_section(given.output, given.part, text)


if __name__ == "__main__":
    main()
