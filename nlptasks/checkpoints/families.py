"""The families that share this core: what their configs fix, and what their weights are called elsewhere.

Canonical names are Hugging Face's for BERT, without the `bert.` prefix.
"""

import re
from collections.abc import Iterable, Sequence
from typing import NamedTuple

from nlptasks.core.config import TransformerConfig

_GPT: dict[str, object] = {"embedding_norm": False, "output": "tied"}
_T5: dict[str, object] = {
    "norm_place": "pre",
    "norm": "rms",
    "use_bias": False,
    "embedding_norm": False,
    "attention_scale": False,
    "position": "bucketed",
}
# `model` of `build_transformer_model`: the config fields it stands for
MODELS: dict[str, dict[str, object]] = {
    "bert": {},
    "roberta": {},  # Chinese RoBERTa has BERT's layout; what transformers calls so is read as xlm-roberta
    "xlm-roberta": {"position": "counted"},
    "albert": {"shared_layers": True},
    "albert_unshared": {"shared_layers": False},
    "electra": {},
    "nezha": {"position": "relative"},
    "roformer": {"position": "rotary"},
    "roformer_v2": {"position": "rotary", "norm": "unit", "use_bias": False, "output": "tied"},
    "gau_alpha": {"position": "rotary", "norm": "unit", "use_bias": False, "output": "tied", "gated_attention": True},
    "gpt": {"norm_place": "post"} | _GPT,  # NEZHA-GEN, CDial
    "openai-gpt": {"norm_place": "post"} | _GPT,  # the same, as transformers calls it
    "gpt2": {"norm_place": "pre"} | _GPT,
    "gpt2_ml": {"norm_place": "inner", "output": "tied"},
}
ENCODER_DECODERS: dict[str, dict[str, object]] = {
    "t5": _T5,  # what the file says: v1.0 or v1.1
    "t5.1.0": _T5 | {"gated_ffn": False, "output": "scaled"},
    "t5.1.1": _T5 | {"gated_ffn": True, "output": "untied"},
    "mt5": _T5 | {"gated_ffn": True, "output": "untied"},
    "mt5.1.1": _T5 | {"gated_ffn": True, "output": "untied"},
}
"""`model` of `build_encoder_decoder`: the config fields it stands for; the names with numbers are bert4keras'"""
_WRITER: dict[str, object] = {"attention": "causal", "segment_vocab_size": 0}
_T5_SIZES: dict[str, object] = {"segment_vocab_size": 0, "layer_norm_epsilon": 1e-6, "relative_distance": 128}
DEFAULTS: dict[str, dict[str, object]] = {
    "roformer_v2": {"layer_norm_epsilon": 1e-7},
    "gau_alpha": {"layer_norm_epsilon": 1e-7, "hidden_act": "swish"},
    "gpt": _WRITER,
    "openai-gpt": _WRITER | {"layer_norm_epsilon": 1e-5, "hidden_act": "gelu_new"},
    "gpt2": _WRITER | {"layer_norm_epsilon": 1e-5, "hidden_act": "gelu_new"},
    "gpt2_ml": _WRITER | {"layer_norm_epsilon": 1e-5},
    "t5": _T5_SIZES | {"hidden_act": "relu", "output": "scaled"},
    "t5.1.0": _T5_SIZES | {"hidden_act": "relu"},
    "t5.1.1": _T5_SIZES | {"hidden_act": "gelu_new"},
    "mt5": _T5_SIZES | {"hidden_act": "gelu_new"},
    "mt5.1.1": _T5_SIZES | {"hidden_act": "gelu_new"},
}
"""the fields of a model where its config file does not say them"""


class Family(NamedTuple):
    """How transformers lays out the directories of one family."""

    encoder: str  # class without a head
    masked_lm: str | None
    pretraining: str | None
    causal_lm: str | None
    renamed: Sequence[tuple[str, str]] = ()  # beginnings of names: canonical, theirs


