"""Sentence similarity measured: retrieval, pairs, speed, steps with many groups, and an index of a million vectors.

    python benchmarks/similarity.py --runs runs/similarity --pairs-model runs/pairs --output benchmarks/similarity.md

`--runs` holds runs of tasks/sentence_similarity.py named LOSS-SEED (softmax-1, am-1, ...; full-1: am without sampling),
`--pairs-model` one that was trained without the sentences of the pair files; both as docs/similarity.md says.
NLPTASKS_DATA names the folder of public data sets.
"""

import argparse
import concurrent.futures
import datetime
import itertools
import multiprocessing
import os
import platform
import resource
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np

ROOT = Path(__file__).parents[1]
LOSSES = {"softmax": "softmax", "am": "am", "a": "a", "arc": "arc", "full": "am, every group in every step"}
PAIR_FILES = ("lcqmc", "bq", "afqmc", "oppo")
PARTS = ("retrieval", "siamese", "pairs", "speed", "groups", "index")
MEAN_WEIGHT, HYBRID, GRU_HYBRID = 0.7, 0.5, 0.5
"""chosen on the held-out tenth of groups_train.tsv"""
GROUP_COUNTS = (1_000, 10_000, 100_000, 1_000_000)


def retrieval(data: Path, runs: Path) -> Iterator[str]:
    """Top-k on groups_dev.tsv by loss, alone and blended, beside lexical scores and the mean of embeddings."""
    import nlptasks
    from nlptasks.applications.similarity.gru import GruModel
    from nlptasks.metrics.similarity import score_retrieval
    from nlptasks.text.groups import read_groups
    from nlptasks.text.lexical import LexicalIndex

    groups = read_groups([data / "groups_dev.tsv"])
    sentences, labels = groups.sentences, groups.labels
    lexical = LexicalIndex.build(sentences)
    bm25 = np.stack([lexical.bm25(sentence) for sentence in sentences])
    tfidf = lexical.tfidf()

    def top(score_block: Callable[[int, int], np.ndarray]) -> list[float]:
        scores = score_retrieval(score_block, labels)
        return [scores[f"top{k}"] for k in (1, 5, 10)]

    yield f"{len(sentences)} sentences in {groups.count} groups of groups_dev.tsv."
    yield ""
    yield "| | top-1 | top-5 | top-10 |"
    yield "|---|---|---|---|"
    yield _row("BM25, characters and pairs", [top(lambda a, b: bm25[a:b])])
    yield _row(
        "TF-IDF, characters and pairs",
        [top(lambda a, b: np.stack([tfidf.scores(sentence) for sentence in sentences[a:b]]))],
    )
    means: list[list[float]] = []
    for loss, title in LOSSES.items():
        rows: dict[str, list[list[float]]] = {}
        for path in sorted(runs.glob(f"{loss}-[0-9]*/scores.json")):  # of runs that ended
            model = nlptasks.load(path.parent).model
            cosines = {
                weight: _cosines(
                    GruModel(model.vocab, model.arrays, model.seq_length, weight, model.runtime.pooling), sentences
                )
                for weight in (0.0, MEAN_WEIGHT, 1.0)
            }
            mixed = cosines[MEAN_WEIGHT]
            blends = {
                f"GRU, {title}": cosines[0.0],
                f"- with the mean of its embeddings ({MEAN_WEIGHT})": mixed,
                f"- the first with BM25 ({GRU_HYBRID})": _blend(cosines[0.0], bm25, GRU_HYBRID),
                f"- the second with BM25 ({HYBRID})": _blend(mixed, bm25, HYBRID),
            }
            for name, scores in blends.items():
                rows.setdefault(name, []).append(top(lambda a, b, scores=scores: scores[a:b]))
            if loss == "am":
                means.append(top(lambda a, b, scores=cosines[1.0]: scores[a:b]))
        for name, values in rows.items():
            yield _row(f"{name}, {len(values)} seed{'s' * (len(values) > 1)}", values)
    if means:
        yield _row("mean of the embeddings of the am models alone", means)


def _cosines(model, sentences: list[str]) -> np.ndarray:
    vectors = model.encode(sentences)
    return vectors @ vectors.T


def _blend(cosines: np.ndarray, words: np.ndarray, weight: float) -> np.ndarray:
    return (1 - weight) * cosines + weight * words


def _row(name: str, runs: list[list[float]]) -> str:
    """A row of the means over seeds, with the standard deviation where there are several."""
    cells = []
    for values in zip(*runs, strict=True):
        spread = f" ± {statistics.stdev(values):.4f}" if len(values) > 1 else ""
        cells.append(f"{statistics.mean(values):.4f}{spread}")
    return f"| {name} | " + " | ".join(cells) + " |"


