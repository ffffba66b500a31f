"""The sentence autoencoder: its losses, what reaches the decoder, and what its commands write and refuse."""

import json
import re
from pathlib import Path

import numpy as np
import pytest
from keras import ops
from safetensors.numpy import load_file

import nlptasks
import nlptasks.train.loop
from nlptasks.applications.latent import commands
from nlptasks.applications.latent import evaluation as latent_evaluation
from nlptasks.applications.latent.commands import Interpolate
from nlptasks.applications.latent.evaluation import evaluation, scores_of
from nlptasks.applications.latent.network import (
    LatentModel,
    adversary_loss,
    kl_divergence,
    kl_loss,
    reversed_gradient,
)
from nlptasks.applications.latent.samples import LatentExamples
from nlptasks.applications.latent.training import LatentOptions, held_out
from nlptasks.applications.latent.writer import LatentWriter
from nlptasks.applications.scratch import scratch_config, transformer_from_scratch
from nlptasks.applications.similarity.calibrating import CalibrationOptions
from nlptasks.applications.similarity.calibration import fit_whitening
from nlptasks.applications.similarity.calibration_commands import Calibrate
from nlptasks.batch.rows import require_settings
from nlptasks.command import main
from nlptasks.errors import UserError, flag_of
from nlptasks.serve.services import service_of
from nlptasks.text import Tokenizer, build_character_vocab
from tests.commands.scripts import Result, models_opened_once, without_steps
from tests.gradients import gradient, gradients
from tests.parity import distance, randomised

TEXTS = ["房间很干净。", "苹果不新鲜", "写得好，读了两遍。", "床太小了", "还会再来"]
Z, LIMIT = 3, 19


def writer(method="vae", spread=0.25):
    tokenizer = Tokenizer(build_character_vocab(TEXTS))
    config = scratch_config(tokenizer.vocab_size, LIMIT, 22, 1, 2, 29, 0.0)
    decoder = scratch_config(tokenizer.vocab_size, LIMIT, 22, 1, 2, 29, 0.0, attention="causal")
    model = LatentModel(
        transformer_from_scratch(config),
        transformer_from_scratch(decoder.replace(layer_norm_cond_size=Z), with_mlm="linear"),
        with_critic=method == "aae",
    )
    return LatentWriter(randomised(model, spread=spread), tokenizer, LIMIT, method)


@pytest.fixture(scope="module")
def vae():
    return writer()


def batch_of(one, count=7, seed=4):
    return one.arrays(one.decoder.encode(TEXTS)[0], count, np.random.default_rng(seed))


def plain_kl(mean, deviation):
    """KL(N(mean, deviation^2) | N(0, 1)), by the integral of p log(p / q) on a grid."""
    x = np.linspace(-30, 30, 200_001)
    log_p = -(((x - mean) / deviation) ** 2) / 2 - np.log(deviation * np.sqrt(2 * np.pi))
    log_q = -(x**2) / 2 - np.log(np.sqrt(2 * np.pi))
    return (np.exp(log_p) * (log_p - log_q)).sum() * (x[1] - x[0])


@pytest.mark.once
def test_the_kl_divergence_is_its_integral_and_counts_from_the_free_bits_on():
    mean, deviation = np.array([[0.5, 0.0], [-1.0, 0.1]]), np.array([[1.0, 1.0], [0.3, 1.2]])
    kl = ops.convert_to_numpy(kl_divergence(mean.astype("float32"), np.log(deviation**2).astype("float32")))
    wanted = np.array(
        [[plain_kl(m, d) for m, d in zip(*row, strict=True)] for row in zip(mean, deviation, strict=True)]
    )
    assert kl == pytest.approx(wanted, abs=1e-5)
    rows = np.array([1, 1, 0], "float32")
    padded = [np.concatenate([part, [[9, 9]]]).astype("float32") for part in (mean, np.log(deviation**2))]
    means = wanted.mean(axis=0)
    assert float(kl_loss(*padded, rows, 0.0)) == pytest.approx(2 * means.sum(), rel=1e-5)
    assert means[1] < 0.2 < means[0]
    assert float(kl_loss(*padded, rows, 0.2)) == pytest.approx(2 * (means[0] + 0.2), rel=1e-5)


@pytest.mark.once
def test_a_number_below_its_free_bits_is_not_drawn_to_the_normal_distribution():
    means = np.array([[0.5, 1.5], [-0.5, 1.0]], "float32")  # a KL of 0.125 and of 0.8 nats
    found = gradient(lambda mean: kl_loss(mean, ops.zeros_like(mean), ops.ones((2,)), 0.2), means)
    assert found == pytest.approx(means * [0, 1], abs=1e-6)


