"""Several tasks on one encoder: what is trained, saved, resumed and refused."""

import json

import numpy as np
import pytest
from safetensors.numpy import load_file

import nlptasks
from nlptasks import command
from nlptasks.applications.multitask.shared import TaskExamples
from nlptasks.applications.multitask.training import MultiTaskOptions, prior_losses
from nlptasks.errors import UserError
from nlptasks.text.labeled import LabeledText
from tests.applications.labeling.label_cases import BAD, GOOD, entity_texts

SIZES = ("--hidden-size", "22", "--num-layers", "1", "--num-heads", "2", "--ffn-size", "29", "--seq-length", "23")


def lines(rows):
    return "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    folder = tmp_path_factory.mktemp("tasks")
    opinions = [{"text": text, "label": label} for texts, label in ((GOOD, "good"), (BAD, "bad")) for text in texts]
    pairs = [{"text": GOOD[i], "second_text": BAD[i], "label": str(i % 2)} for i in range(4)]
    places = []
    for one in entity_texts():  # as CLUENER has them: the last character is counted in
        found = {e.type: {} for e in one.entities}
        for e in one.entities:
            found[e.type][e.text] = [[e.start, e.end - 1]]
        places.append({"text": one.text, "label": found})
    for name, rows in (("opinions", opinions), ("pairs", pairs), ("places", places)):
        (folder / f"{name}.jsonl").write_text(lines(rows), encoding="utf-8")
    return folder


def arguments(files, output, *more):
    given = [f"{name}={files / name}.jsonl" for name in ("opinions", "pairs", "places")]
    names = ("--task", *given, "--valid", *given, "--labeling", "places", "--pairs", "pairs", "--output", str(output))
    return ["multitask", "train", *names, *SIZES, "--batch-size", "5", "--learning-rate", "1e-3", *more]


def test_three_tasks_are_trained_together_and_each_is_a_model_of_its_own(files, tmp_path, capsys):
    output = tmp_path / "run"
    more = ("--epochs", "1", "--weighting", "real-time")
    assert command.main(arguments(files, output, *more)) == 0, capsys.readouterr().err
    encoders = [load_file(output / name / "model.safetensors") for name in ("opinions", "pairs", "places")]
    shared = [name for name in encoders[0] if "layer" in name]
    assert len(shared) > 10
    for other in encoders[1:]:
        assert all((other[name] == encoders[0][name]).all() for name in shared)
    assert nlptasks.load(output / "opinions").labels == ("bad", "good")
    assert nlptasks.load(output / "pairs").pair
    assert nlptasks.load(output / "places").types == ("name", "place")
    options = json.loads((output / "options.json").read_text(encoding="utf-8"))
    assert (options["weighting"], options["labeling"]) == ("real-time", ["places"])
    scores = json.loads((output / "scores.json").read_text(encoding="utf-8"))["best"]
    counting = [scores[name] for name in ("opinions_accuracy", "pairs_accuracy", "places_f1")]
    assert scores["mean"] == pytest.approx(np.mean(counting))


class Few:
    def __init__(self, count):
        self.count = count

    def __len__(self):
        return self.count

    def num_batches(self, epoch, size):
        return -(-self.count // size)

    def batches(self, epoch, size):
        return [(epoch, i) for i in range(self.num_batches(epoch, size))]


@pytest.mark.once
def test_a_smaller_task_begins_anew_with_another_order():
    found = TaskExamples({"a": Few(5), "b": Few(2)}).batches(1, 1)
    assert [one["a"] for one in found] == [(5, i) for i in range(5)]
    assert [one["b"] for one in found] == [(5, 0), (5, 1), (7, 0), (7, 1), (9, 0)]


@pytest.mark.once
def test_the_prior_loss_is_the_entropy_of_the_labels():
    texts = [LabeledText("a", None, (label,), "") for label in ("x", "x", "x", "y")]
    assert prior_losses({"a": texts})[0] == pytest.approx(-0.75 * np.log(0.75) - 0.25 * np.log(0.25))


@pytest.mark.once
@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"task": ("a=x",), "valid": ("a=x",)}, "task takes two tasks at least. Received: 1"),
        ({"task": ("a=x", "a=y")}, "task takes NAME=FILE, each name once. Received: 'a=y'"),
        ({"task": ("a=x", "b")}, "task takes NAME=FILE, each name once. Received: 'b'"),
        ({"valid": ("a=x", "c=y")}, "valid names other tasks than task: a, c, not a, b"),
        ({"labeling": ("c",)}, r"c: labeling and pairs take names of tasks \(a, b\), each at most once"),
        ({"weighting": "best"}, "weighting must be one of fixed, initial"),
        ({"weights": (1.0,)}, "weights must be 2 positive numbers"),
        ({"weighting": "prior", "labeling": ("a",)}, "weighting prior knows no prior loss of entities; give weights"),
    ],
)
def test_what_does_not_go_together_is_refused(changes, message):
    with pytest.raises(UserError, match=message):
        MultiTaskOptions(output="x", **{"task": ("a=x", "b=y"), "valid": ("a=x", "b=y")} | changes)
