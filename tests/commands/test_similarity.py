"""The script of sentence similarity: what it writes and prints, how it resumes, and what it says about mistakes."""

import functools
import json

import numpy as np
import pytest
from safetensors.numpy import load_file

import nlptasks
import nlptasks.train.loop
import nlptasks.train.progress
from tests.applications.segmentation.segmentation_cases import random_segmenter
from tests.applications.similarity.similarity_cases import GROUPS, SENTENCES, random_encoder, write_groups
from tests.commands import scripts
from tests.commands.scripts import from_checkpoint, load_script, run_files, without_steps

call = functools.partial(scripts.call, load_script("sentence_similarity"))
HOLD = ("--hold-out-every", "7")
SMALL = ("--embedding-size", "11", "--vector-size", "13", "--min-count", "1", "--batch-size", "7", *HOLD)
TRAINING = (*SMALL, "--epochs", "3", "--learning-rate", "2e-2", "--seed", "5")
SHARED = ("--accumulate", "2", "--ema", "0.5", "--clip-norm", "1", "--precision", "bfloat16", "--no-decay")
SHARED += ("--warmup-share", "0")
TRANSFORMER = ("--encoder", "transformer", "--vector-size", "12", "--num-layers", "1", "--seq-length", "14")
RUN_FILES = [name for name in run_files() if name != "tokenizer_config.json"]


@pytest.fixture(scope="module")
def groups_file(tmp_path_factory):
    return write_groups(tmp_path_factory.mktemp("data") / "groups.tsv")


@pytest.fixture(scope="module")
def run_directory(groups_file, tmp_path_factory):
    directory = tmp_path_factory.mktemp("runs") / "run"
    done = call("train", "--train", groups_file, "--output", directory, *TRAINING, "--sampled-classes", "7")
    assert done.status == 0, done.err
    assert "17 sentences in 7 groups, 0 groups of one sentence, 0 sentences in more than one group" in done.err
    assert "table of 6 groups: 0.0 MiB, 6 a step" in done.err
    return directory


def test_a_run_holds_the_model_its_options_and_its_scores(run_directory):
    assert sorted(path.name for path in run_directory.iterdir()) == RUN_FILES
    scores = json.loads((run_directory / "scores.json").read_text(encoding="utf-8"))
    assert [row["epoch"] for row in scores["epochs"]] == [1, 2, 3]
    assert scores["best"]["top1"] == max(row["top1"] for row in scores["epochs"])
    options = json.loads((run_directory / "options.json").read_text(encoding="utf-8"))
    assert (options["vector_size"], options["loss"], options["seed"]) == (13, "am", 5)
    encoder = nlptasks.load(run_directory)
    assert encoder.encode(SENTENCES).shape == (17, 13)


def test_an_interrupted_run_resumed_ends_with_the_same_weights(groups_file, run_directory, tmp_path, monkeypatch):
    arguments = ("--train", groups_file, "--output", tmp_path / "r", *TRAINING, "--sampled-classes", "7")
    steps = []

    class StopInTheMiddle(nlptasks.train.loop.StopRequested):
        @property
        def requested(self):
            steps.append(1)
            return len(steps) >= 2

        @requested.setter
        def requested(self, value):
            pass

    with monkeypatch.context() as patched:
        patched.setattr(nlptasks.train.loop, "StopRequested", StopInTheMiddle)
        stopped = call("train", *arguments)
    assert stopped.status == 130
    assert "--resume continues it" in stopped.err
    assert call("train", *arguments, "--resume").status == 0
    expected, found = (load_file(path / "resume.safetensors") for path in (run_directory, tmp_path / "r"))
    assert expected.keys() == found.keys()
    assert any(name.startswith("table.") for name in found)
    for name, array in expected.items():
        np.testing.assert_array_equal(found[name], array, err_msg=name)


@pytest.fixture(scope="module")
def transformer_arguments(groups_file):
    return ("train", "--train", groups_file, *TRAINING, *TRANSFORMER, "--epochs", "1", "--loss", "arc")


@pytest.fixture(scope="module")
def transformer_run(transformer_arguments, tmp_path_factory):
    directory = tmp_path_factory.mktemp("runs") / "transformer"
    more = ("--pooling", "first", *SHARED, "--fgm", "0.5", "--recompute")
    done = call(*transformer_arguments, "--output", directory, *more)
    assert done.status == 0, done.err
    return directory


