"""Every parity figure in one table: the largest |ours - theirs| / max(1, |theirs|) at real positions, float32.

    python benchmarks/parity.py --output docs/parity.md

Runs itself once a backend. References: bert4keras 0.11.5 (golden files, tests/golden) and transformers (live, needs the
test extra). The bound of every row is 1e-5; the loss curve's is 1e-4.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import NamedTuple

import numpy as np
from record import surroundings

ROOT = Path(__file__).parent.parent
BACKENDS = ("tensorflow", "jax")


class Row(NamedTuple):
    """One figure."""

    case: str
    model: str
    application: str
    reference: str
    distance: float


def measure() -> list[Row]:
    """Every figure on the backend of this process."""
    from tests.applications.reading.test_reading_golden import loss_differences
    from tests.checkpoints import test_bert4keras_parity as golden_test
    from tests.golden.bert4keras_cases import CASES, GOOGLE

    folder = ROOT / "tests" / "golden" / "bert4keras"
    outputs = golden_test.golden_outputs(folder)
    files = [(case, f"{case}.h5", "bert4keras, HDF5") for case in CASES]
    files += [(case, file, "bert4keras, TensorFlow checkpoint") for case, file in GOOGLE.items()]
    rows = [
        Row(
            case,
            CASES[case].get("model", "bert"),
            CASES[case].get("application", "encoder"),
            reference,
            golden_test.largest_distance(folder, case, file, outputs),
        )
        for case, file, reference in files
    ]
    rows += bert_rows() + family_rows() + writer_rows()
    steps = float(loss_differences(folder).max())
    return [*rows, Row("200 training steps, loss", "bert", "unilm", "bert4keras", steps)]


def bert_rows() -> list[Row]:
    """Their random BERTs through our loader, and ours through theirs."""
    import transformers

    from nlptasks import build_transformer_model
    from nlptasks.checkpoints.huggingface import save_directory
    from tests.checkpoints import test_huggingface as live

    inputs, rows = live.some_inputs(), []
    kinds = {
        "encoder": (transformers.BertModel, {}, "last_hidden_state"),
        "pool": (transformers.BertModel, {"with_pool": True}, "pooler_output"),
        "mlm_linear": (transformers.BertForMaskedLM, {"with_mlm": "linear"}, "logits"),
        "lm": (transformers.BertLMHeadModel, {"application": "lm", "with_mlm": "linear"}, "logits"),
    }
    for name, (kind, arguments, field) in kinds.items():
        causal, application = ({"is_decoder": True} if name == "lm" else {}), arguments.get("application", "encoder")
        with tempfile.TemporaryDirectory() as directory:
            theirs = live.their_model(kind, **causal)
            theirs.save_pretrained(directory)
            ours = build_transformer_model(directory, directory, **arguments)
            reference = getattr(live.theirs(theirs, inputs), field)
            figure = live.compare(ours(list(inputs)), reference, inputs[0])
            rows.append(Row(name, "bert", application, "transformers, we load theirs", figure))
        with tempfile.TemporaryDirectory() as directory:
            save_directory(ours, directory)
            loaded = kind.from_pretrained(directory)
            reference = getattr(live.theirs(loaded, inputs), field)
            figure = live.compare(ours(list(inputs)), reference, inputs[0])
            rows.append(Row(name, "bert", application, "transformers, they load ours", figure))
    return rows


def family_rows() -> list[Row]:
    """The same for the other families."""
    import transformers

    from nlptasks import build_transformer_model
    from nlptasks.checkpoints.huggingface import save_directory
    from tests.checkpoints import test_families as families
    from tests.checkpoints.test_huggingface import compare, some_inputs

    inputs, rows = some_inputs(), []
    for case, (kind, _, arguments, _) in families.CASES.items():
        model, application = arguments.get("model", case.split("_")[0]), arguments.get("application", "encoder")
        with tempfile.TemporaryDirectory() as directory:
            theirs = families.saved(case, directory)
            ours = build_transformer_model(directory, directory, **arguments)
        pairs = [("transformers, we load theirs", theirs)]
        if model != "albert_unshared":
            with tempfile.TemporaryDirectory() as directory:
                save_directory(ours, directory)
                pairs.append(("transformers, they load ours", getattr(transformers, kind).from_pretrained(directory)))
        for reference, their_model in pairs:
            figure = compare(*families.ours_and_theirs(case, their_model, ours, inputs), inputs[0])
            rows.append(Row(case, model, application, reference, figure))
    return rows


def writer_rows() -> list[Row]:
    """GPTs, T5s, RoFormerV2 and GAU-alpha: bert4keras' files, and those of transformers in both directions."""
    import transformers

    from nlptasks import build_encoder_decoder
    from nlptasks.checkpoints.huggingface import save_directory
    from tests.checkpoints import test_gpt, test_t5, test_writers_parity
    from tests.checkpoints.test_huggingface import compare
    from tests.golden.writers_cases import CASES, T5_CASES, TENSORFLOW

    folder, rows = ROOT / "tests" / "golden" / "writers", []
    with np.load(folder / "outputs.npz", allow_pickle=False) as file:
        outputs = dict(file)
    files = [(case, f"{case}.h5", "bert4keras, HDF5") for case in CASES]
    files += [(case, f"{case}.ckpt", "bert4keras, TensorFlow checkpoint") for case in TENSORFLOW]
    for case, file, reference in files:
        figure = test_writers_parity.largest_distance(folder, case, file, outputs)
        arguments = CASES[case].arguments
        usual = "encoder-decoder" if case in T5_CASES else "lm" if case.startswith("gpt") else "encoder"
        rows.append(Row(case, arguments["model"], arguments.get("application", usual), reference, figure))
    token_ids, pair = test_gpt.some_ids(), test_t5.some_ids()
    for name, live in (("gpt", test_gpt), ("t5", test_t5)):
        for case, (kind, _, third) in live.CASES.items():
            with tempfile.TemporaryDirectory() as directory:
                theirs = live.saved(case, Path(directory))
                model = third if name == "t5" else "gpt2" if "gpt2" in case else "gpt"
                ours = build_encoder_decoder(directory, directory) if name == "t5" else live.built(case, directory)
            with tempfile.TemporaryDirectory() as directory:
                save_directory(ours, directory, **({"model_type": "mt5"} if case == "mt5" else {}))
                full = f"{kind}ForConditionalGeneration" if name == "t5" else kind
                loaded = getattr(transformers, full).from_pretrained(directory)
            for reference, other in (("we load theirs", theirs), ("they load ours", loaded)):
                fed, value = (pair, ours(list(pair))) if name == "t5" else ((token_ids,), ours(token_ids))
                figure = compare(value, live.theirs(other, *fed), fed[-1] + (name == "t5"))
                application = "encoder-decoder" if name == "t5" else third.get("application", "encoder")
                rows.append(Row(case, model, application, f"transformers, {reference}", figure))
    return rows


