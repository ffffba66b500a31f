"""A page that shows where an answer comes from: what its tokens attended to in each passage, and the vote."""

import dataclasses
from collections.abc import Sequence
from html import escape
from typing import cast

import numpy as np
from keras import ops

from nlptasks.applications.encoder_head import EncoderWithHead
from nlptasks.applications.reading.reader import Answer, Evidence, Reader
from nlptasks.applications.reading.span import first_of_text, row_arrays
from nlptasks.applications.reading.windows import SpanLengths, encode_rows, normalize, offsets_of
from nlptasks.errors import told

_STYLE = (
    "body{font-family:sans-serif;max-width:50em;margin:2em auto;line-height:1.8}"
    ".bar{display:inline-block;height:.7em;background:#c33}.piece{text-decoration:underline;font-weight:bold}"
    ".unread{color:#999}"
)


def answer_attention(
    reader: Reader, question: str, passages: Sequence[str], answer: Answer, stride: int | None = None
) -> list[np.ndarray]:
    """For each piece of evidence, how much the tokens of the answer attend to each character of the passage.

    Args:
        stride: with which it was answered, as in `Reader.answer`.

    Returns:
        float32 arrays with one number per character: the attention probability from the position that predicts a token
        of the answer to the token of the character, as the mean over tokens, heads and layers; 0 if it was not read.
    """
    ids = reader.tokenizer.encode(normalize(answer.text)).token_ids[1:-1]
    lengths = reader.lengths if stride is None else dataclasses.replace(reader.lengths, stride=stride)
    rows = encode_rows(reader.tokenizer, lengths, [(question, passages)])
    row_at = {(row.passage, row.window): row for row in rows}
    found = []
    for evidence in answer.evidence:
        row = row_at[evidence.passage, evidence.window]
        source, transformer = row.source, reader.model
        if isinstance(transformer, EncoderWithHead):  # the tokens of the answer stand in the passage themselves
            token_ids, segment_ids, _ = row_arrays([row], 1, cast(SpanLengths, reader.lengths), reader.tokenizer)
            transformer, text_at = transformer.transformer, first_of_text(row, reader.tokenizer)
            starts, ends = offsets_of(row).T
            answering = text_at + np.flatnonzero((starts >= (evidence.start or 0)) & (ends <= (evidence.end or 0)))
        else:
            seq2seq = reader.method == "seq2seq"
            masks = np.full(reader.lengths.answer_length, reader.tokenizer.mask_id)
            token_ids = np.array([[*source, *(ids if seq2seq else masks)]], "int32")
            segment_ids = (np.arange(token_ids.shape[1]) >= len(source)).astype("int32")[None]
            text_at, answering = 1, len(source) - seq2seq + np.arange(max(1, len(ids)))
        maps = transformer.encode(token_ids, segment_ids, with_maps=True)[1]
        looked_TS = np.mean([ops.convert_to_numpy(ops.cast(m, "float32"))[0].mean(axis=0) for m in maps], axis=0)
        token_weights = looked_TS[answering, text_at : text_at + len(row.text)].mean(axis=0)
        weights = np.zeros(len(passages[evidence.passage]), "float32")
        for (start, end), weight in zip(offsets_of(row), token_weights, strict=True):
            weights[start:end] = weight
        found.append(weights)
    return found


def draw_answer(
    reader: Reader, question: str, passages: Sequence[str], answer: Answer, stride: int | None = None
) -> str:
    """A self-contained HTML page with the answer, the vote, and all passages, shaded by attention."""
    attention = answer_attention(reader, question, passages, answer, stride)
    voted = {e.passage: (e, weights) for e, weights in zip(answer.evidence, attention, strict=True)}
    parts = [
        f"<!doctype html><html lang=zh><meta charset=utf-8><title>{escape(question)}</title><style>{_STYLE}</style>",
        f"<h1>{escape(question)}</h1><p>{escape(answer.text) or told('(no answer)')}</p>",
    ]
    for index, passage in enumerate(passages):
        if index not in voted:
            parts.append(
                f"<h2>{index + 1}</h2><p>{told('did not vote for it')}</p><p class=unread>{escape(passage)}</p>"
            )
            continue
        evidence, weights = voted[index]
        width = 100 * evidence.probability
        parts.append(
            f"<h2>{index + 1}</h2><p>{told('probability {value:.3f}', value=evidence.probability)} "
            f"<span class=bar style='width:{width:.1f}px'></span></p><p>{_shaded(passage, weights, evidence)}</p>"
        )
    return "\n".join([*parts, "</html>", ""])


def _shaded(passage: str, weights: np.ndarray, evidence: Evidence) -> str:
    largest, start, end = max(float(weights.max()), 1e-12), evidence.start, evidence.end
    spans = []
    for i, (char, weight) in enumerate(zip(passage, weights, strict=True)):
        inside = start is not None and end is not None and start <= i < end
        shade = f"background:rgba(220,60,40,{weight / largest:.2f})"
        spans.append(
            f"<span{' class=piece' if inside else ''} style='{shade}' title='{weight:.4f}'>{escape(char)}</span>"
        )
    return "".join(spans)
