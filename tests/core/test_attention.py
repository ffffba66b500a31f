"""What varies in attention, against its papers' equations in float64: talking heads, residual scores, positions."""

import numpy as np
import pytest
from keras import ops

from nlptasks.core import Transformer, TransformerConfig
from nlptasks.core.attention import MultiHeadAttention
from nlptasks.core.positions import relative_vectors, rotated, sinusoid_table, sinusoids
from tests.gradients import gradients
from tests.parity import TOLERANCE, at_real_positions, distance, randomised

B, T, D, N, H, J, V = 2, 5, 14, 3, 6, 11, 43
NAMES = ("query", "key", "value", "output_dense")


def talking(rng):
    """A layer whose mixing matrices are far from the identity, its weights in float64, an input and a mask."""
    layer = MultiHeadAttention(D, N, H, J, talking_heads=True)
    layer.build((None, None, D))
    weights = {v.path: rng.normal(0, 0.4, tuple(v.shape)).astype("float32") for v in layer.trainable_variables}
    for v in layer.trainable_variables:
        v.assign(weights[v.path])
    mask = (rng.random((B, T, T)) < 0.6) | np.eye(T, dtype=bool)
    return layer, {path: w.astype("float64") for path, w in weights.items()}, rng.normal(size=(B, T, D)), mask


def paper(weights, names, x, mask):
    """Talking-heads attention (arXiv 2003.02436, section 3) in the paper's own order, over one matrix at a time."""
    q, k, v = (x @ weights[f"{n}k"] + weights[f"{n}b"] for n in names[:3])
    q, k, v = q.reshape(B, T, N, H), k.reshape(B, T, N, H), v.reshape(B, T, N, J)
    outputs = np.zeros((B, T, N * J))
    for b in range(B):
        raw = np.stack([q[b, :, n] @ k[b, :, n].T / np.sqrt(H) for n in range(N)])
        logits = np.stack([sum(raw[n] * weights["pl"][n, m] for n in range(N)) for m in range(N)])
        logits = np.where(mask[b], logits, -np.inf)
        looks = np.exp(logits - logits.max(-1, keepdims=True))
        looks /= looks.sum(-1, keepdims=True)
        spoken = np.stack([sum(looks[n] * weights["pw"][n, m] for n in range(N)) for m in range(N)])
        outputs[b] = np.concatenate([spoken[m] @ v[b, :, m] for m in range(N)], axis=-1)
    return outputs @ weights[f"{names[3]}k"] + weights[f"{names[3]}b"]


def by_short_name(layer, weights):
    paths = {layer.score_mixing.path: "pl", layer.probability_mixing.path: "pw"}
    for name in NAMES:
        dense = getattr(layer, name)
        paths |= {dense.kernel.path: f"{name}k", dense.bias.path: f"{name}b"}
    return {paths[path]: value for path, value in weights.items()}, paths


def test_talking_heads_equal_the_equations_of_the_paper(rng):
    layer, weights, x, mask = talking(rng)
    expected = paper(by_short_name(layer, weights)[0], NAMES, x, mask)
    assert distance(ops.convert_to_numpy(layer(x.astype("float32"), mask)), expected) < TOLERANCE


def test_the_gradients_of_talking_heads_are_those_of_the_equations(rng):
    """Against central differences of the float64 evaluation, at every mixing weight and a sample of the others."""
    layer, weights, x, mask = talking(rng)
    short, paths = by_short_name(layer, weights)
    towards = rng.normal(size=(B, T, D))
    variables = layer.trainable_variables
    found = gradients(lambda: ops.sum(layer(x.astype("float32"), mask) * towards.astype("float32")), variables)
    checked = 0
    for variable, gradient in zip(variables, found, strict=True):
        name = paths[variable.path]
        places = list(np.ndindex(*gradient.shape))
        if name not in ("pl", "pw"):
            places = [places[i] for i in rng.choice(len(places), 7, replace=False)]
        for place in places:
            sides = []
            for step in (1e-5, -1e-5):
                moved = short | {name: short[name].copy()}
                moved[name][place] += step
                sides.append((paper(moved, NAMES, x, mask) * towards).sum())
            expected = (sides[0] - sides[1]) / 2e-5
            assert abs(gradient[place] - expected) < 2e-4 * max(1.0, abs(expected)), (name, place)
            checked += 1
    assert checked == 2 * N * N + 8 * 7