def table(results: dict[str, list]) -> str:
    """The rows of all backends side by side."""
    lines = [
        "# Parity",
        "",
        "Made by `python benchmarks/parity.py --output docs/parity.md`,",
        f"{surroundings('keras', 'tensorflow', 'jax', 'transformers', 'torch')};",
        "bert4keras 0.11.5 on tensorflow-cpu 2.12.1.",
        "",
        "Largest |ours - theirs| / max(1, |theirs|) at real (unpadded) positions, float32, small random models of",
        "irregular sizes through the real loaders; transformers computes in float64, so that the figure is our own",
        "rounding (but the scale of the norms of its T5 in float32). Bound 1e-5; for the loss curve 1e-4, in nats.",
        "",
        "| case | model | application | reference | " + " | ".join(results) + " |",
        "|---|---|---|---|" + "---|" * len(results),
    ]
    for rows in zip(*results.values(), strict=True):
        figures = " | ".join(f"{row[-1]:.1e}" for row in rows)
        lines.append(f"| {' | '.join(rows[0][:-1])} | {figures} |")
    worst = max(row[-1] for rows in results.values() for row in rows[:-1])
    lines += ["", f"Largest of {sum(map(len, results.values())) - len(results)} outputs: {worst:.1e}."]
    return "\n".join(lines) + "\n"


def main() -> None:
    """Measures on both backends and prints or writes the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--output", type=Path, help="write the table there; else it is printed")
    parser.add_argument("--measure", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    sys.path.insert(0, str(ROOT))
    if options.measure:
        print(json.dumps(measure()))
        return
    results = {}
    for backend in BACKENDS:
        environment = os.environ | {"KERAS_BACKEND": backend, "TF_CPP_MIN_LOG_LEVEL": "3"}
        done = subprocess.run(
            [sys.executable, __file__, "--measure"], env=environment, capture_output=True, text=True, check=False
        )
        if done.returncode:
            sys.exit(done.stderr)
        results[backend] = json.loads(done.stdout.splitlines()[-1])
    text = table(results)
    if options.output:
        options.output.write_text(text, encoding="utf-8")
    print(text)


if __name__ == "__main__":
    main()
