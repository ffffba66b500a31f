"""Texts rewritten by search: several chains a text, annealed; the best text that satisfies everything counts."""

import dataclasses
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from nlptasks.applications.conditional.generator import ConditionalGenerator
from nlptasks.applications.filling.filler import MaskFiller
from nlptasks.applications.segmentation.segmenter import Segmenter
from nlptasks.applications.similarity.encoder import SentenceEncoder
from nlptasks.bundled import MINI
from nlptasks.errors import UserError
from nlptasks.opening import load
from nlptasks.rewriting.constraints import Constraints, edit_distance, numbers_of
from nlptasks.rewriting.masked import IMPOSSIBLE, MaskedModel
from nlptasks.rewriting.moves import Moves, State
from nlptasks.rewriting.objective import Objective, Value
from nlptasks.rewriting.options import SearchOptions
from nlptasks.rewriting.proposals import MaskedProposer
from nlptasks.rewriting.sampler import Run, Sampler, chain_uniforms, cooling
from nlptasks.rewriting.words import Lexicon, Vocabulary, bundled_words, joined


@dataclass(frozen=True)
class Rewriting:
    """What was found for a text.

    Attributes:
        source: the text, or the keywords with spaces between them.
        text: the best text that satisfies every constraint; where none was found, the one that violates least.
        violations: how much of the constraints it violates; 0: nothing.
        log_p: log probability, up to a constant, and its parts: mean log probability of a token, and cosine with the
            source.
        edits: insertions, deletions and replacements of characters between source and text.
        candidates: the best text of each chain that violates no more, the best first.
    """

    source: str
    text: str
    violations: int
    log_p: float
    fluency: float
    closeness: float
    edits: int
    candidates: tuple[str, ...] = field(default=())


class Rewriter:
    """Rewrites texts.

        rewriter = Rewriter.open()
        rewriter.rewrite(["怎样修改密码"], SearchOptions(steps=50))[0].text

    Args:
        model: says how fluent a text is, and what fits between words.
        encoder: says how close two texts are.
        segmenter: cuts the texts into the words that are moved.
        words: that may be put in, besides those of the texts.
        writer: a language model that says how fluent a text is, in place of `model`; it takes no condition.

    Raises:
        UserError: a writer that takes conditions.
    """

    def __init__(
        self,
        model: MaskedModel,
        encoder: SentenceEncoder,
        segmenter: Segmenter,
        words: Iterable[str] = (),
        writer: ConditionalGenerator | None = None,
    ) -> None:
        self.model, self.encoder, self.segmenter = model, encoder, segmenter
        self._fluency = model.fluency if writer is None else fluency_of(writer)
        self.lexicon = Lexicon(list(words) or bundled_words(), model.tokenize)

    @classmethod
    def open(
        cls,
        model: str | Path = MINI,
        encoder: str | Path = "similarity",
        segmenter: str | Path = "segmenter",
        words: Iterable[str] = (),
        writer: str | Path | None = None,
    ) -> "Rewriter":
        """Opens the models: bundled names, or directories."""
        masked = MaskedModel(MaskFiller.open(model))
        judge = None if writer is None else load(writer, ConditionalGenerator)
        return cls(masked, load(encoder, SentenceEncoder), load(segmenter, Segmenter), words, judge)

    def rewrite(
        self,
        texts: Sequence[str | Sequence[str]],
        options: SearchOptions,
        numbers: Sequence[int] | None = None,
        constraints: Sequence[Constraints] | None = None,
        progress: Callable[[Iterable[int]], Iterable[int]] = iter,
        told: Callable[[Run], None] = lambda run: None,
    ) -> list[Rewriting]:
        """Rewrites texts, all of their chains together.

        Args:
            texts: strings, or lists of keywords.
            options: constraints and search.
            numbers: of the texts, which their random numbers depend on; None: 0, 1, ...
            constraints: of each text; None: those of the options.
            progress: wraps the iteration over steps (`tqdm`).
            told: receives what the chains did, those of the first text first.

        Returns:
            A `Rewriting` for each.

        Raises:
            UserError: a text without words, or one that is too long.
        """
        cut = iter(self.segmenter.segment([text for text in texts if isinstance(text, str)]))
        states = [_words(next(cut) if isinstance(text, str) else text) for text in texts]
        sources = [
            joined(state) if isinstance(text, str) else " ".join(state)
            for text, state in zip(texts, states, strict=True)
        ]
        if constraints is None:
            told_of = zip(texts, sources, states, strict=True)
            constraints = [self._constraints(text, source, state, options) for text, source, state in told_of]
        starts = [_start(*pair) for pair in zip(states, constraints, strict=True)]
        for number, (source, start) in enumerate(zip(sources, starts, strict=True), 1):
            if not start:
                raise UserError("text {number}: has no words. Received: {text!r}.", number=number, text=source)
            self.model.require_room(start, f"text {number}")
        chains = [text for text in range(len(texts)) for _ in range(options.chains)]
        vocabularies = [
            Vocabulary(self.lexicon, start + state, self.model.tokenize)
            for start, state in zip(starts, states, strict=True)
        ]
        moves = [_moves(start, rules, options) for start, rules in zip(starts, constraints, strict=True)]
        target = Objective(self._fluency, self.encoder.encode, sources, constraints, options.weights, chains)
        best = _Best(target, options.chains)
        sampler = Sampler(
            target, MaskedProposer(self.model, [vocabularies[i] for i in chains]), [moves[i] for i in chains]
        )
        names = range(len(texts)) if numbers is None else numbers
        uniforms = [
            chain_uniforms(options.seed, names[text] * options.chains + chain % options.chains, options.steps)
            for chain, text in enumerate(chains)
        ]
        temperatures = cooling(options.temperature, options.last_temperature, options.steps)
        told(sampler.run([starts[i] for i in chains], np.stack(uniforms, axis=1), temperatures, best.watch, progress))
        return [best.found(number, source) for number, source in enumerate(sources)]

    def _constraints(self, text: str | Sequence[str], source: str, state: State, options: SearchOptions) -> Constraints:
        keywords = () if isinstance(text, str) else state
        return dataclasses.replace(
            options.constraints(*keywords),
            numbers=numbers_of(source) if options.keep_numbers else None,
            source=source,
            min_edits=options.min_edits if isinstance(text, str) else 0,
        )


