"""Words of raw text beside nlp-zero and new-words-detection: precision and recall against lexicons, speed on one core.

    NLPTASKS_DATA=... python benchmarks/unsupervised.py --peers PYTHON --output benchmarks/unsupervised.md

PYTHON is the interpreter of an environment with `nlp-zero==0.1.6`, `new-words-detection==1.0.4`, gensim and
scikit-learn; without it, they are left out. Communities take `infomap` beside nlptasks.

The lexicon of a corpus is the set of words of two characters and more in its annotation, of ideographs, letters and
digits; the text is read without the spaces. All finders drop what occurs less than five times, the peers by a
probability of 5 / the number of characters. Precision is of the words found so often, recall of the lexicon's words
that occur so often, found five times or more. Seconds are of processor time, the imports of all included, the best of
--rounds. A peer that needs more than ten minutes is given up.
"""

import argparse
import gzip
import json
import math
import os
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterable
from pathlib import Path

from record import surroundings

ROOT = Path(__file__).parent.parent
CORPORA = {"cnc": "cnc_train.txt", "sxu": "sxu_train.txt", "weibo": "nlpcc2016_weibo_train.txt"}
FREQUENCIES = (5, 10, 20, 50, 100)
MULTIPLIERS = (2.0, 6.0, 20.0, 100.0)
GIVE_UP = 600
PARTS = {
    "words": "Words against the lexicons of annotated text",
    "speed": "Speed on one core",
    "surprise": "Kolmogorov distance of the p-values of 100,000 random pairs from uniform ones",
    "vectors": "Vectors of words: classes and clusters of news titles, and pairs",
    "engines": "Spherical vectors on NumPy and on Keras",
    "communities": "Communities of sentences",
    "segmenter": "Segmenting gsdsimp_dev with the words of Wikipedia text",
    "weibo": "Segmenting weibo with words discovered from weibo, by a segmenter that has not seen it",
    "formats": "Vectors in gensim",
    "many": "100,000 sentences",
    "size": "A gigabyte of text",
}
EPOCHS = 5
"""of JoSE"""
TRAINED = 8000
"""sentences of each corpus that the segmenter without weibo is trained on"""
DISCOVERED = ("min_count=5", "min_count=20")
ENGINE_TITLES = 4000
GIGABYTE, CHANGED, SENTENCES = 10**9, 0.02, 100_000
OURS = """
import sys, time
from pathlib import Path
from nlptasks.discovery.passes import UNIT_BYTES, Corpus
from nlptasks.discovery.words import WordRules, discover
from nlptasks.pretraining.corpus import CorpusFormat, find_files, plan_units

path, output, folder = sys.argv[1:4]
rules = WordRules(**dict((name, float(value) if "." in value or "e" in value else int(value))
                         for name, value in (pair.split("=") for pair in sys.argv[4:])))
words = discover(Corpus(plan_units(find_files([path]), UNIT_BYTES), CorpusFormat(), Path(folder)), rules)
with open(output, "w", encoding="utf-8") as file:
    file.writelines(f"{word.word}\\t{word.frequency}\\t{word.freedom}\\n" for word in words)
print(time.process_time())
"""
ZERO = """
import collections, collections.abc, sys, time, warnings
warnings.simplefilter("ignore")
collections.Iterable = collections.abc.Iterable  # the package was written for Python before 3.10
from nlp_zero import Word_Finder

path, output = sys.argv[1:3]
lines = lambda: (line.rstrip("\\n") for line in open(path, encoding="utf-8"))
finder = Word_Finder(min_proba=float(sys.argv[4]), min_pmi=1)
finder.train(lines())
finder.find(lines())
with open(output, "w", encoding="utf-8") as file:
    file.writelines(f"{word}\\t{count}\\n" for word, count in finder.words.items())
print(time.process_time())
"""
DETECTION = """
import sys, time
from new_words_detection.wordSegment import SegDocument  # its own table takes pandas below 2

path, output = sys.argv[1:3]
found = SegDocument(open(path, encoding="utf-8").read(), max_word_len=4, min_tf=float(sys.argv[4])).word_tf_pmi_ent
with open(output, "w", encoding="utf-8") as file:
    file.writelines(f"{word.word}\\t{word.freq}\\n" for word in found)
print(time.process_time())
"""


