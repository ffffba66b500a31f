"""`nlptasks rewrite` beside beam generation, beam search over its moves, random edits and paraphrases of people.

    NLPTASKS_DATA=... python benchmarks/rewriting.py --pairs runs/pairs.jsonl
    head -7000 runs/pairs.jsonl > runs/some.jsonl
    nlptasks checkpoint layers mini --count 3 --output runs/three
    nlptasks seq2seq train --train runs/some.jsonl --checkpoint runs/three --source-length 20 --target-length 18 \\
        --epochs 1 --batch-size 32 --learning-rate 5e-4 --warmup-share 0.1 --decay --valid-limit 60 \\
        --output runs/paraphrases
    NLPTASKS_DATA=... python benchmarks/rewriting.py --work FOLDER --generator runs/paraphrases \\
        --output benchmarks/rewriting.md

200 questions of 8 to 12 characters from groups_dev.tsv, each of another group. What is asked of each: the longest word
must stay, the second longest must go, at most two characters more, at least two characters changed. The judges are not
in the objective: fluency by the masked LM `base` (12 layers; `mini`, which the objective uses, was distilled from it),
closeness by the mean vectors of the checkpoint `pieces`. An output that equals its source counts as a failure.
Beam generation is by a model that was trained on the pairs of --pairs; without --generator it is left out.

The work is kept in FOLDER, a few sentences at a time: after --seconds the command ends, and the same command goes on.
Texts stay in FOLDER; the record has numbers only.
"""

import argparse
import json
import os
import random
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from record import surroundings

import nlptasks
from nlptasks.applications.filling.filler import MaskFiller
from nlptasks.rewriting.constraints import Constraints, edit_distance
from nlptasks.rewriting.masked import MaskedModel
from nlptasks.rewriting.moves import DELETE, INSERT, KINDS, REPLACE, SWAP, Moves, State, context_of, moved
from nlptasks.rewriting.objective import Objective
from nlptasks.rewriting.options import SearchOptions
from nlptasks.rewriting.rewriter import Rewriter
from nlptasks.rewriting.sampler import Run
from nlptasks.rewriting.words import joined
from nlptasks.text import open_tokenizer
from nlptasks.text.batches import pad

ABOUT = """\
200 questions of 8 to 12 characters of groups_dev, each of another group. Of each text is asked that the longest
word of its source stays and the second longest goes, that it has at most two characters more and differs in two at
least, and that nothing is said twice. An unchanged text is a failure.

Search: one chain of 30 steps, otherwise as `nlptasks rewrite` comes. Beam generation: a model of `nlptasks seq2seq`,
trained on sentences of the same group in groups_train ({training}), none of them a sentence of groups_dev. It writes
{beams} beams and does not know what is asked for: the most likely text that satisfies everything is taken, and where
none does, the most likely one of all. Beam search: the objective of the search and the same words, two lists kept,
each changed at every place by the three likeliest words of one and of two tokens, eight of these scored for each
list, two rounds. Random edits: up to three moves with random words, tried until all constraints hold. Fluency is the
mean log probability of a token by the masked LM `base`, of which the objective's `mini` was distilled; closeness the
cosine of the mean vectors of the checkpoint `pieces`. Neither is in the objective.
"""
COUNT, AT_ONCE = 200, 20
STEPS, CHAINS = 30, 1
BEAM, TRIED, ROUNDS = 2, 8, 2
"""lists that are kept, candidates that are scored for each of them, rounds"""
WRITTEN, LONGEST = 32, 16
"""beams of the generator, and characters of the sentences that it learns from"""
TRAINED = "7,000 of its 32,862 pairs, read once, from three layers of `mini`"
SEARCH, GENERATION, BEAMS, RANDOM = "search", "beam generation", "beam search", "random edits"
PEOPLE, SOURCE = "another sentence of the group", "the source itself"


def tasks(folder: Path, rewriter: Rewriter) -> list[dict]:
    """Sources, what is asked of each, and a paraphrase by a person."""
    groups: dict[str, list[str]] = {}
    for line in (folder / "similarity" / "groups_dev.tsv").read_text(encoding="utf-8").splitlines():
        group, text = line.split("\t")
        groups.setdefault(group, []).append(text)
    found = []
    for texts in groups.values():
        if len(texts) < 2 or not 8 <= len(texts[0]) <= 12 or " " in texts[0]:
            continue
        words = list(dict.fromkeys(word for word in rewriter.segmenter.segment(texts[0]) if word.isalnum()))
        words.sort(key=len, reverse=True)
        if len(words) > 2 and len(words[1]) > 1 and words[1] not in words[0]:
            found.append({"source": texts[0], "keep": words[0], "drop": words[1], "other": texts[1]})
    return random.Random(0).sample(found, COUNT)


