"""`nlptasks cluster`: communities of sentences."""

import json
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from nlptasks.applications.options import require_input, require_output
from nlptasks.applications.segmentation.segmenter import Segmenter
from nlptasks.applications.similarity.encoder import SentenceEncoder
from nlptasks.applications.similarity.index import SentenceIndex
from nlptasks.console import progress_bar, say
from nlptasks.discovery.communities import (
    QUERIES_AT_ONCE,
    Communities,
    find_communities,
    load_infomap,
    neighbor_graph,
)
from nlptasks.discovery.interrupted import state_folder
from nlptasks.discovery.labels import typical_words
from nlptasks.discovery.page import EXAMPLES, Group, page
from nlptasks.discovery.passes import fingerprint
from nlptasks.errors import UserError, told
from nlptasks.files import atomic_path, write_text
from nlptasks.opening import load
from nlptasks.text import read_texts
from nlptasks.train.options import Options, TextFiles, require_at_least

TSV, SUMMARY, PAGE = "communities.tsv", "communities.json", "communities.html"
VECTORS = "vectors.npy"


@dataclass(kw_only=True)
class Cluster(Options, TextFiles):
    """Find communities of similar sentences: their number is not given, it follows from the text.

    Each sentence is joined to its nearest ones, and Infomap finds the groups in which a random walk on that graph stays
    (package infomap, licensed under the GPL).
    """

    input: Path
    """file with one sentence per line, or JSON lines with `text`"""
    output: Path
    """folder to write: communities.tsv (community, share of the walk, sentence), communities.json (size, typical words)
    and communities.html, a map to look at"""
    model: str = "similarity"
    """run directory, or similarity: the model that comes with the package"""
    segmenter: str = "segmenter"
    """what cuts the words that name a community: run directory, or segmenter: the model that comes with the package"""
    neighbors: int = 10
    """number of nearest sentences that each one is joined to"""
    min_cosine: float = 0.3
    """sentences that are less similar are not joined"""
    hierarchical: bool = False
    """also find communities of communities"""
    trials: int = 3
    """number of searches, of which the best counts"""
    seed: int = 1
    """seed of the searches"""
    resume: bool = False
    """go on with an interrupted command: the neighbors that it has found are not searched for again"""
    json: bool = False
    """write a JSON object as the last line of the output"""

    def check(self) -> None:
        """Refuses values that are out of range or contradict each other."""
        super().check()
        require_at_least(self, 1, "neighbors", "trials", "seed")
        if not -1 <= self.min_cosine <= 1:
            raise UserError("{field:min_cosine} must lie in [-1, 1]. Received: {value}.", value=self.min_cosine)

    def packages(self) -> tuple[str, ...]:
        """The modules without which the command does not begin."""
        return ("infomap",)

    def run(self) -> None:
        """Encodes, joins, clusters, writes."""
        require_input(self.input)
        for name in (TSV, SUMMARY, PAGE):
            require_output(self.output / name, self.input)
        load_infomap()  # before the index loads usearch
        started = time.monotonic()
        encoder, segmenter = load(self.model, SentenceEncoder), load(self.segmenter, Segmenter)
        texts = [" ".join(text.split()) for text in read_texts(self.input)]
        blocks = range(0, len(texts), QUERIES_AT_ONCE)
        names = {start: f"neighbors-{start:09}.npz" for start in blocks}
        settings = fingerprint({"texts": texts, "model": encoder.fingerprint, "neighbors": self.neighbors})
        with state_folder(self.output, settings, self.resume, (VECTORS, *names.values()), VECTORS) as folder:
            vectors, nearest = self._neighbors(encoder, texts, folder, names)
            graph = neighbor_graph(*nearest, self.min_cosine)
            found = find_communities(graph, self.hierarchical, self.trials, self.seed)
            groups = self._write(texts, vectors, found, segmenter.segment(texts))
        seconds = time.monotonic() - started
        say(f"{self.output}: {len(texts)} sentences in {len(groups)} communities, {seconds:.1f} s")
        for group in groups[:10]:
            print(f"{group['community']}\t{group['size']}\t{' '.join(group['words'])}")
        if self.json:
            summary = {"sentences": len(texts), "communities": len(groups), "bits": found.bits}
            print(json.dumps(summary | {"bits_of_one": found.bits_of_one, "seconds": round(seconds, 2)}))

    def _neighbors(
        self, encoder: SentenceEncoder, texts: list[str], folder: Path, names: dict[int, str]
    ) -> tuple[np.ndarray, tuple[np.ndarray, np.ndarray]]:
        """Vectors (N, D), and for each sentence the nearest ones, itself among them, and their cosines (N, k).

        Args:
            folder: where they are kept until the command ends, and may be already.
            names: of the files for the neighbors of some sentences each, by the first of them.
        """
        if (folder / VECTORS).is_file():
            index = SentenceIndex(encoder.vector_size, encoder.fingerprint)
            index.add(texts, np.load(folder / VECTORS))
        else:
            index = encoder.make_index(texts)
            with atomic_path(folder / VECTORS) as path, open(path, "wb") as file:
                np.save(file, index.vectors(np.arange(len(texts))))
        vectors = index.vectors(np.arange(len(texts)))
        for start, name in progress_bar(list(names.items()), told("neighbors")):
            if not (folder / name).is_file():
                keys, cosines = index.nearest(vectors[start : start + QUERIES_AT_ONCE], self.neighbors + 1)
                with atomic_path(folder / name) as path, open(path, "wb") as file:
                    np.savez(file, keys=keys, cosines=cosines)
        found = []
        for name in names.values():
            with np.load(folder / name) as part:
                found.append((part["keys"], part["cosines"]))
        keys, cosines = (np.concatenate(each) for each in zip(*found, strict=True))
        return vectors, (keys, cosines)

    def _write(
        self, texts: list[str], vectors: np.ndarray, found: Communities, words: Sequence[Sequence[str]]
    ) -> list[dict[str, Any]]:
        """Writes the three files; returns a row a community of the lowest level, the largest first."""
        names = sorted(set(found.paths))
        numbers = {path: number for number, path in enumerate(names)}
        members: list[list[int]] = [[] for _ in names]
        for row in np.argsort(-found.flow, kind="stable").tolist():  # the most central first
            members[numbers[found.paths[row]]].append(row)
        labels = typical_words(words, [numbers[path] for path in found.paths])
        rows, groups = [], []
        for number in sorted(range(len(names)), key=lambda number: -len(members[number])):
            name, these = ":".join(map(str, names[number])), members[number]
            rows.append({"community": name, "size": len(these), "words": labels[number], "sentence": texts[these[0]]})
            examples = [texts[row] for row in these[:EXAMPLES]]
            groups.append(Group(" ".join(labels[number]), examples, len(these), vectors[these].mean(axis=0)))
        lines = [
            f"{':'.join(map(str, path))}\t{flow:.3e}\t{text}\n"
            for path, flow, text in zip(found.paths, found.flow, texts, strict=True)
        ]
        about = (
            f"{len(texts)} sentences, {len(rows)} communities; {found.bits:.3f} bits a step, {found.bits_of_one:.3f}"
        )
        self.output.mkdir(parents=True, exist_ok=True)
        write_text(self.output / TSV, "".join(lines))
        write_text(self.output / SUMMARY, json.dumps(rows, ensure_ascii=False, indent=1) + "\n")
        write_text(self.output / PAGE, page(self.input.name, f"{about} in one community.", groups))
        return rows
