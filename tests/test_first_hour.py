"""docs/first_hour.md names tests that are there, and the demo is what the README says."""

import re
from pathlib import Path

import pytest

pytestmark = pytest.mark.once
ROOT = Path(__file__).parents[1]


def named_tests(text: str) -> list[tuple[str, str]]:
    """File and name of each test that a text names; `::name` is in the file before it."""
    found, file = [], ""
    for named, test in re.findall(r"`(tests/[\w/]+\.py)?::(test_\w+)`", text):
        file = named or file
        found.append((file, test))
    return found


def test_every_fault_names_a_test_that_is_there():
    text = (ROOT / "docs" / "first_hour.md").read_text(encoding="utf-8")
    faults = re.findall(r"^\| (?!fault|---).*", text.split("## Three first hours")[0], re.MULTILINE)
    assert len(faults) > 35
    assert [fault for fault in faults if not named_tests(fault)] == []
    named = named_tests(text)
    sources = {file: (ROOT / file).read_text(encoding="utf-8") for file, _ in named}
    assert [f"{file}::{test}" for file, test in named if f"\ndef {test}(" not in sources[file]] == []


def test_the_demo_draws_its_questions_and_the_readme_says_its_time():
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    assert re.search(r"--show \d+ --seed \d+", makefile)
    [minutes] = re.findall(r"^# make demo .*\((\d+) minutes", makefile)
    readme, chinese = ((ROOT / name).read_text(encoding="utf-8") for name in ("README.md", "README.zh-CN.md"))
    assert f"it took {minutes} minutes after the installation" in " ".join(readme.split())
    assert re.search(rf"安装之后用时 {minutes} 分钟", chinese)
