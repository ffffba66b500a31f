"""Flows: the way back is exact, the volume is that of the Jacobian, and a density is one."""

import math

import numpy as np
import pytest
from keras import ops

from nlptasks.generative.bijection import Series
from nlptasks.generative.couplings import AdditiveCoupling, AffineCoupling, alternating_mask, check_mask, half_mask
from nlptasks.generative.flow import Flow, make_flow
from nlptasks.generative.mixing import ActNorm, ExponentialMap, Invertible1x1, factors_of, phi
from nlptasks.generative.residual import (
    InvertibleResidual,
    roulette_weights,
    series_weights,
    spectral_bound,
    truncation_bound,
)
from tests.gradients import evaluated, jacobian

B, D, H = 7, 5, 11


def randomised(layer, spread, seed=3):
    """The layer with random weights of its trainable kinds; those that are triangles or scales stay moderate."""
    random = np.random.default_rng(seed)
    if not layer.built:
        layer.build((None, D))
    for variable in layer.trainable_variables:
        variable.assign(random.normal(0, spread, tuple(variable.shape)).astype("float32"))
    return layer


BIJECTIONS = {
    "additive": lambda: AdditiveCoupling(half_mask(D), (H, H)),
    "affine": lambda: AffineCoupling(alternating_mask(D, second=True), (H,)),
    "actnorm": lambda: ActNorm(D),
    "1x1": lambda: Invertible1x1(D, seed=4),
    "exponential": lambda: ExponentialMap(D, rank=2),
    "residual": lambda: InvertibleResidual(D, (H, H), bound=0.8),
}


@pytest.mark.parametrize("kind", BIJECTIONS)
def test_the_way_back_is_exact_and_the_volume_is_that_of_the_jacobian(kind, rng):
    layer = randomised(BIJECTIONS[kind](), spread=0.4)
    x_BD = rng.normal(0, 1.5, (B, D)).astype("float32")

    def both_ways(x):
        y, log_det = layer(x)
        return y, log_det, layer.inverse(y)

    y_BD, log_det_B, back_BD = evaluated(both_ways, x_BD, model=layer)
    assert np.abs(y_BD - x_BD).max() > 0.1
    assert np.abs(back_BD - x_BD).max() < 1e-5 * max(1, np.abs(x_BD).max())
    rows = jacobian(lambda one: layer(one[None])[0][0], x_BD[0])
    assert log_det_B[0] == pytest.approx(np.linalg.slogdet(rows.astype("float64"))[1], abs=2e-5)


def test_a_flow_adds_up_the_volumes_of_its_parts_and_goes_back_through_all(rng):
    flow = randomised(Flow(D, [make() for make in BIJECTIONS.values()]), spread=0.2)
    x_BD = rng.normal(0, 1, (B, D)).astype("float32")

    def everything(x):
        z, log_det = flow(x)
        return z, log_det, flow.inverse(z), flow.log_prob(x)

    z_BD, log_det_B, back_BD, log_prob_B = evaluated(everything, x_BD, model=flow)
    assert np.abs(back_BD - x_BD).max() < 1e-5 * max(1, np.abs(x_BD).max())
    rows = jacobian(lambda one: flow(one[None])[0][0], x_BD[0]).astype("float64")
    assert log_det_B[0] == pytest.approx(np.linalg.slogdet(rows)[1], abs=5e-5)
    normal = -(z_BD**2).sum(axis=1) / 2 - D / 2 * math.log(2 * math.pi)
    assert log_prob_B == pytest.approx(normal + log_det_B, abs=1e-4)


@pytest.mark.parametrize("kind", ["realnvp", "glow", "residual"])
@pytest.mark.once
def test_a_density_in_two_dimensions_integrates_to_one(kind):
    flow = make_flow(kind, 2, blocks=2, hidden_sizes=(7,), bound=0.7)
    flow.build()
    random = np.random.default_rng(2)
    for variable in flow.trainable_variables:
        if "mix" not in variable.path:
            variable.assign(variable + random.normal(0, 0.25, tuple(variable.shape)).astype("float32"))
    side = np.arange(-16, 16, 0.1) + 0.05
    grid = np.stack(np.meshgrid(side, side), axis=-1).reshape(-1, 2).astype("float32")
    log_prob = evaluated(flow.log_prob, grid, model=flow).astype("float64")
    peak = np.exp(log_prob).max() * 2 * math.pi
    assert np.exp(log_prob).sum() * 0.1**2 == pytest.approx(1, abs=1e-3)
    assert abs(peak - 1) > 0.02  # not the normal distribution itself


# Couplings


