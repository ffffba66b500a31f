"""Commands in Chinese: every text of the help and of an error has its Chinese, and is shown where it shall be."""

import ast
import functools
import io
import json
import keyword
import logging
import os
import re
import string
import subprocess
import sys
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

import numpy as np
import pytest

from nlptasks import command as command_line
from nlptasks import console
from nlptasks.applications.compression.training import STAGES
from nlptasks.applications.results import f1_table
from nlptasks.catalogue import (
    ERRORS,
    FOLDER,
    HELP,
    OUTPUT,
    SYSTEM,
    arguments,
    chinese_of,
    in_language,
    language,
    message,
    name_in,
    pages,
    texts,
)
from nlptasks.catalogue.matching import NUMBERS
from nlptasks.catalogue.widths import width, wrapped
from nlptasks.errors import UserError, fields_named, flag_of, told
from nlptasks.metrics.baselines import fit_baselines
from nlptasks.metrics.classification import score_labels
from nlptasks.metrics.entities import score_entities
from nlptasks.metrics.reading import score_reading
from nlptasks.metrics.segmentation import score_segmentation
from nlptasks.metrics.similarity import score_pairs, score_retrieval
from nlptasks.pretraining.commands import shards
from nlptasks.text import Passage, Question
from nlptasks.train.progress import progress_bar, say

pytestmark = pytest.mark.once
ROOT = Path(__file__).parents[1]
USER_ERRORS = ("UserError", "DivergedError", "MissingPackageError")
NOT_SHOWN = ("TypeError", "AttributeError", "IndexError", "KeyError", "NotImplementedError")
"""mistakes of a program, which no command shows"""
LETTERS, CHINESE, FIELD = re.compile("[A-Za-z]{2}"), re.compile("[\u4e00-\u9fff]"), re.compile("{field:[^}]+}")
KEYS = ("query_text", "question")
"""of files: they are shown as they are"""
FIELD_OR_VALUE = re.compile("{[^{}]*}")


# What must have its Chinese


def template_of(node: ast.expr, finished: bool = False) -> list[str]:
    """The templates that a string of a source can be: a string, one with values in it, or the choice of two.

    Args:
        finished: a string without values is no template, and its braces are braces.
    """
    if isinstance(node, ast.Constant) and isinstance(node.value, str):
        return [node.value.replace("{", "{{").replace("}", "}}") if finished else node.value]
    if isinstance(node, ast.IfExp):
        return template_of(node.body, finished) + template_of(node.orelse, finished)
    if not isinstance(node, ast.JoinedStr):
        return []
    parts, names = [], []
    for part in node.values:
        if isinstance(part, ast.Constant):
            parts.append(part.value.replace("{", "{{").replace("}", "}}"))
        else:
            found = re.findall(r"[A-Za-z_]\w*", re.sub(r"'[^']*'|\"[^\"]*\"", "", ast.unparse(part.value)))
            name = next((each for each in reversed(found) if not keyword.iskeyword(each)), "value")
            names.append(name)
            parts.append("{" + (name if names.count(name) == 1 else f"{name}_{names.count(name)}") + "}")
    return ["".join(parts)]


def phrases_in(node: ast.expr) -> list[str]:
    """The words that a value of a message is one or the other of, with values in them or without."""
    choices = [each for each in ast.walk(node) if isinstance(each, ast.IfExp)]
    found = [text for one in choices for each in (one.body, one.orelse) for text in template_of(each)]
    return [each for each in found if LETTERS.search(FIELD_OR_VALUE.sub("", each)) and each not in KEYS]


def assigned_in(tree: ast.AST) -> dict[str, list[ast.expr]]:
    """What is assigned to each name of a source."""
    named: dict[str, list[ast.expr]] = {}
    for node in ast.walk(tree):
        if isinstance(node, ast.Assign):
            pairs = [(node.targets[0], node.value)]
            if isinstance(node.targets[0], ast.Tuple) and isinstance(node.value, ast.Tuple):
                pairs = list(zip(node.targets[0].elts, node.value.elts, strict=True))
            for target, value in pairs:
                if isinstance(target, ast.Name):
                    named.setdefault(target.id, []).append(value)
    return named


