"""A flow on sentence vectors: how it is trained, and how its weights become a `Calibration`, which runs on NumPy.

Vectors of length 1 lie on a sphere, where a density can grow without end; training adds a little noise to each vector
(a share of the deviation of all numbers), as one does with pictures of whole numbers.

Legend: B batch, D size of a vector.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from keras import ops

from nlptasks.applications.examples import ShuffledBatches
from nlptasks.applications.similarity.calibration import MOST_LOG_SCALE, Calibration, require_enough
from nlptasks.backend import Tensor, compile_function
from nlptasks.generative.bijection import Bijection
from nlptasks.generative.couplings import AffineCoupling, half_mask
from nlptasks.generative.flow import Flow
from nlptasks.generative.mixing import ActNorm, Invertible1x1
from nlptasks.train import progress
from nlptasks.train.experiment import Experiment
from nlptasks.train.run import start_run

if TYPE_CHECKING:
    from nlptasks.applications.similarity.calibrating import CalibrationOptions
    from nlptasks.applications.similarity.encoder import SentenceEncoder

Batch = tuple[int, int, np.ndarray]
"""epoch, number, and the vectors of a batch"""


def vector_flow(size: int, blocks: int, hidden_size: int, seed: int) -> Flow:
    """Actnorm, an invertible 1x1 and an affine coupling of the halves, `blocks` times (Glow without pictures)."""
    parts: list[Bijection] = []
    for i in range(blocks):
        parts += [ActNorm(size, name=f"norm_{i}"), Invertible1x1(size, seed + i, name=f"mix_{i}")]
        parts.append(AffineCoupling(half_mask(size), (hidden_size,), MOST_LOG_SCALE, name=f"coupling_{i}"))
    flow = Flow(size, parts)
    flow.build()
    return flow


def calibration_of(flow: Flow) -> Calibration:
    """The map of a flow from `vector_flow`, with the scales of each block multiplied into its mixture."""
    arrays: dict[str, np.ndarray] = {}
    half = (flow.size + 1) // 2
    for block in range(len(flow.bijections) // 3):
        norm, mix, coupling = (flow.bijections[3 * block + i] for i in range(3))
        scale_D = np.exp(_array(norm.log_scale).astype("float64"))
        arrays[f"{block}.shift"] = _array(norm.shift)
        arrays[f"{block}.matrix"] = scale_D[:, None] * _array(mix.matrix())
        layers = [*coupling.network.inner, coupling.network.outer]
        for j, layer in enumerate(layers):
            kernel, bias = _array(layer.kernel), _array(layer.bias)
            if j == 0:
                kernel = kernel[:half]  # the other rows meet zeros
            if j == len(layers) - 1:  # s and t of what passes are not used
                kernel, bias = (
                    np.delete(a, np.r_[:half, flow.size : flow.size + half], axis=-1) for a in (kernel, bias)
                )
            arrays |= {f"{block}.kernel_{j}": kernel, f"{block}.bias_{j}": bias}
    return Calibration("flow", {name: np.ascontiguousarray(array, "float32") for name, array in arrays.items()})


class NoisyVectors(ShuffledBatches):
    """Vectors with fresh noise in every epoch, a function of seed, epoch and batch alone.

    Args:
        vectors_ND: float32.
        noise: deviation of what is added to each number.
    """

    def __init__(self, vectors_ND: np.ndarray, noise: float, seed: int) -> None:
        super().__init__([1] * len(vectors_ND), seed)
        self.vectors, self.noise = vectors_ND, noise

    def batches(self, epoch: int, size: int) -> list[Batch]:
        """(epoch, number, indices) of the batches of an epoch."""
        return [(epoch, number, rows) for number, rows in enumerate(super().batches(epoch, size))]

    def arrays(self, batch: Batch, size: int) -> dict[str, np.ndarray]:
        """`vectors` (B, D) and `weights` (B,), 0 for rows beyond the data."""
        epoch, number, rows = batch
        noise = np.random.default_rng([self.seed, epoch, number]).normal(0, self.noise, (size, self.vectors.shape[1]))
        vectors, weights = noise.astype("float32"), np.zeros(size, "float32")
        vectors[: len(rows)] += self.vectors[rows]
        weights[: len(rows)] = 1.0
        return {"vectors": vectors, "weights": weights}


class TrainedFlow:
    """What a run trains: a flow, saved as the calibrated encoder.

    Args:
        model: from `vector_flow`.
        encoder: gives the vectors.
    """

    def __init__(self, model: Flow, encoder: "SentenceEncoder") -> None:
        self.model, self.encoder = model, encoder

    def loss(self, batch: Mapping[str, Any]) -> Tensor:
        """Mean of -log p in nats a number, over the rows that count."""
        log_prob_B = self.model.log_prob(batch["vectors"])
        return -ops.sum(log_prob_B * batch["weights"]) / ops.sum(batch["weights"]) / self.model.size

    def save(self, directory: str | Path) -> None:
        """Writes the encoder with the calibration."""
        self.encoder.calibrated(calibration_of(self.model)).save(directory)


def train_flow(options: "CalibrationOptions", encoder: "SentenceEncoder", vectors_ND: np.ndarray) -> None:
    """Trains a flow on vectors; the epoch with the best likelihood of held-out ones is kept in the run directory.

    Raises:
        UserError: too few vectors.
    """
    start_run(options.seed)
    order = np.random.default_rng(options.seed).permutation(len(vectors_ND))
    held = max(1, round(options.hold_out_share * len(order)))
    training_ND, valid_ND = vectors_ND[order[held:]], vectors_ND[order[:held]]
    require_enough(len(training_ND), vectors_ND.shape[1])
    noise = options.noise * float(training_ND.std(axis=0).mean())
    flow = vector_flow(vectors_ND.shape[1], options.blocks, options.hidden_size, options.seed)
    examples = NoisyVectors(training_ND, noise, options.seed)
    flow.initialize(
        examples.arrays((0, 0, np.arange(min(len(training_ND), 4096))), min(len(training_ND), 4096))["vectors"]
    )
    noisy_ND = NoisyVectors(valid_ND, noise, options.seed).arrays((0, 0, np.arange(held)), held)["vectors"]
    density = compile_function(lambda vectors: flow.log_prob(vectors), flow)
    progress.say(
        f"flow: {flow.count_params():,} parameters; {len(training_ND)} vectors of {flow.size} numbers, and {held} for "
        "validation"
    )

    def validate() -> dict[str, float]:
        return {"log_likelihood": float(ops.convert_to_numpy(density(noisy_ND)).mean() / flow.size)}

    Experiment(options, TrainedFlow(flow, encoder), examples, validate, "log_likelihood").run()


def _array(tensor: Any) -> np.ndarray:
    return np.array(ops.convert_to_numpy(tensor))
