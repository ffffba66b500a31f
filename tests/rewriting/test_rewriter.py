"""Texts rewritten: the masked model by its own definition, and the command with a model of a table."""

import json

import numpy as np
import pytest

from nlptasks import command, load
from nlptasks.applications.filling.filler import MaskFiller
from nlptasks.core import Transformer, TransformerConfig
from nlptasks.rewriting.masked import IMPOSSIBLE, PASSES, MaskedModel
from nlptasks.rewriting.options import SearchOptions
from nlptasks.rewriting.rewriter import Rewriter, fluency_of
from nlptasks.text import Tokenizer, build_character_vocab
from tests.applications.conditional.test_generator import writer
from tests.commands.scripts import assert_refused, call
from tests.parity import randomised

WORDS = ["我们", "去", "公园", "看", "山", "水", "今天", "天气", "很", "好"]


@pytest.fixture(scope="module")
def masked():
    tokenizer = Tokenizer(build_character_vocab(WORDS))
    sizes = {"hidden_size": 14, "num_layers": 1, "num_heads": 7, "ffn_size": 11, "max_positions": 31}
    model = Transformer(TransformerConfig(vocab_size=tokenizer.vocab_size, **sizes), with_mlm="linear")
    model.build()
    return MaskedModel(MaskFiller(randomised(model), tokenizer)), model, tokenizer


def logs_of(model, token_ids):
    logits = np.asarray(model([np.array([token_ids]), np.zeros((1, len(token_ids)), int)]), "float64")[0]
    return logits - np.log(np.exp(logits).sum(axis=-1, keepdims=True))


def test_fluency_is_the_mean_log_probability_of_masked_tokens_and_gaps_have_those_of_their_masks(masked):
    masked, model, tokenizer = masked
    states = [("我们", "去", "公园"), ("山",), ("今天", "天气", "很", "好", "我们", "看", "水")]
    found = masked.fluency(states)
    mask = tokenizer.mask_id
    for state, value in zip(states, found, strict=True):
        ids = tokenizer.encode("".join(state)).token_ids
        total = 0.0
        for start in range(PASSES):
            places = list(range(1 + start, len(ids) - 1, PASSES))
            rows = ids.copy()
            rows[places] = mask
            total += logs_of(model, rows)[places, ids[places]].sum()
        assert value == pytest.approx(total / (len(ids) - 2), abs=1e-5)
    assert masked.fluency([()]).tolist() == [-100]
    one, two = masked.gap_logs([(("我们",), ("公园",), 1), ((), ("水",), 2)])
    vocab = tokenizer.vocab
    row = [vocab["[CLS]"], vocab["我"], vocab["们"], mask, vocab["公"], vocab["园"], vocab["[SEP]"]]
    np.testing.assert_allclose(one, logs_of(model, row)[[3]], atol=1e-5)
    np.testing.assert_allclose(two, logs_of(model, [row[0], mask, mask, vocab["水"], row[-1]])[[1, 2]], atol=1e-5)


class Table:
    """Signs have probabilities of their own, whatever stands around them; their mean is the fluency of a text."""

    limit = 40
    signs = "山水去看好我们公园今天气很"

    def tokenize(self, word):
        return [self.signs.index(sign) for sign in word if sign in self.signs]

    def logs(self):
        weights = np.linspace(0, 2, len(self.signs))
        return weights - np.log(np.exp(weights).sum())

    def fluency(self, states):
        logs = self.logs()
        return np.array(
            [np.mean([logs[i] for word in state for i in self.tokenize(word)] or [-9.0]) for state in states]
        )

    def gap_logs(self, gaps):
        return [np.tile(self.logs(), (length, 1)) for _, _, length in gaps]

    require_room = MaskedModel.require_room
    tokens = MaskedModel.tokens


@pytest.fixture
def table(monkeypatch):
    def opened(cls, model, encoder, segmenter, words, writer=None):
        return Rewriter(Table(), load(encoder), load(segmenter), words, writer)

    monkeypatch.setattr(Rewriter, "open", classmethod(opened))
    monkeypatch.setattr("nlptasks.rewriting.rewriter.bundled_words", lambda: tuple(WORDS))
    return Rewriter.open("", "similarity", "segmenter", ())


def rewrite(*arguments):
    return call(command, "rewrite", "--steps", 20, "--chains", 2, *arguments)


@pytest.mark.once
def test_what_is_found_satisfies_the_constraints_and_does_not_depend_on_the_texts_beside_it(table):
    texts = ["今天天气很好", "我们去公园看山"]
    options = SearchOptions(steps=60, chains=3, contain=("水",), avoid=("天",), max_length=7)
    both = table.rewrite(texts, options)
    for text, one in zip(texts, both, strict=True):
        assert one.source == text
        assert one.violations == 0
        assert "水" in one.text
        assert "天" not in one.text
        assert len(one.text) <= 7
        assert one.edits >= 2
        assert one.candidates[0] == one.text
        longer = max(1, len(one.text) / len(text))
        assert one.log_p == pytest.approx(longer * one.fluency + 8 * np.log(max(one.closeness, 0.01)))
    options = SearchOptions(steps=30, chains=2, closeness=0)
    assert table.rewrite(texts[1:], options, [1])[0] == table.rewrite(texts, options)[1]
    sentence = table.rewrite([["公园", "天气"]], SearchOptions(steps=80, chains=2, min_length=8, closeness=0))[0]
    assert sentence.violations == 0
    assert "公园" in sentence.text
    assert "天气" in sentence.text
    assert len(sentence.text) >= 8


