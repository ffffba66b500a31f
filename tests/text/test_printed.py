"""Text out of printed pages becomes sentences: what the page did to it is undone, and nothing else is lost."""

import pytest

from nlptasks.text.printed import decoded, printed_paragraphs, printed_sentences

pytestmark = pytest.mark.once
LINE = "压缩机应当安装在通风良好的室内，环境温度不得高于"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (f"{LINE}四\n十度。请加装风扇。", [f"{LINE}四十度。", "请加装风扇。"]),
        (f"{LINE}\r\n\r\n— 1 —\r\n\f四十度。", [f"{LINE}四十度。"]),
        (f"第一章\n\n　　{LINE}\n四十度。", ["第一章", f"{LINE}四十度。"]),
        (f"说明书 1\n{LINE}四\f说明书 2\n十度。\f说明书 3\n请加装风扇。", [f"{LINE}四十度。", "请加装风扇。"]),
        ("ＸＬ－２００型，温度４０℃，是吗？", ["XL-200型，温度40℃，是吗？"]),
        ("甲⽅有权退货，乙⽅不得拒绝。", ["甲方有权退货，乙方不得拒绝。"]),
        (
            "bank trans-\nfer and of\ufb01ce docu\u00ad\nments are well-known.",
            ["bank transfer and office documents are well-known."],
        ),
        ("Pay in thirty\ndays. Then wait.", ["Pay in thirty days.", "Then wait."]),
        (f"\uf06c {LINE}零度\n\uf06c\u00a0{LINE}四十度", [f"{LINE}零度", f"{LINE}四十度"]),
        ("一\u200b共\ufeff三页。", ["一共三页。"]),
        ("", []),
        ("第 2 页 共 2 页\n", []),
    ],
)
def test_what_the_page_did_to_a_text_is_undone(text, expected):
    assert printed_sentences(text) == expected


def test_a_number_within_a_page_stays():
    assert list(printed_paragraphs(f"{LINE}四十度。\n2024\n请加装风扇。")) == [
        f"{LINE}四十度。",
        "2024",
        "请加装风扇。",
    ]


def test_no_sign_of_a_plain_text_is_lost():
    text = "今天天气很好。我们去公园（西门）：走路，约10分钟！\n他说：“好。”"
    assert "".join(printed_sentences(text)) == text.replace("\n", "")


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "gb18030", "utf-16"])
def test_a_file_is_read_in_its_own_encoding(encoding):
    assert decoded("报告，第一期".encode(encoding), "utf-8") == ("报告，第一期", encoding)


def test_an_encoding_that_was_asked_for_is_the_only_one():
    assert decoded(b"\xff\xff\xff", "utf-8") is None
    assert decoded("报告".encode("gb18030"), "big5-hkscs") != ("报告", "gb18030")
