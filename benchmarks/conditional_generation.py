"""Generation under conditions: likelihood gaps, control, diversity, copying, and speed beside bert4keras.

    NLPTASKS_DATA=... python benchmarks/conditional_generation.py --work runs/conditional \\
        --output docs/conditional_scores.md --bert4keras ENVIRONMENT/bin/python

Data: `classification/online_shopping_10_cats.tsv` of NLPTASKS_DATA (10 categories of goods, two sentiments). Three
models get the same budget: conditional norms, label tokens before the text, no condition. Judges are linear
classifiers of character n-grams, trained on the training texts; what they say of held-out real texts stands beside.
Models and results are kept in `--work`, and what is there is not done again. Without `--bert4keras` (see
benchmarks/conditional_speed.py) speed is left out. Needs the extra `benchmarks`.

    NLPTASKS_DATA=... python benchmarks/conditional_generation.py --checkpoint DIR --work runs/pretrained \\
        --output generation.json
    NLPTASKS_DATA=... python benchmarks/conditional_generation.py --work runs/pretrained --judge generation.json

trains the model with conditional norms from a pretrained checkpoint instead (see finetuning.py; `--checkpoint none`: as
above), and writes perplexities and generated texts, which the second command judges, maybe on another machine. The
checkpoint is cut to the vocabulary of the models above, so that perplexities compare. What a vocabulary does not know
is charged in the nats a character: ln of all characters of Unicode for each one.
"""

import argparse
import json
import math
import os
import subprocess
import sys
import unicodedata
from pathlib import Path

import numpy as np
from finetuning import DROPOUT, Plan, Record, Trainer, add_arguments, limited, without_test

ROOT = Path(__file__).parent.parent
DATA = "classification/online_shopping_10_cats.tsv"
HELD_OUT = {"valid": 1000, "test": 3000}
MODELS = {"conditional norms": "norm", "label tokens": "prefix", "no condition": "none"}
TRAINING = (
    "--checkpoint none --seq-length 64 --hidden-size 192 --num-layers 3 --num-heads 6 --ffn-size 768 --min-count 3 "
    "--epochs 3 --batch-size 32 --learning-rate 1e-3 --warmup-share 0.05 --decay --clip-norm 1"
)
COLUMNS = (
    "--columns category,sentiment,text --label-columns category sentiment --label-names sentiment:0=negative,1=positive"
)
SENTIMENTS = ("negative", "positive")
EACH, MOST, TOP_P = 50, 60, 0.95
# name -> model, guidance
SETTINGS = {
    "conditional norms": ("norm", 1.0),
    "conditional norms, guidance 1.5": ("norm", 1.5),
    "conditional norms, guidance 2": ("norm", 2.0),
    "label tokens": ("prefix", 1.0),
    "no condition": ("none", 1.0),
}
SHOWN, RUN = 6, 12  # samples in the record, and the run of characters that none may share with a training text


def split(data: Path, work: Path) -> dict[str, Path]:
    """Files of training, validation and test texts, each text once, in a seeded order."""
    files = {name: work / f"{name}.tsv" for name in ("train", *HELD_OUT)}
    if not all(path.is_file() for path in files.values()):
        rows = {}
        for line in data.read_text(encoding="utf-8").splitlines():
            rows.setdefault(line.split("\t")[2], line)
        lines = list(rows.values())
        lines = [lines[i] for i in np.random.default_rng(0).permutation(len(lines))]
        for name, count in (*HELD_OUT.items(), ("train", len(lines))):
            files[name].write_text("\n".join(lines[:count]) + "\n", encoding="utf-8")
            lines = lines[count:]
    return files


def read(path: Path) -> list[tuple[str, str, str]]:
    """Category, sentiment and text of each line."""
    rows = (line.split("\t") for line in path.read_text(encoding="utf-8").splitlines())
    return [(category, SENTIMENTS[int(label)], text) for category, label, text in rows]