@pytest.mark.once
def test_the_adversary_learns_to_tell_apart_what_the_encoder_learns_to_mix():
    random = np.random.default_rng(3)
    z, prior = random.normal(0, 1, (2, 5, Z)).astype("float32")
    rows, weights = np.array([1, 1, 1, 0, 0], "float32"), random.normal(0, 1, (Z, 1)).astype("float32")

    def critic(x):
        return ops.matmul(x, weights)

    loss = float(adversary_loss(critic, z, prior, rows))
    told = np.log1p(np.exp(-(prior @ weights)[:3])) + np.log1p(np.exp((z @ weights)[:3]))
    assert loss == pytest.approx(told.sum(), rel=1e-5)
    plain = gradient(lambda x: ops.sum(ops.softplus(ops.matmul(x, weights)[:, 0]) * rows), z)
    assert gradient(lambda x: adversary_loss(critic, x, prior, rows), z) == pytest.approx(-plain, abs=1e-6)
    assert float(reversed_gradient(ops.convert_to_tensor(2.0))) == 2.0


def test_the_loss_is_what_writing_costs_and_the_kl_divergence_per_token(vae):
    batch = batch_of(vae)
    mean, deviation = vae.posterior(TEXTS)
    drawn = mean + deviation * batch["noise"][:5]
    scores, lengths = vae.decoder.score(TEXTS, list(drawn))
    variance = deviation.astype("float64") ** 2
    kl = (mean.astype("float64") ** 2 + variance - np.log(variance) - 1) / 2
    floor = np.maximum(kl.mean(axis=0), vae.free_bits).sum() * len(TEXTS)
    assert kl.mean(axis=0).max() > vae.free_bits
    batch["kl_weight"][:] = 0.5
    loss = float(vae.loss(batch, training=False))
    assert loss == pytest.approx((-scores.sum() + 0.5 * floor) / lengths.sum(), rel=1e-5)


@pytest.mark.once
def test_padding_and_other_texts_change_no_vector_and_the_vector_changes_the_text(vae):
    together = vae.encode(TEXTS)
    assert together.shape == (5, Z)
    for text, found in zip(TEXTS, together, strict=True):
        assert distance(vae.encode([text])[0], found) < 1e-5
    assert distance(together[0], together[1]) > 0.05
    text, one, other = TEXTS[0], *together[:2]
    scores = vae.decoder.score([text, text, text], [one, other, one])[0]
    assert scores[0] == pytest.approx(scores[2], abs=1e-4)
    assert abs(scores[0] - scores[1]) > 0.01
    with pytest.raises(TypeError, match="encode takes a list of texts"):
        vae.encode("一")


@pytest.mark.once
def test_examples_are_a_function_of_seed_epoch_and_batch_and_hide_only_tokens_of_the_text(vae):
    examples = LatentExamples(vae, TEXTS, word_dropout=0.5, seed=3)
    examples.warmup_batches = 4
    batches = examples.batches(1, 2)
    assert len(batches) == examples.num_batches(1, 2) == 3
    first = examples.arrays(batches[1], 2)
    again = LatentExamples(vae, TEXTS, word_dropout=0.5, seed=3).arrays(batches[1], 2)
    for name in ("token_ids", "noise", "prior", "source_ids"):
        assert np.array_equal(first[name], again[name]), name
    weights = [examples.arrays(b, 2)["kl_weight"][0] for epoch in (0, 1) for b in examples.batches(epoch, 2)]
    assert weights == [0.25, 0.5, 0.75, 1, 1, 1]
    unknown, hidden, shown = vae.tokenizer.unk_id, 0, 0
    for seed in range(20):
        part = LatentExamples(vae, TEXTS, word_dropout=0.5, seed=seed).arrays((0, 0, np.arange(5)), 5)
        assert (part["token_ids"][:, 0] == vae.tokenizer.cls_id).all()
        assert (part["source_ids"] != unknown).all()
        real = (part["target_weights"] > 0)[:, 1:]
        hidden += (part["token_ids"][:, 1:][real] == unknown).sum()
        shown += (part["token_ids"][:, 1:][real] != unknown).sum()
        assert (part["token_ids"][:, 1:][~real] != unknown).all()
    assert hidden / (hidden + shown) == pytest.approx(0.5, abs=0.08)
    plain = LatentExamples(vae, TEXTS).arrays((0, 0, np.arange(5)), 5)
    assert (plain["token_ids"] != unknown).all()
    assert (plain["kl_weight"] == 1).all()


