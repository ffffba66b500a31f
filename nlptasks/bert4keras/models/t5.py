"""T5 and mT5 as graphs with bert4keras' layer names, around the parts of one `EncoderDecoder`."""

from typing import Any

from nlptasks.bert4keras.gelu import chosen_activation
from nlptasks.bert4keras.keras.models import Model
from nlptasks.bert4keras.layers import ScaleOffset
from nlptasks.bert4keras.models.base import Add, Dropout, Input, Transformer
from nlptasks.bert4keras.models.bert import Activation, LM_Mask
from nlptasks.bert4keras.models.parts import (
    AttentionPart,
    CrossPart,
    DistancePart,
    FeedForwardPart,
    MaskLayer,
    NormPart,
    OutputPart,
    Owner,
    TablePart,
)
from nlptasks.checkpoints.configs import config_from_json
from nlptasks.core import EncoderDecoder
from nlptasks.errors import UserError
from nlptasks.loading import load_encoder_decoder


class T5_Base(Transformer):
    """What T5's encoder and decoder share."""

    family = "t5"
    stack = ""
    """how the layers of its stack begin"""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        self.version = kwargs.pop("version", "t5.1.0")
        self.core: Any = None
        super().__init__(*args, **kwargs)
        if self.compound_tokens:
            raise UserError("{field:compound_tokens} is not available for T5.")

    def make_core(self, condition_size: int | None) -> Any:
        """The encoder-decoder whose parts the layers hold; that of the whole model, where there is one."""
        if condition_size is not None:
            raise UserError("{field:layer_norm_cond} is not available for T5.")
        return EncoderDecoder(self.core_config(None)) if self.core is None else self.core

    def core_config(self, condition_size: int | None) -> Any:
        """The config of the encoder-decoder."""
        acts = self.hidden_act if isinstance(self.hidden_act, list) else [self.hidden_act]
        values = {
            "vocab_size": self.vocab_size,
            "hidden_size": self.hidden_size,
            "num_layers": self.num_hidden_layers,
            "num_heads": self.num_attention_heads,
            "ffn_size": self.intermediate_size,
            "hidden_act": chosen_activation(acts[0]),
            "gated_ffn": len(acts) > 1,
            "dropout": self.dropout_rate,
            "attention_dropout": self.attention_dropout_rate,
            "value_size": self.attention_head_size,
            "key_size": self.attention_key_size,
            "decoder_layers": self.num_hidden_layers,
        }
        return config_from_json({}, "config", self.version, **values)

    def parts(self, owner: Owner) -> dict[str, Any]:
        """The layers around the parts of both stacks."""
        core, found = owner.transformer, {}

        def add(name: str, kind: Any, path: str, **options: Any) -> None:
            full = self.prefix + name
            found[full] = kind(owner, path, name=full, **options)

        add("Embedding-Token", TablePart, "encoder.embeddings.token", masks=True)
        for stack, model in (("encoder", core.encoder), ("decoder", core.decoder)):
            start = stack.capitalize()
            add(f"{start}-Embedding-Relative-Position", DistancePart, f"{stack}.distances")
            for i, block in enumerate(model.blocks):
                layer, path = f"{start}-Transformer-{i}-", f"{stack}.blocks.{i}."
                add(layer + "MultiHeadSelfAttention", AttentionPart, path + "attention")
                add(layer + "MultiHeadSelfAttention-Norm", NormPart, path + "attention_norm")
                if block.cross is not None:
                    add(layer + "MultiHeadCrossAttention", CrossPart, path + "cross")
                    add(layer + "MultiHeadCrossAttention-Norm", NormPart, path + "cross_norm")
                add(layer + "FeedForward", FeedForwardPart, path + "ffn")
                add(layer + "FeedForward-Norm", NormPart, path + "ffn_norm")
            add(f"{start}-Output-Norm", NormPart, f"{stack}.final_norm")
        if core.config.output == "untied":
            add("Decoder-Output-LM", OutputPart, "decoder.mlm")
        return found

    def load_weights_from_checkpoint(self, checkpoint: Any, mapping: Any = None) -> None:
        """Loads a checkpoint of any format that `nlptasks.build_encoder_decoder` reads, strictly."""
        if mapping is not None:
            raise UserError("a mapping of your own is not available: set the weights of the layers by their names.")
        skip = ("",) if self.ignore_invalid_weights else ()
        load_encoder_decoder(self.core, checkpoint, keep_tokens=self.keep_tokens, skip=skip)

    def _embedded(self, x: Any) -> Any:
        x = self.apply(inputs=x, name="Embedding-Token")
        return self.apply(inputs=x, layer=Dropout, rate=self.dropout_rate, name=f"{self.stack}-Embedding-Dropout")

    def _part(self, x: Any, name: str, others: Any = None, **arguments: Any) -> Any:
        """The sum with what a part makes of the normalized `x` and of `others`."""
        inner = self.apply(inputs=x, name=name + "-Norm")
        inputs = inner if others is None else others(inner)
        inner = self.apply(inputs=inputs, arguments=arguments, name=name)
        inner = self.apply(inputs=inner, layer=Dropout, rate=self.dropout_rate, name=name + "-Dropout")
        return self.apply(inputs=[x, inner], layer=Add, name=name + "-Add")

    def _finished(self, x: Any) -> Any:
        x = self.apply(inputs=x, name=f"{self.stack}-Output-Norm")
        return self.apply(inputs=x, layer=Dropout, rate=self.dropout_rate, name=f"{self.stack}-Output-Dropout")