def script(*arguments: object) -> str:
    """What a run of tasks/conditional_generation.py writes to standard output."""
    command = [sys.executable, str(ROOT / "tasks" / "conditional_generation.py"), *map(str, arguments)]
    done = subprocess.run(command, env=os.environ | {"PYTHONPATH": str(ROOT)}, stdout=subprocess.PIPE, check=True)
    return done.stdout.decode("utf-8")


def trained(work: Path, files: dict[str, Path]) -> dict[str, Path]:
    """The run directory of each model; what was interrupted goes on."""
    runs = {kind: work / kind for kind in MODELS.values()}
    for kind, run in runs.items():
        if not (run / "scores.json").is_file():
            given = ["--train", files["train"], "--valid", files["valid"], "--conditioning", kind, "--output", run]
            resume = ["--resume"] if (run / "options.json").is_file() else []
            script("train", *given, *COLUMNS.split(), *TRAINING.split(), *resume)
    return runs


def gaps(run: Path, test: Path) -> dict:
    """Perplexity of the test texts, and what other conditions cost."""
    return json.loads(script("evaluate", "--model", run, "--data", test, "--json").splitlines()[-1])["scores"]


def written(run: Path, guidance: float) -> list[dict]:
    """EACH texts under every pair of labels: labels, text and whether it came to its end."""
    from nlptasks import load

    writer = load(run)
    categories = tuple(
        json.loads((run.parent / "norm" / "config.json").read_text(encoding="utf-8"))["nlptasks"]["labels"]["category"]
    )
    labels = [{"category": c, "sentiment": s} for c in categories for s in SENTIMENTS]
    found = writer.generate_batch(labels, EACH, top_p=TOP_P, seed=0, max_length=MOST, guidance=guidance)
    return [
        {"labels": of, "text": one.text, "complete": one.complete}
        for of, texts in zip(labels, found, strict=True)
        for one in texts
    ]


def real(run: Path, files: dict[str, Path]) -> dict[str, list[dict]]:
    """Training and test texts as a model sees them: cut, and through its tokens."""
    from nlptasks import load

    writer, found = load(run), {}
    for name in ("train", "test"):
        rows = read(files[name])
        encoded, _ = writer.encode([text for _, _, text in rows])
        texts = [writer.tokenizer.decode(ids[ids != writer.tokenizer.sep_id]) for ids in encoded]
        found[name] = [
            {"labels": {"category": c, "sentiment": s}, "text": text}
            for (c, s, _), text in zip(rows, texts, strict=True)
        ]
    return found


class Judges:
    """For each label a linear classifier of character n-grams, trained on real texts."""

    def __init__(self, training: list[dict]):
        from sklearn.feature_extraction.text import TfidfVectorizer
        from sklearn.linear_model import LogisticRegression

        texts = [row["text"] for row in training]
        self.vectorizer = TfidfVectorizer(analyzer="char", ngram_range=(1, 3), min_df=3, sublinear_tf=True)
        features, self.models = self.vectorizer.fit_transform(texts), {}
        for column in ("sentiment", "category"):
            model = LogisticRegression(C=10, max_iter=300)
            self.models[column] = model.fit(features, [row["labels"][column] for row in training])

    def accuracy(self, rows: list[dict]) -> dict[str, float]:
        """Percent of texts that are judged to have the label they were written under."""
        features = self.vectorizer.transform([row["text"] for row in rows])
        return {
            column: 100 * float(np.mean(model.predict(features) == [row["labels"][column] for row in rows]))
            for column, model in self.models.items()
        }


def properties(rows: list[dict], detector, judges: Judges) -> dict:
    """Control, diversity and copying of texts."""
    from nlptasks.metrics.generation import distinct, self_bleu

    texts = [row["text"] for row in rows if row["text"]]
    return judges.accuracy(rows) | {
        "distinct-1": 100 * distinct(texts, 1),
        "distinct-2": 100 * distinct(texts, 2),
        "self-BLEU": 100 * self_bleu(texts),
        "copied 8-grams": 100 * detector.share(texts),
        "characters": float(np.mean([len(text) for text in texts])),
    }


