"""From questions to token sequences: layout, targets, draws, batches."""

import itertools

import numpy as np
import pytest

from nlptasks.applications.reading.samples import ReadingExamples, find_answer
from nlptasks.applications.reading.windows import (
    ReadingLengths,
    encode_rows,
    normalize,
)
from nlptasks.applications.seq2seq_loss import target_batch
from nlptasks.text import Passage, Question, Tokenizer, build_character_vocab

pytestmark = pytest.mark.once

TEXTS = ["小明在北京、上海工作；他喜欢NBA 和足球，也爱下棋。", "谁喜欢足球？", "城里有三座桥和一条河。"]


@pytest.fixture(scope="module")
def tokenizer():
    return Tokenizer(build_character_vocab(map(normalize, TEXTS)))


def question(*passages, name="q", text="谁喜欢足球？"):
    passages = tuple(Passage(*p) for p in passages)
    return Question(name, text, passages, tuple(dict.fromkeys(p.answer for p in passages if p.answer)))


def decoded(tokenizer, ids):
    return "".join(tokenizer.ids_to_tokens(ids))


def test_a_sample_is_passage_question_answer_with_segment_1_on_the_answer(tokenizer):
    examples = ReadingExamples([question((TEXTS[0], "小明"))], tokenizer, ReadingLengths())
    (batch,) = examples.batches(0, 1)
    arrays = examples.arrays(batch, 1)
    ids, segments = arrays["token_ids"][0], arrays["segment_ids"][0]
    length = (ids != 0).sum()
    text = decoded(tokenizer, ids[:length])
    assert text == "[CLS]小明在北京,上海工作,他喜欢n##b##a,和足球,也爱下棋。[SEP]谁喜欢足球？[SEP]小明[SEP]"
    assert decoded(tokenizer, ids[segments == 1]) == "小明[SEP]"
    assert decoded(tokenizer, arrays["target_ids"][0][:3]) == "小明[SEP]"
    assert arrays["target_weights"][0].tolist() == [1, 1, 1, 0, 0, 0, 0, 0]
    for position, target in zip(arrays["target_positions"][0][:3], arrays["target_ids"][0][:3], strict=True):
        assert ids[position + 1] == target


def test_normalizing_keeps_every_offset():
    text = "a b、c；d，e,f"
    assert normalize(text) == "a,b,c,d,e,f"
    assert len(normalize(text)) == len(text)


@pytest.mark.parametrize(
    ("answers", "passage", "target"),
    [
        (["北京 上海"], TEXTS[0], "北京,上海"),
        (["北京、上海"], TEXTS[0], "北京,上海"),
        (["上海 北京"], TEXTS[0], "上海,北京"),
        (["南京", "nba"], TEXTS[0], "nba"),
        (["北京 南京"], TEXTS[0], None),
        ([""], TEXTS[0], None),
        ([], TEXTS[0], None),
        (["NBA 和足球"], TEXTS[0], "NBA,和足球"),
    ],
)
def test_the_target_is_the_first_answer_all_of_whose_parts_occur(answers, passage, target):
    assert find_answer(answers, passage) == target


def test_answers_are_counted_as_kept_cut_lost_and_empty(tokenizer):
    lengths = ReadingLengths(passage_length=14, question_length=8, answer_length=4)
    data = [
        question((TEXTS[0], "小明"), (TEXTS[0], "下棋"), (TEXTS[2], ""), (TEXTS[2], "飞机")),
        question((TEXTS[2], "三座桥和"), name="long"),
    ]
    counts = ReadingExamples(data, tokenizer, lengths).counts
    # the second passage is cut before 下棋 but holds 小明, an answer of the question
    assert (counts.kept, counts.cut, counts.lost, counts.empty) == (2, 1, 1, 1)
    counts = ReadingExamples([question((TEXTS[0], "下棋"))], tokenizer, lengths).counts
    assert (counts.kept, counts.cut, counts.lost, counts.empty) == (0, 1, 0, 0)


def test_a_cut_passage_keeps_its_first_tokens_and_a_long_answer_its_beginning(tokenizer):
    lengths = ReadingLengths(passage_length=7, question_length=4, answer_length=3)
    examples = ReadingExamples([question((TEXTS[2], "城里有三座桥"))], tokenizer, lengths)
    [row] = encode_rows(tokenizer, lengths, [("谁喜欢足球？", [TEXTS[2]])])
    assert decoded(tokenizer, row.source) == "[CLS]城里有三座[SEP]谁喜欢[SEP]"
    (sample,) = examples.batches(0, 1)[0]
    assert decoded(tokenizer, sample.answer) == "[SEP]"  # 桥 is beyond the cut
    examples = ReadingExamples([question((TEXTS[2], "里有三座"))], tokenizer, lengths)
    (sample,) = examples.batches(0, 1)[0]
    assert decoded(tokenizer, sample.answer) == "里有[SEP]"


def test_the_negative_ratio_says_how_often_an_empty_passage_is_drawn(tokenizer):
    data = [question((TEXTS[0], "小明"), (TEXTS[2], ""), (TEXTS[2], ""), name=f"q{i}") for i in range(400)]

    def share(ratio):
        examples = ReadingExamples(data, tokenizer, ReadingLengths(), ratio)
        return np.mean([len(sample.answer) == 1 for batch in examples.batches(0, 50) for sample in batch])

    assert share(0.0) == 0
    assert share(1.0) == 1
    assert abs(share(0.25) - 0.25) < 0.08
    assert abs(share(None) - 2 / 3) < 0.08
    with pytest.raises(ValueError, match=r"negative_ratio must lie in \[0, 1\]"):
        ReadingExamples(data, tokenizer, ReadingLengths(), 1.5)


