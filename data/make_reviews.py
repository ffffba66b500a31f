"""Makes short reviews from patterns: category, sentiment (0 or 1) and text, a line each.

    python data/make_reviews.py --count 400 --seed 1 --output data/reviews_sample.tsv

The same arguments give the same bytes. Everything is invented.
"""

import argparse
import random
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent.parent))
from nlptasks.files import write_text

# category: what is spoken of, and what is said of it when it is bad and when it is good
CATEGORIES = {
    "酒店": (
        ("房间", "床铺", "早餐", "前台", "浴室"),
        ("又小又吵", "有股霉味", "不太干净"),
        ("宽敞明亮", "很安静", "一尘不染"),
    ),
    "水果": (
        ("苹果", "橙子", "葡萄", "梨", "桃子"),
        ("又酸又涩", "烂了好几个", "一点水分都没有"),
        ("又脆又甜", "个个新鲜", "汁水很足"),
    ),
    "书籍": (
        ("内容", "插图", "译文", "纸张", "故事"),
        ("错字连篇", "空洞无味", "读不下去"),
        ("引人入胜", "印得精美", "让人回味"),
    ),
    "手机": (
        ("屏幕", "电池", "拍照", "按键", "音质"),
        ("用两天就坏", "反应很慢", "不如旧的"),
        ("清楚流畅", "比想的还好", "挑不出毛病"),
    ),
}
VERDICTS = (
    ("下次不会再买。", "真让人失望！", "建议别选。", "想退都麻烦。"),
    ("下次还会再来。", "值得推荐！", "家里人都喜欢。", "物超所值。"),
)
OPENINGS = ("", "", "用了几天，", "说句实话，", "朋友介绍的，", "第一次买，")
LINKS = (("，而且", "，", "，再说"), ("，", "，而且", "，另外"))
SEEN_IN_A_ROW = 2000
"""after so many texts that were there already, there are hardly others"""


def reviews(count: int, seed: int) -> list[tuple[str, int, str]]:
    """Category, sentiment and text; each text once.

    Raises:
        ValueError: there are not so many different texts.
    """
    choose, found, seen = random.Random(seed), {}, 0
    while len(found) < count and seen < SEEN_IN_A_ROW:
        category, sentiment = choose.choice(list(CATEGORIES)), choose.randrange(2)
        things, *sayings = CATEGORIES[category]
        first, second = choose.sample(things, 2)
        one, other = choose.sample(sayings[sentiment], 2)
        text = f"{choose.choice(OPENINGS)}{first}{one}{choose.choice(LINKS[sentiment])}{second}{other}。"
        text += choose.choice(VERDICTS[sentiment])
        seen = seen + 1 if text in found else 0
        found[text] = category, sentiment
    if len(found) < count:
        raise ValueError(f"--count: only {len(found)} different reviews were found; ask for fewer than {count}.")
    return [(category, sentiment, text) for text, (category, sentiment) in found.items()]


def main() -> None:
    """Writes the file."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--count", type=int, required=True, help="how many reviews")
    parser.add_argument("--seed", type=int, default=1, help="the same seed gives the same reviews")
    parser.add_argument("--output", type=Path, required=True, help="tab-separated file")
    options = parser.parse_args()
    try:
        rows = reviews(options.count, options.seed)
        write_text(options.output, "".join(f"{category}\t{sentiment}\t{text}\n" for category, sentiment, text in rows))
    except (ValueError, OSError) as error:
        parser.error(str(error))


if __name__ == "__main__":
    main()
