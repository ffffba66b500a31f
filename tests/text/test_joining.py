"""Tokens back to text."""

import pytest

from nlptasks.text import Tokenizer, build_character_vocab
from nlptasks.text.joining import join_tokens

SENTENCES = [
    "python 3.12 is out, and pi is 3.14.",
    "it's fine, isn't it? we'll see, they've said so.",
    "the u.s. army, e.g. in alaska, at 5 p.m. today",
    "a, b; c: d! e? (f) [g] {h}",
    "50% of 1,000 is 500, not 5, 6",
    "see http://a.b/c for more, or www.example.com; mail bob@mail.example.com now",
    "he said \"yes\" and 'no', then left.",
    "he said “yes” and it’s done",
    "state-of-the-art at&t q&a",
    "c++ is fun, c# too; 1+1=2",
    "it costs $5.50 or €6, see #3",
    "open readme.txt, then run_all.py",
    "from 12:30 on 2020-01-01 in c:\\temp",
    "the dogs' bones... and o'brien",
    "thanks @bob, see you",
    "今天(周一)天气很好,我用python写代码。",
    "他说：“好的，明天见！”《红楼梦》共120回。",
    "版本v1.2.3发布于2020年1月1日12:30，约50%的人已升级到3.0。",
    "价格：￥99（含税）、￥120——见附录…完",
    "さくら。東京へ行く",
    "한국어 텍스트, 좋다.",
    "привет, мир!",
    "二〇二四年",
    "",
]


@pytest.mark.parametrize("sentence", SENTENCES)
def test_text_comes_back_as_a_person_writes_it(sentence):
    tokenizer = Tokenizer(build_character_vocab(SENTENCES))
    assert tokenizer.decode(tokenizer.encode(sentence).token_ids) == sentence


def test_accents_and_case_are_gone_but_nothing_else():
    tokenizer = Tokenizer(build_character_vocab(["Café 北京"]))
    assert tokenizer.decode(tokenizer.encode("Café 北京").token_ids) == "cafe北京"


def test_special_tokens_and_unknown_words_are_dropped():
    tokenizer = Tokenizer(build_character_vocab(["我爱"]))
    ids = [tokenizer.cls_id, 5, tokenizer.mask_id, tokenizer.unk_id, 6, tokenizer.sep_id, tokenizer.pad_id]
    assert tokenizer.decode(ids) == "".join(tokenizer.ids_to_tokens([5, 6]))


def test_continuing_piece_glues_to_whatever_stands_before_it():
    assert join_tokens(["##able", "un", "##aff", "##able", "中", "##文"]) == "able unaffable中文"
