"""Filling masks: against transformers' own pipeline, in batches, of every tokenizer, and from the command line."""

import dataclasses
import functools
import io
import json
from collections import Counter

import pytest
from safetensors.numpy import load_file, save_file

import nlptasks
from nlptasks import bundled, command
from nlptasks.applications.filling.filler import MaskFiller
from nlptasks.applications.filling.gibbs import GibbsSampler
from nlptasks.checkpoints.huggingface import save_directory
from nlptasks.core import Transformer, TransformerConfig
from nlptasks.errors import UserError
from nlptasks.text import Tokenizer, build_character_vocab, open_tokenizer
from nlptasks.text.masked import encode_masked
from tests.commands.scripts import assert_refused, call
from tests.parity import randomised
from tests.text import kinds

TEXTS = ["沈月在[MASK]里种菜。", "[MASK][MASK] [MASK]Li，12岁", "今天 [MASK]天气好，明天[MASK]坏，后天沈月来。[MASK]"]
POSITIONS = 29


def saved(directory, tokenizer, **more):
    """A random model with its tokenizer; every weight matters."""
    sizes = {"hidden_size": 14, "num_layers": 2, "num_heads": 7, "ffn_size": 11, "max_positions": POSITIONS}
    config = TransformerConfig(vocab_size=tokenizer.vocab_size, pad_id=tokenizer.pad_id, **sizes, **more)
    model = Transformer(config, with_mlm="linear")
    model.build()
    tokenizer.save(directory)
    save_directory(randomised(model), directory)
    return directory


@pytest.fixture(scope="module")
def directory(tmp_path_factory):
    vocab = build_character_vocab([*TEXTS, "li ##岁 ##li"])
    return saved(tmp_path_factory.mktemp("bert"), Tokenizer(vocab | {"##岁": len(vocab), "li": len(vocab) + 1}))


@pytest.fixture(scope="module")
def filler(directory):
    return MaskFiller.open(directory)


def check_against_transformers(directory, texts, own_mask):
    """Tokens and probabilities of the pipeline of transformers, which reads what we saved."""
    transformers = pytest.importorskip("transformers", reason="the test extra brings transformers")
    pytest.importorskip("torch", reason="the test extra brings torch")
    model = transformers.AutoModelForMaskedLM.from_pretrained(directory)
    theirs = transformers.pipeline(
        "fill-mask", model=model, tokenizer=transformers.AutoTokenizer.from_pretrained(directory), top_k=6
    )
    ours = MaskFiller.open(directory)
    for text in texts:
        expected = theirs(text.replace("[MASK]", own_mask))
        expected = expected if isinstance(expected[0], list) else [expected]
        found = ours.fill(text, top=6)
        assert len(found) == text.count("[MASK]") == len(expected)
        for mask, wanted in zip(found, expected, strict=True):
            assert text[mask.start : mask.end] == "[MASK]"
            assert [ours.tokenizer.vocab[one.token] for one in mask.candidates] == [one["token"] for one in wanted]
            scores = [one["score"] for one in wanted]
            assert [one.probability for one in mask.candidates] == pytest.approx(scores, abs=1e-5)
            assert scores[0] > 3 / ours.tokenizer.vocab_size  # far from uniform
        assert [mask.candidates for mask in ours.fill(text.replace("[MASK]", own_mask), top=6)] == [
            mask.candidates for mask in found
        ]


def test_a_bert_finds_what_transformers_finds(directory):
    check_against_transformers(directory, TEXTS, "[MASK]")


def test_a_roberta_with_pieces_finds_what_transformers_finds(tmp_path):
    values = json.loads(kinds.json_source("unigram"))
    [mask] = [token for token in values["added_tokens"] if token["content"] == "<mask>"]
    mask["lstrip"] = True  # as XLM-R has it
    (tmp_path / "tokenizer.json").write_text(json.dumps(values), encoding="utf-8")
    (tmp_path / "tokenizer_config.json").write_text(json.dumps(kinds.NAMES | {"tokenizer_class": "TokenizersBackend"}))
    saved(tmp_path, open_tokenizer(tmp_path), position="counted", segment_vocab_size=1)
    check_against_transformers(tmp_path, ["房间[MASK]干净，服务 [MASK] 好", "[MASK]的床"], "<mask>")


