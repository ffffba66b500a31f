"""Exported models: how soon a command answers, how fast graphs are beside their peers, and what int8 costs.

    python benchmarks/export.py start                       # 5 processes of `nlptasks reading answer`
    python benchmarks/export.py speed [--optimum PYTHON]    # BERT-base, 64 tokens, batch 1 and 16
    python benchmarks/export.py decode                      # BERT-base, 32 tokens after 128, batch 1
    python benchmarks/export.py accuracy --model DIR --file FILE

Weights are random where only time is measured; outputs are compared first. Times are medians of rounds in which the
sides take turns. PYTHON has optimum, torch and transformers. Each part appends its lines to benchmarks/export.md.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

sys.path.insert(0, str(Path(__file__).parents[1]))
from benchmarks.record import BERT_BASE, surroundings

RECORD = Path(__file__).with_suffix(".md")
ROUNDS, LENGTH, PREFIX, NEW = 15, 64, 128, 32
QUESTION, PASSAGE = "沈月白生于哪年？", "沈月白生于1921年，一直住在青石县，1975年离开那里。"


def append(title: str, lines: list[str], *modules: str) -> None:
    """Writes a part of the record, and shows it."""
    flags = {"avx2", "avx512f", "avx512_vnni", "avx_vnni", "amx_int8", "avx512_bf16"}
    found = Path("/proc/cpuinfo").read_text(encoding="utf-8") if Path("/proc/cpuinfo").is_file() else ""
    here = ", ".join(sorted(flags & set(found.split()))) or "none of them known"
    text = "\n".join([f"## {title}", "", f"{surroundings(*modules)}; processor flags: {here}.", "", *lines, "", ""])
    with open(RECORD, "a", encoding="utf-8") as file:
        file.write(text)
    sys.stdout.write(text)


def interleaved(sides: dict[str, Callable[[], Any]], rounds: int) -> dict[str, float]:
    """The median seconds of each side; they take turns."""
    times: dict[str, list[float]] = {name: [] for name in sides}
    for run in sides.values():
        run()
        run()
    for _ in range(rounds):
        for name, run in sides.items():
            start = time.perf_counter()
            run()
            times[name].append(time.perf_counter() - start)
    return {name: statistics.median(values) for name, values in times.items()}


def bert_base(folder: Path, layers: int, application: str = "encoder") -> Any:
    """BERT-base of random weights, with that many layers, and its directory for transformers."""
    from nlptasks import build_transformer_model
    from nlptasks.checkpoints.huggingface import save_directory

    config = dict(BERT_BASE, num_hidden_layers=layers)
    (folder / "bert_config.json").write_text(json.dumps(config), encoding="utf-8")
    model = build_transformer_model(folder / "bert_config.json", application=application)
    save_directory(model, folder / "theirs")
    return model


def start(options: argparse.Namespace) -> None:
    """How long a whole process of `nlptasks reading answer` takes."""
    from nlptasks import build_transformer_model
    from nlptasks.applications.reading.reader import Reader
    from nlptasks.applications.sources import located
    from nlptasks.export.writing import write_onnx
    from nlptasks.text import open_tokenizer

    lines = ["| model | side | median, s | fastest, s |", "|---|---|---|---|"]
    with tempfile.TemporaryDirectory() as directory:
        folder, mini = Path(directory), located("mini")
        tokenizer = open_tokenizer(mini)
        config = dict(BERT_BASE, vocab_size=tokenizer.vocab_size, num_hidden_layers=options.layers)
        (folder / "bert_config.json").write_text(json.dumps(config), encoding="utf-8")
        models = {
            "mini": build_transformer_model(mini, mini, application="unilm", with_mlm="linear"),
            "BERT-base": build_transformer_model(folder / "bert_config.json", application="unilm", with_mlm="linear"),
        }
        for name, model in models.items():
            reader = Reader(model, tokenizer)
            reader.save(folder / name)
            write_onnx(reader, folder / f"{name}_float32")
            write_onnx(reader, folder / f"{name}_int8", "int8")
            sides = {"exported float32": f"{name}_float32", "exported int8": f"{name}_int8"}
            if name == "mini":
                sides["Keras"] = name
            for side, path in sides.items():
                words = ["reading", "answer", "--model", str(folder / path), "--question", QUESTION]
                times = []
                for _ in range(2 if side == "Keras" else 6):
                    begun = time.perf_counter()
                    command = [sys.executable, "-m", "nlptasks", *words, "--passage", PASSAGE]
                    subprocess.run(command, check=True, capture_output=True)
                    times.append(time.perf_counter() - begun)
                warm = times[1:]  # the first run warms the files
                lines.append(f"| {name} | {side} | {statistics.median(warm):.2f} | {min(warm):.2f} |")
    append("Start of a process: `nlptasks reading answer`", lines, "onnxruntime", "keras", "tensorflow")


def speed(options: argparse.Namespace) -> None:
    """The encoder of BERT-base."""
    import torch
    from keras import ops
    from transformers import BertModel

    from nlptasks.backend import compile_function
    from nlptasks.export.networks import encoder_graph
    from nlptasks.export.quantizing import quantized
    from nlptasks.runtime.graphs import open_graph

    import onnx  # isort: skip

    torch.set_grad_enabled(False)
    with tempfile.TemporaryDirectory() as directory:
        folder = Path(directory)
        model = bert_base(folder, options.layers)
        graph = encoder_graph(model)
        onnx.save(graph, folder / "float32.onnx")
        onnx.save(quantized(graph), folder / "int8.onnx")
        ours = {name: open_graph(folder / f"{name}.onnx") for name in ("float32", "int8")}
        theirs = {
            kind: BertModel.from_pretrained(folder / "theirs").to(getattr(torch, kind)).train(False)
            for kind in ("float32", "bfloat16")
        }
        run = compile_function(lambda ids, segments: model.encode(ids, segments), model)
        worker = Optimum(options.optimum, folder / "theirs") if options.optimum else None
        lines = ["| batch | side | ms | sequences/s | largest difference |", "|---|---|---|---|---|"]
        for batch in (1, 16):
            ids = np.random.default_rng(0).integers(106, 21128, (batch, LENGTH)).astype("int32")
            zeros, tensor = np.zeros_like(ids), torch.from_numpy(ids.astype("int64"))
            sides: dict[str, Callable[[], Any]] = {
                "transformers float32": lambda tensor=tensor: theirs["float32"](tensor)[0].numpy(),
                "transformers bfloat16": lambda tensor=tensor: theirs["bfloat16"](tensor)[0].float().numpy(),
                "Keras": lambda ids=ids, zeros=zeros: ops.convert_to_numpy(run(ids, zeros)),
                "exported float32": lambda ids=ids, zeros=zeros: ours["float32"](ids, zeros)[0],
                "exported int8": lambda ids=ids, zeros=zeros: ours["int8"](ids, zeros)[0],
            }
            expected = sides["transformers float32"]()
            apart = {name: float(np.abs(each() - expected).max()) for name, each in sides.items()}
            if worker is not None:
                worker.prepare(ids)
                sides["optimum float32"], sides["optimum int8"] = worker.float32, worker.int8
            found = interleaved(sides, max(3, options.rounds // (1 if batch == 1 else 4)))
            for name, seconds in found.items():
                far = f"{apart[name]:.1e}" if name in apart else ""
                lines.append(f"| {batch} | {name} | {seconds * 1e3:.1f} | {batch / seconds:.1f} | {far} |")
            ratio = found["transformers float32"] / found["exported int8"]
            lines.append(f"| {batch} | int8: times transformers' float32 | {ratio:.2f} | | |")
            if worker is not None:
                lines.append(
                    f"| {batch} | int8: times optimum's | {found['optimum int8'] / found['exported int8']:.2f} | | |"
                )
        if worker is not None:
            lines += ["", f"Optimum's side: {worker.versions}."]
            worker.close()
    append("Speed: BERT-base, 64 tokens", lines, "onnxruntime", "keras", "tensorflow", "torch", "transformers")


class Optimum:
    """Optimum's export in a process of its own environment, which computes when it is told to.

    Args:
        python: of the environment.
        model: a directory of transformers.
    """

    def __init__(self, python: str, model: Path) -> None:
        command = [python, __file__, "worker", "--model", str(model)]
        self._process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        self.versions = self._ask("versions")

    def _ask(self, line: str) -> str:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        print(line, file=self._process.stdin, flush=True)
        while True:
            answer = self._process.stdout.readline()
            if not answer:
                sys.exit("optimum's side has ended")
            if answer.startswith("= "):
                return answer[2:].strip()

    def prepare(self, ids: np.ndarray) -> None:
        """Hands over the batch."""
        self._ask(f"ids {json.dumps(ids.tolist())}")

    def float32(self) -> None:
        """Computes once."""
        self._ask("float32")

    def int8(self) -> None:
        """Computes once."""
        self._ask("int8")

    def close(self) -> None:
        """Ends the process."""
        self._process.terminate()
        self._process.wait()


def worker(options: argparse.Namespace) -> None:
    """Optimum's side: exports and quantizes with its own defaults for AVX2, and computes what it is told."""
    import importlib.metadata

    import torch
    from optimum.onnxruntime import ORTModelForFeatureExtraction, ORTQuantizer
    from optimum.onnxruntime.configuration import AutoQuantizationConfig

    sides, batch = {}, {}
    with tempfile.TemporaryDirectory() as folder:
        whole = ORTModelForFeatureExtraction.from_pretrained(options.model, export=True)
        whole.save_pretrained(f"{folder}/float32")
        config = AutoQuantizationConfig.avx2(is_static=False, per_channel=False)
        ORTQuantizer.from_pretrained(f"{folder}/float32").quantize(
            save_dir=f"{folder}/int8", quantization_config=config
        )
        sides["float32"] = whole
        sides["int8"] = ORTModelForFeatureExtraction.from_pretrained(f"{folder}/int8", file_name="model_quantized.onnx")
        for line in sys.stdin:
            word, _, rest = line.strip().partition(" ")
            if word == "ids":
                ids = torch.tensor(json.loads(rest))
                batch = {
                    "input_ids": ids,
                    "attention_mask": torch.ones_like(ids),
                    "token_type_ids": torch.zeros_like(ids),
                }
            elif word in sides:
                sides[word](**batch)
            names = ("optimum", "optimum-onnx", "transformers", "onnxruntime", "torch")
            found = ", ".join(f"{name} {importlib.metadata.version(name)}" for name in names)
            print("=", found if word == "versions" else "", flush=True)


