"""A folder of shards is the same whoever makes it, goes on after a stop, and refuses what does not fit."""

import filecmp
import importlib.util
import json
import os
import shutil
import signal
import subprocess
import sys
import time

import pytest

from nlptasks.files import write_text
from nlptasks.pretraining.corpus import CorpusFormat, read_documents
from nlptasks.pretraining.making import PLAN_FILE, ShardMaker, ShardOptions, open_tokenizer
from nlptasks.pretraining.packing import COUNTS, Packer
from nlptasks.pretraining.shards import META_FILE, ShardSet, read_meta
from nlptasks.pretraining.words import JiebaWords
from nlptasks.text import save_vocab
from tests.commands.scripts import ROOT, call, load_script
from tests.pretraining.corpora import make_documents, small_tokenizer

SHARDS = load_script("make_shards", "pretraining")
VOCAB = load_script("train_vocab", "pretraining")


@pytest.fixture(scope="module")
def corpus(tmp_path_factory):
    """A folder with a vocabulary, a file that makes several shards, and two small ones."""
    folder = tmp_path_factory.mktemp("corpus")
    save_vocab(small_tokenizer().vocab, folder / "vocab.txt")
    for name, count, seed in (("a", 120, 1), ("b", 5, 2), ("c", 6, 3)):
        write_text(folder / f"{name}.txt", "\n".join(make_documents(count, seed)) + "\n")
    return folder


@pytest.fixture(scope="module")
def texts(corpus):
    """The corpus without the vocabulary, which ends in .txt too."""
    folder = corpus / "texts"
    folder.mkdir()
    for name in "abc":
        (folder / f"{name}.txt").write_bytes((corpus / f"{name}.txt").read_bytes())
    return folder


@pytest.fixture(scope="module")
def made(corpus, texts):
    """Shards by one process, and what was printed."""
    result = run(corpus, texts, corpus / "made", "--processes", 1, "--json")
    assert result.status == 0, result.err
    return corpus / "made", result


def run(corpus, texts, output, *more):
    words = ["--input", texts / "*.txt", "--vocab", corpus / "vocab.txt", "--output", output, "--seq-length", 31]
    return call(SHARDS, *words, "--shard-megabytes", 0.006, *more)


def files_of(folder):
    return sorted(path.name for path in folder.iterdir())


def assert_same_folder(found, expected):
    assert files_of(found) == files_of(expected)
    assert filecmp.cmpfiles(found, expected, files_of(expected), shallow=False)[0] == files_of(expected)


