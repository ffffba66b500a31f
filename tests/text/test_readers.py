"""Readers of data files, on small files written here."""

import gzip
import json

import pytest

from nlptasks.text import Passage, Question, read_json_lines, read_questions, read_texts, read_tsv

WEBQA = [
    {
        "id": "Q1",
        "question": "灯塔有多高？",
        "passages": [
            {"passage": "灯塔高三十米。", "answer": "三十米"},
            {"passage": "海边风大。", "answer": ""},
            {"passage": "塔高30米，也就是三十米。", "answer": "30米"},
            {"passage": "三十米高的塔。", "answer": "三十米"},
            {"passage": "没有标注。"},
        ],
    },
    {"id": 2, "question": "谁写的信？", "passages": [{"passage": "信没有署名。", "answer": None}]},
]
EXPECTED = [
    Question(
        "Q1",
        "灯塔有多高？",
        (
            Passage("灯塔高三十米。", "三十米"),
            Passage("海边风大。", ""),
            Passage("塔高30米，也就是三十米。", "30米"),
            Passage("三十米高的塔。", "三十米"),
            Passage("没有标注。", ""),
        ),
        ("三十米", "30米"),
    ),
    Question("2", "谁写的信？", (Passage("信没有署名。", ""),), ()),
]


def write(path, value, **options):
    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, **options)
    path.write_text(text, encoding="utf-8")
    return path


def write_lines(path, items):
    return write(path, "\n".join(json.dumps(item, ensure_ascii=False) for item in items) + "\n")


def test_webqa_list_and_json_lines_give_the_same_questions(tmp_path):
    assert read_questions(write(tmp_path / "a.json", WEBQA)) == EXPECTED
    assert read_questions(write(tmp_path / "b.json", WEBQA, indent=1)) == EXPECTED
    assert read_questions(write_lines(tmp_path / "c.jsonl", WEBQA)) == EXPECTED
    assert read_questions(write_lines(tmp_path / "d.jsonl", WEBQA[:1])) == EXPECTED[:1]
    assert read_questions(write(tmp_path / "e.json", "\n \n" + json.dumps(WEBQA))) == EXPECTED
    (tmp_path / "f.dat").write_bytes(gzip.compress(b"\xef\xbb\xbf" + json.dumps(WEBQA).encode()))
    assert read_questions(tmp_path / "f.dat") == EXPECTED


SQUAD = {
    "version": "2",
    "data": [
        {
            "title": "茶",
            "paragraphs": [
                {
                    "context": "茶树种在山坡上，春天采茶。",
                    "qas": [
                        {
                            "id": "a",
                            "question": "茶树种在哪里？",
                            "answers": [
                                {"text": "山坡上", "answer_start": 4},
                                {"text": "山坡", "answer_start": 4},
                                {"text": "山坡上", "answer_start": 4},
                            ],
                        },
                        {"id": "b", "question": "谁采茶？", "is_impossible": True, "answers": []},
                    ],
                }
            ],
        },
        {"paragraphs": [{"context": "秋天收稻。", "qas": [{"id": "c", "question": "何时收稻？"}]}]},
    ],
}
SQUAD_EXPECTED = [
    Question("a", "茶树种在哪里？", (Passage("茶树种在山坡上，春天采茶。", "山坡上"),), ("山坡上", "山坡")),
    Question("b", "谁采茶？", (Passage("茶树种在山坡上，春天采茶。", ""),), ()),
    Question("c", "何时收稻？", (Passage("秋天收稻。", ""),), ()),
]


def test_squad_gives_one_passage_with_the_first_answer_and_all_answers(tmp_path):
    assert read_questions(write(tmp_path / "a.json", SQUAD)) == SQUAD_EXPECTED
    assert read_questions(write(tmp_path / "b.json", SQUAD, indent=2)) == SQUAD_EXPECTED
    assert read_questions(write(tmp_path / "c.json", SQUAD["data"])) == SQUAD_EXPECTED
    assert read_questions(write_lines(tmp_path / "d.jsonl", SQUAD["data"])) == SQUAD_EXPECTED


def test_squad_with_one_article_a_line_is_not_taken_for_json_lines(tmp_path):
    article = json.dumps(SQUAD["data"][0])
    assert read_questions(write(tmp_path / "a.json", f'{{"data": [\n{article}\n]}}')) == SQUAD_EXPECTED[:2]


def test_empty_question_of_squad_is_kept_and_logged(tmp_path, caplog):
    paragraph = {"context": "河。", "qas": [{"id": "q7", "question": "", "answers": []}]}
    assert read_questions(write(tmp_path / "a.json", [paragraph])) == [Question("q7", "", (Passage("河。", ""),), ())]
    assert "a.json: item 1, question 1: the question 'q7' is empty." in caplog.text


