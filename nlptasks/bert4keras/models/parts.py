"""Layers with bert4keras' names around the parts of one built `Transformer`: they hold its weights and call it.

The ids come as floats, as Keras 2 fed them. Legend: B batch, T query position, S key position, D hidden.
"""

import uuid
from typing import Any

import keras
from keras import ops

from nlptasks.bert4keras.keras.layers import Layer, real_positions
from nlptasks.bert4keras.keras.owners import owner
from nlptasks.bert4keras.keras.storing import Turned
from nlptasks.bert4keras.naming import name_weights
from nlptasks.core import EncoderDecoder, Transformer
from nlptasks.core.masks import causal_mask, unilm_mask

PACKAGE = "nlptasks.bert4keras"


class Owner:
    """The model whose parts the layers are. An object of its own, so that no layer takes it for a child."""

    def __init__(self, transformer: Any, key: str | None = None) -> None:
        self.transformer, self.key = transformer, key or uuid.uuid4().hex

    def part(self, path: str) -> Any:
        """The part at an attribute path, `blocks.0.attention`."""
        found: Any = self.transformer
        for step in path.split("."):
            found = found[int(step)] if step.isdigit() else getattr(found, step)
        return found

    def get_config(self) -> dict[str, Any]:
        return {"key": self.key, "transformer": self.transformer.get_config()}

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> "Owner":
        def make() -> Owner:
            two_stacks = config["transformer"]["config"].get("decoder_layers") is not None
            transformer = (EncoderDecoder if two_stacks else Transformer).from_config(config["transformer"])
            transformer.build()
            return cls(transformer)

        return owner(config["key"], make)


class Part(Layer):
    """A layer that holds one part.

    Args:
        owner: of the part; a dict where a saved model is read.
        path: where it stands in the Transformer.
    """

    def __init__(self, owner: Any, path: str, **kwargs: Any) -> None:
        if isinstance(owner, dict):
            owner = Owner.from_config(owner)
        kwargs.setdefault("dtype", owner.transformer.dtype_policy)
        super().__init__(**kwargs)
        self.owner, self.place = owner, path
        self.supports_masking = True
        self.part = owner.part(path)
        if isinstance(self.part, keras.layers.Layer):
            self.part.supports_masking = True  # the mask goes on; Keras would warn of its loss
        self.built = True
        name_weights(self)

    def build(self, input_shape: Any = None) -> None:
        return None

    def call(self, inputs: Any) -> Any:
        return self.part(inputs)

    def ordered_weights(self) -> list[Any]:
        """The weights in bert4keras' order."""
        return list(self.weights)

    def compute_mask(self, inputs: Any, mask: Any = None) -> Any:
        return mask[0] if isinstance(mask, list | tuple) else mask

    def get_config(self) -> dict[str, Any]:
        return super().get_config() | {"owner": self.owner.get_config(), "path": self.place}


@keras.saving.register_keras_serializable(PACKAGE)
class DensePart(Part):
    """A dense layer; `then` names an activation behind it, in float32."""

    def __init__(self, owner: Any, path: str, then: str | None = None, **kwargs: Any) -> None:
        super().__init__(owner, path, **kwargs)
        self.then = then

    def call(self, inputs: Any) -> Any:
        x = self.part(inputs)
        return x if self.then is None else keras.activations.get(self.then)(ops.cast(x, "float32"))

    def get_config(self) -> dict[str, Any]:
        return super().get_config() | {"then": self.then}


@keras.saving.register_keras_serializable(PACKAGE)
class TablePart(Part):
    """An embedding of ids, or, with `mode="dense"`, the product of vectors with the same table."""

    def __init__(self, owner: Any, path: str, masks: bool = False, **kwargs: Any) -> None:
        super().__init__(owner, path, autocast=False, **kwargs)  # ids are floats that must not be rounded
        self.masks = masks

    @property
    def embeddings(self) -> Any:
        """The table."""
        return self.part.embeddings

    def call(self, inputs: Any, mode: str = "embedding") -> Any:
        if mode == "embedding":
            return self.part(ops.cast(inputs, "int32"))
        return ops.matmul(inputs, ops.transpose(ops.cast(self.embeddings, inputs.dtype)))

    def compute_mask(self, inputs: Any, mask: Any = None) -> Any:
        if len(inputs.shape) != 2:
            return mask
        return real_positions(inputs, self.owner.transformer.config.pad_id) if self.masks else None

    def get_config(self) -> dict[str, Any]:
        config = super().get_config() | {"masks": self.masks}
        return {name: value for name, value in config.items() if name != "autocast"}