def kept(path: Path, make):
    """The JSON of a file, made first where it is not there."""
    if not path.is_file():
        path.write_text(json.dumps(make(), ensure_ascii=False, indent=1), encoding="utf-8")
    return json.loads(path.read_text(encoding="utf-8"))


def table(header: list[str], rows: list[list]) -> list[str]:
    """Lines of a Markdown table."""
    lines = [f"| {' | '.join(header)} |", "|---" * len(header) + "|"]
    return [*lines, *(f"| {' | '.join(map(str, row))} |" for row in rows), ""]


def likelihood_lines(scores: dict[str, dict]) -> list[str]:
    """The table of perplexities."""
    rows = []
    for name, kind in MODELS.items():
        found, cells = scores[kind], [name, f"{scores[kind]['perplexity']:.2f}"]
        for column in ("sentiment", "category"):
            if column in found:
                one = found[column]
                shown = f"{one['other_perplexity']:.2f}; +{one['gap']:.4f} ({one['low']:.4f} to {one['high']:.4f})"
            cells.append(shown if column in found else "-")
        rows.append(cells)
    header = ["model", "perplexity per token", "under another sentiment", "under another category"]
    return table(header, rows)


def sample_lines(rows: list[dict], detector) -> list[str]:
    """The first text under each of some conditions that shares no long run of characters with a training text."""
    lines, tried, copied = ["## Samples", ""], 0, 0
    lines += [
        f"Conditional norms, guidance 1, seed 0: under each of {SHOWN} pairs of labels the first text that came to its",
        f"end and shares no run of {RUN} characters with a training text.",
        "",
    ]
    wanted = [row for i, row in enumerate(rows) if i % (3 * EACH) == 0][:SHOWN]
    for first in wanted:
        start = rows.index(first)
        for row in rows[start : start + EACH]:
            tried += 1
            if not detector.copied(row["text"]) and row["complete"]:
                lines.append(f"- {row['labels']['category']}, {row['labels']['sentiment']}: {row['text']}")
                break
            copied += bool(detector.copied(row["text"]))
    return [
        *lines,
        "",
        f"({tried} texts looked at; {copied} left out for such a run, the others had not come to an end.)",
        "",
    ]


def introduction(sizes: dict[str, int]) -> list[str]:
    """How the record was made."""
    from record import surroundings

    return [
        "# Generation under conditions: scores",
        "",
        "Made by `python benchmarks/conditional_generation.py --work runs/conditional --output "
        "docs/conditional_scores.md --bert4keras ENVIRONMENT/bin/python`,",
        f"{surroundings('keras', 'tensorflow', 'sklearn', 'numpy')}.",
        "",
        f"online_shopping_10_cats, each text once: {sizes['train']} training, {HELD_OUT['valid']} validation and "
        f"{HELD_OUT['test']} test texts. Three models with the same options, one seed each:",
        "",
        f"`{TRAINING}`",
        "",
        "## Likelihood of the test texts",
        "",
        "Perplexity under the text's own labels, and under another label in one column: perplexity; nats a token that",
        "it costs, with a 95% interval (paired bootstrap over texts).",
        "",
    ]


def control_lines(real_scores: dict[str, float], count: int, found: dict[str, dict]) -> list[str]:
    """The table of control, diversity and copying."""
    columns = list(real_scores)
    rows = [[name, *(f"{values[column]:.1f}" for column in values)] for name, values in found.items()]
    return [
        "## Control, diversity, copying",
        "",
        f"{EACH} texts under each of 20 pairs of labels, top-p {TOP_P}, temperature 1, at most {MOST} tokens, seed 0.",
        "Control: percent of texts that a linear classifier of character n-grams, trained on the training texts, gives",
        f"the labels they were written under (on all {count} real test texts: "
        + ", ".join(f"{column} {real_scores[column]:.1f}" for column in columns)
        + "). Diversity over 1,000 texts:",
        "distinct-1 and -2 of characters (higher is more diverse), self-BLEU-4 (lower is more diverse). Copied:",
        "percent of runs of 8 characters that stand in a training text.",
        "",
        *table(["texts", *next(iter(found.values()))], rows),
    ]


