"""What a training run starts from: the bundled model, a directory, or random weights of given sizes; and its record."""

import json

import pytest
from safetensors.numpy import load_file

from nlptasks import bundled, command
from nlptasks.applications.classification.training import ClassifierOptions
from nlptasks.applications.compression.training import CompressionOptions
from nlptasks.applications.conditional.training import GeneratorOptions
from nlptasks.applications.labeling.training import LabelerOptions
from nlptasks.applications.reading.training import ReaderOptions
from nlptasks.applications.scratch import scratch_config, transformer_from_scratch
from nlptasks.applications.similarity.training import SimilarityOptions
from nlptasks.checkpoints.huggingface import save_directory
from nlptasks.errors import UserError
from nlptasks.text import Tokenizer, build_character_vocab
from nlptasks.train.record import jsonable, open_run, read_options, write_options, write_record
from tests.commands.scripts import call, load_script, without_steps

TEXTS = ("房间很干净", "菜太咸了", "早饭好吃", "床又窄又硬")
WEIGHT = "bert.encoder.layer.0.attention.self.query.weight"
script = load_script("text_classification")


@pytest.fixture
def mini(tmp_path, monkeypatch):
    """A small model under the name of the bundled one."""
    folder = tmp_path / "bundled"
    tokenizer = Tokenizer(build_character_vocab(TEXTS))
    model = transformer_from_scratch(scratch_config(tokenizer.vocab_size, 23, 10, 1, 2, 13, 0.1), with_mlm="linear")
    save_directory(model, folder / "mini", bits=8)
    tokenizer.save(folder / "mini")
    monkeypatch.setattr(bundled, "FOLDER", folder)
    return folder / "mini"


@pytest.mark.once
@pytest.mark.parametrize(
    ("options", "checkpoint", "sizes", "usual"),
    [
        (ClassifierOptions(output="x"), "mini", (None, None), (1e-4, 5)),
        (ClassifierOptions(output="x", num_layers=5), "none", (128, 5), (1e-3, 20)),
        (ClassifierOptions(output="x", vocab="v.txt"), "none", (128, 2), (1e-3, 20)),
        (ClassifierOptions(output="x", checkpoint="none"), "none", (128, 2), (1e-3, 20)),
        (ClassifierOptions(output="x", checkpoint="./mini"), "./mini", (None, None), (2e-5, 5)),
        (LabelerOptions(output="x"), "mini", (None, None), (1e-4, 10)),
        (GeneratorOptions(output="x", checkpoint="none"), "none", (128, 3), (1e-3, 20)),
        (ReaderOptions(output="x", checkpoint="none"), "none", (128, 3), (1e-3, 20)),
        (ReaderOptions(output="x", simplify_vocab=True), "mini", (None, None), (1e-4, 8)),
        (ReaderOptions(output="x", learning_rate=3e-4), "mini", (None, None), (3e-4, 8)),
        (SimilarityOptions(output="x"), "none", (128, 3), (4e-3, 10)),
        (SimilarityOptions(output="x", encoder="transformer"), "mini", (None, None), (1e-4, 5)),
        (SimilarityOptions(output="x", encoder="transformer", vector_size=8), "none", (8, 3), (1e-3, 10)),
    ],
)
def test_a_run_starts_from_the_bundled_model_unless_random_weights_are_asked_for(
    options, checkpoint, sizes, usual, mini
):
    options.settle(None)
    width = "vector_size" if hasattr(options, "vector_size") else "hidden_size"
    assert (options.checkpoint, options.from_scratch) == (checkpoint, checkpoint == "none")
    assert (getattr(options, width), options.num_layers) == sizes
    assert (options.learning_rate, options.epochs) == usual
    assert options.left_out == (("epochs",) if options.learning_rate == 3e-4 else ("learning_rate", "epochs"))
    options.check()  # what was filled in is no contradiction
    assert options.from_record(jsonable(options)) == jsonable(options)


