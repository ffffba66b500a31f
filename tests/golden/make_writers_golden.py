"""Makes the golden files of real bert4keras' GPTs, T5s, RoFormerV2 and GAU-alpha: small random models, their weights in
two formats, and their outputs. The environment is that of make_bert4keras_golden.py; in this folder:

    TF_KERAS=1 python make_writers_golden.py writers
"""

import json
import os
import sys
from pathlib import Path

os.environ["TF_KERAS"] = "1"
import numpy as np
from bert4keras.backend import K, set_gelu, tf
from bert4keras.layers import Add, GatedAttentionUnit, LayerNormalization
from bert4keras.models import RoFormerV2, build_transformer_model
from make_bert4keras_golden import BASE, V, inputs, randomise
from writers_cases import CASES, GAU_CASES, OF_GRAPHS, T5_CASES, TENSORFLOW

set_gelu("tanh")  # as T5 and GPT-2 were trained


class GAU_alpha(RoFormerV2):
    """GAU-alpha of bert4keras' `GatedAttentionUnit`, which has no class of its own there: unit, sum, norm."""

    def apply_main_layers(self, inputs, index):
        name = f"Transformer-{index}-GatedAttentionUnit"
        mask, position = self.compute_attention_bias(index), self.compute_position_bias(inputs)
        x = self.apply(
            inputs=[inputs, position] if mask is None else [inputs, mask, position],
            layer=GatedAttentionUnit,
            arguments={"a_bias": None if mask is None else True, "p_bias": "rotary"},
            units=self.intermediate_size,
            key_size=self.attention_key_size,
            activation=self.hidden_act,
            use_bias=False,
            normalization="softmax_plus",
            name=name,
        )
        x = self.apply(inputs=[inputs, x], layer=Add, name=f"{name}-Add")
        options = {"zero_mean": False, "scale": False, "offset": False}
        return self.apply(inputs=x, layer=LayerNormalization, name=f"{name}-Norm", **options)

    def variable_mapping(self):
        mapping = super().variable_mapping()
        for index in range(self.num_hidden_layers):
            start = f"GAU_alpha/encoder/layer_{index}/gau/"
            layer = self.layers[f"Transformer-{index}-GatedAttentionUnit"]
            kernels, vectors = iter(("i_dense/kernel", "o_dense/kernel")), iter(("q_scaleoffset", "k_scaleoffset"))
            mapping[layer.name] = [
                start + (next(kernels) if "kernel" in weight.name else f"{next(vectors)}/gamma")
                for weight in layer.trainable_weights
            ]
        return mapping


def tensorflow_values(transformer):
    """Name in the authors' checkpoint -> value."""
    stacks = [transformer]
    if hasattr(transformer, "_encoder"):
        stacks = [transformer._encoder, transformer._decoder]
    values = {}
    for stack in stacks:
        for layer, names in stack.variable_mapping().items():
            if layer in stack.layers:
                weights = K.batch_get_value(stack.layers[layer].trainable_weights)
                for name, value in zip(names, weights, strict=True):
                    values[name] = value.T if "relative_attention_bias" in name else value
    return values


def main(output):
    output.mkdir(parents=True, exist_ok=True)
    token_ids, segment_ids = inputs()
    target_ids = np.random.RandomState(8).randint(1, V, (len(token_ids), 13))
    target_ids[:, 0] = 0
    target_ids[1, 9:] = 0
    token_ids[2, 0] = 5
    results = {"token_ids": token_ids, "segment_ids": segment_ids, "target_ids": target_ids}
    results = {name: array.astype("int32") for name, array in results.items()}
    for name, (arguments, changes) in (CASES | OF_GRAPHS).items():
        K.clear_session()
        config = {**BASE, **changes}
        path = output / f"{name}.json"
        path.write_text(json.dumps(config, indent=1, sort_keys=True) + "\n")
        arguments = dict(arguments)
        if name in GAU_CASES:
            arguments["model"] = GAU_alpha
        if name.startswith("gpt"):
            arguments["final_activation"] = "linear"
        transformer = build_transformer_model(str(path), return_keras_model=False, **arguments)
        model = transformer.model
        randomise(model)
        model.save_weights(str(output / f"{name}.h5"))
        fed = (
            [token_ids, target_ids]
            if name in (*T5_CASES, *OF_GRAPHS)
            else [token_ids, segment_ids][: len(model.inputs)]
        )
        results[name] = model.predict(fed, verbose=0).astype("float32")
        if name in TENSORFLOW:
            values = tensorflow_values(transformer)
            with tf.Graph().as_default(), tf.compat.v1.Session() as session:
                for key, value in values.items():
                    tf.compat.v1.get_variable(key, initializer=value)
                tf.compat.v1.get_variable("global_step", initializer=np.int64(3))
                session.run(tf.compat.v1.global_variables_initializer())
                tf.compat.v1.train.Saver().save(session, str(output / f"{name}.ckpt"), write_meta_graph=False)
            (output / "checkpoint").unlink()
    np.savez_compressed(str(output / "outputs.npz"), **results)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
