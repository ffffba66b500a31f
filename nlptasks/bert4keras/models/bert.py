"""BERT and its kin as graphs with bert4keras' layer names."""

from collections.abc import Callable
from typing import Any

from nlptasks.bert4keras.keras.layers import layer_class as _keras_layer
from nlptasks.bert4keras.models.base import Add, Dropout, Input, Transformer
from nlptasks.bert4keras.models.parts import (
    AttentionPart,
    BiasPart,
    DensePart,
    FeedForwardPart,
    FirstPosition,
    MaskLayer,
    NormPart,
    Owner,
    PositionBias,
    PositionPart,
    TablePart,
)

Activation: Any = _keras_layer("Activation")


class BERT(Transformer):
    """BERT with bert4keras' arguments: heads by `with_pool`, `with_nsp`, `with_mlm`."""

    def __init__(
        self,
        max_position: int,
        segment_vocab_size: int = 2,
        with_pool: Any = False,
        with_nsp: bool = False,
        with_mlm: Any = False,
        hierarchical_position: Any = None,
        custom_position_ids: bool = False,
        shared_segment_embeddings: bool = False,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.max_position, self.segment_vocab_size = max_position, segment_vocab_size
        self.with_pool, self.with_nsp = with_pool or with_nsp, with_nsp
        self.with_mlm, self.hierarchical_position = with_mlm, hierarchical_position
        self.custom_position_ids = custom_position_ids
        self.shared_segment_embeddings = shared_segment_embeddings

    def config_values(self) -> dict[str, Any]:
        """What BERT adds to the config."""
        segments = 0 if self.shared_segment_embeddings else self.segment_vocab_size
        if self.attention == "unilm":
            segments = max(segments, 1)
        values = {"max_position_embeddings": self.max_position, "type_vocab_size": segments}
        if self.hierarchical_position:
            values["hierarchical_position"] = self.hierarchical_position
        return values

    def core_options(self) -> dict[str, Any]:
        """The heads of the Transformer."""
        return {
            "with_pool": self.with_pool,
            "with_nsp": self.with_nsp,
            "with_mlm": "linear" if self.with_mlm else False,
        }

    def block_name(self, index: int) -> str:
        """How the layers of a block begin."""
        return f"Transformer-{index}-"

    def norm_names(self, start: str) -> tuple[str, str]:
        """The names of a block's norms."""
        return start + "MultiHeadSelfAttention-Norm", start + "FeedForward-Norm"

    def parts(self, owner: Owner) -> dict[str, Any]:
        """The layers around the parts of the Transformer."""
        core, found = owner.transformer, {}

        def add(name: str, kind: Any, path: str, **options: Any) -> None:
            full = self.prefix + name
            found[full] = kind(owner, path, name=full, **options)

        add("Embedding-Token", TablePart, "embeddings.token", masks=True)
        if core.embeddings.segment is not None and not self.shared_segment_embeddings and self.segment_vocab_size:
            add("Embedding-Segment", TablePart, "embeddings.segment")
        if core.embeddings.position is not None:
            add("Embedding-Position", PositionPart, "embeddings.position")
        if core.embeddings.norm is not None:
            add("Embedding-Norm", NormPart, "embeddings.norm")
        if core.embeddings.mapping is not None:
            add("Embedding-Mapping", DensePart, "embeddings.mapping")
        for i in range(len(core.blocks)):
            self.block_parts(add, self.block_name(i), f"blocks.{i}.")
        if core.final_norm is not None:
            add("Output-Norm", NormPart, "final_norm")
        if core.pooler is not None:
            add("Pooler-Dense", DensePart, "pooler")
        if core.nsp is not None:
            add("NSP-Proba", DensePart, "nsp", then="softmax")
        if core.mlm is not None and core.config.output == "masked_lm":
            add("MLM-Dense", DensePart, "mlm.dense")
            add("MLM-Norm", NormPart, "mlm.norm")
            add("MLM-Bias", BiasPart, "mlm.bias")
        if core.config.position in ("relative", "rotary"):
            kind = "Relative" if core.config.position == "relative" else "Rotary"
            name = f"{self.prefix}Embedding-{kind}-Position"
            found[name] = PositionBias(owner, name=name)
        return found

    def block_parts(self, add: Callable[..., None], start: str, path: str) -> None:
        """Adds the layers of a block: `add(name, kind, path)`."""
        scores, norms = bool(self.residual_attention_scores), self.norm_names(start)
        add(f"{start}MultiHeadSelfAttention", AttentionPart, path + "attention", return_attention_scores=scores)
        add(norms[0], NormPart, path + "attention_norm")
        add(f"{start}FeedForward", FeedForwardPart, path + "ffn")
        add(norms[1], NormPart, path + "ffn_norm")

    def get_inputs(self) -> list[Any]:
        """Token ids, segment ids where there are segments, position ids where they are the caller's."""
        names = ["Input-Token"]
        names += ["Input-Segment"] if self.segment_vocab_size > 0 else []
        names += ["Input-Position"] if self.custom_position_ids else []
        return [self.apply(layer=Input, shape=(self.sequence_length,), name=name) for name in names]

    def _split(self, inputs: Any) -> tuple[Any, Any, Any]:
        x, *more = inputs
        segments = more.pop(0) if self.segment_vocab_size > 0 else None
        self._position_ids = more.pop(0) if self.custom_position_ids else None
        return x, segments, self._position_ids

    def _summed(self, inputs: Any) -> Any:
        """The sum of the embeddings."""
        x, segments, position_ids = self._split(list(inputs))
        x = self.apply(inputs=x, name="Embedding-Token")
        if segments is not None:
            name = "Embedding-Token" if self.shared_segment_embeddings else "Embedding-Segment"
            segments = self.apply(inputs=segments, name=name)
            x = self.apply(inputs=[x, segments], layer=Add, name="Embedding-Token-Segment")
        if self.prefixed("Embedding-Position") in self.layers:
            x = self.apply(inputs=self.simplify([x, position_ids]), name="Embedding-Position")
        return x

    def apply_embeddings(self, inputs: Any) -> Any:
        """The sum of the embeddings, normalized."""
        x = self._normed(self._summed(inputs), "Embedding-Norm")
        x = self.apply(inputs=x, layer=Dropout, rate=self.dropout_rate, name="Embedding-Dropout")
        if self.embedding_size != self.hidden_size:
            x = self.apply(inputs=x, name="Embedding-Mapping")
        return x

    def _normed(self, x: Any, name: str) -> Any:
        return self.apply(inputs=self.simplify([x, self.layer_norm_conds[0]]), name=name)

    def apply_main_layers(self, inputs: Any, index: int) -> Any:
        """Attention and feed-forward, each with dropout, sum and norm."""
        start = self.block_name(index)
        name = start + "MultiHeadSelfAttention"
        x = self._normed(self._plus(inputs, self._attended(inputs, index), name), name + "-Norm")
        name = start + "FeedForward"
        return self._normed(self._plus(x, self.apply(inputs=x, name=name), name), name + "-Norm")

    def _attended(self, x: Any, index: int) -> Any:
        return self._looked([x, x, x], index, self.block_name(index) + "MultiHeadSelfAttention")

    def _looked(self, heads: list[Any], index: int, name: str) -> Any:
        """What an attention makes of its inputs, and of the bias and positions where there are any."""
        bias, position = self.compute_attention_bias(index), self.compute_position_bias(heads[0])
        inputs = [*heads, *(more for more in (bias, position) if more is not None)]
        arguments = {"a_bias": None if bias is None else True, "p_bias": None if position is None else "position"}
        return self.apply(inputs=inputs, arguments=arguments, name=name)

    def _plus(self, before: Any, after: Any, name: str) -> Any:
        x = self.apply(inputs=after, layer=Dropout, rate=self.dropout_rate, name=name + "-Dropout")
        return self.apply(inputs=[before, x], layer=Add, name=name + "-Add")

    def compute_position_bias(self, inputs: Any = None) -> Any:
        """The positions of RoFormer and NEZHA."""
        if self.position_bias is None:
            for kind in ("Relative", "Rotary"):
                name = f"Embedding-{kind}-Position"
                if self.prefixed(name) in self.layers:
                    ids = getattr(self, "_position_ids", None)
                    self.position_bias = self.apply(inputs=self.simplify([inputs, ids]), name=name)
        return self.position_bias

    def apply_final_layers(self, inputs: Any) -> Any:
        """The heads' outputs; the hidden states if there is no head."""
        outputs = []
        if self.with_pool:
            x = self.apply(inputs=inputs, layer=FirstPosition, name="Pooler")
            x = self.apply(inputs=x, name="Pooler-Dense")
            outputs.append(self.apply(inputs=x, name="NSP-Proba") if self.with_nsp else x)
        if self.with_mlm:
            x = self._normed(self.apply(inputs=inputs, name="MLM-Dense"), "MLM-Norm")
            x = self.apply(inputs=x, arguments={"mode": "dense"}, name="Embedding-Token")
            x = self.apply(inputs=x, name="MLM-Bias")
            act = "softmax" if self.with_mlm is True else self.with_mlm
            outputs.append(self.apply(inputs=x, layer=Activation, activation=act, name="MLM-Activation"))
        return inputs if not outputs else outputs[0] if len(outputs) == 1 else outputs


class ALBERT(BERT):
    """One block that runs many times (arXiv 1909.11942)."""

    family = "albert"

    def block_name(self, index: int) -> str:
        """The same for every block."""
        return "Transformer-"


class ALBERT_Unshared(BERT):
    """ALBERT with blocks of their own, which start as copies."""

    family = "albert_unshared"


class NEZHA(BERT):
    """Relative positions as fixed vectors (arXiv 1909.00204)."""

    family = "nezha"


class RoFormer(NEZHA):
    """Rotary positions (arXiv 2104.09864)."""

    family = "roformer"


class ELECTRA(BERT):
    """ELECTRA (arXiv 2003.10555); `with_discriminator` adds its head."""

    family = "electra"

    def __init__(self, max_position: int, **kwargs: Any) -> None:
        self.with_discriminator = kwargs.pop("with_discriminator", False)
        super().__init__(max_position, **kwargs)

    def core_options(self) -> dict[str, Any]:
        """The heads of the Transformer."""
        return super().core_options() | {"with_discriminator": "linear" if self.with_discriminator else False}

    def parts(self, owner: Owner) -> dict[str, Any]:
        """Those of BERT and the discriminator's."""
        found = super().parts(owner)
        if owner.transformer.discriminator is not None:
            names = ("Discriminator-Dense", "Discriminator-Prediction")
            for name, path in zip(names, ("dense", "prediction"), strict=True):
                then = "sigmoid" if path == "prediction" and self.with_discriminator is True else None
                full = self.prefix + name
                found[full] = DensePart(owner, f"discriminator.{path}", then=then, name=full)
        return found

    def apply_final_layers(self, inputs: Any) -> Any:
        """The discriminator's output, or those of BERT."""
        if not self.with_discriminator:
            return super().apply_final_layers(inputs)
        x = self.apply(inputs=inputs, name="Discriminator-Dense")
        return self.apply(inputs=x, name="Discriminator-Prediction")


class LM_Mask:
    """The mask of a language model: a position sees itself and what came before it."""

    attention = "causal"

    def compute_attention_bias(self: Any, inputs: Any = None) -> Any:
        """The mask, made once."""
        if self.attention_bias is None:
            self.attention_bias = self.apply(
                inputs=self.inputs[0], layer=MaskLayer, kind="causal", name="Attention-LM-Mask"
            )
        return self.attention_bias


class UniLM_Mask:
    """UniLM's mask (arXiv 1905.03197): segment 1 is written, segment 0 is read."""

    attention = "unilm"

    def compute_attention_bias(self: Any, inputs: Any = None) -> Any:
        """The mask, made once."""
        if self.attention_bias is None:
            self.attention_bias = self.apply(
                inputs=self.inputs[1], layer=MaskLayer, kind="unilm", name="Attention-UniLM-Mask"
            )
        return self.attention_bias
