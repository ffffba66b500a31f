"""GPT, GPT-2 (CPM), GPT2-ML, RoFormerV2 and GAU-alpha as graphs with bert4keras' layer names."""

from collections.abc import Callable
from typing import Any

import keras

from nlptasks.bert4keras.models.base import Dropout
from nlptasks.bert4keras.models.bert import BERT, Activation, LM_Mask, RoFormer
from nlptasks.bert4keras.models.parts import GatedAttentionPart, NormPart


class RoFormerV2(RoFormer):
    """RoFormer without biases, and with norms that only scale to unit length."""

    family = "roformer_v2"

    def initializer(self, shape: Any, dtype: Any = None, order: int = 2, gain: float = 1.0) -> Any:
        """A fresh weight of that shape; the more layers, the smaller."""
        size = shape[1] if shape[0] > 10000 or shape[0] < 10 else shape[0]
        gain *= self.num_hidden_layers ** (-1.0 / order)
        return keras.initializers.TruncatedNormal(stddev=1.13684723 / size**0.5 * gain)(shape, dtype)

    def apply_embeddings(self, inputs: Any) -> Any:
        """The sum of the embeddings, with dropout before the norm."""
        x = self._summed(inputs)
        x = self.apply(inputs=x, layer=Dropout, rate=self.dropout_rate, name="Embedding-Dropout")
        x = self._normed(x, "Embedding-Norm")
        return x if self.embedding_size == self.hidden_size else self.apply(inputs=x, name="Embedding-Mapping")

    def apply_final_layers(self, inputs: Any) -> Any:
        """The product with the token embedding; the hidden states if there is no head."""
        if not self.with_mlm:
            return inputs
        x = self.apply(inputs=inputs, layer=Dropout, rate=self.dropout_rate, name="Output-MLM-Dropout")
        x = self.apply(inputs=x, arguments={"mode": "dense"}, name="Embedding-Token")
        act = "softmax" if self.with_mlm is True else self.with_mlm
        return self.apply(inputs=x, layer=Activation, activation=act, name="Output-MLM-Activation")


class GAU_alpha(RoFormerV2):
    """RoFormerV2 whose blocks are one gated attention; its authors' subclass, for bert4keras itself has none."""

    family = "gau_alpha"

    def initializer(self, shape: Any, dtype: Any = None, order: int = 3, gain: float = 1.0) -> Any:
        """A fresh weight of that shape; the more layers, the smaller."""
        return super().initializer(shape, dtype, order, gain)

    def block_parts(self, add: Callable[..., None], start: str, path: str) -> None:
        """The layers of a block."""
        add(start + "GatedAttentionUnit", GatedAttentionPart, path + "attention")
        add(start + "GatedAttentionUnit-Norm", NormPart, path + "attention_norm")

    def apply_main_layers(self, inputs: Any, index: int) -> Any:
        """Gated attention, sum, norm."""
        name = self.block_name(index) + "GatedAttentionUnit"
        return self._normed(self._plus(inputs, self._looked([inputs], index, name), name), name + "-Norm")


class GPT(LM_Mask, BERT):
    """OpenAI's first GPT, NEZHA-GEN, CDial: no norm of the embeddings, and the token embedding as head."""

    family = "gpt"

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        self.final_activation = kwargs.pop("final_activation", "softmax")
        for name in ("with_pool", "with_mlm"):
            kwargs.pop(name, None)
        super().__init__(*args, **kwargs)

    def core_options(self) -> dict[str, Any]:
        """The head of the Transformer."""
        return {"with_mlm": "linear"}

    def apply_embeddings(self, inputs: Any) -> Any:
        """The sum of the embeddings."""
        x = self._summed(inputs)
        x = self.apply(inputs=x, layer=Dropout, rate=self.dropout_rate, name="Embedding-Dropout")
        return x if self.embedding_size == self.hidden_size else self.apply(inputs=x, name="Embedding-Mapping")

    def apply_final_layers(self, inputs: Any) -> Any:
        """The product with the token embedding."""
        x = self.apply(inputs=inputs, arguments={"mode": "dense"}, name="Embedding-Token")
        return self.apply(inputs=x, layer=Activation, activation=self.final_activation, name="LM-Activation")


class _OfTokens(GPT):
    """One that reads token ids alone."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs | {"segment_vocab_size": 0})


class GPT2(_OfTokens):
    """GPT-2, CPM-LM: norms before attention and feed-forward layer, and one at the end."""

    family = "gpt2"

    def apply_embeddings(self, inputs: Any) -> Any:
        """The sum of the embeddings."""
        x = self._summed(inputs)
        return x if self.embedding_size == self.hidden_size else self.apply(inputs=x, name="Embedding-Mapping")

    def apply_main_layers(self, inputs: Any, index: int) -> Any:
        """Norm, attention, sum; norm, feed-forward, sum."""
        start = self.block_name(index)
        name = start + "MultiHeadSelfAttention"
        x = self._plus(inputs, self._attended(self._normed(inputs, name + "-Norm"), index), name)
        name = start + "FeedForward"
        return self._plus(x, self.apply(inputs=self._normed(x, name + "-Norm"), name=name), name)

    def apply_final_layers(self, inputs: Any) -> Any:
        """The last norm, and the product with the token embedding."""
        x = self._normed(inputs, "Output-Norm")
        x = self.apply(inputs=x, layer=Dropout, rate=self.dropout_rate, name="Output-Dropout")
        return super().apply_final_layers(x)


class GPT2_ML(_OfTokens):
    """GPT2-ML: both norms around the feed-forward layer, one of them outside of its sum."""

    family = "gpt2_ml"

    def norm_names(self, start: str) -> tuple[str, str]:
        """Those before and behind the feed-forward layer."""
        return start + "FeedForward-Norm-0", start + "FeedForward-Norm-1"

    def apply_embeddings(self, inputs: Any) -> Any:
        """The sum of the embeddings, normalized."""
        x = self._normed(self._summed(inputs), "Embedding-Norm")
        return x if self.embedding_size == self.hidden_size else self.apply(inputs=x, name="Embedding-Mapping")

    def apply_main_layers(self, inputs: Any, index: int) -> Any:
        """Attention, sum; norm, feed-forward, sum, norm."""
        start = self.block_name(index)
        x = self._plus(inputs, self._attended(inputs, index), start + "MultiHeadSelfAttention")
        name = start + "FeedForward"
        inner = self.apply(inputs=self._normed(x, name + "-Norm-0"), name=name)
        return self._normed(self._plus(x, inner, name), name + "-Norm-1")