def siamese(data: Path, epochs: int = 8) -> Iterator[str]:
    """A pair classifier on two GRUs with shared weights: sigmoid of a linear map of |u - v| and u * v."""
    import keras
    from keras import ops

    from nlptasks.applications.similarity.gru_runtime import GruRuntime
    from nlptasks.applications.similarity.network import GruEncoder
    from nlptasks.applications.similarity.samples import GroupExamples
    from nlptasks.backend import compile_train_step
    from nlptasks.metrics.similarity import score_retrieval
    from nlptasks.text.characters import CharacterVocab
    from nlptasks.text.groups import read_groups
    from nlptasks.train.optimizers import make_adam
    from nlptasks.train.run import start_run

    training = read_groups([data / "groups_train.tsv"])
    start_run(1)
    vocab = CharacterVocab.build(training.sentences, 2)
    ids = vocab.encode_batch(training.sentences, 64)
    examples = GroupExamples(ids, training.labels, token_drop=0.1, order_noise=4, seed=1)

    class Siamese(keras.Model):
        def __init__(self):
            super().__init__()
            self.encoder, self.head = GruEncoder(len(vocab), dropout=0.1, pooling="mean"), keras.layers.Dense(1)

        def build(self):
            self.encoder.build()
            self.head.build((None, 256))
            self.built = True

        def pair_loss(self, batch):
            u, v = (self.encoder(batch[name], training=True) for name in ("first", "second"))
            logits = self.head(ops.concatenate([ops.abs(u - v), u * v], axis=1))[:, 0]
            return ops.mean(ops.binary_crossentropy(batch["label"], logits, from_logits=True))

    model = Siamese()
    model.build()
    random = np.random.default_rng(1)
    followers = np.where(np.roll(training.labels, -1) == training.labels, np.arange(1, len(ids) + 1), -1)
    positives = np.flatnonzero(followers >= 0)
    steps = epochs * len(positives) // 128
    step = compile_train_step(model, make_adam(4e-3, steps, 0.05), model.pair_loss)
    for number in range(steps):
        left = random.choice(positives, 128)
        first = np.concatenate([left, random.integers(len(ids), size=128)])
        second = np.concatenate([followers[left], random.integers(len(ids), size=128)])
        sides = [examples.arrays((side, number, rows), 256)["token_ids"] for side, rows in enumerate((first, second))]
        label = (training.labels[first] == training.labels[second]).astype("float32")
        step({"first": sides[0], "second": sides[1], "label": label})
    held_out = read_groups([data / "groups_dev.tsv"])
    vectors = GruRuntime(model.encoder.arrays(), "mean").encode_ids(vocab.encode_batch(held_out.sentences, 64))
    weights = ops.convert_to_numpy(model.head.kernel)[:, 0]

    def score(a: int, b: int) -> np.ndarray:
        apart = [np.abs(vectors - vectors[i]) @ weights[:128] for i in range(a, b)]
        return np.stack(apart) + (vectors[a:b] * weights[128:]) @ vectors.T

    scores = score_retrieval(score, held_out.labels)
    yield "| | top-1 | top-5 | top-10 |"
    yield "|---|---|---|---|"
    name = f"siamese GRU, pair classifier, {epochs} epochs, as many random negatives as positives, 1 seed"
    yield _row(name, [[scores[f"top{k}"] for k in (1, 5, 10)]])


def pairs(data: Path, model: Path) -> Iterator[str]:
    """AUC, accuracy and Spearman on the pair files."""
    import nlptasks
    from nlptasks.metrics.similarity import score_pairs
    from nlptasks.text.groups import read_pairs
    from nlptasks.text.lexical import LexicalIndex

    encoder = nlptasks.load(model)
    yield "| file | pairs | AUC | accuracy at the best threshold | Spearman | TF-IDF: AUC | accuracy | Spearman |"
    yield "|---|---|---|---|---|---|---|---|"
    for name in PAIR_FILES:
        rows = read_pairs(data / f"{name}_dev.tsv")
        ours = score_pairs(encoder.similarity(rows.first, rows.second), rows.labels)
        tfidf = LexicalIndex.build(rows.second).tfidf()
        words = [tfidf.scores(a)[i] for i, a in enumerate(rows.first)]
        theirs = score_pairs(words, rows.labels)
        cells = [f"{s[k]:.4f}" for s in (ours, theirs) for k in ("auc", "accuracy", "spearman")]
        yield f"| {name}_dev.tsv | {len(rows.labels)} | " + " | ".join(cells) + " |"