def errors_in(source: str) -> Iterator[str]:
    """Templates of the errors that a source raises and of the notes that it says, and phrases in them."""
    tree = ast.parse(source)
    docstrings = {id(node.value) for node in ast.walk(tree) if isinstance(node, ast.Expr)}
    named = assigned_in(tree)
    for node in ast.walk(tree):
        if isinstance(node, ast.Constant) and FIELD.search(str(node.value)) and id(node) not in docstrings:
            yield str(node.value)

    def meant(node: ast.expr) -> list[ast.expr]:
        if isinstance(node, ast.IfExp):
            return meant(node.body) + meant(node.orelse)
        if isinstance(node, ast.Name):
            return [
                each for value in named.get(node.id, []) if not isinstance(value, ast.Name) for each in meant(value)
            ]
        return [node]

    for node in ast.walk(tree):
        name = ast.unparse(node.func).split(".")[-1] if isinstance(node, ast.Call) and node.args else ""
        if isinstance(node, ast.Call) and ast.unparse(node.func) == "notes.append":
            name = "say"
        if not re.fullmatch(r"[A-Z]\w*Error|say", name) or name in NOT_SHOWN:
            continue
        finished = not node.keywords if name == "say" else name not in USER_ERRORS
        given = meant(node.args[0])
        for template in (each for one in given for each in template_of(one, finished)):
            if LETTERS.search("".join(literal for literal, *_ in string.Formatter().parse(template))):
                yield template
        for value in [*(each.value for each in node.keywords), *(given if finished else [])]:
            inner = [each.id for each in ast.walk(value) if isinstance(each, ast.Name)]
            for each in [value, *(meant for name in inner for meant in named.get(name, []))]:
                yield from phrases_in(each)


def results_in(source: str) -> Iterator[str]:
    """Templates and names of results: what is given to `told`, or stands in a string that is printed as it is."""
    tree = ast.parse(source)
    named = assigned_in(tree)
    for node in ast.walk(tree):
        name = ast.unparse(node.func).split(".")[-1] if isinstance(node, ast.Call) and node.args else ""
        if name == "told":
            given = node.args[0]
            choices = [given.body, given.orelse] if isinstance(given, ast.IfExp) else [given]
            for one in choices:
                for meant in named.get(one.id, []) if isinstance(one, ast.Name) else [one]:
                    yield from template_of(meant)
        if name == "print":
            for part in ast.walk(node):
                literals = part.values if isinstance(part, ast.JoinedStr) else ()
                yield from (
                    each.value for each in literals if isinstance(each, ast.Constant) and LETTERS.search(each.value)
                )
                if part in node.args and isinstance(part, ast.Constant) and LETTERS.search(str(part.value)):
                    yield part.value


def constant_named(name: str, tree: ast.Module) -> ast.expr:
    """What a module assigns to a name at its top."""
    return next(
        node.value
        for node in tree.body
        if isinstance(node, ast.Assign) and [each.id for each in node.targets if isinstance(each, ast.Name)] == [name]
    )


def warnings_in(source: str) -> Iterator[str]:
    """Templates of what a source warns of in its log, which commands show."""
    tree = ast.parse(source)
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and ast.unparse(node.func) == "logger.warning" and len(node.args) > 1:
            if any(each.arg == "exc_info" for each in node.keywords):
                continue  # of a server, whose log is English
            text, *values = node.args
            if isinstance(text, ast.Name):
                text = constant_named(text.id, tree)
            assert isinstance(text, ast.Constant)
            names = iter(re.findall(r"\w+", ast.unparse(value))[0] for value in values)
            yield re.sub("%[srd]", lambda _, names=names: "{" + next(names) + "}", str(text.value))


def strings_in(source: str) -> Iterator[str]:
    """Every string of a source, as a template."""
    yield from warnings_in(source)
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Constant | ast.JoinedStr):
            yield from {*template_of(node), *template_of(node, True)}


def helps() -> Iterator[str]:
    """What the pages of help say."""
    for _, about in command_line.APPLICATIONS.values():
        yield about
    for application in command_line._all_commands().values():
        for each in [application] if isinstance(application, type) else application.values():
            yield from pages.paragraphs(each)
            for option in pages.dataclasses.fields(each):
                yield from pages.help_of(each, option.name)
    for module, _ in command_line.APPLICATIONS.values():
        yield (sys.modules[module].__doc__ or "").splitlines()[0]
    for name in ("command", "console"):
        for node in ast.walk(ast.parse((ROOT / "nlptasks" / f"{name}.py").read_text(encoding="utf-8"))):
            if isinstance(node, ast.Call) and ast.unparse(node.func) == "worded":
                yield from template_of(node.args[0])


