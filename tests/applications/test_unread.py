"""What a model does not read of its input is told: what is cut, and what its vocabulary lacks."""

import pytest

import nlptasks
from nlptasks.applications.unread import tell_cut, tell_unknown, tell_unknown_characters
from nlptasks.errors import fields_named, flag_of
from nlptasks.text import Tokenizer, build_character_vocab
from nlptasks.text.characters import CharacterVocab

pytestmark = pytest.mark.once
TOKENIZER = Tokenizer(build_character_vocab(["沈月住在山上"]))


def told(capsys, texts):
    tell_unknown(TOKENIZER, TOKENIZER.encode_batch(texts), texts, "questions")
    return capsys.readouterr().err


def test_the_share_of_unknown_tokens_is_told_with_the_first_of_them(capsys):
    assert told(capsys, ["沈月在海上", "山", "鱼鱼"]) == (
        "3 of 8 tokens (37.5%) in the questions are not in the model's vocabulary and are read as one and the same: "
        "海 鱼\n"
    )
    many = told(capsys, ["鱼鸟虫龙虎豹狼蛇猫狗"])
    assert "10 of 10 tokens (100.0%)" in many
    assert many.endswith(": 鱼 鸟 虫 龙 虎 豹 狼 蛇 ...\n")
    assert told(capsys, ["沈月在山上", ""]) == ""


def test_both_texts_of_a_pair_are_looked_at(capsys):
    pairs = [("山", "上"), ("山", "海"), ("河", "上")]
    first, second = zip(*pairs, strict=True)
    tell_unknown(TOKENIZER, TOKENIZER.encode_batch(first, second), pairs, "texts")
    assert capsys.readouterr().err.startswith("2 of 6 tokens (33.3%) in the texts are not")


def test_a_model_of_characters_tells_its_own_unknown_ones(capsys):
    tell_unknown_characters(CharacterVocab.build(["沈月 住"]), ["沈 月海", "住"], "queries")
    assert capsys.readouterr().err == (
        "1 of 4 tokens (25.0%) in the queries are not in the model's vocabulary and are read as one and the same: 海\n"
    )


def test_what_is_cut_is_counted_and_windows_are_named_where_they_help(capsys):
    with fields_named(flag_of):
        tell_cut(0, 9, "texts", 128)
        tell_cut(2, 9, "texts", 128)
        tell_cut(1, 3, "passages", 256, windows=True)
        nlptasks.load("similarity").model.tell_unread(["雨" * 257, "雨" * 256], "sentences")
    assert capsys.readouterr().err.splitlines() == [
        "2 of 9 texts are longer than 128 tokens; the rest of them is not read.",
        "1 of 3 passages are longer than 256 tokens; the rest of them is not read (--stride N reads them in windows).",
        "1 of 2 sentences are longer than 256 characters; the rest of them is not read.",
    ]
