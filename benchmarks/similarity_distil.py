"""A small sentence encoder taught by a large one: what the bundled encoder is made with. JAX trains, NumPy runs.

    NLPTASKS_DATA=... python benchmarks/similarity_distil.py texts --teacher DIR --output runs/texts.xz
    python benchmarks/similarity_distil.py train --teacher DIR --packed runs/texts.xz --output runs/distil --seconds 200
    python benchmarks/similarity_distil.py evaluate --model runs/distil/attention --packed runs/texts.xz --teacher DIR
    python benchmarks/similarity_distil.py bundle --model runs/distil/attention

`texts` packs sentences, groups and pairs to travel: raw text, questions and pairs of training files, cut into clauses
of at most 32 characters, without every sentence that any benchmark scores (`no_leakage.py`, the loose match); what is
scored stands apart in the same file. `train` makes the teacher's vectors, centers and projects them, and trains
students on them, then on groups and pairs as well; which student and which weight of the groups is chosen on a held-out
tenth of the groups and pairs. Time is the limit, not a number of steps. It leaves a directory that `nlptasks.load`
opens for each student kept, and `result.json`. `evaluate` scores a directory as it ships (NumPy alone) and times it;
`bundle` puts it where `nlptasks.load("similarity")` looks.
"""

import functools
import itertools
import json
import lzma
import os
import re
import shutil
import statistics
import sys
import textwrap
import threading
import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from nlptasks.files import atomic_path, write_text
from nlptasks.metrics.similarity import score_pairs, score_retrieval

# Texts, packed to travel

MOST_CHARACTERS = 32
"""of a sentence that is trained on; longer ones are cut at commas"""
CAPS = {"poetry": 60_000, "laws": 60_000, "csl": 60_000, "ner_msra": 90_000, "shopping": 120_000, "wiki": 60_000}
"""the most sentences of a domain: questions matter most, and the file is small"""
HYBRID_WEIGHT = 0.5
"""of the lexical score in a hybrid search, until `evaluate` has measured it"""
PAIR_FILES = ("lcqmc", "bq", "afqmc", "oppo")
PREFIX, PREFIX_PIECES = "query: ", 3
"""what the teacher reads before a sentence, and its pieces"""
_COMMAS = re.compile(r"(?<=[，,；;：:\n])")
QUESTIONS = ("cmrc2018_train", "multi_passage_train")


def clauses(text: str) -> Iterator[str]:
    """The sentences of a text; a long one is cut at commas into parts of at most MOST_CHARACTERS."""
    from nlptasks.text.sentences import split_sentences

    for sentence in split_sentences(text):
        part = ""
        for clause in _COMMAS.split(sentence.strip()):
            if len(part) + len(clause) > MOST_CHARACTERS:
                yield part.strip()
                part = ""
            part += clause
        yield part.strip()


@dataclass(kw_only=True)
class Texts:
    """Pack sentences, groups and pairs to travel."""

    output: Path
    most: int = 1_020_000
    """sentences in all, those of groups and pairs and the shortest of the others"""
    held_out_every: int = 10
    """every so manieth group and pair is for choosing"""
    teacher: Path = Path("pieces")
    """whose tokenizer cuts the sentences"""
    characters: int = 6_000
    """of the students' vocabulary, the most frequent"""
    ngrams: int = 70_000
    """runs of two to four characters, likewise"""
    seed: int = 1

    def run(self) -> None:
        collected = self.collect()
        print(json.dumps(collected[2], ensure_ascii=False), flush=True)
        self.pack(*collected[:2])

    def pack(self, texts: dict[str, list[str]], arrays: dict[str, np.ndarray]) -> None:
        """Cuts the sentences, counts runs of characters, and writes the file."""
        from tokenizers import Tokenizer

        from nlptasks.applications.similarity.ngrams import NgramVocab
        from nlptasks.text.characters import normalize

        sentences = texts.pop("sentences")
        tokenizer = Tokenizer.from_file(os.fspath(self.teacher / "tokenizer.json"))
        pieces = Pieces.of(tokenizer, sentences)
        lengths = pieces.lengths.copy()
        lengths[: 1 + max(int(arrays["group_rows"].max()), int(arrays["pairs"][:, :2].max()))] = 0
        kept = np.sort(np.argsort(lengths, kind="stable")[: self.most])
        kept = kept[~pieces.has_unknown[kept]]  # less a character, a sentence might equal one that is scored
        place = np.full(len(lengths), -1)
        place[kept] = np.arange(len(kept))
        pieces, sentences = pieces.select(kept), [sentences[i] for i in kept]
        arrays["pairs"][:, :2] = place[arrays["pairs"][:, :2]]
        arrays["pairs"] = arrays["pairs"][(arrays["pairs"] >= 0).all(1)]
        rows = place[arrays["group_rows"]]
        arrays |= {"group_rows": rows[rows >= 0], "group_labels": arrays["group_labels"][rows >= 0]}
        vocab = NgramVocab.build(sentences, self.characters, self.ngrams)
        restored = pieces.texts(tokenizer)
        wrong = sum(normalize(a) != normalize(b) for a, b in zip(sentences, restored, strict=True))
        texts["characters"] = vocab.characters
        arrays |= {"keys": vocab.keys} | pieces.arrays()
        write_packed(self.output, texts, arrays)
        back, again = read_packed(self.output)
        assert back == texts
        assert all(np.array_equal(arrays[n], again[n]) for n in arrays)
        size, count = self.output.stat().st_size / 1e6, len(sentences)
        print(f"{size:.2f} MB, {count} sentences, {wrong} of them not restored, {len(pieces.ids)} pieces", flush=True)

    def collect(self) -> tuple[dict[str, list[str]], dict[str, np.ndarray], dict[str, Any]]:
        """The sentences, numbered, and what is counted of them."""
        from no_leakage import documents, evaluation_keys, evaluation_texts, key, task_texts, text_files

        from nlptasks.text.groups import read_groups, read_pairs

        data = Path(os.environ["NLPTASKS_DATA"])
        by_file = evaluation_keys(data)
        scored = set().union(*by_file.values())
        fragments = {key(part) for _, own in evaluation_texts(data) for text in own for part in clauses(text)}
        texts: dict[str, int] = {}
        keys: dict[int, int] = {}

        def number(sentence: str) -> int:
            """Of a training sentence; -1 where it is scored."""
            if (own := texts.get(sentence)) is None:
                own = -1 if (hashed := key(sentence)) in scored or not hashed else len(keys)
                texts[sentence] = own
                if own >= 0:
                    keys[own] = hashed
            return own

        folder = data / "similarity"
        groups = read_groups([folder / "groups_train.tsv"])
        numbers = np.array([number(s) for s in groups.sentences])
        kept = np.flatnonzero(numbers >= 0)
        labels = groups.labels[kept]
        pairs = []
        for name in ("atec", "afqmc_train"):
            found = read_pairs(folder / f"{name}.tsv")
            rows = zip(found.first, found.second, found.labels.tolist(), strict=True)
            pairs += [(number(a), number(b), label) for a, b, label in rows]
        pairs = [row for row in dict.fromkeys(pairs) if min(row[:2]) >= 0]
        in_pairs = len(keys)
        sources: dict[str, Iterable[str]] = {"questions of reading": _questions(data)}
        sources |= {path.name.split(".")[0]: documents(path) for path in text_files(data)}
        sources |= task_texts(data)
        random = np.random.default_rng(self.seed)
        seen = set(keys.values())
        others: dict[str, list[str]] = {}
        for name, source in sources.items():
            own: dict[int, str] = {}
            for document in source:
                for part in clauses(document):
                    if 4 <= len(part) <= MOST_CHARACTERS and (hashed := key(part)) and hashed not in seen:
                        own[hashed] = part
            own = {hashed: part for hashed, part in own.items() if hashed not in scored and hashed not in fragments}
            found = list(own.values())
            most = CAPS.get(name, len(found))
            others[name] = [found[i] for i in np.sort(random.permutation(len(found))[:most])]
            seen.update(own)
        sentences = [sentence for sentence, own in texts.items() if own >= 0]
        more = sorted(itertools.chain(*others.values()))
        counts = {name: len(found) for name, found in others.items()} | {"groups and pairs": in_pairs}
        assert not any(key(s) in scored for s in sentences)
        evaluation: dict[str, int] = {}

        def scored_number(sentence: str) -> int:
            return evaluation.setdefault(sentence, len(evaluation))

        development = read_groups([folder / "groups_dev.tsv"])
        arrays = {
            "group_rows": numbers[kept],
            "group_labels": labels,
            "pairs": np.array(pairs).reshape(-1, 3),
            "dev_group_rows": np.array([scored_number(s) for s in development.sentences]),
            "dev_group_labels": development.labels,
        }
        for name in PAIR_FILES:
            found = read_pairs(folder / f"{name}_dev.tsv")
            rows = zip(found.first, found.second, found.labels.tolist(), strict=True)
            arrays[f"dev_{name}"] = np.array([(scored_number(a), scored_number(b), label) for a, b, label in rows])
        arrays["held_out_every"] = np.array([self.held_out_every])
        counted = {
            "sentences": len(sentences + more),
            "group sentences": len(kept),
            "groups": len(np.unique(labels)),
            "pairs": len(pairs),
            "left out of groups": int((numbers < 0).sum()),
            "by domain": counts,
            "keys of what is scored": len(scored),
        }
        return {"sentences": sentences + more, "dev_sentences": list(evaluation)}, arrays, counted


