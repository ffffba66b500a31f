"""The teacher of a segmenter on a CPU, at its own pace: a pretrained encoder with the tags of units. TensorFlow or JAX.

    NLPTASKS_DATA=... python benchmarks/segmentation_distil.py texts --output runs/texts.xz
    NLPTASKS_DATA=... python benchmarks/segmentation_teacher.py --base nlptasks/bundled/mini --layers 4 \\
        --teacher-dropout 0 --beside runs/segmenter --texts runs/texts.xz --output runs/teacher
    NLPTASKS_DATA=... python benchmarks/segmentation_distil.py run --base nlptasks/bundled/mini --texts runs/texts.xz \\
        --labels runs/teacher --output runs/distil --seconds 2400

`segmentation_distil.py run` needs a GPU's minutes for all of it; here the teacher has hours. It reads the same rows,
and gives each the tags' probabilities under one standard: an annotated row's own, a raw row's by chance. A segmenter
beside it knows more words, and the encoder more of those that no training file has. What is done is kept: Ctrl-C or
`--seconds` ends the command, and the same command goes on, within a minute of where it was.

B rows of a batch, T positions of a row, K tags (s, b, m, e), N rows in all
"""

import hashlib
import json
import os
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

os.environ.setdefault("KERAS_BACKEND", "tensorflow")

import numpy as np
from segmentation_distil import (
    _OWN_TOKENS,
    INNER,
    SCORED,
    STANDARDS,
    WIDTH,
    Material,
    Run,
    prepare,
    scores_of,
)

from nlptasks.errors import UserError
from nlptasks.files import atomic_path, write_text

STATE, LABELS, ASKED, RESULT = "resume.safetensors", "labels.npy", "asked.npy", "result.json"


def digest_of(material: Material) -> str:
    """Of the rows, so that labels are not taken for other ones."""
    return hashlib.sha256(material.tokens.tobytes() + material.sentences.tobytes()).hexdigest()


