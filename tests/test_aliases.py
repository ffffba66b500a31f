"""Every old name is understood as the new one, with one note."""

import pytest

from nlptasks import aliases, command, console

REQUIRED = {
    ("classification", "train"): ["--train", "a", "--valid", "b", "--output", "c"],
    ("classification", "evaluate"): ["--model", "a", "--data", "b"],
    ("classification", "predict"): ["--model", "a", "--data", "b"],
    ("labeling", "train"): ["--train", "a", "--valid", "b", "--output", "c"],
    ("compression", "train"): [
        *("--task", "classification", "--train", "a", "--valid", "b", "--output", "c", "--successor-layers", "1"),
    ],
    ("conditional", "train"): ["--train", "a", "--output", "b"],
    ("similarity", "train"): ["--train", "a", "--output", "b"],
    ("segmentation", "train"): ["--train", "a", "--standard", "b", "--output", "c"],
    ("segmentation", "evaluate"): ["--gold", "a"],
    ("segmentation", "segment"): [],
    ("reading", "predict"): ["--model", "a"],
}
"""what else a command cannot do without"""
NUMBERS = {"--max-length": "9", "--hold-out": "7", "--every": "7"}
CASES = [(words, old, new) for words, options in aliases.OPTIONS.items() for old, new in options.items()]


@pytest.mark.parametrize(("words", "old", "new"), CASES)
def test_an_old_option_is_the_new_one(words, old, new, capsys):
    value = "0.25" if words[0] == "conditional" and old == "--hold-out" else NUMBERS.get(old, "x")
    given = command.parse([*words, *REQUIRED[words], old, value])
    note = capsys.readouterr().err
    assert given == command.parse([*words, *REQUIRED[words], *([new] if new else []), value])
    assert capsys.readouterr().err == ""
    assert note.startswith("note: ")
    assert old in note
    assert note.count("\n") == 1
    assert given == command.parse([*words, *REQUIRED[words], f"{old.replace('-', '_').replace('__', '--')}={value}"])


@pytest.mark.parametrize(("place", "values"), aliases.VALUES.items())
def test_an_old_value_is_the_new_one(place, values, capsys):
    *words, option = place
    for old, new in values.items():
        given = command.parse([*words, *REQUIRED[tuple(words)], option, old])
        assert f"{old} is now {new}" in capsys.readouterr().err
        assert given == command.parse([*words, *REQUIRED[tuple(words)], option, new])


def test_a_verb_that_was_split_is_told_by_its_option():
    notes = []
    words = aliases.translate(
        ["reading", "predict", "--model", "a", "--question", "谁？", "--passage", "b"], notes.append
    )
    assert words == ["reading", "answer", "--model", "a", "--question", "谁？", "--passage", "b"]
    assert notes == ["note: `reading predict --question` is now `reading answer --question`."]
    assert aliases.translate(["reading", "predict", "--data", "b"], notes.append) == [
        "reading",
        "predict",
        "--data",
        "b",
    ]
    assert len(notes) == 1


def test_an_unknown_application_is_one_line(capsys):
    with pytest.raises(SystemExit) as stopped:
        command.parse(["rading", "train"])
    assert stopped.value.code == console.USAGE
    assert capsys.readouterr().err.startswith("error: rading: no such application; one of reading, ")
