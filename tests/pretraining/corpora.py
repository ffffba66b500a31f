"""Documents and vocabularies that the tests of pretraining share; all of it invented."""

import importlib.util
from pathlib import Path

from nlptasks.text import Tokenizer, build_character_vocab

SCRIPT = Path(__file__).parents[2] / "data" / "make_corpus.py"

ODD = (
    "。！？",
    " ",
    "　　行首有空格，行尾也有　",
    "first line\nsecond line 第三行\r\nÉcole café Ångström naïve",
    "３．１４％和3.14%，USB3.0与Wi-Fi——它们A1b2都是……“引用。”后文",
    "零宽\u200b空格、软\u00ad连字符\ufeff、组合e\u0301字符、罕见的Σίσυφος\u2028还有𠮷野家和私用区\ue000",
    "😀表情👨‍👩‍👧和½ﬃ①Ⅳ，한국어 키워드、ひらがなカタカナ",
    "[MASK][SEP]##un ##不是特殊符号；a_b-c.d/e\\f",
    "很长的没有标点的句子" * 20 + "终于结束了。然后是短句。",
    "a" * 211 + "超长的字母串",
)
"""documents that hold what is rare"""


def make_documents(count: int, seed: int) -> list[str]:
    """Documents of data/make_corpus.py."""
    spec = importlib.util.spec_from_file_location("make_corpus", SCRIPT)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.documents(count, seed)


def small_tokenizer(lowercase: bool = True) -> Tokenizer:
    """A tokenizer with pieces of words, which does not know all characters."""
    vocab = build_character_vocab(make_documents(60, 1), min_count=2, lowercase=lowercase)
    for token in ("email", "py", "##thon", "wi", "fi", "us", "##b", "un", "##un", "caf", "##e", "ecole", "日", "很"):
        vocab.setdefault(token, len(vocab))
    return Tokenizer(vocab, lowercase)