def test_a_transformer_trains_with_the_options_of_every_training_and_finds_its_own(groups_file, transformer_run):
    encoder = nlptasks.load(transformer_run)
    assert encoder.model.network.pooling == "first"
    np.testing.assert_allclose(np.linalg.norm(encoder.encode(SENTENCES), axis=1), 1, atol=1e-2)
    done = call("evaluate", "--model", transformer_run, "--data", groups_file, "--json")
    assert json.loads(done.out.splitlines()[-1])["scores"]["encoder"]["queries"] == 17


def test_a_transformer_starts_from_a_checkpoint(transformer_arguments, transformer_run, tmp_path, monkeypatch):
    without_steps(monkeypatch)
    done = call(*from_checkpoint(transformer_run, *transformer_arguments, "--output", tmp_path / "r"))
    assert done.status == 0, done.err
    name = "bert.encoder.layer.0.attention.self.query.weight"
    one, two = (load_file(path / "model.safetensors")[name] for path in (transformer_run, tmp_path / "r"))
    np.testing.assert_array_equal(one, two)


def test_a_record_of_older_names_goes_on(transformer_arguments, tmp_path, monkeypatch):
    output = tmp_path / "r"
    without_steps(monkeypatch)
    assert call(*transformer_arguments, "--output", output, "--pooling", "first").status == 0
    path = output / "options.json"
    options = json.loads(path.read_text(encoding="utf-8")) | {"pooling": "cls"}
    options["hold_out"] = options.pop("hold_out_every")
    younger = ("decay", "clip_norm", "accumulate", "ema", "patience", "fgm", "recompute", "mesh")
    path.write_text(json.dumps({k: v for k, v in options.items() if k not in younger}), encoding="utf-8")
    again = call(*transformer_arguments, "--output", output, "--pooling", "cls", "--resume")
    assert again.status == 0, again.err
    assert "note: cls is now first" in again.err
    other = call(*transformer_arguments, "--output", output, "--resume")
    assert "started with pooling='first', now pooling=None" in other.err


def test_a_gru_trains_with_the_options_of_every_training(groups_file, tmp_path):
    done = call("train", "--train", groups_file, *TRAINING, "--epochs", "1", "--output", tmp_path / "r", *SHARED)
    assert done.status == 0, done.err
    vectors = nlptasks.load(tmp_path / "r").encode(SENTENCES)
    np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), 1, atol=1e-2)


def test_the_options_of_the_recipe_reach_the_training(groups_file, run_directory, tmp_path, monkeypatch):
    arguments = ("train", "--train", groups_file, *TRAINING, "--sampled-classes", "7")
    assert call(*arguments, "--output", tmp_path / "mean", "--pooling", "mean").status == 0
    kernels = [load_file(path / "model.safetensors")["kernel"] for path in (run_directory, tmp_path / "mean")]
    assert np.abs(kernels[0] - kernels[1]).max() > 1e-4
    poolings = [nlptasks.load(path).model.runtime.pooling for path in (run_directory, tmp_path / "mean")]
    assert poolings == ["last", "mean"]
    batches, read, table = without_steps(monkeypatch), {}, {}
    for name, more in (
        ("plain", ()),
        ("same", ("--pooling", "last", "--order-noise", "0", "--class-norm", "1")),
        ("noise", ("--order-noise", "5")),
        ("short", ("--class-norm", "0.1")),
    ):
        batches.clear()
        done = call(*arguments, "--output", tmp_path / name, *more)
        assert done.status == 0, done.err
        assert nlptasks.load(tmp_path / name).model.runtime.pooling == "last"
        read[name] = np.concatenate([batch["token_ids"].ravel() for batch in batches])
        table[name] = load_file(tmp_path / name / "resume.safetensors")["table.0"]
    for name in ("same", "short"):
        np.testing.assert_array_equal(read[name], read["plain"])
    for name in ("same", "noise"):
        np.testing.assert_array_equal(table[name], table["plain"])
    assert (read["noise"] != read["plain"]).any()
    np.testing.assert_allclose(table["short"], 0.1 * table["plain"], rtol=1e-5)


