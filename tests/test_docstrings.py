"""The public names tell what they take, return and raise, and their examples can be typed as they stand."""

import ast
import builtins
import inspect
import re
from pathlib import Path

import pytest

import nlptasks

NAMES = [name for name in nlptasks.__all__ if name != "__version__"]
ON_NUMPY = {"load", "SentenceEncoder", "Segmenter", "Tokenizer", "UserDictionary"}  # nothing is trained or downloaded
README_METHODS = {
    "AutoRegressiveDecoder": ("beam_search", "random_sample"),
    "Classifier": ("classify", "train"),
    "ConditionalGenerator": ("generate", "score", "stream", "train"),
    "Generator": ("generate", "stream"),
    "Labeler": ("label", "train"),
    "MaskFiller": ("fill", "open"),
    "Reader": ("answer", "train"),
    "Segmenter": ("segment", "train"),
    "Seq2Seq": ("generate", "score", "stream", "train"),
    "SentenceEncoder": ("add", "encode", "most_similar", "similarity", "train"),
}
METHODS = [(owner, name) for owner, names in README_METHODS.items() for name in names]


def examples(docstring: str) -> list[str]:
    """The indented blocks behind blank lines; what is indented under a heading is no example."""
    found: list[list[str]] = [[]]
    for block in inspect.cleandoc(docstring).split("\n\n"):
        if block.startswith("    "):
            found[-1].append(block)
        else:
            found.append([])
    return [inspect.cleandoc("\n" + "\n\n".join(blocks)) for blocks in found if blocks]


def run(code: str) -> int:
    """Runs an example; an expression with a value in its comment must have that value. Returns how many had one."""
    names, compared = {"nlptasks": nlptasks}, 0
    for statement in ast.parse(code).body:
        line = code.splitlines()[statement.end_lineno - 1].encode()  # columns are counted in bytes
        comment = line[statement.end_col_offset :].decode().partition("#")[2].strip()
        if isinstance(statement, ast.Expr) and comment:
            found = eval(ast.unparse(statement), names)
            assert found == ast.literal_eval(comment), f"{ast.unparse(statement)}: {found!r}"
            compared += 1
        else:
            exec(ast.unparse(statement), names)
    return compared


@pytest.mark.parametrize("name", NAMES)
def test_every_public_name_has_an_example_that_parses(name):
    found = examples(getattr(nlptasks, name).__doc__)
    assert found, name
    for code in found:
        assert ast.parse(code).body


@pytest.mark.parametrize(("owner", "name"), METHODS)
def test_every_method_of_the_readme_has_an_example_and_says_what_it_raises(owner, name):
    docstring = getattr(getattr(nlptasks, owner), name).__doc__
    assert all(ast.parse(code).body for code in examples(docstring))
    assert examples(docstring)
    assert re.search(r"^ +Raises:$", docstring, re.MULTILINE)


@pytest.mark.parametrize("name", sorted(ON_NUMPY))
def test_the_examples_that_need_no_backend_give_what_they_say(name):
    assert sum(run(code) for code in examples(getattr(nlptasks, name).__doc__)) > 0


def test_an_example_is_told_from_a_heading_and_a_wrong_value_is_found():
    docstring = "Adds.\n\n    a = 1\n    a + 1  # 3\n\nArgs:\n    a: a number.\n"
    assert examples(docstring) == ["a = 1\na + 1  # 3"]
    with pytest.raises(AssertionError, match="a \\+ 1: 2"):
        run(examples(docstring)[0])
    assert run("a = 1  # a number\na + 1  # 2") == 1


@pytest.mark.parametrize("name", ["README.md", "README.zh-CN.md"])
def test_the_snippets_of_the_readme_import_and_define_what_they_use(name):
    text = (Path(__file__).parents[1] / name).read_text(encoding="utf-8")
    snippets = re.findall(r"^```python\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)
    assert len(snippets) > 4
    defined = set(dir(builtins))
    for snippet in snippets:
        alone = "from nlptasks.generate import" not in snippet  # that one goes on from the snippet before it
        defined = names_after(snippet, set(dir(builtins)) if alone else defined)
    assert sum(run(code) for code in snippets if 'load("segmenter")' in code) == 1


def names_after(code: str, defined: set[str]) -> set[str]:
    """The names that are there after `code`; all that it uses must be, and what it imports must exist."""
    defined = set(defined)
    for statement in ast.parse(code).body:
        nodes = list(ast.walk(statement))
        stored = {node.id for node in nodes if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store)}
        used = {node.id for node in nodes if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Load)}
        assert used - stored <= defined, f"{ast.unparse(statement)}: {sorted(used - stored - defined)}"
        if isinstance(statement, ast.Import | ast.ImportFrom):
            exec(ast.unparse(statement), {})
            stored |= {alias.asname or alias.name for alias in statement.names}
        defined |= stored
    return defined


def test_a_name_that_is_not_defined_is_found():
    with pytest.raises(AssertionError, match="encoder"):
        names_after("import nlptasks\nencoder.encode([])\n", set(dir(builtins)))
    assert "x" in names_after("import nlptasks\nx = nlptasks.load\n", set(dir(builtins)))
