"""Google's TensorFlow checkpoints (`bert_model.ckpt.index` and its data files)."""

import re
from pathlib import Path

import numpy as np

from nlptasks.backend.packages import require_packages
from nlptasks.checkpoints.families import check_family
from nlptasks.checkpoints.weights import OPTIMIZER
from nlptasks.core.config import TransformerConfig

_REPLACED = (
    (r"^(bert|electra)/", ""),
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