def run(python: str, code: str, text: Path, *arguments: str, rounds: int = 1) -> tuple[dict[str, int], float] | None:
    """Words with counts, and seconds; None for what was given up or failed."""
    environment = os.environ | {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}
    seconds = []
    for _ in range(rounds):
        with tempfile.TemporaryDirectory() as folder:
            output = Path(folder) / "words.tsv"
            command = [python, "-c", code, str(text), str(output), folder, *arguments]
            try:
                done = subprocess.run(
                    command, env=environment, capture_output=True, encoding="utf-8", timeout=GIVE_UP, check=True
                )
            except subprocess.TimeoutExpired:
                return None
            except subprocess.CalledProcessError as error:
                print(error.stderr[-2000:], file=sys.stderr)
                return None
            seconds.append(float(done.stdout.split()[-1]))
            rows = [line.split("\t") for line in output.read_text(encoding="utf-8").splitlines()]
    return {row[0]: int(float(row[1])) for row in rows}, min(seconds)


def lexicon_of(path: Path) -> Counter[str]:
    """The words of an annotated file that count, with their frequencies."""
    words = Counter(word for line in path.read_text(encoding="utf-8").splitlines() for word in line.split())
    return Counter({word: n for word, n in words.items() if len(word) > 1 and word.isalnum()})


def scores(found: dict[str, int], gold: Counter[str], frequency: int) -> str:
    """Of the words found so often: number and precision. Of the lexicon's words that occur so often: recall."""
    words = {word: n for word, n in found.items() if n >= FREQUENCIES[0] and len(word) > 1 and not word.isdigit()}
    some = {word for word, n in words.items() if n >= frequency}
    wanted = {word for word, n in gold.items() if n >= frequency and not word.isdigit()}
    precision, recall = len(some & gold.keys()) / max(len(some), 1), len(words.keys() & wanted) / max(len(wanted), 1)
    return f"{len(some)} | {100 * precision:.1f} | {len(wanted)} | {100 * recall:.1f}"


def quality(folder: Path, work: Path, peers: str | None) -> Iterable[str]:
    """The table of precision and recall."""
    yield "| corpus | words that occur | finder | found | precision % | in the lexicon | recall % |"
    yield "|---|---|---|---|---|---|---|"
    for corpus, name in CORPORA.items():
        path = folder / "segmentation" / name
        text = work / f"{corpus}.txt"
        lines = path.read_text(encoding="utf-8").splitlines()
        text.write_text("".join(f"{''.join(line.split())}\n" for line in lines), encoding="utf-8")
        characters = sum(len(line) for line in lines)
        gold = lexicon_of(path)
        finders = {"nlptasks": run(sys.executable, OURS, text, "min_count=5")}
        finders["nlptasks, freedom > 0.5"] = run(
            sys.executable, OURS, text, "min_count=5", "freedom=1", "min_freedom=0.5"
        )
        if peers:
            finders["nlp-zero"] = run(peers, ZERO, text, str(5 / characters))
            finders["new-words-detection"] = run(peers, DETECTION, text, str(5 / characters))
        for frequency in FREQUENCIES:
            for finder, result in finders.items():
                shown = "given up | | | " if result is None else scores(result[0], gold, frequency)
                yield f"| {corpus} | {frequency} times | {finder} | {shown} |"


def speed(folder: Path, work: Path, peers: str | None, rounds: int) -> Iterable[str]:
    """The table of seconds: the same text, the same bounds, no smallest count but nlp-zero's own."""
    text = work / "all.txt"
    with open(text, "w", encoding="utf-8") as file:
        for path in sorted((folder / "text").glob("*.jsonl.gz")):
            with gzip.open(path, "rt", encoding="utf-8") as lines:
                file.writelines(json.loads(line)["text"] + "\n" for line in lines)
    characters = len(text.read_text(encoding="utf-8"))
    yield f"All of `text/`, {characters:,} characters, {text.stat().st_size / 1e6:.0f} MB:"
    yield ""
    yield "| finder | processor seconds | characters a second | words | also found by nlp-zero |"
    yield "|---|---|---|---|---|"
    found = {"nlptasks": run(sys.executable, OURS, text, "min_count=1", "min_length=1", "max_length=32", rounds=rounds)}
    found["nlptasks, as it comes"] = run(sys.executable, OURS, text, rounds=rounds)
    if peers:
        found["nlp-zero"] = run(peers, ZERO, text, "1e-7", rounds=1)
    others = found.get("nlp-zero")
    for finder, result in found.items():
        if result is not None:
            words, seconds = result
            both = f"{100 * len(words.keys() & others[0].keys()) / len(words):.1f} %" if others else ""
            yield f"| {finder} | {seconds:.1f} | {characters / seconds:,.0f} | {len(words):,} | {both} |"
    ours = found["nlptasks"]
    if others and ours:
        yield ""
        yield f"With the same bounds nlptasks is {others[1] / ours[1]:.1f} times as fast as nlp-zero."