def speed_lines(speed: dict) -> list[str]:
    """The table of speeds."""
    from conditional_speed import NEW, SAMPLES

    seconds = speed["seconds"]
    rows = [[n, f"{s:.2f}", f"{s / SAMPLES:.3f}", f"{seconds['bert4keras'] / s:.1f}"] for n, s in seconds.items()]
    return [
        "## Speed",
        "",
        f"{SAMPLES} samples of {NEW} tokens under one condition, BERT-base size, equal weights (log probabilities of",
        f"the first token differ by at most {speed['distance']:.1e}); see benchmarks/conditional_speed.py.",
        "",
        *table(["", "seconds", "seconds a sample", "times faster"], rows),
    ]


# From a checkpoint

TUNING, LENGTH, MIN_COUNT, LABEL_SIZE = Plan(5, 3e-4, 64), 64, 3, 128
SCRATCH_SIZES = {"hidden_size": 192, "num_layers": 3, "num_heads": 6, "ffn_size": 768, "dropout": DROPOUT}
UNKNOWN_COST = math.log(sum(unicodedata.category(chr(code)) not in ("Cn", "Cs", "Co") for code in range(0x110000)))


def cut_vocabulary(checkpoint: Path, texts: list[str], folder: Path) -> None:
    """Writes the checkpoint with the vocabulary that a model from random weights has: the characters of the texts. One
    that the checkpoint does not know starts as its unknown token.
    """
    from nlptasks.checkpoints.huggingface import save_directory
    from nlptasks.loading import build_transformer_model
    from nlptasks.text import Tokenizer, build_character_vocab, open_tokenizer

    old, new = open_tokenizer(checkpoint), build_character_vocab(texts, MIN_COUNT)
    kept = [old.vocab.get(token, old.unk_id) for token in new]
    print(f"vocabulary of {len(new)}, {kept.count(old.unk_id) - 1} of them unknown to the checkpoint", flush=True)
    model = build_transformer_model(checkpoint, checkpoint, with_mlm="linear", keep_tokens=kept, pad_id=0)
    save_directory(model, folder)
    Tokenizer(new).save(folder)


def make_writer(kind: str, tokenizer, columns: dict[str, tuple[str, ...]], checkpoint: Path | None, options):
    """A generator on the cut checkpoint, or from random weights."""
    from nlptasks.applications.conditional.conditions import Conditions
    from nlptasks.applications.conditional.generator import ConditionalGenerator
    from nlptasks.applications.conditional.network import conditional_model
    from nlptasks.applications.scratch import scratch_config, transformer_from_scratch
    from nlptasks.loading import build_transformer_model
    from nlptasks.train.run import start_run

    start_run(options.seeds[0], options.precision)
    conditions = Conditions(labels=columns, conditioning=kind, label_size=LABEL_SIZE, combine="sum")
    norms = {"layer_norm_cond_size": conditions.size}
    length = options.max_length or LENGTH
    if checkpoint is None:
        config = scratch_config(tokenizer.vocab_size, length, *SCRATCH_SIZES.values(), attention="causal")
        model = transformer_from_scratch(config.replace(**norms), with_mlm="linear")
    else:
        norms |= {"dropout": DROPOUT, "attention_dropout": 0.0 if options.fused_attention else DROPOUT}
        model = build_transformer_model(checkpoint, checkpoint, application="lm", with_mlm="linear", **norms)
        model.fused_attention = options.fused_attention
    return ConditionalGenerator(conditional_model(model, conditions), tokenizer, conditions, length)


