"""The base of bert4keras' model classes: layers by name, inputs and outputs, loading.

A class describes a graph: `apply` calls the layer of a name, and makes it where there is none yet. The layers of a
model's own names are there from the start: they hold the parts of one built `Transformer`.
"""

import json
import logging
from collections.abc import Mapping, Sequence
from typing import Any

import keras
import numpy as np

from nlptasks.bert4keras.gelu import chosen_activation
from nlptasks.bert4keras.keras.layers import Add, Input, recalling
from nlptasks.bert4keras.keras.layers import layer_class as _keras_layer
from nlptasks.bert4keras.keras.models import Model
from nlptasks.bert4keras.keras.storing import weights_of
from nlptasks.bert4keras.models.compound import average, with_compound_tokens
from nlptasks.bert4keras.models.parts import Owner
from nlptasks.checkpoints.configs import config_from_json
from nlptasks.core import Transformer as Core
from nlptasks.core.layers import Dropout as CoreDropout
from nlptasks.errors import UserError
from nlptasks.loading import load_weights

logger = logging.getLogger(__name__)
Dropout: Any = recalling(CoreDropout)
Lambda: Any = _keras_layer("Lambda")
_MOST_LAYERS = 200
"""more than any checkpoint has"""
MODELS = ("albert", "albert_unshared", "nezha", "roformer", "roformer_v2", "gau_alpha", "gpt", "gpt2", "gpt2_ml")
"""families that our loader knows by name"""


