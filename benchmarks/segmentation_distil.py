"""A segmenter taught by a pretrained encoder: texts to label, the teacher, and the student that ships. JAX.

    NLPTASKS_DATA=... python benchmarks/segmentation_distil.py texts --output runs/texts.xz
    python benchmarks/segmentation_distil.py run --seconds 250 --base MODEL_DIR --data DIR --texts runs/texts.xz \\
        --output runs/distil
    NLPTASKS_DATA=... python benchmarks/segmentation_distil.py score --model runs/distil/student48

`texts` packs raw text that shares no sentence with what is scored. `run` keeps to a time limit: it fine-tunes the
encoder on the training files (the tags of units, the annotation standard as the first token of a sentence), labels the
training sentences and the raw text under every standard, and trains segmenters of the shape that comes with the package
on the annotated words and on those labels. Everything lies on the device as rows of 128 units, several sentences in a
row that do not see each other. `score` scores a segmenter on all held-out text, as `segmentation.py` does, with the
recall of words that its training file does not have.

B rows of a batch, T position, K tags (s, b, m, e), C channels, N rows in all, A annotation standards
"""

import collections
import dataclasses
import itertools
import json
import lzma
import os
import re
import shutil
import sys
import threading
import time
import unicodedata
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from dataclasses import dataclass
from multiprocessing import get_context
from pathlib import Path
from typing import Any, NamedTuple

os.environ.setdefault("KERAS_BACKEND", "jax")
os.environ.setdefault("XLA_PYTHON_CLIENT_PREALLOCATE", "false")  # others may be on the card

import numpy as np

from nlptasks.applications.segmentation.config import SegmentationConfig
from nlptasks.applications.segmentation.samples import MASK
from nlptasks.applications.segmentation.segmenter import Segmenter
from nlptasks.applications.segmentation.storage import save_segmenter
from nlptasks.applications.segmentation.vocab import (
    FIRST_CHARACTER,
    FIRST_PAIR,
    NO_PAIR,
    PAD,
    UNKNOWN,
    UNKNOWN_PAIR,
    UnitVocab,
    pair_keys,
)
from nlptasks.checkpoints.packing import EIGHT_BITS, FOUR_BITS
from nlptasks.files import atomic_path, write_text

# Raw text

CHARACTERS = {
    "ner_msra": 1_500_000,
    "weibo": 900_000,
    "c3": 800_000,
    "wiki": 500_000,
    "cluecorpus": 450_000,
    "cluener": 400_000,
    "reviews": 350_000,
    "news_titles": 350_000,
    "csl": 250_000,
    "weekly": 250_000,
    "shopping": 150_000,
    "laws": 100_000,
    "poetry": 100_000,
}
"""how much of each domain is taken; the training sentences themselves are labelled anyway"""
LONGEST_DOCUMENT = 3000
SHARED = 10
"""a sentence that shares so many ideographs in a row with held-out text is left out"""
_NOT_IDEOGRAPHS = re.compile(r"[^\u3400-\u9fff]+")


def shingles(text: str) -> set[str]:
    """Stretches of `SHARED` ideographs; everything else is passed over."""
    text = _NOT_IDEOGRAPHS.sub("", text)
    return {text[i : i + SHARED] for i in range(len(text) - SHARED + 1)}


def held_out_shingles(folder: Path) -> set[str]:
    """Those of all held-out lines of the segmented files. In normalized files a masked word ends a stretch: what stood
    there is not known, and numbers stand as they do not in raw text, so that no comparison of whole sentences finds
    these lines.
    """
    from segmentation import FILES

    from nlptasks.text.segmented import read_segmented

    found: set[str] = set()
    for name, nth in FILES.values():
        for number, words in enumerate(read_segmented(folder / name), 1):
            if number % nth == 0:
                for masked, part in itertools.groupby(words, MASK.__eq__):
                    if not masked:
                        found |= shingles("".join(part))
    return found


@dataclass(kw_only=True)
class Texts:
    """Pack raw text that holds nothing of what is scored."""

    output: Path
    scale: float = 1.0
    """of the characters of each domain"""
    seed: int = 1

    def run(self) -> None:
        """Reads the data folder, writes one .xz."""
        from no_leakage import documents, evaluation_keys, task_texts, text_files, without

        from nlptasks.text.sentences import split_sentences

        data = Path(os.environ["NLPTASKS_DATA"])
        keys = set().union(*evaluation_keys(data).values())
        forbidden = held_out_shingles(data / "segmentation")
        sources: dict[str, Callable[[], Iterable[str]]] = {
            name: lambda texts=texts: texts for name, texts in task_texts(data).items()
        }
        sources |= {path.name.split(".")[0]: lambda path=path: documents(path) for path in text_files(data)}
        seen: set[str] = set()
        taken: dict[str, list[str]] = {}
        counts: dict[str, dict[str, int]] = {}
        for name, most in CHARACTERS.items():
            found = list(sources[name]())
            count = counts[name] = {"characters": 0, "sentences": 0, "left_out": 0}
            own = taken[name] = []
            for i in np.random.default_rng(self.seed).permutation(len(found)):
                if count["characters"] >= most * self.scale:
                    break
                for line in without(found[i][:LONGEST_DOCUMENT], keys).split("\n"):
                    sentences = split_sentences(" ".join(line.split()))
                    kept = [s for s in sentences if s not in seen and forbidden.isdisjoint(shingles(s))]
                    seen.update(kept)
                    count["left_out"] += len(sentences) - len(kept)
                    if text := "".join(kept).strip():
                        own.append(text)
                        count["characters"] += len(text)
                        count["sentences"] += len(kept)
        with atomic_path(self.output) as temporary, lzma.open(temporary, "wb", preset=9 | lzma.PRESET_EXTREME) as file:
            file.write(json.dumps({"seed": self.seed, "domains": counts}).encode() + b"\n")
            for lines in taken.values():
                file.write("".join(f"{line}\n" for line in lines).encode())
        print(json.dumps(counts, indent=1))
        total = sum(count["characters"] for count in counts.values())
        print(f"{self.output}: {self.output.stat().st_size / 1e6:.2f} MB, {total:,} characters")


def read_texts(path: Path) -> list[str]:
    """The lines that `Texts` packed."""
    with lzma.open(path, "rt", encoding="utf-8") as file:
        next(file)
        return file.read().removesuffix("\n").split("\n")


# Rows of units, as the encoder and the segmenters read them