def test_other_options_are_refused_even_before_the_first_state(groups_file, tmp_path, monkeypatch):
    arguments = ("--train", groups_file, "--output", tmp_path / "r", *TRAINING)

    def stop_at_once(items, *rest):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(nlptasks.train.progress, "progress_bar", stop_at_once)
        assert call("train", *arguments).status == 130
    assert not (tmp_path / "r" / "resume.safetensors").exists()
    record = (tmp_path / "r" / "options.json").read_bytes()
    other = call("train", *arguments, "--resume", "--scale", "20")
    assert (other.status, other.err.splitlines()[-1][:6]) == (2, "error:")
    assert "started with scale=30.0, now scale=20.0" in other.err
    assert (tmp_path / "r" / "options.json").read_bytes() == record


def test_python_trains_as_the_command_does(groups_file, run_directory, tmp_path, monkeypatch):
    options = {"embedding_size": 11, "vector_size": 13, "min_count": 1, "batch_size": 7, "hold_out_every": 7}
    options |= {"epochs": 3, "learning_rate": 2e-2, "seed": 5, "sampled_classes": 7}
    trained = nlptasks.SentenceEncoder.train(GROUPS.values(), output=tmp_path / "run", **options)
    assert (tmp_path / "run" / "config.json").read_bytes() == (run_directory / "config.json").read_bytes()
    np.testing.assert_array_equal(trained.predict(SENTENCES), nlptasks.load(run_directory).encode(SENTENCES))
    without_steps(monkeypatch)
    valid = [GROUPS["pork"], GROUPS["rain"]]
    other = nlptasks.SentenceEncoder.train(GROUPS.values(), valid, **options | {"epochs": 1, "seq_length": 5})
    assert "肉" not in other.model.vocab.tokens  # what is scored is not trained on
    with pytest.raises(ValueError, match=r"^epochs must be at least 1. Received: 0.$"):
        nlptasks.SentenceEncoder.train(GROUPS.values(), **options | {"epochs": 0})
    with pytest.raises(ValueError, match=r"^hold_out_every must be at least 2, or give valid. Received: 1.$"):
        nlptasks.SentenceEncoder.train(GROUPS.values(), **options | {"hold_out_every": 1})


def test_patience_ends_a_run_that_gets_no_better(groups_file, tmp_path, monkeypatch):
    without_steps(monkeypatch)
    more = ("--epochs", "9", "--patience", "2")
    assert call("train", "--train", groups_file, "--output", tmp_path / "r", *TRAINING, *more).status == 0
    log = json.loads((tmp_path / "r" / "log.json").read_text(encoding="utf-8"))
    assert len(log) == 3
    assert json.loads((tmp_path / "r" / "scores.json").read_text(encoding="utf-8"))["best"]["epoch"] == 1


def test_a_folder_with_something_in_it_is_refused(groups_file, tmp_path):
    random_segmenter().save(tmp_path / "model")
    weights = (tmp_path / "model" / "model.safetensors").read_bytes()
    done = call("train", "--train", groups_file, "--output", tmp_path / "model", *TRAINING)
    assert done.status == 2
    assert "a new run goes into a new or empty folder" in done.err
    assert (tmp_path / "model" / "model.safetensors").read_bytes() == weights


@pytest.mark.parametrize(
    ("more", "message"),
    [
        (("--fgm", "0.5"), "--fgm moves the token embedding of a Transformer; it goes with --encoder transformer"),
        (("--recompute",), "--recompute works inside the layers of a Transformer"),
        (("--checkpoint", "somewhere"), "--checkpoint is a Transformer's; it goes with --encoder transformer"),
        (("--mesh", "data=2,model=2"), "--mesh cuts no weight of a GRU; give data alone"),
        (("--encoder", "transformer", "--mean-weight", "0.3"), "--mean-weight is a GRU's"),
        (("--encoder", "transformer", "--vector-size", "13"), "--vector-size of a Transformer must be a multiple of 4"),
        (("--encoder", "transformer", "--pooling", "last"), "--pooling must be one of first, mean"),
        (("--sampled-classes", "7", "--accumulate", "2"), "--accumulate does not go with --sampled-classes"),
        (("--sampled-classes", "7", "--mesh", "data=2"), "--mesh does not go with --sampled-classes"),
        (("--loss", "softmax", "--margin", "0.2"), "the --loss softmax takes no --margin; leave it out"),
        (("--scale", "0"), "--scale must be positive"),
        (("--token-drop", "1"), "--token-drop must lie in [0, 1)"),
    ],
)
def test_what_cannot_be_honored_is_refused_before_anything_is_read(more, message, tmp_path):
    done = call("train", "--train", tmp_path / "none", "--output", tmp_path / "r", *TRAINING, *more)
    assert (done.status, done.err.count("\n")) == (2, 1)
    assert done.err.startswith(f"error: {message}"), done.err


