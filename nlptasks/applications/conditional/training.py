"""Training a generator of texts under conditions. The options alone import no backend."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from nlptasks.applications.conditional.conditions import COMBINATIONS, CONDITIONINGS, Condition, Conditions
from nlptasks.applications.conditional.samples import pieces_of
from nlptasks.applications.holding import held_out
from nlptasks.applications.options import LARGE, EncoderTraining, Usual
from nlptasks.applications.unread import tell_cut
from nlptasks.errors import UserError
from nlptasks.text.conditioned import ConditionedText
from nlptasks.text.labeled import sort_labels
from nlptasks.train import progress
from nlptasks.train.options import require_at_least, require_one_of
from nlptasks.train.record import open_run

if TYPE_CHECKING:
    from nlptasks.core.transformer import Transformer
    from nlptasks.text import TextTokenizer


@dataclass(kw_only=True)
class GeneratorOptions(EncoderTraining):
    """Options of a conditional generator and its training."""

    RENAMED: ClassVar[dict[str, str]] = {"max_length": "seq_length", "hold_out": "hold_out_share"}
    SCRATCH_DEFAULTS: ClassVar[dict[str, int]] = EncoderTraining.SCRATCH_DEFAULTS | {"num_layers": 3}
    USUAL: ClassVar[Mapping[str, Usual]] = {**EncoderTraining.USUAL, LARGE: Usual(1e-4, 5)}

    learning_rate: float | None = None  # type: ignore[assignment] # a number once a run is settled
    """Adam's highest rate; default: 1e-3 from random weights, 1e-4 from a checkpoint"""
    num_layers: int | None = None
    """from scratch: number of layers; default: 3"""

    hold_out_share: float = 0.02
    """without validation texts: share of the training texts to hold out, at most 2000 texts"""
    conditioning: str = "norm"
    """norm: write the condition into every LayerNorm; prefix: put label tokens before the text; none: ignore it"""
    combine: str = "sum"
    """how the embeddings of several labels are combined: sum or concat"""
    label_size: int = 128
    """size of a label's embedding"""
    condition_hidden_size: int | None = None
    """width of a layer between condition and norms; default: no such layer"""
    condition_hidden_act: str = "linear"
    """activation of that layer"""
    label_dropout: float = 0.1
    """how often a text is read without its condition, and how often each of several labels is left out"""
    seq_length: int = 128
    """the most tokens of [CLS] text [SEP]; longer texts are cut at the end of a sentence"""
    split: bool = False
    """read a longer text as several, each with the same condition, instead of its beginning alone"""

    def check(self) -> None:
        """Refuses values that are out of range or contradict each other."""
        super().check()
        require_one_of(self, conditioning=CONDITIONINGS, combine=COMBINATIONS)
        require_at_least(self, 4, "seq_length")
        require_at_least(self, 1, "label_size", "condition_hidden_size")
        if not 0 <= self.label_dropout < 1:
            raise UserError("{field:label_dropout} must lie in [0, 1). Received: {value}.", value=self.label_dropout)


def train_generator(
    options: GeneratorOptions, training: Sequence[ConditionedText], validation: Sequence[ConditionedText] | None
) -> None:
    """Trains a generator; the epoch with the best likelihood of `validation` is kept in the run directory.

    Args:
        validation: None: a share of `training` is held out for it.

    Raises:
        UserError: options or texts that do not go together.
    """
    if validation is None:
        training, validation = held_out(training, options.hold_out_share, options.seed)
    conditions = conditions_of(training, options)
    require_known_conditions([*training, *validation], conditions)
    open_run(options, len(training))

    from nlptasks.applications.conditional.evaluation import likelihood
    from nlptasks.applications.conditional.generator import ConditionalGenerator
    from nlptasks.applications.conditional.network import conditional_model
    from nlptasks.applications.conditional.samples import ConditionalExamples
    from nlptasks.train.experiment import Experiment
    from nlptasks.train.run import start_run

    start_run(options.seed, options.precision, options.mesh)
    tokenizer = _tokenizer(options, training, conditions)
    if options.split:
        training, validation = (
            in_pieces(tokenizer, conditions, options.seq_length, texts) for texts in (training, validation)
        )
    model = conditional_model(_transformer(options, tokenizer, conditions), conditions)
    writer = ConditionalGenerator(model, tokenizer, conditions, options.seq_length)
    rows = conditions.rows(given_conditions(training, conditions))
    examples = ConditionalExamples(writer, [text.text for text in training], rows, options.label_dropout, options.seed)
    progress.say(
        f"model: {model.count_params():,} parameters, vocabulary of {tokenizer.vocab_size}; {shown(conditions)}"
    )
    progress.say(f"{len(examples)} texts, and {len(validation)} for validation")
    tell_cut(examples.num_cut, len(examples), "texts", options.seq_length)
    Experiment(options, writer, examples, lambda: likelihood(writer, validation), "log_likelihood").run()