@functools.cache
def of_sources(find: Callable[[str], Iterable[str]]) -> list[str]:
    """What is found in the sources of the library."""
    paths = sorted((ROOT / "nlptasks").rglob("*.py"))
    return list(dict.fromkeys(each for path in paths for each in find(path.read_text(encoding="utf-8"))))


def shown(missing: list[str], kind: str) -> str:
    """What is to be filled in, as it stands in the file."""
    lines = ",\n".join(f'  {json.dumps(each, ensure_ascii=False)}: ""' for each in dict.fromkeys(missing))
    return f"{len(missing)} texts have no Chinese; write it into nlptasks/catalogue/zh/{kind}.json:\n{lines}"


def test_every_error_has_its_chinese():
    sources = [*of_sources(errors_in), *of_sources(warnings_in)]
    missing = [each for each in sources if each not in texts(ERRORS)]
    assert not missing, shown(missing, ERRORS)


def names_of_results() -> Iterator[str]:
    """Names that a result has by its scorer, which a command shows in the language of the user."""
    one = [["甲"]]
    yield from (name for name in score_labels(one, one) if name != "labels")
    yield from score_entities([{(0, 1, "x")}], [{(0, 1, "x")}]).keys() - {"types"}
    yield from score_segmentation(one, one, {"甲"})
    yield from score_retrieval(lambda a, b: np.eye(2)[a:b], np.zeros(2))
    yield from score_pairs(np.array([0.1, 0.9]), np.array([0, 1]))
    question = Question("1", "谁？", (Passage("甲", answer="甲"),), answers=("甲",))
    for section, scores in score_reading([question], {"1": "甲"}).items():
        yield from (section, *scores.keys() - {"predicted", "blank"})
    yield from fit_baselines([question])
    yield from ("encoder", "hybrid", "bm25", "tfidf", "reader", "mean_f1", *STAGES, *shards.SUMMARY)
    yield from (each for each in shards.SUMMARY.values() if each)
    yield from ("tokens", "valid_loss", "valid_perplexity", "valid_accuracy", "steps", "skipped", "unigram_perplexity")
    yield from ("unigram_accuracy", "kept", "inside", "repaired", "cut", "lost", "empty")
    yield from ("family", "application", "embedding", "weights", "left over", "heads", "tokenizer")
    yield from (f"{kind}{name}" for name in ("rouge_1", "rouge_2", "rouge_l", "bleu") for kind in ("", "bert4keras_"))
    yield from ("rouge_1_words", "rouge_2_words", "rouge_l_words", "answer", "computable", "formula", "model", "copy")
    yield from ("lead", "first_sentence")
    yield from ("fits", "not", "memory", "operations", "collectives", "host", "largest")


def test_every_result_has_its_chinese():
    known = texts(ERRORS) | texts(OUTPUT)
    missing = [each for each in [*of_sources(results_in), *names_of_results()] if each not in known]
    assert not missing, shown(missing, OUTPUT)
    assert not texts(ERRORS).keys() & texts(OUTPUT).keys()  # one text has one Chinese


def test_a_result_without_its_chinese_is_found():
    source = "SCORES = '{n} scores'\nprint(f'{n} texts')\nprint('{n}', told(SCORES), told('one' if n else 'two'))\n"
    assert list(results_in(source)) == [" texts", "{n} scores", "one", "two"]


def test_every_text_of_the_help_has_its_chinese():
    missing = [each for each in helps() if each not in texts(HELP)]
    assert not missing, shown(missing, HELP)


def test_chinese_has_an_english_text_that_is_still_there():
    known = {*of_sources(strings_in), *of_sources(warnings_in), *helps(), *names_of_results()}
    assert [each for kind in (ERRORS, HELP, OUTPUT) for each in texts(kind) if each not in known] == []


