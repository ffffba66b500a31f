"""What is explained: one number that a model computes from a row of tokens.

Legend: B rows, T position, D hidden, E size of an embedding.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from keras import ops

from nlptasks.applications.classification.classifier import Classifier
from nlptasks.applications.labeling.labeler import Labeler
from nlptasks.applications.labeling.samples import cut_windows, spans_to_tags, window_spans
from nlptasks.applications.reading.reader import Answer, Reader
from nlptasks.applications.reading.span import first_of_text, log_partition
from nlptasks.applications.reading.windows import Row, encode_rows, normalize, offsets_of
from nlptasks.backend import Tensor
from nlptasks.core.transformer import Transformer
from nlptasks.errors import UserError
from nlptasks.text import TextTokenizer
from nlptasks.text.entities import Entity

Place = tuple[int, int, int]
"""of a token: number of its text, and where it begins and ends there"""


@dataclass(frozen=True)
class Explained:
    """One number that a model computes from one row of tokens.

    Attributes:
        what: the number, in words.
        transformer: reads the row.
        tokenizer: has its vocabulary.
        token_ids, segment_ids: int32 `(T,)`, without padding.
        texts: what the row was made of.
        places: for each token where it stands, None for special tokens and others that are not asked about.
        of_hidden: from token ids `(B, T)` and hidden states `(B, T, D)` to the number, `(B,)`.
        readers: the positions whose hidden states the number is made of.
    """

    what: str
    transformer: Transformer
    tokenizer: TextTokenizer
    token_ids: np.ndarray
    segment_ids: np.ndarray
    texts: tuple[str, ...]
    places: tuple[Place | None, ...]
    of_hidden: Callable[[Tensor, Tensor], Tensor]
    readers: tuple[int, ...]

    @property
    def asked(self) -> np.ndarray:
        """Bool `(T,)`: the tokens that stand in a text."""
        return np.array([place is not None for place in self.places])

    def value(self, token_ids_BT: Tensor, segment_ids_BT: Tensor, vectors_BTE: Tensor | None = None) -> Tensor:
        """The number for each row, float32 `(B,)`; vectors stand in the place of the tokens' embeddings."""
        hidden_BTD = self.transformer.encode(token_ids_BT, segment_ids_BT, token_vectors_BTE=vectors_BTE)
        return ops.cast(self.of_hidden(token_ids_BT, hidden_BTD), "float32")


def _places(offsets: np.ndarray, segments: np.ndarray) -> tuple[Place | None, ...]:
    """Of a text or a pair: special tokens have an empty stretch."""
    return tuple(
        (int(segment > 0), int(start), int(end)) if end > start else None
        for (start, end), segment in zip(offsets, segments, strict=True)
    )


def label_of_text(classifier: Classifier, text: Any, label: str | None = None, width: int = 0) -> Explained:
    """The logit of a label.

        explained = label_of_text(nlptasks.load("runs/classifier"), "房间很干净")

    Args:
        text: a string, or a pair for a classifier of pairs.
        label: None: the best one.
        width: the row is padded to as many tokens, so that programs of other texts serve it, too.

    Raises:
        UserError, ValueError: an unknown label, or a text that the classifier does not read.
    """
    best = classifier.classify(text)  # refuses what it does not read
    label = max(best.scores, key=best.scores.__getitem__) if label is None else label
    if label not in classifier.labels:
        raise UserError(
            "{label}: no label of this model; it has {labels}.", label=label, labels=", ".join(classifier.labels)
        )
    parts = (text,) if isinstance(text, str) else tuple(text)
    encoding = classifier.tokenizer.encode_batch(
        [parts[0]], list(parts[1:]) or None, classifier.seq_length, with_offsets=True
    )[0]
    number = classifier.labels.index(label)

    def logit(token_ids_BT: Tensor, hidden_BTD: Tensor) -> Tensor:
        return classifier.logits(token_ids_BT, token_ids_BT, False, lambda *ids, training: hidden_BTD)[:, number]

    assert encoding.offsets is not None
    length = len(encoding)
    segments = _segments_of_texts(encoding.offsets)
    fill = max(0, width - length)
    return Explained(
        f"logit of {label}",
        classifier.model.transformer,
        classifier.tokenizer,
        np.pad(encoding.token_ids, (0, fill), constant_values=classifier.tokenizer.pad_id),
        np.pad(encoding.segment_ids, (0, fill)),
        parts,
        _places(encoding.offsets, segments) + (None,) * fill,
        logit,
        (0,) if classifier.pooling == "first" else tuple(range(length)),
    )


def _segments_of_texts(offsets: np.ndarray) -> np.ndarray:
    """Number of the text of each token: the second begins after the special tokens between them."""
    special = offsets[:, 1] <= offsets[:, 0]
    first_end = 1 + int(np.argmax(special[1:])) if special[1:].any() else len(offsets)
    return (np.arange(len(offsets)) > first_end).astype("int32")