class T5_Encoder(T5_Base):
    """T5's encoder."""

    stack = "Encoder"

    def get_inputs(self) -> Any:
        """Token ids."""
        return self.apply(layer=Input, shape=(self.sequence_length,), name="Encoder-Input-Token")

    def apply_embeddings(self, inputs: Any) -> Any:
        """Those of the tokens."""
        return self._embedded(inputs)

    def apply_main_layers(self, inputs: Any, index: int) -> Any:
        """Norm, attention, sum; norm, feed-forward, sum."""
        start, position = f"Encoder-Transformer-{index}-", self.compute_position_bias(inputs)
        name = start + "MultiHeadSelfAttention"
        x = self._part(inputs, name, lambda x: [x, x, x, position], p_bias="t5_relative")
        return self._part(x, start + "FeedForward")

    def apply_final_layers(self, inputs: Any) -> Any:
        """The last norm."""
        return self._finished(inputs)

    def compute_position_bias(self, inputs: Any = None) -> Any:
        """Scores of distances, made once."""
        if self.position_bias is None:
            self.position_bias = self.apply(inputs=[inputs, inputs], name="Encoder-Embedding-Relative-Position")
        return self.position_bias


class T5_Decoder(LM_Mask, T5_Base):
    """T5's decoder: states of the encoder and token ids to probabilities."""

    stack = "Decoder"

    def __init__(self, with_lm: Any = True, cross_position_bias: bool = True, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.with_lm, self.cross_position_bias = with_lm, cross_position_bias

    def get_inputs(self) -> Any:
        """States of the encoder, token ids."""
        states = self.apply(layer=Input, shape=(self.sequence_length, self.hidden_size), name="Input-Context")
        return [states, self.apply(layer=Input, shape=(self.sequence_length,), name="Decoder-Input-Token")]

    def apply_embeddings(self, inputs: Any) -> Any:
        """Those of the tokens."""
        return [inputs[0], self._embedded(inputs[1])]

    def apply_main_layers(self, inputs: Any, index: int) -> Any:
        """Norm, attention, sum; norm, attention to the encoder, sum; norm, feed-forward, sum."""
        states, x = inputs
        start, mask = f"Decoder-Transformer-{index}-", self.compute_attention_bias(index)
        own, across = self.compute_position_bias([x, states])
        name, kind = start + "MultiHeadSelfAttention", "t5_relative"
        x = self._part(x, name, lambda x: [x, x, x, mask, own], a_bias=True, p_bias=kind)
        more = [across] if self.cross_position_bias else []
        name, told = start + "MultiHeadCrossAttention", kind if more else None
        x = self._part(x, name, lambda x: [x, states, states, *more], p_bias=told)
        return [states, self._part(x, start + "FeedForward")]

    def apply_final_layers(self, inputs: Any) -> Any:
        """The last norm, bert4keras' scale, and the scores of the vocabulary."""
        x, size = self._finished(inputs[1]), self.hidden_size**-0.5
        x = self.apply(inputs=x, layer=ScaleOffset, scale=size, offset=False, name="Decoder-Output-Scale")
        if not self.with_lm:
            return x
        act = "softmax" if self.with_lm is True else self.with_lm
        if self.version == "t5.1.0":
            x = self.apply(inputs=x, arguments={"mode": "dense"}, name="Embedding-Token")
        else:
            x = self.apply(inputs=x, name="Decoder-Output-LM")
        return self.apply(inputs=x, layer=Activation, activation=act, name="Decoder-Output-LM-Activation")

    def compute_attention_bias(self, inputs: Any = None) -> Any:
        """The mask, made once."""
        if self.attention_bias is None:
            self.attention_bias = self.apply(
                inputs=self.inputs[1], layer=MaskLayer, kind="causal", name="Attention-LM-Mask"
            )
        return self.attention_bias

    def compute_position_bias(self, inputs: Any = None) -> Any:
        """Scores of distances to the target and to the source, made once."""
        if self.position_bias is None:
            x, states = inputs
            name = "Decoder-Embedding-Relative-Position"
            found: Any = tuple(self.apply(inputs=[x, other], name=name) for other in (x, states))
            self.position_bias = found
        return self.position_bias


class T5(T5_Base):
    """T5 and mT5: `encoder`, `decoder`, and both as one `model`."""

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        kwargs = kwargs | {"layers": self.layers}
        name = kwargs.pop("name", None)
        names = [stack if name is None else f"{name}_{stack}" for stack in ("Encoder", "Decoder")]
        self._encoder, self._decoder = T5_Encoder(name=names[0], **kwargs), T5_Decoder(name=names[1], **kwargs)

    def build(self, **kwargs: Any) -> None:  # type: ignore[override] # as in bert4keras
        """Makes the graphs of both stacks, and that of the whole."""
        if self.built:
            return
        self.core = EncoderDecoder(self.core_config(None))
        self.core.build()
        self._encoder.core = self._decoder.core = self.core
        self._encoder.build(**kwargs)
        self._decoder.build(**kwargs)
        self._decoder.position_bias = None  # that of the whole model's states
        self.encoder, self.decoder = self._encoder.model, self._decoder.model
        self.set_inputs(self.encoder.inputs + self.decoder.inputs[1:])
        self.set_outputs(self._decoder.call(self.encoder.outputs + self.decoder.inputs[1:]))
        self.model = Model(self.inputs, self.outputs, name=self.name)
        self.built = True
