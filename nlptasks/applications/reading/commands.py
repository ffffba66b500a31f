"""Reading comprehension by sequence to sequence: train, score and use a reader of several passages a question.

    nlptasks reading train --train A.json --valid B.json --checkpoint DIR --output runs/reader
    nlptasks reading evaluate --model runs/reader --data test.json
    nlptasks reading predict --model runs/reader --question 问题 --passage 篇章一 篇章二

Files are WebQA/SogouQA JSON, JSON lines, or SQuAD-style JSON (CMRC2018, DRCD); plain or gzip. The recipe and its
scores, and how they are counted: docs/reading.md and docs/scoring.md.
"""

import dataclasses
import json
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from nlptasks.applications.options import require_empty_run, require_positive
from nlptasks.applications.reading.picture import draw_answer
from nlptasks.applications.reading.reader import METHODS, Reader
from nlptasks.applications.reading.samples import ReadingExamples
from nlptasks.applications.reading.windows import ReadingLengths, normalise
from nlptasks.applications.scratch import scratch_config, transformer_from_scratch
from nlptasks.applications.seq2seq_loss import target_loss
from nlptasks.console import progress_bar, say
from nlptasks.core import Transformer
from nlptasks.files import require_writable, write_text
from nlptasks.loading import build_transformer_model
from nlptasks.metrics.baselines import fit_baselines
from nlptasks.metrics.reading import score_reading
from nlptasks.opening import load
from nlptasks.text import Question, Tokenizer, build_character_vocab, read_questions
from nlptasks.text.readers import write_questions
from nlptasks.text.vocab import MASK, REQUIRED_TOKENS, simplify_vocab
from nlptasks.train.extras import TrainingExtras
from nlptasks.train.loop import train
from nlptasks.train.optimizers import make_adam
from nlptasks.train.run import start_run

OPTIONS, SCORES = "options.json", "scores.json"
NOTHING = "（无答案）"