def test_both_layouts_of_cmrc_give_the_same_questions(tmp_path):
    articles = [
        {
            "context_id": "T_0",
            "title": "河",
            "context_text": "小河向东流，桥有两座。",
            "qas": [{"query_id": "T_0_Q_0", "query_text": "桥有几座？", "answers": ["两座", "两座", "有两座"]}],
        }
    ]
    expected = [Question("T_0_Q_0", "桥有几座？", (Passage("小河向东流，桥有两座。", "两座"),), ("两座", "有两座"))]
    assert read_questions(write(tmp_path / "a.json", articles)) == expected
    squad = [
        {
            "context": "小河向东流，桥有两座。",
            "qas": [{"id": "T_0_Q_0", "question": "桥有几座？", "answers": ["两座", "有两座"]}],
        }
    ]
    assert read_questions(write(tmp_path / "b.json", {"data": [{"paragraphs": squad}]})) == expected


def item(**changes):
    return {"id": "x", "question": "问？", "passages": [{"passage": "文。", "answer": ""}], **changes}


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ("", r"a\.json: the file is empty; expected a list of \{id, question, passages"),
        (" \n\n", r"a\.json: the file is empty"),
        ("[]", r"a\.json: the file holds no question"),
        ("3", r"a\.json: expected a list of .*. Received: a number at the top"),
        ('"x"', "Received: a string at the top"),
        ({"version": "1"}, r"Received: an object with the keys 'version'"),
        ({"data": {}}, r"a\.json: 'data' must be a list. Received: an object"),
        ('[\n{"id": x}]', r"a\.json:2: invalid JSON at column 8: .*; correct the file there"),
        ('[{"id": "x"', r"a\.json:1: invalid JSON at column 12"),
        ('{"data": [', r"a\.json:1: invalid JSON at column 11"),
        ([item(), 3], r"a\.json: item 2: expected an object. Received: a number"),
        (
            [{"id": "x", "passages": []}],
            r"a\.json: item 1: the key 'question' is missing. Received: 'id', 'passages'; add it",
        ),
        ([{"question": "x", "passages": []}], r"item 1: the key 'id' is missing"),
        ([{"id": "x", "question": "y"}], r"item 1: the key 'passages' is missing"),
        ([item(id=True)], r"item 1: 'id' must be a string. Received: true or false"),
        ([item(id="")], r"item 1: 'id' is empty"),
        ([item(question=["x"])], r"item 1: 'question' must be a string. Received: a list"),
        ([item(question=" \u3000")], r"item 1: the question is empty"),
        ([item(passages=[])], r"item 1: the question has no passages; give it at least one"),
        ([item(passages="x")], r"item 1: 'passages' must be a list. Received: a string"),
        ([item(passages=["x"])], r"item 1, passage 1: expected \{passage, answer\}. Received: a string"),
        ([item(passages=[{"answer": "x"}])], r"item 1, passage 1: the key 'passage' is missing"),
        ([item(passages=[{"passage": "x", "answer": 3}])], r"passage 1: 'answer' must be a string. Received: a number"),
        (
            [item(), item(id="y"), item()],
            r"a\.json: item 3: the id 'x' stands at .*a\.json: item 1 already; ids must be unique",
        ),
        ({"data": [{"paragraphs": [3]}]}, r"item 1, paragraph 1: expected \{context, qas\}. Received: a number"),
        ({"data": [{"paragraphs": [{"qas": []}]}]}, r"item 1, paragraph 1: the key 'context' is missing"),
        ({"data": [{"paragraphs": [{"context": "x"}]}]}, r"paragraph 1: the key 'qas' is missing"),
        ({"data": [{"paragraphs": [{"context": "x", "qas": [3]}]}]}, r"question 1: expected \{id, question, answers\}"),
        ([{"context": "x", "qas": [{"id": "q", "question": 3}]}], r"item 1, question 1: 'question' must be a string"),
        (
            [{"context": "x", "qas": [{"id": "q", "question": "?", "answers": "x"}]}],
            r"question 1: 'answers' must be a list. Received: a string",
        ),
        (
            [{"context": "x", "qas": [{"id": "q", "question": "?", "answers": [3]}]}],
            r"question 1, answer 1: expected a string or \{text\}. Received: a number",
        ),
        (
            [{"context": "x", "qas": [{"id": "q", "question": "?", "answers": [{"answer_start": 0}]}]}],
            r"question 1, answer 1: the key 'text' is missing",
        ),
        (
            [{"context_text": "x", "qas": [{"query_id": "q", "question": "?"}]}],
            r"question 1: the key 'query_text' is missing",
        ),
    ],
)
def test_bad_questions_are_named_with_their_place(tmp_path, value, message):
    with pytest.raises(ValueError, match=message) as caught:
        read_questions(write(tmp_path / "a.json", value))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        ([json.dumps(item()), "{oops}"], r"a\.jsonl:2: invalid JSON at column 2"),
        (["{oops}", json.dumps(item())], r"a\.jsonl:1: invalid JSON at column 2"),
        ([json.dumps(item()), "", "[3]"], r"a\.jsonl:3: expected an object. Received: a list"),
        ([json.dumps(item()), json.dumps(item())], r"a\.jsonl:2: the id 'x' stands at .*a\.jsonl:1 already"),
        ([json.dumps(item()), json.dumps(item(id="y", question=""))], r"a\.jsonl:2: the question is empty"),
    ],
)
def test_bad_json_lines_of_questions_are_named_with_their_line(tmp_path, lines, message):
    with pytest.raises(ValueError, match=message):
        read_questions(write(tmp_path / "a.jsonl", "\n".join(lines)))


