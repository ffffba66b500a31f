"""What rows become: masked, continued or split."""

import numpy as np
import pytest

from nlptasks.pretraining.masking import choose_words
from nlptasks.pretraining.objectives import Objective, chosen_positions, parse_mixture
from nlptasks.pretraining.shards import Row
from tests.pretraining.shard_cases import SPECIALS, random_rows, small_vocab

T, V = 37, 53
CLS, SEP, MASK = 2, 3, 4


def objective(name, **changes):
    return Objective(**{"name": name, "vocab": small_vocab(V), "seq_length": T} | changes)


def targets_of(example):
    """Positions and ids of the targets that count."""
    real = example["target_weights"] > 0
    return example["target_positions"][real], example["target_ids"][real]


def drawn(name, count=400, **changes):
    rows, made = random_rows(count, T, V), objective(name, **changes)
    return [(row, made.example(row, np.random.default_rng((7, i)))) for i, row in enumerate(rows)]


def test_masked_tokens_are_whole_words_and_their_targets_restore_the_row():
    for row, example in drawn("mlm"):
        positions, ids = targets_of(example)
        restored = example["token_ids"][: len(row.token_ids)].copy()
        restored[positions] = ids
        assert restored.tolist() == row.token_ids.tolist()
        words = np.cumsum(row.word_starts)
        chosen = np.isin(np.arange(len(words)), positions)
        for word in np.unique(words[positions]):
            members = (words == word) & ~np.isin(row.token_ids, range(len(SPECIALS)))
            assert chosen[members].all(), "a part of a word was masked"


def test_special_tokens_are_never_chosen_nor_put_in():
    for row, example in drawn("mlm", mask_rate=0.6):
        positions, ids = targets_of(example)
        assert not np.isin(ids, range(len(SPECIALS))).any()
        put_in = example["token_ids"][positions]
        assert not np.isin(put_in[put_in != MASK], range(len(SPECIALS))).any()
        assert (example["token_ids"][len(row.token_ids) :] == 0).all()


def test_fifteen_percent_are_chosen_of_which_eighty_ten_ten():
    chosen = ordinary = masked = kept = 0
    for row, example in drawn("mlm", count=3000):
        positions, ids = targets_of(example)
        shown = example["token_ids"][positions]
        chosen += len(positions)
        ordinary += len(row.token_ids) - 2
        masked += int((shown == MASK).sum())
        kept += int((shown == ids).sum())
    assert chosen / ordinary == pytest.approx(0.15, abs=0.012)
    assert masked / chosen == pytest.approx(0.8, abs=0.015)
    # one of V - 5 random tokens is the right one
    assert kept / chosen == pytest.approx(0.1 + 0.1 / (V - 5), abs=0.01)


def test_the_same_random_numbers_make_the_same_example_and_others_another():
    (row,), made = random_rows(1, T, V, seed=3), objective("mlm", mask_rate=0.4)
    first, again, other = (made.example(row, np.random.default_rng(seed)) for seed in (1, 1, 2))
    assert all((first[name] == again[name]).all() for name in first)
    assert (first["token_ids"] != other["token_ids"]).any()


def test_a_row_of_specials_alone_has_no_target():
    row = Row(np.array([CLS, SEP], "int32"), np.array([True, True]), np.array([True, False]))
    for name in ("mlm", "unilm"):
        positions, _ = targets_of(objective(name).example(row, np.random.default_rng(0)))
        assert len(positions) == (0 if name == "mlm" else 1)


def test_each_token_is_the_target_of_the_one_before_it():
    for row, example in drawn("lm", count=20):
        positions, ids = targets_of(example)
        assert positions.tolist() == list(range(len(row.token_ids) - 1))
        assert ids.tolist() == row.token_ids[1:].tolist()
        assert "segment_ids" not in example


