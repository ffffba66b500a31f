"""What of the raw text also stands in the data that a benchmark scores; whatever trains on raw text leaves it out.

    NLPTASKS_DATA=... python benchmarks/no_leakage.py --output benchmarks/no_leakage.md

A document of the `text` folder is left out where it equals a text that is scored, or a sentence of one; of other
documents the sentences that do are left out. Equal by the loose match: NFKC, lower case, nothing but letters, digits
and ideographs. `evaluation_keys` and `without` are what training imports; `--hashes` writes the keys for other
programs: the first 8 bytes of the BLAKE2b digest of the loose text as a sorted array of uint64 (.npy).
"""

import hashlib
import json
import os
import re
import unicodedata
from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import tyro

from nlptasks.files import atomic_path, read_lines, write_text
from nlptasks.pretraining.corpus import CorpusFormat, Span, read_documents
from nlptasks.text.segmented import read_segmented
from nlptasks.text.sentences import split_sentences

SEGMENTED = {
    "cnc_dev": 1,
    "gsdsimp_dev": 1,
    "nlpcc2016_weibo_train": 10,
    "sxu_train": 10,
    "msr_part_train": 10,
    "pku_part_train": 10,
}
"""every how manieth line is scored (benchmarks/segmentation.py)"""
PAIRS = ("afqmc_dev", "bq_dev", "lcqmc_dev", "oppo_dev")
READING = ("cmrc2018_trial", "drcd_dev", "multi_passage_dev", "webqa_dev", "webqa_sample", "sogouqa_sample")
SHOPPING, SHOPPING_HELD_OUT = "classification/online_shopping_10_cats.tsv", 4000
GENERATION = {"csl_train.jsonl": ("title", "abstract"), "smp2020_train.tsv": (1,), "sentiment_train.tsv": (1,)}
GENERATION_NTH = 10
"""those files have no part for scores; every tenth line, counted from 1, is kept for them"""
_NOT_WORDS = re.compile(r"[\W_]+")


def loose(text: str) -> str:
    """What the loose match compares."""
    return _NOT_WORDS.sub("", unicodedata.normalize("NFKC", text).lower())


def key(text: str) -> int:
    """A number that texts share when they are equal by the loose match; 0 for a text without letters or digits."""
    text = loose(text)
    return int.from_bytes(hashlib.blake2b(text.encode("utf-8", "surrogatepass"), digest_size=8).digest()) if text else 0


def keys_of(text: str) -> set[int]:
    """Of a text and its sentences."""
    return {key(text), *map(key, split_sentences(text))} - {0}


def without(document: str, keys: Collection[int]) -> str:
    """The document less the sentences whose key is among `keys`; "" where it is one of them as a whole."""
    if key(document) in keys:
        return ""
    if not any(key(sentence) in keys for sentence in split_sentences(document)):
        return document
    lines = ("".join(s for s in split_sentences(line) if key(s) not in keys) for line in document.split("\n"))
    return "\n".join(line for line in lines if line.strip())


def documents(path: Path) -> Iterator[str]:
    """Those of a file of the `text` folder."""
    return read_documents((Span(os.fspath(path)),), CorpusFormat())


def text_files(data: Path) -> list[Path]:
    """Those of the `text` folder; the part of the name before the first dot names the domain."""
    if not (files := sorted((data / "text").glob("*.jsonl.gz"))):
        raise FileNotFoundError(f"{data / 'text'}: no file named *.jsonl.gz; NLPTASKS_DATA names the data folder.")
    return files


def task_texts(data: Path) -> dict[str, Iterable[str]]:
    """The texts of training files that are not in the `text` folder, each once, as domains."""
    sources = {
        "hotel_reviews": ("classification/chnsenticorp_train.tsv", (1,)),
        "apps": ("classification/iflytek_train.jsonl", ("text",)),
        "shopping": (SHOPPING, (2,)),
        "weibo": ("generation/smp2020_train.tsv", (1,)),
        "sentiment": ("generation/sentiment_train.tsv", (1,)),
        "questions": ("similarity/atec.tsv", (0, 1)),
    }
    return {name: dict.fromkeys(_fields(data / file, fields, 1)) for name, (file, fields) in sources.items()}


