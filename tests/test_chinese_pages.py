"""Chinese pages say what the English ones say: the same headings, tables, code and numbers, and nothing in English."""

import re
from pathlib import Path

import pytest

from nlptasks.catalogue import chinese_of

pytestmark = pytest.mark.once
ROOT = Path(__file__).parents[1]
CHINESE_PAGES = ROOT / "docs" / "zh"
PAGES = {path.name: ROOT / "docs" / path.name for path in sorted(CHINESE_PAGES.glob("*.md"))}
PAGES["pretraining.md"] = ROOT / "pretraining" / "README.md"
READMES = {ROOT / "README.md": ROOT / "README.zh-CN.md"}
PAIRS = {english: CHINESE_PAGES / name for name, english in PAGES.items()} | READMES
LINKED = re.compile(r"\]\((docs/[\w/]*\.md)[)#]")
"""pages that a README links"""
FENCED = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
CHINESE = re.compile("[\u4e00-\u9fff]")


def code_blocks(text: str) -> list[tuple[str, str]]:
    """Language and lines of the fenced blocks, without comments, which are in the language of the page."""
    return [
        (language, re.sub(r"(^|\s+)# .*$", "", block, flags=re.MULTILINE)) for language, block in FENCED.findall(text)
    ]


def prose(text: str) -> str:
    return FENCED.sub("", text)


def headings(text: str) -> list[str]:
    return re.findall(r"^#+(?= )", prose(text), re.MULTILINE)


def tables(text: str) -> list[int]:
    """The number of rows of each table."""
    return [table.count("\n|") + 1 for table in re.findall(r"(?:^\|.*\n?)+", prose(text), re.MULTILINE)]


def numbers(text: str) -> list[str]:
    """The numbers in prose and tables, sorted; those of names (CMRC2018) and in the addresses of links are none."""
    text = re.sub(r"\]\([^)]*\)", "]", prose(text))
    for unit, size in (("million", 10**6), ("万", 10**4), ("亿", 10**8)):
        text = re.sub(rf"([\d.]+) {unit}", lambda found, size=size: f"{float(found[1]) * size:,.0f}", text)
    return sorted(found.rstrip(".,") for found in re.findall(r"(?<![A-Za-z\d])\d[\d.,]*", text))


def options(text: str) -> set[str]:
    return set(re.findall(r"`(--[a-z-]+)", prose(text)))


def english_sentences(text: str) -> list[str]:
    """Stretches of at least six English words, outside of code."""
    text = re.sub(r"`[^`]*`|\]\([^)]*\)|https?:\S+", "", prose(text))
    return re.findall(r"(?:[A-Za-z][a-z'-]*[ ,;:]+){5,}[A-Za-z][a-z'-]*", text)


def half_width_marks(text: str) -> list[str]:
    """Half-width marks of punctuation behind Chinese characters."""
    text = re.sub(r"`[^`]*`|\]\([^)]*\)", "", prose(text))
    return re.findall(r".{,8}[\u4e00-\u9fff][,;:?!](?:\s|$)", text)


def test_the_chinese_readme_links_chinese_pages_alone():
    english, chinese = (
        set(LINKED.findall(path.read_text(encoding="utf-8"))) for pair in READMES.items() for path in pair
    )
    assert [page for page in chinese if not page.startswith("docs/zh/")] == []
    missing = {Path(page).name for page in english} - {Path(page).name for page in chinese}
    assert missing == set()
    assert len(chinese) > 30


def test_chinese_pages_link_the_chinese_page_where_there_is_one():
    for page in CHINESE_PAGES.glob("*.md"):
        links = re.findall(r"(?<!\[English)\]\(\.\./(\w+\.md)", page.read_text(encoding="utf-8"))
        assert [link for link in links if link in PAGES] == [], page.name


