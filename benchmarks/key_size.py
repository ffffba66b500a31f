"""Does a larger key_size help? The same model, briefly pretrained, with heads of key_size 64, 128, or talking heads.

    NLPTASKS_DATA=... python benchmarks/key_size.py --work runs/key_size --output docs/key_size.md

Everything else is equal: 3 layers, hidden 128, 4 heads of value_size 32, masked-LM pretraining on the training texts of
both tasks (15% of the characters, 80/10/10), then ChnSentiCorp (accuracy) and CLUENER with a CRF (entity F1) on their
development files, three seeds. Keep --work and give it again to go on after an interruption.

    NLPTASKS_DATA=... python benchmarks/key_size.py --checkpoint DIR --work runs/grown --output key_size.json

grows the heads of a pretrained checkpoint instead (see nlptasks/checkpoints/growing.py and finetuning.py): as it is,
with queries and keys of twice the size, and with talking heads, too. Each variant goes on with masked-LM training for
as many steps, on the same batches, and is then fine-tuned on both tasks.
"""

import argparse
import json
import math
import os
import statistics
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
from finetuning import DROPOUT, Plan, Record, Trainer, add_arguments, limited, percent, without_test
from record import surroundings

ROOT = Path(__file__).parent.parent
SEEDS = (1, 2, 3)
VARIANTS = {
    "key_size 64": {"key_size": 64},
    "key_size 128": {"key_size": 128},
    "key_size 64, talking heads": {"key_size": 64, "talking_heads": True},
}
SIZES = {"hidden_size": 128, "num_layers": 3, "num_heads": 4, "value_size": 32, "ffn_size": 512, "max_positions": 128}
LENGTH, BATCH = 64, 32
TRAIN = ("--learning-rate", "5e-4", "--warmup-share", "0.1", "--decay", "--clip-norm", "1", "--batch-size", "32")
# task: its script, files, options, score
TASKS = {
    "ChnSentiCorp, accuracy": (
        "text_classification.py",
        ("classification/chnsenticorp_train.tsv", "classification/chnsenticorp_dev.tsv"),
        ("--columns", "label", "text"),
        ("--seq-length", "64", "--epochs", "2", "--pooling", "mean"),
        "accuracy",
    ),
    "CLUENER, entity F1": (
        "sequence_labeling.py",
        ("sequence_labeling/cluener_train.jsonl", "sequence_labeling/cluener_dev.jsonl"),
        (),
        ("--seq-length", "64", "--epochs", "3"),
        "f1",
    ),
}


def training_texts(data: Path) -> list[str]:
    """The training texts of both tasks, without their labels."""
    from nlptasks.text.labeled import Columns, read_labeled

    sentiment = read_labeled(data / TASKS["ChnSentiCorp, accuracy"][1][0], Columns(names=("label", "text")))
    lines = (data / TASKS["CLUENER, entity F1"][1][0]).read_text(encoding="utf-8").splitlines()
    return [text.text for text in sentiment] + [json.loads(line)["text"] for line in lines]


def masked_batch(rows: list[np.ndarray], random: np.random.Generator, tokenizer) -> dict[str, np.ndarray]:
    """Padded tokens with 15% of them hidden: `token_ids`, `segment_ids` (B, T), `positions`, `targets`, `weights`
    (B, M).
    """
    most = math.ceil(0.15 * LENGTH)
    batch = {name: np.zeros((len(rows), LENGTH), "int32") for name in ("token_ids", "segment_ids")}
    batch |= {name: np.zeros((len(rows), most), "int32") for name in ("positions", "targets")}
    batch["weights"] = np.zeros((len(rows), most), "float32")
    for row, ids in enumerate(rows):
        batch["token_ids"][row, : len(ids)] = ids
        count = max(1, round(0.15 * (len(ids) - 2)))
        chosen = np.sort(random.choice(np.arange(1, len(ids) - 1), count, replace=False))
        batch["positions"][row, :count], batch["targets"][row, :count] = chosen, ids[chosen]
        batch["weights"][row, :count] = 1
        shown, chance = np.full(count, tokenizer.mask_id), random.random(count)
        shown = np.where(chance < 0.1, ids[chosen], shown)
        shown = np.where(chance > 0.9, random.integers(5, tokenizer.vocab_size, count), shown)
        batch["token_ids"][row, chosen] = shown
    return batch