def test_missing_file_and_wrong_encoding_of_questions_are_named(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"none\.json: no such file"):
        read_questions(tmp_path / "none.json")
    (tmp_path / "a.json").write_bytes('[\n{"question": "问"}]'.encode("gb18030"))
    with pytest.raises(ValueError, match=r"a\.json:2: expected UTF-8. Received: byte 0xce at byte offset 16; convert"):
        read_questions(tmp_path / "a.json")
    (tmp_path / "b.json.gz").write_bytes(gzip.compress(json.dumps(WEBQA).encode())[:-20])
    with pytest.raises(ValueError, match=r"b\.json\.gz: expected a whole gzip file"):
        read_questions(tmp_path / "b.json.gz")


def test_json_lines_give_the_fields_that_were_asked_for(tmp_path):
    path = write_lines(tmp_path / "a.jsonl", [{"text": "好", "label": 3, "more": 0}, {"label": 4, "text": "坏"}])
    assert list(read_json_lines(path, ["text", "label"])) == [{"text": "好", "label": 3}, {"text": "坏", "label": 4}]
    assert list(read_json_lines(path, {"text": str})) == [{"text": "好"}, {"text": "坏"}]


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ('{"text": "x"', r"a\.jsonl:2: invalid JSON at column 13"),
        ("[1]", r"a\.jsonl:2: expected a JSON object. Received: a list"),
        ('{"label": 1}', r"a\.jsonl:2: the key 'text' is missing. Received: 'label'"),
        ('{"text": null}', r"a\.jsonl:2: 'text' must be a string. Received: null"),
    ],
)
def test_bad_json_line_is_named(tmp_path, line, message):
    path = write(tmp_path / "a.jsonl", '{"text": "好"}\n' + line)
    with pytest.raises(ValueError, match=message):
        list(read_json_lines(path, {"text": str}))


def test_columns_are_told_by_tabs_alone(tmp_path):
    path = write(tmp_path / "a.tsv", '1\t好 的\r\n\n0\t"坏\n')
    assert list(read_tsv(path, ["label", "text"])) == [("1", "好 的"), ("0", '"坏')]


@pytest.mark.parametrize(("line", "received"), [("1", 1), ("1\t2\t3", 3)])
def test_wrong_number_of_columns_is_named(tmp_path, line, received):
    path = write(tmp_path / "a.tsv", f"0\t好\n\n{line}\n")
    message = rf"a\.tsv:3: expected 2 tab-separated fields \(label, text\). Received: {received}; correct the line"
    with pytest.raises(ValueError, match=message):
        list(read_tsv(path, ["label", "text"]))


def test_texts_come_from_lines_or_from_the_text_of_json_lines(tmp_path):
    assert list(read_texts(write(tmp_path / "a.txt", "一\n\n 二 \n"))) == ["一", " 二 "]
    path = write_lines(tmp_path / "a.jsonl", [{"text": "一"}, {"text": "二"}])
    assert list(read_texts(path)) == ["一", "二"]
    (tmp_path / "b.jsonl.gz").write_bytes(gzip.compress(path.read_bytes()))
    assert list(read_texts(tmp_path / "b.jsonl.gz")) == ["一", "二"]


@pytest.mark.parametrize(
    "read", [read_texts, lambda path: read_tsv(path, ["a"]), lambda path: read_json_lines(path, ["a"])]
)
def test_empty_and_missing_files_are_named_by_every_reader(tmp_path, read):
    with pytest.raises(ValueError, match=r"a\.txt: the file is empty"):
        list(read(write(tmp_path / "a.txt", "")))
    with pytest.raises(FileNotFoundError, match=r"b\.txt: no such file"):
        list(read(tmp_path / "b.txt"))


def test_one_name_instead_of_a_list_is_refused(tmp_path):
    path = write(tmp_path / "a.txt", "x")
    with pytest.raises(TypeError, match="columns must be a list of names"):
        list(read_tsv(path, "ab"))
    with pytest.raises(TypeError, match="fields must be a list of keys"):
        list(read_json_lines(path, "ab"))


def test_public_reading_data_reads_whole(public_data):
    folder = public_data / "reading_comprehension"
    counts = {"webqa_sample.json": 6, "sogouqa_sample.json": 21, "cmrc2018_trial.json": 1002, "drcd_dev.json": 3524}
    for name, count in counts.items():
        questions = read_questions(folder / name)
        assert len(questions) == count
        assert all(question.passages for question in questions)
    assert sum(len(q.passages) for q in read_questions(folder / "sogouqa_sample.json")) == 210
