"""Making pretraining data beside bert4keras' `pretraining/data_utils.py`, in one process each, on the same documents.

    python benchmarks/pretraining_data.py --bert4keras ENVIRONMENT/bin/python --output benchmarks/pretraining_data.md

ENVIRONMENT: see tests/golden/make_bert4keras_golden.py, and jieba beside it. The package of bert4keras does not hold
its pretraining folder; what that pipeline does is written here anew on its tokenizer: sentences, `jieba.lcut`, each
word through `Tokenizer.tokenize`, masks, packing, padding, `tf.train.Example`, a TFRecord file; and all of it ten
times, which is how it is meant to be run. Imports and dictionaries are not counted. Times are processor seconds of the
process with its threads, so that what else the machine does matters little; sides take turns. NLPTASKS_DATA names the
folder of public data sets.
"""

import argparse
import contextlib
import gzip
import itertools
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).parents[1]
SEQ_LENGTH, COPIES = 512, 10
PARTS = ("jieba", "tokenizer", "packing", "writing")


def corpus(folder: Path, characters: int) -> list[str]:
    """Documents of all files in turn, so many characters together."""
    documents, size = [], 0
    with contextlib.ExitStack() as stack:
        paths = sorted(folder.glob("*.jsonl.gz"))
        files = [stack.enter_context(gzip.open(path, "rt", encoding="utf-8")) for path in paths]
        for lines in zip(*files, strict=False):
            for line in lines:
                documents.append(json.loads(line)["text"][:3000])
                size += len(documents[-1])
            if size >= characters:
                return documents
    raise ValueError(f"{folder}: fewer than {characters} characters.")


def bert4keras(task: dict) -> dict:
    """bert4keras' pipeline: seconds of a pass, and of its parts."""
    import jieba
    import numpy as np
    import tensorflow as tf
    from bert4keras.tokenizers import Tokenizer

    tokenizer = Tokenizer(task["vocab"], do_lower_case=True)
    jieba.setLogLevel(60)
    jieba.initialize()
    random = np.random.default_rng(1)
    room, spent, tokens = SEQ_LENGTH - 2, dict.fromkeys(PARTS, 0.0), 0

    def draw(token_id: int) -> int:
        chance = random.random()
        if chance <= 0.8:
            return tokenizer._token_mask_id
        return token_id if chance <= 0.9 else random.integers(0, tokenizer._vocab_size)

    def process(sentence: str) -> tuple[list[int], list[int]]:
        start = time.process_time()
        words = jieba.lcut(sentence)
        middle = time.process_time()
        ids, masks = [], []
        for chance, word in zip(random.random(len(words)), words):  # noqa: B905 as in that Python
            word_ids = tokenizer.tokens_to_ids(tokenizer.tokenize(word)[1:-1])
            ids.extend(word_ids)
            masks.extend([draw(i) + 1 for i in word_ids] if chance < 0.15 else [0] * len(word_ids))
        spent["jieba"] += middle - start
        spent["tokenizer"] += time.process_time() - middle
        return ids[:room], masks[:room]

    def rows(sentences: list[str]):
        row: tuple[list[int], list[int]] = ([tokenizer._token_start_id], [0])
        for sentence in sentences:
            ids, masks = process(sentence)
            if len(row[0]) + len(ids) > SEQ_LENGTH - 1:
                yield row
                row = ([tokenizer._token_start_id], [0])
            row[0].extend(ids)
            row[1].extend(masks)
        yield row

    def write(writer, row) -> int:
        start = time.process_time()
        features = {}
        for name, values, end in (("token_ids", row[0], tokenizer._token_end_id), ("mask_ids", row[1], 0)):
            padded = [*values, end] + [0] * (SEQ_LENGTH - len(values) - 1)
            features[name] = tf.train.Feature(int64_list=tf.train.Int64List(value=padded))
        writer.write(tf.train.Example(features=tf.train.Features(feature=features)).SerializeToString())
        spent["writing"] += time.process_time() - start
        return len(row[0]) - 1

    sentences = [split_plainly(document) for document in task["documents"]]
    start = time.process_time()
    for copy in range(task["copies"]):
        with tf.io.TFRecordWriter(f"{task['output']}.{copy}") as writer:
            for at in range(0, len(sentences), 10):
                for row in rows([part for document in sentences[at : at + 10] for part in document]):
                    tokens += write(writer, row)
    seconds = time.process_time() - start
    spent["packing"] = seconds - sum(spent.values())
    return {"seconds": seconds, "tokens": tokens / task["copies"], "parts": spent}


def split_plainly(text: str) -> list[str]:
    """Sentences, each with the mark that ends it."""
    for mark in "。！？!?…":
        text = text.replace(mark, mark + "\n")
    return [part for part in text.split("\n") if part.strip()]


def ours(task: dict) -> dict:
    """This library's pipeline."""
    from nlptasks.pretraining import packing
    from nlptasks.pretraining.making import open_tokenizer
    from nlptasks.pretraining.shards import write_shard
    from nlptasks.pretraining.words import make_word_cutter

    packer = packing.Packer(open_tokenizer(task["vocab"]), make_word_cutter(task["segmenter"]), SEQ_LENGTH)
    list(packer.records(task["documents"][:200]))
    spent = dict.fromkeys(PARTS, 0.0)

    def timed(name: str, function):
        def call(*given):
            start = time.process_time()
            try:
                return function(*given)
            finally:
                spent[name] += time.process_time() - start

        return call

    packer._cut_words = timed("jieba", packer._cut_words)
    packer._encode = timed("tokenizer", packer._encode)

    def records():
        iterator = packer.records(task["documents"])
        following = timed("packing", lambda: next(iterator, None))
        while (record := following()) is not None:
            yield record

    start = time.process_time()
    write_shard(task["output"], records())
    seconds = time.process_time() - start
    spent["writing"] = seconds - spent["packing"]
    spent["packing"] -= spent["jieba"] + spent["tokenizer"]
    return {"seconds": seconds, "tokens": packer.counts["tokens"], "parts": spent}