@pytest.mark.once
def test_scores_say_what_the_vector_holds(vae):
    found = evaluation(vae, TEXTS, seed=2)
    assert (found["texts"], found["tokens"]) == (5, 33)
    assert found["perplexity"] > found["reconstruction"]
    assert found["perplexity"] == pytest.approx(found["reconstruction"] * np.exp(found["kl"] * 5 / 33), rel=1e-6)
    assert 1 <= found["active_units"] <= Z
    assert found["shuffled"]["perplexity"] == pytest.approx(found["reconstruction"], rel=1e-6)
    assert found["shuffled"]["gap"] != 0
    assert {name: found[name] for name in scores_of(vae, TEXTS, seed=2)} == scores_of(vae, TEXTS, seed=2)
    blind = writer(spread=0.0)  # no weight at all: no vector tells anything
    none = evaluation(blind, TEXTS)
    assert none["active_units"] == none["shuffled"]["gap"] == 0
    assert none["kl"] == pytest.approx(0, abs=1e-6)
    with pytest.raises(ValueError, match="at least two texts"):
        evaluation(vae, TEXTS[:1])


@pytest.mark.once
def test_what_is_saved_comes_back_and_its_decoder_is_a_generator(vae, tmp_path, monkeypatch):
    monkeypatch.setattr(vae, "free_bits", 0.75)
    vae.save(tmp_path)
    again = nlptasks.load(tmp_path)
    assert scores_of(again, TEXTS) == pytest.approx(scores_of(vae, TEXTS), rel=1e-5)  # the objective has free bits
    assert isinstance(again, LatentWriter)
    assert (again.method, again.seq_length, again.latent_size) == ("vae", LIMIT, Z)
    np.testing.assert_array_equal(again.encode(TEXTS), vae.encode(TEXTS))
    generator = nlptasks.load(tmp_path / "decoder", nlptasks.ConditionalGenerator)
    written = generator.generate_batch(list(vae.encode(TEXTS[:2])), top_k=1, max_length=3)
    assert vae.reconstruct(TEXTS[:2], max_length=3) == [texts[0].text for texts in written]
    config = json.loads((tmp_path / "config.json").read_text(encoding="utf-8"))
    del config["nlptasks"]["latent_size"]
    (tmp_path / "config.json").write_text(json.dumps(config), encoding="utf-8")
    with pytest.raises(ValueError, match="lacks or misnames a setting"):
        nlptasks.load(tmp_path)


@pytest.fixture
def decoded(monkeypatch):
    """What is decoded, and how, in the place of decoding it."""
    calls = []

    def decode(self, vectors, **options):
        calls.append((np.array(vectors), options))
        return [f"text {i}" for i in range(len(calls[-1][0]))]

    monkeypatch.setattr(LatentWriter, "decode", decode)
    return calls


@pytest.mark.once
def test_texts_are_written_from_noise_and_on_the_line_between_two(vae, decoded):
    assert vae.interpolate(*TEXTS[:2], steps=3, top_p=0.5) == ["text 0", "text 1", "text 2"]
    [(line, options)] = decoded
    start, end = vae.encode(TEXTS[:2])
    assert line == pytest.approx(np.stack([start, (start + end) / 2, end]), abs=1e-5)
    assert options == {"top_p": 0.5}
    for seed in (5, 5, 6):
        assert len(vae.sample(2000, seed=seed)) == 2000
    one, same, other = (vectors for vectors, _ in decoded[1:])
    assert np.array_equal(one, same)
    assert not np.allclose(one, other)
    assert (one.shape, decoded[1][1]) == ((2000, Z), {"seed": 5})
    assert (one.mean(axis=0), one.std(axis=0)) == (pytest.approx(0, abs=0.1), pytest.approx(1, abs=0.1))
    with pytest.raises(UserError, match="steps must be at least 2"):
        vae.interpolate(*TEXTS[:2], steps=1)
    with pytest.raises(UserError, match="count must be at least 1"):
        vae.sample(0)