@pytest.mark.once
def test_the_usual_rate_follows_from_the_size_of_the_checkpoint(tmp_path):
    rates = {}
    for size in (384, 767, 768, 1024):
        (tmp_path / "bert_config.json").write_text(json.dumps({"hidden_size": size}))
        options = ClassifierOptions(output="x", checkpoint=str(tmp_path))
        options.settle(None)
        rates[size] = options.learning_rate
    assert rates == {384: 1e-4, 767: 1e-4, 768: 2e-5, 1024: 2e-5}


@pytest.mark.once
@pytest.mark.parametrize(
    ("examples", "more", "epochs"),
    [(5000, {}, 5), (320, {}, 10), (200, {}, 15), (36, {}, 30), (36, {"epochs": 3}, 3), (320, {"accumulate": 2}, 20)],
)
def test_few_examples_are_read_more_often_unless_the_user_says_how_often(examples, more, epochs, mini):
    options = ClassifierOptions(output="x", **more)
    options.settle(None, examples)
    assert options.epochs == epochs


@pytest.mark.once
def test_what_is_left_out_stands_in_the_record_and_a_run_goes_on_with_it(mini, tmp_path):
    options = ClassifierOptions(output=tmp_path / "run")
    open_run(options, 320)
    write_record(options)
    record = read_options(tmp_path / "run")
    assert (record["learning_rate"], record["epochs"]) == (1e-4, 10)
    again = ClassifierOptions(output=tmp_path / "run", resume=True)
    open_run(again, 9000)
    assert (again.learning_rate, again.epochs) == (1e-4, 10)


@pytest.mark.once
def test_a_compression_starts_from_the_bundled_model_or_its_predecessor(mini, tmp_path):
    files = {"train": ("a",), "valid": "b", "output": "x", "task": "labeling", "successor_layers": 1}
    (tmp_path / "config.json").write_text(json.dumps({"hidden_size": 768}))
    for more, checkpoint, rate in (
        ({}, "mini", 1e-4),
        ({"predecessor": mini}, "none", 1e-4),
        ({"predecessor": tmp_path}, "none", 2e-5),
    ):
        options = CompressionOptions(**files, **more)
        options.settle(None)
        assert (options.checkpoint, options.learning_rate) == (checkpoint, rate)


@pytest.mark.once
@pytest.mark.parametrize("checkpoint", ["mini", "runs/bert"])
@pytest.mark.parametrize("option", ["hidden_size", "min_count", "vocab"])
def test_a_size_of_random_weights_beside_a_checkpoint_is_refused(option, checkpoint):
    said = f"^{option} goes with random weights. Received: checkpoint {checkpoint}; leave one of them out"
    with pytest.raises(UserError, match=said):
        ClassifierOptions(output="x", checkpoint=checkpoint, **{option: 7})


@pytest.mark.once
def test_a_missing_bundled_model_is_one_line_before_anything_is_written(tmp_path, monkeypatch):
    monkeypatch.setattr(bundled, "FOLDER", tmp_path)
    (tmp_path / "mini").mkdir()
    for checkpoint in (None, "mini"):
        options = ClassifierOptions(output=tmp_path / "run", checkpoint=checkpoint)
        said = r"^mini: this installation lacks the pretrained model .*checkpoint none for random weights\.$"
        with pytest.raises(UserError, match=said):
            open_run(options)
    assert not (tmp_path / "run").exists()
    open_run(ClassifierOptions(output=tmp_path / "run", num_layers=1))


@pytest.mark.once
@pytest.mark.parametrize("recorded", [{}, {"checkpoint": None}, {"checkpoint": "none", "hidden_size": 128}])
def test_an_older_run_without_a_checkpoint_goes_on_with_random_weights(recorded, tmp_path):
    write_options(tmp_path, {"seed": 5, "learning_rate": 1e-2} | recorded)
    given = {"output": tmp_path, "resume": True, "seed": 5, "learning_rate": 1e-2}
    for options in (ClassifierOptions(**given), ClassifierOptions(**given, checkpoint="none")):
        open_run(options)
        assert (options.checkpoint, options.hidden_size, options.num_layers) == ("none", 128, 2)
    with pytest.raises(UserError, match=r"was started with checkpoint='none', now checkpoint='\./mini';"):
        open_run(ClassifierOptions(**given, checkpoint="./mini"))
    with pytest.raises(UserError, match="was started with hidden_size=128, now hidden_size=7;"):
        open_run(ClassifierOptions(**given, hidden_size=7))


