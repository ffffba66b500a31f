"""The script of sequence labeling: what it writes and prints, how it resumes, and what it says about mistakes."""

import functools
import json

import pytest
from safetensors.numpy import load_file

import nlptasks
import nlptasks.train.loop
import nlptasks.train.progress
from nlptasks.applications.labeling import commands
from nlptasks.applications.labeling.training import HEADS
from nlptasks.metrics.entities import score_entities
from nlptasks.text.entities import read_entities
from tests.applications.labeling.label_cases import entity_texts
from tests.commands.scripts import assert_refused, call, kept, load_script, models_opened_once, run_files

script = load_script("sequence_labeling")
SMALL = ("--hidden-size", "22", "--num-layers", "1", "--num-heads", "2", "--ffn-size", "29", "--seq-length", "19")
TRAINING = ("--epochs", "3", "--batch-size", "4", "--learning-rate", "1e-2", "--seed", "5", "--head-size", "8")


def line(text):
    label = {}
    for e in text.entities:
        label.setdefault(e.type, {}).setdefault(e.text, []).append([e.start, e.end - 1])
    return json.dumps({"text": text.text, "label": label}, ensure_ascii=False) + "\n"


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    folder = tmp_path_factory.mktemp("files")
    for name, part in (("train", entity_texts()), ("valid", entity_texts()[::2])):
        (folder / f"{name}.jsonl").write_text("".join(map(line, part)), encoding="utf-8")
    return folder


def train_arguments(files, output, *more):
    given = ("--train", files / "train.jsonl", "--valid", files / "valid.jsonl", "--output", output)
    return ("train", *given, *SMALL, *TRAINING, *more)


@pytest.fixture(scope="module", autouse=True)
def _models_opened_once():
    with models_opened_once(commands):
        yield


@pytest.fixture(scope="module")
def runs(files, tmp_path_factory):
    """Makes the run of a head, once."""

    @functools.cache
    def make(head):
        output = tmp_path_factory.mktemp("runs") / head
        result = call(script, *train_arguments(files, output, "--head", head))
        assert (result.status, result.out) == (0, ""), result.err
        assert ("4 entities overlap longer ones, which a CRF cannot learn" in result.err) == (head == "crf")
        return output

    return make


@pytest.fixture(params=HEADS)
def run(request, runs):
    return runs(request.param)


def test_training_leaves_a_labeler_options_scores_log_and_curve(run):
    assert sorted(path.name for path in run.iterdir()) == run_files()
    log, scores = (json.loads((run / name).read_text(encoding="utf-8")) for name in ("log.json", "scores.json"))
    assert log[2]["loss"] < log[0]["loss"]
    assert scores == {"best": kept(log, "f1"), "epochs": log}
    assert nlptasks.load(run).types == ("name", "place")
    assert nlptasks.load(run).head == json.loads((run / "options.json").read_text(encoding="utf-8"))["head"]


def test_evaluate_scores_the_predictions_it_writes_with_places_in_the_text(run, files, tmp_path):
    output = tmp_path / "found.jsonl"
    given = ("--model", run, "--data", files / "train.jsonl", "--predictions", output, "--json")
    result = call(script, "evaluate", *given)
    assert result.status == 0, result.err
    rows = [json.loads(one) for one in output.read_text(encoding="utf-8").splitlines()]
    keys = [[[(e["start"], e["end"], e["type"]) for e in row[name]] for row in rows] for name in ("gold", "entities")]
    assert json.loads(result.out.splitlines()[-1])["scores"] == score_entities(*keys)
    assert keys[0] == [[(e.start, e.end, e.type) for e in t.entities] for t in read_entities(files / "train.jsonl")]
    assert all(row["text"][e["start"] : e["end"]] == e["text"] for row in rows for e in row["entities"])


def test_predict_prints_the_entities_that_the_model_gives(run, tmp_path):
    texts = ["昨天沈月去了南山。", "北门车站有方大海的车"]
    wanted = nlptasks.load(run).predict(texts)
    shown = call(script, "predict", "--model", run, "--texts", *texts).out
    lines = []
    for text, entities in zip(texts, wanted, strict=True):
        lines += [text, *(f"  {e.start}-{e.end}\t{e.type}\t{e.probability:.3f}\t{e.text}" for e in entities)]
    assert shown.splitlines() == lines
    data, output = tmp_path / "texts.txt", tmp_path / "found.jsonl"
    data.write_text("\n".join(texts) + "\n", encoding="utf-8")
    assert call(script, "predict", "--model", run, "--data", data, "--output", output).status == 0
    rows = [json.loads(one) for one in output.read_text(encoding="utf-8").splitlines()]
    assert [[e["start"] for e in row["entities"]] for row in rows] == [[e.start for e in found] for found in wanted]
    long = call(script, "predict", "--model", run, "--texts", texts[0] * 3, texts[0])
    assert "1 of 2 texts are longer than 19 tokens and are read in several windows." in long.err
    as_json = json.loads(call(script, "predict", "--model", run, "--texts", texts[0], "--json").out)
    sure = [[entity.pop("probability") for entity in row["entities"]] for row in (as_json, rows[0])]
    assert as_json == rows[0]
    assert sure[0] == pytest.approx(sure[1], abs=1e-4)  # alone and in a batch