_ALBERT_LAYER = "encoder.albert_layer_groups.0.albert_layers.0."
# what transformers can open, by `model_type`
FAMILIES = {
    "bert": Family("BertModel", "BertForMaskedLM", "BertForPreTraining", "BertLMHeadModel"),
    "albert": Family(
        "AlbertModel",
        "AlbertForMaskedLM",
        "AlbertForPreTraining",
        None,
        (
            ("encoder.layer.0.attention.self.", _ALBERT_LAYER + "attention."),
            ("encoder.layer.0.attention.output.dense.", _ALBERT_LAYER + "attention.dense."),
            ("encoder.layer.0.attention.output.LayerNorm.", _ALBERT_LAYER + "attention.LayerNorm."),
            ("encoder.layer.0.intermediate.dense.", _ALBERT_LAYER + "ffn."),
            ("encoder.layer.0.output.dense.", _ALBERT_LAYER + "ffn_output."),
            ("encoder.layer.0.output.LayerNorm.", _ALBERT_LAYER + "full_layer_layer_norm."),
            ("pooler.dense.", "pooler."),
            ("cls.predictions.transform.", "predictions."),
            ("cls.predictions.bias", "predictions.bias"),
            ("cls.predictions.decoder.", "predictions.decoder."),
            ("cls.seq_relationship.", "sop_classifier.classifier."),
        ),
    ),
    "electra": Family(
        "ElectraModel",
        "ElectraForMaskedLM",
        "ElectraForPreTraining",
        "ElectraForCausalLM",
        (
            ("encoder.embedding_hidden_mapping_in.", "embeddings_project."),
            ("cls.predictions.transform.", "generator_predictions."),
            ("cls.predictions.bias", "generator_lm_head.bias"),
            ("cls.predictions.decoder.", "generator_lm_head."),
        ),
    ),
    "roformer": Family(
        "RoFormerModel",
        "RoFormerForMaskedLM",
        None,
        "RoFormerForCausalLM",
        (("encoder.embedding_hidden_mapping_in.", "embeddings_project."),),
    ),
    "roberta": Family(
        "RobertaModel",
        "RobertaForMaskedLM",
        None,
        "RobertaForCausalLM",
        (
            ("cls.predictions.transform.dense.", "lm_head.dense."),
            ("cls.predictions.transform.LayerNorm.", "lm_head.layer_norm."),
            ("cls.predictions.bias", "lm_head.bias"),
            ("cls.predictions.decoder.", "lm_head.decoder."),
        ),
    ),
    # whose names and shapes are the business of gpt.py
    "gpt2": Family("GPT2Model", "GPT2LMHeadModel", None, "GPT2LMHeadModel"),
    "openai-gpt": Family("OpenAIGPTModel", "OpenAIGPTLMHeadModel", None, "OpenAIGPTLMHeadModel"),
}
ROBERTA_TYPES = ("roberta", "xlm-roberta")
"""`model_type` of transformers whose positions are counted from the padding id"""
# parts of names that one family alone has; ALBERT's own files say `bert`
_TELLTALE = {"albert_layer_groups": "albert", "inner_group_0": "albert", "encoder.embed_positions": "roformer"}
_HEADS = ("cls.", "discriminator_predictions.", "lm_head.")
_PREFIX = re.compile(r"^(bert|albert|electra|nezha|roformer|roberta)[./]")
_OF_PREFIX = {"roberta": "xlm-roberta"}


def canonical_name(name: str) -> str:
    """The canonical name of a tensor in a Hugging Face file of any family."""
    name = re.sub(r"LayerNorm\.gamma$", "LayerNorm.weight", _PREFIX.sub("", name))
    name = re.sub(r"LayerNorm\.beta$", "LayerNorm.bias", name)
    for family in ("electra", "albert", "roberta"):
        # from the longest: `predictions.bias` before `predictions.`
        for ours, theirs in sorted(FAMILIES[family].renamed, key=lambda pair: -len(pair[1])):
            if name.startswith(theirs) and not name.startswith(ours):
                return ours + name[len(theirs) :]
    return name


def family_name(name: str, model_type: str) -> str:
    """The name that transformers' `model_type` has for a canonical name."""
    theirs = name
    for ours, their in FAMILIES[model_type].renamed:
        if name.startswith(ours):
            theirs = their + name[len(ours) :]
    return theirs if name.startswith(_HEADS) else f"{model_type}.{theirs}"