def _questions(data: Path) -> Iterator[str]:
    """Of reading comprehension for training."""

    def walk(value: Any) -> Iterator[str]:
        if isinstance(value, dict):
            for name, item in value.items():
                if name == "question" and isinstance(item, str):
                    yield item
                else:
                    yield from walk(item)
        elif isinstance(value, list):
            for item in value:
                yield from walk(item)

    for name in QUESTIONS:
        path = data / "reading_comprehension" / f"{name}.json"
        if path.is_file():
            yield from walk(json.loads(path.read_text(encoding="utf-8")))


@dataclass(frozen=True)
class Pieces:
    """Many sentences as a tokenizer's pieces, less those that every sentence begins and ends with.

    Attributes:
        ids: of all sentences, one after the other.
        lengths: of each.
    """

    ids: np.ndarray
    lengths: np.ndarray

    @classmethod
    def of(cls, tokenizer: Any, sentences: Sequence[str]) -> "Pieces":
        """The pieces of sentences."""
        parts, lengths = [], []
        for start in range(0, len(sentences), 20_000):
            for found in tokenizer.encode_batch(
                [PREFIX + s for s in sentences[start : start + 20_000]], add_special_tokens=False
            ):
                own = found.ids[PREFIX_PIECES:]
                parts.append(np.array(own, "uint16"))
                lengths.append(len(own))
        return cls(np.concatenate(parts), np.array(lengths, "int32"))

    @property
    def starts(self) -> np.ndarray:
        """Where each sentence begins."""
        return np.cumsum(self.lengths, dtype="int64") - self.lengths

    @property
    def has_unknown(self) -> np.ndarray:
        """Whether a sentence holds a piece that the tokenizer does not know."""
        found = np.zeros(len(self.lengths), bool)
        found[np.repeat(np.arange(len(self.lengths)), self.lengths)[self.ids < self.SPECIAL]] = True
        return found

    def texts(self, tokenizer: Any) -> list[str]:
        """The sentences, as far as the tokenizer knows their characters."""
        strings = np.array([tokenizer.id_to_token(i) or "" for i in range(tokenizer.get_vocab_size())], object)
        strings[: self.SPECIAL] = "\x00"
        found, bounds = strings[self.ids].tolist(), [*self.starts.tolist(), len(self.ids)]
        return ["".join(found[a:b]).replace("\u2581", " ").strip() for a, b in itertools.pairwise(bounds)]

    SPECIAL = 4
    """ids below: padding, begin, end, unknown"""

    def select(self, rows: np.ndarray) -> "Pieces":
        """Some of the sentences, by number."""
        wanted = np.zeros(len(self.lengths), bool)
        wanted[rows] = True
        return Pieces(self.ids[np.repeat(wanted, self.lengths)], self.lengths[wanted])

    def arrays(self) -> dict[str, np.ndarray]:
        """To be packed: ids by their rank, which is smaller."""
        counts = np.bincount(self.ids)
        order = np.argsort(-counts, kind="stable")
        rank = np.empty_like(order)
        rank[order] = np.arange(len(order))
        return {"piece_order": order, "piece_lengths": self.lengths, "pieces": rank[self.ids]}

    @classmethod
    def from_arrays(cls, arrays: dict[str, np.ndarray]) -> "Pieces":
        """What `arrays` gave."""
        return cls(arrays["piece_order"].astype("uint16")[arrays["pieces"]], arrays["piece_lengths"])

    def joined(self, others: "Pieces") -> "Pieces":
        """These sentences, then the others."""
        return Pieces(np.concatenate([self.ids, others.ids]), np.concatenate([self.lengths, others.lengths]))

    def without(self, texts: Sequence[str], tokenizer: Any) -> "Pieces":
        """Less the sentences that equal one of the texts by the loose match."""
        from no_leakage import loose

        scored = set(map(loose, texts))
        own = self.texts(tokenizer)
        return self.select(np.array([i for i, text in enumerate(own) if loose(text) not in scored], "int64"))

    def mixed(self, count: int, most: int, random: np.random.Generator) -> "Pieces":
        """The beginning of one sentence and the end of another, so many times: near to both in their characters."""
        starts, lengths = self.starts, self.lengths
        a, b = random.integers(len(lengths), size=(2, count))
        until = random.integers(1, np.maximum(lengths[a], 2))
        since = random.integers(0, np.maximum(lengths[b] - 1, 1))
        sizes = until + lengths[b] - since
        parts = [self.ids[:0]]
        for i in np.flatnonzero(sizes <= most):
            parts.append(self.ids[starts[a[i]] : starts[a[i]] + until[i]])
            parts.append(self.ids[starts[b[i]] + since[i] : starts[b[i]] + lengths[b[i]]])
        return Pieces(np.concatenate(parts), sizes[sizes <= most].astype("int32"))


def write_packed(path: Path, texts: dict[str, list[str]], arrays: dict[str, np.ndarray]) -> None:
    """One xz stream: a line of JSON, then arrays in the smallest whole numbers that hold them, then texts."""
    path.parent.mkdir(parents=True, exist_ok=True)
    coded = {name: "\n".join(lines).encode("utf-16-le", "surrogatepass") for name, lines in texts.items()}
    small = {name: array.T.astype(_smallest(array), order="C") for name, array in arrays.items()}
    head = {
        "arrays": [[name, array.dtype.str, array.shape] for name, array in small.items()],
        "texts": [[name, len(code)] for name, code in coded.items()],
    }
    filters = [{"id": lzma.FILTER_LZMA2, "preset": 6, "lc": 0, "lp": 1, "pb": 1, "dict_size": 2**26}]
    with atomic_path(path) as temporary, lzma.open(temporary, "wb", filters=filters) as file:
        file.write(json.dumps(head).encode() + b"\n")
        for array in small.values():
            file.write(array.tobytes())
        for code in coded.values():
            file.write(code)