def pairs(folder: Path) -> Iterator[dict[str, str]]:
    """Sentences of the same group, each with the next one, in a random order; none of them is in groups_dev."""
    groups: dict[str, list[str]] = {}
    held_out = set()
    for name in ("dev", "train"):
        for line in (folder / "similarity" / f"groups_{name}.tsv").read_text(encoding="utf-8").splitlines():
            group, text = line.split("\t")
            if name == "dev":
                held_out.add(text)
            elif text not in held_out and 4 <= len(text) <= LONGEST:
                groups.setdefault(group, []).append(text)
    found = [
        {"source": text, "target": other}
        for texts in groups.values()
        for text, other in zip(texts, [*texts[1:], texts[0]], strict=True)
        if text != other
    ]
    random.Random(0).shuffle(found)
    yield from found


def rules_of(task: dict) -> Constraints:
    """What is asked of a text."""
    return Constraints(
        contain=(task["keep"],),
        avoid=(task["drop"],),
        max_length=len(task["source"]) + 2,
        source=task["source"],
        min_edits=2,
        repeats=False,
    )


def by_search(rewriter: Rewriter, part: Sequence[dict], first: int) -> Iterator[tuple[str, int, Run]]:
    """As the command does it, with constraints of each text."""
    options = SearchOptions(steps=STEPS, chains=CHAINS, min_edits=2)
    runs: list[Run] = []
    texts, rules = [task["source"] for task in part], [rules_of(task) for task in part]
    found = rewriter.rewrite(texts, options, list(range(first, first + len(part))), rules, told=runs.append)
    for one in found:
        yield one.text, runs[0].evaluated // len(part), runs[0]


def by_generation(writer: Any, part: Sequence[dict]) -> Iterator[tuple[str, int]]:
    """The most likely text of the beams that satisfies everything, or the most likely one; and how many were read."""
    options = {"search": "beam", "beam_size": WRITTEN, "count": WRITTEN, "min_length": 3}
    found = writer.generate_batch([task["source"] for task in part], **options)
    for task, texts in zip(part, found, strict=True):
        rules = rules_of(task)
        right = (number for number, one in enumerate(texts) if not rules.violations(one.text))
        number = next(right, None)
        yield texts[number or 0].text, len(texts) if number is None else number + 1


def start_of(rewriter: Rewriter, task: dict) -> State:
    """The words without those that must go."""
    words = rewriter.segmenter.segment(task["source"])
    return tuple(word for word in words if task["drop"] not in word)


def by_beam(rewriter: Rewriter, task: dict) -> tuple[str, int]:
    """The best few lists of words, each changed at every place by the likeliest words; the best of these, and so on."""
    target = Objective(
        rewriter.model.fluency,
        rewriter.encoder.encode,
        [task["source"]],
        [rules_of(task)],
        SearchOptions().weights,
        [0],
    )

    def worth(states: Sequence[State]) -> list[tuple[int, float]]:
        return [(value.violations, -value.log_p) for value in target.values([0] * len(states), states)]

    beam = [start_of(rewriter, task)]
    best: dict[State, tuple[int, float]] = dict(zip(beam, worth(beam), strict=True))
    for _ in range(ROUNDS):
        asked, moves = [], []
        for state in beam:
            for kind in (REPLACE, INSERT):
                for place in range(len(state) + (kind == INSERT)):
                    for length in (1, 2):
                        asked.append((*context_of(state, kind, place), length))
                        moves.append((state, kind, place, length))
        candidates: dict[State, float] = {moved(state, DELETE, i): 0.0 for state in beam for i in range(len(state))}
        for (state, kind, place, length), logs_MV in zip(moves, rewriter.model.gap_logs(asked), strict=True):
            ids = rewriter.lexicon.ids[length]
            logs = logs_MV[np.arange(length), ids].mean(axis=1)
            for row in np.argsort(-logs)[:3].tolist():
                candidates[moved(state, kind, place, rewriter.lexicon.words[length][row])] = float(logs[row])
        new = [state for state in candidates if state and state not in best]
        bounds = target.bounds([0] * len(new), new)
        order = sorted(range(len(new)), key=lambda i: -(bounds[i] + candidates[new[i]]))[: TRIED * len(beam)]
        chosen = [new[i] for i in order]
        best |= dict(zip(chosen, worth(chosen), strict=True))
        beam = sorted(best, key=best.__getitem__)[:BEAM]
    return joined(min(best, key=best.__getitem__)), target.evaluated