@keras.saving.register_keras_serializable(PACKAGE)
class PositionPart(Part):
    """Adds the learned positions to `x`, or to `[x, position ids]` those of the ids."""

    @property
    def embeddings(self) -> Any:
        """The table."""
        return self.part.embeddings

    def call(self, inputs: Any) -> Any:
        x, ids = inputs if isinstance(inputs, list | tuple) else (inputs, None)
        ids = ops.arange(ops.shape(x)[1])[None] if ids is None else ops.cast(ids, "int32")
        return x + self.owner.transformer.embeddings._positions(self.part, ids)


@keras.saving.register_keras_serializable(PACKAGE)
class NormPart(Part):
    """A norm; of `[x, condition]` a conditional one."""

    def call(self, inputs: Any) -> Any:
        if not isinstance(inputs, list | tuple):
            return self.part(inputs)
        x, condition = inputs
        return self.part(x, self.part.affine(condition))

    def ordered_weights(self) -> list[Any]:
        """beta, gamma, then the matrices of the condition, as bert4keras makes them."""
        norm = self.part
        found = (norm.beta, norm.gamma, norm.condition_hidden, norm.condition_beta, norm.condition_gamma)
        return [weight for weight in found if weight is not None]


@keras.saving.register_keras_serializable(PACKAGE)
class AttentionPart(Part):
    """Self-attention of `[x, x, x]`, then a bias of the scores and positions where the call's arguments say so.

    Call arguments:
        a_bias: whether a bias follows: bool (B or 1, T, S), True where it may look, or scores (B, N, T, S) to add.
        p_bias: whether positions follow; any name.
    """

    def __init__(self, owner: Any, path: str, return_attention_scores: bool = False, **kwargs: Any) -> None:
        super().__init__(owner, path, **kwargs)
        self.return_attention_scores = return_attention_scores

    def call(self, inputs: Any, mask: Any = None, a_bias: Any = None, p_bias: Any = None) -> Any:
        x, _, _, *more = inputs
        visible_BTS, scores = ops.ones((1, 1, 1), "bool"), None
        if mask is not None and mask[2] is not None:
            visible_BTS = mask[2][:, None, :]
        for bias in more[: len(more) - bool(p_bias)] if a_bias else []:
            if keras.backend.standardize_dtype(bias.dtype) == "bool":
                visible_BTS = ops.logical_and(visible_BTS, bias)
            else:
                scores = bias if scores is None else scores + bias
        position = more[-1] if p_bias else None
        visible_BTS = ops.broadcast_to(visible_BTS, (*ops.shape(visible_BTS)[:2], ops.shape(x)[1]))
        found = self.part(x, visible_BTS, position, scores, with_state=self.return_attention_scores)
        return [found[0], found[2]] if self.return_attention_scores else found

    def compute_mask(self, inputs: Any, mask: Any = None) -> Any:
        own = mask[0] if mask is not None else None
        return [own, None] if self.return_attention_scores else own

    def get_config(self) -> dict[str, Any]:
        return super().get_config() | {"return_attention_scores": self.return_attention_scores}


@keras.saving.register_keras_serializable(PACKAGE)
class GatedAttentionPart(AttentionPart):
    """Gated attention of `[x]`, then a bias and positions as in `AttentionPart`."""

    def call(self, inputs: Any, mask: Any = None, a_bias: Any = None, p_bias: Any = None) -> Any:
        x, *more = inputs
        masks = None if mask is None else [mask[0]] * 3
        return super().call([x, x, x, *more], masks, a_bias, p_bias)

    def ordered_weights(self) -> list[Any]:
        """Of projection, queries, keys and output, as bert4keras makes them."""
        unit = self.part
        return [unit.inner.kernel, unit.query_scale, unit.key_scale, unit.output_dense.kernel]


