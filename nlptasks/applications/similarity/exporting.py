"""Vectors for programs that search at scale: files of faiss, usearch or NumPy, with the sentences beside them."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from nlptasks.applications.similarity.vectors import CONNECTIVITY, EXPANSION_ADD, EXPANSION_SEARCH
from nlptasks.backend.packages import require_packages
from nlptasks.files import new_folder, write_text

PACKAGES_OF = {"npy": (), "usearch": ("usearch",), "faiss": ("faiss",)}
"""formats of vectors, and the modules that writing them takes"""
TEXTS, ABOUT = "texts.jsonl", "about.json"


def export_vectors(
    output: Path, form: str, vectors_ND: np.ndarray, ids: Sequence[int], texts: Sequence[str], fingerprint: str
) -> Path:
    """Writes vectors, sentences and what they are into a new folder, whole or not at all.

    Args:
        form: one of `PACKAGES_OF`.
        vectors_ND: of length 1.
        ids: of the sentences.
        fingerprint: of the model.

    Returns:
        The path of the vectors.

    Raises:
        MissingPackageError, ValueError: a package is missing, or the folder holds something.
    """
    require_packages(*PACKAGES_OF[form])
    vectors_ND, keys = np.ascontiguousarray(vectors_ND, "float32"), np.asarray(ids, "int64")
    about: dict[str, Any] = {"format": form, "sentences": len(texts), "vector_size": vectors_ND.shape[1]}
    about |= {"dtype": "float16" if form == "usearch" else "float32", "metric": "inner product"}
    about |= {"length": 1, "fingerprint": fingerprint}
    with new_folder(output) as folder:
        _WRITERS[form](folder / f"vectors.{form}", vectors_ND, keys)
        rows = zip(keys.tolist(), texts, strict=True)
        lines = (json.dumps({"id": key, "text": text}, ensure_ascii=False) for key, text in rows)
        write_text(folder / TEXTS, "".join(f"{line}\n" for line in lines))
        write_text(folder / ABOUT, json.dumps(about, indent=1) + "\n")
    return output / f"vectors.{form}"


def _write_npy(path: Path, vectors_ND: np.ndarray, keys: np.ndarray) -> None:
    """Rows in the order of the sentences; their ids stand beside the texts."""
    np.save(path, vectors_ND)


def _write_usearch(path: Path, vectors_ND: np.ndarray, keys: np.ndarray) -> None:
    from usearch.index import Index

    sizes: dict[str, Any] = {"connectivity": CONNECTIVITY, "expansion_add": EXPANSION_ADD}
    sizes |= {"expansion_search": EXPANSION_SEARCH}
    index = Index(ndim=vectors_ND.shape[1], metric="ip", dtype="f16", **sizes)
    index.add(keys.astype("uint64"), vectors_ND)
    index.save(str(path))


def _write_faiss(path: Path, vectors_ND: np.ndarray, keys: np.ndarray) -> None:
    import faiss

    index = faiss.IndexIDMap2(faiss.IndexFlatIP(vectors_ND.shape[1]))
    index.add_with_ids(vectors_ND, keys)
    faiss.write_index(index, str(path))


_WRITERS = {"npy": _write_npy, "usearch": _write_usearch, "faiss": _write_faiss}
