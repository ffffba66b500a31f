"""Write Chinese arithmetic word problems with their formulas, as JSON lines of source and target.

    python data/make_word_problems.py --count 20000 --seed 1 --split train --output train.jsonl
    python data/make_word_problems.py --count 1000 --seed 1 --split test --output test.jsonl

A problem is a template with numbers, names and things; its target is a formula, whose value is a whole number that is
not negative. Every template belongs to one split, and so does every number: those of test problems never occur in
training, neither in a problem nor as its value (`NUMBERS`). Small factors are shared.
The same arguments give the same bytes.
"""

from __future__ import annotations

import argparse
import json
import random
import sys
from collections.abc import Iterator
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent.parent))
from nlptasks.files import write_text
from nlptasks.metrics.formulas import value_of

NUMBERS = {"train": range(10, 50), "valid": range(50, 60), "test": range(60, 100)}
"""the numbers of a split; a problem's value is one of them, or larger than all of them"""
FACTORS = range(2, 10)
"""small numbers: how often, how many each; shared by all splits"""
LARGEST = 999
VAIN_IN_A_ROW = 2000
"""after so many draws that gave nothing new, there is hardly anything new"""
PEOPLE = ("小明", "小红", "小刚", "小丽", "小军", "小芳", "王老师", "李叔叔", "张奶奶", "陈阿姨")
THINGS = ("苹果", "梨", "桃子", "铅笔", "练习本", "贴纸", "气球", "弹珠", "纽扣", "鸡蛋")

# (problem, formula): {a} {b} {c} are numbers of the split, {k} and {m} small factors; {p} a person, {x} a thing.
TEMPLATES: dict[str, tuple[tuple[str, str], ...]] = {
    "train": (
        ("{p}有{a}个{x}，又买来{b}个，现在一共有多少个{x}？", "{a}+{b}"),
        ("{p}有{a}个{x}，送给别人{b}个，还剩多少个？", "{a}-{b}"),
        ("每盒装{k}个{x}，{a}盒一共有多少个{x}？", "{a}*{k}"),
        ("{p}每天做{a}个{x}，{k}天一共做多少个？", "{a}*{k}"),
        ("桌上有{a}个{x}，柜子里有{b}个，地上还有{c}个，一共有多少个？", "{a}+{b}+{c}"),
        ("{p}有{a}个{x}，上午用去{b}个，下午又买来{c}个，现在有多少个？", "{a}-{b}+{c}"),
        ("商店运来{k}箱{x}，每箱{a}个，卖出{b}个，还剩多少个？", "{a}*{k}-{b}"),
        ("商店原来有{b}个{x}，又运来{k}箱，每箱{a}个，现在有多少个？", "{b}+{a}*{k}"),
        ("{p}带来{a}个{x}，同学带来{b}个，合起来平均分给{k}组，每组几个？", "({a}+{b})/{k}"),
        ("把{a}个{x}平均分给{k}个小朋友，每人分到多少个？", "{a}/{k}"),
        ("一个{x}{k}元，{p}买了{a}个，付了钱以后还剩{b}元，他原来有多少元？", "{a}*{k}+{b}"),
        ("{p}有{a}元，买{x}花去{b}元，剩下的钱每天用{k}元，够用几天？", "({a}-{b})/{k}"),
        ("甲班有{a}人，乙班有{b}人，每人发{k}个{x}，一共要多少个？", "({a}+{b})*{k}"),
        ("甲筐有{a}个{x}，乙筐比甲筐少{b}个，乙筐有多少个？", "{a}-{b}"),
        ("甲筐有{a}个{x}，乙筐比甲筐多{b}个，乙筐有多少个？", "{a}+{b}"),
        ("甲筐有{a}个{x}，乙筐是甲筐的{k}倍，两筐一共有多少个？", "{a}+{a}*{k}"),
    ),
    "valid": (
        ("{p}种了{a}棵树，李村种了{b}棵，两处合起来种了多少棵？", "{a}+{b}"),
        ("车上有{a}人，到站下去{b}人，又上来{c}人，车上现在有多少人？", "{a}-{b}+{c}"),
        ("一排有{a}个座位，{k}排共有多少个座位？", "{a}*{k}"),
        ("{a}只{x}放进{k}个篮子，每个篮子一样多，各放几只？", "{a}/{k}"),
    ),
    "test": (
        ("书架上层放着{a}本书，下层放着{b}本，两层共放着多少本书？", "{a}+{b}"),
        ("一根绳子长{a}米，剪下{b}米以后，剩下多少米？", "{a}-{b}"),
        ("操场上站着{k}队学生，每队{a}人，操场上共有多少人？", "{a}*{k}"),
        ("{p}要读一本{a}页的书，每天读{k}页，要读多少天？", "{a}/{k}"),
        ("停车场里有{a}辆汽车，开走{b}辆，又开来{c}辆，现在停着多少辆？", "{a}-{b}+{c}"),
        ("果园里收了{k}车{x}，每车{a}筐，卖掉了{b}筐，果园里还有多少筐？", "{a}*{k}-{b}"),
        ("工厂第一天造{a}台机器，第二天造{b}台，照两天的总数再造{k}次，一共造多少台？", "({a}+{b})*{k}"),
        ("水池里有{b}吨水，每小时注入{a}吨，{k}小时以后水池里有多少吨水？", "{b}+{a}*{k}"),
    ),
}


def problems(count: int, seed: int, split: str) -> Iterator[dict[str, str]]:
    """Yield problems of a split, each once; fewer with the same seed are the beginning of more.

    Raises:
        ValueError: there is no such split, or there are not so many different problems.
    """
    if split not in NUMBERS:
        raise ValueError(f"split must be one of {', '.join(NUMBERS)}. Received: {split!r}.")
    rng, seen, in_vain = random.Random(f"{split}:{seed}"), set(), 0
    while len(seen) < count:
        made = _draw(rng, split)
        if made is None or made["source"] in seen:
            in_vain += 1
            if in_vain > VAIN_IN_A_ROW:
                raise ValueError(f"only {len(seen)} different problems were found; ask for fewer than {count}.")
            continue
        in_vain = 0
        seen.add(made["source"])
        yield made


def _draw(rng: random.Random, split: str) -> dict[str, str] | None:
    """A problem, or None where its numbers do not go together."""
    text, formula = rng.choice(TEMPLATES[split])
    numbers = NUMBERS[split]
    values = dict(zip("abc", rng.sample(numbers, 3), strict=True)) | {"k": rng.choice(FACTORS)}
    if "{a}-{b}" in formula and values["a"] < values["b"]:
        return None
    formula = formula.format(**values)
    value = value_of(formula)
    if value is None or value.denominator != 1 or not 0 <= value <= LARGEST or _elsewhere(int(value), split):
        return None
    return {"source": text.format(p=rng.choice(PEOPLE), x=rng.choice(THINGS), **values), "target": formula}


def _elsewhere(value: int, split: str) -> bool:
    """Whether another split's problems are made of this number."""
    return any(value in numbers for other, numbers in NUMBERS.items() if other != split)


def main() -> None:
    """Writes the file."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--count", type=int, default=20000, help="number of problems")
    parser.add_argument("--seed", type=int, default=1, help="the same seed gives the same problems")
    parser.add_argument("--split", choices=list(NUMBERS), default="train", help="templates and numbers cross no split")
    parser.add_argument("--output", type=Path, required=True, help="file of JSON lines")
    options = parser.parse_args()
    try:
        rows = list(problems(options.count, options.seed, options.split))
        write_text(options.output, "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows))
    except (ValueError, OSError) as error:
        parser.error(str(error))


if __name__ == "__main__":
    main()