def pretrain(directory: Path, variant: str, seed: int, steps: int, data: Path) -> dict[str, float]:
    """Trains a masked LM and saves it as a checkpoint; its size, last loss in nats, and seconds."""
    import keras
    from keras import ops

    from nlptasks.backend import compile_train_step
    from nlptasks.checkpoints.huggingface import save_directory
    from nlptasks.core import Transformer, TransformerConfig
    from nlptasks.core.layers import at_positions
    from nlptasks.text import Tokenizer, build_character_vocab
    from nlptasks.train.optimizers import make_adam
    from nlptasks.train.run import start_run

    start_run(seed)
    texts = training_texts(data)
    tokenizer = Tokenizer(build_character_vocab(texts, 2))
    rows = [np.asarray(e.token_ids, "int32") for e in tokenizer.encode_batch(texts, None, LENGTH, with_offsets=False)]
    rows = [row for row in rows if len(row) > 4]
    config = TransformerConfig(vocab_size=tokenizer.vocab_size, initializer_range=0.05, **SIZES, **VARIANTS[variant])
    model = Transformer(config, with_mlm="linear")
    model.build()

    def loss_function(batch):
        hidden_BTD = model.encode(batch["token_ids"], batch["segment_ids"], training=True)
        logits_BMV = model.token_logits(at_positions(hidden_BTD, batch["positions"]))
        loss_BM = ops.sparse_categorical_crossentropy(batch["targets"], logits_BMV, from_logits=True)
        return ops.sum(loss_BM * batch["weights"]) / ops.sum(batch["weights"])

    step = compile_train_step(model, make_adam(1e-3, steps, 0.1, True, 1.0), loss_function)
    random, losses, started = np.random.default_rng(seed), [], time.monotonic()
    for _ in range(steps):
        chosen = random.choice(len(rows), BATCH, replace=False)
        losses.append(float(ops.convert_to_numpy(step(masked_batch([rows[i] for i in chosen], random, tokenizer)))))
    seconds = time.monotonic() - started
    save_directory(model, directory)
    tokenizer.save(directory)
    keras.utils.clear_session()
    return {"parameters": model.count_params(), "loss": float(np.mean(losses[-50:])), "seconds": seconds}


def finetune(task: str, checkpoint: Path, output: Path, seed: int, data: Path) -> float:
    """The score of the task's script on the development file, started from the checkpoint. The last epoch is taken:
    nothing is chosen on the development file.
    """
    script, (train, dev), columns, options, score = TASKS[task]
    files = ("--train", data / train, "--valid", data / dev, "--checkpoint", checkpoint, "--output", output)
    run([sys.executable, ROOT / "tasks" / script, "train", *files, "--seed", seed, *columns, *options, *TRAIN])
    return json.loads((output / "scores.json").read_text(encoding="utf-8"))["epochs"][-1][score]


def run(command: list) -> None:
    """Runs a command quietly; its last words where it fails."""
    done = subprocess.run([str(part) for part in command], capture_output=True, text=True, check=False)
    if done.returncode:
        sys.exit(done.stderr[-2000:])


