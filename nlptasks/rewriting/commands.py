"""Text found by search: paraphrases, sentences of keywords, shorter headlines, without training.

    nlptasks rewrite --text 怎样修改密码 --contain 账号
    nlptasks rewrite --keywords 天气 公园 --min-length 8
    nlptasks rewrite --input headlines.txt --max-length 12 --keep-numbers --output runs/shorter.jsonl

docs/discovery.md describes the method and what it reaches.
"""

import dataclasses
import json
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from nlptasks.applications.options import require_input, require_output
from nlptasks.bundled import MINI, pretrained_path
from nlptasks.console import progress_bar, say
from nlptasks.errors import UserError, told
from nlptasks.files import parse_json, read_lines, require_writable, write_text
from nlptasks.rewriting.options import SearchOptions
from nlptasks.text import read_texts
from nlptasks.train.options import OnKeras, TextFiles, require_at_least

if TYPE_CHECKING:
    from nlptasks.rewriting.rewriter import Rewriting
    from nlptasks.rewriting.sampler import Run


@dataclass(kw_only=True)
class Rewrite(SearchOptions, OnKeras, TextFiles):
    """Rewrite texts by a search for what is fluent, close to the source and satisfies constraints.

    Words are replaced, inserted, deleted and swapped, and moves accepted by the rule of Metropolis and Hastings, at a
    temperature that falls. A line is source and text, separated by a tab.
    """

    text: tuple[str, ...] = ()
    """texts to rewrite"""
    keywords: tuple[str, ...] = ()
    """words that a sentence is to be made of; they must occur in it"""
    input: Path | None = None
    """file with one text per line, or JSON lines with `text`"""
    output: Path | None = None
    """file to write: a JSON object per text, as it is found"""
    resume: bool = False
    """go on with the output of an interrupted command"""
    model: str = MINI
    """what proposes words, and says how fluent a text is: mini, or a directory of a pretrained Transformer with its
    masked-LM head"""
    language_model: Path | None = None
    """what says how fluent a text is, in place of the model: a language model, run directory of `conditional train
    --conditioning none`"""
    encoder: str = "similarity"
    """what says how close two texts are: run directory, or similarity: the model that comes with the package"""
    segmenter: str = "segmenter"
    """what cuts words: run directory, or segmenter: the model that comes with the package"""
    words: Path | None = None
    """file with the words that may be put in, one a line, what follows a comma left out, as `nlptasks discover
    --dictionary` writes them; default: the list that comes with the package"""
    batch_size: int = 16
    """number of texts whose chains walk together"""
    trace: Path | None = None
    """picture to write: log probability and acceptance of the chains of the first text, step by step"""
    json: bool = False
    """print a JSON object per text: text, violations, log probability and its parts, edits, candidates"""

    def check(self) -> None:
        """Refuses values that are out of range or contradict each other."""
        super().check()
        require_at_least(self, 1, "batch_size")
        if sum(map(bool, (self.text, self.keywords, self.input))) != 1:
            raise UserError("give one of {field:text}, {field:keywords} and {field:input}.")
        if self.resume and self.output is None:
            raise UserError("{field:resume} goes with {field:output}.")
        self.constraints(*self.keywords)

    def run(self) -> None:
        """Reads, searches, prints or writes."""
        if self.input is not None:
            require_input(self.input)
        require_output(self.output, *([self.input] if self.input else []))
        if self.trace is not None:
            require_writable(self.trace)
        texts: list[Any] = [self.keywords] if self.keywords else list(self.text)
        if self.input is not None:
            texts = list(read_texts(self.input))
        done = self._done(len(texts))
        if self.language_model is not None:
            require_input(self.language_model / "config.json")
        pretrained_path(self.model)  # a missing model shows before Keras is imported
        words = [] if self.words is None else _words(self.words)
        if done == len(texts):
            return
        from nlptasks.rewriting.rewriter import Rewriter

        rewriter = Rewriter.open(pretrained_path(self.model), self.encoder, self.segmenter, words, self.language_model)
        unmet = 0
        for start in range(done, len(texts), self.batch_size):
            part = range(start, min(start + self.batch_size, len(texts)))
            found = rewriter.rewrite(
                [texts[number] for number in part],
                self,
                list(part),
                progress=lambda steps: progress_bar(steps, told("steps")),
                told=self._draw if self.trace is not None and start == done else lambda run: None,
            )
            unmet += sum(one.violations > 0 for one in found)
            self._show(found)
        if unmet:
            say("{count} of {all} texts violate a constraint; give more {field:steps}.", count=unmet, all=len(texts))

    def _done(self, count: int) -> int:
        """How many texts an interrupted command has written, in whole batches; what is left of another is taken away.

        So the same texts are computed together again, and what is found is the same.
        """
        if self.output is None or not self.output.is_file():
            return 0
        if not self.resume:
            raise UserError("{path}: exists; give {field:resume} to go on with it, or remove it.", path=self.output)
        text = self.output.read_text(encoding="utf-8")
        lines = [f"{line}\n" for line in text.split("\n")[:-1]]  # what is behind the last line end is unfinished
        for number, line in enumerate(lines, 1):
            parse_json(line, self.output, number)
        if len(lines) > count:
            raise UserError(
                "{path}: has {lines} texts, and the input {count}; it is of another command.",
                path=self.output,
                lines=len(lines),
                count=count,
            )
        done = len(lines) if len(lines) == count else len(lines) // self.batch_size * self.batch_size
        write_text(self.output, "".join(lines[:done]))
        return done

    def _show(self, found: list["Rewriting"]) -> None:
        rows = [json.dumps(dataclasses.asdict(one), ensure_ascii=False) + "\n" for one in found]
        if self.output is not None:
            with open(self.output, "a", encoding="utf-8") as file:
                file.writelines(rows)
        if self.json:
            sys.stdout.writelines(rows)
        elif self.output is None:
            sys.stdout.writelines(f"{one.source}\t{one.text}\n" for one in found)
        sys.stdout.flush()

    def _draw(self, run: "Run") -> None:
        from nlptasks.rewriting.picture import draw_trace

        assert self.trace is not None
        draw_trace(run, self.chains, self.trace)


def _words(path: Path) -> list[str]:
    """The words of a file."""
    words = [word for _, line in read_lines(path) if (word := line.partition(",")[0].strip())]
    if not words:
        raise UserError("{path}: holds no word.", path=path)
    return words


COMMANDS = Rewrite