@dataclass(kw_only=True)
class Teach(Run):
    """Teach an encoder, label all rows, score it on what is held out."""

    data: Path = field(default_factory=lambda: Path(os.environ.get("NLPTASKS_DATA", ".")) / "segmentation")
    """folder with the segmented files; default: that of NLPTASKS_DATA"""
    seconds: float = float("inf")
    """after which it stops"""
    teacher_epochs: float = 1.0
    teacher_rows: int = 8
    """of an update: a pass of 3,029 small updates teaches more than one of 757 larger ones in the same time"""
    teacher_rate: float = 3e-4
    beside: tuple[str, ...] = ()
    """segmenters, names or directories; the labels are the mean of their probabilities and the teacher's"""
    save_seconds: float = 60.0

    def run(self) -> None:
        """As far as the time goes."""
        from nlptasks.train.interruption import StopRequested
        from nlptasks.train.optimizers import make_rate
        from nlptasks.train.run import start_run

        self.started = time.monotonic()
        self.output.mkdir(parents=True, exist_ok=True)
        start_run(self.seed, "float32")
        material = prepare(self)
        rows = {name: int((material.own == i).sum()) for i, name in enumerate(STANDARDS)}
        self.log("material", seconds=round(material.seconds, 1), rows=rows, all=len(material.own))
        digest = digest_of(material)
        with StopRequested() as stop:
            over: Callable[[], bool] = lambda: stop.requested or time.monotonic() - self.started > self.seconds  # noqa: E731
            model = tagged_encoder(self)
            updates = int(self.teacher_epochs * (material.own >= 0).sum() / self.teacher_rows)
            rate = make_rate(self.teacher_rate, updates, self.warmup)
            if self._taught(model, rate, updates, material, over) and self._labelled(model, material, digest, over):
                self.log("done", output=str(self.output))
            else:
                self.log("ended", why="the same command goes on")

    def _taught(self, model: Any, rate: Any, updates: int, material: Material, over: Callable[[], bool]) -> bool:
        """Trains as far as the time goes; whether to the end."""
        import keras
        from keras import ops

        from nlptasks.backend import compile_train_step
        from nlptasks.train.state import Progress, load_state, save_state

        def loss(batch: tuple[Any, ...]) -> Any:
            tokens_BT, sentences_BT, tags_BT, real_BT = batch
            logits = model(tokens_BT, sentences_BT, training=True)
            losses_BT = keras.losses.sparse_categorical_crossentropy(tags_BT, logits, from_logits=True)
            return ops.sum(losses_BT * real_BT) / ops.maximum(1.0, ops.sum(real_BT))

        optimizer = keras.optimizers.AdamW(rate, weight_decay=self.weight_decay, global_clipnorm=1.0)
        step = compile_train_step(model, optimizer, loss)
        state, progress = self.output / STATE, Progress()
        if state.is_file():
            progress = load_state(state, model, optimizer)
        training = np.flatnonzero(material.own >= 0)
        saved = shown = time.monotonic()
        while progress.batch < updates:
            if over() or time.monotonic() - saved > self.save_seconds:
                save_state(state, model, optimizer, progress)
                saved = time.monotonic()
            if over():
                return False
            rows_B = drawn(training, progress.batch * self.teacher_rows, self.teacher_rows, self.seed)
            value = float(step(batch_of(material, rows_B, material.own[rows_B], model.standard)))
            progress.batch, progress.loss_sum = progress.batch + 1, 0.98 * progress.loss_sum + 0.02 * value
            if time.monotonic() - shown > self.log_seconds:
                shown = time.monotonic()
                mean = progress.loss_sum / (1 - 0.98**progress.batch)
                self.log("teacher", step=progress.batch, of=updates, loss=round(mean, 4))
        save_state(state, model, optimizer, progress)
        return True

    def _labelled(self, model: Any, material: Material, digest: str, over: Callable[[], bool]) -> bool:
        """Labels what is scored, then all other rows, in pieces; whether all."""
        from nlptasks.backend import compile_function

        known = self.output / RESULT
        models = {"beside": [Path(name).name for name in self.beside], "epochs": self.teacher_epochs}
        done = {"digest": digest, **models, "rows": 0}
        before = json.loads(known.read_text(encoding="utf-8")) if known.is_file() else done
        if any(before.get(name) != done[name] for name in ("digest", *models)):
            raise UserError("{path}: labels of other rows or models; give an empty {field:output}.", path=known)
        done = before
        scores = compile_function(lambda batch: model(*batch, training=False), model)
        beside = Beside(self.beside, material)
        size, last = self.label_rows, -(-int((material.own != SCORED).sum()) // self.label_rows) * self.label_rows

        def labels_of_each(start: int, standards_B: np.ndarray) -> np.ndarray:
            rows_B = np.arange(start, start + size)
            tokens_BT, sentences_BT, *_ = batch_of(material, rows_B, standards_B, model.standard)
            own_BTK = probabilities(np.asarray(scores((tokens_BT, sentences_BT))))
            return np.stack([own_BTK, *beside(rows_B, standards_B)])

        if "scores" not in done:
            found = self._scored(labels_of_each, material, last, over)
            if not found:
                return False
            done["scores"] = found
            write_text(known, json.dumps(done) + "\n")
        asked = material.own.copy()
        asked[asked < 0] = np.random.default_rng(self.seed).integers(0, len(STANDARDS), int((asked < 0).sum()))
        labels = _mapped(self.output / LABELS, (last, WIDTH, 4))
        shown = time.monotonic()
        while done["rows"] < last:
            if over():
                return False
            start = done["rows"]
            labels[start : start + size] = labels_of_each(start, asked[start : start + size]).mean(axis=0)
            labels.flush()
            done["rows"] = start + size
            write_text(known, json.dumps(done) + "\n")
            if time.monotonic() - shown > self.log_seconds:
                shown = time.monotonic()
                self.log("label", rows=done["rows"], of=last)
        with atomic_path(self.output / ASKED) as temporary, open(temporary, "wb") as file:
            np.save(file, asked[:last].astype("int32"))
        return True

    def _scored(
        self,
        labels_of_each: Callable[[int, np.ndarray], np.ndarray],
        material: Material,
        first: int,
        over: Callable[[], bool],
    ) -> dict[str, Any]:
        """Scores on what is held out of the teacher, of each segmenter beside it, and of their mean; as far as the
        time goes.
        """
        names, size = ["teacher", *(f"beside {Path(name).name}" for name in self.beside)], self.label_rows
        flat: dict[str, np.ndarray] = {}
        for name, at in material.scored.items():
            number = STANDARDS.index(name.removeprefix(INNER))
            rows, places = np.divmod(at, WIDTH)
            starts = (rows - first) // size * size + first
            flat[name] = np.empty((len(names), len(at), 4), "float32")
            for start in np.unique(starts).tolist():
                if over():
                    return {}
                here = starts == start
                of_each = labels_of_each(start, np.full(size, number))
                flat[name][:, here] = of_each[:, rows[here] - start, places[here]]
        chosen = {name: (lambda of_each, i=i: of_each[i]) for i, name in enumerate(names)}
        if self.beside:
            chosen["mean"] = lambda of_each: of_each.mean(axis=0)
        found = {}
        for name, of in chosen.items():
            given = (material.config(self, 1), material.characters, {key: of(each) for key, each in flat.items()})
            found[name] = scores_of(given, material.held_out, material.train_words)
            self.log("scores", model=name, **found[name])
        return found


def probabilities(scores: np.ndarray) -> np.ndarray:
    """Softmax over the last axis, float32."""
    exponents = np.exp(scores.astype("float64") - scores.max(axis=-1, keepdims=True))
    return (exponents / exponents.sum(axis=-1, keepdims=True)).astype("float32")


class Beside:
    """What segmenters say of the tags of rows.

    Args:
        names: as `nlptasks.load` takes them.
        material: the rows.
    """

    def __init__(self, names: Sequence[str], material: Material) -> None:
        import nlptasks
        from nlptasks.applications.segmentation.vocab import FIRST_CHARACTER
        from nlptasks.text.units import OTHER, Units

        self.material, self.segmenters = material, []
        codes = material.characters
        characters = Units(np.arange(len(codes)), np.full(len(codes), OTHER), codes, len(codes))
        for name in names:
            runtime = nlptasks.load(name).runtime
            # unit ids of the material -> of the segmenter; those before the characters are the same for all
            table = np.append(np.arange(FIRST_CHARACTER), runtime.vocab.unit_ids(characters))
            self.segmenters.append((runtime, table))

    def __call__(self, rows_B: np.ndarray, standards_B: np.ndarray) -> list[np.ndarray]:
        """Probabilities (B, T, K) of each; rows may stand under different standards."""
        found = []
        for runtime, table in self.segmenters:
            of_rows = np.empty((len(rows_B), WIDTH, 4), "float32")
            for number in np.unique(standards_B):
                chosen = standards_B == number
                unit_ids = table[self.material.unit_ids[rows_B[chosen]]].ravel()  # a row ends with padding
                scores = runtime.scores(unit_ids, runtime.config.standard_id(STANDARDS[number]))
                of_rows[chosen] = probabilities(scores).reshape(-1, WIDTH, 4)
            found.append(of_rows)
        return found


def tagged_encoder(options: Teach) -> Any:
    """The encoder's first layers and a linear map to tags, a Keras model of tokens and of the sentences that they are
    of; `standard` is the token of the first standard.
    """
    import keras

    from nlptasks.loading import build_transformer_model
    from nlptasks.text import Tokenizer

    skip = [f"encoder.layer.{i}." for i in range(options.layers or 99, 99)]
    cut = {"num_layers": options.layers, "skip": skip} if options.layers else {}
    fixed = {"model": "bert", "attention": "bidirectional", "attention_dropout": 0.0}
    encoder = build_transformer_model(options.base, options.base, dropout=options.teacher_dropout, **fixed, **cut)
    vocab, table = Tokenizer.from_directory(options.base).vocab, encoder.embeddings.token.embeddings
    rows = np.array(table.value)
    standard = vocab["[unused1]"]
    rows[standard : standard + len(STANDARDS)] = rows[vocab["[CLS]"]]
    for token in _OWN_TOKENS.values():
        rows[vocab[token]] = rows[vocab["[UNK]"]]
    table.assign(rows)

    class TaggedEncoder(keras.Model):
        def __init__(self) -> None:
            super().__init__()
            self.encoder, self.head, self.standard = encoder, keras.layers.Dense(4, name="tags"), standard
            self.head.build((None, encoder.config.hidden_size))

        def call(self, tokens_BT: Any, sentences_BT: Any, training: bool = False) -> Any:
            return self.head(self.encoder.encode(tokens_BT, training=training, document_ids_BT=sentences_BT))

    model = TaggedEncoder()
    model.built = True
    return model


def _mapped(path: Path, shape: tuple[int, ...]) -> np.memmap:
    """The file of an array, new or of a command before."""
    return np.lib.format.open_memmap(path, "r+" if path.is_file() else "w+", "float16", shape)


def drawn(training: np.ndarray, start: int, count: int, seed: int) -> np.ndarray:
    """The rows of a step: one order after the other, each of all rows; the same from wherever a run goes on."""
    found: list[np.ndarray] = []
    while count:
        number, place = divmod(start, len(training))
        part = np.random.default_rng((seed, number)).permutation(training)[place : place + count]
        found.append(part)
        start, count = start + len(part), count - len(part)
    return np.concatenate(found)


def batch_of(material: Material, rows_B: Sequence[int], standards_B: np.ndarray, first: int) -> tuple[np.ndarray, ...]:
    """Tokens under the standards, sentences, tags, and what counts, of rows.

    Args:
        first: the token of the first standard.
    """
    tokens_BT = material.tokens[rows_B].astype("int32")
    tokens_BT = np.where(tokens_BT == first, first + standards_B[:, None], tokens_BT).astype("int32")
    sentences_BT, tags_BT = material.sentences[rows_B].astype("int32"), material.tags[rows_B].astype("int32")
    return tokens_BT, sentences_BT, tags_BT, (material.unit_ids[rows_B] != 0).astype("float32")


if __name__ == "__main__":
    from nlptasks.console import parse, run

    sys.exit(run(parse(Teach, __doc__, sys.argv[1:], Path(__file__).name)))
