"""A trained vocabulary: specials first, Chinese characters apart, the same each time, and readable by others."""

import subprocess
import sys

import pytest

from nlptasks.files import write_text
from nlptasks.pretraining.vocabulary import RESERVED_TOKENS, train_vocab
from nlptasks.text import Tokenizer
from tests.commands.scripts import ROOT, call, load_script
from tests.pretraining.corpora import ODD, make_documents

SCRIPT = load_script("train_vocab", "pretraining")
ENGLISH = "the theory of weather 天气 and whether the other feather is lighter。 The weather gathers together\n"


@pytest.fixture(scope="module")
def corpus(tmp_path_factory):
    path = tmp_path_factory.mktemp("corpus") / "a.txt"
    write_text(
        path, "\n".join([*make_documents(80, 1), *(text.replace("\n", " ") for text in ODD[3:])]) + "\n" + ENGLISH * 9
    )
    return path


@pytest.fixture(scope="module")
def made(corpus):
    """The path of a vocabulary, and what was printed."""
    path = corpus.with_name("vocab.txt")
    result = call(SCRIPT, "--input", corpus, "--output", path, "--vocab-size", 450, "--min-frequency", 2)
    assert result.status == 0, result.err
    return path, result


def test_special_tokens_come_first(made):
    tokens = made[0].read_text(encoding="utf-8").splitlines()
    assert tokens[:6] == ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "[unused1]"]
    assert tokens[104] == "[unused100]"
    assert tuple(tokens[:105]) == RESERVED_TOKENS
    assert len(tokens) == len(set(tokens)) <= 450
    assert f"{len(tokens)} tokens: 105 special, " in made[1].out


def test_every_chinese_character_is_a_token_and_no_piece_holds_one(made):
    tokenizer = Tokenizer(made[0])
    text = "".join(make_documents(80, 1))
    frequent = {char for char in text if text.count(char) > 1 and not char.isspace() and "\u4e00" <= char <= "\u9fff"}
    assert frequent <= set(tokenizer.vocab)
    for token in list(tokenizer.vocab)[105:]:
        if any("\u3000" <= char <= "\u9fff" for char in token):
            assert len(token.removeprefix("##")) == 1, token
    assert tokenizer.tokenize("海边的灯塔") == list("海边的灯塔")


def test_frequent_words_become_pieces(made):
    tokenizer = Tokenizer(made[0])
    assert tokenizer.tokenize("Weather") == ["weather"]
    assert {"the", "##ther"} & set(tokenizer.vocab)


def test_the_most_frequent_characters_come_first():
    vocab = train_vocab(lambda: ["ccc啊啊啊啊bb，，，，，a"], 200, 2)
    assert list(vocab)[105:] == ["，", "啊", "c", "##c", "b", "##b", *list(vocab)[111:]]
    assert "a" not in vocab


def test_transformers_opens_it(made):
    from transformers import BertTokenizer

    other, ours = BertTokenizer(str(made[0])), Tokenizer(made[0])
    for text in make_documents(10, 3):
        assert other(text)["input_ids"] == ours.encode(text).token_ids.tolist()


def test_the_same_corpus_gives_the_same_vocabulary(made, corpus, tmp_path):
    for seed in ("1", "2", "3"):
        command = [sys.executable, ROOT / "pretraining" / "train_vocab.py", "--input", corpus, "--vocab-size", "450"]
        command += ["--output", tmp_path / f"{seed}.txt"]
        subprocess.run(command, check=True, capture_output=True, env={"PYTHONHASHSEED": seed, "PYTHONPATH": str(ROOT)})
        assert (tmp_path / f"{seed}.txt").read_bytes() == made[0].read_bytes()


def test_the_corpus_is_not_overwritten(tmp_path):
    (tmp_path / "corpus.txt").write_text("天天天天")
    result = call(SCRIPT, "--input", tmp_path / "*.txt", "--output", tmp_path / "corpus.txt")
    assert result.status == 2
    assert "corpus.txt: is a file of the corpus and would be overwritten; give another --output." in result.err
    assert (tmp_path / "corpus.txt").read_text() == "天天天天"


@pytest.mark.parametrize(
    ("more", "message"),
    [
        (["--vocab-size", 105], "--vocab-size must be over 105, the number of special tokens. Received: 105."),
        (["--min-frequency", 0], "--min-frequency must be at least 1. Received: 0."),
        (["--min-frequency", 10**6], "the corpus holds no character 1000000 times or more; give more text."),
        (["--input", "none.txt"], "none.txt: no such file"),
    ],
)
def test_bad_options_are_one_line_and_write_nothing(more, message, corpus, tmp_path):
    result = call(SCRIPT, "--input", corpus, "--output", tmp_path / "vocab.txt", *more)
    assert result.status == 2
    assert message in result.err.splitlines()[-1]
    assert list(tmp_path.iterdir()) == []