def run(side: str, python: str, task: dict, folder: Path) -> dict:
    """What a side measures, in a process of its own."""
    path = folder / "task.json"
    path.write_text(json.dumps(task), encoding="utf-8")
    environment = os.environ | {"TF_KERAS": "1", "TF_CPP_MIN_LOG_LEVEL": "3", "TOKENIZERS_PARALLELISM": "false"}
    if side != "bert4keras":
        environment["PYTHONPATH"] = str(ROOT)
    done = subprocess.run(
        [python, __file__, "--side", side, "--task", path], env=environment, stdout=subprocess.PIPE, check=True
    )
    return json.loads(done.stdout.splitlines()[-1])


def report(results: dict[str, list[dict]], options: argparse.Namespace, documents: list[str]) -> list[str]:
    """The page."""
    from record import surroundings

    one = results["bert4keras, one pass"]
    lines = [
        "# Making pretraining data, beside bert4keras",
        "",
        f"`python benchmarks/pretraining_data.py --bert4keras ENVIRONMENT/bin/python --characters {options.characters} "
        f"--repeats {options.repeats} --output benchmarks/pretraining_data.md`",
        "",
        f"{surroundings('numpy', 'tokenizers', 'jieba', 'array_record')}. One process on one core each, load average "
        f"{os.getloadavg()[0]:.1f} at the end; medians of {options.repeats} rounds in which the sides take turns. "
        f"{len(documents):,} documents, {sum(map(len, documents)):,} characters of `$NLPTASKS_DATA/text`, rows of "
        f"{SEQ_LENGTH} tokens.",
        "",
        "| pipeline | processor seconds | tokens | tokens/s | as fast as one pass | as the ten copies |",
        "|---|---|---|---|---|---|",
    ]
    ten = results["bert4keras, ten copies"]
    for name, runs in results.items():
        seconds = statistics.median(result["seconds"] for result in runs)
        tokens = runs[0]["tokens"]
        copies = COPIES if runs is ten else 1
        ratios = [
            statistics.median(other["seconds"] / result["seconds"] for other, result in zip(others, runs, strict=False))
            for others in (one, ten)
        ]
        lines.append(
            f"| {name} | {seconds:.2f} | {tokens:,.0f} | {tokens * copies / seconds:,.0f} | {ratios[0]:.2f} | "
            f"{ratios[1]:.1f} |"
        )
    lines += [
        "",
        "Where the time goes, percent:",
        "",
        "| pipeline | words | tokens | packing | writing |",
        "|---|---|---|---|---|",
    ]
    for name, runs in results.items():
        shares = [statistics.median(result["parts"][part] / result["seconds"] for result in runs) for part in PARTS]
        lines.append(f"| {name} | " + " | ".join(f"{share:.0%}".rstrip("%") for share in shares) + " |")
    lines += [
        "",
        "Ten copies hold one corpus under ten draws of masks; shards hold it once, masks are drawn when a row is read.",
        "The numbers of tokens differ: bert4keras drops what a sentence has beyond a row, and encodes word by word.",
        "",
    ]
    return lines


def main() -> None:
    """Runs both sides and writes the page."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--bert4keras", help="a Python with bert4keras 0.11.5, TensorFlow 2.12 and jieba")
    parser.add_argument("--characters", type=int, default=600_000)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--output", type=Path)
    parser.add_argument("--side", help=argparse.SUPPRESS)
    parser.add_argument("--task", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.side:
        task = json.loads(options.task.read_text(encoding="utf-8"))
        print(json.dumps(bert4keras(task) if options.side == "bert4keras" else ours(task)))
        return
    data = Path(os.environ["NLPTASKS_DATA"])
    documents = corpus(data / "text", options.characters)
    sides = {
        "bert4keras, one pass": ("bert4keras", options.bert4keras, {"copies": 1}),
        "nlptasks, jieba": ("nlptasks", sys.executable, {"segmenter": "jieba"}),
        "nlptasks, fcn": ("nlptasks", sys.executable, {"segmenter": "fcn"}),
        "bert4keras, ten copies": ("bert4keras", options.bert4keras, {"copies": COPIES}),
    }
    results: dict[str, list[dict]] = {name: [] for name in sides}
    with tempfile.TemporaryDirectory() as folder:
        for turn, (name, (side, python, more)) in itertools.product(range(options.repeats), sides.items()):
            if turn and more.get("copies") == COPIES:
                continue  # once is enough: it takes ten times as long
            task = {"documents": documents, "vocab": str(data / "vocab" / "vocab.txt")}
            task |= {"output": str(Path(folder) / "out"), **more}
            results[name].append(run(side, python, task, Path(folder)))
            print(f"{name}: {results[name][-1]['seconds']:.2f} s", file=sys.stderr)
    options.output.write_text("\n".join(report(results, options, documents)), encoding="utf-8")


if __name__ == "__main__":
    main()