def segmenter(folder: Path, work: Path) -> Iterable[str]:
    """F1 of the bundled segmenter on gsdsimp_dev with the words of wiki, without the documents of its sentences."""
    import nlptasks
    from nlptasks.metrics.segmentation import score_segmentation
    from nlptasks.text.segmented import read_segmented

    gold = read_segmented(folder / "segmentation" / "gsdsimp_dev.txt")
    texts = ["".join(words) for words in gold]
    with gzip.open(folder / "text" / "wiki.jsonl.gz", "rt", encoding="utf-8") as lines:
        documents = [json.loads(line)["text"] for line in lines]
    kept = [document for document in documents if not any(text in document for text in texts)]
    path = work / "wiki.txt"
    path.write_text("\n".join(kept), encoding="utf-8")
    yield f"{len(documents) - len(kept)} of {len(documents)} documents left out."
    yield ""
    yield "| dictionary | words | multiplier | F1 % |"
    yield "|---|---|---|---|"
    model = nlptasks.load("segmenter")
    yield f"| none | 0 | | {100 * score_segmentation(gold, model.predict(texts))['f1']:.2f} |"
    for settings in (["min_count=5"], ["min_count=20"], ["min_count=20", "freedom=1", "min_freedom=1.0"]):
        result = run(sys.executable, OURS, path, *settings)
        assert result is not None
        for multiplier in MULTIPLIERS:
            weight = math.log(multiplier)
            model.dictionary = nlptasks.UserDictionary(dict.fromkeys(result[0], weight))
            f1 = score_segmentation(gold, model.predict(texts))["f1"]
            yield f"| {', '.join(settings)} | {len(result[0]):,} | {multiplier} | {100 * f1:.2f} |"


def weibo(folder: Path, work: Path) -> Iterable[str]:
    """F1 on the last fifth of the weibo file with the words of the other sentences, without their annotation."""
    import nlptasks
    from nlptasks.metrics.segmentation import score_segmentation
    from nlptasks.text.segmented import read_segmented

    files = []
    for corpus in ("cnc", "sxu"):
        lines = (folder / "segmentation" / CORPORA[corpus]).read_text(encoding="utf-8").splitlines(keepends=True)
        files.append(work / f"{corpus}.txt")
        files[-1].write_text("".join(lines[:TRAINED]), encoding="utf-8")
    options = "--standard cnc sxu --hold-out-every 20 20 --channels 48 48 48 --pair-size 32 --epochs 3"
    command = [sys.executable, "-m", "nlptasks", "segmentation", "train", "--train", *files, *options.split(" ")]
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    start = time.time()
    subprocess.run([*command, "--output", work / "segmenter"], env=environment, check=True, capture_output=True)
    yield (
        f"Trained {time.time() - start:.0f} s on the first {TRAINED:,} sentences each of cnc and sxu "
        f"(`{options}`, a twentieth of them held out), without a teacher."
    )
    gold = read_segmented(folder / "segmentation" / CORPORA["weibo"])
    first = len(gold) * 4 // 5
    path = work / "weibo_raw.txt"
    path.write_text("".join(f"{''.join(words)}\n" for words in gold[:first]), encoding="utf-8")
    gold, texts = gold[first:], ["".join(words) for words in gold[first:]]
    yield f"Words of {first:,} sentences, F1 on the other {len(gold):,}."
    yield ""
    yield "| standard | dictionary | words | multiplier | F1 % |"
    yield "|---|---|---|---|---|"
    found = {settings: run(sys.executable, OURS, path, *settings.split()) for settings in DISCOVERED}
    model = nlptasks.load(work / "segmenter")
    for standard in ("cnc", "sxu"):
        model.standard, model.dictionary = standard, nlptasks.UserDictionary()
        yield f"| {standard} | none | 0 | | {100 * score_segmentation(gold, model.predict(texts))['f1']:.2f} |"
        for settings, result in found.items():
            assert result is not None
            for multiplier in MULTIPLIERS:
                model.dictionary = nlptasks.UserDictionary(dict.fromkeys(result[0], math.log(multiplier)))
                f1 = score_segmentation(gold, model.predict(texts))["f1"]
                yield f"| {standard} | {settings} | {len(result[0]):,} | {multiplier} | {100 * f1:.2f} |"