@pytest.mark.once
def test_options_that_do_not_go_together_are_refused(tmp_path):
    for values, said in (
        ({"method": "gan"}, "method must be one of vae, aae"),
        ({"method": "aae", "free_bits": 0.1}, "free_bits goes with method vae"),
        ({"adversary_weight": 2.0}, "adversary_weight goes with method aae"),
        ({"word_dropout": 1.0}, r"word_dropout must lie in \[0, 1\)"),
        ({"latent_size": 0}, "latent_size must be at least 1"),
        ({"hold_out_share": 1.0}, "hold_out_share must lie between 0 and 1"),
    ):
        with pytest.raises(UserError, match=said):
            LatentOptions(output=tmp_path, **values)
    with pytest.raises(UserError, match="1 training texts are too few to hold one out"):
        held_out(["一"], 0.5, 0)
    kept, held = held_out([str(i) for i in range(10)], 0.2, 0)
    assert (len(kept), len(held)) == (8, 2)
    assert sorted(kept + held) == [str(i) for i in range(10)]


@pytest.mark.once
def test_the_page_of_errors_has_these_messages(tmp_path):
    page = (Path(__file__).parents[3] / "docs" / "errors.md").read_text(encoding="utf-8")
    section = page.partition("## Calibrated vectors and latent text")[2].partition("\n## ")[0]
    rows = re.findall(r"^\| .* \| `(.*)` \|$", section, re.MULTILINE)
    pairs, model = Path("pairs.tsv"), tmp_path / "model"
    mistakes = [
        lambda: CalibrationOptions(output=tmp_path, method="pca"),
        lambda: CalibrationOptions(output=tmp_path, method="flow", keep=3),
        lambda: CalibrationOptions(output=tmp_path, blocks=3),
        lambda: fit_whitening(np.eye(7, dtype="float32")),
        lambda: Calibrate(output=tmp_path, texts=(pairs,), pairs=(pairs,)),
        lambda: LatentOptions(output=tmp_path, method="aae", free_bits=0.5),
        lambda: Interpolate(model=model, texts=("一",)),
    ]
    found = []
    for mistake in mistakes:
        with pytest.raises(UserError) as error:
            mistake()
        found.append(error.value.render(flag_of))
    assert found == rows


@pytest.mark.once
def test_no_server_and_no_job_over_files_takes_an_autoencoder(vae):
    with pytest.raises(UserError, match="LatentWriter is not served"):
        service_of(vae, None)
    with pytest.raises(UserError, match="a latent_text model is not run over files"):
        require_settings(LatentWriter.task, {})


# The commands

SIZES = ("--hidden-size", "16", "--num-layers", "1", "--num-heads", "2", "--ffn-size", "17", "--latent-size", Z)
RUN = (*SIZES, "--epochs", 1, "--batch-size", 2, "--seq-length", LIMIT, "--learning-rate", "1e-2", "--seed", 5)


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    folder = tmp_path_factory.mktemp("latent")
    (folder / "texts.txt").write_text("\n".join(TEXTS), encoding="utf-8")
    return folder


def latent(capsys, *words):
    capsys.readouterr()
    status = main([str(word) for word in ("latent", *words)])
    return Result(status, *capsys.readouterr())


def train(capsys, files, output, *more):
    given = ("--train", files / "texts.txt", "--valid", files / "texts.txt", "--output", output)
    return latent(capsys, "train", *given, *RUN, *more)


def uncompiled_step(model, optimizer, loss, **settings):
    """A step as `compile_train_step` gives it, for a run of a few steps, which compiling would take longer than."""
    optimizer.build(model.trainable_variables)

    def step(batch, shares=None):
        optimizer.apply(gradients(lambda: loss(batch), model.trainable_variables))
        return loss(batch)

    return step


@pytest.mark.once
def test_a_run_that_was_interrupted_ends_as_one_that_was_not_and_its_commands_work(files, capsys, monkeypatch, decoded):
    monkeypatch.setattr(nlptasks.train.loop, "compile_train_step", uncompiled_step)
    whole = train(capsys, files, files / "whole")
    assert (whole.status, whole.out) == (0, ""), whole.err
    assert "vectors of 3 numbers (vae)" in whole.err
    monkeypatch.setattr(latent_evaluation, "scores_of", lambda writer, texts: {"objective": 0.0})
    steps = []

    class StopInTheMiddle(nlptasks.train.loop.StopRequested):
        @property
        def requested(self):
            steps.append(1)
            return len(steps) >= 2

        @requested.setter
        def requested(self, value):
            pass

    with monkeypatch.context() as patched:
        patched.setattr(nlptasks.train.loop, "StopRequested", StopInTheMiddle)
        assert train(capsys, files, files / "parts").status == 130
    done = train(capsys, files, files / "parts", "--resume")
    assert done.status == 0, done.err
    for name in ("model.safetensors", "decoder/model.safetensors"):
        first, second = (load_file(files / run / name) for run in ("whole", "parts"))
        assert first.keys() == second.keys()
        assert all(np.array_equal(first[key], second[key]) for key in first), name
    with models_opened_once(commands):
        _try_commands(files, capsys, decoded)