def decode(options: argparse.Namespace) -> None:
    """Greedy decoding of one sequence."""
    import onnx
    import torch
    from transformers import BertLMHeadModel

    from nlptasks.export.networks import decoding_graphs
    from nlptasks.export.quantizing import quantized
    from nlptasks.runtime.decoding import CachedGraphs
    from nlptasks.runtime.graphs import open_graph

    torch.set_grad_enabled(False)
    with tempfile.TemporaryDirectory() as directory:
        folder = Path(directory)
        model = bert_base(folder, options.layers, "lm")
        graphs = dict(zip(("prefix", "step"), decoding_graphs(model, 0), strict=True))
        for name, graph in graphs.items():
            onnx.save(graph, folder / f"{name}_float32.onnx")
            onnx.save(quantized(graph), folder / f"{name}_int8.onnx")
        ids = np.random.default_rng(0).integers(106, 21128, (1, PREFIX)).astype("int32")
        tensor = torch.from_numpy(ids.astype("int64"))

        def ours(kind: str) -> Callable[[], list[int]]:
            steps = CachedGraphs(*(open_graph(folder / f"{name}_{kind}.onnx") for name in graphs), model.config)

            def run() -> list[int]:
                logits, state = steps.start(ids, np.zeros_like(ids), 1)
                tokens = [int(logits[0, 0].argmax())]
                while len(tokens) < NEW:
                    logits, state = steps.step(np.array([[tokens[-1]]], "int32"), state)
                    tokens.append(int(logits[0, 0].argmax()))
                return tokens

            return run

        def theirs(kind: str) -> Callable[[], list[int]]:
            network = BertLMHeadModel.from_pretrained(folder / "theirs", is_decoder=True)
            network = network.to(getattr(torch, kind)).train(False)
            sizes: dict[str, Any] = {
                "max_new_tokens": NEW,
                "min_new_tokens": NEW,
                "do_sample": False,
                "use_cache": True,
            }
            mask = torch.ones_like(tensor)
            return lambda: network.generate(tensor, attention_mask=mask, pad_token_id=0, **sizes)[0, PREFIX:].tolist()

        sides = {f"exported {kind}": ours(kind) for kind in ("float32", "int8")}
        sides |= {f"transformers {kind}": theirs(kind) for kind in ("float32", "bfloat16")}
        expected = sides["transformers float32"]()
        equal = {name: sum(a == b for a, b in zip(run(), expected, strict=True)) for name, run in sides.items()}
        found = interleaved(sides, max(3, options.rounds // 3))
    lines = ["| side | s | tokens/s | tokens equal to transformers' float32 |", "|---|---|---|---|"]
    lines += [f"| {name} | {s:.3f} | {NEW / s:.1f} | {equal[name]} of {NEW} |" for name, s in found.items()]
    lines += [
        "",
        f"Exported int8: {found['transformers bfloat16'] / found['exported int8']:.2f} times as fast as "
        "transformers' bfloat16 `generate`.",
    ]
    append(f"Decoding: BERT-base, {NEW} tokens after {PREFIX}, batch 1", lines, "onnxruntime", "torch", "transformers")


EVALUATED = {
    "text_classification": ("classification", "accuracy"),
    "sequence_labeling": ("labeling", "f1"),
    "reading_comprehension": ("reading", "cmrc_f1"),
}


def accuracy(options: argparse.Namespace) -> None:
    """The scores of a fine-tuned model: on Keras, exported, and in int8."""
    lines = [
        "| task | model | score | Keras | exported float32 | exported int8 | lost |",
        "|---|---|---|---|---|---|---|",
    ]
    config = json.loads((options.model / "config.json").read_text(encoding="utf-8"))
    application, score = EVALUATED[config["nlptasks"]["task"]]
    with tempfile.TemporaryDirectory() as folder:
        paths = {"Keras": options.model}
        for side, more in (("float32", []), ("int8", ["--quantize", "int8"])):
            paths[side] = Path(folder) / side
            words = ["export", "--model", str(options.model), "--output", str(paths[side]), *more]
            subprocess.run([sys.executable, "-m", "nlptasks", *words], check=True, env=os.environ)
        found = []
        for path in paths.values():
            words = [application, "evaluate", "--model", str(path), "--data", str(options.file), "--json"]
            words += options.columns or []
            done = subprocess.run(
                [sys.executable, "-m", "nlptasks", *words], check=True, stdout=subprocess.PIPE, text=True
            )
            scores = json.loads(done.stdout.splitlines()[-1])["scores"]
            found.append(scores["reader"]["all"][score] if application == "reading" else scores[score])
    shown = " | ".join(f"{each:.2f}" for each in found)
    lines.append(f"| {application} | {options.model.name} | {score} | {shown} | {found[0] - found[2]:.2f} |")
    append(f"Accuracy: {application}", lines, "onnxruntime", "keras")


def main() -> None:
    """Runs one part."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("part", choices=("start", "speed", "decode", "accuracy", "worker"))
    parser.add_argument("--optimum", help="Python of an environment with optimum")
    parser.add_argument("--rounds", type=int, default=ROUNDS)
    parser.add_argument("--layers", type=int, default=12, help="fewer to try the script")
    parser.add_argument("--model", type=Path, help="accuracy: a run directory")
    parser.add_argument("--file", type=Path, help="accuracy: the file to score it on")
    parser.add_argument("--columns", nargs=argparse.REMAINDER, help="accuracy: further options of evaluate")
    options = parser.parse_args()
    {"start": start, "speed": speed, "decode": decode, "accuracy": accuracy, "worker": worker}[options.part](options)


if __name__ == "__main__":
    main()