def evaluation_texts(data: Path) -> Iterator[tuple[str, Iterable[str]]]:
    """What benchmarks score, as (file, texts); files that are not there are passed over."""
    sources = [
        ("classification/chnsenticorp_dev.tsv", (1,), 1),
        ("classification/iflytek_dev.jsonl", ("text",), 1),
        ("classification/thucnews_titles_dev.tsv", (0,), 1),
        ("classification/tnews_dev.jsonl", ("text",), 1),
        ("sequence_labeling/cluener_dev.jsonl", ("text",), 1),
        *((f"similarity/{name}.tsv", (0, 1), 1) for name in PAIRS),
        ("similarity/groups_dev.tsv", (1,), 1),
        *((f"generation/{name}", fields, GENERATION_NTH) for name, fields in GENERATION.items()),
    ]
    for name, fields, nth in sources:
        if (data / name).is_file():
            yield _part(name, nth), _fields(data / name, fields, nth)
    if (data / SHOPPING).is_file():
        yield f"{SHOPPING}, the {SHOPPING_HELD_OUT} held out", _shopping(data / SHOPPING)
    for name, nth in SEGMENTED.items():
        path = data / "segmentation" / f"{name}.txt"
        if path.is_file():
            lines = enumerate(read_segmented(path), 1)
            yield (
                _part(f"segmentation/{path.name}", nth),
                ("".join(words) for i, words in lines if i % nth == 0),
            )
    for name in READING:
        path = data / "reading_comprehension" / f"{name}.json"
        if path.is_file():
            yield f"reading_comprehension/{path.name}", _reading(json.loads(path.read_text(encoding="utf-8")))


def _part(name, nth):
    return name if nth == 1 else f"{name}, every {nth}th line"


def _fields(path, fields, nth):
    for number, line in read_lines(path):
        if number % nth == 0:
            values = json.loads(line) if ".jsonl" in path.name else line.split("\t")
            yield from (values[field] for field in fields)


def _shopping(path):
    """Validation and test texts of benchmarks/conditional_generation.py."""
    texts = list(dict.fromkeys(line.split("\t")[2] for line in path.read_text(encoding="utf-8").splitlines()))
    return [texts[i] for i in np.random.default_rng(0).permutation(len(texts))[:SHOPPING_HELD_OUT]]


def _reading(value):
    """Questions, contexts and passages, wherever they stand."""
    if isinstance(value, list):
        for item in value:
            yield from _reading(item)
    elif isinstance(value, dict):
        for name, item in value.items():
            if isinstance(item, str) and name in ("question", "context", "passage"):
                yield item
            else:
                yield from _reading(item)


def evaluation_keys(data: Path) -> dict[str, set[int]]:
    """By file: the keys of all texts that are scored and of their sentences."""
    return {name: set().union(*map(keys_of, texts)) for name, texts in evaluation_texts(data)}


def counts(data: Path, keys: Mapping[str, set[int]]) -> Iterator[str]:
    """The tables of the record."""
    every = set().union(*keys.values())
    seen: set[int] = set()
    by_file: dict[str, Counter[str]] = {}
    for path in text_files(data):
        count = by_file[path.name] = Counter()
        for document in documents(path):
            found = keys_of(document) & every
            seen |= found
            kept = without(document, every) if found else document
            count["documents"] += 1
            count["whole"] += not kept
            count["sentences"] += len(found) if kept else 0
            count["characters"] += len(document)
            count["kept"] += len(kept)
    yield "| text | documents | left out whole | sentences left out of others | characters kept, percent |"
    yield "|---|---|---|---|---|"
    for name, count in by_file.items():
        share = 100 * count["kept"] / count["characters"]
        yield f"| {name} | {count['documents']} | {count['whole']} | {count['sentences']} | {share:.1f} |"
    yield ""
    yield "| scored | distinct texts and sentences | of which in the raw text |"
    yield "|---|---|---|"
    for name, own in keys.items():
        yield f"| {name} | {len(own)} | {len(own & seen)} |"


@dataclass
class Options:
    """Counts what raw text and scored data share."""

    output: Path | None = None
    """write the tables here too (Markdown)"""
    hashes: Path | None = None
    """write the keys here (.npy)"""


def main(options: Options) -> None:
    data = Path(os.environ["NLPTASKS_DATA"])
    keys = evaluation_keys(data)
    if options.hashes is not None:
        with atomic_path(options.hashes) as temporary, open(temporary, "wb") as file:
            np.save(file, np.array(sorted(set().union(*keys.values())), "uint64"))
    lines = list(counts(data, keys))
    print("\n".join(lines))
    if options.output is not None:
        head = (
            "# Raw text that is not trained on\n\nWritten by `benchmarks/no_leakage.py`, which says what is left out.\n"
        )
        write_text(options.output, "\n".join([head, *lines, ""]))


if __name__ == "__main__":
    main(tyro.cli(Options, description=__doc__))
