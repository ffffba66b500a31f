"""Google's TensorFlow checkpoints (`bert_model.ckpt.index` and its data files)."""

import re
from pathlib import Path

import numpy as np

from nlptasks.backend.packages import require_packages
from nlptasks.checkpoints.families import check_family
from nlptasks.checkpoints.weights import OPTIMIZER, export_weights
from nlptasks.core.config import TransformerConfig
from nlptasks.core.transformer import Transformer
from nlptasks.errors import UserError

_REPLACED = (
    (r"^(bert|electra)/", ""),
    (r"^gpt/output/LayerNorm/", "encoder/LayerNorm/"),  # GPT-2, as bert4keras has it
    (r"/input/LayerNorm/", "/output/LayerNorm/"),
    (r"^gpt/transformer/", "encoder/"),
    (r"^gpt/", ""),
    (r"^GAU_alpha/encoder/layer_(\d+)/gau/i_dense/kernel$", r"encoder/layer/\1/attention/self/inner/weight"),
    (r"^GAU_alpha/encoder/layer_(\d+)/gau/o_dense/kernel$", r"encoder/layer/\1/attention/output/dense/weight"),
    (r"^GAU_alpha/encoder/layer_(\d+)/gau/q_scaleoffset/gamma$", r"encoder/layer/\1/attention/self/query_scale"),
    (r"^GAU_alpha/encoder/layer_(\d+)/gau/k_scaleoffset/gamma$", r"encoder/layer/\1/attention/self/key_scale"),
    (r"^newslm/layer0*(\d+)/", r"encoder/layer/\1/"),  # GPT2-ML
    (r"/(query|key|value)_layer/", r"/attention/self/\1/"),
    (r"/context_projection_layer/", "/attention/output/dense/"),
    (r"/LayerNorm_mlp_ln0/", "/attention/output/LayerNorm/"),
    (r"/LayerNorm_mlp_ln1/", "/output/LayerNorm/"),
    (r"^(encoder/layer/\d+/(?:intermediate|output))/(kernel|bias)$", r"\1/dense/\2"),
    (r"^newslm/embeddings/LayerNorm_embed_norm/", "embeddings/LayerNorm/"),
    (r"^newslm/embeddings/word_embed$", "embeddings/word_embeddings"),
    (r"^newslm/embeddings/pos_embed$", "embeddings/position_embeddings"),
    (r"^encoder/transformer/group_0/inner_group_0/", "encoder/layer/0/"),  # ALBERT
    (r"/layer/0/attention_1/", "/layer/0/attention/"),
    (r"/layer/0/LayerNorm/", "/layer/0/attention/output/LayerNorm/"),
    (r"/layer/0/LayerNorm_1/", "/layer/0/output/LayerNorm/"),
    (r"/layer/0/ffn_1/intermediate/output/", "/layer/0/output/"),
    (r"/layer/0/ffn_1/intermediate/", "/layer/0/intermediate/"),
    (r"^embeddings_project/", "encoder/embedding_hidden_mapping_in/"),  # ELECTRA
    (r"^discriminator_predictions/dense_1/", "discriminator_predictions/dense_prediction/"),
    (r"/layer_(\d+)/", r"/layer/\1/"),
    (r"/LayerNorm/gamma$", "/LayerNorm/weight"),
    (r"/LayerNorm/beta$", "/LayerNorm/bias"),
    (r"/kernel$", "/weight"),
    (r"^(embeddings/\w+_embeddings)$", r"\1/weight"),
    (r"^cls/predictions/output_bias$", "cls/predictions/bias"),
    (r"^cls/seq_relationship/output_weights$", "cls/seq_relationship/weight"),
    (r"^cls/seq_relationship/output_bias$", "cls/seq_relationship/bias"),
)


def canonical_name(name: str) -> str:
    """The canonical name of a variable in a Google checkpoint."""
    for pattern, replacement in _REPLACED:
        name = re.sub(pattern, replacement, name)
    return name.replace("/", ".")


def read_google(prefix: str | Path, config: TransformerConfig) -> dict[str, np.ndarray]:
    """Canonical name -> array, kernels as (in, out). `prefix` is the path without `.index`; a file of another family
    than `config`'s is refused. Slots of an optimizer keep their names and are empty.

    This is the one place that needs TensorFlow whatever the Keras backend is.
    """
    require_packages("tensorflow")
    from tensorflow.train import load_checkpoint

    try:
        reader = load_checkpoint(str(prefix))
        found = list(reader.get_variable_to_shape_map())
        names = [name for name in found if not OPTIMIZER.search(name)]
        arrays = {canonical_name(name): reader.get_tensor(name) for name in names}
    except Exception as error:  # the reader raises a type of its own for each kind of damage
        raise ValueError(f"{prefix}: not a readable TensorFlow checkpoint ({str(error).splitlines()[0]}).") from None
    check_family(names, config, str(prefix))
    nsp = "cls.seq_relationship.weight"
    if nsp in arrays:  # Google stores this one matrix as (out, in)
        arrays[nsp] = arrays[nsp].T
    return arrays | {name: np.zeros(0, "float32") for name in found if name not in set(names)}  # counted, not read


