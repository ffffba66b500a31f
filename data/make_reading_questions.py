"""Write Chinese multi-passage reading questions, made from templates, in the WebQA/SogouQA format.

    python data/make_reading_questions.py --count 20000 --seed 1 --split train --output train.json.gz
    python data/make_reading_questions.py --count 1000 --seed 1 --split test --output test.json --stats

A question asks for one attribute of one invented entity; its passages mix that fact with the same attribute of other
entities and with other attributes of the same entity, so that neither position, nor the kind of value, nor shared
characters give the answer away. Names are composed of characters, and a name belongs to one split only: the test
names are unseen in training and must be copied. The words and sentence patterns are in `reading_language.json`.
The constants below set how hard the questions are. The same arguments give the same bytes.
"""

from __future__ import annotations

import argparse
import gzip
import json
import random
import re
import sys
import zlib
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

# How much is asked of the reader. Raise a rate for harder questions.
PASSAGES = (3, 3, 4)  # one of these per question
UNANSWERABLE = 0.15  # questions without an answer in any passage
SECOND_ANSWER_PASSAGE = 0.25  # answerable questions with two answer passages
RIVAL_IN_ANSWER_PASSAGE = 0.35  # the asked attribute of another entity, beside the answer
SIMILAR_NAME = 0.0  # a rival's name differs from the asked one in one character only
SAME_KIND_IN_ANSWER_PASSAGE = 0.3  # another attribute of the asked entity, a value of the same kind where there is one
DISTRACTOR_KINDS = {"rival": 0.35, "other attribute": 0.35, "unrelated": 0.3}  # of passages without the answer
JOINT_STATEMENT = 0.02  # two attributes told in one clause
PRONOUN = 0.05  # a second statement about the same entity says "he", "it"
OPENING, CLOSING = 0.05, 0.05  # words around the statements
SEVERAL_VALUES = 0.3  # attributes that take a list: two values instead of one
STATEMENTS = (1, 2, 2)  # one of these per passage, about 12 characters each
LENGTH_LIMITS = (8, 50)
SPLITS = {"train": range(0, 80), "valid": range(80, 90), "test": range(90, 100)}  # share of all names, in percent

LANGUAGE = json.loads(Path(__file__).with_name("reading_language.json").read_text(encoding="utf-8"))
NAMES, WORDS, NUMBERS = LANGUAGE["names"], LANGUAGE["words"], LANGUAGE["numbers"]


class _TryAgain(Exception):
    """The drawn question breaks a rule (the answer string occurs where it must not, a passage is too long)."""


@dataclass(frozen=True)
class Fact:
    """One attribute of one entity: what a statement says."""

    domain: str
    entity: str
    attribute: str


def split_of(name: str) -> str:
    """Return the only split in which this composed name may occur."""
    bucket = zlib.crc32(name.encode("utf-8")) % 100
    return next(split for split, buckets in SPLITS.items() if bucket in buckets)


class _World:
    """The entities and values of one question, drawn as they are needed and then kept."""

    def __init__(self, rng: random.Random, split: str) -> None:
        self.rng, self.split = rng, split
        self.values: dict[Fact, tuple[str, ...]] = {}
        self.used: set[str] = set()
        self.pieces: dict[str, list[tuple[str, str]]] = {}  # name -> (pool or "", text) of its pieces

    def name(self, kind: str, like: str = "") -> str:
        """Draw an unused name of this split; with `like`, an earlier name, redraw only one piece of that."""
        for _ in range(400):
            if like:
                pieces = list(self.pieces[like])
                place = self.rng.choice([n for n, (pool, _) in enumerate(pieces) if pool])
                pieces[place] = (pieces[place][0], self.rng.choice(LANGUAGE["pools"][pieces[place][0]]))
            else:
                found = re.findall(r"<(\w+)>|([^<]+)", self.rng.choice(NAMES[kind]))
                pieces = [(pool, self.rng.choice(LANGUAGE["pools"][pool]) if pool else text) for pool, text in found]
            name = "".join(text for _, text in pieces)
            if name not in self.pieces and split_of(name) == self.split:
                self.pieces[name] = pieces
                return name
        raise _TryAgain

    def value(self, fact: Fact) -> tuple[str, ...]:
        """Return the value of a fact, in parts; a value that was drawn before stays the same."""
        if fact not in self.values:
            kind = LANGUAGE["domains"][fact.domain]["attributes"][fact.attribute]["value"]
            count = 2 if kind.startswith("several:") and self.rng.random() < SEVERAL_VALUES else 1
            kind = kind.removeprefix("several:")
            self.values[fact] = tuple(self._single(kind) for _ in range(count))
        return self.values[fact]

    def _single(self, kind: str) -> str:
        if kind in NAMES:
            return self.name(kind)
        for _ in range(50):
            if kind in WORDS:
                value = self.rng.choice(WORDS[kind].split())
            else:
                low, high, step, unit = NUMBERS[kind]
                value = f"{self.rng.randrange(low, high + 1, step)}{unit}"
            if value not in self.used:
                self.used.add(value)
                return value
        raise _TryAgain