def _try_commands(files, capsys, decoded):
    """All that a run is good for."""
    model = ("--model", files / "whole")
    found = latent(capsys, "evaluate", *model, "--data", files / "texts.txt", "--json")
    scores = json.loads(found.out.splitlines()[-1])["scores"]
    wanted = evaluation(nlptasks.load(files / "whole"), TEXTS)
    assert scores.pop("shuffled") == pytest.approx(wanted.pop("shuffled"), rel=1e-4)
    assert scores == pytest.approx(wanted, rel=1e-5)
    assert "vectors of other texts: perplexity" in found.out
    found = latent(capsys, "encode", *model, "--data", files / "texts.txt", "--output", files / "vectors.npy")
    assert found.status == 0, found.err
    np.testing.assert_allclose(np.load(files / "vectors.npy"), nlptasks.load(files / "whole").encode(TEXTS), atol=1e-5)
    rows = "\n".join(json.dumps({"text": text}, ensure_ascii=False) for text in TEXTS)
    (files / "texts.jsonl").write_text(rows, encoding="utf-8")
    given = ("--data", files / "texts.jsonl", "--vectors", files / "vectors.npy", "--json")
    assert main([str(w) for w in ("conditional", "evaluate", "--model", files / "whole/decoder", *given)]) == 0
    told = json.loads(capsys.readouterr().out.splitlines()[-1])["scores"]
    means = np.load(files / "vectors.npy")
    log_p, lengths = nlptasks.load(files / "whole").decoder.score(TEXTS, list(means))
    assert told["perplexity"] == pytest.approx(np.exp(-log_p.sum() / lengths.sum()), rel=1e-4)
    found = latent(capsys, "sample", *model, "--count", 2, "--max-length", 3, "--top-p", 0.5, "--json")
    assert [json.loads(line)["text"] for line in found.out.splitlines()] == ["text 0", "text 1"]
    assert decoded[-1][1] == {"seed": 0, "top_p": 0.5, "max_length": 3}
    found = latent(capsys, "reconstruct", *model, "--data", files / "texts.txt", "--max-length", 3)
    assert [line.split("\t") for line in found.out.splitlines()] == [[t, f"text {i}"] for i, t in enumerate(TEXTS)]
    (files / "long.txt").write_text("房间很干净。\n" + 9 * "苹果不新鲜" + "\n", encoding="utf-8")
    for verb, more in (("evaluate", ()), ("encode", ("--output", files / "long.npy")), ("reconstruct", ())):
        found = latent(capsys, verb, *model, "--data", files / "long.txt", *more)
        assert "1 of 2 texts are longer than" in found.err, verb  # no score and no vector of a part without a word
    found = latent(capsys, "interpolate", *model, "--texts", *TEXTS[:2], "--steps", 3, "--max-length", 3, "--json")
    assert len(found.out.splitlines()) == 3
    found = latent(capsys, "interpolate", *model, "--texts", TEXTS[0])
    assert (found.status, found.err.count("\n")) == (2, 1)
    assert "--texts takes two texts" in found.err


@pytest.mark.once
def test_an_adversary_trains_in_the_same_loop_and_is_no_part_of_the_model(files, tmp_path, monkeypatch, capsys):
    batches = without_steps(monkeypatch)
    done = train(capsys, files, tmp_path / "aae", "--method", "aae", "--epochs", 1)
    assert done.status == 0, done.err
    assert "vectors of 3 numbers (aae)" in done.err
    assert len(batches) == 3
    assert all((batch["kl_weight"] == 1).all() for batch in batches)
    assert not any("critic" in name for name in load_file(tmp_path / "aae" / "model.safetensors"))
    one = writer("aae")
    batch = batch_of(one)
    mean, deviation = one.posterior(TEXTS)
    drawn = (mean + deviation * batch["noise"][:5]).astype("float32")
    scores, lengths = one.decoder.score(TEXTS, list(drawn))
    told = adversary_loss(one.model.critic, drawn, batch["prior"][:5], np.ones(5, "float32"))
    loss = float(one.loss(batch, training=False))
    assert loss == pytest.approx((-scores.sum() + float(told)) / lengths.sum(), rel=1e-4)
