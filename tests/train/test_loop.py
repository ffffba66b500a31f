"""A run stopped at any step and resumed ends with the weights of one that was never stopped."""

import json
import os
import signal
import threading

import keras
import numpy as np
import pytest
from keras import ops

from nlptasks.core import Transformer, TransformerConfig
from nlptasks.errors import UserError
from nlptasks.train.experiment import Experiment
from nlptasks.train.interruption import TrainingInterrupted
from nlptasks.train.loop import CURVE, LOG, STATE
from nlptasks.train.optimizers import WarmupLinearDecay, make_adam
from nlptasks.train.options import TransformerTraining
from nlptasks.train.record import OPTIONS, SCORES, jsonable, open_run, write_options
from nlptasks.train.run import start_run
from nlptasks.train.state import Progress, load_state, save_state
from tests.commands.scripts import without_steps

V, B, T, BATCHES, EPOCHS = 31, 4, 7, 5, 3


class Run:
    """A small model with dropout that learns to repeat its input."""

    def __init__(self, directory, stop_at=None, **changes):
        start_run(1)
        config = TransformerConfig(
            vocab_size=V, hidden_size=12, num_layers=1, num_heads=2, ffn_size=16, max_positions=T, dropout=0.3
        )
        self.model = Transformer(config, with_mlm="linear")
        self.model.build()
        self.directory, self.stop_at, self.steps, self.saved = directory, stop_at, 0, []
        self.changes = changes

    def make_batch(self, item):
        self.steps += 1
        if self.steps == self.stop_at:
            os.kill(os.getpid(), signal.SIGINT)
        return {"token_ids": np.random.default_rng(item).integers(1, V, (B, T)).astype("int32")}

    def loss(self, batch):
        logits = self.model.token_logits(self.model.encode(batch["token_ids"], training=True))
        return ops.mean(keras.losses.sparse_categorical_crossentropy(batch["token_ids"], logits, from_logits=True))

    def num_batches(self, epoch, size):
        return BATCHES

    def batches(self, epoch, size):
        return [[epoch, i] for i in range(BATCHES)]

    def arrays(self, item, size):
        return self.make_batch(item)

    def save(self, directory):
        self.saved.append(self.steps)

    def validate(self):
        return {"score": float(-self.steps if self.steps == 10 else self.steps)}

    def __call__(self, resume=False):
        settings = {"learning_rate": 0.01, "warmup_share": 0.2, "decay": True, "clip_norm": 1.0, "epochs": EPOCHS}
        options = TransformerTraining(output=self.directory, seed=1, resume=resume, **settings | self.changes)
        return Experiment(options, self, self, self.validate, "score").run()

    def weights(self):
        return [np.asarray(v.value) for v in self.model.trainable_variables]


@pytest.fixture(scope="module")
def uninterrupted(tmp_path_factory):
    run = Run(tmp_path_factory.mktemp("whole"))
    return run, run()


def test_an_interrupted_run_resumes_to_the_same_weights(uninterrupted, tmp_path, monkeypatch):
    """A run interrupted in its first step, at the end of an epoch and before its last step, and killed in between."""
    steps = EPOCHS * BATCHES
    with pytest.raises(TrainingInterrupted):
        Run(tmp_path, 1)(resume=True)  # no state is there: it starts anew
    with pytest.raises(TrainingInterrupted):
        Run(tmp_path, BATCHES - 1)(resume=True)
    with monkeypatch.context() as patch:
        patch.setattr("nlptasks.train.loop.SAVE_SECONDS", 0)  # after every batch
        killed = Run(tmp_path)
        patch.setattr(killed, "arrays", killing(killed, 3))
        with pytest.raises(RuntimeError, match="killed"):
            killed(resume=True)
    with pytest.raises(TrainingInterrupted):
        Run(tmp_path, steps - 1 - BATCHES - 2)(resume=True)
    resumed = Run(tmp_path)
    history = resumed(resume=True)
    assert resumed.steps == 1
    whole, expected = uninterrupted
    for value, reference in zip(resumed.weights(), whole.weights(), strict=True):
        np.testing.assert_array_equal(value, reference)
    losses = [row["loss"] for row in history]
    assert losses == [row["loss"] for row in expected]
    assert losses[-1] < losses[0]


def killing(run, step):
    """The `arrays` of a run that ends without a word at the given step."""

    def arrays(item, size):
        if run.steps == step - 1:
            raise RuntimeError("killed")
        return run.make_batch(item)

    return arrays


