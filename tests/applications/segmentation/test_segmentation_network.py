"""The network on Keras and on NumPy: the same scores, on the backend of this process."""

import os
import subprocess
import sys

import keras
import numpy as np
import pytest
from keras import ops

from nlptasks.applications.segmentation import runtime as numpy_runtime
from nlptasks.applications.segmentation.config import PRESETS, SegmentationConfig, array_shapes
from nlptasks.applications.segmentation.network import SegmentationNetwork, tag_loss
from nlptasks.applications.segmentation.runtime import Runtime
from nlptasks.applications.segmentation.vocab import PAD
from nlptasks.backend import compile_train_step
from nlptasks.text.units import code_points, split_units
from tests.applications.segmentation.segmentation_cases import SMALL, random_parts, random_texts, sentences

SHAPES = [("default", {}), ("original", {}), ("default", {"pair_size": 0, "taps": 3}), ("default", {"channels": (13,)})]


def network_and_runtime(preset, fields):
    config, vocab, arrays = random_parts(preset, **fields)
    network = SegmentationNetwork(config, vocab)
    network.build()
    network.assign_arrays(arrays)
    return network, Runtime(config, vocab, network.arrays())


def ids_of(vocab, text):
    return vocab.unit_ids(split_units(code_points(text)))


def network_scores(network, vocab, unit_ids, standard_id):
    unit_ids = np.atleast_2d(unit_ids)
    standards = np.full(len(unit_ids), standard_id, "int32")
    return ops.convert_to_numpy(network(unit_ids, vocab.pair_ids(unit_ids), standards))


@pytest.mark.parametrize(("table", "largest", "tolerance"), [("int16", 32_000, 5e-3), ("int32", 2**30, 1e-5)])
@pytest.mark.parametrize(("preset", "fields"), SHAPES)
def test_numpy_equals_keras_but_for_the_rounding_of_its_table(
    rng, monkeypatch, preset, fields, table, largest, tolerance
):
    monkeypatch.setattr(numpy_runtime, "TABLE_TYPE", table)
    monkeypatch.setattr(numpy_runtime, "LARGEST_SUM", largest)
    network, runtime = network_and_runtime(preset, fields)
    texts = ["".join(words) for words in sentences()] + random_texts(rng, 40)
    lines = [ids_of(runtime.vocab, line) for text in texts for line in text.splitlines() if line]
    together = np.zeros((len(lines), max(map(len, lines))), "int32")
    for row, line in zip(together, lines, strict=True):
        row[: len(line)] = line
    for line, scores in zip(lines, network_scores(network, runtime.vocab, together, 1), strict=True):
        expected = scores[: len(line)]
        for few in (0, 1000):
            monkeypatch.setattr(numpy_runtime, "FEW", few)
            assert (np.abs(runtime.scores(line, 1) - expected) <= tolerance * np.maximum(1, np.abs(expected))).all()


@pytest.mark.parametrize(("preset", "fields"), SHAPES[:2])
@pytest.mark.once
def test_numpy_scores_lines_and_blocks_as_each_line_alone(monkeypatch, preset, fields):
    _, runtime = network_and_runtime(preset, fields)
    lines = ["".join(words) for words in sentences()]
    alone = np.concatenate([runtime.scores(ids_of(runtime.vocab, line), 2) for line in lines])
    for block in (6, 64, 2048):
        monkeypatch.setattr(numpy_runtime, "BLOCK", block)
        unit_ids = ids_of(runtime.vocab, "\n\n".join(lines))
        np.testing.assert_allclose(runtime.scores(unit_ids, 2)[unit_ids != PAD], alone, rtol=0, atol=2e-5)


@pytest.mark.once
def test_a_product_in_parts_is_the_product(rng, monkeypatch):
    x, matrix = rng.normal(size=(101, 7)).astype("float32"), rng.normal(size=(7, 5)).astype("float32")
    for multiplications in (1, 35 * 8 + 1, 35 * 24 + 1, 35 * 104 + 1):
        monkeypatch.setattr(numpy_runtime, "ONE_THREAD", multiplications)
        for length in (1, 8, 9, 24, 96, 101):
            found = np.empty((length, 5), "float32")
            numpy_runtime._product(x[:length], matrix, found)
            np.testing.assert_allclose(found, x[:length].astype("float64") @ matrix, rtol=0, atol=1e-5)


@pytest.mark.once
def test_scores_are_computed_on_one_thread():
    code = (
        "import nlptasks, numpy, time\n"
        "runtime = nlptasks.load('segmenter').runtime\n"
        "ids = numpy.random.default_rng(0).integers(5, 2000, 20000).astype('int32')\n"
        "all_threads, this_thread = time.process_time(), time.thread_time()\n"
        "runtime.scores(ids, 0)\n"
        "print((time.process_time() - all_threads) / (time.thread_time() - this_thread))\n"
    )
    variables = os.environ | {"OPENBLAS_NUM_THREADS": "2"}
    done = subprocess.run([sys.executable, "-c", code], env=variables, capture_output=True, check=True)
    assert float(done.stdout) < 1.5  # two threads: nearly 2