OPENED = """
import sys
from gensim.models import KeyedVectors

vectors = KeyedVectors.load_word2vec_format(sys.argv[1])
print(len(vectors), vectors.vector_size)
for word in vectors.index_to_key[:100]:
    print(" ".join([word, *(near for near, _ in vectors.most_similar(word, topn=5))]))
"""


def formats(folder: Path, work: Path, peers: str | None) -> Iterable[str]:
    """Whether gensim opens what `vectors train` writes, and finds the same nearest words."""
    import numpy as np

    from nlptasks.discovery.spherical import read_word2vec

    if not peers:
        return
    rows = (folder / "classification" / "thucnews_titles_dev.tsv").read_text(encoding="utf-8").splitlines()
    (work / "titles.txt").write_text("".join(row.split("\t")[0] + "\n" for row in rows), encoding="utf-8")
    command_with_memory("vectors", "train", "--input", work / "titles.txt", "--output", work / "jose", "--epochs", 2)
    done = subprocess.run(
        [peers, "-c", OPENED, work / "jose" / "words.txt"], capture_output=True, encoding="utf-8", check=True
    )
    first, *lines = done.stdout.splitlines()
    names, vectors = read_word2vec(work / "jose" / "words.txt")
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    same = 0
    for line in lines:
        word, *near = line.split(" ")
        order = np.argsort(-(vectors @ vectors[names.index(word)]), kind="stable")
        same += [names[row] for row in order[:6] if names[row] != word][:5] == near
    yield (
        f"gensim's `KeyedVectors.load_word2vec_format` opens `words.txt` ({first.replace(' ', ' words, size ')}); its "
        f"five nearest words are those of `nlptasks vectors nearest` for {same} of the {len(lines)} most frequent ones."
    )


def surprise(folder: Path) -> Iterable[str]:
    """How far p-values of random pairs are from uniform ones, by the formula and counted."""
    import numpy as np

    import nlptasks
    from nlptasks.applications.similarity.surprise import Null
    from nlptasks.metrics.angles import kolmogorov_distance, tail

    with gzip.open(folder / "text" / "news_titles.jsonl.gz", "rt", encoding="utf-8") as lines:
        titles = [json.loads(line)["text"] for line in lines]
    held_out = (folder / "similarity" / "groups_dev.tsv").read_text(encoding="utf-8").splitlines()
    yield "| sentences | number | size | mean cosine | effective dimension | formula, as they are | formula | counted |"
    yield "|---|---|---|---|---|---|---|---|"
    encoder = nlptasks.load("similarity")
    for name, texts in (("groups_dev", [line.split("\t")[1] for line in held_out]), ("news titles", titles)):
        vectors = encoder.encode(texts)
        null = Null.of(vectors)
        plain = kolmogorov_distance(tail(null.cosines, vectors.shape[1]))
        yield (
            f"| {name} | {len(texts):,} | {vectors.shape[1]} | {np.mean(null.cosines):.3f} | {null.dimension:.1f} "
            f"| {plain:.3f} | {null.distance:.3f} | {null.empirical_distance:.3f} |"
        )