def names_in(template: str) -> set[str]:
    return {name_in(field, form) for _, field, form, _ in string.Formatter().parse(template) if field is not None}


def test_chinese_has_the_values_of_the_english_text():
    raised = of_sources(errors_in)
    pairs = [*((each, chinese) for each, chinese in texts(ERRORS).items() if each in raised), *texts(OUTPUT).items()]
    wrong = [each for each, chinese in pairs if names_in(chinese) != names_in(each)]
    assert wrong == []


def test_a_value_that_is_matched_as_a_whole_number_is_one():
    fields = [(each, field, conversion) for each in of_sources(errors_in) for _, field, _, conversion in parsed(each)]
    assert [each for each, field, conversion in fields if field in NUMBERS and conversion] == []


def test_a_value_stands_in_one_form_so_that_its_match_is_it():
    wrong = []
    for each in of_sources(errors_in):
        names = {(field, conversion) for _, field, _, conversion in parsed(each) if field}
        wrong += [each] if len(names) > len({field for field, _ in names}) else []
    assert wrong == []


def parsed(template: str) -> Iterable[tuple[str, str | None, str | None, str | None]]:
    return string.Formatter().parse(template)


def test_chinese_is_chinese_that_a_terminal_in_gbk_can_write():
    for kind in (ERRORS, HELP, OUTPUT, SYSTEM):
        pairs = json.loads((FOLDER / f"{kind}.json").read_text(encoding="utf-8"), object_pairs_hook=list)
        assert len(pairs) == len(texts(kind)), "a text stands there twice"
        for english, chinese in texts(kind).items():
            name_or_marks = kind == OUTPUT and not re.search("[a-z]{2}", re.sub("{.*?}|Sogou", "", chinese))
            assert CHINESE.search(chinese) or name_or_marks, english
            assert chinese.encode("gbk").decode("gbk") == chinese
            assert not re.search(r"[\u4e00-\u9fff][,;:?!](?:\s|$)", chinese), f"half-width punctuation: {chinese}"


def test_a_text_without_its_chinese_is_found():
    source = (
        "raise UserError('{a} is {b!r}.', a=1, b='one thing' if x else 'two')\n"
        "raise ValueError(f'{path}: {len(lines)} lines {x[\"of\"]:.2f} {{y}}')\nraise ValueError(f'{path}: {error}')\n"
        "word = f'{self.path}: no word'\nraise OSError(word)\nraise TypeError('no list')"
    )
    assert list(errors_in(source)) == [
        *("{a} is {b!r}.", "one thing", "two", "{path}: {lines} lines {x} {{y}}", "{path}: no word"),
    ]


# Which language


@pytest.fixture
def environment(monkeypatch):
    """Sets the variables that choose the language, and no others of them."""

    def choose(**values):
        for name in ("NLPTASKS_LANG", "LC_ALL", "LC_MESSAGES", "LANG"):
            monkeypatch.delenv(name, raising=False)
        for name, value in values.items():
            monkeypatch.setenv(name, value)

    choose()
    return choose


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ({}, "en"),
        ({"LANG": "zh_CN.UTF-8"}, "zh"),
        ({"LANG": "zh_TW"}, "zh"),
        ({"LANG": "zh_CN.UTF-8", "LC_MESSAGES": "de_DE.UTF-8"}, "en"),
        ({"LANG": "en_US.UTF-8", "LC_ALL": "zh_CN.GBK"}, "zh"),
        ({"LANG": "zh_CN.UTF-8", "LC_ALL": "C.UTF-8"}, "en"),
        ({"LANG": "zh_CN.UTF-8", "LC_ALL": ""}, "zh"),
        ({"LANG": "zh_CN.UTF-8", "NLPTASKS_LANG": "en"}, "en"),
        ({"LC_ALL": "C", "NLPTASKS_LANG": "zh"}, "zh"),
        ({"LANG": "zh_CN.UTF-8", "NLPTASKS_LANG": ""}, "zh"),
    ],
)
def test_the_locale_chooses_the_language_unless_nlptasks_lang_does(environment, values, expected):
    environment(**values)
    assert language() == expected


def test_a_terminal_that_cannot_write_chinese_gets_english(environment, monkeypatch):
    environment(NLPTASKS_LANG="zh")
    for encoding, expected in (("ascii", "en"), ("latin-1", "en"), ("gbk", "zh"), ("utf-8", "zh")):
        monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(io.BytesIO(), encoding=encoding))
        assert language() == expected