def test_an_epoch_visits_every_question_once_and_depends_on_seed_and_epoch_alone(tokenizer):
    data = [question((TEXTS[0][: i + 3], ""), text="谁" * (i + 1), name=str(i)) for i in range(20)]
    examples = ReadingExamples(data, tokenizer, ReadingLengths(), seed=3)
    again = ReadingExamples(data, tokenizer, ReadingLengths(), seed=3)

    def seen(examples, epoch):
        return [[len(sample.question) for sample in batch] for batch in examples.batches(epoch, 6)]

    assert sorted(itertools.chain.from_iterable(seen(examples, 0))) == list(range(2, 22))
    assert seen(examples, 5) == seen(again, 5)
    assert seen(examples, 5) != seen(examples, 6)


def test_practice_quotes_the_passage_and_masks_some_of_it(tokenizer):
    data = [question((TEXTS[0], "小明"), name=str(i)) for i in range(60)]
    examples = ReadingExamples(data, tokenizer, ReadingLengths(), practice_epochs=1.0)
    quoted = hidden = shown = 0
    for batch in examples.batches(0, 8):
        arrays = examples.arrays(batch, 8)
        for row, sample in enumerate(batch):
            source = np.concatenate([sample.passage, sample.question])
            length, answer = len(source), len(sample.answer)
            ids, positions = arrays["token_ids"][row, :length], sample.hidden
            assert (ids[positions] == tokenizer.mask_id).all()
            assert (np.delete(ids, positions) == np.delete(source, positions)).all()
            targets = arrays["target_ids"][row, : answer + len(positions)]
            assert targets.tolist() == [*sample.answer, *source[positions]]
            assert arrays["target_positions"][row, : len(targets)].tolist() == [
                *range(length - 1, length - 1 + answer),
                *positions,
            ]
            assert arrays["target_weights"][row].sum() == len(targets)
            assert not {0, len(sample.passage) - 1, length - 1} & set(positions.tolist())
            hidden, shown = hidden + len(positions), shown + length
            if decoded(tokenizer, sample.question) != "谁喜欢足球？[SEP]":
                text = decoded(tokenizer, sample.passage)
                assert decoded(tokenizer, sample.question[:-1]) + decoded(tokenizer, sample.answer[:-1]) in text
                quoted += 1
    assert 15 < quoted < 45
    assert 0.1 < hidden / shown < 0.2


def test_practice_comes_first_and_every_question_is_visited_once(tokenizer):
    data = [question((TEXTS[0], "小明"), text="谁" * (i + 1), name=str(i)) for i in range(40)]
    examples = ReadingExamples(data, tokenizer, ReadingLengths(), practice_epochs=1.4)
    assert all(len(sample.hidden) for batch in examples.batches(0, 8) for sample in batch)
    batches = examples.batches(1, 8)
    practised = [any(len(sample.hidden) for sample in batch) for batch in batches]
    assert practised == [True] * 2 + [False] * 3
    asked = [len(sample.question) for batch in batches[2:] for sample in batch]
    assert len(set(asked)) == len(asked) == 24
    assert not any(len(sample.hidden) for batch in examples.batches(2, 8) for sample in batch)


def test_batches_are_counted_without_making_them_and_weigh_their_target_tokens(tokenizer):
    data = [question((TEXTS[0], "小明"), name=str(i)) for i in range(20)]
    examples = ReadingExamples(data, tokenizer, ReadingLengths(), practice_epochs=1.25)
    for size in (1, 4, 6, 20, 50):
        for epoch in range(3):
            assert examples.num_batches(epoch, size) == len(examples.batches(epoch, size))
    assert [examples.num_batches(epoch, 6) for epoch in range(3)] == [4, 4, 4]
    assert [examples.num_batches(epoch, 8) for epoch in range(3)] == [3, 3, 3]
    assert [examples.num_batches(epoch, 10) for epoch in range(3)] == [2, 3, 2]
    assert examples.weight(examples.arrays(examples.batches(2, 6)[0], 8)) == 6 * 3


def test_a_vocabulary_without_mask_answers_but_cannot_practise(tokenizer):
    plain = Tokenizer({("[unused1]" if token == "[MASK]" else token): i for token, i in tokenizer.vocab.items()})
    data = [question((TEXTS[0], "小明"), name=str(i)) for i in range(8)]
    examples = ReadingExamples(data, plain, ReadingLengths())
    assert examples.arrays(examples.batches(0, 8)[0], 8)["target_weights"].any()
    practising = ReadingExamples(data, plain, ReadingLengths(), practice_epochs=1.0)
    with pytest.raises(ValueError, match=r"has no \[MASK\]"):
        practising.arrays(practising.batches(0, 8)[0], 8)


def test_rows_beyond_the_data_weigh_nothing_and_shapes_are_rounded():
    batch = target_batch([[5, 6, 7]], [[8, 3]], batch_size=4)
    assert batch["token_ids"].shape == (4, 16)
    assert batch["target_ids"].shape == (4, 8)
    assert batch["target_weights"].sum() == 2
    assert target_batch([[5] * 33], [[8, 3]], max_length=37)["token_ids"].shape == (1, 37)


@pytest.mark.parametrize("part", ["passage_length", "question_length", "answer_length"])
def test_a_length_without_room_is_refused(part):
    with pytest.raises(ValueError, match=f"{part} must be at least"):
        ReadingLengths(**{part: 1})
