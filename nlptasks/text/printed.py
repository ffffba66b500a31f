"""Text as programs take it out of printed pages (PDF files), and the sentences in it.

Such text has a line end where the page had one, page numbers, the same head on every page, full-width letters, radicals
in place of characters, hyphens at line ends, and signs that nobody sees.
"""

import itertools
import re
import unicodedata
from collections import Counter
from collections.abc import Iterator

from nlptasks.encodings import UTF_8, is_utf8
from nlptasks.text.sentences import MARKS, sentence_ends

BYTE_ORDER_MARKS = {b"\xef\xbb\xbf": "utf-8-sig", b"\xff\xfe": "utf-16", b"\xfe\xff": "utf-16"}
GB18030 = "gb18030"
FULL = 0.75
"""share of the widest lines from which a line counts as full: its sentence may go on in the next one"""
_FULL_WIDTH = {code: code - 65248 for code in range(0xFF01, 0xFF5F) if chr(code - 65248).isalnum()}
_UNSEEN = re.compile("[\u200b-\u200d\u2060\ufeff]|(?![\t\n\f])[\x00-\x1f\x7f]")
_ODD = re.compile("[\u2e80-\u2fdf\ufb00-\ufb06\ue001-\uf8ff]")
"""radicals, ligatures, and signs of one font's own"""
_SPACES = re.compile("[\t \u00a0\u3000]+")
_PAGE_NUMBER = re.compile(r"\W*(?:第?\s*\d+\s*页?(?:\W*共?\s*\d+\s*页?)?|page\s+\d+(?:\s+of\s+\d+)?|[ivxl]+)\W*", re.I)
_BULLET = re.compile(r"^[\ue000-\uf8ff•●■◆▪]\s*")
_SOFT_HYPHEN = "\u00ad"
_LATIN_END, _LATIN = re.compile(r"[A-Za-z0-9,;:.)]$"), re.compile(r"[A-Za-z0-9(]")
_ENDS = re.compile(rf"[{MARKS}：:；;][”’」』）)】》\"']*$")


def decoded(data: bytes, encoding: str = UTF_8) -> tuple[str, str] | None:
    """The text of a file, and the encoding that it is in; None: it is in none of them.

        decoded("报告".encode("gb18030"))  # ("报告", "gb18030")

    Args:
        encoding: the one to try first. What has a byte order mark is read by it, and what is not UTF-8 as GB18030.
    """
    marked = [name for mark, name in BYTE_ORDER_MARKS.items() if data.startswith(mark)]
    for name in [*marked, encoding, *[GB18030] * is_utf8(encoding)]:
        try:
            return data.decode(name), name
        except UnicodeDecodeError:
            continue
    return None


def printed_sentences(text: str) -> list[str]:
    """The sentences of a text, each in one line and without what belongs to the page.

    printed_sentences("换油之前先停\\n机。\\n\\n— 3 —\\n")  # ["换油之前先停机。"]
    """
    found = []
    for paragraph in printed_paragraphs(text):
        ends = [0, *sentence_ends(paragraph, full_stops=True), len(paragraph)]
        found += [paragraph[start:end].strip() for start, end in itertools.pairwise(ends)]
    return [kept for sentence in found if (kept := sentence.replace(_SOFT_HYPHEN, ""))]


def printed_paragraphs(text: str) -> Iterator[str]:
    """The paragraphs of a text, each in one line; a heading is one, too."""
    pages = _without_heads(_pages(text))
    widths = sorted(_width(line) for page in pages for line in page if line.strip())
    most = widths[int(0.9 * (len(widths) - 1))] if widths else 0
    former, full = "", False
    for page in pages:
        gap = False
        for number, line in enumerate(page):
            gap = gap or (not line.strip() and number > 0)
            if not line.strip():
                continue
            begins = line.startswith((" ", "\ue000")) or (gap and number > 0)
            shown = line.strip(" \ue000")
            if former and not _cut_word(former) and (begins or not full or _ENDS.search(former)):
                yield former
                former = ""
            former, full, gap = _joined(former, shown), _width(line) >= FULL * most, False
    if former:
        yield former


def plain(text: str) -> str:
    """A line with half-width letters and digits, characters in place of radicals and ligatures, and nothing unseen; an
    indent becomes a space, and a bullet U+E000.
    """
    text = _BULLET.sub("\ue000", _SPACES.sub(" ", text).lstrip(" ") if _BULLET.match(text.lstrip()) else text)
    line = _ODD.sub(lambda found: _plain(found[0]), _UNSEEN.sub("", text).translate(_FULL_WIDTH))
    line = _SPACES.sub(" ", line)
    return re.sub(r"(?<=[A-Za-z0-9])[－．／＿＠＆](?=[A-Za-z0-9])", lambda found: chr(ord(found[0]) - 65248), line)


def _plain(sign: str) -> str:
    return "" if "\ue000" < sign < "\uf900" else unicodedata.normalize("NFKC", sign)


def _width(line: str) -> int:
    return sum(1 + (sign > "\u2e7f") for sign in line)


def _cut_word(line: str) -> bool:
    """Whether a line ends with a hyphen inside a word."""
    return line.endswith(_SOFT_HYPHEN) or re.search(r"[A-Za-z]-$", line) is not None


def _pages(text: str) -> list[list[str]]:
    """The lines of each page, without its number."""
    pages = []
    for page in text.replace("\r\n", "\n").replace("\r", "\n").split("\f"):
        lines = [plain(line).rstrip(" ") for line in page.split("\n")]
        for edge in (0, -1):
            while lines and not lines[edge].strip():
                del lines[edge]
            if lines and _PAGE_NUMBER.fullmatch(lines[edge].strip()):
                del lines[edge]
        pages.append(lines)
    return pages


def _without_heads(pages: list[list[str]]) -> list[list[str]]:
    """The pages without a first or last line that, numbers aside, stands on half of them and on two at least."""
    for edge in (0, -1):
        heads = [re.sub(r"\d+", "0", page[edge]) if page else "" for page in pages]
        counts = Counter(heads)
        pages = [
            page if not page or counts[head] < max(2, len(pages) / 2) else page[1:] if edge == 0 else page[:-1]
            for page, head in zip(pages, heads, strict=True)
        ]
    return pages


def _joined(former: str, line: str) -> str:
    """Two lines as one: no space between Chinese characters, and no hyphen inside a word."""
    if _cut_word(former):
        return (former[:-1] if former.endswith(_SOFT_HYPHEN) or line[:1].islower() else former) + line
    return former + (" " if _LATIN_END.search(former) and _LATIN.match(line) else "") + line