PARTITIONS = """
import sys, time
import numpy as np
from sklearn.cluster import AgglomerativeClustering, KMeans
from sklearn.metrics import adjusted_mutual_info_score, adjusted_rand_score
from sklearn.metrics.cluster import pair_confusion_matrix

vectors, gold, own = np.load(sys.argv[1]), np.load(sys.argv[2]), np.load(sys.argv[3])
k = len(np.unique(gold))
partitions = {"infomap": lambda: own}
if sys.argv[4] == "all":
    agglomerative = AgglomerativeClustering(k, metric="cosine", linkage="average")
    partitions[f"agglomerative (average cosine), the true k = {k} given"] = lambda: agglomerative.fit_predict(vectors)
    partitions[f"k-means, the true k = {k} given"] = lambda: KMeans(k, n_init=1, random_state=0).fit_predict(vectors)
for name, partition in partitions.items():
    start = time.time()
    found = partition()
    seconds = time.time() - start
    (tn, fp), (fn, tp) = pair_confusion_matrix(gold, found).astype("float64")
    scores = adjusted_rand_score(gold, found), adjusted_mutual_info_score(gold, found), 2 * tp / (2 * tp + fp + fn)
    print(f"{name} | {len(np.unique(found))} | " + " | ".join(f"{score:.3f}" for score in scores) + f" | {seconds:.1f}")
"""


def communities(folder: Path, work: Path, peers: str | None) -> Iterable[str]:
    """Communities beside k-means and agglomerative clustering, on groups of paraphrases and classes of titles."""
    import numpy as np

    import nlptasks
    from nlptasks.discovery.communities import find_communities, load_infomap, neighbor_graph

    load_infomap()  # before usearch

    def read(name: str) -> list[list[str]]:
        return [line.split("\t") for line in (folder / name).read_text(encoding="utf-8").splitlines()]

    encoder = nlptasks.load("similarity")
    titles = read("classification/thucnews_titles_dev.tsv")[::2]
    sets = {
        "groups_dev": [(row[1], row[0]) for row in read("similarity/groups_dev.tsv")],
        "half of thucnews_titles_dev": [(row[0], row[1]) for row in titles],
    }
    yield "| sentences | number | clustering | clusters | ARI | AMI | pairwise F1 | seconds |"
    yield "|---|---|---|---|---|---|---|---|"
    for name, rows in sets.items():
        texts, (_, gold) = [text for text, _ in rows], np.unique([label for _, label in rows], return_inverse=True)
        index = encoder.make_index(texts)
        vectors = index.vectors(np.arange(len(texts)))
        settings = ((20, 0.3), (10, 0.3), (3, 0.8), (3, 0.9))
        for neighbors, least in settings:
            start = time.time()
            found = find_communities(neighbor_graph(*index.nearest(vectors, neighbors + 1), least))
            seconds = time.time() - start
            files = [work / f"{part}.npy" for part in ("vectors", "gold", "own")]
            _, own = np.unique([path[0] for path in found.paths], return_inverse=True)
            for path, values in zip(files, (vectors, gold, own), strict=True):
                np.save(path, values)
            if peers:
                done = subprocess.run(
                    [peers, "-c", PARTITIONS, *files, "all" if (neighbors, least) == settings[-1] else "own"],
                    capture_output=True,
                    encoding="utf-8",
                    check=True,
                )
                lines = done.stdout.splitlines()
                own_line = (
                    lines[0].rsplit("|", 1)[0].replace("infomap", f"communities, {neighbors} neighbors, >= {least}")
                )
                yield f"| {name} | {len(texts):,} | {own_line}| {seconds:.1f} |"
        if peers:
            yield from (f"| {name} | {len(texts):,} | {line} |" for line in lines[1:])


def gigabyte(folder: Path, path: Path) -> None:
    """Writes a gigabyte: the text again and again, a fiftieth of its characters replaced by others of the same text."""
    import numpy as np

    documents = []
    for source in sorted((folder / "text").glob("*.jsonl.gz")):
        with gzip.open(source, "rt", encoding="utf-8") as lines:
            documents += [json.loads(line)["text"] for line in lines]
    text = "\n".join(documents)
    points = np.frombuffer(text.encode("utf-32-le"), "<u4")
    draw = np.random.default_rng(0)
    with open(path, "wb") as file:
        while file.tell() < GIGABYTE:
            changed = points.copy()
            places = draw.integers(0, len(points), int(CHANGED * len(points)))
            places = places[points[places] != ord("\n")]
            changed[places] = points[draw.permutation(places)]
            file.write(changed.tobytes().decode("utf-32-le").encode("utf-8") + b"\n")


