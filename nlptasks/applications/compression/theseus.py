"""BERT-of-Theseus (arXiv 2002.02925): each layer of a small model learns by replacing a group of layers of a trained
model, while the other groups of that model stay in place.

Legend: B batch, T position, S key position, D hidden, M module (a group of predecessor layers and the successor layer
that replaces it).
"""

from collections.abc import Callable, Sequence
from typing import Any, Protocol

import keras
from keras import ops

from nlptasks.applications.compression.plan import MIXINGS, initial_layers, module_spans
from nlptasks.applications.encoder_head import EncoderWithHead
from nlptasks.backend import run_one
from nlptasks.checkpoints.weights import assign_weights, export_weights
from nlptasks.core.blocks import added_scores
from nlptasks.core.config import TransformerConfig
from nlptasks.core.transformer import Transformer
from nlptasks.errors import UserError

_LAYER = "encoder.layer."


class Compressible(Protocol):
    """An application whose Transformer can be another one.

    Attributes:
        model: a Transformer, or one with a head.
    """

    model: Any

    def on_transformer(self, transformer: Transformer) -> Any:
        """The same application on another transformer of the same hidden size."""


def make_successor(application: Compressible, num_layers: int, init: str = "first") -> Any:
    """Returns the application with fewer layers, which start from its own; everything else is copied.

    Args:
        application: a `Classifier`, `Labeler` or `Reader`.
        num_layers: of the successor.
        init: as in `initial_layers`.

    Returns:
        An application of the same class, with the same tokenizer and settings.

    Raises:
        ValueError: as `initial_layers`.
    """
    return application.on_transformer(with_fewer_layers(transformer_of(application.model), num_layers, init))


def with_fewer_layers(old: Transformer, num_layers: int, init: str = "first") -> Transformer:
    """A Transformer with fewer layers, which start from those of `old`; everything else is copied.

    Args:
        init: as in `initial_layers`.

    Raises:
        ValueError: as `initial_layers`.
    """
    chosen = initial_layers(old.config.num_layers, num_layers, init)
    arrays = export_weights(old)
    if not old.config.shared_layers:
        kept = {name: array for name, array in arrays.items() if not name.startswith(_LAYER)}
        for target, source in enumerate(chosen):
            prefix = f"{_LAYER}{source}."
            layer = {name.removeprefix(prefix): array for name, array in arrays.items() if name.startswith(prefix)}
            kept |= {f"{_LAYER}{target}.{name}": array for name, array in layer.items()}
        arrays = kept
    config = old.config.replace(num_layers=num_layers)
    new = Transformer(config, old.with_pool, old.with_nsp, old.with_mlm, old.with_discriminator)
    new.build()
    assign_weights(new, arrays, "predecessor", transposed=True)
    new.fused_attention = old.fused_attention
    return new


def transformer_of(model: Transformer | EncoderWithHead) -> Transformer:
    """The Transformer of an application's `model`."""
    return model if isinstance(model, Transformer) else model.transformer