@dataclass(kw_only=True)
class Train(TrainingExtras):
    """Train a reader; the best epoch on the validation file is kept."""

    train: tuple[Path, ...]
    """training files"""
    valid: Path
    """validation file: the epoch with the best CMRC F1 on all its questions is kept"""
    output: Path
    """run directory: model, vocabulary, options, scores, log and curve"""
    checkpoint: str = "none"
    """a BERT to start from: a directory with its config, weights and vocab.txt; or none: train from scratch"""
    simplify_vocab: bool = False
    """leave out the tokens of the checkpoint's vocabulary that Chinese text never makes (13,585 of 21,128 stay)"""
    resume: bool = False
    """continue an interrupted run"""

    passage_length: int = 256
    """most tokens of [CLS] passage [SEP]"""
    question_length: int = 64
    """most tokens of question [SEP]"""
    answer_length: int = 32
    """most tokens of answer [SEP]"""
    stride: int | None = None
    """read passages longer than that in windows which begin so many tokens apart; left out, they are cut"""
    method: str = "seq2seq"
    """seq2seq: token by token; mlm: the whole answer at once, at masked positions"""
    negative_ratio: float | None = None
    """how often a passage without an answer is drawn; left out, passages are drawn uniformly"""

    epochs: int = 8
    practice_share: float = 0.0
    """share of the run, at its beginning, that practises on the passages to find and copy; for models from scratch"""
    batch_size: int = 32
    learning_rate: float = 1e-5
    """Adam's; 1e-5 suits a BERT-base checkpoint, 1e-3 a small model from scratch"""
    warmup_share: float = 0.0
    """share of the updates in which the learning rate rises"""
    decay: bool = False
    """let the learning rate fall linearly to 0"""
    clip_norm: float | None = None
    """bound of the gradients' norm"""
    precision: str = "float32"
    """float32 or bfloat16"""
    seed: int = 0

    vocab: Path | None = None
    """vocabulary of a model from scratch; left out, the characters of the training files"""
    hidden_size: int = 128
    """from scratch: hidden size (and the four below)"""
    num_layers: int = 3
    num_heads: int = 4
    ffn_size: int = 512
    dropout: float = 0.1

    valid_limit: int | None = None
    """score no more than this many validation questions after an epoch"""

    def run(self) -> None:
        require_positive(self, "epochs", "batch_size", "valid_limit")
        self.check_extras()
        if not 0.0 <= self.practice_share <= 1.0:
            raise ValueError(f"practice_share must lie in [0, 1]. Received: practice_share={self.practice_share}.")
        lengths = ReadingLengths(
            passage_length=self.passage_length,
            question_length=self.question_length,
            answer_length=self.answer_length,
            stride=self.stride,
        )
        if self.method not in METHODS:
            raise ValueError(f"--method must be one of {', '.join(METHODS)}. Received: {self.method}.")
        if self.practice_share and self.method != "seq2seq":
            raise ValueError("--practice-share goes with --method seq2seq.")
        training = [question for path in self.train for question in read_questions(path)]
        validation = read_questions(self.valid)[: self.valid_limit]
        require_empty_run(self.output, OPTIONS, self.resume)

        start_run(self.seed, self.precision, self.mesh)
        tokenizer, keep_tokens = self._tokenizer(training)
        model = self._model(tokenizer, lengths, keep_tokens)
        model.recompute = self.recompute
        reader = Reader(model, tokenizer, lengths, self.method)
        say(f"model: {model.count_params():,} parameters, vocabulary of {tokenizer.vocab_size}")
        examples = ReadingExamples(training, tokenizer, lengths, self.negative_ratio, self.seed, self.method)
        say(f"{len(examples)} questions; answers by passage: {examples.counts}")

        steps = self.num_updates(len(examples), self.batch_size, self.epochs)
        optimizer = make_adam(self.learning_rate, steps, self.warmup_share, self.decay, self.clip_norm, self.ema)

        options = _jsonable(dataclasses.asdict(self))
        for name in ("resume", "output"):  # where a run stands is not what it is: a moved one resumes too
            del options[name]
        if not self.resume:
            write_text(self.output / OPTIONS, json.dumps(options, ensure_ascii=False, indent=1) + "\n")

        def epoch_batches(epoch: int):
            practice = min(1.0, max(0.0, self.practice_share * self.epochs - epoch))
            return examples.batches(epoch, self.batch_size, practice)

        progress = train(
            model,
            optimizer,
            lambda batch: target_loss(model, batch),
            epoch_batches=epoch_batches,
            make_batch=lambda batch: examples.arrays(batch, self.batch_size),
            epochs=self.epochs,
            validate=lambda: _validation_scores(reader, validation),
            score_name="cmrc_f1",
            save_best=lambda: reader.save(self.output),
            directory=self.output,
            options=options,
            resume=self.resume,
            progress_bar=progress_bar,
            extras=self,
            weight_of=lambda batch: batch["target_weights"].sum(),
        )
        best = max(progress.history, key=lambda row: row["cmrc_f1"])
        write_text(self.output / SCORES, json.dumps({"best": best, "epochs": progress.history}, indent=1) + "\n")
        say(f"best epoch {best['epoch']}: {best}")
        say(f"{self.output}: ready for evaluate and predict")

    def _tokenizer(self, training: list[Question]) -> tuple[Tokenizer, list[int] | None]:
        """The tokenizer, and which tokens of the checkpoint it keeps; None: all."""
        if self.simplify_vocab and self.checkpoint == "none":
            raise ValueError("--simplify-vocab goes with --checkpoint DIR, whose vocabulary it cuts.")
        if self.checkpoint != "none":
            tokenizer = Tokenizer.from_directory(self.checkpoint)
            if not self.simplify_vocab:
                return tokenizer, None
            first = [token for token in (*REQUIRED_TOKENS, MASK) if token in tokenizer.vocab]
            vocab, keep_tokens = simplify_vocab(tokenizer.vocab, first)
            return Tokenizer(vocab, tokenizer.lowercase), keep_tokens
        if self.vocab is not None:
            return Tokenizer(self.vocab), None
        texts = (normalise(text) for q in training for text in (q.question, *q.answers, *(p.text for p in q.passages)))
        return Tokenizer(build_character_vocab(texts)), None

    def _model(self, tokenizer: Tokenizer, lengths: ReadingLengths, keep_tokens: list[int] | None) -> Transformer:
        if self.checkpoint != "none":
            return build_transformer_model(
                self.checkpoint,
                self.checkpoint,
                application="unilm" if self.method == "seq2seq" else "encoder",
                with_mlm="linear",
                keep_tokens=keep_tokens,
                dropout=self.dropout,
                attention_dropout=self.dropout,
            )
        sizes = (self.hidden_size, self.num_layers, self.num_heads, self.ffn_size)
        attention = METHODS[self.method]
        config = scratch_config(tokenizer.vocab_size, lengths.total, *sizes, self.dropout, attention=attention)
        return transformer_from_scratch(config, with_mlm="linear", equal_keys=True)


