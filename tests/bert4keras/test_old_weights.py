"""Weights of a fine-tuned model that tf.keras saved load into the same script's model, head included."""

import json
from pathlib import Path

import numpy as np
import pytest

from nlptasks.bert4keras.keras.layers import Dense, Input, Lambda
from nlptasks.bert4keras.keras.models import Model
from nlptasks.bert4keras.models import build_transformer_model

pytestmark = pytest.mark.once
GOLDEN = Path(__file__).parents[1] / "golden"
TOLD = json.loads((GOLDEN / "old_weights.json").read_text(encoding="utf-8"))
FAMILIES = json.loads((GOLDEN / "old_families.json").read_text(encoding="utf-8"))


@pytest.fixture(scope="module")
def classifier(tmp_path_factory):
    path = tmp_path_factory.mktemp("tiny") / "config.json"
    path.write_text(json.dumps(TOLD["config"]), encoding="utf-8")
    bert = build_transformer_model(str(path), return_keras_model=False)
    x = Dense(7, activation="tanh")(Lambda(lambda x: x[:, 0])(bert.model.output))
    return Model(bert.model.input, Dense(3, activation="softmax")(x))


@pytest.mark.parametrize("name", ["old_weights.h5", "old_weights.tf", "old_weights_keras_2.h5"])
def test_weights_of_tf_keras_and_of_keras_2_give_its_outputs(classifier, name):
    for weight in classifier.weights:
        weight.assign(weight * 0)
    classifier.load_weights(GOLDEN / name)
    tokens = np.array(TOLD["tokens"])
    np.testing.assert_allclose(classifier.predict([tokens, tokens * 0]), TOLD["outputs"], atol=1e-5)


@pytest.mark.parametrize("name", FAMILIES["families"])
def test_weights_of_other_families_in_the_format_of_tensorflow_give_their_outputs(name, tmp_path):
    told, tokens = FAMILIES["families"][name], np.array(FAMILIES["tokens"])
    (tmp_path / "config.json").write_text(json.dumps(told["config"]), encoding="utf-8")
    given, inputs = dict(told["settings"]), [tokens, tokens * 0]
    if name == "conditional":
        condition = Input(shape=(len(FAMILIES["condition"][0]),))
        given |= {"layer_norm_cond": condition, "additional_input_layers": condition}
        inputs.append(np.array(FAMILIES["condition"], "float32"))
    bert = build_transformer_model(str(tmp_path / "config.json"), return_keras_model=False, **given)
    output = Dense(3, activation="softmax")(Lambda(lambda x: x[:, 0])(bert.model.output))
    model = Model(bert.model.inputs, output)
    model.load_weights(GOLDEN / f"old_{name}.tf")
    np.testing.assert_allclose(model.predict(inputs), told["outputs"], atol=1e-5)