def test_an_interrupted_run_ends_as_an_uninterrupted_one(runs, files, tmp_path, monkeypatch):
    whole, output, done = runs("global-pointer"), tmp_path / "run", []
    arguments = train_arguments(files, output, "--head", "global-pointer")

    def stop_in_the_second_epoch(items, description, *arguments):
        for item in items:
            done.append(description)
            if done.count("epoch 2/3") == 2:
                raise KeyboardInterrupt  # as a second Ctrl-C: what was saved before is all there is
            yield item

    with monkeypatch.context() as patch:
        patch.setattr(nlptasks.train.loop, "SAVE_SECONDS", -1)  # after every batch
        patch.setattr(nlptasks.train.progress, "progress_bar", stop_in_the_second_epoch)
        assert call(script, *arguments).status == 130
    assert call(script, *arguments, "--resume").status == 0
    first, second = (load_file(path / "model.safetensors") for path in (whole, output))
    assert all((first[name] == second[name]).all() for name in first)


def test_other_options_are_refused_even_before_the_first_state(files, tmp_path, monkeypatch):
    output = tmp_path / "run"

    def stop_at_once(items, *rest):
        raise KeyboardInterrupt

    monkeypatch.setattr(nlptasks.train.progress, "progress_bar", stop_at_once)
    assert call(script, *train_arguments(files, output)).status == 130
    assert not (output / "resume.safetensors").exists()
    record = json.loads((output / "options.json").read_text(encoding="utf-8"))
    other = call(script, *train_arguments(files, output, "--resume", "--crf-lr-multiplier", "7"))
    assert (other.status, other.err.count("\n")) == (2, 1)
    assert "crf_lr_multiplier=1.0, now crf_lr_multiplier=7.0" in other.err
    older = {"max_length" if name == "seq_length" else name: value for name, value in record.items()}
    del older["patience"]
    (output / "options.json").write_text(json.dumps(older), encoding="utf-8")  # as version 0.1 wrote it
    assert call(script, *train_arguments(files, output, "--resume", "--epochs", "2")).status == 2
    assert call(script, *train_arguments(files, output, "--resume")).status == 130  # it goes on
    assert json.loads((output / "options.json").read_text(encoding="utf-8")) == older


def test_python_trains_as_the_command_does(runs, files, tmp_path):
    texts = entity_texts()
    part, keys = texts[::2], [[(e.start, e.end, e.type) for e in text.entities] for text in texts]
    valid = ([text.text for text in part], [text.entities for text in part])
    sizes = {"hidden_size": 22, "num_layers": 1, "num_heads": 2, "ffn_size": 29, "seq_length": 19}
    options = sizes | {"epochs": 3, "batch_size": 4, "learning_rate": 1e-2, "seed": 5, "head_size": 8}
    options["head"] = "efficient-global-pointer"
    trained = nlptasks.Labeler.train([text.text for text in texts], keys, valid, tmp_path / "python", **options)
    command = runs("efficient-global-pointer")
    first, second = (load_file(path / "model.safetensors") for path in (tmp_path / "python", command))
    assert first.keys() == second.keys()
    assert all((first[name] == second[name]).all() for name in first)
    asked = [text.text for text in texts]
    assert trained.predict(asked) == nlptasks.load(command).predict(asked)


@pytest.mark.parametrize(
    ("texts", "entities", "options", "message"),
    [
        (["沈月"], [[(0, 3, "name")]], {}, "item 0: an entity must lie in its text of 2 characters"),
        (["沈月", " "], [[(0, 2, "name")], []], {}, "item 1: the text is empty"),
        (["沈月"], [], {}, "Received: 1 texts, 0 lists of entities"),
        (["沈月"], [[]], {}, "none of the 1 training texts has an entity"),
        (["沈月"], [[(0, 2, "name")]], {"head": "softmax"}, "^head must be one of crf"),
        (["沈月"], [[(0, 2, "name")]], {"head": "global-pointer", "head_size": 7}, "^head_size must be even"),
        (["沈月"], [[(0, 2, "name")]], {"seq_length": 3}, "^seq_length must be at least 4"),
    ],
)
def test_python_is_told_what_does_not_fit(texts, entities, options, message):
    with pytest.raises(ValueError, match=message):
        nlptasks.Labeler.train(texts, entities, (["沈月"], [[(0, 2, "name")]]), **options)