@pytest.mark.parametrize(("preset", "fields"), SHAPES)
@pytest.mark.once
def test_padding_does_not_change_real_units(preset, fields):
    network, runtime = network_and_runtime(preset, fields)
    unit_ids = ids_of(runtime.vocab, "".join(sentences()[0]))
    alone = network_scores(network, runtime.vocab, unit_ids, 0)[0]
    padded = np.zeros((2, len(unit_ids) + 11), "int32")
    padded[1, : len(unit_ids)] = unit_ids
    together = network_scores(network, runtime.vocab, padded, 0)[1, : len(unit_ids)]
    np.testing.assert_allclose(together, alone, rtol=0, atol=1e-5)


@pytest.mark.parametrize(("preset", "fields"), SHAPES)
@pytest.mark.once
def test_a_unit_is_scored_by_what_is_within_reach(preset, fields):
    network, runtime = network_and_runtime(preset, fields)
    unit_ids = ids_of(runtime.vocab, "".join(sentences()[1] + sentences()[4]))
    assert unit_ids[0] not in unit_ids[1:]
    middle, reach = len(unit_ids) // 2, runtime.config.reach
    before = network_scores(network, runtime.vocab, unit_ids, 0)[0]
    unit_ids[middle] = unit_ids[0]
    changed = np.flatnonzero((network_scores(network, runtime.vocab, unit_ids, 0)[0] != before).any(axis=1))
    assert middle in changed
    assert middle - reach <= changed.min() <= changed.max() <= middle + reach


def test_the_loss_is_cross_entropy_over_real_units_and_training_lowers_it(rng):
    config, vocab, arrays = random_parts()
    network = SegmentationNetwork(config, vocab, dropout=0.1)
    network.build()
    network.assign_arrays(arrays)
    unit_ids = np.zeros((2, 9), "int32")
    unit_ids[0, :5], unit_ids[1, :9] = rng.integers(5, 40, 5), rng.integers(5, 40, 9)
    targets = rng.dirichlet(np.ones(4), (2, 9)).astype("float32")
    batch = unit_ids, vocab.pair_ids(unit_ids), np.array([0, 2], "int32"), targets
    scores = ops.convert_to_numpy(network(*batch[:3])).astype("float64")
    log_probabilities = scores - np.log(np.exp(scores).sum(axis=-1, keepdims=True))
    losses = -(targets * log_probabilities).sum(axis=-1)
    for dropout in network.dropouts:
        dropout.rate = 0.0
    assert float(tag_loss(network, batch)) == pytest.approx(np.append(losses[0, :5], losses[1]).mean(), rel=1e-5)
    step = compile_train_step(network, keras.optimizers.Adam(0.01), lambda batch: tag_loss(network, batch))
    steps = [float(step(batch)) for _ in range(20)]
    assert steps[-1] < 0.8 * steps[0]


def test_a_network_in_bfloat16_scores_nearly_the_same_and_its_loss_is_float32():
    config, vocab, arrays = random_parts()
    unit_ids = np.stack([ids_of(vocab, "".join(sentences()[1]))])
    batch = unit_ids, vocab.pair_ids(unit_ids), np.array([1], "int32"), np.full((*unit_ids.shape, 4), 0.25, "float32")
    losses = {}
    for policy in ("float32", "mixed_bfloat16"):
        keras.config.set_dtype_policy(policy)
        try:
            network = SegmentationNetwork(config, vocab)
            network.build()
        finally:
            keras.config.set_dtype_policy("float32")
        network.assign_arrays(arrays)
        scores = network(*batch[:3])
        assert keras.backend.standardize_dtype(scores.dtype) == network.compute_dtype
        assert {array.dtype for array in network.arrays().values()} == {np.dtype("float32")}
        loss = tag_loss(network, batch)
        assert keras.backend.standardize_dtype(loss.dtype) == "float32"
        losses[policy] = float(loss)
    assert losses["mixed_bfloat16"] == pytest.approx(losses["float32"], rel=0.02)
    assert losses["mixed_bfloat16"] != losses["float32"]


@pytest.mark.once
def test_the_original_preset_is_the_network_of_2017():
    config = SegmentationConfig(standards=("cnc",), **PRESETS["original"])
    vocab = random_parts("original")[1]
    shapes = array_shapes(config, vocab)
    kernels = [shape for name, shape in shapes.items() if "bias" not in name and name != "unit"]
    assert kernels == [(3, 128, 128), (3, 128, 32), (3, 32, 4)]
    assert shapes["unit"] == (vocab.unit_count, 128)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"standards": ()}, r"standards must be distinct names, at least one\. Received: \(\)"),
        ({"standards": ("a", "a")}, r"standards must be distinct names"),
        ({"channels": (8, 9)}, r"residual needs the same number of channels throughout\. Received: \(8, 9\)"),
        ({"channels": ()}, r"channels must be at least 1"),
        ({"unit_size": 0}, r"unit_size and channels must be at least 1.*unit_size=0"),
        ({"taps": 5}, r"taps must be 3 or 4, head_taps 1 or 3\. Received: taps=5, head_taps=1"),
    ],
)
@pytest.mark.once
def test_a_config_fails_at_birth(fields, message):
    with pytest.raises(ValueError, match=message):
        SegmentationConfig(**{"standards": ("a",), **SMALL} | fields)
