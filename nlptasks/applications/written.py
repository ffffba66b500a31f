"""What applications write: whole texts, and texts that are being written."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class GeneratedText:
    """A generated text.

    Attributes:
        text: the prompt and its continuation.
        log_probability: sum over the generated tokens, in nats; None where the limits left nothing to go on with.
        num_tokens: number of generated tokens, without the closing `[SEP]`.
        complete: whether the text ended before the length limit.
    """

    text: str
    log_probability: float | None
    num_tokens: int
    complete: bool


@dataclass(frozen=True)
class PartialText:
    """A text that is being written, with what is there so far.

    Attributes:
        text: the prompt and its continuation up to now.
        kept: how many characters of the text before this one stand unchanged at its beginning; `text[kept:]` is new.
            A later token may change how earlier ones are joined (quotation marks and contractions of English text).
        num_tokens: number of generated tokens, without the closing `[SEP]`.
        done: whether this is the last one.
        complete: of the last one, whether the text ended before the length limit.
    """

    text: str
    kept: int
    num_tokens: int
    done: bool = False
    complete: bool = False


def behind_prompt(decode: Callable[[list[int]], str], prompt: str, given: Sequence[int], tokens: Sequence[int]) -> str:
    """The prompt as it was given, and the tokens behind it as text.

    Args:
        decode: the text of tokens.
        given: the tokens of the prompt.
    """
    whole, start = decode([*given, *tokens]), decode([*given])
    return prompt + whole[len(start) :] if whole.startswith(start) else whole


def growing_text(
    pieces: Iterable[list[list[int]]], join: Callable[[list[int]], str], limit: int
) -> Iterator[PartialText]:
    """The text that the pieces of one stream of tokens make.

    Args:
        pieces: what `Generator.stream` yields for one source.
        join: the text of all tokens so far.
        limit: the most tokens; a text that has as many was cut.
    """
    tokens: list[int] = []
    shown = ""
    for [piece] in pieces:
        tokens += piece
        text = join(tokens)
        same = (i for i, (a, b) in enumerate(zip(shown, text, strict=False)) if a != b)
        yield PartialText(text, next(same, min(len(shown), len(text))), len(tokens))
        shown = text
    yield PartialText(shown, len(shown), len(tokens), done=True, complete=len(tokens) < limit)
