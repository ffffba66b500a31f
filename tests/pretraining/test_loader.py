"""Which rows a step reads, however many processes read them."""

import numpy as np
import pytest

pytest.importorskip("grain", reason="grain is not installed; it is in the extra `pretraining`")

from nlptasks.pretraining.loader import Batches, held_out_batches, read_ahead, unigram_baseline
from nlptasks.pretraining.objectives import Objective
from tests.pretraining.shard_cases import random_rows, small_vocab

T, V, ROWS, HELD_OUT = 19, 53, 103, 13


def make(rows=None, names=("mlm",), **changes):
    objectives = [Objective(name=name, vocab=small_vocab(V), seq_length=T) for name in names]
    settings = {"batch_size": 12, "num_steps": 30, "seed": 5, "num_held_out": HELD_OUT}
    settings |= {"objectives": objectives, "shares": [1 / len(names)] * len(names)}
    return Batches(rows=random_rows(ROWS, T, V) if rows is None else rows, **settings | changes)


class Recording(list):
    """Rows that remember which of them were read."""

    def __init__(self, rows):
        super().__init__(rows)
        self.read = set()

    def __getitem__(self, number):
        self.read.add(number)
        return super().__getitem__(number)


def equal(first, second):
    return first.keys() == second.keys() and all((first[name] == second[name]).all() for name in first)


def test_an_epoch_reads_every_row_once_and_none_held_out():
    batches = make()
    epochs = [batches.row_number(number) for number in range(3 * (ROWS - HELD_OUT))]
    orders = [[row for epoch, row in epochs if epoch == wanted] for wanted in range(3)]
    assert all(len(set(order)) == len(order) == ROWS - HELD_OUT for order in orders)
    assert len(set(orders[0])) == ROWS - HELD_OUT
    assert set(orders[0]) == set(orders[1])
    assert orders[0] != orders[1], "each epoch has an order of its own"
    held_out = Recording(random_rows(ROWS, T, V))
    list(held_out_batches(held_out, batches.objectives[0], HELD_OUT, 5))
    assert len(held_out.read) == HELD_OUT
    assert not held_out.read & set(orders[0]), "a row is for training or for validation"
    other = {make(seed=6).row_number(number)[1] for number in range(ROWS - HELD_OUT)}
    assert other == set(orders[0]), "what is held out does not depend on the seed"


def test_a_row_is_masked_anew_in_every_epoch():
    batches = make(rows=random_rows(2, T, V, seed=1) * 1, num_held_out=1, batch_size=1, num_steps=40)
    shown = {batches[step]["token_ids"].tobytes() for step in range(40)}
    assert len(shown) > 10


def test_processes_read_the_parts_of_the_same_batch():
    whole = make(accumulate=2)
    for step in (0, 17):
        parts = [make(accumulate=2, process_index=i, process_count=3)[step] for i in range(3)]
        joined = {name: np.concatenate([part[name] for part in parts], axis=1) for name in parts[0]}
        assert equal(joined, whole[step])
        flat = {name: array.reshape(1, 12, *array.shape[2:]) for name, array in whole[step].items()}
        assert equal(flat, make()[step]), "accumulation cuts the batch, it does not change it"


@pytest.mark.parametrize("workers", [0, 2])
def test_a_restored_iterator_goes_on_where_it_stood(workers):
    iterator = read_ahead(make(), workers)
    for _ in range(7):
        next(iterator)
    state = iterator.get_state()
    rest = [next(iterator) for _ in range(3)]
    again = read_ahead(make(), workers)
    again.set_state(state)
    assert all(equal(next(again), batch) for batch in rest)
    assert all(equal(make()[7 + i], batch) for i, batch in enumerate(rest))


def test_steps_take_their_objective_by_its_share():
    batches = make(names=("mlm", "unilm"), shares=[0.7, 0.3], num_steps=2000)
    numbers = [batches.objective_number(step) for step in range(2000)]
    assert np.mean(numbers) == pytest.approx(0.3, abs=0.03)
    assert all(("segment_ids" in batches[step]) == bool(numbers[step]) for step in range(12))


def test_held_out_rows_are_always_masked_alike_and_the_last_batch_is_filled_with_nothing():
    rows = random_rows(ROWS, T, V)
    read = [list(held_out_batches(rows, make().objectives[0], HELD_OUT, 5)) for _ in range(2)]
    assert all(equal(a, b) for a, b in zip(*read, strict=True))
    assert [len(batch["token_ids"]) for batch in read[0]] == [5, 5, 5]
    assert (read[0][-1]["target_weights"][3:] == 0).all()
    assert (read[0][-1]["target_weights"][:3].sum(axis=1) > 0).all()


def test_the_unigram_baseline_is_what_counting_gives():
    rows = random_rows(ROWS, T, V)
    made = make().objectives[0]
    baseline = unigram_baseline(rows, made, HELD_OUT)
    held_out = next(held_out_batches(rows, made, HELD_OUT, HELD_OUT))
    ids = held_out["target_ids"][held_out["target_weights"] > 0]
    trained = make(rows=rows)
    seen = [rows[trained.row_number(number)[1]].token_ids for number in range(ROWS - HELD_OUT)]
    counts = 1 + np.bincount(np.concatenate(seen), minlength=V)
    counts[:5] = 1
    assert baseline["accuracy"] == pytest.approx(np.mean(ids == counts.argmax()))
    assert baseline["perplexity"] == pytest.approx(np.exp(-np.mean(np.log(counts / counts.sum())[ids])))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"accumulate": 5}, "batch_size must be a multiple of accumulate x processes"),
        ({"process_count": 7}, "batch_size must be a multiple of accumulate x processes"),
        (
            {"num_held_out": ROWS},
            "valid_rows must leave rows to train on. Received: 103 of 103 rows; a tenth is valid_rows 10",
        ),
    ],
)
def test_batches_that_do_not_divide_are_refused(changes, message):
    with pytest.raises(ValueError, match=message):
        make(**changes)
