"""Jobs over files: what is written, what is set aside, and what is computed again."""

import gzip
import importlib.util
import json
import os
import signal
import subprocess
import sys
import time
from dataclasses import fields, replace
from pathlib import Path

import numpy as np
import pytest

from nlptasks import command as script
from nlptasks.applications.seq2seq.decoding import Decoding
from nlptasks.batch import job as jobs
from nlptasks.batch import places, work
from nlptasks.batch.commands import Batch
from nlptasks.batch.job import Job
from nlptasks.batch.pipeline import flags
from nlptasks.batch.rows import FORMS, require_settings
from nlptasks.batch.watched import workers_below
from nlptasks.batch.work import Shards, compute
from nlptasks.errors import UserError
from tests.commands.scripts import call

pytestmark = pytest.mark.once
ROOT = Path(__file__).parents[2]
BEAM = pytest.mark.skipif(
    not importlib.util.find_spec("apache_beam"), reason="apache-beam is not installed (extra `beam`)"
)


class Lengths:
    """An application that gives the characters of a text as its words, and cannot read some texts."""

    task = "word_segmentation"

    def __init__(self):
        self.calls = []

    def predict(self, items, **arguments):
        self.calls.append((list(items), arguments))
        if any("坏" in item for item in items):
            raise ValueError("a text that cannot be read")
        return [list(item) for item in items]


def write(path, lines, pack=False):
    content = "\n".join(lines) + "\n"
    path.write_bytes(gzip.compress(content.encode()) if pack else content.encode())
    return path


def rows(path):
    content = path.read_bytes()
    content = gzip.decompress(content) if path.suffix == ".gz" else content
    return [json.loads(line) for line in content.decode().splitlines()]


def job_of(folder, *files, **settings):
    return Job("segmenter", str(folder / "out"), tuple(places.find(tuple(map(str, files)))), **settings)


@pytest.fixture
def lengths(monkeypatch):
    model = Lengths()
    monkeypatch.setattr(work, "opened", lambda name: model)
    return model


def test_the_reason_of_a_line_names_its_own_file(tmp_path, lengths):
    whole, half = (
        write(tmp_path / "a.jsonl", ['{"text": "天气"}']),
        write(tmp_path / "b.jsonl", ['{"text": "\\ud83d"}']),
    )
    compute(job_of(tmp_path, whole, half), 1, lengths)
    [bad] = rows(tmp_path / "out" / "bad" / "b.jsonl")
    assert str(half) in bad["reason"]


def test_every_line_gives_a_row_or_is_set_aside_with_its_place(tmp_path, lengths):
    lines = [
        '{"id": 7, "text": "天气"}',
        "{broken",
        "",
        '{"text": 5}',
        "[1]",
        '{"text": "坏"}',
        '{"id": 9, "text": "好"}',
    ]
    lines += ["[" * 100_000, json.dumps({"text": "长" * 50}), '{"text": "\\ud83d"}', '{"id": 11, "text": ""}']
    job = job_of(tmp_path, write(tmp_path / "a.jsonl", lines), batch_size=100, max_line=60)
    counts = compute(job, 0, lengths)
    assert rows(tmp_path / "out" / "a.jsonl") == [
        {"line": 1, "id": 7, "words": ["天", "气"]},
        {"line": 7, "id": 9, "words": ["好"]},
        {"line": 11, "id": 11, "words": []},
    ]
    bad = rows(tmp_path / "out" / "bad" / "a.jsonl")
    assert [(row["file"], row["line"]) for row in bad] == [("a.jsonl", n) for n in (2, 4, 5, 6, 8, 9, 10)]
    reasons = ["Expecting property name", "the field text must be a text", "no object of JSON", "cannot be read"]
    reasons += ["the line has more than 60 bytes", "the line has more than 60 bytes", "half of a character"]
    assert [reason in row["reason"] for reason, row in zip(reasons, bad, strict=True)] == [True] * 7
    assert bad[0]["text"] == "{broken"
    assert len(bad[4]["text"]) <= 1000
    assert counts == {"name": "a.jsonl", "rows": 3, "bad": 7, "first": f"line 2: {bad[0]['reason']}"}


