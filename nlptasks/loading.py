"""Opens a bare network: `build_transformer_model`, or `build_encoder_decoder` for a T5. `nlptasks.load` opens an
application that is ready to use.
"""

import logging
from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np

from nlptasks.checkpoints.bert4keras import HDF5_FILE, read_bert4keras
from nlptasks.checkpoints.configs import config_from_json
from nlptasks.checkpoints.families import ENCODER_DECODERS, MODELS
from nlptasks.checkpoints.google import read_google
from nlptasks.checkpoints.huggingface import read_huggingface
from nlptasks.checkpoints.layout import BIN, SHARDS, WEIGHTS, config_file, google_prefix
from nlptasks.checkpoints.t5 import OUTPUT, TABLE, of_hdf5, read_t5_variables
from nlptasks.checkpoints.weights import MLM_HEAD, assign_weights, unshared
from nlptasks.core.config import TransformerConfig
from nlptasks.core.encoder_decoder import EncoderDecoder
from nlptasks.core.transformer import Transformer
from nlptasks.files import read_json_object

logger = logging.getLogger(__name__)
APPLICATIONS = {"encoder": "bidirectional", "lm": "causal", "unilm": "unilm"}


def build_transformer_model(
    config_path: str | Path,
    checkpoint_path: str | Path | None = None,
    model: str | None = None,
    application: str = "encoder",
    with_pool: bool | str = False,
    with_nsp: bool = False,
    with_mlm: bool | str = False,
    with_discriminator: bool | str = False,
    keep_tokens: Sequence[int] | None = None,
    skip: Iterable[str] = (),
    recompute: bool = False,
    **config_overrides: object,
) -> Transformer:
    """Builds a Keras model that reads `[token_ids, segment_ids]`, as bert4keras' function of the same name does.

        from nlptasks.text import Tokenizer

        directory = "chinese_L-12_H-768_A-12"
        model = nlptasks.build_transformer_model(f"{directory}/bert_config.json", f"{directory}/bert_model.ckpt")
        encoding = Tokenizer(f"{directory}/vocab.txt").encode("今天天气很好")
        hidden = model([encoding.token_ids[None], encoding.segment_ids[None]])  # (1, 8, 768)

    Args:
        config_path: `bert_config.json`, `config.json`, the directory that holds one of them, or a checkpoint in it.
        checkpoint_path: None (fresh weights), a Google TensorFlow checkpoint (its prefix, its `.index` or `.meta`
            file, or a directory that holds one; of several, the last step), a Hugging Face directory or `.safetensors`
            file, HDF5 weights saved by bert4keras, or a directory written by this library. If it lacks the masked-LM
            head and one is wanted, the head gets fresh weights, and the log says so.
        model: "bert", "roberta" (Chinese RoBERTa has BERT's layout; a config whose own type is roberta, as transformers
            writes it, has RoBERTa's positions), "xlm-roberta" (RoBERTa's positions), "albert", "albert_unshared" (every
            layer has its own weights, which start as copies of ALBERT's shared layer), "electra", "nezha", "roformer",
            "roformer_v2", "gau_alpha", "gpt" (NEZHA-GEN, CDial; "openai-gpt" in transformers), "gpt2" (CPM) or
            "gpt2_ml". None: the config's `model_type`, or "bert" if it has none.
        application: "encoder" (bidirectional, but for the GPTs), "lm" (causal) or "unilm" (sequence to sequence in one
            stack). "lm" and "unilm" add the head over the vocabulary, as in bert4keras.
        with_pool: adds the pooler, a dense layer on the first position; a string names its activation (True: tanh).
        with_nsp: adds next-sentence probabilities.
        with_mlm: adds the head over the vocabulary: True for probabilities, "linear" for logits.
        with_discriminator: adds ELECTRA's discriminator: True for the probability that a token was replaced, "linear"
            for its logit.
        keep_tokens: ids of the tokens to keep; the token embedding and the output bias are reduced to them.
        skip: prefixes of weight names that may be missing from the checkpoint, or be in it without being used.
        recompute: as in `Transformer`.
        **config_overrides: fields of `TransformerConfig`, by our names or the file's.

    Returns:
        A built `Transformer`, whose documentation gives the order of the outputs.

    Raises:
        ValueError, FileNotFoundError: a file is missing or does not fit; the message is one line that names it.
    """
    if model not in (None, *MODELS):
        raise ValueError(f"model must be one of {tuple(MODELS)}. Received: model={model!r}.")
    if application not in APPLICATIONS:
        raise ValueError(f"application must be one of {tuple(APPLICATIONS)}. Received: application={application!r}.")
    overrides = {"attention": APPLICATIONS[application]} | config_overrides
    config = read_config(config_file(Path(config_path)), model, **overrides)
    config = _reduced(config, keep_tokens)
    with_mlm = with_mlm or application != "encoder"
    transformer = Transformer(config, with_pool, with_nsp, with_mlm, with_discriminator, recompute)
    transformer.build()
    if checkpoint_path is not None:
        unshare = model == "albert_unshared"
        lacks_head = load_weights(transformer, checkpoint_path, keep_tokens=keep_tokens, skip=skip, unshare=unshare)
        if lacks_head:
            logger.warning("%s: has no masked-LM head: fresh weights", checkpoint_path)
    return transformer


