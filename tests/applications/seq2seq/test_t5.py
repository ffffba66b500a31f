"""A T5 in place of the one stack: the same scores, texts and limits, and rows without a token are left out."""

import json

import numpy as np
import pytest
from keras import ops

import nlptasks
from nlptasks.applications.encoder import pretrained_encoder_decoder
from nlptasks.applications.seq2seq.decoding import Decoding
from nlptasks.applications.seq2seq.model import Seq2Seq
from nlptasks.applications.seq2seq.samples import PairExamples
from nlptasks.applications.seq2seq.training import Seq2SeqOptions
from nlptasks.applications.seq2seq.writing import PairLengths
from nlptasks.backend import compile_function
from nlptasks.errors import UserError
from nlptasks.text.batches import pad
from nlptasks.text.pairs import SourceText
from tests.parity import distance
from tests.t5 import MORE_ROWS, save_t5
from tests.text.kinds import json_source

SOURCES = ("屏幕很清楚，很满意。", "快递很慢", "书的质量不错，内容也好，推荐购买")
TARGETS = ("很满意", "慢", "书不错")
LENGTHS = PairLengths(source_length=9, target_length=7)


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory):
    return save_t5(tmp_path_factory.mktemp("t5"), output="untied", gated_ffn=True, hidden_act="gelu_new")


@pytest.fixture(scope="module")
def one(checkpoint, tmp_path_factory):
    options = Seq2SeqOptions(output=tmp_path_factory.mktemp("run"), checkpoint=str(checkpoint), dropout=0.0)
    return Seq2Seq(*pretrained_encoder_decoder(options), LENGTHS)


def uncached(one, targets):
    """Logits of each token of the targets of the sources, by the whole model without cache."""
    source_ids = pad([encoding.token_ids for encoding in one.encode(SOURCES)], 9)
    former = pad([[one.tokenizer.pad_id, *tokens[:-1]] for tokens in targets], 7)
    logits = compile_function(lambda a, b: one.model([a, b]), one.model)(source_ids, former)
    rows = ops.convert_to_numpy(logits).astype("float64")
    return [row[: len(tokens)] for row, tokens in zip(rows, targets, strict=True)]


def log_softmax(logits):
    return logits - np.log(np.exp(logits).sum(axis=-1, keepdims=True))


def test_a_score_is_that_of_the_target_and_its_end_behind_the_start_token(one):
    found, lengths = one.score(SOURCES, TARGETS)
    end = one.tokenizer.sep_id
    targets = [one.tokenizer.encode(target).token_ids[:7] for target in TARGETS]
    assert lengths.tolist() == [len(tokens) for tokens in targets]
    for tokens, logits, score in zip(targets, uncached(one, targets), found, strict=True):
        log = log_softmax(logits)
        assert score == pytest.approx(log[np.arange(len(tokens)), tokens].sum(), abs=1e-4)
    examples = PairExamples(one, [SourceText(s, (t,)) for s, t in zip(SOURCES, TARGETS, strict=True)])
    batch = examples.arrays(np.arange(3), 4)
    assert batch["source_ids"].shape == (4, 9)  # as wide as a source may be
    assert batch["source_ids"][2, -1] == end  # a source that is cut ends all the same
    assert (batch["former_ids"][:, 0] == one.tokenizer.pad_id).all()
    assert examples.weight(batch) == lengths.sum()
    loss = compile_function(lambda arrays: one.loss(arrays, training=False), one.model)
    assert float(ops.convert_to_numpy(loss(batch))) == pytest.approx(-found.sum() / lengths.sum(), rel=1e-5)


@pytest.mark.once
def test_what_is_written_is_the_most_probable_token_each_time(one):
    never = sorted(one.tokenizer.special_ids - {one.tokenizer.sep_id})
    read = [encoding.token_ids for encoding in one.encode(SOURCES)]
    found = [best for [best] in one.continued(read, Decoding(), 5)]
    targets = [[*best.tokens, *[one.tokenizer.sep_id] * best.finished] for best in found]
    texts = one.predict(SOURCES, max_length=5)
    for best, tokens, logits, text in zip(found, targets, uncached(one, targets), texts, strict=True):
        logits[:, never] = -np.inf
        assert logits.argmax(axis=1).tolist() == tokens
        assert best.score == pytest.approx(log_softmax(logits).max(axis=1).sum(), abs=1e-4)
        assert text.text == one.tokenizer.decode(best.tokens)


@pytest.mark.once
def test_rows_without_a_token_are_left_out_and_a_saved_model_scores_the_same(one, checkpoint, tmp_path):
    whole = nlptasks.build_encoder_decoder(checkpoint, checkpoint)
    assert whole.config.vocab_size - MORE_ROWS == one.model.config.vocab_size == one.tokenizer.vocab_size
    inputs = [np.array([[5, 9, 1]]), np.array([[0, 7]])]
    expected = ops.convert_to_numpy(whole(inputs))[..., :-MORE_ROWS]
    assert distance(ops.convert_to_numpy(one.model(inputs)), expected) < 1e-5
    one.save(tmp_path / "run")
    again = nlptasks.load(tmp_path / "run", Seq2Seq)
    assert (again.lengths, again.tokenizer.vocab) == (LENGTHS, one.tokenizer.vocab)
    assert distance(again.score(SOURCES, TARGETS)[0], one.score(SOURCES, TARGETS)[0]) == 0


@pytest.mark.once
def test_a_tokenizer_json_does_as_well(tmp_path):
    values = json.loads(json_source("unigram", pad_first=True))
    end = values["model"]["vocab"].index(["</s>", 0.0])
    pieces = [{"Sequence": {"id": "A", "type_id": 0}}, {"SpecialToken": {"id": "</s>", "type_id": 0}}]
    special = {"</s>": {"id": "</s>", "ids": [end], "tokens": ["</s>"]}}
    template = {"type": "TemplateProcessing", "single": pieces, "pair": [*pieces, *pieces], "special_tokens": special}
    (tmp_path / "tokenizer.json").write_text(json.dumps(values | {"post_processor": template}), encoding="utf-8")
    options = Seq2SeqOptions(output=tmp_path / "run", checkpoint=str(save_t5(tmp_path)))
    model, tokenizer = pretrained_encoder_decoder(options)
    assert model.config.vocab_size == tokenizer.vocab_size
    writer = Seq2Seq(model, tokenizer, LENGTHS)
    [source] = writer.encode(SOURCES[:1])
    assert (source.token_ids[-1], len(writer.inner(source.token_ids))) == (end, len(source.token_ids) - 1)


@pytest.mark.once
def test_what_does_not_fit_is_one_line(one, checkpoint, tmp_path):
    with pytest.raises(UserError, match=r"prompt goes with a model of one stack; leave it out: this one is a T5\."):
        one.generate(SOURCES[0], prompt="很")
    for name in ("spiece.model", "model.safetensors"):
        (tmp_path / name).write_bytes((checkpoint / name).read_bytes())
    values = json.loads((checkpoint / "config.json").read_text())
    (tmp_path / "config.json").write_text(json.dumps(values | {"vocab_size": 50}))
    with pytest.raises(ValueError, match=r"of another shape: shared\.weight"):
        Seq2Seq.train(SOURCES, TARGETS, checkpoint=str(tmp_path))
    with pytest.raises(UserError, match=r"simplify_vocab leaves out what a vocab\.txt holds"):
        Seq2Seq.train(SOURCES, TARGETS, checkpoint=str(checkpoint), simplify_vocab=True)