def nats_per_character(writer, texts: list[str], conditions: list[dict]) -> dict[str, float]:
    """Nats of the texts, each [UNK] charged for every character under it, by the characters that were read."""
    scores, lengths = writer.score(texts, conditions, batch_size=64)
    nats, characters, unknown = -float(scores.sum()), 0, 0
    encoded, _ = writer.encode(texts)
    for text, ids, whole in zip(texts, encoded, writer.tokenizer.encode_batch(texts), strict=True):
        count = len(ids) - (ids[-1] == writer.tokenizer.sep_id)  # of tokens, without [SEP]
        offsets = whole.offsets[1 : 1 + count]
        characters += len("".join(text[: int(offsets[-1][1])].split()))
        unknown += sum(
            int(end - start)
            for (start, end), i in zip(offsets, ids[:count], strict=True)
            if i == writer.tokenizer.unk_id
        )
    return {
        "perplexity": math.exp(nats / lengths.sum()),
        "tokens": int(lengths.sum()),
        "characters": characters,
        "unknown_characters": unknown,
        "nats_a_character": (nats + unknown * UNKNOWN_COST) / characters,
    }


def from_checkpoint(options: argparse.Namespace, files: dict[str, Path]) -> None:
    """Trains a generator, and writes its likelihoods and texts."""
    from nlptasks.applications.conditional.evaluation import gaps
    from nlptasks.applications.conditional.samples import ConditionalExamples
    from nlptasks.applications.examples import padded_to
    from nlptasks.text import Tokenizer, build_character_vocab
    from nlptasks.text.conditioned import ConditionedText
    from nlptasks.text.labeled import sort_labels

    rows = {name: limited(read(path), options.limit) for name, path in files.items()}
    texts = {
        name: [ConditionedText(text, {"category": c, "sentiment": s}, None, name) for c, s, text in part]
        for name, part in rows.items()
    }
    texts["train"] = without_test(texts["train"], texts["valid"] + texts["test"], lambda text: (text.text,))
    found = zip(*((category, sentiment) for category, sentiment, _ in read(files["train"])), strict=True)
    columns = dict(zip(("category", "sentiment"), map(sort_labels, found), strict=True))
    training = [text.text for text in texts["train"]]
    cut = None
    if options.checkpoint == Path("none"):
        tokenizer = Tokenizer(build_character_vocab(training, MIN_COUNT))
    else:
        cut = options.work / "cut"
        cut_vocabulary(options.checkpoint, training, cut)
        tokenizer = Tokenizer(cut / "vocab.txt")
    length = options.max_length or LENGTH
    rate = (options.learning_rate or [1e-3 if cut is None else TUNING.learning_rate])[0]
    plan = Plan(options.epochs or TUNING.epochs, rate, options.batch_size or TUNING.batch_size)
    about = {"plan": plan._asdict(), "length": length, "vocabulary": tokenizer.vocab_size}
    record = Record(options.output, task="conditional generation", checkpoint=str(options.checkpoint), **about)
    with padded_to(options.pad_to or length):
        seed = options.seeds[0]
        writer = make_writer("norm", tokenizer, columns, cut, options)
        given = [text.labels for text in texts["train"]]
        examples = ConditionalExamples(writer, training, writer.conditions.rows(given), 0.1, seed)
        ran = Trainer(writer).run(examples, plan)
        scores = {
            part: nats_per_character(writer, [t.text for t in texts[part]], [t.labels for t in texts[part]])
            for part in HELD_OUT
        }
        scores["test"]["gaps"] = gaps(writer, texts["test"])
        record.add("conditional norms", seed, scores["test"]["perplexity"], [], **ran, **scores)
        pairs = [{"category": c, "sentiment": s} for c in columns["category"] for s in SENTIMENTS]
        for guidance in (1.0, 1.5):
            found = writer.generate_batch(pairs, options.each, top_p=TOP_P, seed=0, max_length=MOST, guidance=guidance)
            told = [
                {"labels": of, "text": one.text, "complete": one.complete}
                for of, written in zip(pairs, found, strict=True)
                for one in written
            ]
            record.write(texts={**record.content.get("texts", {}), str(guidance): told})