def by_chance(rewriter: Rewriter, task: dict, draw: random.Random) -> tuple[str, int]:
    """Random moves with random words until everything asked for holds."""
    words = [word for each in rewriter.lexicon.words.values() for word in each]
    rules, moves = rules_of(task), Moves(fewest=1, most=12)
    for tries in range(1, 10_000):
        state = start_of(rewriter, task)
        for _ in range(draw.randint(1, 3)):
            chances = moves.chances(len(state))
            kind = draw.choices(list(chances), list(chances.values()))[0]
            state = moved(state, kind, draw.randrange(moves.places(kind, len(state))), draw.choice(words))
        if not rules.violations(joined(state)):
            return joined(state), tries
    return joined(state), tries


def judge_vectors(folder: Path, texts: Sequence[str]) -> np.ndarray:
    """Mean hidden states of the checkpoint `pieces`, of length 1 (N, D)."""
    path = folder / "checkpoints" / "pieces"
    tokenizer, model = open_tokenizer(path), nlptasks.build_transformer_model(path, path)
    rows = []
    for start in range(0, len(texts), 32):
        part = [f"query: {text}" for text in texts[start : start + 32]]
        ids = [encoding.token_ids for encoding in tokenizer.encode_batch(part, with_offsets=False)]
        array = pad(ids, 32, 32, tokenizer.pad_id)
        hidden = np.asarray(model([array, np.zeros_like(array)]))
        for number, each in enumerate(ids):
            rows.append(hidden[number, : len(each)].mean(axis=0))
    vectors = np.stack(rows)
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


def work(options: argparse.Namespace, folder: Path) -> bool:
    """Rewrites until the time is over; whether all is done."""
    started = time.monotonic()
    rewriter = Rewriter.open("mini")
    given = tasks(folder, rewriter)
    options.work.mkdir(parents=True, exist_ok=True)
    writer = None if options.generator is None else nlptasks.load(options.generator)
    for name in options.system:
        if name == GENERATION and writer is None:
            continue
        path = options.work / f"{name.replace(' ', '_')}.jsonl"
        done = path.read_text(encoding="utf-8").count("\n") if path.is_file() else 0
        for first in range(done, COUNT, AT_ONCE):
            if time.monotonic() - started > options.seconds:
                return False
            part, begun = given[first : first + AT_ONCE], time.monotonic()
            rows = []
            if name == SEARCH:
                for text, evaluated, run in by_search(rewriter, part, first):
                    told = {kind: int((run.kinds == i).sum()) for i, kind in enumerate(KINDS)}
                    won = {kind: int(run.accepted[run.kinds == i].sum()) for i, kind in enumerate(KINDS)}
                    rows.append(
                        {"text": text, "evaluated": evaluated, "steps": run.accepted.size, "tried": told, "won": won}
                    )
            elif name == GENERATION:
                rows = [{"text": text, "evaluated": count} for text, count in by_generation(writer, part)]
            else:
                for number, task in enumerate(part, first):
                    text, tries = (
                        by_beam(rewriter, task) if name == BEAMS else by_chance(rewriter, task, random.Random(number))
                    )
                    rows.append({"text": text, "evaluated": tries})
            seconds = (time.monotonic() - begun) / len(part)
            with open(path, "a", encoding="utf-8") as file:
                file.writelines(json.dumps(row | {"seconds": seconds}, ensure_ascii=False) + "\n" for row in rows)
            print(f"{name}: {first + len(part)} of {COUNT}, {seconds:.2f} s a text", flush=True)
    return True


def judged(
    path: Path, texts: Sequence[str], judge: Callable[[Sequence[str]], tuple[np.ndarray, np.ndarray]]
) -> tuple[np.ndarray, np.ndarray]:
    """Fluency and closeness of texts, kept in a file: the judges are the slowest part."""
    if path.is_file():
        kept = json.loads(path.read_text(encoding="utf-8"))
        if kept["texts"] == list(texts):
            return np.array(kept["fluency"]), np.array(kept["closeness"])
    fluency, closeness = judge(texts)
    values = {"texts": list(texts), "fluency": fluency.tolist(), "closeness": closeness.tolist()}
    path.write_text(json.dumps(values, ensure_ascii=False), encoding="utf-8")
    return fluency, closeness


