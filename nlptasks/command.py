"""The `nlptasks` command: `nlptasks APPLICATION VERB ...`, of which each application brings its own verbs."""

import importlib
import sys
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from nlptasks.console import Command

APPLICATIONS = {
    "reading": ("nlptasks.applications.reading.commands", "answers to questions out of several passages"),
    "segmentation": ("nlptasks.applications.segmentation.commands", "Chinese text cut into words"),
    "similarity": ("nlptasks.applications.similarity.commands", "vectors of sentences, and search with them"),
    "classification": ("nlptasks.applications.classification.commands", "labels of texts and of pairs of texts"),
    "labeling": ("nlptasks.applications.labeling.commands", "entities of texts"),
    "conditional": ("nlptasks.applications.conditional.commands", "texts written under labels or vectors"),
    "compression": ("nlptasks.applications.compression.commands", "fewer layers for a fine-tuned model"),
    "pretraining": ("nlptasks.pretraining.commands", "BERT from raw text"),
}
"""first word of the command line -> the module of its commands, and a description"""
SHORT_FORMS = {"segment": ("segmentation", "segment")}
"""short forms: first words that stand for two words"""


COMPLETION = "--print-completion"
"""first word that asks for a completion script; bash, zsh or tcsh follows"""


def usage() -> str:
    """The overview of all commands."""
    lines = ["usage: nlptasks APPLICATION VERB [OPTIONS]", "", "applications:"]
    lines += [f"  {word:16}{about}" for word, (_, about) in APPLICATIONS.items()]
    lines += ["", "short forms:"]
    lines += [f"  {word:16}nlptasks {' '.join(words)}" for word, words in SHORT_FORMS.items()]
    lines += ["", f"nlptasks {COMPLETION} bash (or zsh, tcsh) writes a script that completes commands."]
    lines += ["nlptasks APPLICATION --help lists its verbs; nlptasks APPLICATION VERB --help their options."]
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
        console.say(f"error: {word}: no such application; one of {', '.join([*APPLICATIONS, *SHORT_FORMS])}.")
        raise SystemExit(console.USAGE)
    word, *rest = aliases.translate([word, *rest], console.say)
    module = importlib.import_module(APPLICATIONS[word][0])
    return console.parse(module.COMMANDS, (module.__doc__ or "").splitlines()[0], rest, f"nlptasks {word}")


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the command and returns its exit status."""
    arguments = sys.argv[1:] if arguments is None else list(arguments)
    if not arguments or arguments[0] in ("-h", "--help"):
        sys.stdout.write(usage() + "\n")
        return 0
    from nlptasks import console
    from nlptasks.backend.startup import quiet_backends

    if arguments[0] == COMPLETION:
        console.print_completion(_all_commands(), arguments[1:])
    quiet_backends()
    return console.run(parse(arguments))


def _all_commands() -> dict[str, Any]:
    """For each first word the verbs of an application with their commands, or the command of a short form."""
    found = {word: importlib.import_module(module).COMMANDS for word, (module, _) in APPLICATIONS.items()}
    return found | {short: found[word][verb] for short, (word, verb) in SHORT_FORMS.items()}


def script(*words: str) -> Callable[[Sequence[str] | None], int]:
    """Returns the `main` of a script that runs the command with these first words."""

    def run_script(arguments: Sequence[str] | None = None) -> int:
        """Runs the command and returns its exit status."""
        return main([*words, *(sys.argv[1:] if arguments is None else arguments)])

    return run_script


if __name__ == "__main__":
    sys.exit(main())