@keras.saving.register_keras_serializable(PACKAGE)
class CrossPart(Part):
    """Attention of `[x, states, states]` from x to the states of an encoder; with `p_bias`, scores follow to add."""

    def call(self, inputs: Any, mask: Any = None, a_bias: Any = None, p_bias: Any = None) -> Any:
        x, states, _, *more = inputs
        visible_BS = ops.ones(ops.shape(states)[:2], "bool")
        if mask is not None and mask[2] is not None:
            visible_BS = mask[2]
        scores = more[-1] if p_bias else None
        return self.part.look(x, visible_BS[:, None], self.part.remember(states), scores_BNTS=scores)


@keras.saving.register_keras_serializable(PACKAGE)
class DistancePart(Part):
    """T5's scores of the distances from the positions of `x` to those of `y`, of `[x, y]`."""

    def call(self, inputs: Any) -> Any:
        return self.part(*(ops.arange(ops.shape(one)[1])[None] for one in inputs))

    def compute_mask(self, inputs: Any, mask: Any = None) -> None:
        return None


@keras.saving.register_keras_serializable(PACKAGE)
class OutputPart(Part):
    """T5's scores of the vocabulary, where they have a matrix of their own: a dense layer in bert4keras."""

    def call(self, inputs: Any) -> Any:
        return self.part(inputs, self.part.table)

    def ordered_weights(self) -> list[Any]:
        """The kernel of that dense layer."""
        return [Turned(self.part.table, "kernel")]


@keras.saving.register_keras_serializable(PACKAGE)
class FeedForwardPart(Part):
    """The feed-forward layer of a block."""

    def call(self, inputs: Any, training: bool | None = None) -> Any:
        return self.part(inputs, training=training)


@keras.saving.register_keras_serializable(PACKAGE)
class BiasPart(Part):
    """Adds the bias of the vocabulary; the logits are float32."""

    def call(self, inputs: Any) -> Any:
        return ops.cast(inputs, "float32") + ops.cast(self.part, "float32")


@keras.saving.register_keras_serializable(PACKAGE)
class PositionBias(Layer):
    """What attention computes with in place of learned positions: sinusoids (RoFormer) or vectors (NEZHA)."""

    def __init__(self, owner: Any, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.owner = Owner.from_config(owner) if isinstance(owner, dict) else owner
        self.supports_masking = True

    def call(self, inputs: Any) -> Any:
        """`x`, `[x, x]`, or `[x, position ids]`, whose second has two axes."""
        x, other = (*inputs, None)[:2] if isinstance(inputs, list | tuple) else (inputs, None)
        if other is not None and len(other.shape) == 2:
            ids = ops.cast(other, "int32")
        else:
            ids = ops.arange(ops.shape(x)[1])[None]
        return self.owner.transformer._attention_position(ids, ids)

    def compute_mask(self, inputs: Any, mask: Any = None) -> None:
        return None

    def get_config(self) -> dict[str, Any]:
        return super().get_config() | {"owner": self.owner.get_config()}


@keras.saving.register_keras_serializable(PACKAGE)
class MaskLayer(Layer):
    """The attention mask of a language model (of the tokens) or of UNILM (of the segment ids)."""

    def __init__(self, kind: str, **kwargs: Any) -> None:
        super().__init__(autocast=False, **kwargs)
        self.kind = kind

    def call(self, inputs: Any) -> Any:
        return unilm_mask(inputs) if self.kind == "unilm" else causal_mask(inputs)

    def compute_mask(self, inputs: Any, mask: Any = None) -> None:
        return None

    def get_config(self) -> dict[str, Any]:
        config = super().get_config() | {"kind": self.kind}
        return {name: value for name, value in config.items() if name != "autocast"}


@keras.saving.register_keras_serializable(PACKAGE)
class FirstPosition(Layer):
    """The hidden state of the first position, `(B, D)`."""

    def call(self, inputs: Any) -> Any:
        return inputs[:, 0]

    def compute_mask(self, inputs: Any, mask: Any = None) -> None:
        return None  # said, so that Keras does not warn of a lost mask
