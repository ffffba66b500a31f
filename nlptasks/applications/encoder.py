"""The network that a run starts from: a checkpoint's, or one from random weights."""

from collections.abc import Iterable
from pathlib import Path
from typing import Any

from nlptasks.applications.encoder_head import HEAD
from nlptasks.applications.options import EncoderTraining, SimplifyingTraining
from nlptasks.applications.scratch import scratch_config, transformer_from_scratch
from nlptasks.core import EncoderDecoder, Transformer
from nlptasks.errors import UserError
from nlptasks.loading import (
    APPLICATIONS,
    build_encoder_decoder,
    build_transformer_model,
    encoder_decoder_config,
)
from nlptasks.text import TextTokenizer, Tokenizer, build_character_vocab, open_tokenizer
from nlptasks.text.vocab import SPECIAL_TOKENS, simplify_vocab


def pretrained_tokenizer(path: str | Path) -> TextTokenizer:
    """The tokenizer of a checkpoint; every task on one stack reads the tokens that stand around a text.

    Raises:
        UserError, FileNotFoundError, ValueError: it puts none there, as T5's; or as `open_tokenizer`.
    """
    tokenizer = open_tokenizer(path)
    if not (tokenizer.template.before and tokenizer.template.after):
        raise UserError(
            "{path}: its tokenizer puts nothing {where} a text, as T5's and GPT's do not, and this task reads "
            "what stands there; give a model with [CLS] or <s> before a text and [SEP] or </s> behind it.",
            path=path,
            where="behind" if tokenizer.template.before else "before",
        )
    return tokenizer


def make_tokenizer(options: EncoderTraining, texts: Iterable[str]) -> TextTokenizer:
    """The checkpoint's tokenizer; from scratch, one of the given vocabulary or of the characters of `texts`."""
    if not options.from_scratch:
        return pretrained_tokenizer(options.source)
    if options.vocab is not None:
        return Tokenizer(options.vocab)
    return Tokenizer(build_character_vocab(texts, options.sizes()["min_count"]))


def simplified(options: SimplifyingTraining, tokenizer: TextTokenizer) -> tuple[TextTokenizer, dict[str, list[int]]]:
    """The tokenizer, and, where it keeps only some tokens of the checkpoint, which: `keep_tokens`.

    Raises:
        UserError: it is to be cut, and is none of BERT's.
    """
    if not options.simplify_vocab:
        return tokenizer, {}
    if not (isinstance(tokenizer, Tokenizer) and tokenizer.context_free):
        raise UserError(
            "{field:simplify_vocab} leaves out what a vocab.txt holds and BERT's tokenizer never makes; leave it out: "
            "{checkpoint} has another tokenizer.",
            checkpoint=options.checkpoint,
        )
    first = [token for token in SPECIAL_TOKENS if token in tokenizer.vocab]
    vocab, keep_tokens = simplify_vocab(tokenizer.vocab, first)
    return Tokenizer(vocab, tokenizer.lowercase), {"keep_tokens": keep_tokens}


def pretrained_encoder_decoder(options: SimplifyingTraining) -> tuple[EncoderDecoder, TextTokenizer]:
    """A checkpoint's T5, without the rows that stand for no token of its tokenizer, and the tokenizer.

    Raises:
        UserError, FileNotFoundError, ValueError: its vocabulary is to be cut, or nothing closes a text, or as
            `build_encoder_decoder`.
    """
    path = options.source
    tokenizer, kept = simplified(options, open_tokenizer(path))
    _ = tokenizer.sep_id  # what closes a text is there, or nothing begins
    if not kept and tokenizer.vocab_size < encoder_decoder_config(path).vocab_size:
        kept = {"keep_tokens": list(range(tokenizer.vocab_size))}
    settings: dict[str, Any] = kept | {"skip": options.skip_weights, "recompute": options.recompute}
    settings |= {"dropout": options.dropout, "attention_dropout": options.dropout}
    return build_encoder_decoder(path, path, **settings), tokenizer


def make_transformer(
    options: EncoderTraining,
    tokenizer: TextTokenizer,
    max_positions: int,
    *,
    application: str = "encoder",
    with_mlm: bool | str = False,
    equal_keys: bool = False,
    **more: Any,
) -> Transformer:
    """The checkpoint's Transformer, or one from random weights of the sizes of the options.

    Args:
        tokenizer: says which token is padding, and, from scratch, how large the vocabulary is.
        max_positions: from scratch.
        application, with_mlm: as in `build_transformer_model`.
        equal_keys: from scratch, see `transformer_from_scratch`.
        **more: `keep_tokens` of a checkpoint, or fields of `TransformerConfig`.
    """
    made: dict[str, Any] = {"with_mlm": with_mlm, "recompute": options.recompute}
    if not options.from_scratch:
        skip = (*((HEAD,) if application == "encoder" and not with_mlm else ()), *options.skip_weights)
        path = options.source
        dropouts: dict[str, Any] = {"dropout": options.dropout, "attention_dropout": options.dropout}
        made |= dropouts | {"application": application, "skip": skip}
        return build_transformer_model(path, path, pad_id=tokenizer.pad_id, **made, **more)
    sizes = {name: size for name, size in options.sizes().items() if name != "min_count"}
    config = scratch_config(
        tokenizer.vocab_size, max_positions, dropout=options.dropout, attention=APPLICATIONS[application], **sizes
    )
    return transformer_from_scratch(config.replace(pad_id=tokenizer.pad_id, **more), equal_keys=equal_keys, **made)