def test_bytes_of_another_encoding_are_set_aside_or_read(tmp_path, lengths):
    path = tmp_path / "a.txt"
    path.write_bytes("天气\n".encode() + "你好\n".encode("gb18030"))
    compute(job_of(tmp_path, path), 0, lengths)
    assert rows(tmp_path / "out" / "a.txt") == [{"line": 1, "words": ["天", "气"]}]
    assert "not in the encoding of the file" in rows(tmp_path / "out" / "bad" / "a.txt")[0]["reason"]
    path.write_bytes("你好\n".encode("gb18030"))
    compute(job_of(tmp_path, path, encoding="gb18030"), 0, lengths)
    assert rows(tmp_path / "out" / "a.txt") == [{"line": 1, "words": ["你", "好"]}]


def test_lines_are_computed_in_batches_and_no_more_are_held(tmp_path, lengths):
    path = write(tmp_path / "a.jsonl.gz", [json.dumps({"text": str(i)}) for i in range(25)], pack=True)
    compute(job_of(tmp_path, path, batch_size=10, arguments={"standard": "msr"}), 0, lengths)
    assert [(len(items), given) for items, given in lengths.calls] == [(n, {"standard": "msr"}) for n in (10, 10, 5)]
    assert len(rows(tmp_path / "out" / "a.jsonl.gz")) == 25
    first = (tmp_path / "out" / "a.jsonl.gz").read_bytes()
    compute(job_of(tmp_path, path, batch_size=10), 0, lengths)
    assert (tmp_path / "out" / "a.jsonl.gz").read_bytes() == first  # no time and no name in it


