"""RoBERTa and XLM-R against transformers: positions count from the padding id, one segment, heads of other names."""

import json

import numpy as np
import pytest
from keras import ops
from safetensors.numpy import load_file, save_file

import nlptasks
from nlptasks.checkpoints.huggingface import save_directory
from nlptasks.core import Transformer, TransformerConfig
from nlptasks.generate.generator import Generator
from tests.checkpoints.test_huggingface import their_model
from tests.parity import TOLERANCE, distance, randomised

torch = pytest.importorskip("torch", reason="the test extra brings torch")
transformers = pytest.importorskip("transformers", reason="the test extra brings transformers")


def some_ids(pad_id, vocab_size=83):
    """Token ids `(3, 17)` without `pad_id`; the second row is padded, the third on both sides of its middle."""
    token_ids = np.random.default_rng(4).integers(4, vocab_size, (3, 17)).astype("int32")
    token_ids[1, 11:] = pad_id
    return token_ids


def check(value, reference, token_ids, pad_id):
    real = token_ids != pad_id
    value = ops.convert_to_numpy(value)
    assert distance(value[real], reference.numpy()[real]) < TOLERANCE


def theirs(model, token_ids, pad_id):
    ids = torch.tensor(token_ids.astype("int64"))
    with torch.no_grad():
        return model.double().eval()(input_ids=ids, attention_mask=(ids != pad_id).to(torch.int64))


def roberta(kind="RobertaModel", pad_id=1, **changes):
    sizes = {"pad_token_id": pad_id, "type_vocab_size": 1, "layer_norm_eps": 1e-5}
    return their_model(getattr(transformers, kind), **(sizes | changes))


@pytest.mark.parametrize(("kind", "pad_id"), [("RobertaModel", 1), ("XLMRobertaModel", 3)])
def test_an_encoder_computes_what_transformers_computes(kind, pad_id, tmp_path):
    model, token_ids = roberta(kind, pad_id), some_ids(pad_id)
    model.save_pretrained(tmp_path)
    ours = nlptasks.build_transformer_model(tmp_path, tmp_path, with_pool=True)
    assert (ours.config.position, ours.config.pad_id, ours.config.segment_vocab_size) == ("counted", pad_id, 1)
    reference = theirs(model, token_ids, pad_id)
    check(ours.encode(token_ids), reference.last_hidden_state, token_ids, pad_id)
    assert distance(ops.convert_to_numpy(ours(token_ids)), reference.pooler_output.numpy()) < TOLERANCE


@pytest.mark.parametrize("kind", ["RobertaForMaskedLM", "XLMRobertaForMaskedLM"])
def test_the_masked_lm_head_computes_what_transformers_computes(kind, tmp_path):
    model, token_ids = roberta(kind), some_ids(1)
    model.save_pretrained(tmp_path)
    ours = nlptasks.build_transformer_model(tmp_path, tmp_path, with_mlm="linear")
    check(ours(token_ids), theirs(model, token_ids, 1).logits, token_ids, 1)


def test_a_causal_model_computes_what_transformers_computes(tmp_path):
    model, token_ids = roberta("RobertaForCausalLM", is_decoder=True), some_ids(1)
    model.save_pretrained(tmp_path)
    ours = nlptasks.build_transformer_model(tmp_path, tmp_path, application="lm", with_mlm="linear")
    check(ours(token_ids), theirs(model, token_ids, 1).logits, token_ids, 1)


@pytest.mark.once
@pytest.mark.parametrize("model_name", [None, "roberta", "xlm-roberta"])
def test_a_config_without_model_type_is_known_by_its_architectures(model_name, tmp_path):
    model, token_ids = roberta("RobertaForMaskedLM"), some_ids(1)
    model.save_pretrained(tmp_path)
    config = json.loads((tmp_path / "config.json").read_text())
    del config["model_type"], config["pad_token_id"]
    (tmp_path / "config.json").write_text(json.dumps(config))
    ours = nlptasks.build_transformer_model(tmp_path, tmp_path, model_name, with_mlm="linear")
    check(ours(token_ids), theirs(model, token_ids, 1).logits, token_ids, 1)


@pytest.mark.once
def test_weights_of_roberta_are_refused_by_the_config_of_a_bert_and_the_other_way_round(tmp_path):
    roberta("RobertaForMaskedLM").save_pretrained(tmp_path)
    config = json.loads((tmp_path / "config.json").read_text())
    bert = config | {"model_type": "bert", "architectures": ["BertForMaskedLM"]}
    (tmp_path / "config.json").write_text(json.dumps(bert))
    with pytest.raises(ValueError, match=r'the xlm-roberta family, but .* pass model="xlm-roberta"'):
        nlptasks.build_transformer_model(tmp_path, tmp_path)
    (tmp_path / "config.json").write_text(json.dumps(config))
    tensors = load_file(tmp_path / "model.safetensors")
    save_file({name.replace("roberta.", "bert."): t for name, t in tensors.items()}, tmp_path / "model.safetensors")
    with pytest.raises(ValueError, match=r"named as a BERT's, but the config says RoBERTa; pass model=\"bert\""):
        nlptasks.build_transformer_model(tmp_path, tmp_path, with_mlm=True)