def read_variables(prefix: str | Path, start: str = "", end: str = "") -> dict[str, np.ndarray]:
    """The variables of a TensorFlow checkpoint of any origin whose names begin and end so.

    Raises:
        ValueError: it cannot be read.
    """
    require_packages("tensorflow")
    from tensorflow.train import load_checkpoint

    try:
        reader = load_checkpoint(str(prefix))
        names = [n for n in reader.get_variable_to_shape_map() if n.startswith(start) and n.endswith(end)]
        return {name: reader.get_tensor(name) for name in names}
    except Exception as error:  # the reader raises a type of its own for each kind of damage
        raise ValueError(f"{prefix}: not a readable TensorFlow checkpoint ({str(error).splitlines()[0]}).") from None


# the other way: canonical names with slashes -> Google's
_BLOCK = "encoder/transformer/group_0/inner_group_0/"
_ALBERT_NAMES = (
    ("^encoder/layer/0/attention/output/LayerNorm/", _BLOCK + "LayerNorm/"),
    ("^encoder/layer/0/attention/", _BLOCK + "attention_1/"),
    ("^encoder/layer/0/output/LayerNorm/", _BLOCK + "LayerNorm_1/"),
    ("^encoder/layer/0/intermediate/", _BLOCK + "ffn_1/intermediate/"),
    ("^encoder/layer/0/output/", _BLOCK + "ffn_1/intermediate/output/"),
)
_ELECTRA_NAMES = (
    ("^encoder/embedding_hidden_mapping_in/", "embeddings_project/"),
    ("^discriminator_predictions/dense_prediction/", "discriminator_predictions/dense_1/"),
)
_BACK = (
    (r"/layer/(\d+)/", r"/layer_\1/"),
    (r"/LayerNorm(_1)?/weight$", r"/LayerNorm\1/gamma"),
    (r"/LayerNorm(_1)?/bias$", r"/LayerNorm\1/beta"),
    (r"^(embeddings/\w+_embeddings)/weight$", r"\1"),
    (r"^cls/predictions/bias$", "cls/predictions/output_bias"),
    (r"^cls/seq_relationship/weight$", "cls/seq_relationship/output_weights"),
    (r"^cls/seq_relationship/bias$", "cls/seq_relationship/output_bias"),
    (r"/weight$", "/kernel"),
)


def google_name(name: str, model_type: str) -> str:
    """The name that a canonical name has in Google's checkpoint of a bert, albert, electra, nezha or roformer."""
    name = name.replace(".", "/")
    family = {"albert": _ALBERT_NAMES, "electra": _ELECTRA_NAMES}.get(model_type, ())
    for pattern, replacement in (*family, *_BACK):
        name = re.sub(pattern, replacement, name)
    if name.startswith(("cls/", "discriminator_predictions/")):
        return name
    return f"electra/{name}" if model_type == "electra" else f"bert/{name}"


def write_google(prefix: str | Path, model: Transformer, model_type: str) -> None:
    """Writes the checkpoint that Google's code and bert4keras read. It takes TensorFlow, as reading one does.

    Raises:
        UserError: they have no such model.
    """
    require_packages("tensorflow")
    from tensorflow.raw_ops import SaveV2

    config = model.config
    unknown = {
        "another layout than BERT's": not config.has_bert_layout,
        "positions counted from the padding id": config.position == "counted",
        "padding other than id 0": config.pad_id != 0,
        "a layer_norm_eps other than 1e-12": config.layer_norm_epsilon != 1e-12,
        "talking heads": config.talking_heads,
        "norms that read a condition": config.layer_norm_cond_size is not None,
        "scores added from lower layers": config.residual_attention_scores is not None,
        "a masked-LM head in an ELECTRA": model_type == "electra" and bool(model.with_mlm),
    }
    if has := [what for what, there in unknown.items() if there]:
        raise UserError("Google's checkpoints know no model with {what}; convert it to nlptasks instead.", what=has[0])
    weights = {}
    for name, array in export_weights(model).items():
        theirs = google_name(name, model_type)
        weights[theirs] = np.ascontiguousarray(array.T) if theirs.endswith("/kernel") else array
    names = sorted(weights)
    SaveV2(
        prefix=str(prefix),
        tensor_names=names,
        shape_and_slices=[""] * len(names),
        tensors=[weights[name] for name in names],
    )