def test_the_best_epoch_is_saved_and_the_run_leaves_log_and_curve(uninterrupted):
    run, history = uninterrupted
    assert run.saved == [5, 15]  # the second epoch scored less than the first
    assert json.loads((run.directory / SCORES).read_text()) == {"best": history[2], "epochs": history}
    assert [row["epoch"] for row in json.loads((run.directory / LOG).read_text())] == [1, 2, 3]
    assert (run.directory / CURVE).read_bytes().startswith(b"\x89PNG")
    assert sorted(p.name for p in run.directory.iterdir()) == sorted([LOG, CURVE, STATE, OPTIONS, SCORES])


@pytest.mark.once
def test_of_epochs_with_the_same_score_the_one_of_the_lowest_loss_is_kept(tmp_path, monkeypatch):
    """A run of version 0.1 has no such rule in its record, and goes on to keep the first of them."""
    without_steps(monkeypatch)
    losses = (1.5, 0.5, 0.75, 0.25)

    def kept(directory, epochs):
        """The epoch that is kept, the number of models that were saved, and the rule of the record."""
        run, record = Run(directory), directory / OPTIONS
        run.arrays, run.validate = (lambda item, size: item), (lambda: {"score": 100.0})
        options = TransformerTraining(output=directory, resume=record.is_file(), epochs=epochs)
        open_run(options)
        given = {"around_step": lambda step: lambda batch: losses[batch[0]]}
        Experiment(options, run, run, run.validate, "score", **given).run()
        best = json.loads((directory / SCORES).read_text())["best"]
        return best["epoch"], len(run.saved), json.loads(record.read_text())["equal_scores"]

    assert kept(tmp_path / "new", 3) == (2, 2, "lowest loss")
    assert kept(tmp_path / "new", 4) == (4, 1, "lowest loss")
    assert kept(tmp_path / "old", 1) == (1, 1, "lowest loss")
    record = tmp_path / "old" / OPTIONS
    older = json.loads(record.read_text())
    del older["equal_scores"]
    record.write_text(json.dumps(older))
    assert kept(tmp_path / "old", 3) == (1, 0, "first")
    assert kept(tmp_path / "old", 4) == (1, 0, "first")


@pytest.mark.once
def test_resuming_with_other_options_is_refused(uninterrupted):
    run, _ = uninterrupted
    same = {"learning_rate": 0.01, "warmup_share": 0.2, "decay": True, "clip_norm": 1.0, "epochs": EPOCHS, "seed": 1}
    open_run(TransformerTraining(output=run.directory, resume=True, **same))
    with pytest.raises(ValueError, match=r"started with learning_rate=0.01, now learning_rate=0.02"):
        open_run(TransformerTraining(output=run.directory, resume=True, **same | {"learning_rate": 0.02}))


@pytest.mark.once
def test_a_damaged_state_is_refused(uninterrupted, tmp_path):
    run, _ = uninterrupted
    (tmp_path / STATE).write_bytes((run.directory / STATE).read_bytes()[:1000])
    with pytest.raises(ValueError, match=r"not a readable training state"):
        Run(tmp_path)(resume=True)


def test_a_loss_that_is_no_number_stops_the_run_with_advice(tmp_path):
    run = Run(tmp_path)
    right = run.loss
    run.loss = lambda batch: ops.log(right(batch) * 0 - 1.0)
    with pytest.raises(FloatingPointError, match="epoch 1, batch 1; lower learning_rate"):
        run()


def test_weights_that_are_no_numbers_are_neither_scored_nor_saved(tmp_path):
    run = Run(tmp_path, clip_norm=None)
    right = run.loss
    kernel = run.model.blocks[0].ffn.inner.kernel

    def loss(batch):  # a number; in the last batch of an epoch its gradient is none
        return right(batch) + ops.sqrt(ops.sum(ops.square(kernel.value)) * (1.0 - batch["last"]))

    run.loss = loss
    make = run.make_batch
    run.make_batch = lambda item: make(item) | {"last": np.float32(item[1] == BATCHES - 1)}
    with pytest.raises(FloatingPointError, match="the weights became no numbers at the end of epoch 1; lower learning"):
        run()
    assert run.saved == []