def print_judgement(path: Path, files: dict[str, Path]) -> None:
    """Prints what the judges say of the texts in a file of `from_checkpoint`."""
    from nlptasks.applications.conditional.samples import cut_texts
    from nlptasks.metrics.generation import CopyDetector
    from nlptasks.text import Tokenizer, build_character_vocab

    rows = {name: read(files[name]) for name in ("train", "test")}
    tokenizer = Tokenizer(build_character_vocab([text for _, _, text in rows["train"]], MIN_COUNT))
    real_texts = {}
    for name, part in rows.items():  # as the models see them: cut, and through their tokens
        encoded, _ = cut_texts(tokenizer, [text for _, _, text in part], LENGTH - 1)
        shown = [tokenizer.decode(ids[ids != tokenizer.sep_id]) for ids in encoded]
        real_texts[name] = [
            {"labels": {"category": c, "sentiment": s}, "text": text}
            for (c, s, _), text in zip(part, shown, strict=True)
        ]
    judges = Judges(real_texts["train"])
    detector = CopyDetector((row["text"] for row in real_texts["train"]), 8)
    print(json.dumps({"held-out real texts": judges.accuracy(real_texts["test"])}))
    content = json.loads(path.read_text(encoding="utf-8"))
    by_job = {"": content["texts"]} if "texts" in content else content  # as gpu_tables.py collects them
    for job, found in by_job.items():
        for guidance, texts in found.items():
            told = {f"{job} guidance {guidance}".strip(): properties(texts, detector, judges)}
            print(json.dumps(told), flush=True)


def main() -> None:
    """Trains, scores and writes the record."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--work", type=Path, required=True, help="models and results are kept there")
    parser.add_argument("--output", type=Path, help="the record")
    parser.add_argument("--bert4keras", help="the Python of an environment with bert4keras")
    add_arguments(parser)
    parser.add_argument("--each", type=int, default=EACH, help="from a checkpoint: texts under each pair of labels")
    parser.add_argument("--judge", type=Path, help="judge the texts of this file, written from a checkpoint")
    options = parser.parse_args()
    if options.output is None and options.judge is None:
        parser.error("--output is wanted.")
    sys.path.insert(0, str(ROOT))
    work = options.work
    work.mkdir(parents=True, exist_ok=True)
    files = split(Path(os.environ["NLPTASKS_DATA"]) / DATA, work)
    if options.judge is not None:
        print_judgement(options.judge, files)
        return
    if options.checkpoint is not None:
        from_checkpoint(options, files)
        return
    from conditional_speed import measure

    from nlptasks.metrics.generation import CopyDetector

    runs = trained(work, files)
    likelihoods = {
        k: kept(work / f"gaps_{k}.json", lambda run=run: gaps(run, files["test"])) for k, run in runs.items()
    }
    texts = {
        name: kept(work / f"texts_{kind}_{guidance}.json", lambda k=kind, g=guidance: written(runs[k], g))
        for name, (kind, guidance) in SETTINGS.items()
    }
    own = real(runs["norm"], files)
    judges = Judges(own["train"])
    detectors = {n: CopyDetector((row["text"] for row in own["train"]), n) for n in (8, RUN)}
    judged = {"held-out real texts": own["test"][: 20 * EACH]} | texts
    judged = {name: properties(rows, detectors[8], judges) for name, rows in judged.items()}
    lines = introduction({name: len(rows) for name, rows in own.items()})
    lines += likelihood_lines(likelihoods)
    lines += control_lines(judges.accuracy(own["test"]), len(own["test"]), judged)
    lines += sample_lines(texts["conditional norms"], detectors[RUN])
    if options.bert4keras:
        lines += speed_lines(kept(work / "speed.json", lambda: measure(options.bert4keras)))
    options.output.write_text("\n".join(lines).rstrip() + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
