"""Calibrations of sentence vectors: what whitening does to a covariance, and that a flow on NumPy is the flow."""

import dataclasses
import json

import numpy as np
import pytest
from keras import ops
from safetensors.numpy import load_file, save_file

import nlptasks
import nlptasks.train.loop
from nlptasks.applications.similarity.calibrating import CalibrationOptions
from nlptasks.applications.similarity.calibration import Calibration, fit_whitening
from nlptasks.applications.similarity.flow_map import calibration_of, vector_flow
from nlptasks.command import main
from nlptasks.errors import UserError
from tests.applications.similarity.similarity_cases import SENTENCES, random_encoder, write_groups
from tests.commands.scripts import Result
from tests.parity import randomised

pytestmark = pytest.mark.once
N, D = 60, 7


def vectors(seed=2, count=N, size=D):
    """Vectors in a cone, of very different spread in each direction."""
    random = np.random.default_rng(seed)
    spread = np.geomspace(1, 0.05, size)
    found = 2 + random.normal(0, 1, (count, size)) * spread @ random.normal(0, 1, (size, size))
    return (found / np.linalg.norm(found, axis=1, keepdims=True)).astype("float32")


def unscaled(calibration, x_ND):
    """Whitened vectors before they are brought to length 1."""
    return x_ND.astype("float64") @ calibration.arrays["kernel"] + calibration.arrays["offset"]


def test_whitened_vectors_have_mean_zero_and_the_same_spread_in_every_direction():
    x_ND = vectors()
    whitening = fit_whitening(x_ND)
    y_ND = unscaled(whitening, x_ND)
    covariance = np.cov(y_ND, rowvar=False)
    assert np.abs(y_ND.mean(axis=0)).max() < 1e-5
    assert covariance / covariance[0, 0] == pytest.approx(np.eye(D), abs=1e-3)
    found = whitening(x_ND)
    assert found == pytest.approx(y_ND / np.linalg.norm(y_ND, axis=1, keepdims=True), abs=1e-4)
    cosines = x_ND @ x_ND.T
    assert cosines.mean() > 0.5 > abs((found @ found.T).mean())


def test_power_goes_from_centering_to_whitening_and_keep_takes_the_widest_directions():
    x_ND = vectors()
    centered = x_ND.astype("float64") - x_ND.astype("float64").mean(axis=0)
    turned = unscaled(fit_whitening(x_ND, power=0.0), x_ND)
    assert turned @ turned.T == pytest.approx(centered @ centered.T, abs=1e-5)
    half = np.cov(unscaled(fit_whitening(x_ND, power=0.5), x_ND), rowvar=False)
    whole = np.linalg.eigvalsh(np.cov(centered, rowvar=False))[::-1]
    assert np.diag(half) / half[0, 0] == pytest.approx((whole / whole[0]) ** 0.5, rel=1e-3)
    three = fit_whitening(x_ND, keep=3)
    assert (three.input_size, three.vector_size) == (D, 3)
    assert unscaled(three, x_ND) == pytest.approx(unscaled(fit_whitening(x_ND), x_ND)[:, :3], abs=1e-6)


def test_directions_without_spread_are_left_out_and_too_few_or_equal_texts_refused():
    flat_ND = np.repeat(vectors(size=4), 2, axis=1)
    assert fit_whitening(flat_ND).vector_size == 4
    with pytest.raises(UserError, match="7 different texts are too few to calibrate vectors of 7 numbers; give texts"):
        fit_whitening(vectors(count=7))
    with pytest.raises(UserError, match="all texts have the same vector"):
        fit_whitening(np.ones((9, 3), "float32"))
    for wrong, said in (({"keep": 8}, "keep must lie in 1 to 7"), ({"power": 1.5}, r"power must lie in \[0, 1\]")):
        with pytest.raises(UserError, match=said):
            fit_whitening(vectors(), **wrong)


def test_a_flow_on_numpy_gives_the_directions_of_the_flow():
    flow = randomised(vector_flow(D, blocks=2, hidden_size=11, seed=3), spread=0.3)
    x_ND = vectors(count=9)
    z_ND = ops.convert_to_numpy(flow(x_ND)[0])
    calibration = calibration_of(flow)
    assert calibration.vector_size == calibration.input_size == D
    assert calibration(x_ND) == pytest.approx(z_ND / np.linalg.norm(z_ND, axis=1, keepdims=True), abs=1e-5)
    assert np.abs(calibration(x_ND) - x_ND).max() > 0.1