def test_a_fresh_layer_with_talking_heads_equals_plain_attention(rng):
    x = rng.normal(size=(B, T, D)).astype("float32")
    mask = (rng.random((B, T, T)) < 0.6) | np.eye(T, dtype=bool)
    plain, mixed = MultiHeadAttention(D, N, H, J), MultiHeadAttention(D, N, H, J, talking_heads=True)
    for layer in (plain, mixed):
        layer.build((None, None, D))
    for name in NAMES:
        for ours, source in zip(getattr(mixed, name).weights, getattr(plain, name).weights, strict=True):
            ours.assign(source)
    assert distance(*(ops.convert_to_numpy(layer(x, mask)) for layer in (plain, mixed))) < 1e-6


def test_a_rotated_score_depends_on_the_distance_alone(rng):
    query, key = (rng.normal(size=(1, 1, 1, H)).astype("float32") for _ in range(2))

    def score(t, s):
        sides = [rotated(x, sinusoids(np.array([[at]]), H)) for x, at in ((query, t), (key, s))]
        return float(ops.convert_to_numpy(ops.sum(sides[0] * sides[1])))

    assert score(3, 1) == pytest.approx(score(45, 43), abs=1e-5)
    assert score(7, 7) == pytest.approx(float((query * key).sum()), abs=1e-5)
    assert abs(score(3, 1) - score(1, 3)) > 1e-3


def test_relative_vectors_are_cut_at_the_distance():
    vectors = ops.convert_to_numpy(relative_vectors(np.array([[4]]), np.array([[0, 2, 4, 5, 6, 9]]), 2, H))[0, 0]
    table = np.asarray(sinusoid_table(5, H))
    assert distance(vectors, table[[0, 0, 2, 3, 4, 4]]) < 1e-7
    angle = 3 * 10000 ** (-2 / H)
    assert table[3, 2] == pytest.approx(np.sin(angle))
    assert table[3, 3] == pytest.approx(np.cos(angle))


def model(**changes):
    sizes = {"vocab_size": V, "hidden_size": 18, "num_layers": 3, "num_heads": N, "ffn_size": 23, "max_positions": 17}
    built = Transformer(TransformerConfig(**(sizes | changes)), with_mlm="linear")
    built.build()
    return randomised(built)


def test_running_scores_add_up_over_the_layers(rng):
    """RealFormer's equation 4, one layer at a time; what bert4keras computes forgets all but the layer before."""
    running, previous = model(residual_attention_scores="running"), model(residual_attention_scores="previous")
    token_ids = rng.integers(1, V, (B, T)).astype("int32")
    mask, total = np.ones((B, 1, T), bool), None
    hidden = running.embeddings(token_ids, np.zeros_like(token_ids))
    for block in running.blocks:
        _, _, own = block.attention(hidden, mask, None, total, with_state=True)
        hidden = block(hidden, mask, None, total)
        total = own if total is None else total + own
    assert distance(ops.convert_to_numpy(running.encode(token_ids)), ops.convert_to_numpy(hidden)) < TOLERANCE
    outputs = [ops.convert_to_numpy(m.encode(token_ids)) for m in (running, previous, model())]
    assert distance(outputs[0], outputs[1]) > 1e-3
    assert distance(outputs[1], outputs[2]) > 1e-3