def test_a_run_in_another_thread_trains(tmp_path):
    run, found = Run(tmp_path, epochs=1), []
    thread = threading.Thread(target=lambda: found.append(run()))
    thread.start()
    thread.join()
    assert len(found[0]) == 1


@pytest.mark.once
def test_the_schedule_rises_and_falls_linearly():
    schedule = WarmupLinearDecay(peak=2.0, warmup_steps=4, total_steps=10)
    values = [float(ops.convert_to_numpy(schedule(step))) for step in range(11)]
    assert values[:4] == pytest.approx([0.5, 1.0, 1.5, 2.0])
    assert values[4:] == pytest.approx([2.0, 10 / 6, 8 / 6, 1.0, 4 / 6, 2 / 6, 0.0])
    with pytest.raises(ValueError, match="warmup_steps must lie in"):
        WarmupLinearDecay(1.0, 11, 10)


@pytest.mark.once
def test_an_unknown_precision_is_refused():
    with pytest.raises(ValueError, match="precision must be one of"):
        start_run(0, "float8")


def test_a_run_whose_scores_are_those_of_a_constant_answer_says_so_with_a_cure(tmp_path, capsys, monkeypatch):
    without_steps(monkeypatch)
    for constant, learned in ((99.0, False), (1.0, True)):
        run = Run(tmp_path / str(learned))
        options = TransformerTraining(output=run.directory, learning_rate=1e-5, epochs=1)
        experiment = Experiment(options, run, run, run.validate, "score", constant={"score": constant})
        experiment.run()
        assert experiment.learned == learned
        lines = capsys.readouterr().err.splitlines()
        assert lines[0] == "epochs: 1, learning rate 1e-05, constant"
        assert ("nothing is learned yet" in lines[-2], "likely cure: longer" in lines[-1]) == (not learned, not learned)


def extend(directory, epochs, **changes):
    """The run of `Run` in a folder, which goes on with more epochs."""
    run = Run(directory)
    fixed = {"learning_rate": 0.01, "clip_norm": 1.0, "seed": 1}
    resume = (directory / OPTIONS).is_file()
    options = TransformerTraining(output=directory, resume=resume, epochs=epochs, **fixed | changes)
    open_run(options)
    experiment = Experiment(options, run, run, run.validate, "score")
    return experiment, experiment.run(), run.weights()


def test_a_finished_run_with_a_constant_rate_goes_on_as_one_run_of_more_epochs(tmp_path):
    _, whole, wanted = extend(tmp_path / "whole", 3)
    extend(tmp_path / "parts", 1)
    _, history, weights = extend(tmp_path / "parts", 3)
    assert [row["loss"] for row in history] == [row["loss"] for row in whole]
    for value, reference in zip(weights, wanted, strict=True):
        np.testing.assert_array_equal(value, reference)
    record = json.loads((tmp_path / "parts" / OPTIONS).read_text())
    assert record == json.loads((tmp_path / "whole" / OPTIONS).read_text())
    with pytest.raises(UserError, match="was started with 3 epochs, now 2; a run can be given more epochs, not fewer"):
        extend(tmp_path / "parts", 2)
    with pytest.raises(UserError, match="was started with seed=1, now seed=2"):
        extend(tmp_path / "parts", 4, seed=2)


@pytest.mark.once
def test_further_epochs_have_a_patience_of_their_own(tmp_path, monkeypatch):
    without_steps(monkeypatch)
    scores = iter([5.0, *[1.0] * 20])
    monkeypatch.setattr(Run, "validate", lambda self: {"score": next(scores)})
    falling = {"decay": True, "patience": 2}
    assert len(extend(tmp_path / "falling", 6, **falling)[1]) == 3
    assert len(extend(tmp_path / "falling", 9, learning_rate=0.02, **falling)[1]) == 6
    assert len(extend(tmp_path / "constant", 6, patience=1)[1]) == 2
    with pytest.raises(UserError, match="patience ended the run after 2 epochs, and would end it again at once"):
        extend(tmp_path / "constant", 9, patience=1)
    assert len(extend(tmp_path / "constant", 9, patience=1, learning_rate=0.02)[1]) == 4