def record(options: argparse.Namespace, folder: Path) -> Iterator[str]:
    """The table."""
    rewriter = Rewriter.open("mini")
    given = tasks(folder, rewriter)
    systems: dict[str, list[dict]] = {}
    for name in (GENERATION, SEARCH, BEAMS, RANDOM):
        path = options.work / f"{name.replace(' ', '_')}.jsonl"
        if path.is_file():
            systems[name] = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
    systems[PEOPLE] = [{"text": task["other"]} for task in given]
    systems[SOURCE] = [{"text": task["source"]} for task in given]
    sources = judge_vectors(folder, [task["source"] for task in given])
    strangers = (sources * np.roll(sources, 1, axis=0)).sum(axis=1).mean()
    model = MaskedModel(MaskFiller.open("base"))

    def judge(texts: Sequence[str]) -> tuple[np.ndarray, np.ndarray]:
        fluency = model.fluency([tuple(rewriter.segmenter.segment(text)) for text in texts])
        return fluency, (judge_vectors(folder, texts) * sources[: len(texts)]).sum(axis=1)

    training = options.training if GENERATION in systems else "not trained here"
    yield from ABOUT.format(beams=WRITTEN, training=training).split("\n")
    yield "| system | texts | satisfied % | unchanged | fluency | closeness | edits | scored a text | s a text |"
    yield "|---|---|---|---|---|---|---|---|---|"
    fluency: dict[str, np.ndarray] = {}
    closeness: dict[str, np.ndarray] = {}
    satisfied: dict[str, np.ndarray] = {}
    for name, rows in systems.items():
        texts = [row["text"] for row in rows]
        these = given[: len(texts)]
        kept = [not rules_of(task).violations(text) for task, text in zip(these, texts, strict=True)]
        same = sum(task["source"] == text for task, text in zip(these, texts, strict=True))
        satisfied[name] = np.array(kept)
        fluency[name], closeness[name] = judged(options.work / f"judged_{name.replace(' ', '_')}.json", texts, judge)
        edits = np.mean([edit_distance(task["source"], text) for task, text in zip(these, texts, strict=True)])
        scored = f"{np.mean([row['evaluated'] for row in rows]):.0f}" if "evaluated" in rows[0] else ""
        seconds = f"{np.mean([row['seconds'] for row in rows]):.2f}" if "seconds" in rows[0] else ""
        held = "" if name in (PEOPLE, SOURCE) else f"{100 * np.mean(kept):.1f}"
        found = f"{held} | {same} | {fluency[name].mean():.2f} | {closeness[name].mean():.3f} | {edits:.1f}"
        yield f"| {name} | {len(texts)} | {found} | {scored} | {seconds} |"
    if GENERATION in systems:
        right = satisfied[GENERATION]
        yield ""
        yield f"Beam generation: none of the {WRITTEN} beams satisfies everything for {(~right).sum()} of {len(right)}"
        yield "texts. On the others alone:"
        yield ""
        yield "| system | fluency | closeness |"
        yield "|---|---|---|"
        for name in systems:
            if len(fluency[name]) == len(right) and right.any():
                yield f"| {name} | {fluency[name][right].mean():.2f} | {closeness[name][right].mean():.3f} |"
    yield ""
    yield f"Closeness of two sources of different groups: {strangers:.3f}."
    for name in (SEARCH,):
        if rows := systems.get(name):
            steps = sum(row["steps"] for row in rows[::AT_ONCE])
            seconds = sum(row["seconds"] for row in rows)
            tried = {
                kind: sum(row["tried"][kind] for row in rows[::AT_ONCE]) for kind in (REPLACE, INSERT, DELETE, SWAP)
            }
            won = {kind: sum(row["won"][kind] for row in rows[::AT_ONCE]) for kind in tried}
            shares = ", ".join(f"{kind} {100 * won[kind] / max(tried[kind], 1):.0f} %" for kind in tried)
            pace = f"{steps:,} steps, {CHAINS} chains a text, {steps / seconds:.1f} steps a second"
            yield f"{name}: {pace}; accepted: {shares}."


def main() -> None:
    """Works, and writes the record once all is done."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--pairs", type=Path, help="only write the pairs that a generator is trained on")
    parser.add_argument("--generator", type=Path, help="run directory of a model that was trained on them")
    parser.add_argument("--training", default=TRAINED, help="how, for the record")
    parser.add_argument("--work", type=Path, help="folder for what is found so far")
    parser.add_argument("--seconds", type=float, default=1e9, help="end after about so many seconds")
    parser.add_argument("--system", nargs="*", default=[SEARCH, GENERATION, RANDOM, BEAMS], help="only these")
    parser.add_argument("--record", action="store_true", help="write the record of what there is")
    parser.add_argument("--output", type=Path, help="file to write")
    options = parser.parse_args()
    folder = Path(os.environ["NLPTASKS_DATA"])
    if options.pairs is not None:
        rows = (json.dumps(pair, ensure_ascii=False) + "\n" for pair in pairs(folder))
        options.pairs.write_text("".join(rows), encoding="utf-8")
        return
    if options.work is None:
        parser.error("give --work FOLDER, or --pairs FILE.")
    if not options.record and not work(options, folder):
        return
    if options.record or options.output:
        lines = [
            "# Text found by search",
            "",
            f"{surroundings('numpy', 'keras')}. Made by `benchmarks/rewriting.py`.",
            "",
        ]
        for line in record(options, folder):
            print(line, flush=True)
            lines.append(line)
        if options.output:
            options.output.write_text("\n".join(lines) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