def speed(data: Path, model: str) -> Iterator[str]:
    """Sentences encoded a second, from text to vectors."""
    import nlptasks
    from nlptasks.text.groups import read_groups

    encoder = nlptasks.load(model)
    sentences = read_groups([data / "groups_train.tsv"]).sentences
    seconds, processor = [], []
    for _ in range(5):
        started, used = time.perf_counter(), time.process_time()
        encoder.encode(sentences)
        seconds.append(time.perf_counter() - started)
        processor.append(time.process_time() - used)
    single = []
    for sentence in sentences[:500]:
        started = time.perf_counter()
        encoder.encode([sentence])
        single.append(time.perf_counter() - started)
    mean = statistics.mean(map(len, sentences))
    yield (
        f"{len(sentences)} sentences of {mean:.1f} characters on average, text to vectors: "
        f"{len(sentences) / min(seconds):,.0f} a second (best of 5; median "
        f"{len(sentences) / statistics.median(seconds):,.0f}), {len(sentences) / statistics.median(processor):,.0f} "
        f"in a second of processor time (median); one sentence alone: "
        f"{1000 * statistics.median(single):.2f} ms (median of 500)."
    )


def many_groups(rows: int = 2048, batch_size: int = 256) -> Iterator[str]:
    """Processor time, which other programs do not change much, and memory of a step, by the number of groups."""
    yield f"Batches of {batch_size} sentences of 16 characters, {rows} groups a step; processor time, median of"
    yield "20 steps; each number of groups in a process of its own."
    yield ""
    yield "| groups | step, ms | of it drawing and moving rows, ms | table with Adam's slots, MiB | other memory, MiB |"
    yield "|---|---|---|---|---|"
    context = multiprocessing.get_context("spawn")
    with concurrent.futures.ProcessPoolExecutor(1, context, max_tasks_per_child=1) as pool:
        for count in GROUP_COUNTS:
            yield pool.submit(_steps_of, count, rows, batch_size).result()


def _steps_of(count: int, rows: int, batch_size: int) -> str:
    """The row of one number of groups."""
    from nlptasks.applications.similarity.network import GruEncoder
    from nlptasks.applications.similarity.table import SampledClassifier
    from nlptasks.backend import compile_train_step
    from nlptasks.train.optimizers import make_adam

    random = np.random.default_rng(1)
    optimizer = make_adam(1e-3, 1000)
    model = SampledClassifier(GruEncoder(2000), count, rows, optimizer)
    for table in model.host_tables:
        table.value += 0.0  # so that every page of it is there
    compiled = compile_train_step(model, optimizer, model.group_loss)
    inside, whole = [], []

    def timed(batch):
        started = time.process_time()
        loss = float(compiled(batch))
        inside.append(time.process_time() - started)
        return loss

    step = model.around(timed)
    for _ in range(25):
        batch = {
            "token_ids": random.integers(1, 2000, size=(batch_size, 16)).astype("int32"),
            "labels": random.integers(count, size=batch_size),
            "weights": np.ones(batch_size, "float32"),
        }
        started = time.process_time()
        step(model.sample(batch, random))
        whole.append(time.process_time() - started)
    outside = [a - b for a, b in zip(whole, inside, strict=True)]
    table = model.table_bytes / 2**20
    return (
        f"| {count:,} | {1000 * statistics.median(whole[5:]):.1f} | {1000 * statistics.median(outside[5:]):.1f} | "
        f"{table:,.1f} | {_resident() - table:,.0f} |"
    )


def million(data: Path, model: str, count: int) -> Iterator[str]:
    """An index of distinct clauses of the raw texts: build, memory, queries a second at a recall."""
    import nlptasks
    from nlptasks.applications.similarity.index import SentenceIndex

    encoder = nlptasks.load(model)
    clauses = _clauses(data.parent / "text", count)
    started = time.perf_counter()
    vectors = np.concatenate([encoder.encode(clauses[i : i + 50_000]) for i in range(0, len(clauses), 50_000)])
    encoding = time.perf_counter() - started
    # the lexical part is built on first use and is not part of this measurement
    index = SentenceIndex(encoder.vector_size, encoder.fingerprint)
    before, started = _resident(), time.perf_counter()
    for start in range(0, len(clauses), 100_000):
        index.add(clauses[start : start + 100_000], vectors[start : start + 100_000])
    building, memory = time.perf_counter() - started, _resident() - before
    random = np.random.default_rng(1)
    chosen = random.choice(len(clauses), 1000, replace=False)
    queries = vectors[chosen]
    expected = np.concatenate(
        [np.argpartition(-(queries[i : i + 50] @ vectors.T), 10, axis=1)[:, :10] for i in range(0, 200, 50)]
    )
    yield (
        f"{len(clauses):,} distinct clauses of 6 to 30 characters, vectors of {encoder.vector_size} numbers: "
        f"encoded in {encoding:.0f} s, graph built in {building:.0f} s ({len(clauses) / building:,.0f} a second), "
        f"{memory:,.0f} MiB with the texts' list."
    )
    with tempfile.NamedTemporaryFile(suffix=".usearch") as file:
        started = time.perf_counter()
        index._vectors.save(file.name)
        saving, size = time.perf_counter() - started, os.path.getsize(file.name) / 2**20
        started = time.perf_counter()
        index._vectors.view(file.name)
        mapping = time.perf_counter() - started
        yield f"File: {size:,.0f} MiB, saved in {saving:.1f} s, memory-mapped in {1000 * mapping:.1f} ms."
        yield ""
        yield "| candidates followed | recall of the 10 nearest, 200 queries | queries/s, memory-mapped |"
        yield "|---|---|---|"
        for expansion in (32, 64, 128, 256, 512):
            index._vectors.expansion_search = expansion
            index.nearest(queries[:50], 10, exact=False)
            started = time.perf_counter()
            found = index.nearest(queries, 10, exact=False)[0]
            seconds = time.perf_counter() - started
            recall = np.mean(
                [len(set(a) & set(b)) / 10 for a, b in zip(found[:200].tolist(), expected.tolist(), strict=True)]
            )
            yield f"| {expansion} | {recall:.4f} | {len(queries) / seconds:,.0f} |"