def test_retrieval_scores_equal_brute_force(groups_file, run_directory):
    done = call("evaluate", "--model", run_directory, "--data", groups_file, "--hybrid", "--baselines", "--json")
    assert done.status == 0, done.err
    scores = json.loads(done.out.splitlines()[-1])["scores"]
    assert list(scores) == ["encoder", "hybrid", "bm25", "tfidf"]
    encoder = nlptasks.load(run_directory)
    encoder.add(SENTENCES)
    owner = {sentence: name for name, group in GROUPS.items() for sentence in group}
    for name, hybrid in (("encoder", False), ("hybrid", True)):
        for k in (1, 5):
            hits = 0
            for sentence in SENTENCES:
                others = [m for m in encoder.most_similar(sentence, 17, hybrid) if m.text != sentence][:k]
                hits += any(owner[m.text] == owner[sentence] for m in others)
            assert scores[name][f"top{k}"] == pytest.approx(hits / 17)


def test_pairs_are_scored_by_their_cosines(run_directory, tmp_path):
    path = tmp_path / "p.tsv"
    path.write_text("密码怎么改\t密码怎么改\t1\n今天有雨吗\t这趟车几点开\t0\n怎么卖\t怎么卖\t1\n", encoding="utf-8")
    done = call("evaluate", "--model", run_directory, "--pairs", path, "--json")
    scores = json.loads(done.out.splitlines()[-1])["scores"]["encoder"]
    assert (scores["pairs"], scores["auc"], scores["accuracy"]) == (3, 1.0, 1.0)
    assert scores["threshold"] == pytest.approx(1.0, abs=1e-6)


def test_an_index_is_made_grown_and_searched(run_directory, tmp_path):
    corpus, more, index = tmp_path / "a.txt", tmp_path / "b.txt", tmp_path / "index"
    corpus.write_text("\n".join(SENTENCES[:9]) + "\n", encoding="utf-8")
    more.write_text("\n".join(SENTENCES[9:]) + "\n", encoding="utf-8")
    common = ("--model", run_directory)
    assert call("index", *common, "--corpus", corpus, "--output", index).status == 0
    again = call("index", *common, "--corpus", more, "--output", index)
    assert (again.status, "--add adds to it" in again.err) == (2, True)
    added = call("index", *common, "--corpus", more, "--output", index, "--add")
    assert "8 sentences added" in added.err
    assert added.err.endswith("17 in all\n")
    found = call("search", *common, "--index", index, "--query", SENTENCES[12], "--top", "3")
    score, text = found.out.splitlines()[0].split("\t")
    assert (text, len(found.out.splitlines())) == (SENTENCES[12], 3)
    assert float(score) == pytest.approx(1, abs=2e-3)
    queries = tmp_path / "q.txt"
    queries.write_text(f"{SENTENCES[3]}\n\n{SENTENCES[14]}\n", encoding="utf-8")
    found = call("search", *common, "--index", index, "--queries", queries, "--top", "2", "--hybrid", "--json")
    rows = json.loads(found.out)
    assert [next(m["position"] for m in row) for row in rows] == [3, 14]
    lines = call("search", *common, "--index", index, "--queries", queries, "--top", "1").out.splitlines()
    assert [line.split("\t")[::2] for line in lines] == [[SENTENCES[3]] * 2, [SENTENCES[14]] * 2]
    random_encoder().save(tmp_path / "other")
    refused = call("search", "--model", tmp_path / "other", "--index", index, "--query", "什么")
    assert (refused.status, refused.out) == (2, "")
    assert "the index was made by another model" in refused.err