class Theseus(keras.Model):
    """A predecessor whose groups of layers are replaced by single successor layers, which are trained.

    Only the weights of the successor are trainable: its layers, and with `replace_embeddings` its embeddings. The
    predecessor and its head are frozen; its dropout still works in training, because freezing only stops weights.

    Args:
        predecessor: `model` of an application: a Transformer, or one with a head.
        successor: `model` of the application that `make_successor` returned.
        replace_embeddings: the embeddings are a module, too; otherwise those of the predecessor are used.
        mixing: "coin": in each call, each module is the successor's with probability `rate`, and the other version is
            not computed. "anneal": each module is `(1 - rate) predecessor + rate successor`, without draws.
        seed: seed of the draws.

    Raises:
        ValueError: the two do not fit together.
    """

    def __init__(
        self,
        predecessor: Transformer | EncoderWithHead,
        successor: Transformer | EncoderWithHead,
        replace_embeddings: bool = False,
        mixing: str = "coin",
        seed: int = 0,
        **kwargs: Any,
    ):
        super().__init__(**kwargs)
        old, new = transformer_of(predecessor), transformer_of(successor)
        if mixing not in MIXINGS:
            raise ValueError(f"mixing must be one of {MIXINGS}. Received: mixing={mixing!r}.")
        if old.final_norm is not None:
            raise UserError("Layers are replaced in models whose norms stand behind each layer, not in a GPT-2.")
        self.spans = module_spans(old.config.num_layers, new.config.num_layers)
        its = new.config.to_dict()
        for name, value in old.config.to_dict().items():
            if name != "num_layers" and value != its[name]:
                raise ValueError(
                    "Predecessor and successor must agree in all but their layers. Received: "
                    f"{name}={value!r} and {its[name]!r}."
                )
        if replace_embeddings and isinstance(predecessor, Transformer):
            raise UserError(
                "The table of embeddings is the output matrix, too, which stays the predecessor's while layers are "
                "replaced; leave {field:replace_embeddings} out for a sequence-to-sequence model."
            )
        self.mixing = mixing
        self.predecessor = predecessor
        self.predecessor.trainable = False
        self.successor_blocks = new.blocks
        self.successor_embeddings = new.embeddings if replace_embeddings else None
        self.seed_generator = keras.random.SeedGenerator(seed)
        weights = {id(weight) for weight in self.weights}
        own = {id(self.seed_generator.state)}
        self._dropout_seeds = [v for v in self.variables if id(v) not in weights | own]
        self.built = True

    @property
    def config(self) -> TransformerConfig:
        """The predecessor's."""
        return transformer_of(self.predecessor).config

    @property
    def num_modules(self) -> int:
        """Number of modules that can be replaced, each with its own draw."""
        return len(self.spans) + (self.successor_embeddings is not None)

    def encode(
        self,
        token_ids_BT: Any,
        segment_ids_BT: Any = None,
        *,
        rate: Any,
        training: bool | None = None,
        document_ids_BT: Any = None,
    ) -> Any:
        """Hidden states `(B, T, D)` of the mixture: at rate 0 the predecessor's, at rate 1 the successor's.

        Args:
            rate: float in [0, 1], a scalar: how much of the successor.
            document_ids_BT: as in `Transformer.encode`.
        """
        old = transformer_of(self.predecessor)
        segment_ids_BT, position_ids_BT, mask_BTS, position = old.layer_inputs(
            token_ids_BT, segment_ids_BT, document_ids_BT
        )
        shares_M = self._shares(rate)

        def embed(layer: Any) -> Callable[[], tuple]:
            return lambda: (layer(token_ids_BT, segment_ids_BT, position_ids_BT, training=training),)

        def run(blocks: Sequence[Any], state: tuple) -> Callable[[], tuple]:
            return lambda: run_layers(old, blocks, state, mask_BTS, position, training)

        if self.successor_embeddings is None:
            state = embed(old.embeddings)()
        else:
            state = self._mixed(shares_M[-1], embed(old.embeddings), embed(self.successor_embeddings))
        blocks = list(self.successor_blocks)
        sequence = blocks * len(self.spans) if old.config.shared_layers else blocks
        for number, (span, block) in enumerate(zip(self.spans, sequence, strict=True)):
            replaced = [old.layer_sequence[i] for i in span]
            state = self._mixed(shares_M[number], run(replaced, state), run([block], state))
        return state[0]

    def _shares(self, rate: Any) -> Any:
        """`(M,)`: how much of each module is the successor's, as a float, or whether it is at all, as a bool."""
        rate = ops.convert_to_tensor(rate, "float32")
        if self.mixing == "anneal":
            return ops.broadcast_to(rate, (self.num_modules,))
        return keras.random.uniform((self.num_modules,), seed=self.seed_generator) < rate

    def _mixed(self, share: Any, old: Callable[[], tuple], new: Callable[[], tuple]) -> tuple:
        if self.mixing == "coin":
            return run_one(share, new, old, self._dropout_seeds)
        # this form of the blend is exact at both ends
        pairs = [(x, y, ops.cast(share, x.dtype)) for x, y in zip(old(), new(), strict=True)]
        return tuple((1 - part) * x + part * y for x, y, part in pairs)


def run_layers(
    transformer: Transformer,
    blocks: Sequence[Any],
    state: tuple,
    mask_BTS: Any,
    position: Any,
    training: bool | None,
) -> tuple:
    """The hidden states, and what residual attention hands on where the config has it, behind some layers.

    Args:
        transformer: the config and the way to compute attention.
        blocks: the layers, its own or others like them.
        state: what this returned for the layers before them; the embeddings alone, in a tuple, for the first.
        mask_BTS, position: as `Transformer.layer_inputs` returns them.
    """
    hidden_BTD, *added = state
    residual = transformer.config.residual_attention_scores
    if not residual:
        for block in blocks:
            hidden_BTD = block(hidden_BTD, mask_BTS, position, training=training, fused=transformer.fused_attention)
        return (hidden_BTD,)
    scores = added[0] if added else None
    for block in blocks:
        hidden_BTD, _, own = block(hidden_BTD, mask_BTS, position, scores, training=training, with_state=True)
        scores = added_scores(residual, scores, own)
    return hidden_BTD, scores
