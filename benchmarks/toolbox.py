"""The training toolbox measured: each extension's overhead, lazy rows, what options change in a score, explanations.

    python benchmarks/toolbox.py --part overhead --output benchmarks/toolbox.md
    python benchmarks/toolbox.py --part lazy --output benchmarks/toolbox.md
    NLPTASKS_DATA=... python benchmarks/toolbox.py --part training --work DIR --output benchmarks/toolbox.md
    NLPTASKS_DATA=... python benchmarks/toolbox.py --part regularisers --work DIR --output benchmarks/toolbox.md
    NLPTASKS_DATA=... python benchmarks/toolbox.py --part tasks --work DIR --output benchmarks/toolbox.md
    NLPTASKS_DATA=... python benchmarks/toolbox.py --part explain --work DIR --output benchmarks/toolbox.md

Each part replaces its own section of the record. Overhead: a step of the bundled `mini` with a classifier's head on
16 x 128 tokens, each extension against plain Adam; steps alternate, so that other work on the machine meets both. Lazy:
an embedding of 250,000 rows. The others keep each finished run (explain: each text) in DIR, and a command that was
ended, or that stopped at --seconds, goes on from there; its table says what was not run. Their trainings are those of
`toolbox_training.py`. Explain: deletion curves of a classifier of reviews.
"""

import argparse
import os
import re
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from record import surroundings
from toolbox_training import (
    ALL,
    RESAMPLES,
    SETS,
    Kept,
    Setting,
    classifier_to_explain,
    explained_in_words,
    regularisers,
    split,
    tasks,
    training,
)

from nlptasks.train.interruption import TrainingInterrupted

SHAPE, RATE = (16, 128), 1e-4
CHARACTERS, WIDTH = 22, 24
"""characters of a text that is explained, and tokens of its row"""
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


ORDERS = (
    "integrated gradients",
    "gradient x input",
    "gradient norm",
    "attention rollout",
    "occlusion",
    "random order",
)


def explain(directory: Path, texts: Sequence[str], kept: Kept) -> str:
    """A table of deletion curves: how far the label's logit falls where the tokens that count most are masked."""
    opened: list[Any] = []
    programs: dict[str, Any] = {}

    def measure(number: int, text: str) -> dict[str, Any]:
        import nlptasks
        from nlptasks.explain.explained import label_of_text
        from nlptasks.explain.methods import Methods

        classifier = opened[0] if opened else nlptasks.load(directory)
        opened[:] = [classifier]
        explained = label_of_text(classifier, text, width=WIDTH)
        methods = programs[explained.what] = Methods(explained, programs.get(explained.what))
        found = methods.integrated_gradients()
        scores = (
            found.scores,
            methods.gradient_times_input(),
            methods.gradient_norm(),
            methods.attention_rollout(),
            methods.occlusion(),
            np.random.default_rng([3, number]).random(len(found.scores)),
        )
        falls = found.value - methods.deletion_curve(np.stack(scores)).mean(axis=-1)
        return {"falls": [round(float(fall), 5) for fall in falls], "complete": found.complete, "steps": found.steps}

    each = [
        kept.of({"explained": str(directory), "number": number, "width": WIDTH}, lambda n=number, t=text: measure(n, t))
        for number, text in enumerate(texts)
    ]
    found = [one for one in each if one is not None]
    if not found:
        return "Not run.\n"
    falls = np.array([one["falls"] for one in found])
    random, rows = np.random.default_rng(3), []
    for number, name in enumerate(ORDERS):
        apart = falls[:, 0] - falls[:, number]
        drawn = [np.mean(apart[random.integers(0, len(apart), len(apart))]) for _ in range(RESAMPLES)]
        low, high = np.percentile(drawn, [2.5, 97.5])
        interval = f"{np.mean(apart):+.3f} ({low:+.3f} to {high:+.3f})" if number else ""
        rows.append(f"| {name} | {falls[:, number].mean():.3f} | {interval} |")
    head = "| order | mean fall of the logit | integrated gradients minus this one (95 %) |\n|---|---|---|\n"
    steps, complete = [one["steps"] for one in found], sum(one["complete"] for one in found)
    left = (
        f" Not run: {len(each) - len(found)} of {len(each)}; the same command goes on."
        if len(found) < len(each)
        else ""
    )
    tail = (
        f"\n\n{len(found)} reviews of at most {CHARACTERS} characters, each explained for its best label; mean over "
        f"10, 20, 30 and 50 % of the tokens masked; intervals are paired bootstraps over the reviews. Completeness "
        f"within 1 %: {complete} of {len(found)}; steps: median {int(np.median(steps))}, at most {max(steps)}.{left}\n"
    )
    return head + "\n".join(rows) + tail