def test_another_language_is_refused(environment, capsys):
    environment(NLPTASKS_LANG="fr")
    assert command_line.main(["--help"]) == 2
    expected = "error: the environment variable NLPTASKS_LANG must be zh or en. Received: 'fr'; correct it or unset it."
    assert capsys.readouterr().err.splitlines() == [expected]


# Errors


def test_an_error_is_chinese_on_the_command_line_and_english_in_python(environment, capsys, tmp_path):
    words = ["segment", "--model", str(tmp_path / "none")]
    environment(NLPTASKS_LANG="zh")
    assert command_line.main([*words, "--processes", "0"]) == 2
    assert command_line.main(words) == 2
    shown = capsys.readouterr().err.splitlines()
    assert shown[0] == "错误：--processes 至少为 1，实际为 0。"
    assert shown[1].startswith(f"错误：{tmp_path / 'none'}：没有这个目录；")
    assert len(shown) == 2
    error = UserError("{field:{name}} must be at least {least}. Received: {value}.", name="top", least=1, value=0)
    assert str(error) == "top must be at least 1. Received: 0."
    assert message(error, flag_of) == "--top 至少为 1，实际为 0。"
    environment()
    assert message(error, flag_of) == "--top must be at least 1. Received: 0."


def test_an_error_of_the_library_is_found_by_its_template():
    assert chinese_of("a.json:3: invalid JSON at column 15: Expecting value; correct the file there.") == (
        "a.json:3：第 15 列不是合法的 JSON（Expecting value）；请改正此处。"
    )
    assert chinese_of("run: top must be at least 1. Received: top=0.") == "run：top 至少为 1，实际为 top=0。"
    assert chinese_of("a.json: item 2: the key 'id' is missing. Received: 'text'; add it.") == (
        "a.json：第 2 项：缺少键 'id'，实际有 'text'；请加上。"
    )
    assert chinese_of("a.json: expected a JSON object. Received: a list.") == "a.json：应为 JSON 对象，实际为列表。"
    assert chinese_of("words.txt:2: expected a file. Received: a folder; name a file inside it.") == (
        "words.txt:2：应为文件，实际是目录；请给出其中的一个文件。"
    )
    assert chinese_of("nothing that is known: 3") == "nothing that is known: 3"


def test_a_value_that_a_person_has_written_stays(environment):
    environment(NLPTASKS_LANG="zh")
    error = UserError("{output}: no interrupted run here; leave {field:resume} out to start one.", output="texts")
    assert message(error, flag_of) == "texts：这里没有中断的运行；请去掉 --resume 来开始新的运行。"
    inner = UserError("{option} takes a number. Received: {value}.", option="--top", value="'b: c' behind the comma")
    outer = UserError("{where}: {error}", where="a.txt:2", error=inner)
    assert message(outer, flag_of) == "a.txt:2：--top 应为数，实际为逗号后的 'b: c'。"


def test_an_error_of_the_system_is_chinese(environment):
    environment(NLPTASKS_LANG="zh")
    assert message(FileNotFoundError(2, "No such file or directory", "a.txt"), flag_of) == "a.txt：没有这个文件或目录"
    assert message(OSError(28, "No space left on device"), flag_of) == "磁盘空间不足"


def test_a_note_is_chinese_on_the_command_line(environment, capsys):
    template = "{count} of {total} {what} are longer than {most} tokens; the rest of them is not read."
    values = {"count": 1, "total": 3, "what": "texts", "most": 5}
    for chosen in ("zh", "en"):
        environment(NLPTASKS_LANG=chosen)
        with fields_named(flag_of, in_language):
            say(template, **values)
            say("3 texts in 1.5 s")
            say("nothing that is known: 3")
    assert capsys.readouterr().err.splitlines() == [
        "3 个文本中有 1 个长于 5 个 token，其余部分不读。",
        "3 条文本，用时 1.5 秒",
        "nothing that is known: 3",
        "1 of 3 texts are longer than 5 tokens; the rest of them is not read.",
        "3 texts in 1.5 s",
        "nothing that is known: 3",
    ]


