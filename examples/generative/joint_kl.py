"""VAE, AAE and ALI as settings of one loss: the divergence of two joint distributions.

    python examples/generative/joint_kl.py --picture joint_kl.png

Give both sides a joint distribution of what is seen, x, and what is not, z, and bring them together (arXiv 1807.05936,
kexue.fm/archives/5716):

    q(x, z) = data(x) q(z|x)        p(x, z) = N(z; 0, I) p(x|z)        min KL(q | p)

    KL(q | p) = E_q[-log p(x|z)]  +  E_x KL(q(z|x) | N)  - entropy of the data                            VAE
              = E_q[-log p(x|z)]  +  KL(q(z) | N)  + information of x and z  - entropy of the data           AAE
              = E_q[log q(x, z) / p(x, z)]                                                                  ALI

What has a formula is computed, what has none is read off a critic: one trained to tell samples of a from samples of b
(logistic loss) tends to C = log a/b, and E_a[C] is the divergence. The networks lower E_a[softplus(C)], which falls
with it and has a bound where C has none: an early critic is too sure. So the three differ in where the critic stands:
nowhere (VAE, arXiv 1312.6114), on z (AAE, arXiv 1511.05644; it drops the information), on x and z together (ALI and
BiGAN, arXiv 1606.00704 and 1605.09782; no reconstruction is asked for). ALI's critic looks at x, so that its decoder
needs a gradient by x: pictures and vectors have one, tokens have none, and text is for the other two (`nlptasks
latent`).

All three run through the same loop here, on digits and on vectors of sentences (64 principal components of those of
the encoder that comes with the package). Measured on held-out data: correlation of x with its reconstruction, and the
deviation of z (1 under the prior); and precision and recall of samples. Minutes on two cores.
"""

import sys
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from keras import ops
from shared_parts import (
    batches,
    compiled,
    correlation,
    digits,
    draw,
    falling,
    normal,
    perceptron,
    precision_and_recall,
    run,
    step_of,
)

import nlptasks

Z, SIZE, BATCH, COMPONENTS = 16, 128, 100, 64
STEPS = {"vae": 3000, "aae": 3000, "ali": 8000}
DEVIATION = 0.2
"""of p(x|z), in deviations of the data"""


class Setting(NamedTuple):
    """Which terms of the divergence are used."""

    rebuilds: bool
    formula: bool
    critic: str | None


SETTINGS = {
    "vae": Setting(True, True, None),
    "aae": Setting(True, False, "z"),
    "ali": Setting(False, False, "xz"),
}