TITLES = {
    "overhead": "Overhead",
    "lazy": "Lazy rows",
    "training": "Fine-tuning",
    "regularisers": "Mixtures of texts and smoothed labels",
    "tasks": "Two tasks together",
    "explain": "Deletion curves of explanations",
}


def write_section(path: Path, part: str, text: str) -> None:
    """Puts a section into the record, in the place of the one that is there."""
    import keras

    title, backend = TITLES[part], keras.backend.backend()
    section = f"## {title} ({backend})\n\n{surroundings('keras', backend)}\n\n{text.strip()}\n\n"
    record = path.read_text(encoding="utf-8") if path.exists() else "# The training toolbox, measured\n\n"
    pattern = re.compile(rf"^## {title} \({backend}\)\n.*?(?=^## |\Z)", re.MULTILINE | re.DOTALL)
    record = pattern.sub(lambda _: section, record) if pattern.search(record) else f"{record.rstrip()}\n\n{section}"
    path.write_text(record.rstrip() + "\n", encoding="utf-8")


def main() -> int:
    """Runs one part and writes its section."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--part", choices=TITLES, required=True)
    parser.add_argument("--repeats", type=int, default=15)
    parser.add_argument("--examples", type=int, nargs="+", default=[100, 500, ALL], help="0: all; training: the first")
    parser.add_argument("--sets", nargs="+", choices=SETS, default=["ChnSentiCorp", "iflytek"])
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--layers", type=int, default=1, help="of mini, from the first on")
    parser.add_argument("--seq-length", type=int, default=32)
    parser.add_argument("--model", type=Path, help="explain: default: a classifier trained on 2000 reviews for it")
    parser.add_argument("--texts", type=int, default=200)
    parser.add_argument("--seconds", type=float, default=float("inf"), help="begin nothing after this")
    parser.add_argument("--data", type=Path, help="default: NLPTASKS_DATA")
    parser.add_argument("--work", type=Path, help="keeps what is finished; the same command goes on there")
    parser.add_argument("--output", type=Path)
    given = parser.parse_args()
    if given.part in ("overhead", "lazy"):
        text = overhead(given.repeats, given.seconds) if given.part == "overhead" else lazy(given.repeats)
    else:
        if given.work is None:
            parser.error("--work DIR is needed for this part")
        data = given.data or Path(os.environ["NLPTASKS_DATA"])
        kept = Kept(given.work / "results.jsonl", given.seconds)
        setting = Setting(data, given.work, kept, given.layers, given.seq_length, given.seeds)
        try:
            text = _from_runs(given, setting)
        except TrainingInterrupted:
            print("ended; the same command goes on")
            return 130
    print(text)
    if given.output is not None:
        write_section(given.output, given.part, text)
    return 0


def _from_runs(given: argparse.Namespace, setting: Setting) -> str:
    if given.part == "training":
        return training(setting, given.examples[0])
    if given.part == "regularisers":
        return regularisers(setting, given.examples, given.sets)
    if given.part == "tasks":
        return tasks(setting)
    model = given.model or classifier_to_explain(setting)
    texts = [text.text[:CHARACTERS] for text in split(setting.data, "ChnSentiCorp", 1, 0)[2][: given.texts]]
    if model is None:
        return "Not run.\n"
    return explain(model, texts, setting.kept) + ("" if given.model else explained_in_words(setting))


if __name__ == "__main__":
    sys.exit(main())
