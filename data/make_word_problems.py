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
        ("{p}上周攒了{a}张邮票，这周又攒了{b}张，两周攒了多少张？", "{a}+{b}"),
        ("食堂早上用了{a}千克米，中午用了{b}千克，早上和中午共用多少千克？", "{a}+{b}"),
        ("一件上衣{a}元，一条裤子{b}元，买一套要付多少元？", "{a}+{b}"),
        ("弟弟高{a}厘米，{p}比弟弟高{b}厘米，{p}高多少厘米？", "{a}+{b}"),
        ("{p}折了{a}只纸船，比同桌多折{b}只，同桌折了多少只？", "{a}-{b}"),
        ("电影院卖出{a}张票，有{b}张退了，实际卖出多少张？", "{a}-{b}"),
        ("一桶油重{a}千克，用掉一些以后还重{b}千克，用掉多少千克？", "{a}-{b}"),
        ("从家到学校要走{a}步，{p}已经走了{b}步，还要走多少步？", "{a}-{b}"),
        ("一只鸡一周下{k}个蛋，{a}只鸡一周下多少个蛋？", "{a}*{k}"),
        ("{p}每分钟打{a}个字，{k}分钟打多少个字？", "{a}*{k}"),
        ("一张桌子配{k}把椅子，{a}张桌子配多少把椅子？", "{a}*{k}"),
        ("小瓶装{a}毫升水，大瓶装的是小瓶的{k}倍，大瓶装多少毫升？", "{a}*{k}"),
        ("{p}用{a}元买了{k}个同样的{x}，每个多少元？", "{a}/{k}"),
        ("{a}个同学坐船，每条船坐{k}人，要几条船？", "{a}/{k}"),
        ("老师把{a}朵红花奖给{k}个小组，每个小组得几朵？", "{a}/{k}"),
        ("{p}第一天跳绳{a}下，第二天{b}下，第三天{c}下，三天一共跳了多少下？", "{a}+{b}+{c}"),
        ("三个班各捐了{a}元、{b}元和{c}元，共捐了多少元？", "{a}+{b}+{c}"),
        ("鱼缸里有{a}条鱼，捞走{b}条，又放进{c}条，鱼缸里有多少条鱼？", "{a}-{b}+{c}"),
        ("钱包里有{a}元，付车费用了{b}元，妈妈又给{c}元，钱包里有多少元？", "{a}-{b}+{c}"),
        ("仓库有{a}袋面粉，运出{b}袋，运进{c}袋，仓库里是多少袋？", "{a}-{b}+{c}"),
        ("{p}买了{k}包纸，每包{a}张，写字用了{b}张，还有多少张？", "{a}*{k}-{b}"),
        ("鸡场有{k}个鸡笼，每笼{a}只鸡，跑了{b}只，还养着多少只？", "{a}*{k}-{b}"),
        ("一本相册放照片{a}张，{p}有{k}本，还空着{b}张的位置，已经放了多少张？", "{a}*{k}-{b}"),
        ("每条船坐{a}人，{k}条船坐满以后有{b}人下船，船上还有多少人？", "{a}*{k}-{b}"),
        ("{p}会背{b}首诗，以后每月背{a}首，{k}个月以后会背多少首？", "{b}+{a}*{k}"),
        ("车站先来了{b}个人，接着来了{k}辆车，每辆车送来{a}人，车站共来了多少人？", "{b}+{a}*{k}"),
        ("{p}打了{b}个字，每分钟再打{a}个，{k}分钟以后共打了多少个字？", "{b}+{a}*{k}"),
        ("做饭用去{b}升水，洗衣每次用{a}升，洗了{k}次，一共用水多少升？", "{b}+{a}*{k}"),
        ("茶壶{a}元，茶盘{b}元，一壶一盘是一套，买{k}套要多少元？", "({a}+{b})*{k}"),
        ("{p}每天早上跑{a}圈，晚上跑{b}圈，{k}天一共跑多少圈？", "({a}+{b})*{k}"),
        ("每个书包里放{a}支铅笔和{b}支钢笔，{k}个书包里共有多少支笔？", "({a}+{b})*{k}"),
        ("男生有{a}人，女生有{b}人，每人交{k}元，一共交多少元？", "({a}+{b})*{k}"),
        ("红花{a}朵，黄花{b}朵，每{k}朵扎成一束，能扎几束？", "({a}+{b})/{k}"),
        ("上午摘了{a}千克茶叶，下午摘了{b}千克，平均装进{k}个袋子，每袋装多少千克？", "({a}+{b})/{k}"),
        ("一篮{x}有{a}个，坏了{b}个，好的分给{k}家，每家几个？", "({a}-{b})/{k}"),
        ("有{a}道题，今天做了{b}道，余下的{k}天做完，每天做几道？", "({a}-{b})/{k}"),
        ("每个盘子放{a}个{x}，放满{k}盘以后还多{b}个，共有多少个{x}？", "{a}*{k}+{b}"),
        ("哥哥有{a}元，姐姐的钱是哥哥的{k}倍，两人共有多少元？", "{a}+{a}*{k}"),
        ("一件衣服标价{a}元，便宜{b}元卖，买{k}件要多少元？", "({a}-{b})*{k}"),
        ("盒子里有{a}个{x}，先拿走{b}个，再拿走{c}个，盒子里还有多少个？", "{a}-{b}-{c}"),
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
