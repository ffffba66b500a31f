"""Templates of sentences."""

import json
import random
from collections import Counter

import pytest

from nlptasks import command
from nlptasks.discovery.templates import TemplateRules, find_templates
from tests.commands.scripts import assert_refused, call

pytestmark = pytest.mark.once


def test_shared_words_stand_still_and_the_others_fill_the_slots():
    things, places = ["密码", "邮箱", "地址", "名字"], ["手机", "电脑", "网站"]
    sentences = [["在", place, "上", "怎样", "修改", thing] for thing in things for place in places]
    sentences += [["在", "门", "口", "上", "怎样", "修改", "锁"]] * 2 + [["怎样", "退款"]]
    draw = random.Random(3)
    draw.shuffle(sentences)
    found = {each.parts: each for each in find_templates(sentences, TemplateRules(min_count=5))}
    template = found["在", None, "上", "怎样", "修改", None]
    assert template.frequency == 13
    assert template.fillers == [
        Counter(dict.fromkeys(places, 4) | {"门口": 1}),
        Counter(dict.fromkeys(things, 3) | {"锁": 1}),
    ]
    assert str(template) == "在 * 上 怎样 修改 *"
    assert find_templates(sentences, TemplateRules(min_count=14)) == []
    assert template.parts not in [each.parts for each in find_templates(sentences, TemplateRules(min_fillers=5))]


def test_punctuation_is_no_fixed_word():
    sentences = [[a, "，", b, "。"] for a in "山水火" for b in "甲乙丙"]
    assert find_templates(sentences, TemplateRules(min_count=2, min_words=2)) == []
    assert find_templates(sentences, TemplateRules(min_count=2, min_words=1)) != []


def test_templates_are_printed_and_written(tmp_path):
    lines = [f"怎样修改{thing}" for thing in ("密码", "邮箱", "地址", "名字", "头像", "签名")]
    path = tmp_path / "lines.txt"
    path.write_text("\n".join(lines), encoding="utf-8")
    shared = ("discovery", "templates", "--input", path)
    shown = call(command, *shared)
    assert shown.out.startswith("怎样 修改 *\t6\t")
    done = call(command, *shared, "--json", "--output", tmp_path / "out.jsonl", "--fillers", 2)
    assert done.out == ""
    row = json.loads((tmp_path / "out.jsonl").read_text(encoding="utf-8").splitlines()[0])
    assert (row["parts"], row["frequency"], [len(slot) for slot in row["fillers"]]) == (["怎样", "修改", None], 6, [2])
    assert_refused(call(command, *shared, "--min-fillers", 0), "--min-fillers must be at least 1. Received: 0.")
    assert_refused(call(command, *shared, "--output", path), "is read, too, and would be lost")
