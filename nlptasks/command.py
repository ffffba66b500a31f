"""The `nlptasks` command: `nlptasks APPLICATION VERB ...`, of which each application brings its own verbs."""

import contextlib
import importlib
import sys
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from nlptasks.backend.startup import ended_by_ctrl_c
from nlptasks.catalogue import in_language, language, worded
from nlptasks.errors import UserError, fields_named, flag_of

if TYPE_CHECKING:
    from nlptasks.console import Command

APPLICATIONS = {
    "reading": ("nlptasks.applications.reading.commands", "answers to questions out of several passages"),
    "segmentation": ("nlptasks.applications.segmentation.commands", "Chinese text cut into words"),
    "similarity": ("nlptasks.applications.similarity.commands", "vectors of sentences, and search with them"),
    "classification": ("nlptasks.applications.classification.commands", "labels of texts and of pairs of texts"),
    "labeling": ("nlptasks.applications.labeling.commands", "entities of texts"),
    "multitask": ("nlptasks.applications.multitask.commands", "one encoder for several tasks, trained together"),
    "conditional": ("nlptasks.applications.conditional.commands", "texts written under labels or vectors"),
    "seq2seq": ("nlptasks.applications.seq2seq.commands", "texts written for texts: titles, questions, formulas"),
    "latent": ("nlptasks.applications.latent.commands", "sentences as vectors, and texts written from them"),
    "filling": ("nlptasks.applications.filling.commands", "likely tokens for the masks of a text"),
    "compression": ("nlptasks.applications.compression.commands", "fewer layers for a fine-tuned model"),
    "bert4keras": ("nlptasks.bert4keras.commands", "what of a bert4keras script is the same here"),
    "pretraining": ("nlptasks.pretraining.commands", "BERT from raw text"),
    "checkpoint": ("nlptasks.surgery.commands", "checkpoints shown, converted and changed"),
    "vectors": ("nlptasks.discovery.vector_commands", "vectors of words and documents from raw text"),
    "discovery": (
        "nlptasks.discovery.commands",
        "words and sentences of raw text, templates and communities of sentences",
    ),
    "rewrite": ("nlptasks.rewriting.commands", "texts found by search: paraphrases, sentences of keywords"),
    "batch": ("nlptasks.batch.commands", "any application over files of any size, by Apache Beam"),
    "explain": ("nlptasks.explain.commands", "which characters of a text an answer comes from"),
    "export": ("nlptasks.export.commands", "graphs of models that start at once and run without Keras"),
    "serve": ("nlptasks.serve.commands", "models over HTTP, with a page to try them"),
}
"""first word of the command line -> the module of its commands, and a description"""
SHORT_FORMS = {
    "segment": ("segmentation", "segment"),
    "fill": ("filling", "fill"),
    "discover": ("discovery", "words"),
    "cluster": ("discovery", "cluster"),
    "sentences": ("discovery", "sentences"),
}
"""short forms: first words that stand for two words"""


HELP, VERSION = ("-h", "--help"), ("-V", "--version")
COMPLETION = "--print-completion"
"""first word that asks for a completion script; bash, zsh or tcsh follows"""


def usage() -> str:
    """The overview of all commands."""
    lines = [worded("usage: nlptasks APPLICATION VERB [OPTIONS]"), "", worded("applications:")]
    lines += [f"  {word:16}{worded(about)}" for word, (_, about) in APPLICATIONS.items()]
    lines += ["", worded("short forms:")]
    lines += [f"  {word:16}nlptasks {' '.join(both)}" for word, both in SHORT_FORMS.items()]
    lines += ["", worded("nlptasks --print-completion bash (or zsh, tcsh) writes a script that completes commands.")]
    lines += [worded("nlptasks APPLICATION --help lists its verbs; nlptasks APPLICATION VERB --help their options;")]
    lines += [worded("nlptasks --version says which version this is.")]
    return "\n".join(lines)


def parse(arguments: Sequence[str]) -> "Command":
    """Returns the command of a command line, with its options.

    Raises:
        SystemExit: the line is wrong, or asks for help.
    """
    from nlptasks import aliases, console

    word, *rest = arguments
    if word in SHORT_FORMS:
        word, *short = SHORT_FORMS[word]
        rest = [*short, *rest]
    if word not in APPLICATIONS:
        known = ", ".join([*APPLICATIONS, *SHORT_FORMS])
        console.say_error(UserError("{word}: no such application; one of {known}.", word=word, known=known))
        raise SystemExit(console.USAGE)
    with fields_named(flag_of, in_language):
        word, *rest = aliases.translate([word, *rest], console.write_line)
    module = importlib.import_module(APPLICATIONS[word][0])
    return console.parse(module.COMMANDS, (module.__doc__ or "").splitlines()[0], rest, f"nlptasks {word}")


def main(arguments: Sequence[str] | None = None, before: Sequence[str] = ()) -> int:
    """Runs the command; returns its exit status.

    Args:
        arguments: None: the words of this process's own command line.
        before: words that stand before them.
    """
    with ended_by_ctrl_c() if arguments is None else contextlib.nullcontext():
        from nlptasks import console

        console.replace_on_terminals()
        words = [*before, *(sys.argv[1:] if arguments is None else arguments)]
        try:
            language()
        except UserError as error:
            console.say(f"error: {error}")
            return console.USAGE
        try:
            command = _asked(words)
            sys.stdout.flush()
        except BrokenPipeError:
            return console.leave_pipe()
        except SystemExit:  # help was asked for, or the line is wrong
            try:
                sys.stdout.flush()
            except BrokenPipeError:
                return console.leave_pipe()
            raise
    return console.OK if command is None else console.run(command)


def _asked(words: Sequence[str]) -> "Command | None":
    """The command of a line; None where the answer is written already."""
    if not words or words[0] in HELP:
        sys.stdout.write(usage() + "\n")
        return None
    if words[0] in VERSION:
        sys.stdout.write(f"nlptasks {importlib.import_module('nlptasks').__version__}\n")
        return None
    from nlptasks import console
    from nlptasks.backend.startup import quiet_backends

    if words[0] == COMPLETION:
        console.print_completion(_all_commands(), words[1:])
    quiet_backends()
    return parse(words)


def _all_commands() -> dict[str, Any]:
    """For each first word the verbs of an application with their commands, or the command of a short form."""
    found = {word: importlib.import_module(module).COMMANDS for word, (module, _) in APPLICATIONS.items()}
    return found | {short: found[word][verb] for short, (word, verb) in SHORT_FORMS.items()}


def script(*words: str) -> Callable[[Sequence[str] | None], int]:
    """Returns the `main` of a script that runs the command with these first words."""

    def run_script(arguments: Sequence[str] | None = None) -> int:
        """Runs the command; returns its exit status."""
        return main(arguments, words)

    return run_script


if __name__ == "__main__":
    sys.exit(main())