def test_a_calibrated_encoder_comes_back_and_is_another_model(tmp_path):
    plain = random_encoder()
    encoder = plain.whitened(SENTENCES, keep=5)
    assert encoder.vector_size == encoder.encode(SENTENCES).shape[1] == 5
    encoder.save(tmp_path / "model")
    again = nlptasks.load(tmp_path / "model")
    np.testing.assert_array_equal(again.encode(SENTENCES), encoder.encode(SENTENCES))
    other = plain.whitened(SENTENCES[1:], keep=5)
    assert again.fingerprint == encoder.fingerprint
    assert len({encoder.fingerprint, plain.fingerprint, other.fingerprint}) == 3
    again.add(SENTENCES)
    assert again.most_similar(SENTENCES[4], top=1)[0].text == SENTENCES[4]
    again.index.save(tmp_path / "index")
    with pytest.raises(ValueError, match="the index was made by another model"):
        plain.open_index(tmp_path / "index")


def test_a_calibrated_encoder_is_not_exported():
    pytest.importorskip("onnx", reason="the test extra brings onnx")
    from nlptasks.export.applications import encoder as exported

    with pytest.raises(UserError, match="a calibrated encoder is not exported"):
        exported(random_encoder().whitened(SENTENCES))


def test_a_damaged_calibration_is_one_line(tmp_path):
    random_encoder().whitened(SENTENCES).save(tmp_path)
    path = tmp_path / "calibration.safetensors"
    arrays = load_file(path)
    save_file({**arrays, "offset": arrays["offset"][:3].copy()}, path)
    with pytest.raises(ValueError, match="the arrays of a whitening do not fit each other"):
        nlptasks.load(tmp_path)
    save_file({name: array[:6].copy() for name, array in arrays.items()}, path)
    with pytest.raises(ValueError, match=r"takes vectors of 6 numbers, and the model has 7|do not fit each other"):
        nlptasks.load(tmp_path)
    path.write_bytes(b"x")
    with pytest.raises(ValueError, match="not a readable safetensors file"):
        nlptasks.load(tmp_path)
    path.unlink()
    with pytest.raises(FileNotFoundError, match="copy the whole directory"):
        nlptasks.load(tmp_path)
    with pytest.raises(ValueError, match="method must be one of whitening, flow"):
        Calibration("rotation", {})
    for wrong in ({"kernel": np.ones((3, 2))}, {"kernel": np.full((1, 1), np.nan), "offset": np.ones(1)}, {}):
        with pytest.raises(ValueError, match="do not fit each other or are not finite"):
            Calibration("whitening", wrong)
    with pytest.raises(ValueError, match="do not fit each other"):
        Calibration("flow", {"0.shift": np.ones(3)})


def test_options_of_the_other_method_are_refused(tmp_path):
    for values, said in (
        ({"method": "flow", "keep": 3}, "keep and power go with method whitening"),
        ({"blocks": 3}, "blocks goes with method flow"),
        ({"method": "pca"}, "method must be one of whitening, flow"),
        ({"model": "a", "checkpoint": "b"}, "give model or checkpoint, not both"),
        ({"seq_length": 9}, "seq_length goes with checkpoint"),
        ({"method": "flow", "hold_out_share": 0.0}, "hold_out_share must lie between 0 and 1"),
    ):
        with pytest.raises(UserError, match=said):
            CalibrationOptions(output=tmp_path, **values)
    assert CalibrationOptions(output=tmp_path).packages() == ()
    assert "keras" in CalibrationOptions(output=tmp_path, method="flow").packages()
    assert "keras" in CalibrationOptions(output=tmp_path, checkpoint="mini").packages()


def test_the_mean_states_of_a_checkpoint_are_vectors_too():
    encoder = CalibrationOptions(output="x", checkpoint="mini", seq_length=16).encoder()
    model = encoder.model
    hidden = model.network.transformer.encode(np.stack([model.token_ids(SENTENCES[:1])[0]]))
    mean = ops.convert_to_numpy(hidden)[0].mean(axis=0)
    assert encoder.encode(SENTENCES[:1])[0] == pytest.approx(mean / np.linalg.norm(mean), abs=1e-5)
    assert model.seq_length == 16


