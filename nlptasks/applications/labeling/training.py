"""Training a labeler. The options alone import no backend."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from nlptasks.applications.options import LARGE, SMALL, EncoderTraining, Usual
from nlptasks.errors import UserError
from nlptasks.metrics.entities import score_entities
from nlptasks.text.entities import Entity, EntityText
from nlptasks.text.labeled import require_known
from nlptasks.train import progress
from nlptasks.train.options import require_at_least, require_one_of, require_positive
from nlptasks.train.record import open_run

if TYPE_CHECKING:
    from nlptasks.applications.labeling.labeler import Labeler
    from nlptasks.applications.labeling.samples import LabelingExamples

HEADS = ("crf", "global-pointer", "efficient-global-pointer")
SHOWN = ("precision", "recall", "f1")
NOTHING_FOUND = {"f1": 0.0}
"""the scores of a labeler that finds nothing"""
EntityLike = Entity | tuple[int, int, str]
"""an entity, or its start, end and type"""


@dataclass(kw_only=True)
class LabelerOptions(EncoderTraining):
    """Options of a labeler and its training."""

    RENAMED: ClassVar[dict[str, str]] = {"max_length": "seq_length"}
    USUAL: ClassVar[Mapping[str, Usual]] = {**EncoderTraining.USUAL, SMALL: Usual(1e-4, 10), LARGE: Usual(2e-5, 10)}

    epochs: int | None = None  # type: ignore[assignment] # a number once a run is settled
    """number of passes over the training data; default: 20 from random weights, 10 from a checkpoint; up to 30 where
    these are fewer than 100 updates"""
    head: str = "crf"
    """the head: crf, global-pointer or efficient-global-pointer"""
    seq_length: int = 128
    """the most tokens read at once, counting [CLS] and [SEP]; longer texts are split into windows at sentence ends"""
    head_size: int = 64
    """pointers: size of queries and keys"""
    crf_lr_multiplier: float = 1.0
    """crf: learning rate of the transitions as a multiple of the others'; 100 to 1000 suits a small learning rate"""

    def check(self) -> None:
        """Refuses values that are out of range or contradict each other."""
        super().check()
        require_one_of(self, head=HEADS)
        require_at_least(self, 4, "seq_length")
        require_positive(self, "crf_lr_multiplier")
        if self.head != "crf" and (self.head_size < 2 or self.head_size % 2):
            raise UserError(
                "{field:head_size} must be even and at least 2. Received: {value}.",
                value=self.head_size,
            )


def train_labeler(options: LabelerOptions, training: Sequence[EntityText], validation: Sequence[EntityText]) -> bool:
    """Trains a labeler; the epoch with the best entity F1 on `validation` is kept in the run directory.

    Returns:
        Whether the labeler finds entities.

    Raises:
        UserError: options or texts that do not go together.
    """
    types = entity_types(training)
    require_known(((entity.type, text.place) for text in validation for entity in text.entities), types)
    open_run(options, len(training))

    from nlptasks.applications.encoder import make_tokenizer, make_transformer
    from nlptasks.applications.labeling.labeler import Labeler, labeling_model
    from nlptasks.applications.labeling.samples import LabelingExamples
    from nlptasks.train.experiment import Experiment
    from nlptasks.train.run import start_run

    start_run(options.seed, options.precision, options.mesh)
    tokenizer = make_tokenizer(options, (text.text for text in training))
    encoder = make_transformer(options, tokenizer, options.seq_length)
    model = labeling_model(
        encoder, options.head, len(types), options.dropout, options.head_size, options.crf_lr_multiplier
    )
    labeler = Labeler(model, tokenizer, types, options.head, options.seq_length)
    progress.say(
        f"model: {model.count_params():,} parameters, vocabulary of {tokenizer.vocab_size}, {len(types)} types"
    )
    examples = LabelingExamples(tokenizer, options.seq_length, training, types, options.head == "crf", options.seed)
    _tell(examples, training)
    run = Experiment(options, labeler, examples, lambda: scores_of(labeler, validation), "f1", constant=NOTHING_FOUND)
    run.run()
    return run.learned


def _tell(examples: LabelingExamples, training: Sequence[EntityText]) -> None:
    entities = sum(len(text.entities) for text in training)
    progress.say(
        f"{len(training)} texts in {len(examples)} windows of at most {examples.seq_length} tokens, {entities} entities"
    )
    if examples.num_windows_cut:
        progress.say(f"{examples.num_windows_cut} texts are longer than one window and are read in several")
    if examples.num_lost:
        progress.say(
            f"{examples.num_lost} entities cannot be learned: they begin or end inside a token or across windows"
        )
    if examples.num_overlapping:
        progress.say(
            f"{examples.num_overlapping} entities overlap longer ones, which a CRF cannot learn; a pointer can"
        )


def entity_types(texts: Sequence[EntityText]) -> tuple[str, ...]:
    """The types of the entities of training texts, in the order of a model.

    Raises:
        UserError: there is no entity.
    """
    types = tuple(sorted({entity.type for text in texts for entity in text.entities}))
    if not types:
        raise UserError(
            "none of the {count} training texts has an entity (the first one: {first}); there is nothing to learn.",
            count=len(texts),
            first=texts[0].place if texts else "none",
        )
    return types


def entity_texts(texts: Sequence[str], entities: Sequence[Iterable[EntityLike]]) -> list[EntityText]:
    """Texts with their entities, as the readers of files give them.

    Args:
        texts: the texts.
        entities: of each text: `Entity`, or start, end and type, where the entity is `text[start:end]`.

    Raises:
        UserError: an empty text, a span that is not in its text, or not as many lists of entities as texts.
    """
    if len(texts) != len(entities) or not len(texts):
        raise UserError(
            "each text needs its entities, and at least one is needed. Received: {texts} texts, {lists} lists of "
            "entities.",
            texts=len(texts),
            lists=len(entities),
        )
    found = []
    for number, (text, given) in enumerate(zip(texts, entities, strict=True)):
        place = f"item {number}"
        if not text.strip():
            raise UserError("{place}: the text is empty; there is nothing to learn.", place=place)
        whole = tuple(sorted(_entity(text, one, place) for one in given))
        found.append(EntityText(text, whole, place))
    return found


def _entity(text: str, given: EntityLike, place: str) -> Entity:
    start, end, kind = (given.start, given.end, given.type) if isinstance(given, Entity) else given
    if not 0 <= start < end <= len(text):
        raise UserError(
            "{place}: an entity must lie in its text of {length} characters. Received: start {start}, end {end}.",
            place=place,
            length=len(text),
            start=start,
            end=end,
        )
    return Entity(start, end, kind, text[start:end])


def span_keys(entities: Iterable[Entity]) -> list[tuple[int, int, str]]:
    """Start, end and type of entities, as `score_entities` compares them."""
    return [(entity.start, entity.end, entity.type) for entity in entities]


def scores_of(labeler: Labeler, texts: Sequence[EntityText]) -> dict[str, float]:
    """Precision, recall and F1 of entities in percent, by name."""
    found = labeler.predict([text.text for text in texts])
    scores = score_entities([span_keys(text.entities) for text in texts], [span_keys(entities) for entities in found])
    return {name: scores[name] for name in SHOWN}