@pytest.mark.once
def test_the_command_prints_writes_and_goes_on(table, tmp_path):
    shown = rewrite("--text", "今天天气很好", "--trace", tmp_path / "trace.png")
    assert shown.status == 0, shown.err
    source, text = shown.out.rstrip("\n").split("\t")
    assert source == "今天天气很好" != text
    longer = rewrite("--text", "今天天气很好", "--avoid", "天", "--min-length", 6).out.rstrip("\n").split("\t")[1]
    assert set(longer) - set("今天气很好")  # words that come with the package
    (tmp_path / "words.txt").write_text("山,6\n水\n", encoding="utf-8")
    few = rewrite("--text", "今天天气很好", "--words", tmp_path / "words.txt").out.rstrip("\n").split("\t")[1]
    assert set(few) <= set("今天气很好山水")
    assert (tmp_path / "trace.png").read_bytes().startswith(b"\x89PNG")
    row = json.loads(rewrite("--text", "今天天气很好", "--json").out)
    assert (row["text"], row["violations"]) == (text, 0)
    (tmp_path / "texts.txt").write_text("今天天气很好\n我们去公园\n公园很好看\n", encoding="utf-8")
    files = ("--input", tmp_path / "texts.txt", "--output", tmp_path / "out.jsonl")
    assert rewrite(*files, "--batch-size", 2).status == 0
    whole = (tmp_path / "out.jsonl").read_text(encoding="utf-8")
    assert [json.loads(line)["violations"] for line in whole.splitlines()] == [0, 0, 0]
    assert_refused(rewrite(*files), "out.jsonl: exists; give --resume to go on with it, or remove it.")
    for kept in (1, 2):  # of a batch that is not whole, nothing is kept
        lines = whole.splitlines(keepends=True)
        (tmp_path / "out.jsonl").write_text("".join(lines[:kept]) + lines[kept][:9], encoding="utf-8")
        assert rewrite(*files, "--batch-size", 2, "--resume").status == 0
        assert (tmp_path / "out.jsonl").read_text(encoding="utf-8") == whole
    (tmp_path / "texts.txt").write_text("今天天气很好\n", encoding="utf-8")
    assert_refused(rewrite(*files, "--resume"), "has 3 texts, and the input 1; it is of another command.")


@pytest.mark.once
def test_what_is_wrong_is_said_in_one_line(table, tmp_path):
    for arguments, message in [
        ([], "give one of --text, --keywords and --input."),
        (["--text", "山", "--keywords", "水"], "give one of --text, --keywords and --input."),
        (["--text", "山", "--resume"], "--resume goes with --output."),
        (["--text", " "], "text 1: has no words. Received: ''."),
        (["--text", "山水" * 30], "text 1: has 60 tokens, more than the 20 of a text that is rewritten"),
        (["--text", "山", "--max-length", 3, "--contain", "自行车棚"], "--max-length must be at least 1, --min-length"),
        (["--text", "山", "--temperature", 0], "--temperature must be positive. Received: 0.0."),
        (["--input", tmp_path / "none.txt"], "no such file"),
    ]:
        assert_refused(rewrite(*arguments), message)
    assert "1 of 1 texts violate a constraint" in rewrite("--text", "山", "--min-length", 30, "--steps", 1).err


@pytest.mark.once
def test_a_language_model_judges_in_place_of_the_masked_one(tmp_path):
    plain = writer(WORDS, conditioning="none", labels={})
    states = [("我们", "去"), (), ("今天", "天气", "很", "好")]
    found = fluency_of(plain)(states)
    assert found[1] == IMPOSSIBLE
    for state, value in zip(states[::2], found[::2], strict=True):
        ids = [plain.tokenizer.cls_id, *plain.tokenizer.encode("".join(state)).token_ids[1:-1], plain.tokenizer.sep_id]
        logits = np.asarray(plain.model.transformer([np.array([ids]), np.zeros((1, len(ids)), int)]), "float64")[0]
        logs = logits - np.log(np.exp(logits).sum(axis=-1, keepdims=True))
        assert value == pytest.approx(np.mean([logs[t, ids[t + 1]] for t in range(len(ids) - 1)]), abs=1e-5)
    rewriter = Rewriter(Table(), load("similarity"), load("segmenter"), WORDS, plain)
    one = rewriter.rewrite(["今天天气很好"], SearchOptions(steps=10, chains=2))[0]
    cut = tuple(load("segmenter").segment(one.text))
    assert one.fluency == pytest.approx(fluency_of(plain)([cut])[0], abs=1e-6)
    writer(WORDS).save(tmp_path / "moods")
    assert_refused(
        rewrite("--text", "今天天气很好", "--language-model", tmp_path / "moods"),
        "--language-model: is to be trained without conditions",
    )
    assert_refused(rewrite("--text", "天", "--language-model", tmp_path / "none"), "config.json: no such file")