def test_a_split_row_is_a_source_with_its_sep_and_a_target_predicted_from_it():
    for row, example in drawn("unilm"):
        ids = row.token_ids if len(row.token_ids) < T else np.delete(row.token_ids, -2)
        shown, segments = example["token_ids"][: len(ids) + 1], example["segment_ids"][: len(ids) + 1]
        split = int(np.flatnonzero(segments)[0]) - 1
        assert shown[split] == SEP
        assert np.delete(shown, split).tolist() == ids.tolist()
        assert segments.tolist() == [0] * (split + 1) + [1] * (len(shown) - split - 1)
        assert split >= 2, "the source holds a word"
        positions, targets = targets_of(example)
        assert positions.tolist() == list(range(split, len(shown) - 1))
        assert targets.tolist() == shown[split + 1 :].tolist()


def test_no_target_is_predicted_from_another_document():
    for name in ("lm", "unilm"):
        for _, example in drawn(name, count=60, isolate_documents=True):
            positions, _ = targets_of(example)
            documents = example["document_ids"]
            assert (documents[positions] == documents[positions + 1]).all()
    row, example = drawn("mlm", count=2, isolate_documents=True)[1]
    assert example["document_ids"].tolist() == np.cumsum(row.document_starts).tolist() + [2] * (T - len(row.token_ids))


@pytest.mark.parametrize("name", ["mlm", "lm", "unilm"])
def test_every_example_has_the_same_shapes(name):
    shapes = {
        tuple(sorted((key, array.shape, str(array.dtype)) for key, array in example.items()))
        for _, example in drawn(name, count=50, isolate_documents=True)
    }
    assert len(shapes) == 1


def test_a_mixture_is_read_with_its_shares():
    assert parse_mixture("mlm") == {"mlm": 1.0}
    assert parse_mixture("mlm=3, unilm=1") == {"mlm": 0.75, "unilm": 0.25}


@pytest.mark.parametrize("text", ["", "bert", "mlm=0", "mlm=x", "mlm,mlm", "mlm=inf"])
def test_a_mixture_that_cannot_be_read_is_refused(text):
    with pytest.raises(ValueError, match=r"^objective takes mlm, lm, unilm"):
        parse_mixture(text)


def test_a_vocabulary_without_specials_is_refused_by_name():
    vocab = small_vocab(V)
    del vocab["[MASK]"]
    with pytest.raises(ValueError, match=r"the vocabulary lacks \[MASK\]"):
        objective("mlm", vocab=vocab)
    with pytest.raises(ValueError, match=r"\[PAD\] must be token 0"):
        objective("mlm", vocab={**small_vocab(V), "[PAD]": 99})
    with pytest.raises(ValueError, match=r"^mask_rate must lie between 0 and 1"):
        objective("mlm", mask_rate=1.0)


@pytest.mark.parametrize("name", ["mlm", "lm", "unilm"])
def test_special_tokens_may_have_other_names_and_places(name):
    specials = {"cls": 0, "pad": 1, "sep": 2, "unk": 3, "mask": 13}
    vocab = {token: i for i, token in enumerate(["<s>", "<pad>", "</s>", "<unk>", *"abcdefghi", "<mask>"])}
    made = Objective(name=name, vocab=vocab, specials=specials, special_ids=specials.values(), seq_length=11)
    row = Row(np.array([0, 4, 5, 6, 7, 2], "int32"), np.ones(6, bool), np.array([1, 0, 0, 0, 0, 0], bool))
    length = 7 if name == "unilm" else 6
    for seed in range(20):
        example = made.example(row, np.random.default_rng(seed))
        assert example["token_ids"][length:].tolist() == [1] * (11 - length)
        assert 1 not in example["token_ids"][:length]
        assert (example["token_ids"] == 13).any() <= (name == "mlm")
        assert sum(example["token_ids"] == 2) == (2 if name == "unilm" else 1)
    assert set(made.unpredicted_ids) == {0, 1, 3, 13} | ({2} if name == "mlm" else set())


def flat(rows):
    """The rows one after the other, as `masked_batch` takes them."""
    ids, starts = (np.concatenate([getattr(row, name) for row in rows]) for name in ("token_ids", "word_starts"))
    return ids, starts, np.array([len(row.token_ids) for row in rows])