def fluency_of(writer: ConditionalGenerator) -> Callable[[Sequence[State]], np.ndarray]:
    """The mean log probability of a token of each text (N,), float64, its end counted, by a causal language model.

    An empty text has that of an impossible token.
    """
    if writer.conditions.conditioning != "none":
        raise UserError(
            "{field:language_model}: is to be trained without conditions (conditional train --conditioning none). "
            "Received: conditioning {kind!r}.",
            kind=writer.conditions.conditioning,
        )

    def fluency(states: Sequence[State]) -> np.ndarray:
        texts = [joined(state) for state in states]
        some = [i for i, text in enumerate(texts) if text]
        means = np.full(len(texts), IMPOSSIBLE)
        if some:
            summed, lengths = writer.score([texts[i] for i in some], [{}] * len(some))
            means[some] = summed / lengths
        return means.clip(max=0)

    return fluency


class _Best:
    """The best text of each chain: of those that violate least, the most probable one."""

    def __init__(self, target: Objective, chains: int) -> None:
        self._target, self._chains = target, chains
        self._best: dict[int, tuple[State, Value]] = {}

    def watch(self, chains: Sequence[int], states: Sequence[State], _: np.ndarray) -> None:
        """Looks at what a step has moved."""
        for chain, state, value in zip(chains, states, self._target.values(chains, states), strict=True):
            if chain not in self._best or _order(value) < _order(self._best[chain][1]):
                self._best[chain] = state, value

    def found(self, number: int, source: str) -> Rewriting:
        """What the chains of a text have found."""
        mine = [self._best[chain] for chain in range(number * self._chains, (number + 1) * self._chains)]
        mine.sort(key=lambda pair: _order(pair[1]))
        (state, value), *_ = mine
        text = joined(state)
        alike = (each for each, worth in mine if worth.violations == value.violations)
        candidates = tuple(dict.fromkeys(map(joined, alike)))
        edits = edit_distance(text, source)
        return Rewriting(source, text, value.violations, value.log_p, value.fluency, value.closeness, edits, candidates)


def _order(value: Value) -> tuple[int, float]:
    return value.violations, -value.log_p


def _words(words: Iterable[str]) -> State:
    return tuple(stripped for word in words if (stripped := "".join(word.split())))


def _start(state: State, rules: Constraints) -> State:
    """The words to start from: those that must not be there are taken out, those that must are put behind."""
    kept = [word for word in state if not any(each in word for each in rules.avoid)]
    for word in rules.contain:
        if word not in joined(kept):
            kept.append(word)
    return tuple(kept)


def _moves(start: State, rules: Constraints, options: SearchOptions) -> Moves:
    """As many words as the start has, and then some; where texts may be longer, as many as they have characters."""
    most = max(2 * len(start), rules.max_length or 0, rules.min_length or 0, 4)
    return Moves(
        replace=options.replace, insert=options.insert, delete=options.insert, swap=options.swap, fewest=1, most=most
    )
