"""Makes the golden files of the reader with real bert4keras: decoded answers, and the losses of 200 training steps.

In bert4keras' environment (see make_bert4keras_golden.py, which runs first), in this folder:

    TF_KERAS=1 python make_reading_golden.py bert4keras
"""

import json
import os
import sys
from pathlib import Path

os.environ["TF_KERAS"] = "1"
import numpy as np
from bert4keras.backend import K, keras, set_gelu, tf
from bert4keras.models import build_transformer_model
from bert4keras.snippets import AutoRegressiveDecoder
from reading_cases import END, MAX_ANSWER, questions, training_batches

set_gelu("erf")


class Reader(AutoRegressiveDecoder):
    """The rules of the reader, written down naively: every token runs every passage again, uncached."""

    def answer(self, sources, passages, extractive):
        self.sources, self.passages, self.extractive, self.dropped = sources, passages, extractive, set()
        found = self.beam_search([np.array([0])], topk=1, states=0)
        return [int(i) for i in found if i != END]

    @AutoRegressiveDecoder.wraps(default_rtype="probas", use_states=True)
    def predict(self, inputs, output_ids, states):
        so_far = output_ids[0].tolist()
        rows = []
        for source in self.sources:
            token_ids = np.array([source + so_far])
            segment_ids = np.array([[0] * len(source) + [1] * len(so_far)])
            rows.append(self.model.predict([token_ids, segment_ids], verbose=0)[0, -1])
        if states == 0:
            self.dropped = {i for i, row in enumerate(rows) if row.argmax() == END}
        alive = [i for i in range(len(rows)) if i not in self.dropped]
        scores = np.zeros(len(rows[0]))
        if not alive:
            scores[END] = 1.0
            return scores[None], states + 1
        p = np.array([rows[i] for i in alive])
        scores = (p**2).sum(axis=0) / (p.sum(axis=0) + 1)
        if self.extractive:
            n, allowed = len(so_far), {END}
            for i in alive:
                text = self.passages[i]
                allowed |= {text[j + n] for j in range(len(text) - n) if text[j : j + n] == so_far}
            scores = np.where(np.isin(np.arange(len(scores)), list(allowed)), scores, 0)
        return scores[None], states + 1


def decode(folder):
    model = build_transformer_model(str(folder / "unilm.json"), application="unilm", with_mlm=True)
    model.load_weights(str(folder / "unilm.h5"))
    reader = Reader(start_id=None, end_id=END, maxlen=MAX_ANSWER)
    reader.model = model
    return {
        mode: [reader.answer(sources, passages, mode == "extractive") for sources, passages in questions()]
        for mode in ("extractive", "generative")
    }


def train(folder):
    config = {**json.loads((folder / "unilm.json").read_text()), "hidden_dropout_prob": 0.0}
    config["attention_probs_dropout_prob"] = 0.0
    (folder / "training.json").write_text(json.dumps(config, indent=1, sort_keys=True) + "\n")
    tf.random.set_seed(1)
    model = build_transformer_model(str(folder / "training.json"), application="unilm")
    model.save_weights(str(folder / "training.h5"))
    token_ids, segment_ids = model.inputs
    mask = K.cast(segment_ids[:, 1:], K.floatx())
    entropy = K.sparse_categorical_crossentropy(token_ids[:, 1:], model.output[:, :-1])
    model.add_loss(K.sum(entropy * mask) / K.sum(mask))
    model.compile(optimizer=keras.optimizers.legacy.Adam(1e-3))
    return [float(model.train_on_batch(list(batch))) for batch in training_batches()]


if __name__ == "__main__":
    folder = Path(sys.argv[1])
    results = decode(folder)
    K.clear_session()
    results["losses"] = train(folder)
    (folder / "reading.json").write_text(json.dumps(results) + "\n")