def _smallest(array: np.ndarray) -> str:
    least, most = int(array.min(initial=0)), int(array.max(initial=0))
    kinds = ("uint8", "uint16") if least >= 0 else ()
    return next((kind for kind in (*kinds, "int32") if most <= np.iinfo(kind).max), "int64")


def read_packed(path: Path) -> tuple[dict[str, list[str]], dict[str, np.ndarray]]:
    """What `write_packed` wrote; arrays of whole numbers are int32 or, where they must be, int64."""
    with lzma.open(path, "rb") as file:
        head = json.loads(file.readline())
        arrays = {}
        for name, kind, shape in head["arrays"]:
            array = np.frombuffer(file.read(np.dtype(kind).itemsize * int(np.prod(shape))), kind)
            arrays[name] = array.reshape(shape).T.astype("int64" if array.dtype == np.int64 else "int32")
        texts = {
            name: file.read(count).decode("utf-16-le", "surrogatepass").split("\n") for name, count in head["texts"]
        }
    return texts, arrays


# The teacher


def teacher_network(directory: Path, precision: str) -> tuple[Any, Any]:
    """The teacher's network, and `vectors(ids_BT)`: means over real positions, of length 1, float16, on the device."""
    import jax.numpy as jnp

    from nlptasks.backend import compile_function
    from nlptasks.checkpoints.configs import config_from_json
    from nlptasks.checkpoints.huggingface import read_huggingface
    from nlptasks.checkpoints.weights import assign_weights
    from nlptasks.core.transformer import Transformer
    from nlptasks.files import read_json_object
    from nlptasks.train.run import start_run

    start_run(1, precision)
    transformer = Transformer(config_from_json(read_json_object(directory / "config.json"), directory / "config.json"))
    transformer.build()
    assign_weights(transformer, read_huggingface(directory, transformer.config), os.fspath(directory), transposed=True)

    def vectors(token_ids_BT: Any) -> Any:
        hidden_BTH = transformer.encode(token_ids_BT).astype("float32")
        real_BT1 = (token_ids_BT != 0)[..., None]
        sums_BH = jnp.where(real_BT1, hidden_BTH, 0).sum(1)
        return (sums_BH / jnp.linalg.norm(sums_BH, axis=1, keepdims=True)).astype("float16")

    return transformer, compile_function(vectors, transformer)


