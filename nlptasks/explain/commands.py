"""Which characters of a text an answer comes from. Imports no backend before a model is opened."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from nlptasks.applications.options import require_output
from nlptasks.console import say
from nlptasks.errors import UserError
from nlptasks.files import write_text
from nlptasks.opening import load
from nlptasks.train.options import OnKeras, Options, require_one_of

if TYPE_CHECKING:
    from nlptasks.explain.explained import Explained

BASELINES = ("zero", "mask", "mean")


@dataclass(kw_only=True)
class Explain(Options, OnKeras):
    """Explain an answer of a classifier, a labeler or a reader, by integrated gradients and other methods."""

    model: Path
    """the run directory of a model"""
    text: str | None = None
    """the text; of a pair the first; not for a reader"""
    second_text: str | None = None
    """classifier of pairs: the second text"""
    label: str | None = None
    """classifier: the label that is explained; default: the best one. Labeler: the type of the entity"""
    question: str | None = None
    """reader: the question"""
    passage: tuple[str, ...] = ()
    """reader: one or more passages"""
    baseline: str = "mask"
    """what the text is compared with: zero, mask or mean, in the place of the embeddings of its tokens"""
    output: Path | None = None
    """write a page that shades the text to this file"""
    json: bool = False
    """print one JSON object with the numbers of all tokens"""

    def check(self) -> None:
        """Refuses values that are out of range or contradict each other."""
        super().check()
        require_one_of(self, baseline=BASELINES)
        require_output(self.output)
        if (self.text is None) == (self.question is None):
            raise UserError("give either {field:text} TEXT or {field:question} with {field:passage}.")
        if (self.question is None) != (not self.passage):
            raise UserError("{field:question} goes with {field:passage}.")

    def run(self) -> None:
        explained = self._explained()
        from nlptasks.explain.methods import METHODS, Methods
        from nlptasks.explain.page import as_values, draw

        methods = Methods(explained)
        integrated = methods.integrated_gradients(self.baseline)
        if not integrated.complete:
            say(
                "the scores miss their sum by {error:.3g} after {steps} steps; they are not complete.",
                error=integrated.error,
                steps=integrated.steps,
            )
        others = {name: method(methods) for name, method in METHODS.items()}
        if self.output is not None:
            write_text(self.output, draw(explained, integrated, others))
        values = as_values(explained, integrated, others)
        if self.json:
            print(json.dumps(values, ensure_ascii=False))
            return
        print(f"{explained.what}\t{integrated.value:.3f}")
        for row in sorted(values["tokens"], key=lambda row: -abs(row["integrated_gradients"])):
            print(f"{row['integrated_gradients']:+.4f}\t{row['token']}\t{row['start']}")

    def _explained(self) -> Explained:
        application = load(self.model)
        from nlptasks.applications.classification.classifier import Classifier
        from nlptasks.applications.labeling.labeler import Labeler
        from nlptasks.applications.reading.reader import Reader
        from nlptasks.explain.explained import answer_to_question, entity_of_text, label_of_text

        if isinstance(application, Reader):
            if self.question is None:
                raise UserError("a reader takes {field:question} and {field:passage}.")
            answer = application.answer(self.question, self.passage)
            return answer_to_question(application, self.question, self.passage, answer)
        if self.text is None:
            raise UserError("{model}: reads texts; give {field:text}.", model=self.model)
        if isinstance(application, Classifier):
            if application.pair != (self.second_text is not None):
                raise UserError(
                    "{model}: this classifier reads {what}; {hint} {field:second_text}.",
                    model=self.model,
                    what="pairs of texts" if application.pair else "texts",
                    hint="give" if application.pair else "leave out",
                )
            text = self.text if self.second_text is None else (self.text, self.second_text)
            return label_of_text(application, text, self.label)
        if isinstance(application, Labeler):
            found = [one for one in application.label(self.text) if self.label in (None, one.type)]
            if not found:
                raise UserError("the model finds no such entity in the text; there is nothing to explain.")
            return entity_of_text(application, self.text, found[0])
        raise UserError(
            "{model}: holds a model that cannot be explained; classifiers, labelers and readers can.", model=self.model
        )


COMMANDS = Explain