def command_with_memory(*words: object) -> tuple[float, float, str]:
    """Runs `nlptasks WORDS`: seconds, the most MiB that it and its processes held together, and the last line."""
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    start, most = time.time(), 0
    arguments = [sys.executable, "-m", "nlptasks", *map(str, words)]
    with tempfile.TemporaryFile("w+", encoding="utf-8") as said:
        process = subprocess.Popen(arguments, env=environment, stdout=subprocess.DEVNULL, stderr=said)
        while process.poll() is None:
            most = max(most, _held(process.pid))
            time.sleep(0.2)
        said.seek(0)
        lines = said.read().splitlines()
    assert process.returncode == 0, lines[-5:]
    return time.time() - start, most / 1024, lines[-1]


def _held(root: int) -> int:
    """KiB that a process and those that it started hold, what they share counted once (Linux)."""
    parents = {}
    for status in Path("/proc").glob("[0-9]*/stat"):
        try:
            parents[int(status.parent.name)] = int(status.read_text(encoding="utf-8").rpartition(")")[2].split()[1])
        except OSError:
            continue
    family = {root}
    while more := {child for child, parent in parents.items() if parent in family} - family:
        family |= more
    total = 0
    for each in family:
        try:
            rows = Path(f"/proc/{each}/smaps_rollup").read_text(encoding="utf-8").splitlines()
        except OSError:
            continue
        total += sum(int(row.split()[1]) for row in rows if row.startswith("Pss:"))
    return total


def many(folder: Path, work: Path) -> Iterable[str]:
    """`cluster` on many sentences: seconds and memory of the whole command."""
    pairs = (folder / "similarity" / "atec.tsv").read_text(encoding="utf-8").splitlines()
    texts = list(dict.fromkeys(text for line in pairs for text in line.split("\t")[:2]))[:SENTENCES]
    (work / "many.txt").write_text("".join(f"{text}\n" for text in texts), encoding="utf-8")
    yield "| command | input | cores | seconds | MiB at most | says |"
    yield "|---|---|---|---|---|---|"
    seconds, most, said = command_with_memory("cluster", "--input", work / "many.txt", "--output", work / "communities")
    said, cores = said.rpartition(": ")[2], len(os.sched_getaffinity(0))
    yield f"| `cluster` | {len(texts):,} sentences of atec | {cores} | {seconds:.0f} | {most:.0f} | {said} |"


def size(folder: Path, work: Path) -> Iterable[str]:
    """`discover` on a gigabyte: seconds and memory of the whole command."""
    gigabyte(folder, work / "large.txt")
    megabytes, cores = (work / "large.txt").stat().st_size / 1e6, len(os.sched_getaffinity(0))
    yield "| command | input | cores | seconds | MiB at most | says |"
    yield "|---|---|---|---|---|---|"
    for limit in (256, 32):
        options = ("--megabytes", limit, "--output", work / "words.tsv")
        seconds, most, said = command_with_memory("discover", "--input", work / "large.txt", *options)
        name = f"`discover --megabytes {limit}`"
        yield f"| {name} | {megabytes:,.0f} MB | {cores} | {seconds:.0f} | {most:.0f} | {said} |"


SKIP_GRAM = """
import sys
import numpy as np
from gensim.models import Word2Vec

lines = [line.split() for line in open(sys.argv[1], encoding="utf-8").read().splitlines()]
size, window, epochs = map(int, sys.argv[3:6])
model = Word2Vec(lines, sg=1, vector_size=size, window=window, epochs=epochs, min_count=5, workers=1, seed=1)
means = [np.mean([model.wv[word] for word in words if word in model.wv] or [np.zeros(size)], axis=0) for words in lines]
np.save(sys.argv[2], np.array(means, "float32"))
"""