# The command

PAIRS = "".join(
    f"{a}\t{b}\t{int(same)}\n"
    for a, b, same in [
        (SENTENCES[0], SENTENCES[1], True),
        (SENTENCES[3], SENTENCES[4], True),
        (SENTENCES[0], SENTENCES[5], False),
    ]
)


@pytest.fixture
def files(tmp_path):
    random_encoder().save(tmp_path / "model")
    write_groups(tmp_path / "groups.tsv")
    (tmp_path / "pairs.tsv").write_text(PAIRS, encoding="utf-8")
    return tmp_path


def calibrate(capsys, files, *more):
    capsys.readouterr()
    given = ("--model", files / "model", "--texts", files / "groups.tsv", "--pairs", files / "pairs.tsv", *more)
    status = main([str(word) for word in ("similarity", "calibrate", *given)])
    return Result(status, *capsys.readouterr())


def test_what_is_scored_is_not_learnt_from_and_both_scores_are_shown(files, capsys):
    done = calibrate(capsys, files, "--output", files / "white", "--keep", 4, "--json")
    assert done.status == 0, done.err
    assert "5 of 17 texts are left out" in done.err
    assert "whitening of 12 texts: 4 of 7 numbers of a vector are kept" in done.err
    [scores] = json.loads(done.out.splitlines()[-1])["scores"].values()
    rest = [s for s in SENTENCES if s not in PAIRS]
    wanted = random_encoder().whitened(rest, keep=4)
    found = nlptasks.load(files / "white")
    np.testing.assert_allclose(found.encode(SENTENCES), wanted.encode(SENTENCES), atol=1e-6)
    assert scores["uncalibrated"]["pairs"] == scores["calibrated"]["pairs"] == 3
    options = json.loads((files / "white" / "options.json").read_text(encoding="utf-8"))
    assert (options["method"], options["keep"]) == ("whitening", 4)
    again = calibrate(capsys, files, "--output", files / "twice", "--model", files / "white")
    assert (again.status, again.err.count("\n")) == (2, 2)  # a note on what was left out stands before it
    assert "--model is calibrated already" in again.err


def test_a_file_that_is_scored_is_not_learnt_from(files, capsys):
    done = calibrate(capsys, files, "--output", files / "white", "--texts", files / "pairs.tsv")
    assert (done.status, done.err.count("\n")) == (2, 1)
    assert "stands in --texts and in --pairs" in done.err
    done = calibrate(capsys, files, "--output", files / "white", "--leave-out", files / "groups.tsv")
    assert "0 different texts are too few" in done.err
    assert not (files / "white").exists()


def test_a_flow_that_was_interrupted_ends_as_one_that_was_not(files, capsys, monkeypatch):
    sizes = ("--method", "flow", "--blocks", 1, "--hidden-size", 5, "--epochs", 3, "--batch-size", 4)
    whole = calibrate(capsys, files, *sizes, "--output", files / "whole")
    assert whole.status == 0, whole.err
    assert "flow: " in whole.err
    steps = []

    class StopInTheMiddle(nlptasks.train.loop.StopRequested):
        @property
        def requested(self):
            steps.append(1)
            return len(steps) >= 5

        @requested.setter
        def requested(self, value):
            pass

    with monkeypatch.context() as patched:
        patched.setattr(nlptasks.train.loop, "StopRequested", StopInTheMiddle)
        assert calibrate(capsys, files, *sizes, "--output", files / "parts").status == 130
    done = calibrate(capsys, files, *sizes, "--output", files / "parts", "--resume")
    assert done.status == 0, done.err
    first, second = (load_file(files / name / "calibration.safetensors") for name in ("whole", "parts"))
    assert first.keys() == second.keys()
    assert all(np.array_equal(first[name], second[name]) for name in first)
    log = json.loads((files / "whole" / "log.json").read_text(encoding="utf-8"))
    assert log[-1]["loss"] < log[0]["loss"]
    encoder = nlptasks.load(files / "whole")
    assert dataclasses.is_dataclass(encoder.model.calibration)
    assert encoder.model.calibration.method == "flow"
    assert np.linalg.norm(encoder.encode(SENTENCES), axis=1) == pytest.approx(1, abs=1e-5)
