"""The teacher of a segmenter on a CPU: what a run that was ended goes on with, and whose labels students take."""

import json
import lzma
import sys
from pathlib import Path

import numpy as np
import pytest

sys.path[:0] = [str(Path(__file__).parents[2] / "benchmarks")]

import segmentation_distil as distil  # noqa: E402
import segmentation_teacher as teacher  # noqa: E402
from segmentation import FILES  # noqa: E402

import nlptasks  # noqa: E402
from nlptasks.checkpoints.huggingface import save_directory  # noqa: E402
from nlptasks.core import Transformer, TransformerConfig  # noqa: E402
from nlptasks.errors import UserError  # noqa: E402
from nlptasks.text.units import code_points, split_units  # noqa: E402
from tests.benchmarks.test_segmentation_distil import SENTENCES, VOCAB  # noqa: E402

pytestmark = pytest.mark.once


@pytest.fixture(scope="module")
def given(tmp_path_factory):
    """A base, data and raw text."""
    folder = tmp_path_factory.mktemp("given")
    for name, nth in FILES.values():
        lines = [" ".join(SENTENCES[i % 2]) for i in range(40)]
        (folder / name).write_text("\n".join(lines) + "\n", encoding="utf-8")
        if nth == 1:
            (folder / "cnc_train.txt").write_text("\n".join(lines) + "\n", encoding="utf-8")
    with lzma.open(folder / "texts.xz", "wt", encoding="utf-8") as file:
        file.write("{}\n" + "".join("".join(words) + "\n" for words in SENTENCES))
    sizes = {"vocab_size": len(VOCAB), "hidden_size": 8, "num_layers": 2, "num_heads": 2, "ffn_size": 8}
    base = folder / "base"
    encoder = Transformer(TransformerConfig(**sizes, max_positions=128))
    encoder.build()
    save_directory(encoder, base)
    (base / "vocab.txt").write_text("".join(f"{token}\n" for token in VOCAB), encoding="utf-8")
    return {"base": base, "data": folder, "texts": (folder / "texts.xz",)}


def options(given, output, **more):
    sizes = {"layers": 1, "teacher_rows": 2, "label_rows": 4, "teacher_epochs": 3.0, "inner_every": 5}
    return teacher.Teach(**given, output=output, **sizes, log_seconds=1e9, **more)


def test_a_run_that_was_ended_labels_as_one_that_was_not(given, tmp_path, monkeypatch):
    options(given, tmp_path / "whole").run()
    drawn, calls = teacher.drawn, []

    def interrupted(*arguments):
        calls.append(arguments)
        if len(calls) == 4:
            raise KeyboardInterrupt
        return drawn(*arguments)

    with monkeypatch.context() as patch:
        patch.setattr(teacher, "drawn", interrupted)
        with pytest.raises(KeyboardInterrupt):
            options(given, tmp_path / "parts", save_seconds=-1).run()
    options(given, tmp_path / "parts").run()
    whole, parts = (np.load(tmp_path / name / teacher.LABELS) for name in ("whole", "parts"))
    np.testing.assert_array_equal(whole, parts)
    np.testing.assert_allclose(whole.astype("float32").sum(-1), 1, atol=2e-3)
    asked = np.load(tmp_path / "whole" / teacher.ASKED)
    material = distil.prepare(options(given, tmp_path / "whole"))
    annotated = material.own[: len(asked)] >= 0
    np.testing.assert_array_equal(asked[annotated], material.own[: len(asked)][annotated])
    labels = distil.read_labels(tmp_path / "whole", material)
    assert (labels.asked[: len(asked)] >= 0).all()
    assert labels.rows == (material.own != distil.SCORED).sum()
    np.testing.assert_array_equal(labels.marginals[0, : len(whole)], whole)


def test_labels_are_the_mean_of_the_teachers_and_a_segmenters(given, tmp_path):
    options(given, tmp_path / "alone").run()
    options(given, tmp_path / "beside", beside=("segmenter",)).run()
    alone, mean = (np.load(tmp_path / name / teacher.LABELS).astype("float64") for name in ("alone", "beside"))
    material = distil.prepare(options(given, tmp_path / "alone"))
    asked = np.load(tmp_path / "beside" / teacher.ASKED)
    runtime, text = nlptasks.load("segmenter").runtime, "".join(SENTENCES[0])
    unit_ids = runtime.vocab.unit_ids(split_units(code_points(text)))
    codes = material.vocab().unit_ids(split_units(code_points(text)))
    seen = set()
    for row, standard in enumerate(asked.tolist()):
        scores = runtime.scores(unit_ids, runtime.config.standard_id(distil.STANDARDS[standard]))
        expected = np.exp(scores) / np.exp(scores).sum(axis=-1, keepdims=True)
        for place in range(1, distil.WIDTH - len(codes)):
            if (material.unit_ids[row, place - 1 : place + len(codes) + 1] == [0, *codes, 0]).all():
                here = np.s_[row, place : place + len(codes)]
                np.testing.assert_allclose(2 * mean[here] - alone[here], expected, atol=3e-3)
                seen.add(standard)
    assert len(seen) == len(distil.STANDARDS)
    scores = json.loads((tmp_path / "beside" / teacher.RESULT).read_text(encoding="utf-8"))["scores"]
    assert list(scores) == ["teacher", "beside segmenter", "mean"]
    assert scores["teacher"] != scores["beside segmenter"]
    with pytest.raises(UserError, match="of other rows or models"):
        options(given, tmp_path / "beside").run()


def test_labels_that_are_missing_or_of_other_rows_are_refused(given, tmp_path):
    material = distil.prepare(options(given, tmp_path))
    with pytest.raises(UserError, match="has not labelled all rows"):
        distil.read_labels(tmp_path, material)
    np.save(tmp_path / teacher.ASKED, material.own)
    (tmp_path / teacher.RESULT).write_text('{"digest": "another"}', encoding="utf-8")
    with pytest.raises(UserError, match="labels of other rows"):
        distil.read_labels(tmp_path, material)


def test_every_row_is_read_once_a_pass_wherever_a_run_begins():
    rows = np.arange(50, 57)
    steps = [teacher.drawn(rows, 4 * step, 4, 9) for step in range(7)]
    read = np.concatenate(steps)
    for number in range(4):
        assert sorted(read[7 * number : 7 * number + 7]) == rows.tolist()
    assert read[:7].tolist() != read[7:14].tolist()
    assert read[:7].tolist() != rows.tolist()


def test_rows_are_read_under_their_standard(given, tmp_path):
    material = distil.prepare(options(given, tmp_path))
    first = VOCAB["[unused1]"]
    tokens, _, tags, counts = teacher.batch_of(material, [0, 1], np.array([3, 0]), first)
    assert (tokens[0] == first + 3).sum() == (material.tokens[0] == first).sum() > 0
    np.testing.assert_array_equal(tokens[1], material.tokens[1])
    np.testing.assert_array_equal(counts > 0, material.unit_ids[:2] != 0)
    np.testing.assert_array_equal(tags, material.tags[:2])