def teacher_vectors(pieces: Pieces, encode: Any, tokenizer: Any, widths: Sequence[int], tokens: int) -> np.ndarray:
    """The teacher's vectors of sentences, float16 (N, H), in batches of `tokens` ids and a few widths."""
    first = tokenizer.encode(PREFIX, add_special_tokens=False).ids[:PREFIX_PIECES]
    begin, end = [tokenizer.token_to_id("<s>"), *first], tokenizer.token_to_id("</s>")
    extra = len(begin) + 1
    lengths = np.minimum(pieces.lengths + extra, widths[-1])
    starts, places = pieces.starts, np.arange(widths[-1])
    padded = np.append(pieces.ids, np.zeros(widths[-1], pieces.ids.dtype))
    made = []
    for low, width in itertools.pairwise([0, *widths]):
        rows = np.flatnonzero((lengths > low) & (lengths <= width))
        size = max(1, tokens // width)
        for at in range(0, len(rows), size):
            own = rows[at : at + size]
            token_ids = np.zeros((size, width), "int32")
            token_ids[:, : len(begin)] = begin
            token_ids[:, len(begin)] = end
            inside = padded[starts[own, None] + places[None, : width - len(begin)]].astype("int32")
            body = lengths[own, None] - extra
            inside = np.where(places[None, : width - len(begin)] < body, inside, 0)
            inside[np.arange(len(own)), body[:, 0]] = end
            token_ids[: len(own), len(begin) :] = inside
            made.append((own, encode(token_ids)))
            if len(made) > 8 and not isinstance(made[-8][1], np.ndarray):
                made[-8] = (made[-8][0], np.asarray(made[-8][1])[: len(made[-8][0])])
    found = [(own, np.asarray(vectors)[: len(own)]) for own, vectors in made]
    result = np.zeros((len(lengths), found[0][1].shape[1]), "float16")
    for own, vectors in found:
        result[own] = vectors
    return result


@dataclass(frozen=True)
class Projection:
    """Centering and the first principal components: `(x - mean) @ matrix`, at length 1."""

    mean: np.ndarray
    matrix: np.ndarray
    share: float

    @classmethod
    def of(cls, vectors: np.ndarray, size: int, whitening: float, most: int = 200_000) -> "Projection":
        """Of vectors; a component's spread is taken to the power 1 - `whitening`."""
        some = vectors[:: max(1, len(vectors) // most)].astype("float32")
        mean = some.mean(0)
        values, components = np.linalg.eigh(np.cov((some - mean).T))
        best = np.argsort(-values)[:size]
        scale = np.maximum(values[best] / values[best[0]], 1e-6) ** (-whitening / 2)
        return cls(mean, (components[:, best] * scale).astype("float32"), float(values[best].sum() / values.sum()))

    def __call__(self, vectors: np.ndarray) -> np.ndarray:
        return unit((vectors.astype("float32") - self.mean) @ self.matrix)


def unit(vectors: np.ndarray) -> np.ndarray:
    """At length 1."""
    return vectors / np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), 1e-9)


# The students


def student_vectors(params: dict[str, Any], rows_BTO: Any, pooling: str) -> Any:
    """What `NgramRuntime` computes; rows beyond the table are read as zeros."""
    import jax
    import jax.numpy as jnp

    def at_length(x: Any, length: float) -> Any:
        return x * (length / jnp.maximum(jnp.sqrt((x * x).sum(-1, keepdims=True) + 1e-12), 1e-6))

    table = params["table"]
    size, rows = table.shape[1], table.shape[0]
    h_BTE = sum(table.at[rows_BTO[..., o]].get(mode="fill", fill_value=0) for o in range(rows_BTO.shape[-1]))
    z_BE = at_length(h_BTE.sum(1), size**0.5)
    real_BT = rows_BTO[..., 0] < rows
    features = z_BE
    if pooling == "attention":
        q_BHE = (z_BE @ params["query_kernel"]).reshape(len(z_BE), -1, size) * size**-0.5
        score_BHT = jnp.where(real_BT[:, None], jnp.einsum("BHE,BTE->BHT", q_BHE, h_BTE), -1e9)
        p_BHE = jnp.einsum("BHT,BTE->BHE", jax.nn.softmax(score_BHT, axis=-1), h_BTE)
        features = jnp.concatenate([z_BE, p_BHE.reshape(len(z_BE), -1)], axis=1)
    if pooling == "convolution":
        near = jnp.pad(h_BTE, ((0, 0), (1, 1), (0, 0)))
        three = jnp.concatenate([near[:, :-2], h_BTE, near[:, 2:]], axis=-1)
        made_BTF = jax.nn.relu(three @ params["kernel"] + params["bias"]) * real_BT[..., None]
        features = jnp.concatenate([z_BE, at_length(made_BTF.sum(1), made_BTF.shape[-1] ** 0.5)], axis=1)
    hidden = jax.nn.relu(features @ params["in_kernel"] + params["in_bias"])
    return at_length(z_BE + hidden @ params["out_kernel"], 1.0)


def first_params(shapes: dict[str, tuple], characters: int, seed: int) -> dict[str, np.ndarray]:
    """Weights to begin with: characters matter more than runs, and the network behind adds nothing yet."""
    random = np.random.default_rng(seed)
    params = {}
    for name, shape in shapes.items():
        scale = 0.0 if name in ("in_bias", "bias", "out_kernel") else shape[0] ** -0.5
        params[name] = random.standard_normal(shape, "float32") * np.float32(scale)
    params["table"] = random.standard_normal(shapes["table"], "float32") * np.float32(0.03)
    params["table"][:characters] *= 3
    return params


@dataclass(frozen=True, kw_only=True)
class Weights:
    """What a step minimizes, as factors of its parts.

    Attributes:
        groups: telling groups apart.
        pairs: positive pairs nearer than negative ones.
    """

    groups: float
    pairs: float


@dataclass(kw_only=True)
class Train:
    """Teach students on one accelerator within a time limit."""

    teacher: Path
    packed: Path
    output: Path
    seconds: float = 200.0
    reserve: float = 15.0
    """seconds of that to choose, pack and write in"""
    students: tuple[str, ...] = ("sum", "attention")
    """the poolings that are tried"""
    keep: int = 2
    """how many of them are written, the best first"""
    size: int = 256
    hidden: int = 512
    heads: int = 2
    channels: int = 256
    mixed: int = 300_000
    """sentences made of two others, for the teacher to tell from both"""
    most: int = 10_000_000
    """sentences that are read, for a trial"""
    batch_size: int = 4096
    group_batch: int = 1024
    """groups of a step, two sentences of each"""
    pair_batch: int = 1024
    teacher_tokens: int = 98_304
    """ids of a teacher's batch"""
    teacher_widths: tuple[int, ...] = (16, 24, 40)
    learning_rates: tuple[float, ...] = (2e-3, 6e-3, 2e-2)
    """of the table; the best of short trials of the first student is taken"""
    network_rate: float = 1e-3
    """learning rate of everything but the table"""
    trial: float = 0.03
    """share of the students' time for each of those trials"""
    drop: float = 0.1
    """share of the characters and runs that are passed over in training"""
    temperature: float = 0.1
    similarity: float = 0.5
    """weight of the loss that compares similarities within a batch"""
    margin: float = 0.1
    scale: float = 20.0
    tuning: float = 0.4
    """share of a student's time with groups and pairs, each of `group_weights`"""
    group_weights: tuple[float, ...] = (0.15, 0.6)
    pair_weight: float = 0.5
    """weight of the pairs, relative to that of the groups"""
    whitenings: tuple[float, ...] = (0.0, 0.25, 0.5)
    """tried on the teacher's held-out groups and pairs"""
    steps: int = 25
    """steps of a call"""
    clusters: int = 512
    """neighborhoods of the teacher's vectors; every other batch is of one or a few"""
    precision: str = "bfloat16"
    seed: int = 1
    started: float = field(default=0.0, init=False)

    def run(self) -> None:
        self.started = time.monotonic()
        os.environ.setdefault("KERAS_BACKEND", "jax")
        os.environ.setdefault("XLA_PYTHON_CLIENT_PREALLOCATE", "false")
        self.output.mkdir(parents=True, exist_ok=True)
        from tokenizers import Tokenizer

        from nlptasks.applications.similarity.ngrams import NgramVocab

        texts, arrays = read_packed(self.packed)
        self._log("read", sentences=len(arrays["piece_lengths"]))
        tokenizer = Tokenizer.from_file(os.fspath(self.teacher / "tokenizer.json"))
        vocab = NgramVocab(texts["characters"], arrays["keys"])
        natural = Pieces.from_arrays(arrays)
        in_groups = 1 + int(max(arrays["group_rows"].max(), arrays["pairs"][:, :2].max()))
        if self.most < len(natural.lengths):
            count = max(self.most, in_groups)
            natural = Pieces(natural.ids[: natural.starts[count]], natural.lengths[:count])
        random = np.random.default_rng(self.seed)
        dev_pieces = Pieces.of(tokenizer, texts["dev_sentences"])
        self._log("tokenized")
        mixed = natural.mixed(self.mixed, self.teacher_widths[-1] - 5, random)
        pieces = natural.joined(mixed.without(texts["dev_sentences"], tokenizer))
        rows: list[np.ndarray] = []
        programs: dict[tuple[str, bool], Any] = {}
        workers = [
            threading.Thread(target=self._read, args=(vocab, pieces, texts["dev_sentences"], tokenizer, rows)),
            threading.Thread(target=self._compile, args=(len(vocab), len(pieces.lengths), programs)),
        ]
        import jax

        for worker in workers:
            worker.start()

        self._log("device", kind=jax.devices()[0].device_kind, jax=jax.__version__, sentences=len(pieces.lengths))
        _, encode = teacher_network(self.teacher, self.precision)
        begun = time.monotonic()
        found = teacher_vectors(pieces.joined(dev_pieces), encode, tokenizer, self.teacher_widths, self.teacher_tokens)
        vectors, dev_vectors = found[: len(pieces.lengths)], found[len(pieces.lengths) :]
        spent = time.monotonic() - begun
        self._log("taught", seconds=round(spent, 1), sentences_per_second=round(len(found) / spent))
        task = Task.of(arrays, len(natural.lengths), self.seed)
        result: dict[str, Any] = {"teacher": {"raw": task.dev_scores(unit(dev_vectors.astype("float32")))}}
        projections = {w: Projection.of(vectors, self.size, w) for w in self.whitenings}
        chosen = {w: task.held_out_scores(p(vectors[task.own])) for w, p in projections.items()}
        whitening = max(chosen, key=lambda w: chosen[w]["top1"] + chosen[w]["spearman"])
        project = projections[whitening]
        result["teacher"] |= {"projected": task.dev_scores(project(dev_vectors)), "held out by whitening": chosen}
        result |= {"whitening": whitening, "variance kept": project.share}
        self._log("teacher", **result["teacher"], whitening=whitening, variance_kept=round(project.share, 4))
        for worker in workers:
            worker.join()
        self._log("rows and programs ready", programs=len(programs))
        targets = project(vectors).astype("float16")
        del vectors, found
        self._students(vocab, task, targets, rows, programs, result)

    def _log(self, what: str, **values: Any) -> None:
        line = {"what": what, "second": round(time.monotonic() - self.started, 1)} | values
        text = json.dumps(line, ensure_ascii=False, default=float)
        print(text, flush=True)
        with open(self.output / "log.jsonl", "a", encoding="utf-8") as file:
            file.write(text + "\n")

    def _read(self, vocab: Any, pieces: Pieces, dev: list[str], tokenizer: Any, rows: list[np.ndarray]) -> None:
        """Appends the rows of all sentences, then those of the scored ones."""
        rows += [row_matrix(vocab, pieces.texts(tokenizer)), row_matrix(vocab, dev)]

    def _students(
        self,
        vocab: Any,
        task: "Task",
        targets: np.ndarray,
        rows: list[np.ndarray],
        programs: dict[tuple[str, bool], Any],
        result: dict[str, Any],
    ) -> None:
        import jax
        import jax.numpy as jnp

        rows_NTO, dev_NTO = jnp.asarray(rows[0]), rows[1]
        targets_ND = jnp.asarray(targets)
        labels = neighborhoods(targets_ND, min(self.clusters, len(targets) // 8), self.seed)
        self._log("neighborhoods")
        feed = Batches(task, labels, len(targets), self.seed)
        candidates: list[tuple[float, str, float, dict[str, np.ndarray]]] = []

        scoring: list[threading.Thread] = []

        def judge(params: Any, pooling: str, name: str, encode: Any) -> float:
            own, apart = (encoded(encode, params, rows[0][part]) for part in (task.own, task.apart))
            held = task.held_out_scores(own) | {"neighbors": agreement(apart, targets[task.apart])}
            found: dict[str, Any] = {"held out": held}
            result["students"][pooling][name] = found
            self._log(f"{pooling} {name}", **found)
            dev_vectors = encoded(encode, params, dev_NTO)
            scoring.append(threading.Thread(target=lambda: found.update(dev=task.dev_scores(dev_vectors))))
            scoring[-1].start()  # while the next one is trained
            return float(np.mean([held["top1"], held["spearman"], held["neighbors"]]))

        result["students"] = {}
        for number, pooling in enumerate(self.students):
            left = self.started + self.seconds - self.reserve - time.monotonic()
            end = time.monotonic() + left / (len(self.students) - number)
            first = first_params(self._shapes(pooling, len(vocab)), len(vocab) - len(vocab.keys), self.seed)
            data = rows_NTO, targets_ND
            encode = jax.jit(functools.partial(student_vectors, pooling=pooling))
            record = result["students"].setdefault(pooling, {})

            begun = time.monotonic()
            step = programs[pooling, False]
            if not number:
                record["rates"] = {}
                for rate in self.learning_rates:
                    stop = time.monotonic() + self.trial * left
                    tried, steps = self._run(step, placed(first), feed, stop, None, data, pooling, rate)
                    apart = encoded(encode, tried, rows[0][task.apart])
                    record["rates"][rate] = float((apart * targets[task.apart].astype("float32")).sum(1).mean())
                best_rate = max(record["rates"], key=record["rates"].get)
                self._log("rates", cosines=record["rates"], best=best_rate)
            tuned = self.tuning * (end - begun) / max(1, len(self.group_weights))
            stop = end - tuned * len(self.group_weights)
            params, steps = self._run(step, placed(first), feed, stop, None, data, pooling, best_rate)
            record["steps"] = steps
            distilled = jax.device_get(params)
            candidates.append((judge(params, pooling, "distilled", encode), pooling, 0.0, distilled))
            for weight in self.group_weights:
                stop = min(end, time.monotonic() + tuned)
                factors = Weights(groups=weight, pairs=weight * self.pair_weight)
                own, steps = self._run(
                    programs[pooling, True], placed(distilled), feed, stop, factors, data, pooling, best_rate / 2
                )
                score = judge(own, pooling, f"groups {weight:g}", encode)
                candidates.append((score, pooling, weight, jax.device_get(own)))
            if number == len(self.students) - 1:
                for thread in scoring:
                    thread.join()
            self._save(vocab, candidates, result)
        for name, record in result["students"].items():
            self._log(name, **record)
        self._log("ended")

    def _run(
        self,
        step: Any,
        params: Any,
        feed: "Batches",
        stop: float,
        factors: Weights | None,
        data: tuple[Any, Any],
        pooling: str,
        top: float,
    ) -> tuple[Any, int]:
        """Steps until the clock says `stop`; the rate rises to `top`, and falls to 0 with the time."""
        begun, steps, seen, state = time.monotonic(), 0, None, adam_state(params)
        sizes = self._sizes(factors is not None)
        weights = np.array([factors.groups, factors.pairs] if factors else [0, 0], "float32")
        network = self.network_rate if factors is None else self.network_rate / 2
        while (done := (time.monotonic() - begun) / max(stop - begun, 1e-3)) < 1 or not steps:
            rate = min(max(done, 0.01) / 0.05, max(0.01, 1 - done))
            rates = np.array([top * rate, network * rate], "float32")
            index = feed.next(self.steps, *sizes)
            params, state, losses = step(params, state, data, index, rates, weights, np.int32(steps))
            if seen is not None:
                seen = np.asarray(seen)
                if not np.isfinite(seen).all():
                    raise ValueError(f"{pooling}: the loss is no longer a number ({seen.tolist()}).")
                if steps % (20 * self.steps) == 0:
                    self._log(pooling, step=steps, rate=round(float(rate), 4), losses=seen.round(4).tolist())
            seen = losses
            steps += self.steps
        self._log(f"{pooling} trained", steps=steps, losses=np.asarray(seen).round(4).tolist())
        return params, steps

    def _shapes(self, pooling: str, rows: int) -> dict[str, tuple]:
        from nlptasks.applications.similarity.ngram_runtime import weight_shapes

        return weight_shapes(pooling, rows, self.size, self.hidden, self.heads, self.channels)

    def _sizes(self, tuned: bool) -> tuple[int, int, int]:
        """Sentences, groups and pairs of a step."""
        return (self.batch_size, self.group_batch, self.pair_batch) if tuned else (self.batch_size, 0, 0)

    def _compile(self, vocab_rows: int, sentences: int, programs: dict[tuple[str, bool], Any]) -> None:
        """Makes the programs of all students, while the teacher works."""
        import jax

        def of(*shape: int, kind: str = "float32") -> Any:
            return jax.ShapeDtypeStruct(shape, kind)

        data = of(sentences, MOST_CHARACTERS, 4, kind="int32"), of(sentences, self.size, kind="float16")
        for pooling in self.students:
            params = {name: of(*shape) for name, shape in self._shapes(pooling, vocab_rows).items()}
            state = {"mean": params, "square": params, "step": of()}
            for tuned in (False, True):
                own, groups, pairs = self._sizes(tuned)
                index = {
                    "own": of(self.steps, own, kind="int32"),
                    "groups": of(self.steps, groups, 2, kind="int32"),
                    "pairs": of(self.steps, pairs, 2, kind="int32"),
                    "labels": of(self.steps, pairs, kind="int32"),
                }
                begun = time.monotonic()
                lowered = self._step(pooling, tuned).lower(params, state, data, index, of(2), of(2), of(kind="int32"))
                programs[pooling, tuned] = lowered.compile()
                self._log("compiled", pooling=pooling, tuned=tuned, seconds=round(time.monotonic() - begun, 1))

    def _step(self, pooling: str, tuned: bool) -> Any:
        """`step(params, state, data, index, rates, weights, number)`: `steps` updates by Adam, and the mean losses.

        `rates` are those of the table and of the rest; without `tuned` there are no groups and pairs.
        """
        import jax
        import jax.numpy as jnp

        def losses_of(params: Any, data: Any, index: Any, weights: Any, key: Any) -> Any:
            rows_NTO, targets_ND = data
            count = len(index["own"])
            chosen = jnp.concatenate([index["own"], index["groups"].reshape(-1), index["pairs"].reshape(-1)])
            rows_BTO = rows_NTO[chosen]
            dropped = jax.random.uniform(key, rows_BTO.shape) < self.drop
            rows_BTO = jnp.where(dropped, jnp.int32(params["table"].shape[0]), rows_BTO)
            s = student_vectors(params, rows_BTO, pooling)
            own, target = s[:count], targets_ND[index["own"]].astype("float32")
            regression = 1 - (own * target).sum(1).mean()
            similarity = matched(own, target, self.temperature)
            total = regression + self.similarity * similarity
            if not tuned:
                return total, jnp.stack([regression, similarity])
            size = index["groups"].size
            of_groups = in_batch(s[count : count + size].reshape(-1, 2, s.shape[1]), self.scale, self.margin)
            cosines = jnp.prod(s[count + size :].reshape(-1, 2, s.shape[1]), axis=1).sum(1)
            of_pairs = ranked(cosines, index["labels"], self.scale)
            total += weights[0] * of_groups + weights[1] * of_pairs
            return total, jnp.stack([regression, similarity, of_groups, of_pairs])

        def step(params: Any, state: Any, data: Any, index: Any, rates: Any, weights: Any, number: Any) -> Any:
            keys = jax.random.split(jax.random.fold_in(jax.random.key(self.seed), number), self.steps)

            def body(carry: Any, given: Any) -> Any:
                params, state = carry
                gradients, losses = jax.grad(losses_of, has_aux=True)(params, data, given[0], weights, given[1])
                own = {name: rates[0] if name == "table" else rates[1] for name in params}
                return adam(params, state, gradients, own), losses

            (params, state), losses = jax.lax.scan(body, (params, state), (index, keys))
            return params, state, losses.mean(0)

        return jax.jit(step, donate_argnums=(0, 1))

    def _save(self, vocab: Any, candidates: list, result: dict[str, Any]) -> None:
        """Writes the best of each pooling, as it ships, and the scores."""
        from nlptasks.applications.similarity.ngram import NgramModel

        best: dict[str, tuple] = {}
        for candidate in sorted(candidates, key=lambda c: -c[0]):
            best.setdefault(candidate[1], candidate)
        result["chosen"] = [[pooling, weight, score] for score, pooling, weight, _ in best.values()]
        for score, pooling, weight, params in list(best.values())[: self.keep]:
            directory = self.output / pooling
            directory.mkdir(parents=True, exist_ok=True)
            model = NgramModel(vocab, {name: np.asarray(array) for name, array in params.items()}, pooling)
            model.save(directory, {"hybrid_weight": HYBRID_WEIGHT}, half=True)
            self._log("saved", pooling=pooling, groups=weight, score=score)
        for pooling in list(best)[self.keep :]:
            shutil.rmtree(self.output / pooling, ignore_errors=True)
        text = json.dumps(copied(result), ensure_ascii=False, indent=1, default=float)
        write_text(self.output / "result.json", text + "\n")


def copied(value: Any) -> Any:
    """Dicts in dicts, while others add to them."""
    return {name: copied(item) for name, item in list(value.items())} if isinstance(value, dict) else value


def row_matrix(vocab: Any, texts: list[str], chunk: int = 50_000) -> np.ndarray:
    """The rows of texts, int32 (N, MOST_CHARACTERS, O), `len(vocab)` where there is none."""
    from nlptasks.applications.similarity.ngrams import ORDERS

    found = np.full((len(texts), MOST_CHARACTERS, ORDERS), len(vocab), "int32")
    for start in range(0, len(texts), chunk):
        rows_PO, lengths = vocab.rows(texts[start : start + chunk], MOST_CHARACTERS)
        text = np.repeat(np.arange(len(lengths)), lengths)
        place = np.arange(len(text)) - np.repeat(np.cumsum(lengths) - lengths, lengths)
        found[start + text, place] = np.where(rows_PO < 0, len(vocab), rows_PO)
    return found


def encoded(encode: Any, params: Any, rows_NTO: np.ndarray, size: int = 2048) -> np.ndarray:
    """Vectors of sentences, in batches of one size."""
    made = []
    for start in range(0, len(rows_NTO), size):
        part = rows_NTO[start : start + size]
        made.append(encode(params, np.pad(part, ((0, size - len(part)), (0, 0), (0, 0)))))
    return np.concatenate([np.asarray(part) for part in made])[: len(rows_NTO)]


def matched(s_BD: Any, t_BD: Any, temperature: float) -> Any:
    """How far similarities within a batch are from the target's: Kullback-Leibler divergence of rows."""
    import jax
    import jax.numpy as jnp

    hidden = jnp.eye(len(s_BD)) * 1e9
    short = s_BD.astype("bfloat16"), t_BD.astype("bfloat16")
    s_BB, t_BB = (jnp.einsum("BD,CD->BC", x, x, preferred_element_type="float32") / temperature - hidden for x in short)
    t_BB = jax.nn.log_softmax(t_BB)
    return (jnp.exp(t_BB) * (jnp.where(hidden > 0, 0, t_BB - jax.nn.log_softmax(s_BB)))).sum(1).mean()


def in_batch(s_GSD: Any, scale: float, margin: float) -> Any:
    """Am-softmax of two sentences of each group against those of the others in the batch, both ways."""
    import jax
    import jax.numpy as jnp

    logits_GG = scale * (s_GSD[:, 0] @ s_GSD[:, 1].T - margin * jnp.eye(len(s_GSD)))
    own = jnp.diagonal(logits_GG)
    return (jax.nn.logsumexp(logits_GG, 1) + jax.nn.logsumexp(logits_GG, 0) - 2 * own).mean() / 2


def ranked(cosines_P: Any, labels_P: Any, scale: float) -> Any:
    """Every positive pair above every negative one: log(1 + sum exp(scale (negative - positive)))."""
    import jax
    import jax.numpy as jnp

    negative = jax.nn.logsumexp(jnp.where(labels_P > 0, -jnp.inf, scale * cosines_P))
    positive = jax.nn.logsumexp(jnp.where(labels_P > 0, -scale * cosines_P, -jnp.inf))
    return jnp.logaddexp(0.0, negative + positive) / 10


def placed(arrays: dict[str, np.ndarray]) -> dict[str, Any]:
    """New arrays on the device."""
    import jax.numpy as jnp

    return {name: jnp.array(array) for name, array in arrays.items()}


def adam_state(params: Any) -> Any:
    """Nothing seen yet."""
    import jax.numpy as jnp

    def zeros() -> Any:
        return {name: jnp.zeros_like(array) for name, array in params.items()}

    return {"mean": zeros(), "square": zeros(), "step": jnp.zeros((), "float32")}


def adam(params: Any, state: Any, gradients: Any, rates: Any, b1: float = 0.9, b2: float = 0.98) -> Any:
    """An update by Adam."""
    import jax.numpy as jnp

    step = state["step"] + 1
    mean = {n: b1 * state["mean"][n] + (1 - b1) * g for n, g in gradients.items()}
    square = {n: b2 * state["square"][n] + (1 - b2) * g * g for n, g in gradients.items()}
    correct = jnp.sqrt(1 - b2**step) / (1 - b1**step)
    moved = {n: p - rates[n] * correct * mean[n] / (jnp.sqrt(square[n]) + 1e-10) for n, p in params.items()}
    return moved, {"mean": mean, "square": square, "step": step}


def neighborhoods(vectors_ND: Any, count: int, seed: int, rounds: int = 5, block: int = 65_536) -> np.ndarray:
    """The nearest of `count` centers for each vector, by spherical k-means."""
    import jax
    import jax.numpy as jnp

    random = np.random.default_rng(seed)
    total = vectors_ND.shape[0]

    @jax.jit
    def nearest(part: Any, centers: Any) -> Any:
        return (part.astype("bfloat16") @ centers.astype("bfloat16").T).argmax(1)

    @jax.jit
    def moved(part: Any, own: Any, centers: Any) -> Any:
        sums = jax.ops.segment_sum(part.astype("float32"), own, centers.shape[0])
        return jnp.where((sums * sums).sum(1, keepdims=True) > 0, sums, centers) / jnp.maximum(
            jnp.linalg.norm(sums, axis=1, keepdims=True), 1e-6
        )

    some = vectors_ND[np.sort(random.permutation(total)[:block])]
    centers = some[:count].astype("float32")
    for _ in range(rounds):
        centers = moved(some, nearest(some, centers), centers)
    found = []
    for start in range(0, total, block):
        at = max(0, min(start, total - block))  # one shape
        found.append(np.asarray(nearest(vectors_ND[at : at + block], centers))[start - at :])
    return np.concatenate(found)


@dataclass(frozen=True)
class Task:
    """What is trained on beside the teacher's vectors, what is held out of it, and what is scored at the end.

    Attributes:
        own: the sentences of held-out groups and pairs.
        apart: some others, of no group or pair.
    """

    groups: list[np.ndarray]
    pairs: np.ndarray
    held_groups: tuple[np.ndarray, np.ndarray]
    held_pairs: np.ndarray
    own: np.ndarray
    apart: np.ndarray
    dev: dict[str, np.ndarray]

    @classmethod
    def of(cls, arrays: dict[str, np.ndarray], count: int, seed: int, apart: int = 8_000) -> "Task":
        """Of a packed file, and the number of natural sentences."""
        every = int(arrays["held_out_every"][0])
        rows, labels, pairs = arrays["group_rows"], arrays["group_labels"], arrays["pairs"]
        held = labels % every == every - 1
        held_pairs = pairs[every - 1 :: every]
        out = np.zeros(count, bool)
        out[rows[held]] = True
        out[held_pairs[:, :2]] = True
        kept = ~held & ~out[rows]
        order = np.argsort(labels[kept], kind="stable")
        parts = np.split(rows[kept][order], np.flatnonzero(np.diff(labels[kept][order])) + 1)
        used = np.concatenate([rows, pairs[:, :2].ravel()])
        free = np.setdiff1d(np.arange(count), used)
        return cls(
            [part for part in parts if len(part) > 1],
            pairs[~out[pairs[:, :2]].any(1)],
            (rows[held], labels[held]),
            held_pairs,
            np.flatnonzero(out),
            np.sort(np.random.default_rng(seed).permutation(free)[:apart]),
            {name: array for name, array in arrays.items() if name.startswith("dev_")},
        )

    def held_out_scores(self, vectors: np.ndarray) -> dict[str, float]:
        """Of vectors of the sentences `own`."""
        rows, labels = self.held_groups
        places = np.searchsorted(self.own, rows)
        pairs = np.searchsorted(self.own, self.held_pairs[:, :2])
        return _scores(vectors, places, labels) | {"spearman": _spearman(vectors, pairs, self.held_pairs[:, 2])}

    def dev_scores(self, vectors: np.ndarray) -> dict[str, float]:
        """Of vectors of the scored sentences."""
        scores = _scores(vectors, self.dev["dev_group_rows"], self.dev["dev_group_labels"])
        for name in PAIR_FILES:
            pairs = self.dev[f"dev_{name}"]
            scores[name] = _spearman(vectors, pairs[:, :2], pairs[:, 2])
        return scores


def _scores(vectors: np.ndarray, rows: np.ndarray, labels: np.ndarray) -> dict[str, float]:
    own = vectors[rows]
    found = score_retrieval(lambda a, b: own[a:b] @ own.T, labels)
    return {name: round(found[name], 4) for name in ("top1", "top5", "top10")}


def _spearman(vectors: np.ndarray, pairs: np.ndarray, labels: np.ndarray) -> float:
    return round(score_pairs((vectors[pairs[:, 0]] * vectors[pairs[:, 1]]).sum(1), labels)["spearman"], 4)


def agreement(vectors: np.ndarray, targets: np.ndarray, top: int = 5) -> float:
    """How often the teacher's nearest neighbor is among the student's nearest five."""
    targets = targets.astype("float32")
    hits = 0
    for start in range(0, len(vectors), 1024):
        rows = np.arange(start, min(start + 1024, len(vectors)))
        wanted, found = targets[rows] @ targets.T, vectors[rows] @ vectors.T
        wanted[np.arange(len(rows)), rows] = found[np.arange(len(rows)), rows] = -2
        best = wanted.argmax(1)
        hits += int(((found > found[np.arange(len(rows)), best][:, None]).sum(1) < top).sum())
    return round(hits / len(vectors), 4)


class Batches:
    """Random numbers of sentences, groups and pairs.

    Args:
        labels: neighborhoods of sentences; every other step takes neighbors.
    """

    def __init__(self, task: Task, labels: np.ndarray, count: int, seed: int) -> None:
        self._task, self._labels, self._count = task, labels, count
        self._random = np.random.default_rng(seed)
        self._queues: dict[bool, np.ndarray] = {}
        self._firsts = np.cumsum([0, *map(len, task.groups[:-1])])
        self._members = np.concatenate(task.groups)
        self._sizes = np.array([len(group) for group in task.groups])

    def _order(self, near: bool) -> np.ndarray:
        allowed = np.ones(self._count, bool)
        allowed[self._task.apart] = False
        order = self._random.random(self._count, "float32")
        if near:
            order += self._random.permutation(self._labels.max() + 1).astype("float32")[self._labels] * 2
        order = np.argsort(order)
        return order[allowed[order]].astype("int32")

    def _take(self, near: bool, size: int) -> np.ndarray:
        queue = self._queues.get(near, np.zeros(0, "int32"))
        while len(queue) < size:
            queue = np.concatenate([queue, self._order(near)])
        self._queues[near] = queue[size:]
        return queue[:size]

    def next(self, steps: int, size: int, groups: int, pairs: int) -> dict[str, np.ndarray]:
        """The numbers of so many steps."""
        own = np.stack([self._take(i % 2 == 1, size) for i in range(steps)])
        count = min(groups, len(self._sizes))
        chosen = np.stack([self._random.permutation(len(self._sizes))[:count] for _ in range(steps)])
        sizes = self._sizes[chosen]
        one = self._random.integers(sizes)
        other = (one + 1 + self._random.integers(np.maximum(sizes - 1, 1))) % sizes
        both = self._members[self._firsts[chosen][..., None] + np.stack([one, other], -1)]
        rows = self._task.pairs[self._random.integers(len(self._task.pairs), size=(steps, pairs))]
        return {
            "own": own,
            "groups": both.astype("int32"),
            "pairs": np.ascontiguousarray(rows[..., :2], "int32"),
            "labels": np.ascontiguousarray(rows[..., 2], "int32"),
        }


@dataclass(kw_only=True)
class Evaluate:
    """Score a directory as it ships, on NumPy alone, and time it."""

    model: Path
    packed: Path
    teacher: Path | None = None
    """whose tokenizer restores held-out sentences, to choose the weight of BM25 in a hybrid search; None: it stays"""
    output: Path | None = None
    """the scores; None: scores.json in the directory of the model"""
    sentences: int = 20_000
    """how many are timed"""

    def run(self) -> None:
        import nlptasks
        from nlptasks.text.lexical import LexicalIndex

        texts, arrays = read_packed(self.packed)
        begun = time.perf_counter()
        encoder = nlptasks.load(self.model)
        scores: dict[str, Any] = {"load_seconds": round(time.perf_counter() - begun, 3)}
        scores["bytes"] = sum(path.stat().st_size for path in self.model.iterdir() if path.name in SHIPPED)
        task = Task.of(arrays, len(arrays["piece_lengths"]), 1)
        if self.teacher is not None:
            scores["hybrid"] = self._hybrid(encoder, task, arrays)
        dev = texts["dev_sentences"]
        vectors = encoder.encode(dev)
        scores["dev"] = task.dev_scores(vectors)
        rows, labels = arrays["dev_group_rows"], arrays["dev_group_labels"]
        own, lexical = vectors[rows], LexicalIndex.build([dev[i] for i in rows])
        words = np.stack([lexical.bm25(dev[i]) for i in rows])
        for name, weight in (("bm25", 1.0), (f"hybrid {encoder.hybrid_weight:g}", encoder.hybrid_weight)):
            blend = (1 - weight) * (own @ own.T) + weight * words
            found = score_retrieval(lambda a, b, blend=blend: blend[a:b], labels)
            scores[name] = {k: round(found[k], 4) for k in ("top1", "top5", "top10")}
        timed = dev[: self.sentences]
        seconds, processor = [], []
        for _ in range(3):
            begun, used = time.perf_counter(), time.process_time()
            encoder.encode(timed)
            seconds.append(len(timed) / (time.perf_counter() - begun))
            processor.append(len(timed) / (time.process_time() - used))
        scores["sentences_per_second"] = round(max(seconds))
        scores["sentences_per_processor_second"] = round(statistics.median(processor))
        scores["characters_per_sentence"] = round(statistics.mean(map(len, timed)), 1)
        text = json.dumps(scores, ensure_ascii=False, indent=1, default=float)
        write_text(self.output or self.model / "scores.json", text + "\n")
        print(text)

    def _hybrid(self, encoder: Any, task: "Task", arrays: dict[str, np.ndarray]) -> dict[str, float]:
        """Top-1 of held-out groups by the weight of BM25; the best weight is written into the model's config."""
        from tokenizers import Tokenizer

        from nlptasks.text.lexical import LexicalIndex

        rows, labels = task.held_groups
        tokenizer = Tokenizer.from_file(os.fspath(self.teacher / "tokenizer.json"))  # type: ignore[operator]
        pieces = Pieces.from_arrays(arrays)
        unique, places = np.unique(rows, return_inverse=True)
        own = pieces.select(unique).texts(tokenizer)
        sentences = [own[i] for i in places]
        lexical = LexicalIndex.build(sentences)
        words = np.stack([lexical.bm25(sentence) for sentence in sentences])
        vectors = encoder.encode(sentences)
        found = {}
        for weight in (0.0, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7):
            blend = (1 - weight) * (vectors @ vectors.T) + weight * words
            scores = score_retrieval(lambda a, b, blend=blend: blend[a:b], labels)
            found[f"{weight:g}"] = round(statistics.mean(scores[k] for k in ("top1", "top5", "top10")), 4)
        best = float(max(found, key=lambda weight: found[weight]))
        encoder.hybrid_weight = best or encoder.hybrid_weight
        path = self.model / "config.json"
        config = json.loads(path.read_text(encoding="utf-8"))
        config["nlptasks"]["hybrid_weight"] = encoder.hybrid_weight
        write_text(path, json.dumps(config, ensure_ascii=False, indent=1) + "\n")
        return found


@dataclass(kw_only=True)
class Bundle:
    """Put a directory where `nlptasks.load("similarity")` looks, with its model card."""

    model: Path
    """with the scores.json that `evaluate` wrote"""
    result: Path | None = None
    """the result.json of the training, for the card; None: beside the directory of the model"""
    output: Path = Path(__file__).parents[1] / "nlptasks" / "bundled" / "similarity"

    def run(self) -> None:
        scores = json.loads((self.model / "scores.json").read_text(encoding="utf-8"))
        path = self.result or self.model.parent / "result.json"
        result = json.loads(path.read_text(encoding="utf-8"))
        if scores["bytes"] > LARGEST:
            raise ValueError(f"{self.model}: {scores['bytes']} bytes, and what ships has at most {LARGEST}.")
        self.output.mkdir(parents=True, exist_ok=True)
        for name in SHIPPED:
            shutil.copyfile(self.model / name, self.output / name)
        config = json.loads((self.model / "config.json").read_text(encoding="utf-8"))["nlptasks"]
        (grouped,) = [weight for pooling, weight, _ in result["chosen"] if pooling == config["pooling"]]
        card = _card(scores, result["teacher"], config, grouped > 0)
        write_text(self.output / "README.md", card)
        print(f"{self.output}: {scores['bytes'] / 1e6:.2f} MB")


SHIPPED = ("config.json", "model.safetensors", "vocab.txt")
LARGEST = 12_000_000


def _card(scores: dict[str, Any], teacher: dict[str, Any], config: dict[str, Any], grouped: bool) -> str:
    """The model card of what ships; `grouped`: labels were learned, too."""
    from masked_lm import LICENCE

    labels = "then by groups and pairs of sentences with the same meaning"
    if not grouped:
        labels = "what groups and pairs with labels added was less on the held-out ones, so no label was learned"
    taught = (
        "Taught by multilingual-e5-small (intfloat, MIT, as 4-bit weights): its vectors of a million sentences of raw "
        f"text and questions, centered and projected on their first 256 components; {labels}. "
        "`benchmarks/similarity_distil.py` is the whole recipe. **No sentence that is scored below was read in "
        "training** (equal after NFKC, without case and punctuation)."
    )
    tops = ("top1", "top5", "top10")
    hybrid = next(name for name in scores if name.startswith("hybrid "))
    rows = [
        ("the vectors alone", scores["dev"]),
        (f"blended with BM25 (`hybrid=True`, weight {config['hybrid_weight']:g})", scores[hybrid]),
        ("BM25 over characters and pairs alone", scores["bm25"]),
        ("the teacher", teacher["raw"]),
    ]
    table = "\n".join(f"| {name} | " + " | ".join(f"{found[k]:.4f}" for k in tops) + " |" for name, found in rows)
    pairs = "\n".join(
        f"| {name}_dev.tsv | {scores['dev'][name]:.4f} | {teacher['raw'][name]:.4f} |" for name in PAIR_FILES
    )
    behind = {"sum": "", "attention": ", pooled by their sum and by attention with queries made from it"}
    first = (
        "Sentence vectors of Chinese, 256 numbers of length 1, from a table of characters and frequent runs of two to "
        f"four characters{behind.get(config['pooling'], ', with a convolution over them')}, a small network behind; "
        f"on NumPy alone. {scores['bytes'] / 1e6:.1f} MB, the table in 4 bits; {scores['sentences_per_second']:,} "
        f"sentences of {scores['characters_per_sentence']} characters a second on one core "
        f"({scores['sentences_per_processor_second']:,} in a second of processor time), loaded in "
        f"{scores['load_seconds']:g} s."
    )
    return f"""\
# Model card: similarity

{textwrap.fill(first, 120)}

{textwrap.fill(taught, 120)}

| sentences of | what it is | license as stated |
|---|---|---|
| ATEC 2018 (Ant Financial) | question pairs, consumer finance | not stated, research use |
| AFQMC, train | question pairs, consumer finance | academic research only, no commercial use |

These sets allow research only: ask a lawyer before you use the weights in a product, or train your own.

Another sentence of the same group among the k nearest, groups_dev.tsv:

| | top-1 | top-5 | top-10 |
|---|---|---|---|
{table}

Spearman's rank correlation of the cosine with the label of pairs:

| | this model | the teacher |
|---|---|---|
{pairs}

Known limits: the order of words counts for little beyond runs of four characters; negation and numbers are weak.

The teacher's license, which its pupil carries on:

{LICENCE}"""


COMMANDS = {"texts": Texts, "train": Train, "evaluate": Evaluate, "bundle": Bundle}


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the command of the line; returns its exit status."""
    from nlptasks.console import parse, run

    return run(parse(COMMANDS, __doc__, sys.argv[1:] if arguments is None else arguments, Path(__file__).name))


if __name__ == "__main__":
    sys.exit(main())