def entity_of_text(labeler: Labeler, text: str, entity: Entity) -> Explained:
    """The score of an entity: the pointer's logit, or under a CRF the sum of its tokens' scores for its tags.

        labeler = nlptasks.load("runs/ner")
        explained = entity_of_text(labeler, "沈月在南山", labeler.label("沈月在南山")[0])

    Raises:
        UserError: the entity stands in no window that is read at once.
    """
    for window in cut_windows(labeler.tokenizer, [text], labeler.seq_length):
        found = window_spans(window, [entity], labeler.types)
        if found:
            break
    else:
        raise UserError(
            "{entity}: stands in no piece of the text that is read at once.", entity=text[entity.start : entity.end]
        )
    span, encoding, layers = found[0], window.encoding, labeler.model.head_layers
    assert encoding.offsets is not None
    tags = spans_to_tags([span], len(window.offsets))

    def score(token_ids_BT: Tensor, hidden_BTD: Tensor) -> Tensor:
        inner_BTD = hidden_BTD[:, 1:]
        if labeler.head == "crf":
            scores_BTK = ops.cast(layers["tags"](inner_BTD), "float32")
            return sum(scores_BTK[:, i, int(tags[i])] for i in range(span.first, span.last + 1))
        mask_BT = ops.concatenate([ops.ones_like(token_ids_BT[:, 2:]), ops.zeros_like(token_ids_BT[:, :1])], axis=1)
        return layers["pointer"](inner_BTD, ops.cast(mask_BT, "bool"))[:, span.type_id, span.first, span.last]

    return Explained(
        f"score of {entity.type} {text[entity.start : entity.end]}",
        labeler.model.transformer,
        labeler.tokenizer,
        encoding.token_ids,
        encoding.segment_ids,
        (text,),
        _places(encoding.offsets, np.zeros(len(encoding), "int32")),
        score,
        tuple(range(1 + span.first, 2 + span.last)),
    )


def answer_to_question(reader: Reader, question: str, passages: Sequence[str], answer: Answer) -> Explained:
    """The log probability of an answer, given the passage that supports it most.

        reader = nlptasks.load("runs/reader")
        asked = ("沈月白生于哪年？", ["沈月白生于1921年。"])
        explained = answer_to_question(reader, *asked, reader.answer(*asked))

    Raises:
        UserError: no passage answers.
    """
    if not answer.evidence or not answer.text:
        raise UserError("the question has no answer in the passages; there is nothing to explain.")
    evidence = answer.evidence[0]
    rows = encode_rows(reader.tokenizer, reader.lengths, [(question, passages)])
    row = next(row for row in rows if (row.passage, row.window) == (evidence.passage, evidence.window))
    texts = (passages[evidence.passage],)
    if reader.method == "span":
        return _span_of_row(reader, row, texts, evidence.start or 0, evidence.end or 0)
    ids = reader.tokenizer.encode(normalize(answer.text)).token_ids[1:-1]
    source, target = np.asarray(row.source), np.array([*ids, reader.tokenizer.sep_id])
    seq2seq = reader.method == "seq2seq"
    # what is written stands after the source; a masked reader sees masks there
    after = target[:-1] if seq2seq else np.full(reader.lengths.answer_length, reader.tokenizer.mask_id)
    token_ids = np.concatenate([source, after]).astype("int32")
    first = len(source) - 1 if seq2seq else len(source)
    count = min(len(target), len(token_ids) - first)
    at, target = np.arange(first, first + count), target[:count]
    transformer: Any = reader.model

    def log_probability(token_ids_BT: Tensor, hidden_BTD: Tensor) -> Tensor:
        logits_BMV = transformer.token_logits(ops.take(hidden_BTD, at, axis=1))
        logs_BMV = ops.log_softmax(ops.cast(logits_BMV, "float32"))
        return sum(logs_BMV[:, i, int(token)] for i, token in enumerate(target))

    places: list[Place | None] = [None] * len(token_ids)
    for i, (start, end) in enumerate(offsets_of(row)):
        places[1 + i] = (0, int(start), int(end))
    return Explained(
        f"log probability of {answer.text}",
        transformer,
        reader.tokenizer,
        token_ids,
        (np.arange(len(token_ids)) >= len(source)).astype("int32"),
        texts,
        tuple(places),
        log_probability,
        tuple(int(i) for i in at),
    )


def _span_of_row(reader: Reader, row: Row, texts: tuple[str, ...], start: int, end: int) -> Explained:
    model: Any = reader.model
    text_at, offsets = first_of_text(row, reader.tokenizer), offsets_of(row)
    first = text_at + int(np.flatnonzero(offsets[:, 0] >= start)[0])
    last = text_at + int(np.flatnonzero(offsets[:, 1] <= end)[-1])
    length = len(row.source)
    inside = np.zeros((1, length), bool)
    inside[0, text_at : text_at + len(row.text)] = True

    def log_probability(token_ids_BT: Tensor, hidden_BTD: Tensor) -> Tensor:
        logits_BT2 = model.head_layers["span"](hidden_BTD)
        both = [
            logits_BT2[:, at, i] - log_partition(logits_BT2[..., i], ops.convert_to_tensor(inside))
            for i, at in enumerate((first, last))
        ]
        return both[0] + both[1]

    places: list[Place | None] = [None] * length
    for i, (begin, stop) in enumerate(offsets):
        places[text_at + i] = (0, int(begin), int(stop))
    return Explained(
        f"log probability of {texts[0][start:end]}",
        model.transformer,
        reader.tokenizer,
        np.asarray(row.source, "int32"),
        ((np.arange(length) >= text_at) * reader.tokenizer.template.second_segment).astype("int32"),
        texts,
        tuple(places),
        log_probability,
        (first, last),
    )