def report(results: dict, steps: int) -> str:
    """The table, every score as mean and range over the seeds."""
    lines = [
        "# key_size: 64, 128, or talking heads",
        "",
        f"Made by `python benchmarks/key_size.py --work runs/key_size --steps {steps} --output docs/key_size.md`,",
        f"{surroundings('keras', 'tensorflow')}.",
        "",
        "The same model otherwise (3 layers, hidden 128, 4 heads of value_size 32, feed-forward 512), the same",
        f"masked-LM pretraining ({steps} batches of {BATCH} texts of up to {LENGTH} characters), the same fine-tuning;",
        f"development files after the last epoch; mean (lowest to highest) of {len(SEEDS)} seeds.",
        "",
        "| heads | parameters | masked-LM loss, nats | seconds a step | " + " | ".join(TASKS) + " |",
        "|---|---|---|---|" + "---|" * len(TASKS),
    ]
    for variant in VARIANTS:
        rows = [results[f"{variant} {seed}"] for seed in SEEDS]
        cells = [f"{rows[0]['parameters']:,}", spread([row["loss"] for row in rows], 3)]
        cells.append(f"{min(row['seconds'] for row in rows) / steps:.3f}")
        cells += [spread([row[task] for row in rows], 2) for task in TASKS]
        lines.append(f"| {variant} | {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


def spread(values: list[float], digits: int) -> str:
    """Mean and range."""
    return f"{statistics.mean(values):.{digits}f} ({min(values):.{digits}f} to {max(values):.{digits}f})"


# From a checkpoint

GROWN = {"as it is": (1, False), "key_size doubled": (2, False), "key_size doubled, talking heads": (2, True)}
MLM_PLAN = Plan(1, 2e-4, 32)  # its epoch is `--steps` batches
TUNING = {"ChnSentiCorp, accuracy": Plan(2, 1e-4, 32), "CLUENER, entity F1": Plan(4, 2e-4, 32)}


class MaskedTexts:
    """Batches of texts with hidden tokens; a function of the seed alone, so that variants see the same.

    Args:
        rows: token ids of the texts.
        steps: number of batches.
    """

    def __init__(self, rows: list[np.ndarray], tokenizer, steps: int, seed: int) -> None:
        self.rows, self.tokenizer, self.steps = rows, tokenizer, steps
        self.random = np.random.default_rng(seed)

    def num_batches(self, epoch: int, size: int) -> int:
        """How many batches there are."""
        return self.steps

    def batches(self, epoch: int, size: int) -> list[np.ndarray]:
        """The numbers of the texts of each batch."""
        return [self.random.choice(len(self.rows), min(size, len(self.rows)), replace=False) for _ in range(self.steps)]

    def arrays(self, chosen: np.ndarray, size: int) -> dict[str, np.ndarray]:
        """A batch, padded to LENGTH."""
        return masked_batch([self.rows[i] for i in chosen], self.random, self.tokenizer)


class MaskedLM:
    """A Transformer with its masked-LM head, as a `Trainer` takes it."""

    def __init__(self, model) -> None:
        self.model = model

    def loss(self, batch: dict):
        """Nats of a hidden token."""
        from keras import ops

        from nlptasks.core.layers import at_positions

        hidden_BTD = self.model.encode(batch["token_ids"], batch["segment_ids"], training=True)
        logits_BMV = self.model.token_logits(at_positions(hidden_BTD, batch["positions"]))
        loss_BM = ops.sparse_categorical_crossentropy(batch["targets"], logits_BMV, from_logits=True)
        return ops.sum(loss_BM * batch["weights"]) / ops.sum(batch["weights"])


class Grown:
    """A checkpoint with the heads of one variant, and the programs that all seeds share."""

    def __init__(self, variant: str, options: argparse.Namespace, data: Path) -> None:
        from nlptasks.text import open_tokenizer
        from nlptasks.text.entities import read_entities
        from nlptasks.text.labeled import Columns, read_labeled

        self.variant, self.options, self.tokenizer = variant, options, open_tokenizer(options.checkpoint)
        sentiment, entities = (TASKS[task][1] for task in TASKS)
        columns = Columns(names=("label", "text"))
        self.sentiment = [limited(read_labeled(data / name, columns), options.limit) for name in sentiment]
        self.entities = [limited(read_entities(data / name), options.limit) for name in entities]
        for parts in (self.sentiment, self.entities):
            parts[0] = without_test(*parts, lambda text: (text.text,))
        texts = [text.text for text in (*self.sentiment[0], *self.entities[0])]
        encoded = self.tokenizer.encode_batch(texts, None, LENGTH, with_offsets=False)
        self.rows = [np.asarray(e.token_ids, "int32") for e in encoded if len(e) > 4]
        self.masked, self.tuned = None, {}

    def start(self, seed: int):
        """The checkpoint with larger heads, or as it is."""
        from nlptasks.checkpoints.growing import grow_key_size
        from nlptasks.loading import build_transformer_model
        from nlptasks.train.run import start_run

        start_run(seed, self.options.precision)
        path, rates = self.options.checkpoint, {"dropout": DROPOUT, "attention_dropout": DROPOUT}
        model = build_transformer_model(path, path, with_mlm="linear", pad_id=self.tokenizer.pad_id, **rates)
        factor, talking = GROWN[self.variant]
        if factor > 1:
            model = grow_key_size(model, factor * model.config.key_size, talking_heads=talking, seed=seed)
        return MaskedLM(model)

    def pretrain(self, seed: int) -> dict:
        """Goes on with masked-LM training."""
        made = self.start(seed)
        if self.masked is None:
            self.masked = Trainer(made)
        else:
            self.masked.become(made)
        return self.masked.run(MaskedTexts(self.rows, self.tokenizer, self.options.steps, seed), MLM_PLAN)

    def tune(self, task: str, seed: int) -> tuple[list, dict]:
        """Fine-tunes what was pretrained; the items of the development file and how it ran."""
        from nlptasks.core import Transformer

        encoder = Transformer(self.masked.application.model.config)
        encoder.build()
        copy_weights(self.masked.application.model, encoder)
        plan = TUNING[task]._replace(epochs=self.options.epochs or TUNING[task].epochs)
        make = self.classifier if task.startswith("ChnSentiCorp") else self.labeler
        made, examples, items = make(encoder, seed)
        if task not in self.tuned:
            self.tuned[task] = Trainer(made)
        else:
            self.tuned[task].become(made)
        ran = self.tuned[task].run(examples, plan)
        return items(self.tuned[task].application), ran

    def classifier(self, encoder, seed: int) -> tuple:
        """A classifier, its training examples, and what scores it."""
        from nlptasks.applications.classification.classifier import (
            ClassificationExamples,
            Classifier,
            classification_model,
        )

        train, dev = self.sentiment
        classifier = Classifier(
            classification_model(encoder, 2, DROPOUT), self.tokenizer, ("0", "1"), LENGTH, pooling="mean"
        )
        examples = ClassificationExamples(classifier, [t.text for t in train], [t.labels for t in train], seed)

        def items(trained) -> list[int]:
            found = trained.predict([text.text for text in dev])
            return [int(one.labels == text.labels) for one, text in zip(found, dev, strict=True)]

        return classifier, examples, items

    def labeler(self, encoder, seed: int) -> tuple:
        """A labeler, its training examples, and what scores it."""
        from nlptasks.applications.labeling.labeler import Labeler, labeling_model
        from nlptasks.applications.labeling.samples import LabelingExamples
        from nlptasks.applications.labeling.training import entity_types, span_keys

        train, dev = self.entities
        types, head = entity_types(train), "global-pointer"
        labeler = Labeler(labeling_model(encoder, head, len(types), DROPOUT), self.tokenizer, types, head, LENGTH)
        examples = LabelingExamples(self.tokenizer, LENGTH, train, types, False, seed)

        def items(trained) -> list[list[int]]:
            rows = []
            for text, found in zip(dev, trained.predict([text.text for text in dev]), strict=True):
                gold, mine = set(span_keys(text.entities)), set(span_keys(found))
                rows.append([len(gold & mine), len(mine), len(gold)])
            return rows

        return labeler, examples, items


def copy_weights(model, encoder) -> None:
    """Gives an encoder the weights that a model with heads has beside those."""
    from nlptasks.checkpoints.weights import assign_weights, export_weights

    assign_weights(encoder, export_weights(model), "the pretrained model", transposed=True)


def from_checkpoint(options: argparse.Namespace, data: Path) -> None:
    """Runs the variants with each seed, and writes the scores of both tasks."""
    from nlptasks.applications.examples import padded_to

    record = Record(options.output, task="key_size", checkpoint=str(options.checkpoint), steps=options.steps)
    with padded_to(LENGTH):
        for variant in options.variants:
            grown = Grown(variant, options, data)
            for seed in options.seeds:
                ran = grown.pretrain(seed)
                record.write(masked={**record.content.get("masked", {}), f"{variant}, seed {seed}": ran})
                for task in TASKS:
                    items, told = grown.tune(task, seed)
                    record.add(
                        f"{variant}: {task}", seed, percent(items), items, group=task, masked_loss=ran["loss"], **told
                    )


def main() -> None:
    """Runs what is not yet in the work folder, and writes the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--work", type=Path, required=True, help="folder of the runs; given again, finished ones stay")
    parser.add_argument("--steps", type=int, default=400, help="batches of pretraining")
    parser.add_argument("--output", type=Path, help="write the table there; else it is printed")
    add_arguments(parser)
    parser.add_argument("--variants", nargs="+", choices=list(GROWN), default=list(GROWN), help="from a checkpoint")
    options = parser.parse_args()
    if "NLPTASKS_DATA" not in os.environ:
        sys.exit("NLPTASKS_DATA is not set: the folder with classification/ and sequence_labeling/ (data/README.md).")
    sys.path.insert(0, str(ROOT))
    if options.checkpoint is not None:
        if options.fused_attention:
            parser.error("talking heads cannot be fused, and variants must be alike: leave --fused-attention out.")
        from_checkpoint(options, Path(os.environ["NLPTASKS_DATA"]))
        return
    data, results_path = Path(os.environ["NLPTASKS_DATA"]), options.work / "results.json"
    options.work.mkdir(parents=True, exist_ok=True)
    results = json.loads(results_path.read_text(encoding="utf-8")) if results_path.is_file() else {}
    for seed in SEEDS:
        for variant in VARIANTS:
            name = f"{variant} {seed}"
            folder = options.work / name.replace(" ", "_").replace(",", "")
            found = results.setdefault(name, {})
            if "loss" not in found:
                found |= pretrain(folder / "bundled", variant, seed, options.steps, data)
            for task in TASKS:
                if task not in found:
                    output = folder / f"{task.split(',')[0]}-{time.time_ns()}"
                    found[task] = finetune(task, folder / "bundled", output, seed, data)
                results_path.write_text(json.dumps(results, indent=1) + "\n", encoding="utf-8")
            print(name, found, flush=True)
    text = report(results, options.steps)
    if options.output:
        options.output.write_text(text, encoding="utf-8")
    print(text)


if __name__ == "__main__":
    main()
