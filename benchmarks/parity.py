"""Every parity figure in one table: the largest |ours - theirs| / max(1, |theirs|) at real positions, float32.

    python benchmarks/parity.py --output docs/parity.md

Runs itself once a backend. References: bert4keras 0.11.5 (golden files, tests/golden) and transformers (live, needs the
test extra). The bound of every row is 1e-5; the loss curve's is 1e-4.
"""

import argparse
import datetime
import importlib.metadata
import json
import os
import platform
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).parent.parent
BACKENDS = ("tensorflow", "jax")


def measure() -> list[tuple[str, str, float]]:
    """(model, reference, distance) on the backend of this process."""
    from tests.checkpoints import test_bert4keras_parity as golden_test
    from tests.golden.bert4keras_cases import CASES

    folder = ROOT / "tests" / "golden" / "bert4keras"
    outputs = golden_test.golden_outputs(folder)
    rows = [
        (case, "bert4keras HDF5", golden_test.largest_distance(folder, case, f"{case}.h5", outputs)) for case in CASES
    ]
    case = "pool_nsp_mlm"
    rows.append((case, "Google checkpoint", golden_test.largest_distance(folder, case, "google.ckpt", outputs)))
    rows += transformers_rows()
    from tests.models.test_reading_golden import loss_differences

    rows.append(("200 training steps, loss", "bert4keras", float(loss_differences(folder).max())))
    return rows


def transformers_rows() -> list[tuple[str, str, float]]:
    """Their random models through our loader, and ours through theirs."""
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
        causal = {"is_decoder": True} if name == "lm" else {}
        with tempfile.TemporaryDirectory() as directory:
            theirs = live.their_model(kind, **causal)
            theirs.save_pretrained(directory)
            ours = build_transformer_model(directory, directory, **arguments)
            reference = getattr(live.theirs(theirs, inputs), field)
            rows.append((name, "transformers, we load theirs", live.compare(ours(list(inputs)), reference, inputs[0])))
        with tempfile.TemporaryDirectory() as directory:
            save_directory(ours, directory)
            loaded = kind.from_pretrained(directory)
            reference = getattr(live.theirs(loaded, inputs), field)
            rows.append((name, "transformers, they load ours", live.compare(ours(list(inputs)), reference, inputs[0])))
    return rows


def table(results: dict[str, list]) -> str:
    """The rows of all backends side by side."""
    names = ("keras", "tensorflow", "jax", "transformers", "torch")
    versions = ", ".join(f"{name} {importlib.metadata.version(name)}" for name in names)
    lines = [
        "# Parity",
        "",
        f"Made by `python benchmarks/parity.py --output docs/parity.md`, {datetime.date.today()}, "
        f"{platform.machine()}, Python {platform.python_version()}, {versions};",
        "bert4keras 0.11.5 on tensorflow-cpu 2.12.1.",
        "",
        "Largest |ours - theirs| / max(1, |theirs|) at real (unpadded) positions, float32, small random models of",
        "irregular sizes through the real loaders; transformers computes in float64, so that the figure is our own",
        "rounding. Bound 1e-5; for the loss curve 1e-4, in nats.",
        "",
        "| model | reference | " + " | ".join(results) + " |",
        "|---|---|" + "---|" * len(results),
    ]
    for rows in zip(*results.values(), strict=True):
        lines.append(f"| {rows[0][0]} | {rows[0][1]} | " + " | ".join(f"{row[2]:.1e}" for row in rows) + " |")
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
