"""The recipes in the docs for what changed Keras 2's training graph run as they are written there."""

import json
import re
from pathlib import Path

import keras
import numpy as np
import pytest

from nlptasks.bert4keras.keras.layers import Dense, Lambda
from nlptasks.bert4keras.keras.models import Model
from nlptasks.bert4keras.models import build_transformer_model

pytestmark = [
    pytest.mark.once,
    pytest.mark.skipif(keras.config.backend() != "tensorflow", reason="the recipes are for TensorFlow"),
]
PAGE = Path(__file__).parents[2] / "docs" / "from_bert4keras.md"
SIZES = {"vocab_size": 23, "hidden_size": 6, "num_hidden_layers": 1, "num_attention_heads": 3, "intermediate_size": 11}
OTHERS = {"hidden_act": "gelu", "hidden_dropout_prob": 0.0, "attention_probs_dropout_prob": 0.0}
TOKENS = np.array([[2, 7, 7, 3], [2, 9, 3, 0]])
LABELS = np.array([[0], [2]])


@pytest.fixture(scope="module")
def classifier(tmp_path_factory):
    path = tmp_path_factory.mktemp("tiny") / "config.json"
    path.write_text(json.dumps(SIZES | OTHERS | {"max_position_embeddings": 5, "type_vocab_size": 2}))
    bert = build_transformer_model(str(path), return_keras_model=False)
    output = Lambda(lambda x: x[:, 0])(bert.model.output)
    return Model(bert.model.inputs, Dense(3, activation="softmax")(output))


def written(name):
    """The class of that name as the page has it."""
    import tensorflow as tf

    blocks = re.findall(r"^```python\n(.*?)^```$", PAGE.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL)
    (block,) = [block for block in blocks if block.startswith(f"class {name}(")]
    names = {"keras": keras, "tf": tf, "Model": Model, "__name__": __name__}
    exec(block, names)
    return names[name]


def one_step(kind, classifier, loss):
    """The loss of a step at rate 0, which must leave the table as it was."""
    model = kind(classifier.inputs, classifier.output)
    model.compile(loss=loss, optimizer=keras.optimizers.SGD(0.0))
    table = model.get_layer("Embedding-Token").embeddings
    before = np.array(table.value)
    found = model.train_on_batch([TOKENS, TOKENS * 0], LABELS)
    np.testing.assert_allclose(np.array(table.value), before, atol=1e-5)
    return float(np.ravel(found)[0])


def plain_loss(classifier):
    found = classifier.predict([TOKENS, TOKENS * 0])
    return -np.log(found[[0, 1], LABELS[:, 0]]).mean()


def test_adversarial_training_raises_the_loss(classifier):
    found = one_step(written("Adversarial"), classifier, "sparse_categorical_crossentropy")
    assert found > plain_loss(classifier) + 1e-3


def test_a_gradient_penalty_is_half_the_squared_gradient(classifier):
    found = one_step(written("Penalized"), classifier, "sparse_categorical_crossentropy")
    import tensorflow as tf

    table = classifier.get_layer("Embedding-Token").embeddings
    with tf.GradientTape() as tape:
        told = classifier([TOKENS.astype("float32"), TOKENS.astype("float32") * 0])
        loss = -tf.reduce_mean(tf.math.log(tf.gather(told, LABELS[:, 0], axis=1, batch_dims=1)))
    gradient = np.array(tf.convert_to_tensor(tape.gradient(loss, table.value)))
    assert found == pytest.approx(plain_loss(classifier) + 0.5 * (gradient**2).sum(), rel=1e-4)
    assert (gradient**2).sum() > 1e-4


def test_virtual_adversarial_training_needs_no_labels(classifier):
    assert one_step(written("VirtualAdversarial"), classifier, "kld") > 1e-5
