"""The losses of five recipes of bert4keras, for 100 steps from the same weights on the same batches.

In bert4keras' own environment (CONTRIBUTING.md), then here, then beside each other:

    TF_NUM_INTRAOP_THREADS=1 python losses.py FOLDER reference
    TF_NUM_INTRAOP_THREADS=2 python losses.py FOLDER reference2
    python -m nlptasks.bert4keras losses.py FOLDER ours
    python losses.py FOLDER compare

The first run writes the weights (HDF5) that the others read; the second one shows how far bert4keras is from itself
with another number of threads. A recipe that is done is not repeated. After training, the two that write texts decode
four each. Sizes: 2 layers of 32; no dropout; float32. The script is written in the manner of bert4keras' examples, and
is the same in both environments.
"""

import json
import os
import sys
import time

import numpy as np

FOLDER, ROLE = sys.argv[1], sys.argv[2]
STEPS, VOCAB, TAGS = 100, 60, 5
RECIPES = ("albert_sentiment", "pair_similarity", "ner_crf", "title_unilm", "conditional_lm")
CONFIG = {
    "vocab_size": VOCAB,
    "hidden_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "intermediate_size": 64,
    "hidden_act": "gelu",
    "hidden_dropout_prob": 0.0,
    "attention_probs_dropout_prob": 0.0,
    "max_position_embeddings": 40,
    "type_vocab_size": 2,
}


