"""Makes a small corpus of invented documents, a document a line: for trying out pretraining.

    python data/make_corpus.py --count 2000 --seed 1 --output runs/corpus.txt

The same arguments give the same bytes. A name that ends in .jsonl gets JSON lines, one that ends in .gz is packed.
Everything is invented.
"""

import argparse
import gzip
import json
import random
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent.parent))
from nlptasks.files import atomic_path

PEOPLE = ("林小舟", "陈望山", "周砚", "老船长", "图书管理员", "修表匠", "新来的老师", "隔壁的孩子")
PLACES = ("青石镇", "河边的茶馆", "旧火车站", "山顶气象站", "城南菜市场", "海边的灯塔", "第三实验室")
THINGS = ("一台收音机", "半本日记", "三张旧地图", "一把雨伞", "两箱苹果", "一只铜钟", "一台计算机", "一盏油灯")
ACTIONS = ("修好了", "找到了", "卖掉了", "借走了", "弄丢了", "重新检查了", "仔细记录了")
TIMES = ("清晨", "傍晚", "下雨的那天", "春天快结束的时候", "晚上8点", "1987年冬天", "每个星期三")
REASONS = ("因为桥被大水冲断了", "虽然谁也没有要求他这样做", "由于天气突然变冷", "为了准备明天的考试")
SAYINGS = ("这件事以后再说吧", "我早就知道会这样", "别忘了关窗户", "明年我们还在这里见面", "它比想象中重得多")
WORDS = ("GPS", "email", "Python 3", "Wi-Fi", "USB", "DNA", "3.5公里", "40%", "No.7")
PATTERNS = (
    "{time}，{person}在{place}{action}{thing}。",
    "{person}说：“{saying}。”",
    "“{saying}！”{person}站在{place}门口喊。",
    "{reason}，{person}只好带着{thing}离开了{place}。",
    "从{place}到{place2}有多远？{person}也说不清楚。",
    "听说{place}最近装上了{word}，{time}总有人来看热闹……",
    "{person}把{thing}换成了{thing2}，{reason}。",
    "记录显示，{word}的误差不超过{number}%，比去年小得多。",
)


def sentence(choose: random.Random) -> str:
    """One invented sentence."""
    places, things = choose.sample(PLACES, 2), choose.sample(THINGS, 2)
    return choose.choice(PATTERNS).format(
        person=choose.choice(PEOPLE),
        place=places[0],
        place2=places[1],
        thing=things[0],
        thing2=things[1],
        action=choose.choice(ACTIONS),
        time=choose.choice(TIMES),
        reason=choose.choice(REASONS),
        saying=choose.choice(SAYINGS),
        word=choose.choice(WORDS),
        number=choose.randrange(1, 100),
    )


def documents(count: int, seed: int) -> list[str]:
    """So many documents of 1 to 12 sentences."""
    choose = random.Random(seed)
    return ["".join(sentence(choose) for _ in range(choose.randint(1, 12))) for _ in range(count)]


def main() -> None:
    """Writes the file."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--count", type=int, required=True, help="how many documents")
    parser.add_argument("--seed", type=int, default=1, help="the same seed gives the same documents")
    parser.add_argument("--output", type=Path, required=True, help=".txt or .jsonl, maybe with .gz")
    options = parser.parse_args()
    try:
        lines = documents(options.count, options.seed)
        if ".jsonl" in options.output.suffixes:
            lines = [json.dumps({"text": line}, ensure_ascii=False) for line in lines]
        content = "".join(f"{line}\n" for line in lines).encode()
        if options.output.suffix == ".gz":
            content = gzip.compress(content, mtime=0)
        with atomic_path(options.output) as temporary:
            temporary.write_bytes(content)
    except (ValueError, OSError) as error:
        parser.error(str(error))


if __name__ == "__main__":
    main()
