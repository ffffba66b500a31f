"""What each option of attention costs: time of a training step and of a forward pass relative to plain attention.

    python benchmarks/attention.py --output docs/attention.md

2 layers of BERT-base's size (hidden 768, 12 heads), the masked-LM head left out. The variants take turns, a round each;
the figure is the ratio of the fastest rounds. On a GPU: `KERAS_BACKEND=jax python benchmarks/attention.py --layers 12`.
"""

import argparse
import time
from pathlib import Path

import numpy as np
from record import surroundings

BASE = {"vocab_size": 1009, "hidden_size": 768, "num_heads": 12, "ffn_size": 3072, "max_positions": 512}
VARIANTS = {
    "plain": {},
    "key_size 128": {"key_size": 128, "value_size": 64},
    "talking heads": {"talking_heads": True},
    "residual scores, previous": {"residual_attention_scores": "previous"},
    "residual scores, running": {"residual_attention_scores": "running"},
    "relative positions (NEZHA)": {"position": "relative"},
    "rotary positions (RoFormer)": {"position": "rotary"},
    "hierarchical positions": {"hierarchical_position": 0.4},
    "shared layers (ALBERT)": {"shared_layers": True},
}
SHAPES = ((16, 128), (4, 512))


def programs(config) -> dict:
    """A compiled training step and a compiled forward pass, each a function of token ids `(B, T)`."""
    import keras
    from keras import ops

    from nlptasks.backend import compile_function, compile_train_step
    from nlptasks.core import Transformer

    model = Transformer(config)
    model.build()

    def loss_function(batch):
        return ops.mean(ops.square(model.encode(batch["token_ids"], training=True)))

    train = compile_train_step(model, keras.optimizers.Adam(1e-4), loss_function)
    forward = compile_function(lambda token_ids: model.encode(token_ids), model)
    return {"training step": lambda ids: train({"token_ids": ids}), "forward pass": forward}


def seconds(function, token_ids) -> float:
    """One call, waited for."""
    from keras import ops

    started = time.monotonic()
    ops.convert_to_numpy(function(token_ids))
    return time.monotonic() - started


def measure(layers: int, rounds: int) -> dict:
    """(program, shape) -> variant -> the fastest round in seconds."""
    from nlptasks.core import TransformerConfig

    built = {
        name: programs(TransformerConfig(**(BASE | {"num_layers": layers} | changes)))
        for name, changes in VARIANTS.items()
    }
    results = {}
    for shape in SHAPES:
        token_ids = np.random.default_rng(1).integers(1, BASE["vocab_size"], shape).astype("int32")
        for program in ("training step", "forward pass"):
            times = {name: [] for name in VARIANTS}
            for round_ in range(rounds + 1):
                for name in VARIANTS:
                    found = seconds(built[name][program], token_ids)
                    if round_:  # the first one compiles
                        times[name].append(found)
            results[program, shape] = {name: min(found) for name, found in times.items()}
    return results


def report(results: dict, layers: int, rounds: int) -> str:
    """The ratios as a table, with the seconds of plain attention."""
    import keras

    heads = [f"{program}, {shape[0]} x {shape[1]}" for program, shape in results]
    lines = [
        "# What the options of attention cost",
        "",
        "Made by `python benchmarks/attention.py --output docs/attention.md`,",
        f"{surroundings('keras', keras.backend.backend())}, float32.",
        "",
        f"{layers} layers of BERT-base's size; time relative to plain attention, the fastest of {rounds} rounds each.",
        "",
        "| option | " + " | ".join(heads) + " |",
        "|---|" + "---|" * len(heads),
    ]
    for name in VARIANTS:
        cells = [f"{found[name] / found['plain']:.2f}" for found in results.values()]
        if name == "plain":
            cells = [f"1 ({found[name]:.3f} s)" for found in results.values()]
        lines.append(f"| {name} | {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


def main() -> None:
    """Measures and prints or writes the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--layers", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--output", type=Path, help="write the table there; else it is printed")
    options = parser.parse_args()
    text = report(measure(options.layers, options.rounds), options.layers, options.rounds)
    if options.output:
        options.output.write_text(text, encoding="utf-8")
    print(text)


if __name__ == "__main__":
    main()
