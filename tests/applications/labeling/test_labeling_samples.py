"""Windows, tags and spans, and that each leads back to the text."""

import numpy as np
import pytest

from nlptasks.applications.labeling.samples import (
    LabelingExamples,
    Span,
    allowed_tags,
    cut_windows,
    entities_of,
    spans_to_tags,
    tag_names,
    tags_to_spans,
    window_spans,
)
from nlptasks.text.entities import Entity, EntityText
from tests.applications.labeling.label_cases import TYPES, entity_texts, tokenizer

pytestmark = pytest.mark.once


def test_entities_go_through_tokens_and_come_back_as_the_same_pieces_of_the_text():
    texts = [
        EntityText("ＡＢ公司 的李Ann来了。", (Entity(0, 4, "name", "ＡＢ公司"), Entity(7, 10, "place", "Ann")), "f:1"),
        *entity_texts(),
    ]
    windows = cut_windows(tokenizer([text.text for text in texts]), [text.text for text in texts], 23)
    assert [window.text for window in windows] == list(range(len(texts)))
    for text, window in zip(texts, windows, strict=True):
        spans = window_spans(window, text.entities, TYPES)
        assert sorted(entities_of(text.text, window, spans, TYPES)) == sorted(text.entities)


def test_windows_hold_every_token_once_and_end_at_sentence_ends_then_pauses_then_anywhere():
    text = "一二三。四五，六七八九十一二三四五六七，八 九"
    windows = cut_windows(tokenizer([text]), [text, "一"], 9)
    pieces = ["".join(text[a:b] for a, b in window.offsets) for window in windows[:-1]]
    assert pieces == ["一二三。", "四五，", "六七八九十一二", "三四五六七，八", "九"]
    assert windows[-1].text == 1
    assert all(len(window.encoding) <= 9 for window in windows)
    assert all(window.encoding.token_ids[0] == windows[0].encoding.token_ids[0] for window in windows)


def test_a_window_takes_the_closing_quote_of_its_last_sentence_along():
    text = "一二；四五六七！”八九十"
    windows = cut_windows(tokenizer([text]), [text], 10)
    pieces = ["".join(text[a:b] for a, b in window.offsets) for window in windows]
    assert pieces == ["一二；", "四五六七！”", "八九十"]  # not "一二；四五六七！", which would fit


def test_an_entity_with_an_edge_inside_a_token_is_lost_and_counted():
    from nlptasks.text import Tokenizer

    vocab = {token: i for i, token in enumerate(["[PAD]", "[UNK]", "[CLS]", "[SEP]", "abc", "甲"])}
    text = EntityText("甲abc甲", (Entity(1, 3, "name", "ab"), Entity(1, 4, "name", "abc")), "f:1")
    examples = LabelingExamples(Tokenizer(vocab), 9, [text], TYPES, flat=True)
    assert (examples.num_lost, examples.num_overlapping) == (1, 0)
    assert examples.tags[0].tolist() == [0, 1, 0]
    assert entities_of(text.text, examples.windows[0], examples.spans[0], TYPES) == [Entity(1, 4, "name", "abc")]


def test_of_overlapping_entities_a_flat_reading_keeps_the_longest():
    spans = [Span(0, 1, 0), Span(1, 4, 1), Span(5, 5, 0), Span(1, 2, 0)]
    tags = spans_to_tags(spans, 7)
    assert [tag_names(TYPES)[tag] for tag in tags] == ["O", "B-place", *["I-place"] * 3, "B-name", "O"]
    assert tags_to_spans(tags) == [Span(1, 4, 1), Span(5, 5, 0)]
    texts = entity_texts()
    examples = LabelingExamples(tokenizer([t.text for t in texts]), 23, texts, TYPES, flat=True)
    assert (examples.num_overlapping, examples.num_lost, examples.num_windows_cut) == (4, 0, 0)


def test_an_inside_tag_may_follow_only_its_own_kind():
    names = tag_names(("a", "b", "c"))
    first, following = allowed_tags(3)
    assert [name for name, allowed in zip(names, first, strict=True) if allowed] == ["O", "B-a", "B-b", "B-c"]
    for i, one in enumerate(names):
        for j, other in enumerate(names):
            wanted = not other.startswith("I") or (one != "O" and one[2:] == other[2:])
            assert following[i, j] == wanted, (one, other)


def test_a_batch_holds_tokens_tags_spans_and_mask_of_its_texts():
    texts = entity_texts()
    examples = LabelingExamples(tokenizer([t.text for t in texts]), 23, texts, TYPES, flat=False)
    batch = examples.arrays(np.array([1, 0]), 3)
    length = batch["token_ids"].shape[1] - 1
    assert batch["mask"].sum(axis=1).tolist() == [len(texts[1].text), len(texts[0].text), 0]
    assert batch["weights"].tolist() == [1, 1, 0]
    for row, index in enumerate((1, 0)):
        found = [
            (int(i) // length, int(i) % length + 1, TYPES[kind])
            for kind, ids in enumerate(batch["spans"][row])
            for i in ids
            if i >= 0
        ]
        assert sorted(found) == [(e.start, e.end, e.type) for e in texts[index].entities]
    assert (batch["spans"][2] == -1).all()
    assert batch["tags"][2].sum() == 0


def test_a_text_without_tokens_has_no_window():
    assert cut_windows(tokenizer(["一"]), [" ", "一"], 9)[0].text == 1


@pytest.mark.parametrize("length", [1, 7, 8])
def test_texts_up_to_the_length_have_one_window(length):
    text = "一，二三四五六七八"[:length]
    assert len(cut_windows(tokenizer(["一，二三四五六七八"]), [text], 10)) == 1