def test_texts_together_give_what_each_gives_alone(filler):
    together = filler.predict([*TEXTS, TEXTS[0]], top=4, batch_size=3)
    for text, found in zip([*TEXTS, TEXTS[0]], together, strict=True):
        for mask, alone in zip(found, filler.fill(text, top=4), strict=True):
            assert (mask.start, mask.end, mask.token) == (alone.start, alone.end, alone.token)
            ours, theirs = ([one.probability for one in side.candidates] for side in (mask, alone))
            assert ours == pytest.approx(theirs, abs=1e-6)
    everything = filler.fill(TEXTS[0], top=10**6)[0].candidates
    assert len(everything) == filler.tokenizer.vocab_size
    assert sum(one.probability for one in everything) == pytest.approx(1)
    assert filler.predict([]) == []


@pytest.mark.once
def test_masks_stand_where_they_are_spelled(filler):
    tokenizer = filler.tokenizer
    [one] = encode_masked(tokenizer, ["a[MASK] 里<mask>"])
    tokens = tokenizer.ids_to_tokens(one.encoding.token_ids)
    assert [tokens[i] for i in one.positions] == ["[MASK]"]
    assert (one.positions, one.spans) == ((2,), ((1, 7),))
    assert tokens[3] == "里"
    assert encode_masked(tokenizer, ["没有"])[0].positions == ()


@pytest.mark.once
def test_what_cannot_be_filled_is_one_line(filler, directory, tmp_path):
    for texts, top, said in (
        (["里[MASK]", "里"], 5, r"^text 2: has no mask; write \[MASK\] where a token is wanted\.$"),
        (["[MASK]" * 28], 5, f"^text 1: has 30 tokens, more than the {POSITIONS} that the model reads"),
        (["[MASK]"], 0, "^top must be at least 1. Received: 0"),
    ):
        with pytest.raises(UserError, match=said):
            filler.predict(texts, top)
    for path in ("config.json", "vocab.txt", "tokenizer_config.json"):
        (tmp_path / path).write_bytes((directory / path).read_bytes())
    tensors = load_file(directory / "model.safetensors")
    save_file({n: t for n, t in tensors.items() if not n.startswith("cls.")}, tmp_path / "model.safetensors")
    with pytest.raises(UserError, match="has no masked-LM head, so nothing can be filled with it; give a model as"):
        MaskFiller.open(tmp_path)
    tokens = [token for token in filler.tokenizer.vocab if token != "[MASK]"]
    small = TransformerConfig(vocab_size=len(tokens), hidden_size=2, num_layers=1, num_heads=1, ffn_size=3)
    with pytest.raises(UserError, match=r"has no \[MASK\] or <mask>, to hide a token"):
        MaskFiller(Transformer(small, with_mlm=True), Tokenizer({token: i for i, token in enumerate(tokens)}))


fill = functools.partial(call, command, "fill")


def given(text):
    """Standard input that holds a text."""
    return io.TextIOWrapper(io.BufferedReader(io.BytesIO(text.encode())))


@pytest.mark.once
def test_the_command_prints_tokens_with_their_probabilities(directory, filler, monkeypatch):
    done = fill("--model", directory, "--top", 2, *TEXTS[:2])
    assert (done.status, done.err) == (0, "")
    expected = []
    for text, masks in zip(TEXTS, filler.predict(TEXTS[:2], top=2), strict=False):
        expected.append(text)
        expected += [f"  {i}\t{c.token}\t{c.probability:.4f}" for i, m in enumerate(masks, 1) for c in m.candidates]
    assert done.out.splitlines() == expected

    monkeypatch.setattr("sys.stdin", given(f"\ufeff{TEXTS[0]}\r\n\n{TEXTS[2]}"))
    rows = [json.loads(line) for line in fill("--model", directory, "--json").out.splitlines()]
    assert [row["text"] for row in rows] == [TEXTS[0], TEXTS[2]]
    for row in rows:
        wanted = json.loads(json.dumps([dataclasses.asdict(mask) for mask in filler.fill(row["text"])]))
        for mask, alone in zip(row["masks"], wanted, strict=True):
            assert [one["token"] for one in mask["candidates"]] == [one["token"] for one in alone["candidates"]]
            best, expected = (side["candidates"][0]["probability"] for side in (mask, alone))
            assert best == pytest.approx(expected, abs=1e-6)


