"""The Transformer as an ONNX graph: what `core/` computes, for the same config and weights.

Legend: B batch, T query position, S key position, D hidden, N heads, H key size, J value size, V vocabulary.
Decoding: R rows (prefixes), K continuations of a row, P prefix slots, A generated slots, the new token's counted.
"""

from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np

from nlptasks.core.attention import MASKED_SCORE
from nlptasks.core.config import TransformerConfig
from nlptasks.core.positions import WAVELENGTH, sinusoid_table
from nlptasks.errors import UserError
from nlptasks.export.graph import Graph

_BLOCK = "encoder.layer.{}."


class State(NamedTuple):
    """Keys (R, N, H, P) and values (R, N, P, J) of a layer; of generated tokens (R, N, K, A, H) and (R, N, K, A, J)."""

    keys: str
    values: str


class TransformerGraph:
    """Writes a Transformer into a graph.

    Args:
        graph: receives the operations.
        config: of the Transformer.
        arrays: canonical name -> array as Hugging Face lays it out, from `export_weights`.
        condition: the value `(B, C)` that every norm reads; None: none does.

    Raises:
        UserError: norms, biases or head are not where BERT has them.
    """

    def __init__(
        self, graph: Graph, config: TransformerConfig, arrays: Mapping[str, np.ndarray], condition: str | None = None
    ) -> None:
        if not config.has_bert_layout or config.position == "bucketed":
            raise UserError("Only models in BERT's layout are exported, and this is a GPT, a T5 or a RoFormerV2.")
        self.graph, self.config, self._arrays, self._condition = graph, config, arrays, condition

    # inputs

    def real(self, token_ids_BT: str) -> str:
        """True at real tokens, and at position 0: bool (B, T)."""
        g = self.graph
        real_BT = g.op("Not", g.op("Equal", token_ids_BT, g.number(self.config.pad_id, "int32")))
        return g.op("Or", real_BT, g.op("Equal", g.count(g.size(token_ids_BT, 1)), g.number(0, "int32")))

    def bias(self, visible: str) -> str:
        """What is added to scores: 0 where a position may look, else a large negative number."""
        return self.graph.op("Where", visible, self.graph.number(0.0), self.graph.number(MASKED_SCORE))

    def mask(self, real_BT: str, segment_ids_BT: str) -> str:
        """The bias of the config's attention mask: (B, 1, 1 or T, T)."""
        g, kind = self.graph, self.config.attention
        visible = g.op("Unsqueeze", real_BT, g.ints(1, 2))
        if kind == "causal":
            place_T = g.count(g.size(real_BT, 1))
            seen_TT = g.op("LessOrEqual", g.op("Unsqueeze", place_T, g.ints(0)), g.op("Unsqueeze", place_T, g.ints(1)))
            visible = g.op("And", visible, g.op("Unsqueeze", seen_TT, g.ints(0, 1)))
        elif kind == "unilm":
            running_BT = g.op("CumSum", segment_ids_BT, g.number(1, "int64"))
            seen_BTT = g.op(
                "LessOrEqual", g.op("Unsqueeze", running_BT, g.ints(1)), g.op("Unsqueeze", running_BT, g.ints(2))
            )
            visible = g.op("And", visible, g.op("Unsqueeze", seen_BTT, g.ints(1)))
        return self.bias(visible)

    # blocks

    def hidden(self, token_ids_BT: str, segment_ids_BT: str, states: list[State] | None = None) -> str:
        """The hidden states (B, T, D); `states`, a list, receives the keys and values of each layer."""
        g, config = self.graph, self.config
        real_BT = self.real(token_ids_BT)
        bias = self.mask(real_BT, segment_ids_BT)
        place_1T = g.op("Unsqueeze", g.count(g.size(token_ids_BT, 1)), g.ints(0))
        position_BT = place_1T
        if config.position == "counted":
            number_BT = g.cast(real_BT, "int32")
            counted_BT = g.op("Mul", g.op("CumSum", number_BT, g.number(1, "int64")), number_BT)
            position_BT = g.op("Add", counted_BT, g.number(config.pad_id, "int32"))
        attending = self._attending(place_1T, place_1T)
        x = self.embed(token_ids_BT, segment_ids_BT, position_BT)
        added: str | None = None
        for i in range(config.num_layers):
            name = _BLOCK.format(0 if config.shared_layers else i)
            query, key, value = self._projected(x, name, attending)
            key_BNHS = g.op("Transpose", key, perm=[0, 2, 3, 1])
            query_BNTH, value_BNSJ = (g.op("Transpose", v, perm=[0, 2, 1, 3]) for v in (query, value))
            if states is not None:
                states.append(State(key_BNHS, value_BNSJ))
            own = g.op("MatMul", query_BNTH, key_BNHS)
            if config.position == "relative":
                own = g.op("Add", own, g.op("Einsum", query_BNTH, attending["vectors"], equation="bnth,xtsh->bnts"))
            probability = self._probabilities(own, added, bias, name)
            mixed = g.op("MatMul", probability, value_BNSJ)
            if config.position == "relative":
                more = g.op("Einsum", probability, attending["vectors"], equation="bnts,xtsj->bntj")
                mixed = g.op("Add", mixed, more)
            added = self._added(added, own)
            x = self._after(x, self._joined(mixed), name)
        return x

    def step(
        self,
        token_ids_RK: str,
        position_R1: str,
        real_RP: str,
        segment: int,
        prefix: list[State],
        generated: list[State],
    ) -> tuple[str, list[State]]:
        """Hidden states (R, K, D) of one new token of each continuation, and what was generated with it."""
        g, config = self.graph, self.config
        times = g.size(generated[0].values, 3)  # tokens generated before this one
        ahead = g.op("Concat", g.ints(0, 0, 0, 0, 0, 0, 0), g.op("Add", times, g.ints(1)), axis=0)
        bias_R11S = g.op("Pad", self.bias(g.op("Unsqueeze", real_RP, g.ints(1, 2))), ahead)
        slots_1A = g.op("Unsqueeze", g.count(g.op("Add", times, g.ints(1))), g.ints(0))
        first_R1 = g.op("Sub", position_R1, g.cast(times, "int32"))
        slots_RP = g.op("Expand", g.op("Unsqueeze", g.count(g.size(real_RP, 1)), g.ints(0)), g.op("Shape", real_RP))
        keys_RS = g.op("Concat", slots_RP, g.op("Add", first_R1, slots_1A), axis=1)
        attending = self._attending(position_R1, keys_RS)
        if config.position == "counted":
            position_R1 = g.op("Add", position_R1, g.number(config.pad_id + 1, "int32"))
        segments = g.op("Add", g.op("Mul", token_ids_RK, g.number(0, "int32")), g.number(segment, "int32"))
        x = self.embed(token_ids_RK, segments, position_R1)
        length, updated, added = g.size(real_RP, 1), [], None
        end = g.op("Add", length, g.op("Add", times, g.ints(1)))
        for i in range(config.num_layers):
            name = _BLOCK.format(0 if config.shared_layers else i)
            query, key, value = self._projected(x, name, attending)
            query_RNKH = g.op("Transpose", query, perm=[0, 2, 1, 3])
            new = [g.op("Unsqueeze", g.op("Transpose", v, perm=[0, 2, 1, 3]), g.ints(3)) for v in (key, value)]
            state = State(*(g.op("Concat", old, one, axis=3) for old, one in zip(generated[i], new, strict=True)))
            updated.append(state)
            before = g.op("MatMul", query_RNKH, prefix[i].keys)
            column = g.op("Unsqueeze", query_RNKH, g.ints(4))
            recent = g.op("Squeeze", g.op("MatMul", state.keys, column), g.ints(4))
            own = g.op("Concat", before, recent, axis=3)
            if config.position == "relative":
                own = g.op("Add", own, g.op("Einsum", query_RNKH, attending["vectors"], equation="rnkh,rxsh->rnks"))
            probability = self._probabilities(own, added, bias_R11S, name)
            of_prefix = g.op("Slice", probability, g.ints(0), length, g.ints(3))
            of_recent = g.op("Slice", probability, length, end, g.ints(3))
            mixed = g.op("MatMul", of_prefix, prefix[i].values)
            row = g.op("Unsqueeze", of_recent, g.ints(3))
            mixed = g.op("Add", mixed, g.op("Squeeze", g.op("MatMul", row, state.values), g.ints(3)))
            if config.position == "relative":
                more = g.op("Einsum", probability, attending["vectors"], equation="rnks,rxsj->rnkj")
                mixed = g.op("Add", mixed, more)
            added = self._added(added, own)
            x = self._after(x, self._joined(mixed), name)
        return x, updated

    def embed(self, token_ids: str, segment_ids: str, position_ids: str) -> str:
        """Token + segment + position embeddings, normalized, mapped to the hidden size."""
        g, config = self.graph, self.config
        x = g.op("Gather", self._weight("embeddings.word_embeddings.weight"), token_ids)
        if config.position in ("learned", "counted"):
            x = g.op("Add", x, self._positions(position_ids))
        if config.segment_vocab_size:
            if config.segment_vocab_size == 1:
                segment_ids = g.op("Mul", segment_ids, g.number(0, "int32"))
            x = g.op("Add", x, g.op("Gather", self._weight("embeddings.token_type_embeddings.weight"), segment_ids))
        x = self.norm(x, "embeddings.LayerNorm")
        if config.embedding_size != config.hidden_size:
            x = self.dense(x, "encoder.embedding_hidden_mapping_in")
        return x

    def _positions(self, position_ids: str) -> str:
        g, share, rows = self.graph, self.config.hierarchical_position, self.config.max_positions
        table = self._arrays["embeddings.position_embeddings.weight"]
        if share is None:
            return g.op("Gather", g.weight("embeddings.position_embeddings.weight", table), position_ids)
        changed = table - share * table[:1]
        low = g.op("Gather", g.weight("positions.low", changed), g.op("Mod", position_ids, g.number(rows, "int32")))
        high = g.weight("positions.high", share / (1 - share) * changed)
        return g.op("Add", low, g.op("Gather", high, g.op("Div", position_ids, g.number(rows, "int32"))))

    def norm(self, x: str, name: str) -> str:
        """A layer norm, under the condition where there is one."""
        g, epsilon = self.graph, self.config.layer_norm_epsilon
        gamma, beta = (self._weight(f"{name}.{part}") for part in ("weight", "bias"))
        if self._condition is None:
            return g.op("LayerNormalization", x, gamma, beta, axis=-1, epsilon=epsilon)
        condition = g.op("Unsqueeze", self._condition, g.ints(1))
        if (hidden := f"{name}.condition_hidden.weight") in self._arrays:
            condition = self.activate(
                g.op("MatMul", condition, self._transposed(hidden)), self.config.layer_norm_cond_hidden_act
            )
        gamma_B1D, beta_B1D = (
            g.op("Add", g.op("MatMul", condition, self._transposed(f"{name}.condition_{part}.weight")), own)
            for part, own in (("gamma", gamma), ("beta", beta))
        )
        ones = g.weight(f"ones.{self._arrays[f'{name}.weight'].size}", np.ones_like(self._arrays[f"{name}.weight"]))
        normal = g.op("LayerNormalization", x, ones, axis=-1, epsilon=epsilon)
        return g.op("Add", g.op("Mul", normal, gamma_B1D), beta_B1D)

    def dense(self, x: str, name: str) -> str:
        """A dense layer of the Transformer."""
        return self.graph.dense(x, name, self._arrays[f"{name}.weight"].T, self._arrays[f"{name}.bias"])

    def activate(self, x: str, name: str) -> str:
        """An activation by Keras' name.

        Raises:
            UserError: it has no counterpart here.
        """
        g = self.graph
        if name in ("gelu", "gelu_erf"):
            return g.op("Gelu", x)
        if name in ("gelu_new", "gelu_tanh", "gelu_pytorch_tanh"):
            return g.op("Gelu", x, approximate="tanh")
        if name == "linear":
            return x
        if name in ("silu", "swish"):
            return g.op("Mul", x, g.op("Sigmoid", x))
        kinds = {"relu": "Relu", "tanh": "Tanh", "sigmoid": "Sigmoid", "softplus": "Softplus", "selu": "Selu"}
        if name not in kinds:
            raise UserError(
                "the activation {name!r} cannot be exported to ONNX; it knows {known}.",
                name=name,
                known=", ".join(["gelu", "gelu_new", "linear", "silu", *kinds]),
            )
        return g.op(kinds[name], x)

    def token_logits(self, hidden_XD: str) -> str:
        """Masked-LM logits (X, V) of hidden states."""
        g = self.graph
        x = self.activate(self.dense(hidden_XD, "cls.predictions.transform.dense"), self.config.hidden_act)
        x = self.norm(x, "cls.predictions.transform.LayerNorm")
        x = g.op("Reshape", x, g.ints(-1, self.config.embedding_size))
        table, bias = self._weight("embeddings.word_embeddings.weight"), self._weight("cls.predictions.bias")
        return g.op("Gemm", x, table, bias, transB=1)

    def _projected(self, x: str, name: str, attending: Mapping[str, Any]) -> tuple[str, str, str]:
        """Queries, divided by the root of their size, keys and values, each (B, T, N, size), from one product."""
        g, config = self.graph, self.config
        heads, kernels, biases, sizes = config.num_heads, [], [], (config.key_size, config.key_size, config.value_size)
        for part, size in zip(("query", "key", "value"), sizes, strict=True):
            kernel, bias = (self._arrays[f"{name}attention.self.{part}.{kind}"] for kind in ("weight", "bias"))
            if part == "query":
                kernel, bias = kernel * size**-0.5, bias * size**-0.5
            if config.position == "rotary" and part != "value":  # halves in place of neighbors: products are the same
                order = np.concatenate([np.arange(0, size, 2), np.arange(1, size, 2)])
                kernel = kernel.reshape(heads, size, -1)[:, order].reshape(kernel.shape)
                bias = bias.reshape(heads, size)[:, order].reshape(bias.shape)
            kernels.append(kernel.T)
            biases.append(bias)
        joined = g.dense(x, f"{name}attention.self", np.concatenate(kernels, axis=1), np.concatenate(biases))
        parts = g.ops("Split", 3, joined, g.ints(*(heads * size for size in sizes)), axis=-1)
        shaped = [g.op("Reshape", v, g.ints(0, 0, heads, s)) for v, s in zip(parts, sizes, strict=True)]
        if config.position == "rotary":
            shaped[:2] = [self._rotated(v, attending) for v in shaped[:2]]
        return shaped[0], shaped[1], shaped[2]

    def _rotated(self, x_BTNH: str, attending: Mapping[str, Any]) -> str:
        g, (sine, cosine) = self.graph, attending["turns"]
        first, second = g.ops("Split", 2, x_BTNH, axis=-1, num_outputs=2)
        turned = (
            g.op("Sub", g.op("Mul", first, cosine), g.op("Mul", second, sine)),
            g.op("Add", g.op("Mul", second, cosine), g.op("Mul", first, sine)),
        )
        return g.op("Concat", *turned, axis=-1)

    def _attending(self, query_ids: str, key_ids: str) -> dict[str, Any]:
        """What attention reads of positions: sine and cosine (1 or R, T, 1, H / 2), or vectors (1 or R, T, S, H)."""
        g, config = self.graph, self.config
        if config.position == "rotary":
            waves = [WAVELENGTH ** (-i / config.key_size) for i in range(0, config.key_size, 2)]
            angles = g.op("Unsqueeze", g.cast(query_ids, "float32"), g.ints(2, 3))
            angles = g.op("Mul", angles, g.weight("waves", np.array(waves)))
            return {"turns": (g.op("Sin", angles), g.op("Cos", angles))}
        if config.position != "relative":
            return {}
        most = config.relative_distance
        apart = g.op("Sub", g.op("Unsqueeze", key_ids, g.ints(1)), g.op("Unsqueeze", query_ids, g.ints(2)))
        apart = g.op("Clip", apart, g.number(-most, "int32"), g.number(most, "int32"))
        table = g.weight("distances", np.array(sinusoid_table(2 * most + 1, config.key_size)))
        return {"vectors": g.op("Gather", table, g.op("Add", apart, g.number(most, "int32")))}

    def _probabilities(self, own: str, added: str | None, bias: str, name: str) -> str:
        g = self.graph
        scores = own if added is None else g.op("Add", own, added)
        mixing = name + "attention.self.{}_mixing"
        if self.config.talking_heads:
            scores = g.op("Einsum", scores, self._weight(mixing.format("score")), equation="bnts,nm->bmts")
        probability = g.op("Softmax", g.op("Add", scores, bias), axis=-1)
        if self.config.talking_heads:
            kernel = self._weight(mixing.format("probability"))
            probability = g.op("Einsum", probability, kernel, equation="bnts,nm->bmts")
        return probability

    def _added(self, added: str | None, own: str) -> str | None:
        residual = self.config.residual_attention_scores
        if residual == "running" and added is not None:
            return self.graph.op("Add", added, own)
        return own if residual else None

    def _joined(self, mixed_BNTJ: str) -> str:
        g, config = self.graph, self.config
        mixed_BTNJ = g.op("Transpose", mixed_BNTJ, perm=[0, 2, 1, 3])
        return g.op("Reshape", mixed_BTNJ, g.ints(0, 0, config.num_heads * config.value_size))

    def _after(self, x: str, mixed: str, name: str) -> str:
        g = self.graph
        mixed = self.dense(mixed, name + "attention.output.dense")
        x = self.norm(g.op("Add", x, mixed), name + "attention.output.LayerNorm")
        inner = self.activate(self.dense(x, name + "intermediate.dense"), self.config.hidden_act)
        return self.norm(g.op("Add", x, self.dense(inner, name + "output.dense")), name + "output.LayerNorm")

    def _weight(self, name: str) -> str:
        return self.graph.weight(name, self._arrays[name])

    def _transposed(self, name: str) -> str:
        return self.graph.weight(f"{name}.kernel", self._arrays[name].T)
