"""Runs with the options of the toolbox, by command: one that was interrupted ends with the bits of one that was not.

Each application takes one set of options here; what a set does in a step and what is saved of it is the same for all.
"""

import json

import pytest
from safetensors.numpy import load_file

import nlptasks.train.loop
import nlptasks.train.progress
from nlptasks import command
from tests.applications.labeling.label_cases import BAD, GOOD
from tests.applications.test_options import TOOLBOX
from tests.commands.scripts import call

SIZES = "--checkpoint none --hidden-size 16 --num-layers 1 --num-heads 2 --ffn-size 24 --epochs 2 --batch-size 4"
MORE = {
    "classification": "--seq-length 19",
    "labeling": "--seq-length 19 --head-size 8",
    "reading": "--method span --window-length 32 --stride 8 --question-length 12",
}
EPOCH_AND_BATCH = ("epoch 2/2", 2)
"""where the run is interrupted"""


def row(application, number, text):
    if application == "classification":
        return {"text": text, "label": "good" if text in GOOD else "bad"}
    if application == "labeling":
        return {"text": text, "label": {"place": {text[:2]: [[0, 1]]}}}
    answer = text[1:3]
    return {"id": str(number), "question": "写了什么？", "passages": [{"passage": text, "answer": answer}]}


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    folder = tmp_path_factory.mktemp("files")
    texts = [text for text in [*GOOD, *BAD] if len(text) > 3]
    for application in MORE:
        rows = [row(application, number, text) for number, text in enumerate(texts)]
        for name, part in (("train", rows), ("valid", rows[::4])):
            lines = "".join(json.dumps(one, ensure_ascii=False) + "\n" for one in part)
            (folder / f"{application}_{name}.json").write_text(lines, encoding="utf-8")
    return folder


@pytest.mark.once
@pytest.mark.parametrize(("application", "given"), list(zip(MORE, TOOLBOX, strict=False)))
def test_an_interrupted_run_ends_with_the_same_bits(application, given, files, tmp_path, monkeypatch):
    def train(name, *more):
        data = [f"--{part}={files / f'{application}_{part}.json'}" for part in ("train", "valid")]
        words = [application, "train", *data, *SIZES.split(), *MORE[application].split(), *given.split()]
        return call(command, *words, "--output", tmp_path / name, *more)

    def interrupted(items, description, *arguments):
        for item in items:
            seen.append(description)
            if seen.count(EPOCH_AND_BATCH[0]) == EPOCH_AND_BATCH[1]:
                raise KeyboardInterrupt
            yield item

    seen, whole = [], train("whole")
    assert whole.status == 0, whole.err
    with monkeypatch.context() as patch:
        patch.setattr(nlptasks.train.loop, "SAVE_SECONDS", -1)  # after every batch
        patch.setattr(nlptasks.train.progress, "progress_bar", interrupted)
        assert train("parts").status == 130
    resumed = train("parts", "--resume")
    assert resumed.status == 0, resumed.err
    first, second = (load_file(tmp_path / name / "model.safetensors") for name in ("whole", "parts"))
    assert first.keys() == second.keys()
    assert all((first[name] == second[name]).all() for name in first)
    logs = [json.loads((tmp_path / name / "log.json").read_text(encoding="utf-8")) for name in ("whole", "parts")]
    assert [epoch["loss"] for epoch in logs[0]] == [epoch["loss"] for epoch in logs[1]]