@dataclass(kw_only=True)
class Prepare:
    """Mix WebQA and SogouQA as bert4keras' recipe does, into train.json and valid.json.

    SogouQA is put into a seeded order; every third question is for validation; the training file holds the rest twice,
    and WebQA.
    """

    webqa: Path
    """WebQA.json"""
    sogouqa: Path
    """SogouQA.json"""
    output: Path
    """folder for both files"""
    seed: int = 0
    """of the order"""

    def run(self) -> None:
        webqa, sogou = read_questions(self.webqa), read_questions(self.sogouqa)
        for name in ("train.json", "valid.json"):
            require_writable(self.output / name)
        order = np.random.default_rng(self.seed).permutation(len(sogou))
        valid = [sogou[i] for i in order[::3]]
        rest = [sogou[i] for place, i in enumerate(order) if place % 3]
        if not rest:
            raise ValueError(f"{self.sogouqa}: {len(sogou)} questions cannot be split; expected at least 2.")
        # ids are unique in a file: the second time, and where both sets use one, they are told apart
        again = [dataclasses.replace(question, id=f"{question.id}#2") for question in rest]
        taken = {question.id for question in rest + again}
        others = [dataclasses.replace(q, id=f"webqa/{q.id}") if q.id in taken else q for q in webqa]
        for name, questions in (("train.json", rest + again + others), ("valid.json", valid)):
            write_questions(questions, self.output / name)
            say(f"{self.output / name}: {len(questions)} questions")


@dataclass(kw_only=True)
class Evaluate:
    """Score a reader on a file, answerable and unanswerable questions also apart."""

    model: Path
    """run directory"""
    data: Path
    """questions with answers"""
    predictions: Path | None = None
    """write the answers there, id and answer separated by a tab"""
    baselines: tuple[Path, ...] = ()
    """training files: also score trivial baselines, fitted to them where they learn anything"""
    mode: str = "extractive"
    """extractive or generative"""
    beam_size: int = 1
    json: bool = False
    """the last line of the output is one JSON object"""

    def run(self) -> None:
        questions = read_questions(self.data)
        training = [question for path in self.baselines for question in read_questions(path)]
        if self.predictions is not None:
            require_writable(self.predictions)
        reader = load(self.model)
        started = time.monotonic()
        predictions = _predict(reader, questions, self.mode, self.beam_size, bar=True)
        seconds = time.monotonic() - started
        say(f"{len(questions)} questions in {seconds:.1f} s")
        scores = {"reader": score_reading(questions, predictions)}
        if training:
            for name, predict in fit_baselines(training).items():
                scores[name] = score_reading(questions, {q.id: predict(q) for q in questions})
        if self.predictions is not None:
            _write_predictions(self.predictions, predictions)
        print(_table(scores))
        if self.json:
            print(json.dumps({"scores": scores, "seconds": seconds}, ensure_ascii=False))