@pytest.mark.once
def test_a_mask_says_what_passes(rng):
    x_BD = rng.normal(0, 1, (B, D)).astype("float32")
    for layer in (AdditiveCoupling(half_mask(D), (H,)), AffineCoupling(half_mask(D), (H,))):
        fresh = ops.convert_to_numpy(layer(x_BD)[0])
        assert np.array_equal(fresh, x_BD)  # the last layer of its network starts at zero
        y_BD, log_det_B = (ops.convert_to_numpy(part) for part in randomised(layer, 0.4)(x_BD))
        assert np.array_equal(y_BD[:, :3], x_BD[:, :3])
        assert (y_BD[:, 3:] != x_BD[:, 3:]).all()
        assert (log_det_B == 0).all() == isinstance(layer, AdditiveCoupling)


@pytest.mark.once
def test_masks_are_halves_or_alternate_and_their_opposites():
    for make in (half_mask, alternating_mask):
        assert (make(D) + make(D, second=True)).tolist() == [1.0] * D
    assert half_mask(D).tolist() == [1, 1, 1, 0, 0]
    assert alternating_mask(D).tolist() == [1, 0, 1, 0, 1]
    for wrong in ([1, 1], [0.0, 0.5, 1.0], [[0, 1]]):
        with pytest.raises(ValueError, match="a mask has zeros and ones, both"):
            check_mask(wrong)


# Mixtures and scales


@pytest.mark.once
def test_actnorm_starts_with_mean_zero_and_variance_one_also_of_pictures(rng):
    pictures = rng.normal(4, 3, (B, 2, 3, D)).astype("float32")
    norm = ActNorm(D)
    norm.build()
    norm.initialize(pictures)
    y, log_det_B = (ops.convert_to_numpy(part) for part in norm(pictures))
    assert y.reshape(-1, D).mean(axis=0) == pytest.approx(0, abs=1e-5)
    assert y.reshape(-1, D).std(axis=0) == pytest.approx(1, abs=1e-4)
    assert log_det_B == pytest.approx(-6 * np.log(pictures.reshape(-1, D).std(axis=0)).sum(), abs=1e-3)


@pytest.mark.once
def test_the_1x1_mixture_starts_as_a_rotation_and_mixes_every_place_of_a_picture(rng):
    mix = Invertible1x1(D, seed=4)
    pictures = rng.normal(0, 1, (2, 2, 3, D)).astype("float32")
    y, log_det_B = (ops.convert_to_numpy(part) for part in mix(pictures))
    matrix = ops.convert_to_numpy(mix.matrix())
    assert matrix @ matrix.T == pytest.approx(np.eye(D), abs=1e-5)
    assert log_det_B == pytest.approx(0, abs=1e-5)
    assert y == pytest.approx(pictures @ matrix, abs=1e-5)
    assert ops.convert_to_numpy(mix.inverse(y)) == pytest.approx(pictures, abs=1e-5)
    randomised(mix, 0.3)
    log_det = np.linalg.slogdet(ops.convert_to_numpy(mix.matrix()).astype("float64"))[1]
    assert ops.convert_to_numpy(mix(pictures)[1]) == pytest.approx(6 * log_det, abs=1e-4)


@pytest.mark.once
def test_factors_of_a_matrix_give_it_back(rng):
    matrix = rng.normal(0, 1, (D, D))
    matrix[0, 0] = 0  # no pivot
    order, lower, upper = factors_of(matrix)
    assert lower @ upper == pytest.approx(matrix[order])
    assert np.array_equal(lower, np.tril(lower))
    assert upper == pytest.approx(np.triu(upper))


def exponential(matrix):
    """exp of a matrix by its series, in float64."""
    total = term = np.eye(len(matrix))
    for k in range(1, 80):
        term = term @ matrix / k
        total = total + term
    return total


@pytest.mark.parametrize("rank", [1, 3])
@pytest.mark.once
def test_the_exponential_map_is_exp_of_its_product_and_its_determinant_that_of_the_trace(rank, rng):
    layer = randomised(ExponentialMap(D, rank), 0.7)
    u, v = (ops.convert_to_numpy(weight).astype("float64") for weight in (layer.u, layer.v))
    wanted = exponential(u @ v.T)
    y, log_det = (ops.convert_to_numpy(part) for part in layer(np.eye(D, dtype="float32")))
    assert np.abs(y.T - wanted).max() < 1e-5
    assert log_det == pytest.approx(np.trace(u @ v.T), abs=1e-5)
    assert log_det == pytest.approx(np.log(np.linalg.det(wanted)), abs=1e-5)
    if rank == 1:
        c = (u * v).sum()
        assert wanted == pytest.approx(np.eye(D) + (math.exp(c) - 1) / c * u @ v.T)
        assert np.linalg.inv(wanted) == pytest.approx(np.eye(D) + (math.exp(-c) - 1) / c * u @ v.T)


@pytest.mark.once
def test_phi_is_one_at_zero_and_exact_for_numbers_of_any_size():
    for c in (0.0, 1e-4, 0.5, -3.0, 9.0):
        found = float(ops.convert_to_numpy(phi(ops.convert_to_tensor([[c]], "float32")))[0, 0])
        assert found == pytest.approx(math.expm1(c) / c if c else 1.0, rel=1e-5)