WIDTH = 128
"""positions of a row; a sentence takes two more than it has units: its standard before them and [SEP] after them"""
STANDARDS = ("cnc", "weibo", "sxu", "msr", "pku")
NORMALIZED = ("msr", "pku")
RAW, SCORED = -1, -2
"""instead of the number of a standard: rows of raw text, rows of held-out text"""
_STOPS, _PAUSES = "。!?;…", ",、:"
"""after which a long line is cut, in folded signs"""
_FULL_WIDTH = {",": "，", "!": "！", "?": "？", ":": "：", ";": "；", "(": "（", ")": "）"}
"""signs that corpora write both ways, as the encoder has met them most"""
_OWN_TOKENS = {char: f"[unused{i}]" for i, char in enumerate("“”‘’—…", 11)}
"""signs that BERT's Chinese vocabulary lacks; the encoder knows them as [UNK], from which their vectors start"""


@dataclass(kw_only=True)
class Text:
    """Lines as units, one after the other, each line with a line end.

    Attributes:
        units: of all lines.
        tokens: the encoder's id of each unit.
        tags: of each unit; 0 where there are no words.
        starts, stops: the pieces: lines without their ends, cut where they are too long for a row.
    """

    units: Any
    tokens: np.ndarray
    tags: np.ndarray
    starts: np.ndarray
    stops: np.ndarray


class UnitTokens:
    """The one token of each unit: a character is itself, a run its whole text or else the longest beginning of it that
    is a token.
    """

    def __init__(self, vocab: Mapping[str, int]) -> None:
        self.vocab, self.unknown = vocab, vocab["[UNK]"]
        self.separator, self.space = vocab["[SEP]"], vocab["[unused99]"]
        self.standard = vocab["[unused1]"]
        """of the first standard; those of the others follow"""
        self.table = np.full(0x110000, self.unknown, "uint16")
        for token, number in vocab.items():
            if len(token) == 1:
                self.table[ord(token)] = number
        for sign, other in _FULL_WIDTH.items():
            self.table[ord(sign)] = vocab.get(other, self.table[ord(sign)])
        for sign, token in _OWN_TOKENS.items():
            self.table[ord(sign)] = vocab.get(sign, vocab[token])
        self._runs: dict[str, int] = {}

    def __call__(self, text: str, units: Any) -> np.ndarray:
        from nlptasks.text.units import DIGIT, LETTER, SPACE

        ids = self.table.take(units.codes)
        ids[units.kinds == SPACE] = self.space
        stops = np.append(units.starts[1:], units.length)
        for i in np.flatnonzero((units.kinds == LETTER) | (units.kinds == DIGIT)):
            run = text[units.starts[i] : stops[i]]
            number = self._runs.get(run)
            if number is None:
                number = self._runs[run] = self._run(unicodedata.normalize("NFKC", run).lower())
            ids[i] = number
        return ids

    def _run(self, text: str) -> int:
        beginnings = (self.vocab.get(text[:end]) for end in range(len(text), 0, -1))
        return next((number for number in beginnings if number is not None), self.unknown)