@dataclass(kw_only=True)
class Predict:
    """Answer one question, or the questions of a file."""

    model: Path
    """run directory"""
    question: str | None = None
    passage: tuple[str, ...] = ()
    """one or more passages for --question"""
    data: Path | None = None
    """questions with passages; needs --output, --show or --json"""
    output: Path | None = None
    """id and answer separated by a tab"""
    show: int = 0
    """print this many questions of --data with their passages and answers"""
    picture: Path | None = None
    """for --question: write a page (HTML) with what the answer's tokens looked at, and the vote"""
    mode: str = "extractive"
    """extractive or generative"""
    beam_size: int = 1
    json: bool = False
    """print one JSON object: the answer with its evidence, or id to answer; with --show on the last line"""

    def run(self) -> None:
        if (self.question is None) == (self.data is None):
            raise ValueError("give either --question with --passage, or --data with --output or --show.")
        if self.question is not None:
            if not self.passage:
                raise ValueError("--question needs --passage TEXT...")
            if self.output is not None or self.show:
                raise ValueError("--output and --show go with --data; the answer to --question is printed.")
            if self.picture is not None:
                require_writable(self.picture)
            reader = load(self.model)
            answer = reader.answer(self.question, self.passage, self.mode, self.beam_size)
            if self.picture is not None:
                write_text(self.picture, draw_answer(reader, self.question, self.passage, answer))
            print(json.dumps(dataclasses.asdict(answer), ensure_ascii=False) if self.json else _shown(answer))
            return
        if self.picture is not None:
            raise ValueError("--picture goes with --question.")
        if self.passage:
            raise ValueError("--passage goes with --question; --data has passages of its own.")
        if self.output is None and not self.show and not self.json:
            raise ValueError("--data needs --output FILE, --show N or --json.")
        questions = read_questions(self.data)
        if self.output is not None:
            require_writable(self.output)
        elif not self.json:
            questions = questions[: self.show]
        reader = load(self.model)
        predictions = _predict(reader, questions, self.mode, self.beam_size, bar=self.output is not None)
        if self.output is not None:
            _write_predictions(self.output, predictions)
        for question in questions[: self.show]:
            print(f"\n问题 {question.question}")
            for i, passage in enumerate(question.passages):
                print(f"篇章{i + 1} {passage.text}")
            found, gold = predictions[question.id], " / ".join(question.answers)
            print(f"回答 {found or NOTHING}    标准答案 {gold or NOTHING}")
        if self.json:
            print(json.dumps(predictions, ensure_ascii=False))


def _predict(reader, questions, mode, beam_size, bar) -> dict[str, str]:
    asked = [question for question in questions if question.question.strip()]  # CMRC2018 was published with a blank one
    pairs = [(question.question, [p.text for p in question.passages]) for question in asked]
    wrap = (lambda groups: progress_bar(groups, "answering")) if bar else iter
    answers = reader.answer_batch(pairs, mode, beam_size, progress=wrap)
    found = {question.id: answer.text for question, answer in zip(asked, answers, strict=True)}
    return {question.id: found.get(question.id, "") for question in questions}


def _validation_scores(reader, questions) -> dict[str, float]:
    scores = score_reading(questions, _predict(reader, questions, "extractive", 1, bar=False))
    found = {name: scores["all"][name] for name in ("cmrc_em", "cmrc_f1")}
    found |= {f"answerable_{name}": scores["answerable"][name] for name in ("cmrc_em", "cmrc_f1")}
    say("validation: " + ", ".join(f"{name} {value:.2f}" for name, value in found.items()))
    return found


def _write_predictions(path: Path, predictions: dict[str, str]) -> None:
    lines = [f"{key}\t{' '.join(answer.split())}\n" for key, answer in predictions.items()]
    write_text(path, "".join(lines))
    say(f"{path}: {len(lines)} answers")


def _table(scores) -> str:
    columns = ("sogou_accuracy", "sogou_f1", "sogou_final", "cmrc_em", "cmrc_f1")
    lines = [f"{'':24}{'questions':>10}" + "".join(f"{name:>16}" for name in columns)]
    for name, sections in scores.items():
        for section, values in sections.items():
            if values["questions"]:
                label = name if section == "all" else f"  {section}"
                cells = "".join(f"{values[c]:16.2f}" if "cmrc" in c else f"{values[c]:16.4f}" for c in columns)
                lines.append(f"{label:24}{values['questions']:>10}{cells}")
    return "\n".join(lines)


def _shown(answer) -> str:
    lines = [answer.text or NOTHING]
    for e in answer.evidence:
        where = f"characters {e.start} to {e.end}" if e.start is not None else "not literally in it"
        window = f", window {e.window + 1}" if e.window else ""
        lines.append(f"  passage {e.passage + 1}{window}: probability {e.probability:.3f}, {where}")
    return "\n".join(lines)


def _jsonable(values: dict) -> dict:
    return json.loads(json.dumps(values, default=str))


COMMANDS = {"prepare": Prepare, "train": Train, "evaluate": Evaluate, "predict": Predict}