# Residual blocks


@pytest.mark.once
def test_the_spectral_bound_is_never_below_the_norm_and_close_to_it(rng):
    for shape in ((D, H), (H, D), (H, H), (1, D)):
        matrix = rng.normal(0, 3, shape).astype("float32")
        norm, bound = np.linalg.norm(matrix, 2), float(ops.convert_to_numpy(spectral_bound(matrix)))
        assert norm * (1 - 1e-5) <= bound <= 1.04 * norm


@pytest.mark.once
def test_a_residual_block_stays_a_contraction_whatever_its_weights_are(rng):
    block = randomised(InvertibleResidual(D, (H, H), bound=0.9), spread=20)
    for bias in block.biases:
        bias.assign(ops.zeros_like(bias))
    a, b = (rng.normal(0, 0.02, (200, D)).astype("float32") for _ in range(2))
    found = ops.convert_to_numpy(block.contraction(a)) - ops.convert_to_numpy(block.contraction(b))
    ratio = np.linalg.norm(found, axis=1) / np.linalg.norm(a - b, axis=1)
    assert 0.05 < ratio.max() <= 0.9


def estimates(weights, block, x, rows, seed):
    """The log-determinant of one x, estimated in each of many rows, and the whole one."""
    noise = np.sign(np.random.default_rng(seed).normal(size=(rows, D))).astype("float32")
    x_BD = np.broadcast_to(x, (rows, D)).astype("float32")
    found = evaluated(lambda a, n, w: block(a, series=Series(n, w))[1], x_BD, noise, weights, model=block)
    return found.astype("float64"), float(ops.convert_to_numpy(block(x[None])[1])[0])


def test_a_cut_series_is_within_its_bound_and_roulette_has_no_bias():
    block, rows = randomised(InvertibleResidual(D, (D,), bound=0.7), spread=0.2), 3000
    for kernel in block.kernels:
        kernel.assign(kernel + np.eye(D, dtype="float32"))  # directions that are stretched are stretched again
    x = np.linspace(-0.3, 0.4, D).astype("float32")
    for terms in (1, 4):
        found, whole = estimates(series_weights(terms), block, x, rows, seed=terms)
        off = abs(found.mean() - whole)
        assert off <= truncation_bound(D, 0.7, terms) + 3 * found.std() / rows**0.5
    weights = roulette_weights(np.random.default_rng(6), rows, sure=1, stop=0.3)
    found, again = estimates(weights, block, x, rows, seed=9)
    assert again == whole
    error = found.std() / rows**0.5
    assert abs(found.mean() - whole) < 3 * error < 0.2 * abs(whole)
    first = estimates(series_weights(1), block, x, rows, seed=9)[0]
    assert abs(first.mean() - whole) > 5 * error  # one term alone is off by more than chance


@pytest.mark.once
def test_weights_of_roulette_have_the_mean_one_and_the_bound_is_what_is_left_out():
    weights = roulette_weights(np.random.default_rng(5), 40_000, sure=2, stop=0.4)
    assert (weights[:3] == 1).all()
    for column in weights[:7]:
        assert column.mean() == pytest.approx(1, abs=4 * float(column.std()) / 200 + 1e-6)
    assert truncation_bound(3, 0.5, 2) == pytest.approx(3 * sum(0.5**k / k for k in range(3, 80)))
    with pytest.raises(ValueError, match="stop between 0 and 1"):
        roulette_weights(np.random.default_rng(5), 3, stop=1.0)


@pytest.mark.once
def test_samples_are_the_inverse_of_noise_and_follow_their_seed():
    flow = make_flow("glow", D, blocks=1, hidden_sizes=(H,), seed=2)
    flow.build()
    one, same, other = (flow.sample(3, seed) for seed in (4, 4, 5))
    assert np.array_equal(one, same)
    assert not np.allclose(one, other)
    noise = np.random.default_rng(4).normal(0, 1, (3, D))
    assert ops.convert_to_numpy(flow(one)[0]) == pytest.approx(noise, abs=1e-5)


@pytest.mark.once
def test_what_makes_no_flow_is_refused():
    for kind, size, blocks, said in (
        ("maf", 3, 1, "kind must be one of"),
        ("nice", 1, 1, "size must be"),
        ("glow", 3, 0, "blocks"),
    ):
        with pytest.raises(ValueError, match=said):
            make_flow(kind, size, blocks)
    with pytest.raises(ValueError, match="at least one bijection"):
        Flow(3, [])
    with pytest.raises(ValueError, match="bound must lie between 0 and 1"):
        InvertibleResidual(3, bound=1.0)
    with pytest.raises(ValueError, match="rank must lie in 1 to size"):
        ExponentialMap(3, rank=4)