def train(name: str, data: np.ndarray, steps: int, random: np.random.Generator) -> tuple[Any, Any]:
    """Encoder and decoder of a setting, as functions of arrays; the former also takes noise, by which z is drawn."""
    setting, width = SETTINGS[name], data.shape[1]
    encoder = perceptron((width, SIZE, SIZE, 2 * Z), name="encoder")
    decoder = perceptron((Z, SIZE, SIZE, width), name="decoder")
    sees = {"z": Z, "xz": width + Z, None: 1}[setting.critic]
    critic = perceptron((sees, SIZE, SIZE, 1), name="critic")

    def read(x: Any, noise: Any) -> tuple[Any, Any, Any]:
        mean, log_variance = ops.split(encoder(x), 2, axis=-1)
        log_variance = ops.clip(log_variance, -8.0, 4.0)
        return mean, log_variance, mean + ops.exp(log_variance / 2) * noise

    def told(batch: dict[str, Any], z: Any) -> tuple[Any, Any]:
        """The critic's log q/p, of samples of q and of p."""
        if setting.critic == "z":
            return critic(z), critic(batch["prior"])
        made = decoder(batch["prior"])
        both = (ops.concatenate(pair, axis=-1) for pair in ((batch["x"], z), (made, batch["prior"])))
        return tuple(critic(pair) for pair in both)

    def loss(batch: dict[str, Any]) -> Any:
        """The divergence, up to what no network changes, per row."""
        mean, log_variance, z = read(batch["x"], batch["noise"])
        total: Any = 0.0
        if setting.rebuilds:
            total = ops.sum(ops.square(batch["x"] - decoder(z)), axis=-1) / (2 * DEVIATION**2)
        if setting.formula:
            kl = (ops.square(mean) + ops.exp(log_variance) - log_variance - 1) / 2
            total = total + ops.sum(kl, axis=-1)
        if setting.critic is not None:
            of_q, of_p = told(batch, z)
            # lowers E_q[log q/p]; p is changed by networks, too, where x is made: there E_p[log p/q] speaks for it
            total = total + ops.softplus(of_q)[:, 0] + (ops.softplus(-of_p)[:, 0] if setting.critic == "xz" else 0.0)
        return ops.mean(total)

    def loss_of_critic(batch: dict[str, Any]) -> Any:
        of_q, of_p = told(batch, ops.stop_gradient(read(batch["x"], batch["noise"])[2]))
        return ops.mean(ops.softplus(-of_q) + ops.softplus(of_p))

    momentum = 0.5 if setting.critic == "xz" else 0.9
    rate = 4e-4 if setting.critic == "xz" else 1e-3
    step = step_of([encoder, decoder], [critic], loss, falling(rate, steps), momentum)
    other = step_of([critic], [encoder, decoder], loss_of_critic, 4e-4, 0.5) if setting.critic else None
    for x in batches(data, BATCH, steps, random):
        batch = {"x": x, "noise": normal(random, BATCH, Z), "prior": normal(random, BATCH, Z)}
        if other is not None:
            other(batch)
        step(batch)
    return compiled(lambda x, noise: read(x, noise)[2], encoder), compiled(decoder, decoder)


def sentence_vectors(random: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Vectors of the sample reviews in data/, at mean 0 and deviation 1, to train on and held out: their components."""
    path = Path(__file__).parents[2] / "data" / "reviews_sample.tsv"
    texts = [line.split("\t")[2] for line in path.read_text(encoding="utf-8").splitlines()]
    vectors = nlptasks.load("similarity").encode(list(dict.fromkeys(texts)))
    vectors = vectors[random.permutation(len(vectors))]
    mean = vectors[60:].mean(axis=0)
    directions = np.linalg.svd(vectors[60:] - mean, full_matrices=False)[2][:COMPONENTS]
    found = ((vectors - mean) @ directions.T).astype("float32")
    found /= found[60:].std()
    return found[60:], found[:60]


def study(quick: bool, seed: int, picture: Path | None) -> dict[str, Any]:
    """Trains each setting on both kinds of data."""
    random, shown = np.random.default_rng(seed), digits()
    kinds = {"digits": (shown.train, shown.held_out), "sentences": sentence_vectors(random)}
    found: dict[str, Any] = {}
    rows = [("held out", shown.held_out)]
    for kind, (data, held_out) in kinds.items():
        for name in SETTINGS:
            if quick and (name == "ali") != (kind == "sentences"):
                continue
            encode, decode = train(name, data, 3 if quick else STEPS[name], np.random.default_rng(seed))
            z = encode(held_out, normal(random, len(held_out), Z))
            rebuilt = decode(encode(held_out, np.zeros_like(z)))
            made = decode(normal(random, len(data), Z))
            precision, recall = precision_and_recall(data, made)
            found[f"{name}, {kind}"] = {
                "reconstruction": correlation(held_out, rebuilt),
                "deviation of z": float(z.std(axis=0).mean()),
                "precision": precision,
                "recall": recall,
            }
            if kind == "digits":
                rows += [(f"{name}: rebuilt", rebuilt), (f"{name}: made", made)]
    draw(picture, rows)
    return found


def main(arguments: list[str] | None = None) -> int:
    """The command line."""
    return run(study, __doc__, arguments)


if __name__ == "__main__":
    sys.exit(main())