def word_vectors(texts: list[str], work: Path, peers: str | None) -> tuple[dict, str]:
    """Vectors of texts by JoSE, TF-IDF and, with peers, skip-gram; and what was done."""
    import numpy as np

    import nlptasks
    from nlptasks.discovery.cutting import cut_documents
    from nlptasks.discovery.spherical import SphericalOptions, SphericalTrainer

    cut = nlptasks.load("segmenter").segment(texts)
    text = [[word for word in words if any(map(str.isalnum, word))] for words in cut]
    options = SphericalOptions(epochs=EPOCHS)
    tokens, names, counts = cut_documents([" ".join(words) for words in text], _split, work, options.min_count)
    start = time.process_time()
    found = np.empty((len(texts), options.vector_size), "float32")
    trainer = SphericalTrainer(counts, found, options)
    trainer.train(tokens)
    seconds = time.process_time() - start
    of = np.repeat(np.arange(len(texts)), np.diff(tokens.starts))
    means = np.zeros_like(found)
    np.add.at(means, of, trainer.words[tokens.ids])
    table = np.zeros((len(texts), len(names)), "float32")
    np.add.at(table, (of, tokens.ids), 1)
    table *= np.log(len(texts) / (table > 0).sum(axis=0))
    ways = {"JoSE, mean of words": means, "JoSE, documents": found}
    if peers:
        (work / "texts.txt").write_text("".join(" ".join(words) + "\n" for words in text), encoding="utf-8")
        settings = [str(each) for each in (options.vector_size, options.window, 3 * options.epochs)]
        command = [peers, "-c", SKIP_GRAM, work / "texts.txt", work / "means.npy", *settings]
        subprocess.run(command, check=True, capture_output=True)
        ways["skip-gram (gensim), mean of words"] = np.load(work / "means.npy")
    ways["TF-IDF of words"] = table
    told = f"{len(texts):,} texts, {len(names):,} words, {options.epochs} epochs ({3 * options.epochs} of skip-gram)"
    return ways, f"{told}, window {options.window}; JoSE: {seconds:.0f} s."


def vectors(folder: Path, work: Path, peers: str | None) -> Iterable[str]:
    """Titles: the class by the five nearest neighbors of the other half, clusters. Pairs: Spearman of the cosine."""
    import numpy as np

    from nlptasks.metrics.similarity import score_pairs

    path = folder / "classification" / "thucnews_titles_dev.tsv"
    rows = [line.split("\t") for line in path.read_text(encoding="utf-8").splitlines()]
    labels = np.array([int(row[1]) for row in rows])
    ways, told = word_vectors([row[0] for row in rows], work, peers)
    yield told
    yield ""
    yield "| vectors | accuracy % | ARI of k-means, the true k = 10 given | AMI |"
    yield "|---|---|---|---|"
    for name, values in ways.items():
        scores = " | "
        if peers:
            np.save(work / "vectors.npy", values / np.maximum(np.linalg.norm(values, axis=1, keepdims=True), 1e-9))
            np.save(work / "gold.npy", labels)
            command = [peers, "-c", K_MEANS, work / "vectors.npy", work / "gold.npy"]
            scores = subprocess.run(command, capture_output=True, encoding="utf-8", check=True).stdout.strip()
        yield f"| {name} | {100 * _by_neighbors(values, labels):.1f} | {scores} |"
    pairs = [
        line.split("\t") for line in (folder / "similarity" / "lcqmc_dev.tsv").read_text(encoding="utf-8").splitlines()
    ]
    texts = list(dict.fromkeys(text for pair in pairs for text in pair[:2]))
    number = {text: row for row, text in enumerate(texts)}
    ways, told = word_vectors(texts, work, peers)
    yield ""
    yield f"Pairs of lcqmc_dev, the vectors of its own sentences, without the labels. {told}"
    yield ""
    yield "| vectors | Spearman |"
    yield "|---|---|"
    gold = np.array([int(pair[2]) for pair in pairs])
    for name, values in ways.items():
        values = values / np.maximum(np.linalg.norm(values, axis=1, keepdims=True), 1e-9)
        first, second = (values[[number[pair[side]] for pair in pairs]] for side in (0, 1))
        yield f"| {name} | {score_pairs((first * second).sum(axis=1), gold)['spearman']:.3f} |"