def test_columns_with_tags_and_shared_options_train_too_and_patience_ends_a_run(tmp_path):
    output, data = tmp_path / "run", tmp_path / "a.bio"
    data.write_text("沈 B-name\n月 I-name\n来 O\n\n去 O\n南 B-place\n山 I-place\n", encoding="utf-8")
    given = ("--train", data, "--valid", data, "--output", output, *SMALL, *TRAINING, "--head", "global-pointer")
    shared = ("--accumulate", 2, "--ema", 0.5, "--fgm", 0.1, "--recompute", "--clip-norm", 1, "--decay")
    more = ("--batch-size", 1, "--learning-rate", "1e-12", "--epochs", "9", "--patience", "2", *shared)
    result = call(script, "train", *given, *more)
    assert result.status == 0, result.err
    assert nlptasks.load(output).types == ("name", "place")
    log, scores = (json.loads((output / name).read_text(encoding="utf-8")) for name in ("log.json", "scores.json"))
    assert len(log) == 3
    assert scores["best"] == kept(log, "f1")


@pytest.mark.parametrize(
    ("valid", "message"),
    [
        (
            '{"text": "沈月", "label": {"person": {"沈月": [[0, 1]]}}}\n',
            "valid.jsonl:1: the label 'person' does not occur in the training files (known labels: name, place)",
        ),
        ('{"text": "沈月", "label": {"name": {"沈月": [[0, 2]]}}}\n', "valid.jsonl:1: the span [0, 2] of '沈月'"),
        ('{"text": "沈月"}\n', "valid.jsonl:1: the key 'label' is missing"),
        ('{"text": " ", "label": {}}\n', "valid.jsonl:1: the text is empty"),
        ("", "valid.jsonl: the file is empty"),
        ("沈 B\n", "valid.jsonl:1: 'B' is not a tag"),
    ],
)
def test_a_bad_file_is_one_line_status_2_and_leaves_nothing(files, tmp_path, valid, message):
    path, output = tmp_path / "valid.jsonl", tmp_path / "run"
    path.write_text(valid, encoding="utf-8")
    result = call(script, *train_arguments(files, output, "--valid", path))
    assert_refused(result, message)
    assert not output.exists()


def test_bad_options_are_one_line_and_leave_nothing(files, tmp_path):
    train = files / "train.jsonl"
    texts = train.read_bytes()
    output, gb = tmp_path / "run", tmp_path / "gb.jsonl"
    gb.write_bytes('{"text": "a", "label": {}}\n{"text": "沈", "label": {}}\n'.encode("gb18030"))
    bare = tmp_path / "bare.txt"
    bare.write_text("沈 O\n", encoding="utf-8")
    for arguments, message in (
        (train_arguments(files, output, "--train", gb), "gb.jsonl:2: expected UTF-8"),
        (train_arguments(files, output, "--train", bare), "none of the 1 training texts has an entity"),
        (train_arguments(files, output, "--head", "softmax"), "--head must be one of crf, global-pointer"),
        (train_arguments(files, output, "--head", "global-pointer", "--head-size", "7"), "--head-size must be even"),
        (train_arguments(files, output, "--batch-size", "0"), "--batch-size must be at least 1"),
        (train_arguments(files, tmp_path), "a new run goes into a new or empty folder"),
        (("evaluate", "--model", tmp_path, "--data", train, "--predictions", train), "is read, too, and would be lost"),
        (("predict", "--model", tmp_path, "--data", train, "--output", train), "is read, too, and would be lost"),
        (("evaluate", "--model", tmp_path, "--data", tmp_path / "x"), "no such file"),
        (("evaluate", "--model", "similarity", "--data", train), "holds a SentenceEncoder, expected a Labeler"),
        (("predict", "--model", tmp_path), "give either --texts TEXT... or --data FILE."),
        (("predict", "--model", tmp_path, "--texts", "沈"), "holds neither"),
        (("predict", "--model", "segmenter", "--texts", "沈"), "holds a Segmenter, expected a Labeler"),
        (("predict", "--model", "segmenter", "--texts", ""), "text 1 is empty"),
    ):
        result = call(script, *arguments)
        assert_refused(result, message)
        assert not output.exists()
        assert train.read_bytes() == texts