class Transformer:
    """The base class of the models, with bert4keras' arguments.

    Raises:
        UserError: an argument asks for what is not there.
    """

    family = "bert"
    attention = "bidirectional"

    def __init__(
        self,
        vocab_size: int,
        hidden_size: int,
        num_hidden_layers: int,
        num_attention_heads: int,
        intermediate_size: int,
        hidden_act: str,
        dropout_rate: float | None = None,
        attention_dropout_rate: float | None = None,
        embedding_size: int | None = None,
        attention_head_size: int | None = None,
        attention_key_size: int | None = None,
        sequence_length: int | None = None,
        keep_tokens: Sequence[int] | None = None,
        compound_tokens: Sequence[Any] | None = None,
        residual_attention_scores: Any = False,
        ignore_invalid_weights: bool = False,
        autoresize_weights: bool = False,
        layers: dict[str, Any] | None = None,
        prefix: str | None = None,
        name: str | None = None,
        **kwargs: Any,
    ) -> None:
        if autoresize_weights:
            raise UserError(
                "{field:autoresize_weights} is not available: resize the arrays with orthogonally_resize and set them."
            )
        self.full_vocab_size = vocab_size
        vocab_size = len(keep_tokens) if keep_tokens is not None else vocab_size
        self.base_vocab_size = vocab_size
        self.vocab_size = vocab_size + len(compound_tokens or ())
        self.hidden_size, self.num_hidden_layers = hidden_size, num_hidden_layers
        self.num_attention_heads, self.intermediate_size = num_attention_heads, intermediate_size
        self.attention_head_size = attention_head_size or hidden_size // num_attention_heads
        self.attention_key_size = attention_key_size or self.attention_head_size
        self.dropout_rate, self.attention_dropout_rate = dropout_rate or 0, attention_dropout_rate or 0
        self.hidden_act, self.embedding_size = hidden_act, embedding_size or hidden_size
        self.sequence_length, self.keep_tokens, self.compound_tokens = sequence_length, keep_tokens, compound_tokens
        self.attention_bias = self.position_bias = self.attention_scores = None
        self.residual_attention_scores = residual_attention_scores
        self.ignore_invalid_weights, self.autoresize_weights = ignore_invalid_weights, autoresize_weights
        self.layers: dict[str, Any] = {} if layers is None else layers
        self.prefix, self.name, self.built = prefix or "", name, False
        self.settings = kwargs

    def build(
        self,
        attention_caches: Any = None,
        layer_norm_cond: Any = None,
        layer_norm_cond_hidden_size: int | None = None,
        layer_norm_cond_hidden_act: str | None = None,
        additional_input_layers: Any = None,
        **kwargs: Any,
    ) -> None:
        """Makes the graph: `model`, `inputs`, `outputs`."""
        if self.built:
            return
        if attention_caches:
            raise UserError(
                "{field:attention_caches} is not available: nlptasks.Generator(bert.core, end_id) decodes with a cache."
            )
        act = layer_norm_cond_hidden_act or "linear"
        self.layer_norm_conds = [layer_norm_cond, layer_norm_cond_hidden_size, act]
        size = None if layer_norm_cond is None else layer_norm_cond.shape[-1]
        self.core = self.make_core(size)
        self.core.build()
        for part_name, layer in self.parts(Owner(self.core)).items():
            self.layers.setdefault(part_name, layer)
        inputs = self.get_inputs()
        self.set_inputs(inputs, additional_input_layers)
        self.set_outputs(self.call(inputs))
        self.model = Model(self.inputs, self.outputs, name=self.name)
        self.model.core = _Untracked(self.core)
        self.built = True

    def make_core(self, condition_size: int | None) -> Any:
        """The Transformer whose parts the layers hold."""
        return Core(self.core_config(condition_size), **self.core_options())

    def core_config(self, condition_size: int | None) -> Any:
        """The config of the Transformer whose parts the layers hold."""
        hidden_size, act = self.layer_norm_conds[1:]
        values = {
            "vocab_size": self.vocab_size,
            "hidden_size": self.hidden_size,
            "num_hidden_layers": self.num_hidden_layers,
            "num_attention_heads": self.num_attention_heads,
            "intermediate_size": self.intermediate_size,
            "hidden_act": chosen_activation(self.hidden_act),
            "hidden_dropout_prob": self.dropout_rate,
            "attention_probs_dropout_prob": self.attention_dropout_rate,
            "embedding_size": self.embedding_size,
            "attention_head_size": self.attention_head_size,
            "attention_key_size": self.attention_key_size,
            "residual_attention_scores": "previous" if self.residual_attention_scores else None,
            "attention": self.attention,
            "layer_norm_cond_size": condition_size,
            "layer_norm_cond_hidden_size": hidden_size,
            "layer_norm_cond_hidden_act": act,
        }
        values = {name: value for name, value in values.items() if value is not None} | self.config_values()
        return config_from_json(values, "config", self.family if self.family in MODELS else "bert")

    def config_values(self) -> dict[str, Any]:
        """What a class adds to the config."""
        return {}

    def core_options(self) -> dict[str, Any]:
        """The heads of the Transformer."""
        return {}

    def parts(self, owner: Owner) -> dict[str, Any]:
        """The layers around its parts, by their prefixed names."""
        return {}

    def call(self, inputs: Any) -> Any:
        """The graph from inputs to outputs."""
        outputs = self.apply_embeddings(inputs)
        for i in range(self.num_hidden_layers):
            outputs = self.apply_main_layers(outputs, i)
        return self.apply_final_layers(outputs)

    def prefixed(self, name: str | None) -> str | None:
        """The name behind the prefix."""
        return None if name is None else self.prefix + name

    def apply(self, inputs: Any = None, layer: Any = None, arguments: Any = None, **kwargs: Any) -> Any:
        """Calls the layer of that name, which is made of `layer(**kwargs)` where there is none yet.

        Args:
            inputs: what it is called with; None: the layer itself is returned.
            layer: class of the layer.
            arguments: of the call.
        """
        if getattr(layer, "__name__", "") == "Dropout" and not self.dropout_rate:
            return inputs
        arguments = dict(arguments or {})
        if getattr(layer, "__name__", "") == "Lambda" and arguments:
            kwargs["arguments"], arguments = arguments, {}
        name = kwargs["name"] = self.prefixed(kwargs.get("name"))
        if name not in self.layers:
            made = layer(**kwargs)
            name = made.name
            self.layers[name] = made
        found = self.layers[name]
        if inputs is None:
            return found
        if getattr(found, "return_attention_scores", False) and self.residual_attention_scores:
            if self.attention_scores is not None:
                inputs = [*inputs[:3], *inputs[3:], self.attention_scores]
                if arguments.get("p_bias"):
                    inputs[-2], inputs[-1] = inputs[-1], inputs[-2]
                arguments["a_bias"] = True
            output, self.attention_scores = found(inputs, **arguments)
            return output
        return found(inputs, **arguments)

    def get_inputs(self) -> Any:
        """The inputs of the graph."""
        raise NotImplementedError

    def apply_embeddings(self, inputs: Any) -> Any:
        """From ids to vectors."""
        raise NotImplementedError

    def apply_main_layers(self, inputs: Any, index: int) -> Any:
        """The block of that number."""
        raise NotImplementedError

    def apply_final_layers(self, inputs: Any) -> Any:
        """The heads."""
        raise NotImplementedError

    def compute_attention_bias(self, inputs: Any = None) -> Any:
        """The attention mask of all layers; None: every position sees every other."""
        return self.attention_bias

    def compute_position_bias(self, inputs: Any = None) -> Any:
        """What attention reads of positions; None: nothing."""
        return self.position_bias

    def set_inputs(self, inputs: Any, additional_input_layers: Any = None) -> None:
        """Keeps `inputs` and `input`."""
        self.inputs = _listed(inputs) + _listed(additional_input_layers)
        self.input = self.inputs if len(self.inputs) > 1 else self.inputs[0]

    def set_outputs(self, outputs: Any) -> None:
        """Keeps `outputs` and `output`."""
        self.outputs = _listed(outputs)
        self.output = self.outputs if len(self.outputs) > 1 else self.outputs[0]

    @property
    def initializer(self) -> keras.initializers.Initializer:
        """Of fresh weights."""
        return keras.initializers.TruncatedNormal(stddev=0.02)

    def simplify(self, inputs: Sequence[Any]) -> Any:
        """The inputs without None; a single one alone."""
        found = [x for x in inputs if x is not None]
        return found[0] if len(found) == 1 else found

    def load_weights_from_checkpoint(self, checkpoint: Any, mapping: Any = None) -> None:
        """Loads a checkpoint of any format that `nlptasks.build_transformer_model` reads, strictly.

        bert.load_weights_from_checkpoint("bert_model.ckpt")
        """
        if mapping is not None or isinstance(checkpoint, Mapping):
            raise UserError("a mapping of your own is not available: set the weights of the layers by their names.")
        # the layers of the file that a smaller model does not have are passed over
        higher = range(len(self.core.blocks), 1 + _MOST_LAYERS)
        skip = ("",) if self.ignore_invalid_weights else tuple(f"encoder.layer.{i}." for i in higher)
        options: dict[str, Any] = {"skip": skip, "unshare": self.family == "albert_unshared"}
        if self.compound_tokens:
            with_compound_tokens(self.core, checkpoint, self.keep_tokens, self.compound_tokens, options)
        elif load_weights(self.core, checkpoint, keep_tokens=self.keep_tokens, **options):
            logger.warning("%s: has no masked-LM head: fresh weights", checkpoint)

    def load_embeddings(self, embeddings: Any) -> Any:
        """A table of token vectors, reduced to `keep_tokens` and extended by the compound tokens."""
        table = np.asarray(embeddings, "float32")
        table = table if self.keep_tokens is None else table[list(self.keep_tokens)]
        more = [average(table, item) for item in self.compound_tokens or ()]
        return np.concatenate([table, more]) if more else table

    def variable_mapping(self) -> dict[str, list[str]]:
        """The weights of each layer, by the paths of our variables; other files' names are the loader's business."""
        return {name: [w.path for w in weights_of(layer)] for name, layer in self.layers.items() if weights_of(layer)}

    def load_variable(self, checkpoint: Any, name: str) -> Any:
        """Not available: a checkpoint is loaded whole."""
        raise UserError("load_variable is not available: checkpoints are loaded whole, by names of their own.")

    def create_variable(self, name: str, value: Any, dtype: Any = None) -> Any:
        """Not available; see `save_weights_as_checkpoint`."""
        raise UserError("create_variable is not available: model.save_weights writes HDF5.")

    def save_weights_as_checkpoint(self, filename: Any, mapping: Any = None, dtype: Any = None) -> None:
        """Not available: `nlptasks` writes model directories, which every format can be made of."""
        raise UserError("save_weights_as_checkpoint is not available: model.save_weights writes HDF5.")


class _Untracked:
    """Holds the Transformer for users, without its being a child of the model a second time."""

    def __init__(self, transformer: Core) -> None:
        self.transformer = transformer


def _listed(x: Any) -> list[Any]:
    return [] if x is None else list(x) if isinstance(x, list | tuple) else [x]


def read_config(path: Any) -> dict[str, Any]:
    """A config file as a dict."""
    with open(path, encoding="utf-8") as file:
        return json.load(file)


__all__ = ["Add", "Dropout", "Input", "Lambda", "Transformer", "np", "read_config"]