def engines(folder: Path, work: Path) -> Iterable[str]:
    """Pairs a second and vectors of the same training on both, on the words of news titles."""
    import keras
    import numpy as np

    import nlptasks
    from nlptasks.discovery.cutting import cut_documents
    from nlptasks.discovery.spherical import SphericalOptions, SphericalTrainer
    from nlptasks.discovery.spherical_keras import KerasTrainer

    path = folder / "classification" / "thucnews_titles_dev.tsv"
    texts = [line.split("\t")[0] for line in path.read_text(encoding="utf-8").splitlines()][:ENGINE_TITLES]
    cut = nlptasks.load("segmenter").segment
    yield f"{len(texts):,} titles, one epoch, the first batch left out of the time; otherwise the defaults."
    yield ""
    yield "| | batch | pairs a second | largest difference of a vector's number |"
    yield "|---|---|---|---|"
    tokens, _, counts = cut_documents(texts, cut, work, 5)
    for size in (1024, 8192):
        options, found = SphericalOptions(epochs=1, batch_size=size), []
        for name, kind in (("NumPy", SphericalTrainer), (f"Keras on {keras.backend.backend()}", KerasTrainer)):
            trainer = kind(counts, np.empty((len(texts), options.vector_size), "float32"), options)
            step, times = trainer.step, []

            def timed(*batch, step=step, times=times):
                loss = step(*batch)
                times.append((time.perf_counter(), len(batch[0])))
                return loss

            trainer.step = timed
            trainer.train(tokens)
            pairs = sum(count for _, count in times[1:])
            found.append(np.concatenate([trainer.words, trainer.contexts, trainer.documents]))
            pace = pairs / (times[-1][0] - times[0][0])
            yield f"| {name} | {size:,} | {pace:,.0f} | {abs(found[-1] - found[0]).max():.1e} |"


K_MEANS = """
import sys
import numpy as np
from sklearn.cluster import KMeans
from sklearn.metrics import adjusted_mutual_info_score, adjusted_rand_score

vectors, gold = np.load(sys.argv[1]), np.load(sys.argv[2])
found = KMeans(len(np.unique(gold)), n_init=3, random_state=0).fit_predict(vectors)
print(f"{adjusted_rand_score(gold, found):.3f} | {adjusted_mutual_info_score(gold, found):.3f}")
"""


def _split(texts: list[str]) -> list[list[str]]:
    return [text.split() for text in texts]


def _by_neighbors(vectors, labels) -> float:
    """The share of odd rows whose class is that of most of their five nearest even rows, by cosine."""
    import numpy as np

    rows = vectors / np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), 1e-9)
    cosines = rows[1::2] @ rows[::2].T
    nearest = np.argpartition(-cosines, 5, axis=1)[:, :5]
    votes = np.zeros((len(nearest), labels.max() + 1))
    for column in nearest.T:
        votes[np.arange(len(nearest)), labels[::2][column]] += cosines[np.arange(len(nearest)), column]
    return float((votes.argmax(axis=1) == labels[1::2]).mean())


def main() -> None:
    """Measures, prints, and writes the record."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--peers", help="Python of the environment with the peers")
    parser.add_argument("--rounds", type=int, default=3, help="repetitions of a measurement of time")
    parser.add_argument("--part", nargs="*", default=list(PARTS), choices=PARTS, help="measure only these")
    parser.add_argument("--output", type=Path, help="file to write")
    options = parser.parse_args()
    folder = Path(os.environ["NLPTASKS_DATA"])
    lines = ["# Text without labels", "", f"{surroundings('numpy')}. Made by `benchmarks/unsupervised.py`.", ""]
    with tempfile.TemporaryDirectory() as temporary:
        work = Path(temporary)
        makers = {
            "words": lambda: quality(folder, work, options.peers),
            "speed": lambda: speed(folder, work, options.peers, options.rounds),
            "surprise": lambda: surprise(folder),
            "vectors": lambda: vectors(folder, work, options.peers),
            "engines": lambda: engines(folder, work),
            "communities": lambda: communities(folder, work, options.peers),
            "segmenter": lambda: segmenter(folder, work),
            "weibo": lambda: weibo(folder, work),
            "formats": lambda: formats(folder, work, options.peers),
            "many": lambda: many(folder, work),
            "size": lambda: size(folder, work),
        }
        for name in options.part:
            lines += [f"## {PARTS[name]}", ""]
            for line in makers[name]():
                lines.append(line)
                print(line, flush=True)
            lines.append("")
    if options.output:
        options.output.write_text("\n".join(lines), encoding="utf-8")


if __name__ == "__main__":
    main()
