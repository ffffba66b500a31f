"""The `nlptasks` command: `nlptasks APPLICATION VERB ...`, of which each application brings its own verbs."""

import importlib
import sys
from collections.abc import Callable, Sequence

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
"""first word of the command line -> the module of its commands, and what it is about"""
SHORT_FORMS = {"segment": ("segmentation", "segment")}
"""first words that stand for two"""


def usage() -> str:
    """The map of all commands."""
    lines = ["usage: nlptasks APPLICATION VERB [OPTIONS]", "", "applications:"]
    lines += [f"  {word:16}{about}" for word, (_, about) in APPLICATIONS.items()]
    lines += ["", "short forms:"]
    lines += [f"  {word:16}nlptasks {' '.join(words)}" for word, words in SHORT_FORMS.items()]
    lines += ["", "nlptasks APPLICATION --help lists its verbs; nlptasks APPLICATION VERB --help their options."]
    return "\n".join(lines)


def parse(arguments: Sequence[str]) -> object:
    """The command that a command line names, with its options.

    Raises:
        SystemExit: the line is wrong, or asks for help.
    """
    from nlptasks import console

    word, *rest = arguments
    if word in SHORT_FORMS:
        word, *short = SHORT_FORMS[word]
        rest = [*short, *rest]
    if word not in APPLICATIONS:
        console.say(f"error: {word}: no such application; one of {', '.join([*APPLICATIONS, *SHORT_FORMS])}.")
        raise SystemExit(console.USAGE)
    module = importlib.import_module(APPLICATIONS[word][0])
    if hasattr(module, "VERBS"):
        commands = module.load(rest[:1] if rest and rest[0] in module.VERBS else list(module.VERBS))
    else:
        commands = module.COMMANDS
    return console.parse(commands, module.__doc__.splitlines()[0], rest, f"nlptasks {word}")


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the command; returns its exit status."""
    arguments = sys.argv[1:] if arguments is None else list(arguments)
    if not arguments or arguments[0] in ("-h", "--help"):
        sys.stdout.write(usage() + "\n")
        return 0
    from nlptasks import console

    return console.run(parse(arguments))


def script(*words: str) -> Callable[[Sequence[str] | None], int]:
    """The `main` of a script that stands for the command that begins with these words."""

    def run_script(arguments: Sequence[str] | None = None) -> int:
        """Runs the command; returns its exit status."""
        return main([*words, *(sys.argv[1:] if arguments is None else arguments)])

    return run_script


if __name__ == "__main__":
    sys.exit(main())