def batches(recipe):
    rng = np.random.default_rng(RECIPES.index(recipe))
    for _ in range(STEPS):
        width = int(rng.integers(6, 24))
        lengths = rng.integers(4, width + 1, 8)
        lengths[0] = width
        ids = rng.integers(5, VOCAB, (8, width)) * (np.arange(width) < lengths[:, None])
        segments = (np.arange(width) >= lengths[:, None] // 2) * (ids > 0)
        first = (ids[:, :1] > VOCAB // 2).astype(int)
        if recipe in ("albert_sentiment", "pair_similarity"):
            yield [ids, segments], first
        elif recipe == "ner_crf":
            yield [ids, segments * 0], ids % TAGS
        elif recipe == "title_unilm":
            yield [ids, segments], None
        else:
            yield [ids, segments * 0, first], None


def compare():
    worst, texts = 0.0, True
    print("| recipe | first loss | last loss | largest difference / max(1, loss) | bert4keras' own | decoded texts |")
    print("|---|---|---|---|---|---|")
    times = []
    for recipe in RECIPES:
        found = []
        for role in ("reference", "reference2", "ours"):
            with open(f"{FOLDER}/{recipe}.{role}.json", encoding="utf-8") as file:
                found.append(json.load(file))
        theirs, again, ours = (np.array(each["losses"]) for each in found)
        apart, spread = ((np.abs(each - theirs) / np.maximum(1, theirs)).max() for each in (ours, again))
        equal = found[0]["decoded"] == found[2]["decoded"]
        told = ("equal" if equal else "NOT equal") if found[0]["decoded"] else ""
        print(f"| {recipe} | {theirs[0]:.4f} | {theirs[-1]:.4f} | {apart:.1e} | {spread:.1e} | {told} |")
        times.append(f"| {recipe} | {found[0]['ms']:.1f} | {found[2]['ms']:.1f} |")
        worst, texts = max(worst, apart), texts and equal
    print("\n| recipe | ms a step: bert4keras, one thread | here |\n|---|---|---|", *times, sep="\n")
    print("losses within 1e-4" if worst <= 1e-4 else "losses NOT within 1e-4")
    print("texts equal" if texts else "texts NOT equal")


if ROLE == "compare":
    compare()
    sys.exit()
if ROLE.startswith("reference"):
    os.environ["TF_KERAS"] = "1"
    import tensorflow as tf

    tf.keras.optimizers.Optimizer = tf.keras.optimizers.legacy.Optimizer

from bert4keras.backend import K  # noqa: E402
from bert4keras.layers import ConditionalRandomField, Loss  # noqa: E402
from bert4keras.models import build_transformer_model  # noqa: E402
from bert4keras.optimizers import Adam, extend_with_piecewise_linear_lr  # noqa: E402
from bert4keras.snippets import AutoRegressiveDecoder  # noqa: E402
from keras.layers import Dense, Embedding, Input, Lambda, Reshape  # noqa: E402
from keras.models import Model  # noqa: E402


class TargetLoss(Loss):
    def compute_loss(self, inputs, mask=None):
        y_true, y_mask, y_pred = inputs
        y_mask = y_mask[:, 1:]
        loss = K.sparse_categorical_crossentropy(y_true[:, 1:], y_pred[:, :-1])
        return K.sum(loss * y_mask) / K.sum(y_mask)


class TokenLoss(Loss):
    def compute_loss(self, inputs, mask=None):
        y_true, y_pred = inputs
        y_mask = K.cast(mask[1], K.floatx())[:, 1:]
        loss = K.sparse_categorical_crossentropy(y_true[:, 1:], y_pred[:, :-1])
        return K.sum(loss * y_mask) / K.sum(y_mask)


class Title(AutoRegressiveDecoder):
    @AutoRegressiveDecoder.wraps(default_rtype="probas")
    def predict(self, inputs, output_ids, states):
        ids, segments = inputs
        ids = np.concatenate([ids, output_ids], 1)
        segments = np.concatenate([segments, np.ones_like(output_ids)], 1)
        return self.last_token(self.net).predict([ids, segments], verbose=0)


class Labeled(AutoRegressiveDecoder):
    @AutoRegressiveDecoder.wraps(default_rtype="probas")
    def predict(self, inputs, output_ids, states):
        return self.last_token(self.net).predict([output_ids, np.zeros_like(output_ids), inputs[0]], verbose=0)


def decode(recipe, bert):
    """Four texts by beam search, as token ids; nothing for a recipe that writes no text."""
    if recipe not in ("title_unilm", "conditional_lm"):
        return []
    decoder = (Title if recipe == "title_unilm" else Labeled)(start_id=3, end_id=4, maxlen=8)
    decoder.net = bert
    sources = np.random.default_rng(7).integers(5, VOCAB, (4, 6)) if recipe == "title_unilm" else None
    rows = [[row, row * 0] for row in sources] if sources is not None else [[[0]], [[1]], [[1]], [[0]]]
    return [np.array(decoder.beam_search(row, 2 + i % 3)).tolist() for i, row in enumerate(rows)]


def build(recipe, config):
    if recipe == "albert_sentiment":
        bert = build_transformer_model(config, model="albert", embedding_size=16, return_keras_model=False)
        output = Lambda(lambda x: x[:, 0])(bert.model.output)
        model = Model(bert.model.input, Dense(2, activation="softmax")(output))
        AdamLR = extend_with_piecewise_linear_lr(Adam, name="AdamLR")
        optimizer = AdamLR(learning_rate=1e-3, lr_schedule={30: 1, 80: 0.1})
        model.compile(loss="sparse_categorical_crossentropy", optimizer=optimizer)
    elif recipe == "pair_similarity":
        bert = build_transformer_model(config, with_pool=True, return_keras_model=False)
        model = Model(bert.model.input, Dense(2, activation="softmax")(bert.model.output))
        model.compile(loss="sparse_categorical_crossentropy", optimizer=Adam(1e-3))
    elif recipe == "ner_crf":
        bert = build_transformer_model(config)
        output = Dense(TAGS)(bert.get_layer("Transformer-1-FeedForward-Norm").output)
        crf = ConditionalRandomField(lr_multiplier=100)
        model = Model(bert.input, crf(output))
        model.compile(loss=crf.sparse_loss, optimizer=Adam(1e-3))
    elif recipe == "title_unilm":
        bert = build_transformer_model(config, application="unilm")
        model = Model(bert.inputs, TargetLoss(2)(bert.inputs + bert.outputs))
        model.compile(optimizer=Adam(1e-3))
    else:
        label = Input(shape=(1,))
        vector = Reshape((16,))(Embedding(2, 16)(label))
        options = {"layer_norm_cond": vector, "additional_input_layers": label}
        bert = build_transformer_model(config, application="lm", **options)
        model = Model(bert.inputs, TokenLoss(1)([bert.inputs[0], bert.outputs[0]]))
        model.compile(optimizer=Adam(1e-3))
    return model, bert


os.makedirs(FOLDER, exist_ok=True)
with open(f"{FOLDER}/config.json", "w", encoding="utf-8") as file:
    json.dump(CONFIG, file)
for recipe in RECIPES:
    if os.path.exists(f"{FOLDER}/{recipe}.{ROLE}.json"):
        continue
    model, bert = build(recipe, f"{FOLDER}/config.json")
    if ROLE == "reference":
        model.save_weights(f"{FOLDER}/{recipe}.h5")
    else:
        model.load_weights(f"{FOLDER}/{recipe}.h5")
    losses, seconds = [], []
    for x, y in batches(recipe):
        start = time.perf_counter()
        found = model.train_on_batch(x, y)
        seconds.append(time.perf_counter() - start)
        losses.append(float(np.ravel(found)[0]))
    result = {"losses": losses, "ms": 1000 * float(np.median(seconds[20:])), "decoded": decode(recipe, bert)}
    with open(f"{FOLDER}/{recipe}.{ROLE}.json", "w", encoding="utf-8") as file:
        json.dump(result, file)
    print(recipe, losses[0], losses[-1], flush=True)
