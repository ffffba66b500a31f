"""Verbs and options that had other names in version 0.1; the old names still work and print a note."""

from collections.abc import Callable, Sequence

from nlptasks.errors import told

IS_NOW, NOT_NEEDED = "{old} is now {new}", "{old} is not needed any more"
_COLUMNS = {"--text": "--text-column", "--second-text": "--second-text-column", "--label": "--label-column"}
_LENGTH = {"--max-length": "--seq-length"}
OPTIONS: dict[tuple[str, str], dict[str, str]] = {
    ("classification", "train"): _COLUMNS | _LENGTH,
    ("classification", "evaluate"): _COLUMNS,
    ("classification", "predict"): _COLUMNS,
    ("labeling", "train"): _LENGTH,
    ("compression", "train"): _COLUMNS | _LENGTH,
    ("conditional", "train"): _LENGTH | {"--hold-out": "--hold-out-share"},
    ("similarity", "train"): {"--hold-out": "--hold-out-every"},
    ("segmentation", "train"): {"--hold-out": "--hold-out-every"},
    ("segmentation", "evaluate"): {"--every": "--hold-out-every"},
    ("segmentation", "segment"): {"--data": ""},  # files are named without an option
}
"""(application, verb) -> old option: new one; "" if only the values remain"""
VALUES: dict[tuple[str, str, str], dict[str, str]] = {("similarity", "train", "--pooling"): {"cls": "first"}}
"""(application, verb, option) -> old value: new one"""
VERBS: dict[tuple[str, str, str], str] = {("reading", "predict", "--question"): "answer"}
"""(application, verb, an option that only the old verb had) -> the new verb"""


def translate(words: Sequence[str], note: Callable[[str], None]) -> list[str]:
    """Translates a command line to today's names.

    Args:
        words: application, verb, options.
        note: is called once with a note on what was translated.
    """
    if len(words) < 2:
        return list(words)
    application, verb, *rest = words
    notes = []
    for (first, second, option), new_verb in VERBS.items():
        if (application, verb) == (first, second) and any(_name(word) == option for word in rest):
            notes.append(
                told(IS_NOW, old=f"`{application} {verb} {option}`", new=f"`{application} {new_verb} {option}`")
            )
            verb = new_verb
    renamed, out = OPTIONS.get((application, verb), {}), []
    for word in rest:
        name = _name(word)
        if name in renamed:
            new = renamed[name]
            notes.append(told(IS_NOW if new else NOT_NEEDED, old=name, new=new))
            out += [new + word[len(name) :]] if new else [word[len(name) + 1 :]] if "=" in word else []
            continue
        values = VALUES.get((application, verb, _name(out[-1])), {}) if out else {}
        if word in values:
            notes.append(told(IS_NOW, old=word, new=values[word]))
        out.append(values.get(word, word))
    if notes:
        note(told("note: {notes}.", notes="; ".join(dict.fromkeys(notes))))
    return [application, verb, *out]


def _name(word: str) -> str:
    """`--max_length=3` -> `--max-length`; other words are unchanged."""
    return word.partition("=")[0].replace("_", "-") if word.startswith("--") else word