def test_sentences_left_out_are_not_trained_on(groups_file, tmp_path, monkeypatch):
    without_steps(monkeypatch)
    held = tmp_path / "held.tsv"
    held.write_text("怎么做红烧肉\t红烧肉的做法是什么\t1\n这趟车几点开\t随便\t0\n", encoding="utf-8")
    done = call(
        "train",
        "--train",
        groups_file,
        "--leave-out",
        held,
        "--output",
        tmp_path / "r",
        *TRAINING,
        "--epochs",
        "1",
    )
    assert done.status == 0, done.err
    assert "14 sentences in 7 groups, 2 groups of one sentence" in done.err


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        (
            ("train", "--train", "{groups}", "--output", "{run}", *HOLD),
            "holds a run already; --resume continues it",
        ),
        (("train", "--train", "{none}", "--output", "{new}"), "no such file"),
        (("train", "--train", "{latin}", "--output", "{new}"), "bad.tsv:2: expected UTF-8. Received: byte 0x"),
        (("train", "--train", "{empty}", "--output", "{new}"), "empty.tsv: the file is empty"),
        (
            ("train", "--train", "{groups}", "--output", "{new}", *HOLD, "--loss", "triplet"),
            "--loss must be one of softmax, am",
        ),
        (
            ("train", "--train", "{groups}", "--output", "{new}", "--encoder", "lstm"),
            "--encoder must be one of gru, transformer",
        ),
        (
            ("train", "--train", "{groups}", "--output", "{new}", "--sampled-classes", "9"),
            "--sampled-classes must be 0 (all) or at least --batch-size",
        ),
        (
            ("train", "--train", "{groups}", "--output", "{new}", "--hold-out-every", "1"),
            "--hold-out-every must be at least 2",
        ),
        (
            ("train", "--train", "{groups}", "--output", "{new}", "--hold-out-every", "99"),
            "every 99th group holds no two",
        ),
        (
            ("train", "--train", "{groups}", "--output", "{new}", *HOLD, "--pooling", "first"),
            "--pooling must be one of last, mean",
        ),
        (
            ("train", "--train", "{groups}", "--output", "{new}", *HOLD, "--order-noise", "-1"),
            "--order-noise must be at least 0",
        ),
        (("train", "--train", "{groups}", "--output", "{new}", "--epochs", "0"), "--epochs must be at least 1"),
        (("evaluate", "--model", "{run}"), "give either --data (groups) or --pairs"),
        (("evaluate", "--model", "{run}", "--pairs", "{groups}"), "groups.tsv:1: expected 3 tab-separated fields"),
        (("evaluate", "--model", "segmenter", "--data", "{groups}"), "holds a Segmenter, expected a SentenceEncoder"),
        (("evaluate", "--model", "{new}", "--data", "{groups}"), "no such directory"),
        (("search", "--model", "{run}", "--index", "{new}", "--query", "一"), "index.json: no such file"),
        (("search", "--model", "{run}", "--index", "{new}"), "give either --query or --queries"),
        (("index", "--model", "{run}", "--corpus", "{empty}", "--output", "{new}"), "empty.tsv: the file is empty"),
        (
            ("index", "--model", "{run}", "--corpus", "{groups}", "--output", "{new}", "--add"),
            "index.json: no such file",
        ),
    ],
)
def test_a_mistake_is_one_line_and_status_2(groups_file, run_directory, tmp_path, arguments, text):
    (tmp_path / "bad.tsv").write_bytes("1\t甲\n".encode() + "1\t乙\n".encode("gb18030"))
    (tmp_path / "empty.tsv").write_bytes(b"")
    places = {
        "groups": groups_file, "run": run_directory, "new": tmp_path / "new", "none": tmp_path / "none.tsv",
        "latin": tmp_path / "bad.tsv", "empty": tmp_path / "empty.tsv",
    }  # fmt: skip
    done = call(*(argument.format(**places) for argument in arguments))
    assert done.status == 2
    errors = [line for line in done.err.splitlines() if line.startswith("error: ")]
    assert len(errors) == 1
    assert text in errors[0]
    assert done.err.endswith(f"{errors[0]}\n")
    assert not (tmp_path / "new").exists()