def build_encoder_decoder(
    config_path: str | Path,
    checkpoint_path: str | Path | None = None,
    model: str | None = None,
    keep_tokens: Sequence[int] | None = None,
    skip: Iterable[str] = (),
    recompute: bool = False,
    **config_overrides: object,
) -> EncoderDecoder:
    """Builds a T5 that reads `[source_ids, target_ids]` and gives logits.

        model = nlptasks.build_encoder_decoder("mt5-small", "mt5-small")
        generator = nlptasks.Generator(model, end_id=1)
        [[best]] = generator.generate([[259, 1234, 1]], max_length=32)

    Args:
        config_path: `config.json`, or the directory that holds it.
        checkpoint_path: None (fresh weights), a directory as transformers writes it, Google's TensorFlow checkpoint, or
            HDF5 weights saved by bert4keras.
        model: "t5" (v1.0 or v1.1, as the config says), "t5.1.0", "t5.1.1", or "mt5" or "mt5.1.1", which are one. None:
            the config's `model_type`.
        keep_tokens: ids of the tokens to keep; the token embedding and the output matrix are reduced to them.
        skip, recompute, **config_overrides: as in `build_transformer_model`.

    Returns:
        A built `EncoderDecoder`.

    Raises:
        ValueError, FileNotFoundError: a file is missing or does not fit; the message is one line that names it.
    """
    if model not in (None, *ENCODER_DECODERS):
        raise ValueError(f"model must be one of {tuple(ENCODER_DECODERS)}. Received: model={model!r}.")
    config = encoder_decoder_config(config_path, model, **config_overrides)
    found = EncoderDecoder(_reduced(config, keep_tokens), recompute)
    found.build()
    if checkpoint_path is not None:
        load_encoder_decoder(found, checkpoint_path, keep_tokens, skip)
    return found


def encoder_decoder_config(config_path: str | Path, model: str | None = None, **overrides: object) -> TransformerConfig:
    """The config of an encoder-decoder; arguments and errors as of `build_encoder_decoder`."""
    path = config_file(Path(config_path))
    told = read_json_object(path).get("model_type")
    config = read_config(path, told if model is None and told in ENCODER_DECODERS else model, **overrides)
    if config.decoder_layers is None:
        raise ValueError(f'{path}: says nothing of a decoder; pass model="t5" (or "mt5") if it is a T5.')
    return config