@pytest.mark.once
def test_the_command_tells_what_the_vocabulary_lacks(directory):
    done = fill("--model", directory, "--top", 1, "鱼[MASK]里", "里[MASK]")
    assert done.status == 0
    assert done.err == (
        "1 of 3 tokens (33.3%) in the texts are not in the model's vocabulary and are read as one and the same: 鱼\n"
    )


@pytest.mark.once
def test_mistakes_of_the_command_are_one_line(directory, tmp_path, monkeypatch):
    monkeypatch.setattr("sys.stdin", given("里[MASK]\n\n里\n"))
    assert_refused(fill("--model", directory), "standard input:3: has no mask; write [MASK]")
    assert_refused(fill("--model", directory, "--top", 0, "[MASK]"), "--top must be at least 1. Received: 0.")
    assert_refused(fill("--model", tmp_path / "none", "[MASK]"), "none: no such ")
    monkeypatch.setattr(bundled, "FOLDER", tmp_path)
    assert_refused(fill("[MASK]"), "mini: this installation lacks the pretrained model of that name")


def test_the_bundled_model_fills_masks():
    folder = bundled.bundled_models()["mini"]
    assert sum(path.stat().st_size for path in folder.iterdir()) <= 20e6
    assert "MIT License" in (folder / "README.md").read_text(encoding="utf-8")
    filler = nlptasks.MaskFiller.open()
    assert filler.model.config.num_layers == 6
    assert 8000 <= filler.tokenizer.vocab_size <= 14000
    candidates = filler.fill("今天天气[MASK]好")[0].candidates
    assert len(candidates) == 5
    assert candidates[0].token == "很"


@pytest.mark.once
def test_a_drawn_token_has_the_probability_that_the_model_gives_it(filler):
    text, count = "沈月在[MASK]里种菜。", 600
    candidates = filler.fill(text, top=filler.tokenizer.vocab_size)[0].candidates
    special = {filler.tokenizer.id_to_token(i) for i in filler.tokenizer.special_ids}
    probability = Counter()
    for one in candidates:
        if one.token not in special:
            probability[one.token.removeprefix("##")] += one.probability
    sampler = GibbsSampler(filler, seed=3)
    drawn = sampler.sample(text, count, sweeps=1)
    before, after = (
        filler.tokenizer.decode(filler.tokenizer.encode(part).token_ids) for part in ("沈月在", "里种菜。")
    )
    assert all(one.startswith(before) and one.endswith(after) for one in drawn)
    found = Counter(one[len(before) : len(one) - len(after)].strip() for one in drawn)
    for token, share in probability.most_common(4):
        wanted = share / probability.total()
        assert abs(found[token] / count - wanted) < 4 * (wanted * (1 - wanted) / count) ** 0.5, token
    assert drawn == sampler.sample(text, count, sweeps=1)
    best = GibbsSampler(filler, top_k=1).sample(text, 2, sweeps=1)
    assert best[0] == best[1]  # whatever the seed of a chain


@pytest.mark.once
def test_texts_without_masks_are_drawn_anew_and_mistakes_are_told(filler):
    texts = GibbsSampler(filler, seed=1).sample("沈月来。", 3, sweeps=2)
    assert len(set(texts)) == 3
    sampler = GibbsSampler(filler)
    for mistaken, message in (
        (lambda: GibbsSampler(filler, temperature=0), "temperature must be positive. Received: 0."),
        (lambda: GibbsSampler(filler, top_k=0), "top_k must be at least 1. Received: 0."),
        (lambda: sampler.sample(""), "the text has 0 tokens to draw, and 2 in all; the model reads 1 to 29."),
        (lambda: sampler.sample("月" * 30), "the text has 30 tokens to draw, and 32 in all; the model reads"),
    ):
        with pytest.raises(UserError) as error:
            mistaken()
        assert str(error.value).startswith(message)


@pytest.mark.once
def test_the_command_draws_texts(directory):
    given = ("filling", "sample", "--model", directory, "--sweeps", 1)
    drawn = call(command, *given, "--length", 2, "--count", 3)
    assert (drawn.status, len(drawn.out.splitlines())) == (0, 3), drawn.err
    again = call(command, *given, "--text", "[MASK][MASK]", "--count", 3)
    assert again.out == drawn.out
    assert_refused(call(command, *given), "give --text TEXT or --length N, and not both.")
    assert_refused(call(command, *given, "--length", 2, "--temperature", 0), "--temperature must be positive.")