class _Writer:
    """Turns facts into a passage."""

    def __init__(self, world: _World, asked: Fact) -> None:
        self.world, self.rng, self.asked = world, world.rng, asked

    def statement(self, fact: Fact, pronoun: bool, done: set[Fact], may_answer: bool) -> str:
        """State a fact, now and then together with a second one of the same entity; add what was told to `done`."""
        domain = LANGUAGE["domains"][fact.domain]
        texts = domain["attributes"][fact.attribute]["statements"]
        if self.rng.random() < JOINT_STATEMENT:
            for text in domain["joint"]:
                told = {Fact(fact.domain, fact.entity, name) for name in re.findall(r"{(\w\w+)}", text)}
                if fact in told and not (told - {fact}) & done and (may_answer or self.asked not in told):
                    texts = [text]
        text = self.rng.choice(texts)
        told = {fact.attribute, *re.findall(r"{(\w\w+)}", text)}
        done.update(Fact(fact.domain, fact.entity, name) for name in told)
        values = {name: self._told(Fact(fact.domain, fact.entity, name)) for name in sorted(told)}
        if pronoun and self.rng.random() < PRONOUN:
            text = re.sub(r"^(《{e}》|{e}相机|{e})", domain["pronoun"], text, count=1)
        return text.format(e=fact.entity, v=values[fact.attribute], **values)

    def _told(self, fact: Fact) -> str:
        return "、".join(self.world.value(fact))

    def passage(self, facts: list[Fact], more: Iterator[Fact], may_answer: bool) -> str:
        """Tell all `facts`, and `more` up to a drawn number of statements, in random order."""
        missing = self.rng.choice(STATEMENTS) - len(facts)
        facts = list(dict.fromkeys([*facts, *islice(more, max(0, missing))]))
        self.rng.shuffle(facts)
        done: set[Fact] = set() if may_answer else {self.asked}
        clauses, previous = [], ""
        for fact in facts:
            if fact not in done:
                clauses.append(self.statement(fact, fact.entity == previous, done, may_answer))
                previous = fact.entity
        text = clauses[0] + "".join(self.rng.choice("，，。；") + clause for clause in clauses[1:]) + "。"
        if self.rng.random() < OPENING:
            text = self.rng.choice(LANGUAGE["openings"]) + text
        if self.rng.random() < CLOSING:
            text += self.rng.choice(LANGUAGE["closings"])
        return text


def _draw_item(rng: random.Random, split: str, item_id: str) -> dict:
    world = _World(rng, split)
    domain = rng.choice(sorted(LANGUAGE["domains"]))
    attributes = LANGUAGE["domains"][domain]["attributes"]
    name_kind = LANGUAGE["domains"][domain]["name"]
    attribute = rng.choice(sorted(attributes))
    entity = world.name(name_kind)
    asked = Fact(domain, entity, attribute)
    answer = world.value(asked)
    rivals = [world.name(name_kind, like=entity if rng.random() < SIMILAR_NAME else "") for _ in range(3)]
    kind = attributes[attribute]["value"].removeprefix("several:")
    same_kind = [name for name in attributes if attributes[name]["value"].removeprefix("several:") == kind]
    same_kind = [name for name in same_kind if name != attribute] or [name for name in attributes if name != attribute]
    writer = _Writer(world, asked)

    def any_fact(entities: list[str]) -> Iterator[Fact]:
        while True:
            yield Fact(domain, rng.choice(entities), rng.choice(sorted(attributes)))

    def answer_passage() -> str:
        facts, others = [asked], rng.sample(rivals, 2)
        if rng.random() < RIVAL_IN_ANSWER_PASSAGE:
            facts.append(Fact(domain, others[0], attribute))
        if rng.random() < SAME_KIND_IN_ANSWER_PASSAGE:
            facts.append(Fact(domain, entity, rng.choice(same_kind)))
        return writer.passage(facts, any_fact([entity, *others]), may_answer=True)

    def distractor() -> str:
        what = rng.choices(list(DISTRACTOR_KINDS), list(DISTRACTOR_KINDS.values()))[0]
        others = rng.sample(rivals, 2)
        if what == "rival":
            return writer.passage([Fact(domain, others[0], attribute)], any_fact(others), may_answer=False)
        if what == "other attribute":
            facts = [Fact(domain, entity, rng.choice(same_kind)), Fact(domain, others[0], attribute)]
            return writer.passage(facts[: rng.randint(1, 2)], any_fact([entity, others[0]]), may_answer=False)
        return writer.passage([], _unrelated(world, domain), may_answer=False)

    holders = 0 if rng.random() < UNANSWERABLE else 2 if rng.random() < SECOND_ANSWER_PASSAGE else 1
    count = rng.choice(PASSAGES)
    passages = [{"passage": answer_passage(), "answer": " ".join(answer)} for _ in range(holders)]
    passages += [{"passage": distractor(), "answer": ""} for _ in range(count - holders)]
    rng.shuffle(passages)
    question = rng.choice(attributes[attribute]["questions"]).format(e=entity)
    item = {"id": item_id, "question": question, "passages": passages}
    if any(part in passage["passage"] for part in answer for passage in passages if not passage["answer"]):
        raise _TryAgain
    check(item)
    return item