@pytest.mark.once
def test_a_chinese_bert_that_says_roberta_loads_as_bert_when_asked(tmp_path):
    model = their_model(transformers.BertModel)
    model.save_pretrained(tmp_path)
    config = json.loads((tmp_path / "config.json").read_text()) | {"model_type": "roberta"}
    (tmp_path / "config.json").write_text(json.dumps(config))
    ours = nlptasks.build_transformer_model(tmp_path, tmp_path, "bert")
    token_ids = some_ids(0)
    check(ours(token_ids), theirs(model, token_ids, 0).last_hidden_state, token_ids, 0)


SIZES = {"vocab_size": 83, "hidden_size": 30, "num_layers": 1, "num_heads": 5, "ffn_size": 41, "max_positions": 37}
OURS = SIZES | {"position": "counted", "pad_id": 3, "segment_vocab_size": 1, "layer_norm_epsilon": 1e-5}


def made(attention="bidirectional", **heads):
    model = Transformer(TransformerConfig(**OURS, attention=attention), **heads)
    model.build()
    return randomised(model)


@pytest.mark.once
def test_they_load_what_we_save(tmp_path):
    model, token_ids = made(with_mlm="linear"), some_ids(3)
    save_directory(model, tmp_path)
    loaded, report = transformers.AutoModelForMaskedLM.from_pretrained(tmp_path, output_loading_info=True)
    assert not report["missing_keys"]
    assert not report["unexpected_keys"]
    check(model(token_ids), theirs(loaded, token_ids, 3).logits, token_ids, 3)


@pytest.mark.once
@pytest.mark.parametrize("attention", ["bidirectional", "causal", "unilm"])
def test_a_directory_comes_back_equal(attention, tmp_path):
    model, token_ids = made(attention, with_mlm="linear"), some_ids(3)
    save_directory(model, tmp_path)
    application = {"bidirectional": "encoder", "causal": "lm", "unilm": "unilm"}[attention]
    again = nlptasks.build_transformer_model(tmp_path, tmp_path, application=application, with_mlm="linear")
    assert again.config == model.config
    assert distance(ops.convert_to_numpy(again(token_ids)), ops.convert_to_numpy(model(token_ids))) == 0


def test_padding_never_changes_real_positions():
    model, token_ids = made(), some_ids(3)
    short = model(token_ids[1:2, :11])
    assert distance(ops.convert_to_numpy(model(token_ids))[1:2, :11], ops.convert_to_numpy(short)) < TOLERANCE


def test_segment_ids_steer_the_mask_only():
    model, token_ids = made(), some_ids(3)[:1]
    segment_ids = (np.arange(17) >= 8).astype("int32")[None]
    assert distance(*(ops.convert_to_numpy(model([token_ids, s])) for s in (segment_ids, segment_ids * 0))) == 0
    unilm = made("unilm")
    changed = token_ids.copy()
    changed[0, 12] = 5
    before, after = (ops.convert_to_numpy(unilm([ids, segment_ids])) for ids in (token_ids, changed))
    assert distance(before[:, :12], after[:, :12]) == 0
    assert distance(before[:, 12:], after[:, 12:]) > 0.1


@pytest.mark.once
def test_cached_decoding_equals_uncached_decoding():
    model = made("unilm", with_mlm="linear")
    sources = [[4, 9, 7, 30, 11], [8, 5]]
    found = Generator(model, end_id=None).generate(sources, max_length=4)
    for source, [best] in zip(sources, found, strict=True):
        ids = list(source)
        for token in best.tokens:
            segment_ids = (np.arange(len(ids)) >= len(source)).astype("int32")[None]
            logits = ops.convert_to_numpy(model([np.array([ids], "int32"), segment_ids]))[0, -1]
            logits[model.config.pad_id] = -np.inf
            assert token == int(logits.argmax())
            ids.append(token)


@pytest.mark.once
def test_padding_may_not_be_in_a_source():
    generator = Generator(made("causal", with_mlm="linear"), end_id=None)
    with pytest.raises(ValueError, match=r"source 0: token ids must be 0 to 82 \(3 is padding\). Received: 3."):
        generator.generate([[0, 4, 3]], max_length=2)


@pytest.mark.once
def test_positions_end_where_the_table_does():
    assert made().config.position_reach == 33
    with pytest.raises(ValueError, match="max_positions must be more than pad_id"):
        TransformerConfig(**(OURS | {"max_positions": 4}))
    with pytest.raises(ValueError, match="pad_id must lie in"):
        TransformerConfig(**(OURS | {"pad_id": 83}))


@pytest.mark.once
def test_a_cut_vocabulary_keeps_the_padding_token(tmp_path):
    model, token_ids = made(), some_ids(3)
    save_directory(model, tmp_path)
    kept = [0, 1, 2, 3, *range(40, 83), *range(4, 40)]
    cut = nlptasks.build_transformer_model(tmp_path, tmp_path, keep_tokens=kept)
    new = np.vectorize(kept.index)(token_ids).astype("int32")
    real = token_ids != 3
    assert distance(ops.convert_to_numpy(cut(new))[real], ops.convert_to_numpy(model(token_ids))[real]) < TOLERANCE
    with pytest.raises(ValueError, match="must leave the padding token, 3, at its place"):
        nlptasks.build_transformer_model(tmp_path, tmp_path, keep_tokens=[3, 2, 1, 0, 4])