def has_decoder(config_path: str | Path) -> bool:
    """Whether a config or the one of a directory is that of an encoder-decoder, which `build_encoder_decoder` opens; no
    for one that cannot be read, which loading it will tell.
    """
    try:
        values = read_json_object(config_file(Path(config_path)))
    except (OSError, ValueError):
        return False
    return values.get("model_type") in ENCODER_DECODERS or values.get("num_decoder_layers") is not None


def load_encoder_decoder(
    model: EncoderDecoder,
    checkpoint_path: str | Path,
    keep_tokens: Sequence[int] | None = None,
    skip: Iterable[str] = (),
) -> None:
    """Loads a checkpoint of any known format strictly; see `build_encoder_decoder`."""
    arrays, transposed = read_weights(Path(checkpoint_path), model.config)
    if TABLE in arrays and model.config.output == "untied":  # transformers leaves out what equals the table
        arrays.setdefault(OUTPUT, arrays[TABLE])
    name = str(checkpoint_path)
    assign_weights(model, arrays, name, transposed=transposed, keep_tokens=keep_tokens, skip=skip)


def _reduced(config: TransformerConfig, keep_tokens: Sequence[int] | None) -> TransformerConfig:
    """The config of a model with these tokens only."""
    if keep_tokens is None:
        return config
    if outside := [i for i in keep_tokens if not 0 <= i < config.vocab_size]:
        raise ValueError(f"keep_tokens must lie in [0, {config.vocab_size}). Received: {outside[0]}.")
    if config.pad_id and list(keep_tokens[: config.pad_id + 1])[-1] != config.pad_id:
        raise ValueError(f"keep_tokens must leave the padding token, {config.pad_id}, at its place.")
    return config.replace(vocab_size=len(keep_tokens))


def load_weights(
    transformer: Transformer,
    checkpoint_path: str | Path,
    keep_tokens: Sequence[int] | None = None,
    skip: Iterable[str] = (),
    unshare: bool = False,
) -> bool:
    """Loads a checkpoint of any known format strictly; see `build_transformer_model`.

    Args:
        unshare: copies the shared layer of an ALBERT checkpoint into every layer of the model.

    Returns:
        Whether the model has a masked-LM head and the checkpoint has none; the head then stays as it starts.
    """
    config = transformer.config.replace(shared_layers=True) if unshare else transformer.config
    path = Path(checkpoint_path)
    arrays, transposed = read_weights(path, config)
    if unshare:
        arrays = unshared(arrays, config.num_layers)
    started = assign_weights(
        transformer, arrays, str(path), transposed=transposed, keep_tokens=keep_tokens, skip=skip, fresh=(MLM_HEAD,)
    )
    return bool(started)


def read_weights(path: Path, config: TransformerConfig) -> tuple[dict[str, np.ndarray], bool]:
    """The weights of a checkpoint of any known format by their canonical names, and whether kernels are (out, in)."""
    two_stacks = config.decoder_layers is not None
    if (prefix := google_prefix(path)) is not None:
        return read_t5_variables(prefix) if two_stacks else read_google(prefix, config), False
    if (path / HDF5_FILE).is_file() and not (path / WEIGHTS).is_file():
        return read_bert4keras(path / HDF5_FILE), False
    if path.is_dir() or path.suffix == ".safetensors" or path.name in (SHARDS, BIN):
        return read_huggingface(path, config), True
    if path.is_file():
        arrays = read_bert4keras(path)
        return of_hdf5(arrays) if two_stacks else arrays, False
    raise FileNotFoundError(
        f"{path}: no such checkpoint; give a directory with model.safetensors or a TensorFlow checkpoint, the "
        "path of one, or an HDF5 file of weights."
    )


def read_config(config_path: Path, model: str | None = None, **overrides: object) -> TransformerConfig:
    """The config in a file; one whose name begins with albert is an ALBERT's."""
    values = read_json_object(config_path)
    if model is None and "model_type" not in values and config_path.name.startswith("albert"):
        model = "albert"
    return config_from_json(values, config_path, model, **overrides)