def _unrelated(world: _World, domain: str) -> Iterator[Fact]:
    other = world.rng.choice([name for name in sorted(LANGUAGE["domains"]) if name != domain])
    entities = [world.name(LANGUAGE["domains"][other]["name"]) for _ in range(2)]
    while True:
        attribute = world.rng.choice(sorted(LANGUAGE["domains"][other]["attributes"]))
        yield Fact(other, world.rng.choice(entities), attribute)


def check(item: dict) -> None:
    """Raise ValueError naming the first rule that an item breaks; every generated item has passed this."""

    def rule(holds: bool, text: str) -> None:
        if not holds:
            raise ValueError(f"{item.get('id')}: {text}. Received: {json.dumps(item, ensure_ascii=False)}")

    rule(set(item) == {"id", "question", "passages"}, "an item has the fields id, question, passages")
    rule(min(PASSAGES) <= len(item["passages"]) <= max(PASSAGES), f"a question has {PASSAGES} passages")
    answers = {passage["answer"] for passage in item["passages"]} - {""}
    rule(len(answers) <= 1, "all passages that answer give the same answer")
    rule(len({passage["passage"] for passage in item["passages"]}) == len(item["passages"]), "passages differ")
    for passage in item["passages"]:
        text, answer = passage["passage"], passage["answer"]
        rule(set(passage) == {"passage", "answer"}, "a passage has the fields passage, answer")
        rule(LENGTH_LIMITS[0] <= len(text) <= LENGTH_LIMITS[1], f"a passage has {LENGTH_LIMITS} characters")
        rule(answer == " ".join(answer.split()), "the parts of an answer are joined by one space")
        for part in "".join(answers).split() if not answer else answer.split():
            found = text.count(part)
            rule(found == bool(answer), f"{part!r} occurs once where it answers and nowhere else, found {found} times")
            rule(part not in item["question"], f"the question does not hold its answer {part!r}")


def generate_questions(count: int, seed: int, split: str) -> Iterator[dict]:
    """Yield `count` items of a split; fewer items with the same seed are the beginning of more."""
    if split not in SPLITS:
        raise ValueError(f"split must be one of {', '.join(SPLITS)}. Received: split={split!r}")
    rng, made = random.Random(f"{split}:{seed}"), 0
    while made < count:
        try:
            item = _draw_item(rng, split, f"{split}_{seed}_{made:06d}")
        except (_TryAgain, ValueError):
            continue
        made += 1
        yield item


def write_questions(items: Iterable[dict], path: Path) -> None:
    """Write a JSON list, one item a line; gzip (with no time stamp) when the name ends with .gz; make its folder."""
    text = "[\n" + ",\n".join(json.dumps(item, ensure_ascii=False) for item in items) + "\n]\n"
    data = text.encode("utf-8")
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(gzip.compress(data, mtime=0) if path.suffix == ".gz" else data)


def statistics(items: list[dict]) -> dict:
    """Count what the constants at the top are meant to control."""
    passages = [passage for item in items for passage in item["passages"]]
    starts = [p["passage"].index(p["answer"].split()[0]) / len(p["passage"]) for p in passages if p["answer"]]
    answers = {item["id"]: {p["answer"] for p in item["passages"]} - {""} for item in items}
    text = "".join(item["question"] + "".join(p["passage"] for p in item["passages"]) for item in items)
    distinct = {answer for found in answers.values() for answer in found}
    lengths = [len(p["passage"]) for p in passages]
    return {
        "questions": len(items),
        "passages_per_question": round(len(passages) / len(items), 2),
        "passage_characters_mean_min_max": [round(sum(lengths) / len(lengths), 1), min(lengths), max(lengths)],
        "unanswerable_share": round(sum(not found for found in answers.values()) / len(items), 3),
        "two_answer_passages": sum(sum(bool(p["answer"]) for p in i["passages"]) > 1 for i in items),
        "multi_part_answers": sum(any(" " in a for a in found) for found in answers.values()),
        "distinct_answers": len(distinct),
        "answer_starts_by_tenth": [n for _, n in sorted(Counter(int(start * 10) for start in starts).items())],
        "distinct_characters": len(set(text)),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--count", type=int, default=20000, help="number of questions")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--split", choices=list(SPLITS), default="train", help="names do not cross splits")
    parser.add_argument("--output", type=Path, required=True, help="file to write, gzip when it ends with .gz")
    parser.add_argument("--stats", action="store_true", help="print statistics to standard error")
    options = parser.parse_args()
    items = list(generate_questions(options.count, options.seed, options.split))
    write_questions(items, options.output)
    if options.stats:
        print(json.dumps(statistics(items), ensure_ascii=False, indent=1), file=sys.stderr)


if __name__ == "__main__":
    main()
