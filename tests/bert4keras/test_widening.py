"""The last position of padded inputs: equal where no position sees those after it, given up where one does."""

import json

import keras
import numpy as np
import pytest
from keras import ops

from nlptasks.bert4keras import snippets
from nlptasks.bert4keras.keras.layers import Embedding, Input, Lambda
from nlptasks.bert4keras.keras.models import Model
from nlptasks.bert4keras.widening import LastToken, Widened
from tests.bert4keras.test_graph import CONFIG, built


def ids_of(width, rows=2):
    token_ids = np.random.default_rng(width).integers(4, 31, (rows, width))
    return [token_ids, np.repeat([[0] * 3 + [1] * (width - 3)], rows, axis=0)]


@pytest.fixture(scope="module")
def config(tmp_path_factory):
    path = tmp_path_factory.mktemp("wide") / "bert_config.json"
    path.write_text(json.dumps(CONFIG | {"max_position_embeddings": 40}), encoding="utf-8")
    return path


@pytest.fixture(scope="module")
def unilm(config):
    return built(config, application="unilm", with_mlm=True).model


def test_positions_behind_a_prefix_are_known(config):
    assert Widened(built(config, application="unilm", with_mlm=True, prefix="Own-").model).most == 40


@pytest.mark.parametrize("width", [5, 6, 31, 32, 33, 39])
def test_padding_changes_nothing_under_the_mask_of_unilm(unilm, width):
    widened, exact = Widened(unilm), lambda arrays: unilm.predict(arrays)[:, -1]
    arrays = ids_of(width)
    for _ in range(2):  # the second answer is the padded one
        np.testing.assert_allclose(widened(arrays, exact), exact(arrays), rtol=1e-4, atol=1e-5)
    assert widened.most == 40
    assert widened.holds is (True if width < 32 else None)  # 40 positions do not hold 64


def test_texts_that_are_left_take_few_programs(unilm):
    widened, exact = Widened(unilm), lambda arrays: unilm.predict(arrays)[:, -1]
    asked, predict = [], widened.program.predict_on_batch
    widened.program.predict_on_batch = lambda arrays: asked.append(arrays[0].shape) or predict(arrays)
    for rows in (7, 6, 5, 3, 2, 1):
        arrays = ids_of(12 - rows, rows)
        np.testing.assert_allclose(widened(arrays, exact), exact(arrays), rtol=1e-4, atol=1e-5)
    assert set(asked) == {(8, 32), (4, 32), (2, 32), (1, 32)}


def test_a_model_whose_rows_see_each_other_is_asked_as_it_is():
    token_ids = Input(shape=(None,))
    x = Embedding(31, 6)(token_ids)
    model = Model(token_ids, Lambda(lambda x: x + ops.mean(x, axis=0, keepdims=True))(x))
    widened, arrays = Widened(model), [ids_of(7, rows=3)[0]]
    for _ in range(2):
        np.testing.assert_array_equal(widened(arrays, lambda a: model.predict(a)[:, -1]), model.predict(arrays)[:, -1])
    assert widened.holds is False


def test_a_model_that_sees_what_follows_is_asked_as_it_is():
    token_ids = Input(shape=(None,))
    x = Embedding(31, 6)(token_ids)
    model = Model(token_ids, Lambda(lambda x: x + ops.mean(x, axis=1, keepdims=True))(x))
    widened, arrays = Widened(model), [ids_of(7)[0]]
    for _ in range(2):
        np.testing.assert_array_equal(widened(arrays, lambda a: model.predict(a)[:, -1]), model.predict(arrays)[:, -1])
    assert widened.holds is False


def test_a_condition_of_one_number_is_not_widened_with_one_token():
    token_ids, label = Input(shape=(None,)), Input(shape=(1,))
    x = Lambda(lambda x: x[0] + x[1])([Embedding(31, 6)(token_ids), Embedding(2, 6)(label)])
    model = Model([token_ids, label], x)
    widened, arrays = Widened(model), [np.array([[7], [8]]), np.array([[0], [1]])]
    for _ in range(2):
        np.testing.assert_allclose(widened(arrays, lambda a: model.predict(a)[:, -1]), model.predict(arrays)[:, -1])
    assert widened.holds is True


def test_a_decoder_writes_the_same_with_and_without(unilm):
    class Writer(snippets.AutoRegressiveDecoder):
        @snippets.AutoRegressiveDecoder.wraps(default_rtype="probas")
        def predict(self, inputs, output_ids, states):
            token_ids = np.concatenate([inputs[0], output_ids], axis=1)
            segment_ids = np.concatenate([inputs[1], np.ones_like(output_ids)], axis=1)
            return self.last_token(unilm).predict([token_ids, segment_ids])

    writers = Writer(None, end_id=30, maxlen=6), Writer(None, end_id=30, maxlen=6)
    asked = [writer.last_token(unilm) for writer in writers]
    assert all(isinstance(model, LastToken) for model in asked)
    assert [model.widened is not None for model in asked] == [keras.backend.backend() == "jax"] * 2
    asked[0].widened, asked[1].widened = Widened(unilm), None
    token_ids, segment_ids = ids_of(6, rows=1)
    found = [writer.beam_search([token_ids[0], segment_ids[0] * 0], topk=2).tolist() for writer in writers]
    assert found[0] == found[1]
    assert asked[0].widened.holds is True