def test_texts_that_are_drawn_differ_from_batch_to_batch_and_not_from_run_to_run(tmp_path, monkeypatch):
    seeds = []

    class Writer:
        task = "conditional_generation"

        def predict(self, items, **arguments):
            seeds.append(arguments["seed"])
            raise ValueError("nothing to write")

    path = write(tmp_path / "a.jsonl", ["{}"] * 4)
    for _ in range(2):
        compute(job_of(tmp_path, path, batch_size=2, arguments={"seed": 5}), 0, Writer())
    assert len(set(seeds)) == 2
    assert seeds[: len(seeds) // 2] == seeds[len(seeds) // 2 :]


def test_a_damaged_file_fails_alone_and_the_same_command_goes_on(tmp_path, lengths):
    good = [write(tmp_path / f"{name}.jsonl.gz", ['{"text": "好"}'], pack=True) for name in "ac"]
    broken = tmp_path / "b.jsonl.gz"
    broken.write_bytes(good[0].read_bytes()[:-9])
    job = job_of(tmp_path, *good, broken)
    assert jobs.begin(job)
    assert jobs.missing(job) == [0, 1, 2]
    for number in (0, 1):
        Shards(job)(number)
    assert not (tmp_path / "out" / "b.jsonl.gz").exists()
    assert not [*(tmp_path / "out" / ".batch" / "half").iterdir()]
    with pytest.raises(UserError, match=r"2 of 3 shards are missing, the first is b.jsonl.gz: .* damaged or"):
        jobs.finish(job)
    (tmp_path / "out" / "c.jsonl.gz").write_bytes(b"of a process that was killed before it said that it was done")
    assert jobs.missing(job) == [1, 2]
    lengths.calls.clear()
    half = tmp_path / "out" / ".batch" / "half" / "b.jsonl.gz.77.ab"  # of a process that was killed
    half.parent.mkdir()
    half.write_bytes(b"half")
    broken.write_bytes(good[0].read_bytes())
    job = job_of(tmp_path, *good, broken)
    assert jobs.begin(job)  # a file that was damaged may be another one now, and one that is computed may not
    with pytest.raises(UserError, match=r"\(other input\)"):
        jobs.begin(replace(job, files=((job.files[0][0], 1), *job.files[1:])))
    for number in jobs.missing(job):
        Shards(job)(number)
    assert not half.exists()
    assert len(lengths.calls) == 2
    summary = jobs.finish(job)
    assert (summary["rows"], summary["bad"], len(summary["shards"])) == (3, 0, 3)
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == [
        "a.jsonl.gz",
        "b.jsonl.gz",
        "batch.json",
        "c.jsonl.gz",
    ]
    assert not jobs.begin(job)
    assert jobs.finish(job) == summary


def test_a_folder_of_another_job_is_refused(tmp_path, lengths):
    path = write(tmp_path / "a.jsonl", ['{"text": "好"}'])
    jobs.begin(job_of(tmp_path, path))
    with pytest.raises(UserError, match=r"results of another job \(other batch_size\); give another output"):
        jobs.begin(job_of(tmp_path, path, batch_size=3))
    again = jobs.alone(job_of(tmp_path, path))
    with jobs.alone(job_of(tmp_path, path)), pytest.raises(UserError, match="another command is at work"):
        again.__enter__()
    (tmp_path / "other").mkdir()
    write(tmp_path / "other" / "mine.txt", ["x"])
    with pytest.raises(UserError, match=r"holds mine\.txt already"):
        jobs.begin(Job("segmenter", str(tmp_path / "other"), job_of(tmp_path, path).files))


def test_a_job_without_a_single_row_has_failed(tmp_path, lengths):
    job = job_of(tmp_path, write(tmp_path / "a.jsonl", ['{"txt": "好"}'] * 2))
    jobs.begin(job)
    Shards(job)(0)
    with pytest.raises(UserError, match="not one of 2 lines could be computed, the first: line 1: the field text is"):
        jobs.finish(job)


@pytest.mark.parametrize(
    ("task", "row", "message"),
    [
        ("text_classification", {"text": " "}, "the text is empty"),
        ("reading_comprehension", {"question": "谁？"}, "the field passages is missing"),
        ("reading_comprehension", {"question": "谁？", "passages": [""]}, "every passage must be a text"),
        ("reading_comprehension", {"question": "", "passages": ["好"]}, "there must be a question"),
        ("conditional_generation", {"condition": "good"}, "an object of labels or a list of numbers"),
    ],
)
def test_what_a_line_lacks_is_said(task, row, message):
    with pytest.raises(ValueError, match=message):
        FORMS[task].item(row)


def test_results_are_rows_with_rounded_numbers():
    from nlptasks.applications.written import GeneratedText

    assert FORMS["conditional_generation"].answer(GeneratedText("好", -1.23456789, 2, True)) == {
        "written": "好",
        "log_probability": -1.234568,
        "num_tokens": 2,
        "complete": True,
    }
    vector = FORMS["sentence_similarity"].answer(np.array([1 / 3, 0.5], "float32"))
    assert vector == {"vector": [0.3333333, 0.5]}
    with pytest.raises(UserError, match=r"this application takes standard\. Received: standards"):
        require_settings("word_segmentation", {"standards": "msr"})
    with pytest.raises(UserError, match=r"this application takes top\. Received: beam"):
        require_settings(None, {"beam": 2})


def test_a_writer_of_texts_takes_every_option_of_writing():
    assert {*FORMS["sequence_to_sequence"].settings, "count"} == {field.name for field in fields(Decoding)}


def test_inputs_are_found_and_named(tmp_path):
    for folder in "ab":
        (tmp_path / folder).mkdir()
        write(tmp_path / folder / "part-1.jsonl", ["{}"])
    assert [size for _, size in places.find((f"{tmp_path}/*/part-*",))] == [3, 3]
    with pytest.raises(UserError, match="no file fits; quote a pattern in a shell"):
        places.find((f"{tmp_path}/part-*",))
    with pytest.raises(UserError, match=r"the results of .*b/part-1.jsonl and of .*a/part-1.jsonl would have the same"):
        jobs.require_names(places.find((f"{tmp_path}/*/part-*",)))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"workers": 0}, "workers must be at least 1"),
        ({"arguments": "[1]"}, "arguments takes an object of JSON"),
        ({"runner": "SparkRunner", "workers": 2}, "workers is for the local runner"),
        ({"input": ()}, "input takes at least one file"),
        ({"encoding": "utf-16"}, "encoding must be an encoding that contains ASCII"),
    ],
)
def test_options_that_cannot_be_are_refused(changes, message):
    with pytest.raises(UserError, match=message):
        Batch(**({"model": "segmenter", "input": ("a",), "output": "out"} | changes))


def test_a_model_that_is_not_there_is_refused(tmp_path):
    write(tmp_path / "a.jsonl", ["{}"])
    with pytest.raises(UserError, match="model nowhere is no directory"):
        Batch(model="nowhere", input=(f"{tmp_path}/*",), output="out").job()