def in_pieces(
    tokenizer: TextTokenizer, conditions: Conditions, seq_length: int, texts: Sequence[ConditionedText]
) -> list[ConditionedText]:
    """The texts, the longer ones as several; see `samples.pieces_of`."""
    room = seq_length - 1 - conditions.num_prefix_tokens
    return [replace(text, text=piece) for text in texts for piece in pieces_of(tokenizer, text.text, room)]


def _tokenizer(options: GeneratorOptions, texts: Iterable[ConditionedText], conditions: Conditions) -> TextTokenizer:
    from nlptasks.applications.encoder import make_tokenizer

    tokenizer = make_tokenizer(options, (text.text for text in texts))
    if not options.from_scratch or options.vocab is not None or not conditions.prefix_tokens:
        return tokenizer
    return tokenizer.with_tokens(conditions.prefix_tokens)


def _transformer(options: GeneratorOptions, tokenizer: TextTokenizer, conditions: Conditions) -> Transformer:
    from nlptasks.applications.encoder import make_transformer

    norms: dict[str, Any] = {"layer_norm_cond_size": conditions.size}
    if conditions.size is not None:
        norms["layer_norm_cond_hidden_size"] = options.condition_hidden_size
        norms["layer_norm_cond_hidden_act"] = options.condition_hidden_act
    return make_transformer(options, tokenizer, options.seq_length, application="lm", with_mlm="linear", **norms)


def conditions_of(texts: Sequence[ConditionedText], options: GeneratorOptions) -> Conditions:
    """What training texts are conditioned on: the labels of each column, or vectors.

    Raises:
        ValueError: they have neither, and `conditioning` is not "none".
    """
    columns = dict.fromkeys(column for text in texts for column in text.labels)
    vector = texts[0].vector if texts else None
    return Conditions(
        labels={
            column: sort_labels(text.labels[column] for text in texts if column in text.labels) for column in columns
        },
        vector_size=None if vector is None else len(vector),
        conditioning=options.conditioning,
        label_size=options.label_size,
        combine=options.combine,
    )


def given_conditions(texts: Sequence[ConditionedText], conditions: Conditions) -> list[Condition]:
    """The condition of each text, in the form that `Conditions.rows` takes."""
    return [text.labels if conditions.vector_size is None or text.vector is None else text.vector for text in texts]


def require_known_conditions(texts: Sequence[ConditionedText], conditions: Conditions) -> None:
    """Refuses a text whose condition the model does not know; the message names its place."""
    if conditions.conditioning == "none":
        return
    for text in texts:
        if (text.vector is None) != (conditions.vector_size is None):
            wanted = "labels" if text.vector is not None else f"vectors of {conditions.vector_size} numbers"
            raise ValueError(f"{text.place}: this model writes under {wanted}; give those.")
        try:
            conditions.rows(given_conditions([text], conditions))
        except ValueError as error:
            raise ValueError(f"{text.place}: {error}") from None


def conditioned_texts(texts: Sequence[str], conditions: Sequence[Condition]) -> list[ConditionedText]:
    """Texts with their conditions, as the readers of files give them.

    Args:
        texts: the texts.
        conditions: of each text: labels by column, or a vector.

    Raises:
        UserError: an empty text, or not as many conditions as texts.
    """
    if len(texts) != len(conditions) or not len(texts):
        raise UserError(
            "each text needs its condition, and at least one is needed. Received: {texts} texts, {conditions} "
            "conditions.",
            texts=len(texts),
            conditions=len(conditions),
        )
    found = []
    for number, (text, condition) in enumerate(zip(texts, conditions, strict=True)):
        if not text.strip():
            raise UserError("item {number}: the text is empty; there is nothing to learn.", number=number)
        labels, vector = {}, None
        if isinstance(condition, Mapping):
            labels = {column: label for column, label in condition.items() if label is not None}
        else:
            vector = np.asarray(condition, "float32")
        found.append(ConditionedText(text, labels, vector, f"item {number}"))
    return found


def shown(conditions: Conditions) -> str:
    """The conditions of a model, described in one line."""
    if conditions.vector_size is not None:
        return f"vectors of {conditions.vector_size} numbers ({conditions.conditioning})"
    columns = (f"{column}: {len(names)} labels" for column, names in conditions.labels.items())
    return f"{', '.join(columns) or 'no labels'} ({conditions.conditioning})"
