"""An exported application gives what the application does: labels, entities, answers, vectors and texts."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from keras import ops

import nlptasks
from nlptasks.applications.conditional.conditions import Conditions
from nlptasks.applications.conditional.generator import ConditionalGenerator
from nlptasks.applications.conditional.network import condition_tables
from nlptasks.applications.encoder_head import EncoderWithHead
from nlptasks.applications.reading.commands import Answer
from nlptasks.applications.reading.reader import Reader
from nlptasks.applications.reading.span import span_model
from nlptasks.applications.reading.windows import ReadingLengths, SpanLengths
from nlptasks.applications.scratch import scratch_config, transformer_from_scratch
from nlptasks.backend import packages
from nlptasks.core import Transformer
from nlptasks.errors import MissingPackageError, UserError, flag_of
from nlptasks.export.commands import Export
from nlptasks.opening import is_exported
from tests.applications.labeling.label_cases import BAD, GOOD, classifier, entity_texts, labeler, tokenizer
from tests.export.test_graphs import filled

pytest.importorskip("onnx", reason="the test extra brings onnx")
pytest.importorskip("onnxruntime", reason="the test extra brings onnxruntime")

QUESTIONS = [
    ("沈月去了哪里？", ["沈月去了南山。", "方大海在家。"]),
    ("谁在家？", ["方大海在家，沈月不在。"]),
]
WORDS = [text for question, passages in QUESTIONS for text in (question, *passages)]


def exported(application, folder, quantize=None):
    from nlptasks.export.writing import write_onnx

    write_onnx(application, folder, quantize)
    assert is_exported(folder)
    return nlptasks.load(folder)


def reader(method="seq2seq", **settings):
    tokens = tokenizer(WORDS)
    attention = "unilm" if method == "seq2seq" else "bidirectional"
    config = scratch_config(tokens.vocab_size, 48, 20, 2, 2, 29, 0.0).replace(attention=attention)
    if method == "span":
        model = span_model(filled(transformer_from_scratch(config)))
        return Reader(
            model, tokens, SpanLengths(window_length=24, question_length=12, answer_length=4), method, **settings
        )
    model = filled(Transformer(config, with_mlm="linear"))
    return Reader(model, tokens, ReadingLengths(passage_length=16, question_length=12, answer_length=6))


@pytest.mark.parametrize("settings", [{}, {"multi_label": True, "pooling": "mean"}])
def test_an_exported_classifier_gives_the_same_scores(settings, tmp_path):
    own = classifier(**settings)
    filled(own.model.transformer)
    other = exported(own, tmp_path / "out")
    for mine, its in zip(own.predict(GOOD + BAD), other.predict(GOOD + BAD), strict=True):
        assert mine.labels == its.labels
        np.testing.assert_allclose(list(its.scores.values()), list(mine.scores.values()), atol=1e-4)


@pytest.mark.parametrize("head", ["crf", "global-pointer", "efficient-global-pointer"])
def test_an_exported_labeler_finds_the_same_entities(head, tmp_path):
    own = labeler(head)
    filled(own.model.transformer)
    for layer in own.model.head_layers.values():
        for weight in layer.weights:
            weight.assign(np.random.default_rng(3).normal(0.0, 1.0, weight.shape))
    other = exported(own, tmp_path / "out")
    texts = [text.text for text in entity_texts()]
    for mine, its in zip(own.predict(texts), other.predict(texts), strict=True):
        assert [(e.start, e.end, e.type) for e in mine] == [(e.start, e.end, e.type) for e in its]
        np.testing.assert_allclose([e.probability for e in its], [e.probability for e in mine], atol=1e-4)
    assert any(own.predict(texts))


@pytest.mark.on_jax
@pytest.mark.parametrize(("beams", "mode"), [(1, "extractive"), (3, "generative")])
def test_an_exported_reader_decodes_the_same_tokens(beams, mode, tmp_path):
    own = reader()
    other = exported(own, tmp_path / "out")
    for mine, its in zip(own.predict(QUESTIONS, mode, beams), other.predict(QUESTIONS, mode, beams), strict=True):
        assert mine.text == its.text
        assert its.score == pytest.approx(mine.score, abs=1e-3)
        assert [(e.passage, e.start, e.end) for e in mine.evidence] == [
            (e.passage, e.start, e.end) for e in its.evidence
        ]
        np.testing.assert_allclose(
            [e.probability for e in its.evidence], [e.probability for e in mine.evidence], atol=1e-4
        )


def test_an_exported_reader_by_spans_points_at_the_same_places(tmp_path):
    own = reader("span")
    other = exported(own, tmp_path / "out")
    for mine, its in zip(own.predict(QUESTIONS), other.predict(QUESTIONS), strict=True):
        assert (mine.text, mine.evidence[0].start) == (its.text, its.evidence[0].start)
        assert its.score == pytest.approx(mine.score, abs=1e-3)


@pytest.mark.once
@pytest.mark.parametrize("pooling", ["first", "mean"])
def test_an_exported_encoder_gives_the_same_vectors(pooling, tmp_path):
    from nlptasks.applications.similarity.encoder import SentenceEncoder
    from nlptasks.applications.similarity.network import TransformerEncoder
    from nlptasks.applications.similarity.transformer import TransformerModel

    tokens = tokenizer(WORDS)
    network = filled(transformer_from_scratch(scratch_config(tokens.vocab_size, 20, 22, 2, 2, 29, 0.0)))
    own = SentenceEncoder(TransformerModel(TransformerEncoder(network, pooling), tokens, 20), 0.3)
    other = exported(own, tmp_path / "out")
    np.testing.assert_allclose(other.encode(WORDS), own.encode(WORDS), atol=1e-4)
    assert other.hybrid_weight == 0.3
    assert other.fingerprint != own.fingerprint  # rounding differs, so an index is of one of them


@pytest.mark.on_jax
@pytest.mark.parametrize("options", [{"top_p": 0.9, "guidance": 2.0}, {"top_k": 5, "repetition_penalty": 1.3}])
def test_an_exported_generator_draws_the_same_texts(options, tmp_path):
    tokens = tokenizer(GOOD + BAD)
    conditions = Conditions(labels={"mood": ("good", "bad")}, label_size=6)
    config = scratch_config(tokens.vocab_size, 14, 20, 2, 2, 29, 0.0)
    config = config.replace(attention="causal", segment_vocab_size=0, layer_norm_cond_size=6)
    model = EncoderWithHead(filled(Transformer(config, with_mlm="linear")), condition_tables(conditions))
    own = ConditionalGenerator(model, tokens, conditions, 14)
    other = exported(own, tmp_path / "out")
    given, more = [{"mood": "good"}, {}], {"max_length": 7, "min_length": 3, "prompt": "菜", "seed": 5}
    mine, its = (each.generate_batch(given, 3, **more, **options) for each in (own, other))
    for a, b in zip([*mine[0], *mine[1]], [*its[0], *its[1]], strict=True):
        assert (a.text, a.num_tokens, a.complete) == (b.text, b.num_tokens, b.complete)
        assert a.log_probability == pytest.approx(b.log_probability, abs=1e-3)


@pytest.mark.once
def test_an_exported_segmenter_cuts_the_same_words(tmp_path):
    own = nlptasks.load("segmenter")
    other = exported(own, tmp_path / "out")
    texts = ["今天天气很好，我们去南山公园吧。\n下午3点回来！", "他说的确实在理", "沈月白生于1921年"]
    for standard in own.standards:
        assert other.segment(texts, standard) == own.segment(texts, standard)


@pytest.mark.once
def test_a_quantized_classifier_is_smaller_and_nearly_the_same(tmp_path):
    own = classifier(labels=("bad", "good"))
    whole, small = exported(own, tmp_path / "whole"), exported(own, tmp_path / "small", "int8")
    kinds = {node.op_type for node in _nodes(tmp_path / "small" / "model.onnx")}
    assert {"MatMulInteger", "DynamicQuantizeLinear"} <= kinds
    for mine, its in zip(whole.predict(GOOD), small.predict(GOOD), strict=True):
        np.testing.assert_allclose(list(its.scores.values()), list(mine.scores.values()), atol=0.05)


def _nodes(path):
    import onnx

    return onnx.load(path).graph.node


@pytest.mark.once
def test_an_exported_model_answers_without_keras_or_a_backend(tmp_path):
    exported(classifier(), tmp_path / "out")
    exported(reader(), tmp_path / "reader")
    code = (
        "import sys\nfrom nlptasks.command import main\n"
        f"assert main(['classification', 'predict', '--model', {str(tmp_path / 'out')!r}, '--texts', '菜很好吃', "
        "'--json']) == 0\n"
        f"assert main(['reading', 'answer', '--model', {str(tmp_path / 'reader')!r}, '--question', '谁在家？', "
        "'--passage', '方大海在家。', '--json']) == 0\n"
        "print(sorted({'keras', 'tensorflow', 'jax', 'torch', 'onnx', 'h5py', 'matplotlib'} & sys.modules.keys()))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, encoding="utf-8", check=True)
    first, second, loaded = done.stdout.splitlines()
    assert json.loads(first)["labels"]
    assert "evidence" in json.loads(second)
    assert loaded == "[]"


@pytest.mark.once
@pytest.mark.parametrize("kind", ["classifier", "labeler"])
def test_a_keras_file_opens_again_and_computes_the_same(kind, tmp_path):
    import keras

    from nlptasks.export.keras_models import functional, write_keras

    own = classifier(pooling="mean") if kind == "classifier" else labeler("efficient-global-pointer")
    write_keras(own, tmp_path / "out")
    again = keras.saving.load_model(tmp_path / "out" / "model.keras")
    token_ids = np.array([[2, 5, 6, 7, 3, 0], [2, 5, 6, 3, 0, 0]], "int32")
    inputs = {"token_ids": token_ids, "segment_ids": 0 * token_ids}
    found, expected = (ops.convert_to_numpy(each(inputs)) for each in (again, functional(own)))
    np.testing.assert_allclose(found, expected, atol=1e-5)
    assert expected.any()


@pytest.mark.once
def test_what_cannot_be_exported_is_refused_and_leaves_nothing(tmp_path):
    from nlptasks.export.writing import write_onnx

    with pytest.raises(UserError, match="NumPy"):
        write_onnx(nlptasks.load("similarity"), tmp_path / "out")
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "a").touch()
    with pytest.raises(UserError, match="holds something already"):
        write_onnx(classifier(), tmp_path / "full")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["full"]


@pytest.mark.once
def test_a_damaged_export_is_refused_in_one_line(tmp_path):
    exported(classifier(), tmp_path / "out")
    whole = (tmp_path / "out" / "model.onnx").read_bytes()
    (tmp_path / "out" / "model.onnx").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(ValueError, match="not a readable ONNX file"):
        nlptasks.load(tmp_path / "out")
    (tmp_path / "out" / "model.onnx").unlink()
    with pytest.raises(FileNotFoundError, match="nlptasks export"):
        nlptasks.load(tmp_path / "out")
    (tmp_path / "out" / "config.json").write_text(
        '{"nlptasks": {"task": "text_classification", "export": {"format": "keras"}}}', "utf-8"
    )
    with pytest.raises(UserError, match=r"exported for another program \(format 'keras'\)"):
        nlptasks.load(tmp_path / "out")


@pytest.mark.once
def test_the_page_of_errors_has_the_mistakes_as_they_are_shown(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    page = (Path(__file__).parents[2] / "docs" / "errors.md").read_text("utf-8").partition("## Export")[2]
    exported(classifier(), Path("exported"))
    given = [
        lambda: Export(model="a", output=Path("new"), format="keras", quantize="int8"),
        lambda: Export(model="exported", output=Path("new")).run(),
        lambda: Export(model="similarity", output=Path("new")).run(),
        lambda: Export(model="segmenter", output=Path("new"), format="keras").run(),
        lambda: Answer(model=Path("exported"), question="a", passage=("b",), picture=Path("p.html")).run(),
    ]
    for mistake in given:
        with pytest.raises(UserError) as error:
            mistake()
        assert f"| `{error.value.render(flag_of)}` |" in page
    assert not Path("new").exists()


def test_without_the_extra_the_command_says_what_to_install(monkeypatch):
    monkeypatch.setattr(packages, "is_installed", lambda module: module not in ("onnx", "onnxruntime"))
    with pytest.raises(MissingPackageError, match=r'pip install "onnx>=1.17,<2" "onnxruntime>=1.20,<2"'):
        packages.require_packages(*Export(model="a", output=Path("new")).packages())