def check_family(names: Iterable[str], config: TransformerConfig, source: str) -> None:
    """Refuses a checkpoint whose own names say that it belongs to a family that `config` does not compute.

    Raises:
        ValueError: names the family and the argument that loads it.
    """
    names = list(names)
    if config.position == "counted" and any(name.startswith("bert.") for name in names):
        raise ValueError(
            f'{source}: weights named as a BERT\'s, but the config says RoBERTa; pass model="bert", or write '
            '"model_type": "bert" into the config.'
        )
    found = {_OF_PREFIX.get(match[1], match[1]) for name in names if (match := _PREFIX.match(name))}
    found |= {"xlm-roberta"} if "lm_head.layer_norm.weight" in names else set()
    told = {model for part, model in _TELLTALE.items() if any(part in name for name in names)}
    for model in sorted(told or found):
        wrong = [field for field, value in MODELS[model].items() if getattr(config, field) != value]
        if wrong:
            has = ", ".join(f"{field}={getattr(config, field)!r}" for field in wrong)
            more = ' (or "albert_unshared")' if model == "albert" else ""
            raise ValueError(
                f'{source}: a checkpoint of the {model} family, but the config says {has}; pass model="{model}"{more}.'
            )


def transformers_family(
    config: TransformerConfig,
    with_pool: bool | str,
    with_nsp: bool,
    with_mlm: bool | str,
    with_discriminator: bool | str,
) -> str | None:
    """The `model_type` under which transformers computes the same function, or None."""
    if not config.has_bert_layout:
        heads = with_pool or with_nsp or with_discriminator
        return None if heads else gpt_family(config)
    plain = (
        config.key_size == config.value_size == config.hidden_size / config.num_heads
        and config.segment_vocab_size > 0
        and config.attention != "unilm"
        and config.hidden_act in ("gelu", "gelu_new", "relu", "silu", "swish", "tanh", "sigmoid")
        and config.hierarchical_position is None
        and config.residual_attention_scores is None
        and not config.talking_heads
        and config.layer_norm_cond_size is None
        and with_pool in (False, True, "tanh")
    )
    if config.position == "bucketed":
        return None
    mapped, causal = config.embedding_size != config.hidden_size, config.attention == "causal"
    if not plain or config.position == "relative" or (with_mlm and with_discriminator):
        return None
    if config.position == "counted":
        fits = not (config.shared_layers or with_nsp or with_discriminator or mapped)
        exact_gelu = config.hidden_act == "gelu" or not with_mlm  # its head knows no other activation
        return "roberta" if fits and exact_gelu and not (causal and with_pool) else None
    if config.position == "rotary":
        return None if config.shared_layers or with_pool or with_nsp or with_discriminator else "roformer"
    if config.shared_layers:
        return "albert" if mapped and not causal and not with_discriminator else None
    if with_discriminator or mapped:
        exact_gelu = config.hidden_act == "gelu" or not with_mlm  # its generator head knows no other activation
        return None if with_pool or with_nsp or not exact_gelu else "electra"
    return "bert"


def gpt_family(config: TransformerConfig) -> str | None:
    """The GPT of transformers that a config is, or None."""
    if config.cross_attention or config.gated_attention or config.decoder_layers is not None:
        return None
    plain = config.replace(norm_place="post", ffn_size=4 * config.hidden_size)
    same = TransformerConfig(
        vocab_size=config.vocab_size,
        hidden_size=config.hidden_size,
        num_layers=config.num_layers,
        num_heads=config.num_heads,
        ffn_size=4 * config.hidden_size,
        max_positions=config.max_positions,
        segment_vocab_size=0,
        pad_id=config.pad_id,
        attention="causal",
        embedding_norm=False,
        output="tied",
        hidden_act=config.hidden_act,
        dropout=config.dropout,
        attention_dropout=config.attention_dropout,
        layer_norm_epsilon=config.layer_norm_epsilon,
        initializer_range=config.initializer_range,
        relative_distance=config.relative_distance,
        relative_buckets=config.relative_buckets,
    )
    if plain != same:
        return None
    if config.norm_place == "pre":
        return "gpt2" if config.hidden_act in ("gelu", "gelu_new", "relu", "silu", "swish", "tanh") else None
    first = config.norm_place == "post" and config.hidden_act in ("gelu_new", "relu", "silu", "swish")
    return "openai-gpt" if first and config.ffn_size == 4 * config.hidden_size else None