class Warned:
    def run(self):
        logging.getLogger("nlptasks.text.readers").warning("%s: the question %r is empty.", "a.json: item 1", "q7")


def test_a_warning_of_the_library_is_a_line_of_the_command(environment, capsys):
    environment(NLPTASKS_LANG="zh")
    assert console.run(Warned()) == 0
    assert capsys.readouterr().err == "a.json：第 1 项：问题 'q7' 为空。\n"


WRONG_LINES = [
    (["segmentation"], "nlptasks segmentation needs a verb", "nlptasks segmentation 后面缺少子命令"),
    (["segmentation", "cut"], "has no cut; its verbs are train, evaluate, segment", "没有 cut；子命令有"),
    (["cut"], "cut: no such application; one of reading,", "cut：没有这个应用"),
    (["segment", "--processes"], "--processes needs a value; see nlptasks", "--processes 后面缺少取值"),
    (
        ["segment", "--processes", "many"],
        "--processes takes a whole number. Received: 'many'.",
        "应为整数，实际为 'many'",
    ),
    (
        ["segment", "--textt", "好"],
        "has no --textt, 好; did you mean --text",
        "没有 --textt, 好；是不是想写 --text",
    ),
    (["segment", "--fo"], "has no --fo; nlptasks segmentation segment --help lists", "没有 --fo；"),
    (["segmentation", "evaluate"], "needs --gold PATH; nlptasks segmentation evaluate --help", "缺少 --gold PATH；"),
    (
        ["segmentation", "evaluate", "--foo"],
        "has no --foo, and needs --gold PATH; nlptasks segmentation evaluate --help",
        "没有 --foo，还缺少 --gold PATH；",
    ),
]


@pytest.mark.parametrize(("words", "english", "chinese"), WRONG_LINES)
def test_a_line_that_cannot_be_parsed_is_one_line_in_both_languages(environment, capsys, words, english, chinese):
    for chosen, start, expected in (("en", "error: ", english), ("zh", "错误：", chinese)):
        environment(NLPTASKS_LANG=chosen)
        with pytest.raises(SystemExit) as ended:
            command_line.main(words)
        out, err = capsys.readouterr()
        assert (ended.value.code, out, err.count("\n")) == (2, "", 1)
        assert err.startswith(start)
        assert expected in err


PLAIN_BOX = """
 Required options
 -------------------------------------
  Missing from nlptasks x train:
      --output PATH
          run directory (required)
      --valid {None}|PATH
  -------------------------------------
  Unrecognized options:
      --foo
      b
  -------------------------------------
  For full helptext, run:
      nlptasks x train --help
"""
DRAWN_BOX = "\n".join(f"\x1b[31m│\x1b[0m {line[2:]:70} │" for line in PLAIN_BOX.splitlines()[3:])


@pytest.mark.parametrize("box", [PLAIN_BOX, DRAWN_BOX])
def test_a_box_is_read_however_it_is_drawn(box):
    expected = (
        "nlptasks x train has no --foo, b, and needs --output PATH, --valid PATH; nlptasks x train --help lists its"
    )
    assert str(arguments.refusal_of(box, "nlptasks x train")) == f"{expected} options."


# Results


def test_tables_and_progress_are_chinese_where_the_locale_is_and_json_is_english(environment, capsys, tmp_path):
    gold = tmp_path / "gold.txt"
    gold.write_text("今天 天气 很 好 。\n", encoding="utf-8")
    environment(LANG="zh_CN.UTF-8")
    assert command_line.main(["segmentation", "evaluate", "--gold", str(gold), "--json"]) == 0
    *table, last = capsys.readouterr().out.splitlines()
    assert table[0].startswith("标准词数 ")
    assert {width(line) for line in table} == {27}
    assert json.loads(last)["scores"].keys() >= {"gold_words", "precision"}
    with fields_named(flag_of, in_language):
        scores = {"support": 3, "precision": 50.0, "recall": 50.0, "f1": 50.0}
        assert len({width(line) for line in f1_table(told("label"), {"好": scores, "good": scores})}) == 1
        bar = progress_bar([1, 2], told("epoch {epoch}/{epochs}", epoch=1, epochs=3))
        for _ in bar:
            bar.set_postfix_str(told("loss {loss:.4f}", loss=0.25))
    assert capsys.readouterr().err == "第 1/3 轮：2/2，用时 00:00，损失 0.2500\n"


