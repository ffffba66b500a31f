"""Runs of several seeds with one set of programs, and the intervals of their scores."""

import sys
from pathlib import Path

import numpy as np
import pytest
from keras import ops

sys.path.insert(0, str(Path(__file__).parent.parent.parent / "benchmarks"))

from finetuning import Plan, Trainer, interval, percent, schedule

from nlptasks.applications.classification.classifier import ClassificationExamples, Classifier, classification_model
from nlptasks.applications.classification.training import ClassifierOptions
from nlptasks.core import Transformer, TransformerConfig
from nlptasks.text import Tokenizer, build_character_vocab
from nlptasks.train.experiment import Experiment
from nlptasks.train.optimizers import WarmupLinearDecay
from nlptasks.train.run import start_run

TEXTS = ["房间很干净", "菜太咸了", "服务很好", "又贵又慢", "早餐不错", "床太硬了", "还会再来"]
LABELS = [("1",), ("0",), ("1",), ("0",), ("1",), ("0",), ("1",)]
PLAN = Plan(epochs=3, learning_rate=3e-3, batch_size=3)


def classifier(seed):
    start_run(seed)
    tokenizer = Tokenizer(build_character_vocab(TEXTS))
    config = TransformerConfig(
        vocab_size=tokenizer.vocab_size, hidden_size=8, num_layers=1, num_heads=2, ffn_size=12, max_positions=16
    )
    return Classifier(classification_model(Transformer(config), 2), tokenizer, ("0", "1"), 16)


def examples(made, seed):
    return ClassificationExamples(made, TEXTS, LABELS, seed)


def weights(made):
    return [np.array(ops.convert_to_numpy(variable)) for variable in made.model.trainable_variables]


def test_a_run_is_that_of_the_train_command_whose_last_epoch_is_kept(tmp_path):
    mine = classifier(5)
    ran = Trainer(mine).run(examples(mine, 5), PLAN)
    assert (ran["steps"], ran["tokens"]) == (9, 9 * 3 * 16)
    options = ClassifierOptions(
        output=tmp_path / "run", epochs=3, batch_size=3, learning_rate=3e-3, warmup_share=0.1, decay=True, clip_norm=1.0
    )
    its = classifier(5)
    history = Experiment(options, its, examples(its, 5), lambda: {"accuracy": 0.0}, "accuracy", keep="last").run()
    assert ran["loss"] == pytest.approx(history[-1]["loss"], abs=1e-6)
    for a, b in zip(weights(mine), weights(its), strict=True):
        np.testing.assert_allclose(a, b, rtol=0, atol=1e-5)


def test_the_second_run_of_a_trainer_knows_nothing_of_the_first():
    alone = classifier(6)
    Trainer(alone).run(examples(alone, 6), PLAN)
    trainer = Trainer(classifier(5))
    trainer.run(examples(trainer.application, 5), PLAN)
    trainer.become(classifier(6))
    trainer.run(examples(trainer.application, 6), PLAN)
    for a, b in zip(weights(alone), weights(trainer.application), strict=True):
        np.testing.assert_allclose(a, b, rtol=0, atol=1e-6)


def test_rates_are_those_of_the_schedule_of_the_commands():
    wanted = WarmupLinearDecay(3.0, 2, 21)
    np.testing.assert_allclose(list(schedule(3.0, 21)), [float(wanted(step)) for step in range(21)], rtol=1e-6)


def test_percent_is_accuracy_or_f1():
    assert percent([1, 0, 0, 1]) == 50.0
    assert percent([[1, 2, 1], [0, 0, 1]]) == 50.0


def test_an_interval_of_a_difference_is_narrower_where_systems_err_on_the_same_items():
    random = np.random.default_rng(3)
    hard = random.random(400)
    first, second = ([(hard < rate).astype(int)] for rate in (0.8, 0.75))
    low, high = interval(first, second)
    assert low < 100 * (np.mean(first) - np.mean(second)) < high
    unpaired = interval(first)
    assert high - low < unpaired[1] - unpaired[0]