@pytest.mark.once
def test_an_older_run_from_a_checkpoint_goes_on_though_it_recorded_sizes(tmp_path):
    record = {"checkpoint": "./runs/bert", "hidden_size": 128, "num_layers": 2, "learning_rate": 3e-5}
    write_options(tmp_path, record)
    options = ClassifierOptions(output=tmp_path, resume=True, checkpoint="./runs/bert")
    open_run(options)
    assert options.learning_rate == 3e-5  # what the default was then
    with pytest.raises(UserError, match=r"was started with checkpoint='\./runs/bert', now checkpoint='none';"):
        open_run(ClassifierOptions(output=tmp_path, resume=True, hidden_size=128))


@pytest.mark.once
def test_training_starts_from_the_weights_of_the_name_and_goes_on_from_them(mini, tmp_path, monkeypatch):
    without_steps(monkeypatch)
    monkeypatch.chdir(tmp_path)
    rows = [{"text": text, "label": "good" if i % 2 else "bad"} for i, text in enumerate(TEXTS)]
    (tmp_path / "a.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    given = ("train", "--train", "a.jsonl", "--valid", "a.jsonl", "--seq-length", "9", "--epochs", "1")
    done = call(script, *given, "--output", "run")
    assert done.status == 0, done.err
    assert json.loads((tmp_path / "run" / "options.json").read_text())["checkpoint"] == "mini"
    bare = command.parse(["classification", *given, "--output", "run"])
    assert bare.checkpoint is None
    start = load_file(tmp_path / "run" / "model.safetensors")[WEIGHT]
    assert start.shape == (10, 10)
    assert call(script, *given, "--output", "run", "--resume", "--checkpoint", "mini").status == 0
    refused = call(script, *given, "--output", "run", "--resume", "--hidden-size", "10")
    assert (refused.status, refused.err.count("\n")) == (2, 1)
    assert "was started with checkpoint='mini', now checkpoint='none';" in refused.err
    assert call(script, *given, "--output", "other", "--checkpoint", "./mini").err.startswith("error: mini: no such ")


TOOLBOX = (
    "--optimizer lion --weight-decay 0.01 --lookahead 3 --lookahead-rate 0.4 --piecewise-rate 2=1,9=0.1 "
    "--learning-rate-of embeddings*=0.5 --layer-decay 0.9 --lazy-embeddings --pgd 0.2 --adversarial-steps 2",
    "--optimizer tiger --layer-adaptation --ema 0.9 --ema-bias-correction --accumulate 2 --fgm 0.5",
    "--optimizer adafactor --freelb 0.2",
    "--gradient-penalty 0.1",
)


@pytest.mark.once
@pytest.mark.parametrize("given", TOOLBOX)
@pytest.mark.parametrize("application", ["classification", "labeling", "reading", "similarity", "conditional"])
def test_the_options_of_the_toolbox_are_recorded_and_a_run_goes_on_with_them_alone(application, given, tmp_path):
    file = "--train a.tsv" if application == "similarity" else "--train a.jsonl --valid b.jsonl"
    line = [application, "train", *file.split(), "--checkpoint", "none", "--output", str(tmp_path / "run")]
    if application == "similarity":
        line += ["--encoder", "transformer"]
    options = command.parse([*line, *given.split()])
    open_run(options)
    write_record(options)
    record = read_options(tmp_path / "run")
    names = [word[2:].replace("-", "_") for word in given.split() if word.startswith("--")]
    assert {name: record[name] for name in names} == {name: getattr(options, name) for name in names}
    assert all(record[name] not in (None, False) for name in names)
    open_run(command.parse([*line, *given.split(), "--resume"]))
    with pytest.raises(UserError, match="the run was started with "):
        open_run(command.parse([*line, "--resume"]))