def test_a_result_keeps_what_a_person_has_written():
    assert told("question {text}", text="{a} texts") == "question {a} texts"


# Help


def every_command() -> Iterator[list[str]]:
    """The words that call each command."""
    for application, commands in command_line._all_commands().items():
        if application not in command_line.SHORT_FORMS:
            yield from [[application]] if isinstance(commands, type) else [[application, verb] for verb in commands]


def help_of(words: list[str], capsys) -> str:
    with pytest.raises(SystemExit) as ended:
        command_line.main([*words, "--help"])
    assert ended.value.code in (0, None)
    return capsys.readouterr().out


def test_help_in_chinese_names_the_options_that_tyro_names(environment, capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "100")
    flag = re.compile(r"^(?:│ |  )(--[a-z][a-z-]*)\b", re.MULTILINE)
    for words in every_command():
        environment(NLPTASKS_LANG="en")
        english = flag.findall(help_of(words, capsys))
        environment(NLPTASKS_LANG="zh")
        chinese = help_of(words, capsys)
        assert sorted(flag.findall(chinese)) == sorted(english) != [], words
        assert max(map(width, chinese.splitlines())) <= 100
        assert chinese.startswith(f"用法：nlptasks {' '.join(words)} [选项]")


def test_help_of_an_application_lists_its_verbs(environment, capsys):
    environment(LANG="zh_CN.UTF-8")
    found = help_of(["segmentation"], capsys)
    assert re.findall(r"^  (\w+)  ", found, re.MULTILINE) == ["train", "evaluate", "segment"]
    assert command_line.main([]) == 0
    out = capsys.readouterr().out
    assert "用法：nlptasks 应用 子命令 [选项]" in out
    assert all(f"  {name}" in out for name in command_line.APPLICATIONS)


def test_help_in_chinese_imports_no_backend_and_no_parser():
    code = (
        "import sys\nfrom nlptasks.command import main\n"
        "try:\n    main(sys.argv[1:])\nexcept SystemExit:\n    pass\n"
        "print(*sorted({'keras', 'tensorflow', 'jax', 'tyro'} & set(sys.modules)), file=sys.stderr)"
    )
    for words in (["--help"], ["labeling", "train", "--help"]):
        command = [sys.executable, "-c", code, *words]
        environment = os.environ | {"NLPTASKS_LANG": "zh", "PYTHONUTF8": "1"}
        done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, encoding="utf-8", check=True)
        assert done.stdout.startswith("用法：nlptasks")
        assert done.stderr.strip() == ""


def test_defaults_and_values_are_shown(environment, capsys):
    environment(NLPTASKS_LANG="zh")
    found = help_of(["segment"], capsys)
    assert re.search(r"--processes 整数 +.*（默认：1）", found)
    assert re.search(r"--text 文本 ", found)
    assert re.search(r"--json  ", found)
    assert found.startswith("用法：nlptasks segmentation segment [选项] [文本 ...]")
    found = help_of(["segmentation", "train"], capsys)
    assert re.search(r"--seed 整数 +.*（默认：0）", found)
    assert re.search(r"--no-decay +学习率线性衰减到 0", found)


def test_lines_end_between_chinese_characters_and_not_at_marks():
    text = "一个很长的句子，里面有 nlptasks 和（括号）。"
    assert width("好a，") == 5
    lines = wrapped(text, 12)
    assert "".join(lines).replace(" ", "") == text.replace(" ", "")
    assert all(width(line) <= 12 for line in lines)
    assert not any(line[0] in "，。）" or line[-1] in "（" for line in lines)


def test_what_a_box_of_the_parser_says_and_is_not_known_is_shown_as_it_is(environment, monkeypatch):
    shown = io.StringIO()
    monkeypatch.setattr(sys, "stderr", shown)

    def end():
        with arguments.refusing("nlptasks x", []):
            sys.stderr.write("╭─ News ─╮\n│ text   │\n╰────────╯\n")
            raise SystemExit(2)

    with pytest.raises(SystemExit):
        end()
    assert "text" in shown.getvalue()
    assert console.USAGE == 2