@pytest.mark.once
def test_a_rate_that_fell_to_0_needs_a_schedule_for_more_epochs(tmp_path, monkeypatch):
    without_steps(monkeypatch)
    falling = {"decay": True, "warmup_share": 0.2}
    extend(tmp_path, 1, **falling)
    with pytest.raises(
        UserError, match=r"the learning rate fell to 0 over the 1 epochs.*: give learning_rate, and decay"
    ):
        extend(tmp_path, 3, learning_rate=2e-5, **falling)  # as if it were left out
    experiment, history, _ = extend(tmp_path, 3, learning_rate=0.02, **falling)
    assert len(history) == 3
    schedule = experiment.optimizer._learning_rate
    assert (schedule.first_step, schedule.total_steps, schedule.peak) == (BATCHES, 2 * BATCHES, 0.02)
    assert float(schedule(BATCHES + 1)) == pytest.approx(0.02)
    assert float(schedule(3 * BATCHES)) == 0.0
    first = {"epochs": 1, "learning_rate": 0.01, "warmup_share": 0.2, "decay": True}
    assert json.loads((tmp_path / OPTIONS).read_text())["continued"] == [first]
    constant, history, _ = extend(tmp_path, 4, learning_rate=0.005)
    assert float(constant.optimizer.learning_rate) == pytest.approx(0.005)
    assert len(history) == 4
    assert extend(tmp_path, 4, learning_rate=0.005)[1] == history  # it is finished, and stays so
    extend(tmp_path, 5, learning_rate=0.005, decay=True)
    assert [part["epochs"] for part in json.loads((tmp_path / OPTIONS).read_text())["continued"]] == [1, 3, 4]


@pytest.mark.once
@pytest.mark.parametrize(("saved", "now"), [(False, False), (False, True), (True, False), (True, True)])
def test_the_state_of_an_optimizer_is_found_under_another_schedule(tmp_path, saved, now, rng):
    def made(rate, decay):
        model = keras.Sequential([keras.layers.Dense(2), keras.layers.Dense(3)])
        model.build((None, 5))
        optimizer = make_adam(rate, 10, decay=decay)
        optimizer.build(model.trainable_variables)
        return model, optimizer

    model, optimizer = made(0.1, saved)
    optimizer.iterations.assign(7)
    for moment in optimizer._momentums + optimizer._velocities:
        moment.assign(rng.normal(size=moment.shape))
    save_state(tmp_path / STATE, model, optimizer, Progress(epoch=2))
    again, other = made(0.2, now)
    assert load_state(tmp_path / STATE, again, other).epoch == 2
    assert int(other.iterations) == 7
    former, found = ([np.asarray(v.value) for v in one._momentums + one._velocities] for one in (optimizer, other))
    assert all((a == b).all() for a, b in zip(former, found, strict=True))
    if not now:
        assert float(other.learning_rate) == pytest.approx(0.2)  # the options say it


@pytest.mark.once
def test_a_new_schedule_begins_behind_the_last_epoch_of_the_former(tmp_path):
    options = TransformerTraining(output=tmp_path, epochs=5, learning_rate=0.01)
    write_options(tmp_path, jsonable(options))
    (tmp_path / LOG).write_text(json.dumps([{"epoch": 1}]))
    with pytest.raises(UserError, match="1 of 5 epochs are done; resume with epochs 5 first"):
        open_run(TransformerTraining(output=tmp_path, resume=True, epochs=6, learning_rate=0.02))
    open_run(TransformerTraining(output=tmp_path, resume=True, epochs=6, learning_rate=0.01))


EXTENDED = {
    "decay": False,
    "warmup_share": 0.0,
    "optimizer": "lion",
    "weight_decay": 0.1,
    "piecewise_rate": "0=1,6=0.5",
    "learning_rate_of": "embeddings/*=0.5",
    "layer_decay": 0.9,
    "lookahead": 2,
    "pgd": 0.1,
    "adversarial_steps": 1,
}


def test_a_run_with_an_extended_optimizer_resumes_to_the_same_weights(tmp_path):
    whole = Run(tmp_path / "whole", epochs=2, **EXTENDED)
    whole()
    with pytest.raises(TrainingInterrupted):
        Run(tmp_path / "parts", 6, epochs=2, **EXTENDED)()
    resumed = Run(tmp_path / "parts", epochs=2, **EXTENDED)
    resumed(resume=True)
    assert resumed.steps < whole.steps
    for value, reference in zip(resumed.weights(), whole.weights(), strict=True):
        np.testing.assert_array_equal(value, reference)
    options = json.loads((tmp_path / "parts" / OPTIONS).read_text())
    assert {name: options[name] for name in EXTENDED} == EXTENDED
