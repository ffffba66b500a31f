"""What makes cosines of sentence vectors tell more: whitening, or a flow, fitted on texts. NumPy alone.

The vectors of a language model crowd into a narrow cone, so that the cosine of any two sentences is high, and a few
directions of large spread decide it. A calibration is a map behind the encoder that spreads them out:

    whitening   y = (x - mean) U L^(-p/2)   with the eigenvectors U and eigenvalues L of the vectors' covariance
                (BERT-whitening, arXiv 2103.15316, kexue.fm/archives/8069); p = 1 makes it the identity, p = 0 only
                centers, and the first `keep` columns are all that is kept
    flow        y = f(x), the invertible map that makes the vectors most probable under a normal distribution
                (BERT-flow, arXiv 2011.05864); see nlptasks/generative

after which vectors have length 1 again. Both learn from sentences alone, without labels.

Legend: N sentences, D size of a vector, K numbers that are kept of it.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from safetensors import SafetensorError
from safetensors.numpy import load_file, save_file

from nlptasks.errors import UserError
from nlptasks.files import atomic_path

METHODS = ("whitening", "flow")
FILE = "calibration.safetensors"
"""beside the model"""
LEAST_SPREAD = 1e-7
"""directions whose variance is below this share of the largest one hold rounding errors, and are left out"""
MOST_LOG_SCALE = 2.0
"""bound of |s| in the couplings of a flow"""
_TINY = 1e-9


@dataclass(frozen=True)
class Calibration:
    """A fitted map of vectors.

        calibration = fit_whitening(vectors, keep=2)
        calibration(vectors).shape  # (N, 2), rows of length 1

    Args:
        method: "whitening" or "flow".
        arrays: of whitening `kernel` (D, K) and `offset` (K,); of a flow for each block `shift`, `matrix`, and the
            kernels and biases of its coupling (see `flow_map.py`).

    Raises:
        ValueError: the arrays are not those of the method, do not fit each other or are not finite.
    """

    method: str
    arrays: Mapping[str, np.ndarray]

    def __post_init__(self) -> None:
        if self.method not in METHODS:
            raise ValueError(f"method must be one of {', '.join(METHODS)}. Received: method={self.method!r}.")
        shapes = {name: array.shape for name, array in self.arrays.items()}
        if (
            not shapes
            or shapes != self._shapes(shapes)
            or not all(np.isfinite(array).all() for array in self.arrays.values())
        ):
            raise ValueError(f"the arrays of a {self.method} do not fit each other or are not finite ({shapes}).")

    def _shapes(self, found: Mapping[str, tuple[int, ...]]) -> dict[str, tuple[int, ...]]:
        """What the shapes have to be, by the first of them."""
        if self.method == "whitening":
            size, kept = (*found.get("kernel", ()), 0, 0)[:2]
            return {"kernel": (size, kept), "offset": (kept,)} if size and kept else {}
        wanted: dict[str, tuple[int, ...]] = {}
        size = (*found.get("0.shift", ()), 0)[0]
        half = (size + 1) // 2
        for block in range(1 + max((int(name.split(".")[0]) for name in found if re.match(r"\d+\.", name)), default=0)):
            wanted |= {f"{block}.shift": (size,), f"{block}.matrix": (size, size)}
            layers = sum(name.startswith(f"{block}.kernel_") for name in found)
            inner = [(*found.get(f"{block}.bias_{j}", ()), 0)[0] for j in range(layers - 1)]
            widths = [half, *inner, 2 * (size - half)]
            for j in range(layers):
                wanted |= {f"{block}.kernel_{j}": (widths[j], widths[j + 1]), f"{block}.bias_{j}": (widths[j + 1],)}
        return wanted

    @property
    def input_size(self) -> int:
        """D, of the vectors that go in."""
        return self.arrays["kernel" if self.method == "whitening" else "0.shift"].shape[0]

    @property
    def vector_size(self) -> int:
        """K, of those that come out."""
        return self.arrays["offset"].shape[0] if self.method == "whitening" else self.input_size

    def __call__(self, vectors_ND: np.ndarray) -> np.ndarray:
        """The calibrated vectors `(N, K)` of length 1, float32."""
        if self.method == "whitening":
            found_NK = vectors_ND @ self.arrays["kernel"] + self.arrays["offset"]
        else:
            found_NK = self._flowed(np.array(vectors_ND, "float32"))
        return found_NK / np.maximum(np.linalg.norm(found_NK, axis=1, keepdims=True), _TINY)

    def _flowed(self, x_ND: np.ndarray) -> np.ndarray:
        half, block = (self.input_size + 1) // 2, 0
        while f"{block}.shift" in self.arrays:
            x_ND = (x_ND + self.arrays[f"{block}.shift"]) @ self.arrays[f"{block}.matrix"]
            h, layer = x_ND[:, :half], 0
            while f"{block}.kernel_{layer}" in self.arrays:
                h = np.maximum(h, 0) if layer else h
                h = h @ self.arrays[f"{block}.kernel_{layer}"] + self.arrays[f"{block}.bias_{layer}"]
                layer += 1
            raw, shift = np.split(h, 2, axis=1)
            x_ND[:, half:] *= np.exp(MOST_LOG_SCALE * np.tanh(raw / MOST_LOG_SCALE))
            x_ND[:, half:] += shift
            block += 1
        return x_ND

    def digest(self) -> bytes:
        """Bytes that differ where vectors would."""
        parts = [self.method.encode()]
        parts += [name.encode() + np.ascontiguousarray(a).tobytes() for name, a in sorted(self.arrays.items())]
        return b"".join(parts)

    def save(self, directory: Path) -> None:
        """Writes the arrays beside a model."""
        with atomic_path(directory / FILE) as temporary:
            arrays = {name: np.ascontiguousarray(array, "float32") for name, array in self.arrays.items()}
            save_file(arrays, temporary)

    @classmethod
    def from_directory(cls, directory: Path, method: str) -> "Calibration":
        """What `save` wrote.

        Raises:
            ValueError, FileNotFoundError: one line: what is missing or does not fit.
        """
        path = directory / FILE
        try:
            return cls(method, load_file(path))
        except FileNotFoundError:
            raise FileNotFoundError(f"{path}: no such file; copy the whole directory of the model again.") from None
        except (SafetensorError, OSError) as error:
            raise ValueError(f"{path}: not a readable safetensors file ({error}).") from None
        except ValueError as error:
            raise ValueError(f"{path}: {error}") from None


def fit_whitening(vectors_ND: np.ndarray, keep: int | None = None, power: float = 1.0) -> Calibration:
    """The whitening of vectors.

    Args:
        vectors_ND: of the texts to learn from; more of them than numbers in a vector.
        keep: K, the directions of the largest spread that are kept; None: all that have any.
        power: p, from 0 (centered and rotated only) to 1 (every direction has the same spread).

    Raises:
        UserError: too few vectors, or a number out of range.
    """
    count, size = vectors_ND.shape
    require_enough(count, size)
    if keep is not None and not 1 <= keep <= size:
        raise UserError(
            "{field:keep} must lie in 1 to {size}, the numbers of a vector. Received: {value}.", size=size, value=keep
        )
    if not 0 <= power <= 1:
        raise UserError("{field:power} must lie in [0, 1]. Received: {value}.", value=power)
    x_ND = vectors_ND.astype("float64")
    mean_D = x_ND.mean(axis=0)
    values_D, directions_DD = np.linalg.eigh(np.cov(x_ND, rowvar=False))
    values_D, directions_DD = values_D[::-1], directions_DD[:, ::-1]
    kept = min(keep or size, int((values_D > LEAST_SPREAD * values_D[0]).sum()))
    if not kept:
        raise UserError("all texts have the same vector; there is nothing to calibrate.")
    kernel_DK = directions_DD[:, :kept] * (values_D[:kept] / values_D[0]) ** (-power / 2)
    arrays = {"kernel": kernel_DK, "offset": -mean_D @ kernel_DK}
    return Calibration("whitening", {name: array.astype("float32") for name, array in arrays.items()})


def require_enough(count: int, size: int) -> None:
    """Refuses to fit a map of `size` numbers to no more texts than that."""
    if count <= size:
        raise UserError(
            "{count} different texts are too few to calibrate vectors of {size} numbers; give {field:texts} with more "
            "than {size}.",
            count=count,
            size=size,
        )


class CalibratedModel:
    """A model of vectors with a calibration behind it; it stands wherever the model does.

    Args:
        model: gives vectors (see `encoder.VectorModel`).
        calibration: of vectors of its size.

    Raises:
        ValueError: the sizes differ.
    """

    def __init__(self, model: Any, calibration: Calibration) -> None:
        if model.vector_size != calibration.input_size:
            raise ValueError(
                f"the calibration takes vectors of {calibration.input_size} numbers, and the model has "
                f"{model.vector_size}; calibrate this model."
            )
        self.model, self.calibration = model, calibration
        self.encoder = f"{model.encoder} with {calibration.method}"
        self.vector_size = calibration.vector_size

    def encode(self, texts: Sequence[str]) -> np.ndarray:
        """Vectors (N, K) of length 1, float32."""
        return self.calibration(self.model.encode(texts))

    def tell_unread(self, texts: Sequence[str], what: str) -> None:
        """Says what of the texts the model does not read."""
        self.model.tell_unread(texts, what)

    def digest(self) -> bytes:
        """Bytes that differ where vectors would."""
        return self.model.digest() + self.calibration.digest()

    def save(self, directory: Path, settings: Mapping[str, Any], half: bool = False) -> None:
        """Writes the model, and the calibration beside it."""
        self.model.save(directory, {**settings, "calibration": self.calibration.method}, half)
        self.calibration.save(directory)