class InOrderOf:
    """Random numbers whose permutation is the order of given draws."""

    def __init__(self, draws):
        self.draws = draws

    def permutation(self, count):
        assert count == len(self.draws)
        return np.argsort(self.draws, kind="stable")


@pytest.mark.parametrize("rate", [0.15, 0.6])
def test_many_rows_at_once_have_the_words_that_each_alone_has(rate):
    rows, most = random_rows(60, T, V), 8
    rows[3].token_ids[2:5] = 1  # unknown tokens, inside words
    rows[4].token_ids[1:-1] = 1  # and nothing else
    rows[5].word_starts[2:] = False  # a word longer than what may be chosen
    ids, starts, lengths = flat(rows)
    found = choose_words(ids, starts, lengths, rate, most, np.random.default_rng(8), range(len(SPECIALS)))
    words = np.cumsum(starts | (ids < len(SPECIALS))) - 1
    draws = np.random.default_rng(8).random(words[-1] + 1)
    for number, row in enumerate(rows):
        begin = int(lengths[:number].sum())
        own = np.unique(words[begin : begin + lengths[number]][row.token_ids >= len(SPECIALS)])
        alone = chosen_positions(row, rate, most, InOrderOf(draws[own]), range(len(SPECIALS)))
        its = found.rows == number
        assert (found.places[its] - begin).tolist() == alone.tolist()
        assert found.numbers[its].tolist() == list(range(len(alone)))


def test_masked_batch_restores_its_rows_and_masks_as_one_row_is_masked():
    rows, made = random_rows(900, T, V), objective("mlm")
    ids, starts, lengths = flat(rows)
    batch = made.masked_batch(ids, starts, lengths, np.random.default_rng(3))
    one = made.example(rows[0], np.random.default_rng(3))
    assert {n: (a.dtype, a.shape[1:]) for n, a in batch.items()} == {n: (a.dtype, a.shape) for n, a in one.items()}
    chosen = masked = kept = 0
    for number, row in enumerate(rows):
        example = {name: array[number] for name, array in batch.items()}
        positions, targets = targets_of(example)
        shown = example["token_ids"][positions]
        restored = example["token_ids"].copy()
        restored[positions] = targets
        assert restored[: len(row.token_ids)].tolist() == row.token_ids.tolist()
        assert (restored[len(row.token_ids) :] == 0).all()
        chosen, masked, kept = chosen + len(positions), masked + (shown == MASK).sum(), kept + (shown == targets).sum()
    assert chosen / (lengths.sum() - 2 * len(rows)) == pytest.approx(0.15, abs=0.012)
    assert masked / chosen == pytest.approx(0.8, abs=0.02)
    assert kept / chosen == pytest.approx(0.1 + 0.1 / (V - 5), abs=0.02)


def test_split_batch_splits_every_row_as_one_row_is_split():
    rows, made = random_rows(300, T, V), objective("unilm")
    rows[3].word_starts[2:] = False  # no word to split before
    ids, starts, lengths = flat(rows)
    batch = made.split_batch(ids, starts, lengths, np.random.default_rng(3))
    one = made.example(rows[0], np.random.default_rng(3))
    assert {n: (a.dtype, a.shape[1:]) for n, a in batch.items()} == {n: (a.dtype, a.shape) for n, a in one.items()}
    splits = []
    for number, row in enumerate(rows):
        example = {name: array[number] for name, array in batch.items()}
        positions, _ = targets_of(example)
        split = int(positions[0])
        splits.append(split / len(row.token_ids))
        assert split == len(row.token_ids) - 1 - (len(row.token_ids) == T) or row.word_starts[split]

        class At:
            def choice(self, places, split=split):
                assert split in places
                return split

        alone = made.example(row, At())
        assert all((example[name] == array).all() for name, array in alone.items())
    assert np.std(splits) > 0.2