def text_of(lines: Sequence[Sequence[str]], tokens: UnitTokens) -> Text:
    """The units of lines, given as words; a line without words' ends is one word."""
    from nlptasks.applications.segmentation.viterbi import B, E, M, S
    from nlptasks.text.units import LINE_END, code_points, fold_table, split_units

    text = "".join("".join(words) + "\n" for words in lines)
    lengths = np.fromiter((len(word) for words in lines for word in itertools.chain(words, "\n")), "int64")
    is_start = np.zeros(len(text) + 1, bool)
    is_start[np.cumsum(lengths) - lengths] = is_start[len(text)] = True
    units = split_units(code_points(text))
    first = is_start[units.starts]
    last = np.append(first[1:], True)
    tags = np.where(first, np.where(last, S, B), np.where(last, E, M)).astype("uint8")
    ends = np.flatnonzero(units.kinds == LINE_END)
    codes = fold_table()[units.codes]
    good = [np.isin(codes, [ord(char) for char in chars]) for chars in (_STOPS, _PAUSES)]
    pieces = []
    for start, stop in zip(np.append(0, ends[:-1] + 1).tolist(), ends.tolist(), strict=True):
        while stop - start > WIDTH - 2:
            limit = start + WIDTH - 2
            found = [np.flatnonzero(signs[start + WIDTH // 2 : limit]) for signs in good]
            cut = next((start + WIDTH // 2 + int(f[-1]) + 1 for f in found if len(f)), limit)
            pieces.append((start, cut))
            start = cut
        if stop > start:
            pieces.append((start, stop))
    bounds = np.array(pieces, "int64").reshape(-1, 2)
    return Text(units=units, tokens=tokens(text, units), tags=tags, starts=bounds[:, 0], stops=bounds[:, 1])


def fill_rows(lengths: Sequence[int], width: int) -> tuple[np.ndarray, np.ndarray]:
    """Row and first position of pieces: the longest first, each into the fullest row that has room."""
    rows, places = np.zeros(len(lengths), "int64"), np.zeros(len(lengths), "int64")
    room: list[list[int]] = [[] for _ in range(width + 1)]
    count = 0
    for i in np.argsort(-np.asarray(lengths), kind="stable").tolist():
        length = int(lengths[i])
        free = next((r for r in range(length, width) if room[r]), width)
        if free == width:
            row, count = count, count + 1
        else:
            row = room[free].pop()
        rows[i], places[i] = row, width - free
        room[free - length].append(row)
    return rows, places


@dataclass(kw_only=True)
class Layout:
    """All text as rows.

    Attributes:
        tokens: uint16 (N, T), the encoder's; every sentence begins with the first standard's token.
        sentences: uint8 (N, T), which sentence of its row a position belongs to.
        codes, kinds: (N, T), of units; kinds are LINE_END elsewhere.
        tags: uint8 (N, T).
        own: int32 (N,), the standard of the row's words, RAW or SCORED.
        scored: by standard: the positions of the held-out units in the flat rows, in their order.
    """

    tokens: np.ndarray
    sentences: np.ndarray
    codes: np.ndarray
    kinds: np.ndarray
    tags: np.ndarray
    own: np.ndarray
    scored: dict[str, np.ndarray]

    @property
    def units(self) -> Any:
        """Of all rows, as `UnitVocab.unit_ids` takes them."""
        from nlptasks.text.units import Units

        size = self.kinds.size
        return Units(np.arange(size), self.kinds.ravel(), self.codes.ravel(), size)


def lay_out(parts: Sequence[tuple[int, str, Text]], tokens: UnitTokens, multiple: int, seed: int) -> Layout:
    """Rows of all parts, each of its own, `(what, standard, text)` with `what` as in `Layout.own`: training rows in
    random order, then those that are scored; each kind is filled up with empty rows to a multiple.
    """
    from nlptasks.text.units import LINE_END

    placed, own = [], []
    for what, _, text in parts:
        rows, places = fill_rows((text.stops - text.starts + 2).tolist(), WIDTH)
        placed.append((rows + len(own), places))
        own += [what] * (int(rows.max(initial=-1)) + 1)
    numbers = np.array(own, "int32")
    training, scored = np.flatnonzero(numbers != SCORED), np.flatnonzero(numbers == SCORED)
    order = np.zeros(len(numbers), "int64")
    first = -(-len(training) // multiple) * multiple
    order[np.random.default_rng(seed).permutation(training)] = np.arange(len(training))
    order[scored] = first + np.arange(len(scored))
    count = first + -(-len(scored) // multiple) * multiple
    shape = (count, WIDTH)
    found = Layout(
        tokens=np.zeros(shape, "uint16"),
        sentences=np.zeros(shape, "uint8"),
        codes=np.zeros(shape, "uint32"),
        kinds=np.full(shape, LINE_END, "uint8"),
        tags=np.zeros(shape, "uint8"),
        own=np.full(count, SCORED, "int32"),
        scored={},
    )
    found.own[order] = numbers
    for (what, standard, text), (rows, places) in zip(parts, placed, strict=True):
        lengths = text.stops - text.starts
        begin = order[rows] * WIDTH + places
        at = np.repeat(begin + 1 - (np.cumsum(lengths) - lengths), lengths) + np.arange(lengths.sum())
        source = np.repeat(text.starts - (np.cumsum(lengths) - lengths), lengths) + np.arange(lengths.sum())
        found.tokens.flat[at] = text.tokens[source]
        found.codes.flat[at], found.kinds.flat[at] = text.units.codes[source], text.units.kinds[source]
        found.tags.flat[at] = text.tags[source]
        found.tokens.flat[begin], found.tokens.flat[begin + lengths + 1] = tokens.standard, tokens.separator
        if what == SCORED:
            found.scored[standard] = at
    starts = found.tokens == tokens.standard
    found.sentences[:] = np.where(found.tokens != 0, np.cumsum(starts, axis=1), 1)  # so that every row sees something
    return found


@dataclass(kw_only=True)
class Material:
    """What a run reads, made by a process of its own meanwhile; the arrays are those of `Layout`, with the
    units and pairs of the segmenters' vocabulary.

    Attributes:
        unit_ids: uint16 (N, T).
        pair_ids: int32 (N, T + 1).
        unit_drop, pair_drop: by id: how often it is read as unknown in training.
    """

    tokens: np.ndarray
    sentences: np.ndarray
    tags: np.ndarray
    own: np.ndarray
    scored: dict[str, np.ndarray]
    unit_ids: np.ndarray
    pair_ids: np.ndarray
    unit_drop: np.ndarray
    pair_drop: np.ndarray
    characters: np.ndarray
    pairs: np.ndarray
    held_out: dict[str, list[list[str]]]
    train_words: dict[str, set[str]]
    seconds: float

    def vocab(self) -> UnitVocab:
        """Of the segmenters."""
        return UnitVocab(self.characters, self.pairs)

    def config(self, options: "Run", channels: int) -> SegmentationConfig:
        """Of a segmenter."""
        return SegmentationConfig(
            standards=STANDARDS,
            unit_size=options.unit_size,
            pair_size=options.pair_size,
            channels=(channels, channels, channels),
        )


INNER = "inner "
"""before the name of a standard: the training sentences that are held out for choosing"""


def prepare(options: "Run") -> Material:
    """Reads everything and lays it out."""
    from segmentation import gold

    from nlptasks.applications.segmentation.samples import join_some, long_words, undo_normalization
    from nlptasks.applications.segmentation.training import SPACED_SHARE
    from nlptasks.text import Tokenizer

    begun = time.monotonic()
    tokens = UnitTokens(Tokenizer.from_directory(options.base).vocab)
    random = np.random.default_rng(options.seed)
    training, held_out = gold(options.data, options.most)
    train_words = {name: {word for words in lines for word in words} for name, lines in training.items()}
    for standard, sentences in training.items():
        inner = sentences[options.inner_every // 2 :: options.inner_every]
        held_out[INNER + standard] = [words for words in inner if MASK not in words]
        del sentences[options.inner_every // 2 :: options.inner_every]
    replacements = [
        word for name, sentences in training.items() if name not in NORMALIZED for word in long_words(sentences)
    ]
    parts = []
    for number, (standard, sentences) in enumerate(training.items()):
        if standard in NORMALIZED:
            sentences = undo_normalization(sentences, replacements, random)
        parts.append((number, standard, text_of(join_some(sentences, SPACED_SHARE, random), tokens)))
    lines = [line for path in options.texts for line in read_texts(path)]
    lines = lines[:: max(1, len(lines) // options.most)] if options.most else lines
    parts.append((RAW, "", text_of([[line] for line in lines], tokens)))
    parts += [(SCORED, name, text_of(sentences, tokens)) for name, sentences in held_out.items()]
    layout = lay_out(parts, tokens, options.label_rows, options.seed)
    vocab = UnitVocab(*choose_vocab(layout, options))
    unit_ids = vocab.unit_ids(layout.units).reshape(layout.kinds.shape)
    pair_ids = vocab.pair_ids(unit_ids)
    training_rows = layout.own != SCORED
    drops = []
    for ids, size, drop, first in (
        (unit_ids, vocab.unit_count, options.unit_drop, FIRST_CHARACTER),
        (pair_ids, vocab.pair_count, options.pair_drop, FIRST_PAIR),
    ):
        counts = np.bincount(ids[training_rows].ravel(), minlength=size)
        rates = drop / np.maximum(1e-9, drop + counts)
        rates[:first] = 0
        drops.append(rates.astype("float32"))
    return Material(
        tokens=layout.tokens,
        sentences=layout.sentences,
        tags=layout.tags,
        own=layout.own,
        scored=layout.scored,
        unit_ids=unit_ids.astype("uint16"),
        pair_ids=pair_ids,
        unit_drop=drops[0],
        pair_drop=drops[1],
        characters=vocab.characters,
        pairs=vocab.pairs,
        held_out=held_out,
        train_words=train_words,
        seconds=time.monotonic() - begun,
    )


def choose_vocab(layout: Layout, options: "Run") -> tuple[np.ndarray, np.ndarray]:
    """Characters and pairs of a segmenter of `options.size` bytes: the most frequent ones, an annotated text's counting
    `gold_weight` times as much as raw text's.
    """
    from nlptasks.text.units import OTHER

    annotated, raw = layout.own >= 0, layout.own == RAW
    weights = ((annotated, options.gold_weight), (raw, 1.0))
    counts = np.zeros(0x110000)
    for chosen, weight in weights:
        codes = layout.codes[chosen]
        counts += weight * np.bincount(codes[layout.kinds[chosen] == OTHER], minlength=len(counts))
    order = np.argsort(-counts, kind="stable")
    characters = order[counts[order] >= options.character_count].astype("uint32")
    vocab = UnitVocab(characters, np.zeros(0))
    ids = vocab.unit_ids(layout.units).reshape(layout.kinds.shape)
    found = []
    for chosen, weight in weights:
        keys, times = np.unique(pair_keys(ids[chosen]), return_counts=True)
        found.append((keys, weight * times))
    keys, where = np.unique(np.concatenate([keys for keys, _ in found]), return_inverse=True)
    scores = np.bincount(where, np.concatenate([times for _, times in found]))
    left, right = np.divmod(keys, 1 << 16)
    known = (keys != 0) & (left != UNKNOWN) & (right != UNKNOWN) & (scores >= options.pair_count)
    keys, scores = keys[known], scores[known]
    unit_bytes, pair_bytes = options.unit_size + 8, (options.pair_size + 1) // 2 + 4
    room = (options.size - 250_000 - unit_bytes * vocab.unit_count) // pair_bytes
    return characters, np.sort(keys[np.argsort(-scores, kind="stable")[: int(room)]])


# The teacher: the encoder with the tags of its units


@dataclass(kw_only=True)
class Run:
    """Teacher and students within a time."""

    base: Path
    """model directory of the encoder; its vocabulary must have characters"""
    data: Path
    """folder with the segmented files, plain or gzip"""
    texts: tuple[Path, ...]
    """written by `texts`"""
    output: Path
    seconds: float
    """of the whole command"""
    labels: Path | None = None
    """written by `segmentation_teacher.py`, with the same options of the rows; default: teachers are trained here"""
    reserve: float = 30.0
    """of these, for the last scores"""
    label_until: float = 0.5
    """when teaching and labelling end at the latest, as a share of the time; rows without labels are left out"""
    label_share: float = 0.45
    """of what is left of that when a teacher begins: for labelling"""

    teachers: int = 3
    """at most; their mean is what the students learn. Another one begins only where there is time for it"""
    teacher_epochs: float = 5.0
    """at most"""
    teacher_rows: int = 128
    """of a step"""
    teacher_rate: float = 2e-4
    head_rate: float = 5.0
    """the head learns so many times as fast"""
    teacher_dropout: float = 0.1
    weight_decay: float = 0.01
    precision: str = "bfloat16"
    """of the teacher"""
    label_rows: int = 256
    """that are labelled at a time"""

    students: tuple[str, ...] = ("48:0.05", "48:0.15", "64:0.1")
    """channels of the three convolutions and dropout rate of each; of those with the same channels, the one that scores
    best on `inner` lines is kept"""
    inner_every: int = 40
    """every so manieth training sentence is for that choice: nothing is trained on it"""
    unit_size: int = 64
    pair_size: int = 32
    size: int = 4_950_000
    """bytes of a stored student at most"""
    gold_weight: float = 3.0
    """a pair of annotated text counts so many times as one of raw text when the most frequent ones are chosen"""
    pair_count: float = 4.0
    """what is counted less often has no place in any case"""
    character_count: float = 4.0
    """the same for characters"""
    student_rows: int = 128
    student_rate: float = 3e-3
    student_steps: int = 100_000
    """at most"""
    scan: int = 25
    """steps of one call"""
    unit_drop: float = 0.3
    pair_drop: float = 0.2
    gold_share: float = 0.5
    """of the rows that a student reads, those with annotated words"""
    own_share: float = 0.5
    """how often such a row is read under its own standard"""
    teacher_share: float = 0.5
    """the teacher's share of the target there"""
    round_from: float = 0.5
    """share of a student's time after which it reads the tables as they will be stored"""
    warmup: float = 0.05
    """share of a training in which the rate rises"""

    layers: int | None = None
    """of the encoder, the first ones (to try things)"""
    most: int | None = None
    """sentences of each file (to try things)"""
    log_seconds: float = 5.0
    seed: int = 1

    def run(self) -> None:
        """Everything, in this order; scores are written as they are found."""
        self.started, self.result = time.monotonic(), {}
        self.output.mkdir(parents=True, exist_ok=True)
        self._lock = threading.Lock()
        with ProcessPoolExecutor(4, get_context("spawn")) as pool, ThreadPoolExecutor(8) as compilers:
            waiting = pool.submit(prepare, dataclasses.replace(self))
            self.pool = pool
            import jax

            from nlptasks.train.run import start_run

            start_run(self.seed, self.precision)
            teacher = Teacher(self) if self.labels is None else None
            self.log("encoder", device=jax.devices()[0].device_kind, jax=jax.__version__)
            material = waiting.result()
            own = material.own
            self.log(
                "material",
                seconds=round(material.seconds, 1),
                rows={name: int((own == i).sum()) for i, name in enumerate(STANDARDS)}
                | {"raw": int((own == RAW).sum()), "scored": int((own == SCORED).sum())},
                filled=round(float((material.tokens[own != SCORED] > 0).mean()), 3),
                characters=len(material.characters),
                pairs=len(material.pairs),
            )
            names = ("tokens", "sentences", "unit_ids", "pair_ids", "tags", "own")
            data = Data(*jax.device_put([getattr(material, name) for name in names]))
            given = None if self.labels is None else read_labels(self.labels, material)
            if teacher is not None:
                teacher.compile(data, compilers)
            students = [Student(self, what, material, data, compilers, given) for what in self.students]
            taught = given or teacher.teach_and_label(data, material)
            del teacher
            train_students(self, students, data, own, taught)
            waiting = [
                pool.submit(scores_of, student.save(), material.held_out, material.train_words) for student in students
            ]
            for student, scores in zip(students, waiting, strict=True):
                self.keep(student.name, {"bytes": student.bytes()} | scores.result())
            self._choose(students)

    def _choose(self, students: Sequence["Student"]) -> None:
        """Removes the students that others of their size beat on the inner lines."""
        best: dict[int, Student] = {}
        for student in sorted(students, key=lambda student: self.result[student.name]["inner"]):
            if worse := best.get(student.channels):
                shutil.rmtree(worse.directory)
            best[student.channels] = student
        self.keep("chosen", {str(channels): student.name for channels, student in best.items()})

    def since(self) -> float:
        """The share of the time that is over."""
        return (time.monotonic() - self.started) / self.seconds

    def log(self, what: str, **values: Any) -> None:
        """A line of JSON on standard output and in the log."""
        line = {"what": what, "second": round(time.monotonic() - self.started, 1)} | values
        print(json.dumps(line, ensure_ascii=False), flush=True)
        with open(self.output / "log.jsonl", "a", encoding="utf-8") as file:
            file.write(json.dumps(line, ensure_ascii=False) + "\n")

    def keep(self, name: str, scores: Mapping[str, Any]) -> None:
        """Writes scores."""
        with self._lock:
            self.result[name] = scores
            self.log(name, **scores)
            write_text(self.output / "result.json", json.dumps(self.result, ensure_ascii=False, indent=1) + "\n")


class Labels(NamedTuple):
    """What teachers say of the first rows.

    Attributes:
        marginals: (A, N, T, K) float16, by standard; (1, N, T, K): under the one of each row.
        asked: (N,), that one; -1: all.
        rows: how many there are.
    """

    marginals: Any
    asked: np.ndarray
    rows: int


def read_labels(folder: Path, material: Material) -> Labels:
    """What `segmentation_teacher.py` wrote.

    Raises:
        UserError: it is not done, or of other rows.
    """
    from segmentation_teacher import ASKED, LABELS, RESULT, digest_of

    from nlptasks.errors import UserError

    if not (folder / ASKED).is_file():
        raise UserError("{path} is missing: segmentation_teacher.py has not labelled all rows.", path=folder / ASKED)
    if json.loads((folder / RESULT).read_text(encoding="utf-8"))["digest"] != digest_of(material):
        raise UserError("{path}: labels of other rows; give the options that made them.", path=folder / LABELS)
    found = np.load(folder / LABELS, allow_pickle=False)
    marginals, asked = np.zeros((1, *material.tokens.shape, 4), "float16"), np.full(len(material.own), -1, "int32")
    marginals[0, : len(found)], asked[: len(found)] = found, np.load(folder / ASKED, allow_pickle=False)
    return Labels(marginals, asked, int((material.own != SCORED).sum()))


class Data(NamedTuple):
    """What lies on the device: (N, T) arrays, pairs (N, T + 1), own (N,); see `Layout`."""

    tokens: Any
    sentences: Any
    unit_ids: Any
    pair_ids: Any
    tags: Any
    own: Any


def adam(values: Any, gradients: Any, moments: Any, step: Any, rate: Any, decay: float, rates: Any) -> tuple[Any, Any]:
    """AdamW (arXiv 1711.05101) on lists; only matrices decay."""
    from jax import numpy as jnp

    first_unbiased, second_unbiased = 1 - 0.9**step, 1 - 0.999**step
    new_values, new_moments = [], []
    for value, gradient, (first, second), own in zip(values, gradients, moments, rates, strict=True):
        first, second = 0.9 * first + 0.1 * gradient, 0.999 * second + 0.001 * gradient * gradient
        change = first / first_unbiased / (jnp.sqrt(second / second_unbiased) + 1e-7)
        if value.ndim > 1 and decay:
            change = change + decay * value
        new_values.append(value - rate * own * change)
        new_moments.append((first, second))
    return new_values, new_moments


class Pace:
    """The learning rate by the clock, and calls that stay close to the device.

    Args:
        limit: the share of the run's time at which the rate is 0.
        most: steps after which it is 0 in any case.
    """

    def __init__(self, options: Run, limit: float, most: float) -> None:
        self.options, self.limit, self.most = options, limit, most
        self.begun, self.steps, self.logged = options.since(), 0, time.monotonic()
        self._waiting: collections.deque[Any] = collections.deque()

    def done(self) -> float:
        """The share of this training that is over."""
        return max(self.steps / self.most, (self.options.since() - self.begun) / max(1e-9, self.limit - self.begun))

    def rate(self) -> float:
        """A share of the highest rate; 0 or less: it is over."""
        done = self.done()
        return min(done / self.options.warmup + 1e-3, (1 - done) / (1 - self.options.warmup))

    def made(self, what: str, steps: int, loss: Any) -> None:
        """Notes calls that were sent, and waits until all but the latest ones are done."""
        self.steps += steps
        self._waiting.append(loss)
        if len(self._waiting) > 3:
            old = np.asarray(self._waiting.popleft())
            if time.monotonic() - self.logged > self.options.log_seconds:
                self.logged = time.monotonic()
                self.options.log(what, step=self.steps, done=round(self.done(), 3), loss=np.round(old, 4).tolist())


class Teacher:
    """An encoder that gives the tags of units under a standard."""

    def __init__(self, options: Run) -> None:
        import keras

        from nlptasks.loading import build_transformer_model
        from nlptasks.pretraining.devices import fused_attention_problem
        from nlptasks.text import Tokenizer
        from nlptasks.train.run import PRECISIONS

        self.options = options
        overrides: dict[str, Any] = {}
        if options.layers is not None:
            skip = [f"encoder.layer.{i}." for i in range(options.layers, 99)]
            overrides = {"num_layers": options.layers, "skip": skip}
        self.model: Any = build_transformer_model(
            options.base,
            options.base,
            model="bert",
            attention="bidirectional",
            dropout=options.teacher_dropout,
            attention_dropout=0.0,
            **overrides,
        )
        self.head = keras.layers.Dense(4, dtype="float32", name="tags")
        self.head.build((None, self.model.config.hidden_size))
        config, precision = self.model.config, PRECISIONS[options.precision]
        problem = fused_attention_problem(config.num_heads, config.key_size, WIDTH, precision)
        self.model.fused_attention = problem is None
        vocab = Tokenizer.from_directory(options.base).vocab
        self.standard = vocab["[unused1]"]
        table = np.array(self.model.embeddings.token.embeddings.value)
        table[self.standard : self.standard + len(STANDARDS)] = table[vocab["[CLS]"]]
        for token in _OWN_TOKENS.values():
            table[vocab[token]] = table[vocab["[UNK]"]]
        self.model.embeddings.token.embeddings.assign(table)
        self.variables = [*self.model.trainable_variables, *self.head.trainable_variables]
        self.others = list(self.model.non_trainable_variables)
        self.rates = [1.0] * len(self.model.trainable_variables) + [options.head_rate] * 2
        self.fresh = [np.array(v.value) for v in self.variables]

    def logits(self, values: Any, others: Any, tokens_BT: Any, sentences_BT: Any, training: bool) -> tuple[Any, Any]:
        """Tag scores (B, T, K), float32, and the new random state."""
        import keras

        from nlptasks.backend.programs import current_values

        mapping = list(zip(self.variables + self.others, [*values, *others], strict=True))
        with keras.StatelessScope(state_mapping=mapping) as scope:
            hidden = self.model.encode(
                tokens_BT.astype("int32"), training=training, document_ids_BT=sentences_BT.astype("int32")
            )
            return self.head(hidden.astype("float32")), list(current_values(scope, self.others, others))

    def compile(self, data: Data, compilers: ThreadPoolExecutor) -> None:
        """Begins to compile the step and the labelling."""
        import jax
        from jax import numpy as jnp

        self._compilers = compilers
        options, standards = self.options, len(STANDARDS)
        size = options.label_rows

        def with_standard(tokens_BT: Any, standard: Any) -> Any:
            return jnp.where(tokens_BT == self.standard, (self.standard + standard).astype("uint16"), tokens_BT)

        def loss_of(values: Any, others: Any, data: Data, rows_B: Any) -> Any:
            tokens_BT, unit_ids_BT = data.tokens[rows_B], data.unit_ids[rows_B]
            tokens_BT = with_standard(tokens_BT, data.own[rows_B][:, None])
            logits, others = self.logits(values, others, tokens_BT, data.sentences[rows_B], True)
            tags_BT1 = data.tags[rows_B].astype("int32")[..., None]
            losses_BT = -jnp.take_along_axis(jax.nn.log_softmax(logits), tags_BT1, axis=-1)[..., 0]
            real_BT = unit_ids_BT != 0
            return jnp.sum(losses_BT * real_BT) / jnp.maximum(1, jnp.sum(real_BT)), others

        def step(state: Any, data: Data, rows_B: Any, number: Any, rate: Any) -> Any:
            values, others, moments = state
            (loss, others), gradients = jax.value_and_grad(loss_of, has_aux=True)(values, others, data, rows_B)
            norm = jnp.sqrt(sum(jnp.sum(jnp.square(g)) for g in gradients))
            gradients = [g * jnp.minimum(1.0, 1.0 / (norm + 1e-6)) for g in gradients]
            values, moments = adam(values, gradients, moments, number, rate, options.weight_decay, self.rates)
            return (values, others, moments), loss

        def label(marginals: Any, values: Any, others: Any, data: Data, start: Any, weight: Any) -> Any:
            tokens_BT = jax.lax.dynamic_slice_in_dim(data.tokens, start, size)
            sentences_BT = jax.lax.dynamic_slice_in_dim(data.sentences, start, size)

            def under(standard: Any) -> Any:
                logits, _ = self.logits(values, others, with_standard(tokens_BT, standard), sentences_BT, False)
                return jax.nn.softmax(logits)

            new = jax.lax.map(under, jnp.arange(standards))
            old = jax.lax.dynamic_slice_in_dim(marginals, start, size, axis=1)
            mixed = (old + weight * (new - old)).astype("float16")
            return jax.lax.dynamic_update_slice_in_dim(marginals, mixed, start, axis=1)

        def shapes(tree: Any) -> Any:
            return jax.tree.map(lambda a: jax.ShapeDtypeStruct(a.shape, a.dtype), tree)

        values, others = self.fresh, [v.value for v in self.others]
        state = (values, others, [(v, v) for v in values])
        rows = jax.ShapeDtypeStruct((options.teacher_rows,), "int32")
        number, real = jax.ShapeDtypeStruct((), "int32"), jax.ShapeDtypeStruct((), "float32")
        marginals = jax.ShapeDtypeStruct((standards, *data.tokens.shape, 4), "float16")
        lowered = jax.jit(step, donate_argnums=0).lower(*shapes((state, data)), rows, real, real)
        self.step = compilers.submit(lowered.compile)
        lowered = jax.jit(label, donate_argnums=0).lower(marginals, *shapes((values, others, data)), number, real)
        self.label = compilers.submit(lowered.compile)
        self.marginals = marginals

    def teach_and_label(self, data: Data, material: Material) -> Labels:
        """The mean probabilities of all teachers."""
        import jax
        from jax import numpy as jnp

        options = self.options
        try:
            step, label = self.step.result(), self.label.result()
        except jax.errors.JaxRuntimeError as error:  # what the library for this device cannot fuse
            if not self.model.fused_attention:
                raise
            options.log("not fused", why=" ".join(str(error).split())[:300])
            self.model.fused_attention = False
            self.compile(data, self._compilers)
            step, label = self.step.result(), self.label.result()
        options.log("compiled", program="teacher", fused=self.model.fused_attention)
        marginals = jnp.zeros(self.marginals.shape, "float16")
        size, training = options.label_rows, np.flatnonzero(material.own >= 0)
        last = -(-int((material.own != SCORED).sum()) // size) * size
        labelled = last
        spent = 0.0
        for number in range(options.teachers):
            begun = options.since()
            window = options.label_until - begun
            if number and window < 1.1 * spent:
                break
            random = np.random.default_rng((options.seed, number))
            values = [*self.fresh[:-2], random.normal(0, 0.02, self.fresh[-2].shape).astype("float32"), self.fresh[-1]]
            moments = [(np.zeros_like(v), np.zeros_like(v)) for v in values]
            state = jax.device_put((values, [np.asarray(v.value) + np.uint32(number) for v in self.others], moments))
            passes = options.teacher_epochs * len(training) / options.teacher_rows
            pace = Pace(options, options.label_until - window * options.label_share, passes)
            order = (row for _ in itertools.count() for row in random.permutation(training).astype("int32"))
            while (rate := pace.rate()) > 0:
                rows_B = np.fromiter(itertools.islice(order, options.teacher_rows), "int32")
                number_now, rate_now = np.float32(pace.steps + 1), np.float32(rate * options.teacher_rate)
                state, loss = step(state, data, rows_B, number_now, rate_now)
                pace.made("teacher", 1, loss)
            options.log("taught", steps=pace.steps, epochs=round(pace.steps * options.teacher_epochs / passes, 2))
            values, others, _ = state
            del state
            weight = np.float32(1 / (number + 1))
            for start in range(last, len(material.own), size):
                marginals = label(marginals, values, others, data, np.int32(start), weight)
            self._score(marginals, last, material, number + 1)
            pace = Pace(options, options.label_until, float("inf"))
            for start in range(0, labelled, size):
                if pace.done() >= 1 and (number or start > last // 4):
                    labelled = labelled if number else start
                    break
                marginals = label(marginals, values, others, data, np.int32(start), weight)
                pace.made("label", size, marginals[0, 0, 0, 0])
            jax.block_until_ready(marginals)
            options.log("labelled", rows=labelled, of=last)
            spent = options.since() - begun
        return Labels(marginals, np.full(len(material.own), -1, "int32"), labelled)

    def _score(self, marginals: Any, first: int, material: Material, count: int) -> None:
        """Begins to score the mean of so many teachers."""
        flat = {}
        for standard, at in material.scored.items():
            number = STANDARDS.index(standard.removeprefix(INNER))
            flat[standard] = np.asarray(marginals[number, first:]).reshape(-1, 4)[at - first * WIDTH]
        given = (material.config(self.options, 1), material.characters, flat)
        waiting = self.options.pool.submit(scores_of, given, material.held_out, material.train_words)
        waiting.add_done_callback(lambda done: self.options.keep(f"mean of {count} teachers", done.result()))


class Given:
    """Scores that were computed before, in the order in which they are asked for; what `Segmenter` calls a runtime."""

    def __init__(self, config: SegmentationConfig, vocab: UnitVocab, scores_NK: np.ndarray) -> None:
        self.config, self.vocab, self._scores, self._at = config, vocab, scores_NK, 0

    def scores(self, unit_ids: np.ndarray, standard_id: int) -> np.ndarray:
        """The next ones; zeros at line ends."""
        real = np.flatnonzero(unit_ids)
        found = np.zeros((len(unit_ids), 4), "float32")
        found[real] = self._scores[self._at : self._at + len(real)]
        self._at += len(real)
        return found


# Students: segmenters


def convolve(x_BTC: Any, kernel: Any) -> Any:
    """Tap k of the kernel reads position t + k - 1, zeros outside (one tap reads t): the sum of shifted products."""
    from jax import numpy as jnp

    taps, length = kernel.shape[0], x_BTC.shape[1]
    if taps == 1:
        return x_BTC @ kernel[0]
    side_by_side = kernel.transpose(1, 0, 2).reshape(kernel.shape[1], -1)
    products = jnp.pad((x_BTC @ side_by_side), [(0, 0), (1, taps - 2), (0, 0)])
    each = jnp.split(products, taps, axis=-1)
    return sum(each[k][:, k : k + length] for k in range(taps))


def as_stored(rows: Any, levels: int, share: Any) -> Any:
    """Rows of a table, rounded as `pack_rows` rounds them if `share` is 1, not if it is 0; the gradient passes."""
    import jax
    from jax import numpy as jnp

    most = jnp.abs(rows).max(axis=-1, keepdims=True)
    scale = jnp.maximum(jnp.maximum(most / levels, 1e-6).astype("float16").astype("float32"), 1e-6)
    rounded = jnp.clip(jnp.round(rows / scale), -levels, levels) * scale
    return rows + share * jax.lax.stop_gradient(rounded - rows)


class Student:
    """A segmenter of the shape that comes with the package, in training.

    Its forward pass is that of `SegmentationNetwork`, written so that a GPU has matrix products instead of narrow
    convolutions, and with the tables as they will be stored.
    """

    def __init__(
        self,
        options: Run,
        what: str,
        material: Material,
        data: Data,
        compilers: ThreadPoolExecutor,
        labels: Labels | None = None,
    ) -> None:
        import jax
        import keras

        from nlptasks.applications.segmentation.network import SegmentationNetwork

        self.options, self.name = options, "student " + what
        self.channels, self.dropout = int(what.split(":")[0]), float(what.split(":")[1])
        self.directory = options.output / what.replace(":", "_")
        self.config, self.vocab = material.config(options, self.channels), material.vocab()
        keras.config.set_dtype_policy("float32")
        network = SegmentationNetwork(self.config, self.vocab)
        network.build()
        self.arrays = network.arrays()
        self.names = list(self.arrays)
        values = list(self.arrays.values())
        self.drops = jax.device_put((material.unit_drop, material.pair_drop))
        self.state = jax.device_put((values, [(np.zeros_like(v), np.zeros_like(v)) for v in values]))
        shapes = jax.tree.map(lambda a: jax.ShapeDtypeStruct(a.shape, a.dtype), (self.state, data))
        by_standard = len(STANDARDS) if labels is None else len(labels.marginals)
        marginals = jax.ShapeDtypeStruct((by_standard, *data.tokens.shape, 4), "float16")
        picks = [jax.ShapeDtypeStruct(data.own.shape, "int32")] * 3
        numbers = [jax.ShapeDtypeStruct((), kind) for kind in ("int32", "int32", "uint32", "float32", "float32")]
        lowered = jax.jit(self._steps, donate_argnums=0).lower(
            *shapes, marginals, *picks, *numbers, jax.ShapeDtypeStruct((), "float32")
        )
        self.program = compilers.submit(lowered.compile)

    def scores(
        self,
        arrays: Mapping[str, Any],
        unit_ids_BT: Any,
        pair_ids_BT: Any,
        standards_B: Any,
        rounded: Any = 0.0,
        dropout: float = 0.0,
        key: Any = None,
    ) -> Any:
        """Tag scores (B, T, K); `pair_ids_BT` has a position more."""
        import jax

        keys = iter(jax.random.split(key, len(self.config.channels) + 2) if dropout else ())

        def drop(x: Any) -> Any:
            return x * jax.random.bernoulli(next(keys), 1 - dropout, x.shape) / (1 - dropout) if dropout else x

        def bias(name: str) -> Any:
            return arrays[name][standards_B][:, None]

        real_BT1 = (unit_ids_BT != PAD)[..., None]
        units = as_stored(arrays["unit"][unit_ids_BT], EIGHT_BITS, rounded) * real_BT1
        x_BTC = convolve(drop(units), arrays["from_units"])
        if self.config.pair_size:
            pairs = as_stored(arrays["pair"][pair_ids_BT], FOUR_BITS, rounded) * (pair_ids_BT != NO_PAIR)[..., None]
            x_BTC = x_BTC + convolve(drop(pairs), arrays["from_pairs"])[:, : unit_ids_BT.shape[1]]
        x_BTC = jax.nn.relu(x_BTC + bias("bias.0")) * real_BT1
        for i in range(1, len(self.config.channels)):
            h_BTC = jax.nn.relu(convolve(drop(x_BTC), arrays[f"conv.{i}"]) + bias(f"bias.{i}"))
            x_BTC = (x_BTC + h_BTC if self.config.residual else h_BTC) * real_BT1
        return convolve(drop(x_BTC), arrays["head"]) + bias("head_bias")

    def _loss(self, values: Any, batch: tuple[Any, ...], rounded: Any, key: Any) -> Any:
        import jax
        from jax import numpy as jnp

        unit_ids, pair_ids, standards, targets = batch
        arrays = dict(zip(self.names, values, strict=True))
        scores = self.scores(arrays, unit_ids, pair_ids, standards, rounded, self.dropout, key)
        losses_BT = -jnp.sum(targets * jax.nn.log_softmax(scores), axis=-1)
        real_BT = unit_ids != PAD
        return jnp.sum(losses_BT * real_BT) / jnp.maximum(1, jnp.sum(real_BT))

    def _batch(
        self, data: Data, marginals: Any, asked: Any, gold: Any, raw: Any, counts: Any, key: Any
    ) -> tuple[Any, ...]:
        """Rows drawn at random: their units, pairs, standards and targets."""
        import jax
        from jax import numpy as jnp

        options = self.options
        B, keys = options.student_rows, jax.random.split(key, 6)
        uniform_B = jax.random.uniform(keys[0], (B,))
        picks_B = [
            index[jnp.minimum((uniform_B * count).astype("int32"), count - 1)]
            for index, count in zip((gold, raw), counts, strict=True)
        ]
        annotated_B = (jax.random.uniform(keys[1], (B,)) < options.gold_share) | (counts[1] == 0)
        rows_B = jnp.where(annotated_B, *picks_B)
        own_B = annotated_B & (jax.random.uniform(keys[2], (B,)) < options.own_share)
        standards_B = jax.random.randint(keys[3], (B,), 0, len(STANDARDS))
        standards_B = jnp.where(asked[rows_B] >= 0, asked[rows_B], standards_B)
        standards_B = jnp.where(own_B, data.own[rows_B], standards_B)
        targets = marginals[standards_B % len(marginals), rows_B].astype("float32")
        annotation = jax.nn.one_hot(data.tags[rows_B], 4)
        mixed = options.teacher_share * targets + (1 - options.teacher_share) * annotation
        targets = jnp.where(own_B[:, None, None], mixed, targets)
        unit_ids, pair_ids = data.unit_ids[rows_B].astype("int32"), data.pair_ids[rows_B]
        unit_drop, pair_drop = self.drops
        unit_ids = jnp.where(jax.random.uniform(keys[4], unit_ids.shape) < unit_drop[unit_ids], UNKNOWN, unit_ids)
        pair_ids = jnp.where(jax.random.uniform(keys[5], pair_ids.shape) < pair_drop[pair_ids], UNKNOWN_PAIR, pair_ids)
        return unit_ids, pair_ids, standards_B, targets

    def _steps(
        self,
        state: Any,
        data: Data,
        marginals: Any,
        asked: Any,
        gold: Any,
        raw: Any,
        gold_count: Any,
        raw_count: Any,
        seed: Any,
        number: Any,
        rate: Any,
        rounded: Any,
    ) -> Any:
        """`scan` steps; the mean loss."""
        import jax
        from jax import numpy as jnp

        counts = (gold_count, raw_count)

        def step(state: Any, i: Any) -> Any:
            values, moments = state
            drawing, dropping = jax.random.split(jax.random.fold_in(jax.random.key(seed, impl="rbg"), i))
            batch = self._batch(data, marginals, asked, gold, raw, counts, drawing)
            loss, gradients = jax.value_and_grad(self._loss)(values, batch, rounded, dropping)
            values, moments = adam(values, gradients, moments, number + i + 1, rate, 0.0, [1.0] * len(values))
            return (values, moments), loss

        state, losses = jax.lax.scan(step, state, jnp.arange(self.options.scan))
        return state, losses.mean()

    def save(self) -> Path:
        """Writes the segmenter as it is now; returns its directory."""
        arrays = {name: np.asarray(value) for name, value in zip(self.names, self.state[0], strict=True)}
        save_segmenter(self.directory, self.config, self.vocab, arrays)
        return self.directory

    def bytes(self) -> int:
        """Of its files."""
        return sum(path.stat().st_size for path in self.directory.iterdir())


def train_students(options: Run, students: Sequence[Student], data: Data, own: np.ndarray, taught: Labels) -> None:
    """All students in turn, on the same clock."""
    marginals, asked, labelled = taught
    annotated, raw = (np.flatnonzero(chosen[:labelled]).astype("int32") for chosen in (own >= 0, own == RAW))
    index = [asked, *(np.pad(rows, (0, len(own) - len(rows))) for rows in (annotated, raw))]
    import jax

    index = jax.device_put(index)
    programs = [student.program.result() for student in students]
    options.log("compiled", program="students", annotated=len(annotated), raw=len(raw))
    pace = Pace(options, 1 - options.reserve / options.seconds, options.student_steps)
    saved = 0.0
    while (rate := pace.rate()) > 0:
        seed, losses = np.uint32(options.seed * 1_000_003 + pace.steps), []
        rounded = np.float32(pace.done() >= options.round_from)
        numbers = (np.int32(len(annotated)), np.int32(len(raw)), seed, np.float32(pace.steps))
        for student, program in zip(students, programs, strict=True):
            student.state, loss = program(
                student.state, data, marginals, *index, *numbers, np.float32(rate * options.student_rate), rounded
            )
            losses.append(loss)
        pace.made("students", options.scan, jax.numpy.stack(losses))
        if pace.done() > saved + 0.25:
            saved = pace.done()
            for student in students:
                student.save()
    options.log("students taught", steps=pace.steps)


# Scores


def scores_of(
    model: Any, held_out: Mapping[str, Sequence[Sequence[str]]], train_words: Mapping[str, set[str]]
) -> dict[str, Any]:
    """F1 and the recall of words that are not in the standard's training file, percent; the mean F1 of cnc, weibo and
    sxu, of all standards, and of the inner lines.

    Args:
        model: of a segmenter: its name or directory; or config, characters, and by standard the tags' probabilities.
    """
    import nlptasks
    from nlptasks.metrics.segmentation import score_segmentation

    loaded = None if isinstance(model, tuple) else nlptasks.load(model)
    found = {}
    for name, sentences in held_out.items():
        standard = name.removeprefix(INNER)
        if isinstance(model, tuple):
            config, characters, flat = model
            scores_NK = np.log(np.maximum(flat[name].astype("float32"), 1e-7))
            segmenter = Segmenter(Given(config, UnitVocab(characters, np.zeros(0)), scores_NK))
        else:
            segmenter = loaded
        predicted = segmenter.predict(["".join(words) for words in sentences], standard)
        scores = score_segmentation(sentences, predicted, train_words[standard])
        chosen = {name: round(100 * scores[name], 2) for name in ("f1", "oov_recall", "iv_recall", "oov_rate")}
        found[name] = chosen
    means = {}
    for mean, names in (
        ("mean_of_three", STANDARDS[:3]),
        ("mean", STANDARDS),
        ("inner", [INNER + name for name in STANDARDS]),
    ):
        if all(name in found for name in names):
            means[mean] = round(sum(found[name]["f1"] for name in names) / len(names), 3)
    return means | {"standards": found}


@dataclass(kw_only=True)
class Score:
    """Score segmenters on all held-out text."""

    model: tuple[str, ...] = ("segmenter",)
    """directories; segmenter: the one that comes with the package"""
    data: Path | None = None
    """folder with the segmented files; default: that of NLPTASKS_DATA"""

    def run(self) -> None:
        """Prints a line of JSON for each."""
        from segmentation import gold

        training, held_out = gold(self.data or Path(os.environ["NLPTASKS_DATA"]) / "segmentation", None)
        train_words = {name: {word for words in lines for word in words} for name, lines in training.items()}
        for model in self.model:
            print(json.dumps({"model": model} | scores_of(model, held_out, train_words)), flush=True)


COMMANDS: dict[str, type] = {"texts": Texts, "run": Run, "score": Score}


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the command of the line; returns its exit status."""
    from nlptasks.console import parse, run

    return run(parse(COMMANDS, __doc__, sys.argv[1:] if arguments is None else arguments, Path(__file__).name))


if __name__ == "__main__":
    sys.exit(main())