def _clauses(folder: Path, count: int) -> list[str]:
    import re

    from nlptasks.text import read_texts

    found: dict[str, None] = {}
    for path in sorted(folder.glob("*.jsonl.gz")):
        for text in read_texts(path):
            for clause in re.split(r"[，。！？；：、,.!?;:\s]+", text):
                if 6 <= len(clause) <= 30:
                    found[clause] = None
        if len(found) >= 2 * count:
            break
    clauses = list(found)
    if len(clauses) < count:  # neighboring ones joined until there are enough
        clauses += [a + b for a, b in itertools.pairwise(clauses)][: count - len(clauses)]
    np.random.default_rng(1).shuffle(clauses)
    return clauses[:count]


def _resident() -> float:
    """MiB of this process in memory."""
    status = Path("/proc/self/status")
    if status.is_file():
        for line in status.read_text(encoding="utf-8").splitlines():
            if line.startswith("VmRSS"):
                return int(line.split()[1]) / 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--parts", nargs="+", choices=PARTS, default=PARTS)
    parser.add_argument("--runs", type=Path, help="folder of runs named LOSS-SEED")
    parser.add_argument("--pairs-model", type=Path, help="a run without the sentences of the pair files")
    parser.add_argument("--model", default="similarity", help="for speed and index: a run directory or a bundled name")
    parser.add_argument("--vectors", type=int, default=1_000_000, help="of the index")
    parser.add_argument("--output", type=Path, help="write the record there; else it is printed only")
    options = parser.parse_args()
    folder = os.environ.get("NLPTASKS_DATA")
    if not folder:
        print("NLPTASKS_DATA must name the folder of public data sets, see data/README.md", file=sys.stderr)
        return 2
    data = Path(folder) / "similarity"
    jobs = {
        "retrieval": ("Retrieval within held-out groups", lambda: retrieval(data, options.runs)),
        "siamese": ("A siamese pair classifier", lambda: siamese(data)),
        "pairs": ("Pairs", lambda: pairs(data, options.pairs_model)),
        "speed": ("Speed of the GRU", lambda: speed(data, options.model)),
        "groups": ("Steps with many groups", many_groups),
        "index": ("An index of a million vectors", lambda: million(data, options.model, options.vectors)),
    }
    for part, needed in (("retrieval", options.runs), ("pairs", options.pairs_model)):
        if part in options.parts and needed is None:
            print(f"--parts {part} needs --{'runs' if part == 'retrieval' else 'pairs-model'}", file=sys.stderr)
            return 2
    lines = [
        "# Sentence similarity: scores and speed",
        "",
        f"Measured {datetime.date.today()} on {os.cpu_count()} cores of {_processor()}, {platform.system()}, Python "
        f"{platform.python_version()}, load {os.getloadavg()[0]:.1f}. Parts: {', '.join(options.parts)}.",
    ]
    print("\n".join(lines), flush=True)
    for part in options.parts:
        title, job = jobs[part]
        for line in ["", f"## {title}", "", *job()]:
            lines.append(line)
            print(line, flush=True)
    if options.output:
        from nlptasks.files import write_text

        write_text(options.output, "\n".join(lines) + "\n")
    return 0


def _processor() -> str:
    info = Path("/proc/cpuinfo")
    if info.is_file():
        for line in info.read_text(encoding="utf-8").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()


if __name__ == "__main__":
    sys.exit(main())