def test_hierarchical_positions_leave_the_table_as_it_is_and_reach_its_square(rng):
    plain, longer = model(max_positions=7), model(max_positions=7, hierarchical_position=0.4)
    token_ids = rng.integers(1, V, (1, 49)).astype("int32")
    short = [ops.convert_to_numpy(m.encode(token_ids[:, :7])) for m in (plain, longer)]
    assert distance(*short) < TOLERANCE
    table = np.asarray(longer.embeddings.position.embeddings.value, "float64")
    base = (table - 0.4 * table[0]) / 0.6
    same = longer.embeddings(np.full((1, 49), 5), None)
    token = np.asarray(longer.embeddings.token.embeddings.value, "float64")[5]
    segment = np.asarray(longer.embeddings.segment.embeddings.value, "float64")[0]
    x = token + segment + 0.4 * base[45 // 7] + 0.6 * base[45 % 7]
    gamma, beta = (np.asarray(w.value, "float64") for w in longer.embeddings.norm.weights)
    expected = (x - x.mean()) / np.sqrt(x.var() + 1e-12) * gamma + beta
    assert distance(ops.convert_to_numpy(same)[0, 45], expected) < TOLERANCE
    assert np.isfinite(ops.convert_to_numpy(longer.encode(token_ids))).all()
    with pytest.raises(ValueError, match=r"reaches 49 tokens. Received a sequence of 50"):
        longer.encode(np.ones((1, 50), "int32"))


VARIANTS = {
    "key_size": {"key_size": 10, "value_size": 4},
    "talking heads": {"talking_heads": True},
    "previous scores": {"residual_attention_scores": "previous"},
    "running scores": {"residual_attention_scores": "running"},
    "relative": {"position": "relative", "relative_distance": 3},
    "rotary": {"position": "rotary"},
    "shared layers": {"shared_layers": True, "embedding_size": 11},
    "hierarchical": {"hierarchical_position": 0.3, "max_positions": 5},
    "all at once": {
        "position": "relative",
        "talking_heads": True,
        "residual_attention_scores": "running",
        "shared_layers": True,
        "embedding_size": 11,
    },
}
ON_BOTH = ("rotary", "hierarchical", "all at once")
"""variants that, between them, use every operation"""
NAMED = [pytest.param(name, marks=[] if name in ON_BOTH else pytest.mark.once) for name in VARIANTS]


@pytest.mark.parametrize("name", NAMED)
def test_padding_never_changes_real_positions(name, rng):
    built = model(**VARIANTS[name])
    token_ids = rng.integers(1, V, (B, 11)).astype("int32")
    padded = np.pad(token_ids, ((0, 0), (0, 4)))
    value, reference = (ops.convert_to_numpy(built.encode(x)) for x in (padded, token_ids))
    assert distance(at_real_positions(value, padded), at_real_positions(reference, token_ids)) < TOLERANCE


@pytest.mark.parametrize("attention", ["causal", "unilm"])
@pytest.mark.parametrize("name", NAMED)
def test_a_future_target_token_never_changes_the_past(attention, name, rng):
    built = model(attention=attention, **VARIANTS[name])
    token_ids = rng.integers(1, V, (B, 11)).astype("int32")
    segment_ids = np.repeat([[0] * 4 + [1] * 7], B, axis=0)
    changed = token_ids.copy()
    changed[:, 8:] = rng.permuted(V - changed[:, 8:])
    one, two = (ops.convert_to_numpy(built.encode(x, segment_ids)) for x in (token_ids, changed))
    assert distance(one[:, :8], two[:, :8]) < TOLERANCE
    assert distance(one[:, 8:], two[:, 8:]) > 1e-2


def test_a_shared_layer_is_one_layer_trained_from_every_depth(rng):
    built = model(shared_layers=True)
    assert len(built.blocks) == 1
    assert len(built.layer_sequence) == 3
    assert len({id(w) for w in built.weights}) == len(built.weights)
    token_ids = rng.integers(1, V, (B, T)).astype("int32")
    kernel = built.blocks[0].ffn.inner.kernel
    (shared,) = gradients(lambda: ops.sum(built.encode(token_ids)[..., 0]), [kernel])
    apart = model()
    for block in apart.blocks:
        for mine, source in zip(block.weights, built.blocks[0].weights, strict=True):
            mine.assign(source)
    for name in ("embeddings", "mlm"):
        for mine, source in zip(getattr(apart, name).weights, getattr(built, name).weights, strict=True):
            mine.assign(source)
    each = gradients(
        lambda: ops.sum(apart.encode(token_ids)[..., 0]), [block.ffn.inner.kernel for block in apart.blocks]
    )
    assert distance(shared, sum(each)) < 1e-4


def test_the_discriminator_gives_a_probability_a_token(rng):
    config = model().config
    token_ids = rng.integers(1, V, (B, T)).astype("int32")
    outputs = {}
    for kind in (True, "linear"):
        built = Transformer(config, with_discriminator=kind)
        built.build()
        outputs[kind] = ops.convert_to_numpy(randomised(built)(token_ids)).astype("float64")
    assert outputs[True].shape == (B, T, 1)
    assert distance(outputs[True], 1 / (1 + np.exp(-outputs["linear"]))) < TOLERANCE
    with pytest.raises(ValueError, match="with_discriminator must be False, True"):
        Transformer(config, with_discriminator="yes")