@pytest.mark.parametrize("english", PAIRS, ids=lambda path: f"{path.parent.name}/{path.name}")
def test_a_chinese_page_says_what_the_english_one_says(english):
    texts = [path.read_text(encoding="utf-8") for path in (english, PAIRS[english])]
    for part in (headings, code_blocks, options, tables, numbers):
        ours, theirs = (part(text) for text in texts)
        assert theirs == ours, part.__name__


def missing_files(page: Path) -> set[Path]:
    """The files that a page links and that are not there."""
    links = re.findall(r"\]\(([^)#:\s]+)(?:#[^)]*)?\)", page.read_text(encoding="utf-8"))
    return {path for link in links if not (path := (page.parent / link).resolve()).exists()}


@pytest.mark.parametrize("english", PAIRS, ids=lambda path: f"{path.parent.name}/{path.name}")
def test_a_chinese_page_is_in_chinese_and_its_links_lead_to_files(english):
    text = PAIRS[english].read_text(encoding="utf-8")
    assert english_sentences(text) == []
    assert half_width_marks(text) == []
    titles = re.findall(r"^#+ (.*)$", prose(text), re.MULTILINE)
    assert [title for title in titles if not CHINESE.search(title) and title != "nlptasks"] == []
    assert missing_files(PAIRS[english]) <= missing_files(english)


@pytest.mark.parametrize("page", sorted(CHINESE_PAGES.glob("*.md")), ids=lambda path: path.name)
def test_a_chinese_paragraph_is_one_line(page):
    found = re.findall("[\u4e00-\u9fff，。；：、）]\n *[\u4e00-\u9fff（“`]", prose(page.read_text(encoding="utf-8")))
    assert found == []  # browsers show a line end as a space, which Chinese does not have


@pytest.mark.parametrize("page", PAIRS.values(), ids=lambda path: path.name)
def test_links_within_a_chinese_page_lead_to_a_heading(page):
    text = page.read_text(encoding="utf-8")
    anchors = {anchor(title) for title in re.findall(r"^#+ (.*)$", prose(text), re.MULTILINE)}
    assert [link for link in re.findall(r"\]\(#([^)]+)\)", text) if link not in anchors] == []


def anchor(title: str) -> str:
    """What GitHub makes of a heading."""
    return re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-")


def messages(row: str) -> list[str]:
    """The messages of a row of the table of errors, in single or double back quotes."""
    return [one or other for one, other in re.findall(r"``(.*?)``(?!`)|`([^`]+)`", row.split(" | ", 1)[1])]


def test_the_chinese_page_of_errors_shows_what_a_command_says_in_chinese():
    english, chinese = (
        [row for row in (folder / "errors.md").read_text(encoding="utf-8").splitlines() if row.startswith("| ")]
        for folder in (CHINESE_PAGES.parent, CHINESE_PAGES)
    )
    compared = 0
    for ours, theirs in zip(english, chinese, strict=True):
        for message, shown in zip(messages(ours), messages(theirs), strict=True):
            known = chinese_of(message)
            # shortened ones are found by no template, and formats and damaged files stand in their values
            if known != message and not re.search("FORMATS|a damaged or truncated gzip", message):
                assert shown == known
                compared += 1
    assert compared > 90


def test_a_page_that_differs_is_found():
    english = "# A\n\nTakes 3 s, 1.5 times `--top`.\n\n```sh\nls  # here\n```\n"
    assert numbers(english) == ["1.5", "3"]
    assert numbers("1.25 million of CMRC2018") == numbers("CMRC2018 的 125 万") == ["1,250,000"]
    assert code_blocks(english) == code_blocks("```sh\nls  # 这里\n```\n") != code_blocks("```sh\nls -l\n```\n")
    assert headings(english) == ["#"]
    assert options(english) == {"--top"}
    assert english_sentences("这里 this is a sentence left in English 。")
    assert half_width_marks("句子, 好")
    assert anchor("2.5 倍 (BERT)：`a`") == "25-倍-berta"