def test_runners_get_their_options():
    assert flags("local", 2, [])[1:] == ["--direct_running_mode=multi_processing", "--direct_num_workers=2"]
    assert flags("SparkRunner", 1, ["spark_version=3", "--spark_submit_uber_jar"]) == [
        "--runner=SparkRunner",
        "--spark_version=3",
        "--spark_submit_uber_jar",
    ]


def test_beam_that_is_not_installed_is_told(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "apache_beam", None)
    done = call(script, "batch", "--model", "segmenter", "--input", "a", "--output", tmp_path / "out")
    assert done.status == 2
    assert 'apache-beam is not installed, and this needs it: pip install "apache-beam>=2.60"' in done.err


# With Beam


@BEAM
@pytest.mark.parametrize(
    ("runner", "given", "view", "values"),
    [
        (
            "FlinkRunner",
            ["flink_master=host:8081", "parallelism=16"],
            "FlinkRunnerOptions",
            {"flink_master": "host:8081"},
        ),
        (
            "SparkRunner",
            ["spark_master_url=spark://h:7077"],
            "SparkRunnerOptions",
            {"spark_master_url": "spark://h:7077"},
        ),
        (
            "DataflowRunner",
            ["project=p", "region=europe-west1", "temp_location=gs://b/tmp", "sdk_container_image=image"],
            "GoogleCloudOptions",
            {"project": "p", "region": "europe-west1", "temp_location": "gs://b/tmp"},
        ),
        ("PortableRunner", ["job_endpoint=h:8099"], "PortableOptions", {"job_endpoint": "h:8099"}),
        ("local", [], "DirectOptions", {"direct_num_workers": 3, "direct_running_mode": "multi_processing"}),
    ],
)
def test_pipelines_of_all_runners_are_made_of_the_same_steps(tmp_path, runner, given, view, values):
    import apache_beam as beam
    from apache_beam.options import pipeline_options

    from nlptasks.batch import pipeline as made

    job = job_of(tmp_path, write(tmp_path / "a.jsonl", ["{}"]))
    words = flags(runner, 3, given)
    seen = pipeline_options.PipelineOptions(words).view_as(getattr(pipeline_options, view))
    assert {name: getattr(seen, name) for name in values} == values
    steps = beam.Pipeline(options=pipeline_options.PipelineOptions())
    made.steps(steps, job, [0])
    names = {one.unique_name for one in steps.to_runner_api().components.transforms.values()}
    assert {"Shards", "Spread", "Compute"} <= names


def command_of(tmp_path, output, workers):
    words = ["--model", "segmenter", "--input", f"{tmp_path}/part-*.jsonl.gz", "--output", str(output), "--json"]
    return [sys.executable, "-m", "nlptasks", "batch", *words, "--workers", str(workers)]


@BEAM
def test_a_killed_worker_ends_the_job_and_the_same_command_does_the_rest(tmp_path):
    for number in range(4):
        lines = [json.dumps({"text": f"今天天气很好，{number}和{line}"}, ensure_ascii=False) for line in range(1500)]
        write(tmp_path / f"part-{number}.jsonl.gz", lines, pack=True)
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    output, words = tmp_path / "out", {"env": environment, "text": True}
    with subprocess.Popen(command_of(tmp_path, output, 2), stderr=subprocess.PIPE, **words) as process:
        while not [*output.glob("part-*")]:
            assert process.poll() is None
            time.sleep(0.01)
        os.kill(min(workers_below(process.pid)), signal.SIGKILL)
        started = time.monotonic()
        said = process.communicate(timeout=60)[1]
        assert time.monotonic() - started < 60
    there = len([*output.glob("part-*")])
    if process.returncode:  # else the worker had nothing left to do
        assert process.returncode == 2
        assert "a worker died" in said
    assert not (output / "batch.json").exists() or there == 4
    again = subprocess.run(command_of(tmp_path, output, 1), stdout=subprocess.PIPE, check=True, **words)
    assert json.loads(again.stdout) == {"rows": 6000, "bad": 0, "shards": 4, "computed": 4 - there}
    expected = job_of(tmp_path, tmp_path / "part-2.jsonl.gz")
    expected = Job(**(vars(expected) | {"output": str(tmp_path / "direct")}))
    compute(expected, 0, work.opened("segmenter"))
    assert (output / "part-2.jsonl.gz").read_bytes() == (tmp_path / "direct" / "part-2.jsonl.gz").read_bytes()