def test_the_folder_holds_every_row_of_the_corpus(made, texts):
    folder, result = made
    shards = ShardSet(folder, check_digests=True)
    assert len(shards.shards) > 5
    packer, rows = Packer(open_tokenizer(folder), JiebaWords(), 31), []
    maker = ShardMaker([texts / "*.txt"], open_tokenizer(folder), folder, ShardOptions(shard_bytes=6000))
    for unit in maker.units:
        rows += list(packer.records(read_documents(unit, CorpusFormat())))
    assert len(rows) == len(shards)
    for number in (0, 1, len(rows) // 2, len(rows) - 1):
        assert bytes(rows[number][1:3]) == shards[number].token_ids[:1].astype("<u2").tobytes()
        assert len(rows[number]) == 1 + 3 * len(shards[number].token_ids)
    meta = json.loads((folder / META_FILE).read_text())
    assert meta["counts"]["documents"] == 131
    assert meta["counts"]["rows"] == len(rows) == sum(shard["rows"] for shard in meta["shards"])
    assert meta["counts"]["tokens"] == sum(len(shards[i].token_ids) - 2 for i in range(len(shards)))
    assert meta["options"]["segmenter"] == "jieba"
    assert meta["seq_length"] == 31
    printed = json.loads(result.out.splitlines()[-1])
    assert {name: printed[name] for name in COUNTS} == meta["counts"]
    assert printed["unknown_rate"] == meta["counts"]["unknown_tokens"] / meta["counts"]["tokens"]
    assert files_of(folder) == sorted(
        [META_FILE, PLAN_FILE, "tokenizer_config.json", "vocab.txt", *(shard["name"] for shard in meta["shards"])]
    )


def test_any_number_of_processes_writes_the_same_bytes(made, corpus, texts, tmp_path):
    command = [sys.executable, ROOT / "pretraining" / "make_shards.py"]
    words = ["--input", texts / "*.txt", "--vocab", corpus / "vocab.txt", "--output", tmp_path / "out"]
    words += ["--seq-length", 31, "--shard-megabytes", 0.006, "--processes", 2]
    done = subprocess.run(
        [str(word) for word in (*command, *words)], capture_output=True, encoding="utf-8", check=False
    )
    assert done.returncode == 0, done.stderr
    assert "rows " in done.stdout
    assert "unknown)" in done.stdout
    assert_same_folder(tmp_path / "out", made[0])


STOPPED = """
import contextlib, os, signal, sys
from nlptasks.command import main
from nlptasks.pretraining.commands import shards

whole = shards.run_all

def run_all(*arguments):
    with contextlib.closing(whole(*arguments)) as results:
        for number, result in enumerate(results, 1):
            yield result
            if number == 2:
                sent = int(sys.argv[1])
                os.killpg(0, sent) if sent == signal.SIGINT else os.kill(os.getpid(), sent)

if __name__ == "__main__":
    shards.run_all = run_all
    signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's background jobs ignore it
    sys.exit(main(["pretraining", "shards", *sys.argv[2:]]))
"""
"""the command, which a signal stops when two shards are finished and two processes are at the next ones"""


@pytest.fixture(scope="module")
def made_without_words(corpus, texts):
    assert run(corpus, texts, corpus / "plain", "--processes", 1, "--segmenter", "none").status == 0
    return corpus / "plain"


@pytest.mark.parametrize("sent", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_a_run_that_is_stopped_goes_on_with_what_is_missing(sent, made_without_words, corpus, texts, tmp_path):
    out, path = tmp_path / "out", tmp_path / "stopped.py"
    write_text(path, STOPPED)
    command = [sys.executable, path, int(sent), "--input", texts / "*.txt", "--output", out, "--segmenter", "none"]
    command += ["--vocab", corpus / "vocab.txt", "--seq-length", 31, "--shard-megabytes", 0.006, "--processes", 2]
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    process = subprocess.Popen(
        [str(word) for word in command],
        stderr=subprocess.PIPE,
        encoding="utf-8",
        start_new_session=True,
        env=environment,
    )
    _, err = process.communicate(timeout=120)
    assert not (out / META_FILE).exists()
    if sent != signal.SIGKILL:
        assert process.returncode == 130
        assert "shards are finished; the same command goes on." in err
        assert "Traceback" not in err
        assert list(out.glob(".shard*")) == []
    kept = {
        path: path.stat().st_mtime_ns for path in out.glob("shard-*") if (out / f".parts/{path.stem}.json").exists()
    }
    assert 2 <= len(kept) < len(read_meta(made_without_words)["shards"])
    (out / ".shard-00003.0123abcd.arrayrecord").write_bytes(b"left by a process that was killed")
    time.sleep(0.5 if sent == signal.SIGKILL else 0)  # its workers notice
    result = run(corpus, texts, out, "--processes", 1, "--segmenter", "none")
    assert result.status == 0, result.err
    assert "shards are there already" in result.err
    assert {path: path.stat().st_mtime_ns for path in kept} == kept
    assert_same_folder(out, made_without_words)


def test_a_finished_folder_is_left_as_it_is_and_a_lost_shard_is_made_again(made, corpus, texts, tmp_path):
    out = tmp_path / "out"
    shutil.copytree(made[0], out)
    before = {path: path.stat().st_mtime_ns for path in out.glob("shard-*")}
    assert json.loads(run(corpus, texts, out, "--json").out)["shards_made"] == 0
    lost = out / "shard-00002.arrayrecord"
    lost.unlink()
    with pytest.raises(
        ValueError, match=r"shard-00002\.arrayrecord: unreadable shard .*same `nlptasks pretraining shards` again"
    ):
        ShardSet(out)
    assert json.loads(run(corpus, texts, out, "--processes", 1, "--json").out)["shards_made"] == 1
    assert_same_folder(out, made[0])
    assert [path for path in before if path.stat().st_mtime_ns != before[path]] == [lost]


def test_shards_are_written_over_nothing_else(corpus, texts, tmp_path):
    """A model's vocabulary, say; `--overwrite` replaces shards alone."""
    (tmp_path / "vocab.txt").write_text("[PAD]")
    for more in ((), ("--overwrite",)):
        result = run(corpus, texts, tmp_path, *more)
        assert result.status == 2
        assert "holds vocab.txt already; a new run goes into a new or empty folder" in result.err
    assert [(path.name, path.read_text()) for path in tmp_path.iterdir()] == [("vocab.txt", "[PAD]")]


def test_other_settings_over_a_folder_are_refused_unless_it_shall_be_replaced(made, corpus, texts, tmp_path):
    out = tmp_path / "out"
    shutil.copytree(made[0], out)
    result = run(corpus, texts, out, "--segmenter", "none", "--isolate-documents")
    assert result.status == 2
    assert (
        "holds shards made with other settings (segmenter jieba instead of none, isolate_documents False instead of "
        "True); give another --output, or --overwrite" in result.err
    )
    assert ShardSet(out).isolate_documents is False
    result = run(corpus, texts, out, "--segmenter", "none", "--isolate-documents", "--overwrite", "--processes", 1)
    assert result.status == 0
    assert ShardSet(out, check_digests=True).isolate_documents is True


def test_another_corpus_or_vocabulary_over_a_folder_is_refused(corpus, texts, tmp_path):
    out, options = tmp_path / "out", ShardOptions(seq_length=31, segmenter="none")
    write_text(tmp_path / "a.txt", "文字。\n")
    ShardMaker([tmp_path / "a.txt"], small_tokenizer(), out, options).start()
    write_text(tmp_path / "a.txt", "文字文字。\n")
    with pytest.raises(ValueError, match=r"made with other settings \(other names or sizes of corpus files\)"):
        ShardMaker([tmp_path / "a.txt"], small_tokenizer(), out, options).start()
    write_text(tmp_path / "a.txt", "文字。\n")
    with pytest.raises(ValueError, match=r"\(vocab_fingerprint \w{12} instead of \w{12}, lowercase True instead of F"):
        ShardMaker([tmp_path / "a.txt"], small_tokenizer(lowercase=False), out, options).start()


def test_another_dictionary_over_a_folder_is_refused(texts, tmp_path):
    write_text(tmp_path / "words.txt", "天气\n")
    options = ShardOptions(seq_length=31, segmenter="fcn", user_dict=str(tmp_path / "words.txt"))
    for _ in range(2):
        ShardMaker([texts / "*.txt"], small_tokenizer(), tmp_path / "out", options).start()
    write_text(tmp_path / "words.txt", "气温\n")
    for other in (options, ShardOptions(seq_length=31, segmenter="fcn")):
        with pytest.raises(ValueError, match=r"made with other settings \(user_dict \w"):
            ShardMaker([texts / "*.txt"], small_tokenizer(), tmp_path / "out", other).start()
    write_text(tmp_path / "b.txt", "文字。\n")
    ShardMaker([tmp_path / "b.txt"], small_tokenizer(), tmp_path / "b", ShardOptions(encoding="gb18030")).start()
    with pytest.raises(ValueError, match=r"\(encoding gb18030 instead of None\)"):
        ShardMaker([tmp_path / "b.txt"], small_tokenizer(), tmp_path / "b", ShardOptions()).start()
    with pytest.raises(ValueError, match=r"user_dict goes with segmenter fcn\. Received: jieba\."):
        ShardOptions(user_dict="words.txt")


def test_shards_are_not_finished_while_one_is_missing(texts, tmp_path):
    options = ShardOptions(seq_length=31, segmenter="none", shard_bytes=6000)
    maker = ShardMaker([texts / "*.txt"], small_tokenizer(), tmp_path / "out", options)
    for number in maker.start()[1:]:
        maker(number)
    with pytest.raises(
        ValueError, match=r"1 of \d+ shards are missing, the first is shard-00000\.arrayrecord; run the"
    ):
        maker.finish()
    assert maker.start() == [0]
    maker(0)
    assert maker.finish()["counts"]["documents"] == 131


def test_progress_tells_every_token_once(texts, tmp_path):
    options = ShardOptions(seq_length=8, segmenter="none", shard_bytes=6000)
    maker, told = ShardMaker([texts / "*.txt"], small_tokenizer(), tmp_path / "out", options), []
    for number in maker.start():
        maker(number, told.append)
    assert sum(told) == maker.finish()["counts"]["tokens"]
    assert len(told) > len(maker.units)


def test_an_error_in_a_worker_is_one_line_and_leaves_no_file(corpus, tmp_path):
    for name in "ab":
        write_text(tmp_path / f"{name}.jsonl", '{"text": "一。"}\n{"title": "二"}\n')
    words = ["--input", tmp_path / "*.jsonl", "--vocab", corpus / "vocab.txt", "--output", tmp_path / "out"]
    for processes in (1, 2):
        result = call(SHARDS, *words, "--shard-megabytes", 0.00004, "--processes", processes, "--segmenter", "none")
        assert result.status == 2
        assert ".jsonl:2: expected an object with a string at 'text'. Received: the keys 'title'; name" in result.err
        assert "Traceback" not in result.err
        assert list((tmp_path / "out").glob("*shard*")) == []
        assert not (tmp_path / "out" / META_FILE).exists()


def test_a_corpus_of_blank_lines_is_empty(corpus, tmp_path):
    write_text(tmp_path / "a.txt", "\n  \n\u3000\n")
    words = ["--input", tmp_path / "a.txt", "--vocab", corpus / "vocab.txt", "--output", tmp_path / "out"]
    result = call(SHARDS, *words, "--processes", 1, "--segmenter", "none")
    assert result.status == 2
    assert "the corpus is empty: 1 files with no text" in result.err


@pytest.mark.parametrize(
    ("more", "message"),
    [
        (["--seq-length", 7], "--seq-length must be at least 8: a row is [CLS], text and [SEP]. Received: 7."),
        (["--segmenter", "ltp"], "--segmenter must be one of jieba, fcn, none. Received: 'ltp'."),
        (["--processes", 0], "--processes must be at least 1. Received: 0."),
        (["--shard-megabytes", 0], "--shard-megabytes must be positive. Received: 0.0."),
        (["--documents", "page"], "--documents must be one of line, blank-line. Received: 'page'."),
        (["--input", "nothing/*.txt"], "nothing/*.txt: no file matches"),
        (["--vocab", "nothing.txt"], "nothing.txt: no such file"),
    ],
)
def test_bad_options_are_one_line_and_make_no_folder(more, message, corpus, texts, tmp_path):
    result = run(corpus, texts, tmp_path / "out", *more)
    assert result.status == 2
    assert message in result.err
    assert len(result.err.strip().splitlines()) == 1
    assert not (tmp_path / "out").exists()


def test_a_vocabulary_without_special_tokens_names_all_that_are_missing(corpus, texts, tmp_path):
    write_text(tmp_path / "vocab.txt", "[PAD]\n[UNK]\n[SEP]\n山\n")
    result = run(corpus, texts, tmp_path / "out", "--vocab", tmp_path / "vocab.txt")
    assert result.status == 2
    assert "vocab.txt: a vocabulary for pretraining needs [CLS], [MASK], which it lacks among 4 tokens" in result.err


def test_a_folder_as_vocabulary_decides_about_case(tmp_path):
    small_tokenizer(lowercase=False).save(tmp_path)
    assert open_tokenizer(tmp_path).lowercase is False
    assert open_tokenizer(tmp_path / "vocab.txt").lowercase is True


def test_a_killed_worker_is_told(corpus, tmp_path):
    code = (
        "import os, sys\nfrom nlptasks.pretraining.workers import run_all\n"
        "from tests.pretraining.test_making import die\n"
        "if __name__ == '__main__':\n"
        "    try:\n        list(run_all(die, [1, 2, 3], 2, print))\n"
        "    except ChildProcessError as error:\n        print(error)\n"
    )
    path = tmp_path / "script.py"
    write_text(path, code)
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    done = subprocess.run([sys.executable, path], capture_output=True, encoding="utf-8", check=False, env=environment)
    assert "a worker process died at item" in done.stdout, done.stderr
    assert "with fewer processes: it goes on with what is missing" in done.stdout


def die(item, report):
    os.kill(os.getpid(), signal.SIGKILL)


@pytest.mark.skipif(not importlib.util.find_spec("apache_beam"), reason="apache-beam is not installed (extra `beam`)")
def test_beam_writes_the_same_bytes(made, corpus, texts, tmp_path):
    command = [sys.executable, ROOT / "pretraining" / "make_shards.py", "--input", texts / "*.txt"]
    command += ["--vocab", corpus / "vocab.txt", "--output", tmp_path / "out", "--seq-length", 31]
    command += ["--shard-megabytes", 0.006, "--runner", "DirectRunner", "--beam-option", "direct_num_workers=2"]
    done = subprocess.run([str(word) for word in command], capture_output=True, encoding="utf-8", check=False)
    assert done.returncode == 0, done.stderr
    assert_same_folder(tmp_path / "out", made[0])


def test_beam_that_is_not_installed_is_told(corpus, texts, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "apache_beam", None)
    result = run(corpus, texts, tmp_path / "out", "--runner", "DirectRunner")
    assert result.status == 2
    assert result.err == 'error: apache-beam is not installed, and this needs it: pip install "apache-beam>=2.60".\n'
    assert not (tmp_path / "out").exists()


def test_making_shards_imports_no_keras():
    code = (
        "import sys\nfrom nlptasks.pretraining import making, vocabulary, workers\n"
        "from nlptasks.pretraining.words import make_word_cutter\nmake_word_cutter('fcn')('今天天气很好。')\n"
        "print({'keras', 'tensorflow', 'jax', 'torch'} & set(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, encoding="utf-8", check=False, cwd=ROOT)
    assert done.stdout == "set()\n", done.stderr


def test_grain_reads_a_set_in_processes_of_its_own(made):
    code = (
        "import sys, grain\nfrom nlptasks.pretraining.shards import ShardSet\n"
        "if __name__ == '__main__':\n"
        "    shards = ShardSet(sys.argv[1])\n"
        "    data = grain.MapDataset.source(shards).shuffle(seed=3)\n"
        "    print(sorted(row.token_ids.tolist() for row in data.to_iter_dataset())"
        " == sorted(shards[i].token_ids.tolist() for i in range(len(shards))))\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, made[0]], capture_output=True, encoding="utf-8", check=False, cwd=ROOT
    )
    assert done.stdout == "True\n", done.stderr


def test_a_failed_making_stands_in_nobodys_way(corpus, tmp_path):
    good, bad = tmp_path / "a.jsonl", tmp_path / "b.jsonl"
    documents = make_documents(9, 1)
    write_text(good, "".join(json.dumps({"text": text}) + "\n" for text in documents))
    write_text(bad, "".join(json.dumps({"words": text}) + "\n" for text in documents))

    def make(inputs, output, *more):
        words = ["--input", *inputs, "--vocab", corpus / "vocab.txt", "--output", tmp_path / output]
        return call(SHARDS, *words, "--seq-length", 31, "--segmenter", "none", "--processes", 1, *more)

    failed = make([bad], "out")
    assert failed.status == 2
    assert "b.jsonl:1: expected an object with a string at 'text'" in failed.err
    assert not (tmp_path / "out").exists()  # it was made for this
    assert make([bad], "out", "--field", "words").status == 0

    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / ".hidden").write_text("x", encoding="utf-8")
    assert make([bad], "mine").status == 2
    assert [path.name for path in (tmp_path / "mine").iterdir()] == [".hidden"]

    more = ("--shard-megabytes", 0.0001)
    assert make([good, bad], "both", *more).status == 2
    assert (tmp_path / "both" / PLAN_FILE).is_file()  # some shards are finished, and the same command goes on
    write_text(bad, good.read_text(encoding="utf-8"))
    assert make([good, bad], "both", *more).status == 0  # another size of the corrected file
    refused = make([good], "both", *more)
    assert refused.status == 2
    assert "made with other settings" in refused.err  # what was finished is not thrown away
